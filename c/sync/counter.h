/* counter: a sum that many threads and processes add to, each on a line of its own.
 *
 *   line 0   magic, version   written once by format
 *   line 1-  cells            one per thread slot of the region; written by the thread that holds the
 *                             slot (kl_region_thread_join), plain: nobody else writes it
 *
 * Always: the value is the sum of all cells, modulo 2^64. An add that happened before a read is in
 * it; adds at the same time are in it or not, each by itself.
 * Death: a cell keeps what its dead writer added, and the next thread that gets the slot goes on
 * from there: nothing is lost but the add in which somebody died, which counts or does not, whole.
 * The slot changes hands through a lock of the kernel, so the next one sees the last one's count.
 * Progress: add is wait-free, two instructions on a line that nobody else writes; a read takes
 * KL_PARTICIPANTS loads.
 * Scribbled memory: a wrong sum, nothing else.
 *
 * May these run at the same time?  any with any; add is the cell's own thread's.
 */
#ifndef KL_SYNC_COUNTER_H
#define KL_SYNC_COUNTER_H

#include "mem/region.h"

#define KL_COUNTER_MAGIC   0x54434c4bu /* "KLCT" */
#define KL_COUNTER_VERSION 1u

typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t count;
    uint8_t reserved[KL_LINE_BYTES - 8];
} kl_counter_cell;

/* layout: kl_counter magic version cells */
typedef struct {
    _Alignas(KL_LINE_BYTES) uint32_t magic;
    uint32_t version;
    kl_counter_cell cells[KL_PARTICIPANTS];
} kl_counter;

static_assert(sizeof(kl_counter_cell) == KL_LINE_BYTES, "one line per writer");
static_assert(sizeof(kl_counter) == (1 + KL_PARTICIPANTS) * KL_LINE_BYTES, "nothing between");

void kl_counter_format(kl_counter *counter);
/* KL_OK, KL_ERR_CORRUPT, KL_ERR_VERSION. */
int32_t kl_counter_check(const kl_counter *counter, uint64_t memory_bytes);

/* The cell of a thread of the region that the counter lies in; any number is masked. */
static inline kl_counter_cell *kl_counter_cell_of(kl_counter *counter, uint32_t thread) {
    return &counter->cells[thread & (KL_PARTICIPANTS - 1)];
}

static inline void kl_counter_add_sp(kl_counter_cell *cell, uint64_t amount) {
    /* relaxed, and no read-modify-write: one writer; readers want the number alone. */
    uint64_t count = atomic_load_explicit(&cell->count, memory_order_relaxed);
    atomic_store_explicit(&cell->count, count + amount, memory_order_relaxed);
}

uint64_t kl_counter_value(kl_counter *counter);

#endif
