#include "sync/ticket_lock.h"

#include "tests/c/harness.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#define THREADS 4

typedef struct {
    kl_ticket_lock lock;
    uint64_t first, second; /* equal unless somebody is inside */
    uint32_t rounds;
    _Atomic uint32_t stop;
    uint64_t got[THREADS];
} guarded;

static uint32_t rounds_each(void) {
    return kl_test_slow() ? 2000 : 50000;
}

static void count_up(void *argument, uint32_t index) {
    guarded *it = argument;
    (void)index;
    for (uint32_t i = 0; i < it->rounds; i++) {
        kl_ticket_lock_lock(&it->lock);
        KL_CHECK_EQ(it->first, it->second);
        it->first++;
        it->second++;
        kl_ticket_lock_unlock(&it->lock);
    }
}

KL_TEST(kl_ticket_lock_L1_excludes_four_threads) {
    guarded it = {.rounds = rounds_each()};
    kl_test_threads(THREADS, count_up, &it);
    KL_CHECK_EQ(it.first, (uint64_t)THREADS * it.rounds);
    KL_CHECK_EQ(kl_ticket_lock_count(&it.lock), 0);
}

/* No more threads than processors: with more, every turn waits for one that does not run, and a turn in
 * order is as slow as the scheduler. */
KL_TEST(kl_ticket_lock_L1_excludes_as_many_threads_as_there_are_processors) {
    uint32_t threads = kl_cpu_count() < THREADS ? kl_cpu_count() : THREADS;
    guarded it = {.rounds = getenv("KEELSON_LONG") ? 1000000 : rounds_each()};
    kl_test_threads(threads, count_up, &it);
    KL_CHECK_EQ(it.first, (uint64_t)threads * it.rounds);
}

KL_TEST(kl_ticket_lock_L1_goes_on_where_its_tickets_wrap) {
    guarded it = {.rounds = 2000};
    atomic_store(&it.lock.next, UINT32_MAX - 100);
    atomic_store(&it.lock.serving, UINT32_MAX - 100);
    kl_test_threads(THREADS, count_up, &it);
    KL_CHECK_EQ(it.first, (uint64_t)THREADS * it.rounds);
    KL_CHECK_EQ(it.lock.next, (uint32_t)(UINT32_MAX - 100 + THREADS * it.rounds));
}

/* As many turns as one likes until all have had enough in all. */
static void take_turns(void *argument, uint32_t index) {
    guarded *it = argument;
    while (atomic_load_explicit(&it->stop, memory_order_relaxed) == 0) {
        kl_ticket_lock_lock(&it->lock);
        it->second |= 1u << index;
        if (it->second == (1u << THREADS) - 1) { /* it counts once all have come */
            it->got[index]++;
            it->first++;
        }
        if (it->first == it->rounds) atomic_store_explicit(&it->stop, 1, memory_order_relaxed);
        kl_ticket_lock_unlock(&it->lock);
    }
}

KL_TEST(kl_ticket_lock_L2_is_fair) {
    guarded it = {.rounds = kl_test_slow() ? 2000 : 8000};
    kl_test_threads(THREADS, take_turns, &it);
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < THREADS; i++) {
        sum += (double)it.got[i];
        squares += (double)it.got[i] * (double)it.got[i];
    }
    /* Jain's index: 1 when all had the same, 1 / THREADS when one had all. */
    KL_CHECK(sum * sum / (THREADS * squares) >= 0.95);
}

/* Draws a ticket behind the main thread and says so by being counted. */
static void queue_up(void *argument, uint32_t index) {
    guarded *it = argument;
    while (kl_ticket_lock_count(&it->lock) != index + 1) sched_yield();
    kl_ticket_lock_lock(&it->lock);
    it->got[index] = ++it->first;
    kl_ticket_lock_unlock(&it->lock);
}

static void hold_until_all_wait(void *argument, uint32_t index) {
    guarded *it = argument;
    if (index != THREADS - 1) {
        queue_up(argument, index);
        return;
    }
    kl_ticket_lock_lock(&it->lock);
    while (kl_ticket_lock_count(&it->lock) != THREADS) sched_yield();
    kl_ticket_lock_unlock(&it->lock);
}

KL_TEST(kl_ticket_lock_L2_serves_in_the_order_of_arrival) {
    guarded it = {0};
    kl_test_threads(THREADS, hold_until_all_wait, &it);
    for (uint32_t i = 0; i < THREADS - 1; i++) KL_CHECK_EQ(it.got[i], i + 1);
}

KL_TEST(kl_ticket_lock_L3_try_lock_never_waits) {
    kl_ticket_lock lock = {0};
    KL_CHECK_EQ(kl_ticket_lock_try_lock(&lock), KL_OK);
    KL_CHECK_EQ(kl_ticket_lock_try_lock(&lock), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_ticket_lock_count(&lock), 1);
    kl_ticket_lock_unlock(&lock);
    KL_CHECK_EQ(kl_ticket_lock_try_lock(&lock), KL_OK);
    kl_ticket_lock_unlock(&lock);
    KL_CHECK_EQ(kl_ticket_lock_count(&lock), 0);
}
