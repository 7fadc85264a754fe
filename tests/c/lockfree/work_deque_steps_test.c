/* Killed at every step: each operation of a deque dies before each of its atomics, a thief acts
 * before each of them, and so does the successor that takes over. Every task is then found once. */
#include "lockfree/work_deque.h"

#include "tests/c/model/steps.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define CAPACITY 4u
#define NEVER    1000u /* a step that no operation has */

/* The second pop, done and the second push come after a pop that is not killed. */
enum operation { PUSH, POP, DONE, POP_AGAIN, PUSH_LATER, STEAL, STEAL_MANY, OPERATIONS };

/* What a child does. */
typedef struct {
    enum operation operation;
    uint32_t tasks;    /* in the deque before: 1, 2, ... */
    uint64_t steal_at; /* a thief in the same process takes a task before this step; NEVER: none */
    uint64_t kill_at;
} plan;

typedef struct {
    volatile uint32_t stolen[8]; /* how often a thief got that task; no step of its own */
} notes;

static char path[512];
static kl_region *region;
static notes *shared;
static kl_work_deque thief;

static void open_region(void) {
    kl_region_spec spec = {.kind = 1};
    snprintf(path, sizeof path, "%s/region", kl_test_folder());
    uint64_t bytes = kl_work_deque_memory_bytes(CAPACITY) + KL_LINE_BYTES;
    KL_CHECK_EQ(kl_region_create(&region, path, bytes + sizeof(notes), &spec), KL_OK);
    KL_CHECK_EQ(kl_region_publish(region), KL_OK);
    KL_CHECK_LE(0, kl_region_join(region, 0));
    shared = (notes *)(void *)(kl_region_data(region) + kl_work_deque_memory_bytes(CAPACITY));
}

/* A deque with the tasks 1 to `count`, owned by nobody. */
static void reset(uint32_t count, uint64_t start) {
    kl_work_deque deque;
    kl_work_deque_header *header = (kl_work_deque_header *)(void *)kl_region_data(region);
    KL_CHECK_EQ(kl_work_deque_format(header, CAPACITY), KL_OK);
    atomic_store_explicit(&header->top, start, memory_order_relaxed);
    atomic_store_explicit(&header->bottom, start, memory_order_relaxed);
    KL_CHECK_EQ(kl_work_deque_grip(&deque, header, kl_region_data_bytes(region)), KL_OK);
    for (uint32_t task = 1; task <= count; task++)
        KL_CHECK_EQ(kl_work_deque_push_so(&deque, task), KL_OK);
    memset((void *)shared, 0, sizeof *shared);
}

/* Grips and claims in a process of its own, or in this one. */
static kl_region *become_owner(kl_work_deque *deque) {
    kl_region *own = NULL;
    KL_CHECK_EQ(kl_region_attach(&own, path, NULL), KL_OK);
    KL_CHECK_LE(0, kl_region_join(own, 0));
    int32_t self = kl_region_thread_join(own);
    KL_CHECK_LE(1, self);
    KL_CHECK_EQ(kl_work_deque_grip(deque, kl_region_data(own), kl_region_data_bytes(own)), KL_OK);
    KL_CHECK_LE(0, kl_work_deque_claim(deque, own, (uint32_t)self));
    return own;
}

static void steal(uint32_t most) {
    uint64_t tasks[KL_WORK_DEQUE_BATCH_MAX];
    int32_t count = kl_work_deque_steal_mc(&thief, tasks, most);
    for (int32_t i = 0; i < count; i++) shared->stolen[tasks[i] % 8]++;
}

static void steal_one(void) {
    steal(1);
}

static int act(void *argument) {
    plan *it = argument;
    kl_work_deque deque;
    uint64_t task = 0;
    become_owner(&deque);
    thief = deque;
    if (it->operation >= DONE && it->operation <= PUSH_LATER) kl_work_deque_pop_so(&deque, &task);
    if (it->steal_at != NEVER) kl_steps_pause_at(it->steal_at, steal_one);
    kl_steps_kill_at(it->kill_at);
    switch (it->operation) {
    case PUSH:
    case PUSH_LATER: kl_work_deque_push_so(&deque, 7); break;
    case POP:
    case POP_AGAIN: kl_work_deque_pop_so(&deque, &task); break;
    case DONE: kl_work_deque_done_so(&deque); break;
    case STEAL: steal(1); break;
    default: steal(32); break;
    }
    kl_steps_kill_at(0);
    return 0;
}

static int succeed(void *k) {
    kl_region *own = NULL;
    kl_work_deque deque;
    KL_CHECK_EQ(kl_region_attach(&own, path, NULL), KL_OK);
    KL_CHECK_LE(0, kl_region_join(own, 0));
    uint32_t self = (uint32_t)kl_region_thread_join(own);
    KL_CHECK_EQ(kl_work_deque_grip(&deque, kl_region_data(own), kl_region_data_bytes(own)), KL_OK);
    kl_steps_kill_at(*(uint64_t *)k);
    int32_t status = kl_work_deque_claim(&deque, own, self);
    kl_steps_kill_at(0);
    return status >= 0 ? 0 : 3;
}

/* The survivor takes over and empties the deque; how often it found each task. */
static void drain(uint32_t *found) {
    kl_work_deque deque;
    kl_region *own = become_owner(&deque);
    uint64_t task;
    KL_CHECK_EQ(kl_work_deque_verify(&deque), KL_OK);
    if (kl_work_deque_current_so(&deque, &task) == KL_OK) found[task % 8]++;
    while (kl_work_deque_pop_so(&deque, &task) == KL_OK) found[task % 8]++;
    KL_CHECK_EQ(kl_work_deque_count(&deque), 0);
    for (uint32_t i = 1; i <= CAPACITY; i++) KL_CHECK_EQ(kl_work_deque_push_so(&deque, i), KL_OK);
    KL_CHECK_EQ(kl_work_deque_push_so(&deque, 9), KL_ERR_AGAIN);
    kl_region_close(own);
}

static void check_found(const plan *it, bool ended) {
    uint32_t found[8] = {0}, missing = 0;
    drain(found);
    bool thief_died = (it->operation == STEAL || it->operation == STEAL_MANY) && !ended;
    for (uint32_t task = 1; task <= it->tasks; task++) {
        uint32_t times = found[task] + shared->stolen[task];
        if ((it->operation == DONE || it->operation == POP_AGAIN) && task == it->tasks) {
            KL_CHECK_LE(times, 1); /* finished, or not yet */
        } else if (thief_died) {   /* the thief's own, oldest first, are gone with it */
            if (times == 0) KL_CHECK_EQ(++missing, task);
            KL_CHECK_LE(times, 1);
        } else if (times != 1) {
            KL_CHECK_EQ(times, 1);
        }
    }
    KL_CHECK_LE(missing, it->operation == STEAL ? 1 : (it->tasks + 1) / 2);
    bool pushed = it->operation == PUSH || it->operation == PUSH_LATER;
    KL_CHECK_LE(found[7], pushed ? 1 : 0);
    if (pushed && ended) KL_CHECK_EQ(found[7], 1);
}

/* Runs the plan, then kills successors at their step `second` (NEVER: none). Whether the plan ran to
 * its end; `second_ended`: whether the successor did. */
static bool run(plan it, uint64_t second, bool *second_ended) {
    reset(it.tasks, UINT64_MAX - 5); /* positions wrap on the way */
    int end = kl_test_join(kl_test_fork(act, &it));
    KL_CHECK(end == 0 || end == 128 + SIGKILL);
    *second_ended = true;
    if (second != NEVER) {
        int next = kl_test_join(kl_test_fork(succeed, &second));
        KL_CHECK(next == 0 || next == 128 + SIGKILL);
        *second_ended = next == 0;
    }
    check_found(&it, end == 0);
    return end == 0;
}

KL_TEST(kl_work_deque_D2_an_operation_killed_at_every_step_loses_and_repeats_no_task) {
    open_region();
    uint32_t kills = 0;
    bool ended = false, second_ended;
    for (uint32_t operation = 0; operation < OPERATIONS; operation++)
        for (uint32_t tasks = 0; tasks <= 3; tasks++) {
            plan it = {(enum operation)operation, tasks, NEVER, 1};
            for (ended = false; !ended; it.kill_at++, kills++)
                ended = run(it, NEVER, &second_ended);
        }
    KL_CHECK_LT(50, kills);
    kl_region_close(region);
}

KL_TEST(kl_work_deque_D2_a_thief_before_every_step_of_an_owner_that_dies_at_every_step) {
    open_region();
    for (uint32_t tasks = 1; tasks <= 2; tasks++)
        for (uint64_t steal_at = 1; steal_at <= 12; steal_at++) {
            plan it = {POP, tasks, steal_at, steal_at};
            bool ended = false, second_ended;
            for (; !ended; it.kill_at++) ended = run(it, NEVER, &second_ended);
        }
    kl_region_close(region);
}

KL_TEST(kl_work_deque_D2_a_successor_killed_at_every_step_leaves_it_to_the_next) {
    open_region();
    for (uint32_t tasks = 1; tasks <= 2; tasks++) {
        plan it = {POP, tasks, NEVER, 1};
        bool ended = false;
        for (; !ended; it.kill_at++) {
            bool second_ended = false;
            for (uint64_t second = 1; !second_ended; second++)
                ended = run(it, second, &second_ended);
        }
    }
    kl_region_close(region);
}
