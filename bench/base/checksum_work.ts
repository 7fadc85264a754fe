/**
 * The work of the checksum rows: the same for every side.
 *
 * @module
 */
import type { Session } from "../frame/row.ts";
import { seededRecords } from "../frame/statistics.ts";

/** Bytes of one call. */
export const CHECKSUM_BYTES = 4096;

/** A round of `calls` checksums over buffers that stay in the first cache: GB/s. */
export function checksumSession(
  seed: number,
  calls: number,
  checksum: (bytes: Uint8Array<ArrayBuffer>, before: number) => number,
): Session {
  const [bytes] = seededRecords(seed, 1, CHECKSUM_BYTES);
  return {
    round() {
      let crc = 0;
      const started = performance.now();
      for (let call = 0; call < calls; call++) crc = checksum(bytes, crc);
      const seconds = (performance.now() - started) / 1000;
      const digest = (checksum(bytes, 0) >>> 0).toString(16);
      const value = calls * CHECKSUM_BYTES / seconds / 1e9;
      return {
        value,
        records: calls,
        durability: "none",
        digest,
        also: { "ns a call": seconds / calls * 1e9 },
      };
    },
  };
}
