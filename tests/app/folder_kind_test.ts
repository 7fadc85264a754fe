import { assertEquals, assertThrows } from "@std/assert";
import { Failure } from "../../lib/app/failure.ts";
import { brokerLogs, folderKind, folderSize } from "../../lib/app/folder_kind.ts";
import { TestFolder } from "../process/keelson_process.ts";

Deno.test("folderKind() knows a node's folder, a broker's and a log's", () => {
  using folder = new TestFolder();
  const { path } = folder;
  for (const name of ["data/broker/broker-10", "data/broker/broker-2", "data/broker/topics"]) {
    Deno.mkdirSync(`${path}/${name}`, { recursive: true });
  }
  folder.file("data/broker/node.manifest", "x");
  folder.file("data/broker/broker-2/segment-00000000000000af.kls", "12345");
  const broker = `${path}/data/broker`;
  assertEquals(folderKind(`${path}/data`), { kind: "node", data: `${path}/data`, broker });
  assertEquals(folderKind(broker), { kind: "broker", broker });
  assertEquals(folderKind(`${broker}/broker-2`), { kind: "log", log: `${broker}/broker-2` });
  assertEquals(brokerLogs(broker), [`${broker}/broker-10`, `${broker}/broker-2`]);
  assertEquals(folderSize(`${broker}/broker-2`), { files: 1, bytes: 5 });
});

Deno.test("folderKind() says what a folder should be", () => {
  using folder = new TestFolder();
  assertThrows(() => folderKind(folder.path), Failure, "holds neither a node");
  assertThrows(() => folderKind(`${folder.path}/none`), Failure, "does not exist");
  assertThrows(() => folderKind(folder.file("file", "")), Failure, "is not a folder");
  folder.file("node.json", "{}");
  assertThrows(() => folderKind(folder.path), Failure, "no broker in it yet");
});
