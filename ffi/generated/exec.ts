// ffi/generated/exec.ts: made by `deno task gen` from c/. Do not edit.

/** Functions of `c/exec/`. */
export const EXEC = {
  /** `int32_t kl_completion_arm_shared(uint32_t completion, uint32_t token, uint32_t handle, uint32_t kind, uint32_t what, uint32_t argument, double timeout_ms)` */
  kl_completion_arm_shared: {
    parameters: ["u32", "u32", "u32", "u32", "u32", "u32", "f64"],
    result: "i32",
  },
  /** `int32_t kl_completion_arm_spsc_ring(uint32_t completion, uint32_t token, uint32_t ring, uint32_t side, uint32_t bytes, double timeout_ms)` */
  kl_completion_arm_spsc_ring: {
    parameters: ["u32", "u32", "u32", "u32", "u32", "f64"],
    result: "i32",
  },
  /** `int32_t kl_completion_cancel(uint32_t completion, uint32_t token)` */
  kl_completion_cancel: {
    parameters: ["u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_completion_close(uint32_t completion)` */
  kl_completion_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_completion_drain(uint32_t completion, uint8_t *out, uint32_t capacity_bytes)` */
  kl_completion_drain: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_completion_fd(uint32_t completion)` */
  kl_completion_fd: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `uint32_t kl_completion_open(void)` */
  kl_completion_open: {
    parameters: [],
    result: "u32",
  },
  /** `uint32_t kl_completion_watchers(void)` */
  kl_completion_watchers: {
    parameters: [],
    result: "u32",
  },
  /** `uint32_t kl_service_count(void)` */
  kl_service_count: {
    parameters: [],
    result: "u32",
  },
} as const satisfies Deno.ForeignLibraryInterface;
