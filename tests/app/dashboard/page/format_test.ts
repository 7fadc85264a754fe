import { assertEquals } from "@std/assert";
import {
  byteCount,
  count,
  micros,
  plural,
  seconds,
  shortCount,
  tableCount,
} from "../../../../lib/app/dashboard/page/format.ts";

Deno.test("count() groups digits by three", () => {
  assertEquals([0, 999, 1_000, 128_450_112].map(count), ["0", "999", "1,000", "128,450,112"]);
});

Deno.test("shortCount() keeps three digits and goes on to the next unit at the edge", () => {
  const cases: [number, string][] = [
    [0, "0"],
    [9_999, "9,999"],
    [10_000, "10.0 K"],
    [999_499, "999 K"],
    [999_600, "1.00 M"],
    [1_234_567, "1.23 M"],
    [98_765_432_100, "98.8 G"],
    [2 ** 53, "9.01 P"],
  ];
  for (const [value, text] of cases) assertEquals(shortCount(value), text);
});

Deno.test("tableCount() shows every digit below a thousand million", () => {
  assertEquals(tableCount(999_999_999), "999,999,999");
  assertEquals(tableCount(1_500_000_000), "1.50 G");
});

Deno.test("byteCount() uses decimal units", () => {
  assertEquals([0, 999, 1_000, 1_048_576, 6.9e9].map(byteCount), [
    "0 B",
    "999 B",
    "1.00 KB",
    "1.05 MB",
    "6.90 GB",
  ]);
});

Deno.test("micros() picks the unit and says when nothing was measured", () => {
  assertEquals([0.4, 58.2, 412.7, 2_310, 3_400_000].map(micros), [
    "0.40 µs",
    "58.2 µs",
    "413 µs",
    "2.31 ms",
    "3.40 s",
  ]);
  assertEquals(micros(5e9), "5,000 s");
  assertEquals([null, NaN, Infinity].map(micros), ["–", "–", "–"]);
});

Deno.test("seconds() and plural() read as a sentence", () => {
  assertEquals([0, 1, 119, 180].map(seconds), [
    "0 seconds",
    "1 second",
    "119 seconds",
    "3 minutes",
  ]);
  assertEquals([plural(1, "record"), plural(1_200, "record")], ["1 record", "1,200 records"]);
});
