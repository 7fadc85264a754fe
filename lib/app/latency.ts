/**
 * Latencies in whole microseconds, counted in log-linear buckets: exact below 64, within 1/32 above,
 * so that any number of samples costs a few kilobytes.
 *
 * @module
 */

const SUB_BITS = 5;
const SUB_COUNT = 1 << SUB_BITS;
const LINEAR_MAX = 2 * SUB_COUNT;
const BUCKET_COUNT = LINEAR_MAX + (32 - SUB_BITS - 1) * SUB_COUNT;
const MICROS_MAX = 0xffff_ffff;

/** Counts of latencies. */
export class Latency {
  readonly #counts = new Float64Array(BUCKET_COUNT);
  #total = 0;

  /** Samples taken. */
  get total(): number {
    return this.#total;
  }

  /** Counts `weight` samples of `micros`; a negative one counts as 0. */
  record(micros: number, weight = 1): void {
    this.#counts[bucketOf(micros)] += weight;
    this.#total += weight;
  }

  /** The latency that a share of `share` (0 to 1) of the samples does not exceed; null without samples. */
  percentile(share: number): number | null {
    if (this.#total === 0) return null;
    const wanted = Math.max(1, Math.ceil(this.#total * share));
    let seen = 0;
    for (let bucket = 0; bucket < BUCKET_COUNT; bucket++) {
      seen += this.#counts[bucket];
      if (seen >= wanted) return highestOf(bucket);
    }
    return MICROS_MAX;
  }
}

function bucketOf(micros: number): number {
  if (!(micros >= 1)) return 0;
  const value = micros >= MICROS_MAX ? MICROS_MAX : Math.floor(micros);
  if (value < LINEAR_MAX) return value;
  const exponent = 31 - Math.clz32(value);
  const sub = (value >>> (exponent - SUB_BITS)) - SUB_COUNT;
  return LINEAR_MAX + (exponent - SUB_BITS - 1) * SUB_COUNT + sub;
}

function highestOf(bucket: number): number {
  if (bucket < LINEAR_MAX) return bucket;
  const shift = Math.floor((bucket - LINEAR_MAX) / SUB_COUNT) + 1;
  const sub = (bucket - LINEAR_MAX) % SUB_COUNT;
  return (SUB_COUNT + sub + 1) * 2 ** shift - 1;
}
