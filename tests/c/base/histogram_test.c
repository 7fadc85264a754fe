#include "base/histogram.h"
#include "base/random.h"
#include "tests/c/harness.h"

#include <stdlib.h>

#define VALUE_COUNT 20000

static kl_histogram one, two;

KL_TEST(kl_histogram_reset_makes_it_empty) {
    kl_histogram_summary summary;
    kl_histogram_reset(&one);
    kl_histogram_record(&one, 5);
    kl_histogram_reset(&one);
    KL_CHECK_EQ(kl_histogram_percentile(&one, 99), 0);
    kl_histogram_summarize(&one, &summary);
    KL_CHECK_EQ(summary.count, 0);
    KL_CHECK_EQ(summary.min, 0);
    KL_CHECK_EQ(summary.max, 0);
    KL_CHECK_EQ(kl_histogram_verify(&one), KL_OK);
}

static int by_value(const void *a, const void *b) {
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

/* The dull one: all values, sorted. */
KL_TEST(kl_histogram_percentile_is_within_its_error_of_the_sorted_values) {
    static uint64_t values[VALUE_COUNT];
    static const double percents[] = {0, 1, 10, 50, 90, 99, 99.9, 99.99, 100};
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    kl_histogram_reset(&one);
    for (uint32_t i = 0; i < VALUE_COUNT; i++) {
        values[i] = kl_random_u64(&random) >> (24 + kl_random_below(&random, 40));
        kl_histogram_record(&one, values[i]);
    }
    qsort(values, VALUE_COUNT, sizeof *values, by_value);
    for (size_t i = 0; i < sizeof percents / sizeof *percents; i++) {
        double exact_rank = VALUE_COUNT * percents[i] / 100;
        uint64_t rank = (uint64_t)exact_rank;
        if ((double)rank < exact_rank) rank++;
        uint64_t exact = values[rank == 0 ? 0 : rank - 1];
        uint64_t got = kl_histogram_percentile(&one, percents[i]);
        KL_CHECK_LE(exact, got);
        KL_CHECK((double)(got - exact) <= 0.016 * (double)exact);
    }
    KL_CHECK_EQ(kl_histogram_percentile(&one, 100), values[VALUE_COUNT - 1]);
    KL_CHECK_EQ(kl_histogram_verify(&one), KL_OK);
}

KL_TEST(kl_histogram_record_puts_every_border_into_its_bucket) {
    for (uint32_t bit = 0; bit < KL_HISTOGRAM_VALUE_BITS; bit++)
        for (uint64_t around = 0; around <= 2; around++) {
            uint64_t value = (1ull << bit) - 1 + around;
            kl_histogram_reset(&one);
            kl_histogram_record(&one, value);
            KL_CHECK_EQ(kl_histogram_percentile(&one, 50), value);
            KL_CHECK_EQ(kl_histogram_verify(&one), KL_OK);
            kl_histogram_record(&one, KL_HISTOGRAM_VALUE_MAX);
            uint64_t top = kl_histogram_percentile(&one, 50);
            KL_CHECK(top >= value && (double)(top - value) <= 0.016 * (double)value);
        }
}

KL_TEST(kl_histogram_record_counts_too_large_values_as_the_largest) {
    kl_histogram_reset(&one);
    kl_histogram_record(&one, UINT64_MAX);
    kl_histogram_record(&one, KL_HISTOGRAM_VALUE_MAX + 1);
    KL_CHECK_EQ(kl_histogram_percentile(&one, 1), KL_HISTOGRAM_VALUE_MAX);
    KL_CHECK_EQ(kl_histogram_verify(&one), KL_OK);
}

KL_TEST(kl_histogram_percentile_takes_any_percent) {
    kl_histogram_reset(&one);
    for (uint64_t value = 1; value <= 10; value++) kl_histogram_record(&one, value);
    KL_CHECK_EQ(kl_histogram_percentile(&one, -5), 1);
    KL_CHECK_EQ(kl_histogram_percentile(&one, 0), 1);
    KL_CHECK_EQ(kl_histogram_percentile(&one, 10), 1);
    KL_CHECK_EQ(kl_histogram_percentile(&one, 10.001), 2);
    KL_CHECK_EQ(kl_histogram_percentile(&one, 500), 10);
    KL_CHECK_EQ(kl_histogram_percentile(&one, __builtin_nan("")), 1);
}

KL_TEST(kl_histogram_merge_equals_recording_everything_in_one) {
    static kl_histogram all;
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    kl_histogram_reset(&one);
    kl_histogram_reset(&two);
    kl_histogram_reset(&all);
    for (int i = 0; i < 5000; i++) {
        uint64_t value = kl_random_below(&random, 1000000);
        kl_histogram_record(i % 3 == 0 ? &one : &two, value);
        kl_histogram_record(&all, value);
    }
    kl_histogram_merge(&one, &two);
    KL_CHECK_BYTES(&one, &all, sizeof all);
    kl_histogram_reset(&two);
    kl_histogram_merge(&one, &two); /* an empty one changes nothing */
    KL_CHECK_BYTES(&one, &all, sizeof all);
}

KL_TEST(kl_histogram_summarize_gives_all_figures) {
    kl_histogram_summary summary;
    kl_histogram_reset(&one);
    for (uint64_t value = 1; value <= 60; value++) kl_histogram_record(&one, value);
    kl_histogram_summarize(&one, &summary);
    KL_CHECK_EQ(summary.count, 60);
    KL_CHECK_EQ(summary.min, 1);
    KL_CHECK_EQ(summary.max, 60);
    KL_CHECK_EQ(summary.p50, 30);
    KL_CHECK_EQ(summary.p90, 54);
    KL_CHECK_EQ(summary.p99, 60);
    KL_CHECK(summary.mean == 30.5);
}

KL_TEST(kl_histogram_verify_sees_scribbled_figures) {
    kl_histogram_reset(&one);
    kl_histogram_record(&one, 100);
    atomic_store(&one.count, 2);
    KL_CHECK_EQ(kl_histogram_verify(&one), KL_ERR_CORRUPT);
    atomic_store(&one.count, 1);
    atomic_store(&one.max, 5000);
    KL_CHECK_EQ(kl_histogram_verify(&one), KL_ERR_CORRUPT);
    atomic_store(&one.max, 100);
    KL_CHECK_EQ(kl_histogram_verify(&one), KL_OK);
}

/* Thread 0 writes, the others read all the time: what they see is never outside of the truth. */
static void write_or_read(void *argument, uint32_t index) {
    kl_histogram *shared = argument;
    static _Thread_local kl_histogram mine;
    for (int i = 0; i < (kl_test_slow() ? 100 : 1000); i++) {
        if (index == 0) {
            for (uint64_t value = 1000; value < 1100; value++) kl_histogram_record(shared, value);
            continue;
        }
        kl_histogram_reset(&mine);
        kl_histogram_merge(&mine, shared);
        uint64_t p50 = kl_histogram_percentile(&mine, 50);
        KL_CHECK(p50 == 0 || (p50 >= 1000 && p50 < 1100));
    }
}

KL_TEST(kl_histogram_merge_while_another_thread_records) {
    kl_histogram_reset(&two);
    kl_test_threads(3, write_or_read, &two);
    KL_CHECK_EQ(kl_histogram_verify(&two), KL_OK);
}
