/* sync/hazard: hold up, look again, read, clear in bare C: see read_drive.h. */
#include "sync/hazard.h"

#include "bench/frame/threads.h"

#ifndef WITH_FENCES
#define WITH_FENCES false
#endif

typedef struct {
    kl_hazard hazards;
    kl_hazard_thread *own;
    uint32_t slot;
    _Atomic(uint64_t *) source;
} reader;

static reader *reader_open(uint64_t value) {
    static reader made;
    uint64_t *cell = aligned_alloc(64, 64);
    *cell = value;
    if (kl_hazard_open(&made.hazards, 0, WITH_FENCES) != KL_OK) exit(1);
    made.own = kl_hazard_here(&made.hazards);
    made.slot = (uint32_t)kl_hazard_reserve(&made.hazards, 1);
    atomic_store_explicit(&made.source, cell, memory_order_release);
    return &made;
}

static inline uint64_t reader_read(reader *one) {
    uint64_t *found = kl_hazard_protect(one->own, one->slot, &one->source);
    uint64_t value = *(volatile uint64_t *)found;
    kl_hazard_clear(one->own, one->slot);
    return value;
}

#include "bench/sync/read_drive.h"

int main(int count, char **words) {
    kl_membarrier_prepare(); /* before there are threads, as liburcu does: it takes 15 ms later on */
    return drive_read(count, words);
}
