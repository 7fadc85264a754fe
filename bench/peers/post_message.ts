/**
 * `postMessage` of the same batches to a Worker, which digests every record.
 *
 * @module
 */
import {
  BATCH_RECORDS,
  publishRecords,
  rate,
  RECORD_BYTES,
  RECORD_KINDS,
} from "../broker/publish_work.ts";
import type { BenchContext, Contender, Session } from "../frame/row.ts";
import { seededRecords } from "../frame/statistics.ts";

/** Batches on their way at once: without a bound the queue would eat all memory. */
const IN_FLIGHT_MAX = 64;
const BATCH_BYTES = BATCH_RECORDS * RECORD_BYTES;

function post(context: BenchContext, transfer: boolean): Session {
  const url = new URL("./post_message_worker.ts", import.meta.url);
  const worker = new Worker(url, { type: "module" });
  const records = seededRecords(context.seed, RECORD_KINDS, RECORD_BYTES);
  const count = publishRecords(context);
  const spare: Uint8Array<ArrayBuffer>[] = [];
  let inFlight = 0;
  let wake: () => void = () => {};
  let finished: (got: { records: number; digest: string }) => void = () => {};
  worker.onmessage = ({ data }) => {
    if (data.digest !== undefined) return finished(data);
    inFlight -= data.taken;
    for (const buffer of data.buffers ?? []) spare.push(new Uint8Array(buffer));
    wake();
  };
  const reused = new Uint8Array(BATCH_BYTES);
  return {
    async round() {
      const done = new Promise<{ records: number; digest: string }>((resolve) =>
        finished = resolve
      );
      worker.postMessage({ count, recordBytes: RECORD_BYTES, giveBack: transfer });
      const started = performance.now();
      for (let sent = 0; sent < count; sent += BATCH_RECORDS) {
        const batch = transfer ? spare.pop() ?? new Uint8Array(BATCH_BYTES) : reused;
        for (let at = 0; at < BATCH_RECORDS; at++) {
          batch.set(records[(sent + at) % RECORD_KINDS], at * RECORD_BYTES);
        }
        while (inFlight >= IN_FLIGHT_MAX) await new Promise<void>((resolve) => wake = resolve);
        inFlight++;
        if (transfer) worker.postMessage(batch.buffer, [batch.buffer]);
        else worker.postMessage(batch);
      }
      const got = await done;
      return rate(got.records, (performance.now() - started) / 1000, got.digest);
    },
    close: () => worker.terminate(),
  };
}

const NOTE =
  `the same ${BATCH_RECORDS} records a message, at most ${IN_FLIGHT_MAX} on their way; ` +
  "one sender and one receiver only, nothing survives either of them";

export const postMessageCopied: Contender = {
  name: "postMessage, copied",
  kind: "peer",
  note: NOTE,
  weaker: "lost with the process",
  open: (context) => post(context, false),
};

export const postMessageTransferred: Contender = {
  name: "postMessage, transferred",
  kind: "peer",
  note: `${NOTE}; buffers travel back and are used again`,
  weaker: "lost with the process",
  open: (context) => post(context, true),
};
