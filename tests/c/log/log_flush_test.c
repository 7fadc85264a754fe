/* What happens between ring and device: many segments nobody commits, segments made ahead, several
 * logs on the same service threads. */
#include "log/log_flush.h"

#include "exec/service.h"
#include "file/device_faults.h"
#include "log/log_reader.h"
#include "log/log_service.h"
#include "tests/c/harness.h"
#include "tests/c/log/log_fixture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static uint32_t size_30000(uint64_t number) {
    (void)number;
    return 30000;
}

KL_TEST(kl_log_flush_of_more_segments_than_stay_open_loses_nothing) {
    const char *folder = kl_test_folder();
    kl_log *log = fixture_open(folder, KL_LOG_CREATE);
    for (uint64_t i = 0; i < 100; i++) fixture_append(log, 30000, 0, i); /* 46 segments */
    KL_CHECK_EQ(kl_log_flush(log), KL_OK);
    KL_CHECK_LE(log->writer.count, KL_LOG_OPEN_SEGMENTS);
    KL_CHECK_EQ(kl_log_durable(log), 0u);
    KL_CHECK_EQ(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER), KL_OK);
    KL_CHECK_EQ(fixture_count(folder, 0, size_30000), 100u);
    fixture_append(log, 30000, 0, 100);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    KL_CHECK_EQ(fixture_count(folder, 0, size_30000), 101u);
}

/* Puts a moment into the record of what the device saw: the making of a file of that name. */
static const char *mark_path(const char *folder, uint64_t number) {
    static char path[512];
    snprintf(path, sizeof path, "%.400s/mark-%llu.", folder, (unsigned long long)number);
    return path;
}

static void mark(const char *folder, uint64_t number) {
    kl_device *device;
    KL_CHECK_EQ(kl_device_open(&device, AT_FDCWD, mark_path(folder, number),
                               KL_DEVICE_WRITE | KL_DEVICE_CREATE),
                KL_OK);
    kl_device_close(device);
}

static size_t find_mark(const kl_device_record *records, size_t count, const char *folder,
                        uint64_t number) {
    const char *name = strrchr(mark_path(folder, number), '/');
    for (size_t r = 0; r < count; r++)
        if (strstr(records[r].path, name) != NULL) return r;
    KL_CHECK_EQ(number, UINT64_MAX); /* no such mark */
    return 0;
}

/* Every byte below durable was written before a sync of its file that came before durable moved, and
 * none was written after: replays what the device saw. */
KL_TEST(kl_log_commit_syncs_all_it_calls_durable_and_never_writes_it_again) {
    const char *folder = kl_test_folder();
    KL_CHECK_EQ(kl_log_close(fixture_open(folder, KL_LOG_CREATE)), KL_OK);
    kl_log *log = fixture_open(folder, 0);
    kl_device_faults *faults = kl_device_faults_start(NULL, 0, true);
    KL_CHECK(faults != NULL);
    const char *marks = kl_test_folder();
    uint64_t durable[40];
    size_t seen[40], count;
    for (uint64_t i = 0; i < 40; i++) {
        fixture_append(log, 200 + (uint32_t)(i * 1777 % 30000), 0, i);
        if (i % 4 == 1) KL_CHECK_EQ(kl_log_flush(log), KL_OK); /* half-filled blocks */
        if (i % 3 == 2) KL_CHECK_EQ(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER), KL_OK);
        durable[i] = kl_log_durable(log);
        mark(marks, i);
    }
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    const kl_device_record *records = kl_device_faults_records(faults, &count);
    for (uint64_t i = 0; i < 40; i++) seen[i] = find_mark(records, count, marks, i);
    for (uint64_t i = 0; i < 40; i++) {
        for (uint64_t address = 0; address < durable[i]; address += KL_LOG_BLOCK_BYTES) {
            const char *path =
                fixture_segment_path(folder, address / (FIXTURE_SEGMENT - KL_LOG_BLOCK_BYTES));
            const char *name = strrchr(path, '/') + 1;
            uint64_t offset = KL_LOG_BLOCK_BYTES + address % (FIXTURE_SEGMENT - KL_LOG_BLOCK_BYTES);
            size_t written = SIZE_MAX, synced = SIZE_MAX;
            for (size_t r = 0; r < count; r++) {
                if (strstr(records[r].path, name) == NULL) continue;
                if (records[r].op == KL_DEVICE_OP_WRITE && records[r].offset <= offset &&
                    offset < records[r].offset + records[r].bytes) {
                    KL_CHECK(r < seen[i]); /* never again, once durable */
                    written = r;
                }
                if (records[r].op == KL_DEVICE_OP_SYNC && r < seen[i]) synced = r;
            }
            KL_CHECK(written != SIZE_MAX && synced != SIZE_MAX);
            KL_CHECK_LT(written, synced);
        }
    }
    kl_device_faults_stop(faults);
}

KL_TEST(kl_log_service_makes_the_next_segment_ahead) {
    const char *folder = kl_test_folder();
    kl_log *log = fixture_open(folder, KL_LOG_CREATE);
    fixture_append(log, 100, 0, 0);
    KL_CHECK_EQ(kl_log_flush(log), KL_OK);
    bool there = false;
    for (int i = 0; i < 2000 && !there; i++) {
        there = access(fixture_segment_path(folder, 1), F_OK) == 0;
        usleep(1000);
    }
    KL_CHECK(there);
    KL_CHECK_EQ(access(fixture_segment_path(folder, 2), F_OK), -1);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
}

#define LOGS 20u

static uint32_t size_100(uint64_t number) {
    (void)number;
    return 100;
}

KL_TEST(kl_log_service_serves_many_logs_on_three_threads) {
    const char *base = kl_test_folder();
    kl_log *logs[LOGS];
    char folder[512];
    for (uint32_t i = 0; i < LOGS; i++) {
        snprintf(folder, sizeof folder, "%s/%u", base, i);
        logs[i] = fixture_open(folder, KL_LOG_CREATE);
    }
    for (uint64_t n = 0; n < 50; n++)
        for (uint32_t i = 0; i < LOGS; i++) {
            fixture_append(logs[i], 100, 0, n);
            if (n % 10 == 9) kl_log_request_commit(logs[i]);
        }
    for (uint32_t i = 0; i < LOGS; i++) {
        for (int tries = 0; tries < 5000 && kl_log_durable(logs[i]) < 50u * 136; tries++)
            usleep(1000);
        KL_CHECK_LE(50u * 136, kl_log_durable(logs[i]));
        KL_CHECK_EQ(kl_log_request_status(logs[i]), KL_OK);
    }
    KL_CHECK_LE(kl_service_count(), 3u);
    for (uint32_t i = 0; i < LOGS; i++) {
        KL_CHECK_EQ(kl_log_close(logs[i]), KL_OK);
        snprintf(folder, sizeof folder, "%s/%u", base, i);
        KL_CHECK_EQ(fixture_count(folder, 0, size_100), 50u);
    }
}
