/**
 * What a log may be opened with, checked at the door.
 *
 * @module
 */
import { KL_LOG_OPEN_OPTIONS } from "../../ffi/generated/layout.ts";
import { refuse } from "../base/error.ts";

/** What an append promises when it returns.
 *
 * - `"memory"`: the record was taken; where no shared memory could be had, a killed process loses it
 * - `"buffered"`: the record survives the death of the process, not a power cut
 *
 * A power cut takes away a suffix of what was not committed, never something in the middle.
 * {@linkcode DurableLog.commit} makes it durable. */
export type AppendDurability = "memory" | "buffered";

/** Options for {@linkcode openLog}. */
export interface OpenLogOptions {
  /** Make the folder (its last part) and the log when there is none. @default {true} */
  create?: boolean;
  /** Size of one file of a new log, a multiple of 4096 from 65536 to 2^32; an existing log keeps its
   * own. @default {67108864} */
  segmentBytes?: number;
  /** Size of the memory between append and disk, a power of two from 65536 to 2^30. One append takes
   * at most half of it. @default {16777216} */
  ringBytes?: number;
  /** Keep that memory in `/dev/shm`, where it outlives the process. @default {true} */
  sharedRing?: boolean;
  /** What an append promises when it returns. @default {"buffered"} */
  durability?: AppendDurability;
  /** What to do with bytes behind the last whole record that were never durable: `"tolerate-tail"`
   * cuts them and says so in {@linkcode DurableLog.recovery}, `"absolute"` refuses to open. Both
   * refuse damage below the durable address. `"point-in-time"` (end the log before the first damage)
   * and `"skip-corrupt"` (leave out what is damaged) read the whole log and repair it first, as
   * {@linkcode repairLog} does. @default {"tolerate-tail"} */
  recovery?: "tolerate-tail" | "absolute" | "point-in-time" | "skip-corrupt";
  /** Keep about so many bytes: what lies further back goes by whole files, which are written again.
   * Cursors hold it back. @default {everything} */
  retainBytes?: number;
  /** What was committed longer ago than this goes, by whole files. @default {never} */
  retainMs?: number;
  /** Files that truncation keeps to be written again instead of new ones, 1 to 64. A file that is
   * written again costs the disk one write a byte, a new one two. @default {2} */
  spareSegments?: number;
}

/** Options as C takes them, and what stays in TypeScript. */
export interface CheckedLogOptions {
  durability: AppendDurability;
  encoded: Uint8Array<ArrayBuffer>;
}

// kl_log_flag, kl_log_recovery
const CREATE = 1, NO_RING = 2;
const RECOVERY = { "tolerate-tail": 0, "absolute": 1, "point-in-time": 2, "skip-corrupt": 3 };
const LITTLE = true;
const SPARE_SEGMENTS_MAX = 64;

/** Checks the options at the door. */
export function checkOptions(options: OpenLogOptions, action: string): CheckedLogOptions {
  const {
    create = true,
    segmentBytes = 0,
    ringBytes = 0,
    sharedRing = true,
    durability = "buffered",
    recovery = "tolerate-tail",
    retainBytes = 0,
    retainMs = 0,
    spareSegments = 0,
  } = options;
  for (const [name, value] of Object.entries({ segmentBytes, ringBytes, retainBytes, retainMs })) {
    if (!Number.isSafeInteger(value) || value < 0) {
      const unit = name === "retainMs" ? "milliseconds" : "bytes";
      refuse(action, `${name} is ${value}: expected a whole number of ${unit}`);
    }
  }
  for (const [name, value] of Object.entries({ create, sharedRing })) {
    if (typeof value !== "boolean") refuse(action, `${name} is ${value}: expected a boolean`);
  }
  if (durability !== "memory" && durability !== "buffered") {
    refuse(
      action,
      `durability is ${durability}: expected "memory" or "buffered" (append takes "sync")`,
    );
  }
  if (!Object.hasOwn(RECOVERY, recovery)) {
    const modes = Object.keys(RECOVERY).map((mode) => JSON.stringify(mode)).join(", ");
    refuse(action, `recovery is ${recovery}: expected one of ${modes}`);
  }
  if (!Number.isInteger(spareSegments) || spareSegments < 0 || spareSegments > SPARE_SEGMENTS_MAX) {
    refuse(action, `spareSegments is ${spareSegments}: expected 1 to ${SPARE_SEGMENTS_MAX}`);
  }
  const encoded = new Uint8Array(KL_LOG_OPEN_OPTIONS.bytes), view = new DataView(encoded.buffer);
  view.setFloat64(KL_LOG_OPEN_OPTIONS.segmentBytes, segmentBytes, LITTLE);
  view.setFloat64(KL_LOG_OPEN_OPTIONS.ringBytes, ringBytes, LITTLE);
  view.setFloat64(KL_LOG_OPEN_OPTIONS.retainBytes, retainBytes, LITTLE);
  view.setFloat64(KL_LOG_OPEN_OPTIONS.retainMs, retainMs, LITTLE);
  const flags = (create ? CREATE : 0) | (sharedRing ? 0 : NO_RING);
  view.setUint32(KL_LOG_OPEN_OPTIONS.flags, flags, LITTLE);
  view.setUint32(KL_LOG_OPEN_OPTIONS.recovery, RECOVERY[recovery], LITTLE);
  view.setUint32(KL_LOG_OPEN_OPTIONS.spareSegments, spareSegments, LITTLE);
  return { durability, encoded };
}
