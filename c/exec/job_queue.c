#include "exec/job_queue.h"

#include <stdlib.h>

int32_t kl_job_queue_open(kl_job_queue *queue, uint32_t capacity) {
    KL_ASSERT(capacity > 0 && (capacity & (capacity - 1)) == 0);
    queue->jobs = calloc(capacity, sizeof *queue->jobs);
    if (!queue->jobs) return kl_fail(KL_ERR_MEMORY, "no memory for a queue of %u jobs", capacity);
    queue->capacity = capacity;
    queue->first = 0;
    atomic_init(&queue->count, 0);
    pthread_mutex_init(&queue->mutex, NULL);
    return KL_OK;
}

void kl_job_queue_close(kl_job_queue *queue) {
    if (!queue->jobs) return;
    free(queue->jobs);
    queue->jobs = NULL;
    pthread_mutex_destroy(&queue->mutex);
}

uint32_t kl_job_queue_put_many(kl_job_queue *queue, void *const *jobs, uint32_t count) {
    pthread_mutex_lock(&queue->mutex);
    uint32_t used = kl_job_queue_count(queue), room = queue->capacity - used;
    if (count > room) count = room;
    for (uint32_t i = 0; i < count; i++)
        queue->jobs[(queue->first + used + i) & (queue->capacity - 1)] = jobs[i];
    /* relaxed: the mutex orders it for those who take. */
    atomic_store_explicit(&queue->count, used + count, memory_order_relaxed);
    pthread_mutex_unlock(&queue->mutex);
    return count;
}

int32_t kl_job_queue_put(kl_job_queue *queue, void *job) {
    return kl_job_queue_put_many(queue, &job, 1) == 1 ? KL_OK : KL_ERR_AGAIN;
}

void *kl_job_queue_take(kl_job_queue *queue) {
    if (kl_job_queue_count(queue) == 0) return NULL;
    void *job = NULL;
    pthread_mutex_lock(&queue->mutex);
    uint32_t count = kl_job_queue_count(queue);
    if (count > 0) {
        job = queue->jobs[queue->first];
        queue->first = (queue->first + 1) & (queue->capacity - 1);
        /* relaxed: the mutex orders it. */
        atomic_store_explicit(&queue->count, count - 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&queue->mutex);
    return job;
}
