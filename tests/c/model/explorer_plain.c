/* Plain accesses, as the compiler's thread instrumentation tells them: who may touch what, data races
 * by vector clocks (FastTrack without its shortcuts), and statics put back after each execution.
 * Known memory: the arena of kl_model_alloc and the program's own data. The rest (stacks, what the
 * C library holds) is the thread's own. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "tests/c/model/explorer_state.h"

#define ARENA_BYTES (1u << 20)
#define CELLS_MAX   8192u
#define BLOCKS_MAX  512u
#define NAMES_MAX   64u
#define UNDO_MAX    65536u
#define GRANULE     8u

enum access_kind { PLAIN_READ, PLAIN_WRITE, ATOMIC_READ, ATOMIC_WRITE, ACCESS_KINDS };

/* Who last did what to each of eight bytes, by the thread's own clock. */
typedef struct {
    uint16_t clock[ACCESS_KINDS][THREADS][GRANULE];
} cell;

enum granule_state { G_NONE, G_LIVE, G_FREED };

typedef struct {
    uint8_t state; /* arena: of enum granule_state; statics: 1 when it is in the undo log */
    bool has_location;
    uint16_t cell; /* index + 1 */
} granule;

typedef struct {
    uintptr_t first, end;
    granule *granules;
} range;

typedef struct {
    uintptr_t first, end;
    const char *name;
} name;

/* In mappings of its own, like kl_explorer. */
typedef struct {
    range arena, statics;
    uintptr_t arena_next;
    uint32_t cell_count, touched_count, block_count, name_count, undo_count;
    granule *touched[65536];
    cell cells[CELLS_MAX];
    struct {
        uintptr_t first;
        size_t bytes;
        bool freed;
    } blocks[BLOCKS_MAX];
    name names[NAMES_MAX];
    struct {
        uintptr_t address;
        uint64_t value;
    } undo[UNDO_MAX];
} plain_state;

static plain_state *plain;
#define P (*plain)

extern char __data_start[], _end[];

static void *map(size_t bytes) {
    void *made = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (made == MAP_FAILED) abort();
    return made;
}

static void make_ranges(void) {
    plain = map(sizeof *plain);
    P.arena.first = (uintptr_t)map(ARENA_BYTES);
    P.arena.end = P.arena.first + ARENA_BYTES;
    P.arena.granules = map(ARENA_BYTES / GRANULE * sizeof(granule));
    P.statics.first = ((uintptr_t)__data_start + GRANULE - 1) & ~(uintptr_t)(GRANULE - 1);
    P.statics.end = (uintptr_t)_end & ~(uintptr_t)(GRANULE - 1);
    P.statics.granules = map((P.statics.end - P.statics.first) / GRANULE * sizeof(granule));
}

static bool within(const range *r, uintptr_t address) {
    return address >= r->first && address < r->end;
}

static granule *granule_at(uintptr_t address) {
    if (within(&P.arena, address)) return &P.arena.granules[(address - P.arena.first) / GRANULE];
    if (within(&P.statics, address))
        return &P.statics.granules[(address - P.statics.first) / GRANULE];
    return NULL;
}

static void touch(granule *g) {
    if (g->state != G_NONE || g->cell != 0 || g->has_location) return;
    if (P.touched_count == sizeof P.touched / sizeof *P.touched)
        kl_explorer_fail("more memory is touched than is kept track of");
    P.touched[P.touched_count++] = g;
}

void kl_explorer_plain_reset(void) {
    if (!plain) make_ranges();
    for (uint32_t i = 0; i < P.touched_count; i++) memset(P.touched[i], 0, sizeof(granule));
    if (P.arena_next > P.arena.first)
        memset((void *)P.arena.first, 0, P.arena_next - P.arena.first);
    P.arena_next = P.arena.first;
    P.cell_count = P.touched_count = P.block_count = P.name_count = P.undo_count = 0;
}

void kl_explorer_undo_statics(void) {
    while (P.undo_count > 0) {
        P.undo_count--;
        memcpy((void *)P.undo[P.undo_count].address, &P.undo[P.undo_count].value, GRANULE);
    }
}

void kl_explorer_remember(uintptr_t address, size_t bytes) {
    uintptr_t first = address & ~(uintptr_t)(GRANULE - 1);
    for (uintptr_t at = first; at < address + bytes; at += GRANULE) {
        if (!within(&P.statics, at)) continue;
        granule *g = granule_at(at);
        if (g->state != G_NONE) continue;
        if (P.undo_count == UNDO_MAX) kl_explorer_fail("too many statics change");
        touch(g);
        g->state = G_LIVE;
        P.undo[P.undo_count].address = at;
        memcpy(&P.undo[P.undo_count++].value, (void *)at, GRANULE);
    }
}

void kl_explorer_has_location(uintptr_t address) {
    granule *g = granule_at(address);
    touch(g);
    g->has_location = true;
}

bool kl_explorer_is_quiet(uintptr_t address) {
    return granule_at(address) == NULL;
}

/* ---- races ---- */

static cell *cell_of(granule *g) {
    if (g->cell) return &P.cells[g->cell - 1];
    if (P.cell_count == CELLS_MAX) kl_explorer_fail("more memory is shared than is kept track of");
    touch(g);
    g->cell = (uint16_t)++P.cell_count;
    memset(&P.cells[P.cell_count - 1], 0, sizeof(cell));
    return &P.cells[P.cell_count - 1];
}

static void check_unordered(const cell *c, enum access_kind other, uint32_t first, uint32_t count,
                            uintptr_t address, enum access_kind kind) {
    static const char *const names[] = {"plain read", "plain write", "atomic read", "atomic write"};
    const view *now = &X.threads[X.current].now;
    for (uint32_t u = 0; u < MAIN; u++) {
        if (u == X.current) continue;
        for (uint32_t i = first; i < first + count; i++)
            if (c->clock[other][u][i] > now->clock[u])
                kl_explorer_fail("data race: thread %u, %s of %s, is not ordered after thread "
                                 "%u's %s of it",
                                 X.current, names[kind], kl_explorer_describe(address), u,
                                 names[other]);
    }
}

static void check_race(granule *g, uintptr_t address, uint32_t bytes, enum access_kind kind) {
    cell *c = cell_of(g);
    uint32_t first = (uint32_t)(address % GRANULE);
    check_unordered(c, PLAIN_WRITE, first, bytes, address, kind);
    if (kind != ATOMIC_READ && kind != ATOMIC_WRITE)
        check_unordered(c, ATOMIC_WRITE, first, bytes, address, kind);
    if (kind == PLAIN_WRITE || kind == ATOMIC_WRITE)
        check_unordered(c, PLAIN_READ, first, bytes, address, kind);
    if (kind == PLAIN_WRITE) check_unordered(c, ATOMIC_READ, first, bytes, address, kind);
    uint16_t clock = X.threads[X.current].now.clock[X.current];
    for (uint32_t i = 0; i < bytes; i++) c->clock[kind][X.current][first + i] = clock;
}

static void check_granule(uintptr_t address, uint32_t bytes, enum access_kind kind) {
    granule *g = granule_at(address);
    if (!g) return;
    if (within(&P.arena, address) && g->state != G_LIVE)
        kl_explorer_fail("access to %s: %s", kl_explorer_describe(address),
                         g->state == G_FREED ? "it is freed" : "nothing is there");
    bool ordered =
        X.current == MAIN || !X.threads_run || (kind == PLAIN_READ && X.model->reads_may_race);
    if (!ordered) check_race(g, address, bytes, kind);
    uintptr_t base = within(&P.arena, address) ? P.arena.first : P.statics.first;
    uint64_t hash = (address - base) / GRANULE * 0x9e3779b97f4a7c15u;
    uint64_t bit = 1ull << (hash >> 58);
    uint32_t word = (uint32_t)(hash >> 55) % FOOTPRINT_WORDS;
    if (kind == PLAIN_READ) X.plain.reads[word] |= bit;
    if (kind == PLAIN_WRITE) X.plain.writes[word] |= bit;
    if (!g->has_location || kind >= ATOMIC_READ) return;
    kl_explorer_drain_own(address, bytes);
    if (kind == PLAIN_WRITE && X.memory == KL_MODEL_RA)
        kl_explorer_plain_write_over(address, bytes);
}

static void check_access(uintptr_t address, size_t bytes, enum access_kind kind) {
    if (!kl_explorer || !X.running || bytes == 0) return;
    if (!granule_at(address)) return;
    for (uintptr_t at = address; at < address + bytes;) {
        size_t until = GRANULE - at % GRANULE, left = address + bytes - at;
        uint32_t part = (uint32_t)(until < left ? until : left);
        check_granule(at, part, kind);
        at += part;
    }
    if (kind == PLAIN_WRITE) kl_explorer_remember(address, bytes);
}

void kl_explorer_atomic_access(uintptr_t address, uint32_t bytes, bool writes) {
    check_granule(address, bytes, writes ? ATOMIC_WRITE : ATOMIC_READ);
}

/* ---- memory of an execution ---- */

void *kl_explorer_alloc(size_t bytes, size_t alignment) {
    if (alignment < 16) alignment = 16;
    uintptr_t first = (P.arena_next + 16 + alignment - 1) & ~(uintptr_t)(alignment - 1);
    uintptr_t end = (first + bytes + GRANULE - 1) & ~(uintptr_t)(GRANULE - 1);
    if (end + 16 > P.arena.end || P.block_count == BLOCKS_MAX)
        kl_explorer_fail("the scenario's memory is used up");
    for (uintptr_t at = first; at < end; at += GRANULE) {
        granule *g = granule_at(at);
        touch(g);
        g->state = G_LIVE;
    }
    P.arena_next = end;
    P.blocks[P.block_count].first = first;
    P.blocks[P.block_count].bytes = bytes;
    P.blocks[P.block_count++].freed = false;
    return (void *)first;
}

bool kl_explorer_in_arena(const void *memory) {
    return plain && within(&P.arena, (uintptr_t)memory);
}

/* A free is a write to all of it: whoever may still read it races. */
void kl_explorer_free(void *memory) {
    uintptr_t first = (uintptr_t)memory;
    for (uint32_t i = 0; i < P.block_count; i++) {
        if (P.blocks[i].first != first) continue;
        if (P.blocks[i].freed) kl_explorer_fail("%s is freed twice", kl_explorer_describe(first));
        check_access(first, P.blocks[i].bytes, PLAIN_WRITE);
        P.blocks[i].freed = true;
        for (uintptr_t at = first; at < first + P.blocks[i].bytes; at += GRANULE)
            granule_at(at)->state = G_FREED;
        return;
    }
    kl_explorer_fail("free of what was not allocated");
}

void *kl_model_alloc(size_t bytes) {
    return kl_explorer_alloc(bytes, 128);
}

void kl_model_free(void *memory) {
    kl_explorer_free(memory);
}

void kl_model_name(const void *memory, size_t bytes, const char *text) {
    if (P.name_count == NAMES_MAX) return;
    P.names[P.name_count++] = (name){(uintptr_t)memory, (uintptr_t)memory + bytes, text};
}

const char *kl_explorer_describe(uintptr_t address) {
    static char texts[4][96];
    static uint32_t turn;
    char *text = texts[turn++ % 4];
    for (uint32_t i = P.name_count; i-- > 0;) {
        if (address < P.names[i].first || address >= P.names[i].end) continue;
        snprintf(text, sizeof texts[0], "%s+%zu", P.names[i].name,
                 (size_t)(address - P.names[i].first));
        return text;
    }
    for (uint32_t i = 0; i < P.block_count; i++) {
        if (address < P.blocks[i].first || address >= P.blocks[i].first + P.blocks[i].bytes)
            continue;
        snprintf(text, sizeof texts[0], "block %u+%zu", i + 1,
                 (size_t)(address - P.blocks[i].first));
        return text;
    }
    if (within(&P.statics, address))
        snprintf(text, sizeof texts[0], "static+%zu", (size_t)(address - P.statics.first));
    else
        snprintf(text, sizeof texts[0], "%p", (void *)address);
    return text;
}

/* ---- what the compiler calls ---- */

void *kl_hook_memcpy(void *to, const void *from, size_t bytes) {
    check_access((uintptr_t)from, bytes, PLAIN_READ);
    check_access((uintptr_t)to, bytes, PLAIN_WRITE);
    return memcpy(to, from, bytes);
}

void *kl_hook_memmove(void *to, const void *from, size_t bytes) {
    check_access((uintptr_t)from, bytes, PLAIN_READ);
    check_access((uintptr_t)to, bytes, PLAIN_WRITE);
    return memmove(to, from, bytes);
}

void *kl_hook_memset(void *to, int value, size_t bytes) {
    check_access((uintptr_t)to, bytes, PLAIN_WRITE);
    return memset(to, value, bytes);
}

int kl_hook_memcmp(const void *a, const void *b, size_t bytes) {
    check_access((uintptr_t)a, bytes, PLAIN_READ);
    check_access((uintptr_t)b, bytes, PLAIN_READ);
    return memcmp(a, b, bytes);
}

#define TOLD(function, bytes, kind)                    \
    void function(void *address);                      \
    void function(void *address) {                     \
        check_access((uintptr_t)address, bytes, kind); \
    }

#define TOLD_SIZE(bytes)                                    \
    TOLD(__tsan_read##bytes, bytes, PLAIN_READ)             \
    TOLD(__tsan_write##bytes, bytes, PLAIN_WRITE)           \
    TOLD(__tsan_unaligned_read##bytes, bytes, PLAIN_READ)   \
    TOLD(__tsan_unaligned_write##bytes, bytes, PLAIN_WRITE) \
    TOLD(__tsan_volatile_read##bytes, bytes, PLAIN_READ)    \
    TOLD(__tsan_volatile_write##bytes, bytes, PLAIN_WRITE)  \
    TOLD(__tsan_read_write##bytes, bytes, PLAIN_WRITE)      \
    TOLD(__tsan_unaligned_read_write##bytes, bytes, PLAIN_WRITE)

TOLD_SIZE(1)
TOLD_SIZE(2)
TOLD_SIZE(4)
TOLD_SIZE(8)
TOLD_SIZE(16)

void __tsan_init(void);
void __tsan_init(void) {}
void __tsan_func_entry(void *caller);
void __tsan_func_entry(void *caller) {
    (void)caller;
}
void __tsan_func_exit(void);
void __tsan_func_exit(void) {}

void __tsan_read_range(void *address, size_t bytes);
void __tsan_read_range(void *address, size_t bytes) {
    check_access((uintptr_t)address, bytes, PLAIN_READ);
}
void __tsan_write_range(void *address, size_t bytes);
void __tsan_write_range(void *address, size_t bytes) {
    check_access((uintptr_t)address, bytes, PLAIN_WRITE);
}

void *__tsan_memcpy(void *to, const void *from, size_t bytes);
void *__tsan_memcpy(void *to, const void *from, size_t bytes) {
    return kl_hook_memcpy(to, from, bytes);
}
void *__tsan_memmove(void *to, const void *from, size_t bytes);
void *__tsan_memmove(void *to, const void *from, size_t bytes) {
    return kl_hook_memmove(to, from, bytes);
}
void *__tsan_memset(void *to, int value, size_t bytes);
void *__tsan_memset(void *to, int value, size_t bytes) {
    return kl_hook_memset(to, value, bytes);
}
