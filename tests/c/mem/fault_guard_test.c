#include "mem/fault_guard.h"
#include "tests/c/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096u

/* Every test runs in a child: the handler is installed once in a process, and stays. */

typedef struct {
    uint8_t *base;
    size_t bytes;
    int file;
} mapping;

static char folder[256];

static mapping map_file(size_t bytes) {
    char path[300];
    static int number;
    snprintf(path, sizeof path, "%s/file-%d", folder, number++);
    mapping made = {.bytes = bytes, .file = open(path, O_RDWR | O_CREAT | O_EXCL, 0600)};
    KL_CHECK(made.file >= 0 && ftruncate(made.file, (off_t)bytes) == 0);
    made.base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, made.file, 0);
    KL_CHECK(made.base != MAP_FAILED);
    return made;
}

static uint8_t read_byte(const uint8_t *at) {
    return *(const volatile uint8_t *)at;
}

static void write_byte(uint8_t *at, uint8_t value) {
    *(volatile uint8_t *)at = value;
}

static int in_child(int (*body)(void *)) {
    snprintf(folder, sizeof folder, "%s", kl_test_folder());
    return kl_test_join(kl_test_fork(body, NULL));
}

/* The handler is no call the compiler knows of: it would keep errno in a register. */
static volatile int *error_number(void) {
    return &errno;
}

static int absorb_body(void *unused) {
    (void)unused;
    mapping file = map_file(8 * PAGE);
    memset(file.base, 7, file.bytes);
    int32_t entry = kl_fault_guard_add(file.base, file.bytes, NULL);
    KL_CHECK(entry >= 0);
    const _Atomic uint32_t *flag = kl_fault_guard_flag(entry);
    KL_CHECK_EQ(atomic_load(flag), 0);
    KL_CHECK(ftruncate(file.file, 2 * PAGE) == 0);
    KL_CHECK_EQ(read_byte(file.base + PAGE), 7);
    KL_CHECK_EQ(atomic_load(flag), 0);
    *error_number() = 0;
    KL_CHECK_EQ(read_byte(file.base + 5 * PAGE + 123), 0);
    KL_CHECK_EQ(*error_number(), 0);
    KL_CHECK_EQ(atomic_load(flag), 1);
    uint64_t offset = 0;
    KL_CHECK_EQ(kl_fault_guard_faults(entry, &offset), 1);
    KL_CHECK_EQ(offset, 5 * PAGE + 123);
    write_byte(file.base + 5 * PAGE, 9); /* the page is a private one now */
    KL_CHECK_EQ(read_byte(file.base + 5 * PAGE), 9);
    write_byte(file.base + 6 * PAGE, 9); /* a store faults like a load */
    KL_CHECK_EQ(read_byte(file.base + 6 * PAGE), 9);
    KL_CHECK_EQ(kl_fault_guard_faults(entry, &offset), 2);
    KL_CHECK_EQ(offset, 5 * PAGE + 123);
    KL_CHECK_EQ(read_byte(file.base + PAGE), 7);
    return 0;
}

KL_TEST(kl_fault_guard_turns_a_missing_page_into_zeros_and_a_flag) {
    KL_CHECK_EQ(in_child(absorb_body), 0);
}

static int shared_word_body(void *unused) {
    (void)unused;
    mapping file = map_file(8 * PAGE);
    _Atomic uint32_t *word = (_Atomic uint32_t *)(void *)(file.base + 128);
    int32_t entry = kl_fault_guard_add(file.base, file.bytes, word);
    KL_CHECK(ftruncate(file.file, 2 * PAGE) == 0);
    KL_CHECK_EQ(read_byte(file.base + 3 * PAGE), 0);
    KL_CHECK_EQ(atomic_load(word), 1);
    uint32_t on_disk = 0;
    KL_CHECK_EQ(pread(file.file, &on_disk, 4, 128), 4);
    KL_CHECK_EQ(on_disk, 1);
    /* And when the word's own page is gone: no second fault inside the handler. */
    KL_CHECK(ftruncate(file.file, 0) == 0);
    *error_number() = 0;
    KL_CHECK_EQ(read_byte(file.base + 4 * PAGE), 0);
    KL_CHECK_EQ(*error_number(), 0); /* though a system call in the handler failed */
    uint64_t offset;
    KL_CHECK_EQ(kl_fault_guard_faults(entry, &offset), 2);
    KL_CHECK_EQ(atomic_load(word), 0);
    KL_CHECK_EQ(kl_fault_guard_faults(entry, &offset), 3);
    return 0;
}

KL_TEST(kl_fault_guard_tells_the_others_through_the_shared_word) {
    KL_CHECK_EQ(in_child(shared_word_body), 0);
}

static size_t count_mappings(void) {
    size_t lines = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    for (int c = fgetc(maps); c != EOF; c = fgetc(maps)) lines += c == '\n';
    fclose(maps);
    return lines;
}

static int many_pages_body(void *unused) {
    (void)unused;
    mapping file = map_file(4096 * PAGE);
    kl_fault_guard_add(file.base, file.bytes, NULL);
    size_t before = count_mappings();
    KL_CHECK(ftruncate(file.file, 0) == 0);
    for (size_t page = 0; page < 4096; page += 2)
        KL_CHECK_EQ(read_byte(file.base + page * PAGE), 0);
    KL_CHECK_LE(count_mappings(), before + 2 * KL_FAULT_PAGES_MAX + 2);
    return 0;
}

KL_TEST(kl_fault_guard_does_not_use_up_the_table_of_mappings) {
    KL_CHECK_EQ(in_child(many_pages_body), 0);
}

static sigjmp_buf escape;
static volatile sig_atomic_t former_calls;

static void former_handler(int signal_number, siginfo_t *info, void *context) {
    (void)signal_number, (void)info, (void)context;
    former_calls++;
    siglongjmp(escape, 1);
}

static int chain_body(void *unused) {
    (void)unused;
    struct sigaction action = {.sa_sigaction = former_handler, .sa_flags = SA_SIGINFO};
    sigaction(SIGBUS, &action, NULL);
    mapping ours = map_file(4 * PAGE), theirs = map_file(4 * PAGE);
    KL_CHECK(kl_fault_guard_add(ours.base, ours.bytes, NULL) >= 0);
    KL_CHECK(ftruncate(ours.file, 0) == 0 && ftruncate(theirs.file, 0) == 0);
    if (sigsetjmp(escape, 1) == 0) (void)read_byte(theirs.base);
    KL_CHECK_EQ(former_calls, 1);
    if (sigsetjmp(escape, 1) == 0) (void)read_byte(theirs.base + PAGE);
    KL_CHECK_EQ(former_calls, 2);
    KL_CHECK_EQ(read_byte(ours.base), 0);
    KL_CHECK_EQ(former_calls, 2);
    if (sigsetjmp(escape, 1) == 0) raise(SIGBUS); /* sent, not a fault: not ours either */
    KL_CHECK_EQ(former_calls, 3);
    return 0;
}

KL_TEST(kl_fault_guard_leaves_all_other_faults_to_the_former_handler) {
    KL_CHECK_EQ(in_child(chain_body), 0);
}

static int unguarded_body(void *unused) {
    (void)unused;
    mapping ours = map_file(PAGE), theirs = map_file(PAGE);
    kl_fault_guard_add(ours.base, ours.bytes, NULL);
    (void)!freopen("/dev/null", "w", stderr); /* a sanitizer explains itself there */
    KL_CHECK(ftruncate(theirs.file, 0) == 0);
    (void)read_byte(theirs.base);
    return 0;
}

static int sent_body(void *unused) {
    (void)unused;
    mapping ours = map_file(PAGE);
    kl_fault_guard_add(ours.base, ours.bytes, NULL);
    (void)!freopen("/dev/null", "w", stderr);
    raise(SIGBUS);
    return 0;
}

KL_TEST(kl_fault_guard_lets_a_fault_that_is_nobodys_kill_as_before) {
    KL_CHECK_NE(in_child(unguarded_body), 0);
    KL_CHECK_NE(in_child(sent_body), 0);
    if (!kl_test_slow()) {
        KL_CHECK_EQ(in_child(unguarded_body), 128 + SIGBUS);
        KL_CHECK_EQ(in_child(sent_body), 128 + SIGBUS);
    }
}

static int reset_body(void *unused) {
    (void)unused;
    mapping first = map_file(2 * PAGE), second = map_file(2 * PAGE);
    kl_fault_guard_add(first.base, first.bytes, NULL);
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigaction(SIGBUS, &standard, NULL);
    kl_fault_guard_add(second.base, second.bytes, NULL);
    KL_CHECK(ftruncate(first.file, 0) == 0 && ftruncate(second.file, 0) == 0);
    KL_CHECK_EQ(read_byte(first.base) + read_byte(second.base), 0);
    return 0;
}

KL_TEST(kl_fault_guard_add_installs_again_what_was_set_back_to_the_default) {
    KL_CHECK_EQ(in_child(reset_body), 0);
}

static int removed_body(void *unused) {
    (void)unused;
    mapping file = map_file(2 * PAGE);
    int32_t entry = kl_fault_guard_add(file.base, file.bytes, NULL);
    kl_fault_guard_remove(entry);
    /* A thread that faulted before the range was replaced comes to the handler only now. */
    KL_CHECK(ftruncate(file.file, 0) == 0);
    KL_CHECK_EQ(read_byte(file.base), 0);
    /* The table is fixed: places of removed entries are used again, live ones never. */
    static uint8_t places[KL_FAULT_RANGES_MAX];
    for (uint32_t i = 0; i < KL_FAULT_RANGES_MAX; i++) {
        entry = kl_fault_guard_add(file.base + PAGE, 1, NULL);
        KL_CHECK(entry >= 0 && entry < (int32_t)KL_FAULT_RANGES_MAX && places[entry] == 0);
        places[entry] = 1;
    }
    KL_CHECK_EQ(kl_fault_guard_add(file.base, PAGE, NULL), -7);
    kl_fault_guard_remove(500);
    KL_CHECK_EQ(kl_fault_guard_add(file.base, PAGE, NULL), 500);
    return 0;
}

KL_TEST(kl_fault_guard_remove_keeps_answering_until_the_place_is_needed) {
    KL_CHECK_EQ(in_child(removed_body), 0);
}

static mapping stormed;

static void storm(void *unused, uint32_t index) {
    (void)unused;
    for (uint32_t round = 0; round < 200; round++) {
        if (index == 0 && round == 100) KL_CHECK(ftruncate(stormed.file, 0) == 0);
        for (size_t page = index % 2; page < 64; page += 2)
            (void)atomic_load_explicit((_Atomic uint8_t *)(stormed.base + page * PAGE),
                                       memory_order_relaxed);
        if (index == 3) { /* entries come and go meanwhile */
            int32_t entry = kl_fault_guard_add(stormed.base, 1, NULL);
            kl_fault_guard_remove(entry);
        }
    }
}

static int storm_body(void *unused) {
    (void)unused;
    stormed = map_file(64 * PAGE);
    int32_t entry = kl_fault_guard_add(stormed.base, stormed.bytes, NULL);
    kl_test_threads(4, storm, NULL);
    KL_CHECK_EQ(atomic_load(kl_fault_guard_flag(entry)), 1);
    return 0;
}

KL_TEST(kl_fault_guard_holds_when_many_threads_fault_at_once) {
    KL_CHECK_EQ(in_child(storm_body), 0);
}
