/* The ring, its users killed before each of their atomic steps, and those who clean up after them. */
#include "lockfree/mpsc_ring.h"

#include "tests/c/harness.h"
#include "tests/c/model/steps.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CAPACITY 256u
#define DEAD     0x101u /* the victim */
#define ME       0x102u
#define NEXT     0x103u /* a second consumer, killed cleaning up */
#define LAST     0x104u

enum action { PUSH, PUSH_BATCH, COMMIT, ABORT, POP, POP_BATCH, TAKE, UNBLOCK };

typedef struct {
    void *memory;
    kl_mpsc_ring ring;
    uint64_t start; /* where the ring's positions begin: decides who meets the end of data */
    uint32_t records, action;
    uint64_t kill_at;
} scene;

static uint32_t dead[4]; /* ends with 0 */

static bool lives(void *context, uint32_t owner) {
    (void)context;
    for (const uint32_t *one = dead; *one; one++)
        if (*one == owner) return false;
    return owner != 0;
}

static uint32_t size_of(uint32_t number) {
    return 9 + number * 7 % 30;
}

static void fill(uint8_t *bytes, uint32_t number) {
    memset(bytes, (int)(number + 1), size_of(number));
}

static int32_t push(kl_mpsc_ring *ring, uint32_t self, uint32_t number) {
    uint8_t bytes[64];
    fill(bytes, number);
    return kl_mpsc_ring_push_mp(ring, self, bytes, size_of(number));
}

/* `records` records of ME, numbered from 0; the victim's are 10, 11, 12. */
static void set(scene *it) {
    memset(dead, 0, sizeof dead);
    KL_CHECK_EQ(kl_mpsc_ring_format(it->memory, CAPACITY), KL_OK);
    kl_mpsc_ring_header *header = it->memory;
    header->tail = header->head = header->limit = it->start;
    KL_CHECK_EQ(kl_mpsc_ring_grip(&it->ring, it->memory, kl_mpsc_ring_memory_bytes(CAPACITY)), 0);
    KL_CHECK_EQ(kl_mpsc_ring_enlist_mp(&it->ring, DEAD), KL_OK);
    KL_CHECK_EQ(kl_mpsc_ring_enlist_mp(&it->ring, ME), KL_OK);
    for (uint32_t number = 0; number < it->records; number++)
        KL_CHECK_EQ(push(&it->ring, ME, number), KL_OK);
}

static uint32_t make_batch(uint8_t *batch) {
    uint32_t at = 0;
    for (uint32_t number = 10; number < 13; number++) {
        uint32_t bytes = size_of(number);
        memcpy(batch + at, &bytes, 4);
        fill(batch + at + 4, number);
        at += 4 + ((bytes + 3) & ~3u);
    }
    return at;
}

static void produce(scene *it, uint32_t action) {
    uint8_t bytes[200];
    uint64_t position;
    if (action == PUSH) {
        push(&it->ring, DEAD, 10);
    } else if (action == PUSH_BATCH) {
        uint32_t size = make_batch(bytes);
        kl_mpsc_ring_push_batch_mp(&it->ring, DEAD, bytes, size);
    } else if (kl_mpsc_ring_claim_mp(&it->ring, DEAD, size_of(10) + 20, &position) == KL_OK) {
        fill(kl_mpsc_ring_at(&it->ring, position), 10);
        if (action == COMMIT)
            kl_mpsc_ring_commit_mp(&it->ring, DEAD, position, size_of(10));
        else
            kl_mpsc_ring_abort_mp(&it->ring, DEAD, position);
    }
}

static void act(scene *it, uint32_t action) {
    uint8_t bytes[200];
    switch (action) {
    case POP:
    case POP_BATCH:
        kl_mpsc_ring_take(&it->ring, DEAD, lives, NULL);
        if (action == POP)
            kl_mpsc_ring_pop_sc(&it->ring, bytes, sizeof bytes);
        else
            kl_mpsc_ring_pop_batch_sc(&it->ring, bytes, sizeof bytes);
        break;
    case TAKE: kl_mpsc_ring_take(&it->ring, NEXT, lives, NULL); break;
    case UNBLOCK:
        kl_mpsc_ring_take(&it->ring, NEXT, lives, NULL);
        kl_mpsc_ring_unblock_sc(&it->ring, lives, NULL);
        kl_mpsc_ring_pop_sc(&it->ring, bytes, sizeof bytes);
        break;
    default: produce(it, action);
    }
}

static int victim(void *argument) {
    scene *it = argument;
    kl_steps_kill_at(it->kill_at);
    act(it, it->action);
    return 0;
}

static bool killed(scene *it, uint32_t action, uint64_t k) {
    it->action = action;
    it->kill_at = k;
    int end = kl_test_join(kl_test_fork(victim, it));
    if (end != 0) KL_CHECK_EQ(end, 128 + SIGKILL);
    return end != 0;
}

/* Pops all, unblocking where need be: the numbers seen, in bits; -1: nothing comes out any more
 * though something is there. */
static int32_t drain(scene *it) {
    uint8_t bytes[200], wanted[200];
    int32_t last = -1;
    uint32_t seen = 0;
    KL_CHECK_LE(0, kl_mpsc_ring_take(&it->ring, LAST, lives, NULL));
    for (uint32_t turn = 0; turn < 100; turn++) {
        int32_t size = kl_mpsc_ring_pop_sc(&it->ring, bytes, sizeof bytes);
        if (size == KL_ERR_AGAIN) return (int32_t)seen;
        if (size == KL_ERR_LOCKED) {
            KL_CHECK_EQ(kl_mpsc_ring_unblock_sc(&it->ring, lives, NULL), KL_OK);
            continue;
        }
        KL_CHECK_LT(0, size);
        uint32_t number = bytes[0] - 1u;
        KL_CHECK(number < 20 && (int32_t)number > last);
        fill(wanted, number);
        KL_CHECK_EQ(size, size_of(number)); /* whole, or not at all */
        KL_CHECK_BYTES(bytes, wanted, (size_t)size);
        last = (int32_t)number;
        seen |= 1u << number;
    }
    return -1;
}

/* One lap of the whole ring by who lives. */
static void use_whole(scene *it) {
    KL_CHECK_EQ(kl_mpsc_ring_verify(&it->ring), KL_OK);
    for (uint32_t number = 0; number < 20; number++) {
        KL_CHECK_EQ(push(&it->ring, ME, number), KL_OK);
        KL_CHECK_EQ(drain(it), 1 << number);
    }
    KL_CHECK_EQ(kl_mpsc_ring_verify(&it->ring), KL_OK);
}

/* A producer killed at k, whoever unblocks it killed at every j (in the short form: at the first ones
 * and some of the others, which look at 64 intents). */
static bool kill_producer(scene *it, uint32_t action, uint64_t k) {
    bool all_j = getenv("KEELSON_LONG") != NULL;
    for (uint64_t j = 1;; j += all_j ? 1 : 1 + j / 4) {
        set(it);
        bool was_killed = killed(it, action, k);
        if (was_killed) dead[0] = DEAD;
        KL_CHECK_EQ(push(&it->ring, ME, 15), KL_OK);
        uint64_t start = kl_test_now_ns();
        bool cleaner_killed = was_killed && killed(it, UNBLOCK, j);
        if (was_killed) dead[1] = NEXT; /* it has the consumer's side, perhaps */
        int32_t seen = drain(it), given = seen & 0x7c00;
        use_whole(it);
        KL_CHECK_LT(kl_test_now_ns() - start, 1000000000);
        int32_t before = (1 << it->records) - 1;
        /* The cleaner popped one perhaps, and only the oldest. */
        KL_CHECK((seen & before) == before || (was_killed && (seen & before) == (before & ~1)));
        bool cleaner_popped = was_killed && it->records == 0;
        KL_CHECK((seen & 1 << 15) || cleaner_popped);
        int32_t all = action == PUSH_BATCH ? 0x1c00 : action == ABORT ? 0 : 0x400;
        KL_CHECK(given == all || (was_killed && given == 0) ||
                 (cleaner_popped && given == (all & ~0x400)));
        if (!was_killed) return false;
        if (!cleaner_killed) return true;
    }
}

/* A consumer killed at k, its successor killed at every j. */
static bool kill_consumer(scene *it, uint32_t action, uint64_t k) {
    for (uint64_t j = 1;; j++) {
        set(it);
        bool was_killed = killed(it, action, k);
        dead[0] = DEAD;
        bool successor_killed = killed(it, TAKE, j);
        dead[1] = NEXT;
        int32_t seen = drain(it), all = (1 << it->records) - 1;
        use_whole(it);
        /* Seen again, or stepped over: from the oldest on, one, or as many as a batch has. */
        int32_t gone = all & ~seen;
        KL_CHECK_EQ(gone & (gone + 1), 0);
        if (action == POP) KL_CHECK_LE(gone, 1);
        if (!was_killed && it->records > 0) KL_CHECK_NE(gone, 0);
        if (!was_killed) return false;
        if (!successor_killed) return true;
    }
}

static scene new_scene(void) {
    scene it = {0};
    it.memory = mmap(NULL, kl_mpsc_ring_memory_bytes(CAPACITY), PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return it;
}

KL_TEST(kl_mpsc_ring_producers_killed_at_every_step_leave_nothing_half_done) {
    scene it = new_scene();
    /* Far from the end of data, in front of it by little, and where counters pass 2^32. */
    uint64_t starts[] = {0, CAPACITY - 32, (1ull << 32) - 48};
    for (uint32_t i = 0; i < 3; i++)
        for (it.records = 0; it.records < 2; it.records++) {
            it.start = starts[i];
            for (uint32_t action = PUSH; action <= ABORT; action++)
                for (uint64_t k = 1; kill_producer(&it, action, k); k++) KL_CHECK_LT(k, 100);
        }
    munmap(it.memory, kl_mpsc_ring_memory_bytes(CAPACITY));
}

KL_TEST(kl_mpsc_ring_consumers_killed_at_every_step_are_succeeded) {
    scene it = new_scene();
    for (it.start = 0; it.start < CAPACITY; it.start += CAPACITY - 40)
        for (it.records = 1; it.records <= 3; it.records++)
            for (uint32_t action = POP; action <= POP_BATCH; action++)
                for (uint64_t k = 1; kill_consumer(&it, action, k); k++) KL_CHECK_LT(k, 100);
    munmap(it.memory, kl_mpsc_ring_memory_bytes(CAPACITY));
}

/* ---- paused at every step, others go on ---- */

static scene paused;
static int32_t pushed_meanwhile, seen_meanwhile;

static void go_on(void) {
    for (uint32_t number = 16; number < 18; number++)
        if (push(&paused.ring, ME, number) == KL_OK) pushed_meanwhile |= 1 << number;
    uint8_t bytes[200];
    for (int32_t size; (size = kl_mpsc_ring_pop_sc(&paused.ring, bytes, 200)) > 0;)
        seen_meanwhile |= 1 << (bytes[0] - 1);
    /* Whoever stands there lives: it is waited for. */
    int32_t status = kl_mpsc_ring_unblock_sc(&paused.ring, lives, NULL);
    KL_CHECK(status == KL_ERR_AGAIN || status == KL_ERR_LOCKED);
}

static bool pause_at(uint32_t action, uint64_t k) {
    set(&paused);
    pushed_meanwhile = seen_meanwhile = 0;
    KL_CHECK_LE(0, kl_mpsc_ring_take(&paused.ring, LAST, lives, NULL));
    uint64_t before = kl_steps_count();
    kl_steps_pause_at(k, go_on);
    produce(&paused, action);
    kl_steps_pause_at(0, go_on);
    bool was_paused = kl_steps_count() - before >= k;
    int32_t own = action == PUSH_BATCH ? 0x1c00 : action == ABORT ? 0 : 0x400;
    uint8_t bytes[200], wanted[64];
    for (int32_t size; (size = kl_mpsc_ring_pop_sc(&paused.ring, bytes, 200)) > 0;) {
        uint32_t number = bytes[0] - 1u;
        fill(wanted, number);
        KL_CHECK_EQ(size, size_of(number));
        KL_CHECK_BYTES(bytes, wanted, (size_t)size);
        KL_CHECK(!(seen_meanwhile >> number & 1));
        seen_meanwhile |= 1 << number;
    }
    KL_CHECK_EQ(seen_meanwhile, own | pushed_meanwhile | ((1 << paused.records) - 1));
    KL_CHECK_EQ(kl_mpsc_ring_verify(&paused.ring), KL_OK);
    return was_paused;
}

KL_TEST(kl_mpsc_ring_producers_paused_at_every_step_are_waited_for) {
    paused = new_scene();
    for (paused.start = 0; paused.start < CAPACITY; paused.start += 40)
        for (paused.records = 0; paused.records < 2; paused.records++)
            for (uint32_t action = PUSH; action <= ABORT; action++)
                for (uint64_t k = 1; pause_at(action, k); k++) KL_CHECK_LT(k, 100);
    munmap(paused.memory, kl_mpsc_ring_memory_bytes(CAPACITY));
}
