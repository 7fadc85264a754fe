#include "sync/mutex.h"

/* Tries before sleeping: about 2 us. Longer would cost more than the sleep it avoids. */
#define SPIN_MAX 48u

static bool take(kl_mutex *mutex, uint32_t from, uint32_t self) {
    /* seq_cst (acquire): partner is the compare-exchange in unlock; what the last owner wrote is
     * seen. Relaxed on failure: nothing is concluded from it. */
    return atomic_compare_exchange_strong_explicit(&mutex->owner, &from, self, memory_order_seq_cst,
                                                   memory_order_relaxed);
}

/* Whether `owner` was dead and the mutex is now ours. One system call. */
static bool take_from_dead(kl_mutex *mutex, kl_region *region, uint32_t owner, uint32_t self) {
    return owner != self && !kl_region_alive(region, owner) && take(mutex, owner, self);
}

static uint32_t owner_of(kl_mutex *mutex) {
    return atomic_load_explicit(&mutex->owner, memory_order_relaxed); /* decided by take() */
}

int32_t kl_mutex_try_lock(kl_mutex *mutex, kl_region *region) {
    uint32_t self = kl_region_self(region);
    KL_ASSERT(self != 0);
    if (self == 0) return KL_ERR_BUG; /* not joined: 0 would lock nothing */
    return owner_of(mutex) == 0 && take(mutex, 0, self) ? KL_OK : KL_ERR_AGAIN;
}

int32_t kl_mutex_try_lock_dead(kl_mutex *mutex, kl_region *region) {
    int32_t status = kl_mutex_try_lock(mutex, region);
    if (status != KL_ERR_AGAIN) return status;
    uint32_t owner = owner_of(mutex), self = kl_region_self(region);
    if (owner == 0) return take(mutex, 0, self) ? KL_OK : KL_ERR_AGAIN;
    return take_from_dead(mutex, region, owner, self) ? KL_OWNER_DEAD : KL_ERR_AGAIN;
}

static bool takes_soon(kl_mutex *mutex, uint32_t self) {
    if (kl_cpu_count() < 2) return false; /* the owner cannot run while this spins */
    for (uint32_t spin = 0; spin < SPIN_MAX; spin++) {
        kl_cpu_pause();
        if (owner_of(mutex) == 0 && take(mutex, 0, self)) return true;
    }
    return false;
}

/* Sleeps while `owner` has the mutex, at most `timeout_ns`. */
static void sleep_while_owned(kl_mutex *mutex, uint32_t owner, uint64_t timeout_ns) {
    /* seq_cst: partner is the load in unlock, as W1 and N2 of event_count. */
    atomic_fetch_add_explicit(&mutex->waiters, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&mutex->owner, memory_order_seq_cst) == owner)
        kl_futex_wait(&mutex->owner, owner, timeout_ns);
    /* Never below 0: the hint may have been zeroed in between. */
    uint32_t waiters = atomic_load_explicit(&mutex->waiters, memory_order_relaxed);
    while (waiters != 0 &&
           !atomic_compare_exchange_weak_explicit(&mutex->waiters, &waiters, waiters - 1,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

static int32_t lock_slowly(kl_mutex *mutex, kl_region *region, uint64_t timeout_ns) {
    uint32_t self = kl_region_self(region);
    uint64_t now_ns = kl_clock_monotonic_ns(), ask_ns = now_ns + KL_MUTEX_SLICE_NS;
    uint64_t deadline_ns = timeout_ns > KL_FOREVER - now_ns ? KL_FOREVER : now_ns + timeout_ns;
    for (;;) {
        uint32_t owner = owner_of(mutex);
        if (owner == 0 && take(mutex, 0, self)) return KL_OK;
        if (owner == 0) continue; /* somebody else took it: progress */
        if (now_ns >= ask_ns) {
            if (kl_region_poisoned(region))
                return kl_fail(KL_ERR_POISONED, "the region of this lock is poisoned: close it");
            if (take_from_dead(mutex, region, owner, self)) return KL_OWNER_DEAD;
            ask_ns = now_ns + KL_MUTEX_SLICE_NS;
        }
        if (now_ns >= deadline_ns) return KL_ERR_TIMEOUT;
        uint64_t until_ns = deadline_ns < ask_ns ? deadline_ns : ask_ns;
        sleep_while_owned(mutex, owner, until_ns - now_ns);
        now_ns = kl_clock_monotonic_ns();
    }
}

int32_t kl_mutex_lock(kl_mutex *mutex, kl_region *region, uint64_t timeout_ns) {
    int32_t status = kl_mutex_try_lock(mutex, region);
    if (status != KL_ERR_AGAIN) return status;
    if (takes_soon(mutex, kl_region_self(region))) return KL_OK;
    return lock_slowly(mutex, region, timeout_ns);
}

static void wake_one(kl_mutex *mutex) {
    /* Relaxed throughout: hints; a wrong one costs a spare wake or one slice. */
    if (kl_futex_wake(&mutex->owner, 1) > 0) {
        atomic_store_explicit(&mutex->empty_wakes, 0, memory_order_relaxed);
        return;
    }
    uint32_t empty = atomic_fetch_add_explicit(&mutex->empty_wakes, 1, memory_order_relaxed) + 1;
    if (empty < KL_MUTEX_EMPTY_WAKES_MAX) return;
    atomic_store_explicit(&mutex->empty_wakes, 0, memory_order_relaxed);
    atomic_store_explicit(&mutex->waiters, 0, memory_order_relaxed);
}

void kl_mutex_unlock(kl_mutex *mutex, kl_region *region) {
    uint32_t owner = kl_region_self(region);
    /* seq_cst (release): partner is take(). Compare, so that who lost the mutex frees nobody's. */
    bool mine = owner != 0 &&
                atomic_compare_exchange_strong_explicit(&mutex->owner, &owner, 0,
                                                        memory_order_seq_cst, memory_order_relaxed);
    KL_ASSERT(mine);
    /* seq_cst: partner is the add in sleep_while_owned. */
    if (mine && atomic_load_explicit(&mutex->waiters, memory_order_seq_cst) != 0) wake_one(mutex);
}

int32_t kl_mutex_verify(kl_mutex *mutex, kl_region *region) {
    uint32_t owner = owner_of(mutex);
    if (owner == 0 || owner == kl_region_self(region) || kl_region_alive(region, owner))
        return KL_OK;
    return kl_fail(KL_ERR_CORRUPT, "the mutex is held by participant %u, which is not alive",
                   owner & 0xffu);
}
