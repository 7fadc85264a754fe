/**
 * Reading a topic in its total order.
 *
 * @module
 */
import { KL_DELIVERY } from "../../ffi/generated/layout.ts";
import { symbols } from "../../ffi/library.ts";
import { check, STATUS } from "../base/error.ts";
import { waitFor } from "../exec/completion.ts";

/** One record as it is delivered. */
export interface Message {
  /** Its number in the topic: dense, the same for every subscriber. */
  totalOrder: number;
  /** Session that published it. */
  session: number;
  /** Its number in that session. */
  sequence: number;
  /** 0, or {@linkcode FLAG_UNTERMINATED}. */
  flags: number;
  /** When it was published: microseconds of CLOCK_MONOTONIC. */
  publishedAtMicros: number;
  /** The record. Yours to keep; messages of one poll share one buffer. */
  bytes: Uint8Array;
}

/** Options for {@linkcode Broker.subscribe}. */
export interface SubscribeOptions {
  /** The first record wanted: the oldest, the next to come, or a number. @default {"start"} */
  from?: "start" | "end" | number;
  /** Iteration goes on for ever; `false`: it ends where the topic ended when it began. @default {true} */
  follow?: boolean;
  /** Deliver only what no power cut can take back. @default {false} */
  durableOnly?: boolean;
}

const READ_BYTES = 256 * 1024;
const RETRY_MS = 250;
/** Records after which an iteration lets timers and messages run. */
const YIELD_RECORDS = 4096;
const UNTERMINATED_BIT = 0x80000000;

/**
 * A reader of one topic. It reads the shared memory, or the logs on disk where it is behind (or
 * where no node is up), each record once and in order. Made by {@linkcode Broker.subscribe}.
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
 *   await publisher.publish(new TextEncoder().encode("a record"));
 *   using subscriber = broker.subscribe("orders", { follow: false });
 *   for await (const message of subscriber) {
 *     console.assert(new TextDecoder().decode(message.bytes) === "a record");
 *   }
 * }
 * Deno.removeSync(folder, { recursive: true });
 * ```
 */
export class Subscriber implements Disposable, AsyncIterable<Message> {
  readonly #open: (from: number) => number;
  readonly #topic: string;
  readonly #follow: boolean;
  readonly #endOrder: number;
  readonly #info = new Float64Array(4);
  readonly #onClose: (subscriber: Subscriber) => void;
  #handle: number;
  #buffer: Uint8Array<ArrayBuffer> = new Uint8Array(READ_BYTES);
  #pending: Message[] = [];
  #pendingAt = 0;
  #closed = false;

  /** For {@linkcode Broker.subscribe}. */
  constructor(
    open: (from: number) => number,
    from: number,
    topic: string,
    follow: boolean,
    endOrder: number,
    onClose: (subscriber: Subscriber) => void,
  ) {
    this.#open = open;
    this.#topic = topic;
    this.#follow = follow;
    this.#endOrder = endOrder;
    this.#onClose = onClose;
    this.#handle = open(from);
  }

  /** Number of the record that is delivered next. */
  get position(): number {
    if (this.#pendingAt < this.#pending.length) return this.#pending[this.#pendingAt].totalOrder;
    check(this.#refresh(), () => `follow topic ${this.#topic}`);
    return this.#info[0];
  }

  /** Records that are there now, at most `max` of them; `[]` when there is none. Never waits. */
  poll(max: number = Infinity): Message[] {
    if (this.#pendingAt >= this.#pending.length) {
      this.#pending = this.#read();
      this.#pendingAt = 0;
    }
    if (this.#pendingAt === 0 && this.#pending.length <= max) {
      const all = this.#pending;
      this.#pending = [];
      return all;
    }
    const some = this.#pending.slice(this.#pendingAt, this.#pendingAt + max);
    this.#pendingAt += some.length;
    return some;
  }

  /** Resolves when a poll may give something. May resolve early. */
  async waitForData(): Promise<void> {
    if (this.#pendingAt < this.#pending.length) return;
    let nodeIsUp = true;
    await waitFor((completion, token) => {
      const status = symbols("broker").kl_broker_subscriber_arm(this.#handle, completion, token);
      nodeIsUp = status !== STATUS.KL_ERR_END;
      return nodeIsUp ? check(status, () => `wait for topic ${this.#topic}`) : 1;
    });
    if (nodeIsUp) return;
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    if (!this.#closed) this.#reopen();
  }

  /** Records in order; waits for more unless `follow` is false. */
  async *[Symbol.asyncIterator](): AsyncIterator<Message> {
    let sinceYield = 0;
    while (!this.#closed) {
      if (!this.#follow && this.position >= this.#endOrder) return;
      const messages = this.poll();
      for (const message of messages) {
        if (!this.#follow && message.totalOrder >= this.#endOrder) return;
        yield message;
      }
      if (messages.length > 0) {
        sinceYield += messages.length;
        if (sinceYield >= YIELD_RECORDS) {
          sinceYield = 0; // a stream that never runs dry must not starve the event loop
          await new Promise<void>((resolve) => void setImmediate(resolve));
        }
        continue;
      }
      if (!this.#follow && this.#endOrder === Infinity) return;
      await this.waitForData();
    }
  }

  /** Lets go. Closing twice is nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    symbols("broker").kl_broker_subscriber_close(this.#handle);
    this.#onClose(this);
  }

  /** {@linkcode close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #refresh(): number {
    return symbols("broker").kl_broker_subscriber_info(this.#handle, this.#info);
  }

  /** A node may have come up since: then there is memory to read, and a doorbell to wait for. */
  #reopen(): void {
    check(this.#refresh(), () => `follow topic ${this.#topic}`);
    const next = this.#open(this.#info[0]);
    symbols("broker").kl_broker_subscriber_close(this.#handle);
    this.#handle = next;
  }

  #read(): Message[] {
    const read = symbols("broker").kl_broker_subscriber_read;
    let bytes = read(this.#handle, this.#buffer, this.#buffer.byteLength);
    if (bytes === STATUS.KL_ERR_LIMIT) {
      check(this.#refresh(), () => `read topic ${this.#topic}`);
      this.#buffer = new Uint8Array(this.#info[1] * 2);
      bytes = read(this.#handle, this.#buffer, this.#buffer.byteLength);
    }
    check(bytes, () => `read topic ${this.#topic}`);
    return bytes === 0 ? [] : decode(this.#buffer.slice(0, bytes));
  }
}

/** Deliveries to messages: `KL_DELIVERY`, then its records `{u32 bytes, u32 sequence, data}`. */
function decode(chunk: Uint8Array<ArrayBuffer>): Message[] {
  const view = new DataView(chunk.buffer);
  const messages: Message[] = [];
  const number64 = (at: number) =>
    view.getUint32(at, true) + view.getUint32(at + 4, true) * 4294967296;
  for (let at = 0; at < chunk.byteLength;) {
    const firstOrder = number64(at + KL_DELIVERY.totalOrder);
    const session = number64(at + KL_DELIVERY.session);
    const firstSequence = number64(at + KL_DELIVERY.firstSequence);
    const publishedAtMicros = number64(at + KL_DELIVERY.publishedAtNs) / 1000;
    const count = view.getUint32(at + KL_DELIVERY.recordCount, true);
    const payloadBytes = view.getUint32(at + KL_DELIVERY.payloadBytes, true);
    const skip = view.getUint32(at + KL_DELIVERY.skip, true);
    const lowSequence = firstSequence >>> 0;
    let record = at + KL_DELIVERY.bytes;
    for (let index = 0; index < count; index++) {
      const word = view.getUint32(record, true);
      const bytes = word & ~UNTERMINATED_BIT;
      // The record's own tag says which one it is, whatever stands around it.
      const offset = (view.getUint32(record + 4, true) - lowSequence) >>> 0;
      if (offset >= skip) {
        messages.push({
          totalOrder: firstOrder + offset,
          session,
          sequence: firstSequence + offset,
          flags: word >>> 31,
          publishedAtMicros,
          bytes: chunk.subarray(record + 8, record + 8 + bytes),
        });
      }
      record += 8 + ((bytes + 7) & ~7);
    }
    at += KL_DELIVERY.bytes + ((payloadBytes + 7) & ~7);
  }
  return messages;
}
