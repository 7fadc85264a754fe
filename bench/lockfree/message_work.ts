/**
 * The work of the message rows: the same for every side.
 *
 * @module
 */
import process from "node:process";
import type { BenchContext, Sample } from "../frame/row.ts";
import { RecordDigest } from "../frame/statistics.ts";

/** Longest that a blocking side of these rows spins before it sleeps, ours and a peer's. */
export const SPIN_MICROS = 20;

/** Records that travel together in the one-way rows. */
export const FLOW_BATCH = 64;
/** Bytes of each of them. */
export const FLOW_BYTES = 64;

/** Round trips of one payload size. */
export interface EchoWork {
  bytes: number;
  trips: number;
  /** Milliseconds of sleep between two of them; 0: back to back. */
  gapMs: number;
}

/** The same as numbers for a child process. */
export function echoWork({ size }: BenchContext, bytes: number, gapMs = 0): EchoWork {
  const full = gapMs > 0 ? 300 : bytes > 10_000 ? 1000 : 3000;
  return { bytes, trips: size({ smoke: 20, full }), gapMs };
}

/** Records of a one-way round. */
export function flowRecords({ size }: BenchContext): number {
  return size({ smoke: 64, full: 2048 }) * FLOW_BATCH;
}

/** Makes a payload that of the record `number`. */
export function mark(payload: Uint8Array, number: number): Uint8Array {
  payload[0] = number;
  payload[payload.length - 1] = number >>> 8;
  return payload;
}

/** Runs the round trips of a side that blocks its thread and gives the answer to `use`. */
export async function echoBlocking(
  work: EchoWork,
  trip: (payload: Uint8Array<ArrayBuffer>, use: (answer: Uint8Array) => void) => void,
): Promise<Sample> {
  const digest = new RecordDigest();
  const use = (answer: Uint8Array) => digest.add(answer);
  const payload = new Uint8Array(work.bytes).fill(7);
  const clock = new TripClock();
  for (let number = 0; number < work.trips; number++) {
    if (work.gapMs > 0) await gap(work.gapMs);
    clock.start();
    mark(payload, number);
    trip(payload, use);
    clock.stop();
  }
  return clock.sample(work.trips, digest);
}

/** Runs the round trips of a side that lives on its event loop. */
export async function echoAwaiting(
  work: EchoWork,
  trip: (payload: Uint8Array<ArrayBuffer>) => Promise<Uint8Array>,
): Promise<Sample> {
  const digest = new RecordDigest();
  let payload = new Uint8Array(work.bytes).fill(7);
  const clock = new TripClock();
  for (let number = 0; number < work.trips; number++) {
    if (work.gapMs > 0) await gap(work.gapMs);
    clock.start();
    mark(payload, number);
    const answer = await trip(payload);
    digest.add(answer);
    clock.stop();
    if (payload.length === 0) payload = answer as Uint8Array<ArrayBuffer>; // it was transferred
  }
  return clock.sample(work.trips, digest);
}

/** Time of the trips alone, and processor time of everything between the first and the last. */
class TripClock {
  #micros = 0;
  #startedAt = 0;
  #cpu = process.cpuUsage();

  start(): void {
    this.#startedAt = performance.now();
  }

  stop(): void {
    this.#micros += (performance.now() - this.#startedAt) * 1000;
  }

  sample(trips: number, digest: RecordDigest): Sample {
    const { user, system } = process.cpuUsage(this.#cpu);
    return {
      value: this.#micros / trips,
      records: trips,
      durability: "none",
      digest: digest.toString(),
      also: { "cpu us a trip": (user + system) / trips },
    };
  }
}

/** Long enough for everybody to fall asleep. */
function gap(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Million records a second. */
export function flowSample(records: number, seconds: number, digest: string): Sample {
  return { value: records / seconds / 1e6, records, durability: "none", digest };
}

/** What a Worker or process is told first, and what it says when it has done a one-way round. */
export interface FlowAnswer {
  records: number;
  digest: string;
}
