import { assert, assertEquals } from "@std/assert";
import { preload } from "../../../ffi/library.ts";
import { Child } from "../../../lib/app/child.ts";
import {
  decodeHashes,
  decodeJson,
  decodeNumbers,
  decodeProgress,
  FRAME,
  type Progress,
  type SessionNote,
} from "../../../lib/app/frames.ts";
import { brokerFolder } from "../../../lib/app/node_file.ts";
import type { PublishInputTask } from "../../../lib/app/roles/publish_input.ts";
import type { PublishTelemetryTask } from "../../../lib/app/roles/publish_telemetry.ts";
import { type Broker, openBroker } from "../../../lib/broker/broker.ts";
import { pause, TestFolder } from "../../process/keelson_process.ts";

preload();
await import("node:net");

const START = { sequence: 0, offset: 0, bytes: 0 };

/** A publisher process, and what it has said. */
function publisherOf(role: string, task: PublishInputTask | PublishTelemetryTask) {
  const said = {
    session: Promise.withResolvers<SessionNote>(),
    done: Promise.withResolvers<void>(),
    hashes: 0,
    end: undefined as number[] | undefined,
    progress: undefined as Progress | undefined,
  };
  const child = new Child({
    name: role,
    role,
    task: () => task,
    onDone: said.done.resolve,
    onFailure: said.done.reject,
    onFrame: ({ kind, payload }) => {
      if (kind === FRAME.session) said.session.resolve(decodeJson(payload));
      if (kind === FRAME.hashes) said.hashes += decodeHashes(payload).hashes.length;
      if (kind === FRAME.end) said.end = [...decodeNumbers(payload)];
      if (kind === FRAME.progress) said.progress = decodeProgress(payload);
    },
  });
  return { child, said };
}

function openNode(folder: TestFolder): Broker {
  const broker = openBroker(brokerFolder(folder.path), { brokerCount: 1 });
  broker.topic("t");
  return broker;
}

Deno.test("publish-input waits until it may, publishes the file, and ends when it is acknowledged", async () => {
  using folder = new TestFolder();
  using broker = openNode(folder);
  const path = folder.file("input", "a\nb\n\nend");
  const { child, said } = publisherOf("publish-input", {
    data: folder.path,
    topic: "t",
    ack: "ordered",
    path,
    inputName: "input",
    start: START,
  });
  child.start();
  const { session, next } = await said.session.promise;
  assertEquals(next, 0);
  await pause(50);
  assertEquals(broker.topicInfo("t").records, 0);
  await child.send(FRAME.go);
  await said.done.promise;
  assertEquals([said.end, said.hashes], [[4, 5], 4]);
  const { acknowledged, published, resumeSequence, resumeOffset } = said.progress!;
  assertEquals([acknowledged, published, resumeSequence, resumeOffset], [4, 4, 4, 8]);
  using subscriber = broker.subscribe("t");
  assertEquals(
    subscriber.poll().map((
      { bytes, flags, ...m },
    ) => [new TextDecoder().decode(bytes), flags, m.session]),
    [["a", 0, session], ["b", 0, session], ["", 0, session], ["end", 1, session]],
  );
});

Deno.test("publish-input takes a stream through the pipe", async () => {
  using folder = new TestFolder();
  using broker = openNode(folder);
  const { child, said } = publisherOf("publish-input", {
    data: folder.path,
    topic: "t",
    ack: "ordered",
    inputName: "standard input",
    start: START,
  });
  child.start();
  await said.session.promise;
  await child.send(FRAME.go);
  for (const text of ["on", "e\ntw", "o\n"]) {
    await child.send(FRAME.data, new TextEncoder().encode(text));
  }
  await child.send(FRAME.dataEnd);
  await said.done.promise;
  assertEquals(said.end, [2, 6]);
  assertEquals(broker.topicInfo("t").records, 2);
});

Deno.test("publish-telemetry keeps to its rate until it is stopped, with all acknowledged", async () => {
  using folder = new TestFolder();
  using broker = openNode(folder);
  const { child, said } = publisherOf("publish-telemetry", {
    data: folder.path,
    topic: "t",
    ack: "ordered",
    sources: ["cpu", "memory"],
    rate: 500,
    checked: true,
    bytes: 0,
  });
  child.start();
  await said.session.promise;
  await child.send(FRAME.go);
  await pause(600);
  await child.stop(3000);
  const { records } = broker.topicInfo("t");
  assert(records > 150 && records < 400, `${records}`);
  assertEquals([said.progress?.acknowledged, said.hashes], [records, records]);
});
