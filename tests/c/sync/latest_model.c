/* latest under the memory models: what is read is whole and never older than what was read before; a
 * cell that was written again meanwhile is not taken for the value; the writer's role changes hands. */
#include "sync/latest.h"
#include "tests/c/model/explorer.h"

#define BYTES 16u

static kl_latest latest;

static void set(uint64_t n) {
    uint64_t words[2] = {n, n};
    KL_MODEL_CHECK_EQ(kl_latest_set_sp(&latest, words, BYTES), KL_OK);
}

static void format(void) {
    uint64_t bytes = kl_latest_memory_bytes(BYTES);
    void *memory = kl_model_alloc(bytes);
    KL_MODEL_CHECK_EQ(kl_latest_format(memory, BYTES), KL_OK);
    KL_MODEL_CHECK_EQ(kl_latest_grip(&latest, memory, bytes), KL_OK);
    kl_model_name(&latest.header->published, 8, "published");
    kl_model_name(&latest.header->writing, 8, "writing");
    kl_model_name(latest.cells, 8 * 4 * latest.cell_words, "cells");
}

static void set_once_before(void) {
    format();
    set(1);
}
static void set_the_second(void) {
    set(2);
}
static uint64_t get(uint64_t seen) {
    uint64_t words[2] = {0, 0}, version;
    KL_MODEL_CHECK_EQ(kl_latest_get(&latest, words, sizeof words, &version), BYTES);
    KL_MODEL_CHECK(version >= seen);
    KL_MODEL_CHECK_EQ(words[0], version);
    KL_MODEL_CHECK_EQ(words[1], version);
    return version;
}
static void get_twice(void) {
    uint64_t first = get(0), second = get(first), word = 0;
    KL_MODEL_CHECK_EQ(kl_latest_get_u64(&latest, &word), KL_OK);
    KL_MODEL_CHECK(word >= second);
    kl_model_expect("both old", word == 1);
    kl_model_expect("one of each", first == 1 && second == 2);
    kl_model_expect("both new", first == 2);
}
KL_MODEL(kl_latest_model_values_are_whole_and_never_go_back, .setup = set_once_before,
         .executions_max = 40000, .random = 2000, .threads = {set_the_second, get_twice})

/* A reader that found version 1 published, and since then 2, 3 and 4 were set: 5 takes its cell. */
static void four_set(void) {
    format();
    for (uint64_t n = 1; n <= KL_LATEST_CELLS; n++) set(n);
}
static void set_the_next(void) {
    set(KL_LATEST_CELLS + 1);
}
static void copy_the_first(void) {
    _Atomic uint64_t *cell = kl_latest_cell(&latest, 1);
    uint64_t one = atomic_load_explicit(cell + 1, memory_order_relaxed);
    uint64_t two = atomic_load_explicit(cell + 2, memory_order_relaxed);
    bool whole = kl_latest_copied(&latest, 1);
    KL_MODEL_CHECK(!whole || (one == 1 && two == 1));
    kl_model_expect("kept", whole);
    kl_model_expect("dropped", !whole);
    kl_model_expect("dropped in time", !whole && one == 1 && two == 1);
    kl_model_expect("torn", one != two);
}
KL_MODEL(kl_latest_model_a_cell_written_again_is_not_kept, .setup = four_set,
         .threads = {set_the_next, copy_the_first})

/* ---- the role ---- */

static uint32_t writes;
static void claim_and_set(void) {
    kl_region *region = kl_model_region();
    uint32_t self = kl_model_participant_thread((uint32_t)kl_model_thread());
    int32_t status = kl_latest_claim(&latest, region, self);
    kl_model_expect("refused", status == KL_ERR_LOCKED);
    kl_model_expect("claimed", status == KL_OK);
    if (status == KL_ERR_LOCKED) return;
    KL_MODEL_CHECK(status == KL_OK || kl_model_died(0));
    set(kl_latest_version(&latest) + 1);
    writes++;
    kl_latest_release(&latest, self);
}
static void one_version_for_each(void) {
    uint64_t version = kl_latest_version(&latest);
    KL_MODEL_CHECK(version >= writes && version <= 2);
    KL_MODEL_CHECK(kl_model_died(0) || version == writes);
    if (version > 0) get(version);
    kl_model_expect("both wrote", writes == 2);
}
KL_MODEL(kl_latest_model_the_role_changes_hands, .setup = format, .executions_max = 40000,
         .random = 1000, .threads = {claim_and_set, claim_and_set}, .finally = one_version_for_each)
KL_MODEL(kl_latest_model_the_writer_dies, .setup = format, .kill = 1, .executions_max = 40000,
         .random = 1000, .threads = {claim_and_set, claim_and_set}, .finally = one_version_for_each)
