/**
 * Ordered publish and subscribe between the workers and processes of one host, kept in logs.
 *
 * @module
 */
import { symbols } from "../../ffi/library.ts";
import { check, KeelsonError, refuse, STATUS } from "../base/error.ts";
import { type Ack, Publisher, type PublisherOptions } from "./publisher.ts";
import { Role } from "./role.ts";
import { type SubscribeOptions, Subscriber } from "./subscriber.ts";

export { type Ack, Publisher, type PublisherOptions, type PublisherProgress } from "./publisher.ts";
export { FLAG_UNTERMINATED, RECORD_BYTES_MAX, RecordBatch } from "./record_batch.ts";
export { Role } from "./role.ts";
export { type Message, type SubscribeOptions, Subscriber } from "./subscriber.ts";

/** Options for {@linkcode openBroker}. */
export interface OpenBrokerOptions {
  /** Brokers of the node, 1 to 8; fixed when the folder is created. @default {4} */
  brokerCount?: number;
  /** Create nothing and recover nothing; reads the logs when no node is up. @default {false} */
  readOnly?: boolean;
}

/** Options for {@linkcode Broker.topic}; they count when the topic is created. */
export interface TopicOptions {
  /** Keep it in the brokers' logs. An unlogged topic lives in memory only. @default {true} */
  logged?: boolean;
  /** Payload ring of each broker, a power of two from 64 KiB to 1 GiB. @default {8 MiB} */
  laneBytes?: number;
  /** Touch all of its memory now instead of at the first publish. @default {false} */
  prefault?: boolean;
}

/** What is known of a topic. */
export interface TopicInfo {
  /** Its name. */
  name: string;
  /** Whether it is kept in the brokers' logs. */
  logged: boolean;
  /** Ordered records; the next one gets this number. */
  records: number;
  /** Records that are synced, with all below them. Without a live node: what the logs hold. */
  durableRecords: number;
  /** Payload bytes ordered since the topic's memory was made. */
  bytes: number;
  /** Sessions that are remembered. */
  sessions: number;
  /** Batches published but not ordered yet. */
  pendingBatches: number;
  /** Batches refused: repeated, or with a hole before them. */
  refusedBatches: number;
  /** Records found in the logs when the topic's memory was last rebuilt. */
  recoveredRecords: number;
  /** Records above a hole that were cut then. */
  cutRecords: number;
  /** Payload ring of each broker. */
  laneBytes: number;
  /** Largest batch, framing included. */
  batchBytesMax: number;
  /** Whether its memory is attached here (else only the logs are read). */
  live: boolean;
}

/** A role and its host. */
export interface RoleState {
  /** Number of the broker; undefined for the sequencer. */
  index?: number;
  /** Process that hosts it, or did so last. */
  pid: number;
  /** Whether that process lives. */
  alive: boolean;
  /** How often it was hosted since the node's memory was made. */
  generation: number;
  /** Records in its log since then. */
  durableRecords: number;
  /** Bytes in its log since then. */
  logBytes: number;
  /** Syncs of its log since then. */
  syncs: number;
  /** Why it stopped, if its log failed. */
  failed?: string;
}

/** A subscriber that is attached. */
export interface SubscriberState {
  /** What it reads. */
  topic: string;
  /** Its process. */
  pid: number;
  /** The number of the record it takes next. */
  position: number;
  /** Ordered records it has not taken yet. */
  lag: number;
}

/** Everything that can be seen of a node from outside. */
export interface BrokerStat {
  /** The data folder. */
  folder: string;
  /** Brokers of the node. */
  brokerCount: number;
  /** Whether the node's memory is there. */
  live: boolean;
  /** Each broker's role. */
  brokers: RoleState[];
  /** The role that gives records their numbers. */
  sequencer: RoleState;
  /** Every topic of the node. */
  topics: TopicInfo[];
  /** Every subscriber that is attached. */
  subscribers: SubscriberState[];
}

const SEQUENCER = 8;
const CURSORS = 64;
const NODE_CREATE = 1;
const NODE_READ_ONLY = 2;
const TOPIC_CREATE = 1;
const TOPIC_UNLOGGED = 2;
const TOPIC_PREFAULT = 4;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/**
 * Opens a node's folder, making it if there is none. Several processes may open one folder: they
 * share its topics through one mapping. Whoever finds a topic without memory (after a reboot)
 * rebuilds it from the logs; that may take a moment and blocks.
 *
 * Publishing and subscribing need nothing else; logging (and so `durable`) needs each broker's role
 * to be hosted by some process: {@linkcode Broker.hostBroker}, or `keelson run`.
 *
 * @throws {KeelsonError} foreign or damaged folder (with file and offset), no room in /dev/shm
 *
 * @example
 * ```ts
 * import { openBroker } from "@keelson/keelson";
 *
 * const folder = Deno.makeTempDirSync();
 * {
 *   using broker = openBroker(folder, { brokerCount: 2 });
 *   broker.topic("orders");
 *   using first = broker.hostBroker(0);
 *   using second = broker.hostBroker(1);
 *   using publisher = broker.publisher("orders", { ack: "durable" });
 *   await publisher.publish(new TextEncoder().encode("kept through a power cut"));
 *   console.assert(broker.topicInfo("orders").durableRecords === 1);
 * }
 * Deno.removeSync(folder, { recursive: true });
 * ```
 */
export function openBroker(folder: string, options: OpenBrokerOptions = {}): Broker {
  const { brokerCount = 4, readOnly = false } = options;
  if (typeof folder !== "string" || folder === "") {
    refuse("open a broker", "the folder must be a path");
  }
  if (!Number.isInteger(brokerCount) || brokerCount < 1 || brokerCount > 8) {
    refuse("open a broker", `brokerCount is a whole number from 1 to 8, not ${brokerCount}`);
  }
  const path = encoder.encode(folder);
  const handle = check(
    symbols("broker").kl_broker_open(
      path,
      path.byteLength,
      brokerCount,
      readOnly ? NODE_READ_ONLY : NODE_CREATE,
    ),
    () => `open the node ${folder}`,
  );
  return new Broker(handle, folder, readOnly);
}

/** A node, opened by {@linkcode openBroker}. Closing it closes what was opened through it. */
export class Broker implements Disposable {
  /** The data folder. */
  readonly folder: string;
  /** Brokers of the node. */
  readonly brokerCount: number;
  readonly #handle: number;
  readonly #readOnly: boolean;
  readonly #topics: Map<string, number> = new Map();
  readonly #children: Set<Disposable> = new Set();
  #closed = false;

  /** Use {@linkcode openBroker}. */
  constructor(handle: number, folder: string, readOnly: boolean) {
    this.#handle = handle;
    this.folder = folder;
    this.#readOnly = readOnly;
    this.brokerCount = this.#info()[0];
  }

  /** Creates a topic, or opens it: then its options are what they were when it was created. */
  topic(name: string, options: TopicOptions = {}): TopicInfo {
    const { logged = true, laneBytes = 0, prefault = false } = options;
    if (typeof laneBytes !== "number" || !Number.isSafeInteger(laneBytes) || laneBytes < 0) {
      refuse(`open topic ${name}`, "laneBytes is a power of two from 65536 to 2^30");
    }
    this.#topic(
      name,
      TOPIC_CREATE | (logged ? 0 : TOPIC_UNLOGGED) | (prefault ? TOPIC_PREFAULT : 0),
      laneBytes,
    );
    return this.topicInfo(name);
  }

  /** What is known of a topic. @throws {KeelsonError} there is none of that name */
  topicInfo(name: string): TopicInfo {
    const out = new Float64Array(16);
    const status = symbols("broker").kl_broker_topic_info(this.#topic(name, 0, 0), out);
    check(status, () => `look at topic ${name}`);
    return {
      name,
      logged: out[4] !== 0,
      records: out[0],
      durableRecords: out[1],
      bytes: out[2],
      sessions: out[11],
      pendingBatches: out[10],
      refusedBatches: out[3],
      recoveredRecords: out[8],
      cutRecords: out[9],
      laneBytes: out[6],
      batchBytesMax: out[13],
      live: true,
    };
  }

  /** Path of the node's shared memory; undefined if it has none now (read-only, and no node up). */
  get region(): string | undefined {
    const out = new Uint8Array(512);
    const path = symbols("broker").kl_broker_region_path;
    const bytes = check(path(this.#handle, out, out.byteLength), () => `look at ${this.folder}`);
    return bytes === 0 ? undefined : decoder.decode(out.subarray(0, bytes));
  }

  /** Names of all topics, sorted. */
  topicNames(): string[] {
    const out = new Uint8Array(64 * 129);
    const names = symbols("broker").kl_broker_topic_names;
    const bytes = check(names(this.#handle, out, out.byteLength), `list topics of ${this.folder}`);
    return decoder.decode(out.subarray(0, bytes)).split("\0").filter((name) => name !== "").sort();
  }

  /** What is known of all topics. Without a live node their logs are read and counted. */
  topics(): TopicInfo[] {
    return this.topicNames().flatMap((name) => {
      try {
        return [this.topicInfo(name)];
      } catch (error) {
        if (error instanceof KeelsonError && error.code === STATUS.KL_ERR_NOT_FOUND) {
          return this.#readOnly ? [this.#countedTopic(name)] : [];
        }
        throw error;
      }
    });
  }

  /** A session of records into a topic. */
  publisher(topic: string, options: PublisherOptions = {}): Publisher {
    const { ack = "ordered", session = -1 } = options;
    if (ack !== "none" && ack !== "ordered" && ack !== "durable") {
      refuse(`publish to ${topic}`, `ack is "none", "ordered" or "durable", not ${ack}`);
    }
    const handle = this.#topic(topic, 0, 0);
    if (ack === "durable" && !this.topicInfo(topic).logged) {
      throw new KeelsonError(STATUS.KL_ERR_UNSUPPORTED, `publish to ${topic}`, {
        detail: `the topic is unlogged: nothing in it becomes durable; use ack "ordered"`,
      });
    }
    const opened = check(
      symbols("broker").kl_broker_publisher_open(handle, session),
      () => `publish to ${topic}`,
    );
    const publisher = new Publisher(opened, topic, ack as Ack, (it) => this.#children.delete(it));
    this.#children.add(publisher);
    return publisher;
  }

  /** Reads a topic from any record on. */
  subscribe(topic: string, options: SubscribeOptions = {}): Subscriber {
    const { from = "start", follow = true, durableOnly = false } = options;
    if (from !== "start" && from !== "end" && !(Number.isSafeInteger(from) && from >= 0)) {
      refuse(`subscribe to ${topic}`, `from is "start", "end" or a whole number, not ${from}`);
    }
    const position = from === "start" ? -1 : from === "end" ? -2 : from;
    const name = encoder.encode(topic);
    const open = (at: number) =>
      check(
        symbols("broker").kl_broker_subscriber_open(
          this.#handle,
          name,
          name.byteLength,
          at,
          durableOnly ? 1 : 0,
        ),
        () => `subscribe to ${topic}`,
      );
    const end = follow ? Infinity : this.#endOf(topic, durableOnly);
    const subscriber = new Subscriber(
      open,
      position,
      topic,
      follow,
      end,
      (it) => this.#children.delete(it),
    );
    this.#children.add(subscriber);
    return subscriber;
  }

  /** Hosts a broker's role in this process: its log is written from here until it is closed. */
  hostBroker(index: number): Role {
    if (!Number.isInteger(index) || index < 0 || index >= this.brokerCount) {
      refuse("host a broker", `this node has brokers 0 to ${this.brokerCount - 1}, not ${index}`);
    }
    return this.#host(index, `host broker ${index} of ${this.folder}`);
  }

  /** Hosts the sequencer's role: orders what a dead publisher left behind. */
  hostSequencer(): Role {
    return this.#host(SEQUENCER, `host the sequencer of ${this.folder}`);
  }

  /** Everything that can be seen of the node now. */
  stat(): BrokerStat {
    const topics = this.topics();
    const roles = Array.from({ length: this.brokerCount }, (_, index) => this.#role(index));
    return {
      folder: this.folder,
      brokerCount: this.brokerCount,
      live: this.#info()[1] !== 0,
      brokers: roles,
      sequencer: { ...this.#role(SEQUENCER), index: undefined },
      topics,
      subscribers: topics.filter((topic) => topic.live).flatMap((topic) => this.#cursors(topic)),
    };
  }

  /**
   * Gives the memory of wholly durable topics back, if nobody else uses them; the next one to open
   * them reads the logs. For the end of a node. Returns how many.
   */
  retire(): number {
    return check(symbols("broker").kl_broker_retire(this.#handle), `retire ${this.folder}`);
  }

  /** Checks every invariant of the topics' memory. Only right while nobody publishes. */
  verify(): void {
    for (const name of this.topicNames()) {
      const handle = this.#topic(name, 0, 0);
      check(symbols("broker").kl_broker_topic_check(handle), () => `verify topic ${name}`);
    }
  }

  /** Closes everything opened through it, roles last. Closing twice is nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const children = [...this.#children];
    for (const child of children.filter((one) => !(one instanceof Role))) child[Symbol.dispose]();
    for (const child of children.filter((one) => one instanceof Role)) child[Symbol.dispose]();
    for (const handle of this.#topics.values()) symbols("broker").kl_broker_topic_close(handle);
    symbols("broker").kl_broker_close(this.#handle);
  }

  /** {@linkcode close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #info(): Float64Array {
    const out = new Float64Array(4);
    check(symbols("broker").kl_broker_info(this.#handle, out), () => `look at ${this.folder}`);
    return out;
  }

  #topic(name: string, flags: number, laneBytes: number): number {
    const known = this.#topics.get(name);
    if (known !== undefined) return known;
    if (typeof name !== "string") refuse("open a topic", "its name must be a string");
    const text = encoder.encode(name);
    const open = symbols("broker").kl_broker_topic_open;
    const handle = check(
      open(this.#handle, text, text.byteLength, flags, laneBytes),
      () => `open topic ${name.length > 40 ? name.slice(0, 40) + "..." : name}`,
    );
    this.#topics.set(name, handle);
    return handle;
  }

  #endOf(topic: string, durableOnly: boolean): number {
    try {
      const info = this.topicInfo(topic);
      return durableOnly ? info.durableRecords : info.records;
    } catch (error) {
      const offline = this.#readOnly && error instanceof KeelsonError &&
        error.code === STATUS.KL_ERR_NOT_FOUND;
      if (!offline) throw error;
      return Infinity; // no node is up: the end is where the logs end
    }
  }

  #host(index: number, action: string): Role {
    const handle = check(symbols("broker").kl_broker_role_open(this.#handle, index), action);
    const role = new Role(handle, (it) => this.#children.delete(it));
    this.#children.add(role);
    return role;
  }

  #role(index: number): RoleState {
    const out = new Float64Array(12);
    const reason = new Uint8Array(448);
    const bytes = symbols("broker").kl_broker_role_info(
      this.#handle,
      index,
      out,
      reason,
      reason.byteLength,
    );
    return {
      index,
      pid: out[0],
      alive: out[1] !== 0,
      generation: out[2],
      durableRecords: out[4],
      logBytes: out[5],
      syncs: out[6],
      failed: bytes > 0 ? decoder.decode(reason.subarray(0, bytes)) : undefined,
    };
  }

  /** A topic whose node is not up, as its logs have it. */
  #countedTopic(name: string): TopicInfo {
    const out = new Float64Array(4);
    const text = encoder.encode(name);
    const count = symbols("broker").kl_broker_topic_count;
    const logged = check(
      count(this.#handle, text, text.byteLength, out),
      () => `count topic ${name}`,
    );
    return {
      name,
      logged: logged === 1,
      records: out[0],
      durableRecords: out[0],
      bytes: out[2],
      sessions: out[3],
      pendingBatches: 0,
      refusedBatches: 0,
      recoveredRecords: out[0],
      cutRecords: out[1],
      laneBytes: 0,
      batchBytesMax: 0,
      live: false,
    };
  }

  #cursors(topic: TopicInfo): SubscriberState[] {
    const handle = this.#topic(topic.name, 0, 0);
    const out = new Float64Array(4);
    const found: SubscriberState[] = [];
    for (let slot = 0; slot < CURSORS; slot++) {
      if (symbols("broker").kl_broker_topic_cursor(handle, slot, out) < 0) continue;
      found.push({
        topic: topic.name,
        pid: out[0],
        position: out[1],
        lag: Math.max(0, topic.records - out[1]),
      });
    }
    return found;
  }
}
