#include "file/manifest.h"

#include "base/checksum.h"
#include "base/handle.h"
#include "base/random.h"
#include "file/device_faults.h"
#include "tests/c/harness.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define KIND       7u
#define FILE_BYTES 8192u

static const uint8_t uuid[16] = {16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
static const uint8_t other_uuid[16] = {1, 2, 3};

static int open_folder(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    KL_CHECK_LE(0, fd);
    return fd;
}

/* For tests that look at bytes only: in memory, where a sync costs nothing. */
static const char *memory_folder(void) {
    const char *before = getenv("TMPDIR");
    char kept[256];
    snprintf(kept, sizeof kept, "%s", before != NULL ? before : "");
    if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 1);
    const char *folder = kl_test_folder();
    if (before != NULL) {
        setenv("TMPDIR", kept, 1);
    } else {
        unsetenv("TMPDIR");
    }
    return folder;
}

static int32_t open_as(kl_manifest **out, int folder, uint32_t flags, kl_manifest_report *report) {
    kl_manifest_spec spec = {.kind = KIND, .flags = flags, .uuid = uuid};
    return kl_manifest_open(out, folder, "manifest", &spec, report);
}

static kl_manifest *open_good(int folder, uint32_t flags) {
    kl_manifest *manifest = NULL;
    kl_manifest_report report;
    KL_CHECK_EQ(open_as(&manifest, folder, flags, &report), KL_OK);
    KL_CHECK(!report.fell_back);
    return manifest;
}

/* The file as a test wants it. */
static void put_file(int folder, const uint8_t *bytes, size_t count) {
    int fd = openat(folder, "manifest", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    KL_CHECK_EQ(write(fd, bytes, count), (ssize_t)count);
    close(fd);
}

static void get_file(int folder, uint8_t *bytes) {
    int fd = openat(folder, "manifest", O_RDONLY);
    KL_CHECK_EQ(read(fd, bytes, FILE_BYTES), FILE_BYTES);
    close(fd);
}

static void check_payload(kl_manifest *manifest, const char *expected) {
    char payload[KL_MANIFEST_PAYLOAD_BYTES_MAX];
    int32_t bytes = kl_manifest_read(manifest, payload, sizeof payload);
    KL_CHECK_EQ(bytes, (int32_t)strlen(expected));
    KL_CHECK_BYTES(payload, expected, strlen(expected));
}

KL_TEST(kl_manifest_gives_back_the_last_payload_after_reopen) {
    int folder = open_folder(kl_test_folder());
    kl_manifest *manifest = NULL;
    kl_manifest_report report;
    char payload[8];
    KL_CHECK_EQ(open_as(&manifest, folder, 0, &report), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(open_as(&manifest, folder, KL_MANIFEST_CREATE, &report), KL_OK);
    KL_CHECK(report.created && !report.fell_back);
    KL_CHECK_BYTES(kl_manifest_uuid(manifest), uuid, 16);
    KL_CHECK_EQ(kl_manifest_read(manifest, payload, sizeof payload), KL_ERR_NOT_FOUND);
    kl_manifest_close(manifest);
    kl_manifest_close(NULL);
    for (uint64_t i = 1; i <= 7; i++) {
        manifest = open_good(folder, i % 2 ? 0 : KL_MANIFEST_CREATE);
        KL_CHECK_EQ(kl_manifest_sequence(manifest), i - 1);
        snprintf(payload, sizeof payload, "n%llu", (unsigned long long)i);
        KL_CHECK_EQ(kl_manifest_write(manifest, payload, strlen(payload)), KL_OK);
        check_payload(manifest, payload);
        kl_manifest_close(manifest);
        manifest = open_good(folder, 0);
        check_payload(manifest, payload);
        KL_CHECK_EQ(kl_manifest_sequence(manifest), i);
        kl_manifest_close(manifest);
    }
    close(folder);
}

KL_TEST(kl_manifest_takes_empty_and_full_payloads_and_names_the_limit) {
    int folder = open_folder(kl_test_folder());
    kl_manifest *manifest = open_good(folder, KL_MANIFEST_CREATE);
    static uint8_t in[KL_MANIFEST_PAYLOAD_BYTES_MAX + 1], out[KL_MANIFEST_PAYLOAD_BYTES_MAX];
    memset(in, 0xA5, sizeof in);
    KL_CHECK_EQ(kl_manifest_write(manifest, in, KL_MANIFEST_PAYLOAD_BYTES_MAX), KL_OK);
    KL_CHECK_EQ(kl_manifest_read(manifest, out, sizeof out), KL_MANIFEST_PAYLOAD_BYTES_MAX);
    KL_CHECK_BYTES(in, out, sizeof out);
    KL_CHECK_EQ(kl_manifest_read(manifest, out, 100), KL_ERR_LIMIT);
    KL_CHECK_EQ(kl_manifest_write(manifest, in, sizeof in), KL_ERR_LIMIT);
    KL_CHECK_CONTAINS(kl_status_last(), "at most 4032");
    KL_CHECK_EQ(kl_manifest_write(manifest, NULL, 0), KL_OK);
    KL_CHECK_EQ(kl_manifest_read(manifest, out, 0), 0);
    kl_manifest_close(manifest);
    manifest = open_good(folder, 0);
    KL_CHECK_EQ(kl_manifest_read(manifest, NULL, 0), 0);
    kl_manifest_close(manifest);
    close(folder);
}

KL_TEST(kl_manifest_create_makes_private_whole_files_only) {
    const char *path = kl_test_folder();
    int folder = open_folder(path);
    kl_manifest_spec spec = {.kind = KIND, .flags = KL_MANIFEST_CREATE | KL_MANIFEST_EXCLUSIVE};
    kl_manifest *manifest = NULL;
    kl_device_faults *faults = kl_device_faults_start(NULL, 0, true);
    KL_CHECK_EQ(kl_manifest_open(&manifest, folder, "manifest", &spec, NULL), KL_OK);
    static const uint32_t expected[] = {KL_DEVICE_OP_CREATE, KL_DEVICE_OP_WRITE, KL_DEVICE_OP_SYNC,
                                        KL_DEVICE_OP_RENAME, KL_DEVICE_OP_SYNC_FOLDER};
    size_t count = 0;
    const kl_device_record *records = kl_device_faults_records(faults, &count);
    KL_CHECK_EQ(count, 5);
    for (int i = 0; i < 5; i++) KL_CHECK_EQ(records[i].op, expected[i]);
    kl_device_faults_stop(faults);
    kl_manifest_close(manifest);
    struct stat status;
    KL_CHECK_EQ(fstatat(folder, "manifest", &status, 0), 0);
    KL_CHECK_EQ(status.st_mode & 07777, 0600);
    KL_CHECK_EQ(status.st_size, FILE_BYTES);
    KL_CHECK_EQ(kl_manifest_open(&manifest, folder, "manifest", &spec, NULL), KL_ERR_EXISTS);
    /* What a killed creation left behind is in nobody's way. */
    KL_CHECK_EQ(unlinkat(folder, "manifest", 0), 0);
    close(openat(folder, "manifest.tmp", O_CREAT | O_WRONLY, 0600));
    KL_CHECK_EQ(kl_manifest_open(&manifest, folder, "manifest", &spec, NULL), KL_OK);
    KL_CHECK_EQ(faccessat(folder, "manifest.tmp", F_OK, 0), -1);
    kl_manifest_close(manifest);
    spec.flags = KL_MANIFEST_CREATE | KL_MANIFEST_READ_ONLY;
    KL_CHECK_EQ(kl_manifest_open(&manifest, folder, "manifest", &spec, NULL), KL_ERR_ARGUMENT);
    close(folder);
}

/* ---- the format ---- */

static void read_golden(uint8_t *out) {
    FILE *file = fopen("tests/golden/manifest-v1.klm", "rb");
    KL_CHECK(file != NULL); /* the tests run in the checkout's folder */
    KL_CHECK_EQ(fread(out, 1, FILE_BYTES, file), FILE_BYTES);
    fclose(file);
}

KL_TEST(kl_manifest_encode_gives_the_golden_bytes) {
    uint8_t golden[FILE_BYTES], made[FILE_BYTES], payload[4032];
    read_golden(golden);
    for (size_t i = 0; i < sizeof payload; i++) payload[i] = i < 3840 ? (uint8_t)i : 0;
    kl_manifest_encode(made, 0, KIND, 42, uuid, "state forty-two", 15);
    kl_manifest_encode(made + 4096, 1, KIND, 41, uuid, payload, sizeof payload);
    KL_CHECK_BYTES(made, golden, sizeof golden);
}

KL_TEST(kl_manifest_open_reads_the_golden_file) {
    uint8_t golden[FILE_BYTES];
    read_golden(golden);
    int folder = open_folder(kl_test_folder());
    put_file(folder, golden, sizeof golden);
    kl_manifest *manifest = open_good(folder, 0);
    KL_CHECK_EQ(kl_manifest_sequence(manifest), 42);
    check_payload(manifest, "state forty-two");
    kl_manifest_close(manifest);
    close(folder);
}

KL_TEST(kl_manifest_open_survives_every_flipped_byte) {
    uint8_t golden[FILE_BYTES];
    read_golden(golden);
    int folder = open_folder(memory_folder());
    put_file(folder, golden, sizeof golden);
    int fd = openat(folder, "manifest", O_WRONLY);
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (uint32_t i = 0; i < FILE_BYTES; i++) {
        uint8_t flipped = golden[i] ^ (uint8_t)(1u << kl_random_below(&random, 8));
        KL_CHECK_EQ(pwrite(fd, &flipped, 1, i), 1);
        kl_manifest *manifest = NULL;
        kl_manifest_report report;
        KL_CHECK_EQ(open_as(&manifest, folder, 0, &report), KL_OK);
        KL_CHECK(report.fell_back);
        KL_CHECK_CONTAINS(report.reason, i < 4096 ? "slot A: " : "slot B: ");
        KL_CHECK_EQ(kl_manifest_sequence(manifest), i < 4096 ? 41 : 42);
        kl_manifest_close(manifest);
        KL_CHECK_EQ(pwrite(fd, &golden[i], 1, i), 1);
    }
    close(fd);
    close(folder);
}

KL_TEST(kl_manifest_open_refuses_every_prefix) {
    uint8_t golden[FILE_BYTES];
    read_golden(golden);
    int folder = open_folder(memory_folder());
    put_file(folder, golden, sizeof golden);
    for (uint32_t bytes = FILE_BYTES; bytes-- > 0;) {
        int fd = openat(folder, "manifest", O_WRONLY);
        KL_CHECK_EQ(ftruncate(fd, bytes), 0);
        close(fd);
        kl_manifest *manifest = NULL;
        KL_CHECK_EQ(open_as(&manifest, folder, 0, NULL), KL_ERR_TRUNCATED);
        KL_CHECK(manifest == NULL);
        if (bytes % 1000 == 0) KL_CHECK_CONTAINS(kl_status_last(), "expected 8192");
    }
    close(folder);
}

/* Opens a file made of these two slots; NULL: never written. */
static int32_t open_slots(const uint8_t *a, const uint8_t *b, const uint8_t *wanted_uuid,
                          kl_manifest_report *report, uint64_t *sequence) {
    static uint8_t file[FILE_BYTES];
    memset(file, 0, sizeof file);
    if (a != NULL) memcpy(file, a, 4096);
    if (b != NULL) memcpy(file + 4096, b, 4096);
    int folder = open_folder(kl_test_folder());
    put_file(folder, file, sizeof file);
    kl_manifest_spec spec = {.kind = KIND, .uuid = wanted_uuid};
    kl_manifest *manifest = NULL;
    int32_t status = kl_manifest_open(&manifest, folder, "manifest", &spec, report);
    *sequence = status == KL_OK ? kl_manifest_sequence(manifest) : UINT64_MAX;
    kl_manifest_close(manifest);
    close(folder);
    return status;
}

KL_TEST(kl_manifest_open_takes_the_newest_of_two_slots) {
    uint8_t a[4096], b[4096];
    kl_manifest_report report;
    uint64_t sequence;
    kl_manifest_encode(a, 0, KIND, 8, uuid, "a", 1);
    kl_manifest_encode(b, 1, KIND, 9, uuid, "b", 1);
    KL_CHECK_EQ(open_slots(a, b, uuid, &report, &sequence), KL_OK);
    KL_CHECK_EQ(sequence, 9);
    KL_CHECK(!report.fell_back);
    kl_manifest_encode(b, 1, KIND, 3, uuid, "b", 1); /* an old copy came back */
    KL_CHECK_EQ(open_slots(a, b, uuid, &report, &sequence), KL_OK);
    KL_CHECK_EQ(sequence, 8);
    KL_CHECK(report.fell_back);
    KL_CHECK_TEXT(report.reason, "slot B holds sequence 3, expected 7");
    KL_CHECK_EQ(open_slots(a, NULL, uuid, &report, &sequence), KL_OK);
    KL_CHECK(report.fell_back); /* sequence 7 must have been there */
    kl_manifest_encode(a, 0, KIND, 0, uuid, NULL, 0);
    KL_CHECK_EQ(open_slots(a, NULL, uuid, &report, &sequence), KL_OK);
    KL_CHECK(!report.fell_back);
    kl_manifest_encode(a, 0, KIND, UINT64_MAX - 1, uuid, NULL, 0);
    kl_manifest_encode(b, 1, KIND, UINT64_MAX, uuid, NULL, 0);
    KL_CHECK_EQ(open_slots(a, b, uuid, &report, &sequence), KL_OK);
    KL_CHECK_EQ(sequence, UINT64_MAX);
}

KL_TEST(kl_manifest_open_finds_misplaced_and_mixed_slots) {
    uint8_t a[4096], b[4096];
    kl_manifest_report report;
    uint64_t sequence;
    kl_manifest_encode(a, 0, KIND, 8, uuid, "a", 1);
    kl_manifest_encode(b, 1, KIND, 9, uuid, "b", 1);
    /* the other slot's bytes: the seed knows the place */
    KL_CHECK_EQ(open_slots(b, a, uuid, &report, &sequence), KL_ERR_CORRUPT);
    KL_CHECK_CONTAINS(kl_status_last(), "slot A at 0: checksum");
    KL_CHECK_CONTAINS(kl_status_last(), "slot B at 4096: checksum");
    KL_CHECK_CONTAINS(kl_status_last(), "/manifest");
    /* the right seed, but a number that belongs into the other slot */
    kl_manifest_encode(b, 1, KIND, 10, uuid, "b", 1);
    KL_CHECK_EQ(open_slots(a, b, uuid, &report, &sequence), KL_OK);
    KL_CHECK_EQ(sequence, 8);
    KL_CHECK_CONTAINS(report.reason, "belongs into the other slot");
    /* a slot of another file */
    kl_manifest_encode(b, 1, KIND, 9, other_uuid, "b", 1);
    KL_CHECK_EQ(open_slots(a, b, NULL, &report, &sequence), KL_ERR_CORRUPT);
    KL_CHECK_CONTAINS(kl_status_last(), "different uuids");
    KL_CHECK_EQ(open_slots(a, b, uuid, &report, &sequence), KL_OK);
    KL_CHECK_EQ(sequence, 8);
    KL_CHECK(report.fell_back);
    KL_CHECK_EQ(open_slots(NULL, NULL, uuid, &report, &sequence), KL_ERR_CORRUPT);
    KL_CHECK_CONTAINS(kl_status_last(), "never written");
}

/* Gives a slot a payload length that cannot be, with a checksum that fits: what only a bug or an
 * attacker writes. The seed is as in the format's page. */
static void forge_payload_bytes(uint8_t *slot, uint32_t index, uint32_t bytes) {
    memcpy(slot + 24, &bytes, 4);
    memset(slot + 28, 0, 4);
    uint32_t crc = kl_crc32c(0, slot + 32, 16);
    crc = kl_crc32c(crc, &index, 4);
    crc = kl_crc32c(crc, slot, 4096);
    memcpy(slot + 28, &crc, 4);
}

KL_TEST(kl_manifest_open_bounds_a_forged_length) {
    uint8_t a[4096];
    kl_manifest_report report;
    uint64_t sequence;
    kl_manifest_encode(a, 0, KIND, 8, uuid, "a", 1);
    forge_payload_bytes(a, 0, 4033);
    KL_CHECK_EQ(open_slots(a, NULL, uuid, &report, &sequence), KL_ERR_CORRUPT);
    KL_CHECK_CONTAINS(kl_status_last(), "4033 payload bytes, at most 4032");
    forge_payload_bytes(a, 0, UINT32_MAX);
    KL_CHECK_EQ(open_slots(a, NULL, uuid, &report, &sequence), KL_ERR_CORRUPT);
}

KL_TEST(kl_manifest_open_tells_foreign_and_newer_files_apart) {
    uint8_t a[4096], b[4096], text[FILE_BYTES];
    kl_manifest_report report;
    uint64_t sequence;
    kl_manifest_encode(a, 0, KIND + 1, 8, uuid, "a", 1);
    KL_CHECK_EQ(open_slots(a, NULL, uuid, &report, &sequence), KL_ERR_FOREIGN);
    KL_CHECK_CONTAINS(kl_status_last(), "kind 8, expected 7");
    kl_manifest_encode(a, 0, KIND, 8, other_uuid, "a", 1);
    KL_CHECK_EQ(open_slots(a, NULL, uuid, &report, &sequence), KL_ERR_FOREIGN);
    KL_CHECK_CONTAINS(kl_status_last(), "uuid 01020300");
    memset(text, 'x', sizeof text);
    KL_CHECK_EQ(open_slots(text, text, uuid, &report, &sequence), KL_ERR_FOREIGN);
    KL_CHECK_CONTAINS(kl_status_last(), "not a Keelson manifest");
    /* A newer build wrote one slot; an older one must not fall back to the other. */
    kl_manifest_encode(a, 0, KIND, 8, uuid, "a", 1);
    kl_manifest_encode(b, 1, KIND, 9, uuid, "b", 1);
    uint32_t version = 2, bytes;
    memcpy(b + 8, &version, 4);
    memcpy(&bytes, b + 24, 4);
    forge_payload_bytes(b, 1, bytes);
    KL_CHECK_EQ(open_slots(a, b, uuid, &report, &sequence), KL_ERR_VERSION);
    KL_CHECK_CONTAINS(kl_status_last(), "version 2, this build knows 1");
    int folder = open_folder(kl_test_folder());
    put_file(folder, text, 100);
    kl_manifest *manifest;
    KL_CHECK_EQ(open_as(&manifest, folder, KL_MANIFEST_CREATE, NULL), KL_ERR_FOREIGN);
    put_file(folder, text, 0);
    KL_CHECK_EQ(open_as(&manifest, folder, KL_MANIFEST_CREATE, NULL), KL_ERR_TRUNCATED);
    close(folder);
}

/* ---- a failing disk ---- */

KL_TEST(kl_manifest_create_leaves_nothing_when_any_step_fails) {
    bool hit = true;
    for (uint64_t n = 1; hit; n++) {
        int folder = open_folder(kl_test_folder());
        kl_manifest *manifest = NULL;
        kl_device_fault fault = {.ops = KL_DEVICE_OPS_CHANGING, .at_call = n, .error = ENOSPC};
        kl_device_faults *faults = kl_device_faults_start(&fault, 1, false);
        int32_t status = open_as(&manifest, folder, KL_MANIFEST_CREATE, NULL);
        hit = kl_device_faults_hits(faults, 0) > 0;
        kl_device_faults_stop(faults);
        KL_CHECK_EQ(status, hit ? KL_ERR_NO_SPACE : KL_OK);
        KL_CHECK_EQ(faccessat(folder, "manifest", F_OK, 0), hit ? -1 : 0);
        KL_CHECK_EQ(faccessat(folder, "manifest.tmp", F_OK, 0), -1);
        kl_manifest_close(manifest);
        close(folder);
    }
}

static void check_write_with_fault(uint64_t n, bool after, bool *hit) {
    int folder = open_folder(kl_test_folder());
    kl_manifest *manifest = open_good(folder, KL_MANIFEST_CREATE);
    KL_CHECK_EQ(kl_manifest_write(manifest, "old", 3), KL_OK);
    kl_device_fault fault = {
        .ops = KL_DEVICE_OPS_CHANGING, .at_call = n, .error = EIO, .after = after};
    kl_device_faults *faults = kl_device_faults_start(&fault, 1, false);
    int32_t status = kl_manifest_write(manifest, "new", 3);
    *hit = kl_device_faults_hits(faults, 0) > 0;
    KL_CHECK_EQ(status, *hit ? KL_ERR_IO : KL_OK);
    check_payload(manifest, *hit ? "old" : "new");
    if (*hit) KL_CHECK_EQ(kl_manifest_write(manifest, "again", 5), KL_ERR_IO);
    kl_device_faults_stop(faults);
    kl_manifest_close(manifest);
    manifest = open_good(folder, 0);
    char payload[8];
    KL_CHECK_EQ(kl_manifest_read(manifest, payload, sizeof payload), 3);
    KL_CHECK(memcmp(payload, "old", 3) == 0 || memcmp(payload, "new", 3) == 0);
    if (!*hit) KL_CHECK_BYTES(payload, "new", 3);
    KL_CHECK_EQ(kl_manifest_write(manifest, "later", 5), KL_OK);
    kl_manifest_close(manifest);
    close(folder);
}

KL_TEST(kl_manifest_write_is_old_or_new_when_any_step_fails) {
    for (int after = 0; after < 2; after++) {
        bool hit = true;
        for (uint64_t n = 1; hit; n++) check_write_with_fault(n, after == 1, &hit);
    }
}

KL_TEST(kl_manifest_open_falls_back_from_a_torn_write) {
    /* Every 512-byte sector of the slot is old or new: sampled, as a power cut leaves it. */
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    uint8_t old[FILE_BYTES], new[FILE_BYTES], torn[FILE_BYTES];
    int folder = open_folder(kl_test_folder());
    kl_manifest *manifest = open_good(folder, KL_MANIFEST_CREATE);
    char payload[4000];
    for (char fill = 'a'; fill < 'd'; fill++) {
        memset(payload, fill, sizeof payload);
        memcpy(old, new, sizeof old);
        KL_CHECK_EQ(kl_manifest_write(manifest, payload, sizeof payload), KL_OK);
        get_file(folder, new);
    }
    kl_manifest_close(manifest);
    for (int round = 0; round < 100; round++) {
        uint64_t bits = kl_random_u64(&random);
        for (uint32_t sector = 0; sector < 16; sector++)
            memcpy(torn + sector * 512, (bits >> sector & 1 ? new : old) + sector * 512, 512);
        put_file(folder, torn, sizeof torn);
        manifest = NULL;
        kl_manifest_report report;
        KL_CHECK_EQ(open_as(&manifest, folder, 0, &report), KL_OK);
        KL_CHECK_EQ(kl_manifest_read(manifest, payload, sizeof payload), (int32_t)sizeof payload);
        for (size_t i = 1; i < sizeof payload; i++) KL_CHECK_EQ(payload[i], payload[0]);
        KL_CHECK(payload[0] == 'b' || payload[0] == 'c');
        KL_CHECK_EQ(payload[0] == 'c', memcmp(torn + 4096, new + 4096, 4096) == 0);
        KL_CHECK_EQ(kl_manifest_write(manifest, "after", 5), KL_OK);
        kl_manifest_close(manifest);
        manifest = open_good(folder, 0);
        check_payload(manifest, "after");
        kl_manifest_close(manifest);
    }
    close(folder);
}

/* ---- processes ---- */

typedef struct {
    int folder;
    _Atomic uint64_t *acknowledged; /* shared with the child */
} killed_writer;

static int write_for_ever(void *argument) {
    killed_writer *it = argument;
    kl_manifest *manifest = NULL;
    if (open_as(&manifest, it->folder, KL_MANIFEST_CREATE, NULL) != KL_OK) return 1;
    for (uint64_t n = *it->acknowledged + 1;; n++) {
        if (kl_manifest_write(manifest, &n, sizeof n) != KL_OK) return 2;
        *it->acknowledged = n;
    }
}

KL_TEST(kl_manifest_keeps_what_it_acknowledged_when_its_process_is_killed) {
    killed_writer it = {.folder = open_folder(kl_test_folder())};
    it.acknowledged = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (int round = 0; round < 50; round++) {
        int pid = kl_test_fork(write_for_ever, &it);
        usleep((useconds_t)kl_random_below(&random, 8000));
        KL_CHECK_EQ(kill(pid, SIGKILL), 0);
        KL_CHECK_EQ(kl_test_join(pid), 128 + SIGKILL);
        kl_manifest *manifest = NULL;
        kl_manifest_report report;
        int32_t status = open_as(&manifest, it.folder, 0, &report);
        if (status == KL_ERR_NOT_FOUND && *it.acknowledged == 0) continue;
        KL_CHECK_EQ(status, KL_OK);
        uint64_t found = 0;
        status = kl_manifest_read(manifest, &found, sizeof found);
        KL_CHECK(status == (int32_t)sizeof found || *it.acknowledged == 0);
        KL_CHECK(found == *it.acknowledged || found == *it.acknowledged + 1);
        *it.acknowledged = found;
        kl_manifest_close(manifest);
    }
    KL_CHECK_LT(0, *it.acknowledged);
    munmap(it.acknowledged, 4096);
    close(it.folder);
}

static int32_t read_while_written(int folder, uint64_t *last) {
    kl_manifest *manifest = NULL;
    kl_manifest_spec spec = {.kind = KIND, .flags = KL_MANIFEST_READ_ONLY};
    int32_t status = kl_manifest_open(&manifest, folder, "manifest", &spec, NULL);
    for (int i = 0; status >= 0 && i < 300; i++) {
        uint64_t now = 0;
        status = kl_manifest_read(manifest, &now, sizeof now);
        if (status >= 0 && now < *last) status = KL_ERR_BUG; /* went back */
        *last = now;
    }
    kl_manifest_close(manifest);
    return status;
}

KL_TEST(kl_manifest_read_only_follows_a_writer) {
    killed_writer it = {.folder = open_folder(kl_test_folder())};
    it.acknowledged = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int pid = kl_test_fork(write_for_ever, &it);
    while (*it.acknowledged == 0) usleep(1000);
    uint64_t first = *it.acknowledged, last = 0;
    int32_t status = read_while_written(it.folder, &last);
    KL_CHECK_EQ(kill(pid, SIGKILL), 0);
    KL_CHECK_EQ(kl_test_join(pid), 128 + SIGKILL);
    KL_CHECK_EQ(status, (int32_t)sizeof last);
    KL_CHECK_LE(first, last);
    munmap(it.acknowledged, 4096);
    close(it.folder);
}

static void write_some(void *argument, uint32_t index) {
    for (uint32_t i = 0; i < 10; i++) {
        uint32_t payload[2] = {index, index};
        KL_CHECK_EQ(kl_manifest_write(argument, payload, sizeof payload), KL_OK);
        KL_CHECK_EQ(kl_manifest_read(argument, payload, sizeof payload), 8);
        KL_CHECK_EQ(payload[0], payload[1]);
    }
}

KL_TEST(kl_manifest_write_from_many_threads_takes_turns) {
    int folder = open_folder(kl_test_folder());
    kl_manifest *manifest = open_good(folder, KL_MANIFEST_CREATE);
    kl_test_threads(4, write_some, manifest);
    KL_CHECK_EQ(kl_manifest_sequence(manifest), 40);
    kl_manifest_close(manifest);
    close(folder);
}

/* ---- the FFI ---- */

KL_TEST(kl_manifest_handle_reads_and_writes_and_refuses_all_else) {
    char path[4096];
    snprintf(path, sizeof path, "%s/state", kl_test_folder());
    const uint8_t *utf8 = (const uint8_t *)path;
    uint32_t bytes = (uint32_t)strlen(path);
    uint8_t out[16];
    KL_CHECK_EQ((int32_t)kl_manifest_handle_open(utf8, bytes, KIND, 0), KL_ERR_NOT_FOUND);
    double opened = kl_manifest_handle_open(utf8, bytes, KIND, KL_MANIFEST_CREATE);
    KL_CHECK(opened > 0);
    uint32_t handle = (uint32_t)opened;
    KL_CHECK_EQ(kl_manifest_handle_read(handle, out, sizeof out), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_manifest_handle_write(handle, (const uint8_t *)"hello", 5), KL_OK);
    KL_CHECK_EQ(kl_manifest_handle_read(handle, out, sizeof out), 5);
    KL_CHECK_BYTES(out, "hello", 5);
    KL_CHECK_EQ(kl_manifest_handle_write(handle, NULL, 5), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_manifest_handle_read(handle, NULL, 5), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_manifest_handle_write(handle, out, 5000), KL_ERR_LIMIT);
    KL_CHECK_EQ(kl_manifest_handle_close(handle), KL_OK);
    KL_CHECK_EQ(kl_manifest_handle_close(handle), KL_ERR_HANDLE);
    KL_CHECK_EQ(kl_manifest_handle_read(handle, out, sizeof out), KL_ERR_HANDLE);
    KL_CHECK_EQ(kl_manifest_handle_write(handle, out, 1), KL_ERR_HANDLE);
    KL_CHECK_EQ((int32_t)kl_manifest_handle_open(utf8, bytes, KIND + 1, 0), KL_ERR_FOREIGN);
    KL_CHECK_EQ((int32_t)kl_manifest_handle_open(utf8, 0, KIND, 0), KL_ERR_NAME);
    static const char *const bad[] = {"/", "/x", "a/..", "a/"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        KL_CHECK_EQ((int32_t)kl_manifest_handle_open((const uint8_t *)bad[i],
                                                     (uint32_t)strlen(bad[i]), KIND, 1),
                    KL_ERR_NAME);
    KL_CHECK_EQ(kl_handle_live(KL_HANDLE_MANIFEST), 0);
}
