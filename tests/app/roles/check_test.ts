import { assertEquals } from "@std/assert";
import { preload } from "../../../ffi/library.ts";
import { Child } from "../../../lib/app/child.ts";
import { contentHash } from "../../../lib/app/content_hash.ts";
import {
  type CheckNote,
  decodeJson,
  encodeHashes,
  encodeNumbers,
  encodeProgress,
  FRAME,
} from "../../../lib/app/frames.ts";
import { brokerFolder } from "../../../lib/app/node_file.ts";
import type { CheckTask } from "../../../lib/app/roles/check.ts";
import { openBroker } from "../../../lib/broker/broker.ts";
import { TestFolder } from "../../process/keelson_process.ts";

preload();
await import("node:net");

const RECORDS = Array.from({ length: 100 }, (_, n) => new TextEncoder().encode(`record ${n}`));
/** What a publisher said of them, but record 7 had another content. */
const HASHES_WITH_ONE_WRONG = Uint32Array.from(
  RECORDS,
  (record, n) => contentHash(record) + (n === 7 ? 1 : 0),
);

function checkerOf(folder: TestFolder, sessions: CheckTask["sessions"], onKnown = () => {}) {
  const verdict = Promise.withResolvers<CheckNote>();
  const child = new Child({
    name: "checker",
    role: "check",
    task: (): CheckTask => ({ data: folder.path, topic: "t", from: 0, sessions }),
    onFrame: ({ kind, payload }) => {
      if (kind === FRAME.known) onKnown();
      if (kind === FRAME.verdict) verdict.resolve(decodeJson(payload));
    },
    onFailure: verdict.reject,
  });
  return { child, verdict: verdict.promise };
}

function counts({ delivered, lost, duplicates, outOfOrder }: CheckNote) {
  return { delivered, lost, duplicates, outOfOrder };
}

Deno.test("the checker judges a session that it is told of before its first record", async () => {
  using folder = new TestFolder();
  using broker = openBroker(brokerFolder(folder.path), { brokerCount: 1 });
  broker.topic("t");
  using publisher = broker.publisher("t");
  const { session } = publisher;
  const known = Promise.withResolvers<void>();
  const { child, verdict } = checkerOf(folder, [], known.resolve);
  child.start();
  await child.send(FRAME.know, encodeNumbers(session, 0));
  await known.promise;
  for (const record of RECORDS) await publisher.publish(record);
  await child.send(FRAME.hashes, encodeHashes(session, 0, HASHES_WITH_ONE_WRONG));
  const progress = { session, published: 101, ordered: 101, durable: 0, acknowledged: 101 };
  const resume = { bytes: 0, resumeSequence: 0, resumeOffset: 0, resumeBytes: 0 };
  await child.send(FRAME.progress, encodeProgress({ ...progress, ...resume }));
  await child.send(FRAME.finish);
  // One has another content, and the last one that was acknowledged never comes.
  assertEquals(counts(await verdict), { delivered: 100, lost: 2, duplicates: 0, outOfOrder: 0 });
  await child.exited;
});

Deno.test("the checker that is told of a session at its start checks it from its first record", async () => {
  using folder = new TestFolder();
  using broker = openBroker(brokerFolder(folder.path), { brokerCount: 1 });
  broker.topic("t");
  using publisher = broker.publisher("t");
  for (const record of RECORDS) await publisher.publish(record);
  const { session } = publisher;
  const { child, verdict } = checkerOf(folder, [{ session, first: 0, acknowledged: 100 }]);
  child.start();
  await child.send(FRAME.hashes, encodeHashes(session, 0, HASHES_WITH_ONE_WRONG));
  await child.send(FRAME.finish);
  const note = await verdict;
  assertEquals(counts(note), { delivered: 100, lost: 1, duplicates: 0, outOfOrder: 0 });
  assertEquals(note.judged, [[session, 100]]);
  await child.exited;
});
