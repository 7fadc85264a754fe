/**
 * Publishing 1 KiB records in batches over four brokers into an unlogged topic.
 *
 * @module
 */
import { type Broker, openBroker, type Publisher, RecordBatch } from "../../lib/broker/broker.ts";
import type { BenchContext, Contender, RowDefinition, Session } from "../frame/row.ts";
import { seededRecords } from "../frame/statistics.ts";
import { natsJetStream } from "../peers/nats_jetstream.ts";
import { postMessageCopied, postMessageTransferred } from "../peers/post_message.ts";
import { redisStreams } from "../peers/redis_streams.ts";
import { Answers } from "./answers.ts";
import {
  BATCH_RECORDS,
  expectedDigest,
  publishRecords,
  rate,
  RECORD_BYTES,
  RECORD_KINDS,
} from "./publish_work.ts";

const BROKERS = 4;
const LANE_BYTES = 1 << 20;
const TOPIC = "bench";

/** Publishes `count` records; resolves when all of them have their place in the order. */
async function publishAll(
  publisher: Publisher,
  batch: RecordBatch,
  records: readonly Uint8Array[],
  count: number,
): Promise<void> {
  for (let sent = 0; sent < count; sent += BATCH_RECORDS) {
    batch.clear();
    for (let at = 0; at < BATCH_RECORDS; at++) batch.add(records[(sent + at) % RECORD_KINDS]);
    while (!publisher.offerBatch(batch)) await publisher.waitForSpace(batch.bytes);
  }
  if (publisher.progress().ordered < publisher.next) await publisher.waitFor("ordered");
}

function openNode(context: BenchContext) {
  const node = openBroker(`${context.folder}/node`, { brokerCount: BROKERS });
  node.topic(TOPIC, { logged: false, laneBytes: LANE_BYTES, prefault: true });
  return node;
}

/** An unlogged topic outlives its processes: its memory is given back by name. */
function letGo(node: Broker, publisher: Publisher): void {
  publisher.close();
  node.retire();
  node.close();
}

function publishAlone(context: BenchContext): Session {
  const node = openNode(context);
  const publisher = node.publisher(TOPIC);
  const records = seededRecords(context.seed, RECORD_KINDS, RECORD_BYTES);
  const batch = new RecordBatch(BATCH_RECORDS * (RECORD_BYTES + 8));
  const count = publishRecords(context);
  const digest = expectedDigest(records, count);
  return {
    async round() {
      const before = node.topicInfo(TOPIC).records;
      const started = performance.now();
      await publishAll(publisher, batch, records, count);
      const seconds = (performance.now() - started) / 1000;
      return rate(node.topicInfo(TOPIC).records - before, seconds, digest);
    },
    close: () => letGo(node, publisher),
  };
}

async function publishToSubscriber(context: BenchContext): Promise<Session> {
  const node = openNode(context);
  const publisher = node.publisher(TOPIC);
  const records = seededRecords(context.seed, RECORD_KINDS, RECORD_BYTES);
  const batch = new RecordBatch(BATCH_RECORDS * (RECORD_BYTES + 8));
  const count = publishRecords(context);
  const url = new URL("./subscriber_worker.ts", import.meta.url);
  const worker = new Worker(url, { type: "module" });
  const answers = new Answers(worker);
  worker.postMessage({ folder: `${context.folder}/node`, topic: TOPIC });
  await answers.next();
  return {
    async round() {
      worker.postMessage({ count });
      await answers.next();
      const started = performance.now();
      await publishAll(publisher, batch, records, count);
      const got = await answers.next() as { records: number; digest: string };
      const seconds = (performance.now() - started) / 1000;
      return rate(got.records, seconds, got.digest);
    },
    async close() {
      worker.postMessage("close");
      await answers.next();
      worker.terminate();
      letGo(node, publisher);
    },
  };
}

const SETTINGS = `${BATCH_RECORDS} records a batch, ${BROKERS} brokers, lanes of ` +
  `${LANE_BYTES >> 20} MiB, unlogged, prefaulted; filling the batch is in the figure`;

const both: Contender[] = [natsJetStream("publish"), redisStreams("publish")];

export const PUBLISH_ROWS: RowDefinition[] = [{
  group: "broker",
  name: "publish 1 KiB unlogged ordered",
  unit: "M records/s",
  better: "higher",
  note: "one publisher, nobody subscribed; 3 M records/s are 3.07 GB/s",
  limitSeconds: 900,
  floors: [{ kind: "absolute", value: 3 }],
  own: { note: SETTINGS, open: publishAlone },
  others: both,
}, {
  group: "broker",
  name: "publish 1 KiB unlogged ordered, delivered to a Worker",
  unit: "M records/s",
  better: "higher",
  note: "one publisher; one subscriber in a Worker takes and digests every record and holds the " +
    "publisher back where it lags; the clock stops when it has the last one",
  limitSeconds: 900,
  own: { note: SETTINGS, open: publishToSubscriber },
  others: [
    postMessageCopied,
    postMessageTransferred,
    natsJetStream("deliver"),
    redisStreams("deliver"),
  ],
}];
