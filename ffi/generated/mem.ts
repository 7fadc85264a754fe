// ffi/generated/mem.ts: made by `deno task gen` from c/. Do not edit.

/** Functions of `c/mem/`. */
export const MEM = {
  /** `uint32_t kl_flush_active(void)` */
  kl_flush_active: {
    parameters: [],
    result: "u32",
  },
  /** `int32_t kl_flush_use(uint32_t method)` */
  kl_flush_use: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `uint64_t kl_region_handle_address(uint32_t handle)` */
  kl_region_handle_address: {
    parameters: ["u32"],
    result: "u64",
  },
  /** `int32_t kl_region_handle_attach(const uint8_t *name, uint32_t name_bytes, const uint8_t *request, uint8_t *out)` */
  kl_region_handle_attach: {
    parameters: ["buffer", "u32", "buffer", "buffer"],
    result: "i32",
  },
  /** `double kl_region_handle_bytes(uint32_t handle)` */
  kl_region_handle_bytes: {
    parameters: ["u32"],
    result: "f64",
  },
  /** `int32_t kl_region_handle_check(uint32_t handle)` */
  kl_region_handle_check: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_region_handle_close(uint32_t handle)` */
  kl_region_handle_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_region_handle_create(const uint8_t *name, uint32_t name_bytes, const uint8_t *request, uint8_t *out)` */
  kl_region_handle_create: {
    parameters: ["buffer", "u32", "buffer", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_region_handle_participants(uint32_t handle, uint8_t *out, uint32_t count_max)` */
  kl_region_handle_participants: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_region_handle_path(uint32_t handle, uint8_t *out, uint32_t capacity)` */
  kl_region_handle_path: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_region_handle_read(uint32_t handle, double offset, uint8_t *into, uint32_t bytes)` */
  kl_region_handle_read: {
    parameters: ["u32", "f64", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_region_handle_reap(uint32_t handle)` */
  kl_region_handle_reap: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `uint32_t kl_region_handle_self(uint32_t handle)` */
  kl_region_handle_self: {
    parameters: ["u32"],
    result: "u32",
  },
  /** `int32_t kl_region_handle_unlink(const uint8_t *name, uint32_t name_bytes, uint32_t where)` */
  kl_region_handle_unlink: {
    parameters: ["buffer", "u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_region_handle_write(uint32_t handle, double offset, const uint8_t *from, uint32_t bytes)` */
  kl_region_handle_write: {
    parameters: ["u32", "f64", "buffer", "u32"],
    result: "i32",
  },
} as const satisfies Deno.ForeignLibraryInterface;
