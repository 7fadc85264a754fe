/**
 * CRC-32C through FFI.
 *
 * @module
 */
import { symbols } from "../../ffi/library.ts";
import type { RowDefinition } from "../frame/row.ts";
import { CHECKSUM_BYTES, checksumSession } from "./checksum_work.ts";
import { jsTableCrc32c } from "../peers/js_table_crc32c.ts";
import { zlibCrc32 } from "../peers/zlib_crc32.ts";

/** `crc32` and `sse4_2` in one instruction, or the arm64 extension. */
function slowCpu(): string | undefined {
  const features = Deno.build.arch === "x86_64" ? /\bsse4_2\b/ : /\bcrc32\b/;
  return features.test(Deno.readTextFileSync("/proc/cpuinfo"))
    ? undefined
    : "this CPU has no CRC instruction";
}

export const CHECKSUM_ROWS: RowDefinition[] = [{
  group: "checksum",
  name: "crc32c 4 KiB",
  unit: "GB/s",
  better: "higher",
  note: "called from TypeScript; the cost of one FFI call for each 4 KiB is in the figure",
  rounds: { smoke: 2, full: 9 },
  floors: [{ kind: "absolute", value: 20 }],
  floorsDoNotHold: slowCpu,
  own: {
    open({ seed, size }) {
      const { kl_checksum_crc32c } = symbols("base");
      return checksumSession(
        seed,
        size({ smoke: 2_000, full: 300_000 }),
        (bytes, before) => kl_checksum_crc32c(before, bytes, CHECKSUM_BYTES),
      );
    },
  },
  others: [zlibCrc32, jsTableCrc32c],
}];
