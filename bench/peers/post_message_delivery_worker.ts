/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
/**
 * The receiver of single records: says how long each was under way.
 *
 * @module
 */
import { monotonicMicros } from "../../lib/base/clock.ts";

let wanted = 0;
let micros: number[] = [];
monotonicMicros();
self.postMessage([]);

self.onmessage = ({ data }: MessageEvent) => {
  const now = monotonicMicros();
  if (typeof data === "number") {
    wanted = data;
    micros = [];
    return;
  }
  const [number, sentAt] = new Float64Array(data.buffer);
  if (number !== micros.length) throw new Error(`record ${number}, not ${micros.length}`);
  micros.push(now - sentAt);
  if (micros.length === wanted) self.postMessage(micros);
};
