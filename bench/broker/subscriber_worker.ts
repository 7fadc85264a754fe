/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
/**
 * A subscriber in a Worker: takes as many records as it is told, digests them, and answers.
 *
 * @module
 */
import { type Broker, openBroker, type Subscriber } from "../../lib/broker/broker.ts";
import { RecordDigest } from "../frame/statistics.ts";

let node: Broker;
let subscriber: Subscriber;

async function take(count: number): Promise<void> {
  const digest = new RecordDigest();
  while (digest.records < count) {
    const messages = subscriber.poll();
    for (const { bytes } of messages) digest.add(bytes);
    if (messages.length === 0) await subscriber.waitForData();
  }
  self.postMessage({ records: digest.records, digest: digest.toString() });
}

self.onmessage = async ({ data }: MessageEvent) => {
  if (data === "close") {
    node.close();
  } else if ("count" in data) {
    self.postMessage("ready");
    await take(data.count);
    return;
  } else {
    node = openBroker(data.folder);
    subscriber = node.subscribe(data.topic, { from: "end" });
    await subscriber.poll();
  }
  self.postMessage("done");
};
