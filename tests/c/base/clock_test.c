#include "base/clock.h"
#include "tests/c/harness.h"

#include <time.h>

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
