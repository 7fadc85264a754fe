import { assert, assertEquals, assertMatch } from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { preloadCompletion } from "../../lib/exec/completion.ts";
import type { RecordEncoding } from "../../lib/lockfree/record_codec.ts";
import { SpscRing, type SpscRingOptions } from "../../lib/lockfree/spsc_ring.ts";
import { refusal, run, send } from "./queue_fixture.ts";

preload("base", "sync", "lockfree", "exec");
await preloadCompletion();

const ROOT = new URL("../..", import.meta.url);

/** A ring whose name is gone already. */
function freshRing<E extends RecordEncoding = "bytes">(options?: SpscRingOptions<E>): SpscRing<E> {
  const ring = SpscRing.create(`test-${crypto.randomUUID()}`, options);
  SpscRing.remove(ring.name);
  return ring;
}

Deno.test("SpscRing.push() and pop() keep order and bytes", () => {
  using ring = freshRing({ capacityBytes: 1024 });
  const sent: Uint8Array[] = [];
  for (let round = 0; round < 2000; round++) {
    const record = Uint8Array.from({ length: round * 7 % 200 }, (_, i) => round + i);
    if (ring.push(record)) {
      sent.push(record);
    } else {
      for (let take = 0; take <= round % 5; take++) assertEquals(ring.pop(), sent.shift());
    }
  }
  ring.verify();
  for (const record of sent) assertEquals(ring.pop(), record);
  assertEquals(ring.pop(), undefined);
  assertEquals(ring.usedBytes, 0);
});

Deno.test("SpscRing.pop() takes records larger than its scratch buffer", () => {
  using ring = freshRing({ capacityBytes: 1 << 20 });
  const record = crypto.getRandomValues(new Uint8Array(60_000));
  ring.push(record);
  ring.push(Uint8Array.of(1));
  assertEquals(ring.pop(), record);
  assertEquals(ring.pop(), Uint8Array.of(1));
});

Deno.test("SpscRing.pushMany() and popMany() move batches, up to what fits", () => {
  using ring = freshRing({ capacityBytes: 4096 });
  const records = Array.from({ length: 300 }, (_, i) => new Uint8Array(i % 30).fill(i));
  const pushed = ring.pushMany(records);
  assert(pushed > 100 && pushed < 300, `${pushed}`);
  assertEquals(ring.popMany(), records.slice(0, pushed));
  assertEquals(ring.pushMany(records.slice(pushed)), 300 - pushed);
  assertEquals(ring.popMany(), records.slice(pushed));
  assertEquals(ring.popMany(), []);
  assertEquals(ring.pushMany([]), 0);
});

Deno.test("SpscRing.popMany() takes a record larger than a MiB by itself", () => {
  using ring = freshRing({ capacityBytes: 1 << 22 });
  const large = new Uint8Array(3_000_000).fill(7);
  assertEquals(ring.pushMany([Uint8Array.of(1), large, Uint8Array.of(2)]), 3);
  assertEquals(ring.popMany(), [Uint8Array.of(1)]);
  const [first, ...rest] = ring.popMany();
  assertEquals([first.length, first[0], first[2_999_999]], [3_000_000, 7, 7]);
  assertEquals([...rest, ...ring.popMany()], [Uint8Array.of(2)]);
});

Deno.test("SpscRing.pushWord() carries every 32-bit number and refuses others", () => {
  using ring = freshRing({ words: true });
  for (const word of [0, 1, 2 ** 31, 2 ** 32 - 1]) assert(ring.pushWord(word));
  for (const word of [0, 1, 2 ** 31, 2 ** 32 - 1]) assertEquals(ring.popWord(), word);
  assertEquals(ring.popWord(), undefined);
  for (const word of [-1, 1.5, 2 ** 32, NaN]) {
    assertEquals(refusal(() => ring.pushWord(word)), "KL_ERR_ARGUMENT");
  }
  assertEquals(refusal(() => ring.push(Uint8Array.of(1, 2))), "KL_ERR_ARGUMENT");
});

Deno.test("SpscRing refuses bad names, sizes and records, and says the limit", () => {
  const name = `test-${crypto.randomUUID()}`;
  for (const bad of ["", "../x", "a/b", "a\0b", "x".repeat(300)]) {
    assertMatch(refusal(() => SpscRing.create(bad)), /KL_ERR_(NAME|ARGUMENT)/);
  }
  for (const capacityBytes of [0, 63, 1000, -64, NaN, 2 ** 40]) {
    const code = refusal(() => SpscRing.create(name, { capacityBytes }), /power of two/);
    assertEquals(code, "KL_ERR_ARGUMENT");
  }
  assertEquals(refusal(() => SpscRing.attach(name)), "KL_ERR_NOT_FOUND");
  assertEquals(refusal(() => SpscRing.remove(name)), "KL_ERR_NOT_FOUND");
  using ring = freshRing({ capacityBytes: 64 });
  assertEquals(refusal(() => ring.push(new Uint8Array(57)), /at most 56/), "KL_ERR_ARGUMENT");
});

Deno.test("SpscRing.create() never takes a name away from a living ring", () => {
  using ring = SpscRing.create(`test-${crypto.randomUUID()}`);
  assertEquals(refusal(() => SpscRing.create(ring.name)), "KL_ERR_EXISTS");
  SpscRing.remove(ring.name);
});

Deno.test("SpscRing.close() twice is nothing, and later calls throw", () => {
  const ring = freshRing();
  ring.close();
  ring.close();
  assertEquals(refusal(() => ring.push(Uint8Array.of(1))), "KL_ERR_HANDLE");
  assertEquals(refusal(() => ring.pop()), "KL_ERR_HANDLE");
  assertEquals(refusal(() => ring.usedBytes), "KL_ERR_HANDLE");
});

Deno.test("SpscRing is iterated until it is closed", async () => {
  const ring = freshRing();
  const seen: number[] = [];
  setTimeout(() => ring.pushMany([1, 2, 3].map((n) => Uint8Array.of(n))), 2);
  setTimeout(() => ring.close(), 20);
  for await (const record of ring) seen.push(record[0]);
  assertEquals(seen, [1, 2, 3]);
});

Deno.test("SpscRing iterated without a pause lets timers run", async () => {
  using ring = freshRing({ capacityBytes: 1 << 16 });
  let timeIsUp = false, records = 0;
  setTimeout(() => timeIsUp = true, 5);
  ring.push(Uint8Array.of(1));
  for await (const record of ring) {
    if (timeIsUp) break;
    ring.push(record); // there is always one more
    records++;
  }
  assert(records > 256);
});

Deno.test("SpscRing.waitForSpace() waits for the consumer", async () => {
  using ring = freshRing({ capacityBytes: 64 });
  ring.push(new Uint8Array(40));
  assertEquals(await ring.waitForSpace(40, { timeoutMs: 2 }), false);
  setTimeout(() => ring.pop(), 2);
  assertEquals(await ring.waitForSpace(40), true);
  assert(ring.push(new Uint8Array(40)));
});

const PRODUCER = `
  import { SpscRing } from "$ROOT/lib/lockfree/spsc_ring.ts";
  using ring = SpscRing.attach(Deno.args[0] ?? "NAME");
  for (let n = 0; n < 5000;) {
    const record = new Uint8Array(4 + n % 100);
    new DataView(record.buffer).setUint32(0, n, true);
    if (ring.push(record)) n++; else await new Promise((r) => setTimeout(r, 0));
  }`;

for (const grant of ["all", "path"] as const) {
  Deno.test(`SpscRing carries records from another process, FFI granted: ${grant}`, async () => {
    const ring = SpscRing.create(`test-${crypto.randomUUID()}`, { capacityBytes: 8192 });
    const { libraryPath } = await import("../../ffi/library.ts");
    const flags = grant === "all" ? ["-A"] : ["--allow-read", `--allow-ffi=${libraryPath()}`];
    const ended = run(PRODUCER.replace("NAME", ring.name), flags);
    let next = 0;
    for await (const record of ring) {
      assertEquals(new DataView(record.buffer, record.byteOffset).getUint32(0, true), next);
      assertEquals(record.length, 4 + next % 100);
      if (++next === 5000) break;
    }
    await ended;
    SpscRing.remove(ring.name);
    ring.close();
  });
}

Deno.test("SpscRing lets the next Worker take the side of one that was terminated", async () => {
  const ring = SpscRing.create(`test-${crypto.randomUUID()}`);
  const source = `
    import { SpscRing } from "${ROOT.href}lib/lockfree/spsc_ring.ts";
    self.onmessage = ({ data }) => {
      globalThis.ring = SpscRing.attach(data);
      try { self.postMessage(ring.push(Uint8Array.of(1))); } catch (e) { self.postMessage(e.codeName); }
    };`;
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const start = async () => {
    const worker = new Worker(url, { type: "module" });
    const answer = new Promise((resolve) => worker.onmessage = ({ data }) => resolve(data));
    worker.postMessage(ring.name);
    return { worker, answer: await answer };
  };
  const first = await start();
  assertEquals(first.answer, true);
  const second = await start();
  assertEquals(second.answer, "KL_ERR_LOCKED");
  first.worker.terminate();
  second.worker.terminate();
  let answer: unknown = "KL_ERR_LOCKED";
  for (let tries = 0; tries < 100 && answer === "KL_ERR_LOCKED"; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 5)); // the thread ends a little later
    const third = await start();
    answer = third.answer;
    third.worker.terminate();
  }
  assertEquals(answer, true);
  URL.revokeObjectURL(url);
  SpscRing.remove(ring.name);
  ring.close();
});

Deno.test("SpscRing carries text and values", () => {
  using text = freshRing({ encoding: "string" });
  assert(text.push("größer €😀") && text.push(""));
  assertEquals([text.pop(), ...text.popMany()], ["größer €😀", ""]);
  using values = freshRing({ encoding: "structured" });
  assert(values.push({ a: [1, new Map([[1, "x"]])] }) && values.push(Float64Array.of(1.5)));
  assertEquals(values.popMany(), [{ a: [1, new Map([[1, "x"]])] }, Float64Array.of(1.5)]);
});

Deno.test("SpscRing.pushWords() and popWords() move as many as fit", () => {
  using ring = freshRing({ capacityBytes: 1024, words: true });
  const words = Uint32Array.from({ length: 300 }, (_, n) => 2 ** 32 - 1 - n);
  const out = new Uint32Array(300);
  assertEquals(ring.pushWords(words), 128);
  assertEquals(ring.pushWords(words), 0);
  assertEquals(ring.popWords(out.subarray(0, 100)), 100);
  assertEquals(ring.pushWords(words.subarray(128)), 100); // around the end
  assertEquals(ring.popWords(out.subarray(100)), 128);
  assertEquals(ring.popWords(out), 0);
  assertEquals(out.subarray(0, 228), words.subarray(0, 228));
  assertEquals(ring.pushWords(new Uint32Array(0)), 0);
  refusal(() => ring.claim(8), /8-byte records/);
  refusal(() => freshRing().pushWords(words), /byte records/);
});

Deno.test("SpscRing.claim() and read() work in place, around the end too", () => {
  using ring = freshRing({ capacityBytes: 256 });
  for (let n = 0; n < 200; n++) {
    const bytes = n % 60, claim = ring.claim(bytes + 5)!;
    claim.bytes.fill(n);
    if (n % 7 === 0) {
      claim.abort();
      refusal(() => claim.commit(), /is over/);
      continue;
    }
    claim.commit(bytes);
    refusal(() => claim.commit(), /is over/);
    assertEquals(ring.usedBytes, 8 + ((bytes + 7) & ~7));
    assert(ring.read((view) => assertEquals(view, new Uint8Array(bytes).fill(n))));
    assertEquals(ring.read(() => {}), false);
  }
  ring.push(Uint8Array.of(1));
  const claim = ring.claim(200)!;
  assertEquals(ring.claim(247), undefined);
  for (const bytes of [201, -1, NaN]) refusal(() => claim.commit(bytes), /of a claim of 200/);
  refusal(() => ring.claim(249), /at most 248/);
  refusal(() => ring.read(() => ring.push(new Uint8Array(5000))), /at most/); // it stays
  assertEquals(ring.pop(), Uint8Array.of(1));
});

Deno.test("SpscRing.waitForDataSync() answers a Worker, and stops after the timeout", async () => {
  const options = { capacityBytes: 1024, encoding: "string" } as const;
  const there = SpscRing.create(`test-${crypto.randomUUID()}`, options);
  const back = SpscRing.create(`test-${crypto.randomUUID()}`, options);
  assertEquals(back.waitForDataSync({ timeoutMs: 2 }), false);
  const { worker, answer } = send({
    unit: "SpscRing",
    name: there.name,
    answers: back.name,
    does: "echo",
    index: 0,
    count: 1000,
  });
  for (let n = 0; n < 1000; n++) {
    assert(there.push(`${n}`));
    assert(back.waitForDataSync({ timeoutMs: 20_000 }));
    assertEquals(back.pop(), `${n}`);
  }
  await answer;
  worker.terminate();
  for (const ring of [there, back]) {
    SpscRing.remove(ring.name);
    ring.close();
  }
});
