/** A node whose processes are killed at random moments, over and over. */
import { assert, assertEquals } from "@std/assert";
import {
  type Ended,
  keelson,
  KeelsonProcess,
  killPid,
  nodeOf,
  pause,
  reportOf,
  TestFolder,
} from "../process/keelson_process.ts";
import { preload } from "../../ffi/library.ts";
import { brokerFolder, leftovers, readNode } from "../../lib/app/node_file.ts";
import { openBroker, RecordBatch } from "../../lib/broker/broker.ts";
import { seeded } from "../app/seeded.ts";

preload();
await import("node:net"); // what the first wait loads, outside of any test

const ROUNDS = Deno.env.get("KEELSON_LONG") === "1" ? 100 : 10;
const LINES = 150_000;
const RUNS_MAX = 30;
const KILLS_MAX = 10;

Deno.test("run loses, doubles and swaps nothing while any of its processes is killed", async () => {
  const { seed, random } = seeded();
  console.log(`re-run with: SEED=${seed}`);
  for (let round = 0; round < ROUNDS; round++) {
    try {
      await killRound(random);
    } catch (error) {
      throw new Error(`SEED=${seed} round ${round}: ${error}`, { cause: error });
    }
  }
});

for (const memory of ["kept", "gone too, as after a reboot"]) {
  Deno.test(`what was acknowledged is there after all were killed, with the memory ${memory}`, async () => {
    const { seed, random } = seeded();
    for (let round = 0; round < ROUNDS / 5; round++) {
      try {
        await endOfAll(random, memory !== "kept");
      } catch (error) {
        throw new Error(`SEED=${seed} round ${round}: ${error}`, { cause: error });
      }
    }
  });
}

/** Publishes from here, kills every process of the node at once, and looks what the next one has. */
async function endOfAll(random: (below: number) => number, reboot: boolean): Promise<void> {
  using folder = new TestFolder();
  const data = `${folder.path}/data`;
  const args = ["run", "--data", data, "--rate", "0", "--no-dashboard"];
  let acknowledged: { ordered: number; durable: number };
  let memory: string[];
  {
    await using run = new KeelsonProcess(args);
    const node = await nodeOf(data, ({ children }) => children.length === 6);
    await pause(300);
    using broker = openBroker(brokerFolder(data));
    broker.topic("t");
    using publisher = broker.publisher("t", { ack: "durable" });
    memory = sharedMemory([run.pid, ...node.children.map(({ pid }) => pid)]);
    const killAt = performance.now() + random(400);
    const batch = new RecordBatch();
    for (let n = 0; performance.now() < killAt;) {
      batch.clear();
      for (let i = random(200); i >= 0; i--) batch.add(new TextEncoder().encode(`record ${n++}`));
      while (!publisher.offerBatch(batch)) await publisher.waitForSpace(batch.bytes);
      await pause(random(3));
    }
    for (const pid of [run.pid, ...node.children.map(({ pid }) => pid)]) killPid(pid);
    await run.ended;
    await childrenEnded(data);
    acknowledged = publisher.progress();
  }
  if (reboot) memory.forEach(removeFile);
  await using _next = new KeelsonProcess(args);
  await nodeOf(data, ({ children, pid }) => pid === _next.pid && children.length === 6);
  const printed = await keelson(["sub", "t", "--data", data]);
  const records = new TextDecoder().decode(printed.stdout).split("\n").slice(0, -1);
  records.forEach((record, n) => assertEquals(record, `record ${n}`));
  const promised = reboot ? acknowledged.durable : acknowledged.ordered;
  assert(records.length >= promised, `${records.length} of ${promised} acknowledged records`);
}

/** Removes what our own close, as the last one's, may have removed. */
function removeFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** The files in memory that these processes share. */
function sharedMemory(pids: number[]): string[] {
  const maps = pids.map((pid) => Deno.readTextFileSync(`/proc/${pid}/maps`)).join("");
  return [...new Set(maps.match(/\/dev\/shm\/keelson-\d+\/\S+/g))];
}

async function killRound(random: (below: number) => number): Promise<void> {
  using folder = new TestFolder();
  const data = `${folder.path}/data`;
  const content = lines(random);
  const input = folder.file("input", content);
  const args = ["run", "--data", data, "--input", input, "--no-dashboard", "--json"];
  const killed: string[] = [];
  const followers: KeelsonProcess[] = [];
  let ended: Ended | undefined;
  for (let runs = 0; !ended; runs++) {
    assert(runs < RUNS_MAX, `the input is never done; killed: ${killed}`);
    await using run = new KeelsonProcess(args);
    const killing = killSome(run, data, random, killed);
    const follower = follow(data);
    const end = await run.ended;
    await killing;
    followers.push(...await follower);
    if (end.code === 137) {
      await childrenEnded(data);
      if (end.stdout.length === 0) continue;
      ended = end; // killed behind its report: the session is over
      break;
    }
    const said = `${new TextDecoder().decode(end.stdout)}${end.stderr}`;
    assertEquals(end.code, 0, `exit ${end.code} ${said}; killed: ${killed}`);
    ended = end;
  }
  const report = reportOf(ended);
  const { published, durable, delivered, lost, duplicates, outOfOrder, inputComplete } = report;
  assertEquals(
    { published, durable, delivered, lost, duplicates, outOfOrder, inputComplete },
    {
      published: LINES,
      durable: LINES,
      delivered: LINES,
      lost: 0,
      duplicates: 0,
      outOfOrder: 0,
      inputComplete: true,
    },
    `killed: ${killed}`,
  );
  const printed = await keelson(["sub", "lines", "--data", data]);
  assert(equal(printed.stdout, content), `sub prints other bytes; killed: ${killed}`);
  for (const follower of followers) {
    follower.kill();
    const { stdout } = await follower.ended;
    const prefix = content.subarray(0, stdout.length);
    assert(equal(stdout, prefix), `a follower saw another order; killed: ${killed}`);
  }
}

/** Kills random processes of the node, `run` among them, until there is nothing left to kill. */
async function killSome(
  run: KeelsonProcess,
  data: string,
  random: (below: number) => number,
  killed: string[],
): Promise<void> {
  let over = false;
  run.ended.then(() => over = true);
  while (!over && killed.length < KILLS_MAX) {
    await pause(20 + random(250));
    const node = readNode(data);
    if (over || node?.pid !== run.pid) continue;
    const victims = node.children;
    const pick = random(victims.length + 1);
    const { name, pid } = pick === victims.length ? { name: "run", pid: run.pid } : victims[pick];
    killed.push(name);
    killPid(pid);
  }
}

/** A subscriber that follows from the start, if the node is up for long enough. */
async function follow(data: string): Promise<KeelsonProcess[]> {
  try {
    await nodeOf(data, (node) => node.children.length > 4, 500);
  } catch {
    return [];
  }
  return [new KeelsonProcess(["sub", "lines", "--data", data, "--follow"])];
}

async function childrenEnded(data: string): Promise<void> {
  const node = readNode(data);
  if (!node) return;
  const startedAt = performance.now();
  for (;;) {
    const left = leftovers(node);
    if (left.length === 0) return;
    const [{ name }] = left;
    assert(performance.now() - startedAt < 2000, `${name} outlives its run by 2 s`);
    await pause(10);
  }
}

function lines(random: (below: number) => number): Uint8Array {
  const text: string[] = [];
  const filler = "abcdefghijklmnopqrstuvwxyz".repeat(6);
  for (let n = 0; n < LINES; n++) text.push(`${n} ${filler.slice(0, random(130))}`);
  return new TextEncoder().encode(text.join("\n") + "\n");
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
