/* Disks that fail: every n-th write or sync, once and for ever. */
#include "base/random.h"
#include "file/device_faults.h"
#include "log/durable_log.h"
#include "log/log_reader.h"
#include "tests/c/harness.h"
#include "tests/c/log/log_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS 12u

static uint32_t size_varied(uint64_t number) {
    return 16 + (uint32_t)(number * 7919 % 9000);
}

typedef struct {
    uint64_t buffered; /* records whose append answered an address */
    uint64_t durable;  /* records whose commit answered KL_OK */
    int32_t failure;   /* the first one */
} outcome;

/* After the first failure everything must answer the same, with the same words. */
static void check_poisoned(kl_log *log, int32_t failure) {
    char words[KL_DETAIL_BYTES_MAX + 1];
    uint8_t byte = 0;
    kl_span part = {&byte, 1};
    KL_CHECK_EQ(kl_log_status(log), failure);
    snprintf(words, sizeof words, "%s", kl_status_last());
    KL_CHECK(words[0] != '\0');
    for (int i = 0; i < 3;
         i++) { /* the third sync of a failed file says all is well: not believed */
        KL_CHECK_EQ(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER), failure);
        KL_CHECK_TEXT(kl_status_last(), words);
    }
    KL_CHECK_EQ(kl_log_append(log, KL_LOG_RECORD, &part, 1, 1), failure);
    KL_CHECK_EQ(kl_log_try_append(log, KL_LOG_RECORD, 0, &part, 1, 1), failure);
    KL_CHECK_EQ(kl_log_flush(log), failure);
    KL_CHECK_TEXT(kl_status_last(), words);
}

/* Appends and commits until something fails. */
static outcome work(kl_log *log) {
    outcome o = {0};
    uint8_t data[9100];
    for (uint64_t i = 0; i < ROUNDS * 3 && o.failure == KL_OK; i++) {
        uint32_t bytes = size_varied(i);
        fixture_fill(data, bytes, 0, i);
        kl_span part = {data, bytes};
        int64_t address = kl_log_append(log, KL_LOG_RECORD, &part, 1, 1);
        if (address < 0)
            o.failure = (int32_t)address;
        else
            o.buffered = i + 1;
        if (o.failure != KL_OK || i % 3 != 2) continue;
        int32_t status = kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER);
        if (status == KL_OK)
            o.durable = i + 1;
        else
            o.failure = status;
    }
    return o;
}

static void sweep(uint32_t ops, bool forever, int error, const char *path_part, bool poisons) {
    const char *base = kl_test_folder();
    for (uint64_t n = 1;; n++) {
        char folder[512];
        snprintf(folder, sizeof folder, "%.400s/%u", base, (unsigned)n);
        KL_CHECK_EQ(kl_log_close(fixture_open(folder, KL_LOG_CREATE)), KL_OK);
        kl_log *log = fixture_open(folder, 0);
        kl_device_fault fault = {
            .ops = ops, .at_call = n, .forever = forever, .error = error, .path_part = path_part};
        kl_device_faults *faults = kl_device_faults_start(&fault, 1, false);
        KL_CHECK(faults != NULL);
        outcome o = work(log);
        if (o.failure != KL_OK && poisons) {
            KL_CHECK(o.failure == KL_ERR_IO || o.failure == KL_ERR_NO_SPACE);
            check_poisoned(log, o.failure);
        }
        int32_t closed = kl_log_close(log);
        if (o.failure != KL_OK && poisons) KL_CHECK_EQ(closed, o.failure);
        uint64_t hits = kl_device_faults_hits(faults, 0); /* now that no thread of ours writes */
        kl_device_faults_stop(faults);
        log = fixture_open(folder, 0);
        uint64_t found = fixture_count(folder, 0, size_varied);
        KL_CHECK_LE(o.durable, found);
        KL_CHECK_LE(o.buffered, found); /* the ring kept what the files did not */
        fixture_append(log, size_varied(found), 0, found);
        KL_CHECK_EQ(kl_log_close(log), KL_OK);
        KL_CHECK_EQ(fixture_count(folder, 0, size_varied), found + 1);
        if (hits == 0) break; /* walked past the last call */
    }
}

#define WRITE (1u << KL_DEVICE_OP_WRITE)
#define SYNC  (1u << KL_DEVICE_OP_SYNC)

KL_TEST(kl_log_survives_each_failing_write_of_a_segment) {
    sweep(WRITE, true, EIO, "segment-", true);
}

KL_TEST(kl_log_survives_each_write_of_a_segment_that_fails_once) {
    sweep(WRITE, false, EIO, ".kls", true);
}

KL_TEST(kl_log_survives_each_sync_that_fails_once) {
    sweep(SYNC, false, EIO, ".kls", true);
}

KL_TEST(kl_log_survives_each_sync_that_fails_for_ever) {
    sweep(SYNC, true, EIO, "segment", true);
}

KL_TEST(kl_log_survives_each_failing_folder_sync_and_rename) {
    sweep(1u << KL_DEVICE_OP_SYNC_FOLDER | 1u << KL_DEVICE_OP_RENAME, true, EIO, NULL, false);
}

KL_TEST(kl_log_survives_short_writes_and_interrupts) {
    const char *folder = kl_test_folder();
    KL_CHECK_EQ(kl_log_close(fixture_open(folder, KL_LOG_CREATE)), KL_OK);
    kl_log *log = fixture_open(folder, 0);
    kl_device_fault faults[2] = {
        {.ops = WRITE, .at_call = 1, .forever = true, .bytes_max = 777},
        {.ops = WRITE, .at_call = 5, .error = EINTR},
    };
    kl_device_faults *installed = kl_device_faults_start(faults, 2, false);
    outcome o = work(log);
    KL_CHECK_EQ(o.failure, KL_OK);
    KL_CHECK_EQ(o.durable, ROUNDS * 3u);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    kl_device_faults_stop(installed);
    KL_CHECK_EQ(fixture_count(folder, 0, size_varied), ROUNDS * 3u);
}

KL_TEST(kl_log_on_a_full_disk_says_so_and_goes_on_when_there_is_room) {
    const char *folder = kl_test_folder();
    KL_CHECK_EQ(kl_log_close(fixture_open(folder, KL_LOG_CREATE)), KL_OK);
    kl_log *log = fixture_open(folder, 0);
    for (int i = 0; i < 1000 && access(fixture_segment_path(folder, 0), F_OK) != 0; i++)
        usleep(1000);
    usleep(20000); /* let the service thread finish with the first segment */
    kl_device_fault fault = {
        .ops = WRITE, .at_call = 1, .forever = true, .error = ENOSPC, .path_part = ".tmp"};
    kl_device_faults *faults = kl_device_faults_start(&fault, 1, false);
    uint8_t data[9100];
    uint64_t next = 0;
    int32_t status = KL_OK;
    for (; status == KL_OK && next < 1000; next++) {
        fixture_fill(data, size_varied(next), 0, next);
        kl_span part = {data, size_varied(next)};
        int64_t address = kl_log_append(log, KL_LOG_RECORD, &part, 1, 1);
        if (address < 0) {
            status = (int32_t)address;
            break;
        }
        if (next % 3 == 2) status = kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER);
    }
    KL_CHECK_EQ(status, KL_ERR_NO_SPACE);
    KL_CHECK_EQ(kl_log_status(log), KL_OK);
    KL_CHECK_EQ(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER), KL_ERR_NO_SPACE);
    fixture_quiet(log);
    kl_device_faults_stop(faults);
    KL_CHECK_EQ(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER), KL_OK);
    for (uint64_t end = next + 30; next < end; next++)
        fixture_append(log, size_varied(next), 0, next);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    KL_CHECK_EQ(fixture_count(folder, 0, size_varied), next);
}

KL_TEST(kl_log_open_survives_each_failing_operation_of_recovery) {
    const char *base = kl_test_folder();
    char origin[512], left[512], folder[512];
    snprintf(origin, sizeof origin, "%s/origin", base);
    snprintf(left, sizeof left, "%s/left", base);
    snprintf(folder, sizeof folder, "%s/copy", base);
    kl_log *log = fixture_open(origin, KL_LOG_CREATE);
    outcome o = work(log);
    KL_CHECK_EQ(o.durable, ROUNDS * 3u);
    for (uint64_t i = 0; i < 5; i++)
        fixture_append(log, size_varied(o.durable + i), 0, o.durable + i);
    KL_CHECK_EQ(kl_log_flush(log), KL_OK);
    fixture_copy(origin, left); /* as a killed process leaves it: files only */
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    for (uint64_t n = 1;; n++) {
        fixture_copy(left, folder);
        kl_device_fault fault = {.ops = KL_DEVICE_OPS_CHANGING,
                                 .at_call = n,
                                 .forever = true,
                                 .error = EIO,
                                 .path_part = folder};
        kl_device_faults *faults = kl_device_faults_start(&fault, 1, false);
        kl_log_options options = {.ring_bytes = FIXTURE_RING};
        int32_t status = kl_log_open(&log, folder, &options);
        if (status == KL_OK)
            (void)kl_log_close(log);
        else
            KL_CHECK_EQ(status, KL_ERR_IO);
        uint64_t hits = kl_device_faults_hits(faults, 0);
        kl_device_faults_stop(faults);
        KL_CHECK_EQ(kl_log_close(fixture_open(folder, 0)), KL_OK);
        KL_CHECK_EQ(fixture_count(folder, 0, size_varied), o.durable + 5);
        if (hits == 0) break;
    }
}
