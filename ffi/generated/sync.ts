// ffi/generated/sync.ts: made by `deno task gen` from c/. Do not edit.

/** Functions of `c/sync/`. */
export const SYNC = {
  /** `int32_t kl_counter_add(uint32_t handle, double amount)` */
  kl_counter_add: {
    parameters: ["u32", "f64"],
    result: "i32",
  },
  /** `int32_t kl_counter_add_i32(uint32_t handle, int32_t amount)` */
  kl_counter_add_i32: {
    parameters: ["u32", "i32"],
    result: "i32",
  },
  /** `int32_t kl_counter_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out)` */
  kl_counter_attach: {
    parameters: ["buffer", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_counter_close(uint32_t handle)` */
  kl_counter_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_counter_create(const uint8_t *name, uint32_t name_bytes, uint8_t *out)` */
  kl_counter_create: {
    parameters: ["buffer", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_counter_remove(const uint8_t *name, uint32_t name_bytes)` */
  kl_counter_remove: {
    parameters: ["buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_counter_sum(uint32_t handle, uint8_t *out)` */
  kl_counter_sum: {
    parameters: ["u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_epoch_report_all(uint8_t *out)` */
  kl_epoch_report_all: {
    parameters: ["buffer"],
    result: "i32",
  },
  /** `int32_t kl_event_count_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out)` */
  kl_event_count_attach: {
    parameters: ["buffer", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_event_count_close(uint32_t handle)` */
  kl_event_count_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_event_count_create(const uint8_t *name, uint32_t name_bytes, uint8_t *out)` */
  kl_event_count_create: {
    parameters: ["buffer", "u32", "buffer"],
    result: "i32",
  },
  /** `double kl_event_count_key(uint32_t handle)` */
  kl_event_count_key: {
    parameters: ["u32"],
    result: "f64",
  },
  /** `int32_t kl_event_count_notify(uint32_t handle)` */
  kl_event_count_notify: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_event_count_remove(const uint8_t *name, uint32_t name_bytes)` */
  kl_event_count_remove: {
    parameters: ["buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_latest_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out)` */
  kl_latest_attach: {
    parameters: ["buffer", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_latest_close(uint32_t handle)` */
  kl_latest_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_latest_create(const uint8_t *name, uint32_t name_bytes, double value_bytes, uint8_t *out)` */
  kl_latest_create: {
    parameters: ["buffer", "u32", "f64", "buffer"],
    result: "i32",
  },
  /** `double kl_latest_number(uint32_t handle)` */
  kl_latest_number: {
    parameters: ["u32"],
    result: "f64",
  },
  /** `int32_t kl_latest_put(uint32_t handle, const uint8_t *value, uint32_t bytes)` */
  kl_latest_put: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_latest_remove(const uint8_t *name, uint32_t name_bytes)` */
  kl_latest_remove: {
    parameters: ["buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_latest_take(uint32_t handle, uint8_t *out, uint32_t capacity, uint8_t *out_version)` */
  kl_latest_take: {
    parameters: ["u32", "buffer", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_latest_value_bytes(uint32_t handle)` */
  kl_latest_value_bytes: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_mutex_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out)` */
  kl_mutex_attach: {
    parameters: ["buffer", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_mutex_close(uint32_t handle)` */
  kl_mutex_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_mutex_create(const uint8_t *name, uint32_t name_bytes, uint8_t *out)` */
  kl_mutex_create: {
    parameters: ["buffer", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_mutex_give(uint32_t handle)` */
  kl_mutex_give: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_mutex_remove(const uint8_t *name, uint32_t name_bytes)` */
  kl_mutex_remove: {
    parameters: ["buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_mutex_state(uint32_t handle)` */
  kl_mutex_state: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_mutex_take(uint32_t handle, uint32_t asking)` */
  kl_mutex_take: {
    parameters: ["u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_mutex_take_within(uint32_t handle, double timeout_ms)` */
  kl_mutex_take_within: {
    parameters: ["u32", "f64"],
    result: "i32",
  },
  /** `int32_t kl_order_counts_to(uint8_t *out, uint32_t capacity)` */
  kl_order_counts_to: {
    parameters: ["buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_order_site(const uint8_t *text, uint32_t bytes)` */
  kl_order_site: {
    parameters: ["buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_order_tell(double index, uint8_t *out, uint32_t capacity)` */
  kl_order_tell: {
    parameters: ["f64", "buffer", "u32"],
    result: "i32",
  },
  /** `double kl_order_told(void)` */
  kl_order_told: {
    parameters: [],
    result: "f64",
  },
  /** `void kl_order_turn(uint32_t on)` */
  kl_order_turn: {
    parameters: ["u32"],
    result: "void",
  },
  /** `int32_t kl_ordered_lock_about(uint32_t handle, uint8_t *out)` */
  kl_ordered_lock_about: {
    parameters: ["u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_ordered_lock_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out)` */
  kl_ordered_lock_attach: {
    parameters: ["buffer", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_ordered_lock_close(uint32_t handle)` */
  kl_ordered_lock_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_ordered_lock_create(const uint8_t *name, uint32_t name_bytes, uint32_t rank, double key, const uint8_t *class_name, uint32_t class_name_bytes, uint8_t *out)` */
  kl_ordered_lock_create: {
    parameters: ["buffer", "u32", "u32", "f64", "buffer", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_ordered_lock_give(uint32_t handle)` */
  kl_ordered_lock_give: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_ordered_lock_remove(const uint8_t *name, uint32_t name_bytes)` */
  kl_ordered_lock_remove: {
    parameters: ["buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_ordered_lock_set_site(uint32_t handle, uint32_t site)` */
  kl_ordered_lock_set_site: {
    parameters: ["u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_ordered_lock_take_within(uint32_t handle, double timeout_ms, uint32_t site)` */
  kl_ordered_lock_take_within: {
    parameters: ["u32", "f64", "u32"],
    result: "i32",
  },
  /** `int32_t kl_ordered_lock_try(uint32_t handle, uint32_t site)` */
  kl_ordered_lock_try: {
    parameters: ["u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_shared_object_wait(uint32_t handle, uint32_t kind, uint32_t what, uint32_t argument, double timeout_ms)` */
  kl_shared_object_wait: {
    parameters: ["u32", "u32", "u32", "u32", "f64"],
    result: "i32",
  },
  /** `int32_t kl_sleep_lock_ask(uint32_t handle, double ticket)` */
  kl_sleep_lock_ask: {
    parameters: ["u32", "f64"],
    result: "i32",
  },
  /** `int32_t kl_sleep_lock_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out)` */
  kl_sleep_lock_attach: {
    parameters: ["buffer", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_sleep_lock_close(uint32_t handle)` */
  kl_sleep_lock_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_sleep_lock_create(const uint8_t *name, uint32_t name_bytes, uint32_t places, uint8_t *out)` */
  kl_sleep_lock_create: {
    parameters: ["buffer", "u32", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_sleep_lock_give(uint32_t handle, double ticket)` */
  kl_sleep_lock_give: {
    parameters: ["u32", "f64"],
    result: "i32",
  },
  /** `int32_t kl_sleep_lock_remove(const uint8_t *name, uint32_t name_bytes)` */
  kl_sleep_lock_remove: {
    parameters: ["buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_sleep_lock_take(uint32_t handle, uint32_t waiting, uint8_t *out)` */
  kl_sleep_lock_take: {
    parameters: ["u32", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_sleep_lock_take_within(uint32_t handle, double timeout_ms, uint8_t *out)` */
  kl_sleep_lock_take_within: {
    parameters: ["u32", "f64", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_sleep_lock_waiting(uint32_t handle)` */
  kl_sleep_lock_waiting: {
    parameters: ["u32"],
    result: "i32",
  },
} as const satisfies Deno.ForeignLibraryInterface;
