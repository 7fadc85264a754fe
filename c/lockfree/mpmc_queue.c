#include "lockfree/mpmc_queue.h"

#include <string.h>

#include "base/clock.h"
#include "base/layout_hash.h"
#include "sync/shared_object.h"

#define POSITION_BITS 48u
#define POSITION_MASK ((1ull << POSITION_BITS) - 1)
#define RETURN_STEP   (1ull << POSITION_BITS) /* of head: counts what moved it back */
#define ROUND_BITS    31u
#define OWNER_MASK    0x7fffffffull

enum slot_state { FREE = 0, CLAIMED = 1, READY = 2, TAKEN = 3 };

#define NO_OWNER   0u
#define NO_ELEMENT 1u /* owner of a READY slot: its producer died, there is nothing in it */

static_assert(KL_MPMC_QUEUE_CAPACITY_MAX <= 1u << 24, "a round has at least 24 bits");

static uint64_t word_of(uint64_t round, uint64_t owner, enum slot_state state) {
    return round << 33 | (owner & OWNER_MASK) << 2 | (uint64_t)state;
}

static enum slot_state state_of(uint64_t word) {
    return (enum slot_state)(word & 3);
}

static uint32_t owner_of(uint64_t word) {
    return (uint32_t)(word >> 2 & OWNER_MASK);
}

static uint64_t round_of(uint64_t word) {
    return word >> 33;
}

static uint64_t round_at(const kl_mpmc_queue *queue, uint64_t position) {
    return position >> queue->shift & queue->round_mask;
}

/* How far `to` lies ahead of `from`: < 0, behind. */
static int64_t distance(uint64_t from, uint64_t to) {
    return (int64_t)((to - from) << (64 - POSITION_BITS)) >> (64 - POSITION_BITS);
}

static _Atomic uint64_t *slot_at(const kl_mpmc_queue *queue, uint64_t position) {
    uint64_t at = (position & queue->mask) * queue->slot_bytes;
    return (_Atomic uint64_t *)(void *)(queue->slots + at);
}

static uint8_t *element_at(const kl_mpmc_queue *queue, uint64_t position) {
    return (uint8_t *)(void *)slot_at(queue, position) + 8;
}

static uint32_t slot_bytes_for(uint32_t element_bytes) {
    return (8 + element_bytes + 15) & ~15u;
}

static bool is_geometry(uint32_t capacity, uint32_t element_bytes, uint32_t mode) {
    return capacity >= KL_MPMC_QUEUE_CAPACITY_MIN && capacity <= KL_MPMC_QUEUE_CAPACITY_MAX &&
           (capacity & (capacity - 1)) == 0 && element_bytes >= 1 &&
           element_bytes <= KL_MPMC_QUEUE_ELEMENT_BYTES_MAX &&
           mode <= (KL_MPMC_QUEUE_DROPS | KL_MPMC_QUEUE_SIZED);
}

uint64_t kl_mpmc_queue_memory_bytes(const kl_mpmc_queue_geometry *geometry) {
    if (is_geometry(geometry->capacity, geometry->element_bytes, geometry->mode))
        return KL_MPMC_QUEUE_HEADER_BYTES +
               (uint64_t)geometry->capacity * slot_bytes_for(geometry->element_bytes);
    kl_fail(KL_ERR_ARGUMENT,
            "a queue of %u elements of %u bytes, mode %u: the capacity is a power of two from %u "
            "to %u, an element 1 to %u bytes, the mode 0 to 3",
            geometry->capacity, geometry->element_bytes, geometry->mode, KL_MPMC_QUEUE_CAPACITY_MIN,
            KL_MPMC_QUEUE_CAPACITY_MAX, KL_MPMC_QUEUE_ELEMENT_BYTES_MAX);
    return 0;
}

int32_t kl_mpmc_queue_format(void *memory, const kl_mpmc_queue_geometry *geometry) {
    uint64_t bytes = kl_mpmc_queue_memory_bytes(geometry);
    if (bytes == 0) return KL_ERR_ARGUMENT;
    kl_mpmc_queue_header *header = memory;
    memset(memory, 0, bytes); /* every slot FREE in round 0 */
    header->magic = KL_MPMC_QUEUE_MAGIC;
    header->version = KL_MPMC_QUEUE_VERSION;
    header->element_bytes = geometry->element_bytes;
    header->slot_bytes = slot_bytes_for(geometry->element_bytes);
    header->capacity = geometry->capacity;
    header->mode = geometry->mode;
    return KL_OK;
}

int32_t kl_mpmc_queue_grip(kl_mpmc_queue *queue, void *memory, uint64_t memory_bytes) {
    kl_mpmc_queue_header *header = memory;
    memset(queue, 0, sizeof *queue);
    if (memory_bytes < KL_MPMC_QUEUE_HEADER_BYTES)
        return kl_fail(KL_ERR_CORRUPT, "%llu bytes cannot hold a queue",
                       (unsigned long long)memory_bytes);
    if (header->magic != KL_MPMC_QUEUE_MAGIC)
        return kl_fail(KL_ERR_CORRUPT, "no queue here: magic 0x%08x", header->magic);
    if (header->version != KL_MPMC_QUEUE_VERSION)
        return kl_fail(KL_ERR_VERSION, "queue version %u, this build knows %u", header->version,
                       KL_MPMC_QUEUE_VERSION);
    /* Read once: memory may change under us. */
    uint32_t capacity = header->capacity, element_bytes = header->element_bytes;
    uint32_t mode = header->mode, slot_bytes = header->slot_bytes;
    if (!is_geometry(capacity, element_bytes, mode) ||
        slot_bytes != slot_bytes_for(element_bytes) ||
        (uint64_t)capacity * slot_bytes > memory_bytes - KL_MPMC_QUEUE_HEADER_BYTES)
        return kl_fail(KL_ERR_CORRUPT,
                       "queue of %u elements of %u bytes in slots of %u, in %llu bytes of memory",
                       capacity, element_bytes, slot_bytes, (unsigned long long)memory_bytes);
    uint32_t shift = (uint32_t)__builtin_ctz(capacity);
    uint32_t round_bits = POSITION_BITS - shift < ROUND_BITS ? POSITION_BITS - shift : ROUND_BITS;
    *queue = (kl_mpmc_queue){.header = header,
                             .slots = (uint8_t *)memory + KL_MPMC_QUEUE_HEADER_BYTES,
                             .mask = capacity - 1,
                             .round_mask = (1ull << round_bits) - 1,
                             .shift = shift,
                             .element_bytes = element_bytes,
                             .slot_bytes = slot_bytes,
                             .mode = mode};
    return KL_OK;
}

/* acquire: partner is the release of whoever moved it there. */
static uint64_t load(const _Atomic uint64_t *word) {
    return atomic_load_explicit(word, memory_order_acquire);
}

static bool replace(_Atomic uint64_t *word, uint64_t *before, uint64_t after) {
    /* release: partner is load(), through which everybody read what they replace. relaxed: what is
     * found instead only decides what to look at next. */
    return atomic_compare_exchange_strong_explicit(word, before, after, memory_order_release,
                                                   memory_order_relaxed);
}

/* Copies with the size known to the compiler where it is the usual one. */
static void copy(const kl_mpmc_queue *queue, void *to, const void *from) {
    if (queue->element_bytes == 8)
        memcpy(to, from, 8);
    else
        memcpy(to, from, queue->element_bytes);
}

static int32_t blocked_by(uint64_t word, uint32_t *blocker) {
    if (blocker) *blocker = owner_of(word);
    return KL_ERR_LOCKED;
}

static int32_t strange(const char *end, uint64_t position, uint64_t word) {
    return kl_fail(KL_ERR_CORRUPT, "the queue's %s is %llu, its slot 0x%016llx cannot be", end,
                   (unsigned long long)position, (unsigned long long)word);
}

/* ---- push ---- */

/* Moves tail on to `to` unless it is there already. */
static void move_tail(kl_mpmc_queue *queue, uint64_t from, uint64_t to) {
    uint64_t tail = from;
    while (!replace(&queue->header->tail, &tail, to & POSITION_MASK))
        if (distance(tail, to) <= 0) return; /* else: others moved it part of the way */
}

/* What is to be done at a slot that is not free for `position`: 1: look at tail again. */
static int32_t no_room(kl_mpmc_queue *queue, uint64_t position, uint64_t word, uint32_t *blocker) {
    uint64_t round = round_at(queue, position), tail = position;
    uint64_t behind = (round - round_of(word)) & queue->round_mask;
    if (load(&queue->header->tail) != position) return 1;
    if (behind == 0 ||
        behind == queue->round_mask) { /* claimed by another, who did not move tail */
        replace(&queue->header->tail, &tail, (position + 1) & POSITION_MASK);
        return 1;
    }
    if (behind != 1 || state_of(word) == FREE) return strange("tail", position, word);
    if (state_of(word) != READY) return blocked_by(word, blocker);
    if (owner_of(word) != NO_ELEMENT) return KL_ERR_AGAIN;
    replace(slot_at(queue, position), &word, word_of(round, NO_OWNER, FREE));
    return 1;
}

/* Claims the slot at `position`, whose predecessor is claimed. false: *word is what it is instead. */
static bool claim(kl_mpmc_queue *queue, uint32_t self, uint64_t position, uint64_t *word) {
    uint64_t round = round_at(queue, position);
    _Atomic uint64_t *slot = slot_at(queue, position);
    *word = load(slot);
    return *word == word_of(round, NO_OWNER, FREE) &&
           replace(slot, word, word_of(round, self, CLAIMED));
}

static void publish(kl_mpmc_queue *queue, uint64_t position, const void *element) {
    copy(queue, element_at(queue, position), element);
    /* release: partner is load() in pop; the element is whole. Only its owner, or a recovery after
     * its death, changes a claimed slot. */
    atomic_store_explicit(slot_at(queue, position),
                          word_of(round_at(queue, position), NO_OWNER, READY),
                          memory_order_release);
}

int32_t kl_mpmc_queue_push_mp(kl_mpmc_queue *queue, uint32_t self, const void *element,
                              uint32_t *blocker) {
    for (;;) { /* each turn: another producer claimed this slot */
        uint64_t tail = load(&queue->header->tail), word = 0;
        if (tail > POSITION_MASK) return strange("tail", tail, 0);
        if (claim(queue, self, tail, &word)) {
            move_tail(queue, tail, tail + 1);
            publish(queue, tail, element);
            return KL_OK;
        }
        int32_t status = no_room(queue, tail, word, blocker);
        if (status != 1) return status;
    }
}

int32_t kl_mpmc_queue_push_batch_mp(kl_mpmc_queue *queue, uint32_t self, const void *elements,
                                    uint32_t count, uint32_t *blocker) {
    const uint8_t *element = elements;
    uint32_t done = 0;
    while (done < count) {
        uint64_t tail = load(&queue->header->tail), word = 0;
        if (tail > POSITION_MASK) return strange("tail", tail, 0);
        uint32_t claims = 0;
        while (claims < count - done && claims < KL_MPMC_QUEUE_BATCH_MAX &&
               claim(queue, self, tail + claims, &word))
            claims++;
        if (claims == 0) {
            int32_t status = no_room(queue, tail, word, blocker);
            if (status == 1) continue;
            return done > 0 && status != KL_ERR_CORRUPT ? (int32_t)done : status;
        }
        move_tail(queue, tail, tail + claims);
        for (uint32_t i = 0; i < claims; i++, element += queue->element_bytes)
            publish(queue, tail + i, element);
        done += claims;
    }
    return (int32_t)done;
}

/* ---- pop ---- */

static uint64_t moved(uint64_t head, uint64_t positions) {
    return (head & ~POSITION_MASK) | ((head + positions) & POSITION_MASK);
}

/* Moves head over `positions` more slots unless it is there already. *from is what it was; no later
 * than a recovery, which makes an older value of head useless. */
static void move_head(kl_mpmc_queue *queue, uint64_t from, uint64_t positions) {
    uint64_t head = from, to = moved(from, positions);
    while (!replace(&queue->header->head, &head, to))
        if ((head ^ from) >> POSITION_BITS != 0 || distance(head, to) <= 0) return;
}

/* Takes the slot at a position. 1: taken; 0: *word says why not. */
static bool take(kl_mpmc_queue *queue, uint32_t self, uint64_t position, uint64_t *word) {
    uint64_t round = round_at(queue, position);
    _Atomic uint64_t *slot = slot_at(queue, position);
    *word = load(slot);
    return *word == word_of(round, NO_OWNER, READY) &&
           replace(slot, word, word_of(round, self, TAKEN));
}

static void release(kl_mpmc_queue *queue, uint64_t position, void *element) {
    copy(queue, element, element_at(queue, position));
    uint64_t next = (round_at(queue, position) + 1) & queue->round_mask;
    /* release: partner is load() in push; the element was read before. Only its owner, or a
     * recovery after its death, changes a taken slot. */
    atomic_store_explicit(slot_at(queue, position), word_of(next, NO_OWNER, FREE),
                          memory_order_release);
}

/* What is to be done at a slot that cannot be taken for `head`: 1: look at head again. */
static int32_t nothing_there(kl_mpmc_queue *queue, uint64_t head, uint64_t word,
                             uint32_t *blocker) {
    uint64_t position = head & POSITION_MASK, round = round_at(queue, position);
    uint64_t ahead = (round_of(word) - round) & queue->round_mask;
    enum slot_state state = state_of(word);
    if (ahead == 0 && state == FREE) return KL_ERR_AGAIN;
    if (ahead == 0 && state == CLAIMED) return blocked_by(word, blocker);
    if (load(&queue->header->head) != head) return 1;
    if (ahead == queue->round_mask)
        return KL_ERR_AGAIN; /* of the round before: not claimed since */
    if (ahead > 1) return strange("head", position, word);
    if (ahead == 0 && state == READY) { /* its producer died */
        uint64_t next = (round + 1) & queue->round_mask;
        if (owner_of(word) != NO_ELEMENT) return strange("head", position, word);
        replace(slot_at(queue, position), &word, word_of(next, NO_OWNER, FREE));
    }
    move_head(queue, head, 1);
    return 1;
}

int32_t kl_mpmc_queue_pop_mc(kl_mpmc_queue *queue, uint32_t self, void *element,
                             uint32_t *blocker) {
    for (;;) { /* each turn: another consumer took this slot, or it has no element */
        uint64_t head = load(&queue->header->head), word = 0;
        if (take(queue, self, head & POSITION_MASK, &word)) {
            move_head(queue, head, 1);
            release(queue, head & POSITION_MASK, element);
            return KL_OK;
        }
        int32_t status = nothing_there(queue, head, word, blocker);
        if (status != 1) return status;
    }
}

int32_t kl_mpmc_queue_pop_batch_mc(kl_mpmc_queue *queue, uint32_t self, void *elements,
                                   uint32_t count, uint32_t *blocker) {
    uint8_t *element = elements;
    uint32_t done = 0;
    while (done < count) {
        uint64_t head = load(&queue->header->head), position = head & POSITION_MASK, word = 0;
        uint32_t takes = 0;
        while (takes < count - done && takes < KL_MPMC_QUEUE_BATCH_MAX &&
               take(queue, self, position + takes, &word))
            takes++;
        if (takes == 0) {
            int32_t status = nothing_there(queue, head, word, blocker);
            if (status == 1) continue;
            return done > 0 && status != KL_ERR_CORRUPT ? (int32_t)done : status;
        }
        move_head(queue, head, takes);
        for (uint32_t i = 0; i < takes; i++, element += queue->element_bytes)
            release(queue, position + i, element);
        done += takes;
    }
    return (int32_t)done;
}

/* ---- recovery, size, verify ---- */

/* The position, near `head`, of a slot with this word. */
static uint64_t position_of(const kl_mpmc_queue *queue, uint64_t head, uint64_t index,
                            uint64_t word) {
    uint64_t rounds = (round_of(word) - round_at(queue, head)) & queue->round_mask;
    if (rounds > queue->round_mask / 2) rounds |= ~queue->round_mask; /* behind */
    return ((((head & POSITION_MASK) >> queue->shift) + rounds) << queue->shift | index) &
           POSITION_MASK;
}

/* Makes every value of head that somebody read before useless, and moves it back to `lowest`
 * unless it is further back. Never makes `returns` 0, which means that nothing was recovered yet. */
static void renew_head(kl_mpmc_queue *queue, bool back, uint64_t lowest) {
    uint64_t head = load(&queue->header->head), to;
    do {
        to = head + RETURN_STEP;
        if (to >> POSITION_BITS == 0) to += RETURN_STEP;
        if (back && distance(head, lowest) < 0) to = (to & ~POSITION_MASK) | lowest;
    } while (!replace(&queue->header->head, &head, to));
}

/* What a word of `dead` becomes. */
static uint64_t recovered(const kl_mpmc_queue *queue, uint64_t word) {
    uint64_t round = round_of(word);
    if (state_of(word) == CLAIMED) return word_of(round, NO_ELEMENT, READY);
    if (!(queue->mode & KL_MPMC_QUEUE_DROPS)) return word_of(round, NO_OWNER, READY);
    return word_of((round + 1) & queue->round_mask, NO_OWNER, FREE);
}

int32_t kl_mpmc_queue_recover(kl_mpmc_queue *queue, uint32_t dead) {
    if (dead == 0 || dead > OWNER_MASK)
        return kl_fail(KL_ERR_ARGUMENT, "0x%08x is no id of a participant", dead);
    /* First: who read head before an earlier recovery that died must not pass what it returned. */
    renew_head(queue, false, 0);
    uint64_t head = load(&queue->header->head), lowest = 0;
    bool back = false;
    int32_t count = 0;
    for (uint64_t index = 0; index <= queue->mask; index++) {
        uint64_t word = load(slot_at(queue, index));
        bool is_theirs =
            owner_of(word) == dead && (state_of(word) == CLAIMED || state_of(word) == TAKEN);
        if (is_theirs) {
            uint64_t after = recovered(queue, word);
            if (!replace(slot_at(queue, index), &word, after)) continue; /* another recovery */
            word = after;
            count++;
        }
        /* An element at or behind head that was returned, here or by a recovery that died. */
        if (state_of(word) != READY || owner_of(word) == NO_ELEMENT) continue;
        uint64_t position = position_of(queue, head, index, word);
        if (!is_theirs && distance(head, position) >= 0) continue;
        if (!back || distance(lowest, position) < 0) lowest = position;
        back = true;
    }
    if (back) renew_head(queue, true, lowest);
    return count;
}

uint32_t kl_mpmc_queue_size(const kl_mpmc_queue *queue) {
    uint64_t head = load(&queue->header->head), tail = load(&queue->header->tail);
    int64_t between = distance(head, tail);
    if (head >> POSITION_BITS == 0) /* nothing was ever recovered */
        return between < 0                       ? 0
               : (uint64_t)between > queue->mask ? (uint32_t)queue->mask + 1
                                                 : (uint32_t)between;
    uint32_t count = 0;
    for (uint64_t index = 0; index <= queue->mask; index++) {
        uint64_t word = load(slot_at(queue, index));
        count += state_of(word) == READY && owner_of(word) != NO_ELEMENT;
    }
    return count;
}

int32_t kl_mpmc_queue_verify(const kl_mpmc_queue *queue) {
    uint64_t head = load(&queue->header->head), tail = load(&queue->header->tail);
    /* Tail is behind by what a dead producer claimed in its last call; the next push moves it on. */
    int64_t between = distance(head, tail), capacity = (int64_t)queue->mask + 1;
    int64_t behind = KL_MPMC_QUEUE_BATCH_MAX;
    if (tail > POSITION_MASK || between < -behind || between > 2 * capacity)
        return kl_fail(KL_ERR_CORRUPT, "the queue's head is %llu, its tail %llu",
                       (unsigned long long)(head & POSITION_MASK), (unsigned long long)tail);
    for (uint64_t index = 0; index <= queue->mask; index++) {
        uint64_t word = load(slot_at(queue, index));
        uint64_t position = position_of(queue, head, index, word);
        int64_t to_tail = distance(position, tail);
        bool is_free = state_of(word) == FREE && owner_of(word) == NO_OWNER;
        /* A free slot waits for tail; any other was passed by it, less than a round ago. */
        bool fits = is_free ? to_tail <= 0 && to_tail >= -capacity - behind
                            : to_tail >= -behind && to_tail <= capacity;
        if (!fits) return strange("tail", tail, word);
    }
    return KL_OK;
}

/* ---- behind a handle ---- */

/* How often a caller who is held up, and one who finds nothing, looks whether processes died. */
#define LOOK_NS (200 * KL_NS_PER_US)
#define REAP_NS (100 * KL_NS_PER_MS)

typedef struct {
    kl_shared_object object;
    kl_mpmc_queue queue;
    _Atomic uint64_t looked_ns, reaped_ns; /* when that was; any thread */
} named_queue;

static int32_t format_named(void *memory, uint64_t memory_bytes, const void *options) {
    (void)memory_bytes;
    return kl_mpmc_queue_format(memory, options);
}

static void recover_in(named_queue *named, uint32_t dead) {
    if (kl_mpmc_queue_recover(&named->queue, dead) <= 0) return;
    kl_mpmc_queue_notify_data(&named->queue);
    kl_mpmc_queue_notify_space(&named->queue);
}

static int32_t on_death(void *argument, kl_region *region, uint32_t participant) {
    (void)region;
    recover_in(argument, participant);
    return KL_OK;
}

static int32_t grip_named(kl_shared_object *object, void *memory, uint64_t memory_bytes) {
    named_queue *named = (named_queue *)object;
    int32_t status = kl_mpmc_queue_grip(&named->queue, memory, memory_bytes);
    uint32_t mode = named->queue.mode, bytes = named->queue.element_bytes;
    if (status == KL_OK && !(mode & KL_MPMC_QUEUE_SIZED) && bytes != 8)
        status = kl_fail(KL_ERR_CORRUPT, "a queue of numbers of %u bytes", bytes);
    if (status == KL_OK && (mode & KL_MPMC_QUEUE_SIZED) && bytes <= KL_MPMC_QUEUE_SIZE_BYTES)
        status = kl_fail(KL_ERR_CORRUPT, "a queue of records of %u bytes", bytes);
    return status == KL_OK ? kl_region_on_death(object->region, on_death, named) : status;
}

static kl_event_count *event_of_named(kl_shared_object *object, uint32_t index) {
    kl_mpmc_queue_header *header = ((named_queue *)object)->queue.header;
    return index == 0 ? &header->data_event : index == 1 ? &header->space_event : NULL;
}

/* Whether `every` ns have passed since *last, and nobody else saw that first. */
static bool is_time(_Atomic uint64_t *last, uint64_t every) {
    uint64_t now = kl_clock_monotonic_ns();
    /* relaxed, both: it only decides who looks. */
    uint64_t before = atomic_load_explicit(last, memory_order_relaxed);
    if (now - before < every) return false;
    return atomic_compare_exchange_strong_explicit(last, &before, now, memory_order_relaxed,
                                                   memory_order_relaxed);
}

/* After a call that answered `status`: whether a death was the reason, so that it is worth another. */
static bool mends(named_queue *named, int32_t status, uint32_t blocker) {
    if (status == KL_ERR_LOCKED) {
        if (blocker == kl_region_self(named->object.region))
            return false; /* another thread of ours */
        if (!is_time(&named->looked_ns, LOOK_NS)) return false;
        if (kl_region_alive(named->object.region, blocker)) return false;
        recover_in(named, blocker);
        return true;
    }
    return status == KL_ERR_AGAIN && is_time(&named->reaped_ns, REAP_NS) &&
           kl_region_reap(named->object.region) > 0;
}

/* Who waits looks more often than who calls: it is about to sleep. */
static int32_t prepare_named(kl_shared_object *object, uint32_t what, uint32_t argument,
                             kl_event_count **event, uint32_t *key) {
    named_queue *named = (named_queue *)object;
    kl_mpmc_queue *queue = &named->queue;
    (void)argument;
    if (what != KL_MPMC_QUEUE_SPACE && what != KL_MPMC_QUEUE_DATA)
        return kl_fail(KL_ERR_ARGUMENT, "wait for %u of a queue: 1 (space) or 2 (data)", what);
    *event = what == KL_MPMC_QUEUE_DATA ? &queue->header->data_event : &queue->header->space_event;
    *key = kl_event_count_prepare(*event);
    for (;;) { /* once more after a death */
        uint64_t at =
            load(what == KL_MPMC_QUEUE_DATA ? &queue->header->head : &queue->header->tail);
        uint64_t word = load(slot_at(queue, at)), round = round_at(queue, at & POSITION_MASK);
        bool can = what == KL_MPMC_QUEUE_DATA ? word == word_of(round, NO_OWNER, READY)
                                              : word == word_of(round, NO_OWNER, FREE);
        /* Behind a slot that is past, or without element, something may be: try. */
        uint64_t ahead = (round_of(word) - round) & queue->round_mask;
        bool is_past = ahead != 0 && ahead <= queue->round_mask / 2;
        bool is_done = ahead == 0 && (what == KL_MPMC_QUEUE_DATA
                                          ? state_of(word) == TAKEN || state_of(word) == READY
                                          : state_of(word) != FREE);
        if (can || is_past || is_done) return 1;
        uint32_t owner = owner_of(word);
        bool is_held = state_of(word) == CLAIMED || state_of(word) == TAKEN;
        if (!mends(named, is_held ? KL_ERR_LOCKED : KL_ERR_AGAIN, owner)) return 0;
    }
}

static const kl_shared_object_type NAMED = {.handle_kind = KL_HANDLE_MPMC_QUEUE,
                                            .magic = KL_MPMC_QUEUE_MAGIC,
                                            .layout_hash = KL_LAYOUT_HASH,
                                            .object_bytes = sizeof(named_queue),
                                            .noun = "queue",
                                            .format = format_named,
                                            .grip = grip_named,
                                            .event = event_of_named,
                                            .prepare = prepare_named};

int32_t kl_mpmc_queue_create(const uint8_t *name, uint32_t name_bytes, uint32_t capacity,
                             uint32_t record_bytes_max, uint32_t drops, uint8_t *out) {
    kl_mpmc_queue_geometry geometry = {capacity, 8, drops ? KL_MPMC_QUEUE_DROPS : 0};
    if (record_bytes_max > KL_MPMC_QUEUE_ELEMENT_BYTES_MAX - KL_MPMC_QUEUE_SIZE_BYTES)
        return kl_fail(KL_ERR_ARGUMENT, "records of %u bytes: this queue carries at most %u",
                       record_bytes_max,
                       KL_MPMC_QUEUE_ELEMENT_BYTES_MAX - KL_MPMC_QUEUE_SIZE_BYTES);
    if (record_bytes_max > 0) {
        geometry.element_bytes = KL_MPMC_QUEUE_SIZE_BYTES + record_bytes_max;
        geometry.mode |= KL_MPMC_QUEUE_SIZED;
    }
    uint64_t memory_bytes = kl_mpmc_queue_memory_bytes(&geometry);
    if (memory_bytes == 0) return KL_ERR_ARGUMENT;
    return kl_shared_object_create(&NAMED, name, name_bytes, memory_bytes, &geometry, out);
}

int32_t kl_mpmc_queue_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out) {
    return kl_shared_object_attach(&NAMED, name, name_bytes, out);
}

int32_t kl_mpmc_queue_close(uint32_t queue) {
    return kl_shared_object_close(&NAMED, queue);
}

int32_t kl_mpmc_queue_remove(const uint8_t *name, uint32_t name_bytes) {
    return kl_shared_object_remove(&NAMED, name, name_bytes);
}

/* Enters, and checks what the queue carries. */
static named_queue *enter(uint32_t handle, bool sized, int32_t *status) {
    named_queue *named = kl_shared_object_enter(&NAMED, handle);
    *status = KL_ERR_HANDLE;
    if (!named) return NULL;
    *status = KL_OK;
    if (__builtin_expect(((named->queue.mode & KL_MPMC_QUEUE_SIZED) != 0) == sized, 1))
        return named;
    *status = kl_shared_object_leave(
        &named->object, handle, NULL,
        kl_fail(KL_ERR_ARGUMENT, "this queue carries %s", sized ? "numbers" : "records"));
    return NULL;
}

/* A call's end: `status` >= 0 is how many moved. What blocks is not the FFI's affair. */
static int32_t leave(named_queue *named, uint32_t handle, bool pushed, int32_t status) {
    kl_mpmc_queue_header *header = named->queue.header;
    kl_event_count *changed = pushed ? &header->data_event : &header->space_event;
    if (status == KL_ERR_LOCKED) status = KL_ERR_AGAIN;
    return kl_shared_object_leave(&named->object, handle, status > 0 ? changed : NULL, status);
}

/* push and pop of elements, 1 or more; a death in the way is looked after. */
static int32_t push_elements(named_queue *named, const void *elements, uint32_t count) {
    uint32_t self = kl_region_self(named->object.region), blocker = 0;
    int32_t status;
    do {
        status = count == 1
                     ? kl_mpmc_queue_push_mp(&named->queue, self, elements, &blocker)
                     : kl_mpmc_queue_push_batch_mp(&named->queue, self, elements, count, &blocker);
    } while (status < 0 && mends(named, status, blocker));
    return status == KL_OK ? 1 : status;
}

static int32_t pop_elements(named_queue *named, void *elements, uint32_t count) {
    uint32_t self = kl_region_self(named->object.region), blocker = 0;
    int32_t status;
    do {
        status = count == 1
                     ? kl_mpmc_queue_pop_mc(&named->queue, self, elements, &blocker)
                     : kl_mpmc_queue_pop_batch_mc(&named->queue, self, elements, count, &blocker);
    } while (status < 0 && mends(named, status, blocker));
    return status == KL_OK ? 1 : status;
}

static uint32_t record_bytes_max(const named_queue *named) {
    return named->queue.element_bytes - KL_MPMC_QUEUE_SIZE_BYTES;
}

static int32_t too_large(const named_queue *named, uint32_t bytes) {
    return kl_fail(KL_ERR_ARGUMENT, "a record of %u bytes: this queue carries at most %u", bytes,
                   record_bytes_max(named));
}

/* A record as an element, and back: its size as it stands there, never more than there is. */
static void wrap(uint8_t *element, const void *data, uint32_t bytes) {
    uint16_t size = (uint16_t)bytes;
    memcpy(element, &size, KL_MPMC_QUEUE_SIZE_BYTES);
    if (bytes > 0) memcpy(element + KL_MPMC_QUEUE_SIZE_BYTES, data, bytes);
}

static int32_t size_of(const named_queue *named, const uint8_t *element) {
    uint16_t size;
    memcpy(&size, element, KL_MPMC_QUEUE_SIZE_BYTES);
    return size <= record_bytes_max(named)
               ? (int32_t)size
               : kl_fail(KL_ERR_CORRUPT, "a record of %u bytes in the queue", size);
}

int32_t kl_mpmc_queue_push(uint32_t queue, const uint8_t *data, uint32_t bytes) {
    uint8_t element[KL_MPMC_QUEUE_ELEMENT_BYTES_MAX];
    int32_t status;
    if (!data && bytes > 0) return kl_fail(KL_ERR_ARGUMENT, "a record of %u bytes at NULL", bytes);
    named_queue *named = enter(queue, true, &status);
    if (!named) return status;
    if (bytes > record_bytes_max(named)) return leave(named, queue, true, too_large(named, bytes));
    wrap(element, data, bytes);
    status = leave(named, queue, true, push_elements(named, element, 1));
    return status > 0 ? KL_OK : status;
}

int32_t kl_mpmc_queue_pop(uint32_t queue, uint8_t *out, uint32_t capacity) {
    uint8_t element[KL_MPMC_QUEUE_ELEMENT_BYTES_MAX];
    int32_t status;
    named_queue *named = enter(queue, true, &status);
    if (!named) return status;
    uint32_t most = record_bytes_max(named);
    if (!out || capacity < most)
        return leave(named, queue, false,
                     kl_fail(KL_ERR_LIMIT, "%u bytes for records of up to %u", capacity, most));
    status = pop_elements(named, element, 1);
    int32_t bytes = status < 0 ? status : size_of(named, element);
    if (bytes > 0) memcpy(out, element + KL_MPMC_QUEUE_SIZE_BYTES, (size_t)bytes);
    status = leave(named, queue, false, status);
    return status < 0 ? status : bytes;
}

int32_t kl_mpmc_queue_pop_at(uint32_t queue, uint8_t *out, uint32_t offset, uint32_t capacity) {
    return kl_mpmc_queue_pop(queue, out ? out + offset : NULL, out ? capacity : 0);
}

int32_t kl_mpmc_queue_push_many(uint32_t queue, const uint8_t *records, uint32_t bytes) {
    uint8_t elements[KL_MPMC_QUEUE_BATCH_MAX * KL_MPMC_QUEUE_ELEMENT_BYTES_MAX];
    int32_t status;
    if (!records && bytes > 0) return kl_fail(KL_ERR_ARGUMENT, "%u bytes at NULL", bytes);
    named_queue *named = enter(queue, true, &status);
    if (!named) return status;
    uint64_t at = 0;
    int32_t done = 0, failure = KL_OK;
    for (bool full = false; !full && failure == KL_OK;) {
        uint32_t count = 0;
        for (; count < KL_MPMC_QUEUE_BATCH_MAX && bytes >= at + 4; count++) {
            uint32_t record_bytes;
            memcpy(&record_bytes, records + at, 4);
            if (record_bytes > bytes - at - 4 || record_bytes > record_bytes_max(named)) {
                failure = record_bytes > record_bytes_max(named)
                              ? too_large(named, record_bytes)
                              : kl_fail(KL_ERR_ARGUMENT, "the batch ends within a record");
                break;
            }
            wrap(elements + (size_t)count * named->queue.element_bytes, records + at + 4,
                 record_bytes);
            at += 4 + (((uint64_t)record_bytes + 3) & ~3ull);
        }
        if (count == 0) break;
        status = push_elements(named, elements, count);
        if (status > 0) done += status;
        full = status < (int32_t)count;
        if (status < 0 && status != KL_ERR_AGAIN && status != KL_ERR_LOCKED) failure = status;
    }
    return leave(named, queue, true, done == 0 && failure != KL_OK ? failure : done);
}

int32_t kl_mpmc_queue_pop_many(uint32_t queue, uint8_t *out, uint32_t capacity) {
    uint8_t elements[KL_MPMC_QUEUE_BATCH_MAX * KL_MPMC_QUEUE_ELEMENT_BYTES_MAX];
    int32_t status;
    named_queue *named = enter(queue, true, &status);
    if (!named) return status;
    uint32_t most = (4 + record_bytes_max(named) + 3) & ~3u, at = 0;
    if (!out || capacity < most)
        return leave(named, queue, false,
                     kl_fail(KL_ERR_LIMIT, "%u bytes for records of up to %u", capacity, most));
    int32_t done = 0;
    for (status = 1; status > 0 && capacity - at >= most;) {
        uint32_t room = (capacity - at) / most;
        uint32_t count = room < KL_MPMC_QUEUE_BATCH_MAX ? room : KL_MPMC_QUEUE_BATCH_MAX;
        status = pop_elements(named, elements, count);
        for (int32_t i = 0; i < status; i++) {
            const uint8_t *element = elements + (size_t)i * named->queue.element_bytes;
            int32_t size = size_of(named, element);
            uint32_t bytes = size < 0 ? 0 : (uint32_t)size; /* of a scribbled one nothing is left */
            memcpy(out + at, &bytes, 4);
            memcpy(out + at + 4, element + KL_MPMC_QUEUE_SIZE_BYTES, bytes);
            at += 4 + ((bytes + 3) & ~3u);
            done++;
        }
        if (status < (int32_t)count) break;
    }
    bool failed = status < 0 && status != KL_ERR_AGAIN && status != KL_ERR_LOCKED;
    return leave(named, queue, false, done == 0 && failed ? status : done);
}

int32_t kl_mpmc_queue_push_u32(uint32_t queue, uint32_t value) {
    uint64_t element = value;
    int32_t status;
    named_queue *named = enter(queue, false, &status);
    if (!named) return status;
    status = leave(named, queue, true, push_elements(named, &element, 1));
    return status > 0 ? KL_OK : status;
}

double kl_mpmc_queue_pop_u32(uint32_t queue) {
    uint64_t element = 0;
    int32_t status;
    named_queue *named = enter(queue, false, &status);
    if (!named) return status;
    status = leave(named, queue, false, pop_elements(named, &element, 1));
    return status < 0 ? status : (double)(uint32_t)element;
}

int32_t kl_mpmc_queue_push_words(uint32_t queue, const uint8_t *words, uint32_t count) {
    uint64_t elements[KL_MPMC_QUEUE_BATCH_MAX];
    int32_t status = 0;
    named_queue *named = enter(queue, false, &status);
    if (!named) return status;
    uint32_t done = 0;
    while (words && done < count && done < INT32_MAX) {
        uint32_t part =
            count - done < KL_MPMC_QUEUE_BATCH_MAX ? count - done : KL_MPMC_QUEUE_BATCH_MAX;
        for (uint32_t i = 0; i < part; i++) {
            uint32_t word;
            memcpy(&word, words + 4 * ((uint64_t)done + i), 4);
            elements[i] = word;
        }
        status = push_elements(named, elements, part);
        if (status > 0) done += (uint32_t)status;
        if (status < (int32_t)part) break;
    }
    bool failed = status < 0 && status != KL_ERR_AGAIN && status != KL_ERR_LOCKED;
    return leave(named, queue, true, done == 0 && failed ? status : (int32_t)done);
}

int32_t kl_mpmc_queue_pop_words(uint32_t queue, uint8_t *words, uint32_t count) {
    uint64_t elements[KL_MPMC_QUEUE_BATCH_MAX];
    int32_t status = 0;
    named_queue *named = enter(queue, false, &status);
    if (!named) return status;
    uint32_t done = 0;
    while (words && done < count && done < INT32_MAX) {
        uint32_t part =
            count - done < KL_MPMC_QUEUE_BATCH_MAX ? count - done : KL_MPMC_QUEUE_BATCH_MAX;
        status = pop_elements(named, elements, part);
        for (int32_t i = 0; i < status; i++, done++) {
            uint32_t word = (uint32_t)elements[i];
            memcpy(words + 4 * (uint64_t)done, &word, 4);
        }
        if (status < (int32_t)part) break;
    }
    bool failed = status < 0 && status != KL_ERR_AGAIN && status != KL_ERR_LOCKED;
    return leave(named, queue, false, done == 0 && failed ? status : (int32_t)done);
}

/* For the questions, whatever the queue carries. */
static int32_t ask(uint32_t handle, int32_t (*question)(named_queue *named)) {
    named_queue *named = kl_shared_object_enter(&NAMED, handle);
    if (!named) return KL_ERR_HANDLE;
    return kl_shared_object_leave(&named->object, handle, NULL, question(named));
}

static int32_t ask_length(named_queue *named) {
    return (int32_t)kl_mpmc_queue_size(&named->queue);
}

static int32_t ask_capacity(named_queue *named) {
    return (int32_t)named->queue.mask + 1;
}

static int32_t ask_record_bytes_max(named_queue *named) {
    return named->queue.mode & KL_MPMC_QUEUE_SIZED ? (int32_t)record_bytes_max(named) : 0;
}

static int32_t ask_check(named_queue *named) {
    return kl_mpmc_queue_verify(&named->queue);
}

static int32_t ask_reap(named_queue *named) {
    return kl_region_reap(named->object.region);
}

int32_t kl_mpmc_queue_length(uint32_t queue) {
    return ask(queue, ask_length);
}

int32_t kl_mpmc_queue_capacity(uint32_t queue) {
    return ask(queue, ask_capacity);
}

int32_t kl_mpmc_queue_record_bytes_max(uint32_t queue) {
    return ask(queue, ask_record_bytes_max);
}

int32_t kl_mpmc_queue_check(uint32_t queue) {
    return ask(queue, ask_check);
}

int32_t kl_mpmc_queue_reap(uint32_t queue) {
    return ask(queue, ask_reap);
}
