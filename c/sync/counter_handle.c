#include "sync/counter_handle.h"

#include <string.h>

#include "base/layout_hash.h"
#include "sync/counter.h"
#include "sync/shared_object.h"

typedef struct {
    kl_shared_object object;
    kl_counter *counter;
} named_counter;

/* Where this thread added last. */
static _Thread_local struct {
    uint32_t handle;
    kl_counter_cell *cell;
} recent __attribute__((tls_model("initial-exec")));

static int32_t format(void *memory, uint64_t memory_bytes, const void *options) {
    (void)memory_bytes, (void)options;
    kl_counter_format(memory);
    return KL_OK;
}

static int32_t grip(kl_shared_object *object, void *memory, uint64_t memory_bytes) {
    ((named_counter *)object)->counter = memory;
    return kl_counter_check(memory, memory_bytes);
}

static const kl_shared_object_type COUNTER = {.handle_kind = KL_HANDLE_COUNTER,
                                              .magic = KL_COUNTER_MAGIC,
                                              .layout_hash = KL_LAYOUT_HASH,
                                              .object_bytes = sizeof(named_counter),
                                              .noun = "counter",
                                              .format = format,
                                              .grip = grip};

int32_t kl_counter_create(const uint8_t *name, uint32_t name_bytes, uint8_t *out) {
    return kl_shared_object_create(&COUNTER, name, name_bytes, sizeof(kl_counter), NULL, out);
}

int32_t kl_counter_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out) {
    return kl_shared_object_attach(&COUNTER, name, name_bytes, out);
}

int32_t kl_counter_close(uint32_t handle) {
    return kl_shared_object_close(&COUNTER, handle);
}

int32_t kl_counter_remove(const uint8_t *name, uint32_t name_bytes) {
    return kl_shared_object_remove(&COUNTER, name, name_bytes);
}

/* The slow half of add: finds the cell of the calling thread. */
static int32_t add_anew(uint32_t handle, uint64_t amount) {
    named_counter *named = kl_shared_object_enter(&COUNTER, handle);
    if (!named) return KL_ERR_HANDLE;
    int32_t self = kl_shared_object_self(&named->object);
    if (self > 0) {
        kl_counter_cell *cell = kl_counter_cell_of(named->counter, (uint32_t)self);
        kl_counter_add_sp(cell, amount);
        recent.handle = handle;
        recent.cell = cell;
    }
    return kl_shared_object_leave(&named->object, handle, NULL, self > 0 ? KL_OK : self);
}

static inline int32_t add(uint32_t handle, uint64_t amount) {
    if (__builtin_expect(recent.handle != handle || recent.cell == NULL, 0) ||
        __builtin_expect(!kl_handle_is_open(handle, KL_HANDLE_COUNTER), 0))
        return add_anew(handle, amount);
    kl_counter_add_sp(recent.cell, amount);
    return KL_OK;
}

int32_t kl_counter_add(uint32_t handle, double amount) {
    int64_t whole = amount > -0x1p53 && amount < 0x1p53 ? (int64_t)amount : 0;
    if (__builtin_expect((double)whole != amount, 0))
        return kl_fail(KL_ERR_ARGUMENT, "%g is not a whole number between -2^53 and 2^53", amount);
    return add(handle, (uint64_t)whole);
}

int32_t kl_counter_add_i32(uint32_t handle, int32_t amount) {
    return add(handle, (uint64_t)(int64_t)amount);
}

int32_t kl_counter_sum(uint32_t handle, uint8_t *out) {
    if (!out) return kl_fail(KL_ERR_ARGUMENT, "no place for the sum");
    named_counter *named = kl_shared_object_enter(&COUNTER, handle);
    if (!named) return KL_ERR_HANDLE;
    uint64_t sum = kl_counter_value(named->counter);
    memcpy(out, &sum, sizeof sum);
    return kl_shared_object_leave(&named->object, handle, NULL, KL_OK);
}
