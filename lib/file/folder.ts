/**
 * A data folder and the lock that lets one writer in.
 *
 * @module
 */
import { symbols } from "../../ffi/library.ts";
import { check, refuse, STATUS } from "../base/error.ts";

/** Options for {@linkcode Folder}. */
export interface FolderOptions {
  /** Make the folder (its last part, mode 0700) when it does not exist. @default {false} */
  create?: boolean;
  /** For looking only: takes no lock, and another user's folder will do. @default {false} */
  readOnly?: boolean;
  /** Says who we are to the one who finds the folder locked; at most 127 bytes.
   * @default {the name of the process} */
  program?: string;
  /** Accept a network file system, whose locks and syncs keep no promise. @default {false} */
  anyFileSystem?: boolean;
}

// kl_folder_flag
const CREATE = 1, READ_ONLY = 2, ANY_FILE_SYSTEM = 4;

const HOLDER_BYTES = 384;
const encoder = new TextEncoder();

/**
 * An open data folder. Unless `readOnly`, nobody else on this host can open it while this one is
 * open; the kernel drops the lock when the process ends, however it ends.
 *
 * @example One writer at a time
 * ```ts
 * import { Folder, folderHolder } from "./folder.ts";
 *
 * const path = Deno.makeTempDirSync();
 * {
 *   using folder = new Folder(path, { program: "my program" });
 *   if (!folderHolder(folder.path)?.includes("(my program)")) throw new Error("not locked");
 * }
 * if (folderHolder(path) !== undefined) throw new Error("still locked");
 * Deno.removeSync(path, { recursive: true });
 * ```
 */
export class Folder implements Disposable {
  /** As it was given. */
  readonly path: string;
  #handle: number;

  /**
   * Opens the folder and takes its lock.
   *
   * @throws {KeelsonError} `KL_ERR_LOCKED` naming the process that holds it, `KL_ERR_NOT_FOUND`,
   * `KL_ERR_PERMISSION`, `KL_ERR_NETWORK_FS`, `KL_ERR_FOREIGN` (not a folder, or a link)
   */
  constructor(path: string, options: FolderOptions = {}) {
    const action = `open the folder ${path}`;
    const text = encodePath(path, action);
    const program = encoder.encode(options.program ?? "");
    const flags = (options.create ? CREATE : 0) | (options.readOnly ? READ_ONLY : 0) |
      (options.anyFileSystem ? ANY_FILE_SYSTEM : 0);
    const { kl_folder_handle_open } = symbols("file");
    this.path = path;
    this.#handle = check(
      kl_folder_handle_open(text, text.length, program, program.length, flags),
      action,
    );
  }

  /** Unlocks. Closing twice is nothing. */
  close(): void {
    if (this.#handle === 0) return;
    const handle = this.#handle;
    this.#handle = 0;
    check(symbols("file").kl_folder_handle_close(handle), `close the folder ${this.path}`);
  }

  /** The same as {@linkcode close}. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Who holds the lock of a folder, as in `process 1234 (keelson run), started 12:03:11`; undefined
 * when nobody does, or when there is no such folder.
 */
export function folderHolder(path: string): string | undefined {
  const action = `look at the lock of ${path}`;
  const text = encodePath(path, action);
  const out = new Uint8Array(HOLDER_BYTES);
  const bytes = symbols("file").kl_folder_holder(text, text.length, out, out.length);
  if (bytes === STATUS.KL_ERR_NOT_FOUND) return undefined;
  check(bytes, action);
  return bytes === 0 ? undefined : new TextDecoder().decode(out.subarray(0, bytes));
}

/** UTF-8 of a path; C checks what it says, and refuses NUL bytes. */
export function encodePath(path: string, action: string): Uint8Array<ArrayBuffer> {
  if (typeof path !== "string") refuse(action, "a path is a string");
  if (!path.isWellFormed()) refuse(action, "the path is not well-formed Unicode");
  return encoder.encode(path);
}
