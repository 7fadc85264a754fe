/* ticket_lock under the memory models: exclusion, and what the last owner wrote is seen (the counter is
 * plain). */
#include "sync/ticket_lock.h"
#include "tests/c/model/explorer.h"

static kl_ticket_lock lock;
static uint32_t counter;

static void lock_and_add(void) {
    kl_ticket_lock_lock(&lock);
    counter++;
    kl_ticket_lock_unlock(&lock);
}
static void try_and_add(void) {
    int32_t status = kl_ticket_lock_try_lock(&lock);
    kl_model_expect("got it", status == KL_OK);
    kl_model_expect("did not", status == KL_ERR_AGAIN);
    if (status != KL_OK) return;
    counter++;
    kl_ticket_lock_unlock(&lock);
}
static void near_the_wrap(void) {
    atomic_store_explicit(&lock.next, UINT32_MAX, memory_order_relaxed);
    atomic_store_explicit(&lock.serving, UINT32_MAX, memory_order_relaxed);
}
static void nobody_has_it(void) {
    KL_MODEL_CHECK(counter >= 1 && counter <= 3);
    KL_MODEL_CHECK_EQ(kl_ticket_lock_count(&lock), 0);
}
KL_MODEL(kl_ticket_lock_model_L1_excludes_two, .setup = near_the_wrap,
         .threads = {lock_and_add, lock_and_add}, .finally = nobody_has_it)
KL_MODEL(kl_ticket_lock_model_L1_excludes_three, .executions_max = 20000, .random = 1000,
         .threads = {lock_and_add, lock_and_add, lock_and_add}, .finally = nobody_has_it)
KL_MODEL(kl_ticket_lock_model_L3_try_lock_beside_lock, .threads = {lock_and_add, try_and_add},
         .finally = nobody_has_it)
KL_MODEL(kl_ticket_lock_model_L3_two_try, .threads = {try_and_add, try_and_add},
         .finally = nobody_has_it)
