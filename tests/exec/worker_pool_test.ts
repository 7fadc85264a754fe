import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import process from "node:process";
import { preload } from "../../ffi/library.ts";
import { KeelsonError } from "../../lib/base/error.ts";
import { preloadCompletion } from "../../lib/exec/completion.ts";
import { WorkerPool, type WorkerPoolOptions } from "../../lib/exec/worker_pool.ts";

preload("base", "exec");
await preloadCompletion();
// Loaded by the first pool: not a leak of the test that has it.
(globalThis as unknown as { process: { getBuiltinModule(name: string): unknown } }).process
  .getBuiltinModule("node:worker_threads");

const FUNCTIONS = new URL("./pool_functions.ts", import.meta.url);

function openPool(options: WorkerPoolOptions = {}): WorkerPool {
  return new WorkerPool(FUNCTIONS, { workers: 2, ...options });
}

/** A pooled test: the Workers' own threads outlive the test by a moment. */
function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  const error = await assertRejects(() => promise);
  assertInstanceOf(error, KeelsonError);
  assertMatch(error.message, /^Cannot /);
  return error.codeName;
}

async function appears(path: string): Promise<void> {
  for (let tries = 0; tries < 5000; tries++) {
    if (await Deno.stat(path).catch(() => undefined)) return;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  throw new Error(`${path} did not appear`);
}

test("WorkerPool.run() gives every kind of value back", async () => {
  await using pool = openPool();
  const cycle: Record<string, unknown> = { name: "cycle" };
  cycle.self = cycle;
  const values = [
    undefined,
    null,
    true,
    false,
    0,
    -0,
    NaN,
    2 ** 53,
    -1.5,
    "",
    "häß €",
    "x".repeat(200_000),
    new Uint8Array(0),
    new Uint8Array(100_000).fill(7),
    [1, "two", null, { three: [3] }],
    { a: undefined },
    [1, , 3],
    { "__proto__": null, x: 1 },
    [-0, NaN],
    new Map([[1, { a: 1 }]]),
    new Date(12345),
    new Float64Array([1.5, 2.5]),
    12345678901234567890n,
    cycle,
  ];
  const back = await Promise.all(values.map((value) => pool.run("echo", value)));
  assertEquals(back.length, values.length);
  for (const [at, value] of values.entries()) {
    if (value === cycle) assertEquals((back[at] as typeof cycle).self, back[at]);
    else assertEquals(back[at], value);
  }
  assertEquals(await pool.map("echo", values.slice(0, -1)), values.slice(0, -1));
  await assertRejects(() => pool.run("echo", () => 1), Error, "clone");
  assertEquals(await pool.run("inDefault"), "found");
});

test("W2 WorkerPool.run() runs each of many tasks once, on all Workers", async () => {
  await using pool = openPool({ workers: 3 });
  const answers = await Promise.all(
    Array.from({ length: 3000 }, (_, n) => pool.run<number>("square", n)),
  );
  assertEquals(answers, Array.from({ length: 3000 }, (_, n) => n * n));
  const names = new Set<string>();
  for (let round = 0; round < 50 && names.size < 3; round++) { // W3: none is left out
    const burnt = Array.from({ length: 60 }, () => pool.run<[string, number]>("burn", 20_000));
    for (const [name] of await Promise.all(burnt)) names.add(name);
  }
  assertEquals(names.size, 3);
  assertEquals(pool.pending, 0);
  assert(pool.stat().reduce((sum, { tasks }) => sum + tasks, 0) >= 3060);
});

test("W2 WorkerPool wakes a Worker for each task that comes alone", async () => {
  await using pool = openPool({ spinMicros: 0 });
  for (let n = 0; n < 300; n++) {
    assertEquals(await pool.run("square", n), n * n);
    if (n % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
});

test("WorkerPool.map() keeps the order, takes async functions, and stops at the first error", async () => {
  await using pool = openPool();
  const numbers = Array.from({ length: 5000 }, (_, n) => n);
  assertEquals(await pool.map("square", numbers), numbers.map((n) => n * n));
  assertEquals(await pool.map("square", new Set([3, 4]), { chunk: 1 }), [9, 16]);
  assertEquals(await pool.map("later", [3, 1, 2]), [3, 1, 2]);
  assertEquals(await pool.map("square", []), []);
  await assertRejects(() => pool.map("fail", numbers), RangeError, "0");
  assertEquals(await pool.run("square", 3), 9);
  await assertRejects(() => pool.map("square", numbers, { chunk: 0 }), KeelsonError, "chunk");
});

test("WorkerPool passes errors on, with their names", async () => {
  await using pool = openPool();
  for (const name of ["fail", "reject"]) {
    const error = await assertRejects(() => pool.run(name, "no good"), Error, "no good");
    assertEquals((error as Error).name, "RangeError");
  }
  assertEquals(await codeOf(pool.run("nobody")), "KL_ERR_NOT_FOUND");
  assertEquals(await codeOf(pool.run("toString")), "KL_ERR_NOT_FOUND");
  assertEquals(await codeOf(pool.run("")), "KL_ERR_ARGUMENT");
  assertEquals(await codeOf(pool.run("x".repeat(300))), "KL_ERR_ARGUMENT");
});

test("WorkerPool refuses a result that does not fit, and goes on", async () => {
  await using pool = openPool({ resultBytes: 4096, workers: 1 });
  const error = await assertRejects(() => pool.run("large", 5000), KeelsonError);
  assertMatch(error.message, /at most 4080/);
  assertEquals((await pool.run<Uint8Array>("large", 3000)).length, 3000);
  // More results than the ring holds, while nobody collects: the Worker waits.
  const many = await Promise.all(Array.from({ length: 50 }, () => pool.run("large", 3000)));
  assertEquals(many.length, 50);
});

test("WorkerPool rejects the task whose Worker ended, and only that one", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await using pool = openPool();
    const file = `${folder}/ran`;
    const letters = [..."abcdefghijklmnopqrst"];
    const all = letters.map((letter, at) =>
      at === 7 ? pool.run("die") : pool.run("mark", { file, letter })
    );
    const ended = await Promise.allSettled(all);
    for (const [at, { status }] of ended.entries()) {
      assertEquals(status, at === 7 ? "rejected" : "fulfilled", letters[at]);
    }
    const { reason } = ended[7] as PromiseRejectedResult;
    assertInstanceOf(reason, KeelsonError);
    assertEquals(reason.codeName, "KL_ERR_STOPPED");
    assertMatch(reason.message, /run "die": its Worker ended in the middle of it: nobody catches/);
    assertEquals([...await Deno.readTextFile(file)].sort().join(""), "abcdefgijklmnopqrst");
    for (let round = 0; round < 5; round++) {
      await assertRejects(() => pool.run("die"), KeelsonError);
    }
    assertEquals(await pool.map("square", [1, 2, 3]), [1, 4, 9]); // there are Workers again
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

test("WorkerPool.run() with a signal: what has not begun will not, what has goes on", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await using pool = openPool({ workers: 1 });
    const cell = `${folder}/cell`, file = `${folder}/ran`;
    const first = new AbortController(), second = new AbortController();
    const held = pool.run("hold", { cell }, { signal: first.signal });
    await appears(`${cell}.begun`);
    const waiting = pool.run("mark", { file, letter: "a" }, { signal: second.signal });
    const kept = pool.run("mark", { file, letter: "b" });
    second.abort(new Error("not wanted"));
    await assertRejects(() => waiting, Error, "not wanted");
    first.abort(new Error("too late"));
    await assertRejects(() => held, Error, "too late");
    await Deno.writeTextFile(`${cell}.end`, "");
    assertEquals(await kept, "b");
    assertEquals(await Deno.readTextFile(file), "b");
    await pool.drain();
    await assertRejects(() => pool.run("square", 1, { signal: AbortSignal.abort(new Error("x")) }));
    assertEquals(await pool.run("square", 3, { signal: new AbortController().signal }), 9);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

test("WorkerPool says when its queue is full, and ready() waits for room", async () => {
  await using pool = openPool({ queue: 1024 });
  const some = Array.from({ length: 1024 }, () => pool.run("burn", 1000));
  assertEquals(await codeOf(pool.run("square", 1)), "KL_ERR_AGAIN");
  await pool.ready();
  assertEquals(await pool.run("square", 2), 4);
  await Promise.all(some);
  assertEquals((await pool.map("square", new Array(5000).fill(3), { chunk: 1 })).length, 5000);
});

test("WorkerPool.close() rejects what is under way, twice is nothing, later calls throw", async () => {
  const pool = openPool();
  const slow = Array.from({ length: 20 }, () => pool.run("later", 50));
  await new Promise((resolve) => setTimeout(resolve, 5));
  pool.close();
  pool.close();
  for (const one of slow) assertEquals(await codeOf(one), "KL_ERR_CLOSED");
  assertEquals(await codeOf(pool.run("square", 1)), "KL_ERR_CLOSED");
  await pool.drain();
});

test("WorkerPool with await using loses nothing that was given", async () => {
  const results: unknown[] = [];
  {
    await using pool = openPool();
    for (let n = 0; n < 500; n++) void pool.run("square", n).then((value) => results.push(value));
  }
  assertEquals(results.length, 500);
});

test("WorkerPool whose module cannot be loaded rejects everything, with the reason", async () => {
  using pool = new WorkerPool(new URL("./no_such_module.ts", import.meta.url), { workers: 2 });
  const error = await assertRejects(() => pool.run("square", 1), KeelsonError);
  assertMatch(error.message, /no_such_module/);
  assertEquals(await codeOf(pool.run("square", 1)), "KL_ERR_STOPPED");
});

Deno.test("WorkerPool refuses bad options with the limit", () => {
  const bad: [WorkerPoolOptions, RegExp][] = [
    [{ workers: 0 }, /1 to 64/],
    [{ workers: 65 }, /1 to 64/],
    [{ workers: 1.5 }, /1 to 64/],
    [{ workers: NaN }, /1 to 64/],
    [{ queue: 0 }, /power of two/],
    [{ queue: 1000 }, /power of two/],
    [{ queue: -1024 }, /power of two/],
    [{ queue: 2 ** 53 }, /power of two/],
    [{ resultBytes: 5000 }, /power of two/],
    [{ resultBytes: NaN }, /power of two/],
    [{ spinMicros: -1 }, /0 to 1000/],
    [{ spinMicros: NaN }, /0 to 1000/],
  ];
  for (const [options, words] of bad) {
    const error = assertThrows(() => openPool(options), KeelsonError);
    assertEquals(error.codeName, "KL_ERR_ARGUMENT");
    assertMatch(error.message, words);
  }
  assertThrows(() => new WorkerPool("./relative.ts"), KeelsonError, "absolute URL");
});

Deno.test("a process that forgets to close its pool exits, with all results", async () => {
  const script = `
    import { WorkerPool } from "${new URL("../../mod.ts", import.meta.url)}";
    const pool = new WorkerPool("${FUNCTIONS}", { workers: 2 });
    void pool.map("square", [1, 2, 3]).then((squares) => console.log(squares.join()));`;
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(file, script);
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-lock", file],
    stdin: "null",
    env: { NO_COLOR: "1" },
  });
  const { stdout, stderr, code } = await child.output();
  await Deno.remove(file);
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  assertEquals(new TextDecoder().decode(stdout), "1,4,9\n");
});

test("WorkerPool.close() leaves no thread at work", async () => {
  let millis = 0;
  for (let round = 0; round < 4; round++) {
    const pool = openPool({ workers: 2 });
    await pool.map("square", [1, 2, 3, 4]);
    pool.close();
    await new Promise((resolve) => setTimeout(resolve, 100)); // they end
    const before = process.cpuUsage();
    await new Promise((resolve) => setTimeout(resolve, 200));
    const { user, system } = process.cpuUsage(before);
    millis += (user + system) / 1000;
  }
  assert(millis < 300, `${millis} ms of processor time in 800`); // one that spins: 200 a round and more
});
