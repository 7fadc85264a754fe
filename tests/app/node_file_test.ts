import { assertEquals, assertThrows } from "@std/assert";
import { Failure } from "../../lib/app/failure.ts";
import {
  existingData,
  leftovers,
  liveNode,
  nodeFile,
  type NodeRecord,
  readNode,
  removeNode,
  requireLiveNode,
  writeNode,
} from "../../lib/app/node_file.ts";
import { identityOf } from "../../lib/app/process_identity.ts";
import { TestFolder } from "../process/keelson_process.ts";

const self = identityOf(Deno.pid)!;
const NODE: NodeRecord = {
  ...self,
  region: "/dev/shm/keelson-0/node-1",
  port: 4660,
  children: [{ pid: self.pid, startTime: self.startTime, name: "broker 0" }],
};

Deno.test("writeNode() and readNode() are inverse; the note is for its owner only", () => {
  using folder = new TestFolder();
  assertEquals(readNode(folder.path), undefined);
  writeNode(folder.path, NODE);
  assertEquals(readNode(folder.path), NODE);
  assertEquals(Deno.statSync(nodeFile(folder.path)).mode! & 0o777, 0o600);
  assertEquals([...Deno.readDirSync(folder.path)].length, 1);
  removeNode(folder.path);
  removeNode(folder.path);
  assertEquals(readNode(folder.path), undefined);
});

Deno.test("readNode() takes what it cannot understand for nothing", () => {
  using folder = new TestFolder();
  for (const text of ["", "{", "null", "[]", '"x"', '{"pid":1}', '{"pid":"1","startTime":2}']) {
    folder.file("node.json", text);
    assertEquals(readNode(folder.path), undefined, text);
  }
  folder.file("node.json", JSON.stringify({ ...self, children: [{ pid: "x" }, 5, null] }));
  assertEquals(readNode(folder.path)?.children, []);
});

Deno.test("liveNode() knows a process from another with its pid, or of another boot", () => {
  using folder = new TestFolder();
  writeNode(folder.path, NODE);
  assertEquals(liveNode(folder.path)?.pid, Deno.pid);
  assertEquals(requireLiveNode(folder.path).port, 4660);
  assertEquals(leftovers(NODE).length, 1);
  for (
    const other of [{ startTime: self.startTime + 1 }, { bootId: "another" }, { pid: 2 ** 22 + 1 }]
  ) {
    writeNode(folder.path, { ...NODE, ...other });
    assertEquals(liveNode(folder.path), undefined);
    assertThrows(() => requireLiveNode(folder.path), Failure, "no node runs on");
  }
  assertEquals(leftovers({ ...NODE, bootId: "another" }), []);
});

Deno.test("existingData() creates nothing and says what to do", () => {
  using folder = new TestFolder();
  assertEquals(existingData(folder.path), folder.path);
  assertThrows(() => existingData(`${folder.path}/none`), Failure, "keelson run");
  assertThrows(() => existingData(folder.file("file", "")), Failure, "not a folder");
  assertEquals([...Deno.readDirSync(folder.path)].length, 1);
});
