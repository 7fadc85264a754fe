import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { KeelsonError } from "../../lib/base/error.ts";
import { preloadCompletion } from "../../lib/exec/completion.ts";
import { TaskGraph } from "../../lib/exec/task_graph.ts";
import { WorkerPool } from "../../lib/exec/worker_pool.ts";

preload("base", "exec");
await preloadCompletion();

const FUNCTIONS = new URL("./pool_functions.ts", import.meta.url);

function test(name: string, fn: (pool: WorkerPool) => Promise<void>): void {
  Deno.test({
    name,
    fn: async () => {
      await using pool = new WorkerPool(FUNCTIONS, { workers: 2 });
      await fn(pool);
    },
    sanitizeOps: false,
    sanitizeResources: false,
  });
}

function codeOf(fn: () => unknown): string {
  return assertThrows(fn, KeelsonError).codeName;
}

test("G1 G7 TaskGraph runs a diamond again and again, with the results of those before", async (pool) => {
  using graph = new TaskGraph(pool);
  graph.add("a", "add", 1);
  graph.add("b", "add", 10, { after: ["a"] }).add("c", "add", 100, { after: ["a"] });
  graph.add("d", "add", 1000, { after: ["b", "c"] });
  for (let round = 0; round < 20; round++) {
    const outcome = await graph.run();
    assertEquals(outcome.done, 4);
    assertEquals(outcome.result("d"), 1000 + 11 + 101);
    assertEquals(outcome.firstFailed, undefined);
  }
  graph.add("e", "echo", undefined, { after: ["d"] }); // it may grow between runs
  assertEquals((await graph.run()).result("e"), undefined);
  assertEquals(graph.size, 5);
});

test("G2 TaskGraph refuses a cycle with the names on its way", async (pool) => {
  using graph = new TaskGraph(pool);
  graph.add("a", "add", 1).add("b", "add", 1, { after: ["a"] });
  graph.add("c", "add", 1, { after: ["b"] });
  const error = assertThrows(() => graph.precede("c", "a"), KeelsonError);
  assertEquals(error.codeName, "KL_ERR_ARGUMENT");
  assert(error.message.includes(`"a" -> "b" -> "c" -> "a"`), error.message);
  assertThrows(() => graph.precede("a", "a"), KeelsonError, `"a" -> "a"`);
  graph.precede("a", "b"); // G5: said twice is said once
  assertEquals((await graph.run()).result("c"), 3);
});

test("G3 TaskGraph skips what is behind a failed task, runs the rest, and ends", async (pool) => {
  using graph = new TaskGraph(pool);
  graph.add("bad", "fail", "no good").add("worse", "add", 1, { after: ["bad"] });
  graph.add("worst", "add", 1, { after: ["worse"] }).add("good", "add", 5);
  graph.add("gone", "die");
  const outcome = await graph.run();
  assertEquals([outcome.done, outcome.failed, outcome.skipped], [1, 2, 2]);
  assertEquals(outcome.result("good"), 5);
  assertEquals(outcome.state("worst"), "skipped");
  const error = assertThrows(() => outcome.result("bad"), Error, "no good");
  assertEquals(error.name, "RangeError");
  assertThrows(() => outcome.result("gone"), KeelsonError, "its Worker ended in the middle");
  assertThrows(() => outcome.result("worse"), KeelsonError, "it was skipped");
  assert(["bad", "gone"].includes(outcome.firstFailed!));
});

test("G4 TaskGraph refuses what it does not know or was not made for", async (pool) => {
  using graph = new TaskGraph(pool, { tasks: 2, dependencies: 1 });
  graph.add("a", "add", 1).add("b", "add", 1, { after: ["a"] });
  assertEquals(codeOf(() => graph.add("c", "add", 1)), "KL_ERR_LIMIT");
  assertEquals(codeOf(() => graph.add("a", "add", 1)), "KL_ERR_EXISTS");
  assertEquals(codeOf(() => graph.precede("a", "x")), "KL_ERR_NOT_FOUND");
  assertEquals(codeOf(() => graph.add("z", "add", 1, { after: ["x"] })), "KL_ERR_NOT_FOUND");
  for (const tasks of [0, -1, 1.5, NaN, 2 ** 53, 2 ** 20 + 1]) {
    assertEquals(codeOf(() => new TaskGraph(pool, { tasks })), "KL_ERR_ARGUMENT");
  }
  assertEquals(codeOf(() => new TaskGraph(pool, { dependencies: 0 })), "KL_ERR_ARGUMENT");
  const running = graph.run();
  assertEquals((await assertRejects(() => graph.run(), KeelsonError)).codeName, "KL_ERR_AGAIN");
  await running;
  graph.close();
  graph.close();
  assertEquals((await assertRejects(() => graph.run(), KeelsonError)).codeName, "KL_ERR_HANDLE");
  assertEquals(codeOf(() => graph.add("q", "add", 1)), "KL_ERR_HANDLE");
});

/** What must come of a graph: sums along its edges, undefined behind a failure. */
function oracle(edges: number[][], fails: boolean[]): (number | undefined)[] {
  const sums: (number | undefined)[] = [];
  for (const [node, before] of edges.entries()) {
    const known = before.map((other) => sums[other]);
    sums[node] = fails[node] || known.includes(undefined)
      ? undefined
      : (known as number[]).reduce((a, b) => a + b, node);
  }
  return sums;
}

test("G1 G3 G7 TaskGraph ends random graphs as a sequential oracle does", async (pool) => {
  let seed = 12345;
  const below = (bound: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) % bound;
  };
  for (let round = 0; round < 40; round++) {
    const count = 1 + below(60);
    const edges = Array.from({ length: count }, (_, node) => {
      const before = Array.from({ length: below(4) }, () => below(Math.max(1, node)));
      return node === 0 ? [] : [...new Set(before)];
    });
    const fails = edges.map(() => below(15) === 0);
    using graph = new TaskGraph(pool, { tasks: 64, dependencies: 256 });
    for (const [node, before] of edges.entries()) {
      graph.add(`${node}`, fails[node] ? "fail" : "add", node, { after: before.map(String) });
    }
    const outcome = await graph.run();
    for (const [node, sum] of oracle(edges, fails).entries()) {
      if (sum !== undefined) assertEquals(outcome.result(`${node}`), sum);
      else assert(["failed", "skipped"].includes(outcome.state(`${node}`)));
    }
    assertEquals(outcome.done + outcome.failed + outcome.skipped, count);
  }
});

test("TaskGraph.run() with a signal begins nothing more and ends", async (pool) => {
  using graph = new TaskGraph(pool);
  for (let n = 0; n < 100; n++) {
    graph.add(`${n}`, "later", 2, { after: n === 0 ? [] : [`${n - 1}`] });
  }
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 20);
  const outcome = await graph.run({ signal: abort.signal });
  assert(outcome.done < 100);
  assertEquals(outcome.failed, 0);
  assertEquals(outcome.done + outcome.cancelled + outcome.skipped, 100);
  await assertRejects(() => graph.run({ signal: AbortSignal.abort(new Error("never")) }), Error);
});

test("TaskGraph whose pool is closed in the middle of a run says so", async () => {
  const pool = new WorkerPool(FUNCTIONS, { workers: 1 });
  using graph = new TaskGraph(pool);
  for (let n = 0; n < 50; n++) graph.add(`${n}`, "later", 5);
  const running = graph.run();
  await new Promise((resolve) => setTimeout(resolve, 5));
  pool.close();
  assertEquals((await assertRejects(() => running, KeelsonError)).codeName, "KL_ERR_CLOSED");
});
