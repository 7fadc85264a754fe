/* The bytes of a log, against those of a folder that was kept: tests/golden/log-v1. */
#include "log/log_frame.h"

#include "base/checksum.h"
#include "log/log_reader.h"
#include "log/log_state.h"
#include "tests/c/harness.h"
#include "tests/c/log/log_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const uint8_t uuid[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

/* Puts one frame into an image of the stream, the way docs/format_log.md says; answers its end. */
static uint64_t put(uint8_t *stream, uint64_t address, kl_log_frame_header header,
                    const void *payload) {
    uint64_t total = kl_log_frame_total(header.bytes);
    uint8_t *frame = stream + address;
    if (header.bytes > 0) memcpy(frame + 32, payload, header.bytes);
    memset(frame + 32 + header.bytes, 0, total - 32 - header.bytes);
    uint32_t crc = kl_log_frame_begin(kl_log_frame_seed(uuid), address, &header);
    header.crc = kl_crc32c(crc, frame + 32, total - 32);
    memcpy(frame, &header, 32);
    return address + total;
}

/* One of each kind: records, an empty one, a batch, padding, a commit record, a second group. */
static uint64_t fill_stream(uint8_t *stream) {
    static const uint8_t zeros[KL_LOG_BLOCK_BYTES];
    uint8_t record[300], batch[] = {3, 0, 0, 0, 'o', 'n', 'e', 3, 0, 0, 0, 't', 'w', 'o'};
    fixture_fill(record, sizeof record, 0, 0);
    uint64_t at =
        put(stream, 0, (kl_log_frame_header){.bytes = 300, .kind = 1, .record_count = 1}, record);
    at = put(stream, at, (kl_log_frame_header){.kind = 1, .record_count = 1}, NULL);
    at = put(
        stream, at,
        (kl_log_frame_header){.bytes = sizeof batch, .kind = 2, .tag = 0x4b4c, .record_count = 2},
        batch);
    uint32_t fill = (uint32_t)(KL_LOG_BLOCK_BYTES - at - 32);
    at = put(stream, at, (kl_log_frame_header){.bytes = fill, .kind = 4}, zeros);
    uint64_t durable = at;
    at =
        put(stream, at, (kl_log_frame_header){.bytes = 8, .durable = durable, .kind = 3}, &durable);
    fixture_fill(record, 17, 0, 1);
    at = put(stream, at,
             (kl_log_frame_header){.bytes = 17, .durable = durable, .kind = 1, .record_count = 1},
             record);
    fill = (uint32_t)(2 * KL_LOG_BLOCK_BYTES - at - 32);
    return put(stream, at, (kl_log_frame_header){.bytes = fill, .durable = durable, .kind = 4},
               zeros);
}

static void make_segment(uint8_t *file) {
    memset(file, 0, FIXTURE_SEGMENT);
    kl_segment_encode(file, uuid, 0, 0, FIXTURE_SEGMENT);
    KL_CHECK_EQ(fill_stream(file + KL_LOG_BLOCK_BYTES), 2 * KL_LOG_BLOCK_BYTES);
}

static void make_manifest(uint8_t *file) {
    kl_log_manifest state = {.format = 1,
                             .flags = KL_LOG_CLEAN,
                             .segment_bytes = FIXTURE_SEGMENT,
                             .durable = 2 * KL_LOG_BLOCK_BYTES};
    kl_manifest_encode(file, 0, KL_LOG_MANIFEST_KIND, 2, uuid, &state, sizeof state);
    state.flags = 0;
    state.durable = 0;
    kl_manifest_encode(file + KL_LOG_BLOCK_BYTES, 1, KL_LOG_MANIFEST_KIND, 1, uuid, &state,
                       sizeof state);
}

static void read_file(const char *path, uint8_t *out, size_t bytes) {
    FILE *file = fopen(path, "rb");
    KL_CHECK(file != NULL);
    KL_CHECK_EQ(fread(out, 1, bytes, file), bytes);
    KL_CHECK_EQ(fgetc(file), EOF);
    fclose(file);
}

#define GOLDEN         "tests/golden/log-v1"
#define MANIFEST_BYTES (2 * KL_LOG_BLOCK_BYTES)

KL_TEST(kl_log_frame_format_is_the_golden_one) {
    static uint8_t made[FIXTURE_SEGMENT], golden[FIXTURE_SEGMENT];
    make_segment(made);
    read_file(GOLDEN "/segment-0000000000000000.kls", golden, FIXTURE_SEGMENT);
    KL_CHECK_BYTES(made, golden, FIXTURE_SEGMENT);
    make_manifest(made);
    read_file(GOLDEN "/log.manifest", golden, MANIFEST_BYTES);
    KL_CHECK_BYTES(made, golden, MANIFEST_BYTES);
}

KL_TEST(kl_log_open_opens_the_golden_log_and_goes_on_with_it) {
    char folder[512];
    snprintf(folder, sizeof folder, "%s/log", kl_test_folder());
    fixture_copy(GOLDEN, folder);
    kl_log *log = fixture_open(folder, KL_LOG_NO_RING);
    KL_CHECK_EQ(kl_log_recovered(log)->reason[0], '\0');
    KL_CHECK_EQ(kl_log_tail(log), 2 * KL_LOG_BLOCK_BYTES);
    fixture_append(log, 50, 0, 2);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    const uint32_t sizes[] = {300, 0, 14, 17, 50}, kinds[] = {1, 1, 2, 1, 1};
    kl_log_reader *reader;
    kl_log_frame frame;
    KL_CHECK_EQ(kl_log_reader_open(&reader, folder, 0, 0), KL_OK);
    for (uint32_t i = 0; i < 5; i++) {
        KL_CHECK_EQ(kl_log_reader_next(reader, &frame), KL_OK);
        KL_CHECK_EQ(frame.bytes, sizes[i]);
        KL_CHECK_EQ(frame.kind, kinds[i]);
        if (i == 2) KL_CHECK_EQ(frame.tag, 0x4b4c);
    }
    KL_CHECK_EQ(kl_log_reader_next(reader, &frame), KL_ERR_END);
    kl_log_reader_close(reader);
}

/* A newer version is refused with its number, whatever else it holds. */
KL_TEST(kl_log_open_of_a_newer_format_names_its_number) {
    char folder[512], path[600];
    uint8_t file[MANIFEST_BYTES] = {0};
    snprintf(folder, sizeof folder, "%s/log", kl_test_folder());
    fixture_copy(GOLDEN, folder);
    kl_log_manifest state = {.format = 7, .segment_bytes = FIXTURE_SEGMENT};
    kl_manifest_encode(file, 0, KL_LOG_MANIFEST_KIND, 8, uuid, &state, sizeof state);
    snprintf(path, sizeof path, "%s/log.manifest", folder);
    FILE *out = fopen(path, "wb");
    fwrite(file, 1, sizeof file, out);
    fclose(out);
    kl_log *log;
    KL_CHECK_EQ(kl_log_open(&log, folder, NULL), KL_ERR_VERSION);
    KL_CHECK_CONTAINS(kl_status_last(), "7");
    kl_log_reader *reader;
    KL_CHECK_EQ(kl_log_reader_open(&reader, folder, 0, 0), KL_ERR_VERSION);
}

KL_TEST(kl_log_frame_valid_refuses_a_frame_at_another_place_or_of_another_log) {
    uint8_t frame[512] = {0};
    uint8_t record[100];
    fixture_fill(record, sizeof record, 0, 0);
    put(frame, 0, (kl_log_frame_header){.bytes = 100, .kind = 1, .record_count = 1}, record);
    uint32_t seed = kl_log_frame_seed(uuid);
    uint8_t other[16] = {9};
    KL_CHECK(kl_log_frame_valid(seed, 0, frame, 136));
    KL_CHECK(kl_log_frame_valid(seed, 0, frame, sizeof frame));
    KL_CHECK(!kl_log_frame_valid(seed, 8, frame, 136));
    KL_CHECK(!kl_log_frame_valid(seed, 1ull << 40, frame, 136));
    KL_CHECK(!kl_log_frame_valid(kl_log_frame_seed(other), 0, frame, 136));
    KL_CHECK(!kl_log_frame_valid(seed, 0, frame, 135));
    KL_CHECK(!kl_log_frame_valid(seed, 0, frame, 31));
    for (uint32_t i = 0; i < 136; i++)
        for (uint32_t bit = 0; bit < 8; bit++) {
            frame[i] ^= (uint8_t)(1u << bit);
            KL_CHECK(!kl_log_frame_valid(seed, 0, frame, 136));
            frame[i] ^= (uint8_t)(1u << bit);
        }
}

KL_TEST(kl_log_frame_plausible_bounds_every_field) {
    kl_log_frame_header good = {.kind = 1, .bytes = 10, .durable = 4096};
    KL_CHECK(kl_log_frame_plausible(&good, 4096));
    KL_CHECK(!kl_log_frame_plausible(&good, 4088)); /* it cannot know more than its own address */
    kl_log_frame_header bad = good;
    bad.kind = 0;
    KL_CHECK(!kl_log_frame_plausible(&bad, 4096));
    bad.kind = 5;
    KL_CHECK(!kl_log_frame_plausible(&bad, 4096));
    bad = good;
    bad.flags = 1;
    KL_CHECK(!kl_log_frame_plausible(&bad, 4096));
    bad = good;
    bad.reserved = 1;
    KL_CHECK(!kl_log_frame_plausible(&bad, 4096));
    bad = good;
    bad.durable = 4104;
    KL_CHECK(!kl_log_frame_plausible(&bad, 8192));
    bad = good;
    bad.bytes = KL_LOG_FRAME_BYTES_MAX + 1;
    KL_CHECK(!kl_log_frame_plausible(&bad, 4096));
}

KL_TEST(kl_log_frame_fill_ends_at_a_border_and_has_room_for_a_header) {
    for (uint64_t end = 0; end < 3 * KL_LOG_BLOCK_BYTES; end += 8) {
        uint64_t fill = kl_log_frame_fill(end);
        KL_CHECK_EQ((end + fill) % KL_LOG_BLOCK_BYTES, 0u);
        KL_CHECK(fill == 0 || fill >= KL_LOG_FRAME_HEADER);
        KL_CHECK(fill < KL_LOG_BLOCK_BYTES + KL_LOG_FRAME_HEADER);
        if (fill == 0) continue;
        uint8_t *frame = calloc(1, fill);
        kl_log_frame_header header;
        kl_log_frame_padding(7, end, fill, 0, &header);
        memcpy(frame, &header, sizeof header);
        KL_CHECK(kl_log_frame_valid(7, end, frame, fill));
        free(frame);
    }
}
