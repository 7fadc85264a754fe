/** A node that exists only in numbers: what the dashboard's tests look at. */
import type {
  DashboardSnapshot,
  DashboardSource,
  NewestRecord,
} from "../../../lib/app/dashboard/source.ts";

/** A source whose numbers a test sets, and which counts how often it was asked. */
export class FakeNode implements DashboardSource {
  /** What `snapshot()` gives. */
  state: DashboardSnapshot = emptySnapshot();
  records: NewestRecord[] = [];
  /** What `snapshot()` throws instead, while set. */
  failure: Error | undefined;
  snapshotCalls = 0;

  snapshot(): DashboardSnapshot {
    this.snapshotCalls++;
    if (this.failure !== undefined) throw this.failure;
    return { ...this.state, at: Date.now() };
  }

  newest(): NewestRecord[] {
    return this.records;
  }

  /** Lets records pass through the whole node. */
  pass(recordCount: number, bytesEach = 100): void {
    const { state } = this;
    state.published += recordCount;
    state.ordered += recordCount;
    state.durable += recordCount;
    state.delivered += recordCount;
    state.bytes += recordCount * bytesEach;
  }
}

/** A node of two brokers that has done nothing yet. */
export function emptySnapshot(): DashboardSnapshot {
  return {
    at: Date.now(),
    topic: "lines",
    published: 0,
    ordered: 0,
    durable: 0,
    delivered: 0,
    bytes: 0,
    lost: 0,
    duplicates: 0,
    outOfOrder: 0,
    publishToDeliverMicros: { p50: null, p99: null, p999: null },
    ackDurableMicros: { p50: null, p99: null },
    brokers: [0, 1].map((index) => ({
      index,
      pid: 4_100 + index,
      alive: true,
      durableRecords: 0,
      logBytes: 0,
      restarts: 0,
    })),
    sequencer: { pid: 4_099, alive: true },
    subscribers: [{ topic: "lines", pid: 4_200, position: 0, lag: 0, label: "checker" }],
    publishers: [],
    topics: [{ name: "lines", records: 0, durableRecords: 0, logged: true }],
  };
}

/** A record of the list of newest ones. */
export function record(totalOrder: number, text: string, over: Partial<NewestRecord> = {}) {
  const bytes = new TextEncoder().encode(text).length;
  return { totalOrder, topic: "lines", session: "17", sequence: totalOrder, text, bytes, ...over };
}

/** A node with more, longer and larger of everything than anybody will have. */
export function crowded(node: FakeNode): void {
  const { state } = node;
  const name = "averylongname".repeat(23).slice(0, 300);
  const huge = 2 ** 53 - 1;
  Object.assign(state, {
    topic: name,
    published: huge,
    ordered: huge - 1e9,
    durable: 0,
    bytes: huge,
  });
  state.lost = state.duplicates = state.outOfOrder = huge;
  state.publishToDeliverMicros = { p50: 999_400, p99: 123_456_789, p999: huge };
  state.ackDurableMicros = { p50: 999_999_999, p99: huge };
  const broker = { ...state.brokers[0], durableRecords: huge, logBytes: huge, restarts: huge };
  state.brokers = Array.from({ length: 64 }, (_, index) => ({
    ...broker,
    index,
    pid: 4_194_304,
    alive: index % 2 === 0,
  }));
  const fill = <T>(value: T) => Array.from({ length: 40 }, () => value);
  const pid = 4_194_304;
  state.subscribers = fill({ topic: name, pid, position: huge, lag: huge });
  state.publishers = fill({ topic: name, pid, session: `${huge}`, published: huge, durable: 1 });
  state.topics = fill({ name, records: huge, durableRecords: huge, logged: true });
  node.records = fill(record(huge, name.repeat(9), { topic: name, session: name, bytes: huge }));
}
