import { assert, assertEquals, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { KeelsonError } from "../../lib/base/error.ts";
import { preloadCompletion } from "../../lib/exec/completion.ts";
import { SleepLock, type SleepLockGuard } from "../../lib/sync/sleep_lock.ts";
import { seededRandom } from "../lockfree/seeded_random.ts";
import { Peer, PeerProcess, until } from "./peer.ts";

preload("base", "sync", "exec");
await preloadCompletion();

function refusal(fn: () => unknown): string {
  const error = assertThrows(fn);
  assertInstanceOf(error, KeelsonError);
  return error.codeName;
}

function fresh(places?: number): SleepLock {
  return SleepLock.create(`test-${crypto.randomUUID()}`, places ? { places } : {});
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

Deno.test("SleepLock L1 L2: tasks of one event loop and of two ends come one by one, in order", async () => {
  using one = fresh();
  using other = SleepLock.attach(one.name);
  const order: number[] = [];
  let inside = 0;
  await Promise.all(Array.from({ length: 40 }, async (_, n) => {
    await using _guard = await (n % 2 ? one : other).acquire();
    assertEquals(++inside, 1);
    order.push(n);
    if (n % 5 === 0) await pause(1);
    inside--;
  }));
  assertEquals(order, Array.from({ length: 40 }, (_, n) => n));
  assertEquals(one.count, 0);
  SleepLock.remove(one.name);
});

Deno.test("SleepLock does what a list of tasks would do, over random operations", async () => {
  const first = fresh(), ends = [first, SleepLock.attach(first.name)];
  const model: { got?: SleepLockGuard; abort: AbortController; ended: Promise<unknown> }[] = [];
  const { random, seed } = seededRandom();
  for (let round = 0; round < 400; round++) {
    const dice = random(100) / 100;
    if (dice < 0.4) {
      const abort = new AbortController();
      const one = { abort } as typeof model[0];
      const waiting = ends[round % 2].acquire({ signal: abort.signal });
      one.ended = waiting.then((guard) => one.got = guard, () => {});
      model.push(one);
    } else if (dice < 0.5) {
      const guard = ends[round % 2].tryAcquire();
      assertEquals(guard !== undefined, model.length === 0, `SEED=${seed}`);
      guard?.release();
    } else if (dice < 0.6 && model.length > 1) {
      const [gone] = model.splice(1 + random(model.length - 1), 1);
      gone.abort.abort();
      await gone.ended;
      assertEquals(gone.got, undefined);
    } else if (model.length > 0) {
      await model[0].ended;
      model.shift()!.got!.release();
    }
    for (const one of model.slice(1)) assertEquals(one.got, undefined);
  }
  for (const one of model) {
    await one.ended;
    one.got!.release();
  }
  assertEquals(first.count, 0);
  SleepLock.remove(first.name);
  for (const end of ends) end.close();
});

Deno.test("SleepLock L3: tryAcquire() never waits; L4: a guard releases once", () => {
  using one = fresh();
  const guard = one.tryAcquire()!;
  assertEquals(guard.ownerDied, false);
  assertEquals(one.tryAcquire(), undefined);
  assertEquals(one.acquireSync({ timeoutMs: 3 }), undefined);
  guard.release();
  guard.release();
  {
    using again = one.acquireSync({ timeoutMs: 1000 });
    assert(again);
    assertEquals(one.count, 1);
  }
  assertEquals(one.count, 0);
  SleepLock.remove(one.name);
});

Deno.test("SleepLock.acquire() times out, can be aborted, and a full queue is refused", async () => {
  using one = fresh(4);
  const guard = one.tryAcquire()!;
  await assertRejects(() => one.acquire({ timeoutMs: 2 }), KeelsonError, "KL_ERR_TIMEOUT");
  await assertRejects(() => one.acquire({ signal: AbortSignal.timeout(2) }));
  await assertRejects(() => one.acquire({ signal: AbortSignal.abort() }));
  const waiting = one.acquire();
  await assertRejects(() => one.acquire(), KeelsonError, "KL_ERR_LIMIT"); // two gave up behind the owner
  guard.release();
  (await waiting).release();
  assertEquals(one.count, 0);
  SleepLock.remove(one.name);
});

const HOLD = `
  const lock = keelson.SleepLock.attach(NAME);
  const guard = await lock.acquire();`;

Deno.test("SleepLock goes on when its owner is a killed process and another waits behind", async () => {
  using lock = fresh();
  const code = HOLD.replace("NAME", JSON.stringify(lock.name));
  const owner = await PeerProcess.start(`${code}console.log("held"); setInterval(() => {}, 1000);`);
  const behind = await PeerProcess.start(`
    const lock = keelson.SleepLock.attach(${JSON.stringify(lock.name)});
    lock.acquire();
    console.log("queued");
    setInterval(() => {}, 1000);`);
  assertEquals(lock.count, 2);
  const waiting = lock.acquire();
  await behind.kill();
  await owner.kill();
  const guard = await waiting;
  assertEquals(guard.ownerDied, true);
  guard.release();
  const next = lock.tryAcquire()!;
  assertEquals(next.ownerDied, false);
  next.release();
  SleepLock.remove(lock.name);
});

Deno.test("SleepLock goes on when Workers that hold it and wait for it are terminated", async () => {
  using lock = fresh();
  const owner = await Peer.start(), waiter = await Peer.start();
  await owner.ask(
    `state.lock = keelson.SleepLock.attach(argument); state.guard = await state.lock.acquire();`,
    lock.name,
  );
  await waiter.ask(`state.lock = keelson.SleepLock.attach(argument);`, lock.name);
  waiter.tell(`state.lock.acquireSync({ timeoutMs: 300 });`); // blocked in C while it is terminated
  await until(() => lock.count === 2);
  const waiting = lock.acquire();
  waiter.terminate();
  owner.terminate();
  const guard = await waiting;
  assertEquals(guard.ownerDied, true);
  guard.release();
  assertEquals(lock.count, 0);
  SleepLock.remove(lock.name);
});

Deno.test("SleepLock.close() ends waits, gives the lock on, and is nothing the second time", async () => {
  const one = fresh();
  using other = SleepLock.attach(one.name);
  const guard = one.tryAcquire()!;
  const own = one.acquire(), others = other.acquire();
  await pause(2);
  one.close();
  one.close();
  await assertRejects(() => own, KeelsonError, "KL_ERR_CLOSED");
  const next = await others;
  assertEquals(next.ownerDied, true);
  assertEquals(refusal(() => guard.release()), "KL_ERR_HANDLE");
  next.release();
  assertEquals(refusal(() => one.tryAcquire()), "KL_ERR_HANDLE");
  assertEquals(refusal(() => one.acquireSync()), "KL_ERR_HANDLE");
  await assertRejects(() => one.acquire(), KeelsonError, "KL_ERR_HANDLE");
  SleepLock.remove(other.name);
});

Deno.test("SleepLock refuses bad names, places and times", async () => {
  const name = `test-${crypto.randomUUID()}`;
  for (const places of [0, 1, 3, -4, 2 ** 17, NaN, 2 ** 53, 2.5]) {
    assertEquals(refusal(() => SleepLock.create(name, { places })), "KL_ERR_ARGUMENT");
  }
  assertEquals(refusal(() => SleepLock.attach(name)), "KL_ERR_NOT_FOUND");
  assertEquals(refusal(() => SleepLock.create("a/b")), "KL_ERR_NAME");
  using lock = fresh();
  for (const timeoutMs of [-1, NaN]) {
    assertEquals(refusal(() => lock.acquireSync({ timeoutMs })), "KL_ERR_ARGUMENT");
    await assertRejects(() => lock.acquire({ timeoutMs }), KeelsonError, "KL_ERR_ARGUMENT");
  }
  assertEquals(lock.count, 0);
  SleepLock.remove(lock.name);
});
