import { assertEquals } from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { openBroker } from "../../lib/broker/broker.ts";
import { waitFor } from "../../lib/exec/completion.ts";

preload();
await waitFor(() => 1);

const WORKERS = 3;
const RECORDS = 2000;

/** A worker that publishes its records and says when they are durable. */
function publishInWorker(folder: string, name: number): { done: Promise<void>; worker: Worker } {
  const worker = new Worker(new URL("./publishing_worker.ts", import.meta.url), { type: "module" });
  const done = new Promise<void>((resolve, reject) => {
    worker.onmessage = ({ data }) => data === "done" ? resolve() : reject(new Error(data));
    worker.onerror = (event) => reject(new Error(event.message));
  });
  worker.postMessage({ folder, name, records: RECORDS });
  return { done, worker };
}

Deno.test("Workers publish into one topic and all read one order", async () => {
  const folder = Deno.makeTempDirSync({ prefix: "keelson-broker-" });
  {
    using broker = openBroker(folder, { brokerCount: 2 });
    broker.topic("shared", { laneBytes: 1 << 18 });
    broker.hostBroker(0);
    broker.hostBroker(1);
    const workers = Array.from({ length: WORKERS }, (_, name) => publishInWorker(folder, name));
    using subscriber = broker.subscribe("shared");
    const next = new Map<string, number>();
    let count = 0;
    for await (const message of subscriber) {
      assertEquals(message.totalOrder, count++);
      const [name, number] = new TextDecoder().decode(message.bytes).split(" ");
      assertEquals(Number(number), next.get(name) ?? 0);
      assertEquals(message.sequence, Number(number));
      next.set(name, Number(number) + 1);
      if (count === WORKERS * RECORDS) break;
    }
    await Promise.all(workers.map((it) => it.done));
    for (const { worker } of workers) worker.terminate();
    assertEquals([...next.values()], Array(WORKERS).fill(RECORDS));
    assertEquals(broker.topicInfo("shared").durableRecords, WORKERS * RECORDS);
  }
  Deno.removeSync(folder, { recursive: true });
});

Deno.test("A terminated Worker gives back its place, its publisher and its role", async () => {
  const folder = Deno.makeTempDirSync({ prefix: "keelson-broker-" });
  {
    using broker = openBroker(folder, { brokerCount: 1 });
    broker.topic("shared", { laneBytes: 1 << 16 });
    for (let round = 0; round < 3; round++) {
      const worker = new Worker(new URL("./hosting_worker.ts", import.meta.url), {
        type: "module",
      });
      await new Promise((resolve) => {
        worker.onmessage = resolve;
        worker.postMessage(folder);
      });
      assertEquals(broker.stat().brokers[0].alive, true);
      assertEquals(broker.stat().subscribers.length, 1);
      worker.terminate();
      const startedAt = performance.now();
      while (broker.stat().subscribers.length > 0 && performance.now() - startedAt < 10_000) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      assertEquals(broker.stat().subscribers.length, 0);
    }
    using role = broker.hostBroker(0); // the log is free again
    assertEquals(role.failed, undefined);
  }
  Deno.removeSync(folder, { recursive: true });
});
