/**
 * The capability table in bare C. Nothing in the distribution does the same.
 *
 * @module
 */
import { programRow, type ProgramWork } from "../frame/program_side.ts";
import type { BenchContext, RowDefinition } from "../frame/row.ts";

function table(mode: string, full: number, depth: number) {
  return ({ size }: BenchContext): ProgramWork => {
    const items = size({ smoke: 10_000, full });
    return { args: [mode, String(items), String(depth)], items };
  };
}

const TABLE = { group: "lockfree", source: "bench/lockfree/capability_bare.c" };

/** Rows of the capability table. */
export const CAPABILITY_ROWS: RowDefinition[] = [
  programRow({
    ...TABLE,
    name: "capability_table check",
    unit: "ns a check",
    note: "two bits of a capability that came from no other; 1000 live ones",
    work: table("check", 20e6, 0),
    limit: 5,
  }),
  programRow({
    ...TABLE,
    name: "capability_table check, delegated twice",
    unit: "ns a check",
    note: "the same, of the child of a child",
    work: table("check", 10e6, 2),
  }),
  programRow({
    ...TABLE,
    name: "capability_table find",
    unit: "ns a key",
    note: "1000 keys in turn",
    work: table("find", 3e6, 0),
  }),
  programRow({
    ...TABLE,
    name: "capability_table end + insert",
    unit: "ns a pair",
    note: "one of 1000 ends, another key comes",
    work: table("turn", 500_000, 0),
  }),
];
