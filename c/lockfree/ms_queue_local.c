#include "lockfree/ms_queue_local.h"

#include <stddef.h>
#include <stdlib.h>

struct kl_ms_queue_node {
    _Atomic(kl_ms_queue_node *) next;
    uint64_t value; /* written before it is linked */
    kl_hazard_node retired;
};

static kl_ms_queue_node *new_node(uint64_t value) {
    kl_ms_queue_node *node = malloc(sizeof *node);
    if (!node) {
        kl_fail(KL_ERR_MEMORY, "no memory for a queue's node");
        return NULL;
    }
    /* relaxed: published by the link. */
    atomic_store_explicit(&node->next, NULL, memory_order_relaxed);
    node->value = value;
    return node;
}

static void free_node(kl_hazard_node *retired) {
    free((uint8_t *)retired - offsetof(kl_ms_queue_node, retired));
}

int32_t kl_ms_queue_local_open(kl_ms_queue_local *queue, kl_hazard *hazards) {
    int32_t slot = kl_hazard_reserve(hazards, 2);
    if (slot < 0) return slot;
    kl_ms_queue_node *front = new_node(0);
    if (!front) {
        kl_hazard_release(hazards, (uint32_t)slot, 2);
        return KL_ERR_MEMORY;
    }
    queue->hazards = hazards;
    queue->slot = (uint32_t)slot;
    /* relaxed, both: nobody else sees the queue yet. */
    atomic_store_explicit(&queue->head, front, memory_order_relaxed);
    atomic_store_explicit(&queue->tail, front, memory_order_relaxed);
    return KL_OK;
}

void kl_ms_queue_local_close(kl_ms_queue_local *queue) {
    /* relaxed: whoever closes has seen everybody else leave. */
    kl_ms_queue_node *node = atomic_load_explicit(&queue->head, memory_order_relaxed);
    while (node != NULL) {
        kl_ms_queue_node *next = atomic_load_explicit(&node->next, memory_order_relaxed);
        free(node);
        node = next;
    }
    kl_hazard_release(queue->hazards, queue->slot, 2);
}

/* Moves the tail one on. Somebody else may have done it. */
static void swing_tail(kl_ms_queue_local *queue, kl_ms_queue_node *tail, kl_ms_queue_node *next) {
    /* release: partner is the acquire in kl_hazard_protect(): the node, known from its link, is passed
     * on. relaxed on failure: nothing is concluded from it. */
    atomic_compare_exchange_strong_explicit(&queue->tail, &tail, next, memory_order_release,
                                            memory_order_relaxed);
}

int32_t kl_ms_queue_local_push_mp(kl_ms_queue_local *queue, kl_hazard_thread *own, uint64_t value) {
    kl_ms_queue_node *node = new_node(value);
    if (!node) return KL_ERR_MEMORY;
    for (;;) { /* each turn but the last: another one's success */
        kl_ms_queue_node *tail = kl_hazard_protect(own, queue->slot, &queue->tail);
        kl_ms_queue_node *next = NULL;
        /* release: partners are the acquires of next; publishes the value. relaxed on failure: the node
         * that was found is passed on by the swing, and who comes to a node through the tail does
         * nothing but this compare-exchange, which reads the latest value whatever its order. */
        if (atomic_compare_exchange_strong_explicit(&tail->next, &next, node, memory_order_release,
                                                    memory_order_relaxed)) {
            swing_tail(queue, tail, node);
            break;
        }
        swing_tail(queue, tail, next);
    }
    kl_hazard_clear(own, queue->slot);
    return KL_OK;
}

/* One try with head and next held up: KL_OK, KL_ERR_AGAIN (empty), or 1: something moved, once more. */
static int32_t try_pop(kl_ms_queue_local *queue, kl_hazard_thread *own, uint64_t *value) {
    kl_ms_queue_node *head = kl_hazard_protect(own, queue->slot, &queue->head);
    kl_ms_queue_node *next = kl_hazard_protect(own, queue->slot + 1, &head->next);
    /* relaxed: ordered behind what protect loaded last. If the head is still the same then `next` was
     * behind it when it was held up, so it was not retired before that. */
    if (atomic_load_explicit(&queue->head, memory_order_relaxed) != head) return 1;
    if (next == NULL) return KL_ERR_AGAIN;
    /* relaxed: not older than what is known from the head, which never overtakes it. */
    if (atomic_load_explicit(&queue->tail, memory_order_relaxed) == head)
        swing_tail(queue, head, next);
    uint64_t found = next->value;
    kl_ms_queue_node *old = head;
    /* release: partner is the acquire in kl_hazard_protect(): the node behind, known from its link, and that
     * the tail went on. relaxed on failure: looked at anew. */
    if (!atomic_compare_exchange_strong_explicit(&queue->head, &old, next, memory_order_release,
                                                 memory_order_relaxed))
        return 1;
    *value = found;
    kl_hazard_clear(own, queue->slot);
    kl_hazard_clear(own, queue->slot + 1);
    kl_hazard_retire(own, &head->retired, head, free_node);
    return KL_OK;
}

int32_t kl_ms_queue_local_pop_mc(kl_ms_queue_local *queue, kl_hazard_thread *own, uint64_t *value) {
    int32_t status;
    while ((status = try_pop(queue, own, value)) > 0) { /* each turn: another one's success */
    }
    if (status == KL_OK) return KL_OK;
    kl_hazard_clear(own, queue->slot);
    kl_hazard_clear(own, queue->slot + 1);
    return status;
}
