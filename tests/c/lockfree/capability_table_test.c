#include "lockfree/capability_table.h"

#include "base/random.h"
#include "tests/c/harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ  1ull
#define WRITE 2ull
#define ADMIN (1ull << 63)
#define ALL   UINT64_MAX

static char path[512];

/* A table in a region of its own, joined. */
static kl_region *new_table(kl_capability_table *table, uint64_t capacity) {
    kl_region *region = NULL;
    kl_region_spec spec = {.kind = 1};
    snprintf(path, sizeof path, "%s/region", kl_test_folder());
    unlink(path);
    uint64_t bytes = kl_capability_table_memory_bytes(capacity);
    KL_CHECK_EQ(kl_region_create(&region, path, bytes, &spec), KL_OK);
    KL_CHECK_EQ(kl_capability_table_format(kl_region_data(region), capacity), KL_OK);
    KL_CHECK_EQ(kl_region_publish(region), KL_OK);
    KL_CHECK_LE(0, kl_region_join(region, 0));
    KL_CHECK_EQ(kl_capability_table_grip(table, region, kl_region_data(region),
                                         kl_region_data_bytes(region)),
                KL_OK);
    return region;
}

static kl_region *attach(kl_capability_table *table) {
    kl_region *region = NULL;
    KL_CHECK_EQ(kl_region_attach(&region, path, NULL), KL_OK);
    KL_CHECK_LE(0, kl_region_join(region, 0));
    KL_CHECK_EQ(kl_capability_table_grip(table, region, kl_region_data(region),
                                         kl_region_data_bytes(region)),
                KL_OK);
    return region;
}

static kl_capability insert(kl_capability_table *table, uint64_t key, uint64_t mask) {
    kl_capability capability = 0;
    KL_CHECK_EQ(kl_capability_table_insert(table, key, mask, &capability), KL_OK);
    return capability;
}

static kl_capability derive(kl_capability_table *table, kl_capability parent, uint64_t key,
                            uint64_t mask) {
    kl_capability capability = 0;
    KL_CHECK_EQ(kl_capability_table_delegate(table, parent, key, mask, &capability), KL_OK);
    return capability;
}

KL_TEST(kl_capability_table_format_refuses_capacities_out_of_range) {
    KL_CHECK_EQ(kl_capability_table_memory_bytes(0), 0);
    KL_CHECK_EQ(kl_capability_table_memory_bytes((1u << 19) + 1), 0);
    KL_CHECK_EQ(kl_capability_table_memory_bytes(UINT64_MAX), 0);
    KL_CHECK_EQ(kl_capability_table_format(NULL, 0), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_capability_table_memory_bytes(1000), 128 + 2048 * 72);
}

KL_TEST(kl_capability_table_C1_permits_what_was_given_and_children_no_more_than_their_parents) {
    kl_capability_table table;
    kl_region *region = new_table(&table, 100);
    kl_capability root = insert(&table, 1, READ | WRITE | ADMIN), known = 0, none = 0;
    KL_CHECK_EQ(kl_capability_table_insert(&table, 1, READ, &none), KL_ERR_EXISTS);
    KL_CHECK_EQ(kl_capability_table_find(&table, 1, &known), KL_OK);
    KL_CHECK_EQ(known, root);
    KL_CHECK_EQ(kl_capability_table_find(&table, 2, &known), KL_ERR_NOT_FOUND);
    KL_CHECK(kl_capability_table_check(&table, root, ADMIN | READ));
    KL_CHECK(!kl_capability_table_check(&table, root, 4));
    KL_CHECK_EQ(kl_capability_table_delegate(&table, root, 2, 4, &none), KL_ERR_PERMISSION);
    kl_capability child = derive(&table, root, 2, READ | WRITE);
    kl_capability grandchild = derive(&table, child, 3, READ | WRITE);
    KL_CHECK_EQ(kl_capability_table_grant(&table, child, ADMIN), KL_OK);
    KL_CHECK_EQ(kl_capability_table_grant(&table, child, 4), KL_ERR_PERMISSION);
    KL_CHECK(kl_capability_table_check(&table, child, ADMIN));
    KL_CHECK(!kl_capability_table_check(&table, grandchild, ADMIN));
    /* Bits that are taken are gone below, also when they are given again above. */
    KL_CHECK_EQ(kl_capability_table_revoke(&table, root, WRITE), KL_OK);
    KL_CHECK(!kl_capability_table_check(&table, grandchild, WRITE));
    KL_CHECK(kl_capability_table_check(&table, grandchild, READ));
    KL_CHECK_EQ(kl_capability_table_grant(&table, root, WRITE), KL_OK);
    KL_CHECK(kl_capability_table_check(&table, root, WRITE));
    KL_CHECK(!kl_capability_table_check(&table, child, WRITE));
    KL_CHECK(!kl_capability_table_check(&table, grandchild, WRITE));
    KL_CHECK_EQ(kl_capability_table_grant(&table, grandchild, WRITE), KL_ERR_PERMISSION);
    KL_CHECK_EQ(kl_capability_table_verify(&table), KL_OK);
    KL_CHECK_EQ(kl_capability_table_count(&table), 3);
    /* Ending one ends what came from it, at once. */
    KL_CHECK_EQ(kl_capability_table_end(&table, child), KL_OK);
    KL_CHECK(!kl_capability_table_check(&table, grandchild, 0));
    KL_CHECK_EQ(kl_capability_table_find(&table, 3, &known), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_capability_table_end(&table, child), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_capability_table_revoke(&table, grandchild, READ), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_capability_table_grant(&table, grandchild, READ), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_capability_table_delegate(&table, child, 9, 0, &none), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_capability_table_count(&table), 1);
    /* Its key may come again; the old number stays dead. */
    kl_capability next = insert(&table, 3, READ);
    KL_CHECK_NE(next, grandchild);
    KL_CHECK(!kl_capability_table_check(&table, grandchild, 0));
    KL_CHECK(!kl_capability_table_check(&table, 0, 0));
    KL_CHECK(!kl_capability_table_check(&table, UINT64_MAX, 0));
    kl_region_close(region);
}

KL_TEST(kl_capability_table_C1_a_line_of_delegations_has_a_limit) {
    kl_capability_table table;
    kl_region *region = new_table(&table, 64);
    kl_capability last = insert(&table, 0, ALL), none = 0;
    for (uint64_t key = 1; key < KL_CAPABILITY_DEPTH_MAX; key++)
        last = derive(&table, last, key, ALL);
    KL_CHECK(kl_capability_table_check(&table, last, ALL));
    KL_CHECK_EQ(kl_capability_table_delegate(&table, last, 99, 0, &none), KL_ERR_LIMIT);
    kl_region_close(region);
}

KL_TEST(kl_capability_table_C1_holds_what_it_was_made_for_with_any_keys_and_refuses_more) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (uint64_t capacity = 1; capacity <= 4096; capacity *= 4) {
        kl_capability_table table;
        kl_region *region = new_table(&table, capacity);
        uint64_t stride = capacity % 2 ? 1ull << 32 : kl_random_u64(&random) | 1;
        for (uint64_t i = 0; i < capacity; i++) insert(&table, i * stride, i);
        for (uint64_t i = 0; i < capacity; i++) {
            kl_capability known = 0;
            KL_CHECK_EQ(kl_capability_table_find(&table, i * stride, &known), KL_OK);
            KL_CHECK(kl_capability_table_check(&table, known, i));
        }
        KL_CHECK_EQ(kl_capability_table_verify(&table), KL_OK);
        kl_capability none = 0;
        int32_t status = KL_OK;
        uint64_t more = 0;
        for (; status == KL_OK; more++)
            status = kl_capability_table_insert(&table, (capacity + more) * stride, 1, &none);
        KL_CHECK_EQ(status, KL_ERR_LIMIT);
        KL_CHECK_LE(more - 1, table.slots);
        kl_region_close(region);
    }
}

/* A slot that ends up free over and over is as quick to find as in the beginning: there is nothing
 * that a lookup would have to step over. */
KL_TEST(kl_capability_table_C1_deletions_leave_nothing_behind) {
    kl_capability_table table;
    kl_region *region = new_table(&table, 1000);
    static kl_capability live[1000];
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (uint64_t i = 0; i < 1000; i++) live[i] = insert(&table, i, i);
    uint64_t next = 1000;
    for (uint32_t round = 0; round < (kl_test_slow() ? 5000u : 100000u); round++) {
        uint64_t at = kl_random_below(&random, 1000);
        KL_CHECK_EQ(kl_capability_table_end(&table, live[at]), KL_OK);
        live[at] = insert(&table, next++, 1);
    }
    KL_CHECK_EQ(kl_capability_table_count(&table), 1000);
    KL_CHECK_EQ(kl_capability_table_verify(&table), KL_OK);
    kl_region_close(region);
}

KL_TEST(kl_capability_table_retires_a_slot_whose_generations_are_used_up) {
    kl_capability_table table;
    kl_region *region = new_table(&table, 1); /* 32 slots, all of them candidates of each key */
    for (uint32_t slot = 0; slot < table.slots; slot++)
        atomic_store(&table.entries[slot].control, (uint64_t)KL_CAPABILITY_GENERATION_MAX << 34);
    kl_capability old[32], none = 0;
    for (uint64_t i = 0; i < 32; i++) old[i] = insert(&table, i, READ);
    for (uint64_t i = 0; i < 32; i++) KL_CHECK_LT(old[i], 1ull << 50);
    for (uint64_t i = 0; i < 32; i++) KL_CHECK_EQ(kl_capability_table_end(&table, old[i]), KL_OK);
    KL_CHECK_EQ(kl_capability_table_insert(&table, 1, READ, &none), KL_ERR_LIMIT);
    for (uint64_t i = 0; i < 32; i++) KL_CHECK(!kl_capability_table_check(&table, old[i], 0));
    kl_region_close(region);
}

/* ---- against a dull list ---- */

#define MODEL_MAX 64
typedef struct {
    kl_capability number;
    uint64_t key, mask;
    uint32_t parent; /* index, or MODEL_MAX */
    bool live;
} model_entry;
static model_entry model[MODEL_MAX];

static bool comes_from(uint32_t index, uint32_t ancestor) {
    while (index != MODEL_MAX && index != ancestor) index = model[index].parent;
    return index == ancestor;
}

static uint32_t model_depth(uint32_t index) {
    uint32_t depth = 0;
    for (; index != MODEL_MAX; index = model[index].parent) depth++;
    return depth;
}

static bool key_is_live(uint64_t key) {
    for (uint32_t i = 0; i < MODEL_MAX; i++)
        if (model[i].live && model[i].key == key) return true;
    return false;
}

static void make_one(kl_capability_table *table, kl_random *random, uint32_t at) {
    uint64_t key = kl_random_below(random, 80), mask = kl_random_u64(random);
    uint32_t parent = (uint32_t)kl_random_below(random, 2 * MODEL_MAX);
    if (parent >= MODEL_MAX || !model[parent].live) parent = MODEL_MAX;
    if (parent != MODEL_MAX && kl_random_below(random, 4) != 0) mask &= model[parent].mask;
    bool allowed = parent == MODEL_MAX || (mask & ~model[parent].mask) == 0;
    kl_capability number = 0;
    int32_t status = parent == MODEL_MAX ? kl_capability_table_insert(table, key, mask, &number)
                                         : kl_capability_table_delegate(table, model[parent].number,
                                                                        key, mask, &number);
    KL_CHECK_EQ(status, !allowed ? KL_ERR_PERMISSION
                        : parent != MODEL_MAX && model_depth(parent) >= KL_CAPABILITY_DEPTH_MAX
                            ? KL_ERR_LIMIT
                        : key_is_live(key) ? KL_ERR_EXISTS
                                           : KL_OK);
    if (status == KL_OK) model[at] = (model_entry){number, key, mask, parent, true};
}

static void change_one(kl_capability_table *table, kl_random *random, uint32_t at) {
    uint64_t mask = kl_random_u64(random) & kl_random_u64(random);
    model_entry *it = &model[at];
    switch (kl_random_below(random, 4)) {
    case 0: {
        KL_CHECK_EQ(kl_capability_table_end(table, it->number), KL_OK);
        for (uint32_t i = 0; i < MODEL_MAX; i++)
            if (model[i].live && i != at && comes_from(i, at)) model[i].live = false;
        it->live = false;
        break;
    }
    case 1: {
        KL_CHECK_EQ(kl_capability_table_revoke(table, it->number, mask), KL_OK);
        for (uint32_t i = 0; i < MODEL_MAX; i++)
            if (model[i].live && comes_from(i, at)) model[i].mask &= ~mask;
        break;
    }
    default: {
        uint64_t above = it->parent == MODEL_MAX ? ALL : model[it->parent].mask;
        int32_t status = kl_capability_table_grant(table, it->number, mask);
        KL_CHECK_EQ(status, (mask & ~above) == 0 ? KL_OK : KL_ERR_PERMISSION);
        if (status == KL_OK) it->mask |= mask;
    }
    }
}

static void compare_all(const kl_capability_table *table) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < MODEL_MAX; i++) {
        uint64_t mask = 0;
        kl_capability known = 0;
        if (model[i].number == 0) continue;
        KL_CHECK_EQ(kl_capability_table_permissions(table, model[i].number, &mask),
                    model[i].live ? KL_OK : KL_ERR_NOT_FOUND);
        if (!model[i].live) continue;
        count++;
        KL_CHECK_EQ(mask, model[i].mask);
        KL_CHECK_EQ(kl_capability_table_find(table, model[i].key, &known), KL_OK);
        KL_CHECK_EQ(known, model[i].number);
    }
    KL_CHECK_EQ(kl_capability_table_count(table), count);
    KL_CHECK_EQ(kl_capability_table_verify(table), KL_OK);
}

KL_TEST(kl_capability_table_C1_behaves_like_a_dull_list) {
    kl_capability_table table;
    kl_region *region = new_table(&table, MODEL_MAX);
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    memset(model, 0, sizeof model);
    for (uint32_t i = 0; i < (kl_test_slow() ? 2000u : 20000u); i++) {
        uint32_t at = (uint32_t)kl_random_below(&random, MODEL_MAX);
        if (model[at].live) {
            change_one(&table, &random, at);
        } else {
            /* Its place in the list is reused: what came from it is dead, too. */
            for (uint32_t k = 0; k < MODEL_MAX; k++)
                if (model[k].parent == at) model[k].number = 0, model[k].parent = MODEL_MAX;
            make_one(&table, &random, at);
        }
        if (i % 50 == 0) compare_all(&table);
    }
    kl_region_close(region);
}

/* ---- threads ---- */

typedef struct {
    kl_capability_table *table;
    kl_capability parent;
    uint64_t key;
    _Atomic uint32_t made, refused, ready;
    _Atomic uint64_t children[2000];
} crowd;

static void create_and_look_up(void *argument, uint32_t index) {
    crowd *it = argument;
    kl_capability known = 0;
    for (uint64_t i = 0; i < 100; i++) insert(it->table, index * 100 + i, index);
    for (uint64_t i = 0; i < 1000; i++) {
        KL_CHECK_EQ(kl_capability_table_find(it->table, index * 100 + i % 100, &known), KL_OK);
        KL_CHECK(kl_capability_table_check(it->table, known, index));
    }
}

KL_TEST(kl_capability_table_C1_four_threads_create_a_hundred_and_look_up_a_thousand_each) {
    kl_capability_table table;
    kl_region *region = new_table(&table, 400);
    crowd it = {.table = &table};
    kl_test_threads(4, create_and_look_up, &it);
    KL_CHECK_EQ(kl_capability_table_count(&table), 400);
    KL_CHECK_EQ(kl_capability_table_verify(&table), KL_OK);
    kl_region_close(region);
}

static void create_the_same(void *argument, uint32_t index) {
    crowd *it = argument;
    kl_capability mine = 0;
    (void)index;
    int32_t status = kl_capability_table_insert(it->table, it->key, READ, &mine);
    KL_CHECK(status == KL_OK || status == KL_ERR_EXISTS);
    if (status == KL_OK) it->made++;
}

KL_TEST(kl_capability_table_C1_of_creators_of_one_key_exactly_one_succeeds) {
    kl_capability_table table;
    kl_region *region = new_table(&table, 16);
    for (uint32_t round = 0; round < (kl_test_slow() ? 100u : 1500u); round++) {
        crowd it = {.table = &table, .key = round % 5};
        kl_capability known = 0;
        kl_test_threads(3, create_the_same, &it);
        KL_CHECK_EQ(it.made, 1);
        KL_CHECK_EQ(kl_capability_table_find(&table, it.key, &known), KL_OK);
        KL_CHECK_EQ(kl_capability_table_count(&table), 1);
        KL_CHECK_EQ(kl_capability_table_end(&table, known), KL_OK);
    }
    kl_region_close(region);
}

static void delegate_on_and_on(crowd *it) {
    kl_capability last = it->parent, child = 0;
    for (uint32_t i = 0; i < 300; i++) {
        uint64_t mask = READ | WRITE;
        int32_t status = kl_capability_table_delegate(it->table, last, 100 + i, mask, &child);
        if (status == KL_ERR_PERMISSION)
            status = kl_capability_table_delegate(it->table, last, 100 + i, READ, &child);
        if (status == KL_ERR_NOT_FOUND) break;
        KL_CHECK_EQ(status, KL_OK);
        it->children[it->made++] = child;
        last = i % 5 == 4 ? it->parent : child; /* chains of five */
        if (i == 20) it->ready = 1;
    }
    it->ready = 1;
}

static void delegate_while_ended(void *argument, uint32_t index) {
    crowd *it = argument;
    if (index == 0) {
        delegate_on_and_on(it);
        return;
    }
    while (!it->ready) kl_cpu_pause();
    KL_CHECK_EQ(kl_capability_table_end(it->table, it->parent), KL_OK);
}

KL_TEST(kl_capability_table_C1_ending_leaves_no_live_descendant_though_delegations_race_it) {
    kl_capability_table table;
    kl_region *region = new_table(&table, 400);
    static crowd it;
    for (uint32_t round = 0; round < (kl_test_slow() ? 20u : 300u); round++) {
        memset(&it, 0, sizeof it);
        it.table = &table;
        it.parent = insert(&table, 1, ALL);
        kl_test_threads(2, delegate_while_ended, &it);
        KL_CHECK_LT(0, it.made);
        for (uint32_t i = 0; i < it.made; i++)
            KL_CHECK(!kl_capability_table_check(&table, it.children[i], 0));
        KL_CHECK_EQ(kl_capability_table_count(&table), 0);
        KL_CHECK_EQ(kl_capability_table_verify(&table), KL_OK);
    }
    kl_region_close(region);
}

static void delegate_while_narrowed(void *argument, uint32_t index) {
    crowd *it = argument;
    if (index == 0) {
        delegate_on_and_on(it);
        return;
    }
    while (!it->ready) kl_cpu_pause();
    KL_CHECK_EQ(kl_capability_table_revoke(it->table, it->parent, WRITE), KL_OK);
}

KL_TEST(kl_capability_table_C1_bits_taken_come_back_to_no_descendant_though_delegations_race) {
    kl_capability_table table;
    kl_region *region = new_table(&table, 400);
    static crowd it;
    for (uint32_t round = 0; round < (kl_test_slow() ? 10u : 150u); round++) {
        memset(&it, 0, sizeof it);
        it.table = &table;
        it.parent = insert(&table, 1, ALL);
        kl_test_threads(2, delegate_while_narrowed, &it);
        KL_CHECK_EQ(kl_capability_table_verify(&table), KL_OK);
        KL_CHECK_EQ(kl_capability_table_grant(&table, it.parent, WRITE), KL_OK);
        for (uint32_t i = 0; i < it.made; i++) {
            KL_CHECK(kl_capability_table_check(&table, it.children[i], READ));
            KL_CHECK(!kl_capability_table_check(&table, it.children[i], WRITE));
        }
        KL_CHECK_EQ(kl_capability_table_end(&table, it.parent), KL_OK);
    }
    kl_region_close(region);
}

/* ---- processes ---- */

static void do_anything(kl_capability_table *table, kl_random *random) {
    kl_capability one = 0, other = 0, root = 0;
    uint64_t key = 10 + kl_random_below(random, 40), bits = kl_random_u64(random) & ~ADMIN;
    bool known = kl_capability_table_find(table, key, &one) == KL_OK;
    KL_CHECK_EQ(kl_capability_table_find(table, 1, &root), KL_OK);
    switch (kl_random_below(random, 6)) {
    case 0: kl_capability_table_insert(table, key, bits, &other); break;
    case 1: kl_capability_table_delegate(table, root, key, bits, &other); break;
    case 2:
        if (known) kl_capability_table_delegate(table, one, key + 7, bits & 0xffff, &other);
        break;
    case 3:
        if (known) kl_capability_table_end(table, one);
        break;
    case 4:
        if (known) kl_capability_table_grant(table, one, bits);
        break;
    default:
        if (known) kl_capability_table_revoke(table, one, bits);
    }
}

static int do_anything_until_killed(void *argument) {
    kl_capability_table table;
    kl_random random;
    attach(&table);
    kl_random_init(&random, *(uint64_t *)argument);
    while (table.slots > 0) do_anything(&table, &random);
    return 0;
}

KL_TEST(kl_capability_table_C1_processes_that_are_killed_break_nothing) {
    kl_capability_table table;
    kl_region *region = new_table(&table, 64);
    uint64_t seed = kl_test_seed();
    kl_random random;
    kl_random_init(&random, seed);
    kl_capability root = insert(&table, 1, ~ADMIN);
    for (uint32_t round = 0; round < (kl_test_slow() ? 8u : 40u); round++) {
        int children[2];
        for (uint32_t i = 0; i < 2; i++) {
            seed += 77;
            children[i] = kl_test_fork(do_anything_until_killed, &seed);
        }
        usleep((useconds_t)kl_random_below(&random, 8000));
        for (uint32_t i = 0; i < 2; i++) kill(children[i], SIGKILL);
        for (uint32_t i = 0; i < 2; i++) KL_CHECK_EQ(kl_test_join(children[i]), 128 + SIGKILL);
        uint64_t before = kl_test_now_ns();
        KL_CHECK_EQ(kl_capability_table_grant(&table, root, 0), KL_OK); /* repairs, if need be */
        for (uint32_t i = 0; i < 30; i++) do_anything(&table, &random);
        KL_CHECK_LT(kl_test_now_ns() - before, 1000000000ull);
        KL_CHECK_EQ(kl_capability_table_verify(&table), KL_OK);
        KL_CHECK(!kl_capability_table_check(&table, root, ADMIN));
    }
    KL_CHECK_EQ(kl_capability_table_end(&table, root), KL_OK);
    kl_region_close(region);
}

/* ---- hostile memory ---- */

static void use_all(kl_capability_table *table) {
    kl_capability some = 0, known = 0;
    uint64_t mask = 0;
    for (uint64_t key = 0; key < 6; key++) {
        kl_capability_table_insert(table, key, ALL, &some);
        kl_capability_table_find(table, key + 1, &known);
        kl_capability_table_delegate(table, known, key + 9, 3, &some);
        kl_capability_table_permissions(table, known, &mask);
        kl_capability_table_revoke(table, known, 1);
        kl_capability_table_grant(table, some, 1);
        if (key % 2) kl_capability_table_end(table, known);
    }
    kl_capability_table_count(table);
    kl_capability_table_verify(table);
}

KL_TEST(kl_capability_table_answers_scribbled_memory_with_error_codes) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    kl_capability_table outer;
    kl_region *region = new_table(&outer, 4);
    uint64_t bytes = kl_capability_table_memory_bytes(4);
    for (uint32_t round = 0; round < (kl_test_slow() ? 60u : 400u); round++) {
        uint8_t *memory = aligned_alloc(KL_LINE_BYTES, (bytes + 63) & ~63ull);
        kl_capability_table table;
        KL_CHECK_EQ(kl_capability_table_format(memory, 4), KL_OK);
        if (round % 2)
            for (uint64_t i = 0; i < bytes; i++) memory[i] = (uint8_t)kl_random_u64(&random);
        else
            for (uint32_t i = 0; i < 200; i++)
                memory[kl_random_below(&random, bytes)] = (uint8_t)kl_random_u64(&random);
        if (round % 4 != 3) {
            memcpy(memory, outer.header, 16);
            if (round % 3) memset(memory + 64, 0, 64);
        }
        if (kl_capability_table_grip(&table, region, memory, bytes) == KL_OK) use_all(&table);
        free(memory);
    }
    kl_region_close(region);
}

/* ---- behind a handle ---- */

KL_TEST(kl_capability_table_behind_a_handle_refuses_what_is_no_number) {
    char name[64];
    snprintf(name, sizeof name, "test-capability-%d", (int)getpid());
    uint32_t table = 0, bytes = (uint32_t)strlen(name);
    const uint8_t *text = (const uint8_t *)name;
    uint8_t *out = (uint8_t *)&table;
    KL_CHECK_EQ(kl_capability_table_create(text, bytes, 0, out), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_capability_table_create(text, bytes, 10, out), KL_OK);
    KL_CHECK_EQ(kl_capability_table_remove(text, bytes), KL_OK);
    const double refused[] = {-1, 0.5, 9007199254740992.0, __builtin_nan(""), __builtin_inf()};
    for (uint32_t i = 0; i < 5; i++) {
        KL_CHECK(kl_capability_table_add(table, refused[i], 1, 0) == KL_ERR_ARGUMENT);
        KL_CHECK(kl_capability_table_derive(table, refused[i], 1, 1, 0) == KL_ERR_ARGUMENT);
        KL_CHECK_EQ(kl_capability_table_permits(table, refused[i], 1, 0), KL_ERR_ARGUMENT);
    }
    double root = kl_capability_table_add(table, 5, 3, 0x80000000u);
    KL_CHECK(root > 0);
    KL_CHECK(kl_capability_table_lookup(table, 5) == root);
    KL_CHECK(kl_capability_table_lookup(table, 6) == KL_ERR_NOT_FOUND);
    double child = kl_capability_table_derive(table, root, 6, 1, 0x80000000u);
    KL_CHECK_EQ(kl_capability_table_permits(table, child, 1, 0x80000000u), 1);
    KL_CHECK_EQ(kl_capability_table_take(table, root, 0, 0x80000000u), KL_OK);
    KL_CHECK_EQ(kl_capability_table_permits(table, child, 1, 0x80000000u), 0);
    uint64_t mask = 0;
    KL_CHECK_EQ(kl_capability_table_mask(table, child, (uint8_t *)&mask), KL_OK);
    KL_CHECK_EQ(mask, 1);
    KL_CHECK_EQ(kl_capability_table_give(table, child, 4, 0), KL_ERR_PERMISSION);
    KL_CHECK_EQ(kl_capability_table_size(table), 2);
    KL_CHECK_EQ(kl_capability_table_capacity(table), 10);
    KL_CHECK_EQ(kl_capability_table_audit(table), KL_OK);
    KL_CHECK_EQ(kl_capability_table_drop(table, root), KL_OK);
    KL_CHECK_EQ(kl_capability_table_size(table), 0);
    KL_CHECK_EQ(kl_capability_table_close(table), KL_OK);
    KL_CHECK_EQ(kl_capability_table_permits(table, child, 1, 0), KL_ERR_HANDLE);
}
