/**
 * `node.json` in the data folder: which process runs the node, so that other commands find it and the
 * next `run` knows what an earlier one left behind. It is a note for people and for attaching; who may
 * run a node is decided by the folder's lock alone.
 *
 * @module
 */
import { Failure } from "./failure.ts";
import { bootId, isAlive, type ProcessIdentity } from "./process_identity.ts";

/** What `node.json` says. */
export interface NodeRecord extends ProcessIdentity {
  /** Where the shared mapping lies, for people; null when it was not known. */
  region: string | null;
  /** Port of the dashboard; null without one. */
  port: number | null;
  /** The processes that the node started. */
  children: NodeChild[];
}

/** One process of the node. */
export interface NodeChild {
  pid: number;
  startTime: number;
  name: string;
}

/** The folder of the data that is taken when none is named. */
export const DATA_DEFAULT = "./keelson-data";

/** The folder of the broker within the data folder. */
export function brokerFolder(data: string): string {
  return `${data}/broker`;
}

/** The path of the note within the data folder. */
export function nodeFile(data: string): string {
  return `${data}/node.json`;
}

/** What the note says; undefined when there is none, or none that can be understood. */
export function readNode(data: string): NodeRecord | undefined {
  let text: string;
  try {
    text = Deno.readTextFileSync(nodeFile(data));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return;
    throw new Failure(`cannot read ${nodeFile(data)}: ${messageOf(error)}`);
  }
  try {
    return understood(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** The live node of a data folder, if any. */
export function liveNode(data: string): NodeRecord | undefined {
  const node = readNode(data);
  return node && isAlive(node) ? node : undefined;
}

/** Writes the note so that a reader sees the old or the new one, whole. */
export function writeNode(data: string, node: NodeRecord): void {
  const temporary = `${nodeFile(data)}.${node.pid}.tmp`;
  Deno.writeTextFileSync(temporary, JSON.stringify(node, undefined, 2) + "\n", { mode: 0o600 });
  Deno.renameSync(temporary, nodeFile(data));
}

/** Removes the note at a clean end. */
export function removeNode(data: string): void {
  try {
    Deno.removeSync(nodeFile(data));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Those of a former node's processes that still run. */
export function leftovers(node: NodeRecord): NodeChild[] {
  if (node.bootId !== bootId()) return [];
  return node.children.filter((child) => isAlive({ ...child, bootId: node.bootId }));
}

/** The folder of a live or a resting node, or a failure that says what to do. Creates nothing. */
export function existingData(data: string): string {
  let info: Deno.FileInfo;
  try {
    info = Deno.statSync(data);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) {
      throw new Failure(`cannot use the data folder ${data}: ${messageOf(error)}`);
    }
    throw new Failure(
      `there is no data folder ${data}; name one with --data, or start a node with: keelson run`,
    );
  }
  if (!info.isDirectory) throw new Failure(`${data} is not a folder; name one with --data`);
  return data;
}

/** The live node, or a failure that says how to start one. */
export function requireLiveNode(data: string): NodeRecord {
  const node = liveNode(existingData(data));
  if (node) return node;
  throw new Failure(
    `no node runs on ${data}; start one in another terminal with: keelson run --data ${data}`,
  );
}

function understood(value: unknown): NodeRecord | undefined {
  const node = value as NodeRecord;
  const whole = Number.isSafeInteger(node?.pid) && Number.isSafeInteger(node.startTime) &&
    typeof node.bootId === "string";
  if (!whole) return undefined;
  const children = Array.isArray(node.children) ? node.children : [];
  return {
    pid: node.pid,
    startTime: node.startTime,
    bootId: node.bootId,
    region: typeof node.region === "string" ? node.region : null,
    port: Number.isSafeInteger(node.port) ? node.port : null,
    children: children.filter((c) =>
      Number.isSafeInteger(c?.pid) && Number.isSafeInteger(c?.startTime)
    ),
  };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
