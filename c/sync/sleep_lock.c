#include "sync/sleep_lock.h"

#include <string.h>

#define ID_MASK 0xffffffffull

static_assert(sizeof(kl_sleep_lock_header) % KL_LINE_BYTES == 0, "places start on a line");

static bool is_places(uint32_t places) {
    return places >= KL_SLEEP_LOCK_PLACES_MIN && places <= KL_SLEEP_LOCK_PLACES_MAX &&
           (places & (places - 1)) == 0;
}

uint64_t kl_sleep_lock_memory_bytes(uint32_t places) {
    if (!is_places(places)) return 0;
    uint64_t bytes = sizeof(kl_sleep_lock_header) + places * sizeof(uint64_t);
    return (bytes + KL_LINE_BYTES - 1) / KL_LINE_BYTES * KL_LINE_BYTES;
}

int32_t kl_sleep_lock_format(void *memory, uint32_t places) {
    if (!is_places(places))
        return kl_fail(KL_ERR_ARGUMENT,
                       "a lock with %u places: owner and waiters together are a power of two from "
                       "%u to %u",
                       places, KL_SLEEP_LOCK_PLACES_MIN, KL_SLEEP_LOCK_PLACES_MAX);
    kl_sleep_lock_header *header = memory;
    memset(memory, 0, kl_sleep_lock_memory_bytes(places));
    header->magic = KL_SLEEP_LOCK_MAGIC;
    header->version = KL_SLEEP_LOCK_VERSION;
    header->places = places;
    return KL_OK;
}

int32_t kl_sleep_lock_grip(kl_sleep_lock *lock, void *memory, uint64_t memory_bytes,
                           kl_region *region) {
    kl_sleep_lock_header *header = memory;
    memset(lock, 0, sizeof *lock);
    if (memory_bytes < sizeof *header || header->magic != KL_SLEEP_LOCK_MAGIC)
        return kl_fail(KL_ERR_CORRUPT, "no sleep lock here");
    if (header->version != KL_SLEEP_LOCK_VERSION)
        return kl_fail(KL_ERR_VERSION, "sleep lock version %u, this build knows %u",
                       header->version, KL_SLEEP_LOCK_VERSION);
    uint32_t places = header->places; /* read once: memory may change under us */
    if (!is_places(places) || kl_sleep_lock_memory_bytes(places) > memory_bytes)
        return kl_fail(KL_ERR_CORRUPT, "a sleep lock of %u places in %llu bytes", places,
                       (unsigned long long)memory_bytes);
    lock->header = header;
    lock->places = (_Atomic uint64_t *)(void *)(header + 1);
    lock->region = region;
    lock->mask = places - 1;
    lock->turn_shift = (uint32_t)__builtin_ctz(places);
    return KL_OK;
}

/* ---- words ---- */

static uint64_t word_of(const kl_sleep_lock *lock, uint64_t ticket, uint32_t id) {
    return (ticket >> lock->turn_shift) << 32 | id;
}

static uint64_t over_word(const kl_sleep_lock *lock, uint64_t ticket) {
    return word_of(lock, ticket + lock->mask + 1, 0);
}

static _Atomic uint64_t *place_of(const kl_sleep_lock *lock, uint64_t ticket) {
    return &lock->places[ticket & lock->mask];
}

/* seq_cst, as the compare-exchange in end_ticket: of two who end neighbouring tickets at the same time,
 * at least one sees what the other did, and moves head over both. Acquire: partner is end_ticket. */
static uint64_t load_place(const kl_sleep_lock *lock, uint64_t ticket) {
    return atomic_load_explicit(place_of(lock, ticket), memory_order_seq_cst);
}

static uint64_t load_head(const kl_sleep_lock *lock) {
    /* acquire: partner is move_head, for what the last owner wrote. */
    return atomic_load_explicit(&lock->header->head, memory_order_acquire);
}

/* {turn, id} -> {turn + 1, 0}: false when it is over already, by whomever. */
static bool end_ticket(kl_sleep_lock *lock, uint64_t ticket, uint32_t id) {
    uint64_t word = word_of(lock, ticket, id);
    /* seq_cst (release): partner is load_place, above all in move_head. */
    return atomic_compare_exchange_strong_explicit(place_of(lock, ticket), &word,
                                                   over_word(lock, ticket), memory_order_seq_cst,
                                                   memory_order_relaxed);
}

static void move_tail(kl_sleep_lock *lock, uint64_t ticket) {
    /* release: partner is the acquire in draw; relaxed on failure: somebody else moved it. */
    atomic_compare_exchange_strong_explicit(&lock->header->tail, &ticket, ticket + 1,
                                            memory_order_release, memory_order_relaxed);
}

/* The live or dead owner of a taken place; 0: the place is free, or over. */
static uint32_t id_at(const kl_sleep_lock *lock, uint64_t ticket) {
    uint64_t word = load_place(lock, ticket);
    uint32_t id = (uint32_t)(word & ID_MASK);
    return word == word_of(lock, ticket, id) ? id : 0;
}

static bool is_dead(const kl_sleep_lock *lock, uint32_t id, uint32_t self) {
    return id != 0 && id != self && !kl_region_thread_alive(lock->region, id);
}

/* Moves head over tickets that are over; answers where it stands. Who died in the queue is ended
 * before head comes to it: it never had the lock. */
static uint64_t move_head(kl_sleep_lock *lock, uint32_t self) {
    uint64_t head = load_head(lock);
    for (uint64_t i = 0; i <= 2 * (lock->mask + 1); i++) { /* more can only be scribbled */
        if (load_place(lock, head) >> 32 != over_word(lock, head) >> 32) break;
        move_tail(lock, head); /* whoever drew it may have died before */
        uint32_t next_id = id_at(lock, head + 1);
        if (is_dead(lock, next_id, self)) end_ticket(lock, head + 1, next_id);
        uint64_t seen = head;
        /* release: partner is load_head. */
        if (atomic_compare_exchange_strong_explicit(&lock->header->head, &seen, head + 1,
                                                    memory_order_release, memory_order_relaxed))
            head++;
        else
            head = load_head(lock);
    }
    return head;
}

/* broken = the newer of what it is and `value`. */
static void mark_broken(kl_sleep_lock *lock, uint64_t value) {
    _Atomic uint64_t *broken = &lock->header->broken;
    uint64_t seen = atomic_load_explicit(broken, memory_order_relaxed);
    /* relaxed: end_ticket, which follows, publishes it. */
    while ((int64_t)(value - seen) > 0 &&
           !atomic_compare_exchange_weak_explicit(broken, &seen, value, memory_order_relaxed,
                                                  memory_order_relaxed)) {
    }
}

/* Ends the ticket at `head` as one whose owner died. */
static void end_dead(kl_sleep_lock *lock, uint64_t head, uint32_t id) {
    mark_broken(lock, head + 1);
    end_ticket(lock, head, id);
}

/* Moves head as far as it goes, over dead ones too, and wakes who stands there. One system call for
 * each taken ticket that it comes to. */
static uint64_t settle(kl_sleep_lock *lock, uint32_t self) {
    uint64_t first = load_head(lock), head = first;
    for (uint32_t i = 0; i < 2; i++) {
        head = move_head(lock, self);
        if (head != first) break; /* alive a moment ago */
        uint32_t id = id_at(lock, head);
        if (!is_dead(lock, id, self)) break;
        /* It died before it was asked after, and head was there already: it may have had the lock. */
        end_dead(lock, head, id);
    }
    if (head != first) kl_event_count_notify_all(kl_sleep_lock_event(lock, head));
    return head;
}

/* ---- the four calls ---- */

static int32_t corrupt(const kl_sleep_lock *lock, uint64_t ticket) {
    return kl_fail(KL_ERR_CORRUPT, "the lock's queue cannot be: ticket %llu of %llu places",
                   (unsigned long long)ticket, (unsigned long long)lock->mask + 1);
}

/* What the owner of the lock is told. */
static int32_t owned(const kl_sleep_lock *lock) {
    /* relaxed: load_head, which found the lock ours, acquired both. */
    uint64_t broken = atomic_load_explicit(&lock->header->broken, memory_order_relaxed);
    uint64_t mended = atomic_load_explicit(&lock->header->mended, memory_order_relaxed);
    return broken == mended ? KL_OK : KL_OWNER_DEAD;
}

/* One try to draw a ticket: KL_OK, KL_ERR_AGAIN (somebody else was faster), or an error. */
static int32_t draw(kl_sleep_lock *lock, uint32_t self, bool waiting, uint64_t *out) {
    /* acquire: partner is move_tail: the head read below is not older than the tail. */
    uint64_t tail = atomic_load_explicit(&lock->header->tail, memory_order_acquire);
    uint64_t head = load_head(lock), awaited = tail - head;
    if ((int64_t)awaited < 0) return KL_ERR_AGAIN; /* this tail is old */
    if (awaited > lock->mask + 1) return corrupt(lock, tail);
    if (awaited > lock->mask) return KL_ERR_LIMIT;
    if (awaited != 0 && !waiting) return KL_ERR_LOCKED;
    uint64_t word = word_of(lock, tail, 0), seen = word;
    /* relaxed: the ticket becomes the lock in load_head. */
    if (atomic_compare_exchange_strong_explicit(place_of(lock, tail), &seen,
                                                word_of(lock, tail, self), memory_order_relaxed,
                                                memory_order_relaxed)) {
        move_tail(lock, tail);
        *out = tail;
        return KL_OK;
    }
    /* Drawn by another, who may have died before it moved the tail, or even left. */
    bool possible = seen >> 32 == word >> 32 || seen >> 32 == over_word(lock, tail) >> 32;
    /* acquire: as above. */
    if (!possible && atomic_load_explicit(&lock->header->tail, memory_order_acquire) == tail)
        return corrupt(lock, tail);
    move_tail(lock, tail);
    return KL_ERR_AGAIN;
}

static int32_t draw_ticket(kl_sleep_lock *lock, uint32_t self, bool waiting, uint64_t *ticket) {
    bool settled = false;
    for (uint32_t tries = 0; tries < 1u << 16; tries++) { /* each AGAIN is progress of another */
        int32_t status = draw(lock, self, waiting, ticket);
        if (status == KL_ERR_AGAIN) continue;
        if ((status != KL_ERR_LIMIT && status != KL_ERR_LOCKED) || settled) return status;
        settle(lock, self); /* dead ones may be in the way */
        settled = true;
    }
    return corrupt(lock, 0);
}

int32_t kl_sleep_lock_enter(kl_sleep_lock *lock, uint32_t self, uint64_t *ticket) {
    int32_t status = draw_ticket(lock, self, true, ticket);
    if (status == KL_ERR_LIMIT)
        return kl_fail(KL_ERR_LIMIT, "all %llu places of the lock are taken",
                       (unsigned long long)lock->mask + 1);
    if (status != KL_OK) return status;
    if (__builtin_expect(load_head(lock) == *ticket, 1)) return owned(lock);
    return settle(lock, self) == *ticket ? owned(lock) : KL_ERR_AGAIN;
}

int32_t kl_sleep_lock_try_lock(kl_sleep_lock *lock, uint32_t self, uint64_t *ticket) {
    int32_t status = draw_ticket(lock, self, false, ticket);
    if (status == KL_ERR_LIMIT || status == KL_ERR_LOCKED) return KL_ERR_AGAIN;
    return status == KL_OK ? owned(lock) : status; /* head stood at it and cannot pass it */
}

int32_t kl_sleep_lock_look(kl_sleep_lock *lock, uint32_t self, uint64_t ticket) {
    if (load_place(lock, ticket) != word_of(lock, ticket, self)) return KL_ERR_FENCED;
    if (load_head(lock) == ticket) return owned(lock);
    return settle(lock, self) == ticket ? owned(lock) : KL_ERR_AGAIN;
}

int32_t kl_sleep_lock_leave(kl_sleep_lock *lock, uint32_t self, uint64_t ticket) {
    if (load_place(lock, ticket) != word_of(lock, ticket, self)) return KL_ERR_FENCED;
    if (load_head(lock) == ticket && owned(lock) == KL_OWNER_DEAD) {
        /* relaxed: as in owned. Dying between this and the end breaks it anew, by a larger number. */
        uint64_t broken = atomic_load_explicit(&lock->header->broken, memory_order_relaxed);
        atomic_store_explicit(&lock->header->mended, broken, memory_order_relaxed);
    }
    if (!end_ticket(lock, ticket, self)) return KL_ERR_FENCED;
    settle(lock, self);
    return KL_OK;
}

uint32_t kl_sleep_lock_abandon(kl_sleep_lock *lock, uint32_t self) {
    uint64_t first = load_head(lock);
    uint32_t count = 0;
    for (uint64_t i = 0; i <= lock->mask; i++) {
        uint64_t ticket = first + i;
        if (load_place(lock, ticket) != word_of(lock, ticket, self)) continue;
        count++;
        if (load_head(lock) == ticket)
            end_dead(lock, ticket, self);
        else
            end_ticket(lock, ticket, self);
    }
    if (count > 0) settle(lock, self);
    return count;
}

int32_t kl_sleep_lock_lock(kl_sleep_lock *lock, uint32_t self, uint64_t *ticket,
                           uint64_t timeout_ns, const _Atomic uint32_t *stop) {
    int32_t status = kl_sleep_lock_enter(lock, self, ticket);
    if (__builtin_expect(status != KL_ERR_AGAIN, 1)) return status;
    uint64_t deadline_ns = kl_clock_deadline_ns(timeout_ns);
    kl_event_count *event = kl_sleep_lock_event(lock, *ticket);
    for (;;) { /* each turn sleeps, at most a slice, until the deadline */
        uint32_t key = kl_event_count_prepare(event);
        status = kl_sleep_lock_look(lock, self, *ticket);
        if (status != KL_ERR_AGAIN) return status;
        if (kl_region_poisoned(lock->region))
            return kl_fail(KL_ERR_POISONED, "the region of this lock is poisoned: close it");
        uint64_t left_ns = KL_FOREVER;
        if (deadline_ns != KL_FOREVER) {
            uint64_t now_ns = kl_clock_monotonic_ns();
            left_ns = now_ns < deadline_ns ? deadline_ns - now_ns : 0;
        }
        status = kl_event_count_wait(event, key, left_ns, stop);
        if (status == KL_OK) continue;
        kl_sleep_lock_leave(lock, self, *ticket);
        return status;
    }
}

uint32_t kl_sleep_lock_count(const kl_sleep_lock *lock) {
    /* relaxed: a hint. */
    uint64_t head = atomic_load_explicit(&lock->header->head, memory_order_relaxed);
    uint64_t count = atomic_load_explicit(&lock->header->tail, memory_order_relaxed) - head;
    return count <= lock->mask + 1 ? (uint32_t)count : (uint32_t)lock->mask + 1;
}

int32_t kl_sleep_lock_verify(const kl_sleep_lock *lock) {
    uint64_t head = load_head(lock);
    /* relaxed: nobody calls meanwhile. */
    uint64_t tail = atomic_load_explicit(&lock->header->tail, memory_order_relaxed);
    if (tail - head > lock->mask + 1) return corrupt(lock, tail);
    for (uint64_t ticket = head; ticket - head <= lock->mask; ticket++) {
        uint64_t word = load_place(lock, ticket), id = word & ID_MASK;
        bool is_over = word == over_word(lock, ticket), is_free = word == word_of(lock, ticket, 0);
        bool is_taken = id != 0 && word >> 32 == word_of(lock, ticket, 0) >> 32;
        bool drawn = ticket - head < tail - head;
        /* The ticket at tail may be drawn already; behind it none is. */
        if (drawn ? !is_over && !is_taken : ticket == tail ? is_over : !is_free)
            return corrupt(lock, ticket);
    }
    return KL_OK;
}
