/**
 * A fair lock that may be held across awaits.
 *
 * @module
 */
import { HANDLE } from "../../ffi/generated/handle.ts";
import { type Symbols, symbols } from "../../ffi/library.ts";
import { check, KeelsonError, refuse, STATUS } from "../base/error.ts";
import {
  openShared,
  quote,
  removeShared,
  type WaitOptions,
  waitShared,
  waitTimeout,
} from "./shared_object.ts";

/** Options for {@linkcode SleepLock.create}. */
export interface SleepLockOptions {
  /**
   * The owner and those who came since it did may be so many together; more are refused with
   * `KL_ERR_LIMIT`. A power of two from 2 to 65536. @default {1024}
   */
  places?: number;
}

const PLACES = 1024;
const TURN = 1;
const WAITING = 1;

const outTicket = new Float64Array(1);
const outTicketBytes = new Uint8Array(outTicket.buffer);
let sync: Symbols<"sync"> | undefined;

/** What {@linkcode SleepLock.acquire} gives: the lock, until it is released. */
export class SleepLockGuard implements Disposable, AsyncDisposable {
  /** Whether an owner before died holding the lock and nobody has released it since: repair first. */
  readonly ownerDied: boolean;
  #release: (() => void) | undefined;

  /** Guards come from {@linkcode SleepLock}. */
  constructor(release: () => void, ownerDied: boolean) {
    this.#release = release;
    this.ownerDied = ownerDied;
  }

  /**
   * Lets the next one in. A second time is nothing.
   *
   * @throws {KeelsonError} `KL_ERR_FENCED` when the lock is another's by now, because this end was closed
   */
  release(): void {
    const release = this.#release;
    this.#release = undefined;
    release?.();
  }

  /** As {@linkcode SleepLockGuard.release}. */
  [Symbol.dispose](): void {
    this.release();
  }

  /** As {@linkcode SleepLockGuard.release}. */
  [Symbol.asyncDispose](): Promise<void> {
    this.release();
    return Promise.resolve();
  }
}

/**
 * A lock for long sections: held across awaits and blocking calls, between tasks of one event loop,
 * Workers and processes. First come, first served; who waits sleeps.
 *
 * Each acquire is a place in the queue of its own, so two tasks of one event loop exclude each other as
 * two processes do; one that acquires twice waits for itself. What dies (a killed process, a terminated
 * Worker, a closed end) leaves the queue; when it had the lock, the next guard says so
 * ({@linkcode SleepLockGuard.ownerDied}), and so do all after it until one is released. A killed process
 * is noticed by those who wait within half a second, the rest at once.
 *
 * Acquire and release take constant time when nobody else wants it.
 *
 * @example
 * ```ts
 * import { SleepLock } from "@keelson/keelson";
 *
 * const name = `example-${crypto.randomUUID()}`;
 * using lock = SleepLock.create(name);
 * {
 *   await using guard = await lock.acquire();
 *   if (guard.ownerDied) console.log("repair what it guards");
 *   await new Promise((resolve) => setTimeout(resolve, 1)); // still ours
 * }
 * console.assert(lock.tryAcquire() !== undefined);
 * SleepLock.remove(name);
 * ```
 */
export class SleepLock implements Disposable {
  /** What it was created or attached as. */
  readonly name: string;
  #handle: number;
  #sync: Symbols<"sync">;

  private constructor(known: Symbols<"sync">, handle: number, name: string) {
    this.#sync = known;
    this.#handle = handle;
    this.name = name;
  }

  /**
   * Makes a free lock. It appears whole, under its name, or not at all.
   *
   * @param name 1 to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`
   * @throws {KeelsonError} `KL_ERR_EXISTS`, `KL_ERR_NAME`, `KL_ERR_ARGUMENT`, `KL_ERR_NO_SPACE`
   */
  static create(name: string, { places = PLACES }: SleepLockOptions = {}): SleepLock {
    const action = `create the lock ${quote(name)}`;
    if (places >>> 0 !== places) {
      refuse(action, `places must be a power of two from 2 to 65536, not ${String(places)}`);
    }
    const known = sync ??= symbols("sync");
    const handle = openShared(
      action,
      name,
      (utf8, bytes, out) => known.kl_sleep_lock_create(utf8, bytes, places >>> 0, out),
    );
    return new SleepLock(known, handle, name);
  }

  /**
   * Opens a lock that another has created.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_FOREIGN` when the name is not a lock's, `KL_ERR_NAME`
   */
  static attach(name: string): SleepLock {
    const known = sync ??= symbols("sync");
    const handle = openShared(
      `attach to the lock ${quote(name)}`,
      name,
      known.kl_sleep_lock_attach,
    );
    return new SleepLock(known, handle, name);
  }

  /**
   * Takes the name away. Whoever has the lock open keeps it.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_NAME`
   */
  static remove(name: string): void {
    const known = sync ??= symbols("sync");
    removeShared(`remove the lock ${quote(name)}`, name, known.kl_sleep_lock_remove);
  }

  /** How many have the lock or wait for it; a hint. */
  get count(): number {
    return check(this.#sync.kl_sleep_lock_waiting(this.#handle), () => this.#action("look at"));
  }

  /**
   * Waits for its turn. The event loop goes on.
   *
   * @throws {KeelsonError} `KL_ERR_TIMEOUT` after `timeoutMs`, `KL_ERR_LIMIT` when all places are taken,
   * `KL_ERR_CLOSED` when this end is closed meanwhile; or the reason of `signal`
   *
   * @example Tasks of one event loop, one after the other
   * ```ts
   * import { SleepLock } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using lock = SleepLock.create(name);
   * const order: number[] = [];
   * await Promise.all([1, 2, 3].map(async (n) => {
   *   await using _guard = await lock.acquire();
   *   order.push(n);
   *   await Promise.resolve();
   *   order.push(n);
   * }));
   * console.assert(order.join("") === "112233");
   * SleepLock.remove(name);
   * ```
   */
  async acquire({ timeoutMs, signal }: WaitOptions = {}): Promise<SleepLockGuard> {
    const action = this.#action("acquire");
    waitTimeout(action, timeoutMs);
    signal?.throwIfAborted();
    let status = this.#sync.kl_sleep_lock_take(this.#handle, WAITING, outTicketBytes);
    const ticket = outTicket[0];
    if (status !== STATUS.KL_ERR_AGAIN) return this.#guard(status, ticket);
    const handle = this.#handle;
    const target = { handle, kind: HANDLE.SLEEP_LOCK, what: TURN, argument: ticket >>> 0 };
    try {
      const turn = await waitShared(action, target, { timeoutMs, signal });
      if (!turn) throw new KeelsonError(STATUS.KL_ERR_TIMEOUT, action);
      status = this.#sync.kl_sleep_lock_ask(handle, ticket);
      return this.#guard(status, ticket);
    } catch (error) {
      this.#sync.kl_sleep_lock_give(handle, ticket); // out of the queue; nothing if it is already
      throw error;
    }
  }

  /**
   * Acquires if nobody living has it or waits for it; `undefined` otherwise.
   *
   * @throws {KeelsonError} `KL_ERR_HANDLE` when this end is closed
   */
  tryAcquire(): SleepLockGuard | undefined {
    const status = this.#sync.kl_sleep_lock_take(this.#handle, 0, outTicketBytes);
    if (status === STATUS.KL_ERR_AGAIN) return undefined;
    return this.#guard(status, outTicket[0]);
  }

  /**
   * Waits for its turn, blocking the thread: for Workers, as it stops the event loop. `undefined` after
   * the timeout.
   *
   * @throws {KeelsonError} `KL_ERR_LIMIT` when all places are taken, `KL_ERR_CLOSED` when this end is closed
   * meanwhile
   */
  acquireSync({ timeoutMs }: Pick<WaitOptions, "timeoutMs"> = {}): SleepLockGuard | undefined {
    const limitMs = waitTimeout(this.#action("acquire"), timeoutMs);
    const status = this.#sync.kl_sleep_lock_take_within(this.#handle, limitMs, outTicketBytes);
    if (status === STATUS.KL_ERR_TIMEOUT) return undefined;
    return this.#guard(status, outTicket[0]);
  }

  /** Gives up this end: its waits end, a lock that it has goes on as if this owner had died. */
  close(): void {
    const handle = this.#handle;
    this.#handle = 0;
    if (handle !== 0) check(this.#sync.kl_sleep_lock_close(handle), this.#action("close"));
  }

  /** As {@linkcode SleepLock.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #guard(status: number, ticket: number): SleepLockGuard {
    if (status < 0) check(status, this.#action("acquire"));
    const handle = this.#handle;
    return new SleepLockGuard(() => {
      const left = this.#sync.kl_sleep_lock_give(handle, ticket);
      if (left < 0) check(left, this.#action("release"));
    }, status === STATUS.KL_OWNER_DEAD);
  }

  #action(verb: string): string {
    return `${verb} the lock ${quote(this.name)}`;
  }
}
