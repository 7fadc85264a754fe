/**
 * Mutual exclusion between Workers and processes that survives the death of its owner.
 *
 * @module
 */
import { HANDLE } from "../../ffi/generated/handle.ts";
import { type Symbols, symbols } from "../../ffi/library.ts";
import { check, STATUS } from "../base/error.ts";
import {
  openShared,
  quote,
  removeShared,
  type WaitOptions,
  waitShared,
  waitTimeout,
} from "./shared_object.ts";

const FREE = 1;
const HELD_HERE = 1;
const ASKING = 1;

let sync: Symbols<"sync"> | undefined;

/**
 * A lock that one thread at a time holds, between the main program, its Workers and other processes.
 *
 * For short sections. The thread that locked is the one that unlocks; while it holds the mutex it should
 * not wait for anything else ({@linkcode SleepLock} is for that). Who blocks for it spins while the
 * owner runs and sleeps when it does not; who comes may overtake who waits.
 *
 * An owner that dies (a killed process, a terminated Worker, a handle that is closed) does not take the
 * mutex along: the next one gets it with {@linkcode Mutex.ownerDied} set, and repairs what it guards.
 * Until an unlock, each later owner is told as well. A blocking lock notices a killed process after a
 * millisecond, an event loop after half a second.
 *
 * Locking and unlocking are constant time when nobody else wants it: one locked instruction each, and
 * what a call into C costs.
 *
 * @example Two ends of one mutex, as two processes would have them
 * ```ts
 * import { Mutex } from "@keelson/keelson";
 *
 * const name = `example-${crypto.randomUUID()}`;
 * using mutex = Mutex.create(name);
 * using other = Mutex.attach(name);
 * console.assert(mutex.tryLock());
 * console.assert(!other.tryLock());
 * mutex.unlock();
 * if (await other.lockAsync({ timeoutMs: 1000 })) {
 *   if (other.ownerDied) console.log("repair what it guards");
 *   other.unlock();
 * }
 * Mutex.remove(name);
 * ```
 */
export class Mutex implements Disposable {
  /** What it was created or attached as. */
  readonly name: string;
  #handle: number;
  #sync: Symbols<"sync">;
  #ownerDied = false;

  private constructor(known: Symbols<"sync">, handle: number, name: string) {
    this.#sync = known;
    this.#handle = handle;
    this.name = name;
  }

  /**
   * Makes a free mutex. It appears whole, under its name, or not at all.
   *
   * @param name 1 to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`
   * @throws {KeelsonError} `KL_ERR_EXISTS`, `KL_ERR_NAME`, `KL_ERR_NO_SPACE`
   */
  static create(name: string): Mutex {
    const known = sync ??= symbols("sync");
    const handle = openShared(`create the mutex ${quote(name)}`, name, known.kl_mutex_create);
    return new Mutex(known, handle, name);
  }

  /**
   * Opens a mutex that another has created.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_FOREIGN` when the name is not a mutex's, `KL_ERR_NAME`
   */
  static attach(name: string): Mutex {
    const known = sync ??= symbols("sync");
    const handle = openShared(`attach to the mutex ${quote(name)}`, name, known.kl_mutex_attach);
    return new Mutex(known, handle, name);
  }

  /**
   * Takes the name away. Whoever has the mutex open keeps it.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_NAME`
   */
  static remove(name: string): void {
    const known = sync ??= symbols("sync");
    removeShared(`remove the mutex ${quote(name)}`, name, known.kl_mutex_remove);
  }

  /** Whether the owner before the last lock of this end died holding it: repair what it guards. */
  get ownerDied(): boolean {
    return this.#ownerDied;
  }

  /** Whether this thread holds it through this end. */
  get held(): boolean {
    const state = this.#sync.kl_mutex_state(this.#handle);
    return check(state, () => this.#action("look at")) === HELD_HERE;
  }

  /**
   * Locks if nobody living holds it. `false`: somebody does, perhaps this very thread.
   *
   * @example
   * ```ts
   * import { Mutex } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using mutex = Mutex.create(name);
   * console.assert(mutex.tryLock() && !mutex.tryLock());
   * mutex.unlock();
   * Mutex.remove(name);
   * ```
   */
  tryLock(): boolean {
    const status = this.#sync.kl_mutex_take(this.#handle, ASKING);
    if (status === STATUS.KL_ERR_AGAIN || status === STATUS.KL_ERR_LOCKED) return false;
    return this.#locked(status);
  }

  /**
   * Locks, blocking the thread meanwhile: for Workers, as it stops the event loop. `false` after the
   * timeout.
   *
   * @throws {KeelsonError} `KL_ERR_LOCKED` when this thread holds it already, `KL_ERR_CLOSED` when this end
   * is closed meanwhile
   *
   * @example
   * ```ts
   * import { Mutex } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using mutex = Mutex.create(name);
   * if (mutex.lock({ timeoutMs: 100 })) mutex.unlock();
   * Mutex.remove(name);
   * ```
   */
  lock({ timeoutMs }: Pick<WaitOptions, "timeoutMs"> = {}): boolean {
    const limitMs = timeoutMs === undefined ? -1 : waitTimeout(this.#action("lock"), timeoutMs);
    const status = this.#sync.kl_mutex_take_within(this.#handle, limitMs);
    return status === STATUS.KL_ERR_TIMEOUT ? false : this.#locked(status);
  }

  /**
   * Locks as soon as it is free, while the event loop goes on. `false` after the timeout. The thread holds
   * it, so other code of this thread finds it held: keep no `await` before the unlock.
   *
   * @throws {KeelsonError} `KL_ERR_LOCKED` when this thread holds it already, `KL_ERR_CLOSED` when this end
   * is closed meanwhile
   *
   * @example
   * ```ts
   * import { Mutex } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using mutex = Mutex.create(name);
   * await mutex.lockAsync();
   * mutex.unlock();
   * Mutex.remove(name);
   * ```
   */
  async lockAsync({ timeoutMs, signal }: WaitOptions = {}): Promise<boolean> {
    const limitMs = waitTimeout(this.#action("lock"), timeoutMs);
    const endMs = limitMs < 0 ? Infinity : performance.now() + limitMs;
    for (;;) {
      signal?.throwIfAborted();
      const status = this.#sync.kl_mutex_take(this.#handle, ASKING);
      if (status !== STATUS.KL_ERR_AGAIN) return this.#locked(status);
      const leftMs = endMs === Infinity ? undefined : Math.max(0, endMs - performance.now());
      const target = { handle: this.#handle, kind: HANDLE.MUTEX, what: FREE, argument: 0 };
      const free = await waitShared(this.#action("lock"), target, { timeoutMs: leftMs, signal });
      if (!free) return false;
    }
  }

  /**
   * Lets the next one in.
   *
   * @throws {KeelsonError} `KL_ERR_LOCKED` when this thread does not hold it through this end
   */
  unlock(): void {
    const status = this.#sync.kl_mutex_give(this.#handle);
    if (status < 0) check(status, this.#action("unlock"));
  }

  /** Gives up this end; a mutex that it holds goes to the next one as if this owner had died. */
  close(): void {
    const handle = this.#handle;
    this.#handle = 0;
    if (handle !== 0) check(this.#sync.kl_mutex_close(handle), this.#action("close"));
  }

  /** As {@linkcode Mutex.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #locked(status: number): boolean {
    if (status < 0) check(status, this.#action("lock"));
    this.#ownerDied = status === STATUS.KL_OWNER_DEAD;
    return true;
  }

  #action(verb: string): string {
    return `${verb} the mutex ${quote(this.name)}`;
  }
}
