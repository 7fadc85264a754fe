/* executor: runs short jobs that never block, on lanes that steal from each other.
 *
 * A lane is one worker: a deque of jobs of its own and a place to sleep. Its driver is a C thread
 * (kl_executor_open starts them, from exec/service), or a Worker that asks for its next job in every
 * call (exec/worker_pool). A lane looks for work in its own deque (youngest first), then in the
 * injection queue (what was submitted from outside), then in the deques of others (oldest first, a
 * batch at a time), and last in the background queue: a background job is begun only when nothing
 * else is to be done, and delays others by no more than its own run. Before a lane sleeps it looks
 * around for at most `spin_ns_max`. A job that blocks holds its lane up; blocking work belongs to
 * a thread of exec/service.
 *
 *   jobs        the submitter's, until `run` is called; then the function's
 *   lane        deque, tuners, random: by the lane's driver; its deque is stolen from by all
 *   injection   bounded queues, by anybody
 *   idle        exec/idle_set: who sleeps, who searches
 *   counters    per lane by its driver, outside of lanes by anybody; summed by drain
 *
 * Always: `run` is called exactly once for each job that submit or push took, with KL_OK, or with
 * KL_ERR_STOPPED when the executor was closed without running the rest. What the submitter wrote before
 * is seen by the job. A lane never steals from itself; every other lane is a possible victim.
 * Self-tuning: the time a lane spins and the batch it steals, each within its bounds (exec/tuner).
 * Death: lives in one process. A driver that is gone leaves a deque that others steal empty.
 * Progress: submit and push are lock-free but for a system call when a sleeper is to be woken (and
 * the queue's); closing blocks until what was begun has ended.
 *
 * May these run at the same time, on one executor?  submit  next/push  drain  close
 *                                         submit    yes     yes        yes    no
 *                                         next/push yes     own lane   yes    yes (ends next)
 *                                         drain     yes     yes        yes    no
 */
#ifndef KL_EXEC_EXECUTOR_H
#define KL_EXEC_EXECUTOR_H

#include "exec/idle_set.h"
#include "exec/task_graph.h"
#include "mem/numa.h"

#define KL_EXECUTOR_LANES_MAX     KL_IDLE_SET_MEMBERS_MAX
#define KL_EXECUTOR_QUEUE_DEFAULT 65536u
#define KL_EXECUTOR_QUEUE_MAX     (1u << 24)
#define KL_EXECUTOR_DEQUE_JOBS    4096u /* of one lane; what is more goes to the injection queue */
#define KL_EXECUTOR_SPIN_NS_MAX   (20 * KL_NS_PER_US)
#define KL_EXECUTOR_STEAL_MAX     32u

typedef struct kl_executor kl_executor;
typedef struct kl_executor_lane kl_executor_lane;
typedef struct kl_job kl_job;

/* The first member of whatever a job needs. `lane` runs it; NULL: nobody does, status is
 * KL_ERR_STOPPED. From the call on the memory is the function's. */
struct kl_job {
    void (*run)(kl_job *job, int32_t status, kl_executor_lane *lane);
};

enum kl_executor_victims {
    KL_VICTIMS_RANDOM = 0,     /* begins anywhere, then in a ring */
    KL_VICTIMS_NEAREST = 1,    /* by the distance of the processors' nodes, then of the lanes */
    KL_VICTIMS_ROUND_ROBIN = 2 /* goes on where it found something last */
};

/* Zero means the default. */
typedef struct {
    uint32_t lanes;   /* 1 to KL_EXECUTOR_LANES_MAX; default: kl_cpu_count() */
    uint32_t queue;   /* jobs that may wait from outside, for each of both queues; a power of two */
    uint32_t victims; /* a kl_executor_victims */
    bool pin;         /* each lane's thread to a processor of its own, as far as there are */
    bool threads;     /* C threads drive the lanes; else the caller does, with kl_executor_next */
    bool fixed;       /* nothing tunes itself: spin_ns_max and steal_max always */
    bool no_spin;     /* a lane without work sleeps at once */
    uint32_t spin_ns_max, steal_max;
    /* How far processors are from each other, for KL_VICTIMS_NEAREST; read while opening only. A lane
     * that is not pinned counts as running on the processor of its number. NULL: all are near. */
    const kl_numa *topology;
} kl_executor_options;

typedef struct {
    uint64_t executed, stolen, steals,
        parks;                     /* jobs run; jobs stolen, in so many batches; sleeps */
    uint32_t spin_ns, steal_batch; /* what is in force now */
} kl_executor_lane_stat;

/* KL_ERR_ARGUMENT, KL_ERR_MEMORY, KL_ERR_LIMIT (no thread). */
int32_t kl_executor_open(kl_executor **out, const kl_executor_options *options);

/* From anywhere. KL_OK: it will be run. KL_ERR_AGAIN: so many wait already; KL_ERR_CLOSED. */
int32_t kl_executor_submit(kl_executor *executor, kl_job *job);
int32_t kl_executor_submit_background(kl_executor *executor, kl_job *job);
/* In their order; how many were taken. Wakes as many lanes as are needed. */
uint32_t kl_executor_submit_many(kl_executor *executor, kl_job *const *jobs, uint32_t count);

/* From within a job, for its own lane: always taken; runs it at once when there is no room. */
void kl_executor_push(kl_executor_lane *lane, kl_job *job);

/* Until all that was taken so far, and what it pushed, has run. KL_ERR_TIMEOUT. Not from a job. */
int32_t kl_executor_drain(kl_executor *executor, uint64_t timeout_ns);

/* Takes no more. run_rest: runs what waits; else it is given KL_ERR_STOPPED. Then the lanes end, and
 * `executor` is gone. KL_ERR_TIMEOUT: a job hangs for KL_SERVICE_STOP_NS, or a driver of the
 * caller's is still in kl_executor_next; the memory stays. Not from a job. */
int32_t kl_executor_close(kl_executor *executor, bool run_rest);

/* ---- for drivers of lanes that are not C threads ---- */

kl_executor_lane *kl_executor_lane_at(kl_executor *executor, uint32_t index);
uint32_t kl_executor_lane_index(const kl_executor_lane *lane);
kl_executor *kl_executor_of(const kl_executor_lane *lane);

/* The next job; NULL: none within the timeout (0: does not wait), or the executor is closing. Sleeps
 * at most KL_EVENT_SLICE_NS in one go. One thread at a time for each lane. */
kl_job *kl_executor_next(kl_executor_lane *lane, uint64_t timeout_ns);

/* Without waiting or spinning: whether a job was there is known after one look. */
kl_job *kl_executor_look(kl_executor_lane *lane);

/* After a job of next: counts it. */
void kl_executor_done(kl_executor_lane *lane);

bool kl_executor_closing(const kl_executor *executor); /* true from close on */

/* Wakes every lane; from now on next answers NULL. Close follows when no driver is in a call. */
void kl_executor_end(kl_executor *executor);
bool kl_executor_ended(const kl_executor *executor);

/* Gives KL_ERR_STOPPED to all that waits. After end, when no driver is in a call any more. */
void kl_executor_drop_rest(kl_executor *executor);

/* ---- graphs ---- */

/* A node's work: KL_OK, or why it failed. */
typedef int32_t (*kl_task_fn)(void *context, uint32_t function, uint64_t argument);

/* Runs the graph to its end, and waits for that. KL_OK: over, ask kl_task_graph_read_outcome;
 * KL_ERR_AGAIN: it runs already, or the queue is full; KL_ERR_MEMORY. Not from a job. */
int32_t kl_executor_run_graph(kl_executor *executor, kl_task_graph *graph, kl_task_fn task,
                              void *context);

/* Notified when a run of a graph is over; for exec/executor_graph. */
kl_event_count *kl_executor_graph_event(kl_executor *executor);

/* ---- to look at ---- */

uint32_t kl_executor_lanes(const kl_executor *executor);
void kl_executor_read_stat(kl_executor *executor, uint32_t lane, kl_executor_lane_stat *out);
/* The victims of `lane` in the order in which its next look would ask them; how many. */
uint32_t kl_executor_victims_of(kl_executor *executor, uint32_t lane, uint32_t *out);

#endif
