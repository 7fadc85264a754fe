#include "base/random.h"
#include "mem/flush.h"
#include "tests/c/harness.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define SITE KL_SITE_LANE_PAYLOAD

/* The methods this processor has. */
static uint32_t methods[4], method_count;

static void find_methods(void) {
    method_count = 0;
    for (uint32_t method = KL_FLUSH_CLFLUSH; method <= KL_FLUSH_DC; method++)
        if (kl_flush_use(method) == KL_OK) methods[method_count++] = method;
    kl_flush_use(KL_FLUSH_NONE);
    if (method_count == 0) printf("# no flush instructions on this processor\n");
}

KL_TEST(kl_flush_use_refuses_what_does_not_exist) {
    KL_CHECK_EQ(kl_flush_use(KL_FLUSH_NONE), KL_OK);
    KL_CHECK_EQ(kl_flush_use(5), KL_ERR_ARGUMENT);
    KL_CHECK_CONTAINS(kl_status_last(), "0..4");
    KL_CHECK_EQ(kl_flush_use(254), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_flush_use(UINT32_MAX), KL_ERR_ARGUMENT);
#if defined(__x86_64__)
    KL_CHECK_EQ(kl_flush_use(KL_FLUSH_DC), KL_ERR_UNSUPPORTED);
#elif defined(__aarch64__)
    KL_CHECK_EQ(kl_flush_use(KL_FLUSH_CLWB), KL_ERR_UNSUPPORTED);
#endif
    KL_CHECK_EQ(kl_flush_active(), KL_FLUSH_NONE); /* a refusal changes nothing */
}

KL_TEST(kl_flush_use_best_takes_what_the_processor_has) {
    find_methods();
    KL_CHECK_EQ(kl_flush_use(KL_FLUSH_BEST), method_count > 0 ? KL_OK : KL_ERR_UNSUPPORTED);
    if (method_count > 0) KL_CHECK_EQ(kl_flush_active(), methods[method_count - 1]);
    KL_CHECK_EQ(kl_flush_use(KL_FLUSH_NONE), KL_OK);
    KL_CHECK_EQ(kl_flush_active(), KL_FLUSH_NONE);
}

KL_TEST(kl_flush_site_name_knows_all_sites) {
    KL_CHECK_TEXT(kl_flush_site_name(KL_SITE_LANE_PAYLOAD), "LANE_PAYLOAD");
    for (uint32_t site = 0; site < KL_FLUSH_SITE_COUNT; site++)
        KL_CHECK_NE(kl_flush_site_name(site)[0], '?');
    KL_CHECK_TEXT(kl_flush_site_name(KL_FLUSH_SITE_COUNT), "?");
    KL_CHECK_TEXT(kl_flush_site_name(UINT32_MAX), "?");
}

KL_TEST(kl_flush_range_changes_no_byte_with_any_method) {
    static uint8_t shared[8192], model[8192];
    find_methods();
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (uint32_t i = 0; i <= method_count; i++) {
        kl_flush_use(i == 0 ? (uint32_t)KL_FLUSH_NONE : methods[i - 1]);
        for (int round = 0; round < 300; round++) {
            size_t from = kl_random_below(&random, sizeof shared);
            size_t bytes = kl_random_below(&random, sizeof shared - from + 1);
            memset(shared + from, round, bytes);
            memset(model + from, round, bytes);
            switch (round % 3) {
            case 0: kl_flush_range(SITE, shared + from, bytes); break;
            case 1: kl_writeback_range(SITE, shared + from, bytes); break;
            default: kl_invalidate_range(SITE, shared + from, bytes);
            }
            kl_flush_line(SITE, shared + from);
            kl_store_fence(SITE);
            kl_load_fence(SITE);
            kl_full_fence(SITE);
        }
        KL_CHECK_BYTES(shared, model, sizeof shared);
    }
    kl_flush_use(KL_FLUSH_NONE);
}

/* A page that cannot be touched stands before and after the range. */
KL_TEST(kl_flush_range_touches_the_lines_of_the_range_only) {
    find_methods();
    uint8_t *pages =
        mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    KL_CHECK(pages != MAP_FAILED);
    mprotect(pages, 4096, PROT_NONE);
    mprotect(pages + 8192, 4096, PROT_NONE);
    uint8_t *middle = pages + 4096;
    memset(middle, 1, 4096);
    for (uint32_t i = 0; i < method_count; i++) {
        kl_flush_use(methods[i]);
        kl_flush_range(SITE, middle, 4096);
        kl_flush_range(SITE, middle + 4095, 1);
        kl_invalidate_range(SITE, middle + 1, 4095);
        kl_writeback_range(SITE, middle + 4095, 1);
        kl_flush_range(SITE, middle + 4096, 0); /* no byte, no line */
        kl_flush_range(SITE, NULL, 0);
        kl_invalidate_range(SITE, NULL, 0);
    }
    kl_flush_use(KL_FLUSH_NONE);
    munmap(pages, 3 * 4096);
}

/* Whether a line really left the caches shows in the time of the next load. */
#define CHAIN_COUNT 512

typedef struct {
    _Alignas(KL_LINE_BYTES) uint32_t next;
} chain_line;

static chain_line chain[CHAIN_COUNT];

static void shuffle_chain(void) {
    uint32_t order[CHAIN_COUNT];
    kl_random random;
    kl_random_init(&random, 1);
    for (uint32_t i = 0; i < CHAIN_COUNT; i++) order[i] = i;
    for (uint32_t i = CHAIN_COUNT - 1; i > 0; i--) {
        uint32_t j = (uint32_t)kl_random_below(&random, i), swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
    for (uint32_t i = 0; i < CHAIN_COUNT; i++) chain[order[i]].next = order[(i + 1) % CHAIN_COUNT];
}

/* Nanoseconds per load, each of which waits for the one before. */
static double walk_ns(void) {
    uint32_t at = 0;
    uint64_t start = kl_test_now_ns();
    for (int i = 0; i < CHAIN_COUNT; i++) at = ((volatile chain_line *)chain)[at].next;
    return (double)(kl_test_now_ns() - start) / CHAIN_COUNT;
}

/* The median of walks, each after one call of `work` on the whole chain. */
static double median_walk_ns(void (*work)(void)) {
    double took[15];
    walk_ns();
    for (int i = 0; i < 15; i++) {
        work();
        double now = walk_ns();
        int at = i;
        for (; at > 0 && took[at - 1] > now; at--) took[at] = took[at - 1];
        took[at] = now;
    }
    return took[7];
}

static void work_nothing(void) {}

static void work_flush(void) {
    kl_flush_range(SITE, chain, sizeof chain);
    kl_full_fence(SITE);
}

static void work_lines(void) {
    for (uint32_t i = 0; i < CHAIN_COUNT; i++) kl_flush_line(SITE, &chain[i]);
    kl_full_fence(SITE);
}

static void work_invalidate(void) {
    kl_invalidate_range(SITE, chain, sizeof chain);
}

static void work_writeback(void) {
    kl_writeback_range(SITE, chain, sizeof chain);
    kl_store_fence(SITE);
}

KL_TEST(kl_flush_range_really_empties_the_cache_with_every_method) {
    find_methods();
    bool timed = !kl_test_slow(); /* a sanitizer's own work hides the difference */
    shuffle_chain();
    double cached = median_walk_ns(work_nothing);
    double off = median_walk_ns(work_flush);
    KL_CHECK(!timed || off < 4 * cached);
    for (uint32_t i = 0; i < method_count; i++) {
        kl_flush_use(methods[i]);
        double flushed = median_walk_ns(work_flush), lines = median_walk_ns(work_lines);
        double invalidated = median_walk_ns(work_invalidate);
        double written_back = median_walk_ns(work_writeback);
        kl_flush_use(KL_FLUSH_NONE);
        printf("# method %u: load %.1f ns cached, %.1f flushed, %.1f invalidated, %.1f written "
               "back\n",
               methods[i], cached, flushed, invalidated, written_back);
        KL_CHECK(!timed || flushed > 5 * cached);
        KL_CHECK(!timed || lines > 5 * cached);
        KL_CHECK(!timed || invalidated > 5 * cached);
    }
}

/* `rounds` calls on one line and a store fence after each; nanoseconds per pair. */
static double pair_ns(uint64_t rounds) {
    static _Alignas(KL_LINE_BYTES) volatile uint64_t word;
    uint64_t start = kl_test_now_ns();
    for (uint64_t i = 0; i < rounds; i++) {
        word = i;
        kl_flush_line(SITE, &word);
        kl_store_fence(SITE);
    }
    return (double)(kl_test_now_ns() - start) / (double)rounds;
}

KL_TEST(kl_flush_line_switched_off_costs_next_to_nothing) {
    find_methods();
    double off = pair_ns(100000);
    for (int repeat = 0; repeat < 9; repeat++) { /* the best: others use the processor, too */
        double again = pair_ns(100000);
        if (again < off) off = again;
    }
    printf("# store + flush + fence: %.2f ns off", off);
    for (uint32_t i = 0; i < method_count; i++) {
        kl_flush_use(methods[i]);
        printf(", %.1f ns method %u", pair_ns(2000), methods[i]);
    }
    kl_flush_use(KL_FLUSH_NONE);
    printf("\n");
    if (!kl_test_slow()) KL_CHECK(off < 3.0);
}

/* The protocol of the header between two threads: body, flush, fence, word, flush. */
static struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t word;
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t body[8];
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t seen; /* by the reader: lets the writer go on */
} shared;

static bool wait_for(_Atomic uint64_t *word, uint64_t value) {
    uint64_t end = kl_test_now_ns() + 20000000000u;
    for (uint32_t spin = 1;; spin++) {
        kl_invalidate_range(SITE, word, sizeof *word);
        /* acquire: partner is the release store of the other thread. */
        if (atomic_load_explicit(word, memory_order_acquire) == value) return true;
        kl_cpu_pause();
        if (spin % 1000 == 0 && kl_test_now_ns() > end) return false;
    }
}

static void set_word(_Atomic uint64_t *word, uint64_t value) {
    atomic_store_explicit(word, value, memory_order_release);
    kl_flush_line(SITE, word);
    kl_store_fence(SITE);
}

static void publish_or_read(void *argument, uint32_t index) {
    uint64_t last = *(const uint64_t *)argument;
    for (uint64_t turn = 1; turn <= last; turn++) {
        if (index == 0) {
            for (int i = 0; i < 8; i++)
                atomic_store_explicit(&shared.body[i], turn, memory_order_relaxed);
            kl_flush_range(SITE, shared.body, sizeof shared.body);
            kl_store_fence(SITE);
            set_word(&shared.word, turn);
            bool reader_answered = wait_for(&shared.seen, turn);
            KL_CHECK(reader_answered);
        } else {
            bool writer_published = wait_for(&shared.word, turn);
            KL_CHECK(writer_published);
            kl_invalidate_range(SITE, shared.body, sizeof shared.body);
            for (int i = 0; i < 8; i++)
                KL_CHECK_EQ(atomic_load_explicit(&shared.body[i], memory_order_relaxed), turn);
            set_word(&shared.seen, turn);
        }
    }
}

KL_TEST(kl_flush_range_then_fence_publishes_to_another_thread) {
    find_methods();
    uint64_t turns = kl_test_slow() ? 100 : 1000;
    for (uint32_t i = 0; i < method_count; i++) {
        kl_flush_use(methods[i]);
        memset(&shared, 0, sizeof shared);
        kl_test_threads(2, publish_or_read, &turns);
    }
    kl_flush_use(KL_FLUSH_NONE);
}
