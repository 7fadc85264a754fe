/**
 * C tests for another machine, run here by an emulator: compiled by clang, linked statically with lld
 * against Debian's cross C library, started through `qemu-<machine>-static`.
 *
 * An emulator on x86-64 keeps that machine's stronger memory order, so what passes here is evidence
 * for types, layouts, alignment, system calls and hand-written instructions, and none for the order
 * of memory accesses: those are the explorer's.
 *
 * @module
 */
import { EMULATOR_LACKS } from "../tests/allowed_skips.ts";
import { type Compiler, crossHeaders, lookFor } from "./compiler.ts";

/** Machines that can be asked for. */
export const CROSS_TARGETS = ["arm64"] as const;
/** One of them. */
export type CrossTarget = typeof CROSS_TARGETS[number];

/** Rows whose tests run there; the rows above are TypeScript or the disk, which is the same disk. */
const ROWS = ["base", "mem", "sync", "lockfree", "exec"];

/** A machine that can be compiled for and emulated. */
export interface Cross {
  compiler: Compiler;
  /** Flags that link a program. */
  link: string[];
  emulator: string;
  /** Environment of the programs. */
  env: Record<string, string>;
  /** Whether a source file is among the tests that run there. */
  runs(source: string): boolean;
  /** Why a test cannot run there, or undefined when it can. */
  lacks(test: string): string | undefined;
}

/** What compiles for and emulates that machine; undefined when this machine lacks a part of it. */
export async function lookForCross(_target: CrossTarget): Promise<Cross | undefined> {
  const triple = "aarch64-linux-gnu", emulator = "qemu-aarch64-static";
  const clang = await lookFor("clang");
  if (!clang || !await present(crossHeaders(triple)) || !await starts(emulator)) return undefined;
  const cross: Cross = {
    compiler: { ...clang, target: triple },
    link: [`--target=${triple}`, "-static-pie", "-fuse-ld=lld", "-pthread"],
    emulator,
    env: { KL_TEST_SLOW: "1" },
    runs: (source) => ROWS.some((row) => source.startsWith(`tests/c/${row}/`)),
    lacks: (test) => EMULATOR_LACKS[test],
  };
  return await links(cross) ? cross : undefined;
}

/** The names of a program's tests that run there, and of those that cannot. */
export async function testsOf(
  { emulator, lacks }: Cross,
  program: string,
  filter: string[],
): Promise<{ run: string[]; lacking: string[] }> {
  const { stdout } = await new Deno.Command(emulator, { args: [program, "--list"] }).output();
  const names = new TextDecoder().decode(stdout).trim().split("\n")
    .filter((name) => filter.length === 0 || filter.some((part) => name.includes(part)));
  return {
    run: names.filter((name) => !lacks(name)),
    lacking: names.filter((name) => lacks(name)),
  };
}

/** The linker, the C library and the compiler's own library may each be absent. */
async function links({ compiler, link }: Cross): Promise<boolean> {
  const folder = await Deno.makeTempDir({ prefix: "keelson-cross-" });
  try {
    await Deno.writeTextFile(`${folder}/trial.c`, "int main(void) { return 0; }\n");
    return await succeeds(compiler.path, [...link, `${folder}/trial.c`, "-o", `${folder}/trial`]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function starts(program: string): Promise<boolean> {
  return succeeds(program, ["--version"]);
}

async function succeeds(program: string, args: string[]): Promise<boolean> {
  const command = new Deno.Command(program, { args, stdout: "null", stderr: "null" });
  return await command.output().then(({ success }) => success, () => false);
}

async function present(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}
