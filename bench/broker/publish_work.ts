/**
 * The work of the publish rows: the same for every side.
 *
 * @module
 */
import type { BenchContext, Sample } from "../frame/row.ts";
import { RecordDigest } from "../frame/statistics.ts";

/** Bytes of a record. */
export const RECORD_BYTES = 1024;

/** Records of a batch. */
export const BATCH_RECORDS = 64;

/** Different records, sent in turn. */
export const RECORD_KINDS = 64;

/** Records of a round: whole batches. */
export function publishRecords({ size }: BenchContext): number {
  return size({ smoke: 100, full: 20_000 }) * BATCH_RECORDS;
}

/** The digest that every side must come to, and the one a subscriber computes. */
export function expectedDigest(records: readonly Uint8Array[], count: number): string {
  const digest = new RecordDigest();
  for (let at = 0; at < count; at++) digest.add(records[at % records.length]);
  return digest.toString();
}

/** A figure in millions of records each second. */
export function rate(records: number, seconds: number, digest: string): Sample {
  return {
    value: records / seconds / 1e6,
    records,
    durability: "ordered",
    digest,
    also: { "GB/s": records * RECORD_BYTES / seconds / 1e9 },
  };
}
