/**
 * CRC-32C in plain TypeScript, eight tables ("slicing by eight"): what one would use without C.
 *
 * @module
 */
import { checksumSession } from "../base/checksum_work.ts";
import type { Contender } from "../frame/row.ts";

const POLYNOMIAL = 0x82f63b78;

function tables(): Uint32Array[] {
  const all = Array.from({ length: 8 }, () => new Uint32Array(256));
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    all[0][byte] = crc >>> 0;
  }
  for (let slice = 1; slice < 8; slice++) {
    for (let byte = 0; byte < 256; byte++) {
      const before = all[slice - 1][byte];
      all[slice][byte] = (before >>> 8) ^ all[0][before & 255];
    }
  }
  return all;
}

/** Makes the function; `bytes` must be a multiple of 8 long and aligned. */
export function makeTableCrc32c(): (bytes: Uint8Array<ArrayBuffer>, before: number) => number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = tables();
  return (bytes, before) => {
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >>> 2);
    let crc = ~before;
    for (let at = 0; at < words.length; at += 2) {
      const low = crc ^ words[at];
      const high = words[at + 1];
      crc = t7[low & 255] ^ t6[(low >>> 8) & 255] ^ t5[(low >>> 16) & 255] ^ t4[low >>> 24] ^
        t3[high & 255] ^ t2[(high >>> 8) & 255] ^ t1[(high >>> 16) & 255] ^ t0[high >>> 24];
    }
    return ~crc >>> 0;
  };
}

export const jsTableCrc32c: Contender = {
  name: "TypeScript, eight tables",
  kind: "peer",
  open({ seed, size }) {
    return checksumSession(seed, size({ smoke: 2_000, full: 300_000 }), makeTableCrc32c());
  },
};
