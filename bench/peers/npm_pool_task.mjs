/** The tasks of the pool rows, as bench/exec/pool_work.ts has them. */
export function spin(index, turns) {
  let state = index;
  for (let turn = 0; turn < turns; turn++) state = (Math.imul(state, 1664525) + 1013904223) | 0;
  return state >>> 0;
}

/** `spin`, written out: see pool_functions.ts. */
export default function task({ index, turns }) {
  let state = index;
  for (let turn = 0; turn < turns; turn++) state = (Math.imul(state, 1664525) + 1013904223) | 0;
  return state >>> 0;
}
