/**
 * The tasks of one worker, which others may steal: Chase and Lev's deque in shared memory.
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

/** Options for {@linkcode WorkDeque.create}. */
export interface WorkDequeOptions {
  /** Tasks it can hold. A power of two from 2 to 2^28. @default {1024} */
  capacity?: number;
}

const CAPACITY = 1024;
/** Tasks that one theft takes at most. */
const BATCH_MAX = 32;
/** What `kl_work_deque_steal` answers when others were faster. */
const LOST = 0;
const WORK = 1;

let lockfree: Symbols<"lockfree"> | undefined;

/**
 * A double-ended queue of task numbers: its owner pushes and pops the youngest, last in first out; any
 * number of thieves in other Workers and processes steal the oldest, first in first out.
 *
 * A task is a whole number from 0 to 2^53 - 1: an index into what the workers share, or the number of a
 * piece of work. Each is taken exactly once. The first push or pop makes a thread the owner; when it dies
 * (a killed process, a terminated Worker) the next to push or pop takes over: the tasks in the deque are
 * where they were, and the one that the dead owner had popped and not finished comes again (at least
 * once). What a thief has stolen is its own, and gone when it dies (at most once).
 *
 * push and pop take constant time, with no lock and no wait; a theft is lock-free. D. Chase and Y. Lev,
 * "Dynamic circular work-stealing deque", SPAA 2005, with the fences of N. M. Lê et al., "Correct and
 * efficient work-stealing for weak memory models", PPoPP 2013.
 *
 * @example An owner and a thief
 * ```ts
 * import { WorkDeque } from "@keelson/keelson";
 *
 * const name = `example-${crypto.randomUUID()}`;
 * using owner = WorkDeque.create(name);
 * using thief = WorkDeque.attach(name);
 * for (const task of [1, 2, 3]) owner.push(task);
 * console.assert(thief.steal() === 1); // the oldest
 * console.assert(owner.pop() === 3); // the youngest
 * console.assert(owner.pop() === 2);
 * console.assert(owner.pop() === undefined);
 * WorkDeque.remove(name);
 * ```
 */
export class WorkDeque implements Disposable {
  /** Tasks it can hold. */
  readonly capacity: number;
  /** What it was created or attached as. */
  readonly name: string;
  #handle: number;
  #lockfree: Symbols<"lockfree">;
  #tasks = new Float64Array(BATCH_MAX);
  #taskBytes = new Uint8Array(this.#tasks.buffer);

  private constructor(lockfree: Symbols<"lockfree">, handle: number, name: string) {
    this.#lockfree = lockfree;
    this.#handle = handle;
    this.name = name;
    this.capacity = lockfree.kl_work_deque_capacity(handle);
  }

  /**
   * Makes an empty deque. It appears whole, under its name, or not at all.
   *
   * @param name 1 to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`
   * @throws {KeelsonError} `KL_ERR_EXISTS`, `KL_ERR_NAME`, `KL_ERR_ARGUMENT`, `KL_ERR_NO_SPACE`
   *
   * @example
   * ```ts
   * import { WorkDeque } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using deque = WorkDeque.create(name, { capacity: 64 });
   * console.assert(deque.capacity === 64);
   * WorkDeque.remove(name);
   * ```
   */
  static create(name: string, options: WorkDequeOptions = {}): WorkDeque {
    const action = `create the deque ${quote(name)}`;
    const { capacity = CAPACITY } = options;
    if (capacity >>> 0 !== capacity) {
      refuse(action, `capacity must be a power of two from 2 to 2^28, not ${String(capacity)}`);
    }
    const known = lockfree ??= symbols("lockfree");
    const handle = openShared(
      action,
      name,
      (utf8, bytes, out) => known.kl_work_deque_create(utf8, bytes, capacity, out),
    );
    return new WorkDeque(known, handle, name);
  }

  /**
   * Opens a deque that another has created, as its thief or as its next owner.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_FOREIGN` when the name is not a deque's, `KL_ERR_NAME`
   *
   * @example
   * ```ts
   * import { WorkDeque } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using owner = WorkDeque.create(name);
   * owner.push(7);
   * using thief = WorkDeque.attach(name);
   * console.assert(thief.steal() === 7);
   * WorkDeque.remove(name);
   * ```
   */
  static attach(name: string): WorkDeque {
    const known = lockfree ??= symbols("lockfree");
    const handle = openShared(
      `attach to the deque ${quote(name)}`,
      name,
      known.kl_work_deque_attach,
    );
    return new WorkDeque(known, handle, name);
  }

  /**
   * Takes the name away. Whoever has the deque open keeps it; the memory is freed with the last.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_NAME`
   */
  static remove(name: string): void {
    const known = lockfree ??= symbols("lockfree");
    removeShared(`remove the deque ${quote(name)}`, name, known.kl_work_deque_remove);
  }

  /**
   * Makes this thread the owner, as the first push or pop would. `true` when it replaced one that died.
   *
   * @throws {KeelsonError} `KL_ERR_LOCKED` when there is another live owner
   *
   * @example
   * ```ts
   * import { WorkDeque } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using deque = WorkDeque.create(name);
   * console.assert(deque.claim() === false);
   * WorkDeque.remove(name);
   * ```
   */
  claim(): boolean {
    return this.#check(this.#lockfree.kl_work_deque_own(this.#handle), "become the owner of") ===
      STATUS.KL_OWNER_DEAD;
  }

  /**
   * Owner: adds a task. `false` when the deque is full: run it, or another one, yourself.
   *
   * @param task a whole number from 0 to 2^53 - 1
   * @throws {KeelsonError} `KL_ERR_ARGUMENT`, `KL_ERR_LOCKED` when there is another live owner
   *
   * @example
   * ```ts
   * import { WorkDeque } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using deque = WorkDeque.create(name, { capacity: 2 });
   * console.assert(deque.push(1) && deque.push(2));
   * console.assert(deque.push(3) === false);
   * WorkDeque.remove(name);
   * ```
   */
  push(task: number): boolean {
    if (typeof task !== "number") {
      refuse(`push to the deque ${quote(this.name)}`, "a task is a number from 0 to 2^53 - 1");
    }
    const status = this.#lockfree.kl_work_deque_push(this.#handle, task);
    if (status === 0) return true;
    if (status !== STATUS.KL_ERR_AGAIN) this.#check(status, "push to");
    return false;
  }

  /**
   * Owner: adds tasks in one call, up to the first that has no room. How many went in.
   *
   * @throws {KeelsonError} `KL_ERR_ARGUMENT` when the first is not a task
   *
   * @example
   * ```ts
   * import { WorkDeque } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using deque = WorkDeque.create(name, { capacity: 4 });
   * console.assert(deque.pushMany([1, 2, 3, 4, 5]) === 4);
   * WorkDeque.remove(name);
   * ```
   */
  pushMany(tasks: readonly number[] | Float64Array<ArrayBuffer>): number {
    const batch = tasks instanceof Float64Array ? tasks : Float64Array.from(tasks);
    const bytes = new Uint8Array(batch.buffer, batch.byteOffset, batch.byteLength);
    return this.#check(
      this.#lockfree.kl_work_deque_push_many(this.#handle, bytes, batch.length),
      "push to",
    );
  }

  /**
   * Owner: takes the youngest task; `undefined` when there is none. The task popped before counts as
   * finished from here on.
   *
   * @throws {KeelsonError} `KL_ERR_LOCKED` when there is another live owner, `KL_ERR_CORRUPT` when a peer
   * wrote over the deque
   */
  pop(): number | undefined {
    const task = this.#lockfree.kl_work_deque_pop(this.#handle);
    if (task >= 0) return task;
    if (task !== STATUS.KL_ERR_AGAIN) this.#check(task, "pop from");
    return undefined;
  }

  /**
   * Owner: the task popped last and not finished, if any.
   *
   * @example
   * ```ts
   * import { WorkDeque } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using deque = WorkDeque.create(name);
   * deque.push(7);
   * deque.pop();
   * console.assert(deque.current === 7);
   * deque.done();
   * console.assert(deque.current === undefined);
   * WorkDeque.remove(name);
   * ```
   */
  get current(): number | undefined {
    const task = this.#lockfree.kl_work_deque_current(this.#handle);
    if (task >= 0) return task;
    if (task !== STATUS.KL_ERR_AGAIN) this.#check(task, "look at");
    return undefined;
  }

  /** Owner: the task popped last is finished. The next pop says so too. */
  done(): void {
    this.#check(this.#lockfree.kl_work_deque_done(this.#handle), "finish a task of");
  }

  /**
   * Anyone: takes the oldest task; `undefined` when there is none. A race lost to another thief is tried
   * again: somebody else got a task each time.
   *
   * @throws {KeelsonError} `KL_ERR_CORRUPT`
   */
  steal(): number | undefined {
    for (;;) {
      const count = this.#steal(1);
      if (count > 0) return this.#tasks[0];
      if (count !== LOST) return undefined;
    }
  }

  /**
   * Anyone: takes the oldest tasks, at most `most`, 32, and half of what there is, oldest first. Empty
   * when there is none.
   *
   * @throws {KeelsonError} `KL_ERR_ARGUMENT`, `KL_ERR_CORRUPT`
   *
   * @example
   * ```ts
   * import { WorkDeque } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using deque = WorkDeque.create(name);
   * deque.pushMany([1, 2, 3, 4]);
   * console.assert(deque.stealMany(32).join() === "1,2"); // half
   * WorkDeque.remove(name);
   * ```
   */
  stealMany(most: number = BATCH_MAX): number[] {
    for (;;) {
      const count = this.#steal(most);
      if (count > 0) return Array.from(this.#tasks.subarray(0, count));
      if (count !== LOST) return [];
    }
  }

  /**
   * Anyone: one attempt to take the oldest task. `"empty"`: there was none; `"lost"`: there was, and
   * another got it; look elsewhere, or again.
   *
   * @example
   * ```ts
   * import { WorkDeque } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using deque = WorkDeque.create(name);
   * console.assert(deque.trySteal() === "empty");
   * WorkDeque.remove(name);
   * ```
   */
  trySteal(): number | "empty" | "lost" {
    const count = this.#steal(1);
    if (count > 0) return this.#tasks[0];
    return count === LOST ? "lost" : "empty";
  }

  /**
   * Thief: resolves to `true` as soon as there is something to steal, to `false` after the timeout.
   *
   * @throws {KeelsonError} `KL_ERR_CLOSED` when this end is closed meanwhile
   */
  waitForWork(options: WaitOptions = {}): Promise<boolean> {
    return waitShared(`wait for the deque ${quote(this.name)}`, this.#target(), options);
  }

  /**
   * Thief: blocks the thread until there is something to steal (`true`) or until the timeout. For Workers.
   *
   * @throws {KeelsonError} `KL_ERR_CLOSED` when this end is closed meanwhile
   */
  waitForWorkSync(timeoutMs?: number): boolean {
    return waitSharedSync(`wait for the deque ${quote(this.name)}`, this.#target(), timeoutMs);
  }

  /** Tasks in it now. */
  get length(): number {
    return this.#check(this.#lockfree.kl_work_deque_length(this.#handle), "look at");
  }

  /**
   * Checks the positions. Right only while nobody pushes, pops or steals.
   *
   * @throws {KeelsonError} `KL_ERR_CORRUPT`
   */
  verify(): void {
    this.#check(this.#lockfree.kl_work_deque_check(this.#handle), "verify");
  }

  /** Gives up this end, and the ownership. The deque stays, for others and under its name. */
  close(): void {
    const handle = this.#handle;
    this.#handle = 0;
    if (handle !== 0) this.#lockfree.kl_work_deque_close(handle);
  }

  /** The same as {@linkcode WorkDeque.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #steal(most: number): number {
    if (most >>> 0 !== most) {
      refuse(`steal from the deque ${quote(this.name)}`, `${most} is not a number of tasks`);
    }
    const count = this.#lockfree.kl_work_deque_steal(this.#handle, this.#taskBytes, most);
    return count >= 0 || count === STATUS.KL_ERR_AGAIN ? count : this.#check(count, "steal from");
  }

  #target() {
    return { handle: this.#handle, kind: HANDLE.WORK_DEQUE, what: WORK, argument: 0 };
  }

  #check(status: number, doing: string): number {
    return check(status, () => `${doing} the deque ${quote(this.name)}`);
  }
}
