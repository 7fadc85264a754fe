/* Damaged folders: flipped, cut, swapped, restored bytes; torn tails; what the open and the readers
 * must say. Nothing that was not written is ever given out as data. */
#include "log/log_recovery.h"

#include "base/random.h"
#include "log/log_reader.h"
#include "log/log_verify.h"
#include "tests/c/harness.h"
#include "tests/c/log/log_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static uint32_t size_varied(uint64_t number) {
    return 16 + (uint32_t)(number * 7919 % 700);
}

#define RECORDS 30u

static const char *base; /* the folder of the running test */

/* A folder in it. */
static const char *in_base(const char *name) {
    static _Thread_local char paths[4][512];
    static _Thread_local uint32_t next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%.400s/%s", base, name);
    return path;
}

/* Starts a test: its folder, and in it the one of its log, which does not exist yet. */
static const char *start(void) {
    static char log[512];
    base = kl_test_folder();
    snprintf(log, sizeof log, "%.400s/log", base);
    return log;
}

/* Three groups of ten records, about 4 KiB each; the folder as after a clean close, or as a power
 * cut leaves it. Answers the durable address. */
static uint64_t make_log(const char *folder, bool clean) {
    const char *work = in_base("work");
    kl_log *log = fixture_open(work, KL_LOG_CREATE);
    for (uint64_t i = 0; i < RECORDS; i++) {
        fixture_append(log, size_varied(i), 0, i);
        if (i % 10 == 9) KL_CHECK_EQ(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER), KL_OK);
    }
    uint64_t durable = kl_log_durable(log);
    if (!clean) fixture_copy(work, folder);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    if (clean) fixture_copy(work, folder);
    return durable;
}

static void patch(const char *path, uint64_t offset, const void *bytes, size_t count) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    KL_CHECK(fd >= 0);
    KL_CHECK_EQ(pwrite(fd, bytes, count, (off_t)offset), (ssize_t)count);
    close(fd);
}

static void peek(const char *path, uint64_t offset, void *bytes, size_t count) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    KL_CHECK(fd >= 0);
    KL_CHECK_EQ(pread(fd, bytes, count, (off_t)offset), (ssize_t)count);
    close(fd);
}

/* Reads what is given out: records 0.. in order, untouched. How many; `*status` is how it ended. */
static uint64_t read_prefix(const char *folder, uint32_t flags, int32_t *status) {
    kl_log_reader *reader = NULL;
    kl_log_frame frame;
    uint64_t count = 0;
    *status = kl_log_reader_open(&reader, folder, 0, flags);
    if (*status != KL_OK) return 0;
    while ((*status = kl_log_reader_next(reader, &frame)) == KL_OK) {
        KL_CHECK_EQ(frame.bytes, size_varied(count));
        KL_CHECK(fixture_is(frame.payload, frame.bytes, 0, count));
        count++;
    }
    kl_log_reader_close(reader);
    return count;
}

static bool is_damage(int32_t status) {
    return status == KL_ERR_CORRUPT || status == KL_ERR_FOREIGN || status == KL_ERR_VERSION ||
           status == KL_ERR_TRUNCATED;
}

/* Opens a copy for writing; how many records it then has, or -1: refused as damaged. */
static int64_t open_copy(const char *folder, kl_log_recovery_report *report) {
    const char *copy = in_base("copy");
    fixture_copy(folder, copy);
    kl_log *log = NULL;
    int32_t status;
    kl_log_options options = {.ring_bytes = FIXTURE_RING, .flags = KL_LOG_NO_RING};
    int32_t opened = kl_log_open(&log, copy, &options);
    if (opened != KL_OK) {
        KL_CHECK(is_damage(opened));
        KL_CHECK(kl_status_last()[0] != '\0');
        return -1;
    }
    if (report != NULL) *report = *kl_log_recovered(log);
    uint64_t count = read_prefix(copy, 0, &status);
    KL_CHECK_EQ(status, KL_ERR_END);
    fixture_append(log, size_varied(count), 0, count);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    KL_CHECK_EQ(read_prefix(copy, 0, &status), count + 1);
    kl_log_summary summary;
    KL_CHECK_EQ(kl_log_verify(copy, NULL, NULL, &summary), KL_OK);
    KL_CHECK_EQ(summary.problem_count, 0u);
    KL_CHECK_EQ(summary.frame_count, count + 1);
    return (int64_t)count;
}

/* Flips one bit of every byte of the segment that holds the log. Readers look each time; the open
 * and verify, which write and read more, every so often. */
static void flip_every_byte(bool clean) {
    const char *folder = start();
    uint64_t durable = make_log(folder, clean);
    const char *path = fixture_segment_path(folder, 0);
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    uint64_t end = KL_LOG_BLOCK_BYTES + durable + 100, opens = 0;
    for (uint64_t at = 0; at < end; at++) {
        uint8_t byte, flipped;
        int32_t status;
        peek(path, at, &byte, 1);
        flipped = byte ^ (uint8_t)(1u << kl_random_below(&random, 8));
        patch(path, at, &flipped, 1);
        uint64_t count = read_prefix(folder, 0, &status);
        bool header = at < KL_LOG_BLOCK_BYTES, behind = at >= KL_LOG_BLOCK_BYTES + durable;
        if (clean && !behind) KL_CHECK(is_damage(status) && count <= RECORDS);
        if (clean && behind) KL_CHECK(status == KL_ERR_END && count == RECORDS);
        if (!clean) KL_CHECK(status == KL_ERR_END || is_damage(status));
        if (at % 293 == 0) {
            int64_t kept = open_copy(folder, NULL);
            opens++;
            if (header)
                KL_CHECK_EQ(kept, -1);
            else if (behind)
                KL_CHECK_EQ(kept, (int64_t)RECORDS);
            else if (clean)
                KL_CHECK_EQ(kept, -1);
            /* Without a clean close only groups that later frames know to be durable are refused;
             * the last one may also look like a torn tail, which is cut. */
            else
                KL_CHECK(kept == -1 || (kept >= 20 && kept <= (int64_t)RECORDS));
            kl_log_summary summary;
            int32_t verified = kl_log_verify(folder, NULL, NULL, &summary);
            if (clean && !behind) KL_CHECK(verified != KL_OK || summary.problem_count > 0);
        }
        patch(path, at, &byte, 1);
    }
    KL_CHECK(opens > 30);
    KL_CHECK_EQ(open_copy(folder, NULL), (int64_t)RECORDS);
}

KL_TEST(kl_log_with_any_byte_flipped_after_a_clean_close_is_refused) {
    flip_every_byte(true);
}

KL_TEST(kl_log_with_any_byte_flipped_after_a_power_cut_never_gives_it_out) {
    flip_every_byte(false);
}

KL_TEST(kl_log_with_any_byte_of_its_manifest_flipped_opens_whole_or_is_refused) {
    const char *folder = start();
    make_log(folder, true);
    char path[512];
    snprintf(path, sizeof path, "%.400s/log.manifest", folder);
    for (uint64_t at = 0; at < 2 * KL_LOG_BLOCK_BYTES; at += at % 4096 < 150 ? 7 : 401) {
        uint8_t byte, flipped;
        int32_t status;
        peek(path, at, &byte, 1);
        flipped = byte ^ 4;
        patch(path, at, &flipped, 1);
        uint64_t count = read_prefix(folder, 0, &status);
        KL_CHECK(status == KL_ERR_END || is_damage(status));
        if (status == KL_ERR_END) KL_CHECK_LE(count, (uint64_t)RECORDS);
        int64_t kept = open_copy(folder, NULL);
        KL_CHECK(kept == -1 || kept == (int64_t)RECORDS);
        patch(path, at, &byte, 1);
    }
}

KL_TEST(kl_log_with_its_segment_cut_at_any_place_is_refused) {
    const char *folder = start();
    uint64_t durable = make_log(folder, true);
    for (uint64_t bytes = 0; bytes < KL_LOG_BLOCK_BYTES + durable; bytes += 509) {
        int32_t status;
        const char *copy = in_base("cut");
        fixture_copy(folder, copy);
        KL_CHECK_EQ(truncate(fixture_segment_path(copy, 0), (off_t)bytes), 0);
        KL_CHECK_LT(read_prefix(copy, 0, &status), (uint64_t)RECORDS);
        KL_CHECK(is_damage(status));
        KL_CHECK_EQ(open_copy(copy, NULL), -1);
    }
    KL_CHECK_EQ(unlink(fixture_segment_path(folder, 0)), 0);
    KL_CHECK_EQ(open_copy(folder, NULL), -1);
    KL_CHECK_CONTAINS(kl_status_last(), "segment-0000000000000000.kls");
}

KL_TEST(kl_log_with_two_blocks_swapped_is_refused) {
    const char *folder = start();
    uint64_t durable = make_log(folder, true);
    const char *path = fixture_segment_path(folder, 0);
    uint64_t blocks = durable / KL_LOG_BLOCK_BYTES;
    KL_CHECK(blocks >= 3);
    for (uint64_t a = 1; a <= blocks; a++)
        for (uint64_t b = a + 1; b <= blocks; b++) {
            uint8_t first[4096], second[4096];
            int32_t status;
            peek(path, a * 4096, first, sizeof first);
            peek(path, b * 4096, second, sizeof second);
            patch(path, a * 4096, second, sizeof second);
            patch(path, b * 4096, first, sizeof first);
            KL_CHECK_LT(read_prefix(folder, 0, &status), (uint64_t)RECORDS);
            KL_CHECK_EQ(status, KL_ERR_CORRUPT);
            KL_CHECK_EQ(open_copy(folder, NULL), -1);
            patch(path, a * 4096, first, sizeof first);
            patch(path, b * 4096, second, sizeof second);
        }
}

KL_TEST(kl_log_with_an_old_block_restored_is_refused) {
    const char *folder = start();
    make_log(folder, true);
    const char *path = fixture_segment_path(folder, 0);
    uint8_t old[2][4096], zeros[4096] = {0};
    int32_t status;
    kl_log *log = fixture_open(folder, KL_LOG_NO_RING);
    uint64_t block =
        kl_log_tail(log) / 4096 + 1; /* where the next group goes, header block apart */
    peek(path, block * 4096, old[0], 4096);
    KL_CHECK_BYTES(old[0], zeros, 4096);
    fixture_append(log, size_varied(RECORDS), 0, RECORDS);
    KL_CHECK_EQ(kl_log_flush(log), KL_OK); /* an uncommitted block, which the commit writes again */
    peek(path, block * 4096, old[1], 4096);
    fixture_append(log, size_varied(RECORDS + 1), 0, RECORDS + 1);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    for (int i = 0; i < 2; i++) {
        patch(path, block * 4096, old[i], 4096);
        KL_CHECK_LT(read_prefix(folder, 0, &status), (uint64_t)RECORDS + 2);
        KL_CHECK_EQ(status, KL_ERR_CORRUPT);
        KL_CHECK_EQ(open_copy(folder, NULL), -1);
    }
}

KL_TEST(kl_log_open_cuts_a_torn_tail_and_says_so_or_refuses_it_in_absolute_mode) {
    const char *folder = start();
    uint64_t durable = make_log(folder, false);
    const char *path = fixture_segment_path(folder, 0);
    kl_log_recovery_report report;
    uint8_t torn[500];
    memset(torn, 0x55, sizeof torn);
    uint64_t end = durable;
    uint8_t block[4096];
    peek(path, KL_LOG_BLOCK_BYTES + durable, block, 40);
    if (block[16] == KL_LOG_COMMIT) end += 40; /* the commit record, if it came in time */
    patch(path, KL_LOG_BLOCK_BYTES + end, torn, sizeof torn);
    KL_CHECK_EQ(open_copy(folder, &report), (int64_t)RECORDS);
    KL_CHECK_EQ(report.cut_address, end);
    KL_CHECK_LE(sizeof torn, report.cut_bytes);
    KL_CHECK_LT(report.cut_bytes, sizeof torn + 8);
    KL_CHECK_CONTAINS(report.reason, "cut at address");
    kl_log *log = NULL;
    kl_log_options options = {.recovery = KL_LOG_ABSOLUTE, .flags = KL_LOG_NO_RING};
    KL_CHECK_EQ(kl_log_open(&log, folder, &options), KL_ERR_CORRUPT);
    KL_CHECK_CONTAINS(kl_status_last(), "absolute");
}

/* A group whose first block never reached the disk, but whose later ones did: nothing of it may ever
 * come back, also when new frames fill the gap exactly. */
KL_TEST(kl_log_open_leaves_no_frame_behind_the_cut_that_could_come_back) {
    const char *folder = start();
    make_log(folder, true);
    kl_log *log = fixture_open(folder, KL_LOG_NO_RING);
    uint64_t from = kl_log_tail(log);
    for (uint64_t i = RECORDS; i < RECORDS + 20; i++) fixture_append(log, 480, 0, i);
    KL_CHECK_EQ(kl_log_flush(log), KL_OK);
    const char *left = in_base("left");
    fixture_copy(folder, left);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    uint8_t zeros[512] = {0};
    patch(fixture_segment_path(left, 0), KL_LOG_BLOCK_BYTES + from, zeros, sizeof zeros);
    log = fixture_open(left, KL_LOG_NO_RING);
    KL_CHECK_EQ(kl_log_tail(log), from);
    KL_CHECK_LT(5000u, kl_log_recovered(log)->cut_bytes);
    fixture_append(log, 480, 0, 777); /* exactly as long as the frame that is gone */
    KL_CHECK_EQ(kl_log_flush(log), KL_OK);
    kl_log_reader *reader;
    kl_log_frame frame;
    KL_CHECK_EQ(kl_log_reader_open(&reader, left, (double)from, KL_LOG_READ_UNCOMMITTED), KL_OK);
    KL_CHECK_EQ(kl_log_reader_next(reader, &frame), KL_OK);
    KL_CHECK(fixture_is(frame.payload, frame.bytes, 0, 777));
    KL_CHECK_EQ(kl_log_reader_next(reader, &frame), KL_ERR_END);
    kl_log_reader_close(reader);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
}

/* A bad frame below what later frames know to be durable names file, offset and expectation. */
KL_TEST(kl_log_open_names_the_place_of_a_flipped_bit) {
    const char *folder = start();
    make_log(folder, false);
    const char *path = fixture_segment_path(folder, 0);
    uint8_t byte;
    peek(path, KL_LOG_BLOCK_BYTES + 40, &byte, 1);
    byte ^= 1;
    patch(path, KL_LOG_BLOCK_BYTES + 40, &byte, 1);
    kl_log *log = NULL;
    kl_log_options options = {.flags = KL_LOG_NO_RING};
    KL_CHECK_EQ(kl_log_open(&log, folder, &options), KL_ERR_CORRUPT);
    KL_CHECK_CONTAINS(kl_status_last(), path);
    KL_CHECK_CONTAINS(kl_status_last(), "offset 4096");
    KL_CHECK_CONTAINS(kl_status_last(), "address 0");
    KL_CHECK_CONTAINS(kl_status_last(), "expected");
    kl_log_reader *reader;
    kl_log_frame frame;
    KL_CHECK_EQ(kl_log_reader_open(&reader, folder, 0, 0), KL_OK);
    int32_t status = kl_log_reader_next(reader, &frame);
    KL_CHECK_EQ(status, KL_ERR_CORRUPT);
    KL_CHECK_CONTAINS(kl_status_last(), path);
    kl_log_reader_close(reader);
}

KL_TEST(kl_log_open_of_something_else_says_what_it_is) {
    char path[512];
    const char *folder = start();
    KL_CHECK_EQ(mkdir(folder, 0700), 0);
    snprintf(path, sizeof path, "%.400s/log.manifest", folder);
    FILE *file = fopen(path, "wb");
    fputs("not a manifest, but somebody's notes", file);
    fclose(file);
    chmod(path, 0600);
    kl_log *log = NULL;
    kl_log_options options = {.flags = KL_LOG_CREATE};
    KL_CHECK(is_damage(kl_log_open(&log, folder, &options)));
    KL_CHECK(log == NULL);
    const char *other = in_base("other");
    make_log(other, true);
    snprintf(path, sizeof path, "%.400s/log.manifest", other);
    unlink(path);
    KL_CHECK_EQ(kl_log_open(&log, other, &options), KL_ERR_CORRUPT);
    KL_CHECK_CONTAINS(kl_status_last(), "no log.manifest");
}
