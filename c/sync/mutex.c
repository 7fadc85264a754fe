#include "sync/mutex.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Looks between two questions, and before the first one: about 2 us. */
#define SPIN_MAX 48u

/* {pid, tid} of this thread; asked for once. A forked child is another thread. */
static _Thread_local uint64_t own_holder __attribute__((tls_model("initial-exec")));
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void forget_holder(void) {
    own_holder = 0;
}

static void watch_forks(void) {
    pthread_atfork(NULL, NULL, forget_holder);
}

static uint64_t find_holder(void) {
    pthread_once(&fork_once, watch_forks);
    own_holder = (uint64_t)getpid() << 32 | (uint32_t)syscall(SYS_gettid);
    return own_holder;
}

static bool take(kl_mutex *mutex, uint32_t from, uint32_t self) {
    /* acquire: partner is the compare-exchange in unlock; what the last owner wrote is seen.
     * Relaxed on failure: nothing is concluded from it. */
    if (!atomic_compare_exchange_strong_explicit(&mutex->owner, &from, self, memory_order_acquire,
                                                 memory_order_relaxed))
        return false;
    uint64_t holder = own_holder;
    if (__builtin_expect(holder == 0, 0)) holder = find_holder();
    /* relaxed: a hint for spinners; no partner. */
    atomic_store_explicit(&mutex->holder, holder, memory_order_relaxed);
    return true;
}

static uint32_t owner_of(kl_mutex *mutex) {
    return atomic_load_explicit(&mutex->owner, memory_order_relaxed); /* decided by take() */
}

static bool is_alive(const kl_mutex_user *user, uint32_t owner) {
    return user->is_thread ? kl_region_thread_alive(user->region, owner)
                           : kl_region_alive(user->region, owner);
}

/* Whether `owner` was dead and the mutex is now ours. One system call. */
static bool take_from_dead(kl_mutex *mutex, const kl_mutex_user *user, uint32_t owner) {
    return owner != user->self && !is_alive(user, owner) && take(mutex, owner, user->self);
}

int32_t kl_mutex_try_lock_by(kl_mutex *mutex, const kl_mutex_user *user) {
    KL_ASSERT(user->self != 0);
    if (user->self == 0) return KL_ERR_BUG; /* not joined: 0 would lock nothing */
    return owner_of(mutex) == 0 && take(mutex, 0, user->self) ? KL_OK : KL_ERR_AGAIN;
}

int32_t kl_mutex_try_lock_dead_by(kl_mutex *mutex, const kl_mutex_user *user) {
    int32_t status = kl_mutex_try_lock_by(mutex, user);
    if (status != KL_ERR_AGAIN) return status;
    uint32_t owner = owner_of(mutex);
    if (owner == 0) return take(mutex, 0, user->self) ? KL_OK : KL_ERR_AGAIN;
    return take_from_dead(mutex, user, owner) ? KL_OWNER_DEAD : KL_ERR_AGAIN;
}

static bool takes_soon(kl_mutex *mutex, uint32_t self) {
    for (uint32_t spin = 0; spin < SPIN_MAX; spin++) {
        kl_cpu_pause();
        if (owner_of(mutex) == 0 && take(mutex, 0, self)) return true;
    }
    return false;
}

/* The processor time of whoever took the mutex last; 0: unknown. */
static uint64_t holder_cpu_ns(kl_mutex *mutex) {
    uint64_t holder = atomic_load_explicit(&mutex->holder, memory_order_relaxed); /* a hint */
    return kl_clock_thread_cpu_ns((uint32_t)(holder >> 32), (uint32_t)holder);
}

/* Spins while the owner runs. Whether the mutex is ours. */
static bool takes_while_owner_runs(kl_mutex *mutex, uint32_t self, uint64_t timeout_ns) {
    if (!kl_cpu_others_run()) return false; /* the owner cannot run while this spins */
    if (takes_soon(mutex, self)) return true;
    uint64_t now_ns = kl_clock_monotonic_ns(), used_ns = holder_cpu_ns(mutex);
    uint64_t end_ns = now_ns + (timeout_ns < KL_MUTEX_SPIN_NS ? timeout_ns : KL_MUTEX_SPIN_NS);
    while (used_ns != 0 && now_ns < end_ns) {
        if (takes_soon(mutex, self)) return true;
        uint64_t used_before_ns = used_ns;
        used_ns = holder_cpu_ns(mutex);
        if (used_ns == used_before_ns)
            return false; /* another holder: it differs, the spin goes on */
        now_ns = kl_clock_monotonic_ns();
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

static bool is_stopped(const kl_mutex_user *user) {
    /* relaxed: no partner; nothing is concluded but that it is time to go. */
    return user->stop && atomic_load_explicit(user->stop, memory_order_relaxed) != 0;
}

static int32_t lock_slowly(kl_mutex *mutex, const kl_mutex_user *user, uint64_t timeout_ns) {
    uint64_t now_ns = kl_clock_monotonic_ns(), ask_ns = now_ns + KL_MUTEX_SLICE_NS;
    uint64_t deadline_ns = timeout_ns > KL_FOREVER - now_ns ? KL_FOREVER : now_ns + timeout_ns;
    for (;;) {
        uint32_t owner = owner_of(mutex);
        if (owner == 0 && take(mutex, 0, user->self)) return KL_OK;
        if (is_stopped(user)) return KL_ERR_STOPPED;
        if (owner == 0) continue; /* somebody else took it: progress */
        if (now_ns >= ask_ns) {
            if (kl_region_poisoned(user->region))
                return kl_fail(KL_ERR_POISONED, "the region of this lock is poisoned: close it");
            if (take_from_dead(mutex, user, owner)) return KL_OWNER_DEAD;
            ask_ns = now_ns + KL_MUTEX_SLICE_NS;
        }
        if (now_ns >= deadline_ns) return KL_ERR_TIMEOUT;
        uint64_t until_ns = deadline_ns < ask_ns ? deadline_ns : ask_ns;
        sleep_while_owned(mutex, owner, until_ns - now_ns);
        now_ns = kl_clock_monotonic_ns();
    }
}

int32_t kl_mutex_lock_by(kl_mutex *mutex, const kl_mutex_user *user, uint64_t timeout_ns) {
    int32_t status = kl_mutex_try_lock_by(mutex, user);
    if (__builtin_expect(status != KL_ERR_AGAIN, 1)) return status;
    if (takes_while_owner_runs(mutex, user->self, timeout_ns)) return KL_OK;
    return lock_slowly(mutex, user, timeout_ns);
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

/* Replaces `owner`, if it is still that, and wakes one. */
static bool give_up(kl_mutex *mutex, uint32_t owner, uint32_t next) {
    /* seq_cst (release): partner is take(); and sleep_while_owned, as N1 and W2 of event_count.
     * Compare, so that who lost the mutex frees nobody's. */
    if (!atomic_compare_exchange_strong_explicit(&mutex->owner, &owner, next, memory_order_seq_cst,
                                                 memory_order_relaxed))
        return false;
    /* seq_cst: partner is the add in sleep_while_owned. */
    if (atomic_load_explicit(&mutex->waiters, memory_order_seq_cst) != 0) wake_one(mutex);
    return true;
}

int32_t kl_mutex_unlock_by(kl_mutex *mutex, const kl_mutex_user *user) {
    return user->self != 0 && give_up(mutex, user->self, 0) ? KL_OK : KL_ERR_LOCKED;
}

bool kl_mutex_abandon(kl_mutex *mutex, uint32_t owner) {
    return owner != 0 && give_up(mutex, owner, KL_MUTEX_ABANDONED);
}

/* ---- by a process ---- */

static kl_mutex_user process_of(kl_region *region) {
    return (kl_mutex_user){.region = region, .self = kl_region_self(region)};
}

int32_t kl_mutex_try_lock(kl_mutex *mutex, kl_region *region) {
    kl_mutex_user user = process_of(region);
    return kl_mutex_try_lock_by(mutex, &user);
}

int32_t kl_mutex_try_lock_dead(kl_mutex *mutex, kl_region *region) {
    kl_mutex_user user = process_of(region);
    return kl_mutex_try_lock_dead_by(mutex, &user);
}

int32_t kl_mutex_lock(kl_mutex *mutex, kl_region *region, uint64_t timeout_ns) {
    kl_mutex_user user = process_of(region);
    return kl_mutex_lock_by(mutex, &user, timeout_ns);
}

void kl_mutex_unlock(kl_mutex *mutex, kl_region *region) {
    kl_mutex_user user = process_of(region);
    int32_t status = kl_mutex_unlock_by(mutex, &user);
    (void)status;
    KL_ASSERT(status == KL_OK);
}

int32_t kl_mutex_verify(kl_mutex *mutex, kl_region *region) {
    uint32_t owner = owner_of(mutex);
    if (owner == 0 || owner == kl_region_self(region) || kl_region_alive(region, owner))
        return KL_OK;
    return kl_fail(KL_ERR_CORRUPT, "the mutex is held by participant %u, which is not alive",
                   owner & 0xffu);
}
