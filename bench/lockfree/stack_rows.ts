/**
 * The stack in bare C beside those of other libraries.
 *
 * @module
 */
import { ownBaseline, programRow, type ProgramWork } from "../frame/program_side.ts";
import type { BenchContext, RowDefinition } from "../frame/row.ts";
import { CK_STACK, URCU_LFSTACK } from "../peers/stacks.ts";

function pairs(threads: number, full: number) {
  return ({ size }: BenchContext): ProgramWork => {
    const items = size({ smoke: 10_000, full });
    return { args: [String(threads), String(items)], items };
  };
}

function stackRow(words: string, threads: number, full: number, limit?: number): RowDefinition {
  const work = pairs(threads, full);
  return programRow({
    group: "lockfree",
    name: `stack pop + push, ${words}`,
    unit: "ns a pair",
    note: "64 nodes, popped and pushed back, as a pool of free cells is used; nothing is copied",
    source: "bench/lockfree/stack_bare.c",
    work,
    limit,
    equals: [CK_STACK],
    shown: [URCU_LFSTACK],
    baselines: [
      ownBaseline("with values copied", "bench/lockfree/stack_values_bare.c", work),
    ],
  });
}

/** Rows of the stack. */
export const STACK_ROWS: RowDefinition[] = [
  stackRow("one thread", 1, 5e6, 15),
  stackRow("two threads", 2, 2e6),
];
