/* mpsc_ring: bounded FIFO of byte records in shared memory, any number of producers, one consumer.
 *
 *   line 0    tail         position behind the last claimed record; producers, by compare-exchange
 *   line 1    geometry     magic, version, capacity_bytes; written once by format
 *   line 2    head, limit  position of the oldest record; everything below limit is zero again;
 *                          both written by the consumer only
 *   line 3    consumer     thread id, 0 = free; by compare-exchange
 *   line 4    data_event   notified by producers; the consumer sleeps on it
 *   line 5    space_event  notified by the consumer; producers sleep on it
 *   line 6-69 intents      one line per thread of the region: {position, owner}, written by that
 *                          thread (the one whose id has this slot) only
 *   line 70-  data         capacity_bytes, a power of two
 *
 * Positions are absolute u64 byte counts that only grow; position p lies at data[p % capacity]. A
 * record is one u64 {u32 bytes, u32 state} and its bytes, padded to 8, never around the end: what is
 * left there becomes padding. docs/format_mpsc_ring.md draws it. After Aeron's ring buffer.
 *
 *   producer  writes its intent (the tail it saw), moves tail by compare-exchange, stamps the
 *             record CLAIMED by its thread id, takes the intent back, writes the bytes, stores
 *             READY (or PADDING: abort).
 *   consumer  reads records in order, moves head, makes their bytes zero, moves limit.
 *
 * Always: limit <= head <= tail <= limit + capacity, multiples of 8. Every byte between tail and
 * limit + capacity is zero, so a record without a stamp begins with a zero word.
 *
 * Death of a producer: before it moves tail nothing happened. Later the consumer finds its record
 * at head and kl_mpsc_ring_unblock_sc makes padding of it when its owner is dead: of a stamped one
 * the size is known; of one without stamp everything up to the next stamp or tail, once no living
 * thread says by its intent that it may be about to stamp something there. A push that returned is
 * there; one that was killed is there whole or not at all.
 * Death of the consumer: before it moves head the record is seen again by its successor (at least
 * once); after it, the successor makes [limit, head) zero again. Who wants at most once pops a copy
 * before it acts; who wants at least once peeks, acts, and releases.
 * Scribbled memory: KL_ERR_CORRUPT or wrong bytes, never an access outside of the data.
 *
 * Progress: claim is lock-free, one compare-exchange; commit and abort are wait-free. The consumer
 * is wait-free, but waits for the producer of the oldest record: KL_ERR_LOCKED while it lives.
 *
 * May these run at the same time?    claim/commit  pop  unblock  take  verify  format
 *                     claim/commit   yes           yes  yes      yes   no      no
 *                     pop            yes           no   no       no    no      no
 *                     unblock        yes           no   no       no    no      no
 *                     take           yes           no   no       yes   no      no
 *                     verify         no            no   no       no    yes     no
 * Suffix: _mp any number of threads, _sc the one consumer. One claim at a time stamps an intent:
 * a thread id is used by its own thread only. It may hold several claims, committed in any order.
 */
#ifndef KL_LOCKFREE_MPSC_RING_H
#define KL_LOCKFREE_MPSC_RING_H

#include "mem/region.h"
#include "sync/event_count.h"

#define KL_MPSC_RING_MAGIC        0x524d4c4bu /* "KLMR" */
#define KL_MPSC_RING_VERSION      1u
#define KL_MPSC_RING_HEADER_BYTES ((6 + KL_PARTICIPANTS) * KL_LINE_BYTES)
#define KL_MPSC_RING_RECORD_BYTES 8u /* header of a record, and the alignment of all */
#define KL_MPSC_RING_CAPACITY_MIN 128u
#define KL_MPSC_RING_CAPACITY_MAX (1ull << 31)

/* The state of a record: the upper half of its first word. 0: not stamped. Below READY: the id of
 * the thread that claimed it. */
#define KL_MPSC_RING_READY   0x80000000u
#define KL_MPSC_RING_PADDING 0xc0000000u

#define KL_MPSC_RING_INTENT 1ull /* bit of kl_mpsc_ring_intent.position: it says something */

/* layout: kl_mpsc_ring_intent position owner */
typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t position;
    _Atomic uint32_t owner;
} kl_mpsc_ring_intent;

/* layout: kl_mpsc_ring_header tail magic version capacity_bytes head limit consumer data_event
   space_event intents */
typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t tail;
    _Alignas(KL_LINE_BYTES) uint32_t magic;
    uint32_t version;
    uint64_t capacity_bytes;
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t head;
    _Atomic uint64_t limit;
    _Alignas(KL_LINE_BYTES) _Atomic uint32_t consumer;
    kl_event_count data_event;
    kl_event_count space_event;
    kl_mpsc_ring_intent intents[KL_PARTICIPANTS];
} kl_mpsc_ring_header;

static_assert(sizeof(kl_mpsc_ring_intent) == KL_LINE_BYTES, "one line per thread");
static_assert(sizeof(kl_mpsc_ring_header) == KL_MPSC_RING_HEADER_BYTES, "one line per writer");
static_assert(offsetof(kl_mpsc_ring_header, magic) == 1 * KL_LINE_BYTES, "nobody writes line 1");
static_assert(offsetof(kl_mpsc_ring_header, head) == 2 * KL_LINE_BYTES, "consumer owns line 2");
static_assert(offsetof(kl_mpsc_ring_header, consumer) == 3 * KL_LINE_BYTES, "role owns line 3");

/* One process's grip on a ring. Not shared between processes; threads may share it as producers. */
typedef struct {
    kl_mpsc_ring_header *header;
    uint8_t *data;
    uint64_t mask;
    _Atomic uint64_t limit_seen;               /* producers: a limit once read */
    _Alignas(2 * KL_LINE_BYTES) uint64_t head; /* consumer: its own position */
} kl_mpsc_ring;

/* Whether the thread with this id lives (kl_region_thread_alive with its region). */
typedef bool (*kl_mpsc_ring_alive)(void *context, uint32_t owner);

/* Bytes of memory for a ring of `capacity_bytes`; 0 when that is not a power of two in range. */
uint64_t kl_mpsc_ring_memory_bytes(uint64_t capacity_bytes);

/* Makes an empty ring in line-aligned memory of kl_mpsc_ring_memory_bytes(). */
int32_t kl_mpsc_ring_format(void *memory, uint64_t capacity_bytes);

/* Grips a formatted ring; `memory_bytes` is all there is. KL_ERR_CORRUPT, KL_ERR_VERSION. */
int32_t kl_mpsc_ring_grip(kl_mpsc_ring *ring, void *memory, uint64_t memory_bytes);

/* The largest record: half of the ring with its header, so that padding never keeps it out. */
static inline uint32_t kl_mpsc_ring_record_bytes_max(const kl_mpsc_ring *ring) {
    return (uint32_t)((ring->mask + 1) / 2 - KL_MPSC_RING_RECORD_BYTES);
}

/* Once for a thread id, before its first claim. KL_ERR_ARGUMENT: no id of a thread. */
int32_t kl_mpsc_ring_enlist_mp(kl_mpsc_ring *ring, uint32_t self);

/* Room for a record of `bytes`, stamped with `self`, to be written at
 * kl_mpsc_ring_at(ring, *position) and then committed or aborted. KL_OK, KL_ERR_AGAIN (full),
 * KL_ERR_ARGUMENT (can never fit), KL_ERR_CORRUPT. */
int32_t kl_mpsc_ring_claim_mp(kl_mpsc_ring *ring, uint32_t self, uint32_t bytes,
                              uint64_t *position);

/* Where the bytes of the record at `position` lie. */
static inline uint8_t *kl_mpsc_ring_at(const kl_mpsc_ring *ring, uint64_t position) {
    return ring->data + (position & ring->mask & ~7ull) + KL_MPSC_RING_RECORD_BYTES;
}

/* Publishes a claim with its first `bytes` bytes, or gives it up. KL_ERR_ARGUMENT: no claim of
 * `self` is there (any more), or it is smaller. */
int32_t kl_mpsc_ring_commit_mp(kl_mpsc_ring *ring, uint32_t self, uint64_t position,
                               uint32_t bytes);
int32_t kl_mpsc_ring_abort_mp(kl_mpsc_ring *ring, uint32_t self, uint64_t position);

/* claim, copy, commit. */
int32_t kl_mpsc_ring_push_mp(kl_mpsc_ring *ring, uint32_t self, const void *data, uint32_t bytes);

/* Many records, one claim, one publication: no other record comes between those of one claim. The
 * batch is {u32 bytes, bytes} padded to 4, one after the other. Answers how many went in (0: full). */
int32_t kl_mpsc_ring_push_batch_mp(kl_mpsc_ring *ring, uint32_t self, const uint8_t *records,
                                   uint32_t bytes);

/* The consumer's side: KL_OK, KL_OWNER_DEAD (from a dead one, whose work was put in order),
 * KL_ERR_LOCKED (a live other one), KL_ERR_CORRUPT. Taking what one has is KL_OK. */
int32_t kl_mpsc_ring_take(kl_mpsc_ring *ring, uint32_t self, kl_mpsc_ring_alive is_alive,
                          void *context);
void kl_mpsc_ring_give(kl_mpsc_ring *ring, uint32_t self);

/* Consumer. Bytes of the oldest record, which lies at kl_mpsc_ring_at(ring, ring->head) until it is
 * released. KL_ERR_AGAIN (empty), KL_ERR_LOCKED (its producer is not done), KL_ERR_CORRUPT. */
int32_t kl_mpsc_ring_peek_sc(kl_mpsc_ring *ring);

/* Consumer. Steps over the record that peek answered. KL_ERR_AGAIN: there is none. */
int32_t kl_mpsc_ring_release_sc(kl_mpsc_ring *ring);

/* peek, copy, release. KL_ERR_LIMIT: larger than `capacity`; it stays. */
int32_t kl_mpsc_ring_pop_sc(kl_mpsc_ring *ring, void *out, uint32_t capacity);

/* As many as fit, in the form of push_batch, released at once. The number (0: empty or locked);
 * KL_ERR_LIMIT: the first does not fit `out`. */
int32_t kl_mpsc_ring_pop_batch_sc(kl_mpsc_ring *ring, uint8_t *out, uint32_t capacity);

/* After KL_ERR_LOCKED: makes padding of what a dead producer left at head. KL_OK: did so, look
 * again; KL_ERR_LOCKED: whoever is at it lives; KL_ERR_AGAIN: nothing is there; KL_ERR_CORRUPT. */
int32_t kl_mpsc_ring_unblock_sc(kl_mpsc_ring *ring, kl_mpsc_ring_alive is_alive, void *context);

static inline void kl_mpsc_ring_notify_data(kl_mpsc_ring *ring) {
    kl_event_count_notify_all(&ring->header->data_event);
}

static inline void kl_mpsc_ring_notify_space(kl_mpsc_ring *ring) {
    kl_event_count_notify_all(&ring->header->space_event);
}

/* Walks every record between head and tail. KL_OK or KL_ERR_CORRUPT. */
int32_t kl_mpsc_ring_verify(const kl_mpsc_ring *ring);

/* The same ring behind a handle, in a named region of its own. `out` gets the u32 handle. The first
 * pop or peek takes the consumer's side for the calling thread. All calls notify; the consumer's, when
 * the oldest record is not done, look now and then whether its producer lives, and unblock. */
KL_API int32_t kl_mpsc_ring_create(const uint8_t *name, uint32_t name_bytes, double capacity_bytes,
                                   uint8_t *out);
KL_API int32_t kl_mpsc_ring_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out);
KL_API int32_t kl_mpsc_ring_close(uint32_t ring);
/* Takes the name away; who is attached keeps the ring. KL_ERR_NOT_FOUND. */
KL_API int32_t kl_mpsc_ring_remove(const uint8_t *name, uint32_t name_bytes);

KL_API int32_t kl_mpsc_ring_push(uint32_t ring, const uint8_t *data, uint32_t bytes);
KL_API int32_t kl_mpsc_ring_push_many(uint32_t ring, const uint8_t *records, uint32_t bytes);
/* The position of the claim, a multiple of 8; below 0: as kl_mpsc_ring_claim_mp. */
KL_API double kl_mpsc_ring_claim(uint32_t ring, uint32_t bytes);
/* kl_mpsc_ring_commit_mp; `data` (NULL: they are there already) is copied into the claim before. */
KL_API int32_t kl_mpsc_ring_commit(uint32_t ring, double position, const uint8_t *data,
                                   uint32_t bytes);
KL_API int32_t kl_mpsc_ring_abort(uint32_t ring, double position);

/* KL_ERR_AGAIN: nothing, or the oldest record is being written. KL_ERR_LOCKED: there is another
 * live consumer. Otherwise as kl_mpsc_ring_pop_sc, pop_batch_sc, peek_sc and release_sc. */
KL_API int32_t kl_mpsc_ring_pop(uint32_t ring, uint8_t *out, uint32_t capacity);
/* The same, behind the first `offset` bytes of `out`. */
KL_API int32_t kl_mpsc_ring_pop_at(uint32_t ring, uint8_t *out, uint32_t offset, uint32_t capacity);
KL_API int32_t kl_mpsc_ring_pop_many(uint32_t ring, uint8_t *out, uint32_t capacity);
KL_API int32_t kl_mpsc_ring_peek(uint32_t ring);
KL_API int32_t kl_mpsc_ring_release(uint32_t ring);
/* The bytes of the oldest record, which stays; KL_ERR_LIMIT. */
KL_API int32_t kl_mpsc_ring_peek_copy(uint32_t ring, uint8_t *out, uint32_t capacity);
/* The position of the oldest record, for the consumer after peek. */
KL_API double kl_mpsc_ring_position(uint32_t ring);
/* Bytes in use, headers and padding included; capacity; both < 0 on error. */
KL_API double kl_mpsc_ring_used_bytes(uint32_t ring);
KL_API double kl_mpsc_ring_capacity_bytes(uint32_t ring);
/* Where data begins in this process (8 bytes to `out`): position p is at p % capacity, behind a
 * header of 8 bytes. Good for ever: see mem/region.h on what is there after close. */
KL_API int32_t kl_mpsc_ring_address(uint32_t ring, uint8_t *out);
KL_API int32_t kl_mpsc_ring_check(uint32_t ring); /* kl_mpsc_ring_verify */

/* What of kl_shared_object_wait: room for a record of `argument` bytes, or a record. */
enum kl_mpsc_ring_what { KL_MPSC_RING_SPACE = 1, KL_MPSC_RING_DATA = 2 };

#endif
