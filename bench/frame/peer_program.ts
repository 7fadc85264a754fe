/**
 * Builds the programs of peers that are C or C++ libraries: one source of `bench/peers/`, optimised for
 * the same processor as we are and one step further (`-O3`), against the library of the distribution.
 *
 * @module
 */
import { checkoutRoot } from "../../ffi/checkout.ts";
import { contentHash, linkInto } from "../../tools/build.ts";
import { findCompiler, machineFlags } from "../../tools/compiler.ts";
import { Missing } from "./row.ts";

/** A program of a peer. */
export interface PeerProgram {
  /** Source in the checkout: `.c` or `.cpp`. */
  source: string;
  /** Header that shows whether the peer is here, as it is included. */
  header: string;
  /** Debian package that has it. */
  package: string;
  /** Libraries to link, and definitions: `-lck`, `-DNAME=value`. */
  flags?: string[];
}

/**
 * Path of the built program; nothing is built twice for the same sources. A C++ compiler takes seconds for
 * headers like these, so a smoke run uses such a program only when it is there already.
 */
export async function peerProgram(peer: PeerProgram, smoke: boolean): Promise<string> {
  const root = checkoutRoot();
  if (!root) throw new Missing("peers are built in a checkout only");
  const cpp = peer.source.endsWith(".cpp");
  const compiler = cpp ? await cppCompiler() : (await findCompiler()).path;
  if (!compiler) throw new Missing("no C++ compiler (apt install g++)");
  const flags = [
    ...(cpp ? ["-std=c++17"] : ["-std=c11"]),
    ...machineFlags(),
    "-O3",
    "-D_GNU_SOURCE",
    `-I${root}`,
    "-pthread",
  ];
  const name = peer.source.replace(/^.*\//, "").replace(/\.\w+$/, "");
  const path = `${root}/build/bench/peer-${name}-${await programHash(root, peer, compiler)}`;
  if (await Deno.stat(path).catch(() => undefined)) return path;
  if (cpp && smoke) throw new Missing("C++ peers are not compiled in a smoke run");
  if (!await hasHeader(compiler, flags, peer.header)) {
    throw new Missing(`not installed (apt install ${peer.package})`);
  }
  await Deno.mkdir(`${root}/build/bench`, { recursive: true });
  const after = peer.flags ?? [];
  await linkInto(path, [compiler, ...flags, `${root}/${peer.source}`, ...after]);
  return path;
}

async function programHash(root: string, peer: PeerProgram, compiler: string): Promise<string> {
  const texts: string[] = [];
  const seen = new Set([peer.source]);
  for (const source of seen) { // grows while it is walked; bounded by the files there are
    const text = await Deno.readTextFile(`${root}/${source}`);
    texts.push(source, text);
    for (const [, own] of text.matchAll(/^#include "(bench\/[^"]+)"/gm)) seen.add(own);
  }
  return await contentHash([compiler, ...peer.flags ?? [], ...texts]);
}

/** The C++ half of the C compiler in use, else any. */
async function cppCompiler(): Promise<string | undefined> {
  const own = (await findCompiler()).path;
  const twins = [own.replace(/clang/, "clang++").replace(/gcc/, "g++"), "g++", "clang++"];
  for (const name of twins.filter((name) => name.includes("++"))) {
    if (await succeeds(name, ["-fsyntax-only", "-x", "c++", "-"], "#include <atomic>\n")) {
      return name;
    }
  }
  return undefined;
}

async function hasHeader(compiler: string, flags: string[], header: string): Promise<boolean> {
  const language = compiler.includes("++") ? "c++" : "c";
  const args = [...flags, "-E", "-x", language, "-"];
  return await succeeds(compiler, args, `#include <${header}>\n`);
}

async function succeeds(program: string, args: string[], input: string): Promise<boolean> {
  try {
    const child = new Deno.Command(program, {
      args,
      stdin: "piped",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(input)).catch(() => {});
    await writer.close().catch(() => {});
    return (await child.status).success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
