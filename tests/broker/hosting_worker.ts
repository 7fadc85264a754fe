/** Opens everything there is to open, says so, and never closes it. */
import { openBroker } from "../../lib/broker/broker.ts";

self.onmessage = async ({ data: folder }: MessageEvent) => {
  const broker = openBroker(folder);
  broker.hostBroker(0);
  const publisher = broker.publisher("shared", { ack: "durable" });
  await publisher.publish(new Uint8Array(10));
  const subscriber = broker.subscribe("shared", { from: "end" });
  self.postMessage(publisher.next);
  await subscriber.waitForData();
};
