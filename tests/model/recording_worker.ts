/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
/**
 * One thread of a recorded history: pushes or pops through the queue's public face and notes when.
 *
 * @module
 */
import { monotonicMicros } from "../../lib/base/clock.ts";
import { History, OPERATION } from "./linearizability.ts";
import { QUEUES, type RecordingOrder } from "./recorded_queue.ts";

/** Of the fruitless calls in a row only so many are noted: spinning would fill the memory. */
const FRUITLESS_MAX = 4;

function record({ queue, name, pushes, first, count, shared, threads }: RecordingOrder): History {
  const { saysMerelyNotNow } = QUEUES[queue];
  using opened = QUEUES[queue].attach(name);
  const history = new History(2 * count);
  monotonicMicros();
  if (Atomics.add(shared, 0, 1) === threads - 1) Atomics.notify(shared, 0);
  for (let ready = 0; (ready = Atomics.load(shared, 0)) < threads;) {
    Atomics.wait(shared, 0, ready, 100);
  }
  let fruitless = 0;
  for (let done = 0; pushes ? done < count : Atomics.load(shared, 1) < count;) {
    const start = monotonicMicros();
    const got = pushes ? opened.push(first + done) : opened.pop();
    const end = monotonicMicros();
    if (got === false || got === undefined) {
      const kind = pushes ? OPERATION.full : OPERATION.empty;
      if (++fruitless <= FRUITLESS_MAX && !saysMerelyNotNow) history.add(kind, NaN, start, end);
      // Whoever it waits for may want this processor.
      if (fruitless % 256 === 0) Atomics.wait(shared, 0, threads, 0.05);
      continue;
    }
    fruitless = 0;
    done++;
    if (pushes) history.add(OPERATION.push, first + done - 1, start, end);
    else {
      history.add(OPERATION.pop, got as number, start, end);
      Atomics.add(shared, 1, 1);
    }
  }
  return history;
}

self.onmessage = ({ data }: MessageEvent<RecordingOrder>) => {
  const { columns } = record(data);
  self.postMessage(columns, [columns.buffer]);
};
