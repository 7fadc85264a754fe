/* worker_pool: tasks by name for the Workers of one process.
 *
 * A pool is an executor whose lanes are driven by Workers: the main program submits tasks {token,
 * function, payload}, a Worker asks for one, runs the TypeScript function, and gives the result back
 * with the same call that asks for the next. Results travel through one spsc_ring per lane to whoever
 * opened the pool, who is told by a completion. Nodes of a graph (exec/worker_graph) are tasks, too;
 * what they make ready stays among the Workers. C jobs submitted to the executor run in the same
 * lanes.
 *
 *   task        by the opener until it is submitted, then by the lane that took it; a token is the
 *               opener's again when its result was collected
 *   state       of a task: QUEUED by submit; to RUNNING by the lane or to CANCELLED by the opener, by
 *               compare-exchange, so by one of them
 *   current     of a lane: what its Worker runs; by the lane
 *   results     of a lane: pushed by the lane, popped by the opener
 *   armed       1 by the opener who waits; taken away by the lane that posts to it
 *
 * Always: a task runs at most once. Each submitted task gives exactly one result: a value, an error,
 * CANCELLED, or DIED when its Worker ended in the middle of it (its thread's end says so); no other
 * task is touched by that. No wake-up is lost: a lane that pushed a result and the opener who arms
 * look at each other's word after a full fence.
 * Death: lives in one process. A lane whose Worker ended is free for the next; what stood in its
 * deque is stolen by others.
 * Progress: submit and collect block for a few instructions only; turn blocks up to its timeout.
 *
 * May these run at the same time, on one pool?  submit/collect/arm/cancel  turn  close
 *                   submit/collect/arm/cancel   no (the opener's thread)   yes   no
 *                   turn                        yes                        yes   yes
 */
#ifndef KL_EXEC_WORKER_POOL_H
#define KL_EXEC_WORKER_POOL_H

#include "exec/executor.h"

#define KL_WORKER_POOL_QUEUE_DEFAULT 262144u
#define KL_WORKER_POOL_QUEUE_MAX     (1u << 22)
#define KL_WORKER_POOL_FUNCTIONS_MAX 4096u
#define KL_WORKER_POOL_NAME_BYTES    255u
#define KL_WORKER_POOL_RING_DEFAULT  (1u << 20)
#define KL_WORKER_POOL_RING_MIN      4096u
#define KL_WORKER_POOL_RING_MAX      (1u << 30)

/* What a lane says of the task it ran, and what a result says of its task. */
enum kl_worker_outcome {
    KL_WORKER_NOTHING = 0, /* turn: there was no task */
    KL_WORKER_VALUE = 1,
    KL_WORKER_ERROR = 2,
    KL_WORKER_DIED = 3,      /* result: the Worker ended in the middle of it */
    KL_WORKER_CANCELLED = 4, /* result: it was cancelled before it began */
    KL_WORKER_LANE_GONE = 5, /* result: token is the lane whose Worker ended */
    KL_WORKER_GRAPH_OVER = 6 /* result: token is that of a graph's run */
};

/* layout: kl_worker_result bytes token outcome
 * One result as collected, followed by its payload, padded to 4; bytes counts what follows it. */
typedef struct {
    uint32_t bytes;
    uint32_t token;
    uint32_t outcome;
} kl_worker_result;

/* layout: kl_worker_task bytes token function
 * One task as submitted, followed by its payload, padded to 4; bytes is the payload's. */
typedef struct {
    uint32_t bytes;
    uint32_t token;
    uint32_t function;
} kl_worker_task;

/* layout: kl_worker_order bytes function parts
 * What turn gives a Worker, followed by the payload. parts 0: the payload of a task. Else that of a
 * node of a graph: so many {u32 bytes, bytes padded to 4}; its value, then the results of those
 * before it. */
typedef struct {
    uint32_t bytes;
    uint32_t function;
    uint32_t parts;
} kl_worker_order;

typedef struct kl_worker_pool kl_worker_pool;

/* A handle, or 0. queue: tasks that may be under way, a power of two; ring_bytes: of each lane's
 * results, a power of two; spin_us: how long an idle Worker looks around, 0 not at all. 0 is the
 * default of the other three. */
KL_API uint32_t kl_worker_pool_open(uint32_t lanes, uint32_t queue, uint32_t ring_bytes,
                                    double spin_us);
/* Workers are told with their next call; what was not begun is dropped without a result. */
KL_API int32_t kl_worker_pool_close(uint32_t pool);

/* The number of a function, for tasks. KL_ERR_ARGUMENT, KL_ERR_LIMIT. Ask once for each name. */
KL_API int32_t kl_worker_pool_function(uint32_t pool, const uint8_t *name, uint32_t name_bytes);

/* Takes kl_worker_task after kl_worker_task, up to the first for which there is no room: how many.
 * KL_ERR_ARGUMENT: a batch that is none, or a token that is under way or not below the queue. */
KL_API int32_t kl_worker_pool_submit(uint32_t pool, const uint8_t *batch, uint32_t bytes);

/* Moves results {kl_worker_result, payload} to `out`: how many. KL_ERR_LIMIT: the first does not fit,
 * its bytes are the u32 at `out`. */
KL_API int32_t kl_worker_pool_collect(uint32_t pool, uint8_t *out, uint32_t capacity);

/* Posts `token` to `completion` when there is something to collect: 1: there is already; 0: armed.
 * Lanes that have more to do do not post before `quiet_us` from now: who is busy is not interrupted
 * for each result. Look again after that time: the last one may not be told. */
KL_API int32_t kl_worker_pool_arm(uint32_t pool, uint32_t completion, uint32_t token,
                                  double quiet_us);

/* Posts what is armed if there is something to collect, quiet or not: for a timer behind quiet_us. */
KL_API int32_t kl_worker_pool_nudge(uint32_t pool);

/* KL_OK: it will not begin, and gives CANCELLED; KL_ERR_NOT_FOUND: it has begun, or is unknown. */
KL_API int32_t kl_worker_pool_cancel(uint32_t pool, uint32_t token);

/* {u64 executed, stolen, steals, parks, u32 spin_ns, steal_batch} of a lane. */
KL_API int32_t kl_worker_pool_stat(uint32_t pool, uint32_t lane, uint8_t *out, uint32_t capacity);

/* On the Worker's own thread, whose end gives the lane back. A handle, or 0: KL_ERR_LOCKED (another
 * Worker has the lane), KL_ERR_ARGUMENT, KL_ERR_HANDLE. */
KL_API uint32_t kl_worker_lane_open(uint32_t pool, uint32_t lane);
KL_API int32_t kl_worker_lane_close(uint32_t lane);

/* Ends the current task with `outcome` (NOTHING: there is none) and `result`, which is 8 bytes for the
 * pool to write on, and then `result_bytes`; takes the next, waiting for at most `timeout_ms`. KL_OK: `out` holds a kl_worker_order. KL_ERR_AGAIN:
 * none came; KL_ERR_CLOSED: the pool is. KL_ERR_LIMIT: the order does not fit, its bytes are the u32
 * at `out`: call again with NOTHING. KL_ERR_ARGUMENT: the result does not fit the ring; end it with
 * another one. */
KL_API int32_t kl_worker_lane_turn(uint32_t lane, uint32_t outcome, uint8_t *result,
                                   uint32_t result_bytes, uint8_t *out, uint32_t capacity,
                                   double timeout_ms);

/* The name of a function: its bytes, copied; KL_ERR_NOT_FOUND. */
KL_API int32_t kl_worker_lane_function(uint32_t lane, uint32_t function, uint8_t *out,
                                       uint32_t capacity);

/* ---- for exec/worker_graph ---- */

kl_worker_pool *kl_worker_pool_enter(uint32_t pool); /* NULL with KL_ERR_HANDLE said */
void kl_worker_pool_keep(kl_worker_pool *pool);      /* its memory stays until release */
void kl_worker_pool_release(kl_worker_pool *pool);
kl_executor *kl_worker_pool_executor(kl_worker_pool *pool);
/* Makes GRAPH_OVER a result, and rings. */
void kl_worker_pool_graph_over(kl_worker_pool *pool, uint32_t token);

#endif
