/**
 * What the queues in shared memory have in common: waiting, iterating, closing.
 *
 * @module
 */
import { mapMemory } from "../../ffi/mapping.ts";
import { check, KeelsonError, refuse, STATUS } from "../base/error.ts";
import { quote, type WaitOptions, waitShared, waitSharedSync } from "../sync/shared_object.ts";
import {
  codecOf,
  decodeBatch,
  RecordChunk,
  type RecordCodec,
  type RecordEncoding,
  type RecordInput,
  type RecordOutput,
} from "./record_codec.ts";

/** `what` of a wait: the same in each unit. */
const SPACE = 1;
const DATA = 2;
/** Records in a row without a wait, after which an iteration lets timers and other work run. */
const RECORDS_PER_TURN = 256;

/** Room for one record in shared memory; see `claim`. */
export interface RecordClaim {
  /** Where to write: in the mapping itself where FFI is granted for all paths, else a buffer that is copied. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Publishes the first `bytes` bytes. @param bytes all of them when left out */
  commit(bytes?: number): void;
  /** Gives the room back: nobody sees a record. */
  abort(): void;
}

/** A queue behind a name; the base of {@linkcode SpscRing}, {@linkcode MpscRing} and {@linkcode MpmcQueue}. */
export abstract class SharedQueue<E extends RecordEncoding>
  implements Disposable, AsyncIterable<RecordOutput[E]> {
  /** What it was created or attached as. */
  readonly name: string;
  /** What its records are, at this end. */
  readonly encoding: E;
  /** 0 when it is closed. */
  protected handle: number;
  /** Where popped bytes go: behind what is used of `bytes`. */
  protected readonly chunk: {
    readonly bytes: Uint8Array<ArrayBuffer>;
    readonly used: number;
    /** Goes on in another one, with room for a record of `bytes`. */
    renew(bytes: number): void;
    /** The record of `bytes` that was written there. */
    take(bytes: number): Uint8Array<ArrayBuffer>;
  } = new RecordChunk();
  readonly #codec: RecordCodec | undefined; // none: records are bytes
  readonly #noun: string;
  readonly #kind: number;
  #mapping: Uint8Array<ArrayBuffer> | null | undefined;

  /**
   * For the queues themselves.
   *
   * @param noun as in messages: `ring`, `queue`
   * @param kind of the handle
   */
  protected constructor(noun: string, kind: number, handle: number, name: string, encoding: E) {
    this.#noun = noun;
    this.#kind = kind;
    this.handle = handle;
    this.name = name;
    this.encoding = encoding;
    this.#codec = codecOf(`open the ${noun} ${quote(name)}`, encoding);
  }

  /** Appends a record. `false` when there is no room for it now. */
  abstract push(record: RecordInput[E]): boolean;

  /** Takes the oldest record out; `undefined` when there is none. */
  abstract pop(): RecordOutput[E] | undefined;

  /** Appends records up to the first that has no room. Answers how many went in. */
  abstract pushMany(records: readonly RecordInput[E][]): number;

  /** Takes out as many records as there are, at most about a MiB of them. */
  abstract popMany(): RecordOutput[E][];

  /** Gives the handle back. */
  protected abstract closeHandle(handle: number): void;

  /**
   * Resolves to `true` as soon as there is something to pop, to `false` after the timeout. Where there are
   * several consumers, another may be faster: pop may still find nothing.
   *
   * @throws {KeelsonError} `KL_ERR_CLOSED` when this end is closed meanwhile
   *
   * @example
   * ```ts
   * import { SpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = SpscRing.create(name);
   * console.assert(await ring.waitForData({ timeoutMs: 5 }) === false);
   * SpscRing.remove(name);
   * ```
   */
  waitForData(options?: WaitOptions): Promise<boolean> {
    return waitShared(this.doing("wait for"), this.#target(DATA, 0), options);
  }

  /**
   * Resolves to `true` as soon as a record of `bytes` would fit, to `false` after the timeout. Where there
   * are several producers, another may be faster.
   *
   * @param bytes as encoded
   * @throws {KeelsonError} `KL_ERR_ARGUMENT` when it could never fit, `KL_ERR_CLOSED` when this end is closed
   * meanwhile
   *
   * @example
   * ```ts
   * import { SpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = SpscRing.create(name);
   * console.assert(await ring.waitForSpace(100));
   * SpscRing.remove(name);
   * ```
   */
  waitForSpace(bytes = 0, options?: WaitOptions): Promise<boolean> {
    return waitShared(this.doing("wait for"), this.#target(SPACE, bytes), options);
  }

  /**
   * As {@linkcode SharedQueue.waitForData}, but blocks the calling thread: for Workers, where a round trip
   * takes a few microseconds. It spins for at most 20 us, then sleeps. On the main thread it stops the
   * event loop; `terminate()` ends a Worker in it only after the timeout, the close of the handle, or half a second.
   *
   * @example
   * ```ts
   * import { SpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = SpscRing.create(name);
   * console.assert(ring.waitForDataSync({ timeoutMs: 1 }) === false);
   * SpscRing.remove(name);
   * ```
   */
  waitForDataSync({ timeoutMs }: Pick<WaitOptions, "timeoutMs"> = {}): boolean {
    return waitSharedSync(this.doing("wait for"), this.#target(DATA, 0), timeoutMs);
  }

  /** As {@linkcode SharedQueue.waitForSpace}, but blocks the calling thread. */
  waitForSpaceSync(bytes = 0, { timeoutMs }: Pick<WaitOptions, "timeoutMs"> = {}): boolean {
    return waitSharedSync(this.doing("wait for"), this.#target(SPACE, bytes), timeoutMs);
  }

  /**
   * Pops records as they come, until this end is closed.
   *
   * @example
   * ```ts
   * import { SpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = SpscRing.create(name, { encoding: "string" });
   * ring.pushMany(["one", "two"]);
   * let text = "";
   * for await (const record of ring) {
   *   text += record;
   *   if (text === "onetwo") break;
   * }
   * SpscRing.remove(name);
   * ```
   */
  async *[Symbol.asyncIterator](): AsyncIterator<RecordOutput[E]> {
    for (let inTurn = 0; this.handle !== 0;) {
      const record = this.pop();
      if (record !== undefined) {
        yield record;
        if (++inTurn < RECORDS_PER_TURN) continue;
        inTurn = 0;
        await new Promise<void>((resolve) => void setImmediate(resolve));
        continue;
      }
      try {
        inTurn = 0;
        await this.waitForData();
      } catch (error) {
        if (error instanceof KeelsonError && this.handle === 0) return;
        throw error;
      }
    }
  }

  /** Gives up this end and what it holds. The queue stays, for others and under its name. */
  close(): void {
    const handle = this.handle;
    this.handle = 0;
    this.#mapping?.buffer.transfer(0); // views end here; the memory itself stays mapped
    this.#mapping = null;
    if (handle !== 0) this.closeHandle(handle);
  }

  /** The same as {@linkcode SharedQueue.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** The record as bytes. */
  protected encode(record: RecordInput[E]): Uint8Array<ArrayBuffer> {
    if (this.#codec !== undefined) return this.#codec.encode(record);
    if (record instanceof Uint8Array) return record as Uint8Array<ArrayBuffer>;
    refuse(this.doing("push to"), "the record is not a Uint8Array");
  }

  /** The record of `bytes` bytes that was popped to where the chunk is used up to. */
  protected decode(bytes: number): RecordOutput[E] {
    const { chunk } = this, codec = this.#codec;
    if (codec === undefined) return chunk.take(bytes) as RecordOutput[E];
    const record = codec.keepsBytes
      ? chunk.take(bytes)
      : chunk.bytes.subarray(chunk.used, chunk.used + bytes);
    return codec.decode(record) as RecordOutput[E];
  }

  /** The `count` records that were popped to `scratch` in one call. */
  protected decodeMany(scratch: Uint8Array<ArrayBuffer>, count: number): RecordOutput[E][] {
    return decodeBatch(scratch, count, this.#codec) as RecordOutput[E][];
  }

  /** The records as bytes. */
  protected encodeMany(records: readonly RecordInput[E][]): Uint8Array<ArrayBuffer>[] {
    if (!Array.isArray(records)) refuse(this.doing("push to"), "the records are not an array");
    return records.map((record) => this.encode(record));
  }

  /** `false` for "full" and "empty"; throws everything else. */
  protected notNow(status: number, verb: string): false {
    if (status === STATUS.KL_ERR_AGAIN) return false;
    check(status, () => this.doing(verb));
    return false;
  }

  /** As in `push to the ring "jobs"`. */
  protected doing(verb: string): string {
    return `${verb} the ${this.#noun} ${quote(this.name)}`;
  }

  /** The records' memory itself, where FFI is granted for all paths; else `undefined`. */
  protected mapping(
    bytes: number,
    address: (handle: number, out: Uint8Array<ArrayBuffer>) => number,
  ): Uint8Array<ArrayBuffer> | undefined {
    return (this.#mapping ??= this.#map(bytes, address)) ?? undefined;
  }

  #map(
    bytes: number,
    address: (handle: number, out: Uint8Array<ArrayBuffer>) => number,
  ): Uint8Array<ArrayBuffer> | null {
    const out = new BigUint64Array(1);
    check(address(this.handle, new Uint8Array(out.buffer)), () => this.doing("map"));
    return mapMemory(out[0], bytes);
  }

  #target(what: number, bytes: number) {
    if (bytes >>> 0 !== bytes) refuse(this.doing("wait for"), `${bytes} is not a number of bytes`);
    return { handle: this.handle, kind: this.#kind, what, argument: bytes };
  }
}
