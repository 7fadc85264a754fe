/**
 * Which input files were begun and not finished, so that `run` on the same file goes on with the same
 * session. Kept in a small manifest of the data folder.
 *
 * @module
 */

/** What makes a file the same one, unchanged. */
export interface FileIdentity {
  device: number;
  inode: number;
  size: number;
  mtimeMs: number;
}

/** A session that has not published its file whole. */
export interface UnfinishedInput extends FileIdentity {
  topic: string;
  session: number;
  /** Total order that is at or below its first record. */
  from: number;
}

/** Where the list is kept: what is written is durable when `write` returns. */
export interface SmallState {
  read(): Uint8Array | undefined;
  write(payload: Uint8Array): void;
}

/** How much is remembered, in bytes of a manifest's payload; the oldest is forgotten first. */
const STATE_BYTES_MAX = 4032;

/** The list of unfinished inputs. */
export class InputSessions {
  #entries: UnfinishedInput[];

  constructor(private readonly state: SmallState) {
    this.#entries = decoded(state.read());
  }

  /** The unfinished session of just this file, unchanged, on this topic. */
  find(file: FileIdentity, topic: string): UnfinishedInput | undefined {
    return this.#entries.find((entry) => entry.topic === topic && sameFile(entry, file));
  }

  /** Remembers a session that begins, instead of any other of the same file and topic. */
  begin(entry: UnfinishedInput): void {
    const others = this.#entries.filter((other) =>
      other.topic !== entry.topic || other.device !== entry.device || other.inode !== entry.inode
    );
    this.#store([...others, entry]);
  }

  /** Forgets a session: its file is acknowledged whole. */
  finish(session: number): void {
    this.#store(this.#entries.filter((entry) => entry.session !== session));
  }

  #store(entries: UnfinishedInput[]): void {
    let payload = encoded(entries);
    while (payload.length > STATE_BYTES_MAX) {
      entries = entries.slice(1);
      payload = encoded(entries);
    }
    this.#entries = entries;
    this.state.write(payload);
  }
}

/** The identity of an open or named file. */
export function fileIdentity(info: Deno.FileInfo): FileIdentity {
  return {
    device: info.dev,
    inode: info.ino ?? 0,
    size: info.size,
    mtimeMs: info.mtime?.getTime() ?? 0,
  };
}

function sameFile(a: FileIdentity, b: FileIdentity): boolean {
  return a.device === b.device && a.inode === b.inode && a.size === b.size &&
    a.mtimeMs === b.mtimeMs;
}

function encoded(entries: UnfinishedInput[]): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ unfinished: entries }));
}

function decoded(payload: Uint8Array | undefined): UnfinishedInput[] {
  if (!payload || payload.length === 0) return [];
  try {
    const { unfinished } = JSON.parse(new TextDecoder().decode(payload));
    return unfinished.filter((e: UnfinishedInput) =>
      Number.isSafeInteger(e.session) && Number.isSafeInteger(e.from) && typeof e.topic === "string"
    );
  } catch {
    return []; // another version's list: the file is then published as a new session
  }
}
