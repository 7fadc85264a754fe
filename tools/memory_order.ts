/**
 * The memory order of every atomic operation of `c/`, and which model fails when it is one step
 * weaker: the table in docs/memory_order.md.
 *
 *   deno run -A tools/memory_order.ts              what the table says against the sources (fast)
 *   deno run -A tools/memory_order.ts --run        runs all models on all weakenings, compares (CI)
 *   deno run -A tools/memory_order.ts --write [x]  runs those whose path holds x, writes the table
 *
 * A weakening that no model catches needs a reason in tools/memory_order_reasons.json, by
 * `row/unit:place operation order>weaker`.
 *
 * @module
 */
import { type AtomicSite, atomicSites, weakenings } from "./atomic_sites.ts";
import { readTree, type SourceText } from "./source_text.ts";
import { closingLine } from "./suite.ts";
import { buildPrograms, type Program } from "./test_c.ts";
import { findCompiler } from "./compiler.ts";

const TABLE = "docs/memory_order.md";
const REASONS = "tools/memory_order_reasons.json";
const JOBS = 2;
/** Rows whose orders models must justify; those above are listed. */
const MODELLED_ROWS = ["base", "mem", "sync", "lockfree", "exec"];
const UNREACHED = "no model reaches it";
const NOTHING = "nothing weaker";
const SURVIVES = "survives";

/** One line of the table: a site, one of its orders and the weaker one. */
interface Row {
  unit: string;
  place: string;
  operation: string;
  order: string;
  weaker: string;
  result: string;
}

/** What the explorer said of one weakening. */
interface Finding {
  path: string;
  line: number;
  operation: string;
  order: string;
  weaker: string;
  /** The model that failed; "-": none; "": it was reached, and there is nothing weaker. */
  caught: string;
}

const key = (row: Omit<Row, "result">) =>
  `${row.unit}:${row.place} ${row.operation} ${row.order}${row.weaker && ">"}${row.weaker}`;

/** Differences between the sites of the sources and those of the table. */
export function checkMemoryOrder(files: SourceText[]): string[] {
  const wanted = rowsOf(atomicSites(files), new Map(), {}).map(key);
  const text = files.find(({ path }) => path === TABLE)?.text ?? "";
  const table = parseTable(text).map(key);
  const have = new Set(table);
  const want = new Set(wanted);
  const advice = `run \`deno run -A tools/memory_order.ts --write PART_OF_THE_UNIT\``;
  return [
    ...wanted.filter((name) => !have.has(name)).map((name) => `${TABLE} lacks ${name}: ${advice}`),
    ...table.filter((name) => !want.has(name)).map((name) =>
      `${TABLE} has ${name}, which is not in c/: ${advice}`
    ),
  ];
}

async function readTable(root: string): Promise<Row[]> {
  const text = await Deno.readTextFile(`${root}/${TABLE}`).catch(() => "");
  return parseTable(text);
}

/** The rows of the table's text. */
export function parseTable(text: string): Row[] {
  const rows: Row[] = [];
  let unit = "";
  for (const line of text.split("\n")) {
    unit = /^### (\S+)/.exec(line)?.[1] ?? unit;
    const cells = line.split("|").slice(1, -1).map((cell) => cell.trim());
    if (cells.length !== 5 || !cells[0].startsWith("`")) continue;
    const [place, operation, order, weaker, result] = cells;
    rows.push({ unit, place: place.replaceAll("`", ""), operation, order, weaker, result });
  }
  return rows;
}

/** Every row the sources ask for; results from the findings, else from `before`. */
function rowsOf(
  sites: AtomicSite[],
  findings: Map<string, string>,
  reasons: Record<string, string>,
  before: Map<string, string> = new Map(),
): Row[] {
  return sites.flatMap((site) =>
    weakenings(site).map(({ operation, order, weaker }) => {
      const row = { unit: site.unit, place: site.place, operation, order, weaker: weaker ?? "" };
      const found = findings.get(key(row));
      const kept = before.get(key(row));
      let result = found ?? kept ?? UNREACHED;
      if (result.startsWith(SURVIVES)) {
        const reason = reasons[key(row)];
        result = reason ? `${SURVIVES}: ${reason}` : SURVIVES;
      }
      return { ...row, result };
    })
  );
}

/** Runs the programs whose path holds `filter`, two at a time: each weakens its own unit; when all run,
 * they then try what no program's own unit covers, or nobody caught. */
async function runModels(
  root: string,
  filter: string,
  sites: AtomicSite[],
): Promise<{ results: Map<string, string>; problems: string[] }> {
  const compiler = await findCompiler();
  const options = { root, variant: "hooked" as const, filter: "_model.c" };
  const built = await buildPrograms(options, "models", "release", compiler);
  const problems = built.failures.map(({ name, words }) => `${name}: ${words}`);
  const programs = built.programs.filter(({ source }) =>
    source.includes(filter) && !source.startsWith("tests/c/model/")
  );
  const findings: Finding[] = [];
  const touched = new Set<string>();
  const own = (source: string) => source.replace(/^tests\//, "").replace(/_model\.c$/, "");
  const round = async (only: (source: string) => string) => {
    const waiting = programs.slice();
    const worker = async () => {
      for (let program = waiting.shift(); program; program = waiting.shift()) {
        const started = performance.now();
        const { source } = program;
        if (only(source) === "") continue;
        const output = await mutate(program, only(source));
        findings.push(...output.findings);
        for (const words of output.problems) problems.push(`${source}: ${words}`);
        for (const place of output.touches) touched.add(`${source} ${place}`);
        const seconds = ((performance.now() - started) / 1000).toFixed(1);
        console.log(`${source}: ${output.findings.length} weakenings, ${seconds} s`);
      }
    };
    await Promise.all(Array.from({ length: JOBS }, worker));
  };
  await round(own);
  // A part of the programs says nothing of what only the others reach.
  const left = filter === "" ? placesLeft(sites, bestResults(sites, findings)) : [];
  await round((source) =>
    left.filter((place) => touched.has(`${source} ${place}`) && !place.startsWith(own(source)))
      .join(",")
  );
  return { results: bestResults(sites, findings), problems: [...new Set(problems)] };
}

/** `path:line` of what may be weakened in rows with models and is not caught. */
function placesLeft(sites: AtomicSite[], results: Map<string, string>): string[] {
  return sites.filter((site) => {
    if (!MODELLED_ROWS.includes(site.unit.split("/")[0])) return false;
    return weakenings(site).some((row) => {
      const name = key({ ...row, unit: site.unit, place: site.place, weaker: row.weaker ?? "" });
      return (results.get(name) ?? SURVIVES) === SURVIVES;
    });
  }).flatMap(({ path, lines: [first, last] }) => {
    const count = last - first + 1;
    return Array.from({ length: count }, (_, index) => `${path}:${first + index}`);
  });
}

async function mutate(
  { path }: Program,
  only: string,
): Promise<{ findings: Finding[]; touches: string[]; problems: string[] }> {
  const { success, signal, stdout } = await new Deno.Command(path, {
    env: { KEELSON_MODEL_MUTATE: "1", KEELSON_MODEL_ONLY: only },
    stdin: "null",
    stderr: "inherit",
  }).output();
  const lines = new TextDecoder().decode(stdout).split("\n").map((line) => line.split("\t"));
  const findings = lines.filter(([kind]) => kind === "weakened" || kind === "reached").map(
    ([, file, line, , operation, order, weaker = "", caught = ""]): Finding => ({
      path: file,
      line: Number(line),
      operation,
      order,
      weaker,
      caught,
    }),
  );
  const problems = lines.filter(([kind]) => kind === "broken").map(([, ...words]) =>
    `fails as written: ${words.join(": ")}`
  );
  if (!success && problems.length === 0) problems.push(`ended with ${signal ?? "a failure"}`);
  const touches = lines.filter(([kind]) => kind === "touches")
    .map(([, file, line]) => `${file}:${line}`);
  return { findings, touches, problems };
}

/** The best result for each row: caught by any model, or survived all that reach it. */
function bestResults(sites: AtomicSite[], findings: Finding[]): Map<string, string> {
  const results = new Map<string, string>();
  for (const { path, line, operation, order, weaker, caught } of findings) {
    const site = sites.find((site) =>
      site.path === path && site.lines[0] <= line && line <= site.lines[1] &&
      operation.startsWith(site.operation)
    );
    if (!site) continue;
    const name = key({ unit: site.unit, place: site.place, operation, order, weaker });
    const result = weaker === "" ? NOTHING : caught === "-" ? SURVIVES : caught;
    if (!results.has(name) || results.get(name) === SURVIVES) results.set(name, result);
  }
  return results;
}

/** The text of the table. */
function formatTable(rows: Row[]): string {
  const modelled = rows.filter(({ unit }) => MODELLED_ROWS.includes(unit.split("/")[0]));
  const upper = rows.filter((row) => !modelled.includes(row));
  return `# Memory order

Every atomic operation and fence of \`c/\`: its place (function and number among the atomics of that function),
its order, the next weaker order, and the model that fails when the operation is given that weaker order. Made by
\`deno run -A tools/memory_order.ts --write\`; \`deno task check\` compares its places with the sources, CI
runs all of it again.

A model is a scenario in \`tests/c/<row>/<unit>_model.c\` that runs the C code itself under every
interleaving and every value that C11's memory model (by views, without load buffering) lets a load return
(\`tests/c/model/explorer.h\`). Only one step weaker is tried: what is weaker still allows more, and fails the same
model. "${SURVIVES}" is an order that no model needs; each has its reason. "${UNREACHED}": nothing here
speaks for or against the order.

## Rows base to exec

${sections(modelled)}
## Upper rows

Listed, so that a change of an order shows; most are not modelled.

${sections(upper)}`;
}

function summary(rows: Row[]): string {
  const count = (test: (row: Row) => boolean) => rows.filter(test).length;
  const tried = count(({ weaker, result }) => weaker !== "" && result !== UNREACHED);
  const survived = count(({ result }) => result.startsWith(SURVIVES));
  const unreached = count(({ weaker, result }) => weaker !== "" && result === UNREACHED);
  return `Rows base to exec: ${tried} weakenings tried, ${
    tried - survived
  } caught, ${survived} survive; ` +
    `${unreached} are of places that no model reaches.`;
}

function sections(rows: Row[]): string {
  const units = [...new Set(rows.map(({ unit }) => unit))];
  return units.map((unit) => {
    const lines = rows.filter((row) => row.unit === unit).map((row) =>
      `| \`${row.place}\` | ${row.operation} | ${row.order} | ${row.weaker} | ${row.result} |`
    );
    const head =
      "| place | operation | order | weaker | caught by |\n| --- | --- | --- | --- | --- |";
    return `### ${unit}\n\n${head}\n${lines.join("\n")}\n`;
  }).join("\n");
}

async function write(root: string, filter: string): Promise<string[]> {
  const { rows, problems } = await measure(root, filter);
  console.log(summary(rows.filter(({ unit }) => MODELLED_ROWS.includes(unit.split("/")[0]))));
  await Deno.writeTextFile(`${root}/${TABLE}`, formatTable(rows));
  await new Deno.Command(Deno.execPath(), { args: ["fmt", "--quiet", TABLE], cwd: root }).output();
  return [...problems, ...unexplained(rows)];
}

async function measure(root: string, filter: string): Promise<{ rows: Row[]; problems: string[] }> {
  const sites = atomicSites(await readTree(root));
  const reasons = JSON.parse(await Deno.readTextFile(`${root}/${REASONS}`));
  const before = new Map((await readTable(root)).map((row) => [key(row), row.result]));
  const { results, problems } = await runModels(root, filter, sites);
  return { rows: rowsOf(sites, results, reasons, filter ? before : undefined), problems };
}

function unexplained(rows: Row[]): string[] {
  return rows.filter(({ result }) => result === SURVIVES).map((row) =>
    `${key(row)}: no model needs this order, and ${REASONS} gives no reason`
  );
}

/** Everything again; what differs from the table. */
async function runAll(root: string): Promise<number> {
  const { rows, problems } = await measure(root, "");
  const table = new Map((await readTable(root)).map((row) => [key(row), row.result]));
  problems.push(...unexplained(rows));
  const tried = rows.filter(({ weaker, result }) => weaker !== "" && result !== UNREACHED);
  for (const row of rows) {
    const said = table.get(key(row));
    const lost = said !== undefined && said !== UNREACHED && row.result === UNREACHED;
    const slips = said !== undefined && !said.startsWith(SURVIVES) &&
      row.result.startsWith(SURVIVES);
    if (lost || slips) problems.push(`${key(row)}: the table says ${said}, now: ${row.result}`);
    if (said === undefined) problems.push(`${key(row)}: not in ${TABLE}`);
  }
  console.log(summary(rows.filter(({ unit }) => MODELLED_ROWS.includes(unit.split("/")[0]))));
  for (const problem of problems) console.log(`FAILED  ${problem}`);
  console.log(closingLine({ passed: tried.length, failed: problems.length }));
  return problems.length > 0 ? 1 : 0;
}

async function main(args: string[]): Promise<number> {
  const root = import.meta.dirname!.replace(/\/tools$/, "");
  if (args[0] === "--run") return await runAll(root);
  const problems = args[0] === "--write"
    ? await write(root, args[1] ?? "")
    : checkMemoryOrder(await readTree(root));
  for (const problem of problems) console.log(problem);
  return problems.length > 0 ? 1 : 0;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
