/* Hazard pointers: what is held up stays, under every interleaving and memory model. */
#include "sync/hazard.h"

#include "tests/c/model/explorer.h"

typedef struct {
    uint64_t value;
    kl_hazard_node node;
} thing;

static kl_hazard hazard;
static kl_hazard_thread owns[3];
static thing *things[3];
static _Atomic(thing *) source;
static uint32_t run_count;

/* The threads of a scenario are not threads of the system: their records are begun by hand. */
static void begin(uint32_t index) {
    kl_hazard_thread *own = &owns[index];
    own->record.domain = &hazard.domain;
    KL_MODEL_CHECK_EQ(hazard.domain.begin(&hazard.domain, &own->record), KL_OK);
    kl_model_name(own->line, sizeof *own->line, index == 0 ? "line 0" : "line 1");
}

static void setup_with(bool fences) {
    KL_MODEL_CHECK_EQ(kl_hazard_open(&hazard, 2, fences), KL_OK);
    KL_MODEL_CHECK_EQ(hazard.is_light, !fences);
    for (uint32_t i = 0; i < 3; i++) {
        things[i] = kl_model_alloc(sizeof(thing));
        things[i]->value = i + 1;
    }
    atomic_store_explicit(&source, things[0], memory_order_relaxed);
}

static void setup_fences(void) {
    setup_with(true);
    begin(0);
    begin(1);
}

static void setup_light(void) {
    setup_with(false);
    begin(0);
    begin(1);
}

static void give_back(kl_hazard_node *node) {
    thing *it = (thing *)(void *)((uint8_t *)node - offsetof(thing, node));
    run_count++;
    kl_model_free(it);
}

static void use(uint32_t slot) {
    thing *found = kl_hazard_protect(&owns[0], slot, &source);
    KL_MODEL_CHECK(found->value >= 1 && found->value <= 3);
    kl_model_expect("the first was used", found == things[0]);
    kl_model_expect("a later one was used", found != things[0]);
}

static void read_once(void) {
    use(0);
    kl_hazard_clear(&owns[0], 0);
}

/* The second protection takes the slot away from the first. */
static void read_twice_in_one_slot(void) {
    use(0);
    use(0);
    kl_hazard_clear(&owns[0], 0);
}

static void replace_by(uint32_t index) {
    things[index]->value = index + 1; /* seen by who protects it: the store is a release */
    thing *old = atomic_load_explicit(&source, memory_order_relaxed);
    atomic_store_explicit(&source, things[index], memory_order_release);
    kl_hazard_retire(&owns[1], &old->node, old, give_back);
    int32_t count = kl_hazard_scan(&owns[1]);
    KL_MODEL_CHECK(count >= 0);
    kl_model_expect("it was given back", count > 0);
    kl_model_expect("it was kept", count == 0);
}

static void replace_once(void) {
    replace_by(1);
}

static void replace_twice(void) {
    replace_by(1);
    replace_by(2);
}

static void all_come_back(void) {
    uint32_t kept = owns[1].retired_count;
    KL_MODEL_CHECK_EQ(kl_hazard_scan(&owns[1]), kept);
}

KL_MODEL(kl_hazard_model_keeps_what_is_held_up_with_fences_H1_H2, .setup = setup_fences,
         .threads = {read_once, replace_once}, .finally = all_come_back)
KL_MODEL(kl_hazard_model_keeps_what_is_held_up_light_H1_H2, .setup = setup_light,
         .threads = {read_once, replace_once}, .finally = all_come_back)
KL_MODEL(kl_hazard_model_keeps_what_is_held_up_when_the_source_changes_twice_H2,
         .setup = setup_fences, .threads = {read_once, replace_twice}, .finally = all_come_back)
KL_MODEL(kl_hazard_model_of_a_slot_used_again_H2, .setup = setup_fences,
         .threads = {read_twice_in_one_slot, replace_once}, .finally = all_come_back)
KL_MODEL(kl_hazard_model_of_a_slot_used_again_light_H2, .setup = setup_light,
         .threads = {read_twice_in_one_slot, replace_once}, .finally = all_come_back)

/* ---- a line that was never used before ---- */

static void setup_one_line(void) {
    setup_with(true);
    begin(1);
}

static void begin_and_read(void) {
    begin(0);
    read_once();
}

KL_MODEL(kl_hazard_model_sees_a_line_never_used_before, .setup = setup_one_line,
         .threads = {begin_and_read, replace_once}, .finally = all_come_back)

/* ---- a thread that ends: H3 ---- */

static void retire_and_end(void) {
    kl_hazard_retire(&owns[0], &things[1]->node, things[1], give_back);
    things[1]->value = 7; /* its end is a release */
    hazard.domain.end(&hazard.domain, &owns[0].record);
}

static void scan_once(void) {
    int32_t count = kl_hazard_scan(&owns[1]);
    KL_MODEL_CHECK(count == 0 || count == 1);
    kl_model_expect("it was taken over", count == 1);
}

static void it_comes_back(void) {
    KL_MODEL_CHECK(kl_hazard_scan(&owns[1]) >= 0);
    KL_MODEL_CHECK_EQ(run_count, 1);
}

KL_MODEL(kl_hazard_model_takes_over_what_an_ended_thread_leaves_behind_H3, .setup = setup_fences,
         .threads = {retire_and_end, scan_once}, .finally = it_comes_back)

static void retire_and_end_second(void) {
    kl_hazard_retire(&owns[1], &things[0]->node, things[0], give_back);
    hazard.domain.end(&hazard.domain, &owns[1].record);
}

static void two_are_left(void) {
    begin(2);
    KL_MODEL_CHECK_EQ(kl_hazard_scan(&owns[2]), 2);
}

KL_MODEL(kl_hazard_model_keeps_what_two_leave_behind_at_once_H3, .setup = setup_fences,
         .threads = {retire_and_end, retire_and_end_second}, .finally = two_are_left)

/* ---- groups ---- */

static void reserve_two(void) {
    int32_t first = kl_hazard_reserve(&hazard, 2);
    KL_MODEL_CHECK(first >= 0 && first % 2 == 0);
    uint32_t group = 3u << first;
    static uint32_t words[KL_HAZARD_SLOTS]; /* plain: one slot in two groups would race */
    words[first] += group;
    words[first + 1] += group;
}

KL_MODEL(kl_hazard_model_groups_share_no_slot, .setup = setup_fences,
         .threads = {reserve_two, reserve_two})
