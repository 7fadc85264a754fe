/**
 * What the processes of a node say to each other over their pipes: little-endian frames
 * `{u32 kind, u32 payload bytes, payload}`. Numbers in payloads are f64, hashes u32, everything that
 * is rare is JSON. A pipe never reorders, and its end says that the other side has ended.
 *
 * @module
 */

/** The kinds of frames. */
export const FRAME = {
  /** publisher -> run: JSON {@linkcode SessionNote}; then it waits for GO */
  session: 1,
  /** publisher -> run -> checker: session, first sequence, then u32 content hashes */
  hashes: 2,
  /** publisher -> run -> checker: see {@linkcode Progress} */
  progress: 3,
  /** publisher -> run: microseconds until so many records were durable */
  latency: 4,
  /** publisher -> run: the input has ended: total records, total bytes */
  end: 5,
  /** run -> publisher: the checker knows the session, publish now */
  go: 16,
  /** run -> publisher: bytes of standard input */
  data: 17,
  /** run -> publisher: standard input has ended */
  dataEnd: 18,
  /** run -> any: finish what you began, then end */
  stop: 19,
  /** run -> checker: session to check, and from which of its records on */
  know: 20,
  /** run -> checker: nothing more will come; say the verdict */
  finish: 21,
  /** checker -> run: the same, once it is done */
  known: 32,
  /** checker -> run: JSON {@linkcode CheckNote} */
  statistics: 33,
  /** checker -> run: JSON {@linkcode CheckNote}, the last */
  verdict: 34,
  /** any role -> run: it is up */
  ready: 48,
} as const;

/** The largest payload anybody sends; more is a broken pipe partner. */
export const FRAME_BYTES_MAX = 16 << 20;

const HEADER_BYTES = 8;

/** One frame; the payload is a view that is good until the next `push`. */
export interface Frame {
  kind: number;
  payload: Uint8Array;
}

/** A publisher has opened its session. */
export interface SessionNote {
  session: number;
  /** Sequence of the next record: above 0 when the session was resumed. */
  next: number;
}

/** How far a session has come. All counts are totals of the session. */
export interface Progress {
  session: number;
  /** Records handed to the broker. */
  published: number;
  ordered: number;
  durable: number;
  /** What the acknowledgement level of this session counts: `ordered` or `durable`. */
  acknowledged: number;
  /** Payload bytes of the published records. */
  bytes: number;
  /** A record count that is surely ordered, and the input offset and payload bytes before it. */
  resumeSequence: number;
  resumeOffset: number;
  resumeBytes: number;
}

/** What the checker has seen. */
export interface CheckNote {
  delivered: number;
  lost: number;
  duplicates: number;
  outOfOrder: number;
  /** Sessions, and below which of their records everything is in these counts. */
  judged: [session: number, below: number][];
  publishToDeliverMicros: { p50: number | null; p99: number | null; p999: number | null };
}

/** One frame as bytes. */
export function encodeFrame(kind: number, payload: Uint8Array = new Uint8Array(0)): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, kind, true);
  view.setUint32(4, payload.length, true);
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

/** Cuts what comes out of a pipe into frames. */
export class FrameDecoder {
  #bytes = new Uint8Array(0);
  #offset = 0;

  /** Takes the next bytes. Frames gotten before are no longer good. */
  push(chunk: Uint8Array): void {
    if (this.#offset === this.#bytes.length) {
      this.#bytes = chunk as Uint8Array<ArrayBuffer>;
    } else {
      const rest = this.#bytes.subarray(this.#offset);
      const joined = new Uint8Array(rest.length + chunk.length);
      joined.set(rest);
      joined.set(chunk, rest.length);
      this.#bytes = joined;
    }
    this.#offset = 0;
  }

  /** The next whole frame, if there is one. */
  next(): Frame | undefined {
    const available = this.#bytes.length - this.#offset;
    if (available < HEADER_BYTES) return undefined;
    const view = new DataView(
      this.#bytes.buffer,
      this.#bytes.byteOffset + this.#offset,
      HEADER_BYTES,
    );
    const payloadBytes = view.getUint32(4, true);
    if (payloadBytes > FRAME_BYTES_MAX) throw new Error(`frame of ${payloadBytes} bytes in a pipe`);
    if (available < HEADER_BYTES + payloadBytes) return undefined;
    const begin = this.#offset + HEADER_BYTES;
    this.#offset = begin + payloadBytes;
    return { kind: view.getUint32(0, true), payload: this.#bytes.subarray(begin, this.#offset) };
  }
}

/** Reads a pipe until its end, frame by frame. */
export async function* frames(stream: ReadableStream<Uint8Array>): AsyncGenerator<Frame> {
  const decoder = new FrameDecoder();
  for await (const chunk of stream) {
    decoder.push(chunk);
    for (let frame = decoder.next(); frame; frame = decoder.next()) yield frame;
  }
}

/** Numbers as a payload. */
export function encodeNumbers(...numbers: number[]): Uint8Array {
  return new Uint8Array(Float64Array.from(numbers).buffer);
}

/** The numbers of a payload. */
export function decodeNumbers(payload: Uint8Array): Float64Array {
  return new Float64Array(payload.slice().buffer);
}

/** A JSON value as a payload. */
export function encodeJson(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

/** The JSON value of a payload. */
export function decodeJson<Value>(payload: Uint8Array): Value {
  return JSON.parse(new TextDecoder().decode(payload));
}

/** Content hashes of consecutive records. */
export function encodeHashes(session: number, first: number, hashes: Uint32Array): Uint8Array {
  const bytes = new Uint8Array(16 + hashes.byteLength);
  new Float64Array(bytes.buffer, 0, 2).set([session, first]);
  new Uint32Array(bytes.buffer, 16).set(hashes);
  return bytes;
}

/** Inverse of {@linkcode encodeHashes}. */
export function decodeHashes(
  payload: Uint8Array,
): { session: number; first: number; hashes: Uint32Array } {
  const { buffer } = payload.slice();
  const [session, first] = new Float64Array(buffer, 0, 2);
  return { session, first, hashes: new Uint32Array(buffer, 16) };
}

/** A {@linkcode Progress} as a payload. */
export function encodeProgress(p: Progress): Uint8Array {
  return encodeNumbers(
    p.session,
    p.published,
    p.ordered,
    p.durable,
    p.acknowledged,
    p.bytes,
    p.resumeSequence,
    p.resumeOffset,
    p.resumeBytes,
  );
}

/** Inverse of {@linkcode encodeProgress}. */
export function decodeProgress(payload: Uint8Array): Progress {
  const n = decodeNumbers(payload);
  return {
    session: n[0],
    published: n[1],
    ordered: n[2],
    durable: n[3],
    acknowledged: n[4],
    bytes: n[5],
    resumeSequence: n[6],
    resumeOffset: n[7],
    resumeBytes: n[8],
  };
}
