/**
 * A side of a row that is a program: started once a round, it does the work that its arguments name and
 * prints `seconds digest [name=figure ...]`.
 *
 * @module
 */
import { bareProgram } from "./bare_program.ts";
import { type PeerProgram, peerProgram } from "./peer_program.ts";
import type { BenchContext, Contender, Sample, Session } from "./row.ts";

/** What the programs of a row are to do. */
export interface ProgramWork {
  args: string[];
  /** Items; the figure is nanoseconds for each, unless `value` says otherwise. */
  items: number;
  /** The figure from the seconds of a round. */
  value?: (seconds: number, also: Record<string, number>) => number;
}

/** Ours: a C source of the checkout with all of the library. */
export function ownProgram(
  source: string,
  work: (context: BenchContext) => ProgramWork,
): { open: Contender["open"] } {
  return {
    open: async (context) => session(await bareProgram(source), work(context)),
  };
}

/** The same source as a side beside ours: another of our structures, or another setting. */
export function ownBaseline(
  name: string,
  source: string,
  work: (context: BenchContext) => ProgramWork,
  note?: string,
): Contender {
  return { name, kind: "baseline", note, ...ownProgram(source, work) };
}

/** Another's library. */
export function peerSide(
  side: Omit<Contender, "kind" | "open"> & { program: PeerProgram },
  work: (context: BenchContext) => ProgramWork,
): Contender {
  const { program, ...rest } = side;
  return {
    ...rest,
    kind: "peer",
    open: async (context) => session(await peerProgram(program, context.smoke), work(context)),
  };
}

function session(program: string, work: ProgramWork): Session {
  return { round: () => runProgram(program, work) };
}

async function runProgram(program: string, work: ProgramWork): Promise<Sample> {
  const { success, code, signal, stdout, stderr } = await new Deno.Command(program, {
    args: work.args,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  const decoder = new TextDecoder();
  if (!success) {
    const words = decoder.decode(stderr).trim();
    const name = program.replace(/^.*\//, "");
    throw new Error(`${name} ${work.args.join(" ")} ended with ${signal ?? code}: ${words}`);
  }
  const [seconds, digest, ...rest] = decoder.decode(stdout).trim().split(" ");
  const also = Object.fromEntries(
    rest.map((word) => word.split("=")).map(([name, value]) => [name.replaceAll("_", " "), +value]),
  );
  const value = work.value?.(+seconds, also) ?? +seconds / work.items * 1e9;
  return { value, records: work.items, durability: "none", digest, also };
}
