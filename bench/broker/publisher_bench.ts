import { openBroker, RecordBatch } from "../../lib/broker/broker.ts";
import { seededRecords } from "../frame/statistics.ts";

const folder = Deno.makeTempDirSync({ prefix: "keelson-bench-" });
const node = openBroker(folder, { brokerCount: 4 });
node.topic("bench", { logged: false, laneBytes: 1 << 20, prefault: true });
const publisher = node.publisher("bench");
const records = seededRecords(20_240_229, 64, 1024);
const full = new RecordBatch(64 * 1032);
for (const record of records) full.add(record);
const batch = new RecordBatch(64 * 1032);

Deno.bench({
  name: "fill a batch with 64 records of 1 KiB and offer it",
  group: "publish",
  baseline: true,
  fn() {
    batch.clear();
    for (const record of records) batch.add(record);
    publisher.offerBatch(batch);
  },
});
Deno.bench({
  name: "fill a batch with 64 records of 1 KiB",
  group: "publish",
  fn() {
    batch.clear();
    for (const record of records) batch.add(record);
  },
});
Deno.bench({
  name: "offer a full batch",
  group: "publish",
  fn: () => void publisher.offerBatch(full),
});
Deno.bench({
  name: "offer one record of 1 KiB",
  group: "publish",
  fn: () => void publisher.offer(records[0]),
});

globalThis.addEventListener("unload", () => {
  publisher.close();
  node.retire();
  node.close();
  Deno.removeSync(folder, { recursive: true });
});
