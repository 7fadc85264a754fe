import { assert, assertEquals } from "@std/assert";
import { libraryPath, preload } from "../../ffi/library.ts";
import { preloadCompletion } from "../../lib/exec/completion.ts";
import { MpscRing, type MpscRingOptions } from "../../lib/lockfree/mpsc_ring.ts";
import type { RecordClaim } from "../../lib/lockfree/shared_queue.ts";
import type { RecordEncoding } from "../../lib/lockfree/record_codec.ts";
import { countInOrder, refusal, run, seeded, send } from "./queue_fixture.ts";

preload("base", "sync", "lockfree", "exec");
await preloadCompletion();

/** A ring whose name is gone already. */
function freshRing<E extends RecordEncoding = "bytes">(options?: MpscRingOptions<E>): MpscRing<E> {
  const ring = MpscRing.create(`test-${crypto.randomUUID()}`, options);
  MpscRing.remove(ring.name);
  return ring;
}

/** A claim, as the oracle knows it: its text once it is committed. */
interface Expected {
  text?: string;
  claim?: RecordClaim;
}

Deno.test("MpscRing behaves like an array on random operations", () => {
  using ring = freshRing({ capacityBytes: 2048, encoding: "string" });
  const random = seeded(Date.now()), queue: Expected[] = [];
  const encoder = new TextEncoder();
  const word = () => "x".repeat(random(60)) + random(1000);
  const skipAborted = () => {
    while (queue.length > 0 && !queue[0].text && !queue[0].claim) queue.shift();
  };
  for (let round = 0; round < 20_000; round++) {
    const open = queue.filter(({ claim }) => claim);
    const choice = random(6);
    if (choice === 0) {
      const text = word();
      if (ring.push(text)) queue.push({ text });
    } else if (choice === 1) {
      const texts = Array.from({ length: random(5) }, word);
      for (const text of texts.slice(0, ring.pushMany(texts))) queue.push({ text });
    } else if (choice === 2 && open.length < 4) {
      const claim = ring.claim(80);
      if (claim) queue.push({ claim });
    } else if (choice === 3 && open.length > 0) {
      const one = open[random(open.length)], text = word();
      if (random(2) === 0) one.claim!.abort();
      else one.claim!.commit(encoder.encodeInto(one.text = text, one.claim!.bytes).written);
      one.claim = undefined;
    } else if (choice === 4) {
      skipAborted();
      const expected = queue[0]?.claim ? undefined : queue.shift()?.text;
      assertEquals(ring.pop(), expected);
    } else {
      for (const text of ring.popMany()) {
        skipAborted();
        assertEquals(text, queue.shift()?.text);
      }
    }
    if (round % 100 === 0) ring.verify();
  }
});

Deno.test("MpscRing carries bytes, text and values", () => {
  using bytes = freshRing();
  assert(bytes.push(Uint8Array.of(1, 2)) && bytes.push(new Uint8Array(0)));
  assertEquals([bytes.pop(), bytes.pop(), bytes.pop()], [
    Uint8Array.of(1, 2),
    new Uint8Array(0),
    undefined,
  ]);
  refusal(() => bytes.push("text" as unknown as Uint8Array), /not a Uint8Array/);
  using text = freshRing({ encoding: "string" });
  assert(text.push("größer €😀") && text.push(""));
  assertEquals(text.popMany(), ["größer €😀", ""]);
  refusal(() => text.push(5 as unknown as string), /not a string/);
  using values = freshRing({ encoding: "structured" });
  const value = { list: [1, "a", null], map: new Map([[1, { deep: new Date(5) }]]), n: 2n ** 70n };
  assert(values.push(value) && values.push(Float64Array.of(1.5)) && values.push(null));
  assertEquals(values.popMany(), [value, Float64Array.of(1.5), null]);
  refusal(() => values.push(undefined), /undefined/);
  refusal(() => freshRing({ encoding: "json" as "string" }), /"bytes", "string" or "structured"/);
});

Deno.test("MpscRing keeps popped bytes apart from what comes later", () => {
  using ring = freshRing({ capacityBytes: 4096 });
  const kept: Uint8Array<ArrayBuffer>[] = [];
  for (let n = 0; n < 5000; n++) {
    ring.push(new Uint8Array(n % 100).fill(n));
    kept.push(ring.pop()!);
  }
  for (let n = 0; n < 5000; n++) assertEquals(kept[n], new Uint8Array(n % 100).fill(n));
  structuredClone(kept[4999].buffer, { transfer: [kept[4999].buffer] }); // takes the chunk away
  ring.push(Uint8Array.of(7));
  assertEquals(ring.pop(), Uint8Array.of(7));
});

Deno.test("MpscRing refuses bad names, sizes and records, and says the limit", () => {
  const name = `test-${crypto.randomUUID()}`;
  for (const capacityBytes of [0, 64, 1000, -128, NaN, 2 ** 32, 2 ** 53]) {
    const code = refusal(() => MpscRing.create(name, { capacityBytes }), /power of two/);
    assertEquals(code, "KL_ERR_ARGUMENT");
  }
  for (const bad of ["", "../x", "a\0b"]) refusal(() => MpscRing.create(bad));
  assertEquals(refusal(() => MpscRing.attach(name)), "KL_ERR_NOT_FOUND");
  using ring = freshRing({ capacityBytes: 128 });
  assertEquals(refusal(() => ring.push(new Uint8Array(57)), /at most 56/), "KL_ERR_ARGUMENT");
  for (const bytes of [-1, NaN, 2 ** 53, 1.5]) refusal(() => ring.claim(bytes), /number of bytes/);
  refusal(() => ring.claim(57), /at most 56/);
  const claim = ring.claim(8)!;
  for (const bytes of [9, -1, NaN]) refusal(() => claim.commit(bytes), /bytes of a claim of 8/);
  claim.abort();
  refusal(() => claim.commit(), /is over/);
  assertEquals(ring.pop(), undefined);
});

Deno.test("MpscRing.read() leaves the record when its reader throws", () => {
  using ring = freshRing({ capacityBytes: 1024 });
  ring.pushMany([Uint8Array.of(1), Uint8Array.of(2)]);
  refusal(() => ring.read(() => ring.push(new Uint8Array(5000))), /at most/);
  const seen: number[] = [];
  while (ring.read((bytes) => seen.push(bytes[0])));
  assertEquals(seen, [1, 2]);
});

Deno.test("MpscRing.close() twice is nothing, later calls throw, and views end", () => {
  const ring = freshRing();
  const claim = ring.claim(8)!;
  ring.close();
  ring.close();
  assertEquals(claim.bytes.length, 0);
  for (const call of [() => ring.push(Uint8Array.of(1)), () => ring.pop(), () => ring.claim(1)]) {
    assertEquals(refusal(call), "KL_ERR_HANDLE");
  }
  refusal(() => claim.commit());
});

Deno.test("MpscRing Q2 Q3 keeps the order of three Workers and loses nothing", async () => {
  const ring = MpscRing.create(`test-${crypto.randomUUID()}`, {
    capacityBytes: 4096,
    encoding: "string",
  });
  const count = 5000, { name } = ring;
  const workers = [0, 1, 2].map((index) =>
    send({ unit: "MpscRing", name, does: "push", index, count })
  );
  const records: string[] = [];
  for await (const record of ring) {
    records.push(record);
    if (records.length === 3 * count) break;
  }
  assertEquals(countInOrder(records), 3 * count);
  await Promise.all(workers.map(({ answer }) => answer));
  for (const { worker } of workers) worker.terminate();
  assertEquals(ring.pop(), undefined);
  MpscRing.remove(name);
  ring.close();
});

Deno.test("MpscRing skips the open claim of a Worker that was terminated", async () => {
  using ring = MpscRing.create(`test-${crypto.randomUUID()}`, { encoding: "string" });
  const { name } = ring;
  const { worker, answer } = send({ unit: "MpscRing", name, does: "claim", index: 0, count: 0 });
  assertEquals(await answer, true);
  ring.push("behind it");
  assertEquals(ring.pop(), undefined);
  worker.terminate();
  assert(await ring.waitForData({ timeoutMs: 20_000 }));
  assertEquals(ring.pop(), "behind it");
  MpscRing.remove(name);
});

Deno.test("MpscRing.waitForDataSync() and waitForSpaceSync() wait, and stop after the timeout", async () => {
  using ring = MpscRing.create(`test-${crypto.randomUUID()}`, {
    capacityBytes: 128,
    encoding: "string",
  });
  assertEquals(ring.waitForDataSync({ timeoutMs: 2 }), false);
  const { name } = ring;
  const { worker, answer } = send({ unit: "MpscRing", name, does: "push", index: 0, count: 500 });
  const records: string[] = [];
  while (records.length < 500) { // the ring holds few: the Worker waits for space
    assert(ring.waitForDataSync({ timeoutMs: 20_000 }));
    records.push(...ring.popMany());
  }
  assertEquals(countInOrder(records), 500);
  await answer;
  worker.terminate();
  ring.pushMany(["x".repeat(50), "y".repeat(50)]);
  assertEquals(ring.waitForSpaceSync(50, { timeoutMs: 2 }), false);
  refusal(() => ring.waitForSpaceSync(57), /at most 56/);
  MpscRing.remove(name);
});

for (const grant of ["all", "path"] as const) {
  Deno.test(`MpscRing carries records of two processes, FFI granted: ${grant}`, async () => {
    const ring = MpscRing.create(`test-${crypto.randomUUID()}`, {
      capacityBytes: 8192,
      encoding: "string",
    });
    const flags = grant === "all" ? ["-A"] : ["--allow-read", `--allow-ffi=${libraryPath()}`];
    const script = (index: number) => `
      import { MpscRing } from "$ROOT/lib/lockfree/mpsc_ring.ts";
      using ring = MpscRing.attach("${ring.name}");
      for (let n = 0; n < 3000;) {
        const claim = ring.claim(40);
        if (!claim) { ring.waitForSpaceSync(40, { timeoutMs: 500 }); continue; }
        const text = "${index}:" + n++;
        claim.commit(new TextEncoder().encodeInto(text, claim.bytes).written);
      }`;
    const ended = Promise.all([0, 1].map((index) => run(script(index), flags)));
    const records: string[] = [];
    for await (const record of ring) {
      records.push(record);
      if (records.length === 6000) break;
    }
    assertEquals(countInOrder(records), 6000);
    await ended;
    MpscRing.remove(ring.name);
    ring.close();
  });
}
