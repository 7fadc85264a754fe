import { assert, assertEquals } from "@std/assert";
import { printable, recordTextMax, shorten } from "../../../lib/app/dashboard/record_text.ts";

Deno.test("shorten() leaves short text alone and never cuts a character in half", () => {
  assertEquals(shorten("abc", 3), "abc");
  assertEquals(shorten("abcd", 3), "abc");
  assertEquals(shorten("ab😀d", 3), "ab");
  assertEquals(shorten("ab😀d", 4), "ab😀");
  assertEquals(shorten("x".repeat(1 << 20)).length, recordTextMax);
});

Deno.test("printable() shows controls by name", () => {
  assertEquals(printable("a\0b\tc\r\x1b[31m\x7f"), "a‹NUL›b‹TAB›c‹CR›‹ESC›[31m‹U+007F›");
  assertEquals(printable("\u0085\u2028\ufeff"), "‹U+0085›‹U+2028›‹U+FEFF›");
});

Deno.test("printable() shows what would turn text around, hide it or be half a character", () => {
  assertEquals(printable("\u202egnp.exe"), "‹U+202E›gnp.exe");
  assertEquals(printable("a\u2066b\u200bc\ud800"), "a‹U+2066›b‹U+200B›c‹U+D800›");
});

Deno.test("printable() keeps the writing of every language", () => {
  for (const text of ["שלום עולם", "مرحبا", "日本語", "née", "👩‍👩‍👧", "क्षत्रिय"]) {
    assertEquals(printable(text), text);
  }
});

Deno.test("printable() drops piles of combining marks", () => {
  const text = printable(`z${"\u0301".repeat(500)}!`);
  assert(text.length <= 5, text);
  assert(text.startsWith("z") && text.endsWith("!"));
});

Deno.test("printable() leaves nothing invisible in any of the first 65,536 characters", () => {
  for (let code = 0; code < 0x10000; code++) {
    const shown = printable(`x${String.fromCharCode(code)}x`);
    const hidden = /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\u202a-\u202e\u2066-\u2069]/u.test(shown);
    assert(!hidden, `U+${code.toString(16)} is still there`);
  }
});
