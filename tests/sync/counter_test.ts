import { assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { KeelsonError } from "../../lib/base/error.ts";
import { Counter } from "../../lib/sync/counter.ts";
import { seededRandom } from "../lockfree/seeded_random.ts";
import { Peer, PeerProcess } from "./peer.ts";

preload("base", "sync");

function refusal(fn: () => unknown): string {
  const error = assertThrows(fn);
  assertInstanceOf(error, KeelsonError);
  return error.codeName;
}

function fresh(): Counter {
  return Counter.create(`test-${crypto.randomUUID()}`);
}

Deno.test("Counter sums what a number would, whichever end adds", () => {
  const first = fresh(), ends = [first, Counter.attach(first.name), Counter.attach(first.name)];
  const { random, seed } = seededRandom();
  let model = 0;
  for (let round = 0; round < 5000; round++) {
    const amount = (random(200) - 100) * (round % 2 ? 1 : 2 ** 33);
    model += amount;
    ends[round % 3].add(amount);
    if (round % 100 === 0) assertEquals(ends[round % 2].value, model, `SEED=${seed}`);
  }
  assertEquals(first.value, model);
  ends[1].add();
  assertEquals(first.exact, BigInt(model + 1));
  ends[1].close(); // what it added stays
  assertEquals(first.exact, BigInt(model + 1));
  Counter.remove(first.name);
  for (const end of ends) end.close();
});

Deno.test("Counter is exact beyond 2^53 and wraps at 64 bits", () => {
  using counter = fresh();
  for (let i = 0; i < 1025; i++) counter.add(2 ** 53 - 1);
  assertEquals(counter.exact, BigInt.asIntN(64, 1025n * (2n ** 53n - 1n)));
  counter.add(-7);
  assertEquals(counter.exact, BigInt.asIntN(64, 1025n * (2n ** 53n - 1n) - 7n));
  Counter.remove(counter.name);
});

const ADD = `
  const counter = keelson.Counter.attach(NAME);
  for (let i = 0; i < 100_000; i++) counter.add(1);`;

Deno.test("Counter keeps what Workers and processes added that are gone", async () => {
  using counter = fresh();
  const code = ADD.replace("NAME", JSON.stringify(counter.name));
  const worker = await Peer.start();
  const process = await PeerProcess.start(
    `console.log("up");${code}console.log("done"); setInterval(() => {}, 1000);`,
  );
  await worker.ask(code);
  while (counter.value < 200_000) await new Promise((resolve) => setTimeout(resolve, 2));
  worker.terminate();
  await process.kill();
  assertEquals(counter.value, 200_000);
  counter.add(1); // perhaps on the line of one that is gone
  using other = Counter.attach(counter.name);
  other.add(1);
  assertEquals(counter.value, 200_002);
  Counter.remove(counter.name);
});

Deno.test("Counter refuses what it cannot add, bad names, and calls after close", () => {
  const counter = fresh();
  for (const amount of [0.5, NaN, Infinity, 2 ** 53, -(2 ** 53)]) {
    assertEquals(refusal(() => counter.add(amount)), "KL_ERR_ARGUMENT");
  }
  assertEquals(counter.value, 0);
  counter.add(-0);
  counter.add(5);
  counter.close();
  counter.close();
  assertEquals(refusal(() => counter.add(1)), "KL_ERR_HANDLE");
  assertEquals(refusal(() => counter.value), "KL_ERR_HANDLE");
  Counter.remove(counter.name);
  assertEquals(refusal(() => Counter.attach(counter.name)), "KL_ERR_NOT_FOUND");
  assertEquals(refusal(() => Counter.create("a b")), "KL_ERR_NAME");
});
