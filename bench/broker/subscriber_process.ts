/**
 * A subscriber in a process of its own: `subscriber_process.ts FOLDER TOPIC`. Each line of its input
 * says how many records to take; it answers with the time each was under way.
 *
 * @module
 */
import { monotonicMicros } from "../../lib/base/clock.ts";
import { openBroker, type Subscriber } from "../../lib/broker/broker.ts";
import { inputLines } from "../frame/child_process.ts";

async function take(subscriber: Subscriber, count: number): Promise<number[]> {
  const micros: number[] = [];
  while (micros.length < count) {
    await subscriber.waitForData();
    const messages = subscriber.poll();
    const now = monotonicMicros();
    for (const { bytes } of messages) {
      const [number, sentAt] = new Float64Array(bytes.slice().buffer);
      if (number !== micros.length) throw new Error(`record ${number}, not ${micros.length}`);
      micros.push(now - sentAt);
    }
  }
  return micros;
}

if (import.meta.main) {
  const [folder, topic] = Deno.args;
  using node = openBroker(folder);
  using subscriber = node.subscribe(topic, { from: "end" });
  subscriber.poll();
  console.log("listening");
  for await (const line of inputLines()) {
    console.log("ready");
    console.log(JSON.stringify(await take(subscriber, Number(line))));
  }
}
