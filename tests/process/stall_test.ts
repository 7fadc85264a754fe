/** How long the death of one process holds up the others. */
import { assert } from "@std/assert";
import { openBroker } from "../../lib/broker/broker.ts";
import { waitFor } from "../../lib/exec/completion.ts";
import { KeelsonProcess, killPid, nodeOf, pause, TestFolder } from "./keelson_process.ts";

await waitFor(() => 1); // the doorbell stays for the life of the isolate

/** Longest time between two durable acknowledgements while `during` goes on. */
async function longestStallMs(folder: string, during: () => Promise<void>): Promise<number> {
  using broker = openBroker(folder);
  broker.topic("stall");
  using publisher = broker.publisher("stall", { ack: "durable" });
  const record = new Uint8Array(100);
  let longest = 0, over = false;
  const work = during().finally(() => over = true);
  await publisher.publish(record);
  let last = performance.now();
  while (!over) {
    await publisher.publish(record);
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
  }
  await work;
  return longest;
}

Deno.test("A killed broker, sequencer or subscriber stops a publisher for less than a second", async () => {
  using folder = new TestFolder();
  const data = `${folder.path}/data`;
  await using run = new KeelsonProcess(["run", "--data", data, "--rate", "50", "--no-dashboard"]);
  await nodeOf(data, (it) => it.pid === run.pid && it.children.length >= 7);
  for (const name of ["broker 0", "broker 3", "sequencer", "checker"]) {
    const stall = await longestStallMs(`${data}/broker`, async () => {
      await pause(300);
      const node = await nodeOf(data, (it) => it.children.some((child) => child.name === name));
      killPid(node.children.find((child) => child.name === name)!.pid);
      await pause(1500);
    });
    assert(stall < 1000, `${name} dead: nothing was durable for ${stall.toFixed(0)} ms`);
    console.log(`${name} dead: longest stall ${stall.toFixed(0)} ms`);
  }
  run.kill("SIGTERM");
});
