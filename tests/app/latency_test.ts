import { assert, assertEquals } from "@std/assert";
import { Latency } from "../../lib/app/latency.ts";
import { seeded } from "./seeded.ts";

Deno.test("Latency.percentile() is null without samples and exact below 64", () => {
  const latency = new Latency();
  assertEquals(latency.percentile(0.5), null);
  for (let micros = 1; micros <= 50; micros++) latency.record(micros);
  assertEquals([0, 0.02, 0.5, 0.99, 1].map((p) => latency.percentile(p)), [1, 1, 25, 50, 50]);
  assertEquals(latency.total, 50);
});

Deno.test("Latency.percentile() is within 1/32 of the true one, and never below it", () => {
  const { seed, random } = seeded();
  const latency = new Latency();
  const samples: number[] = [];
  for (let i = 0; i < 20_000; i++) {
    const micros = random(2 ** (1 + random(31)));
    samples.push(micros);
    latency.record(micros);
  }
  samples.sort((a, b) => a - b);
  for (const share of [0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1]) {
    const exact = samples[Math.max(0, Math.ceil(samples.length * share) - 1)];
    const given = latency.percentile(share)!;
    assert(given >= exact && given <= exact * (1 + 1 / 32) + 1, `SEED=${seed} ${given} ${exact}`);
  }
});

Deno.test("Latency.record() weighs, and takes what is negative, absurd or no number", () => {
  const latency = new Latency();
  latency.record(10, 99);
  latency.record(1e18);
  assertEquals([latency.percentile(0.99), latency.percentile(1)], [10, 2 ** 32 - 1]);
  latency.record(-5);
  latency.record(NaN);
  assertEquals([latency.percentile(0), latency.total], [0, 102]);
});
