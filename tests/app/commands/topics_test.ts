import { assertEquals } from "@std/assert";
import { topicJson, topicTable } from "../../../lib/app/commands/topics.ts";

const TOPIC = {
  name: "lines",
  logged: true,
  records: 1500,
  durableRecords: 1000,
  bytes: 9,
  sessions: 2,
  pendingBatches: 0,
  refusedBatches: 0,
  recoveredRecords: 0,
  cutRecords: 0,
  laneBytes: 1,
  batchBytesMax: 1,
  live: true,
};
const UNKNOWN = {
  ...TOPIC,
  name: "resting",
  records: NaN,
  durableRecords: NaN,
  sessions: NaN,
  bytes: NaN,
};

Deno.test("topicTable() shows what is known of each topic", () => {
  const unlogged = { ...TOPIC, name: "fast", logged: false, cutRecords: 7 };
  assertEquals(
    topicTable([TOPIC, UNKNOWN, unlogged]).split("\n").map((row) => row.split(/ {2,}/)),
    [
      ["topic", "records", "durable", "sessions", "cut at recovery"],
      ["lines", "1,500", "1,000", "2"],
      ["resting", "?", "?", "?"],
      ["fast", "1,500", "unlogged", "2", "7"],
    ],
  );
});

Deno.test("topicJson() says null for what is not known", () => {
  assertEquals(JSON.parse(JSON.stringify(topicJson(UNKNOWN))), {
    name: "resting",
    logged: true,
    records: null,
    durableRecords: null,
    bytes: null,
    sessions: null,
    cutRecords: 0,
    live: true,
  });
});
