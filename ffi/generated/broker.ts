// ffi/generated/broker.ts: made by `deno task gen` from c/. Do not edit.

/** Functions of `c/broker/`. */
export const BROKER = {
  /** `int32_t kl_broker_close(uint32_t node)` */
  kl_broker_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_broker_info(uint32_t node, double *out)` */
  kl_broker_info: {
    parameters: ["u32", "buffer"],
    result: "i32",
  },
  /** `double kl_broker_open(const uint8_t *folder, uint32_t folder_bytes, uint32_t broker_count, uint32_t flags)` */
  kl_broker_open: {
    parameters: ["buffer", "u32", "u32", "u32"],
    result: "f64",
  },
  /** `int32_t kl_broker_publisher_arm(uint32_t publisher, uint32_t level, double sequence, uint32_t completion, uint32_t token)` */
  kl_broker_publisher_arm: {
    parameters: ["u32", "u32", "f64", "u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_broker_publisher_arm_space(uint32_t publisher, uint32_t bytes, uint32_t completion, uint32_t token)` */
  kl_broker_publisher_arm_space: {
    parameters: ["u32", "u32", "u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_broker_publisher_close(uint32_t publisher)` */
  kl_broker_publisher_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_broker_publisher_offer(uint32_t publisher, const uint8_t *records, uint32_t bytes)` */
  kl_broker_publisher_offer: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `double kl_broker_publisher_open(uint32_t topic, double session)` */
  kl_broker_publisher_open: {
    parameters: ["u32", "f64"],
    result: "f64",
  },
  /** `int32_t kl_broker_publisher_progress(uint32_t publisher, double *out)` */
  kl_broker_publisher_progress: {
    parameters: ["u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_broker_region_path(uint32_t node, uint8_t *out, uint32_t capacity)` */
  kl_broker_region_path: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_broker_retire(uint32_t node)` */
  kl_broker_retire: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_broker_role_close(uint32_t role)` */
  kl_broker_role_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_broker_role_info(uint32_t node, uint32_t index, double *out, uint8_t *reason, uint32_t capacity)` */
  kl_broker_role_info: {
    parameters: ["u32", "u32", "buffer", "buffer", "u32"],
    result: "i32",
  },
  /** `double kl_broker_role_open(uint32_t node, uint32_t index)` */
  kl_broker_role_open: {
    parameters: ["u32", "u32"],
    result: "f64",
  },
  /** `int32_t kl_broker_role_status(uint32_t role)` */
  kl_broker_role_status: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_broker_subscriber_arm(uint32_t subscriber, uint32_t completion, uint32_t token)` */
  kl_broker_subscriber_arm: {
    parameters: ["u32", "u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_broker_subscriber_close(uint32_t subscriber)` */
  kl_broker_subscriber_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_broker_subscriber_info(uint32_t subscriber, double *out)` */
  kl_broker_subscriber_info: {
    parameters: ["u32", "buffer"],
    result: "i32",
  },
  /** `double kl_broker_subscriber_open(uint32_t node, const uint8_t *name, uint32_t name_bytes, double from, uint32_t flags)` */
  kl_broker_subscriber_open: {
    parameters: ["u32", "buffer", "u32", "f64", "u32"],
    result: "f64",
  },
  /** `int32_t kl_broker_subscriber_read(uint32_t subscriber, uint8_t *out, uint32_t capacity)` */
  kl_broker_subscriber_read: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_broker_topic_check(uint32_t topic)` */
  kl_broker_topic_check: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_broker_topic_close(uint32_t topic)` */
  kl_broker_topic_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_broker_topic_count(uint32_t node, const uint8_t *name, uint32_t name_bytes, double *out)` */
  kl_broker_topic_count: {
    parameters: ["u32", "buffer", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_broker_topic_cursor(uint32_t topic, uint32_t slot, double *out)` */
  kl_broker_topic_cursor: {
    parameters: ["u32", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_broker_topic_info(uint32_t topic, double *out)` */
  kl_broker_topic_info: {
    parameters: ["u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_broker_topic_names(uint32_t node, uint8_t *out, uint32_t capacity)` */
  kl_broker_topic_names: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `double kl_broker_topic_open(uint32_t node, const uint8_t *name, uint32_t name_bytes, uint32_t flags, double lane_bytes)` */
  kl_broker_topic_open: {
    parameters: ["u32", "buffer", "u32", "u32", "f64"],
    result: "f64",
  },
} as const satisfies Deno.ForeignLibraryInterface;
