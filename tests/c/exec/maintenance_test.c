#include "exec/maintenance.h"

#include "tests/c/harness.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "exec/service.h"

#define PATIENCE_NS (20 * KL_NS_PER_S)

typedef struct {
    _Atomic uint32_t calls, inside;
    _Atomic uint64_t again_ns;
    uint64_t takes_ns;
} upkeep;

static uint64_t called(void *argument) {
    upkeep *it = argument;
    atomic_fetch_add(&it->inside, 1);
    uint64_t end_ns = kl_clock_monotonic_ns() + it->takes_ns;
    while (it->takes_ns > 0 && kl_clock_monotonic_ns() < end_ns) sched_yield();
    atomic_fetch_add(&it->calls, 1);
    atomic_fetch_sub(&it->inside, 1);
    return atomic_load(&it->again_ns);
}

static void await_calls(upkeep *it, uint32_t wanted) {
    uint64_t end_ns = kl_clock_monotonic_ns() + PATIENCE_NS;
    while (atomic_load(&it->calls) < wanted && kl_clock_monotonic_ns() < end_ns) sched_yield();
    KL_CHECK_LE(wanted, atomic_load(&it->calls));
}

KL_TEST(kl_maintenance_calls_when_it_is_time_and_when_it_is_told) {
    upkeep often = {.again_ns = KL_NS_PER_MS}, told = {.again_ns = KL_FOREVER};
    uint32_t first, second;
    KL_CHECK_EQ(kl_maintenance_add(&first, called, &often), KL_OK);
    KL_CHECK_EQ(kl_maintenance_add(&second, called, &told), KL_OK);
    await_calls(&often, 20);
    await_calls(&told, 1);
    for (uint32_t i = 0; i < 200; i++) {
        uint32_t before = atomic_load(&told.calls);
        kl_event_count_notify_all(kl_maintenance_event());
        await_calls(&told, before + 1);
    }
    KL_CHECK_EQ(kl_maintenance_remove(first), KL_OK);
    KL_CHECK_EQ(kl_maintenance_remove(first), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_maintenance_remove(0), KL_ERR_NOT_FOUND);
    uint32_t calls = atomic_load(&often.calls), last = atomic_load(&told.calls);
    kl_event_count_notify_all(kl_maintenance_event());
    await_calls(&told, last + 1);
    KL_CHECK_EQ(atomic_load(&often.calls), calls);
    KL_CHECK_EQ(kl_maintenance_remove(second), KL_OK);
    KL_CHECK_EQ(kl_service_count(), 1); /* one thread for all, and it stays */
}

KL_TEST(kl_maintenance_remove_waits_for_the_call_that_is_on) {
    for (uint32_t round = 0; round < 50; round++) {
        upkeep *it =
            calloc(1, sizeof *it); /* freed at once: a late call is the sanitizer's to find */
        it->takes_ns = round % 5 * 50 * KL_NS_PER_US;
        uint32_t number;
        KL_CHECK_EQ(kl_maintenance_add(&number, called, it), KL_OK); /* again and again: 0 ns */
        if (round % 2 == 0) await_calls(it, 1);
        KL_CHECK_EQ(kl_maintenance_remove(number), KL_OK);
        KL_CHECK_EQ(atomic_load(&it->inside), 0);
        free(it);
    }
}

KL_TEST(kl_maintenance_has_a_limit_and_names_it) {
    static upkeep it = {.again_ns = KL_FOREVER};
    uint32_t numbers[KL_MAINTENANCE_MAX], one;
    for (uint32_t i = 0; i < KL_MAINTENANCE_MAX; i++)
        KL_CHECK_EQ(kl_maintenance_add(&numbers[i], called, &it), KL_OK);
    KL_CHECK_EQ(kl_maintenance_add(&one, called, &it), KL_ERR_LIMIT);
    KL_CHECK_CONTAINS(kl_status_last(), "64 functions");
    for (uint32_t i = 0; i < KL_MAINTENANCE_MAX; i++)
        KL_CHECK_EQ(kl_maintenance_remove(numbers[i]), KL_OK);
}

/* ---- epochs ---- */

static _Atomic uint32_t freed;
static pthread_t freed_on;

static void free_node(kl_retired *node) {
    freed_on = pthread_self();
    free(node);
    atomic_fetch_add(&freed, 1);
}

KL_TEST(kl_maintenance_advances_an_epoch_and_runs_its_callbacks) {
    static kl_epoch epoch;
    kl_epoch_options options = {.event = kl_maintenance_event()};
    uint32_t number;
    KL_CHECK_EQ(kl_epoch_open(&epoch, &options), KL_OK);
    KL_CHECK_EQ(kl_maintenance_add_epoch(&number, &epoch), KL_OK);
    atomic_store(&freed, 0);
    for (uint32_t i = 0; i < 200; i++) { /* more than KL_EPOCH_NOTIFY_COUNT: it is notified */
        KL_CHECK_EQ(kl_epoch_enter(&epoch), KL_OK);
        kl_epoch_retire(&epoch, calloc(1, sizeof(kl_retired)), free_node);
        kl_epoch_leave(&epoch);
    }
    uint64_t end_ns = kl_clock_monotonic_ns() + PATIENCE_NS;
    while (atomic_load(&freed) < 200 && kl_clock_monotonic_ns() < end_ns) sched_yield();
    KL_CHECK_EQ(atomic_load(&freed), 200);
    KL_CHECK(!pthread_equal(freed_on, pthread_self()));
    for (uint32_t i = 0; i < 3; i++) /* too few to notify for: they do not wait for ever */
        kl_epoch_retire(&epoch, calloc(1, sizeof(kl_retired)), free_node);
    while (atomic_load(&freed) < 203 && kl_clock_monotonic_ns() < end_ns) sched_yield();
    KL_CHECK_EQ(atomic_load(&freed), 203);
    KL_CHECK_EQ(kl_maintenance_remove(number), KL_OK);
    kl_epoch_close(&epoch);
}
