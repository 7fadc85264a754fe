/**
 * A bounded first-in-first-out queue of elements of one size, shared by any number of Workers and processes.
 *
 * @module
 */
import { HANDLE } from "../../ffi/generated/handle.ts";
import { type Symbols, symbols } from "../../ffi/library.ts";
import { check, refuse, STATUS } from "../base/error.ts";
import {
  openShared,
  quote,
  removeShared,
  type WaitOptions,
  waitShared,
  waitSharedSync,
} from "../sync/shared_object.ts";

/** Options for {@linkcode MsQueue.create}. */
export interface MsQueueOptions {
  /** Elements it holds at most, 1 to 2^23. @default {1024} */
  capacity?: number;
  /** Bytes of each element, 1 to 4096. Elements of 4 bytes may also be moved as numbers. @default {4} */
  elementBytes?: number;
}

const CAPACITY = 1024;
const ELEMENT_BYTES = 4;
const DATA = 1;
const SPACE = 2;
const NUMBER_OF = { capacity: 0, elementBytes: 1, size: 2 } as const;

let lockfree: Symbols<"lockfree"> | undefined;

/**
 * A first-in-first-out queue of elements of one size in shared memory (Michael and Scott's, over a pool of
 * nodes). Any thread of any process pushes and pops at any time; none waits for another.
 *
 * A process that is killed in the middle of a call leaves the queue whole: its element was pushed or it was
 * not, and one it had just popped is gone with it (at most once). The memory it held is given back by
 * {@linkcode MsQueue.recover}, or by itself when the next one comes; the capacity is never less for it.
 *
 * An object belongs to the thread that opened it: every Worker attaches for itself, up to 64 at a time.
 *
 * @example Two ends of one queue, as two processes would have them
 * ```ts
 * import { MsQueue } from "@keelson/keelson";
 *
 * const name = `example-${crypto.randomUUID()}`;
 * using mine = MsQueue.create(name, { capacity: 100 });
 * using theirs = MsQueue.attach(name);
 * mine.pushWord(1);
 * mine.pushWord(2);
 * console.assert(theirs.popWord() === 1);
 * console.assert(theirs.popWord() === 2);
 * console.assert(theirs.popWord() === undefined);
 * MsQueue.remove(name);
 * ```
 */
export class MsQueue implements Disposable {
  /** What it was created or attached as. */
  readonly name: string;
  /** Elements it holds at most. */
  readonly capacity: number;
  /** Bytes of each element. */
  readonly elementBytes: number;
  #handle: number;
  #lockfree: Symbols<"lockfree">;

  private constructor(lockfree: Symbols<"lockfree">, handle: number, name: string) {
    this.#lockfree = lockfree;
    this.#handle = handle;
    this.name = name;
    const action = `open the queue ${quote(name)}`;
    this.capacity = check(lockfree.kl_ms_queue_number(handle, NUMBER_OF.capacity), action);
    this.elementBytes = check(lockfree.kl_ms_queue_number(handle, NUMBER_OF.elementBytes), action);
  }

  /**
   * Makes an empty queue. It appears whole, under its name, or not at all.
   *
   * @param name 1 to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`
   * @throws {KeelsonError} `KL_ERR_EXISTS`, `KL_ERR_NAME`, `KL_ERR_ARGUMENT`, `KL_ERR_NO_SPACE`
   *
   * @example
   * ```ts
   * import { MsQueue } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using queue = MsQueue.create(name, { capacity: 8, elementBytes: 16 });
   * console.assert(queue.capacity === 8 && queue.elementBytes === 16);
   * MsQueue.remove(name);
   * ```
   */
  static create(name: string, options: MsQueueOptions = {}): MsQueue {
    const action = `create the queue ${quote(name)}`;
    const { capacity = CAPACITY, elementBytes = ELEMENT_BYTES } = options;
    for (const [what, value] of [["capacity", capacity], ["elementBytes", elementBytes]]) {
      if ((value as number) >>> 0 !== value) refuse(action, `${what} cannot be ${String(value)}`);
    }
    const known = lockfree ??= symbols("lockfree");
    const handle = openShared(
      action,
      name,
      (utf8, bytes, out) => known.kl_ms_queue_create(utf8, bytes, capacity, elementBytes, out),
    );
    return new MsQueue(known, handle, name);
  }

  /**
   * Opens a queue that another has created.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_FOREIGN` when the name is not a queue's, `KL_ERR_NAME`,
   * `KL_ERR_LIMIT` when 64 threads have it open
   *
   * @example
   * ```ts
   * import { KeelsonError, MsQueue } from "@keelson/keelson";
   *
   * try {
   *   MsQueue.attach("nobody-made-this");
   * } catch (error) {
   *   console.assert(error instanceof KeelsonError && error.codeName === "KL_ERR_NOT_FOUND");
   * }
   * ```
   */
  static attach(name: string): MsQueue {
    const known = lockfree ??= symbols("lockfree");
    const handle = openShared(`attach to the queue ${quote(name)}`, name, known.kl_ms_queue_attach);
    return new MsQueue(known, handle, name);
  }

  /**
   * Takes the name away. Whoever has the queue open keeps it; the memory is freed with the last.
   *
   * @example
   * ```ts
   * import { MsQueue } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * MsQueue.create(name).close();
   * MsQueue.remove(name);
   * ```
   */
  static remove(name: string): void {
    const known = lockfree ??= symbols("lockfree");
    removeShared(`remove the queue ${quote(name)}`, name, known.kl_ms_queue_remove);
  }

  /**
   * Appends an element. `false` when the queue is full.
   *
   * @throws {KeelsonError} `KL_ERR_ARGUMENT` when it has not `elementBytes` bytes
   *
   * @example
   * ```ts
   * import { MsQueue } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using queue = MsQueue.create(name, { capacity: 1, elementBytes: 3 });
   * console.assert(queue.push(Uint8Array.of(1, 2, 3)) === true);
   * console.assert(queue.push(Uint8Array.of(4, 5, 6)) === false); // full
   * MsQueue.remove(name);
   * ```
   */
  push(element: Uint8Array): boolean {
    const status = this.#lockfree.kl_ms_queue_push_bytes(
      this.#handle,
      element as Uint8Array<ArrayBuffer>,
      element.byteLength,
    );
    return status === 0 || this.#notNow(status, "push to");
  }

  /**
   * Takes the oldest element out; `undefined` when there is none.
   *
   * @throws {KeelsonError} `KL_ERR_CORRUPT` when a peer wrote over the queue
   *
   * @example
   * ```ts
   * import { MsQueue } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using queue = MsQueue.create(name, { elementBytes: 3 });
   * queue.push(Uint8Array.of(1, 2, 3));
   * console.assert(queue.pop()?.[2] === 3);
   * console.assert(queue.pop() === undefined);
   * MsQueue.remove(name);
   * ```
   */
  pop(): Uint8Array<ArrayBuffer> | undefined {
    const element = new Uint8Array(this.elementBytes);
    const status = this.#lockfree.kl_ms_queue_pop_bytes(this.#handle, element, element.length);
    if (status === 0) return element;
    return this.#notNow(status, "pop from") || undefined;
  }

  /**
   * {@linkcode MsQueue.push} of a number from 0 to 2^32 - 1, for elements of 4 bytes.
   *
   * @example
   * ```ts
   * import { MsQueue } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using queue = MsQueue.create(name);
   * console.assert(queue.pushWord(4_000_000_000));
   * console.assert(queue.popWord() === 4_000_000_000);
   * MsQueue.remove(name);
   * ```
   */
  pushWord(word: number): boolean {
    if (word >>> 0 !== word) {
      refuse(
        `push to the queue ${quote(this.name)}`,
        `${String(word)} is not a number from 0 to 2^32 - 1`,
      );
    }
    const status = this.#lockfree.kl_ms_queue_push_u32(this.#handle, word);
    return status === 0 || this.#notNow(status, "push to");
  }

  /**
   * {@linkcode MsQueue.pop} of a number, for elements of 4 bytes.
   *
   * @example
   * ```ts
   * import { MsQueue } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using queue = MsQueue.create(name);
   * console.assert(queue.popWord() === undefined);
   * MsQueue.remove(name);
   * ```
   */
  popWord(): number | undefined {
    const word = this.#lockfree.kl_ms_queue_pop_u32(this.#handle);
    if (word >= 0) return word;
    return this.#notNow(word, "pop from") || undefined;
  }

  /**
   * Elements in it; exact when nobody pushes or pops. O(1).
   *
   * @example
   * ```ts
   * import { MsQueue } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using queue = MsQueue.create(name);
   * queue.pushWord(7);
   * console.assert(queue.size === 1);
   * MsQueue.remove(name);
   * ```
   */
  get size(): number {
    return check(
      this.#lockfree.kl_ms_queue_number(this.#handle, NUMBER_OF.size),
      () => `look at the queue ${quote(this.name)}`,
    );
  }

  /**
   * Resolves to `true` as soon as there is something to pop (another may be faster), to `false` after the
   * timeout.
   *
   * @throws {KeelsonError} `KL_ERR_CLOSED` when this object is closed meanwhile
   *
   * @example
   * ```ts
   * import { MsQueue } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using queue = MsQueue.create(name);
   * console.assert(await queue.waitForData({ timeoutMs: 5 }) === false);
   * MsQueue.remove(name);
   * ```
   */
  waitForData(options?: WaitOptions): Promise<boolean> {
    return this.#wait(DATA, options);
  }

  /**
   * Resolves to `true` as soon as there is room (another may be faster), to `false` after the timeout.
   *
   * @throws {KeelsonError} `KL_ERR_CLOSED` when this object is closed meanwhile
   *
   * @example
   * ```ts
   * import { MsQueue } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using queue = MsQueue.create(name);
   * console.assert(await queue.waitForSpace());
   * MsQueue.remove(name);
   * ```
   */
  waitForSpace(options?: WaitOptions): Promise<boolean> {
    return this.#wait(SPACE, options);
  }

  /**
   * {@linkcode MsQueue.waitForData} that blocks the thread: for Workers.
   *
   * @example
   * ```ts
   * import { MsQueue } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using queue = MsQueue.create(name);
   * console.assert(queue.waitForDataSync(5) === false);
   * MsQueue.remove(name);
   * ```
   */
  waitForDataSync(timeoutMs?: number): boolean {
    const target = { handle: this.#handle, kind: HANDLE.MS_QUEUE, what: DATA, argument: 0 };
    return waitSharedSync(`wait for the queue ${quote(this.name)}`, target, timeoutMs);
  }

  /**
   * Gives back what threads and processes that died held. Answers how many nodes. O(capacity); any time.
   *
   * @example
   * ```ts
   * import { MsQueue } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using queue = MsQueue.create(name);
   * console.assert(queue.recover() === 0); // nobody died
   * MsQueue.remove(name);
   * ```
   */
  recover(): number {
    return check(
      this.#lockfree.kl_ms_queue_recover_dead(this.#handle),
      () => `recover the queue ${quote(this.name)}`,
    );
  }

  /**
   * Walks through all of it. Right only while nobody pushes or pops.
   *
   * @throws {KeelsonError} `KL_ERR_CORRUPT`
   */
  verify(): void {
    check(
      this.#lockfree.kl_ms_queue_check(this.#handle),
      () => `verify the queue ${quote(this.name)}`,
    );
  }

  /** Closes this object. The queue stays, for others and under its name. */
  close(): void {
    const handle = this.#handle;
    this.#handle = 0;
    if (handle !== 0) this.#lockfree.kl_ms_queue_close(handle);
  }

  /** The same as {@linkcode MsQueue.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #wait(what: number, options?: WaitOptions): Promise<boolean> {
    const target = { handle: this.#handle, kind: HANDLE.MS_QUEUE, what, argument: 0 };
    return waitShared(`wait for the queue ${quote(this.name)}`, target, options);
  }

  /** `false` for "full" and "empty"; throws everything else. */
  #notNow(status: number, doing: string): false {
    if (status !== STATUS.KL_ERR_AGAIN) {
      check(status, () => `${doing} the queue ${quote(this.name)}`);
    }
    return false;
  }
}
