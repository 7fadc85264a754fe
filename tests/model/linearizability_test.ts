import { assert, assertEquals, assertThrows } from "@std/assert";
import { seededRandom } from "../../bench/frame/statistics.ts";
import {
  History,
  linearizes,
  OPERATION,
  type Operation,
  queueFault,
  queueModel,
  stackModel,
} from "./linearizability.ts";

const { push, pop, empty, full } = OPERATION;

/** A history that threads could have made: each operation happens at a moment between its two times. */
function simulate(
  { threads, count, seed, capacity = Infinity, stack = false }: {
    threads: number;
    count: number;
    seed: number;
    capacity?: number;
    stack?: boolean;
  },
): History {
  const random = seededRandom(seed);
  const part = () => random() / 2 ** 32;
  const calls: { start: number; moment: number; end: number; pushes: boolean; value: number }[] =
    [];
  for (let thread = 0; thread < threads; thread++) {
    let time = 5 * part();
    for (let number = 0; number < count / threads; number++) {
      const start = time + 2 * part(), moment = start + 6 * part(), end = moment + 6 * part();
      calls.push({ start, moment, end, pushes: part() < 0.5, value: thread * 1e6 + number });
      time = end;
    }
  }
  const history = new History(calls.length);
  const inside: number[] = [];
  let head = 0;
  for (const { start, end, pushes, value } of calls.sort((a, b) => a.moment - b.moment)) {
    if (pushes && inside.length - head === capacity) history.add(full, value, start, end);
    else if (pushes) history.add(push, inside[inside.push(value) - 1], start, end);
    else if (inside.length === head) history.add(empty, NaN, start, end);
    else history.add(pop, stack ? inside.pop()! : inside[head++], start, end);
  }
  return history;
}

/** The same with one answer changed, as a broken queue might give it. */
function damage(history: History, seed: number): History {
  const random = seededRandom(seed);
  const operations = history.operations();
  const some = (kind: number) => {
    const all = operations.filter((operation) => operation.kind === kind);
    return all[random() % all.length] as Operation | undefined;
  };
  const one = some(pop), other = some(pop), nothing = some(empty);
  switch (random() % 5) {
    case 0: // two values change places
      if (one && other) [one.value, other.value] = [other.value, one.value];
      break;
    case 1: // one comes twice
      if (one && other) one.value = other.value;
      break;
    case 2: // one is nobody's
      if (one) one.value = 5e6;
      break;
    case 3: // one gets lost
      if (one) Object.assign(one, { kind: empty, value: NaN });
      break;
    case 4: // one comes from the future
      if (nothing) Object.assign(nothing, { kind: pop, value: some(push)?.value ?? 5e6 });
      break;
  }
  const damaged = new History(operations.length);
  for (const { kind, value, start, end } of operations) damaged.add(kind, value, start, end);
  return damaged;
}

function historyOf(...operations: [kind: number, value: number, start: number, end: number][]) {
  const history = new History();
  for (const operation of operations) history.add(...operation);
  return history;
}

Deno.test("queueFault() and linearizes() agree on 3000 random histories, good and bad", () => {
  const aspects = new Map<string, number>();
  for (let seed = 1; seed <= 3000; seed++) {
    const good = simulate({ threads: 2 + seed % 3, count: 12, seed });
    assertEquals(queueFault(good), undefined, `seed ${seed}`);
    const history = seed % 2 ? damage(good, seed) : good;
    const fault = queueFault(history);
    const possible = linearizes(history.operations(), queueModel());
    assertEquals(possible, fault === undefined, `seed ${seed}: ${JSON.stringify(fault)}`);
    if (fault) aspects.set(fault.aspect, (aspects.get(fault.aspect) ?? 0) + 1);
  }
  for (const aspect of ["fresh", "repeat", "order", "empty"]) {
    assert((aspects.get(aspect) ?? 0) > 20, `${aspect}: ${aspects.get(aspect)} histories`);
  }
});

Deno.test("queueFault() accuses no bounded queue falsely, and none that linearizes() acquits", () => {
  let accused = 0, refused = 0;
  for (let seed = 1; seed <= 2000; seed++) {
    const good = simulate({ threads: 3, count: 15, seed, capacity: 2 });
    refused += good.operations().filter(({ kind }) => kind === full).length;
    assertEquals(queueFault(good, { capacity: 2 }), undefined, `seed ${seed}`);
    assert(linearizes(good.operations(), queueModel(2)), `seed ${seed}`);
    if (!queueFault(good, { capacity: 3 })) continue;
    accused++;
    assert(!linearizes(good.operations(), queueModel(3)), `seed ${seed}`);
  }
  assert(refused > 500 && accused > 100, `${refused} refused, ${accused} accused`);
});

Deno.test("linearizes() knows a stack from a queue, and a broken stack from a sound one", () => {
  let asQueue = 0, broken = 0;
  for (let seed = 1; seed <= 500; seed++) {
    const history = simulate({ threads: 3, count: 18, seed, stack: true });
    assert(linearizes(history.operations(), stackModel()), `seed ${seed}`);
    if (!linearizes(history.operations(), queueModel())) asQueue++;
    if (!linearizes(damage(history, seed).operations(), stackModel())) broken++;
  }
  assert(asQueue > 50 && broken > 100, `${asQueue} are no queue's, ${broken} no stack's`);
});

Deno.test("equal times overlap, so a coarse clock accuses nobody", () => {
  const history = historyOf([push, 1, 0, 1], [push, 2, 1, 2], [pop, 2, 3, 4], [pop, 1, 4, 5]);
  assertEquals(queueFault(history), undefined);
  const apart = historyOf([push, 1, 0, 1], [push, 2, 1.5, 2], [pop, 2, 3, 4], [pop, 1, 4.5, 5]);
  assertEquals(queueFault(apart), { aspect: "order", value: 2 });
  assert(linearizes(history.operations(), queueModel()));
  assert(!linearizes(apart.operations(), queueModel()));
});

Deno.test('"empty" is impossible only where stretches of values cover all of its time', () => {
  const covered = historyOf([push, 1, 0, 1], [push, 2, 2, 3], [empty, NaN, 2, 8], [pop, 1, 4, 9], [
    pop,
    2,
    9,
    10,
  ]);
  assertEquals(queueFault(covered)?.aspect, "empty");
  assert(!linearizes(covered.operations(), queueModel()));
  const gap = historyOf([push, 1, 0, 1], [push, 2, 2, 5], [empty, NaN, 2, 8], [pop, 1, 4, 9], [
    pop,
    2,
    9,
    10,
  ]);
  assertEquals(queueFault(gap), undefined);
  assert(linearizes(gap.operations(), queueModel()));
});

Deno.test("an operation that never returned may have happened or not", () => {
  const dead = historyOf([push, 1, 0, Infinity], [pop, 1, 2, 3], [push, 2, 4, Infinity], [
    empty,
    NaN,
    5,
    6,
  ]);
  assertEquals(queueFault(dead), undefined);
  assert(linearizes(dead.operations(), queueModel()));
  // A consumer died in its pop: one value may be missing, two may not.
  const survivors = historyOf([push, 1, 0, 1], [push, 2, 2, 3], [push, 3, 4, 5], [pop, 3, 8, 9]);
  assertEquals(queueFault(survivors, { lostPops: 1 })?.aspect, "order");
  assertEquals(queueFault(survivors, { lostPops: 2 }), undefined);
  const lost: Operation = { kind: pop, value: NaN, start: 6, end: Infinity };
  const operations = survivors.operations();
  assert(!linearizes([...operations, lost], queueModel()));
  assert(linearizes([...operations, lost, lost], queueModel()));
});

Deno.test("linearizes() says so when it cannot find out", () => {
  const history = simulate({ threads: 8, count: 200, seed: 1 });
  assertThrows(() => linearizes(history.operations(), queueModel(), 1000), RangeError);
});

Deno.test("queueFault() looks through a million operations, and finds the one that is wrong", () => {
  const history = simulate({ threads: 8, count: 1_000_000, seed: 7 });
  assertEquals(history.length, 1_000_000);
  const started = performance.now();
  assertEquals(queueFault(history), undefined);
  const seconds = (performance.now() - started) / 1000;
  assert(seconds < 60, `${seconds} s`); // 1.5 s on a quiet machine: quadratic would take hours
  const columns = history.columns;
  const pops = Array.from({ length: history.length }, (_, at) => 4 * at)
    .filter((at) => columns[at] === pop);
  const one = pops[100_000], other = pops[100_100];
  [columns[one + 1], columns[other + 1]] = [columns[other + 1], columns[one + 1]];
  assert(queueFault(History.of(columns)));
});
