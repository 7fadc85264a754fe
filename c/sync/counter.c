#include "sync/counter.h"

#include <string.h>

static_assert((KL_PARTICIPANTS & (KL_PARTICIPANTS - 1)) == 0, "slots are masked");

void kl_counter_format(kl_counter *counter) {
    memset((void *)counter, 0, sizeof *counter);
    counter->magic = KL_COUNTER_MAGIC;
    counter->version = KL_COUNTER_VERSION;
}

int32_t kl_counter_check(const kl_counter *counter, uint64_t memory_bytes) {
    if (memory_bytes < sizeof *counter || counter->magic != KL_COUNTER_MAGIC)
        return kl_fail(KL_ERR_CORRUPT, "no counter here");
    if (counter->version != KL_COUNTER_VERSION)
        return kl_fail(KL_ERR_VERSION, "counter version %u, this build knows %u", counter->version,
                       KL_COUNTER_VERSION);
    return KL_OK;
}

uint64_t kl_counter_value(kl_counter *counter) {
    uint64_t sum = 0;
    /* relaxed: each cell by itself; see "Always". */
    for (uint32_t i = 0; i < KL_PARTICIPANTS; i++)
        sum += atomic_load_explicit(&counter->cells[i].count, memory_order_relaxed);
    return sum;
}
