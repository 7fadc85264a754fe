import { assertEquals } from "@std/assert";
import { recordJson } from "../../../lib/app/commands/sub.ts";

const MESSAGE = {
  totalOrder: 5,
  session: 77,
  sequence: 2,
  flags: 0,
  publishedAtMicros: 1000.5,
  bytes: new Uint8Array(0),
};
const json = (bytes: Uint8Array, flags = 0) => JSON.parse(recordJson({ ...MESSAGE, bytes, flags }));
const bytesOf = (text: string) => new TextEncoder().encode(text);

Deno.test("recordJson() gives text as it is, controls and byte order mark included", () => {
  assertEquals(json(bytesOf("ä\r")), {
    totalOrder: 5,
    session: 77,
    sequence: 2,
    unterminated: false,
    publishedAtMicros: 1000.5,
    bytes: 3,
    text: "ä\r",
  });
  for (const text of ["", "\ufeffx", '\0\u2028"\\', "\n"]) {
    assertEquals(json(bytesOf(text)).text, text);
    assertEquals(recordJson({ ...MESSAGE, bytes: bytesOf(text) }).includes("\n"), false);
  }
  assertEquals(json(bytesOf("x"), 1).unterminated, true);
});

Deno.test("recordJson() gives base64 where the bytes are no UTF-8, however many", () => {
  const bytes = new Uint8Array(100_003).fill(0xfe);
  const { base64, text } = json(bytes);
  assertEquals(text, undefined);
  assertEquals(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)), bytes);
  assertEquals(json(new Uint8Array([0xed, 0xa0, 0x80])).base64, "7aCA"); // a lone surrogate
});
