// ffi/generated/file.ts: made by `deno task gen` from c/. Do not edit.

/** Functions of `c/file/`. */
export const FILE = {
  /** `double kl_device_measure(const uint8_t *folder, uint32_t folder_bytes, uint32_t mode, uint32_t block_bytes, uint32_t count)` */
  kl_device_measure: {
    parameters: ["buffer", "u32", "u32", "u32", "u32"],
    result: "f64",
    nonblocking: true,
  },
  /** `int32_t kl_folder_handle_close(uint32_t handle)` */
  kl_folder_handle_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `double kl_folder_handle_open(const uint8_t *path, uint32_t path_bytes, const uint8_t *program, uint32_t program_bytes, uint32_t flags)` */
  kl_folder_handle_open: {
    parameters: ["buffer", "u32", "buffer", "u32", "u32"],
    result: "f64",
  },
  /** `int32_t kl_folder_holder(const uint8_t *path, uint32_t path_bytes, uint8_t *out, uint32_t capacity)` */
  kl_folder_holder: {
    parameters: ["buffer", "u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_manifest_handle_close(uint32_t handle)` */
  kl_manifest_handle_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `double kl_manifest_handle_open(const uint8_t *path, uint32_t path_bytes, uint32_t kind, uint32_t flags)` */
  kl_manifest_handle_open: {
    parameters: ["buffer", "u32", "u32", "u32"],
    result: "f64",
  },
  /** `int32_t kl_manifest_handle_read(uint32_t handle, uint8_t *out, uint32_t capacity)` */
  kl_manifest_handle_read: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_manifest_handle_write(uint32_t handle, const uint8_t *payload, uint32_t bytes)` */
  kl_manifest_handle_write: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
} as const satisfies Deno.ForeignLibraryInterface;
