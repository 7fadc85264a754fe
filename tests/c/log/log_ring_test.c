#include "log/log_ring.h"

#include "log/log_reader.h"
#include "log/log_state.h"
#include "tests/c/harness.h"
#include "tests/c/log/log_fixture.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const uint8_t uuid[16] = "a ring's own id";

KL_TEST(kl_log_ring_safe_never_passes_a_frame_that_is_being_copied) {
    kl_log_ring ring;
    KL_CHECK_EQ(kl_log_ring_create(&ring, uuid, KL_LOG_RING_MIN, false, 4096), KL_OK);
    KL_CHECK(ring.region == NULL);
    KL_CHECK_EQ(kl_log_ring_safe(&ring), 4096u);
    kl_log_slot *first = kl_log_ring_enter(&ring);
    KL_CHECK_EQ(kl_log_ring_reserve(&ring, first, 100 * 8), 4096u);
    kl_log_slot *second = kl_log_ring_enter(&ring);
    KL_CHECK(first != second);
    KL_CHECK_EQ(kl_log_ring_reserve(&ring, second, 64), 4896u);
    KL_CHECK_EQ(kl_log_ring_safe(&ring), 4096u);
    kl_log_ring_leave(second);
    KL_CHECK_EQ(kl_log_ring_safe(&ring), 4096u);
    kl_log_ring_leave(first);
    KL_CHECK_EQ(kl_log_ring_safe(&ring), 4960u);
    kl_log_ring_close(&ring, true);
}

KL_TEST(kl_log_ring_enter_has_sixty_four_slots) {
    kl_log_ring ring;
    kl_log_slot *slots[KL_LOG_SLOT_COUNT];
    KL_CHECK_EQ(kl_log_ring_create(&ring, uuid, KL_LOG_RING_MIN, false, 0), KL_OK);
    for (uint32_t i = 0; i < KL_LOG_SLOT_COUNT; i++)
        KL_CHECK((slots[i] = kl_log_ring_enter(&ring)) != NULL);
    KL_CHECK(kl_log_ring_enter(&ring) == NULL);
    kl_log_ring_leave(slots[17]);
    KL_CHECK(kl_log_ring_enter(&ring) == slots[17]);
    kl_log_ring_close(&ring, true);
}

KL_TEST(kl_log_ring_try_reserve_takes_only_what_has_room) {
    kl_log_ring ring;
    uint64_t address;
    KL_CHECK_EQ(kl_log_ring_create(&ring, uuid, KL_LOG_RING_MIN, false, 0), KL_OK);
    kl_log_slot *slot = kl_log_ring_enter(&ring);
    KL_CHECK(kl_log_ring_try_reserve(&ring, slot, KL_LOG_RING_MIN - 8, &address));
    KL_CHECK_EQ(address, 0u);
    KL_CHECK(!kl_log_ring_try_reserve(&ring, slot, 16, &address));
    KL_CHECK(kl_log_ring_try_reserve(&ring, slot, 8, &address));
    KL_CHECK(!kl_log_ring_try_reserve(&ring, slot, 8, &address));
    atomic_store(&ring.shared->flushed, 5000); /* the block it lies in must stay */
    KL_CHECK(kl_log_ring_try_reserve(&ring, slot, 4096, &address));
    KL_CHECK(!kl_log_ring_try_reserve(&ring, slot, 8, &address));
    kl_log_ring_close(&ring, true);
}

/* Frames of every length at every offset come out as they went in, also over the end of the ring. */
KL_TEST(kl_log_ring_put_makes_valid_frames_of_any_length_at_any_place) {
    kl_log_ring ring;
    uint8_t data[3000], frame[3200];
    KL_CHECK_EQ(kl_log_ring_create(&ring, uuid, KL_LOG_RING_MIN, false, 0), KL_OK);
    uint32_t seed = kl_log_frame_seed(uuid);
    uint64_t address = 0;
    for (uint32_t bytes = 16; bytes < 3000; bytes += bytes < 700 ? 1 : 37) {
        uint32_t cut = bytes * 7 % 13;
        fixture_fill(data, bytes, 0, bytes);
        kl_span parts[3] = {{data, cut}, {NULL, 0}, {data + cut, bytes - cut}};
        kl_log_frame_header header = {.bytes = bytes, .kind = KL_LOG_RECORD, .record_count = 1};
        uint64_t total = kl_log_frame_total(bytes);
        kl_log_ring_put(&ring, seed, address, &header, parts, 3);
        kl_log_ring_copy_out(&ring, address, frame, total);
        KL_CHECK(kl_log_frame_valid(seed, address, frame, total));
        KL_CHECK(fixture_is(frame + KL_LOG_FRAME_HEADER, bytes, 0, bytes));
        address += total;
    }
    KL_CHECK_LT(5u * KL_LOG_RING_MIN, address); /* five laps */
    kl_log_ring_close(&ring, true);
}

KL_TEST(kl_log_ring_adopt_finds_the_shared_ring_and_nothing_else) {
    kl_log_ring ring, other;
    uint8_t id[16] = "another ring id";
    kl_log_ring_remove(id);
    KL_CHECK_EQ(kl_log_ring_adopt(&other, id), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_log_ring_create(&ring, id, KL_LOG_RING_MIN, true, 8192), KL_OK);
    KL_CHECK(ring.region != NULL);
    KL_CHECK_EQ(kl_log_ring_adopt(&other, id), KL_OK);
    KL_CHECK_EQ(other.size, KL_LOG_RING_MIN);
    atomic_store(&ring.shared->durable, 12288);
    KL_CHECK_EQ(atomic_load(&other.shared->durable), 12288u);
    KL_CHECK_EQ(atomic_load(&other.shared->closed), 0u);
    kl_log_ring_close(&ring, true);
    KL_CHECK_EQ(atomic_load(&other.shared->closed), 1u);
    kl_log_ring_close(&other, false);
    KL_CHECK_EQ(kl_log_ring_adopt(&other, id), KL_ERR_NOT_FOUND);
}

/* A process that died with an append half done, and others behind it that were answered. */
static int leave_a_hole(void *argument) {
    kl_log *log = fixture_open(argument, 0);
    for (uint64_t i = 0; i < 3; i++) fixture_append(log, 100, 0, i);
    for (int hole = 0; hole < 2; hole++) {
        kl_log_slot *slot = kl_log_ring_enter(&log->ring);
        (void)kl_log_ring_reserve(&log->ring, slot, 216); /* and never written */
    }
    for (uint64_t i = 3; i < 6; i++) fixture_append(log, 100, 0, i);
    _exit(0);
}

static uint32_t size_100(uint64_t number) {
    (void)number;
    return 100;
}

KL_TEST(kl_log_open_drains_the_ring_over_the_holes_of_appends_that_died) {
    const char *folder = kl_test_folder();
    char path[512];
    snprintf(path, sizeof path, "%s/log", folder);
    KL_CHECK_EQ(kl_log_close(fixture_open(path, KL_LOG_CREATE)), KL_OK);
    KL_CHECK_EQ(kl_test_join(kl_test_fork(leave_a_hole, path)), 0);
    kl_log *log = fixture_open(path, 0);
    KL_CHECK_EQ(kl_log_recovered(log)->drained_bytes, 6u * 136 + 2 * 216);
    KL_CHECK_CONTAINS(kl_log_recovered(log)->reason, "taken from the ring");
    KL_CHECK_EQ(fixture_count(path, 0, size_100), 6u);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
}

/* The ring is bytes that a stranger may have written: only what has its checksum counts. */
static int scribble(void *argument) {
    kl_log *log = fixture_open(argument, 0);
    for (uint64_t i = 0; i < 10; i++) fixture_append(log, 100, 0, i);
    log->ring.bytes[5 * 136 + 70] ^= 1;
    atomic_store(&log->ring.shared->tail, UINT64_MAX - 7);
    atomic_store(&log->ring.shared->slots[3].address, 8);
    _exit(0);
}

KL_TEST(kl_log_open_takes_nothing_from_the_ring_that_has_no_checksum) {
    char path[512];
    snprintf(path, sizeof path, "%s/log", kl_test_folder());
    KL_CHECK_EQ(kl_log_close(fixture_open(path, KL_LOG_CREATE)), KL_OK);
    KL_CHECK_EQ(kl_test_join(kl_test_fork(scribble, path)), 0);
    kl_log *log = fixture_open(path, 0);
    kl_log_reader *reader;
    kl_log_frame frame;
    KL_CHECK_EQ(kl_log_reader_open(&reader, path, 0, 0), KL_OK);
    for (uint64_t i = 0; i < 10; i++) {
        if (i == 5) continue; /* its bytes are wrong: it is a hole now */
        KL_CHECK_EQ(kl_log_reader_next(reader, &frame), KL_OK);
        KL_CHECK(fixture_is(frame.payload, frame.bytes, 0, i));
    }
    KL_CHECK_EQ(kl_log_reader_next(reader, &frame), KL_ERR_END);
    kl_log_reader_close(reader);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
}

/* Another size of ring, or none, on the next open: what the old one holds is kept all the same. */
static int leave_ten(void *argument) {
    kl_log *log = fixture_open(argument, 0);
    for (uint64_t i = 0; i < 10; i++) fixture_append(log, 100, 0, i);
    _exit(0);
}

KL_TEST(kl_log_open_with_another_ring_keeps_what_the_old_one_holds) {
    for (int way = 0; way < 2; way++) {
        char path[512];
        snprintf(path, sizeof path, "%s/log", kl_test_folder());
        KL_CHECK_EQ(kl_log_close(fixture_open(path, KL_LOG_CREATE)), KL_OK);
        KL_CHECK_EQ(kl_test_join(kl_test_fork(leave_ten, path)), 0);
        kl_log_options options = {.ring_bytes = 1 << 20, .flags = way == 0 ? 0 : KL_LOG_NO_RING};
        kl_log *log;
        KL_CHECK_EQ(kl_log_open(&log, path, &options), KL_OK);
        KL_CHECK_EQ(kl_log_ring_is_shared(log), way == 0);
        KL_CHECK_EQ(fixture_count(path, 0, size_100), 10u);
        KL_CHECK_EQ(kl_log_close(log), KL_OK);
    }
}

/* Many threads, a small ring, a flusher that checks that what it calls safe is whole. */
typedef struct {
    kl_log_ring ring;
    uint32_t seed;
    _Atomic uint32_t writers;
    _Atomic uint64_t checked;
} race;

#define RACERS 6u

static void race_append(race *r, uint32_t index) {
    uint8_t data[600];
    for (uint64_t i = 0; i < (kl_test_slow() ? 2000u : 20000u); i++) {
        uint32_t bytes = 16 + (uint32_t)((i * 13 + index * 101) % 580);
        fixture_fill(data, bytes, index, i);
        kl_log_slot *slot = kl_log_ring_enter(&r->ring);
        uint64_t address = kl_log_ring_reserve(&r->ring, slot, kl_log_frame_total(bytes));
        while (!kl_log_ring_has_room(&r->ring, address + kl_log_frame_total(bytes))) usleep(0);
        kl_span part = {data, bytes};
        kl_log_frame_header header = {.bytes = bytes, .kind = KL_LOG_RECORD};
        kl_log_ring_put(&r->ring, r->seed, address, &header, &part, 1);
        kl_log_ring_leave(slot);
    }
    atomic_fetch_sub(&r->writers, 1);
}

static void race_flush(race *r) {
    static uint8_t frame[1024];
    uint64_t at = 0;
    for (bool last = false; !last;) {
        last = atomic_load(&r->writers) == 0;
        for (uint64_t safe = kl_log_ring_safe(&r->ring); at < safe;) {
            kl_log_frame_header header;
            kl_log_ring_copy_out(&r->ring, at, &header, sizeof header);
            uint64_t total = kl_log_frame_total(header.bytes);
            KL_CHECK_LE(total, safe - at);
            kl_log_ring_copy_out(&r->ring, at, frame, total);
            KL_CHECK(kl_log_frame_valid(r->seed, at, frame, total));
            at += total;
            atomic_fetch_add(&r->checked, 1);
        }
        atomic_store_explicit(&r->ring.shared->flushed, at, memory_order_release);
    }
}

static void race_thread(void *argument, uint32_t index) {
    if (index == RACERS)
        race_flush(argument);
    else
        race_append(argument, index);
}

KL_TEST(kl_log_ring_safe_frames_are_whole_while_many_threads_append) {
    race r = {.seed = kl_log_frame_seed(uuid), .writers = RACERS};
    KL_CHECK_EQ(kl_log_ring_create(&r.ring, uuid, KL_LOG_RING_MIN, false, 0), KL_OK);
    kl_test_threads(RACERS + 1, race_thread, &r);
    KL_CHECK_EQ(r.checked, RACERS * (kl_test_slow() ? 2000u : 20000u));
    kl_log_ring_close(&r.ring, true);
}
