import { assert, assertEquals, assertInstanceOf, assertMatch, assertThrows } from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { KeelsonError } from "../../lib/base/error.ts";
import { preloadCompletion } from "../../lib/exec/completion.ts";
import { IndexPool, type IndexPoolOptions, type PoolClaim } from "../../lib/lockfree/index_pool.ts";
import { seededRandom } from "./seeded_random.ts";

preload("base", "sync", "lockfree", "exec");
await preloadCompletion();

const ROOT = new URL("../..", import.meta.url);
const SOURCE = `import { IndexPool } from "${ROOT.href}lib/lockfree/index_pool.ts";`;

/** A pool whose name is gone already. */
function freshPool(options?: IndexPoolOptions): IndexPool {
  const pool = IndexPool.create(`test-${crypto.randomUUID()}`, options);
  IndexPool.remove(pool.name);
  return pool;
}

function refusal(fn: () => unknown, message: RegExp = /^Cannot /): string {
  const error = assertThrows(fn);
  assertInstanceOf(error, KeelsonError);
  assertMatch(error.message, message);
  return error.codeName;
}

Deno.test("IndexPool behaves like a plain map of holders, through two objects", () => {
  const { random, seed } = seededRandom();
  using mine = IndexPool.create(`test-${crypto.randomUUID()}`, { capacity: 70, payloadBytes: 4 });
  using theirs = IndexPool.attach(mine.name);
  IndexPool.remove(mine.name);
  const pools = [mine, theirs];
  const holders = new Map<number, number>(), generations = new Array<number>(70).fill(0);
  const claims: PoolClaim[] = []; // also those of the past
  for (let round = 0; round < 5000; round++) {
    const who = random(2), pool = pools[who];
    if (random(2) === 0) {
      const claim = pool.acquire();
      assertEquals(claim === undefined, holders.size === 70, `SEED=${seed}`);
      if (!claim) continue;
      assert(!holders.has(claim.index), `SEED=${seed}`);
      assertEquals(claim.generation, generations[claim.index], `SEED=${seed}`);
      pool.write(claim, Uint8Array.of(who, 2, 3, claim.index));
      holders.set(claim.index, who);
      claims.push(claim);
    } else if (claims.length > 0) {
      const claim = claims[Math.max(0, claims.length - 1 - random(150))];
      const current = generations[claim.index] === claim.generation;
      const holds = current && holders.get(claim.index) === who;
      assertEquals(pool.holds(claim), holds, `SEED=${seed}`);
      if (holds) assertEquals(pool.read(claim), Uint8Array.of(who, 2, 3, claim.index));
      else assertEquals(refusal(() => pool.read(claim)), "KL_ERR_NOT_FOUND");
      assertEquals(pool.release(claim), holds, `SEED=${seed}`);
      if (!holds) continue;
      holders.delete(claim.index);
      generations[claim.index]++;
    }
  }
  assertEquals(mine.held, holders.size);
  assertEquals(mine.heldHere + theirs.heldHere, holders.size);
  mine.verify();
  theirs.close();
  assertEquals(mine.held, mine.heldHere); // what a closed object held is free
});

Deno.test("IndexPool refuses bad names, sizes and claims, and says the limit", () => {
  const unused = `test-${crypto.randomUUID()}`;
  for (const bad of ["", "../x", "a/b", "a\0b", "x".repeat(300)]) {
    assertMatch(refusal(() => IndexPool.create(bad)), /KL_ERR_(NAME|ARGUMENT)/);
  }
  for (const value of [0, -1, 1.5, NaN, 2 ** 53, 2 ** 24, "8" as unknown as number]) {
    assertEquals(refusal(() => IndexPool.create(unused, { capacity: value })), "KL_ERR_ARGUMENT");
  }
  for (const value of [-1, NaN, 65537]) {
    const code = refusal(() => IndexPool.create(unused, { payloadBytes: value }));
    assertEquals(code, "KL_ERR_ARGUMENT");
  }
  assertEquals(refusal(() => IndexPool.attach(unused)), "KL_ERR_NOT_FOUND");
  using pool = freshPool({ capacity: 3, payloadBytes: 2 });
  for (const index of [3, -1, 0.5, NaN, 2 ** 32]) {
    assertEquals(refusal(() => pool.release({ index, generation: 0 })), "KL_ERR_ARGUMENT");
  }
  const claim = pool.acquire()!;
  assertEquals(
    refusal(() => pool.write(claim, new Uint8Array(3)), /3 bytes of cells with 2/),
    "KL_ERR_ARGUMENT",
  );
  assertEquals(refusal(() => pool.holds({ ...claim, generation: -1 })), "KL_ERR_ARGUMENT");
});

Deno.test("IndexPool.close() twice is nothing, and later calls throw", () => {
  const pool = freshPool();
  const claim = pool.acquire()!;
  pool.close();
  pool.close();
  for (const call of [() => pool.acquire(), () => pool.release(claim), () => pool.held]) {
    assertEquals(refusal(call), "KL_ERR_HANDLE");
  }
});

Deno.test("IndexPool.waitForSpace() waits for a release", async () => {
  using pool = freshPool({ capacity: 1 });
  const claim = pool.acquire()!;
  assertEquals(await pool.waitForSpace({ timeoutMs: 2 }), false);
  setTimeout(() => pool.release(claim), 2);
  assertEquals(await pool.waitForSpace(), true);
});

Deno.test("IndexPool.recover() frees the cells of a Worker that was terminated", async () => {
  using pool = IndexPool.create(`test-${crypto.randomUUID()}`, { capacity: 8 });
  const mine = pool.acquire()!;
  const source = `${SOURCE}
    self.onmessage = ({ data }) => {
      globalThis.pool = IndexPool.attach(data);
      self.postMessage([pool.acquire(), pool.acquire()]);
    };`;
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(url, { type: "module" });
  const claims = new Promise<PoolClaim[]>((resolve) =>
    worker.onmessage = ({ data }) => resolve(data)
  );
  worker.postMessage(pool.name);
  const [theirs] = await claims;
  assertEquals(pool.held, 3);
  assertEquals(pool.release(theirs), false); // a live Worker's
  assertEquals(pool.recover(), 0);
  worker.terminate();
  for (let tries = 0; tries < 1000 && pool.held > 1; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 5)); // the thread ends a little later
    pool.recover();
  }
  assertEquals(pool.held, 1);
  assert(pool.holds(mine));
  URL.revokeObjectURL(url);
  IndexPool.remove(pool.name);
});

Deno.test("IndexPool.recover() frees the cells of a process that was killed", async () => {
  using pool = IndexPool.create(`test-${crypto.randomUUID()}`, { capacity: 8 });
  const mine = pool.acquire()!;
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(
    file,
    `${SOURCE}
    const pool = IndexPool.attach(Deno.args[0]);
    pool.acquire();
    console.log("holds");
    for (;;) pool.release(pool.acquire());`,
  );
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--no-lock", "-A", file, pool.name],
    cwd: ROOT,
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const output = child.stdout.getReader();
  await output.read();
  child.kill("SIGKILL");
  await child.status;
  await output.cancel();
  const freed = pool.recover();
  assert(freed === 1 || freed === 2, `${freed}`);
  assertEquals(pool.held, 1);
  assert(pool.holds(mine));
  pool.verify();
  await Deno.remove(file);
  IndexPool.remove(pool.name);
});
