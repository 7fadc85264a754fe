/* Concurrency Kit's ring, many of both. */
#include <ck_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct {
    ck_ring_t ring;
    ck_ring_buffer_t *buffer;
} queue;
typedef queue queue_end;

static queue *queue_open(uint64_t capacity) {
    queue *made = aligned_alloc(128, (sizeof *made + 127) / 128 * 128);
    ck_ring_init(&made->ring, (unsigned)capacity);
    made->buffer = aligned_alloc(4096, (capacity * sizeof *made->buffer + 4095) / 4096 * 4096);
    for (uint64_t i = 0; i < capacity; i++) made->buffer[i].value = NULL;
    return made;
}

static queue_end *queue_take(queue *one, bool pushes, uint32_t index) {
    (void)pushes, (void)index;
    return one;
}

static inline bool queue_push(queue_end *end, uint64_t value) {
    return ck_ring_enqueue_mpmc(&end->ring, end->buffer, (void *)(uintptr_t)value);
}

static inline bool queue_pop(queue_end *end, uint64_t *value) {
    void *found;
    if (!ck_ring_dequeue_mpmc(&end->ring, end->buffer, &found)) return false;
    *value = (uintptr_t)found;
    return true;
}

#include "bench/lockfree/queue_drive.h"

int main(int count, char **words) {
    return drive_queue(count, words);
}
