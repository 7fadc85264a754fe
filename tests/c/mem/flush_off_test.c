/* The seam in a file that is built without it. */
#define KL_FLUSH_OFF 1
#include "mem/flush.h"
#include "tests/c/harness.h"

static uint8_t bytes[4096];

static uint64_t all_calls_ns(void) {
    uint64_t start = kl_test_now_ns();
    for (uint32_t i = 0; i < 1000; i++) {
        kl_flush_range(KL_SITE_SESSION, bytes, sizeof bytes);
        kl_writeback_range(KL_SITE_SESSION, bytes, sizeof bytes);
        kl_invalidate_range(KL_SITE_SESSION, bytes, sizeof bytes);
        kl_flush_line(KL_SITE_SESSION, bytes);
        kl_store_fence(KL_SITE_SESSION);
        kl_load_fence(KL_SITE_SESSION);
        kl_full_fence(KL_SITE_SESSION);
        kl_flush_range(KL_SITE_SESSION, (const void *)8, 100); /* would crash */
    }
    return kl_test_now_ns() - start;
}

KL_TEST(kl_flush_line_does_nothing_in_a_build_without_it) {
    kl_flush_use(KL_FLUSH_BEST); /* on for all other files, where the processor can */
    uint64_t best = UINT64_MAX;
    for (int repeat = 0; repeat < 20; repeat++) {
        uint64_t took = all_calls_ns();
        if (took < best) best = took;
    }
    kl_flush_use(KL_FLUSH_NONE);
    if (!kl_test_slow()) KL_CHECK_LT(best, 50000u); /* an mfence alone would take as long */
}
