/* The order checker under the memory models: two orders of two classes are found however the threads
 * interleave, exactly once, and the counts are exact. */
#include "sync/ordered_lock.c"
#include "tests/c/model/explorer.h"

static uint32_t first_class, second_class;
static thread_state states[2];

/* The explorer's threads are one of the system's, so each call is told whose it is: the checker reads
 * `own` first of all, and the explorer changes threads at atomic operations only. */
static void as_running_thread(void) {
    own = &states[kl_model_thread()];
}

static void two_classes(void) {
    first_class = (uint32_t)kl_order_class("first", 0, 0);
    second_class = (uint32_t)kl_order_class("second", 0, 0);
    kl_order_check(true);
    threads = &states[0];
    states[0].next = &states[1];
}
static void hold_both(uint32_t outer, uint32_t inner) {
    int locks[2]; /* each thread its own two: it is the classes that are in a wrong order */
    as_running_thread();
    kl_order_acquired(&locks[0], outer, 0, "outer", false);
    as_running_thread();
    kl_order_before(&locks[1], inner, 0, "inner");
    as_running_thread();
    kl_order_released(&locks[0]);
}
static void one_order(void) {
    hold_both(first_class, second_class);
}
static void other_order(void) {
    hold_both(second_class, first_class);
}
static void found_once(void) {
    kl_order_counts counts = kl_order_count();
    KL_MODEL_CHECK_EQ(counts.violations[KL_ORDER_CYCLE], 1);
    KL_MODEL_CHECK_EQ(counts.edges, 1);
    KL_MODEL_CHECK_EQ(counts.acquired, 2);
    KL_MODEL_CHECK_EQ(counts.released, 2);
    KL_MODEL_CHECK_EQ(kl_order_reports(), 1);
    KL_MODEL_CHECK(has_edge(first_class, second_class) != has_edge(second_class, first_class));
    own = NULL;
}
KL_MODEL(kl_ordered_lock_model_O2_an_inversion_is_found_once, .setup = two_classes,
         .executions_max = 30000, .random = 1000, .threads = {one_order, other_order},
         .finally = found_once)

/* Classes are added while others are looked up. */
static int32_t numbers[2];
static void add_and_look(void) {
    int32_t *number = &numbers[kl_model_thread()];
    *number = kl_order_class(kl_model_thread() == 0 ? "third" : "fourth", 5, 0);
    KL_MODEL_CHECK(*number == 3 || *number == 4);
}
static void look_up(void) {
    const char *name = kl_order_class_name(3);
    KL_MODEL_CHECK(name[0] == '?' || name[0] == 't' || name[0] == 'f');
    kl_model_expect("seen", name[0] != '?');
    kl_model_expect("not yet", name[0] == '?');
}
static void both_are_there(void) {
    KL_MODEL_CHECK(numbers[0] != numbers[1]);
    own = NULL;
}
KL_MODEL(kl_ordered_lock_model_classes_are_whole_when_they_are_seen, .setup = two_classes,
         .threads = {add_and_look, add_and_look, look_up}, .finally = both_are_there)

static _Atomic uint32_t told;
static uint32_t prepared;
static void tell(const kl_order_report *report) {
    KL_MODEL_CHECK(report->kind == KL_ORDER_RANK && prepared == 7);
    atomic_fetch_add_explicit(&told, 1, memory_order_relaxed);
}
static void listen(void) {
    prepared = 7;
    kl_order_on_report(tell);
}
static void break_a_rule(void) {
    held_lock held = {.class_number = first_class};
    settle(KL_ORDER_RANK, &held, second_class, 0, "here");
    kl_model_expect("told", atomic_load_explicit(&told, memory_order_relaxed) == 1);
}
KL_MODEL(kl_ordered_lock_model_the_teller_is_ready_when_it_is_called, .setup = two_classes,
         .threads = {listen, break_a_rule})
