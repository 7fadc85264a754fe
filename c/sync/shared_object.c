#include "sync/shared_object.h"

#include <stdlib.h>
#include <string.h>

#include "sync/thread_end.h"

#define PATH_BYTES   256
#define KINDS_MAX    64u
#define LOOKS_A_TIME 16u /* of a spinning waiter, between two looks at the clock */

_Thread_local uint8_t kl_shared_object_marker __attribute__((tls_model("initial-exec")));

/* Which kinds of handles are shared objects: a number from outside may name any kind. */
static _Atomic uint64_t known_kinds;
/* Threads of this process that spin in a wait. */
static _Atomic uint32_t spinners;

int32_t kl_shared_object_no_handle(const char *noun) {
    return kl_fail(KL_ERR_HANDLE, "the %s is closed, or this is not a %s", noun, noun);
}

/* ---- opening and closing ---- */

static void destroy(void *pointer) {
    kl_shared_object *object = pointer;
    const kl_shared_object_type *type = object->type;
    if (object->gripped) {
        kl_event_count *event;
        for (uint32_t i = 0; type->event && (event = type->event(object, i)) != NULL; i++)
            kl_event_count_retire(event);
        if (type->leave) type->leave(object);
    }
    kl_region_close(object->region);
    free(object);
}

static kl_shared_object *new_object(const kl_shared_object_type *type) {
    size_t bytes = ((size_t)type->object_bytes + KL_SHARED_OBJECT_ALIGNMENT - 1) /
                   KL_SHARED_OBJECT_ALIGNMENT * KL_SHARED_OBJECT_ALIGNMENT;
    kl_shared_object *object = aligned_alloc(KL_SHARED_OBJECT_ALIGNMENT, bytes);
    if (!object) {
        kl_fail(KL_ERR_MEMORY, "no memory for the private half of a %s", type->noun);
        return NULL;
    }
    memset(object, 0, bytes);
    object->type = type;
    return object;
}

/* Gives the structure in object->region a handle. Takes over `object` in any case. */
static int32_t open_handle(kl_shared_object *object, uint8_t *out) {
    const kl_shared_object_type *type = object->type;
    int32_t status = kl_region_join(object->region, 0);
    if (status >= 0)
        status = type->grip(object, kl_region_data(object->region),
                            kl_region_data_bytes(object->region));
    uint32_t handle = 0;
    if (status >= 0) {
        object->gripped = true;
        /* relaxed: only whether a kind was ever opened counts, and this handle is not out yet. */
        atomic_fetch_or_explicit(&known_kinds, 1ull << type->handle_kind, memory_order_relaxed);
        handle = kl_handle_open(type->handle_kind, object, destroy);
        if (handle == 0)
            status = kl_fail(KL_ERR_LIMIT, "all %u handles are open", KL_HANDLE_COUNT_MAX);
    }
    if (status < 0) {
        destroy(object);
        return status;
    }
    status = kl_thread_end_close(handle, type->handle_kind);
    if (status < 0) {
        kl_handle_close(handle, type->handle_kind);
        return status;
    }
    memcpy(out, &handle, sizeof handle);
    return KL_OK;
}

static int32_t path_of(const uint8_t *name, uint32_t name_bytes, char *path) {
    char text[KL_REGION_NAME_MAX + 1];
    if (!name || name_bytes == 0 || name_bytes > KL_REGION_NAME_MAX || memchr(name, 0, name_bytes))
        return kl_fail(KL_ERR_NAME, "a name of %u bytes: 1 to %u letters, digits, '_', '.', '-'",
                       name_bytes, KL_REGION_NAME_MAX);
    memcpy(text, name, name_bytes);
    text[name_bytes] = 0;
    return kl_region_name_path(text, path, PATH_BYTES);
}

static kl_region_spec spec_of(const kl_shared_object_type *type) {
    return (kl_region_spec){.kind = type->magic, .layout_hash = type->layout_hash};
}

int32_t kl_shared_object_create(const kl_shared_object_type *type, const uint8_t *name,
                                uint32_t name_bytes, uint64_t memory_bytes, const void *options,
                                uint8_t *out) {
    KL_ASSERT(type->handle_kind < KINDS_MAX);
    char path[PATH_BYTES];
    if (!out) return kl_fail(KL_ERR_ARGUMENT, "no place for the handle");
    if (memory_bytes == 0) return kl_fail(KL_ERR_ARGUMENT, "a %s of no bytes", type->noun);
    int32_t status = path_of(name, name_bytes, path);
    if (status != KL_OK) return status;
    kl_shared_object *object = new_object(type);
    if (!object) return KL_ERR_MEMORY;
    kl_region_spec spec = spec_of(type);
    status = kl_region_create(&object->region, path, memory_bytes, &spec);
    if (status == KL_OK)
        status = type->format(kl_region_data(object->region), memory_bytes, options);
    if (status == KL_OK) status = kl_region_publish(object->region);
    if (status == KL_OK) return open_handle(object, out);
    destroy(object);
    return status;
}

int32_t kl_shared_object_attach(const kl_shared_object_type *type, const uint8_t *name,
                                uint32_t name_bytes, uint8_t *out) {
    char path[PATH_BYTES];
    if (!out) return kl_fail(KL_ERR_ARGUMENT, "no place for the handle");
    int32_t status = path_of(name, name_bytes, path);
    if (status != KL_OK) return status;
    kl_shared_object *object = new_object(type);
    if (!object) return KL_ERR_MEMORY;
    kl_region_spec spec = spec_of(type);
    status = kl_region_attach(&object->region, path, &spec);
    if (status == KL_OK) return open_handle(object, out);
    destroy(object);
    return status;
}

/* Ends the waits on this handle: those of event loops are told so before the notify could tell them to
 * look again, then the blocking ones. */
static void stop_waits(kl_shared_object *object) {
    /* seq_cst: partner is the load in kl_event_count_wait; set before its event is notified. */
    atomic_store_explicit(&object->stopped, 1, memory_order_seq_cst);
    kl_event_count *event;
    for (uint32_t i = 0; object->type->event && (event = object->type->event(object, i)) != NULL;
         i++) {
        kl_event_count_retire(event);
        kl_event_count_notify_all(event);
    }
}

int32_t kl_shared_object_close(const kl_shared_object_type *type, uint32_t handle) {
    kl_shared_object *object = kl_shared_object_enter(type, handle);
    if (!object) return KL_ERR_HANDLE;
    stop_waits(object);
    kl_handle_leave(handle);
    kl_thread_end_forget(handle);
    return kl_handle_close(handle, type->handle_kind);
}

int32_t kl_shared_object_remove(const kl_shared_object_type *type, const uint8_t *name,
                                uint32_t name_bytes) {
    char path[PATH_BYTES];
    int32_t status = path_of(name, name_bytes, path);
    (void)type; /* the name of any region: as everywhere, who may write it may remove it */
    return status == KL_OK ? kl_region_unlink(path) : status;
}

int32_t kl_shared_object_join_thread(kl_shared_object *object) {
    int32_t self = kl_region_thread_join(object->region);
    if (self < 0 || object->marker != NULL) return self; /* another thread than the first */
    object->self = (uint32_t)self;
    object->marker = &kl_shared_object_marker;
    return self;
}

/* ---- waiting ---- */

int32_t kl_shared_object_prepare(uint32_t handle, uint32_t kind, uint32_t what, uint32_t argument,
                                 kl_event_count **event, uint32_t *key) {
    /* relaxed: whoever has a handle of this kind got it after the bit was set. */
    uint64_t known = atomic_load_explicit(&known_kinds, memory_order_relaxed);
    if (kind >= KINDS_MAX || (known >> kind & 1) == 0) return kl_shared_object_no_handle("object");
    kl_shared_object *object = kl_handle_enter(handle, kind);
    if (!object) return kl_shared_object_no_handle("object");
    int32_t status =
        object->type->prepare
            ? object->type->prepare(object, what, argument, event, key)
            : kl_fail(KL_ERR_ARGUMENT, "nothing to wait for at a %s", object->type->noun);
    if (__builtin_expect(kl_region_poisoned(object->region), 0))
        status = kl_region_check(object->region);
    if (status != 0) kl_handle_leave(handle);
    return status;
}

/* Whether the event moved, or the handle was closed, before the spin was over. */
static bool moves_soon(kl_shared_object *object, kl_event_count *event, uint32_t key) {
    /* relaxed: a hint, wrong for a moment at most. */
    uint32_t others = atomic_fetch_add_explicit(&spinners, 1, memory_order_relaxed);
    bool moved = false;
    uint32_t processors = kl_cpu_pinned() ? 2 : kl_cpu_count(); /* a pin hides the others */
    if (kl_cpu_others_run() && others + 1 < processors) {
        uint64_t end_ns = kl_clock_monotonic_ns() + KL_SHARED_OBJECT_SPIN_NS;
        do {
            for (uint32_t look = 0; look < LOOKS_A_TIME && !moved; look++) {
                kl_cpu_pause();
                moved = kl_event_count_prepare(event) != key;
            }
            /* relaxed: the wait that follows looks again. */
            moved |= atomic_load_explicit(&object->stopped, memory_order_relaxed) != 0;
        } while (!moved && kl_clock_monotonic_ns() < end_ns);
    }
    /* relaxed: as above. */
    atomic_fetch_sub_explicit(&spinners, 1, memory_order_relaxed);
    return moved;
}

/* Called with the handle entered; it stays so. */
static int32_t wait_once(kl_shared_object *object, kl_event_count *event, uint32_t key,
                         uint64_t deadline_ns) {
    if (moves_soon(object, event, key)) {
        /* seq_cst: partner is the store in stop_waits. */
        bool stopped = atomic_load_explicit(&object->stopped, memory_order_seq_cst) != 0;
        return stopped ? KL_ERR_CLOSED : KL_OK;
    }
    uint64_t now_ns = deadline_ns == KL_FOREVER ? 0 : kl_clock_monotonic_ns();
    if (deadline_ns != KL_FOREVER && now_ns >= deadline_ns) return KL_ERR_TIMEOUT;
    uint64_t left_ns = deadline_ns == KL_FOREVER ? KL_FOREVER : deadline_ns - now_ns;
    int32_t status = kl_event_count_wait(event, key, left_ns, &object->stopped);
    return status == KL_ERR_STOPPED ? KL_ERR_CLOSED : status;
}

int32_t kl_shared_object_wait(uint32_t handle, uint32_t kind, uint32_t what, uint32_t argument,
                              double timeout_ms) {
    uint64_t deadline_ns = timeout_ms >= 0 && timeout_ms < 9e12
                               ? kl_clock_deadline_ns((uint64_t)(timeout_ms * (double)KL_NS_PER_MS))
                               : KL_FOREVER;
    for (;;) { /* bounded by the deadline; every turn looks at the condition anew */
        kl_event_count *event = NULL;
        uint32_t key = 0;
        int32_t status = kl_shared_object_prepare(handle, kind, what, argument, &event, &key);
        if (status != 0) return status;
        kl_shared_object *object = kl_handle_enter(handle, kind);
        kl_handle_leave(handle); /* of prepare */
        if (!object) return KL_ERR_CLOSED;
        status = timeout_ms == 0 ? KL_ERR_TIMEOUT : wait_once(object, event, key, deadline_ns);
        kl_handle_leave(handle);
        if (status != KL_OK) return status;
    }
}
