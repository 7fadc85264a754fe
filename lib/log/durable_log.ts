/**
 * A log on disk: append at memory speed, commit many records with one sync, read in order.
 *
 * One process writes a log, any number read it. What is appended lies in memory that outlives the
 * process (`kill -9` loses nothing); what is committed is on the disk (a power cut loses nothing).
 *
 * @module
 */
import { KL_LOG_STATE } from "../../ffi/generated/layout.ts";
import { symbols } from "../../ffi/library.ts";
import { check, KeelsonError, refuse, STATUS } from "../base/error.ts";
import { ALREADY, waitFor } from "../exec/completion.ts";
import { encodePath } from "../file/folder.ts";
import { LogFollow, type LogFollowOptions } from "./log_follow.ts";
import { checkOptions, type OpenLogOptions } from "./log_options.ts";
import { checkRange, LogScan, type ScanRange } from "./log_reader.ts";

export {
  listLogCursors,
  LogCursor,
  type LogCursorOptions,
  openLogCursor,
  removeLogCursor,
} from "./log_cursor.ts";
export { followLog, LogFollow, type LogFollowOptions } from "./log_follow.ts";
export { type LogRepair, repairLog, type RepairLogOptions } from "./log_repair.ts";
export { type LogStat, statLog } from "./log_stat.ts";
export type { AppendDurability, OpenLogOptions } from "./log_options.ts";

export {
  type LogRecord,
  LogScan,
  scanLog,
  type ScanLogOptions,
  type ScanRange,
} from "./log_reader.ts";
export { type LogCheck, verifyLog } from "./log_verify.ts";

/** What the open found and did; all 0 after a clean close. */
export interface LogRecovery {
  /** Bytes behind the last whole record that were thrown away. None was ever promised. */
  cutBytes: number;
  /** Where they began. */
  cutAddress: number;
  /** Bytes taken from the memory that a killed process left behind. */
  drainedBytes: number;
  /** Bytes found above the durable address, written again and synced. */
  rewrittenBytes: number;
  /** Bytes that a repair left out, on request; they are kept in the folder's `dropped/`. */
  droppedBytes: number;
  /** One sentence, `""` after a clean close. */
  text: string;
}

/** Positions of a log, in bytes of its stream. */
export interface LogState {
  /** Where the first record is. */
  firstAddress: number;
  /** Everything below is on the disk. */
  durableAddress: number;
  /** Everything below was handed to the operating system. */
  flushedAddress: number;
  /** Where the next record begins at the earliest. */
  tailAddress: number;
  /** Largest record (or batch) that one append takes, in bytes. */
  recordBytesMax: number;
  /** Size of the memory between append and disk. */
  ringBytes: number;
  /** Whether that memory outlives the process. */
  sharedRing: boolean;
}

const SCRATCH_BYTES = 64 * 1024;
/** In front of each record of a batch stands its size. */
const SIZE_BYTES = 4;

const TAG_MAX = 65_535;

/** Options for {@linkcode DurableLog.append}. */
export interface AppendOptions {
  /** `"sync"` makes append return a promise that resolves when the record is durable.
   * @default {as the log was opened} */
  durability?: "sync";
  /** A number of the caller's own, from 0 to 65535, that comes back with the record. @default {0} */
  tag?: number;
}

interface Waiter {
  until: number;
  resolve: () => void;
  reject: (reason: unknown) => void;
}

/**
 * Opens a log for appending, and makes it when there is none. Recovers first: whatever a killed
 * process or a power cut left is put in order and synced before this returns.
 *
 * @throws {KeelsonError} `KL_ERR_LOCKED` names the process that has it open; `KL_ERR_CORRUPT` names
 * file, offset and what was expected; `KL_ERR_NOT_FOUND` without `create`; `KL_ERR_ARGUMENT`,
 * `KL_ERR_VERSION`, `KL_ERR_FOREIGN`, `KL_ERR_NETWORK_FS`, `KL_ERR_NO_SPACE`
 *
 * @example Append, commit, read
 * ```ts
 * import { openLog } from "./durable_log.ts";
 *
 * const folder = Deno.makeTempDirSync();
 * const encoder = new TextEncoder(), decoder = new TextDecoder();
 * {
 *   using log = openLog(`${folder}/log`);
 *   log.append(encoder.encode("one"));
 *   log.appendMany([encoder.encode("two"), encoder.encode("three")]);
 *   log.commitSync(); // or: await log.commit()
 *   const words = [...log.scan()].map((record) => decoder.decode(record.bytes));
 *   if (words.join() !== "one,two,three") throw new Error(words.join());
 * }
 * Deno.removeSync(folder, { recursive: true });
 * ```
 */
export function openLog(folder: string, options: OpenLogOptions = {}): DurableLog {
  return new DurableLog(folder, options);
}

/**
 * A log that this process writes. Made by {@linkcode openLog}.
 *
 * @example Many callers share one sync
 * ```ts
 * import { openLog } from "./durable_log.ts";
 * import { closeCompletion } from "../exec/completion.ts";
 *
 * const folder = Deno.makeTempDirSync();
 * {
 *   using log = openLog(`${folder}/log`);
 *   await Promise.all([1, 2, 3].map(async (value) => {
 *     const address = log.append(new Uint8Array([value]));
 *     await log.commit();
 *     if (log.durableAddress <= address) throw new Error("not durable");
 *   }));
 * }
 * Deno.removeSync(folder, { recursive: true });
 * closeCompletion();
 * ```
 */
export class DurableLog implements Disposable, AsyncDisposable {
  /** As it was given. */
  readonly folder: string;
  /** What the open found and did. */
  readonly recovery: LogRecovery;
  readonly #k = symbols("log");
  readonly #appendAction: string;
  readonly #buffered: number;
  #handle: number;
  #scratch = new Uint8Array();
  #scratchView = new DataView(this.#scratch.buffer);
  #waiters: Waiter[] = [];
  #serving = false;
  #truncating: Promise<void> = Promise.resolve();

  /** What {@linkcode openLog} calls. */
  constructor(folder: string, options: OpenLogOptions = {}) {
    const action = `open the log ${folder}`;
    const path = encodePath(folder, action);
    const { durability, encoded } = checkOptions(options, action);
    this.folder = folder;
    this.#appendAction = `append to the log ${folder}`;
    this.#buffered = durability === "buffered" ? 1 : 0;
    this.#handle = check(
      this.#k.kl_log_handle_open(path, path.length, encoded, encoded.length),
      action,
    );
    this.recovery = this.#readRecovery(action);
  }

  /**
   * Appends one record and returns its address. Waits only while the ring is full, which is as long
   * as the operating system needs to take a megabyte.
   *
   * @throws {KeelsonError} `KL_ERR_LIMIT` over `state().recordBytesMax`; `KL_ERR_ARGUMENT`;
   * `KL_ERR_NO_SPACE` (nothing was taken; try again when there is room); after a failed write or sync
   * the same failure for ever
   */
  append(bytes: Uint8Array, options?: AppendOptions & { durability?: undefined }): number;
  /**
   * Appends one record, and resolves to its address when it is durable. Calls of one turn, and
   * those that wait at the same time, share one sync.
   */
  append(bytes: Uint8Array, options: AppendOptions & { durability: "sync" }): Promise<number>;
  append(bytes: Uint8Array, options?: AppendOptions): number | Promise<number> {
    let tag = 0;
    if (options !== undefined) {
      tag = this.#tagOf(options);
      if (options.durability !== undefined) return this.#appendDurably(bytes, tag);
    }
    return this.#append(bytes, tag);
  }

  #append(bytes: Uint8Array, tag: number): number {
    if (!(bytes instanceof Uint8Array)) refuse(this.#appendAction, "a record is a Uint8Array");
    const size = bytes.byteLength;
    if (size === 0) this.#refuseDetached(bytes);
    const address = this.#k.kl_log_handle_append(
      this.#handle,
      bytes as BufferSource,
      size,
      tag,
      this.#buffered,
    );
    return address >= 0 ? address : this.#fail(address);
  }

  /**
   * Appends records as one batch: after a crash all of them are there, or none. Returns the address
   * of the batch; its records share it and differ in `index`.
   *
   * @throws {KeelsonError} as {@linkcode append}; the limit holds for all records together, with 4
   * bytes for each
   */
  appendMany(records: readonly Uint8Array[]): number {
    const bytes = this.#encodeBatch(records);
    const address = this.#k.kl_log_handle_append_many(
      this.#handle,
      this.#scratch as BufferSource,
      bytes,
      records.length,
      0,
      this.#buffered,
    );
    return address >= 0 ? address : this.#fail(address);
  }

  /**
   * Resolves when everything appended so far is on the disk. Calls that wait at the same time, here
   * and in other Workers, share one sync.
   *
   * @throws {KeelsonError} the first failed write or sync of this log, now and ever after; or
   * `KL_ERR_NO_SPACE`, after which the log is as good as before
   */
  commit(): Promise<void> {
    const action = `commit the log ${this.folder}`;
    try {
      const until = check(this.#k.kl_log_handle_tail(this.#open(action)), action);
      check(this.#k.kl_log_handle_request_commit(this.#handle), action);
      return new Promise((resolve, reject) => {
        this.#waiters.push({ until, resolve, reject });
        if (!this.#serving) void this.#serve(action);
      });
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** The same, waiting here: for scripts, and for threads that have nothing else to do. */
  commitSync(): void {
    const action = `commit the log ${this.folder}`;
    check(this.#k.kl_log_handle_commit(this.#open(action), -1), action);
  }

  /**
   * Hands everything appended so far to the operating system, without a sync: other processes that
   * read the log see it (when they ask for uncommitted records).
   */
  flush(): void {
    const action = `flush the log ${this.folder}`;
    check(this.#k.kl_log_handle_flush(this.#open(action)), action);
  }

  /**
   * Lets the log begin at `address`: that of a record, a `nextAddress`, or `durableAddress`. What lies
   * before is not read any more, and its files are written again, or removed. Cursors hold it back:
   * the log then begins at the lowest of them. Resolves to where it begins now.
   *
   * @throws {KeelsonError} `KL_ERR_ARGUMENT` when the address lies inside a record (the message says
   * which), or is not durable yet
   *
   * @example
   * ```ts
   * import { openLog } from "./durable_log.ts";
   * import { closeCompletion } from "../exec/completion.ts";
   *
   * const folder = Deno.makeTempDirSync();
   * {
   *   using log = openLog(`${folder}/log`);
   *   log.append(Uint8Array.of(1));
   *   const second = log.append(Uint8Array.of(2));
   *   await log.commit();
   *   if (await log.truncateBefore(second) !== second) throw new Error("elsewhere");
   *   if ([...log.scan()].length !== 1) throw new Error("not truncated");
   * }
   * Deno.removeSync(folder, { recursive: true });
   * closeCompletion();
   * ```
   */
  truncateBefore(address: number): Promise<number> {
    const action = `truncate the log ${this.folder}`;
    // One after the other: C keeps one answer.
    const turn = this.#truncating.then(() => this.#truncate(address, action));
    this.#truncating = turn.then(() => {}, () => {});
    return turn;
  }

  /**
   * Reads records as they become durable, without end: from `from`, or from the first there is.
   * Leaving the loop ends it, so does the signal, and closing the log.
   *
   * @example
   * ```ts
   * import { openLog } from "./durable_log.ts";
   * import { closeCompletion } from "../exec/completion.ts";
   *
   * const folder = Deno.makeTempDirSync();
   * {
   *   using log = openLog(`${folder}/log`);
   *   setTimeout(() => log.append(Uint8Array.of(7), { durability: "sync" }), 5);
   *   for await (const record of log.follow()) {
   *     if (record.bytes[0] !== 7) throw new Error("another record");
   *     break;
   *   }
   * }
   * Deno.removeSync(folder, { recursive: true });
   * closeCompletion();
   * ```
   */
  follow(options: LogFollowOptions = {}): LogFollow {
    const action = `follow the log ${this.folder}`;
    const { from, flags } = checkRange(options, action);
    const open = () => this.#k.kl_log_handle_scan(this.#open(action), from, flags);
    return new LogFollow(open, action, options.signal, () => this.#handle === 0);
  }

  /**
   * Reads records in their order: those that are durable, or with `uncommitted` all that were
   * appended before the scan began.
   *
   * @throws {KeelsonError} `KL_ERR_CORRUPT` names file, offset and what was expected;
   * `KL_ERR_ARGUMENT` when `from` lies inside a record; `KL_ERR_NOT_FOUND` before the first
   */
  scan(range: ScanRange = {}): LogScan {
    const action = `scan the log ${this.folder}`;
    const { from, to, flags } = checkRange(range, action);
    const handle = this.#open(action);
    const end = check(
      range.uncommitted
        ? this.#k.kl_log_handle_tail(handle)
        : this.#k.kl_log_handle_durable(handle),
      action,
    );
    const open = () => ({
      reader: this.#k.kl_log_handle_scan(this.#open(action), from, flags),
      end: Math.min(to, end),
    });
    return new LogScan(open, action);
  }

  /** Where the first record is. */
  get firstAddress(): number {
    const action = "read a position of the log";
    return check(this.#k.kl_log_handle_first(this.#open(action)), action);
  }

  /** Everything below is on the disk. */
  get durableAddress(): number {
    const action = "read a position of the log";
    return check(this.#k.kl_log_handle_durable(this.#open(action)), action);
  }

  /** Every record appended so far begins below. */
  get tailAddress(): number {
    const action = "read a position of the log";
    return check(this.#k.kl_log_handle_tail(this.#open(action)), action);
  }

  /** All positions and sizes. */
  state(): LogState {
    const action = `read the state of the log ${this.folder}`;
    const view = this.#readState(action);
    const number = (offset: number) => view.getFloat64(offset, true);
    return {
      firstAddress: number(KL_LOG_STATE.first),
      durableAddress: number(KL_LOG_STATE.durable),
      flushedAddress: number(KL_LOG_STATE.flushed),
      tailAddress: number(KL_LOG_STATE.tail),
      recordBytesMax: number(KL_LOG_STATE.frameBytesMax),
      ringBytes: number(KL_LOG_STATE.ringBytes),
      sharedRing: view.getUint32(KL_LOG_STATE.shared, true) !== 0,
    };
  }

  /**
   * Commits what is left, waiting for it, and lets the next one open the log. Closing twice is
   * nothing. Promises of {@linkcode commit} that are still pending resolve.
   *
   * @throws {KeelsonError} when the last commit fails; the log is closed all the same, and what was
   * buffered waits for the next open
   */
  close(): void {
    if (this.#handle === 0) return;
    const handle = this.#handle;
    this.#handle = 0;
    const action = `close the log ${this.folder}`;
    const waiters = this.#waiters;
    this.#waiters = [];
    try {
      check(this.#k.kl_log_handle_close(handle), action);
      for (const { resolve } of waiters) resolve();
    } catch (error) {
      for (const { reject } of waiters) reject(error);
      throw error;
    }
  }

  /** The same as {@linkcode close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Commits without blocking, then closes. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#handle === 0) return;
    try {
      await this.commit();
    } finally {
      this.close();
    }
  }

  async #appendDurably(bytes: Uint8Array, tag: number): Promise<number> {
    const address = this.#append(bytes, tag);
    await this.commit();
    return address;
  }

  #tagOf({ durability, tag = 0 }: AppendOptions): number {
    if (durability !== undefined && durability !== "sync") {
      refuse(this.#appendAction, `durability is ${durability}: expected "sync" or nothing`);
    }
    if (!Number.isInteger(tag) || tag < 0 || tag > TAG_MAX) {
      refuse(this.#appendAction, `tag is ${tag}: expected 0 to ${TAG_MAX}`);
    }
    return tag;
  }

  async #truncate(address: number, action: string): Promise<number> {
    if (!Number.isSafeInteger(address) || address < 0) {
      refuse(action, `${address} is not an address: expected a whole number from 0 to 2^53`);
    }
    check(this.#k.kl_log_handle_request_truncate(this.#open(action), address), action);
    let armed: number;
    do {
      armed = await waitFor((completion, token) =>
        check(this.#k.kl_log_handle_arm_truncated(this.#open(action), completion, token), action)
      );
    } while (armed !== ALREADY);
    return check(this.#k.kl_log_handle_first(this.#open(action)), action);
  }

  /** One wait for all pending commits; each change of the durable address settles those it covers. */
  async #serve(action: string): Promise<void> {
    this.#serving = true;
    try {
      while (this.#settle(action)) {
        const until = this.#waiters[0].until;
        await waitFor((completion, token) => {
          if (this.#handle === 0) return 1;
          return check(
            this.#k.kl_log_handle_arm_durable(this.#handle, until, completion, token),
            action,
          );
        });
      }
    } catch (error) {
      const waiters = this.#waiters;
      this.#waiters = [];
      for (const { reject } of waiters) reject(error);
    } finally {
      this.#serving = false;
    }
  }

  /** Resolves what is durable; true while something is left to wait for. Waiters stand in the order
   * of their addresses. */
  #settle(action: string): boolean {
    if (this.#waiters.length === 0 || this.#handle === 0) return false;
    const durable = check(this.#k.kl_log_handle_durable(this.#handle), action);
    let count = 0;
    while (count < this.#waiters.length && this.#waiters[count].until <= durable) count++;
    for (const { resolve } of this.#waiters.splice(0, count)) resolve();
    return this.#waiters.length > 0;
  }

  /** Puts `{u32 bytes, data}` for each record into the scratch buffer; how many bytes. */
  #encodeBatch(records: readonly Uint8Array[]): number {
    if (!Array.isArray(records)) refuse(this.#appendAction, "records are an array of Uint8Array");
    const count = records.length;
    let total = 0;
    for (let i = 0; i < count; i++) {
      const record = records[i];
      if (!(record instanceof Uint8Array)) refuse(this.#appendAction, "a record is a Uint8Array");
      total += SIZE_BYTES + record.byteLength;
    }
    if (total > this.#scratch.length) this.#growScratch(total);
    const scratch = this.#scratch, view = this.#scratchView;
    let at = 0;
    for (let i = 0; i < count; i++) {
      const record = records[i], size = record.byteLength;
      if (size === 0) this.#refuseDetached(record);
      view.setUint32(at, size, true);
      scratch.set(record, at + SIZE_BYTES);
      at += SIZE_BYTES + size;
    }
    return at;
  }

  #growScratch(total: number): void {
    const limit = this.state().recordBytesMax;
    if (total > limit) {
      throw new KeelsonError(STATUS.KL_ERR_LIMIT, this.#appendAction, {
        detail:
          `a batch of ${total} bytes, 4 for each record included: at most ${limit}, half of ` +
          "the log's ring",
      });
    }
    this.#scratch = new Uint8Array(Math.max(total, SCRATCH_BYTES));
    this.#scratchView = new DataView(this.#scratch.buffer);
  }

  #open(action: string): number {
    if (this.#handle === 0) throw new KeelsonError(STATUS.KL_ERR_CLOSED, action);
    return this.#handle;
  }

  #fail(status: number): never {
    this.#open(this.#appendAction);
    check(status, this.#appendAction);
    throw new KeelsonError(STATUS.KL_ERR_BUG, this.#appendAction);
  }

  #refuseDetached(bytes: Uint8Array): void {
    if ((bytes.buffer as ArrayBuffer).detached === true) {
      refuse(this.#appendAction, "the record's buffer is detached: it was transferred away");
    }
  }

  #readState(action: string): DataView {
    const out = new Uint8Array(KL_LOG_STATE.bytes);
    check(this.#k.kl_log_handle_state(this.#open(action), out, out.length), action);
    return new DataView(out.buffer);
  }

  #readRecovery(action: string): LogRecovery {
    const view = this.#readState(action);
    const text = new Uint8Array(256);
    const bytes = check(
      this.#k.kl_log_handle_recovery_text(this.#handle, text, text.length),
      action,
    );
    return {
      cutBytes: view.getFloat64(KL_LOG_STATE.cutBytes, true),
      cutAddress: view.getFloat64(KL_LOG_STATE.cutAddress, true),
      drainedBytes: view.getFloat64(KL_LOG_STATE.drainedBytes, true),
      rewrittenBytes: view.getFloat64(KL_LOG_STATE.rewrittenBytes, true),
      droppedBytes: view.getFloat64(KL_LOG_STATE.droppedBytes, true),
      text: new TextDecoder().decode(text.subarray(0, bytes)),
    };
  }
}
