/* ms_queue_local: unbounded first-in-first-out queue of u64 values, for the threads of one process. The
 * algorithm of lockfree/ms_queue, with nodes from malloc and hazard pointers in the place of a pool.
 *
 *   line 0  head    node whose value was popped already; by compare-exchange, any thread
 *   line 1  tail    the last node, or the one before; by compare-exchange, any thread
 *   line 2  the domain of its hazard pointers and its two slots; read-only after open
 *
 * Michael, "Hazard pointers: safe memory reclamation for lock-free objects", TPDS 15(6), 2004.
 *
 * Always: a node is freed once, after it left the queue and when no thread holds it up; a node that a
 * thread has held up and then found still linked cannot come back in between, so there is no ABA.
 * Death: of a thread is an end like any other (sync/hazard); processes share none.
 * Progress: lock-free, but for malloc and free.
 *
 * May these run at the same time? push  pop  close
 *                            push  yes   yes  no
 *                            pop   yes   yes  no
 */
#ifndef KL_LOCKFREE_MS_QUEUE_LOCAL_H
#define KL_LOCKFREE_MS_QUEUE_LOCAL_H

#include "sync/hazard.h"

typedef struct kl_ms_queue_node kl_ms_queue_node;

typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic(kl_ms_queue_node *) head;
    _Alignas(KL_LINE_BYTES) _Atomic(kl_ms_queue_node *) tail;
    _Alignas(KL_LINE_BYTES) kl_hazard *hazards;
    uint32_t slot; /* of two */
} kl_ms_queue_local;

/* An empty queue that uses two slots of `hazards`. KL_ERR_MEMORY, KL_ERR_LIMIT (no slots are left). */
int32_t kl_ms_queue_local_open(kl_ms_queue_local *queue, kl_hazard *hazards);

/* Frees what is left in it. No thread uses it any more; what was retired stays with `hazards`. */
void kl_ms_queue_local_close(kl_ms_queue_local *queue);

/* `own` is the calling thread's, of the queue's hazards (kl_hazard_here). KL_OK, KL_ERR_MEMORY. */
int32_t kl_ms_queue_local_push_mp(kl_ms_queue_local *queue, kl_hazard_thread *own, uint64_t value);

/* KL_OK, KL_ERR_AGAIN (empty). */
int32_t kl_ms_queue_local_pop_mc(kl_ms_queue_local *queue, kl_hazard_thread *own, uint64_t *value);

#endif
