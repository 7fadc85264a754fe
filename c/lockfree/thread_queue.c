#include "lockfree/thread_queue.h"

#include <string.h>

static uint32_t slot_bytes_for(uint32_t element_bytes) {
    return (8 + element_bytes + 15) & ~15u;
}

uint64_t kl_thread_queue_slots_bytes(uint32_t capacity, uint32_t element_bytes) {
    if (capacity >= KL_THREAD_QUEUE_CAPACITY_MIN && capacity <= KL_THREAD_QUEUE_CAPACITY_MAX &&
        (capacity & (capacity - 1)) == 0 && element_bytes >= 1 &&
        element_bytes <= KL_THREAD_QUEUE_ELEMENT_BYTES_MAX)
        return (uint64_t)capacity * slot_bytes_for(element_bytes);
    kl_fail(KL_ERR_ARGUMENT,
            "a queue of %u elements of %u bytes: the capacity is a power of two from %u to %u, an "
            "element 1 to %u bytes",
            capacity, element_bytes, KL_THREAD_QUEUE_CAPACITY_MIN, KL_THREAD_QUEUE_CAPACITY_MAX,
            KL_THREAD_QUEUE_ELEMENT_BYTES_MAX);
    return 0;
}

static _Atomic uint64_t *slot_at(const kl_thread_queue *queue, uint64_t position) {
    return (_Atomic uint64_t *)(void *)(queue->slots +
                                        (position & queue->mask) * queue->slot_bytes);
}

static uint8_t *element_at(const kl_thread_queue *queue, uint64_t position) {
    return (uint8_t *)(void *)slot_at(queue, position) + 8;
}

int32_t kl_thread_queue_init(kl_thread_queue *queue, void *slots, uint32_t capacity,
                             uint32_t element_bytes) {
    uint64_t bytes = kl_thread_queue_slots_bytes(capacity, element_bytes);
    if (bytes == 0) return KL_ERR_ARGUMENT;
    memset(queue, 0, sizeof *queue);
    memset(slots, 0, bytes);
    queue->slots = slots;
    queue->mask = capacity - 1;
    queue->element_bytes = element_bytes;
    queue->slot_bytes = slot_bytes_for(element_bytes);
    for (uint64_t position = 0; position < capacity; position++)
        /* relaxed: whoever hands the queue to other threads orders it. */
        atomic_store_explicit(slot_at(queue, position), position, memory_order_relaxed);
    return KL_OK;
}

/* Copies with the size known to the compiler where it is the usual one. */
static void copy(const kl_thread_queue *queue, void *to, const void *from) {
    if (queue->element_bytes == 8)
        memcpy(to, from, 8);
    else
        memcpy(to, from, queue->element_bytes);
}

/* relaxed: a position that is outdated is found to be so at its slot, or by a compare-exchange. */
static uint64_t position_of(const _Atomic uint64_t *end) {
    return atomic_load_explicit(end, memory_order_relaxed);
}

/* How many of up to `count` slots from `position` on have a sequence of their position + `ahead`. */
static uint32_t count_ready(const kl_thread_queue *queue, uint64_t position, uint64_t ahead,
                            uint32_t count, uint64_t *sequence) {
    uint32_t ready = 0;
    for (; ready < count; ready++) {
        /* acquire: partner is the release in hand_over; the slot is read, or written, after it. */
        *sequence = atomic_load_explicit(slot_at(queue, position + ready), memory_order_acquire);
        if (*sequence != position + ready + ahead) break;
    }
    return ready;
}

/* Takes up to `count` slots at `end`, which are ready with `ahead`: how many, *from the first of them.
 * 0 with *from: none, and that of `from` has not come to it. */
static uint32_t take(kl_thread_queue *queue, _Atomic uint64_t *end, uint64_t ahead, uint32_t count,
                     uint64_t *from) {
    uint64_t position = position_of(end), sequence = 0;
    for (;;) { /* each turn: another thread moved this end */
        uint32_t ready = count_ready(queue, position, ahead, count, &sequence);
        /* relaxed: what the slots hold is ordered by their sequences. */
        if (ready > 0 &&
            atomic_compare_exchange_weak_explicit(end, &position, position + ready,
                                                  memory_order_relaxed, memory_order_relaxed)) {
            *from = position;
            return ready;
        }
        if (ready > 0) continue; /* position is new */
        uint64_t now = position_of(end);
        *from = position;
        if (now == position && (int64_t)(sequence - position - ahead) < 0) return 0;
        position = now;
    }
}

static void hand_over(kl_thread_queue *queue, uint64_t position, uint64_t sequence) {
    /* release: partner is the acquire in count_ready. */
    atomic_store_explicit(slot_at(queue, position), sequence, memory_order_release);
}

int32_t kl_thread_queue_push_batch_mp(kl_thread_queue *queue, const void *elements,
                                      uint32_t count) {
    const uint8_t *element = elements;
    uint64_t from;
    if (count > queue->mask + 1) count = (uint32_t)queue->mask + 1;
    if (count == 0) return 0;
    uint32_t taken = take(queue, &queue->tail, 0, count, &from);
    for (uint32_t i = 0; i < taken; i++, element += queue->element_bytes) {
        copy(queue, element_at(queue, from + i), element);
        hand_over(queue, from + i, from + i + 1);
    }
    if (taken > 0) return (int32_t)taken;
    /* Full when nobody even began to pop the element there; read after tail was found to stand. */
    return from - position_of(&queue->head) > queue->mask ? KL_ERR_AGAIN : KL_ERR_LOCKED;
}

int32_t kl_thread_queue_pop_batch_mc(kl_thread_queue *queue, void *elements, uint32_t count) {
    uint8_t *element = elements;
    uint64_t from;
    if (count > queue->mask + 1) count = (uint32_t)queue->mask + 1;
    if (count == 0) return 0;
    uint32_t taken = take(queue, &queue->head, 1, count, &from);
    for (uint32_t i = 0; i < taken; i++, element += queue->element_bytes) {
        copy(queue, element, element_at(queue, from + i));
        hand_over(queue, from + i, from + i + queue->mask + 1);
    }
    if (taken > 0) return (int32_t)taken;
    return position_of(&queue->tail) == from ? KL_ERR_AGAIN : KL_ERR_LOCKED;
}

int32_t kl_thread_queue_push_mp(kl_thread_queue *queue, const void *element) {
    int32_t status = kl_thread_queue_push_batch_mp(queue, element, 1);
    return status == 1 ? KL_OK : status;
}

int32_t kl_thread_queue_pop_mc(kl_thread_queue *queue, void *element) {
    int32_t status = kl_thread_queue_pop_batch_mc(queue, element, 1);
    return status == 1 ? KL_OK : status;
}

uint32_t kl_thread_queue_size(const kl_thread_queue *queue) {
    uint64_t head = position_of(&queue->head), size = position_of(&queue->tail) - head;
    return size > queue->mask + 1 ? (uint32_t)queue->mask + 1 : (uint32_t)size;
}
