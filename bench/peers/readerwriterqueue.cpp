// moodycamel::ReaderWriterQueue, one producer and one consumer; room is allocated beforehand.
#include <readerwriterqueue/readerwriterqueue.h>

#include <cstdint>

typedef moodycamel::ReaderWriterQueue<uint64_t> queue;
typedef queue queue_end;

static queue *queue_open(uint64_t capacity) {
    return new queue(capacity);
}

static queue_end *queue_take(queue *one, bool, uint32_t) {
    return one;
}

static inline bool queue_push(queue_end *end, uint64_t value) {
    return end->try_enqueue(value);
}

static inline bool queue_pop(queue_end *end, uint64_t *value) {
    return end->try_dequeue(*value);
}

#include "bench/lockfree/queue_drive.h"

int main(int count, char **words) {
    return drive_queue(count, words);
}
