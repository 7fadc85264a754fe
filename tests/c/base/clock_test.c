#include "base/clock.h"
#include "tests/c/harness.h"

#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

KL_TEST(kl_clock_monotonic_ns_never_goes_back_and_moves_on) {
    uint64_t first = kl_clock_monotonic_ns(), last = first;
    for (int i = 0; i < 10000; i++) {
        uint64_t now = kl_clock_monotonic_ns();
        KL_CHECK_LE(last, now);
        last = now;
    }
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    KL_CHECK_LE(first + 2000000, kl_clock_monotonic_ns());
}

KL_TEST(kl_clock_realtime_ns_agrees_with_time) {
    uint64_t now_s = kl_clock_realtime_ns() / KL_NS_PER_S;
    uint64_t time_s = (uint64_t)time(NULL);
    KL_CHECK(now_s + 1 >= time_s && now_s <= time_s + 1);
}

KL_TEST(kl_clock_boottime_ns_is_not_behind_monotonic) {
    uint64_t monotonic = kl_clock_monotonic_ns();
    KL_CHECK_LE(monotonic, kl_clock_boottime_ns());
}

KL_TEST(kl_clock_deadline_ns_does_not_wrap) {
    uint64_t now = kl_clock_monotonic_ns();
    KL_CHECK_EQ(kl_clock_deadline_ns(KL_FOREVER), KL_FOREVER);
    KL_CHECK_EQ(kl_clock_deadline_ns(KL_FOREVER - 1), KL_FOREVER);
    KL_CHECK_LE(now, kl_clock_deadline_ns(0));
    KL_CHECK_LE(now + KL_NS_PER_S, kl_clock_deadline_ns(KL_NS_PER_S));
    KL_CHECK_LT(kl_clock_deadline_ns(KL_NS_PER_S), now + 60 * KL_NS_PER_S);
}

KL_TEST(kl_clock_monotonic_micros_is_the_same_clock_in_microseconds) {
    double before = (double)kl_clock_monotonic_ns() / 1000.0;
    double now = kl_clock_monotonic_micros();
    double after = (double)kl_clock_monotonic_ns() / 1000.0;
    KL_CHECK(before <= now && now <= after);
}

typedef struct {
    _Atomic uint32_t tid, stop;
} burning;

static void burn_and_watch(void *argument, uint32_t index) {
    burning *it = argument;
    if (index == 0) { /* the one that is watched */
        atomic_store(&it->tid, (uint32_t)syscall(SYS_gettid));
        while (atomic_load(&it->stop) == 0) {
        }
        atomic_store(&it->tid, 0);
        while (atomic_load(&it->stop) == 1) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        return;
    }
    uint32_t tid, pid = (uint32_t)getpid();
    while ((tid = atomic_load(&it->tid)) == 0) {
    }
    uint64_t before = kl_clock_thread_cpu_ns(pid, tid);
    while (kl_clock_thread_cpu_ns(pid, tid) == before) { /* ends: it runs now and then */
    }
    atomic_store(&it->stop, 1);
    while (atomic_load(&it->tid) != 0) {
    }
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    uint64_t asleep = kl_clock_thread_cpu_ns(pid, tid);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    KL_CHECK_LT(kl_clock_thread_cpu_ns(pid, tid) - asleep, 10 * KL_NS_PER_MS);
    atomic_store(&it->stop, 2);
}

KL_TEST(kl_clock_thread_cpu_ns_goes_on_while_the_thread_runs_only) {
    burning it = {0, 0};
    kl_test_threads(2, burn_and_watch, &it);
    KL_CHECK_EQ(kl_clock_thread_cpu_ns(0, 0), 0);
    KL_CHECK_EQ(kl_clock_thread_cpu_ns(0x7ffffff0, 0x7ffffff0), 0);
    KL_CHECK_LT(0, kl_clock_thread_cpu_ns((uint32_t)getppid(), 0)); /* another process */
}
