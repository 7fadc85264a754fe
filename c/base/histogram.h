/* histogram: how often which value came, to within 1.6 %, in a fixed size. For latencies.
 *
 * Log-linear: values below 64 are exact; above, each power of two is cut into 64 equal buckets. A
 * value above KL_HISTOGRAM_VALUE_MAX (18 minutes in nanoseconds) counts as that value.
 *
 * Writers: all fields by one thread at a time (or one process, in shared memory). Readers may look
 * at any time, from any process: each figure is then a true one of some moment, not all of the
 * same moment; merge into a private histogram first where several figures must fit together.
 * Always: a percentile is one of a bucket that holds values, never above the maximum. No pointers.
 * Progress: wait-free; record is a few plain instructions and allocates nothing.
 */
#ifndef KL_BASE_HISTOGRAM_H
#define KL_BASE_HISTOGRAM_H

#include "base/status.h"

#include <stdatomic.h>

#define KL_HISTOGRAM_SUB_BITS   6
#define KL_HISTOGRAM_VALUE_BITS 40
#define KL_HISTOGRAM_VALUE_MAX  ((1ull << KL_HISTOGRAM_VALUE_BITS) - 1)
#define KL_HISTOGRAM_BUCKET_COUNT \
    ((KL_HISTOGRAM_VALUE_BITS - KL_HISTOGRAM_SUB_BITS + 1) << KL_HISTOGRAM_SUB_BITS)

typedef struct {
    _Atomic uint64_t count;
    _Atomic uint64_t sum;
    _Atomic uint64_t min; /* UINT64_MAX while empty */
    _Atomic uint64_t max;
    _Atomic uint64_t buckets[KL_HISTOGRAM_BUCKET_COUNT];
} kl_histogram;

static_assert(KL_HISTOGRAM_BUCKET_COUNT == 2240, "64 exact ones and 34 powers of two of 64 each");

typedef struct {
    uint64_t count, min, max, p50, p90, p99, p999;
    double mean;
} kl_histogram_summary;

/* Also makes fresh memory into a histogram. */
void kl_histogram_reset(kl_histogram *histogram);

void kl_histogram_record(kl_histogram *histogram, uint64_t value);

/* Adds all of `from`, which may be written meanwhile, to `into`, which this thread writes. */
void kl_histogram_merge(kl_histogram *into, const kl_histogram *from);

/* The value that `percent` (0 .. 100) of all values do not exceed, at most 1.6 % above the exact
 * one. 0 when empty; percent outside of its range counts as the nearer end. */
uint64_t kl_histogram_percentile(const kl_histogram *histogram, double percent);

/* All figures. Zeros when empty. */
void kl_histogram_summarize(const kl_histogram *histogram, kl_histogram_summary *out);

/* KL_ERR_CORRUPT when the figures cannot belong together. Only while nobody writes. */
int32_t kl_histogram_verify(const kl_histogram *histogram);

#endif
