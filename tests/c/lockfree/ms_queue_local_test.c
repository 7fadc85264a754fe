#include "lockfree/ms_queue_local.h"

#include "base/random.h"
#include "tests/c/harness.h"
#include "tests/c/lockfree/history.h"

#include <sched.h>
#include <stdlib.h>

KL_TEST(Q1_kl_ms_queue_local_is_first_in_first_out_and_empty_is_no_value) {
    kl_hazard hazards;
    kl_ms_queue_local queue;
    KL_CHECK_EQ(kl_hazard_open(&hazards, 4, true), KL_OK);
    KL_CHECK_EQ(kl_ms_queue_local_open(&queue, &hazards), KL_OK);
    kl_hazard_thread *own = kl_hazard_here(&hazards);
    KL_CHECK(own != NULL);
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    uint64_t in = 0, out = 0, value = 7;
    KL_CHECK_EQ(kl_ms_queue_local_pop_mc(&queue, own, &value), KL_ERR_AGAIN);
    for (uint32_t i = 0; i < 20000; i++) {
        if (kl_random_below(&random, 2) == 0) { /* 0 and the largest are values like others */
            KL_CHECK_EQ(kl_ms_queue_local_push_mp(&queue, own, 0 - in), KL_OK);
            in++;
            continue;
        }
        KL_CHECK_EQ(kl_ms_queue_local_pop_mc(&queue, own, &value),
                    in == out ? KL_ERR_AGAIN : KL_OK);
        if (in != out) KL_CHECK_EQ(value, 0 - out++);
    }
    kl_ms_queue_local_close(&queue);
    kl_hazard_close(&hazards); /* Q5: the leak check of the sanitized build counts */
}

KL_TEST(kl_ms_queue_local_open_takes_two_slots_and_gives_them_back) {
    kl_hazard hazards;
    kl_ms_queue_local queues[KL_HAZARD_SLOTS / 2], more;
    KL_CHECK_EQ(kl_hazard_open(&hazards, 1, true), KL_OK);
    for (uint32_t i = 0; i < KL_HAZARD_SLOTS / 2; i++)
        KL_CHECK_EQ(kl_ms_queue_local_open(&queues[i], &hazards), KL_OK);
    KL_CHECK_EQ(kl_ms_queue_local_open(&more, &hazards), KL_ERR_LIMIT);
    kl_ms_queue_local_close(&queues[0]);
    KL_CHECK_EQ(kl_ms_queue_local_open(&queues[0], &hazards), KL_OK);
    for (uint32_t i = 0; i < KL_HAZARD_SLOTS / 2; i++) kl_ms_queue_local_close(&queues[i]);
    kl_hazard_close(&hazards);
}

typedef struct {
    kl_ms_queue_local queue;
    uint32_t count, pushers;
    _Atomic uint32_t popped;
    kl_history histories[8];
} crowd;

static void push_or_pop(void *argument, uint32_t thread) {
    crowd *it = argument;
    kl_history *history = &it->histories[thread];
    kl_hazard_thread *own = kl_hazard_here(it->queue.hazards);
    bool was_empty = false;
    if (thread < it->pushers) {
        for (uint32_t i = 0; i < it->count; i++) {
            uint64_t value = (uint64_t)thread * it->count + i, start = kl_history_now();
            KL_CHECK_EQ(kl_ms_queue_local_push_mp(&it->queue, own, value), KL_OK);
            kl_history_add(history, KL_HISTORY_PUSH, value, start);
        }
        return;
    }
    while (atomic_load(&it->popped) < it->count * it->pushers) {
        uint64_t value, start = kl_history_now();
        if (kl_ms_queue_local_pop_mc(&it->queue, own, &value) == KL_OK) {
            kl_history_add(history, KL_HISTORY_POP, value, start);
            atomic_fetch_add(&it->popped, 1);
            was_empty = false;
        } else {
            if (!was_empty) kl_history_add(history, KL_HISTORY_EMPTY, 0, start);
            was_empty = true;
            sched_yield();
        }
    }
}

static void run_crowd(uint32_t pushers, uint32_t poppers, uint32_t count, bool fences) {
    kl_hazard hazards;
    crowd it = {.count = count, .pushers = pushers};
    KL_CHECK_EQ(kl_hazard_open(&hazards, 16, fences), KL_OK);
    KL_CHECK_EQ(kl_ms_queue_local_open(&it.queue, &hazards), KL_OK);
    for (uint32_t i = 0; i < pushers + poppers; i++)
        kl_history_init(&it.histories[i], i, 3ull * count * pushers + 10);
    kl_test_threads(pushers + poppers, push_or_pop, &it);
    const char *wrong = kl_history_check_fifo(it.histories, pushers + poppers, 0);
    if (wrong) kl_test_fail(__FILE__, __LINE__, "%s", wrong);
    for (uint32_t i = 0; i < pushers + poppers; i++) kl_history_free(&it.histories[i]);
    kl_ms_queue_local_close(&it.queue);
    kl_hazard_close(&hazards);
}

KL_TEST(
    Q2_Q3_Q5_kl_ms_queue_local_histories_are_linearizable_and_nodes_are_not_touched_when_freed) {
    uint32_t count = kl_test_slow() ? 2000 : getenv("KEELSON_LONG") ? 1000000 : 30000;
    run_crowd(1, 1, count, false);
    run_crowd(2, 2, count / 2, true);
    run_crowd(4, 4, count / 8, false);
}
