/**
 * A sum that Workers and processes add to without getting in each other's way.
 *
 * @module
 */
import { type Symbols, symbols } from "../../ffi/library.ts";
import { check } from "../base/error.ts";
import { openShared, quote, removeShared } from "./shared_object.ts";

const outSum = new BigInt64Array(1);
const outSumBytes = new Uint8Array(outSum.buffer);
let sync: Symbols<"sync"> | undefined;

/**
 * A counter in shared memory. Each thread adds on a line of its own, so adds never wait and never
 * contend; reading sums all lines.
 *
 * Nothing that was added is lost when its thread or process dies. The sum is a signed number of 64 bits
 * and wraps. Up to 64 threads of all processes together may have one counter open to add.
 *
 * @example
 * ```ts
 * import { Counter } from "@keelson/keelson";
 *
 * const name = `example-${crypto.randomUUID()}`;
 * using counter = Counter.create(name);
 * using other = Counter.attach(name);
 * counter.add(3);
 * other.add(-1);
 * console.assert(counter.value === 2);
 * Counter.remove(name);
 * ```
 */
export class Counter implements Disposable {
  /** What it was created or attached as. */
  readonly name: string;
  #handle: number;
  #sync: Symbols<"sync">;
  #addWord: Symbols<"sync">["kl_counter_add_i32"];

  private constructor(known: Symbols<"sync">, handle: number, name: string) {
    this.#sync = known;
    this.#addWord = known.kl_counter_add_i32;
    this.#handle = handle;
    this.name = name;
  }

  /**
   * Makes a counter of 0. It appears whole, under its name, or not at all.
   *
   * @param name 1 to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`
   * @throws {KeelsonError} `KL_ERR_EXISTS`, `KL_ERR_NAME`, `KL_ERR_NO_SPACE`
   */
  static create(name: string): Counter {
    const known = sync ??= symbols("sync");
    const handle = openShared(`create the counter ${quote(name)}`, name, known.kl_counter_create);
    return new Counter(known, handle, name);
  }

  /**
   * Opens a counter that another has created.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_FOREIGN` when the name is not a counter's,
   * `KL_ERR_NAME`
   */
  static attach(name: string): Counter {
    const known = sync ??= symbols("sync");
    const action = `attach to the counter ${quote(name)}`;
    return new Counter(known, openShared(action, name, known.kl_counter_attach), name);
  }

  /**
   * Takes the name away. Whoever has the counter open keeps it.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_NAME`
   */
  static remove(name: string): void {
    const known = sync ??= symbols("sync");
    removeShared(`remove the counter ${quote(name)}`, name, known.kl_counter_remove);
  }

  /**
   * Adds a whole number between -2^53 and 2^53. Constant time, never waits.
   *
   * @throws {KeelsonError} `KL_ERR_ARGUMENT`, `KL_ERR_HANDLE` when this end is closed, `KL_ERR_LIMIT` when
   * 64 threads have it open already
   *
   * @example
   * ```ts
   * import { Counter } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using counter = Counter.create(name);
   * for (let i = 0; i < 10; i++) counter.add();
   * console.assert(counter.value === 10);
   * Counter.remove(name);
   * ```
   */
  add(amount = 1): void {
    const word = amount | 0; // -0 is no integer for the FFI
    const status = word === amount
      ? this.#addWord(this.#handle, word)
      : this.#sync.kl_counter_add(this.#handle, amount);
    if (status < 0) check(status, () => this.#action("add to"));
  }

  /** The sum of all that was added; rounded when it is beyond 2^53 ({@linkcode Counter.exact}). */
  get value(): number {
    return Number(this.exact);
  }

  /** The sum of all that was added, exactly. */
  get exact(): bigint {
    check(this.#sync.kl_counter_sum(this.#handle, outSumBytes), () => this.#action("read"));
    return outSum[0];
  }

  /** Gives up this end. What it added stays. */
  close(): void {
    const handle = this.#handle;
    this.#handle = 0;
    if (handle !== 0) check(this.#sync.kl_counter_close(handle), this.#action("close"));
  }

  /** As {@linkcode Counter.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #action(verb: string): string {
    return `${verb} the counter ${quote(this.name)}`;
  }
}
