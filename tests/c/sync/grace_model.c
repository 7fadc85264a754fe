/* Who may still be reading: under every interleaving and memory model. */
#include "sync/grace.h"

#include <sched.h>

#include "tests/c/model/explorer.h"

static kl_grace graces[3]; /* one grip for each process, or the first for all */
static kl_grace_slot *slots[3];
static _Atomic(uint32_t *) source;
static uint32_t *first, *second;
static void *memory;
static uint32_t slot_count = 2;

static void format_with(uint32_t barriers, kl_region *region) {
    uint64_t bytes = kl_grace_memory_bytes(slot_count);
    memory = kl_model_alloc(bytes);
    kl_model_name(memory, bytes, "grace");
    KL_MODEL_CHECK_EQ(kl_grace_format(memory, slot_count), KL_OK);
    KL_MODEL_CHECK_EQ(kl_grace_grip(&graces[0], memory, bytes, region, barriers), KL_OK);
    first = kl_model_alloc(4);
    second = kl_model_alloc(4);
    *first = 1;
    *second = 2;
    atomic_store_explicit(&source, first, memory_order_relaxed);
}

/* Uses what is linked now. */
static void use(void) {
    uint32_t *found = atomic_load_explicit(&source, memory_order_acquire);
    KL_MODEL_CHECK(*found == (found == first ? 1 : 2));
    kl_model_expect("the first was read", found == first);
    kl_model_expect("the second was read", found == second);
}

/* Replaces the first by the second and says when it was given back. */
static uint64_t replace(kl_grace *grace) {
    uint64_t period;
    atomic_store_explicit(&source, second, memory_order_release);
    KL_MODEL_CHECK_EQ(kl_grace_begin(grace, &period), KL_OK);
    return period;
}

static bool has_passed(kl_grace *grace, uint64_t period) {
    uint64_t oldest;
    uint32_t slot;
    KL_MODEL_CHECK_EQ(kl_grace_oldest(grace, period, &oldest, &slot), KL_OK);
    return oldest >= period;
}

static void give_back_when_passed(kl_grace *grace, uint64_t period) {
    while (!has_passed(grace, period)) sched_yield();
    kl_model_free(first);
}

/* ---- one reads, one takes away ---- */

static void claim_for_reader(void) {
    slots[0] = kl_grace_claim(&graces[0]);
    KL_MODEL_CHECK(slots[0] != NULL);
}

static void setup_fences(void) {
    format_with(KL_GRACE_FENCES, NULL);
    claim_for_reader();
}

static void setup_light(void) {
    format_with(KL_GRACE_LIGHT, NULL);
    KL_MODEL_CHECK(atomic_load_explicit(&graces[0].is_light, memory_order_relaxed));
    claim_for_reader();
}

static void setup_later(void) {
    KL_MODEL_CHECK_EQ(kl_membarrier_prepare(), KL_OK);
    format_with(KL_GRACE_LATER, NULL);
    claim_for_reader();
}

static void read_once(void) {
    kl_grace_announce(&graces[0], slots[0]);
    use();
    kl_grace_retract(slots[0]);
}

static void read_twice(void) {
    read_once();
    read_once();
}

static void take_away(void) {
    uint64_t period = replace(&graces[0]);
    give_back_when_passed(&graces[0], period);
}

KL_MODEL(kl_grace_model_keeps_what_a_reader_with_fences_may_use, .setup = setup_fences,
         .threads = {read_once, take_away})
KL_MODEL(kl_grace_model_keeps_what_a_reader_with_fences_may_use_when_it_comes_again,
         .setup = setup_fences, .threads = {read_twice, take_away})
KL_MODEL(kl_grace_model_keeps_what_a_light_reader_may_use, .setup = setup_light,
         .threads = {read_twice, take_away})

/* ---- from fences to light barriers ---- */

static void lighten_and_take_away(void) {
    uint64_t period = replace(&graces[0]);
    bool passed = has_passed(&graces[0], period);
    kl_grace_lighten(&graces[0]);
    if (!passed) passed = has_passed(&graces[0], period); /* needs no barrier of its own */
    if (passed) kl_model_free(first);
    kl_model_expect("it was given back", passed);
}

static void lighten_first(void) {
    kl_grace_lighten(&graces[0]);
    uint64_t period = replace(&graces[0]);
    if (has_passed(&graces[0], period)) kl_model_free(first);
}

KL_MODEL(kl_grace_model_lighten_between_two_looks_harms_no_reader, .setup = setup_later,
         .threads = {read_twice, lighten_and_take_away})
KL_MODEL(kl_grace_model_lighten_before_a_grace_period_harms_no_reader, .setup = setup_later,
         .threads = {read_once, lighten_first})

/* ---- quiescent states ---- */

static void read_between_quiescent_states(void) {
    kl_grace_announce(&graces[0], slots[0]);
    use();
    kl_grace_quiescent(&graces[0], slots[0]);
    use();
    kl_grace_retract(slots[0]);
}

KL_MODEL(kl_grace_model_keeps_what_may_be_used_before_the_next_quiescent_state,
         .setup = setup_light, .threads = {read_between_quiescent_states, take_away})

/* ---- a slot that was never used before ---- */

static void claim_and_read(void) {
    slots[0] = kl_grace_claim(&graces[0]);
    KL_MODEL_CHECK(slots[0] != NULL);
    read_once();
    kl_grace_give_back(slots[0]);
}

static void setup_unclaimed(void) {
    format_with(KL_GRACE_FENCES, NULL);
}

static void setup_unclaimed_light(void) {
    format_with(KL_GRACE_LIGHT, NULL);
}

static void take_away_at_once(void) {
    uint64_t period = replace(&graces[0]);
    bool passed = has_passed(&graces[0], period);
    if (passed) kl_model_free(first);
    kl_model_expect("it was given back", passed);
    kl_model_expect("it was kept", !passed);
}

KL_MODEL(kl_grace_model_sees_a_reader_in_a_slot_never_used_before, .setup = setup_unclaimed,
         .threads = {claim_and_read, take_away_at_once})
KL_MODEL(kl_grace_model_sees_a_light_reader_in_a_slot_never_used_before,
         .setup = setup_unclaimed_light, .threads = {claim_and_read, take_away_at_once})

static void setup_one_slot(void) {
    slot_count = 1;
    setup_unclaimed();
}

static void claim_and_hold(void) {
    kl_grace_slot *slot = kl_grace_claim(&graces[0]);
    kl_model_expect("all slots were taken", slot == NULL);
    if (!slot) return;
    uint32_t self = (uint32_t)kl_model_thread();
    /* A plain byte: two in one slot would race. */
    slot->reserved[0] = (uint8_t)self;
    kl_model_pause();
    KL_MODEL_CHECK_EQ(slot->reserved[0], self);
    kl_grace_give_back(slot);
}

KL_MODEL(kl_grace_model_claim_gives_a_slot_to_one_thread_at_a_time, .setup = setup_one_slot,
         .threads = {claim_and_hold, claim_and_hold})

/* ---- processes that die ---- */

static void grip_shared(void) {
    uint32_t self = (uint32_t)kl_model_thread();
    kl_region *region = kl_model_region();
    uint64_t bytes = kl_grace_memory_bytes(slot_count);
    KL_MODEL_CHECK_EQ(kl_grace_grip(&graces[self], memory, bytes, region, KL_GRACE_FENCES), KL_OK);
}

static void setup_shared(void) {
    format_with(KL_GRACE_FENCES, kl_model_region());
}

static void read_in_a_process(void) {
    uint32_t self = (uint32_t)kl_model_thread();
    grip_shared();
    kl_grace_slot *slot = kl_grace_claim(&graces[self]);
    if (!slot) return; /* both taken by the dead, and somebody is clearing them */
    kl_grace_announce(&graces[self], slot);
    use();
    kl_grace_retract(slot);
    kl_grace_give_back(slot);
}

static void take_away_in_a_process(void) {
    uint32_t self = (uint32_t)kl_model_thread();
    grip_shared();
    uint64_t period = replace(&graces[self]);
    give_back_when_passed(&graces[self], period);
}

static void all_slots_are_free(void) {
    for (uint32_t i = 0; i < slot_count; i++) {
        kl_grace_slot *slot = &graces[1].slots[i];
        uint32_t owner = atomic_load_explicit(&slot->owner, memory_order_relaxed);
        uint64_t announced = atomic_load_explicit(&slot->announced, memory_order_relaxed);
        if (owner == 0) KL_MODEL_CHECK_EQ(announced, 0);
    }
}

KL_MODEL(kl_grace_model_waits_for_no_process_that_died_at_any_step, .setup = setup_shared,
         .threads = {read_in_a_process, take_away_in_a_process}, .finally = all_slots_are_free,
         .kill = 1)

/* Thread 0 died inside; 1 clears its slot to use it, 2 to take away; who clears may die as well. */
static void setup_one_died(void) {
    slot_count = 1;
    setup_shared();
    for (uint32_t i = 0; i < slot_count; i++) {
        kl_grace_slot *slot = &graces[0].slots[i];
        atomic_store_explicit(&slot->owner, kl_model_participant(0), memory_order_relaxed);
        atomic_store_explicit(&slot->announced, i == 0, memory_order_relaxed);
    }
    atomic_store_explicit(&graces[0].header->used, slot_count, memory_order_relaxed);
    kl_model_kill(0);
}

static void never(void) {}

static void take_away_in_a_process_at_once(void) {
    uint32_t self = (uint32_t)kl_model_thread();
    grip_shared();
    uint64_t period = replace(&graces[self]);
    bool passed = has_passed(&graces[self], period);
    if (passed) kl_model_free(first);
    kl_model_expect("it was given back", passed);
}

KL_MODEL(kl_grace_model_clears_the_slot_of_a_dead_process_once_whoever_clears,
         .setup = setup_one_died,
         .threads = {never, read_in_a_process, take_away_in_a_process_at_once},
         .finally = all_slots_are_free)
KL_MODEL(kl_grace_model_clears_after_one_who_died_clearing, .setup = setup_one_died,
         .threads = {never, read_in_a_process, take_away_in_a_process_at_once},
         .finally = all_slots_are_free, .kill = 2, .deaths_max = 2)
