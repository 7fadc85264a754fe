import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { KeelsonError } from "../../lib/base/error.ts";
import {
  type Broker,
  FLAG_UNTERMINATED,
  type Message,
  openBroker,
  RECORD_BYTES_MAX,
  RecordBatch,
  type Subscriber,
} from "../../lib/broker/broker.ts";
import { waitFor } from "../../lib/exec/completion.ts";

preload();
await waitFor(() => 1); // the doorbell stays for the life of the isolate

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const bytes = (text: string) => encoder.encode(text);

function withFolder(body: (folder: string) => void | Promise<void>): () => Promise<void> {
  return async () => {
    const folder = Deno.makeTempDirSync({ prefix: "keelson-broker-" });
    try {
      await body(folder);
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  };
}

function host(broker: Broker): void {
  for (let index = 0; index < broker.brokerCount; index++) broker.hostBroker(index);
}

async function take(subscriber: Subscriber, count: number): Promise<Message[]> {
  const messages: Message[] = [];
  while (messages.length < count) {
    const some = subscriber.poll(count - messages.length);
    if (some.length === 0) await subscriber.waitForData();
    messages.push(...some);
  }
  return messages;
}

function refusal(fn: () => unknown, message: RegExp): string {
  const error = assertThrows(fn);
  assertInstanceOf(error, KeelsonError);
  assertMatch(error.message, message);
  assert(!error.message.includes("\n"), "one line");
  return error.codeName;
}

Deno.test(
  "Publisher.publish() resolves in order and subscribers agree on the order",
  withFolder(async (folder) => {
    using broker = openBroker(folder, { brokerCount: 3 });
    broker.topic("lines", { laneBytes: 1 << 17 });
    host(broker);
    using left = broker.publisher("lines", { ack: "durable" });
    using right = broker.publisher("lines", { ack: "ordered" });
    using early = broker.subscribe("lines");
    const sent = Array.from({ length: 300 }, (_, n) => {
      const publisher = n % 2 ? left : right;
      return publisher.publish(bytes(`record ${n}`), n === 299 ? FLAG_UNTERMINATED : 0);
    });
    const sequences = await Promise.all(sent);
    assertEquals(sequences, Array.from({ length: 300 }, (_, n) => n >> 1));
    using late = broker.subscribe("lines", { from: "start" });
    const seen = await take(early, 300);
    const again = await take(late, 300);
    assertEquals(seen.map((it) => it.totalOrder), Array.from({ length: 300 }, (_, n) => n));
    assertEquals(
      seen.map((it) => decoder.decode(it.bytes)),
      again.map((it) => decoder.decode(it.bytes)),
    );
    assertEquals(new Set(seen.map((it) => decoder.decode(it.bytes))).size, 300);
    for (const publisher of [left, right]) {
      const own = seen.filter((it) => it.session === publisher.session);
      assertEquals(own.map((it) => it.sequence), Array.from({ length: 150 }, (_, n) => n));
    }
    assertEquals(seen.filter((it) => it.flags === FLAG_UNTERMINATED).length, 1);
    assertEquals(left.progress(), { next: 150, ordered: 150, durable: 150 });
    broker.verify();
  }),
);

Deno.test(
  "Subscriber reads from any number, from the end, and stops where follow is false",
  withFolder(async (folder) => {
    using broker = openBroker(folder, { brokerCount: 2 });
    broker.topic("lines");
    using publisher = broker.publisher("lines");
    for (let n = 0; n < 100; n++) await publisher.publish(bytes(String(n)));
    using middle = broker.subscribe("lines", { from: 42, follow: false });
    const numbers: number[] = [];
    for await (const message of middle) numbers.push(Number(decoder.decode(message.bytes)));
    assertEquals(numbers, Array.from({ length: 58 }, (_, n) => 42 + n));
    using end = broker.subscribe("lines", { from: "end" });
    assertEquals(end.poll(), []);
    const waiting = take(end, 1);
    await publisher.publish(bytes("last"));
    assertEquals(decoder.decode((await waiting)[0].bytes), "last");
    using future = broker.subscribe("lines", { from: 103 });
    assertEquals(future.poll(), []);
    for (const text of ["101", "102", "103"]) await publisher.publish(bytes(text));
    const [first] = await take(future, 1);
    assertEquals([first.totalOrder, decoder.decode(first.bytes)], [103, "103"]);
  }),
);

Deno.test(
  "Publisher.offer() refuses what has no room and takes it when there is room again",
  withFolder(async (folder) => {
    using broker = openBroker(folder, { brokerCount: 1 });
    broker.topic("memory", { logged: false, laneBytes: 1 << 16 });
    using publisher = broker.publisher("memory");
    using subscriber = broker.subscribe("memory");
    const record = new Uint8Array(1000).fill(7);
    let taken = 0;
    while (publisher.offer(record)) taken++;
    assert(taken >= 60 && taken <= 65, `${taken} records fill a lane of 64 KiB`);
    const room = publisher.waitForSpace(1000);
    assertEquals(publisher.offer(record), false);
    assertEquals(subscriber.poll().length, taken);
    await room;
    assertEquals(publisher.offer(record), true);
    assertEquals((await take(subscriber, 1))[0].totalOrder, taken);
    await publisher.flush();
    assertEquals(
      refusal(
        () => broker.publisher("memory", { ack: "durable" }),
        /nothing in it becomes durable/,
      ),
      "KL_ERR_UNSUPPORTED",
    );
    await assertRejects(() => publisher.waitFor("durable", 1), KeelsonError, "memory only");
    broker.retire();
  }),
);

Deno.test(
  "Publisher with a known session goes on behind its last ordered record, also after a restart",
  withFolder(async (folder) => {
    let session = 0;
    {
      using broker = openBroker(folder, { brokerCount: 2 });
      broker.topic("lines");
      host(broker);
      using publisher = broker.publisher("lines", { ack: "durable" });
      session = publisher.session;
      for (let n = 0; n < 10; n++) await publisher.publish(bytes(String(n)));
    }
    using broker = openBroker(folder); // the memory is gone: read back from the logs
    assertEquals(broker.brokerCount, 2);
    assertEquals(broker.topicInfo("lines").recoveredRecords, 10);
    host(broker);
    using publisher = broker.publisher("lines", { session, ack: "durable" });
    assertEquals(publisher.next, 10);
    assertEquals(await publisher.publish(bytes("10")), 10);
    using subscriber = broker.subscribe("lines", { durableOnly: true });
    const messages = await take(subscriber, 11);
    assertEquals(messages.map((it) => decoder.decode(it.bytes)).join(), "0,1,2,3,4,5,6,7,8,9,10");
  }),
);

Deno.test(
  "Broker opened read-only reads the folder while no node is up and creates nothing",
  withFolder(async (folder) => {
    refusal(() => openBroker(`${folder}/none`, { readOnly: true }), /none/);
    refusal(() => openBroker(folder, { readOnly: true }), /holds no node/);
    assertEquals([...Deno.readDirSync(folder)], []);
    {
      using broker = openBroker(folder, { brokerCount: 2 });
      broker.topic("lines");
      host(broker);
      using publisher = broker.publisher("lines", { ack: "durable" });
      for (let n = 0; n < 50; n++) await publisher.publish(bytes(String(n)));
    }
    using broker = openBroker(folder, { readOnly: true });
    assertEquals(broker.topicNames(), ["lines"]);
    assertEquals(broker.stat().live, false);
    const [{ records, durableRecords, sessions, live }] = broker.topics();
    assertEquals({ records, durableRecords, sessions, live }, {
      records: 50,
      durableRecords: 50,
      sessions: 1,
      live: false,
    });
    using subscriber = broker.subscribe("lines", { follow: false });
    let count = 0;
    for await (const message of subscriber) assertEquals(message.totalOrder, count++);
    assertEquals(count, 50);
    refusal(() => broker.topic("other"), /no topic other/);
    refusal(() => broker.hostBroker(0), /read-only hosts no roles/);
  }),
);

Deno.test(
  "Records of every size come back as they were, the largest too",
  withFolder(async (folder) => {
    using broker = openBroker(folder, { brokerCount: 2 });
    broker.topic("sizes");
    host(broker);
    using publisher = broker.publisher("sizes", { ack: "durable" });
    const sizes = [
      0,
      1,
      7,
      8,
      9,
      4095,
      4096,
      65535,
      65536,
      1 << 20,
      RECORD_BYTES_MAX,
      RECORD_BYTES_MAX,
      5,
      RECORD_BYTES_MAX,
    ];
    const made = sizes.map((size, n) => Uint8Array.from({ length: size }, (_, at) => at * 31 + n));
    for (const record of made) await publisher.publish(record);
    using subscriber = broker.subscribe("sizes");
    const messages = await take(subscriber, made.length);
    for (const [n, message] of messages.entries()) {
      assertEquals(message.bytes.byteLength, made[n].byteLength);
      assert(
        made[n].every((byte, at) => byte === message.bytes[at]),
        `record of ${sizes[n]} bytes`,
      );
    }
    const tooLarge = new Uint8Array(RECORD_BYTES_MAX + 1);
    await assertRejects(() => publisher.publish(tooLarge), KeelsonError, "the limit is 4194304");
    assertEquals(await publisher.publish(bytes("still works")), made.length);
  }),
);

Deno.test(
  "RecordBatch takes records until it is full and forgets them on clear",
  () => {
    const batch = new RecordBatch(64);
    assert(batch.add(bytes("1234567"))); // 8 + 8
    assert(batch.add(new Uint8Array(0))); // 8
    assert(batch.add(bytes("123456789"))); // 8 + 16
    assertEquals([batch.count, batch.bytes], [3, 48]);
    assertEquals(batch.add(bytes("123456789")), false);
    assertEquals(batch.count, 3);
    batch.clear();
    batch.add(bytes("ab"));
    assertEquals([...batch.encoded.subarray(0, 16)], [
      2,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      97,
      98,
      0,
      0,
      0,
      0,
      0,
      0,
    ]);
    refusal(() => new RecordBatch(-1), /capacityBytes/);
    refusal(() => new RecordBatch(NaN), /capacityBytes/);
  },
);

Deno.test(
  "openBroker() and its topics refuse bad arguments with one line and create nothing",
  withFolder((folder) => {
    for (const brokerCount of [0, 9, -1, 1.5, NaN]) {
      refusal(
        () => openBroker(folder, { brokerCount }),
        /brokerCount is a whole number from 1 to 8/,
      );
    }
    refusal(() => openBroker(""), /folder/);
    refusal(() => openBroker(`${folder}/a\0b`), /NUL/);
    assertEquals([...Deno.readDirSync(folder)], []);
    using broker = openBroker(folder, { brokerCount: 1 });
    for (const name of ["a/b", "..", "", "x\0y", "n".repeat(300), "-rf", ".hidden", "é"]) {
      refusal(() => broker.topic(name), /topic/);
    }
    assertEquals(broker.topicNames(), []);
    refusal(() => broker.topic("lines", { laneBytes: 1000 }), /power of two from 65536/);
    refusal(() => broker.topic("lines", { laneBytes: -1 }), /laneBytes/);
    refusal(() => broker.topic("lines", { laneBytes: 2 ** 53 }), /laneBytes/);
    assertEquals(refusal(() => broker.publisher("none"), /no topic none/), "KL_ERR_NOT_FOUND");
    broker.topic("lines", { laneBytes: 1 << 16 });
    refusal(() => broker.subscribe("lines", { from: -3 }), /from is/);
    refusal(() => broker.subscribe("lines", { from: 2 ** 60 }), /from is/);
    refusal(() => broker.publisher("lines", { session: 0 }), /session/);
    refusal(() => broker.publisher("lines", { session: NaN }), /session/);
    refusal(() => broker.hostBroker(1), /brokers 0 to 0/);
  }),
);

Deno.test(
  "Broker.close() closes what was opened through it; later calls are errors, not crashes",
  withFolder(async (folder) => {
    const broker = openBroker(folder, { brokerCount: 1 });
    broker.topic("lines");
    host(broker);
    const publisher = broker.publisher("lines");
    const subscriber = broker.subscribe("lines");
    await publisher.publish(bytes("one"));
    broker.close();
    broker.close();
    publisher.close();
    refusal(() => publisher.offer(bytes("two")), /publisher is closed/);
    refusal(() => subscriber.poll(), /subscriber is closed/);
    refusal(() => broker.stat(), /closed/);
    await assertRejects(() => publisher.waitFor("ordered", 1), KeelsonError, "closed");
  }),
);

Deno.test(
  "A second host of a broker's role is refused with the name of the first",
  withFolder((folder) => {
    using broker = openBroker(folder, { brokerCount: 1 });
    broker.topic("lines");
    const stat = () => broker.stat().brokers[0];
    assertEquals(stat().alive, false);
    using role = broker.hostBroker(0);
    assertEquals([stat().alive, stat().pid, role.failed], [true, Deno.pid, undefined]);
    role.close();
    assertEquals(stat().alive, false);
  }),
);
