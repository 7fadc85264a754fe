import { assertEquals, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { KeelsonError } from "../../lib/base/error.ts";
import { preloadCompletion } from "../../lib/exec/completion.ts";
import { Counter } from "../../lib/sync/counter.ts";
import { Latest } from "../../lib/sync/latest.ts";
import { seededRandom } from "../lockfree/seeded_random.ts";
import { Peer, PeerProcess } from "./peer.ts";

preload("base", "sync", "exec");
await preloadCompletion();

function refusal(fn: () => unknown): string {
  const error = assertThrows(fn);
  assertInstanceOf(error, KeelsonError);
  return error.codeName;
}

function fresh(valueBytes = 64): Latest {
  return Latest.create(`test-${crypto.randomUUID()}`, { valueBytes });
}

Deno.test("Latest gives what was set last, to every end", () => {
  using writer = fresh(300);
  using reader = Latest.attach(writer.name);
  const { random, seed } = seededRandom();
  assertEquals(
    [reader.get(), reader.getInto(new Uint8Array(1)), reader.version, reader.valueBytes],
    [undefined, undefined, 0, 300],
  );
  for (let round = 1; round <= 500; round++) {
    const value = crypto.getRandomValues(new Uint8Array(random(301)));
    writer.set(value);
    assertEquals(reader.get(), value, `SEED=${seed}`);
    assertEquals(reader.version, round);
    const target = new Uint8Array(300);
    assertEquals(target.subarray(0, reader.getInto(target)), value);
    if (value.length > 0) {
      assertEquals(refusal(() => reader.getInto(target.subarray(1, value.length))), "KL_ERR_LIMIT");
    }
  }
  Latest.remove(writer.name);
});

Deno.test("Latest.change() waits for the next version", async () => {
  using writer = fresh();
  using reader = Latest.attach(writer.name);
  assertEquals(await reader.change(0, { timeoutMs: 2 }), false);
  assertEquals(reader.changeSync(0, { timeoutMs: 2 }), false);
  setTimeout(() => writer.set(Uint8Array.of(1)), 2);
  assertEquals(await reader.change(), true);
  assertEquals(reader.changeSync(0), true);
  assertEquals(await reader.change(1, { timeoutMs: 2 }), false);
  await assertRejects(() => reader.change(1, { signal: AbortSignal.timeout(2) }));
  Latest.remove(writer.name);
});

Deno.test("Latest readers in a Worker and a process see whole values while they are set", async () => {
  using writer = fresh(256);
  const check = `
    const latest = keelson.Latest.attach(${JSON.stringify(writer.name)});
    const ready = keelson.Counter.attach(${JSON.stringify(writer.name + "-ready")});
    ready.add(1);
    for (let last = 0; last < 3000;) {
      const value = latest.get();
      if (!value) continue;
      const words = new Uint32Array(value.buffer, 0, 64);
      if (words[0] < last || words.some((word, i) => word !== words[0] * (i + 1))) throw new Error("torn");
      last = words[0];
    }
    latest.close(), ready.close();`;
  using ready = Counter.create(`${writer.name}-ready`);
  const worker = await Peer.start(), read = worker.ask(check);
  const process = await PeerProcess.start(`console.log("up");${check}`);
  const pause = () => new Promise((resolve) => setTimeout(resolve, 0));
  while (ready.value < 2) await pause();
  const words = new Uint32Array(64);
  for (let n = 1; n <= 3000; n++) {
    for (let i = 0; i < 64; i++) words[i] = n * (i + 1);
    writer.set(new Uint8Array(words.buffer));
    if (n % 64 === 0) await pause();
  }
  await read;
  assertEquals(await process.ended(), 0);
  worker.terminate();
  Counter.remove(ready.name);
  Latest.remove(writer.name);
});

Deno.test("Latest has one writer; its role is taken over when it closes or dies", async () => {
  using one = fresh();
  const other = Latest.attach(one.name);
  other.set(Uint8Array.of(1));
  assertEquals(refusal(() => one.set(Uint8Array.of(2))), "KL_ERR_LOCKED");
  other.close();
  const process = await PeerProcess.start(`
    const latest = keelson.Latest.attach(${JSON.stringify(one.name)});
    latest.set(Uint8Array.of(3));
    console.log("set");
    for (;;) latest.set(Uint8Array.of(3, 3, 3));`);
  assertEquals(refusal(() => one.set(Uint8Array.of(2))), "KL_ERR_LOCKED");
  await process.kill();
  assertEquals(one.get()?.[0], 3);
  one.set(Uint8Array.of(4));
  assertEquals(one.get(), Uint8Array.of(4));
  Latest.remove(one.name);
});

Deno.test("Latest refuses bad sizes, names, versions, and calls after close", async () => {
  const name = `test-${crypto.randomUUID()}`;
  for (const valueBytes of [0, -1, 1.5, NaN, 2 ** 27, 2 ** 53, "8" as unknown as number]) {
    assertEquals(refusal(() => Latest.create(name, { valueBytes })), "KL_ERR_ARGUMENT");
  }
  const latest = fresh(8);
  Latest.remove(latest.name);
  assertEquals(refusal(() => latest.set(new Uint8Array(9))), "KL_ERR_ARGUMENT");
  assertEquals(latest.version, 0);
  for (const since of [-1, 0.5, NaN, 2 ** 60]) {
    await assertRejects(() => latest.change(since), KeelsonError, "KL_ERR_ARGUMENT");
  }
  const waiting = latest.change();
  await new Promise((resolve) => setTimeout(resolve, 2));
  latest.close();
  latest.close();
  await assertRejects(() => waiting, KeelsonError, "KL_ERR_CLOSED");
  for (
    const call of [() => latest.get(), () => latest.version, () => latest.set(new Uint8Array(1))]
  ) {
    assertEquals(refusal(call), "KL_ERR_HANDLE");
  }
  assertEquals(refusal(() => Latest.attach(latest.name)), "KL_ERR_NOT_FOUND");
});
