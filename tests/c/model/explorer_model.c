/* What the explorer promises, by snippets whose behaviour is known. */
#include <pthread.h>
#include <stdatomic.h>

#include "mem/region.h"
#include "sync/event_count.h"
#include "tests/c/model/explorer.h"

#define SC  KL_MODEL_SC
#define TSO KL_MODEL_TSO
#define RA  KL_MODEL_RA

static _Atomic uint32_t x, y;
static uint32_t r[4], data;

static uint32_t load(_Atomic uint32_t *word, memory_order order) {
    return atomic_load_explicit(word, order);
}

static void store(_Atomic uint32_t *word, uint32_t value, memory_order order) {
    atomic_store_explicit(word, value, order);
}

/* ---- message passing ---- */

static void write_and_release(void) {
    data = 7;
    store(&x, 1, memory_order_release);
}
static void write_relaxed(void) {
    data = 7;
    store(&x, 1, memory_order_relaxed);
}
static void write_fence_relaxed(void) {
    data = 7;
    atomic_thread_fence(memory_order_release);
    store(&x, 1, memory_order_relaxed);
}
static void acquire_and_read(void) {
    uint32_t seen = load(&x, memory_order_acquire);
    if (seen) KL_MODEL_CHECK(data == 7);
    kl_model_expect("the message arrived", seen);
    kl_model_expect("it had not been sent", !seen);
}
static void relaxed_and_read(void) {
    if (load(&x, memory_order_relaxed)) KL_MODEL_CHECK(data == 7);
}
static void relaxed_fence_read(void) {
    if (!load(&x, memory_order_relaxed)) return;
    atomic_thread_fence(memory_order_acquire);
    KL_MODEL_CHECK(data == 7);
}

KL_MODEL(kl_explorer_release_and_acquire_pass_a_message,
         .threads = {write_and_release, acquire_and_read})
KL_MODEL(kl_explorer_release_and_acquire_fences_pass_a_message,
         .threads = {write_fence_relaxed, relaxed_fence_read})
KL_MODEL_MUST_FAIL(kl_explorer_a_relaxed_store_passes_no_message, SC | TSO | RA,
                   .threads = {write_relaxed, acquire_and_read})
KL_MODEL_MUST_FAIL(kl_explorer_a_relaxed_load_gets_no_message, SC | TSO | RA,
                   .threads = {write_and_release, relaxed_and_read})
KL_MODEL_MUST_FAIL(kl_explorer_a_fence_on_one_side_passes_no_message, SC | TSO | RA,
                   .threads = {write_fence_relaxed, relaxed_and_read})

/* ---- two words of relaxed and release writes ---- */

static void write_two_release(void) {
    store(&x, 1, memory_order_relaxed);
    store(&y, 1, memory_order_release);
}
static void write_two_relaxed(void) {
    store(&x, 1, memory_order_relaxed);
    store(&y, 1, memory_order_relaxed);
}
static void read_two_acquire(void) {
    if (load(&y, memory_order_acquire)) KL_MODEL_CHECK(load(&x, memory_order_relaxed) == 1);
}
static void read_two_relaxed(void) {
    if (load(&y, memory_order_relaxed)) KL_MODEL_CHECK(load(&x, memory_order_relaxed) == 1);
}
KL_MODEL(kl_explorer_a_release_store_carries_earlier_words,
         .threads = {write_two_release, read_two_acquire})
KL_MODEL_MUST_FAIL(kl_explorer_relaxed_stores_may_be_seen_out_of_order, RA,
                   .threads = {write_two_relaxed, read_two_acquire})
KL_MODEL_MUST_FAIL(kl_explorer_relaxed_loads_may_be_out_of_order, RA,
                   .threads = {write_two_release, read_two_relaxed})

/* ---- store buffering (Dekker) ---- */

#define STORE_THEN_LOAD(name, mine, other, to, order_store, fence, order_load) \
    static void name(void) {                                                   \
        store(&mine, 1, order_store);                                          \
        if (fence) atomic_thread_fence(memory_order_seq_cst);                  \
        r[to] = load(&other, order_load);                                      \
    }
STORE_THEN_LOAD(sb_0_relacq, x, y, 0, memory_order_release, false, memory_order_acquire)
STORE_THEN_LOAD(sb_1_relacq, y, x, 1, memory_order_release, false, memory_order_acquire)
STORE_THEN_LOAD(sb_0_sc, x, y, 0, memory_order_seq_cst, false, memory_order_seq_cst)
STORE_THEN_LOAD(sb_1_sc, y, x, 1, memory_order_seq_cst, false, memory_order_seq_cst)
STORE_THEN_LOAD(sb_1_sc_acquire, y, x, 1, memory_order_seq_cst, false, memory_order_acquire)
STORE_THEN_LOAD(sb_0_fence, x, y, 0, memory_order_relaxed, true, memory_order_relaxed)
STORE_THEN_LOAD(sb_1_fence, y, x, 1, memory_order_relaxed, true, memory_order_relaxed)

static void sb_not_both_zero(void) {
    KL_MODEL_CHECK(r[0] == 1 || r[1] == 1);
    kl_model_expect("both saw the other", r[0] == 1 && r[1] == 1);
    kl_model_expect("one did not", r[0] == 0);
    kl_model_expect("the other did not", r[1] == 0);
}
KL_MODEL_MUST_FAIL(kl_explorer_release_acquire_does_not_order_a_store_before_a_load, TSO | RA,
                   .threads = {sb_0_relacq, sb_1_relacq}, .finally = sb_not_both_zero)
KL_MODEL(kl_explorer_seq_cst_accesses_order_a_store_before_a_load, .threads = {sb_0_sc, sb_1_sc},
         .finally = sb_not_both_zero)
KL_MODEL_MUST_FAIL(kl_explorer_one_acquire_load_spoils_dekker, RA,
                   .threads = {sb_0_sc, sb_1_sc_acquire}, .finally = sb_not_both_zero)
KL_MODEL(kl_explorer_seq_cst_fences_order_a_store_before_a_load,
         .threads = {sb_0_fence, sb_1_fence}, .finally = sb_not_both_zero)
KL_MODEL_MUST_FAIL(kl_explorer_a_fence_on_one_side_does_not_order, TSO | RA,
                   .threads = {sb_0_relacq, sb_1_fence}, .finally = sb_not_both_zero)
KL_MODEL(kl_explorer_seq_cst_accesses_and_a_fence_order, .threads = {sb_0_sc, sb_1_fence},
         .finally = sb_not_both_zero, .memories = SC | TSO)

/* A heavy fence of one side (membarrier) makes up for none on the other. */
static void sb_heavy(void) {
    store(&y, 1, memory_order_relaxed);
    kl_model_heavy_fence();
    r[1] = load(&x, memory_order_relaxed);
}
KL_MODEL(kl_explorer_a_heavy_fence_orders_the_other_side, .threads = {sb_0_relacq, sb_heavy},
         .finally = sb_not_both_zero)

/* ---- independent reads of independent writes ---- */

static void write_x(void) {
    store(&x, 1, memory_order_release);
}
static void write_y(void) {
    store(&y, 1, memory_order_release);
}
static void write_x_sc(void) {
    store(&x, 1, memory_order_seq_cst);
}
static void write_y_sc(void) {
    store(&y, 1, memory_order_seq_cst);
}
#define READ_BOTH(name, first, second, to, order, fence)      \
    static void name(void) {                                  \
        r[to] = load(&first, order);                          \
        if (fence) atomic_thread_fence(memory_order_seq_cst); \
        r[to + 1] = load(&second, order);                     \
    }
READ_BOTH(iriw_xy, x, y, 0, memory_order_acquire, false)
READ_BOTH(iriw_yx, y, x, 2, memory_order_acquire, false)
READ_BOTH(iriw_xy_fence, x, y, 0, memory_order_relaxed, true)
READ_BOTH(iriw_yx_fence, y, x, 2, memory_order_relaxed, true)
READ_BOTH(iriw_xy_sc, x, y, 0, memory_order_seq_cst, false)
READ_BOTH(iriw_yx_sc, y, x, 2, memory_order_seq_cst, false)
static void iriw_one_order(void) {
    KL_MODEL_CHECK(!(r[0] == 1 && r[1] == 0 && r[2] == 1 && r[3] == 0));
}
KL_MODEL_MUST_FAIL(kl_explorer_two_readers_may_disagree_under_acquire, RA,
                   .threads = {write_x, write_y, iriw_xy, iriw_yx}, .finally = iriw_one_order)
KL_MODEL(kl_explorer_two_readers_agree_with_seq_cst_fences,
         .threads = {write_x, write_y, iriw_xy_fence, iriw_yx_fence}, .finally = iriw_one_order)
KL_MODEL(kl_explorer_two_readers_agree_under_seq_cst,
         .threads = {write_x_sc, write_y_sc, iriw_xy_sc, iriw_yx_sc}, .finally = iriw_one_order)

/* ---- coherence, 2+2W, release sequences, load buffering ---- */

static void read_two_values(void) {
    load(&y, memory_order_acquire);
    load(&x, memory_order_relaxed);
}
static void write_twice(void) {
    store(&x, 1, memory_order_relaxed);
    store(&x, 2, memory_order_relaxed);
}
static void read_twice(void) {
    uint32_t before = load(&x, memory_order_relaxed), after = load(&x, memory_order_relaxed);
    KL_MODEL_CHECK(before <= after);
    kl_model_expect("old and new", before == 1 && after == 2);
}
KL_MODEL(kl_explorer_one_word_never_goes_back, .threads = {write_twice, read_twice, read_twice})

static void write_x_then_y(void) {
    store(&x, 1, memory_order_release);
    store(&y, 2, memory_order_release);
}
static void write_y_then_x(void) {
    store(&y, 1, memory_order_release);
    store(&x, 2, memory_order_release);
}
static void not_the_first_of_both(void) {
    KL_MODEL_CHECK(!(load(&x, memory_order_relaxed) == 1 && load(&y, memory_order_relaxed) == 1));
}
KL_MODEL_MUST_FAIL(kl_explorer_two_words_written_twice_may_both_end_with_the_first, RA,
                   .threads = {write_x_then_y, write_y_then_x}, .finally = not_the_first_of_both)

static void add_relaxed(void) {
    atomic_fetch_add_explicit(&x, 1, memory_order_relaxed);
}
static void overwrite_relaxed(void) {
    if (load(&x, memory_order_relaxed) == 1) store(&x, 2, memory_order_relaxed);
}
static void acquire_two(void) {
    if (load(&x, memory_order_acquire) == 2) KL_MODEL_CHECK(data == 7);
}
KL_MODEL_MUST_FAIL(kl_explorer_a_store_breaks_a_release_sequence, SC | TSO | RA,
                   .threads = {write_and_release, overwrite_relaxed, acquire_two})
static void add_to_message(void) {
    if (load(&x, memory_order_relaxed) == 1) add_relaxed();
}
KL_MODEL(kl_explorer_an_add_carries_the_message_on,
         .threads = {write_and_release, add_to_message, acquire_two})

static void copy_x_to_y(void) {
    r[0] = load(&x, memory_order_relaxed);
    store(&y, 1, memory_order_relaxed);
}
static void copy_y_to_x(void) {
    r[1] = load(&y, memory_order_relaxed);
    store(&x, 1, memory_order_relaxed);
}
static void not_out_of_thin_air(void) {
    KL_MODEL_CHECK(!(r[0] == 1 && r[1] == 1));
}
KL_MODEL(kl_explorer_load_buffering_is_not_explored, .threads = {copy_x_to_y, copy_y_to_x},
         .finally = not_out_of_thin_air)

/* ---- counts of executions that are known ---- */

static void add_thrice(void) {
    for (uint32_t i = 0; i < 3; i++) add_relaxed();
}
static void all_added(void) {
    KL_MODEL_CHECK_EQ(load(&x, memory_order_relaxed), 9);
}
KL_MODEL(kl_explorer_nothing_is_lost_by_changes, .threads = {add_thrice, add_thrice, add_thrice},
         .finally = all_added)
static void add_by_store(void) {
    store(&x, load(&x, memory_order_seq_cst) + 1, memory_order_seq_cst);
}
static void two_added(void) {
    KL_MODEL_CHECK_EQ(load(&x, memory_order_relaxed), 2);
}
KL_MODEL_MUST_FAIL(kl_explorer_a_load_and_a_store_lose_an_update, SC | TSO | RA,
                   .threads = {add_by_store, add_by_store}, .finally = two_added)

/* ---- plain memory ---- */

static uint32_t *block;
static _Atomic uintptr_t shared;

static void make_block(void) {
    block = kl_model_alloc(sizeof *block);
    atomic_store_explicit(&shared, (uintptr_t)block, memory_order_relaxed);
}
static void free_block(void) {
    atomic_store_explicit(&shared, 0, memory_order_seq_cst);
    kl_model_free(block);
}
static void use_block(void) {
    uint32_t *own = (uint32_t *)atomic_load_explicit(&shared, memory_order_seq_cst);
    store(&y, 1, memory_order_relaxed); /* somebody may run here */
    if (own) r[0] = *own;
}
KL_MODEL_MUST_FAIL(kl_explorer_finds_use_after_free, SC | TSO | RA, .setup = make_block,
                   .threads = {free_block, use_block})

/* Hazard pointers of one reader and one retiring writer; the fence is what the reader needs. */
static _Atomic uintptr_t hazard;
static void protect(bool fence) {
    uintptr_t own;
    for (uint32_t tries = 0; tries < 3; tries++) {
        own = atomic_load_explicit(&shared, memory_order_acquire);
        atomic_store_explicit(&hazard, own, memory_order_release);
        if (fence) atomic_thread_fence(memory_order_seq_cst);
        if (atomic_load_explicit(&shared, memory_order_acquire) == own) break;
    }
    if (own) r[0] = *(uint32_t *)own;
    atomic_store_explicit(&hazard, 0, memory_order_release);
}
static void protect_with_fence(void) {
    protect(true);
}
static void protect_without(void) {
    protect(false);
}
static void retire(void) {
    atomic_store_explicit(&shared, 0, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&hazard, memory_order_acquire) == 0) kl_model_free(block);
}
KL_MODEL(kl_explorer_hazard_pointers_with_a_fence_hold, .setup = make_block,
         .threads = {protect_with_fence, retire})
KL_MODEL_MUST_FAIL(kl_explorer_hazard_pointers_without_a_fence_fail, TSO | RA, .setup = make_block,
                   .threads = {protect_without, retire})

/* A seqlock over two words; without its acquire fence the second look may come too early. */
static _Atomic uint32_t sequence, half[2];
static void write_locked(void) {
    store(&sequence, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    store(&half[0], 1, memory_order_relaxed);
    store(&half[1], 1, memory_order_relaxed);
    store(&sequence, 2, memory_order_release);
}
static void read_locked(bool fence) {
    uint32_t before = load(&sequence, memory_order_acquire);
    uint32_t a = load(&half[0], memory_order_relaxed), b = load(&half[1], memory_order_relaxed);
    if (fence) atomic_thread_fence(memory_order_acquire);
    if ((before & 1) == 0 && load(&sequence, memory_order_relaxed) == before)
        KL_MODEL_CHECK(a == b);
}
static void read_locked_well(void) {
    read_locked(true);
}
static void read_locked_badly(void) {
    read_locked(false);
}
KL_MODEL(kl_explorer_a_seqlock_holds, .threads = {write_locked, read_locked_well})
KL_MODEL_MUST_FAIL(kl_explorer_a_seqlock_without_its_acquire_fence_fails, RA,
                   .threads = {write_locked, read_locked_badly})

/* ---- loops, sleep, death ---- */

static void spin(void) {
    while (load(&x, memory_order_acquire) == 0) kl_cpu_pause();
    KL_MODEL_CHECK(data == 7);
}
static void spin_without_a_pause(void) {
    while (load(&x, memory_order_acquire) == 0) {
    }
    KL_MODEL_CHECK(data == 7);
}
static void spin_on_nothing(void) {
    while (load(&y, memory_order_acquire) == 0) kl_cpu_pause();
}
KL_MODEL(kl_explorer_loops_that_wait_end,
         .threads = {write_and_release, spin, spin_without_a_pause})
KL_MODEL_MUST_FAIL(kl_explorer_a_loop_without_end_is_found, SC | TSO | RA,
                   .threads = {write_and_release, spin_on_nothing})

static void sleep_on_x(void) {
    while (load(&x, memory_order_acquire) == 0) kl_futex_wait(&x, 0, KL_FOREVER);
}
static void sleep_on_x_for_a_while(void) {
    while (load(&x, memory_order_acquire) == 0) kl_futex_wait(&x, 0, 1000);
}
static void wake_x(void) {
    store(&x, 1, memory_order_release);
    kl_futex_wake(&x, 1);
}
static void spin_for_a_while(void) {
    for (uint32_t turns = 0; turns < 3 && load(&x, memory_order_acquire) < 2; turns++) {
    }
}
static void wake_all_x(void) {
    store(&x, 1, memory_order_release);
    kl_futex_wake(&x, 2);
}
static void wake_x_early(void) {
    kl_futex_wake(&x, 1);
    store(&x, 1, memory_order_release);
}
KL_MODEL(kl_explorer_a_wake_after_the_change_is_not_lost, .threads = {sleep_on_x, wake_x})
KL_MODEL_MUST_FAIL(kl_explorer_a_wake_before_the_change_is_a_deadlock, SC | TSO | RA,
                   .threads = {sleep_on_x, wake_x_early})
KL_MODEL_MUST_FAIL(kl_explorer_a_wake_up_that_only_time_replaces_is_lost, SC | TSO | RA,
                   .threads = {sleep_on_x_for_a_while, wake_x_early})
KL_MODEL(kl_explorer_time_may_replace_a_wake_up, .timeouts_are_fine = true,
         .threads = {sleep_on_x_for_a_while, wake_x_early})

static void both_steps_or_dead(void) {
    uint32_t steps = load(&x, memory_order_relaxed) + load(&y, memory_order_relaxed);
    KL_MODEL_CHECK(kl_model_died(0) || steps == 2);
    kl_model_expect("died before both", kl_model_died(0) && steps == 0);
    kl_model_expect("died between", kl_model_died(0) && steps == 1);
    kl_model_expect("lived", !kl_model_died(0));
}
KL_MODEL(kl_explorer_kills_before_each_step, .threads = {write_two_relaxed}, .kill = 1,
         .finally = both_steps_or_dead)

static void look_after_death(void) {
    if (kl_region_alive(kl_model_region(), kl_model_participant(0))) return;
    kl_model_expect("saw the death", true);
    KL_MODEL_CHECK(load(&y, memory_order_relaxed) <= load(&x, memory_order_relaxed));
    data = 8;
}
static void write_plainly(void) {
    data = 7;
    write_two_relaxed();
}
KL_MODEL(kl_explorer_who_sees_a_death_sees_what_the_dead_wrote,
         .threads = {write_plainly, look_after_death}, .kill = 1)

/* ---- the search itself ---- */

static void lock_add_unlock(void) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    data++;
    pthread_mutex_unlock(&lock);
    if (load(&x, memory_order_relaxed) == 0) store(&x, 1, memory_order_release);
}

/* The reduction leaves out repetitions, and nothing else. */
KL_TEST(kl_explorer_the_reduction_loses_no_outcome) {
    static const kl_model models[] = {
        {.threads = {write_x, write_y, iriw_xy, iriw_yx}},
        {.threads = {write_x, write_y, iriw_xy_fence, iriw_yx_fence}},
        {.threads = {write_x_then_y, write_y_then_x, read_two_values}},
        {.threads = {sb_0_relacq, sb_heavy, read_two_values}},
        {.setup = make_block, .threads = {protect_with_fence, retire}},
        {.threads = {write_locked, read_locked_well, read_locked_well}},
        {.threads = {sleep_on_x, wake_all_x, sleep_on_x}, .kill = 1},
        {.threads = {lock_add_unlock, lock_add_unlock, lock_add_unlock}},
        {.threads = {write_plainly, look_after_death}, .kill = 1},
        {.threads = {add_thrice, add_by_store, spin_for_a_while}, .timeouts_are_fine = true},
    };
    for (uint32_t i = 0; i < sizeof models / sizeof *models; i++)
        for (uint32_t memory = SC; memory <= RA; memory *= 2) {
            uint32_t all = kl_model_count_outcomes(&models[i], memory, false);
            KL_CHECK_LT(1, all);
            KL_CHECK_EQ(kl_model_count_outcomes(&models[i], memory, true), all);
        }
}
