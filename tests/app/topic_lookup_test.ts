import { assert, assertEquals, assertThrows } from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { openBroker, RECORD_BYTES_MAX } from "../../lib/broker/broker.ts";
import { Failure } from "../../lib/app/failure.ts";
import { existingTopic, recordBytesMax } from "../../lib/app/topic_lookup.ts";
import { TestFolder } from "../process/keelson_process.ts";

preload();

Deno.test("existingTopic() suggests what is near, and lists what there is", () => {
  using folder = new TestFolder();
  using broker = openBroker(`${folder.path}/broker`, { brokerCount: 1 });
  assertThrows(() => existingTopic(broker, "lines"), Failure, "nothing was published");
  broker.topic("lines");
  assertEquals(existingTopic(broker, "lines"), "lines");
  assertThrows(() => existingTopic(broker, "linse"), Failure, "did you mean lines?");
  assertThrows(() => existingTopic(broker, "quite other"), Failure, "there are: lines");
});

Deno.test("recordBytesMax() is a size that the topic takes, and not one byte less than it could", () => {
  using folder = new TestFolder();
  using broker = openBroker(`${folder.path}/broker`, { brokerCount: 1 });
  broker.topic("t", { laneBytes: 1 << 16 });
  const max = recordBytesMax(broker, "t");
  assert(max > 1000 && max <= RECORD_BYTES_MAX, `${max}`);
  using publisher = broker.publisher("t");
  assertEquals(publisher.offer(new Uint8Array(max)), true);
  assertThrows(() => publisher.offer(new Uint8Array(max + 8)));
});
