#include "lockfree/work_deque.h"

#include "base/random.h"
#include "tests/c/harness.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A deque in memory of exactly its size, so that a sanitizer sees one byte too far. `start`: where
 * its positions begin. */
static void *new_memory(uint64_t capacity, uint64_t start) {
    uint64_t bytes = kl_work_deque_memory_bytes(capacity);
    kl_work_deque_header *header =
        aligned_alloc(KL_LINE_BYTES, (bytes + KL_LINE_BYTES - 1) & ~(KL_LINE_BYTES - 1ull));
    memset(header, 0x5a, bytes);
    KL_CHECK_EQ(kl_work_deque_format(header, capacity), KL_OK);
    atomic_store(&header->top, start);
    atomic_store(&header->bottom, start);
    return header;
}

static kl_work_deque grip(void *memory) {
    kl_work_deque deque;
    kl_work_deque_header *header = memory;
    KL_CHECK_EQ(
        kl_work_deque_grip(&deque, memory, KL_WORK_DEQUE_HEADER_BYTES + 8ull * header->capacity),
        KL_OK);
    return deque;
}

static const uint64_t STARTS[] = {0, (1ull << 33) - 6, (1ull << 63) - 6, UINT64_MAX - 5};
#define START_COUNT (sizeof STARTS / sizeof STARTS[0])

KL_TEST(kl_work_deque_format_refuses_capacities_that_are_no_power_of_two_in_range) {
    const uint64_t refused[] = {0, 1, 3, 6, 1ull << 29, UINT64_MAX, 1ull << 63};
    for (uint32_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        KL_CHECK_EQ(kl_work_deque_memory_bytes(refused[i]), 0);
        KL_CHECK_EQ(kl_work_deque_format(NULL, refused[i]), KL_ERR_ARGUMENT);
    }
    KL_CHECK_EQ(kl_work_deque_memory_bytes(8), KL_WORK_DEQUE_HEADER_BYTES + 64);
}

KL_TEST(kl_work_deque_D1_owner_is_last_in_first_out_and_thieves_first_in_first_out) {
    for (uint32_t s = 0; s < START_COUNT; s++) {
        void *memory = new_memory(8, STARTS[s]);
        kl_work_deque deque = grip(memory);
        uint64_t task = 0, stolen[32];
        for (uint64_t i = 0; i < 8; i++) KL_CHECK_EQ(kl_work_deque_push_so(&deque, i), KL_OK);
        KL_CHECK_EQ(kl_work_deque_steal_mc(&deque, stolen, 1), 1);
        KL_CHECK_EQ(stolen[0], 0); /* value 0 is a task like any other */
        KL_CHECK_EQ(kl_work_deque_pop_so(&deque, &task), KL_OK);
        KL_CHECK_EQ(task, 7);
        KL_CHECK_EQ(kl_work_deque_steal_mc(&deque, stolen, 32), 3); /* half of six */
        for (uint64_t i = 0; i < 3; i++) KL_CHECK_EQ(stolen[i], i + 1);
        KL_CHECK_EQ(kl_work_deque_count(&deque), 3);
        for (uint64_t i = 6; i > 3; i--) {
            KL_CHECK_EQ(kl_work_deque_pop_so(&deque, &task), KL_OK);
            KL_CHECK_EQ(task, i);
        }
        KL_CHECK_EQ(kl_work_deque_pop_so(&deque, &task), KL_ERR_AGAIN);
        KL_CHECK_EQ(kl_work_deque_verify(&deque), KL_OK);
        free(memory);
    }
}

KL_TEST(kl_work_deque_D3_pop_on_an_empty_deque_leaves_it_empty_however_often) {
    for (uint32_t s = 0; s < START_COUNT; s++) {
        void *memory = new_memory(4, STARTS[s]);
        kl_work_deque deque = grip(memory);
        uint64_t task = 77;
        for (uint32_t i = 0; i < 100; i++) {
            KL_CHECK_EQ(kl_work_deque_pop_so(&deque, &task), KL_ERR_AGAIN);
            KL_CHECK_EQ(kl_work_deque_count(&deque), 0);
            KL_CHECK_EQ(kl_work_deque_steal_mc(&deque, &task, 1), KL_ERR_AGAIN);
            KL_CHECK_EQ(kl_work_deque_verify(&deque), KL_OK);
        }
        for (uint64_t i = 1; i <= 4; i++) KL_CHECK_EQ(kl_work_deque_push_so(&deque, i), KL_OK);
        for (uint64_t i = 4; i >= 1; i--) {
            KL_CHECK_EQ(kl_work_deque_pop_so(&deque, &task), KL_OK);
            KL_CHECK_EQ(task, i);
        }
        free(memory);
    }
}

KL_TEST(kl_work_deque_D4_push_on_a_full_deque_says_so_and_loses_nothing) {
    void *memory = new_memory(4, UINT64_MAX - 3);
    kl_work_deque deque = grip(memory);
    uint64_t task = 0;
    for (uint64_t i = 0; i < 4; i++) KL_CHECK_EQ(kl_work_deque_push_so(&deque, i), KL_OK);
    for (uint32_t i = 0; i < 10; i++) KL_CHECK_EQ(kl_work_deque_push_so(&deque, 99), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_work_deque_count(&deque), 4);
    KL_CHECK_EQ(kl_work_deque_steal_mc(&deque, &task, 1), 1);
    KL_CHECK_EQ(task, 0);
    KL_CHECK_EQ(kl_work_deque_push_so(&deque, 4), KL_OK);
    KL_CHECK_EQ(kl_work_deque_push_so(&deque, 99), KL_ERR_AGAIN);
    for (uint64_t i = 4; i >= 1; i--) {
        KL_CHECK_EQ(kl_work_deque_pop_so(&deque, &task), KL_OK);
        KL_CHECK_EQ(task, i);
    }
    free(memory);
}

KL_TEST(kl_work_deque_steal_takes_at_most_half_and_at_most_thirty_two) {
    void *memory = new_memory(128, 0);
    kl_work_deque deque = grip(memory);
    uint64_t tasks[64];
    for (uint64_t i = 0; i < 128; i++) KL_CHECK_EQ(kl_work_deque_push_so(&deque, i), KL_OK);
    KL_CHECK_EQ(kl_work_deque_steal_mc(&deque, tasks, 0), KL_ERR_ARGUMENT);
    const int32_t wanted[] = {32, 32, 32, 16, 8, 4, 2, 1, 1, KL_ERR_AGAIN};
    uint64_t next = 0;
    for (uint32_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        int32_t count = kl_work_deque_steal_mc(&deque, tasks, 64);
        KL_CHECK_EQ(count, wanted[i]);
        for (int32_t k = 0; k < count; k++) KL_CHECK_EQ(tasks[k], next++);
    }
    KL_CHECK_EQ(next, 128);
    free(memory);
}

/* ---- against a dull list ---- */

static uint64_t model[1 << 12];
static uint32_t model_first, model_behind;

static void step(kl_work_deque *deque, kl_random *random, uint64_t capacity, uint64_t *next) {
    uint64_t tasks[32], what = kl_random_below(random, 5);
    uint32_t count = model_behind - model_first;
    if (what <= 1) {
        KL_CHECK_EQ(kl_work_deque_push_so(deque, *next), count < capacity ? KL_OK : KL_ERR_AGAIN);
        if (count < capacity) model[model_behind++ % 4096] = (*next)++;
    } else if (what <= 3) {
        int32_t status = kl_work_deque_pop_so(deque, tasks);
        KL_CHECK_EQ(status, count > 0 ? KL_OK : KL_ERR_AGAIN);
        uint64_t current = 0;
        KL_CHECK_EQ(kl_work_deque_current_so(deque, &current), status);
        if (count > 0) KL_CHECK_EQ(tasks[0], model[--model_behind % 4096]);
        if (count > 0) KL_CHECK_EQ(current, tasks[0]);
    } else {
        uint32_t most = 1 + (uint32_t)kl_random_below(random, 40);
        uint32_t half = (count + 1) / 2, batch = most < 32 ? most : 32;
        int32_t taken = kl_work_deque_steal_mc(deque, tasks, most);
        KL_CHECK_EQ(taken, count == 0     ? KL_ERR_AGAIN
                           : half < batch ? (int32_t)half
                                          : (int32_t)batch);
        for (int32_t i = 0; i < taken; i++) KL_CHECK_EQ(tasks[i], model[model_first++ % 4096]);
    }
    KL_CHECK_EQ(kl_work_deque_count(deque), model_behind - model_first);
}

KL_TEST(kl_work_deque_behaves_like_a_dull_list_also_where_positions_wrap) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (uint32_t s = 0; s < START_COUNT; s++) {
        for (uint64_t capacity = 2; capacity <= 512; capacity *= 4) {
            void *memory = new_memory(capacity, STARTS[s]);
            kl_work_deque deque = grip(memory);
            uint64_t next = 0;
            model_first = model_behind = 0;
            for (uint32_t i = 0; i < (kl_test_slow() ? 2000u : 10000u); i++) {
                step(&deque, &random, capacity, &next);
                if (i % 64 == 0) KL_CHECK_EQ(kl_work_deque_verify(&deque), KL_OK);
                if (i % 100 == 0) deque = grip(memory); /* finds it as it is */
            }
            free(memory);
        }
    }
}

/* ---- threads ---- */

typedef struct {
    kl_work_deque *deque;
    uint64_t tasks;
    uint32_t batch;
    _Atomic uint8_t *seen; /* how often each task was taken */
    _Atomic uint64_t taken;
    _Atomic uint64_t popped;
    _Atomic uint64_t lost;
} crowd;

static void note_taken(crowd *it, uint64_t task) {
    KL_CHECK_LT(task, it->tasks);
    if (task < it->tasks) atomic_fetch_add_explicit(&it->seen[task], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&it->taken, 1, memory_order_relaxed);
}

static void own(crowd *it) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    uint64_t next = 0, task;
    while (next < it->tasks) {
        uint64_t burst = 1 + kl_random_below(&random, 8);
        while (burst-- > 0 && next < it->tasks && kl_work_deque_push_so(it->deque, next) == KL_OK)
            next++;
        for (burst = kl_random_below(&random, 8); burst > 0; burst--) {
            if (kl_work_deque_pop_so(it->deque, &task) != KL_OK) break;
            atomic_fetch_add_explicit(&it->popped, 1, memory_order_relaxed);
            note_taken(it, task);
        }
        if (kl_random_below(&random, 64) == 0) sched_yield();
    }
    while (kl_work_deque_pop_so(it->deque, &task) == KL_OK) note_taken(it, task);
}

static void own_or_steal(void *argument, uint32_t index) {
    crowd *it = argument;
    if (index == 0) {
        own(it);
        return;
    }
    uint64_t tasks[KL_WORK_DEQUE_BATCH_MAX];
    while (atomic_load_explicit(&it->taken, memory_order_relaxed) < it->tasks) {
        int32_t count = kl_work_deque_steal_mc(it->deque, tasks, it->batch);
        for (int32_t i = 0; i < count; i++) {
            if (i > 0) KL_CHECK_LT(tasks[i - 1], tasks[i]); /* first in, first out */
            note_taken(it, tasks[i]);
        }
        if (count == KL_WORK_DEQUE_LOST) atomic_fetch_add(&it->lost, 1);
        if (count == KL_ERR_AGAIN) sched_yield();
        KL_CHECK(count >= 0 || count == KL_ERR_AGAIN);
    }
}

static void share(uint32_t thieves, uint64_t capacity, uint64_t start, uint32_t batch) {
    void *memory = new_memory(capacity, start);
    kl_work_deque deque = grip(memory);
    const char *long_form = getenv("KEELSON_LONG");
    crowd it = {.deque = &deque, .tasks = kl_test_slow() ? 20000 : 200000, .batch = batch};
    if (long_form) it.tasks = 1000000;
    it.seen = calloc(it.tasks, 1);
    kl_test_threads(1 + thieves, own_or_steal, &it);
    for (uint64_t i = 0; i < it.tasks; i++)
        if (it.seen[i] != 1) KL_CHECK_EQ(it.seen[i], 1);
    KL_CHECK_EQ(it.taken, it.tasks);
    KL_CHECK_EQ(kl_work_deque_count(&deque), 0);
    KL_CHECK_EQ(kl_work_deque_verify(&deque), KL_OK);
    free((void *)it.seen);
    free(memory);
}

KL_TEST(kl_work_deque_D2_each_task_is_taken_once_with_one_thief) {
    share(1, 4, 0, 1);
    share(1, 1024, UINT64_MAX - 101, 32);
}

KL_TEST(kl_work_deque_D2_each_task_is_taken_once_with_three_thieves_across_the_wrap) {
    share(3, 4, (1ull << 33) - 100, 1);
    share(3, 2, UINT64_MAX - 99, 32);
    share(3, 64, (1ull << 63) - 100, 32);
}
