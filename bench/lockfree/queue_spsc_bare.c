/* spsc_ring of 8-byte records in bare C: see queue_drive.h. */
#include "lockfree/spsc_ring.h"

#include <stdlib.h>

typedef kl_spsc_ring queue;
typedef queue queue_end;

static queue *queue_open(uint64_t capacity) {
    uint64_t bytes = kl_spsc_ring_memory_bytes(capacity * 8);
    void *memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    queue *made = aligned_alloc(128, (sizeof *made + 127) / 128 * 128);
    if (memory == NULL || made == NULL) exit(1);
    memset(memory, 0, bytes);
    if (kl_spsc_ring_format(memory, capacity * 8, 8) != KL_OK) exit(1);
    if (kl_spsc_ring_grip(made, memory, bytes) != KL_OK) exit(1);
    return made;
}

static queue_end *queue_take(queue *one, bool pushes, uint32_t index) {
    (void)pushes, (void)index;
    return one;
}

static inline bool queue_push(queue_end *end, uint64_t value) {
    return kl_spsc_ring_push_u64_sp(end, value) == KL_OK;
}

static inline bool queue_pop(queue_end *end, uint64_t *value) {
    return kl_spsc_ring_pop_u64_sc(end, value) == KL_OK;
}

#include "bench/lockfree/queue_drive.h"

int main(int count, char **words) {
    return drive_queue(count, words);
}
