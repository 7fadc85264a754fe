/* What an open looks at: little of a long log, all of a short one; and what it must not miss in the
 * part that it does not scan. */
#include "log/log_recovery.h"

#include "file/device_faults.h"
#include "log/log_reader.h"
#include "log/log_service.h"
#include "log/log_verify.h"
#include "tests/c/harness.h"
#include "tests/c/log/log_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RECORDS    200u
#define SHORT_SCAN ((uint64_t)FIXTURE_SEGMENT) /* the manifest hears every 16 KiB */

static uint32_t size_3000(uint64_t number) {
    (void)number;
    return 3000;
}

/* About ten segments, committed record by record, told to the manifest on the way. `killed` gets what
 * a killed process leaves (without a ring); answers the manifest's durable address there. */
static uint64_t make_log(const char *folder, const char *killed) {
    kl_log *log = fixture_open_scan(folder, KL_LOG_CREATE | KL_LOG_NO_RING, SHORT_SCAN);
    for (uint64_t i = 0; i < RECORDS - 2; i++) {
        fixture_append(log, size_3000(i), 0, i);
        if (i % 4 == 1) KL_CHECK_EQ(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER), KL_OK);
    }
    kl_log_manifest state = {0};
    uint64_t deadline = kl_test_now_ns() + 5000000000u;
    while (state.durable + SHORT_SCAN / 2 < kl_log_durable(log)) {
        KL_CHECK_LT(kl_test_now_ns(), deadline);
        KL_CHECK_EQ(kl_manifest_read(log->manifest, &state, sizeof state), (int32_t)sizeof state);
        usleep(1000);
    }
    fixture_quiet(log);
    log->scan_bytes = UINT64_MAX; /* two groups of which the manifest does not hear */
    for (uint64_t i = RECORDS - 2; i < RECORDS; i++) {
        fixture_append(log, size_3000(i), 0, i);
        KL_CHECK_EQ(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER), KL_OK);
    }
    fixture_quiet(log);
    KL_CHECK_EQ(kl_manifest_read(log->manifest, &state, sizeof state), (int32_t)sizeof state);
    KL_CHECK_EQ(state.flags, 0u);
    KL_CHECK_LE(state.durable, kl_log_durable(log));
    fixture_copy(folder, killed);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    return state.durable;
}

static const char *in_base(const char *base, const char *name) {
    static _Thread_local char paths[4][512];
    static _Thread_local uint32_t next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%.400s/%s", base, name);
    return path;
}

static void flip(const char *path, uint64_t offset) {
    uint8_t byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    KL_CHECK(fd >= 0);
    KL_CHECK_EQ(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= 1;
    KL_CHECK_EQ(pwrite(fd, &byte, 1, (off_t)offset), 1);
    close(fd);
}

/* Counts what is read from segments behind their header block. */
static _Atomic uint64_t bytes_read;

static void count_read(void *context, const kl_device_call *call, int64_t result) {
    (void)context;
    if (call->op == KL_DEVICE_OP_READ && result > 0 && call->offset >= KL_LOG_BLOCK_BYTES &&
        strstr(call->path, ".kls") != NULL)
        atomic_fetch_add(&bytes_read, (uint64_t)result);
}

static void ask_nothing(void *context, const kl_device_call *call, kl_device_verdict *verdict) {
    (void)context, (void)call, (void)verdict;
}

/* Opens it; what the open read of the stream. */
static uint64_t open_cost(const char *folder, uint64_t scan_bytes, uint64_t *scanned_from) {
    static const kl_device_seam seam = {.before = ask_nothing, .after = count_read};
    atomic_store(&bytes_read, 0);
    kl_device_seam_install(&seam);
    kl_log *log = fixture_open_scan(folder, KL_LOG_NO_RING, scan_bytes);
    uint64_t cost = atomic_load(&bytes_read);
    fixture_quiet(log);
    kl_device_seam_install(NULL);
    *scanned_from = kl_log_recovered(log)->scanned_from;
    KL_CHECK_EQ(kl_log_durable(log), kl_log_tail(log));
    KL_CHECK_EQ(fixture_count(folder, 0, size_3000), (uint64_t)RECORDS);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    return cost;
}

KL_TEST(kl_log_open_after_a_kill_reads_little_of_a_long_log) {
    const char *base = kl_test_folder();
    const char *live = in_base(base, "live"), *killed = in_base(base, "killed");
    uint64_t told = make_log(live, killed), from;
    KL_CHECK_LT(8 * (uint64_t)FIXTURE_SEGMENT, told);
    const char *copy = in_base(base, "copy");
    fixture_copy(killed, copy);
    /* Behind the told address: the scan, the probe for later frames, and what is written again. */
    uint64_t cost = open_cost(copy, SHORT_SCAN, &from);
    KL_CHECK_EQ(from, told);
    KL_CHECK_LE(cost, 6 * (uint64_t)FIXTURE_SEGMENT);
    fixture_copy(killed, copy);
    KL_CHECK_LT(told, open_cost(copy, 0, &from)); /* a short one by the usual measure: all of it */
    KL_CHECK_EQ(from, 0u);
    fixture_copy(killed, copy);
    (void)open_cost(copy, told, &from); /* not more than that lie below */
    KL_CHECK_EQ(from, 0u);
    fixture_copy(killed, copy);
    (void)open_cost(copy, told - 1, &from);
    KL_CHECK_EQ(from, told);
    /* After a clean close nothing is left to scan. */
    KL_CHECK_LE(open_cost(live, SHORT_SCAN, &from), (uint64_t)FIXTURE_SEGMENT);
    KL_CHECK_LE(told, from);
}

KL_TEST(kl_log_damage_below_the_scan_is_found_by_readers_and_verify) {
    const char *base = kl_test_folder();
    const char *live = in_base(base, "live"), *killed = in_base(base, "killed");
    uint64_t told = make_log(live, killed);
    flip(fixture_segment_path(killed, 3), 20000);
    kl_log *log = fixture_open_scan(killed, KL_LOG_NO_RING, SHORT_SCAN);
    KL_CHECK_EQ(kl_log_recovered(log)->scanned_from, told);
    kl_log_reader *reader;
    kl_log_frame frame;
    int32_t status;
    uint64_t count = 0;
    KL_CHECK_EQ(kl_log_reader_open(&reader, killed, 0, 0), KL_OK);
    while ((status = kl_log_reader_next(reader, &frame)) == KL_OK) count++;
    KL_CHECK_EQ(status, KL_ERR_CORRUPT);
    KL_CHECK_CONTAINS(kl_status_last(), fixture_segment_path(killed, 3));
    KL_CHECK_LT(count, (uint64_t)RECORDS / 2);
    kl_log_reader_close(reader);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    kl_log_summary summary;
    KL_CHECK_EQ(kl_log_verify(killed, NULL, NULL, &summary), KL_OK);
    KL_CHECK_LT(0u, summary.problem_count);
    KL_CHECK_EQ(kl_log_open(&log, killed, NULL), KL_ERR_CORRUPT); /* by the usual measure */
}

/* Opens it with a short scan; it must be refused, and say so with these words. */
static void refuses(const char *folder, const char *words) {
    kl_log *log = NULL;
    kl_log_options options = {.flags = KL_LOG_NO_RING, .scan_bytes = SHORT_SCAN};
    int32_t status = kl_log_open(&log, folder, &options);
    KL_CHECK(status == KL_ERR_CORRUPT || status == KL_ERR_TRUNCATED || status == KL_ERR_FOREIGN);
    KL_CHECK_CONTAINS(kl_status_last(), words);
}

KL_TEST(kl_log_open_refuses_broken_segments_below_the_scan_and_bad_frames_in_it) {
    const char *base = kl_test_folder();
    const char *live = in_base(base, "live"), *killed = in_base(base, "killed");
    const char *copy = in_base(base, "copy");
    uint64_t told = make_log(live, killed), data = FIXTURE_SEGMENT - KL_LOG_BLOCK_BYTES;
    uint64_t last = told / data;
    for (uint64_t number = 0; number < last; number++) {
        fixture_copy(killed, copy);
        KL_CHECK_EQ(unlink(fixture_segment_path(copy, number)), 0);
        refuses(copy, strrchr(fixture_segment_path(copy, number), '/') + 1);
        fixture_copy(killed, copy);
        KL_CHECK_EQ(truncate(fixture_segment_path(copy, number), 30000), 0);
        refuses(copy, strrchr(fixture_segment_path(copy, number), '/') + 1);
        fixture_copy(killed, copy);
        flip(fixture_segment_path(copy, number), 20);
        refuses(copy, strrchr(fixture_segment_path(copy, number), '/') + 1);
    }
    /* Everything from a segment below the told address on is gone. */
    fixture_copy(killed, copy);
    for (uint64_t number = last - 1; number < last + 4; number++)
        unlink(fixture_segment_path(copy, number));
    refuses(copy, strrchr(fixture_segment_path(copy, last - 1), '/') + 1);
    /* Where the scan begins, below what the last group knows. */
    fixture_copy(killed, copy);
    flip(fixture_segment_path(copy, last), KL_LOG_BLOCK_BYTES + told % data + 50);
    refuses(copy, "was durable");
}

KL_TEST(kl_log_whose_manifest_cannot_be_told_is_poisoned) {
    const char *folder = kl_test_folder();
    KL_CHECK_EQ(kl_log_close(fixture_open(folder, KL_LOG_CREATE)), KL_OK);
    kl_log *log = fixture_open_scan(folder, KL_LOG_NO_RING, SHORT_SCAN);
    kl_device_fault fault = {
        .ops = 1u << KL_DEVICE_OP_WRITE, .at_call = 2, .error = EIO, .path_part = "log.manifest"};
    kl_device_faults *faults = kl_device_faults_start(&fault, 1, false);
    KL_CHECK(faults != NULL);
    uint64_t durable = 0, deadline = kl_test_now_ns() + 5000000000u;
    int32_t status = KL_OK;
    for (uint64_t i = 0; status == KL_OK; i++) {
        KL_CHECK_LT(kl_test_now_ns(), deadline);
        uint8_t data[3000];
        fixture_fill(data, sizeof data, 0, i);
        kl_span part = {data, sizeof data};
        int64_t address = kl_log_append(log, KL_LOG_RECORD, &part, 1, 1);
        status = address < 0 ? (int32_t)address : kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER);
        if (status == KL_OK) durable = i + 1;
    }
    KL_CHECK_EQ(status, KL_ERR_IO);
    KL_CHECK_CONTAINS(kl_status_last(), "log.manifest");
    KL_CHECK_EQ(kl_log_close(log), KL_ERR_IO);
    KL_CHECK_EQ(kl_device_faults_hits(faults, 0), 1u);
    kl_device_faults_stop(faults);
    log = fixture_open_scan(folder, KL_LOG_NO_RING, SHORT_SCAN);
    KL_CHECK_LE(durable, fixture_count(folder, 0, size_3000));
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
}
