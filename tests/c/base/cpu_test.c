#include "base/cpu.h"
#include "tests/c/harness.h"

#include <sched.h>

KL_TEST(kl_cpu_count_follows_the_affinity) {
    cpu_set_t before, one;
    KL_CHECK_EQ(sched_getaffinity(0, sizeof before, &before), 0);
    KL_CHECK_EQ(kl_cpu_count(), CPU_COUNT(&before));
    size_t first = 0;
    while (!CPU_ISSET(first, &before)) first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    KL_CHECK_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    uint32_t count = kl_cpu_count();
    sched_setaffinity(0, sizeof before, &before);
    KL_CHECK_EQ(count, 1);
}

static void ask(void *argument, uint32_t index) {
    (void)index;
    for (int i = 0; i < 1000; i++) KL_CHECK_EQ(kl_cpu_features(), *(const uint32_t *)argument);
}

KL_TEST(kl_cpu_features_are_the_same_at_every_call_and_thread) {
    uint32_t features = kl_cpu_features();
    kl_test_threads(4, ask, &features);
}

KL_TEST(kl_cpu_features_agree_with_the_compiler) {
    uint32_t features = kl_cpu_features();
#if defined(__x86_64__)
    __builtin_cpu_init();
    KL_CHECK_EQ((features & KL_CPU_SSE42) != 0, __builtin_cpu_supports("sse4.2") != 0);
    KL_CHECK_EQ((features & KL_CPU_PCLMUL) != 0, __builtin_cpu_supports("pclmul") != 0);
    KL_CHECK_EQ((features & KL_CPU_AVX2) != 0, __builtin_cpu_supports("avx2") != 0);
    KL_CHECK_EQ((features & KL_CPU_AVX512) != 0, __builtin_cpu_supports("avx512f") != 0 &&
                                                     __builtin_cpu_supports("avx512bw") != 0 &&
                                                     __builtin_cpu_supports("avx512dq") != 0 &&
                                                     __builtin_cpu_supports("avx512vl") != 0);
    KL_CHECK_EQ(features & (KL_CPU_ARM_CRC | KL_CPU_ARM_DCPOP), 0);
#else
    KL_CHECK_EQ(features & (KL_CPU_SSE42 | KL_CPU_CLWB | KL_CPU_AVX512), 0);
#endif
}

KL_TEST(kl_cpu_pause_comes_back) {
    for (int i = 0; i < 1000; i++) kl_cpu_pause();
}

static void pin(void *argument, uint32_t index) {
    (void)argument;
    uint32_t count = kl_cpu_count();
    int32_t cpu = kl_cpu_nth(index % count);
    KL_CHECK(cpu >= 0);
    KL_CHECK_EQ(kl_cpu_pin((uint32_t)cpu), KL_OK);
    KL_CHECK_EQ(kl_cpu_current(), cpu);
    KL_CHECK_EQ(kl_cpu_nth(0), cpu);
    KL_CHECK_EQ(kl_cpu_nth(1), KL_ERR_LIMIT);
    KL_CHECK_EQ(kl_cpu_pin(8191), KL_ERR_ARGUMENT); /* not there: nothing changes */
    KL_CHECK_EQ(kl_cpu_pin(UINT32_MAX), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_cpu_count(), 1);
    KL_CHECK(kl_cpu_pinned() && kl_cpu_others_run());
    KL_CHECK_EQ(kl_cpu_unpin(), KL_OK);
    KL_CHECK_EQ(kl_cpu_count(), count);
    KL_CHECK(!kl_cpu_pinned());
    KL_CHECK_EQ(kl_cpu_others_run(), count > 1);
    KL_CHECK_EQ(kl_cpu_unpin(), KL_OK);
}

KL_TEST(kl_cpu_pin_holds_the_thread_that_asks_and_no_other) {
    uint32_t count = kl_cpu_count();
    kl_test_threads(3, pin, NULL);
    KL_CHECK_EQ(kl_cpu_count(), count);
}
