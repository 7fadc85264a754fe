/**
 * Medians, intervals and seeded randomness for rows.
 *
 * @module
 */

/** The middle value; of an even number of values the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

/** The value below which a share of the values lies; between two of them, in proportion. */
export function percentile(values: readonly number[], share: number): number {
  if (values.length === 0) return NaN;
  const sorted = Float64Array.from(values).sort();
  const at = share * (sorted.length - 1);
  const low = Math.floor(at);
  const above = sorted[Math.min(low + 1, sorted.length - 1)];
  return sorted[low] + (above - sorted[low]) * (at - low);
}

/** Arithmetic mean. */
export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/**
 * How much better the first side was in each round, above 1 when it was: rounds are paired, so noise
 * that hits both sides of a round cancels.
 */
export function pairedRatios(
  own: readonly number[],
  other: readonly number[],
  better: "higher" | "lower",
): number[] {
  const count = Math.min(own.length, other.length);
  return Array.from(
    { length: count },
    (_, at) => better === "higher" ? own[at] / other[at] : other[at] / own[at],
  );
}

/**
 * The 95 % interval of the mean ratio: Student's t on the logarithms, so that 1.25 and 0.8 are
 * equally far from 1. Undefined below three ratios, or when one of them is not a positive number.
 */
export function ratioInterval(ratios: readonly number[]): [number, number] | undefined {
  const count = ratios.length;
  if (count < 3 || ratios.some((ratio) => !(ratio > 0 && ratio < Infinity))) return undefined;
  const logs = ratios.map(Math.log);
  const middle = mean(logs);
  const variance = logs.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (count - 1);
  const reach = studentT975(count - 1) * Math.sqrt(variance / count);
  return [Math.exp(middle - reach), Math.exp(middle + reach)];
}

/** 97.5 % points of Student's t for 1 to 30 degrees of freedom. */
// deno-fmt-ignore
const T_975 = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
  2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
  2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/** The 97.5 % point of Student's t; past the table by Cornish and Fisher's expansion. */
export function studentT975(freedom: number): number {
  if (freedom <= T_975.length) return T_975[freedom - 1];
  const z = 1.959964;
  return z + (z ** 3 + z) / (4 * freedom) +
    (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * freedom ** 2);
}

/** Pairs below which a claim of equality is not made. */
export const EQUALITY_PAIRS_MIN = 15;
/** What the interval must reach. */
export const EQUALITY_RATIO = 0.95;

/** Whether paired ratios let us say "not worse": enough of them, and the interval reaches 0.95. */
export function provesEquality(ratios: readonly number[]): boolean {
  if (ratios.length < EQUALITY_PAIRS_MIN) return false;
  const interval = ratioInterval(ratios);
  return interval !== undefined && interval[1] >= EQUALITY_RATIO;
}

/** A small seeded generator (mulberry32): numbers from 0 to 2^32 - 1. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}

/** Seeded records of one size: a digest over them is the same in every run. */
export function seededRecords(
  seed: number,
  count: number,
  recordBytes: number,
): Uint8Array<ArrayBuffer>[] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, () => {
    const words = Uint32Array.from({ length: Math.ceil(recordBytes / 4) }, random);
    return new Uint8Array(words.buffer, 0, recordBytes);
  });
}

/**
 * A digest that both ends of a pipe can keep up with at memory speed: it folds each record's length
 * and its first and last byte into 32 bits, in order. Wrong order, loss and repetition all show.
 */
export class RecordDigest {
  #state = 0x811c9dc5;
  #records = 0;
  #bytes = 0;

  /** The next record. */
  add(record: Uint8Array): void {
    const bytes = record.length;
    this.#state = Math.imul(this.#state ^ record[0] ^ (record[bytes - 1] << 8), 0x01000193);
    this.#state = Math.imul(this.#state ^ bytes, 0x01000193);
    this.#records++;
    this.#bytes += bytes;
  }

  /** Records so far. */
  get records(): number {
    return this.#records;
  }

  /** Bytes so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Eight hexadecimal digits. */
  toString(): string {
    return (this.#state >>> 0).toString(16).padStart(8, "0");
  }
}
