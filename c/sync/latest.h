/* latest: the newest value of something, for one writer and any number of readers, in shared memory.
 *
 *   line 0  published   version of the newest whole value, 0: none yet  \  written by the writer only
 *           writing     version whose cell may be half written          /
 *   line 1  magic, version, value_bytes    written once by format
 *   line 2  writer      thread id of the writer, or 0; by compare-exchange
 *   line 3  changed     event, notified by the writer
 *   line 4- cells       KL_LATEST_CELLS of {u64 bytes, value padded to 8}, each on its own lines
 *
 * Version v lies in cell v % KL_LATEST_CELLS. The writer announces v in `writing`, fills the cell and
 * then publishes v; a reader copies the cell of what is published and keeps the copy if `writing`
 * has not come round to that cell meanwhile (a seqlock of several cells: the value that readers are
 * in the middle of is not the one that is overwritten).
 * Always: published <= writing <= published + 1. A value read is one that was set, whole; versions
 * read by one reader never go back.
 * Death: of the writer anywhere: the last published value stays; a half written cell is announced and
 * is written anew by the next writer, who takes the role. Readers leave no trace.
 * Progress: set is wait-free. A reader tries again only when KL_LATEST_CELLS - 1 values were set while
 * it copied one, at most KL_LATEST_TRIES_MAX times (KL_ERR_AGAIN): it cannot be blocked, by a dead
 * writer least of all.
 * Scribbled memory: cells are masked, lengths bounded: a wrong value, KL_ERR_CORRUPT or KL_ERR_AGAIN.
 * Source: Lamport, "Concurrent reading and writing", CACM 1977; Boehm, MSPC 2012 (sync/shared_copy.h).
 *
 * May these run at the same time?   set  read  claim  format
 *                             set   no   yes   yes    no
 *                             read  yes  yes   yes    no
 */
#ifndef KL_SYNC_LATEST_H
#define KL_SYNC_LATEST_H

#include "mem/region.h"
#include "sync/event_count.h"
#include "sync/shared_copy.h"

#define KL_LATEST_MAGIC           0x544c4c4bu /* "KLLT" */
#define KL_LATEST_VERSION         1u
#define KL_LATEST_CELLS           4u
#define KL_LATEST_VALUE_BYTES_MAX (64u << 20)
#define KL_LATEST_TRIES_MAX       10000u

/* layout: kl_latest_header published writing magic version value_bytes writer changed */
typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t published;
    _Atomic uint64_t writing;
    _Alignas(KL_LINE_BYTES) uint32_t magic;
    uint32_t version;
    uint32_t value_bytes;
    _Alignas(KL_LINE_BYTES) _Atomic uint32_t writer;
    kl_event_count changed;
} kl_latest_header;

static_assert(sizeof(kl_latest_header) == 4 * KL_LINE_BYTES, "one line per writer");
static_assert((KL_LATEST_CELLS & (KL_LATEST_CELLS - 1)) == 0, "cells are masked");

/* One process's grip. Not shared, not written after grip. */
typedef struct {
    kl_latest_header *header;
    _Atomic uint64_t *cells;
    uint64_t cell_words;
    uint32_t value_bytes;
} kl_latest;

/* 0 when a value of that many bytes cannot be: 1 to KL_LATEST_VALUE_BYTES_MAX. */
uint64_t kl_latest_memory_bytes(uint32_t value_bytes);
int32_t kl_latest_format(void *memory, uint32_t value_bytes);
/* KL_ERR_CORRUPT, KL_ERR_VERSION. */
int32_t kl_latest_grip(kl_latest *latest, void *memory, uint64_t memory_bytes);

/* Takes the writer's role for a thread of `region` (kl_region_thread_join): KL_OK, KL_OWNER_DEAD
 * (from a dead one; nothing is to be repaired), KL_ERR_LOCKED (a live other one has it). */
int32_t kl_latest_claim(kl_latest *latest, kl_region *region, uint32_t self);
void kl_latest_release(kl_latest *latest, uint32_t self);

/* Writer: 0 to value_bytes bytes, else KL_ERR_ARGUMENT. Does not notify. */
int32_t kl_latest_set_sp(kl_latest *latest, const void *value, uint32_t bytes);

/* Copies the newest value to `out`, and its version; the bytes of it, KL_ERR_LIMIT (longer than
 * `capacity`), KL_ERR_AGAIN (never set, *version is 0; or set too often to be read), KL_ERR_CORRUPT. */
int32_t kl_latest_get(const kl_latest *latest, void *out, uint32_t capacity, uint64_t *version);

static inline uint64_t kl_latest_version(const kl_latest *latest) {
    /* acquire: partner is the release in set; values behind it are seen. */
    return atomic_load_explicit(&latest->header->published, memory_order_acquire);
}

static inline _Atomic uint64_t *kl_latest_cell(const kl_latest *latest, uint64_t version) {
    return latest->cells + (version & (KL_LATEST_CELLS - 1)) * latest->cell_words;
}

/* Whether a copy of the cell of `version`, made before this call, is whole. */
static inline bool kl_latest_copied(const kl_latest *latest, uint64_t version) {
    return kl_frontier_after_copy(&latest->header->writing) - version < KL_LATEST_CELLS;
}

/* The first 8 bytes of the newest value, zeros before the first set: for values of 8 bytes or more
 * (the caller knows). KL_OK or KL_ERR_AGAIN. */
static inline int32_t kl_latest_get_u64(const kl_latest *latest, uint64_t *value) {
    for (uint32_t tries = 0; tries < KL_LATEST_TRIES_MAX; tries++) {
        uint64_t version = kl_latest_version(latest);
        _Atomic uint64_t *cell = kl_latest_cell(latest, version);
        /* relaxed: kept only if kl_latest_copied says so. */
        uint64_t word = atomic_load_explicit(cell + 1, memory_order_relaxed);
        if (__builtin_expect(kl_latest_copied(latest, version), 1)) {
            *value = word;
            return KL_OK;
        }
    }
    return KL_ERR_AGAIN;
}

#endif
