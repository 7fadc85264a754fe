/**
 * Records encoded for one publish.
 *
 * @module
 */
import { refuse } from "../base/error.ts";

/** Largest record, in bytes (a topic with small lanes takes less: half of a lane). */
export const RECORD_BYTES_MAX: number = 4 * 1024 * 1024;
/** Flag of a record that had no line end after it (the last one of an input). */
export const FLAG_UNTERMINATED = 1;

const HEADER_BYTES = 8;
const UNTERMINATED_BIT = 0x80000000;

/**
 * Records side by side in one buffer, published by one call. Fill it, offer it, clear it, fill it
 * again: it allocates nothing after its construction. Lives in one isolate.
 *
 * @example
 * ```ts
 * import { RecordBatch } from "@keelson/keelson";
 *
 * const batch = new RecordBatch();
 * batch.add(new TextEncoder().encode("first"));
 * batch.add(new TextEncoder().encode("second"));
 * console.assert(batch.count === 2);
 * ```
 */
export class RecordBatch {
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  #used = 0;
  #count = 0;

  /**
   * Makes an empty batch.
   *
   * @param capacityBytes room for records, each with 8 bytes of framing and padded to 8
   */
  constructor(capacityBytes: number = 256 * 1024) {
    if (!Number.isSafeInteger(capacityBytes) || capacityBytes < 64 || capacityBytes > 2 ** 29) {
      refuse("make a RecordBatch", `capacityBytes is a whole number from 64 to 2^29`);
    }
    this.#bytes = new Uint8Array((capacityBytes + 7) & ~7);
    this.#words = new Uint32Array(this.#bytes.buffer);
  }

  /**
   * Appends one record. `false`: it does not fit any more (publish and clear first).
   *
   * @param flags 0 or {@linkcode FLAG_UNTERMINATED}
   */
  add(record: Uint8Array, flags = 0): boolean {
    const bytes = record.byteLength;
    if (bytes > RECORD_BYTES_MAX) {
      refuse("add a record", `it has ${bytes} bytes and the limit is ${RECORD_BYTES_MAX}`);
    }
    const at = this.#used;
    const end = at + HEADER_BYTES + ((bytes + 7) & ~7);
    if (end > this.#bytes.byteLength) return false;
    const word = at >>> 2;
    this.#words[word] = flags & FLAG_UNTERMINATED ? (bytes | UNTERMINATED_BIT) >>> 0 : bytes;
    this.#words[word + 1] = 0;
    if (bytes & 7) {
      this.#words[(end >>> 2) - 1] = 0; // padding is zero, never an older record's bytes
      this.#words[(end >>> 2) - 2] = 0;
    }
    this.#bytes.set(record, at + HEADER_BYTES);
    this.#used = end;
    this.#count++;
    return true;
  }

  /** Records in it. */
  get count(): number {
    return this.#count;
  }

  /** Bytes used, framing included. */
  get bytes(): number {
    return this.#used;
  }

  /** Bytes it can take, framing included. */
  get capacityBytes(): number {
    return this.#bytes.byteLength;
  }

  /** The buffer as the core reads it; for the publisher. */
  get encoded(): Uint8Array {
    return this.#bytes;
  }

  /** Empties it. */
  clear(): void {
    this.#used = 0;
    this.#count = 0;
  }
}
