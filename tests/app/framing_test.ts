import { assertEquals, assertThrows } from "@std/assert";
import { joinRecord, type Line, LineSplitter, RecordTooLong } from "../../lib/app/framing.ts";
import { seeded } from "./seeded.ts";

/** The dull way: the whole input at once. */
function model(input: Uint8Array): { records: number[][]; unterminated: boolean } {
  const records: number[][] = [[]];
  for (const byte of input) {
    if (byte === 10) records.push([]);
    else records.at(-1)!.push(byte);
  }
  const last = records.pop()!;
  if (last.length > 0) records.push(last);
  return { records, unterminated: last.length > 0 };
}

function split(chunks: Uint8Array[], bytesMax = 1 << 22): Line[] {
  const splitter = new LineSplitter(bytesMax);
  const lines: Line[] = [];
  const take = () => {
    for (let line = splitter.next(); line; line = splitter.next()) {
      lines.push({ ...line, record: line.record.slice() });
    }
  };
  for (const chunk of chunks) {
    splitter.push(chunk);
    take();
  }
  splitter.end();
  take();
  return lines;
}

function join(lines: Line[]): Uint8Array {
  const bytes = new Uint8Array(lines.reduce((sum, { record }) => sum + record.length + 1, 0));
  let offset = 0;
  for (const { record, unterminated } of lines) {
    offset = joinRecord(record, unterminated, bytes, offset);
  }
  return bytes.subarray(0, offset);
}

const bytesOf = (text: string) => new TextEncoder().encode(text);
const textsOf = (lines: Line[]) => lines.map(({ record }) => new TextDecoder().decode(record));

Deno.test("LineSplitter gives what the dull way gives, wherever the chunks are cut", () => {
  const { random, seed } = seeded();
  for (let round = 0; round < 300; round++) {
    const input = new Uint8Array(random(200));
    for (let i = 0; i < input.length; i++) input[i] = random(4) === 0 ? 10 : random(256);
    const chunks: Uint8Array[] = [];
    for (let at = 0; at < input.length;) {
      const bytes = random(20);
      chunks.push(input.subarray(at, at + bytes));
      at += bytes;
    }
    const lines = split(chunks);
    const expected = model(input);
    assertEquals(lines.map(({ record }) => [...record]), expected.records, `SEED=${seed}`);
    assertEquals(lines.at(-1)?.unterminated ?? false, expected.unterminated, `SEED=${seed}`);
    assertEquals(join(lines), input, `SEED=${seed}`);
  }
});

Deno.test("LineSplitter keeps CR, empty lines and bytes that are no UTF-8", () => {
  assertEquals(textsOf(split([bytesOf("a\r\n\n\nb\n")])), ["a\r", "", "", "b"]);
  assertEquals(split([new Uint8Array([0xff, 0, 10, 0xc3])]).map(({ record }) => [...record]), [
    [0xff, 0],
    [0xc3],
  ]);
});

Deno.test("LineSplitter of an empty input, or of one LF, makes no record of nothing", () => {
  assertEquals(split([]).length, 0);
  assertEquals(split([bytesOf("\n")]).length, 1);
  assertEquals(split([bytesOf("\n")])[0].unterminated, false);
});

Deno.test("LineSplitter says the offset behind each record, from wherever it starts", () => {
  const input = bytesOf("one\n\nthree");
  assertEquals(split([input]).map(({ endOffset }) => endOffset), [4, 5, 10]);
  const splitter = new LineSplitter(100, { offset: 1000, records: 7 });
  splitter.push(input.subarray(0, 2));
  assertEquals(splitter.next(), undefined);
  splitter.push(input.subarray(2));
  assertEquals(splitter.next()?.endOffset, 1004);
});

Deno.test("LineSplitter takes a record of the limit and refuses one byte more, naming its line", () => {
  const limit = 5000;
  const fits = new Uint8Array(limit + 1).fill(97).with(limit, 10);
  assertEquals(split([fits.subarray(0, 3000), fits.subarray(3000)], limit)[0].record.length, limit);
  const long = new Uint8Array(limit + 1).fill(97);
  for (const chunks of [[long], [long.subarray(0, 4000), long.subarray(4000)]]) {
    const error = assertThrows(() => split([bytesOf("x\n"), ...chunks], limit), RecordTooLong);
    assertEquals([error.line, error.bytesMax], [2, limit]);
  }
});

Deno.test("LineSplitter joins a record of 1 MiB from many chunks", () => {
  const record = new Uint8Array(1 << 20).fill(98);
  const chunks = [];
  for (let at = 0; at < record.length; at += 65536) chunks.push(record.subarray(at, at + 65536));
  const lines = split([...chunks, bytesOf("\nend\n")]);
  assertEquals(lines.map((line) => line.record.length), [1 << 20, 3]);
});
