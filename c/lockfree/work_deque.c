#include "lockfree/work_deque.h"

#include <string.h>

#include "base/layout_hash.h"
#include "sync/shared_object.h"

static_assert(sizeof(kl_work_deque_header) % KL_LINE_BYTES == 0, "slots start on a line");
static_assert(KL_WORK_DEQUE_CAPACITY_MIN >= 2, "the last task is never the one that fills it");

static bool is_capacity(uint64_t capacity) {
    return capacity >= KL_WORK_DEQUE_CAPACITY_MIN && capacity <= KL_WORK_DEQUE_CAPACITY_MAX &&
           (capacity & (capacity - 1)) == 0;
}

uint64_t kl_work_deque_memory_bytes(uint64_t capacity) {
    return is_capacity(capacity) ? KL_WORK_DEQUE_HEADER_BYTES + capacity * sizeof(uint64_t) : 0;
}

int32_t kl_work_deque_format(void *memory, uint64_t capacity) {
    if (!is_capacity(capacity))
        return kl_fail(
            KL_ERR_ARGUMENT, "a deque of %llu tasks: the capacity is a power of two from %u to %u",
            (unsigned long long)capacity, KL_WORK_DEQUE_CAPACITY_MIN, KL_WORK_DEQUE_CAPACITY_MAX);
    kl_work_deque_header *header = memory;
    memset(memory, 0, sizeof *header);
    header->magic = KL_WORK_DEQUE_MAGIC;
    header->version = KL_WORK_DEQUE_VERSION;
    header->capacity = (uint32_t)capacity;
    return KL_OK;
}

static uint64_t position(uint64_t top) {
    return top & ~KL_WORK_DEQUE_OWNER;
}

static int32_t impossible(uint64_t top, uint64_t bottom) {
    return kl_fail(KL_ERR_CORRUPT, "the deque's positions cannot be: top %llu, bottom %llu",
                   (unsigned long long)top, (unsigned long long)bottom);
}

int32_t kl_work_deque_grip(kl_work_deque *deque, void *memory, uint64_t memory_bytes) {
    kl_work_deque_header *header = memory;
    memset(deque, 0, sizeof *deque);
    if (memory_bytes < KL_WORK_DEQUE_HEADER_BYTES)
        return kl_fail(KL_ERR_CORRUPT, "%llu bytes cannot hold a deque",
                       (unsigned long long)memory_bytes);
    if (header->magic != KL_WORK_DEQUE_MAGIC)
        return kl_fail(KL_ERR_CORRUPT, "no deque here: magic 0x%08x", header->magic);
    if (header->version != KL_WORK_DEQUE_VERSION)
        return kl_fail(KL_ERR_VERSION, "deque version %u, this build knows %u", header->version,
                       KL_WORK_DEQUE_VERSION);
    uint64_t capacity = header->capacity; /* read once: memory may change under us */
    if (!is_capacity(capacity) ||
        capacity > (memory_bytes - KL_WORK_DEQUE_HEADER_BYTES) / sizeof(uint64_t))
        return kl_fail(KL_ERR_CORRUPT, "deque of %llu tasks in %llu bytes of memory",
                       (unsigned long long)capacity, (unsigned long long)memory_bytes);
    deque->header = header;
    deque->slots = (_Atomic uint64_t *)(void *)((uint8_t *)memory + KL_WORK_DEQUE_HEADER_BYTES);
    deque->mask = capacity - 1;
    deque->span = 2 * capacity;
    /* relaxed: who owns it is arranged by the caller, or by claim, which reads it again. */
    deque->bottom = atomic_load_explicit(&header->bottom, memory_order_relaxed) & ~1ull;
    deque->top_seen = deque->bottom - deque->span; /* full, until the first push looks */
    deque->state = atomic_load_explicit(&header->state, memory_order_relaxed);
    return KL_OK;
}

/* ---- the owner ---- */

int32_t kl_work_deque_look_for_space_so(kl_work_deque *deque) {
    /* acquire: partner is the release of the thief that moved top; it read the slot before. */
    uint64_t top = atomic_load_explicit(&deque->header->top, memory_order_acquire);
    uint64_t used = deque->bottom - position(top);
    if (used > deque->span) return impossible(top, deque->bottom);
    deque->top_seen = position(top);
    return used < deque->span ? KL_OK : KL_ERR_AGAIN;
}

/* bottom stands on the task at deque->bottom, which thieves may see too, or have. */
int32_t kl_work_deque_pop_last_so(kl_work_deque *deque, uint64_t top, uint64_t *task) {
    uint64_t at = deque->bottom, behind = at + 2;
    int32_t status = KL_ERR_AGAIN;
    if (position(top) == at) {
        /* relaxed, both: the task is in `task` already; the order of changes of one word is enough
         * to decide between us and the thieves. */
        if (atomic_compare_exchange_strong_explicit(&deque->header->top, &top,
                                                    behind | KL_WORK_DEQUE_OWNER,
                                                    memory_order_relaxed, memory_order_relaxed))
            status = KL_OK;
    }
    if (status != KL_OK && position(top) != behind) status = impossible(top, at);
    deque->bottom = behind;
    if (status != KL_ERR_CORRUPT) deque->top_seen = behind;
    /* relaxed: there is nothing below it to be seen. */
    atomic_store_explicit(&deque->header->bottom, behind, memory_order_relaxed);
    if (status == KL_OK) return KL_OK;
    kl_work_deque_note_so(deque, 0); /* after bottom: before, a successor would look at `state` */
    *task = 0;
    return status;
}

/* The slot of the task that state (position | 1) tells of. */
static uint64_t load_noted(const kl_work_deque *deque, uint64_t state) {
    /* relaxed: our own store, or our predecessor's, whom the claim synchronized us with. */
    return atomic_load_explicit(&deque->slots[state >> 1 & deque->mask], memory_order_relaxed);
}

/* The push that follows may write over the slot of the owner's task. */
void kl_work_deque_save_so(kl_work_deque *deque) {
    /* relaxed: read by nobody while the owner lives. */
    atomic_store_explicit(&deque->header->current, load_noted(deque, deque->state),
                          memory_order_relaxed);
    kl_work_deque_note_so(deque, KL_WORK_DEQUE_SAVED);
}

int32_t kl_work_deque_current_so(kl_work_deque *deque, uint64_t *task) {
    if (deque->state == 0) return KL_ERR_AGAIN;
    /* relaxed: our own store, or our predecessor's, whom the claim synchronized us with. */
    uint64_t saved = atomic_load_explicit(&deque->header->current, memory_order_relaxed);
    *task = (deque->state & 1) != 0 ? load_noted(deque, deque->state) : saved;
    return KL_OK;
}

/* ---- taking over ---- */

/* What the owner before us left: it is dead or gone, thieves are at work. Each step leaves
 * something that the next successor would mend in the same way. */
static int32_t recover(kl_work_deque *deque) {
    kl_work_deque_header *header = deque->header;
    /* relaxed, all three: the compare-exchange of owner, and the death itself, came before; a top that
     * moves on meanwhile only leaves less. */
    uint64_t state = atomic_load_explicit(&header->state, memory_order_relaxed);
    uint64_t bottom = atomic_load_explicit(&header->bottom, memory_order_relaxed);
    uint64_t top = atomic_load_explicit(&header->top, memory_order_relaxed);
    if ((bottom & 1) != 0) return impossible(top, bottom);
    bool taking = (state & 1) != 0;
    uint64_t at = state & ~1ull;
    if (taking && bottom != at && bottom != at + 2) return impossible(top, bottom);
    if (!taking && state != 0 && state != KL_WORK_DEQUE_SAVED) return impossible(top, bottom);
    uint64_t behind = taking ? at + 2 : bottom;
    if (behind - position(top) > deque->span) return impossible(top, bottom);
    deque->bottom = behind;
    deque->top_seen = position(top);
    if (behind != bottom) /* release: as in pop_so. */
        atomic_store_explicit(&header->bottom, behind, memory_order_release);
    deque->state = state;
    if (taking && top == (behind | KL_WORK_DEQUE_OWNER))
        kl_work_deque_save_so(deque); /* the last one, and the dead one won it */
    else if (taking)
        kl_work_deque_note_so(deque, 0); /* it is back in the deque, or a thief's */
    return KL_OK;
}

int32_t kl_work_deque_claim(kl_work_deque *deque, kl_region *region, uint32_t self) {
    _Atomic uint32_t *owner_word = &deque->header->owner;
    KL_ASSERT(self != 0);
    if (self == 0) return KL_ERR_BUG; /* not joined */
    /* relaxed: the compare-exchange below reads it again. */
    uint32_t owner = atomic_load_explicit(owner_word, memory_order_relaxed);
    uint32_t before = owner;
    if (owner == self) return KL_OK;
    if (owner != 0 && kl_region_thread_alive(region, owner))
        return kl_fail(KL_ERR_LOCKED, "the deque has a live owner (thread slot %u of its region)",
                       owner & 0xffu);
    /* acquire: partner is the release in kl_work_deque_release; what a dead one did is known since its
     * death is. Exactly one replaces it. */
    if (!atomic_compare_exchange_strong_explicit(owner_word, &owner, self, memory_order_acquire,
                                                 memory_order_relaxed))
        return kl_fail(KL_ERR_LOCKED, "another thread just became the owner of the deque");
    int32_t status = recover(deque);
    if (status != KL_OK) return status;
    return before == 0 ? KL_OK : KL_OWNER_DEAD;
}

void kl_work_deque_release(kl_work_deque *deque, uint32_t self) {
    /* release: partner is the acquire in claim. Compare: only what is ours. */
    atomic_compare_exchange_strong_explicit(&deque->header->owner, &self, 0, memory_order_release,
                                            memory_order_relaxed);
}

/* ---- thieves ---- */

/* A bottom further away from `top` than there is room for: top moved on meanwhile, or it cannot be. */
static int32_t too_far(const kl_work_deque *deque, uint64_t top, uint64_t bottom) {
    /* relaxed: it moved or it did not. */
    uint64_t again = atomic_load_explicit(&deque->header->top, memory_order_relaxed);
    return again == top ? impossible(top, bottom) : KL_WORK_DEQUE_LOST;
}

int32_t kl_work_deque_steal_mc(const kl_work_deque *deque, uint64_t *tasks, uint32_t most) {
    kl_work_deque_header *header = deque->header;
    uint32_t taken = 0, goal = most < KL_WORK_DEQUE_BATCH_MAX ? most : KL_WORK_DEQUE_BATCH_MAX;
    if (most == 0) return kl_fail(KL_ERR_ARGUMENT, "a theft of 0 tasks: at least 1");
    /* relaxed: ordered by the fence. */
    uint64_t top = atomic_load_explicit(&header->top, memory_order_relaxed);
    while (taken < goal) {
        /* seq_cst: partner is the fence in pop_so. The owner may have taken what we counted, so each
         * task is looked at again. */
        atomic_thread_fence(memory_order_seq_cst);
        /* acquire: partner is the release in push_so; the slot is filled. */
        uint64_t bottom = atomic_load_explicit(&header->bottom, memory_order_acquire);
        uint64_t used = bottom - position(top);
        if ((int64_t)used <= 0) return taken > 0 ? (int32_t)taken : KL_ERR_AGAIN;
        if (used > deque->span || (used & 1) != 0)
            return taken > 0 ? (int32_t)taken : too_far(deque, top, bottom);
        if (taken == 0 && goal > (used / 2 + 1) / 2) goal = (uint32_t)((used / 2 + 1) / 2);
        /* relaxed: the compare-exchange tells whether it was still this task. */
        uint64_t task =
            atomic_load_explicit(&deque->slots[top >> 1 & deque->mask], memory_order_relaxed);
        /* release: partner is the acquire in look_for_space_so; the slot was read before. (No model
         * fails without it: the explorer knows no load that gives what is stored after it. ARM does.) */
        if (!atomic_compare_exchange_strong_explicit(&header->top, &top, position(top) + 2,
                                                     memory_order_release, memory_order_relaxed))
            return taken > 0 ? (int32_t)taken : KL_WORK_DEQUE_LOST;
        tasks[taken++] = task;
        top = position(top) + 2;
    }
    return (int32_t)taken;
}

/* ---- any ---- */

uint32_t kl_work_deque_count(const kl_work_deque *deque) {
    /* relaxed, both: a hint while others move them, cut to what can be. */
    uint64_t top = position(atomic_load_explicit(&deque->header->top, memory_order_relaxed));
    uint64_t used = atomic_load_explicit(&deque->header->bottom, memory_order_relaxed) - top;
    if ((int64_t)used <= 0) return 0;
    return (uint32_t)((used < deque->span ? used : deque->span) / 2);
}

int32_t kl_work_deque_verify(const kl_work_deque *deque) {
    /* relaxed, both: nobody is in a call. */
    uint64_t top = atomic_load_explicit(&deque->header->top, memory_order_relaxed);
    uint64_t bottom = atomic_load_explicit(&deque->header->bottom, memory_order_relaxed);
    uint64_t used = bottom - position(top);
    return used <= deque->span && (used & 1) == 0 ? KL_OK : impossible(top, bottom);
}

/* ---- behind a handle ---- */

#define TASK_MAX 9007199254740991.0 /* 2^53 - 1 */

typedef struct {
    kl_shared_object object;
    kl_work_deque deque;
    _Atomic uint32_t claimed; /* the thread that owns the deque through this handle, or 0 */
    bool inherited;           /* `current` is a predecessor's and was not given out yet */
} named_deque;

static int32_t format_named(void *memory, uint64_t memory_bytes, const void *options) {
    (void)memory_bytes;
    return kl_work_deque_format(memory, *(const uint32_t *)options);
}

static int32_t grip_named(kl_shared_object *object, void *memory, uint64_t memory_bytes) {
    return kl_work_deque_grip(&((named_deque *)object)->deque, memory, memory_bytes);
}

static void leave_named(kl_shared_object *object) {
    named_deque *named = (named_deque *)object;
    /* relaxed: the last leave of the handle came after every call. */
    uint32_t self = atomic_load_explicit(&named->claimed, memory_order_relaxed);
    if (self != 0) kl_work_deque_release(&named->deque, self);
}

static kl_event_count *event_of_named(kl_shared_object *object, uint32_t index) {
    return index == 0 ? &((named_deque *)object)->deque.header->work_event : NULL;
}

static int32_t prepare_named(kl_shared_object *object, uint32_t what, uint32_t argument,
                             kl_event_count **event, uint32_t *key) {
    kl_work_deque *deque = &((named_deque *)object)->deque;
    (void)argument;
    if (what != KL_WORK_DEQUE_WORK)
        return kl_fail(KL_ERR_ARGUMENT, "wait for %u of a deque: only 1 (work) is known", what);
    *event = &deque->header->work_event;
    *key = kl_event_count_prepare(*event);
    return kl_work_deque_count(deque) > 0 ? 1 : 0;
}

static const kl_shared_object_type NAMED = {.handle_kind = KL_HANDLE_WORK_DEQUE,
                                            .magic = KL_WORK_DEQUE_MAGIC,
                                            .layout_hash = KL_LAYOUT_HASH,
                                            .object_bytes = sizeof(named_deque),
                                            .noun = "deque",
                                            .format = format_named,
                                            .grip = grip_named,
                                            .leave = leave_named,
                                            .event = event_of_named,
                                            .prepare = prepare_named};

int32_t kl_work_deque_create(const uint8_t *name, uint32_t name_bytes, uint32_t capacity,
                             uint8_t *out) {
    uint64_t memory_bytes = kl_work_deque_memory_bytes(capacity);
    if (memory_bytes == 0) return kl_work_deque_format(NULL, capacity); /* says why */
    return kl_shared_object_create(&NAMED, name, name_bytes, memory_bytes, &capacity, out);
}

int32_t kl_work_deque_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out) {
    return kl_shared_object_attach(&NAMED, name, name_bytes, out);
}

int32_t kl_work_deque_close(uint32_t deque) {
    return kl_shared_object_close(&NAMED, deque);
}

int32_t kl_work_deque_remove(const uint8_t *name, uint32_t name_bytes) {
    return kl_shared_object_remove(&NAMED, name, name_bytes);
}

static int32_t claim_for(named_deque *named, uint32_t self) {
    int32_t status = kl_work_deque_claim(&named->deque, named->object.region, self);
    if (status < 0) return status;
    uint64_t task;
    named->inherited = kl_work_deque_current_so(&named->deque, &task) == KL_OK;
    /* relaxed: compared by the thread that wrote it; others find another id than theirs. */
    atomic_store_explicit(&named->claimed, self, memory_order_relaxed);
    return status;
}

/* Enters the handle and makes sure that the calling thread owns the deque. */
static int32_t enter_as_owner(uint32_t handle, named_deque **out) {
    named_deque *named = kl_shared_object_enter(&NAMED, handle);
    if (!named) return KL_ERR_HANDLE;
    int32_t self = kl_shared_object_self(&named->object);
    int32_t status = self < 0 ? self : KL_OK;
    /* relaxed: as in claim_for. */
    uint32_t claimed = atomic_load_explicit(&named->claimed, memory_order_relaxed);
    if (__builtin_expect(status == KL_OK && claimed != (uint32_t)self, 0))
        status = claim_for(named, (uint32_t)self);
    if (status < 0) return kl_shared_object_leave(&named->object, handle, NULL, status);
    *out = named;
    return status;
}

static bool is_task(double task) {
    return task >= 0 && task <= TASK_MAX && (double)(uint64_t)task == task;
}

static int32_t no_task(double task) {
    return kl_fail(KL_ERR_ARGUMENT, "task %g: a whole number from 0 to 2^53 - 1", task);
}

int32_t kl_work_deque_own(uint32_t deque) {
    named_deque *named = NULL;
    int32_t status = enter_as_owner(deque, &named);
    return status < 0 ? status : kl_shared_object_leave(&named->object, deque, NULL, status);
}

int32_t kl_work_deque_push(uint32_t deque, double task) {
    named_deque *named = NULL;
    if (!is_task(task)) return no_task(task);
    int32_t status = enter_as_owner(deque, &named);
    if (status < 0) return status;
    status = kl_work_deque_push_so(&named->deque, (uint64_t)task);
    return kl_shared_object_leave(
        &named->object, deque, status == KL_OK ? &named->deque.header->work_event : NULL, status);
}

int32_t kl_work_deque_push_many(uint32_t deque, const uint8_t *tasks, uint32_t count) {
    named_deque *named = NULL;
    if (!tasks && count > 0) return kl_fail(KL_ERR_ARGUMENT, "%u tasks at NULL", count);
    int32_t status = enter_as_owner(deque, &named), done = 0;
    if (status < 0) return status;
    for (status = KL_OK; (uint32_t)done < count && done < INT32_MAX; done++) {
        double task;
        memcpy(&task, tasks + 8 * (uint64_t)done, 8);
        status =
            is_task(task) ? kl_work_deque_push_so(&named->deque, (uint64_t)task) : no_task(task);
        if (status != KL_OK) break;
    }
    return kl_shared_object_leave(&named->object, deque,
                                  done > 0 ? &named->deque.header->work_event : NULL,
                                  done > 0 || status == KL_ERR_AGAIN ? done : status);
}

double kl_work_deque_pop(uint32_t deque) {
    named_deque *named = NULL;
    uint64_t task = 0;
    int32_t status = enter_as_owner(deque, &named);
    if (status < 0) return status;
    status = __builtin_expect(named->inherited, 0) ? kl_work_deque_current_so(&named->deque, &task)
                                                   : kl_work_deque_pop_so(&named->deque, &task);
    named->inherited = false;
    status = kl_shared_object_leave(&named->object, deque, NULL, status);
    return status == KL_OK ? (double)(task & (uint64_t)TASK_MAX) : status;
}

double kl_work_deque_current(uint32_t deque) {
    named_deque *named = NULL;
    uint64_t task = 0;
    int32_t status = enter_as_owner(deque, &named);
    if (status < 0) return status;
    status = kl_work_deque_current_so(&named->deque, &task);
    status = kl_shared_object_leave(&named->object, deque, NULL, status);
    return status == KL_OK ? (double)(task & (uint64_t)TASK_MAX) : status;
}

int32_t kl_work_deque_done(uint32_t deque) {
    named_deque *named = NULL;
    int32_t status = enter_as_owner(deque, &named);
    if (status < 0) return status;
    kl_work_deque_done_so(&named->deque);
    named->inherited = false;
    return kl_shared_object_leave(&named->object, deque, NULL, KL_OK);
}

int32_t kl_work_deque_steal(uint32_t deque, uint8_t *out, uint32_t most) {
    uint64_t tasks[KL_WORK_DEQUE_BATCH_MAX];
    if (!out) return kl_fail(KL_ERR_ARGUMENT, "no place for the tasks");
    named_deque *named = kl_shared_object_enter(&NAMED, deque);
    if (!named) return KL_ERR_HANDLE;
    int32_t count = kl_work_deque_steal_mc(&named->deque, tasks, most);
    for (int32_t i = 0; i < count; i++) {
        double task = (double)(tasks[i] & (uint64_t)TASK_MAX);
        memcpy(out + 8 * (uint64_t)i, &task, 8);
    }
    return kl_shared_object_leave(&named->object, deque, NULL, count);
}

int32_t kl_work_deque_length(uint32_t deque) {
    named_deque *named = kl_shared_object_enter(&NAMED, deque);
    if (!named) return KL_ERR_HANDLE;
    return kl_shared_object_leave(&named->object, deque, NULL,
                                  (int32_t)kl_work_deque_count(&named->deque));
}

int32_t kl_work_deque_capacity(uint32_t deque) {
    named_deque *named = kl_shared_object_enter(&NAMED, deque);
    if (!named) return KL_ERR_HANDLE;
    return kl_shared_object_leave(&named->object, deque, NULL, (int32_t)named->deque.mask + 1);
}

int32_t kl_work_deque_check(uint32_t deque) {
    named_deque *named = kl_shared_object_enter(&NAMED, deque);
    if (!named) return KL_ERR_HANDLE;
    return kl_shared_object_leave(&named->object, deque, NULL, kl_work_deque_verify(&named->deque));
}
