/* The mutex with its owner killed before each of its atomic steps, and the next owner, who repairs,
 * before each of his. */
#include "sync/mutex.h"

#include "tests/c/model/steps.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    kl_mutex mutex;
    _Atomic uint64_t first, second; /* equal unless somebody is inside, or died inside */
} guarded;

typedef struct {
    uint64_t k;
    bool is_thread, abandons;
} deed;

static char path[512];

static guarded *data_of(kl_region *region) {
    return (guarded *)(void *)kl_region_data(region);
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

static kl_mutex_user user_of(kl_region *region, bool is_thread) {
    int32_t thread = is_thread ? kl_region_thread_join(region) : 0;
    return (kl_mutex_user){.region = region,
                           .self = is_thread ? (uint32_t)thread : kl_region_self(region),
                           .is_thread = is_thread};
}

/* 0, or what was wrong. */
static int lock_change_unlock(guarded *it, const kl_mutex_user *user, bool abandons) {
    int32_t status = kl_mutex_lock_by(&it->mutex, user, KL_NS_PER_S);
    if (status < 0) return 2;
    uint64_t first = atomic_load(&it->first), second = atomic_load(&it->second);
    if (first != second && status != KL_OWNER_DEAD) return 3;
    atomic_store(&it->second, first);
    atomic_store(&it->first, first + 1);
    if (abandons) return kl_mutex_abandon(&it->mutex, user->self) ? 0 : 5;
    atomic_store(&it->second, first + 1);
    return kl_mutex_unlock_by(&it->mutex, user) == KL_OK ? 0 : 4;
}

static int do_killed_at(void *argument) {
    deed *it = argument;
    kl_region *region = NULL;
    KL_CHECK_EQ(kl_region_attach(&region, path, NULL), KL_OK);
    KL_CHECK_LE(0, kl_region_join(region, 0));
    kl_mutex_user user = user_of(region, it->is_thread);
    kl_steps_kill_at(it->k);
    int status = lock_change_unlock(data_of(region), &user, it->abandons);
    kl_steps_kill_at(0);
    return status;
}

static bool ends_before(deed it, uint64_t k) {
    it.k = k;
    int status = kl_test_join(kl_test_fork(do_killed_at, &it));
    if (status != 0) KL_CHECK_EQ(status, 128 + SIGKILL);
    return status == 0;
}

static void survivor_finishes(kl_region *region, const kl_mutex_user *user) {
    guarded *it = data_of(region);
    uint64_t started_ns = kl_test_now_ns();
    KL_CHECK_EQ(lock_change_unlock(it, user, false), 0);
    KL_CHECK_LT(kl_test_now_ns() - started_ns, KL_NS_PER_S);
    KL_CHECK_EQ(atomic_load(&it->mutex.owner), 0);
    KL_CHECK_EQ(atomic_load(&it->first), atomic_load(&it->second));
    KL_CHECK_EQ(kl_mutex_try_lock_by(&it->mutex, user), KL_OK); /* nobody is told any more */
    KL_CHECK_EQ(kl_mutex_unlock_by(&it->mutex, user), KL_OK);
}

static void kill_everywhere(deed it) {
    kl_region *region = create();
    kl_mutex_user user = user_of(region, it.is_thread);
    for (uint64_t k = 1; !ends_before(it, k); k++) {
        survivor_finishes(region, &user);
        for (uint64_t repair = 1;; repair++) {
            KL_CHECK(!ends_before(it, k));
            bool done = ends_before((deed){.is_thread = it.is_thread}, repair);
            survivor_finishes(region, &user);
            if (done || (!getenv("KEELSON_LONG") && repair == 14)) break;
        }
    }
    survivor_finishes(region, &user);
    kl_region_close(region);
}

KL_TEST(kl_mutex_lock_and_unlock_of_a_process_killed_at_every_step) {
    kill_everywhere((deed){.is_thread = false});
}

KL_TEST(kl_mutex_lock_and_unlock_of_a_thread_killed_at_every_step) {
    kill_everywhere((deed){.is_thread = true});
}

KL_TEST(kl_mutex_abandon_killed_at_every_step) {
    kill_everywhere((deed){.is_thread = true, .abandons = true});
}
