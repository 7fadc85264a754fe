/**
 * Fuzzing: `deno run -A tools/fuzz.ts [target] [--for=60]` builds `tests/c/fuzz/<target>_fuzz.c` with
 * libFuzzer and the address sanitizer, and lets it run for so many seconds, beginning with the corpus in
 * `tests/c/fuzz/corpus/<target>`. What it finds stands in `build/fuzz/<target>`; an input that breaks
 * something is named, and belongs into the corpus once it is mended.
 *
 * @module
 */
import { compileObjects, linkInto, planObjects } from "./build.ts";
import { lookFor } from "./compiler.ts";
import { sourceFiles } from "../ffi/checkout.ts";
import { closingLine } from "./suite.ts";

const SECONDS = 60;
const INPUT_BYTES_MAX = 512;
const SANITIZE = ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"];

/** Every target there is. */
async function targets(root: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name } of Deno.readDir(`${root}/tests/c/fuzz`)) {
    if (name.endsWith("_fuzz.c")) found.push(name.replace(/_fuzz\.c$/, ""));
  }
  return found.sort();
}

/** Builds one target; answers the program. */
async function build(root: string, target: string): Promise<string> {
  const compiler = await lookFor("clang");
  if (!compiler) throw new Error("fuzzing needs clang (apt install clang-19 libclang-rt-19-dev)");
  const own = [`tests/c/fuzz/${target}_fuzz.c`, `tests/c/fuzz/${target}.c`];
  const sources = [...own, ...sourceFiles(root).filter((path) => path.endsWith(".c"))];
  const flags = ["-fsanitize=fuzzer-no-link"];
  const plan = await planObjects(root, sources, "asan", compiler, flags);
  const problems = await compileObjects(plan, compiler);
  if (problems.size > 0) throw new Error([...problems.values()].join("\n"));
  await Deno.mkdir(`${root}/build/fuzz/${target}`, { recursive: true });
  const program = `${root}/build/fuzz/${target}_fuzz`;
  const objects = plan.map(({ path }) => path);
  await linkInto(program, [compiler.path, ...SANITIZE, "-pthread", ...objects]);
  return program;
}

/** Runs one target; answers whether it held. */
async function fuzz(root: string, target: string, seconds: number): Promise<boolean> {
  const program = await build(root, target);
  const found = `${root}/build/fuzz/${target}`;
  console.log(`fuzzing ${target} for ${seconds} s`);
  const { success, stderr } = await new Deno.Command(program, {
    args: [
      `-max_total_time=${seconds}`,
      `-max_len=${INPUT_BYTES_MAX}`,
      "-len_control=0",
      "-timeout=60",
      `-artifact_prefix=${found}/`,
      found,
      `${root}/tests/c/fuzz/corpus/${target}`,
    ],
    cwd: root,
    stdin: "null",
    stdout: "null",
  }).output();
  const words = new TextDecoder().decode(stderr).trimEnd().split("\n");
  const runs = words.findLast((line) => /^(#\d+\s+DONE|Done )/.test(line));
  console.log(success ? `ok  ${target}: ${runs ?? ""}` : words.slice(-60).join("\n"));
  return success;
}

async function main(args: string[]): Promise<number> {
  const root = import.meta.dirname!.replace(/\/tools$/, "");
  const seconds = Number(args.find((arg) => arg.startsWith("--for="))?.slice(6) ?? SECONDS);
  const named = args.filter((arg) => !arg.startsWith("--"));
  const known = await targets(root);
  const wrong = named.find((name) => !known.includes(name));
  if (wrong || !(seconds > 0)) {
    console.error(wrong ? `fuzz: no target ${wrong}; there are ${known}` : "fuzz: --for=SECONDS");
    return 2;
  }
  let passed = 0, failed = 0;
  for (const target of named.length > 0 ? named : known) {
    if (await fuzz(root, target, seconds)) passed++;
    else failed++;
  }
  console.log(closingLine({ passed, failed }));
  return failed > 0 ? 1 : 0;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
