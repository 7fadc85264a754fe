#include "log/log_reader.h"

#include "log/durable_log.h"
#include "tests/c/harness.h"
#include "tests/c/log/log_fixture.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static uint32_t size_100(uint64_t number) {
    (void)number;
    return 100;
}

KL_TEST(kl_log_reader_open_checks_its_arguments) {
    const char *folder = kl_test_folder();
    kl_log_reader *reader;
    KL_CHECK_EQ(kl_log_reader_open(&reader, folder, 0, 0), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_log_close(fixture_open(folder, KL_LOG_CREATE)), KL_OK);
    KL_CHECK_EQ(kl_log_reader_open(&reader, folder, -1, 0), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_log_reader_open(&reader, folder, 1.5, 0), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_log_reader_open(&reader, folder, 1e300, 0), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_log_reader_open(&reader, folder, 0.0 / (0.0 + (double)(folder == NULL)), 0),
                KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_log_reader_open(&reader, folder, 0, 99), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_log_reader_open(&reader, NULL, 0, 0), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_log_reader_open(NULL, folder, 0, 0), KL_ERR_ARGUMENT);
    KL_CHECK(reader == NULL);
    kl_log_reader_close(NULL);
}

KL_TEST(kl_log_reader_begins_at_any_frame_and_nowhere_inside_one) {
    const char *folder = kl_test_folder();
    uint64_t addresses[60];
    kl_log *log = fixture_open(folder, KL_LOG_CREATE);
    for (uint64_t i = 0; i < 60; i++) {
        addresses[i] = fixture_append(log, 16 + (uint32_t)i * 90, 0, i);
        if (i % 10 == 9) KL_CHECK_EQ(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER), KL_OK);
    }
    kl_log_reader *reader;
    kl_log_frame frame;
    for (uint64_t i = 0; i < 60; i++) {
        KL_CHECK_EQ(kl_log_reader_open(&reader, folder, (double)addresses[i], 0), KL_OK);
        KL_CHECK_EQ(kl_log_reader_next(reader, &frame), KL_OK);
        KL_CHECK_EQ(frame.address, addresses[i]);
        KL_CHECK(fixture_is(frame.payload, frame.bytes, 0, i));
        KL_CHECK_EQ(kl_log_reader_position(reader), frame.next_address);
        kl_log_reader_close(reader);
        KL_CHECK_EQ(kl_log_reader_open(&reader, folder, (double)addresses[i] + 4, 0),
                    KL_ERR_ARGUMENT);
        KL_CHECK_EQ(kl_log_reader_open(&reader, folder, (double)addresses[i] + 16, 0),
                    KL_ERR_ARGUMENT);
        char name[64];
        snprintf(name, sizeof name, "inside the frame at address %llu",
                 (unsigned long long)addresses[i]);
        KL_CHECK_CONTAINS(kl_status_last(), name);
    }
    /* Past the tail there is nothing yet. */
    KL_CHECK_EQ(kl_log_reader_open(&reader, folder, (double)kl_log_tail(log) + 8192, 0), KL_OK);
    KL_CHECK_EQ(kl_log_reader_next(reader, &frame), KL_ERR_END);
    kl_log_reader_close(reader);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
}

KL_TEST(kl_log_reader_polls_on_after_the_end) {
    const char *folder = kl_test_folder();
    kl_log *log = fixture_open(folder, KL_LOG_CREATE);
    kl_log_reader *committed, *uncommitted;
    kl_log_frame frame;
    KL_CHECK_EQ(kl_log_reader_open(&committed, folder, 0, 0), KL_OK);
    KL_CHECK_EQ(kl_log_reader_open(&uncommitted, folder, 0, KL_LOG_READ_UNCOMMITTED), KL_OK);
    for (uint64_t i = 0; i < 600; i++) {
        KL_CHECK_EQ(kl_log_reader_next(uncommitted, &frame), KL_ERR_END);
        fixture_append(log, 100, 0, i);
        if (i % 3 != 0)
            KL_CHECK_EQ(kl_log_flush(log), KL_OK);
        else
            KL_CHECK_EQ(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER), KL_OK);
        KL_CHECK_EQ(kl_log_reader_next(uncommitted, &frame), KL_OK);
        KL_CHECK(fixture_is(frame.payload, frame.bytes, 0, i));
        if (i % 3 != 0)
            KL_CHECK_EQ(kl_log_reader_next(committed, &frame), KL_ERR_END);
        else
            for (uint64_t j = i == 0 ? 0 : i - 2; j <= i; j++) {
                KL_CHECK_EQ(kl_log_reader_next(committed, &frame), KL_OK);
                KL_CHECK(fixture_is(frame.payload, frame.bytes, 0, j));
                KL_CHECK_LT(frame.address, kl_log_durable(log));
            }
    }
    kl_log_reader_close(committed);
    kl_log_reader_close(uncommitted);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
}

/* ---- a writer in another process: this program again, so that it has threads of its own ---- */

typedef struct {
    const char *folder;
    uint32_t flags;
    uint64_t from;
    uint64_t count; /* UINT64_MAX: until killed */
} writer;

static int write_records(const writer *w) {
    kl_log *log = fixture_open(w->folder, w->flags);
    bool endless = w->count == UINT64_MAX;
    for (uint64_t i = w->from; i < w->count; i++) {
        fixture_append(log, endless ? 100 : 16 + (uint32_t)(i * 37 % 3000), 0, i);
        if (i % (endless ? 7 : 20) != 0) continue;
        KL_CHECK_EQ(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER), KL_OK);
    }
    return kl_log_close(log) == KL_OK ? 0 : 1;
}

__attribute__((constructor)) static void writer_main(void) {
    const char *folder = getenv("LOG_WRITER_FOLDER"), *order = getenv("LOG_WRITER_ORDER");
    if (folder == NULL || order == NULL) return;
    unsigned long long flags = 0, from = 0, count = 0;
    if (sscanf(order, "%llu %llu %llu", &flags, &from, &count) != 3) _exit(98);
    writer w = {.folder = folder, .flags = (uint32_t)flags, .from = from, .count = count};
    _exit(write_records(&w));
}

static pid_t start_writer(const writer *w) {
    char order[100];
    snprintf(order, sizeof order, "%u %llu %llu", w->flags, (unsigned long long)w->from,
             (unsigned long long)w->count);
    fflush(stdout);
    pid_t pid = fork();
    if (pid != 0) return pid;
    setenv("LOG_WRITER_FOLDER", w->folder, 1);
    setenv("LOG_WRITER_ORDER", order, 1);
    execl("/proc/self/exe", "writer", (char *)NULL);
    _exit(99);
}

static void follow_writer(uint32_t writer_flags, uint32_t reader_flags) {
    writer w = {.folder = kl_test_folder(), .flags = writer_flags, .count = 2000};
    KL_CHECK_EQ(kl_log_close(fixture_open(w.folder, KL_LOG_CREATE)), KL_OK);
    kl_log_reader *reader;
    kl_log_frame frame;
    KL_CHECK_EQ(kl_log_reader_open(&reader, w.folder, 0, reader_flags), KL_OK);
    pid_t pid = start_writer(&w);
    for (uint64_t i = 0; i < w.count;) {
        int32_t status = kl_log_reader_next(reader, &frame);
        KL_CHECK(status == KL_OK || status == KL_ERR_END);
        if (status == KL_ERR_END) {
            usleep(200);
            continue;
        }
        KL_CHECK(fixture_is(frame.payload, frame.bytes, 0, i));
        i++;
    }
    KL_CHECK_EQ(kl_test_join(pid), 0);
    KL_CHECK_EQ(kl_log_reader_next(reader, &frame), KL_ERR_END);
    kl_log_reader_close(reader);
}

KL_TEST(kl_log_reader_follows_a_writer_in_another_process) {
    follow_writer(0, 0);
}

KL_TEST(kl_log_reader_follows_a_writer_without_a_shared_ring) {
    follow_writer(KL_LOG_NO_RING, 0);
}

KL_TEST(kl_log_reader_follows_what_is_not_durable_yet) {
    follow_writer(0, KL_LOG_READ_UNCOMMITTED);
}

/* What a follower was given stays, although the writer is killed and the log opened again. */
KL_TEST(kl_log_reader_sees_nothing_that_vanishes_when_the_writer_is_killed) {
    writer w = {.folder = kl_test_folder(), .count = UINT64_MAX};
    KL_CHECK_EQ(kl_log_close(fixture_open(w.folder, KL_LOG_CREATE)), KL_OK);
    kl_log_reader *reader;
    kl_log_frame frame;
    uint64_t seen = 0;
    KL_CHECK_EQ(kl_log_reader_open(&reader, w.folder, 0, 0), KL_OK);
    for (int round = 0; round < 5; round++) {
        pid_t pid = start_writer(&w);
        uint64_t end = UINT64_MAX; /* a while after the first record */
        while (kl_test_now_ns() < end) {
            int32_t status = kl_log_reader_next(reader, &frame);
            KL_CHECK(status == KL_OK || status == KL_ERR_END);
            if (status == KL_ERR_END) continue;
            KL_CHECK(fixture_is(frame.payload, frame.bytes, 0, seen++));
            if (end == UINT64_MAX) end = kl_test_now_ns() + 20000000;
        }
        kill(pid, SIGKILL);
        (void)kl_test_join(pid);
        if (round % 2 == 0) fixture_forget_ring(w.folder); /* only what was durable is left */
        KL_CHECK_EQ(kl_log_close(fixture_open(w.folder, 0)), KL_OK);
        w.from = fixture_count(w.folder, 0, size_100);
        KL_CHECK_LE(seen, w.from);
    }
    while (kl_log_reader_next(reader, &frame) == KL_OK)
        KL_CHECK(fixture_is(frame.payload, frame.bytes, 0, seen++));
    KL_CHECK_EQ(seen, w.from);
    KL_CHECK(seen > 0);
    kl_log_reader_close(reader);
}
