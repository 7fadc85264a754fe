#include "exec/worker_graph.h"

#include <stdlib.h>
#include <string.h>

#include "base/handle.h"

#define SMALL_BYTES 24u /* kept in the node itself */
#define NO_NODE     UINT32_MAX

/* Bytes of a value or a result. */
typedef struct {
    uint32_t bytes;
    uint8_t *large; /* NULL: in `small` */
    uint8_t small[SMALL_BYTES];
} blob;

typedef struct worker_graph worker_graph;

typedef struct {
    kl_job job;
    worker_graph *graph;
    uint32_t node;
    blob value, result;
} graph_node;

struct worker_graph {
    kl_job starter;
    kl_worker_pool *pool;
    kl_task_graph *tasks;
    graph_node *nodes;
    uint32_t nodes_max, token;
    _Atomic uint32_t users; /* the handle, and a run */
};

/* ---- blobs ---- */

static const uint8_t *blob_data(const blob *it) {
    return it->large ? it->large : it->small;
}

static void clear_blob(blob *it) {
    free(it->large);
    it->large = NULL;
    it->bytes = 0;
}

static int32_t set_blob(blob *it, const uint8_t *data, uint32_t bytes) {
    uint8_t *large = NULL;
    if (bytes > SMALL_BYTES && !(large = malloc(bytes)))
        return kl_fail(KL_ERR_MEMORY, "no memory for a value of %u bytes", bytes);
    clear_blob(it);
    it->large = large;
    it->bytes = bytes;
    if (bytes > 0) memcpy(large ? large : it->small, data, bytes);
    return KL_OK;
}

/* ---- the graph behind its handle ---- */

static void release(worker_graph *graph) {
    /* acq_rel: partner is the same of the other user; the last one sees all and frees. */
    if (atomic_fetch_sub_explicit(&graph->users, 1, memory_order_acq_rel) != 1) return;
    uint32_t count = graph->tasks ? kl_task_graph_nodes(graph->tasks) : 0;
    for (uint32_t node = 0; node < count; node++) {
        clear_blob(&graph->nodes[node].value);
        clear_blob(&graph->nodes[node].result);
    }
    kl_task_graph_free(graph->tasks);
    kl_worker_pool_release(graph->pool);
    free(graph->nodes);
    free(graph);
}

static void destroy(void *object) {
    worker_graph *graph = object;
    kl_task_graph_cancel(graph->tasks); /* a run that is on begins nothing more, and ends */
    release(graph);
}

uint32_t kl_worker_graph_open(uint32_t pool_handle, uint32_t nodes_max, uint32_t edges_max) {
    kl_worker_pool *pool = kl_worker_pool_enter(pool_handle);
    if (!pool) return 0;
    worker_graph *graph = calloc(1, sizeof *graph);
    uint32_t handle = 0;
    if (!graph) {
        kl_fail(KL_ERR_MEMORY, "no memory for a task graph");
    } else {
        kl_worker_pool_keep(pool);
        graph->pool = pool;
        graph->nodes_max = nodes_max;
        atomic_init(&graph->users, 1);
        if (kl_task_graph_make(&graph->tasks, nodes_max, edges_max) != KL_OK) {
            release(graph);
        } else if (!(graph->nodes = calloc(nodes_max, sizeof *graph->nodes))) {
            kl_fail(KL_ERR_MEMORY, "no memory for %u tasks", nodes_max);
            release(graph);
        } else if (!(handle = kl_handle_open(KL_HANDLE_TASK_GRAPH, graph, destroy))) {
            kl_fail(KL_ERR_LIMIT, "all %u handles are open", KL_HANDLE_COUNT_MAX);
            release(graph);
        }
    }
    kl_handle_leave(pool_handle);
    return handle;
}

int32_t kl_worker_graph_close(uint32_t handle) {
    return kl_handle_close(handle, KL_HANDLE_TASK_GRAPH);
}

static worker_graph *enter(uint32_t handle) {
    worker_graph *graph = kl_handle_enter(handle, KL_HANDLE_TASK_GRAPH);
    if (!graph) kl_fail(KL_ERR_HANDLE, "the task graph is closed");
    return graph;
}

int32_t kl_worker_graph_add(uint32_t handle, uint32_t function, const uint8_t *value,
                            uint32_t value_bytes) {
    worker_graph *graph = enter(handle);
    if (!graph) return KL_ERR_HANDLE;
    blob copy = {0, NULL, {0}};
    int32_t status = set_blob(&copy, value, value_bytes);
    if (status == KL_OK) status = kl_task_graph_add(graph->tasks, function, 0);
    if (status < 0) {
        clear_blob(&copy);
    } else {
        graph_node *it = &graph->nodes[status];
        it->graph = graph;
        it->node = (uint32_t)status;
        it->value = copy;
    }
    kl_handle_leave(handle);
    return status;
}

int32_t kl_worker_graph_precede(uint32_t handle, uint32_t before, uint32_t after) {
    worker_graph *graph = enter(handle);
    if (!graph) return KL_ERR_HANDLE;
    int32_t status = kl_task_graph_precede(graph->tasks, before, after);
    kl_handle_leave(handle);
    return status;
}

int32_t kl_worker_graph_cycle(uint32_t handle, uint8_t *out, uint32_t capacity_bytes) {
    worker_graph *graph = enter(handle);
    if (!graph) return KL_ERR_HANDLE;
    uint32_t count = kl_task_graph_cycle(graph->tasks, (uint32_t *)(void *)out,
                                         capacity_bytes / (uint32_t)sizeof(uint32_t));
    kl_handle_leave(handle);
    return (int32_t)count;
}

int32_t kl_worker_graph_cancel(uint32_t handle) {
    worker_graph *graph = enter(handle);
    if (!graph) return KL_ERR_HANDLE;
    kl_task_graph_cancel(graph->tasks);
    kl_handle_leave(handle);
    return KL_OK;
}

int32_t kl_worker_graph_outcome(uint32_t handle, uint8_t *out, uint32_t capacity) {
    worker_graph *graph = enter(handle);
    if (!graph) return KL_ERR_HANDLE;
    kl_task_graph_outcome outcome;
    int32_t status = kl_task_graph_read_outcome(graph->tasks, &outcome);
    if (status == KL_OK && capacity < sizeof outcome)
        status = kl_fail(KL_ERR_ARGUMENT, "an outcome has %zu bytes", sizeof outcome);
    if (status == KL_OK) memcpy(out, &outcome, sizeof outcome);
    kl_handle_leave(handle);
    return status;
}

int32_t kl_worker_graph_state(uint32_t handle, uint32_t node) {
    worker_graph *graph = enter(handle);
    if (!graph) return KL_ERR_HANDLE;
    int32_t status = kl_task_graph_state(graph->tasks, node);
    kl_handle_leave(handle);
    return status;
}

int32_t kl_worker_graph_result(uint32_t handle, uint32_t node, uint8_t *out, uint32_t capacity) {
    worker_graph *graph = enter(handle);
    if (!graph) return KL_ERR_HANDLE;
    int32_t status = kl_task_graph_state(graph->tasks, node);
    if (status >= 0) {
        const blob *result = &graph->nodes[node].result;
        uint32_t bytes = result->bytes < capacity ? result->bytes : capacity;
        if (bytes > 0) memcpy(out, blob_data(result), bytes);
        status = (int32_t)result->bytes;
    }
    kl_handle_leave(handle);
    return status;
}

/* ---- runs ---- */

/* Where ready nodes go: one is kept to be run next. */
typedef struct {
    worker_graph *graph;
    kl_executor_lane *lane;
    uint32_t kept;
} ready_place;

static void take_ready(void *context, uint32_t node) {
    ready_place *place = context;
    if (place->kept == NO_NODE)
        place->kept = node;
    else
        kl_executor_push(place->lane, &place->graph->nodes[node].job);
}

/* Lets the graph go before it is told: whoever hears of it may run it again. */
static void end_run(worker_graph *graph) {
    kl_worker_pool *pool = graph->pool;
    uint32_t token = graph->token;
    kl_worker_pool_keep(pool);
    release(graph);
    kl_worker_pool_graph_over(pool, token);
    kl_worker_pool_release(pool);
}

/* The pool is gone before this node began: ends it, and what it makes ready, without a lane. */
static void drop_ready(void *context, uint32_t node);

static void drop_node(worker_graph *graph, uint32_t node) {
    kl_task_graph_cancel(graph->tasks);
    if (kl_task_graph_end(graph->tasks, node, KL_ERR_STOPPED, drop_ready, graph)) end_run(graph);
}

/* Cancelled nodes make nothing ready; only the roots of a run that never began come here. */
static void drop_ready(void *context, uint32_t node) {
    drop_node(context, node);
}

/* Called when nobody drives the lanes any more (or by mistake in a lane): it is not run. */
static void run_node(kl_job *job, int32_t status, kl_executor_lane *lane) {
    graph_node *it = (graph_node *)job;
    (void)status;
    (void)lane;
    drop_node(it->graph, it->node);
}

static void start_run(kl_job *job, int32_t status, kl_executor_lane *lane) {
    worker_graph *graph = (worker_graph *)job;
    ready_place place = {graph, lane, NO_NODE};
    int32_t started = lane ? kl_task_graph_start(graph->tasks, take_ready, &place)
                           : kl_task_graph_start(graph->tasks, drop_ready, graph);
    (void)status;
    if (started != KL_OK)
        end_run(graph); /* 1: it has no nodes; an error cannot be, run has asked */
    else if (place.kept != NO_NODE)
        kl_executor_push(lane, &graph->nodes[place.kept].job);
}

int32_t kl_worker_graph_run(uint32_t handle, uint32_t token) {
    worker_graph *graph = enter(handle);
    if (!graph) return KL_ERR_HANDLE;
    kl_task_graph_outcome outcome;
    int32_t status = kl_task_graph_read_outcome(graph->tasks, &outcome); /* is it at rest? */
    /* relaxed: the opener's thread starts runs, and sees its own. */
    if (status == KL_OK && atomic_load_explicit(&graph->users, memory_order_relaxed) > 1)
        status = kl_fail(KL_ERR_AGAIN, "the task graph is running");
    if (status == KL_OK) {
        uint32_t count = kl_task_graph_nodes(graph->tasks);
        for (uint32_t node = 0; node < count; node++) {
            graph->nodes[node].job.run = run_node;
            clear_blob(&graph->nodes[node].result);
        }
        graph->token = token;
        graph->starter.run = start_run;
        /* relaxed: the queue hands the graph to the lane that starts it. */
        atomic_fetch_add_explicit(&graph->users, 1, memory_order_relaxed);
        status = kl_executor_submit(kl_worker_pool_executor(graph->pool), &graph->starter);
        if (status != KL_OK)
            atomic_fetch_sub_explicit(&graph->users, 1,
                                      memory_order_relaxed); /* the handle's stays */
    }
    kl_handle_leave(handle);
    return status;
}

/* ---- a node in a lane ---- */

bool kl_worker_graph_is_node(const kl_job *job) {
    return job->run == run_node;
}

bool kl_worker_graph_begin(const kl_job *job) {
    const graph_node *it = (const graph_node *)job;
    return kl_task_graph_begin(it->graph->tasks, it->node);
}

static uint32_t padded(uint32_t bytes) {
    return (bytes + 3) & ~3u;
}

static uint8_t *write_blob(uint8_t *at, const blob *it) {
    memcpy(at, &it->bytes, sizeof it->bytes);
    if (it->bytes > 0) memcpy(at + sizeof it->bytes, blob_data(it), it->bytes);
    return at + sizeof it->bytes + padded(it->bytes);
}

uint64_t kl_worker_graph_order(const kl_job *job, uint8_t *out, uint32_t capacity) {
    const graph_node *it = (const graph_node *)job;
    const worker_graph *graph = it->graph;
    uint32_t few[16], *before = few;
    uint32_t count = kl_task_graph_before(graph->tasks, it->node, few, 16);
    if (count > 16) {
        before = malloc(count * sizeof *before);
        if (!before) return UINT64_MAX;
        kl_task_graph_before(graph->tasks, it->node, before, count);
    }
    uint64_t bytes = sizeof(kl_worker_order) + sizeof(uint32_t) + padded(it->value.bytes);
    for (uint32_t i = 0; i < count; i++)
        bytes += sizeof(uint32_t) + padded(graph->nodes[before[i]].result.bytes);
    if (bytes <= capacity) {
        kl_worker_order order = {(uint32_t)bytes, kl_task_graph_function(graph->tasks, it->node),
                                 count + 1};
        memcpy(out, &order, sizeof order);
        uint8_t *at = write_blob(out + sizeof order, &it->value);
        for (uint32_t i = 0; i < count; i++) at = write_blob(at, &graph->nodes[before[i]].result);
    }
    if (before != few) free(before);
    return bytes;
}

kl_job *kl_worker_graph_end(kl_job *job, uint32_t outcome, const uint8_t *result,
                            uint32_t result_bytes, kl_executor_lane *lane) {
    graph_node *it = (graph_node *)job;
    worker_graph *graph = it->graph;
    int32_t status = outcome == KL_WORKER_VALUE       ? KL_OK
                     : outcome == KL_WORKER_CANCELLED ? KL_ERR_STOPPED
                                                      : KL_ERR_IO;
    int32_t kept = set_blob(&it->result, result, result_bytes);
    ready_place place = {graph, lane, NO_NODE};
    bool over = kl_task_graph_end(graph->tasks, it->node, kept == KL_OK ? status : kept, take_ready,
                                  &place);
    kl_job *next = place.kept == NO_NODE ? NULL : &graph->nodes[place.kept].job;
    if (over) end_run(graph);
    return next;
}
