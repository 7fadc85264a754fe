/* sync/epoch: enter, read, leave in bare C: see read_drive.h. */
#include "sync/epoch.h"

#include "bench/frame/threads.h"

#ifndef WITH_FENCES
#define WITH_FENCES false
#endif

typedef struct {
    kl_epoch epoch;
    _Atomic(uint64_t *) source;
} reader;

static reader *reader_open(uint64_t value) {
    static reader made;
    uint64_t *cell = aligned_alloc(64, 64);
    *cell = value;
    kl_epoch_options options = {.fences = WITH_FENCES};
    if (kl_epoch_open(&made.epoch, &options) != KL_OK) exit(1);
    if (kl_epoch_advance(&made.epoch, 0) != 0) exit(1); /* as the maintenance service does */
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
    kl_membarrier_prepare(); /* before there are threads, as liburcu does: it takes 15 ms later on */
    return drive_read(count, words);
}
