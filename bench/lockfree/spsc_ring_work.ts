/**
 * The work of the ring rows: the same for every side.
 *
 * @module
 */
import type { BenchContext, Sample } from "../frame/row.ts";

/** Pushed before anything is popped. */
export const BURST = 512;

/** Words of a round. */
export function ringWords({ size }: BenchContext): number {
  return size({ smoke: 20, full: 20_000 }) * BURST;
}

/** Nanoseconds for one push and one pop. */
export function ringSample(words: number, seconds: number, digest: number): Sample {
  return {
    value: seconds / words * 1e9,
    records: words,
    durability: "none",
    digest: (digest >>> 0).toString(16).padStart(8, "0"),
  };
}
