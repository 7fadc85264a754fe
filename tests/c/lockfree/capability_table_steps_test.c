/* Killed at every step: each operation of a capability table dies before each of its atomics, and so
 * does the repair after it. What is left is a table in which the operation happened or did not. */
#include "lockfree/capability_table.h"

#include "tests/c/model/steps.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ  1ull
#define WRITE 2ull
#define OTHER 4ull
#define NONE  1000000u /* a step that no operation has */

enum operation { INSERT, DELEGATE, END, REVOKE, GRANT, OPERATIONS };

typedef struct {
    enum operation operation;
    uint64_t kill_at;
} plan;

static char path[512];
static kl_region *region;
static kl_capability_table table;
static kl_capability root, child, grandchild;

static void open_region(void) {
    kl_region_spec spec = {.kind = 1};
    snprintf(path, sizeof path, "%s/region", kl_test_folder());
    uint64_t bytes = kl_capability_table_memory_bytes(1);
    KL_CHECK_EQ(kl_region_create(&region, path, bytes, &spec), KL_OK);
    KL_CHECK_EQ(kl_region_publish(region), KL_OK);
    KL_CHECK_LE(0, kl_region_join(region, 0));
}

/* Keys 1, 2 and 3, each come from the one before. */
static void reset(void) {
    KL_CHECK_EQ(kl_capability_table_format(kl_region_data(region), 1), KL_OK);
    KL_CHECK_EQ(kl_capability_table_grip(&table, region, kl_region_data(region),
                                         kl_region_data_bytes(region)),
                KL_OK);
    KL_CHECK_EQ(kl_capability_table_insert(&table, 1, READ | WRITE, &root), KL_OK);
    KL_CHECK_EQ(kl_capability_table_delegate(&table, root, 2, READ | WRITE, &child), KL_OK);
    KL_CHECK_EQ(kl_capability_table_delegate(&table, child, 3, READ | WRITE, &grandchild), KL_OK);
}

static int32_t run(kl_capability_table *own, enum operation operation) {
    kl_capability out = 0;
    switch (operation) {
    case INSERT: return kl_capability_table_insert(own, 4, READ, &out);
    case DELEGATE: return kl_capability_table_delegate(own, grandchild, 4, READ, &out);
    case END: return kl_capability_table_end(own, root);
    case REVOKE: return kl_capability_table_revoke(own, root, WRITE);
    default: return kl_capability_table_grant(own, root, OTHER);
    }
}

static kl_capability_table attach(void) {
    kl_region *own = NULL;
    kl_capability_table it;
    KL_CHECK_EQ(kl_region_attach(&own, path, NULL), KL_OK);
    KL_CHECK_LE(0, kl_region_join(own, 0));
    KL_CHECK_EQ(kl_capability_table_grip(&it, own, kl_region_data(own), kl_region_data_bytes(own)),
                KL_OK);
    return it;
}

static int act(void *argument) {
    plan *it = argument;
    kl_capability_table own = attach();
    kl_steps_kill_at(it->kill_at);
    int32_t status = run(&own, it->operation);
    kl_steps_kill_at(0);
    return status == KL_OK ? 0 : 3;
}

/* Whoever next changes permissions repairs. */
static int repair(void *k) {
    kl_capability_table own = attach();
    kl_steps_kill_at(*(uint64_t *)k);
    int32_t status = kl_capability_table_grant(&own, root, 0);
    kl_steps_kill_at(0);
    return status == KL_OK || status == KL_ERR_NOT_FOUND ? 0 : 3;
}

/* The survivor finds the operation done or not, all of it at once, and everything still works. */
static void check_after(const plan *it, bool ended) {
    uint64_t before = kl_test_now_ns(), mask[3];
    bool live[3];
    kl_capability all[3] = {root, child, grandchild}, out = 0, known = 0;
    for (uint32_t i = 0; i < 3; i++)
        live[i] = kl_capability_table_permissions(&table, all[i], &mask[i]) == KL_OK;
    KL_CHECK(live[1] == live[0] && live[2] == live[0]);
    KL_CHECK(live[0] ? !(ended && it->operation == END) : it->operation == END);
    if (live[0]) {
        KL_CHECK_EQ(mask[1] & WRITE, mask[0] & WRITE);
        KL_CHECK_EQ(mask[2] & WRITE, mask[0] & WRITE);
        if (it->operation != REVOKE) KL_CHECK(mask[0] & WRITE);
        if (ended && it->operation == REVOKE) KL_CHECK(!(mask[0] & WRITE));
        if (ended && it->operation == GRANT) KL_CHECK(mask[0] & OTHER);
    }
    bool made = it->operation == INSERT || it->operation == DELEGATE;
    bool there = kl_capability_table_find(&table, 4, &known) == KL_OK;
    KL_CHECK(!there || made);
    KL_CHECK(there || !made || !ended);
    if (!there) KL_CHECK_EQ(kl_capability_table_insert(&table, 4, READ, &known), KL_OK);
    KL_CHECK_EQ(kl_capability_table_grant(&table, known, 0), KL_OK); /* repairs */
    KL_CHECK_EQ(kl_capability_table_verify(&table), KL_OK);
    if (live[0]) { /* what was taken does not come back to those below */
        uint64_t taken = ~mask[0] & WRITE;
        KL_CHECK_EQ(kl_capability_table_grant(&table, root, WRITE), KL_OK);
        KL_CHECK_EQ(kl_capability_table_check(&table, grandchild, WRITE), taken == 0);
        KL_CHECK_EQ(kl_capability_table_revoke(&table, root, READ), KL_OK);
        KL_CHECK(!kl_capability_table_check(&table, grandchild, READ));
        KL_CHECK_EQ(kl_capability_table_end(&table, root), KL_OK);
    }
    /* Every slot can be used: nothing that a dead one left stays in the way. */
    uint32_t count = kl_capability_table_count(&table);
    for (uint64_t key = 100; count < table.slots; key++, count++)
        KL_CHECK_EQ(kl_capability_table_insert(&table, key, READ, &out), KL_OK);
    KL_CHECK_EQ(kl_capability_table_insert(&table, 99, READ, &out), KL_ERR_LIMIT);
    KL_CHECK_LT(kl_test_now_ns() - before, 1000000000ull);
}

static bool run_plan(plan it, uint64_t second, bool *second_ended) {
    reset();
    int end = kl_test_join(kl_test_fork(act, &it));
    KL_CHECK(end == 0 || end == 128 + SIGKILL);
    *second_ended = true;
    if (second != NONE) {
        int next = kl_test_join(kl_test_fork(repair, &second));
        KL_CHECK(next == 0 || next == 128 + SIGKILL);
        *second_ended = next == 0;
    }
    check_after(&it, end == 0);
    return end == 0;
}

KL_TEST(kl_capability_table_C1_an_operation_killed_at_every_step_happened_or_did_not) {
    open_region();
    bool ended, second_ended;
    uint32_t kills = 0;
    for (uint32_t operation = 0; operation < OPERATIONS; operation++) {
        plan it = {(enum operation)operation, 1};
        for (ended = false; !ended; it.kill_at++, kills++)
            ended = run_plan(it, NONE, &second_ended);
    }
    KL_CHECK_LT(100, kills);
    kl_region_close(region);
}

KL_TEST(kl_capability_table_C1_a_repair_killed_at_every_step_leaves_it_to_the_next) {
    open_region();
    bool ended = false;
    /* In the middle of a revoke: after the mask, within the walk. A sample of both, or all steps. */
    bool all = getenv("KEELSON_LONG") != NULL;
    for (plan it = {REVOKE, 2}; !ended; it.kill_at += all ? 1 : 23) {
        bool second_ended = false;
        for (uint64_t second = 1; !second_ended; second += all ? 1 : 5)
            ended = run_plan(it, second, &second_ended);
    }
    kl_region_close(region);
}

/* ---- somebody else acts before every step ---- */

static int32_t rival_status;

static void revoke_meanwhile(void) {
    KL_CHECK_EQ(kl_capability_table_revoke(&table, root, WRITE), KL_OK);
}

static void end_meanwhile(void) {
    KL_CHECK_EQ(kl_capability_table_end(&table, root), KL_OK);
}

static void insert_meanwhile(void) {
    kl_capability out = 0;
    rival_status = kl_capability_table_insert(&table, 4, WRITE, &out);
}

/* Delegates with `hook` before its step k; false when it has no such step. */
static bool meanwhile(uint64_t k, void (*hook)(void), int32_t *status, kl_capability *out) {
    reset();
    uint64_t before = kl_steps_count();
    kl_steps_pause_at(k, hook);
    *status = kl_capability_table_delegate(&table, grandchild, 4, READ | WRITE, out);
    kl_steps_pause_at(0, NULL);
    return kl_steps_count() - before >= k;
}

KL_TEST(kl_capability_table_C1_a_revoke_before_every_step_of_a_delegation_narrows_its_child) {
    open_region();
    int32_t status = 0;
    kl_capability out = 0;
    uint64_t k = 1;
    for (; meanwhile(k, revoke_meanwhile, &status, &out); k++) {
        KL_CHECK(status == KL_OK || status == KL_ERR_PERMISSION);
        KL_CHECK_EQ(kl_capability_table_verify(&table), KL_OK);
        kl_capability all[3] = {root, child, grandchild};
        for (uint32_t i = 0; i < 3; i++)
            KL_CHECK_EQ(kl_capability_table_grant(&table, all[i], WRITE), KL_OK);
        if (status == KL_OK) KL_CHECK(!kl_capability_table_check(&table, out, WRITE));
        if (status == KL_OK) KL_CHECK(kl_capability_table_check(&table, out, READ));
    }
    KL_CHECK_LT(30, k);
    kl_region_close(region);
}

KL_TEST(kl_capability_table_C1_an_end_before_every_step_of_a_delegation_leaves_no_live_child) {
    open_region();
    int32_t status = 0;
    kl_capability out = 0, known = 0;
    for (uint64_t k = 1; meanwhile(k, end_meanwhile, &status, &out); k++) {
        KL_CHECK(status == KL_OK || status == KL_ERR_NOT_FOUND);
        if (status == KL_OK) KL_CHECK(!kl_capability_table_check(&table, out, 0));
        KL_CHECK_EQ(kl_capability_table_count(&table), 0);
        KL_CHECK_EQ(kl_capability_table_find(&table, 4, &known), KL_ERR_NOT_FOUND);
        KL_CHECK_EQ(kl_capability_table_insert(&table, 4, READ, &known), KL_OK);
        KL_CHECK_EQ(kl_capability_table_verify(&table), KL_OK);
    }
    kl_region_close(region);
}

KL_TEST(kl_capability_table_C1_a_rival_before_every_step_of_a_delegation_and_one_key_is_live) {
    open_region();
    int32_t status = 0;
    kl_capability out = 0, known = 0;
    for (uint64_t k = 1; meanwhile(k, insert_meanwhile, &status, &out); k++) {
        KL_CHECK((status == KL_OK) != (rival_status == KL_OK));
        KL_CHECK(status == KL_OK || status == KL_ERR_EXISTS);
        KL_CHECK_EQ(kl_capability_table_find(&table, 4, &known), KL_OK);
        KL_CHECK_EQ(kl_capability_table_count(&table), 4);
        KL_CHECK_EQ(kl_capability_table_verify(&table), KL_OK);
    }
    kl_region_close(region);
}
