#include "log/durable_log.h"

#include "base/clock.h"
#include "base/cpu.h"
#include "base/random.h"
#include "log/log_flush.h"
#include "log/log_leftovers.h"
#include "log/log_recovery.h"
#include "log/log_repair.h"
#include "log/log_service.h"
#include "log/log_state.h"
#include "mem/killpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FLUSH_STEP_MAX     (1u << 20)
#define ROOM_WAIT_NS       10000000u
#define OWN_FLUSH_BYTES    (2u << 20)
#define EARLY_FLUSH_BYTES  (256u << 10)
#define TELL_PARTS         4u  /* the manifest hears of durable so often per scan_bytes */
#define RECORD_TOTAL_BYTES 40u /* a commit record: header and the durable address */

/* ---- positions and state ---- */

uint64_t kl_log_first(const kl_log *log) {
    /* acquire: partner is the release in log_truncate.c. */
    return atomic_load_explicit(&log->first, memory_order_acquire);
}

uint64_t kl_log_durable(const kl_log *log) {
    /* acquire: partner is the release in lead_group(). */
    return atomic_load_explicit(&log->ring.shared->durable, memory_order_acquire);
}

uint64_t kl_log_flushed(const kl_log *log) {
    return atomic_load_explicit(&log->ring.shared->flushed, memory_order_acquire);
}

uint64_t kl_log_tail(const kl_log *log) {
    for (;;) { /* ends: the writer of a commit record decides within a few instructions */
        uint64_t tail = atomic_load_explicit(&log->ring.shared->tail, memory_order_acquire);
        uint64_t idle = atomic_load_explicit(&log->idle_tail, memory_order_acquire);
        if (idle == tail && idle != 0) return tail - RECORD_TOTAL_BYTES;
        if (idle != (tail | 1)) return tail;
        kl_cpu_pause();
    }
}

kl_event_count *kl_log_durable_event(kl_log *log) {
    return &log->ring.shared->durable_event;
}

const kl_log_recovery_report *kl_log_recovered(const kl_log *log) {
    return &log->report;
}

bool kl_log_ring_is_shared(const kl_log *log) {
    return log->ring.region != NULL;
}

uint64_t kl_log_frame_bytes_max(const kl_log *log) {
    return log->frame_bytes_max;
}

void kl_log_uuid(const kl_log *log, uint8_t out[16]) {
    memcpy(out, log->uuid, KL_LOG_UUID_BYTES);
}

int32_t kl_log_status(const kl_log *log) {
    /* acquire: partner is the release in kl_log_poison(); the text is there. */
    int32_t status = atomic_load_explicit(&log->poison, memory_order_acquire);
    return status == KL_OK ? KL_OK : kl_fail(status, "%s", log->poison_text);
}

void kl_log_keep_text(char *out, size_t capacity, int32_t status) {
    const char *text = kl_status_detail_code() == status ? kl_status_last() : "";
    size_t bytes = strnlen(text, capacity - 1);
    memcpy(out, text, bytes);
    out[bytes] = '\0';
}

int32_t kl_log_poison(kl_log *log, int32_t status) {
    pthread_mutex_lock(&log->poison_lock);
    if (atomic_load_explicit(&log->poison, memory_order_relaxed) == KL_OK) {
        kl_log_keep_text(log->poison_text, sizeof log->poison_text, status);
        atomic_store_explicit(&log->poison, status, memory_order_release);
    }
    pthread_mutex_unlock(&log->poison_lock);
    kl_event_count_notify_all(&log->ring.shared->durable_event);
    kl_event_count_notify_all(&log->ring.shared->room_event);
    return kl_log_status(log);
}

/* ---- append ---- */

static int32_t check_append(const kl_log *log, uint8_t kind, const kl_span *parts,
                            uint32_t part_count, uint64_t *bytes) {
    if (log == NULL || (parts == NULL && part_count > 0))
        return kl_fail(KL_ERR_ARGUMENT, "append needs a log and its parts");
    if (kind != KL_LOG_RECORD && kind != KL_LOG_BATCH)
        return kl_fail(KL_ERR_ARGUMENT, "a frame of kind %u cannot be appended", kind);
    *bytes = 0;
    for (uint32_t i = 0; i < part_count; i++) {
        if (parts[i].data == NULL && parts[i].bytes > 0)
            return kl_fail(KL_ERR_ARGUMENT, "part %u is NULL but has %llu bytes", i,
                           (unsigned long long)parts[i].bytes);
        if (parts[i].bytes > log->frame_bytes_max - *bytes)
            return kl_fail(KL_ERR_LIMIT,
                           "a frame takes at most %llu bytes, half of the log's ring: append less "
                           "at a time, or open the log with a larger ring",
                           (unsigned long long)log->frame_bytes_max);
        *bytes += parts[i].bytes;
    }
    return kl_log_status(log);
}

/* Waits for, or makes, room for bytes up to `end`. */
static int32_t make_room(kl_log *log, uint64_t end) {
    kl_log_ring_shared *shared = log->ring.shared;
    if (pthread_mutex_trylock(&log->flush_lock) == 0) {
        uint64_t before = kl_log_flushed(log);
        uint64_t want = end - log->ring.size + OWN_FLUSH_BYTES;
        uint64_t safe = kl_log_ring_safe(&log->ring);
        int32_t status = kl_log_status(log);
        if (status == KL_OK) status = kl_log_write_out(log, safe < want ? safe : want);
        bool progress = kl_log_flushed(log) != before;
        pthread_mutex_unlock(&log->flush_lock);
        if (status == KL_OK && !progress) sched_yield(); /* another append is still copying */
        return status;
    }
    uint32_t key = kl_event_count_prepare(&shared->room_event);
    if (kl_log_ring_has_room(&log->ring, end)) return KL_OK;
    kl_event_count_wait(&shared->room_event, key, ROOM_WAIT_NS, NULL);
    return kl_log_status(log);
}

static kl_log_slot *take_slot(kl_log *log) {
    for (;;) { /* ends: appends end; those that cannot leave their slot have poisoned the log */
        kl_log_slot *slot = kl_log_ring_enter(&log->ring);
        if (slot != NULL) return slot;
        if (kl_log_status(log) != KL_OK) return NULL;
        sched_yield();
    }
}

/* Reserves, waiting for room first; more than one thread may find the same room, so perhaps also
 * afterwards. A failure then leaves a hole that nothing is ever flushed past: poison. */
static int32_t reserve_waiting(kl_log *log, uint64_t total, kl_log_slot **slot, uint64_t *address) {
    int32_t status = KL_OK;
    for (;;) {
        uint64_t tail = atomic_load_explicit(&log->ring.shared->tail, memory_order_relaxed);
        if (__builtin_expect(kl_log_ring_has_room(&log->ring, tail + total), 1)) break;
        if ((status = make_room(log, tail + total)) != KL_OK) return status;
    }
    *slot = take_slot(log);
    if (*slot == NULL) return kl_log_status(log);
    *address = kl_log_ring_reserve(&log->ring, *slot, total);
    while (__builtin_expect(!kl_log_ring_has_room(&log->ring, *address + total), 0)) {
        status = make_room(log, *address + total);
        if (status != KL_OK) return kl_log_poison(log, status);
    }
    return KL_OK;
}

static int32_t reserve_trying(kl_log *log, uint64_t total, kl_log_slot **slot, uint64_t *address) {
    *slot = kl_log_ring_enter(&log->ring);
    if (*slot == NULL) return KL_ERR_AGAIN;
    if (kl_log_ring_try_reserve(&log->ring, *slot, total, address)) return KL_OK;
    kl_log_ring_leave(*slot);
    if (!kl_log_service_wish(log, KL_LOG_WISH_FLUSH)) (void)kl_log_flush_safe(log, true);
    return KL_ERR_AGAIN;
}

static int64_t append(kl_log *log, uint8_t kind, uint16_t tag, const kl_span *parts,
                      uint32_t part_count, uint32_t record_count, bool waits) {
    uint64_t bytes = 0, address = 0;
    kl_log_slot *slot = NULL;
    int32_t status = check_append(log, kind, parts, part_count, &bytes);
    if (status != KL_OK) return status;
    uint64_t total = kl_log_frame_total(bytes);
    status = waits ? reserve_waiting(log, total, &slot, &address)
                   : reserve_trying(log, total, &slot, &address);
    if (status != KL_OK) return status;
    KL_KILLPOINT("durable_log: reserved");
    kl_log_frame_header header = {.bytes = (uint32_t)bytes,
                                  .durable = kl_log_durable(log),
                                  .kind = kind,
                                  .tag = tag,
                                  .record_count = record_count};
    kl_log_ring_put(&log->ring, log->seed, address, &header, parts, part_count);
    KL_KILLPOINT("durable_log: copied");
    kl_log_ring_leave(slot);
    if (address + total >= kl_log_flushed(log) + log->flush_step &&
        (atomic_load_explicit(&log->service.wishes, memory_order_relaxed) & KL_LOG_WISH_FLUSH) == 0)
        (void)kl_log_service_wish(log, KL_LOG_WISH_FLUSH); /* else the ring is emptied when full */
    return (int64_t)address;
}

int64_t kl_log_append(kl_log *log, uint8_t kind, const kl_span *parts, uint32_t part_count,
                      uint32_t record_count) {
    return append(log, kind, 0, parts, part_count, record_count, true);
}

int64_t kl_log_append_tagged(kl_log *log, uint8_t kind, uint16_t tag, const kl_span *parts,
                             uint32_t part_count, uint32_t record_count) {
    return append(log, kind, tag, parts, part_count, record_count, true);
}

int64_t kl_log_try_append(kl_log *log, uint8_t kind, uint16_t tag, const kl_span *parts,
                          uint32_t part_count, uint32_t record_count) {
    return append(log, kind, tag, parts, part_count, record_count, false);
}

/* ---- commit ---- */

/* Fills the last block up, so that the group ends at a border; answers where. Appends of other
 * threads may get in between, never for ever: they stop when the ring is full. */
static int32_t close_group(kl_log *log, uint64_t *target) {
    static const uint8_t zeros[2 * KL_LOG_BLOCK_BYTES];
    for (;;) {
        uint64_t tail = atomic_load_explicit(&log->ring.shared->tail, memory_order_acquire);
        uint64_t fill = kl_log_frame_fill(tail);
        *target = tail;
        if (fill == 0) return KL_OK;
        if (!kl_log_ring_has_room(&log->ring, tail + fill)) {
            int32_t status = make_room(log, tail + fill);
            if (status != KL_OK) return status;
            continue;
        }
        kl_log_slot *slot = take_slot(log);
        if (slot == NULL) return kl_log_status(log);
        if (kl_log_ring_reserve_at(&log->ring, slot, tail, fill)) {
            kl_span part = {zeros, fill - KL_LOG_FRAME_HEADER};
            kl_log_frame_header header = {.bytes = (uint32_t)part.bytes,
                                          .durable = kl_log_durable(log),
                                          .kind = KL_LOG_PADDING};
            kl_log_ring_put(&log->ring, log->seed, tail, &header, &part, 1);
            kl_log_ring_leave(slot);
            *target = tail + fill;
            return KL_OK;
        }
        kl_log_ring_leave(slot);
    }
}

/* Writes everything below `target`, waiting for appends that are still copying. */
static int32_t flush_until(kl_log *log, uint64_t target) {
    for (;;) { /* ends: an append copies, or it has poisoned the log */
        pthread_mutex_lock(&log->flush_lock);
        uint64_t safe = kl_log_ring_safe(&log->ring);
        int32_t status = kl_log_status(log);
        if (status == KL_OK) status = kl_log_write_out(log, safe < target ? safe : target);
        bool done = kl_log_flushed(log) >= target;
        pthread_mutex_unlock(&log->flush_lock);
        if (status != KL_OK || done) return status;
        sched_yield();
    }
}

void kl_log_tell_manifest(kl_log *log) {
    /* Two writers at once, a service thread and, where none could be started, a committer, may leave
     * the older address: also true. */
    int32_t status = kl_log_status(log);
    KL_KILLPOINT("durable_log: telling the manifest");
    if (status == KL_OK) status = kl_log_write_manifest(log, kl_log_durable(log), 0);
    KL_KILLPOINT("durable_log: told the manifest");
    if (status != KL_OK) (void)kl_log_poison(log, status);
}

/* Bounds what the next open has to scan. Caller holds sync_lock, and durable is what it says. */
static void tell_manifest_now_and_then(kl_log *log, uint64_t durable) {
    if (durable - log->told < log->scan_bytes / TELL_PARTS || durable == log->told) return;
    log->told = durable;
    if (!kl_log_service_wish(log, KL_LOG_WISH_MANIFEST)) kl_log_tell_manifest(log);
}

/* One group: close it, write it, sync it, say so. Caller holds sync_lock. */
static int32_t lead_group(kl_log *log) {
    uint64_t durable = kl_log_durable(log), target = durable;
    bool done = false;
    int32_t status = close_group(log, &target);
    if (status == KL_OK) status = kl_log_write_durably(log, target, &done);
    if (status == KL_OK && !done) status = flush_until(log, target);
    KL_KILLPOINT("durable_log: flushed");
    if (status == KL_OK && !done) status = kl_log_sync_range(log, durable, target);
    if (status == KL_OK) status = kl_log_status(log);
    if (status != KL_OK) return status;
    KL_KILLPOINT("durable_log: synced");
    /* release: partner is the acquire in kl_log_durable(); the target was taken before the sync. */
    atomic_store_explicit(&log->ring.shared->durable, target, memory_order_release);
    kl_log_mark_group(log, target);
    tell_manifest_now_and_then(log, target);
    kl_log_service_committed(log);
    return KL_OK;
}

/* While another thread syncs: the next group may already go to the page cache. */
static void flush_early(kl_log *log) {
    if (kl_log_tail(log) < kl_log_flushed(log) + EARLY_FLUSH_BYTES) return;
    if (pthread_mutex_trylock(&log->flush_lock) != 0) return;
    uint64_t safe = kl_log_ring_safe(&log->ring) & ~(uint64_t)(KL_LOG_BLOCK_BYTES - 1);
    (void)kl_log_write_out(log, safe); /* a failure has poisoned the log, or is met again */
    pthread_mutex_unlock(&log->flush_lock);
}

static uint64_t time_left(uint64_t started_ns, uint64_t timeout_ns) {
    if (timeout_ns == KL_LOG_FOREVER) return KL_LOG_FOREVER;
    uint64_t passed = kl_clock_monotonic_ns() - started_ns;
    return passed >= timeout_ns ? 0 : timeout_ns - passed;
}

int32_t kl_log_commit(kl_log *log, uint64_t until, uint64_t timeout_ns) {
    if (log == NULL) return kl_fail(KL_ERR_ARGUMENT, "commit needs a log");
    kl_event_count *event = kl_log_durable_event(log);
    uint64_t tail = kl_log_tail(log);
    uint64_t started_ns = timeout_ns == KL_LOG_FOREVER ? 0 : kl_clock_monotonic_ns();
    if (until > tail) until = tail;
    for (bool first = true;; first = false) {
        uint32_t key = kl_event_count_prepare(event);
        int32_t status = kl_log_status(log);
        if (status != KL_OK || kl_log_durable(log) >= until) return status;
        if (pthread_mutex_trylock(&log->sync_lock) == 0) {
            if (kl_log_durable(log) < until) status = lead_group(log);
            pthread_mutex_unlock(&log->sync_lock);
            /* After the unlock: a waiter that is woken must be able to lead the next group. */
            kl_event_count_notify_all(event);
            if (status != KL_OK) return status;
            continue;
        }
        if (first) flush_early(log);
        uint64_t left = time_left(started_ns, timeout_ns);
        if (left == 0)
            return kl_fail(KL_ERR_TIMEOUT, "the commit up to address %llu has not ended yet",
                           (unsigned long long)until);
        kl_event_count_wait(event, key, left, NULL);
    }
}

void kl_log_request_commit(kl_log *log) {
    atomic_store_explicit(&log->request_status, KL_OK, memory_order_release);
    if (!kl_log_service_wish(log, KL_LOG_WISH_COMMIT)) kl_log_commit_requested(log);
}

void kl_log_commit_requested(kl_log *log) {
    int32_t status = kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER);
    if (status == KL_OK) return;
    /* release: partner is the load in kl_log_request_status(). Waiters look again when notified. */
    atomic_store_explicit(&log->request_status, status, memory_order_release);
    kl_event_count_notify_all(kl_log_durable_event(log));
}

int32_t kl_log_request_status(const kl_log *log) {
    int32_t status = kl_log_status(log);
    if (status != KL_OK) return status;
    status = atomic_load_explicit(&log->request_status, memory_order_acquire);
    if (status == KL_OK) return KL_OK;
    return kl_fail(status, "the commit in the background failed: %s", kl_status_sentence(status));
}

int32_t kl_log_flush(kl_log *log) {
    if (log == NULL) return kl_fail(KL_ERR_ARGUMENT, "flush needs a log");
    return flush_until(log, kl_log_tail(log));
}

void kl_log_write_commit_record(kl_log *log) {
    uint64_t durable = kl_log_durable(log);
    if (kl_log_status(log) != KL_OK ||
        atomic_load_explicit(&log->ring.shared->tail, memory_order_acquire) != durable)
        return;
    if (!kl_log_ring_has_room(&log->ring, durable + RECORD_TOTAL_BYTES)) return;
    kl_log_slot *slot = kl_log_ring_enter(&log->ring);
    if (slot == NULL) return;
    uint64_t idle = durable + RECORD_TOTAL_BYTES;
    /* Before the tail moves: partner is the pair of loads in kl_log_tail(). */
    atomic_store_explicit(&log->idle_tail, idle | 1, memory_order_seq_cst);
    bool ours = kl_log_ring_reserve_at(&log->ring, slot, durable, RECORD_TOTAL_BYTES);
    atomic_store_explicit(&log->idle_tail, ours ? idle : 0, memory_order_release);
    if (ours) {
        kl_span part = {&durable, sizeof durable};
        kl_log_frame_header header = {
            .bytes = sizeof durable, .durable = durable, .kind = KL_LOG_COMMIT};
        kl_log_ring_put(&log->ring, log->seed, durable, &header, &part, 1);
    }
    kl_log_ring_leave(slot);
    if (ours) (void)kl_log_flush_safe(log, false);
}

/* ---- open and close ---- */

static int32_t check_options(const char *folder, const kl_log_options *options) {
    if (folder == NULL || folder[0] == '\0')
        return kl_fail(KL_ERR_ARGUMENT, "a log needs the path of its folder");
    uint64_t segment = options->segment_bytes, ring = options->ring_bytes;
    if (segment != 0 && (segment < KL_LOG_SEGMENT_MIN || segment > KL_LOG_SEGMENT_MAX ||
                         segment % KL_LOG_BLOCK_BYTES != 0))
        return kl_fail(KL_ERR_ARGUMENT,
                       "segment bytes %llu: expected a multiple of %u from %llu to %llu",
                       (unsigned long long)segment, KL_LOG_BLOCK_BYTES, KL_LOG_SEGMENT_MIN,
                       KL_LOG_SEGMENT_MAX);
    if (ring != 0 && (ring < KL_LOG_RING_MIN || ring > KL_LOG_RING_MAX || (ring & (ring - 1)) != 0))
        return kl_fail(KL_ERR_ARGUMENT,
                       "ring bytes %llu: expected a power of two from %llu to %llu",
                       (unsigned long long)ring, KL_LOG_RING_MIN, KL_LOG_RING_MAX);
    if ((options->flags & ~(uint32_t)(KL_LOG_CREATE | KL_LOG_NO_RING)) != 0)
        return kl_fail(KL_ERR_ARGUMENT, "unknown flags %x", options->flags);
    if (options->spare_segments > KL_SEGMENT_SPARE_MAX)
        return kl_fail(KL_ERR_ARGUMENT, "%u spare segments: at most %u are kept",
                       options->spare_segments, KL_SEGMENT_SPARE_MAX);
    if (options->retain_ms > KL_LOG_RETAIN_MS_MAX)
        return kl_fail(KL_ERR_ARGUMENT, "retain ms %llu: at most %llu",
                       (unsigned long long)options->retain_ms, KL_LOG_RETAIN_MS_MAX);
    if (options->recovery > KL_LOG_SKIP_CORRUPT)
        return kl_fail(KL_ERR_ARGUMENT, "unknown recovery mode %u", options->recovery);
    return KL_OK;
}

int32_t kl_log_write_manifest_locked(kl_log *log, uint64_t durable, uint32_t flags) {
    kl_log_manifest state = {.format = KL_LOG_FORMAT,
                             .flags = flags,
                             .segment_bytes = log->segment_bytes,
                             .first = kl_log_first(log),
                             .durable = durable};
    return kl_manifest_write(log->manifest, &state, sizeof state);
}

int32_t kl_log_write_manifest(kl_log *log, uint64_t durable, uint32_t flags) {
    pthread_mutex_lock(&log->manifest_lock); /* else an older first could come after a newer one */
    int32_t status = kl_log_write_manifest_locked(log, durable, flags);
    pthread_mutex_unlock(&log->manifest_lock);
    return status;
}

/* A log that was never written has no segments; with segments the manifest is what is missing. */
static int32_t check_untouched(kl_log *log) {
    kl_segment_set *set = NULL;
    kl_segment_set_spec spec = {.segment_bytes = KL_LOG_SEGMENT_BYTES,
                                .flags = KL_SEGMENT_SET_READ_ONLY};
    kl_segment_listing listing;
    int32_t status = kl_segment_set_open(&set, kl_folder_fd(log->folder), &spec);
    if (status != KL_OK) return status;
    status = kl_segment_set_list(set, &listing);
    if (status == KL_OK) {
        if (listing.count > 0)
            status = kl_fail(KL_ERR_CORRUPT, "%s has segments of a log but no %s",
                             kl_folder_path(log->folder), KL_LOG_MANIFEST_NAME);
        kl_segment_listing_free(&listing);
    }
    kl_segment_set_close(set);
    return status;
}

/* Before the lock, which leaves a file behind: a folder that is no log stays as it is. */
static int32_t check_present(const kl_log *log) {
    if (faccessat(kl_folder_fd(log->folder), KL_LOG_MANIFEST_NAME, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return KL_OK;
    return kl_fail_errno(KL_ERR_IO, errno, "%s holds no log", kl_folder_path(log->folder));
}

static int32_t open_manifest(kl_log *log, const kl_log_options *options) {
    kl_manifest_spec spec = {.kind = KL_LOG_MANIFEST_KIND};
    int fd = kl_folder_fd(log->folder);
    int32_t status = kl_manifest_open(&log->manifest, fd, KL_LOG_MANIFEST_NAME, &spec, NULL);
    if (status != KL_ERR_NOT_FOUND || (options->flags & KL_LOG_CREATE) == 0) return status;
    status = check_untouched(log);
    if (status != KL_OK) return status;
    uint8_t uuid[KL_LOG_UUID_BYTES];
    status = kl_random_os(uuid, sizeof uuid);
    if (status != KL_OK) return status;
    spec.flags = KL_MANIFEST_CREATE | KL_MANIFEST_EXCLUSIVE;
    spec.uuid = uuid;
    return kl_manifest_open(&log->manifest, fd, KL_LOG_MANIFEST_NAME, &spec, NULL);
}

int32_t kl_log_check_manifest(const kl_log_manifest *state, size_t bytes, const char *folder) {
    if (bytes < sizeof *state)
        return kl_fail(KL_ERR_TRUNCATED, "%s/%s: expected %zu bytes of state, found %zu", folder,
                       KL_LOG_MANIFEST_NAME, sizeof *state, bytes);
    if (state->format != KL_LOG_FORMAT)
        return kl_fail(KL_ERR_VERSION, "%s is a log of format %u, this build knows format %u",
                       folder, state->format, KL_LOG_FORMAT);
    if (state->segment_bytes < KL_LOG_SEGMENT_MIN || state->segment_bytes > KL_LOG_SEGMENT_MAX ||
        state->segment_bytes % KL_LOG_BLOCK_BYTES != 0 || state->first > state->durable ||
        state->first % 8 != 0 || state->durable % KL_LOG_BLOCK_BYTES != 0)
        return kl_fail(KL_ERR_CORRUPT, "%s/%s: impossible sizes or addresses", folder,
                       KL_LOG_MANIFEST_NAME);
    return KL_OK;
}

/* Reads what the manifest says, or writes the first one. */
static int32_t load_state(kl_log *log, const kl_log_options *options, kl_log_manifest *state) {
    int32_t bytes = kl_manifest_read(log->manifest, state, sizeof *state);
    if (bytes == KL_ERR_NOT_FOUND) { /* made, but its maker died before the first write */
        log->segment_bytes =
            options->segment_bytes != 0 ? options->segment_bytes : KL_LOG_SEGMENT_BYTES;
        *state = (kl_log_manifest){.format = KL_LOG_FORMAT, .segment_bytes = log->segment_bytes};
        return kl_log_write_manifest(log, 0, 0);
    }
    if (bytes < 0) return bytes;
    int32_t status = kl_log_check_manifest(state, (size_t)bytes, kl_folder_path(log->folder));
    log->segment_bytes = state->segment_bytes;
    return status;
}

/* The ring of an earlier process. What cannot hold anything of this log is removed; what might is
 * an error, unless the log was closed cleanly. */
static int32_t adopt_ring(kl_log *log, bool clean, kl_log_ring *ring) {
    int32_t status = kl_log_ring_adopt(ring, log->uuid);
    if (status == KL_OK || status == KL_ERR_NOT_FOUND) return KL_OK;
    bool empty =
        clean || status == KL_ERR_FENCED || status == KL_ERR_TRUNCATED || status == KL_ERR_POISONED;
    if (!empty) return status;
    kl_log_ring_remove(log->uuid);
    return KL_OK;
}

static int32_t recover(kl_log *log, const kl_log_options *options) {
    kl_log_manifest state;
    kl_log_ring old = {0};
    uint64_t end = 0;
    int32_t status = load_state(log, options, &state);
    if (status != KL_OK) return status;
    memcpy(log->uuid, kl_manifest_uuid(log->manifest), KL_LOG_UUID_BYTES);
    log->seed = kl_log_frame_seed(log->uuid);
    log->data_bytes = log->segment_bytes - KL_SEGMENT_HEADER_BYTES;
    atomic_init(&log->first, state.first);
    log->retain_bytes = options->retain_bytes;
    log->retain_ns = options->retain_ms * KL_NS_PER_MS;
    log->scan_bytes = options->scan_bytes != 0 ? options->scan_bytes : KL_LOG_SCAN_BYTES;
    kl_segment_set_spec spec = {.segment_bytes = log->segment_bytes,
                                .spare_max = options->spare_segments != 0
                                                 ? options->spare_segments
                                                 : KL_SEGMENT_SPARE_MAX_DEFAULT,
                                .flags = KL_SEGMENT_SET_DIRECT};
    memcpy(spec.uuid, log->uuid, KL_LOG_UUID_BYTES);
    status = kl_segment_set_open(&log->segments, kl_folder_fd(log->folder), &spec);
    if (status == KL_OK) status = adopt_ring(log, (state.flags & KL_LOG_CLEAN) != 0, &old);
    if (status == KL_OK) status = kl_log_recover(log, &state, &old, options->recovery, &end);
    if (status == KL_OK) status = kl_log_write_manifest(log, end, 0);
    if (status == KL_OK) status = kl_log_retire_below(log);
    if (status != KL_OK) {
        kl_log_ring_close(&old, false);
        return status;
    }
    KL_KILLPOINT("durable_log: recovered");
    uint64_t ring_bytes = options->ring_bytes != 0 ? options->ring_bytes : KL_LOG_RING_BYTES;
    bool shared = (options->flags & KL_LOG_NO_RING) == 0;
    if (old.shared != NULL && shared && old.size == ring_bytes) {
        log->ring = old;
        kl_log_ring_reset(&log->ring, end);
    } else {
        kl_log_ring_close(&old, true);
        status = kl_log_ring_create(&log->ring, log->uuid, ring_bytes, shared, end);
    }
    if (status == KL_OK) kl_log_ring_belongs(&log->ring, kl_folder_path(log->folder));
    log->frame_bytes_max = ring_bytes / 2 - KL_LOG_FRAME_HEADER;
    if (log->frame_bytes_max > KL_LOG_FRAME_BYTES_MAX)
        log->frame_bytes_max = KL_LOG_FRAME_BYTES_MAX;
    log->told = end;
    log->flush_step = ring_bytes / 4 < FLUSH_STEP_MAX ? ring_bytes / 4 : FLUSH_STEP_MAX;
    return status;
}

/* Where the recovery mode asks for it. A log that does not exist yet has no damage. */
static int32_t repair_first(kl_log *log, uint32_t recovery) {
    if (recovery < KL_LOG_POINT_IN_TIME) return KL_OK;
    kl_log_repair_summary summary;
    uint32_t way =
        recovery == KL_LOG_SKIP_CORRUPT ? KL_LOG_REPAIR_SKIP : KL_LOG_REPAIR_POINT_IN_TIME;
    int32_t status = kl_log_repair_locked(log->folder, way, NULL, NULL, &summary);
    log->report.dropped_bytes = summary.dropped_bytes;
    return status == KL_ERR_NOT_FOUND ? KL_OK : status;
}

static void report_repair(kl_log_recovery_report *report) {
    char before[sizeof report->reason];
    if (report->dropped_bytes == 0) return;
    memcpy(before, report->reason, sizeof before);
    snprintf(report->reason, sizeof report->reason,
             "damaged: %" PRIu64 " bytes dropped, kept in " KL_LOG_DROPPED_NAME "/%s%.120s",
             report->dropped_bytes, before[0] == '\0' ? "" : "; ", before);
}

static void let_go(kl_log *log, bool unlink_ring) {
    if (log->ring.shared != NULL) {
        kl_event_count_retire(&log->ring.shared->durable_event);
        kl_event_count_retire(&log->ring.shared->room_event);
        kl_log_ring_close(&log->ring, unlink_ring);
    }
    kl_log_writer_close(&log->writer);
    kl_segment_set_close(log->segments);
    kl_manifest_close(log->manifest);
    kl_folder_close(log->folder);
    pthread_mutex_destroy(&log->flush_lock);
    pthread_mutex_destroy(&log->sync_lock);
    pthread_mutex_destroy(&log->poison_lock);
    pthread_mutex_destroy(&log->manifest_lock);
    pthread_mutex_destroy(&log->truncate_lock);
    pthread_mutex_destroy(&log->marks.lock);
    free(log);
}

int32_t kl_log_open(kl_log **out, const char *folder, const kl_log_options *options) {
    static const kl_log_options defaults;
    if (out == NULL) return kl_fail(KL_ERR_ARGUMENT, "open needs a place for the log");
    *out = NULL;
    if (options == NULL) options = &defaults;
    int32_t status = check_options(folder, options);
    if (status != KL_OK) return status;
    kl_log *log = aligned_alloc(KL_LINE_BYTES, sizeof *log);
    if (log == NULL) return kl_fail(KL_ERR_MEMORY, "no memory for a log");
    memset(log, 0, sizeof *log);
    pthread_mutex_init(&log->flush_lock, NULL);
    pthread_mutex_init(&log->sync_lock, NULL);
    pthread_mutex_init(&log->poison_lock, NULL);
    pthread_mutex_init(&log->manifest_lock, NULL);
    pthread_mutex_init(&log->truncate_lock, NULL);
    pthread_mutex_init(&log->marks.lock, NULL);
    kl_log_writer_init(&log->writer);
    uint32_t create = (options->flags & KL_LOG_CREATE) != 0 ? KL_FOLDER_CREATE : 0;
    status = kl_folder_open(&log->folder, folder, create);
    if (status == KL_OK && create == 0) status = check_present(log);
    if (status == KL_OK) status = kl_folder_lock(log->folder, NULL);
    if (status == KL_OK) status = repair_first(log, options->recovery);
    if (status == KL_OK) status = open_manifest(log, options);
    if (status == KL_OK) status = recover(log, options);
    if (status == KL_OK) report_repair(&log->report);
    if (status != KL_OK) {
        let_go(log, false);
        return status;
    }
    kl_log_service_add(log);
    kl_log_prepare_from(log, kl_log_tail(log));
    if (kl_log_ring_is_shared(log)) kl_log_leftovers_remove_once();
    *out = log;
    return KL_OK;
}

/* Leaves nothing behind durable, not even a commit record, and says so in the manifest. */
static int32_t finish(kl_log *log) {
    int32_t status = kl_log_status(log);
    if (status != KL_OK) return status;
    pthread_mutex_lock(&log->sync_lock);
    status = lead_group(log);
    pthread_mutex_unlock(&log->sync_lock);
    if (status == KL_OK) status = kl_log_write_manifest(log, kl_log_durable(log), KL_LOG_CLEAN);
    return status;
}

int32_t kl_log_close(kl_log *log) {
    if (log == NULL) return KL_OK;
    kl_log_service_remove(log);
    int32_t status = finish(log);
    let_go(log, status == KL_OK);
    return status;
}
