#include "lockfree/hand_table.h"

bool kl_hand_took_place(const kl_hand_table *table, uint32_t word, uint64_t now, uint32_t slot,
                        uint32_t tag) {
    if (kl_tagged_tag(now) == tag && kl_tagged_by(now) == slot) return true;
    for (uint32_t witness = 0; witness < KL_HAND_SLOTS; witness++) {
        /* relaxed: noted before the change that `now` shows, and acquired with it. */
        uint64_t seen =
            atomic_load_explicit(kl_hand_seen(table, witness, word, slot), memory_order_relaxed);
        if (seen == ((uint64_t)tag << 32 | 1)) return true;
    }
    return false;
}

/* Stamps the node in the hand of a dead owner with its id, if it holds it, and empties the hand.
 * The stamp comes first: cut in between, the next one finds the node stamped and the hand full. The
 * word is read before owner and hand are looked at once more, so it is what the dead one left: nobody
 * else can have had the node while the hand was still full. */
static void settle(kl_hand_table *table, kl_index_pool *pool, uint32_t slot, uint32_t dead,
                   kl_hand_verdict_fn holds, void *structure) {
    kl_hand *line = kl_hand_of(table, slot);
    /* acquire: partner is the release in kl_hand_note() and kl_hand_empty(). */
    uint64_t hand = atomic_load_explicit(&line->hand, memory_order_acquire);
    if (hand == 0) return;
    uint32_t index = kl_tagged_index1(hand);
    if (index < pool->capacity) {
        _Atomic uint64_t *cell = kl_index_pool_word(pool, index);
        /* acquire: partner is the release in kl_index_pool_stamp(). */
        uint64_t word = atomic_load_explicit(cell, memory_order_acquire);
        bool held = (uint32_t)word == KL_INDEX_POOL_SHARED && holds(structure, slot, hand);
        /* relaxed: ordered behind the load of hand: a note of the next owner comes with its name. */
        if (atomic_load_explicit(&line->owner, memory_order_relaxed) != dead) return;
        /* acquire: partner is the release below: who finds it empty finds the stamp. */
        if (atomic_load_explicit(&line->hand, memory_order_acquire) != hand) return;
        uint64_t stamped = (word & ~(uint64_t)UINT32_MAX) | dead;
        /* relaxed: found by who finds the hand empty. */
        if (held)
            atomic_compare_exchange_strong_explicit(cell, &word, stamped, memory_order_relaxed,
                                                    memory_order_relaxed);
    }
    /* release: partners are the acquire loads above; who finds it empty finds the stamp. */
    atomic_compare_exchange_strong_explicit(&line->hand, &hand, 0, memory_order_release,
                                            memory_order_relaxed);
}

static int32_t settle_all(kl_hand_table *table, kl_index_pool *pool, uint32_t slot, uint32_t dead,
                          kl_hand_verdict_fn holds, void *structure) {
    settle(table, pool, slot, dead, holds, structure);
    int32_t count = kl_index_pool_recover(pool, dead, NULL, NULL);
    /* relaxed: it says only that nothing of the dead is left to do. Last: cut before it, all of this is
     * done again. */
    atomic_compare_exchange_strong_explicit(&kl_hand_of(table, slot)->owner, &dead, 0,
                                            memory_order_relaxed, memory_order_relaxed);
    return count;
}

int32_t kl_hand_join(kl_hand_table *table, kl_index_pool *pool, uint32_t self,
                     kl_hand_verdict_fn holds, void *structure) {
    uint32_t slot = self & 0xff;
    if (self == 0 || self == KL_INDEX_POOL_SHARED || slot >= KL_HAND_SLOTS)
        return kl_fail(KL_ERR_ARGUMENT, "%u is no participant's id", self);
    kl_hand *line = kl_hand_of(table, slot);
    /* relaxed: a slot has one live owner, so whoever stands here is gone, and what it did is known
     * from the slot's lock. */
    uint32_t before = atomic_load_explicit(&line->owner, memory_order_relaxed);
    if (before != 0 && before != self) settle_all(table, pool, slot, before, holds, structure);
    table->self = self;
    table->slot = slot;
    table->mine = line;
    kl_hand_empty(table); /* scribbled, or left by a leave */
    /* relaxed: carried by the release of the first note. */
    atomic_store_explicit(&line->owner, self, memory_order_relaxed);
    return KL_OK;
}

void kl_hand_leave(kl_hand_table *table, kl_index_pool *pool) {
    if (table->self == 0) return;
    kl_index_pool_recover(pool, table->self, NULL, NULL);
    kl_hand_empty(table);
    uint32_t self = table->self;
    /* relaxed: as above. By exchange: a slot that was given on is not ours to clear. */
    atomic_compare_exchange_strong_explicit(&kl_hand_of(table, table->slot)->owner, &self, 0,
                                            memory_order_relaxed, memory_order_relaxed);
    table->self = 0;
}

int32_t kl_hand_recover(kl_hand_table *table, kl_index_pool *pool, uint32_t dead, kl_alive_fn alive,
                        void *context, kl_hand_verdict_fn holds, void *structure) {
    int32_t count = 0;
    for (uint32_t slot = 0; slot < KL_HAND_SLOTS; slot++) {
        /* relaxed: who is found dead is known with all it did. */
        uint32_t owner =
            atomic_load_explicit(&kl_hand_of(table, slot)->owner, memory_order_relaxed);
        if (owner == 0 || owner == table->self) continue;
        if (dead != 0 ? owner == dead : !alive(context, owner))
            count += settle_all(table, pool, slot, owner, holds, structure);
    }
    return count;
}
