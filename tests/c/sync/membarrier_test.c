#include "sync/membarrier.h"

#include "base/cpu.h"
#include "sync/epoch.h"
#include "sync/hazard.h"
#include "sync/rcu.h"
#include "tests/c/harness.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

KL_TEST(kl_membarrier_prepare_answers_the_same_again_and_heavy_works_where_it_says_so) {
    int32_t status = kl_membarrier_prepare();
    KL_CHECK(status == KL_OK || status == KL_ERR_UNSUPPORTED);
    KL_CHECK_EQ(kl_membarrier_prepare(), status);
    if (status == KL_OK) KL_CHECK_EQ(kl_membarrier_heavy(), KL_OK);
}

/* ---- store, barrier, load on both sides: one of them sees the other ---- */

typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t word;
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t other;
    _Alignas(KL_LINE_BYTES) _Atomic uint32_t round[2];
    uint64_t seen[2];
    uint32_t rounds;
    bool is_light;
} crossing;

static void await_round(crossing *it, uint32_t side, uint32_t round) {
    for (uint32_t spin = 1; atomic_load_explicit(&it->round[side], memory_order_acquire) < round;
         spin++) {
        kl_cpu_pause();
        if (spin % 64 == 0) sched_yield(); /* the processor may be wanted by the other one */
    }
}

static void cross(void *argument, uint32_t index) {
    crossing *it = argument;
    for (uint32_t round = 1; round <= it->rounds; round++) {
        if (index == 0) {
            if (it->is_light)
                kl_membarrier_announce_light(&it->word, round);
            else
                kl_membarrier_announce(&it->word, round);
            it->seen[0] = atomic_load_explicit(&it->other, memory_order_relaxed);
        } else {
            atomic_store_explicit(&it->other, round, memory_order_relaxed);
            if (it->is_light)
                KL_CHECK_EQ(kl_membarrier_heavy(), KL_OK);
            else
                kl_full_barrier(&it->other);
            it->seen[1] = atomic_load_explicit(&it->word, memory_order_relaxed);
        }
        atomic_store_explicit(&it->round[index], 2 * round - 1, memory_order_release);
        await_round(it, 1 - index, 2 * round - 1);
        KL_CHECK(it->seen[0] == round || it->seen[1] == round);
        atomic_store_explicit(&it->round[index], 2 * round, memory_order_release);
        await_round(it, 1 - index, 2 * round);
    }
}

static void run_crossing(bool is_light) {
    crossing it = {.is_light = is_light};
    /* Without a second processor each round costs two time slices. */
    it.rounds = kl_cpu_count() < 2 ? 20 : kl_test_slow() ? 500 : 5000;
    kl_test_threads(2, cross, &it);
}

KL_TEST(kl_membarrier_of_one_who_announces_and_one_who_looks_one_sees_the_other) {
    run_crossing(false);
    if (kl_membarrier_prepare() == KL_OK) run_crossing(true);
}

/* ---- where the system call is forbidden ---- */

#define FORBID(number)                                                                      \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),                  \
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1),                                \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM), /* as containers forbid it */ \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static bool forbid_membarrier(void) {
    struct sock_filter code[] = {FORBID(SYS_membarrier)};
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0 &&
           syscall(SYS_membarrier, 0, 0, 0) < 0;
}

static uint32_t callbacks;

static void count(kl_retired *node) {
    (void)node;
    callbacks++;
}

static void count_hazard(kl_hazard_node *node) {
    (void)node;
    callbacks++;
}

static void use_without_membarrier(void) {
    static kl_epoch epoch;
    static kl_rcu rcu;
    static kl_hazard hazard;
    static kl_retired nodes[2];
    static kl_hazard_node node;
    KL_CHECK_EQ(kl_membarrier_prepare(), KL_ERR_UNSUPPORTED);
    KL_CHECK_EQ(kl_epoch_open(&epoch, NULL), KL_OK);
    KL_CHECK_EQ(kl_rcu_open(&rcu, 0, false), KL_OK);
    KL_CHECK_EQ(kl_hazard_open(&hazard, 0, false), KL_OK);
    KL_CHECK_EQ(kl_epoch_advance(&epoch, 1), 0);
    KL_CHECK(!epoch.grace.is_light && !rcu.grace.is_light && !hazard.is_light);
    KL_CHECK_EQ(kl_epoch_enter(&epoch), KL_OK);
    kl_epoch_retire(&epoch, &nodes[0], count);
    KL_CHECK_EQ(kl_epoch_advance(&epoch, 1), 0);
    kl_epoch_leave(&epoch);
    KL_CHECK_EQ(kl_epoch_advance(&epoch, 1), 1);
    kl_rcu_call(&rcu, &nodes[1], count);
    KL_CHECK_EQ(kl_rcu_synchronize(&rcu, KL_FOREVER), KL_OK);
    KL_CHECK_EQ(kl_rcu_advance(&rcu, 1), 1);
    kl_hazard_thread *own = kl_hazard_here(&hazard);
    kl_hazard_hold(own, 0, (uint64_t)(uintptr_t)&node);
    kl_hazard_retire(own, &node, &node, count_hazard);
    KL_CHECK_EQ(kl_hazard_scan(own), 0);
    kl_hazard_clear(own, 0);
    KL_CHECK_EQ(kl_hazard_scan(own), 1);
}

static int lose_membarrier_in_use(void *argument) {
    (void)argument;
    static kl_epoch epoch;
    static kl_rcu rcu;
    static kl_hazard hazard;
    static kl_retired nodes[2];
    static kl_hazard_node node;
    if (kl_membarrier_prepare() != KL_OK) return 77;
    KL_CHECK_EQ(kl_epoch_open(&epoch, NULL), KL_OK);
    KL_CHECK_EQ(kl_rcu_open(&rcu, 0, false), KL_OK);
    KL_CHECK_EQ(kl_hazard_open(&hazard, 0, false), KL_OK);
    KL_CHECK_EQ(kl_epoch_advance(&epoch, 1), 0);
    KL_CHECK(epoch.grace.is_light);
    if (!forbid_membarrier()) return 77;
    kl_epoch_retire(&epoch, &nodes[0], count);
    for (uint32_t i = 0; i < 3; i++) KL_CHECK_EQ(kl_epoch_advance(&epoch, 1), KL_ERR_UNSUPPORTED);
    kl_rcu_call(&rcu, &nodes[1], count);
    KL_CHECK_EQ(kl_rcu_advance(&rcu, 1), KL_ERR_UNSUPPORTED);
    KL_CHECK_EQ(kl_rcu_synchronize(&rcu, KL_FOREVER), KL_ERR_UNSUPPORTED);
    kl_hazard_thread *own = kl_hazard_here(&hazard);
    kl_hazard_retire(own, &node, &node, count_hazard);
    KL_CHECK_EQ(kl_hazard_scan(own), KL_ERR_UNSUPPORTED);
    KL_CHECK_EQ(callbacks, 0); /* nothing may be concluded, so nothing is given back */
    kl_epoch_close(&epoch);
    kl_rcu_close(&rcu);
    kl_hazard_close(&hazard);
    KL_CHECK_EQ(callbacks, 3); /* and nothing is lost */
    return 0;
}

/* The filter must be there before the process asks for the first time. */
static int begin_without_membarrier(void *test) {
    if (!forbid_membarrier()) return 77;
    setenv("KL_TEST_WITHOUT_MEMBARRIER", "1", 1);
    execl("/proc/self/exe", "membarrier_test", (const char *)test, NULL);
    return 1;
}

KL_TEST(kl_membarrier_forbidden_by_a_filter_makes_all_use_fences) {
    if (getenv("KL_TEST_WITHOUT_MEMBARRIER")) {
        use_without_membarrier();
        return;
    }
    char name[] = "kl_membarrier_forbidden_by_a_filter_makes_all_use_fences";
    int end = kl_test_join(kl_test_fork(begin_without_membarrier, name));
    KL_CHECK(end == 0 || end == 77); /* 77: no filters here */
}

KL_TEST(kl_membarrier_forbidden_while_in_use_gives_back_nothing_more_and_says_so) {
    int end = kl_test_join(kl_test_fork(lose_membarrier_in_use, NULL));
    KL_CHECK(end == 0 || end == 77);
}
