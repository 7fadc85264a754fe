/* stack under the memory models: elements travel whole, none is lost or doubled, full is true, and after
 * a death the witnesses tell what took place. */
#include <stdatomic.h>

#include "lockfree/stack.h"
#include "tests/c/model/explorer.h"

static void *memory;
static uint64_t memory_bytes;
static kl_stack ends[4]; /* by thread; the last of setup and finally */
static uint32_t got[4], nodes[4];
static int32_t status[4];

static kl_stack *end(void) {
    int32_t thread = kl_model_thread();
    return &ends[thread < 0 ? 3 : thread];
}

static uint32_t id_of(uint32_t index) {
    return kl_participant_id(1 + index, index);
}

/* An empty stack, with everybody joined. */
static void make(uint32_t capacity) {
    memory_bytes = kl_stack_memory_bytes(capacity, 4);
    memory = kl_model_alloc(memory_bytes);
    kl_model_name(memory, memory_bytes, "stack");
    KL_MODEL_CHECK_EQ(kl_stack_format(memory, capacity, 4), KL_OK);
    for (uint32_t i = 0; i < 4; i++) {
        KL_MODEL_CHECK_EQ(kl_stack_grip(&ends[i], memory, memory_bytes), KL_OK);
        KL_MODEL_CHECK_EQ(kl_stack_join(&ends[i], id_of(i)), KL_OK);
    }
}

/* Every thread holds a node that it got before. */
static void hand_out(void) {
    for (uint32_t i = 0; i < 3; i++)
        KL_MODEL_CHECK_EQ(kl_stack_take_node(&ends[i], &nodes[i]), KL_OK);
}

static void fill(uint32_t capacity, uint32_t count) {
    make(capacity);
    for (uint32_t value = 1; value <= count; value++)
        KL_MODEL_CHECK_EQ(kl_stack_push(&ends[3], &value), KL_OK);
    hand_out();
}

static void one_of_four(void) {
    fill(4, 1);
}
static void two_of_four(void) {
    fill(4, 2);
}
static void none_of_four(void) {
    fill(4, 0);
}
static void one_of_one(void) {
    fill(1, 1);
}
static void one_of_two(void) {
    fill(2, 1);
}

/* Pushes 10 + the thread's number, in the node it holds. */
static void push(void) {
    uint32_t thread = (uint32_t)kl_model_thread(), value = 10 + thread;
    *(uint32_t *)kl_stack_element(end(), nodes[thread]) = value;
    status[thread] = kl_stack_push_node(end(), nodes[thread]);
    KL_MODEL_CHECK(status[thread] == KL_OK || status[thread] == KL_ERR_AGAIN);
}

static void pop(void) {
    uint32_t thread = (uint32_t)kl_model_thread(), node = 0;
    status[thread] = kl_stack_pop_node(end(), &node);
    KL_MODEL_CHECK(status[thread] == KL_OK || status[thread] == KL_ERR_AGAIN);
    if (status[thread] != KL_OK) return;
    got[thread] = *(uint32_t *)kl_stack_element(end(), node);
    KL_MODEL_CHECK(got[thread] != 0);
    nodes[thread] = node;
}

/* The popped node goes back on top: what others loaded of it shows again, with another tag. */
static void pop_and_push(void) {
    pop();
    if (status[kl_model_thread()] == KL_OK) push();
}

/* Takes everything out: each value at most once, `sum` in all with what the threads got. */
static void drain(uint32_t sum) {
    kl_stack *it = end();
    uint32_t seen = 0, value, out = 0;
    KL_MODEL_CHECK_EQ(kl_stack_verify(it), KL_OK);
    while (kl_stack_pop(it, &value) == KL_OK) {
        KL_MODEL_CHECK(value < 32 && (seen >> value & 1) == 0);
        seen |= 1u << value;
        out += value;
    }
    KL_MODEL_CHECK_EQ(out, sum);
}

static void nothing_is_lost(void) {
    drain(10 - got[1]); /* one pushed 10, the other popped it or not */
    kl_model_expect("popped", got[1] == 10);
    kl_model_expect("came too early", got[1] == 0);
}
KL_MODEL(S1_kl_stack_model_hands_over_an_element, .setup = none_of_four, .threads = {push, pop},
         .finally = nothing_is_lost, .steps_max = 4000)

static void two_got_both(void) {
    KL_MODEL_CHECK_EQ(got[0] + got[1], 3);
    drain(0);
}
KL_MODEL(S1_kl_stack_model_two_pops_get_two_elements, .setup = two_of_four, .threads = {pop, pop},
         .finally = two_got_both, .steps_max = 4000)

static void two_are_there(void) {
    drain(10 + 11 + 1);
    KL_MODEL_CHECK_EQ(kl_stack_size(end()), 0);
}
KL_MODEL(S1_kl_stack_model_two_pushes_are_there, .setup = one_of_four, .threads = {push, push},
         .finally = two_are_there, .steps_max = 4000)

static void recycled(void) {
    drain(2 + 1 + 10 - got[0] - got[1]);
}
KL_MODEL(S2_kl_stack_model_pops_while_the_top_comes_back, .setup = two_of_four,
         .threads = {pop_and_push, pop}, .finally = recycled, .steps_max = 4000)

static void exchanged(void) {
    drain(2 + 1 + 10 + 11 - got[0] - got[1]);
}
KL_MODEL(S2_kl_stack_model_two_exchange_the_top, .setup = two_of_four,
         .threads = {pop_and_push, pop_and_push}, .finally = exchanged, .steps_max = 4000)

/* ---- full ---- */

static void full_was_true(void) {
    KL_MODEL_CHECK(kl_stack_size(end()) <= 1);
    if (status[1] == KL_ERR_AGAIN) KL_MODEL_CHECK(got[0] != 11);
    kl_model_expect("pushed", status[1] == KL_OK);
    kl_model_expect("full", status[1] == KL_ERR_AGAIN);
}
KL_MODEL(S1_kl_stack_model_is_never_more_than_full, .setup = one_of_one, .threads = {pop, push},
         .finally = full_was_true, .steps_max = 4000)

/* Full, then another top, of a node that was never there before: its depth has to be known. */
static void pop_and_push_another(void) {
    uint32_t mine = nodes[0];
    pop();
    nodes[0] = mine;
    push();
}
static void one_at_most(void) {
    KL_MODEL_CHECK_EQ(kl_stack_verify(end()), KL_OK);
    KL_MODEL_CHECK_EQ(kl_stack_size(end()), 1);
}
KL_MODEL(S1_kl_stack_model_full_and_looked_at_again, .setup = one_of_one,
         .threads = {pop_and_push_another, push}, .finally = one_at_most, .steps_max = 4000)

/* Pops the only element and pushes two, the second in the node of the first: only then is it full. Who
 * dies before has not filled it. */
static void pop_and_push_two(void) {
    uint32_t mine = nodes[0];
    pop();
    uint32_t popped = nodes[0];
    nodes[0] = mine;
    push();
    nodes[0] = popped;
    status[2] = kl_stack_push_node(end(), popped);
}
static void full_only_if_filled(void) {
    bool filled = false; /* one, then two, by anybody */
    filled |= status[2] == KL_OK && !kl_model_died(0);
    kl_stack *it = end();
    if (kl_stack_size(it) == 2) filled = true;
    if (status[1] == KL_ERR_AGAIN) KL_MODEL_CHECK(filled);
}
KL_MODEL(S1_kl_stack_model_full_is_not_said_of_a_link_in_the_making, .memories = KL_MODEL_RA,
         .preemptions = 3, .setup = one_of_two, .threads = {pop_and_push_two, push},
         .finally = full_only_if_filled, .kill = 1, .steps_max = 4000)

/* ---- deaths ---- */

/* The same with a step behind it, before which it may die: the change took place. */
static void push_and_linger(void) {
    push();
    kl_model_pause();
}
static void pop_and_linger(void) {
    pop();
    kl_model_pause();
}

/* After the death of thread 0, as the region tells it. */
static void recover(void) {
    kl_model_join(0);
    if (!kl_region_alive(kl_model_region(), kl_model_participant(0)))
        kl_stack_recover(end(), id_of(0), NULL, NULL);
}

static void whole(uint32_t sum) {
    kl_stack *it = end();
    recover();
    KL_MODEL_CHECK_EQ(kl_stack_verify(it), KL_OK);
    int32_t size = kl_stack_size(it);
    KL_MODEL_CHECK(size >= 0);
    uint32_t out = got[0] + got[1] + got[2], value, lost = 0;
    if (status[1] == KL_OK && got[1] != 0) { /* what the living popped stayed theirs */
        uint64_t word =
            atomic_load_explicit(kl_index_pool_word(&it->pool, nodes[1]), memory_order_relaxed);
        KL_MODEL_CHECK((uint32_t)word == KL_INDEX_POOL_SHARED || (uint32_t)word == id_of(1));
    }
    while (kl_stack_pop(it, &value) == KL_OK) out += value;
    if (kl_model_died(0)) {
        lost = sum - out; /* what it had popped, or not pushed */
        KL_MODEL_CHECK(lost == 0 || lost == 1 || lost == 2 || lost == 10);
        for (uint32_t i = 1; i < 4; i++) kl_stack_leave(&ends[i]);
        KL_MODEL_CHECK_EQ(kl_index_pool_held(&it->pool, id_of(0)), 0);
        KL_MODEL_CHECK_EQ(kl_index_pool_held(&it->pool, 0), 0);
    } else {
        KL_MODEL_CHECK_EQ(out, sum);
    }
}

static void push_died(void) {
    whole(1 + 10);
}
KL_MODEL(S1_kl_stack_model_a_push_dies_and_another_pops_and_a_third_recovers, .setup = one_of_four,
         .threads = {push_and_linger, pop, recover}, .finally = push_died, .kill = 1,
         .steps_max = 4000)

static void pop_died(void) {
    whole(2 + 1 + 11);
}
KL_MODEL(S1_kl_stack_model_a_pop_dies_and_another_pushes_and_a_third_recovers, .setup = two_of_four,
         .threads = {pop_and_linger, push, recover}, .finally = pop_died, .kill = 1,
         .steps_max = 4000)

/* Thread 0 died in setup: it had popped a node that only its hand tells of. */
static void dead_popped_one(void) {
    make(4);
    for (uint32_t value = 1; value <= 2; value++)
        KL_MODEL_CHECK_EQ(kl_stack_push(&ends[0], &value), KL_OK);
    KL_MODEL_CHECK_EQ(kl_stack_pop_node(&ends[0], &nodes[0]), KL_OK);
    kl_model_kill(0);
}

static void not_run(void) {}

static void recover_dead(void) {
    status[kl_model_thread()] = kl_stack_recover(end(), id_of(0), NULL, NULL);
}

/* Whoever is through with it leaves nothing, also when the other died in the middle of the same. */
static void all_is_found(void) {
    kl_stack *it = end();
    if (!kl_model_died(2)) KL_MODEL_CHECK_EQ(kl_index_pool_held(&it->pool, id_of(0)), 0);
    kl_stack_recover(it, id_of(0), NULL, NULL);
    KL_MODEL_CHECK_EQ(kl_index_pool_held(&it->pool, id_of(0)), 0);
    KL_MODEL_CHECK_EQ(kl_stack_verify(it), KL_OK);
    KL_MODEL_CHECK_EQ(kl_stack_size(it), 1);
    KL_MODEL_CHECK_EQ(kl_index_pool_held(&it->pool, 0), 1);
}
KL_MODEL(S1_kl_stack_model_two_recover_and_one_of_them_dies, .setup = dead_popped_one,
         .threads = {not_run, recover_dead, recover_dead}, .finally = all_is_found, .kill = 2,
         .deaths_max = 2, .preemptions = 2, .steps_max = 4000)

/* The next owner of the slot settles, frees the node, takes it and pushes it, while another still
 * recovers from the same death. */
static void join_and_push(void) {
    kl_stack heir;
    uint32_t value = 5;
    KL_MODEL_CHECK_EQ(kl_stack_grip(&heir, memory, memory_bytes), KL_OK);
    KL_MODEL_CHECK_EQ(kl_stack_join(&heir, kl_participant_id(9, 0)), KL_OK);
    KL_MODEL_CHECK_EQ(kl_stack_push(&heir, &value), KL_OK);
}
static void heir_keeps_its_own(void) {
    kl_stack *it = end();
    KL_MODEL_CHECK_EQ(kl_stack_verify(it), KL_OK);
    KL_MODEL_CHECK_EQ(kl_stack_size(it), 2);
    KL_MODEL_CHECK_EQ(kl_index_pool_held(&it->pool, 0), 2);
    /* Its note is its own, too. */
    KL_MODEL_CHECK(kl_tagged_by(atomic_load_explicit(&kl_hand_of(&it->hands, 0)->hand,
                                                     memory_order_relaxed)) == KL_STACK_STEP_PUSH);
    uint32_t value;
    KL_MODEL_CHECK_EQ(kl_stack_pop(it, &value), KL_OK);
    KL_MODEL_CHECK_EQ(value, 5);
}
KL_MODEL(S1_kl_stack_model_the_heir_of_a_slot_and_another_recover, .setup = dead_popped_one,
         .threads = {not_run, join_and_push, recover_dead}, .finally = heir_keeps_its_own,
         .memories = KL_MODEL_SC | KL_MODEL_RA, .preemptions = 2, .steps_max = 4000)
