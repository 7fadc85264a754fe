import { assert, assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { KeelsonError } from "../../lib/base/error.ts";
import { OrderedLock } from "../../lib/sync/ordered_lock.ts";
import { Peer } from "./peer.ts";

preload("base", "sync");

function refusal(fn: () => unknown): string {
  const error = assertThrows(fn);
  assertInstanceOf(error, KeelsonError);
  return error.codeName;
}

/** Locks of fresh classes; the checker on while `body` runs. Answers the reports that it made. */
function checked<const Ranks extends number[]>(
  ranks: Ranks,
  body: (locks: OrderedLock[]) => void,
): ReturnType<typeof OrderedLock.violations> {
  const id = crypto.randomUUID();
  const locks = ranks.map((rank, i) => OrderedLock.create(`test-${i}-${id}`, { rank }));
  const before = OrderedLock.violations().length;
  OrderedLock.checkOrder(true);
  try {
    body(locks);
  } finally {
    OrderedLock.checkOrder(false);
    for (const lock of locks) OrderedLock.remove(lock.name), lock.close();
  }
  return OrderedLock.violations().slice(before);
}

Deno.test("OrderedLock O1: growing ranks are fine, falling ones are reported and lock all the same", () => {
  const reports = checked([1, 2], ([low, high]) => {
    low.lock(), high.lock(), low.unlock(), high.unlock();
    high.lock();
    assert(low.lock());
    using other = OrderedLock.attach(low.name);
    assertEquals(other.tryLock(), false); // it is locked
    assertEquals([other.rank, other.className], [1, low.className]);
    low.unlock(), high.unlock();
  });
  assertEquals(reports.length, 1);
  assertEquals(reports[0].rule, "rank");
  assertEquals(reports[0].earlier, undefined);
});

Deno.test("OrderedLock O2: an inversion is reported at once, with the lines of both orders", () => {
  function firstOrder(one: OrderedLock, other: OrderedLock) {
    one.lock();
    other.lock();
    other.unlock(), one.unlock();
  }
  function secondOrder(one: OrderedLock, other: OrderedLock) {
    other.lock();
    one.lock();
    one.unlock(), other.unlock();
  }
  const reports = checked([0, 0], ([one, other]) => {
    firstOrder(one, other);
    assertEquals(OrderedLock.counts().violations.cycle, cyclesBefore);
    secondOrder(one, other);
    secondOrder(one, other); // counted, not reported again
  });
  assertEquals(reports.length, 1);
  const [{ rule, held, acquired, earlier }] = reports;
  assertEquals(rule, "cycle");
  for (const site of [held.site, acquired.site]) assert(site.startsWith("secondOrder"), site);
  for (const site of [earlier!.heldSite, earlier!.acquiredSite]) {
    assert(site.startsWith("firstOrder") && site.includes("ordered_lock_test.ts"), site);
  }
  assertEquals(OrderedLock.counts().violations.cycle, cyclesBefore + 2);
});

const cyclesBefore = OrderedLock.counts().violations.cycle;

Deno.test("OrderedLock O1: one class needs growing keys; tryLock is exempt", () => {
  const className = `class-${crypto.randomUUID()}`;
  const [one, two] = [1, 2].map((key) =>
    OrderedLock.create(`test-${crypto.randomUUID()}`, { className, key, rank: 7 })
  );
  const keys = OrderedLock.counts().violations.key;
  OrderedLock.checkOrder(true);
  one.lock(), two.lock(), two.unlock(), one.unlock();
  two.lock(), assert(one.tryLock()), one.unlock(), two.unlock();
  assertEquals(OrderedLock.counts().violations.key, keys);
  two.lock(), one.lock(), one.unlock(), two.unlock();
  assertEquals(OrderedLock.counts().violations.key, keys + 1);
  assertEquals(OrderedLock.violations().at(-1)?.held.key, 2);
  OrderedLock.checkOrder(false);
  const other = `test-${crypto.randomUUID()}`;
  assertEquals(refusal(() => OrderedLock.create(other, { className, rank: 8 })), "KL_ERR_EXISTS");
  for (const lock of [one, two]) OrderedLock.remove(lock.name), lock.close();
});

Deno.test("OrderedLock O2: an inversion between two Workers is found; O3: off nothing is counted", async () => {
  const id = crypto.randomUUID();
  const names = [`test-a-${id}`, `test-b-${id}`];
  const locks = names.map((name) => OrderedLock.create(name));
  const cycles = OrderedLock.counts().violations.cycle;
  const workers = [await Peer.start(), await Peer.start()];
  const code = `
    const [one, two] = argument.map((name) => keelson.OrderedLock.attach(name));
    one.lock(), two.lock(), two.unlock(), one.unlock(), one.close(), two.close();`;
  await workers[0].ask(code, names);
  const { acquired } = OrderedLock.counts();
  await workers[1].ask(code, names.toReversed());
  assertEquals(OrderedLock.counts().acquired, acquired);
  assertEquals(OrderedLock.counts().violations.cycle, cycles);
  OrderedLock.checkOrder(true);
  await workers[0].ask(code, names);
  await workers[1].ask(code, names.toReversed());
  assertEquals(OrderedLock.counts().violations.cycle, cycles + 1);
  assertEquals(OrderedLock.counts().acquired, acquired + 4);
  OrderedLock.checkOrder(false);
  for (const worker of workers) worker.terminate();
  for (const lock of locks) OrderedLock.remove(lock.name), lock.close();
});

Deno.test("OrderedLock survives its owner and refuses what cannot be", async () => {
  using lock = OrderedLock.create(`test-${crypto.randomUUID()}`);
  const worker = await Peer.start();
  await worker.ask(
    `state.lock = keelson.OrderedLock.attach(argument); state.lock.lock();`,
    lock.name,
  );
  worker.terminate();
  assert(lock.lock({ timeoutMs: 20_000 }));
  assert(lock.ownerDied);
  assertEquals(refusal(() => lock.lock()), "KL_ERR_LOCKED");
  lock.unlock();
  assertEquals(refusal(() => lock.unlock()), "KL_ERR_LOCKED");
  const name = `test-${crypto.randomUUID()}`;
  for (
    const options of [{ rank: -1 }, { rank: 2 ** 32 }, { key: 0.5 }, { key: NaN }, { key: -1 }]
  ) {
    assertEquals(refusal(() => OrderedLock.create(name, options)), "KL_ERR_ARGUMENT");
  }
  for (const className of ["", "x".repeat(64), "a\nb"]) {
    assertEquals(refusal(() => OrderedLock.create(name, { className })), "KL_ERR_ARGUMENT");
  }
  assertEquals(refusal(() => OrderedLock.attach(name)), "KL_ERR_NOT_FOUND");
  const closed = OrderedLock.attach(lock.name);
  closed.lock();
  closed.close();
  closed.close();
  assertEquals(refusal(() => closed.lock()), "KL_ERR_HANDLE");
  assert(lock.tryLock() && lock.ownerDied);
  OrderedLock.remove(lock.name);
});
