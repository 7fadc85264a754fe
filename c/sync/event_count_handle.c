#include "sync/event_count_handle.h"

#include "base/layout_hash.h"
#include "sync/shared_object.h"

typedef struct {
    _Alignas(KL_LINE_BYTES) uint32_t magic;
    uint32_t version;
    uint8_t reserved[KL_LINE_BYTES - 8];
    kl_event_count event;
} event_memory;

static_assert(sizeof(event_memory) == 2 * KL_LINE_BYTES, "one line each");

typedef struct {
    kl_shared_object object;
    event_memory *memory;
} named_event;

static int32_t format(void *memory, uint64_t memory_bytes, const void *options) {
    event_memory *made = memory;
    (void)memory_bytes, (void)options;
    made->magic = KL_EVENT_COUNT_MAGIC;
    made->version = KL_EVENT_COUNT_VERSION;
    return KL_OK;
}

static int32_t grip(kl_shared_object *object, void *memory, uint64_t memory_bytes) {
    event_memory *found = memory;
    if (memory_bytes < sizeof *found || found->magic != KL_EVENT_COUNT_MAGIC)
        return kl_fail(KL_ERR_CORRUPT, "no event count here");
    if (found->version != KL_EVENT_COUNT_VERSION)
        return kl_fail(KL_ERR_VERSION, "event count version %u, this build knows %u",
                       found->version, KL_EVENT_COUNT_VERSION);
    ((named_event *)object)->memory = found;
    return KL_OK;
}

static kl_event_count *event(kl_shared_object *object, uint32_t index) {
    return index == 0 ? &((named_event *)object)->memory->event : NULL;
}

static int32_t prepare(kl_shared_object *object, uint32_t what, uint32_t argument,
                       kl_event_count **waited, uint32_t *key) {
    if (what != KL_EVENT_COUNT_MOVED)
        return kl_fail(KL_ERR_ARGUMENT, "an event count: wait for 1 only");
    *waited = event(object, 0);
    *key = kl_event_count_prepare(*waited);
    return *key != argument ? 1 : 0;
}

static const kl_shared_object_type EVENT_COUNT = {.handle_kind = KL_HANDLE_EVENT_COUNT,
                                                  .magic = KL_EVENT_COUNT_MAGIC,
                                                  .layout_hash = KL_LAYOUT_HASH,
                                                  .object_bytes = sizeof(named_event),
                                                  .noun = "event count",
                                                  .format = format,
                                                  .grip = grip,
                                                  .event = event,
                                                  .prepare = prepare};

int32_t kl_event_count_create(const uint8_t *name, uint32_t name_bytes, uint8_t *out) {
    return kl_shared_object_create(&EVENT_COUNT, name, name_bytes, sizeof(event_memory), NULL, out);
}

int32_t kl_event_count_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out) {
    return kl_shared_object_attach(&EVENT_COUNT, name, name_bytes, out);
}

int32_t kl_event_count_close(uint32_t handle) {
    return kl_shared_object_close(&EVENT_COUNT, handle);
}

int32_t kl_event_count_remove(const uint8_t *name, uint32_t name_bytes) {
    return kl_shared_object_remove(&EVENT_COUNT, name, name_bytes);
}

double kl_event_count_key(uint32_t handle) {
    named_event *named = kl_shared_object_enter(&EVENT_COUNT, handle);
    if (!named) return KL_ERR_HANDLE;
    uint32_t key = kl_event_count_prepare(&named->memory->event);
    int32_t status = kl_shared_object_leave(&named->object, handle, NULL, KL_OK);
    return status == KL_OK ? (double)key : status;
}

int32_t kl_event_count_notify(uint32_t handle) {
    named_event *named = kl_shared_object_enter(&EVENT_COUNT, handle);
    if (!named) return KL_ERR_HANDLE;
    return kl_shared_object_leave(&named->object, handle, &named->memory->event, KL_OK);
}
