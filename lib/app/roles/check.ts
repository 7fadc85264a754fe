/**
 * The process that checks a run: it gets the acknowledgements through the pipe and the records through
 * the public subscriber, as a stranger would.
 *
 * @module
 */
import { type Message, openBroker, type Subscriber } from "../../broker/broker.ts";
import { monotonicMicros } from "../../base/clock.ts";
import { Checker, type Findings } from "../checker.ts";
import { contentHash } from "../content_hash.ts";
import { EXIT } from "../failure.ts";
import {
  type CheckNote,
  decodeHashes,
  decodeNumbers,
  decodeProgress,
  encodeJson,
  FRAME,
  type Frame,
} from "../frames.ts";
import { Latency } from "../latency.ts";
import { brokerFolder } from "../node_file.ts";
import { ParentLink, turn } from "../parent_link.ts";

/** What `run` asks of this process. */
export interface CheckTask {
  data: string;
  topic: string;
  /** Total order from which to read: at or below the first record of every session to check. */
  from: number;
  /** Sessions whose records may lie there already, and from which of them on they are to be checked. */
  sessions: { session: number; first: number; acknowledged: number }[];
}

const POLL_RECORDS = 4096;
/** How long to work without letting the pipe have its turn. */
const TURN_MS = 4;
const STATISTICS_MS = 250;
/** With something missing at the end, how long without any delivery until it counts as lost. */
const PATIENCE_MS = 5000;

/** Checks until `run` says that nothing more will come; then says the verdict and ends. */
export async function check(task: CheckTask): Promise<never> {
  const checker = new Checker(task.from);
  for (const { session, first, acknowledged } of task.sessions) {
    checker.know(session, first, acknowledged);
  }
  const reading: Reading = { finishingSince: undefined, wake: () => {} };
  const link = new ParentLink((frame) => {
    if (frame.kind === FRAME.finish) reading.finishingSince = performance.now();
    else hear(checker, link, frame);
    reading.wake();
  });
  using broker = openBroker(brokerFolder(task.data));
  using subscriber = broker.subscribe(task.topic, { from: task.from, follow: true });
  const latency = new Latency();
  const note = (findings: Findings) =>
    encodeJson(
      {
        ...findings,
        judged: checker.judged(),
        publishToDeliverMicros: shares(latency),
      } satisfies CheckNote,
    );
  link.send(FRAME.ready);
  const statistics = new Throttle(
    STATISTICS_MS,
    () => link.send(FRAME.statistics, note(checker.soFar())),
  );
  await readAll(subscriber, checker, latency, reading, link, () => statistics.request());
  link.send(FRAME.verdict, note(checker.verdict()));
  return await link.exit(EXIT.ok);
}

/** What the pipe may change while records are read. */
interface Reading {
  /** Since when nothing more will be acknowledged. */
  finishingSince: number | undefined;
  /** Looks again. */
  wake: () => void;
}

/** Reads until everything acknowledged was delivered, or surely will not be. */
async function readAll(
  subscriber: Subscriber,
  checker: Checker,
  latency: Latency,
  reading: Reading,
  link: ParentLink,
  changed: () => void,
): Promise<void> {
  const startedAt = monotonicMicros();
  let listening = false;
  let newestAt = performance.now();
  let turnAt = newestAt + TURN_MS;
  for (;;) {
    const messages = subscriber.poll(POLL_RECORDS);
    if (messages.length > 0) {
      take(messages, checker, latency, startedAt);
      newestAt = performance.now();
      changed();
      if (newestAt < turnAt) continue;
      await turn();
      turnAt = performance.now() + TURN_MS;
      continue;
    }
    const { finishingSince } = reading;
    if (finishingSince !== undefined) {
      const silentMs = performance.now() - Math.max(newestAt, finishingSince);
      if (checker.caughtUp || silentMs > PATIENCE_MS) return;
    }
    const woken = new Promise<void>((resolve) => reading.wake = resolve);
    if (!listening) {
      listening = true;
      subscriber.waitForData().then(() => {
        listening = false;
        reading.wake();
      }, (error) => link.fail(error));
    }
    const timer = finishingSince === undefined
      ? undefined
      : setTimeout(() => reading.wake(), STATISTICS_MS);
    await woken;
    clearTimeout(timer);
    changed();
  }
}

function hear(checker: Checker, link: ParentLink, { kind, payload }: Frame): void {
  if (kind === FRAME.know) {
    const [session, first] = decodeNumbers(payload);
    checker.know(session, first);
    link.send(FRAME.known, payload.slice());
  } else if (kind === FRAME.hashes) {
    const { session, first, hashes } = decodeHashes(payload);
    checker.expect(session, first, hashes);
  } else if (kind === FRAME.progress) {
    const { session, acknowledged } = decodeProgress(payload);
    checker.acknowledge(session, acknowledged);
  }
}

function take(messages: Message[], checker: Checker, latency: Latency, startedAt: number): void {
  const now = monotonicMicros();
  for (const { session, sequence, totalOrder, bytes, publishedAtMicros } of messages) {
    checker.deliver({ session, sequence, totalOrder, hash: contentHash(bytes) });
    // What an earlier run published, perhaps before a reboot, says nothing about delivery now.
    if (publishedAtMicros >= startedAt) latency.record(now - publishedAtMicros);
  }
}

function shares(latency: Latency): CheckNote["publishToDeliverMicros"] {
  return {
    p50: latency.percentile(0.5),
    p99: latency.percentile(0.99),
    p999: latency.percentile(0.999),
  };
}

/** Does something some time after it was asked for, but not again before that. Idle, it is idle. */
class Throttle {
  #timer: ReturnType<typeof setTimeout> | undefined;
  constructor(private readonly intervalMs: number, private readonly act: () => void) {}

  request(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.act();
    }, this.intervalMs);
  }
}
