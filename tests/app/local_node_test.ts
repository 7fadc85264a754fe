import { assert, assertEquals, assertRejects } from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { Failure } from "../../lib/app/failure.ts";
import { LocalNode } from "../../lib/app/local_node.ts";
import { readNode, writeNode } from "../../lib/app/node_file.ts";
import { identityOf } from "../../lib/app/process_identity.ts";
import { pause, TestFolder } from "../process/keelson_process.ts";

preload();

const onFailure = (failure: Failure) => {
  throw failure;
};

Deno.test("LocalNode starts its roles, says so in node.json, and leaves only data behind", async () => {
  using folder = new TestFolder();
  const data = `${folder.path}/data`;
  const node = await LocalNode.open({ data, brokers: 2, onFailure });
  node.startHosts();
  await pause(0);
  const note = readNode(data)!;
  assertEquals(note.pid, Deno.pid);
  assertEquals(note.children.map(({ name }) => name), ["sequencer", "broker 0", "broker 1"]);
  assertEquals(node.nameOf(note.children[1].pid), "broker 0");
  assertEquals([node.restartsOf("broker 0"), node.trouble], [0, undefined]);
  await node.close();
  node.destroy(); // nothing, after a clean end
  assertEquals([...Deno.readDirSync(data)].map(({ name }) => name).sort(), ["LOCK", "broker"]);
  for (const { pid } of note.children) assertEquals(identityOf(pid), undefined);
});

Deno.test("LocalNode keeps to the number of brokers that its folder was made with", async () => {
  using folder = new TestFolder();
  const data = `${folder.path}/data`;
  (await LocalNode.open({ data, brokers: 2, onFailure })).destroy();
  const again = await LocalNode.open({ data, onFailure });
  assertEquals(again.broker.brokerCount, 2);
  again.destroy();
  const error = await assertRejects(() => LocalNode.open({ data, brokers: 3, onFailure }), Failure);
  assert(error.message.includes("created with 2 brokers"));
  (await LocalNode.open({ data, brokers: 2, onFailure })).destroy(); // the lock was given back
});

Deno.test("LocalNode ends processes of a killed node that do not end by themselves", async () => {
  using folder = new TestFolder();
  const data = `${folder.path}/data`;
  Deno.mkdirSync(data, { mode: 0o700 });
  const child = new Deno.Command("sleep", { args: ["60"] }).spawn();
  const identity = { ...identityOf(child.pid)!, name: "broker 0" };
  writeNode(data, {
    ...identity,
    pid: 2 ** 22 + 1,
    region: null,
    port: null,
    children: [identity],
  });
  const startedAt = performance.now();
  const opening = LocalNode.open({ data, onFailure });
  assertEquals((await child.status).signal, "SIGKILL");
  assert(performance.now() - startedAt > 1900, "it had its 2 s");
  (await opening).destroy();
});
