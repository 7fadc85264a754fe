/** Appends numbered records to a log until the power is cut; prints each acknowledgement. */
import { openLog } from "../../lib/log/durable_log.ts";

const [folder, seed] = Deno.args;
let state = Number(seed) >>> 0;
const random = (below: number) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return (state >>> 8) % below;
};
const log = openLog(folder, {
  segmentBytes: 256 * 1024,
  ringBytes: 256 * 1024,
  retainBytes: 1024 * 1024,
  sharedRing: false, // as after a reboot, which takes shared memory away
  durability: "memory",
});
const encoder = new TextEncoder();
for (let number = 0;; number++) {
  const record = new Uint8Array(8 + random(3000)).fill(number & 0xff, 8);
  new DataView(record.buffer).setFloat64(0, number, true);
  log.append(record);
  if (random(4) !== 0) continue;
  log.commitSync();
  Deno.stdout.writeSync(encoder.encode(`${number}\n`));
}
