/**
 * Reads a log as it grows: this process's own, or one that another process writes.
 *
 * @module
 */
import { symbols } from "../../ffi/library.ts";
import { check, KeelsonError, STATUS } from "../base/error.ts";
import { waitFor } from "../exec/completion.ts";
import { encodePath } from "../file/folder.ts";
import { checkRange, type LogRecord, LogScan } from "./log_reader.ts";

/** Options for {@linkcode followLog} and `DurableLog.follow`. */
export interface LogFollowOptions {
  /** Begin here: the `address` or `nextAddress` of a record, 0 for the first there is.
   * @default {0} */
  from?: number;
  /** Ends the loop: with its reason as an error, as everywhere. @default {never} */
  signal?: AbortSignal;
}

/** Between two looks at the files of a log that no live process tells us about. */
const LOOK_AGAIN_MS = 50;
/** Records in a row without a wait, after which timers and other work run. */
const RECORDS_PER_TURN = 256;

/**
 * Reads the records of a log as they become durable, without end; also while another process writes
 * it, which wakes us. Changes nothing and takes no lock.
 *
 * @throws {KeelsonError} in the loop: `KL_ERR_NOT_FOUND` when the place was truncated away before it
 * was read (a cursor holds that back), `KL_ERR_CORRUPT`
 *
 * @example
 * ```ts
 * import { followLog, openLog } from "./durable_log.ts";
 *
 * const folder = Deno.makeTempDirSync();
 * using log = openLog(`${folder}/log`);
 * log.append(Uint8Array.of(1));
 * log.commitSync();
 * for await (const record of followLog(`${folder}/log`)) {
 *   if (record.bytes[0] !== 1) throw new Error("another record");
 *   break;
 * }
 * log.close();
 * Deno.removeSync(folder, { recursive: true });
 * ```
 */
export function followLog(folder: string, options: LogFollowOptions = {}): LogFollow {
  const action = `follow the log ${folder}`;
  const path = encodePath(folder, action);
  const { from, flags } = checkRange(options, action);
  const open = () => symbols("log").kl_log_reader_handle_open(path, path.length, from, flags);
  return new LogFollow(open, action, options.signal, () => false);
}

/** The records of a log, those to come included. Made by {@linkcode followLog}. */
export class LogFollow implements AsyncIterable<LogRecord> {
  readonly #open: () => number;
  readonly #action: string;
  readonly #signal: AbortSignal | undefined;
  readonly #isClosed: () => boolean;

  /** What {@linkcode followLog} calls. */
  constructor(
    open: () => number,
    action: string,
    signal: AbortSignal | undefined,
    isClosed: () => boolean,
  ) {
    this.#open = open;
    this.#action = action;
    this.#signal = signal;
    this.#isClosed = isClosed;
  }

  /** One loop over the log. */
  async *[Symbol.asyncIterator](): AsyncGenerator<LogRecord, void, void> {
    using scan = new LogScan(() => ({ reader: this.#open(), end: Infinity }), this.#action, true);
    for (let inTurn = 0;;) {
      this.#signal?.throwIfAborted();
      const { done, value } = scan.next();
      if (!done) {
        yield value;
        if (++inTurn % RECORDS_PER_TURN === 0) await pause(0);
        continue;
      }
      if (this.#isClosed()) return;
      await this.#waitForMore(scan.reader);
    }
  }

  async #waitForMore(reader: number): Promise<void> {
    const { kl_log_reader_handle_arm } = symbols("log");
    try {
      await waitFor(
        (completion, token) =>
          check(kl_log_reader_handle_arm(reader, completion, token), this.#action),
        this.#signal,
      );
    } catch (error) {
      const alone = error instanceof KeelsonError && error.code === STATUS.KL_ERR_UNSUPPORTED;
      if (!alone) throw error;
      await pause(LOOK_AGAIN_MS, this.#signal);
    }
  }
}

/** Ends early when the signal does; the next look throws its reason. */
function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(end, ms);
    function end(): void {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    }
    signal?.addEventListener("abort", end);
  });
}
