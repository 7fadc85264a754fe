/** A Worker at one end of a queue, for mpsc_ring_test.ts, mpmc_queue_test.ts and spsc_ring_test.ts. */
import { MpmcQueue } from "../../lib/lockfree/mpmc_queue.ts";
import { MpscRing } from "../../lib/lockfree/mpsc_ring.ts";
import { SpscRing } from "../../lib/lockfree/spsc_ring.ts";

/** What it is asked. */
export interface Errand {
  unit: "SpscRing" | "MpscRing" | "MpmcQueue";
  name: string;
  /** push: numbers as text "index:number"; pop: until "end"; claim: keeps a claim open; echo: from `name` to `answers`. */
  does: "push" | "pop" | "claim" | "echo";
  index: number;
  count: number;
  answers?: string;
}

type Ring = SpscRing<"string"> | MpscRing<"string"> | MpmcQueue<"string">;

const worker = self as unknown as {
  onmessage(event: MessageEvent<Errand>): void;
  postMessage(message: unknown): void;
};

function attach({ unit }: Errand, name: string): Ring {
  if (unit === "SpscRing") return SpscRing.attach(name, { encoding: "string" });
  if (unit === "MpscRing") return MpscRing.attach(name, { encoding: "string" });
  return MpmcQueue.attach(name, { encoding: "string" });
}

function push(queue: Ring, { index, count }: Errand): void {
  for (let number = 0; number < count;) {
    if (queue.push(`${index}:${number}`)) number++;
    else queue.waitForSpaceSync(16, { timeoutMs: 1000 });
  }
}

function popAll(queue: Ring): string[] {
  const popped: string[] = [];
  for (;;) {
    const record = queue.pop();
    if (record === undefined) queue.waitForDataSync({ timeoutMs: 1000 });
    else if (record === "end") return popped;
    else popped.push(record);
  }
}

function echo(queue: Ring, answers: Ring, { count }: Errand): void {
  for (let number = 0; number < count;) {
    const record = queue.pop();
    if (record === undefined) queue.waitForDataSync({ timeoutMs: 1000 });
    else if (answers.push(record)) number++;
  }
}

let kept: unknown; // a claim that is never committed

worker.onmessage = ({ data: errand }) => {
  const queue = attach(errand, errand.name);
  let answer: unknown;
  if (errand.does === "push") push(queue, errand);
  else if (errand.does === "pop") answer = popAll(queue);
  else if (errand.does === "echo") echo(queue, attach(errand, errand.answers!), errand);
  else kept = (queue as MpscRing<"string">).claim(10);
  worker.postMessage(answer ?? kept !== undefined);
};
