#include <stdint.h>
#include <stdio.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

/* The unit is included whole, with the two questions to the file system answered here. */
static int lie_about_type(int file, struct statfs *out);
static int lie_about_space(int file, struct statvfs *out);
static int lie_about_rename(int from, const char *old, int to, const char *name, unsigned flags);
#define fstatfs   lie_about_type
#define renameat2 lie_about_rename
#define fstatvfs  lie_about_space
#include "mem/region_file.c"
#undef fstatfs
#undef fstatvfs
#undef renameat2

#include "mem/region.h"
#include "tests/c/harness.h"

#include <signal.h>

static unsigned long told_type;   /* 0: the truth */
static struct statvfs told_space; /* f_frsize 0: the truth */

static int lie_about_type(int file, struct statfs *out) {
    int failed = fstatfs(file, out);
    if (told_type != 0) out->f_type = (__typeof__(out->f_type))told_type;
    return failed;
}

static int lie_about_space(int file, struct statvfs *out) {
    int failed = fstatvfs(file, out);
    if (told_space.f_frsize != 0) *out = told_space;
    return failed;
}

static enum { RENAMES, RENAMES_NOT, DIES_AFTER_LINK } rename_is;

static int lie_about_rename(int from, const char *old, int to, const char *name, unsigned flags) {
    if (rename_is == RENAMES) return renameat2(from, old, to, name, flags);
    if (rename_is == DIES_AFTER_LINK && linkat(from, old, to, name, 0) == 0) raise(SIGKILL);
    errno = EINVAL;
    return -1;
}

static const kl_region_spec SPEC = {.kind = 7};

static const char *path_in(const char *folder) {
    static char path[400];
    snprintf(path, sizeof path, "%s/r", folder);
    return path;
}

KL_TEST(kl_region_file_refuses_network_file_systems_unless_told) {
    static const struct {
        unsigned long type;
        const char *name;
    } known[] = {{0x6969, "NFS"},    {0xff534d42, "CIFS"}, {0xfe534d42, "SMB2"}, {0x517b, "SMB"},
                 {0x01021997, "9p"}, {0x65735546, "FUSE"}, {0x00c36400, "Ceph"}};
    const char *path = path_in(kl_test_folder());
    kl_region *region, *other;
    kl_region_spec allowed = SPEC;
    allowed.allow_network = true;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        told_type = known[i].type;
        KL_CHECK_EQ(kl_region_create(&region, path, 4096, &SPEC), KL_ERR_NETWORK_FS);
        KL_CHECK_CONTAINS(kl_status_last(), known[i].name);
        KL_CHECK_CONTAINS(kl_status_last(), "use a local folder");
        KL_CHECK_EQ(kl_region_create(&region, path, 4096, &allowed), KL_OK);
        KL_CHECK_EQ(kl_region_publish(region), KL_OK);
        KL_CHECK_EQ(kl_region_attach(&other, path, &SPEC), KL_ERR_NETWORK_FS);
        KL_CHECK_EQ(kl_region_attach(&other, path, NULL), KL_ERR_NETWORK_FS);
        KL_CHECK_EQ(kl_region_attach(&other, path, &allowed), KL_OK);
        kl_region_close(other);
        kl_region_close(region);
        KL_CHECK_EQ(kl_region_unlink(path), KL_OK);
    }
    told_type = 0;
}

KL_TEST(kl_region_file_asks_for_the_free_space_before_it_makes_anything) {
    const char *folder = kl_test_folder(), *path = path_in(folder);
    kl_region *region;
    told_space =
        (struct statvfs){.f_frsize = 4096, .f_blocks = 16384, .f_bfree = 300, .f_bavail = 300};
    KL_CHECK_EQ(kl_region_create(&region, path, 4ull << 20, &SPEC), KL_ERR_NO_SPACE);
    KL_CHECK_CONTAINS(kl_status_last(),
                      "needs 4.1 MiB, but its file system has 1.1 MiB free of 64 MiB");
    KL_CHECK_EQ(kl_region_create(&region, path, 1ull << 20, &SPEC), KL_OK);
    kl_region_close(region);
    /* A file system that tells no limit is believed. */
    told_space = (struct statvfs){.f_frsize = 4096};
    KL_CHECK_EQ(kl_region_create(&region, path, 4ull << 20, &SPEC), KL_OK);
    kl_region_close(region);
    told_space = (struct statvfs){0};
    KL_CHECK(rmdir(folder) == 0); /* nothing was left in it */
    KL_CHECK(mkdir(folder, 0700) == 0);
}

KL_TEST(kl_region_file_writes_sizes_for_people) {
    static const struct {
        uint64_t bytes;
        const char *down, *up;
    } rows[] = {{0, "0 bytes", "0 bytes"},         {1023, "1023 bytes", "1023 bytes"},
                {1024, "1 KiB", "1 KiB"},          {1536, "1.5 KiB", "1.5 KiB"},
                {1537, "1.5 KiB", "1.6 KiB"},      {(1 << 20) - 1, "1023.9 KiB", "1024 KiB"},
                {64ull << 20, "64 MiB", "64 MiB"}, {UINT64_MAX, "15.9 EiB", "16 EiB"}};
    char text[40];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bytes_text(text, rows[i].bytes, false);
        KL_CHECK_TEXT(text, rows[i].down);
        bytes_text(text, rows[i].bytes, true);
        KL_CHECK_TEXT(text, rows[i].up);
    }
}

KL_TEST(kl_region_file_own_folder_refuses_a_folder_of_another_or_open_to_others) {
    char path[400];
    struct stat before;
    KL_CHECK_EQ(kl_region_file_own_folder(path, sizeof path), KL_OK);
    KL_CHECK(stat(path, &before) == 0);
    if (geteuid() != 0) kl_test_skip("needs root to act as another user");
    /* As a user whose folder somebody else has made first. */
    uid_t user = 4242;
    snprintf(path, sizeof path, "/dev/shm/keelson-%u", (unsigned)user);
    (void)rmdir(path);
    KL_CHECK(mkdir(path, 0700) == 0);
    KL_CHECK(seteuid(user) == 0);
    char answer[400];
    int32_t of_other = kl_region_file_own_folder(answer, sizeof answer);
    KL_CHECK(seteuid(0) == 0);
    KL_CHECK(chown(path, user, user) == 0 && chmod(path, 0755) == 0);
    KL_CHECK(seteuid(user) == 0);
    int32_t open_to_others = kl_region_file_own_folder(answer, sizeof answer);
    char words[KL_DETAIL_BYTES_MAX + 1];
    snprintf(words, sizeof words, "%s", kl_status_last());
    KL_CHECK(seteuid(0) == 0);
    KL_CHECK(rmdir(path) == 0 && symlink("/tmp", path) == 0);
    KL_CHECK(seteuid(user) == 0);
    int32_t link_there = kl_region_file_own_folder(answer, sizeof answer);
    KL_CHECK(seteuid(0) == 0);
    KL_CHECK(unlink(path) == 0);
    KL_CHECK_EQ(of_other, KL_ERR_PERMISSION);
    KL_CHECK_EQ(open_to_others, KL_ERR_PERMISSION);
    KL_CHECK_CONTAINS(words, "chmod 700");
    KL_CHECK_EQ(link_there, KL_ERR_PERMISSION);
}

KL_TEST(kl_region_file_reserve_writes_zeros_where_it_cannot_allocate) {
    char path[400];
    snprintf(path, sizeof path, "%s/zeros", kl_test_folder());
    int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    KL_CHECK_EQ(write_zeros(file, 200001), 0);
    struct stat status;
    KL_CHECK(fstat(file, &status) == 0 && status.st_size == 200001);
    KL_CHECK_LE(200001, status.st_blocks * 512);
    close(file);
    file = open("/dev/full", O_RDWR | O_CLOEXEC);
    KL_CHECK_EQ(write_zeros(file, 4096), -ENOSPC);
    close(file);
}

static int create_and_publish(void *path) {
    kl_region *region;
    if (kl_region_create(&region, path, 4096, &SPEC) != KL_OK) return 1;
    if (kl_region_publish(region) != KL_OK) return 2;
    kl_region_close(region);
    return 0;
}

KL_TEST(kl_region_file_publish_is_exclusive_without_an_exclusive_rename) {
    char path[400];
    snprintf(path, sizeof path, "%s", path_in(kl_test_folder()));
    kl_region *first, *second;
    rename_is = RENAMES_NOT;
    KL_CHECK_EQ(kl_region_create(&first, path, 4096, &SPEC), KL_OK);
    KL_CHECK_EQ(kl_region_create(&second, path, 4096, &SPEC), KL_OK);
    KL_CHECK_EQ(kl_region_publish(first), KL_OK);
    KL_CHECK_EQ(kl_region_publish(second), KL_ERR_EXISTS);
    kl_region_close(second);
    KL_CHECK_EQ(kl_region_attach(&second, path, &SPEC), KL_OK);
    KL_CHECK_BYTES(kl_region_uuid(first), kl_region_uuid(second), 16);
    kl_region_close(second);
    kl_region_close(first);
    KL_CHECK_EQ(kl_region_unlink(path), KL_OK);
    /* Dead between its two steps: refused for its two names, until the next create clears one. */
    rename_is = DIES_AFTER_LINK;
    KL_CHECK_EQ(kl_test_join(kl_test_fork(create_and_publish, path)), 128 + SIGKILL);
    rename_is = RENAMES;
    KL_CHECK_EQ(kl_region_attach(&first, path, &SPEC), KL_ERR_PERMISSION);
    KL_CHECK_CONTAINS(kl_status_last(), "2 names");
    char other[410];
    snprintf(other, sizeof other, "%s-2", path);
    KL_CHECK_EQ(kl_test_join(kl_test_fork(create_and_publish, other)), 0);
    KL_CHECK_EQ(kl_region_attach(&first, path, &SPEC), KL_OK);
    kl_region_close(first);
}

#ifdef KL_DEBUG
static const char *sweeping_path;

/* A sweeper that comes in the moment between a file's birth and its maker's lock. */
void kl_killpoint_hook(const char *name);
void kl_killpoint_hook(const char *name) {
    const char *path = sweeping_path;
    kl_region *region;
    if (path == NULL || strcmp(name, "make.opened") != 0) return;
    sweeping_path = NULL;
    KL_CHECK_EQ(kl_region_create(&region, path, 4096, &SPEC), KL_OK);
    kl_region_close(region);
}

KL_TEST(kl_region_file_make_starts_again_when_a_sweeper_came_first) {
    char path[400], other[410];
    snprintf(path, sizeof path, "%s", path_in(kl_test_folder()));
    snprintf(other, sizeof other, "%s-2", path);
    kl_region *region;
    sweeping_path = other;
    KL_CHECK_EQ(kl_region_create(&region, path, 4096, &SPEC), KL_OK);
    KL_CHECK(sweeping_path == NULL);
    KL_CHECK_EQ(kl_region_publish(region), KL_OK);
    kl_region_close(region);
    KL_CHECK_EQ(kl_region_attach(&region, path, &SPEC), KL_OK);
    kl_region_close(region);
}
#endif
