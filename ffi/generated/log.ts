// ffi/generated/log.ts: made by `deno task gen` from c/. Do not edit.

/** Functions of `c/log/`. */
export const LOG = {
  /** `double kl_log_cursor_handle_address(uint32_t handle)` */
  kl_log_cursor_handle_address: {
    parameters: ["u32"],
    result: "f64",
  },
  /** `int32_t kl_log_cursor_handle_close(uint32_t handle)` */
  kl_log_cursor_handle_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_log_cursor_handle_list(const uint8_t *folder, uint32_t folder_bytes, uint8_t *out, uint32_t capacity)` */
  kl_log_cursor_handle_list: {
    parameters: ["buffer", "u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_log_cursor_handle_move(uint32_t handle, double address)` */
  kl_log_cursor_handle_move: {
    parameters: ["u32", "f64"],
    result: "i32",
  },
  /** `int32_t kl_log_cursor_handle_move_async(uint32_t handle, double address, uint8_t *out, uint32_t capacity)` */
  kl_log_cursor_handle_move_async: {
    parameters: ["u32", "f64", "buffer", "u32"],
    result: "i32",
    nonblocking: true,
  },
  /** `double kl_log_cursor_handle_open(const uint8_t *folder, uint32_t folder_bytes, const uint8_t *name, uint32_t name_bytes, double from)` */
  kl_log_cursor_handle_open: {
    parameters: ["buffer", "u32", "buffer", "u32", "f64"],
    result: "f64",
  },
  /** `int32_t kl_log_cursor_handle_remove(const uint8_t *folder, uint32_t folder_bytes, const uint8_t *name, uint32_t name_bytes)` */
  kl_log_cursor_handle_remove: {
    parameters: ["buffer", "u32", "buffer", "u32"],
    result: "i32",
  },
  /** `double kl_log_handle_append(uint32_t handle, const uint8_t *record, uint32_t bytes, uint32_t tag, uint32_t durability)` */
  kl_log_handle_append: {
    parameters: ["u32", "buffer", "u32", "u32", "u32"],
    result: "f64",
  },
  /** `double kl_log_handle_append_many(uint32_t handle, const uint8_t *encoded, uint32_t bytes, uint32_t record_count, uint32_t tag, uint32_t durability)` */
  kl_log_handle_append_many: {
    parameters: ["u32", "buffer", "u32", "u32", "u32", "u32"],
    result: "f64",
  },
  /** `int32_t kl_log_handle_arm_durable(uint32_t handle, double until, uint32_t completion, uint32_t token)` */
  kl_log_handle_arm_durable: {
    parameters: ["u32", "f64", "u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_log_handle_arm_truncated(uint32_t handle, uint32_t completion, uint32_t token)` */
  kl_log_handle_arm_truncated: {
    parameters: ["u32", "u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_log_handle_close(uint32_t handle)` */
  kl_log_handle_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_log_handle_commit(uint32_t handle, double until)` */
  kl_log_handle_commit: {
    parameters: ["u32", "f64"],
    result: "i32",
  },
  /** `double kl_log_handle_durable(uint32_t handle)` */
  kl_log_handle_durable: {
    parameters: ["u32"],
    result: "f64",
  },
  /** `double kl_log_handle_first(uint32_t handle)` */
  kl_log_handle_first: {
    parameters: ["u32"],
    result: "f64",
  },
  /** `int32_t kl_log_handle_flush(uint32_t handle)` */
  kl_log_handle_flush: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `double kl_log_handle_open(const uint8_t *folder, uint32_t folder_bytes, const uint8_t *options, uint32_t options_bytes)` */
  kl_log_handle_open: {
    parameters: ["buffer", "u32", "buffer", "u32"],
    result: "f64",
  },
  /** `int32_t kl_log_handle_recovery_text(uint32_t handle, uint8_t *out, uint32_t capacity)` */
  kl_log_handle_recovery_text: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_log_handle_repair(const uint8_t *folder, uint32_t folder_bytes, uint32_t flags, uint8_t *mend, uint32_t mend_bytes, uint8_t *out, uint32_t capacity)` */
  kl_log_handle_repair: {
    parameters: ["buffer", "u32", "u32", "buffer", "u32", "buffer", "u32"],
    result: "i32",
    nonblocking: true,
  },
  /** `int32_t kl_log_handle_request_commit(uint32_t handle)` */
  kl_log_handle_request_commit: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_log_handle_request_truncate(uint32_t handle, double address)` */
  kl_log_handle_request_truncate: {
    parameters: ["u32", "f64"],
    result: "i32",
  },
  /** `double kl_log_handle_scan(uint32_t log, double from, uint32_t flags)` */
  kl_log_handle_scan: {
    parameters: ["u32", "f64", "u32"],
    result: "f64",
  },
  /** `int32_t kl_log_handle_stat(const uint8_t *folder, uint32_t folder_bytes, uint8_t *place, uint32_t place_bytes, uint8_t *out, uint32_t capacity)` */
  kl_log_handle_stat: {
    parameters: ["buffer", "u32", "buffer", "u32", "buffer", "u32"],
    result: "i32",
    nonblocking: true,
  },
  /** `int32_t kl_log_handle_state(uint32_t handle, uint8_t *out, uint32_t capacity)` */
  kl_log_handle_state: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `double kl_log_handle_tail(uint32_t handle)` */
  kl_log_handle_tail: {
    parameters: ["u32"],
    result: "f64",
  },
  /** `int32_t kl_log_handle_truncate(uint32_t handle, double address)` */
  kl_log_handle_truncate: {
    parameters: ["u32", "f64"],
    result: "i32",
  },
  /** `int32_t kl_log_handle_verify(const uint8_t *folder, uint32_t folder_bytes, uint8_t *check, uint32_t check_bytes, uint8_t *out, uint32_t capacity)` */
  kl_log_handle_verify: {
    parameters: ["buffer", "u32", "buffer", "u32", "buffer", "u32"],
    result: "i32",
    nonblocking: true,
  },
  /** `int32_t kl_log_reader_handle_arm(uint32_t handle, uint32_t completion, uint32_t token)` */
  kl_log_reader_handle_arm: {
    parameters: ["u32", "u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_log_reader_handle_close(uint32_t handle)` */
  kl_log_reader_handle_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `double kl_log_reader_handle_need(uint32_t handle)` */
  kl_log_reader_handle_need: {
    parameters: ["u32"],
    result: "f64",
  },
  /** `int32_t kl_log_reader_handle_next(uint32_t handle, uint8_t *out, uint32_t capacity)` */
  kl_log_reader_handle_next: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `double kl_log_reader_handle_open(const uint8_t *folder, uint32_t folder_bytes, double from, uint32_t flags)` */
  kl_log_reader_handle_open: {
    parameters: ["buffer", "u32", "f64", "u32"],
    result: "f64",
  },
} as const satisfies Deno.ForeignLibraryInterface;
