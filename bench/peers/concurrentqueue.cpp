// moodycamel::ConcurrentQueue with a token for each thread, and its bulk calls for batches. Room is
// allocated beforehand; it is not linearizable across producers.
#include <concurrentqueue/concurrentqueue.h>

#include <cstdint>

typedef moodycamel::ConcurrentQueue<uint64_t> queue;
typedef struct {
    queue *shared;
    moodycamel::ProducerToken *producer;
    moodycamel::ConsumerToken *consumer;
} queue_end;

static queue *queue_open(uint64_t capacity) {
    return new queue(capacity, 4, 0);
}

static queue_end *queue_take(queue *one, bool pushes, uint32_t) {
    queue_end *end = new queue_end();
    end->shared = one;
    end->producer = pushes ? new moodycamel::ProducerToken(*one) : nullptr;
    end->consumer = pushes ? nullptr : new moodycamel::ConsumerToken(*one);
    return end;
}

static inline bool queue_push(queue_end *end, uint64_t value) {
    return end->shared->enqueue(*end->producer, value);
}

static inline bool queue_pop(queue_end *end, uint64_t *value) {
    return end->shared->try_dequeue(*end->consumer, *value);
}

static inline uint32_t queue_push_many(queue_end *end, const uint64_t *values, uint32_t count) {
    return end->shared->enqueue_bulk(*end->producer, values, count) ? count : 0;
}

static inline uint32_t queue_pop_many(queue_end *end, uint64_t *values, uint32_t count) {
    return (uint32_t)end->shared->try_dequeue_bulk(*end->consumer, values, count);
}

#define QUEUE_HAS_MANY
#include "bench/lockfree/queue_drive.h"

int main(int count, char **words) {
    return drive_queue(count, words);
}
