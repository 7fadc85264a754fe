#include "mem/arena.h"

#include "base/random.h"
#include "tests/c/harness.h"

#include <stdlib.h>
#include <string.h>

#define PAGE 4096u

static kl_numa ring;

/* Four nodes in a ring with `pages` pages each. */
static kl_arena *new_arena(uint64_t pages) {
    kl_arena *arena = NULL;
    KL_CHECK_EQ(kl_numa_simulate(&ring, KL_NUMA_RING, 4, 2, 1ull << 30), KL_OK);
    KL_CHECK_EQ(kl_arena_open(&arena, &ring, pages * PAGE, false), KL_OK);
    return arena;
}

static void *take(kl_arena *arena, uint64_t pages, uint32_t policy, uint32_t node) {
    void *block = NULL;
    KL_CHECK_EQ(kl_arena_alloc(arena, pages * PAGE, policy, node, &block), KL_OK);
    return block;
}

static void check_used(kl_arena *arena, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    const uint64_t wanted[] = {a, b, c, d};
    for (uint32_t node = 0; node < 4; node++)
        KL_CHECK_EQ(kl_arena_used(arena, node), wanted[node] * PAGE);
    KL_CHECK_EQ(kl_arena_verify(arena), KL_OK);
}

KL_TEST(kl_arena_N3_specific_takes_one_node_and_fails_when_it_is_full) {
    kl_arena *arena = new_arena(10);
    void *none = &none;
    take(arena, 7, KL_ARENA_SPECIFIC, 2);
    KL_CHECK_EQ(kl_arena_alloc(arena, 4 * PAGE, KL_ARENA_SPECIFIC, 2, &none), KL_ERR_LIMIT);
    KL_CHECK(none == NULL);
    check_used(arena, 0, 0, 7, 0); /* all or nothing */
    take(arena, 3, KL_ARENA_SPECIFIC, 2);
    KL_CHECK_EQ(kl_arena_alloc(arena, 1, KL_ARENA_SPECIFIC, 2, &none), KL_ERR_LIMIT);
    KL_CHECK_EQ(kl_arena_alloc(arena, 1, KL_ARENA_SPECIFIC, 4, &none), KL_ERR_ARGUMENT);
    check_used(arena, 0, 0, 10, 0);
    kl_arena_shut(arena);
}

KL_TEST(kl_arena_N3_nearest_goes_on_by_distance_until_all_is_full) {
    kl_arena *arena = new_arena(10);
    void *none = NULL;
    take(arena, 8, KL_ARENA_NEAREST, 2);
    check_used(arena, 0, 0, 8, 0);
    uint8_t *block = take(arena, 15, KL_ARENA_NEAREST, 2); /* 2 left, then 1, then 3, 0 last */
    check_used(arena, 0, 10, 10, 3);
    KL_CHECK_EQ(kl_arena_node_of(arena, block + PAGE), 2);
    KL_CHECK_EQ(kl_arena_node_of(arena, block + 2 * PAGE), 1);
    KL_CHECK_EQ(kl_arena_node_of(arena, block + 15 * PAGE - 1), 3);
    KL_CHECK_EQ(kl_arena_node_of(arena, block + 15 * PAGE), KL_NUMA_NO_NODE);
    take(arena, 17, KL_ARENA_NEAREST, 2);
    check_used(arena, 10, 10, 10, 10);
    KL_CHECK_EQ(kl_arena_alloc(arena, 1, KL_ARENA_NEAREST, 0, &none), KL_ERR_LIMIT);
    KL_CHECK_EQ(kl_arena_alloc(arena, 1, KL_ARENA_LOCAL, 0, &none), KL_ERR_LIMIT);
    KL_CHECK_EQ(kl_arena_alloc(arena, 1, KL_ARENA_INTERLEAVE, 0, &none), KL_ERR_LIMIT);
    kl_arena_shut(arena);
}

KL_TEST(kl_arena_N3_interleave_goes_round_the_nodes_page_by_page) {
    kl_arena *arena = new_arena(100);
    uint64_t pages = 0;
    for (uint64_t count = 1; count <= 12; count++) { /* 78 pages in uneven blocks */
        uint8_t *block = take(arena, count, KL_ARENA_INTERLEAVE, 0);
        for (uint64_t i = 0; i < count; i++, pages++)
            KL_CHECK_EQ(kl_arena_node_of(arena, block + i * PAGE), pages % 4);
        for (uint32_t node = 0; node < 4; node++) {
            KL_CHECK_LE(pages / 4 * PAGE, kl_arena_used(arena, node));
            KL_CHECK_LE(kl_arena_used(arena, node), (pages / 4 + 1) * PAGE);
        }
    }
    take(arena, 80, KL_ARENA_SPECIFIC, 1); /* full: is left out */
    take(arena, 9, KL_ARENA_INTERLEAVE, 0);
    KL_CHECK_EQ(kl_arena_used(arena, 1), 100 * PAGE);
    KL_CHECK_EQ(kl_arena_verify(arena), KL_OK);
    kl_arena_shut(arena);
}

KL_TEST(kl_arena_N3_local_prefers_the_node_the_caller_runs_on) {
    kl_arena *arena = NULL;
    kl_numa machine;
    KL_CHECK_EQ(kl_numa_detect(&machine, NULL), KL_OK);
    KL_CHECK_EQ(kl_arena_open(&arena, &machine, 64 * PAGE, false), KL_OK);
    int32_t cpu = kl_cpu_nth(kl_cpu_count() - 1);
    KL_CHECK_EQ(kl_cpu_pin((uint32_t)cpu), KL_OK);
    uint8_t *block = take(arena, 5, KL_ARENA_LOCAL, 0);
    uint32_t here = kl_numa_node_of_cpu(&machine, (uint32_t)cpu);
    KL_CHECK_EQ(kl_arena_used(arena, here), 5 * PAGE);
    block[0] = 1;
    int32_t node = kl_numa_page_node(block);
    KL_CHECK(node == KL_ERR_UNSUPPORTED || node == machine.node_id[here]);
    kl_cpu_unpin();
    kl_arena_shut(arena);
}

KL_TEST(kl_arena_N4_free_credits_the_node_that_was_charged) {
    kl_arena *arena = new_arena(10);
    void *spread = take(arena, 25, KL_ARENA_NEAREST, 0);
    check_used(arena, 10, 10, 0, 5);
    void *other = take(arena, 3, KL_ARENA_NEAREST, 0);
    check_used(arena, 10, 10, 0, 8);
    KL_CHECK_EQ(kl_arena_free(arena, spread), KL_OK);
    check_used(arena, 0, 0, 0, 3);
    KL_CHECK_EQ(kl_arena_free(arena, spread), KL_ERR_ARGUMENT); /* once is enough */
    KL_CHECK_EQ(kl_arena_free(arena, (uint8_t *)other + 1), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_arena_free(arena, (uint8_t *)other + PAGE), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_arena_free(arena, arena), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_arena_free(arena, NULL), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_arena_free(arena, other), KL_OK);
    check_used(arena, 0, 0, 0, 0);
    kl_arena_shut(arena);
}

#define LIVE 64
KL_TEST(kl_arena_N4_the_sum_is_kept_over_random_allocations) {
    kl_arena *arena = new_arena(500);
    static struct {
        uint8_t *block;
        uint64_t pages;
    } live[LIVE];
    memset(live, 0, sizeof live);
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    uint64_t pages = 0, rounds = kl_test_slow() ? 20000 : getenv("KEELSON_LONG") ? 1000000 : 100000;
    for (uint64_t i = 0; i < rounds; i++) {
        uint32_t at = (uint32_t)kl_random_below(&random, LIVE);
        if (live[at].block) {
            KL_CHECK_EQ(live[at].block[0], (uint8_t)at);
            KL_CHECK_EQ(kl_arena_free(arena, live[at].block), KL_OK);
            pages -= live[at].pages;
            live[at].block = NULL;
        } else {
            void *block = NULL;
            uint64_t count = 1 + kl_random_below(&random, 60);
            int32_t status = kl_arena_alloc(arena, count * PAGE - kl_random_below(&random, PAGE),
                                            (uint32_t)kl_random_below(&random, 4),
                                            (uint32_t)kl_random_below(&random, 4), &block);
            KL_CHECK(status == KL_OK || status == KL_ERR_LIMIT);
            if (status != KL_OK) continue;
            live[at].block = block;
            live[at].pages = count;
            pages += count;
            KL_CHECK_EQ(live[at].block[0], 0); /* fresh */
            live[at].block[0] = (uint8_t)at;
        }
        if (i % 1024 != 0) continue;
        uint64_t used = 0;
        for (uint32_t node = 0; node < 4; node++) used += kl_arena_used(arena, node);
        KL_CHECK_EQ(used, pages * PAGE);
        KL_CHECK_EQ(kl_arena_verify(arena), KL_OK);
    }
    for (uint32_t at = 0; at < LIVE; at++)
        if (live[at].block) KL_CHECK_EQ(kl_arena_free(arena, live[at].block), KL_OK);
    check_used(arena, 0, 0, 0, 0);
    take(arena, 2000, KL_ARENA_INTERLEAVE, 0); /* nothing is lost: all of it in one block */
    kl_arena_shut(arena);
}

static void take_and_give(void *argument, uint32_t index) {
    kl_arena *arena = argument;
    kl_random random;
    kl_random_init(&random, kl_test_seed() + index);
    for (uint32_t i = 0; i < (kl_test_slow() ? 500u : 5000u); i++) {
        void *block = NULL;
        uint64_t bytes = 1 + kl_random_below(&random, 20 * PAGE);
        int32_t status = kl_arena_alloc(arena, bytes, i % 4, index, &block);
        KL_CHECK(status == KL_OK || status == KL_ERR_LIMIT);
        if (status != KL_OK) continue;
        memset(block, (int)index, 64);
        KL_CHECK_EQ(((uint8_t *)block)[63], index);
        KL_CHECK_EQ(kl_arena_free(arena, block), KL_OK);
    }
}

KL_TEST(kl_arena_N4_four_threads_leave_the_accounts_even) {
    kl_arena *arena = new_arena(50);
    kl_test_threads(4, take_and_give, arena);
    check_used(arena, 0, 0, 0, 0);
    kl_arena_shut(arena);
}

KL_TEST(kl_arena_says_which_huge_pages_it_got) {
    kl_arena *arena = NULL;
    KL_CHECK_EQ(kl_numa_simulate(&ring, KL_NUMA_TWO_SOCKETS, 0, 1, 1), KL_OK);
    KL_CHECK_EQ(kl_arena_open(&arena, &ring, 1, true), KL_OK);
    KL_CHECK_EQ(kl_arena_page_bytes(arena), KL_ARENA_HUGE_PAGE);
    KL_CHECK_EQ(kl_arena_budget(arena), KL_ARENA_HUGE_PAGE);
    uint32_t kind = kl_arena_pages(arena);
    KL_CHECK(kind == KL_ARENA_SMALL || kind == KL_ARENA_TRANSPARENT || kind == KL_ARENA_HUGE);
    void *block = NULL;
    KL_CHECK_EQ(kl_arena_alloc(arena, KL_ARENA_HUGE_PAGE + 1, KL_ARENA_NEAREST, 1, &block), KL_OK);
    if (kind != KL_ARENA_SMALL) KL_CHECK_EQ((uintptr_t)block % KL_ARENA_HUGE_PAGE, 0);
    memset(block, 1, 2 * KL_ARENA_HUGE_PAGE);
    KL_CHECK_EQ(kl_arena_free(arena, block), KL_OK);
    kl_arena_shut(arena);
}

KL_TEST(kl_arena_refuses_sizes_and_policies_that_cannot_be) {
    kl_arena *arena = NULL;
    void *none = NULL;
    KL_CHECK_EQ(kl_numa_simulate(&ring, KL_NUMA_RING, 4, 2, 1), KL_OK);
    const uint64_t sizes[] = {0, 1ull << 41, UINT64_MAX, (1ull << 38) + 1};
    for (uint32_t i = 0; i < 4; i++)
        KL_CHECK_EQ(kl_arena_open(&arena, &ring, sizes[i], false), KL_ERR_ARGUMENT);
    arena = new_arena(2);
    KL_CHECK_EQ(kl_arena_alloc(arena, 0, 0, 0, &none), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_arena_alloc(arena, UINT64_MAX, 0, 0, &none), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_arena_alloc(arena, 1ull << 40, 0, 0, &none), KL_ERR_LIMIT);
    KL_CHECK_EQ(kl_arena_alloc(arena, 1, 4, 0, &none), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_arena_alloc(arena, 1, KL_ARENA_NEAREST, 4, &none), KL_ERR_ARGUMENT);
    kl_arena_shut(arena);
    kl_arena_shut(NULL);
}

KL_TEST(kl_arena_behind_a_handle_gives_offsets_and_leaves_zeros_after_close) {
    uint32_t topology = 0, arena = 0;
    KL_CHECK_EQ(kl_numa_open(3, 4, 2, 4096, NULL, 0, (uint8_t *)&topology), KL_OK);
    KL_CHECK_EQ(kl_arena_create(topology, -1, 0, (uint8_t *)&arena), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_arena_create(99, 1, 0, (uint8_t *)&arena), KL_ERR_HANDLE);
    KL_CHECK_EQ(kl_arena_create(topology, 8 * PAGE, 0, (uint8_t *)&arena), KL_OK);
    KL_CHECK_EQ(kl_numa_close(topology), KL_OK); /* the arena has its own copy */
    uint64_t range[4];
    KL_CHECK_EQ(kl_arena_range(arena, (uint8_t *)range), KL_OK);
    KL_CHECK_EQ(range[1], 32 * PAGE);
    double block = kl_arena_take(arena, 3 * PAGE, KL_ARENA_SPECIFIC, 3);
    KL_CHECK(block >= 0);
    KL_CHECK(kl_arena_take(arena, 0.5, 0, 0) == KL_ERR_ARGUMENT);
    KL_CHECK(kl_arena_charged(arena, 3) == 3 * PAGE);
    KL_CHECK(kl_arena_charged(arena, 4) == KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_arena_charge_of(arena, block + PAGE), 3);
    KL_CHECK_EQ(kl_arena_charge_of(arena, 1e15), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_arena_give(arena, block + PAGE), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_arena_give(arena, 1e15), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_arena_check(arena), KL_OK);
    uint8_t *memory = (uint8_t *)(uintptr_t)range[0] + (uint64_t)block;
    memory[5] = 9;
    KL_CHECK_EQ(kl_arena_close(arena), KL_OK);
    KL_CHECK_EQ(memory[5], 0);
    memory[5] = 1;
    KL_CHECK_EQ(kl_arena_give(arena, block), KL_ERR_HANDLE);
}
