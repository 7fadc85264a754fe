#include "sync/hazard.h"

#include "base/random.h"
#include "tests/c/harness.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define WHOLE  0x5a5a5a5a5a5a5a5aull
#define POISON 0xdeadbeefdeadbeefull

/* The node does not stand first: what readers hold up is the object. */
typedef struct {
    uint64_t canary, number;
    kl_hazard_node node;
} thing;

static _Atomic uint64_t given_back, made;

static thing *new_thing(uint64_t number) {
    thing *it = malloc(sizeof *it);
    *it = (thing){.canary = WHOLE, .number = number};
    atomic_fetch_add_explicit(&made, 1, memory_order_relaxed);
    return it;
}

static thing *thing_of(kl_hazard_node *node) {
    return (thing *)(void *)((uint8_t *)node - offsetof(thing, node));
}

static void give_back(kl_hazard_node *node) {
    thing *it = thing_of(node);
    KL_CHECK_EQ(it->canary, WHOLE); /* once */
    KL_CHECK(node->object == it);
    it->canary = POISON;
    atomic_fetch_add_explicit(&given_back, 1, memory_order_relaxed);
    free(it);
}

static uint64_t count_of(_Atomic uint64_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void retire(kl_hazard_thread *own, thing *it) {
    kl_hazard_retire(own, &it->node, it, give_back);
}

KL_TEST(kl_hazard_scan_gives_back_what_nobody_holds_up_and_nothing_else_H1) {
    kl_hazard hazard;
    KL_CHECK_EQ(kl_hazard_open(&hazard, 0, false), KL_OK);
    kl_hazard_thread *own = kl_hazard_here(&hazard);
    int32_t slot = kl_hazard_reserve(&hazard, 2);
    KL_CHECK_EQ(slot, 0);
    _Atomic(thing *) first = new_thing(1), second = new_thing(2), none = NULL;
    thing *one = kl_hazard_protect(own, 0, &first), *two = kl_hazard_protect(own, 1, &second);
    KL_CHECK(kl_hazard_protect(own, 2, &none) == NULL);
    retire(own, one);
    retire(own, two);
    retire(own, new_thing(3));
    KL_CHECK_EQ(kl_hazard_scan(own), 1);
    KL_CHECK_EQ(one->number, 1);
    KL_CHECK_EQ(kl_hazard_scan(own), 0);
    kl_hazard_clear(own, 0);
    KL_CHECK_EQ(kl_hazard_scan(own), 1);
    KL_CHECK_EQ(two->number, 2);
    kl_hazard_hold(own, 1, 0);
    KL_CHECK_EQ(kl_hazard_scan(own), 1);
    kl_hazard_close(&hazard);
}

KL_TEST(kl_hazard_garbage_of_a_thread_is_bounded) {
    kl_hazard hazard;
    KL_CHECK_EQ(kl_hazard_open(&hazard, 4, false), KL_OK);
    kl_hazard_thread *own = kl_hazard_here(&hazard);
    made = given_back = 0;
    uint64_t most = 0;
    for (uint64_t number = 0; number < 5000; number++) {
        thing *it = new_thing(number);
        if (number % 1000 < KL_HAZARD_SLOTS)
            kl_hazard_hold(own, (uint32_t)(number % 1000), (uint64_t)(uintptr_t)it);
        retire(own, it);
        KL_CHECK_EQ(count_of(&made) - count_of(&given_back), own->retired_count);
        if (own->retired_count > most) most = own->retired_count;
    }
    KL_CHECK_LE(most, kl_hazard_kept_max(&hazard));
    KL_CHECK_LE(KL_HAZARD_SCAN_MIN, most + 1); /* and scans are few */
    kl_hazard_close(&hazard);
    KL_CHECK_EQ(count_of(&made), count_of(&given_back));
}

static kl_hazard_thread *again_in;

static void retire_again(kl_hazard_node *node) {
    thing *next = new_thing(thing_of(node)->number + 1);
    kl_hazard_retire(again_in, &next->node, next, next->number < 10 ? retire_again : give_back);
    KL_CHECK_EQ(kl_hazard_scan(again_in), 0); /* no scan within a scan */
    give_back(node);
}

KL_TEST(kl_hazard_callback_may_retire) {
    kl_hazard hazard;
    KL_CHECK_EQ(kl_hazard_open(&hazard, 1, false), KL_OK);
    again_in = kl_hazard_here(&hazard);
    made = given_back = 0;
    thing *first = new_thing(1);
    kl_hazard_retire(again_in, &first->node, first, retire_again);
    for (uint32_t i = 1; i <= 10; i++) KL_CHECK_EQ(kl_hazard_scan(again_in), 1);
    KL_CHECK_EQ(kl_hazard_scan(again_in), 0);
    KL_CHECK_EQ(count_of(&made), count_of(&given_back));
    kl_hazard_close(&hazard);
}

KL_TEST(kl_hazard_groups_share_no_slot_and_come_back) {
    kl_hazard hazard;
    KL_CHECK_EQ(kl_hazard_open(&hazard, 1, false), KL_OK);
    KL_CHECK_EQ(kl_hazard_reserve(&hazard, 0), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_hazard_reserve(&hazard, KL_HAZARD_SLOTS + 1), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_hazard_reserve(&hazard, 3), 0);
    KL_CHECK_EQ(kl_hazard_reserve(&hazard, 2), 3);
    KL_CHECK_EQ(kl_hazard_reserve(&hazard, 4), KL_ERR_LIMIT);
    KL_CHECK_EQ(kl_hazard_reserve(&hazard, 3), 5);
    KL_CHECK_EQ(kl_hazard_reserve(&hazard, 1), KL_ERR_LIMIT);
    kl_hazard_release(&hazard, 3, 2);
    KL_CHECK_EQ(kl_hazard_reserve(&hazard, 3), KL_ERR_LIMIT);
    KL_CHECK_EQ(kl_hazard_reserve(&hazard, 1), 3);
    KL_CHECK_EQ(kl_hazard_reserve(&hazard, 1), 4);
    kl_hazard_release(&hazard, 0, 8);
    KL_CHECK_EQ(kl_hazard_reserve(&hazard, 8), 0);
    kl_hazard_close(&hazard);
}

/* ---- threads that end, and too many of them: H3, H4 ---- */

static void retire_and_end_holding(void *argument, uint32_t index) {
    kl_hazard_thread *own = kl_hazard_here(argument);
    KL_CHECK(own != NULL);
    for (uint32_t i = 0; i < 10; i++) {
        thing *it = new_thing(index);
        kl_hazard_hold(own, i % KL_HAZARD_SLOTS, (uint64_t)(uintptr_t)it);
        retire(own, it);
    }
}

KL_TEST(kl_hazard_takes_over_what_an_ended_thread_retired_and_forgets_what_it_held_H3) {
    kl_hazard hazard;
    KL_CHECK_EQ(kl_hazard_open(&hazard, 3, false), KL_OK);
    made = given_back = 0;
    for (uint32_t round = 1; round <= 4; round++) { /* lines come back: 12 threads use 3 */
        kl_test_threads(3, retire_and_end_holding, &hazard);
        KL_CHECK_EQ(count_of(&made), 30 * round);
    }
    kl_hazard_thread *own = kl_hazard_here(&hazard);
    KL_CHECK_EQ(kl_hazard_scan(own), 120);
    kl_test_threads(2, retire_and_end_holding, &hazard);
    kl_hazard_close(&hazard);
    KL_CHECK_EQ(count_of(&given_back), 140);
}

typedef struct {
    kl_hazard *hazard;
    _Atomic uint32_t stage;
} stage_of;

static void await_stage(stage_of *it, uint32_t stage) {
    while (atomic_load_explicit(&it->stage, memory_order_acquire) < stage) sched_yield();
}

static void come_in_turn(void *argument, uint32_t index) {
    stage_of *it = argument;
    if (index == 0) {
        KL_CHECK(kl_hazard_here(it->hazard) != NULL);
        atomic_store_explicit(&it->stage, 1, memory_order_release);
        await_stage(it, 2);
        return;
    }
    await_stage(it, 1);
    KL_CHECK(kl_hazard_here(it->hazard) == NULL);
    KL_CHECK_EQ(kl_status_detail_code(), KL_ERR_LIMIT);
    KL_CHECK_CONTAINS(kl_status_last(), "the 1 lines");
    atomic_store_explicit(&it->stage, 2, memory_order_release);
}

KL_TEST(kl_hazard_answers_an_error_to_more_threads_than_lines_H4) {
    kl_hazard hazard;
    KL_CHECK_EQ(kl_hazard_open(&hazard, KL_HAZARD_THREADS_MAX + 1, false), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_hazard_open(&hazard, 1, false), KL_OK);
    stage_of it = {.hazard = &hazard};
    kl_test_threads(2, come_in_turn, &it);
    KL_CHECK(kl_hazard_here(&hazard) != NULL);
    kl_hazard_close(&hazard);
}

/* ---- protect racing retire: H2 ---- */

#define CELLS 4u

typedef struct {
    kl_hazard *hazard;
    _Atomic(thing *) cells[CELLS];
    uint32_t rounds;
} storm;

static void read_or_replace(void *argument, uint32_t index) {
    storm *it = argument;
    kl_random random;
    kl_random_init(&random, kl_test_seed() + index);
    kl_hazard_thread *own = kl_hazard_here(it->hazard);
    for (uint32_t i = 0; i < it->rounds; i++) {
        _Atomic(thing *) *cell = &it->cells[kl_random_below(&random, CELLS)];
        if (index % 2 == 0) {
            uint32_t slot = (uint32_t)kl_random_below(&random, KL_HAZARD_SLOTS);
            thing *found = kl_hazard_protect(own, slot, cell);
            uint64_t number = found->number;
            if (i % 16 == 0) sched_yield();
            KL_CHECK_EQ(found->canary, WHOLE);
            KL_CHECK_EQ(found->number, number);
            if (i % 3 == 0) kl_hazard_clear(own, slot);
        } else {
            retire(own, atomic_exchange_explicit(cell, new_thing(i), memory_order_acq_rel));
            KL_CHECK_LE(own->retired_count, kl_hazard_kept_max(it->hazard));
            if (i % 64 == 0) sched_yield();
        }
    }
}

static uint32_t rounds(void) {
    return kl_test_slow() ? 2000 : getenv("KEELSON_LONG") ? 2000000 : 20000;
}

static void run_storm(bool fences) {
    kl_hazard hazard;
    KL_CHECK_EQ(kl_hazard_open(&hazard, 8, fences), KL_OK);
    storm it = {.hazard = &hazard, .rounds = rounds()};
    made = given_back = 0;
    for (uint32_t i = 0; i < CELLS; i++) it.cells[i] = new_thing(i);
    kl_test_threads(6, read_or_replace, &it);
    kl_hazard_close(&hazard);
    KL_CHECK_EQ(count_of(&given_back) + CELLS, count_of(&made));
    for (uint32_t i = 0; i < CELLS; i++) free(it.cells[i]);
}

KL_TEST(kl_hazard_protects_against_those_who_retire_at_the_same_time_H1_H2) {
    run_storm(false);
}

KL_TEST(kl_hazard_protects_against_those_who_retire_at_the_same_time_with_fences_H1_H2) {
    run_storm(true);
}
