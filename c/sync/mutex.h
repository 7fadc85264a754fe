/* mutex: mutual exclusion between the processes and threads that joined one region; survives the
 * death of its owner.
 *
 *   line 0  owner        participant id of the owner (kl_region_self), or 0. By compare-exchange only
 *           waiters      how many may be asleep on `owner`; a hint, never a condition
 *           empty_wakes  wakes in a row that found nobody, of the last unlockers; a hint
 *
 * Always: at most one thread is between a successful lock and its unlock. Zero bytes are a free
 * mutex. The id is of a participant, not of a thread: two threads of one participant exclude each
 * other all the same (the second sees an owner), and nobody may lock twice (it waits for itself).
 * Death: an owner that died (the kernel dropped its participant lock: kl_region_alive) is replaced
 * by one compare-exchange from its id to the new owner's, so by exactly one, who gets KL_OWNER_DEAD
 * and repairs what the mutex guards; killed while repairing, the next one gets KL_OWNER_DEAD again.
 * An id that belongs to nobody (scribbled) counts as dead. A killed waiter leaves `waiters` too
 * high: that costs spare wakes, after KL_MUTEX_EMPTY_WAKES_MAX of them the hint is zeroed; a wake
 * that this (or a waiter killed just after it was woken) lost costs KL_MUTEX_SLICE_NS, for nobody
 * sleeps longer.
 * Progress: try_lock and unlock are wait-free; lock blocks, unfairly (who comes may overtake).
 *
 * May these run at the same time?  any with any; unlock is the owner's only.
 */
#ifndef KL_SYNC_MUTEX_H
#define KL_SYNC_MUTEX_H

#include "mem/region.h"
#include "sync/event_count.h"

#define KL_MUTEX_SLICE_NS        (1 * KL_NS_PER_MS)
#define KL_MUTEX_EMPTY_WAKES_MAX 16u

/* layout: kl_mutex owner waiters empty_wakes */
typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint32_t owner;
    _Atomic uint32_t waiters;
    _Atomic uint32_t empty_wakes;
    uint8_t reserved[KL_LINE_BYTES - 12];
} kl_mutex;

static_assert(sizeof(kl_mutex) == KL_LINE_BYTES, "one line");

/* KL_OK, or KL_ERR_AGAIN: somebody has it, dead or alive. No system call. `region` is the one the
 * mutex lies in, joined by the caller (kl_region_join). */
int32_t kl_mutex_try_lock(kl_mutex *mutex, kl_region *region);

/* The same, but takes over from a dead owner (KL_OWNER_DEAD). One system call when it is held. */
int32_t kl_mutex_try_lock_dead(kl_mutex *mutex, kl_region *region);

/* KL_OK, KL_OWNER_DEAD, KL_ERR_TIMEOUT, or KL_ERR_POISONED (the region is). Spins for about 2 us if
 * there is more than one processor, then sleeps; asks after the owner's life every millisecond. */
int32_t kl_mutex_lock(kl_mutex *mutex, kl_region *region, uint64_t timeout_ns);

/* By the owner. Called by anybody else it is a bug that is counted, and changes nothing. */
void kl_mutex_unlock(kl_mutex *mutex, kl_region *region);

/* KL_OK, or KL_ERR_CORRUPT: held by an id that is not alive. Right only while nobody locks. */
int32_t kl_mutex_verify(kl_mutex *mutex, kl_region *region);

#endif
