/** Turns the totals of snapshots into rates: the lines of the charts. */
import type { DashboardSnapshot } from "../source.ts";

/** One point of the lines; null where the line has a gap. */
export interface RatePoint {
  at: number;
  publishedPerSecond: number | null;
  durablePerSecond: number | null;
  bytesPerSecond: number | null;
}

/** How far the charts look back. */
export const historyMs = 180_000;
/** A rate is taken over this long, so that one late snapshot is no dip followed by a peak. */
const windowMs = 1_000;
/** A longer silence breaks the line. */
const gapMs = 3_000;

type Totals = Pick<DashboardSnapshot, "at" | "published" | "durable" | "bytes">;

/** The last three minutes of rates. */
export class RateHistory {
  readonly points: RatePoint[] = [];
  #recent: Totals[] = [];

  /** Takes the next snapshot in. */
  push(now: Totals): void {
    const last = this.#recent.at(-1);
    if (last !== undefined && now.at === last.at) return;
    if (last !== undefined && !continues(last, now)) this.#breakLine(now.at);
    this.#recent.push({
      at: now.at,
      published: now.published,
      durable: now.durable,
      bytes: now.bytes,
    });
    // keeps one total at or before the start of the window
    while (this.#recent.length > 2 && this.#recent[1].at <= now.at - windowMs) this.#recent.shift();
    const from = this.#recent[0];
    const spanSeconds = (now.at - from.at) / 1_000;
    if (spanSeconds < 0.2) return;
    this.points.push({
      at: now.at,
      publishedPerSecond: (now.published - from.published) / spanSeconds,
      durablePerSecond: (now.durable - from.durable) / spanSeconds,
      bytesPerSecond: (now.bytes - from.bytes) / spanSeconds,
    });
    while (this.points[0].at < now.at - historyMs) this.points.shift();
  }

  /** The newest point, if the line has not just been broken. */
  get latest(): RatePoint | undefined {
    const point = this.points.at(-1);
    return point?.publishedPerSecond == null ? undefined : point;
  }

  #breakLine(at: number): void {
    this.#recent = [];
    if (this.points.length > 0 && at < this.points.at(-1)!.at) this.points.length = 0;
    this.points.push({
      at,
      publishedPerSecond: null,
      durablePerSecond: null,
      bytesPerSecond: null,
    });
  }
}

/** False after a long silence, a clock set back, or totals that began again with a new node. */
function continues(last: Totals, now: Totals): boolean {
  return now.at > last.at && now.at - last.at <= gapMs && now.published >= last.published &&
    now.durable >= last.durable && now.bytes >= last.bytes;
}
