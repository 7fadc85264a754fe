// ffi/generated/base.ts: made by `deno task gen` from c/. Do not edit.

/** Functions of `c/base/`. */
export const BASE = {
  /** `uint32_t kl_abi_version(void)` */
  kl_abi_version: {
    parameters: [],
    result: "u32",
  },
  /** `uint32_t kl_bug_count(void)` */
  kl_bug_count: {
    parameters: [],
    result: "u32",
  },
  /** `uint32_t kl_checksum_crc32c(uint32_t seed, const uint8_t *data, uint32_t bytes)` */
  kl_checksum_crc32c: {
    parameters: ["u32", "buffer", "u32"],
    result: "u32",
  },
  /** `double kl_clock_monotonic_micros(void)` */
  kl_clock_monotonic_micros: {
    parameters: [],
    result: "f64",
  },
  /** `uint32_t kl_cpu_count(void)` */
  kl_cpu_count: {
    parameters: [],
    result: "u32",
  },
  /** `int32_t kl_cpu_current(void)` */
  kl_cpu_current: {
    parameters: [],
    result: "i32",
  },
  /** `uint32_t kl_cpu_features(void)` */
  kl_cpu_features: {
    parameters: [],
    result: "u32",
  },
  /** `int32_t kl_cpu_nth(uint32_t index)` */
  kl_cpu_nth: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_cpu_pin(uint32_t cpu)` */
  kl_cpu_pin: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_cpu_unpin(void)` */
  kl_cpu_unpin: {
    parameters: [],
    result: "i32",
  },
  /** `uint32_t kl_handle_live(uint32_t kind)` */
  kl_handle_live: {
    parameters: ["u32"],
    result: "u32",
  },
  /** `uint64_t kl_instance(void)` */
  kl_instance: {
    parameters: [],
    result: "u64",
  },
  /** `uint32_t kl_layout_hash(void)` */
  kl_layout_hash: {
    parameters: [],
    result: "u32",
  },
  /** `bool kl_nodelete(void)` */
  kl_nodelete: {
    parameters: [],
    result: "bool",
  },
  /** `uint32_t kl_status_detail(uint8_t *out, uint32_t capacity)` */
  kl_status_detail: {
    parameters: ["buffer", "u32"],
    result: "u32",
  },
  /** `int32_t kl_status_detail_code(void)` */
  kl_status_detail_code: {
    parameters: [],
    result: "i32",
  },
  /** `uint32_t kl_status_text(int32_t code, uint8_t *out, uint32_t capacity)` */
  kl_status_text: {
    parameters: ["i32", "buffer", "u32"],
    result: "u32",
  },
} as const satisfies Deno.ForeignLibraryInterface;
