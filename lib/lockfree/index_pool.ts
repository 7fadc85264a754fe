/**
 * A pool of cells in shared memory, handed out by index; a cell whose holder died is found again.
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
} from "../sync/shared_object.ts";

/** Options for {@linkcode IndexPool.create}. */
export interface IndexPoolOptions {
  /** Cells, 1 to 2^24 - 2. @default {1024} */
  capacity?: number;
  /** Bytes of each cell, for whoever holds it, 0 to 65536. @default {0} */
  payloadBytes?: number;
}

/** A cell that is held. */
export interface PoolClaim {
  /** Which cell: 0 to capacity - 1. */
  readonly index: number;
  /** How often the cell was given back before: tells this claim from earlier and later ones of the cell. */
  readonly generation: number;
}

const CAPACITY = 1024;
const NUMBER_OF = { capacity: 0, payloadBytes: 1, held: 2, heldHere: 3 } as const;
const claimWords = new Uint32Array(2);
const claimBytes = new Uint8Array(claimWords.buffer);
let lockfree: Symbols<"lockfree"> | undefined;

/**
 * Cells of one size in shared memory that threads and processes take, use and give back: frames, buffers, seats,
 * ports, ids. Each cell has one holder at a time, the thread that took it.
 *
 * What a killed process or a terminated Worker held is freed by {@linkcode IndexPool.recover}; what this object
 * holds, by closing it. A claim kept too long is refused, because its generation has passed.
 *
 * An object belongs to the thread that opened it: every Worker attaches for itself, up to 64 at a time.
 *
 * @example
 * ```ts
 * import { IndexPool } from "@keelson/keelson";
 *
 * const name = `example-${crypto.randomUUID()}`;
 * using pool = IndexPool.create(name, { capacity: 2, payloadBytes: 4 });
 * const claim = pool.acquire()!;
 * pool.write(claim, Uint8Array.of(1, 2, 3, 4));
 * console.assert(pool.read(claim)[3] === 4);
 * console.assert(pool.release(claim) === true);
 * console.assert(pool.release(claim) === false); // not held any more
 * IndexPool.remove(name);
 * ```
 */
export class IndexPool implements Disposable {
  /** What it was created or attached as. */
  readonly name: string;
  /** Cells. */
  readonly capacity: number;
  /** Bytes of each cell. */
  readonly payloadBytes: number;
  #handle: number;
  #lockfree: Symbols<"lockfree">;

  private constructor(lockfree: Symbols<"lockfree">, handle: number, name: string) {
    this.#lockfree = lockfree;
    this.#handle = handle;
    this.name = name;
    const action = `open the pool ${quote(name)}`;
    this.capacity = check(lockfree.kl_index_pool_number(handle, NUMBER_OF.capacity), action);
    this.payloadBytes = check(
      lockfree.kl_index_pool_number(handle, NUMBER_OF.payloadBytes),
      action,
    );
  }

  /**
   * Makes a pool of free cells. It appears whole, under its name, or not at all.
   *
   * @param name 1 to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`
   * @throws {KeelsonError} `KL_ERR_EXISTS`, `KL_ERR_NAME`, `KL_ERR_ARGUMENT`, `KL_ERR_NO_SPACE`
   *
   * @example
   * ```ts
   * import { IndexPool } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using pool = IndexPool.create(name, { capacity: 10 });
   * console.assert(pool.capacity === 10 && pool.held === 0);
   * IndexPool.remove(name);
   * ```
   */
  static create(name: string, options: IndexPoolOptions = {}): IndexPool {
    const action = `create the pool ${quote(name)}`;
    const { capacity = CAPACITY, payloadBytes = 0 } = options;
    for (const [what, value] of [["capacity", capacity], ["payloadBytes", payloadBytes]]) {
      if ((value as number) >>> 0 !== value) refuse(action, `${what} cannot be ${String(value)}`);
    }
    const known = lockfree ??= symbols("lockfree");
    const handle = openShared(
      action,
      name,
      (utf8, bytes, out) => known.kl_index_pool_create(utf8, bytes, capacity, payloadBytes, out),
    );
    return new IndexPool(known, handle, name);
  }

  /**
   * Opens a pool that another has created.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_FOREIGN` when the name is not a pool's, `KL_ERR_NAME`,
   * `KL_ERR_LIMIT` when 64 threads have it open
   *
   * @example
   * ```ts
   * import { KeelsonError, IndexPool } from "@keelson/keelson";
   *
   * try {
   *   IndexPool.attach("nobody-made-this");
   * } catch (error) {
   *   console.assert(error instanceof KeelsonError && error.codeName === "KL_ERR_NOT_FOUND");
   * }
   * ```
   */
  static attach(name: string): IndexPool {
    const known = lockfree ??= symbols("lockfree");
    const action = `attach to the pool ${quote(name)}`;
    return new IndexPool(known, openShared(action, name, known.kl_index_pool_attach), name);
  }

  /**
   * Takes the name away. Whoever has the pool open keeps it; the memory is freed with the last.
   *
   * @example
   * ```ts
   * import { IndexPool } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * IndexPool.create(name).close();
   * IndexPool.remove(name);
   * ```
   */
  static remove(name: string): void {
    const known = lockfree ??= symbols("lockfree");
    removeShared(`remove the pool ${quote(name)}`, name, known.kl_index_pool_remove);
  }

  /**
   * Takes a free cell; `undefined` when there is none. O(1), up to O(capacity / 64) when few are free.
   *
   * @example
   * ```ts
   * import { IndexPool } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using pool = IndexPool.create(name, { capacity: 1 });
   * console.assert(pool.acquire()?.index === 0);
   * console.assert(pool.acquire() === undefined);
   * IndexPool.remove(name);
   * ```
   */
  acquire(): PoolClaim | undefined {
    const status = this.#lockfree.kl_index_pool_take(this.#handle, claimBytes);
    if (status === 0) return { index: claimWords[0], generation: claimWords[1] };
    if (status !== STATUS.KL_ERR_AGAIN) check(status, () => this.#action("take a cell of"));
    return undefined;
  }

  /**
   * Gives a cell back. `false` when this thread does not hold it with this generation: it was given back
   * before, or is another's.
   *
   * @throws {KeelsonError} `KL_ERR_ARGUMENT` when there is no such cell
   *
   * @example
   * ```ts
   * import { IndexPool } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using pool = IndexPool.create(name);
   * const claim = pool.acquire()!;
   * console.assert(pool.release(claim));
   * console.assert(pool.acquire()!.generation === claim.generation + 1);
   * IndexPool.remove(name);
   * ```
   */
  release(claim: PoolClaim): boolean {
    const action = "give a cell back to";
    const { index, generation } = this.#checked(claim, action);
    const status = this.#lockfree.kl_index_pool_give(this.#handle, index, generation);
    if (status === 0) return true;
    if (status !== STATUS.KL_ERR_NOT_FOUND) check(status, () => this.#action(action));
    return false;
  }

  /**
   * Whether this thread holds the cell with this generation.
   *
   * @example
   * ```ts
   * import { IndexPool } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using pool = IndexPool.create(name);
   * console.assert(pool.holds(pool.acquire()!));
   * console.assert(!pool.holds({ index: 5, generation: 0 }));
   * IndexPool.remove(name);
   * ```
   */
  holds(claim: PoolClaim): boolean {
    const action = "look at a cell of";
    const { index, generation } = this.#checked(claim, action);
    const status = this.#lockfree.kl_index_pool_is_mine(this.#handle, index, generation);
    return check(status, () => this.#action(action)) === 1;
  }

  /**
   * The bytes of a cell that this thread holds; not cleared when it changes hands.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND` when it does not hold it
   *
   * @example
   * ```ts
   * import { IndexPool } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using pool = IndexPool.create(name, { payloadBytes: 8 });
   * console.assert(pool.read(pool.acquire()!).length === 8);
   * IndexPool.remove(name);
   * ```
   */
  read(claim: PoolClaim): Uint8Array<ArrayBuffer> {
    const action = "read a cell of";
    const { index, generation } = this.#checked(claim, action);
    const out = new Uint8Array(this.payloadBytes);
    check(
      this.#lockfree.kl_index_pool_read(this.#handle, index, generation, out, out.length),
      () => this.#action(action),
    );
    return out;
  }

  /**
   * Writes the first bytes of a cell that this thread holds.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND` when it does not hold it, `KL_ERR_ARGUMENT` when they are too many
   *
   * @example
   * ```ts
   * import { IndexPool } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using pool = IndexPool.create(name, { payloadBytes: 8 });
   * pool.write(pool.acquire()!, Uint8Array.of(1, 2, 3));
   * IndexPool.remove(name);
   * ```
   */
  write(claim: PoolClaim, bytes: Uint8Array): void {
    const action = "write to a cell of";
    const { index, generation } = this.#checked(claim, action);
    check(
      this.#lockfree.kl_index_pool_write(
        this.#handle,
        index,
        generation,
        bytes as Uint8Array<ArrayBuffer>,
        bytes.byteLength,
      ),
      () => this.#action(action),
    );
  }

  /** Cells held by anybody. Exact when nothing moves. O(capacity). */
  get held(): number {
    return this.#number(NUMBER_OF.held);
  }

  /** Cells held by this object. O(capacity). */
  get heldHere(): number {
    return this.#number(NUMBER_OF.heldHere);
  }

  /**
   * Resolves to `true` as soon as a cell is free (another may be faster), to `false` after the timeout.
   *
   * @throws {KeelsonError} `KL_ERR_CLOSED` when this object is closed meanwhile
   *
   * @example
   * ```ts
   * import { IndexPool } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using pool = IndexPool.create(name);
   * console.assert(await pool.waitForSpace());
   * IndexPool.remove(name);
   * ```
   */
  waitForSpace(options?: WaitOptions): Promise<boolean> {
    const target = { handle: this.#handle, kind: HANDLE.INDEX_POOL, what: 1, argument: 0 };
    return waitShared(this.#action("wait for"), target, options);
  }

  /**
   * Frees the cells of threads and processes that died. Answers how many. O(capacity); any time.
   *
   * @example
   * ```ts
   * import { IndexPool } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using pool = IndexPool.create(name);
   * console.assert(pool.recover() === 0); // nobody died
   * IndexPool.remove(name);
   * ```
   */
  recover(): number {
    return check(
      this.#lockfree.kl_index_pool_recover_dead(this.#handle),
      () => this.#action("recover"),
    );
  }

  /**
   * Looks at all of it: a leak sweep. Right only while nothing moves.
   *
   * @throws {KeelsonError} `KL_ERR_CORRUPT`
   */
  verify(): void {
    check(this.#lockfree.kl_index_pool_check(this.#handle), () => this.#action("verify"));
  }

  /** Gives back all that this object holds, and closes it. The pool stays, for others and under its name. */
  close(): void {
    const handle = this.#handle;
    this.#handle = 0;
    if (handle !== 0) this.#lockfree.kl_index_pool_close(handle);
  }

  /** The same as {@linkcode IndexPool.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #action(doing: string): string {
    return `${doing} the pool ${quote(this.name)}`;
  }

  #number(what: number): number {
    return check(
      this.#lockfree.kl_index_pool_number(this.#handle, what),
      () => this.#action("look at"),
    );
  }

  #checked(claim: PoolClaim, doing: string): PoolClaim {
    const { index, generation } = claim;
    if (index >>> 0 !== index || generation >>> 0 !== generation) {
      refuse(this.#action(doing), `no claim: index ${index}, generation ${generation}`);
    }
    return claim;
  }
}
