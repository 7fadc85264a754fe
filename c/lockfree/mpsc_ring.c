#include "lockfree/mpsc_ring.h"

#include <string.h>

#include "base/clock.h"
#include "base/layout_hash.h"
#include "sync/shared_object.h"

#define WORD_BYTES 8u

static_assert(KL_MPSC_RING_CAPACITY_MAX / 2 <= INT32_MAX, "a size fits the result of pop");
static_assert(KL_MPSC_RING_CAPACITY_MIN / 2 > KL_MPSC_RING_RECORD_BYTES, "one record fits");

static uint64_t padded(uint64_t bytes) {
    return (bytes + 7) & ~7ull;
}

static uint64_t word_of(uint64_t bytes, uint32_t state) {
    return (uint64_t)state << 32 | bytes;
}

static uint32_t state_of(uint64_t word) {
    return (uint32_t)(word >> 32);
}

/* What a record with this first word takes in the ring. */
static uint64_t footprint_of(uint64_t word) {
    return KL_MPSC_RING_RECORD_BYTES + padded((uint32_t)word);
}

static bool is_capacity(uint64_t bytes) {
    return bytes >= KL_MPSC_RING_CAPACITY_MIN && bytes <= KL_MPSC_RING_CAPACITY_MAX &&
           (bytes & (bytes - 1)) == 0;
}

/* The first word of the record at a position. */
static _Atomic uint64_t *record_at(const kl_mpsc_ring *ring, uint64_t position) {
    return (_Atomic uint64_t *)(void *)(ring->data + (position & ring->mask & ~7ull));
}

uint64_t kl_mpsc_ring_memory_bytes(uint64_t capacity_bytes) {
    return is_capacity(capacity_bytes) ? KL_MPSC_RING_HEADER_BYTES + capacity_bytes : 0;
}

int32_t kl_mpsc_ring_format(void *memory, uint64_t capacity_bytes) {
    if (!is_capacity(capacity_bytes))
        return kl_fail(KL_ERR_ARGUMENT,
                       "a ring of %llu bytes: the capacity is a power of two from %u to %llu",
                       (unsigned long long)capacity_bytes, KL_MPSC_RING_CAPACITY_MIN,
                       KL_MPSC_RING_CAPACITY_MAX);
    kl_mpsc_ring_header *header = memory;
    memset(memory, 0, KL_MPSC_RING_HEADER_BYTES + capacity_bytes);
    header->magic = KL_MPSC_RING_MAGIC;
    header->version = KL_MPSC_RING_VERSION;
    header->capacity_bytes = capacity_bytes;
    return KL_OK;
}

int32_t kl_mpsc_ring_grip(kl_mpsc_ring *ring, void *memory, uint64_t memory_bytes) {
    kl_mpsc_ring_header *header = memory;
    memset(ring, 0, sizeof *ring);
    if (memory_bytes < KL_MPSC_RING_HEADER_BYTES)
        return kl_fail(KL_ERR_CORRUPT, "%llu bytes cannot hold a ring",
                       (unsigned long long)memory_bytes);
    if (header->magic != KL_MPSC_RING_MAGIC)
        return kl_fail(KL_ERR_CORRUPT, "no ring here: magic 0x%08x", header->magic);
    if (header->version != KL_MPSC_RING_VERSION)
        return kl_fail(KL_ERR_VERSION, "ring version %u, this build knows %u", header->version,
                       KL_MPSC_RING_VERSION);
    uint64_t capacity_bytes = header->capacity_bytes; /* read once: memory may change under us */
    if (!is_capacity(capacity_bytes) || capacity_bytes > memory_bytes - KL_MPSC_RING_HEADER_BYTES)
        return kl_fail(KL_ERR_CORRUPT, "ring of %llu bytes in %llu bytes of memory",
                       (unsigned long long)capacity_bytes, (unsigned long long)memory_bytes);
    ring->header = header;
    ring->data = (uint8_t *)memory + KL_MPSC_RING_HEADER_BYTES;
    ring->mask = capacity_bytes - 1;
    /* acquire: partner is the release in free_up_to. */
    uint64_t limit = atomic_load_explicit(&header->limit, memory_order_acquire);
    /* relaxed: nobody else has this grip yet. */
    atomic_store_explicit(&ring->limit_seen, limit, memory_order_relaxed);
    return KL_OK;
}

static int32_t impossible(const char *what, uint64_t a, uint64_t b) {
    return kl_fail(KL_ERR_CORRUPT, "the ring's %s cannot be: %llu, %llu", what,
                   (unsigned long long)a, (unsigned long long)b);
}

/* ---- producers ---- */

static kl_mpsc_ring_intent *intent_of(kl_mpsc_ring *ring, uint32_t self) {
    return &ring->header->intents[(self & 0xffu) % KL_PARTICIPANTS];
}

int32_t kl_mpsc_ring_enlist_mp(kl_mpsc_ring *ring, uint32_t self) {
    if (self == 0 || self >= KL_MPSC_RING_READY || (self & 0xffu) >= KL_PARTICIPANTS)
        return kl_fail(KL_ERR_ARGUMENT, "0x%08x is no id of a thread", self);
    kl_mpsc_ring_intent *intent = intent_of(ring, self);
    /* relaxed, both: the intents that follow are releases; before them nothing hangs on the id. */
    atomic_store_explicit(&intent->position, 0, memory_order_relaxed);
    atomic_store_explicit(&intent->owner, self, memory_order_relaxed);
    return KL_OK;
}

/* Whether [tail, tail + wanted) is free: KL_OK; KL_ERR_AGAIN: it is not; 1: *tail was outdated and is
 * new now; KL_ERR_CORRUPT. */
static int32_t look_for_space(kl_mpsc_ring *ring, uint64_t *tail, uint64_t wanted) {
    uint64_t most = ring->mask + 1 - wanted, before = *tail;
    /* acquire: partner is the release below, of another thread; any limit ever read stays true. */
    uint64_t limit = atomic_load_explicit(&ring->limit_seen, memory_order_acquire);
    if (before - limit <= most) return KL_OK;
    /* acquire: partner is the release in free_up_to; what lies below is zero. */
    limit = atomic_load_explicit(&ring->header->limit, memory_order_acquire);
    /* release: partner is the acquire above. */
    atomic_store_explicit(&ring->limit_seen, limit, memory_order_release);
    if (before - limit <= most) return KL_OK;
    /* acquire: as in move_tail. Full is only said of a tail that did not move while limit was read. */
    *tail = atomic_load_explicit(&ring->header->tail, memory_order_acquire);
    if (*tail != before) return 1;
    if (before - limit > ring->mask + 1 || ((before | limit) & 7) != 0)
        return impossible("limit and tail", limit, before);
    return KL_ERR_AGAIN;
}

/* The thread will stamp nothing, or has. */
static void forget(kl_mpsc_ring_intent *intent) {
    /* release: partner is the acquire in may_be_stamped; whoever sees it sees the stamp. */
    atomic_store_explicit(&intent->position, 0, memory_order_release);
}

/* Moves tail over room for `taken` bytes in one piece. *position: where that is; *from: where the
 * claim begins, for there may be padding before. */
static int32_t move_tail(kl_mpsc_ring *ring, kl_mpsc_ring_intent *intent, uint64_t taken,
                         uint64_t *from, uint64_t *position) {
    /* acquire: partner is the release below: no limit older than the one that tail was moved by. */
    uint64_t tail = atomic_load_explicit(&ring->header->tail, memory_order_acquire);
    for (;;) { /* each turn: another producer moved tail */
        uint64_t until_end = ring->mask + 1 - (tail & ring->mask);
        uint64_t padding = taken > until_end ? until_end : 0;
        int32_t status = look_for_space(ring, &tail, padding + taken);
        if (status == 1) continue;
        if (status != KL_OK) {
            forget(intent);
            return status;
        }
        /* release: partner as in forget: what this thread stamped before is seen with it. */
        atomic_store_explicit(&intent->position, tail | KL_MPSC_RING_INTENT, memory_order_release);
        /* release: partner is the acquire in close_gap; whoever sees tail moved sees the intent.
         * acquire when it fails: as above. */
        if (atomic_compare_exchange_strong_explicit(&ring->header->tail, &tail,
                                                    tail + padding + taken, memory_order_release,
                                                    memory_order_acquire)) {
            *from = tail;
            *position = tail + padding;
            return KL_OK;
        }
    }
}

static void stamp(kl_mpsc_ring *ring, uint64_t position, uint64_t bytes, uint32_t state) {
    /* release: partner is the acquire in look_at; the record is whole. */
    atomic_store_explicit(record_at(ring, position), word_of(bytes, state), memory_order_release);
}

/* Room for `taken` bytes, the stamp and its padding written. */
static int32_t claim(kl_mpsc_ring *ring, uint32_t self, uint64_t taken, uint64_t *position) {
    uint64_t from;
    kl_mpsc_ring_intent *intent = intent_of(ring, self);
    int32_t status = move_tail(ring, intent, taken, &from, position);
    if (status != KL_OK) return status;
    stamp(ring, *position, taken - KL_MPSC_RING_RECORD_BYTES, self);
    /* Last: whoever passes the padding finds the stamp. */
    if (*position != from)
        stamp(ring, from, *position - from - KL_MPSC_RING_RECORD_BYTES, KL_MPSC_RING_PADDING);
    forget(intent);
    return KL_OK;
}

static int32_t never_fits(const kl_mpsc_ring *ring, uint64_t bytes) {
    return kl_fail(KL_ERR_ARGUMENT, "a record of %llu bytes: this ring holds at most %u",
                   (unsigned long long)bytes, kl_mpsc_ring_record_bytes_max(ring));
}

int32_t kl_mpsc_ring_claim_mp(kl_mpsc_ring *ring, uint32_t self, uint32_t bytes,
                              uint64_t *position) {
    if (bytes > kl_mpsc_ring_record_bytes_max(ring)) return never_fits(ring, bytes);
    return claim(ring, self, KL_MPSC_RING_RECORD_BYTES + padded(bytes), position);
}

/* The room of the claim of `self` at a position, header and all; 0: there is none. */
static uint64_t claimed(const kl_mpsc_ring *ring, uint32_t self, uint64_t position) {
    /* relaxed: it is this thread's own store, or it is none of its claims. */
    uint64_t word = atomic_load_explicit(record_at(ring, position), memory_order_relaxed);
    uint64_t until_end = ring->mask + 1 - (position & ring->mask);
    if (state_of(word) != self || footprint_of(word) > until_end || (position & 7) != 0) {
        kl_fail(KL_ERR_ARGUMENT, "no claim of this thread is at position %llu",
                (unsigned long long)position);
        return 0;
    }
    return footprint_of(word);
}

int32_t kl_mpsc_ring_commit_mp(kl_mpsc_ring *ring, uint32_t self, uint64_t position,
                               uint32_t bytes) {
    uint64_t room = claimed(ring, self, position);
    if (room == 0) return KL_ERR_ARGUMENT;
    uint64_t taken = KL_MPSC_RING_RECORD_BYTES + padded(bytes);
    if (taken > room)
        return kl_fail(KL_ERR_ARGUMENT, "%u bytes of a claim of %llu", bytes,
                       (unsigned long long)(room - KL_MPSC_RING_RECORD_BYTES));
    if (taken < room)
        stamp(ring, position + taken, room - taken - KL_MPSC_RING_RECORD_BYTES,
              KL_MPSC_RING_PADDING);
    stamp(ring, position, bytes, KL_MPSC_RING_READY);
    return KL_OK;
}

int32_t kl_mpsc_ring_abort_mp(kl_mpsc_ring *ring, uint32_t self, uint64_t position) {
    uint64_t room = claimed(ring, self, position);
    if (room == 0) return KL_ERR_ARGUMENT;
    stamp(ring, position, room - KL_MPSC_RING_RECORD_BYTES, KL_MPSC_RING_PADDING);
    return KL_OK;
}

int32_t kl_mpsc_ring_push_mp(kl_mpsc_ring *ring, uint32_t self, const void *data, uint32_t bytes) {
    uint64_t position;
    int32_t status = kl_mpsc_ring_claim_mp(ring, self, bytes, &position);
    if (status != KL_OK) return status;
    if (bytes > 0) memcpy(kl_mpsc_ring_at(ring, position), data, bytes);
    stamp(ring, position, bytes, KL_MPSC_RING_READY);
    return KL_OK;
}

/* How many records of the batch, from its start, take at most `most` bytes in the ring: *count,
 * *taken. KL_ERR_ARGUMENT when the first takes no room that the ring has, or ends outside. */
static int32_t measure(const kl_mpsc_ring *ring, const uint8_t *records, uint32_t bytes,
                       uint64_t most, uint32_t *count, uint64_t *taken) {
    uint64_t at = 0;
    *count = 0;
    *taken = 0;
    while (at < bytes && bytes - at >= 4) {
        uint32_t record_bytes;
        memcpy(&record_bytes, records + at, 4);
        bool is_outside = record_bytes > bytes - at - 4;
        if (is_outside || record_bytes > kl_mpsc_ring_record_bytes_max(ring)) {
            if (*count > 0) return KL_OK; /* the others first */
            return is_outside ? kl_fail(KL_ERR_ARGUMENT, "the batch ends within its first record")
                              : never_fits(ring, record_bytes);
        }
        uint64_t wanted = KL_MPSC_RING_RECORD_BYTES + padded(record_bytes);
        if (*taken + wanted > most) return KL_OK;
        *taken += wanted;
        at += 4 + (((uint64_t)record_bytes + 3) & ~3ull);
        ++*count;
    }
    return KL_OK;
}

int32_t kl_mpsc_ring_push_batch_mp(kl_mpsc_ring *ring, uint32_t self, const uint8_t *records,
                                   uint32_t bytes) {
    uint64_t most = (ring->mask + 1) / 2, taken, position;
    uint32_t count;
    for (;;) { /* each turn asks for half of the one before, or less */
        int32_t status = measure(ring, records, bytes, most, &count, &taken);
        if (status != KL_OK || count == 0) return status;
        status = claim(ring, self, taken, &position);
        if (status == KL_OK) break;
        if (status != KL_ERR_AGAIN) return status;
        if (count == 1) return 0;
        most = taken / 2;
        uint32_t first_bytes;
        memcpy(&first_bytes, records, 4);
        uint64_t first = KL_MPSC_RING_RECORD_BYTES + padded(first_bytes);
        if (most < first) most = first;
    }
    uint64_t at = position, from = 0;
    uint32_t first_bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t record_bytes;
        memcpy(&record_bytes, records + from, 4);
        if (record_bytes > 0) memcpy(kl_mpsc_ring_at(ring, at), records + from + 4, record_bytes);
        if (i == 0)
            first_bytes = record_bytes;
        else
            stamp(ring, at, record_bytes, KL_MPSC_RING_READY);
        at += KL_MPSC_RING_RECORD_BYTES + padded(record_bytes);
        from += 4 + (((uint64_t)record_bytes + 3) & ~3ull);
    }
    stamp(ring, position, first_bytes, KL_MPSC_RING_READY); /* publishes them all */
    return (int32_t)count;
}

/* ---- consumer ---- */

/* Gives [limit, head) back to the producers. The consumer's, or its successor's. */
static void free_up_to(kl_mpsc_ring *ring, uint64_t limit, uint64_t head) {
    uint64_t at = limit & ring->mask, bytes = head - limit, until_end = ring->mask + 1 - at;
    uint64_t first = bytes < until_end ? bytes : until_end;
    memset(ring->data + at, 0, first);
    if (bytes > first) memset(ring->data, 0, bytes - first);
    /* release: partner is the acquire in look_for_space; zeros before whoever claims the room. */
    atomic_store_explicit(&ring->header->limit, head, memory_order_release);
}

/* Steps over everything before `head`. */
static void step_to(kl_mpsc_ring *ring, uint64_t head) {
    uint64_t before = ring->head;
    ring->head = head;
    /* relaxed: read by a successor only. From here on they are consumed; the compiler must not make
     * their bytes zero before, for a successor would find the rest of them. */
    atomic_store_explicit(&ring->header->head, head, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    free_up_to(ring, before, head);
}

/* As a new consumer: the positions, and what the one before may have left half done. */
static int32_t settle(kl_mpsc_ring *ring) {
    /* relaxed, both: ordered by the acquire in take, or by how its owner was found dead. */
    uint64_t head = atomic_load_explicit(&ring->header->head, memory_order_relaxed);
    uint64_t limit = atomic_load_explicit(&ring->header->limit, memory_order_relaxed);
    if (head - limit > ring->mask + 1 || ((head | limit) & 7) != 0)
        return impossible("head and limit", head, limit);
    ring->head = head;
    if (limit != head) free_up_to(ring, limit, head);
    return KL_OK;
}

int32_t kl_mpsc_ring_take(kl_mpsc_ring *ring, uint32_t self, kl_mpsc_ring_alive is_alive,
                          void *context) {
    _Atomic uint32_t *word = &ring->header->consumer;
    /* relaxed: what it says is only used to replace it. */
    uint32_t owner = atomic_load_explicit(word, memory_order_relaxed), before = owner;
    while (owner != self) {
        if (owner != 0 && is_alive(context, owner))
            return kl_fail(KL_ERR_LOCKED, "the ring has a live consumer (slot %u of its region)",
                           owner & 0xffu);
        before = owner;
        /* acquire: partner is the release in give; exactly one replaces a dead owner. A failure
         * means that somebody else changed it, which is progress. */
        if (atomic_compare_exchange_strong_explicit(word, &owner, self, memory_order_acquire,
                                                    memory_order_relaxed))
            owner = self;
    }
    int32_t status = settle(ring);
    if (status != KL_OK) return status;
    return before == 0 || before == self ? KL_OK : KL_OWNER_DEAD;
}

void kl_mpsc_ring_give(kl_mpsc_ring *ring, uint32_t self) {
    /* release: partner is the acquire in take. Compare: only what is ours. */
    atomic_compare_exchange_strong_explicit(&ring->header->consumer, &self, 0, memory_order_release,
                                            memory_order_relaxed);
}

/* The record at *position or, behind padding (*position moves), before `end`: its bytes, or
 * KL_ERR_AGAIN, KL_ERR_LOCKED, KL_ERR_CORRUPT. */
static int32_t look_at(const kl_mpsc_ring *ring, uint64_t *position, uint64_t end) {
    while (end - *position - 1 <= ring->mask) {
        /* acquire: partner is the release in stamp. */
        uint64_t word = atomic_load_explicit(record_at(ring, *position), memory_order_acquire);
        uint32_t state = state_of(word);
        if (word == 0) {
            /* relaxed: it only tells empty from not stamped, and is read after the word. */
            uint64_t tail = atomic_load_explicit(&ring->header->tail, memory_order_relaxed);
            if (tail == *position) return KL_ERR_AGAIN;
            if (tail - *position > ring->mask + 1) return impossible("tail", *position, tail);
            return KL_ERR_LOCKED; /* claimed, not stamped */
        }
        if (state == 0 || footprint_of(word) > ring->mask + 1 - (*position & ring->mask))
            return kl_fail(KL_ERR_CORRUPT, "ring record at position %llu: header 0x%016llx",
                           (unsigned long long)*position, (unsigned long long)word);
        if (state == KL_MPSC_RING_READY) return (int32_t)(uint32_t)word;
        if (state < KL_MPSC_RING_READY) return KL_ERR_LOCKED;
        if (state != KL_MPSC_RING_PADDING)
            return kl_fail(KL_ERR_CORRUPT, "ring record at position %llu: state 0x%08x",
                           (unsigned long long)*position, state);
        *position += footprint_of(word);
    }
    return KL_ERR_AGAIN;
}

int32_t kl_mpsc_ring_peek_sc(kl_mpsc_ring *ring) {
    for (;;) { /* each turn steps over padding */
        uint64_t position = ring->head;
        int32_t bytes = look_at(ring, &position, ring->head + ring->mask + 1);
        if (position == ring->head) return bytes;
        step_to(ring, position);
        if (bytes >= 0) return bytes;
    }
}

int32_t kl_mpsc_ring_release_sc(kl_mpsc_ring *ring) {
    int32_t bytes = kl_mpsc_ring_peek_sc(ring);
    if (bytes < 0) return bytes;
    step_to(ring, ring->head + KL_MPSC_RING_RECORD_BYTES + padded((uint64_t)bytes));
    return KL_OK;
}

int32_t kl_mpsc_ring_pop_sc(kl_mpsc_ring *ring, void *out, uint32_t capacity) {
    int32_t bytes = kl_mpsc_ring_peek_sc(ring);
    if (bytes < 0) return bytes;
    if ((uint32_t)bytes > capacity)
        return kl_fail(KL_ERR_LIMIT, "a record of %d bytes for a buffer of %u", bytes, capacity);
    if (bytes > 0) memcpy(out, kl_mpsc_ring_at(ring, ring->head), (size_t)bytes);
    step_to(ring, ring->head + KL_MPSC_RING_RECORD_BYTES + padded((uint64_t)bytes));
    return bytes;
}

int32_t kl_mpsc_ring_pop_batch_sc(kl_mpsc_ring *ring, uint8_t *out, uint32_t capacity) {
    uint64_t at = 0, position = ring->head, done = position;
    int32_t count = 0, bytes;
    while ((bytes = look_at(ring, &position, ring->head + ring->mask + 1)) >= 0) {
        uint32_t record_bytes = (uint32_t)bytes;
        uint64_t taken = 4 + (((uint64_t)record_bytes + 3) & ~3ull);
        if (taken > capacity - at) break;
        memcpy(out + at, &record_bytes, 4);
        if (bytes > 0) memcpy(out + at + 4, kl_mpsc_ring_at(ring, position), record_bytes);
        done = position += KL_MPSC_RING_RECORD_BYTES + padded(record_bytes);
        at += taken;
        count++;
    }
    if (bytes == KL_ERR_AGAIN) done = position; /* and the padding behind them */
    if (done != ring->head) step_to(ring, done);
    if (count > 0 || bytes == KL_ERR_AGAIN || bytes == KL_ERR_LOCKED) return count;
    if (bytes >= 0)
        return kl_fail(KL_ERR_LIMIT, "a record of %d bytes for a batch of %u", bytes, capacity);
    return bytes;
}

/* ---- what a dead producer left ---- */

/* The first position from `from` on, up to `end`, whose word is not zero. */
static uint64_t next_stamp(const kl_mpsc_ring *ring, uint64_t from, uint64_t end) {
    for (; from != end; from += WORD_BYTES) { /* both multiples of 8, less than a ring apart */
        /* relaxed: ordered by the acquires in may_be_stamped; what is there is looked at later. */
        uint64_t word = atomic_load_explicit(record_at(ring, from), memory_order_relaxed);
        if (word != 0) break;
    }
    return from;
}

/* Whether a living thread may be about to stamp something in [head, end). */
static bool may_be_stamped(kl_mpsc_ring *ring, uint64_t head, uint64_t end,
                           kl_mpsc_ring_alive is_alive, void *context) {
    for (uint32_t slot = 0; slot < KL_PARTICIPANTS; slot++) {
        kl_mpsc_ring_intent *intent = &ring->header->intents[slot];
        /* acquire: partner is the release in forget and move_tail. With a position its thread's id,
         * or a later one's, is seen: relaxed. */
        uint64_t position = atomic_load_explicit(&intent->position, memory_order_acquire);
        uint32_t owner = atomic_load_explicit(&intent->owner, memory_order_relaxed);
        if (!(position & KL_MPSC_RING_INTENT)) continue;
        if ((position & ~7ull) - head < end - head && is_alive(context, owner)) return true;
    }
    return false;
}

/* The record at head has no stamp. */
static int32_t close_gap(kl_mpsc_ring *ring, kl_mpsc_ring_alive is_alive, void *context) {
    uint64_t head = ring->head;
    /* acquire: partner is the release in move_tail: the intents of all who moved it so far. */
    uint64_t tail = atomic_load_explicit(&ring->header->tail, memory_order_acquire);
    if (tail == head) return KL_ERR_AGAIN;
    if (tail - head > ring->mask + 1 || (tail & 7) != 0) return impossible("tail", head, tail);
    if (may_be_stamped(ring, head, tail, is_alive, context)) return KL_ERR_LOCKED;
    /* Whoever else claimed something up to tail has stamped it, or is dead. */
    uint64_t end = head + (ring->mask + 1 - (head & ring->mask));
    end = next_stamp(ring, head, tail - head < end - head ? tail : end);
    if (end == head) return KL_OK;
    uint64_t nothing = 0, bytes = end - head - KL_MPSC_RING_RECORD_BYTES;
    /* relaxed, both: nobody but the consumer reads padding. A failure: a stamp appeared. */
    atomic_compare_exchange_strong_explicit(record_at(ring, head), &nothing,
                                            word_of(bytes, KL_MPSC_RING_PADDING),
                                            memory_order_relaxed, memory_order_relaxed);
    return KL_OK;
}

int32_t kl_mpsc_ring_unblock_sc(kl_mpsc_ring *ring, kl_mpsc_ring_alive is_alive, void *context) {
    int32_t bytes = kl_mpsc_ring_peek_sc(ring);
    if (bytes >= 0) return KL_OK;
    if (bytes != KL_ERR_LOCKED) return bytes;
    /* relaxed: it only says whose it is. */
    uint64_t word = atomic_load_explicit(record_at(ring, ring->head), memory_order_relaxed);
    if (word == 0) return close_gap(ring, is_alive, context);
    uint32_t owner = state_of(word);
    if (owner >= KL_MPSC_RING_READY) return KL_OK; /* done meanwhile */
    if (is_alive(context, owner)) return KL_ERR_LOCKED;
    uint64_t padding =
        word_of(footprint_of(word) - KL_MPSC_RING_RECORD_BYTES, KL_MPSC_RING_PADDING);
    /* relaxed, both: as in close_gap. A failure: the owner was done before it died. */
    atomic_compare_exchange_strong_explicit(record_at(ring, ring->head), &word, padding,
                                            memory_order_relaxed, memory_order_relaxed);
    return KL_OK;
}

int32_t kl_mpsc_ring_verify(const kl_mpsc_ring *ring) {
    /* acquire, all: partners are the releases of whoever moved them. */
    uint64_t limit = atomic_load_explicit(&ring->header->limit, memory_order_acquire);
    uint64_t head = atomic_load_explicit(&ring->header->head, memory_order_acquire);
    uint64_t tail = atomic_load_explicit(&ring->header->tail, memory_order_acquire);
    uint64_t capacity = ring->mask + 1;
    if (((limit | head | tail) & 7) != 0 || head - limit > capacity || tail - limit > capacity ||
        head - limit > tail - limit)
        return impossible("head and tail", head, tail);
    while (head != tail) { /* at most capacity / 8 records */
        uint64_t before = head;
        int32_t bytes = look_at(ring, &head, tail);
        if (bytes == KL_ERR_CORRUPT) return bytes;
        /* relaxed: nobody writes meanwhile. */
        uint64_t word = atomic_load_explicit(record_at(ring, head), memory_order_relaxed);
        if (bytes == KL_ERR_LOCKED && word == 0) break; /* no stamp: what follows is unknown */
        if (bytes != KL_ERR_AGAIN) head += footprint_of(word);
        if (head - before > tail - before) return impossible("records", before, tail);
    }
    return next_stamp(ring, tail, limit + capacity) == limit + capacity
               ? KL_OK
               : kl_fail(KL_ERR_CORRUPT, "the ring's free room is not zero");
}

/* ---- behind a handle ---- */

/* How often a consumer that polls a record which is not done asks whether its producer lives. */
#define LOOK_NS (200 * KL_NS_PER_US)

typedef struct {
    kl_shared_object object;
    kl_mpsc_ring ring;
    uint32_t consumer;  /* the thread that has the side through this handle, or 0; by it only */
    uint64_t looked_ns; /* when that was; the consumer's */
} named_ring;

static int32_t format_named(void *memory, uint64_t memory_bytes, const void *options) {
    (void)memory_bytes;
    return kl_mpsc_ring_format(memory, *(const uint64_t *)options);
}

static int32_t grip_named(kl_shared_object *object, void *memory, uint64_t memory_bytes) {
    return kl_mpsc_ring_grip(&((named_ring *)object)->ring, memory, memory_bytes);
}

static void leave_named(kl_shared_object *object) {
    named_ring *named = (named_ring *)object;
    if (named->consumer != 0) kl_mpsc_ring_give(&named->ring, named->consumer);
}

static kl_event_count *event_of_named(kl_shared_object *object, uint32_t index) {
    kl_mpsc_ring_header *header = ((named_ring *)object)->ring.header;
    return index == 0 ? &header->data_event : index == 1 ? &header->space_event : NULL;
}

static bool thread_lives(void *region, uint32_t owner) {
    return kl_region_thread_alive(region, owner);
}

/* Makes sure that the calling thread has the consumer's side. */
static int32_t as_consumer(named_ring *named) {
    int32_t self = kl_shared_object_self(&named->object);
    if (self < 0 || __builtin_expect(named->consumer == (uint32_t)self, 1)) return self;
    int32_t status =
        kl_mpsc_ring_take(&named->ring, (uint32_t)self, thread_lives, named->object.region);
    if (status >= 0) named->consumer = (uint32_t)self;
    return status;
}

/* The calling thread's id, enlisted as a producer. */
static int32_t as_producer(named_ring *named) {
    int32_t self = kl_shared_object_self(&named->object);
    if (self < 0) return self;
    /* relaxed: it is this thread's own line, or it is not. */
    uint32_t enlisted =
        atomic_load_explicit(&intent_of(&named->ring, (uint32_t)self)->owner, memory_order_relaxed);
    if (__builtin_expect(enlisted == (uint32_t)self, 1)) return self;
    int32_t status = kl_mpsc_ring_enlist_mp(&named->ring, (uint32_t)self);
    return status < 0 ? status : self;
}

/* After a consumer's call that answered KL_ERR_LOCKED: whether another is worth it. */
static bool unblocks(named_ring *named, int32_t status, bool at_once) {
    if (status != KL_ERR_LOCKED) return false;
    uint64_t now = kl_clock_monotonic_ns();
    if (!at_once && now - named->looked_ns < LOOK_NS) return false;
    named->looked_ns = now;
    return kl_mpsc_ring_unblock_sc(&named->ring, thread_lives, named->object.region) == KL_OK;
}

static int32_t prepare_named(kl_shared_object *object, uint32_t what, uint32_t argument,
                             kl_event_count **event, uint32_t *key) {
    named_ring *named = (named_ring *)object;
    kl_mpsc_ring *ring = &named->ring;
    if (what == KL_MPSC_RING_DATA) {
        *event = &ring->header->data_event;
        *key = kl_event_count_prepare(*event);
        int32_t status = as_consumer(named);
        if (status < 0) return status;
        uint64_t before = ring->head;
        do {
            status = kl_mpsc_ring_peek_sc(ring);
        } while (unblocks(named, status, true));
        if (ring->head != before) kl_mpsc_ring_notify_space(ring); /* padding was stepped over */
        if (status >= 0) return 1;
        return status == KL_ERR_AGAIN || status == KL_ERR_LOCKED ? 0 : status;
    }
    if (what != KL_MPSC_RING_SPACE)
        return kl_fail(KL_ERR_ARGUMENT, "wait for %u of a ring: 1 (space) or 2 (data)", what);
    if (argument > kl_mpsc_ring_record_bytes_max(ring)) return never_fits(ring, argument);
    *event = &ring->header->space_event;
    *key = kl_event_count_prepare(*event);
    uint64_t taken = KL_MPSC_RING_RECORD_BYTES + padded(argument);
    for (;;) { /* each turn: tail moved */
        /* relaxed: an outdated one only makes it look again. */
        uint64_t tail = atomic_load_explicit(&ring->header->tail, memory_order_relaxed);
        uint64_t until_end = ring->mask + 1 - (tail & ring->mask);
        int32_t status = look_for_space(ring, &tail, taken > until_end ? until_end + taken : taken);
        if (status != 1) return status == KL_OK ? 1 : status == KL_ERR_AGAIN ? 0 : status;
    }
}

static const kl_shared_object_type NAMED = {.handle_kind = KL_HANDLE_MPSC_RING,
                                            .magic = KL_MPSC_RING_MAGIC,
                                            .layout_hash = KL_LAYOUT_HASH,
                                            .object_bytes = sizeof(named_ring),
                                            .noun = "ring",
                                            .format = format_named,
                                            .grip = grip_named,
                                            .leave = leave_named,
                                            .event = event_of_named,
                                            .prepare = prepare_named};

int32_t kl_mpsc_ring_create(const uint8_t *name, uint32_t name_bytes, double capacity_bytes,
                            uint8_t *out) {
    uint64_t capacity = capacity_bytes >= 0 && capacity_bytes <= (double)KL_MPSC_RING_CAPACITY_MAX
                            ? (uint64_t)capacity_bytes
                            : 0;
    if (!is_capacity(capacity)) return kl_mpsc_ring_format(NULL, capacity); /* says why */
    return kl_shared_object_create(&NAMED, name, name_bytes, kl_mpsc_ring_memory_bytes(capacity),
                                   &capacity, out);
}

int32_t kl_mpsc_ring_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out) {
    return kl_shared_object_attach(&NAMED, name, name_bytes, out);
}

int32_t kl_mpsc_ring_close(uint32_t ring) {
    return kl_shared_object_close(&NAMED, ring);
}

int32_t kl_mpsc_ring_remove(const uint8_t *name, uint32_t name_bytes) {
    return kl_shared_object_remove(&NAMED, name, name_bytes);
}

/* Enters, as consumer or as producer; *self is the thread's id. NULL: *status says why. */
static named_ring *enter_as(uint32_t handle, int32_t (*as)(named_ring *named), int32_t *status) {
    named_ring *named = kl_shared_object_enter(&NAMED, handle);
    *status = KL_ERR_HANDLE;
    if (!named) return NULL;
    *status = as(named);
    if (__builtin_expect(*status >= 0, 1)) return named;
    *status = kl_shared_object_leave(&named->object, handle, NULL, *status);
    return NULL;
}

static int32_t leave_producer(named_ring *named, uint32_t handle, bool notify, int32_t status) {
    return kl_shared_object_leave(&named->object, handle,
                                  notify ? &named->ring.header->data_event : NULL, status);
}

int32_t kl_mpsc_ring_push(uint32_t ring, const uint8_t *data, uint32_t bytes) {
    int32_t self;
    if (!data && bytes > 0) return kl_fail(KL_ERR_ARGUMENT, "a record of %u bytes at NULL", bytes);
    named_ring *named = enter_as(ring, as_producer, &self);
    if (!named) return self;
    int32_t status = kl_mpsc_ring_push_mp(&named->ring, (uint32_t)self, data, bytes);
    return leave_producer(named, ring, status == KL_OK, status);
}

int32_t kl_mpsc_ring_pop_at(uint32_t ring, uint8_t *out, uint32_t offset, uint32_t capacity) {
    return kl_mpsc_ring_pop(ring, out ? out + offset : NULL, out ? capacity : 0);
}

int32_t kl_mpsc_ring_push_many(uint32_t ring, const uint8_t *records, uint32_t bytes) {
    int32_t self;
    if (!records && bytes > 0) return kl_fail(KL_ERR_ARGUMENT, "%u bytes at NULL", bytes);
    named_ring *named = enter_as(ring, as_producer, &self);
    if (!named) return self;
    int32_t status = kl_mpsc_ring_push_batch_mp(&named->ring, (uint32_t)self, records, bytes);
    return leave_producer(named, ring, status > 0, status);
}

double kl_mpsc_ring_claim(uint32_t ring, uint32_t bytes) {
    int32_t self;
    uint64_t position = 0;
    named_ring *named = enter_as(ring, as_producer, &self);
    if (!named) return self;
    int32_t status = kl_mpsc_ring_claim_mp(&named->ring, (uint32_t)self, bytes, &position);
    status = leave_producer(named, ring, false, status);
    return status < 0 ? status : (double)(position & ((1ull << 53) - 1));
}

static uint64_t position_of(double position) {
    return position >= 0 && position < 9007199254740992.0 ? (uint64_t)position : 1; /* 1: none */
}

int32_t kl_mpsc_ring_commit(uint32_t ring, double position, const uint8_t *data, uint32_t bytes) {
    int32_t self;
    named_ring *named = enter_as(ring, as_producer, &self);
    if (!named) return self;
    uint64_t at = position_of(position), room = claimed(&named->ring, (uint32_t)self, at);
    int32_t status = room > 0 ? KL_OK : KL_ERR_ARGUMENT;
    if (status == KL_OK && data && bytes <= room - KL_MPSC_RING_RECORD_BYTES)
        memcpy(kl_mpsc_ring_at(&named->ring, at), data, bytes);
    if (status == KL_OK) status = kl_mpsc_ring_commit_mp(&named->ring, (uint32_t)self, at, bytes);
    return leave_producer(named, ring, status == KL_OK, status);
}

int32_t kl_mpsc_ring_abort(uint32_t ring, double position) {
    int32_t self;
    named_ring *named = enter_as(ring, as_producer, &self);
    if (!named) return self;
    int32_t status = kl_mpsc_ring_abort_mp(&named->ring, (uint32_t)self, position_of(position));
    return leave_producer(named, ring, status == KL_OK,
                          status); /* what is behind it may be ready */
}

/* `freed`: head moved, or may have. */
static int32_t leave_consumer(named_ring *named, uint32_t handle, bool freed, int32_t status) {
    if (status == KL_ERR_LOCKED) status = KL_ERR_AGAIN;
    return kl_shared_object_leave(&named->object, handle,
                                  freed ? &named->ring.header->space_event : NULL, status);
}

int32_t kl_mpsc_ring_pop(uint32_t ring, uint8_t *out, uint32_t capacity) {
    int32_t status;
    named_ring *named = enter_as(ring, as_consumer, &status);
    if (!named) return status;
    uint64_t before = named->ring.head;
    do {
        status = kl_mpsc_ring_pop_sc(&named->ring, out, out ? capacity : 0);
    } while (unblocks(named, status, false));
    return leave_consumer(named, ring, named->ring.head != before, status);
}

int32_t kl_mpsc_ring_pop_many(uint32_t ring, uint8_t *out, uint32_t capacity) {
    int32_t status;
    named_ring *named = enter_as(ring, as_consumer, &status);
    if (!named) return status;
    uint64_t before = named->ring.head;
    do {
        status = kl_mpsc_ring_peek_sc(&named->ring);
    } while (unblocks(named, status, false));
    if (status == KL_ERR_AGAIN || status == KL_ERR_LOCKED)
        status = 0;
    else if (status >= 0)
        status = kl_mpsc_ring_pop_batch_sc(&named->ring, out, out ? capacity : 0);
    return leave_consumer(named, ring, named->ring.head != before, status);
}

int32_t kl_mpsc_ring_peek(uint32_t ring) {
    int32_t status;
    named_ring *named = enter_as(ring, as_consumer, &status);
    if (!named) return status;
    uint64_t before = named->ring.head;
    do {
        status = kl_mpsc_ring_peek_sc(&named->ring);
    } while (unblocks(named, status, false));
    return leave_consumer(named, ring, named->ring.head != before, status);
}

int32_t kl_mpsc_ring_peek_copy(uint32_t ring, uint8_t *out, uint32_t capacity) {
    int32_t status;
    named_ring *named = enter_as(ring, as_consumer, &status);
    if (!named) return status;
    uint64_t before = named->ring.head;
    status = kl_mpsc_ring_peek_sc(&named->ring);
    if (status > 0 && (!out || (uint32_t)status > capacity))
        status = kl_fail(KL_ERR_LIMIT, "a record of %d bytes for %u", status, capacity);
    if (status > 0) memcpy(out, kl_mpsc_ring_at(&named->ring, named->ring.head), (size_t)status);
    return leave_consumer(named, ring, named->ring.head != before, status);
}

int32_t kl_mpsc_ring_release(uint32_t ring) {
    int32_t status;
    named_ring *named = enter_as(ring, as_consumer, &status);
    if (!named) return status;
    return leave_consumer(named, ring, true, kl_mpsc_ring_release_sc(&named->ring));
}

double kl_mpsc_ring_position(uint32_t ring) {
    int32_t status;
    named_ring *named = enter_as(ring, as_consumer, &status);
    if (!named) return status;
    uint64_t head = named->ring.head & ((1ull << 53) - 1);
    status = leave_consumer(named, ring, false, KL_OK);
    return status < 0 ? status : (double)head;
}

double kl_mpsc_ring_used_bytes(uint32_t ring) {
    named_ring *named = kl_shared_object_enter(&NAMED, ring);
    if (!named) return KL_ERR_HANDLE;
    kl_mpsc_ring_header *header = named->ring.header;
    /* acquire, both: partners are the releases of whoever moved them. Head first: never below 0. */
    uint64_t head = atomic_load_explicit(&header->head, memory_order_acquire);
    uint64_t used = atomic_load_explicit(&header->tail, memory_order_acquire) - head;
    if (used > named->ring.mask + 1) used = named->ring.mask + 1; /* head moved meanwhile */
    int32_t status = kl_shared_object_leave(&named->object, ring, NULL, KL_OK);
    return status < 0 ? status : (double)used;
}

double kl_mpsc_ring_capacity_bytes(uint32_t ring) {
    named_ring *named = kl_shared_object_enter(&NAMED, ring);
    if (!named) return KL_ERR_HANDLE;
    uint64_t capacity = named->ring.mask + 1;
    int32_t status = kl_shared_object_leave(&named->object, ring, NULL, KL_OK);
    return status < 0 ? status : (double)capacity;
}

int32_t kl_mpsc_ring_address(uint32_t ring, uint8_t *out) {
    if (!out) return kl_fail(KL_ERR_ARGUMENT, "no place for the address");
    named_ring *named = kl_shared_object_enter(&NAMED, ring);
    if (!named) return KL_ERR_HANDLE;
    uint64_t address = (uint64_t)(uintptr_t)named->ring.data;
    memcpy(out, &address, sizeof address);
    return kl_shared_object_leave(&named->object, ring, NULL, KL_OK);
}

int32_t kl_mpsc_ring_check(uint32_t ring) {
    named_ring *named = kl_shared_object_enter(&NAMED, ring);
    if (!named) return KL_ERR_HANDLE;
    return kl_shared_object_leave(&named->object, ring, NULL, kl_mpsc_ring_verify(&named->ring));
}
