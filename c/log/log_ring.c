#include "log/log_ring.h"

#include "base/checksum.h"
#include "base/cpu.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define REGION_KIND       0x474F4Cu /* "LOG" */
#define REGION_LAYOUT     (0x52494E00u + KL_LOG_RING_VERSION)
#define CHECKSUM_STEP     (16u << 10)
#define REGION_NAME_BYTES 64u
#define REGION_PATH_BYTES 512u
#define SMALL_BYTES       512u
#define SHARED_BYTES      sizeof(kl_log_ring_shared)

static int32_t region_path(const uint8_t *uuid, char *path) {
    char name[REGION_NAME_BYTES] = "log-";
    for (uint32_t i = 0; i < KL_LOG_UUID_BYTES; i++)
        snprintf(name + 4 + 2 * i, sizeof name - 4 - 2 * i, "%02x", uuid[i]);
    return kl_region_name_path(name, path, REGION_PATH_BYTES);
}

static void region_spec(const uint8_t *uuid, kl_region_spec *spec) {
    *spec = (kl_region_spec){.kind = REGION_KIND, .layout_hash = REGION_LAYOUT};
    memcpy(spec->uuid, uuid, KL_LOG_UUID_BYTES);
}

static void format(kl_log_ring *ring, const uint8_t *uuid, uint64_t size, uint64_t address) {
    kl_log_ring_shared *shared = ring->shared;
    shared->magic = KL_LOG_RING_MAGIC;
    shared->version = KL_LOG_RING_VERSION;
    shared->slot_count = KL_LOG_SLOT_COUNT;
    shared->ring_bytes = size;
    memcpy(shared->uuid, uuid, KL_LOG_UUID_BYTES);
    ring->size = size;
    ring->bytes = (uint8_t *)shared + SHARED_BYTES;
    kl_log_ring_reset(ring, address);
}

static int32_t create_shared(kl_log_ring *ring, const uint8_t *uuid, uint64_t size,
                             uint64_t address) {
    char path[REGION_PATH_BYTES];
    kl_region_spec spec;
    kl_region *region = NULL;
    int32_t status = region_path(uuid, path);
    if (status != KL_OK) return status;
    region_spec(uuid, &spec);
    status = kl_region_create(&region, path, SHARED_BYTES + size, &spec);
    if (status != KL_OK) return status;
    ring->region = region;
    ring->shared = (kl_log_ring_shared *)(void *)kl_region_data(region);
    format(ring, uuid, size, address);
    status = kl_region_publish(region);
    if (status != KL_OK) {
        kl_region_close(region);
        *ring = (kl_log_ring){0};
    }
    return status;
}

int32_t kl_log_ring_create(kl_log_ring *ring, const uint8_t *uuid, uint64_t size, bool shared,
                           uint64_t address) {
    *ring = (kl_log_ring){0};
    if (shared && create_shared(ring, uuid, size, address) == KL_OK) return KL_OK;
    void *memory = mmap(NULL, (size_t)(SHARED_BYTES + size), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return kl_fail_errno(KL_ERR_MEMORY, errno, "no memory for a log ring of %llu bytes",
                             (unsigned long long)size);
    ring->shared = memory;
    format(ring, uuid, size, address);
    return KL_OK;
}

int32_t kl_log_ring_adopt(kl_log_ring *ring, const uint8_t *uuid) {
    char path[REGION_PATH_BYTES];
    kl_region_spec spec;
    kl_region *region = NULL;
    *ring = (kl_log_ring){0};
    int32_t status = region_path(uuid, path);
    if (status != KL_OK) return status;
    region_spec(uuid, &spec);
    status = kl_region_attach(&region, path, &spec);
    if (status != KL_OK) return status;
    kl_log_ring_shared *shared = (kl_log_ring_shared *)(void *)kl_region_data(region);
    uint64_t bytes = kl_region_data_bytes(region);
    uint64_t size = bytes < SHARED_BYTES ? 0 : shared->ring_bytes;
    if (size < KL_LOG_RING_MIN || size > KL_LOG_RING_MAX || (size & (size - 1)) != 0 ||
        size > bytes - SHARED_BYTES || shared->magic != KL_LOG_RING_MAGIC ||
        memcmp(shared->uuid, uuid, KL_LOG_UUID_BYTES) != 0) {
        kl_region_close(region);
        return kl_fail(KL_ERR_FOREIGN,
                       "%s is not the ring of this log; remove it to go on without "
                       "what it may hold",
                       path);
    }
    ring->region = region;
    ring->shared = shared;
    ring->bytes = (uint8_t *)shared + SHARED_BYTES;
    ring->size = size;
    return KL_OK;
}

void kl_log_ring_reset(kl_log_ring *ring, uint64_t address) {
    kl_log_ring_shared *shared = ring->shared;
    for (uint32_t i = 0; i < KL_LOG_SLOT_COUNT; i++)
        atomic_store_explicit(&shared->slots[i].address, KL_LOG_SLOT_FREE, memory_order_relaxed);
    /* release: readers in other processes take durable with acquire. Tail first: a ring whose tail
     * is below its flushed never looks as if it held something. */
    atomic_store_explicit(&shared->tail, address, memory_order_release);
    atomic_store_explicit(&shared->flushed, address, memory_order_release);
    atomic_store_explicit(&shared->durable, address, memory_order_release);
}

void kl_log_ring_close(kl_log_ring *ring, bool unlink) {
    if (ring->shared == NULL) return;
    if (ring->region != NULL) {
        if (unlink) {
            kl_log_ring_remove(ring->shared->uuid);
            /* release: partner is the load in log_reader.c; durable has its last value. */
            atomic_store_explicit(&ring->shared->closed, 1, memory_order_release);
        }
        kl_region_close(ring->region);
    } else {
        munmap(ring->shared, (size_t)(SHARED_BYTES + ring->size));
    }
    *ring = (kl_log_ring){0};
}

void kl_log_ring_remove(const uint8_t *uuid) {
    char path[REGION_PATH_BYTES];
    if (region_path(uuid, path) == KL_OK) kl_region_unlink(path);
}

kl_log_slot *kl_log_ring_enter(kl_log_ring *ring) {
    static _Atomic uint32_t next_hint;
    static _Thread_local uint32_t hint = UINT32_MAX;
    /* relaxed: only spreads threads over slots. */
    if (hint == UINT32_MAX)
        hint = atomic_fetch_add_explicit(&next_hint, 1, memory_order_relaxed) % KL_LOG_SLOT_COUNT;
    for (uint32_t i = 0; i < KL_LOG_SLOT_COUNT; i++) {
        uint32_t index = (hint + i) % KL_LOG_SLOT_COUNT;
        kl_log_slot *slot = &ring->shared->slots[index];
        uint64_t free_mark = KL_LOG_SLOT_FREE;
        /* relaxed: any value the tail had before our own addition is a lower bound. */
        uint64_t bound = atomic_load_explicit(&ring->shared->tail, memory_order_relaxed);
        /* acq_rel: the release half is part of what our addition to the tail publishes. */
        if (atomic_compare_exchange_strong_explicit(&slot->address, &free_mark, bound,
                                                    memory_order_acq_rel, memory_order_relaxed)) {
            hint = index;
            return slot;
        }
    }
    return NULL;
}

uint64_t kl_log_ring_reserve(kl_log_ring *ring, kl_log_slot *slot, uint64_t total) {
    /* release: partner is the acquire of the tail in kl_log_ring_safe(): who counts us in also sees
     * the bound in our slot. */
    uint64_t address = atomic_fetch_add_explicit(&ring->shared->tail, total, memory_order_acq_rel);
    atomic_store_explicit(&slot->address, address, memory_order_release);
    return address;
}

bool kl_log_ring_reserve_at(kl_log_ring *ring, kl_log_slot *slot, uint64_t at, uint64_t total) {
    /* release: as in kl_log_ring_reserve(). */
    if (!atomic_compare_exchange_strong_explicit(&ring->shared->tail, &at, at + total,
                                                 memory_order_acq_rel, memory_order_relaxed))
        return false;
    atomic_store_explicit(&slot->address, at, memory_order_release);
    return true;
}

bool kl_log_ring_try_reserve(kl_log_ring *ring, kl_log_slot *slot, uint64_t total,
                             uint64_t *address) {
    for (;;) { /* ends: each round that fails means that another append got on */
        uint64_t tail = atomic_load_explicit(&ring->shared->tail, memory_order_relaxed);
        if (!kl_log_ring_has_room(ring, tail + total)) return false;
        if (kl_log_ring_reserve_at(ring, slot, tail, total)) {
            *address = tail;
            return true;
        }
    }
}

uint64_t kl_log_ring_safe(const kl_log_ring *ring) {
    /* acquire, and before the slots: partner is the addition in kl_log_ring_reserve(). */
    uint64_t safe = atomic_load_explicit(&ring->shared->tail, memory_order_acquire);
    for (uint32_t i = 0; i < KL_LOG_SLOT_COUNT; i++) {
        /* acquire: partner is the release in kl_log_ring_leave(). */
        uint64_t bound =
            atomic_load_explicit(&ring->shared->slots[i].address, memory_order_acquire);
        if (bound < safe) safe = bound;
    }
    return safe;
}

/* Copies and continues `crc` over the copy: the source may be memory that others change meanwhile.
 * In steps, so that the second pass finds them in the cache. */
static uint32_t copy_in(kl_log_ring *ring, uint64_t address, const void *data, uint64_t bytes,
                        uint32_t crc) {
    const uint8_t *from = data;
    while (bytes > 0) {
        uint64_t at = address & (ring->size - 1);
        uint64_t step = bytes < CHECKSUM_STEP ? bytes : CHECKSUM_STEP;
        if (step > ring->size - at) step = ring->size - at;
        memcpy(ring->bytes + at, from, (size_t)step);
        crc = kl_crc32c(crc, ring->bytes + at, (size_t)step);
        from += step;
        address += step;
        bytes -= step;
    }
    return crc;
}

static void copy_header_in(kl_log_ring *ring, uint64_t address, const kl_log_frame_header *header) {
    uint64_t at = address & (ring->size - 1);
    size_t first = ring->size - at < sizeof *header ? (size_t)(ring->size - at) : sizeof *header;
    memcpy(ring->bytes + at, header, first);
    memcpy(ring->bytes, (const uint8_t *)header + first, sizeof *header - first);
}

void kl_log_ring_copy_out(const kl_log_ring *ring, uint64_t address, void *out, uint64_t bytes) {
    uint64_t at = address & (ring->size - 1);
    uint64_t first = ring->size - at < bytes ? ring->size - at : bytes;
    KL_ASSERT(bytes <= ring->size);
    memcpy(out, ring->bytes + at, (size_t)first);
    if (first < bytes) memcpy((uint8_t *)out + first, ring->bytes, (size_t)(bytes - first));
}

/* Small frames are put together first: one checksum call and one copy instead of four of each. */
static void put_small(kl_log_ring *ring, uint32_t seed, uint64_t address,
                      kl_log_frame_header *header, const kl_span *parts, uint32_t part_count) {
    uint8_t bytes[sizeof address + SMALL_BYTES];
    uint8_t *frame = bytes + sizeof address;
    uint64_t total = kl_log_frame_total(header->bytes);
    memset(frame + total - 8, 0, 8);
    uint8_t *to = frame + KL_LOG_FRAME_HEADER;
    for (uint32_t i = 0; i < part_count; i++) {
        if (parts[i].bytes > 0) memcpy(to, parts[i].data, (size_t)parts[i].bytes);
        to += parts[i].bytes;
    }
    memcpy(frame, header, sizeof *header);
    /* The address before byte 4 of the frame, in the place of the checksum and what is before. */
    memcpy(frame + 4 - sizeof address, &address, sizeof address);
    header->crc = kl_crc32c(seed, frame + 4 - sizeof address, sizeof address + (size_t)total - 4);
    memcpy(frame, &header->crc, sizeof header->crc);
    uint64_t at = address & (ring->size - 1);
    uint64_t first = ring->size - at < total ? ring->size - at : total;
    memcpy(ring->bytes + at, frame, (size_t)first);
    if (first < total) memcpy(ring->bytes, frame + first, (size_t)(total - first));
}

void kl_log_ring_put(kl_log_ring *ring, uint32_t seed, uint64_t address,
                     kl_log_frame_header *header, const kl_span *parts, uint32_t part_count) {
    static const uint8_t fill[8];
    if (header->bytes <= SMALL_BYTES - KL_LOG_FRAME_HEADER) {
        put_small(ring, seed, address, header, parts, part_count);
        return;
    }
    uint32_t crc = kl_log_frame_begin(seed, address, header);
    uint64_t to = address + KL_LOG_FRAME_HEADER;
    for (uint32_t i = 0; i < part_count; i++) {
        crc = copy_in(ring, to, parts[i].data, parts[i].bytes, crc);
        to += parts[i].bytes;
    }
    uint64_t fill_bytes = address + kl_log_frame_total(header->bytes) - to;
    KL_ASSERT(fill_bytes < 8);
    header->crc = copy_in(ring, to, fill, fill_bytes, crc);
    copy_header_in(ring, address, header);
}
