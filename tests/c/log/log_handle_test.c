#include "log/log_handle.h"

#include "base/handle.h"
#include "exec/completion.h"
#include "file/device_faults.h"
#include "log/durable_log.h"
#include "tests/c/harness.h"
#include "tests/c/log/log_fixture.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

static double try_open(const uint8_t *path, uint32_t bytes, double segment, double ring) {
    kl_log_open_options options = {
        .segment_bytes = segment, .ring_bytes = ring, .flags = KL_LOG_CREATE};
    return kl_log_handle_open(path, bytes, (const uint8_t *)&options, sizeof options);
}

static uint32_t open_handle(const char *folder) {
    double handle =
        try_open((const uint8_t *)folder, (uint32_t)strlen(folder), FIXTURE_SEGMENT, FIXTURE_RING);
    KL_CHECK(handle > 0);
    return (uint32_t)handle;
}

KL_TEST(kl_log_handle_refuses_closed_and_forged_numbers) {
    const char *folder = kl_test_folder();
    uint32_t handle = open_handle(folder);
    uint8_t byte = 0, state[sizeof(kl_log_state)];
    KL_CHECK_EQ(kl_log_handle_close(handle), KL_OK);
    const uint32_t bad[] = {0, handle, 1, UINT32_MAX};
    for (uint32_t i = 0; i < 4; i++) {
        KL_CHECK(kl_log_handle_append(bad[i], &byte, 1, 0, 1) == (double)KL_ERR_HANDLE);
        KL_CHECK(kl_log_handle_append_many(bad[i], NULL, 0, 0, 0, 1) == (double)KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_log_handle_commit(bad[i], -1), KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_log_handle_request_commit(bad[i]), KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_log_handle_arm_durable(bad[i], -1, 1, 1), KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_log_handle_flush(bad[i]), KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_log_handle_truncate(bad[i], 0), KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_log_handle_request_truncate(bad[i], 0), KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_log_handle_arm_truncated(bad[i], 1, 1), KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_log_reader_handle_arm(bad[i], 1, 1), KL_ERR_HANDLE);
        KL_CHECK(kl_log_cursor_handle_address(bad[i]) == (double)KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_log_cursor_handle_move(bad[i], 0), KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_log_cursor_handle_close(bad[i]), KL_ERR_HANDLE);
        KL_CHECK(kl_log_handle_tail(bad[i]) == (double)KL_ERR_HANDLE);
        KL_CHECK(kl_log_handle_scan(bad[i], 0, 0) == (double)KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_log_handle_state(bad[i], state, sizeof state), KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_log_handle_recovery_text(bad[i], state, sizeof state), KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_log_handle_close(bad[i]), KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_log_reader_handle_next(bad[i], state, sizeof state), KL_ERR_HANDLE);
        KL_CHECK(kl_log_reader_handle_need(bad[i]) == (double)KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_log_reader_handle_close(bad[i]), KL_ERR_HANDLE);
    }
}

KL_TEST(kl_log_handle_checks_every_argument_before_anything_is_appended) {
    const char *folder = kl_test_folder();
    const uint8_t *path = (const uint8_t *)folder;
    uint32_t path_bytes = (uint32_t)strlen(folder);
    const double sizes[] = {-1, 0.5, NAN, INFINITY, 1e300, 4097};
    for (uint32_t i = 0; i < 6; i++) {
        KL_CHECK(try_open(path, path_bytes, sizes[i], 0) == (double)KL_ERR_ARGUMENT);
        KL_CHECK(try_open(path, path_bytes, 0, sizes[i]) == (double)KL_ERR_ARGUMENT);
    }
    KL_CHECK(try_open(NULL, 5, 0, 0) < 0);
    KL_CHECK(try_open(path, 0, 0, 0) == (double)KL_ERR_NAME);
    uint32_t handle = open_handle(folder);
    uint8_t data[8] = {4, 0, 0, 0, 1, 2, 3, 4}, out[16];
    KL_CHECK(kl_log_handle_append(handle, NULL, 1, 0, 1) == (double)KL_ERR_ARGUMENT);
    KL_CHECK(kl_log_handle_append(handle, data, 8, 65536, 1) == (double)KL_ERR_ARGUMENT);
    KL_CHECK(kl_log_handle_append(handle, data, 8, 0, 2) == (double)KL_ERR_ARGUMENT);
    KL_CHECK(kl_log_handle_append_many(handle, data, 8, 2, 0, 1) == (double)KL_ERR_ARGUMENT);
    KL_CHECK(kl_log_handle_append_many(handle, data, 7, 1, 0, 1) == (double)KL_ERR_ARGUMENT);
    KL_CHECK(kl_log_handle_append_many(handle, data, 3, 1, 0, 1) == (double)KL_ERR_ARGUMENT);
    KL_CHECK(kl_log_handle_append_many(handle, NULL, 8, 1, 0, 1) == (double)KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_log_handle_commit(handle, 0.5), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_log_handle_commit(handle, NAN), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_log_handle_state(handle, out, sizeof out), KL_ERR_ARGUMENT);
    KL_CHECK(kl_log_handle_scan(handle, -1, 0) == (double)KL_ERR_ARGUMENT);
    KL_CHECK(kl_log_handle_tail(handle) == 0);
    KL_CHECK(kl_log_handle_append_many(handle, data, 8, 1, 0, 1) == 0);
    KL_CHECK_EQ(kl_log_handle_close(handle), KL_OK);
}

KL_TEST(kl_log_reader_handle_fills_a_buffer_with_whole_entries) {
    const char *folder = kl_test_folder();
    uint32_t handle = open_handle(folder);
    uint8_t data[2000], out[4096];
    for (uint64_t i = 0; i < 100; i++) {
        fixture_fill(data, 16 + (uint32_t)i * 19, 0, i);
        KL_CHECK(kl_log_handle_append(handle, data, 16 + (uint32_t)i * 19, (uint32_t)i, 1) >= 0);
    }
    double handle_of = kl_log_handle_scan(handle, 0, 1);
    KL_CHECK(handle_of > 0);
    uint32_t reader = (uint32_t)handle_of;
    KL_CHECK(kl_log_reader_handle_need(reader) == 0);
    KL_CHECK_EQ(kl_log_reader_handle_next(reader, out, 40), KL_ERR_LIMIT);
    KL_CHECK(kl_log_reader_handle_need(reader) == 48);
    KL_CHECK_EQ(kl_log_reader_handle_next(reader, NULL, 40), KL_ERR_ARGUMENT);
    uint64_t count = 0;
    int32_t used;
    while ((used = kl_log_reader_handle_next(reader, out, sizeof out)) > 0) {
        for (int32_t at = 0; at < used;) {
            kl_log_entry entry;
            memcpy(&entry, out + at, sizeof entry);
            KL_CHECK(fixture_is(out + at + sizeof entry, entry.payload_bytes, 0, count));
            KL_CHECK_EQ(entry.tag, count);
            at += (int32_t)(sizeof entry + ((entry.payload_bytes + 7) & ~7u));
            count++;
        }
    }
    KL_CHECK_EQ(used, KL_ERR_END);
    KL_CHECK_EQ(count, 100u);
    KL_CHECK_EQ(kl_log_reader_handle_close(reader), KL_OK);
    KL_CHECK_EQ(kl_log_handle_close(handle), KL_OK);
    KL_CHECK_EQ(kl_handle_live(KL_HANDLE_LOG) + kl_handle_live(KL_HANDLE_LOG_READER), 0u);
}

/* A full disk reaches whoever waits, and does not last longer than the disk is full. */
KL_TEST(kl_log_handle_arm_durable_says_why_a_requested_commit_failed) {
    const char *folder = kl_test_folder();
    uint32_t handle = open_handle(folder);
    for (int i = 0; i < 2000 && access(fixture_segment_path(folder, 0), F_OK) != 0; i++)
        usleep(1000);
    usleep(20000);
    kl_device_fault fault = {.ops = 1u << KL_DEVICE_OP_WRITE,
                             .at_call = 1,
                             .forever = true,
                             .error = ENOSPC,
                             .path_part = ".tmp"};
    kl_device_faults *faults = kl_device_faults_start(&fault, 1, false);
    uint8_t data[9000] = {0};
    for (int i = 0; i < 6; i++) /* the first segment, ring and all */
        KL_CHECK(kl_log_handle_append(handle, data, sizeof data, 0, 1) >= 0);
    KL_CHECK_EQ(kl_log_handle_commit(handle, -1), KL_OK);
    for (int i = 0; i < 4; i++)
        KL_CHECK(kl_log_handle_append(handle, data, sizeof data, 0, 1) >= 0);
    uint32_t completion = kl_completion_open();
    KL_CHECK(completion != 0);
    KL_CHECK_EQ(kl_log_handle_request_commit(handle), KL_OK);
    int32_t status = KL_OK;
    for (int i = 0; i < 2000 && status >= 0; i++) {
        status = kl_log_handle_arm_durable(handle, -1, completion, 7);
        usleep(1000);
    }
    KL_CHECK_EQ(status, KL_ERR_NO_SPACE);
    kl_log *log = kl_handle_enter(handle, KL_HANDLE_LOG);
    fixture_quiet(log);
    kl_handle_leave(handle);
    kl_device_faults_stop(faults);
    KL_CHECK_EQ(kl_log_handle_request_commit(handle), KL_OK);
    for (int i = 0; i < 2000 && status != 1; i++) {
        status = kl_log_handle_arm_durable(handle, -1, completion, 8);
        KL_CHECK_LE(0, status);
        usleep(1000);
    }
    KL_CHECK_EQ(status, 1);
    KL_CHECK_EQ(kl_completion_close(completion), KL_OK);
    KL_CHECK_EQ(kl_log_handle_close(handle), KL_OK);
}

/* Close in the middle of appends of other threads: each gets an address or is told. */
static void append_until_closed(void *argument, uint32_t index) {
    uint32_t handle = *(uint32_t *)argument;
    uint8_t data[200] = {0};
    if (index == 0) {
        usleep(5000);
        KL_CHECK_EQ(kl_log_handle_close(handle), KL_OK);
        return;
    }
    for (;;) {
        double address = kl_log_handle_append(handle, data, sizeof data, 0, 1);
        if (address < 0) {
            KL_CHECK(address == (double)KL_ERR_HANDLE);
            return;
        }
        if (((uint64_t)address & 1023) < 200) (void)kl_log_handle_request_commit(handle);
    }
}

KL_TEST(kl_log_handle_close_may_race_appends_of_other_threads) {
    const char *folder = kl_test_folder();
    for (int round = 0; round < 5; round++) {
        uint32_t handle = open_handle(folder);
        kl_test_threads(4, append_until_closed, &handle);
    }
    kl_log *log = NULL;
    KL_CHECK_EQ(kl_log_open(&log, folder, NULL), KL_OK);
    KL_CHECK_EQ(kl_log_recovered(log)->reason[0], '\0');
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
}
