/* event_count under the memory models: no wake-up is lost (timeouts are failures), what the notifier
 * made is seen, and the flag of a sleeper who died or left costs nothing but a wake. */
#include <stdatomic.h>

#include "mem/region.h"
#include "sync/event_count.h"
#include "tests/c/model/explorer.h"

static kl_event_count event;
static _Atomic uint32_t made, stop;
static uint32_t payload, outcome[2];

static void make_and_notify(void) {
    payload = 7;
    atomic_store_explicit(&made, 1, memory_order_relaxed);
    kl_event_count_notify_all(&event);
}

static void wait_until_made(void) {
    for (;;) {
        uint32_t key = kl_event_count_prepare(&event);
        if (atomic_load_explicit(&made, memory_order_relaxed) != 0) break;
        KL_MODEL_CHECK_EQ(kl_event_count_wait(&event, key, KL_FOREVER, NULL), KL_OK);
        kl_model_expect("waited", true);
    }
}

KL_MODEL(kl_event_count_model_loses_no_wake_up, .threads = {wait_until_made, make_and_notify})
KL_MODEL(kl_event_count_model_wakes_two,
         .threads = {wait_until_made, make_and_notify, wait_until_made})

/* The key alone passes the message on: who sees the sequence moved sees what was made before. */
static void wait_for_the_sequence(void) {
    uint32_t key = 0;
    while (kl_event_count_prepare(&event) == key)
        KL_MODEL_CHECK_EQ(kl_event_count_wait(&event, key, KL_FOREVER, NULL), KL_OK);
    KL_MODEL_CHECK_EQ(payload, 7);
    outcome[0] = 1;
}
KL_MODEL(kl_event_count_model_passes_on_what_was_made,
         .threads = {wait_for_the_sequence, make_and_notify})

/* Two changes, two notifiers: the second change must not sleep through the first's wake. */
static void make_more_and_notify(void) {
    atomic_fetch_add_explicit(&made, 1, memory_order_relaxed);
    kl_event_count_notify_all(&event);
}
static void wait_until_two(void) {
    for (;;) {
        uint32_t key = kl_event_count_prepare(&event);
        if (atomic_load_explicit(&made, memory_order_relaxed) == 2) break;
        KL_MODEL_CHECK_EQ(kl_event_count_wait(&event, key, KL_FOREVER, NULL), KL_OK);
    }
}
KL_MODEL(kl_event_count_model_two_notifiers, .executions_max = 10000, .random = 1000,
         .threads = {wait_until_two, make_more_and_notify, make_more_and_notify})
static void make_twice(void) {
    make_more_and_notify();
    make_more_and_notify();
}
KL_MODEL(kl_event_count_model_notified_twice_by_one, .threads = {wait_until_two, make_twice})
/* stop: the flag is set, then the event notified. */
static void wait_until_stopped(void) {
    for (;;) {
        uint32_t key = kl_event_count_prepare(&event);
        int32_t status = kl_event_count_wait(&event, key, KL_FOREVER, &stop);
        if (status == KL_ERR_STOPPED) break;
        KL_MODEL_CHECK_EQ(status, KL_OK);
    }
}
static void stop_and_notify(void) {
    atomic_store_explicit(&stop, 1, memory_order_seq_cst);
    kl_event_count_notify_all(&event);
}
KL_MODEL(kl_event_count_model_stops, .threads = {wait_until_stopped, stop_and_notify})

/* A wait that only looks, and one that ends by its timeout. */
static void wait_a_while(void) {
    uint32_t key = kl_event_count_prepare(&event);
    int32_t status = kl_event_count_wait(&event, key, 1000, NULL);
    KL_MODEL_CHECK(status == KL_OK || status == KL_ERR_TIMEOUT);
    kl_model_expect("in time", status == KL_OK);
    kl_model_expect("too late", status == KL_ERR_TIMEOUT);
    KL_MODEL_CHECK(kl_event_count_wait(&event, key, 0, NULL) != KL_ERR_STOPPED);
}
KL_MODEL(kl_event_count_model_times_out, .timeouts_are_fine = true,
         .threads = {wait_a_while, make_and_notify})

/* A sleeper killed anywhere does not keep the other from being woken; a notifier killed anywhere costs a
 * slice. */
KL_MODEL(kl_event_count_model_a_sleeper_dies, .kill = 1, .executions_max = 10000, .random = 1000,
         .threads = {wait_until_made, make_and_notify, wait_until_made})

static void wait_until_made_or_dead(void) {
    for (uint32_t turns = 0; turns < 4; turns++) {
        uint32_t key = kl_event_count_prepare(&event);
        if (atomic_load_explicit(&made, memory_order_relaxed) != 0) break;
        KL_MODEL_CHECK_EQ(kl_event_count_wait(&event, key, KL_FOREVER, NULL), KL_OK);
        if (!kl_region_alive(kl_model_region(), kl_model_participant(1))) break;
    }
}
KL_MODEL(kl_event_count_model_a_notifier_dies, .kill = 2,
         .threads = {wait_until_made_or_dead, make_and_notify})

/* Hooks: what was ready when the hook was set is ready when it runs. */
static uint32_t ready;
static void hooked(kl_event_count *of) {
    (void)of;
    KL_MODEL_CHECK_EQ(ready, 5);
    outcome[1]++;
}
static void set_wake_hook(void) {
    ready = 5;
    kl_event_count_on_wake(hooked);
}
static void wake(void) {
    kl_event_count_wake(&event);
}
KL_MODEL(kl_event_count_model_a_wake_hook_finds_what_it_needs, .threads = {set_wake_hook, wake})
static void set_retire_hook(void) {
    ready = 5;
    kl_event_count_on_retire(hooked);
}
static void retire(void) {
    kl_event_count_retire(&event);
}
KL_MODEL(kl_event_count_model_a_retire_hook_finds_what_it_needs,
         .threads = {set_retire_hook, retire})

/* The same with spinning before the sleep. */
KL_MODEL(kl_event_count_model_spins_first, .cpus = 2, .executions_max = 20000, .random = 5000,
         .threads = {wait_until_made, make_and_notify})
