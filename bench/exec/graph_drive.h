/* graph_drive: the work of the graph rows, for whatever graphs the including file runs. It defines, before
 * it includes this file,
 *
 *   graph *graph_open(uint32_t nodes, uint32_t threads)
 *   void graph_edge(graph *, uint32_t before, uint32_t after)
 *   void graph_run(graph *)             node_body(i) for each node, and waits for all
 *
 * and calls drive_graph() as its main: `PROGRAM SHAPE NODES RUNS THREADS`. Nodes read the clock only: the
 * figure is the price of a node. Building is not in it.
 *   chain    each node after the one before
 *   diamond  one, then NODES - 2 beside each other, then one
 *   random   each node after up to three of the 64 before it
 * Nodes note when they ran: every edge is checked after the last run. */
#ifndef KL_BENCH_EXEC_GRAPH_DRIVE_H
#define KL_BENCH_EXEC_GRAPH_DRIVE_H

#include "bench/exec/node_body.h"

static uint64_t add_edges(graph *one, const char *shape, uint32_t nodes, uint32_t (*edges)[2]) {
    uint64_t count = 0, state = 20240229;
    for (uint32_t node = 1; node < nodes; node++) {
        if (shape[0] == 'c') {
            edges[count][0] = node - 1, edges[count++][1] = node;
        } else if (shape[0] == 'd') {
            if (node < nodes - 1) edges[count][0] = 0, edges[count++][1] = node;
            if (node < nodes - 1) edges[count][0] = node, edges[count++][1] = nodes - 1;
        } else {
            for (uint32_t i = 0, before = node; i < 3 && before > 0; i++) {
                state = state * 6364136223846793005u + 1442695040888963407u;
                uint32_t back = 1 + (uint32_t)(state >> 33) % 21;
                before = before > back ? before - back : 0;
                edges[count][0] = before, edges[count++][1] = node;
            }
        }
    }
    for (uint64_t i = 0; i < count; i++) graph_edge(one, edges[i][0], edges[i][1]);
    return count;
}

static int drive_graph(int count, char **words) {
    if (count != 5) return 2;
    uint32_t nodes = (uint32_t)number_argument(words, 2);
    uint64_t runs = number_argument(words, 3), digest = 0;
    uint32_t(*edges)[2] = (uint32_t(*)[2])calloc(3 * (size_t)nodes, sizeof *edges);
    node_at = (uint64_t *)calloc(nodes, sizeof *node_at);
    graph *one = graph_open(nodes, (uint32_t)number_argument(words, 4));
    uint64_t edge_count = add_edges(one, words[1], nodes, edges);
    graph_run(one);
    uint64_t start = now_ns();
    for (uint64_t run = 0; run < runs; run++) graph_run(one);
    uint64_t ns = now_ns() - start;
    for (uint64_t i = 0; i < edge_count; i++)
        if (node_at[edges[i][0]] >= node_at[edges[i][1]]) return 3;
    for (uint32_t i = 0; i < nodes; i++) digest += node_at[i] != 0;
    print_result((double)ns / 1e9, digest * 31 + edge_count);
    printf("\n");
    return 0;
}

#endif
