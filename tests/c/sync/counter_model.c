/* counter under the memory models: sums of one reader never go back while others add, what is known to
 * have been added is in them, and a cell that changes hands goes on where it stood. */
#include "sync/counter.h"
#include "tests/c/model/explorer.h"

static kl_counter *counter;

static void format(void) {
    counter = kl_model_alloc(sizeof *counter);
    kl_counter_format(counter);
}
static void add(uint32_t slot, uint64_t amount) {
    kl_counter_add_sp(kl_counter_cell_of(counter, slot), amount);
}
static void add_ones(void) {
    add(0, 1);
    add(0, 1);
}
static void add_ten(void) {
    add(1, 10);
}
static uint64_t sum_of_two(void) {
    /* kl_counter_value reads 64 cells; these are the ones that change. */
    return atomic_load_explicit(&counter->cells[0].count, memory_order_relaxed) +
           atomic_load_explicit(&counter->cells[1].count, memory_order_relaxed);
}
static void read_twice(void) {
    uint64_t first = sum_of_two(), second = sum_of_two();
    KL_MODEL_CHECK(first <= second && second <= 12);
    kl_model_expect("none", second == 0);
    kl_model_expect("all", first == 12);
}
static void all_there(void) {
    KL_MODEL_CHECK_EQ(kl_counter_value(counter), 12);
}
KL_MODEL(kl_counter_model_sums_never_go_back, .setup = format,
         .threads = {add_ones, add_ten, read_twice}, .finally = all_there)

static void add_ten_after(void) {
    kl_model_join(0);
    kl_model_heavy_fence(); /* as the kernel's lock of the slot orders them */
    uint64_t before = kl_counter_value(counter);
    KL_MODEL_CHECK(before == 2 || (kl_model_died(0) && before < 2));
    add(0, 10);
    KL_MODEL_CHECK_EQ(kl_counter_value(counter), before + 10);
}
KL_MODEL(kl_counter_model_a_cell_of_the_dead_goes_on, .setup = format, .kill = 1,
         .threads = {add_ones, add_ten_after})
