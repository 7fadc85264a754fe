import { assert, assertEquals } from "@std/assert";
import {
  History,
  linearizes,
  OPERATION,
  queueFault,
  queueModel,
  stackModel,
} from "./linearizability.ts";
import { preload } from "../../ffi/library.ts";
import { QUEUES, type RecordingOrder } from "./recorded_queue.ts";

preload("base", "lockfree");

/** What `producers` and `consumers` Workers did to one queue, `each` values a producer. */
async function recordHistory(
  queue: keyof typeof QUEUES,
  producers: number,
  consumers: number,
  each: number,
): Promise<History> {
  const name = `test-${crypto.randomUUID()}`;
  using _queue = QUEUES[queue].create(name);
  const shared = new Int32Array(new SharedArrayBuffer(8));
  const threads = producers + consumers;
  const workers = Array.from(
    { length: threads },
    () => new Worker(new URL("./recording_worker.ts", import.meta.url), { type: "module" }),
  );
  try {
    const parts = workers.map((worker, at) =>
      new Promise<Float64Array<ArrayBuffer>>((resolve, reject) => {
        worker.onmessage = ({ data }) => resolve(data);
        worker.onerror = (event) => reject(new Error(event.message));
        const pushes = at < producers;
        const order: RecordingOrder = {
          queue,
          name,
          pushes,
          first: at * each,
          count: pushes ? each : producers * each,
          shared,
          threads,
        };
        worker.postMessage(order);
      })
    );
    const whole = new History(2 * threads * each);
    for (const columns of await Promise.all(parts)) whole.addAll(History.of(columns));
    return whole;
  } finally {
    for (const worker of workers) worker.terminate();
    QUEUES[queue].remove(name);
  }
}

/** Operations that began before an earlier one had ended. */
function overlaps(history: History): number {
  let count = 0, end = -Infinity;
  for (const operation of history.operations().sort((a, b) => a.start - b.start)) {
    if (operation.start < end) count++;
    end = Math.max(end, operation.end);
  }
  return count;
}

const LONG = Deno.env.get("KEELSON_LONG") !== undefined;
const VALUES = LONG ? 500_000 : 40_000;

const CASES = [
  { queue: "spscRing", producers: 1, consumers: 1 },
  { queue: "mpscRing", producers: 2, consumers: 1 },
  { queue: "mpmcQueue", producers: 2, consumers: 2 },
  { queue: "msQueue", producers: 2, consumers: 2 },
] as const;

for (const { queue, producers, consumers } of CASES) {
  const shape = `${producers} to ${consumers} Workers`;
  Deno.test(`Q2 Q3 ${queue}, ${shape}: the recorded history is linearizable`, async () => {
    const { capacity } = QUEUES[queue];
    const history = await recordHistory(queue, producers, consumers, VALUES / producers);
    const kinds = Map.groupBy(history.operations(), ({ kind }) => kind);
    assertEquals(kinds.get(OPERATION.push)?.length, VALUES);
    assertEquals(kinds.get(OPERATION.pop)?.length, VALUES);
    assertEquals(queueFault(history, { capacity }), undefined);
    // They ran at the same time: else this would show nothing.
    assert(overlaps(history) > 0, "no two operations overlapped");
  });

  Deno.test(`Q3 ${queue}, ${shape}: small histories agree with every order tried`, async () => {
    const { capacity } = QUEUES[queue];
    const history = await recordHistory(queue, producers, consumers, 24 / producers);
    assertEquals(queueFault(history, { capacity }), undefined);
    assert(linearizes(history.operations(), queueModel(capacity)));
  });
}

Deno.test("S1 stack, 2 to 2 Workers: what came out went in, once; small histories linearize", async () => {
  const large = await recordHistory("stack", 2, 2, VALUES / 4);
  const popped = large.operations().filter(({ kind }) => kind === OPERATION.pop);
  assertEquals(new Set(popped.map(({ value }) => value)).size, VALUES / 2);
  const small = await recordHistory("stack", 2, 2, 12);
  assert(linearizes(small.operations(), stackModel(QUEUES.stack.capacity)));
});
