/* shared_object: one structure in a named region of its own, behind a handle.
 *
 * What every structure that processes share by name needs besides itself: a region made, formatted
 * and published, or attached; a handle that is closed when the thread that opened it ends; a thread
 * id in the region; waiting, blocking or on an event loop. The unit gives a kl_shared_object_type
 * and begins its private half (one per handle) with a kl_shared_object.
 *
 *   type, region   by the opener, before the handle exists; read-only after
 *   stopped        0, then 1: by whoever closes the handle; ends blocking waits
 *   self, marker   by the thread that opened it: its id in the region, joined at the first use
 *
 * Always: the region is joined as long as the object lives; `leave` runs once, before the region
 * goes, and after it every event of the object was retired (nobody sleeps on it on our behalf).
 * Death: of the process or thread is seen through the region's participants; nothing here repairs.
 * Progress: enter and leave are wait-free; create, attach, and the last close do system calls.
 *
 * May these run at the same time, on one handle?  any with any; self and what is stamped with it
 * belong to the thread that opened the handle (another thread is answered with an id of its own).
 */
#ifndef KL_SYNC_SHARED_OBJECT_H
#define KL_SYNC_SHARED_OBJECT_H

#include "base/handle.h"
#include "mem/region.h"
#include "sync/event_count.h"

#define KL_SHARED_OBJECT_ALIGNMENT 128u
/* The longest a blocking wait spins before it sleeps, and only while fewer threads of this process
 * spin than there are processors but one. */
#define KL_SHARED_OBJECT_SPIN_NS (20 * KL_NS_PER_US)

typedef struct kl_shared_object kl_shared_object;

typedef struct {
    uint32_t handle_kind;  /* KL_HANDLE_* */
    uint32_t magic;        /* the kind of the region */
    uint32_t layout_hash;  /* KL_LAYOUT_HASH */
    uint32_t object_bytes; /* of the private half, which begins zeroed */
    const char *noun;      /* "ring": for messages */
    /* Makes the structure in zeroed memory that nobody else sees yet. */
    int32_t (*format)(void *memory, uint64_t memory_bytes, const void *options);
    /* Grips a formatted one, checking all it says. The region is joined. */
    int32_t (*grip)(kl_shared_object *object, void *memory, uint64_t memory_bytes);
    /* Gives up roles and claims. NULL: there are none. Not called when grip failed. */
    void (*leave)(kl_shared_object *object);
    /* Its events, by index; NULL behind the last. NULL: it has none. */
    kl_event_count *(*event)(kl_shared_object *object, uint32_t index);
    /* For waits: 1 `what` can be done now; 0 not before *event left *key; or KL_ERR_*. `what` and
     * `argument` mean what the unit says. NULL: nothing to wait for. */
    int32_t (*prepare)(kl_shared_object *object, uint32_t what, uint32_t argument,
                       kl_event_count **event, uint32_t *key);
} kl_shared_object_type;

struct kl_shared_object {
    const kl_shared_object_type *type;
    kl_region *region;
    const void *marker; /* of the thread that `self` is the id of */
    uint32_t self;
    _Atomic uint32_t stopped;
    bool gripped;
};

/* Makes the structure under `name`; `out` gets the u32 handle. memory_bytes 0 is refused: the unit
 * checks its options first. KL_ERR_EXISTS, KL_ERR_NAME, KL_ERR_NO_SPACE, KL_ERR_LIMIT (handles). */
int32_t kl_shared_object_create(const kl_shared_object_type *type, const uint8_t *name,
                                uint32_t name_bytes, uint64_t memory_bytes, const void *options,
                                uint8_t *out);
/* KL_ERR_NOT_FOUND, KL_ERR_FOREIGN (the name is of something else), KL_ERR_CORRUPT. */
int32_t kl_shared_object_attach(const kl_shared_object_type *type, const uint8_t *name,
                                uint32_t name_bytes, uint8_t *out);
/* Ends blocking waits on it, then closes. KL_ERR_HANDLE the second time. */
int32_t kl_shared_object_close(const kl_shared_object_type *type, uint32_t handle);
/* Takes the name away; who is attached keeps the structure. */
int32_t kl_shared_object_remove(const kl_shared_object_type *type, const uint8_t *name,
                                uint32_t name_bytes);

int32_t kl_shared_object_no_handle(const char *noun); /* says that a handle is none of these */

/* The object (cast it to the private half), or NULL with KL_ERR_HANDLE said. */
static inline void *kl_shared_object_enter(const kl_shared_object_type *type, uint32_t handle) {
    void *object = kl_handle_enter(handle, type->handle_kind);
    if (__builtin_expect(object == NULL, 0)) kl_shared_object_no_handle(type->noun);
    return object;
}

/* After a call that answered `status`: notifies `changed` (NULL: nothing changed), leaves the
 * handle. The poison is asked last: zeros read from a page that a peer cut away come with it. */
static inline int32_t kl_shared_object_leave(kl_shared_object *object, uint32_t handle,
                                             kl_event_count *changed, int32_t status) {
    if (__builtin_expect(kl_region_poisoned(object->region), 0))
        status = kl_region_check(object->region);
    else if (changed)
        kl_event_count_notify_all(changed);
    kl_handle_leave(handle);
    return status;
}

int32_t kl_shared_object_join_thread(kl_shared_object *object); /* the slow half of self */
/* Its address means the thread. One byte of the static block: no call to find it. */
extern _Thread_local uint8_t kl_shared_object_marker __attribute__((tls_model("initial-exec")));

/* The calling thread's id in the region (positive; kl_region_thread_alive), or KL_ERR_*. For what
 * is held between calls; what lives within one call is stamped with kl_region_self instead. */
static inline int32_t kl_shared_object_self(kl_shared_object *object) {
    if (__builtin_expect(object->marker == &kl_shared_object_marker, 1))
        return (int32_t)object->self;
    return kl_shared_object_join_thread(object);
}

/* For exec/completion: type->prepare of a live handle. 0: the handle stays entered. */
int32_t kl_shared_object_prepare(uint32_t handle, uint32_t kind, uint32_t what, uint32_t argument,
                                 kl_event_count **event, uint32_t *key);

/* Blocks until `what` can be done: 1 (somebody else may be faster), KL_ERR_TIMEOUT, KL_ERR_CLOSED
 * (the handle was closed meanwhile), or KL_ERR_*. timeout_ms < 0: no limit. Spins, then sleeps. */
KL_API int32_t kl_shared_object_wait(uint32_t handle, uint32_t kind, uint32_t what,
                                     uint32_t argument, double timeout_ms);

#endif
