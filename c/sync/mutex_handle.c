#include "sync/mutex_handle.h"

#include "base/layout_hash.h"
#include "sync/shared_object.h"

typedef struct {
    _Alignas(KL_LINE_BYTES) uint32_t magic;
    uint32_t version;
    uint8_t reserved[KL_LINE_BYTES - 8];
    kl_mutex mutex;
    kl_event_count freed;
} mutex_memory;

static_assert(sizeof(mutex_memory) == 3 * KL_LINE_BYTES, "one line each");

typedef struct {
    kl_shared_object object;
    mutex_memory *memory;
} named_mutex;

static int32_t format(void *memory, uint64_t memory_bytes, const void *options) {
    mutex_memory *made = memory;
    (void)memory_bytes, (void)options;
    made->magic = KL_MUTEX_MAGIC;
    made->version = KL_MUTEX_VERSION;
    return KL_OK;
}

static int32_t grip(kl_shared_object *object, void *memory, uint64_t memory_bytes) {
    mutex_memory *found = memory;
    if (memory_bytes < sizeof *found || found->magic != KL_MUTEX_MAGIC)
        return kl_fail(KL_ERR_CORRUPT, "no mutex here");
    if (found->version != KL_MUTEX_VERSION)
        return kl_fail(KL_ERR_VERSION, "mutex version %u, this build knows %u", found->version,
                       KL_MUTEX_VERSION);
    ((named_mutex *)object)->memory = found;
    return KL_OK;
}

static void leave(kl_shared_object *object) {
    mutex_memory *memory = ((named_mutex *)object)->memory;
    if (kl_mutex_abandon(&memory->mutex, object->self)) kl_event_count_notify_all(&memory->freed);
}

static kl_event_count *event(kl_shared_object *object, uint32_t index) {
    return index == 0 ? &((named_mutex *)object)->memory->freed : NULL;
}

static int32_t prepare(kl_shared_object *object, uint32_t what, uint32_t argument,
                       kl_event_count **waited, uint32_t *key) {
    mutex_memory *memory = ((named_mutex *)object)->memory;
    (void)argument;
    if (what != KL_MUTEX_FREE) return kl_fail(KL_ERR_ARGUMENT, "a mutex: wait for 1 only");
    *waited = &memory->freed;
    *key = kl_event_count_prepare(&memory->freed);
    /* relaxed: the key before it is an acquire, and who gets the mutex takes it in try_lock. */
    uint32_t owner = atomic_load_explicit(&memory->mutex.owner, memory_order_relaxed);
    return owner == 0 || !kl_region_thread_alive(object->region, owner) ? 1 : 0;
}

static const kl_shared_object_type MUTEX = {.handle_kind = KL_HANDLE_MUTEX,
                                            .magic = KL_MUTEX_MAGIC,
                                            .layout_hash = KL_LAYOUT_HASH,
                                            .object_bytes = sizeof(named_mutex),
                                            .noun = "mutex",
                                            .format = format,
                                            .grip = grip,
                                            .leave = leave,
                                            .event = event,
                                            .prepare = prepare};

int32_t kl_mutex_create(const uint8_t *name, uint32_t name_bytes, uint8_t *out) {
    return kl_shared_object_create(&MUTEX, name, name_bytes, sizeof(mutex_memory), NULL, out);
}

int32_t kl_mutex_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out) {
    return kl_shared_object_attach(&MUTEX, name, name_bytes, out);
}

int32_t kl_mutex_close(uint32_t handle) {
    return kl_shared_object_close(&MUTEX, handle);
}

int32_t kl_mutex_remove(const uint8_t *name, uint32_t name_bytes) {
    return kl_shared_object_remove(&MUTEX, name, name_bytes);
}

/* Enters the handle as its calling thread; NULL with *status said. */
static named_mutex *enter(uint32_t handle, kl_mutex_user *user, int32_t *status) {
    named_mutex *named = kl_shared_object_enter(&MUTEX, handle);
    *status = KL_ERR_HANDLE;
    if (!named) return NULL;
    int32_t self = kl_shared_object_self(&named->object);
    if (__builtin_expect(self > 0, 1)) {
        *user = (kl_mutex_user){.region = named->object.region,
                                .self = (uint32_t)self,
                                .is_thread = true,
                                .stop = &named->object.stopped};
        return named;
    }
    *status = kl_shared_object_leave(&named->object, handle, NULL, self);
    return NULL;
}

/* Said before waiting: nobody may wait for itself. */
static int32_t own_already(kl_mutex *mutex, uint32_t self) {
    /* relaxed: only this thread stores its own id. */
    if (atomic_load_explicit(&mutex->owner, memory_order_relaxed) != self) return KL_OK;
    return kl_fail(KL_ERR_LOCKED, "this thread holds the mutex already");
}

int32_t kl_mutex_take(uint32_t handle, uint32_t asking) {
    kl_mutex_user user;
    int32_t status;
    named_mutex *named = enter(handle, &user, &status);
    if (!named) return status;
    kl_mutex *mutex = &named->memory->mutex;
    status = kl_mutex_try_lock_by(mutex, &user);
    if (status == KL_ERR_AGAIN && own_already(mutex, user.self) != KL_OK) status = KL_ERR_LOCKED;
    if (status == KL_ERR_AGAIN && asking) status = kl_mutex_try_lock_dead_by(mutex, &user);
    return kl_shared_object_leave(&named->object, handle, NULL, status);
}

int32_t kl_mutex_take_within(uint32_t handle, double timeout_ms) {
    kl_mutex_user user;
    int32_t status;
    named_mutex *named = enter(handle, &user, &status);
    if (!named) return status;
    uint64_t timeout_ns = timeout_ms >= 0 && timeout_ms < 9e12
                              ? (uint64_t)(timeout_ms * (double)KL_NS_PER_MS)
                              : KL_FOREVER;
    status = own_already(&named->memory->mutex, user.self);
    if (status == KL_OK) status = kl_mutex_lock_by(&named->memory->mutex, &user, timeout_ns);
    if (status == KL_ERR_STOPPED) status = kl_fail(KL_ERR_CLOSED, "closed while waiting for it");
    return kl_shared_object_leave(&named->object, handle, NULL, status);
}

int32_t kl_mutex_give(uint32_t handle) {
    kl_mutex_user user;
    int32_t status;
    named_mutex *named = enter(handle, &user, &status);
    if (!named) return status;
    status = kl_mutex_unlock_by(&named->memory->mutex, &user);
    if (status != KL_OK) kl_fail(status, "this thread does not hold the mutex");
    return kl_shared_object_leave(&named->object, handle,
                                  status == KL_OK ? &named->memory->freed : NULL, status);
}

int32_t kl_mutex_state(uint32_t handle) {
    kl_mutex_user user;
    int32_t status;
    named_mutex *named = enter(handle, &user, &status);
    if (!named) return status;
    /* relaxed: what it is now may be different at once. */
    uint32_t owner = atomic_load_explicit(&named->memory->mutex.owner, memory_order_relaxed);
    status = owner == 0 ? 0 : owner == user.self ? 1 : 2;
    return kl_shared_object_leave(&named->object, handle, NULL, status);
}
