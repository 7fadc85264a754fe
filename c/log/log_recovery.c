#include "log/log_recovery.h"

#include "log/log_probe.h"
#include "log/log_stream.h"
#include "mem/killpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COPY_BYTES (1u << 20)

typedef struct {
    kl_log *log;
    const kl_log_ring *ring;
    uint64_t scan_start;
    kl_log_stream stream;
    kl_log_window window;
    uint64_t segments_end; /* address behind the last segment that exists */
    uint64_t durable;      /* known so far */
    uint64_t scan_end;     /* behind the last good frame in the files */
    uint64_t end;          /* the same with what was drained */
    uint64_t written_end;  /* behind the last byte that may not be zero */
    kl_log_damage damage;  /* of what stands at scan_end */
    uint8_t *buffer;       /* COPY_BYTES, or a frame of the ring */
    uint64_t buffer_bytes;
} recovery;

static int32_t missing(const recovery *r, uint64_t number) {
    return kl_fail(KL_ERR_CORRUPT, "%s: segment-%016" PRIx64 ".kls is missing, later ones exist",
                   kl_folder_path(r->log->folder), number);
}

/* None is missing, damaged or of a wrong size. What lies below the log's first address does not
 * count: a truncation was cut short there. */
static int32_t check_listing(recovery *r, const kl_segment_listing *listing) {
    uint64_t next = kl_log_first(r->log) / r->log->data_bytes;
    for (uint32_t i = 0; i < listing->count; i++) {
        const kl_segment_entry *entry = &listing->entries[i];
        if (entry->number < next) continue;
        if (entry->number > next) return missing(r, next);
        if (entry->status != KL_OK) return kl_fail(entry->status, "%s", entry->reason);
        if (entry->segment_bytes != r->log->segment_bytes ||
            entry->first_address != entry->number * r->log->data_bytes)
            return kl_fail(KL_ERR_CORRUPT,
                           "%s/segment-%016" PRIx64 ".kls: expected first address %" PRIu64
                           " and %" PRIu64 " bytes, found %" PRIu64 " and %" PRIu64,
                           kl_folder_path(r->log->folder), entry->number,
                           entry->number * r->log->data_bytes, r->log->segment_bytes,
                           entry->first_address, entry->segment_bytes);
        next++;
    }
    r->segments_end = next * r->log->data_bytes;
    return KL_OK;
}

static int32_t list_segments(recovery *r) {
    kl_segment_listing listing;
    int32_t status = kl_segment_set_list(r->log->segments, &listing);
    if (status != KL_OK) return status;
    status = check_listing(r, &listing);
    kl_segment_listing_free(&listing);
    return status;
}

static void learn_durable(recovery *r, uint64_t durable) {
    if (durable > r->durable) r->durable = durable;
}

/* Where nothing needs to be looked at again: everything below was durable when the manifest was
 * written, and a frame, or the end of the log, begins there. */
static int32_t choose_start(recovery *r, uint64_t durable) {
    r->scan_start = kl_log_first(r->log);
    if (durable - r->scan_start <= r->log->scan_bytes) return KL_OK;
    if (durable > r->segments_end)
        return kl_fail(KL_ERR_CORRUPT,
                       "%s: segment-%016" PRIx64 ".kls is missing, but everything below address "
                       "%" PRIu64 " was durable",
                       kl_folder_path(r->log->folder), r->segments_end / r->log->data_bytes,
                       durable);
    r->scan_start = durable;
    return KL_OK;
}

static int32_t scan(recovery *r) {
    r->scan_end = r->scan_start;
    for (;;) { /* ends: every frame takes at least 32 bytes of finite files */
        kl_log_frame_header header;
        int32_t status =
            kl_log_window_check(&r->window, r->log->seed, r->scan_end, &header, &r->damage);
        if (status == KL_ERR_END || status == KL_ERR_CORRUPT) break;
        if (status != KL_OK) return status;
        learn_durable(r, header.durable);
        r->scan_end += kl_log_frame_total(header.bytes);
    }
    r->end = r->scan_end;
    return KL_OK;
}

/* Refuses when what is bad lies below something that was durable. */
static int32_t judge(recovery *r, bool clean) {
    kl_log_probe probe = {.written_end = r->scan_end};
    if (r->ring->shared != NULL) {
        uint64_t durable = atomic_load_explicit(&r->ring->shared->durable, memory_order_acquire);
        if (durable % KL_LOG_BLOCK_BYTES == 0) learn_durable(r, durable);
    }
    if (!clean || r->scan_end != r->durable) {
        int32_t status = kl_log_probe_range(&r->window, r->log->seed, r->scan_end, r->segments_end,
                                            false, &probe);
        if (status != KL_OK) return status;
        learn_durable(r, probe.durable);
    }
    r->written_end = probe.written_end;
    if (r->durable <= r->scan_end) return KL_OK;
    char because[160];
    if (r->durable == probe.durable)
        snprintf(because, sizeof because,
                 ", but the frame at address %" PRIu64 " says that everything below %" PRIu64
                 " was durable",
                 probe.durable_at, r->durable);
    else
        snprintf(because, sizeof because, ", but everything below %" PRIu64 " was durable",
                 r->durable);
    return kl_log_stream_corrupt(&r->stream, r->scan_end, &r->damage, because);
}

static int32_t need_buffer(recovery *r, uint64_t bytes) {
    if (bytes <= r->buffer_bytes) return KL_OK;
    uint8_t *memory = realloc(r->buffer, (size_t)bytes);
    if (memory == NULL) return kl_fail(KL_ERR_MEMORY, "no memory to recover a log");
    r->buffer = memory;
    r->buffer_bytes = bytes;
    return KL_OK;
}

/* Copies out [address, address + bytes): what was flushed from the files, for the ring may hold later
 * bytes in its place, the rest from the ring. */
static int32_t copy_out(recovery *r, uint64_t address, uint64_t flushed, uint8_t *out,
                        uint64_t bytes) {
    uint64_t done = 0, stored = flushed > address ? flushed - address : 0;
    if (stored > bytes) stored = bytes;
    int32_t status = kl_log_stream_read(&r->stream, address, out, stored, &done);
    if (status != KL_OK) return status;
    memset(out + done, 0, (size_t)(stored - done));
    kl_log_ring_copy_out(r->ring, address + stored, out + stored, bytes - stored);
    return KL_OK;
}

/* Is there a valid frame at `address`, ending at or before `limit`? Then it stands in the buffer and
 * `*total` is its length; else `*total` is 0. */
static int32_t ring_frame(recovery *r, uint64_t address, uint64_t flushed, uint64_t limit,
                          uint64_t *total) {
    kl_log_frame_header header;
    *total = 0;
    if (limit - address < KL_LOG_FRAME_HEADER) return KL_OK;
    int32_t status = copy_out(r, address, flushed, (uint8_t *)&header, sizeof header);
    if (status != KL_OK || !kl_log_frame_plausible(&header, address)) return status;
    uint64_t bytes = kl_log_frame_total(header.bytes);
    if (bytes > limit - address || bytes > r->ring->size) return KL_OK;
    status = need_buffer(r, bytes);
    if (status == KL_OK) status = copy_out(r, address, flushed, r->buffer, bytes);
    if (status != KL_OK) return status;
    if (kl_log_frame_valid(r->log->seed, address, r->buffer, bytes)) *total = bytes;
    return KL_OK;
}

/* Writes a padding frame over [from, until). */
static int32_t write_padding(recovery *r, uint64_t from, uint64_t until) {
    kl_log_frame_header header;
    kl_log_frame_padding(r->log->seed, from, until - from, r->durable, &header);
    int32_t status = kl_log_stream_write(&r->stream, from, &header, sizeof header);
    if (status != KL_OK) return status;
    return kl_log_stream_write(&r->stream, from + sizeof header, NULL,
                               until - from - sizeof header);
}

/* Takes what the ring holds behind the files. The first frame may stand in both: its beginning was
 * flushed, in whole blocks, and gave its room in the ring to later frames. */
static int32_t drain(recovery *r) {
    if (r->ring->shared == NULL) return KL_OK;
    uint64_t limit = atomic_load_explicit(&r->ring->shared->tail, memory_order_acquire);
    uint64_t flushed = atomic_load_explicit(&r->ring->shared->flushed, memory_order_acquire);
    if (limit <= r->end) return KL_OK;
    /* Flushed is behind r->end by less than a frame, or nonsense. */
    if (flushed < r->end || flushed - r->end > r->ring->size) flushed = r->end;
    if (limit - flushed > r->ring->size) limit = flushed + r->ring->size;
    for (uint64_t at = r->end; at < limit;) {
        uint64_t total;
        int32_t status = ring_frame(r, at, flushed, limit, &total);
        if (status == KL_OK && total == 0 && at < flushed)
            status = ring_frame(r, at, at, limit, &total); /* if that was not true */
        if (status != KL_OK) return status;
        if (total == 0) {
            at += 8; /* a hole, perhaps: the next valid frame says */
            continue;
        }
        if (at > r->end) status = write_padding(r, r->end, at);
        if (status == KL_OK) status = kl_log_stream_write(&r->stream, at, r->buffer, total);
        if (status != KL_OK) return status;
        KL_KILLPOINT("log_recovery: drained a frame");
        at += total;
        r->end = at;
    }
    return KL_OK;
}

/* Reads [from, until) and writes it in place again, so that the next sync really stores it. */
static int32_t write_again(recovery *r, uint64_t from, uint64_t until) {
    int32_t status = need_buffer(r, COPY_BYTES);
    while (status == KL_OK && from < until) {
        uint64_t step = until - from < COPY_BYTES ? until - from : COPY_BYTES, done;
        status = kl_log_stream_read(&r->stream, from, r->buffer, step, &done);
        if (status == KL_OK && done < step)
            status = kl_fail(KL_ERR_TRUNCATED, "%s: a segment became shorter while it was read",
                             kl_folder_path(r->log->folder));
        if (status == KL_OK) status = kl_log_stream_write(&r->stream, from, r->buffer, step);
        from += step;
    }
    return status;
}

static int32_t settle(recovery *r, uint64_t *end) {
    uint64_t filled = r->end + kl_log_frame_fill(r->end);
    bool nothing = filled == r->end && r->end == r->durable && r->written_end <= r->end;
    *end = filled;
    if (nothing) return KL_OK;
    int32_t status = KL_OK;
    if (filled > r->end) status = write_padding(r, r->end, filled);
    if (status == KL_OK && r->written_end > filled)
        status = kl_log_stream_write(&r->stream, filled, NULL, r->written_end - filled);
    KL_KILLPOINT("log_recovery: cut");
    if (status == KL_OK) status = write_again(r, r->durable, r->scan_end);
    KL_KILLPOINT("log_recovery: written again");
    uint64_t touched = r->written_end > filled ? r->written_end : filled;
    if (status == KL_OK) status = kl_log_stream_sync(&r->stream, r->durable, touched);
    KL_KILLPOINT("log_recovery: synced");
    return status;
}

static void fill_report(recovery *r) {
    kl_log_recovery_report *report = &r->log->report;
    report->durable_before = r->durable;
    report->scanned_from = r->scan_start;
    report->drained_bytes = r->end - r->scan_end;
    report->rewritten_bytes = r->scan_end - r->durable;
    if (r->written_end > r->end) {
        report->cut_address = r->end;
        report->cut_bytes = r->written_end - r->end;
    }
    if (report->cut_bytes + report->drained_bytes + report->rewritten_bytes == 0) return;
    snprintf(report->reason, sizeof report->reason,
             "not closed cleanly: %" PRIu64 " bytes behind the durable address %" PRIu64
             " kept, %" PRIu64 " taken from the ring, %" PRIu64 " cut at address %" PRIu64 " (%s)",
             report->rewritten_bytes, report->durable_before, report->drained_bytes,
             report->cut_bytes, report->cut_bytes > 0 ? report->cut_address : r->end,
             report->cut_bytes > 0 ? r->damage.what : "nothing");
}

static int32_t run(recovery *r, bool clean, uint32_t mode, uint64_t *end) {
    int32_t status = list_segments(r);
    if (status == KL_OK) status = choose_start(r, r->durable);
    if (status == KL_OK) status = scan(r);
    if (status == KL_OK) status = judge(r, clean);
    if (status == KL_OK) status = drain(r);
    if (status != KL_OK) return status;
    fill_report(r);
    if (mode == KL_LOG_ABSOLUTE && r->log->report.cut_bytes > 0)
        return kl_log_stream_corrupt(&r->stream, r->end, &r->damage,
                                     ", and absolute recovery cuts nothing");
    return settle(r, end);
}

int32_t kl_log_recover(kl_log *log, const kl_log_manifest *state, const kl_log_ring *ring,
                       uint32_t mode, uint64_t *end) {
    recovery r = {.log = log, .ring = ring, .durable = state->durable};
    r.damage.what = "header";
    kl_log_stream_init(&r.stream, log->segments, kl_folder_path(log->folder), log->segment_bytes);
    r.stream.first = kl_log_first(log);
    kl_log_window_init(&r.window, &r.stream);
    int32_t status = run(&r, (state->flags & KL_LOG_CLEAN) != 0, mode, end);
    kl_log_window_close(&r.window);
    kl_log_stream_close(&r.stream);
    free(r.buffer);
    return status;
}
