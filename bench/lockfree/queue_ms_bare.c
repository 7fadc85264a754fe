/* ms_queue in bare C: see queue_drive.h. */
#include "lockfree/ms_queue.h"

#include "bench/frame/threads.h"

typedef struct {
    void *memory;
    uint64_t bytes;
    uint32_t ends;
} queue;
typedef kl_ms_queue queue_end;

static queue *queue_open(uint64_t capacity) {
    queue *made = calloc(1, sizeof *made);
    made->bytes = kl_ms_queue_memory_bytes((uint32_t)capacity, 8);
    made->memory = aligned_alloc(4096, (made->bytes + 4095) / 4096 * 4096);
    memset(made->memory, 0, made->bytes);
    if (kl_ms_queue_format(made->memory, (uint32_t)capacity, 8) != KL_OK) exit(1);
    return made;
}

/* One grip for each end: a thread that has both is two participants, which costs nobody anything. */
static queue_end *queue_take(queue *one, bool pushes, uint32_t index) {
    (void)pushes, (void)index;
    kl_ms_queue *end = aligned_alloc(128, (sizeof *end + 127) / 128 * 128);
    uint32_t number = __atomic_fetch_add(&one->ends, 1, __ATOMIC_RELAXED);
    if (kl_ms_queue_grip(end, one->memory, one->bytes) != KL_OK) exit(1);
    if (kl_ms_queue_join(end, kl_participant_id(1, number)) != KL_OK) exit(1);
    return end;
}

static inline bool queue_push(queue_end *end, uint64_t value) {
    return kl_ms_queue_push(end, &value) == KL_OK;
}

static inline bool queue_pop(queue_end *end, uint64_t *value) {
    return kl_ms_queue_pop(end, value) == KL_OK;
}

#include "bench/lockfree/queue_drive.h"

int main(int count, char **words) {
    return drive_queue(count, words);
}
