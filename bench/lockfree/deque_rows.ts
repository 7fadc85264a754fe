/**
 * The deque in bare C. No library of the distribution hands out its own to compare with.
 *
 * @module
 */
import { programRow, type ProgramWork } from "../frame/program_side.ts";
import type { BenchContext, RowDefinition } from "../frame/row.ts";

function deque(mode: string, full: number, burst: number) {
  return ({ size }: BenchContext): ProgramWork => {
    const items = size({ smoke: 6400, full });
    return { args: [mode, String(items), String(burst)], items };
  };
}

const DEQUE = { group: "lockfree", source: "bench/lockfree/deque_bare.c" };

/** Rows of the deque. */
export const DEQUE_ROWS: RowDefinition[] = [
  programRow({
    ...DEQUE,
    name: "work_deque push + pop",
    unit: "ns a pair",
    note: "bursts of 64 by the owner",
    work: deque("pair", 10e6 - 10e6 % 64, 64),
    limit: 9,
  }),
  programRow({
    ...DEQUE,
    name: "work_deque steal from the other processor",
    unit: "ns a steal",
    note: "the time of the thief's call for the one task that the owner has just pushed",
    work: deque("steal", 300_000, 1),
    limit: 250,
  }),
  programRow({
    ...DEQUE,
    name: "work_deque push, stolen by 32",
    unit: "ns a task",
    note: "the owner pushes on, the thief takes up to 32 a call",
    work: deque("take", 3e6, 32),
  }),
];
