/* sleep_lock under the memory models: exclusion (the counter is plain), first come first served, no
 * wake-up is lost but to a death, the head passes whatever ends at the same time, and a death with the
 * lock is told until it is mended. */
#include "sync/sleep_lock.h"
#include "tests/c/model/explorer.h"

static void *memory;
static uint32_t places = 4;
static uint32_t counter, half, told;

/* The grip of the running thread's process. */
static kl_sleep_lock grip(void) {
    kl_sleep_lock lock;
    uint64_t bytes = kl_sleep_lock_memory_bytes(places);
    KL_MODEL_CHECK_EQ(kl_sleep_lock_grip(&lock, memory, bytes, kl_model_region()), KL_OK);
    return lock;
}

static uint32_t self(void) {
    return kl_model_participant_thread((uint32_t)kl_model_thread());
}

static void format(void) {
    memory = kl_model_alloc(kl_sleep_lock_memory_bytes(places));
    KL_MODEL_CHECK_EQ(kl_sleep_lock_format(memory, places), KL_OK);
    kl_sleep_lock lock = grip();
    kl_model_name(&lock.header->head, 8, "head");
    kl_model_name(&lock.header->tail, 8, "tail");
    kl_model_name(lock.places, 8ull * places, "places");
}

static bool somebody_died(void) {
    return kl_model_died(0) || kl_model_died(1) || kl_model_died(2);
}

/* With the lock: the halves are equal, or one is told that they may not be. */
static void use(kl_sleep_lock *lock, int32_t status, uint64_t ticket) {
    KL_MODEL_CHECK(status == KL_OK || (status == KL_OWNER_DEAD && somebody_died()));
    if (status == KL_OWNER_DEAD) {
        told++;
        half = counter;
    }
    KL_MODEL_CHECK_EQ(counter, half);
    counter++;
    kl_model_pause();
    half++;
    KL_MODEL_CHECK_EQ(kl_sleep_lock_leave(lock, self(), ticket), KL_OK);
}

static void nobody_has_it(void) {
    kl_sleep_lock lock = grip();
    KL_MODEL_CHECK_EQ(kl_sleep_lock_count(&lock), 0);
    KL_MODEL_CHECK_EQ(atomic_load_explicit(&lock.header->head, memory_order_relaxed),
                      atomic_load_explicit(&lock.header->tail, memory_order_relaxed));
    KL_MODEL_CHECK_EQ(kl_sleep_lock_verify(&lock), KL_OK);
}
static void two_counted(void) {
    KL_MODEL_CHECK_EQ(counter, 2);
    nobody_has_it();
}

/* ---- nobody dies ---- */

static void lock_and_add(void) {
    kl_sleep_lock lock = grip();
    uint64_t ticket;
    int32_t status = kl_sleep_lock_lock(&lock, self(), &ticket, KL_FOREVER, NULL);
    use(&lock, status, ticket);
}
KL_MODEL(kl_sleep_lock_model_L1_excludes_two, .setup = format, .executions_max = 2000,
         .random = 300, .threads = {lock_and_add, lock_and_add}, .finally = two_counted)

static void try_and_add(void) {
    kl_sleep_lock lock = grip();
    uint64_t ticket;
    int32_t status = kl_sleep_lock_try_lock(&lock, self(), &ticket);
    kl_model_expect("got it", status == KL_OK);
    kl_model_expect("did not", status == KL_ERR_AGAIN);
    if (status != KL_ERR_AGAIN) use(&lock, status, ticket);
}
KL_MODEL(kl_sleep_lock_model_L3_two_try, .setup = format, .executions_max = 2000, .random = 300,
         .threads = {try_and_add, try_and_add}, .finally = nobody_has_it)

/* Comes, and goes without having used it, whether it had the lock or not. */
static void enter_and_leave(void) {
    kl_sleep_lock lock = grip();
    uint64_t ticket;
    int32_t status = kl_sleep_lock_enter(&lock, self(), &ticket);
    KL_MODEL_CHECK(status == KL_OK || status == KL_ERR_AGAIN);
    KL_MODEL_CHECK_EQ(kl_sleep_lock_leave(&lock, self(), ticket), KL_OK);
}
KL_MODEL(kl_sleep_lock_model_come_and_go_at_the_same_time, .setup = format, .executions_max = 2000,
         .random = 300, .threads = {enter_and_leave, enter_and_leave}, .finally = nobody_has_it)

/* Thread i has ticket i; 0 has the lock. */
static void three_in_the_queue(void) {
    format();
    kl_sleep_lock lock = grip();
    for (uint32_t i = 0; i < 3; i++) {
        uint64_t ticket;
        KL_MODEL_CHECK_EQ(kl_sleep_lock_enter(&lock, kl_model_participant_thread(i), &ticket),
                          i == 0 ? KL_OK : KL_ERR_AGAIN);
        KL_MODEL_CHECK_EQ(ticket, i);
    }
}
static void leave_own(void) {
    kl_sleep_lock lock = grip();
    KL_MODEL_CHECK_EQ(kl_sleep_lock_leave(&lock, self(), (uint64_t)kl_model_thread()), KL_OK);
}
static void two_in_the_queue(void) {
    format();
    kl_sleep_lock lock = grip();
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t ticket;
        kl_sleep_lock_enter(&lock, kl_model_participant_thread(i), &ticket);
    }
}
/* The unlock and the next one giving up at the same time: one of them moves head past both. */
KL_MODEL(kl_sleep_lock_model_the_next_gives_up_during_the_unlock, .setup = two_in_the_queue,
         .threads = {leave_own, leave_own}, .finally = nobody_has_it)
KL_MODEL(kl_sleep_lock_model_all_three_leave, .setup = three_in_the_queue, .executions_max = 2000,
         .random = 300, .threads = {leave_own, leave_own, leave_own}, .finally = nobody_has_it)

/* Sleeps for its ticket as kl_sleep_lock_lock does. */
static void wait_for_own(void) {
    kl_sleep_lock lock = grip();
    uint64_t ticket = (uint64_t)kl_model_thread();
    kl_event_count *event = kl_sleep_lock_event(&lock, ticket);
    int32_t status;
    for (;;) {
        uint32_t key = kl_event_count_prepare(event);
        status = kl_sleep_lock_look(&lock, self(), ticket);
        if (status != KL_ERR_AGAIN) break;
        kl_event_count_wait(event, key, KL_FOREVER, NULL);
        kl_model_expect("slept", true);
    }
    use(&lock, status, ticket);
}
KL_MODEL(kl_sleep_lock_model_the_unlock_wakes_the_next, .setup = two_in_the_queue,
         .executions_max = 2000, .random = 300, .threads = {leave_own, wait_for_own},
         .finally = nobody_has_it)
KL_MODEL(kl_sleep_lock_model_nobody_sleeps_behind_one_who_gives_up, .setup = three_in_the_queue,
         .executions_max = 2000, .random = 300, .threads = {leave_own, leave_own, wait_for_own},
         .finally = nobody_has_it)

/* ---- death ---- */

static void use_own(void) {
    kl_sleep_lock lock = grip();
    use(&lock, KL_OK, (uint64_t)kl_model_thread());
}
static void told_if_need_be(void) {
    kl_model_expect("told", told == 1);
    kl_model_expect("nothing to tell", told == 0);
    KL_MODEL_CHECK(told <= 1);
    nobody_has_it();
}
KL_MODEL(kl_sleep_lock_model_the_owner_dies, .setup = two_in_the_queue, .kill = 1,
         .executions_max = 2000, .random = 300, .timeouts_are_fine = true,
         .threads = {use_own, wait_for_own}, .finally = told_if_need_be)

static void wait_after_both(void) {
    kl_model_join(1);
    wait_for_own();
}
/* The owner died, and who was told dies anywhere: the third is told, or finds it mended. */
static void three_and_the_owner_is_dead(void) {
    three_in_the_queue();
    counter = 1; /* in the middle of use() */
    kl_model_kill(0);
}
static void mended_in_the_end(void) {
    KL_MODEL_CHECK_EQ(counter, half);
    nobody_has_it();
}
static void nothing(void) {}
KL_MODEL(kl_sleep_lock_model_the_repairer_dies, .setup = three_and_the_owner_is_dead, .kill = 2,
         .executions_max = 2000, .random = 300, .timeouts_are_fine = true,
         .threads = {nothing, wait_for_own, wait_after_both}, .finally = mended_in_the_end)
KL_MODEL(kl_sleep_lock_model_two_find_the_owner_dead, .setup = three_and_the_owner_is_dead,
         .executions_max = 2000, .random = 300, .timeouts_are_fine = true,
         .threads = {nothing, wait_for_own, wait_for_own}, .finally = mended_in_the_end)

/* One that dies while it comes or goes is nothing to another. */
static void enter_with_two(void) {
    kl_sleep_lock lock = grip();
    uint64_t ticket;
    if (kl_sleep_lock_enter(&lock, self(), &ticket) >= 0) counter++, half++;
    kl_sleep_lock_leave(&lock, self(), ticket);
}
static void the_living_go_on(void) {
    kl_sleep_lock lock = grip();
    uint64_t ticket;
    KL_MODEL_CHECK(
        kl_sleep_lock_try_lock(&lock, kl_model_participant_thread(UINT32_MAX), &ticket) >= 0);
    KL_MODEL_CHECK_EQ(kl_sleep_lock_leave(&lock, kl_model_participant_thread(UINT32_MAX), ticket),
                      KL_OK);
    nobody_has_it();
}
KL_MODEL(kl_sleep_lock_model_one_dies_coming_or_going, .setup = format, .kill = 1,
         .executions_max = 2000, .random = 300, .timeouts_are_fine = true,
         .threads = {enter_with_two, lock_and_add}, .finally = the_living_go_on)

static void abandon(void) {
    kl_sleep_lock lock = grip();
    kl_model_expect("one gone", kl_sleep_lock_abandon(&lock, self()) == 1);
}
static void told_of_the_abandoned(void) {
    KL_MODEL_CHECK_EQ(told, 1);
    nobody_has_it();
}
static void wait_for_abandoned(void) {
    kl_sleep_lock lock = grip();
    uint64_t ticket = 1;
    kl_event_count *event = kl_sleep_lock_event(&lock, ticket);
    int32_t status;
    for (;;) {
        uint32_t key = kl_event_count_prepare(event);
        status = kl_sleep_lock_look(&lock, self(), ticket);
        if (status != KL_ERR_AGAIN) break;
        kl_event_count_wait(event, key, KL_FOREVER, NULL);
    }
    KL_MODEL_CHECK_EQ(status, KL_OWNER_DEAD);
    told++;
    KL_MODEL_CHECK_EQ(kl_sleep_lock_leave(&lock, self(), ticket), KL_OK);
}
KL_MODEL(kl_sleep_lock_model_an_abandoned_lock_goes_on_at_once, .setup = two_in_the_queue,
         .executions_max = 2000, .random = 300, .threads = {abandon, wait_for_abandoned},
         .finally = told_of_the_abandoned)

/* A head that is older than the tail would make two places look like three. Ticket 0 is over, but
 * whoever ended it died before head was moved. */
static void two_places_and_head_behind(void) {
    places = 2;
    format();
    kl_sleep_lock lock = grip();
    uint64_t ticket;
    KL_MODEL_CHECK_EQ(kl_sleep_lock_enter(&lock, kl_model_participant_thread(1), &ticket), KL_OK);
    KL_MODEL_CHECK_EQ(kl_sleep_lock_leave(&lock, kl_model_participant_thread(1), ticket), KL_OK);
    atomic_store_explicit(&lock.header->head, 0, memory_order_relaxed);
}
static void lock_alone_twice(void) {
    kl_sleep_lock lock = grip();
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t ticket;
        if (kl_sleep_lock_try_lock(&lock, self(), &ticket) < 0) continue;
        KL_MODEL_CHECK_EQ(kl_sleep_lock_leave(&lock, self(), ticket), KL_OK);
    }
}
static void try_at_any_time(void) {
    kl_sleep_lock lock = grip();
    uint64_t ticket;
    int32_t status = kl_sleep_lock_try_lock(&lock, self(), &ticket);
    KL_MODEL_CHECK(status == KL_OK || status == KL_ERR_AGAIN);
    if (status == KL_OK) KL_MODEL_CHECK_EQ(kl_sleep_lock_leave(&lock, self(), ticket), KL_OK);
}
KL_MODEL(kl_sleep_lock_model_a_tail_is_not_newer_than_the_head, .setup = two_places_and_head_behind,
         .executions_max = 3000, .random = 1000, .threads = {lock_alone_twice, try_at_any_time},
         .finally = nobody_has_it)
