import { assert, assertEquals, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { KeelsonError } from "../../lib/base/error.ts";
import { preloadCompletion } from "../../lib/exec/completion.ts";
import { EventCount } from "../../lib/sync/event_count.ts";
import { Peer, PeerProcess, until } from "./peer.ts";

preload("base", "sync", "exec");
await preloadCompletion();

function refusal(fn: () => unknown): string {
  const error = assertThrows(fn);
  assertInstanceOf(error, KeelsonError);
  return error.codeName;
}

function fresh(): EventCount {
  return EventCount.create(`test-${crypto.randomUUID()}`);
}

Deno.test("EventCount.wait() sees a notify since its key, and not one before", async () => {
  using event = fresh();
  using other = EventCount.attach(event.name);
  event.notify();
  const key = event.key();
  assertEquals(await event.wait(key, { timeoutMs: 2 }), false);
  assertEquals(event.waitSync(key, { timeoutMs: 2 }), false);
  other.notify();
  assertEquals(await event.wait(key), true);
  assertEquals(event.waitSync(key), true);
  const waits = Array.from({ length: 5 }, () => event.wait());
  setTimeout(() => other.notify(), 2);
  assertEquals(await Promise.all(waits), [true, true, true, true, true]);
  await assertRejects(() => event.wait(event.key(), { signal: AbortSignal.timeout(2) }));
  EventCount.remove(event.name);
});

const ROUNDS = Deno.env.get("KEELSON_LONG") ? 20_000 : 500;

/** Each side waits for the other's notify; a lost one ends in the timeout. */
const ALTERNATE = `
  const mine = keelson.EventCount.attach(NAME0), theirs = keelson.EventCount.attach(NAME1);
  for (let round = 0, seen = 0; round < ${ROUNDS}; round++) {
    if (!mine.waitSync(seen++, { timeoutMs: 30_000 })) throw new Error("lost in round " + round);
    theirs.notify();
  }
  mine.close(), theirs.close();`;

for (const kind of ["Worker", "process"] as const) {
  Deno.test(`EventCount loses no wake-up in alternations with a ${kind}`, async () => {
    using theirs = fresh();
    using mine = fresh();
    const code = ALTERNATE.replace("NAME0", JSON.stringify(theirs.name))
      .replace("NAME1", JSON.stringify(mine.name));
    const peer = kind === "Worker" ? await Peer.start() : undefined;
    const answer = peer?.ask(code);
    const process = peer ? undefined : await PeerProcess.start(`console.log("up");${code}`);
    for (let round = 0; round < ROUNDS; round++) {
      theirs.notify();
      assert(await mine.wait(round, { timeoutMs: 30_000 }), `lost in round ${round}`);
    }
    await answer;
    if (process) assertEquals(await process.ended(), 0);
    peer?.terminate();
    for (const event of [mine, theirs]) EventCount.remove(event.name);
  });
}

Deno.test("EventCount outlives Workers terminated while they wait", async () => {
  using event = fresh();
  const peers = [await Peer.start(), await Peer.start()];
  for (const peer of peers) {
    await peer.ask(`state.event = keelson.EventCount.attach(argument);`, event.name);
    peer.tell(`state.event.waitSync(state.event.key(), { timeoutMs: 200 });`);
  }
  peers[0].tell(`state.event.wait();`);
  for (const peer of peers) peer.terminate();
  let seen = 0;
  const waiting = event.wait().then(() => seen++);
  event.notify();
  await waiting;
  await until(() => seen === 1);
  EventCount.remove(event.name);
});

Deno.test("EventCount.close() ends waits, and is nothing the second time", async () => {
  const event = fresh();
  EventCount.remove(event.name);
  const waiting = event.wait();
  await new Promise((resolve) => setTimeout(resolve, 2));
  event.close();
  event.close();
  await assertRejects(() => waiting, KeelsonError, "KL_ERR_CLOSED");
  for (const call of [() => event.key(), () => event.notify(), () => event.waitSync(0)]) {
    assertEquals(refusal(call), "KL_ERR_HANDLE");
  }
});

Deno.test("EventCount refuses bad names, keys and times", async () => {
  assertEquals(refusal(() => EventCount.create("")), "KL_ERR_ARGUMENT");
  assertEquals(refusal(() => EventCount.attach("nobody-made-this")), "KL_ERR_NOT_FOUND");
  using event = fresh();
  for (const key of [-1, 0.5, NaN, 2 ** 32, 2 ** 53]) {
    assertEquals(refusal(() => event.waitSync(key)), "KL_ERR_ARGUMENT");
    await assertRejects(() => event.wait(key), KeelsonError, "KL_ERR_ARGUMENT");
  }
  assertEquals(refusal(() => event.waitSync(0, { timeoutMs: -1 })), "KL_ERR_ARGUMENT");
  EventCount.remove(event.name);
});
