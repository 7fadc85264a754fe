/* mpmc_queue under the memory models: every element comes out once, whole, in order; a slot is not
 * written again before it was read; the dead are recovered by anyone, also by two at once and beside
 * others who go on. Real calls on kl_model_alloc memory. */
#include "lockfree/mpmc_queue.h"
#include "tests/c/model/explorer.h"

#define CAPACITY 2u
#define VALUES   8u

static void *memory;
static kl_mpmc_queue queue;
static uint32_t seen[VALUES]; /* by value; twice is a data race or a wrong count */

static uint32_t self(void) {
    return kl_model_participant(kl_model_thread() < 0 ? UINT32_MAX : (uint32_t)kl_model_thread());
}

static bool push(uint64_t value) {
    int32_t status = kl_mpmc_queue_push_mp(&queue, self(), &value, NULL);
    KL_MODEL_CHECK(status == KL_OK || status == KL_ERR_AGAIN || status == KL_ERR_LOCKED);
    return status == KL_OK;
}

/* The value, or the status. */
static int32_t pop(void) {
    uint64_t value = 0;
    int32_t status = kl_mpmc_queue_pop_mc(&queue, self(), &value, NULL);
    KL_MODEL_CHECK(status == KL_OK || status == KL_ERR_AGAIN || status == KL_ERR_LOCKED);
    if (status != KL_OK) return status;
    KL_MODEL_CHECK(value > 0 && value < VALUES);
    seen[value % VALUES]++;
    return (int32_t)value;
}

static void format(uint64_t filled, uint32_t mode) {
    kl_mpmc_queue_geometry geometry = {CAPACITY, 8, mode};
    uint64_t bytes = kl_mpmc_queue_memory_bytes(&geometry);
    memory = kl_model_alloc(bytes);
    KL_MODEL_CHECK_EQ(kl_mpmc_queue_format(memory, &geometry), KL_OK);
    KL_MODEL_CHECK_EQ(kl_mpmc_queue_grip(&queue, memory, bytes), KL_OK);
    kl_model_name(memory, KL_MPMC_QUEUE_HEADER_BYTES, "header");
    kl_model_name((uint8_t *)memory + KL_MPMC_QUEUE_HEADER_BYTES, CAPACITY * 16, "slots");
    for (uint64_t value = 1; value <= filled; value++) KL_MODEL_CHECK(push(value));
}

/* All is quiet: the rest comes out in order, everything from `first` to `last` was seen once. */
static void check_once(int32_t first, int32_t last) {
    int32_t value;
    while ((value = pop()) > 0) {
    }
    KL_MODEL_CHECK_EQ(value, KL_ERR_AGAIN);
    KL_MODEL_CHECK_EQ(kl_mpmc_queue_size(&queue), 0);
    KL_MODEL_CHECK_EQ(kl_mpmc_queue_verify(&queue), KL_OK);
    for (int32_t at = first; at <= last; at++) KL_MODEL_CHECK_EQ(seen[at], 1);
    KL_MODEL_CHECK(push(1) && push(2) && !push(3));
}

/* ---- one pushes, one pops ---- */

static void empty(void) {
    format(0, KL_MPMC_QUEUE_RETURNS);
}
static void push_one_two(void) {
    KL_MODEL_CHECK(push(1));
    KL_MODEL_CHECK(push(2));
}
static void pop_two(void) {
    int32_t first = pop(), second = pop();
    if (first > 0) KL_MODEL_CHECK_EQ(first, 1);
    if (second > 0) KL_MODEL_CHECK_EQ(second, first > 0 ? 2 : 1);
    kl_model_expect("both came", second == 2);
    kl_model_expect("was empty", first == KL_ERR_AGAIN);
    kl_model_expect("was in the way", first == KL_ERR_LOCKED);
}
static void one_and_two(void) {
    check_once(1, 2);
}
KL_MODEL(kl_mpmc_queue_model_elements_arrive_whole_and_in_order, .setup = empty,
         .threads = {push_one_two, pop_two}, .finally = one_and_two)

/* ---- full: a slot is used again only when it was read ---- */

static void full(void) {
    format(2, KL_MPMC_QUEUE_RETURNS);
}
static void push_three(void) {
    bool done = push(3);
    kl_model_expect("found room", done);
    kl_model_expect("was full", !done);
    seen[3] = done ? seen[3] : 1;
}
static void pop_one(void) {
    KL_MODEL_CHECK_EQ(pop(), 1);
}
static void one_to_three(void) {
    check_once(1, 3);
}
KL_MODEL(kl_mpmc_queue_model_a_slot_is_reused_after_it_was_read, .setup = full,
         .threads = {push_three, pop_one}, .finally = one_to_three)

/* ---- two of a kind ---- */

static void push_one(void) {
    KL_MODEL_CHECK(push(1));
}
static void push_two(void) {
    KL_MODEL_CHECK(push(2));
}
KL_MODEL(kl_mpmc_queue_model_two_producers, .setup = empty, .threads = {push_one, push_two},
         .finally = one_and_two)

static void pop_any(void) {
    KL_MODEL_CHECK(pop() > 0);
}
KL_MODEL(kl_mpmc_queue_model_two_consumers, .setup = full, .threads = {pop_any, pop_any},
         .finally = one_and_two)

static void push_batch(void) {
    uint64_t values[2] = {1, 2};
    KL_MODEL_CHECK_EQ(kl_mpmc_queue_push_batch_mp(&queue, self(), values, 2, NULL), 2);
}
static void pop_batch(void) {
    uint64_t values[2];
    int32_t count = kl_mpmc_queue_pop_batch_mc(&queue, self(), values, 2, NULL);
    for (int32_t i = 0; i < count; i++) {
        KL_MODEL_CHECK_EQ(values[i], i + 1);
        seen[values[i] % VALUES]++;
    }
}
KL_MODEL(kl_mpmc_queue_model_batches, .setup = empty, .threads = {push_batch, pop_batch},
         .finally = one_and_two)

/* ---- deaths ---- */

static void recover_first(void) {
    kl_model_join(0);
    if (kl_model_died(0)) kl_mpmc_queue_recover(&queue, kl_model_participant(0));
}
static void push_or_die(void) {
    push(1);
}
/* Whole or not at all: and whoever lives goes on. */
static void check_killed_push(void) {
    if (kl_model_died(0)) kl_mpmc_queue_recover(&queue, kl_model_participant(0));
    int32_t value;
    while ((value = pop()) > 0) {
    }
    KL_MODEL_CHECK_EQ(value, KL_ERR_AGAIN);
    KL_MODEL_CHECK(seen[1] == 1 || (seen[1] == 0 && kl_model_died(0)));
    KL_MODEL_CHECK_EQ(seen[2], 1);
    KL_MODEL_CHECK_EQ(kl_mpmc_queue_verify(&queue), KL_OK);
}
KL_MODEL(kl_mpmc_queue_model_a_killed_push_is_whole_or_nothing, .setup = empty,
         .threads = {push_or_die, push_two, recover_first}, .finally = check_killed_push, .kill = 1,
         .preemptions = 4)

static void pop_or_die(void) {
    pop();
}
/* What the dead had taken comes back; what it had given back is gone with it. */
static void check_killed_pop(void) {
    if (kl_model_died(0)) kl_mpmc_queue_recover(&queue, kl_model_participant(0));
    int32_t value;
    while ((value = pop()) > 0) {
    }
    KL_MODEL_CHECK_EQ(value, KL_ERR_AGAIN);
    KL_MODEL_CHECK_EQ(kl_mpmc_queue_size(&queue), 0);
    KL_MODEL_CHECK_EQ(kl_mpmc_queue_verify(&queue), KL_OK);
    KL_MODEL_CHECK(seen[1] <= 1 && seen[2] <= 1);
    KL_MODEL_CHECK(seen[1] + seen[2] == 2);
    KL_MODEL_CHECK(push(3) && push(4) && !push(5));
    KL_MODEL_CHECK(pop() == 3 && pop() == 4);
}
static void pop_beside(void) {
    int32_t value = pop();
    kl_model_expect("the other element", value == 2);
    kl_model_expect("the first element", value == 1);
}
KL_MODEL(kl_mpmc_queue_model_what_a_killed_pop_held_comes_back, .setup = full,
         .threads = {pop_or_die, pop_beside, recover_first}, .finally = check_killed_pop, .kill = 1,
         .preemptions = 4)

/* Both recover the same dead; one of them may die of it. */
static void taken_by_the_dead(void) {
    full();
    kl_model_kill(0);
    _Atomic uint64_t *slot = (_Atomic uint64_t *)(void *)queue.slots;
    atomic_store_explicit(slot, (uint64_t)kl_model_participant(0) << 2 | 3, memory_order_relaxed);
}
static void nothing(void) {}
static void recover(void) {
    kl_mpmc_queue_recover(&queue, kl_model_participant(0));
}
static void check_returned(void) {
    kl_mpmc_queue_recover(&queue, kl_model_participant(0));
    check_once(1, 2);
}
KL_MODEL(kl_mpmc_queue_model_a_recovery_beside_a_pop, .setup = taken_by_the_dead,
         .threads = {nothing, recover, pop_beside}, .finally = one_and_two)
KL_MODEL(kl_mpmc_queue_model_two_recover, .setup = taken_by_the_dead,
         .threads = {nothing, recover, recover}, .finally = one_and_two)
/* Head has passed what comes back: whoever sees it behind again must see why. */
static void passed_by_head(void) {
    taken_by_the_dead();
    KL_MODEL_CHECK_EQ(pop(), 2);
}
static void pop_twice_beside(void) {
    int32_t first = pop(), second = pop();
    KL_MODEL_CHECK(first != 1 || second == KL_ERR_AGAIN);
    kl_model_expect("it came back", first == 1);
    kl_model_expect("it came back a little later", second == 1);
}
KL_MODEL(kl_mpmc_queue_model_head_moves_back, .setup = passed_by_head,
         .threads = {nothing, recover, pop_twice_beside}, .finally = one_and_two)
KL_MODEL(kl_mpmc_queue_model_a_recovery_may_be_killed, .setup = taken_by_the_dead,
         .threads = {nothing, recover, recover}, .finally = check_returned, .kill = 6)
