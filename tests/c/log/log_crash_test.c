/* Children that are killed, and what the next open must find. The child is this program again
 * (a constructor below takes over), so that it has threads of its own. */
#include "base/random.h"
#include "log/durable_log.h"
#include "log/log_flush.h"
#include "log/log_reader.h"
#include "log/log_state.h"
#include "log/log_truncate.h"
#include "tests/c/harness.h"
#include "tests/c/log/log_fixture.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WRITERS   3u
#define OPEN_ONLY UINT32_MAX /* as a limit of records */
#define FILL_RING (UINT32_MAX - 1)

enum { ACK_BUFFERED = 1, ACK_DURABLE = 2 };

typedef struct {
    uint32_t writer;
    uint32_t kind;
    uint64_t count; /* records of this writer that are acknowledged */
} ack;

/* ---- the child ---- */

typedef struct {
    kl_log *log;
    uint32_t writer;
    uint32_t limit; /* records; 0: until killed */
    uint64_t from;
    uint64_t seed;
    int acks;
    bool truncates;
    uint64_t earlier; /* where it cuts next: its last but one commit */
} child_writer;

static void tell(int acks, uint32_t writer, uint32_t kind, uint64_t count) {
    ack said = {.writer = writer, .kind = kind, .count = count};
    while (write(acks, &said, sizeof said) < 0 && errno == EINTR) {
    }
}

static void *child_write(void *argument) {
    child_writer *w = argument;
    kl_random random;
    kl_random_init(&random, w->seed + w->writer);
    uint8_t data[20000];
    for (uint64_t i = w->from; w->limit == 0 || i < w->from + w->limit; i++) {
        bool large = kl_random_below(&random, 20) == 0;
        uint32_t bytes = 16 + (uint32_t)kl_random_below(&random, large ? 19000 : 800);
        fixture_fill(data, bytes, w->writer, i);
        kl_span parts[2] = {{data, bytes / 3}, {data + bytes / 3, bytes - bytes / 3}};
        int64_t address = kl_log_append(w->log, KL_LOG_RECORD, parts, 2, 1);
        if (address < 0) _exit(3);
        tell(w->acks, w->writer, ACK_BUFFERED, i + 1);
        if (kl_random_below(&random, 10) != 0) continue;
        if (kl_log_commit(w->log, (uint64_t)address + 1, KL_LOG_FOREVER) != KL_OK) _exit(4);
        tell(w->acks, w->writer, ACK_DURABLE, i + 1);
        if (kl_random_below(&random, 8) == 0) usleep(7000); /* long enough for a commit record */
        if (w->truncates && kl_random_below(&random, 6) == 0) {
            if (kl_log_truncate_before(w->log, w->earlier) != KL_OK) _exit(6);
            w->earlier = (uint64_t)address;
        }
    }
    return NULL;
}

/* Has blocks flushed up to the middle of a frame, then fills the ring, whose room has become free up
 * to there, and dies. */
static void child_fill_ring(child_writer *w) {
    uint8_t data[1000];
    kl_log_slot *slot;
    w->log->flush_step = UINT64_MAX / 2; /* no flush but ours */
    for (uint64_t i = w->from;; i++) {
        uint32_t bytes = 100 + (uint32_t)((w->seed + i * 7919) % 900);
        uint64_t tail = kl_log_tail(w->log);
        if (!kl_log_ring_has_room(&w->log->ring, tail + kl_log_frame_total(bytes))) break;
        fixture_fill(data, bytes, w->writer, i);
        kl_span part = {data, bytes};
        if (kl_log_append(w->log, KL_LOG_RECORD, &part, 1, 1) < 0) _exit(3);
        if (i == w->from + 20 && kl_log_flush_safe(w->log, true) != KL_OK) _exit(4);
        tell(w->acks, w->writer, ACK_BUFFERED, i + 1);
    }
    /* And an append that dies in the middle. */
    if (w->seed % 2 == 0 && (slot = kl_log_ring_enter(&w->log->ring)) != NULL)
        (void)kl_log_ring_reserve(&w->log->ring, slot, 4096);
    kill(getpid(), SIGKILL);
}

static const char *text_of(const char *name) {
    const char *text = getenv(name);
    return text == NULL ? "" : text;
}

static uint64_t number_of(const char *name) {
    return strtoull(text_of(name), NULL, 10);
}

#ifdef KL_DEBUG
static _Atomic uint64_t killpoints_left; /* 0: never */

void kl_killpoint_hook(const char *name);
void kl_killpoint_hook(const char *name) {
    (void)name;
    if (atomic_load(&killpoints_left) != 0 && atomic_fetch_sub(&killpoints_left, 1) == 1)
        kill(getpid(), SIGKILL);
}
#endif

__attribute__((constructor)) static void child_main(void) {
    if (text_of("LOG_CHILD_FOLDER")[0] == '\0') return;
#ifdef KL_DEBUG
    atomic_store(&killpoints_left, number_of("LOG_CHILD_KILLPOINT"));
#endif
    kl_log_options options = {.segment_bytes = FIXTURE_SEGMENT,
                              .ring_bytes = FIXTURE_RING,
                              .scan_bytes = number_of("LOG_CHILD_SCAN")};
    kl_log *log;
    if (kl_log_open(&log, text_of("LOG_CHILD_FOLDER"), &options) != KL_OK) {
        fprintf(stderr, "child: %s\n", kl_status_last());
        _exit(2);
    }
    if (number_of("LOG_CHILD_LIMIT") == OPEN_ONLY) _exit(kl_log_close(log) == KL_OK ? 0 : 5);
    pthread_t threads[WRITERS];
    child_writer writers[WRITERS];
    for (uint32_t i = 0; i < WRITERS; i++) {
        char name[32];
        snprintf(name, sizeof name, "LOG_CHILD_FROM_%u", i);
        writers[i] = (child_writer){.log = log,
                                    .writer = i,
                                    .limit = (uint32_t)number_of("LOG_CHILD_LIMIT"),
                                    .from = number_of(name),
                                    .seed = number_of("LOG_CHILD_SEED"),
                                    .acks = (int)number_of("LOG_CHILD_ACKS"),
                                    .truncates = i == 0 && number_of("LOG_CHILD_TRUNCATES") != 0};
        if (writers[i].limit == FILL_RING) child_fill_ring(&writers[i]);
        pthread_create(&threads[i], NULL, child_write, &writers[i]);
    }
    for (uint32_t i = 0; i < WRITERS; i++) pthread_join(threads[i], NULL);
    _exit(kl_log_close(log) == KL_OK ? 0 : 5);
}

/* ---- the parent ---- */

typedef struct {
    const char *folder;
    uint64_t scan_bytes;
    bool truncates;
    uint64_t buffered[WRITERS]; /* acknowledged counts */
    uint64_t durable[WRITERS];
    uint64_t found[WRITERS]; /* by the last check */
} model;

static void set_number(const char *name, uint64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    setenv(name, text, 1);
}

static pid_t start_child(model *m, uint64_t seed, uint32_t limit, uint64_t killpoint, int *acks) {
    int pipes[2];
    KL_CHECK_EQ(pipe(pipes), 0);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        close(pipes[0]);
        setenv("LOG_CHILD_FOLDER", m->folder, 1);
        set_number("LOG_CHILD_ACKS", (uint64_t)pipes[1]);
        set_number("LOG_CHILD_SEED", seed);
        set_number("LOG_CHILD_SCAN", m->scan_bytes);
        set_number("LOG_CHILD_TRUNCATES", m->truncates);
        set_number("LOG_CHILD_LIMIT", limit);
        set_number("LOG_CHILD_KILLPOINT", killpoint);
        for (uint32_t i = 0; i < WRITERS; i++) {
            char name[32];
            snprintf(name, sizeof name, "LOG_CHILD_FROM_%u", i);
            set_number(name, m->found[i]);
        }
        execl("/proc/self/exe", "child", (char *)NULL);
        _exit(99);
    }
    close(pipes[1]);
    *acks = pipes[0];
    return pid;
}

/* Takes acknowledgements until the pipe ends or `deadline_ns` has come. */
static void listen(model *m, int acks, uint64_t deadline_ns) {
    for (;;) {
        uint64_t now = kl_test_now_ns();
        if (now >= deadline_ns) return;
        struct pollfd ready = {.fd = acks, .events = POLLIN};
        if (poll(&ready, 1, (int)((deadline_ns - now) / 1000000) + 1) <= 0) continue;
        ack said[256];
        ssize_t bytes = read(acks, said, sizeof said);
        if (bytes <= 0) return;
        for (size_t i = 0; i < (size_t)bytes / sizeof said[0]; i++) {
            KL_CHECK_LT(said[i].writer, WRITERS);
            uint64_t *count = said[i].kind == ACK_DURABLE ? m->durable : m->buffered;
            if (said[i].count > count[said[i].writer]) count[said[i].writer] = said[i].count;
        }
    }
}

/* Opens and checks: every writer's records in order without a hole, and at least those promised. */
static void check(model *m, bool ring_survives) {
    kl_log *log = fixture_open_scan(m->folder, 0, m->scan_bytes);
    KL_CHECK_EQ(kl_log_durable(log), kl_log_tail(log));
    kl_log_reader *reader;
    kl_log_frame frame;
    int32_t status;
    memset(m->found, 0, sizeof m->found);
    KL_CHECK_EQ(kl_log_reader_open(&reader, m->folder, 0, 0), KL_OK);
    while ((status = kl_log_reader_next(reader, &frame)) == KL_OK) {
        uint64_t writer;
        memcpy(&writer, frame.payload, 8);
        KL_CHECK_LT(writer, (uint64_t)WRITERS);
        if (m->truncates && m->found[writer] == 0) memcpy(&m->found[writer], frame.payload + 8, 8);
        if (!fixture_is(frame.payload, frame.bytes, writer, m->found[writer])) {
            uint64_t number;
            memcpy(&number, frame.payload + 8, 8);
            fprintf(stderr,
                    "writer %llu: address %llu, %u bytes: record %llu, expected %llu (%s)\n",
                    (unsigned long long)writer, (unsigned long long)frame.address, frame.bytes,
                    (unsigned long long)number, (unsigned long long)m->found[writer],
                    kl_log_recovered(log)->reason);
            KL_CHECK_EQ(number, m->found[writer]);
            KL_CHECK_EQ(frame.bytes, 0u); /* the right record, with other bytes */
        }
        m->found[writer]++;
    }
    KL_CHECK_EQ(status, KL_ERR_END);
    kl_log_reader_close(reader);
    for (uint32_t i = 0; i < WRITERS; i++) {
        uint64_t promised = ring_survives ? m->buffered[i] : m->durable[i];
        /* None left: all that was promised was truncated away, for it was durable. */
        if (m->truncates && m->found[i] == 0) m->found[i] = promised;
        if (m->found[i] < promised)
            fprintf(stderr, "writer %u: found %llu, promised %llu (%s)\n", i,
                    (unsigned long long)m->found[i], (unsigned long long)promised,
                    kl_log_recovered(log)->reason);
        KL_CHECK_LE(promised, m->found[i]);
        m->buffered[i] = m->durable[i] = m->found[i]; /* the open made it durable */
    }
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
}

/* As small as it gets: every commit or two tells the manifest, and opens start there. */
#define SHORT_SCAN (8u * KL_LOG_BLOCK_BYTES)

static void kill_at_random(uint64_t scan_bytes, bool truncates) {
    model m = {.folder = kl_test_folder(), .scan_bytes = scan_bytes, .truncates = truncates};
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    KL_CHECK_EQ(kl_log_close(fixture_open(m.folder, KL_LOG_CREATE)), KL_OK);
    const char *wanted = getenv("LOG_CRASH_ROUNDS");
    int rounds = wanted != NULL ? atoi(wanted) : kl_test_slow() ? 5 : 30;
    for (int round = 0; round < rounds; round++) {
        int acks;
        pid_t pid = start_child(&m, kl_random_u64(&random) >> 8, 0, 0, &acks);
        listen(&m, acks, kl_test_now_ns() + (5 + kl_random_below(&random, 60)) * 1000000);
        kill(pid, SIGKILL);
        listen(&m, acks, UINT64_MAX);
        close(acks);
        KL_CHECK_EQ(kl_test_join(pid), 128 + SIGKILL);
        bool ring_survives = kl_random_below(&random, 3) != 0;
        if (!ring_survives) fixture_forget_ring(m.folder);
        check(&m, ring_survives);
    }
    KL_CHECK(m.found[0] > 0);
}

KL_TEST(kl_log_after_sigkill_at_random_has_all_that_was_promised) {
    kill_at_random(0, false);
}

KL_TEST(kl_log_that_truncates_after_sigkill_at_random_has_all_that_was_promised) {
    kill_at_random(0, true);
}

KL_TEST(kl_log_after_sigkill_at_random_with_a_short_scan_has_all_that_was_promised) {
    kill_at_random(SHORT_SCAN, false);
}

KL_TEST(kl_log_killed_with_a_full_ring_has_the_frame_that_is_half_in_the_file) {
    model m = {.folder = kl_test_folder()};
    KL_CHECK_EQ(kl_log_close(fixture_open(m.folder, KL_LOG_CREATE)), KL_OK);
    uint64_t seed = kl_test_seed() >> 8;
    for (uint64_t round = 0; round < (kl_test_slow() ? 5 : 20); round++) {
        int acks;
        uint64_t before = m.buffered[0];
        pid_t pid = start_child(&m, seed + round, FILL_RING, 0, &acks);
        listen(&m, acks, UINT64_MAX);
        close(acks);
        KL_CHECK_EQ(kl_test_join(pid), 128 + SIGKILL);
        KL_CHECK_LT(before + 60, m.buffered[0]);
        check(&m, true);
        KL_CHECK_LT(before + 60, m.found[0]);
    }
}

#ifdef KL_DEBUG
static void kill_at_each_killpoint(uint64_t scan_bytes, bool truncates) {
    model m = {.folder = kl_test_folder(), .scan_bytes = scan_bytes, .truncates = truncates};
    KL_CHECK_EQ(kl_log_close(fixture_open(m.folder, KL_LOG_CREATE)), KL_OK);
    uint64_t step = kl_test_slow() ? 37 : 7;
    for (uint64_t killpoint = 1;; killpoint += killpoint < 20 ? 1 : step) {
        int acks;
        pid_t pid = start_child(&m, killpoint, 40, killpoint, &acks);
        listen(&m, acks, UINT64_MAX);
        close(acks);
        int exit = kl_test_join(pid);
        if (killpoint % 3 == 0 && exit != 0) {
            /* Killed again while it recovers, before the check. */
            pid = start_child(&m, killpoint, OPEN_ONLY, 1 + killpoint % 5, &acks);
            listen(&m, acks, UINT64_MAX);
            close(acks);
            (void)kl_test_join(pid);
        }
        if (killpoint % 5 == 0 && exit != 0) {
            fixture_forget_ring(m.folder);
            check(&m, false);
        } else {
            check(&m, true);
        }
        if (exit == 0) break; /* walked past the last one */
        KL_CHECK_EQ(exit, 128 + SIGKILL);
    }
}

KL_TEST(kl_log_killed_at_each_killpoint_has_all_that_was_promised) {
    kill_at_each_killpoint(0, false);
}

KL_TEST(kl_log_that_truncates_killed_at_each_killpoint_has_all_that_was_promised) {
    kill_at_each_killpoint(SHORT_SCAN, true);
}

KL_TEST(kl_log_killed_at_each_killpoint_with_a_short_scan_has_all_that_was_promised) {
    kill_at_each_killpoint(SHORT_SCAN, false);
}
#endif
