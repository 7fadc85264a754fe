/**
 * Looks through a whole log and tells everything that is wrong with it.
 *
 * @module
 */
import { KL_LOG_CHECK } from "../../ffi/generated/layout.ts";
import { symbols } from "../../ffi/library.ts";
import { KeelsonError } from "../base/error.ts";
import { encodePath } from "../file/folder.ts";

/** What {@linkcode verifyLog} found. */
export interface LogCheck {
  /** One sentence each: file, offset, what was expected. The first few thousand. */
  problems: string[];
  /** All of them. */
  problemCount: number;
  /** Records, single ones and those in batches. */
  recordCount: number;
  /** Their bytes. */
  payloadBytes: number;
  /** Where the first record is. */
  firstAddress: number;
  /** Everything below is known to be durable. */
  durableAddress: number;
  /** Behind the last whole record. */
  endAddress: number;
  /** Bytes behind it that were never durable: the next open cuts them. Not a problem. */
  tornBytes: number;
  /** Files of the log. */
  segmentCount: number;
  /** Their bytes. */
  bytesUsed: number;
  /** Whether it was closed cleanly. */
  clean: boolean;
}

const TEXT_BYTES = 1 << 20;

/**
 * Reads every byte of the log and checks it. Changes nothing, takes no lock, and does not block.
 *
 * @throws {KeelsonError} when it cannot be read at all: `KL_ERR_NOT_FOUND`, `KL_ERR_FOREIGN`,
 * `KL_ERR_VERSION`, `KL_ERR_CORRUPT` (the manifest)
 *
 * @example
 * ```ts
 * import { openLog, verifyLog } from "./durable_log.ts";
 *
 * const folder = Deno.makeTempDirSync();
 * openLog(`${folder}/log`).close();
 * const { problems, clean } = await verifyLog(`${folder}/log`);
 * if (problems.length > 0 || !clean) throw new Error(problems.join("\n"));
 * Deno.removeSync(folder, { recursive: true });
 * ```
 */
export async function verifyLog(folder: string): Promise<LogCheck> {
  const action = `verify the log ${folder}`;
  const path = encodePath(folder, action);
  const check = new Uint8Array(KL_LOG_CHECK.bytes);
  const out = new Uint8Array(TEXT_BYTES);
  const { kl_log_handle_verify } = symbols("log");
  const status = await kl_log_handle_verify(
    path,
    path.length,
    check,
    check.length,
    out,
    out.length,
  );
  const view = new DataView(check.buffer);
  const number = (offset: number) => view.getFloat64(offset, true);
  const text = new TextDecoder().decode(
    out.subarray(0, view.getUint32(KL_LOG_CHECK.textBytes, true)),
  );
  const problems = text.split("\n").filter((line) => line !== "");
  if (status < 0) throw new KeelsonError(status, action, { detail: problems[0] });
  return {
    problems,
    problemCount: number(KL_LOG_CHECK.problems),
    recordCount: number(KL_LOG_CHECK.records),
    payloadBytes: number(KL_LOG_CHECK.payloadBytes),
    firstAddress: number(KL_LOG_CHECK.first),
    durableAddress: number(KL_LOG_CHECK.durable),
    endAddress: number(KL_LOG_CHECK.end),
    tornBytes: number(KL_LOG_CHECK.tornBytes),
    segmentCount: number(KL_LOG_CHECK.segments),
    bytesUsed: number(KL_LOG_CHECK.fileBytes),
    clean: view.getUint32(KL_LOG_CHECK.clean, true) !== 0,
  };
}
