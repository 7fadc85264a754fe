/** What the Workers of the pool rows run. */

/**
 * One task: `spin` of pool_work.ts, written out. V8 would copy it into a function that only calls it, and
 * leave it half optimized there; the peers' tasks are written in the same way.
 */
export function spinTask({ index, turns }: { index: number; turns: number }): number {
  let state = index;
  for (let turn = 0; turn < turns; turn++) state = (Math.imul(state, 1664525) + 1013904223) | 0;
  return state >>> 0;
}

/** Next to nothing: the price of a node of a graph. */
export const nothing = () => {};
