import { assert, assertEquals } from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { type Broker, openBroker } from "../../lib/broker/broker.ts";
import { contentHash } from "../../lib/app/content_hash.ts";
import { LineSplitter } from "../../lib/app/framing.ts";
import {
  pumpInput,
  type PumpState,
  RecordPump,
  tooLongFailure,
} from "../../lib/app/record_pump.ts";
import { TestFolder } from "../process/keelson_process.ts";

preload();
await import("node:net"); // what the first wait loads, outside of any test

const bytesOf = (text: string) => new TextEncoder().encode(text);

function withBroker(name: string, body: (broker: Broker) => Promise<void>): void {
  Deno.test(name, async () => {
    using folder = new TestFolder();
    using broker = openBroker(`${folder.path}/broker`, { brokerCount: 2 });
    broker.topic("t", { laneBytes: 1 << 20 });
    using _first = broker.hostBroker(0);
    using _second = broker.hostBroker(1);
    using _sequencer = broker.hostSequencer();
    await body(broker);
    broker.close();
  });
}

function contents(broker: Broker): string[] {
  using subscriber = broker.subscribe("t");
  const found: string[] = [];
  for (let some = subscriber.poll(); some.length > 0; some = subscriber.poll()) {
    found.push(
      ...some.map(({ bytes, flags }) => new TextDecoder().decode(bytes) + (flags ? "!" : "")),
    );
  }
  return found;
}

withBroker(
  "RecordPump publishes an input in order, larger than what the lanes hold",
  async (broker) => {
    using publisher = broker.publisher("t", { ack: "durable" });
    const hashes: number[] = [];
    const states: PumpState[] = [];
    let durable = 0;
    const pump = new RecordPump(publisher, "durable", {
      hashes: (first, some) => {
        assertEquals(first, hashes.length);
        hashes.push(...some);
      },
      progress: (state) => states.push(state),
      durable: (micros, records) => {
        assert(micros > 0);
        durable += records;
      },
    });
    const lines = Array.from({ length: 50_000 }, (_, n) => `${n} ${"y".repeat(n % 120)}`);
    const input = bytesOf(lines.join("\n"));
    const chunks = (async function* () {
      for (let at = 0; at < input.length; at += 100_000) yield input.slice(at, at + 100_000);
    })();
    const watching = pump.watch();
    assertEquals(await pumpInput(chunks, new LineSplitter(4096), pump), undefined);
    await pump.acknowledgedWhole();
    pump.stop();
    await watching;
    assertEquals(contents(broker), [...lines.slice(0, -1), `${lines.at(-1)}!`]);
    assertEquals(hashes, lines.map((line) => contentHash(bytesOf(line))));
    assertEquals(durable, 50_000);
    const last = states.at(-1)!;
    assertEquals([last.published, last.ordered, last.durable, last.resumeSequence], [
      50_000,
      50_000,
      50_000,
      50_000,
    ]);
    assertEquals([last.resumeOffset, last.bytes, last.resumeBytes], [
      input.length,
      input.length - 49_999,
      input.length - 49_999,
    ]);
    for (const { resumeSequence, ordered } of states) assert(resumeSequence <= ordered);
  },
);

withBroker(
  "RecordPump goes on behind the last ordered record, and hashes what it skips",
  async (broker) => {
    const lines = Array.from({ length: 300 }, (_, n) => `line ${n}`);
    let session = 0;
    {
      using publisher = broker.publisher("t");
      session = publisher.session;
      const pump = new RecordPump(publisher, "ordered", {});
      const half = [bytesOf(lines.slice(0, 120).join("\n") + "\n")];
      await pumpInput(ReadableStream.from(half), new LineSplitter(4096), pump);
      await pump.acknowledgedWhole();
    }
    for (
      const start of [{ sequence: 0, offset: 0, bytes: 0 }, {
        sequence: 100,
        offset: 790,
        bytes: 690,
      }]
    ) {
      using publisher = broker.publisher("t", { session });
      const hashed: number[] = [];
      const pump = new RecordPump(publisher, "ordered", {
        hashes: (first, some) => some.forEach((_, i) => hashed.push(first + i)),
      }, start);
      const whole = [bytesOf(lines.join("\n") + "\n").subarray(start.offset)];
      const splitter = new LineSplitter(4096, { offset: start.offset, records: start.sequence });
      await pumpInput(ReadableStream.from(whole), splitter, pump);
      await pump.acknowledgedWhole();
      assertEquals(contents(broker), lines);
      assertEquals(hashed.length, 300 - start.sequence);
      assertEquals([hashed[0], hashed.at(-1)], [start.sequence, 299]);
      assertEquals(pump.bytes, lines.join("").length);
    }
  },
);

withBroker(
  "RecordPump publishes what no batch holds, and stops at what no topic holds",
  async (broker) => {
    using publisher = broker.publisher("t");
    const pump = new RecordPump(publisher, "ordered", {});
    const large = "z".repeat(400_000);
    const input = bytesOf(`first\n${large}\nlast\n${"z".repeat(500_001)}\nnever\n`);
    const tooLong = await pumpInput(ReadableStream.from([input]), new LineSplitter(500_000), pump);
    assertEquals([tooLong?.line, tooLong?.bytesMax], [4, 500_000]);
    const failure = tooLongFailure(tooLong!, "the input");
    assertEquals(failure.exitCode, 3);
    await pump.acknowledgedWhole();
    assertEquals(contents(broker), ["first", large, "last"]);
  },
);
