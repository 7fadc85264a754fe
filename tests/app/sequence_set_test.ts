import { assertEquals } from "@std/assert";
import { SequenceSet } from "../../lib/app/sequence_set.ts";
import { seeded } from "./seeded.ts";

Deno.test("SequenceSet tells new, late and again apart", () => {
  const set = new SequenceSet();
  assertEquals([0, 1, 4, 2, 2, 4, 3, 3, 0].map((n) => set.see(n)), [
    "new",
    "new",
    "new",
    "late",
    "again",
    "again",
    "late",
    "again",
    "again",
  ]);
  assertEquals([set.top, set.missingCount], [5, 0]);
});

Deno.test("SequenceSet takes everything below its start as seen", () => {
  const set = new SequenceSet(10);
  assertEquals([set.see(9), set.has(9), set.has(10), set.missingBelow(12)], [
    "again",
    true,
    false,
    2,
  ]);
});

Deno.test("SequenceSet counts as a plain set of numbers does", () => {
  const { seed, random } = seeded();
  const set = new SequenceSet();
  const model = new Set<number>();
  for (let step = 0; step < 5000; step++) {
    const value = random(Math.floor(step / 8) + 4);
    const top = Math.max(-1, ...[model.size ? [...model].reduce((a, b) => Math.max(a, b)) : -1]);
    const expected = model.has(value) ? "again" : value > top ? "new" : "late";
    assertEquals(set.see(value), expected, `SEED=${seed} step ${step}`);
    model.add(value);
  }
  for (const bound of [0, 1, 100, 400, 700]) {
    let missing = 0;
    for (let n = 0; n < bound; n++) if (!model.has(n)) missing++;
    assertEquals(set.missingBelow(bound), missing, `SEED=${seed}`);
  }
});
