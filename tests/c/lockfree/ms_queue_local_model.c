/* ms_queue_local under the memory models: values travel whole, none is lost or doubled, and no node is
 * touched after it was freed. */
#include "lockfree/ms_queue_local.h"
#include "tests/c/model/explorer.h"

static kl_hazard hazards;
static kl_hazard_thread owns[3]; /* by thread; the last of setup and finally */
static kl_ms_queue_local queue;
static uint64_t got[2];
static int32_t status[2];

static kl_hazard_thread *own(void) {
    int32_t thread = kl_model_thread();
    return &owns[thread < 0 ? 2 : thread];
}

/* The threads of a scenario are not threads of the system: their records are begun by hand. */
static void fill(uint64_t count) {
    KL_MODEL_CHECK_EQ(kl_hazard_open(&hazards, 3, false), KL_OK);
    for (uint32_t i = 0; i < 3; i++) {
        owns[i].record.domain = &hazards.domain;
        KL_MODEL_CHECK_EQ(hazards.domain.begin(&hazards.domain, &owns[i].record), KL_OK);
    }
    KL_MODEL_CHECK_EQ(kl_ms_queue_local_open(&queue, &hazards), KL_OK);
    for (uint64_t value = 1; value <= count; value++)
        KL_MODEL_CHECK_EQ(kl_ms_queue_local_push_mp(&queue, own(), value), KL_OK);
}

static void none(void) {
    fill(0);
}
static void one(void) {
    fill(1);
}
static void two(void) {
    fill(2);
}

static void push(void) {
    uint64_t value = 10 + (uint64_t)kl_model_thread();
    KL_MODEL_CHECK_EQ(kl_ms_queue_local_push_mp(&queue, own(), value), KL_OK);
}

/* Frees what it took out, as soon as nobody holds it up. */
static void pop(void) {
    int32_t thread = kl_model_thread();
    status[thread] = kl_ms_queue_local_pop_mc(&queue, own(), &got[thread]);
    KL_MODEL_CHECK(status[thread] == KL_OK || status[thread] == KL_ERR_AGAIN);
    if (status[thread] == KL_OK) kl_hazard_scan(own());
}

static void push_and_pop(void) {
    push();
    pop();
    KL_MODEL_CHECK_EQ(status[kl_model_thread()], KL_OK); /* its own, or what was before it */
}

static void drain(uint64_t sum) {
    uint64_t value, out = got[0] + got[1];
    while (kl_ms_queue_local_pop_mc(&queue, own(), &value) == KL_OK) out += value;
    KL_MODEL_CHECK_EQ(out, sum);
}

static void handed_over(void) {
    kl_model_expect("popped", got[1] == 10);
    kl_model_expect("came too early", status[1] == KL_ERR_AGAIN);
    drain(10);
}
KL_MODEL(Q2_kl_ms_queue_local_model_hands_over_a_value, .setup = none, .threads = {push, pop},
         .finally = handed_over, .steps_max = 2000)

static void two_got_both(void) {
    KL_MODEL_CHECK(status[0] == KL_OK && status[1] == KL_OK && got[0] != got[1]);
    drain(3);
}
KL_MODEL(Q2_kl_ms_queue_local_model_two_pops_get_two_values, .setup = two, .threads = {pop, pop},
         .finally = two_got_both, .memories = KL_MODEL_SC | KL_MODEL_RA, .preemptions = 2,
         .executions_max = 10000, .random = 1000, .steps_max = 2000)

static void both_there(void) {
    drain(1 + 10 + 11);
}
KL_MODEL(Q2_kl_ms_queue_local_model_two_pushes_are_there, .setup = one, .threads = {push, push},
         .finally = both_there, .steps_max = 2000)

static void nothing_left(void) {
    drain(10 + 11);
}
KL_MODEL(Q3_kl_ms_queue_local_model_who_pushed_finds_something, .setup = none,
         .threads = {push_and_pop, push_and_pop}, .finally = nothing_left,
         .memories = KL_MODEL_SC | KL_MODEL_RA, .preemptions = 2, .executions_max = 10000,
         .random = 1000, .steps_max = 2000)
