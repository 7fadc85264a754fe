import { assert, assertEquals, assertMatch } from "@std/assert";
import { keelson, TestFolder } from "../../process/keelson_process.ts";

const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

Deno.test("verify and stat know a node and a log; a flipped bit is named with file and offset", async () => {
  using folder = new TestFolder();
  const data = `${folder.path}/data`;
  const input = folder.file("input", "some line\n".repeat(20_000));
  const made = await keelson(
    ["run", "--data", data, "--brokers", "1", "--input", input, "--no-dashboard"],
  );
  assertEquals(made.code, 0, made.stderr);
  const log = `${data}/broker/broker-0`;
  for (const path of [data, `${data}/broker`, log]) {
    const sound = await keelson(["verify", path]);
    assertEquals([sound.code, sound.stderr], [0, ""]);
    assertMatch(textOf(sound.stdout), /^sound: [\d,]+ log entries in 1 logs/);
    const state = JSON.parse(textOf((await keelson(["stat", path, "--json"])).stdout));
    assertEquals(state.kind, { [data]: "node", [log]: "log" }[path] ?? "broker");
    assertEquals(state.logs.length, 1);
  }
  const segment = `${log}/segment-0000000000000000.kls`;
  flipBit(segment, 4096 + 100);
  for (const path of [data, log]) {
    const damaged = await keelson(["verify", path]);
    assertEquals([damaged.code, damaged.stderr], [1, ""]);
    const [problem, verdict] = textOf(damaged.stdout).split("\n");
    assertMatch(problem, /segment-0{16}\.kls at offset 4096: .*expected/);
    assertEquals(verdict, "1 problem found");
  }
  const json = textOf((await keelson(["verify", log, "--json"])).stdout).trim().split("\n");
  assert(JSON.parse(json[0]).problem.includes("offset 4096"));
  const refused = await keelson(["run", "--data", data, "--no-dashboard", "--json"]);
  assertEquals(refused.code, 4);
  assertMatch(refused.stderr, /^keelson: .*segment-0{16}\.kls at offset 4096.*\n$/);
});

Deno.test("verify finds a damaged list of inputs", async () => {
  using folder = new TestFolder();
  const data = `${folder.path}/data`;
  const input = folder.file("input", "x\n");
  await keelson(["run", "--data", data, "--brokers", "1", "--input", input, "--no-dashboard"]);
  for (const offset of [100, 4196]) flipBit(`${data}/inputs.manifest`, offset);
  const damaged = await keelson(["verify", data]);
  assertEquals(damaged.code, 1);
  assertMatch(textOf(damaged.stdout), /inputs\.manifest/);
});

function flipBit(path: string, offset: number): void {
  using file = Deno.openSync(path, { read: true, write: true });
  const byte = new Uint8Array(1);
  file.seekSync(offset, Deno.SeekMode.Start);
  file.readSync(byte);
  byte[0] ^= 0x10;
  file.seekSync(offset, Deno.SeekMode.Start);
  file.writeSync(byte);
}
