#include "log/durable_log.h"

#include "base/random.h"
#include "log/log_reader.h"
#include "tests/c/harness.h"
#include "tests/c/log/log_fixture.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint32_t size_100(uint64_t number) {
    (void)number;
    return 100;
}

static uint32_t size_varied(uint64_t number) {
    return 16 + (uint32_t)(number * 7919 % 3000);
}

KL_TEST(kl_log_open_without_create_says_that_there_is_no_log) {
    kl_log *log = NULL;
    const char *folder = kl_test_folder();
    KL_CHECK_EQ(kl_log_open(&log, folder, NULL), KL_ERR_NOT_FOUND);
    KL_CHECK_CONTAINS(kl_status_last(), folder);
    KL_CHECK(log == NULL);
    KL_CHECK_EQ(rmdir(folder), 0); /* and nothing was left in it */
}

KL_TEST(kl_log_open_checks_its_options) {
    const char *folder = kl_test_folder();
    kl_log *log = NULL;
    kl_log_options options = {.segment_bytes = 5000, .flags = KL_LOG_CREATE};
    KL_CHECK_EQ(kl_log_open(&log, folder, &options), KL_ERR_ARGUMENT);
    options = (kl_log_options){.ring_bytes = 100000, .flags = KL_LOG_CREATE};
    KL_CHECK_EQ(kl_log_open(&log, folder, &options), KL_ERR_ARGUMENT);
    options = (kl_log_options){.flags = 64};
    KL_CHECK_EQ(kl_log_open(&log, folder, &options), KL_ERR_ARGUMENT);
    options = (kl_log_options){.recovery = 9};
    KL_CHECK_EQ(kl_log_open(&log, folder, &options), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_log_open(&log, "", &options), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_log_open(&log, NULL, NULL), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_log_open(NULL, folder, NULL), KL_ERR_ARGUMENT);
}

KL_TEST(kl_log_append_then_commit_then_read_gives_the_records_back) {
    const char *folder = kl_test_folder();
    kl_log *log = fixture_open(folder, KL_LOG_CREATE);
    KL_CHECK(kl_log_ring_is_shared(log));
    for (uint64_t i = 0; i < 300; i++) {
        uint64_t address = fixture_append(log, size_varied(i), 0, i);
        KL_CHECK_EQ(address % 8, 0u);
        KL_CHECK_LT(address, kl_log_tail(log));
    }
    KL_CHECK_EQ(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER), KL_OK);
    KL_CHECK_EQ(kl_log_durable(log), kl_log_tail(log));
    KL_CHECK_EQ(kl_log_durable(log) % KL_LOG_BLOCK_BYTES, 0u);
    KL_CHECK_EQ(fixture_count(folder, KL_LOG_READ_COMMITTED, size_varied), 300u);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    KL_CHECK_EQ(fixture_count(folder, KL_LOG_READ_COMMITTED, size_varied), 300u);
}

KL_TEST(kl_log_open_after_a_clean_close_finds_everything_and_goes_on) {
    const char *folder = kl_test_folder();
    for (uint64_t round = 0; round < 5; round++) {
        kl_log *log = fixture_open(folder, KL_LOG_CREATE);
        KL_CHECK_EQ(kl_log_recovered(log)->reason[0], '\0');
        for (uint64_t i = 0; i < 20; i++) fixture_append(log, 100, 0, round * 20 + i);
        if (round % 2 == 0) KL_CHECK_EQ(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER), KL_OK);
        KL_CHECK_EQ(kl_log_close(log), KL_OK);
        KL_CHECK_EQ(fixture_count(folder, 0, size_100), (round + 1) * 20);
    }
}

KL_TEST(kl_log_append_of_an_empty_frame_is_a_frame) {
    const char *folder = kl_test_folder();
    kl_log *log = fixture_open(folder, KL_LOG_CREATE);
    KL_CHECK_EQ(kl_log_append_tagged(log, KL_LOG_BATCH, 77, NULL, 0, 0), 0);
    KL_CHECK_EQ(kl_log_tail(log), 32u);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    kl_log_reader *reader;
    kl_log_frame frame;
    KL_CHECK_EQ(kl_log_reader_open(&reader, folder, 0, 0), KL_OK);
    KL_CHECK_EQ(kl_log_reader_next(reader, &frame), KL_OK);
    KL_CHECK_EQ(frame.bytes, 0u);
    KL_CHECK_EQ(frame.tag, 77u);
    KL_CHECK_EQ(frame.kind, KL_LOG_BATCH);
    kl_log_reader_close(reader);
}

KL_TEST(kl_log_append_refuses_what_is_larger_than_half_of_the_ring) {
    kl_log *log = fixture_open(kl_test_folder(), KL_LOG_CREATE);
    uint64_t limit = kl_log_frame_bytes_max(log);
    uint8_t *data = calloc(1, limit + 1);
    kl_span part = {data, limit + 1};
    KL_CHECK_EQ(kl_log_append(log, KL_LOG_RECORD, &part, 1, 1), KL_ERR_LIMIT);
    KL_CHECK_CONTAINS(kl_status_last(), "32736");
    kl_span parts[2] = {{data, UINT64_MAX}, {data, 2}};
    KL_CHECK_EQ(kl_log_append(log, KL_LOG_RECORD, parts, 2, 1), KL_ERR_LIMIT);
    parts[0] = (kl_span){NULL, 5};
    KL_CHECK_EQ(kl_log_append(log, KL_LOG_RECORD, parts, 1, 1), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_log_append(log, KL_LOG_PADDING, NULL, 0, 1), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_log_tail(log), 0u);
    part.bytes = limit;
    for (int i = 0; i < 20; i++) KL_CHECK(kl_log_append(log, KL_LOG_RECORD, &part, 1, 1) >= 0);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    free(data);
}

KL_TEST(kl_log_append_gathers_its_parts_into_one_frame_over_segments_and_the_ring) {
    const char *folder = kl_test_folder();
    kl_log *log = fixture_open(folder, KL_LOG_CREATE);
    uint8_t data[30000];
    for (uint64_t i = 0; i < 40; i++) {
        uint32_t bytes = 16 + (uint32_t)(i * 733);
        fixture_fill(data, bytes, 0, i);
        kl_span parts[4] = {{data, 5}, {NULL, 0}, {data + 5, bytes - 12}, {data + bytes - 7, 7}};
        KL_CHECK(kl_log_append(log, KL_LOG_RECORD, parts, 4, 1) >= 0);
        if (i % 7 == 0) KL_CHECK_EQ(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER), KL_OK);
    }
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    kl_log_reader *reader;
    kl_log_frame frame;
    KL_CHECK_EQ(kl_log_reader_open(&reader, folder, 0, 0), KL_OK);
    for (uint64_t i = 0; i < 40; i++) {
        KL_CHECK_EQ(kl_log_reader_next(reader, &frame), KL_OK);
        KL_CHECK(fixture_is(frame.payload, 16 + (uint32_t)(i * 733), 0, i));
    }
    KL_CHECK_EQ(kl_log_reader_next(reader, &frame), KL_ERR_END);
    kl_log_reader_close(reader);
}

KL_TEST(kl_log_open_of_an_open_log_names_the_holder) {
    const char *folder = kl_test_folder();
    kl_log *log = fixture_open(folder, KL_LOG_CREATE), *second = NULL;
    char pid[32];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    KL_CHECK_EQ(kl_log_open(&second, folder, NULL), KL_ERR_LOCKED);
    KL_CHECK_CONTAINS(kl_status_last(), pid);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    KL_CHECK_EQ(kl_log_open(&second, folder, NULL), KL_OK);
    KL_CHECK_EQ(kl_log_close(second), KL_OK);
}

KL_TEST(kl_log_try_append_answers_again_while_the_ring_is_full) {
    const char *folder = kl_test_folder();
    kl_log *log = fixture_open(folder, KL_LOG_CREATE);
    uint8_t data[1000];
    uint64_t taken = 0, refused = 0;
    while (taken < 2000) {
        fixture_fill(data, sizeof data, 0, taken);
        kl_span part = {data, sizeof data};
        int64_t address = kl_log_try_append(log, KL_LOG_RECORD, 0, &part, 1, 1);
        if (address >= 0)
            taken++;
        else {
            KL_CHECK_EQ(address, KL_ERR_AGAIN);
            KL_CHECK_LE(kl_log_tail(log) - kl_log_flushed(log), (uint64_t)FIXTURE_RING);
            refused++;
        }
    }
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    KL_CHECK(refused > 0);
}

static uint32_t size_1000(uint64_t number) {
    (void)number;
    return 1000;
}

KL_TEST(kl_log_append_waits_for_room_instead_of_overwriting) {
    const char *folder = kl_test_folder();
    kl_log *log = fixture_open(folder, KL_LOG_CREATE);
    for (uint64_t i = 0; i < 3000; i++) fixture_append(log, 1000, 0, i);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    KL_CHECK_EQ(fixture_count(folder, 0, size_1000), 3000u);
}

KL_TEST(kl_log_flush_makes_frames_readable_but_not_durable) {
    const char *folder = kl_test_folder();
    kl_log *log = fixture_open(folder, KL_LOG_CREATE);
    for (uint64_t i = 0; i < 10; i++) fixture_append(log, 100, 0, i);
    KL_CHECK_EQ(fixture_count(folder, KL_LOG_READ_UNCOMMITTED, size_100), 0u);
    KL_CHECK_EQ(kl_log_flush(log), KL_OK);
    KL_CHECK_EQ(kl_log_durable(log), 0u);
    KL_CHECK_EQ(kl_log_flushed(log), kl_log_tail(log));
    KL_CHECK_EQ(fixture_count(folder, KL_LOG_READ_UNCOMMITTED, size_100), 10u);
    KL_CHECK_EQ(fixture_count(folder, KL_LOG_READ_COMMITTED, size_100), 0u);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
}

KL_TEST(kl_log_request_commit_makes_it_durable_in_the_background) {
    kl_log *log = fixture_open(kl_test_folder(), KL_LOG_CREATE);
    for (uint64_t i = 0; i < 50; i++) {
        uint64_t address = fixture_append(log, 100, 0, i);
        kl_log_request_commit(log);
        while (kl_log_durable(log) <= address) {
            uint32_t key = kl_event_count_prepare(kl_log_durable_event(log));
            if (kl_log_durable(log) > address) break;
            kl_event_count_wait(kl_log_durable_event(log), key, UINT64_MAX, NULL);
        }
    }
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
}

KL_TEST(kl_log_commit_record_appears_when_the_log_rests_and_needs_no_commit) {
    const char *folder = kl_test_folder();
    kl_log *log = fixture_open(folder, KL_LOG_CREATE);
    fixture_append(log, 100, 0, 0);
    KL_CHECK_EQ(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER), KL_OK);
    uint64_t durable = kl_log_durable(log);
    for (int i = 0; i < 1000 && kl_log_flushed(log) == durable; i++) usleep(1000);
    KL_CHECK_EQ(kl_log_flushed(log), durable + 40);
    KL_CHECK_EQ(kl_log_tail(log), durable);
    KL_CHECK_EQ(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER), KL_OK);
    KL_CHECK_EQ(kl_log_durable(log), durable);
    kl_log_reader *reader;
    kl_log_frame frame, last = {0};
    KL_CHECK_EQ(
        kl_log_reader_open(&reader, folder, 0, KL_LOG_READ_UNCOMMITTED | KL_LOG_READ_ALL_KINDS),
        KL_OK);
    while (kl_log_reader_next(reader, &frame) == KL_OK) last = frame;
    KL_CHECK_EQ(last.kind, KL_LOG_COMMIT);
    KL_CHECK_EQ(last.durable, durable);
    kl_log_reader_close(reader);
    fixture_append(log, 100, 0, 1);
    KL_CHECK_EQ(kl_log_tail(log), durable + 40 + 136);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    KL_CHECK_EQ(fixture_count(folder, 0, size_100), 2u);
}

KL_TEST(kl_log_commit_gives_up_after_its_timeout_and_the_log_stays_good) {
    kl_log *log = fixture_open(kl_test_folder(), KL_LOG_CREATE);
    fixture_append(log, 100, 0, 0);
    int32_t status = kl_log_commit(log, KL_LOG_TAIL, 0);
    KL_CHECK(status == KL_OK || status == KL_ERR_TIMEOUT);
    KL_CHECK_EQ(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER), KL_OK);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
}

typedef struct {
    kl_log *log;
    uint32_t rounds;
    _Atomic uint64_t bytes;
} crowd;

static void append_and_commit(void *argument, uint32_t index) {
    crowd *c = argument;
    uint8_t data[2000];
    for (uint64_t i = 0; i < c->rounds; i++) {
        uint32_t bytes = 16 + (uint32_t)((i * 31 + index * 7) % 1900);
        fixture_fill(data, bytes, index, i);
        kl_span part = {data, bytes};
        int64_t address = kl_log_append(c->log, KL_LOG_RECORD, &part, 1, 1);
        KL_CHECK(address >= 0);
        atomic_fetch_add(&c->bytes, bytes);
        if (i % 16 != index % 16) continue;
        KL_CHECK_EQ(kl_log_commit(c->log, (uint64_t)address + 1, KL_LOG_FOREVER), KL_OK);
        KL_CHECK_LT((uint64_t)address, kl_log_durable(c->log));
    }
}

KL_TEST(kl_log_append_from_many_threads_keeps_each_threads_order) {
    const char *folder = kl_test_folder();
    crowd c = {.log = fixture_open(folder, KL_LOG_CREATE), .rounds = kl_test_slow() ? 200 : 1000};
    kl_test_threads(8, append_and_commit, &c);
    KL_CHECK_EQ(kl_log_close(c.log), KL_OK);
    uint64_t next[8] = {0}, bytes = 0;
    kl_log_reader *reader;
    kl_log_frame frame;
    int32_t status;
    KL_CHECK_EQ(kl_log_reader_open(&reader, folder, 0, 0), KL_OK);
    while ((status = kl_log_reader_next(reader, &frame)) == KL_OK) {
        uint64_t writer;
        memcpy(&writer, frame.payload, 8);
        KL_CHECK_LT(writer, 8u);
        KL_CHECK(fixture_is(frame.payload, frame.bytes, writer, next[writer]));
        next[writer]++;
        bytes += frame.bytes;
    }
    KL_CHECK_EQ(status, KL_ERR_END);
    for (int i = 0; i < 8; i++) KL_CHECK_EQ(next[i], c.rounds);
    KL_CHECK_EQ(bytes, c.bytes);
    kl_log_reader_close(reader);
}

KL_TEST(kl_log_without_a_region_works_in_private_memory) {
    const char *folder = kl_test_folder();
    kl_log *log = fixture_open(folder, KL_LOG_CREATE | KL_LOG_NO_RING);
    KL_CHECK(!kl_log_ring_is_shared(log));
    for (uint64_t i = 0; i < 500; i++) fixture_append(log, 100, 0, i);
    KL_CHECK_EQ(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER), KL_OK);
    /* A follower learns from the files what is durable, once the commit record is there. */
    for (int i = 0; i < 1000 && fixture_count(folder, 0, size_100) < 500; i++) usleep(1000);
    KL_CHECK_EQ(fixture_count(folder, 0, size_100), 500u);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
}

KL_TEST(kl_log_open_takes_the_sizes_of_an_existing_log_from_its_folder) {
    const char *folder = kl_test_folder();
    kl_log *log = fixture_open(folder, KL_LOG_CREATE);
    for (uint64_t i = 0; i < 5; i++) fixture_append(log, 100, 0, i);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    kl_log_options options = {.segment_bytes = 1 << 20, .ring_bytes = 1 << 20};
    KL_CHECK_EQ(kl_log_open(&log, folder, &options), KL_OK);
    for (uint64_t i = 5; i < 2000; i++) fixture_append(log, 100, 0, i);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    KL_CHECK_EQ(fixture_count(folder, 0, size_100), 2000u);
    KL_CHECK_EQ(access(fixture_segment_path(folder, 4), F_OK), 0);
}
