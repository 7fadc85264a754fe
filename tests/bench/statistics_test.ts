import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import {
  median,
  pairedRatios,
  percentile,
  provesEquality,
  ratioInterval,
  RecordDigest,
  seededRandom,
  seededRecords,
  studentT975,
} from "../../bench/frame/statistics.ts";

Deno.test("median() takes the middle one, or the mean of two", () => {
  assertEquals(median([5, 1, 3]), 3);
  assertEquals(median([4, 1, 3, 2]), 2.5);
  assertEquals(median([7]), 7);
  assert(Number.isNaN(median([])));
});

Deno.test("percentile() goes between two values in proportion and leaves its input alone", () => {
  const values = [40, 10, 30, 20];
  assertEquals(percentile(values, 0), 10);
  assertEquals(percentile(values, 1), 40);
  assertAlmostEquals(percentile(values, 0.9), 37);
  assertEquals(values, [40, 10, 30, 20]);
});

Deno.test("pairedRatios() is above 1 where the first side was better, whatever better means", () => {
  assertEquals(pairedRatios([2, 4], [1, 8], "higher"), [2, 0.5]);
  assertEquals(pairedRatios([2, 4], [1, 8], "lower"), [0.5, 2]);
  assertEquals(pairedRatios([1, 2, 3], [1], "higher"), [1]);
});

Deno.test("studentT975() is the table's up to 30 and goes on without a step to the normal one", () => {
  assertEquals(studentT975(1), 12.706);
  assertEquals(studentT975(14), 2.145);
  assertAlmostEquals(studentT975(31), 2.0395, 2e-4);
  assertAlmostEquals(studentT975(60), 2.0003, 2e-4);
  assertAlmostEquals(studentT975(1e9), 1.959964, 1e-6);
});

Deno.test("ratioInterval() is the t interval of the logarithms", () => {
  // Logs -0.1, 0, 0.1: mean 0, standard deviation 0.1, t(2) = 4.303.
  const [low, high] = ratioInterval([Math.exp(-0.1), 1, Math.exp(0.1)])!;
  const reach = 4.303 * 0.1 / Math.sqrt(3);
  assertAlmostEquals(low, Math.exp(-reach), 1e-9);
  assertAlmostEquals(high, Math.exp(reach), 1e-9);
  assertAlmostEquals(low * high, 1, 1e-9);
});

Deno.test("ratioInterval() says nothing below three ratios or of impossible ones", () => {
  assertEquals(ratioInterval([1, 1]), undefined);
  assertEquals(ratioInterval([1, 1, 0]), undefined);
  assertEquals(ratioInterval([1, 1, Infinity]), undefined);
  assertEquals(ratioInterval([1, 1, NaN]), undefined);
});

Deno.test("ratioInterval() holds the true ratio in about 95 of 100 seeded trials", () => {
  const random = seededRandom(1);
  const normal = () => {
    let sum = -6;
    for (let at = 0; at < 12; at++) sum += random() / 2 ** 32;
    return sum;
  };
  let held = 0;
  for (let trial = 0; trial < 1000; trial++) {
    const ratios = Array.from({ length: 15 }, () => 0.9 * Math.exp(0.2 * normal()));
    const [low, high] = ratioInterval(ratios)!;
    if (low <= 0.9 && 0.9 <= high) held++;
  }
  assert(held >= 930 && held <= 970, `${held} of 1000`);
});

Deno.test("provesEquality() wants 15 pairs and an interval that reaches 0.95", () => {
  const around = (ratio: number, count: number) =>
    Array.from({ length: count }, (_, at) => ratio * (at % 2 === 0 ? 0.99 : 1.01));
  assert(provesEquality(around(1, 15)));
  assert(!provesEquality(around(1, 14)));
  assert(provesEquality(around(0.948, 15)));
  assert(!provesEquality(around(0.93, 15)));
  assert(provesEquality(around(3, 15)));
});

Deno.test("seededRandom() repeats itself for one seed and not for another", () => {
  const draw = (seed: number) => Array.from({ length: 4 }, seededRandom(seed));
  assertEquals(draw(7), draw(7));
  assert(draw(7)[0] !== draw(8)[0]);
  for (const value of draw(7)) assert(Number.isInteger(value) && value >= 0 && value < 2 ** 32);
});

Deno.test("seededRecords() have the wanted length, also an odd one", () => {
  const records = seededRecords(3, 2, 101);
  assertEquals(records.map((record) => record.length), [101, 101]);
  assertEquals(seededRecords(3, 2, 101), records);
  assert(records[0].some((byte, at) => byte !== records[1][at]));
});

Deno.test("RecordDigest shows loss, repetition and wrong order", () => {
  const [a, b, c] = seededRecords(5, 3, 64);
  const digest = (...records: Uint8Array[]) => {
    const made = new RecordDigest();
    for (const record of records) made.add(record);
    return made.toString();
  };
  const right = digest(a, b, c);
  assertEquals(right, digest(a, b, c));
  for (const wrong of [digest(a, b), digest(a, b, b, c), digest(b, a, c), digest(a, b, c, c)]) {
    assert(wrong !== right);
  }
  assertEquals(right.length, 8);
});
