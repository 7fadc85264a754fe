/* mpsc_ring with records of 8 bytes in bare C: see queue_drive.h. */
#include "lockfree/mpsc_ring.h"

#include "bench/frame/threads.h"

typedef struct {
    kl_mpsc_ring grip;
    void *memory;
    uint64_t bytes;
} queue;

typedef struct {
    _Alignas(128) kl_mpsc_ring *grip;
    uint32_t self;
    uint32_t words[3 * 256]; /* {u32 bytes, u64} of a batch */
} queue_end;

static queue *queue_open(uint64_t capacity) {
    queue *made = aligned_alloc(128, (sizeof *made + 127) / 128 * 128);
    made->bytes = kl_mpsc_ring_memory_bytes(16 * capacity);
    made->memory = aligned_alloc(4096, (made->bytes + 4095) / 4096 * 4096);
    memset(made->memory, 0, made->bytes);
    if (kl_mpsc_ring_format(made->memory, 16 * capacity) != KL_OK) exit(1);
    if (kl_mpsc_ring_grip(&made->grip, made->memory, made->bytes) != KL_OK) exit(1);
    return made;
}

static queue_end *queue_take(queue *one, bool pushes, uint32_t index) {
    queue_end *end = aligned_alloc(128, (sizeof *end + 127) / 128 * 128);
    end->grip = &one->grip;
    end->self = kl_participant_id(1, pushes ? 1 + index : 0);
    if (pushes && kl_mpsc_ring_enlist_mp(end->grip, end->self) != KL_OK) exit(1);
    if (!pushes && kl_mpsc_ring_take(end->grip, end->self, NULL, NULL) < 0) exit(1);
    return end;
}

static inline bool queue_push(queue_end *end, uint64_t value) {
    return kl_mpsc_ring_push_mp(end->grip, end->self, &value, 8) == KL_OK;
}

static inline bool queue_pop(queue_end *end, uint64_t *value) {
    return kl_mpsc_ring_pop_sc(end->grip, value, 8) == 8;
}

#define QUEUE_HAS_MANY
static inline uint32_t queue_push_many(queue_end *end, const uint64_t *values, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        end->words[3 * i] = 8;
        memcpy(&end->words[3 * i + 1], &values[i], 8);
    }
    int32_t done =
        kl_mpsc_ring_push_batch_mp(end->grip, end->self, (uint8_t *)end->words, count * 12);
    return done > 0 ? (uint32_t)done : 0;
}

static inline uint32_t queue_pop_many(queue_end *end, uint64_t *values, uint32_t count) {
    int32_t done = kl_mpsc_ring_pop_batch_sc(end->grip, (uint8_t *)end->words, count * 12);
    for (int32_t i = 0; i < done; i++) memcpy(&values[i], &end->words[3 * i + 1], 8);
    return done > 0 ? (uint32_t)done : 0;
}

#include "bench/lockfree/queue_drive.h"

int main(int count, char **words) {
    return drive_queue(count, words);
}
