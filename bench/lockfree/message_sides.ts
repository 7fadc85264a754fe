/**
 * The message rings as sides of rows.
 *
 * @module
 */
import { ChildProcess } from "../frame/child_process.ts";
import type { BenchContext, Contender, Session } from "../frame/row.ts";
import { MessageRings } from "./message_rings.ts";
import {
  echoAwaiting,
  echoBlocking,
  echoWork,
  FLOW_BATCH,
  FLOW_BYTES,
  flowRecords,
  flowSample,
  mark,
} from "./message_work.ts";

/** Whoever is at the other end. */
interface Other {
  /** Begins to answer every record. */
  answer(): Promise<void>;
  /** Resolves when it no longer answers. */
  answered(): Promise<void>;
  /** The digest of the next records. */
  flow(records: number, many: boolean): Promise<string>;
  end(): void | Promise<void>;
}

/** Where the other end is. */
export type Place = "worker" | "process";

/** A Worker of this process. */
async function startWorker(name: string): Promise<Other> {
  const url = new URL("./message_rings_worker.ts", import.meta.url);
  const worker = new Worker(url, { type: "module" });
  let failed: (error: Error) => void;
  const said = (order: unknown) =>
    new Promise<string>((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      failed = reject;
      worker.postMessage(order);
    });
  worker.onerror = (event) => failed(new Error(event.message));
  await said({ name });
  let answering: Promise<string> | undefined;
  return {
    answer() {
      answering = said({ answer: true });
      return Promise.resolve();
    },
    answered: async () => void await answering,
    flow: (records, many) => said({ records, many }),
    end: () => worker.terminate(),
  };
}

/** A process of its own. */
async function startProcess(name: string): Promise<Other> {
  const program = new URL("./message_rings_process.ts", import.meta.url);
  const child = new ChildProcess(program, [name]);
  await child.line();
  return {
    answer: () => child.say("answer"),
    answered: async () => void await child.line(),
    async flow(records, many) {
      await child.say(`${many ? "many" : "flow"} ${records}`);
      return await child.line();
    },
    end: () => child.end(),
  };
}

async function open(place: Place): Promise<{ rings: MessageRings; other: Other }> {
  const name = `bench-${crypto.randomUUID()}`;
  const rings = MessageRings.create(name);
  return { rings, other: await (place === "worker" ? startWorker : startProcess)(name) };
}

async function openEcho(
  context: BenchContext,
  { place, bytes, gapMs = 0, awaits = false }: EchoSide,
): Promise<Session> {
  const { rings, other } = await open(place);
  const work = echoWork(context, bytes, gapMs);
  return {
    async round() {
      await other.answer();
      const sample = awaits
        ? await echoAwaiting(work, (payload) => rings.tripAwaiting(payload))
        : await echoBlocking(work, (payload, use) => rings.trip(payload, use));
      rings.send(new Uint8Array(0));
      await other.answered();
      return sample;
    },
    async close() {
      await other.end();
      rings.close();
    },
  };
}

/** A round trip. */
export interface EchoSide {
  place: Place;
  bytes: number;
  gapMs?: number;
  /** Whether our thread awaits the answer on its event loop instead of blocking. */
  awaits?: boolean;
}

/** A payload there and back. */
export function ringEcho(side: EchoSide): Pick<Contender, "open"> {
  return { open: (context) => openEcho(context, side) };
}

async function openFlow(context: BenchContext, place: Place, many: boolean): Promise<Session> {
  const { rings, other } = await open(place);
  const records = flowRecords(context);
  const batch = Array.from({ length: FLOW_BATCH }, () => new Uint8Array(FLOW_BYTES).fill(7));
  return {
    async round() {
      const digest = other.flow(records, many);
      const started = performance.now();
      for (let sent = 0; sent < records; sent += FLOW_BATCH) {
        for (let at = 0; at < FLOW_BATCH; at++) mark(batch[at], sent + at);
        if (many) rings.sendMany(batch);
        else rings.sendAll(batch);
      }
      const found = await digest;
      return flowSample(records, (performance.now() - started) / 1000, found);
    },
    async close() {
      await other.end();
      rings.close();
    },
  };
}

/** One way: each record a call at both ends, or as many a call as there are. */
export function ringFlow(place: Place, many = false): Pick<Contender, "open"> {
  return { open: (context) => openFlow(context, place, many) };
}
