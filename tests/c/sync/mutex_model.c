/* mutex under the memory models: exclusion and what the last owner wrote is seen (the counter is
 * plain), no wake-up is lost but to a death, and the owner's death is found by exactly one. */
#include "sync/mutex.h"
#include "tests/c/model/explorer.h"

static kl_mutex mutex;
static uint32_t counter, repaired;

static bool somebody_died(void) {
    return kl_model_died(0) || kl_model_died(1);
}

static void lock_and_add(void) {
    int32_t status = kl_mutex_lock(&mutex, kl_model_region(), KL_FOREVER);
    KL_MODEL_CHECK(status == KL_OK || (status == KL_OWNER_DEAD && somebody_died()));
    if (status == KL_OWNER_DEAD) repaired++;
    counter++;
    kl_mutex_unlock(&mutex, kl_model_region());
}
static void two_counted(void) {
    KL_MODEL_CHECK_EQ(counter, 2);
    KL_MODEL_CHECK_EQ(kl_mutex_verify(&mutex, kl_model_region()), KL_OK);
}
static void three_counted(void) {
    KL_MODEL_CHECK_EQ(counter, 3);
}

KL_MODEL(kl_mutex_model_excludes_two, .threads = {lock_and_add, lock_and_add},
         .finally = two_counted)
KL_MODEL(kl_mutex_model_excludes_three, .threads = {lock_and_add, lock_and_add, lock_and_add},
         .executions_max = 10000, .random = 1000, .finally = three_counted)
KL_MODEL(kl_mutex_model_spins_first, .cpus = 2, .threads = {lock_and_add, lock_and_add},
         .executions_max = 10000, .random = 1000, .finally = two_counted)

static void lock_twice(void) {
    lock_and_add();
    lock_and_add();
}
KL_MODEL(kl_mutex_model_locked_twice, .executions_max = 20000, .random = 1000,
         .threads = {lock_twice, lock_and_add}, .finally = three_counted)

static void try_and_add(void) {
    int32_t status = kl_mutex_try_lock(&mutex, kl_model_region());
    kl_model_expect("got it", status == KL_OK);
    kl_model_expect("did not", status == KL_ERR_AGAIN);
    if (status != KL_OK) return;
    counter++;
    kl_mutex_unlock(&mutex, kl_model_region());
}
KL_MODEL(kl_mutex_model_try_lock, .threads = {try_and_add, try_and_add, try_and_add})

/* The first may die anywhere; the others get the mutex all the same, and one of them is told when
 * it was held at that moment. */
static void at_least_one(void) {
    KL_MODEL_CHECK(counter >= 1);
    KL_MODEL_CHECK(repaired <= 1);
    kl_model_expect("repaired", repaired == 1);
    kl_model_expect("nothing to repair", repaired == 0);
    int32_t status = kl_mutex_verify(&mutex, kl_model_region());
    KL_MODEL_CHECK(status == KL_OK || (status == KL_ERR_CORRUPT && kl_model_died(0)));
    kl_model_expect("died last, with it locked", status == KL_ERR_CORRUPT);
}
KL_MODEL(kl_mutex_model_the_owner_dies, .kill = 1, .threads = {lock_and_add, lock_and_add},
         .finally = at_least_one)
KL_MODEL(kl_mutex_model_the_owner_dies_before_two, .kill = 1, .executions_max = 10000,
         .random = 1000, .threads = {lock_and_add, lock_and_add, lock_and_add},
         .finally = at_least_one)

static void try_dead_and_add(void) {
    int32_t status = kl_mutex_try_lock_dead(&mutex, kl_model_region());
    if (status == KL_ERR_AGAIN) return;
    KL_MODEL_CHECK(status == KL_OK || (status == KL_OWNER_DEAD && kl_model_died(0)));
    if (status == KL_OWNER_DEAD) repaired++;
    counter++;
    kl_mutex_unlock(&mutex, kl_model_region());
}
static void once_at_most(void) {
    KL_MODEL_CHECK(repaired <= 1);
    kl_model_expect("repaired", repaired == 1);
}
KL_MODEL(kl_mutex_model_exactly_one_takes_over, .kill = 1, .executions_max = 20000, .random = 1000,
         .threads = {try_dead_and_add, try_dead_and_add, try_dead_and_add}, .finally = once_at_most)

/* A waiter who dies asleep or just woken costs the others a slice at most. */
KL_MODEL(kl_mutex_model_a_waiter_dies, .kill = 2, .executions_max = 10000, .random = 1000,
         .threads = {lock_and_add, lock_and_add, lock_and_add})

static void lock_a_while(void) {
    int32_t status = kl_mutex_lock(&mutex, kl_model_region(), 1000);
    if (status == KL_ERR_TIMEOUT) return;
    counter++;
    kl_mutex_unlock(&mutex, kl_model_region());
}
static void lock_for_good(void) {
    KL_MODEL_CHECK_EQ(kl_mutex_try_lock(&mutex, kl_model_region()), KL_OK);
}
static void sleep_on_it(void) {
    int32_t status = kl_mutex_lock(&mutex, kl_model_region(), 1000);
    KL_MODEL_CHECK_EQ(status, KL_ERR_TIMEOUT);
}
KL_MODEL(kl_mutex_model_times_out, .timeouts_are_fine = true,
         .threads = {lock_a_while, lock_a_while})
KL_MODEL(kl_mutex_model_times_out_on_a_live_owner, .timeouts_are_fine = true,
         .setup = lock_for_good, .threads = {sleep_on_it})
