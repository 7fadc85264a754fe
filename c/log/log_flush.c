#include "log/log_flush.h"

#include "log/log_service.h"
#include "mem/killpoint.h"

#include <string.h>

#define PREPARE_WAIT_NS     20000000u
#define SYNC_OLDEST_WAIT_NS 1000000u
#define DURABLE_WRITE_MAX   (128u << 10)

void kl_log_writer_init(kl_log_writer *writer) {
    pthread_mutex_init(&writer->lock, NULL);
    writer->count = 0;
    writer->prefaulted = false;
    atomic_init(&writer->prepare_next, UINT64_MAX);
    memset(&writer->prepared, 0, sizeof writer->prepared);
}

void kl_log_writer_close(kl_log_writer *writer) {
    for (uint32_t i = 0; i < writer->count; i++) kl_device_close(writer->open[i].segment.device);
    writer->count = 0;
    pthread_mutex_destroy(&writer->lock);
}

static int32_t segment_check(kl_log *log, kl_segment *segment, uint64_t number) {
    if (segment->segment_bytes == log->segment_bytes &&
        segment->first_address == number * log->data_bytes)
        return KL_OK;
    int32_t status =
        kl_fail(KL_ERR_CORRUPT, "%s: expected first address %llu, found %llu",
                kl_device_path(segment->device), (unsigned long long)(number * log->data_bytes),
                (unsigned long long)segment->first_address);
    kl_device_close(segment->device);
    return status;
}

/* Opens segment `number`, which a service thread may be making just now; makes it when not. */
static int32_t segment_acquire(kl_log *log, uint64_t number, kl_segment *out) {
    for (;;) { /* ends: it is there, or making it fails */
        uint32_t key = kl_event_count_prepare(&log->writer.prepared);
        int32_t status = kl_segment_set_open_segment(log->segments, number, out);
        if (status == KL_OK) return segment_check(log, out, number);
        if (status != KL_ERR_NOT_FOUND) return status;
        status = kl_segment_set_prepare(log->segments, number, number * log->data_bytes);
        if (status != KL_OK && status != KL_ERR_EXISTS) return status;
        if (status == KL_ERR_EXISTS)
            kl_event_count_wait(&log->writer.prepared, key, PREPARE_WAIT_NS, NULL);
    }
}

void kl_log_prepare_from(kl_log *log, uint64_t address) {
    /* release: partner is the load in kl_log_prepare_ahead(). */
    atomic_store_explicit(&log->writer.prepare_next, address / log->data_bytes,
                          memory_order_release);
    (void)kl_log_service_wish(log, KL_LOG_WISH_PREPARE); /* else the flusher makes it itself */
}

void kl_log_prepare_ahead(kl_log *log) {
    /* acquire: partner is the store in kl_log_prepare_from(). */
    uint64_t number = atomic_load_explicit(&log->writer.prepare_next, memory_order_acquire);
    if (log->ring.region != NULL && !log->writer.prefaulted) {
        log->writer.prefaulted = true;
        (void)kl_region_prefault(log->ring.region); /* a poisoned region is met by the flusher */
    }
    if (number == UINT64_MAX) return;
    /* A failure is met again, and reported, by the flusher that needs the segment. */
    (void)kl_segment_set_prepare(log->segments, number, number * log->data_bytes);
    kl_event_count_notify_all(&log->writer.prepared);
}

void kl_log_forget_durable(kl_log *log) {
    kl_log_writer *writer = &log->writer;
    uint64_t durable = kl_log_durable(log);
    kl_device *closing[KL_LOG_OPEN_SEGMENTS];
    uint32_t closing_count = 0, kept = 0;
    pthread_mutex_lock(&writer->lock);
    for (uint32_t i = 0; i < writer->count; i++) {
        if (writer->open[i].segment.first_address + log->data_bytes <= durable)
            closing[closing_count++] = writer->open[i].segment.device;
        else
            writer->open[kept++] = writer->open[i];
    }
    writer->count = kept;
    pthread_mutex_unlock(&writer->lock);
    for (uint32_t i = 0; i < closing_count; i++) kl_device_close(closing[i]);
}

static void remember(kl_log *log, const kl_segment *segment) {
    kl_log_writer *writer = &log->writer;
    pthread_mutex_lock(&writer->lock);
    writer->open[writer->count++] = (kl_log_open_segment){.segment = *segment};
    pthread_mutex_unlock(&writer->lock);
    kl_log_prepare_from(log, segment->first_address + log->data_bytes);
}

/* The open segment that holds `address`. Caller holds flush_lock. */
static int32_t segment_for(kl_log *log, uint64_t address, kl_segment *out) {
    kl_log_writer *writer = &log->writer;
    uint64_t number = address / log->data_bytes;
    if (writer->count > 0 && writer->open[writer->count - 1].segment.number == number) {
        *out = writer->open[writer->count - 1].segment;
        return KL_OK;
    }
    kl_log_forget_durable(log);
    if (writer->count == KL_LOG_OPEN_SEGMENTS) {
        /* Gigabytes that nobody commits: let the device have the oldest before opening more. */
        return KL_ERR_AGAIN;
    }
    kl_segment segment;
    int32_t status = segment_acquire(log, number, &segment);
    /* A full disk has lost nothing: the next call may find room. */
    if (status != KL_OK) return status == KL_ERR_NO_SPACE ? status : kl_log_poison(log, status);
    remember(log, &segment);
    *out = segment;
    return KL_OK;
}

/* Writes the last, partly filled block, zeros behind `until`. */
static int32_t write_last_block(kl_log *log, const kl_segment *segment, uint64_t block,
                                uint64_t until) {
    uint8_t bytes[KL_LOG_BLOCK_BYTES];
    uint64_t used = until - block;
    kl_log_ring_copy_out(&log->ring, block, bytes, used);
    memset(bytes + used, 0, sizeof bytes - (size_t)used);
    return kl_device_write_at(segment->device,
                              KL_SEGMENT_HEADER_BYTES + (block - segment->first_address), bytes,
                              sizeof bytes);
}

/* Writes a run from block border `from`, at most to `until`; answers where it ended. */
static int32_t write_step(kl_log *log, uint64_t from, uint64_t until, uint64_t *end) {
    kl_segment segment;
    int32_t status = segment_for(log, from, &segment);
    if (status != KL_OK) return status;
    uint64_t at = from & (log->ring.size - 1);
    uint64_t step = until - from;
    uint64_t in_segment = segment.first_address + log->data_bytes - from;
    if (step > in_segment) step = in_segment;
    if (step > log->ring.size - at) step = log->ring.size - at;
    if (step > KL_LOG_WRITE_STEP) step = KL_LOG_WRITE_STEP;
    if (step >= KL_LOG_BLOCK_BYTES) {
        step &= ~(uint64_t)(KL_LOG_BLOCK_BYTES - 1);
        status = kl_device_write_at(segment.device,
                                    KL_SEGMENT_HEADER_BYTES + (from - segment.first_address),
                                    log->ring.bytes + at, (size_t)step);
    } else {
        status = write_last_block(log, &segment, from, until);
    }
    KL_KILLPOINT("log_flush: wrote a step");
    *end = from + step;
    return status == KL_OK ? KL_OK : kl_log_poison(log, status);
}

/* So many segments are open that the oldest must be synced first. The committer may sync it at the
 * same time, and does not find it afterwards: so it leaves the table only after its sync said yes. */
static int32_t sync_oldest(kl_log *log) {
    kl_log_writer *writer = &log->writer;
    KL_ASSERT(writer->count > 1);
    kl_device *device = writer->open[0].segment.device;
    int32_t status = kl_device_sync(device);
    if (status != KL_OK) return kl_log_poison(log, status);
    pthread_mutex_lock(&writer->lock);
    bool leaves = !writer->open[0].syncing;
    if (leaves) {
        memmove(writer->open, writer->open + 1, (writer->count - 1) * sizeof writer->open[0]);
        writer->count--;
    }
    pthread_mutex_unlock(&writer->lock);
    if (leaves)
        kl_device_close(device);
    else
        kl_event_count_wait(&log->writer.prepared, kl_event_count_prepare(&log->writer.prepared),
                            SYNC_OLDEST_WAIT_NS, NULL);
    return KL_OK;
}

int32_t kl_log_write_out(kl_log *log, uint64_t until) {
    kl_log_ring_shared *shared = log->ring.shared;
    uint64_t flushed = atomic_load_explicit(&shared->flushed, memory_order_relaxed);
    while (flushed < until) {
        int32_t status = atomic_load_explicit(&log->poison, memory_order_acquire);
        if (status != KL_OK) return kl_log_status(log);
        uint64_t from = flushed & ~(uint64_t)(KL_LOG_BLOCK_BYTES - 1);
        KL_ASSERT(from >= kl_log_durable(log));
        uint64_t end = from;
        status = write_step(log, from, until, &end);
        if (status == KL_ERR_AGAIN) status = sync_oldest(log);
        if (status != KL_OK) return status;
        if (end <= flushed) continue;
        /* A ring that a stranger truncated reads as zeros: they must never count as written. */
        if (log->ring.region != NULL && kl_region_poisoned(log->ring.region))
            return kl_log_poison(log, kl_region_check(log->ring.region));
        flushed = end;
        /* release: partner is the acquire in kl_log_ring_has_room(); we have read these bytes. */
        atomic_store_explicit(&shared->flushed, flushed, memory_order_release);
        kl_event_count_notify_all(&shared->room_event);
    }
    return KL_OK;
}

/* [from, until) is one run in the ring and in one segment. */
static bool one_write(const kl_log *log, uint64_t from, uint64_t until) {
    uint64_t bytes = until - from;
    uint64_t in_segment = log->data_bytes - from % log->data_bytes;
    return bytes > 0 && bytes <= DURABLE_WRITE_MAX && bytes <= in_segment &&
           bytes <= log->ring.size - (from & (log->ring.size - 1)) &&
           bytes % KL_LOG_BLOCK_BYTES == 0;
}

int32_t kl_log_write_durably(kl_log *log, uint64_t until, bool *done) {
    kl_log_ring_shared *shared = log->ring.shared;
    uint64_t durable = kl_log_durable(log);
    *done = false;
    if (!one_write(log, durable, until)) return KL_OK;
    pthread_mutex_lock(&log->flush_lock);
    uint64_t flushed = atomic_load_explicit(&shared->flushed, memory_order_relaxed);
    uint64_t from = flushed & ~(uint64_t)(KL_LOG_BLOCK_BYTES - 1);
    kl_segment segment;
    int32_t status = kl_log_status(log);
    bool whole = status == KL_OK && from == durable && kl_log_ring_safe(&log->ring) >= until &&
                 segment_for(log, from, &segment) == KL_OK; /* else the long way says why */
    if (whole) {
        status = kl_device_write_sync_at(
            segment.device, KL_SEGMENT_HEADER_BYTES + (from - segment.first_address),
            log->ring.bytes + (from & (log->ring.size - 1)), (size_t)(until - from));
        if (status == KL_OK && log->ring.region != NULL && kl_region_poisoned(log->ring.region))
            status = kl_region_check(log->ring.region);
        if (status != KL_OK) status = kl_log_poison(log, status);
    }
    if (whole && status == KL_OK) {
        *done = true;
        /* release: partner is the acquire in kl_log_ring_has_room(); we have read these bytes. */
        atomic_store_explicit(&shared->flushed, until, memory_order_release);
        kl_event_count_notify_all(&shared->room_event);
    }
    pthread_mutex_unlock(&log->flush_lock);
    return status;
}

int32_t kl_log_flush_safe(kl_log *log, bool whole_blocks) {
    pthread_mutex_lock(&log->flush_lock);
    uint64_t safe = kl_log_ring_safe(&log->ring);
    if (whole_blocks) safe &= ~(uint64_t)(KL_LOG_BLOCK_BYTES - 1);
    int32_t status = kl_log_status(log);
    if (status == KL_OK) status = kl_log_write_out(log, safe);
    pthread_mutex_unlock(&log->flush_lock);
    return status;
}

/* Finds segment `number` for a sync and marks it, or takes the mark away. NULL: it was synced by
 * sync_oldest(). */
static kl_device *mark_syncing(kl_log_writer *writer, uint64_t number, bool syncing) {
    kl_device *device = NULL;
    pthread_mutex_lock(&writer->lock);
    for (uint32_t i = 0; i < writer->count; i++) {
        if (writer->open[i].segment.number != number) continue;
        writer->open[i].syncing = syncing;
        device = writer->open[i].segment.device;
    }
    pthread_mutex_unlock(&writer->lock);
    return device;
}

int32_t kl_log_sync_range(kl_log *log, uint64_t from, uint64_t until) {
    for (uint64_t number = from / log->data_bytes; number * log->data_bytes < until; number++) {
        kl_device *device = mark_syncing(&log->writer, number, true);
        if (device == NULL) continue;
        int32_t status = kl_device_sync(device);
        mark_syncing(&log->writer, number, false);
        KL_KILLPOINT("log_flush: synced a segment");
        if (status != KL_OK) return kl_log_poison(log, status);
    }
    return KL_OK;
}
