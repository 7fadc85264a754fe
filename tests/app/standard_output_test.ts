import { assertEquals } from "@std/assert";
import { OutputBuffer } from "../../lib/app/standard_output.ts";

Deno.test("OutputBuffer passes on everything in order, in large pieces", () => {
  const pieces: Uint8Array[] = [];
  const output = new OutputBuffer((bytes) => pieces.push(bytes.slice()));
  let expected = "";
  for (let n = 0; n < 60_000; n++) {
    output.line(`line ${n}`);
    expected += `line ${n}\n`;
  }
  const large = new Uint8Array(1 << 20).fill(97);
  const { into, offset } = output.reserve(large.length);
  into.set(large, offset);
  output.commit(offset + large.length);
  output.flush();
  output.flush();
  const whole = new TextDecoder().decode(new Uint8Array(pieces.flatMap((piece) => [...piece])));
  assertEquals(whole === expected + "a".repeat(1 << 20), true);
  assertEquals(pieces.length, 4);
});
