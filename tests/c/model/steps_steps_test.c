/* What the killer promises. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "tests/c/model/steps.h"

static _Atomic uint64_t *words; /* shared with the children */

static void share(void) {
    words = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    KL_CHECK(words != MAP_FAILED);
}

static void five_steps(void) {
    atomic_store_explicit(&words[0], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&words[1], 1, memory_order_relaxed);
    uint64_t zero = 0;
    atomic_compare_exchange_strong_explicit(&words[2], &zero, 1, memory_order_relaxed,
                                            memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    atomic_exchange_explicit(&words[3], 1, memory_order_relaxed);
}

static int killed_at(void *k) {
    kl_steps_kill_at(*(uint64_t *)k);
    five_steps();
    return 0;
}

KL_TEST(kl_steps_kill_before_the_kth_step_and_not_after_the_last) {
    share();
    uint64_t done[] = {0, 0, 1, 2, 3, 3, 4};
    for (uint64_t k = 1; k <= 6; k++) {
        for (uint32_t i = 0; i < 4; i++) atomic_store_explicit(&words[i], 0, memory_order_relaxed);
        int end = kl_test_join(kl_test_fork(killed_at, &k));
        KL_CHECK_EQ(end, k <= 5 ? 128 + SIGKILL : 0);
        uint64_t sum = 0;
        for (uint32_t i = 0; i < 4; i++)
            sum += atomic_load_explicit(&words[i], memory_order_relaxed);
        KL_CHECK_EQ(sum, done[k]);
    }
}

static uint32_t pauses;
static uint64_t value_then;

static void look(void) {
    pauses++;
    value_then = atomic_load_explicit(&words[1], memory_order_relaxed);
}

KL_TEST(kl_steps_count_and_pause_where_asked) {
    share();
    uint64_t before = kl_steps_count();
    kl_steps_pause_at(3, look);
    five_steps();
    KL_CHECK_EQ(kl_steps_count() - before, 5);
    KL_CHECK_EQ(pauses, 1);
    KL_CHECK_EQ(value_then, 1);
    KL_CHECK_EQ(atomic_load_explicit(&words[3], memory_order_relaxed), 1);
    KL_CHECK_CONTAINS(kl_steps_last(), "steps_steps_test.c");
}

static _Atomic(void (*)(void)) function;
static _Atomic bool flag;
static _Atomic uint8_t small;
static int number, *_Atomic pointer = &number;

KL_TEST(kl_steps_hooks_keep_every_type_of_value) {
    atomic_store_explicit(&function, look, memory_order_release);
    KL_CHECK(atomic_load_explicit(&function, memory_order_acquire) == look);
    KL_CHECK(!atomic_exchange_explicit(&flag, true, memory_order_relaxed));
    KL_CHECK(atomic_load_explicit(&flag, memory_order_relaxed));
    KL_CHECK_EQ(atomic_fetch_sub_explicit(&small, 1, memory_order_relaxed), 0);
    KL_CHECK_EQ(atomic_fetch_and_explicit(&small, 0x0f, memory_order_relaxed), 255);
    KL_CHECK_EQ(atomic_fetch_xor_explicit(&small, 0xff, memory_order_relaxed), 15);
    KL_CHECK_EQ(atomic_fetch_or_explicit(&small, 1, memory_order_relaxed), 240);
    uint8_t wanted = 3;
    KL_CHECK(!atomic_compare_exchange_strong(&small, &wanted, 7));
    KL_CHECK_EQ(wanted, 241);
    KL_CHECK(atomic_compare_exchange_strong(&small, &wanted, 7));
    KL_CHECK(atomic_exchange(&pointer, NULL) == &number);
}
