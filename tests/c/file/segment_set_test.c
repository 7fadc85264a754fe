#include "file/segment_set.h"

#include "base/checksum.h"
#include "base/random.h"
#include "file/device_faults.h"
#include "tests/c/harness.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENT_BYTES (5u * 4096u)

static const uint8_t uuid[16] = {16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};

static int open_folder(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    KL_CHECK_LE(0, fd);
    return fd;
}

static kl_segment_set_spec spec_of(uint32_t flags) {
    kl_segment_set_spec spec = {
        .segment_bytes = SEGMENT_BYTES, .spare_max = KL_SEGMENT_SPARE_MAX_DEFAULT, .flags = flags};
    memcpy(spec.uuid, uuid, sizeof uuid);
    return spec;
}

static kl_segment_set *open_set(int folder, uint32_t flags) {
    kl_segment_set_spec spec = spec_of(flags);
    kl_segment_set *set = NULL;
    KL_CHECK_EQ(kl_segment_set_open(&set, folder, &spec), KL_OK);
    return set;
}

/* Names in the folder that begin so; "" counts all. */
static int count_names(int folder, const char *start) {
    DIR *dir = fdopendir(openat(folder, ".", O_RDONLY | O_DIRECTORY));
    int count = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (entry->d_name[0] != '.' && strncmp(entry->d_name, start, strlen(start)) == 0) count++;
    closedir(dir);
    return count;
}

static void put_bytes(int folder, const char *name, const void *bytes, size_t count,
                      uint64_t file_bytes) {
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    KL_CHECK_LE(0, fd);
    KL_CHECK_EQ(write(fd, bytes, count), (ssize_t)count);
    KL_CHECK_EQ(ftruncate(fd, (off_t)file_bytes), 0);
    close(fd);
}

static const char first_name[] = "segment-0000000000000001.kls";

KL_TEST(kl_segment_set_prepare_makes_a_whole_zeroed_segment) {
    static const uint32_t modes[] = {0, KL_SEGMENT_SET_DIRECT};
    for (int mode = 0; mode < 2; mode++) {
        int folder = open_folder(kl_test_folder());
        kl_segment_set *set = open_set(folder, modes[mode]);
        KL_CHECK_EQ(kl_segment_set_prepare(set, 1, 1ull << 40), KL_OK);
        KL_CHECK_EQ(kl_segment_set_prepare(set, 1, 0), KL_ERR_EXISTS);
        kl_segment segment;
        KL_CHECK_EQ(kl_segment_set_open_segment(set, 1, &segment), KL_OK);
        KL_CHECK_EQ(segment.number, 1);
        KL_CHECK_EQ(segment.first_address, 1ull << 40);
        KL_CHECK_EQ(segment.segment_bytes, SEGMENT_BYTES);
        static uint8_t data[SEGMENT_BYTES - 4096];
        memset(data, 1, sizeof data);
        KL_CHECK_EQ(kl_device_read_at(segment.device, 4096, data, sizeof data, NULL), KL_OK);
        for (size_t i = 0; i < sizeof data; i++) KL_CHECK_EQ(data[i], 0);
        struct stat status;
        KL_CHECK_EQ(fstatat(folder, first_name, &status, 0), 0);
        KL_CHECK_EQ(status.st_mode & 07777, 0600);
        KL_CHECK_LE(SEGMENT_BYTES / 512, status.st_blocks);
        kl_device_close(segment.device);
        KL_CHECK_EQ(kl_segment_set_open_segment(set, 2, &segment), KL_ERR_NOT_FOUND);
        KL_CHECK(segment.device == NULL);
        kl_segment_set_close(set);
        kl_segment_set_close(NULL);
        close(folder);
    }
}

KL_TEST(kl_segment_set_prepare_syncs_data_header_and_name_in_this_order) {
    int folder = open_folder(kl_test_folder());
    kl_segment_set *set = open_set(folder, 0);
    kl_device_faults *faults = kl_device_faults_start(NULL, 0, true);
    KL_CHECK_EQ(kl_segment_set_prepare(set, 1, 0), KL_OK);
    KL_CHECK_EQ(kl_segment_set_retire(set, 1), KL_OK);
    KL_CHECK_EQ(kl_segment_set_prepare(set, 2, 0), KL_OK);
    enum { CREATE = KL_DEVICE_OP_CREATE, WRITE = KL_DEVICE_OP_WRITE, SYNC = KL_DEVICE_OP_SYNC };
    enum { RENAME = KL_DEVICE_OP_RENAME, FOLDER = KL_DEVICE_OP_SYNC_FOLDER };
    static const uint32_t expected[] = {CREATE, WRITE,  SYNC,   WRITE,  SYNC,
                                        RENAME, FOLDER, RENAME, FOLDER, /* retire */
                                        WRITE,  SYNC,   RENAME, FOLDER};
    size_t count = 0;
    const kl_device_record *records = kl_device_faults_records(faults, &count);
    KL_CHECK_EQ(count, sizeof expected / sizeof expected[0]);
    for (size_t i = 0; i < count; i++) KL_CHECK_EQ(records[i].op, expected[i]);
    KL_CHECK_EQ(records[1].bytes, SEGMENT_BYTES);
    KL_CHECK_CONTAINS(records[1].path, "segment-0000000000000001.tmp");
    KL_CHECK_CONTAINS(records[5].to, first_name);
    KL_CHECK_CONTAINS(records[9].path, "spare-0000000000000001.kls");
    KL_CHECK_EQ(records[9].bytes, 4096);
    kl_device_faults_stop(faults);
    kl_segment_set_close(set);
    close(folder);
}

KL_TEST(kl_segment_set_retire_keeps_spares_up_to_the_bound_and_recycles_them) {
    int folder = open_folder(kl_test_folder());
    kl_segment_set *set = open_set(folder, 0);
    for (uint64_t n = 0; n < 4; n++) KL_CHECK_EQ(kl_segment_set_prepare(set, n, n * 100), KL_OK);
    kl_segment segment;
    KL_CHECK_EQ(kl_segment_set_open_segment(set, 0, &segment), KL_OK);
    KL_CHECK_EQ(kl_device_write_at(segment.device, 4096, "old life", 8), KL_OK);
    kl_device_close(segment.device);
    for (uint64_t n = 0; n < 3; n++) KL_CHECK_EQ(kl_segment_set_retire(set, n), KL_OK);
    KL_CHECK_EQ(kl_segment_set_spare_count(set), 2);
    KL_CHECK_EQ(count_names(folder, "spare-"), 2);
    KL_CHECK_EQ(count_names(folder, "segment-"), 1);
    KL_CHECK_EQ(kl_segment_set_retire(set, 0), KL_ERR_NOT_FOUND);
    kl_segment_set_close(set);
    set = open_set(folder, 0); /* finds them again */
    KL_CHECK_EQ(kl_segment_set_spare_count(set), 2);
    for (uint64_t n = 4; n < 7; n++) KL_CHECK_EQ(kl_segment_set_prepare(set, n, n * 100), KL_OK);
    KL_CHECK_EQ(kl_segment_set_spare_count(set), 0);
    KL_CHECK_EQ(count_names(folder, "spare-"), 0);
    kl_segment_listing listing;
    KL_CHECK_EQ(kl_segment_set_list(set, &listing), KL_OK);
    KL_CHECK_EQ(listing.count, 4);
    for (uint32_t i = 0; i < 4; i++) {
        KL_CHECK_EQ(listing.entries[i].number, 3 + i);
        KL_CHECK_EQ(listing.entries[i].first_address, (3 + i) * 100);
        KL_CHECK_EQ(listing.entries[i].segment_bytes, SEGMENT_BYTES);
        KL_CHECK_EQ(listing.entries[i].status, KL_OK);
    }
    KL_CHECK_EQ(listing.gap_count + listing.damaged_count, 0);
    kl_segment_listing_free(&listing);
    kl_segment_set_close(set);
    close(folder);
}

KL_TEST(kl_segment_set_prepare_makes_a_fresh_one_when_its_spare_vanished) {
    int folder = open_folder(kl_test_folder());
    kl_segment_set *set = open_set(folder, 0);
    KL_CHECK_EQ(kl_segment_set_prepare(set, 1, 0), KL_OK);
    KL_CHECK_EQ(kl_segment_set_retire(set, 1), KL_OK);
    KL_CHECK_EQ(unlinkat(folder, "spare-0000000000000001.kls", 0), 0);
    KL_CHECK_EQ(kl_segment_set_prepare(set, 2, 0), KL_OK);
    KL_CHECK_EQ(count_names(folder, ""), 1);
    kl_segment_set_close(set);
    close(folder);
}

KL_TEST(kl_segment_set_open_removes_leftovers_and_what_it_cannot_use) {
    int folder = open_folder(kl_test_folder());
    put_bytes(folder, "segment-0000000000000007.tmp", "half", 4, 4);
    put_bytes(folder, "spare-0000000000000001.kls", "x", 1, SEGMENT_BYTES);
    put_bytes(folder, "spare-0000000000000002.kls", "x", 1, SEGMENT_BYTES + 4096);
    put_bytes(folder, "spare-0000000000000003.kls", "x", 1, SEGMENT_BYTES);
    put_bytes(folder, "spare-0000000000000004.kls", "x", 1, SEGMENT_BYTES);
    put_bytes(folder, "spare-4.kls", "mine", 4, 4);
    put_bytes(folder, "segment-000000000000000A.tmp", "mine", 4, 4);
    kl_segment_set_close(open_set(folder, KL_SEGMENT_SET_READ_ONLY));
    KL_CHECK_EQ(count_names(folder, ""), 7);
    kl_segment_set *set = open_set(folder, 0);
    KL_CHECK_EQ(kl_segment_set_spare_count(set), 2);
    KL_CHECK_EQ(count_names(folder, "spare-000"), 2);
    KL_CHECK_EQ(count_names(folder, ""), 4);
    kl_segment_set_close(set);
    close(folder);
}

KL_TEST(kl_segment_set_open_checks_its_spec) {
    int folder = open_folder(kl_test_folder());
    kl_segment_set *set = NULL;
    static const uint64_t bad[] = {0, 4096, 8191, 12345, (1ull << 40) + 4096, UINT64_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        kl_segment_set_spec spec = spec_of(0);
        spec.segment_bytes = bad[i];
        KL_CHECK_EQ(kl_segment_set_open(&set, folder, &spec), KL_ERR_ARGUMENT);
        KL_CHECK_CONTAINS(kl_status_last(), "multiple of 4096");
    }
    kl_segment_set_spec spec = spec_of(0);
    spec.spare_max = KL_SEGMENT_SPARE_MAX + 1;
    KL_CHECK_EQ(kl_segment_set_open(&set, folder, &spec), KL_ERR_ARGUMENT);
    set = open_set(folder, KL_SEGMENT_SET_READ_ONLY);
    KL_CHECK_EQ(kl_segment_set_prepare(set, 1, 0), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_segment_set_retire(set, 1), KL_ERR_ARGUMENT);
    kl_segment_set_close(set);
    close(folder);
}

/* ---- the format ---- */

static void read_golden(uint8_t *out) {
    FILE *file = fopen("tests/golden/segment-header-v1.kls", "rb");
    KL_CHECK(file != NULL); /* the tests run in the checkout's folder */
    KL_CHECK_EQ(fread(out, 1, 4096, file), 4096);
    fclose(file);
}

KL_TEST(kl_segment_encode_gives_the_golden_bytes) {
    uint8_t golden[4096], made[4096];
    read_golden(golden);
    kl_segment_encode(made, uuid, 0x0123456789abcdef, 0x1122334455667788, 64u << 20);
    KL_CHECK_BYTES(made, golden, sizeof made);
    kl_segment segment;
    KL_CHECK_EQ(kl_segment_decode(golden, uuid, 0x0123456789abcdef, 64u << 20, "x", &segment),
                KL_OK);
    KL_CHECK_EQ(segment.first_address, 0x1122334455667788);
    KL_CHECK_EQ(segment.segment_bytes, 64u << 20);
}

KL_TEST(kl_segment_decode_finds_every_flipped_byte) {
    uint8_t block[4096];
    read_golden(block);
    kl_segment segment;
    for (uint32_t i = 0; i < sizeof block; i++) {
        for (uint32_t bit = 0; bit < 8; bit += i < 64 ? 1 : 8) {
            block[i] ^= (uint8_t)(1u << bit);
            int32_t status =
                kl_segment_decode(block, uuid, 0x0123456789abcdef, 64u << 20, "the/file", &segment);
            KL_CHECK_EQ(status, i < 8 ? KL_ERR_FOREIGN : KL_ERR_CORRUPT);
            KL_CHECK_CONTAINS(kl_status_last(), "the/file");
            block[i] ^= (uint8_t)(1u << bit);
        }
    }
}

/* Changes 4 bytes of a header and makes the checksum fit again. */
static void forge(uint8_t *block, size_t offset, uint32_t value) {
    memcpy(block + offset, &value, 4);
    memset(block + 56, 0, 4);
    uint32_t crc = kl_crc32c(0, block + 16, 16);
    crc = kl_crc32c(crc, block, 4096);
    memcpy(block + 56, &crc, 4);
}

static int32_t open_forged(size_t offset, uint32_t value, uint64_t file_bytes) {
    static char path[256]; /* of this test: one folder for all its files */
    if (access(path, F_OK) != 0) snprintf(path, sizeof path, "%s", kl_test_folder());
    uint8_t block[4096];
    kl_segment_encode(block, uuid, 1, 0, SEGMENT_BYTES);
    forge(block, offset, value);
    int folder = open_folder(path);
    put_bytes(folder, first_name, block, sizeof block, file_bytes);
    kl_segment_set *set = open_set(folder, KL_SEGMENT_SET_READ_ONLY);
    kl_segment segment;
    int32_t status = kl_segment_set_open_segment(set, 1, &segment);
    kl_device_close(segment.device);
    kl_segment_set_close(set);
    close(folder);
    return status;
}

KL_TEST(kl_segment_set_open_segment_says_what_it_expected) {
    KL_CHECK_EQ(open_forged(8, 1, SEGMENT_BYTES), KL_OK); /* nothing changed */
    KL_CHECK_EQ(open_forged(8, 2, SEGMENT_BYTES), KL_ERR_VERSION);
    KL_CHECK_CONTAINS(kl_status_last(), "version 2, this build knows 1");
    KL_CHECK_EQ(open_forged(12, 512, SEGMENT_BYTES), KL_ERR_VERSION);
    KL_CHECK_EQ(open_forged(16, 0, SEGMENT_BYTES), KL_ERR_FOREIGN);
    KL_CHECK_CONTAINS(kl_status_last(), "uuid 00000000..., expected 10111213...");
    KL_CHECK_EQ(open_forged(32, 9, SEGMENT_BYTES), KL_ERR_CORRUPT);
    KL_CHECK_CONTAINS(kl_status_last(), "segment number 9, expected 1");
    KL_CHECK_EQ(open_forged(48, 4096, 4096), KL_ERR_CORRUPT);
    KL_CHECK_EQ(open_forged(48, 8193, 8193), KL_ERR_CORRUPT);
    KL_CHECK_EQ(open_forged(52, 0xFFFFFFFF, SEGMENT_BYTES), KL_ERR_CORRUPT);
    KL_CHECK_EQ(open_forged(8, 1, SEGMENT_BYTES - 1), KL_ERR_TRUNCATED);
    KL_CHECK_CONTAINS(kl_status_last(), "has 20479 bytes, expected 20480");
    KL_CHECK_EQ(open_forged(8, 1, SEGMENT_BYTES + 4096), KL_ERR_CORRUPT);
    KL_CHECK_EQ(open_forged(8, 1, 4096), KL_ERR_TRUNCATED);
    for (uint64_t bytes = 0; bytes < 4096; bytes += 63)
        KL_CHECK_EQ(open_forged(8, 1, bytes), KL_ERR_TRUNCATED);
}

KL_TEST(kl_segment_set_takes_existing_segments_of_another_size) {
    int folder = open_folder(kl_test_folder());
    kl_segment_set *set = open_set(folder, 0);
    KL_CHECK_EQ(kl_segment_set_prepare(set, 1, 0), KL_OK);
    kl_segment_set_close(set);
    kl_segment_set_spec spec = spec_of(0);
    spec.segment_bytes = 2 * SEGMENT_BYTES;
    KL_CHECK_EQ(kl_segment_set_open(&set, folder, &spec), KL_OK);
    kl_segment segment;
    KL_CHECK_EQ(kl_segment_set_open_segment(set, 1, &segment), KL_OK);
    KL_CHECK_EQ(segment.segment_bytes, SEGMENT_BYTES);
    kl_device_close(segment.device);
    KL_CHECK_EQ(kl_segment_set_retire(set, 1), KL_OK);
    KL_CHECK_EQ(kl_segment_set_spare_count(set), 0); /* does not fit: removed */
    KL_CHECK_EQ(count_names(folder, ""), 0);
    kl_segment_set_close(set);
    close(folder);
}

KL_TEST(kl_segment_set_list_reports_gaps_and_damage_and_ignores_others) {
    int folder = open_folder(kl_test_folder());
    kl_segment_set *set = open_set(folder, 0);
    static const uint64_t numbers[] = {0xffffffffffffffff, 2, 3, 0x100, 5};
    for (int i = 0; i < 5; i++) KL_CHECK_EQ(kl_segment_set_prepare(set, numbers[i], 7), KL_OK);
    put_bytes(folder, "segment-0000000000000006.kls", "not one", 7, SEGMENT_BYTES);
    put_bytes(folder, "segment-6.kls", "x", 1, 1);
    put_bytes(folder, "segment-00000000000000AB.kls", "x", 1, 1);
    put_bytes(folder, "notes.txt", "x", 1, 1);
    KL_CHECK_EQ(mkdirat(folder, "segment-0000000000000007.kls", 0700), 0);
    KL_CHECK_EQ(symlinkat(first_name, folder, "segment-0000000000000008.kls"), 0);
    kl_segment_listing listing;
    KL_CHECK_EQ(kl_segment_set_list(set, &listing), KL_OK);
    static const uint64_t expected[] = {2, 3, 5, 6, 7, 8, 0x100, 0xffffffffffffffff};
    KL_CHECK_EQ(listing.count, 8);
    for (uint32_t i = 0; i < 8; i++) {
        KL_CHECK_EQ(listing.entries[i].number, expected[i]);
        bool good = i < 3 || i > 5;
        KL_CHECK_EQ(listing.entries[i].status, good ? KL_OK : KL_ERR_FOREIGN);
        if (!good) KL_CHECK_CONTAINS(listing.entries[i].reason, "/segment-");
    }
    KL_CHECK_EQ(listing.damaged_count, 3);
    KL_CHECK_EQ(listing.gap_count, 3);
    KL_CHECK_EQ(listing.gap_after, 3);
    kl_segment_listing_free(&listing);
    kl_segment_set_close(set);
    close(folder);
}

/* ---- a failing disk ---- */

typedef struct {
    int folder;
    kl_segment_set *set;
    kl_device_faults *faults;
} faulty_set;

/* Segments 1 and 2 stand, 0 is a spare; then the n-th operation fails. */
static faulty_set start_faulty(uint64_t n, int error, bool after) {
    faulty_set it = {.folder = open_folder(kl_test_folder())};
    it.set = open_set(it.folder, 0);
    for (uint64_t i = 0; i < 3; i++) KL_CHECK_EQ(kl_segment_set_prepare(it.set, i, i), KL_OK);
    KL_CHECK_EQ(kl_segment_set_retire(it.set, 0), KL_OK);
    kl_device_fault fault = {
        .ops = KL_DEVICE_OPS_CHANGING, .at_call = n, .error = error, .after = after};
    it.faults = kl_device_faults_start(&fault, 1, false);
    return it;
}

/* All that stands under a segment's name is whole; nothing else lies about. */
static void check_sound(int folder, int segments_min) {
    kl_segment_set *set = open_set(folder, 0);
    kl_segment_listing listing;
    KL_CHECK_EQ(count_names(folder, "segment-") + count_names(folder, "spare-"),
                count_names(folder, ""));
    KL_CHECK_EQ(kl_segment_set_list(set, &listing), KL_OK);
    KL_CHECK_EQ(listing.damaged_count, 0);
    KL_CHECK_LE(segments_min, (int)listing.count);
    KL_CHECK_EQ((int)listing.count, count_names(folder, "segment-"));
    kl_segment_listing_free(&listing);
    KL_CHECK_EQ(kl_segment_set_prepare(set, 100, 0), KL_OK); /* and goes on */
    kl_segment_set_close(set);
}

static void sweep_prepare(uint32_t number_count, bool after) {
    bool hit = true;
    for (uint64_t n = 1; hit; n++) {
        faulty_set it = start_faulty(n, ENOSPC, after);
        int32_t status = KL_OK;
        uint32_t made = 0; /* the first from the spare, the second fresh */
        while (made < number_count && status == KL_OK) {
            status = kl_segment_set_prepare(it.set, 3 + made, 0);
            if (status == KL_OK) made++;
        }
        hit = kl_device_faults_hits(it.faults, 0) > 0;
        kl_device_faults_stop(it.faults);
        KL_CHECK_EQ(status, hit ? KL_ERR_NO_SPACE : KL_OK);
        if (!after) KL_CHECK_EQ(count_names(it.folder, "segment-"), 2 + (int)made);
        KL_CHECK_EQ(count_names(it.folder, "segment-00000000000000"),
                    count_names(it.folder, "segment-"));
        kl_segment_set_close(it.set);
        check_sound(it.folder, 2 + (int)made);
        close(it.folder);
    }
}

KL_TEST(kl_segment_set_prepare_leaves_nothing_behind_when_any_step_fails) {
    sweep_prepare(2, false);
    sweep_prepare(2, true);
}

KL_TEST(kl_segment_set_retire_leaves_whole_files_when_any_step_fails) {
    for (int after = 0; after < 2; after++) {
        bool hit = true;
        for (uint64_t n = 1; hit; n++) {
            faulty_set it = start_faulty(n, EIO, after == 1);
            int32_t status = kl_segment_set_retire(it.set, 1);              /* becomes a spare */
            if (status == KL_OK) status = kl_segment_set_retire(it.set, 2); /* is removed */
            hit = kl_device_faults_hits(it.faults, 0) > 0;
            kl_device_faults_stop(it.faults);
            KL_CHECK_EQ(status, hit ? KL_ERR_IO : KL_OK);
            kl_segment_set_close(it.set);
            check_sound(it.folder, 0);
            close(it.folder);
        }
    }
}

KL_TEST(kl_segment_set_is_poisoned_by_a_failed_folder_sync) {
    int folder = open_folder(kl_test_folder());
    kl_segment_set *set = open_set(folder, 0);
    KL_CHECK_EQ(kl_segment_set_prepare(set, 1, 0), KL_OK);
    kl_device_fault fault = {.ops = 1u << KL_DEVICE_OP_SYNC_FOLDER, .at_call = 1, .error = EIO};
    kl_device_faults *faults = kl_device_faults_start(&fault, 1, false);
    KL_CHECK_EQ(kl_segment_set_retire(set, 1), KL_ERR_IO);
    KL_CHECK_CONTAINS(kl_status_last(), "sync folder /");
    KL_CHECK_EQ(kl_segment_set_prepare(set, 2, 0), KL_ERR_IO);
    KL_CHECK_CONTAINS(kl_status_last(), "sync folder /");
    KL_CHECK_EQ(kl_segment_set_retire(set, 2), KL_ERR_IO);
    kl_device_faults_stop(faults);
    KL_CHECK_EQ(kl_segment_set_spare_count(set), 0);
    kl_segment_set_close(set);
    check_sound(folder, 0);
    close(folder);
}

KL_TEST(kl_segment_set_on_a_full_disk_keeps_what_it_had) {
    const char *path = kl_test_folder();
    if (mount("tmpfs", path, "tmpfs", 0, "size=64k,mode=0700") != 0) {
        printf("# a small tmpfs needs root: %s\n", strerror(errno));
        return;
    }
    int folder = open_folder(path);
    kl_segment_set *set = open_set(folder, 0);
    int32_t statuses[5];
    for (uint64_t n = 0; n < 4; n++) statuses[n] = kl_segment_set_prepare(set, n, 0);
    int names = count_names(folder, "");
    (void)kl_segment_set_retire(set, 0);
    statuses[4] = kl_segment_set_prepare(set, 9, 0); /* from the spare: needs no space */
    kl_segment segment;
    int32_t read = kl_segment_set_open_segment(set, 1, &segment);
    kl_device_close(segment.device);
    kl_segment_set_close(set);
    close(folder);
    umount2(path, MNT_DETACH);
    KL_CHECK_EQ(statuses[0], KL_OK);
    KL_CHECK_EQ(statuses[1], KL_OK);
    KL_CHECK_EQ(statuses[2], KL_OK);
    KL_CHECK_EQ(statuses[3], KL_ERR_NO_SPACE);
    KL_CHECK_EQ(names, 3);
    KL_CHECK_EQ(statuses[4], KL_OK);
    KL_CHECK_EQ(read, KL_OK);
}

/* ---- processes and threads ---- */

typedef struct {
    int folder;
    _Atomic uint64_t *next; /* segments [first, next) were acknowledged; shared with the child */
    _Atomic uint64_t *first;
} killed_owner;

static int own_for_ever(void *argument) {
    killed_owner *it = argument;
    kl_segment_set *set = open_set(it->folder, 0);
    for (;;) {
        int32_t status = kl_segment_set_prepare(set, *it->next, *it->next * 10);
        if (status != KL_OK && status != KL_ERR_EXISTS) return 1;
        ++*it->next;
        if (*it->next - *it->first < 4) continue;
        ++*it->first; /* as a log whose manifest says that the segment is not needed */
        status = kl_segment_set_retire(set, *it->first - 1);
        if (status != KL_OK) return 2;
    }
}

KL_TEST(kl_segment_set_stays_sound_when_its_process_is_killed) {
    killed_owner it = {.folder = open_folder(kl_test_folder())};
    it.next = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    it.first = it.next + 1;
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (int round = 0; round < 50; round++) {
        int pid = kl_test_fork(own_for_ever, &it);
        usleep((useconds_t)kl_random_below(&random, 10000));
        KL_CHECK_EQ(kill(pid, SIGKILL), 0);
        KL_CHECK_EQ(kl_test_join(pid), 128 + SIGKILL);
        kl_segment_set *set = open_set(it.folder, 0);
        kl_segment_listing listing;
        KL_CHECK_EQ(kl_segment_set_list(set, &listing), KL_OK);
        KL_CHECK_EQ(listing.damaged_count, 0);
        KL_CHECK_EQ(listing.gap_count, 0);
        if (listing.count > 0) {
            KL_CHECK_LE(listing.entries[0].number, *it.first);
            KL_CHECK_LE(*it.next, listing.entries[listing.count - 1].number + 1);
            for (uint32_t i = 0; i < listing.count; i++)
                KL_CHECK_EQ(listing.entries[i].first_address, listing.entries[i].number * 10);
            while (listing.entries[0].number < *it.first &&
                   kl_segment_set_retire(set, listing.entries[0].number) == KL_OK)
                listing.entries[0].number++;
        } else {
            KL_CHECK_EQ(*it.next, 0);
        }
        kl_segment_listing_free(&listing);
        kl_segment_set_close(set);
    }
    KL_CHECK_LT(4, *it.next);
    munmap(it.next, 4096);
    close(it.folder);
}

typedef struct {
    kl_segment_set *set;
    _Atomic int made, existed;
} shared_set;

static void use_set(void *argument, uint32_t index) {
    shared_set *it = argument;
    for (uint64_t n = 0; n < 8; n++) {
        /* Threads 0 and 1 race for the same numbers, 2 has its own, 3 looks on. */
        uint64_t number = index == 2 ? 100 + n : n;
        if (index == 3) {
            kl_segment_listing listing;
            KL_CHECK_EQ(kl_segment_set_list(it->set, &listing), KL_OK);
            KL_CHECK_EQ(listing.damaged_count, 0);
            kl_segment_listing_free(&listing);
            continue;
        }
        int32_t status = kl_segment_set_prepare(it->set, number, number);
        KL_CHECK(status == KL_OK || status == KL_ERR_EXISTS);
        if (status == KL_OK) it->made++;
        if (status == KL_ERR_EXISTS) it->existed++;
        if (index == 2) KL_CHECK_EQ(kl_segment_set_retire(it->set, number), KL_OK);
    }
}

KL_TEST(kl_segment_set_may_be_used_by_many_threads) {
    int folder = open_folder(kl_test_folder());
    shared_set it = {.set = open_set(folder, 0)};
    kl_test_threads(4, use_set, &it);
    KL_CHECK_EQ(it.made, 16);
    KL_CHECK_EQ(it.existed, 8);
    KL_CHECK_EQ(count_names(folder, "segment-"), 8);
    KL_CHECK_LE(count_names(folder, "spare-"), 2);
    KL_CHECK_EQ((uint32_t)count_names(folder, "spare-"), kl_segment_set_spare_count(it.set));
    kl_segment_set_close(it.set);
    close(folder);
}

/* ---- while it is being made ---- */

typedef struct {
    kl_segment_set *set;
    uint32_t folder_syncs;
} meddler;

static void meddle(void *context, const kl_device_call *call, kl_device_verdict *verdict) {
    meddler *m = context;
    kl_segment segment;
    (void)verdict;
    if (call->op != KL_DEVICE_OP_SYNC_FOLDER) return;
    m->folder_syncs++;
    KL_CHECK_EQ(kl_segment_set_open_segment(m->set, 7, &segment), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_segment_set_prepare(m->set, 7, 0), KL_ERR_EXISTS);
}

static void ignore(void *context, const kl_device_call *call, int64_t result) {
    (void)context;
    (void)call;
    (void)result;
}

KL_TEST(kl_segment_set_open_segment_gives_nothing_out_before_its_name_is_durable) {
    int folder = open(kl_test_folder(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    kl_segment_set_spec spec = {.segment_bytes = SEGMENT_BYTES, .spare_max = 2};
    meddler m = {0};
    kl_device_seam seam = {.context = &m, .before = meddle, .after = ignore};
    kl_segment segment;
    KL_CHECK_EQ(kl_segment_set_open(&m.set, folder, &spec), KL_OK);
    KL_CHECK_EQ(kl_segment_set_prepare(m.set, 1, 0), KL_OK);
    for (uint32_t recycled = 0; recycled < 2; recycled++) {
        if (recycled) KL_CHECK_EQ(kl_segment_set_retire(m.set, 7), KL_OK);
        m.folder_syncs = 0;
        kl_device_seam_install(&seam);
        KL_CHECK_EQ(kl_segment_set_prepare(m.set, 7, 0), KL_OK);
        kl_device_seam_install(NULL);
        KL_CHECK_EQ(m.folder_syncs, 1);
        KL_CHECK_EQ(kl_segment_set_open_segment(m.set, 7, &segment), KL_OK);
        KL_CHECK_EQ(segment.recycled, recycled != 0);
        kl_device_close(segment.device);
    }
    kl_segment_set_close(m.set);
    close(folder);
}
