#include "sync/epoch.h"

#include "base/random.h"
#include "tests/c/harness.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WHOLE  0x5a5a5a5a5a5a5a5aull
#define POISON 0xdeadbeefdeadbeefull

/* Something that is read, replaced and given back. */
typedef struct {
    kl_retired node;
    uint64_t canary, number;
} thing;

static _Atomic uint64_t given_back;

static thing *new_thing(uint64_t number) {
    thing *it = malloc(sizeof *it);
    *it = (thing){.canary = WHOLE, .number = number};
    return it;
}

static void give_back(kl_retired *node) {
    thing *it = (thing *)(void *)node;
    KL_CHECK_EQ(it->canary, WHOLE); /* once */
    it->canary = POISON;
    atomic_fetch_add_explicit(&given_back, 1, memory_order_relaxed);
    free(it);
}

static uint64_t pending(kl_epoch *epoch) {
    kl_epoch_statistics now;
    kl_epoch_stats(epoch, &now);
    KL_CHECK_EQ(now.retired - now.reclaimed, now.pending);
    return now.pending;
}

/* Retires `count` new things. */
static void retire_some(kl_epoch *epoch, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) kl_epoch_retire(epoch, &new_thing(i)->node, give_back);
}

KL_TEST(kl_epoch_runs_no_callback_before_the_last_of_nested_enters_has_left_R1_R3) {
    kl_epoch epoch;
    KL_CHECK_EQ(kl_epoch_open(&epoch, NULL), KL_OK);
    KL_CHECK(!kl_epoch_is_inside(&epoch));
    KL_CHECK_EQ(kl_epoch_enter(&epoch), KL_OK);
    KL_CHECK_EQ(kl_epoch_enter(&epoch), KL_OK);
    KL_CHECK(kl_epoch_is_inside(&epoch));
    retire_some(&epoch, 3);
    kl_epoch_refresh(&epoch); /* nested: the outer one holds what it found */
    for (uint32_t i = 0; i < 5; i++) KL_CHECK_EQ(kl_epoch_advance(&epoch, UINT32_MAX), 0);
    kl_epoch_leave(&epoch);
    for (uint32_t i = 0; i < 5; i++) KL_CHECK_EQ(kl_epoch_advance(&epoch, UINT32_MAX), 0);
    KL_CHECK_EQ(pending(&epoch), 3);
    KL_CHECK_EQ(kl_epoch_drain(&epoch, 0), KL_ERR_ARGUMENT);
    kl_epoch_leave(&epoch);
    KL_CHECK_EQ(kl_epoch_advance(&epoch, 2), 2);
    KL_CHECK_EQ(kl_epoch_advance(&epoch, UINT32_MAX), 1);
    KL_CHECK_EQ(kl_epoch_advance(&epoch, UINT32_MAX), 0);
    KL_CHECK_EQ(pending(&epoch), 0);
    kl_epoch_close(&epoch);
}

KL_TEST(kl_epoch_refresh_lets_go_of_what_was_found_before) {
    kl_epoch epoch;
    KL_CHECK_EQ(kl_epoch_open(&epoch, NULL), KL_OK);
    KL_CHECK_EQ(kl_epoch_enter(&epoch), KL_OK);
    retire_some(&epoch, 1);
    KL_CHECK_EQ(kl_epoch_advance(&epoch, UINT32_MAX), 0);
    kl_epoch_refresh(&epoch);
    KL_CHECK_EQ(kl_epoch_advance(&epoch, UINT32_MAX), 1);
    retire_some(&epoch, 1); /* still inside for what is found from here on */
    KL_CHECK_EQ(kl_epoch_advance(&epoch, UINT32_MAX), 0);
    kl_epoch_leave(&epoch);
    KL_CHECK_EQ(kl_epoch_drain(&epoch, KL_FOREVER), KL_OK);
    kl_epoch_close(&epoch);
}

static uint64_t next_number;

static void in_order(kl_retired *node) {
    KL_CHECK_EQ(((thing *)(void *)node)->number, next_number++);
    give_back(node);
}

KL_TEST(kl_epoch_runs_the_callbacks_of_a_thread_in_order_and_once_R4) {
    kl_epoch epoch;
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    KL_CHECK_EQ(kl_epoch_open(&epoch, NULL), KL_OK);
    next_number = given_back = 0;
    for (uint64_t number = 0; number < 5000; number++) {
        bool inside = kl_random_below(&random, 2) == 0;
        if (inside) KL_CHECK_EQ(kl_epoch_enter(&epoch), KL_OK);
        kl_epoch_retire(&epoch, &new_thing(number)->node, in_order);
        if (kl_random_below(&random, 5) == 0)
            KL_CHECK_LE(0, kl_epoch_advance(&epoch, (uint32_t)kl_random_below(&random, 10)));
        if (inside) kl_epoch_leave(&epoch);
    }
    KL_CHECK_EQ(kl_epoch_drain(&epoch, KL_FOREVER), KL_OK);
    KL_CHECK_EQ(given_back, 5000);
    kl_epoch_close(&epoch);
}

static kl_epoch *again_in;
static uint32_t agains;

static void retire_again(kl_retired *node) {
    if (++agains < 5)
        kl_epoch_retire(again_in, node, retire_again);
    else
        give_back(node);
    KL_CHECK_EQ(kl_epoch_advance(again_in, 1), 0); /* no round within a round */
}

KL_TEST(kl_epoch_callback_may_retire_and_close_runs_all_there_is) {
    kl_epoch epoch;
    KL_CHECK_EQ(kl_epoch_open(&epoch, NULL), KL_OK);
    again_in = &epoch;
    agains = 0;
    kl_epoch_retire(&epoch, &new_thing(0)->node, retire_again);
    for (uint32_t i = 1; i < 5; i++) KL_CHECK_EQ(kl_epoch_advance(&epoch, UINT32_MAX), 1);
    KL_CHECK_EQ(agains, 4);
    KL_CHECK_EQ(pending(&epoch), 1);
    retire_some(&epoch, 10);
    given_back = 0;
    kl_epoch_close(&epoch); /* the round is over: advance within it answers 0 all the same */
    KL_CHECK_EQ(agains, 5);
    KL_CHECK_EQ(given_back, 11);
}

/* ---- threads that end, and too many of them ---- */

typedef struct {
    kl_epoch *epoch;
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

static void retire_and_end_inside(void *argument, uint32_t index) {
    (void)index;
    kl_epoch *epoch = argument;
    KL_CHECK_EQ(kl_epoch_enter(epoch), KL_OK);
    retire_some(epoch, 7);
}

KL_TEST(kl_epoch_takes_over_what_an_ended_thread_retired_and_forgets_that_it_was_inside_H3_R7) {
    kl_epoch epoch;
    kl_epoch_options options = {.slot_count = 3};
    KL_CHECK_EQ(kl_epoch_open(&epoch, &options), KL_OK);
    given_back = 0;
    for (uint32_t round = 0; round < 5; round++) { /* slots come back: 15 threads use 3 */
        kl_test_threads(3, retire_and_end_inside, &epoch);
        kl_epoch_statistics now;
        kl_epoch_stats(&epoch, &now);
        KL_CHECK_EQ(now.threads, 0);
        KL_CHECK_EQ(now.pending, 21);
        KL_CHECK_EQ(kl_epoch_advance(&epoch, UINT32_MAX), 21);
    }
    KL_CHECK_EQ(given_back, 105);
    kl_epoch_close(&epoch);
}

static void enter_in_turn(void *argument, uint32_t index) {
    stage_of *it = argument;
    if (index == 0) {
        KL_CHECK_EQ(kl_epoch_enter(it->epoch), KL_OK);
        set_stage(it, 1);
        await_stage(it, 2);
        kl_epoch_leave(it->epoch);
        return;
    }
    await_stage(it, 1);
    for (uint32_t i = 0; i < 3; i++) KL_CHECK_EQ(kl_epoch_enter(it->epoch), KL_ERR_LIMIT);
    KL_CHECK(!kl_epoch_is_inside(it->epoch));
    KL_CHECK_CONTAINS(kl_status_last(), "the 1 reader slots");
    retire_some(it->epoch, 2); /* never fails */
    KL_CHECK_EQ(kl_epoch_advance(it->epoch, UINT32_MAX), 0);
    set_stage(it, 2);
}

KL_TEST(kl_epoch_answers_an_error_to_more_threads_than_slots_H4) {
    kl_epoch epoch;
    kl_epoch_options options = {.slot_count = 1};
    KL_CHECK_EQ(kl_epoch_open(&epoch, &options), KL_OK);
    stage_of it = {.epoch = &epoch};
    kl_test_threads(2, enter_in_turn, &it);
    KL_CHECK_EQ(kl_epoch_drain(&epoch, KL_FOREVER), KL_OK);
    kl_epoch_close(&epoch);
    options.slot_count = KL_GRACE_SLOTS_MAX + 1;
    KL_CHECK_EQ(kl_epoch_open(&epoch, &options), KL_ERR_ARGUMENT);
}

KL_TEST(kl_epoch_works_for_more_epochs_at_once_than_are_cached) {
    enum { COUNT = 3 * KL_THREAD_RECORDS_CACHED };
    static kl_epoch epochs[COUNT];
    kl_epoch_options options = {.slot_count = 2};
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < COUNT; i++)
            KL_CHECK_EQ(kl_epoch_open(&epochs[i], &options), KL_OK);
        for (uint32_t i = 0; i < COUNT; i++) KL_CHECK_EQ(kl_epoch_enter(&epochs[i]), KL_OK);
        for (uint32_t i = 0; i < COUNT; i++) retire_some(&epochs[i], 1);
        for (uint32_t i = 0; i < COUNT; i++)
            KL_CHECK_EQ(kl_epoch_advance(&epochs[i], UINT32_MAX), 0);
        for (uint32_t i = 0; i < COUNT; i++) kl_epoch_leave(&epochs[i]);
        for (uint32_t i = 0; i < COUNT; i++)
            KL_CHECK_EQ(kl_epoch_advance(&epochs[i], UINT32_MAX), 1);
        for (uint32_t i = 0; i < COUNT; i++) kl_epoch_close(&epochs[i]);
    }
}

KL_TEST(kl_epoch_notifies_its_event_when_there_is_work) {
    kl_event_count event = {.sequence = 0};
    kl_epoch epoch;
    kl_epoch_options options = {.event = &event};
    KL_CHECK_EQ(kl_epoch_open(&epoch, &options), KL_OK);
    for (uint32_t round = 0; round < 5; round++) {
        uint32_t before = kl_event_count_prepare(&event);
        retire_some(&epoch, 100);
        KL_CHECK_EQ(kl_event_count_prepare(&event), before + 1); /* once, and not for each */
        KL_CHECK_EQ(kl_epoch_advance(&epoch, UINT32_MAX), 100);
    }
    kl_epoch_close(&epoch);
}

/* ---- the watchdog ---- */

typedef struct {
    uint32_t times;
    kl_epoch_holder last;
} told;

static void note_stall(void *argument, const kl_epoch_holder *holder) {
    told *it = argument;
    it->times++;
    it->last = *holder;
}

static int32_t holding_thread;

static kl_epoch_report report_all(void) {
    kl_epoch_report report;
    KL_CHECK_EQ(kl_epoch_report_all((uint8_t *)&report), KL_OK);
    return report;
}

static void hold_for_long(void *argument, uint32_t index) {
    stage_of *it = argument;
    kl_epoch_holder holder;
    if (index == 1) {
        holding_thread = (int32_t)syscall(SYS_gettid);
        KL_CHECK_EQ(kl_epoch_enter(it->epoch), KL_OK);
        set_stage(it, 1);
        await_stage(it, 2);
        kl_epoch_leave(it->epoch);
        KL_CHECK_EQ(kl_epoch_enter(it->epoch), KL_OK);
        set_stage(it, 3);
        await_stage(it, 4);
        kl_epoch_leave(it->epoch);
        return;
    }
    told *heard = it->epoch->options.argument;
    for (uint32_t hold = 1; hold <= 2; hold++) {
        await_stage(it, 2 * hold - 1);
        retire_some(it->epoch, 1);
        uint64_t limit = kl_test_now_ns() + 20 * KL_NS_PER_S;
        while (heard->times < hold && kl_test_now_ns() < limit) {
            KL_CHECK_LE(0, kl_epoch_advance(it->epoch, 1)); /* what the hold before kept */
            sched_yield();
        }
        for (uint32_t i = 0; i < 100; i++) kl_epoch_advance(it->epoch, 1);
        KL_CHECK_EQ(heard->times, hold); /* once for each hold */
        KL_CHECK_EQ(heard->last.thread, holding_thread);
        KL_CHECK_EQ(heard->last.process, 1);
        KL_CHECK_LE(it->epoch->options.stall_ns, heard->last.held_ns);
        KL_CHECK_LE(1, heard->last.behind);
        KL_CHECK_EQ(kl_epoch_oldest(it->epoch, &holder), KL_OK);
        KL_CHECK_EQ(holder.thread, holding_thread);
        kl_epoch_report report = report_all();
        KL_CHECK(report.epochs == 1 && report.pending >= 1 && report.held_behind >= 1);
        KL_CHECK(report.held_ms >= 20 && report.held_thread == holding_thread);
        KL_CHECK_LE(heard->last.held_ns, holder.held_ns);
        set_stage(it, 2 * hold);
    }
}

KL_TEST(kl_epoch_tells_once_who_holds_the_oldest_epoch_and_for_how_long) {
    told heard = {.times = 0};
    kl_epoch epoch;
    kl_epoch_options options = {
        .stall_ns = 20 * KL_NS_PER_MS, .on_stall = note_stall, .argument = &heard};
    KL_CHECK_EQ(kl_epoch_open(&epoch, &options), KL_OK);
    kl_epoch_holder holder;
    KL_CHECK_EQ(kl_epoch_oldest(&epoch, &holder), KL_ERR_NOT_FOUND);
    stage_of it = {.epoch = &epoch};
    kl_test_threads(2, hold_for_long, &it);
    KL_CHECK_EQ(kl_epoch_drain(&epoch, KL_FOREVER), KL_OK);
    kl_epoch_close(&epoch);
}

KL_TEST(kl_epoch_report_all_sums_up_the_epochs_that_are_open) {
    kl_epoch first, second;
    KL_CHECK_EQ(kl_epoch_open(&first, NULL), KL_OK);
    KL_CHECK_EQ(kl_epoch_open(&second, NULL), KL_OK);
    retire_some(&first, 3);
    retire_some(&second, 4);
    KL_CHECK_EQ(kl_epoch_advance(&second, 1), 1);
    kl_epoch_report report = report_all();
    KL_CHECK(report.epochs == 2 && report.threads == 2 && report.held_ms == 0);
    KL_CHECK(report.retired == 7 && report.reclaimed == 1 && report.pending == 6);
    kl_epoch_close(&first);
    report = report_all();
    KL_CHECK(report.epochs == 1 && report.retired == 4 && report.pending == 3);
    kl_epoch_close(&second);
    report = report_all();
    KL_CHECK(report.epochs == 0 && report.threads == 0 && report.retired == 0);
}

/* ---- many threads ---- */

#define CELLS 4u

typedef struct {
    kl_epoch *epoch;
    _Atomic(thing *) cells[CELLS];
    _Atomic uint32_t working;
    uint32_t rounds;
    uint64_t made;
} storm;

static void read_cells(storm *it, kl_random *random) {
    for (uint32_t i = 0; i < it->rounds; i++) {
        KL_CHECK_EQ(kl_epoch_enter(it->epoch), KL_OK);
        _Atomic(thing *) *cell = &it->cells[kl_random_below(random, CELLS)];
        thing *found = atomic_load_explicit(cell, memory_order_acquire);
        uint64_t number = found->number;
        if (i % 16 == 0) sched_yield();
        KL_CHECK_EQ(found->canary, WHOLE);
        KL_CHECK_EQ(found->number, number);
        kl_epoch_leave(it->epoch);
    }
}

static void replace_cells(storm *it, kl_random *random) {
    for (uint32_t i = 0; i < it->rounds; i++) {
        _Atomic(thing *) *cell = &it->cells[kl_random_below(random, CELLS)];
        thing *old = atomic_exchange_explicit(cell, new_thing(i), memory_order_acq_rel);
        kl_epoch_retire(it->epoch, &old->node, give_back);
        if (i % 64 == 0) sched_yield();
    }
}

static void take_part(void *argument, uint32_t index) {
    storm *it = argument;
    kl_random random;
    kl_random_init(&random, kl_test_seed() + index);
    if (index == 0) {
        while (atomic_load_explicit(&it->working, memory_order_acquire) > 0)
            if (kl_epoch_advance(it->epoch, 1000) == 0) sched_yield();
        return;
    }
    if (index % 2 == 0)
        replace_cells(it, &random);
    else
        read_cells(it, &random);
    atomic_fetch_sub_explicit(&it->working, 1, memory_order_release);
}

static uint32_t rounds(void) {
    return kl_test_slow() ? 2000 : getenv("KEELSON_LONG") ? 2000000 : 20000;
}

static void run_storm(bool fences, uint64_t period) {
    kl_epoch epoch;
    kl_epoch_options options = {.fences = fences};
    KL_CHECK_EQ(kl_epoch_open(&epoch, &options), KL_OK);
    atomic_store_explicit(&epoch.grace.header->period, period, memory_order_relaxed);
    storm it = {.epoch = &epoch, .working = 5, .rounds = rounds()};
    for (uint32_t i = 0; i < CELLS; i++) it.cells[i] = new_thing(i);
    given_back = 0;
    kl_test_threads(6, take_part, &it);
    KL_CHECK_EQ(kl_epoch_drain(&epoch, KL_FOREVER), KL_OK);
    KL_CHECK_EQ(given_back, 2 * it.rounds);
    for (uint32_t i = 0; i < CELLS; i++) free(it.cells[i]);
    kl_epoch_close(&epoch);
}

KL_TEST(kl_epoch_gives_back_nothing_that_a_reader_may_use_R1) {
    run_storm(false, 1);
}

KL_TEST(kl_epoch_gives_back_nothing_that_a_reader_may_use_with_fences_R1) {
    run_storm(true, 1);
}

KL_TEST(kl_epoch_passes_2_to_the_32_and_2_to_the_63) {
    run_storm(false, (1ull << 32) - 10);
    run_storm(true, (1ull << 63) - 10);
}

/* ---- between processes ---- */

#define SHARED_SLOTS 4u

static char path[512];

static kl_region *create(void) {
    kl_region *region = NULL;
    snprintf(path, sizeof path, "%s/region", kl_test_folder());
    kl_region_spec spec = {.kind = 1};
    KL_CHECK_EQ(kl_region_create(&region, path, 4096, &spec), KL_OK);
    KL_CHECK_EQ(kl_grace_format(kl_region_data(region), SHARED_SLOTS), KL_OK);
    KL_CHECK_EQ(kl_region_publish(region), KL_OK);
    KL_CHECK_LE(0, kl_region_join(region, 0));
    return region;
}

static void open_shared(kl_epoch *epoch, kl_region *region) {
    KL_CHECK_EQ(kl_epoch_open_shared(epoch, region, kl_region_data(region),
                                     kl_region_data_bytes(region), NULL),
                KL_OK);
}

/* In the region, behind the slots: which stage has been reached. */
static _Atomic uint32_t *shared_stage(kl_region *region) {
    return (_Atomic uint32_t *)(void *)(kl_region_data(region) + 2048);
}

static void await_shared(kl_region *region, uint32_t stage) {
    while (atomic_load_explicit(shared_stage(region), memory_order_acquire) < stage) sched_yield();
}

static int enter_elsewhere(void *argument) {
    uint32_t ending = *(uint32_t *)argument;
    kl_region *region = NULL;
    KL_CHECK_EQ(kl_region_attach(&region, path, NULL), KL_OK);
    KL_CHECK_LE(0, kl_region_join(region, 0));
    static kl_epoch epoch;
    open_shared(&epoch, region);
    KL_CHECK_EQ(kl_epoch_enter(&epoch), KL_OK);
    atomic_store_explicit(shared_stage(region), 1, memory_order_release);
    await_shared(region, 2);
    if (ending == 0) kill(getpid(), SIGKILL);
    kl_epoch_leave(&epoch);
    retire_some(&epoch, 3);
    KL_CHECK_EQ(kl_epoch_drain(&epoch, 20 * KL_NS_PER_S), KL_OK);
    kl_epoch_close(&epoch);
    kl_region_close(region);
    return 0;
}

KL_TEST(kl_epoch_waits_for_another_process_inside_and_not_for_a_dead_one_R7) {
    for (uint32_t ending = 0; ending < 2; ending++) {
        kl_region *region = create();
        kl_epoch epoch;
        open_shared(&epoch, region);
        KL_CHECK(!epoch.grace.is_light);
        int child = kl_test_fork(enter_elsewhere, &ending);
        await_shared(region, 1);
        retire_some(&epoch, 2);
        for (uint32_t i = 0; i < 10; i++) KL_CHECK_EQ(kl_epoch_advance(&epoch, UINT32_MAX), 0);
        kl_epoch_holder holder;
        KL_CHECK_EQ(kl_epoch_oldest(&epoch, &holder), KL_OK);
        KL_CHECK_EQ(holder.thread, child);
        KL_CHECK_NE(holder.process, kl_region_self(region));
        atomic_store_explicit(shared_stage(region), 2, memory_order_release);
        KL_CHECK_EQ(kl_test_join(child), ending == 0 ? 128 + SIGKILL : 0);
        KL_CHECK_EQ(kl_epoch_drain(&epoch, 20 * KL_NS_PER_S), KL_OK);
        KL_CHECK_EQ(kl_grace_readers(&epoch.grace), 1); /* this thread: it has retired */
        kl_epoch_close(&epoch);
        KL_CHECK_EQ(unlink(path), 0);
        kl_region_close(region);
    }
}

KL_TEST(kl_epoch_open_shared_refuses_a_region_that_is_not_joined_and_memory_too_small) {
    kl_region *region = create(), *other = NULL;
    kl_epoch epoch;
    KL_CHECK_EQ(kl_region_attach(&other, path, NULL), KL_OK);
    KL_CHECK_EQ(kl_epoch_open_shared(&epoch, other, kl_region_data(other), 4096, NULL),
                KL_ERR_ARGUMENT);
    uint64_t bytes = kl_grace_memory_bytes(SHARED_SLOTS);
    KL_CHECK_EQ(kl_epoch_open_shared(&epoch, region, kl_region_data(region), bytes - 1, NULL),
                KL_ERR_CORRUPT);
    KL_CHECK_EQ(kl_epoch_open_shared(&epoch, region, kl_region_data(region), 0, NULL),
                KL_ERR_CORRUPT);
    kl_region_close(other);
    kl_region_close(region);
}

static void use_somehow(kl_epoch *epoch) {
    kl_epoch_holder holder;
    kl_epoch_statistics now;
    for (uint32_t i = 0; i < 3; i++) {
        if (kl_epoch_enter(epoch) == KL_OK) {
            kl_epoch_refresh(epoch);
            kl_epoch_leave(epoch);
        }
        retire_some(epoch, 1);
        int32_t status = kl_epoch_advance(epoch, UINT32_MAX);
        KL_CHECK(status >= 0 || status == KL_ERR_CORRUPT);
        status = kl_epoch_oldest(epoch, &holder);
        KL_CHECK(status == KL_OK || status == KL_ERR_NOT_FOUND || status == KL_ERR_CORRUPT);
        kl_epoch_stats(epoch, &now);
    }
}

KL_TEST(kl_epoch_answers_codes_only_when_its_shared_memory_is_scribbled_over) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    kl_region *region = create();
    uint64_t bytes = kl_grace_memory_bytes(SHARED_SLOTS);
    uint8_t *memory = aligned_alloc(KL_LINE_BYTES, bytes); /* its end is seen by asan */
    for (uint32_t round = 0; round < (kl_test_slow() ? 100u : 1000u); round++) {
        KL_CHECK_EQ(kl_grace_format(memory, SHARED_SLOTS), KL_OK);
        kl_epoch epoch;
        bool early = round % 2 == 0;
        if (early) KL_CHECK_EQ(kl_epoch_open_shared(&epoch, region, memory, bytes, NULL), KL_OK);
        uint32_t count = 1 + (uint32_t)kl_random_below(&random, round % 3 == 0 ? 400 : 8);
        for (uint32_t i = 0; i < count; i++)
            memory[kl_random_below(&random, bytes)] = (uint8_t)kl_random_u64(&random);
        if (!early) {
            int32_t status = kl_epoch_open_shared(&epoch, region, memory, bytes, NULL);
            KL_CHECK(status == KL_OK || status == KL_ERR_CORRUPT || status == KL_ERR_VERSION);
            if (status != KL_OK) continue;
        }
        use_somehow(&epoch);
        kl_epoch_close(&epoch);
    }
    free(memory);
    kl_region_close(region);
}
