/**
 * Messages to and from a Worker on a SharedArrayBuffer with Atomics.
 *
 * @module
 */
import type { BenchContext, Contender, Session } from "../frame/row.ts";
import {
  echoBlocking,
  echoWork,
  FLOW_BATCH,
  FLOW_BYTES,
  type FlowAnswer,
  flowRecords,
  flowSample,
  mark,
  SPIN_MICROS,
} from "../lockfree/message_work.ts";
import { SabRing, SabSlots } from "./sab_channel.ts";

const WEAKER = "never leaves the process; a dead side leaves the other waiting";

async function startWorker(order: unknown): Promise<Worker> {
  const worker = new Worker(new URL("./sab_worker.ts", import.meta.url), { type: "module" });
  const ready = new Promise((resolve, reject) => {
    worker.onmessage = resolve;
    worker.onerror = (event) => reject(new Error(event.message));
  });
  worker.postMessage(order);
  await ready;
  return worker;
}

async function openEcho(context: BenchContext, bytes: number, gapMs: number): Promise<Session> {
  const slots = SabSlots.make(bytes);
  const worker = await startWorker({ buffer: slots.buffer, bytes });
  return {
    round: () =>
      echoBlocking(echoWork(context, bytes, gapMs), (payload, use) => slots.trip(payload, use)),
    close: () => worker.terminate(),
  };
}

/** A payload there and back. */
export function sabEcho(bytes: number, gapMs = 0): Contender {
  return {
    name: "SharedArrayBuffer + Atomics",
    kind: "peer",
    weaker: WEAKER,
    note: `a slot each way; both sides spin up to ${SPIN_MICROS} us, then Atomics.wait`,
    open: (context) => openEcho(context, bytes, gapMs),
  };
}

async function openFlow(context: BenchContext): Promise<Session> {
  const ring = SabRing.make(FLOW_BYTES);
  const worker = await startWorker({ buffer: ring.buffer, recordBytes: FLOW_BYTES });
  const records = flowRecords(context);
  const batch = new Uint8Array(FLOW_BATCH * FLOW_BYTES).fill(7);
  const parts = Array.from(
    { length: FLOW_BATCH },
    (_, at) => batch.subarray(at * FLOW_BYTES, (at + 1) * FLOW_BYTES),
  );
  return {
    async round() {
      const done = new Promise<FlowAnswer>((resolve) =>
        worker.onmessage = ({ data }) => resolve(data)
      );
      worker.postMessage({ records });
      const started = performance.now();
      for (let sent = 0; sent < records; sent += FLOW_BATCH) {
        for (let at = 0; at < FLOW_BATCH; at++) mark(parts[at], sent + at);
        ring.pushMany(batch);
      }
      const { digest } = await done;
      return flowSample(records, (performance.now() - started) / 1000, digest);
    },
    close: () => worker.terminate(),
  };
}

/** One way, the records of a batch published together. */
export const sabFlow: Contender = {
  name: "SharedArrayBuffer + Atomics",
  kind: "peer",
  weaker: WEAKER,
  note: `a ring of ${FLOW_BYTES} B records, ${FLOW_BATCH} published at a time`,
  open: openFlow,
};
