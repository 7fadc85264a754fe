/**
 * The clock that all processes of a host share.
 *
 * @module
 */
import { symbols } from "../../ffi/library.ts";

/**
 * Microseconds on the host's monotonic clock: comparable between processes and Workers, unlike
 * `performance.now()`, which starts anew in each. It stands still while the host is suspended.
 */
export function monotonicMicros(): number {
  return symbols("base").kl_clock_monotonic_micros();
}
