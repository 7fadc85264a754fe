#include "lockfree/spsc_ring.h"

#include "base/layout_hash.h"
#include "sync/shared_object.h"

#define RECORD_BYTES_MAX (INT32_MAX - 7) /* a size must fit the result of pop */

static_assert(sizeof(kl_spsc_ring_header) % KL_LINE_BYTES == 0, "data starts on a line");
static_assert(KL_SPSC_RING_CAPACITY_MIN >= 2 * KL_SPSC_RING_RECORD_BYTES, "one record fits");

static uint64_t padded(uint64_t bytes) {
    return (bytes + 7) & ~7ull;
}

static bool is_capacity(uint64_t bytes) {
    return bytes >= KL_SPSC_RING_CAPACITY_MIN && bytes <= KL_SPSC_RING_CAPACITY_MAX &&
           (bytes & (bytes - 1)) == 0;
}

uint64_t kl_spsc_ring_memory_bytes(uint64_t capacity_bytes) {
    return is_capacity(capacity_bytes) ? KL_SPSC_RING_HEADER_BYTES + capacity_bytes : 0;
}

static int32_t check_geometry(uint64_t capacity_bytes, uint32_t record_bytes) {
    if (!is_capacity(capacity_bytes))
        return kl_fail(KL_ERR_ARGUMENT,
                       "a ring of %llu bytes: the capacity is a power of two from %u to %llu",
                       (unsigned long long)capacity_bytes, KL_SPSC_RING_CAPACITY_MIN,
                       KL_SPSC_RING_CAPACITY_MAX);
    if (record_bytes != 0 && record_bytes != 8)
        return kl_fail(KL_ERR_ARGUMENT, "records of %u bytes: 0 (any size) or 8", record_bytes);
    return KL_OK;
}

int32_t kl_spsc_ring_format(void *memory, uint64_t capacity_bytes, uint32_t record_bytes) {
    int32_t status = check_geometry(capacity_bytes, record_bytes);
    if (status != KL_OK) return status;
    kl_spsc_ring_header *header = memory;
    memset(memory, 0, sizeof *header);
    header->magic = KL_SPSC_RING_MAGIC;
    header->version = KL_SPSC_RING_VERSION;
    header->record_bytes = record_bytes;
    header->capacity_bytes = capacity_bytes;
    return KL_OK;
}

/* Whether two positions read from shared memory can be true. */
static bool is_possible(const kl_spsc_ring *ring, uint64_t head, uint64_t tail) {
    return ((head | tail) & 7) == 0 && tail - head <= ring->mask + 1;
}

static int32_t impossible(const char *what, uint64_t head, uint64_t tail) {
    return kl_fail(KL_ERR_CORRUPT, "the ring's %s cannot be: head %llu, tail %llu", what,
                   (unsigned long long)head, (unsigned long long)tail);
}

/* acquire: partner is the release of whoever published the position. */
static uint64_t load(const _Atomic uint64_t *position) {
    return atomic_load_explicit(position, memory_order_acquire);
}

/* Reads one's own positions anew. What the other side's are is looked up, and checked against
 * these, at the first push (it takes the ring for full) or pop (it takes it for empty). */
static int32_t reread(kl_spsc_ring *ring, uint32_t sides) {
    uint64_t head = load(&ring->header->head), tail = load(&ring->header->tail);
    if (((head | tail) & 7) != 0) return impossible("positions", head, tail);
    if (sides & KL_SPSC_RING_PRODUCER) {
        ring->tail = tail;
        ring->head_seen = tail - (ring->mask + 1);
    }
    if (sides & KL_SPSC_RING_CONSUMER) {
        ring->head = head;
        ring->tail_seen = head;
    }
    return KL_OK;
}

int32_t kl_spsc_ring_grip(kl_spsc_ring *ring, void *memory, uint64_t memory_bytes) {
    kl_spsc_ring_header *header = memory;
    memset(ring, 0, sizeof *ring);
    if (memory_bytes < KL_SPSC_RING_HEADER_BYTES)
        return kl_fail(KL_ERR_CORRUPT, "%llu bytes cannot hold a ring",
                       (unsigned long long)memory_bytes);
    if (header->magic != KL_SPSC_RING_MAGIC)
        return kl_fail(KL_ERR_CORRUPT, "no ring here: magic 0x%08x", header->magic);
    if (header->version != KL_SPSC_RING_VERSION)
        return kl_fail(KL_ERR_VERSION, "ring version %u, this build knows %u", header->version,
                       KL_SPSC_RING_VERSION);
    uint64_t capacity_bytes = header->capacity_bytes; /* read once: memory may change under us */
    uint32_t record_bytes = header->record_bytes;
    if (!is_capacity(capacity_bytes) || capacity_bytes > memory_bytes - KL_SPSC_RING_HEADER_BYTES ||
        (record_bytes != 0 && record_bytes != 8))
        return kl_fail(KL_ERR_CORRUPT, "ring of %llu bytes, records of %u, in %llu bytes of memory",
                       (unsigned long long)capacity_bytes, record_bytes,
                       (unsigned long long)memory_bytes);
    ring->header = header;
    ring->data = (uint8_t *)memory + KL_SPSC_RING_HEADER_BYTES;
    ring->mask = capacity_bytes - 1;
    ring->record_bytes = record_bytes;
    return reread(ring, KL_SPSC_RING_PRODUCER | KL_SPSC_RING_CONSUMER);
}

static _Atomic uint32_t *role(kl_spsc_ring *ring, uint32_t side) {
    return side == KL_SPSC_RING_PRODUCER ? &ring->header->producer : &ring->header->consumer;
}

typedef bool (*alive_fn)(kl_region *region, uint32_t id);

static int32_t claim_as(kl_spsc_ring *ring, kl_region *region, uint32_t side, uint32_t self,
                        alive_fn is_alive) {
    _Atomic uint32_t *owner_word = role(ring, side);
    KL_ASSERT(self != 0);
    if (self == 0) return KL_ERR_BUG; /* not joined */
    uint32_t owner = atomic_load_explicit(owner_word, memory_order_relaxed), before = owner;
    while (owner != self) {
        if (owner != 0 && is_alive(region, owner))
            return kl_fail(KL_ERR_LOCKED, "the ring has a live %s (slot %u of its region)",
                           side == KL_SPSC_RING_PRODUCER ? "producer" : "consumer", owner & 0xffu);
        /* acquire: partner is the release in release_as; what a dead owner did is known to who
         * finds it dead. Exactly one replaces it. A failure means that somebody else changed it,
         * which is progress; nothing is concluded from it. */
        before = owner;
        if (atomic_compare_exchange_strong_explicit(owner_word, &owner, self, memory_order_acquire,
                                                    memory_order_relaxed))
            owner = self;
    }
    int32_t status = reread(ring, side);
    if (status != KL_OK) return status;
    return before == 0 || before == self ? KL_OK : KL_OWNER_DEAD;
}

static void release_as(kl_spsc_ring *ring, uint32_t side, uint32_t self) {
    /* release: partner is the acquire in claim_as. Compare: only what is ours. */
    atomic_compare_exchange_strong_explicit(role(ring, side), &self, 0, memory_order_release,
                                            memory_order_relaxed);
}

int32_t kl_spsc_ring_claim(kl_spsc_ring *ring, kl_region *region, uint32_t side) {
    return claim_as(ring, region, side, kl_region_self(region), kl_region_alive);
}

void kl_spsc_ring_release(kl_spsc_ring *ring, kl_region *region, uint32_t side) {
    release_as(ring, side, kl_region_self(region));
}

/* ---- copying around the end ---- */

static void copy_in(kl_spsc_ring *ring, uint64_t position, const void *from, uint64_t bytes) {
    uint64_t at = position & ring->mask, until_end = ring->mask + 1 - at;
    uint64_t first = bytes < until_end ? bytes : until_end;
    if (first > 0) memcpy(ring->data + at, from, first);
    if (bytes > first) memcpy(ring->data, (const uint8_t *)from + first, bytes - first);
}

static void copy_out(const kl_spsc_ring *ring, uint64_t position, void *to, uint64_t bytes) {
    uint64_t at = position & ring->mask, until_end = ring->mask + 1 - at;
    uint64_t first = bytes < until_end ? bytes : until_end;
    if (first > 0) memcpy(to, ring->data + at, first);
    if (bytes > first) memcpy((uint8_t *)to + first, ring->data, bytes - first);
}

/* ---- producer ---- */

int32_t kl_spsc_ring_look_for_space_sp(kl_spsc_ring *ring, uint64_t bytes) {
    uint64_t head = load(&ring->header->head), tail = ring->tail;
    if (!is_possible(ring, head, tail)) return impossible("head", head, tail);
    ring->head_seen = head;
    return ring->mask + 1 - (tail - head) >= bytes ? KL_OK : KL_ERR_AGAIN;
}

/* Bytes a record takes in the ring; 0: it can never fit, or is of the wrong size. */
static uint64_t footprint(const kl_spsc_ring *ring, uint32_t bytes) {
    if (ring->record_bytes != 0) return bytes == ring->record_bytes ? bytes : 0;
    uint64_t taken = KL_SPSC_RING_RECORD_BYTES + padded(bytes);
    return bytes <= RECORD_BYTES_MAX && taken <= ring->mask + 1 ? taken : 0;
}

static int32_t never_fits(const kl_spsc_ring *ring, uint32_t bytes) {
    if (ring->record_bytes != 0)
        return kl_fail(KL_ERR_ARGUMENT, "a record of %u bytes in a ring of %u-byte records", bytes,
                       ring->record_bytes);
    return kl_fail(KL_ERR_ARGUMENT, "a record of %u bytes: this ring holds at most %llu", bytes,
                   (unsigned long long)(ring->mask + 1 - KL_SPSC_RING_RECORD_BYTES));
}

/* Writes a record behind ring->tail without publishing it. */
static int32_t append(kl_spsc_ring *ring, const void *data, uint32_t bytes) {
    uint64_t taken = footprint(ring, bytes);
    if (taken == 0) return never_fits(ring, bytes);
    if (ring->mask + 1 - (ring->tail - ring->head_seen) < taken) {
        int32_t status = kl_spsc_ring_look_for_space_sp(ring, taken);
        if (status != KL_OK) return status;
    }
    uint64_t at = ring->tail;
    if (ring->record_bytes == 0) {
        uint64_t record = bytes; /* flags, the upper half, are 0 */
        memcpy(ring->data + (at & ring->mask), &record, sizeof record);
        at += KL_SPSC_RING_RECORD_BYTES;
    }
    copy_in(ring, at, data, bytes);
    ring->tail += taken;
    return KL_OK;
}

static void publish(kl_spsc_ring *ring) {
    /* release: partner is the acquire in look_for_data_sc; the records are whole. */
    atomic_store_explicit(&ring->header->tail, ring->tail, memory_order_release);
}

int32_t kl_spsc_ring_push_sp(kl_spsc_ring *ring, const void *data, uint32_t bytes) {
    int32_t status = append(ring, data, bytes);
    if (status == KL_OK) publish(ring);
    return status;
}

/* ---- consumer ---- */

int32_t kl_spsc_ring_look_for_data_sc(kl_spsc_ring *ring) {
    uint64_t tail = load(&ring->header->tail), head = ring->head;
    if (!is_possible(ring, head, tail)) return impossible("tail", head, tail);
    ring->tail_seen = tail;
    return tail == head ? KL_ERR_AGAIN : KL_OK;
}

/* Size of the record at `position`, `used` bytes of which and more are published. */
static int32_t record_size(const kl_spsc_ring *ring, uint64_t position, uint64_t used) {
    if (ring->record_bytes != 0) return (int32_t)ring->record_bytes;
    /* One load (relaxed; ordered by the acquire of tail): what is checked is what is used. */
    uint64_t record = atomic_load_explicit(
        (const _Atomic uint64_t *)(const void *)(ring->data + (position & ring->mask)),
        memory_order_relaxed);
    if (record > RECORD_BYTES_MAX || KL_SPSC_RING_RECORD_BYTES + padded(record) > used)
        return kl_fail(KL_ERR_CORRUPT,
                       "ring record at position %llu: header 0x%016llx with %llu bytes published",
                       (unsigned long long)position, (unsigned long long)record,
                       (unsigned long long)used);
    return (int32_t)record;
}

int32_t kl_spsc_ring_peek_sc(kl_spsc_ring *ring) {
    if (ring->head == ring->tail_seen) {
        int32_t status = kl_spsc_ring_look_for_data_sc(ring);
        if (status != KL_OK) return status;
    }
    return record_size(ring, ring->head, ring->tail_seen - ring->head);
}

/* Copies the record at ring->head, of `bytes` as peek said, and steps over it without freeing. */
static void take(kl_spsc_ring *ring, void *out, uint32_t bytes) {
    uint64_t header_bytes = ring->record_bytes == 0 ? KL_SPSC_RING_RECORD_BYTES : 0;
    copy_out(ring, ring->head + header_bytes, out, bytes);
    ring->head += header_bytes + padded(bytes);
}

static void give_back(kl_spsc_ring *ring) {
    /* release: partner is the acquire in look_for_space_sp; the bytes were read before. */
    atomic_store_explicit(&ring->header->head, ring->head, memory_order_release);
}

int32_t kl_spsc_ring_pop_sc(kl_spsc_ring *ring, void *out, uint32_t capacity) {
    int32_t bytes = kl_spsc_ring_peek_sc(ring);
    if (bytes < 0) return bytes;
    if ((uint32_t)bytes > capacity)
        return kl_fail(KL_ERR_LIMIT, "a record of %d bytes for a buffer of %u", bytes, capacity);
    take(ring, out, (uint32_t)bytes);
    give_back(ring);
    return bytes;
}

/* ---- in place ---- */

int32_t kl_spsc_ring_claim_sp(kl_spsc_ring *ring, uint32_t bytes, uint64_t *position) {
    uint64_t taken = footprint(ring, bytes);
    if (taken == 0) return never_fits(ring, bytes);
    if (ring->mask + 1 - (ring->tail - ring->head_seen) < taken) {
        int32_t status = kl_spsc_ring_look_for_space_sp(ring, taken);
        if (status != KL_OK) return status;
    }
    *position = ring->tail;
    return KL_OK;
}

int32_t kl_spsc_ring_commit_sp(kl_spsc_ring *ring, uint32_t bytes) {
    uint64_t position, record = bytes; /* flags, the upper half, are 0 */
    int32_t status = kl_spsc_ring_claim_sp(ring, bytes, &position);
    if (status != KL_OK) return status;
    if (ring->record_bytes == 0)
        memcpy(ring->data + (position & ring->mask), &record, sizeof record);
    ring->tail += footprint(ring, bytes);
    publish(ring);
    return KL_OK;
}

int32_t kl_spsc_ring_release_sc(kl_spsc_ring *ring) {
    int32_t bytes = kl_spsc_ring_peek_sc(ring);
    if (bytes < 0) return bytes;
    ring->head +=
        (ring->record_bytes == 0 ? KL_SPSC_RING_RECORD_BYTES : 0) + padded((uint32_t)bytes);
    give_back(ring);
    return KL_OK;
}

/* ---- words ---- */

int32_t kl_spsc_ring_push_words_sp(kl_spsc_ring *ring, const uint8_t *words, uint32_t count) {
    uint64_t tail = ring->tail, room = ring->mask + 1 - (tail - ring->head_seen);
    if (room < 8 * (uint64_t)count) {
        int32_t status = kl_spsc_ring_look_for_space_sp(ring, 8);
        if (status == KL_ERR_AGAIN) return 0;
        if (status != KL_OK) return status;
        room = ring->mask + 1 - (tail - ring->head_seen);
    }
    if (count > room / 8) count = (uint32_t)(room / 8);
    if (count > INT32_MAX) count = INT32_MAX;
    for (uint32_t i = 0; i < count; i++, tail += 8) {
        uint32_t word;
        memcpy(&word, words + 4 * (uint64_t)i, 4);
        uint64_t value = word;
        memcpy(ring->data + (tail & ring->mask), &value, 8);
    }
    ring->tail = tail;
    if (count > 0) publish(ring);
    return (int32_t)count;
}

int32_t kl_spsc_ring_pop_words_sc(kl_spsc_ring *ring, uint8_t *words, uint32_t count) {
    uint64_t head = ring->head;
    if (ring->tail_seen - head < 8 * (uint64_t)count) {
        int32_t status = kl_spsc_ring_look_for_data_sc(ring);
        if (status == KL_ERR_AGAIN) return 0;
        if (status != KL_OK) return status;
    }
    uint64_t there = (ring->tail_seen - head) / 8;
    if (count > there) count = (uint32_t)there;
    if (count > INT32_MAX) count = INT32_MAX;
    for (uint32_t i = 0; i < count; i++, head += 8) {
        uint64_t value;
        memcpy(&value, ring->data + (head & ring->mask), 8);
        uint32_t word = (uint32_t)value;
        memcpy(words + 4 * (uint64_t)i, &word, 4);
    }
    ring->head = head;
    if (count > 0) give_back(ring);
    return (int32_t)count;
}

/* ---- both ---- */

int32_t kl_spsc_ring_verify(const kl_spsc_ring *ring) {
    uint64_t head = load(&ring->header->head), tail = load(&ring->header->tail);
    if (!is_possible(ring, head, tail)) return impossible("positions", head, tail);
    if (ring->record_bytes != 0) return KL_OK;
    while (head != tail) { /* at most capacity / 8 records */
        int32_t bytes = record_size(ring, head, tail - head);
        if (bytes < 0) return bytes;
        head += KL_SPSC_RING_RECORD_BYTES + padded((uint64_t)bytes);
    }
    return KL_OK;
}

/* The batches of the FFI: {u32 bytes, bytes} padded to 4, one after the other. */
int32_t kl_spsc_ring_push_batch_sp(kl_spsc_ring *ring, const uint8_t *records, uint32_t bytes) {
    uint64_t at = 0;
    int32_t count = 0, status = KL_OK;
    while (bytes - at >= 4) {
        uint32_t record_bytes;
        memcpy(&record_bytes, records + at, 4);
        if (record_bytes > bytes - at - 4)
            status = kl_fail(KL_ERR_ARGUMENT, "record %d of the batch ends outside of it", count);
        else
            status = append(ring, records + at + 4, record_bytes);
        if (status != KL_OK) break;
        count++;
        at += 4 + (((uint64_t)record_bytes + 3) & ~3ull);
        if (at > bytes) break;
    }
    if (count > 0) publish(ring);
    return count > 0 || status == KL_ERR_AGAIN ? count : status;
}

int32_t kl_spsc_ring_pop_batch_sc(kl_spsc_ring *ring, uint8_t *out, uint32_t capacity) {
    uint64_t at = 0;
    int32_t count = 0, bytes;
    while ((bytes = kl_spsc_ring_peek_sc(ring)) >= 0) {
        uint32_t record_bytes = (uint32_t)bytes;
        uint64_t taken = 4 + (((uint64_t)record_bytes + 3) & ~3ull);
        if (taken > capacity - at) break;
        memcpy(out + at, &record_bytes, 4);
        take(ring, out + at + 4, record_bytes);
        at += taken;
        count++;
    }
    if (count > 0) give_back(ring);
    if (count > 0 || bytes == KL_ERR_AGAIN) return count;
    if (bytes >= 0)
        return kl_fail(KL_ERR_LIMIT, "a record of %d bytes for a batch of %u", bytes, capacity);
    return bytes;
}

/* ---- behind a handle ---- */

/* Sides of a named ring belong to threads, not processes: so a Worker that was terminated, whose
 * process lives on and still has the region open, is seen to be gone. */
typedef struct {
    kl_shared_object object;
    kl_spsc_ring ring;
    uint32_t claimed[3]; /* by side: the thread id it was claimed with; by its own thread only */
} named_ring;

typedef struct {
    uint64_t capacity_bytes;
    uint32_t record_bytes;
} geometry;

static int32_t format_named(void *memory, uint64_t memory_bytes, const void *options) {
    const geometry *wanted = options;
    (void)memory_bytes;
    return kl_spsc_ring_format(memory, wanted->capacity_bytes, wanted->record_bytes);
}

static int32_t grip_named(kl_shared_object *object, void *memory, uint64_t memory_bytes) {
    return kl_spsc_ring_grip(&((named_ring *)object)->ring, memory, memory_bytes);
}

static void leave_named(kl_shared_object *object) {
    named_ring *named = (named_ring *)object;
    for (uint32_t side = KL_SPSC_RING_PRODUCER; side <= KL_SPSC_RING_CONSUMER; side++)
        if (named->claimed[side]) release_as(&named->ring, side, named->claimed[side]);
}

static kl_event_count *event_of_named(kl_shared_object *object, uint32_t index) {
    kl_spsc_ring_header *header = ((named_ring *)object)->ring.header;
    return index == 0 ? &header->data_event : index == 1 ? &header->space_event : NULL;
}

static int32_t claim_for_this_thread(named_ring *named, uint32_t side) {
    int32_t self = kl_shared_object_self(&named->object);
    if (self < 0) return self;
    int32_t status =
        claim_as(&named->ring, named->object.region, side, (uint32_t)self, kl_region_thread_alive);
    if (status >= 0) named->claimed[side] = (uint32_t)self;
    return status;
}

static int32_t prepare_named(kl_shared_object *object, uint32_t what, uint32_t argument,
                             kl_event_count **event, uint32_t *key) {
    named_ring *named = (named_ring *)object;
    kl_spsc_ring *ring = &named->ring;
    if (what != KL_SPSC_RING_PRODUCER && what != KL_SPSC_RING_CONSUMER)
        return kl_fail(KL_ERR_ARGUMENT, "side %u of a ring: 1 (producer) or 2 (consumer)", what);
    int32_t status = named->claimed[what] ? KL_OK : claim_for_this_thread(named, what);
    if (status < 0) return status;
    bool data = what == KL_SPSC_RING_CONSUMER;
    *event = data ? &ring->header->data_event : &ring->header->space_event;
    *key = kl_event_count_prepare(*event);
    if (data) {
        status = kl_spsc_ring_look_for_data_sc(ring);
    } else {
        uint64_t taken = footprint(ring, argument);
        status =
            taken == 0 ? never_fits(ring, argument) : kl_spsc_ring_look_for_space_sp(ring, taken);
    }
    return status == KL_OK ? 1 : status == KL_ERR_AGAIN ? 0 : status;
}

static const kl_shared_object_type NAMED = {.handle_kind = KL_HANDLE_SPSC_RING,
                                            .magic = KL_SPSC_RING_MAGIC,
                                            .layout_hash = KL_LAYOUT_HASH,
                                            .object_bytes = sizeof(named_ring),
                                            .noun = "ring",
                                            .format = format_named,
                                            .grip = grip_named,
                                            .leave = leave_named,
                                            .event = event_of_named,
                                            .prepare = prepare_named};

int32_t kl_spsc_ring_create(const uint8_t *name, uint32_t name_bytes, double capacity_bytes,
                            uint32_t record_bytes, uint8_t *out) {
    geometry wanted = {.record_bytes = record_bytes};
    if (capacity_bytes >= 0 && capacity_bytes <= (double)KL_SPSC_RING_CAPACITY_MAX)
        wanted.capacity_bytes = (uint64_t)capacity_bytes;
    int32_t status = check_geometry(wanted.capacity_bytes, record_bytes);
    if (status != KL_OK) return status;
    return kl_shared_object_create(&NAMED, name, name_bytes,
                                   kl_spsc_ring_memory_bytes(wanted.capacity_bytes), &wanted, out);
}

int32_t kl_spsc_ring_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out) {
    return kl_shared_object_attach(&NAMED, name, name_bytes, out);
}

int32_t kl_spsc_ring_close(uint32_t ring) {
    return kl_shared_object_close(&NAMED, ring);
}

int32_t kl_spsc_ring_remove(const uint8_t *name, uint32_t name_bytes) {
    return kl_shared_object_remove(&NAMED, name, name_bytes);
}

/* Enters the handle and makes sure that `side` is ours (0: no side is needed). */
static inline int32_t enter(uint32_t handle, uint32_t side, named_ring **out) {
    named_ring *named = kl_shared_object_enter(&NAMED, handle);
    if (!named) return KL_ERR_HANDLE;
    int32_t status = KL_OK;
    if (side != 0 && __builtin_expect(!named->claimed[side], 0))
        status = claim_for_this_thread(named, side);
    if (__builtin_expect(status < 0, 0))
        return kl_shared_object_leave(&named->object, handle, NULL, status);
    *out = named;
    return KL_OK;
}

static inline int32_t leave(uint32_t handle, named_ring *named, kl_event_count *changed,
                            int32_t status) {
    return kl_shared_object_leave(&named->object, handle, changed, status);
}

int32_t kl_spsc_ring_push(uint32_t ring, const uint8_t *data, uint32_t bytes) {
    named_ring *named = NULL;
    if (!data && bytes > 0) return kl_fail(KL_ERR_ARGUMENT, "%u bytes at NULL", bytes);
    int32_t status = enter(ring, KL_SPSC_RING_PRODUCER, &named);
    if (status != KL_OK) return status;
    status = kl_spsc_ring_push_sp(&named->ring, data, bytes);
    return leave(ring, named, status == KL_OK ? &named->ring.header->data_event : NULL, status);
}

int32_t kl_spsc_ring_pop(uint32_t ring, uint8_t *out, uint32_t capacity) {
    named_ring *named = NULL;
    if (!out && capacity > 0) return kl_fail(KL_ERR_ARGUMENT, "%u bytes at NULL", capacity);
    int32_t status = enter(ring, KL_SPSC_RING_CONSUMER, &named);
    if (status != KL_OK) return status;
    status = kl_spsc_ring_pop_sc(&named->ring, out, capacity);
    return leave(ring, named, status >= 0 ? &named->ring.header->space_event : NULL, status);
}

int32_t kl_spsc_ring_pop_at(uint32_t ring, uint8_t *out, uint32_t offset, uint32_t capacity) {
    return kl_spsc_ring_pop(ring, out ? out + offset : NULL, out ? capacity : 0);
}

int32_t kl_spsc_ring_push_many(uint32_t ring, const uint8_t *records, uint32_t bytes) {
    named_ring *named = NULL;
    if (!records && bytes > 0) return kl_fail(KL_ERR_ARGUMENT, "%u bytes at NULL", bytes);
    int32_t status = enter(ring, KL_SPSC_RING_PRODUCER, &named);
    if (status != KL_OK) return status;
    status = kl_spsc_ring_push_batch_sp(&named->ring, records, bytes);
    return leave(ring, named, status > 0 ? &named->ring.header->data_event : NULL, status);
}

int32_t kl_spsc_ring_pop_many(uint32_t ring, uint8_t *out, uint32_t capacity) {
    named_ring *named = NULL;
    if (!out && capacity > 0) return kl_fail(KL_ERR_ARGUMENT, "%u bytes at NULL", capacity);
    int32_t status = enter(ring, KL_SPSC_RING_CONSUMER, &named);
    if (status != KL_OK) return status;
    status = kl_spsc_ring_pop_batch_sc(&named->ring, out, capacity);
    return leave(ring, named, status > 0 ? &named->ring.header->space_event : NULL, status);
}

static int32_t only_words(const named_ring *named) {
    if (named->ring.record_bytes == 8) return KL_OK;
    return kl_fail(KL_ERR_ARGUMENT, "a ring of byte records, not of 8-byte ones");
}

int32_t kl_spsc_ring_push_u32(uint32_t ring, uint32_t value) {
    named_ring *named = NULL;
    int32_t status = enter(ring, KL_SPSC_RING_PRODUCER, &named);
    if (status != KL_OK) return status;
    status = only_words(named);
    if (status == KL_OK) status = kl_spsc_ring_push_u64_sp(&named->ring, value);
    return leave(ring, named, status == KL_OK ? &named->ring.header->data_event : NULL, status);
}

double kl_spsc_ring_pop_u32(uint32_t ring) {
    named_ring *named = NULL;
    uint64_t value = 0;
    int32_t status = enter(ring, KL_SPSC_RING_CONSUMER, &named);
    if (status != KL_OK) return status;
    status = only_words(named);
    if (status == KL_OK) status = kl_spsc_ring_pop_u64_sc(&named->ring, &value);
    status = leave(ring, named, status == KL_OK ? &named->ring.header->space_event : NULL, status);
    return status == KL_OK ? (double)(uint32_t)value : status;
}

int32_t kl_spsc_ring_push_words(uint32_t ring, const uint8_t *words, uint32_t count) {
    named_ring *named = NULL;
    if (!words && count > 0) return kl_fail(KL_ERR_ARGUMENT, "%u words at NULL", count);
    int32_t status = enter(ring, KL_SPSC_RING_PRODUCER, &named);
    if (status != KL_OK) return status;
    status = only_words(named);
    if (status == KL_OK) status = kl_spsc_ring_push_words_sp(&named->ring, words, count);
    return leave(ring, named, status > 0 ? &named->ring.header->data_event : NULL, status);
}

int32_t kl_spsc_ring_pop_words(uint32_t ring, uint8_t *words, uint32_t count) {
    named_ring *named = NULL;
    if (!words && count > 0) return kl_fail(KL_ERR_ARGUMENT, "%u words at NULL", count);
    int32_t status = enter(ring, KL_SPSC_RING_CONSUMER, &named);
    if (status != KL_OK) return status;
    status = only_words(named);
    if (status == KL_OK) status = kl_spsc_ring_pop_words_sc(&named->ring, words, count);
    return leave(ring, named, status > 0 ? &named->ring.header->space_event : NULL, status);
}

static int32_t only_records(const named_ring *named) {
    if (named->ring.record_bytes == 0) return KL_OK;
    return kl_fail(KL_ERR_ARGUMENT, "a ring of 8-byte records, not of byte ones");
}

int32_t kl_spsc_ring_peek_copy(uint32_t ring, uint8_t *out, uint32_t capacity) {
    named_ring *named = NULL;
    int32_t status = enter(ring, KL_SPSC_RING_CONSUMER, &named);
    if (status != KL_OK) return status;
    status = only_records(named);
    if (status == KL_OK) status = kl_spsc_ring_peek_sc(&named->ring);
    if (status > 0 && (!out || (uint32_t)status > capacity))
        status = kl_fail(KL_ERR_LIMIT, "a record of %d bytes for %u", status, capacity);
    if (status > 0)
        copy_out(&named->ring, named->ring.head + KL_SPSC_RING_RECORD_BYTES, out, (uint64_t)status);
    return leave(ring, named, NULL, status);
}

double kl_spsc_ring_reserve(uint32_t ring, uint32_t bytes) {
    named_ring *named = NULL;
    uint64_t position = 0;
    int32_t status = enter(ring, KL_SPSC_RING_PRODUCER, &named);
    if (status != KL_OK) return status;
    status = only_records(named);
    if (status == KL_OK) status = kl_spsc_ring_claim_sp(&named->ring, bytes, &position);
    status = leave(ring, named, NULL, status);
    return status == KL_OK ? (double)(position & ((1ull << 53) - 1)) : status;
}

int32_t kl_spsc_ring_commit(uint32_t ring, const uint8_t *data, uint32_t bytes) {
    named_ring *named = NULL;
    int32_t status = enter(ring, KL_SPSC_RING_PRODUCER, &named);
    if (status != KL_OK) return status;
    status = data ? kl_spsc_ring_push_sp(&named->ring, data, bytes)
                  : kl_spsc_ring_commit_sp(&named->ring, bytes);
    return leave(ring, named, status == KL_OK ? &named->ring.header->data_event : NULL, status);
}

int32_t kl_spsc_ring_skip(uint32_t ring) {
    named_ring *named = NULL;
    int32_t status = enter(ring, KL_SPSC_RING_CONSUMER, &named);
    if (status != KL_OK) return status;
    status = kl_spsc_ring_release_sc(&named->ring);
    return leave(ring, named, status == KL_OK ? &named->ring.header->space_event : NULL, status);
}

double kl_spsc_ring_position(uint32_t ring) {
    named_ring *named = NULL;
    int32_t status = enter(ring, KL_SPSC_RING_CONSUMER, &named);
    if (status != KL_OK) return status;
    uint64_t head = named->ring.head & ((1ull << 53) - 1);
    status = leave(ring, named, NULL, only_records(named));
    return status == KL_OK ? (double)head : status;
}

int32_t kl_spsc_ring_address(uint32_t ring, uint8_t *out) {
    named_ring *named = NULL;
    if (!out) return kl_fail(KL_ERR_ARGUMENT, "no place for the address");
    int32_t status = enter(ring, 0, &named);
    if (status != KL_OK) return status;
    uint64_t address = (uint64_t)(uintptr_t)named->ring.data;
    memcpy(out, &address, sizeof address);
    return leave(ring, named, NULL, KL_OK);
}

int32_t kl_spsc_ring_peek(uint32_t ring) {
    named_ring *named = NULL;
    int32_t status = enter(ring, KL_SPSC_RING_CONSUMER, &named);
    return status == KL_OK ? leave(ring, named, NULL, kl_spsc_ring_peek_sc(&named->ring)) : status;
}

double kl_spsc_ring_used_bytes(uint32_t ring) {
    named_ring *named = NULL;
    int32_t status = enter(ring, 0, &named);
    if (status != KL_OK) return status;
    /* Head first: both may move, and a tail that is too new is cut to what can be. */
    uint64_t head = load(&named->ring.header->head);
    uint64_t used = load(&named->ring.header->tail) - head, most = named->ring.mask + 1;
    status = leave(ring, named, NULL, KL_OK);
    return status == KL_OK ? (double)(used < most ? used : most) : status;
}

double kl_spsc_ring_capacity_bytes(uint32_t ring) {
    named_ring *named = NULL;
    int32_t status = enter(ring, 0, &named);
    if (status != KL_OK) return status;
    uint64_t capacity = named->ring.mask + 1;
    leave(ring, named, NULL, KL_OK);
    return (double)capacity;
}

int32_t kl_spsc_ring_check(uint32_t ring) {
    named_ring *named = NULL;
    int32_t status = enter(ring, 0, &named);
    return status == KL_OK ? leave(ring, named, NULL, kl_spsc_ring_verify(&named->ring)) : status;
}
