/**
 * All tests: `deno task test [--long] [part of a path or test name]`. C programs first, then the
 * TypeScript tests with sanitizers on, then every example of the documentation. The last line is
 * `N passed, N failed` over all of them.
 *
 * @module
 */
import { ensureLibrary } from "./build.ts";
import { readJunit } from "./junit.ts";
import { closingLine, judge, report, type TestOutcome } from "./suite.ts";
import { runCTests } from "./test_c.ts";

/** A run that has not ended by then hangs; `--long` has no such limit. */
const TIMEOUT_MS = 15 * 60 * 1000;

/** One call of `deno test`. */
interface DenoSuite {
  suite: string;
  args: string[];
  cwd: string;
}

async function runDenoTests(
  { suite, args, cwd }: DenoSuite,
  env: Record<string, string>,
): Promise<TestOutcome[]> {
  const junit = await Deno.makeTempFile({ prefix: "keelson-junit-", suffix: ".xml" });
  const started = Date.now();
  try {
    const child = new Deno.Command(Deno.execPath(), {
      // Types are the business of `deno task check`: here one wrong type must not hide all results.
      args: ["test", "-A", "--no-check", "--reporter=dot", `--junit-path=${junit}`, ...args],
      cwd,
      env,
      stdin: "null",
    }).spawn();
    const timer = env.KEELSON_LONG
      ? undefined
      : setTimeout(() => child.kill("SIGTERM"), TIMEOUT_MS);
    const { success, code, signal } = await child.status;
    clearTimeout(timer);
    const outcomes = readJunit(suite, await Deno.readTextFile(junit));
    if (!success && !outcomes.some((outcome) => outcome.outcome === "failed")) {
      outcomes.push({
        suite,
        name: "deno test runs to its end",
        outcome: "failed",
        milliseconds: Date.now() - started,
        words: `it ${
          signal ? `was ended by ${signal}` : `exited with ${code}`
        }; its words are above`,
      });
    }
    return outcomes;
  } finally {
    await Deno.remove(junit).catch(() => {});
  }
}

/** The TypeScript tests that the filter selects: by path, else by name. */
async function typescriptTests(root: string, filter?: string): Promise<DenoSuite> {
  const suite = "TypeScript";
  if (!filter) return { suite, args: ["tests"], cwd: root };
  const files: string[] = [];
  await walk(root, "tests", (path) => /_test\.ts$/.test(path) && path.includes(filter), files);
  const args = files.length > 0 ? files : ["--filter", filter, "tests"];
  return { suite, args: ["--permit-no-files", ...args], cwd: root };
}

/** Every example runs, in a folder of its own, so that what it creates does not stay. */
async function examples(root: string, cwd: string): Promise<DenoSuite> {
  const pages: string[] = [];
  await walk(root, "docs", (path) => path.endsWith(".md"), pages).catch(() => {});
  for (const page of ["mod.ts", "README.md"]) {
    if (await Deno.stat(`${root}/${page}`).catch(() => undefined)) pages.push(page);
  }
  const paths = ["lib", ...pages].map((path) => `${root}/${path}`);
  const preload = `--preload=${root}/tests/preload.ts`;
  const args = [
    "--doc",
    "--parallel",
    preload,
    "--permit-no-files",
    `--config=${root}/deno.json`,
    ...paths,
  ];
  return { suite: "examples", args, cwd };
}

async function walk(
  root: string,
  folder: string,
  wanted: (path: string) => boolean,
  found: string[],
): Promise<void> {
  for await (const entry of Deno.readDir(`${root}/${folder}`)) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) await walk(root, path, wanted, found);
    else if (wanted(path)) found.push(path);
  }
}

/** Builds what the TypeScript tests load; answers the failure, if it does not build. */
async function buildLibrary(): Promise<TestOutcome | undefined> {
  const started = Date.now();
  try {
    await ensureLibrary("release", {
      onStart: (sources) => console.log(`Building the C library (${sources} files)`),
    });
    return undefined;
  } catch (error) {
    const words = error instanceof Error ? error.message : String(error);
    const milliseconds = Date.now() - started;
    return { suite: "tools", name: "the library builds", outcome: "failed", milliseconds, words };
  }
}

/** Runs everything; prints all but the closing line. */
export async function runAll(root: string, filter?: string, long = false): Promise<TestOutcome[]> {
  const env: Record<string, string> = long ? { KEELSON_LONG: "1" } : {};
  const outcomes = await runCTests({ root, filter, env });
  const problem = await buildLibrary();
  if (problem) return judge([...outcomes, problem]); // nothing above C can run
  outcomes.push(...await runDenoTests(await typescriptTests(root, filter), env));
  if (!filter) {
    const folder = await Deno.makeTempDir({ prefix: "keelson-examples-" });
    try {
      outcomes.push(...await runDenoTests(await examples(root, folder), env));
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  }
  return judge(outcomes);
}

async function main(args: string[]): Promise<number> {
  const root = import.meta.dirname!.replace(/\/tools$/, "");
  const rest = args.filter((arg) => arg !== "--long");
  if (rest.length > 1 || rest[0]?.startsWith("-")) {
    console.error("test: known arguments: --long, and a part of a path or of a test name");
    return 2;
  }
  const outcomes = await runAll(root, rest[0], args.includes("--long"));
  if (outcomes.length === 0) console.log(`No test has "${rest[0]}" in its path or name`);
  const verdict = report(outcomes);
  console.log(closingLine(verdict));
  return verdict.failed > 0 || outcomes.length === 0 ? 1 : 0;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
