/**
 * `postMessage` of one record to a sleeping Worker.
 *
 * @module
 */
import { delivered, deliverRecords, gap, stamp } from "../broker/deliver_work.ts";
import type { BenchContext, Contender, Session } from "../frame/row.ts";

async function open(context: BenchContext): Promise<Session> {
  const url = new URL("./post_message_delivery_worker.ts", import.meta.url);
  const worker = new Worker(url, { type: "module" });
  const answer = () =>
    new Promise<number[]>((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = (event) => reject(new Error(event.message));
    });
  await answer();
  const count = deliverRecords(context);
  const words = new Float64Array(2);
  return {
    async round() {
      const answered = answer();
      worker.postMessage(count);
      for (let number = 0; number < count; number++) {
        await gap();
        worker.postMessage(stamp(words, number));
      }
      return delivered(await answered, count);
    },
    close: () => worker.terminate(),
  };
}

export const postMessageDelivery: Contender = {
  name: "postMessage to a Worker",
  kind: "peer",
  weaker: "lost with the process; never leaves it",
  note: "the same clock, the same gaps",
  open,
};
