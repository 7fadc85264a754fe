/**
 * One record, awaited until no power cut can take it back.
 *
 * @module
 */
import { openBroker } from "../../lib/broker/broker.ts";
import { deviceSync } from "../frame/device.ts";
import type { BenchContext, RowDefinition, Session } from "../frame/row.ts";
import { denoKv } from "../peers/deno_kv.ts";
import { nodeSqlite } from "../peers/node_sqlite.ts";
import { awaitEach, RECORD_BYTES } from "./durable_work.ts";
import { ChildProcess } from "../frame/child_process.ts";

const TOPIC = "bench";

async function open(context: BenchContext): Promise<Session> {
  const folder = `${context.folder}/node`;
  const node = openBroker(folder, { brokerCount: 1 });
  node.topic(TOPIC);
  const host = new ChildProcess(new URL("./host_process.ts", import.meta.url), [folder, "0"]);
  await host.line();
  const publisher = node.publisher(TOPIC, { ack: "durable" });
  return {
    async round() {
      const sample = await awaitEach(context, (record) => publisher.publish(record));
      const { records, durableRecords } = node.topicInfo(TOPIC);
      return records === durableRecords ? sample : { ...sample, digest: "not all is durable" };
    },
    async close() {
      publisher.close();
      await host.end();
      node.retire();
      node.close();
    },
  };
}

export const DURABLE_ROWS: RowDefinition[] = [{
  group: "broker",
  name: "durable, one awaited record",
  unit: "us p50",
  better: "lower",
  note: `records of ${RECORD_BYTES} B, the next one when the one before is durable`,
  flags: ["--unstable-kv"],
  floors: [{ kind: "relative", to: "device synchronous write", factor: 1, plus: 100 }],
  own: { note: "the broker is hosted by another process", open },
  others: [deviceSync(), denoKv, nodeSqlite],
}];
