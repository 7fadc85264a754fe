/**
 * Where a log stands, without opening it.
 *
 * @module
 */
import { KL_LOG_PLACE } from "../../ffi/generated/layout.ts";
import { symbols } from "../../ffi/library.ts";
import { KeelsonError } from "../base/error.ts";
import { encodePath } from "../file/folder.ts";

/** What {@linkcode statLog} found. */
export interface LogStat {
  /** Where the first record is. */
  firstAddress: number;
  /** Everything below is on the disk. */
  durableAddress: number;
  /** Behind the last record, durable or not. */
  tailAddress: number;
  /** Bytes of all files, those that wait to be used again included. */
  bytesUsed: number;
  /** Files that hold records or are ready for them. */
  segments: number;
  /** Files that wait to be used again. */
  spares: number;
  /** Size of one file. */
  segmentBytes: number;
  /** Whether a process has it open for writing. */
  live: boolean;
}

const TEXT_BYTES = 1024;

/**
 * Tells where the log in a folder stands, also while another process writes it. Changes nothing,
 * takes no lock, and does not block.
 *
 * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_FOREIGN`, `KL_ERR_VERSION`, `KL_ERR_CORRUPT`
 *
 * @example
 * ```ts
 * import { openLog, statLog } from "./durable_log.ts";
 *
 * const folder = Deno.makeTempDirSync();
 * using log = openLog(`${folder}/log`);
 * log.append(new Uint8Array(100));
 * const { firstAddress, tailAddress, live } = await statLog(`${folder}/log`);
 * if (firstAddress !== 0 || tailAddress < 100 || !live) throw new Error("elsewhere");
 * log.close();
 * Deno.removeSync(folder, { recursive: true });
 * ```
 */
export async function statLog(folder: string): Promise<LogStat> {
  const action = `look at the log ${folder}`;
  const path = encodePath(folder, action);
  const place = new Uint8Array(KL_LOG_PLACE.bytes), out = new Uint8Array(TEXT_BYTES);
  const { kl_log_handle_stat } = symbols("log");
  const status = await kl_log_handle_stat(
    path,
    path.length,
    place,
    place.length,
    out,
    out.length,
  );
  const view = new DataView(place.buffer);
  if (status < 0) {
    const text = out.subarray(0, view.getUint32(KL_LOG_PLACE.textBytes, true));
    throw new KeelsonError(status, action, { detail: new TextDecoder().decode(text).trimEnd() });
  }
  const number = (offset: number) => view.getFloat64(offset, true);
  return {
    firstAddress: number(KL_LOG_PLACE.first),
    durableAddress: number(KL_LOG_PLACE.durable),
    tailAddress: number(KL_LOG_PLACE.tail),
    bytesUsed: number(KL_LOG_PLACE.bytesUsed),
    segments: number(KL_LOG_PLACE.segments),
    spares: number(KL_LOG_PLACE.spares),
    segmentBytes: number(KL_LOG_PLACE.segmentBytes),
    live: view.getUint32(KL_LOG_PLACE.live, true) !== 0,
  };
}
