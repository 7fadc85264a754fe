/* task_graph: tasks of which some must come before others; each node has a join counter.
 *
 * A node is {function, argument, how many must come before it, those that come after it}. The graph
 * does not run anything: a driver (exec/executor, exec/worker_pool) starts it, is told which nodes
 * are ready, and says when one has ended. Who ends a node counts down the join counters of its
 * successors; whoever brings one to 0 has made that node ready: no scan, no waves.
 *
 *   nodes, edges, rank   by whoever builds, while no run is on
 *   pending of a node    the join counter and a bit "one before it did not succeed": set up by start,
 *                        counted down by whoever ends a node before it
 *   state of a node      by whoever ended the node, once in a run; read when the run is over
 *   sinks_left           nodes without successors that have not ended; 0: the run is over
 *   running, cancelled   by start, by whoever ends the last node; by cancel
 *
 * Always: the edges have no cycle; an edge that would close one is refused when it is added (an
 * order is kept as edges come: Pearce and Kelly, "A dynamic topological sort algorithm for directed
 * acyclic graphs", JEA 2006). In a run each node becomes ready at most once, after all before it
 * have ended, and what they wrote is seen by it (the countdown is acq_rel). A node behind one that
 * failed, was cancelled or skipped never becomes ready: it is skipped. Every run ends.
 * Death: lives in one process, and ends with it.
 * Progress: end is wait-free apart from the number of successors (and of those it skips); begin and
 * cancel are wait-free; adding an edge takes as long as the part of the order it turns around.
 *
 * May these run at the same time, on one graph?  add/precede  start  begin/end  cancel  outcome
 *                                   add/precede  no           no     no         yes     no
 *                                   start        no           no     no         yes     no
 *                                   begin/end    no           no     yes        yes     no
 *                                   cancel       yes          yes    yes        yes     yes
 *                                   outcome      no           no     no         yes     yes
 * add, precede and start answer KL_ERR_AGAIN while a run is on.
 */
#ifndef KL_EXEC_TASK_GRAPH_H
#define KL_EXEC_TASK_GRAPH_H

#include <stdatomic.h>

#include "base/status.h"

#define KL_TASK_GRAPH_NODES_MAX (1u << 20)
#define KL_TASK_GRAPH_EDGES_MAX (1u << 23)

typedef struct kl_task_graph kl_task_graph;

enum kl_task_state {
    KL_TASK_WAITING = 0, /* not yet, or not ended */
    KL_TASK_DONE = 1,
    KL_TASK_FAILED = 2,
    KL_TASK_SKIPPED = 3,  /* one before it did not succeed */
    KL_TASK_CANCELLED = 4 /* ready, but not begun when the run was cancelled */
};

/* layout: kl_task_graph_outcome done failed skipped cancelled first_failed status */
typedef struct {
    uint32_t done, failed, skipped, cancelled;
    uint32_t first_failed; /* the first node that failed, by time; UINT32_MAX: none did */
    int32_t status;        /* of that node; KL_OK when none failed */
} kl_task_graph_outcome;

/* Called for a node that may run now, on the thread that made it ready. */
typedef void (*kl_task_graph_ready_fn)(void *context, uint32_t node);

/* An empty graph. KL_ERR_ARGUMENT (a limit is 0 or too high), KL_ERR_MEMORY. */
int32_t kl_task_graph_make(kl_task_graph **out, uint32_t nodes_max, uint32_t edges_max);
void kl_task_graph_free(kl_task_graph *graph); /* NULL: nothing. Not while a run is on. */

/* The number of the new node (from 0 upward); KL_ERR_LIMIT, KL_ERR_AGAIN. */
int32_t kl_task_graph_add(kl_task_graph *graph, uint32_t function, uint64_t argument);

/* `after` becomes ready only when `before` has ended. Saying so twice is nothing. KL_ERR_ARGUMENT:
 * no such node, or a cycle (the detail has its path, kl_task_graph_cycle all of it); KL_ERR_LIMIT. */
int32_t kl_task_graph_precede(kl_task_graph *graph, uint32_t before, uint32_t after);

/* The cycle that the last refused precede would have closed, first node not repeated: how many
 * nodes it has, of which at most `capacity` are written. */
uint32_t kl_task_graph_cycle(const kl_task_graph *graph, uint32_t *out, uint32_t capacity);

uint32_t kl_task_graph_nodes(const kl_task_graph *graph);
uint32_t kl_task_graph_edges(const kl_task_graph *graph);
uint32_t kl_task_graph_function(const kl_task_graph *graph, uint32_t node);
uint64_t kl_task_graph_argument(const kl_task_graph *graph, uint32_t node);
/* Those that come directly before a node, in the order in which the edges were added. */
uint32_t kl_task_graph_before(const kl_task_graph *graph, uint32_t node, uint32_t *out,
                              uint32_t capacity);

/* Starts a run: `ready` is called for each node nothing comes before. 1: there is no node, the run
 * is over already; KL_OK; KL_ERR_AGAIN: the last one is not over; KL_ERR_MEMORY. */
int32_t kl_task_graph_start(kl_task_graph *graph, kl_task_graph_ready_fn ready, void *context);

/* Before a ready node is run. False: the run was cancelled; end it with KL_ERR_STOPPED instead. */
bool kl_task_graph_begin(kl_task_graph *graph, uint32_t node);

/* Ends a ready node, once: KL_OK, KL_ERR_STOPPED (cancelled), or why it failed. `ready` is called
 * for each node that may run now. True: that was the last one, the run is over. */
bool kl_task_graph_end(kl_task_graph *graph, uint32_t node, int32_t status,
                       kl_task_graph_ready_fn ready, void *context);

/* No node is begun any more; those that run are not disturbed. Forgotten by the next start. */
void kl_task_graph_cancel(kl_task_graph *graph);

/* What became of the last run, when it is over; KL_ERR_AGAIN while it is on. */
int32_t kl_task_graph_read_outcome(kl_task_graph *graph, kl_task_graph_outcome *out);
/* A kl_task_state, as of the last run that is over; KL_ERR_ARGUMENT, KL_ERR_AGAIN. */
int32_t kl_task_graph_state(kl_task_graph *graph, uint32_t node);

/* KL_OK, or KL_ERR_CORRUPT: the order, the edge table and the counters do not fit together. */
int32_t kl_task_graph_verify(const kl_task_graph *graph);

#endif
