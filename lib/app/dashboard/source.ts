/**
 * What the dashboard shows, and the one door through which it learns it.
 *
 * The program that runs a node implements {@linkcode DashboardSource}; the server only ever calls
 * these two functions, at most four times a second and only while somebody looks at the page.
 * All counters are totals since the node started: the page turns them into rates itself, so that
 * a reload or a second viewer costs the node nothing.
 *
 * @module
 */

/** The state of a node at one moment. Everything is a plain JSON value. */
export interface DashboardSnapshot {
  /** When the snapshot was taken, in milliseconds since 1970 (`Date.now()`). */
  at: number;
  /** The topic whose counts follow: what the report of `run` counts. */
  topic: string;
  /** Records handed to the node by its publishers. */
  published: number;
  /** Records that have their place in the total order. */
  ordered: number;
  /** Records synced to disk, together with every lower one of their topic. */
  durable: number;
  /** Records the checker has received through the public subscriber. */
  delivered: number;
  /** Payload bytes of the published records. */
  bytes: number;
  /** Acknowledged records the checker never received. Anything but 0 is an alarm. */
  lost: number;
  /** Records the checker received more than once. Anything but 0 is an alarm. */
  duplicates: number;
  /** Records the checker received after a later one. Anything but 0 is an alarm. */
  outOfOrder: number;
  /** From `publish` to the subscriber's hands; null while nothing was measured. */
  publishToDeliverMicros: { p50: number | null; p99: number | null; p999: number | null };
  /** From `publish` to the `durable` acknowledgement; null while nothing was measured. */
  ackDurableMicros: { p50: number | null; p99: number | null };
  /** Every broker role, dead ones included, by index. */
  brokers: BrokerState[];
  /** The role that gives the total order. */
  sequencer: ProcessState;
  /** Everybody who reads, on any topic. */
  subscribers: SubscriberState[];
  /** Everybody who writes, on any topic. */
  publishers: PublisherState[];
  /** Every topic of the node. */
  topics: TopicState[];
}

/** A process, or a role hosted by one. */
export interface ProcessState {
  /** Process id, for people; 0 when nobody hosts the role. */
  pid: number;
  /** Whether the holder of the role is alive now. */
  alive: boolean;
}

/** One broker. */
export interface BrokerState extends ProcessState {
  /** Its number, from 0. */
  index: number;
  /** Records in its own log folder that are synced. */
  durableRecords: number;
  /** Bytes of its own log folder. */
  logBytes: number;
  /** How often it was started again since the node started. */
  restarts: number;
}

/** One subscriber. */
export interface SubscriberState {
  topic: string;
  pid: number;
  /** Index within the topic of the next record it will take. */
  position: number;
  /** Ordered records it has not taken yet. */
  lag: number;
  /** What it is, for people: `"checker"`, `"store fold"`. */
  label?: string;
}

/** One publisher session. */
export interface PublisherState {
  topic: string;
  pid: number;
  /** Session id as text (it may need all 64 bits). */
  session: string;
  /** Records it has published in this session. */
  published: number;
  /** How many of them are durable. */
  durable: number;
  /** What it publishes, for people: `"cpu"`, `"input access.log"`. */
  label?: string;
}

/** One topic. */
export interface TopicState {
  name: string;
  /** Ordered records. */
  records: number;
  durableRecords: number;
  /** Whether it is written to disk. An unlogged topic lives in the region only. */
  logged: boolean;
}

/** A record for the list of the newest ones. */
export interface NewestRecord {
  /** Its place in the total order. */
  totalOrder: number;
  topic: string;
  /** Publisher session as text. */
  session: string;
  /** Its number within the session. */
  sequence: number;
  /**
   * The payload: as text when it is UTF-8, else in base64. A prefix is enough (the server sends
   * at most 400 characters of it), because `bytes` tells the true size.
   */
  text: string;
  /** How `text` is written. @default {"utf8"} */
  encoding?: "utf8" | "base64";
  /** Payload bytes of the whole record. */
  bytes: number;
}

/** Where the dashboard takes its numbers from. Both functions must be quick: they run on the event loop. */
export interface DashboardSource {
  /** The state now. May throw while the node is changing hands; the page then says so. */
  snapshot(): DashboardSnapshot;
  /** The newest records, newest first; the page shows at most 50. */
  newest(): NewestRecord[];
}
