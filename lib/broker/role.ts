/**
 * A role of a node, hosted by this process.
 *
 * @module
 */
import { symbols } from "../../ffi/library.ts";
import { check, KeelsonError } from "../base/error.ts";

/**
 * A running role: a C thread of this process. Made by {@linkcode Broker.hostBroker} and
 * {@linkcode Broker.hostSequencer}. If the process dies another one can host the role; nothing
 * that was acknowledged is lost.
 */
export class Role implements Disposable {
  readonly #handle: number;
  readonly #onClose: (role: Role) => void;
  #closed = false;

  /** For {@linkcode Broker}. */
  constructor(handle: number, onClose: (role: Role) => void) {
    this.#handle = handle;
    this.#onClose = onClose;
  }

  /** Why the role stopped (its log failed), or undefined while it runs. */
  get failed(): string | undefined {
    if (this.#closed) return undefined;
    try {
      check(symbols("broker").kl_broker_role_status(this.#handle), "go on writing the log");
      return undefined;
    } catch (error) {
      if (error instanceof KeelsonError) return error.detail;
      throw error;
    }
  }

  /** Syncs what is ordered, stops the thread, lets the log go. May block for a sync. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    symbols("broker").kl_broker_role_close(this.#handle);
    this.#onClose(this);
  }

  /** {@linkcode close}. */
  [Symbol.dispose](): void {
    this.close();
  }
}
