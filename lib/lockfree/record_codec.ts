/**
 * What records are to TypeScript: bytes, text, or any value that can be cloned; and how many of them
 * travel in one buffer.
 *
 * @module
 */
import { refuse } from "../base/error.ts";

/** What the records of a queue are. Each end says it for itself. */
export type RecordEncoding = "bytes" | "string" | "structured";

/** What is pushed, by encoding. */
export interface RecordInput {
  /** As they are. */
  bytes: Uint8Array;
  /** As UTF-8. */
  string: string;
  /** Anything that `structuredClone` takes, but for what is transferred. */
  structured: unknown;
}

/** What is popped, by encoding. */
export interface RecordOutput {
  /** Bytes of their own; small ones share a buffer with others that nobody else writes to. */
  bytes: Uint8Array<ArrayBuffer>;
  /** From UTF-8. */
  string: string;
  /** A copy of the value. */
  structured: unknown;
}

/** Turns records into bytes and back. */
export interface RecordCodec {
  encode(record: unknown): Uint8Array<ArrayBuffer>;
  decode(bytes: Uint8Array<ArrayBuffer>): unknown;
  /** Whether what is decoded may point into the bytes. */
  readonly keepsBytes: boolean;
}

interface V8 {
  serialize(value: unknown): Uint8Array<ArrayBuffer>;
  deserialize(bytes: Uint8Array): unknown;
}

const CHUNK_BYTES = 65536;
/** About as much travels in one call at most. */
export const BATCH_BYTES_MAX: number = 1024 * 1024;

const encoder = new TextEncoder();
const decoder = new TextDecoder();
let v8: V8 | undefined;

/**
 * Where popped records lie: behind each other in a chunk, until it is full and left to them. A
 * `Uint8Array.slice` for each costs ten times as much.
 */
export class RecordChunk {
  /** The chunk; what lies before {@linkcode used} belongs to records. */
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(CHUNK_BYTES);
  /** Where the next record goes. */
  used = 0;

  /** Room for a record of `bytes`, of which at least `CHUNK_BYTES` are there. */
  renew(bytes: number): void {
    this.bytes = new Uint8Array(Math.max(CHUNK_BYTES, bytes));
    this.used = 0;
  }

  /** The record of `bytes` that was written at {@linkcode used}. */
  take(bytes: number): Uint8Array<ArrayBuffer> {
    const at = this.used, end = at + bytes;
    this.used = (end + 7) & ~7;
    return this.bytes.subarray(at, end);
  }
}

const STRING: RecordCodec = {
  encode(record) {
    if (typeof record !== "string") refuse("encode a record", "it is not a string");
    return encoder.encode(record);
  },
  decode: (bytes) => decoder.decode(bytes),
  keepsBytes: false,
};

const STRUCTURED: RecordCodec = {
  encode(record) {
    if (record === undefined) refuse("encode a record", "undefined is what an empty queue answers");
    return (v8 ??= loadV8()).serialize(record);
  },
  decode: (bytes) => (v8 ??= loadV8()).deserialize(bytes),
  keepsBytes: true,
};

/** The codec of an encoding; `undefined` for bytes, which need none. */
export function codecOf(
  action: string,
  encoding: RecordEncoding = "bytes",
): RecordCodec | undefined {
  if (encoding === "bytes") return undefined;
  if (encoding === "string") return STRING;
  if (encoding === "structured") return STRUCTURED;
  refuse(action, `encoding ${JSON.stringify(encoding)}: "bytes", "string" or "structured"`);
}

/** Loaded by the first record that needs it. */
function loadV8(): V8 {
  const host = globalThis as unknown as { process: { getBuiltinModule(name: string): unknown } };
  return host.process.getBuiltinModule("node:v8") as V8;
}

/** Records from `first` on, as {u32 bytes, bytes} padded to 4; about a MiB of them, at least one. */
export function encodeBatch(
  records: readonly Uint8Array[],
  first: number,
): { batch: Uint8Array<ArrayBuffer>; count: number } {
  let bytes = 0, end = first;
  for (; end < records.length && (end === first || bytes < BATCH_BYTES_MAX); end++) {
    bytes += 4 + padded(records[end].byteLength);
  }
  const batch = new Uint8Array(bytes);
  const sizes = new DataView(batch.buffer);
  for (let at = 0, index = first; index < end; index++) {
    const record = records[index];
    sizes.setUint32(at, record.byteLength, true);
    batch.set(record, at + 4);
    at += 4 + padded(record.byteLength);
  }
  return { batch, count: end - first };
}

/** The records of a batch that came out into `scratch`, in one copy of it unless they need none. */
export function decodeBatch(
  scratch: Uint8Array<ArrayBuffer>,
  count: number,
  codec: RecordCodec | undefined,
): unknown[] {
  const sizes = new DataView(scratch.buffer, scratch.byteOffset);
  let end = 0;
  for (let index = 0; index < count; index++) end += 4 + padded(sizes.getUint32(end, true));
  const batch = codec && !codec.keepsBytes ? scratch : scratch.slice(0, end);
  const records = new Array(count);
  for (let at = 0, index = 0; index < count; index++) {
    const bytes = sizes.getUint32(at, true);
    const record = batch.subarray(at + 4, at + 4 + bytes);
    records[index] = codec ? codec.decode(record) : record;
    at += 4 + padded(bytes);
  }
  return records;
}

/** Bytes with their padding in a batch. */
function padded(bytes: number): number {
  return (bytes + 3) & ~3;
}
