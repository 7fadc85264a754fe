/* liburcu's queue for one consumer: a push is one exchange; nodes come from malloc. A batch of the
 * consumer is spliced off at once, as its documentation advises. */
#define _LGPL_SOURCE
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <urcu/compiler.h>
#include <urcu/wfcqueue.h>

typedef struct {
    struct __cds_wfcq_head head __attribute__((aligned(128)));
    struct cds_wfcq_tail tail __attribute__((aligned(128)));
    struct __cds_wfcq_head own_head __attribute__((aligned(128)));
    struct cds_wfcq_tail own_tail;
} queue;
typedef queue queue_end;

typedef struct {
    struct cds_wfcq_node link;
    uint64_t value;
} queue_node;

static queue *queue_open(uint64_t capacity) {
    (void)capacity;
    queue *made = aligned_alloc(128, sizeof *made);
    __cds_wfcq_init(&made->head, &made->tail);
    __cds_wfcq_init(&made->own_head, &made->own_tail);
    return made;
}

static queue_end *queue_take(queue *one, bool pushes, uint32_t index) {
    (void)pushes, (void)index;
    return one;
}

static inline bool queue_push(queue_end *end, uint64_t value) {
    queue_node *node = malloc(sizeof *node);
    cds_wfcq_node_init(&node->link);
    node->value = value;
    cds_wfcq_enqueue((struct cds_wfcq_head *)&end->head, &end->tail, &node->link);
    return true;
}

static inline bool queue_pop(queue_end *end, uint64_t *value) {
    struct cds_wfcq_node *found = __cds_wfcq_dequeue_blocking(&end->own_head, &end->own_tail);
    if (found == NULL) {
        if (__cds_wfcq_splice_blocking(&end->own_head, &end->own_tail, &end->head, &end->tail) ==
            CDS_WFCQ_RET_SRC_EMPTY)
            return false;
        found = __cds_wfcq_dequeue_blocking(&end->own_head, &end->own_tail);
    }
    queue_node *node = caa_container_of(found, queue_node, link);
    *value = node->value;
    free(node);
    return true;
}

#include "bench/lockfree/queue_drive.h"

int main(int count, char **words) {
    return drive_queue(count, words);
}
