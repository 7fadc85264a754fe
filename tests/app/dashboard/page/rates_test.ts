import { assertAlmostEquals, assertEquals } from "@std/assert";
import { historyMs, RateHistory } from "../../../../lib/app/dashboard/page/rates.ts";

/** Feeds a history with a steady flow, four snapshots a second. */
function flow(history: RateHistory, fromMs: number, toMs: number, recordsPerSecond: number): void {
  for (let at = fromMs; at <= toMs; at += 250) {
    const published = at / 1_000 * recordsPerSecond;
    history.push({ at, published, durable: published / 2, bytes: published * 100 });
  }
}

Deno.test("RateHistory gives the rate of each counter over the last second", () => {
  const history = new RateHistory();
  flow(history, 10_000, 20_000, 1_000);
  assertAlmostEquals(history.latest!.publishedPerSecond!, 1_000);
  assertAlmostEquals(history.latest!.durablePerSecond!, 500);
  assertAlmostEquals(history.latest!.bytesPerSecond!, 100_000);
});

Deno.test("RateHistory shows no dip and no peak for a snapshot that is late", () => {
  const history = new RateHistory();
  flow(history, 0, 5_000, 1_000);
  history.push({ at: 5_900, published: 5_900, durable: 2_950, bytes: 590_000 });
  history.push({ at: 6_000, published: 6_000, durable: 3_000, bytes: 600_000 });
  for (const point of history.points) assertAlmostEquals(point.publishedPerSecond!, 1_000);
});

Deno.test("RateHistory keeps three minutes and no more", () => {
  const history = new RateHistory();
  flow(history, 0, historyMs * 2, 10);
  const { points } = history;
  assertEquals(points.at(-1)!.at, historyMs * 2);
  assertEquals(points[0].at, historyMs);
});

Deno.test("RateHistory breaks the line at a long silence and goes on behind it", () => {
  const history = new RateHistory();
  flow(history, 0, 2_000, 100);
  flow(history, 20_000, 22_000, 100);
  const gaps = history.points.filter((point) => point.publishedPerSecond === null);
  assertEquals(gaps.map((point) => point.at), [20_000]);
  assertAlmostEquals(history.latest!.publishedPerSecond!, 100);
});

Deno.test("RateHistory never shows a negative rate when the counters begin again", () => {
  const history = new RateHistory();
  flow(history, 100_000, 102_000, 1_000);
  history.push({ at: 102_250, published: 0, durable: 0, bytes: 0 });
  assertEquals(history.latest, undefined);
  history.push({ at: 102_500, published: 250, durable: 0, bytes: 0 });
  assertEquals(history.latest!.publishedPerSecond, 1_000);
  assertEquals(history.points.filter((point) => (point.publishedPerSecond ?? 0) < 0), []);
});

Deno.test("RateHistory begins anew when the clock is set back, and ignores the same moment twice", () => {
  const history = new RateHistory();
  flow(history, 100_000, 102_000, 10);
  const before = history.points.length;
  history.push({ at: 102_000, published: 9e9, durable: 9e9, bytes: 9e9 });
  assertEquals(history.points.length, before);
  flow(history, 1_000, 2_000, 10);
  assertEquals(history.points.every((point) => point.at <= 2_000), true);
});
