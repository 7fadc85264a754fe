/* thread_queue: bounded FIFO of elements of one size between the threads of one process, any number of
 * producers and consumers. Vyukov's bounded queue (1024cores.net, 2010): one compare-exchange for a
 * push and for a pop, or for a whole batch. Between processes use mpmc_queue: here a thread that dies
 * in the middle stops its slot for ever.
 *
 *   line 0  tail       position of the next push; by compare-exchange
 *   line 1  head       position of the oldest element; by compare-exchange
 *   line 2  geometry   written by init, read-only after
 *   slots   capacity x {sequence u64, element, padding to 16}, in memory of the caller
 *
 * Positions are u64 and only grow; position p belongs to slots[p % capacity]. Its sequence is p while
 * it waits for the push at p, p + 1 while it holds that element, p + capacity after the pop.
 *
 * Always: head <= tail <= head + capacity. KL_ERR_AGAIN says that it is empty (or full) and was so at one
 * moment of the call; KL_ERR_LOCKED that the thread at that end is in the middle of its copy. So
 * histories are linearizable.
 * Progress: lock-free but for that thread: while it stands, its slot does.
 *
 * May these run at the same time?  push and pop, any with any. Not with init.
 * Suffix: _mp any number of producers, _mc any number of consumers.
 */
#ifndef KL_LOCKFREE_THREAD_QUEUE_H
#define KL_LOCKFREE_THREAD_QUEUE_H

#include "base/cpu.h"
#include "base/status.h"

#include <stdatomic.h>

#define KL_THREAD_QUEUE_CAPACITY_MIN      2u
#define KL_THREAD_QUEUE_CAPACITY_MAX      (1u << 24)
#define KL_THREAD_QUEUE_ELEMENT_BYTES_MAX 248u

typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t tail;
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t head;
    _Alignas(KL_LINE_BYTES) uint8_t *slots;
    uint64_t mask;
    uint32_t element_bytes;
    uint32_t slot_bytes;
} kl_thread_queue;

/* Bytes for the slots; 0 with KL_ERR_ARGUMENT said: the capacity is a power of two from 2 to 2^24, an
 * element 1 to 248 bytes. */
uint64_t kl_thread_queue_slots_bytes(uint32_t capacity, uint32_t element_bytes);

/* An empty queue over slots (16-byte aligned) that stay the caller's. KL_ERR_ARGUMENT. */
int32_t kl_thread_queue_init(kl_thread_queue *queue, void *slots, uint32_t capacity,
                             uint32_t element_bytes);

/* One element, copied. KL_OK, KL_ERR_AGAIN, KL_ERR_LOCKED. */
int32_t kl_thread_queue_push_mp(kl_thread_queue *queue, const void *element);
int32_t kl_thread_queue_pop_mc(kl_thread_queue *queue, void *element);

/* Up to `count`, one after the other in memory; they stand behind each other in the queue. How many; when
 * none did, as above. */
int32_t kl_thread_queue_push_batch_mp(kl_thread_queue *queue, const void *elements, uint32_t count);
int32_t kl_thread_queue_pop_batch_mc(kl_thread_queue *queue, void *elements, uint32_t count);

/* Elements in it; right only while nobody calls, else a value from 0 to capacity. */
uint32_t kl_thread_queue_size(const kl_thread_queue *queue);

#endif
