// ffi/generated/lockfree.ts: made by `deno task gen` from c/. Do not edit.

/** Functions of `c/lockfree/`. */
export const LOCKFREE = {
  /** `double kl_capability_table_add(uint32_t table, double key, uint32_t low, uint32_t high)` */
  kl_capability_table_add: {
    parameters: ["u32", "f64", "u32", "u32"],
    result: "f64",
  },
  /** `int32_t kl_capability_table_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out)` */
  kl_capability_table_attach: {
    parameters: ["buffer", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_capability_table_audit(uint32_t table)` */
  kl_capability_table_audit: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_capability_table_capacity(uint32_t table)` */
  kl_capability_table_capacity: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_capability_table_close(uint32_t table)` */
  kl_capability_table_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_capability_table_create(const uint8_t *name, uint32_t name_bytes, uint32_t capacity, uint8_t *out)` */
  kl_capability_table_create: {
    parameters: ["buffer", "u32", "u32", "buffer"],
    result: "i32",
  },
  /** `double kl_capability_table_derive(uint32_t table, double parent, double key, uint32_t low, uint32_t high)` */
  kl_capability_table_derive: {
    parameters: ["u32", "f64", "f64", "u32", "u32"],
    result: "f64",
  },
  /** `int32_t kl_capability_table_drop(uint32_t table, double capability)` */
  kl_capability_table_drop: {
    parameters: ["u32", "f64"],
    result: "i32",
  },
  /** `int32_t kl_capability_table_give(uint32_t table, double capability, uint32_t low, uint32_t high)` */
  kl_capability_table_give: {
    parameters: ["u32", "f64", "u32", "u32"],
    result: "i32",
  },
  /** `double kl_capability_table_lookup(uint32_t table, double key)` */
  kl_capability_table_lookup: {
    parameters: ["u32", "f64"],
    result: "f64",
  },
  /** `int32_t kl_capability_table_mask(uint32_t table, double capability, uint8_t *out)` */
  kl_capability_table_mask: {
    parameters: ["u32", "f64", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_capability_table_permits(uint32_t table, double capability, uint32_t low, uint32_t high)` */
  kl_capability_table_permits: {
    parameters: ["u32", "f64", "u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_capability_table_remove(const uint8_t *name, uint32_t name_bytes)` */
  kl_capability_table_remove: {
    parameters: ["buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_capability_table_size(uint32_t table)` */
  kl_capability_table_size: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_capability_table_take(uint32_t table, double capability, uint32_t low, uint32_t high)` */
  kl_capability_table_take: {
    parameters: ["u32", "f64", "u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_index_pool_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out)` */
  kl_index_pool_attach: {
    parameters: ["buffer", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_index_pool_check(uint32_t pool)` */
  kl_index_pool_check: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_index_pool_close(uint32_t pool)` */
  kl_index_pool_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_index_pool_create(const uint8_t *name, uint32_t name_bytes, uint32_t capacity, uint32_t payload_bytes, uint8_t *out)` */
  kl_index_pool_create: {
    parameters: ["buffer", "u32", "u32", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_index_pool_give(uint32_t pool, uint32_t index, uint32_t generation)` */
  kl_index_pool_give: {
    parameters: ["u32", "u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_index_pool_is_mine(uint32_t pool, uint32_t index, uint32_t generation)` */
  kl_index_pool_is_mine: {
    parameters: ["u32", "u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_index_pool_number(uint32_t pool, uint32_t what)` */
  kl_index_pool_number: {
    parameters: ["u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_index_pool_read(uint32_t pool, uint32_t index, uint32_t generation, uint8_t *out, uint32_t bytes)` */
  kl_index_pool_read: {
    parameters: ["u32", "u32", "u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_index_pool_recover_dead(uint32_t pool)` */
  kl_index_pool_recover_dead: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_index_pool_remove(const uint8_t *name, uint32_t name_bytes)` */
  kl_index_pool_remove: {
    parameters: ["buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_index_pool_take(uint32_t pool, uint8_t *out)` */
  kl_index_pool_take: {
    parameters: ["u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_index_pool_write(uint32_t pool, uint32_t index, uint32_t generation, const uint8_t *data, uint32_t bytes)` */
  kl_index_pool_write: {
    parameters: ["u32", "u32", "u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_mpmc_queue_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out)` */
  kl_mpmc_queue_attach: {
    parameters: ["buffer", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_mpmc_queue_capacity(uint32_t queue)` */
  kl_mpmc_queue_capacity: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_mpmc_queue_check(uint32_t queue)` */
  kl_mpmc_queue_check: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_mpmc_queue_close(uint32_t queue)` */
  kl_mpmc_queue_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_mpmc_queue_create(const uint8_t *name, uint32_t name_bytes, uint32_t capacity, uint32_t record_bytes_max, uint32_t drops, uint8_t *out)` */
  kl_mpmc_queue_create: {
    parameters: ["buffer", "u32", "u32", "u32", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_mpmc_queue_length(uint32_t queue)` */
  kl_mpmc_queue_length: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_mpmc_queue_pop(uint32_t queue, uint8_t *out, uint32_t capacity)` */
  kl_mpmc_queue_pop: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_mpmc_queue_pop_at(uint32_t queue, uint8_t *out, uint32_t offset, uint32_t capacity)` */
  kl_mpmc_queue_pop_at: {
    parameters: ["u32", "buffer", "u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_mpmc_queue_pop_many(uint32_t queue, uint8_t *out, uint32_t capacity)` */
  kl_mpmc_queue_pop_many: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `double kl_mpmc_queue_pop_u32(uint32_t queue)` */
  kl_mpmc_queue_pop_u32: {
    parameters: ["u32"],
    result: "f64",
  },
  /** `int32_t kl_mpmc_queue_pop_words(uint32_t queue, uint8_t *words, uint32_t count)` */
  kl_mpmc_queue_pop_words: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_mpmc_queue_push(uint32_t queue, const uint8_t *data, uint32_t bytes)` */
  kl_mpmc_queue_push: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_mpmc_queue_push_many(uint32_t queue, const uint8_t *records, uint32_t bytes)` */
  kl_mpmc_queue_push_many: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_mpmc_queue_push_u32(uint32_t queue, uint32_t value)` */
  kl_mpmc_queue_push_u32: {
    parameters: ["u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_mpmc_queue_push_words(uint32_t queue, const uint8_t *words, uint32_t count)` */
  kl_mpmc_queue_push_words: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_mpmc_queue_reap(uint32_t queue)` */
  kl_mpmc_queue_reap: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_mpmc_queue_record_bytes_max(uint32_t queue)` */
  kl_mpmc_queue_record_bytes_max: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_mpmc_queue_remove(const uint8_t *name, uint32_t name_bytes)` */
  kl_mpmc_queue_remove: {
    parameters: ["buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_mpsc_ring_abort(uint32_t ring, double position)` */
  kl_mpsc_ring_abort: {
    parameters: ["u32", "f64"],
    result: "i32",
  },
  /** `int32_t kl_mpsc_ring_address(uint32_t ring, uint8_t *out)` */
  kl_mpsc_ring_address: {
    parameters: ["u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_mpsc_ring_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out)` */
  kl_mpsc_ring_attach: {
    parameters: ["buffer", "u32", "buffer"],
    result: "i32",
  },
  /** `double kl_mpsc_ring_capacity_bytes(uint32_t ring)` */
  kl_mpsc_ring_capacity_bytes: {
    parameters: ["u32"],
    result: "f64",
  },
  /** `int32_t kl_mpsc_ring_check(uint32_t ring)` */
  kl_mpsc_ring_check: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `double kl_mpsc_ring_claim(uint32_t ring, uint32_t bytes)` */
  kl_mpsc_ring_claim: {
    parameters: ["u32", "u32"],
    result: "f64",
  },
  /** `int32_t kl_mpsc_ring_close(uint32_t ring)` */
  kl_mpsc_ring_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_mpsc_ring_commit(uint32_t ring, double position, const uint8_t *data, uint32_t bytes)` */
  kl_mpsc_ring_commit: {
    parameters: ["u32", "f64", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_mpsc_ring_create(const uint8_t *name, uint32_t name_bytes, double capacity_bytes, uint8_t *out)` */
  kl_mpsc_ring_create: {
    parameters: ["buffer", "u32", "f64", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_mpsc_ring_peek(uint32_t ring)` */
  kl_mpsc_ring_peek: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_mpsc_ring_peek_copy(uint32_t ring, uint8_t *out, uint32_t capacity)` */
  kl_mpsc_ring_peek_copy: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_mpsc_ring_pop(uint32_t ring, uint8_t *out, uint32_t capacity)` */
  kl_mpsc_ring_pop: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_mpsc_ring_pop_at(uint32_t ring, uint8_t *out, uint32_t offset, uint32_t capacity)` */
  kl_mpsc_ring_pop_at: {
    parameters: ["u32", "buffer", "u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_mpsc_ring_pop_many(uint32_t ring, uint8_t *out, uint32_t capacity)` */
  kl_mpsc_ring_pop_many: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `double kl_mpsc_ring_position(uint32_t ring)` */
  kl_mpsc_ring_position: {
    parameters: ["u32"],
    result: "f64",
  },
  /** `int32_t kl_mpsc_ring_push(uint32_t ring, const uint8_t *data, uint32_t bytes)` */
  kl_mpsc_ring_push: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_mpsc_ring_push_many(uint32_t ring, const uint8_t *records, uint32_t bytes)` */
  kl_mpsc_ring_push_many: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_mpsc_ring_release(uint32_t ring)` */
  kl_mpsc_ring_release: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_mpsc_ring_remove(const uint8_t *name, uint32_t name_bytes)` */
  kl_mpsc_ring_remove: {
    parameters: ["buffer", "u32"],
    result: "i32",
  },
  /** `double kl_mpsc_ring_used_bytes(uint32_t ring)` */
  kl_mpsc_ring_used_bytes: {
    parameters: ["u32"],
    result: "f64",
  },
  /** `int32_t kl_ms_queue_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out)` */
  kl_ms_queue_attach: {
    parameters: ["buffer", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_ms_queue_check(uint32_t queue)` */
  kl_ms_queue_check: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_ms_queue_close(uint32_t queue)` */
  kl_ms_queue_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_ms_queue_create(const uint8_t *name, uint32_t name_bytes, uint32_t capacity, uint32_t element_bytes, uint8_t *out)` */
  kl_ms_queue_create: {
    parameters: ["buffer", "u32", "u32", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_ms_queue_number(uint32_t queue, uint32_t what)` */
  kl_ms_queue_number: {
    parameters: ["u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_ms_queue_pop_bytes(uint32_t queue, uint8_t *out, uint32_t capacity)` */
  kl_ms_queue_pop_bytes: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `double kl_ms_queue_pop_u32(uint32_t queue)` */
  kl_ms_queue_pop_u32: {
    parameters: ["u32"],
    result: "f64",
  },
  /** `int32_t kl_ms_queue_push_bytes(uint32_t queue, const uint8_t *element, uint32_t bytes)` */
  kl_ms_queue_push_bytes: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_ms_queue_push_u32(uint32_t queue, uint32_t value)` */
  kl_ms_queue_push_u32: {
    parameters: ["u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_ms_queue_recover_dead(uint32_t queue)` */
  kl_ms_queue_recover_dead: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_ms_queue_remove(const uint8_t *name, uint32_t name_bytes)` */
  kl_ms_queue_remove: {
    parameters: ["buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_spsc_ring_address(uint32_t ring, uint8_t *out)` */
  kl_spsc_ring_address: {
    parameters: ["u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_spsc_ring_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out)` */
  kl_spsc_ring_attach: {
    parameters: ["buffer", "u32", "buffer"],
    result: "i32",
  },
  /** `double kl_spsc_ring_capacity_bytes(uint32_t ring)` */
  kl_spsc_ring_capacity_bytes: {
    parameters: ["u32"],
    result: "f64",
  },
  /** `int32_t kl_spsc_ring_check(uint32_t ring)` */
  kl_spsc_ring_check: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_spsc_ring_close(uint32_t ring)` */
  kl_spsc_ring_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_spsc_ring_commit(uint32_t ring, const uint8_t *data, uint32_t bytes)` */
  kl_spsc_ring_commit: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_spsc_ring_create(const uint8_t *name, uint32_t name_bytes, double capacity_bytes, uint32_t record_bytes, uint8_t *out)` */
  kl_spsc_ring_create: {
    parameters: ["buffer", "u32", "f64", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_spsc_ring_peek(uint32_t ring)` */
  kl_spsc_ring_peek: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_spsc_ring_peek_copy(uint32_t ring, uint8_t *out, uint32_t capacity)` */
  kl_spsc_ring_peek_copy: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_spsc_ring_pop(uint32_t ring, uint8_t *out, uint32_t capacity)` */
  kl_spsc_ring_pop: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_spsc_ring_pop_at(uint32_t ring, uint8_t *out, uint32_t offset, uint32_t capacity)` */
  kl_spsc_ring_pop_at: {
    parameters: ["u32", "buffer", "u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_spsc_ring_pop_many(uint32_t ring, uint8_t *out, uint32_t capacity)` */
  kl_spsc_ring_pop_many: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `double kl_spsc_ring_pop_u32(uint32_t ring)` */
  kl_spsc_ring_pop_u32: {
    parameters: ["u32"],
    result: "f64",
  },
  /** `int32_t kl_spsc_ring_pop_words(uint32_t ring, uint8_t *words, uint32_t count)` */
  kl_spsc_ring_pop_words: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `double kl_spsc_ring_position(uint32_t ring)` */
  kl_spsc_ring_position: {
    parameters: ["u32"],
    result: "f64",
  },
  /** `int32_t kl_spsc_ring_push(uint32_t ring, const uint8_t *data, uint32_t bytes)` */
  kl_spsc_ring_push: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_spsc_ring_push_many(uint32_t ring, const uint8_t *records, uint32_t bytes)` */
  kl_spsc_ring_push_many: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_spsc_ring_push_u32(uint32_t ring, uint32_t value)` */
  kl_spsc_ring_push_u32: {
    parameters: ["u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_spsc_ring_push_words(uint32_t ring, const uint8_t *words, uint32_t count)` */
  kl_spsc_ring_push_words: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_spsc_ring_remove(const uint8_t *name, uint32_t name_bytes)` */
  kl_spsc_ring_remove: {
    parameters: ["buffer", "u32"],
    result: "i32",
  },
  /** `double kl_spsc_ring_reserve(uint32_t ring, uint32_t bytes)` */
  kl_spsc_ring_reserve: {
    parameters: ["u32", "u32"],
    result: "f64",
  },
  /** `int32_t kl_spsc_ring_skip(uint32_t ring)` */
  kl_spsc_ring_skip: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `double kl_spsc_ring_used_bytes(uint32_t ring)` */
  kl_spsc_ring_used_bytes: {
    parameters: ["u32"],
    result: "f64",
  },
  /** `int32_t kl_stack_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out)` */
  kl_stack_attach: {
    parameters: ["buffer", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_stack_check(uint32_t stack)` */
  kl_stack_check: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_stack_close(uint32_t stack)` */
  kl_stack_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_stack_create(const uint8_t *name, uint32_t name_bytes, uint32_t capacity, uint32_t element_bytes, uint8_t *out)` */
  kl_stack_create: {
    parameters: ["buffer", "u32", "u32", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_stack_number(uint32_t stack, uint32_t what)` */
  kl_stack_number: {
    parameters: ["u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_stack_pop_bytes(uint32_t stack, uint8_t *out, uint32_t capacity)` */
  kl_stack_pop_bytes: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `double kl_stack_pop_u32(uint32_t stack)` */
  kl_stack_pop_u32: {
    parameters: ["u32"],
    result: "f64",
  },
  /** `int32_t kl_stack_push_bytes(uint32_t stack, const uint8_t *element, uint32_t bytes)` */
  kl_stack_push_bytes: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_stack_push_u32(uint32_t stack, uint32_t value)` */
  kl_stack_push_u32: {
    parameters: ["u32", "u32"],
    result: "i32",
  },
  /** `int32_t kl_stack_recover_dead(uint32_t stack)` */
  kl_stack_recover_dead: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_stack_remove(const uint8_t *name, uint32_t name_bytes)` */
  kl_stack_remove: {
    parameters: ["buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_work_deque_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out)` */
  kl_work_deque_attach: {
    parameters: ["buffer", "u32", "buffer"],
    result: "i32",
  },
  /** `int32_t kl_work_deque_capacity(uint32_t deque)` */
  kl_work_deque_capacity: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_work_deque_check(uint32_t deque)` */
  kl_work_deque_check: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_work_deque_close(uint32_t deque)` */
  kl_work_deque_close: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_work_deque_create(const uint8_t *name, uint32_t name_bytes, uint32_t capacity, uint8_t *out)` */
  kl_work_deque_create: {
    parameters: ["buffer", "u32", "u32", "buffer"],
    result: "i32",
  },
  /** `double kl_work_deque_current(uint32_t deque)` */
  kl_work_deque_current: {
    parameters: ["u32"],
    result: "f64",
  },
  /** `int32_t kl_work_deque_done(uint32_t deque)` */
  kl_work_deque_done: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_work_deque_length(uint32_t deque)` */
  kl_work_deque_length: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `int32_t kl_work_deque_own(uint32_t deque)` */
  kl_work_deque_own: {
    parameters: ["u32"],
    result: "i32",
  },
  /** `double kl_work_deque_pop(uint32_t deque)` */
  kl_work_deque_pop: {
    parameters: ["u32"],
    result: "f64",
  },
  /** `int32_t kl_work_deque_push(uint32_t deque, double task)` */
  kl_work_deque_push: {
    parameters: ["u32", "f64"],
    result: "i32",
  },
  /** `int32_t kl_work_deque_push_many(uint32_t deque, const uint8_t *tasks, uint32_t count)` */
  kl_work_deque_push_many: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_work_deque_remove(const uint8_t *name, uint32_t name_bytes)` */
  kl_work_deque_remove: {
    parameters: ["buffer", "u32"],
    result: "i32",
  },
  /** `int32_t kl_work_deque_steal(uint32_t deque, uint8_t *out, uint32_t most)` */
  kl_work_deque_steal: {
    parameters: ["u32", "buffer", "u32"],
    result: "i32",
  },
} as const satisfies Deno.ForeignLibraryInterface;
