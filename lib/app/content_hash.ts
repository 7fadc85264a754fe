/**
 * A 32-bit hash of a record's bytes, by which the checker sees that what was delivered is what was
 * acknowledged. MurmurHash3 x86_32 (Austin Appleby, public domain): it must only find accidents.
 *
 * @module
 */

/** The hash of all bytes of `record`, as an unsigned 32-bit number. */
export function contentHash(record: Uint8Array): number {
  const length = record.length;
  const blocksEnd = length & ~3;
  let h = 0;
  for (let i = 0; i < blocksEnd; i += 4) {
    const block = record[i] | (record[i + 1] << 8) | (record[i + 2] << 16) | (record[i + 3] << 24);
    h ^= scramble(block);
    h = (h << 13) | (h >>> 19);
    h = (Math.imul(h, 5) + 0xe6546b64) | 0;
  }
  let tail = 0;
  for (let i = length - 1; i >= blocksEnd; i--) tail = (tail << 8) | record[i];
  if (blocksEnd < length) h ^= scramble(tail);
  h ^= length;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function scramble(block: number): number {
  const k = Math.imul(block, 0xcc9e2d51);
  return Math.imul((k << 15) | (k >>> 17), 0x1b873593);
}
