#include "sync/event_count.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Looks before sleeping: 32 pauses are 0.3-1.5 us on the processors known; a wake costs more. */
#define SPIN_MAX 32u

static _Atomic(void (*)(kl_event_count *)) retire_hook, wake_hook;

/* No FUTEX_PRIVATE_FLAG: the words lie in memory that several processes map. */
int32_t kl_futex_wait(const _Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns) {
    struct timespec limit = {.tv_sec = (time_t)(timeout_ns / KL_NS_PER_S),
                             .tv_nsec = (long)(timeout_ns % KL_NS_PER_S)};
    const struct timespec *limit_or_none = timeout_ns == KL_FOREVER ? NULL : &limit;
    /* A relative timeout of FUTEX_WAIT is measured on CLOCK_MONOTONIC. */
    if (syscall(SYS_futex, word, FUTEX_WAIT, expected, limit_or_none, NULL, 0) == 0) return KL_OK;
    return errno == ETIMEDOUT ? KL_ERR_TIMEOUT : KL_OK; /* EAGAIN and EINTR: the caller looks */
}

uint32_t kl_futex_wake(_Atomic uint32_t *word, uint32_t count) {
    long woken = syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
    return woken > 0 ? (uint32_t)woken : 0;
}

static bool is_stopped(const _Atomic uint32_t *stop) {
    /* relaxed: whoever stops notifies after it, and who sees the sequence moved sees the flag. */
    return stop && atomic_load_explicit(stop, memory_order_relaxed) != 0;
}

static bool has_moved(kl_event_count *event, uint32_t key) {
    /* W2, seq_cst: partner is N1 in notify_all. */
    return atomic_load_explicit(&event->sequence, memory_order_seq_cst) != key;
}

static bool moves_soon(kl_event_count *event, uint32_t key) {
    if (!kl_cpu_others_run()) return false; /* the notifier cannot run while this spins */
    for (uint32_t spin = 0; spin < SPIN_MAX; spin++) {
        kl_cpu_pause();
        if (kl_event_count_prepare(event) != key) return true;
    }
    return false;
}

int32_t kl_event_count_wait(kl_event_count *event, uint32_t key, uint64_t timeout_ns,
                            const _Atomic uint32_t *stop) {
    if (is_stopped(stop)) return KL_ERR_STOPPED;
    if (has_moved(event, key)) return KL_OK;
    if (timeout_ns == 0) return KL_ERR_TIMEOUT;
    uint64_t deadline_ns = kl_clock_deadline_ns(timeout_ns);
    if (moves_soon(event, key)) return KL_OK;
    for (;;) {
        /* W1, seq_cst: partner is N2 in notify_all. */
        atomic_store_explicit(&event->waiters, 1, memory_order_seq_cst);
        if (is_stopped(stop)) return KL_ERR_STOPPED;
        if (has_moved(event, key)) return KL_OK;
        uint64_t slice_ns = KL_EVENT_SLICE_NS;
        if (deadline_ns != KL_FOREVER) {
            uint64_t now_ns = kl_clock_monotonic_ns();
            if (now_ns >= deadline_ns) return KL_ERR_TIMEOUT;
            if (deadline_ns - now_ns < slice_ns) slice_ns = deadline_ns - now_ns;
        }
        int32_t status = kl_futex_wait(&event->sequence, key, slice_ns);
        /* Before the flag is set anew: left behind by one who does not sleep, it would cost the
         * next notifier a wake. */
        if (has_moved(event, key)) return is_stopped(stop) ? KL_ERR_STOPPED : KL_OK;
        /* Nothing for a whole slice: back to the caller, whose condition may be true already while
         * whoever made it true died before the notify. */
        if (status == KL_ERR_TIMEOUT && slice_ns == KL_EVENT_SLICE_NS) return KL_OK;
    }
}

void kl_event_count_wake(kl_event_count *event) {
    /* N3, relaxed, and N4, release: partner is the acquire in prepare. In this order, see the
     * header: a sleeper whose key is N4's sets his flag after N3. */
    atomic_store_explicit(&event->waiters, 0, memory_order_relaxed);
    atomic_fetch_add_explicit(&event->sequence, 1, memory_order_release);
    /* acquire: partner is the release in on_wake. */
    void (*serve)(kl_event_count *) = atomic_load_explicit(&wake_hook, memory_order_acquire);
    if (serve) serve(event);
    kl_futex_wake(&event->sequence, INT_MAX); /* N5 */
}

void kl_event_count_on_wake(void (*serve)(kl_event_count *event)) {
    /* release: partner is the acquire in wake; what the hook uses is ready. */
    atomic_store_explicit(&wake_hook, serve, memory_order_release);
}

void kl_event_count_on_retire(void (*leave)(kl_event_count *event)) {
    /* release: partner is the acquire in retire; what the hook uses is ready. */
    atomic_store_explicit(&retire_hook, leave, memory_order_release);
}

void kl_event_count_retire(kl_event_count *event) {
    /* acquire: partner is the release in on_retire. */
    void (*leave)(kl_event_count *) = atomic_load_explicit(&retire_hook, memory_order_acquire);
    if (leave) leave(event);
}
