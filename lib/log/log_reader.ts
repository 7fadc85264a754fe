/**
 * Reads a log's records in their order, from its files: the writer's own, or those of another
 * process.
 *
 * @module
 */
import { KL_LOG_ENTRY } from "../../ffi/generated/layout.ts";
import { type Symbols, symbols } from "../../ffi/library.ts";
import { check, KeelsonError, refuse, STATUS } from "../base/error.ts";
import { encodePath } from "../file/folder.ts";

/** One record of a log. */
export interface LogRecord {
  /** Where its frame begins; the records of a batch share it. */
  address: number;
  /** Where the next frame begins: `from` of a scan that goes on behind this record's batch. */
  nextAddress: number;
  /** Position in its batch, 0 for a record that was appended alone. */
  index: number;
  /** The number it was appended with. */
  tag: number;
  /** What was appended, in memory that is never used again. Records that were read together share
   * its `buffer` (64 KiB or one large record): `bytes.slice()` keeps one without the others. */
  bytes: Uint8Array<ArrayBuffer>;
}

/** Which part of a log to read. */
export interface ScanRange {
  /** Begin here: the `address` or `nextAddress` of a record, 0 for the first there is.
   * @default {0} */
  from?: number;
  /** End before the first record that begins here or later. @default {Infinity} */
  to?: number;
  /** Also records that are not durable yet, which a power cut may take away. @default {false} */
  uncommitted?: boolean;
}

/** Options for {@linkcode scanLog}. */
export type ScanLogOptions = ScanRange;

// kl_log_read_flag, kl_log_kind
const READ_UNCOMMITTED = 1;
const BATCH = 2;

const BUFFER_BYTES = 64 * 1024;
const BUFFER_BYTES_MAX = 0x7fff_ffff;
const SIZE_BYTES = 4;
const LITTLE = true;

/**
 * Reads a log that this process does not have open, also while another process writes it: from the
 * first record, or from an address, to what is durable now. Changes nothing and takes no lock.
 *
 * To follow a log, scan again from the last record's `nextAddress`.
 *
 * @throws {KeelsonError} at the first record: `KL_ERR_NOT_FOUND`: no log here, or `from` was truncated
 * away; anywhere: `KL_ERR_CORRUPT` names file, offset and what was expected
 *
 * @example
 * ```ts
 * import { openLog, scanLog } from "./durable_log.ts";
 *
 * const folder = Deno.makeTempDirSync();
 * {
 *   using log = openLog(`${folder}/log`);
 *   for (let i = 0; i < 3; i++) log.append(new Uint8Array([i]));
 * }
 * const values = [...scanLog(`${folder}/log`)].map((record) => record.bytes[0]);
 * if (values.join() !== "0,1,2") throw new Error(values.join());
 * Deno.removeSync(folder, { recursive: true });
 * ```
 */
export function scanLog(folder: string, options: ScanLogOptions = {}): LogScan {
  const action = `read the log ${folder}`;
  const path = encodePath(folder, action);
  const { from, to, flags } = checkRange(options, action);
  const open = () => ({
    reader: symbols("log").kl_log_reader_handle_open(path, path.length, from, flags),
    end: to,
  });
  return new LogScan(open, action);
}

/** Checks a range at the door. */
export function checkRange(
  range: ScanRange,
  action: string,
): { from: number; to: number; flags: number } {
  const { from = 0, to = Infinity, uncommitted = false } = range;
  if (!Number.isSafeInteger(from) || from < 0) {
    refuse(action, `from is ${from}: expected an address`);
  }
  if (typeof to !== "number" || Number.isNaN(to)) {
    refuse(action, `to is ${to}: expected an address`);
  }
  return { from, to, flags: uncommitted ? READ_UNCOMMITTED : 0 };
}

/**
 * The records of a log, one after the other; an iterator with `map`, `filter`, `take` and the others.
 * It opens the files at the first record, and closes them at its end, or when a loop is left early.
 */
export class LogScan extends Iterator<LogRecord, undefined> implements Disposable {
  readonly #action: string;
  #open: (() => { reader: number; end: number }) | undefined;
  #k!: Symbols<"log">;
  #reader = 0;
  #end = 0;
  #room = BUFFER_BYTES;
  #bytes = new Uint8Array();
  #view = new DataView(this.#bytes.buffer);
  #at = 0;
  #used = 0;
  // of the batch that is being given out: its end (0: none), the next record's index
  #batchEnd = 0;
  #index = 0;
  #address = 0;
  #tag = 0;
  #nextAddress = 0;
  readonly #keepsOpen: boolean;

  /** Made by `DurableLog.scan` and `scanLog`; with `keepsOpen` the end is not final, for followers. */
  constructor(open: () => { reader: number; end: number }, action: string, keepsOpen = false) {
    super();
    this.#open = open;
    this.#action = action;
    this.#keepsOpen = keepsOpen;
  }

  /** The reader's handle, 0 before the first record and after the end. For followers. */
  get reader(): number {
    return this.#reader;
  }

  /** The next record. */
  override next(): IteratorResult<LogRecord, undefined> {
    try {
      for (;;) {
        if (this.#batchEnd > 0) {
          if (this.#at < this.#batchEnd) return { done: false, value: this.#fromBatch() };
          this.#at = align(this.#batchEnd);
          this.#batchEnd = 0;
        }
        if (this.#at >= this.#used && !this.#fill()) {
          return this.#keepsOpen ? { done: true, value: undefined } : this.return();
        }
        const record = this.#fromBuffer();
        if (this.#address >= this.#end) return this.return();
        if (record) return { done: false, value: record };
      }
    } catch (error) {
      this.return();
      throw error;
    }
  }

  /** Ends it early. */
  override return(): IteratorReturnResult<undefined> {
    this.#open = undefined;
    this.#at = this.#used = this.#batchEnd = 0;
    if (this.#reader !== 0) this.#k.kl_log_reader_handle_close(this.#reader);
    this.#reader = 0;
    return { done: true, value: undefined };
  }

  /** The same as {@linkcode return}. */
  override [Symbol.dispose](): void {
    this.return();
  }

  /** Reads as many frames as fit into a fresh buffer; false at the end. */
  #fill(): boolean {
    if (this.#open) {
      this.#k = symbols("log");
      const { reader, end } = this.#open();
      this.#open = undefined;
      this.#reader = check(reader, this.#action);
      this.#end = end;
    }
    if (this.#reader === 0) return false;
    for (;;) {
      const bytes = new Uint8Array(this.#room);
      const used = this.#k.kl_log_reader_handle_next(this.#reader, bytes, bytes.length);
      if (used === STATUS.KL_ERR_END) return false;
      if (used === STATUS.KL_ERR_LIMIT) {
        const need = this.#k.kl_log_reader_handle_need(this.#reader);
        if (need > BUFFER_BYTES_MAX) check(used, this.#action);
        this.#room = need;
        continue;
      }
      this.#used = check(used, this.#action);
      this.#room = BUFFER_BYTES;
      this.#bytes = bytes;
      this.#view = new DataView(bytes.buffer);
      this.#at = 0;
      return true;
    }
  }

  /** The frame that begins here: a record, or undefined for a batch whose records come next. */
  #fromBuffer(): LogRecord | undefined {
    const at = this.#at, view = this.#view;
    const bytes = view.getUint32(at + KL_LOG_ENTRY.payloadBytes, LITTLE);
    const start = at + KL_LOG_ENTRY.bytes, end = start + bytes;
    this.#address = view.getFloat64(at + KL_LOG_ENTRY.address, LITTLE);
    this.#nextAddress = view.getFloat64(at + KL_LOG_ENTRY.nextAddress, LITTLE);
    this.#tag = view.getUint16(at + KL_LOG_ENTRY.tag, LITTLE);
    if (view.getUint8(at + KL_LOG_ENTRY.kind) === BATCH) {
      this.#at = start;
      this.#batchEnd = end;
      this.#index = 0;
      return undefined;
    }
    this.#at = align(end);
    return this.#record(0, start, bytes);
  }

  #fromBatch(): LogRecord {
    const start = this.#at + SIZE_BYTES;
    const left = this.#batchEnd - start;
    const bytes = left < 0 ? Infinity : this.#view.getUint32(this.#at, LITTLE);
    if (bytes > left) {
      throw new KeelsonError(STATUS.KL_ERR_FOREIGN, this.#action, {
        detail: `the batch at address ${this.#address} was not written by appendMany()`,
      });
    }
    this.#at = start + bytes;
    return this.#record(this.#index++, start, bytes);
  }

  #record(index: number, start: number, bytes: number): LogRecord {
    return {
      address: this.#address,
      nextAddress: this.#nextAddress,
      index,
      tag: this.#tag,
      bytes: new Uint8Array(this.#bytes.buffer, start, bytes),
    };
  }
}

/** Entries stand on multiples of 8. */
function align(offset: number): number {
  return offset + 7 & ~7;
}
