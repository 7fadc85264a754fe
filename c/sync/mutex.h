/* mutex: mutual exclusion between the processes and threads that joined one region; survives the
 * death of its owner. Adaptive: who waits spins while the owner runs, and sleeps when it does not.
 *
 *   line 0  owner        participant id of the owner (kl_mutex_user), or 0. By compare-exchange only
 *           waiters      how many may be asleep on `owner`; a hint, never a condition
 *           empty_wakes  wakes in a row that found nobody, of the last unlockers; a hint
 *           holder       {pid, tid} of the owner's thread, stored after the lock; a hint
 *
 * Always: at most one thread is between a successful lock and its unlock. Zero bytes are a free
 * mutex. Two kinds of ids may own it, and all users of one mutex must use the same kind:
 *   processes  kl_region_self: what is held within one call. Two threads of one participant exclude
 *              each other all the same (the second sees an owner);
 *   threads    kl_region_thread_join: what is held between calls, by a Worker that may be ended.
 * Nobody may lock twice: it waits for itself.
 * Death: an owner that died (the kernel dropped its lock: kl_region_alive or _thread_alive) is
 * replaced by one compare-exchange from its id to the new owner's, so by exactly one, who gets
 * KL_OWNER_DEAD and repairs what the mutex guards; killed while repairing, the next one gets
 * KL_OWNER_DEAD again. An id that belongs to nobody (scribbled, or KL_MUTEX_ABANDONED) counts as
 * dead. A killed waiter leaves `waiters` too high: that costs spare wakes, after
 * KL_MUTEX_EMPTY_WAKES_MAX of them the hint is zeroed; a wake that this (or a waiter killed just
 * after it was woken) lost costs KL_MUTEX_SLICE_NS, for nobody sleeps longer.
 * Spinning: about 2 us blindly, then as long as the processor time of the owner's thread
 * (kl_clock_thread_cpu_ns; of its process, where that is another) goes on between two looks, at most
 * KL_MUTEX_SPIN_NS in all. An owner that sleeps, or waits for a processor, perhaps for the one of the
 * spinner, uses no time. A wrong holder costs that much spinning, or one sleep.
 * Progress: try_lock and unlock are wait-free; lock blocks, unfairly (who comes may overtake).
 *
 * May these run at the same time?  any with any; unlock is the owner's only.
 */
#ifndef KL_SYNC_MUTEX_H
#define KL_SYNC_MUTEX_H

#include "mem/region.h"
#include "sync/event_count.h"

#define KL_MUTEX_MAGIC           0x584d4c4bu /* "KLMX" */
#define KL_MUTEX_VERSION         1u
#define KL_MUTEX_SLICE_NS        (1 * KL_NS_PER_MS)
#define KL_MUTEX_SPIN_NS         (50 * KL_NS_PER_US)
#define KL_MUTEX_EMPTY_WAKES_MAX 16u
/* Stands for an owner that left without unlocking. No id: its slot does not exist. */
#define KL_MUTEX_ABANDONED 0xffu

/* layout: kl_mutex owner waiters empty_wakes holder */
typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint32_t owner;
    _Atomic uint32_t waiters;
    _Atomic uint32_t empty_wakes;
    uint32_t unused;
    _Atomic uint64_t holder;
    uint8_t reserved[KL_LINE_BYTES - 24];
} kl_mutex;

static_assert(sizeof(kl_mutex) == KL_LINE_BYTES, "one line");
static_assert((KL_MUTEX_ABANDONED & 0xffu) >= KL_PARTICIPANTS, "nobody has this slot");

/* Who locks: an id and how to ask whether others of its kind live. */
typedef struct {
    kl_region *region;
    uint32_t self; /* kl_region_self, or the id of the calling thread when is_thread */
    bool is_thread;
    const _Atomic uint32_t *stop; /* NULL, or: not 0 ends lock with KL_ERR_STOPPED within a slice */
} kl_mutex_user;

/* KL_OK, or KL_ERR_AGAIN: somebody has it, dead or alive. No system call. */
int32_t kl_mutex_try_lock_by(kl_mutex *mutex, const kl_mutex_user *user);
/* The same, but takes over from a dead owner (KL_OWNER_DEAD). One system call when it is held. */
int32_t kl_mutex_try_lock_dead_by(kl_mutex *mutex, const kl_mutex_user *user);
/* KL_OK, KL_OWNER_DEAD, KL_ERR_TIMEOUT, KL_ERR_STOPPED, or KL_ERR_POISONED (the region is). Asks
 * after the owner's life every millisecond. */
int32_t kl_mutex_lock_by(kl_mutex *mutex, const kl_mutex_user *user, uint64_t timeout_ns);
/* KL_OK, or KL_ERR_LOCKED: not held by this user; nothing changed. */
int32_t kl_mutex_unlock_by(kl_mutex *mutex, const kl_mutex_user *user);
/* By or for an owner that goes away without unlocking: the next one gets KL_OWNER_DEAD at once.
 * Whether it was the owner. */
bool kl_mutex_abandon(kl_mutex *mutex, uint32_t owner);

/* The same for a process (kl_region_self). `region` is the one the mutex lies in, joined by the
 * caller (kl_region_join). Unlock by anybody but the owner is a bug that is counted. */
int32_t kl_mutex_try_lock(kl_mutex *mutex, kl_region *region);
int32_t kl_mutex_try_lock_dead(kl_mutex *mutex, kl_region *region);
int32_t kl_mutex_lock(kl_mutex *mutex, kl_region *region, uint64_t timeout_ns);
void kl_mutex_unlock(kl_mutex *mutex, kl_region *region);

/* KL_OK, or KL_ERR_CORRUPT: held by an id that is not alive. Right only while nobody locks. */
int32_t kl_mutex_verify(kl_mutex *mutex, kl_region *region);

#endif
