/**
 * From publish to a sleeping event loop in another process.
 *
 * @module
 */
import { openBroker } from "../../lib/broker/broker.ts";
import type { BenchContext, RowDefinition, Session } from "../frame/row.ts";
import { postMessageDelivery } from "../peers/post_message_delivery.ts";
import { delivered, deliverRecords, gap, GAP_MS, stamp } from "./deliver_work.ts";
import { ChildProcess } from "../frame/child_process.ts";

const TOPIC = "bench";

async function open(context: BenchContext): Promise<Session> {
  const folder = `${context.folder}/node`;
  const node = openBroker(folder, { brokerCount: 1 });
  node.topic(TOPIC, { logged: false, laneBytes: 1 << 16, prefault: true });
  const publisher = node.publisher(TOPIC);
  const child = new ChildProcess(new URL("./subscriber_process.ts", import.meta.url), [
    folder,
    TOPIC,
  ]);
  await child.line(); // it listens
  const count = deliverRecords(context);
  const words = new Float64Array(2);
  return {
    async round() {
      await child.say(String(count));
      await child.line();
      for (let number = 0; number < count; number++) {
        await gap();
        if (!publisher.offer(stamp(words, number))) throw new Error("an idle topic is full");
      }
      return delivered(JSON.parse(await child.line()), count);
    },
    async close() {
      await child.end();
      publisher.close();
      node.retire();
      node.close();
    },
  };
}

export const DELIVER_ROWS: RowDefinition[] = [{
  group: "broker",
  name: "publish to deliver",
  unit: "us p50",
  better: "lower",
  note:
    `one record of 16 B every ${GAP_MS} ms; from before the publish call until the receiver's ` +
    "TypeScript holds the record, one way, on the clock that all processes share",
  floors: [{ kind: "absolute", value: 60 }],
  own: {
    note: "one broker, unlogged topic; the subscriber is another process that awaits waitForData()",
    open,
  },
  others: [postMessageDelivery],
}];
