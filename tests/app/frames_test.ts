import { assertEquals, assertThrows } from "@std/assert";
import {
  decodeHashes,
  decodeJson,
  decodeNumbers,
  decodeProgress,
  encodeFrame,
  encodeHashes,
  encodeJson,
  encodeNumbers,
  encodeProgress,
  FRAME,
  FRAME_BYTES_MAX,
  FrameDecoder,
  frames,
} from "../../lib/app/frames.ts";
import { seeded } from "./seeded.ts";

Deno.test("FrameDecoder gives every frame whole, wherever the pipe cuts", () => {
  const { seed, random } = seeded();
  for (let round = 0; round < 100; round++) {
    const sent = Array.from({ length: 20 }, (_, kind) => ({
      kind,
      payload: crypto.getRandomValues(new Uint8Array(random(3) === 0 ? 0 : random(40))),
    }));
    const bytes = new Uint8Array(
      sent.flatMap(({ kind, payload }) => [...encodeFrame(kind, payload)]),
    );
    const decoder = new FrameDecoder();
    const got: typeof sent = [];
    for (let at = 0; at < bytes.length;) {
      const size = 1 + random(30);
      decoder.push(bytes.slice(at, at + size));
      at += size;
      for (let frame = decoder.next(); frame; frame = decoder.next()) {
        got.push({ kind: frame.kind, payload: frame.payload.slice() });
      }
    }
    assertEquals(got, sent, `SEED=${seed}`);
  }
});

Deno.test("FrameDecoder refuses a length that nobody sends", () => {
  const bytes = encodeFrame(1);
  new DataView(bytes.buffer).setUint32(4, FRAME_BYTES_MAX + 1, true);
  const decoder = new FrameDecoder();
  decoder.push(bytes);
  assertThrows(() => decoder.next(), Error, "frame of");
});

Deno.test("frames() ends with the pipe; half a frame at the end is nothing", async () => {
  const stream = ReadableStream.from([
    encodeFrame(FRAME.stop),
    encodeFrame(FRAME.data, new Uint8Array(9)).subarray(0, 12),
  ]);
  const kinds: number[] = [];
  for await (const { kind } of frames(stream)) kinds.push(kind);
  assertEquals(kinds, [FRAME.stop]);
});

Deno.test("every payload comes back as it was, from a view at any offset", () => {
  const shifted = (payload: Uint8Array) => {
    const bytes = new Uint8Array(payload.length + 3);
    bytes.set(payload, 3);
    return bytes.subarray(3);
  };
  assertEquals([...decodeNumbers(shifted(encodeNumbers(1.5, 2 ** 52, 0)))], [1.5, 2 ** 52, 0]);
  assertEquals(decodeJson(shifted(encodeJson({ a: ["ä"] }))), { a: ["ä"] });
  const hashes = Uint32Array.of(1, 0xffffffff);
  assertEquals(decodeHashes(shifted(encodeHashes(9e15, 7, hashes))), {
    session: 9e15,
    first: 7,
    hashes,
  });
  const progress = {
    session: 1,
    published: 2,
    ordered: 3,
    durable: 4,
    acknowledged: 5,
    bytes: 6,
    resumeSequence: 7,
    resumeOffset: 8,
    resumeBytes: 9,
  };
  assertEquals(decodeProgress(shifted(encodeProgress(progress))), progress);
});
