// ffi/generated/exec.ts: made by `deno task gen` from c/. Do not edit.

/** Functions of `c/exec/`. */
export const EXEC = {
  /** `int32_t kl_completion_arm_shared(uint32_t completion, uint32_t token, uint32_t handle, uint32_t kind, uint32_t what, uint32_t argument, double timeout_ms)` */
  kl_completion_arm_shared: {
    parameters: ["u32", "u32", "u32", "u32", "u32", "u32", "f64"],
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
  /** `int32_t kl_worker_graph_add(uint32_t graph, uint32_t function, const uint8_t *value, uint32_t value_bytes)` */
  kl_worker_graph_add: {
    parameters: ["u32", "u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_worker_graph_cancel(uint32_t graph)` */
  kl_worker_graph_cancel: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_worker_graph_close(uint32_t graph)` */
  kl_worker_graph_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_worker_graph_cycle(uint32_t graph, uint8_t *out, uint32_t capacity_bytes)` */
  kl_worker_graph_cycle: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `uint32_t kl_worker_graph_open(uint32_t pool, uint32_t nodes_max, uint32_t edges_max)` */
  kl_worker_graph_open: {
    parameters: ["u32", "u32", "u32"],
    result: "u32",
  },
  /** `int32_t kl_worker_graph_outcome(uint32_t graph, uint8_t *out, uint32_t capacity)` */
  kl_worker_graph_outcome: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_worker_graph_precede(uint32_t graph, uint32_t before, uint32_t after)` */
  kl_worker_graph_precede: {
    parameters: ["u32", "u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_worker_graph_result(uint32_t graph, uint32_t node, uint8_t *out, uint32_t capacity)` */
  kl_worker_graph_result: {
    parameters: ["u32", "u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_worker_graph_run(uint32_t graph, uint32_t token)` */
  kl_worker_graph_run: {
    parameters: ["u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_worker_graph_state(uint32_t graph, uint32_t node)` */
  kl_worker_graph_state: {
    parameters: ["u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_worker_lane_close(uint32_t lane)` */
  kl_worker_lane_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_worker_lane_function(uint32_t lane, uint32_t function, uint8_t *out, uint32_t capacity)` */
  kl_worker_lane_function: {
    parameters: ["u32", "u32", "buffer", "u32"],
    result: "i32",
  },
  /** `uint32_t kl_worker_lane_open(uint32_t pool, uint32_t lane)` */
  kl_worker_lane_open: {
    parameters: ["u32", "u32"],
    result: "u32",
  },
  /** `int32_t kl_worker_lane_turn(uint32_t lane, uint32_t outcome, uint8_t *result, uint32_t result_bytes, uint8_t *out, uint32_t capacity, double timeout_ms)` */
  kl_worker_lane_turn: {
    parameters: ["u32", "u32", "buffer", "u32", "buffer", "u32", "f64"],
    result: "i32",
  },
  /** `int32_t kl_worker_pool_arm(uint32_t pool, uint32_t completion, uint32_t token, double quiet_us)` */
  kl_worker_pool_arm: {
    parameters: ["u32", "u32", "u32", "f64"],
    result: "i32",
  },
  /** `int32_t kl_worker_pool_cancel(uint32_t pool, uint32_t token)` */
  kl_worker_pool_cancel: {
    parameters: ["u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_worker_pool_close(uint32_t pool)` */
  kl_worker_pool_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_worker_pool_collect(uint32_t pool, uint8_t *out, uint32_t capacity)` */
  kl_worker_pool_collect: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_worker_pool_function(uint32_t pool, const uint8_t *name, uint32_t name_bytes)` */
  kl_worker_pool_function: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_worker_pool_nudge(uint32_t pool)` */
  kl_worker_pool_nudge: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `uint32_t kl_worker_pool_open(uint32_t lanes, uint32_t queue, uint32_t ring_bytes, double spin_us)` */
  kl_worker_pool_open: {
    parameters: ["u32", "u32", "u32", "f64"],
    result: "u32",
  },
  /** `int32_t kl_worker_pool_stat(uint32_t pool, uint32_t lane, uint8_t *out, uint32_t capacity)` */
  kl_worker_pool_stat: {
    parameters: ["u32", "u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_worker_pool_submit(uint32_t pool, const uint8_t *batch, uint32_t bytes)` */
  kl_worker_pool_submit: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
} as const satisfies Deno.ForeignLibraryInterface;
