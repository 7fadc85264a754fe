/* Slots in shared memory: a process dies before each of its atomic operations. */
#include "sync/epoch.h"

#include "tests/c/model/steps.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SLOTS 3u

static char path[512];
static uint32_t returned;

static void give_back(kl_retired *node) {
    free(node);
    returned++;
}

static void retire_one(kl_epoch *epoch) {
    kl_epoch_retire(epoch, malloc(sizeof(kl_retired)), give_back);
}

static kl_region *attach(kl_epoch *epoch) {
    kl_region *region = NULL;
    KL_CHECK_EQ(kl_region_attach(&region, path, NULL), KL_OK);
    KL_CHECK_LE(0, kl_region_join(region, 0));
    KL_CHECK_EQ(kl_epoch_open_shared(epoch, region, kl_region_data(region), 4096, NULL), KL_OK);
    return region;
}

static void create(void) {
    kl_region *region = NULL;
    kl_region_spec spec = {.kind = 1};
    unlink(path);
    KL_CHECK_EQ(kl_region_create(&region, path, 4096, &spec), KL_OK);
    KL_CHECK_EQ(kl_grace_format(kl_region_data(region), SLOTS), KL_OK);
    KL_CHECK_EQ(kl_region_publish(region), KL_OK);
    kl_region_close(region);
}

/* Every operation once. */
static int use_killed_at(void *k) {
    kl_epoch epoch;
    kl_region *region = attach(&epoch);
    kl_steps_kill_at(*(uint64_t *)k);
    KL_CHECK_EQ(kl_epoch_enter(&epoch), KL_OK);
    KL_CHECK_EQ(kl_epoch_enter(&epoch), KL_OK);
    retire_one(&epoch);
    kl_epoch_leave(&epoch);
    KL_CHECK_LE(0, kl_epoch_advance(&epoch, 1));
    kl_epoch_refresh(&epoch);
    KL_CHECK_LE(0, kl_epoch_advance(&epoch, 1));
    kl_epoch_leave(&epoch);
    KL_CHECK_EQ(kl_epoch_drain(&epoch, KL_FOREVER), KL_OK);
    kl_epoch_close(&epoch);
    kl_steps_kill_at(0);
    kl_region_close(region);
    return 0;
}

/* All slots are for the living: none is lost, and what was announced is gone. */
static void recover(kl_epoch *epoch) {
    kl_grace_slot *mine[SLOTS];
    retire_one(epoch);
    KL_CHECK_EQ(kl_epoch_drain(epoch, KL_NS_PER_S), KL_OK);
    for (uint32_t i = 0; i < SLOTS - 1; i++) { /* one is this thread's: it has retired */
        mine[i] = kl_grace_claim(&epoch->grace);
        KL_CHECK(mine[i] != NULL);
        KL_CHECK(!kl_grace_is_reading(mine[i]));
    }
    KL_CHECK(kl_grace_claim(&epoch->grace) == NULL);
    for (uint32_t i = 0; i < SLOTS - 1; i++) kl_grace_give_back(mine[i]);
}

static int recover_killed_at(void *k) {
    kl_epoch epoch;
    kl_region *region = attach(&epoch);
    kl_steps_kill_at(*(uint64_t *)k);
    recover(&epoch);
    kl_steps_kill_at(0);
    kl_epoch_close(&epoch);
    kl_region_close(region);
    return 0;
}

static void survivor_goes_on(void) {
    kl_epoch epoch;
    kl_region *region = attach(&epoch);
    uint64_t before = kl_test_now_ns();
    returned = 0;
    recover(&epoch);
    KL_CHECK_EQ(returned, 1);
    KL_CHECK_EQ(kl_grace_readers(&epoch.grace), 1);
    if (!kl_test_slow()) KL_CHECK_LE(kl_test_now_ns() - before, KL_NS_PER_S);
    kl_epoch_close(&epoch);
    kl_region_close(region);
}

static bool is_killed(int (*body)(void *), uint64_t k) {
    int end = kl_test_join(kl_test_fork(body, &k));
    KL_CHECK(end == 0 || end == 128 + SIGKILL);
    return end != 0;
}

KL_TEST(kl_epoch_survivors_go_on_when_a_process_dies_at_any_step_of_any_operation_R7) {
    snprintf(path, sizeof path, "%s/region", kl_test_folder());
    uint64_t k = 1;
    for (bool killed = true; killed; k++) {
        create();
        killed = is_killed(use_killed_at, k);
        survivor_goes_on();
    }
    KL_CHECK_LE(40, k); /* it has that many steps */
}

/* For each step of the first death the second one walks on; each pair is met in the long form. */
KL_TEST(kl_epoch_survivors_go_on_when_who_clears_after_a_death_dies_at_any_step_too_R7) {
    snprintf(path, sizeof path, "%s/region", kl_test_folder());
    uint64_t stride = getenv("KEELSON_LONG") ? 1 : 19;
    bool killed = true;
    for (uint64_t k = 1; killed; k++) {
        bool cleaner_killed = true;
        for (uint64_t j = 1 + k % stride; cleaner_killed; j += stride) {
            create();
            killed = is_killed(use_killed_at, k);
            cleaner_killed = is_killed(recover_killed_at, j);
            survivor_goes_on();
        }
    }
}
