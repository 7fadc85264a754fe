#include "tests/c/log/log_fixture.h"

#include "log/log_ring.h"
#include "log/log_service.h"
#include "log/log_state.h"
#include "tests/c/harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t mix(uint64_t x) {
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdull;
    x ^= x >> 33;
    return x;
}

void fixture_fill(uint8_t *out, uint32_t bytes, uint64_t writer, uint64_t number) {
    uint64_t word = mix(writer * 0x9e3779b97f4a7c15ull + number + 1);
    memcpy(out, &writer, 8);
    memcpy(out + 8, &number, 8);
    for (uint32_t i = 16; i < bytes; i++) {
        if (i % 8 == 0) word = mix(word + i);
        out[i] = (uint8_t)(word >> (i % 8 * 8));
    }
}

bool fixture_is(const uint8_t *data, uint32_t bytes, uint64_t writer, uint64_t number) {
    uint8_t *expected = malloc(bytes);
    fixture_fill(expected, bytes, writer, number);
    bool same = memcmp(expected, data, bytes) == 0;
    free(expected);
    return same;
}

kl_log *fixture_open(const char *folder, uint32_t flags) {
    return fixture_open_scan(folder, flags, 0);
}

kl_log *fixture_open_scan(const char *folder, uint32_t flags, uint64_t scan_bytes) {
    kl_log_options options = {.segment_bytes = FIXTURE_SEGMENT,
                              .ring_bytes = FIXTURE_RING,
                              .flags = flags,
                              .scan_bytes = scan_bytes};
    kl_log *log = NULL;
    int32_t status = kl_log_open(&log, folder, &options);
    if (status != KL_OK) fprintf(stderr, "open %s: %d %s\n", folder, status, kl_status_last());
    KL_CHECK_EQ(status, KL_OK);
    return log;
}

uint64_t fixture_append(kl_log *log, uint32_t bytes, uint64_t writer, uint64_t number) {
    uint8_t *record = malloc(bytes);
    fixture_fill(record, bytes, writer, number);
    kl_span part = {record, bytes};
    int64_t address = kl_log_append(log, KL_LOG_RECORD, &part, 1, 1);
    free(record);
    if (address < 0) fprintf(stderr, "append: %lld %s\n", (long long)address, kl_status_last());
    KL_CHECK(address >= 0);
    return (uint64_t)address;
}

uint64_t fixture_count(const char *folder, uint32_t flags, uint32_t (*bytes_of)(uint64_t number)) {
    uint64_t first = 0, end = fixture_end(folder, flags, bytes_of, &first);
    KL_CHECK_EQ(first, 0);
    return end;
}

uint64_t fixture_end(const char *folder, uint32_t flags, uint32_t (*bytes_of)(uint64_t number),
                     uint64_t *first) {
    kl_log_reader *reader = NULL;
    kl_log_frame frame;
    int32_t status = kl_log_reader_open(&reader, folder, 0, flags);
    if (status != KL_OK) fprintf(stderr, "reader: %d %s\n", status, kl_status_last());
    KL_CHECK_EQ(status, KL_OK);
    uint64_t count = 0;
    for (*first = 0; (status = kl_log_reader_next(reader, &frame)) == KL_OK;) {
        if (count == 0) {
            memcpy(&count, frame.payload + 8, sizeof count);
            *first = count;
        }
        KL_CHECK_EQ(frame.bytes, bytes_of(count));
        KL_CHECK(fixture_is(frame.payload, frame.bytes, 0, count));
        KL_CHECK_EQ(frame.record_count, 1u);
        count++;
    }
    if (status != KL_ERR_END) fprintf(stderr, "next: %d %s\n", status, kl_status_last());
    KL_CHECK_EQ(status, KL_ERR_END);
    kl_log_reader_close(reader);
    return count;
}

static void copy_file(const char *from, const char *to) {
    char buffer[65536];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    KL_CHECK(in != NULL && out != NULL);
    size_t bytes;
    while ((bytes = fread(buffer, 1, sizeof buffer, in)) > 0) fwrite(buffer, 1, bytes, out);
    fclose(in);
    KL_CHECK_EQ(fclose(out), 0);
    KL_CHECK_EQ(chmod(to, 0600), 0);
}

static void empty_folder(const char *path) {
    DIR *folder = opendir(path);
    KL_CHECK(folder != NULL);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
        if (entry->d_name[0] != '.') unlinkat(dirfd(folder), entry->d_name, 0);
    closedir(folder);
}

void fixture_copy(const char *from, const char *to) {
    mkdir(to, 0700);
    chmod(to, 0700);
    empty_folder(to);
    DIR *folder = opendir(from);
    KL_CHECK(folder != NULL);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char a[512], b[512];
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, "LOCK") == 0) continue;
        if (strstr(entry->d_name, ".tmp") != NULL) continue; /* a segment in the making */
        snprintf(a, sizeof a, "%s/%.200s", from, entry->d_name);
        snprintf(b, sizeof b, "%s/%.200s", to, entry->d_name);
        copy_file(a, b);
    }
    closedir(folder);
}

const char *fixture_segment_path(const char *folder, uint64_t number) {
    static _Thread_local char path[512];
    snprintf(path, sizeof path, "%.400s/segment-%016llx.kls", folder, (unsigned long long)number);
    return path;
}

void fixture_quiet(kl_log *log) {
    kl_log_service_remove(log);
    atomic_store(&log->service.wishes, 0);
    kl_log_service_add(log);
}

void fixture_forget_ring(const char *folder) {
    kl_folder *opened = NULL;
    kl_manifest *manifest = NULL;
    kl_manifest_spec spec = {.kind = KL_LOG_MANIFEST_KIND, .flags = KL_MANIFEST_READ_ONLY};
    KL_CHECK_EQ(kl_folder_open(&opened, folder, KL_FOLDER_READ_ONLY), KL_OK);
    KL_CHECK_EQ(
        kl_manifest_open(&manifest, kl_folder_fd(opened), KL_LOG_MANIFEST_NAME, &spec, NULL),
        KL_OK);
    kl_log_ring_remove(kl_manifest_uuid(manifest));
    kl_manifest_close(manifest);
    kl_folder_close(opened);
}
