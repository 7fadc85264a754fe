/* task_body: the tasks of pool_drive.h: a chain of multiplications, which two threads of one core do not
 * slow each other down by. */
#ifndef KL_BENCH_EXEC_TASK_BODY_H
#define KL_BENCH_EXEC_TASK_BODY_H

#include "bench/frame/threads.h"

static uint64_t *task_results;
static uint64_t task_turns;

static inline void task_body(uint32_t index) {
    uint64_t state = index;
    for (uint64_t i = 0; i < task_turns; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        __asm__ volatile("" : "+r"(state));
    }
    task_results[index] = state;
}

#endif
