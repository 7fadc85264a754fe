/**
 * What a folder holds, by its files: so that `stat` and `verify` take whatever they are pointed at.
 *
 * @module
 */
import { Failure } from "./failure.ts";
import { brokerFolder, nodeFile } from "./node_file.ts";

/** What was recognised. */
export type FolderKind =
  /** the data of `run` */
  | { kind: "node"; data: string; broker: string }
  /** a folder of `openBroker` */
  | { kind: "broker"; broker: string }
  /** a single durable log */
  | { kind: "log"; log: string };

/** Recognises a folder, or says what it should be. Creates nothing. */
export function folderKind(path: string): FolderKind {
  requireFolder(path);
  const broker = brokerFolder(path);
  if (isThere(`${broker}/node.manifest`)) return { kind: "node", data: path, broker };
  if (isThere(`${path}/node.manifest`)) return { kind: "broker", broker: path };
  if (hasSegments(path)) return { kind: "log", log: path };
  if (isThere(nodeFile(path))) {
    throw new Failure(`${path} has no broker in it yet: its node was ended while it started`);
  }
  throw new Failure(
    `${path} holds neither a node (broker/node.manifest) nor a log (segment files); ` +
      "name the folder that --data or openLog was given",
  );
}

/** The log folders below a broker's folder, sorted. */
export function brokerLogs(broker: string): string[] {
  const names = [...Deno.readDirSync(broker)]
    .filter((entry) => entry.isDirectory && /^broker-\d+$/.test(entry.name))
    .map((entry) => entry.name);
  return names.sort().map((name) => `${broker}/${name}`);
}

/** Files and bytes of a folder, by its own files only. */
export function folderSize(path: string): { files: number; bytes: number } {
  let files = 0;
  let bytes = 0;
  for (const entry of Deno.readDirSync(path)) {
    if (!entry.isFile) continue;
    files++;
    bytes += Deno.statSync(`${path}/${entry.name}`).size;
  }
  return { files, bytes };
}

function requireFolder(path: string): void {
  let info: Deno.FileInfo;
  try {
    info = Deno.statSync(path);
  } catch (error) {
    const reason = error instanceof Deno.errors.NotFound
      ? "does not exist; check the name"
      : `cannot be read: ${error instanceof Error ? error.message : error}`;
    throw new Failure(`the folder ${path} ${reason}`);
  }
  if (!info.isDirectory) throw new Failure(`${path} is not a folder; name the folder it lies in`);
}

function hasSegments(path: string): boolean {
  return [...Deno.readDirSync(path)].some((entry) =>
    /^segment-[0-9a-f]{16}\.kls$/.test(entry.name)
  );
}

function isThere(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}
