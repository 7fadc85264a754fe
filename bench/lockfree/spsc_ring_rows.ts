/**
 * Rings and queues between two ends in one thread, called from TypeScript: the price of a push and a pop
 * without waiting.
 *
 * @module
 */
import { MpmcQueue } from "../../lib/lockfree/mpmc_queue.ts";
import { SpscRing } from "../../lib/lockfree/spsc_ring.ts";
import type { BenchContext, RowDefinition, Session } from "../frame/row.ts";
import { SabWords } from "../peers/sab_channel.ts";
import { bareCRing } from "./spsc_ring_bare.ts";
import { BATCH, batchSession, BURST, wordSession, wordSide } from "./spsc_ring_work.ts";

const CAPACITY_BYTES = 65_536;
const WEAKER = "never leaves the process";

function openRing(words: boolean): SpscRing {
  const name = `bench-${crypto.randomUUID()}`;
  const ring = SpscRing.create(name, { capacityBytes: CAPACITY_BYTES, words });
  SpscRing.remove(name);
  return ring;
}

function openWords(context: BenchContext): Session {
  const ring = openRing(true);
  return wordSession(context, {
    push: (word) => ring.pushWord(word),
    pop: () => ring.popWord(),
    close: () => ring.close(),
  });
}

function openBatches(context: BenchContext): Session {
  const ring = openRing(true);
  return batchSession(context, {
    pushMany: (words) => ring.pushWords(words),
    popMany: (words) => ring.popWords(words),
    close: () => ring.close(),
  });
}

function openQueue(): MpmcQueue {
  const name = `bench-${crypto.randomUUID()}`;
  const queue = MpmcQueue.create(name, { capacity: CAPACITY_BYTES / 8, words: true });
  MpmcQueue.remove(name);
  return queue;
}

function openQueueWords(context: BenchContext): Session {
  const queue = openQueue();
  return wordSession(context, {
    push: (word) => queue.pushWord(word),
    pop: () => queue.popWord(),
    close: () => queue.close(),
  });
}

function openQueueBatches(context: BenchContext): Session {
  const queue = openQueue();
  return batchSession(context, {
    pushMany: (words) => queue.pushWords(words),
    popMany: (words) => queue.popWords(words),
    close: () => queue.close(),
  });
}

function openRecords(context: BenchContext): Session {
  const ring = openRing(false);
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
      const seconds = (performance.now() - started) / 1000;
      return {
        value: seconds / count / 2 * 1e9,
        records: count,
        durability: "none",
        digest: String(digest),
      };
    },
    close: () => ring.close(),
  };
}

const SAB_WORDS = wordSide("SharedArrayBuffer + Atomics", "peer", (context) => {
  const words = new SabWords();
  return wordSession(context, { push: (word) => words.push(word), pop: () => words.pop() });
}, WEAKER);

const SAB_BATCHES = wordSide(
  "SharedArrayBuffer + Atomics",
  "peer",
  (context) => batchSession(context, new SabWords()),
  WEAKER,
);

function callRow(
  words: string,
  row: Partial<RowDefinition> & Pick<RowDefinition, "own">,
): RowDefinition {
  return {
    group: "lockfree",
    name: words,
    unit: "ns a push or pop",
    better: "lower",
    note: `from TypeScript, bursts of ${BURST}, both ends in one thread`,
    rounds: { smoke: 1, full: 15 },
    ...row,
  };
}

/** Rows of calls from TypeScript. */
export const SPSC_RING_ROWS: RowDefinition[] = [
  callRow("SpscRing words", {
    floors: [{ kind: "absolute", value: 12 }],
    own: { open: openWords },
    others: [SAB_WORDS, bareCRing],
  }),
  callRow(`SpscRing words, ${BATCH} at a time`, {
    floors: [{ kind: "absolute", value: 2 }],
    own: { open: openBatches },
    others: [SAB_BATCHES],
  }),
  callRow("SpscRing records of 100 B", { own: { open: openRecords } }),
  callRow("MpmcQueue words", { own: { open: openQueueWords }, others: [SAB_WORDS] }),
  callRow(`MpmcQueue words, ${BATCH} at a time`, {
    own: { open: openQueueBatches },
    others: [SAB_BATCHES],
  }),
];
