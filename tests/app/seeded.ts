/** Random numbers that can be had again: `SEED=n` repeats a run. */
export function seeded(): { seed: number; random: (below: number) => number } {
  const seed = Number(Deno.env.get("SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
  let state = seed >>> 0;
  const random = (below: number): number => {
    // splitmix32
    state = (state + 0x9e3779b9) | 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return ((z ^ (z >>> 15)) >>> 0) % below;
  };
  return { seed, random };
}
