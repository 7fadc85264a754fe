/**
 * A bounded queue of records between two Workers or processes: any number of producers,
 * one consumer.
 *
 * @module
 */
import { HANDLE } from "../../ffi/generated/handle.ts";
import { type Symbols, symbols } from "../../ffi/library.ts";
import { check, refuse, STATUS } from "../base/error.ts";
import { openShared, quote, removeShared } from "../sync/shared_object.ts";
import {
  BATCH_BYTES_MAX,
  encodeBatch,
  type RecordEncoding,
  type RecordInput,
  type RecordOutput,
} from "./record_codec.ts";
import { type RecordClaim, SharedQueue } from "./shared_queue.ts";

/** Options for {@linkcode MpscRing.create}. */
export interface MpscRingOptions<E extends RecordEncoding = "bytes"> {
  /**
   * Room for records, each of which takes 8 bytes more than it has, rounded up to 8. A power of two from
   * 128 to 2^31. The largest record is 8 bytes less than half of it. @default {65536}
   */
  capacityBytes?: number;
  /** What records are at this end. @default {"bytes"} */
  encoding?: E;
}

const CAPACITY_BYTES = 65536;
/** In front of each record. */
const HEADER_BYTES = 8;

let lockfree: Symbols<"lockfree"> | undefined;

/**
 * A first-in-first-out queue of records in shared memory, for any number of producers and one consumer.
 *
 * Each may be the main program, a Worker or another process. All records have one order; those of one
 * producer keep theirs. The first pop makes a thread the consumer; the next takes over from one that died,
 * and sees again the record that it died over, inside a pop or a {@linkcode MpscRing.read} (at least once).
 * A record whose producer died before it was committed is skipped by the consumer as soon as it is the oldest
 * one and its thread is seen to be gone; a push that returned is never lost, one that was killed is there
 * whole or not at all (at most once).
 *
 * Records live in memory until they are popped: they outlive every process, but not a reboot. A push takes one
 * compare-exchange, after the ring buffer of Aeron.
 *
 * @example Two producers and a consumer, as three processes would have them
 * ```ts
 * import { MpscRing } from "@keelson/keelson";
 *
 * const name = `example-${crypto.randomUUID()}`;
 * using consumer = MpscRing.create(name, { encoding: "string" });
 * using one = MpscRing.attach(name, { encoding: "string" });
 * using two = MpscRing.attach(name, { encoding: "string" });
 * one.push("hello");
 * two.push("world");
 * console.assert(consumer.popMany().join(" ") === "hello world");
 * MpscRing.remove(name);
 * ```
 */
export class MpscRing<E extends RecordEncoding = "bytes"> extends SharedQueue<E> {
  /** Room for records, with 8 bytes for each. */
  readonly capacityBytes: number;
  #lockfree: Symbols<"lockfree">;
  #scratch: Uint8Array<ArrayBuffer> | undefined;

  private constructor(lockfree: Symbols<"lockfree">, handle: number, name: string, encoding: E) {
    super("ring", HANDLE.MPSC_RING, handle, name, encoding);
    this.#lockfree = lockfree;
    this.capacityBytes = lockfree.kl_mpsc_ring_capacity_bytes(handle);
  }

  /**
   * Makes an empty ring. It appears whole, under its name, or not at all.
   *
   * @param name 1 to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`
   * @throws {KeelsonError} `KL_ERR_EXISTS`, `KL_ERR_NAME`, `KL_ERR_ARGUMENT`, `KL_ERR_NO_SPACE`
   *
   * @example
   * ```ts
   * import { MpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = MpscRing.create(name, { capacityBytes: 1024 });
   * console.assert(ring.capacityBytes === 1024);
   * MpscRing.remove(name);
   * ```
   */
  static create<E extends RecordEncoding = "bytes">(
    name: string,
    options: MpscRingOptions<E> = {},
  ): MpscRing<E> {
    const action = `create the ring ${quote(name)}`;
    const { capacityBytes = CAPACITY_BYTES, encoding = "bytes" as E } = options;
    if (!Number.isSafeInteger(capacityBytes)) {
      refuse(action, `capacityBytes must be a power of two, not ${String(capacityBytes)}`);
    }
    const known = lockfree ??= symbols("lockfree");
    const handle = openShared(
      action,
      name,
      (utf8, bytes, out) => known.kl_mpsc_ring_create(utf8, bytes, capacityBytes, out),
    );
    return new MpscRing(known, handle, name, encoding);
  }

  /**
   * Opens a ring that another has created.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_FOREIGN` when the name is not a ring's, `KL_ERR_NAME`
   *
   * @example
   * ```ts
   * import { KeelsonError, MpscRing } from "@keelson/keelson";
   *
   * try {
   *   MpscRing.attach("nobody-made-this");
   * } catch (error) {
   *   console.assert(error instanceof KeelsonError && error.codeName === "KL_ERR_NOT_FOUND");
   * }
   * ```
   */
  static attach<E extends RecordEncoding = "bytes">(
    name: string,
    { encoding = "bytes" as E }: Pick<MpscRingOptions<E>, "encoding"> = {},
  ): MpscRing<E> {
    const known = lockfree ??= symbols("lockfree");
    const handle = openShared(`attach to the ring ${quote(name)}`, name, known.kl_mpsc_ring_attach);
    return new MpscRing(known, handle, name, encoding);
  }

  /**
   * Takes the name away. Whoever has the ring open keeps it; the memory is freed with the last.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_NAME`
   *
   * @example
   * ```ts
   * import { MpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * MpscRing.create(name).close();
   * MpscRing.remove(name);
   * ```
   */
  static remove(name: string): void {
    const known = lockfree ??= symbols("lockfree");
    removeShared(`remove the ring ${quote(name)}`, name, known.kl_mpsc_ring_remove);
  }

  /**
   * Appends a record. `false` when there is no room for it now.
   *
   * @throws {KeelsonError} `KL_ERR_ARGUMENT` when it could never fit
   *
   * @example
   * ```ts
   * import { MpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = MpscRing.create(name, { capacityBytes: 128 });
   * console.assert(ring.push(new Uint8Array(56)) && ring.push(new Uint8Array(56)));
   * console.assert(ring.push(new Uint8Array(0)) === false); // until the first is popped
   * MpscRing.remove(name);
   * ```
   */
  push(record: RecordInput[E]): boolean {
    const bytes = this.encode(record);
    const status = this.#lockfree.kl_mpsc_ring_push(this.handle, bytes, bytes.byteLength);
    return status === 0 || this.notNow(status, "push to");
  }

  /**
   * Takes the oldest record out; `undefined` when there is none.
   *
   * @throws {KeelsonError} `KL_ERR_LOCKED` when there is another live consumer, `KL_ERR_CORRUPT` when a peer
   * wrote over the ring
   *
   * @example
   * ```ts
   * import { MpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = MpscRing.create(name);
   * ring.push(Uint8Array.of(1, 2, 3));
   * console.assert(ring.pop()?.length === 3);
   * MpscRing.remove(name);
   * ```
   */
  pop(): RecordOutput[E] | undefined {
    const { chunk } = this;
    for (;;) {
      const { bytes, used } = chunk, room = bytes.length - used;
      const popped = room < 0 // its buffer was transferred with a record
        ? STATUS.KL_ERR_LIMIT
        : this.#lockfree.kl_mpsc_ring_pop_at(this.handle, bytes, used, room);
      if (popped >= 0) return this.decode(popped);
      if (popped !== STATUS.KL_ERR_LIMIT) return this.notNow(popped, "pop from") || undefined;
      chunk.renew(this.#lockfree.kl_mpsc_ring_peek(this.handle));
    }
  }

  /**
   * Appends records in one call, up to the first that has no room. Answers how many went in. As many as fit
   * into half of the ring, and a MiB, stand behind each other: no other record comes between.
   *
   * @example
   * ```ts
   * import { MpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = MpscRing.create(name);
   * console.assert(ring.pushMany([Uint8Array.of(1), Uint8Array.of(2)]) === 2);
   * MpscRing.remove(name);
   * ```
   */
  pushMany(records: readonly RecordInput[E][]): number {
    const encoded = this.encodeMany(records);
    let done = 0;
    while (done < encoded.length) {
      const { batch } = encodeBatch(encoded, done);
      const pushed = this.#lockfree.kl_mpsc_ring_push_many(this.handle, batch, batch.length);
      if (pushed < 0 && done === 0) this.notNow(pushed, "push to");
      if (pushed <= 0) break;
      done += pushed;
    }
    return done;
  }

  /**
   * Takes out as many records as there are, at most about a MiB of them.
   *
   * @example
   * ```ts
   * import { MpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = MpscRing.create(name);
   * ring.pushMany([Uint8Array.of(1), Uint8Array.of(2)]);
   * console.assert(ring.popMany().length === 2);
   * MpscRing.remove(name);
   * ```
   */
  popMany(): RecordOutput[E][] {
    for (;;) {
      const scratch = this.#scratch ??= new Uint8Array(
        Math.min(this.capacityBytes, BATCH_BYTES_MAX),
      );
      const count = this.#lockfree.kl_mpsc_ring_pop_many(this.handle, scratch, scratch.length);
      if (count >= 0) return this.decodeMany(scratch, count);
      if (count !== STATUS.KL_ERR_LIMIT) this.notNow(count, "pop from");
      // A batch has 4 bytes in front of each record and up to 3 behind it.
      this.#scratch = new Uint8Array(this.#lockfree.kl_mpsc_ring_peek(this.handle) + 7);
    }
  }

  /**
   * Room for a record of `bytes`, to be written in place and committed; `undefined` when there is none now.
   * Several may be open; what others pushed later waits until each is committed or aborted, or its thread is
   * seen to be gone.
   *
   * @throws {KeelsonError} as {@linkcode MpscRing.push}
   *
   * @example
   * ```ts
   * import { MpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = MpscRing.create(name);
   * const claim = ring.claim(100)!;
   * const { written } = new TextEncoder().encodeInto("hello", claim.bytes);
   * claim.commit(written);
   * console.assert(ring.pop()?.length === 5);
   * MpscRing.remove(name);
   * ```
   */
  claim(bytes: number): RecordClaim | undefined {
    if (bytes >>> 0 !== bytes) {
      refuse(this.doing("claim room in"), `${bytes} is not a number of bytes`);
    }
    const position = this.#lockfree.kl_mpsc_ring_claim(this.handle, bytes);
    if (position < 0) return this.notNow(position, "claim room in") || undefined;
    const at = position % this.capacityBytes + HEADER_BYTES;
    const mapping = this.#map();
    const view = mapping ? mapping.subarray(at, at + bytes) : new Uint8Array(bytes);
    let open = true;
    const end = (call: () => number) => {
      if (!open) refuse(this.doing("commit to"), "this claim is over");
      check(call(), () => this.doing("commit to"));
      open = false;
    };
    return {
      bytes: view,
      commit: (written = bytes) => {
        if (!(written >= 0 && written <= bytes)) {
          refuse(this.doing("commit to"), `${written} bytes of a claim of ${bytes}`);
        }
        const data = mapping ? null : view;
        end(() => this.#lockfree.kl_mpsc_ring_commit(this.handle, position, data, written));
      },
      abort: () => end(() => this.#lockfree.kl_mpsc_ring_abort(this.handle, position)),
    };
  }

  /**
   * Gives the oldest record's bytes to `use`, in place where FFI is granted for all paths, and takes the
   * record out when `use` returns; when it throws, the record stays. `false` when there was none. The bytes
   * are not to be kept: they are written over afterwards.
   *
   * @example
   * ```ts
   * import { MpscRing } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using ring = MpscRing.create(name);
   * ring.push(Uint8Array.of(1, 2, 3));
   * let sum = 0;
   * console.assert(ring.read((bytes) => bytes.forEach((byte) => sum += byte)));
   * console.assert(sum === 6);
   * MpscRing.remove(name);
   * ```
   */
  read(use: (bytes: Uint8Array<ArrayBuffer>) => void): boolean {
    const bytes = this.#lockfree.kl_mpsc_ring_peek(this.handle);
    if (bytes < 0) return this.notNow(bytes, "read from");
    const mapping = this.#map();
    if (mapping) {
      const position = this.#lockfree.kl_mpsc_ring_position(this.handle);
      const at = position % this.capacityBytes + HEADER_BYTES;
      use(mapping.subarray(at, at + bytes));
    } else {
      use(this.#peekCopy(bytes));
    }
    if (this.handle !== 0) {
      check(this.#lockfree.kl_mpsc_ring_release(this.handle), () => this.doing("read from"));
    }
    return true;
  }

  /** Bytes that pushed records take now, with 8 bytes for each. */
  get usedBytes(): number {
    return check(
      this.#lockfree.kl_mpsc_ring_used_bytes(this.handle),
      () => this.doing("look at"),
    );
  }

  /**
   * Walks through all records. Right only while nobody pushes or pops.
   *
   * @throws {KeelsonError} `KL_ERR_CORRUPT`
   */
  verify(): void {
    check(this.#lockfree.kl_mpsc_ring_check(this.handle), () => this.doing("verify"));
  }

  /** Gives the handle back. */
  protected override closeHandle(handle: number): void {
    this.#lockfree.kl_mpsc_ring_close(handle);
  }

  #map(): Uint8Array<ArrayBuffer> | undefined {
    return this.mapping(this.capacityBytes, this.#lockfree.kl_mpsc_ring_address);
  }

  /** The oldest record, which stays. */
  #peekCopy(bytes: number): Uint8Array<ArrayBuffer> {
    const copy = new Uint8Array(bytes);
    check(
      this.#lockfree.kl_mpsc_ring_peek_copy(this.handle, copy, bytes),
      () => this.doing("read from"),
    );
    return copy;
  }
}
