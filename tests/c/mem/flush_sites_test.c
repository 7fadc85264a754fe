/* The seam in a file that counts, drops and simulates sites. */
#define KL_FLUSH_SITES_DEBUG 1
#include "mem/flush.h"
#include "tests/c/harness.h"

#include <string.h>

static _Alignas(KL_LINE_BYTES) uint8_t bytes[1024];

static uint64_t figure(const _Atomic uint64_t *counter) {
    return atomic_load(counter);
}

/* Where the processor has nothing to count, a simulator that does nothing is asked instead. */
static void start(uint32_t method) {
    static const kl_flush_simulator nothing = {NULL, NULL, NULL};
    kl_flush_sites_reset();
    if (kl_flush_use(method) != KL_OK) kl_flush_simulate(&nothing);
}

KL_TEST(kl_flush_site_look_counts_lines_and_fences_that_ran) {
    start(KL_FLUSH_BEST);
    kl_flush_line(KL_SITE_SESSION, bytes + 100);
    kl_flush_range(KL_SITE_SESSION, bytes + 63, 2);
    kl_writeback_range(KL_SITE_SESSION, bytes, 640);
    kl_invalidate_range(KL_SITE_SESSION, bytes + 1, 64);
    kl_invalidate_range(KL_SITE_SESSION, bytes, 0);
    kl_store_fence(KL_SITE_SESSION);
    kl_load_fence(KL_SITE_SESSION);
    kl_load_fence(KL_SITE_SESSION);
    kl_full_fence(KL_SITE_SESSION);
    kl_flush_line(KL_SITE_CURSOR, bytes);
    const kl_flush_site_record *record = kl_flush_site_look(KL_SITE_SESSION);
    KL_CHECK_EQ(figure(&record->flushed_lines), 3);
    KL_CHECK_EQ(figure(&record->written_back_lines), 10);
    KL_CHECK_EQ(figure(&record->invalidated_lines), 2);
    KL_CHECK_EQ(figure(&record->store_fences), 1);
    KL_CHECK_EQ(figure(&record->load_fences), 2);
    KL_CHECK_EQ(figure(&record->full_fences), 1);
    KL_CHECK_EQ(figure(&record->dropped_lines), 0);
    KL_CHECK_EQ(figure(&kl_flush_site_look(KL_SITE_CURSOR)->flushed_lines), 1);
    KL_CHECK_EQ(figure(&kl_flush_site_look(KL_SITE_ORDER_CUT)->flushed_lines), 0);
    kl_flush_use(KL_FLUSH_NONE);
}

KL_TEST(kl_flush_site_look_counts_nothing_when_switched_off) {
    start(KL_FLUSH_NONE);
    kl_flush_range(KL_SITE_SESSION, bytes, sizeof bytes);
    kl_full_fence(KL_SITE_SESSION);
    KL_CHECK_EQ(figure(&kl_flush_site_look(KL_SITE_SESSION)->flushed_lines), 0);
    KL_CHECK_EQ(figure(&kl_flush_site_look(KL_SITE_SESSION)->full_fences), 0);
    KL_CHECK_EQ(kl_flush_site_look(KL_FLUSH_SITE_COUNT), NULL);
}

KL_TEST(kl_flush_site_drop_keeps_one_site_from_doing_anything) {
    start(KL_FLUSH_BEST);
    kl_flush_site_drop(KL_SITE_SESSION, true);
    kl_flush_range(KL_SITE_SESSION, bytes, 128);
    kl_invalidate_range(KL_SITE_SESSION, bytes, 64);
    kl_store_fence(KL_SITE_SESSION);
    kl_flush_range(KL_SITE_CURSOR, bytes, 128);
    const kl_flush_site_record *record = kl_flush_site_look(KL_SITE_SESSION);
    KL_CHECK_EQ(figure(&record->dropped_lines), 3);
    KL_CHECK_EQ(figure(&record->dropped_fences), 1);
    KL_CHECK_EQ(figure(&record->flushed_lines), 0);
    KL_CHECK_EQ(figure(&record->store_fences), 0);
    KL_CHECK_EQ(figure(&kl_flush_site_look(KL_SITE_CURSOR)->flushed_lines), 2);
    kl_flush_site_drop(KL_SITE_SESSION, false);
    kl_flush_line(KL_SITE_SESSION, bytes);
    KL_CHECK_EQ(figure(&record->flushed_lines), 1);
    kl_flush_use(KL_FLUSH_NONE);
}

typedef struct {
    uint32_t line_count, fence_count;
    const void *last_line;
    enum kl_flush_work last_work;
    enum kl_flush_fence last_fence;
    enum kl_flush_site last_site;
} seen_calls;

static void see_line(void *context, enum kl_flush_site site, enum kl_flush_work work,
                     const void *line) {
    seen_calls *seen = context;
    seen->line_count++;
    seen->last_site = site;
    seen->last_work = work;
    seen->last_line = line;
}

static void see_fence(void *context, enum kl_flush_site site, enum kl_flush_fence fence) {
    seen_calls *seen = context;
    seen->fence_count++;
    seen->last_site = site;
    seen->last_fence = fence;
}

KL_TEST(kl_flush_simulate_gets_every_call_though_switched_off) {
    seen_calls seen = {0};
    const kl_flush_simulator simulator = {&seen, see_line, see_fence};
    start(KL_FLUSH_NONE);
    kl_flush_simulate(&simulator);
    kl_flush_range(KL_SITE_LANE_ORDER, bytes + 1, 64);
    KL_CHECK_EQ(seen.line_count, 2);
    KL_CHECK_EQ(seen.last_line, bytes + 64);
    KL_CHECK_EQ(seen.last_work, KL_WORK_FLUSH);
    KL_CHECK_EQ(seen.last_site, KL_SITE_LANE_ORDER);
    kl_invalidate_range(KL_SITE_CURSOR, bytes, 1);
    KL_CHECK_EQ(seen.last_work, KL_WORK_INVALIDATE);
    kl_store_fence(KL_SITE_CURSOR);
    KL_CHECK_EQ(seen.fence_count, 1);
    KL_CHECK_EQ(seen.last_fence, KL_FENCE_STORE);
    kl_flush_site_drop(KL_SITE_CURSOR, true);
    kl_flush_line(KL_SITE_CURSOR, bytes);
    kl_full_fence(KL_SITE_CURSOR);
    KL_CHECK_EQ(seen.line_count, 3);
    KL_CHECK_EQ(seen.fence_count, 1);
    kl_flush_sites_reset();
    kl_flush_line(KL_SITE_CURSOR, bytes);
    KL_CHECK_EQ(seen.line_count, 3);
}

static void flush_many(void *argument, uint32_t index) {
    (void)argument;
    for (int i = 0; i < 1000; i++) {
        kl_flush_line(KL_SITE_ORDER_ENTRY, bytes + 64 * index);
        kl_store_fence(KL_SITE_ORDER_ENTRY);
    }
}

KL_TEST(kl_flush_site_look_counts_from_all_threads) {
    start(KL_FLUSH_BEST);
    kl_test_threads(4, flush_many, NULL);
    KL_CHECK_EQ(figure(&kl_flush_site_look(KL_SITE_ORDER_ENTRY)->flushed_lines), 4000);
    KL_CHECK_EQ(figure(&kl_flush_site_look(KL_SITE_ORDER_ENTRY)->store_fences), 4000);
    kl_flush_use(KL_FLUSH_NONE);
}
