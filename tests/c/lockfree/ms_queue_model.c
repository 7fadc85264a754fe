/* ms_queue under the memory models: elements travel whole and in order, none is lost or doubled, full and
 * empty are true, and after a death the witnesses tell what took place. */
#include <stdatomic.h>

#include "lockfree/ms_queue.h"
#include "tests/c/model/explorer.h"

static void *memory;
static uint64_t memory_bytes;
static kl_ms_queue ends[4]; /* by thread; the last of setup and finally */
static uint32_t got[4];
static int32_t status[4];

static kl_ms_queue *end(void) {
    int32_t thread = kl_model_thread();
    return &ends[thread < 0 ? 3 : thread];
}

static uint32_t id_of(uint32_t index) {
    return kl_participant_id(1 + index, index);
}

/* A queue with everybody joined, each holding a node for its next push, and 1, 2, ... in it. */
static void fill(uint32_t capacity, uint32_t count) {
    memory_bytes = kl_ms_queue_memory_bytes(capacity, 4);
    memory = kl_model_alloc(memory_bytes);
    kl_model_name(memory, memory_bytes, "queue");
    KL_MODEL_CHECK_EQ(kl_ms_queue_format(memory, capacity, 4), KL_OK);
    for (uint32_t i = 4; i-- > 0;) {
        KL_MODEL_CHECK_EQ(kl_ms_queue_grip(&ends[i], memory, memory_bytes), KL_OK);
        KL_MODEL_CHECK_EQ(kl_ms_queue_join(&ends[i], id_of(i)), KL_OK);
        uint32_t value = i;
        KL_MODEL_CHECK_EQ(kl_ms_queue_push(&ends[i], &value), KL_OK);
        KL_MODEL_CHECK_EQ(kl_ms_queue_pop(&ends[i], &value), KL_OK);
    }
    for (uint32_t value = 1; value <= count; value++)
        KL_MODEL_CHECK_EQ(kl_ms_queue_push(&ends[3], &value), KL_OK);
}

static void none_of_four(void) {
    fill(4, 0);
}
static void one_of_four(void) {
    fill(4, 1);
}
static void two_of_four(void) {
    fill(4, 2);
}
static void one_of_one(void) {
    fill(1, 1);
}

/* Pushes 10 + the thread's number. */
static void push(void) {
    uint32_t thread = (uint32_t)kl_model_thread(), value = 10 + thread;
    status[thread] = kl_ms_queue_push(end(), &value);
    KL_MODEL_CHECK(status[thread] == KL_OK || status[thread] == KL_ERR_AGAIN);
}

static void pop(void) {
    uint32_t thread = (uint32_t)kl_model_thread(), value = 0;
    status[thread] = kl_ms_queue_pop(end(), &value);
    KL_MODEL_CHECK(status[thread] == KL_OK || status[thread] == KL_ERR_AGAIN);
    if (status[thread] != KL_OK) return;
    got[thread] += value;
    KL_MODEL_CHECK(value != 0);
}

static void pop_and_push(void) {
    pop();
    push();
}
static void push_and_pop(void) {
    push();
    pop();
}

/* Takes everything out: each value at most once, `sum` in all with what the threads got. */
static void drain(uint32_t sum) {
    kl_ms_queue *it = end();
    uint32_t seen = 0, value, out = 0;
    KL_MODEL_CHECK_EQ(kl_ms_queue_verify(it), KL_OK);
    while (kl_ms_queue_pop(it, &value) == KL_OK) {
        KL_MODEL_CHECK(value < 32 && (seen >> value & 1) == 0);
        seen |= 1u << value;
        out += value;
    }
    KL_MODEL_CHECK_EQ(out, sum - got[0] - got[1] - got[2]);
}

static void nothing_is_lost(void) {
    drain(10);
    kl_model_expect("popped", got[1] == 10);
    kl_model_expect("came too early", got[1] == 0);
}
KL_MODEL(Q2_kl_ms_queue_model_hands_over_an_element, .setup = none_of_four, .threads = {push, pop},
         .finally = nothing_is_lost, .steps_max = 4000)

static void in_order(void) {
    KL_MODEL_CHECK_EQ(got[0] + got[1], 3);
    drain(3);
}
KL_MODEL(Q2_kl_ms_queue_model_two_pops_get_two_elements, .setup = two_of_four,
         .threads = {pop, pop}, .finally = in_order, .steps_max = 4000)

static void two_are_there(void) {
    KL_MODEL_CHECK_EQ(kl_ms_queue_size(end()), 3);
    drain(10 + 11 + 1);
}
KL_MODEL(Q2_kl_ms_queue_model_two_pushes_are_there, .setup = one_of_four, .threads = {push, push},
         .finally = two_are_there, .steps_max = 4000)

/* The node in front comes back at the end while another looks at it. */
static void recycled(void) {
    KL_MODEL_CHECK(got[0] != 0 && got[1] != 0); /* there was always one: never empty */
    drain(2 + 1 + 10);
}
KL_MODEL(Q2_kl_ms_queue_model_pops_while_the_front_comes_back, .setup = two_of_four,
         .threads = {pop_and_push, pop}, .finally = recycled, .memories = KL_MODEL_SC | KL_MODEL_RA,
         .preemptions = 2, .executions_max = 20000, .random = 2000, .steps_max = 4000)

static void both_pushed(void) {
    drain(1 + 10 + 11);
}
KL_MODEL(Q2_kl_ms_queue_model_pushes_while_the_last_comes_back, .setup = one_of_four,
         .threads = {pop_and_push, push}, .finally = both_pushed,
         .memories = KL_MODEL_SC | KL_MODEL_RA, .preemptions = 2, .executions_max = 20000,
         .random = 2000, .steps_max = 4000)

/* Who pushed finds something: its own, or what was in front of it. */
static void both_got_one(void) {
    KL_MODEL_CHECK_EQ(got[0] + got[1], 21);
    drain(21);
}
KL_MODEL(Q3_kl_ms_queue_model_who_pushed_finds_something, .setup = none_of_four,
         .threads = {push_and_pop, push_and_pop}, .finally = both_got_one,
         .memories = KL_MODEL_SC | KL_MODEL_RA, .preemptions = 2, .executions_max = 20000,
         .random = 2000, .steps_max = 4000)

static void full_was_true(void) {
    KL_MODEL_CHECK(kl_ms_queue_size(end()) <= 1);
    kl_model_expect("pushed", status[1] == KL_OK);
    kl_model_expect("full", status[1] == KL_ERR_AGAIN);
    drain(1 + (status[1] == KL_OK ? 11 : 0));
}
KL_MODEL(Q4_kl_ms_queue_model_is_never_more_than_full, .setup = one_of_one, .threads = {pop, push},
         .finally = full_was_true, .steps_max = 4000)

/* A third pops with what it knows from the second only. */
static void all_of_three(void) {
    drain(1 + 10);
}
KL_MODEL(Q2_kl_ms_queue_model_push_and_two_pops, .setup = one_of_four, .threads = {push, pop, pop},
         .finally = all_of_three, .memories = KL_MODEL_SC | KL_MODEL_RA, .preemptions = 2,
         .executions_max = 20000, .random = 2000, .steps_max = 4000)

/* ---- deaths ---- */

static void push_and_linger(void) {
    push();
    kl_model_pause();
}
static void pop_and_linger(void) {
    pop();
    kl_model_pause();
}

static void recover(void) {
    kl_model_join(0);
    if (!kl_region_alive(kl_model_region(), kl_model_participant(0)))
        kl_ms_queue_recover(end(), id_of(0), NULL, NULL);
}

static void whole(uint32_t sum) {
    kl_ms_queue *it = end();
    recover();
    KL_MODEL_CHECK_EQ(kl_ms_queue_verify(it), KL_OK);
    uint32_t out = got[1] + got[2], value;
    while (kl_ms_queue_pop(it, &value) == KL_OK) out += value;
    uint32_t lost = sum - out; /* what it had popped, or not pushed */
    if (!kl_model_died(0)) {
        KL_MODEL_CHECK_EQ(lost, got[0]);
        return;
    }
    KL_MODEL_CHECK(lost <= 2 || lost == 10);
    for (uint32_t i = 1; i < 4; i++) kl_ms_queue_leave(&ends[i]);
    KL_MODEL_CHECK_EQ(kl_index_pool_held(&it->pool, id_of(0)), 0);
    KL_MODEL_CHECK_EQ(kl_index_pool_held(&it->pool, 0), 1);
}

static void push_died(void) {
    whole(1 + 10);
}
static void push_died_behind_another(void) {
    whole(1 + 10 + 11);
}
static void pop_died(void) {
    whole(1 + 2);
}
KL_MODEL(Q2_kl_ms_queue_model_a_push_dies_and_another_pops_and_a_third_recovers,
         .setup = one_of_four, .threads = {push_and_linger, pop, recover}, .finally = push_died,
         .kill = 1, .memories = KL_MODEL_SC | KL_MODEL_RA, .preemptions = 2,
         .executions_max = 20000, .random = 2000, .steps_max = 4000)
KL_MODEL(Q2_kl_ms_queue_model_a_push_dies_and_another_pushes_and_a_third_recovers,
         .setup = one_of_four, .threads = {push_and_linger, push, recover},
         .finally = push_died_behind_another, .kill = 1, .memories = KL_MODEL_SC | KL_MODEL_RA,
         .preemptions = 2, .executions_max = 20000, .random = 2000, .steps_max = 4000)
KL_MODEL(Q2_kl_ms_queue_model_a_pop_dies_and_another_pops_and_a_third_recovers,
         .setup = two_of_four, .threads = {pop_and_linger, pop, recover}, .finally = pop_died,
         .kill = 1, .memories = KL_MODEL_SC | KL_MODEL_RA, .preemptions = 2,
         .executions_max = 20000, .random = 2000, .steps_max = 4000)

/* The node that was last comes back, and its owner dies before it is linked again: nobody must have
 * linked behind it, however old the tail is that he knows. */
static bool popped;

static void push_pop_and_push(void) {
    push();
    pop();
    popped = true;
    push();
}
static void nothing_hangs_behind_the_dead(void) {
    kl_ms_queue *it = end();
    recover();
    KL_MODEL_CHECK_EQ(kl_ms_queue_verify(it), KL_OK);
    bool found = got[0] == 11;
    uint32_t value;
    while (kl_ms_queue_pop(it, &value) == KL_OK) found |= value == 11;
    if (popped || !kl_model_died(0)) KL_MODEL_CHECK(found);
}
KL_MODEL(Q2_kl_ms_queue_model_nobody_links_behind_a_node_that_is_not_in_the_queue,
         .setup = none_of_four, .threads = {push_pop_and_push, push},
         .finally = nothing_hangs_behind_the_dead, .kill = 1, .memories = KL_MODEL_RA,
         .preemptions = 1, .executions_max = 20000, .random = 2000, .steps_max = 4000)

/* The node that the dead one linked behind comes back: what its next says then is not about that link. */
static void pop_and_push_twice(void) {
    pop();
    push();
    push();
}
static void linked_is_linked(void) {
    recover();
    KL_MODEL_CHECK_EQ(kl_ms_queue_verify(end()), KL_OK);
}
KL_MODEL(Q2_kl_ms_queue_model_a_link_is_not_judged_by_a_node_that_came_back, .setup = none_of_four,
         .threads = {push_and_linger, pop_and_push_twice, recover}, .finally = linked_is_linked,
         .kill = 1, .memories = KL_MODEL_RA, .preemptions = 1, .executions_max = 30000,
         .random = 2000, .steps_max = 4000)
