/**
 * The ring between two ends in one thread: the price of a push and a pop without waiting.
 *
 * @module
 */
import { SpscRing } from "../../lib/lockfree/spsc_ring.ts";
import type { BenchContext, RowDefinition, Session } from "../frame/row.ts";
import { BURST, ringSample, ringWords } from "./spsc_ring_work.ts";
import { bareCRing } from "./spsc_ring_bare.ts";

const CAPACITY_BYTES = 65_536;

function openRing(words: boolean): { ring: SpscRing; close: () => void } {
  const name = `bench-${crypto.randomUUID()}`;
  const ring = SpscRing.create(name, { capacityBytes: CAPACITY_BYTES, words });
  SpscRing.remove(name);
  return { ring, close: () => ring.close() };
}

function openWords(context: BenchContext): Session {
  const { ring, close } = openRing(true);
  const count = ringWords(context);
  return {
    round() {
      let digest = 0;
      const started = performance.now();
      for (let sent = 0; sent < count; sent += BURST) {
        for (let at = 0; at < BURST; at++) ring.pushWord((sent + at) >>> 0);
        for (let at = 0; at < BURST; at++) digest = (Math.imul(digest, 31) + ring.popWord()!) | 0;
      }
      return ringSample(count, (performance.now() - started) / 1000, digest);
    },
    close,
  };
}

function openRecords(context: BenchContext): Session {
  const { ring, close } = openRing(false);
  const count = context.size({ smoke: 20, full: 2000 }) * BURST;
  const record = new Uint8Array(100).map((_, at) => at);
  return {
    round() {
      let digest = 0;
      const started = performance.now();
      for (let sent = 0; sent < count; sent += BURST) {
        for (let at = 0; at < BURST; at++) ring.push(record);
        for (let at = 0; at < BURST; at++) digest = (digest + ring.pop()!.length) | 0;
      }
      return ringSample(count, (performance.now() - started) / 1000, digest);
    },
    close,
  };
}

export const SPSC_RING_ROWS: RowDefinition[] = [{
  group: "lockfree",
  name: "spsc_ring push + pop, words",
  unit: "ns a pair",
  better: "lower",
  note: `bursts of ${BURST}, both ends in one thread: two FFI calls a pair`,
  rounds: { smoke: 2, full: 9 },
  own: { open: openWords },
  others: [bareCRing],
}, {
  group: "lockfree",
  name: "spsc_ring push + pop, 100 B",
  unit: "ns a pair",
  better: "lower",
  note: `bursts of ${BURST}, both ends in one thread; every pop makes a new Uint8Array`,
  rounds: { smoke: 2, full: 9 },
  own: { open: openRecords },
}];
