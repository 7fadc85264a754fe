/**
 * Publishing onto the disk log, sustained.
 *
 * @module
 */
import { openBroker, type Publisher, RecordBatch } from "../../lib/broker/broker.ts";
import { DEVICE_STREAM, freeBytes, refuseMemory, requireFree } from "../frame/device.ts";
import type { BenchContext, RowDefinition, Session } from "../frame/row.ts";
import { seededRecords } from "../frame/statistics.ts";
import { ChildProcess } from "../frame/child_process.ts";

const TOPIC = "bench";
const BROKERS = 4;
const BATCH_RECORDS = 256;
const RECORD_BYTES = 1024;
const LANE_BYTES = 32 << 20;
const SECONDS = { smoke: 1, full: 60 };
/** Free space that the row asks for before it begins, and what it leaves when it ends early. */
const WANTED_GIB = 30;
const LEFT_BYTES = 12 * 2 ** 30;

interface Progress {
  batches: number;
  seconds: number;
}

/** Publishes until the time is over or the disk is nearly full. */
async function publishFor(
  publisher: Publisher,
  folder: string,
  records: readonly Uint8Array[],
  seconds: number,
): Promise<Progress> {
  const started = performance.now();
  const elapsed = () => (performance.now() - started) / 1000;
  const batch = new RecordBatch(BATCH_RECORDS * (RECORD_BYTES + 8));
  let batches = 0;
  while (elapsed() < seconds) {
    if (batches % 1024 === 0 && freeBytes(folder) < LEFT_BYTES) break;
    batch.clear();
    for (const record of records) batch.add(record);
    while (!publisher.offerBatch(batch)) await publisher.waitForSpace(batch.bytes);
    batches++;
  }
  await publisher.waitFor("durable");
  return { batches, seconds: elapsed() };
}

async function open(context: BenchContext): Promise<Session> {
  refuseMemory(context.folder);
  requireFree(context, WANTED_GIB);
  const records = seededRecords(context.seed, BATCH_RECORDS, RECORD_BYTES);
  const folder = `${context.folder}/node`;
  const node = openBroker(folder, { brokerCount: BROKERS });
  node.topic(TOPIC, { laneBytes: LANE_BYTES, prefault: true });
  const hosts = Array.from(
    { length: BROKERS },
    (_, index) =>
      new ChildProcess(new URL("./host_process.ts", import.meta.url), [folder, String(index)]),
  );
  for (const host of hosts) await host.line();
  const publisher = node.publisher(TOPIC, { ack: "durable" });
  return {
    async round() {
      const before = node.topicInfo(TOPIC).durableRecords;
      const seconds = context.size(SECONDS);
      const run = await publishFor(publisher, context.folder, records, seconds);
      const durable = node.topicInfo(TOPIC).durableRecords - before;
      const wanted = run.batches * BATCH_RECORDS;
      return {
        value: durable * RECORD_BYTES / run.seconds / 1e9,
        records: durable,
        durability: "durable",
        digest: durable === wanted ? "all durable" : `${durable} of ${wanted} are durable`,
        also: { seconds: run.seconds, GB: durable * RECORD_BYTES / 1e9 },
      };
    },
    async close() {
      publisher.close();
      for (const host of hosts) await host.end();
      node.retire();
      node.close();
    },
  };
}

export const DISK_ROWS: RowDefinition[] = [{
  group: "broker",
  name: "publish 1 KiB onto the disk log, sustained",
  unit: "GB/s",
  better: "higher",
  note:
    `payload bytes acknowledged durable, 60 s in one piece, the device before and after; it ends early, and says so, when ` +
    `less than ${LEFT_BYTES / 2 ** 30} GiB are left on the disk`,
  rounds: { smoke: 1, full: 1 },
  rehearse: false,
  bracket: true,
  limitSeconds: 600,
  floors: [{ kind: "relative", to: DEVICE_STREAM.name, factor: 0.4 }],
  own: {
    note:
      `${BATCH_RECORDS} records a batch, ${BROKERS} brokers in ${BROKERS} processes, lanes of ` +
      `${LANE_BYTES >> 20} MiB, prefaulted, fresh segments; filling the batches is in the figure`,
    open,
  },
  others: [DEVICE_STREAM],
}];
