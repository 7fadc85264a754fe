/* sync/rcu with quiescent states: read in bare C: see read_drive.h. */
#include "sync/rcu.h"

#include "bench/frame/threads.h"

typedef struct {
    kl_rcu rcu;
    kl_rcu_reader *own;
    _Atomic(uint64_t *) source;
} reader;

#define READER_QUIET
static inline void reader_quiet(reader *one) {
    kl_rcu_quiescent(one->own);
}

static reader *reader_open(uint64_t value) {
    static reader made;
    uint64_t *cell = aligned_alloc(64, 64);
    *cell = value;
    if (kl_rcu_open(&made.rcu, 0, false) != KL_OK) exit(1);
    made.own = kl_rcu_register(&made.rcu);
    if (made.own == NULL) exit(1);
    kl_rcu_online(made.own);
    atomic_store_explicit(&made.source, cell, memory_order_release);
    return &made;
}

static inline uint64_t reader_read(reader *one) {
    uint64_t *found = atomic_load_explicit(&one->source, memory_order_acquire);
    uint64_t value = *(volatile uint64_t *)found;
    return value;
}

#include "bench/sync/read_drive.h"

int main(int count, char **words) {
    kl_membarrier_prepare(); /* before there are threads, as liburcu does: it takes 15 ms later on */
    return drive_read(count, words);
}
