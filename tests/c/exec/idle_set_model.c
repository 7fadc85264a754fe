/* idle_set and job_queue under the memory models: no wake-up is lost (a wait that ends by its timeout is
 * a failure), whether the worker searches, announces itself or sleeps when work is published. */
#include "exec/idle_set.h"

#include <stdatomic.h>

#include "exec/job_queue.h"
#include "tests/c/model/explorer.h"

static kl_idle_set set;
static _Atomic uint32_t work; /* pieces that were published; taken by compare-exchange */

static bool take(void) {
    uint32_t now = atomic_load_explicit(&work, memory_order_relaxed);
    while (now > 0)
        if (atomic_compare_exchange_strong_explicit(&work, &now, now - 1, memory_order_relaxed,
                                                    memory_order_relaxed))
            return true;
    return false;
}

static void publish(void) {
    atomic_fetch_add_explicit(&work, 1, memory_order_relaxed);
    kl_idle_set_published(&set, 1);
}

static void pass_on(void) {
    if (atomic_load_explicit(&work, memory_order_relaxed) > 0) kl_idle_set_wake_one(&set);
}

/* The protocol of the header, without the search. */
static void sleep_until_taken(uint32_t member) {
    for (;;) {
        uint32_t key = kl_idle_set_announce(&set, member);
        if (take()) {
            kl_idle_set_retract(&set, member);
            break;
        }
        kl_idle_set_sleep(&set, member, key, KL_FOREVER, NULL);
        if (take()) break;
    }
    pass_on();
}
static void sleeper_0(void) {
    sleep_until_taken(0);
}
static void sleeper_1(void) {
    sleep_until_taken(1);
}
KL_MODEL(W2_kl_idle_set_model_wakes_who_sleeps, .threads = {sleeper_0, publish})
KL_MODEL(W2_kl_idle_set_model_wakes_one_for_each, .executions_max = 8000, .random = 2000,
         .threads = {sleeper_0, sleeper_1, publish, publish})

static void publish_two(void) {
    atomic_fetch_add_explicit(&work, 2, memory_order_relaxed);
    kl_idle_set_published(&set, 2);
}
KL_MODEL(W2_kl_idle_set_model_two_at_once, .executions_max = 8000, .random = 2000,
         .threads = {sleeper_0, sleeper_1, publish_two})

/* With a search before the sleep: a publisher that sees somebody searching wakes nobody. */
static void search_then_sleep(uint32_t member) {
    if (kl_idle_set_begin_search(&set, 1)) {
        bool found = take();
        kl_idle_set_end_search(&set);
        if (found) {
            pass_on();
            return;
        }
    }
    sleep_until_taken(member);
}
static void searcher_0(void) {
    search_then_sleep(0);
}
KL_MODEL(W2_kl_idle_set_model_who_searches_finds_it_or_sleeps_late,
         .threads = {searcher_0, publish})
/* A wake that is spent on one who found another piece meanwhile must not be lost: the first version
 * of this unit lost it. */
static void sleep_and_keep_quiet(void) {
    for (;;) {
        uint32_t key = kl_idle_set_announce(&set, 0);
        if (take()) {
            kl_idle_set_retract(&set, 0);
            return;
        }
        kl_idle_set_sleep(&set, 0, key, KL_FOREVER, NULL);
        if (take()) return;
    }
}
KL_MODEL_MUST_FAIL(W2_kl_idle_set_model_finds_that_nobody_passes_on,
                   KL_MODEL_SC | KL_MODEL_TSO | KL_MODEL_RA, .executions_max = 10000,
                   .random = 10000, .threads = {sleep_and_keep_quiet, sleeper_1, publish, publish})
/* The searcher finds one piece and has to call the sleeper for the other. */
KL_MODEL(W2_kl_idle_set_model_who_searched_calls_the_next, .executions_max = 10000, .random = 3000,
         .threads = {searcher_0, sleeper_1, publish, publish})

/* ---- who is called in vain sees the work it was called for ---- */

static _Atomic uint32_t other_work;
static uint32_t sleeping_key;
static bool seen;

static void one_sleeps(void) {
    atomic_store_explicit(&work, 1, memory_order_relaxed);
    sleeping_key = kl_idle_set_announce(&set, 1);
}
static void pass_other_on(void) {
    if (atomic_load_explicit(&other_work, memory_order_relaxed) == 0) return;
    if (kl_model_thread() == 1) seen = true;
    kl_idle_set_wake_one(&set);
}
/* Finds its work at the second look, whatever happens to its bit. */
static void find_late(void) {
    kl_idle_set_announce(&set, 0);
    KL_MODEL_CHECK(take());
    kl_idle_set_retract(&set, 0);
    pass_other_on();
}
static void check_called(void) {
    if (seen) KL_MODEL_CHECK(kl_event_count_prepare(&set.events[1]) != sleeping_key);
}

static void publish_other(void) {
    atomic_store_explicit(&other_work, 1, memory_order_relaxed);
    kl_idle_set_published(&set, 1);
    seen = true;
}
KL_MODEL(W2_kl_idle_set_model_called_in_vain_by_a_publisher, .setup = one_sleeps,
         .threads = {find_late, publish_other}, .finally = check_called)

/* The publisher relied on one who searches, and that one calls. */
static void publish_quietly(void) {
    atomic_store_explicit(&other_work, 1, memory_order_relaxed);
}
KL_MODEL(W2_kl_idle_set_model_called_in_vain_by_a_searcher, .setup = one_sleeps,
         .threads = {find_late, pass_other_on, publish_quietly}, .finally = check_called)

/* ---- the queue: what was written before put is seen after take ---- */

static kl_job_queue queue;
static uint32_t job;

static void open_queue(void) {
    KL_MODEL_CHECK_EQ(kl_job_queue_open(&queue, 2), KL_OK);
}
static void put(void) {
    job = 7;
    KL_MODEL_CHECK_EQ(kl_job_queue_put(&queue, &job), KL_OK);
}
static void take_one(void) {
    uint32_t *taken = kl_job_queue_take(&queue);
    if (!taken) return;
    kl_model_expect("taken", true);
    KL_MODEL_CHECK_EQ(*taken, 7);
}
KL_MODEL(kl_job_queue_model_hands_over_what_was_put, .setup = open_queue,
         .threads = {put, take_one, take_one})
