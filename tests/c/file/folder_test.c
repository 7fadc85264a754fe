#include "file/folder.h"

#include "base/handle.h"
#include "file/device_faults.h"
#include "tests/c/harness.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path_text[PATH_MAX];

static const char *below(const char *folder, const char *name) {
    snprintf(path_text, sizeof path_text, "%s/%s", folder, name);
    return path_text;
}

static kl_folder *open_it(const char *path, uint32_t flags) {
    kl_folder *folder = NULL;
    KL_CHECK_EQ(kl_folder_open(&folder, path, flags), KL_OK);
    return folder;
}

KL_TEST(kl_folder_open_makes_a_private_folder_and_syncs_its_parent) {
    const char *parent = kl_test_folder();
    kl_device_faults *faults = kl_device_faults_start(NULL, 0, true);
    mode_t before = umask(0);
    kl_folder *folder = open_it(below(parent, "data"), KL_FOLDER_CREATE);
    umask(before);
    size_t count = 0;
    const kl_device_record *records = kl_device_faults_records(faults, &count);
    KL_CHECK_EQ(count, 2);
    KL_CHECK_EQ(records[0].op, KL_DEVICE_OP_MAKE_FOLDER);
    KL_CHECK_CONTAINS(records[0].path, "/data");
    KL_CHECK_EQ(records[1].op, KL_DEVICE_OP_SYNC_FOLDER);
    KL_CHECK_TEXT(records[1].path, parent);
    kl_device_faults_stop(faults);
    struct stat status;
    KL_CHECK_EQ(fstat(kl_folder_fd(folder), &status), 0);
    KL_CHECK_EQ(status.st_mode & 07777, 0700);
    KL_CHECK_TEXT(kl_folder_path(folder), below(parent, "data"));
    KL_CHECK_EQ(kl_folder_sync(folder), KL_OK);
    kl_folder_close(folder);
    kl_folder_close(open_it(below(parent, "data///"), 0));
    kl_folder_close(open_it(below(parent, "data"), KL_FOLDER_CREATE));
    kl_folder_close(NULL);
}

KL_TEST(kl_folder_open_leaves_nothing_when_any_step_of_creation_fails) {
    bool hit = true;
    for (uint64_t n = 1; hit; n++) {
        const char *path = below(kl_test_folder(), "data");
        kl_device_fault fault = {.ops = KL_DEVICE_OPS_ALL, .at_call = n, .error = EIO};
        kl_device_faults *faults = kl_device_faults_start(&fault, 1, false);
        kl_folder *folder = NULL;
        int32_t status = kl_folder_open(&folder, path, KL_FOLDER_CREATE);
        hit = kl_device_faults_hits(faults, 0) > 0;
        kl_device_faults_stop(faults);
        KL_CHECK_EQ(status, hit ? KL_ERR_IO : KL_OK);
        KL_CHECK_EQ(access(path, F_OK), hit ? -1 : 0);
        KL_CHECK_EQ(folder != NULL, !hit);
        kl_folder_close(folder);
    }
}

KL_TEST(kl_folder_open_says_what_is_wrong_with_the_path) {
    const char *parent = kl_test_folder();
    kl_folder *folder;
    KL_CHECK_EQ(kl_folder_open(&folder, below(parent, "none"), 0), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_folder_open(&folder, below(parent, "none/data"), KL_FOLDER_CREATE),
                KL_ERR_NOT_FOUND);
    KL_CHECK_CONTAINS(kl_status_last(), "the folder that is to hold");
    KL_CHECK_EQ(kl_folder_open(&folder, "", KL_FOLDER_CREATE), KL_ERR_NAME);
    KL_CHECK_EQ(symlink(parent, below(parent, "link")), 0);
    KL_CHECK_EQ(kl_folder_open(&folder, below(parent, "link"), KL_FOLDER_CREATE), KL_ERR_FOREIGN);
    KL_CHECK_CONTAINS(kl_status_last(), "is a symbolic link");
    KL_CHECK_EQ(kl_folder_open(&folder, below(parent, "link//"), 0), KL_ERR_FOREIGN);
    fclose(fopen(below(parent, "file"), "w"));
    KL_CHECK_EQ(kl_folder_open(&folder, below(parent, "file"), KL_FOLDER_CREATE), KL_ERR_FOREIGN);
    KL_CHECK_CONTAINS(kl_status_last(), "is not a folder");
    KL_CHECK_EQ(mkdir(below(parent, "wide"), 0700), 0);
    KL_CHECK_EQ(chmod(below(parent, "wide"), 0770), 0);
    KL_CHECK_EQ(kl_folder_open(&folder, path_text, 0), KL_ERR_PERMISSION);
    KL_CHECK_CONTAINS(kl_status_last(), "chmod go-w");
    kl_folder_close(open_it(below(parent, "wide"), KL_FOLDER_READ_ONLY));
    KL_CHECK_EQ(kl_folder_open(&folder, parent, KL_FOLDER_CREATE | KL_FOLDER_READ_ONLY),
                KL_ERR_ARGUMENT);
    char huge[PATH_MAX + 10];
    memset(huge, 'x', sizeof huge - 1);
    huge[sizeof huge - 1] = '\0';
    KL_CHECK_EQ(kl_folder_open(&folder, huge, 0), KL_ERR_NAME);
    KL_CHECK(folder == NULL);
}

KL_TEST(kl_folder_open_refuses_another_users_folder) {
    if (geteuid() != 0) return; /* only root can give a folder away */
    const char *path = kl_test_folder();
    KL_CHECK_EQ(chown(path, 65534, 65534), 0);
    kl_folder *folder;
    KL_CHECK_EQ(kl_folder_open(&folder, path, KL_FOLDER_CREATE), KL_ERR_PERMISSION);
    KL_CHECK_CONTAINS(kl_status_last(), "belongs to user 65534");
    kl_folder_close(open_it(path, KL_FOLDER_READ_ONLY));
}

static int lock_as_nobody(void *argument) {
    if (geteuid() == 0 && (setegid(65534) != 0 || seteuid(65534) != 0)) return 2;
    kl_folder *folder = NULL;
    if (kl_folder_open(&folder, argument, 0) != KL_OK) return 3;
    int32_t status = kl_folder_lock(folder, "test");
    kl_folder_close(folder);
    return status == KL_ERR_PERMISSION && strstr(kl_status_last(), "/LOCK") != NULL ? 0 : 1;
}

KL_TEST(kl_folder_lock_in_a_read_only_folder_says_so) {
    const char *path = kl_test_folder();
    if (geteuid() == 0) KL_CHECK_EQ(chown(path, 65534, 65534), 0);
    KL_CHECK_EQ(chmod(path, 0500), 0);
    KL_CHECK_EQ(kl_test_join(kl_test_fork(lock_as_nobody, (void *)(uintptr_t)path)), 0);
    KL_CHECK_EQ(chmod(path, 0700), 0);
}

KL_TEST(kl_folder_network_name_knows_the_usual_ones_and_no_local_one) {
    KL_CHECK_TEXT(kl_folder_network_name(0x6969), "NFS");
    KL_CHECK_TEXT(kl_folder_network_name(0xFF534D42), "CIFS");
    KL_CHECK_TEXT(kl_folder_network_name(0xFFFFFFFFFF534D42), "CIFS"); /* sign-extended */
    KL_CHECK_TEXT(kl_folder_network_name(0x01021997), "9P");
    KL_CHECK_TEXT(kl_folder_network_name(0x65735546), "FUSE");
    KL_CHECK_TEXT(kl_folder_network_name(0x00C36400), "Ceph");
    KL_CHECK_TEXT(kl_folder_network_name(0x5346414F), "AFS");
    static const uint32_t local[] = {0xEF53, 0x01021994, 0x58465342, 0x9123683E, 0x794C7630};
    for (int i = 0; i < 5; i++) KL_CHECK(kl_folder_network_name(local[i]) == NULL);
}

KL_TEST(kl_folder_path_check_takes_one_path_part) {
    static const char *const good[] = {"a", "...", ".a", "a..b", "-rf", "ä", "segment-0.kls"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        KL_CHECK_EQ(kl_folder_path_check(good[i], strlen(good[i])), KL_OK);
    static const char *const bad[] = {"", ".", "..", "/", "a/b", "../x", "a/"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        KL_CHECK_EQ(kl_folder_path_check(bad[i], strlen(bad[i])), KL_ERR_NAME);
    KL_CHECK_EQ(kl_folder_path_check("a\0b", 3), KL_ERR_NAME);
    char long_name[300];
    memset(long_name, 'n', sizeof long_name);
    KL_CHECK_EQ(kl_folder_path_check(long_name, 255), KL_OK);
    KL_CHECK_EQ(kl_folder_path_check(long_name, 256), KL_ERR_NAME);
    KL_CHECK_CONTAINS(kl_status_last(), "at most 255");
}

/* ---- the lock ---- */

KL_TEST(kl_folder_lock_lets_one_in_also_within_a_process) {
    const char *path = kl_test_folder();
    kl_folder *first = open_it(path, 0), *second = open_it(path, 0);
    KL_CHECK_EQ(kl_folder_lock(first, "keelson first"), KL_OK);
    KL_CHECK_EQ(kl_folder_lock(first, "keelson first"), KL_ERR_EXISTS);
    KL_CHECK_EQ(kl_folder_lock(second, "keelson second"), KL_ERR_LOCKED);
    KL_CHECK_CONTAINS(kl_status_last(), path);
    KL_CHECK_CONTAINS(kl_status_last(), " is in use by this process");
    KL_CHECK_CONTAINS(kl_status_last(), "(keelson first), started ");
    KL_CHECK_CONTAINS(kl_status_last(), "stop it or use another folder");
    kl_folder *reader = open_it(path, KL_FOLDER_READ_ONLY);
    KL_CHECK_EQ(kl_folder_lock(reader, NULL), KL_ERR_ARGUMENT);
    kl_folder_close(reader);
    kl_folder_close(first);
    KL_CHECK_EQ(kl_folder_lock(second, NULL), KL_OK);
    kl_folder_close(second);
}

static int hold_until_killed(void *argument) {
    kl_folder *folder = NULL;
    int *ready = argument;
    char path[PATH_MAX];
    if (read(ready[0], path, sizeof path) <= 0) return 2;
    if (kl_folder_open(&folder, path, 0) != KL_OK) return 3;
    if (kl_folder_lock(folder, "keelson broker") != KL_OK) return 4;
    if (write(ready[3], "x", 1) != 1) return 5;
    for (;;) pause();
}

/* A child that holds the lock of `path`. */
static int start_holder(const char *path) {
    int ready[4];
    char byte;
    KL_CHECK_EQ(pipe(ready), 0);
    KL_CHECK_EQ(pipe(ready + 2), 0);
    KL_CHECK_LT(0, write(ready[1], path, strlen(path) + 1));
    int pid = kl_test_fork(hold_until_killed, ready);
    KL_CHECK_EQ(read(ready[2], &byte, 1), 1);
    for (int i = 0; i < 4; i++) close(ready[i]);
    return pid;
}

KL_TEST(kl_folder_lock_names_the_process_that_holds_it_until_it_is_killed) {
    const char *path = kl_test_folder();
    int pid = start_holder(path);
    char expected[64], holder[256];
    snprintf(expected, sizeof expected, "is in use by process %d (keelson broker), started ", pid);
    kl_folder *folder = open_it(path, KL_FOLDER_CREATE);
    KL_CHECK_EQ(kl_folder_lock(folder, "keelson test"), KL_ERR_LOCKED);
    KL_CHECK_CONTAINS(kl_status_last(), expected);
    KL_CHECK_LT(0, kl_folder_holder_text(path, holder, sizeof holder));
    KL_CHECK_CONTAINS(holder, "(keelson broker), started ");
    KL_CHECK_EQ(kill(pid, SIGKILL), 0);
    KL_CHECK_EQ(kl_test_join(pid), 128 + SIGKILL);
    KL_CHECK_EQ(kl_folder_holder_text(path, holder, sizeof holder), 0);
    KL_CHECK_EQ(kl_folder_lock(folder, "keelson test"), KL_OK);
    kl_folder_close(folder);
}

KL_TEST(kl_folder_lock_holds_although_somebody_removed_the_file) {
    const char *path = kl_test_folder();
    kl_folder *first = open_it(path, 0), *second = open_it(path, 0);
    KL_CHECK_EQ(kl_folder_lock(first, "one"), KL_OK);
    KL_CHECK_EQ(unlink(below(path, "LOCK")), 0);
    KL_CHECK_EQ(kl_folder_lock(second, "two"), KL_ERR_LOCKED);
    kl_folder_close(first);
    KL_CHECK_EQ(kl_folder_lock(second, "two"), KL_OK);
    kl_folder_close(second);
}

KL_TEST(kl_folder_lock_refuses_a_link_and_survives_garbage_in_the_file) {
    const char *path = kl_test_folder();
    KL_CHECK_EQ(symlink("/etc/passwd", below(path, "LOCK")), 0);
    kl_folder *first = open_it(path, 0), *second = open_it(path, 0);
    KL_CHECK_EQ(kl_folder_lock(first, "one"), KL_ERR_FOREIGN);
    KL_CHECK_EQ(unlink(below(path, "LOCK")), 0);
    KL_CHECK_EQ(kl_folder_lock(first, "one\nline"), KL_OK);
    static const char *const cards[] = {
        "", "\xff\xfe garbage", "keelson lock\npid 99999999\n",
        "keelson lock\npid 1\nstart 1\nstarted 1\nboot x\nprogram y\n"};
    for (size_t i = 0; i < sizeof cards / sizeof cards[0]; i++) {
        FILE *file = fopen(below(path, "LOCK"), "w");
        fputs(cards[i], file);
        fclose(file);
        KL_CHECK_EQ(kl_folder_lock(second, "two"), KL_ERR_LOCKED);
        KL_CHECK_CONTAINS(kl_status_last(), i < 3 ? "another process" : "not visible from here");
    }
    kl_folder_close(first);
    kl_folder_close(second);
}

KL_TEST(kl_folder_lock_is_given_although_the_card_cannot_be_written) {
    const char *path = kl_test_folder();
    kl_folder *first = open_it(path, 0), *second = open_it(path, 0);
    kl_device_fault fault = {
        .ops = 1u << KL_DEVICE_OP_WRITE, .at_call = 1, .forever = true, .error = ENOSPC};
    kl_device_faults *faults = kl_device_faults_start(&fault, 1, false);
    KL_CHECK_EQ(kl_folder_lock(first, "one"), KL_OK);
    kl_device_faults_stop(faults);
    KL_CHECK_EQ(kl_folder_lock(second, "two"), KL_ERR_LOCKED);
    kl_folder_close(first);
    kl_folder_close(second);
}

static int32_t unexpected_status;

static void lock_or_look(void *argument, uint32_t index) {
    char text[256];
    for (int i = 0; i < 200; i++) {
        if (index > 0) {
            if (kl_folder_holder_text(argument, text, sizeof text) < 0) KL_CHECK(false);
            continue;
        }
        kl_folder *folder = NULL;
        int32_t status = kl_folder_open(&folder, argument, 0);
        if (status == KL_OK) status = kl_folder_lock(folder, "test");
        if (status != KL_OK) unexpected_status = status;
        kl_folder_close(folder);
    }
}

KL_TEST(kl_folder_holder_never_disturbs_one_who_locks) {
    const char *path = kl_test_folder();
    unexpected_status = KL_OK;
    kl_test_threads(2, lock_or_look, (void *)(uintptr_t)path);
    KL_CHECK_EQ(unexpected_status, KL_OK);
}

typedef struct {
    kl_folder *folders[4];
    int32_t answers[4];
} lock_race;

static void lock_one(void *argument, uint32_t index) {
    lock_race *race = argument;
    race->answers[index] = kl_folder_lock(race->folders[index], NULL);
}

KL_TEST(kl_folder_lock_has_at_most_one_winner_of_a_race) {
    const char *path = kl_test_folder();
    for (int round = 0; round < 5; round++) {
        lock_race race;
        int won = 0;
        for (int i = 0; i < 4; i++) race.folders[i] = open_it(path, 0);
        kl_test_threads(4, lock_one, &race);
        for (int i = 0; i < 4; i++) {
            won += race.answers[i] == KL_OK;
            KL_CHECK(race.answers[i] == KL_OK || race.answers[i] == KL_ERR_LOCKED);
        }
        KL_CHECK_EQ(won, 1);
        for (int i = 0; i < 4; i++) kl_folder_close(race.folders[i]);
    }
}

/* ---- the FFI ---- */

KL_TEST(kl_folder_handle_open_locks_and_close_lets_go) {
    const char *path = below(kl_test_folder(), "data");
    const uint8_t *utf8 = (const uint8_t *)path, *program = (const uint8_t *)"keelson run";
    uint32_t bytes = (uint32_t)strlen(path);
    uint8_t holder[200];
    double handle = kl_folder_handle_open(utf8, bytes, program, 11, KL_FOLDER_CREATE);
    KL_CHECK(handle > 0);
    KL_CHECK_EQ((int32_t)kl_folder_handle_open(utf8, bytes, NULL, 0, 0), KL_ERR_LOCKED);
    double reader = kl_folder_handle_open(utf8, bytes, NULL, 0, KL_FOLDER_READ_ONLY);
    KL_CHECK(reader > 0);
    int32_t holder_bytes = kl_folder_holder(utf8, bytes, holder, sizeof holder - 1);
    KL_CHECK_LT(0, holder_bytes);
    holder[holder_bytes] = '\0';
    KL_CHECK_CONTAINS((const char *)holder, "(keelson run)");
    KL_CHECK_EQ(kl_folder_holder(utf8, bytes, holder, 4), 4);
    KL_CHECK_EQ(kl_folder_holder(utf8, bytes, NULL, 4), 0);
    KL_CHECK_EQ(kl_folder_handle_close((uint32_t)handle), KL_OK);
    KL_CHECK_EQ(kl_folder_handle_close((uint32_t)handle), KL_ERR_HANDLE);
    KL_CHECK_EQ(kl_folder_handle_close((uint32_t)reader), KL_OK);
    KL_CHECK_EQ(kl_folder_holder(utf8, bytes, holder, sizeof holder), 0);
    KL_CHECK_EQ(kl_handle_live(KL_HANDLE_FOLDER), 0);
}

KL_TEST(kl_folder_handle_open_refuses_bad_texts) {
    static const uint8_t text[] = "a\0b";
    uint8_t holder[4];
    KL_CHECK_EQ((int32_t)kl_folder_handle_open(NULL, 0, NULL, 0, 0), KL_ERR_NAME);
    KL_CHECK_EQ((int32_t)kl_folder_handle_open(NULL, 9, NULL, 0, 0), KL_ERR_NAME);
    KL_CHECK_EQ((int32_t)kl_folder_handle_open(text, 3, NULL, 0, 0), KL_ERR_NAME);
    KL_CHECK_EQ((int32_t)kl_folder_handle_open(text, UINT32_MAX, NULL, 0, 0), KL_ERR_NAME);
    KL_CHECK_EQ((int32_t)kl_folder_handle_open(text, 1, text, UINT32_MAX, 0), KL_ERR_NAME);
    KL_CHECK_EQ(kl_folder_holder(text, 3, holder, 4), KL_ERR_NAME);
    KL_CHECK_EQ(kl_folder_handle_close(0), KL_ERR_HANDLE);
}
