/* lock_drive: the work of every lock row, for whatever lock the including file has. It defines, before it
 * includes this file,
 *
 *   lock, lock_end                     the lock; one thread's grip on it
 *   lock *lock_open(void), lock_end *lock_take(lock *, uint32_t index)
 *   void lock_acquire(lock_end *), void lock_release(lock_end *)
 *
 * and calls drive_lock() as its main: `PROGRAM THREADS SECTIONS`. The section adds to four counters that
 * have a line of their own; between sections each thread works for some tens of nanoseconds. Threads go
 * on until SECTIONS are done among them, so a lock that favours one of them shows: jain is 1 when all had
 * as many turns, 1 / THREADS when one had them all. */
#ifndef KL_BENCH_SYNC_LOCK_DRIVE_H
#define KL_BENCH_SYNC_LOCK_DRIVE_H

#include <time.h>

#include "bench/frame/threads.h"

typedef struct {
    lock *shared;
    uint64_t sections;
    uint32_t threads;
    __attribute__((aligned(128))) volatile uint64_t counters[4];
    __attribute__((aligned(128))) uint64_t turns[THREADS_MAX][16];
} lock_work;

/* True: the section was the last. */
static inline bool in_section(lock_work *work) {
    if (work->counters[0] == work->sections) return true;
    for (int i = 0; i < 4; i++) work->counters[i] = work->counters[i] + 1;
    return false;
}

static void run_alone(void *argument, uint32_t index) {
    lock_work *work = (lock_work *)argument;
    lock_end *end = lock_take(work->shared, index);
    for (uint64_t i = 0; i < work->sections; i++) {
        lock_acquire(end);
        in_section(work);
        lock_release(end);
    }
    work->turns[0][0] = work->sections;
}

static void run_sections(void *argument, uint32_t index) {
    lock_work *work = (lock_work *)argument;
    lock_end *end = lock_take(work->shared, index);
    uint64_t turns = 0, state = index + 1;
    for (bool over = false; !over;) {
        lock_acquire(end);
        over = in_section(work);
        lock_release(end);
        if (!over) turns++;
        for (int i = 0; i < 8; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            __asm__ volatile("" : "+r"(state));
        }
    }
    work->turns[index][0] = turns;
}

static double processor_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int drive_lock(int count, char **words) {
    if (count != 3) return 2;
    static lock_work work;
    work.threads = (uint32_t)number_argument(words, 1);
    work.sections = number_argument(words, 2);
    work.shared = lock_open();
    double before = processor_seconds();
    double seconds =
        timed_threads(work.threads, work.threads == 1 ? run_alone : run_sections, &work);
    double used = processor_seconds() - before, sum = 0, squares = 0;
    for (uint32_t i = 0; i < work.threads; i++) {
        double turns = (double)work.turns[i][0];
        sum += turns;
        squares += turns * turns;
    }
    uint64_t digest = 0;
    for (int i = 0; i < 4; i++) digest = digest_in_order(digest, work.counters[i]);
    print_result(seconds, digest_in_order(digest, (uint64_t)sum));
    printf(" jain=%.3f cpu_ns=%.1f\n", sum * sum / (work.threads * squares),
           used / (double)work.sections * 1e9);
    return 0;
}

#endif
