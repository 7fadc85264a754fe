#include "lockfree/index_pool.h"

#include <string.h>

#include "base/handle.h"
#include "base/layout_hash.h"
#include "sync/shared_object.h"

#define BITS 64u

static_assert(KL_PARTICIPANTS <= 256, "the slot of an id has 8 bits");

static uint32_t hint_words(uint32_t capacity) {
    return (capacity + BITS - 1) / BITS;
}

static uint64_t whole_lines(uint64_t bytes) {
    return (bytes + KL_LINE_BYTES - 1) / KL_LINE_BYTES * KL_LINE_BYTES;
}

static uint64_t cells_offset(uint32_t capacity) {
    return whole_lines(KL_INDEX_POOL_HEADER_BYTES + 8ull * hint_words(capacity));
}

static uint64_t cell_bytes(uint32_t payload_bytes) {
    return 8 + (((uint64_t)payload_bytes + 7) & ~7ull);
}

uint64_t kl_index_pool_memory_bytes(uint32_t capacity, uint32_t payload_bytes) {
    if (capacity == 0 || capacity > KL_INDEX_POOL_CAPACITY_MAX ||
        payload_bytes > KL_INDEX_POOL_PAYLOAD_MAX)
        return 0;
    return cells_offset(capacity) + whole_lines(capacity * cell_bytes(payload_bytes));
}

static int32_t check_geometry(uint32_t capacity, uint32_t payload_bytes) {
    if (kl_index_pool_memory_bytes(capacity, payload_bytes) != 0) return KL_OK;
    return kl_fail(KL_ERR_ARGUMENT,
                   "a pool of %u cells of %u bytes: 1 to %u cells of 0 to %u bytes", capacity,
                   payload_bytes, KL_INDEX_POOL_CAPACITY_MAX, KL_INDEX_POOL_PAYLOAD_MAX);
}

static uint64_t all_hints(uint32_t capacity, uint32_t at) {
    uint32_t left = capacity - at * BITS;
    return left >= BITS ? ~0ull : (1ull << left) - 1;
}

int32_t kl_index_pool_format(void *memory, uint32_t capacity, uint32_t payload_bytes) {
    int32_t status = check_geometry(capacity, payload_bytes);
    if (status != KL_OK) return status;
    kl_index_pool_header *header = memory;
    memset(memory, 0, sizeof *header);
    header->magic = KL_INDEX_POOL_MAGIC;
    header->version = KL_INDEX_POOL_VERSION;
    header->capacity = capacity;
    header->payload_bytes = payload_bytes;
    _Atomic uint64_t *hints = (_Atomic uint64_t *)(void *)(header + 1);
    /* relaxed: nobody else sees the pool yet. */
    for (uint32_t at = 0; at < hint_words(capacity); at++)
        atomic_store_explicit(&hints[at], all_hints(capacity, at), memory_order_relaxed);
    return KL_OK;
}

int32_t kl_index_pool_grip(kl_index_pool *pool, void *memory, uint64_t memory_bytes) {
    kl_index_pool_header *header = memory;
    memset(pool, 0, sizeof *pool);
    if (memory_bytes < KL_INDEX_POOL_HEADER_BYTES)
        return kl_fail(KL_ERR_CORRUPT, "%llu bytes cannot hold a pool",
                       (unsigned long long)memory_bytes);
    if (header->magic != KL_INDEX_POOL_MAGIC)
        return kl_fail(KL_ERR_CORRUPT, "no pool here: magic 0x%08x", header->magic);
    if (header->version != KL_INDEX_POOL_VERSION)
        return kl_fail(KL_ERR_VERSION, "pool version %u, this build knows %u", header->version,
                       KL_INDEX_POOL_VERSION);
    uint32_t capacity = header->capacity; /* read once: memory may change under us */
    uint32_t payload_bytes = header->payload_bytes;
    uint64_t bytes = kl_index_pool_memory_bytes(capacity, payload_bytes);
    if (bytes == 0 || bytes > memory_bytes)
        return kl_fail(KL_ERR_CORRUPT, "pool of %u cells of %u bytes in %llu bytes of memory",
                       capacity, payload_bytes, (unsigned long long)memory_bytes);
    pool->header = header;
    pool->hints = (_Atomic uint64_t *)(void *)(header + 1);
    pool->cells = (uint8_t *)memory + cells_offset(capacity);
    pool->cell_bytes = cell_bytes(payload_bytes);
    pool->capacity = capacity;
    pool->payload_bytes = payload_bytes;
    return KL_OK;
}

static uint32_t owner_of(uint64_t word) {
    return (uint32_t)word;
}

static uint64_t freed(uint64_t word) {
    return ((word >> 32) + 1) << 32; /* the generation wraps by falling off the top */
}

/* The free cell `index`, taken for `self`. */
static bool claim_cell(kl_index_pool *pool, uint32_t index, uint32_t self, kl_claim *claim) {
    _Atomic uint64_t *cell = kl_index_pool_word(pool, index);
    /* relaxed: decided by the compare-exchange. */
    uint64_t word = atomic_load_explicit(cell, memory_order_relaxed);
    if (owner_of(word) != 0) return false;
    /* acquire: partner is the release in give_back(); the last holder is done with the payload. */
    if (!atomic_compare_exchange_strong_explicit(cell, &word, word | self, memory_order_acquire,
                                                 memory_order_relaxed))
        return false;
    claim->index = index;
    claim->generation = (uint32_t)(word >> 32);
    pool->cursor = index + 1 < pool->capacity ? index + 1 : 0;
    return true;
}

/* A hint turned out wrong: takes it away. True when the cell became free meanwhile, hint set again.
 * seq_cst, partners are the two in give_back(): one of us sees the other. */
static bool clear_hint(kl_index_pool *pool, uint32_t index) {
    _Atomic uint64_t *hints = &pool->hints[index / BITS];
    uint64_t bit = 1ull << index % BITS;
    atomic_fetch_and_explicit(hints, ~bit, memory_order_seq_cst);
    uint64_t word = atomic_load_explicit(kl_index_pool_word(pool, index), memory_order_seq_cst);
    if (owner_of(word) != 0) return false;
    /* relaxed: a hint; what it points at is ordered by its own word. */
    atomic_fetch_or_explicit(hints, bit, memory_order_relaxed);
    return true;
}

/* Tries the cells that word `at` hints at, from bit `first` on. */
static bool claim_among(kl_index_pool *pool, uint32_t at, uint32_t first, uint32_t self,
                        kl_claim *claim) {
    /* relaxed: hints. */
    uint64_t hints = atomic_load_explicit(&pool->hints[at], memory_order_relaxed);
    hints &= all_hints(pool->capacity, at) & (~0ull << first);
    for (; hints != 0; hints &= hints - 1) { /* at most 64 */
        uint32_t index = at * BITS + (uint32_t)__builtin_ctzll(hints);
        if (claim_cell(pool, index, self, claim)) return true;
        if (clear_hint(pool, index) && claim_cell(pool, index, self, claim)) return true;
    }
    return false;
}

int32_t kl_index_pool_acquire(kl_index_pool *pool, uint32_t self, kl_claim *claim) {
    KL_ASSERT(self != 0 && self != KL_INDEX_POOL_SHARED);
    if (self == 0 || self == KL_INDEX_POOL_SHARED) return KL_ERR_BUG;
    uint32_t words = hint_words(pool->capacity), start = pool->cursor / BITS;
    if (claim_among(pool, start, pool->cursor % BITS, self, claim)) return KL_OK;
    for (uint32_t step = 1; step <= words; step++) /* the first word again, from its beginning */
        if (claim_among(pool, (start + step) % words, 0, self, claim)) return KL_OK;
    return KL_ERR_AGAIN;
}

static void set_hint(kl_index_pool *pool, uint32_t index) {
    _Atomic uint64_t *hints = &pool->hints[index / BITS];
    uint64_t bit = 1ull << index % BITS;
    /* seq_cst: partner is the pair in clear_hint(). */
    if ((atomic_load_explicit(hints, memory_order_seq_cst) & bit) != 0) return;
    /* relaxed: a hint. */
    atomic_fetch_or_explicit(hints, bit, memory_order_relaxed);
}

/* From `word` to free; false when it is no longer that. */
static bool give_back(kl_index_pool *pool, uint32_t index, uint64_t word) {
    /* seq_cst: as release, partner is the acquire in claim_cell(); and with clear_hint(). */
    if (!atomic_compare_exchange_strong_explicit(kl_index_pool_word(pool, index), &word,
                                                 freed(word), memory_order_seq_cst,
                                                 memory_order_relaxed))
        return false;
    set_hint(pool, index);
    return true;
}

static int32_t not_held(kl_claim claim) {
    return kl_fail(KL_ERR_NOT_FOUND, "cell %u is not held by the caller with generation %u",
                   claim.index, claim.generation);
}

static int32_t check_index(const kl_index_pool *pool, uint32_t index) {
    if (index < pool->capacity) return KL_OK;
    return kl_fail(KL_ERR_ARGUMENT, "cell %u of a pool of %u", index, pool->capacity);
}

int32_t kl_index_pool_release(kl_index_pool *pool, uint32_t self, kl_claim claim) {
    int32_t status = check_index(pool, claim.index);
    if (status != KL_OK) return status;
    if (self == 0 || self == KL_INDEX_POOL_SHARED) return not_held(claim);
    if (!give_back(pool, claim.index, (uint64_t)claim.generation << 32 | self))
        return not_held(claim);
    pool->cursor = claim.index; /* warm: the next to be taken */
    return KL_OK;
}

int32_t kl_index_pool_holds(const kl_index_pool *pool, uint32_t self, kl_claim claim) {
    int32_t status = check_index(pool, claim.index);
    if (status != KL_OK) return status;
    /* relaxed: only the holder can have made it so, and it asks. */
    uint64_t word =
        atomic_load_explicit(kl_index_pool_word(pool, claim.index), memory_order_relaxed);
    return self != 0 && word == ((uint64_t)claim.generation << 32 | self) ? KL_OK : not_held(claim);
}

/* ---- after a death ---- */

typedef struct {
    uint32_t dead; /* 0: ask */
    kl_alive_fn alive;
    void *context;
    uint32_t asked[KL_PARTICIPANTS]; /* by slot: the id last asked about, and what was answered */
    bool answer[KL_PARTICIPANTS];
} inquiry;

static bool is_dead(inquiry *it, uint32_t owner) {
    if (owner == 0 || owner == KL_INDEX_POOL_SHARED) return false;
    if (it->dead != 0) return owner == it->dead;
    uint32_t slot = owner % KL_PARTICIPANTS;
    if (it->asked[slot] != owner) {
        it->asked[slot] = owner;
        it->answer[slot] = !it->alive(it->context, owner);
    }
    return it->answer[slot];
}

bool kl_index_pool_thread_alive(void *region, uint32_t participant) {
    return kl_region_thread_alive(region, participant);
}

int32_t kl_index_pool_recover(kl_index_pool *pool, uint32_t dead, kl_alive_fn alive,
                              void *context) {
    inquiry it = {.dead = dead, .alive = alive, .context = context};
    int32_t count = 0;
    for (uint32_t index = 0; index < pool->capacity; index++) {
        /* relaxed: who is found dead is known with all it did; the exchange decides. */
        uint64_t word = atomic_load_explicit(kl_index_pool_word(pool, index), memory_order_relaxed);
        if (is_dead(&it, owner_of(word)) && give_back(pool, index, word))
            count++;
        else if (owner_of(word) == 0)
            set_hint(pool, index);
    }
    return count;
}

uint32_t kl_index_pool_held(const kl_index_pool *pool, uint32_t owner) {
    uint32_t count = 0;
    for (uint32_t index = 0; index < pool->capacity; index++) {
        /* relaxed: a count, exact only when nothing moves. */
        uint64_t word = atomic_load_explicit(kl_index_pool_word(pool, index), memory_order_relaxed);
        count += owner == 0 ? owner_of(word) != 0 : owner_of(word) == owner;
    }
    return count;
}

int32_t kl_index_pool_verify(const kl_index_pool *pool) {
    const kl_index_pool_header *header = pool->header;
    if (header->magic != KL_INDEX_POOL_MAGIC || header->capacity != pool->capacity ||
        header->payload_bytes != pool->payload_bytes)
        return kl_fail(KL_ERR_CORRUPT, "the pool's geometry changed");
    for (uint32_t index = 0; index < pool->capacity; index++) {
        /* acquire, relaxed: right only when nothing moves. */
        uint64_t word = atomic_load_explicit(kl_index_pool_word(pool, index), memory_order_acquire);
        uint64_t hints = atomic_load_explicit(&pool->hints[index / BITS], memory_order_relaxed);
        if (owner_of(word) == 0 && (hints >> index % BITS & 1) == 0)
            return kl_fail(KL_ERR_CORRUPT, "cell %u is free and no hint leads to it", index);
    }
    return KL_OK;
}

/* ---- behind a handle ---- */

typedef struct {
    kl_shared_object object;
    kl_index_pool pool;
    uint32_t self; /* whose claims this handle made; 0: none yet */
} named_pool;

typedef struct {
    uint32_t capacity;
    uint32_t payload_bytes;
} pool_options;

static int32_t format_named(void *memory, uint64_t memory_bytes, const void *options) {
    const pool_options *wanted = options;
    (void)memory_bytes;
    return kl_index_pool_format(memory, wanted->capacity, wanted->payload_bytes);
}

static int32_t grip_named(kl_shared_object *object, void *memory, uint64_t memory_bytes) {
    return kl_index_pool_grip(&((named_pool *)object)->pool, memory, memory_bytes);
}

static void leave_named(kl_shared_object *object) {
    named_pool *named = (named_pool *)object;
    if (named->self != 0 && kl_index_pool_recover(&named->pool, named->self, NULL, NULL) > 0)
        kl_event_count_notify_all(&named->pool.header->space_event);
}

static kl_event_count *event_of_named(kl_shared_object *object, uint32_t index) {
    return index == 0 ? &((named_pool *)object)->pool.header->space_event : NULL;
}

/* 1 when a cell seems free. */
static int32_t prepare_named(kl_shared_object *object, uint32_t what, uint32_t argument,
                             kl_event_count **event, uint32_t *key) {
    named_pool *named = (named_pool *)object;
    (void)what;
    (void)argument;
    *event = &named->pool.header->space_event;
    *key = kl_event_count_prepare(*event);
    kl_index_pool look = named->pool;
    for (uint32_t index = 0; index < look.capacity; index++) {
        /* relaxed: after the key was taken; a release notifies after it freed the cell. */
        uint64_t word =
            atomic_load_explicit(kl_index_pool_word(&look, index), memory_order_relaxed);
        if (owner_of(word) == 0) return 1;
    }
    return 0;
}

static const kl_shared_object_type TYPE = {
    .handle_kind = KL_HANDLE_INDEX_POOL,
    .magic = KL_INDEX_POOL_MAGIC,
    .layout_hash = KL_LAYOUT_HASH,
    .object_bytes = sizeof(named_pool),
    .noun = "pool",
    .format = format_named,
    .grip = grip_named,
    .leave = leave_named,
    .event = event_of_named,
    .prepare = prepare_named,
};

int32_t kl_index_pool_create(const uint8_t *name, uint32_t name_bytes, uint32_t capacity,
                             uint32_t payload_bytes, uint8_t *out) {
    pool_options options = {capacity, payload_bytes};
    int32_t status = check_geometry(capacity, payload_bytes);
    if (status != KL_OK) return status;
    return kl_shared_object_create(&TYPE, name, name_bytes,
                                   kl_index_pool_memory_bytes(capacity, payload_bytes), &options,
                                   out);
}

int32_t kl_index_pool_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out) {
    return kl_shared_object_attach(&TYPE, name, name_bytes, out);
}

int32_t kl_index_pool_close(uint32_t pool) {
    return kl_shared_object_close(&TYPE, pool);
}

int32_t kl_index_pool_remove(const uint8_t *name, uint32_t name_bytes) {
    return kl_shared_object_remove(&TYPE, name, name_bytes);
}

/* Enters the handle for its own thread. */
static int32_t enter(uint32_t handle, named_pool **out) {
    named_pool *named = kl_shared_object_enter(&TYPE, handle);
    if (!named) return KL_ERR_HANDLE;
    int32_t self = kl_shared_object_self(&named->object);
    if (__builtin_expect(self != (int32_t)named->self, 0)) {
        if (self > 0 && named->self != 0)
            self = kl_fail(KL_ERR_LOCKED, "the handle is another thread's: attach for each");
        if (self < 0) {
            kl_handle_leave(handle);
            return self;
        }
        named->self = (uint32_t)self;
    }
    *out = named;
    return KL_OK;
}

static int32_t leave(uint32_t handle, named_pool *named, kl_event_count *changed, int32_t status) {
    return kl_shared_object_leave(&named->object, handle, changed, status);
}

int32_t kl_index_pool_take(uint32_t pool, uint8_t *out) {
    named_pool *named = NULL;
    if (!out) return kl_fail(KL_ERR_ARGUMENT, "no place for the claim");
    int32_t status = enter(pool, &named);
    if (status != KL_OK) return status;
    kl_claim claim;
    status = kl_index_pool_acquire(&named->pool, named->self, &claim);
    if (status == KL_OK) memcpy(out, &claim, sizeof claim);
    return leave(pool, named, NULL, status);
}

int32_t kl_index_pool_give(uint32_t pool, uint32_t index, uint32_t generation) {
    named_pool *named = NULL;
    int32_t status = enter(pool, &named);
    if (status != KL_OK) return status;
    status = kl_index_pool_release(&named->pool, named->self, (kl_claim){index, generation});
    return leave(pool, named, status == KL_OK ? &named->pool.header->space_event : NULL, status);
}

int32_t kl_index_pool_is_mine(uint32_t pool, uint32_t index, uint32_t generation) {
    named_pool *named = NULL;
    int32_t status = enter(pool, &named);
    if (status != KL_OK) return status;
    status = kl_index_pool_holds(&named->pool, named->self, (kl_claim){index, generation});
    return leave(pool, named, NULL, status == KL_OK);
}

/* Enters for a copy from or to the payload of a claim. */
static int32_t enter_payload(uint32_t pool, kl_claim claim, const void *memory, uint32_t bytes,
                             named_pool **out) {
    if (!memory && bytes > 0) return kl_fail(KL_ERR_ARGUMENT, "%u bytes at NULL", bytes);
    int32_t status = enter(pool, out);
    if (status != KL_OK) return status;
    status = kl_index_pool_holds(&(*out)->pool, (*out)->self, claim);
    if (status == KL_OK && bytes > (*out)->pool.payload_bytes)
        status = kl_fail(KL_ERR_ARGUMENT, "%u bytes of cells with %u", bytes,
                         (*out)->pool.payload_bytes);
    return status == KL_OK ? KL_OK : leave(pool, *out, NULL, status);
}

int32_t kl_index_pool_read(uint32_t pool, uint32_t index, uint32_t generation, uint8_t *out,
                           uint32_t bytes) {
    named_pool *named = NULL;
    int32_t status = enter_payload(pool, (kl_claim){index, generation}, out, bytes, &named);
    if (status != KL_OK) return status;
    if (bytes > 0) memcpy(out, kl_index_pool_payload(&named->pool, index), bytes);
    return leave(pool, named, NULL, KL_OK);
}

int32_t kl_index_pool_write(uint32_t pool, uint32_t index, uint32_t generation, const uint8_t *data,
                            uint32_t bytes) {
    named_pool *named = NULL;
    int32_t status = enter_payload(pool, (kl_claim){index, generation}, data, bytes, &named);
    if (status != KL_OK) return status;
    if (bytes > 0) memcpy(kl_index_pool_payload(&named->pool, index), data, bytes);
    return leave(pool, named, NULL, KL_OK);
}

int32_t kl_index_pool_recover_dead(uint32_t pool) {
    named_pool *named = NULL;
    int32_t status = enter(pool, &named);
    if (status != KL_OK) return status;
    status =
        kl_index_pool_recover(&named->pool, 0, kl_index_pool_thread_alive, named->object.region);
    return leave(pool, named, status > 0 ? &named->pool.header->space_event : NULL, status);
}

int32_t kl_index_pool_number(uint32_t pool, uint32_t what) {
    named_pool *named = NULL;
    int32_t status = enter(pool, &named);
    if (status != KL_OK) return status;
    const kl_index_pool *it = &named->pool;
    uint32_t number = what == 0   ? it->capacity
                      : what == 1 ? it->payload_bytes
                      : what == 2 ? kl_index_pool_held(it, 0)
                                  : kl_index_pool_held(it, named->self);
    return leave(pool, named, NULL, (int32_t)number);
}

int32_t kl_index_pool_check(uint32_t pool) {
    named_pool *named = NULL;
    int32_t status = enter(pool, &named);
    return status == KL_OK ? leave(pool, named, NULL, kl_index_pool_verify(&named->pool)) : status;
}
