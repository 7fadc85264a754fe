/**
 * A side of a row that is a program: started once a round, it does the work that its arguments name and
 * prints `seconds digest [name=figure ...]`.
 *
 * @module
 */
import { bareProgram } from "./bare_program.ts";
import { type PeerProgram, peerProgram } from "./peer_program.ts";
import type { BenchContext, Contender, Floor, RowDefinition, Sample, Session } from "./row.ts";

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

/** Another's library, and the program of `bench/peers/` that uses it. */
export type PeerLibrary = Omit<Contender, "kind" | "open"> & { program: PeerProgram };

/** It as a side of a row. */
export function peerSide(
  side: PeerLibrary,
  work: (context: BenchContext) => ProgramWork,
): Contender {
  const { program, ...rest } = side;
  return {
    ...rest,
    kind: "peer",
    open: async (context) => session(await peerProgram(program, context.smoke), work(context)),
  };
}

/** A row whose sides are all programs with the same arguments: where lower is better. */
export interface ProgramRow {
  group: string;
  name: string;
  unit: string;
  note?: string;
  /** Our C source. */
  source: string;
  work: (context: BenchContext) => ProgramWork;
  /** Not above this, where the target is a figure. */
  limit?: number;
  /** Further floors. */
  floors?: Floor[];
  /** Peers we have to be equal to. */
  equals?: PeerLibrary[];
  /** Peers that are shown: they promise less, or are known to be slower. */
  shown?: PeerLibrary[];
  baselines?: Contender[];
}

/** Enough rounds for a claim of equality; one suffices to see that a row runs. */
export const PROGRAM_ROUNDS = { smoke: 1, full: 15 };

/** The row that runs them. */
export function programRow(row: ProgramRow): RowDefinition {
  const { group, name, unit, note, source, work, limit, equals = [], shown = [] } = row;
  const floors: Floor[] = limit === undefined ? [] : [{ kind: "absolute", value: limit }];
  floors.push(...row.floors ?? []);
  for (const peer of equals) floors.push({ kind: "equal", to: peer.name });
  return {
    group,
    name,
    unit,
    note,
    better: "lower",
    rounds: PROGRAM_ROUNDS,
    floors,
    own: ownProgram(source, work),
    others: [
      ...[...equals, ...shown].map((peer) => peerSide(peer, work)),
      ...row.baselines ?? [],
    ],
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
