#include "sync/ticket_lock.h"

#include <sched.h>

void kl_ticket_lock_wait(kl_ticket_lock *lock, uint32_t ticket) {
    uint32_t looks = kl_cpu_others_run() ? 0 : KL_TICKET_LOCK_SPINS_MAX;
    for (;;) { /* ends after as many unlocks as there were tickets before */
        /* acquire: partner is the release in unlock. */
        uint32_t before = ticket - atomic_load_explicit(&lock->serving, memory_order_acquire);
        if (before == 0) return;
        if (looks >= KL_TICKET_LOCK_SPINS_MAX) {
            sched_yield();
            continue;
        }
        /* In proportion to the queue, so that the line of `serving` is left to the owner. */
        uint32_t pauses = before < 4 ? before : 4;
        for (uint32_t i = 0; i < pauses * KL_TICKET_LOCK_SPINS / 4; i++) kl_cpu_pause();
        looks += pauses;
    }
}

uint32_t kl_ticket_lock_count(kl_ticket_lock *lock) {
    /* relaxed, serving first: it never passes next. */
    uint32_t serving = atomic_load_explicit(&lock->serving, memory_order_relaxed);
    return atomic_load_explicit(&lock->next, memory_order_relaxed) - serving;
}
