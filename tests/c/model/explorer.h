/* explorer: runs the C code of c/ under every interleaving and every reading that a memory model
 * allows. For files named *_model.c, which tools/test_c.ts builds so that each atomic operation and
 * each plain access of c/ and of the file itself calls the explorer.
 *
 *   static kl_spsc_ring ring;                         // statics are put back before each execution
 *   static void setup(void) { ... kl_model_alloc(...) ... }        // before the threads
 *   static void producer(void) { kl_spsc_ring_push_u64_sp(&ring, 7); }
 *   static void consumer(void) { ... KL_MODEL_CHECK(value == 7); }
 *   static void finally(void) { ... }                 // after all threads ended or died
 *   KL_MODEL(kl_spsc_ring_model_hands_over_what_was_pushed, .setup = setup,
 *            .threads = {producer, consumer}, .finally = finally)
 *
 * A model is a test (its name is listed, filtered and reported like a KL_TEST) and is explored
 * under each of three memory models:
 *   SC   one memory, operations interleave
 *   TSO  x86: each thread's stores wait in a buffer of its own, first in first out; a read-modify-
 *        write, a seq_cst store or fence, and a system call wait until it is empty
 *   RA   C11 by views: a load may give any value not older than what its thread has to know by
 *        happens-before and coherence; release and acquire pass that knowledge on (fences, release
 *        sequences through read-modify-writes), seq_cst operations and fences have one order more.
 *        Not explored: load buffering (a load that sees a store that comes later).
 * Under each of them two plain accesses without happens-before (by the C11 orders as written), one of them a
 * write, are a failure.
 *
 * The threads are processes: each has its own participant and thread id in kl_model_region(). Real code
 * runs but for: kl_region_alive, _thread_alive, _thread_join, _thread_leave, _poison, _check (of the
 * model's region), the system calls futex and membarrier, the clocks (time passes only when nobody
 * can do anything else), kl_cpu_count, kl_cpu_pause, sched_yield, pthread_mutex_lock/trylock/unlock,
 * malloc and friends, kl_fail (keeps no text), KL_ASSERT (a failure).
 *
 * Failures, printed with the schedule that leads there: a failed KL_MODEL_CHECK; a data race; an
 * access to freed memory; a deadlock; a wait that ends by its timeout although nobody died (a lost
 * wake-up); a thread that takes more than steps_max steps (a loop without end).
 *
 * Search: depth first by replay, dynamic partial order reduction with sleep sets: exhaustive (the
 * same without the reduction, slower: KEELSON_MODEL_FULL=1). A thread that calls kl_cpu_pause() or
 * re-reads one unchanged value waits until another has made a step, and an outdated message is
 * read at most three times in a row: spin loops end. Deaths: every thread of the `kill` mask may die before
 * each of its steps, `deaths_max` in all; what it stored stays.
 *
 * Keep scenarios tiny: two or three threads of one to three operations. A scenario that needs more
 * than executions_max executions fails, unless it says .random = n: then n random schedules (seed:
 * SEED) follow and the search counts as bounded, which is printed.
 *
 * KEELSON_MODEL_MUTATE=1 PROGRAM   weakens each order of c/ that its models execute, see
 * docs/memory_order.md.   KEELSON_MODEL=RA PROGRAM   only that memory model.
 */
#ifndef KL_TESTS_MODEL_EXPLORER_H
#define KL_TESTS_MODEL_EXPLORER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/c/harness.h"

typedef struct kl_region kl_region;

#define KL_MODEL_THREADS_MAX 5u

enum kl_model_memory { KL_MODEL_SC = 1, KL_MODEL_TSO = 2, KL_MODEL_RA = 4 };

/* A scenario. Only `threads` is needed; zeros are the defaults that stand behind the fields. */
typedef struct kl_model {
    const char *name;
    void (*setup)(void);
    void (*threads[KL_MODEL_THREADS_MAX])(void);
    void (*finally)(void);
    uint32_t kill;           /* bit i: threads[i] may die; 0: nobody */
    uint32_t deaths_max;     /* 1 when somebody may */
    uint32_t memories;       /* all three; a mask of kl_model_memory */
    uint32_t cpus;           /* what kl_cpu_count answers: 1, so that spin phases are skipped */
    bool timeouts_are_fine;  /* a wait may end by its timeout when nobody can do anything else */
    bool reads_may_race;     /* plain reads may overlap writes: of code that checks what it read */
    uint32_t preemptions;    /* 0: all; n: at most n - 1 switches away from who could go on */
    uint64_t executions_max; /* 400000, for each memory model */
    uint64_t random;         /* 0: more executions than that are a failure */
    uint32_t steps_max;      /* 400 atomic operations of one thread */
    struct kl_model *next;
} kl_model;

#define KL_MODEL(model_name, ...)                                                   \
    static kl_model kl_model_of_##model_name = {.name = #model_name, __VA_ARGS__};  \
    __attribute__((constructor)) static void kl_model_register_##model_name(void) { \
        kl_model_register(&kl_model_of_##model_name);                               \
    }                                                                               \
    KL_TEST(model_name) {                                                           \
        kl_model_explore(&kl_model_of_##model_name);                                \
    }

/* A scenario that is wrong on purpose: a test that it fails under the memory models of the mask `under` and
 * holds under the others. For variants of a structure with a step left out. */
#define KL_MODEL_MUST_FAIL(model_name, under, ...)                        \
    KL_TEST(model_name) {                                                 \
        static const kl_model model = {.name = #model_name, __VA_ARGS__}; \
        kl_model_must_fail(&model, under);                                \
    }

/* Anywhere in a scenario; ends the execution. */
#define KL_MODEL_CHECK(x) ((x) ? (void)0 : kl_model_fail(__FILE__, __LINE__, "%s", #x))
#define KL_MODEL_CHECK_EQ(a, b)                                                          \
    ((long long)(a) == (long long)(b)                                                    \
         ? (void)0                                                                       \
         : kl_model_fail(__FILE__, __LINE__, "%s == %s (left %lld, right %lld)", #a, #b, \
                         (long long)(a), (long long)(b)))

/* Zeroed memory, aligned to 128, of this execution. Taken back at its end; leaks are not counted. */
void *kl_model_alloc(size_t bytes);
/* From now on any access to it is a failure. malloc and free of code under test do the same. */
void kl_model_free(void *memory);
/* Calls it that in printed schedules: "name+offset". */
void kl_model_name(const void *memory, size_t bytes, const char *name);

/* Index of the running thread in .threads; -1 in setup and finally. */
int32_t kl_model_thread(void);
/* Whether threads[index] died in this execution. For checks: a thread that decides by it should ask
 * kl_region_alive, which is a step. */
bool kl_model_died(uint32_t index);
/* Makes threads[index], or the running thread, die (at once) or look dead to kl_region_alive. In
 * setup: it never starts. */
void kl_model_kill(uint32_t index);
/* Waits (without steps) until threads[index] has ended or died, and knows all it knew, as a join. */
void kl_model_join(uint32_t index);
/* What is asked of any other execution too but must happen at least once: `seen` is true in some execution of
 * each memory model, else the scenario fails at its end ("never seen"). At most 16 a scenario. */
void kl_model_expect(const char *what, bool seen);

/* The region of the running thread's process: joined, not poisoned. In setup and finally: one of
 * its own, whose participant is alive. It has no data: what is under test lies in
 * kl_model_alloc memory. */
kl_region *kl_model_region(void);
/* What kl_region_self answers in threads[index], and its thread id; 0xffffffff: the main thread. */
uint32_t kl_model_participant(uint32_t index);
uint32_t kl_model_participant_thread(uint32_t index);
void kl_model_poison(void); /* the region looks poisoned from now on */

/* A choice of the search: 0 .. count - 1, all of them are tried. */
uint32_t kl_model_choose(uint32_t count);
/* A step of its own without memory: others may run here. */
void kl_model_pause(void);
/* What membarrier does: a seq_cst fence in every thread. For seams; the system call does it too. */
void kl_model_heavy_fence(void);

/* ---- what the macros use ---- */

void kl_model_register(kl_model *model);
void kl_model_explore(const kl_model *model);
void kl_model_must_fail(const kl_model *model, uint32_t under);
/* Different outcomes of a search that holds, with or without the reduction; 0: it does not hold. */
uint32_t kl_model_count_outcomes(const kl_model *model, uint32_t memory, bool reduced);
void kl_model_fail(const char *file, int line, const char *format, ...)
    __attribute__((cold, format(printf, 3, 4)));

#endif
