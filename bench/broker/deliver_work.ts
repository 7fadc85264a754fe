/**
 * The work of the delivery row: the same for every side.
 *
 * @module
 */
import { monotonicMicros } from "../../lib/base/clock.ts";
import type { BenchContext, Sample } from "../frame/row.ts";
import { percentile } from "../frame/statistics.ts";

/** Between two records: long enough for the receiver to fall asleep. */
export const GAP_MS = 2;

/** Records of a round. */
export function deliverRecords({ size }: BenchContext): number {
  return size({ smoke: 30, full: 1000 });
}

/** Median of one-way times, and their tail. */
export function delivered(micros: number[], records: number): Sample {
  return {
    value: percentile(micros, 0.5),
    records,
    durability: "ordered",
    digest: `${micros.length} in order`,
    also: { "p99 us": percentile(micros, 0.99), "least us": Math.min(...micros) },
  };
}

/** A record that says when it was sent. */
export function stamp(out: Float64Array<ArrayBuffer>, number: number): Uint8Array<ArrayBuffer> {
  out[0] = number;
  out[1] = monotonicMicros();
  return new Uint8Array(out.buffer);
}

/** Waits until the receiver sleeps. */
export function gap(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, GAP_MS));
}
