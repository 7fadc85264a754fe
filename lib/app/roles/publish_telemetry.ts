/**
 * A process that publishes samples of this host at a steady rate, as one session.
 *
 * @module
 */
import { openBroker, type Publisher } from "../../broker/broker.ts";
import { EXIT } from "../failure.ts";
import { encodeHashes, encodeJson, encodeNumbers, encodeProgress, FRAME } from "../frames.ts";
import { brokerFolder, readNode } from "../node_file.ts";
import { ParentLink } from "../parent_link.ts";
import { type AckLevel, type PumpHooks, RecordPump } from "../record_pump.ts";
import { TelemetryFeed, type TelemetrySource } from "../telemetry.ts";

/** What `run` asks of this process. */
export interface PublishTelemetryTask {
  data: string;
  topic: string;
  ack: AckLevel;
  sources: TelemetrySource[];
  /** Records per second. */
  rate: number;
  /** Whether the checker wants to know what is published. */
  checked: boolean;
  session?: number;
  /** Payload bytes published in this session before. */
  bytes: number;
}

/** Above this rate several records share a wake-up. */
const WAKEUPS_PER_SECOND_MAX = 100;
/** After a stall at most this much is made up for. */
const CATCH_UP_MS = 1000;

/** Publishes until `run` says stop. */
export async function publishTelemetry(task: PublishTelemetryTask): Promise<never> {
  let go!: () => void;
  const allowed = new Promise<void>((resolve) => go = resolve);
  const link = new ParentLink((frame) => {
    if (frame.kind === FRAME.go) go();
  });
  using broker = openBroker(brokerFolder(task.data));
  using publisher = broker.publisher(task.topic, { ack: task.ack, session: task.session });
  link.send(FRAME.session, encodeJson({ session: publisher.session, next: publisher.next }));
  await Promise.race([allowed, link.stopRequested]);
  if (link.stopping) return await link.exit(EXIT.ok);
  const pump = new RecordPump(publisher, task.ack, hooks(link, publisher, task), {
    sequence: publisher.next,
    offset: 0,
    bytes: task.bytes,
  });
  const feed = new TelemetryFeed(task.sources, () => ownPids(task.data));
  await Promise.race([
    publishAtRate(feed, pump, task.rate, link),
    pump.watch(),
    link.stopRequested,
  ]);
  pump.stop();
  const { promise: patience, resolve } = Promise.withResolvers<void>();
  setTimeout(resolve, 1000);
  await Promise.race([pump.acknowledgedWhole().catch(() => {}), patience]);
  pump.settle();
  return await link.exit(EXIT.ok);
}

async function publishAtRate(
  feed: TelemetryFeed,
  pump: RecordPump,
  rate: number,
  link: ParentLink,
): Promise<void> {
  const intervalMs = 1000 / Math.min(rate, WAKEUPS_PER_SECOND_MAX);
  let dueAt = performance.now();
  while (!link.stopping) {
    const now = performance.now();
    dueAt = Math.max(dueAt, now - CATCH_UP_MS);
    for (; dueAt <= now; dueAt += 1000 / rate) {
      const record = feed.next();
      if (!pump.push(record, false, 0)) {
        await pump.flush();
        if (!pump.push(record, false, 0)) await pump.pushAlone(record, false, 0);
      }
    }
    await pump.flush();
    await link.sleep(Math.max(dueAt - performance.now(), intervalMs / 2));
  }
}

function hooks(link: ParentLink, publisher: Publisher, task: PublishTelemetryTask): PumpHooks {
  const { session } = publisher;
  const told: PumpHooks = {
    progress: (state) =>
      link.send(
        FRAME.progress,
        encodeProgress({ session, acknowledged: state[task.ack], ...state }),
      ),
  };
  if (!task.checked) return told;
  return {
    ...told,
    hashes: (first, hashes) => link.send(FRAME.hashes, encodeHashes(session, first, hashes)),
    durable: (micros, records) => link.send(FRAME.latency, encodeNumbers(micros, records)),
  };
}

function ownPids(data: string): number[] {
  const node = readNode(data);
  return node ? [node.pid, ...node.children.map((child) => child.pid)] : [];
}
