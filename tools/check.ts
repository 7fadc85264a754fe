/**
 * Every gate but the tests: `deno task check`. One line per step; every failed step prints what it
 * found. A tool that is absent is a named skip, except in CI (environment CI=1), where it fails.
 *
 * @module
 */
import { sourceFiles } from "../ffi/checkout.ts";
import { compileObjects, planObjects } from "./build.ts";
import { checkHouse, readBaseline } from "./check_house.ts";
import { checkLayers } from "./check_layers.ts";
import { type Compiler, crossHeaders, lookFor } from "./compiler.ts";
import { generate, staleFiles } from "./gen.ts";
import { checkMemoryOrder } from "./memory_order.ts";
import { readTree, type SourceText } from "./source_text.ts";
import { closingLine, type Verdict } from "./suite.ts";

/** What a step found. */
export interface StepResult {
  /** One line each; none means that the step passed. */
  problems: string[];
  /** Why the step could not be done here. */
  skipped?: string;
}

/** One gate. */
interface Step {
  name: string;
  run: (root: string) => Promise<StepResult>;
}

const STEPS: readonly Step[] = [
  { name: "fmt", run: (root) => deno(root, ["fmt", "--check"]) },
  { name: "lint", run: (root) => deno(root, ["lint"]) },
  { name: "types", run: checkTypes },
  { name: "doc lint", run: lintDocs },
  { name: "layers", run: async (root) => ({ problems: checkLayers(await readTree(root)) }) },
  { name: "house rules", run: checkRules },
  { name: "generated files fresh", run: checkGenerated },
  {
    name: "memory order",
    run: async (root) => ({ problems: checkMemoryOrder(await readTree(root)) }),
  },
  { name: "clang-format", run: checkFormat },
  { name: "warnings, gcc", run: (root) => checkWarnings(root, "gcc") },
  { name: "warnings, clang", run: (root) => checkWarnings(root, "clang") },
  { name: "warnings, arm64", run: checkArm64 },
];

async function deno(root: string, args: string[]): Promise<StepResult> {
  return await command(root, Deno.execPath(), args);
}

async function command(root: string, path: string, args: string[]): Promise<StepResult> {
  const { success, stdout, stderr } = await new Deno.Command(path, {
    args,
    cwd: root,
    env: { NO_COLOR: "1", RUST_BACKTRACE: "0" },
    stdin: "null",
  }).output();
  if (success) return { problems: [] };
  const decoder = new TextDecoder();
  const words = `${decoder.decode(stdout)}\n${decoder.decode(stderr)}`.trim();
  return { problems: [words || `${path} ${args.join(" ")} failed without a word`] };
}

/** The page runs in a browser: its types are another world and are checked apart. */
async function checkTypes(root: string): Promise<StepResult> {
  const files = (await readTree(root)).map((file) => file.path)
    .filter((path) => path.endsWith(".ts"));
  const problems: string[] = [];
  for (const browser of [false, true]) {
    const world = files.filter((path) => /\/dashboard\/page\//.test(path) === browser);
    if (world.length === 0) continue;
    problems.push(...(await deno(root, ["check", "--quiet", ...world])).problems);
  }
  return { problems };
}

async function lintDocs(root: string): Promise<StepResult> {
  const config = JSON.parse(await Deno.readTextFile(`${root}/deno.json`));
  const entries = Object.values(config.exports as Record<string, string>);
  return await deno(root, ["doc", "--lint", ...entries]);
}

async function checkRules(root: string): Promise<StepResult> {
  return { problems: checkHouse(await readTree(root), await readBaseline(root)) };
}

async function checkGenerated(root: string): Promise<StepResult> {
  const stale = await staleFiles(root, await generate(root));
  return { problems: stale.map((path) => `${path} is stale: run \`deno task gen\``) };
}

async function checkFormat(root: string): Promise<StepResult> {
  for (const path of ["clang-format-19", "clang-format"]) {
    const present = await new Deno.Command(path, { args: ["--version"], stdout: "null" }).output()
      .then(({ success }) => success, () => false);
    if (!present) continue;
    const files = cFiles(await readTree(root));
    if (files.length === 0) return { problems: [] };
    return await command(root, path, ["--dry-run", "--Werror", ...files]);
  }
  return { problems: [], skipped: "no clang-format (apt install clang-format-19)" };
}

function cFiles(files: SourceText[]): string[] {
  return files.map((file) => file.path).filter((path) => /^(c|tests|bench)\/.*\.[ch]$/.test(path))
    .filter((path) => path !== "c/base/layout_hash.h");
}

/** Compiles the library and the C tests with warnings as errors. */
async function checkWarnings(root: string, family: Compiler["family"]): Promise<StepResult> {
  const compiler = await lookFor(family);
  if (!compiler) return { problems: [], skipped: `no ${family}` };
  return await compileAll(root, compiler);
}

/** The same for the other machine we run on, whose twins no test here executes. */
async function checkArm64(root: string): Promise<StepResult> {
  const target = "aarch64-linux-gnu";
  const clang = await lookFor("clang");
  const headers = await Deno.stat(crossHeaders(target)).catch(() => undefined);
  if (!clang || !headers) {
    return {
      problems: [],
      skipped: "no clang with arm64 headers (apt install libc6-dev-arm64-cross)",
    };
  }
  return await compileAll(root, { ...clang, target });
}

async function compileAll(root: string, compiler: Compiler): Promise<StepResult> {
  const tests = cFiles(await readTree(root)).filter((path) => /^tests\/.*\.c$/.test(path));
  const sources = [...sourceFiles(root).filter((path) => path.endsWith(".c")), ...tests];
  const plan = await planObjects(root, sources, "release", compiler, ["-Werror"]);
  return { problems: [...(await compileObjects(plan, compiler)).values()] };
}

/** Runs every step and prints its line. A step that cannot be done here counts on neither side. */
export async function runChecks(root: string): Promise<Verdict> {
  const ci = Boolean(Deno.env.get("CI"));
  const verdict = { passed: 0, failed: 0 };
  for (const { name, run } of STEPS) {
    const started = performance.now();
    const { problems, skipped } = await run(root).catch((error): StepResult => ({
      problems: [error instanceof Error ? error.message : String(error)],
    }));
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    if (skipped && ci) problems.push(`${skipped}: required in CI`);
    if (problems.length > 0) {
      verdict.failed++;
      console.log(`FAILED  ${name}\n${problems.join("\n")}\n`);
    } else if (skipped) {
      console.log(`skipped ${name}: ${skipped}`);
    } else {
      verdict.passed++;
      console.log(`ok      ${name} (${seconds} s)`);
    }
  }
  return verdict;
}

if (import.meta.main) {
  const verdict = await runChecks(import.meta.dirname!.replace(/\/tools$/, ""));
  console.log(closingLine(verdict));
  Deno.exit(verdict.failed === 0 ? 0 : 1);
}
