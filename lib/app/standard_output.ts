/**
 * Writes to standard output in large pieces, whole, and with a quiet end when nobody reads on.
 *
 * @module
 */

const PIECE_BYTES = 256 << 10;
const encoder = new TextEncoder();

/** A buffer before standard output. */
export class OutputBuffer {
  #bytes = new Uint8Array(PIECE_BYTES);
  #used = 0;

  constructor(private readonly sink: (bytes: Uint8Array) => void = writeOut) {}

  /** Room for `bytes`, and where it begins; {@linkcode commit} what was filled. */
  reserve(bytes: number): { into: Uint8Array; offset: number } {
    if (this.#used + bytes > this.#bytes.length) this.flush();
    if (bytes > this.#bytes.length) this.#bytes = new Uint8Array(bytes);
    return { into: this.#bytes, offset: this.#used };
  }

  /** Everything before `offset` is filled. */
  commit(offset: number): void {
    this.#used = offset;
  }

  /** Adds a line. */
  line(text: string): void {
    const bytes = encoder.encode(`${text}\n`);
    const { into, offset } = this.reserve(bytes.length);
    into.set(bytes, offset);
    this.commit(offset + bytes.length);
  }

  /** Writes what is there. */
  flush(): void {
    const used = this.#used;
    this.#used = 0;
    if (used > 0) this.sink(this.#bytes.subarray(0, used));
  }
}

/** Writes all bytes. Throws `Deno.errors.BrokenPipe` when nobody reads any more. */
export function writeOut(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

/** Writes one line. */
export function printLine(text: string): void {
  writeOut(encoder.encode(`${text}\n`));
}
