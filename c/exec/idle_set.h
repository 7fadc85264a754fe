/* idle_set: who of at most 64 workers has nothing to do, so that whoever publishes work wakes one.
 *
 *   line 0  idle        a bit for each sleeper that nobody has called yet; by atomic or / and
 *           searching   workers that look for work and will find what is published now
 *   line 1- events      one for each member; it alone sleeps on it
 *
 *   a worker without work                            whoever has work for others
 *     begin_search; look everywhere, for a while;      publish it (a queue, a deque)
 *     end_search                       (S1)            kl_idle_set_published(set)
 *     key = announce(member)           (I1)                fence               (P1)
 *     look everywhere once more        (I2)                as many search? then nothing  (P2)
 *     found: retract(member)                               idle? take a bit away, wake it  (P3)
 *     else:  sleep(member, key), and look again
 *     whoever found something in any of these ways and sees that there is more: wake_one
 *
 * Always: no wake-up is lost, and nobody sleeps while work waits for one who is busy. I1 and P1 end in
 * a full fence: either the worker's second look (I2) sees the work, or P3 sees its bit. Who
 * searched (P2 relied on it, S1 is a full fence), or was called for one piece while it found another
 * (P3 spent its call on it), calls the next one. One publication wakes at most one member for each
 * piece; work that is taken at once wakes nobody.
 * Death: lives in one process.
 * Progress: published is lock-free, without a system call while nobody sleeps; sleep blocks, at most
 * KL_EVENT_SLICE_NS.
 *
 * May these run at the same time?  any with any; announce, retract and sleep belong to the member.
 */
#ifndef KL_EXEC_IDLE_SET_H
#define KL_EXEC_IDLE_SET_H

#include "base/fence.h"
#include "sync/event_count.h"

#define KL_IDLE_SET_MEMBERS_MAX 64u

typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t idle;
    _Atomic uint32_t searching;
    _Alignas(KL_LINE_BYTES) kl_event_count events[KL_IDLE_SET_MEMBERS_MAX];
} kl_idle_set; /* zero bytes are a ready one */

/* At most `most` search at one time. False: enough others do; announce at once. */
bool kl_idle_set_begin_search(kl_idle_set *set, uint32_t most);

/* S1. */
void kl_idle_set_end_search(kl_idle_set *set);

/* I1. The key to sleep with. */
uint32_t kl_idle_set_announce(kl_idle_set *set, uint32_t member);
void kl_idle_set_retract(kl_idle_set *set, uint32_t member);

/* Until called, a slice, the timeout or *stop: look again, in any case. Retracts. */
void kl_idle_set_sleep(kl_idle_set *set, uint32_t member, uint32_t key, uint64_t timeout_ns,
                       const _Atomic uint32_t *stop);

/* P3. False: nobody slept. */
bool kl_idle_set_wake_one(kl_idle_set *set);
void kl_idle_set_wake_all(kl_idle_set *set);

/* P1 to P3, after `count` pieces of work were published. */
static inline void kl_idle_set_published(kl_idle_set *set, uint32_t count) {
    /* P1, seq_cst: partner is the fence in announce. */
    atomic_thread_fence(memory_order_seq_cst);
    /* relaxed: ordered by the fence. */
    if (__builtin_expect(atomic_load_explicit(&set->idle, memory_order_relaxed) == 0, 1)) return;
    /* P2, relaxed: as above; partner is the fence in end_search. */
    uint32_t searching = atomic_load_explicit(&set->searching, memory_order_relaxed);
    for (; count > searching && kl_idle_set_wake_one(set); count--) {
    }
}

#endif
