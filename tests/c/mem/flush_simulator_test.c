/* The simulator of hosts without coherence, tried on the protocol of mem/flush.h itself. */
#define KL_FLUSH_SITES_DEBUG 1
#include "mem/flush.h"
#include "mem/flush_simulator.h"
#include "tests/c/harness.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

#define LINE(n) ((size_t)(n) * KL_LINE_BYTES)

static kl_flush_world *world;

static void open_world(uint32_t disturb_one) {
    kl_flush_sites_reset();
    kl_flush_use(KL_FLUSH_NONE);
    const kl_flush_world_options options = {
        .host_count = 2, .disturb_one = disturb_one, .bytes = LINE(16), .seed = kl_test_seed()};
    KL_CHECK_EQ(kl_flush_world_open(&world, &options), KL_OK);
}

static void close_world(void) {
    kl_flush_world_close(world);
    world = NULL;
}

static uint8_t *enter(uint32_t host) {
    uint8_t *view = kl_flush_world_enter(world, host);
    KL_CHECK_NE(view, NULL);
    return view;
}

static uint8_t device_byte(size_t at) {
    uint8_t byte;
    kl_flush_world_look(world, at, &byte, 1);
    return byte;
}

KL_TEST(kl_flush_world_open_refuses_bad_sizes) {
    kl_flush_world_options options = {.host_count = 1, .bytes = 64};
    KL_CHECK_EQ(kl_flush_world_open(&world, &options), KL_ERR_ARGUMENT);
    options.host_count = KL_FLUSH_HOST_COUNT_MAX + 1;
    KL_CHECK_EQ(kl_flush_world_open(&world, &options), KL_ERR_ARGUMENT);
    options.host_count = 2;
    options.bytes = 0;
    KL_CHECK_EQ(kl_flush_world_open(&world, &options), KL_ERR_ARGUMENT);
    options.bytes = 65;
    KL_CHECK_EQ(kl_flush_world_open(&world, &options), KL_ERR_ARGUMENT);
    options.bytes = 1u << 31;
    KL_CHECK_EQ(kl_flush_world_open(&world, &options), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(world, NULL);
    kl_flush_world_close(NULL);
}

KL_TEST(kl_flush_world_enter_takes_one_thread_per_host) {
    open_world(0);
    enter(1);
    KL_CHECK_EQ(kl_flush_world_enter(world, 1), NULL);
    KL_CHECK_EQ(kl_flush_world_enter(world, 0), NULL); /* this thread is host 1 */
    kl_flush_world_leave(world);
    KL_CHECK_EQ(kl_flush_world_enter(world, 2), NULL);
    close_world();
}

KL_TEST(kl_flush_world_store_is_seen_after_flush_fence_and_invalidate_only) {
    open_world(0);
    uint8_t *view = enter(0);
    view[5] = 42;
    KL_CHECK_EQ(device_byte(5), 0);
    kl_flush_line(KL_SITE_SESSION, view);
    KL_CHECK_EQ(device_byte(5), 0); /* flushed, not fenced */
    view[6] = 43;                   /* stored after the flush: not part of it */
    kl_load_fence(KL_SITE_SESSION);
    KL_CHECK_EQ(device_byte(5), 0);
    kl_store_fence(KL_SITE_SESSION);
    KL_CHECK_EQ(device_byte(5), 42);
    KL_CHECK_EQ(device_byte(6), 0);
    kl_flush_world_leave(world);
    view = enter(1);
    KL_CHECK_EQ(view[5], 0); /* cached since before */
    kl_invalidate_range(KL_SITE_SESSION, view + 64, 64);
    KL_CHECK_EQ(view[5], 0); /* another line */
    kl_invalidate_range(KL_SITE_SESSION, view + 5, 1);
    KL_CHECK_EQ(view[5], 42);
    kl_flush_world_leave(world);
    KL_CHECK_EQ(kl_flush_world_check(world), KL_OK);
    close_world();
}

KL_TEST(kl_flush_world_flush_then_full_fence_is_fresh_and_load_fence_is_not) {
    open_world(0);
    uint8_t *view = enter(0);
    view[0] = 1;
    kl_flush_line(KL_SITE_SESSION, view);
    kl_store_fence(KL_SITE_SESSION);
    kl_flush_world_leave(world);
    view = enter(1);
    kl_flush_line(KL_SITE_SESSION, view);
    kl_load_fence(KL_SITE_SESSION);
    KL_CHECK_EQ(view[0], 0);
    kl_full_fence(KL_SITE_SESSION);
    KL_CHECK_EQ(view[0], 1);
    kl_flush_world_leave(world);
    close_world();
}

KL_TEST(kl_flush_world_check_finds_a_line_with_two_writers) {
    open_world(0);
    for (uint32_t host = 0; host < 2; host++) {
        uint8_t *view = kl_flush_world_enter(world, host);
        view[LINE(3) + host] = 1; /* each its own byte, in one line */
        kl_flush_line(KL_SITE_SESSION, view + LINE(3));
        kl_store_fence(KL_SITE_SESSION);
        kl_flush_world_leave(world);
    }
    KL_CHECK_EQ(kl_flush_world_check(world), KL_ERR_CORRUPT);
    KL_CHECK_CONTAINS(kl_status_last(), "at byte 192");
    KL_CHECK_EQ(device_byte(LINE(3)), 0); /* host 0's store is lost, as it would be */
    close_world();
}

KL_TEST(kl_flush_world_check_accepts_a_lease_that_was_handed_over) {
    open_world(0);
    for (uint32_t turn = 0; turn < 6; turn++) {
        uint8_t *view = kl_flush_world_enter(world, turn % 2);
        kl_invalidate_range(KL_SITE_SESSION, view, 64);
        view[turn] = 1;
        kl_flush_line(KL_SITE_SESSION, view);
        kl_store_fence(KL_SITE_SESSION);
        kl_flush_world_leave(world);
    }
    KL_CHECK_EQ(kl_flush_world_check(world), KL_OK);
    for (uint32_t turn = 0; turn < 6; turn++) KL_CHECK_EQ(device_byte(turn), 1);
    close_world();
}

KL_TEST(kl_flush_world_check_finds_the_use_of_another_hosts_view) {
    open_world(0);
    uint8_t *other = enter(0);
    kl_flush_world_leave(world);
    enter(1);
    kl_flush_line(KL_SITE_SESSION, other);
    kl_flush_world_leave(world);
    KL_CHECK_EQ(kl_flush_world_check(world), KL_ERR_CORRUPT);
    KL_CHECK_CONTAINS(kl_status_last(), "view of another");
    close_world();
}

KL_TEST(kl_flush_world_crash_loses_what_was_not_fenced) {
    open_world(0);
    uint8_t *view = enter(0);
    view[0] = 1;
    kl_flush_line(KL_SITE_SESSION, view);
    kl_store_fence(KL_SITE_SESSION);
    view[0] = 2;
    view[64] = 2;
    kl_flush_line(KL_SITE_SESSION, view);
    kl_flush_world_leave(world);
    kl_flush_world_crash(world, 0);
    view = enter(0);
    KL_CHECK_EQ(view[0], 1);
    KL_CHECK_EQ(view[64], 0);
    kl_store_fence(KL_SITE_SESSION);
    KL_CHECK_EQ(device_byte(0), 1);
    kl_flush_world_leave(world);
    KL_CHECK_EQ(kl_flush_world_check(world), KL_OK);
    close_world();
}

KL_TEST(kl_flush_world_ignores_memory_that_is_not_shared) {
    uint8_t own[64] = {0};
    open_world(1);
    enter(0);
    kl_flush_range(KL_SITE_SESSION, own, sizeof own);
    kl_full_fence(KL_SITE_SESSION);
    kl_flush_world_leave(world);
    kl_flush_line(KL_SITE_SESSION, own); /* a thread that is no host */
    kl_full_fence(KL_SITE_SESSION);
    KL_CHECK_EQ(kl_flush_world_check(world), KL_OK);
    close_world();
}

/* The whole protocol: a writer publishes numbered bodies of four lines, a reader answers each. With
 * every site on it works under any disturbance; with any one site off it must fail. */
#define WORD_LINE   0
#define BODY_LINE   1
#define BODY_LINES  4
#define ANSWER_LINE 8

/* A word counts as lost when the other host has looked so often in vain, too, since this one began
 * to wait for it (or has ended): no scheduler, however slow, makes that of a word on its way. */
#define VAIN_LOOKS 1000u

typedef struct {
    uint64_t last;
    _Atomic uint32_t stale, lost;
    _Atomic uint64_t looks[2]; /* by host; of an ended one: all there can be */
} run_result;

static uint64_t load(const uint8_t *view, size_t line) {
    uint64_t value;
    memcpy(&value, view + LINE(line), sizeof value);
    return value;
}

static void store(uint8_t *view, size_t line, uint64_t value) {
    memcpy(view + LINE(line), &value, sizeof value);
}

static bool await(run_result *run, const uint8_t *view, enum kl_flush_site site, size_t line,
                  uint64_t value) {
    size_t self = line == ANSWER_LINE ? 0 : 1; /* only host 0 waits for answers */
    uint64_t other_before = atomic_load(&run->looks[1 - self]);
    for (uint32_t looks = 0; atomic_load(&run->lost) == 0; looks++) {
        bool other_waits =
            atomic_load(&run->looks[1 - self]) - other_before >= VAIN_LOOKS; /* before the look */
        kl_invalidate_range(site, view + LINE(line), 8);
        if (load(view, line) == value) return true;
        if (other_waits && looks >= VAIN_LOOKS) break;
        atomic_fetch_add(&run->looks[self], 1);
        sched_yield();
    }
    atomic_fetch_add(&run->lost, 1);
    return false;
}

static void publish_bodies(run_result *run, uint8_t *view) {
    for (uint64_t turn = 1; turn <= run->last; turn++) {
        for (size_t i = 0; i < BODY_LINES; i++) store(view, BODY_LINE + i, turn);
        kl_flush_range(KL_SITE_LANE_PAYLOAD, view + LINE(BODY_LINE), LINE(BODY_LINES));
        kl_store_fence(KL_SITE_LANE_DESCRIPTOR);
        store(view, WORD_LINE, turn);
        kl_flush_line(KL_SITE_LANE_COMMIT, view + LINE(WORD_LINE));
        kl_store_fence(KL_SITE_LANE_ORDER);
        if (!await(run, view, KL_SITE_CURSOR, ANSWER_LINE, turn)) return;
    }
}

static void answer_bodies(run_result *run, uint8_t *view) {
    for (uint64_t turn = 1; turn <= run->last; turn++) {
        if (!await(run, view, KL_SITE_ORDER_TAIL, WORD_LINE, turn)) return;
        kl_invalidate_range(KL_SITE_ORDER_ENTRY, view + LINE(BODY_LINE), LINE(BODY_LINES));
        for (size_t i = 0; i < BODY_LINES; i++)
            if (load(view, BODY_LINE + i) != turn) atomic_fetch_add(&run->stale, 1);
        store(view, ANSWER_LINE, turn);
        kl_flush_line(KL_SITE_LANE_DURABLE, view + LINE(ANSWER_LINE));
        kl_store_fence(KL_SITE_SESSION);
    }
}

static void run_host(void *argument, uint32_t host) {
    uint8_t *view = kl_flush_world_enter(world, host);
    run_result *run = argument;
    (host == 0 ? publish_bodies : answer_bodies)(run, view);
    kl_flush_world_leave(world);
    atomic_fetch_add(&run->looks[host], UINT64_MAX / 2);
}

static const enum kl_flush_site run_sites[] = {
    KL_SITE_LANE_PAYLOAD, KL_SITE_LANE_DESCRIPTOR, KL_SITE_LANE_COMMIT,
    KL_SITE_LANE_ORDER,   KL_SITE_CURSOR,          KL_SITE_ORDER_TAIL,
    KL_SITE_ORDER_ENTRY,  KL_SITE_LANE_DURABLE,    KL_SITE_SESSION,
};

/* True when the run met no stale body, no lost word and no line with two writers. */
static bool run_is_good(uint32_t disturb_one, uint64_t turns, enum kl_flush_site dropped) {
    run_result run = {.last = turns};
    open_world(disturb_one);
    if (dropped < KL_FLUSH_SITE_COUNT) kl_flush_site_drop(dropped, true);
    kl_test_threads(2, run_host, &run);
    bool good = atomic_load(&run.stale) == 0 && atomic_load(&run.lost) == 0 &&
                kl_flush_world_check(world) == KL_OK;
    close_world();
    kl_flush_sites_reset();
    return good;
}

KL_TEST(kl_flush_world_protocol_of_the_seam_works_under_any_disturbance) {
    uint64_t turns = kl_test_slow() ? 100 : 500;
    KL_CHECK(run_is_good(0, turns, KL_FLUSH_SITE_COUNT));
    KL_CHECK(run_is_good(1, turns, KL_FLUSH_SITE_COUNT));
    KL_CHECK(run_is_good(7, turns, KL_FLUSH_SITE_COUNT));
}

KL_TEST(kl_flush_world_protocol_fails_with_any_site_off) {
    for (size_t i = 0; i < sizeof run_sites / sizeof *run_sites; i++) {
        /* Undisturbed finds what works by luck only; disturbed finds what luck can break. */
        bool found = !run_is_good(0, 20, run_sites[i]);
        for (int round = 0; round < 20 && !found; round++)
            found = !run_is_good(1, 200, run_sites[i]);
        if (!found)
            kl_test_fail(__FILE__, __LINE__, "site %s off was not noticed",
                         kl_flush_site_name(run_sites[i]));
    }
}
