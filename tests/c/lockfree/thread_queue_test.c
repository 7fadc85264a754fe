#include "lockfree/thread_queue.h"

#include "base/random.h"
#include "tests/c/harness.h"
#include "tests/c/lockfree/history.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* Slots of exactly their size, so that a sanitizer sees one byte too far. */
static kl_thread_queue *new_queue(uint32_t capacity, uint32_t element_bytes) {
    kl_thread_queue *queue = aligned_alloc(KL_LINE_BYTES, sizeof *queue);
    void *slots = malloc(kl_thread_queue_slots_bytes(capacity, element_bytes));
    KL_CHECK_EQ(kl_thread_queue_init(queue, slots, capacity, element_bytes), KL_OK);
    return queue;
}

static void free_queue(kl_thread_queue *queue) {
    free(queue->slots);
    free(queue);
}

/* The value, or the status. */
static int64_t pop(kl_thread_queue *queue) {
    uint64_t value;
    int32_t status = kl_thread_queue_pop_mc(queue, &value);
    return status == KL_OK ? (int64_t)value : status;
}

KL_TEST(kl_thread_queue_init_refuses_geometries_out_of_range) {
    uint32_t refused[][2] = {{0, 8}, {1, 8}, {3, 8}, {1u << 25, 8}, {4, 249}, {4, 0}};
    for (uint32_t i = 0; i < 6; i++) {
        kl_thread_queue queue;
        KL_CHECK_EQ(kl_thread_queue_init(&queue, NULL, refused[i][0], refused[i][1]),
                    KL_ERR_ARGUMENT);
    }
}

static void fill(uint8_t *element, uint64_t number, uint32_t bytes) {
    for (uint32_t i = 0; i < bytes; i++) element[i] = (uint8_t)(number * 7 + i);
}

static void preset(kl_thread_queue *queue, uint64_t start) {
    queue->head = queue->tail = start;
    for (uint64_t i = 0; i <= queue->mask; i++) {
        uint64_t position = start + i;
        memcpy(queue->slots + (position & queue->mask) * queue->slot_bytes, &position, 8);
    }
}

static void compare_with_model(uint32_t capacity, uint32_t element_bytes, uint64_t start) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    kl_thread_queue *queue = new_queue(capacity, element_bytes);
    preset(queue, start);
    uint64_t in = 0, out = 0;
    static uint8_t many[100 * 248], wanted[248];
    for (uint32_t i = 0; i < (kl_test_slow() ? 1000u : 10000u); i++) {
        uint32_t count = 1 + (uint32_t)kl_random_below(&random, 100);
        uint64_t room = capacity - (in - out), there = in - out;
        if (kl_random_below(&random, 2) == 0) {
            for (uint32_t at = 0; at < count; at++)
                fill(many + (size_t)at * element_bytes, in + at, element_bytes);
            int32_t done = kl_thread_queue_push_batch_mp(queue, many, count);
            KL_CHECK_EQ(done, room == 0 ? KL_ERR_AGAIN : (int64_t)(count < room ? count : room));
            in += done < 0 ? 0 : (uint64_t)done;
        } else {
            int32_t done = kl_thread_queue_pop_batch_mc(queue, many, count);
            KL_CHECK_EQ(done, there == 0 ? KL_ERR_AGAIN : (int64_t)(count < there ? count : there));
            for (int32_t at = 0; at < done; at++, out++) {
                fill(wanted, out, element_bytes);
                KL_CHECK_BYTES(many + (size_t)at * element_bytes, wanted, element_bytes);
            }
        }
        KL_CHECK_EQ(kl_thread_queue_size(queue), in - out);
    }
    free_queue(queue);
}

KL_TEST(kl_thread_queue_Q1_Q4_behaves_like_a_dull_queue) {
    uint32_t sizes[] = {1, 8, 13, 64, 248};
    for (uint32_t i = 0; i < 5; i++) compare_with_model(2u << (2 * i), sizes[i], 0);
}

KL_TEST(kl_thread_queue_Q4_positions_pass_2_to_the_32_and_63_and_wrap) {
    uint64_t starts[] = {(1ull << 32) - 64, (1ull << 63) - 64, UINT64_MAX - 63};
    for (uint32_t i = 0; i < 3; i++) compare_with_model(16, 8, starts[i]);
}

KL_TEST(kl_thread_queue_a_thread_in_the_middle_is_told_from_full_and_empty) {
    kl_thread_queue *queue = new_queue(2, 8);
    uint64_t value = 7;
    queue->tail = 1; /* a producer claimed the first slot and stands */
    KL_CHECK_EQ(pop(queue), KL_ERR_LOCKED);
    KL_CHECK_EQ(kl_thread_queue_push_mp(queue, &value), KL_OK);
    KL_CHECK_EQ(kl_thread_queue_push_mp(queue, &value), KL_ERR_AGAIN);
    queue->head = 1; /* a consumer took it and stands */
    KL_CHECK_EQ(kl_thread_queue_push_mp(queue, &value), KL_ERR_LOCKED);
    KL_CHECK_EQ(pop(queue), 7);
    KL_CHECK_EQ(pop(queue), KL_ERR_AGAIN);
    free_queue(queue);
}

/* ---- threads ---- */

#define THREADS_MAX 8
typedef struct {
    kl_thread_queue *queue;
    uint32_t producers, consumers, batch;
    uint64_t each;
    bool timed;
    kl_history histories[THREADS_MAX];
    _Atomic uint64_t popped;
    _Atomic uint8_t *seen;
} crowd;

static void produce(crowd *it, uint32_t index) {
    uint64_t values[64];
    for (uint64_t number = 0, tries = 0; number < it->each;) {
        uint32_t count = 0;
        while (count < it->batch && number + count < it->each) {
            values[count] = (uint64_t)index << 32 | (number + count);
            count++;
        }
        uint64_t start = it->timed ? kl_history_now() : 0;
        int32_t done = it->batch == 1 ? kl_thread_queue_push_mp(it->queue, values)
                                      : kl_thread_queue_push_batch_mp(it->queue, values, count);
        if (it->batch == 1 && done == KL_OK) done = 1;
        if (done > 0) {
            if (it->timed) kl_history_add(&it->histories[index], KL_HISTORY_PUSH, values[0], start);
            number += (uint64_t)done;
            continue;
        }
        KL_CHECK(done == KL_ERR_AGAIN || done == KL_ERR_LOCKED);
        if (it->timed && done == KL_ERR_AGAIN && tries % 16 == 0)
            kl_history_add(&it->histories[index], KL_HISTORY_FULL, 0, start);
        if (++tries % 32 == 0) sched_yield();
    }
}

static void consume(crowd *it, uint32_t index) {
    uint64_t values[64], all = it->each * it->producers, tries = 0;
    uint64_t next[THREADS_MAX] = {0};
    while (atomic_load(&it->popped) < all) {
        uint64_t start = it->timed ? kl_history_now() : 0;
        int32_t done = it->batch == 1 ? kl_thread_queue_pop_mc(it->queue, values)
                                      : kl_thread_queue_pop_batch_mc(it->queue, values, it->batch);
        if (it->batch == 1 && done == KL_OK) done = 1;
        for (int32_t i = 0; i < done; i++) {
            uint64_t from = values[i] >> 32, number = values[i] & UINT32_MAX;
            KL_CHECK(from < it->producers && number < it->each && number >= next[from]);
            next[from] = number + 1; /* Q3: of each producer in its order */
            KL_CHECK_EQ(atomic_fetch_add(&it->seen[from * it->each + number], 1), 0);
        }
        if (done > 0) {
            if (it->timed) kl_history_add(&it->histories[index], KL_HISTORY_POP, values[0], start);
            atomic_fetch_add(&it->popped, (uint64_t)done);
            continue;
        }
        KL_CHECK(done == KL_ERR_AGAIN || done == KL_ERR_LOCKED);
        if (it->timed && done == KL_ERR_AGAIN && tries % 16 == 0)
            kl_history_add(&it->histories[index], KL_HISTORY_EMPTY, 0, start);
        if (++tries % 32 == 0) sched_yield();
    }
}

static void join_crowd(void *argument, uint32_t index) {
    crowd *it = argument;
    if (index < it->producers)
        produce(it, index);
    else
        consume(it, index);
}

static void run_crowd(crowd it, uint32_t capacity) {
    it.queue = new_queue(capacity, 8);
    it.seen = calloc(it.each * it.producers, 1);
    uint32_t threads = it.producers + it.consumers;
    if (it.timed)
        for (uint32_t i = 0; i < threads; i++) kl_history_init(&it.histories[i], i, it.each * 80);
    kl_test_threads(threads, join_crowd, &it);
    KL_CHECK_EQ(pop(it.queue), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_thread_queue_size(it.queue), 0);
    for (uint64_t i = 0; i < it.each * it.producers; i++) KL_CHECK_EQ(it.seen[i], 1);
    if (it.timed) {
        const char *wrong = kl_history_check_fifo(it.histories, threads, capacity);
        if (wrong) kl_test_fail(__FILE__, __LINE__, "%s", wrong);
        for (uint32_t i = 0; i < threads; i++) kl_history_free(&it.histories[i]);
    }
    free((void *)it.seen);
    free_queue(it.queue);
}

KL_TEST(kl_thread_queue_Q2_Q3_1x1_2x1_1x2_2x2_4x4_lose_repeat_and_invent_nothing) {
    uint32_t shapes[][2] = {{1, 1}, {2, 1}, {1, 2}, {2, 2}, {4, 4}};
    for (uint32_t i = 0; i < 5; i++)
        for (uint32_t batch = 1; batch <= 17; batch += 16)
            run_crowd((crowd){.producers = shapes[i][0],
                              .consumers = shapes[i][1],
                              .batch = batch,
                              .each = kl_test_slow() ? 4000 : 40000},
                      i % 2 ? 2 : 64);
}

KL_TEST(kl_thread_queue_Q3_histories_of_a_million_operations_are_linearizable) {
    uint32_t shapes[][2] = {{2, 2}, {4, 4}};
    for (uint32_t i = 0; i < 2; i++)
        run_crowd((crowd){.producers = shapes[i][0],
                          .consumers = shapes[i][1],
                          .batch = 1,
                          .timed = true,
                          .each = (kl_test_slow() ? 10000u : 260000u) / shapes[i][0]},
                  i ? 4 : 64);
}
