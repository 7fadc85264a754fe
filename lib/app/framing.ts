/**
 * Where a record of a text file begins and ends. A record ends at LF, which is not stored; CR is
 * kept; bytes after the last LF are a record too, flagged as unterminated. Bytes are bytes: nothing
 * is decoded. `LineSplitter` and `joinRecord` are inverse, so a file comes back exactly.
 *
 * @module
 */

const LF = 10;

/** One record of the input. */
export interface Line {
  /** Its bytes: a view that is good until the next call of the splitter. */
  record: Uint8Array;
  /** Whether the input ended without a LF behind it. */
  unterminated: boolean;
  /** The offset in the input just behind it and its LF. */
  endOffset: number;
}

/** A record that is longer than allowed. Records before it were delivered. */
export class RecordTooLong extends Error {
  override readonly name = "RecordTooLong";
  constructor(
    /** Number of the record, from 1: what an editor calls its line. */
    readonly line: number,
    readonly bytesMax: number,
  ) {
    super(`line ${line} is longer than ${bytesMax} bytes`);
  }
}

/** Cuts chunks of any size into records: `push` a chunk, take with `next` until there is none. */
export class LineSplitter {
  #chunk: Uint8Array = new Uint8Array(0);
  /** Offset in the chunk of the first byte that is in no record yet. */
  #begin = 0;
  /** Offset in the input of the first byte of the chunk. */
  #chunkOffset: number;
  /** The beginning of a record whose end is in a later chunk. */
  #carry = new Uint8Array(4096);
  #carryBytes = 0;
  #ended = false;
  #records: number;

  constructor(
    private readonly bytesMax: number,
    /** Where the first chunk lies in the input, and how many records lie before it. */
    start: { offset: number; records: number } = { offset: 0, records: 0 },
  ) {
    this.#chunkOffset = start.offset;
    this.#records = start.records;
  }

  /** Takes the next bytes of the input, which must stay as they are until `next` gives undefined. */
  push(chunk: Uint8Array): void {
    this.#chunkOffset += this.#chunk.length;
    this.#chunk = chunk;
    this.#begin = 0;
  }

  /** Says that the input has ended: what is left becomes a record. */
  end(): void {
    this.push(new Uint8Array(0));
    this.#ended = true;
  }

  /** The next record, or undefined when another chunk is needed. */
  next(): Line | undefined {
    const end = this.#chunk.indexOf(LF, this.#begin);
    if (end >= 0) {
      const rest = this.#chunk.subarray(this.#begin, end);
      this.#begin = end + 1;
      return this.#line(rest, false);
    }
    if (this.#begin < this.#chunk.length) this.#keep(this.#chunk.subarray(this.#begin));
    this.#begin = this.#chunk.length;
    if (!this.#ended || this.#carryBytes === 0) return undefined;
    return this.#line(new Uint8Array(0), true);
  }

  #line(rest: Uint8Array, unterminated: boolean): Line {
    if (this.#carryBytes + rest.length > this.bytesMax) this.#refuse();
    let record = rest;
    if (this.#carryBytes > 0) {
      this.#keep(rest);
      record = this.#carry.subarray(0, this.#carryBytes);
      this.#carryBytes = 0;
    }
    this.#records++;
    return { record, unterminated, endOffset: this.#chunkOffset + this.#begin };
  }

  #keep(bytes: Uint8Array): void {
    const needed = this.#carryBytes + bytes.length;
    if (needed > this.bytesMax) this.#refuse();
    if (needed > this.#carry.length) {
      const size = Math.min(Math.max(needed, 2 * this.#carry.length), this.bytesMax);
      const grown = new Uint8Array(size);
      grown.set(this.#carry.subarray(0, this.#carryBytes));
      this.#carry = grown;
    }
    this.#carry.set(bytes, this.#carryBytes);
    this.#carryBytes = needed;
  }

  #refuse(): never {
    throw new RecordTooLong(this.#records + 1, this.bytesMax);
  }
}

/** Writes a record as it stood in the file; gives the offset behind it in `into`. */
export function joinRecord(
  record: Uint8Array,
  unterminated: boolean,
  into: Uint8Array,
  offset: number,
): number {
  into.set(record, offset);
  if (unterminated) return offset + record.length;
  into[offset + record.length] = LF;
  return offset + record.length + 1;
}
