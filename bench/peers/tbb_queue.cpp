// oneTBB's concurrent_queue (unbounded: quicker than its bounded sibling).
#include <tbb/concurrent_queue.h>

#include <cstdint>

typedef TBB_QUEUE<uint64_t> queue;
typedef queue queue_end;

static queue *queue_open(uint64_t) {
    return new queue();
}

static queue_end *queue_take(queue *one, bool, uint32_t) {
    return one;
}

static inline bool queue_push(queue_end *end, uint64_t value) {
    end->push(value);
    return true;
}

static inline bool queue_pop(queue_end *end, uint64_t *value) {
    return end->try_pop(*value);
}

#include "bench/lockfree/queue_drive.h"

int main(int count, char **words) {
    return drive_queue(count, words);
}
