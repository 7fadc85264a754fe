/**
 * The newest value of something, for one writer and many readers.
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
} from "./shared_object.ts";

/** Options for {@linkcode Latest.create}. */
export interface LatestOptions {
  /** The longest value, in bytes: 1 to 2^26. Four of them are kept. */
  valueBytes: number;
}

const NEWER = 1;

const outVersion = new Float64Array(1);
const outVersionBytes = new Uint8Array(outVersion.buffer);
let sync: Symbols<"sync"> | undefined;

/**
 * A value in shared memory of which only the newest counts: settings, a price, a position.
 *
 * One thread of one process sets it, any number of others read it, whole, without locks and without
 * leaving a trace. The first set makes a thread the writer; its role is taken over when it dies or closes.
 * A writer that dies in the middle of a set blocks nobody: readers go on with the value before.
 *
 * get copies the value and tries again when it was set three times meanwhile. L. Lamport, "Concurrent
 * reading and writing", CACM 1977; H.-J. Boehm, "Can seqlocks get along with programming language memory
 * models?", MSPC 2012.
 *
 * @example
 * ```ts
 * import { Latest } from "@keelson/keelson";
 *
 * const name = `example-${crypto.randomUUID()}`;
 * using price = Latest.create(name, { valueBytes: 16 });
 * using reader = Latest.attach(name);
 * console.assert(reader.get() === undefined);
 * price.set(new TextEncoder().encode("12.50"));
 * console.assert(new TextDecoder().decode(reader.get()) === "12.50");
 * Latest.remove(name);
 * ```
 */
export class Latest implements Disposable {
  /** What it was created or attached as. */
  readonly name: string;
  /** The longest value. */
  readonly valueBytes: number;
  #handle: number;
  #sync: Symbols<"sync">;
  #scratch: Uint8Array<ArrayBuffer>;

  private constructor(known: Symbols<"sync">, handle: number, name: string) {
    this.#sync = known;
    this.#handle = handle;
    this.name = name;
    this.valueBytes = known.kl_latest_value_bytes(handle);
    this.#scratch = new Uint8Array(new ArrayBuffer(this.valueBytes));
  }

  /**
   * Makes one that was never set. It appears whole, under its name, or not at all.
   *
   * @param name 1 to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`
   * @throws {KeelsonError} `KL_ERR_EXISTS`, `KL_ERR_NAME`, `KL_ERR_ARGUMENT`, `KL_ERR_NO_SPACE`
   */
  static create(name: string, { valueBytes }: LatestOptions): Latest {
    const action = `create the latest value ${quote(name)}`;
    if (typeof valueBytes !== "number") refuse(action, "valueBytes must be 1 to 2^26");
    const known = sync ??= symbols("sync");
    const handle = openShared(
      action,
      name,
      (utf8, bytes, out) => known.kl_latest_create(utf8, bytes, valueBytes, out),
    );
    return new Latest(known, handle, name);
  }

  /**
   * Opens one that another has created.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_FOREIGN` when the name is of something else,
   * `KL_ERR_NAME`
   */
  static attach(name: string): Latest {
    const known = sync ??= symbols("sync");
    const action = `attach to the latest value ${quote(name)}`;
    return new Latest(known, openShared(action, name, known.kl_latest_attach), name);
  }

  /**
   * Takes the name away. Whoever has it open keeps it.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_NAME`
   */
  static remove(name: string): void {
    const known = sync ??= symbols("sync");
    removeShared(`remove the latest value ${quote(name)}`, name, known.kl_latest_remove);
  }

  /** How often it was set. */
  get version(): number {
    return check(this.#sync.kl_latest_number(this.#handle), () => this.#action("look at"));
  }

  /**
   * Replaces the value. Never waits.
   *
   * @throws {KeelsonError} `KL_ERR_ARGUMENT` when it is longer than `valueBytes`, `KL_ERR_LOCKED` when another
   * live thread is the writer
   */
  set(value: Uint8Array): void {
    const bytes = value as Uint8Array<ArrayBuffer>;
    const status = this.#sync.kl_latest_put(this.#handle, bytes, value.byteLength);
    if (status < 0) check(status, this.#action("set"));
  }

  /**
   * A copy of the newest value; `undefined` before the first set.
   *
   * @throws {KeelsonError} `KL_ERR_AGAIN` when it is set faster than it can be copied, ten thousand times in
   * a row; `KL_ERR_CORRUPT` when a peer wrote over it
   */
  get(): Uint8Array<ArrayBuffer> | undefined {
    const bytes = this.getInto(this.#scratch);
    return bytes === undefined ? undefined : this.#scratch.slice(0, bytes);
  }

  /**
   * Copies the newest value into `target` and answers its bytes; `undefined` before the first set. Without
   * a new array for each value.
   *
   * @throws {KeelsonError} `KL_ERR_LIMIT` when `target` is shorter than the value; as {@linkcode Latest.get}
   *
   * @example
   * ```ts
   * import { Latest } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using value = Latest.create(name, { valueBytes: 8 });
   * value.set(Uint8Array.of(1, 2, 3));
   * const target = new Uint8Array(8);
   * console.assert(value.getInto(target) === 3 && target[2] === 3);
   * Latest.remove(name);
   * ```
   */
  getInto(target: Uint8Array): number | undefined {
    const out = target as Uint8Array<ArrayBuffer>;
    const bytes = this.#sync.kl_latest_take(this.#handle, out, out.length, outVersionBytes);
    if (bytes >= 0) return bytes;
    if (bytes === STATUS.KL_ERR_AGAIN && outVersion[0] === 0) return undefined;
    check(bytes, this.#action("get"));
  }

  /**
   * Resolves to `true` once the version is another than `since`, to `false` after the timeout.
   *
   * @throws {KeelsonError} `KL_ERR_CLOSED` when this end is closed meanwhile
   *
   * @example
   * ```ts
   * import { Latest } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using value = Latest.create(name, { valueBytes: 8 });
   * setTimeout(() => value.set(Uint8Array.of(7)), 1);
   * await value.change();
   * console.assert(value.get()?.[0] === 7);
   * Latest.remove(name);
   * ```
   */
  async change(since: number = this.version, options: WaitOptions = {}): Promise<boolean> {
    return await waitShared(this.#action("wait for"), this.#target(since), options);
  }

  /**
   * As {@linkcode Latest.change}, but blocking the thread: for Workers, as it stops the event loop.
   *
   * @throws {KeelsonError} `KL_ERR_CLOSED` when this end is closed meanwhile
   */
  changeSync(
    since: number = this.version,
    { timeoutMs }: Pick<WaitOptions, "timeoutMs"> = {},
  ): boolean {
    return waitSharedSync(this.#action("wait for"), this.#target(since), timeoutMs);
  }

  /** Gives up this end, and the writer's role if it has it. The value stays. */
  close(): void {
    const handle = this.#handle;
    this.#handle = 0;
    if (handle !== 0) check(this.#sync.kl_latest_close(handle), this.#action("close"));
  }

  /** As {@linkcode Latest.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #target(since: number) {
    if (!Number.isSafeInteger(since) || since < 0) {
      refuse(this.#action("wait for"), `${String(since)} is not a version`);
    }
    return { handle: this.#handle, kind: HANDLE.LATEST, what: NEWER, argument: since >>> 0 };
  }

  #action(verb: string): string {
    return `${verb} the latest value ${quote(this.name)}`;
  }
}
