#include "exec/task_graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NONE         UINT32_MAX
#define POISONED     0x80000000u /* in pending: one before it did not succeed */
#define PATH_SHOWN   8u          /* nodes of a cycle in the detail */
#define EDGE_BUCKETS 2u          /* buckets of the edge table for each edge it may hold */

static_assert(KL_TASK_GRAPH_EDGES_MAX < POISONED, "a join counter never reaches its flag");

typedef struct {
    uint32_t function;
    uint32_t rank; /* its place in an order in which every edge leads upward */
    uint32_t first_out, last_out, first_in, last_in; /* edges, or NONE */
    uint32_t in_count, out_count;
    uint64_t argument;
} node_info;

typedef struct {
    uint32_t before, after;
    uint32_t next_out, next_in; /* of the same `before`, of the same `after` */
} edge_info;

struct kl_task_graph {
    uint32_t nodes_max, edges_max, node_count, edge_count;
    node_info *nodes;
    edge_info *edges;
    uint32_t *buckets; /* edge + 1 by hash of {before, after}, 0: free; linear probing */
    uint64_t bucket_mask;
    uint32_t *at_rank; /* the node at each rank */
    uint32_t *mark, *parent,
        *list[2]; /* of a search: the round it was seen in, from where; found */
    uint32_t round;
    uint32_t *cycle;
    uint32_t cycle_count;
    /* For runs: made by seal when edges have changed. */
    bool sealed;
    uint32_t *first_successor; /* node_count + 1 places in successors */
    uint32_t *successors;
    uint32_t *next_skipped; /* of a node that is skipped: the next one; by whoever skips it */
    uint8_t *state;
    uint32_t root_count, sink_count;
    _Atomic uint32_t *pending;
    _Alignas(64) _Atomic uint32_t sinks_left;
    _Atomic uint32_t first_failed; /* node + 1; 0: none */
    int32_t first_status;          /* by whoever set first_failed; read when the run is over */
    _Alignas(64) _Atomic uint32_t running;
    _Atomic uint32_t cancelled;
};

/* ---- building ---- */

static bool allocate(kl_task_graph *graph, uint32_t nodes, uint32_t edges) {
    uint64_t buckets = 1;
    while (buckets < (uint64_t)edges * EDGE_BUCKETS) buckets *= 2;
    graph->bucket_mask = buckets - 1;
    graph->nodes = calloc(nodes, sizeof *graph->nodes);
    graph->edges = calloc(edges, sizeof *graph->edges);
    graph->buckets = calloc(buckets, sizeof *graph->buckets);
    graph->at_rank = calloc(nodes, sizeof *graph->at_rank);
    graph->mark = calloc(nodes, sizeof *graph->mark);
    graph->parent = calloc(nodes, sizeof *graph->parent);
    graph->list[0] = calloc(nodes, sizeof *graph->list[0]);
    graph->list[1] = calloc(nodes, sizeof *graph->list[1]);
    graph->cycle = calloc(nodes, sizeof *graph->cycle);
    graph->first_successor = calloc((uint64_t)nodes + 1, sizeof *graph->first_successor);
    graph->successors = calloc(edges, sizeof *graph->successors);
    graph->next_skipped = calloc(nodes, sizeof *graph->next_skipped);
    graph->state = calloc(nodes, sizeof *graph->state);
    graph->pending = calloc(nodes, sizeof *graph->pending);
    return graph->nodes && graph->edges && graph->buckets && graph->at_rank && graph->mark &&
           graph->parent && graph->list[0] && graph->list[1] && graph->cycle &&
           graph->first_successor && graph->successors && graph->next_skipped && graph->state &&
           graph->pending;
}

int32_t kl_task_graph_make(kl_task_graph **out, uint32_t nodes_max, uint32_t edges_max) {
    *out = NULL;
    if (nodes_max == 0 || nodes_max > KL_TASK_GRAPH_NODES_MAX)
        return kl_fail(KL_ERR_ARGUMENT, "a task graph holds 1 to %u tasks, not %u",
                       KL_TASK_GRAPH_NODES_MAX, nodes_max);
    if (edges_max == 0 || edges_max > KL_TASK_GRAPH_EDGES_MAX)
        return kl_fail(KL_ERR_ARGUMENT, "a task graph holds 1 to %u dependencies, not %u",
                       KL_TASK_GRAPH_EDGES_MAX, edges_max);
    kl_task_graph *graph = aligned_alloc(_Alignof(kl_task_graph), sizeof *graph);
    if (!graph) return kl_fail(KL_ERR_MEMORY, "no memory for a task graph");
    memset(graph, 0, sizeof *graph);
    graph->nodes_max = nodes_max;
    graph->edges_max = edges_max;
    if (!allocate(graph, nodes_max, edges_max)) {
        kl_task_graph_free(graph);
        return kl_fail(KL_ERR_MEMORY, "no memory for %u tasks and %u dependencies", nodes_max,
                       edges_max);
    }
    *out = graph;
    return KL_OK;
}

void kl_task_graph_free(kl_task_graph *graph) {
    if (!graph) return;
    free(graph->nodes);
    free(graph->edges);
    free(graph->buckets);
    free(graph->at_rank);
    free(graph->mark);
    free(graph->parent);
    free(graph->list[0]);
    free(graph->list[1]);
    free(graph->cycle);
    free(graph->first_successor);
    free(graph->successors);
    free(graph->next_skipped);
    free(graph->state);
    free(graph->pending);
    free(graph);
}

/* KL_OK, or KL_ERR_AGAIN while a run is on. */
static int32_t at_rest(const kl_task_graph *graph) {
    /* acquire: partner is the release in end_run; what the run wrote is seen. */
    if (atomic_load_explicit(&graph->running, memory_order_acquire) == 0) return KL_OK;
    return kl_fail(KL_ERR_AGAIN, "the task graph is running");
}

int32_t kl_task_graph_add(kl_task_graph *graph, uint32_t function, uint64_t argument) {
    int32_t status = at_rest(graph);
    if (status != KL_OK) return status;
    if (graph->node_count == graph->nodes_max)
        return kl_fail(KL_ERR_LIMIT, "the task graph was made for at most %u tasks",
                       graph->nodes_max);
    uint32_t node = graph->node_count++;
    graph->nodes[node] = (node_info){.function = function,
                                     .argument = argument,
                                     .rank = node,
                                     .first_out = NONE,
                                     .last_out = NONE,
                                     .first_in = NONE,
                                     .last_in = NONE};
    graph->at_rank[node] = node;
    graph->sealed = false;
    return (int32_t)node;
}

/* The bucket of an edge, or the free one where it belongs. Ends: the table is at most half full. */
static uint32_t *bucket_of(const kl_task_graph *graph, uint32_t before, uint32_t after) {
    uint64_t hash = ((uint64_t)before << 32 | after) * 0x9e3779b97f4a7c15ull;
    for (uint64_t at = hash >> 32;; at++) {
        uint32_t *bucket = &graph->buckets[at & graph->bucket_mask];
        if (*bucket == 0) return bucket;
        const edge_info *edge = &graph->edges[*bucket - 1];
        if (edge->before == before && edge->after == after) return bucket;
    }
}

/* All nodes that edges lead to from `start` (forward) or that lead to it, whose rank lies between
 * `low` and `high`; into list[forward]. Ends early at `target`, which is then marked. */
static uint32_t search(kl_task_graph *graph, uint32_t start, bool forward, uint32_t low,
                       uint32_t high, uint32_t target) {
    uint32_t *list = graph->list[forward], count = 0;
    list[count++] = start;
    graph->mark[start] = graph->round;
    for (uint32_t done = 0; done < count; done++) {
        uint32_t node = list[done];
        const node_info *from = &graph->nodes[node];
        for (uint32_t at = forward ? from->first_out : from->first_in; at != NONE;
             at = forward ? graph->edges[at].next_out : graph->edges[at].next_in) {
            uint32_t next = forward ? graph->edges[at].after : graph->edges[at].before;
            uint32_t rank = graph->nodes[next].rank;
            if (rank < low || rank > high || graph->mark[next] == graph->round) continue;
            graph->mark[next] = graph->round;
            graph->parent[next] = node;
            list[count++] = next;
            if (next == target) return count;
        }
    }
    return count;
}

/* The search from `after` has met `before`: after -> ... -> before -> after. */
static int32_t refuse_cycle(kl_task_graph *graph, uint32_t before, uint32_t after) {
    char path[PATH_SHOWN * 16 + 32];
    uint32_t count = 0;
    for (uint32_t node = before; node != after; node = graph->parent[node])
        graph->cycle[count++] = node;
    graph->cycle[count++] = after;
    for (uint32_t i = 0; i < count / 2; i++) {
        uint32_t node = graph->cycle[i];
        graph->cycle[i] = graph->cycle[count - 1 - i];
        graph->cycle[count - 1 - i] = node;
    }
    graph->cycle_count = count;
    size_t used = 0;
    for (uint32_t i = 0; i < count && i < PATH_SHOWN; i++)
        used += (size_t)snprintf(path + used, sizeof path - used, "%u -> ", graph->cycle[i]);
    if (count > PATH_SHOWN)
        used +=
            (size_t)snprintf(path + used, sizeof path - used, "(%u more) -> ", count - PATH_SHOWN);
    snprintf(path + used, sizeof path - used, "%u", after);
    return kl_fail(KL_ERR_ARGUMENT, "task %u cannot come before task %u, that is a cycle: %s",
                   before, after, path);
}

static int by_number(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

/* Gives the ranks of all found nodes out anew: first what comes before, then what comes after. */
static void reorder(kl_task_graph *graph, uint32_t before_count, uint32_t after_count) {
    uint32_t counts[2] = {before_count, after_count}, total = 0;
    uint32_t *ranks = graph->parent; /* the search is over */
    for (uint32_t side = 0; side < 2; side++) {
        uint32_t *list = graph->list[side];
        for (uint32_t i = 0; i < counts[side]; i++) list[i] = graph->nodes[list[i]].rank;
        qsort(list, counts[side], sizeof *list, by_number);
    }
    for (uint32_t i = 0, j = 0; i < before_count || j < after_count;) {
        bool first =
            j == after_count || (i < before_count && graph->list[0][i] < graph->list[1][j]);
        ranks[total++] = first ? graph->list[0][i++] : graph->list[1][j++];
    }
    for (uint32_t side = 0; side < 2; side++) /* ranks back to nodes before any rank changes */
        for (uint32_t i = 0; i < counts[side]; i++)
            graph->list[side][i] = graph->at_rank[graph->list[side][i]];
    total = 0;
    for (uint32_t side = 0; side < 2; side++)
        for (uint32_t i = 0; i < counts[side]; i++) {
            uint32_t node = graph->list[side][i], rank = ranks[total++];
            graph->nodes[node].rank = rank;
            graph->at_rank[rank] = node;
        }
}

/* Makes room in the order for an edge; KL_ERR_ARGUMENT when it closes a cycle. */
static int32_t order_edge(kl_task_graph *graph, uint32_t before, uint32_t after) {
    uint32_t high = graph->nodes[before].rank, low = graph->nodes[after].rank;
    if (high < low) return KL_OK;
    if (++graph->round == 0) { /* 2^32 searches later: no mark may look like a new one */
        memset(graph->mark, 0, graph->nodes_max * sizeof *graph->mark);
        graph->round = 1;
    }
    uint32_t after_count = search(graph, after, true, low, high, before);
    if (graph->mark[before] == graph->round) return refuse_cycle(graph, before, after);
    uint32_t before_count = search(graph, before, false, low, high, NONE);
    reorder(graph, before_count, after_count);
    return KL_OK;
}

static void link_edge(kl_task_graph *graph, uint32_t edge) {
    edge_info *it = &graph->edges[edge];
    node_info *before = &graph->nodes[it->before], *after = &graph->nodes[it->after];
    if (before->last_out == NONE)
        before->first_out = edge;
    else
        graph->edges[before->last_out].next_out = edge;
    before->last_out = edge;
    before->out_count++;
    if (after->last_in == NONE)
        after->first_in = edge;
    else
        graph->edges[after->last_in].next_in = edge;
    after->last_in = edge;
    after->in_count++;
}

int32_t kl_task_graph_precede(kl_task_graph *graph, uint32_t before, uint32_t after) {
    int32_t status = at_rest(graph);
    if (status != KL_OK) return status;
    if (before >= graph->node_count || after >= graph->node_count)
        return kl_fail(KL_ERR_ARGUMENT, "there is no task %u, only %u tasks",
                       before >= graph->node_count ? before : after, graph->node_count);
    uint32_t *bucket = bucket_of(graph, before, after);
    if (*bucket != 0) return KL_OK;
    if (graph->edge_count == graph->edges_max)
        return kl_fail(KL_ERR_LIMIT, "the task graph was made for at most %u dependencies",
                       graph->edges_max);
    status = order_edge(graph, before, after);
    if (status != KL_OK) return status;
    uint32_t edge = graph->edge_count++;
    graph->edges[edge] =
        (edge_info){.before = before, .after = after, .next_out = NONE, .next_in = NONE};
    link_edge(graph, edge);
    *bucket = edge + 1;
    graph->sealed = false;
    return KL_OK;
}

uint32_t kl_task_graph_cycle(const kl_task_graph *graph, uint32_t *out, uint32_t capacity) {
    uint32_t count = graph->cycle_count < capacity ? graph->cycle_count : capacity;
    if (count > 0) memcpy(out, graph->cycle, count * sizeof *out);
    return graph->cycle_count;
}

uint32_t kl_task_graph_nodes(const kl_task_graph *graph) {
    return graph->node_count;
}

uint32_t kl_task_graph_edges(const kl_task_graph *graph) {
    return graph->edge_count;
}

uint32_t kl_task_graph_function(const kl_task_graph *graph, uint32_t node) {
    return graph->nodes[node].function;
}

uint64_t kl_task_graph_argument(const kl_task_graph *graph, uint32_t node) {
    return graph->nodes[node].argument;
}

uint32_t kl_task_graph_before(const kl_task_graph *graph, uint32_t node, uint32_t *out,
                              uint32_t capacity) {
    uint32_t count = 0;
    for (uint32_t at = graph->nodes[node].first_in; at != NONE; at = graph->edges[at].next_in) {
        if (count < capacity) out[count] = graph->edges[at].before;
        count++;
    }
    return count;
}

/* ---- runs ---- */

/* Puts the successors of each node side by side: a run reads them in one go. */
static void seal(kl_task_graph *graph) {
    uint32_t at = 0;
    graph->root_count = graph->sink_count = 0;
    for (uint32_t node = 0; node < graph->node_count; node++) {
        graph->first_successor[node] = at;
        for (uint32_t edge = graph->nodes[node].first_out; edge != NONE;
             edge = graph->edges[edge].next_out)
            graph->successors[at++] = graph->edges[edge].after;
        if (graph->nodes[node].in_count == 0) graph->root_count++;
        if (graph->nodes[node].out_count == 0) graph->sink_count++;
    }
    graph->first_successor[graph->node_count] = at;
    graph->sealed = true;
}

int32_t kl_task_graph_start(kl_task_graph *graph, kl_task_graph_ready_fn ready, void *context) {
    int32_t status = at_rest(graph);
    if (status != KL_OK) return status;
    if (!graph->sealed) seal(graph);
    for (uint32_t node = 0; node < graph->node_count; node++)
        /* relaxed: whoever hands a ready node to another thread orders all of this. */
        atomic_store_explicit(&graph->pending[node], graph->nodes[node].in_count,
                              memory_order_relaxed);
    memset(graph->state, KL_TASK_WAITING, graph->node_count);
    /* relaxed, these three: as above. */
    atomic_store_explicit(&graph->sinks_left, graph->sink_count, memory_order_relaxed);
    atomic_store_explicit(&graph->first_failed, 0, memory_order_relaxed);
    atomic_store_explicit(&graph->cancelled, 0, memory_order_relaxed);
    graph->first_status = KL_OK;
    if (graph->node_count == 0) return 1;
    atomic_store_explicit(&graph->running, 1, memory_order_relaxed);
    /* The run can be over as soon as the last root is handed out: nothing is read after that. */
    for (uint32_t node = 0, left = graph->root_count; left > 0; node++)
        if (graph->nodes[node].in_count == 0) {
            left--;
            ready(context, node);
        }
    return KL_OK;
}

bool kl_task_graph_begin(kl_task_graph *graph, uint32_t node) {
    KL_ASSERT(node < graph->node_count);
    (void)node;
    /* relaxed: partner is the store in cancel; a node begun a moment later is as good. */
    return atomic_load_explicit(&graph->cancelled, memory_order_relaxed) == 0;
}

void kl_task_graph_cancel(kl_task_graph *graph) {
    /* relaxed: partner is the load in begin; nothing else is said by it. */
    atomic_store_explicit(&graph->cancelled, 1, memory_order_relaxed);
}

static void remember_failure(kl_task_graph *graph, uint32_t node, int32_t status) {
    uint32_t none = 0;
    /* relaxed: who sets it is all that counts; read when the run is over. */
    if (atomic_compare_exchange_strong_explicit(&graph->first_failed, &none, node + 1,
                                                memory_order_relaxed, memory_order_relaxed))
        graph->first_status = status;
}

/* Ends one node that is DONE or not; links the successors that must be skipped in front of *skipped.
 * True: it was the last of the run. */
static bool end_one(kl_task_graph *graph, uint32_t node, bool success, uint32_t *skipped,
                    kl_task_graph_ready_fn ready, void *context) {
    uint32_t at = graph->first_successor[node], end = graph->first_successor[node + 1];
    if (at == end)
        /* acq_rel: partners are the same countdowns of others; the last one has seen all. */
        return atomic_fetch_sub_explicit(&graph->sinks_left, 1, memory_order_acq_rel) == 1;
    for (; at < end; at++) {
        uint32_t next = graph->successors[at];
        if (!success) /* relaxed: it comes before this thread's own countdown of the same word. */
            atomic_fetch_or_explicit(&graph->pending[next], POISONED, memory_order_relaxed);
        /* acq_rel: partners are the same countdowns of others; the last one sees what all nodes
         * before `next` wrote, and hands it on. */
        uint32_t before = atomic_fetch_sub_explicit(&graph->pending[next], 1, memory_order_acq_rel);
        if ((before & ~POISONED) != 1) continue;
        if (before == 1) {
            ready(context, next);
        } else {
            graph->next_skipped[next] = *skipped;
            *skipped = next;
        }
    }
    return false;
}

bool kl_task_graph_end(kl_task_graph *graph, uint32_t node, int32_t status,
                       kl_task_graph_ready_fn ready, void *context) {
    KL_ASSERT(node < graph->node_count && graph->state[node] == KL_TASK_WAITING);
    graph->state[node] = status >= 0                ? KL_TASK_DONE
                         : status == KL_ERR_STOPPED ? KL_TASK_CANCELLED
                                                    : KL_TASK_FAILED;
    if (graph->state[node] == KL_TASK_FAILED) remember_failure(graph, node, status);
    uint32_t skipped = NONE;
    bool over = end_one(graph, node, status >= 0, &skipped, ready, context);
    while (skipped != NONE) { /* over is false until the last of them */
        uint32_t next = skipped;
        skipped = graph->next_skipped[next];
        graph->state[next] = KL_TASK_SKIPPED;
        over = end_one(graph, next, false, &skipped, ready, context);
    }
    if (over) /* release: partner is the acquire in at_rest. */
        atomic_store_explicit(&graph->running, 0, memory_order_release);
    return over;
}

int32_t kl_task_graph_read_outcome(kl_task_graph *graph, kl_task_graph_outcome *out) {
    int32_t status = at_rest(graph);
    if (status != KL_OK) return status;
    uint32_t counts[KL_TASK_CANCELLED + 1] = {0};
    for (uint32_t node = 0; node < graph->node_count; node++) counts[graph->state[node]]++;
    /* relaxed: at_rest has ordered it. */
    uint32_t failed = atomic_load_explicit(&graph->first_failed, memory_order_relaxed);
    *out = (kl_task_graph_outcome){.done = counts[KL_TASK_DONE],
                                   .failed = counts[KL_TASK_FAILED],
                                   .skipped = counts[KL_TASK_SKIPPED],
                                   .cancelled = counts[KL_TASK_CANCELLED],
                                   .first_failed = failed - 1,
                                   .status = graph->first_status};
    return KL_OK;
}

int32_t kl_task_graph_state(kl_task_graph *graph, uint32_t node) {
    int32_t status = at_rest(graph);
    if (status != KL_OK) return status;
    if (node >= graph->node_count)
        return kl_fail(KL_ERR_ARGUMENT, "there is no task %u, only %u tasks", node,
                       graph->node_count);
    return graph->state[node];
}

int32_t kl_task_graph_verify(const kl_task_graph *graph) {
    uint64_t ins = 0, outs = 0;
    for (uint32_t node = 0; node < graph->node_count; node++) {
        uint32_t rank = graph->nodes[node].rank;
        if (rank >= graph->node_count || graph->at_rank[rank] != node)
            return kl_fail(KL_ERR_CORRUPT, "task %u is not at its rank %u", node, rank);
        ins += graph->nodes[node].in_count;
        outs += graph->nodes[node].out_count;
    }
    if (ins != graph->edge_count || outs != graph->edge_count)
        return kl_fail(KL_ERR_CORRUPT, "%u dependencies, but join counters for %llu",
                       graph->edge_count, (unsigned long long)ins);
    for (uint32_t edge = 0; edge < graph->edge_count; edge++) {
        const edge_info *it = &graph->edges[edge];
        if (graph->nodes[it->before].rank >= graph->nodes[it->after].rank)
            return kl_fail(KL_ERR_CORRUPT, "task %u stands before task %u", it->after, it->before);
        if (*bucket_of(graph, it->before, it->after) != edge + 1)
            return kl_fail(KL_ERR_CORRUPT, "dependency %u is not in its table", edge);
    }
    return KL_OK;
}
