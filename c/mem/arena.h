/* arena: memory of this process, handed out in whole pages, each of them charged to a NUMA node.
 *
 * An arena reserves one range of addresses with a budget of bytes for each node of a topology. A block
 * is a run of pages; its policy says which nodes its pages are charged to and, where the machine has more
 * than one node and the topology is the machine's own, placed on:
 *   LOCAL       the node the caller runs on; when that is full, the nearest that is not
 *   INTERLEAVE  page by page round the nodes, going on where the last such block ended, past full ones
 *   SPECIFIC    one node, and no other: KL_ERR_LIMIT when it is full
 *   NEAREST     one node; when that is full, the others by distance
 *
 *   everything   under the mutex; the pages of a block belong to who asked for it
 *
 * Always: for each node 0 <= used <= budget, and used is exactly the bytes of its pages in live
 * blocks: free credits page by page the node that was charged. A block is given completely or not at
 * all. Fresh blocks are zero. A block that is not whole in the arena, or was freed, is refused.
 * After close the addresses read as zero and take writes that go nowhere, for ever: a view kept too
 * long does no harm. That costs address space, not memory.
 * Progress: blocking, any thread; alloc is first fit from where the last one ended.
 */
#ifndef KL_MEM_ARENA_H
#define KL_MEM_ARENA_H

#include "mem/numa.h"

#define KL_ARENA_BYTES_MAX (1ull << 40)
#define KL_ARENA_PAGES_MAX (1u << 22)
#define KL_ARENA_HUGE_PAGE (2u << 20)

enum kl_arena_policy {
    KL_ARENA_LOCAL = 0,
    KL_ARENA_INTERLEAVE = 1,
    KL_ARENA_SPECIFIC = 2,
    KL_ARENA_NEAREST = 3,
};

/* What the pages of an arena are. */
enum kl_arena_pages {
    KL_ARENA_SMALL = 0,       /* 4 KiB */
    KL_ARENA_TRANSPARENT = 1, /* 2 MiB where the kernel finds them */
    KL_ARENA_HUGE = 2,        /* 2 MiB, taken from the machine's pool when the arena was made */
};

typedef struct kl_arena kl_arena;

/* `bytes_per_node` is rounded up to pages; `numa` is copied. `huge`: 2 MiB pages, from the pool if it has enough,
 * else transparent ones, else 4 KiB; kl_arena_pages tells. KL_ERR_ARGUMENT, KL_ERR_MEMORY. */
int32_t kl_arena_open(kl_arena **out, const kl_numa *numa, uint64_t bytes_per_node, bool huge);
void kl_arena_shut(kl_arena *arena);

/* A block of at least `bytes`, rounded up to pages. `node` counts for SPECIFIC and NEAREST. KL_ERR_LIMIT:
 * the policy's nodes, or the range, are too full. KL_ERR_ARGUMENT, KL_ERR_UNSUPPORTED (the system
 * refuses a strict placement). */
int32_t kl_arena_alloc(kl_arena *arena, uint64_t bytes, uint32_t policy, uint32_t node, void **out);

/* KL_ERR_ARGUMENT: not the start of a live block. */
int32_t kl_arena_free(kl_arena *arena, void *block);

/* The node a page of a live block is charged to, KL_NUMA_NO_NODE for any other address. */
uint32_t kl_arena_node_of(kl_arena *arena, const void *address);

uint64_t kl_arena_used(kl_arena *arena, uint32_t node);
uint64_t kl_arena_budget(const kl_arena *arena);
uint32_t kl_arena_page_bytes(const kl_arena *arena);
uint32_t kl_arena_pages(const kl_arena *arena);

/* The charges of all nodes against all blocks, page by page. KL_OK or KL_ERR_CORRUPT. */
int32_t kl_arena_verify(kl_arena *arena);

/* For the FFI: blocks are offsets in the range, which begins at the address in `out` of kl_arena_range. */
KL_API int32_t kl_arena_create(uint32_t topology, double bytes_per_node, uint32_t huge,
                               uint8_t *out);
KL_API int32_t kl_arena_close(uint32_t arena);
KL_API double kl_arena_take(uint32_t arena, double bytes, uint32_t policy, uint32_t node);
KL_API int32_t kl_arena_give(uint32_t arena, double offset);
KL_API double kl_arena_charged(uint32_t arena, uint32_t node);    /* used */
KL_API int32_t kl_arena_charge_of(uint32_t arena, double offset); /* node_of, KL_ERR_NOT_FOUND */
/* Into `out`: the address u64, the bytes of the range u64, budget of a node u64, bytes of a page u32, kind of
 * pages u32. */
KL_API int32_t kl_arena_range(uint32_t arena, uint8_t *out);
KL_API int32_t kl_arena_check(uint32_t arena); /* verify */

#endif
