/**
 * Random choices that a seed repeats.
 *
 * @module
 */

/** `random(n)` gives 0 to n - 1. The seed: SEED, or random; to be shown when a test fails. */
export function seededRandom(): { random: (bound: number) => number; seed: number } {
  const given = Deno.env.get("SEED");
  const seed = given === undefined
    ? crypto.getRandomValues(new Uint32Array(1))[0]
    : Number(given) >>> 0;
  let state = seed;
  // mulberry32
  const random = (bound: number) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound;
  };
  return { random, seed };
}
