#include "sync/counter.h"

#include "base/random.h"
#include "tests/c/harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char path[512];

static kl_region *attach(void) {
    kl_region *region = NULL;
    KL_CHECK_EQ(kl_region_attach(&region, path, NULL), KL_OK);
    KL_CHECK_LE(0, kl_region_join(region, 0));
    return region;
}

static kl_region *create(void) {
    kl_region *region = NULL;
    snprintf(path, sizeof path, "%s/region", kl_test_folder());
    kl_region_spec spec = {.kind = 1};
    KL_CHECK_EQ(kl_region_create(&region, path, sizeof(kl_counter), &spec), KL_OK);
    kl_counter_format((kl_counter *)(void *)kl_region_data(region));
    KL_CHECK_EQ(kl_region_publish(region), KL_OK);
    KL_CHECK_LE(0, kl_region_join(region, 0));
    return region;
}

static kl_counter *counter_of(kl_region *region) {
    return (kl_counter *)(void *)kl_region_data(region);
}

static kl_counter_cell *own_cell(kl_region *region) {
    int32_t self = kl_region_thread_join(region);
    KL_CHECK_LT(0, self);
    return kl_counter_cell_of(counter_of(region), (uint32_t)self);
}

static uint64_t adds_each(void) {
    return getenv("KEELSON_LONG") ? 10000000 : kl_test_slow() ? 20000 : 500000;
}

/* Adds 1 to adds_each(); the sums seen meanwhile never go back. */
static void add_many(kl_region *region) {
    kl_counter_cell *cell = own_cell(region);
    uint64_t seen = 0;
    for (uint64_t i = 1; i <= adds_each(); i++) {
        kl_counter_add_sp(cell, i);
        if (i % 1024 != 0) continue;
        uint64_t now = kl_counter_value(counter_of(region));
        KL_CHECK_LE(seen, now);
        KL_CHECK_LE(i * (i + 1) / 2, now); /* one's own are in it */
        seen = now;
    }
}

static void add_in_thread(void *argument, uint32_t index) {
    (void)index;
    add_many(argument);
}

static int add_in_child(void *argument) {
    (void)argument;
    kl_region *region = attach();
    add_many(region);
    kl_region_close(region);
    return 0;
}

KL_TEST(kl_counter_sums_what_threads_and_processes_add) {
    kl_region *region = create();
    int child = kl_test_fork(add_in_child, NULL);
    kl_test_threads(3, add_in_thread, region);
    KL_CHECK_EQ(kl_test_join(child), 0);
    uint64_t n = adds_each();
    KL_CHECK_EQ(kl_counter_value(counter_of(region)), 4 * (n * (n + 1) / 2));
    kl_region_close(region);
}

static int add_and_die(void *argument) {
    (void)argument;
    kl_region *region = attach();
    kl_counter_cell *cell = own_cell(region);
    for (uint32_t i = 0; i < 1000; i++) kl_counter_add_sp(cell, 3);
    kill(getpid(), SIGKILL);
    return 0;
}

KL_TEST(kl_counter_keeps_what_the_dead_added_and_gives_their_cells_to_others) {
    kl_region *region = create();
    /* More than there are cells: each of them is used again. */
    for (uint32_t round = 1; round <= KL_PARTICIPANTS + 6; round++) {
        KL_CHECK_EQ(kl_test_join(kl_test_fork(add_and_die, NULL)), 128 + SIGKILL);
        KL_CHECK_EQ(kl_counter_value(counter_of(region)), round * 3000);
    }
    kl_region_close(region);
}

KL_TEST(kl_counter_adds_negative_amounts_and_wraps_at_64_bits) {
    kl_region *region = create(), *other = attach();
    kl_counter_cell *one = own_cell(region), *two = own_cell(other);
    KL_CHECK_NE(one, two);
    one->count = UINT32_MAX - 1ull;
    kl_counter_add_sp(one, 5);
    KL_CHECK_EQ(kl_counter_value(counter_of(region)), UINT32_MAX + 4ull);
    one->count = (1ull << 63) - 2;
    two->count = (1ull << 63) - 2;
    for (uint32_t i = 0; i < 5; i++) kl_counter_add_sp(one, 1);
    KL_CHECK_EQ(kl_counter_value(counter_of(region)), 1);
    kl_counter_add_sp(two, (uint64_t)-4);
    KL_CHECK_EQ((int64_t)kl_counter_value(counter_of(region)), -3);
    kl_region_close(other);
    kl_region_close(region);
}

KL_TEST(kl_counter_check_refuses_what_is_none_and_scribbles_change_only_the_sum) {
    kl_region *region = create();
    kl_counter *counter = counter_of(region);
    KL_CHECK_EQ(kl_counter_check(counter, sizeof *counter), KL_OK);
    KL_CHECK_EQ(kl_counter_check(counter, sizeof *counter - 1), KL_ERR_CORRUPT);
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    uint8_t *bytes = kl_region_data(region);
    for (uint64_t i = KL_LINE_BYTES; i < sizeof *counter; i++)
        bytes[i] = (uint8_t)kl_random_u64(&random);
    uint64_t before = kl_counter_value(counter);
    kl_counter_add_sp(kl_counter_cell_of(counter, (uint32_t)kl_random_u64(&random)), 7);
    KL_CHECK_EQ(kl_counter_value(counter), before + 7);
    counter->version++;
    KL_CHECK_EQ(kl_counter_check(counter, sizeof *counter), KL_ERR_VERSION);
    counter->magic++;
    KL_CHECK_EQ(kl_counter_check(counter, sizeof *counter), KL_ERR_CORRUPT);
    kl_region_close(region);
}
