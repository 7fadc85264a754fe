/**
 * What `run` tells the dashboard.
 *
 * @module
 */
import type {
  BrokerState,
  DashboardSnapshot,
  DashboardSource,
  NewestRecord,
} from "./dashboard/source.ts";
import type { Message } from "../broker/broker.ts";
import type { LocalNode } from "./local_node.ts";
import type { RunAccount } from "./run_account.ts";
import type { RunChecker } from "./run_checker.ts";

/** Parts of a run that the page shows. */
export interface RunParts {
  topic: string;
  node: LocalNode;
  account: RunAccount;
  checker: RunChecker;
}

const NEWEST_MAX = 50;
/** The page shows the beginning of a record. */
const PREFIX_BYTES = 1200;

/** Feeds the page; `parts` gives nothing while the node starts or ends. */
export class RunPage implements DashboardSource {
  constructor(private readonly parts: () => RunParts | undefined) {}

  /** The state now. */
  snapshot(): DashboardSnapshot {
    const { topic, node, account, checker } = this.#parts();
    const stat = node.broker.stat();
    const { delivered, lost, duplicates, outOfOrder, publishToDeliverMicros } = checker.latest;
    const sequencer = stat.sequencer;
    return {
      at: Date.now(),
      topic,
      ...account.totals(),
      delivered,
      lost,
      duplicates,
      outOfOrder,
      publishToDeliverMicros,
      ackDurableMicros: {
        p50: account.ackDurable.percentile(0.5),
        p99: account.ackDurable.percentile(0.99),
      },
      brokers: stat.brokers.map((role, index): BrokerState => ({
        index,
        pid: role.pid,
        alive: role.alive,
        durableRecords: role.durableRecords,
        logBytes: role.logBytes,
        restarts: node.restartsOf(`broker ${index}`),
      })),
      sequencer: { pid: sequencer.pid, alive: sequencer.alive },
      subscribers: stat.subscribers.map((one) => ({ ...one, label: node.nameOf(one.pid) })),
      publishers: account.publishers(),
      topics: stat.topics.map(({ name, records, durableRecords, logged }) => ({
        name,
        records,
        durableRecords,
        logged,
      })),
    };
  }

  /** The newest records of the topic, newest first. */
  newest(): NewestRecord[] {
    const { topic, node } = this.#parts();
    const from = Math.max(0, node.broker.topicInfo(topic).records - NEWEST_MAX);
    using subscriber = node.broker.subscribe(topic, { from });
    return subscriber.poll(NEWEST_MAX).reverse().map((message) => newestRecord(topic, message));
  }

  #parts(): RunParts {
    const parts = this.parts();
    if (!parts) throw new Error("the node is starting or ending");
    return parts;
  }
}

function newestRecord(topic: string, message: Message): NewestRecord {
  const { totalOrder, session, sequence, bytes } = message;
  return {
    totalOrder,
    topic,
    session: String(session),
    sequence,
    ...prefixText(bytes),
    bytes: bytes.length,
  };
}

/** The beginning of a record as text, or in base64 where it is not UTF-8. */
export function prefixText(bytes: Uint8Array): Pick<NewestRecord, "text" | "encoding"> {
  const prefix = bytes.subarray(0, PREFIX_BYTES);
  try {
    // A character that the cut goes through is no error.
    const stream = prefix.length < bytes.length;
    return {
      text: new TextDecoder("utf-8", { fatal: true }).decode(prefix, { stream }),
      encoding: "utf8",
    };
  } catch {
    return { text: (prefix as { toBase64?: () => string }).toBase64?.() ?? "", encoding: "base64" };
  }
}
