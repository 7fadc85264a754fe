#include "exec/service.h"

#include "tests/c/harness.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    _Atomic uint32_t started, rounds;
    char name[16];
    bool all_blocked;
    kl_event_count *sleeps_on;
} probe;

static void park(void *argument, const _Atomic uint32_t *stop) {
    probe *it = argument;
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    it->all_blocked = sigismember(&blocked, SIGTERM) == 1 && sigismember(&blocked, SIGINT) == 1 &&
                      sigismember(&blocked, SIGPROF) == 1;
    pthread_getname_np(pthread_self(), it->name, sizeof it->name);
    kl_event_count *event = it->sleeps_on ? it->sleeps_on : kl_service_event(kl_service_self());
    atomic_store(&it->started, 1);
    while (atomic_load(stop) == 0) {
        uint32_t key = kl_event_count_prepare(event);
        if (atomic_load(stop) != 0) break;
        kl_service_wait(event, key, KL_FOREVER);
        atomic_fetch_add(&it->rounds, 1);
    }
}

static void wait_until(_Atomic uint32_t *word, uint32_t least) {
    for (uint32_t i = 0; i < 5000 && atomic_load(word) < least; i++) usleep(1000);
    KL_CHECK_LE(least, atomic_load(word));
}

KL_TEST(kl_service_start_runs_a_named_thread_with_all_signals_blocked) {
    probe it = {0};
    kl_service_thread *thread;
    uint32_t before = kl_service_count();
    KL_CHECK_EQ(kl_service_start(&thread, "keelson-with-a-long-name", park, &it), KL_OK);
    wait_until(&it.started, 1);
    KL_CHECK_EQ(kl_service_count(), before + 1);
    KL_CHECK_TEXT(it.name, "keelson-with-a-");
    KL_CHECK(it.all_blocked);
    KL_CHECK_EQ(kl_service_self(), NULL); /* this one is not a service thread */
    KL_CHECK_EQ(kl_service_stop(thread), KL_OK);
    KL_CHECK_EQ(kl_service_count(), before);
}

KL_TEST(kl_service_event_wakes_its_thread) {
    probe it = {0};
    kl_service_thread *thread;
    KL_CHECK_EQ(kl_service_start(&thread, "keelson-wake", park, &it), KL_OK);
    wait_until(&it.started, 1);
    for (uint32_t i = 1; i <= 20; i++) {
        kl_event_count_notify_all(kl_service_event(thread));
        wait_until(&it.rounds, i);
    }
    KL_CHECK_EQ(kl_service_stop(thread), KL_OK);
}

KL_TEST(kl_service_stop_finds_a_thread_that_sleeps_on_another_event) {
    kl_event_count event = {0};
    for (uint32_t i = 0; i < 50; i++) {
        probe it = {.sleeps_on = &event};
        kl_service_thread *thread;
        KL_CHECK_EQ(kl_service_start(&thread, "keelson-other", park, &it), KL_OK);
        if (i % 2 == 0) wait_until(&it.started, 1);
        if (i % 5 == 0) usleep(2000);
        uint64_t before = kl_clock_monotonic_ns();
        KL_CHECK_EQ(kl_service_stop(thread), KL_OK);
        KL_CHECK_LT(kl_clock_monotonic_ns() - before, KL_EVENT_SLICE_NS); /* woken, not timed out */
    }
}

static void return_at_once(void *argument, const _Atomic uint32_t *stop) {
    (void)argument;
    (void)stop;
}

KL_TEST(kl_service_stop_frees_a_thread_whose_body_returned_by_itself) {
    for (uint32_t i = 0; i < 300; i++) { /* more than there are slots */
        kl_service_thread *thread;
        KL_CHECK_EQ(kl_service_start(&thread, "keelson-short", return_at_once, NULL), KL_OK);
        KL_CHECK_EQ(kl_service_stop(thread), KL_OK);
    }
    KL_CHECK_EQ(kl_service_count(), 0);
}

KL_TEST(kl_service_start_answers_limit_when_the_table_is_full) {
    static probe probes[KL_SERVICE_THREADS_MAX];
    static kl_service_thread *threads[KL_SERVICE_THREADS_MAX];
    kl_service_thread *one_more;
    for (uint32_t i = 0; i < KL_SERVICE_THREADS_MAX; i++)
        KL_CHECK_EQ(kl_service_start(&threads[i], "keelson-many", park, &probes[i]), KL_OK);
    KL_CHECK_EQ(kl_service_start(&one_more, "keelson-more", park, &probes[0]), KL_ERR_LIMIT);
    KL_CHECK_EQ(one_more, NULL);
    for (uint32_t i = 0; i < KL_SERVICE_THREADS_MAX; i++)
        KL_CHECK_EQ(kl_service_stop(threads[i]), KL_OK);
    KL_CHECK_EQ(kl_service_count(), 0);
}

static void start_and_stop(void *argument, uint32_t index) {
    (void)argument;
    (void)index;
    for (uint32_t i = 0; i < 50; i++) {
        probe it = {0};
        kl_service_thread *thread;
        KL_CHECK_EQ(kl_service_start(&thread, "keelson-race", park, &it), KL_OK);
        KL_CHECK_EQ(kl_service_stop(thread), KL_OK);
    }
}

KL_TEST(kl_service_start_and_stop_from_four_threads_at_once) {
    kl_test_threads(4, start_and_stop, NULL);
    KL_CHECK_EQ(kl_service_count(), 0);
}
