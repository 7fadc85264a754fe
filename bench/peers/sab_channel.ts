/**
 * What one writes by hand on a SharedArrayBuffer with Atomics: a slot there and a slot back, and a ring of
 * fixed records whose positions each side remembers.
 *
 * @module
 */
import { SPIN_MICROS } from "../lockfree/message_work.ts";

/** Looks at a word until it is no longer `value`: for a while by spinning, then asleep. */
export function waitWhile(words: Int32Array<SharedArrayBuffer>, at: number, value: number): void {
  if (Atomics.load(words, at) !== value) return;
  const until = performance.now() + SPIN_MICROS / 1000;
  do {
    for (let tries = 0; tries < 64; tries++) if (Atomics.load(words, at) !== value) return;
  } while (performance.now() < until);
  while (Atomics.load(words, at) === value) Atomics.wait(words, at, value);
}

/** Word 0 counts messages there, word 16 messages back; each way has a place for one. */
export class SabSlots {
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #there: Uint8Array<SharedArrayBuffer>;
  readonly #back: Uint8Array<SharedArrayBuffer>;

  constructor(readonly buffer: SharedArrayBuffer, bytes: number) {
    this.#words = new Int32Array(buffer, 0, 32);
    this.#there = new Uint8Array(buffer, 128, bytes);
    this.#back = new Uint8Array(buffer, 128 + Math.ceil(bytes / 128) * 128, bytes);
  }

  /** Room for both ways. */
  static make(bytes: number): SabSlots {
    return new SabSlots(new SharedArrayBuffer(128 + 2 * Math.ceil(bytes / 128) * 128), bytes);
  }

  /** Sends a payload, waits for the answer, and gives it to `use` where it lies. */
  trip(payload: Uint8Array, use: (answer: Uint8Array) => void): void {
    const seen = Atomics.load(this.#words, 16);
    this.#there.set(payload);
    Atomics.add(this.#words, 0, 1);
    Atomics.notify(this.#words, 0);
    waitWhile(this.#words, 16, seen);
    use(this.#back);
  }

  /** Answers for ever: its thread is ended from outside. */
  serve(): never {
    for (let seen = 0;; seen++) {
      waitWhile(this.#words, 0, seen);
      this.#back.set(this.#there);
      Atomics.add(this.#words, 16, 1);
      Atomics.notify(this.#words, 16);
    }
  }
}

const RING_RECORDS = 8192;

/** A ring for one producer and one consumer: word 0 is the tail, word 16 the head, in records. */
export class SabRing {
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #data: Uint8Array<SharedArrayBuffer>;
  #own = 0;
  #seen = 0;

  constructor(readonly buffer: SharedArrayBuffer, readonly recordBytes: number) {
    this.#words = new Int32Array(buffer, 0, 32);
    this.#data = new Uint8Array(buffer, 128);
  }

  static make(recordBytes: number): SabRing {
    return new SabRing(new SharedArrayBuffer(128 + RING_RECORDS * recordBytes), recordBytes);
  }

  /** Appends a batch, of a length that the ring's is a multiple of; waits for room. */
  pushMany(batch: Uint8Array): void {
    const count = batch.length / this.recordBytes;
    while (this.#own - this.#seen + count > RING_RECORDS) {
      waitWhile(this.#words, 16, this.#seen);
      this.#seen = Atomics.load(this.#words, 16);
    }
    this.#data.set(batch, (this.#own & (RING_RECORDS - 1)) * this.recordBytes);
    this.#own += count;
    Atomics.store(this.#words, 0, this.#own);
    Atomics.notify(this.#words, 0);
  }

  /** Takes a batch of at most that length, at least one record; waits for it. */
  popMany(out: Uint8Array): number {
    if (this.#own === this.#seen) {
      waitWhile(this.#words, 0, this.#seen);
      this.#seen = Atomics.load(this.#words, 0);
    }
    const from = this.#own & (RING_RECORDS - 1);
    const count = Math.min(
      this.#seen - this.#own,
      out.length / this.recordBytes,
      RING_RECORDS - from,
    );
    out.set(this.#data.subarray(from * this.recordBytes, (from + count) * this.recordBytes));
    this.#own += count;
    Atomics.store(this.#words, 16, this.#own);
    Atomics.notify(this.#words, 16);
    return count;
  }
}

const RING_WORDS = 8192;

/** A ring of words: the same positions as {@linkcode SabRing}; neither side waits. */
export class SabWords {
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #data: Uint32Array<SharedArrayBuffer>;
  #tail = 0;
  #headSeen = 0;
  #head = 0;
  #tailSeen = 0;

  constructor(buffer = new SharedArrayBuffer(128 + 4 * RING_WORDS)) {
    this.#words = new Int32Array(buffer, 0, 32);
    this.#data = new Uint32Array(buffer, 128);
  }

  /** `false` when it is full. */
  push(word: number): boolean {
    if (this.#tail - this.#headSeen >= RING_WORDS) {
      this.#headSeen = Atomics.load(this.#words, 16);
      if (this.#tail - this.#headSeen >= RING_WORDS) return false;
    }
    this.#data[this.#tail & (RING_WORDS - 1)] = word;
    this.#tail = (this.#tail + 1) | 0;
    Atomics.store(this.#words, 0, this.#tail);
    return true;
  }

  /** `undefined` when it is empty. */
  pop(): number | undefined {
    if (this.#head === this.#tailSeen) {
      this.#tailSeen = Atomics.load(this.#words, 0);
      if (this.#head === this.#tailSeen) return undefined;
    }
    const word = this.#data[this.#head & (RING_WORDS - 1)];
    this.#head = (this.#head + 1) | 0;
    Atomics.store(this.#words, 16, this.#head);
    return word;
  }

  /** All or none; the ring's length is a multiple of theirs. */
  pushMany(words: Uint32Array): boolean {
    if (this.#tail - this.#headSeen + words.length > RING_WORDS) {
      this.#headSeen = Atomics.load(this.#words, 16);
      if (this.#tail - this.#headSeen + words.length > RING_WORDS) return false;
    }
    this.#data.set(words, this.#tail & (RING_WORDS - 1));
    this.#tail = (this.#tail + words.length) | 0;
    Atomics.store(this.#words, 0, this.#tail);
    return true;
  }

  /** As many as there is room for in `out`, or none. */
  popMany(out: Uint32Array): boolean {
    if (this.#tailSeen - this.#head < out.length) {
      this.#tailSeen = Atomics.load(this.#words, 0);
      if (this.#tailSeen - this.#head < out.length) return false;
    }
    const from = this.#head & (RING_WORDS - 1);
    out.set(this.#data.subarray(from, from + out.length));
    this.#head = (this.#head + out.length) | 0;
    Atomics.store(this.#words, 16, this.#head);
    return true;
  }
}
