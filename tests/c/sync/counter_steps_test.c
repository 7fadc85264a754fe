/* A writer of a counter killed before each of its atomic steps. */
#include "sync/counter.h"

#include "tests/c/model/steps.h"

#include <signal.h>
#include <stdio.h>

static char path[512];

static int add_killed_at(void *k) {
    kl_region *region = NULL;
    KL_CHECK_EQ(kl_region_attach(&region, path, NULL), KL_OK);
    KL_CHECK_LE(0, kl_region_join(region, 0));
    kl_counter *counter = (kl_counter *)(void *)kl_region_data(region);
    kl_counter_cell *cell = kl_counter_cell_of(counter, (uint32_t)kl_region_thread_join(region));
    kl_steps_kill_at(*(uint64_t *)k);
    for (uint32_t i = 0; i < 4; i++) kl_counter_add_sp(cell, 1000);
    kl_steps_kill_at(0);
    return 0;
}

KL_TEST(kl_counter_an_add_killed_at_every_step_counts_whole_or_not_at_all) {
    kl_region *region = NULL;
    snprintf(path, sizeof path, "%s/region", kl_test_folder());
    kl_region_spec spec = {.kind = 1};
    KL_CHECK_EQ(kl_region_create(&region, path, sizeof(kl_counter), &spec), KL_OK);
    kl_counter *counter = (kl_counter *)(void *)kl_region_data(region);
    kl_counter_format(counter);
    KL_CHECK_EQ(kl_region_publish(region), KL_OK);
    KL_CHECK_LE(0, kl_region_join(region, 0));
    int end = 1;
    for (uint64_t k = 1; end != 0; k++) {
        uint64_t before = kl_counter_value(counter);
        end = kl_test_join(kl_test_fork(add_killed_at, &k));
        if (end != 0) KL_CHECK_EQ(end, 128 + SIGKILL);
        /* Two steps an add, a load and a store: killed before the k-th, k - 1 are done. */
        uint64_t whole = end == 0 ? 4 : (k - 1) / 2;
        KL_CHECK_EQ(kl_counter_value(counter) - before, whole * 1000);
    }
    kl_region_close(region);
}
