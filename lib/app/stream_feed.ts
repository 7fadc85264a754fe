/**
 * Passes a stream that can be read only once on to a process that may die, and keeps what a successor
 * would have to be given again.
 *
 * @module
 */
import { FRAME } from "./frames.ts";

interface Kept {
  offset: number;
  bytes: Uint8Array;
}

/** Sends frames of data; false when there is nobody to take them. */
export type SendData = (kind: number, payload?: Uint8Array) => Promise<boolean>;

/** Feeds one process after another from one stream. */
export class StreamFeed {
  readonly #kept: Kept[] = [];
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  /** Offset behind everything read from the stream. */
  #readOffset = 0;
  /** Offset of the next byte to send. */
  #cursor = 0;
  #ended = false;
  /** Each life of the receiver has a number; 0: nobody is fed. */
  #life = 0;
  #fed = 0;
  #reading: Promise<void> | undefined;

  constructor(stream: ReadableStream<Uint8Array>, private readonly send: SendData) {
    this.#reader = stream.getReader();
  }

  /** The receiver has changed: nothing is sent until {@linkcode resume}. */
  pause(): void {
    this.#fed = 0;
  }

  /** Sends everything from `offset` on, which must not have been forgotten. */
  resume(offset: number): void {
    this.#cursor = offset;
    this.#fed = ++this.#life;
    this.#run(this.#fed);
  }

  /** Bytes before `offset` will never be asked for again. */
  forget(offset: number): void {
    while (this.#kept.length > 0 && this.#kept[0].offset + this.#kept[0].bytes.length <= offset) {
      this.#kept.shift();
    }
  }

  /** Bytes kept. */
  get keptBytes(): number {
    return this.#kept.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  async #run(life: number): Promise<void> {
    while (this.#fed === life) {
      const next = this.#next();
      if (next) {
        const taken = await this.send(FRAME.data, next);
        if (this.#fed !== life) return;
        if (!taken) return; // a successor will resume
        this.#cursor += next.length;
      } else if (this.#ended) {
        await this.send(FRAME.dataEnd);
        return;
      } else {
        await (this.#reading ??= this.#read());
      }
    }
  }

  /** What was read and not sent. */
  #next(): Uint8Array | undefined {
    const kept = this.#kept.find(({ offset, bytes }) => offset + bytes.length > this.#cursor);
    return kept?.bytes.subarray(this.#cursor - kept.offset);
  }

  async #read(): Promise<void> {
    const { done, value } = await this.#reader.read();
    this.#reading = undefined;
    if (done) {
      this.#ended = true;
    } else if (value.length > 0) {
      this.#kept.push({ offset: this.#readOffset, bytes: value });
      this.#readOffset += value.length;
    }
  }
}
