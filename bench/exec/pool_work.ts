/**
 * The tasks of the pool rows: the same for every side, and with the same answers.
 *
 * @module
 */
import type { BenchContext, Sample } from "../frame/row.ts";

/** Workers of every pool. */
export const POOL_THREADS = 2;

/** Turns of {@linkcode spin} in a microsecond on a processor of 2020 or later. */
const TURNS_A_MICROSECOND = 770;

/** So many tasks, of so many turns each. */
export interface PoolWork {
  tasks: number;
  turns: number;
}

/** Tasks that take about so long. */
export function poolWork({ size }: BenchContext, micros: number, full: number): PoolWork {
  return { tasks: size({ smoke: 100, full }), turns: micros * TURNS_A_MICROSECOND };
}

/** One task: a chain of multiplications, which two threads of one core do not slow each other down by. */
export function spin(index: number, turns: number): number {
  let state = index;
  for (let turn = 0; turn < turns; turn++) state = (Math.imul(state, 1664525) + 1013904223) | 0;
  return state >>> 0;
}

/**
 * Calls one of several functions, so that V8 does not copy it into the caller's loop: the loops in each
 * other stay half optimized, and what one thread takes alone would look worse than it is.
 */
function call(fn: (index: number, turns: number) => number, index: number, turns: number): number {
  return fn(index, turns);
}
for (const other of [(index: number) => index, (_: number, turns: number) => turns, () => 0]) {
  call(other, 0, 0);
}
for (let index = 0; index < 2000; index++) call(spin, index, 100);

/** All tasks one after the other on the calling thread. */
export function spinAlone({ tasks, turns }: PoolWork): { seconds: number; digest: number } {
  const started = performance.now();
  let digest = 0;
  for (let index = 0; index < tasks; index++) digest = fold(digest, call(spin, index, turns));
  return { seconds: (performance.now() - started) / 1000, digest };
}

/** The digest with one more answer. */
export function fold(digest: number, answer: number): number {
  return (Math.imul(digest, 31) + answer) | 0;
}

/** Percent of what {@linkcode POOL_THREADS} threads could do at best. */
export function poolSample(
  work: PoolWork,
  seconds: number,
  alone: number,
  digest: number,
): Sample {
  return {
    value: alone / POOL_THREADS / seconds * 100,
    records: work.tasks,
    durability: "none",
    digest: (digest >>> 0).toString(16).padStart(8, "0"),
    also: { "tasks a second": work.tasks / seconds, "task us": alone / work.tasks * 1e6 },
  };
}
