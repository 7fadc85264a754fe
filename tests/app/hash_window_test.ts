import { assertEquals } from "@std/assert";
import { HashWindow } from "../../lib/app/hash_window.ts";
import { seeded } from "./seeded.ts";

Deno.test("HashWindow finds a different content, whichever side speaks first", () => {
  const window = new HashWindow();
  window.expect(0, 10);
  window.deliver(0, 10);
  window.deliver(1, 99);
  window.expect(1, 11);
  window.expect(2, 12);
  window.deliver(2, 98);
  assertEquals(window.mismatches, [
    { sequence: 1, expected: 11, delivered: 99 },
    { sequence: 2, expected: 12, delivered: 98 },
  ]);
  assertEquals(window.undecided, 0);
});

Deno.test("HashWindow takes the later word of a publisher that started again", () => {
  const window = new HashWindow();
  window.expect(0, 1);
  window.expect(0, 2);
  window.deliver(0, 2);
  window.expect(0, 3); // delivered already: too late to matter
  assertEquals(window.mismatches, []);
});

Deno.test("HashWindow holds only what is between the two sides, in any order", () => {
  const { seed, random } = seeded();
  const window = new HashWindow();
  let expected = 0;
  const undelivered: number[] = [];
  for (let step = 0; step < 60_000; step++) {
    if (random(2) === 0 || undelivered.length === 0) {
      if (random(2) === 0) window.expect(expected, expected * 7);
      else undelivered.push(expected);
      undelivered.push(expected++);
    } else {
      const last = undelivered.length - 1;
      const pick = Math.max(0, last - random(3000));
      const sequence = undelivered[pick];
      undelivered[pick] = undelivered[last];
      undelivered.pop();
      if (undelivered.includes(sequence)) window.expect(sequence, sequence * 7);
      else window.deliver(sequence, sequence * 7);
    }
  }
  assertEquals(window.mismatches, [], `SEED=${seed}`);
});

Deno.test("HashWindow with one record lost for ever goes on, and still knows that record", () => {
  const window = new HashWindow();
  for (let n = 0; n < 3_000; n++) {
    window.expect(n, n);
    if (n !== 5) window.deliver(n, n);
  }
  assertEquals(window.undecided, 2_995); // held open by the lost one
  window.deliver(5, 6);
  assertEquals(window.mismatches, [{ sequence: 5, expected: 5, delivered: 6 }]);
  assertEquals(window.undecided, 0);
});

Deno.test("HashWindow takes no notice of an absurd sequence", () => {
  const window = new HashWindow();
  window.deliver(2 ** 50, 1);
  assertEquals(window.undecided, 0);
});
