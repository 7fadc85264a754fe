/**
 * The work of the ring rows: the same for every side.
 *
 * @module
 */
import type { BenchContext, Contender, Sample, Session } from "../frame/row.ts";

/** Pushed before anything is popped. */
export const BURST = 512;
/** Words that travel in one call, where they do. */
export const BATCH = 64;

/** Words of a round. */
export function ringWords({ size }: BenchContext): number {
  return size({ smoke: 20, full: 20_000 }) * BURST;
}

/** Nanoseconds for one push or one pop. */
export function ringSample(words: number, seconds: number, digest: number): Sample {
  return {
    value: seconds / words / 2 * 1e9,
    records: words,
    durability: "none",
    digest: (digest >>> 0).toString(16).padStart(8, "0"),
  };
}

/** A queue of words whose both ends this thread has. */
export interface WordQueue {
  push(word: number): boolean;
  pop(): number | undefined;
  close?(): void;
}

/** Rounds of single words. */
export function wordSession(context: BenchContext, queue: WordQueue): Session {
  const count = ringWords(context);
  return {
    round() {
      let digest = 0;
      const started = performance.now();
      for (let sent = 0; sent < count; sent += BURST) {
        for (let at = 0; at < BURST; at++) queue.push((sent + at) >>> 0);
        for (let at = 0; at < BURST; at++) digest = (Math.imul(digest, 31) + queue.pop()!) | 0;
      }
      return ringSample(count, (performance.now() - started) / 1000, digest);
    },
    close: () => queue.close?.(),
  };
}

/** A queue that takes and gives {@linkcode BATCH} words a call. */
export interface BatchQueue {
  pushMany(words: Uint32Array<ArrayBuffer>): unknown;
  popMany(words: Uint32Array<ArrayBuffer>): unknown;
  close?(): void;
}

/** Rounds of batches: what it costs to fill and to read them is in the figure. */
export function batchSession(context: BenchContext, queue: BatchQueue): Session {
  const count = ringWords(context);
  const batch = new Uint32Array(BATCH);
  return {
    round() {
      let digest = 0;
      const started = performance.now();
      for (let sent = 0; sent < count; sent += BURST) {
        for (let at = 0; at < BURST; at += BATCH) {
          for (let word = 0; word < BATCH; word++) batch[word] = sent + at + word;
          queue.pushMany(batch);
        }
        for (let at = 0; at < BURST; at += BATCH) {
          queue.popMany(batch);
          for (let word = 0; word < BATCH; word++) {
            digest = (Math.imul(digest, 31) + batch[word]) | 0;
          }
        }
      }
      return ringSample(count, (performance.now() - started) / 1000, digest);
    },
    close: () => queue.close?.(),
  };
}

/** What a row of words is about: a session, and the same by others. */
export function wordSide(
  name: string,
  kind: Contender["kind"],
  open: Contender["open"],
  weaker?: string,
): Contender {
  return { name, kind, weaker, open };
}
