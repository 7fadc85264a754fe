/**
 * Publishing into a topic.
 *
 * @module
 */
import { symbols } from "../../ffi/library.ts";
import { check, refuse, STATUS } from "../base/error.ts";
import { waitFor } from "../exec/completion.ts";
import { RecordBatch } from "./record_batch.ts";

/** When a record counts as taken. */
export type Ack = "none" | "ordered" | "durable";

/** Options for {@linkcode Broker.publisher}. */
export interface PublisherOptions {
  /**
   * What {@linkcode Publisher.publish} waits for: nothing, the record's place in the total order
   * (survives the death of every process), or the sync of it and of every lower one (survives a
   * power cut).
   * @default {"ordered"}
   */
  ack?: Ack;
  /**
   * A session to go on with, behind its last ordered record; one that the topic does not know
   * begins at 0.
   * @default {a new session}
   */
  session?: number;
}

/** How far a session has come: records `0..n-1` are ordered, or durable. */
export interface PublisherProgress {
  /** Sequence of the next record. */
  next: number;
  /** Records that have their place in the total order. */
  ordered: number;
  /** Records that are synced, with every lower one of the topic. */
  durable: number;
}

interface Waiter {
  sequence: number;
  resolve: (sequence: number) => void;
  reject: (error: unknown) => void;
}

/**
 * One session of records into one topic. Records of one session keep their order; each batch may
 * go to another broker. Made by {@linkcode Broker.publisher}; used by one isolate.
 *
 * @example
 * ```ts
 * import { openBroker } from "@keelson/keelson";
 *
 * const folder = Deno.makeTempDirSync();
 * {
 *   using broker = openBroker(folder, { brokerCount: 1 });
 *   broker.topic("orders");
 *   using publisher = broker.publisher("orders");
 *   const sequence = await publisher.publish(new TextEncoder().encode("a record"));
 *   console.assert(sequence === 0);
 * }
 * Deno.removeSync(folder, { recursive: true });
 * ```
 */
export class Publisher implements Disposable {
  readonly #handle: number;
  readonly #topic: string;
  readonly #ack: Ack;
  readonly #session: number;
  readonly #progress = new Float64Array(4);
  readonly #single: RecordBatch = new RecordBatch(64 * 1024);
  readonly #waiters: Waiter[] = [];
  readonly #onClose: (publisher: Publisher) => void;
  #next: number;
  #closed = false;
  #waiting = false;

  /** For {@linkcode Broker.publisher}. */
  constructor(
    handle: number,
    topic: string,
    ack: Ack,
    onClose: (publisher: Publisher) => void,
  ) {
    this.#handle = handle;
    this.#topic = topic;
    this.#ack = ack;
    this.#onClose = onClose;
    this.#refresh();
    this.#session = this.#progress[3];
    this.#next = this.#progress[0];
  }

  /** The session's number, for going on with it later. */
  get session(): number {
    return this.#session;
  }

  /** Sequence of the next record of this session. */
  get next(): number {
    return this.#next;
  }

  /**
   * Hands over one record without waiting. `false`: no room now, nothing was taken; wait with
   * {@linkcode waitForSpace}.
   */
  offer(record: Uint8Array, flags = 0): boolean {
    const batch = this.#singleBatch(record.byteLength);
    batch.clear();
    batch.add(record, flags);
    return this.offerBatch(batch);
  }

  /** The same for a whole batch: all of it or nothing. The batch is not cleared. */
  offerBatch(batch: RecordBatch): boolean {
    if (batch.count === 0) return true;
    const status = symbols("broker").kl_broker_publisher_offer(
      this.#handle,
      batch.encoded as Uint8Array<ArrayBuffer>,
      batch.bytes,
    );
    if (status === STATUS.KL_ERR_AGAIN) return false;
    check(status, () => `publish to topic ${this.#topic}`);
    this.#next += batch.count;
    return true;
  }

  /**
   * Publishes one record, waiting for room if need be, and resolves with its sequence once it is
   * acknowledged as the publisher's `ack` says. Records are taken in the order of the calls.
   */
  async publish(record: Uint8Array, flags = 0): Promise<number> {
    while (!this.offer(record, flags)) await this.waitForSpace(record.byteLength);
    const sequence = this.#next - 1;
    if (this.#ack === "none") return sequence;
    return await this.#acknowledged(sequence);
  }

  /** Resolves when an offer of `bytes` may succeed. */
  async waitForSpace(bytes = 64 * 1024): Promise<void> {
    await waitFor((completion, token) =>
      check(
        symbols("broker").kl_broker_publisher_arm_space(this.#handle, bytes, completion, token),
        () => `wait for room in topic ${this.#topic}`,
      )
    );
  }

  /** How far this session has come. Cheap; reads shared memory. */
  progress(): PublisherProgress {
    check(this.#refresh(), () => `follow session ${this.#session} of topic ${this.#topic}`);
    return { next: this.#next, ordered: this.#progress[1], durable: this.#progress[2] };
  }

  /** Resolves when records `0..sequence-1` of this session are ordered, or durable. */
  async waitFor(level: "ordered" | "durable", sequence: number = this.#next): Promise<void> {
    if (!Number.isSafeInteger(sequence) || sequence < 0) {
      refuse("wait for a record", "sequence is a whole number from 0");
    }
    const rank = level === "durable" ? 1 : 0;
    for (;;) {
      let reached = false;
      await waitFor((completion, token) => {
        const status = symbols("broker").kl_broker_publisher_arm(
          this.#handle,
          rank,
          sequence,
          completion,
          token,
        );
        check(status, () => `wait until topic ${this.#topic} is ${level}`);
        reached = status === 1;
        return status;
      });
      if (reached) return;
    }
  }

  /** Resolves when everything published so far is acknowledged (`durable` unless ack says less). */
  async flush(): Promise<void> {
    await this.waitFor(this.#ack === "durable" ? "durable" : "ordered", this.#next);
  }

  /** Lets go. What was published stays published; unresolved acknowledgements are rejected. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    symbols("broker").kl_broker_publisher_close(this.#handle);
    this.#onClose(this);
  }

  /** {@linkcode close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #refresh(): number {
    return symbols("broker").kl_broker_publisher_progress(this.#handle, this.#progress);
  }

  #singleBatch(recordBytes: number): RecordBatch {
    const needed = recordBytes + 16;
    return needed <= this.#single.capacityBytes ? this.#single : new RecordBatch(needed);
  }

  /** One loop serves all promises that are waiting: a sync wakes it once for all of them. */
  #acknowledged(sequence: number): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    this.#waiters.push({ sequence, resolve, reject });
    if (!this.#waiting) {
      this.#waiting = true;
      this.#serveWaiters();
    }
    return promise;
  }

  async #serveWaiters(): Promise<void> {
    const level = this.#ack === "durable" ? "durable" : "ordered";
    try {
      while (this.#waiters.length > 0) {
        await this.waitFor(level, this.#waiters[0].sequence + 1);
        const reached = this.progress()[level];
        let count = 0;
        while (count < this.#waiters.length && this.#waiters[count].sequence < reached) count++;
        for (const waiter of this.#waiters.splice(0, count)) waiter.resolve(waiter.sequence);
      }
    } catch (error) {
      for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
    } finally {
      this.#waiting = false;
    }
  }
}
