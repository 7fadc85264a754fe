/* pool_drive: the work of the task rows, for whatever pool the including file has. It includes task_body.h
 * and defines, before it includes this file,
 *
 *   pool *pool_open(uint32_t threads)
 *   void pool_run(pool *, uint32_t first, uint32_t tasks)   task_body() of so many, and waits for all
 *
 * and calls drive_pool() as its main: `PROGRAM THREADS TASKS TURNS BURST`. A task is TURNS turns; BURST of
 * them are given at once, and waited for before the next. The same tasks are first done by one thread
 * without a pool: `efficiency` is that time / THREADS / the pool's. */
#ifndef KL_BENCH_EXEC_POOL_DRIVE_H
#define KL_BENCH_EXEC_POOL_DRIVE_H

#include "bench/exec/task_body.h"

static uint64_t results_digest(uint32_t tasks) {
    uint64_t digest = 0;
    for (uint32_t i = 0; i < tasks; i++) digest = digest_in_order(digest, task_results[i]);
    return digest;
}

static int drive_pool(int count, char **words) {
    if (count != 5) return 2;
    uint32_t threads = (uint32_t)number_argument(words, 1);
    uint32_t tasks = (uint32_t)number_argument(words, 2);
    task_turns = number_argument(words, 3);
    uint32_t burst = (uint32_t)number_argument(words, 4);
    task_results = (uint64_t *)calloc(tasks, sizeof *task_results);
    uint64_t start = now_ns();
    for (uint32_t i = 0; i < tasks; i++) task_body(i);
    double alone = (double)(now_ns() - start);
    uint64_t expected = results_digest(tasks);
    memset(task_results, 0, tasks * sizeof *task_results);
    pool *opened = pool_open(threads);
    pool_run(opened, 0,
             tasks < 1000 ? tasks : 1000); /* its threads are there, its memory is warm */
    start = now_ns();
    for (uint32_t first = 0; first < tasks; first += burst)
        pool_run(opened, first, tasks - first < burst ? tasks - first : burst);
    double together = (double)(now_ns() - start);
    uint64_t digest = results_digest(tasks);
    if (digest != expected) return 3;
    print_result(together / 1e9, digest);
    printf(" efficiency=%.4f task_us=%.3f\n", alone / threads / together, alone / tasks / 1e3);
    return 0;
}

#endif
