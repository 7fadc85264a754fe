// ffi/generated/mem.ts: made by `deno task gen` from c/. Do not edit.

/** Functions of `c/mem/`. */
export const MEM = {
  /** `int32_t kl_arena_charge_of(uint32_t arena, double offset)` */
  kl_arena_charge_of: {
    parameters: ["u32", "f64"],
    result: "i32",
  },
  /** `double kl_arena_charged(uint32_t arena, uint32_t node)` */
  kl_arena_charged: {
    parameters: ["u32", "u32"],
    result: "f64",
  },
  /** `int32_t kl_arena_check(uint32_t arena)` */
  kl_arena_check: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_arena_close(uint32_t arena)` */
  kl_arena_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_arena_create(uint32_t topology, double bytes_per_node, uint32_t huge, uint8_t *out)` */
  kl_arena_create: {
    parameters: ["u32", "f64", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_arena_give(uint32_t arena, double offset)` */
  kl_arena_give: {
    parameters: ["u32", "f64"],
    result: "i32",
  },
  /** `int32_t kl_arena_range(uint32_t arena, uint8_t *out)` */
  kl_arena_range: {
    parameters: ["u32", "buffer"],
    result: "i32",
  },
  /** `double kl_arena_take(uint32_t arena, double bytes, uint32_t policy, uint32_t node)` */
  kl_arena_take: {
    parameters: ["u32", "f64", "u32", "u32"],
    result: "f64",
  },
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
  /** `int32_t kl_numa_close(uint32_t topology)` */
  kl_numa_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_numa_cpus(uint32_t topology, uint32_t node, uint8_t *out, uint32_t capacity)` */
  kl_numa_cpus: {
    parameters: ["u32", "u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_numa_far(uint32_t topology, uint32_t from, uint32_t to)` */
  kl_numa_far: {
    parameters: ["u32", "u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_numa_idle(uint32_t topology)` */
  kl_numa_idle: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_numa_load(uint32_t topology, uint32_t node, double amount)` */
  kl_numa_load: {
    parameters: ["u32", "u32", "f64"],
    result: "i32",
  },
  /** `int32_t kl_numa_near(uint32_t topology, uint32_t from, uint32_t rank)` */
  kl_numa_near: {
    parameters: ["u32", "u32", "u32"],
    result: "i32",
  },
  /** `double kl_numa_node_bytes(uint32_t topology, uint32_t node)` */
  kl_numa_node_bytes: {
    parameters: ["u32", "u32"],
    result: "f64",
  },
  /** `int32_t kl_numa_nodes(uint32_t topology)` */
  kl_numa_nodes: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_numa_open(uint32_t shape, uint32_t nodes, uint32_t cpus_per_node, double bytes_per_node, const uint8_t *root, uint32_t root_bytes, uint8_t *out)` */
  kl_numa_open: {
    parameters: ["u32", "u32", "u32", "f64", "buffer", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_numa_pin(uint32_t topology, uint32_t node)` */
  kl_numa_pin: {
    parameters: ["u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_numa_system_node(uint32_t topology, uint32_t node)` */
  kl_numa_system_node: {
    parameters: ["u32", "u32"],
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
