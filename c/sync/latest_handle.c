#include "sync/latest_handle.h"

#include <string.h>

#include "base/layout_hash.h"
#include "sync/latest.h"
#include "sync/shared_object.h"

typedef struct {
    kl_shared_object object;
    kl_latest latest;
    uint32_t writer; /* the thread that claimed the role through this handle */
} named_latest;

static int32_t format(void *memory, uint64_t memory_bytes, const void *options) {
    (void)memory_bytes;
    return kl_latest_format(memory, *(const uint32_t *)options);
}

static int32_t grip(kl_shared_object *object, void *memory, uint64_t memory_bytes) {
    return kl_latest_grip(&((named_latest *)object)->latest, memory, memory_bytes);
}

static void leave(kl_shared_object *object) {
    named_latest *named = (named_latest *)object;
    if (named->writer != 0) kl_latest_release(&named->latest, named->writer);
}

static kl_event_count *event(kl_shared_object *object, uint32_t index) {
    return index == 0 ? &((named_latest *)object)->latest.header->changed : NULL;
}

static int32_t prepare(kl_shared_object *object, uint32_t what, uint32_t argument,
                       kl_event_count **waited, uint32_t *key) {
    if (what != KL_LATEST_NEWER) return kl_fail(KL_ERR_ARGUMENT, "a latest value: wait for 1 only");
    *waited = event(object, 0);
    *key = kl_event_count_prepare(*waited);
    return (uint32_t)kl_latest_version(&((named_latest *)object)->latest) != argument ? 1 : 0;
}

static const kl_shared_object_type LATEST = {.handle_kind = KL_HANDLE_LATEST,
                                             .magic = KL_LATEST_MAGIC,
                                             .layout_hash = KL_LAYOUT_HASH,
                                             .object_bytes = sizeof(named_latest),
                                             .noun = "latest value",
                                             .format = format,
                                             .grip = grip,
                                             .leave = leave,
                                             .event = event,
                                             .prepare = prepare};

int32_t kl_latest_create(const uint8_t *name, uint32_t name_bytes, double value_bytes,
                         uint8_t *out) {
    bool whole = value_bytes >= 1 && value_bytes <= KL_LATEST_VALUE_BYTES_MAX;
    uint32_t bytes = whole ? (uint32_t)value_bytes : 0;
    if (!whole || (double)bytes != value_bytes)
        return kl_fail(KL_ERR_ARGUMENT, "a value of %g bytes: 1 to %u", value_bytes,
                       KL_LATEST_VALUE_BYTES_MAX);
    return kl_shared_object_create(&LATEST, name, name_bytes, kl_latest_memory_bytes(bytes), &bytes,
                                   out);
}

int32_t kl_latest_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out) {
    return kl_shared_object_attach(&LATEST, name, name_bytes, out);
}

int32_t kl_latest_close(uint32_t handle) {
    return kl_shared_object_close(&LATEST, handle);
}

int32_t kl_latest_remove(const uint8_t *name, uint32_t name_bytes) {
    return kl_shared_object_remove(&LATEST, name, name_bytes);
}

/* Makes the calling thread the writer, or says why not. */
static int32_t claim(named_latest *named) {
    int32_t self = kl_shared_object_self(&named->object);
    if (self < 0 || named->writer == (uint32_t)self) return self;
    int32_t status = kl_latest_claim(&named->latest, named->object.region, (uint32_t)self);
    if (status == KL_ERR_LOCKED) return kl_fail(status, "another live writer sets it");
    if (status >= 0) named->writer = (uint32_t)self;
    return status;
}

int32_t kl_latest_put(uint32_t handle, const uint8_t *value, uint32_t bytes) {
    named_latest *named = kl_shared_object_enter(&LATEST, handle);
    if (!named) return KL_ERR_HANDLE;
    int32_t status = claim(named);
    if (status >= 0) status = kl_latest_set_sp(&named->latest, value, bytes);
    return kl_shared_object_leave(&named->object, handle,
                                  status == KL_OK ? event(&named->object, 0) : NULL, status);
}

int32_t kl_latest_take(uint32_t handle, uint8_t *out, uint32_t capacity, uint8_t *out_version) {
    if (!out || !out_version) return kl_fail(KL_ERR_ARGUMENT, "no place for the value");
    named_latest *named = kl_shared_object_enter(&LATEST, handle);
    if (!named) return KL_ERR_HANDLE;
    uint64_t version = 0;
    int32_t bytes = kl_latest_get(&named->latest, out, capacity, &version);
    double number = (double)version;
    memcpy(out_version, &number, sizeof number);
    return kl_shared_object_leave(&named->object, handle, NULL, bytes);
}

double kl_latest_number(uint32_t handle) {
    named_latest *named = kl_shared_object_enter(&LATEST, handle);
    if (!named) return KL_ERR_HANDLE;
    uint64_t version = kl_latest_version(&named->latest);
    int32_t status = kl_shared_object_leave(&named->object, handle, NULL, KL_OK);
    return status == KL_OK ? (double)version : status;
}

int32_t kl_latest_value_bytes(uint32_t handle) {
    named_latest *named = kl_shared_object_enter(&LATEST, handle);
    if (!named) return KL_ERR_HANDLE;
    int32_t bytes = (int32_t)named->latest.value_bytes;
    return kl_shared_object_leave(&named->object, handle, NULL, bytes);
}
