/**
 * Compares what was published with what was delivered, record by record, although the two are told
 * in any order: whichever comes first waits for the other. Memory is only held for the records
 * between the two.
 *
 * @module
 */

const EXPECTED = 1;
const DELIVERED = 2;
const BOTH = EXPECTED | DELIVERED;

/** A record whose delivered content is not what was published. */
export interface Mismatch {
  sequence: number;
  expected: number;
  delivered: number;
}

/** How many undecided records may hold the window open before the oldest are set aside. */
const WINDOW_MAX = 1 << 24;

/** The undecided records of one session. */
export class HashWindow {
  #hashes = new Uint32Array(1024);
  #states = new Uint8Array(1024);
  /** Everything below is decided, or set aside. */
  #base: number;
  /** One above the highest sequence told by either side. */
  #top: number;
  /** Old undecided ones: what stays for ever when a record is lost. */
  readonly #aside = new Map<number, { state: number; hash: number }>();
  readonly #mismatches: Mismatch[] = [];

  /** Records below `start` are of no interest. */
  constructor(start = 0) {
    this.#base = this.#top = start;
  }

  /** All mismatches so far. */
  get mismatches(): readonly Mismatch[] {
    return this.#mismatches;
  }

  /** Records for which one side is still missing. */
  get undecided(): number {
    return this.#top - this.#base + this.#aside.size;
  }

  /** What the publisher says it published. Said again before delivery, the later word counts. */
  expect(sequence: number, hash: number): void {
    this.#tell(sequence, hash, EXPECTED);
  }

  /** What the subscriber got. */
  deliver(sequence: number, hash: number): void {
    this.#tell(sequence, hash, DELIVERED);
  }

  #tell(sequence: number, hash: number, side: number): void {
    if (sequence < this.#base) return this.#tellAside(sequence, hash, side);
    if (sequence >= this.#top + WINDOW_MAX) return; // no record of ours: whoever counts sees the gap
    if (sequence >= this.#top) this.#reach(sequence + 1);
    const slot = sequence & (this.#hashes.length - 1);
    const state = this.#states[slot];
    if (state === BOTH) return;
    if (state === 0 || state === side) {
      this.#hashes[slot] = hash;
      this.#states[slot] = side;
      return;
    }
    this.#compare(sequence, side, hash, this.#hashes[slot]);
    this.#states[slot] = BOTH;
    if (sequence === this.#base) this.#advance();
  }

  #tellAside(sequence: number, hash: number, side: number): void {
    const waiting = this.#aside.get(sequence);
    if (!waiting) return; // decided long ago
    if (waiting.state === 0 || waiting.state === side) {
      this.#aside.set(sequence, { state: side, hash });
      return;
    }
    this.#compare(sequence, side, hash, waiting.hash);
    this.#aside.delete(sequence);
  }

  #compare(sequence: number, side: number, hash: number, other: number): void {
    if (hash === other) return;
    const [expected, delivered] = side === EXPECTED ? [hash, other] : [other, hash];
    this.#mismatches.push({ sequence, expected, delivered });
  }

  #advance(): void {
    const mask = this.#states.length - 1;
    while (this.#base < this.#top && this.#states[this.#base & mask] === BOTH) {
      this.#states[this.#base & mask] = 0;
      this.#base++;
    }
  }

  /** Makes room for everything below `top`. */
  #reach(top: number): void {
    this.#top = top;
    while (this.#top - this.#base > WINDOW_MAX) this.#setOldestAside();
    if (this.#top - this.#base > this.#states.length) this.#grow();
  }

  #setOldestAside(): void {
    const slot = this.#base & (this.#states.length - 1);
    this.#aside.set(this.#base, { state: this.#states[slot], hash: this.#hashes[slot] });
    this.#states[slot] = 0;
    this.#base++;
    this.#advance();
  }

  #grow(): void {
    let size = this.#states.length;
    while (size < this.#top - this.#base) size *= 2;
    const hashes = new Uint32Array(size);
    const states = new Uint8Array(size);
    const oldMask = this.#states.length - 1;
    const oldTop = Math.min(this.#top, this.#base + this.#states.length);
    for (let sequence = this.#base; sequence < oldTop; sequence++) {
      hashes[sequence & (size - 1)] = this.#hashes[sequence & oldMask];
      states[sequence & (size - 1)] = this.#states[sequence & oldMask];
    }
    [this.#hashes, this.#states] = [hashes, states];
  }
}
