/* hand_table: what each participant is about to do to a structure, so that its death tells.
 *
 * A structure made of nodes of an index_pool changes by compare-exchanges of a few words, each
 * {tag:32, by:8, index:24}: tag counts the changes, `by` is the slot of who made the last one.
 * Whoever dies right before or after such a change leaves a question: did it take place, and whose
 * is the node? These lines answer it exactly, without a locked instruction and without waiting:
 *
 *   line 0 of a slot   hand   {tag, step, index}: the next change, noted before it is tried: the
 *                             tag it would make, and the node that changes hands with it
 *                      owner  participant id, by compare-exchange; 0: nobody, and nothing in hand
 *   rest of a slot     seen   per changing word and other slot: the last tag by that slot which
 *                             this one replaced, noted before it was replaced
 *
 * Line and rest are written by the slot's owner only; after its death, the hand by whoever settles.
 *
 * Always: a change {tag, by} took place exactly if its word still shows it or some slot has seen
 * it: everyone who replaces a word notes what it replaces before it does so, and the release of its
 * compare-exchange carries the note to everyone who finds the word changed.
 * Death: recover stamps the one node that was in the dead hand with the dead id, then empties
 * the hand; kl_index_pool_recover then frees it with the rest. Each step is one compare-exchange,
 * may be done twice or in parallel, and be cut anywhere. Who comes to a slot whose owner died
 * settles first, so a slot never holds more than one node of the dead.
 * Limit: tags wrap after 2^32 changes of one word. One that stands still between its load and its
 * compare-exchange for exactly that many changes would not notice.
 * Progress: noting is wait-free (plain stores to one's own lines).
 *
 * docs/format_hand_table.md draws it.
 *
 * Method: detectable compare-exchange after Attiya, Ben-Baruch and Hendler, "Nesting-safe
 * recoverable linearizability", PODC 2018, with the tag in place of their announcement toggles.
 */
#ifndef KL_LOCKFREE_HAND_TABLE_H
#define KL_LOCKFREE_HAND_TABLE_H

#include "lockfree/index_pool.h"

#define KL_TAGGED_INDEX_MASK 0xffffffu

/* One for each place of a thread. Fewer only where a test counts memory in words. */
#ifndef KL_HAND_SLOTS
#define KL_HAND_SLOTS KL_PARTICIPANTS
#endif

/* A changing word. index1: index + 1, 0: none. */
static inline uint64_t kl_tagged(uint32_t tag, uint32_t by, uint32_t index1) {
    return (uint64_t)tag << 32 | by << 24 | index1;
}

static inline uint32_t kl_tagged_tag(uint64_t word) {
    return (uint32_t)(word >> 32);
}

static inline uint32_t kl_tagged_by(uint64_t word) {
    return (uint32_t)word >> 24;
}

static inline uint32_t kl_tagged_index1(uint64_t word) {
    return (uint32_t)word & KL_TAGGED_INDEX_MASK;
}

static_assert(KL_HAND_SLOTS <= 256, "`by` has 8 bits");
static_assert(KL_INDEX_POOL_CAPACITY_MAX + 1 <= KL_TAGGED_INDEX_MASK, "index + 1 has 24 bits");

/* layout: kl_hand hand owner */
typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t hand;
    _Atomic uint32_t owner;
    uint8_t unused[KL_LINE_BYTES - 12];
} kl_hand;

static_assert(sizeof(kl_hand) == KL_LINE_BYTES, "one line, then the seen words");

/* One thread's grip. Not shared. */
typedef struct {
    uint8_t *memory;
    kl_hand *mine;  /* this thread's line */
    uint32_t words; /* changing words of the structure */
    uint32_t slot;  /* of this thread */
    uint32_t self;  /* its participant id; 0: not joined */
} kl_hand_table;

/* Whether the dead one of `slot`, whose hand says `hand`, still holds the node in it. */
typedef bool (*kl_hand_verdict_fn)(void *structure, uint32_t slot, uint64_t hand);

static inline uint64_t kl_hand_slot_bytes(uint32_t words) {
    return sizeof(kl_hand) + 8ull * words * KL_HAND_SLOTS;
}

static inline uint64_t kl_hand_table_bytes(uint32_t words) {
    return kl_hand_slot_bytes(words) * KL_HAND_SLOTS;
}

static inline kl_hand *kl_hand_of(const kl_hand_table *table, uint32_t slot) {
    return (kl_hand *)(void *)(table->memory + slot * kl_hand_slot_bytes(table->words));
}

static inline _Atomic uint64_t *kl_hand_seen(const kl_hand_table *table, uint32_t slot,
                                             uint32_t word, uint32_t of) {
    _Atomic uint64_t *seen = (_Atomic uint64_t *)(void *)(kl_hand_of(table, slot) + 1);
    return &seen[word * KL_HAND_SLOTS + of];
}

/* Before a change is tried: `step` is not 0. */
static inline void kl_hand_note(const kl_hand_table *table, uint32_t tag, uint32_t step,
                                uint32_t index) {
    /* release: partner is the acquire in settle(); who finds a note finds whose it is. */
    atomic_store_explicit(&table->mine->hand, kl_tagged(tag, step, index), memory_order_release);
}

static inline void kl_hand_empty(const kl_hand_table *table) {
    /* relaxed: asked about after our death only, when all we did is known. */
    atomic_store_explicit(&table->mine->hand, 0, memory_order_relaxed);
}

/* Before `old` of changing word `word` is replaced. */
static inline void kl_hand_saw(const kl_hand_table *table, uint32_t word, uint64_t old) {
    uint32_t by = kl_tagged_by(old) % KL_HAND_SLOTS;
    /* relaxed: carried by the release of the compare-exchange that follows. */
    atomic_store_explicit(kl_hand_seen(table, table->slot, word, by),
                          (uint64_t)kl_tagged_tag(old) << 32 | 1, memory_order_relaxed);
}

/* The same where only noted changes replace the word: then one's own change needs no witness, for
 * the hand that asked about it says something else by now. */
static inline void kl_hand_saw_others(const kl_hand_table *table, uint32_t word, uint64_t old) {
    if (kl_tagged_by(old) != table->slot) kl_hand_saw(table, word, old);
}

/* Whether the change of `word` to `tag` by `slot` took place. `now` is the word, loaded with acquire
 * after the death. */
bool kl_hand_took_place(const kl_hand_table *table, uint32_t word, uint64_t now, uint32_t slot,
                        uint32_t tag);

/* Takes the slot of `self`, settling after an owner that died in it. KL_ERR_ARGUMENT. */
int32_t kl_hand_join(kl_hand_table *table, kl_index_pool *pool, uint32_t self,
                     kl_hand_verdict_fn holds, void *structure);

/* Gives it back: frees every node that is stamped with the caller's id. */
void kl_hand_leave(kl_hand_table *table, kl_index_pool *pool);

/* Settles the hand of `dead` (0: of every owner that is not alive) and frees their nodes. The number
 * of nodes freed. O(capacity). */
int32_t kl_hand_recover(kl_hand_table *table, kl_index_pool *pool, uint32_t dead, kl_alive_fn alive,
                        void *context, kl_hand_verdict_fn holds, void *structure);

#endif
