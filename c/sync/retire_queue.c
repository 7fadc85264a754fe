#include "sync/retire_queue.h"

void kl_retire_queue_open(kl_retire_queue *queue) {
    *queue = (kl_retire_queue){.run_count = 0};
    pthread_mutex_init(&queue->mutex, NULL);
}

bool kl_retire_push(kl_retire_bag *bag, kl_retired *node, void (*callback)(kl_retired *node)) {
    node->callback = callback;
    kl_retired *latest = atomic_load_explicit(&bag->latest, memory_order_relaxed);
    do {
        node->next = latest;
        /* release: partner is the exchange in kl_retire_take; the node and all that was unlinked
         * before it are seen. Relaxed on failure: the node is still ours alone. */
    } while (!atomic_compare_exchange_weak_explicit(&bag->latest, &latest, node,
                                                    memory_order_release, memory_order_relaxed));
    return latest == NULL;
}

kl_retire_batch kl_retire_take(kl_retire_bag *bag) {
    kl_retire_batch batch = {NULL, NULL, 0};
    /* relaxed: an empty bag costs no locked instruction. */
    if (atomic_load_explicit(&bag->latest, memory_order_relaxed) == NULL) return batch;
    /* acquire: partner is the compare-exchange in kl_retire_push. */
    kl_retired *node = atomic_exchange_explicit(&bag->latest, NULL, memory_order_acquire);
    batch.last = node;
    while (node) {
        kl_retired *earlier = node->next;
        node->next = batch.first;
        batch.first = node;
        node = earlier;
    }
    return batch;
}

void kl_retire_join(kl_retire_batch *batch, kl_retire_batch more) {
    if (!more.first) return;
    if (batch->first)
        batch->last->next = more.first;
    else
        batch->first = more.first;
    batch->last = more.last;
}

static uint32_t run_ready(kl_retire_queue *queue, uint32_t callbacks_max) {
    uint32_t count = 0;
    while (queue->ready.first && count < callbacks_max) {
        kl_retired *node = queue->ready.first;
        queue->ready.first = node->next; /* before the callback: it may free the node */
        node->callback(node);
        count++;
    }
    /* relaxed: one writer at a time, under the mutex. */
    uint64_t before = atomic_load_explicit(&queue->run_count, memory_order_relaxed);
    /* release: partner is the acquire in kl_retire_run_count. */
    atomic_store_explicit(&queue->run_count, before + count, memory_order_release);
    return count;
}

/* Begins a period for what the bags hold, and for a batch whose beginning failed earlier. */
static int32_t begin_batch(kl_retire_queue *queue, const kl_grace *grace,
                           kl_retire_batch (*take)(void *argument), void *argument) {
    kl_retire_batch *batch = &queue->waiting[queue->waiting[0].first ? 1 : 0];
    if (batch->first == NULL) *batch = take(argument);
    for (batch = queue->waiting; batch < queue->waiting + 2; batch++) {
        if (batch->first == NULL || batch->period != 0) continue;
        uint64_t period;
        int32_t status = kl_grace_begin(grace, &period);
        if (status != KL_OK) return status;
        batch->period = period;
    }
    return KL_OK;
}

static int32_t ripen(kl_retire_queue *queue, const kl_grace *grace) {
    kl_retire_batch *waiting = queue->waiting;
    if (!waiting[0].first) return KL_OK;
    uint64_t oldest, wanted = waiting[waiting[1].first ? 1 : 0].period;
    uint32_t slot;
    int32_t status = kl_grace_oldest(grace, wanted, &oldest, &slot);
    if (status != KL_OK) return status;
    while (waiting[0].first && waiting[0].period <= oldest) {
        kl_retire_join(&queue->ready, waiting[0]);
        waiting[0] = waiting[1];
        waiting[1] = (kl_retire_batch){NULL, NULL, 0};
    }
    return KL_OK;
}

int32_t kl_retire_advance(kl_retire_queue *queue, kl_grace *grace,
                          kl_retire_batch (*take)(void *argument), void *argument,
                          uint32_t callbacks_max) {
    if (pthread_mutex_trylock(&queue->mutex) != 0) return 0;
    kl_grace_lighten(grace);
    int32_t status = begin_batch(queue, grace, take, argument);
    if (status == KL_OK) status = ripen(queue, grace);
    atomic_store_explicit(&queue->is_blocked, queue->waiting[0].first != NULL,
                          memory_order_relaxed);
    uint32_t count = run_ready(queue, callbacks_max < INT32_MAX ? callbacks_max : INT32_MAX);
    pthread_mutex_unlock(&queue->mutex);
    return status != KL_OK ? status : (int32_t)count;
}

void kl_retire_queue_close(kl_retire_queue *queue, kl_retire_batch (*take)(void *argument),
                           void *argument) {
    pthread_mutex_lock(&queue->mutex); /* a callback that advances is told so here, too */
    kl_retire_join(&queue->ready, queue->waiting[0]);
    kl_retire_join(&queue->ready, queue->waiting[1]);
    kl_retire_join(&queue->ready, take(argument));
    while (queue->ready.first) { /* a callback may have pushed more */
        run_ready(queue, UINT32_MAX);
        kl_retire_join(&queue->ready, take(argument));
    }
    pthread_mutex_unlock(&queue->mutex);
    pthread_mutex_destroy(&queue->mutex);
}
