/* rcu: synchronize and its turns. What a section may see is in grace_model.c. */
#include "sync/rcu.h"

#include <sched.h>

#include "tests/c/model/explorer.h"

static kl_rcu rcu;
static kl_rcu_reader readers[2];
static uint32_t *things[3];
static _Atomic(uint32_t *) source;

/* The threads of a scenario are not threads of the system: their records are begun by hand. */
static void begin(uint32_t index) {
    kl_rcu_reader *reader = &readers[index];
    reader->record.domain = &rcu.domain;
    KL_MODEL_CHECK_EQ(rcu.domain.begin(&rcu.domain, &reader->record), KL_OK);
}

static void setup(void) {
    KL_MODEL_CHECK_EQ(kl_rcu_open(&rcu, 2, true), KL_OK);
    begin(0);
    for (uint32_t i = 0; i < 3; i++) {
        things[i] = kl_model_alloc(4);
        *things[i] = i;
    }
    atomic_store_explicit(&source, things[0], memory_order_relaxed);
}

/* What sync/thread_record makes once per process is made before the first execution. */
__attribute__((constructor)) static void make_keys(void) {
    kl_thread_domain domain = {.serial = 1};
    kl_thread_record_find(&domain, false);
}

static void use(void) {
    uint32_t *found = atomic_load_explicit(&source, memory_order_acquire);
    KL_MODEL_CHECK(*found < 3);
    kl_model_expect("the first was used", found == things[0]);
    kl_model_expect("a later one was used", found != things[0]);
}

static void read_once(void) {
    kl_rcu_read_lock(&readers[0]);
    use();
    kl_rcu_read_unlock(&readers[0]);
}

static void read_nested(void) {
    kl_rcu_read_lock(&readers[0]);
    uint32_t *found = atomic_load_explicit(&source, memory_order_acquire);
    kl_rcu_read_lock(&readers[0]);
    use();
    kl_rcu_read_unlock(&readers[0]);
    KL_MODEL_CHECK(*found < 3); /* the outer section goes on */
    kl_rcu_read_unlock(&readers[0]);
}

static void replace_and_wait(uint32_t by) {
    uint32_t *old = atomic_exchange_explicit(&source, things[by], memory_order_acq_rel);
    KL_MODEL_CHECK_EQ(kl_rcu_synchronize(&rcu, KL_FOREVER), KL_OK);
    kl_model_free(old);
}

static void replace_first(void) {
    replace_and_wait(1);
}

static void replace_second(void) {
    replace_and_wait(2);
}

KL_MODEL(kl_rcu_model_synchronize_waits_for_sections_R1_R2, .setup = setup,
         .threads = {read_once, replace_first})
KL_MODEL(kl_rcu_model_synchronize_waits_for_the_outermost_section_R3, .setup = setup,
         .threads = {read_nested, replace_first})

/* Whoever joins another's turn frees as rightly as the one who takes it. */
static void nothing_runs(void) {
    KL_MODEL_CHECK(!rcu.is_running);
    KL_MODEL_CHECK(rcu.begun_count <= 2);
    KL_MODEL_CHECK_EQ(rcu.begun_count, rcu.ended_count);
}

KL_MODEL(kl_rcu_model_two_who_synchronize_share_turns_and_neither_hangs_R5, .setup = setup,
         .threads = {replace_first, replace_second}, .finally = nothing_runs)
KL_MODEL(kl_rcu_model_two_who_synchronize_wait_for_a_section_R1, .setup = setup,
         .threads = {read_once, replace_first, replace_second}, .finally = nothing_runs,
         .executions_max = 3000, .random = 1000)

/* ---- readers that come and go during a grace period ---- */

static void come_and_go(void) {
    read_once();
    rcu.domain.end(&rcu.domain, &readers[0].record);
    begin(0);
    read_once();
}

static void replace_and_poll(void) {
    uint64_t period;
    atomic_store_explicit(&source, things[1], memory_order_release);
    KL_MODEL_CHECK_EQ(kl_rcu_start(&rcu, &period), KL_OK);
    int32_t passed = kl_rcu_poll(&rcu, period);
    KL_MODEL_CHECK(passed == 0 || passed == 1);
    if (passed) kl_model_free(things[0]);
    kl_model_expect("it was freed", passed == 1);
    kl_model_expect("it was kept", passed == 0);
}

KL_MODEL(kl_rcu_model_readers_come_and_go_during_a_grace_period_R6, .setup = setup,
         .threads = {come_and_go, replace_and_poll})

/* ---- callbacks ---- */

static kl_retired nodes[2];
static uint32_t called;

static void first_callback(kl_retired *node) {
    KL_MODEL_CHECK(node == &nodes[0] && called == 0);
    called++;
    kl_model_free(things[0]);
}

static void second_callback(kl_retired *node) {
    KL_MODEL_CHECK(node == &nodes[1] && called == 1);
    called++;
}

static void call_and_advance(void) {
    atomic_store_explicit(&source, things[1], memory_order_release);
    kl_rcu_call(&rcu, &nodes[0], first_callback);
    kl_rcu_call(&rcu, &nodes[1], second_callback);
    KL_MODEL_CHECK(kl_rcu_advance(&rcu, 2) >= 0);
    kl_model_expect("both ran", called == 2);
    kl_model_expect("none ran", called == 0);
}

static void all_called(void) {
    KL_MODEL_CHECK_EQ(kl_rcu_barrier(&rcu, KL_FOREVER), KL_OK);
    KL_MODEL_CHECK_EQ(called, 2);
}

KL_MODEL(kl_rcu_model_callbacks_run_in_order_after_sections_R4, .setup = setup,
         .threads = {read_once, call_and_advance}, .finally = all_called)

static void wait_at_the_barrier(void) {
    KL_MODEL_CHECK_EQ(kl_rcu_barrier(&rcu, KL_FOREVER), KL_OK);
    KL_MODEL_CHECK_EQ(called, 1);
}

static void call_and_wait(void) {
    kl_rcu_call(&rcu, &nodes[0], first_callback);
    wait_at_the_barrier();
}

static void advance_once(void) {
    KL_MODEL_CHECK(kl_rcu_advance(&rcu, 1) >= 0);
}

KL_MODEL(kl_rcu_model_barrier_returns_when_others_have_run_what_was_called_R4, .setup = setup,
         .threads = {call_and_wait, advance_once})
