// ffi/generated/sync.ts: made by `deno task gen` from c/. Do not edit.

/** Functions of `c/sync/`. */
export const SYNC = {
  /** `int32_t kl_shared_object_wait(uint32_t handle, uint32_t kind, uint32_t what, uint32_t argument, double timeout_ms)` */
  kl_shared_object_wait: {
    parameters: ["u32", "u32", "u32", "u32", "f64"],
    result: "i32",
  },
} as const satisfies Deno.ForeignLibraryInterface;
