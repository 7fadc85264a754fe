import { assert, assertEquals } from "@std/assert";
import { libraryPath, preload } from "../../ffi/library.ts";
import { preloadCompletion } from "../../lib/exec/completion.ts";
import { MpmcQueue, type MpmcQueueOptions } from "../../lib/lockfree/mpmc_queue.ts";
import type { RecordEncoding } from "../../lib/lockfree/record_codec.ts";
import { countInOrder, refusal, run, seeded, send } from "./queue_fixture.ts";

preload("base", "sync", "lockfree", "exec");
await preloadCompletion();

/** A queue whose name is gone already. */
function freshQueue<E extends RecordEncoding = "bytes">(
  options?: MpmcQueueOptions<E>,
): MpmcQueue<E> {
  const queue = MpmcQueue.create(`test-${crypto.randomUUID()}`, options);
  MpmcQueue.remove(queue.name);
  return queue;
}

Deno.test("MpmcQueue Q1 Q4 behaves like an array on random operations", () => {
  using queue = freshQueue({ capacity: 32, recordBytesMax: 40, encoding: "string" });
  const random = seeded(Date.now()), model: string[] = [];
  const word = () => "x".repeat(random(36)) + random(1000);
  for (let round = 0; round < 20_000; round++) {
    const choice = random(4);
    if (choice === 0) {
      const text = word(), fits = model.length < 32;
      assertEquals(queue.push(text), fits);
      if (fits) model.push(text);
    } else if (choice === 1) {
      const texts = Array.from({ length: random(50) }, word);
      const done = Math.min(texts.length, 32 - model.length);
      assertEquals(queue.pushMany(texts), done);
      model.push(...texts.slice(0, done));
    } else if (choice === 2) {
      assertEquals(queue.pop(), model.shift());
    } else if (random(4) === 0) {
      assertEquals(queue.popMany(), model.splice(0));
    }
    assertEquals(queue.length, model.length);
    if (round % 100 === 0) queue.verify();
  }
});

Deno.test("MpmcQueue carries numbers one by one and many at once", () => {
  using queue = freshQueue({ capacity: 128, words: true });
  assertEquals(queue.recordBytesMax, 0);
  for (const word of [0, 1, 2 ** 31, 2 ** 32 - 1]) assert(queue.pushWord(word));
  for (const word of [0, 1, 2 ** 31, 2 ** 32 - 1]) assertEquals(queue.popWord(), word);
  assertEquals(queue.popWord(), undefined);
  for (const word of [-1, 1.5, 2 ** 32, NaN]) refusal(() => queue.pushWord(word));
  const words = Uint32Array.from({ length: 200 }, (_, n) => n), out = new Uint32Array(150);
  assertEquals(queue.pushWords(words), 128);
  assertEquals(queue.pushWords(words), 0);
  assertEquals(queue.popWords(out), 128);
  assertEquals(out.subarray(0, 128), words.subarray(0, 128));
  refusal(() => queue.push(Uint8Array.of(1)), /carries numbers/);
  refusal(() => queue.pushWords([1] as unknown as Uint32Array<ArrayBuffer>), /Uint32Array/);
});

Deno.test("MpmcQueue carries bytes and values", () => {
  using bytes = freshQueue();
  assert(bytes.push(new Uint8Array(246).fill(3)) && bytes.push(new Uint8Array(0)));
  assertEquals(bytes.popMany(), [new Uint8Array(246).fill(3), new Uint8Array(0)]);
  using values = freshQueue({ encoding: "structured" });
  const value = { list: [1, "a", null], map: new Map([[1, 2]]) };
  assert(values.push(value) && values.push(Int16Array.of(-5)));
  assertEquals([values.pop(), values.pop(), values.pop()], [value, Int16Array.of(-5), undefined]);
});

Deno.test("MpmcQueue refuses bad names, sizes and records, and says the limit", () => {
  const name = `test-${crypto.randomUUID()}`;
  for (const capacity of [0, 1, 3, -2, NaN, 2 ** 25, 2 ** 53]) {
    assertEquals(
      refusal(() => MpmcQueue.create(name, { capacity }), /power of two/),
      "KL_ERR_ARGUMENT",
    );
  }
  for (const recordBytesMax of [0, -1, 247, NaN, 1.5]) {
    refusal(() => MpmcQueue.create(name, { recordBytesMax }), /1 to 246/);
  }
  assertEquals(refusal(() => MpmcQueue.attach(name)), "KL_ERR_NOT_FOUND");
  using queue = freshQueue({ recordBytesMax: 8 });
  refusal(() => queue.push(new Uint8Array(9)), /at most 8/);
  refusal(() => queue.pushMany([new Uint8Array(9)]), /at most 8/);
  assertEquals(queue.pushMany([Uint8Array.of(1), new Uint8Array(9), Uint8Array.of(2)]), 1);
  assertEquals(queue.length, 1);
});

Deno.test("MpmcQueue.close() twice is nothing, and later calls throw", () => {
  const queue = freshQueue();
  queue.close();
  queue.close();
  for (const call of [() => queue.push(Uint8Array.of(1)), () => queue.pop(), () => queue.length]) {
    assertEquals(refusal(call), "KL_ERR_HANDLE");
  }
});

Deno.test("MpmcQueue Q2 Q3 two Workers push, two pop, nothing is lost or out of order", async () => {
  using queue = MpmcQueue.create(`test-${crypto.randomUUID()}`, {
    capacity: 64,
    encoding: "string",
  });
  const { name } = queue, count = 5000;
  const producers = [0, 1].map((index) =>
    send({ unit: "MpmcQueue", name, does: "push", index, count })
  );
  const consumers = [2, 3].map((index) =>
    send({ unit: "MpmcQueue", name, does: "pop", index, count })
  );
  await Promise.all(producers.map(({ answer }) => answer));
  for (let ends = 0; ends < 2;) if (queue.push("end")) ends++;
  const popped = await Promise.all(consumers.map(({ answer }) => answer as Promise<string[]>));
  for (const records of popped) countInOrder(records); // of each producer, in its order
  const all = popped.flat();
  assertEquals(all.length, 2 * count);
  assertEquals(new Set(all).size, 2 * count);
  for (const { worker } of [...producers, ...consumers]) worker.terminate();
  MpmcQueue.remove(name);
});

Deno.test("MpmcQueue goes on when Workers that pop are terminated in mid-use", async () => {
  using queue = MpmcQueue.create(`test-${crypto.randomUUID()}`, {
    capacity: 16,
    encoding: "string",
  });
  const { name } = queue;
  for (let round = 0; round < 4; round++) {
    const { worker } = send({ unit: "MpmcQueue", name, does: "pop", index: 0, count: 0 });
    for (let n = 0; n < 200; n++) {
      if (!queue.push(`0:${n}`)) await queue.waitForSpace(1, { timeoutMs: 20_000 });
    }
    worker.terminate();
  }
  queue.popMany();
  for (let n = 0; n < 16; n++) assert(queue.push(`1:${n}`) || queue.length > 0);
  queue.recover();
  queue.verify();
  MpmcQueue.remove(name);
});

for (const grant of ["all", "path"] as const) {
  Deno.test(`MpmcQueue carries records between processes, FFI granted: ${grant}`, async () => {
    using queue = MpmcQueue.create(`test-${crypto.randomUUID()}`, {
      capacity: 64,
      encoding: "string",
    });
    const flags = grant === "all" ? ["-A"] : ["--allow-read", `--allow-ffi=${libraryPath()}`];
    const script = (index: number) => `
      import { MpmcQueue } from "$ROOT/lib/lockfree/mpmc_queue.ts";
      using queue = MpmcQueue.attach("${queue.name}", { encoding: "string" });
      for (let n = 0; n < 3000;) {
        if (queue.push("${index}:" + n)) n++;
        else queue.waitForSpaceSync(1, { timeoutMs: 500 });
      }`;
    const ended = Promise.all([0, 1].map((index) => run(script(index), flags)));
    const records: string[] = [];
    for await (const record of queue) {
      records.push(record);
      if (records.length === 6000) break;
    }
    assertEquals(countInOrder(records), 6000);
    await ended;
    MpmcQueue.remove(queue.name);
  });
}
