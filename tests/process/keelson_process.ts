/** Starts the program as a user does, and tells what it said. */
import { preload } from "../../ffi/library.ts";
import { ensureLibrary } from "../../tools/build.ts";
import { openBroker } from "../../lib/broker/broker.ts";
import type { Report } from "../../lib/app/report.ts";
import { type NodeRecord, readNode } from "../../lib/app/node_file.ts";

preload(); // not within a test, whose resources are counted

const CLI = new URL("../../lib/app/cli.ts", import.meta.url).pathname;

export interface Ended {
  code: number;
  stdout: Uint8Array;
  stderr: string;
}

export interface StartOptions {
  env?: Record<string, string>;
  stdin?: Uint8Array | "open";
}

/**
 * The environment of a process that runs on the debug library, which knows how to fail on demand.
 * Built here, so that its words about building do not stand among those of the process.
 */
export async function debugLibrary(
  faults: Record<string, string>,
): Promise<Record<string, string>> {
  await ensureLibrary("debug");
  return { KEELSON_VARIANT: "debug", ...faults };
}

/** A running `keelson ...`. */
export class KeelsonProcess implements AsyncDisposable {
  readonly child: Deno.ChildProcess;
  readonly ended: Promise<Ended>;
  #alive = true;

  constructor(args: string[], { env = {}, stdin }: StartOptions = {}) {
    this.child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", CLI, ...args],
      env,
      stdin: stdin === undefined ? "null" : "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    if (stdin instanceof Uint8Array) feed(this.child, stdin);
    this.ended = this.child.output().then(({ code, stdout, stderr }) => {
      this.#alive = false;
      return { code, stdout, stderr: new TextDecoder().decode(stderr) };
    });
  }

  get pid(): number {
    return this.child.pid;
  }

  kill(signal: Deno.Signal = "SIGKILL"): void {
    if (this.#alive) this.child.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill();
    await this.ended;
  }
}

/** Runs a command to its end. */
export async function keelson(args: string[], options: StartOptions = {}): Promise<Ended> {
  await using process = new KeelsonProcess(args, options);
  return await process.ended;
}

/** The report in the last line of `run --json`. */
export function reportOf({ stdout, stderr, code }: Ended): Report {
  const line = new TextDecoder().decode(stdout).trimEnd().split("\n").at(-1) ?? "";
  try {
    return JSON.parse(line);
  } catch {
    throw new Error(`no report (exit ${code}): ${line} ${stderr}`);
  }
}

/** The note of a node, as soon as `ready` likes it. */
export async function nodeOf(
  data: string,
  ready: (node: NodeRecord) => boolean = () => true,
  patienceMs = 15_000,
): Promise<NodeRecord> {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    const node = readNode(data);
    if (node && ready(node)) return node;
    if (performance.now() > deadline) {
      throw new Error(`no node on ${data}: ${JSON.stringify(node)}`);
    }
    await pause(10);
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Kills what may have gone already. */
export function killPid(pid: number): void {
  try {
    Deno.kill(pid, "SIGKILL");
  } catch { /* it has */ }
}

/** A folder that is removed at the end, with the shared memory of the nodes in it. */
export class TestFolder implements Disposable {
  readonly path: string = Deno.makeTempDirSync({ prefix: "keelson-test-" });

  file(name: string, bytes: Uint8Array | string): string {
    const path = `${this.path}/${name}`;
    Deno.writeFileSync(path, typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes);
    return path;
  }

  [Symbol.dispose](): void {
    retireNodes(this.path);
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** Makes everything durable, so that its memory is given back. */
function retireNodes(path: string): void {
  for (const entry of Deno.readDirSync(path)) {
    if (entry.name === "node.manifest") retireNode(path);
    else if (entry.isDirectory) retireNodes(`${path}/${entry.name}`);
  }
}

function retireNode(path: string): void {
  try {
    using broker = openBroker(path);
    broker.topics();
    const roles = Array.from({ length: broker.brokerCount }, (_, i) => broker.hostBroker(i));
    roles.push(broker.hostSequencer());
    for (const role of roles) role.close();
    broker.retire();
  } catch { /* damaged on purpose, or still in use: then it stays until the next boot */ }
}

async function feed(child: Deno.ChildProcess, bytes: Uint8Array): Promise<void> {
  const writer = child.stdin.getWriter();
  try {
    await writer.write(bytes);
    await writer.close();
  } catch { /* it does not want to read on */ }
}
