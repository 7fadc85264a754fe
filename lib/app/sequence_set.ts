/**
 * Which numbers of a growing sequence have been seen: everything below a top, except some ranges.
 * Costs nothing while all come in order, and a few words for each gap.
 *
 * @module
 */

/** How a number relates to those seen before it. */
export type Sighting = "new" | "late" | "again";

/** The numbers seen so far. */
export class SequenceSet {
  /** Sorted, disjoint `[from, to)` below the top that were not seen. */
  readonly #missing: { from: number; to: number }[] = [];
  #top: number;
  #missingCount = 0;

  /** Everything below `start` counts as seen. */
  constructor(start = 0) {
    this.#top = start;
  }

  /** One above the highest number seen. */
  get top(): number {
    return this.#top;
  }

  /** How many below the top were not seen. */
  get missingCount(): number {
    return this.#missingCount;
  }

  /** Notes that `value` was seen: above all before (`new`), in a gap (`late`), or before (`again`). */
  see(value: number): Sighting {
    if (value >= this.#top) {
      if (value > this.#top) {
        this.#missing.push({ from: this.#top, to: value });
        this.#missingCount += value - this.#top;
      }
      this.#top = value + 1;
      return "new";
    }
    return this.#fill(value) ? "late" : "again";
  }

  /** Whether `value` was seen. */
  has(value: number): boolean {
    return value < this.#top && this.#find(value) < 0;
  }

  /** How many numbers below `bound` were not seen. */
  missingBelow(bound: number): number {
    let count = Math.max(0, bound - this.#top);
    for (const { from, to } of this.#missing) {
      if (from >= bound) break;
      count += Math.min(to, bound) - from;
    }
    return count;
  }

  #fill(value: number): boolean {
    const index = this.#find(value);
    if (index < 0) return false;
    const { from, to } = this.#missing[index];
    const parts = [{ from, to: value }, { from: value + 1, to }].filter((r) => r.from < r.to);
    this.#missing.splice(index, 1, ...parts);
    this.#missingCount--;
    return true;
  }

  /** Index of the gap that contains `value`, or -1. */
  #find(value: number): number {
    let low = 0;
    let high = this.#missing.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const { from, to } = this.#missing[middle];
      if (value < from) high = middle - 1;
      else if (value >= to) low = middle + 1;
      else return middle;
    }
    return -1;
  }
}
