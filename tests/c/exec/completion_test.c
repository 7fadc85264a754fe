#include "exec/completion.h"

#include "base/handle.h"
#include "base/random.h"
#include "exec/service.h"
#include "lockfree/spsc_ring.h"
#include "tests/c/harness.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* What an isolate has: a completion and its end of the doorbell. */
typedef struct {
    uint32_t completion;
    int fd;
    kl_completion_entry entries[256];
    uint32_t count, at;
} isolate;

static isolate open_isolate(void) {
    isolate it = {.completion = kl_completion_open()};
    KL_CHECK_NE(it.completion, 0);
    it.fd = kl_completion_fd(it.completion);
    KL_CHECK_LE(0, it.fd);
    return it;
}

static void close_isolate(isolate *it) {
    KL_CHECK_EQ(kl_completion_close(it->completion), KL_OK);
    KL_CHECK_EQ(close(it->fd), 0);
}

static uint32_t bell_bytes(isolate *it) {
    uint8_t bytes[64];
    ssize_t count = recv(it->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    return count > 0 ? (uint32_t)count : 0;
}

static uint32_t drain(isolate *it) {
    int32_t count = kl_completion_drain(it->completion, (uint8_t *)it->entries, sizeof it->entries);
    KL_CHECK_LE(0, count);
    it->count = (uint32_t)count;
    it->at = 0;
    return it->count;
}

/* Sleeps until the bell rings (a bounded time), then drains. How many entries came. */
static uint32_t hear(isolate *it, int timeout_ms) {
    struct pollfd bell = {.fd = it->fd, .events = POLLIN};
    if (poll(&bell, 1, timeout_ms) != 1 || bell_bytes(it) == 0) return 0;
    return drain(it);
}

/* The next entry, however the bell bundles them. Token 0: none came in five seconds. */
static kl_completion_entry next_entry(isolate *it) {
    uint64_t before = kl_clock_monotonic_ns();
    bool more = it->count == sizeof it->entries / sizeof it->entries[0]; /* of the last drain */
    while (it->at == it->count) {
        if (kl_clock_monotonic_ns() - before > 5 * KL_NS_PER_S) return (kl_completion_entry){0, 0};
        if (!more || drain(it) == 0) hear(it, 1000);
        more = false;
    }
    return it->entries[it->at++];
}

static void expect(isolate *it, uint32_t token, int32_t status) {
    kl_completion_entry entry = next_entry(it);
    KL_CHECK_EQ(entry.token, token);
    KL_CHECK_EQ(entry.status, status);
}

static void *new_event(void) {
    void *event = aligned_alloc(KL_LINE_BYTES, sizeof(kl_event_count));
    memset(event, 0, sizeof(kl_event_count));
    return event;
}

static void free_event(kl_event_count *event) {
    kl_event_count_retire(event);
    free(event);
}

KL_TEST(kl_completion_post_rings_once_for_many_entries) {
    isolate it = open_isolate();
    for (uint32_t token = 1; token <= 100; token++)
        KL_CHECK_EQ(kl_completion_post(it.completion, token, -(int32_t)token), KL_OK);
    KL_CHECK_EQ(bell_bytes(&it), 1);
    uint8_t out[40 * 8];
    uint32_t token = 1;
    for (int32_t count; (count = kl_completion_drain(it.completion, out, sizeof out)) > 0;)
        for (int32_t i = 0; i < count; i++, token++) {
            kl_completion_entry entry;
            memcpy(&entry, out + 8 * i, 8);
            KL_CHECK_EQ(entry.token, token);
            KL_CHECK_EQ(entry.status, -(int32_t)token);
        }
    KL_CHECK_EQ(token, 101);
    KL_CHECK_EQ(bell_bytes(&it), 0);
    KL_CHECK_EQ(kl_completion_post(it.completion, 101, 0), KL_OK);
    KL_CHECK_EQ(bell_bytes(&it), 1);
    close_isolate(&it);
}

KL_TEST(kl_completion_post_is_refused_when_nobody_fetches) {
    isolate it = open_isolate();
    kl_event_count *event = new_event();
    uint32_t posted = 0;
    while (kl_completion_post(it.completion, posted + 1, 0) == KL_OK) posted++;
    KL_CHECK_EQ(posted, KL_COMPLETION_ENTRIES_MAX - KL_ARMS_MAX);
    KL_CHECK_EQ(kl_completion_arm(it.completion, 1, event, 0, KL_FOREVER), KL_ERR_LIMIT);
    for (uint32_t seen = 0; seen < posted;) {
        int32_t count =
            kl_completion_drain(it.completion, (uint8_t *)it.entries, sizeof it.entries);
        for (int32_t i = 0; i < count; i++) KL_CHECK_EQ(it.entries[i].token, ++seen);
    }
    KL_CHECK_EQ(kl_completion_post(it.completion, 1, 0), KL_OK);
    close_isolate(&it);
    free_event(event);
}

KL_TEST(kl_completion_close_refuses_all_later_calls) {
    isolate it = open_isolate();
    kl_event_count *event = new_event();
    uint8_t out[8];
    close_isolate(&it);
    KL_CHECK_EQ(kl_completion_close(it.completion), KL_ERR_HANDLE);
    KL_CHECK_EQ(kl_completion_fd(it.completion), KL_ERR_HANDLE);
    KL_CHECK_EQ(kl_completion_drain(it.completion, out, 8), KL_ERR_HANDLE);
    KL_CHECK_EQ(kl_completion_post(it.completion, 1, 0), KL_ERR_HANDLE);
    KL_CHECK_EQ(kl_completion_arm(it.completion, 1, event, 0, KL_FOREVER), KL_ERR_HANDLE);
    KL_CHECK_EQ(kl_completion_cancel(it.completion, 1), KL_ERR_NOT_FOUND);
    free_event(event);
}

KL_TEST(kl_completion_arm_posts_when_the_event_leaves_its_key) {
    isolate it = open_isolate();
    kl_event_count *event = new_event();
    for (uint32_t token = 1; token <= 50; token++) {
        uint32_t key = kl_event_count_prepare(event);
        KL_CHECK_EQ(kl_completion_arm(it.completion, token, event, key, KL_FOREVER), 0);
        if (token % 3 == 0) usleep(500);
        if (token % 10 == 0) usleep(30000); /* beyond the linger */
        KL_CHECK_EQ(bell_bytes(&it), 0);
        kl_event_count_notify_all(event);
        expect(&it, token, KL_OK);
        KL_CHECK_EQ(kl_completion_arm(it.completion, token, event, key, KL_FOREVER), 1);
    }
    close_isolate(&it);
    free_event(event);
}

KL_TEST(kl_completion_arm_is_posted_by_a_notifier_of_the_same_process_itself) {
    isolate it = open_isolate();
    kl_event_count *event = new_event();
    uint32_t at_once = 0;
    for (uint32_t token = 1; token <= 50; token++) {
        uint32_t key = kl_event_count_prepare(event);
        KL_CHECK_EQ(kl_completion_arm(it.completion, token, event, key, KL_FOREVER), 0);
        for (uint32_t ms = 0; ms < 400 && event->waiters == 0; ms++) usleep(1000);
        kl_event_count_notify_all(event);
        at_once += drain(&it);
        if (it.count == 0) expect(&it, token, KL_OK);
    }
    KL_CHECK_LE(40, at_once); /* not always: the timer may have had the mutex */
    close_isolate(&it);
    free_event(event);
}

KL_TEST(kl_completion_arm_posts_each_timeout_at_its_time_the_earliest_first) {
    isolate it = open_isolate();
    kl_event_count *event = new_event();
    uint64_t before = kl_clock_monotonic_ns();
    KL_CHECK_EQ(kl_completion_arm(it.completion, 1, event, 0, KL_FOREVER), 0);
    KL_CHECK_EQ(kl_completion_arm(it.completion, 2, event, 0, 60 * KL_NS_PER_MS), 0);
    usleep(5000); /* the timer sleeps for 60 ms by now */
    KL_CHECK_EQ(kl_completion_arm(it.completion, 3, event, 0, 10 * KL_NS_PER_MS), 0);
    expect(&it, 3, KL_ERR_TIMEOUT);
    KL_CHECK_LE(10 * KL_NS_PER_MS, kl_clock_monotonic_ns() - before);
    expect(&it, 2, KL_ERR_TIMEOUT);
    KL_CHECK_LE(60 * KL_NS_PER_MS, kl_clock_monotonic_ns() - before);
    KL_CHECK_EQ(event->sequence, 0); /* timeouts notify nobody */
    kl_event_count_notify_all(event);
    expect(&it, 1, KL_OK);
    close_isolate(&it);
    free_event(event);
}

KL_TEST(kl_completion_arm_tells_to_look_again_after_a_slice_without_a_notify) {
    isolate it = open_isolate();
    kl_event_count *event = new_event();
    uint64_t before = kl_clock_monotonic_ns();
    KL_CHECK_EQ(kl_completion_arm(it.completion, 1, event, 0, KL_FOREVER), 0);
    expect(&it, 1, KL_OK); /* as if the notifier had died between its change and its notify */
    KL_CHECK_LE(KL_EVENT_SLICE_NS, kl_clock_monotonic_ns() - before);
    KL_CHECK_EQ(event->sequence, 0);
    close_isolate(&it);
    free_event(event);
}

KL_TEST(kl_completion_cancel_forgets_an_arm_that_was_not_posted) {
    isolate it = open_isolate();
    kl_event_count *event = new_event();
    for (uint32_t token = 1; token <= 3; token++)
        KL_CHECK_EQ(kl_completion_arm(it.completion, token, event, 0, KL_FOREVER), 0);
    KL_CHECK_EQ(kl_completion_cancel(it.completion, 2), KL_OK);
    KL_CHECK_EQ(kl_completion_cancel(it.completion, 2), KL_ERR_NOT_FOUND);
    kl_event_count_notify_all(event);
    uint32_t seen = 0;
    for (uint32_t i = 0; i < 2; i++) seen |= 1u << next_entry(&it).token;
    KL_CHECK_EQ(seen, 2 | 8);
    KL_CHECK_EQ(kl_completion_cancel(it.completion, 1), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(hear(&it, 20), 0);
    close_isolate(&it);
    free_event(event);
}

KL_TEST(kl_completion_arm_leaves_an_event_nobody_awaits_without_a_sleeper) {
    isolate it = open_isolate();
    kl_event_count *event = new_event();
    KL_CHECK_EQ(kl_completion_arm(it.completion, 1, event, 0, KL_FOREVER), 0);
    for (uint32_t ms = 0; ms < 400 && event->waiters == 0; ms++) usleep(1000);
    KL_CHECK_EQ(event->waiters, 1);
    kl_event_count_notify_all(event);
    expect(&it, 1, KL_OK);
    bool slept_on = true; /* it lingers; the first notify after it takes its flag away */
    for (uint32_t attempt = 0; attempt < 50 && slept_on; attempt++) {
        usleep(100000);
        kl_event_count_notify_all(event);
        uint32_t sequence = event->sequence;
        for (uint32_t i = 0; i < 10; i++) {
            usleep(1000);
            kl_event_count_notify_all(event);
        }
        slept_on = event->sequence != sequence + 10; /* a wake raised it further */
    }
    KL_CHECK(!slept_on);
    close_isolate(&it);
    free_event(event);
}

KL_TEST(kl_completion_forget_posts_closed_and_touches_the_event_no_more) {
    isolate it = open_isolate();
    for (uint32_t round = 0; round < 40; round++) {
        kl_event_count *event =
            mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        for (uint32_t token = 1; token <= 100; token++)
            KL_CHECK_EQ(kl_completion_arm(it.completion, token, event, 0, KL_FOREVER), 0);
        if (round % 2 == 0) usleep(1000);
        uint64_t before = kl_clock_monotonic_ns();
        kl_event_count_retire(event);
        KL_CHECK_LT(kl_clock_monotonic_ns() - before, KL_EVENT_SLICE_NS);
        KL_CHECK_EQ(mprotect(event, 4096, PROT_NONE), 0);
        for (uint32_t i = 0; i < 100; i++) KL_CHECK_EQ(next_entry(&it).status, KL_ERR_CLOSED);
        munmap(event, 4096);
    }
    KL_CHECK_LE(kl_completion_watchers(), 8);
    close_isolate(&it);
}

/* Arms `count` waits with the tokens from 1 on, on one event or on one each. False: it took so long
 * that the first may have been told to look again, which frees what they hold. */
static bool arm_all(isolate *it, kl_event_count *const *events, uint32_t event_count,
                    uint32_t count) {
    uint64_t before = kl_clock_monotonic_ns();
    for (uint32_t i = 0; i < count; i++)
        KL_CHECK_EQ(
            kl_completion_arm(it->completion, i + 1, events[i % event_count], 0, KL_FOREVER), 0);
    int32_t beyond =
        kl_completion_arm(it->completion, count + 1, events[event_count], 0, KL_FOREVER);
    if (kl_clock_monotonic_ns() - before >= KL_EVENT_SLICE_NS) return false;
    KL_CHECK_EQ(beyond, KL_ERR_LIMIT);
    return true;
}

static void new_events(kl_event_count **events, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) events[i] = new_event();
}

static void free_events(kl_event_count **events, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) free_event(events[i]);
}

KL_TEST(kl_completion_arm_watches_64_events_at_once_and_refuses_the_65th) {
    kl_event_count *events[KL_WATCHERS_MAX + 1];
    bool in_time = false;
    for (uint32_t attempt = 0; attempt < 20 && !in_time; attempt++) {
        isolate it = open_isolate();
        new_events(events, KL_WATCHERS_MAX + 1);
        in_time = arm_all(&it, events, KL_WATCHERS_MAX, KL_WATCHERS_MAX);
        KL_CHECK_EQ(kl_completion_watchers(), KL_WATCHERS_MAX);
        close_isolate(&it);
        free_events(events, KL_WATCHERS_MAX + 1);
    }
    KL_CHECK(in_time);
}

KL_TEST(kl_completion_arm_calls_watchers_away_from_events_nobody_awaits_any_more) {
    kl_event_count *events[KL_WATCHERS_MAX + 1];
    isolate it = open_isolate();
    new_events(events, KL_WATCHERS_MAX + 1);
    for (uint32_t round = 0; round < 40; round++) {
        for (uint32_t i = 0; i < KL_WATCHERS_MAX; i++) {
            uint32_t key = kl_event_count_prepare(events[i]);
            KL_CHECK_EQ(kl_completion_arm(it.completion, i, events[i], key, KL_FOREVER), 0);
        }
        uint32_t freed = round % KL_WATCHERS_MAX, key = kl_event_count_prepare(events[64]);
        if (round % 4 < 2) usleep(1000); /* they sleep, or are about to */
        if (round % 2 == 0) {
            kl_completion_cancel(it.completion, freed);
        } else { /* and lingers */
            kl_event_count_notify_all(events[freed]);
            while (next_entry(&it).token != freed) {
            } /* others: told to look again, if it is slow */
        }
        KL_CHECK_EQ(kl_completion_arm(it.completion, 64, events[64], key, KL_FOREVER), 0);
        kl_event_count_notify_all(events[64]);
        while (next_entry(&it).token != 64) {
        }
        close_isolate(&it);
        it = open_isolate();
    }
    close_isolate(&it);
    free_events(events, KL_WATCHERS_MAX + 1);
}

KL_TEST(kl_completion_arm_answers_limit_beyond_4096_waits_and_close_frees_them) {
    kl_event_count *events[2];
    new_events(events, 1);
    events[1] = events[0];
    uint32_t in_time = 0;
    for (uint32_t attempt = 0; attempt < 20 && in_time < 3; attempt++) {
        isolate it = open_isolate();
        if (arm_all(&it, events, 1, KL_ARMS_MAX)) in_time++;
        close_isolate(&it);
    }
    KL_CHECK_EQ(in_time, 3);
    free_events(events, 1);
}

#define OWN_EVENTS 30u

/* Three of these have 90 events and await three at a time: never refused, though all 64 watchers
 * are soon bound. Now and then an event goes away, perhaps while its watcher is called elsewhere. */
static void arm_in_a_crowd(void *argument, uint32_t index) {
    (void)argument;
    isolate it = open_isolate();
    kl_event_count *own[OWN_EVENTS] = {0};
    kl_random random;
    kl_random_init(&random, kl_test_seed() + index);
    for (uint32_t i = 0; i < (kl_test_slow() ? 600u : 3000u); i++) {
        kl_event_count **event = &own[kl_random_below(&random, OWN_EVENTS)];
        if (!*event)
            *event = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        uint32_t key = kl_event_count_prepare(*event);
        if (kl_completion_arm(it.completion, i, *event, key, KL_FOREVER) != 0) {
            kl_test_fail(__FILE__, __LINE__, "arm %u: %s", i, kl_status_last());
            break;
        }
        if (kl_random_below(&random, 2) == 0) kl_event_count_notify_all(*event);
        if (kl_completion_cancel(it.completion, i) != KL_OK) KL_CHECK_EQ(next_entry(&it).token, i);
        if (kl_random_below(&random, 4) > 0) continue;
        kl_event_count_retire(*event);
        munmap(*event, 4096);
        *event = NULL;
    }
    for (uint32_t i = 0; i < OWN_EVENTS; i++)
        if (own[i]) kl_event_count_retire(own[i]), munmap(own[i], 4096);
    close_isolate(&it);
}

KL_TEST(kl_completion_arm_is_never_refused_while_few_events_are_awaited) {
    kl_test_threads(3, arm_in_a_crowd, NULL);
}

static void *open_and_end(void *argument) {
    uint32_t *completions = argument;
    completions[0] = kl_completion_open();
    completions[1] = kl_completion_open();
    return NULL;
}

KL_TEST(kl_completion_open_is_closed_by_the_end_of_its_thread) {
    kl_event_count *event = new_event();
    uint32_t completions[2], live = kl_handle_live(KL_HANDLE_COMPLETION);
    pthread_t thread;
    pthread_create(&thread, NULL, open_and_end, completions);
    pthread_join(thread, NULL);
    KL_CHECK_EQ(kl_handle_live(KL_HANDLE_COMPLETION), live);
    for (uint32_t i = 0; i < 2; i++) {
        KL_CHECK_NE(completions[i], 0);
        KL_CHECK_EQ(kl_completion_post(completions[i], 1, 0), KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_completion_arm(completions[i], 1, event, 0, KL_FOREVER), KL_ERR_HANDLE);
    }
    free_event(event);
}

/* ---- many at once ---- */

typedef struct {
    uint32_t completion, each;
} posters;

static void post_many(void *argument, uint32_t index) {
    posters *it = argument;
    for (uint32_t i = 0; i < it->each;) {
        int32_t status = kl_completion_post(it->completion, index * it->each + i, (int32_t)index);
        if (status == KL_OK)
            i++;
        else
            usleep(100);
    }
}

static void *run_posters(void *argument) {
    kl_test_threads(4, post_many, argument);
    return NULL;
}

KL_TEST(kl_completion_post_from_four_threads_delivers_each_entry_once_in_their_order) {
    isolate it = open_isolate();
    posters all = {it.completion, kl_test_slow() ? 5000 : 50000};
    pthread_t thread;
    pthread_create(&thread, NULL, run_posters, &all);
    uint32_t next[4] = {0};
    for (uint32_t i = 0; i < 4 * all.each; i++) {
        kl_completion_entry entry = next_entry(&it);
        KL_CHECK_EQ(entry.token, (uint32_t)entry.status * all.each + next[entry.status & 3]);
        next[entry.status & 3]++;
    }
    pthread_join(thread, NULL);
    KL_CHECK_EQ(hear(&it, 10), 0);
    close_isolate(&it);
}

typedef struct {
    kl_event_count *events;
    _Atomic uint32_t *made; /* by event: how many times it was notified */
    uint32_t rounds;
} storm;

#define STORM_EVENTS 3

static void storm_member(void *argument, uint32_t index) {
    storm *it = argument;
    if (index == 0) { /* makes conditions true and says so; the last of each is followed by none */
        for (uint32_t i = 0; i < it->rounds; i++) {
            atomic_fetch_add(&it->made[i % STORM_EVENTS], 1);
            kl_event_count_notify_all(&it->events[i % STORM_EVENTS]);
            if (i % 32 == 0) usleep(200);
        }
        return;
    }
    isolate own = open_isolate(); /* three isolates that wait for all of it */
    uint32_t total = it->rounds / STORM_EVENTS, token = 1;
    for (uint32_t event = 0; event < STORM_EVENTS; event++)
        for (;;) {
            uint32_t key = kl_event_count_prepare(&it->events[event]);
            if (atomic_load(&it->made[event]) == total) break;
            int32_t status = kl_completion_arm(own.completion, token, &it->events[event], key,
                                               token % 2 == 0 ? KL_FOREVER : 3 * KL_NS_PER_S);
            if (status == 0) {
                uint64_t before = kl_clock_monotonic_ns();
                kl_completion_entry entry = next_entry(&own);
                KL_CHECK_EQ(entry.token, token);
                KL_CHECK_LT(kl_clock_monotonic_ns() - before, KL_EVENT_SLICE_NS);
            } else {
                KL_CHECK_EQ(status, 1);
            }
            token++;
        }
    close_isolate(&own);
}

KL_TEST(kl_completion_arm_loses_no_wake_up_among_three_isolates_and_a_notifier) {
    storm it = {aligned_alloc(KL_LINE_BYTES, STORM_EVENTS * sizeof(kl_event_count)),
                calloc(STORM_EVENTS, 4), STORM_EVENTS * (kl_test_slow() ? 500 : 5000)};
    memset(it.events, 0, STORM_EVENTS * sizeof(kl_event_count));
    kl_test_threads(4, storm_member, &it);
    for (uint32_t i = 0; i < STORM_EVENTS; i++) kl_event_count_retire(&it.events[i]);
    free(it.events);
    free(it.made);
}

static void arm_and_cancel(void *argument, uint32_t index) {
    kl_event_count *event = argument;
    isolate own = open_isolate();
    for (uint32_t i = 0; i < 2000; i++) {
        uint32_t key = kl_event_count_prepare(event);
        if (index == 0) kl_event_count_notify_all(event);
        int32_t status = kl_completion_arm(own.completion, i, event, key, KL_FOREVER);
        if (status == 0 && kl_completion_cancel(own.completion, i) != KL_OK)
            KL_CHECK_EQ(next_entry(&own).token, i); /* then it was posted, once */
    }
    KL_CHECK_EQ(hear(&own, 5), 0);
    close_isolate(&own);
}

KL_TEST(kl_completion_cancel_races_the_post_and_exactly_one_wins) {
    kl_event_count *event = new_event();
    kl_test_threads(3, arm_and_cancel, event);
    free_event(event);
}

/* ---- rings ---- */

KL_TEST(kl_completion_arm_shared_posts_when_data_or_room_comes_and_when_it_closes) {
    isolate it = open_isolate();
    char name[64];
    uint8_t record[600] = {0};
    uint32_t ring = 0;
    int bytes = snprintf(name, sizeof name, "test-completion-%d", getpid());
    KL_CHECK_EQ(kl_spsc_ring_create((uint8_t *)name, (uint32_t)bytes, 1024, 0, (uint8_t *)&ring),
                KL_OK);
    KL_CHECK_EQ(kl_spsc_ring_remove((uint8_t *)name, (uint32_t)bytes), KL_OK);
    KL_CHECK_EQ(kl_completion_arm_shared(it.completion, 1, ring, KL_HANDLE_SPSC_RING, 2, 0, -1), 0);
    KL_CHECK_EQ(kl_completion_arm_shared(it.completion, 2, ring, KL_HANDLE_SPSC_RING, 1, 600, -1),
                1);
    KL_CHECK_EQ(kl_spsc_ring_push(ring, record, 600), KL_OK);
    expect(&it, 1, KL_OK);
    KL_CHECK_EQ(kl_completion_arm_shared(it.completion, 3, ring, KL_HANDLE_SPSC_RING, 2, 0, -1), 1);
    KL_CHECK_EQ(kl_completion_arm_shared(it.completion, 4, ring, KL_HANDLE_SPSC_RING, 1, 600, -1),
                0);
    KL_CHECK_EQ(kl_spsc_ring_pop(ring, record, 600), 600);
    expect(&it, 4, KL_OK);
    KL_CHECK_EQ(kl_completion_arm_shared(it.completion, 5, ring, KL_HANDLE_SPSC_RING, 2, 0, 10), 0);
    expect(&it, 5, KL_ERR_TIMEOUT);
    KL_CHECK_EQ(kl_completion_arm_shared(it.completion, 6, ring, KL_HANDLE_SPSC_RING, 1, 5000, -1),
                KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_completion_arm_shared(it.completion, 6, ring, KL_HANDLE_SPSC_RING, 3, 0, -1),
                KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_completion_arm_shared(it.completion, 7, ring, KL_HANDLE_SPSC_RING, 2, 0, -1), 0);
    KL_CHECK_EQ(kl_spsc_ring_close(ring), KL_OK);
    kl_completion_entry closed = next_entry(&it); /* woken to find it closed, or told so */
    KL_CHECK_EQ(closed.token, 7);
    KL_CHECK(closed.status == KL_OK || closed.status == KL_ERR_CLOSED);
    KL_CHECK_EQ(kl_completion_arm_shared(it.completion, 8, ring, KL_HANDLE_SPSC_RING, 2, 0, -1),
                KL_ERR_HANDLE);
    close_isolate(&it);
}
