/** Publishes `records` numbered records under its name and reports when they are durable. */
import { openBroker } from "../../lib/broker/broker.ts";

const worker = self as unknown as {
  onmessage(event: MessageEvent<{ folder: string; name: string; records: number }>): void;
  postMessage(message: string): void;
};

worker.onmessage = async ({ data: { folder, name, records } }) => {
  using broker = openBroker(folder);
  using publisher = broker.publisher("shared", { ack: "durable" });
  const encoder = new TextEncoder();
  for (let number = 0; number < records; number++) {
    const record = encoder.encode(`${name} ${number}`);
    while (!publisher.offer(record)) await publisher.waitForSpace();
  }
  await publisher.waitFor("durable", records);
  worker.postMessage("done");
};
