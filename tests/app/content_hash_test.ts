import { assertEquals } from "@std/assert";
import { contentHash } from "../../lib/app/content_hash.ts";

const hash = (text: string) => contentHash(new TextEncoder().encode(text));

Deno.test("contentHash() is MurmurHash3 x86_32 with seed 0", () => {
  // Known answers of the published algorithm.
  assertEquals(hash(""), 0);
  assertEquals(hash("test"), 0xba6bd213);
  assertEquals(hash("Hello, world!"), 0xc0363e43);
  assertEquals(hash("The quick brown fox jumps over the lazy dog"), 0x2e4ff723);
  assertEquals(contentHash(new Uint8Array([0xff, 0xff, 0xff, 0xff])), 0x76293b50);
  assertEquals(contentHash(new Uint8Array([0x21, 0x43, 0x65])), 0x7e4a8634);
});

Deno.test("contentHash() of a view sees only the view, and every bit of it", () => {
  const bytes = new Uint8Array(64).map((_, i) => i * 37);
  const whole = contentHash(bytes.subarray(3, 50));
  assertEquals(contentHash(bytes.slice(3, 50)), whole);
  for (let bit = 0; bit < 47 * 8; bit++) {
    const other = bytes.slice(3, 50);
    other[bit >> 3] ^= 1 << (bit & 7);
    if (contentHash(other) === whole) throw new Error(`bit ${bit} does not count`);
  }
});
