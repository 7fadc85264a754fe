/* index_pool under the memory models: no cell has two holders, each finds what the last one left, no hint
 * is lost among the living, and a recovery finds all that a death left. */
#include <stdatomic.h>

#include "lockfree/index_pool.h"
#include "tests/c/model/explorer.h"

static kl_index_pool pool;
static kl_claim claims[4];
static int32_t status[4];

static uint32_t id_of(uint32_t index) {
    return kl_participant_id(1 + index, index);
}

static void make(uint32_t capacity) {
    uint64_t bytes = kl_index_pool_memory_bytes(capacity, 8);
    void *memory = kl_model_alloc(bytes);
    kl_model_name(memory, bytes, "pool");
    KL_MODEL_CHECK_EQ(kl_index_pool_format(memory, capacity, 8), KL_OK);
    KL_MODEL_CHECK_EQ(kl_index_pool_grip(&pool, memory, bytes), KL_OK);
}

static void one_free(void) {
    make(1);
}
static void two_free(void) {
    make(2);
}
static void held_by_0(void) {
    make(1);
    KL_MODEL_CHECK_EQ(kl_index_pool_acquire(&pool, id_of(0), &claims[0]), KL_OK);
}

/* Takes a cell, if there is one, and counts in it: plainly, so that two holders at once are a race. */
static void take(void) {
    uint32_t thread = (uint32_t)kl_model_thread();
    kl_index_pool mine = pool;
    status[thread] = kl_index_pool_acquire(&mine, id_of(thread), &claims[thread]);
    KL_MODEL_CHECK(status[thread] == KL_OK || status[thread] == KL_ERR_AGAIN);
    if (status[thread] == KL_OK) ++*(uint64_t *)kl_index_pool_payload(&mine, claims[thread].index);
}

static void give(void) {
    uint32_t thread = (uint32_t)kl_model_thread();
    kl_index_pool mine = pool;
    KL_MODEL_CHECK_EQ(kl_index_pool_release(&mine, id_of(thread), claims[thread]), KL_OK);
}

static void take_and_give(void) {
    take();
    if (status[kl_model_thread()] == KL_OK) give();
}

static void all_free_again(void) {
    uint32_t taken = (status[0] == KL_OK ? 1u : 0u) + (status[1] == KL_OK ? 1u : 0u);
    KL_MODEL_CHECK_EQ(kl_index_pool_verify(&pool), KL_OK);
    KL_MODEL_CHECK_EQ(kl_index_pool_held(&pool, 0), 0);
    KL_MODEL_CHECK_EQ(*(uint64_t *)kl_index_pool_payload(&pool, 0), taken);
    kl_model_expect("both had it", taken == 2);
    kl_model_expect("one came too early", taken == 1);
}
KL_MODEL(kl_index_pool_model_one_cell_one_after_the_other, .setup = one_free,
         .threads = {take_and_give, take_and_give}, .finally = all_free_again)

static void two_cells_for_two(void) {
    KL_MODEL_CHECK_EQ(status[0], KL_OK);
    KL_MODEL_CHECK_EQ(status[1], KL_OK);
    KL_MODEL_CHECK(claims[0].index != claims[1].index);
    KL_MODEL_CHECK_EQ(kl_index_pool_held(&pool, 0), 2);
}
KL_MODEL(kl_index_pool_model_two_cells_for_two, .setup = two_free, .threads = {take, take},
         .finally = two_cells_for_two)

/* The hint is wrong while 0 holds the cell, and right again: one of the two sees the other. */
static void no_hint_is_lost(void) {
    KL_MODEL_CHECK_EQ(kl_index_pool_verify(&pool), KL_OK);
    kl_index_pool mine = pool;
    if (status[1] != KL_OK)
        KL_MODEL_CHECK_EQ(kl_index_pool_acquire(&mine, id_of(2), &claims[2]), KL_OK);
    kl_model_expect("taken", status[1] == KL_OK);
    kl_model_expect("not taken", status[1] == KL_ERR_AGAIN);
}
KL_MODEL(kl_index_pool_model_loses_no_hint, .setup = held_by_0, .threads = {give, take},
         .finally = no_hint_is_lost)

/* ---- deaths ---- */

static void recover(void) {
    kl_model_join(0);
    kl_index_pool mine = pool;
    if (!kl_region_alive(kl_model_region(), kl_model_participant(0)))
        kl_index_pool_recover(&mine, id_of(0), NULL, NULL);
}

static void whole(void) {
    recover();
    if (kl_model_died(0) && !kl_model_died(1) && status[1] == KL_OK) {
        kl_index_pool mine = pool; /* nobody took it away from the living */
        KL_MODEL_CHECK_EQ(kl_index_pool_release(&mine, id_of(1), claims[1]), KL_OK);
    }
    if (!kl_model_died(0)) return;
    KL_MODEL_CHECK_EQ(kl_index_pool_held(&pool, 0), 0);
    KL_MODEL_CHECK_EQ(kl_index_pool_verify(&pool), KL_OK);
}
static void die_before_the_end(void) {
    take_and_give();
    kl_model_pause();
}
KL_MODEL(kl_index_pool_model_holders_die_and_others_take_and_recover, .setup = one_free,
         .threads = {die_before_the_end, take, recover}, .finally = whole, .kill = 1)

/* What was recovered was left whole by the dead for the next holder, through who recovered it. */
static void dead_held_it(void) {
    held_by_0();
    kl_model_kill(0);
}
static void nothing(void) {}
static void recover_dead(void) {
    kl_index_pool mine = pool;
    KL_MODEL_CHECK(kl_index_pool_recover(&mine, id_of(0), NULL, NULL) <= 1);
}
static void one_holder(void) {
    KL_MODEL_CHECK_EQ(kl_index_pool_held(&pool, 0), status[2] == KL_OK);
    KL_MODEL_CHECK_EQ(kl_index_pool_held(&pool, id_of(0)), 0);
    if (status[2] != KL_OK) KL_MODEL_CHECK_EQ(kl_index_pool_verify(&pool), KL_OK);
    kl_model_expect("taken", status[2] == KL_OK);
}
KL_MODEL(kl_index_pool_model_two_recover_and_a_third_takes, .setup = dead_held_it,
         .threads = {nothing, recover_dead, take, recover_dead}, .finally = one_holder)
