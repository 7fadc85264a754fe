/* index_pool: cells that are handed out by index, and found again when their holder dies.
 *
 *   line 0   geometry     magic, version, capacity, payload_bytes; written once by format
 *   line 1   space_event  notified by release; who found no free cell sleeps on it
 *   line 2-  hints        one bit a cell, 1: perhaps free; by atomic or / and, any thread
 *   then     cells        {u64 word, payload}: word by the holder, or by compare-exchange; the
 *                         payload by the holder only
 *
 * A cell's word is {generation:32, owner:32}. Owner 0: free. A claim is one compare-exchange from
 * {g, 0} to {g, me}: who holds a cell is known in the same instant in which it is held. A release
 * goes from {g, me} to {g + 1, 0}: an index kept too long with its generation is refused, up to
 * 2^32 releases of that one cell. docs/format_index_pool.md draws it.
 *
 * Always: a cell has at most one holder. A free cell whose hint is 0 is one whose release (or whose
 * neighbour's look) is not over, or was cut by a death; recover sets such hints. A hint of 1 may be
 * wrong: who meets it clears it and looks at the cell once more. Both that and the release are
 * seq_cst read-modify-writes followed by a seq_cst load of the other's word, so one of the two sees
 * the other: no hint is lost between the living.
 * Death: leaves cells with the dead owner's id, and at most one hint unset. recover is a row of
 * single compare-exchanges; it may run twice, in parallel, and be killed anywhere.
 * Scribbled memory: indices are bounded before use; words may say anything, which costs cells.
 * Progress: acquire and release are lock-free, one locked instruction each while hints are right;
 * acquire looks at capacity / 64 words before it says that there is none.
 *
 * May these run at the same time?   acquire  release  recover  verify  format
 *                          acquire  yes      yes      yes      yes     no
 *                          release  yes      yes *    yes      yes     no   * one per claim
 *                          recover  yes      yes      yes      yes     no
 */
#ifndef KL_LOCKFREE_INDEX_POOL_H
#define KL_LOCKFREE_INDEX_POOL_H

#include "base/cpu.h"
#include "mem/region.h"
#include "sync/event_count.h"

#define KL_INDEX_POOL_MAGIC        0x50494c4bu /* "KLIP" */
#define KL_INDEX_POOL_VERSION      1u
#define KL_INDEX_POOL_HEADER_BYTES (2 * KL_LINE_BYTES)
#define KL_INDEX_POOL_CAPACITY_MAX 0xfffffeu /* index + 1 fits 24 bits (lockfree/tagged.h) */
#define KL_INDEX_POOL_PAYLOAD_MAX  65536u
/* Owner of a cell that is part of a structure: nobody's. Participant ids have 31 bits. */
#define KL_INDEX_POOL_SHARED UINT32_MAX

/* layout: kl_index_pool_header magic version capacity payload_bytes space_event */
typedef struct {
    _Alignas(KL_LINE_BYTES) uint32_t magic;
    uint32_t version;
    uint32_t capacity;
    uint32_t payload_bytes;
    kl_event_count space_event;
} kl_index_pool_header;

static_assert(sizeof(kl_index_pool_header) == KL_INDEX_POOL_HEADER_BYTES, "two lines");
static_assert(offsetof(kl_index_pool_header, space_event) == KL_LINE_BYTES, "waiters own line 1");

/* One thread's grip on a pool. Not shared. */
typedef struct {
    kl_index_pool_header *header;
    _Atomic uint64_t *hints;
    uint8_t *cells;
    uint64_t cell_bytes;
    uint32_t capacity;
    uint32_t payload_bytes;
    uint32_t cursor; /* where the next search begins */
} kl_index_pool;

/* layout: kl_claim index generation */
typedef struct {
    uint32_t index;
    uint32_t generation;
} kl_claim;

/* Whether a participant lives. Asked by recover, a few instructions or one system call long. */
typedef bool (*kl_alive_fn)(void *context, uint32_t participant);

/* The kl_alive_fn of ids of threads in a region; the context is the kl_region. */
bool kl_index_pool_thread_alive(void *region, uint32_t participant);

/* Bytes for a pool, whole lines; 0 when a number is out of range (capacity 1 to KL_INDEX_POOL_CAPACITY_MAX). */
uint64_t kl_index_pool_memory_bytes(uint32_t capacity, uint32_t payload_bytes);

/* Makes a pool of free cells in line-aligned, zeroed memory of kl_index_pool_memory_bytes(). */
int32_t kl_index_pool_format(void *memory, uint32_t capacity, uint32_t payload_bytes);

/* Grips a formatted pool; `memory_bytes` is all there is. KL_ERR_CORRUPT, KL_ERR_VERSION. */
int32_t kl_index_pool_grip(kl_index_pool *pool, void *memory, uint64_t memory_bytes);

/* Takes a free cell for `self`, a participant id. KL_OK, or KL_ERR_AGAIN: none is free. */
int32_t kl_index_pool_acquire(kl_index_pool *pool, uint32_t self, kl_claim *claim);

/* Gives a cell of `self` back. KL_ERR_NOT_FOUND: it is not held so: an old generation, another
 * holder, or given back before. KL_ERR_ARGUMENT: no such index. */
int32_t kl_index_pool_release(kl_index_pool *pool, uint32_t self, kl_claim claim);

/* KL_OK when `self` holds it so; KL_ERR_NOT_FOUND and KL_ERR_ARGUMENT as above. */
int32_t kl_index_pool_holds(const kl_index_pool *pool, uint32_t self, kl_claim claim);

/* Frees every cell of `dead` (0: of everyone who is not alive), and sets lost hints. The number of
 * cells freed. Cells of KL_INDEX_POOL_SHARED stay. O(capacity). */
int32_t kl_index_pool_recover(kl_index_pool *pool, uint32_t dead, kl_alive_fn alive, void *context);

/* Cells held by `owner`; by anybody for 0. Exact when nothing moves. O(capacity). */
uint32_t kl_index_pool_held(const kl_index_pool *pool, uint32_t owner);

/* KL_OK or KL_ERR_CORRUPT: geometry, and (when nothing moves) a hint for every free cell. */
int32_t kl_index_pool_verify(const kl_index_pool *pool);

static inline _Atomic uint64_t *kl_index_pool_word(const kl_index_pool *pool, uint32_t index) {
    return (_Atomic uint64_t *)(void *)(pool->cells + index * pool->cell_bytes);
}

/* The holder's own bytes, aligned to 8. `index` is below the capacity. */
static inline void *kl_index_pool_payload(const kl_index_pool *pool, uint32_t index) {
    return pool->cells + index * pool->cell_bytes + 8;
}

/* The holder of a cell, alone, names another: KL_INDEX_POOL_SHARED when it becomes part of a
 * structure, its own id when it took it out of one. */
static inline void kl_index_pool_stamp(const kl_index_pool *pool, uint32_t index, uint32_t owner) {
    _Atomic uint64_t *word = kl_index_pool_word(pool, index);
    /* relaxed: only its holder writes it. */
    uint64_t now = atomic_load_explicit(word, memory_order_relaxed);
    /* release: partner is the acquire in settle() (lockfree/hand_table.c): who finds a later holder
     * finds the hand of the earlier one empty. */
    atomic_store_explicit(word, (now & ~(uint64_t)UINT32_MAX) | owner, memory_order_release);
}

/* The same pool behind a handle, in a named region. The holder is the calling thread; one handle is
 * for one thread. A claim is two u32: index, generation. */
KL_API int32_t kl_index_pool_create(const uint8_t *name, uint32_t name_bytes, uint32_t capacity,
                                    uint32_t payload_bytes, uint8_t *out);
KL_API int32_t kl_index_pool_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out);
KL_API int32_t kl_index_pool_close(uint32_t pool);
KL_API int32_t kl_index_pool_remove(const uint8_t *name, uint32_t name_bytes);

/* `out` gets the claim, 8 bytes. */
KL_API int32_t kl_index_pool_take(uint32_t pool, uint8_t *out);
KL_API int32_t kl_index_pool_give(uint32_t pool, uint32_t index, uint32_t generation);
/* 1: held by the calling thread with this generation; 0: not. */
KL_API int32_t kl_index_pool_is_mine(uint32_t pool, uint32_t index, uint32_t generation);
/* The payload of a cell one holds; bytes <= payload_bytes. KL_ERR_NOT_FOUND, KL_ERR_ARGUMENT. */
KL_API int32_t kl_index_pool_read(uint32_t pool, uint32_t index, uint32_t generation, uint8_t *out,
                                  uint32_t bytes);
KL_API int32_t kl_index_pool_write(uint32_t pool, uint32_t index, uint32_t generation,
                                   const uint8_t *data, uint32_t bytes);
/* Of everyone who is not alive; the number of cells freed. */
KL_API int32_t kl_index_pool_recover_dead(uint32_t pool);
/* what 0: capacity, 1: payload_bytes, 2: cells held, 3: cells held by the calling thread. */
KL_API int32_t kl_index_pool_number(uint32_t pool, uint32_t what);
KL_API int32_t kl_index_pool_check(uint32_t pool); /* kl_index_pool_verify */

#endif
