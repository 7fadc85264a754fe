#include "log/log_repair.h"

#include "log/log_state.h"
#include "log/log_verify.h"
#include "tests/c/harness.h"
#include "tests/c/log/log_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORDS 200u
#define TOTAL   1032u /* of a frame of 1000 bytes */

/* 200 records over several segments, in groups of 20. */
static void make_log(const char *folder) {
    kl_log *log = fixture_open(folder, KL_LOG_CREATE | KL_LOG_NO_RING);
    for (uint64_t i = 0; i < RECORDS; i++) {
        fixture_append(log, 1000, 0, i);
        if (i % 20 == 19) KL_CHECK_EQ(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER), KL_OK);
    }
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
}

static void flip_in(const char *path, uint64_t offset) {
    uint8_t byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    KL_CHECK(fd >= 0);
    KL_CHECK_EQ(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= 0x10;
    KL_CHECK_EQ(pwrite(fd, &byte, 1, (off_t)offset), 1);
    close(fd);
}

static void flip(const char *folder, uint64_t segment, uint64_t offset) {
    flip_in(fixture_segment_path(folder, segment), offset);
}

/* How many records are there, each as it was written, in their order; which was the last. */
static uint64_t read_all(const char *folder, uint64_t *last) {
    kl_log_reader *reader = NULL;
    kl_log_frame frame;
    uint64_t count = 0, next = 0;
    int32_t status;
    KL_CHECK_EQ(kl_log_reader_open(&reader, folder, 0, 0), KL_OK);
    while ((status = kl_log_reader_next(reader, &frame)) == KL_OK) {
        uint64_t number;
        memcpy(&number, frame.payload + 8, sizeof number);
        KL_CHECK_LE(next, number);
        KL_CHECK(fixture_is(frame.payload, frame.bytes, 0, number));
        next = number + 1;
        count++;
    }
    KL_CHECK_EQ(status, KL_ERR_END);
    kl_log_reader_close(reader);
    *last = next - 1;
    return count;
}

static uint32_t dropped_files(const char *folder) {
    char path[400];
    snprintf(path, sizeof path, "%s/" KL_LOG_DROPPED_NAME, folder);
    DIR *opened = opendir(path);
    uint32_t count = 0;
    if (opened == NULL) return 0;
    for (struct dirent *entry; (entry = readdir(opened)) != NULL;) count += entry->d_name[0] != '.';
    closedir(opened);
    return count;
}

static uint32_t lines;
static void count_line(void *context, const char *line) {
    (void)context;
    KL_CHECK(line[0] != '\0');
    lines++;
}

static int32_t repair(const char *folder, uint32_t flags, kl_log_repair_summary *summary) {
    lines = 0;
    return kl_log_repair(folder, flags, count_line, NULL, summary);
}

static int32_t open_status(const char *folder, uint32_t recovery, uint64_t *dropped) {
    kl_log *log = NULL;
    kl_log_options options = {.ring_bytes = FIXTURE_RING, .recovery = recovery};
    int32_t status = kl_log_open(&log, folder, &options);
    *dropped = status == KL_OK ? kl_log_recovered(log)->dropped_bytes : 0;
    if (status == KL_OK && *dropped > 0)
        KL_CHECK_CONTAINS(kl_log_recovered(log)->reason, "dropped");
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    return status;
}

KL_TEST(kl_log_repair_of_a_good_log_changes_nothing) {
    const char *folder = kl_test_folder();
    kl_log_repair_summary summary;
    uint64_t last;
    make_log(folder);
    KL_CHECK_EQ(repair(folder, KL_LOG_REPAIR_SKIP, &summary), KL_OK);
    KL_CHECK_EQ(summary.problem_count, 0);
    KL_CHECK(!summary.changed);
    KL_CHECK_EQ(lines, 0);
    KL_CHECK_EQ(read_all(folder, &last), RECORDS);
    KL_CHECK_EQ(repair(folder, 0, &summary), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(repair(folder, 3, &summary), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(repair(folder, 9, &summary), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(repair("/nowhere/at/all", KL_LOG_REPAIR_SKIP, &summary), KL_ERR_NOT_FOUND);
    kl_log *log = fixture_open(folder, KL_LOG_NO_RING);
    KL_CHECK_EQ(repair(folder, KL_LOG_REPAIR_SKIP, &summary), KL_ERR_LOCKED);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
}

static void damage(const char *folder) {
    flip(folder, 0, 4096 + TOTAL * 3 + 500);
    flip(folder, 0, 4096 + TOTAL * 7 + 8);
    flip(folder, 2, 30000);
}

KL_TEST(kl_log_repair_skip_drops_what_is_damaged_and_keeps_it_beside) {
    const char *folder = kl_test_folder();
    kl_log_repair_summary summary;
    uint64_t last, dropped;
    make_log(folder);
    damage(folder);
    KL_CHECK_EQ(open_status(folder, KL_LOG_TOLERATE_TAIL, &dropped), KL_ERR_CORRUPT);
    KL_CHECK_EQ(repair(folder, KL_LOG_REPAIR_SKIP | KL_LOG_REPAIR_DRY_RUN, &summary), KL_OK);
    KL_CHECK_EQ(summary.problem_count, 3);
    KL_CHECK_EQ(summary.dropped_bytes, 3 * TOTAL);
    KL_CHECK_EQ(lines, 6);
    KL_CHECK(!summary.changed);
    KL_CHECK_EQ(dropped_files(folder), 0);
    KL_CHECK_EQ(open_status(folder, KL_LOG_TOLERATE_TAIL, &dropped), KL_ERR_CORRUPT);
    KL_CHECK_EQ(repair(folder, KL_LOG_REPAIR_SKIP, &summary), KL_OK);
    KL_CHECK(summary.changed);
    KL_CHECK_EQ(dropped_files(folder), 3);
    KL_CHECK_EQ(open_status(folder, KL_LOG_TOLERATE_TAIL, &dropped), KL_OK);
    KL_CHECK_EQ(read_all(folder, &last), RECORDS - 3);
    KL_CHECK_EQ(last, RECORDS - 1);
    char path[400];
    struct stat file;
    snprintf(path, sizeof path, "%s/" KL_LOG_DROPPED_NAME "/%u-%u.bin", folder, TOTAL * 3, TOTAL);
    KL_CHECK_EQ(stat(path, &file), 0);
    KL_CHECK_EQ(file.st_size, TOTAL);
}

KL_TEST(kl_log_repair_point_in_time_ends_the_log_before_the_first_damage) {
    const char *folder = kl_test_folder();
    kl_log_repair_summary summary;
    uint64_t last, dropped;
    make_log(folder);
    flip(folder, 1, 20000);
    flip(folder, 2, 30000);
    KL_CHECK_EQ(repair(folder, KL_LOG_REPAIR_POINT_IN_TIME, &summary), KL_OK);
    uint64_t kept = read_all(folder, &last);
    KL_CHECK_EQ(kept, last + 1);
    KL_CHECK_LT(60, kept);
    KL_CHECK_LT(kept, 90);
    KL_CHECK_EQ(open_status(folder, KL_LOG_ABSOLUTE, &dropped), KL_OK);
    kl_log *log = fixture_open(folder, KL_LOG_NO_RING);
    for (uint64_t i = kept; i < kept + 200; i++) fixture_append(log, 1000, 0, i);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    KL_CHECK_EQ(read_all(folder, &last), kept + 200);
    KL_CHECK_LE(2, dropped_files(folder));
}

KL_TEST(kl_log_open_repairs_only_on_request) {
    const char *folder = kl_test_folder();
    char copy[300];
    uint64_t last, dropped;
    make_log(folder);
    damage(folder);
    snprintf(copy, sizeof copy, "%s/copy", folder);
    fixture_copy(folder, copy);
    KL_CHECK_EQ(open_status(copy, KL_LOG_ABSOLUTE, &dropped), KL_ERR_CORRUPT);
    KL_CHECK_EQ(open_status(copy, KL_LOG_SKIP_CORRUPT, &dropped), KL_OK);
    KL_CHECK_EQ(dropped, 3 * TOTAL);
    KL_CHECK_EQ(read_all(copy, &last), RECORDS - 3);
    KL_CHECK_EQ(open_status(copy, KL_LOG_SKIP_CORRUPT, &dropped), KL_OK);
    KL_CHECK_EQ(dropped, 0);
    fixture_copy(folder, copy);
    KL_CHECK_EQ(open_status(copy, KL_LOG_POINT_IN_TIME, &dropped), KL_OK);
    KL_CHECK_LT(0, dropped);
    KL_CHECK_EQ(read_all(copy, &last), 3);
    KL_CHECK_EQ(open_status(copy, 4, &dropped), KL_ERR_ARGUMENT);
    kl_log *log = NULL; /* a new one has no damage */
    kl_log_options options = {.flags = KL_LOG_CREATE, .recovery = KL_LOG_SKIP_CORRUPT};
    snprintf(copy, sizeof copy, "%s/new", folder);
    KL_CHECK_EQ(kl_log_open(&log, copy, &options), KL_OK);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
}

KL_TEST(kl_log_repair_makes_segments_anew_that_are_missing_or_not_themselves) {
    const char *folder = kl_test_folder();
    kl_log_repair_summary summary;
    uint64_t last;
    make_log(folder);
    KL_CHECK_EQ(unlink(fixture_segment_path(folder, 1)), 0);
    flip(folder, 2, 20); /* its header */
    KL_CHECK_EQ(repair(folder, KL_LOG_REPAIR_SKIP, &summary), KL_OK);
    uint64_t kept = read_all(folder, &last);
    KL_CHECK_EQ(last, RECORDS - 1);
    KL_CHECK_LT(90, kept);
    KL_CHECK_LT(kept, 102);
}

KL_TEST(kl_log_repair_rebuilds_a_manifest_from_the_segments) {
    const char *folder = kl_test_folder();
    char path[400];
    kl_log_repair_summary summary;
    uint64_t last, dropped;
    make_log(folder);
    snprintf(path, sizeof path, "%s/" KL_LOG_MANIFEST_NAME, folder);
    for (uint32_t round = 0; round < 3; round++) {
        if (round == 0) {
            flip_in(path, 100);
            flip_in(path, 4096 + 100);
        } else if (round == 1) {
            KL_CHECK_EQ(truncate(path, 10), 0);
        } else {
            KL_CHECK_EQ(unlink(path), 0);
        }
        KL_CHECK(open_status(folder, KL_LOG_TOLERATE_TAIL, &dropped) != KL_OK);
        KL_CHECK_EQ(repair(folder, KL_LOG_REPAIR_SKIP | KL_LOG_REPAIR_DRY_RUN, &summary), KL_OK);
        KL_CHECK_EQ(summary.problem_count, 1);
        KL_CHECK_EQ(repair(folder, KL_LOG_REPAIR_SKIP, &summary), KL_OK);
        KL_CHECK_LE(RECORDS - 20, read_all(folder, &last)); /* no frame knows of the last group */
        KL_CHECK_EQ(open_status(folder, KL_LOG_TOLERATE_TAIL, &dropped), KL_OK);
        KL_CHECK_EQ(read_all(folder, &last), RECORDS);
    }
}

/* ---- damage at random, killed at every step ---- */

#ifdef KL_DEBUG
static _Atomic uint64_t killpoints_left; /* 0: never */

void kl_killpoint_hook(const char *name);
void kl_killpoint_hook(const char *name) {
    (void)name;
    if (atomic_load(&killpoints_left) != 0 && atomic_fetch_sub(&killpoints_left, 1) == 1)
        kill(getpid(), SIGKILL);
}

typedef struct {
    const char *folder;
    uint32_t flags;
    uint64_t killpoint;
} killed_repair;

static int repair_and_die(void *argument) {
    const killed_repair *it = argument;
    kl_log_repair_summary summary;
    atomic_store(&killpoints_left, it->killpoint);
    return kl_log_repair(it->folder, it->flags, NULL, NULL, &summary) == KL_OK ? 0 : 3;
}

static void kill_everywhere(uint32_t flags) {
    const char *folder = kl_test_folder();
    char copy[300];
    snprintf(copy, sizeof copy, "%s/copy", folder);
    make_log(folder);
    damage(folder);
    flip(folder, 1, 20);
    uint64_t killpoint = 1, last, expected = 0;
    for (int ended = -1; ended != 0; killpoint++) {
        KL_CHECK_LT(killpoint, 100);
        fixture_copy(folder, copy);
        killed_repair it = {copy, flags, killpoint};
        ended = kl_test_join(kl_test_fork(repair_and_die, &it));
        KL_CHECK(ended == 0 || ended == 128 + SIGKILL);
        kl_log_repair_summary summary;
        KL_CHECK_EQ(kl_log_repair(copy, flags, NULL, NULL, &summary), KL_OK);
        uint64_t kept = read_all(copy, &last);
        if (expected == 0) expected = kept;
        KL_CHECK_EQ(kept, expected);
    }
    KL_CHECK_LT(3, killpoint);
}

KL_TEST(kl_log_repair_skip_may_be_killed_at_every_step_and_run_again) {
    kill_everywhere(KL_LOG_REPAIR_SKIP);
}

KL_TEST(kl_log_repair_point_in_time_may_be_killed_at_every_step_and_run_again) {
    kill_everywhere(KL_LOG_REPAIR_POINT_IN_TIME);
}
#endif
