/**
 * A bounded queue of records between two Workers or processes: one producer, one consumer.
 *
 * @module
 */
import { HANDLE } from "../../ffi/generated/handle.ts";
import { type Symbols, symbols } from "../../ffi/library.ts";
import { check, refuse, STATUS } from "../base/error.ts";
import { openShared, quote, removeShared, type WaitOptions } from "../sync/shared_object.ts";
import {
  BATCH_BYTES_MAX,
  encodeBatch,
  type RecordEncoding,
  type RecordInput,
  type RecordOutput,
} from "./record_codec.ts";
import { type RecordClaim, SharedQueue } from "./shared_queue.ts";

/** Options for {@linkcode SpscRing.create}. */
export interface SpscRingOptions<E extends RecordEncoding = "bytes"> {
  /**
   * Room for records, each of which takes 8 bytes more than it has, rounded up to 8. A power of two from
   * 64 to 2^32. @default {65536}
   */
  capacityBytes?: number;
  /** Records are numbers from 0 to 2^32 - 1 ({@linkcode SpscRing.pushWord}). @default {false} */
  words?: boolean;
  /** What records are at this end. @default {"bytes"} */
  encoding?: E;
}

/** Options for {@linkcode SpscRing.waitForData} and {@linkcode SpscRing.waitForSpace}. */
export type SpscRingWaitOptions = WaitOptions;

const CAPACITY_BYTES = 65536;
/** In front of each record. */
const HEADER_BYTES = 8;

let lockfree: Symbols<"lockfree"> | undefined;

/**
 * A first-in-first-out queue of records in shared memory, for exactly one producer and one consumer.
 *
 * Either side may be the main program, a Worker or another process; the first push makes a thread the
 * producer, the first pop makes one the consumer. The side of one that died (a killed process, a
 * terminated Worker) is taken over by the next. Nothing already pushed is lost by that; the record that a
 * consumer died over, inside a pop or a {@linkcode SpscRing.read}, comes again (at least once).
 *
 * Records live in memory until they are popped: they outlive every process, but not a reboot. Push and pop
 * take constant time, without locks and without waiting.
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
export class SpscRing<E extends RecordEncoding = "bytes"> extends SharedQueue<E> {
  /** Room for records, with 8 bytes for each. */
  readonly capacityBytes: number;
  #lockfree: Symbols<"lockfree">;
  #scratch: Uint8Array<ArrayBuffer> | undefined;

  private constructor(lockfree: Symbols<"lockfree">, handle: number, name: string, encoding: E) {
    super("ring", HANDLE.SPSC_RING, handle, name, encoding);
    this.#lockfree = lockfree;
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
  static create<E extends RecordEncoding = "bytes">(
    name: string,
    options: SpscRingOptions<E> = {},
  ): SpscRing<E> {
    const action = `create the ring ${quote(name)}`;
    const { capacityBytes = CAPACITY_BYTES, words = false, encoding = "bytes" as E } = options;
    if (!Number.isSafeInteger(capacityBytes)) {
      refuse(action, `capacityBytes must be a power of two, not ${String(capacityBytes)}`);
    }
    const known = lockfree ??= symbols("lockfree");
    const handle = openShared(
      action,
      name,
      (utf8, bytes, out) =>
        known.kl_spsc_ring_create(utf8, bytes, capacityBytes, words ? 8 : 0, out),
    );
    return new SpscRing(known, handle, name, encoding);
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
  static attach<E extends RecordEncoding = "bytes">(
    name: string,
    { encoding = "bytes" as E }: Pick<SpscRingOptions<E>, "encoding"> = {},
  ): SpscRing<E> {
    const known = lockfree ??= symbols("lockfree");
    const handle = openShared(`attach to the ring ${quote(name)}`, name, known.kl_spsc_ring_attach);
    return new SpscRing(known, handle, name, encoding);
  }

  /**
   * Takes the name away. Whoever has the ring open keeps it; the memory is freed with the last.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_NAME`
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
    const known = lockfree ??= symbols("lockfree");
    removeShared(`remove the ring ${quote(name)}`, name, known.kl_spsc_ring_remove);
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
  push(record: RecordInput[E]): boolean {
    const bytes = this.encode(record);
    const status = this.#lockfree.kl_spsc_ring_push(this.handle, bytes, bytes.byteLength);
    return status === 0 || this.notNow(status, "push to");
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
  pop(): RecordOutput[E] | undefined {
    const { chunk } = this;
    for (;;) {
      const { bytes, used } = chunk, room = bytes.length - used;
      const popped = room < 0 // its buffer was transferred with a record
        ? STATUS.KL_ERR_LIMIT
        : this.#lockfree.kl_spsc_ring_pop_at(this.handle, bytes, used, room);
      if (popped >= 0) return this.decode(popped);
      if (popped !== STATUS.KL_ERR_LIMIT) return this.notNow(popped, "pop from") || undefined;
      chunk.renew(this.#lockfree.kl_spsc_ring_peek(this.handle));
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
  pushMany(records: readonly RecordInput[E][]): number {
    const encoded = this.encodeMany(records);
    let done = 0;
    while (done < encoded.length) {
      const { batch, count } = encodeBatch(encoded, done);
      const pushed = this.#lockfree.kl_spsc_ring_push_many(this.handle, batch, batch.length);
      if (pushed < 0 && done === 0) this.notNow(pushed, "push to");
      done += Math.max(0, pushed);
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
  popMany(): RecordOutput[E][] {
    for (;;) {
      const scratch = this.#scratch ??= new Uint8Array(
        Math.min(this.capacityBytes, BATCH_BYTES_MAX),
      );
      const count = this.#lockfree.kl_spsc_ring_pop_many(this.handle, scratch, scratch.length);
      if (count >= 0) return this.decodeMany(scratch, count);
      if (count !== STATUS.KL_ERR_LIMIT) this.notNow(count, "pop from");
      // A batch has 4 bytes in front of each record and up to 3 behind it.
      this.#scratch = new Uint8Array(this.#lockfree.kl_spsc_ring_peek(this.handle) + 7);
    }
  }

  /**
   * Room for a record of `bytes`, to be written in place and committed; `undefined` when there is none now.
   * One at a time: the next push or claim takes the place of one that was not committed.
   *
   * @throws {KeelsonError} as {@linkcode SpscRing.push}
   *
   * @example
   * ```ts
   * import { SpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = SpscRing.create(name);
   * const claim = ring.claim(100)!;
   * const { written } = new TextEncoder().encodeInto("hello", claim.bytes);
   * claim.commit(written);
   * console.assert(ring.pop()?.length === 5);
   * SpscRing.remove(name);
   * ```
   */
  claim(bytes: number): RecordClaim | undefined {
    this.#checkSize(bytes);
    const position = this.#lockfree.kl_spsc_ring_reserve(this.handle, bytes);
    if (position < 0) return this.notNow(position, "claim room in") || undefined;
    const at = position % this.capacityBytes + HEADER_BYTES;
    const mapping = at + bytes <= this.capacityBytes ? this.#map() : undefined;
    const view = mapping ? mapping.subarray(at, at + bytes) : new Uint8Array(bytes);
    let open = true;
    return {
      bytes: view,
      commit: (written = bytes) => {
        if (!open) refuse(this.doing("commit to"), "this claim is over");
        if (!(written >= 0 && written <= bytes)) {
          refuse(this.doing("commit to"), `${written} bytes of a claim of ${bytes}`);
        }
        open = false;
        const data = mapping ? null : view;
        check(
          this.#lockfree.kl_spsc_ring_commit(this.handle, data, written),
          () => this.doing("commit to"),
        );
      },
      abort: () => {
        open = false;
      },
    };
  }

  /**
   * Gives the oldest record's bytes to `use`, in place where FFI is granted for all paths, and takes the
   * record out when `use` returns; when it throws, the record stays. `false` when there was none. The bytes
   * are not to be kept: they are written over afterwards.
   *
   * @example
   * ```ts
   * import { SpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = SpscRing.create(name);
   * ring.push(Uint8Array.of(1, 2, 3));
   * let sum = 0;
   * console.assert(ring.read((bytes) => bytes.forEach((byte) => sum += byte)));
   * console.assert(sum === 6);
   * SpscRing.remove(name);
   * ```
   */
  read(use: (bytes: Uint8Array<ArrayBuffer>) => void): boolean {
    const bytes = this.#lockfree.kl_spsc_ring_peek(this.handle);
    if (bytes < 0) return this.notNow(bytes, "read from");
    const at = this.#lockfree.kl_spsc_ring_position(this.handle) % this.capacityBytes +
      HEADER_BYTES;
    const mapping = at + bytes <= this.capacityBytes ? this.#map() : undefined;
    if (!mapping) {
      use(this.#peekCopy(bytes));
    } else {
      use(mapping.subarray(at, at + bytes));
    }
    if (this.handle !== 0) {
      check(this.#lockfree.kl_spsc_ring_skip(this.handle), () => this.doing("read from"));
    }
    return true;
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
      refuse(this.doing("push to"), `${word} is not a number from 0 to 2^32 - 1`);
    }
    const status = this.#lockfree.kl_spsc_ring_push_u32(this.handle, word);
    return status === 0 || this.notNow(status, "push to");
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
    const word = this.#lockfree.kl_spsc_ring_pop_u32(this.handle);
    if (word >= 0) return word;
    return this.notNow(word, "pop from") || undefined;
  }

  /**
   * Appends numbers in one call, up to the first that has no room. Answers how many went in.
   *
   * @example
   * ```ts
   * import { SpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = SpscRing.create(name, { words: true });
   * console.assert(ring.pushWords(Uint32Array.of(1, 2, 3)) === 3);
   * const words = new Uint32Array(64);
   * console.assert(ring.popWords(words) === 3 && words[2] === 3);
   * SpscRing.remove(name);
   * ```
   */
  pushWords(words: Uint32Array<ArrayBuffer>): number {
    if (!(words instanceof Uint32Array)) refuse(this.doing("push to"), "not a Uint32Array");
    const done = this.#lockfree.kl_spsc_ring_push_words(
      this.handle,
      words as unknown as Uint8Array<ArrayBuffer>,
      words.length,
    );
    return done < 0 ? check(done, () => this.doing("push to")) : done;
  }

  /** Takes out as many numbers as there are and `words` has room for. Answers how many. */
  popWords(words: Uint32Array<ArrayBuffer>): number {
    if (!(words instanceof Uint32Array)) refuse(this.doing("pop from"), "not a Uint32Array");
    const done = this.#lockfree.kl_spsc_ring_pop_words(
      this.handle,
      words as unknown as Uint8Array<ArrayBuffer>,
      words.length,
    );
    return done < 0 ? check(done, () => this.doing("pop from")) : done;
  }

  /** Bytes that pushed records take now, with 8 bytes for each. */
  get usedBytes(): number {
    return check(
      this.#lockfree.kl_spsc_ring_used_bytes(this.handle),
      () => this.doing("look at"),
    );
  }

  /**
   * Walks through all records. Right only while nobody pushes or pops.
   *
   * @throws {KeelsonError} `KL_ERR_CORRUPT`
   */
  verify(): void {
    check(this.#lockfree.kl_spsc_ring_check(this.handle), () => this.doing("verify"));
  }

  /** Gives the handle back. */
  protected override closeHandle(handle: number): void {
    this.#lockfree.kl_spsc_ring_close(handle);
  }

  #map(): Uint8Array<ArrayBuffer> | undefined {
    return this.mapping(this.capacityBytes, this.#lockfree.kl_spsc_ring_address);
  }

  /** The oldest record, which stays. */
  #peekCopy(bytes: number): Uint8Array<ArrayBuffer> {
    const copy = new Uint8Array(bytes);
    check(
      this.#lockfree.kl_spsc_ring_peek_copy(this.handle, copy, bytes),
      () => this.doing("read from"),
    );
    return copy;
  }

  #checkSize(bytes: number): void {
    if (bytes >>> 0 !== bytes) {
      refuse(this.doing("claim room in"), `${bytes} is not a number of bytes`);
    }
  }
}
