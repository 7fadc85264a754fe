/* capability_table under the memory models, with buckets of one slot: one live capability for a key; what is
 * found is whole; nothing that came from an ended or narrowed one is missed, whoever dies. */
#define KL_CAPABILITY_BUCKET_SLOTS 1u
#define PATIENCE                   2u
#include "lockfree/capability_table.c"

#include "tests/c/model/explorer.h"

#define READ  1ull
#define WRITE 2ull
#define OTHER 4ull

static void *memory;
static uint64_t memory_bytes;
static kl_capability root, child, made[3];
static int32_t ended_with[3];

/* This thread's own grip. */
static kl_capability_table grip(void) {
    kl_capability_table table;
    KL_MODEL_CHECK_EQ(kl_capability_table_grip(&table, kl_model_region(), memory, memory_bytes),
                      KL_OK);
    return table;
}

static void format(uint64_t capacity) {
    memory_bytes = kl_capability_table_memory_bytes(capacity);
    memory = kl_model_alloc(memory_bytes);
    KL_MODEL_CHECK_EQ(kl_capability_table_format(memory, capacity), KL_OK);
    kl_capability_table table = grip();
    kl_model_name(memory, sizeof(kl_capability_table_header), "header");
    kl_model_name((void *)table.keys, table.slots * 8, "keys");
    kl_model_name(table.entries, table.slots * 64, "entries");
}

static uint32_t count_live(void) {
    kl_capability_table table = grip();
    KL_MODEL_CHECK_EQ(kl_capability_table_verify(&table), KL_OK);
    return kl_capability_table_count(&table);
}

/* ---- two creators of one key ---- */

static void empty(void) {
    format(1);
}
static void insert_seven(void) {
    kl_capability_table table = grip();
    int32_t self = kl_model_thread();
    ended_with[self] = kl_capability_table_insert(&table, 7, READ, &made[self]);
    KL_MODEL_CHECK(ended_with[self] == KL_OK || ended_with[self] == KL_ERR_EXISTS);
}
static void check_one_is_live(void) {
    kl_capability_table table = grip();
    kl_capability known = 0;
    KL_MODEL_CHECK((ended_with[0] == KL_OK) != (ended_with[1] == KL_OK));
    KL_MODEL_CHECK_EQ(count_live(), 1);
    KL_MODEL_CHECK_EQ(kl_capability_table_find(&table, 7, &known), KL_OK);
    KL_MODEL_CHECK_EQ(known, made[ended_with[0] == KL_OK ? 0 : 1]);
}
KL_MODEL(kl_capability_table_model_C1_one_key_is_live_once, .setup = empty,
         .threads = {insert_seven, insert_seven}, .finally = check_one_is_live, .preemptions = 3,
         .executions_max = 20000, .random = 2000)

static void insert_and_die(void) {
    kl_capability_table table = grip();
    kl_capability_table_insert(&table, 7, READ, &made[0]);
}
static void insert_after_death(void) {
    kl_capability_table table = grip();
    kl_model_join(0);
    int32_t status = kl_capability_table_insert(&table, 7, WRITE, &made[1]);
    KL_MODEL_CHECK(status == KL_OK || status == KL_ERR_EXISTS);
    KL_MODEL_CHECK(kl_model_died(0) || status == KL_ERR_EXISTS);
    kl_model_expect("the dead one's", status == KL_ERR_EXISTS);
    kl_model_expect("the living one's", status == KL_OK);
    KL_MODEL_CHECK_EQ(kl_capability_table_insert(&table, 8, READ, &made[2]), KL_OK);
}
static void check_two_are_live(void) {
    KL_MODEL_CHECK_EQ(count_live(), 2);
}
KL_MODEL(kl_capability_table_model_C1_a_creator_dies, .setup = empty,
         .threads = {insert_and_die, insert_after_death}, .finally = check_two_are_live, .kill = 1)

/* ---- what is found is whole; what is over is over ---- */

static void find_seven(void) {
    kl_capability_table table = grip();
    kl_capability known = 0;
    uint64_t mask = 0;
    if (kl_capability_table_find(&table, 7, &known) != KL_OK) return;
    kl_model_expect("found", true);
    KL_MODEL_CHECK_EQ(kl_capability_table_permissions(&table, known, &mask), KL_OK);
    KL_MODEL_CHECK_EQ(mask, READ);
    KL_MODEL_CHECK(kl_capability_table_check(&table, known, READ));
}
KL_MODEL(kl_capability_table_model_C1_what_is_found_is_whole, .setup = empty,
         .threads = {insert_seven, find_seven})

static void one_reader(void) {
    format(1);
    kl_capability_table table = grip();
    KL_MODEL_CHECK_EQ(kl_capability_table_insert(&table, 7, READ, &root), KL_OK);
    KL_MODEL_CHECK_EQ(kl_capability_table_insert(&table, 8, READ, &child), KL_OK);
}
/* Uses the slot of the ended one for another key with other permissions. */
static void end_and_reuse(void) {
    kl_capability_table table = grip();
    KL_MODEL_CHECK_EQ(kl_capability_table_end(&table, root), KL_OK);
    KL_MODEL_CHECK_EQ(kl_capability_table_insert(&table, 9, WRITE | OTHER, &made[0]), KL_OK);
}
static void check_the_ended(void) {
    kl_capability_table table = grip();
    KL_MODEL_CHECK(!kl_capability_table_check(&table, root, WRITE));
}
static void ask_the_ended(void) {
    kl_capability_table table = grip();
    uint64_t mask = 0;
    if (kl_capability_table_permissions(&table, root, &mask) == KL_OK)
        KL_MODEL_CHECK_EQ(mask, READ);
}
KL_MODEL(kl_capability_table_model_C1_the_next_use_of_a_slot_is_another_capability,
         .setup = one_reader, .threads = {end_and_reuse, check_the_ended})
KL_MODEL(kl_capability_table_model_C1_the_next_use_of_a_slot_has_other_permissions,
         .setup = one_reader, .threads = {end_and_reuse, ask_the_ended})

/* A child whose parent was ended before all this, in a slot that is taken back for a child of the next
 * parent: what one reads of it is of the one use or of the other. */
static void an_orphan(void) {
    format(1);
    kl_capability_table table = grip();
    KL_MODEL_CHECK_EQ(kl_capability_table_insert(&table, 7, READ, &root), KL_OK);
    KL_MODEL_CHECK_EQ(kl_capability_table_delegate(&table, root, 8, READ, &child), KL_OK);
    /* As if who ended it had died before it swept. */
    atomic_store_explicit(&table.entries[slot_of(root)].delegated, 0, memory_order_relaxed);
    KL_MODEL_CHECK_EQ(kl_capability_table_end(&table, root), KL_OK);
    KL_MODEL_CHECK_EQ(kl_capability_table_insert(&table, 7, READ, &root), KL_OK);
}
static void delegate_over_it(void) {
    kl_capability_table table = grip();
    KL_MODEL_CHECK_EQ(kl_capability_table_delegate(&table, root, 9, READ, &made[0]), KL_OK);
}
static void check_the_orphan(void) {
    kl_capability_table table = grip();
    KL_MODEL_CHECK(!kl_capability_table_check(&table, child, READ));
}
static void ask_the_orphan(void) {
    kl_capability_table table = grip();
    uint64_t mask = 0;
    KL_MODEL_CHECK_EQ(kl_capability_table_permissions(&table, child, &mask), KL_ERR_NOT_FOUND);
}
KL_MODEL(kl_capability_table_model_C1_an_orphan_stays_dead_whoever_has_its_slot_next,
         .setup = an_orphan, .threads = {delegate_over_it, check_the_orphan})
KL_MODEL(kl_capability_table_model_C1_an_orphan_has_no_permissions, .setup = an_orphan,
         .threads = {delegate_over_it, ask_the_orphan})

/* A number that came by a relaxed store is still checked against what belongs to it. */
static _Atomic uint64_t told;
static void one_writer(void) {
    format(1);
    kl_capability_table table = grip();
    KL_MODEL_CHECK_EQ(kl_capability_table_insert(&table, 7, WRITE, &root), KL_OK);
    KL_MODEL_CHECK_EQ(kl_capability_table_insert(&table, 8, WRITE, &child), KL_OK);
    KL_MODEL_CHECK_EQ(kl_capability_table_end(&table, root), KL_OK);
}
static void insert_and_tell(void) {
    kl_capability_table table = grip();
    KL_MODEL_CHECK_EQ(kl_capability_table_insert(&table, 9, READ, &made[0]), KL_OK);
    atomic_store_explicit(&told, made[0], memory_order_relaxed);
}
static void check_what_was_told(void) {
    kl_capability_table table = grip();
    kl_capability capability = atomic_load_explicit(&told, memory_order_relaxed);
    if (capability != 0) KL_MODEL_CHECK(!kl_capability_table_check(&table, capability, WRITE));
}
KL_MODEL(kl_capability_table_model_C1_a_number_heard_too_early_permits_nothing_it_should_not,
         .setup = one_writer, .threads = {insert_and_tell, check_what_was_told})

/* Who has a slot next knows what was done before it was freed. */
static uint32_t done_before;
static void end_after_work(void) {
    kl_capability_table table = grip();
    done_before = 1;
    KL_MODEL_CHECK_EQ(kl_capability_table_end(&table, root), KL_OK);
}
static void insert_where_it_was(void) {
    kl_capability_table table = grip();
    int32_t status = kl_capability_table_insert(&table, 9, READ, &made[0]);
    KL_MODEL_CHECK(status == KL_OK || status == KL_ERR_LIMIT);
    if (status == KL_OK) KL_MODEL_CHECK_EQ(done_before, 1);
    kl_model_expect("in its place", status == KL_OK);
}
KL_MODEL(kl_capability_table_model_C1_a_slot_is_handed_over, .setup = one_reader,
         .threads = {end_after_work, insert_where_it_was})

static void find_eight_and_seven(void) {
    kl_capability_table table = grip();
    kl_capability known = 0;
    KL_MODEL_CHECK_EQ(kl_capability_table_find(&table, 8, &known), KL_OK);
    KL_MODEL_CHECK_EQ(known, child);
    if (kl_capability_table_find(&table, 7, &known) == KL_OK) KL_MODEL_CHECK_EQ(known, root);
    if (kl_capability_table_find(&table, 9, &known) == KL_OK) KL_MODEL_CHECK(known != root);
}
KL_MODEL(kl_capability_table_model_C1_a_key_is_found_where_it_is, .setup = one_reader,
         .threads = {end_and_reuse, find_eight_and_seven})

/* ---- delegations against whoever ends or narrows ---- */

static void one_root(void) {
    format(1);
    kl_capability_table table = grip();
    KL_MODEL_CHECK_EQ(kl_capability_table_insert(&table, 7, READ | WRITE, &root), KL_OK);
}
static void delegate_eight(void) {
    kl_capability_table table = grip();
    ended_with[0] = kl_capability_table_delegate(&table, root, 8, READ | WRITE, &made[0]);
}
static void end_root(void) {
    kl_capability_table table = grip();
    KL_MODEL_CHECK_EQ(kl_capability_table_end(&table, root), KL_OK);
}
static void check_none_is_live(void) {
    kl_capability_table table = grip();
    KL_MODEL_CHECK(ended_with[0] == KL_OK || ended_with[0] == KL_ERR_NOT_FOUND);
    KL_MODEL_CHECK_EQ(count_live(), 0);
    for (uint64_t key = 8; key <= 9; key++)
        KL_MODEL_CHECK_EQ(kl_capability_table_insert(&table, key, READ, &made[1]), KL_OK);
}
KL_MODEL(kl_capability_table_model_C1_ending_leaves_no_descendant, .setup = one_root,
         .threads = {delegate_eight, end_root}, .finally = check_none_is_live)

static void revoke_write(void) {
    kl_capability_table table = grip();
    KL_MODEL_CHECK_EQ(kl_capability_table_revoke(&table, root, WRITE), KL_OK);
}
static void check_narrowed(void) {
    kl_capability_table table = grip();
    count_live();
    KL_MODEL_CHECK(ended_with[0] == KL_OK || ended_with[0] == KL_ERR_PERMISSION);
    KL_MODEL_CHECK_EQ(kl_capability_table_grant(&table, root, WRITE), KL_OK);
    if (ended_with[0] != KL_OK) return;
    KL_MODEL_CHECK(kl_capability_table_check(&table, made[0], READ));
    KL_MODEL_CHECK(!kl_capability_table_check(&table, made[0], WRITE));
}
KL_MODEL(kl_capability_table_model_C1_bits_taken_do_not_come_back, .setup = one_root,
         .threads = {delegate_eight, revoke_write}, .finally = check_narrowed)

/* ---- two who change, and one who dies ---- */

static void root_and_child(void) {
    format(1);
    kl_capability_table table = grip();
    KL_MODEL_CHECK_EQ(kl_capability_table_insert(&table, 7, READ | WRITE, &root), KL_OK);
    KL_MODEL_CHECK_EQ(kl_capability_table_delegate(&table, root, 8, READ | WRITE, &child), KL_OK);
}
static void revoke_and_die(void) {
    kl_capability_table table = grip();
    kl_capability_table_revoke(&table, root, WRITE);
}
static void grant_after_death(void) {
    kl_capability_table table = grip();
    kl_model_join(0);
    bool taken = !kl_capability_table_check(&table, child, WRITE);
    KL_MODEL_CHECK(taken == !kl_capability_table_check(&table, root, WRITE));
    kl_model_expect("taken", taken);
    KL_MODEL_CHECK_EQ(kl_capability_table_grant(&table, root, WRITE), KL_OK);
    KL_MODEL_CHECK(kl_capability_table_check(&table, root, WRITE));
    KL_MODEL_CHECK_EQ(kl_capability_table_check(&table, child, WRITE), !taken);
}
static void check_whole(void) {
    count_live();
}
KL_MODEL(kl_capability_table_model_C1_a_revoker_dies, .setup = root_and_child,
         .threads = {revoke_and_die, grant_after_death}, .finally = check_whole, .kill = 1)

/* A delegation at the moment of the repair. */
static void repair_after_death(void) {
    kl_capability_table table = grip();
    kl_model_join(1);
    KL_MODEL_CHECK_EQ(kl_capability_table_grant(&table, root, 0), KL_OK);
}
static void check_narrowed_by_repair(void) {
    kl_capability_table table = grip();
    bool taken = !kl_capability_table_check(&table, root, WRITE);
    count_live();
    if (ended_with[0] != KL_OK) return;
    KL_MODEL_CHECK_EQ(kl_capability_table_grant(&table, root, WRITE), KL_OK);
    KL_MODEL_CHECK_EQ(kl_capability_table_check(&table, made[0], WRITE), !taken);
}
KL_MODEL(kl_capability_table_model_C1_a_repair_meets_a_delegation, .setup = one_root,
         .threads = {delegate_eight, revoke_and_die, repair_after_death},
         .finally = check_narrowed_by_repair, .kill = 2, .preemptions = 3, .executions_max = 4000,
         .random = 300)

static void grant_other(void) {
    kl_capability_table table = grip();
    int32_t status = kl_capability_table_grant(&table, root, OTHER);
    KL_MODEL_CHECK(status == KL_OK || status == KL_ERR_NOT_FOUND);
}
static void check_both_slots_are_free(void) {
    kl_capability_table table = grip();
    KL_MODEL_CHECK_EQ(count_live(), 0);
    for (uint64_t key = 1; key <= 2; key++)
        KL_MODEL_CHECK_EQ(kl_capability_table_insert(&table, key, READ, &made[1]), KL_OK);
}
KL_MODEL(kl_capability_table_model_C1_an_end_during_a_change_is_an_end, .setup = one_root,
         .threads = {grant_other, end_root}, .finally = check_both_slots_are_free)

static void check_both_changes(void) {
    kl_capability_table table = grip();
    uint64_t mask = 0;
    KL_MODEL_CHECK_EQ(kl_capability_table_permissions(&table, root, &mask), KL_OK);
    KL_MODEL_CHECK_EQ(mask, READ | OTHER);
    count_live();
}
KL_MODEL(kl_capability_table_model_C1_two_changes_both_last, .setup = one_root,
         .threads = {grant_other, revoke_write}, .finally = check_both_changes)
