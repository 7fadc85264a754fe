import { assertEquals } from "@std/assert";
import { preload } from "../../../ffi/library.ts";
import { Child } from "../../../lib/app/child.ts";
import { FRAME } from "../../../lib/app/frames.ts";
import { brokerFolder } from "../../../lib/app/node_file.ts";
import { openBroker } from "../../../lib/broker/broker.ts";
import { TestFolder } from "../../process/keelson_process.ts";

preload();
await import("node:net");

Deno.test("a broker's process hosts its role, so that records become durable, and ends when told", async () => {
  using folder = new TestFolder();
  using broker = openBroker(brokerFolder(folder.path), { brokerCount: 1 });
  broker.topic("t");
  const ready = Promise.withResolvers<void>();
  const child = new Child({
    name: "broker 0",
    role: "broker",
    task: () => ({ data: folder.path, index: 0 }),
    onFrame: ({ kind }) => kind === FRAME.ready ? ready.resolve() : undefined,
    onFailure: ready.reject,
  });
  child.start();
  await ready.promise;
  const { pid, alive } = broker.stat().brokers[0];
  assertEquals([pid, alive], [child.identity!.pid, true]);
  using publisher = broker.publisher("t", { ack: "durable" });
  await publisher.publish(new Uint8Array([1]));
  assertEquals(broker.topicInfo("t").durableRecords, 1);
  await child.stop(5000);
  assertEquals(broker.stat().brokers[0].alive, false);
});
