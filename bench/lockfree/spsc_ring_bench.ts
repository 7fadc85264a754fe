import { SpscRing } from "../../lib/lockfree/spsc_ring.ts";

const name = `bench-${crypto.randomUUID()}`;
const words = SpscRing.create(name, { words: true });
SpscRing.remove(name);
const records = SpscRing.create(name);
SpscRing.remove(name);
const record = new Uint8Array(100);

Deno.bench({
  name: "push and pop a word",
  group: "ring",
  baseline: true,
  fn: () => void (words.pushWord(7) && words.popWord()),
});
Deno.bench({
  name: "push and pop 100 B",
  group: "ring",
  fn: () => void (records.push(record) && records.pop()),
});
