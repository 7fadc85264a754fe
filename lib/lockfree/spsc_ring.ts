/**
 * A bounded queue of byte records between two Workers or processes: one producer, one consumer.
 *
 * @module
 */
import { type Symbols, symbols } from "../../ffi/library.ts";
import { check, KeelsonError, refuse, STATUS } from "../base/error.ts";

/** Options for {@linkcode SpscRing.create}. */
export interface SpscRingOptions {
  /**
   * Room for records, each of which takes 8 bytes more than it has, rounded up to 8. A power of two from
   * 64 to 2^32. @default {65536}
   */
  capacityBytes?: number;
  /** Records are numbers from 0 to 2^32 - 1 ({@linkcode SpscRing.pushWord}). @default {false} */
  words?: boolean;
}

/** Options for {@linkcode SpscRing.waitForData} and {@linkcode SpscRing.waitForSpace}. */
export interface SpscRingWaitOptions {
  /** Rejects the promise with its reason. @default {never} */
  signal?: AbortSignal;
  /** After this long the promise resolves to `false`. @default {no limit} */
  timeoutMs?: number;
}

const PRODUCER = 1;
const CONSUMER = 2;
const CAPACITY_BYTES = 65536;
const SCRATCH_BYTES = 4096;
const BATCH_BYTES_MAX = 1024 * 1024;
/** Records in a row without a wait, after which an iteration lets timers and other work run. */
const RECORDS_PER_TURN = 256;

/** Waits for a side of a ring: `true` when it can go on, `false` after the timeout. */
export type RingWait = (
  ring: number,
  side: number,
  bytes: number,
  timeoutMs: number,
  signal?: AbortSignal,
) => Promise<boolean>;

let ringWait: RingWait | undefined;

/** The row above, which knows event loops, says here how to wait for a ring. */
export function registerRingWait(wait: RingWait): void {
  ringWait = wait;
}

const encoder = new TextEncoder();
const outHandle = new Uint32Array(1);
const outHandleBytes = new Uint8Array(outHandle.buffer);
let lockfree: Symbols<"lockfree"> | undefined;

/**
 * A first-in-first-out queue of byte records in shared memory, for exactly one producer and one consumer.
 *
 * Either side may be the main program, a Worker or another process; the first push makes a thread the
 * producer, the first pop makes one the consumer. The side of one that died (a killed process, a
 * terminated Worker) is taken over by the next. Nothing already pushed is lost by that; the record that a
 * consumer died over may come again.
 *
 * Records live in memory until they are popped: they outlive every process, but not a reboot.
 *
 * @example Two ends of one ring, as two processes would have them
 * ```ts
 * import { SpscRing } from "@keelson/keelson";
 *
 * const name = `example-${crypto.randomUUID()}`;
 * using producer = SpscRing.create(name, { capacityBytes: 4096 });
 * using consumer = SpscRing.attach(name);
 * producer.push(new TextEncoder().encode("hello"));
 * console.assert(new TextDecoder().decode(consumer.pop()) === "hello");
 * console.assert(consumer.pop() === undefined);
 * SpscRing.remove(name);
 * ```
 */
export class SpscRing implements Disposable, AsyncIterable<Uint8Array> {
  /** Room for records, with 8 bytes for each. */
  readonly capacityBytes: number;
  /** What it was created or attached as. */
  readonly name: string;
  #handle: number;
  #lockfree: Symbols<"lockfree">;
  #scratch = new Uint8Array(SCRATCH_BYTES);

  private constructor(lockfree: Symbols<"lockfree">, handle: number, name: string) {
    this.#lockfree = lockfree;
    this.#handle = handle;
    this.name = name;
    this.capacityBytes = lockfree.kl_spsc_ring_capacity_bytes(handle);
  }

  /**
   * Makes an empty ring. It appears whole, under its name, or not at all.
   *
   * @param name 1 to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`
   * @throws {KeelsonError} `KL_ERR_EXISTS`, `KL_ERR_NAME`, `KL_ERR_ARGUMENT`, `KL_ERR_NO_SPACE`
   *
   * @example
   * ```ts
   * import { SpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = SpscRing.create(name, { capacityBytes: 1024 });
   * console.assert(ring.capacityBytes === 1024);
   * SpscRing.remove(name);
   * ```
   */
  static create(name: string, options: SpscRingOptions = {}): SpscRing {
    const action = `create the ring ${quote(name)}`;
    const { capacityBytes = CAPACITY_BYTES, words = false } = options;
    if (!Number.isSafeInteger(capacityBytes)) {
      refuse(action, `capacityBytes must be a power of two, not ${String(capacityBytes)}`);
    }
    const utf8 = encodeName(action, name);
    const known = lockfree ??= symbols("lockfree");
    check(
      known.kl_spsc_ring_create(utf8, utf8.length, capacityBytes, words ? 8 : 0, outHandleBytes),
      action,
    );
    return new SpscRing(known, outHandle[0], name);
  }

  /**
   * Opens a ring that another has created.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_FOREIGN` when the name is not a ring's, `KL_ERR_NAME`
   *
   * @example
   * ```ts
   * import { KeelsonError, SpscRing } from "@keelson/keelson";
   *
   * try {
   *   SpscRing.attach("nobody-made-this");
   * } catch (error) {
   *   console.assert(error instanceof KeelsonError && error.codeName === "KL_ERR_NOT_FOUND");
   * }
   * ```
   */
  static attach(name: string): SpscRing {
    const action = `attach to the ring ${quote(name)}`;
    const utf8 = encodeName(action, name);
    const known = lockfree ??= symbols("lockfree");
    check(known.kl_spsc_ring_attach(utf8, utf8.length, outHandleBytes), action);
    return new SpscRing(known, outHandle[0], name);
  }

  /**
   * Takes the name away. Whoever has the ring open keeps it; the memory is freed with the last.
   *
   * @example
   * ```ts
   * import { SpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * SpscRing.create(name).close();
   * SpscRing.remove(name);
   * ```
   */
  static remove(name: string): void {
    const action = `remove the ring ${quote(name)}`;
    const utf8 = encodeName(action, name);
    const known = lockfree ??= symbols("lockfree");
    check(known.kl_spsc_ring_remove(utf8, utf8.length), action);
  }

  /**
   * Appends a record. `false` when there is no room for it now.
   *
   * @throws {KeelsonError} `KL_ERR_ARGUMENT` when it could never fit, `KL_ERR_LOCKED` when there is another
   * live producer
   *
   * @example
   * ```ts
   * import { SpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = SpscRing.create(name, { capacityBytes: 64 });
   * console.assert(ring.push(new Uint8Array(40)) === true);
   * console.assert(ring.push(new Uint8Array(40)) === false); // until the first is popped
   * SpscRing.remove(name);
   * ```
   */
  push(record: Uint8Array): boolean {
    const status = this.#lockfree.kl_spsc_ring_push(
      this.#handle,
      record as Uint8Array<ArrayBuffer>,
      record.byteLength,
    );
    if (status === 0) return true;
    return this.#notNow(status, "push to");
  }

  /**
   * Takes the oldest record out; `undefined` when there is none.
   *
   * @throws {KeelsonError} `KL_ERR_LOCKED` when there is another live consumer, `KL_ERR_CORRUPT` when a peer
   * wrote over the ring
   *
   * @example
   * ```ts
   * import { SpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = SpscRing.create(name);
   * ring.push(Uint8Array.of(1, 2, 3));
   * console.assert(ring.pop()?.length === 3);
   * SpscRing.remove(name);
   * ```
   */
  pop(): Uint8Array<ArrayBuffer> | undefined {
    for (;;) {
      const bytes = this.#lockfree.kl_spsc_ring_pop(
        this.#handle,
        this.#scratch,
        this.#scratch.length,
      );
      if (bytes >= 0) return this.#scratch.slice(0, bytes);
      if (bytes !== STATUS.KL_ERR_LIMIT) return this.#notNow(bytes, "pop from") || undefined;
      this.#growScratch(0);
    }
  }

  /**
   * Appends records in one call, up to the first that has no room. Answers how many went in.
   *
   * @example
   * ```ts
   * import { SpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = SpscRing.create(name);
   * console.assert(ring.pushMany([Uint8Array.of(1), Uint8Array.of(2)]) === 2);
   * SpscRing.remove(name);
   * ```
   */
  pushMany(records: readonly Uint8Array[]): number {
    let done = 0;
    while (done < records.length) {
      const { batch, count } = encodeBatch(records, done);
      const pushed = this.#lockfree.kl_spsc_ring_push_many(this.#handle, batch, batch.length);
      if (pushed < 0) this.#notNow(pushed, "push to");
      done += pushed;
      if (pushed < count) break;
    }
    return done;
  }

  /**
   * Takes out as many records as there are, at most about a MiB of them.
   *
   * @example
   * ```ts
   * import { SpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = SpscRing.create(name);
   * ring.pushMany([Uint8Array.of(1), Uint8Array.of(2)]);
   * console.assert(ring.popMany().length === 2);
   * SpscRing.remove(name);
   * ```
   */
  popMany(): Uint8Array<ArrayBuffer>[] {
    this.#growScratch(Math.min(this.capacityBytes, BATCH_BYTES_MAX));
    for (;;) {
      const count = this.#lockfree.kl_spsc_ring_pop_many(
        this.#handle,
        this.#scratch,
        this.#scratch.length,
      );
      if (count >= 0) return decodeBatch(this.#scratch, count);
      if (count !== STATUS.KL_ERR_LIMIT) this.#notNow(count, "pop from");
      this.#growScratch(0);
    }
  }

  /**
   * Appends a number to a ring made with `words`. `false` when there is no room for it now.
   *
   * @example
   * ```ts
   * import { SpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = SpscRing.create(name, { words: true });
   * console.assert(ring.pushWord(4_000_000_000));
   * console.assert(ring.popWord() === 4_000_000_000);
   * SpscRing.remove(name);
   * ```
   */
  pushWord(word: number): boolean {
    if (word >>> 0 !== word) {
      refuse(`push to the ring ${quote(this.name)}`, `${word} is not a number from 0 to 2^32 - 1`);
    }
    const status = this.#lockfree.kl_spsc_ring_push_u32(this.#handle, word);
    if (status === 0) return true;
    return this.#notNow(status, "push to");
  }

  /**
   * Takes the oldest number out; `undefined` when there is none.
   *
   * @example
   * ```ts
   * import { SpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = SpscRing.create(name, { words: true });
   * console.assert(ring.popWord() === undefined);
   * SpscRing.remove(name);
   * ```
   */
  popWord(): number | undefined {
    const word = this.#lockfree.kl_spsc_ring_pop_u32(this.#handle);
    if (word >= 0) return word;
    return this.#notNow(word, "pop from") || undefined;
  }

  /**
   * Resolves to `true` as soon as there is something to pop, to `false` after the timeout. For the consumer.
   *
   * @throws {KeelsonError} `KL_ERR_CLOSED` when this end is closed meanwhile
   *
   * @example
   * ```ts
   * import { SpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = SpscRing.create(name);
   * console.assert(await ring.waitForData({ timeoutMs: 5 }) === false);
   * SpscRing.remove(name);
   * ```
   */
  waitForData(options: SpscRingWaitOptions = {}): Promise<boolean> {
    return this.#wait(CONSUMER, 0, options);
  }

  /**
   * Resolves to `true` as soon as a record of `bytes` would fit, to `false` after the timeout. For the producer.
   *
   * @throws {KeelsonError} `KL_ERR_ARGUMENT` when it could never fit, `KL_ERR_CLOSED` when this end is closed
   * meanwhile
   *
   * @example
   * ```ts
   * import { SpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = SpscRing.create(name);
   * console.assert(await ring.waitForSpace(100));
   * SpscRing.remove(name);
   * ```
   */
  waitForSpace(bytes: number, options: SpscRingWaitOptions = {}): Promise<boolean> {
    if (bytes >>> 0 !== bytes) {
      refuse(`wait for the ring ${quote(this.name)}`, `${bytes} is not a number of bytes`);
    }
    return this.#wait(PRODUCER, bytes, options);
  }

  /**
   * Pops records as they come, until this end is closed.
   *
   * @example
   * ```ts
   * import { SpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = SpscRing.create(name);
   * ring.pushMany([Uint8Array.of(1), Uint8Array.of(2)]);
   * let sum = 0;
   * for await (const record of ring) {
   *   sum += record[0];
   *   if (sum === 3) break;
   * }
   * SpscRing.remove(name);
   * ```
   */
  async *[Symbol.asyncIterator](): AsyncIterator<Uint8Array<ArrayBuffer>> {
    for (let inTurn = 0; this.#handle !== 0;) {
      const record = this.pop();
      if (record) {
        yield record;
        if (++inTurn < RECORDS_PER_TURN) continue;
        inTurn = 0;
        await new Promise<void>((resolve) => void setImmediate(resolve));
        continue;
      }
      try {
        inTurn = 0;
        await this.waitForData();
      } catch (error) {
        if (error instanceof KeelsonError && this.#handle === 0) return;
        throw error;
      }
    }
  }

  /** Bytes that pushed records take now, with 8 bytes for each. */
  get usedBytes(): number {
    return check(
      this.#lockfree.kl_spsc_ring_used_bytes(this.#handle),
      `look at the ring ${quote(this.name)}`,
    );
  }

  /**
   * Walks through all records. Right only while nobody pushes or pops.
   *
   * @throws {KeelsonError} `KL_ERR_CORRUPT`
   */
  verify(): void {
    check(this.#lockfree.kl_spsc_ring_check(this.#handle), `verify the ring ${quote(this.name)}`);
  }

  /** Gives up this end and its side. The ring stays, for others and under its name. */
  close(): void {
    const handle = this.#handle;
    this.#handle = 0;
    if (handle !== 0) this.#lockfree.kl_spsc_ring_close(handle);
  }

  /** The same as {@linkcode SpscRing.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #wait(side: number, bytes: number, options: SpscRingWaitOptions): Promise<boolean> {
    const { timeoutMs = -1, signal } = options;
    if (!ringWait) {
      throw new KeelsonError(STATUS.KL_ERR_UNSUPPORTED, `wait for the ring ${quote(this.name)}`, {
        detail: "lib/exec/completion.ts is not loaded; import from the package's own entry points",
      });
    }
    return ringWait(this.#handle, side, bytes, timeoutMs, signal);
  }

  /** `false` for "full" and "empty"; throws everything else. */
  #notNow(status: number, doing: string): false {
    if (status === STATUS.KL_ERR_AGAIN) return false;
    check(status, () => `${doing} the ring ${quote(this.name)}`);
    return false;
  }

  /** To hold the next record, and no less than `least`. */
  #growScratch(least: number): void {
    const next = this.#lockfree.kl_spsc_ring_peek(this.#handle);
    // A batch has 4 bytes in front of each record and up to 3 behind it.
    const wanted = Math.max(least, SCRATCH_BYTES, next + 7);
    if (wanted > this.#scratch.length) this.#scratch = new Uint8Array(wanted);
  }
}

function quote(name: string): string {
  return JSON.stringify(name);
}

function encodeName(action: string, name: string): Uint8Array<ArrayBuffer> {
  if (typeof name !== "string" || name === "") refuse(action, "a ring's name is a string");
  return encoder.encode(name);
}

/** Records from `first` on, as {u32 bytes, bytes} padded to 4; about a MiB of them, at least one. */
function encodeBatch(
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

function decodeBatch(batch: Uint8Array<ArrayBuffer>, count: number): Uint8Array<ArrayBuffer>[] {
  const sizes = new DataView(batch.buffer);
  const records = new Array<Uint8Array<ArrayBuffer>>(count);
  for (let at = 0, index = 0; index < count; index++) {
    const bytes = sizes.getUint32(at, true);
    records[index] = batch.slice(at + 4, at + 4 + bytes);
    at += 4 + padded(bytes);
  }
  return records;
}

function padded(bytes: number): number {
  return (bytes + 3) & ~3;
}
