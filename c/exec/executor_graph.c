#include <stdlib.h>

#include "exec/executor.h"

#define NO_NODE  UINT32_MAX
#define KEPT_MAX 64u /* nodes run in one go; then the lane looks at what else there is */

typedef struct graph_run graph_run;

typedef struct {
    kl_job job;
    graph_run *run;
    uint32_t node;
} node_job;

struct graph_run {
    kl_job starter;
    kl_executor *executor;
    kl_task_graph *graph;
    kl_task_fn task;
    void *context;
    node_job *nodes;
    int32_t status;
    _Atomic uint32_t over;
};

/* Where ready nodes go: one is kept to be run next, without a queue. */
typedef struct {
    graph_run *run;
    kl_executor_lane *lane;
    uint32_t kept;
} ready_place;

static void take_ready(void *context, uint32_t node) {
    ready_place *place = context;
    if (place->kept == NO_NODE)
        place->kept = node;
    else
        kl_executor_push(place->lane, &place->run->nodes[node].job);
}

/* `run` is the waiter's again with the store: the event is the executor's, which outlives it. */
static void finish(graph_run *run, int32_t status, kl_executor *executor) {
    run->status = status;
    /* release: partner is the acquire in kl_executor_run_graph. */
    atomic_store_explicit(&run->over, 1, memory_order_release);
    kl_event_count_notify_all(kl_executor_graph_event(executor));
}

/* Runs a node, then one that it made ready, and so on. */
static void run_from(graph_run *run, uint32_t node, kl_executor_lane *lane) {
    kl_task_graph *graph = run->graph;
    ready_place place = {run, lane, node};
    for (uint32_t kept = 0; place.kept != NO_NODE; kept++) {
        node = place.kept;
        if (kept == KEPT_MAX) {
            kl_executor_push(lane, &run->nodes[node].job);
            return;
        }
        place.kept = NO_NODE;
        int32_t status = KL_ERR_STOPPED;
        if (kl_task_graph_begin(graph, node))
            status = run->task(run->context, kl_task_graph_function(graph, node),
                               kl_task_graph_argument(graph, node));
        if (kl_task_graph_end(graph, node, status, take_ready, &place)) {
            finish(run, KL_OK, kl_executor_of(lane));
            return;
        }
    }
}

static void run_node(kl_job *job, int32_t status, kl_executor_lane *lane) {
    node_job *it = (node_job *)job;
    if (status != KL_OK) kl_task_graph_cancel(it->run->graph);
    run_from(it->run, it->node, lane);
}

static void start_run(kl_job *job, int32_t status, kl_executor_lane *lane) {
    graph_run *run = (graph_run *)job;
    ready_place place = {run, lane, NO_NODE};
    if (status == KL_OK) status = kl_task_graph_start(run->graph, take_ready, &place);
    if (status != KL_OK)
        finish(run, status > 0 ? KL_OK : status, run->executor);
    else
        run_from(run, place.kept, lane);
}

int32_t kl_executor_run_graph(kl_executor *executor, kl_task_graph *graph, kl_task_fn task,
                              void *context) {
    uint32_t count = kl_task_graph_nodes(graph);
    graph_run run = {{start_run}, executor, graph, task, context, NULL, KL_OK, 0};
    run.nodes = calloc(count ? count : 1, sizeof *run.nodes);
    if (!run.nodes) return kl_fail(KL_ERR_MEMORY, "no memory to run %u tasks", count);
    for (uint32_t node = 0; node < count; node++)
        run.nodes[node] = (node_job){{run_node}, &run, node};
    kl_event_count *event = kl_executor_graph_event(executor);
    int32_t status = kl_executor_submit(executor, &run.starter);
    while (status == KL_OK) {
        uint32_t key = kl_event_count_prepare(event);
        /* acquire: partner is the release in finish; what the tasks wrote is seen. */
        if (atomic_load_explicit(&run.over, memory_order_acquire) != 0) {
            status = run.status;
            break;
        }
        kl_event_count_wait(event, key, KL_FOREVER, NULL);
    }
    free(run.nodes);
    return status;
}
