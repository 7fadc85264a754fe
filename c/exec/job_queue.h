/* job_queue: bounded first-in-first-out queue of jobs, between the threads of one process.
 *
 *   count   how many stand in it; written under the mutex, read by anybody as a hint
 *   rest    under the mutex
 *
 * Always: 0 <= count <= capacity. What was written before put is seen after the take that gives it.
 * Progress: blocking, but for a few instructions only; take on an empty queue is one load.
 *
 * May these run at the same time?  any with any; open and close are the owner's.
 */
#ifndef KL_EXEC_JOB_QUEUE_H
#define KL_EXEC_JOB_QUEUE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/cpu.h"
#include "base/status.h"

typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint32_t count;
    pthread_mutex_t mutex;
    uint32_t first, capacity;
    void **jobs;
} kl_job_queue;

/* capacity: a power of two. KL_ERR_MEMORY. */
int32_t kl_job_queue_open(kl_job_queue *queue, uint32_t capacity);
void kl_job_queue_close(kl_job_queue *queue);

/* KL_OK or KL_ERR_AGAIN (full, nothing said). */
int32_t kl_job_queue_put(kl_job_queue *queue, void *job);
/* In their order, up to the first that has no room. How many went in. */
uint32_t kl_job_queue_put_many(kl_job_queue *queue, void *const *jobs, uint32_t count);
void *kl_job_queue_take(kl_job_queue *queue); /* NULL: empty */

static inline uint32_t kl_job_queue_count(const kl_job_queue *queue) {
    /* relaxed: a hint; who must not miss anything looks after a fence (exec/idle_set). */
    return atomic_load_explicit(&queue->count, memory_order_relaxed);
}

#endif
