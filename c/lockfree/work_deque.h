/* work_deque: the tasks of one worker. Its owner pushes and pops at one end, last in first out;
 * any number of thieves take from the other end, first in first out. Between threads or processes.
 *
 *   line 0  bottom       position behind the youngest task; written by the owner only
 *           current      the task the owner took last, if pushes came after it
 *           state        where that task is (below); both written by the owner only
 *   line 1  geometry     magic, version, capacity; written once by format
 *   line 2  top          position of the oldest task | who took the one before it; by compare-
 *                        exchange, by thieves and, for the last task, by the owner
 *   line 3  owner        thread id in the region, 0 = free; by compare-exchange
 *   line 4  work_event   notified by who wants to wake thieves; never by push itself
 *   line 5- slots        capacity x u64, a power of two; written by the owner only
 *
 * Chase and Lev, "Dynamic circular work-stealing deque" (SPAA 2005), with the fences of Le, Pop,
 * Cohen and Zappa Nardelli, "Correct and efficient work-stealing for weak memory models" (PPoPP
 * 2013), on a slot array that never grows: a full deque says so, and nothing is ever to be freed.
 *
 * Positions are 64-bit and even: task i since the deque was made stands at position 2 i, in
 * slots[i % capacity]. They are compared by their signed difference, so they may wrap. Bit 0 of top
 * is set when the owner, not a thief, took the task before it: that is what its successor asks.
 *
 * Always: 0 <= bottom - top <= 2 capacity, but for -2 while the owner looks whether a thief was
 * faster. A task is taken exactly once: the owner takes without a compare-exchange only what no
 * thief can still see, and the last task goes to whoever moves top.
 *
 * Death of the owner. Before it lowers bottom it writes `state` = position | 1 of the task, which stays
 * in its slot; before a push would write over that slot, the task goes to `current` and `state` =
 * KL_WORK_DEQUE_SAVED. The next pop, or kl_work_deque_done_so, says that it is finished (0, or
 * another position). kl_work_deque_claim gives the deque to exactly one successor, who finds what the
 * dead one had not finished once more (at least once): back in the deque as the youngest, or, where
 * others came after it, as `current`; unless top tells that a thief has it. The others are where
 * they were. A successor that dies in the middle leaves all this to the next one.
 * Death of a thief: before the compare-exchange nothing happened; afterwards the tasks it took, at
 * most KL_WORK_DEQUE_BATCH_MAX of the call, are its own and gone with it (at most once).
 * Scribbled memory: KL_ERR_CORRUPT or wrong tasks, never an access outside of the slots.
 *
 * Progress: the owner is wait-free: push has no locked instruction, pop one fence, and one
 * compare-exchange for the last task. steal is lock-free: who loses a race lost it to somebody who
 * won. A thief that polls an empty deque writes nothing.
 *
 * May these run at the same time?   push/pop  steal  claim  verify  format
 *                         push/pop  no        yes    yes    no      no
 *                         steal     yes       yes    yes    no      no
 *                         claim     yes       yes    yes    yes     no
 *                         verify    no        no     yes    yes     no
 * Suffix: _so the single owner, _mc any number of threads.
 */
#ifndef KL_LOCKFREE_WORK_DEQUE_H
#define KL_LOCKFREE_WORK_DEQUE_H

#include "base/fence.h"
#include "mem/region.h"
#include "sync/event_count.h"

#define KL_WORK_DEQUE_MAGIC        0x44574c4bu /* "KLWD" */
#define KL_WORK_DEQUE_VERSION      1u
#define KL_WORK_DEQUE_HEADER_BYTES (5 * KL_LINE_BYTES)
#define KL_WORK_DEQUE_CAPACITY_MIN 2u
#define KL_WORK_DEQUE_CAPACITY_MAX (1u << 28)
#define KL_WORK_DEQUE_BATCH_MAX    32u

#define KL_WORK_DEQUE_SAVED 2ull /* state: the owner's task is in `current` */
#define KL_WORK_DEQUE_LOST  0    /* steal: somebody else was faster; there may be more */
#define KL_WORK_DEQUE_OWNER 1ull /* bit of top */

/* layout: kl_work_deque_header bottom current state magic version capacity top owner work_event */
typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t bottom;
    _Atomic uint64_t current;
    _Atomic uint64_t state;
    _Alignas(KL_LINE_BYTES) uint32_t magic;
    uint32_t version;
    uint32_t capacity;
    uint32_t reserved;
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t top;
    _Alignas(KL_LINE_BYTES) _Atomic uint32_t owner;
    kl_event_count work_event;
} kl_work_deque_header;

static_assert(sizeof(kl_work_deque_header) == KL_WORK_DEQUE_HEADER_BYTES, "one line per writer");
static_assert(offsetof(kl_work_deque_header, magic) == 1 * KL_LINE_BYTES, "nobody writes line 1");
static_assert(offsetof(kl_work_deque_header, top) == 2 * KL_LINE_BYTES, "thieves own line 2");
static_assert(offsetof(kl_work_deque_header, owner) == 3 * KL_LINE_BYTES, "the role has line 3");

/* One process's grip on a deque. The first line is read by all of its threads, the second is the
 * owner's own. Not shared between processes. */
typedef struct {
    kl_work_deque_header *header;
    _Atomic uint64_t *slots;
    uint64_t mask;
    uint64_t span;                               /* 2 capacity */
    _Alignas(2 * KL_LINE_BYTES) uint64_t bottom; /* owner: what it published */
    uint64_t top_seen;                           /* owner: a top it read, without the bit */
    uint64_t state;                              /* owner: what it wrote */
} kl_work_deque;

/* Bytes of memory for a deque of `capacity` tasks; 0 when that is not a power of two in range. */
uint64_t kl_work_deque_memory_bytes(uint64_t capacity);

/* Makes an empty deque in line-aligned memory of kl_work_deque_memory_bytes(). */
int32_t kl_work_deque_format(void *memory, uint64_t capacity);

/* Grips a formatted deque; `memory_bytes` is all there is. KL_ERR_CORRUPT, KL_ERR_VERSION. In
 * memory of one process the caller says who owns it, and the owner may push at once; where
 * processes share it, the owner claims first. */
int32_t kl_work_deque_grip(kl_work_deque *deque, void *memory, uint64_t memory_bytes);

/* Makes the calling thread the owner; `self` is its kl_region_thread_join(region). KL_OK (it was
 * free, or is ours), KL_OWNER_DEAD (from a dead thread), KL_ERR_LOCKED (a live other one),
 * KL_ERR_CORRUPT. Ask kl_work_deque_current_so next: the one before may have left a task. */
int32_t kl_work_deque_claim(kl_work_deque *deque, kl_region *region, uint32_t self);
void kl_work_deque_release(kl_work_deque *deque, uint32_t self);

/* The slow parts of push and pop. */
int32_t kl_work_deque_look_for_space_so(kl_work_deque *deque);
int32_t kl_work_deque_pop_last_so(kl_work_deque *deque, uint64_t top, uint64_t *task);

void kl_work_deque_save_so(kl_work_deque *deque);

/* KL_OK, KL_ERR_AGAIN (full), KL_ERR_CORRUPT. */
static inline int32_t kl_work_deque_push_so(kl_work_deque *deque, uint64_t task) {
    uint64_t bottom = deque->bottom;
    if (__builtin_expect(bottom - deque->top_seen >= deque->span, 0)) {
        int32_t status = kl_work_deque_look_for_space_so(deque);
        if (status != KL_OK) return status;
    }
    if ((deque->state & 1) != 0) kl_work_deque_save_so(deque);
    /* relaxed: the store of bottom below publishes it. A thief that still reads the task which stood
     * here has lost: top moved before look_for_space_so saw room. */
    atomic_store_explicit(&deque->slots[bottom >> 1 & deque->mask], task, memory_order_relaxed);
    deque->bottom = bottom + 2;
    /* release: partner is the acquire of bottom in steal_mc; publishes the slot. */
    atomic_store_explicit(&deque->header->bottom, bottom + 2, memory_order_release);
    return KL_OK;
}

/* What the owner is at. The fences are for the compiler: who reads these words after a death reads
 * what the dead thread's instructions left behind, in their order. */
static inline void kl_work_deque_note_so(kl_work_deque *deque, uint64_t state) {
    deque->state = state;
    atomic_signal_fence(memory_order_release);
    /* relaxed: read by nobody while the owner lives. */
    atomic_store_explicit(&deque->header->state, state, memory_order_relaxed);
    atomic_signal_fence(memory_order_release);
}

/* The owner's task is finished. */
static inline void kl_work_deque_done_so(kl_work_deque *deque) {
    if (deque->state != 0) kl_work_deque_note_so(deque, 0);
}

/* Takes the youngest task. KL_OK, KL_ERR_AGAIN (empty, or a thief took the last one first),
 * KL_ERR_CORRUPT. Says done of the task before. */
static inline int32_t kl_work_deque_pop_so(kl_work_deque *deque, uint64_t *task) {
    uint64_t at = deque->bottom - 2;
    if (at + 2 == deque->top_seen) { /* empty when last seen: nobody else pushes */
        kl_work_deque_done_so(deque);
        return KL_ERR_AGAIN;
    }
    kl_work_deque_note_so(deque, at | 1);
    /* release: partner is the acquire of bottom in steal_mc, which may read this value instead of
     * the one of the push that filled the slots below. */
    atomic_store_explicit(&deque->header->bottom, at, memory_order_release);
    deque->bottom = at;
    /* relaxed: our own store, or our predecessor's, whom the claim synchronized us with. */
    *task = atomic_load_explicit(&deque->slots[at >> 1 & deque->mask], memory_order_relaxed);
    /* seq_cst: partner is the fence in steal_mc. Either the thief sees the lower bottom, or we see
     * its top. */
    atomic_thread_fence(memory_order_seq_cst);
    /* relaxed: ordered by the fence. */
    uint64_t top = atomic_load_explicit(&deque->header->top, memory_order_relaxed);
    /* One comparison: more than this task is left, and not more than there can be. */
    if (__builtin_expect(at - 1 - (top & ~KL_WORK_DEQUE_OWNER) >= deque->span, 0))
        return kl_work_deque_pop_last_so(deque, top, task);
    return KL_OK;
}

/* The task the owner took and did not finish: after a claim, one that the owner before left and that
 * is not in the deque. KL_OK or KL_ERR_AGAIN (none). */
int32_t kl_work_deque_current_so(kl_work_deque *deque, uint64_t *task);

/* Any thread. Takes the oldest tasks, at most `most`, KL_WORK_DEQUE_BATCH_MAX, and half of what is
 * there (rounded up), in the order of their pushes. How many it took (1 and more),
 * KL_WORK_DEQUE_LOST (0: others were faster, try again), KL_ERR_AGAIN (empty), KL_ERR_CORRUPT. */
int32_t kl_work_deque_steal_mc(const kl_work_deque *deque, uint64_t *tasks, uint32_t most);

/* Any thread: how many tasks there are, exact when nobody is in a call; 0 to capacity always. */
uint32_t kl_work_deque_count(const kl_work_deque *deque);

/* KL_OK or KL_ERR_CORRUPT. */
int32_t kl_work_deque_verify(const kl_work_deque *deque);

/* The same deque behind a handle, in a named region of its own. `out` gets the u32 handle, which is
 * closed when the thread that opened it ends. A task is a whole number from 0 to 2^53 - 1. */
KL_API int32_t kl_work_deque_create(const uint8_t *name, uint32_t name_bytes, uint32_t capacity,
                                    uint8_t *out);
KL_API int32_t kl_work_deque_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out);
KL_API int32_t kl_work_deque_close(uint32_t deque);
KL_API int32_t kl_work_deque_remove(const uint8_t *name, uint32_t name_bytes);

/* The owner's: the first of these calls makes the calling thread the owner (claim says whether a
 * dead one was replaced: KL_OWNER_DEAD). push notifies the thieves. The first pop of a successor gives
 * what the owner before had not finished, if anything, once more. pop and current: the task, or
 * KL_ERR_AGAIN, KL_ERR_*. push_many: `count` f64; how many went in. */
KL_API int32_t kl_work_deque_own(uint32_t deque);
KL_API int32_t kl_work_deque_push(uint32_t deque, double task);
KL_API int32_t kl_work_deque_push_many(uint32_t deque, const uint8_t *tasks, uint32_t count);
KL_API double kl_work_deque_pop(uint32_t deque);
KL_API double kl_work_deque_current(uint32_t deque);
KL_API int32_t kl_work_deque_done(uint32_t deque);

/* kl_work_deque_steal_mc, into up to `most` f64 at `out`. */
KL_API int32_t kl_work_deque_steal(uint32_t deque, uint8_t *out, uint32_t most);

KL_API int32_t kl_work_deque_length(uint32_t deque); /* kl_work_deque_count */
KL_API int32_t kl_work_deque_capacity(uint32_t deque);
KL_API int32_t kl_work_deque_check(uint32_t deque); /* kl_work_deque_verify */

/* What kl_shared_object_wait can wait for. */
enum kl_work_deque_wait { KL_WORK_DEQUE_WORK = 1 };

#endif
