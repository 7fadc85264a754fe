/* sleep_lock: a fair lock for long sections: held across blocking calls and awaits, between threads
 * and processes. First come, first served; who waits sleeps. Survives the death of its owner and
 * of anybody in the queue.
 *
 *   line 0  magic, version, places  written once by format
 *   line 1  head      ticket that has the lock, if its place is taken
 *           broken    one more than the newest ticket that died with the lock
 *           mended    the `broken` that was answered for by an unlock
 *   line 2  tail      the next ticket to be drawn
 *   line 3- events    KL_SLEEP_LOCK_EVENTS event counts: ticket t sleeps on events[t % ...]
 *   rest    places    u64 each: {turn:32, id:32}; a power of two of them
 *
 * A ticket is an absolute u64; ticket t stands in places[t % places], turn t / places. A place is
 * {turn, 0} free for that turn, {turn, id} taken by the thread `id`, {turn + 1, 0} over.
 *
 *   enter    places[tail]: {turn, 0} -> {turn, self}, then tail + 1. The lock is had when head
 *            comes to the ticket.
 *   leave    places[t]: {turn, self} -> {turn + 1, 0}; of the ticket at head it is the unlock, of
 *            another one a waiter that gives up. Then whoever comes by moves head over places
 *            that are over, and wakes the ticket that it stops at.
 *   a death  the same compare-exchange, done by anybody who found the id dead; before it, of the
 *            ticket at head, broken = ticket + 1.
 *
 * Always: head <= tail <= head + places. At most one live thread finds head at its own taken place.
 * Each change is one compare-exchange that names its owner, so everything is repaired by redoing
 * it: head and tail are moved by whoever needs them moved.
 * Death: the next owner after a dead one gets KL_OWNER_DEAD, and so does every later one until an
 * unlock: who dies before it has mended leaves it broken. A death in the queue is nothing (in the
 * instant in which the lock comes to it, it may be told as one with the lock). It is
 * found by whoever waits: those who look sleep KL_EVENT_SLICE_NS at most; and by every unlock, for
 * the tickets that it comes to. Who goes away in order (a closed handle) is found at once.
 * Limit: a waiter that gave up keeps its place until head has passed it, so `places` bounds those who
 * came since the owner did, not only those who wait.
 * Progress: enter, look and leave are lock-free; with at most `places` repeats for the dead.
 * Scribbled memory: positions are checked against each other and masked: KL_ERR_CORRUPT.
 *
 * May these run at the same time?  any with any; look and leave of one ticket are its owner's.
 */
#ifndef KL_SYNC_SLEEP_LOCK_H
#define KL_SYNC_SLEEP_LOCK_H

#include "mem/region.h"
#include "sync/event_count.h"

#define KL_SLEEP_LOCK_MAGIC      0x4c534c4bu /* "KLSL" */
#define KL_SLEEP_LOCK_VERSION    1u
#define KL_SLEEP_LOCK_EVENTS     16u
#define KL_SLEEP_LOCK_PLACES_MIN 2u
#define KL_SLEEP_LOCK_PLACES_MAX 65536u

/* layout: kl_sleep_lock_header magic version places head broken mended tail events */
typedef struct {
    _Alignas(KL_LINE_BYTES) uint32_t magic;
    uint32_t version;
    uint32_t places;
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t head;
    _Atomic uint64_t broken;
    _Atomic uint64_t mended;
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t tail;
    kl_event_count events[KL_SLEEP_LOCK_EVENTS];
} kl_sleep_lock_header;

static_assert(sizeof(kl_sleep_lock_header) == (3 + KL_SLEEP_LOCK_EVENTS) * KL_LINE_BYTES, "lines");
static_assert((KL_SLEEP_LOCK_EVENTS & (KL_SLEEP_LOCK_EVENTS - 1)) == 0, "an event is t & mask");

/* One process's grip. Not shared, not written after grip. */
typedef struct {
    kl_sleep_lock_header *header;
    _Atomic uint64_t *places;
    kl_region *region; /* whose threads the ids are */
    uint64_t mask;
    uint32_t turn_shift;
} kl_sleep_lock;

/* 0 when `places` is not a power of two in range. */
uint64_t kl_sleep_lock_memory_bytes(uint32_t places);
int32_t kl_sleep_lock_format(void *memory, uint32_t places);
/* KL_ERR_CORRUPT, KL_ERR_VERSION. */
int32_t kl_sleep_lock_grip(kl_sleep_lock *lock, void *memory, uint64_t memory_bytes,
                           kl_region *region);

/* Joins the queue as the thread `self` (kl_region_thread_join): KL_OK or KL_OWNER_DEAD (had at
 * once), KL_ERR_AGAIN (queued as *ticket), KL_ERR_LIMIT (every place is taken), KL_ERR_CORRUPT.
 * One thread may queue many times, and so waits for itself. */
int32_t kl_sleep_lock_enter(kl_sleep_lock *lock, uint32_t self, uint64_t *ticket);
/* The same without queueing: KL_ERR_AGAIN when it is held or awaited. Two dead in the way at most
 * `places` system calls. */
int32_t kl_sleep_lock_try_lock(kl_sleep_lock *lock, uint32_t self, uint64_t *ticket);
/* Whether the ticket has the lock: KL_OK, KL_OWNER_DEAD, KL_ERR_AGAIN, or KL_ERR_FENCED: it is no
 * longer in the queue (left, or taken for dead). Removes dead ones that stand at the head. */
int32_t kl_sleep_lock_look(kl_sleep_lock *lock, uint32_t self, uint64_t ticket);
/* Unlocks, or leaves the queue. KL_ERR_FENCED: it was not there; nothing changed. */
int32_t kl_sleep_lock_leave(kl_sleep_lock *lock, uint32_t self, uint64_t ticket);
/* For a thread that goes away: its waiting tickets leave, the one with the lock as if it had died.
 * How many there were. */
uint32_t kl_sleep_lock_abandon(kl_sleep_lock *lock, uint32_t self);
/* Blocks: KL_OK, KL_OWNER_DEAD, KL_ERR_TIMEOUT, KL_ERR_STOPPED (*stop is not 0; may be NULL), or an
 * error of enter; but for the first two it is out of the queue again. */
int32_t kl_sleep_lock_lock(kl_sleep_lock *lock, uint32_t self, uint64_t *ticket,
                           uint64_t timeout_ns, const _Atomic uint32_t *stop);

static inline kl_event_count *kl_sleep_lock_event(const kl_sleep_lock *lock, uint64_t ticket) {
    return &lock->header->events[ticket & (KL_SLEEP_LOCK_EVENTS - 1)];
}

/* Owner and waiters now; a hint. */
uint32_t kl_sleep_lock_count(const kl_sleep_lock *lock);
/* KL_OK or KL_ERR_CORRUPT. Right only while nobody calls. */
int32_t kl_sleep_lock_verify(const kl_sleep_lock *lock);

#endif
