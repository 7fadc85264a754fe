#include "exec/worker_pool.h"

#include "tests/c/harness.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/handle.h"
#include "base/random.h"
#include "exec/completion.h"
#include "exec/worker_graph.h"

#define PATIENCE_NS (20 * KL_NS_PER_S)
#define OUT_BYTES   65536u

enum { DOUBLE_IT = 0, DIE = 1, FAIL = 2, WAIT = 3 };

/* What a Worker of these tests is: a thread that serves a lane until the pool is closed. */
typedef struct {
    uint32_t pool, lane, wanted;
    int32_t status; /* of its last turn */
    _Atomic uint32_t *gate;
    _Atomic uint32_t died, over;
    pthread_t thread;
} hand;

static void *serve(void *argument) {
    hand *it = argument;
    uint8_t result[OUT_BYTES], order[OUT_BYTES];
    uint32_t lane = 0, outcome = KL_WORKER_NOTHING, bytes = 0;
    uint64_t end_ns = kl_clock_monotonic_ns() + PATIENCE_NS;
    while (lane == 0 && atomic_load(&it->over) == 0)
        lane = kl_worker_lane_open(it->pool, it->lane); /* locked until the last one is collected */
    for (it->status = KL_ERR_AGAIN; lane != 0 && kl_clock_monotonic_ns() < end_ns;) {
        it->status = kl_worker_lane_turn(lane, outcome, result, bytes, order, OUT_BYTES, 20);
        outcome = KL_WORKER_NOTHING;
        bytes = 0;
        if (it->status == KL_ERR_AGAIN) continue;
        if (it->status != KL_OK) return NULL; /* the end of the thread closes the lane */
        kl_worker_order head;
        memcpy(&head, order, sizeof head);
        if (head.function == DIE) {
            atomic_store(&it->died, 1);
            return NULL;
        }
        while (head.function == WAIT && atomic_load(it->gate) == 0) sched_yield();
        bytes = head.bytes - (uint32_t)sizeof head;
        memcpy(result + 8, order + sizeof head, bytes);
        for (uint32_t i = 0; i < bytes; i++) result[8 + i] = (uint8_t)(2 * result[8 + i]);
        outcome = head.function == FAIL ? KL_WORKER_ERROR : KL_WORKER_VALUE;
    }
    return NULL;
}

static void hire(hand *it, uint32_t pool, uint32_t lane, _Atomic uint32_t *gate) {
    *it = (hand){.pool = pool, .lane = lane, .gate = gate};
    KL_CHECK_EQ(pthread_create(&it->thread, NULL, serve, it), 0);
}

static void leave(hand *it) {
    atomic_store(&it->over, 1);
    pthread_join(it->thread, NULL);
}

static uint32_t add_task(uint8_t *batch, uint32_t at, uint32_t token, uint32_t function,
                         const void *payload, uint32_t bytes) {
    kl_worker_task task = {bytes, token, function};
    memcpy(batch + at, &task, sizeof task);
    if (bytes > 0) memcpy(batch + at + sizeof task, payload, bytes);
    return at + (uint32_t)sizeof task + ((bytes + 3) & ~3u);
}

typedef struct {
    uint8_t outcomes[1024]; /* of each token; 0: none */
    uint32_t count, lanes_gone, graphs_over;
    uint8_t first_byte[1024];
} harvest;

/* Collects until `wanted` tasks have a result. */
static void gather(uint32_t pool, harvest *it, uint32_t wanted) {
    static uint8_t out[OUT_BYTES];
    uint64_t end_ns = kl_clock_monotonic_ns() + PATIENCE_NS;
    do {
        int32_t count = kl_worker_pool_collect(pool, out, sizeof out);
        KL_CHECK(count >= 0);
        if (count == 0) sched_yield();
        for (uint32_t at = 0; count > 0; count--) {
            kl_worker_result result;
            memcpy(&result, out + at, sizeof result);
            if (result.outcome == KL_WORKER_LANE_GONE) {
                it->lanes_gone++;
            } else if (result.outcome == KL_WORKER_GRAPH_OVER) {
                it->graphs_over++;
                it->count++;
            } else {
                KL_CHECK(result.token < 1024 && it->outcomes[result.token] == 0);
                it->outcomes[result.token] = (uint8_t)result.outcome;
                if (result.bytes > 8) it->first_byte[result.token] = out[at + sizeof result];
                it->count++;
            }
            at += (result.bytes + 4 + 3) & ~3u;
        }
    } while (it->count < wanted && kl_clock_monotonic_ns() < end_ns);
    KL_CHECK_EQ(it->count, wanted);
}

KL_TEST(W2_kl_worker_pool_gives_each_task_one_result) {
    uint32_t pool = kl_worker_pool_open(3, 1024, 4096, 20);
    KL_CHECK(pool != 0);
    hand hands[3];
    for (uint32_t i = 0; i < 3; i++) hire(&hands[i], pool, i, NULL);
    static uint8_t batch[1 << 20], payload[900];
    for (uint32_t round = 0; round < 10; round++) {
        static harvest all;
        memset(&all, 0, sizeof all);
        uint32_t at = 0;
        for (uint32_t token = 0; token < 1024; token++) { /* rings of 4096 bytes: Workers wait */
            memset(payload, (int)(token % 100), sizeof payload);
            at = add_task(batch, at, token, token % 10 == 3 ? FAIL : DOUBLE_IT, payload,
                          token % 900);
        }
        KL_CHECK_EQ(kl_worker_pool_submit(pool, batch, at), 1024);
        gather(pool, &all, 1024);
        for (uint32_t token = 0; token < 1024; token++) {
            KL_CHECK_EQ(all.outcomes[token], token % 10 == 3 ? KL_WORKER_ERROR : KL_WORKER_VALUE);
            if (token % 900 > 0) KL_CHECK_EQ(all.first_byte[token], 2 * (token % 100));
        }
    }
    KL_CHECK_EQ(kl_worker_pool_close(pool), KL_OK);
    for (uint32_t i = 0; i < 3; i++) {
        leave(&hands[i]);
        KL_CHECK_EQ(hands[i].status, KL_ERR_CLOSED);
    }
    KL_CHECK_EQ(kl_handle_live(KL_HANDLE_EXECUTOR) + kl_handle_live(KL_HANDLE_EXECUTOR_LANE), 0);
}

KL_TEST(kl_worker_pool_a_worker_that_ends_costs_its_own_task_only) {
    uint32_t pool = kl_worker_pool_open(2, 1024, 4096, 0);
    hand hands[2];
    for (uint32_t i = 0; i < 2; i++) hire(&hands[i], pool, i, NULL);
    static uint8_t batch[1 << 16];
    static harvest all;
    memset(&all, 0, sizeof all);
    uint32_t at = 0;
    for (uint32_t token = 0; token < 100; token++)
        at = add_task(batch, at, token, token == 10 ? DIE : DOUBLE_IT, &token, 4);
    KL_CHECK_EQ(kl_worker_pool_submit(pool, batch, at), 100);
    gather(pool, &all, 100);
    for (uint32_t token = 0; token < 100; token++)
        KL_CHECK_EQ(all.outcomes[token], token == 10 ? KL_WORKER_DIED : KL_WORKER_VALUE);
    while (all.lanes_gone == 0) gather(pool, &all, 100);
    KL_CHECK_EQ(all.lanes_gone, 1);
    hand *dead = atomic_load(&hands[0].died) ? &hands[0] : &hands[1];
    leave(dead);
    hand next;
    hire(&next, pool, dead->lane, NULL); /* the lane is free for another */
    memset(&all, 0, sizeof all);
    at = 0;
    for (uint32_t token = 0; token < 50; token++)
        at = add_task(batch, at, token, DOUBLE_IT, &token, 4);
    KL_CHECK_EQ(kl_worker_pool_submit(pool, batch, at), 50);
    gather(pool, &all, 50);
    KL_CHECK_EQ(kl_worker_pool_close(pool), KL_OK);
    leave(&next);
    leave(dead == &hands[0] ? &hands[1] : &hands[0]);
}

KL_TEST(kl_worker_pool_cancels_what_has_not_begun) {
    uint32_t pool = kl_worker_pool_open(1, 1024, 4096, 20);
    _Atomic uint32_t gate = 0;
    hand one;
    hire(&one, pool, 0, &gate);
    static uint8_t batch[1 << 12];
    static harvest all;
    memset(&all, 0, sizeof all);
    uint32_t at = add_task(batch, 0, 0, WAIT, NULL, 0);
    KL_CHECK_EQ(kl_worker_pool_submit(pool, batch, at), 1);
    at = add_task(batch, 0, 1, DOUBLE_IT, NULL, 0);
    at = add_task(batch, at, 2, DOUBLE_IT, NULL, 0);
    KL_CHECK_EQ(kl_worker_pool_submit(pool, batch, at), 2);
    KL_CHECK_EQ(kl_worker_pool_cancel(pool, 2), KL_OK);
    KL_CHECK_EQ(kl_worker_pool_cancel(pool, 2), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_worker_pool_cancel(pool, 3), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_worker_pool_cancel(pool, 1u << 30), KL_ERR_NOT_FOUND);
    atomic_store(&gate, 1);
    gather(pool, &all, 3);
    KL_CHECK_EQ(all.outcomes[0], KL_WORKER_VALUE);
    KL_CHECK_EQ(all.outcomes[1], KL_WORKER_VALUE);
    KL_CHECK_EQ(all.outcomes[2], KL_WORKER_CANCELLED);
    KL_CHECK_EQ(kl_worker_pool_close(pool), KL_OK);
    leave(&one);
}

KL_TEST(kl_worker_pool_refuses_what_makes_no_sense) {
    KL_CHECK_EQ(kl_worker_pool_open(65, 0, 0, 20), 0);
    KL_CHECK_CONTAINS(kl_status_last(), "64 lanes");
    KL_CHECK_EQ(kl_worker_pool_open(1, 1000, 0, 20), 0);
    KL_CHECK_CONTAINS(kl_status_last(), "power of two from 1024");
    KL_CHECK_EQ(kl_worker_pool_open(1, 0, 5000, 20), 0);
    KL_CHECK_EQ(kl_worker_pool_open(1, 0, 0, -1), 0);
    KL_CHECK_EQ(kl_worker_pool_open(1, 0, 0, 0.0 / 0.0), 0);
    uint32_t pool = kl_worker_pool_open(1, 1024, 4096, 0);
    uint8_t batch[256] = {0}, out[64], result[8192];
    KL_CHECK_EQ(kl_worker_pool_submit(pool, batch, 5), KL_ERR_ARGUMENT);
    uint32_t at = add_task(batch, 0, 1024, 0, NULL, 0);
    KL_CHECK_EQ(kl_worker_pool_submit(pool, batch, at), KL_ERR_ARGUMENT);
    at = add_task(batch, 0, 7, 0, "abcd", 4);
    KL_CHECK_EQ(kl_worker_pool_submit(pool, batch, at - 1), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_worker_pool_submit(pool, batch, at), 1);
    KL_CHECK_EQ(kl_worker_pool_submit(pool, batch, at), KL_ERR_ARGUMENT); /* under way */
    KL_CHECK_CONTAINS(kl_status_last(), "token 7 is under way");
    KL_CHECK_EQ(kl_worker_pool_function(pool, batch, 0), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_worker_pool_function(pool, (const uint8_t *)"name", 4), 0);
    KL_CHECK_EQ(kl_worker_lane_open(pool, 1), 0);
    uint32_t lane = kl_worker_lane_open(pool, 0);
    KL_CHECK(lane != 0);
    KL_CHECK_EQ(kl_worker_lane_open(pool, 0), 0);
    KL_CHECK_CONTAINS(kl_status_last(), "another Worker has lane 0");
    KL_CHECK_EQ(kl_worker_lane_turn(lane, KL_WORKER_VALUE, result, 0, out, sizeof out, 0),
                KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_worker_lane_turn(lane, KL_WORKER_NOTHING, result, 0, out, 4, 0),
                KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_worker_lane_turn(lane, KL_WORKER_NOTHING, result, 0, out, 12, 0), KL_ERR_LIMIT);
    KL_CHECK_EQ(out[0], 16); /* what it wants; the task stays */
    KL_CHECK_EQ(kl_worker_lane_turn(lane, KL_WORKER_NOTHING, result, 0, out, sizeof out, 0), KL_OK);
    KL_CHECK_BYTES(out + 12, "abcd", 4);
    KL_CHECK_EQ(kl_worker_lane_turn(lane, KL_WORKER_NOTHING, result, 0, out, sizeof out, 0),
                KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_worker_lane_turn(lane, 9, result, 0, out, sizeof out, 0), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_worker_lane_turn(lane, KL_WORKER_VALUE, result, 4081, out, sizeof out, 0),
                KL_ERR_ARGUMENT);
    KL_CHECK_CONTAINS(kl_status_last(), "at most 4080");
    KL_CHECK_EQ(kl_worker_lane_turn(lane, KL_WORKER_VALUE, result, 4080, out, sizeof out, 0),
                KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_worker_pool_collect(pool, out, sizeof out), KL_ERR_LIMIT);
    uint32_t wanted;
    memcpy(&wanted, out, sizeof wanted);
    KL_CHECK(wanted >= 4080 + 12 && wanted <= sizeof result);
    KL_CHECK_EQ(kl_worker_pool_collect(pool, result, wanted), 1);
    KL_CHECK_EQ(kl_worker_lane_function(lane, 0, out, sizeof out), 4);
    KL_CHECK_BYTES(out, "name", 4);
    KL_CHECK_EQ(kl_worker_lane_function(lane, 1, out, sizeof out), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_worker_pool_close(pool), KL_OK);
    KL_CHECK_EQ(kl_worker_pool_close(pool), KL_ERR_HANDLE);
    KL_CHECK_EQ(kl_worker_pool_submit(pool, batch, 0), KL_ERR_HANDLE);
    KL_CHECK_EQ(kl_worker_lane_turn(lane, KL_WORKER_NOTHING, result, 0, out, sizeof out, 0),
                KL_ERR_CLOSED);
    KL_CHECK_EQ(kl_worker_lane_close(lane), KL_OK);
    KL_CHECK_EQ(kl_worker_lane_close(lane), KL_ERR_HANDLE);
}

KL_TEST(kl_worker_pool_rings_the_completion_that_is_armed) {
    uint32_t pool = kl_worker_pool_open(1, 1024, 4096, 20), completion = kl_completion_open();
    uint8_t batch[64], entries[64];
    hand one;
    hire(&one, pool, 0, NULL);
    uint64_t end_ns = kl_clock_monotonic_ns() + PATIENCE_NS;
    for (uint32_t round = 1; round < 200; round++) {
        static harvest all;
        memset(&all, 0, sizeof all);
        int32_t armed = kl_worker_pool_arm(pool, completion, round, round % 2 * 200.0);
        KL_CHECK_EQ(armed, 0);
        uint32_t at = add_task(batch, 0, round, DOUBLE_IT, NULL, 0);
        KL_CHECK_EQ(kl_worker_pool_submit(pool, batch, at), 1);
        do { /* quiet or not: the lane has nothing more to do, so it rings */
            int32_t count = 0;
            while (count == 0 && kl_clock_monotonic_ns() < end_ns)
                count = kl_completion_drain(completion, entries, sizeof entries);
            KL_CHECK_EQ(count, 1);
            kl_completion_entry entry;
            memcpy(&entry, entries, sizeof entry);
            KL_CHECK_EQ(entry.token, round);
            /* 1: not collected yet. 0: a late ring for what was collected before; armed again. */
        } while (kl_worker_pool_arm(pool, completion, round, 0) == 0);
        gather(pool, &all, 1);
    }
    KL_CHECK_EQ(kl_worker_pool_close(pool), KL_OK);
    leave(&one);
    KL_CHECK_EQ(kl_completion_close(completion), KL_OK);
}

/* ---- graphs ---- */

KL_TEST(G1_G3_kl_worker_graph_runs_in_the_workers_of_a_pool) {
    uint32_t pool = kl_worker_pool_open(2, 1024, 4096, 20);
    hand hands[2];
    for (uint32_t i = 0; i < 2; i++) hire(&hands[i], pool, i, NULL);
    uint32_t graph = kl_worker_graph_open(pool, 2000, 8000);
    KL_CHECK(graph != 0);
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    uint8_t value[40] = {0};
    for (uint32_t i = 0; i < 2000; i++) {
        uint32_t bytes = i < 100 ? 40 : 0; /* results add up: those of deep nodes stay short */
        KL_CHECK_EQ(kl_worker_graph_add(graph, i == 1500 ? FAIL : DOUBLE_IT, value, bytes),
                    (int32_t)i);
        if (i >= 100)
            KL_CHECK_EQ(kl_worker_graph_precede(graph, (uint32_t)kl_random_below(&random, 100), i),
                        KL_OK);
        if (i >= 1600) KL_CHECK_EQ(kl_worker_graph_precede(graph, 1500, i), KL_OK);
    }
    for (uint32_t round = 0; round < 5; round++) {
        static harvest all;
        memset(&all, 0, sizeof all);
        KL_CHECK_EQ(kl_worker_graph_run(graph, round), KL_OK);
        gather(pool, &all, 1);
        KL_CHECK_EQ(all.graphs_over, 1);
        kl_task_graph_outcome outcome;
        KL_CHECK_EQ(kl_worker_graph_outcome(graph, (uint8_t *)&outcome, sizeof outcome), KL_OK);
        KL_CHECK_EQ(outcome.done, 1599);
        KL_CHECK_EQ(outcome.failed, 1);
        KL_CHECK_EQ(outcome.skipped, 400);
        KL_CHECK_EQ(outcome.first_failed, 1500);
        KL_CHECK_EQ(kl_worker_graph_state(graph, 1700), KL_TASK_SKIPPED);
    }
    /* A node's order: its value and the results before it, each {bytes, data}; this one has 44 + 44,
     * and the Workers here give back what they got. */
    uint8_t out[256];
    KL_CHECK_EQ(kl_worker_graph_result(graph, 5, out, sizeof out), 44);
    KL_CHECK_EQ(kl_worker_graph_result(graph, 200, out, sizeof out), 4 + 4 + 44);
    KL_CHECK_EQ(kl_worker_graph_result(graph, 200, out, 4), 52);
    KL_CHECK_EQ(kl_worker_graph_precede(graph, 200, 200), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_worker_graph_close(graph), KL_OK);
    KL_CHECK_EQ(kl_worker_graph_close(graph), KL_ERR_HANDLE);
    KL_CHECK_EQ(kl_worker_graph_run(graph, 1), KL_ERR_HANDLE);
    KL_CHECK_EQ(kl_worker_pool_close(pool), KL_OK);
    for (uint32_t i = 0; i < 2; i++) leave(&hands[i]);
}

KL_TEST(kl_worker_pool_closed_in_the_middle_gives_all_memory_back) {
    for (uint32_t round = 0; round < 20; round++) { /* leaks and wild frees are the sanitizer's */
        uint32_t pool = kl_worker_pool_open(2, 1024, 4096, 20);
        hand hands[2];
        for (uint32_t i = 0; i < 2; i++) hire(&hands[i], pool, i, NULL);
        static uint8_t batch[1 << 18], payload[500];
        uint32_t graph = kl_worker_graph_open(pool, 300, 300), at = 0;
        for (uint32_t i = 0; i < 300; i++) {
            KL_CHECK_EQ(kl_worker_graph_add(graph, DOUBLE_IT, payload, 100), (int32_t)i);
            if (i >= 10) KL_CHECK_EQ(kl_worker_graph_precede(graph, i - 10, i), KL_OK);
        }
        for (uint32_t token = 0; token < 400; token++)
            at = add_task(batch, at, token, round % 3 == 1 && token == 40 ? DIE : DOUBLE_IT,
                          payload, token);
        KL_CHECK_EQ(kl_worker_graph_run(graph, 1), KL_OK);
        KL_CHECK_EQ(kl_worker_pool_submit(pool, batch, at), 400);
        if (round % 2 == 0) KL_CHECK_EQ(kl_worker_graph_close(graph), KL_OK);
        uint64_t end_ns = kl_clock_monotonic_ns() + round % 4 * 100 * KL_NS_PER_US;
        while (kl_clock_monotonic_ns() < end_ns) sched_yield();
        KL_CHECK_EQ(kl_worker_pool_close(pool), KL_OK);
        for (uint32_t i = 0; i < 2; i++) leave(&hands[i]);
        if (round % 2 == 1) KL_CHECK_EQ(kl_worker_graph_close(graph), KL_OK);
    }
    KL_CHECK_EQ(kl_handle_live(0), 0);
}
