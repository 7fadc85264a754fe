/**
 * What every structure behind a name shares: opening, removing, and waiting.
 *
 * @module
 */
import { type Symbols, symbols } from "../../ffi/library.ts";
import { check, KeelsonError, refuse, STATUS } from "../base/error.ts";

/** Options of every wait. */
export interface WaitOptions {
  /** Rejects the promise with its reason. @default {never} */
  signal?: AbortSignal;
  /** After this long the promise resolves to `false`. @default {no limit} */
  timeoutMs?: number;
}

/** What is waited for: a handle, its kind, and two numbers that mean what its unit says. */
export interface WaitTarget {
  handle: number;
  /** One of `HANDLE` in `ffi/generated/handle.ts`. */
  kind: number;
  what: number;
  argument: number;
}

/** Waits on the event loop: `true` when it can be done, `false` after the timeout (below 0: never). */
export type SharedWait = (
  action: string,
  target: WaitTarget,
  timeoutMs: number,
  signal?: AbortSignal,
) => Promise<boolean>;

/** Calls the C function that creates or attaches. */
export type OpenCall = (
  name: Uint8Array<ArrayBuffer>,
  nameBytes: number,
  outHandle: Uint8Array<ArrayBuffer>,
) => number;

const encoder = new TextEncoder();
const outHandle = new Uint32Array(1);
const outHandleBytes = new Uint8Array(outHandle.buffer);
let sharedWait: SharedWait | undefined;
let sync: Symbols<"sync"> | undefined;

/** The row above, which knows event loops, says here how to wait. */
export function registerSharedWait(wait: SharedWait): void {
  sharedWait = wait;
}

/** A name as it stands in messages. */
export function quote(name: unknown): string {
  return typeof name === "string" ? JSON.stringify(name) : String(name);
}

/** The bytes of a name, which C checks. */
export function encodeName(action: string, name: string): Uint8Array<ArrayBuffer> {
  if (typeof name !== "string" || name === "") refuse(action, "the name is not a string");
  return encoder.encode(name);
}

/**
 * Creates or attaches, and answers the handle.
 *
 * @param action as in `create the queue "jobs"`
 */
export function openShared(action: string, name: string, call: OpenCall): number {
  const utf8 = encodeName(action, name);
  check(call(utf8, utf8.length, outHandleBytes), action);
  return outHandle[0];
}

/** Takes a name away. */
export function removeShared(
  action: string,
  name: string,
  call: (name: Uint8Array<ArrayBuffer>, nameBytes: number) => number,
): void {
  const utf8 = encodeName(action, name);
  check(call(utf8, utf8.length), action);
}

/**
 * Waits on the event loop until something can be done, or until the timeout (`false`).
 *
 * @throws {KeelsonError} `KL_ERR_CLOSED` when this end is closed meanwhile
 */
export function waitShared(
  action: string,
  target: WaitTarget,
  { timeoutMs, signal }: WaitOptions = {},
): Promise<boolean> {
  const limitMs = waitTimeout(action, timeoutMs);
  if (!sharedWait) {
    throw new KeelsonError(STATUS.KL_ERR_UNSUPPORTED, action, {
      detail: "lib/exec/completion.ts is not loaded; import from the package's own entry points",
    });
  }
  return sharedWait(action, target, limitMs, signal);
}

/**
 * Blocks the calling thread until something can be done, or until the timeout (`false`). Spins for
 * up to 20 us, then sleeps. For Workers: on the main thread it stops the event loop.
 *
 * @throws {KeelsonError} `KL_ERR_CLOSED` when this end is closed meanwhile
 */
export function waitSharedSync(action: string, target: WaitTarget, timeoutMs?: number): boolean {
  const limitMs = waitTimeout(action, timeoutMs);
  const { handle, kind, what, argument } = target;
  const known = sync ??= symbols("sync");
  const status = known.kl_shared_object_wait(handle, kind, what, argument, limitMs);
  if (status === STATUS.KL_ERR_TIMEOUT) return false;
  check(status, action);
  return true;
}

/** Milliseconds for C: below 0 means no limit. */
export function waitTimeout(action: string, timeoutMs: number | undefined): number {
  if (timeoutMs === undefined || timeoutMs === Infinity) return -1;
  if (typeof timeoutMs !== "number" || !(timeoutMs >= 0)) {
    refuse(action, `timeoutMs must be 0 or more milliseconds, not ${String(timeoutMs)}`);
  }
  return timeoutMs;
}
