/** Pushes the time, `count` times, `gapMs` apart, into the ring whose name it is sent. */
import { monotonicMicros } from "../../lib/base/clock.ts";
import { SpscRing } from "../../lib/lockfree/spsc_ring.ts";

const pause = new Int32Array(new SharedArrayBuffer(4));

const worker = self as unknown as {
  onmessage(event: MessageEvent<{ name: string; count: number; gapMs: number }>): void;
  postMessage(message: string): void;
};

worker.onmessage = ({ data }) => {
  using ring = SpscRing.attach(data.name);
  const record = new Float64Array(1);
  const bytes = new Uint8Array(record.buffer);
  for (let sent = 0; sent < data.count; sent++) {
    if (data.gapMs > 0) Atomics.wait(pause, 0, 0, data.gapMs);
    record[0] = monotonicMicros();
    while (!ring.push(bytes)) Atomics.wait(pause, 0, 0, 1);
  }
  worker.postMessage("done");
};
