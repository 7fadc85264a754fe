/* capability_table: who may do what, for all threads and processes that share it. A capability is a
 * key with 64 permission bits; it may be delegated, with fewer bits, to a child under another key,
 * and ended or narrowed later together with all that came from it.
 *
 *   line 0       geometry  magic, version, capacity, slot count; written once by format
 *   line 1       mutex     whoever changes the bits of a live capability (grant, revoke)
 *   line 2-      keys      slots x u64: by who has claimed the slot
 *   then         entries   slots x one line: control by compare-exchange, by anybody; mask and
 *                          parent by who has claimed the slot; mask of a live one under the mutex
 *
 * Open addressing without probing: a key may lie in one of two buckets of 16 slots, given by its
 * hash, in the emptier when it comes (Azar et al., "Balanced allocations", 1999). A lookup looks at
 * those 32 keys and nowhere else, so there are no tombstones: a freed slot is free.
 *
 * control = {generation:30, state:3, creator:31}. A capability is {generation, slot}; each use of a
 * slot makes the next generation, and a slot that has used them all up is retired.
 *   FREE -> CLAIMED (fields are written) -> TENTATIVE (rivals for the key are looked for) -> LIVE -> FREE
 *   LIVE <-> EDIT -> ENDED -> FREE: while the owner of the mutex changes its mask
 *
 * Always: what a capability permits is its mask AND the masks of all it was delegated from, each of
 * which must still be live in the very generation it was delegated from. So ending one is one
 * compare-exchange that ends all its descendants in the same instant, also one that is being
 * delegated at that moment; so is taking bits away one fetch_and. What follows is tidying up: slots
 * of the ended ones are freed, and bits that were taken are taken from descendants too, for good,
 * before revoke returns, so that a later grant does not give them back. A delegation publishes
 * itself (TENTATIVE) before it looks at its parent's mask again, and revoke clears the mask before
 * it looks for descendants: one of them sees the other, and the delegation starts again.
 * A key is live once: of two creators of one key the one in the earlier slot stays.
 *
 * Death: of a creator before LIVE: nothing exists, the slot is taken back when its bucket needs it. Of
 * the owner of the mutex: the bits it took are gone for everybody; the next owner narrows what was
 * left to narrow, before it grants anything. Of one that ended a capability: it is ended, its descendants
 * with it; their slots are freed when needed. Scribbled memory: wrong answers or KL_ERR_*, never
 * an access outside of the table, and no endless loop.
 * Progress: check, find and permissions are wait-free; insert, delegate and end lock-free; grant and
 * revoke block on the mutex (for as long as one walk over the table takes).
 *
 * May these run at the same time?  any with any, from any thread or process; but format with nothing,
 * and verify is right only while nothing else runs.
 */
#ifndef KL_LOCKFREE_CAPABILITY_TABLE_H
#define KL_LOCKFREE_CAPABILITY_TABLE_H

#include "mem/region.h"
#include "sync/mutex.h"

#define KL_CAPABILITY_TABLE_MAGIC        0x54434c4bu /* "KLCT" */
#define KL_CAPABILITY_TABLE_VERSION      1u
#define KL_CAPABILITY_TABLE_CAPACITY_MIN 1u
#define KL_CAPABILITY_TABLE_CAPACITY_MAX (1u << 19)
#ifndef KL_CAPABILITY_BUCKET_SLOTS /* fewer in models */
#define KL_CAPABILITY_BUCKET_SLOTS 16u
#endif
#define KL_CAPABILITY_DEPTH_MAX      16u /* delegations in a row, the root included */
#define KL_CAPABILITY_SLOT_BITS      20u
#define KL_CAPABILITY_GENERATION_MAX 0x3fffffffu

/* A capability's number: generation << KL_CAPABILITY_SLOT_BITS | slot; never 0, below 2^50. */
typedef uint64_t kl_capability;

enum kl_capability_state {
    KL_CAPABILITY_FREE = 0,
    KL_CAPABILITY_CLAIMED = 1,
    KL_CAPABILITY_TENTATIVE = 2,
    KL_CAPABILITY_ENDED = 3,
    KL_CAPABILITY_RETIRED = 5,
    KL_CAPABILITY_LIVE = 6, /* the live ones have bits 1 and 2 */
    KL_CAPABILITY_EDIT = 7,
};

/* layout: kl_capability_entry control mask parent delegated */
typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t control;
    _Atomic uint64_t mask;
    _Atomic uint64_t parent;    /* the capability it came from; 0: none, it is a root */
    _Atomic uint32_t delegated; /* a hint: there may be descendants */
    uint8_t reserved[KL_LINE_BYTES - 28];
} kl_capability_entry;

/* layout: kl_capability_table_header magic version capacity slots mutex */
typedef struct {
    _Alignas(KL_LINE_BYTES) uint32_t magic;
    uint32_t version;
    uint32_t capacity;
    uint32_t slots;
    kl_mutex mutex;
} kl_capability_table_header;

static_assert(sizeof(kl_capability_entry) == KL_LINE_BYTES, "one line per entry");
static_assert(sizeof(kl_capability_table_header) == 2 * KL_LINE_BYTES, "keys start on a line");
static_assert((KL_CAPABILITY_LIVE & KL_CAPABILITY_EDIT) == KL_CAPABILITY_LIVE, "live: two bits");

/* One process's grip on a table. */
typedef struct {
    kl_capability_table_header *header;
    _Atomic uint64_t *keys;
    kl_capability_entry *entries;
    kl_region *region;
    uint32_t slots;
} kl_capability_table;

/* Bytes of memory for a table of `capacity` capabilities; 0 when that is out of range. */
uint64_t kl_capability_table_memory_bytes(uint64_t capacity);

/* Makes an empty table in line-aligned, zeroed memory of that size. */
int32_t kl_capability_table_format(void *memory, uint64_t capacity);

/* Grips a formatted table that lies in `region`, which the caller has joined. KL_ERR_CORRUPT,
 * KL_ERR_VERSION. */
int32_t kl_capability_table_grip(kl_capability_table *table, kl_region *region, void *memory,
                                 uint64_t memory_bytes);

/* A capability with no parent. KL_OK and its number, KL_ERR_EXISTS (that key is live), KL_ERR_LIMIT
 * (both buckets of the key are full), KL_ERR_AGAIN (rivals for the key without end). */
int32_t kl_capability_table_insert(kl_capability_table *table, uint64_t key, uint64_t mask,
                                   kl_capability *out);

/* A child of `parent` with some of its permissions. As insert, and KL_ERR_NOT_FOUND (the parent is
 * not live), KL_ERR_PERMISSION (bits the parent does not have), KL_ERR_LIMIT (too deep). */
int32_t kl_capability_table_delegate(kl_capability_table *table, kl_capability parent, uint64_t key,
                                     uint64_t mask, kl_capability *out);

/* The live capability of a key: KL_OK, or KL_ERR_NOT_FOUND (no detail). */
int32_t kl_capability_table_find(const kl_capability_table *table, uint64_t key,
                                 kl_capability *out);

/* What it permits now: KL_OK, or KL_ERR_NOT_FOUND (no detail). */
int32_t kl_capability_table_permissions(const kl_capability_table *table, kl_capability capability,
                                        uint64_t *out);

/* Adds bits. KL_ERR_PERMISSION: bits that its parent does not have; KL_ERR_NOT_FOUND. */
int32_t kl_capability_table_grant(kl_capability_table *table, kl_capability capability,
                                  uint64_t mask);

/* Takes bits away, from it and from all its descendants. KL_ERR_NOT_FOUND. */
int32_t kl_capability_table_revoke(kl_capability_table *table, kl_capability capability,
                                   uint64_t mask);

/* Ends it and all its descendants; their keys are free again. KL_ERR_NOT_FOUND. */
int32_t kl_capability_table_end(kl_capability_table *table, kl_capability capability);

/* Live capabilities; exact while nothing else runs. */
uint32_t kl_capability_table_count(const kl_capability_table *table);

/* Every live entry's place, key, parent and mask. KL_OK or KL_ERR_CORRUPT. */
int32_t kl_capability_table_verify(const kl_capability_table *table);

/* Whether the capability is live and permits all bits of `wanted`. */
static inline bool kl_capability_table_check(const kl_capability_table *table,
                                             kl_capability capability, uint64_t wanted) {
    for (uint32_t depth = 0; depth < KL_CAPABILITY_DEPTH_MAX; depth++) {
        uint64_t slot = capability & ((1u << KL_CAPABILITY_SLOT_BITS) - 1);
        if (slot >= table->slots) return false;
        const kl_capability_entry *entry = &table->entries[slot];
        uint64_t live = capability >> KL_CAPABILITY_SLOT_BITS << 2 | KL_CAPABILITY_LIVE >> 1;
        /* acquire: partner is the release of whoever made it live; the fields are written. */
        uint64_t control = atomic_load_explicit(&entry->control, memory_order_acquire);
        if (control >> 32 != live) return false;
        /* acquire, both: partners are the releases in fill, which come after the claim of a slot: who
         * sees a field of its next use sees that its last one is over. */
        uint64_t mask = atomic_load_explicit(&entry->mask, memory_order_acquire);
        capability = atomic_load_explicit(&entry->parent, memory_order_acquire);
        /* relaxed: ordered by the two above. */
        control = atomic_load_explicit(&entry->control, memory_order_relaxed);
        if (control >> 32 != live || (mask & wanted) != wanted) return false;
        if (capability == 0) return true;
    }
    return false;
}

/* The same table behind a handle, in a named region of its own. `out` gets the u32 handle, which is
 * closed when the thread that opened it ends. Keys and capabilities are whole numbers from 0 to
 * 2^53 - 1; permissions are 64 bits in two halves. */
KL_API int32_t kl_capability_table_create(const uint8_t *name, uint32_t name_bytes,
                                          uint32_t capacity, uint8_t *out);
KL_API int32_t kl_capability_table_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out);
KL_API int32_t kl_capability_table_close(uint32_t table);
KL_API int32_t kl_capability_table_remove(const uint8_t *name, uint32_t name_bytes);

/* insert, delegate, find: the capability, or KL_ERR_* (negative). */
KL_API double kl_capability_table_add(uint32_t table, double key, uint32_t low, uint32_t high);
KL_API double kl_capability_table_derive(uint32_t table, double parent, double key, uint32_t low,
                                         uint32_t high);
KL_API double kl_capability_table_lookup(uint32_t table, double key);
/* check: 1 or 0, or KL_ERR_*. */
KL_API int32_t kl_capability_table_permits(uint32_t table, double capability, uint32_t low,
                                           uint32_t high);
/* permissions, into a u64 at `out`; grant; revoke; end. */
KL_API int32_t kl_capability_table_mask(uint32_t table, double capability, uint8_t *out);
KL_API int32_t kl_capability_table_give(uint32_t table, double capability, uint32_t low,
                                        uint32_t high);
KL_API int32_t kl_capability_table_take(uint32_t table, double capability, uint32_t low,
                                        uint32_t high);
KL_API int32_t kl_capability_table_drop(uint32_t table, double capability);
KL_API int32_t kl_capability_table_size(uint32_t table); /* count */
KL_API int32_t kl_capability_table_capacity(uint32_t table);
KL_API int32_t kl_capability_table_audit(uint32_t table); /* verify */

#endif
