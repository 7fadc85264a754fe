/**
 * How the programs are built whose atomic operations call a test: `*_steps_test.c` (killed before the
 * k-th of them) and `*_model.c` (every interleaving and every reading of a memory model). Objects of
 * `c/` and of the test itself are compiled with `tests/c/model/hooked/atomics.h` in front; those of a
 * model also tell each plain access, by the instrumentation of `-fsanitize=thread` without its
 * run-time library.
 *
 * @module
 */
import { contentHash, type PlannedObject, planObjects } from "./build.ts";
import type { Compiler } from "./compiler.ts";

/** What a test program is built from: ordinary objects, or hooked ones of one of two kinds. */
export type ProgramKind = "plain" | "steps" | "model";

const HOOKS = "tests/c/model/hooked/atomics.h";
const FAKES = "tests/c/model/explorer_fakes.c";

/** The kind of the program whose test is `source`. */
export function programKind(source: string): ProgramKind {
  if (source.endsWith("_steps_test.c")) return "steps";
  return source.endsWith("_model.c") ? "model" : "plain";
}

/** Whether the program of this test is hooked. */
export function isHooked(source: string): boolean {
  return programKind(source) !== "plain";
}

/** The objects of hooked programs of one kind; the machinery itself is compiled as it is. */
export async function planHooked(
  root: string,
  sources: string[],
  kind: "steps" | "model",
  compiler: Compiler,
): Promise<PlannedObject[]> {
  if (sources.length === 0) return [];
  const own = sources.filter((path) => !isMachinery(path));
  const machinery = sources.filter(isMachinery);
  const version = await contentHash([await Deno.readTextFile(`${root}/${HOOKS}`)]);
  const flags = ["-UKL_DEBUG", `-DKL_HOOKED=0x${version}`, "-include", HOOKS];
  if (kind === "model") flags.push("-DKL_HOOKED_PLAIN", "-fsanitize=thread");
  return [
    ...await planObjects(root, own, "debug", compiler, flags),
    ...await planObjects(root, machinery, "release", compiler),
  ];
}

/** Link flags: a model's calls of the outside world arrive at the explorer. */
export async function linkHooked(root: string, kind: "steps" | "model"): Promise<string[]> {
  if (kind === "steps") return ["-pthread"];
  const text = await Deno.readTextFile(`${root}/${FAKES}`);
  const names = new Set([...text.matchAll(/^WRAP\([^,]+, (\w+),/gm)].map((match) => match[1]));
  return ["-pthread", ...[...names].sort().map((name) => `-Wl,--wrap=${name}`)];
}

function isMachinery(path: string): boolean {
  return path === "tests/c/harness.c" ||
    path.startsWith("tests/c/model/") && programKind(path) === "plain";
}
