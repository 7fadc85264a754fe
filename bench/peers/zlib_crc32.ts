/**
 * `crc32` of node:zlib as Deno brings it.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { checksumSession } from "../base/checksum_work.ts";
import type { Contender } from "../frame/row.ts";

export const zlibCrc32: Contender = {
  name: "node:zlib crc32",
  kind: "baseline",
  note: "another polynomial, so another digest: shown for its speed, it does not compete",
  open({ seed, size }) {
    return checksumSession(
      seed,
      size({ smoke: 2_000, full: 300_000 }),
      (bytes, before) => crc32(bytes, before),
    );
  },
};
