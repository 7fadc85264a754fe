import { symbols } from "../../ffi/library.ts";
import { seededRecords } from "../frame/statistics.ts";
import { makeTableCrc32c } from "../peers/js_table_crc32c.ts";

const { kl_checksum_crc32c, kl_layout_hash } = symbols("base");
const [bytes] = seededRecords(20_240_229, 1, 4096);
const table = makeTableCrc32c();

Deno.bench({
  name: "crc32c 4 KiB through FFI",
  group: "checksum",
  baseline: true,
  fn: () => void kl_checksum_crc32c(0, bytes, 4096),
});
Deno.bench({
  name: "crc32c 64 B through FFI",
  group: "checksum",
  fn: () => void kl_checksum_crc32c(0, bytes, 64),
});
Deno.bench({
  name: "an FFI call that does nothing",
  group: "checksum",
  fn: () => void kl_layout_hash(),
});
Deno.bench({
  name: "crc32c 4 KiB in TypeScript, eight tables",
  group: "checksum",
  fn: () => void table(bytes, 0),
});
