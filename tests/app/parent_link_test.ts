import { assert, assertEquals } from "@std/assert";
import { encodeFrame, FRAME } from "../../lib/app/frames.ts";
import { identityOf, isAlive } from "../../lib/app/process_identity.ts";
import { TestFolder } from "../process/keelson_process.ts";

const CLI = new URL("../../lib/app/cli.ts", import.meta.url).pathname;

/** A role process whose pipes are held here. */
function roleProcess(data: string): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", CLI, "role", "sequencer", JSON.stringify({ data })],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

async function untilReady(child: Deno.ChildProcess): Promise<void> {
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  assertEquals(value, encodeFrame(FRAME.ready));
  reader.releaseLock();
}

Deno.test("a process of a node ends when the pipe from run does, and ignores Ctrl-C", async () => {
  using folder = new TestFolder();
  const child = roleProcess(folder.path);
  await untilReady(child);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) child.kill(signal);
  const startedAt = performance.now();
  await child.stdin.close();
  const { code, signal, stderr } = await child.output();
  assertEquals([code, signal, stderr.length], [0, null, 0]);
  assert(performance.now() - startedAt < 1000);
});

Deno.test("a process of a node ends when its parent is gone, though the pipe stays open", async () => {
  using folder = new TestFolder();
  const out = `${folder.path}/out`;
  // A pipe that its reader holds open for writing too never ends.
  const script = `mkfifo "$3/in"; exec 4<>"$3/in"; ` +
    `"$0" run -A --quiet "$1" role sequencer "$2" <&4 >"$3/out" & echo $! >"$3/pid"; wait`;
  const task = JSON.stringify({ data: folder.path });
  const shell = new Deno.Command("bash", {
    args: ["-c", script, Deno.execPath(), CLI, task, folder.path],
    stdin: "null",
  }).spawn();
  while (sizeOf(out) === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  const identity = identityOf(Number(Deno.readTextFileSync(`${folder.path}/pid`)))!;
  shell.kill("SIGKILL");
  await shell.status;
  const startedAt = performance.now();
  while (isAlive(identity)) {
    assert(performance.now() - startedAt < 1500, "it outlives its parent");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
});

function sizeOf(path: string): number {
  try {
    return Deno.statSync(path).size;
  } catch {
    return 0;
  }
}
