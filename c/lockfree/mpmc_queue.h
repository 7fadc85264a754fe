/* mpmc_queue: bounded FIFO of elements of one size, any number of producers and consumers, in
 * shared memory; a process that dies in the middle of a push or pop stops nobody.
 *
 *   line 0  tail         position of the next push; by compare-exchange, by anyone
 *   line 1  geometry     magic, version, element_bytes, slot_bytes, capacity, mode; written by format
 *   line 2  head         {returns:16, position:48} of the oldest element; by compare-exchange
 *   line 3  data_event   notified by who pushed; consumers sleep on it
 *   line 4  space_event  notified by who popped; producers sleep on it
 *   line 5- slots        capacity x slot_bytes: {word u64, element, padding to 16}
 *
 * Positions are 48-bit counts that wrap; position p belongs to slots[p % capacity] in round
 * p / capacity (31 bits of it, or as many as there are). A slot's word is {round, owner, state}:
 *
 *   FREE(r) -> CLAIMED(r, me) -> READY(r) -> TAKEN(r, me) -> FREE(r + 1)
 *
 * A claim and a taking are compare-exchanges and carry the participant id of the process, so
 * who is in the middle of what is known at every moment. Only then tail or head moves, by whoever
 * comes first. Vyukov's bounded queue (1024cores.net) with the order of its two steps exchanged.
 *
 * Always: slot p is claimed only after slot p - 1 was, taken only after slot p - 1 was (but for
 * what recover returned). Empty is answered only of a slot that nobody has claimed, full only of one
 * that still holds an element of the round before: both are linearizable.
 * Death: kl_mpmc_queue_recover(dead) makes of a claim a slot without an element, and of a taking
 * either an element again, which is now the oldest one (at least once: KL_MPMC_QUEUE_RETURNS), or a
 * free slot (at most once). A killed push is there whole or not at all. Recover may be called by
 * anyone, by many at once, again, and may itself be killed: the next call goes on with it.
 * Scribbled memory: KL_ERR_CORRUPT or wrong elements, never an access outside of the slots.
 * Progress: lock-free, but for one who is stopped in the middle of a push or pop: when it is the
 * oldest element's, or a full queue's next slot's, the others are answered KL_ERR_LOCKED. A thread
 * stopped between a load and its compare-exchange for exactly 2^31 rounds would be taken in.
 *
 * May these run at the same time?   push  pop  recover  verify  format
 *                            push   yes   yes  yes      no      no
 *                            pop    yes   yes  yes      no      no
 *                            recover yes  yes  yes      no      no
 *                            verify no    no   no       yes     no
 * Suffix: _mp any number of producers, _mc any number of consumers; threads may share a grip.
 */
#ifndef KL_LOCKFREE_MPMC_QUEUE_H
#define KL_LOCKFREE_MPMC_QUEUE_H

#include "mem/region.h"
#include "sync/event_count.h"

#define KL_MPMC_QUEUE_MAGIC             0x514d4c4bu /* "KLMQ" */
#define KL_MPMC_QUEUE_VERSION           1u
#define KL_MPMC_QUEUE_HEADER_BYTES      (5 * KL_LINE_BYTES)
#define KL_MPMC_QUEUE_CAPACITY_MIN      2u
#define KL_MPMC_QUEUE_CAPACITY_MAX      (1u << 24)
#define KL_MPMC_QUEUE_ELEMENT_BYTES_MAX 248u
#define KL_MPMC_QUEUE_BATCH_MAX         64u /* elements that one call claims before it moves tail */

/* mode: what becomes of an element whose consumer died while it copied it; and whether elements are
 * records that begin with their size (a u16; the calls for the FFI see to it). */
enum kl_mpmc_queue_mode {
    KL_MPMC_QUEUE_RETURNS = 0,
    KL_MPMC_QUEUE_DROPS = 1,
    KL_MPMC_QUEUE_SIZED = 2
};
#define KL_MPMC_QUEUE_SIZE_BYTES 2u

/* layout: kl_mpmc_queue_header tail magic version element_bytes slot_bytes capacity mode head
   data_event space_event */
typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t tail;
    _Alignas(KL_LINE_BYTES) uint32_t magic;
    uint32_t version;
    uint32_t element_bytes;
    uint32_t slot_bytes;
    uint32_t capacity;
    uint32_t mode;
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t head;
    kl_event_count data_event;
    kl_event_count space_event;
} kl_mpmc_queue_header;

static_assert(sizeof(kl_mpmc_queue_header) == KL_MPMC_QUEUE_HEADER_BYTES, "one line per writer");
static_assert(offsetof(kl_mpmc_queue_header, magic) == 1 * KL_LINE_BYTES, "nobody writes line 1");
static_assert(offsetof(kl_mpmc_queue_header, head) == 2 * KL_LINE_BYTES, "consumers move line 2");

/* One process's grip on a queue: read-only after grip. */
typedef struct {
    kl_mpmc_queue_header *header;
    uint8_t *slots;
    uint64_t mask;
    uint64_t round_mask;
    uint32_t shift; /* capacity is 1 << shift */
    uint32_t element_bytes;
    uint32_t slot_bytes;
    uint32_t mode;
} kl_mpmc_queue;

typedef struct {
    uint32_t capacity;      /* a power of two, 2 to 2^24 */
    uint32_t element_bytes; /* 1 to 248 */
    uint32_t mode;
} kl_mpmc_queue_geometry;

/* Bytes of memory for it; 0 with KL_ERR_ARGUMENT said when it is out of range. */
uint64_t kl_mpmc_queue_memory_bytes(const kl_mpmc_queue_geometry *geometry);

/* Makes an empty queue in line-aligned memory of kl_mpmc_queue_memory_bytes(). */
int32_t kl_mpmc_queue_format(void *memory, const kl_mpmc_queue_geometry *geometry);

/* Grips a formatted one; `memory_bytes` is all there is. KL_ERR_CORRUPT, KL_ERR_VERSION. */
int32_t kl_mpmc_queue_grip(kl_mpmc_queue *queue, void *memory, uint64_t memory_bytes);

/* One element in or out, copied; `self` is the process's participant id. KL_OK; KL_ERR_AGAIN: full,
 * or empty; KL_ERR_LOCKED: another who is in the middle of a call has to end it first, its id is in
 * *blocker (which may be NULL); KL_ERR_CORRUPT. */
int32_t kl_mpmc_queue_push_mp(kl_mpmc_queue *queue, uint32_t self, const void *element,
                              uint32_t *blocker);
int32_t kl_mpmc_queue_pop_mc(kl_mpmc_queue *queue, uint32_t self, void *element, uint32_t *blocker);

/* Many, one after the other in memory, element_bytes each. How many went in or came out, from the
 * first on; when none did, what the calls above answer. Others may come between them. */
int32_t kl_mpmc_queue_push_batch_mp(kl_mpmc_queue *queue, uint32_t self, const void *elements,
                                    uint32_t count, uint32_t *blocker);
int32_t kl_mpmc_queue_pop_batch_mc(kl_mpmc_queue *queue, uint32_t self, void *elements,
                                   uint32_t count, uint32_t *blocker);

/* Puts in order what a dead process was in the middle of. How many slots. */
int32_t kl_mpmc_queue_recover(kl_mpmc_queue *queue, uint32_t dead);

/* Elements in it; right only while nobody calls, else a value from 0 to capacity. */
uint32_t kl_mpmc_queue_size(const kl_mpmc_queue *queue);

static inline void kl_mpmc_queue_notify_data(kl_mpmc_queue *queue) {
    kl_event_count_notify_all(&queue->header->data_event);
}

static inline void kl_mpmc_queue_notify_space(kl_mpmc_queue *queue) {
    kl_event_count_notify_all(&queue->header->space_event);
}

/* Looks at every slot. KL_OK or KL_ERR_CORRUPT. */
int32_t kl_mpmc_queue_verify(const kl_mpmc_queue *queue);

/* The same queue behind a handle, in a named region of its own. `out` gets the u32 handle.
 * record_bytes_max 0: a queue of numbers from 0 to 2^32 - 1; else of records of up to so many bytes
 * (1 to 246). drops: 1 for at most once. All calls notify; the pushes and pops look, when somebody is
 * in their way or there is nothing, whether processes died, and recover what they left. */
KL_API int32_t kl_mpmc_queue_create(const uint8_t *name, uint32_t name_bytes, uint32_t capacity,
                                    uint32_t record_bytes_max, uint32_t drops, uint8_t *out);
KL_API int32_t kl_mpmc_queue_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out);
KL_API int32_t kl_mpmc_queue_close(uint32_t queue);
/* Takes the name away; who is attached keeps the queue. KL_ERR_NOT_FOUND. */
KL_API int32_t kl_mpmc_queue_remove(const uint8_t *name, uint32_t name_bytes);

/* KL_OK, KL_ERR_AGAIN (full, or the next slot is in use), KL_ERR_ARGUMENT. */
KL_API int32_t kl_mpmc_queue_push(uint32_t queue, const uint8_t *data, uint32_t bytes);
/* Bytes (>= 0), KL_ERR_AGAIN (empty, or the oldest is being written), KL_ERR_LIMIT (`capacity` is
 * less than record_bytes_max). */
KL_API int32_t kl_mpmc_queue_pop(uint32_t queue, uint8_t *out, uint32_t capacity);
/* The same, behind the first `offset` bytes of `out`. */
KL_API int32_t kl_mpmc_queue_pop_at(uint32_t queue, uint8_t *out, uint32_t offset,
                                    uint32_t capacity);
/* {u32 bytes, bytes} padded to 4, one after the other. How many went in, or came out. pop_many
 * needs room for at least one record of the largest size. */
KL_API int32_t kl_mpmc_queue_push_many(uint32_t queue, const uint8_t *records, uint32_t bytes);
KL_API int32_t kl_mpmc_queue_pop_many(uint32_t queue, uint8_t *out, uint32_t capacity);
/* Queues of numbers. pop_u32 gives the number, or KL_ERR_* (negative). `words` are u32. */
KL_API int32_t kl_mpmc_queue_push_u32(uint32_t queue, uint32_t value);
KL_API double kl_mpmc_queue_pop_u32(uint32_t queue);
KL_API int32_t kl_mpmc_queue_push_words(uint32_t queue, const uint8_t *words, uint32_t count);
KL_API int32_t kl_mpmc_queue_pop_words(uint32_t queue, uint8_t *words, uint32_t count);
/* Elements in it; capacity; record_bytes_max. Below 0: an error. */
KL_API int32_t kl_mpmc_queue_length(uint32_t queue);
KL_API int32_t kl_mpmc_queue_capacity(uint32_t queue);
KL_API int32_t kl_mpmc_queue_record_bytes_max(uint32_t queue);
KL_API int32_t kl_mpmc_queue_check(uint32_t queue); /* kl_mpmc_queue_verify */
/* Looks at once whether processes died, and recovers what they left: how many slots. */
KL_API int32_t kl_mpmc_queue_reap(uint32_t queue);

/* What of kl_shared_object_wait: room for one element, or an element. */
enum kl_mpmc_queue_what { KL_MPMC_QUEUE_SPACE = 1, KL_MPMC_QUEUE_DATA = 2 };

#endif
