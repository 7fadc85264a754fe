/**
 * How a promise learns that something happened in C: one completion ring and one doorbell for each
 * isolate (the main program, and each Worker).
 *
 * C puts `{token, status}` into the ring and one byte into a socket; the socket wakes the event loop
 * (13-20 us), which drains the ring. The socket keeps the process alive only while a promise is
 * pending. Nothing is opened before the first wait, which loads `node:net` (about 20 ms).
 *
 * @module
 */
import type { Socket } from "node:net";
import { type Symbols, symbols } from "../../ffi/library.ts";
import { check, KeelsonError, STATUS } from "../base/error.ts";
import { registerSharedWait } from "../sync/shared_object.ts";

/**
 * Starts a wait in C: gives `token` to be posted to `completion`, and answers 1 when there is nothing
 * to wait for, 0 when it is armed, or a status below 0.
 */
export type Arm = (completion: number, token: number) => number;

/** What {@linkcode waitFor} answers when {@linkcode Arm} said that there is nothing to wait for. */
export const ALREADY = 1;

/** Entries taken out of the ring in one call. */
const DRAIN_ENTRIES = 256;
const ENTRY_BYTES = 8;
/** Doorbell bytes read in one go; what they are means nothing. */
const BELL_BYTES = 64;
const TOKEN_MAX = 0xffff_ffff;

class Doorbell {
  readonly completion: number;
  readonly #exec: Symbols<"exec">;
  readonly #socket: Socket;
  readonly #pending = new Map<number, (status: number) => void>();
  readonly #drained = new Int32Array(DRAIN_ENTRIES * ENTRY_BYTES / 4);
  readonly #drainedBytes = new Uint8Array(this.#drained.buffer);
  #lastToken = 0;

  constructor(exec: Symbols<"exec">, makeSocket: (fd: number, onBell: () => void) => Socket) {
    this.#exec = exec;
    this.completion = exec.kl_completion_open();
    if (this.completion === 0) {
      check(symbols("base").kl_status_detail_code(), "open a completion");
    }
    const fd = check(exec.kl_completion_fd(this.completion), "open a completion");
    this.#socket = makeSocket(fd, () => this.#drain());
    this.#socket.on("error", () => this.close());
    this.#socket.on("close", () => this.close());
    this.#socket.unref();
  }

  wait(arm: Arm, signal: AbortSignal | undefined): Promise<number> {
    const token = this.#nextToken();
    const status = arm(this.completion, token);
    if (status !== 0) return Promise.resolve(check(status, "wait"));
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#exec.kl_completion_cancel(this.completion, token); // posted already: nobody listens
        this.#settle(token);
        reject(signal!.reason);
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      if (this.#pending.size === 0) this.#socket.ref();
      this.#pending.set(token, (posted) => {
        signal?.removeEventListener("abort", onAbort);
        resolve(posted);
      });
    });
  }

  close(): void {
    if (doorbell === this) doorbell = opening = undefined;
    this.#exec.kl_completion_close(this.completion); // the second time: nothing
    this.#socket.destroy();
    for (const token of [...this.#pending.keys()]) this.#settle(token)?.(STATUS.KL_ERR_CLOSED);
  }

  #nextToken(): number {
    let token = this.#lastToken;
    do token = token === TOKEN_MAX ? 1 : token + 1; while (this.#pending.has(token));
    this.#lastToken = token;
    return token;
  }

  /** Takes a token out of what is pending; the last one lets the process end. */
  #settle(token: number): ((status: number) => void) | undefined {
    const settle = this.#pending.get(token);
    if (this.#pending.delete(token) && this.#pending.size === 0) this.#socket.unref();
    return settle;
  }

  #drain(): void {
    const { kl_completion_drain } = this.#exec;
    let count: number;
    do {
      count = kl_completion_drain(this.completion, this.#drainedBytes, this.#drainedBytes.length);
      for (let at = 0; at < 2 * count; at += 2) {
        this.#settle(this.#drained[at] >>> 0)?.(this.#drained[at + 1]);
      }
    } while (count === DRAIN_ENTRIES);
  }
}

let doorbell: Doorbell | undefined;
let opening: Promise<Doorbell> | undefined;

async function open(): Promise<Doorbell> {
  try {
    const exec = symbols("exec");
    const { Socket } = await import("node:net");
    const buffer = new Uint8Array(BELL_BYTES);
    const adopt = (fd: number, onBell: () => void) => {
      // onread: no stream machinery between the bell and the ring, which takes 5 us.
      const callback = () => {
        onBell();
        return true;
      };
      return new Socket({ fd, readable: true, writable: false, onread: { buffer, callback } });
    };
    return doorbell = new Doorbell(exec, adopt);
  } catch (error) {
    opening = undefined; // the next wait tries again
    throw error;
  }
}

/**
 * Waits until C posts. Resolves to 1 when there was nothing to wait for, else to the posted status:
 * `KL_OK` (something happened, or half a second has passed: look, and wait again if it was not it),
 * `KL_ERR_TIMEOUT`, `KL_ERR_CLOSED` (what was waited for is gone), or what the unit says.
 *
 * A wait keeps the process alive. Aborting the signal rejects with its reason, and leaves nothing behind.
 *
 * @throws {KeelsonError} what `arm` answered below 0
 */
export async function waitFor(arm: Arm, signal?: AbortSignal): Promise<number> {
  const bell = doorbell ?? await (opening ??= open());
  signal?.throwIfAborted();
  return bell.wait(arm, signal);
}

/** Opens what the first wait would open, for tests that count resources, and for a first wait
 * that must be quick. */
export async function preloadCompletion(): Promise<void> {
  await (opening ??= open());
}

/** Gives the socket back. Waits that are pending resolve to `KL_ERR_CLOSED`; the next opens anew. */
export function closeCompletion(): void {
  doorbell?.close();
}

/** Arms again until it is so, or the time is over. */
async function waitUntil(
  action: string,
  timeoutMs: number,
  signal: AbortSignal | undefined,
  arm: (completion: number, token: number, leftMs: number) => number,
): Promise<boolean> {
  const endMs = timeoutMs < 0 ? Infinity : performance.now() + timeoutMs;
  for (let armed = false;; armed = true) {
    const leftMs = endMs === Infinity ? -1 : Math.max(0, endMs - performance.now());
    const status = await waitFor((completion, token) => {
      const answer = arm(completion, token, leftMs);
      // A close wakes who waits: what it waited for has no handle any more.
      return armed && answer === STATUS.KL_ERR_HANDLE ? STATUS.KL_ERR_CLOSED : answer;
    }, signal);
    if (status === ALREADY) return true;
    if (status === STATUS.KL_ERR_TIMEOUT) return false;
    if (status < 0) throw new KeelsonError(status, action);
  }
}

registerSharedWait((action, { handle, kind, what, argument }, timeoutMs, signal) => {
  const { kl_completion_arm_shared } = symbols("exec");
  return waitUntil(
    action,
    timeoutMs,
    signal,
    (completion, token, leftMs) =>
      kl_completion_arm_shared(completion, token, handle, kind, what, argument, leftMs),
  );
});
