/* worker_graph: a task graph whose nodes are TypeScript functions, run by the Workers of a pool.
 *
 * Each node has a value, given when it is added, and a result, given by the Worker that ran it; a node
 * is handed its value and the results of those that come directly before it. The Worker that ends a
 * node counts the join counters down and goes on with one that became ready; the opener hears of
 * the run's end only.
 *
 *   nodes, values   by the opener, while no run is on
 *   result of node  by the lane that ran it, before it ends the node; read by those behind it, and by
 *                   the opener when the run is over
 *
 * Always: what exec/task_graph says. A node whose function threw, or whose Worker died, has failed;
 * its result is the error.
 * Death: lives in one process; a run keeps graph and pool alive until it is over.
 * Progress: as exec/task_graph; add and run block for a few instructions only.
 *
 * May these run at the same time, on one graph?  all but cancel belong to the opener's thread; while
 * a run is on they answer KL_ERR_AGAIN.
 */
#ifndef KL_EXEC_WORKER_GRAPH_H
#define KL_EXEC_WORKER_GRAPH_H

#include "exec/worker_pool.h"

/* A handle, or 0: KL_ERR_ARGUMENT, KL_ERR_MEMORY, KL_ERR_HANDLE. */
KL_API uint32_t kl_worker_graph_open(uint32_t pool, uint32_t nodes_max, uint32_t edges_max);
KL_API int32_t kl_worker_graph_close(uint32_t graph);

/* The node's number; KL_ERR_LIMIT, KL_ERR_AGAIN, KL_ERR_MEMORY. */
KL_API int32_t kl_worker_graph_add(uint32_t graph, uint32_t function, const uint8_t *value,
                                   uint32_t value_bytes);
/* kl_task_graph_precede. */
KL_API int32_t kl_worker_graph_precede(uint32_t graph, uint32_t before, uint32_t after);
/* kl_task_graph_cycle: u32 node numbers. */
KL_API int32_t kl_worker_graph_cycle(uint32_t graph, uint8_t *out, uint32_t capacity_bytes);

/* Starts a run; a result GRAPH_OVER with `token` follows. KL_ERR_AGAIN, KL_ERR_CLOSED. */
KL_API int32_t kl_worker_graph_run(uint32_t graph, uint32_t token);
KL_API int32_t kl_worker_graph_cancel(uint32_t graph);

/* Of the last run: kl_task_graph_outcome; the kl_task_state of a node; the bytes of its result,
 * copied as far as they fit. */
KL_API int32_t kl_worker_graph_outcome(uint32_t graph, uint8_t *out, uint32_t capacity);
KL_API int32_t kl_worker_graph_state(uint32_t graph, uint32_t node);
KL_API int32_t kl_worker_graph_result(uint32_t graph, uint32_t node, uint8_t *out,
                                      uint32_t capacity);

/* ---- for exec/worker_pool ---- */

/* Whether a job is a node; of the others, run is to be called. */
bool kl_worker_graph_is_node(const kl_job *job);
/* False: the run was cancelled; end it with KL_WORKER_CANCELLED. */
bool kl_worker_graph_begin(const kl_job *job);
/* The order of a node with its payload: its bytes; more than `capacity`: nothing was written. */
uint64_t kl_worker_graph_order(const kl_job *job, uint8_t *out, uint32_t capacity);
/* Ends a node; a node that may run next, or NULL. The others went to the lane. */
kl_job *kl_worker_graph_end(kl_job *job, uint32_t outcome, const uint8_t *result,
                            uint32_t result_bytes, kl_executor_lane *lane);

#endif
