/* retire_queue: what was taken away, until nobody can be reading it any more; then its callbacks.
 *
 * Whoever took something away puts its node (embedded in it: nothing is allocated) into a bag. advance
 * takes the bags, begins a grace period (sync/grace), and runs the callbacks of those whose period
 * has passed.
 *
 *   bag      a list head: pushed by any thread, emptied by advance
 *   waiting  two batches of emptied bags, each with its period: by advance, under the mutex
 *   ready    nodes whose period has passed: by advance, under the mutex
 *
 * Always: a callback runs once, after a grace period that began after its node was pushed, on the
 * thread that calls advance, in the order of the pushes into its bag. While two batches wait the
 * bags are left alone, so a reader that stays costs memory but no work.
 * A callback may push and may read; it must not advance (which answers 0 then) and not block for long.
 * Death: process-local, so it goes with its process; what the nodes stood for, if that was shared, is
 * for its owner's recovery to find.
 * Progress: push is lock-free (it repeats when another push or advance came between); advance never
 * waits for readers, nor for another advance.
 *
 * May these run at the same time?  any with any, but for close, which is alone.
 */
#ifndef KL_SYNC_RETIRE_QUEUE_H
#define KL_SYNC_RETIRE_QUEUE_H

#include <pthread.h>

#include "sync/grace.h"

typedef struct kl_retired kl_retired;

/* To be embedded in what is retired. Written by kl_retire_push; the callback may free it. */
struct kl_retired {
    kl_retired *next;
    void (*callback)(kl_retired *node);
};

/* Zero is an empty bag. The latest is first. */
typedef struct {
    _Atomic(kl_retired *) latest;
} kl_retire_bag;

/* A run of nodes in order. */
typedef struct {
    kl_retired *first;
    kl_retired *last;
    uint64_t period; /* 0: not begun */
} kl_retire_batch;

typedef struct {
    pthread_mutex_t mutex;
    kl_retire_batch waiting[2]; /* the older one first */
    kl_retire_batch ready;
    _Atomic uint64_t run_count;  /* callbacks that have run; by advance only */
    _Atomic uint32_t is_blocked; /* 1: the last advance left a batch waiting; by advance only */
} kl_retire_queue;

void kl_retire_queue_open(kl_retire_queue *queue);

/* Runs every callback there is, until the bags are empty too: no thread reads any more. */
void kl_retire_queue_close(kl_retire_queue *queue, kl_retire_batch (*take)(void *argument),
                           void *argument);

/* Whether the bag was empty: then advance has work that it did not have before. */
bool kl_retire_push(kl_retire_bag *bag, kl_retired *node, void (*callback)(kl_retired *node));

/* Empties a bag; the earliest first. */
kl_retire_batch kl_retire_take(kl_retire_bag *bag);

/* Appends `more` to `batch`. */
void kl_retire_join(kl_retire_batch *batch, kl_retire_batch more);

/* One round, which begins with kl_grace_lighten: `take(argument)` empties the bags when there is room for a batch. At most
 * `callbacks_max` callbacks run. Their number; 0 too when another thread is at it; KL_ERR_* of
 * sync/grace, with nothing lost. */
int32_t kl_retire_advance(kl_retire_queue *queue, kl_grace *grace,
                          kl_retire_batch (*take)(void *argument), void *argument,
                          uint32_t callbacks_max);

/* Callbacks that have run. */
static inline uint64_t kl_retire_run_count(const kl_retire_queue *queue) {
    /* acquire: partner is the release in kl_retire_advance; what the callbacks did is seen. */
    return atomic_load_explicit(&queue->run_count, memory_order_acquire);
}

/* Whether the last advance found readers that hold a batch back. */
static inline bool kl_retire_is_blocked(const kl_retire_queue *queue) {
    /* relaxed: a hint. */
    return atomic_load_explicit(&queue->is_blocked, memory_order_relaxed) != 0;
}

#endif
