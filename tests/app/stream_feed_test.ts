import { assert, assertEquals } from "@std/assert";
import { FRAME } from "../../lib/app/frames.ts";
import { StreamFeed } from "../../lib/app/stream_feed.ts";
import { seeded } from "./seeded.ts";

const settle = () => new Promise((resolve) => setTimeout(resolve, 5));

/** A receiver that dies after some frames. */
class Receiver {
  bytes: number[] = [];
  ended = false;
  alive = true;
  left = Infinity;
  send = (kind: number, payload: Uint8Array = new Uint8Array(0)): Promise<boolean> => {
    if (!this.alive) return Promise.resolve(false);
    if (kind === FRAME.dataEnd) this.ended = true;
    else this.bytes.push(...payload);
    if (--this.left === 0) this.alive = false;
    return Promise.resolve(true);
  };
}

Deno.test("StreamFeed gives one receiver everything, and the end", async () => {
  const receiver = new Receiver();
  const feed = new StreamFeed(
    ReadableStream.from([Uint8Array.of(1, 2), new Uint8Array(0), Uint8Array.of(3)]),
    receiver.send,
  );
  feed.resume(0);
  await settle();
  assertEquals([receiver.bytes, receiver.ended], [[1, 2, 3], true]);
  feed.forget(2);
  assertEquals(feed.keptBytes, 1);
});

Deno.test("StreamFeed gives each successor what it asks for, from the middle of a chunk too", async () => {
  const { seed, random } = seeded();
  const content = Array.from({ length: 400 }, () => random(256));
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < content.length;) {
    const size = 1 + random(20);
    chunks.push(Uint8Array.from(content.slice(at, at + size)));
    at += size;
  }
  let receiver = new Receiver();
  const feed = new StreamFeed(
    ReadableStream.from(chunks),
    (kind, payload) => receiver.send(kind, payload),
  );
  let safe = 0;
  for (let life = 0; !receiver.ended; life++) {
    assert(life < 1000, `SEED=${seed}`);
    receiver = new Receiver();
    receiver.left = 1 + random(8);
    feed.pause();
    feed.resume(safe);
    await settle();
    assertEquals(receiver.bytes, content.slice(safe, safe + receiver.bytes.length), `SEED=${seed}`);
    if (receiver.ended) assertEquals(safe + receiver.bytes.length, content.length, `SEED=${seed}`);
    safe += random(receiver.bytes.length + 1);
    feed.forget(safe);
    assert(feed.keptBytes <= content.length - safe + 20);
  }
});
