/* Concurrency Kit's ticket lock, or with -DMCS its MCS lock. */
#include <ck_spinlock.h>
#include <stdint.h>
#include <stdlib.h>

#ifdef MCS
typedef ck_spinlock_mcs_t lock;
typedef struct {
    lock *shared;
    ck_spinlock_mcs_context_t context;
} lock_end;
#else
typedef ck_spinlock_ticket_t lock;
typedef lock lock_end;
#endif

static lock *lock_open(void) {
    lock *made = aligned_alloc(128, 128);
#ifdef MCS
    ck_spinlock_mcs_init(made);
#else
    ck_spinlock_ticket_init(made);
#endif
    return made;
}

static lock_end *lock_take(lock *one, uint32_t index) {
    (void)index;
#ifdef MCS
    lock_end *end = aligned_alloc(128, 128);
    end->shared = one;
    return end;
#else
    return one;
#endif
}

static inline void lock_acquire(lock_end *end) {
#ifdef MCS
    ck_spinlock_mcs_lock(end->shared, &end->context);
#else
    ck_spinlock_ticket_lock(end);
#endif
}

static inline void lock_release(lock_end *end) {
#ifdef MCS
    ck_spinlock_mcs_unlock(end->shared, &end->context);
#else
    ck_spinlock_ticket_unlock(end);
#endif
}

#include "bench/sync/lock_drive.h"

int main(int count, char **words) {
    return drive_lock(count, words);
}
