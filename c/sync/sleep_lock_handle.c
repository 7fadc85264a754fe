#include "sync/sleep_lock_handle.h"

#include <string.h>

#include "base/layout_hash.h"
#include "sync/shared_object.h"
#include "sync/sleep_lock.h"

typedef struct {
    kl_shared_object object;
    kl_sleep_lock lock;
} named_lock;

static int32_t format(void *memory, uint64_t memory_bytes, const void *options) {
    (void)memory_bytes;
    return kl_sleep_lock_format(memory, *(const uint32_t *)options);
}

static int32_t grip(kl_shared_object *object, void *memory, uint64_t memory_bytes) {
    return kl_sleep_lock_grip(&((named_lock *)object)->lock, memory, memory_bytes, object->region);
}

static void leave(kl_shared_object *object) {
    if (object->self != 0) kl_sleep_lock_abandon(&((named_lock *)object)->lock, object->self);
}

static kl_event_count *event(kl_shared_object *object, uint32_t index) {
    return index < KL_SLEEP_LOCK_EVENTS ? kl_sleep_lock_event(&((named_lock *)object)->lock, index)
                                        : NULL;
}

/* The ticket whose low 32 bits are known: one from head on. */
static uint64_t whole_ticket(kl_sleep_lock *lock, uint32_t low) {
    /* relaxed: tickets that are asked for have not been passed by 2^31 others. */
    uint64_t head = atomic_load_explicit(&lock->header->head, memory_order_relaxed);
    return head + (uint64_t)(int64_t)(int32_t)(low - (uint32_t)head);
}

static int32_t prepare(kl_shared_object *object, uint32_t what, uint32_t argument,
                       kl_event_count **waited, uint32_t *key) {
    kl_sleep_lock *lock = &((named_lock *)object)->lock;
    if (what != KL_SLEEP_LOCK_TURN) return kl_fail(KL_ERR_ARGUMENT, "a lock: wait for 1 only");
    *waited = kl_sleep_lock_event(lock, argument);
    *key = kl_event_count_prepare(*waited);
    int32_t self = kl_shared_object_self(object);
    if (self < 0) return self;
    int32_t status = kl_sleep_lock_look(lock, (uint32_t)self, whole_ticket(lock, argument));
    return status == KL_ERR_AGAIN ? 0 : 1;
}

static const kl_shared_object_type SLEEP_LOCK = {.handle_kind = KL_HANDLE_SLEEP_LOCK,
                                                 .magic = KL_SLEEP_LOCK_MAGIC,
                                                 .layout_hash = KL_LAYOUT_HASH,
                                                 .object_bytes = sizeof(named_lock),
                                                 .noun = "sleep lock",
                                                 .format = format,
                                                 .grip = grip,
                                                 .leave = leave,
                                                 .event = event,
                                                 .prepare = prepare};

int32_t kl_sleep_lock_create(const uint8_t *name, uint32_t name_bytes, uint32_t places,
                             uint8_t *out) {
    uint64_t bytes = kl_sleep_lock_memory_bytes(places);
    if (bytes == 0)
        return kl_fail(KL_ERR_ARGUMENT, "%u places: a power of two from %u to %u", places,
                       KL_SLEEP_LOCK_PLACES_MIN, KL_SLEEP_LOCK_PLACES_MAX);
    return kl_shared_object_create(&SLEEP_LOCK, name, name_bytes, bytes, &places, out);
}

int32_t kl_sleep_lock_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out) {
    return kl_shared_object_attach(&SLEEP_LOCK, name, name_bytes, out);
}

int32_t kl_sleep_lock_close(uint32_t handle) {
    return kl_shared_object_close(&SLEEP_LOCK, handle);
}

int32_t kl_sleep_lock_remove(const uint8_t *name, uint32_t name_bytes) {
    return kl_shared_object_remove(&SLEEP_LOCK, name, name_bytes);
}

/* Enters the handle as its calling thread; NULL with *self the error. */
static named_lock *enter(uint32_t handle, int32_t *self) {
    named_lock *named = kl_shared_object_enter(&SLEEP_LOCK, handle);
    *self = KL_ERR_HANDLE;
    if (!named) return NULL;
    *self = kl_shared_object_self(&named->object);
    if (__builtin_expect(*self > 0, 1)) return named;
    *self = kl_shared_object_leave(&named->object, handle, NULL, *self);
    return NULL;
}

static void put(uint8_t *out, uint64_t ticket) {
    double number = (double)ticket;
    memcpy(out, &number, sizeof number);
}

/* A ticket from outside; one that cannot be is answered as one that is over. */
static uint64_t ticket_of(double number) {
    return number >= 0 && number < 0x1p53 ? (uint64_t)number : UINT64_MAX;
}

int32_t kl_sleep_lock_take(uint32_t handle, uint32_t waiting, uint8_t *out) {
    int32_t self;
    if (!out) return kl_fail(KL_ERR_ARGUMENT, "no place for the ticket");
    named_lock *named = enter(handle, &self);
    if (!named) return self;
    uint64_t ticket = 0;
    int32_t status = waiting ? kl_sleep_lock_enter(&named->lock, (uint32_t)self, &ticket)
                             : kl_sleep_lock_try_lock(&named->lock, (uint32_t)self, &ticket);
    put(out, ticket);
    return kl_shared_object_leave(&named->object, handle, NULL, status);
}

int32_t kl_sleep_lock_take_within(uint32_t handle, double timeout_ms, uint8_t *out) {
    int32_t self;
    if (!out) return kl_fail(KL_ERR_ARGUMENT, "no place for the ticket");
    named_lock *named = enter(handle, &self);
    if (!named) return self;
    uint64_t timeout_ns = timeout_ms >= 0 && timeout_ms < 9e12
                              ? (uint64_t)(timeout_ms * (double)KL_NS_PER_MS)
                              : KL_FOREVER;
    uint64_t ticket = 0;
    int32_t status = kl_sleep_lock_lock(&named->lock, (uint32_t)self, &ticket, timeout_ns,
                                        &named->object.stopped);
    if (status == KL_ERR_STOPPED) status = kl_fail(KL_ERR_CLOSED, "closed while waiting for it");
    put(out, ticket);
    return kl_shared_object_leave(&named->object, handle, NULL, status);
}

int32_t kl_sleep_lock_ask(uint32_t handle, double ticket) {
    int32_t self;
    named_lock *named = enter(handle, &self);
    if (!named) return self;
    int32_t status = kl_sleep_lock_look(&named->lock, (uint32_t)self, ticket_of(ticket));
    return kl_shared_object_leave(&named->object, handle, NULL, status);
}

int32_t kl_sleep_lock_give(uint32_t handle, double ticket) {
    int32_t self;
    named_lock *named = enter(handle, &self);
    if (!named) return self;
    int32_t status = kl_sleep_lock_leave(&named->lock, (uint32_t)self, ticket_of(ticket));
    if (status == KL_ERR_FENCED) kl_fail(status, "this ticket does not have the lock any more");
    return kl_shared_object_leave(&named->object, handle, NULL, status);
}

int32_t kl_sleep_lock_waiting(uint32_t handle) {
    int32_t self;
    named_lock *named = enter(handle, &self);
    if (!named) return self;
    int32_t count = (int32_t)kl_sleep_lock_count(&named->lock);
    return kl_shared_object_leave(&named->object, handle, NULL, count);
}
