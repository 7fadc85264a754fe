#include "sync/rcu.h"

#include "base/clock.h"
#include "base/random.h"
#include "tests/c/harness.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WHOLE   0x5a5a5a5a5a5a5a5aull
#define POISON  0xdeadbeefdeadbeefull
#define LONG_NS (30 * KL_NS_PER_S) /* for what must happen, on a machine however busy */

typedef struct {
    kl_retired node;
    uint64_t canary, number;
} thing;

static thing *new_thing(uint64_t number) {
    thing *it = malloc(sizeof *it);
    *it = (thing){.canary = WHOLE, .number = number};
    return it;
}

static void poison(thing *it) {
    KL_CHECK_EQ(it->canary, WHOLE); /* once */
    it->canary = POISON;
    free(it);
}

static void give_back(kl_retired *node) {
    poison((thing *)(void *)node);
}

/* Two threads that take turns. */
typedef struct {
    kl_rcu *rcu;
    kl_event_count changed;
    _Atomic uint32_t stage;
} stage_of;

static void set_stage(stage_of *it, uint32_t stage) {
    atomic_store_explicit(&it->stage, stage, memory_order_release);
    kl_event_count_notify_all(&it->changed);
}

static void await_stage(stage_of *it, uint32_t stage) {
    for (;;) {
        uint32_t key = kl_event_count_prepare(&it->changed);
        if (atomic_load_explicit(&it->stage, memory_order_acquire) >= stage) return;
        kl_event_count_wait(&it->changed, key, KL_FOREVER, NULL);
    }
}

/* ---- grace periods ---- */

KL_TEST(kl_rcu_poll_is_true_once_nested_sections_have_ended_R3) {
    kl_rcu rcu;
    uint64_t first, second;
    KL_CHECK_EQ(kl_rcu_open(&rcu, 0, false), KL_OK);
    kl_rcu_reader *reader = kl_rcu_register(&rcu);
    KL_CHECK(reader == kl_rcu_register(&rcu));
    KL_CHECK_EQ(kl_rcu_reader_count(&rcu), 1);
    KL_CHECK_EQ(kl_rcu_synchronize(&rcu, KL_FOREVER), KL_OK);
    kl_rcu_read_lock(reader);
    kl_rcu_read_lock(reader);
    KL_CHECK_EQ(kl_rcu_start(&rcu, &first), KL_OK);
    KL_CHECK_EQ(kl_rcu_poll(&rcu, first), 0);
    kl_rcu_read_unlock(reader);
    KL_CHECK_EQ(kl_rcu_poll(&rcu, first), 0);
    KL_CHECK_EQ(kl_rcu_synchronize(&rcu, 0), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_rcu_barrier(&rcu, 0), KL_ERR_ARGUMENT);
    kl_rcu_read_unlock(reader);
    KL_CHECK_EQ(kl_rcu_poll(&rcu, first), 1);
    kl_rcu_read_lock(reader); /* a later section does not matter, now or ever */
    KL_CHECK_EQ(kl_rcu_poll(&rcu, first), 1);
    KL_CHECK_EQ(kl_rcu_start(&rcu, &second), KL_OK);
    KL_CHECK_EQ(kl_rcu_poll(&rcu, second), 0);
    KL_CHECK_EQ(kl_rcu_poll(&rcu, first), 1);
    kl_rcu_read_unlock(reader);
    KL_CHECK_EQ(kl_rcu_poll(&rcu, second), 1);
    KL_CHECK_EQ(kl_rcu_unregister(&rcu), KL_OK);
    KL_CHECK_EQ(kl_rcu_unregister(&rcu), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_rcu_reader_count(&rcu), 0);
    kl_rcu_close(&rcu);
}

static uint64_t released_ns;

static void hold_for_50_ms(void *argument, uint32_t index) {
    stage_of *it = argument;
    if (index == 1) {
        kl_rcu_reader *reader = kl_rcu_register(it->rcu);
        kl_rcu_read_lock(reader);
        set_stage(it, 1);
        uint64_t until = kl_test_now_ns() + 50 * KL_NS_PER_MS;
        while (kl_test_now_ns() < until) usleep(1000); /* how long it holds is the test */
        released_ns = kl_test_now_ns();
        kl_rcu_read_unlock(reader);
        return;
    }
    await_stage(it, 1);
    KL_CHECK_EQ(kl_rcu_synchronize(it->rcu, KL_NS_PER_MS), KL_ERR_TIMEOUT);
    KL_CHECK_EQ(kl_rcu_synchronize(it->rcu, LONG_NS), KL_OK);
    KL_CHECK_LE(released_ns, kl_test_now_ns());
}

KL_TEST(kl_rcu_synchronize_waits_for_a_reader_that_holds_50_ms_R2) {
    for (uint32_t form = 0; form < 2; form++) {
        kl_rcu rcu;
        KL_CHECK_EQ(kl_rcu_open(&rcu, 0, form == 1), KL_OK);
        stage_of it = {.rcu = &rcu};
        released_ns = UINT64_MAX;
        uint64_t before = kl_test_now_ns();
        kl_test_threads(2, hold_for_50_ms, &it);
        KL_CHECK_LE(50 * KL_NS_PER_MS, kl_test_now_ns() - before);
        kl_rcu_close(&rcu);
    }
}

static void synchronize_often(void *argument, uint32_t index) {
    kl_rcu *rcu = argument;
    (void)index;
    for (uint32_t i = 0; i < 200; i++) KL_CHECK_EQ(kl_rcu_synchronize(rcu, LONG_NS), KL_OK);
}

KL_TEST(kl_rcu_synchronize_shares_grace_periods_among_those_who_wait) {
    kl_rcu rcu;
    KL_CHECK_EQ(kl_rcu_open(&rcu, 0, false), KL_OK);
    kl_test_threads(4, synchronize_often, &rcu);
    KL_CHECK_LE(rcu.begun_count, 800);
    KL_CHECK_LE(200, rcu.begun_count);
    KL_CHECK_EQ(rcu.ended_count, rcu.begun_count);
    kl_rcu_close(&rcu);
}

static void wait_together(void *argument, uint32_t index) {
    stage_of *it = argument;
    if (index == 0) {
        kl_rcu_reader *reader = kl_rcu_register(it->rcu);
        kl_rcu_read_lock(reader);
        set_stage(it, 1);
        while (atomic_load_explicit(&it->stage, memory_order_acquire) < 6) sched_yield();
        kl_rcu_read_unlock(reader);
        return;
    }
    await_stage(it, 1);
    atomic_fetch_add_explicit(&it->stage, 1, memory_order_release);
    KL_CHECK_EQ(kl_rcu_synchronize(it->rcu, LONG_NS), KL_OK);
    KL_CHECK_LE(6, atomic_load_explicit(&it->stage, memory_order_acquire));
}

KL_TEST(kl_rcu_synchronize_of_many_at_once_takes_two_grace_periods_at_most) {
    kl_rcu rcu;
    KL_CHECK_EQ(kl_rcu_open(&rcu, 0, false), KL_OK);
    stage_of it = {.rcu = &rcu};
    kl_test_threads(6, wait_together, &it);
    /* The first of them, and one for those who came while it ran; more only for one who came late. */
    KL_CHECK_LE(rcu.begun_count, 5);
    kl_rcu_close(&rcu);
}

/* ---- many threads: R1, R5, R6 ---- */

typedef struct {
    kl_rcu *rcu;
    _Atomic(thing *) current;
    _Atomic uint32_t stop;
    _Atomic uint64_t reads;
    uint32_t rounds;
    enum { SECTIONS, QUIESCENT, COMING_AND_GOING } how;
} storm;

static void look_once(storm *it, bool yields) {
    thing *found = atomic_load_explicit(&it->current, memory_order_acquire);
    uint64_t number = found->number;
    if (yields) sched_yield();
    KL_CHECK_EQ(found->canary, WHOLE);
    KL_CHECK_EQ(found->number, number);
}

static void read_in_sections(storm *it, kl_rcu_reader *reader) {
    uint64_t reads = 0;
    while (!atomic_load_explicit(&it->stop, memory_order_acquire)) {
        kl_rcu_read_lock(reader);
        look_once(it, reads % 32 == 0);
        if (reads % 3 == 0) {
            kl_rcu_read_lock(reader);
            look_once(it, false);
            kl_rcu_read_unlock(reader);
        }
        look_once(it, false);
        kl_rcu_read_unlock(reader);
        if (it->how == COMING_AND_GOING && reads % 8 == 0) {
            KL_CHECK_EQ(kl_rcu_unregister(it->rcu), KL_OK);
            reader = kl_rcu_register(it->rcu);
        }
        if (reads++ % 8 == 0) atomic_fetch_add_explicit(&it->reads, 8, memory_order_relaxed);
    }
}

static void read_between_quiet(storm *it, kl_rcu_reader *reader) {
    uint64_t reads = 0;
    kl_rcu_online(reader);
    while (!atomic_load_explicit(&it->stop, memory_order_acquire)) {
        look_once(it, reads % 32 == 0);
        if (reads++ % 4 != 0) continue;
        kl_rcu_quiescent(reader);
        atomic_fetch_add_explicit(&it->reads, 4, memory_order_relaxed);
        if (reads % 64 == 1) {
            kl_rcu_offline(reader);
            sched_yield();
            kl_rcu_online(reader);
        }
    }
    kl_rcu_offline(reader);
}

static uint64_t reads_of(storm *it) {
    return atomic_load_explicit(&it->reads, memory_order_relaxed);
}

static void replace(storm *it) {
    /* However the threads are scheduled, most of the replacing meets readers. */
    for (uint32_t i = 0; i < it->rounds || reads_of(it) < it->rounds; i++) {
        if (reads_of(it) < i / 2) sched_yield();
        thing *old = atomic_exchange_explicit(&it->current, new_thing(i), memory_order_acq_rel);
        if (i % 4 == 0) {
            KL_CHECK_EQ(kl_rcu_synchronize(it->rcu, LONG_NS), KL_OK);
            poison(old);
        } else {
            kl_rcu_call(it->rcu, &old->node, give_back);
        }
        KL_CHECK_LE(0, kl_rcu_advance(it->rcu, 100));
    }
    atomic_store_explicit(&it->stop, 1, memory_order_release);
}

static void take_part(void *argument, uint32_t index) {
    storm *it = argument;
    if (index == 0) {
        replace(it);
        return;
    }
    kl_rcu_reader *reader = kl_rcu_register(it->rcu);
    if (it->how == QUIESCENT && index % 2 == 0)
        read_between_quiet(it, reader);
    else
        read_in_sections(it, reader);
}

static uint32_t rounds(void) {
    return kl_test_slow() ? 100 : getenv("KEELSON_LONG") ? 50000 : 1000;
}

static void run_storm(uint32_t how, bool fences, uint64_t period) {
    kl_rcu rcu;
    KL_CHECK_EQ(kl_rcu_open(&rcu, 8, fences), KL_OK);
    atomic_store_explicit(&rcu.grace.header->period, period, memory_order_relaxed);
    storm it = {.rcu = &rcu, .rounds = rounds(), .how = how};
    atomic_store_explicit(&it.current, new_thing(0), memory_order_relaxed);
    kl_test_threads(5, take_part, &it);
    KL_CHECK_EQ(kl_rcu_barrier(&rcu, LONG_NS), KL_OK);
    kl_rcu_close(&rcu);
    free(atomic_load_explicit(&it.current, memory_order_relaxed));
}

KL_TEST(
    kl_rcu_frees_nothing_that_a_section_may_see_and_readers_that_never_pause_starve_nobody_R1_R5) {
    run_storm(SECTIONS, false, 1);
    run_storm(SECTIONS, true, 1);
}

KL_TEST(kl_rcu_frees_nothing_that_a_thread_may_see_before_its_quiescent_state_R1_R5) {
    run_storm(QUIESCENT, false, 1);
    run_storm(QUIESCENT, true, 1);
}

KL_TEST(kl_rcu_readers_may_come_and_go_during_a_grace_period_R6) {
    run_storm(COMING_AND_GOING, false, 1);
}

KL_TEST(kl_rcu_passes_2_to_the_32_and_2_to_the_63) {
    run_storm(SECTIONS, false, (1ull << 32) - 10);
    run_storm(QUIESCENT, true, (1ull << 63) - 10);
}

/* ---- callbacks: R4 ---- */

static uint64_t next_number;

static void in_order(kl_retired *node) {
    KL_CHECK_EQ(((thing *)(void *)node)->number, next_number++);
    give_back(node);
}

KL_TEST(kl_rcu_call_runs_in_order_once_after_a_grace_period_that_began_later_R4) {
    kl_rcu rcu;
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    KL_CHECK_EQ(kl_rcu_open(&rcu, 0, false), KL_OK);
    kl_rcu_reader *reader = kl_rcu_register(&rcu);
    next_number = 0;
    uint64_t called = 0, allowed = 0; /* those called before the last section began may run */
    for (uint32_t i = 0; i < (kl_test_slow() ? 2000u : 20000u); i++) {
        uint32_t what = (uint32_t)kl_random_below(&random, 4);
        if (what == 0 && !kl_rcu_is_reading(reader)) {
            allowed = called;
            kl_rcu_read_lock(reader);
        } else if (what == 1 && kl_rcu_is_reading(reader)) {
            kl_rcu_read_unlock(reader);
        } else if (what == 2) {
            kl_rcu_call(&rcu, &new_thing(called++)->node, in_order);
        } else {
            KL_CHECK_LE(0, kl_rcu_advance(&rcu, (uint32_t)kl_random_below(&random, 5)));
            if (kl_rcu_is_reading(reader)) KL_CHECK_LE(next_number, allowed);
        }
    }
    if (kl_rcu_is_reading(reader)) kl_rcu_read_unlock(reader);
    KL_CHECK_EQ(kl_rcu_barrier(&rcu, LONG_NS), KL_OK);
    KL_CHECK_EQ(next_number, called);
    kl_rcu_call(&rcu, &new_thing(called)->node, in_order);
    kl_rcu_close(&rcu);
    KL_CHECK_EQ(next_number, called + 1);
}

static _Atomic uint64_t ran;

static void count_run(kl_retired *node) {
    atomic_fetch_add_explicit(&ran, 1, memory_order_relaxed);
    give_back(node);
}

static void call_and_barrier(void *argument, uint32_t index) {
    kl_rcu *rcu = argument;
    if (index == 0) {
        while (atomic_load_explicit(&ran, memory_order_relaxed) < 3 * 300)
            if (kl_rcu_advance(rcu, 7) == 0) sched_yield();
        return;
    }
    for (uint32_t i = 1; i <= 300; i++) {
        kl_rcu_call(rcu, &new_thing(i)->node, count_run);
        if (i % 50 != 0) continue;
        KL_CHECK_EQ(kl_rcu_barrier(rcu, LONG_NS), KL_OK);
        KL_CHECK_LE(i, atomic_load_explicit(&ran, memory_order_relaxed));
    }
}

KL_TEST(kl_rcu_barrier_returns_when_all_called_before_have_run_R4) {
    kl_rcu rcu;
    KL_CHECK_EQ(kl_rcu_open(&rcu, 0, false), KL_OK);
    atomic_store_explicit(&ran, 0, memory_order_relaxed);
    kl_test_threads(4, call_and_barrier, &rcu);
    KL_CHECK_EQ(atomic_load_explicit(&ran, memory_order_relaxed), 900);
    kl_rcu_close(&rcu);
}

/* ---- quiescent states ---- */

KL_TEST(kl_rcu_waits_for_an_online_thread_until_it_is_quiescent_or_offline) {
    kl_rcu rcu;
    uint64_t period;
    KL_CHECK_EQ(kl_rcu_open(&rcu, 0, false), KL_OK);
    kl_rcu_reader *reader = kl_rcu_register(&rcu);
    kl_rcu_online(reader);
    kl_rcu_online(reader);
    KL_CHECK_EQ(kl_rcu_start(&rcu, &period), KL_OK);
    KL_CHECK_EQ(kl_rcu_poll(&rcu, period), 0);
    kl_rcu_quiescent(reader);
    KL_CHECK_EQ(kl_rcu_poll(&rcu, period), 1);
    KL_CHECK_EQ(kl_rcu_start(&rcu, &period), KL_OK);
    KL_CHECK_EQ(kl_rcu_poll(&rcu, period), 0);
    /* It waits for others, and not for itself. */
    KL_CHECK_EQ(kl_rcu_synchronize(&rcu, KL_FOREVER), KL_OK);
    KL_CHECK(reader->is_online);
    KL_CHECK_EQ(kl_rcu_poll(&rcu, period), 1);
    KL_CHECK_EQ(kl_rcu_start(&rcu, &period), KL_OK);
    KL_CHECK_EQ(kl_rcu_poll(&rcu, period), 0);
    kl_rcu_offline(reader);
    kl_rcu_offline(reader);
    KL_CHECK_EQ(kl_rcu_poll(&rcu, period), 1);
    kl_rcu_close(&rcu);
}

/* ---- the dead: R7 ---- */

static void end_inside(void *argument, uint32_t index) {
    kl_rcu *rcu = argument;
    kl_rcu_reader *reader = kl_rcu_register(rcu);
    KL_CHECK(reader != NULL);
    if (index == 0)
        kl_rcu_read_lock(reader);
    else
        kl_rcu_online(reader);
}

KL_TEST(kl_rcu_does_not_wait_for_threads_that_ended_inside_R7) {
    kl_rcu rcu;
    KL_CHECK_EQ(kl_rcu_open(&rcu, 2, false), KL_OK);
    for (uint32_t i = 0; i < 5; i++) {
        kl_test_threads(2, end_inside, &rcu);
        KL_CHECK_EQ(kl_rcu_reader_count(&rcu), 0);
        KL_CHECK_EQ(kl_rcu_synchronize(&rcu, LONG_NS), KL_OK);
    }
    kl_rcu_close(&rcu);
}

static void register_in_turn(void *argument, uint32_t index) {
    stage_of *it = argument;
    if (index == 0) {
        KL_CHECK(kl_rcu_register(it->rcu) != NULL);
        set_stage(it, 1);
        await_stage(it, 2);
        return;
    }
    await_stage(it, 1);
    KL_CHECK(kl_rcu_register(it->rcu) == NULL);
    KL_CHECK_EQ(kl_status_detail_code(), KL_ERR_LIMIT);
    KL_CHECK_EQ(kl_rcu_synchronize(it->rcu, LONG_NS), KL_OK); /* waiting needs no slot */
    set_stage(it, 2);
}

KL_TEST(kl_rcu_answers_an_error_to_more_readers_than_slots) {
    kl_rcu rcu;
    KL_CHECK_EQ(kl_rcu_open(&rcu, KL_GRACE_SLOTS_MAX + 1, false), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_rcu_open(&rcu, 1, false), KL_OK);
    stage_of it = {.rcu = &rcu};
    kl_test_threads(2, register_in_turn, &it);
    kl_rcu_close(&rcu);
}

static char path[512];

static _Atomic uint32_t *shared_stage(kl_region *region) {
    return (_Atomic uint32_t *)(void *)(kl_region_data(region) + 2048);
}

static void await_shared(kl_region *region, uint32_t stage) {
    while (atomic_load_explicit(shared_stage(region), memory_order_acquire) < stage) sched_yield();
}

static int read_elsewhere(void *argument) {
    uint32_t ending = *(uint32_t *)argument;
    kl_region *region = NULL;
    static kl_rcu rcu;
    KL_CHECK_EQ(kl_region_attach(&region, path, NULL), KL_OK);
    KL_CHECK_LE(0, kl_region_join(region, 0));
    KL_CHECK_EQ(kl_rcu_open_shared(&rcu, region, kl_region_data(region), 2048), KL_OK);
    kl_rcu_reader *reader = kl_rcu_register(&rcu);
    kl_rcu_read_lock(reader);
    atomic_store_explicit(shared_stage(region), 1, memory_order_release);
    await_shared(region, 2);
    if (ending == 0) kill(getpid(), SIGKILL);
    kl_rcu_read_unlock(reader);
    await_shared(region, 3); /* it stays registered */
    kl_rcu_close(&rcu);
    kl_region_close(region);
    return 0;
}

KL_TEST(kl_rcu_waits_for_another_process_inside_and_not_for_a_dead_one_R7) {
    snprintf(path, sizeof path, "%s/region", kl_test_folder());
    for (uint32_t ending = 0; ending < 2; ending++) {
        kl_region *region = NULL;
        kl_region_spec spec = {.kind = 1};
        kl_rcu rcu;
        KL_CHECK_EQ(kl_region_create(&region, path, 4096, &spec), KL_OK);
        KL_CHECK_EQ(kl_grace_format(kl_region_data(region), 4), KL_OK);
        KL_CHECK_EQ(kl_region_publish(region), KL_OK);
        KL_CHECK_LE(0, kl_region_join(region, 0));
        KL_CHECK_EQ(kl_rcu_open_shared(&rcu, region, kl_region_data(region), 2048), KL_OK);
        int child = kl_test_fork(read_elsewhere, &ending);
        await_shared(region, 1);
        KL_CHECK_EQ(kl_rcu_synchronize(&rcu, KL_NS_PER_MS), KL_ERR_TIMEOUT);
        atomic_store_explicit(shared_stage(region), 2, memory_order_release);
        KL_CHECK_EQ(kl_rcu_synchronize(&rcu, LONG_NS), KL_OK);
        KL_CHECK_EQ(kl_rcu_reader_count(&rcu), ending);
        atomic_store_explicit(shared_stage(region), 3, memory_order_release);
        KL_CHECK_EQ(kl_test_join(child), ending == 0 ? 128 + SIGKILL : 0);
        KL_CHECK_EQ(kl_rcu_reader_count(&rcu), 0);
        kl_rcu_close(&rcu);
        KL_CHECK_EQ(unlink(path), 0);
        kl_region_close(region);
    }
}
