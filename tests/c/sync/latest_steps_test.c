/* The writer of a latest value killed before each of its atomic steps. */
#include "sync/latest.h"

#include "tests/c/model/steps.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define VALUE_BYTES 30u

static char path[512];

typedef struct {
    kl_region *region;
    kl_latest latest;
    uint32_t self;
} end;

static void grip(end *one) {
    KL_CHECK_LE(0, kl_region_join(one->region, 0));
    KL_CHECK_EQ(kl_latest_grip(&one->latest, kl_region_data(one->region),
                               kl_region_data_bytes(one->region)),
                KL_OK);
    one->self = (uint32_t)kl_region_thread_join(one->region);
}

static end create(void) {
    end one = {0};
    snprintf(path, sizeof path, "%s/region", kl_test_folder());
    kl_region_spec spec = {.kind = 1};
    uint64_t bytes = kl_latest_memory_bytes(VALUE_BYTES);
    KL_CHECK_EQ(kl_region_create(&one.region, path, bytes, &spec), KL_OK);
    KL_CHECK_EQ(kl_latest_format(kl_region_data(one.region), VALUE_BYTES), KL_OK);
    KL_CHECK_EQ(kl_region_publish(one.region), KL_OK);
    grip(&one);
    return one;
}

static void fill(char *value, uint64_t version) {
    memset(value, 'a' + (int)(version % 20), VALUE_BYTES);
}

/* Sets two values: the cell of the second is another than that of the first. */
static int set_killed_at(void *k) {
    end one = {0};
    char value[VALUE_BYTES];
    KL_CHECK_EQ(kl_region_attach(&one.region, path, NULL), KL_OK);
    grip(&one);
    kl_steps_kill_at(*(uint64_t *)k);
    int32_t status = kl_latest_claim(&one.latest, one.region, one.self);
    for (uint32_t i = 0; i < 2 && status >= 0; i++) {
        fill(value, kl_latest_version(&one.latest) + 1);
        status = kl_latest_set_sp(&one.latest, value, VALUE_BYTES - i);
    }
    kl_steps_kill_at(0);
    return status < 0 ? 1 : 0;
}

static uint64_t check_whole(end *one) {
    char value[VALUE_BYTES], expected[VALUE_BYTES];
    uint64_t version;
    int32_t bytes = kl_latest_get(&one->latest, value, sizeof value, &version);
    KL_CHECK_EQ(version, kl_latest_version(&one->latest));
    if (version == 0) return 0;
    KL_CHECK_LE((int32_t)VALUE_BYTES - 1, bytes);
    fill(expected, version);
    KL_CHECK_BYTES(value, expected, (size_t)bytes);
    return version;
}

KL_TEST(kl_latest_the_writer_killed_at_every_step_leaves_a_whole_value_and_its_role) {
    end one = create();
    uint32_t torn = 0;
    for (uint64_t k = 1, ended = 1; ended != 0; k++) {
        uint64_t before = check_whole(&one);
        ended = (uint64_t)kl_test_join(kl_test_fork(set_killed_at, &k));
        if (ended != 0) KL_CHECK_EQ(ended, 128 + SIGKILL);
        uint64_t after = check_whole(&one);
        KL_CHECK_LE(after - before, 2);
        torn += atomic_load(&one.latest.header->writing) != after;
        if (ended == 0) KL_CHECK_EQ(after - before, 2);
        /* The next writer, killed at every step too, then one that lives. */
        for (uint64_t next = 1; next <= k && ended != 0; next += 5) {
            KL_CHECK_EQ(kl_test_join(kl_test_fork(set_killed_at, &next)), 128 + SIGKILL);
            after = check_whole(&one);
        }
        KL_CHECK_LE(0, kl_latest_claim(&one.latest, one.region, one.self));
        char value[VALUE_BYTES];
        for (uint32_t i = 0; i < KL_LATEST_CELLS + 1; i++) {
            fill(value, after + 1);
            KL_CHECK_EQ(kl_latest_set_sp(&one.latest, value, VALUE_BYTES), KL_OK);
            KL_CHECK_EQ(check_whole(&one), after + 1);
            after++;
        }
        kl_latest_release(&one.latest, one.self);
    }
    KL_CHECK_LT(5, torn); /* it was killed in the middle of cells */
    kl_region_close(one.region);
}
