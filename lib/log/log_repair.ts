/**
 * Makes a damaged log openable again, and says what that costs.
 *
 * @module
 */
import { KL_LOG_MEND } from "../../ffi/generated/layout.ts";
import { symbols } from "../../ffi/library.ts";
import { KeelsonError, refuse } from "../base/error.ts";
import { encodePath } from "../file/folder.ts";

/** Options for {@linkcode repairLog}. */
export interface RepairLogOptions {
  /** `"skip"` leaves out what is damaged; `"point-in-time"` ends the log before the first damage.
   * @default {"skip"} */
  mode?: "skip" | "point-in-time";
  /** Only say what would be done. @default {false} */
  dryRun?: boolean;
}

/** What {@linkcode repairLog} did, or would do. */
export interface LogRepair {
  /** One line for each problem and each thing that is done about it. */
  lines: string[];
  /** Problems found; `lines` holds as many as fit into a MiB. */
  problemCount: number;
  /** Bytes of the log that are left out; they are kept in the folder's `dropped/`. */
  droppedBytes: number;
  /** Where the log ends now; 0 after a dry run. */
  endAddress: number;
  /** Whether anything was changed. */
  changed: boolean;
}

// kl_log_repair_flag
const SKIP = 1, POINT_IN_TIME = 2, DRY_RUN = 4;
const TEXT_BYTES = 1024 * 1024;

/**
 * Repairs the log in a folder that nobody has open for writing. What is dropped stays beside, in
 * `dropped/`. A log without damage is left as it is. Does not block.
 *
 * @throws {KeelsonError} `KL_ERR_LOCKED` names the process that has it open; `KL_ERR_NOT_FOUND`;
 * `KL_ERR_VERSION`: a newer log is not touched
 *
 * @example
 * ```ts
 * import { openLog, repairLog } from "./durable_log.ts";
 *
 * const folder = Deno.makeTempDirSync();
 * openLog(`${folder}/log`).close();
 * const { problemCount } = await repairLog(`${folder}/log`, { dryRun: true });
 * if (problemCount !== 0) throw new Error("damaged");
 * Deno.removeSync(folder, { recursive: true });
 * ```
 */
export async function repairLog(
  folder: string,
  { mode = "skip", dryRun = false }: RepairLogOptions = {},
): Promise<LogRepair> {
  const action = `repair the log ${folder}`;
  const path = encodePath(folder, action);
  if (mode !== "skip" && mode !== "point-in-time") {
    refuse(action, `mode is ${mode}: expected "skip" or "point-in-time"`);
  }
  if (typeof dryRun !== "boolean") refuse(action, `dryRun is ${dryRun}: expected a boolean`);
  const mend = new Uint8Array(KL_LOG_MEND.bytes), out = new Uint8Array(TEXT_BYTES);
  const { kl_log_handle_repair } = symbols("log");
  const status = await kl_log_handle_repair(
    path,
    path.length,
    (mode === "skip" ? SKIP : POINT_IN_TIME) | (dryRun ? DRY_RUN : 0),
    mend,
    mend.length,
    out,
    out.length,
  );
  const view = new DataView(mend.buffer);
  const textBytes = view.getUint32(KL_LOG_MEND.textBytes, true);
  const text = new TextDecoder().decode(out.subarray(0, textBytes));
  const lines = text.split("\n").filter((line) => line !== "");
  if (status < 0) throw new KeelsonError(status, action, { detail: lines[0] });
  return {
    lines,
    problemCount: view.getFloat64(KL_LOG_MEND.problems, true),
    droppedBytes: view.getFloat64(KL_LOG_MEND.droppedBytes, true),
    endAddress: view.getFloat64(KL_LOG_MEND.end, true),
    changed: view.getUint32(KL_LOG_MEND.changed, true) !== 0,
  };
}
