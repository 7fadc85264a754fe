/* mpmc_queue of u64 in bare C: see queue_drive.h. */
#include "lockfree/mpmc_queue.h"

#include "bench/frame/threads.h"

typedef struct {
    kl_mpmc_queue grip;
    uint32_t self;
} queue;
typedef queue queue_end;

static queue *queue_open(uint64_t capacity) {
    kl_mpmc_queue_geometry geometry = {.capacity = (uint32_t)capacity, .element_bytes = 8};
    uint64_t bytes = kl_mpmc_queue_memory_bytes(&geometry);
    void *memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    queue *made = aligned_alloc(128, (sizeof *made + 127) / 128 * 128);
    memset(memory, 0, bytes);
    if (kl_mpmc_queue_format(memory, &geometry) != KL_OK) exit(1);
    if (kl_mpmc_queue_grip(&made->grip, memory, bytes) != KL_OK) exit(1);
    made->self = kl_participant_id(1, 0);
    return made;
}

static queue_end *queue_take(queue *one, bool pushes, uint32_t index) {
    (void)pushes, (void)index;
    return one;
}

static inline bool queue_push(queue_end *end, uint64_t value) {
    return kl_mpmc_queue_push_mp(&end->grip, end->self, &value, NULL) == KL_OK;
}

static inline bool queue_pop(queue_end *end, uint64_t *value) {
    return kl_mpmc_queue_pop_mc(&end->grip, end->self, value, NULL) == KL_OK;
}

#define QUEUE_HAS_MANY
static inline uint32_t queue_push_many(queue_end *end, const uint64_t *values, uint32_t count) {
    int32_t done = kl_mpmc_queue_push_batch_mp(&end->grip, end->self, values, count, NULL);
    return done > 0 ? (uint32_t)done : 0;
}

static inline uint32_t queue_pop_many(queue_end *end, uint64_t *values, uint32_t count) {
    int32_t done = kl_mpmc_queue_pop_batch_mc(&end->grip, end->self, values, count, NULL);
    return done > 0 ? (uint32_t)done : 0;
}

#include "bench/lockfree/queue_drive.h"

int main(int count, char **words) {
    return drive_queue(count, words);
}
