/* log_ring: where appended frames lie until they are in the page cache.
 *
 * A control part and a power-of-two ring of bytes, in a shared memory region named log-<uuid>, so
 * that what was appended outlives the process; or in private memory where there is no room for one.
 * The byte of address a stands at ring[a mod size].
 *
 *   line 0   identity      written once, before the region is published
 *   line 1   tail          fetch-add (or compare-and-swap) by any appending thread
 *   line 2   flushed       by the holder of the log's flush lock
 *   line 3   durable       by the holder of the log's sync lock
 *   line 4   durable_event notified after durable moved or the log was poisoned
 *   line 5   room_event    notified after flushed moved or the log was poisoned
 *   line 6   whose it is   by the holder of the log's folder lock; with the 32 lines behind it
 *   line 64+ slots         each by the one append that holds it
 *
 * In-flight slots. An append takes a free slot by putting a lower bound of its address there (the
 * tail of now), then adds to the tail, then puts its exact address, copies, and frees the slot. The
 * flusher reads the tail first and then all slots: the least of them is safe. An append that the
 * tail it read counts in has put its bound before its addition, so the flusher sees the bound, the
 * address, or the free mark that its copied bytes came before; one that the tail does not count in
 * lies above. Reading in the other order would lose frames.
 *
 * Always: flushed <= safe <= tail; only [block of flushed, flushed + size) may be written.
 * Death: nothing in here is trusted after a crash but by the checksum of each frame.
 */
#ifndef KL_LOG_LOG_RING_H
#define KL_LOG_LOG_RING_H

#include <stdatomic.h>

#include "log/log_frame.h"
#include "mem/region.h"
#include "sync/event_count.h"

#define KL_LOG_SLOT_COUNT   64u
#define KL_LOG_SLOT_FREE    UINT64_MAX
#define KL_LOG_RING_MAGIC   0x31474E49524C4B00ull
#define KL_LOG_RING_VERSION 1u

typedef struct {
    _Alignas(64) _Atomic uint64_t address;
} kl_log_slot;

/* layout: kl_log_ring_shared tail flushed durable durable_event room_event slots */
typedef struct {
    uint64_t magic;
    uint32_t version;
    uint32_t slot_count;
    uint8_t uuid[KL_LOG_UUID_BYTES];
    uint64_t ring_bytes;
    _Atomic uint32_t closed; /* set once, when the name is taken away: readers let go of it */
    _Alignas(64) _Atomic uint64_t tail;
    _Alignas(64) _Atomic uint64_t flushed;
    _Alignas(64) _Atomic uint64_t durable;
    _Alignas(64) kl_event_count durable_event;
    kl_event_count room_event;
    _Atomic uint32_t folder_bytes; /* length of `folder`; 0: not known (log_leftovers.h) */
    uint32_t reserved_2;
    uint64_t folder_device;     /* st_dev */
    _Atomic uint64_t missed_at; /* the folder was first found gone; ns since 1970; 0: never */
    uint8_t reserved_3[64 - 24];
    char folder[2048]; /* absolute path of the log */
    uint8_t reserved[4096 - 7 * 64 - 2048];
    kl_log_slot slots[KL_LOG_SLOT_COUNT];
} kl_log_ring_shared;

static_assert(sizeof(kl_log_ring_shared) == 8192, "the ring's bytes start on a page");
static_assert(offsetof(kl_log_ring_shared, tail) == 64, "the appenders own line 1");
static_assert(offsetof(kl_log_ring_shared, flushed) == 128, "the flusher owns line 2");
static_assert(offsetof(kl_log_ring_shared, durable) == 192, "the committer owns line 3");
static_assert(offsetof(kl_log_ring_shared, folder_bytes) == 384, "whose it is has line 6");
static_assert(offsetof(kl_log_ring_shared, folder) == 448, "and the lines behind it");
static_assert(offsetof(kl_log_ring_shared, slots) == 4096, "slots have lines of their own");

typedef struct {
    kl_log_ring_shared *shared;
    uint8_t *bytes;
    uint64_t size;
    kl_region *region; /* NULL: private memory */
} kl_log_ring;

/* Makes an empty ring at `address`. With `shared` it tries a region first and falls back to private
 * memory; kl_log_ring.region says which it became. A region of that name must not exist. */
int32_t kl_log_ring_create(kl_log_ring *ring, const uint8_t *uuid, uint64_t size, bool shared,
                           uint64_t address);

/* Attaches the ring that an earlier process of this boot left. KL_ERR_NOT_FOUND: there is none (or
 * one of another boot). */
int32_t kl_log_ring_adopt(kl_log_ring *ring, const uint8_t *uuid);

/* Empties it: everything below `address` is durable and in the files. No append under way. */
void kl_log_ring_reset(kl_log_ring *ring, uint64_t address);

/* Lets go; `unlink`: the region has nothing anybody needs. */
void kl_log_ring_close(kl_log_ring *ring, bool unlink);

/* Removes the region of this log, if any. */
void kl_log_ring_remove(const uint8_t *uuid);

/* A free slot, taken with a lower bound in it; NULL: all are in use just now. */
kl_log_slot *kl_log_ring_enter(kl_log_ring *ring);

/* Reserves `total` bytes for the holder of `slot`; answers their address. */
uint64_t kl_log_ring_reserve(kl_log_ring *ring, kl_log_slot *slot, uint64_t total);

/* The same, only if they fit without waiting. */
bool kl_log_ring_try_reserve(kl_log_ring *ring, kl_log_slot *slot, uint64_t total,
                             uint64_t *address);

/* The same, only if the tail is exactly `at`. */
bool kl_log_ring_reserve_at(kl_log_ring *ring, kl_log_slot *slot, uint64_t at, uint64_t total);

/* The frame is whole: lets the flusher have it. */
static inline void kl_log_ring_leave(kl_log_slot *slot) {
    /* release: partner is the acquire in kl_log_ring_safe(); publishes the frame's bytes. */
    atomic_store_explicit(&slot->address, KL_LOG_SLOT_FREE, memory_order_release);
}

/* May the bytes up to `end` be written? Acquire: partner is the store of flushed in the flusher,
 * which has read the bytes that stood there before. */
static inline bool kl_log_ring_has_room(const kl_log_ring *ring, uint64_t end) {
    uint64_t flushed = atomic_load_explicit(&ring->shared->flushed, memory_order_acquire);
    return end <= (flushed & ~(uint64_t)(KL_LOG_BLOCK_BYTES - 1)) + ring->size;
}

/* Every frame below is whole. */
uint64_t kl_log_ring_safe(const kl_log_ring *ring);

/* Writes a frame into its reserved place: fills in crc, copies header, parts and fill. */
void kl_log_ring_put(kl_log_ring *ring, uint32_t seed, uint64_t address,
                     kl_log_frame_header *header, const kl_span *parts, uint32_t part_count);

/* Copies out [address, address + bytes); at most size bytes. */
void kl_log_ring_copy_out(const kl_log_ring *ring, uint64_t address, void *out, uint64_t bytes);

#endif
