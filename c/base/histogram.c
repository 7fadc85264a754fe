#include "base/histogram.h"

#define SUB_COUNT (1u << KL_HISTOGRAM_SUB_BITS)

/* relaxed everywhere in this file: each figure stands for itself, and with one writer a load and a
 * store make an increment. */
static uint64_t get(const _Atomic uint64_t *word) {
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void set(_Atomic uint64_t *word, uint64_t value) {
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static uint32_t bucket_of(uint64_t value) {
    if (value < SUB_COUNT) return (uint32_t)value;
    uint32_t exponent = 63u - (uint32_t)__builtin_clzll(value);
    uint32_t shift = exponent - KL_HISTOGRAM_SUB_BITS;
    /* value >> shift lies in 64 .. 127, and bucket 64 begins the power of two with shift 0. */
    return shift * SUB_COUNT + (uint32_t)(value >> shift);
}

/* The largest value that goes into a bucket. */
static uint64_t bucket_top(uint32_t bucket) {
    if (bucket < SUB_COUNT) return bucket;
    uint32_t shift = bucket / SUB_COUNT - 1;
    uint64_t first = (uint64_t)(bucket % SUB_COUNT + SUB_COUNT) << shift;
    return first + ((1ull << shift) - 1);
}

void kl_histogram_reset(kl_histogram *histogram) {
    set(&histogram->count, 0);
    set(&histogram->sum, 0);
    set(&histogram->min, UINT64_MAX);
    set(&histogram->max, 0);
    for (uint32_t i = 0; i < KL_HISTOGRAM_BUCKET_COUNT; i++) set(&histogram->buckets[i], 0);
}

void kl_histogram_record(kl_histogram *histogram, uint64_t value) {
    if (value > KL_HISTOGRAM_VALUE_MAX) value = KL_HISTOGRAM_VALUE_MAX;
    _Atomic uint64_t *bucket = &histogram->buckets[bucket_of(value)];
    set(bucket, get(bucket) + 1);
    set(&histogram->sum, get(&histogram->sum) + value);
    if (value < get(&histogram->min)) set(&histogram->min, value);
    if (value > get(&histogram->max)) set(&histogram->max, value);
    set(&histogram->count, get(&histogram->count) + 1);
}

void kl_histogram_merge(kl_histogram *into, const kl_histogram *from) {
    uint64_t count = 0;
    for (uint32_t i = 0; i < KL_HISTOGRAM_BUCKET_COUNT; i++) {
        uint64_t more = get(&from->buckets[i]);
        if (more == 0) continue;
        count += more;
        set(&into->buckets[i], get(&into->buckets[i]) + more);
    }
    if (count == 0) return;
    /* The count is that of the buckets taken, so the result agrees with itself. */
    set(&into->count, get(&into->count) + count);
    set(&into->sum, get(&into->sum) + get(&from->sum));
    uint64_t min = get(&from->min), max = get(&from->max);
    if (min < get(&into->min)) set(&into->min, min);
    if (max > get(&into->max)) set(&into->max, max);
}

uint64_t kl_histogram_percentile(const kl_histogram *histogram, double percent) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < KL_HISTOGRAM_BUCKET_COUNT; i++) total += get(&histogram->buckets[i]);
    if (total == 0) return 0;
    if (!(percent > 0)) percent = 0; /* NaN, too */
    if (percent > 100) percent = 100;
    /* The rank of the value asked for, 1 .. total, rounded up. */
    double exact = (double)total * percent / 100.0;
    uint64_t rank = exact >= (double)total ? total : (uint64_t)exact;
    if ((double)rank < exact && rank < total) rank++;
    if (rank == 0) rank = 1;
    uint64_t seen = 0, max = get(&histogram->max);
    for (uint32_t i = 0; i < KL_HISTOGRAM_BUCKET_COUNT; i++) {
        seen += get(&histogram->buckets[i]);
        if (seen < rank) continue;
        uint64_t top = bucket_top(i);
        return top < max ? top : max;
    }
    return max; /* a bucket was reset while we counted */
}

void kl_histogram_summarize(const kl_histogram *histogram, kl_histogram_summary *out) {
    *out = (kl_histogram_summary){.count = get(&histogram->count)};
    if (out->count == 0) return;
    out->min = get(&histogram->min);
    out->max = get(&histogram->max);
    out->mean = (double)get(&histogram->sum) / (double)out->count;
    out->p50 = kl_histogram_percentile(histogram, 50);
    out->p90 = kl_histogram_percentile(histogram, 90);
    out->p99 = kl_histogram_percentile(histogram, 99);
    out->p999 = kl_histogram_percentile(histogram, 99.9);
}

int32_t kl_histogram_verify(const kl_histogram *histogram) {
    uint64_t total = 0, count = get(&histogram->count);
    uint32_t first = KL_HISTOGRAM_BUCKET_COUNT, last = 0;
    for (uint32_t i = 0; i < KL_HISTOGRAM_BUCKET_COUNT; i++) {
        uint64_t here = get(&histogram->buckets[i]);
        if (here == 0) continue;
        total += here;
        if (first == KL_HISTOGRAM_BUCKET_COUNT) first = i;
        last = i;
    }
    uint64_t min = get(&histogram->min), max = get(&histogram->max);
    if (total != count)
        return kl_fail(KL_ERR_CORRUPT, "histogram: buckets hold %llu values, the count says %llu",
                       (unsigned long long)total, (unsigned long long)count);
    if (count == 0) return KL_OK;
    if (min > max || max > KL_HISTOGRAM_VALUE_MAX || bucket_of(min) != first ||
        bucket_of(max) != last)
        return kl_fail(KL_ERR_CORRUPT, "histogram: %llu .. %llu are not the ends of its buckets",
                       (unsigned long long)min, (unsigned long long)max);
    return KL_OK;
}
