/* work_deque under the memory models: every task is taken once, by the owner or a thief, and with what was
 * written before its push; a slot is not written again before it was read; a dead owner's successor
 * finds what it left. Real calls on kl_model_alloc memory. */
#include "lockfree/work_deque.h"
#include "tests/c/model/explorer.h"

#define CAPACITY 2u
#define TASKS    8u

static void *memory;
static kl_work_deque owner, thief, heir; /* each a process's own grip */
static uint32_t payload[TASKS];          /* plain: written before the push, read by who takes it */
static uint32_t taken[TASKS];            /* by task; each is written by who took it */

static void format(uint64_t position) {
    uint64_t bytes = kl_work_deque_memory_bytes(CAPACITY);
    memory = kl_model_alloc(bytes);
    KL_MODEL_CHECK_EQ(kl_work_deque_format(memory, CAPACITY), KL_OK);
    kl_work_deque_header *header = memory;
    atomic_store_explicit(&header->top, position, memory_order_relaxed);
    atomic_store_explicit(&header->bottom, position, memory_order_relaxed);
    KL_MODEL_CHECK_EQ(kl_work_deque_grip(&owner, memory, bytes), KL_OK);
    KL_MODEL_CHECK_EQ(kl_work_deque_grip(&thief, memory, bytes), KL_OK);
    KL_MODEL_CHECK_EQ(kl_work_deque_grip(&heir, memory, bytes), KL_OK);
    kl_model_name(memory, KL_WORK_DEQUE_HEADER_BYTES, "header");
    kl_model_name((uint8_t *)memory + KL_WORK_DEQUE_HEADER_BYTES, CAPACITY * 8, "slots");
}

static void push(uint64_t task) {
    payload[task] = 70 + (uint32_t)task;
    KL_MODEL_CHECK_EQ(kl_work_deque_push_so(&owner, task), KL_OK);
}

static void take(uint64_t task) {
    KL_MODEL_CHECK(task > 0 && task < TASKS);
    KL_MODEL_CHECK_EQ(payload[task % TASKS], 70 + task % TASKS);
    taken[task % TASKS]++; /* twice is a data race, or a wrong count at the end */
}

static bool pop(void) {
    uint64_t task;
    int32_t status = kl_work_deque_pop_so(&owner, &task);
    KL_MODEL_CHECK(status == KL_OK || status == KL_ERR_AGAIN);
    if (status == KL_OK) take(task);
    return status == KL_OK;
}

static int32_t steal(uint32_t most) {
    uint64_t tasks[KL_WORK_DEQUE_BATCH_MAX];
    int32_t count = kl_work_deque_steal_mc(&thief, tasks, most);
    KL_MODEL_CHECK(count >= 0 || count == KL_ERR_AGAIN);
    for (int32_t i = 0; i < count; i++) take(tasks[i]);
    return count;
}

static void steal_one(void) {
    steal(1);
}

/* All is quiet: what is left, and every task `first` to `last` once. */
static void check_once(uint64_t first, uint64_t last) {
    while (pop()) {
    }
    KL_MODEL_CHECK_EQ(kl_work_deque_verify(&owner), KL_OK);
    for (uint64_t task = first; task <= last; task++) KL_MODEL_CHECK_EQ(taken[task], 1);
}

/* ---- the owner takes the last task while a thief, or two, do ---- */

static void one_task(void) {
    format(0);
    push(1);
}
static void two_tasks(void) {
    format(0 - 2ull);
    push(1);
    push(2);
}
static void pop_one(void) {
    kl_model_expect("the owner was first", pop());
}
static void pop_all(void) {
    uint32_t count = 0;
    while (pop()) count++;
    kl_model_expect("the owner got none", count == 0);
    kl_model_expect("the owner got one", count == 1);
    kl_model_expect("the owner got both", count == 2);
}
static void check_one(void) {
    check_once(1, 1);
}
static void check_two(void) {
    check_once(1, 2);
}
KL_MODEL(kl_work_deque_model_D2_the_last_task_goes_to_one, .setup = one_task,
         .threads = {pop_one, steal_one}, .finally = check_one)
KL_MODEL(kl_work_deque_model_D2_two_thieves_and_the_owner, .setup = one_task,
         .threads = {pop_one, steal_one, steal_one}, .finally = check_one)

static void steal_twice(void) {
    if (steal(1) >= 0) steal(1);
}
KL_MODEL(kl_work_deque_model_D2_two_tasks_two_pops_two_steals, .setup = two_tasks,
         .threads = {pop_all, steal_twice}, .finally = check_two)

static void steal_batch(void) {
    int32_t count = steal(2);
    kl_model_expect("stolen", count == 1);
}
KL_MODEL(kl_work_deque_model_D2_two_thieves_of_two_tasks, .setup = two_tasks,
         .threads = {pop_one, steal_one, steal_batch}, .finally = check_two)

/* ---- what is pushed arrives whole; what pop leaves below stays visible ---- */

static void empty(void) {
    format(0);
}
static void push_one(void) {
    push(1);
}
static void push_two_pop_one(void) {
    push(1);
    push(2);
    pop();
}
KL_MODEL(kl_work_deque_model_D2_a_push_arrives_whole, .setup = empty,
         .threads = {push_one, steal_one}, .finally = check_one)
KL_MODEL(kl_work_deque_model_D2_a_pop_publishes_what_lies_below, .setup = empty,
         .threads = {push_two_pop_one, steal_one}, .finally = check_two)

/* ---- slots are used again: capacity 2, a third task over the first ---- */

static void push_the_third(void) {
    payload[3] = 73;
    if (kl_work_deque_push_so(&owner, 3) != KL_OK) {
        taken[3]++; /* full: nobody was to get it */
        kl_model_expect("full", true);
    } else {
        kl_model_expect("over the first", true);
    }
}
static void check_three(void) {
    check_once(1, 3);
}
KL_MODEL(kl_work_deque_model_D4_a_slot_is_written_again_after_it_was_read, .setup = two_tasks,
         .threads = {push_the_third, steal_one}, .finally = check_three)
KL_MODEL(kl_work_deque_model_D4_a_slot_is_written_again_with_two_thieves, .setup = two_tasks,
         .threads = {push_the_third, steal_one, steal_one}, .finally = check_three)

/* Who finds room again knows what the thief did before the theft that made it: reading the slot, too,
 * which the explorer cannot see happen too late (a load that gives what is stored afterwards). */
static uint32_t done_before;
static void steal_after_work(void) {
    done_before = 1;
    steal(1);
}
static void push_the_third_and_look(void) {
    push_the_third();
    if (taken[3] == 0) KL_MODEL_CHECK_EQ(done_before, 1);
}
KL_MODEL(kl_work_deque_model_D4_room_is_made_by_a_thief_that_is_done_with_it, .setup = two_tasks,
         .threads = {push_the_third_and_look, steal_after_work}, .finally = check_three)

static void pop_and_push(void) {
    if (pop())
        push(2);
    else
        taken[2]++;
}
KL_MODEL(kl_work_deque_model_D2_a_pop_then_a_push_in_the_same_place, .setup = one_task,
         .threads = {pop_and_push, steal_twice}, .finally = check_two)

/* ---- the owner dies; its successor takes over while a thief is at work ---- */

static bool executes[TASKS]; /* what the dead owner got to run, as its successor cannot know */

static void own_one_task(void) {
    format(0);
    kl_work_deque_header *header = memory;
    atomic_store_explicit(&header->owner, kl_model_participant_thread(0), memory_order_relaxed);
    push(1);
}
static void own_two_tasks(void) {
    own_one_task();
    push(2);
}
static void pop_and_die(void) {
    uint64_t task;
    if (kl_work_deque_pop_so(&owner, &task) == KL_OK) executes[task % TASKS] = true;
}
static void take_over(void) {
    uint64_t task;
    kl_model_join(0);
    int32_t status = kl_work_deque_claim(&heir, kl_model_region(),
                                         (uint32_t)kl_region_thread_join(kl_model_region()));
    if (status == KL_ERR_LOCKED) { /* it did not die: it has its task */
        KL_MODEL_CHECK(!kl_model_died(0));
        return;
    }
    KL_MODEL_CHECK_EQ(status, KL_OWNER_DEAD);
    kl_model_expect("taken over", true);
    if (kl_work_deque_current_so(&heir, &task) == KL_OK) {
        kl_model_expect("the dead one's own", true);
        take(task);
    }
    while (kl_work_deque_pop_so(&heir, &task) == KL_OK) take(task);
}
/* Once each: by the thief, or the successor, or by an owner that lived. */
static void check_taken_over(uint64_t last) {
    uint64_t task;
    if (!kl_model_died(0)) {
        for (task = 1; task <= last; task++) taken[task] += executes[task];
        check_once(1, last);
        return;
    }
    for (task = 1; task <= last; task++) KL_MODEL_CHECK_EQ(taken[task], 1);
}
static void check_one_left(void) {
    check_taken_over(1);
}
static void check_two_left(void) {
    check_taken_over(2);
}
KL_MODEL(kl_work_deque_model_D2_an_owner_dies_over_the_last_task, .setup = own_one_task,
         .threads = {pop_and_die, steal_one, take_over}, .finally = check_one_left, .kill = 1)
KL_MODEL(kl_work_deque_model_D2_an_owner_dies_over_a_task, .setup = own_two_tasks,
         .threads = {pop_and_die, steal_one, take_over}, .finally = check_two_left, .kill = 1)

/* What the dead one pushed reaches a thief by way of the successor's bottom. */
static void own_nothing(void) {
    format(0);
    kl_work_deque_header *header = memory;
    atomic_store_explicit(&header->owner, kl_model_participant_thread(0), memory_order_relaxed);
}
static void push_pop_and_die(void) {
    push(1);
    pop_and_die();
}
static void take_over_only(void) {
    kl_model_join(0);
    if (!kl_model_died(0)) return;
    KL_MODEL_CHECK_EQ(kl_work_deque_claim(&heir, kl_model_region(),
                                          (uint32_t)kl_region_thread_join(kl_model_region())),
                      KL_OWNER_DEAD);
}
static void check_after_successor(void) {
    uint64_t task;
    if (!kl_model_died(0)) return;
    if (kl_work_deque_current_so(&heir, &task) == KL_OK) take(task);
    while (kl_work_deque_pop_so(&heir, &task) == KL_OK) take(task);
    KL_MODEL_CHECK(taken[1] <= 1);
}
KL_MODEL(kl_work_deque_model_D2_a_thief_sees_what_the_dead_one_pushed, .setup = own_nothing,
         .threads = {push_pop_and_die, take_over_only, steal_one}, .finally = check_after_successor,
         .kill = 1)

/* Two successors; one may die while it mends. */
static void claim_only(void) {
    kl_work_deque_claim(&thief, kl_model_region(),
                        (uint32_t)kl_region_thread_join(kl_model_region()));
}
static void died_in_the_middle(void) {
    own_one_task();
    kl_work_deque_header *header = memory;
    atomic_store_explicit(&header->current, 1, memory_order_relaxed);
    atomic_store_explicit(&header->state, 0 | 1, memory_order_relaxed);
    atomic_store_explicit(&header->bottom, 0, memory_order_relaxed);
    kl_model_kill(0);
}
static void nothing(void) {}
static void claim_after_both(void) {
    uint64_t task;
    kl_model_join(1);
    int32_t status = kl_work_deque_claim(&heir, kl_model_region(),
                                         (uint32_t)kl_region_thread_join(kl_model_region()));
    KL_MODEL_CHECK_EQ(status, kl_model_died(1) ? KL_OWNER_DEAD : KL_ERR_LOCKED);
    if (status < 0) return;
    while (kl_work_deque_pop_so(&heir, &task) == KL_OK) take(task);
    KL_MODEL_CHECK_EQ(taken[1], 1);
}
KL_MODEL(kl_work_deque_model_D2_a_successor_dies_while_it_mends, .setup = died_in_the_middle,
         .threads = {nothing, claim_only, claim_after_both}, .kill = 2)

static _Atomic uint32_t claims;
static void claim_and_count(void) {
    kl_work_deque mine = heir;
    int32_t status = kl_work_deque_claim(&mine, kl_model_region(),
                                         (uint32_t)kl_region_thread_join(kl_model_region()));
    KL_MODEL_CHECK(status == KL_OWNER_DEAD || status == KL_ERR_LOCKED);
    if (status == KL_OWNER_DEAD) atomic_fetch_add_explicit(&claims, 1, memory_order_relaxed);
}
static void check_one_claim(void) {
    KL_MODEL_CHECK_EQ(atomic_load_explicit(&claims, memory_order_relaxed), 1);
}
KL_MODEL(kl_work_deque_model_exactly_one_takes_over, .setup = died_in_the_middle,
         .threads = {nothing, claim_and_count, claim_and_count}, .finally = check_one_claim)

/* The role changes hands between the living: release and claim. */
static void own_then_release(void) {
    push(2);
    kl_work_deque_release(&owner, kl_model_participant_thread(0));
}
static void claim_a_free_one(void) {
    uint64_t task;
    uint32_t self = (uint32_t)kl_region_thread_join(kl_model_region());
    if (kl_work_deque_claim(&heir, kl_model_region(), self) != KL_OK) {
        taken[1] = taken[2] = 1;
        return;
    }
    kl_model_expect("handed over", true);
    while (kl_work_deque_pop_so(&heir, &task) == KL_OK) take(task);
}
static void check_handed_over(void) {
    KL_MODEL_CHECK(taken[1] == 1 && taken[2] == 1);
}
KL_MODEL(kl_work_deque_model_a_role_is_handed_over_with_all_that_was_pushed, .setup = own_one_task,
         .threads = {own_then_release, claim_a_free_one}, .finally = check_handed_over)

/* ---- numbers ---- */

static void look_at_the_count(void) {
    KL_MODEL_CHECK(kl_work_deque_count(&thief) <= CAPACITY);
}
KL_MODEL(kl_work_deque_model_count_is_within_the_capacity, .setup = one_task,
         .threads = {pop_and_push, look_at_the_count})
