/**
 * The work of the row of awaited records: the same for every side.
 *
 * @module
 */
import type { BenchContext, Sample } from "../frame/row.ts";
import { percentile, seededRecords } from "../frame/statistics.ts";

/** Bytes of a record. */
export const RECORD_BYTES = 100;
const RECORD_KINDS = 64;

/** Writes records one after the other, each awaited; the median is the figure. */
export async function awaitEach(
  context: BenchContext,
  write: (record: Uint8Array<ArrayBuffer>, number: number) => Promise<unknown> | unknown,
): Promise<Sample> {
  const records = seededRecords(context.seed, RECORD_KINDS, RECORD_BYTES);
  const count = context.size({ smoke: 20, full: 500 });
  const micros: number[] = [];
  for (let number = 0; number < count; number++) {
    const started = performance.now();
    await write(records[number % RECORD_KINDS], number);
    micros.push((performance.now() - started) * 1000);
  }
  return {
    value: percentile(micros, 0.5),
    records: count,
    durability: "durable",
    digest: `${count} x ${RECORD_BYTES} B`,
    also: { "p99 us": percentile(micros, 0.99) },
  };
}
