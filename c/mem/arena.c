#include "mem/arena.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/handle.h"

#define FREE_PAGE UINT8_MAX /* in page_node */

static_assert(KL_NUMA_NODES_MAX < FREE_PAGE, "a node fits a byte beside FREE_PAGE");

struct kl_arena {
    kl_numa numa;
    pthread_mutex_t mutex;
    uint8_t *base;
    uint64_t bytes;
    uint32_t page_bytes, page_count, kind;
    uint32_t budget;                  /* pages of a node */
    uint32_t used[KL_NUMA_NODES_MAX]; /* pages */
    uint32_t next_node;               /* INTERLEAVE goes on here */
    uint32_t next_page;               /* the search for a free run goes on here */
    uint8_t *page_node;               /* of each page; FREE_PAGE */
    uint32_t *block_pages;            /* of the block that starts at this page; 0: none does */
};

static uint64_t round_up(uint64_t bytes, uint64_t to) {
    return (bytes + to - 1) / to * to;
}

/* ---- the range ---- */

static void *map(uint64_t bytes, int flags) {
    void *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* A range that starts on a huge page. */
static uint8_t *map_aligned(uint64_t bytes) {
    uint8_t *memory = map(bytes + KL_ARENA_HUGE_PAGE, MAP_NORESERVE);
    if (!memory) return NULL;
    uint64_t before = round_up((uintptr_t)memory, KL_ARENA_HUGE_PAGE) - (uintptr_t)memory;
    if (before > 0) munmap(memory, before);
    munmap(memory + before + bytes, KL_ARENA_HUGE_PAGE - before);
    return memory + before;
}

static bool map_range(kl_arena *arena, bool huge) {
    if (huge) {
        /* Reserved now: a page of the pool that is not there later would be SIGBUS. */
        arena->base = map(arena->bytes, MAP_HUGETLB);
        arena->kind = KL_ARENA_HUGE;
        if (arena->base) return true;
        arena->base = map_aligned(arena->bytes);
        arena->kind = KL_ARENA_TRANSPARENT;
        if (arena->base && madvise(arena->base, arena->bytes, MADV_HUGEPAGE) == 0) return true;
        if (arena->base) munmap(arena->base, arena->bytes);
    }
    arena->kind = KL_ARENA_SMALL;
    arena->base = map(arena->bytes, MAP_NORESERVE);
    return arena->base != NULL;
}

int32_t kl_arena_open(kl_arena **out, const kl_numa *numa, uint64_t bytes_per_node, bool huge) {
    uint32_t page = huge ? KL_ARENA_HUGE_PAGE : (uint32_t)sysconf(_SC_PAGESIZE);
    if (bytes_per_node == 0 || bytes_per_node > KL_ARENA_BYTES_MAX / numa->node_count ||
        round_up(bytes_per_node, page) / page > KL_ARENA_PAGES_MAX / numa->node_count)
        return kl_fail(KL_ERR_ARGUMENT,
                       "an arena of %llu bytes on each of %u nodes: 1 to %llu in %u pages in all",
                       (unsigned long long)bytes_per_node, numa->node_count, KL_ARENA_BYTES_MAX,
                       KL_ARENA_PAGES_MAX);
    kl_arena *arena = aligned_alloc(KL_LINE_BYTES, round_up(sizeof *arena, KL_LINE_BYTES));
    if (!arena) return kl_fail(KL_ERR_MEMORY, "no memory for an arena");
    memset(arena, 0, sizeof *arena);
    memcpy(&arena->numa, numa, sizeof *numa);
    arena->page_bytes = page;
    arena->budget = (uint32_t)(round_up(bytes_per_node, page) / page);
    arena->page_count = arena->budget * numa->node_count;
    arena->bytes = (uint64_t)arena->page_count * page;
    arena->page_node = malloc(arena->page_count);
    arena->block_pages = calloc(arena->page_count, sizeof *arena->block_pages);
    if (!arena->page_node || !arena->block_pages || !map_range(arena, huge)) {
        free(arena->page_node);
        free(arena->block_pages);
        free(arena);
        return kl_fail(KL_ERR_MEMORY, "no memory for an arena of %llu bytes on each of %u nodes",
                       (unsigned long long)bytes_per_node, numa->node_count);
    }
    memset(arena->page_node, FREE_PAGE, arena->page_count);
    pthread_mutex_init(&arena->mutex, NULL);
    *out = arena;
    return KL_OK;
}

void kl_arena_shut(kl_arena *arena) {
    if (!arena) return;
    /* Nobody who still looks at it gets a fault, or somebody else's memory. */
    if (mmap(arena->base, arena->bytes, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
        madvise(arena->base, arena->bytes, MADV_DONTNEED);
    pthread_mutex_destroy(&arena->mutex);
    free(arena->page_node);
    free(arena->block_pages);
    free(arena);
}

/* ---- which nodes ---- */

static uint32_t room(const kl_arena *arena, uint32_t node) {
    return arena->budget - arena->used[node];
}

static uint64_t room_in_all(const kl_arena *arena) {
    uint64_t pages = 0;
    for (uint32_t node = 0; node < arena->numa.node_count; node++) pages += room(arena, node);
    return pages;
}

static void charge(kl_arena *arena, uint32_t page, uint32_t node) {
    arena->page_node[page] = (uint8_t)node;
    arena->used[node]++;
}

/* Charges pages that there is room for, one after the other, as the policy says. */
static void charge_all(kl_arena *arena, uint32_t first, uint32_t count, uint32_t policy,
                       uint32_t node) {
    uint32_t nodes = arena->numa.node_count, rank = 0;
    for (uint32_t page = first; page < first + count; page++) {
        if (policy == KL_ARENA_INTERLEAVE) {
            while (room(arena, arena->next_node) == 0)
                arena->next_node = (arena->next_node + 1) % nodes;
            charge(arena, page, arena->next_node);
            arena->next_node = (arena->next_node + 1) % nodes;
        } else {
            while (room(arena, kl_numa_nearest(&arena->numa, node, rank)) == 0) rank++;
            charge(arena, page, kl_numa_nearest(&arena->numa, node, rank));
        }
    }
}

static void credit_all(kl_arena *arena, uint32_t first, uint32_t count) {
    for (uint32_t page = first; page < first + count; page++) {
        arena->used[arena->page_node[page]]--;
        arena->page_node[page] = FREE_PAGE;
    }
}

/* Asks the system to place the pages where they are charged, run by run. */
static int32_t place_all(kl_arena *arena, uint32_t first, uint32_t count, bool strict) {
    if (arena->numa.simulated || arena->numa.node_count == 1) return KL_OK;
    for (uint32_t page = first, end = first + count; page < end;) {
        uint32_t run = page + 1, node = arena->page_node[page];
        while (run < end && arena->page_node[run] == node) run++;
        int32_t status =
            kl_numa_bind(&arena->numa, arena->base + (uint64_t)page * arena->page_bytes,
                         (uint64_t)(run - page) * arena->page_bytes, node, strict);
        if (status != KL_OK && strict) return status; /* else it is a wish that was not granted */
        page = run;
    }
    return KL_OK;
}

/* ---- which pages ---- */

/* The first of `count` free pages in a row between `from` and `to`, or `to`. */
static uint32_t find_run(const kl_arena *arena, uint32_t from, uint32_t to, uint32_t count) {
    uint32_t run = 0;
    for (uint32_t page = from; page < to; page++) {
        if (arena->page_node[page] != FREE_PAGE) {
            /* Over the rest of a block in one step, when this is its start. */
            uint32_t block = arena->block_pages[page];
            page += block > 0 ? block - 1 : 0;
            run = 0;
        } else if (++run == count) {
            return page + 1 - count;
        }
    }
    return to;
}

static int32_t too_full(const kl_arena *arena, uint32_t count) {
    return kl_fail(KL_ERR_LIMIT, "%u pages of %u bytes: the arena has no such run left", count,
                   arena->page_bytes);
}

static int32_t take_pages(kl_arena *arena, uint32_t count, uint32_t policy, uint32_t node,
                          uint32_t *out) {
    if (policy == KL_ARENA_SPECIFIC && room(arena, node) < count)
        return kl_fail(KL_ERR_LIMIT, "%u pages of %u bytes on node %u: it has %u left", count,
                       arena->page_bytes, node, room(arena, node));
    if (room_in_all(arena) < count) return too_full(arena, count);
    uint32_t end = arena->page_count;
    uint32_t first = find_run(arena, arena->next_page, end, count);
    if (first == end) {
        first = find_run(arena, 0, end, count);
        if (first == end) return too_full(arena, count);
    }
    charge_all(arena, first, count, policy, node);
    int32_t status = place_all(arena, first, count, policy == KL_ARENA_SPECIFIC);
    if (status != KL_OK) {
        credit_all(arena, first, count);
        return status;
    }
    arena->block_pages[first] = count;
    arena->next_page = first + count == end ? 0 : first + count;
    *out = first;
    return KL_OK;
}

int32_t kl_arena_alloc(kl_arena *arena, uint64_t bytes, uint32_t policy, uint32_t node,
                       void **out) {
    uint32_t first = 0;
    *out = NULL;
    if (bytes == 0 || bytes > KL_ARENA_BYTES_MAX)
        return kl_fail(KL_ERR_ARGUMENT, "a block of %llu bytes: 1 to %llu",
                       (unsigned long long)bytes, KL_ARENA_BYTES_MAX);
    if (policy > KL_ARENA_NEAREST)
        return kl_fail(KL_ERR_ARGUMENT, "policy %u: 0 local, 1 interleave, 2 specific, 3 nearest",
                       policy);
    if (policy == KL_ARENA_LOCAL) node = kl_numa_here(&arena->numa);
    if (policy != KL_ARENA_INTERLEAVE && node >= arena->numa.node_count)
        return kl_fail(KL_ERR_ARGUMENT, "node %u: there are %u", node, arena->numa.node_count);
    uint64_t count = round_up(bytes, arena->page_bytes) / arena->page_bytes;
    pthread_mutex_lock(&arena->mutex);
    int32_t status = count > arena->page_count
                         ? too_full(arena, (uint32_t)(count < UINT32_MAX ? count : UINT32_MAX))
                         : take_pages(arena, (uint32_t)count, policy, node, &first);
    pthread_mutex_unlock(&arena->mutex);
    if (status == KL_OK) *out = arena->base + (uint64_t)first * arena->page_bytes;
    return status;
}

/* The page of an address; page_count for one outside. */
static uint32_t page_of(const kl_arena *arena, const void *address) {
    uint64_t offset = (uintptr_t)address - (uintptr_t)arena->base;
    return offset < arena->bytes ? (uint32_t)(offset / arena->page_bytes) : arena->page_count;
}

/* Gives the memory back to the system; whoever has these pages next finds zeros. */
static void clear_pages(kl_arena *arena, uint32_t first, uint32_t count) {
    uint8_t *block = arena->base + (uint64_t)first * arena->page_bytes;
    uint64_t bytes = (uint64_t)count * arena->page_bytes;
    if (madvise(block, bytes, MADV_DONTNEED) != 0) memset(block, 0, bytes);
}

int32_t kl_arena_free(kl_arena *arena, void *block) {
    uint32_t page = page_of(arena, block);
    if (page == arena->page_count ||
        ((uintptr_t)block - (uintptr_t)arena->base) % arena->page_bytes)
        return kl_fail(KL_ERR_ARGUMENT, "that is no block of this arena");
    pthread_mutex_lock(&arena->mutex);
    uint32_t count = arena->block_pages[page];
    if (count > 0) {
        clear_pages(arena, page, count);
        credit_all(arena, page, count);
        arena->block_pages[page] = 0;
    }
    pthread_mutex_unlock(&arena->mutex);
    return count > 0 ? KL_OK
                     : kl_fail(KL_ERR_ARGUMENT, "no block starts there: freed already, perhaps");
}

/* ---- asking ---- */

uint32_t kl_arena_node_of(kl_arena *arena, const void *address) {
    uint32_t page = page_of(arena, address);
    if (page == arena->page_count) return KL_NUMA_NO_NODE;
    pthread_mutex_lock(&arena->mutex);
    uint32_t node = arena->page_node[page];
    pthread_mutex_unlock(&arena->mutex);
    return node == FREE_PAGE ? KL_NUMA_NO_NODE : node;
}

uint64_t kl_arena_used(kl_arena *arena, uint32_t node) {
    if (node >= arena->numa.node_count) return 0;
    pthread_mutex_lock(&arena->mutex);
    uint64_t bytes = (uint64_t)arena->used[node] * arena->page_bytes;
    pthread_mutex_unlock(&arena->mutex);
    return bytes;
}

uint64_t kl_arena_budget(const kl_arena *arena) {
    return (uint64_t)arena->budget * arena->page_bytes;
}

uint32_t kl_arena_page_bytes(const kl_arena *arena) {
    return arena->page_bytes;
}

uint32_t kl_arena_pages(const kl_arena *arena) {
    return arena->kind;
}

static int32_t verify_locked(const kl_arena *arena) {
    uint32_t used[KL_NUMA_NODES_MAX + 1] = {0};
    for (uint32_t page = 0; page < arena->page_count;) {
        uint32_t count = arena->block_pages[page];
        if (count > arena->page_count - page ||
            (count == 0) != (arena->page_node[page] == FREE_PAGE))
            return kl_fail(KL_ERR_CORRUPT, "page %u: a block of %u pages on node %u", page, count,
                           arena->page_node[page]);
        for (uint32_t end = page + (count ? count : 1); page < end; page++) {
            uint32_t node = arena->page_node[page];
            if (count > 0 && node >= arena->numa.node_count)
                return kl_fail(KL_ERR_CORRUPT, "page %u is charged to node %u", page, node);
            if (count > 0) used[node]++;
        }
    }
    for (uint32_t node = 0; node < arena->numa.node_count; node++)
        if (used[node] != arena->used[node] || used[node] > arena->budget)
            return kl_fail(KL_ERR_CORRUPT, "node %u is charged %u pages for %u", node,
                           arena->used[node], used[node]);
    return KL_OK;
}

int32_t kl_arena_verify(kl_arena *arena) {
    pthread_mutex_lock(&arena->mutex);
    int32_t status = verify_locked(arena);
    pthread_mutex_unlock(&arena->mutex);
    return status;
}

/* ---- behind a handle ---- */

#define NUMBER_MAX 9007199254740991.0 /* 2^53 - 1 */

static int32_t no_arena(uint32_t handle) {
    return kl_fail(KL_ERR_HANDLE, "%u is not the handle of an arena", handle);
}

static void destroy(void *object) {
    kl_arena_shut(object);
}

static bool is_size(double bytes) {
    return bytes >= 0 && bytes <= NUMBER_MAX && (double)(uint64_t)bytes == bytes;
}

static int32_t no_size(double bytes) {
    return kl_fail(KL_ERR_ARGUMENT, "%g bytes: a whole number from 0 to 2^53 - 1", bytes);
}

int32_t kl_arena_create(uint32_t topology, double bytes_per_node, uint32_t huge, uint8_t *out) {
    kl_arena *arena = NULL;
    if (!out) return kl_fail(KL_ERR_ARGUMENT, "no place for the handle");
    if (!is_size(bytes_per_node)) return no_size(bytes_per_node);
    kl_numa *numa = kl_handle_enter(topology, KL_HANDLE_TOPOLOGY);
    if (!numa) return kl_fail(KL_ERR_HANDLE, "%u is not the handle of a topology", topology);
    int32_t status = kl_arena_open(&arena, numa, (uint64_t)bytes_per_node, huge != 0);
    kl_handle_leave(topology);
    if (status != KL_OK) return status;
    uint32_t handle = kl_handle_open(KL_HANDLE_ARENA, arena, destroy);
    if (handle == 0) {
        kl_arena_shut(arena);
        return kl_fail(KL_ERR_LIMIT, "all %u handles are open", KL_HANDLE_COUNT_MAX);
    }
    memcpy(out, &handle, sizeof handle);
    return KL_OK;
}

int32_t kl_arena_close(uint32_t arena) {
    return kl_handle_close(arena, KL_HANDLE_ARENA);
}

double kl_arena_take(uint32_t arena, double bytes, uint32_t policy, uint32_t node) {
    void *block = NULL;
    if (!is_size(bytes)) return no_size(bytes);
    kl_arena *it = kl_handle_enter(arena, KL_HANDLE_ARENA);
    if (!it) return no_arena(arena);
    int32_t status = kl_arena_alloc(it, (uint64_t)bytes, policy, node, &block);
    double offset = status == KL_OK ? (double)((uint8_t *)block - it->base) : status;
    kl_handle_leave(arena);
    return offset;
}

int32_t kl_arena_give(uint32_t arena, double offset) {
    if (!is_size(offset)) return no_size(offset);
    kl_arena *it = kl_handle_enter(arena, KL_HANDLE_ARENA);
    if (!it) return no_arena(arena);
    int32_t status = (uint64_t)offset < it->bytes
                         ? kl_arena_free(it, it->base + (uint64_t)offset)
                         : kl_fail(KL_ERR_ARGUMENT, "offset %g: the arena has %llu bytes", offset,
                                   (unsigned long long)it->bytes);
    kl_handle_leave(arena);
    return status;
}

double kl_arena_charged(uint32_t arena, uint32_t node) {
    kl_arena *it = kl_handle_enter(arena, KL_HANDLE_ARENA);
    if (!it) return no_arena(arena);
    double bytes = node < it->numa.node_count ? (double)kl_arena_used(it, node)
                                              : kl_fail(KL_ERR_ARGUMENT, "node %u: there are %u",
                                                        node, it->numa.node_count);
    kl_handle_leave(arena);
    return bytes;
}

int32_t kl_arena_charge_of(uint32_t arena, double offset) {
    if (!is_size(offset)) return no_size(offset);
    kl_arena *it = kl_handle_enter(arena, KL_HANDLE_ARENA);
    if (!it) return no_arena(arena);
    uint32_t node = (uint64_t)offset < it->bytes ? kl_arena_node_of(it, it->base + (uint64_t)offset)
                                                 : KL_NUMA_NO_NODE;
    kl_handle_leave(arena);
    return node == KL_NUMA_NO_NODE ? KL_ERR_NOT_FOUND : (int32_t)node;
}

int32_t kl_arena_range(uint32_t arena, uint8_t *out) {
    if (!out) return kl_fail(KL_ERR_ARGUMENT, "no place for the range");
    kl_arena *it = kl_handle_enter(arena, KL_HANDLE_ARENA);
    if (!it) return no_arena(arena);
    uint64_t range[4] = {(uintptr_t)it->base, it->bytes, kl_arena_budget(it),
                         (uint64_t)it->kind << 32 | it->page_bytes};
    memcpy(out, range, sizeof range);
    kl_handle_leave(arena);
    return KL_OK;
}

int32_t kl_arena_check(uint32_t arena) {
    kl_arena *it = kl_handle_enter(arena, KL_HANDLE_ARENA);
    if (!it) return no_arena(arena);
    int32_t status = kl_arena_verify(it);
    kl_handle_leave(arena);
    return status;
}
