/**
 * Waiting until somebody says that something changed.
 *
 * @module
 */
import { HANDLE } from "../../ffi/generated/handle.ts";
import { type Symbols, symbols } from "../../ffi/library.ts";
import { check, refuse } from "../base/error.ts";
import {
  openShared,
  quote,
  removeShared,
  type WaitOptions,
  waitShared,
  waitSharedSync,
} from "./shared_object.ts";

const MOVED = 1;

let sync: Symbols<"sync"> | undefined;

/**
 * Lets Workers and processes sleep until a condition that lies elsewhere may have changed, without
 * missing a change.
 *
 * Who waits takes a key first, then looks at its condition, then waits with the key: a notify in between
 * is not missed. Who changes makes the condition true, then notifies. A notify wakes everybody and costs one
 * locked instruction while nobody sleeps.
 *
 * @example
 * ```ts
 * import { EventCount } from "@keelson/keelson";
 *
 * const name = `example-${crypto.randomUUID()}`;
 * using event = EventCount.create(name);
 * using other = EventCount.attach(name);
 * let ready = false;
 * setTimeout(() => {
 *   ready = true;
 *   other.notify();
 * }, 1);
 * for (;;) {
 *   const key = event.key();
 *   if (ready) break;
 *   await event.wait(key);
 * }
 * EventCount.remove(name);
 * ```
 */
export class EventCount implements Disposable {
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
   * Makes one. It appears whole, under its name, or not at all.
   *
   * @param name 1 to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`
   * @throws {KeelsonError} `KL_ERR_EXISTS`, `KL_ERR_NAME`, `KL_ERR_NO_SPACE`
   */
  static create(name: string): EventCount {
    const known = sync ??= symbols("sync");
    const action = `create the event count ${quote(name)}`;
    return new EventCount(known, openShared(action, name, known.kl_event_count_create), name);
  }

  /**
   * Opens one that another has created.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_FOREIGN` when the name is of something else,
   * `KL_ERR_NAME`
   */
  static attach(name: string): EventCount {
    const known = sync ??= symbols("sync");
    const action = `attach to the event count ${quote(name)}`;
    return new EventCount(known, openShared(action, name, known.kl_event_count_attach), name);
  }

  /**
   * Takes the name away. Whoever has it open keeps it.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_NAME`
   */
  static remove(name: string): void {
    const known = sync ??= symbols("sync");
    removeShared(`remove the event count ${quote(name)}`, name, known.kl_event_count_remove);
  }

  /** The key to wait with: take it before looking at the condition. */
  key(): number {
    return check(this.#sync.kl_event_count_key(this.#handle), () => this.#action("look at"));
  }

  /** Wakes everybody who waits with an older key. Call it after the condition was made true. */
  notify(): void {
    const status = this.#sync.kl_event_count_notify(this.#handle);
    if (status < 0) check(status, this.#action("notify"));
  }

  /**
   * Resolves to `true` after a notify since `key` was taken, to `false` after the timeout. Without a
   * key: since the call.
   *
   * @throws {KeelsonError} `KL_ERR_CLOSED` when this end is closed meanwhile
   *
   * @example
   * ```ts
   * import { EventCount } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using event = EventCount.create(name);
   * const key = event.key();
   * console.assert(await event.wait(key, { timeoutMs: 1 }) === false);
   * event.notify();
   * console.assert(await event.wait(key) === true);
   * EventCount.remove(name);
   * ```
   */
  async wait(key: number = this.key(), options: WaitOptions = {}): Promise<boolean> {
    return await waitShared(this.#action("wait for"), this.#target(key), options);
  }

  /**
   * As {@linkcode EventCount.wait}, but blocking the thread: for Workers, as it stops the event loop.
   *
   * @throws {KeelsonError} `KL_ERR_CLOSED` when this end is closed meanwhile
   */
  waitSync(
    key: number = this.key(),
    { timeoutMs }: Pick<WaitOptions, "timeoutMs"> = {},
  ): boolean {
    return waitSharedSync(this.#action("wait for"), this.#target(key), timeoutMs);
  }

  /** Gives up this end and ends its waits. */
  close(): void {
    const handle = this.#handle;
    this.#handle = 0;
    if (handle !== 0) check(this.#sync.kl_event_count_close(handle), this.#action("close"));
  }

  /** As {@linkcode EventCount.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #target(key: number) {
    if (key >>> 0 !== key) refuse(this.#action("wait for"), `${String(key)} is not a key`);
    return { handle: this.#handle, kind: HANDLE.EVENT_COUNT, what: MOVED, argument: key >>> 0 };
  }

  #action(verb: string): string {
    return `${verb} the event count ${quote(this.name)}`;
  }
}
