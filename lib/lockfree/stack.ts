/**
 * A bounded stack of elements of one size, shared by any number of Workers and processes.
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

/** Options for {@linkcode Stack.create}. */
export interface StackOptions {
  /** Elements it holds at most, 1 to 2^23. @default {1024} */
  capacity?: number;
  /** Bytes of each element, 1 to 65528. Elements of 4 bytes may also be moved as numbers. @default {4} */
  elementBytes?: number;
}

const CAPACITY = 1024;
const ELEMENT_BYTES = 4;
const DATA = 1;
const SPACE = 2;
const NUMBER_OF = { capacity: 0, elementBytes: 1, size: 2 } as const;

let lockfree: Symbols<"lockfree"> | undefined;

/**
 * A last-in-first-out pile of elements of one size in shared memory (Treiber's stack over a pool of nodes).
 * Any thread of any process pushes and pops at any time; none waits for another.
 *
 * A process that is killed in the middle of a call leaves the stack whole: its element was pushed or it was
 * not, and one it had just popped is gone with it (at most once). The memory it held is given back by
 * {@linkcode Stack.recover}, or by itself when the next one comes; the capacity is never less for it.
 *
 * An object belongs to the thread that opened it: every Worker attaches for itself, up to 64 at a time.
 *
 * @example Two ends of one stack, as two processes would have them
 * ```ts
 * import { Stack } from "@keelson/keelson";
 *
 * const name = `example-${crypto.randomUUID()}`;
 * using mine = Stack.create(name, { capacity: 100 });
 * using theirs = Stack.attach(name);
 * mine.pushWord(1);
 * mine.pushWord(2);
 * console.assert(theirs.popWord() === 2);
 * console.assert(theirs.popWord() === 1);
 * console.assert(theirs.popWord() === undefined);
 * Stack.remove(name);
 * ```
 */
export class Stack implements Disposable {
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
    const action = `open the stack ${quote(name)}`;
    this.capacity = check(lockfree.kl_stack_number(handle, NUMBER_OF.capacity), action);
    this.elementBytes = check(lockfree.kl_stack_number(handle, NUMBER_OF.elementBytes), action);
  }

  /**
   * Makes an empty stack. It appears whole, under its name, or not at all.
   *
   * @param name 1 to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`
   * @throws {KeelsonError} `KL_ERR_EXISTS`, `KL_ERR_NAME`, `KL_ERR_ARGUMENT`, `KL_ERR_NO_SPACE`
   *
   * @example
   * ```ts
   * import { Stack } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using stack = Stack.create(name, { capacity: 8, elementBytes: 16 });
   * console.assert(stack.capacity === 8 && stack.elementBytes === 16);
   * Stack.remove(name);
   * ```
   */
  static create(name: string, options: StackOptions = {}): Stack {
    const action = `create the stack ${quote(name)}`;
    const { capacity = CAPACITY, elementBytes = ELEMENT_BYTES } = options;
    for (const [what, value] of [["capacity", capacity], ["elementBytes", elementBytes]]) {
      if ((value as number) >>> 0 !== value) refuse(action, `${what} cannot be ${String(value)}`);
    }
    const known = lockfree ??= symbols("lockfree");
    const handle = openShared(
      action,
      name,
      (utf8, bytes, out) => known.kl_stack_create(utf8, bytes, capacity, elementBytes, out),
    );
    return new Stack(known, handle, name);
  }

  /**
   * Opens a stack that another has created.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_FOREIGN` when the name is not a stack's, `KL_ERR_NAME`,
   * `KL_ERR_LIMIT` when 64 threads have it open
   *
   * @example
   * ```ts
   * import { KeelsonError, Stack } from "@keelson/keelson";
   *
   * try {
   *   Stack.attach("nobody-made-this");
   * } catch (error) {
   *   console.assert(error instanceof KeelsonError && error.codeName === "KL_ERR_NOT_FOUND");
   * }
   * ```
   */
  static attach(name: string): Stack {
    const known = lockfree ??= symbols("lockfree");
    const handle = openShared(`attach to the stack ${quote(name)}`, name, known.kl_stack_attach);
    return new Stack(known, handle, name);
  }

  /**
   * Takes the name away. Whoever has the stack open keeps it; the memory is freed with the last.
   *
   * @example
   * ```ts
   * import { Stack } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * Stack.create(name).close();
   * Stack.remove(name);
   * ```
   */
  static remove(name: string): void {
    const known = lockfree ??= symbols("lockfree");
    removeShared(`remove the stack ${quote(name)}`, name, known.kl_stack_remove);
  }

  /**
   * Puts an element on top. `false` when the stack is full.
   *
   * @throws {KeelsonError} `KL_ERR_ARGUMENT` when it has not `elementBytes` bytes
   *
   * @example
   * ```ts
   * import { Stack } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using stack = Stack.create(name, { capacity: 1, elementBytes: 3 });
   * console.assert(stack.push(Uint8Array.of(1, 2, 3)) === true);
   * console.assert(stack.push(Uint8Array.of(4, 5, 6)) === false); // full
   * Stack.remove(name);
   * ```
   */
  push(element: Uint8Array): boolean {
    const status = this.#lockfree.kl_stack_push_bytes(
      this.#handle,
      element as Uint8Array<ArrayBuffer>,
      element.byteLength,
    );
    return status === 0 || this.#notNow(status, "push to");
  }

  /**
   * Takes the element on top; `undefined` when there is none.
   *
   * @throws {KeelsonError} `KL_ERR_CORRUPT` when a peer wrote over the stack
   *
   * @example
   * ```ts
   * import { Stack } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using stack = Stack.create(name, { elementBytes: 3 });
   * stack.push(Uint8Array.of(1, 2, 3));
   * console.assert(stack.pop()?.[2] === 3);
   * console.assert(stack.pop() === undefined);
   * Stack.remove(name);
   * ```
   */
  pop(): Uint8Array<ArrayBuffer> | undefined {
    const element = new Uint8Array(this.elementBytes);
    const status = this.#lockfree.kl_stack_pop_bytes(this.#handle, element, element.length);
    if (status === 0) return element;
    return this.#notNow(status, "pop from") || undefined;
  }

  /**
   * {@linkcode Stack.push} of a number from 0 to 2^32 - 1, for elements of 4 bytes.
   *
   * @example
   * ```ts
   * import { Stack } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using stack = Stack.create(name);
   * console.assert(stack.pushWord(4_000_000_000));
   * console.assert(stack.popWord() === 4_000_000_000);
   * Stack.remove(name);
   * ```
   */
  pushWord(word: number): boolean {
    if (word >>> 0 !== word) {
      refuse(
        `push to the stack ${quote(this.name)}`,
        `${String(word)} is not a number from 0 to 2^32 - 1`,
      );
    }
    const status = this.#lockfree.kl_stack_push_u32(this.#handle, word);
    return status === 0 || this.#notNow(status, "push to");
  }

  /**
   * {@linkcode Stack.pop} of a number, for elements of 4 bytes.
   *
   * @example
   * ```ts
   * import { Stack } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using stack = Stack.create(name);
   * console.assert(stack.popWord() === undefined);
   * Stack.remove(name);
   * ```
   */
  popWord(): number | undefined {
    const word = this.#lockfree.kl_stack_pop_u32(this.#handle);
    if (word >= 0) return word;
    return this.#notNow(word, "pop from") || undefined;
  }

  /**
   * Elements in it; exact at one moment during the call. O(1).
   *
   * @example
   * ```ts
   * import { Stack } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using stack = Stack.create(name);
   * stack.pushWord(7);
   * console.assert(stack.size === 1);
   * Stack.remove(name);
   * ```
   */
  get size(): number {
    return check(
      this.#lockfree.kl_stack_number(this.#handle, NUMBER_OF.size),
      () => `look at the stack ${quote(this.name)}`,
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
   * import { Stack } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using stack = Stack.create(name);
   * console.assert(await stack.waitForData({ timeoutMs: 5 }) === false);
   * Stack.remove(name);
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
   * import { Stack } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using stack = Stack.create(name);
   * console.assert(await stack.waitForSpace());
   * Stack.remove(name);
   * ```
   */
  waitForSpace(options?: WaitOptions): Promise<boolean> {
    return this.#wait(SPACE, options);
  }

  /**
   * {@linkcode Stack.waitForData} that blocks the thread: for Workers.
   *
   * @example
   * ```ts
   * import { Stack } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using stack = Stack.create(name);
   * console.assert(stack.waitForDataSync(5) === false);
   * Stack.remove(name);
   * ```
   */
  waitForDataSync(timeoutMs?: number): boolean {
    const target = { handle: this.#handle, kind: HANDLE.STACK, what: DATA, argument: 0 };
    return waitSharedSync(`wait for the stack ${quote(this.name)}`, target, timeoutMs);
  }

  /**
   * Gives back what threads and processes that died held. Answers how many nodes. O(capacity); any time.
   *
   * @example
   * ```ts
   * import { Stack } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using stack = Stack.create(name);
   * console.assert(stack.recover() === 0); // nobody died
   * Stack.remove(name);
   * ```
   */
  recover(): number {
    return check(
      this.#lockfree.kl_stack_recover_dead(this.#handle),
      () => `recover the stack ${quote(this.name)}`,
    );
  }

  /**
   * Walks through all of it. Right only while nobody pushes or pops.
   *
   * @throws {KeelsonError} `KL_ERR_CORRUPT`
   */
  verify(): void {
    check(
      this.#lockfree.kl_stack_check(this.#handle),
      () => `verify the stack ${quote(this.name)}`,
    );
  }

  /** Closes this object. The stack stays, for others and under its name. */
  close(): void {
    const handle = this.#handle;
    this.#handle = 0;
    if (handle !== 0) this.#lockfree.kl_stack_close(handle);
  }

  /** The same as {@linkcode Stack.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #wait(what: number, options?: WaitOptions): Promise<boolean> {
    const target = { handle: this.#handle, kind: HANDLE.STACK, what, argument: 0 };
    return waitShared(`wait for the stack ${quote(this.name)}`, target, options);
  }

  /** `false` for "full" and "empty"; throws everything else. */
  #notNow(status: number, doing: string): false {
    if (status !== STATUS.KL_ERR_AGAIN) {
      check(status, () => `${doing} the stack ${quote(this.name)}`);
    }
    return false;
  }
}
