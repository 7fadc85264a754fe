/* Truncation, retention and cursors: what is gone is gone, nothing else is; also over a crash. */
#include "log/log_truncate.h"

#include "base/random.h"
#include "file/folder.h"
#include "file/segment_set.h"
#include "log/log_cursor.h"
#include "log/log_reader.h"
#include "log/log_verify.h"
#include "tests/c/harness.h"
#include "tests/c/log/log_fixture.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORD_BYTES 1000u

/* Appends and commits records [from, until); their addresses go to `addresses`. */
static void fill(kl_log *log, uint64_t from, uint64_t until, uint64_t *addresses) {
    for (uint64_t i = from; i < until; i++) {
        addresses[i] = fixture_append(log, RECORD_BYTES, 0, i);
        if (i % 10 == 9) KL_CHECK_EQ(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER), KL_OK);
    }
    KL_CHECK_EQ(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER), KL_OK);
}

/* Files whose names begin so. */
static uint32_t files(const char *folder, const char *beginning) {
    DIR *opened = opendir(folder);
    uint32_t count = 0;
    for (struct dirent *entry; (entry = readdir(opened)) != NULL;)
        count += strncmp(entry->d_name, beginning, strlen(beginning)) == 0;
    closedir(opened);
    return count;
}

/* Reads [first, last] of the records from the start of the log. */
static void check_records(const char *folder, uint64_t first, uint64_t last) {
    kl_log_reader *reader = NULL;
    kl_log_frame frame;
    KL_CHECK_EQ(kl_log_reader_open(&reader, folder, 0, 0), KL_OK);
    for (uint64_t i = first; i <= last; i++) {
        KL_CHECK_EQ(kl_log_reader_next(reader, &frame), KL_OK);
        KL_CHECK(fixture_is(frame.payload, frame.bytes, 0, i));
    }
    KL_CHECK_EQ(kl_log_reader_next(reader, &frame), KL_ERR_END);
    kl_log_reader_close(reader);
}

static uint64_t problems(const char *folder) {
    kl_log_summary summary;
    KL_CHECK_EQ(kl_log_verify(folder, NULL, NULL, &summary), KL_OK);
    return summary.problem_count;
}

KL_TEST(kl_log_truncate_before_lets_the_log_begin_at_a_frame_and_gives_segments_back) {
    char folder[300];
    uint64_t at[1000];
    snprintf(folder, sizeof folder, "%s/log", kl_test_folder());
    kl_log *log = fixture_open(folder, KL_LOG_CREATE);
    fill(log, 0, 400, at);
    uint32_t before = files(folder, "segment-");
    KL_CHECK_LE(6, before);
    KL_CHECK_EQ(kl_log_truncate_before(log, at[300]), KL_OK);
    KL_CHECK_EQ(kl_log_first(log), at[300]);
    KL_CHECK_LE(files(folder, "segment-"), before - 4);
    KL_CHECK_LE(files(folder, "spare-"), 2);
    check_records(folder, 300, 399);
    KL_CHECK_EQ(kl_log_truncate_before(log, at[100]), KL_OK); /* already */
    KL_CHECK_EQ(kl_log_first(log), at[300]);
    fill(log, 400, 700, at); /* on recycled segments */
    check_records(folder, 300, 699);
    KL_CHECK_EQ(problems(folder), 0);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    log = fixture_open(folder, 0);
    KL_CHECK_EQ(kl_log_first(log), at[300]);
    KL_CHECK_EQ(kl_log_recovered(log)->cut_bytes, 0);
    check_records(folder, 300, 699);
    KL_CHECK_EQ(kl_log_truncate_before(log, kl_log_durable(log)), KL_OK); /* all of it */
    fill(log, 700, 720, at);
    check_records(folder, 700, 719);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    KL_CHECK_EQ(problems(folder), 0);
}

KL_TEST(kl_log_truncate_before_refuses_what_is_no_border_or_not_durable) {
    char folder[300];
    uint64_t at[100];
    snprintf(folder, sizeof folder, "%s/log", kl_test_folder());
    kl_log *log = fixture_open(folder, KL_LOG_CREATE);
    fill(log, 0, 100, at);
    KL_CHECK_EQ(kl_log_truncate_before(log, at[50] + 8), KL_ERR_ARGUMENT);
    KL_CHECK_CONTAINS(kl_status_last(), "lies inside the frame at address");
    KL_CHECK_EQ(kl_log_truncate_before(log, at[50] + 1), KL_ERR_ARGUMENT);
    uint64_t tail = fixture_append(log, RECORD_BYTES, 0, 100);
    KL_CHECK_EQ(kl_log_truncate_before(log, tail + 8), KL_ERR_ARGUMENT);
    KL_CHECK_CONTAINS(kl_status_last(), "not durable yet");
    KL_CHECK_EQ(kl_log_truncate_before(log, UINT64_MAX), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_log_truncate_before(NULL, 0), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_log_first(log), 0);
    kl_log_request_truncate(log, at[20]);
    while (kl_log_truncate_status(log) == KL_ERR_AGAIN) usleep(100);
    KL_CHECK_EQ(kl_log_truncate_status(log), KL_OK);
    KL_CHECK_EQ(kl_log_first(log), at[20]);
    kl_log_request_truncate(log, at[50] + 8);
    while (kl_log_truncate_status(log) == KL_ERR_AGAIN) usleep(100);
    KL_CHECK_EQ(kl_log_truncate_status(log), KL_ERR_ARGUMENT);
    KL_CHECK_CONTAINS(kl_status_last(), "lies inside the frame at address");
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
}

KL_TEST(kl_log_reader_says_that_its_place_was_truncated_away) {
    char folder[300];
    uint64_t at[1000];
    kl_log_reader *slow = NULL;
    kl_log_frame frame;
    snprintf(folder, sizeof folder, "%s/log", kl_test_folder());
    kl_log *log = fixture_open(folder, KL_LOG_CREATE);
    fill(log, 0, 500, at);
    KL_CHECK_EQ(kl_log_reader_open(&slow, folder, 0, 0), KL_OK);
    KL_CHECK_EQ(kl_log_reader_next(slow, &frame), KL_OK);
    KL_CHECK_EQ(kl_log_truncate_before(log, at[450]), KL_OK);
    fill(log, 500, 900, at); /* the old segments get a new life */
    int32_t status = KL_OK;
    for (uint64_t i = 1; i < 450 && status == KL_OK;
         i++) { /* what it had read ahead is still good */
        status = kl_log_reader_next(slow, &frame);
        if (status == KL_OK) KL_CHECK(fixture_is(frame.payload, frame.bytes, 0, i));
    }
    KL_CHECK_EQ(status, KL_ERR_NOT_FOUND);
    KL_CHECK_CONTAINS(kl_status_last(), "was truncated away");
    kl_log_reader_close(slow);
    KL_CHECK_EQ(kl_log_reader_open(&slow, folder, (double)at[100], 0), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
}

KL_TEST(kl_log_cursor_pins_what_it_needs_and_outlives_its_owner) {
    char folder[300], names[100];
    uint64_t at[1000];
    kl_log_cursor *cursor = NULL, *second = NULL;
    snprintf(folder, sizeof folder, "%s/log", kl_test_folder());
    kl_log *log = fixture_open(folder, KL_LOG_CREATE);
    fill(log, 0, 400, at);
    KL_CHECK_EQ(kl_log_cursor_open(&cursor, folder, "audit", at[100]), KL_OK);
    KL_CHECK_EQ(kl_log_cursor_open(&second, folder, "audit", 0), KL_ERR_LOCKED);
    KL_CHECK_EQ(kl_log_cursor_open(&second, folder, "end", KL_LOG_CURSOR_END), KL_OK);
    KL_CHECK_EQ(kl_log_cursor_address(second), kl_log_durable(log));
    KL_CHECK_EQ(kl_log_truncate_before(log, at[300]), KL_OK);
    KL_CHECK_EQ(kl_log_first(log), at[100]);
    KL_CHECK_EQ(kl_log_cursor_move(cursor, at[200]), KL_OK);
    KL_CHECK_EQ(kl_log_cursor_move(cursor, at[150]), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_log_cursor_move(cursor, at[200] + 4), KL_ERR_ARGUMENT);
    kl_log_cursor_close(cursor);
    KL_CHECK_EQ(kl_log_truncate_before(log, at[300]), KL_OK);
    KL_CHECK_EQ(kl_log_first(log), at[200]);
    KL_CHECK_EQ(kl_log_cursor_open(&cursor, folder, "audit", 0), KL_OK);
    KL_CHECK_EQ(kl_log_cursor_address(cursor), at[200]);
    KL_CHECK_EQ(kl_log_cursor_remove(folder, "audit"), KL_ERR_LOCKED);
    kl_log_cursor_close(cursor);
    int32_t bytes = kl_log_cursor_list(folder, names, sizeof names);
    KL_CHECK_EQ(bytes, 10);
    KL_CHECK_EQ(kl_log_cursor_remove(folder, "audit"), KL_OK);
    KL_CHECK_EQ(kl_log_cursor_remove(folder, "audit"), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_log_truncate_before(log, at[300]), KL_OK);
    KL_CHECK_EQ(kl_log_first(log), at[300]);
    KL_CHECK_EQ(kl_log_cursor_open(&cursor, folder, "late", at[100]), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_log_cursor_open(&cursor, folder, "in", at[350] + 8), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_log_cursor_open(&cursor, folder, "no/name", 0), KL_ERR_NAME);
    KL_CHECK_EQ(kl_log_cursor_open(&cursor, folder, "", 0), KL_ERR_NAME);
    KL_CHECK_EQ(kl_log_cursor_open(&cursor, kl_test_folder(), "x", 0), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(files(folder, "cursor-"), 1);
    /* Where no frame begins: the log is cut before it, never inside a frame. */
    KL_CHECK_EQ(kl_log_cursor_open(&cursor, folder, "odd", at[340]), KL_OK);
    KL_CHECK_EQ(kl_log_cursor_move(cursor, at[350] + 8), KL_OK);
    KL_CHECK_EQ(kl_log_truncate_before(log, at[399]), KL_OK);
    KL_CHECK_LE(at[300], kl_log_first(log));
    KL_CHECK_LE(kl_log_first(log), at[350]);
    kl_log_cursor_close(cursor);
    kl_log_cursor_close(second);
    KL_CHECK_EQ(problems(folder), 0);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
}

KL_TEST(kl_log_retain_bytes_keeps_about_so_much_and_recycles_the_rest) {
    char folder[300];
    uint64_t *at = calloc(4000, sizeof *at);
    snprintf(folder, sizeof folder, "%s/log", kl_test_folder());
    kl_log *log = NULL;
    kl_log_options options = {.flags = KL_LOG_CREATE,
                              .segment_bytes = FIXTURE_SEGMENT,
                              .ring_bytes = FIXTURE_RING,
                              .retain_bytes = 4 * FIXTURE_SEGMENT};
    KL_CHECK_EQ(kl_log_open(&log, folder, &options), KL_OK);
    fill(log, 0, 4000, at);
    for (int wait = 0; wait < 3000 && kl_log_durable(log) - kl_log_first(log) > 6 * FIXTURE_SEGMENT;
         wait++)
        usleep(1000);
    uint64_t kept = kl_log_durable(log) - kl_log_first(log);
    KL_CHECK_LE(4 * FIXTURE_SEGMENT, kept);
    KL_CHECK_LE(kept, 6 * FIXTURE_SEGMENT);
    KL_CHECK_LE(files(folder, "segment-"), 9);
    uint64_t first = 0;
    while (at[first] < kl_log_first(log)) first++;
    check_records(folder, first, 3999);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    free(at);
}

KL_TEST(kl_log_retain_ms_lets_what_is_old_go) {
    char folder[300];
    uint64_t at[400];
    snprintf(folder, sizeof folder, "%s/log", kl_test_folder());
    kl_log *log = NULL;
    kl_log_options options = {.flags = KL_LOG_CREATE,
                              .segment_bytes = FIXTURE_SEGMENT,
                              .ring_bytes = FIXTURE_RING,
                              .retain_ms = 50};
    KL_CHECK_EQ(kl_log_open(&log, folder, &options), KL_OK);
    fill(log, 0, 200, at);
    usleep(80000);
    fill(log, 200, 400, at);
    for (int wait = 0; wait < 5000 && kl_log_first(log) == 0; wait++) usleep(1000);
    KL_CHECK_LT(at[60], kl_log_first(log));
    KL_CHECK_EQ(problems(folder), 0);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    options.spare_segments = 65;
    KL_CHECK_EQ(kl_log_open(&log, folder, &options), KL_ERR_ARGUMENT);
}

/* A torn frame in a recycled segment is cut and said, though zeros do not tell where it ends. */
KL_TEST(kl_log_recovery_tells_torn_frames_from_bytes_of_a_former_life) {
    char folder[300], copy[300];
    uint64_t at[1000];
    snprintf(folder, sizeof folder, "%s/log", kl_test_folder());
    snprintf(copy, sizeof copy, "%s/copy", kl_test_folder());
    kl_log *log = fixture_open(folder, KL_LOG_CREATE | KL_LOG_NO_RING);
    fill(log, 0, 300, at);
    KL_CHECK_EQ(kl_log_truncate_before(log, at[299]), KL_OK);
    fill(log, 300, 400, at);
    uint64_t torn = fixture_append(log, RECORD_BYTES, 0, 400);
    fixture_append(log, RECORD_BYTES, 0, 401);
    KL_CHECK_EQ(kl_log_flush(log), KL_OK);
    fixture_quiet(log);
    fixture_copy(folder, copy);
    uint64_t data_bytes = FIXTURE_SEGMENT - KL_SEGMENT_HEADER_BYTES;
    FILE *file = fopen(fixture_segment_path(copy, torn / data_bytes), "r+b");
    uint8_t was;
    long offset = (long)(KL_SEGMENT_HEADER_BYTES + torn % data_bytes + 500);
    KL_CHECK_EQ(fseek(file, offset, SEEK_SET), 0);
    KL_CHECK_EQ(fread(&was, 1, 1, file), 1);
    was ^= 1;
    KL_CHECK_EQ(fseek(file, offset, SEEK_SET), 0);
    KL_CHECK_EQ(fwrite(&was, 1, 1, file), 1);
    fclose(file);
    kl_log *cut = fixture_open(copy, 0);
    KL_CHECK_EQ(kl_log_recovered(cut)->cut_address, torn);
    KL_CHECK_LE(RECORD_BYTES, kl_log_recovered(cut)->cut_bytes);
    KL_CHECK_LT(kl_log_recovered(cut)->cut_bytes, 3 * RECORD_BYTES);
    fill(cut, 400, 402, at);
    KL_CHECK_EQ(kl_log_close(cut), KL_OK);
    check_records(copy, 299, 401);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
}
