/* The queue, its users killed before each of their atomic steps, and the recovery too. */
#include "lockfree/mpmc_queue.h"

#include "tests/c/harness.h"
#include "tests/c/model/steps.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CAPACITY 4u
#define DEAD     0x101u
#define ME       0x202u
#define BYTES    4096u
#define GIVEN    100u /* what the victim pushes: 100, 101, 102 */

typedef struct {
    void *memory;
    kl_mpmc_queue queue;
    uint32_t mode, filled, skipped; /* pushed before; of these popped before */
    uint32_t action;
    uint64_t kill_at;
} scene;

enum action { PUSH, PUSH_BATCH, POP, POP_BATCH, RECOVER, ACTIONS = RECOVER };

static void set(scene *it) {
    kl_mpmc_queue_geometry geometry = {CAPACITY, 8, it->mode};
    KL_CHECK_EQ(kl_mpmc_queue_format(it->memory, &geometry), KL_OK);
    KL_CHECK_EQ(kl_mpmc_queue_grip(&it->queue, it->memory, BYTES), KL_OK);
    for (uint64_t value = 0; value < it->skipped; value++) {
        KL_CHECK_EQ(kl_mpmc_queue_push_mp(&it->queue, ME, &value, NULL), KL_OK);
        KL_CHECK_EQ(kl_mpmc_queue_pop_mc(&it->queue, ME, &value, NULL), KL_OK);
    }
    for (uint64_t value = 0; value < it->filled; value++)
        KL_CHECK_EQ(kl_mpmc_queue_push_mp(&it->queue, ME, &value, NULL), KL_OK);
}

static void act(scene *it, uint32_t action) {
    uint64_t values[3] = {GIVEN, GIVEN + 1, GIVEN + 2};
    switch (action) {
    case PUSH: kl_mpmc_queue_push_mp(&it->queue, DEAD, values, NULL); break;
    case PUSH_BATCH: kl_mpmc_queue_push_batch_mp(&it->queue, DEAD, values, 3, NULL); break;
    case POP: kl_mpmc_queue_pop_mc(&it->queue, DEAD, values, NULL); break;
    case POP_BATCH: kl_mpmc_queue_pop_batch_mc(&it->queue, DEAD, values, 3, NULL); break;
    default: kl_mpmc_queue_recover(&it->queue, DEAD);
    }
}

static int victim(void *argument) {
    scene *it = argument;
    kl_steps_kill_at(it->kill_at);
    act(it, it->action);
    return 0;
}

/* Whether the action was killed before its k-th step; false: it has fewer. */
static bool killed(scene *it, uint32_t action, uint64_t k) {
    it->action = action;
    it->kill_at = k;
    int end = kl_test_join(kl_test_fork(victim, it));
    if (end != 0) KL_CHECK_EQ(end, 128 + SIGKILL);
    return end != 0;
}

/* Pops everything: what was there before comes in order, or is returned first; what the victim
 * pushed comes whole, in order, behind it. */
static void drain(scene *it, bool was_killed) {
    uint64_t value;
    uint32_t seen = 0, given = 0, before = 0;
    while (kl_mpmc_queue_pop_mc(&it->queue, ME, &value, NULL) == KL_OK) {
        if (value >= GIVEN) {
            KL_CHECK_EQ(value, GIVEN + given++);
            continue;
        }
        KL_CHECK(value < it->filled && !(seen >> value & 1) && given == 0);
        KL_CHECK(value >= before); /* FIFO holds: what is returned was the oldest */
        before = (uint32_t)value;
        seen |= 1u << value;
    }
    KL_CHECK_EQ(kl_mpmc_queue_size(&it->queue), 0);
    uint32_t all = (1u << it->filled) - 1, lost = (uint32_t)__builtin_popcount(all & ~seen);
    if (it->action == PUSH || it->action == PUSH_BATCH) KL_CHECK_EQ(seen, all);
    if (!was_killed) return;
    /* A batch that was killed between two of its elements had popped the first ones for good. */
    uint32_t most = it->action == POP_BATCH ? 3 : it->mode == KL_MPMC_QUEUE_RETURNS ? 0 : 1;
    KL_CHECK_LE(lost, most);
    if (it->mode == KL_MPMC_QUEUE_RETURNS && it->action == POP_BATCH) KL_CHECK_LE(lost, 2);
}

static void use_whole(scene *it) {
    uint64_t value;
    for (uint64_t i = 0; i < CAPACITY; i++)
        KL_CHECK_EQ(kl_mpmc_queue_push_mp(&it->queue, ME, &i, NULL), KL_OK);
    KL_CHECK_EQ(kl_mpmc_queue_push_mp(&it->queue, ME, &value, NULL), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_mpmc_queue_size(&it->queue), CAPACITY);
    for (uint64_t i = 0; i < CAPACITY; i++) {
        KL_CHECK_EQ(kl_mpmc_queue_pop_mc(&it->queue, ME, &value, NULL), KL_OK);
        KL_CHECK_EQ(value, i);
    }
    KL_CHECK_EQ(kl_mpmc_queue_pop_mc(&it->queue, ME, &value, NULL), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_mpmc_queue_verify(&it->queue), KL_OK);
}

/* The action killed at k, its recovery at every j, and once more by one who lives. */
static bool kill_both(scene *it, uint32_t action, uint64_t k) {
    for (uint64_t j = 1;; j++) {
        set(it);
        bool was_killed = killed(it, action, k);
        bool recovery_killed = was_killed && killed(it, RECOVER, j);
        it->action = action;
        uint64_t start = kl_test_now_ns();
        if (recovery_killed) {
            kl_mpmc_queue_recover(&it->queue, ME + 1); /* of the one who died recovering */
            kl_mpmc_queue_recover(&it->queue, DEAD);
        }
        drain(it, was_killed);
        use_whole(it);
        KL_CHECK_LT(kl_test_now_ns() - start, 1000000000);
        if (!was_killed) return false;
        if (!recovery_killed) return true;
    }
}

static void kill_everywhere(uint32_t mode) {
    scene it = {.mode = mode};
    it.memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (it.filled = 0; it.filled <= CAPACITY; it.filled += 2)
        for (it.skipped = getenv("KEELSON_LONG") ? 0 : 3; it.skipped <= 3; it.skipped += 3)
            for (uint32_t action = 0; action < ACTIONS; action++)
                for (uint64_t k = 1; kill_both(&it, action, k); k++) KL_CHECK_LT(k, 100);
    munmap(it.memory, BYTES);
}

KL_TEST(kl_mpmc_queue_killed_at_every_step_returns_what_was_taken) {
    kill_everywhere(KL_MPMC_QUEUE_RETURNS);
}

KL_TEST(kl_mpmc_queue_killed_at_every_step_drops_what_was_taken) {
    kill_everywhere(KL_MPMC_QUEUE_DROPS);
}

/* ---- paused at every step, others go on ---- */

static scene paused;
static uint64_t popped_by_others[16];
static uint32_t popped_count, pushed_count;

static void go_on(void) {
    for (uint64_t i = 0; i < 3; i++) {
        uint64_t value = 50 + i;
        if (kl_mpmc_queue_pop_mc(&paused.queue, ME, &popped_by_others[popped_count], NULL) == KL_OK)
            popped_count++;
        if (kl_mpmc_queue_push_mp(&paused.queue, ME, &value, NULL) == KL_OK) pushed_count++;
    }
}

/* A thread stands before its k-th step while others push and pop; then it goes on. Everything that
 * went in comes out once. */
static bool pause_at(uint32_t action, uint64_t k, uint32_t filled) {
    uint64_t values[3] = {GIVEN, GIVEN + 1, GIVEN + 2}, value;
    paused.filled = filled;
    set(&paused);
    popped_count = pushed_count = 0;
    uint64_t before = kl_steps_count();
    int32_t moved = 0;
    kl_steps_pause_at(k, go_on);
    if (action == PUSH)
        moved = kl_mpmc_queue_push_mp(&paused.queue, DEAD, values, NULL) == KL_OK;
    else if (action == PUSH_BATCH)
        moved = kl_mpmc_queue_push_batch_mp(&paused.queue, DEAD, values, 3, NULL);
    else if (action == POP)
        moved = kl_mpmc_queue_pop_mc(&paused.queue, DEAD, values, NULL) == KL_OK;
    else
        moved = kl_mpmc_queue_pop_batch_mc(&paused.queue, DEAD, values, 3, NULL);
    kl_steps_pause_at(0, go_on);
    bool was_paused = kl_steps_count() - before >= k;
    uint32_t in = filled + pushed_count, out = popped_count;
    moved = moved < 0 ? 0 : moved;
    if (action == PUSH || action == PUSH_BATCH)
        in += (uint32_t)moved;
    else
        out += (uint32_t)moved;
    while (kl_mpmc_queue_pop_mc(&paused.queue, ME, &value, NULL) == KL_OK) out++;
    KL_CHECK_EQ(in, out);
    KL_CHECK_EQ(kl_mpmc_queue_verify(&paused.queue), KL_OK);
    return was_paused;
}

KL_TEST(kl_mpmc_queue_paused_at_every_step_others_go_on_and_nothing_is_lost) {
    paused.memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (paused.skipped = 0; paused.skipped < 4; paused.skipped++)
        for (uint32_t filled = 0; filled <= CAPACITY; filled++)
            for (uint32_t action = 0; action < ACTIONS; action++)
                for (uint64_t k = 1; pause_at(action, k, filled); k++) KL_CHECK_LT(k, 100);
    munmap(paused.memory, BYTES);
}
