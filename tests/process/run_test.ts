/** `keelson run` and what attaches to it, as a user meets them: real processes, real files. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { bootId, isAlive } from "../../lib/app/process_identity.ts";
import { brokerFolder, readNode, writeNode } from "../../lib/app/node_file.ts";
import { openBroker } from "../../lib/broker/broker.ts";
import type { Report } from "../../lib/app/report.ts";
import {
  debugLibrary,
  type Ended,
  keelson,
  KeelsonProcess,
  killPid,
  nodeOf,
  pause,
  reportOf,
  TestFolder,
} from "./keelson_process.ts";
import { seeded } from "../app/seeded.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const CLEAN = { lost: 0, duplicates: 0, outOfOrder: 0 };

/** Checks the counts of a run that went well. */
function assertCounts(ended: Ended, records: number, more: Partial<Report> = {}): Report {
  assertEquals(ended.stderr, "");
  const report = reportOf(ended);
  const { published, ordered, delivered, lost, duplicates, outOfOrder } = report;
  assertEquals(
    { published, ordered, delivered, lost, duplicates, outOfOrder },
    { published: records, ordered: records, delivered: records, ...CLEAN },
  );
  for (const [key, value] of Object.entries(more)) {
    assertEquals(report[key as keyof Report], value, key);
  }
  return report;
}

function numbered(count: number): string {
  return Array.from({ length: count }, (_, n) => `line ${n} ${"x".repeat(n % 90)}\n`).join("");
}

Deno.test("run --input takes a file with everything odd in it, and sub prints just its bytes", async () => {
  using folder = new TestFolder();
  const parts = [
    bytesOf("\n\nplain\r\n"),
    new Uint8Array([0xff, 0xfe, 0, 10, 0xc3, 10]),
    new Uint8Array(1 << 20).fill(65),
    bytesOf(`\n${numbered(3000)}\n\nlast, without an end`),
  ];
  const content = new Uint8Array(await new Blob(parts).arrayBuffer());
  const input = folder.file("odd input", content);
  const data = `${folder.path}/data`;
  const ended = await keelson([
    "run",
    "--data",
    data,
    "--input",
    input,
    "--no-dashboard",
    "--json",
  ]);
  assertEquals(ended.code, 0);
  const report = assertCounts(ended, 3009, { topic: "lines", inputComplete: true, durable: 3009 });
  assertEquals(Object.keys(report), [
    "topic",
    "published",
    "ordered",
    "durable",
    "delivered",
    "lost",
    "duplicates",
    "outOfOrder",
    "inputComplete",
    "bytes",
    "seconds",
    "publishToDeliverMicros",
    "ackDurableMicros",
  ]);
  assertEquals(report.bytes, content.length - 3008);
  assert(report.ackDurableMicros.p50! > 0 && report.publishToDeliverMicros.p999! > 0);
  assertEquals((await keelson(["sub", "lines", "--data", data])).stdout, content);
  const rows = textOf(
    (await keelson(["sub", "lines", "--data", data, "--from", "3", "--count", "2", "--json"]))
      .stdout,
  ).trimEnd().split("\n").map((line) => JSON.parse(line));
  assertEquals(rows.map(({ totalOrder, bytes, base64 }) => ({ totalOrder, bytes, base64 })), [
    { totalOrder: 3, bytes: 3, base64: "//4A" },
    { totalOrder: 4, bytes: 1, base64: "ww==" },
  ]);
});

Deno.test("run --input of an empty file is complete at once", async () => {
  using folder = new TestFolder();
  const args = ["run", "--data", `${folder.path}/d`, "--input", folder.file("empty", "")];
  const ended = await keelson([...args, "--no-dashboard", "--json"]);
  assertEquals(ended.code, 0);
  assertCounts(ended, 0, { inputComplete: true, bytes: 0 });
});

Deno.test("run --input - takes standard input; a finished input begins anew", async () => {
  using folder = new TestFolder();
  const data = `${folder.path}/data`;
  const args = ["run", "--data", data, "--topic", "piped", "--no-dashboard", "--json"];
  const piped = await keelson([...args, "--input", "-"], { stdin: bytesOf(numbered(500)) });
  assertEquals(piped.code, 0);
  assertCounts(piped, 500, { inputComplete: true });
  const input = folder.file("input", numbered(20));
  for (let time = 0; time < 2; time++) {
    const ended = await keelson([...args, "--input", input, "--ack", "ordered"]);
    assertCounts(ended, 20, { inputComplete: true });
  }
  const printed = await keelson(["sub", "piped", "--data", data]);
  assertEquals(textOf(printed.stdout), numbered(500) + numbered(20) + numbered(20));
});

Deno.test("run finds a record that the library dropped, repeated or swapped, and exits with 1", async () => {
  const { seed, random } = seeded();
  using folder = new TestFolder();
  const input = folder.file("input", numbered(2000));
  const args = ["run", "--input", input, "--no-dashboard", "--json", "--data"];
  const counters = { drop: "lost", repeat: "duplicates", swap: "outOfOrder" } as const;
  for (const [fault, counter] of Object.entries(counters)) {
    const KEELSON_FAULT_RECORD = `${fault}:${random(2000)}`;
    const ended = await keelson([...args, `${folder.path}/${fault}`], {
      env: await debugLibrary({ KEELSON_FAULT_RECORD }),
    });
    const { lost, duplicates, outOfOrder, inputComplete } = reportOf(ended);
    assertEquals(
      { lost, duplicates, outOfOrder, inputComplete, code: ended.code },
      { ...CLEAN, [counter]: 1, inputComplete: true, code: 1 },
      `${KEELSON_FAULT_RECORD} SEED=${seed}`,
    );
  }
});

Deno.test("run without input publishes telemetry until its time is over", async () => {
  using folder = new TestFolder();
  const data = `${folder.path}/data`;
  const args = ["run", "--data", data, "--no-dashboard", "--json", "--for", "1s", "--rate", "200"];
  const ended = await keelson(args);
  assertEquals(ended.code, 0);
  const report = reportOf(ended);
  assertEquals([report.topic, report.inputComplete], ["telemetry", null]);
  assert(report.published > 50 && report.published < 400, `${report.published}`);
  assertCounts(ended, report.published);
  const rows = textOf((await keelson(["sub", "telemetry", "--data", data])).stdout).trimEnd()
    .split("\n").map((line) => JSON.parse(line));
  assertEquals(rows.length, report.published);
  assertEquals(
    [...new Set(rows.map(({ source }) => source))].sort(),
    ["cpu", "disk", "memory", "network", "processes", "scheduler"],
  );
});

Deno.test("run whose time is over before the input says so, and goes on with it next time", async () => {
  using folder = new TestFolder();
  const content = numbered(600_000);
  const input = folder.file("input", content);
  const argsOf = (data: string) => {
    return ["run", "--data", data, "--input", input, "--no-dashboard", "--json"];
  };
  // However quick the machine is, some time is too short for all of it.
  let forMs = 800, data: string, early: Ended;
  do {
    forMs >>= 1;
    data = `${folder.path}/data-${forMs}`;
    early = await keelson([...argsOf(data), "--for", `${forMs}ms`]);
  } while (early.code === 0 && forMs > 1);
  const { published, inputComplete, lost, duplicates, outOfOrder } = reportOf(early);
  assertEquals([early.code, inputComplete], [3, false]);
  assertEquals({ lost, duplicates, outOfOrder }, CLEAN);
  assert(published < 600_000);
  const late = await keelson(argsOf(data));
  assertEquals(late.code, 0);
  assertCounts(late, 600_000, { inputComplete: true, durable: 600_000 });
  assertEquals(textOf((await keelson(["sub", "lines", "--data", data])).stdout), content);
});

Deno.test("run goes on when its input publisher, a broker, the sequencer, the checker are killed", async () => {
  using folder = new TestFolder();
  const data = `${folder.path}/data`;
  const content = numbered(300_000);
  for (const source of ["file", "pipe"]) {
    const input = source === "file" ? folder.file("input", content) : "-";
    await using run = new KeelsonProcess(
      ["run", "--data", data, "--topic", source, "--input", input, "--no-dashboard", "--json"],
      source === "pipe" ? { stdin: bytesOf(content) } : {},
    );
    await nodeOf(data, (n) => n.pid === run.pid && n.children.length >= 7);
    for (const name of ["input publisher", "broker 1", "sequencer", "checker", "input publisher"]) {
      await pause(80);
      const child = readNode(data)?.children.find((one) => one.name === name);
      if (child) killPid(child.pid);
    }
    const ended = await run.ended;
    assertEquals(ended.code, 0, ended.stderr);
    assertCounts(ended, 300_000, { inputComplete: true });
    const printed = await keelson(["sub", source, "--data", data]);
    assertEquals(printed.stdout.length, content.length);
    assert(textOf(printed.stdout) === content, `${source}: other bytes`);
  }
});

Deno.test("run that is killed leaves no process behind, and the next run takes over", async () => {
  using folder = new TestFolder();
  const data = `${folder.path}/data`;
  const args = ["run", "--data", data, "--no-dashboard", "--json", "--rate", "50"];
  await using first = new KeelsonProcess(args);
  const node = await nodeOf(data, (n) => n.children.length === 8);
  await pause(200);
  first.kill();
  await first.ended;
  await using second = new KeelsonProcess([...args, "--for", "700ms"]);
  const startedAt = performance.now();
  const alive = () => node.children.filter((child) => isAlive({ ...child, bootId: bootId() }));
  while (alive().length > 0) {
    assert(performance.now() - startedAt < 1000, `${alive()[0].name} outlives its run by 1 s`);
    await pause(20);
  }
  const ended = await second.ended;
  assertEquals(ended.code, 0, ended.stderr);
  assertCounts(ended, reportOf(ended).published);
  assertEquals(readNode(data), undefined);
});

Deno.test("run ends cleanly on a signal, at once on the second, and says so in its exit code", async () => {
  using folder = new TestFolder();
  const data = `${folder.path}/data`;
  for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
    await using run = new KeelsonProcess(["run", "--data", data, "--no-dashboard", "--json"]);
    await nodeOf(data, (n) => n.pid === run.pid && n.children.length === 8);
    await pause(300);
    run.kill(signal);
    const ended = await run.ended;
    assertEquals(ended.code, code, ended.stderr);
    assertCounts(ended, reportOf(ended).published);
    assertEquals(readNode(data), undefined);
  }
  await using run = new KeelsonProcess(["run", "--data", data, "--no-dashboard"]);
  const node = await nodeOf(data, (n) => n.pid === run.pid && n.children.length === 8);
  for (const child of node.children) Deno.kill(child.pid, "SIGSTOP"); // none of them can end cleanly
  const startedAt = performance.now();
  run.kill("SIGINT");
  await pause(100);
  run.kill("SIGINT");
  assertEquals((await run.ended).code, 130);
  assert(performance.now() - startedAt < 1500);
});

Deno.test("run refuses a folder that another node owns, and a note that is stale does not hinder", async () => {
  using folder = new TestFolder();
  const data = `${folder.path}/data`;
  const args = ["run", "--data", data, "--no-dashboard", "--json"];
  {
    await using first = new KeelsonProcess(args);
    await nodeOf(data, (n) => n.children.length === 8);
    const second = await keelson(args);
    assertEquals([second.code, textOf(second.stdout)], [4, ""]);
    assertMatch(second.stderr, new RegExp(`^keelson: .*another live node.*${first.pid}.*\\n$`));
    Deno.removeSync(`${data}/node.json`); // the lock decides, not the note
    assertMatch((await keelson(args)).stderr, new RegExp(`another live node: .*${first.pid}`));
    first.kill("SIGTERM");
    await first.ended;
  }
  const stale = {
    pid: 1,
    startTime: 1,
    bootId: "another boot",
    region: null,
    port: 1,
    children: [],
  };
  writeNode(data, stale);
  assertEquals((await keelson([...args, "--for", "300ms"])).code, 0);
  assertEquals(readNode(data), undefined);
});

Deno.test("pub, sub --follow, topics and stat attach to the live node", async () => {
  using folder = new TestFolder();
  const data = `${folder.path}/data`;
  await using run = new KeelsonProcess(["run", "--data", data, "--rate", "0", "--no-dashboard"]);
  await nodeOf(data, (n) => n.children.length === 6);
  const pub = (text: string, ...more: string[]) =>
    keelson(["pub", "notes", "--data", data, "--json", ...more], { stdin: bytesOf(text) });
  const { session: _, ...said } = JSON.parse(textOf((await pub("a\nb\n")).stdout));
  assertEquals(said, { topic: "notes", published: 2, bytes: 2, ack: "durable" });
  await using follower = new KeelsonProcess(
    ["sub", "notes", "--data", data, "--follow", "--count", "4"],
  );
  await pause(200);
  assertEquals(
    JSON.parse(textOf((await pub("c\nd\ne\n", "--ack", "ordered")).stdout)).published,
    3,
  );
  assertEquals(textOf((await follower.ended).stdout), "a\nb\nc\nd\n");
  const topics = textOf((await keelson(["topics", "--data", data, "--json"])).stdout).trim()
    .split("\n").map((line) => JSON.parse(line));
  assertEquals(topics.find(({ name }) => name === "notes").records, 5);
  const state = JSON.parse(textOf((await keelson(["stat", "--data", data, "--json"])).stdout));
  assertEquals([state.kind, state.running, state.pid], ["node", true, run.pid]);
  assertEquals(state.brokers.map(({ alive }: { alive: boolean }) => alive), [
    true,
    true,
    true,
    true,
  ]);
});

/** Returns when somebody has made the topic. */
async function topicOf(data: string, topic: string): Promise<void> {
  const deadline = performance.now() + 30_000;
  for (;;) {
    {
      using broker = openBroker(brokerFolder(data), { readOnly: true });
      if (broker.topicNames().includes(topic)) return;
    }
    if (performance.now() > deadline) throw new Error(`no topic ${topic}`);
    await pause(20);
  }
}

Deno.test("pub says when its node has ended before all was acknowledged", async () => {
  using folder = new TestFolder();
  const data = `${folder.path}/data`;
  await using run = new KeelsonProcess(["run", "--data", data, "--rate", "0", "--no-dashboard"]);
  await nodeOf(data, (n) => n.children.length === 6);
  await using pub = new KeelsonProcess(["pub", "notes", "--data", data], { stdin: "open" });
  await topicOf(data, "notes"); // pub has found the node
  run.kill();
  await run.ended;
  const writer = pub.child.stdin.getWriter();
  await writer.write(bytesOf("a record\n"));
  await writer.close();
  const ended = await pub.ended;
  assertEquals(ended.code, 4);
  assertMatch(ended.stderr, /^keelson: the node on .* has ended before all was acknowledged.*\n$/);
});

Deno.test("sub ends quietly when nobody reads on", async () => {
  using folder = new TestFolder();
  const data = `${folder.path}/data`;
  const input = folder.file("input", numbered(200_000));
  await keelson(["run", "--data", data, "--input", input, "--no-dashboard"]);
  await using sub = new KeelsonProcess(["sub", "lines", "--data", data]);
  // The same with a shell, whose head closes the pipe early.
  const cli = new URL("../../lib/app/cli.ts", import.meta.url).pathname;
  const { stdout, stderr } = await new Deno.Command("bash", {
    args: [
      "-c",
      `"$0" run -A --quiet "$1" sub lines --data "$2" | head -1; echo "\${PIPESTATUS[0]}"`,
      Deno.execPath(),
      cli,
      data,
    ],
  }).output();
  assertEquals([textOf(stdout), textOf(stderr)], ["line 0 \n0\n", ""]);
  assertEquals((await sub.ended).code, 0);
});
