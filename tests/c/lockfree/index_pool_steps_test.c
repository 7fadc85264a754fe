/* index_pool: killed at every step, recovery cut off at every step, and paused at every step while
 * another takes and gives back. */
#include "lockfree/index_pool.h"

#include "tests/c/harness.h"
#include "tests/c/model/steps.h"

#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CELLS      3u
#define POOL_BYTES kl_index_pool_memory_bytes(CELLS, 0)

enum { VICTIM = 3, LIVING = 4 };

static uint8_t *memory, *image;
static kl_claim held; /* by the victim, before the steps are counted */

static kl_index_pool grip(void) {
    kl_index_pool pool;
    KL_CHECK_EQ(kl_index_pool_grip(&pool, memory, POOL_BYTES), KL_OK);
    return pool;
}

/* What the victim does; `filled` cells were taken by the living, then one by itself. */
typedef struct {
    uint32_t filled;
    void (*act)(kl_index_pool *);
} deed;

static void take(kl_index_pool *pool) {
    kl_claim claim;
    kl_index_pool_acquire(pool, VICTIM, &claim);
}

static void give(kl_index_pool *pool) {
    kl_index_pool_release(pool, VICTIM, held);
}

static void give_and_take(kl_index_pool *pool) {
    give(pool);
    take(pool);
    take(pool);
}

static void recover_itself(kl_index_pool *pool) {
    kl_index_pool_recover(pool, VICTIM, NULL, NULL);
}

static const deed deeds[] = {{0, take},          {1, take},          {2, take},
                             {0, give},          {2, give},          {1, give_and_take},
                             {2, give_and_take}, {1, recover_itself}};

static void fill(const deed *it) {
    memset(memory, 0, POOL_BYTES);
    KL_CHECK_EQ(kl_index_pool_format(memory, CELLS, 0), KL_OK);
    kl_index_pool pool = grip();
    kl_claim claim;
    KL_CHECK_EQ(kl_index_pool_acquire(&pool, VICTIM, &held), KL_OK);
    for (uint32_t i = 0; i < it->filled; i++)
        KL_CHECK_EQ(kl_index_pool_acquire(&pool, LIVING, &claim), KL_OK);
}

typedef struct {
    const deed *deed;
    uint64_t k;
} order;

static int run_victim(void *argument) {
    const order *it = argument;
    kl_index_pool pool = grip();
    kl_steps_kill_at(it->k);
    it->deed->act(&pool);
    return 0;
}

static void check_survivors(uint32_t filled) {
    kl_index_pool pool = grip();
    kl_claim claim;
    KL_CHECK_EQ(kl_index_pool_verify(&pool), KL_OK);
    KL_CHECK_EQ(kl_index_pool_held(&pool, VICTIM), 0);
    KL_CHECK_EQ(kl_index_pool_held(&pool, LIVING), filled);
    KL_CHECK_EQ(kl_index_pool_held(&pool, 0), filled);
    for (uint32_t i = filled; i < CELLS; i++)
        KL_CHECK_EQ(kl_index_pool_acquire(&pool, LIVING, &claim), KL_OK);
    KL_CHECK_EQ(kl_index_pool_acquire(&pool, LIVING, &claim), KL_ERR_AGAIN);
}

static jmp_buf cut;

static void cut_off(void) {
    longjmp(cut, 1);
}

static bool is_cut(uint64_t k) {
    bool is = setjmp(cut) != 0;
    if (!is) {
        kl_index_pool pool = grip();
        kl_steps_pause_at(k, cut_off);
        kl_index_pool_recover(&pool, VICTIM, NULL, NULL);
    }
    kl_steps_pause_at(0, NULL);
    return is;
}

static void kill_at_every_step(const deed *it) {
    int end = 1;
    for (uint64_t k = 1; end != 0; k++) {
        order wanted = {it, k};
        fill(it);
        end = kl_test_join(kl_test_fork(run_victim, &wanted));
        if (end != 0) KL_CHECK_EQ(end, 128 + SIGKILL);
        memcpy(image, memory, POOL_BYTES);
        bool again = true;
        for (uint64_t step = 1; again; step++) {
            memcpy(memory, image, POOL_BYTES);
            again = is_cut(step);
            kl_index_pool pool = grip();
            kl_index_pool_recover(&pool, VICTIM, NULL, NULL);
            check_survivors(it->filled);
        }
    }
}

static void open_memory(void) {
    memory = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    KL_CHECK(memory != MAP_FAILED);
    image = malloc(POOL_BYTES);
}

static void close_memory(void) {
    munmap(memory, POOL_BYTES);
    free(image);
}

KL_TEST(kl_index_pool_survives_a_death_at_every_step_and_a_recovery_cut_off_at_every_step) {
    open_memory();
    for (uint32_t i = 0; i < sizeof deeds / sizeof *deeds; i++) kill_at_every_step(&deeds[i]);
    close_memory();
}

/* ---- pauses ---- */

static kl_claim living_claims[CELLS];
static uint32_t living_count, meddling;

/* The living one gives back all it has, or takes all there is, or both. */
static void meddle(void) {
    kl_index_pool pool = grip();
    if (meddling % 2 == 0)
        while (living_count > 0)
            KL_CHECK_EQ(kl_index_pool_release(&pool, LIVING, living_claims[--living_count]), KL_OK);
    if (meddling / 2 % 2 == 0)
        while (kl_index_pool_acquire(&pool, LIVING, &living_claims[living_count]) == KL_OK)
            living_count++;
    if (meddling / 4 % 2 == 0 && living_count > 0)
        KL_CHECK_EQ(kl_index_pool_release(&pool, LIVING, living_claims[--living_count]), KL_OK);
}

static bool pause_at(uint64_t k, const deed *it) {
    memset(memory, 0, POOL_BYTES);
    KL_CHECK_EQ(kl_index_pool_format(memory, CELLS, 0), KL_OK);
    kl_index_pool pool = grip();
    KL_CHECK_EQ(kl_index_pool_acquire(&pool, VICTIM, &held), KL_OK);
    for (living_count = 0; living_count < it->filled; living_count++)
        KL_CHECK_EQ(kl_index_pool_acquire(&pool, LIVING, &living_claims[living_count]), KL_OK);
    uint64_t steps = kl_steps_count();
    kl_steps_pause_at(k, meddle);
    it->act(&pool);
    bool done = kl_steps_count() - steps < k;
    kl_steps_pause_at(0, NULL);
    /* Nobody died: no hint is lost, no cell has two holders. */
    KL_CHECK_EQ(kl_index_pool_verify(&pool), KL_OK);
    KL_CHECK_EQ(kl_index_pool_held(&pool, LIVING), living_count);
    for (uint32_t i = 0; i < living_count; i++)
        KL_CHECK_EQ(kl_index_pool_holds(&pool, LIVING, living_claims[i]), KL_OK);
    return done;
}

KL_TEST(kl_index_pool_loses_no_cell_and_no_hint_whoever_comes_between) {
    open_memory();
    for (meddling = 0; meddling < 8; meddling++) {
        for (uint32_t i = 0; i < sizeof deeds / sizeof *deeds; i++) {
            uint64_t k = 1;
            while (!pause_at(k, &deeds[i])) k++;
            KL_CHECK_LT(2, k);
        }
    }
    close_memory();
}
