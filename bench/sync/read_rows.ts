/**
 * What a read pays so that others may replace what it reads, beside other libraries.
 *
 * @module
 */
import {
  ownBaseline,
  type PeerLibrary,
  programRow,
  type ProgramWork,
} from "../frame/program_side.ts";
import type { BenchContext, Contender, RowDefinition } from "../frame/row.ts";
import { CK_EPOCH, CK_HP, URCU_MEMB, URCU_QSBR } from "../peers/readers.ts";

function reads(full: number) {
  return ({ size }: BenchContext): ProgramWork => {
    const items = size({ smoke: 20, full }) * 1024;
    return { args: [String(items)], items };
  };
}

function readRow(
  name: string,
  source: string,
  limit: number,
  equals: PeerLibrary[],
  shown: PeerLibrary[] = [],
  baselines: Contender[] = [],
): RowDefinition {
  return programRow({
    group: "sync",
    name,
    unit: "ns a read",
    note: "a pointer and the word behind it; nobody writes",
    source: `bench/sync/${source}.c`,
    work: reads(20_000),
    limit,
    equals,
    shown,
    baselines,
  });
}

function fences(unit: string): Contender {
  const source = `bench/sync/read_${unit}_fences_bare.c`;
  return ownBaseline("ours with fences", source, reads(20_000), "where membarrier is missing");
}

/** Rows of read sides. */
export const READ_ROWS: RowDefinition[] = [
  readRow("read of latest", "read_latest_bare", 1.5, []),
  readRow("read under hazard", "read_hazard_bare", 7, [CK_HP], [], [fences("hazard")]),
  readRow("read under epoch", "read_epoch_bare", 7, [CK_EPOCH], [URCU_MEMB], [fences("epoch")]),
  readRow("read under rcu", "read_rcu_bare", 7, [URCU_MEMB]),
  readRow("read under rcu, quiescent states", "read_quiescent_bare", 0.5, [URCU_QSBR]),
];
