import { assert, assertEquals, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { KeelsonError } from "../../lib/base/error.ts";
import { preloadCompletion } from "../../lib/exec/completion.ts";
import { Region } from "../../lib/mem/region.ts";
import { Mutex } from "../../lib/sync/mutex.ts";
import { seededRandom } from "../lockfree/seeded_random.ts";
import { Peer, PeerProcess, until } from "./peer.ts";

preload("base", "mem", "sync", "exec");
await preloadCompletion();

function fresh(): Mutex {
  return Mutex.create(`test-${crypto.randomUUID()}`);
}

function refusal(fn: () => unknown): string {
  const error = assertThrows(fn);
  assertInstanceOf(error, KeelsonError);
  return error.codeName;
}

Deno.test("Mutex L3 L4: two ends exclude each other, and only the owner unlocks", () => {
  using one = fresh();
  using other = Mutex.attach(one.name);
  assert(one.tryLock() && one.held);
  assert(!other.tryLock() && !other.held);
  assertEquals(one.tryLock(), false);
  assertEquals(refusal(() => one.lock()), "KL_ERR_LOCKED");
  assertEquals(refusal(() => other.unlock()), "KL_ERR_LOCKED");
  assertEquals(other.lock({ timeoutMs: 5 }), false);
  one.unlock();
  assertEquals(refusal(() => one.unlock()), "KL_ERR_LOCKED");
  assert(other.lock() && !other.ownerDied);
  other.unlock();
  Mutex.remove(one.name);
});

Deno.test("Mutex does what one variable would do, over random operations of three ends", () => {
  const first = fresh();
  const ends = [first, Mutex.attach(first.name), Mutex.attach(first.name)];
  const { random, seed } = seededRandom();
  let owner: Mutex | undefined;
  for (let round = 0; round < 3000; round++) {
    const end = ends[random(3)];
    if (random(2) === 0) {
      assertEquals(end.tryLock(), owner === undefined, `SEED=${seed}`);
      owner ??= end;
    } else if (owner === end) {
      end.unlock();
      owner = undefined;
    } else {
      assertEquals(refusal(() => end.unlock()), "KL_ERR_LOCKED");
    }
  }
  Mutex.remove(first.name);
  for (const end of ends) end.close();
});

Deno.test("Mutex.lockAsync() waits without blocking, times out and can be aborted", async () => {
  using one = fresh();
  using other = Mutex.attach(one.name);
  one.tryLock();
  assertEquals(await other.lockAsync({ timeoutMs: 3 }), false);
  await assertRejects(() => other.lockAsync({ signal: AbortSignal.timeout(3) }));
  setTimeout(() => one.unlock(), 3);
  assertEquals(await other.lockAsync(), true);
  await assertRejects(() => other.lockAsync(), KeelsonError, "KL_ERR_LOCKED");
  other.unlock();
  Mutex.remove(one.name);
});

Deno.test("Mutex L1: a Worker and a process and this thread count to the same sum", async () => {
  const rounds = 300;
  using mutex = fresh();
  const sharedName = `test-${crypto.randomUUID()}`;
  using shared = Region.create(sharedName, { bytes: 64 });
  const count = `
    const mutex = keelson.Mutex.attach("${mutex.name}");
    const region = keelson.Region.attach("${sharedName}");
    const words = new Uint32Array(region.view().buffer, 0, 2);
    for (let i = 0; i < ${rounds}; i++) {
      mutex.lock();
      if (words[0] !== words[1]) throw new Error("two inside");
      words[0]++;
      if (i % 32 === 0) for (const end = performance.now() + 0.2; performance.now() < end;);
      words[1]++;
      mutex.unlock();
    }
    mutex.close(), region.close();`;
  const worker = await Peer.start();
  const counted = worker.ask(count);
  const process = await PeerProcess.start(`console.log("up");${count}`);
  await counted;
  assertEquals(await process.ended(), 0);
  worker.terminate();
  const words = new Uint32Array(shared.view().buffer, 0, 2);
  assertEquals([...words], [2 * rounds, 2 * rounds]);
  Region.remove(sharedName);
  Mutex.remove(mutex.name);
});

Deno.test("Mutex goes on when its owner is a killed process, and says so until an unlock", async () => {
  using mutex = fresh();
  const child = await PeerProcess.start(`
    const mutex = keelson.Mutex.attach("${mutex.name}");
    mutex.lock();
    console.log("held");
    setInterval(() => {}, 1000);`);
  assert(!mutex.tryLock());
  const waiting = mutex.lockAsync();
  await child.kill();
  const started = performance.now();
  assert(await waiting);
  assert(performance.now() - started < 5000);
  assert(mutex.ownerDied);
  mutex.unlock();
  assert(mutex.tryLock() && !mutex.ownerDied);
  mutex.unlock();
  Mutex.remove(mutex.name);
});

Deno.test("Mutex goes on when its owner is a terminated Worker, and one that waits is terminated", async () => {
  using mutex = fresh();
  const owner = await Peer.start();
  assert(
    await owner.ask(
      `state.mutex = keelson.Mutex.attach(argument); return state.mutex.lock();`,
      mutex.name,
    ),
  );
  const waiter = await Peer.start();
  const attached = waiter.ask(`state.mutex = keelson.Mutex.attach(argument);`, mutex.name);
  await attached;
  waiter.tell(`state.mutex.lock({ timeoutMs: 300 });`); // blocked in C while it is terminated
  owner.terminate();
  waiter.terminate();
  await until(() => mutex.tryLock());
  assert(mutex.ownerDied);
  mutex.unlock();
  Mutex.remove(mutex.name);
});

Deno.test("Mutex.close() ends waits, abandons what is held, and is nothing the second time", async () => {
  const one = fresh();
  using other = Mutex.attach(one.name);
  other.tryLock();
  const waiting = one.lockAsync();
  await new Promise((resolve) => setTimeout(resolve, 2));
  one.close();
  one.close();
  await assertRejects(() => waiting, KeelsonError, "KL_ERR_CLOSED");
  for (const call of [() => one.tryLock(), () => one.lock(), () => one.unlock(), () => one.held]) {
    assertEquals(refusal(call), "KL_ERR_HANDLE");
  }
  const third = Mutex.attach(other.name);
  other.close();
  assert(third.tryLock() && third.ownerDied);
  third.close();
  Mutex.remove(third.name);
});

Deno.test("Mutex refuses bad names and times", async () => {
  for (const name of ["", "../x", "x".repeat(200), 5 as unknown as string]) {
    assert(["KL_ERR_NAME", "KL_ERR_ARGUMENT"].includes(refusal(() => Mutex.create(name))));
  }
  assertEquals(refusal(() => Mutex.attach("nobody-made-this")), "KL_ERR_NOT_FOUND");
  using mutex = fresh();
  for (const timeoutMs of [-1, NaN, "1" as unknown as number]) {
    assertEquals(refusal(() => mutex.lock({ timeoutMs })), "KL_ERR_ARGUMENT");
    await assertRejects(() => mutex.lockAsync({ timeoutMs }), KeelsonError, "KL_ERR_ARGUMENT");
  }
  Mutex.remove(mutex.name);
});
