/**
 * Messages to and from a Worker by `postMessage`.
 *
 * @module
 */
import type { BenchContext, Contender, Session } from "../frame/row.ts";
import {
  echoAwaiting,
  echoWork,
  FLOW_BYTES,
  type FlowAnswer,
  flowRecords,
  flowSample,
  mark,
} from "../lockfree/message_work.ts";

const WEAKER = "never leaves the process";

/** Messages on their way at once: without a bound the queue would eat all memory. */
const IN_FLIGHT_MAX = 1024;

async function startWorker(): Promise<Worker> {
  const url = new URL("./post_message_worker_side.ts", import.meta.url);
  const worker = new Worker(url, { type: "module" });
  await new Promise((resolve, reject) => {
    worker.onmessage = resolve;
    worker.onerror = (event) => reject(new Error(event.message));
  });
  return worker;
}

async function openEcho(
  context: BenchContext,
  bytes: number,
  gapMs: number,
  transfer: boolean,
): Promise<Session> {
  const worker = await startWorker();
  let answered: (data: Uint8Array) => void = () => {};
  worker.onmessage = ({ data }) => answered(transfer ? new Uint8Array(data) : data);
  const trip = (payload: Uint8Array<ArrayBuffer>) =>
    new Promise<Uint8Array>((resolve) => {
      answered = resolve;
      if (transfer) worker.postMessage(payload.buffer, [payload.buffer]);
      else worker.postMessage(payload);
    });
  return {
    round: () => echoAwaiting(echoWork(context, bytes, gapMs), trip),
    close: () => worker.terminate(),
  };
}

/** A payload there and back, cloned both ways. */
export function postMessageEcho(bytes: number, gapMs = 0): Contender {
  return {
    name: "postMessage",
    kind: "peer",
    weaker: WEAKER,
    open: (context) => openEcho(context, bytes, gapMs, false),
  };
}

/** A payload there and back without a copy. */
export function postMessageTransferEcho(bytes: number, gapMs = 0): Contender {
  return {
    name: "postMessage, transferred",
    kind: "peer",
    weaker: WEAKER,
    open: (context) => openEcho(context, bytes, gapMs, true),
  };
}

async function openFlow(context: BenchContext, batch: number): Promise<Session> {
  const worker = await startWorker();
  const records = flowRecords(context);
  let inFlight = 0;
  let wake: () => void = () => {};
  let finished: (answer: FlowAnswer) => void = () => {};
  worker.onmessage = ({ data }) => {
    if (typeof data !== "number") return finished(data);
    inFlight -= data;
    wake();
  };
  const message = new Uint8Array(batch * FLOW_BYTES).fill(7);
  const parts = Array.from(
    { length: batch },
    (_, at) => message.subarray(at * FLOW_BYTES, (at + 1) * FLOW_BYTES),
  );
  return {
    async round() {
      const done = new Promise<FlowAnswer>((resolve) => finished = resolve);
      worker.postMessage({ records, recordBytes: FLOW_BYTES });
      const started = performance.now();
      for (let sent = 0; sent < records; sent += batch) {
        for (let at = 0; at < batch; at++) mark(parts[at], sent + at);
        while (inFlight >= IN_FLIGHT_MAX) await new Promise<void>((resolve) => wake = resolve);
        inFlight++;
        worker.postMessage(message);
      }
      const { digest } = await done;
      return flowSample(records, (performance.now() - started) / 1000, digest);
    },
    close: () => worker.terminate(),
  };
}

/** One way, `batch` records a message. */
export function postMessageFlow(batch: number): Contender {
  return {
    name: batch === 1 ? "postMessage" : `postMessage of ${batch} at a time`,
    kind: "peer",
    weaker: WEAKER,
    note: `at most ${IN_FLIGHT_MAX} messages on their way`,
    open: (context) => openFlow(context, batch),
  };
}
