#include "lockfree/index_pool.h"

#include "base/random.h"
#include "tests/c/harness.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* A pool in memory of exactly its size, so that a sanitizer sees one byte too far. */
static kl_index_pool new_pool(uint32_t capacity, uint32_t payload_bytes) {
    uint64_t bytes = kl_index_pool_memory_bytes(capacity, payload_bytes);
    void *memory = aligned_alloc(KL_LINE_BYTES, bytes);
    memset(memory, 0, bytes);
    KL_CHECK_EQ(kl_index_pool_format(memory, capacity, payload_bytes), KL_OK);
    kl_index_pool pool;
    KL_CHECK_EQ(kl_index_pool_grip(&pool, memory, bytes), KL_OK);
    return pool;
}

KL_TEST(kl_index_pool_format_refuses_what_is_out_of_range) {
    KL_CHECK_EQ(kl_index_pool_memory_bytes(0, 8), 0);
    KL_CHECK_EQ(kl_index_pool_memory_bytes(KL_INDEX_POOL_CAPACITY_MAX + 1, 8), 0);
    KL_CHECK_EQ(kl_index_pool_memory_bytes(8, KL_INDEX_POOL_PAYLOAD_MAX + 1), 0);
    KL_CHECK_EQ(kl_index_pool_format(NULL, 0, 8), KL_ERR_ARGUMENT);
    /* header, two hint words on a line, 65 cells of word and one payload word, whole lines */
    KL_CHECK_EQ(kl_index_pool_memory_bytes(65, 5), 128 + 64 + 65 * 16 + 48);
}

KL_TEST(kl_index_pool_hands_out_every_cell_once_and_refuses_an_old_generation) {
    for (uint32_t capacity = 1; capacity < 200; capacity += 33) {
        kl_index_pool pool = new_pool(capacity, 0);
        uint8_t taken[200] = {0};
        kl_claim claims[200], more;
        for (uint32_t i = 0; i < capacity; i++) {
            KL_CHECK_EQ(kl_index_pool_acquire(&pool, 7, &claims[i]), KL_OK);
            KL_CHECK_LT(claims[i].index, capacity);
            KL_CHECK_EQ(taken[claims[i].index]++, 0);
        }
        KL_CHECK_EQ(kl_index_pool_acquire(&pool, 7, &more), KL_ERR_AGAIN);
        KL_CHECK_EQ(kl_index_pool_held(&pool, 0), capacity);
        KL_CHECK_EQ(kl_index_pool_held(&pool, 7), capacity);
        KL_CHECK_EQ(kl_index_pool_held(&pool, 8), 0);
        kl_claim claim = claims[capacity / 2];
        KL_CHECK_EQ(kl_index_pool_holds(&pool, 7, claim), KL_OK);
        KL_CHECK_EQ(kl_index_pool_release(&pool, 8, claim), KL_ERR_NOT_FOUND); /* another's */
        KL_CHECK_EQ(kl_index_pool_release(&pool, 0, claim), KL_ERR_NOT_FOUND);
        KL_CHECK_EQ(kl_index_pool_release(&pool, 7, claim), KL_OK);
        KL_CHECK_EQ(kl_index_pool_release(&pool, 7, claim), KL_ERR_NOT_FOUND); /* twice */
        KL_CHECK_EQ(kl_index_pool_holds(&pool, 7, claim), KL_ERR_NOT_FOUND);
        KL_CHECK_EQ(kl_index_pool_acquire(&pool, 7, &more), KL_OK);
        KL_CHECK_EQ(more.index, claim.index);
        KL_CHECK_EQ(more.generation, claim.generation + 1);
        KL_CHECK_EQ(kl_index_pool_release(&pool, 7, claim), KL_ERR_NOT_FOUND); /* stale */
        more.index = capacity;
        KL_CHECK_EQ(kl_index_pool_release(&pool, 7, more), KL_ERR_ARGUMENT);
        KL_CHECK_EQ(kl_index_pool_holds(&pool, 7, more), KL_ERR_ARGUMENT);
        KL_CHECK_EQ(kl_index_pool_verify(&pool), KL_OK);
        free(pool.header);
    }
}

KL_TEST(kl_index_pool_generation_wraps_after_2_to_the_32_releases_of_a_cell) {
    kl_index_pool pool = new_pool(1, 0);
    *kl_index_pool_word(&pool, 0) = (uint64_t)UINT32_MAX << 32;
    kl_claim claim, next;
    KL_CHECK_EQ(kl_index_pool_acquire(&pool, 7, &claim), KL_OK);
    KL_CHECK_EQ(claim.generation, UINT32_MAX);
    KL_CHECK_EQ(kl_index_pool_release(&pool, 7, claim), KL_OK);
    KL_CHECK_EQ(kl_index_pool_acquire(&pool, 7, &next), KL_OK);
    KL_CHECK_EQ(next.generation, 0);
    KL_CHECK_EQ(kl_index_pool_release(&pool, 7, claim), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_index_pool_release(&pool, 7, next), KL_OK);
    free(pool.header);
}

/* ---- against a dull pool ---- */

#define CELLS 100u

KL_TEST(kl_index_pool_behaves_like_a_dull_list_of_owners) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    kl_index_pool pool = new_pool(CELLS, 8);
    uint32_t owners[CELLS] = {0}, generations[CELLS] = {0}, held = 0;
    for (uint32_t round = 0; round < 20000; round++) {
        uint32_t self = 1 + (uint32_t)kl_random_below(&random, 5);
        uint32_t index = (uint32_t)kl_random_below(&random, CELLS);
        uint32_t what = (uint32_t)kl_random_below(&random, 1000);
        if (what < 520) {
            kl_claim claim;
            int32_t status = kl_index_pool_acquire(&pool, self, &claim);
            KL_CHECK_EQ(status, held == CELLS ? KL_ERR_AGAIN : KL_OK);
            if (status != KL_OK) continue;
            KL_CHECK_EQ(owners[claim.index], 0);
            KL_CHECK_EQ(generations[claim.index], claim.generation);
            owners[claim.index] = self;
            held++;
        } else if (what < 999) {
            int32_t status =
                kl_index_pool_release(&pool, self, (kl_claim){index, generations[index]});
            KL_CHECK_EQ(status, owners[index] == self ? KL_OK : KL_ERR_NOT_FOUND);
            if (status != KL_OK) continue;
            owners[index] = 0;
            generations[index]++;
            held--;
        } else {
            int32_t freed = 0;
            for (uint32_t i = 0; i < CELLS; i++) {
                if (owners[i] != self) continue;
                owners[i] = 0;
                generations[i]++;
                freed++;
            }
            KL_CHECK_EQ(kl_index_pool_recover(&pool, self, NULL, NULL), freed);
            held -= (uint32_t)freed;
        }
        KL_CHECK_EQ(kl_index_pool_held(&pool, 0), held);
    }
    free(pool.header);
}

/* ---- threads ---- */

typedef struct {
    kl_index_pool pool;
    uint32_t rounds;
} crowd;

/* Takes cells, writes its name into them (plainly: whoever else is in there is a race), gives them
 * back in another order. */
static void take_and_give(void *argument, uint32_t thread) {
    crowd *it = argument;
    kl_index_pool pool = it->pool;
    kl_claim claims[8];
    kl_random random;
    kl_random_init(&random, kl_test_seed() + thread);
    for (uint32_t round = 0; round < it->rounds; round++) {
        uint32_t count = 0, wanted = 1 + (uint32_t)kl_random_below(&random, 8);
        while (count < wanted && kl_index_pool_acquire(&pool, thread + 1, &claims[count]) == KL_OK)
            *(uint64_t *)kl_index_pool_payload(&pool, claims[count++].index) = thread;
        if (count == 0) sched_yield();
        while (count > 0) {
            kl_claim claim = claims[--count];
            KL_CHECK_EQ(*(uint64_t *)kl_index_pool_payload(&pool, claim.index), thread);
            KL_CHECK_EQ(kl_index_pool_release(&pool, thread + 1, claim), KL_OK);
        }
    }
}

static void run_crowd(uint32_t capacity, uint32_t threads) {
    crowd it = {.pool = new_pool(capacity, 8), .rounds = kl_test_slow() ? 2000 : 20000};
    kl_test_threads(threads, take_and_give, &it);
    KL_CHECK_EQ(kl_index_pool_held(&it.pool, 0), 0);
    KL_CHECK_EQ(kl_index_pool_verify(&it.pool), KL_OK); /* and no hint was lost among the living */
    free(it.pool.header);
}

KL_TEST(kl_index_pool_gives_no_cell_to_two_threads_and_loses_none) {
    run_crowd(70, 2);
    run_crowd(9, 4);
    run_crowd(1, 3);
}

/* ---- deaths ---- */

static bool is_odd(void *context, uint32_t participant) {
    (void)context;
    return participant % 2 == 1;
}

KL_TEST(kl_index_pool_recover_frees_what_the_dead_held_and_nothing_else) {
    kl_index_pool pool = new_pool(CELLS, 0);
    kl_claim claim;
    for (uint32_t i = 0; i < 60; i++)
        KL_CHECK_EQ(kl_index_pool_acquire(&pool, 1 + i % 4, &claim), KL_OK);
    kl_index_pool_stamp(&pool, claim.index, KL_INDEX_POOL_SHARED); /* of participant 4 */
    KL_CHECK_EQ(kl_index_pool_recover(&pool, 2, NULL, NULL), 15);
    KL_CHECK_EQ(kl_index_pool_recover(&pool, 2, NULL, NULL), 0);
    KL_CHECK_EQ(kl_index_pool_recover(&pool, 0, is_odd, NULL), 14);
    KL_CHECK_EQ(kl_index_pool_held(&pool, 1), 15);
    KL_CHECK_EQ(kl_index_pool_held(&pool, 3), 15);
    KL_CHECK_EQ(kl_index_pool_held(&pool, KL_INDEX_POOL_SHARED), 1);
    KL_CHECK_EQ(kl_index_pool_held(&pool, 0), 31);
    KL_CHECK_EQ(kl_index_pool_verify(&pool), KL_OK);
    free(pool.header);
}

typedef struct {
    void *memory;
    uint64_t bytes;
    uint32_t self;
    _Atomic uint32_t *started;
} user;

static int use_for_ever(void *argument) {
    user *it = argument;
    kl_index_pool pool;
    KL_CHECK_EQ(kl_index_pool_grip(&pool, it->memory, it->bytes), KL_OK);
    kl_random random;
    kl_random_init(&random, it->self);
    kl_claim claims[4];
    while (it->self != 0) { /* until killed */
        uint32_t count = 0;
        while (count < 4 && kl_index_pool_acquire(&pool, it->self, &claims[count]) == KL_OK)
            count++;
        while (count > 0)
            KL_CHECK_EQ(kl_index_pool_release(&pool, it->self, claims[--count]), KL_OK);
        atomic_store(it->started, 1);
    }
    return 0;
}

KL_TEST(kl_index_pool_is_whole_after_every_random_kill_under_load) {
    uint64_t bytes = kl_index_pool_memory_bytes(10, 0);
    uint8_t *memory =
        mmap(NULL, bytes + 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    KL_CHECK(memory != MAP_FAILED);
    KL_CHECK_EQ(kl_index_pool_format(memory, 10, 0), KL_OK);
    kl_index_pool pool;
    KL_CHECK_EQ(kl_index_pool_grip(&pool, memory, bytes), KL_OK);
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    uint32_t kills = getenv("KEELSON_LONG") ? 1000 : 50;
    int pids[2] = {0, 0};
    uint32_t ids[2] = {0, 0};
    for (uint32_t kill_at = 0; kill_at < kills; kill_at++) {
        _Atomic uint32_t *started = (_Atomic uint32_t *)(void *)(memory + bytes + kill_at % 2 * 64);
        user it = {memory, bytes, kill_at + 1, started};
        atomic_store(started, 0);
        ids[kill_at % 2] = it.self;
        pids[kill_at % 2] = kl_test_fork(use_for_ever, &it);
        while (atomic_load(started) == 0) sched_yield();
        for (uint64_t spin = kl_random_below(&random, 30000); spin > 0; spin--) kl_cpu_pause();
        uint32_t victim = (kill_at + 1) % 2;
        if (pids[victim] == 0) continue;
        kill(pids[victim], SIGKILL);
        KL_CHECK_EQ(kl_test_join(pids[victim]), 128 + SIGKILL);
        KL_CHECK_LE(kl_index_pool_recover(&pool, ids[victim], NULL, NULL), 4);
        KL_CHECK_EQ(kl_index_pool_held(&pool, ids[victim]), 0);
    }
    for (uint32_t i = 0; i < 2; i++) {
        kill(pids[i], SIGKILL);
        kl_test_join(pids[i]);
        kl_index_pool_recover(&pool, ids[i], NULL, NULL);
    }
    KL_CHECK_EQ(kl_index_pool_held(&pool, 0), 0);
    KL_CHECK_EQ(kl_index_pool_verify(&pool), KL_OK);
    munmap(memory, bytes + 4096);
}

/* ---- hostile memory ---- */

KL_TEST(kl_index_pool_survives_random_bytes_all_over_it) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    uint64_t bytes = kl_index_pool_memory_bytes(70, 24);
    uint8_t *memory = aligned_alloc(KL_LINE_BYTES, bytes);
    for (uint32_t round = 0; round < 300; round++) {
        memset(memory, 0, bytes);
        KL_CHECK_EQ(kl_index_pool_format(memory, 70, 24), KL_OK);
        kl_index_pool pool;
        KL_CHECK_EQ(kl_index_pool_grip(&pool, memory, bytes), KL_OK);
        for (uint64_t i = 0; i < bytes; i++)
            if (round % 2 == 0 || kl_random_below(&random, 16) == 0)
                memory[i] = (uint8_t)kl_random_u64(&random);
        kl_claim claim;
        for (uint32_t i = 0; i < 80; i++) {
            int32_t status = kl_index_pool_acquire(&pool, 9, &claim);
            KL_CHECK(status == KL_OK || status == KL_ERR_AGAIN);
            if (status == KL_OK) KL_CHECK_LT(claim.index, 70);
            if (status == KL_OK && i % 3 == 0) kl_index_pool_release(&pool, 9, claim);
            kl_index_pool_release(&pool, 9, (kl_claim){(uint32_t)kl_random_u64(&random), 0});
        }
        kl_index_pool_recover(&pool, 0, is_odd, NULL);
        kl_index_pool_verify(&pool);
        kl_index_pool_grip(&pool, memory, bytes);
        for (uint64_t cut = 0; cut < 300; cut += 7)
            KL_CHECK_LT(kl_index_pool_grip(&pool, memory, cut), 0);
    }
    free(memory);
}
