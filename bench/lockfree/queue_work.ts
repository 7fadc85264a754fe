/**
 * The work of the queue rows: arguments of `bench/lockfree/queue_drive.h`.
 *
 * @module
 */
import type { ProgramWork } from "../frame/program_side.ts";
import type { BenchContext } from "../frame/row.ts";

/** Room of every queue that has a capacity, in items. */
export const QUEUE_CAPACITY = 8192;

/** Several threads, each pushing or popping its share. */
export function flow(producers: number, consumers: number, full: number, batch = 1) {
  return (context: BenchContext): ProgramWork => {
    const items = context.size({ smoke: 19_200, full });
    return {
      args: ["flow", producers, consumers, items, batch, QUEUE_CAPACITY].map(String),
      items,
    };
  };
}

/** One thread pushes a batch, then pops it. */
export function pair(full: number, batch = 1) {
  return (context: BenchContext): ProgramWork => {
    const items = context.size({ smoke: 19_200, full });
    return { args: ["pair", 1, 1, items, batch, QUEUE_CAPACITY].map(String), items };
  };
}

/** One value between two threads; the figure is one way. */
export function pingpong(full: number) {
  return (context: BenchContext): ProgramWork => {
    const items = context.size({ smoke: 2000, full });
    return {
      args: ["pingpong", 1, 1, items, 1, QUEUE_CAPACITY].map(String),
      items,
      value: (seconds) => seconds / items / 2 * 1e9,
    };
  };
}
