#include "sync/mutex.h"

#include "base/random.h"
#include "tests/c/harness.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What the mutex guards in these tests, in the region's data. */
typedef struct {
    kl_mutex mutex;
    uint64_t first, second; /* equal unless somebody is inside, or died inside */
    _Atomic uint32_t inside, takeovers, ready;
} guarded;

static char path[512];

static kl_region *attach(void) {
    kl_region *region = NULL;
    KL_CHECK_EQ(kl_region_attach(&region, path, NULL), KL_OK);
    KL_CHECK_LE(0, kl_region_join(region, 0));
    return region;
}

static kl_region *create(void) {
    kl_region *region = NULL;
    snprintf(path, sizeof path, "%s/region", kl_test_folder());
    kl_region_spec spec = {.kind = 1};
    KL_CHECK_EQ(kl_region_create(&region, path, sizeof(guarded), &spec), KL_OK);
    KL_CHECK_EQ(kl_region_publish(region), KL_OK);
    KL_CHECK_LE(0, kl_region_join(region, 0));
    return region;
}

static guarded *data_of(kl_region *region) {
    return (guarded *)(void *)kl_region_data(region);
}

KL_TEST(kl_mutex_L3_try_lock_is_exclusive_within_one_participant_too) {
    kl_region *region = create();
    kl_mutex *mutex = &data_of(region)->mutex;
    KL_CHECK_EQ(kl_mutex_try_lock(mutex, region), KL_OK);
    KL_CHECK_EQ(mutex->owner, kl_region_self(region));
    KL_CHECK_EQ(kl_mutex_try_lock(mutex, region), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_mutex_try_lock_dead(mutex, region), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_mutex_verify(mutex, region), KL_OK);
    kl_mutex_unlock(mutex, region);
    KL_CHECK_EQ(mutex->owner, 0);
    KL_CHECK_EQ(kl_mutex_try_lock(mutex, region), KL_OK);
    kl_mutex_unlock(mutex, region);
    kl_region_close(region);
}

KL_TEST(kl_mutex_lock_gives_up_at_its_timeout) {
    kl_region *region = create(), *other = attach();
    kl_mutex *mutex = &data_of(region)->mutex;
    KL_CHECK_EQ(kl_mutex_lock(mutex, region, 0), KL_OK);
    KL_CHECK_EQ(kl_mutex_lock(&data_of(other)->mutex, other, 0), KL_ERR_TIMEOUT);
    uint64_t before = kl_clock_monotonic_ns();
    KL_CHECK_EQ(kl_mutex_lock(&data_of(other)->mutex, other, 20 * KL_NS_PER_MS), KL_ERR_TIMEOUT);
    KL_CHECK_LE(20 * KL_NS_PER_MS, kl_clock_monotonic_ns() - before);
    KL_CHECK_EQ(mutex->waiters, 0);
    KL_CHECK_EQ(kl_mutex_try_lock_dead(&data_of(other)->mutex, other), KL_ERR_AGAIN);
    kl_mutex_unlock(mutex, region);
    kl_region_close(other);
    kl_region_close(region);
}

KL_TEST(kl_mutex_L4_unlock_by_another_is_a_counted_bug_and_frees_nothing) {
#ifndef KL_DEBUG /* there it aborts */
    kl_region *region = create(), *other = attach();
    KL_CHECK_EQ(kl_mutex_try_lock(&data_of(region)->mutex, region), KL_OK);
    uint32_t bugs = kl_bug_count();
    kl_mutex_unlock(&data_of(other)->mutex, other);
    KL_CHECK_EQ(kl_bug_count(), bugs + 1);
    KL_CHECK_EQ(data_of(region)->mutex.owner, kl_region_self(region));
    kl_mutex_unlock(&data_of(region)->mutex, region);
    kl_region_close(other);
    kl_region_close(region);
#endif
}

/* ---- many ---- */

static void count_up(kl_region *region, uint32_t rounds) {
    guarded *it = data_of(region);
    for (uint32_t i = 0; i < rounds; i++) {
        KL_CHECK_LE(0, kl_mutex_lock(&it->mutex, region, KL_FOREVER));
        KL_CHECK_EQ(atomic_fetch_add(&it->inside, 1), 0);
        it->first++;
        if (i % 1024 == 0) usleep(100); /* make the others sleep */
        it->second++;
        KL_CHECK_EQ(atomic_fetch_sub(&it->inside, 1), 1);
        kl_mutex_unlock(&it->mutex, region);
    }
}

static uint32_t rounds_each(void) {
    return getenv("KEELSON_LONG") ? 1000000 : kl_test_slow() ? 2000 : 20000;
}

static void count_up_in_thread(void *argument, uint32_t index) {
    (void)index;
    count_up(argument, rounds_each());
}

KL_TEST(kl_mutex_L1_lock_excludes_four_threads_of_one_participant) {
    kl_region *region = create();
    kl_test_threads(4, count_up_in_thread, region);
    KL_CHECK_EQ(data_of(region)->first, 4 * rounds_each());
    KL_CHECK_EQ(data_of(region)->second, 4 * rounds_each());
    KL_CHECK_EQ(data_of(region)->mutex.waiters, 0);
    kl_region_close(region);
}

static int count_up_in_child(void *argument) {
    (void)argument;
    kl_region *region = attach();
    count_up(region, rounds_each());
    kl_region_close(region);
    return 0;
}

KL_TEST(kl_mutex_L1_lock_excludes_three_processes) {
    kl_region *region = create();
    int children[3];
    for (uint32_t i = 0; i < 3; i++) children[i] = kl_test_fork(count_up_in_child, NULL);
    for (uint32_t i = 0; i < 3; i++) KL_CHECK_EQ(kl_test_join(children[i]), 0);
    KL_CHECK_EQ(data_of(region)->second, 3 * rounds_each());
    kl_region_close(region);
}

/* ---- death of the owner ---- */

static int die_inside(void *argument) {
    (void)argument;
    kl_region *region = attach();
    guarded *it = data_of(region);
    int32_t status = kl_mutex_lock(&it->mutex, region, KL_FOREVER);
    it->first++; /* and second never */
    atomic_store(&it->ready, 1);
    kill(getpid(), SIGKILL);
    return status;
}

static void let_owner_die(guarded *it) {
    atomic_store(&it->ready, 0);
    int child = kl_test_fork(die_inside, NULL);
    KL_CHECK_EQ(kl_test_join(child), 128 + SIGKILL);
    KL_CHECK_EQ(it->ready, 1);
}

static int take_over_in_child(void *argument) {
    (void)argument;
    kl_region *region = attach();
    guarded *it = data_of(region);
    int32_t status = kl_mutex_lock(&it->mutex, region, 5 * KL_NS_PER_S);
    if (status == KL_OWNER_DEAD) {
        atomic_fetch_add(&it->takeovers, 1);
        it->second = it->first; /* the repair */
    }
    bool whole = it->first == it->second;
    kl_mutex_unlock(&it->mutex, region);
    kl_region_close(region);
    return status >= 0 && whole ? 0 : 1;
}

KL_TEST(kl_mutex_lock_of_a_killed_owner_is_taken_over_by_exactly_one) {
    kl_region *region = create();
    guarded *it = data_of(region);
    for (uint32_t round = 0; round < 5; round++) {
        atomic_store(&it->takeovers, 0);
        let_owner_die(it);
        KL_CHECK_EQ(kl_mutex_verify(&it->mutex, region), KL_ERR_CORRUPT);
        int children[3];
        for (uint32_t i = 0; i < 3; i++) children[i] = kl_test_fork(take_over_in_child, NULL);
        for (uint32_t i = 0; i < 3; i++) KL_CHECK_EQ(kl_test_join(children[i]), 0);
        KL_CHECK_EQ(it->takeovers, 1);
        KL_CHECK_EQ(it->mutex.owner, 0);
    }
    kl_region_close(region);
}

typedef struct {
    kl_region *regions[2];
    uint32_t dead;
    _Atomic uint32_t arrived, takeovers;
} race;

#define RACES 1000

/* Spins, so that both go on in the same instant; yields where they cannot run at once. */
static void meet(_Atomic uint32_t *arrived, uint32_t all) {
    for (uint32_t spin = 0; atomic_load(arrived) < all; spin++)
        if (spin > 20000)
            sched_yield();
        else
            kl_cpu_pause();
}

/* Two participants, each in a thread, grab at a dead owner's mutex at the same moment. */
static void grab(void *argument, uint32_t index) {
    race *it = argument;
    kl_region *region = it->regions[index];
    kl_mutex *mutex = &data_of(region)->mutex;
    for (uint32_t round = 0; round < RACES; round++) {
        if (index == 0) atomic_store(&mutex->owner, it->dead);
        atomic_fetch_add(&it->arrived, 1);
        meet(&it->arrived, 2 * (2 * round + 1));
        if (kl_mutex_try_lock_dead(mutex, region) == KL_OWNER_DEAD)
            atomic_fetch_add(&it->takeovers, 1);
        atomic_fetch_add(&it->arrived, 1);
        meet(&it->arrived, 2 * (2 * round + 2));
        KL_CHECK_EQ(atomic_load(&it->takeovers), round + 1);
    }
}

KL_TEST(kl_mutex_try_lock_dead_by_two_at_once_succeeds_for_one) {
    kl_region *region = create(), *gone = attach();
    race it = {{region, attach()}, kl_region_self(gone), 0, 0};
    kl_region_close(gone);
    kl_test_threads(2, grab, &it);
    kl_region_close(it.regions[1]);
    kl_region_close(region);
}

KL_TEST(kl_mutex_lock_tells_the_next_owner_too_when_the_repairer_dies) {
    kl_region *region = create();
    guarded *it = data_of(region);
    let_owner_die(it);
    let_owner_die(it); /* gets KL_OWNER_DEAD, dies before it has repaired */
    KL_CHECK_EQ(kl_mutex_try_lock(&it->mutex, region), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_mutex_try_lock_dead(&it->mutex, region), KL_OWNER_DEAD);
    kl_mutex_unlock(&it->mutex, region);
    KL_CHECK_EQ(kl_mutex_try_lock(&it->mutex, region), KL_OK);
    kl_mutex_unlock(&it->mutex, region);
    kl_region_close(region);
}

KL_TEST(kl_mutex_lock_takes_over_from_a_scribbled_owner) {
    kl_region *region = create();
    guarded *it = data_of(region);
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (uint32_t round = 0; round < 20; round++) {
        uint32_t owner = (uint32_t)kl_random_u64(&random) | 1;
        if (owner == kl_region_self(region)) continue;
        it->mutex.owner = owner;
        it->mutex.waiters = (uint32_t)kl_random_u64(&random);
        it->mutex.empty_wakes = (uint32_t)kl_random_u64(&random);
        KL_CHECK_EQ(kl_mutex_lock(&it->mutex, region, KL_NS_PER_S), KL_OWNER_DEAD);
        kl_mutex_unlock(&it->mutex, region);
    }
    kl_region_close(region);
}

static int wait_for_ever(void *argument) {
    (void)argument;
    kl_region *region = attach();
    return kl_mutex_lock(&data_of(region)->mutex, region, KL_FOREVER);
}

KL_TEST(kl_mutex_unlock_after_killed_waiters_stops_making_spare_wakes) {
    kl_region *region = create();
    guarded *it = data_of(region);
    KL_CHECK_EQ(kl_mutex_try_lock(&it->mutex, region), KL_OK);
    int child = kl_test_fork(wait_for_ever, NULL);
    for (uint32_t i = 0; i < 2000 && atomic_load(&it->mutex.waiters) == 0; i++) usleep(500);
    kill(child, SIGKILL);
    KL_CHECK_EQ(kl_test_join(child), 128 + SIGKILL);
    atomic_store(&it->mutex.waiters, 7); /* as if seven had been killed asleep */
    kl_mutex_unlock(&it->mutex, region);
    for (uint32_t i = 0; i < KL_MUTEX_EMPTY_WAKES_MAX; i++) {
        KL_CHECK_EQ(kl_mutex_lock(&it->mutex, region, KL_FOREVER), KL_OK);
        kl_mutex_unlock(&it->mutex, region);
    }
    KL_CHECK_EQ(it->mutex.waiters, 0);
    kl_region_close(region);
}

static int work_until_killed(void *argument) {
    (void)argument;
    kl_region *region = attach();
    guarded *it = data_of(region);
    for (;;) {
        int32_t status = kl_mutex_lock(&it->mutex, region, KL_FOREVER);
        if (status < 0) return 2;
        if (status == KL_OWNER_DEAD) it->second = it->first;
        if (it->first != it->second) return 3; /* two inside, or a death nobody was told of */
        *(volatile uint64_t *)&it->first += 1;
        *(volatile uint64_t *)&it->second += 1;
        kl_mutex_unlock(&it->mutex, region);
    }
}

KL_TEST(kl_mutex_lock_keeps_its_word_while_owners_are_killed_at_random) {
    kl_region *region = create();
    guarded *it = data_of(region);
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    int children[3];
    for (uint32_t i = 0; i < 3; i++) children[i] = kl_test_fork(work_until_killed, NULL);
    for (uint32_t round = 0; round < (kl_test_slow() ? 10u : 60u); round++) {
        usleep((useconds_t)kl_random_below(&random, 8000));
        uint64_t victim = kl_random_below(&random, 3);
        kill(children[victim], SIGKILL);
        KL_CHECK_EQ(kl_test_join(children[victim]), 128 + SIGKILL);
        children[victim] = kl_test_fork(work_until_killed, NULL);
    }
    for (uint32_t i = 0; i < 3; i++) {
        kill(children[i], SIGKILL);
        KL_CHECK_EQ(kl_test_join(children[i]), 128 + SIGKILL);
    }
    KL_CHECK_LE(0, kl_mutex_lock(&it->mutex, region, KL_NS_PER_S));
    KL_CHECK_LE(it->first - it->second, 1);
    KL_CHECK_LT(100, it->first);
    kl_mutex_unlock(&it->mutex, region);
    kl_region_close(region);
}

KL_TEST(kl_mutex_lock_gives_up_on_a_poisoned_region) {
    kl_region *region = create(), *other = attach();
    KL_CHECK_EQ(kl_mutex_try_lock(&data_of(region)->mutex, region), KL_OK);
    kl_region_poison(region);
    KL_CHECK_EQ(kl_mutex_lock(&data_of(other)->mutex, other, KL_FOREVER), KL_ERR_POISONED);
    kl_region_close(other);
    kl_region_close(region);
}

/* ---- owners that are threads ---- */

static kl_mutex_user thread_of(kl_region *region) {
    int32_t self = kl_region_thread_join(region);
    KL_CHECK_LT(0, self);
    return (kl_mutex_user){.region = region, .self = (uint32_t)self, .is_thread = true};
}

static void lock_and_end(void *argument, uint32_t index) {
    kl_mutex_user user = thread_of(argument);
    (void)index;
    KL_CHECK_EQ(kl_mutex_lock_by(&data_of(argument)->mutex, &user, KL_FOREVER), KL_OK);
}

KL_TEST(kl_mutex_lock_by_takes_over_from_a_thread_that_ended_or_abandoned_it) {
    kl_region *region = create();
    kl_mutex *mutex = &data_of(region)->mutex;
    kl_test_threads(1, lock_and_end, region);
    kl_mutex_user user = thread_of(region), nobody = {.region = region, .self = 0x7fffff01};
    KL_CHECK_EQ(kl_mutex_try_lock_by(mutex, &user), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_mutex_lock_by(mutex, &user, KL_NS_PER_S), KL_OWNER_DEAD);
    KL_CHECK_EQ(kl_mutex_unlock_by(mutex, &nobody), KL_ERR_LOCKED);
    KL_CHECK(!kl_mutex_abandon(mutex, nobody.self));
    KL_CHECK(!kl_mutex_abandon(mutex, 0));
    KL_CHECK(kl_mutex_abandon(mutex, user.self));
    KL_CHECK_EQ(kl_mutex_unlock_by(mutex, &user), KL_ERR_LOCKED);
    KL_CHECK_EQ(kl_mutex_try_lock_dead_by(mutex, &user), KL_OWNER_DEAD);
    KL_CHECK_EQ(kl_mutex_unlock_by(mutex, &user), KL_OK);
    KL_CHECK_EQ(kl_mutex_try_lock_by(mutex, &user), KL_OK);
    _Atomic uint32_t stop = 1;
    user.stop = &stop;
    KL_CHECK_EQ(kl_mutex_lock_by(mutex, &user, KL_FOREVER), KL_ERR_STOPPED);
    KL_CHECK_EQ(kl_mutex_unlock_by(mutex, &user), KL_OK);
    kl_region_close(region);
}

/* ---- L5: spins while the owner runs, sleeps when it does not ---- */

typedef struct {
    kl_region *region;
    _Atomic uint32_t round;
    uint32_t rounds;
    bool sleeping;
    uint64_t waited_ns, used_ns, slept; /* of the waiter */
} adapting;

/* Long enough that the waiter comes while it is held. */
static void hold(adapting *it) {
    if (it->sleeping) {
        usleep(10000);
        return;
    }
    uint64_t end_ns = kl_clock_monotonic_ns() + 20 * KL_NS_PER_US;
    while (kl_clock_monotonic_ns() < end_ns) {
    }
}

static uint64_t thread_time(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * KL_NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t voluntary_switches(void) {
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return (uint64_t)usage.ru_nvcsw;
}

static void hold_and_wait(void *argument, uint32_t index) {
    adapting *it = argument;
    kl_mutex *mutex = &data_of(it->region)->mutex;
    kl_cpu_pin((uint32_t)kl_cpu_nth(index));
    for (uint32_t round = 0; round < it->rounds; round++) {
        if (index == 0) {
            KL_CHECK_EQ(kl_mutex_lock(mutex, it->region, KL_FOREVER), KL_OK);
            atomic_fetch_add(&it->round, 1);
            hold(it);
            kl_mutex_unlock(mutex, it->region);
        } else {
            meet(&it->round, 2 * round + 1);
            uint64_t wall = thread_time(CLOCK_MONOTONIC),
                     cpu = thread_time(CLOCK_THREAD_CPUTIME_ID);
            uint64_t switches = voluntary_switches();
            KL_CHECK_EQ(kl_mutex_lock(mutex, it->region, KL_FOREVER), KL_OK);
            it->slept += voluntary_switches() - switches;
            it->used_ns += thread_time(CLOCK_THREAD_CPUTIME_ID) - cpu;
            it->waited_ns += thread_time(CLOCK_MONOTONIC) - wall;
            kl_mutex_unlock(mutex, it->region);
            atomic_fetch_add(&it->round, 1);
        }
        meet(&it->round, 2 * round + 2);
    }
    kl_cpu_unpin();
}

KL_TEST(kl_mutex_L5_spins_while_the_owner_runs) {
    if (kl_cpu_count() < 2) kl_test_skip("needs cores");
    if (kl_test_slow()) return; /* the section is not longer, all else is */
    uint64_t least = 100;
    kl_region *region = create();
    for (uint32_t batch = 0; batch < 50 && least > 10;
         batch++) { /* others may want both processors */
        adapting it = {.region = region, .rounds = 50};
        kl_test_threads(2, hold_and_wait, &it);
        if (it.slept < least) least = it.slept;
    }
    kl_region_close(region);
    KL_CHECK_LE(least, 10); /* of 50: it did not sleep */
}

KL_TEST(kl_mutex_L5_sleeps_while_the_owner_does) {
    if (kl_cpu_count() < 2) kl_test_skip("needs cores");
    adapting it = {.region = create(), .rounds = 20, .sleeping = true};
    kl_test_threads(2, hold_and_wait, &it);
    KL_CHECK_LE(20, it.slept);
    KL_CHECK_LT(100 * KL_NS_PER_MS, it.waited_ns);
    if (!kl_test_slow()) KL_CHECK_LT(it.used_ns, it.waited_ns / 5);
    printf("waited %llu us, used %llu us\n", (unsigned long long)it.waited_ns / 1000,
           (unsigned long long)it.used_ns / 1000);
    kl_region_close(it.region);
}
