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

double kl_clock_monotonic_micros(void) {
    return (double)kl_clock_monotonic_ns() / 1000.0;
}
