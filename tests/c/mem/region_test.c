#include "base/checksum.h"
#include "base/random.h"
#include "mem/region.h"
#include "tests/c/harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define KIND   0x7e57u
#define LAYOUT 0x1a40b7u

static const kl_region_spec SPEC = {.kind = KIND, .layout_hash = LAYOUT};

/* A path in the test's own folder. The text is overwritten by the next call but three. */
static const char *test_path(const char *name) {
    static char folder[300], paths[4][400];
    static int next;
    if (access(folder, F_OK) != 0) snprintf(folder, sizeof folder, "%s", kl_test_folder());
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static kl_region *make(const char *path, uint64_t bytes) {
    kl_region *region = NULL;
    KL_CHECK_EQ(kl_region_create(&region, path, bytes, &SPEC), KL_OK);
    KL_CHECK_EQ(kl_region_publish(region), KL_OK);
    return region;
}

static int count_files(const char *folder) {
    DIR *listing = opendir(folder);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(listing)) != NULL;)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(listing);
    return count;
}

static int count_files_beside(const char *path) {
    char folder[400];
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = '\0';
    return count_files(folder);
}

/* Attach must answer `status`, with `words` in the detail, and leave nothing mapped. */
static void refuses(const char *path, const kl_region_spec *expect, int32_t status,
                    const char *words) {
    kl_region *region = NULL;
    int32_t answer = kl_region_attach(&region, path, expect);
    if (answer != status) printf("# %s: %s\n", kl_status_name(answer), kl_status_last());
    KL_CHECK_EQ(answer, status);
    KL_CHECK(region == NULL);
    KL_CHECK_CONTAINS(kl_status_last(), words);
    KL_CHECK(strchr(kl_status_last(), '\n') == NULL);
}

/* ---- names ---- */

KL_TEST(kl_region_name_path_takes_plain_names_only) {
    static const char *const good[] = {"a", "_", "0", "orders", "orders-2.log", "A.b-c_d", "9..9"};
    static const char *const bad[] = {
        "",     ".",    "..", "../x",     "a/b",          "/a",   "-rf", ".a",    "a b",
        "a\nb", "a\tb", "a*", "\xc3\xa9", "\xef\xbc\xa1", "a\\b", "a:b", "a\x7f", "\x01"};
    char path[400], expected[400], long_name[301];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        KL_CHECK_EQ(kl_region_name_path(good[i], path, sizeof path), KL_OK);
        snprintf(expected, sizeof expected, "/dev/shm/keelson-%u/%s", (unsigned)geteuid(), good[i]);
        KL_CHECK_TEXT(path, expected);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        KL_CHECK_EQ(kl_region_name_path(bad[i], path, sizeof path), KL_ERR_NAME);
    KL_CHECK_CONTAINS(kl_status_last(), "1 to 128 letters");
    memset(long_name, 'a', 300);
    long_name[300] = '\0';
    KL_CHECK_EQ(kl_region_name_path(long_name, path, sizeof path), KL_ERR_NAME);
    long_name[128] = '\0';
    KL_CHECK_EQ(kl_region_name_path(long_name, path, sizeof path), KL_OK);
    KL_CHECK_EQ(kl_region_name_path("abc", path, 8), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_region_name_path("abc", path, strlen(expected) - 4), KL_ERR_ARGUMENT);
    struct stat folder;
    snprintf(expected, sizeof expected, "/dev/shm/keelson-%u", (unsigned)geteuid());
    KL_CHECK(stat(expected, &folder) == 0 && (folder.st_mode & 07777) == 0700);
}

KL_TEST(kl_region_works_by_name_in_shared_memory) {
    char name[64], path[400];
    snprintf(name, sizeof name, "region-test-%d", (int)getpid());
    KL_CHECK_EQ(kl_region_name_path(name, path, sizeof path), KL_OK);
    kl_region *region = make(path, 5000), *other;
    strcpy((char *)kl_region_data(region), "hello");
    KL_CHECK_EQ(kl_region_attach(&other, path, &SPEC), KL_OK);
    KL_CHECK_TEXT((char *)kl_region_data(other), "hello");
    KL_CHECK_EQ(kl_region_unlink(path), KL_OK);
    KL_CHECK_EQ(kl_region_unlink(path), KL_ERR_NOT_FOUND);
    strcpy((char *)kl_region_data(other), "still there");
    KL_CHECK_TEXT((char *)kl_region_data(region), "still there");
    kl_region_close(region);
    kl_region_close(other);
}

/* ---- create, publish, attach ---- */

KL_TEST(kl_region_create_gives_zeros_that_nobody_sees_before_publish) {
    const char *path = test_path("r");
    kl_region *region, *other;
    KL_CHECK_EQ(kl_region_create(&region, path, 100000, &SPEC), KL_OK);
    KL_CHECK_EQ(kl_region_data_bytes(region), 100000);
    for (size_t i = 0; i < 100000; i++) KL_CHECK_EQ(kl_region_data(region)[i], 0);
    refuses(path, &SPEC, KL_ERR_NOT_FOUND, path);
    KL_CHECK_EQ(count_files_beside(path), 1);
    kl_region_data(region)[99999] = 42;
    KL_CHECK_EQ(kl_region_publish(region), KL_OK);
    KL_CHECK_EQ(kl_region_publish(region), KL_OK);
    KL_CHECK_EQ(count_files_beside(path), 1);
    KL_CHECK_EQ(kl_region_attach(&other, path, &SPEC), KL_OK);
    KL_CHECK_EQ(kl_region_data_bytes(other), 100000);
    KL_CHECK_EQ(kl_region_data(other)[99999], 42);
    KL_CHECK_BYTES(kl_region_uuid(region), kl_region_uuid(other), 16);
    struct stat file;
    KL_CHECK(stat(path, &file) == 0);
    KL_CHECK_EQ(file.st_mode & 07777, 0600);
    KL_CHECK_EQ(file.st_size, 16384 + 102400);
    KL_CHECK_LE(file.st_size, file.st_blocks * 512); /* every page has its place */
    KL_CHECK_EQ(fcntl(kl_region_fd(region), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    KL_CHECK_EQ(fcntl(kl_region_fd(other), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    kl_region_close(region);
    kl_region_close(other);
    kl_region_close(NULL);
}

KL_TEST(kl_region_create_under_any_umask_is_private) {
    mode_t former = umask(0);
    const char *path = test_path("open");
    kl_region_close(make(path, 1));
    umask(0777);
    const char *closed = test_path("closed");
    kl_region_close(make(closed, 1));
    umask(former);
    struct stat file;
    KL_CHECK(stat(path, &file) == 0 && (file.st_mode & 07777) == 0600);
    KL_CHECK(stat(closed, &file) == 0 && (file.st_mode & 07777) == 0600);
}

KL_TEST(kl_region_close_without_publish_leaves_nothing) {
    const char *path = test_path("r");
    kl_region *region;
    KL_CHECK_EQ(kl_region_create(&region, path, 4096, &SPEC), KL_OK);
    kl_region_close(region);
    KL_CHECK_EQ(count_files_beside(path), 0);
}

KL_TEST(kl_region_publish_never_replaces) {
    const char *path = test_path("r");
    kl_region *first, *second, *third;
    KL_CHECK_EQ(kl_region_create(&first, path, 4096, &SPEC), KL_OK);
    KL_CHECK_EQ(kl_region_create(&second, path, 4096, &SPEC), KL_OK);
    KL_CHECK_EQ(kl_region_publish(first), KL_OK);
    KL_CHECK_EQ(kl_region_publish(second), KL_ERR_EXISTS);
    KL_CHECK_CONTAINS(kl_status_last(), "exists already");
    KL_CHECK_EQ(kl_region_create(&third, path, 4096, &SPEC), KL_ERR_EXISTS);
    KL_CHECK(third == NULL);
    kl_region_close(second);
    KL_CHECK_EQ(count_files_beside(path), 1);
    KL_CHECK_EQ(kl_region_attach(&third, path, &SPEC), KL_OK);
    KL_CHECK_BYTES(kl_region_uuid(first), kl_region_uuid(third), 16);
    kl_region_close(first);
    kl_region_close(third);
}

KL_TEST(kl_region_create_refuses_senseless_sizes_and_paths) {
    kl_region *region;
    const char *path = test_path("r");
    KL_CHECK_EQ(kl_region_create(&region, path, 0, &SPEC), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_region_create(&region, path, UINT64_MAX, &SPEC), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_region_create(&region, path, KL_REGION_BYTES_MAX, &SPEC), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_region_create(&region, test_path("missing/r"), 1, &SPEC), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_region_create(&region, test_path(""), 1, &SPEC), KL_ERR_NAME);
    KL_CHECK_EQ(kl_region_create(&region, test_path("."), 1, &SPEC), KL_ERR_NAME);
    KL_CHECK_EQ(kl_region_create(&region, test_path(".."), 1, &SPEC), KL_ERR_NAME);
    KL_CHECK_EQ(kl_region_create(&region, "/proc/r", 1, &SPEC) < 0, 1);
    KL_CHECK(region == NULL);
    KL_CHECK_EQ(count_files_beside(path), 0);
}

/* Page faults of storing to every page of the data. */
__attribute__((no_sanitize("thread"), no_sanitize("address"))) static long
faults_of_writing(kl_region *region) {
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    for (uint64_t at = 0; at < kl_region_data_bytes(region); at += 4096)
        *(volatile uint8_t *)(kl_region_data(region) + at) = 1;
    getrusage(RUSAGE_SELF, &after);
    return after.ru_minflt - before.ru_minflt;
}

KL_TEST(kl_region_create_and_attach_prefault_every_page) {
    const char *path = test_path("r");
    kl_region_spec spec = SPEC;
    kl_region *region, *other, *lazy;
    KL_CHECK_EQ(kl_region_create(&lazy, NULL, 1024 * 4096, &spec), KL_OK);
    KL_CHECK_LE(1000, faults_of_writing(lazy));
    spec.prefault = true;
    KL_CHECK_EQ(kl_region_create(&region, path, 1024 * 4096, &spec), KL_OK);
    KL_CHECK_LE(faults_of_writing(region), 20);
    KL_CHECK_EQ(kl_region_publish(region), KL_OK);
    kl_region_data(region)[77777] = 7;
    KL_CHECK_EQ(kl_region_attach(&other, path, &spec), KL_OK);
    KL_CHECK_LE(faults_of_writing(other), 20);
    KL_CHECK_EQ(kl_region_data(other)[77777], 7);
    kl_region_close(lazy);
    kl_region_close(region);
    kl_region_close(other);
}

KL_TEST(kl_region_of_a_memfd_is_sealed_and_passed_by_descriptor) {
    kl_region *region, *other;
    KL_CHECK_EQ(kl_region_create(&region, NULL, 8192, &SPEC), KL_OK);
    KL_CHECK_EQ(kl_region_attach_fd(&other, kl_region_fd(region), &SPEC), KL_ERR_CORRUPT);
    KL_CHECK_CONTAINS(kl_status_last(), "never finished");
    KL_CHECK_EQ(kl_region_publish(region), KL_OK);
    KL_CHECK_EQ(kl_region_attach_fd(&other, kl_region_fd(region), &SPEC), KL_OK);
    kl_region_data(region)[8191] = 3;
    KL_CHECK_EQ(kl_region_data(other)[8191], 3);
    KL_CHECK(ftruncate(kl_region_fd(other), 0) != 0 && errno == EPERM);
    KL_CHECK(ftruncate(kl_region_fd(other), 1 << 20) != 0 && errno == EPERM);
    KL_CHECK_EQ(kl_region_join(region, 1), 0);
    KL_CHECK_EQ(kl_region_join(other, 2), 1); /* locks of its own, though the file is the same */
    kl_region_close(region);
    kl_region_close(other);
    int pipes[2];
    KL_CHECK(pipe(pipes) == 0);
    KL_CHECK_EQ(kl_region_attach_fd(&other, pipes[0], &SPEC), KL_ERR_FOREIGN);
    KL_CHECK_EQ(kl_region_attach_fd(&other, 9999, &SPEC), KL_ERR_IO);
    close(pipes[0]);
    close(pipes[1]);
}

/* ---- refusals ---- */

static void write_file(const char *path, const void *bytes, size_t count, off_t at) {
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    KL_CHECK(file >= 0 && pwrite(file, bytes, count, at) == (ssize_t)count);
    close(file);
}

/* Writes an identity with a correct checksum over it: what a forger would do. */
static void forge(const char *path, kl_region_identity identity) {
    identity.crc = kl_crc32c(0, &identity, offsetof(kl_region_identity, crc));
    write_file(path, &identity, sizeof identity, 0);
}

KL_TEST(kl_region_attach_refuses_what_is_not_a_region) {
    refuses(test_path("none"), &SPEC, KL_ERR_NOT_FOUND, "No such file");
    const char *path = test_path("foreign");
    char text[5000];
    memset(text, 'x', sizeof text);
    write_file(path, text, sizeof text, 0);
    refuses(path, &SPEC, KL_ERR_FOREIGN, "not a Keelson region");
    KL_CHECK_EQ(kl_region_unlink(path), KL_ERR_FOREIGN);
    KL_CHECK(truncate(path, 3) == 0);
    refuses(path, &SPEC, KL_ERR_FOREIGN, "not a Keelson region");
    KL_CHECK(truncate(path, 0) == 0);
    refuses(path, &SPEC, KL_ERR_TRUNCATED, "holds 0 bytes");
    KL_CHECK_EQ(kl_region_unlink(path), KL_OK);
    const char *pipe_path = test_path("pipe");
    KL_CHECK(mkfifo(pipe_path, 0600) == 0);
    refuses(pipe_path, &SPEC, KL_ERR_FOREIGN, "not a regular file");
    const char *folder = test_path("folder");
    KL_CHECK(mkdir(folder, 0700) == 0);
    refuses(folder, &SPEC, KL_ERR_FOREIGN, "not a regular file");
    refuses("/dev/null", &SPEC, KL_ERR_FOREIGN, "not a regular file");
    refuses("/proc/self/stat", &SPEC, KL_ERR_PERMISSION, "/proc/self/stat");
}

KL_TEST(kl_region_attach_refuses_links_and_open_modes) {
    const char *path = test_path("r");
    kl_region_close(make(path, 4096));
    const char *symbolic = test_path("symbolic"), *hard = test_path("hard");
    KL_CHECK(symlink(path, symbolic) == 0);
    refuses(symbolic, &SPEC, KL_ERR_PERMISSION, "symbolic link");
    KL_CHECK_EQ(kl_region_unlink(symbolic), KL_ERR_PERMISSION);
    KL_CHECK(link(path, hard) == 0);
    refuses(path, &SPEC, KL_ERR_PERMISSION, "2 names");
    KL_CHECK(unlink(hard) == 0);
    KL_CHECK(chmod(path, 0644) == 0);
    refuses(path, &SPEC, KL_ERR_PERMISSION, "mode 644");
    KL_CHECK(chmod(path, 0620) == 0);
    refuses(path, &SPEC, KL_ERR_PERMISSION, "chmod 600");
    KL_CHECK(chmod(path, 0600) == 0);
    if (geteuid() == 0) {
        KL_CHECK(chown(path, 12345, 0) == 0);
        refuses(path, &SPEC, KL_ERR_PERMISSION, "belongs to user 12345");
        KL_CHECK(chown(path, 0, 0) == 0);
    }
    kl_region *region;
    KL_CHECK_EQ(kl_region_attach(&region, path, &SPEC), KL_OK);
    kl_region_close(region);
}

KL_TEST(kl_region_attach_says_in_which_way_a_header_does_not_fit) {
    const char *path = test_path("r");
    kl_region *region = make(path, 10000);
    kl_region_identity good = region->identity, bad;
    kl_region_close(region);
    kl_region_spec other = SPEC;
    other.kind = 5;
    refuses(path, &other, KL_ERR_FOREIGN, "kind 0x7e57, not of kind 0x5");
    other = SPEC;
    other.layout_hash = 5;
    refuses(path, &other, KL_ERR_LAYOUT, "0x001a40b7, this build has 0x00000005");
    other = SPEC;
    other.uuid[3] = 1;
    refuses(path, &other, KL_ERR_FENCED, "another region");
    bad = good, bad.version = 7;
    forge(path, bad);
    refuses(path, &SPEC, KL_ERR_VERSION, "format 7, this build knows 1");
    bad = good, bad.state = KL_REGION_BUILDING;
    forge(path, bad);
    refuses(path, &SPEC, KL_ERR_CORRUPT, "never finished");
    bad = good, bad.boot_id[15] ^= 1;
    forge(path, bad);
    refuses(path, &SPEC, KL_ERR_FENCED, "from before the last reboot");
    bad = good, bad.total_bytes += 4096;
    forge(path, bad);
    refuses(path, &SPEC, KL_ERR_TRUNCATED, "holds 28672 bytes, its header promises 32768");
    bad = good, bad.total_bytes -= 4096, bad.data_bytes = 8192;
    forge(path, bad);
    refuses(path, &SPEC, KL_ERR_CORRUPT, "lengthened");
    static const uint64_t sizes[] = {0, 1, 16383, 16384, 1ull << 46 | 1, 1ull << 60, UINT64_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        bad = good, bad.total_bytes = sizes[i];
        forge(path, bad);
        refuses(path, &SPEC, KL_ERR_CORRUPT, "contradict");
        bad = good, bad.data_bytes = sizes[i] == 1 ? 0 : sizes[i];
        forge(path, bad);
        if (bad.data_bytes > 12288 || bad.data_bytes == 0)
            refuses(path, &SPEC, KL_ERR_CORRUPT, "contradict");
        bad = good, bad.data_offset = sizes[i];
        forge(path, bad);
        if (sizes[i] != 16384) refuses(path, &SPEC, KL_ERR_CORRUPT, "contradict");
    }
    bad = good, bad.slots = 0xffffffff;
    forge(path, bad);
    refuses(path, &SPEC, KL_ERR_CORRUPT, "contradict");
    forge(path, good);
    KL_CHECK(truncate(path, 20000) == 0);
    refuses(path, &SPEC, KL_ERR_TRUNCATED, "holds 20000 bytes, its header promises 28672");
    KL_CHECK(truncate(path, 100) == 0);
    refuses(path, &SPEC, KL_ERR_TRUNCATED, "holds 100 bytes, a region at least 16384");
    KL_CHECK_EQ(kl_region_unlink(path), KL_OK);
}

KL_TEST(kl_region_attach_refuses_a_header_with_any_byte_changed) {
    const char *path = test_path("r");
    kl_region *region = make(path, 4096);
    uint8_t page[4096];
    memcpy(page, region->shared, sizeof page);
    kl_region_close(region);
    int file = open(path, O_RDWR | O_CLOEXEC);
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (size_t i = 0; i < sizeof page; i++) {
        uint8_t wrong = page[i] ^ (uint8_t)(1 + kl_random_below(&random, 255));
        KL_CHECK(pwrite(file, &wrong, 1, (off_t)i) == 1);
        KL_CHECK_LT(kl_region_attach(&region, path, &SPEC), 0);
        KL_CHECK_LT(kl_region_attach(&region, path, NULL), 0);
        KL_CHECK(pwrite(file, &page[i], 1, (off_t)i) == 1);
    }
    for (size_t bit = 0; bit < 256 * 8; bit++) { /* lines 0 to 3: every single bit */
        uint8_t wrong = page[bit / 8] ^ (uint8_t)(1u << bit % 8);
        KL_CHECK(pwrite(file, &wrong, 1, (off_t)(bit / 8)) == 1);
        KL_CHECK_LT(kl_region_attach(&region, path, NULL), 0);
        KL_CHECK(pwrite(file, &page[bit / 8], 1, (off_t)(bit / 8)) == 1);
    }
    close(file);
    KL_CHECK_EQ(kl_region_attach(&region, path, &SPEC), KL_OK);
    kl_region_close(region);
}

KL_TEST(kl_region_attach_survives_random_headers_with_good_checksums) {
    const char *path = test_path("r");
    kl_region *region = make(path, 4096);
    kl_region_identity good = region->identity;
    kl_region_close(region);
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (int round = 0; round < 3000; round++) {
        kl_region_identity bad = good;
        uint8_t *bytes = (uint8_t *)&bad;
        for (uint64_t i = kl_random_below(&random, 4) + 1; i > 0; i--) {
            size_t at = 12 + kl_random_below(&random, 112); /* magic and version stay */
            bytes[at] = (uint8_t)kl_random_u64(&random);
        }
        forge(path, bad);
        if (kl_region_attach(&region, path, NULL) == KL_OK) {
            /* Only what lies inside of the file may have been taken. */
            KL_CHECK_EQ(region->identity.total_bytes, good.total_bytes);
            KL_CHECK_LE(kl_region_data_bytes(region), 4096);
            kl_region_data(region)[kl_region_data_bytes(region) - 1] = 1;
            kl_region_close(region);
        }
    }
}

/* ---- space ---- */

KL_TEST(kl_region_create_refuses_what_does_not_fit_before_making_it) {
    const char *path = test_path("r");
    struct statvfs system;
    kl_region *region;
    KL_CHECK(statvfs("/tmp", &system) == 0);
    uint64_t there = system.f_blocks * system.f_frsize;
    KL_CHECK_EQ(kl_region_create(&region, path, there + (1 << 20), &SPEC), KL_ERR_NO_SPACE);
    KL_CHECK_CONTAINS(kl_status_last(), "free of");
    KL_CHECK_EQ(count_files_beside(path), 0);
    KL_CHECK_EQ(kl_region_create(&region, NULL, 1ull << 45, &SPEC), KL_ERR_NO_SPACE);
    KL_CHECK_CONTAINS(kl_status_last(), "more than this machine's memory");
    char shared[400];
    KL_CHECK_EQ(kl_region_name_path("too-large", shared, sizeof shared), KL_OK);
    KL_CHECK_EQ(kl_region_create(&region, shared, 1ull << 45, &SPEC), KL_ERR_NO_SPACE);
    KL_CHECK_CONTAINS(kl_status_last(), "32.1 TiB, but /dev/shm has");
    KL_CHECK_CONTAINS(kl_status_last(), "--shm-size");
    KL_CHECK(access(shared, F_OK) != 0);
}

static int file_limit_body(void *path) {
    struct rlimit limit = {.rlim_cur = 100000, .rlim_max = 100000};
    kl_region *region;
    setrlimit(RLIMIT_FSIZE, &limit);
    KL_CHECK_EQ(kl_region_create(&region, path, 200000, &SPEC), KL_ERR_LIMIT);
    KL_CHECK_CONTAINS(kl_status_last(), "ulimit -f");
    KL_CHECK_EQ(kl_region_create(&region, path, 50000, &SPEC), KL_OK);
    kl_region_close(region);
    return 0;
}

KL_TEST(kl_region_create_does_not_die_of_a_file_size_limit) {
    const char *path = test_path("r");
    KL_CHECK_EQ(kl_test_join(kl_test_fork(file_limit_body, (void *)(uintptr_t)path)), 0);
    KL_CHECK_EQ(count_files_beside(path), 0);
}

/* A file system of 1 MiB, in a mount namespace of its own, which ends with the child. */
static bool mount_small(const char *folder) {
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("small", folder, "tmpfs", 0, "size=1m,mode=700") == 0;
}

static int small_body(void *argument) {
    const char *folder = argument;
    char path[400], filler[400];
    kl_region *first, *second;
    if (!mount_small(folder)) return 77;
    snprintf(path, sizeof path, "%s/r", folder);
    snprintf(filler, sizeof filler, "%s/filler", folder);
    KL_CHECK_EQ(kl_region_create(&first, path, 2 << 20, &SPEC), KL_ERR_NO_SPACE);
    KL_CHECK_CONTAINS(kl_status_last(),
                      "needs 2.1 MiB, but its file system has 1 MiB free of 1 MiB");
    KL_CHECK_EQ(count_files(folder), 0);
    KL_CHECK_EQ(kl_region_create(&first, path, 700 << 10, &SPEC), KL_OK);
    KL_CHECK_EQ(kl_region_publish(first), KL_OK);
    KL_CHECK_EQ(kl_region_create(&second, filler, 400 << 10, &SPEC), KL_ERR_NO_SPACE);
    KL_CHECK_EQ(count_files(folder), 1);
    KL_CHECK_EQ(kl_region_create(&second, filler, 200 << 10, &SPEC), KL_OK);
    /* Fill what is left: every page of both is there already. */
    char page[4096] = {1};
    int file = open(filler, O_RDWR | O_CREAT, 0600);
    while (write(file, page, sizeof page) > 0) {
    }
    memset(kl_region_data(first), 1, 700 << 10);
    memset(kl_region_data(second), 1, 200 << 10);
    KL_CHECK(!kl_region_poisoned(first) && !kl_region_poisoned(second));
    kl_region_close(first);
    kl_region_close(second);
    return 0;
}

KL_TEST(kl_region_on_a_file_system_of_1_mib_is_refused_or_whole) {
    int status = kl_test_join(kl_test_fork(small_body, (void *)(uintptr_t)kl_test_folder()));
    if (status == 77) kl_test_skip("needs root to mount a small file system");
    KL_CHECK_EQ(status, 0);
}

/* ---- death of the creator ---- */

#ifdef KL_DEBUG
static int killpoints_left = -1; /* -1: not armed */
static char killed_at[64];

void kl_killpoint_hook(const char *name);
void kl_killpoint_hook(const char *name) {
    if (killpoints_left < 0 || killpoints_left-- > 0) return;
    snprintf(killed_at, sizeof killed_at, "%s", name);
    kill(getpid(), SIGKILL);
}

static int create_and_die(void *path) {
    kl_region *region;
    KL_CHECK_EQ(kl_region_create(&region, path, 50000, &SPEC), KL_OK);
    memset(kl_region_data(region), 5, 50000);
    KL_CHECK_EQ(kl_region_publish(region), KL_OK);
    return 0;
}

KL_TEST(kl_region_is_whole_or_not_there_when_its_creator_dies_at_any_step) {
    const char *path = test_path("r");
    int step = 0, status = 128 + SIGKILL, wholes = 0;
    for (; status == 128 + SIGKILL && step < 50; step++) {
        killpoints_left = step;
        int pid = kl_test_fork(create_and_die, (void *)(uintptr_t)path);
        killpoints_left = -1;
        status = kl_test_join(pid);
        kl_region *region, *again;
        int32_t found = kl_region_attach(&region, path, &SPEC);
        if (found == KL_OK) {
            for (int i = 0; i < 50000; i++) KL_CHECK_EQ(kl_region_data(region)[i], 5);
            kl_region_close(region);
            KL_CHECK_EQ(kl_region_unlink(path), KL_OK);
            wholes++;
        } else {
            KL_CHECK_EQ(found, KL_ERR_NOT_FOUND);
        }
        /* The next creator finds the way free, and clears what the dead one left. */
        again = make(path, 50000);
        KL_CHECK_EQ(count_files_beside(path), 1);
        kl_region_close(again);
        KL_CHECK_EQ(kl_region_unlink(path), KL_OK);
    }
    KL_CHECK_EQ(status, 0);
    KL_CHECK_LE(8, step);
    KL_CHECK_EQ(wholes, 2); /* after the last killpoint, and with none */
}
#endif

typedef struct {
    const char *path;
    int ready[2], go[2];
} half_made;

static int make_half(void *argument) {
    half_made *half = argument;
    kl_region *region;
    char byte = 1;
    if (kl_region_create(&region, half->path, 4096, &SPEC) != KL_OK) return 1;
    if (write(half->ready[1], &byte, 1) != 1) return 2;
    if (read(half->go[0], &byte, 1) != 1) return 3;
    if (kl_region_publish(region) != KL_OK) return 4;
    kl_region_close(region);
    return 0;
}

KL_TEST(kl_region_create_clears_files_of_dead_makers_and_of_no_others) {
    char byte = 0;
    half_made half = {.path = test_path("half")};
    const char *path = test_path("r"), *decoy = test_path(".keelson-new-decoy");
    KL_CHECK(pipe(half.ready) == 0 && pipe(half.go) == 0);
    int living = kl_test_fork(make_half, &half);
    KL_CHECK(read(half.ready[0], &byte, 1) == 1);
    int dying = kl_test_fork(make_half, &half);
    KL_CHECK(read(half.ready[0], &byte, 1) == 1);
    KL_CHECK(symlink("/etc/passwd", decoy) == 0);
    KL_CHECK_EQ(count_files_beside(path), 3);
    kl_region_close(make(path, 4096));
    KL_CHECK_EQ(count_files_beside(path), 4); /* both makers live: nothing was touched */
    KL_CHECK_EQ(kl_region_unlink(path), KL_OK);
    kill(dying, SIGKILL);
    KL_CHECK_EQ(kl_test_join(dying), 128 + SIGKILL);
    KL_CHECK_EQ(count_files_beside(path), 3);
    kl_region_close(make(path, 4096));
    KL_CHECK_EQ(count_files_beside(path), 3);
    KL_CHECK(write(half.go[1], &byte, 1) == 1);
    KL_CHECK_EQ(kl_test_join(living), 0);
    kl_region *region;
    KL_CHECK_EQ(kl_region_attach(&region, half.path, &SPEC), KL_OK);
    kl_region_close(region);
    for (int i = 0; i < 2; i++) close(half.ready[i]), close(half.go[i]);
}

/* ---- truncation and poison ---- */

static _Atomic uint32_t stop_reading;

static void read_and_write(void *argument, uint32_t index) {
    kl_region *region = argument;
    if (index == 0) {
        struct timespec pause = {.tv_nsec = 20000000};
        nanosleep(&pause, NULL);
        KL_CHECK(truncate(kl_region_path(region), 16384 + 8192) == 0);
        nanosleep(&pause, NULL);
        KL_CHECK(truncate(kl_region_path(region), 0) == 0);
        nanosleep(&pause, NULL);
        atomic_store(&stop_reading, 1);
        return;
    }
    for (uint64_t at = index; atomic_load(&stop_reading) == 0; at = (at + 4097) % 1000000) {
        _Atomic uint8_t *byte = (_Atomic uint8_t *)(kl_region_data(region) + at);
        if (index == 1) {
            (void)atomic_load_explicit(byte, memory_order_relaxed);
        } else {
            atomic_store_explicit(byte, 1, memory_order_relaxed);
        }
    }
}

KL_TEST(kl_region_cut_by_a_peer_is_poisoned_and_the_process_lives) {
    const char *path = test_path("r");
    kl_region *region = make(path, 1000000), *other;
    KL_CHECK_EQ(kl_region_attach(&other, path, &SPEC), KL_OK);
    KL_CHECK_EQ(kl_region_join(region, 0), 0);
    atomic_store(&stop_reading, 0);
    kl_test_threads(3, read_and_write, region);
    KL_CHECK(kl_region_poisoned(region));
    KL_CHECK_EQ(kl_region_check(region), KL_ERR_POISONED);
    KL_CHECK_CONTAINS(kl_status_last(), "has lost the page at offset");
    KL_CHECK_CONTAINS(kl_status_last(), path);
    KL_CHECK_EQ(kl_region_join(other, 0), KL_ERR_POISONED);
    KL_CHECK_EQ(kl_region_reap(region), KL_ERR_POISONED);
    KL_CHECK_EQ(kl_region_prefault(region), KL_ERR_POISONED);
    KL_CHECK_EQ(kl_region_thread_join(region), KL_ERR_POISONED);
    kl_region_leave(region);
    kl_region_close(region);
    kl_region_close(other);
}

KL_TEST(kl_region_poison_is_seen_by_all_and_refuses_later_attaches) {
    const char *path = test_path("r");
    kl_region *region = make(path, 100000), *other;
    KL_CHECK_EQ(kl_region_attach(&other, path, &SPEC), KL_OK);
    KL_CHECK_EQ(kl_region_check(other), KL_OK);
    kl_region_poison(region);
    KL_CHECK(kl_region_poisoned(region) && kl_region_poisoned(other));
    KL_CHECK_EQ(kl_region_check(region), KL_ERR_POISONED);
    KL_CHECK_CONTAINS(kl_status_last(), "found by this process");
    KL_CHECK_EQ(kl_region_check(other), KL_ERR_POISONED);
    KL_CHECK_CONTAINS(kl_status_last(), "found by another process");
    refuses(path, &SPEC, KL_ERR_POISONED, "damaged while in use");
    kl_region_close(region);
    kl_region_close(other);
    refuses(path, &SPEC, KL_ERR_POISONED, "damaged while in use");
    KL_CHECK_EQ(kl_region_unlink(path), KL_OK);
    /* A cut that leaves the header: the one who meets it tells the others. */
    region = make(path, 100000);
    KL_CHECK_EQ(kl_region_attach(&other, path, &SPEC), KL_OK);
    KL_CHECK(truncate(path, 16384) == 0);
    KL_CHECK(!kl_region_poisoned(other));
    *(volatile uint8_t *)kl_region_data(region) = 1;
    KL_CHECK(kl_region_poisoned(other));
    kl_region_close(region);
    kl_region_close(other);
}

KL_TEST(kl_region_close_leaves_zeros_in_place_of_the_data) {
    const char *path = test_path("r");
    kl_region *region = make(path, 100000);
    uint8_t *data = kl_region_data(region);
    size_t bytes = region->map_bytes;
    memset(data, 9, 100000);
    kl_region_close(region);
    for (int i = 0; i < 100000; i++) KL_CHECK_EQ(((volatile uint8_t *)data)[i], 0);
    ((volatile uint8_t *)data)[50000] = 8; /* goes nowhere */
    /* No later mapping comes to lie there. */
    for (int i = 0; i < 50; i++) {
        kl_region *next;
        KL_CHECK_EQ(kl_region_attach(&next, path, &SPEC), KL_OK);
        KL_CHECK_EQ(kl_region_data(next)[50000], 9);
        uint8_t *base = (uint8_t *)next->shared;
        KL_CHECK(base + next->map_bytes <= data - 16384 || base >= data - 16384 + bytes);
        kl_region_close(next);
    }
    KL_CHECK_EQ(((volatile uint8_t *)data)[50000], 8);
}

KL_TEST(kl_region_may_be_opened_and_closed_without_end) {
    const char *path = test_path("r");
    kl_region_close(make(path, 4096));
    for (int i = 0; i < 2000; i++) { /* more than the fault guard has entries */
        kl_region *region;
        KL_CHECK_EQ(kl_region_attach(&region, path, &SPEC), KL_OK);
        kl_region_close(region);
    }
}

KL_TEST(kl_region_is_one_memory_for_two_processes) {
    const char *path = test_path("r");
    kl_region *region = make(path, 4096);
    int pid = fork();
    if (pid == 0) {
        kl_region *mine;
        if (kl_region_attach(&mine, path, &SPEC) != KL_OK) _exit(1);
        _Atomic uint32_t *word = (_Atomic uint32_t *)(void *)kl_region_data(mine);
        for (int i = 0; i < 1000; i++) atomic_fetch_add(word, 1);
        kl_region_close(mine);
        _exit(0);
    }
    _Atomic uint32_t *word = (_Atomic uint32_t *)(void *)kl_region_data(region);
    for (int i = 0; i < 1000; i++) atomic_fetch_add(word, 1);
    KL_CHECK_EQ(kl_test_join(pid), 0);
    KL_CHECK_EQ(atomic_load(word), 2000);
    kl_region_close(region);
}

/* ---- the golden header ---- */

static uint32_t crc_bit_by_bit(const uint8_t *bytes, size_t count) {
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < count; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

KL_TEST(kl_region_header_is_byte_for_byte_the_golden_one) {
    uint8_t golden[256], mine[256], boot_id[16];
    FILE *file = fopen("tests/golden/region-header-v1.klr", "rb");
    KL_CHECK(file != NULL); /* tests run in the checkout's own folder */
    KL_CHECK_EQ(fread(golden, 1, sizeof golden, file), sizeof golden);
    fclose(file);
    const char *path = test_path("r");
    kl_region_spec spec = {.kind = 7, .layout_hash = 0x01020304};
    kl_region *region;
    for (int i = 0; i < 16; i++) spec.uuid[i] = (uint8_t)(0x10 + i);
    KL_CHECK_EQ(kl_region_create(&region, path, 5000, &spec), KL_OK);
    KL_CHECK_EQ(kl_region_publish(region), KL_OK);
    memcpy(mine, region->shared, sizeof mine);
    kl_region_close(region);
    /* Unlike in every region: boot id, time, pid, and so the checksum. */
    memcpy(boot_id, mine + 64, 16);
    memcpy(mine + 64, golden + 64, 28);
    uint32_t crc = crc_bit_by_bit(mine, 124);
    memcpy(mine + 124, &crc, 4);
    KL_CHECK_BYTES(mine, golden, sizeof mine);
    /* And the golden one is taken, once it is of this boot. */
    write_file(path, golden, sizeof golden, 0);
    refuses(path, &spec, KL_ERR_FENCED, "from before the last reboot");
    memcpy(golden + 64, boot_id, 16);
    crc = crc_bit_by_bit(golden, 124);
    memcpy(golden + 124, &crc, 4);
    write_file(path, golden, sizeof golden, 0);
    KL_CHECK_EQ(kl_region_attach(&region, path, &spec), KL_OK);
    KL_CHECK_EQ(kl_region_data_bytes(region), 5000);
    KL_CHECK_EQ(region->identity.creator_pid, 4711);
    kl_region_close(region);
}
