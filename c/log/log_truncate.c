#include "log/log_truncate.h"

#include "base/clock.h"
#include "log/log_cursor.h"
#include "log/log_flush.h"
#include "log/log_reader.h"
#include "log/log_service.h"
#include "log/log_state.h"
#include "mem/killpoint.h"

#include <inttypes.h>

/* ---- frame borders ---- */

void kl_log_mark_group(kl_log *log, uint64_t durable) {
    kl_log_marks *marks = &log->marks;
    uint64_t number = durable / log->data_bytes;
    pthread_mutex_lock(&marks->lock);
    kl_log_mark *last = marks->count > 0 ? &marks->marks[(marks->count - 1) % KL_LOG_MARKS] : NULL;
    bool next = last == NULL || last->address / log->data_bytes != number;
    if (next)
        marks->marks[marks->count++ % KL_LOG_MARKS] =
            (kl_log_mark){.address = durable, .at_ns = kl_clock_monotonic_ns()};
    pthread_mutex_unlock(&marks->lock);
    if (next && (log->retain_bytes != 0 || log->retain_ns != 0))
        (void)kl_log_service_wish(log, KL_LOG_WISH_RETAIN); /* else at a later segment */
}

/* The newest mark that retention may cut at: at most `address`, and at least as old as `at_ns`. 0:
 * none. */
static uint64_t newest_mark(kl_log *log, uint64_t address, uint64_t at_ns) {
    kl_log_marks *marks = &log->marks;
    uint64_t found = 0;
    pthread_mutex_lock(&marks->lock);
    uint64_t kept = marks->count < KL_LOG_MARKS ? marks->count : KL_LOG_MARKS;
    for (uint64_t i = 1; i <= kept && found == 0; i++) {
        const kl_log_mark *mark = &marks->marks[(marks->count - i) % KL_LOG_MARKS];
        if (mark->address <= address && mark->at_ns <= at_ns) found = mark->address;
    }
    pthread_mutex_unlock(&marks->lock);
    return found;
}

static bool is_mark(kl_log *log, uint64_t address) {
    kl_log_marks *marks = &log->marks;
    bool found = false;
    pthread_mutex_lock(&marks->lock);
    uint64_t kept = marks->count < KL_LOG_MARKS ? marks->count : KL_LOG_MARKS;
    for (uint64_t i = 0; i < kept && !found; i++) found = marks->marks[i].address == address;
    pthread_mutex_unlock(&marks->lock);
    return found;
}

/* Is it where a frame begins? A reader knows, and says which frame it lies in when not. */
static int32_t check_border(kl_log *log, uint64_t address) {
    if (address == kl_log_durable(log) || is_mark(log, address)) return KL_OK;
    kl_log_reader *reader = NULL;
    int32_t status = kl_log_reader_open(&reader, kl_folder_path(log->folder), (double)address,
                                        KL_LOG_READ_UNCOMMITTED | KL_LOG_READ_ALL_KINDS);
    kl_log_reader_close(reader);
    return status;
}

/* ---- truncating ---- */

/* The segments from the one of `from` to the one before that of `until`. Caller holds
 * truncate_lock. */
static int32_t retire(kl_log *log, uint64_t from, uint64_t until) {
    pthread_mutex_lock(&log->flush_lock);
    kl_log_forget_durable(log);
    pthread_mutex_unlock(&log->flush_lock);
    for (uint64_t number = from / log->data_bytes; number < until / log->data_bytes; number++) {
        int32_t status = kl_segment_set_retire(log->segments, number);
        KL_KILLPOINT("log_truncate: retired a segment");
        if (status != KL_OK && status != KL_ERR_NOT_FOUND) return status;
    }
    return KL_OK;
}

/* Caller holds truncate_lock and the cursors' lock. */
static int32_t begin_at(kl_log *log, uint64_t address) {
    pthread_mutex_lock(&log->manifest_lock);
    /* release: partner is the acquire in kl_log_first(). */
    atomic_store_explicit(&log->first, address, memory_order_release);
    int32_t status = kl_log_write_manifest_locked(log, kl_log_durable(log), 0);
    pthread_mutex_unlock(&log->manifest_lock);
    KL_KILLPOINT("log_truncate: told the manifest");
    return status == KL_OK ? KL_OK : kl_log_poison(log, status);
}

/* Caller holds truncate_lock. */
static int32_t truncate_locked(kl_log *log, uint64_t address) {
    int32_t status = kl_log_status(log);
    uint64_t pin = UINT64_MAX;
    int fd = kl_folder_fd(log->folder);
    if (status != KL_OK) return status;
    int lock = kl_log_cursors_lock(fd);
    status = lock < 0 ? lock : kl_log_cursors_pin(fd, &pin);
    /* A cursor stands where its owner says; the log begins at frames only. */
    if (status == KL_OK && pin < address)
        address = check_border(log, pin) == KL_OK ? pin : newest_mark(log, pin, UINT64_MAX);
    uint64_t first = kl_log_first(log);
    if (status == KL_OK && address > first) status = begin_at(log, address);
    kl_log_cursors_unlock(lock);
    return status != KL_OK || address <= first ? status : retire(log, first, address);
}

int32_t kl_log_truncate_before(kl_log *log, uint64_t address) {
    if (log == NULL) return kl_fail(KL_ERR_ARGUMENT, "truncate needs a log");
    int32_t status = kl_log_status(log);
    if (status != KL_OK || address <= kl_log_first(log)) return status;
    if (address > kl_log_durable(log))
        return kl_fail(KL_ERR_ARGUMENT,
                       "address %" PRIu64 " is not durable yet (the log is up to %" PRIu64
                       "): commit first",
                       address, kl_log_durable(log));
    pthread_mutex_lock(&log->truncate_lock);
    status = address <= kl_log_first(log) ? KL_OK : check_border(log, address);
    if (status == KL_OK) status = truncate_locked(log, address);
    pthread_mutex_unlock(&log->truncate_lock);
    return status;
}

void kl_log_request_truncate(kl_log *log, uint64_t address) {
    atomic_store_explicit(&log->truncate_to, address, memory_order_relaxed);
    /* release: partner is the acquire in kl_log_truncate_requested(). */
    atomic_store_explicit(&log->truncate_status, KL_ERR_AGAIN, memory_order_release);
    if (!kl_log_service_wish(log, KL_LOG_WISH_TRUNCATE)) kl_log_truncate_requested(log);
}

void kl_log_truncate_requested(kl_log *log) {
    /* acquire: partner is the release in kl_log_request_truncate(). */
    if (atomic_load_explicit(&log->truncate_status, memory_order_acquire) == KL_OK) return;
    uint64_t address = atomic_load_explicit(&log->truncate_to, memory_order_relaxed);
    int32_t status = kl_log_truncate_before(log, address);
    pthread_mutex_lock(&log->poison_lock); /* guards the text */
    kl_log_keep_text(log->truncate_text, sizeof log->truncate_text, status);
    pthread_mutex_unlock(&log->poison_lock);
    /* release: partner is the acquire in kl_log_truncate_status(). */
    atomic_store_explicit(&log->truncate_status, status, memory_order_release);
    kl_event_count_notify_all(kl_log_durable_event(log));
}

int32_t kl_log_truncate_status(const kl_log *log) {
    /* acquire: partner is the release in kl_log_truncate_requested(). */
    int32_t status = atomic_load_explicit(&log->truncate_status, memory_order_acquire);
    if (status == KL_OK || status == KL_ERR_AGAIN) return status;
    return kl_fail(status, "%s", log->truncate_text);
}

int32_t kl_log_retire_below(kl_log *log) {
    kl_segment_listing listing;
    int32_t status = kl_segment_set_list(log->segments, &listing);
    if (status != KL_OK) return status;
    uint64_t first_number = kl_log_first(log) / log->data_bytes;
    for (uint32_t i = 0; status == KL_OK && i < listing.count; i++)
        if (listing.entries[i].number < first_number)
            status = kl_segment_set_retire(log->segments, listing.entries[i].number);
    kl_segment_listing_free(&listing);
    return status;
}

/* ---- retention ---- */

void kl_log_retain(kl_log *log) {
    uint64_t durable = kl_log_durable(log), now_ns = kl_clock_monotonic_ns(), cut = 0;
    if (log->retain_bytes != 0 && durable > log->retain_bytes)
        cut = newest_mark(log, durable - log->retain_bytes, UINT64_MAX);
    if (log->retain_ns != 0 && now_ns > log->retain_ns) {
        uint64_t aged = newest_mark(log, durable, now_ns - log->retain_ns);
        if (aged > cut) cut = aged;
    }
    if (cut <= kl_log_first(log)) return;
    pthread_mutex_lock(&log->truncate_lock);
    (void)truncate_locked(log, cut); /* a failure has poisoned the log, or is met again */
    pthread_mutex_unlock(&log->truncate_lock);
}
