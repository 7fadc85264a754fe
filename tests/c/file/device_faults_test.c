#include "file/device_faults.h"

#include "tests/c/harness.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static kl_device *new_device(int folder_fd, const char *name) {
    kl_device *device = NULL;
    KL_CHECK_EQ(kl_device_open(&device, folder_fd, name, KL_DEVICE_WRITE | KL_DEVICE_CREATE),
                KL_OK);
    return device;
}

static int open_folder(void) {
    int fd = open(kl_test_folder(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    KL_CHECK_LE(0, fd);
    return fd;
}

static void check_record(const kl_device_record *record, uint32_t op, const char *name,
                         uint64_t offset, uint64_t bytes) {
    KL_CHECK_EQ(record->op, op);
    KL_CHECK_CONTAINS(record->path, name);
    KL_CHECK_EQ(record->offset, offset);
    KL_CHECK_EQ(record->bytes, bytes);
}

KL_TEST(kl_device_faults_record_every_change_in_order) {
    int fd = open_folder();
    kl_device_faults *faults = kl_device_faults_start(NULL, 0, true);
    kl_device *device = new_device(fd, "a");
    char bytes[4] = "one";
    KL_CHECK_EQ(kl_device_write_at(device, 5, bytes, 3), KL_OK);
    bytes[0] = 'X'; /* the record has its own copy */
    KL_CHECK_EQ(kl_device_write_sync_at(device, 100, "four", 4), KL_OK);
    KL_CHECK_EQ(kl_device_read_at(device, 0, bytes, 1, NULL), KL_OK);
    kl_device_close(device);
    KL_CHECK_EQ(kl_device_rename(fd, "a", "b"), KL_OK);
    KL_CHECK_EQ(kl_device_sync_folder(fd), KL_OK);
    KL_CHECK_EQ(kl_device_unlink(fd, "b"), KL_OK);
    KL_CHECK_EQ(kl_device_unlink(fd, "b"), KL_ERR_NOT_FOUND); /* not done: not recorded */
    KL_CHECK_EQ(kl_device_make_folder(fd, "d"), KL_OK);
    size_t count = 0;
    const kl_device_record *records = kl_device_faults_records(faults, &count);
    KL_CHECK_EQ(count, 8);
    check_record(&records[0], KL_DEVICE_OP_CREATE, "/a", 0, 0);
    check_record(&records[1], KL_DEVICE_OP_WRITE, "/a", 5, 3);
    KL_CHECK_BYTES(records[1].data, "one", 3);
    check_record(&records[2], KL_DEVICE_OP_WRITE, "/a", 100, 4);
    KL_CHECK_BYTES(records[2].data, "four", 4);
    check_record(&records[3], KL_DEVICE_OP_SYNC, "/a", 0, 0);
    check_record(&records[4], KL_DEVICE_OP_RENAME, "/a", 0, 0);
    KL_CHECK_CONTAINS(records[4].to, "/b");
    check_record(&records[5], KL_DEVICE_OP_SYNC_FOLDER, "/", 0, 0);
    check_record(&records[6], KL_DEVICE_OP_UNLINK, "/b", 0, 0);
    check_record(&records[7], KL_DEVICE_OP_MAKE_FOLDER, "/d", 0, 0);
    kl_device_faults_stop(faults);
    close(fd);
}

KL_TEST(kl_device_faults_break_only_the_call_and_path_asked_for) {
    int fd = open_folder();
    kl_device *a = new_device(fd, "a.log"), *b = new_device(fd, "b.log");
    kl_device_fault list[] = {
        {.ops = 1u << KL_DEVICE_OP_WRITE, .at_call = 2, .error = EIO, .path_part = "b.log"},
        {.ops = 1u << KL_DEVICE_OP_SYNC, .at_call = 0}, /* counts only */
    };
    kl_device_faults *faults = kl_device_faults_start(list, 2, false);
    KL_CHECK(kl_device_faults_start(NULL, 0, false) == NULL); /* one at a time */
    for (int i = 0; i < 3; i++) KL_CHECK_EQ(kl_device_write_at(a, 0, "x", 1), KL_OK);
    KL_CHECK_EQ(kl_device_write_at(b, 0, "x", 1), KL_OK);
    KL_CHECK_EQ(kl_device_sync(b), KL_OK);
    KL_CHECK_EQ(kl_device_write_at(b, 0, "x", 1), KL_ERR_IO);
    KL_CHECK_EQ(kl_device_sync(a), KL_OK);
    KL_CHECK_EQ(kl_device_faults_calls(faults, 0), 2);
    KL_CHECK_EQ(kl_device_faults_hits(faults, 0), 1);
    KL_CHECK_EQ(kl_device_faults_calls(faults, 1), 2);
    KL_CHECK_EQ(kl_device_faults_hits(faults, 1), 0);
    KL_CHECK_EQ(kl_device_faults_calls(faults, 2), 0);
    kl_device_faults_stop(faults);
    kl_device_faults_stop(NULL);
    kl_device_close(a);
    kl_device_close(b);
    close(fd);
}

static int write_and_die(void *argument) {
    kl_device_fault fault = {
        .ops = 1u << KL_DEVICE_OP_WRITE, .at_call = 2, .error = KL_DEVICE_FAULT_KILL};
    (void)kl_device_faults_start(&fault, 1, false);
    kl_device *device = argument;
    (void)kl_device_write_at(device, 0, "1", 1);
    (void)kl_device_write_at(device, 1, "2", 1);
    return 0;
}

KL_TEST(kl_device_faults_kill_the_process_before_the_operation) {
    int fd = open_folder();
    kl_device *device = new_device(fd, "a");
    KL_CHECK_EQ(kl_test_join(kl_test_fork(write_and_die, device)), 128 + SIGKILL);
    uint64_t bytes = 0;
    KL_CHECK_EQ(kl_device_size(device, &bytes), KL_OK);
    KL_CHECK_EQ(bytes, 1);
    kl_device_close(device);
    close(fd);
}

KL_TEST(kl_device_faults_parse_understands_what_its_header_says) {
    kl_device_fault list[KL_DEVICE_FAULTS_MAX];
    uint32_t count = 0;
    KL_CHECK_EQ(kl_device_faults_parse(
                    "write:7:EIO,sync:1:ENOSPC:forever,any:3:KILL,read:2:STALL50", list, &count),
                KL_OK);
    KL_CHECK_EQ(count, 4);
    KL_CHECK_EQ(list[0].ops, 1u << KL_DEVICE_OP_WRITE);
    KL_CHECK_EQ(list[0].at_call, 7);
    KL_CHECK_EQ(list[0].error, EIO);
    KL_CHECK(!list[0].forever);
    KL_CHECK_EQ(list[1].ops, 1u << KL_DEVICE_OP_SYNC);
    KL_CHECK_EQ(list[1].error, ENOSPC);
    KL_CHECK(list[1].forever);
    KL_CHECK_EQ(list[2].ops, KL_DEVICE_OPS_ALL);
    KL_CHECK_EQ(list[2].error, KL_DEVICE_FAULT_KILL);
    KL_CHECK_EQ(list[3].stall_ms, 50);
    KL_CHECK_EQ(list[3].error, 0);
    KL_CHECK_EQ(kl_device_faults_parse("sync_folder:1:5", list, &count), KL_OK);
    KL_CHECK_EQ(list[0].error, 5);
}

KL_TEST(kl_device_faults_parse_names_what_it_does_not_understand) {
    static const char *const bad[] = {
        "write",         "write:1",        "write:0:EIO",      "write:-1:EIO",
        "write:1:EWHAT", "scribble:1:EIO", "write:1:EIO:ever", "write:1:EIO:forever:x",
        "write:1x:EIO",  "write:1:STALL",  "write:1:0"};
    kl_device_fault list[KL_DEVICE_FAULTS_MAX];
    uint32_t count = 0;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        KL_CHECK_EQ(kl_device_faults_parse(bad[i], list, &count), KL_ERR_ARGUMENT);
        KL_CHECK_CONTAINS(kl_status_last(), bad[i]);
    }
    KL_CHECK_EQ(
        kl_device_faults_parse("any:1:EIO,any:1:EIO,any:1:EIO,any:1:EIO,any:1:EIO", list, &count),
        KL_ERR_ARGUMENT);
    char huge[1000];
    memset(huge, 'a', sizeof huge - 1);
    huge[sizeof huge - 1] = '\0';
    KL_CHECK_EQ(kl_device_faults_parse(huge, list, &count), KL_ERR_ARGUMENT);
}

static int write_under_environment(void *argument) {
    setenv("KEELSON_FAULT_IO", "write:1:ENOSPC", 1);
    kl_device_faults_from_environment();
    return kl_device_write_at(argument, 0, "x", 1) == KL_ERR_NO_SPACE ? 0 : 1;
}

KL_TEST(kl_device_faults_from_environment_break_this_process) {
    int fd = open_folder();
    kl_device *device = new_device(fd, "a");
    KL_CHECK_EQ(kl_test_join(kl_test_fork(write_under_environment, device)), 0);
    kl_device_close(device);
    close(fd);
}
