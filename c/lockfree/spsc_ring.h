/* spsc_ring: bounded FIFO of byte records in shared memory, one producer and one consumer.
 *
 *   line 0  tail         position behind the last published record; written by the producer only
 *   line 1  geometry     magic, version, record_bytes, capacity_bytes; written once by format
 *   line 2  head         position of the oldest record; written by the consumer only
 *   line 3  roles        producer, consumer: participant ids, 0 = free; by compare-exchange
 *   line 4  data_event   notified by the producer; the consumer sleeps on it
 *   line 5  space_event  notified by the consumer; the producer sleeps on it
 *   line 6- data         capacity_bytes, a power of two
 *
 * Positions are absolute u64 byte counts that only grow; position p lies at data[p % capacity].
 * record_bytes 0: a record is {u32 bytes, u32 flags} and its bytes, padded to 8, possibly around
 * the end. record_bytes 8: a record is one u64 and nothing else. docs/format_spsc_ring.md draws it.
 *
 * Always: 0 <= tail - head <= capacity (unsigned), both multiples of 8. A record is whole before
 * tail covers it: the producer writes its bytes, then publishes with one release store.
 * Death: of the producer before that store: the record does not exist; of the consumer before its
 * own store to head: its successor sees the record again. Nothing is to be repaired; the role is
 * taken over by kl_spsc_ring_claim. Scribbled memory: every position and length read from it is
 * checked before use: KL_ERR_CORRUPT, never an access outside of the ring.
 * Progress: wait-free on both sides; each side reads the other's line only when its private copy
 * of that position no longer suffices. Push and pop never notify: kl_spsc_ring_notify_* does, once
 * for as many records as the caller likes (the calls for the FFI do it themselves).
 *
 * May these run at the same time?     push  pop  claim  verify  format
 *                             push    no    yes  yes    no      no
 *                             pop     yes   no   yes    no      no
 *                             claim   yes   yes  yes    yes     no
 *                             verify  no    no   yes    yes     no
 */
#ifndef KL_LOCKFREE_SPSC_RING_H
#define KL_LOCKFREE_SPSC_RING_H

#include <string.h>

#include "mem/region.h"
#include "sync/event_count.h"

#define KL_SPSC_RING_MAGIC        0x52534c4bu /* "KLSR" */
#define KL_SPSC_RING_VERSION      1u
#define KL_SPSC_RING_HEADER_BYTES (6 * KL_LINE_BYTES)
#define KL_SPSC_RING_RECORD_BYTES 8u /* header of a variable record, and the alignment of all */
#define KL_SPSC_RING_CAPACITY_MIN 64u
#define KL_SPSC_RING_CAPACITY_MAX (1ull << 32)

/* layout: kl_spsc_ring_header tail magic version record_bytes capacity_bytes head producer
   consumer data_event space_event */
typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t tail;
    _Alignas(KL_LINE_BYTES) uint32_t magic;
    uint32_t version;
    uint32_t record_bytes;
    uint32_t reserved;
    uint64_t capacity_bytes;
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t head;
    _Alignas(KL_LINE_BYTES) _Atomic uint32_t producer;
    _Atomic uint32_t consumer;
    kl_event_count data_event;
    kl_event_count space_event;
} kl_spsc_ring_header;

static_assert(sizeof(kl_spsc_ring_header) == KL_SPSC_RING_HEADER_BYTES, "one line per writer");
static_assert(offsetof(kl_spsc_ring_header, magic) == 1 * KL_LINE_BYTES, "nobody writes line 1");
static_assert(offsetof(kl_spsc_ring_header, head) == 2 * KL_LINE_BYTES, "consumer owns line 2");
static_assert(offsetof(kl_spsc_ring_header, producer) == 3 * KL_LINE_BYTES, "roles own line 3");

/* One process's grip on a ring: where it is, and each side's private copies. Not shared. */
typedef struct {
    kl_spsc_ring_header *header;
    uint8_t *data;
    uint64_t mask;
    uint32_t record_bytes;
    _Alignas(2 * KL_LINE_BYTES) uint64_t tail; /* producer: what it published */
    uint64_t head_seen;                        /* producer: the head it last read */
    _Alignas(2 * KL_LINE_BYTES) uint64_t head; /* consumer: what it freed */
    uint64_t tail_seen;                        /* consumer: the tail it last read */
} kl_spsc_ring;

enum kl_spsc_ring_side { KL_SPSC_RING_PRODUCER = 1, KL_SPSC_RING_CONSUMER = 2 };

/* Bytes of memory for a ring of `capacity_bytes`; 0 when that is not a power of two in range. */
uint64_t kl_spsc_ring_memory_bytes(uint64_t capacity_bytes);

/* Makes an empty ring in line-aligned memory of kl_spsc_ring_memory_bytes(). record_bytes: 0 or 8. */
int32_t kl_spsc_ring_format(void *memory, uint64_t capacity_bytes, uint32_t record_bytes);

/* Grips a formatted ring; `memory_bytes` is all there is. KL_ERR_CORRUPT, KL_ERR_VERSION. */
int32_t kl_spsc_ring_grip(kl_spsc_ring *ring, void *memory, uint64_t memory_bytes);

/* Takes a side: KL_OK, KL_OWNER_DEAD (from a dead participant), KL_ERR_LOCKED (a live other one),
 * KL_ERR_CORRUPT. Claiming what one has is KL_OK. Each claim reads the positions anew. */
int32_t kl_spsc_ring_claim(kl_spsc_ring *ring, kl_region *region, uint32_t side);
void kl_spsc_ring_release(kl_spsc_ring *ring, kl_region *region, uint32_t side);

/* Producer. KL_OK, KL_ERR_AGAIN (full), KL_ERR_ARGUMENT (can never fit), KL_ERR_CORRUPT. */
int32_t kl_spsc_ring_push_sp(kl_spsc_ring *ring, const void *data, uint32_t bytes);

/* Consumer. The bytes of the record copied to `out` (>= 0), KL_ERR_AGAIN (empty), KL_ERR_LIMIT
 * (larger than `capacity`; it stays, kl_spsc_ring_peek_sc tells its size), KL_ERR_CORRUPT. */
int32_t kl_spsc_ring_pop_sc(kl_spsc_ring *ring, void *out, uint32_t capacity);

/* Consumer. Bytes of the oldest record, or KL_ERR_AGAIN, KL_ERR_CORRUPT. */
int32_t kl_spsc_ring_peek_sc(kl_spsc_ring *ring);

/* Many records, one publication. The batch is {u32 bytes, bytes} padded to 4, one after the other.
 * How many went in (0: full) or came out (0: empty); KL_ERR_LIMIT: the first does not fit `out`. */
int32_t kl_spsc_ring_push_batch_sp(kl_spsc_ring *ring, const uint8_t *records, uint32_t bytes);
int32_t kl_spsc_ring_pop_batch_sc(kl_spsc_ring *ring, uint8_t *out, uint32_t capacity);

/* Producer, in place: room for a record of `bytes`, to be written at data[position % capacity],
 * behind its header (rings of words: none); it may go on at the beginning of data. Then commit, with as many
 * bytes or fewer; a claim that is never committed is nothing. One at a time. Errors as push. */
int32_t kl_spsc_ring_claim_sp(kl_spsc_ring *ring, uint32_t bytes, uint64_t *position);
int32_t kl_spsc_ring_commit_sp(kl_spsc_ring *ring, uint32_t bytes);
/* Consumer, in place: after peek, steps over the record at ring->head. KL_ERR_AGAIN: none. */
int32_t kl_spsc_ring_release_sc(kl_spsc_ring *ring);

/* Rings of record_bytes 8 only: u32 words, widened. How many went in or came out; KL_ERR_CORRUPT. */
int32_t kl_spsc_ring_push_words_sp(kl_spsc_ring *ring, const uint8_t *words, uint32_t count);
int32_t kl_spsc_ring_pop_words_sc(kl_spsc_ring *ring, uint8_t *words, uint32_t count);

/* The slow halves of push_u64 and pop_u64: read the other side's line. */
int32_t kl_spsc_ring_look_for_space_sp(kl_spsc_ring *ring, uint64_t bytes);
int32_t kl_spsc_ring_look_for_data_sc(kl_spsc_ring *ring);

/* Rings of record_bytes 8 only (the caller knows). */
static inline int32_t kl_spsc_ring_push_u64_sp(kl_spsc_ring *ring, uint64_t value) {
    uint64_t tail = ring->tail;
    if (__builtin_expect(tail - ring->head_seen > ring->mask - 7, 0)) {
        int32_t status = kl_spsc_ring_look_for_space_sp(ring, 8);
        if (status != KL_OK) return status;
    }
    memcpy(ring->data + (tail & ring->mask), &value, 8);
    ring->tail = tail + 8;
    /* release: partner is the acquire in look_for_data_sc; publishes the value. */
    atomic_store_explicit(&ring->header->tail, tail + 8, memory_order_release);
    return KL_OK;
}

static inline int32_t kl_spsc_ring_pop_u64_sc(kl_spsc_ring *ring, uint64_t *value) {
    uint64_t head = ring->head;
    if (__builtin_expect(head == ring->tail_seen, 0)) {
        int32_t status = kl_spsc_ring_look_for_data_sc(ring);
        if (status != KL_OK) return status;
    }
    memcpy(value, ring->data + (head & ring->mask), 8);
    ring->head = head + 8;
    /* release: partner is the acquire in look_for_space_sp; the slot was read before. */
    atomic_store_explicit(&ring->header->head, head + 8, memory_order_release);
    return KL_OK;
}

static inline void kl_spsc_ring_notify_data(kl_spsc_ring *ring) {
    kl_event_count_notify_all(&ring->header->data_event);
}

static inline void kl_spsc_ring_notify_space(kl_spsc_ring *ring) {
    kl_event_count_notify_all(&ring->header->space_event);
}

/* Walks every record between head and tail. KL_OK or KL_ERR_CORRUPT. */
int32_t kl_spsc_ring_verify(const kl_spsc_ring *ring);

/* The same ring behind a handle, in a named region of its own. `out` gets the u32 handle, which is
 * closed when the thread that opened it ends (sync/thread_end). Sides are claimed at the first push
 * and pop; both calls notify. One thread per side, as above. */
KL_API int32_t kl_spsc_ring_create(const uint8_t *name, uint32_t name_bytes, double capacity_bytes,
                                   uint32_t record_bytes, uint8_t *out);
KL_API int32_t kl_spsc_ring_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out);
KL_API int32_t kl_spsc_ring_close(uint32_t ring);
/* Takes the name away; who is attached keeps the ring. KL_ERR_NOT_FOUND. */
KL_API int32_t kl_spsc_ring_remove(const uint8_t *name, uint32_t name_bytes);

KL_API int32_t kl_spsc_ring_push(uint32_t ring, const uint8_t *data, uint32_t bytes);
KL_API int32_t kl_spsc_ring_pop(uint32_t ring, uint8_t *out, uint32_t capacity);
/* The same, behind the first `offset` bytes of `out`. */
KL_API int32_t kl_spsc_ring_pop_at(uint32_t ring, uint8_t *out, uint32_t offset, uint32_t capacity);
/* kl_spsc_ring_push_batch_sp and pop_batch_sc. */
KL_API int32_t kl_spsc_ring_push_many(uint32_t ring, const uint8_t *records, uint32_t bytes);
KL_API int32_t kl_spsc_ring_pop_many(uint32_t ring, uint8_t *out, uint32_t capacity);
/* Rings of record_bytes 8. pop_u32 gives the value, or KL_ERR_* (negative). */
KL_API int32_t kl_spsc_ring_push_u32(uint32_t ring, uint32_t value);
KL_API double kl_spsc_ring_pop_u32(uint32_t ring);
/* push_words_sp and pop_words_sc. */
KL_API int32_t kl_spsc_ring_push_words(uint32_t ring, const uint8_t *words, uint32_t count);
KL_API int32_t kl_spsc_ring_pop_words(uint32_t ring, uint8_t *words, uint32_t count);
/* In place: claim_sp, commit_sp (or, with `data`, push), release_sc, and the position of the oldest
 * record after peek. Positions are f64; below 0 they are a status. */
KL_API double kl_spsc_ring_reserve(uint32_t ring, uint32_t bytes);
KL_API int32_t kl_spsc_ring_commit(uint32_t ring, const uint8_t *data, uint32_t bytes);
KL_API int32_t kl_spsc_ring_skip(uint32_t ring);
/* The bytes of the oldest record, which stays; KL_ERR_LIMIT. */
KL_API int32_t kl_spsc_ring_peek_copy(uint32_t ring, uint8_t *out, uint32_t capacity);
KL_API double kl_spsc_ring_position(uint32_t ring);
/* Where data begins in this process (8 bytes to `out`); good for ever, see mem/region.h. */
KL_API int32_t kl_spsc_ring_address(uint32_t ring, uint8_t *out);
/* Bytes of the next record, KL_ERR_AGAIN when there is none. */
KL_API int32_t kl_spsc_ring_peek(uint32_t ring);
/* Bytes in use, headers and padding included; capacity; both < 0 on error. */
KL_API double kl_spsc_ring_used_bytes(uint32_t ring);
KL_API double kl_spsc_ring_capacity_bytes(uint32_t ring);
KL_API int32_t kl_spsc_ring_check(uint32_t ring); /* kl_spsc_ring_verify */

/* What of kl_shared_object_wait: the side, with the record's bytes as `argument` for the producer. */

#endif
