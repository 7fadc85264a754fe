#include "base/handle.h"

#include "base/cpu.h"

#include <pthread.h>
#include <stdatomic.h>

#define SLOT_BITS       12u
#define SLOT_MASK       (KL_HANDLE_COUNT_MAX - 1)
#define GENERATION_MASK ((1u << 20) - 1)
#define SHUT            (1ull << 31) /* enters are refused: closing, or free                   */
#define TAKEN           (1ull << 30) /* holds an object; shut + taken = waits for the last leave */
#define COUNT_MASK      (TAKEN - 1)
#define GENERATION_ONE  (1ull << 32)

/* A freed slot waits until this many others have been freed after it. */
#define REST_COUNT 64u

typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t word;
    void *object;
    void (*destroy)(void *object);
    _Atomic uint32_t kind; /* atomic for kl_handle_live() alone, which looks without entering */
} kl_handle_slot;

static_assert(sizeof(kl_handle_slot) == KL_LINE_BYTES, "one line per slot: no false sharing");
static_assert(1u << SLOT_BITS == KL_HANDLE_COUNT_MAX, "the slot number fills its bits");

static kl_handle_slot slots[KL_HANDLE_COUNT_MAX];

/* All below is guarded by the mutex. Free slots: those never used yet, and a ring of freed ones. */
static struct {
    pthread_mutex_t mutex;
    uint32_t fresh;       /* slots [fresh, max) were never used              */
    uint32_t freed_first; /* absolute positions in `freed`, masked on access */
    uint32_t freed_last;
    uint16_t freed[KL_HANDLE_COUNT_MAX];
} pool = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static kl_handle_slot *take_slot(void) {
    kl_handle_slot *slot = NULL;
    pthread_mutex_lock(&pool.mutex);
    uint32_t freed_count = pool.freed_last - pool.freed_first;
    if (pool.fresh < KL_HANDLE_COUNT_MAX && freed_count < REST_COUNT) {
        slot = &slots[pool.fresh++];
        /* relaxed: published by the release in kl_handle_open. Adds, as a forged handle may be
         * entering the slot at this moment. Generation 1 is the first: handle 0 stays unused. */
        atomic_fetch_add_explicit(&slot->word, GENERATION_ONE | SHUT, memory_order_relaxed);
    } else if (freed_count > 0) {
        slot = &slots[pool.freed[pool.freed_first++ & SLOT_MASK]];
    }
    pthread_mutex_unlock(&pool.mutex);
    return slot;
}

static void free_slot(kl_handle_slot *slot) {
    pthread_mutex_lock(&pool.mutex);
    KL_ASSERT(pool.freed_last - pool.freed_first < KL_HANDLE_COUNT_MAX);
    pool.freed[pool.freed_last++ & SLOT_MASK] = (uint16_t)(slot - slots);
    pthread_mutex_unlock(&pool.mutex);
}

uint32_t kl_handle_open(uint32_t kind, void *object, void (*destroy)(void *object)) {
    kl_handle_slot *slot = take_slot();
    if (slot == NULL) return 0;
    atomic_store_explicit(&slot->kind, kind, memory_order_relaxed); /* published below */
    slot->object = object;
    slot->destroy = destroy;
    /* release: partner is the acquire in kl_handle_enter(); publishes kind, object, destroy. An
     * add, because refused enters may be counted in the word: shut goes off, taken goes on. */
    uint64_t before = atomic_fetch_add_explicit(&slot->word, TAKEN - SHUT, memory_order_release);
    uint32_t generation = (uint32_t)(before >> 32) & GENERATION_MASK;
    return generation << SLOT_BITS | (uint32_t)(slot - slots);
}

/* The next generation, skipping those whose 20 handle bits are 0. */
static uint64_t next_generation(uint64_t word) {
    uint64_t next = (word & ~(GENERATION_ONE - 1)) + GENERATION_ONE;
    return (next >> 32 & GENERATION_MASK) == 0 ? next + GENERATION_ONE : next;
}

/* Undoes one enter; the last one out of a closed slot destroys the object. */
static void leave_slot(kl_handle_slot *slot) {
    /* release: partner is the acquire below; the work inside happened before the destroy. */
    uint64_t word = atomic_fetch_sub_explicit(&slot->word, 1, memory_order_release) - 1;
    if ((word & (SHUT | TAKEN | COUNT_MASK)) != (SHUT | TAKEN)) return;
    /* A refused enter may bring the count up and to 0 again: both then come here, one wins. One
     * that fails because somebody is just inside leaves it to that one. The generation moves, so
     * `word` cannot come back. Acquire: partner is the release above, of every earlier leave. */
    uint64_t free_word = next_generation(word) | SHUT;
    if (!atomic_compare_exchange_strong_explicit(&slot->word, &word, free_word,
                                                 memory_order_acquire, memory_order_relaxed))
        return;
    if (slot->destroy != NULL) slot->destroy(slot->object);
    slot->object = NULL;
    free_slot(slot);
}

void *kl_handle_enter(uint32_t handle, uint32_t kind) {
    kl_handle_slot *slot = &slots[handle & SLOT_MASK];
    /* acquire: partner is the release in kl_handle_open(). */
    uint64_t word = atomic_fetch_add_explicit(&slot->word, 1, memory_order_acquire);
    bool ours = (word & (SHUT | TAKEN)) == TAKEN &&
                ((uint32_t)(word >> 32) & GENERATION_MASK) == handle >> SLOT_BITS &&
                atomic_load_explicit(&slot->kind, memory_order_relaxed) == kind;
    if (__builtin_expect(ours, 1)) return slot->object;
    leave_slot(slot);
    return NULL;
}

bool kl_handle_is_open(uint32_t handle, uint32_t kind) {
    kl_handle_slot *slot = &slots[handle & SLOT_MASK];
    /* relaxed: who was given the number by happens-before sees its kind; to others a kind not yet
     * seen is a handle not yet opened. */
    uint64_t word = atomic_load_explicit(&slot->word, memory_order_relaxed);
    return (word & (SHUT | TAKEN)) == TAKEN &&
           ((uint32_t)(word >> 32) & GENERATION_MASK) == handle >> SLOT_BITS &&
           atomic_load_explicit(&slot->kind, memory_order_relaxed) == kind;
}

void kl_handle_leave(uint32_t handle) {
    kl_handle_slot *slot = &slots[handle & SLOT_MASK];
    KL_ASSERT((atomic_load_explicit(&slot->word, memory_order_relaxed) & COUNT_MASK) > 0);
    leave_slot(slot);
}

int32_t kl_handle_close(uint32_t handle, uint32_t kind) {
    if (kl_handle_enter(handle, kind) == NULL)
        return kl_fail(KL_ERR_HANDLE, "handle %#x is not open, or not of kind %u", handle, kind);
    kl_handle_slot *slot = &slots[handle & SLOT_MASK];
    /* relaxed: only decides who closes; the leave below orders everything else. */
    uint64_t before = atomic_fetch_or_explicit(&slot->word, SHUT, memory_order_relaxed);
    leave_slot(slot);
    if (before & SHUT) return kl_fail(KL_ERR_HANDLE, "handle %#x is closing already", handle);
    return KL_OK;
}

uint32_t kl_handle_live(uint32_t kind) {
    uint32_t live = 0;
    pthread_mutex_lock(&pool.mutex);
    uint32_t used = pool.fresh;
    pthread_mutex_unlock(&pool.mutex);
    for (uint32_t i = 0; i < used; i++) {
        uint64_t word = atomic_load_explicit(&slots[i].word, memory_order_relaxed); /* as above */
        if (word & SHUT || !(word & TAKEN)) continue;
        if (kind == 0 || atomic_load_explicit(&slots[i].kind, memory_order_relaxed) == kind) live++;
    }
    return live;
}
