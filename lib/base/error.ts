/**
 * The one error family. C returns a status, `ffi/` passes it on, and {@linkcode check} turns it into
 * a {@linkcode KeelsonError} here.
 *
 * @module
 */
import { STATUS, STATUS_NAMES, STATUS_TEXTS } from "../../ffi/generated/status.ts";

export { STATUS };

/** Options for {@linkcode KeelsonError}. */
export interface KeelsonErrorOptions extends ErrorOptions {
  /** What exactly was wrong, the limit, and what to do. @default {the meaning of the code} */
  detail?: string;
}

/**
 * Everything Keelson throws. The message reads
 * `Cannot <action>: <detail> (<codeName>, <code>)`.
 *
 * @example Telling one failure from another
 * ```ts
 * import { KeelsonError, STATUS } from "@keelson/keelson";
 *
 * const error = new KeelsonError(STATUS.KL_ERR_LOCKED, "open ./data/log", {
 *   detail: "locked by process 4711",
 * });
 * if (error.codeName !== "KL_ERR_LOCKED") throw error;
 * ```
 */
export class KeelsonError extends Error {
  /** Always `"KeelsonError"`. */
  override readonly name: string = "KeelsonError";
  /** The stable number, one of `STATUS`. */
  readonly code: number;
  /** The stable name, for example `"KL_ERR_NOT_FOUND"`. */
  readonly codeName: string;
  /** What was being done, as in "open ./data/log". */
  readonly action: string;
  /** What was wrong. */
  readonly detail: string;

  /**
   * Says what could not be done and why.
   *
   * @param code one of `STATUS`
   * @param action completes the sentence "Cannot ..."
   * @param options the detail and the cause
   */
  constructor(code: number, action: string, options: KeelsonErrorOptions = {}) {
    const codeName = statusName(code);
    const detail = options.detail || statusText(code);
    super(
      `Cannot ${action}: ${detail} (${codeName}, ${code})`,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.code = code;
    this.codeName = codeName;
    this.action = action;
    this.detail = detail;
  }
}

/** The name of a code, `KL_ERR_UNKNOWN` for one this build does not know. */
export function statusName(code: number): string {
  return STATUS_NAMES[code] ?? "KL_ERR_UNKNOWN";
}

/** The meaning of a code in a few words. */
export function statusText(code: number): string {
  return STATUS_TEXTS[code] ?? `unknown status ${code}`;
}

let readDetail: (code: number) => string = () => "";

/** The loader says here how to fetch the detail of the failure that this thread met last, or "" when
 * that failure had another code. */
export function setDetailReader(reader: (code: number) => string): void {
  readDetail = reader;
}

/**
 * Passes a success (`>= 0`) through and throws everything else, with the detail that C left. Must
 * follow the failing call directly, on the same thread.
 *
 * @param action completes the sentence "Cannot ..."; a function is only called on failure
 */
export function check(
  status: number,
  action: string | (() => string),
  options: KeelsonErrorOptions = {},
): number {
  if (status >= 0) return status;
  const detail = options.detail ?? readDetail(status);
  throw new KeelsonError(status, typeof action === "string" ? action : action(), {
    ...options,
    detail,
  });
}

/** Refuses an argument at the door, before anything has happened. */
export function refuse(action: string, detail: string): never {
  throw new KeelsonError(STATUS.KL_ERR_ARGUMENT, action, { detail });
}
