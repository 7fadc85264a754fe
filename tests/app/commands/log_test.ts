import { assert, assertEquals, assertMatch } from "@std/assert";
import { keelson, TestFolder } from "../../process/keelson_process.ts";

const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

Deno.test("log append and log cat give a file back byte for byte", async () => {
  using folder = new TestFolder();
  const bytes = new Uint8Array(300_000);
  for (let at = 0; at < bytes.length; at += 65_536) {
    crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  }
  const input = folder.file("input", bytes), log = `${folder.path}/log`;
  const appended = await keelson(["log", "append", log, input]);
  assertMatch(textOf(appended.stdout), /^[\d,]+ records appended to .*, durable\n$/);
  assertEquals(appended.code, 0, appended.stderr);
  const printed = await keelson(["log", "cat", log]);
  assertEquals(printed.stdout, bytes);
  const piped = await keelson(["log", "append", `${folder.path}/piped`, "-"], {
    stdin: new TextEncoder().encode("a\n\nb"),
  });
  assertEquals(piped.code, 0, piped.stderr);
  const lines = textOf((await keelson(["log", "cat", `${folder.path}/piped`, "--json"])).stdout);
  const records = lines.trimEnd().split("\n").map((line) => JSON.parse(line));
  assertEquals(records.map(({ text, tag }) => [text, tag]), [["a", 0], ["", 0], ["b", 1]]);
});

Deno.test("log stat, truncate, verify and repair tell what they find and do", async () => {
  using folder = new TestFolder();
  const log = `${folder.path}/log`;
  const lines = Array.from({ length: 3000 }, (_, n) => `line ${n} ${"x".repeat(200)}\n`).join("");
  await keelson(["log", "append", log, folder.file("input", lines)]);
  const json = JSON.parse(textOf((await keelson(["log", "stat", log, "--json"])).stdout));
  assertEquals(
    Object.keys(json).filter((key) =>
      ["firstAddress", "durableAddress", "tailAddress", "bytesUsed", "segments"].includes(key)
    ).length,
    5,
  );
  assert(json.tailAddress > lines.length && json.tailAddress === json.durableAddress);
  assertMatch(textOf((await keelson(["log", "stat", log])).stdout), /^addresses +0 to \d+/);
  const records = textOf((await keelson(["log", "cat", log, "--json"])).stdout).trimEnd()
    .split("\n").map((line) => JSON.parse(line));
  const middle = records[2000].address;
  assertEquals(
    textOf((await keelson(["log", "truncate", log, String(middle)])).stdout),
    `the log begins at address ${middle}\n`,
  );
  const left = textOf((await keelson(["log", "cat", log, "--count", "1"])).stdout);
  assertEquals(left, `${records.find(({ address }) => address === middle).text}\n`);
  assertMatch(textOf((await keelson(["log", "verify", log])).stdout), /^sound: /);
  using file = Deno.openSync(`${log}/segment-0000000000000000.kls`, { read: true, write: true });
  file.seekSync(4096 + middle + 100, Deno.SeekMode.Start);
  file.writeSync(new Uint8Array([1, 2, 3]));
  const damaged = await keelson(["log", "verify", log]);
  assertEquals(damaged.code, 1);
  assertMatch(textOf(damaged.stdout), /^[^\n]*has checksum [^\n]*\n$/);
  const dry = await keelson(["repair", log, "--dry-run"]);
  assertMatch(textOf(dry.stdout), /would be dropped; nothing was changed\n$/);
  const mended = await keelson(["log", "repair", log]);
  assertMatch(textOf(mended.stdout), /1 problem repaired, [\d,]+ bytes dropped/);
  assertEquals((await keelson(["log", "verify", log])).code, 0);
});

Deno.test("log refuses wrong words with one line", async () => {
  using folder = new TestFolder();
  const log = `${folder.path}/log`;
  for (
    const [args, words] of [
      [["log", "shred", log], /must be one of: append, cat/],
      [["log", "cat"], /DIR is missing/],
      [["log", "cat", log, "extra"], /one word too many/],
      [["log", "truncate", log], /ADDRESS is missing/],
      [["log", "truncate", log, "-5"], /./],
      [["log", "cat", log, "--follow", "--uncommitted"], /leave out --uncommitted/],
      [["log", "stat", log], /cannot look at the log/],
      [["log", "append", log, "/nowhere/at/all"], /read \/nowhere\/at\/all/],
      [["repair", folder.path], /holds neither a node/],
    ] as [string[], RegExp][]
  ) {
    const { code, stderr } = await keelson(args);
    assert(code > 0, args.join(" "));
    assertMatch(stderr, words);
    assertMatch(stderr, /^keelson: [^\n]*\n$/);
  }
});
