/* ticket_lock: fair spin lock for short sections, among the threads of one process.
 *
 *   line 0  next      the ticket the next comer gets; by atomic add (or compare-exchange: try_lock)
 *           serving   the ticket that owns the lock; written by its owner only
 *
 * Always: next - serving (they wrap) is the owner plus those who wait; at most one thread is between
 * lock and unlock; tickets are served in the order in which they were drawn. Zero bytes are free.
 * Death: not survived, so it is not for memory that processes share: one that dies with a ticket
 * stops all. Threads of one process die together; a Worker cannot be ended within a C call.
 * Progress: try_lock and unlock are wait-free. lock spins KL_TICKET_LOCK_SPINS pauses for each
 * ticket before its own, then yields the processor between looks: a first in first out lock is as
 * slow as its slowest waiter, and on few processors the next in turn may not be running.
 * Source: Mellor-Crummey and Scott, "Algorithms for scalable synchronization on shared-memory
 * multiprocessors", TOCS 1991 (ticket lock with proportional back-off).
 *
 * May these run at the same time?  any with any; unlock is the owner's only.
 */
#ifndef KL_SYNC_TICKET_LOCK_H
#define KL_SYNC_TICKET_LOCK_H

#include <stdatomic.h>

#include "base/cpu.h"
#include "base/status.h"

#define KL_TICKET_LOCK_SPINS     24u
#define KL_TICKET_LOCK_SPINS_MAX 96u /* looks in all before the first yield */

typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint32_t next;
    _Atomic uint32_t serving;
    uint8_t reserved[KL_LINE_BYTES - 8];
} kl_ticket_lock;

static_assert(sizeof(kl_ticket_lock) == KL_LINE_BYTES, "one line");

void kl_ticket_lock_wait(kl_ticket_lock *lock, uint32_t ticket); /* the slow half of lock */

static inline void kl_ticket_lock_lock(kl_ticket_lock *lock) {
    /* relaxed: only draws; the lock is taken by the load below. */
    uint32_t ticket = atomic_fetch_add_explicit(&lock->next, 1, memory_order_relaxed);
    /* acquire: partner is the release in unlock; what the last owner wrote is seen. */
    uint32_t serving = atomic_load_explicit(&lock->serving, memory_order_acquire);
    if (__builtin_expect(serving != ticket, 0)) kl_ticket_lock_wait(lock, ticket);
}

/* KL_OK, or KL_ERR_AGAIN: somebody has it or waits for it. */
static inline int32_t kl_ticket_lock_try_lock(kl_ticket_lock *lock) {
    /* acquire: partner is the release in unlock. */
    uint32_t ticket = atomic_load_explicit(&lock->serving, memory_order_acquire);
    /* relaxed: succeeds only while `ticket` is both served and the next, so that nobody has it. */
    return atomic_compare_exchange_strong_explicit(&lock->next, &ticket, ticket + 1,
                                                   memory_order_relaxed, memory_order_relaxed)
               ? KL_OK
               : KL_ERR_AGAIN;
}

static inline void kl_ticket_lock_unlock(kl_ticket_lock *lock) {
    /* relaxed: only the owner writes it. */
    uint32_t ticket = atomic_load_explicit(&lock->serving, memory_order_relaxed);
    /* release: partner is the acquire in lock, wait and try_lock. */
    atomic_store_explicit(&lock->serving, ticket + 1, memory_order_release);
}

/* How many have it or wait for it; a hint. */
uint32_t kl_ticket_lock_count(kl_ticket_lock *lock);

#endif
