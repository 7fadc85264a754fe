/* The sleep lock with a process killed before each of its atomic steps, and whoever repairs that killed
 * before each of his. */
#include "sync/sleep_lock.h"

#include "tests/c/model/steps.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PLACES 8u

typedef struct {
    _Atomic uint64_t first, second; /* equal unless somebody is inside, or died inside */
} guarded;

typedef struct {
    kl_region *region;
    kl_sleep_lock lock;
    uint32_t self;
    guarded *it;
} end;

static char path[512];

static void grip(end *one) {
    uint8_t *data = kl_region_data(one->region);
    uint64_t bytes = kl_sleep_lock_memory_bytes(PLACES);
    KL_CHECK_LE(0, kl_region_join(one->region, 0));
    KL_CHECK_EQ(kl_sleep_lock_grip(&one->lock, data, bytes, one->region), KL_OK);
    one->self = (uint32_t)kl_region_thread_join(one->region);
    one->it = (guarded *)(void *)(data + bytes);
}

static end attach(void) {
    end one = {0};
    KL_CHECK_EQ(kl_region_attach(&one.region, path, NULL), KL_OK);
    grip(&one);
    return one;
}

static end create(void) {
    end one = {0};
    snprintf(path, sizeof path, "%s/region", kl_test_folder());
    kl_region_spec spec = {.kind = 1};
    uint64_t bytes = kl_sleep_lock_memory_bytes(PLACES);
    KL_CHECK_EQ(kl_region_create(&one.region, path, bytes + sizeof(guarded), &spec), KL_OK);
    KL_CHECK_EQ(kl_sleep_lock_format(kl_region_data(one.region), PLACES), KL_OK);
    KL_CHECK_EQ(kl_region_publish(one.region), KL_OK);
    grip(&one);
    return one;
}

/* What one does with the lock: the pair is found whole, or its owner is told that it may not be. */
static int use(end *one, int32_t status, uint64_t ticket) {
    if (status < 0) return 2;
    uint64_t first = atomic_load(&one->it->first), second = atomic_load(&one->it->second);
    if (first != second && status != KL_OWNER_DEAD) return 3;
    if (first != second) atomic_store(&one->it->second, first);
    atomic_store(&one->it->first, first + 1);
    atomic_store(&one->it->second, first + 1);
    return kl_sleep_lock_leave(&one->lock, one->self, ticket) == KL_OK ? 0 : 4;
}

typedef struct {
    uint64_t k;
    int (*what)(end *one);
} deed;

static int lock_and_unlock(end *one) {
    uint64_t ticket;
    int32_t status = kl_sleep_lock_lock(&one->lock, one->self, &ticket, KL_NS_PER_S, NULL);
    return use(one, status, ticket);
}

static int try_and_unlock(end *one) {
    uint64_t ticket;
    int32_t status = kl_sleep_lock_try_lock(&one->lock, one->self, &ticket);
    return use(one, status, ticket);
}

/* Two tickets: one that is had, one behind it that gives up first. */
static int queue_and_give_up(end *one) {
    uint64_t ticket, behind;
    int32_t status = kl_sleep_lock_enter(&one->lock, one->self, &ticket);
    if (status < 0) return 5;
    if (kl_sleep_lock_enter(&one->lock, one->self, &behind) != KL_ERR_AGAIN) return 6;
    if (kl_sleep_lock_leave(&one->lock, one->self, behind) != KL_OK) return 7;
    return use(one, status, ticket);
}

/* Behind the living owner, which is the parent. */
static int wait_and_give_up(end *one) {
    uint64_t ticket;
    if (kl_sleep_lock_enter(&one->lock, one->self, &ticket) != KL_ERR_AGAIN) return 8;
    if (kl_sleep_lock_look(&one->lock, one->self, ticket) != KL_ERR_AGAIN) return 9;
    return kl_sleep_lock_leave(&one->lock, one->self, ticket) == KL_OK ? 0 : 10;
}

static int abandon_all(end *one) {
    uint64_t ticket;
    if (kl_sleep_lock_enter(&one->lock, one->self, &ticket) < 0) return 11;
    if (kl_sleep_lock_enter(&one->lock, one->self, &ticket) != KL_ERR_AGAIN) return 12;
    return kl_sleep_lock_abandon(&one->lock, one->self) == 2 ? 0 : 13;
}

static int do_killed_at(void *argument) {
    deed *it = argument;
    end one = attach();
    kl_steps_kill_at(it->k);
    int status = it->what(&one);
    kl_steps_kill_at(0);
    return status;
}

/* Whether it ended before its k-th step. */
static bool ends_before(int (*what)(end *one), uint64_t k) {
    deed it = {k, what};
    int status = kl_test_join(kl_test_fork(do_killed_at, &it));
    if (status != 0) KL_CHECK_EQ(status, 128 + SIGKILL);
    return status == 0;
}

static void survivors_finish(end *one) {
    uint64_t started_ns = kl_test_now_ns();
    KL_CHECK_EQ(lock_and_unlock(one), 0);
    KL_CHECK_LT(kl_test_now_ns() - started_ns, KL_NS_PER_S);
    uint64_t ticket;
    KL_CHECK_EQ(kl_sleep_lock_try_lock(&one->lock, one->self, &ticket), KL_OK); /* mended */
    KL_CHECK_EQ(kl_sleep_lock_leave(&one->lock, one->self, ticket), KL_OK);
    KL_CHECK_EQ(kl_sleep_lock_verify(&one->lock), KL_OK);
    KL_CHECK_EQ(kl_sleep_lock_count(&one->lock), 0);
    KL_CHECK_EQ(atomic_load(&one->it->first), atomic_load(&one->it->second));
}

static void kill_everywhere(int (*what)(end *one)) {
    end one = create();
    for (uint64_t k = 1; !ends_before(what, k); k++) {
        survivors_finish(&one);
        /* The repair of the same death, killed at each of its own steps: those that matter are near
         * its begin, where it finds the dead. */
        for (uint64_t repair = 1; repair < (getenv("KEELSON_LONG") ? 1000u : 16u); repair++) {
            KL_CHECK(!ends_before(what, k));
            bool done = ends_before(lock_and_unlock, repair);
            survivors_finish(&one);
            if (done) break;
        }
    }
    survivors_finish(&one);
    kl_region_close(one.region);
}

KL_TEST(kl_sleep_lock_lock_and_leave_killed_at_every_step) {
    kill_everywhere(lock_and_unlock);
}

KL_TEST(kl_sleep_lock_try_lock_killed_at_every_step) {
    kill_everywhere(try_and_unlock);
}

KL_TEST(kl_sleep_lock_a_waiter_of_ones_own_killed_at_every_step) {
    kill_everywhere(queue_and_give_up);
}

KL_TEST(kl_sleep_lock_abandon_killed_at_every_step) {
    kill_everywhere(abandon_all);
}

KL_TEST(kl_sleep_lock_a_waiter_killed_at_every_step_is_nothing_to_the_owner) {
    end one = create();
    uint64_t ticket, next;
    for (uint64_t k = 1, done = false; !done; k++) {
        KL_CHECK_EQ(kl_sleep_lock_try_lock(&one.lock, one.self, &ticket), KL_OK);
        done = ends_before(wait_and_give_up, k);
        KL_CHECK_EQ(kl_sleep_lock_enter(&one.lock, one.self, &next), KL_ERR_AGAIN);
        KL_CHECK_EQ(kl_sleep_lock_look(&one.lock, one.self, ticket), KL_OK);
        KL_CHECK_EQ(kl_sleep_lock_leave(&one.lock, one.self, ticket), KL_OK);
        KL_CHECK_EQ(kl_sleep_lock_look(&one.lock, one.self, next),
                    KL_OK); /* nobody told of a death */
        KL_CHECK_EQ(kl_sleep_lock_leave(&one.lock, one.self, next), KL_OK);
        KL_CHECK_EQ(kl_sleep_lock_count(&one.lock), 0);
        KL_CHECK_EQ(kl_sleep_lock_verify(&one.lock), KL_OK);
    }
    kl_region_close(one.region);
}
