/* node_body: the nodes of graph_drive.h note the time at which they ran. */
#ifndef KL_BENCH_EXEC_NODE_BODY_H
#define KL_BENCH_EXEC_NODE_BODY_H

#include "bench/frame/threads.h"

static uint64_t *node_at;

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

static inline void node_body(uint32_t node) {
#if defined(__x86_64__)
    unsigned processor; /* rdtscp waits for what comes before it, unlike rdtsc */
    node_at[node] = __rdtscp(&processor);
#else
    node_at[node] = now_ns();
#endif
}

#endif
