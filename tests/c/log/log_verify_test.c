#include "log/log_verify.h"

#include "log/log_probe.h"
#include "log/log_state.h"
#include "log/log_stream.h"
#include "tests/c/harness.h"
#include "tests/c/log/log_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    uint32_t count;
    kl_log_problem last;
    char text[512];
} seen;

static void note(void *context, const kl_log_problem *problem) {
    seen *s = context;
    s->count++;
    s->last = *problem;
    snprintf(s->text, sizeof s->text, "%s", problem->text);
}

/* 200 records over several segments, in groups of 20. */
static void make_log(const char *folder, bool clean) {
    kl_log *log = fixture_open(folder, KL_LOG_CREATE | KL_LOG_NO_RING);
    for (uint64_t i = 0; i < 200; i++) {
        fixture_append(log, 1000, 0, i);
        if (i % 20 == 19) KL_CHECK_EQ(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER), KL_OK);
    }
    if (clean) KL_CHECK_EQ(kl_log_close(log), KL_OK);
}

static void flip(const char *folder, uint64_t segment, uint64_t offset) {
    uint8_t byte;
    int fd = open(fixture_segment_path(folder, segment), O_RDWR | O_CLOEXEC);
    KL_CHECK(fd >= 0);
    KL_CHECK_EQ(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= 0x10;
    KL_CHECK_EQ(pwrite(fd, &byte, 1, (off_t)offset), 1);
    close(fd);
}

KL_TEST(kl_log_verify_of_a_good_log_counts_what_is_there) {
    const char *folder = kl_test_folder();
    make_log(folder, true);
    kl_log_summary summary;
    seen s = {0};
    KL_CHECK_EQ(kl_log_verify(folder, note, &s, &summary), KL_OK);
    KL_CHECK_EQ(s.count, 0u);
    KL_CHECK_EQ(summary.problem_count, 0u);
    KL_CHECK_EQ(summary.frame_count, 200u);
    KL_CHECK_EQ(summary.record_count, 200u);
    KL_CHECK_EQ(summary.payload_bytes, 200000u);
    KL_CHECK_EQ(summary.durable_address, summary.end_address);
    KL_CHECK_EQ(summary.torn_bytes, 0u);
    KL_CHECK_LE(4u, summary.segment_count);
    KL_CHECK_EQ(summary.file_bytes, summary.segment_count * FIXTURE_SEGMENT);
    KL_CHECK(summary.clean);
}

KL_TEST(kl_log_verify_tells_every_problem_and_goes_on_behind_it) {
    const char *folder = kl_test_folder();
    make_log(folder, true);
    kl_log_summary summary;
    seen s = {0};
    flip(folder, 0, 4096 + 1032 * 3 + 500);
    flip(folder, 0, 4096 + 1032 * 7 + 8);
    flip(folder, 2, 30000);
    KL_CHECK_EQ(kl_log_verify(folder, note, &s, &summary), KL_OK);
    KL_CHECK_EQ(s.count, 3u);
    KL_CHECK_EQ(summary.problem_count, 3u);
    KL_CHECK_EQ(summary.frame_count, 197u);
    KL_CHECK_EQ(s.last.status, KL_ERR_CORRUPT);
    KL_CHECK_CONTAINS(s.text, fixture_segment_path(folder, 2));
    KL_CHECK_EQ(unlink(fixture_segment_path(folder, 1)), 0);
    s.count = 0;
    KL_CHECK_EQ(kl_log_verify(folder, note, &s, &summary), KL_OK);
    KL_CHECK_LE(3u, s.count);
    KL_CHECK(!summary.clean);
    flip(folder, 2, 20); /* its header, too */
    s.count = 0;
    KL_CHECK_EQ(kl_log_verify(folder, note, &s, &summary), KL_OK);
    KL_CHECK_LE(3u, s.count);
}

KL_TEST(kl_log_verify_calls_a_torn_tail_no_problem) {
    const char *folder = kl_test_folder();
    kl_log *log = fixture_open(folder, KL_LOG_CREATE | KL_LOG_NO_RING);
    for (uint64_t i = 0; i < 10; i++) fixture_append(log, 300, 0, i);
    KL_CHECK_EQ(kl_log_flush(log), KL_OK);
    flip(folder, 0, 4096 + 332 * 4 + 60);
    kl_log_summary summary;
    KL_CHECK_EQ(kl_log_verify(folder, NULL, NULL, &summary), KL_OK);
    KL_CHECK_EQ(summary.problem_count, 0u);
    KL_CHECK_LE(5u * 332, summary.torn_bytes);
    KL_CHECK(!summary.clean);
    KL_CHECK_EQ(kl_log_verify(kl_test_folder(), NULL, NULL, &summary), KL_ERR_NOT_FOUND);
    (void)kl_log_close(log);
}

KL_TEST(kl_log_probe_finds_frames_at_any_multiple_of_eight) {
    const char *folder = kl_test_folder();
    make_log(folder, true);
    kl_folder *opened;
    kl_manifest *manifest;
    kl_segment_set *set;
    kl_manifest_spec kind = {.kind = KL_LOG_MANIFEST_KIND, .flags = KL_MANIFEST_READ_ONLY};
    kl_segment_set_spec spec = {.segment_bytes = FIXTURE_SEGMENT,
                                .flags = KL_SEGMENT_SET_READ_ONLY};
    KL_CHECK_EQ(kl_folder_open(&opened, folder, KL_FOLDER_READ_ONLY), KL_OK);
    int fd = kl_folder_fd(opened);
    KL_CHECK_EQ(kl_manifest_open(&manifest, fd, KL_LOG_MANIFEST_NAME, &kind, NULL), KL_OK);
    memcpy(spec.uuid, kl_manifest_uuid(manifest), 16);
    KL_CHECK_EQ(kl_segment_set_open(&set, fd, &spec), KL_OK);
    kl_log_stream stream;
    kl_log_window window;
    kl_log_stream_init(&stream, set, folder, FIXTURE_SEGMENT);
    kl_log_window_init(&window, &stream);
    uint32_t seed = kl_log_frame_seed(spec.uuid);
    kl_log_probe probe;
    KL_CHECK_EQ(kl_log_probe_range(&window, seed, 8, UINT64_MAX, true, &probe), KL_OK);
    KL_CHECK_EQ(probe.frame_count, 1u);
    KL_CHECK_EQ(probe.first_frame, 1032u);
    KL_CHECK_EQ(kl_log_probe_range(&window, seed, 1040, UINT64_MAX, false, &probe), KL_OK);
    KL_CHECK_EQ(probe.first_frame, 2064u);
    KL_CHECK_LE(198u, probe.frame_count);
    KL_CHECK(probe.durable > 0 && probe.durable_at > probe.first_frame);
    /* A window holds what the stream holds, wherever it is asked. */
    uint8_t *all = malloc(300000);
    uint64_t done, available;
    const uint8_t *at;
    KL_CHECK_EQ(kl_log_stream_read(&stream, 0, all, 200000, &done), KL_OK);
    KL_CHECK_EQ(done, 200000u);
    for (uint64_t from = 0; from < 150000; from += 7777) {
        KL_CHECK_EQ(kl_log_window_at(&window, from, 40000, &at, &available), KL_OK);
        KL_CHECK_LE(40000u, available);
        KL_CHECK_BYTES(at, all + from, 40000);
    }
    free(all);
    kl_log_window_close(&window);
    kl_log_stream_close(&stream);
    kl_segment_set_close(set);
    kl_manifest_close(manifest);
    kl_folder_close(opened);
}
