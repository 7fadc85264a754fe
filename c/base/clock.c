#include "base/clock.h"

#include <time.h>

static uint64_t read_ns(clockid_t clock) {
    struct timespec now;
    /* Cannot fail: the three clocks exist since Linux 2.6.39 and the pointer is good. */
    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * KL_NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t kl_clock_monotonic_ns(void) {
    return read_ns(CLOCK_MONOTONIC);
}

uint64_t kl_clock_realtime_ns(void) {
    return read_ns(CLOCK_REALTIME);
}

uint64_t kl_clock_boottime_ns(void) {
    return read_ns(CLOCK_BOOTTIME);
}

uint64_t kl_clock_deadline_ns(uint64_t timeout_ns) {
    uint64_t now = read_ns(CLOCK_MONOTONIC);
    return timeout_ns >= KL_FOREVER - now ? KL_FOREVER : now + timeout_ns;
}

#ifdef __linux__
/* How the kernel names the clocks of others (include/linux/posix-timers_types.h). */
#define SCHEDULED  2u
#define PER_THREAD 4u

static uint64_t read_cpu_ns(uint32_t id, uint32_t kind) {
    struct timespec used;
    if (id == 0 || clock_gettime((clockid_t)(~id << 3 | kind), &used) != 0) return 0;
    return (uint64_t)used.tv_sec * KL_NS_PER_S + (uint64_t)used.tv_nsec;
}

uint64_t kl_clock_thread_cpu_ns(uint32_t pid, uint32_t tid) {
    uint64_t used_ns = read_cpu_ns(tid, PER_THREAD | SCHEDULED); /* answers its own process only */
    return used_ns != 0 ? used_ns : read_cpu_ns(pid, SCHEDULED);
}
#else
uint64_t kl_clock_thread_cpu_ns(uint32_t pid, uint32_t tid) {
    (void)pid, (void)tid;
    return 0;
}
#endif

double kl_clock_monotonic_micros(void) {
    return (double)kl_clock_monotonic_ns() / 1000.0;
}
