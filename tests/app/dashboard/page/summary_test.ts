import { assertEquals, assertStringIncludes } from "@std/assert";
import {
  changes,
  deadRoles,
  headline,
  RestartWatch,
} from "../../../../lib/app/dashboard/page/summary.ts";
import { emptySnapshot } from "../fake_node.ts";

Deno.test("headline() is well when everybody lives and nothing is missing", () => {
  const { mood, title } = headline(emptySnapshot());
  assertEquals([mood, title], ["well", "All is well"]);
});

Deno.test("headline() names what the checker found, before anything else", () => {
  const snapshot = { ...emptySnapshot(), lost: 1, duplicates: 2, outOfOrder: 3 };
  snapshot.brokers[0].alive = false;
  const { mood, title } = headline(snapshot);
  assertEquals([mood, title], ["alarm", "1 record lost, 2 duplicates, 3 out of order"]);
});

Deno.test("headline() names the dead, and counts them when they are many", () => {
  const snapshot = emptySnapshot();
  snapshot.brokers[1].alive = false;
  assertEquals(headline(snapshot).title, "Broker 1 is dead");
  snapshot.sequencer.alive = false;
  assertEquals(headline(snapshot).title, "Broker 1 and the sequencer are dead");
  snapshot.brokers = Array.from({ length: 9 }, (_, index) => ({
    ...snapshot.brokers[0],
    index,
    alive: false,
  }));
  assertEquals(headline(snapshot).title, "10 processes are dead");
  assertEquals(headline(snapshot).mood, "warning");
});

Deno.test("headline() says broker for one broker", () => {
  const snapshot = emptySnapshot();
  snapshot.brokers.pop();
  assertStringIncludes(headline(snapshot).detail, "1 broker and the sequencer are alive");
});

Deno.test("changes() tells deaths, returns and new alarms, and nothing when nothing happened", () => {
  const before = emptySnapshot(), now = emptySnapshot();
  assertEquals(changes(before, now), []);
  before.brokers[0].alive = false;
  now.sequencer.alive = false;
  now.lost = 1;
  assertEquals(changes(before, now), [
    "The sequencer is dead.",
    "Broker 0 is alive again.",
    "Alarm: 1 record lost.",
  ]);
  assertEquals(deadRoles(now), ["the sequencer"]);
});

Deno.test("changes() tells of a broker that was back before anybody saw it dead", () => {
  const before = emptySnapshot(), now = emptySnapshot();
  now.brokers[1].restarts = 1;
  assertEquals(changes(before, now), ["Broker 1 died and was started again."]);
  before.brokers[1].alive = false;
  assertEquals(changes(before, now), ["Broker 1 is alive again."]);
});

Deno.test("RestartWatch.recent() keeps a restart in sight for five seconds, and not the first look", () => {
  const watch = new RestartWatch();
  const look = (at: number, restarts: number) => {
    const snapshot = { ...emptySnapshot(), at };
    snapshot.brokers[1].restarts = restarts;
    return watch.recent(snapshot);
  };
  assertEquals(look(0, 7), []);
  assertEquals(look(250, 8), [1]);
  assertEquals(look(5_000, 8), [1]);
  assertEquals(look(5_300, 8), []);
  assertEquals(look(5_500, 0), [], "a new node counts from 0 again");
  assertEquals(look(5_750, 1), [1]);
});

Deno.test("headline() shows a restart as long as it is recent", () => {
  const { mood, title } = headline(emptySnapshot(), [0, 1]);
  assertEquals([mood, title], ["warning", "Broker 0 and broker 1 died and were started again"]);
});
