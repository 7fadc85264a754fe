import { assert, assertEquals, assertRejects } from "@std/assert";
import { preload, symbols } from "../../ffi/library.ts";
import { monotonicMicros } from "../../lib/base/clock.ts";
import { KeelsonError, STATUS } from "../../lib/base/error.ts";
import { ALREADY, closeCompletion, preloadCompletion, waitFor } from "../../lib/exec/completion.ts";
import { SpscRing } from "../../lib/lockfree/spsc_ring.ts";

preload("base", "lockfree", "exec");
await preloadCompletion();

function freshRing(capacityBytes = 4096): SpscRing {
  const name = `test-${crypto.randomUUID()}`;
  return SpscRing.create(name, { capacityBytes });
}

/** The same ring through a second end, its name taken away. */
function twoEnds(): { producer: SpscRing; consumer: SpscRing } {
  const producer = freshRing();
  const consumer = SpscRing.attach(producer.name);
  SpscRing.remove(producer.name);
  return { producer, consumer };
}

function percentile(sorted: number[], share: number): string {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))].toFixed(1);
}

Deno.test("waitFor() answers at once when there is nothing to wait for", async () => {
  assertEquals(await waitFor(() => ALREADY), ALREADY);
});

Deno.test("waitFor() throws what arming answered", async () => {
  const error = await assertRejects(() => waitFor(() => STATUS.KL_ERR_LIMIT), KeelsonError);
  assertEquals(error.codeName, "KL_ERR_LIMIT");
});

Deno.test("waitFor() resolves when the event is notified, many in turn", async () => {
  const { producer, consumer } = twoEnds();
  for (let round = 0; round < 100; round++) {
    const waiting = consumer.waitForData();
    if (round % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    producer.push(Uint8Array.of(round));
    assertEquals(await waiting, true);
    assertEquals(consumer.pop()?.[0], round);
  }
  producer.close();
  consumer.close();
});

Deno.test("waitFor() resolves many waits that end together", async () => {
  const ends = Array.from({ length: 20 }, twoEnds);
  const waits = ends.map(({ consumer }) => consumer.waitForData());
  await new Promise((resolve) => setTimeout(resolve, 5));
  for (const { producer } of ends) producer.push(Uint8Array.of(1));
  assertEquals(await Promise.all(waits), waits.map(() => true));
  for (const { producer, consumer } of ends) producer.close(), consumer.close();
});

Deno.test("waitFor() resolves to a timeout, and not before its time", async () => {
  using ring = freshRing();
  SpscRing.remove(ring.name);
  const before = monotonicMicros();
  assertEquals(await ring.waitForData({ timeoutMs: 20 }), false);
  assert(monotonicMicros() - before >= 20_000);
});

Deno.test("waitFor() rejects with the reason of its signal and leaves nothing behind", async () => {
  const { producer, consumer } = twoEnds();
  const reason = new Error("changed my mind");
  await assertRejects(
    () => consumer.waitForData({ signal: AbortSignal.abort(reason) }),
    Error,
    "changed my mind",
  );
  const controller = new AbortController();
  const waiting = consumer.waitForData({ signal: controller.signal });
  setTimeout(() => controller.abort(reason), 2);
  await assertRejects(() => waiting, Error, "changed my mind");
  const after = consumer.waitForData({ signal: new AbortController().signal });
  producer.push(Uint8Array.of(1));
  assertEquals(await after, true);
  producer.close();
  consumer.close();
});

Deno.test("waitFor() ends when what it waits for is closed", async () => {
  const ring = freshRing();
  SpscRing.remove(ring.name);
  const waiting = ring.waitForData();
  setTimeout(() => ring.close(), 2);
  const error = await assertRejects(() => waiting, KeelsonError);
  assertEquals(error.codeName, "KL_ERR_CLOSED");
});

Deno.test("closeCompletion() ends pending waits; the next wait opens anew", async () => {
  const { producer, consumer } = twoEnds();
  const waiting = consumer.waitForData();
  await new Promise((resolve) => setTimeout(resolve, 1));
  closeCompletion();
  const error = await assertRejects(() => waiting, KeelsonError);
  assertEquals(error.codeName, "KL_ERR_CLOSED");
  await preloadCompletion();
  const again = consumer.waitForData();
  producer.push(Uint8Array.of(1));
  assertEquals(await again, true);
  producer.close();
  consumer.close();
});

Deno.test("waitFor() wakes a sleeping event loop within microseconds", async () => {
  const ring = freshRing(65536);
  const worker = new Worker(new URL("./pusher_worker.ts", import.meta.url), { type: "module" });
  const done = new Promise((resolve) => worker.onmessage = resolve);
  const count = 400;
  worker.postMessage({ name: ring.name, count, gapMs: 2 });
  const micros: number[] = [];
  while (micros.length < count) {
    await ring.waitForData();
    const now = monotonicMicros();
    for (let record = ring.pop(); record; record = ring.pop()) {
      micros.push(now - new Float64Array(record.buffer, record.byteOffset)[0]);
    }
  }
  await done;
  worker.terminate();
  SpscRing.remove(ring.name);
  ring.close();
  micros.sort((a, b) => a - b);
  const [p50, p99] = [percentile(micros, 0.5), percentile(micros, 0.99)];
  console.log(`event to promise, event loop asleep: p50 ${p50} us, p99 ${p99} us (${count})`);
  assert(
    Number(p50) < 5000,
    "the doorbell rings at all; what it should cost is a bench's business",
  );
});

Deno.test("waitFor() starts no watcher for each wait", async () => {
  const before = symbols("exec").kl_completion_watchers();
  for (let round = 0; round < 30; round++) {
    const { producer, consumer } = twoEnds();
    const waiting = consumer.waitForData();
    producer.push(Uint8Array.of(1));
    await waiting;
    producer.close();
    consumer.close();
  }
  assert(symbols("exec").kl_completion_watchers() <= Math.max(before, 4));
});

/** Completions and file descriptors that this process has open. */
function open(): string {
  const completions = symbols("base").kl_handle_live(3);
  return `${completions} completions, ${[...Deno.readDirSync("/proc/self/fd")].length} files`;
}

Deno.test("a terminated Worker gives back its completion, its socket and its ring", async () => {
  const url = new URL("../process/exit_worker.ts", import.meta.url);
  const before = open();
  for (let round = 0; round < 5; round++) {
    const worker = new Worker(url, { type: "module" });
    worker.postMessage(round % 2 === 0 ? "wait" : "busy");
    await new Promise((resolve) => worker.onmessage = resolve);
    worker.terminate();
  }
  for (let tries = 0; tries < 200 && open() !== before; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 10)); // its thread ends a little later
  }
  assertEquals(open(), before);
});
