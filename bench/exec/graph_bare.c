/* exec/task_graph on exec/executor in bare C: see graph_drive.h. */
#include "exec/executor.h"

#include "bench/exec/node_body.h"

typedef struct {
    kl_executor *executor;
    kl_task_graph *tasks;
} graph;

static int32_t run_node(void *context, uint32_t function, uint64_t argument) {
    (void)context, (void)function;
    node_body((uint32_t)argument);
    return KL_OK;
}

static graph *graph_open(uint32_t nodes, uint32_t threads) {
    static graph made;
    kl_executor_options options = {.lanes = threads, .threads = true, .pin = true};
    if (kl_executor_open(&made.executor, &options) != KL_OK) exit(1);
    if (kl_task_graph_make(&made.tasks, nodes, 3 * nodes) != KL_OK) exit(1);
    for (uint32_t i = 0; i < nodes; i++)
        if (kl_task_graph_add(made.tasks, 0, i) < 0) exit(1);
    return &made;
}

static void graph_edge(graph *one, uint32_t before, uint32_t after) {
    if (kl_task_graph_precede(one->tasks, before, after) != KL_OK) exit(1);
}

static void graph_run(graph *one) {
    if (kl_executor_run_graph(one->executor, one->tasks, run_node, NULL) != KL_OK) exit(3);
}

#include "bench/exec/graph_drive.h"

int main(int count, char **words) {
    return drive_graph(count, words);
}
