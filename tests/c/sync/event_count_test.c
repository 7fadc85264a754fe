#include "sync/event_count.h"
#include "tests/c/harness.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* A wait this long was ended by its slice, not by a wake: a wake-up was lost. */
#define LOST_NS (KL_EVENT_SLICE_NS - 20 * KL_NS_PER_MS)

static void *shared_page(void) {
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    KL_CHECK(page != MAP_FAILED);
    return page;
}

static uint32_t load(_Atomic uint32_t *word) {
    return atomic_load_explicit(word, memory_order_acquire);
}

static void nap_ms(uint32_t ms) {
    usleep(ms * 1000);
}

/* Until somebody has announced a sleep; then a moment for the system call. */
static void wait_for_sleeper(kl_event_count *event) {
    for (uint32_t i = 0; i < 2000 && load(&event->waiters) == 0; i++) nap_ms(1);
    KL_CHECK_EQ(load(&event->waiters), 1);
    nap_ms(5);
}

KL_TEST(kl_event_count_wait_returns_at_once_when_the_sequence_has_moved) {
    kl_event_count event = {0};
    uint32_t key = kl_event_count_prepare(&event);
    kl_event_count_notify_all(&event);
    KL_CHECK_EQ(kl_event_count_wait(&event, key, KL_FOREVER, NULL), KL_OK);
    KL_CHECK_EQ(kl_event_count_prepare(&event), key + 1);
    KL_CHECK_EQ(event.waiters, 0);
}

KL_TEST(kl_event_count_wait_with_timeout_zero_only_looks) {
    kl_event_count event = {0};
    uint64_t before = kl_clock_monotonic_ns();
    KL_CHECK_EQ(kl_event_count_wait(&event, 0, 0, NULL), KL_ERR_TIMEOUT);
    KL_CHECK_LT(kl_clock_monotonic_ns() - before, 100 * KL_NS_PER_MS);
    KL_CHECK_EQ(event.waiters, 0);
}

KL_TEST(kl_event_count_wait_ends_at_its_timeout_and_not_before) {
    kl_event_count event = {0};
    uint64_t before = kl_clock_monotonic_ns();
    KL_CHECK_EQ(kl_event_count_wait(&event, 0, 30 * KL_NS_PER_MS, NULL), KL_ERR_TIMEOUT);
    KL_CHECK_LE(30 * KL_NS_PER_MS, kl_clock_monotonic_ns() - before);
}

KL_TEST(kl_event_count_wait_looks_at_the_stop_flag_first) {
    kl_event_count event = {0};
    _Atomic uint32_t stop = 1;
    kl_event_count_notify_all(&event);
    KL_CHECK_EQ(kl_event_count_wait(&event, 0, KL_FOREVER, &stop), KL_ERR_STOPPED);
}

typedef struct {
    kl_event_count event;
    _Atomic uint32_t stop;
    _Atomic uint32_t ended;
    _Atomic int32_t status;
    _Atomic uint64_t longest_ns;
} sleeper;

static void raise_to(_Atomic uint64_t *longest, uint64_t value) {
    uint64_t seen = atomic_load(longest);
    while (value > seen && !atomic_compare_exchange_weak(longest, &seen, value)) {
    }
}

static void *sleep_once(void *argument) {
    sleeper *it = argument;
    uint64_t before = kl_clock_monotonic_ns();
    atomic_store(&it->status, kl_event_count_wait(&it->event, 0, KL_FOREVER, &it->stop));
    raise_to(&it->longest_ns, kl_clock_monotonic_ns() - before);
    atomic_fetch_add(&it->ended, 1);
    return NULL;
}

KL_TEST(kl_event_count_wait_ends_when_it_is_stopped) {
    sleeper it = {0};
    pthread_t thread;
    pthread_create(&thread, NULL, sleep_once, &it);
    wait_for_sleeper(&it.event);
    atomic_store(&it.stop, 1);
    kl_event_count_notify_all(&it.event);
    pthread_join(thread, NULL);
    KL_CHECK_EQ(it.status, KL_ERR_STOPPED);
    KL_CHECK_LT(it.longest_ns, LOST_NS);
}

KL_TEST(kl_event_count_wait_leaves_no_flag_behind_when_it_was_woken) {
    sleeper it = {0};
    pthread_t thread;
    pthread_create(&thread, NULL, sleep_once, &it);
    for (uint32_t ms = 0; ms < 400 && load(&it.event.waiters) == 0; ms++) nap_ms(1);
    nap_ms(20); /* it sleeps, or it looks once more with the flag set */
    kl_event_count_notify_all(&it.event);
    pthread_join(thread, NULL);
    KL_CHECK_EQ(it.status, KL_OK);
    KL_CHECK_EQ(it.event.waiters, 0);
}

KL_TEST(kl_event_count_notify_all_wakes_everybody) {
    sleeper it = {0};
    pthread_t threads[4];
    for (uint32_t i = 0; i < 4; i++) pthread_create(&threads[i], NULL, sleep_once, &it);
    wait_for_sleeper(&it.event);
    nap_ms(20);
    kl_event_count_notify_all(&it.event);
    for (uint32_t i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    KL_CHECK_EQ(it.ended, 4);
    KL_CHECK_EQ(it.status, KL_OK);
    KL_CHECK_LT(it.longest_ns, LOST_NS);
}

/* ---- no wake-up is lost ---- */

typedef struct {
    kl_event_count events[2];
    _Alignas(64) _Atomic uint32_t turn; /* even: side 0 moves */
    uint32_t rounds;
    _Atomic uint64_t longest_ns;
} table;

static void alternate(void *argument, uint32_t side) {
    table *it = argument;
    for (uint32_t round = side; round < it->rounds; round += 2) {
        for (;;) {
            uint32_t key = kl_event_count_prepare(&it->events[side]);
            if (load(&it->turn) == round) break;
            uint64_t before = kl_clock_monotonic_ns();
            kl_event_count_wait(&it->events[side], key, KL_FOREVER, NULL);
            raise_to(&it->longest_ns, kl_clock_monotonic_ns() - before);
        }
        atomic_store_explicit(&it->turn, round + 1, memory_order_release);
        kl_event_count_notify_all(&it->events[1 - side]);
    }
}

static uint32_t rounds_of(uint32_t usual) {
    return getenv("KEELSON_LONG") ? 1000000 : kl_test_slow() ? usual / 10 : usual;
}

KL_TEST(kl_event_count_loses_no_wake_up_in_200000_alternations_of_two_threads) {
    table it = {.rounds = rounds_of(200000)};
    kl_test_threads(2, alternate, &it);
    KL_CHECK_EQ(it.turn, it.rounds);
    KL_CHECK_LT(it.longest_ns, LOST_NS);
}

/* On one processor nobody can see the other move while it looks: every wait sleeps. */
static void alternate_on_one_processor(void *argument, uint32_t side) {
    KL_CHECK_EQ(kl_cpu_pin((uint32_t)kl_cpu_nth(0)), KL_OK);
    alternate(argument, side);
    kl_cpu_unpin();
}

KL_TEST(kl_event_count_loses_no_wake_up_when_every_wait_sleeps) {
    table it = {.rounds = rounds_of(40000)};
    kl_test_threads(2, alternate_on_one_processor, &it);
    KL_CHECK_EQ(it.turn, it.rounds);
    KL_CHECK_LT(it.longest_ns, LOST_NS);
}

static int alternate_in_child(void *argument) {
    alternate(argument, 1);
    return 0;
}

KL_TEST(kl_event_count_loses_no_wake_up_between_two_processes) {
    table *it = shared_page();
    it->rounds = rounds_of(20000);
    for (uint32_t i = 0; i < 2; i++) it->events[i].sequence = UINT32_MAX - 1000; /* wraps */
    int child = kl_test_fork(alternate_in_child, it);
    alternate(it, 0);
    KL_CHECK_EQ(kl_test_join(child), 0);
    KL_CHECK_EQ(it->turn, it->rounds);
    KL_CHECK_LT(it->longest_ns, LOST_NS);
    munmap(it, 4096);
}

typedef struct {
    kl_event_count event;
    _Alignas(64) _Atomic uint32_t made; /* the condition: what the notifiers did */
    uint32_t total;
    _Atomic uint64_t longest_ns;
} crowd;

static void crowd_member(void *argument, uint32_t index) {
    crowd *it = argument;
    if (index < 2) { /* notifiers; at the end nothing more comes, so the last must not be lost */
        for (uint32_t i = 0; i < it->total; i++) {
            atomic_fetch_add_explicit(&it->made, 1, memory_order_release);
            kl_event_count_notify_all(&it->event);
            if (i % 64 == 0) usleep(50); /* let them fall asleep */
        }
        return;
    }
    for (uint32_t seen = 0; seen < 2 * it->total;) {
        uint32_t key = kl_event_count_prepare(&it->event);
        uint32_t made = load(&it->made);
        if (made != seen) {
            seen = made;
            continue;
        }
        uint64_t before = kl_clock_monotonic_ns();
        kl_event_count_wait(&it->event, key, KL_FOREVER, NULL);
        raise_to(&it->longest_ns, kl_clock_monotonic_ns() - before);
    }
}

KL_TEST(kl_event_count_loses_no_wake_up_among_two_notifiers_and_four_waiters) {
    crowd it = {.total = kl_test_slow() ? 2000 : 20000};
    kl_test_threads(6, crowd_member, &it);
    KL_CHECK_LT(it.longest_ns, LOST_NS);
}

/* ---- death ---- */

static int sleep_in_child(void *argument) {
    kl_event_count_wait(argument, 0, KL_FOREVER, NULL);
    return 0;
}

KL_TEST(kl_event_count_notify_all_after_a_killed_waiter_makes_one_spare_wake_and_no_more) {
    kl_event_count *event = shared_page();
    int child = kl_test_fork(sleep_in_child, event);
    wait_for_sleeper(event);
    kill(child, SIGKILL);
    KL_CHECK_EQ(kl_test_join(child), 128 + SIGKILL);
    KL_CHECK_EQ(event->waiters, 1);
    kl_event_count_notify_all(event);
    KL_CHECK_EQ(event->waiters, 0);
    KL_CHECK_EQ(event->sequence, 2); /* the spare wake raised it once more */
    kl_event_count_notify_all(event);
    KL_CHECK_EQ(event->sequence, 3);
    munmap(event, 4096);
}

KL_TEST(kl_event_count_wait_lets_the_caller_look_after_a_slice_without_a_notify) {
    kl_event_count event = {0};
    uint64_t before = kl_clock_monotonic_ns();
    KL_CHECK_EQ(kl_event_count_wait(&event, 0, KL_FOREVER, NULL), KL_OK);
    KL_CHECK_LE(KL_EVENT_SLICE_NS, kl_clock_monotonic_ns() - before);
    KL_CHECK_EQ(kl_event_count_wait(&event, 0, KL_EVENT_SLICE_NS / 10, NULL), KL_ERR_TIMEOUT);
}

KL_TEST(kl_event_count_wait_survives_a_notifier_killed_before_its_wake) {
    sleeper it = {0};
    pthread_t thread;
    pthread_create(&thread, NULL, sleep_once, &it);
    wait_for_sleeper(&it.event);
    /* N1 to N4 happened, N5 never did. */
    atomic_store(&it.event.waiters, 0);
    atomic_fetch_add(&it.event.sequence, 2);
    pthread_join(thread, NULL);
    KL_CHECK_EQ(it.status, KL_OK);
    KL_CHECK_LT(it.longest_ns, 2 * KL_EVENT_SLICE_NS);
}

/* ---- retire ---- */

static kl_event_count *retired;
static void note_retired(kl_event_count *event) {
    retired = event;
}

KL_TEST(kl_event_count_retire_asks_the_upper_row_to_leave) {
    kl_event_count event = {0};
    kl_event_count_retire(&event); /* nobody registered: nothing */
    kl_event_count_on_retire(note_retired);
    kl_event_count_retire(&event);
    KL_CHECK_EQ(retired, &event);
    kl_event_count_on_retire(NULL);
}
