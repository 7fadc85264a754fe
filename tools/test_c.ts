/**
 * Builds and runs the C tests: `deno run -A tools/test_c.ts [--variant=release|debug|asan|tsan|hooked]
 * [--compiler=gcc|clang] [--target=arm64] [part of a path or test name]`. Every
 * `tests/c/**\/*_test.c` becomes one program with the harness and what it includes of `c/`. Those
 * called `*_steps_test.c` and `*_model.c` are hooked (tools/hooked.ts): they run with the variants
 * release and debug, and alone with `--variant=hooked`.
 *
 * @module
 */
import { sourceFiles, type Variant, VARIANTS } from "../ffi/checkout.ts";
import { compileObjects, contentHash, linkInto, type PlannedObject, planObjects } from "./build.ts";
import { compileFlags, type Compiler, findCompiler, hasSanitizer, lookFor } from "./compiler.ts";
import { type Cross, CROSS_TARGETS, type CrossTarget, lookForCross, testsOf } from "./cross.ts";
import { isHooked, linkHooked, planHooked, type ProgramKind, programKind } from "./hooked.ts";
import { closingLine, judge, report, type TestOutcome } from "./suite.ts";

/** Programs that run at once. */
const JOBS = 2;
const HARNESS = "tests/c/harness.c";
/** A program that has not ended by then is killed; the harness stops single tests much earlier. */
const PROGRAM_TIMEOUT_MS = 4 * 60 * 1000;

/** What to run. */
export interface CTestOptions {
  root: string;
  variant?: Variant | "hooked";
  family?: Compiler["family"];
  /** Another machine, emulated. */
  target?: CrossTarget;
  /** Part of a path or of a test name. */
  filter?: string;
  /** Environment of the programs, beside our own. */
  env?: Record<string, string>;
}

/** One test program. */
export interface Program {
  source: string;
  path: string;
  /** Test names to run; none means all. */
  filter: string[];
}

/** Runs the C tests and answers every outcome. */
export async function runCTests(options: CTestOptions): Promise<TestOutcome[]> {
  const variant = options.variant ?? "release";
  const own = variant === "hooked" ? "release" : variant;
  const suite = `C (${
    [variant, options.family, options.target].filter((word) => word).join(", ")
  })`;
  const cross = options.target && await lookForCross(options.target);
  const compiler = !options.target
    ? await compilerFor(own, options.family)
    : cross?.compiler ?? "emulator";
  if (typeof compiler === "string") {
    return [{ suite, name: `all tests [needs ${compiler}]`, outcome: "skipped", milliseconds: 0 }];
  }
  const { programs, failures } = await buildPrograms(options, suite, own, compiler, cross);
  console.log(`${suite}: ${programs.length} programs, ${compiler.version}`);
  const outcomes: TestOutcome[] = failures;
  const waiting = programs.slice();
  const worker = async () => {
    for (let program = waiting.shift(); program; program = waiting.shift()) {
      if (cross) outcomes.push(...await narrow(suite, program, cross));
      outcomes.push(...await runProgram(suite, program, options.env ?? {}, cross));
    }
  };
  await Promise.all(Array.from({ length: JOBS }, worker));
  return outcomes;
}

/** Leaves the tests that the emulator cannot run out of a program, and answers them as skipped. */
async function narrow(suite: string, program: Program, cross: Cross): Promise<TestOutcome[]> {
  const { run, lacking } = await testsOf(cross, program.path, program.filter);
  program.filter = run;
  return lacking.map((test) => {
    const name = `${test} [needs hardware]`;
    return { suite, name, outcome: "skipped", milliseconds: 0, words: cross.lacks(test) };
  });
}

/** The compiler for a variant, or the name of what is missing. */
async function compilerFor(
  variant: Variant,
  family?: Compiler["family"],
): Promise<Compiler | string> {
  const wanted = family ? [family] : ["clang", "gcc"] as const;
  const sanitizer = variant === "asan" || variant === "tsan" ? variant : undefined;
  if (!sanitizer && !family) return await findCompiler();
  for (const name of wanted) {
    const compiler = await lookFor(name);
    if (compiler && (!sanitizer || await hasSanitizer(compiler, sanitizer))) return compiler;
  }
  return sanitizer ?? family!;
}

/** Compiles what the selected tests need and links each; a failure is the outcome of its test. */
export async function buildPrograms(
  options: CTestOptions,
  suite: string,
  variant: Variant,
  compiler: Compiler,
  cross?: Cross,
): Promise<{ programs: Program[]; failures: TestOutcome[] }> {
  const { root, filter } = options;
  const files: string[] = [];
  await walk(root, "tests/c", files);
  const tests = (await selectTests(root, files, filter))
    .filter(({ source }) => !cross || cross.runs(source))
    .filter(({ source }) => isHooked(source) ? hasHooked(options) : options.variant !== "hooked");
  const graph = await includeGraph(root, files);
  const needed = tests.map((test) => [...new Set([...unitsBehind(graph, test.source), HARNESS])]);
  const plans = new Map<ProgramKind, Map<string, PlannedObject>>();
  for (const kind of ["plain", "steps", "model"] as const) {
    const sources = new Set(needed.filter((_, i) => programKind(tests[i].source) === kind).flat());
    const plan = kind === "plain"
      ? await planObjects(root, [...sources], variant, compiler)
      : await planHooked(root, [...sources], kind, compiler);
    plans.set(kind, new Map(plan.map((object) => [object.source, object])));
  }
  const objects = [...plans.values()].flatMap((plan) => [...plan.values()]);
  const distinct = new Map(objects.map((object) => [object.path, object]));
  const problems = await compileObjects([...distinct.values()], compiler);
  await Deno.mkdir(`${root}/build/tests`, { recursive: true });
  const programs: Program[] = [];
  const failures: TestOutcome[] = [];
  for (const [index, { source, names }] of tests.entries()) {
    const plan = plans.get(programKind(source))!;
    const parts = needed[index].map((path) => plan.get(path)!);
    const broken = parts.filter((part) => problems.has(part.source));
    let words = broken.map((part) => problems.get(part.source)).join("\n");
    try {
      if (broken.length === 0) {
        const path = await linkProgram(root, source, variant, compiler, parts, cross);
        programs.push({ source, path, filter: names });
        continue;
      }
    } catch (error) {
      words = error instanceof Error ? error.message : String(error);
    }
    const name = `${source} compiles and links`;
    failures.push({ suite, name, outcome: "failed", milliseconds: 0, words });
  }
  await removeOld(`${root}/build/tests`);
  return { programs, failures };
}

/** Whether the hooked programs run with this variant, too. */
function hasHooked({ variant = "release", target }: CTestOptions): boolean {
  return !target && (variant === "release" || variant === "debug" || variant === "hooked");
}

async function linkProgram(
  root: string,
  source: string,
  variant: Variant,
  compiler: Compiler,
  parts: PlannedObject[],
  cross?: Cross,
): Promise<string> {
  const kind = programKind(source);
  const link = kind !== "plain" ? await linkHooked(root, kind) : cross?.link ??
    compileFlags(variant, compiler).filter((flag) => /^-(fsanitize|pthread)/.test(flag));
  const hash = await contentHash([compiler.version, ...link, ...parts.map((part) => part.hash)]);
  const name = source.replace(/^tests\/c\//, "").replace(/\.c$/, "").replaceAll("/", "_");
  const path = `${root}/build/tests/${name}-${variant}-${hash}`;
  if (!await Deno.stat(path).catch(() => undefined)) {
    await linkInto(path, [compiler.path, ...link, ...parts.map((part) => part.path)]);
  }
  return path;
}

/** For each file of `c/` and `tests/c/`: the files of the project it includes directly. */
async function includeGraph(root: string, tests: string[]): Promise<Map<string, string[]>> {
  const graph = new Map<string, string[]>();
  const known = new Set([...sourceFiles(root), ...tests.filter((path) => /\.[ch]$/.test(path))]);
  for (const path of known) {
    const text = await Deno.readTextFile(`${root}/${path}`);
    const names = [...text.matchAll(/^[ \t]*#[ \t]*include[ \t]*"([^"]+)"/gm)];
    const paths = names.map(([, name]) => known.has(`c/${name}`) ? `c/${name}` : name);
    graph.set(path, paths.filter((name) => known.has(name)));
  }
  return graph;
}

/**
 * The sources behind a test: with each header it reaches come the sources of that header's folder
 * which include it, and so on. A test of a low row is thus linked without the rows above it. A source
 * that a test includes as a whole, to reach what is static in it, is not linked again.
 */
function unitsBehind(graph: Map<string, string[]>, test: string): string[] {
  const reached = new Set([test]);
  for (const path of reached) { // grows while it is walked; bounded by the files there are
    for (const name of graph.get(path) ?? []) reached.add(name);
    if (!path.endsWith(".h")) continue;
    const folder = path.replace(/[^/]*$/, "");
    for (const [source, includes] of graph) {
      const mate = /(?<!_test|_model)\.c$/.test(source) && source.startsWith(folder) &&
        includes.includes(path);
      if (mate) reached.add(source);
    }
  }
  const whole = new Set(graph.get(test)?.filter((path) => path.endsWith(".c")));
  return [...reached].filter((path) => path.endsWith(".c") && !whole.has(path)).sort();
}

/** Tests whose path holds the filter run whole, else those of their tests whose name holds it. */
async function selectTests(
  root: string,
  files: string[],
  filter?: string,
): Promise<{ source: string; names: string[] }[]> {
  const selected: { source: string; names: string[] }[] = [];
  for (const source of files.filter((path) => /_(test|model)\.c$/.test(path)).sort()) {
    if (!filter || source.includes(filter)) {
      selected.push({ source, names: [] });
      continue;
    }
    const text = await Deno.readTextFile(`${root}/${source}`);
    const names = [...text.matchAll(/^KL_(?:TEST|MODEL|MODEL_MUST_FAIL)\((\w+)[,)]/gm)].map((
      match,
    ) => match[1])
      .filter((name) => name.includes(filter));
    if (names.length > 0) selected.push({ source, names });
  }
  return selected;
}

async function walk(root: string, folder: string, found: string[]): Promise<void> {
  for await (const entry of Deno.readDir(`${root}/${folder}`)) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) await walk(root, path, found);
    else found.push(path);
  }
}

async function runProgram(
  suite: string,
  { source, path, filter }: Program,
  env: Record<string, string>,
  cross?: Cross,
): Promise<TestOutcome[]> {
  if (cross && filter.length === 0) return [];
  const started = performance.now();
  const child = new Deno.Command(cross?.emulator ?? path, {
    args: cross ? [path, ...filter] : filter,
    env: {
      TSAN_OPTIONS: "halt_on_error=1:second_deadlock_stack=1:die_after_fork=0",
      ...cross?.env,
      ...env,
    },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), PROGRAM_TIMEOUT_MS);
  const errors = new Response(child.stderr).text();
  const outcomes: TestOutcome[] = [];
  let notes: string[] = [];
  let before = started;
  for await (const line of lines(child.stdout)) {
    const match = /^(ok|not ok|skip) (\w+)(?:: (.*))?$/.exec(line);
    if (!match) {
      notes.push(line);
      continue;
    }
    const now = performance.now();
    outcomes.push(outcomeOf(suite, match, now - before, notes));
    notes = [];
    before = now;
  }
  const { success, code, signal } = await child.status;
  clearTimeout(timer);
  const words = [...notes, (await errors).trim()].filter((text) => text).join("\n");
  const failed = outcomes.filter((outcome) => outcome.outcome === "failed");
  if (failed.length > 0 && words) failed.at(-1)!.words += `\n${words}`;
  if (!success && failed.length === 0) {
    const end = signal ? `was ended by ${signal}` : `exited with ${code}`;
    const milliseconds = performance.now() - before;
    outcomes.push({ suite, name: `${source} ${end}`, outcome: "failed", milliseconds, words });
  }
  console.log(
    `${failed.length > 0 || !success ? "FAILED" : "ok"}  ${source} (${summary(outcomes)})`,
  );
  return outcomes;
}

function outcomeOf(
  suite: string,
  [, verdict, test, why]: RegExpExecArray,
  milliseconds: number,
  notes: string[],
): TestOutcome {
  const outcome = verdict === "ok" ? "passed" : verdict === "skip" ? "skipped" : "failed";
  const tool = outcome === "skipped" ? /^needs (\w+)/.exec(why ?? "")?.[1] : undefined;
  const name = tool ? `${test} [needs ${tool}]` : test;
  const words = [why, ...notes].filter((text) => text).join("\n");
  return { suite, name, outcome, milliseconds, words };
}

function summary(outcomes: TestOutcome[]): string {
  const seconds = outcomes.reduce((sum, outcome) => sum + outcome.milliseconds, 0) / 1000;
  return `${outcomes.length} tests, ${seconds.toFixed(1)} s`;
}

async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
  if (rest) yield rest;
}

async function removeOld(folder: string): Promise<void> {
  for await (const entry of Deno.readDir(folder)) {
    const age = await Deno.stat(`${folder}/${entry.name}`).catch(() => undefined);
    if (!age?.mtime || Date.now() - age.mtime.getTime() < 24 * 3600 * 1000) continue;
    await Deno.remove(`${folder}/${entry.name}`).catch(() => {});
  }
}

async function main(args: string[]): Promise<number> {
  const options: CTestOptions = { root: import.meta.dirname!.replace(/\/tools$/, "") };
  for (const arg of args) {
    const [name, value] = arg.split("=");
    if (name === "--variant" && [...VARIANTS, "hooked"].includes(value)) {
      options.variant = value as Variant | "hooked";
    } else if (name === "--compiler" && (value === "gcc" || value === "clang")) {
      options.family = value;
    } else if (name === "--target" && CROSS_TARGETS.includes(value as CrossTarget)) {
      options.target = value as CrossTarget;
    } else if (!arg.startsWith("-") && options.filter === undefined) {
      options.filter = arg;
    } else {
      console.error(`test_c: unknown argument ${arg}`);
      return 2;
    }
  }
  const verdict = report(judge(await runCTests(options)));
  console.log(closingLine(verdict));
  return verdict.failed > 0 ? 1 : 0;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
