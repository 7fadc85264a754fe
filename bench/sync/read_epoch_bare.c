/* sync/epoch: enter, read, leave in bare C: see read_drive.h. */
#include "sync/epoch.h"

#include "bench/frame/threads.h"

typedef struct {
    kl_epoch epoch;
    _Atomic(uint64_t *) source;
} reader;

static reader *reader_open(uint64_t value) {
    static reader made;
    uint64_t *cell = aligned_alloc(64, 64);
    *cell = value;
    if (kl_epoch_open(&made.epoch, NULL) != KL_OK) exit(1);
    atomic_store_explicit(&made.source, cell, memory_order_release);
    return &made;
}

static inline uint64_t reader_read(reader *one) {
    if (kl_epoch_enter(&one->epoch) != KL_OK) exit(3);
    uint64_t *found = atomic_load_explicit(&one->source, memory_order_acquire);
    uint64_t value = *(volatile uint64_t *)found;
    kl_epoch_leave(&one->epoch);
    return value;
}

#include "bench/sync/read_drive.h"

int main(int count, char **words) {
    return drive_read(count, words);
}
