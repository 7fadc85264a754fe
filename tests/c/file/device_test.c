#include "file/device.h"
#include "file/device_faults.h"

#include "tests/c/harness.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint32_t READ_WRITE = KL_DEVICE_WRITE | KL_DEVICE_CREATE;

static int open_folder(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    KL_CHECK_LE(0, fd);
    return fd;
}

static kl_device *new_device(const char *folder, const char *name, uint32_t flags) {
    int fd = open_folder(folder);
    kl_device *device = NULL;
    KL_CHECK_EQ(kl_device_open(&device, fd, name, flags), KL_OK);
    close(fd);
    return device;
}

/* Bytes that differ from place to place. */
static void fill(uint8_t *out, size_t bytes, uint32_t salt) {
    for (size_t i = 0; i < bytes; i++) out[i] = (uint8_t)(i * 31 + (i >> 8) + salt);
}

static kl_device_faults *break_call(uint32_t op, uint64_t at_call, bool forever, int error) {
    kl_device_fault fault = {
        .ops = 1u << op, .at_call = at_call, .forever = forever, .error = error};
    kl_device_faults *faults = kl_device_faults_start(&fault, 1, false);
    KL_CHECK(faults != NULL);
    return faults;
}

KL_TEST(kl_device_gives_back_what_was_written) {
    kl_device *device = new_device(kl_test_folder(), "a", READ_WRITE);
    static uint8_t in[100003], out[100003];
    fill(in, sizeof in, 1);
    KL_CHECK_EQ(kl_device_write_at(device, 777, in, sizeof in), KL_OK);
    KL_CHECK_EQ(kl_device_sync(device), KL_OK);
    KL_CHECK_EQ(kl_device_read_at(device, 777, out, sizeof out, NULL), KL_OK);
    KL_CHECK_BYTES(in, out, sizeof in);
    uint64_t bytes = 0;
    KL_CHECK_EQ(kl_device_size(device, &bytes), KL_OK);
    KL_CHECK_EQ(bytes, 777 + sizeof in);
    kl_device_dontneed(device, 0, 0);
    KL_CHECK_EQ(kl_device_read_at(device, 778, out, 5, NULL), KL_OK);
    KL_CHECK_BYTES(in + 1, out, 5);
    kl_device_close(device);
    kl_device_close(NULL);
}

KL_TEST(kl_device_path_is_absolute) {
    const char *folder = kl_test_folder();
    kl_device *device = new_device(folder, "name", READ_WRITE);
    KL_CHECK_CONTAINS(kl_device_path(device), folder);
    KL_CHECK_CONTAINS(kl_device_path(device), "/name");
    kl_device_close(device);
}

KL_TEST(kl_device_read_past_the_end_is_counted_or_truncated) {
    kl_device *device = new_device(kl_test_folder(), "a", READ_WRITE);
    uint8_t bytes[100] = {7};
    size_t done = 99;
    KL_CHECK_EQ(kl_device_write_at(device, 0, bytes, 60), KL_OK);
    KL_CHECK_EQ(kl_device_read_at(device, 10, bytes, 100, &done), KL_OK);
    KL_CHECK_EQ(done, 50);
    KL_CHECK_EQ(kl_device_read_at(device, 1000, bytes, 100, &done), KL_OK);
    KL_CHECK_EQ(done, 0);
    KL_CHECK_EQ(kl_device_read_at(device, 10, bytes, 100, NULL), KL_ERR_TRUNCATED);
    KL_CHECK_CONTAINS(kl_status_last(), "ends at 60, expected 100 bytes at 10");
    kl_device_close(device);
}

KL_TEST(kl_device_refuses_offsets_past_any_file) {
    kl_device *device = new_device(kl_test_folder(), "a", READ_WRITE);
    uint8_t byte = 0;
    KL_CHECK_EQ(kl_device_read_at(device, UINT64_MAX, &byte, 1, NULL), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_device_write_at(device, INT64_MAX, &byte, 1), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_device_write_at(device, 1ull << 63, &byte, 1), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_device_zero_fill(device, 1, UINT64_MAX), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_device_failure(device), KL_OK); /* an argument poisons nothing */
    kl_device_close(device);
}

KL_TEST(kl_device_zero_fill_allocates_real_blocks) {
    kl_device *device = new_device(kl_test_folder(), "a", READ_WRITE);
    uint64_t bytes = 2 * KL_DEVICE_ZERO_CHUNK_BYTES + 4096;
    KL_CHECK_EQ(kl_device_zero_fill(device, 0, bytes), KL_OK);
    KL_CHECK_EQ(kl_device_sync(device), KL_OK);
    struct stat status;
    KL_CHECK_EQ(fstat(kl_device_fd(device), &status), 0);
    KL_CHECK_EQ((uint64_t)status.st_size, bytes);
    KL_CHECK_LE(bytes, (uint64_t)status.st_blocks * 512);
    uint8_t last = 1;
    KL_CHECK_EQ(kl_device_read_at(device, bytes - 1, &last, 1, NULL), KL_OK);
    KL_CHECK_EQ(last, 0);
    kl_device_close(device);
}

KL_TEST(kl_device_files_are_private_whatever_the_umask) {
    const char *folder = kl_test_folder();
    mode_t before = umask(0);
    kl_device *device = new_device(folder, "a", READ_WRITE);
    umask(before);
    struct stat status;
    KL_CHECK_EQ(fstat(kl_device_fd(device), &status), 0);
    KL_CHECK_EQ(status.st_mode & 07777, 0600);
    KL_CHECK(fcntl(kl_device_fd(device), F_GETFD) & FD_CLOEXEC);
    KL_CHECK_EQ(fcntl(kl_device_fd(device), F_GETFL) & O_NONBLOCK, 0);
    kl_device_close(device);
}

KL_TEST(kl_device_open_says_what_is_in_the_way) {
    const char *folder = kl_test_folder();
    int fd = open_folder(folder);
    kl_device *device;
    KL_CHECK_EQ(kl_device_open(&device, fd, "none", KL_DEVICE_WRITE), KL_ERR_NOT_FOUND);
    KL_CHECK_CONTAINS(kl_status_last(), "/none");
    KL_CHECK_EQ(symlinkat("target", fd, "link"), 0);
    KL_CHECK_EQ(kl_device_open(&device, fd, "link", READ_WRITE), KL_ERR_FOREIGN);
    KL_CHECK_CONTAINS(kl_status_last(), "symbolic link");
    KL_CHECK_EQ(faccessat(fd, "target", F_OK, 0), -1);
    KL_CHECK_EQ(mkdirat(fd, "folder", 0700), 0);
    KL_CHECK_EQ(kl_device_open(&device, fd, "folder", KL_DEVICE_WRITE), KL_ERR_FOREIGN);
    KL_CHECK_EQ(kl_device_open(&device, fd, "folder", 0), KL_ERR_FOREIGN);
    KL_CHECK_EQ(mkfifoat(fd, "fifo", 0600), 0);
    KL_CHECK_EQ(kl_device_open(&device, fd, "fifo", 0), KL_ERR_FOREIGN); /* and does not hang */
    KL_CHECK_EQ(kl_device_open(&device, fd, "fifo", KL_DEVICE_WRITE), KL_ERR_FOREIGN);
    KL_CHECK_EQ(kl_device_open(&device, fd, "a", KL_DEVICE_CREATE), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_device_open(&device, fd, "a", READ_WRITE | KL_DEVICE_EXCLUSIVE), KL_OK);
    kl_device_close(device);
    KL_CHECK_EQ(kl_device_open(&device, fd, "a", READ_WRITE | KL_DEVICE_EXCLUSIVE), KL_ERR_EXISTS);
    KL_CHECK(device == NULL);
    close(fd);
}

KL_TEST(kl_device_refuses_another_users_file) {
    if (geteuid() != 0) return; /* only root can give a file away */
    const char *folder = kl_test_folder();
    kl_device_close(new_device(folder, "a", READ_WRITE));
    int fd = open_folder(folder);
    KL_CHECK_EQ(fchownat(fd, "a", 65534, 65534, 0), 0);
    kl_device *device;
    KL_CHECK_EQ(kl_device_open(&device, fd, "a", KL_DEVICE_WRITE), KL_ERR_PERMISSION);
    KL_CHECK_CONTAINS(kl_status_last(), "belongs to user 65534");
    KL_CHECK_EQ(kl_device_open(&device, fd, "a", 0), KL_ERR_PERMISSION);
    KL_CHECK_EQ(kl_device_open(&device, fd, "a", KL_DEVICE_WRITE | KL_DEVICE_ANY_OWNER),
                KL_ERR_PERMISSION);
    KL_CHECK_EQ(kl_device_open(&device, fd, "a", KL_DEVICE_ANY_OWNER), KL_OK);
    kl_device_close(device);
    close(fd);
}

KL_TEST(kl_device_read_only_refuses_to_write) {
    const char *folder = kl_test_folder();
    kl_device_close(new_device(folder, "a", READ_WRITE));
    kl_device *device = new_device(folder, "a", 0);
    KL_CHECK_EQ(kl_device_write_at(device, 0, "x", 1), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_device_sync(device), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_device_failure(device), KL_OK);
    kl_device_close(device);
}

static void check_direct(const char *folder, uint32_t flags) {
    kl_device *device = new_device(folder, "a", READ_WRITE | flags);
    static _Alignas(4096) uint8_t in[3 * 4096], out[3 * 4096];
    fill(in, sizeof in, 3);
    uint32_t align = kl_device_direct_align(device);
    KL_CHECK(align == 0 || align == KL_DEVICE_BLOCK_BYTES);
    if (!(flags & KL_DEVICE_DIRECT)) KL_CHECK_EQ(align, 0);
    /* aligned, unaligned bytes, unaligned offset, unaligned address: all the same result */
    KL_CHECK_EQ(kl_device_write_at(device, 0, in, sizeof in), KL_OK);
    KL_CHECK_EQ(kl_device_write_at(device, 4096, in + 4096, 17), KL_OK);
    KL_CHECK_EQ(kl_device_write_at(device, 5, in + 5, 4096), KL_OK);
    KL_CHECK_EQ(kl_device_write_sync_at(device, 8192, in + 8192, 4096), KL_OK);
    KL_CHECK_EQ(kl_device_write_sync_at(device, 1, in + 1, 100), KL_OK);
    KL_CHECK_EQ(kl_device_sync(device), KL_OK);
    KL_CHECK_EQ(kl_device_read_at(device, 0, out, sizeof out, NULL), KL_OK);
    KL_CHECK_BYTES(in, out, sizeof in);
    kl_device_close(device);
}

KL_TEST(kl_device_direct_gives_the_same_bytes_where_it_works_and_where_not) {
    check_direct(kl_test_folder(), KL_DEVICE_DIRECT | KL_DEVICE_OVERLAP);
    check_direct(kl_test_folder(), 0);
    char folder[] = "/dev/shm/keelson-test-XXXXXX", file[64];
    if (mkdtemp(folder) == NULL) return;
    check_direct(folder, KL_DEVICE_DIRECT); /* tmpfs refuses it on many kernels */
    snprintf(file, sizeof file, "%s/a", folder);
    unlink(file);
    rmdir(folder);
}

/* ---- transfers that are disturbed ---- */

KL_TEST(kl_device_finishes_short_transfers) {
    kl_device *device = new_device(kl_test_folder(), "a", READ_WRITE);
    uint8_t in[5000], out[5000];
    fill(in, sizeof in, 5);
    kl_device_fault fault = {.ops = 1u << KL_DEVICE_OP_READ | 1u << KL_DEVICE_OP_WRITE,
                             .at_call = 1,
                             .forever = true,
                             .bytes_max = 7};
    kl_device_faults *faults = kl_device_faults_start(&fault, 1, false);
    KL_CHECK_EQ(kl_device_write_at(device, 11, in, sizeof in), KL_OK);
    KL_CHECK_EQ(kl_device_read_at(device, 11, out, sizeof out, NULL), KL_OK);
    KL_CHECK_LE(2 * (5000 / 7), kl_device_faults_hits(faults, 0));
    kl_device_faults_stop(faults);
    KL_CHECK_BYTES(in, out, sizeof in);
    kl_device_close(device);
}

KL_TEST(kl_device_retries_interruptions_but_not_for_ever) {
    kl_device *device = new_device(kl_test_folder(), "a", READ_WRITE);
    uint8_t byte = 1;
    static const int errors[] = {EINTR, EAGAIN};
    for (int i = 0; i < 2; i++) {
        kl_device_fault fault = {.ops = KL_DEVICE_OPS_ALL, .at_call = 1, .error = errors[i]};
        for (uint64_t n = 1; n <= 2; n++) {
            fault.at_call = n;
            kl_device_faults *faults = kl_device_faults_start(&fault, 1, false);
            KL_CHECK_EQ(kl_device_write_at(device, 0, &byte, 1), KL_OK);
            KL_CHECK_EQ(kl_device_read_at(device, 0, &byte, 1, NULL), KL_OK);
            KL_CHECK_EQ(kl_device_faults_hits(faults, 0), 1);
            kl_device_faults_stop(faults);
        }
    }
    kl_device_faults *faults = break_call(KL_DEVICE_OP_SYNC, 1, false, EINTR);
    KL_CHECK_EQ(kl_device_sync(device), KL_OK);
    kl_device_faults_stop(faults);
    faults = break_call(KL_DEVICE_OP_WRITE, 1, true, EINTR);
    KL_CHECK_EQ(kl_device_write_at(device, 0, &byte, 1), KL_ERR_IO);
    kl_device_faults_stop(faults);
    kl_device_close(device);
}

/* ---- failure is for ever ---- */

static void check_sticky(uint32_t op, int error, int32_t expected) {
    kl_device *device = new_device(kl_test_folder(), "sticky", READ_WRITE | KL_DEVICE_OVERLAP);
    uint8_t in[4096] = {9}, out[4096];
    KL_CHECK_EQ(kl_device_write_at(device, 0, in, sizeof in), KL_OK);
    kl_device_faults *faults = break_call(op, 1, false, error);
    int32_t status = kl_device_write_at(device, 4096, in, sizeof in);
    if (op == KL_DEVICE_OP_SYNC) {
        KL_CHECK_EQ(status, KL_OK);
        status = kl_device_sync(device);
    }
    KL_CHECK_EQ(status, expected);
    KL_CHECK_CONTAINS(kl_status_last(), "/sticky");
    char detail[KL_DETAIL_BYTES_MAX + 1];
    snprintf(detail, sizeof detail, "%s", kl_status_last());
    /* The disk is well again; the device is not. */
    for (int i = 0; i < 3; i++) {
        KL_CHECK_EQ(kl_device_sync(device), expected);
        KL_CHECK_TEXT(kl_status_last(), detail);
        (void)kl_fail(KL_ERR_BUG, "another failure in between");
        KL_CHECK_EQ(kl_device_write_at(device, 0, in, 1), expected);
        KL_CHECK_TEXT(kl_status_last(), detail);
        KL_CHECK_EQ(kl_device_write_sync_at(device, 0, in, 1), expected);
        KL_CHECK_EQ(kl_device_zero_fill(device, 0, 1), expected);
        KL_CHECK_EQ(kl_device_failure(device), expected);
        KL_CHECK_TEXT(kl_status_last(), detail);
    }
    KL_CHECK_EQ(kl_device_faults_calls(faults, 0), 1); /* nothing was tried again */
    KL_CHECK_EQ(kl_device_read_at(device, 0, out, sizeof out, NULL), KL_OK);
    KL_CHECK_BYTES(in, out, sizeof in);
    kl_device_faults_stop(faults);
    kl_device_close(device);
}

KL_TEST(kl_device_is_poisoned_by_the_first_failed_write_or_sync) {
    check_sticky(KL_DEVICE_OP_WRITE, EIO, KL_ERR_IO);
    check_sticky(KL_DEVICE_OP_SYNC, EIO, KL_ERR_IO);
    check_sticky(KL_DEVICE_OP_WRITE, ENOSPC, KL_ERR_NO_SPACE);
    check_sticky(KL_DEVICE_OP_SYNC, ENOSPC, KL_ERR_NO_SPACE);
    check_sticky(KL_DEVICE_OP_SYNC, EDQUOT, KL_ERR_NO_SPACE);
}

KL_TEST(kl_device_sync_that_was_done_but_reported_failed_poisons_too) {
    kl_device *device = new_device(kl_test_folder(), "a", READ_WRITE);
    kl_device_fault fault = {
        .ops = 1u << KL_DEVICE_OP_SYNC, .at_call = 1, .error = EIO, .after = true};
    kl_device_faults *faults = kl_device_faults_start(&fault, 1, true);
    KL_CHECK_EQ(kl_device_sync(device), KL_ERR_IO);
    size_t count = 0;
    const kl_device_record *records = kl_device_faults_records(faults, &count);
    KL_CHECK_EQ(count, 1);
    KL_CHECK_EQ(records[0].op, KL_DEVICE_OP_SYNC);
    KL_CHECK_EQ(kl_device_sync(device), KL_ERR_IO);
    KL_CHECK_EQ(kl_device_faults_calls(faults, 0), 1);
    kl_device_faults_stop(faults);
    kl_device_close(device);
}

KL_TEST(kl_device_reports_a_failed_read_and_goes_on) {
    kl_device *device = new_device(kl_test_folder(), "a", READ_WRITE);
    uint8_t byte = 1;
    KL_CHECK_EQ(kl_device_write_at(device, 0, &byte, 1), KL_OK);
    kl_device_faults *faults = break_call(KL_DEVICE_OP_READ, 1, false, EIO);
    KL_CHECK_EQ(kl_device_read_at(device, 0, &byte, 1, NULL), KL_ERR_IO);
    KL_CHECK_EQ(kl_device_read_at(device, 0, &byte, 1, NULL), KL_OK);
    KL_CHECK_EQ(kl_device_sync(device), KL_OK);
    kl_device_faults_stop(faults);
    kl_device_close(device);
}

typedef struct {
    kl_device *device;
    uint32_t good_after_bad; /* successes that began after a failure had returned */
    uint32_t bad;
    pthread_mutex_t mutex;
} sync_race;

static void sync_many(void *argument, uint32_t index) {
    sync_race *race = argument;
    uint8_t block[512];
    fill(block, sizeof block, index);
    for (uint32_t i = 0; i < 40; i++) {
        pthread_mutex_lock(&race->mutex);
        bool failed_before = race->bad > 0;
        pthread_mutex_unlock(&race->mutex);
        int32_t status = kl_device_write_at(race->device, index * 512, block, sizeof block);
        if (status == KL_OK) status = kl_device_sync(race->device);
        pthread_mutex_lock(&race->mutex);
        if (status != KL_OK) race->bad++;
        if (status == KL_OK && failed_before) race->good_after_bad++;
        pthread_mutex_unlock(&race->mutex);
    }
}

KL_TEST(kl_device_sync_from_many_threads_fails_for_all_after_one_failed) {
    static const uint32_t modes[] = {0, KL_DEVICE_OVERLAP, KL_DEVICE_OVERLAP | KL_DEVICE_DIRECT};
    for (int i = 0; i < 3; i++) {
        sync_race race = {.mutex = PTHREAD_MUTEX_INITIALIZER};
        race.device = new_device(kl_test_folder(), "a", READ_WRITE | modes[i]);
        kl_device_faults *faults = break_call(KL_DEVICE_OP_SYNC, 30, false, EIO);
        kl_test_threads(4, sync_many, &race);
        KL_CHECK_EQ(kl_device_faults_hits(faults, 0), 1);
        kl_device_faults_stop(faults);
        KL_CHECK_EQ(race.good_after_bad, 0);
        KL_CHECK_LT(0, race.bad);
        KL_CHECK_EQ(kl_device_failure(race.device), KL_ERR_IO);
        kl_device_close(race.device);
    }
}

static void sync_once(void *argument, uint32_t index) {
    (void)index;
    KL_CHECK_EQ(kl_device_sync(argument), KL_OK);
}

KL_TEST(kl_device_overlap_lets_two_syncs_be_under_way) {
    static const uint32_t modes[] = {0, KL_DEVICE_OVERLAP};
    uint64_t took_ms[2];
    for (int i = 0; i < 2; i++) {
        kl_device *device = new_device(kl_test_folder(), "a", READ_WRITE | modes[i]);
        kl_device_fault fault = {
            .ops = 1u << KL_DEVICE_OP_SYNC, .at_call = 1, .forever = true, .stall_ms = 60};
        kl_device_faults *faults = kl_device_faults_start(&fault, 1, false);
        uint64_t start = kl_test_now_ns();
        kl_test_threads(2, sync_once, device);
        took_ms[i] = (kl_test_now_ns() - start) / 1000000;
        kl_device_faults_stop(faults);
        kl_device_close(device);
    }
    KL_CHECK_LE(120, took_ms[0]);
    KL_CHECK_LE(60, took_ms[1]);
    KL_CHECK_LT(took_ms[1], took_ms[0]);
}

/* ---- limits of the system ---- */

static int write_past_the_limit(void *argument) {
    struct rlimit limit = {8192, 8192};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
    kl_device *device = new_device(argument, "limited", READ_WRITE);
    static uint8_t bytes[16384];
    int32_t status = kl_device_write_at(device, 0, bytes, sizeof bytes);
    bool named = strstr(kl_status_last(), "File too large") != NULL;
    return status == KL_ERR_IO && named ? 0 : 1;
}

KL_TEST(kl_device_past_the_file_size_limit_fails_and_does_not_end_the_process) {
    KL_CHECK_EQ(
        kl_test_join(kl_test_fork(write_past_the_limit, (void *)(uintptr_t)kl_test_folder())), 0);
}

KL_TEST(kl_device_on_a_full_disk_fails_and_keeps_what_it_had) {
    const char *folder = kl_test_folder();
    if (mount("tmpfs", folder, "tmpfs", 0, "size=256k,mode=0700") != 0) {
        printf("# a small tmpfs needs root: %s\n", strerror(errno));
        return;
    }
    kl_device *device = new_device(folder, "a", READ_WRITE);
    uint8_t in[4096], out[4096];
    fill(in, sizeof in, 2);
    int32_t first = kl_device_write_at(device, 0, in, sizeof in);
    int32_t full = kl_device_zero_fill(device, 4096, 1 << 20);
    int32_t later = kl_device_sync(device);
    int32_t read = kl_device_read_at(device, 0, out, sizeof out, NULL);
    kl_device_close(device);
    umount2(folder, MNT_DETACH);
    KL_CHECK_EQ(first, KL_OK);
    KL_CHECK_EQ(full, KL_ERR_NO_SPACE);
    KL_CHECK_EQ(later, KL_ERR_NO_SPACE);
    KL_CHECK_EQ(read, KL_OK);
    KL_CHECK_BYTES(in, out, sizeof in);
}

KL_TEST(kl_device_open_without_descriptors_leaves_no_file) {
    const char *folder = kl_test_folder();
    int folder_fd = open_folder(folder);
    struct rlimit before, tight;
    KL_CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    tight = before;
    tight.rlim_cur = (rlim_t)folder_fd + 2; /* one more, where OVERLAP needs two */
    KL_CHECK_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
    kl_device *device;
    int32_t status = kl_device_open(&device, folder_fd, "a",
                                    READ_WRITE | KL_DEVICE_EXCLUSIVE | KL_DEVICE_OVERLAP);
    KL_CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    KL_CHECK_EQ(status, KL_ERR_IO);
    KL_CHECK_CONTAINS(kl_status_last(), "a second time");
    KL_CHECK_EQ(faccessat(folder_fd, "a", F_OK, 0), -1);
    close(folder_fd);
}

/* ---- folders ---- */

KL_TEST(kl_device_rename_new_never_replaces) {
    const char *folder = kl_test_folder();
    kl_device_close(new_device(folder, "a", READ_WRITE));
    kl_device_close(new_device(folder, "b", READ_WRITE));
    int fd = open_folder(folder);
    KL_CHECK_EQ(kl_device_rename_new(fd, "a", "b"), KL_ERR_EXISTS);
    KL_CHECK_CONTAINS(kl_status_last(), "/a to b");
    KL_CHECK_EQ(kl_device_rename_new(fd, "a", "c"), KL_OK);
    KL_CHECK_EQ(kl_device_rename(fd, "c", "b"), KL_OK);
    KL_CHECK_EQ(kl_device_rename(fd, "c", "b"), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_device_unlink(fd, "b"), KL_OK);
    KL_CHECK_EQ(kl_device_unlink(fd, "b"), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_device_make_folder(fd, "d"), KL_OK);
    KL_CHECK_EQ(kl_device_make_folder(fd, "d"), KL_ERR_EXISTS);
    KL_CHECK_EQ(kl_device_sync_folder(fd), KL_OK);
    close(fd);
}
