import { assertEquals } from "@std/assert";
import { Checker, type Delivery } from "../../lib/app/checker.ts";
import { seeded } from "./seeded.ts";

const SESSION = 7;
const hashOf = (sequence: number) => (sequence * 2654435761) >>> 0;

/** A clean history of one session whose records are all the records of the topic. */
function history(count: number): Delivery[] {
  return Array.from({ length: count }, (_, n) => ({
    session: SESSION,
    sequence: n,
    totalOrder: n,
    hash: hashOf(n),
  }));
}

/** Judges deliveries when `count` records were published and acknowledged. */
function judge(deliveries: Delivery[], count: number, hashesFirst = true) {
  const checker = new Checker();
  checker.know(SESSION);
  const hashes = Uint32Array.from({ length: count }, (_, n) => hashOf(n));
  if (hashesFirst) checker.expect(SESSION, 0, hashes);
  for (const delivery of deliveries) checker.deliver(delivery);
  if (!hashesFirst) checker.expect(SESSION, 0, hashes);
  checker.acknowledge(SESSION, count);
  return checker.verdict();
}

function both(deliveries: Delivery[], count: number) {
  const first = judge(deliveries, count, true);
  assertEquals(judge(deliveries, count, false), first);
  return first;
}

const CLEAN = { lost: 0, duplicates: 0, outOfOrder: 0 };

Deno.test("Checker.verdict() of a clean history has nothing to say", () => {
  assertEquals(both(history(100), 100), { delivered: 100, ...CLEAN });
});

Deno.test("Checker.verdict() after one record was dropped: lost is 1, the others 0", () => {
  for (const at of [0, 40, 99]) {
    const deliveries = history(100).toSpliced(at, 1);
    assertEquals(both(deliveries, 100), { delivered: 99, ...CLEAN, lost: 1 });
  }
});

Deno.test("Checker.verdict() after one record was dropped before it was ordered", () => {
  const deliveries = history(100).toSpliced(40, 1).map((d, n) => ({ ...d, totalOrder: n }));
  assertEquals(both(deliveries, 100), { delivered: 99, ...CLEAN, lost: 1 });
});

Deno.test("Checker.verdict() after one record was repeated: duplicates is 1, the others 0", () => {
  for (const at of [0, 40, 99]) {
    const deliveries = history(100).toSpliced(at, 0, history(100)[at]);
    assertEquals(both(deliveries, 100), { delivered: 100, ...CLEAN, duplicates: 1 });
  }
});

Deno.test("Checker.verdict() after one record was ordered twice, or came again much later", () => {
  const again = history(100)[40];
  const ordered = history(100).toSpliced(41, 0, again).map((d, n) => ({ ...d, totalOrder: n }));
  assertEquals(both(ordered, 100), { delivered: 100, ...CLEAN, duplicates: 1 });
  const later = history(100).toSpliced(80, 0, again);
  assertEquals(both(later, 100), { delivered: 100, ...CLEAN, duplicates: 1 });
});

Deno.test("Checker.verdict() after two records were swapped: outOfOrder is 1, the others 0", () => {
  for (const at of [0, 40, 98]) {
    const swapped = history(100);
    [swapped[at], swapped[at + 1]] = [swapped[at + 1], swapped[at]];
    const expected = { delivered: 100, ...CLEAN, outOfOrder: 1 };
    assertEquals(both(swapped, 100), expected, "delivered in the wrong order");
    const ordered = swapped.map((d, n) => ({ ...d, totalOrder: n }));
    assertEquals(both(ordered, 100), expected, "ordered in the wrong order");
    const contents = history(100);
    [contents[at].hash, contents[at + 1].hash] = [contents[at + 1].hash, contents[at].hash];
    assertEquals(both(contents, 100), expected, "each with the other's content");
  }
});

Deno.test("Checker.verdict() sees two sessions swapped by the total order alone", () => {
  const deliveries = history(10).map((d, n) => ({
    ...d,
    session: n % 2,
    sequence: Math.floor(n / 2),
  }));
  [deliveries[4], deliveries[5]] = [deliveries[5], deliveries[4]];
  const checker = new Checker();
  checker.know(0);
  checker.know(1);
  for (const delivery of deliveries) checker.deliver(delivery);
  assertEquals(checker.verdict(), { delivered: 10, ...CLEAN, outOfOrder: 1 });
});

Deno.test("Checker.verdict() counts an acknowledged record with other content as lost", () => {
  const deliveries = history(100);
  deliveries[40] = { ...deliveries[40], hash: 1 };
  assertEquals(both(deliveries, 100), { delivered: 100, ...CLEAN, lost: 1 });
});

Deno.test("Checker.verdict() does not miss what was never acknowledged", () => {
  assertEquals(both(history(90), 90), { delivered: 90, ...CLEAN });
  const checker = new Checker();
  checker.know(SESSION);
  checker.acknowledge(SESSION, 10);
  for (const delivery of history(10)) checker.deliver(delivery);
  checker.acknowledge(SESSION, 4); // of an older message: acknowledged stays acknowledged
  assertEquals([checker.verdict(), checker.caughtUp], [{ delivered: 10, ...CLEAN }, true]);
});

Deno.test("Checker.soFar() does not count what is still on its way", () => {
  const checker = new Checker();
  checker.know(SESSION);
  checker.acknowledge(SESSION, 10);
  for (const delivery of history(5)) checker.deliver(delivery);
  assertEquals([checker.soFar().lost, checker.caughtUp, checker.verdict().lost], [0, false, 5]);
  checker.deliver(history(8)[7]);
  assertEquals(checker.soFar().lost, 2);
});

Deno.test("Checker watches only the order of sessions it does not know", () => {
  const checker = new Checker();
  checker.know(SESSION);
  checker.deliver({ session: 99, sequence: 5, totalOrder: 0, hash: 1 });
  checker.deliver({ session: 99, sequence: 5, totalOrder: 1, hash: 1 });
  assertEquals(checker.verdict(), { delivered: 0, ...CLEAN });
  checker.deliver({ session: 99, sequence: 6, totalOrder: 1, hash: 1 });
  assertEquals(checker.verdict(), { delivered: 0, ...CLEAN, duplicates: 1 });
});

Deno.test("Checker takes over a session that another checked up to some record", () => {
  const checker = new Checker();
  checker.know(SESSION, 50);
  for (const delivery of history(100)) checker.deliver(delivery);
  checker.expect(SESSION, 50, Uint32Array.from({ length: 50 }, (_, n) => hashOf(50 + n)));
  checker.acknowledge(SESSION, 100);
  assertEquals(checker.verdict(), { delivered: 100, ...CLEAN });
});

Deno.test("Checker.verdict() counts every fault of a random history, one by one", () => {
  const { seed, random } = seeded();
  for (let round = 0; round < 200; round++) {
    const count = 50 + random(200);
    const deliveries = history(count);
    const faults = { lost: 0, duplicates: 0, outOfOrder: 0 };
    // From the end to the beginning, with room between, so that faults do not touch.
    for (let at = count - 4; at >= 4; at -= 4 + random(12)) {
      const fault = random(4);
      if (fault === 0) {
        deliveries.splice(at, 1);
        faults.lost++;
      } else if (fault === 1) {
        deliveries.splice(at, 0, deliveries[at]);
        faults.duplicates++;
      } else if (fault === 2) {
        [deliveries[at], deliveries[at + 1]] = [deliveries[at + 1], deliveries[at]];
        faults.outOfOrder++;
      }
    }
    assertEquals(
      both(deliveries, count),
      { delivered: count - faults.lost, ...faults },
      `SEED=${seed} round ${round}`,
    );
  }
});
