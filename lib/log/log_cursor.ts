/**
 * Named places in a log that outlive their reader, and that truncation stops at.
 *
 * @module
 */
import { symbols } from "../../ffi/library.ts";
import { check, KeelsonError, refuse } from "../base/error.ts";
import { encodePath } from "../file/folder.ts";

/** Options for {@linkcode openLogCursor}. */
export interface LogCursorOptions {
  /** Where a cursor that does not exist yet begins: an address, or the `"start"` or the durable
   * `"end"` of the log. @default {"start"} */
  from?: number | "start" | "end";
}

const encoder = new TextEncoder();
const TEXT_BYTES = 1024;
const NAMES_BYTES = 128 * 1024;
const END = -1;

function encodeCursorName(name: string, action: string): Uint8Array<ArrayBuffer> {
  if (typeof name !== "string" || name === "") refuse(action, "a cursor's name is a string");
  return encoder.encode(name);
}

/**
 * Opens a cursor of the log in `folder`, and makes it when there is none. It need not be this process
 * that writes the log.
 *
 * @param name 1 to 64 letters, digits, `_` and `-`
 * @throws {KeelsonError} `KL_ERR_LOCKED` while another one has it open, `KL_ERR_NAME`,
 * `KL_ERR_NOT_FOUND` (no log, or `from` was truncated away), `KL_ERR_ARGUMENT`
 *
 * @example Read on where the last run stopped
 * ```ts
 * import { openLog, openLogCursor, scanLog } from "./durable_log.ts";
 *
 * const folder = Deno.makeTempDirSync();
 * {
 *   using log = openLog(`${folder}/log`);
 *   log.append(Uint8Array.of(1));
 *   log.append(Uint8Array.of(2));
 * }
 * for (const expected of [2, 0]) {
 *   using cursor = openLogCursor(`${folder}/log`, "audit");
 *   let count = 0;
 *   for (const record of scanLog(`${folder}/log`, { from: cursor.address })) {
 *     count++;
 *     cursor.moveSync(record.nextAddress);
 *   }
 *   if (count !== expected) throw new Error(`${count} records`);
 * }
 * Deno.removeSync(folder, { recursive: true });
 * ```
 */
export function openLogCursor(
  folder: string,
  name: string,
  options: LogCursorOptions = {},
): LogCursor {
  return new LogCursor(folder, name, options);
}

/** A named place in a log. Made by {@linkcode openLogCursor}. */
export class LogCursor implements Disposable {
  /** As it was given. */
  readonly name: string;
  readonly #k = symbols("log");
  #handle: number;

  /** What {@linkcode openLogCursor} calls. */
  constructor(folder: string, name: string, { from = "start" }: LogCursorOptions = {}) {
    const action = `open the cursor ${name} of the log ${folder}`;
    const path = encodePath(folder, action), text = encodeCursorName(name, action);
    const start = from === "start" ? 0 : from === "end" ? END : from;
    if (start !== END && (!Number.isSafeInteger(start) || start < 0)) {
      refuse(action, `from is ${from}: expected an address, "start" or "end"`);
    }
    this.name = name;
    this.#handle = check(
      this.#k.kl_log_cursor_handle_open(path, path.length, text, text.length, start),
      action,
    );
  }

  /** Where it stands. */
  get address(): number {
    return check(
      this.#k.kl_log_cursor_handle_address(this.#handle),
      `read the cursor ${this.name}`,
    );
  }

  /**
   * Moves it forward, to the `nextAddress` of the last record that needs not be read again. Resolves
   * when that is durable (one sync).
   *
   * @throws {KeelsonError} `KL_ERR_ARGUMENT` when that is backwards
   */
  async move(address: number): Promise<void> {
    const action = `move the cursor ${this.name}`;
    const out = new Uint8Array(TEXT_BYTES);
    const status = await this.#k.kl_log_cursor_handle_move_async(
      this.#handle,
      this.#checked(address, action),
      out,
      out.length,
    );
    if (status >= 0) return;
    const bytes = new DataView(out.buffer).getUint32(0, true);
    const detail = new TextDecoder().decode(out.subarray(4, 4 + bytes));
    throw new KeelsonError(status, action, { detail });
  }

  /** The same, waiting here. */
  moveSync(address: number): void {
    const action = `move the cursor ${this.name}`;
    check(
      this.#k.kl_log_cursor_handle_move(this.#handle, this.#checked(address, action)),
      action,
    );
  }

  /** Lets go of it; it stays where it is. Closing twice is nothing. */
  close(): void {
    if (this.#handle !== 0) this.#k.kl_log_cursor_handle_close(this.#handle);
    this.#handle = 0;
  }

  /** The same as {@linkcode LogCursor.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #checked(address: number, action: string): number {
    if (!Number.isSafeInteger(address) || address < 0) {
      refuse(action, `${address} is not an address: expected a whole number from 0 to 2^53`);
    }
    return address;
  }
}

/**
 * Removes a cursor that nobody has open, so that it holds nothing back any more.
 *
 * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_LOCKED`
 */
export function removeLogCursor(folder: string, name: string): void {
  const action = `remove the cursor ${name} of the log ${folder}`;
  const path = encodePath(folder, action), text = encodeCursorName(name, action);
  check(
    symbols("log").kl_log_cursor_handle_remove(path, path.length, text, text.length),
    action,
  );
}

/** The names of a log's cursors, sorted. */
export function listLogCursors(folder: string): string[] {
  const action = `list the cursors of the log ${folder}`;
  const path = encodePath(folder, action);
  const out = new Uint8Array(NAMES_BYTES);
  const bytes = check(
    symbols("log").kl_log_cursor_handle_list(path, path.length, out, out.length),
    action,
  );
  return new TextDecoder().decode(out.subarray(0, bytes)).split("\n").slice(0, -1).sort();
}
