#include "tests/c/fuzz/log_open.h"

#include "base/checksum.h"
#include "log/durable_log.h"
#include "log/log_frame.h"
#include "log/log_reader.h"
#include "log/log_repair.h"
#include "log/log_state.h"
#include "log/log_verify.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENTS      3u
#define SEGMENT_BYTES (64u << 10)
#define RECORDS       150u

static const kl_log_options OPTIONS = {.segment_bytes = SEGMENT_BYTES,
                                       .ring_bytes = 64u << 10,
                                       .flags = KL_LOG_CREATE | KL_LOG_NO_RING};

static uint8_t manifest_file[2 * 4096];
static uint8_t segment_files[SEGMENTS][SEGMENT_BYTES];
static uint8_t uuid[16];
static char folder[64];

#define MUST(x) ((x) ? (void)0 : must_fail(__LINE__, #x))

static void must_fail(int line, const char *what) {
    fprintf(stderr, "log_open.c:%d: %s: %s\n", line, what, kl_status_last());
    abort();
}

static const char *path_of(const char *name) {
    static char paths[4][160];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static const char *segment_path(uint32_t number) {
    char name[64];
    snprintf(name, sizeof name, "segment-%016x.kls", number);
    return path_of(name);
}

static void read_file(const char *path, uint8_t *out, size_t bytes) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    MUST(fd >= 0 && read(fd, out, bytes) == (ssize_t)bytes);
    close(fd);
}

static void write_file(const char *path, const uint8_t *data, size_t bytes) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    MUST(fd >= 0 && write(fd, data, bytes) == (ssize_t)bytes);
    close(fd);
}

static void remove_files(const char *path) {
    DIR *opened = opendir(path);
    if (opened == NULL) return;
    for (struct dirent *entry; (entry = readdir(opened)) != NULL;) {
        char name[400];
        if (entry->d_name[0] == '.') continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (unlink(name) == 0) continue;
        remove_files(name); /* `dropped`, which has no folder in it */
        (void)rmdir(name);
    }
    closedir(opened);
}

static void empty_folder(void) {
    remove_files(folder);
    (void)mkdir(folder, 0700);
}

static void remove_folder(void) {
    remove_files(folder);
    (void)rmdir(folder);
}

/* The good log that every input changes. */
static void make_good(void) {
    kl_log *log = NULL;
    uint8_t record[1100];
    snprintf(folder, sizeof folder, "/dev/shm/keelson-fuzz-%d", (int)getpid());
    empty_folder();
    atexit(remove_folder);
    MUST(kl_log_open(&log, folder, &OPTIONS) == KL_OK);
    for (uint32_t i = 0; i < RECORDS; i++) {
        memset(record, (int)i, sizeof record);
        kl_span part = {record, 100 + i * 7 % 1000};
        MUST(kl_log_append(log, i % 3 == 0 ? KL_LOG_BATCH : KL_LOG_RECORD, &part, 1, 1) >= 0);
        if (i % 20 == 19) MUST(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER) == KL_OK);
    }
    kl_log_uuid(log, uuid);
    MUST(kl_log_close(log) == KL_OK);
    read_file(path_of(KL_LOG_MANIFEST_NAME), manifest_file, sizeof manifest_file);
    for (uint32_t i = 0; i < SEGMENTS; i++) {
        if (access(segment_path(i), F_OK) != 0) {
            MUST(i == SEGMENTS - 1);
            kl_segment_encode(segment_files[i], uuid, i,
                              i * (uint64_t)(SEGMENT_BYTES - KL_SEGMENT_HEADER_BYTES),
                              SEGMENT_BYTES);
            continue;
        }
        read_file(segment_path(i), segment_files[i], SEGMENT_BYTES);
    }
}

/* Gives every frame that still looks like one a good checksum: behind that the real checks wait. */
static void seal(uint8_t segments[SEGMENTS][SEGMENT_BYTES]) {
    const uint32_t data_bytes = SEGMENT_BYTES - KL_SEGMENT_HEADER_BYTES;
    static uint8_t stream[SEGMENTS * SEGMENT_BYTES];
    uint32_t seed = kl_log_frame_seed(uuid);
    for (uint32_t i = 0; i < SEGMENTS; i++)
        memcpy(stream + i * data_bytes, segments[i] + KL_SEGMENT_HEADER_BYTES, data_bytes);
    for (uint64_t at = 0; at + KL_LOG_FRAME_HEADER <= SEGMENTS * data_bytes;) {
        kl_log_frame_header header;
        memcpy(&header, stream + at, sizeof header);
        uint64_t total = kl_log_frame_total(header.bytes);
        if (!kl_log_frame_plausible(&header, at) || total > SEGMENTS * data_bytes - at) break;
        uint32_t crc = kl_log_frame_begin(seed, at, &header);
        crc = kl_crc32c(crc, stream + at + sizeof header, (size_t)(total - sizeof header));
        memcpy(stream + at, &crc, sizeof crc);
        at += total;
    }
    for (uint32_t i = 0; i < SEGMENTS; i++)
        memcpy(segments[i] + KL_SEGMENT_HEADER_BYTES, stream + i * data_bytes, data_bytes);
}

static void lay_out(const uint8_t *input, size_t bytes) {
    static uint8_t manifest[sizeof manifest_file], segments[SEGMENTS][SEGMENT_BYTES];
    uint32_t sizes[SEGMENTS] = {SEGMENT_BYTES, SEGMENT_BYTES, SEGMENT_BYTES};
    bool sealed = false;
    memcpy(manifest, manifest_file, sizeof manifest);
    memcpy(segments, segment_files, sizeof segments);
    while (bytes >= 6) {
        uint32_t file = input[0] % 8, count = input[1], offset;
        memcpy(&offset, input + 2, sizeof offset);
        input += 6;
        bytes -= 6;
        if (count > bytes) count = (uint32_t)bytes;
        uint8_t *target = file == 0 ? manifest : segments[(file - 1) % SEGMENTS];
        uint32_t size = file == 0 ? (uint32_t)sizeof manifest : SEGMENT_BYTES;
        offset %= size;
        if (file == 7) {
            sizes[count % SEGMENTS] = offset;
        } else {
            if (count > size - offset) count = size - offset;
            memcpy(target + offset, input, count);
            sealed |= file >= 4;
        }
        input += count;
        bytes -= count;
    }
    if (sealed) seal(segments);
    empty_folder();
    write_file(path_of(KL_LOG_MANIFEST_NAME), manifest, sizeof manifest);
    for (uint32_t i = 0; i < SEGMENTS; i++)
        if (sizes[i] > 0) write_file(segment_path(i), segments[i], sizes[i]);
}

static void read_through(void) {
    for (uint32_t flags = 0; flags < 4; flags++) {
        kl_log_reader *reader = NULL;
        kl_log_frame frame;
        uint64_t before = 0, frames = 0;
        int32_t status = kl_log_reader_open(&reader, folder, 0, flags);
        while (status == KL_OK && (status = kl_log_reader_next(reader, &frame)) == KL_OK) {
            MUST(frame.address >= before && frame.next_address > frame.address);
            MUST(frame.next_address - frame.address == kl_log_frame_total(frame.bytes));
            before = frame.next_address;
            volatile uint8_t touched = frame.bytes > 0 ? frame.payload[frame.bytes - 1] : 0;
            (void)touched;
            MUST(++frames < SEGMENTS * SEGMENT_BYTES);
        }
        kl_log_reader_close(reader);
    }
}

/* Answers whether it could be opened. */
static bool open_and_use(uint32_t recovery) {
    kl_log *log = NULL;
    kl_log_options options = OPTIONS;
    options.recovery = recovery;
    if (kl_log_open(&log, folder, &options) != KL_OK) return false;
    MUST(kl_log_durable(log) == kl_log_tail(log));
    kl_span part = {"after", 5};
    int64_t address = kl_log_append(log, KL_LOG_RECORD, &part, 1, 1);
    MUST(address >= (int64_t)kl_log_first(log));
    MUST(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER) == KL_OK);
    MUST(kl_log_close(log) == KL_OK);
    read_through();
    return true;
}

void fuzz_log_open(const uint8_t *input, size_t bytes) {
    kl_log_summary summary;
    kl_log_repair_summary mended;
    if (folder[0] == '\0') make_good();
    lay_out(input, bytes);
    (void)kl_log_verify(folder, NULL, NULL, &summary);
    read_through();
    (void)open_and_use(KL_LOG_TOLERATE_TAIL);
    for (uint32_t flags = KL_LOG_REPAIR_SKIP; flags <= KL_LOG_REPAIR_POINT_IN_TIME; flags++) {
        lay_out(input, bytes);
        (void)kl_log_repair(folder, flags | KL_LOG_REPAIR_DRY_RUN, NULL, NULL, &mended);
        if (kl_log_repair(folder, flags, NULL, NULL, &mended) != KL_OK) continue;
        MUST(kl_log_verify(folder, NULL, NULL, &summary) == KL_OK);
        MUST(summary.problem_count == 0);
        MUST(open_and_use(KL_LOG_TOLERATE_TAIL));
    }
}
