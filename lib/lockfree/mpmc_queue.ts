/**
 * A bounded queue of records between two Workers or processes: any number of producers
 * and consumers.
 *
 * @module
 */
import { HANDLE } from "../../ffi/generated/handle.ts";
import { type Symbols, symbols } from "../../ffi/library.ts";
import { check, refuse, STATUS } from "../base/error.ts";
import { openShared, quote, removeShared } from "../sync/shared_object.ts";
import {
  BATCH_BYTES_MAX,
  encodeBatch,
  type RecordEncoding,
  type RecordInput,
  type RecordOutput,
} from "./record_codec.ts";
import { SharedQueue } from "./shared_queue.ts";

/** Options for {@linkcode MpmcQueue.create}. */
export interface MpmcQueueOptions<E extends RecordEncoding = "bytes"> {
  /** Records it can hold. A power of two from 2 to 2^24. @default {1024} */
  capacity?: number;
  /** The largest record, 1 to 246 bytes: each takes as much room. @default {246} */
  recordBytesMax?: number;
  /** Records are numbers from 0 to 2^32 - 1 ({@linkcode MpmcQueue.pushWord}). @default {false} */
  words?: boolean;
  /**
   * What becomes of a record whose consumer is killed while it takes it out: it is the oldest one again
   * (at least once), or gone (at most once). @default {false}: again
   */
  atMostOnce?: boolean;
  /** What records are at this end. @default {"bytes"} */
  encoding?: E;
}

const CAPACITY = 1024;
const RECORD_BYTES_MAX = 246;

let lockfree: Symbols<"lockfree"> | undefined;

/**
 * A first-in-first-out queue of small records in shared memory, for any number of producers and consumers.
 *
 * Each may be the main program, a Worker or another process. A process that is killed in the middle of a
 * push or a pop stops nobody: whoever comes next sees that its slot's owner is dead and frees it. A push that
 * returned is never lost, one that was killed is there whole or not at all. A record whose consumer was
 * killed inside its pop comes again (at least once), out of turn, or with `atMostOnce` is gone. What a
 * pop has returned is the caller's own.
 *
 * Records live in memory until they are popped: they outlive every process, but not a reboot. A push and a pop
 * take two compare-exchanges each, after D. Vyukov's bounded queue.
 *
 * @example A queue of jobs that two workers take from
 * ```ts
 * import { MpmcQueue } from "@keelson/keelson";
 *
 * const name = `example-${crypto.randomUUID()}`;
 * using jobs = MpmcQueue.create(name, { encoding: "structured" });
 * using worker = MpmcQueue.attach(name, { encoding: "structured" });
 * jobs.push({ resize: "a.png", to: [640, 480] });
 * console.assert((worker.pop() as { resize: string }).resize === "a.png");
 * console.assert(worker.pop() === undefined);
 * MpmcQueue.remove(name);
 * ```
 */
export class MpmcQueue<E extends RecordEncoding = "bytes"> extends SharedQueue<E> {
  /** Records it can hold. */
  readonly capacity: number;
  /** Bytes of the largest record; 0 for a queue of numbers. */
  readonly recordBytesMax: number;
  #lockfree: Symbols<"lockfree">;
  #scratch: Uint8Array<ArrayBuffer> | undefined;

  private constructor(lockfree: Symbols<"lockfree">, handle: number, name: string, encoding: E) {
    super("queue", HANDLE.MPMC_QUEUE, handle, name, encoding);
    this.#lockfree = lockfree;
    this.capacity = lockfree.kl_mpmc_queue_capacity(handle);
    this.recordBytesMax = lockfree.kl_mpmc_queue_record_bytes_max(handle);
  }

  /**
   * Makes an empty queue. It appears whole, under its name, or not at all.
   *
   * @param name 1 to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`
   * @throws {KeelsonError} `KL_ERR_EXISTS`, `KL_ERR_NAME`, `KL_ERR_ARGUMENT`, `KL_ERR_NO_SPACE`
   *
   * @example
   * ```ts
   * import { MpmcQueue } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using queue = MpmcQueue.create(name, { capacity: 64 });
   * console.assert(queue.capacity === 64);
   * MpmcQueue.remove(name);
   * ```
   */
  static create<E extends RecordEncoding = "bytes">(
    name: string,
    options: MpmcQueueOptions<E> = {},
  ): MpmcQueue<E> {
    const action = `create the queue ${quote(name)}`;
    const { capacity = CAPACITY, words = false, atMostOnce = false } = options;
    const { recordBytesMax = RECORD_BYTES_MAX, encoding = "bytes" as E } = options;
    if (capacity >>> 0 !== capacity) {
      refuse(action, `capacity must be a power of two from 2 to 2^24, not ${String(capacity)}`);
    }
    if (!(Number.isInteger(recordBytesMax) && recordBytesMax > 0 && recordBytesMax <= 246)) {
      refuse(action, `recordBytesMax must be 1 to 246 bytes, not ${String(recordBytesMax)}`);
    }
    const known = lockfree ??= symbols("lockfree");
    const largest = words ? 0 : recordBytesMax, drops = atMostOnce ? 1 : 0;
    const handle = openShared(
      action,
      name,
      (utf8, bytes, out) => known.kl_mpmc_queue_create(utf8, bytes, capacity, largest, drops, out),
    );
    return new MpmcQueue(known, handle, name, encoding);
  }

  /**
   * Opens a queue that another has created.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_FOREIGN` when the name is not a queue's, `KL_ERR_NAME`
   *
   * @example
   * ```ts
   * import { KeelsonError, MpmcQueue } from "@keelson/keelson";
   *
   * try {
   *   MpmcQueue.attach("nobody-made-this");
   * } catch (error) {
   *   console.assert(error instanceof KeelsonError && error.codeName === "KL_ERR_NOT_FOUND");
   * }
   * ```
   */
  static attach<E extends RecordEncoding = "bytes">(
    name: string,
    { encoding = "bytes" as E }: Pick<MpmcQueueOptions<E>, "encoding"> = {},
  ): MpmcQueue<E> {
    const known = lockfree ??= symbols("lockfree");
    const handle = openShared(
      `attach to the queue ${quote(name)}`,
      name,
      known.kl_mpmc_queue_attach,
    );
    return new MpmcQueue(known, handle, name, encoding);
  }

  /**
   * Takes the name away. Whoever has the queue open keeps it; the memory is freed with the last.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_NAME`
   *
   * @example
   * ```ts
   * import { MpmcQueue } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * MpmcQueue.create(name).close();
   * MpmcQueue.remove(name);
   * ```
   */
  static remove(name: string): void {
    const known = lockfree ??= symbols("lockfree");
    removeShared(`remove the queue ${quote(name)}`, name, known.kl_mpmc_queue_remove);
  }

  /**
   * Appends a record. `false` when there is no room for it now.
   *
   * @throws {KeelsonError} `KL_ERR_ARGUMENT` when it could never fit
   *
   * @example
   * ```ts
   * import { MpmcQueue } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using queue = MpmcQueue.create(name, { capacity: 2 });
   * console.assert(queue.push(Uint8Array.of(1)) && queue.push(Uint8Array.of(2)));
   * console.assert(queue.push(Uint8Array.of(3)) === false); // until one is popped
   * MpmcQueue.remove(name);
   * ```
   */
  push(record: RecordInput[E]): boolean {
    const bytes = this.encode(record);
    const status = this.#lockfree.kl_mpmc_queue_push(this.handle, bytes, bytes.byteLength);
    return status === 0 || this.notNow(status, "push to");
  }

  /**
   * Takes the oldest record out; `undefined` when there is none.
   *
   * @throws {KeelsonError} `KL_ERR_CORRUPT` when a peer wrote over the queue
   *
   * @example
   * ```ts
   * import { MpmcQueue } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using queue = MpmcQueue.create(name);
   * queue.push(Uint8Array.of(1, 2, 3));
   * console.assert(queue.pop()?.length === 3);
   * MpmcQueue.remove(name);
   * ```
   */
  pop(): RecordOutput[E] | undefined {
    const { chunk } = this;
    for (;;) {
      const { bytes, used } = chunk, room = bytes.length - used;
      const popped = room < 0 // its buffer was transferred with a record
        ? STATUS.KL_ERR_LIMIT
        : this.#lockfree.kl_mpmc_queue_pop_at(this.handle, bytes, used, room);
      if (popped >= 0) return this.decode(popped);
      if (popped !== STATUS.KL_ERR_LIMIT) return this.notNow(popped, "pop from") || undefined;
      chunk.renew(0);
    }
  }

  /**
   * Appends records in one call, up to the first that has no room. Answers how many went in. Records
   * of others may come between.
   *
   * @example
   * ```ts
   * import { MpmcQueue } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using queue = MpmcQueue.create(name);
   * console.assert(queue.pushMany([Uint8Array.of(1), Uint8Array.of(2)]) === 2);
   * MpmcQueue.remove(name);
   * ```
   */
  pushMany(records: readonly RecordInput[E][]): number {
    const encoded = this.encodeMany(records);
    let done = 0;
    while (done < encoded.length) {
      const { batch } = encodeBatch(encoded, done);
      const pushed = this.#lockfree.kl_mpmc_queue_push_many(this.handle, batch, batch.length);
      if (pushed < 0 && done === 0) this.notNow(pushed, "push to");
      if (pushed <= 0) break;
      done += pushed;
    }
    return done;
  }

  /**
   * Takes out as many records as there are, at most about a MiB of them.
   *
   * @example
   * ```ts
   * import { MpmcQueue } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using queue = MpmcQueue.create(name);
   * queue.pushMany([Uint8Array.of(1), Uint8Array.of(2)]);
   * console.assert(queue.popMany().length === 2);
   * MpmcQueue.remove(name);
   * ```
   */
  popMany(): RecordOutput[E][] {
    const scratch = this.#scratch ??= new Uint8Array(
      Math.min(this.capacity * (this.recordBytesMax + 7), BATCH_BYTES_MAX),
    );
    const count = this.#lockfree.kl_mpmc_queue_pop_many(this.handle, scratch, scratch.length);
    if (count < 0) this.notNow(count, "pop from");
    return this.decodeMany(scratch, count);
  }

  /**
   * Appends a number to a queue made with `words`. `false` when there is no room for it now.
   *
   * @example
   * ```ts
   * import { MpmcQueue } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using queue = MpmcQueue.create(name, { words: true });
   * console.assert(queue.pushWord(4_000_000_000));
   * console.assert(queue.popWord() === 4_000_000_000);
   * MpmcQueue.remove(name);
   * ```
   */
  pushWord(word: number): boolean {
    if (word >>> 0 !== word) {
      refuse(this.doing("push to"), `${word} is not a number from 0 to 2^32 - 1`);
    }
    const status = this.#lockfree.kl_mpmc_queue_push_u32(this.handle, word);
    return status === 0 || this.notNow(status, "push to");
  }

  /**
   * Takes the oldest number out; `undefined` when there is none.
   *
   * @example
   * ```ts
   * import { MpmcQueue } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using queue = MpmcQueue.create(name, { words: true });
   * console.assert(queue.popWord() === undefined);
   * MpmcQueue.remove(name);
   * ```
   */
  popWord(): number | undefined {
    const word = this.#lockfree.kl_mpmc_queue_pop_u32(this.handle);
    if (word >= 0) return word;
    return this.notNow(word, "pop from") || undefined;
  }

  /**
   * Appends numbers in one call, up to the first that has no room. Answers how many went in.
   *
   * @example
   * ```ts
   * import { MpmcQueue } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using queue = MpmcQueue.create(name, { words: true });
   * console.assert(queue.pushWords(Uint32Array.of(1, 2, 3)) === 3);
   * const words = new Uint32Array(64);
   * console.assert(queue.popWords(words) === 3 && words[2] === 3);
   * MpmcQueue.remove(name);
   * ```
   */
  pushWords(words: Uint32Array<ArrayBuffer>): number {
    if (!(words instanceof Uint32Array)) refuse(this.doing("push to"), "not a Uint32Array");
    const done = this.#lockfree.kl_mpmc_queue_push_words(
      this.handle,
      words as unknown as Uint8Array<ArrayBuffer>,
      words.length,
    );
    return done < 0 ? check(done, () => this.doing("push to")) : done;
  }

  /** Takes out as many numbers as there are and `words` has room for. Answers how many. */
  popWords(words: Uint32Array<ArrayBuffer>): number {
    if (!(words instanceof Uint32Array)) refuse(this.doing("pop from"), "not a Uint32Array");
    const done = this.#lockfree.kl_mpmc_queue_pop_words(
      this.handle,
      words as unknown as Uint8Array<ArrayBuffer>,
      words.length,
    );
    return done < 0 ? check(done, () => this.doing("pop from")) : done;
  }

  /** Records in it. Right only while nobody pushes or pops, else a number from 0 to the capacity. */
  get length(): number {
    return check(this.#lockfree.kl_mpmc_queue_length(this.handle), () => this.doing("look at"));
  }

  /**
   * Looks at once whether processes died, and puts in order what they left. Pushes, pops and waits do so by
   * themselves when somebody is in their way, and every 100 ms while there is nothing to do.
   */
  recover(): void {
    check(this.#lockfree.kl_mpmc_queue_reap(this.handle), () => this.doing("recover"));
  }

  /**
   * Looks at every slot. Right only while nobody pushes or pops.
   *
   * @throws {KeelsonError} `KL_ERR_CORRUPT`
   */
  verify(): void {
    check(this.#lockfree.kl_mpmc_queue_check(this.handle), () => this.doing("verify"));
  }

  /** Gives the handle back. */
  protected override closeHandle(handle: number): void {
    this.#lockfree.kl_mpmc_queue_close(handle);
  }
}
