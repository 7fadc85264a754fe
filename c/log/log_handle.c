#include "log/log_handle.h"

#include "base/handle.h"
#include "exec/completion.h"
#include "file/folder.h"
#include "log/log_cursor.h"
#include "log/log_frame.h"
#include "log/log_reader.h"
#include "log/log_repair.h"
#include "log/log_stat.h"
#include "log/log_state.h"
#include "log/log_truncate.h"
#include "log/log_verify.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXACT_MAX 9007199254740992.0 /* 2^53: every whole number up to it is an exact f64 */

static int32_t no_handle(void) {
    return kl_fail(KL_ERR_HANDLE, "not an open log, or closed already");
}

/* A whole number from 0 to 2^53. */
static int32_t whole(double value, const char *what, uint64_t *out) {
    if (!(value >= 0 && value <= EXACT_MAX) || value != (double)(uint64_t)value)
        return kl_fail(KL_ERR_ARGUMENT, "%s is %g: expected a whole number from 0 to 2^53", what,
                       value);
    *out = (uint64_t)value;
    return KL_OK;
}

/* ---- the log ---- */

/* Closing frees on the thread that leaves last; on the closing one, if that is it, the answer is
 * passed through here. */
static _Thread_local int32_t closed_with;

static void close_log(void *log) {
    closed_with = kl_log_close(log);
}

double kl_log_handle_open(const uint8_t *folder, uint32_t folder_bytes, const uint8_t *given,
                          uint32_t given_bytes) {
    char path[PATH_MAX];
    kl_log *log = NULL;
    kl_log_open_options wanted;
    if (given == NULL || given_bytes < sizeof wanted)
        return kl_fail(KL_ERR_ARGUMENT, "the options of a log have %zu bytes", sizeof wanted);
    memcpy(&wanted, given, sizeof wanted);
    kl_log_options options = {.flags = wanted.flags,
                              .recovery = wanted.recovery,
                              .spare_segments = wanted.spare_segments};
    int32_t status = kl_folder_text(folder, folder_bytes, path, sizeof path);
    if (status == KL_OK)
        status = whole(wanted.segment_bytes, "segment bytes", &options.segment_bytes);
    if (status == KL_OK) status = whole(wanted.ring_bytes, "ring bytes", &options.ring_bytes);
    if (status == KL_OK) status = whole(wanted.retain_bytes, "retain bytes", &options.retain_bytes);
    if (status == KL_OK) status = whole(wanted.retain_ms, "retain ms", &options.retain_ms);
    if (status == KL_OK) status = kl_log_open(&log, path, &options);
    if (status != KL_OK) return status;
    uint32_t handle = kl_handle_open(KL_HANDLE_LOG, log, close_log);
    if (handle != 0) return handle;
    (void)kl_log_close(log);
    return kl_fail(KL_ERR_LIMIT, "too many open handles, at most %u", KL_HANDLE_COUNT_MAX);
}

int32_t kl_log_handle_close(uint32_t handle) {
    closed_with = KL_OK;
    int32_t status = kl_handle_close(handle, KL_HANDLE_LOG);
    return status == KL_OK ? closed_with : no_handle();
}

static double append(uint32_t handle, uint8_t kind, const uint8_t *data, uint32_t bytes,
                     uint32_t record_count, uint32_t tag, uint32_t durability) {
    kl_log *log = kl_handle_enter(handle, KL_HANDLE_LOG);
    if (log == NULL) return no_handle();
    kl_span part = {data, bytes};
    int64_t address = kl_log_append_tagged(log, kind, (uint16_t)tag, &part, 1, record_count);
    if (address >= 0 && durability != 0 && !kl_log_ring_is_shared(log)) {
        int32_t status = kl_log_flush(log);
        if (status != KL_OK) address = status;
    }
    kl_handle_leave(handle);
    return (double)address;
}

static int32_t check_append(uint32_t tag, uint32_t durability) {
    if (tag > UINT16_MAX) return kl_fail(KL_ERR_ARGUMENT, "tag %u: at most 65535", tag);
    if (durability > 1) return kl_fail(KL_ERR_ARGUMENT, "unknown durability %u", durability);
    return KL_OK;
}

double kl_log_handle_append(uint32_t handle, const uint8_t *record, uint32_t bytes, uint32_t tag,
                            uint32_t durability) {
    int32_t status = check_append(tag, durability);
    if (status != KL_OK) return status;
    return append(handle, KL_LOG_RECORD, record, bytes, 1, tag, durability);
}

/* Do the lengths in front of the records come out even? */
static bool is_batch(const uint8_t *encoded, uint32_t bytes, uint32_t record_count) {
    uint32_t at = 0, count = 0;
    while (at < bytes) {
        uint32_t record;
        if (bytes - at < sizeof record) return false;
        memcpy(&record, encoded + at, sizeof record);
        at += (uint32_t)sizeof record;
        if (record > bytes - at) return false;
        at += record;
        count++;
    }
    return count == record_count;
}

double kl_log_handle_append_many(uint32_t handle, const uint8_t *encoded, uint32_t bytes,
                                 uint32_t record_count, uint32_t tag, uint32_t durability) {
    int32_t status = check_append(tag, durability);
    if (status != KL_OK) return status;
    if ((encoded == NULL && bytes > 0) || !is_batch(encoded, bytes, record_count))
        return kl_fail(KL_ERR_ARGUMENT, "the batch is not %u times {bytes u32, data}",
                       record_count);
    return append(handle, KL_LOG_BATCH, encoded, bytes, record_count, tag, durability);
}

static int32_t until_of(double until, uint64_t *out) {
    if (!(until < 0)) return whole(until, "address", out);
    *out = KL_LOG_TAIL;
    return KL_OK;
}

int32_t kl_log_handle_commit(uint32_t handle, double until) {
    uint64_t address = 0;
    int32_t status = until_of(until, &address);
    if (status != KL_OK) return status;
    kl_log *log = kl_handle_enter(handle, KL_HANDLE_LOG);
    if (log == NULL) return no_handle();
    status = kl_log_commit(log, address, KL_LOG_FOREVER);
    kl_handle_leave(handle);
    return status;
}

int32_t kl_log_handle_request_commit(uint32_t handle) {
    kl_log *log = kl_handle_enter(handle, KL_HANDLE_LOG);
    if (log == NULL) return no_handle();
    kl_log_request_commit(log);
    kl_handle_leave(handle);
    return KL_OK;
}

int32_t kl_log_handle_arm_durable(uint32_t handle, double until, uint32_t completion,
                                  uint32_t token) {
    uint64_t address = 0;
    int32_t status = until_of(until, &address);
    if (status != KL_OK) return status;
    kl_log *log = kl_handle_enter(handle, KL_HANDLE_LOG);
    if (log == NULL) return no_handle();
    if (address > kl_log_tail(log)) address = kl_log_tail(log);
    kl_event_count *event = kl_log_durable_event(log);
    uint32_t key = kl_event_count_prepare(event);
    status = kl_log_request_status(log);
    if (status == KL_OK && kl_log_durable(log) >= address)
        status = 1;
    else if (status == KL_OK)
        status = kl_completion_arm(completion, token, event, key, KL_LOG_FOREVER);
    kl_handle_leave(handle);
    return status;
}

int32_t kl_log_handle_flush(uint32_t handle) {
    kl_log *log = kl_handle_enter(handle, KL_HANDLE_LOG);
    if (log == NULL) return no_handle();
    int32_t status = kl_log_flush(log);
    kl_handle_leave(handle);
    return status;
}

/* ---- truncation ---- */

int32_t kl_log_handle_truncate(uint32_t handle, double address) {
    uint64_t before = 0;
    int32_t status = whole(address, "address", &before);
    if (status != KL_OK) return status;
    kl_log *log = kl_handle_enter(handle, KL_HANDLE_LOG);
    if (log == NULL) return no_handle();
    status = kl_log_truncate_before(log, before);
    kl_handle_leave(handle);
    return status;
}

int32_t kl_log_handle_request_truncate(uint32_t handle, double address) {
    uint64_t before = 0;
    int32_t status = whole(address, "address", &before);
    if (status != KL_OK) return status;
    kl_log *log = kl_handle_enter(handle, KL_HANDLE_LOG);
    if (log == NULL) return no_handle();
    kl_log_request_truncate(log, before);
    kl_handle_leave(handle);
    return KL_OK;
}

int32_t kl_log_handle_arm_truncated(uint32_t handle, uint32_t completion, uint32_t token) {
    kl_log *log = kl_handle_enter(handle, KL_HANDLE_LOG);
    if (log == NULL) return no_handle();
    kl_event_count *event = kl_log_durable_event(log);
    uint32_t key = kl_event_count_prepare(event);
    int32_t status = kl_log_truncate_status(log);
    if (status == KL_OK)
        status = 1;
    else if (status == KL_ERR_AGAIN)
        status = kl_completion_arm(completion, token, event, key, KL_LOG_FOREVER);
    kl_handle_leave(handle);
    return status;
}

static double position(uint32_t handle, uint64_t (*get)(const kl_log *log)) {
    kl_log *log = kl_handle_enter(handle, KL_HANDLE_LOG);
    if (log == NULL) return no_handle();
    double value = (double)get(log);
    kl_handle_leave(handle);
    return value;
}

double kl_log_handle_first(uint32_t handle) {
    return position(handle, kl_log_first);
}

double kl_log_handle_durable(uint32_t handle) {
    return position(handle, kl_log_durable);
}

double kl_log_handle_tail(uint32_t handle) {
    return position(handle, kl_log_tail);
}

int32_t kl_log_handle_state(uint32_t handle, uint8_t *out, uint32_t capacity) {
    if (out == NULL || capacity < sizeof(kl_log_state))
        return kl_fail(KL_ERR_ARGUMENT, "a log's state needs %zu bytes", sizeof(kl_log_state));
    kl_log *log = kl_handle_enter(handle, KL_HANDLE_LOG);
    if (log == NULL) return no_handle();
    const kl_log_recovery_report *report = kl_log_recovered(log);
    kl_log_state state = {.first = (double)kl_log_first(log),
                          .durable = (double)kl_log_durable(log),
                          .flushed = (double)kl_log_flushed(log),
                          .tail = (double)kl_log_tail(log),
                          .frame_bytes_max = (double)kl_log_frame_bytes_max(log),
                          .ring_bytes = (double)log->ring.size,
                          .cut_bytes = (double)report->cut_bytes,
                          .cut_address = (double)report->cut_address,
                          .drained_bytes = (double)report->drained_bytes,
                          .rewritten_bytes = (double)report->rewritten_bytes,
                          .dropped_bytes = (double)report->dropped_bytes,
                          .shared = kl_log_ring_is_shared(log)};
    memcpy(out, &state, sizeof state);
    kl_handle_leave(handle);
    return KL_OK;
}

int32_t kl_log_handle_recovery_text(uint32_t handle, uint8_t *out, uint32_t capacity) {
    kl_log *log = kl_handle_enter(handle, KL_HANDLE_LOG);
    if (log == NULL) return no_handle();
    const char *text = kl_log_recovered(log)->reason;
    size_t bytes = strlen(text) < capacity ? strlen(text) : capacity;
    if (out != NULL) memcpy(out, text, bytes);
    kl_handle_leave(handle);
    return out == NULL ? 0 : (int32_t)bytes;
}

/* ---- the reader ---- */

typedef struct {
    kl_log_reader *reader;
    kl_log_frame frame; /* read, but not given out yet, when has_frame */
    bool has_frame;
} open_reader;

static void close_reader(void *object) {
    open_reader *opened = object;
    kl_log_reader_close(opened->reader);
    free(opened);
}

static double open_path(const char *path, double from, uint32_t flags) {
    open_reader *opened = calloc(1, sizeof *opened);
    if (opened == NULL) return kl_fail(KL_ERR_MEMORY, "no memory for a log reader");
    int32_t status = kl_log_reader_open(&opened->reader, path, from, flags);
    if (status != KL_OK) {
        free(opened);
        return status;
    }
    uint32_t handle = kl_handle_open(KL_HANDLE_LOG_READER, opened, close_reader);
    if (handle != 0) return handle;
    close_reader(opened);
    return kl_fail(KL_ERR_LIMIT, "too many open handles, at most %u", KL_HANDLE_COUNT_MAX);
}

double kl_log_reader_handle_open(const uint8_t *folder, uint32_t folder_bytes, double from,
                                 uint32_t flags) {
    char path[PATH_MAX];
    int32_t status = kl_folder_text(folder, folder_bytes, path, sizeof path);
    return status != KL_OK ? status : open_path(path, from, flags);
}

double kl_log_handle_scan(uint32_t handle, double from, uint32_t flags) {
    kl_log *log = kl_handle_enter(handle, KL_HANDLE_LOG);
    if (log == NULL) return no_handle();
    bool uncommitted = (flags & KL_LOG_READ_UNCOMMITTED) != 0;
    /* A poisoned log can still be read, as far as it came. */
    if (uncommitted && kl_log_status(log) == KL_OK) (void)kl_log_flush(log);
    double result = open_path(kl_folder_path(log->folder), from, flags);
    kl_handle_leave(handle);
    return result;
}

int32_t kl_log_reader_handle_close(uint32_t handle) {
    return kl_handle_close(handle, KL_HANDLE_LOG_READER) == KL_OK ? KL_OK : no_handle();
}

static uint64_t entry_bytes(const kl_log_frame *frame) {
    return sizeof(kl_log_entry) + (((uint64_t)frame->bytes + 7) & ~(uint64_t)7);
}

static void put_entry(uint8_t *out, const kl_log_frame *frame) {
    kl_log_entry entry = {.address = (double)frame->address,
                          .next_address = (double)frame->next_address,
                          .payload_bytes = frame->bytes,
                          .record_count = frame->record_count,
                          .tag = frame->tag,
                          .kind = frame->kind,
                          .flags = frame->flags};
    memcpy(out, &entry, sizeof entry);
    /* The fill in the file is part of the frame, and zero. */
    memcpy(out + sizeof entry, frame->payload, (size_t)(entry_bytes(frame) - sizeof entry));
}

static int32_t fill(open_reader *opened, uint8_t *out, uint32_t capacity) {
    uint32_t used = 0;
    for (;;) { /* ends: every entry takes room */
        int32_t status = KL_OK;
        if (!opened->has_frame) status = kl_log_reader_next(opened->reader, &opened->frame);
        if (status != KL_OK) return used > 0 ? (int32_t)used : status;
        opened->has_frame = true;
        uint64_t need = entry_bytes(&opened->frame);
        if (need > capacity - used)
            return used > 0 ? (int32_t)used
                            : kl_fail(KL_ERR_LIMIT, "the next frame needs a buffer of %llu bytes",
                                      (unsigned long long)need);
        put_entry(out + used, &opened->frame);
        used += (uint32_t)need;
        opened->has_frame = false;
    }
}

int32_t kl_log_reader_handle_next(uint32_t handle, uint8_t *out, uint32_t capacity) {
    if (out == NULL || capacity > INT32_MAX)
        return kl_fail(KL_ERR_ARGUMENT, "a reader's buffer has from 32 to 2^31-1 bytes");
    open_reader *opened = kl_handle_enter(handle, KL_HANDLE_LOG_READER);
    if (opened == NULL) return no_handle();
    int32_t result = fill(opened, out, capacity);
    kl_handle_leave(handle);
    return result;
}

double kl_log_reader_handle_need(uint32_t handle) {
    open_reader *opened = kl_handle_enter(handle, KL_HANDLE_LOG_READER);
    if (opened == NULL) return no_handle();
    double need = opened->has_frame ? (double)entry_bytes(&opened->frame) : 0;
    kl_handle_leave(handle);
    return need;
}

int32_t kl_log_reader_handle_arm(uint32_t handle, uint32_t completion, uint32_t token) {
    open_reader *opened = kl_handle_enter(handle, KL_HANDLE_LOG_READER);
    if (opened == NULL) return no_handle();
    kl_event_count *event = NULL;
    uint32_t key = 0;
    int32_t status = opened->has_frame ? 1 : kl_log_reader_prepare(opened->reader, &event, &key);
    if (status == 0) status = kl_completion_arm(completion, token, event, key, KL_LOG_FOREVER);
    kl_handle_leave(handle);
    return status;
}

/* ---- cursors ---- */

typedef struct {
    pthread_mutex_t mutex; /* a move on another thread, and the address that the isolate asks for */
    kl_log_cursor *cursor;
} open_cursor;

static void close_cursor(void *object) {
    open_cursor *opened = object;
    kl_log_cursor_close(opened->cursor);
    pthread_mutex_destroy(&opened->mutex);
    free(opened);
}

static int32_t cursor_texts(const uint8_t *folder, uint32_t folder_bytes, char *path,
                            const uint8_t *name, uint32_t name_bytes, char *text) {
    int32_t status = kl_folder_text(folder, folder_bytes, path, PATH_MAX);
    return status == KL_OK ? kl_folder_text(name, name_bytes, text, PATH_MAX) : status;
}

double kl_log_cursor_handle_open(const uint8_t *folder, uint32_t folder_bytes, const uint8_t *name,
                                 uint32_t name_bytes, double from) {
    char path[PATH_MAX], text[PATH_MAX];
    uint64_t start = KL_LOG_CURSOR_END;
    int32_t status = cursor_texts(folder, folder_bytes, path, name, name_bytes, text);
    if (status == KL_OK && !(from < 0)) status = whole(from, "from", &start);
    if (status != KL_OK) return status;
    open_cursor *opened = calloc(1, sizeof *opened);
    if (opened == NULL) return kl_fail(KL_ERR_MEMORY, "no memory for a cursor");
    status = kl_log_cursor_open(&opened->cursor, path, text, start);
    if (status != KL_OK) {
        free(opened);
        return status;
    }
    pthread_mutex_init(&opened->mutex, NULL);
    uint32_t handle = kl_handle_open(KL_HANDLE_LOG_CURSOR, opened, close_cursor);
    if (handle != 0) return handle;
    close_cursor(opened);
    return kl_fail(KL_ERR_LIMIT, "too many open handles, at most %u", KL_HANDLE_COUNT_MAX);
}

static int32_t no_cursor(void) {
    return kl_fail(KL_ERR_HANDLE, "not an open cursor, or closed already");
}

double kl_log_cursor_handle_address(uint32_t handle) {
    open_cursor *opened = kl_handle_enter(handle, KL_HANDLE_LOG_CURSOR);
    if (opened == NULL) return no_cursor();
    pthread_mutex_lock(&opened->mutex);
    double address = (double)kl_log_cursor_address(opened->cursor);
    pthread_mutex_unlock(&opened->mutex);
    kl_handle_leave(handle);
    return address;
}

int32_t kl_log_cursor_handle_move(uint32_t handle, double address) {
    uint64_t to = 0;
    int32_t status = whole(address, "address", &to);
    if (status != KL_OK) return status;
    open_cursor *opened = kl_handle_enter(handle, KL_HANDLE_LOG_CURSOR);
    if (opened == NULL) return no_cursor();
    pthread_mutex_lock(&opened->mutex);
    status = kl_log_cursor_move(opened->cursor, to);
    pthread_mutex_unlock(&opened->mutex);
    kl_handle_leave(handle);
    return status;
}

int32_t kl_log_cursor_handle_move_async(uint32_t handle, double address, uint8_t *out,
                                        uint32_t capacity) {
    int32_t status = kl_log_cursor_handle_move(handle, address);
    if (status == KL_OK || out == NULL || capacity < sizeof(uint32_t)) return status;
    const char *text = kl_status_last();
    size_t room = capacity - sizeof(uint32_t);
    uint32_t bytes = (uint32_t)strnlen(text, room);
    memcpy(out, &bytes, sizeof bytes);
    memcpy(out + sizeof bytes, text, bytes);
    return status;
}

int32_t kl_log_cursor_handle_close(uint32_t handle) {
    return kl_handle_close(handle, KL_HANDLE_LOG_CURSOR) == KL_OK ? KL_OK : no_cursor();
}

int32_t kl_log_cursor_handle_remove(const uint8_t *folder, uint32_t folder_bytes,
                                    const uint8_t *name, uint32_t name_bytes) {
    char path[PATH_MAX], text[PATH_MAX];
    int32_t status = cursor_texts(folder, folder_bytes, path, name, name_bytes, text);
    return status == KL_OK ? kl_log_cursor_remove(path, text) : status;
}

int32_t kl_log_cursor_handle_list(const uint8_t *folder, uint32_t folder_bytes, uint8_t *out,
                                  uint32_t capacity) {
    char path[PATH_MAX];
    if (out == NULL) return kl_fail(KL_ERR_ARGUMENT, "no place for the names");
    int32_t status = kl_folder_text(folder, folder_bytes, path, sizeof path);
    return status == KL_OK ? kl_log_cursor_list(path, (char *)out, capacity) : status;
}

/* ---- verify ---- */

typedef struct {
    uint8_t *out;
    uint32_t capacity;
    uint32_t used;
} lines;

static void put_line(lines *to, const char *text) {
    size_t bytes = strlen(text);
    if (to->out == NULL || bytes + 1 > to->capacity - to->used) return;
    memcpy(to->out + to->used, text, bytes);
    to->out[to->used + bytes] = '\n';
    to->used += (uint32_t)bytes + 1;
}

static void report_problem(void *context, const kl_log_problem *problem) {
    put_line(context, problem->text);
}

int32_t kl_log_handle_verify(const uint8_t *folder, uint32_t folder_bytes, uint8_t *check,
                             uint32_t check_bytes, uint8_t *out, uint32_t capacity) {
    char path[PATH_MAX];
    lines to = {.out = out, .capacity = capacity};
    kl_log_summary summary = {0};
    if (check == NULL || check_bytes < sizeof(kl_log_check))
        return kl_fail(KL_ERR_ARGUMENT, "verify needs %zu bytes", sizeof(kl_log_check));
    int32_t status = kl_folder_text(folder, folder_bytes, path, sizeof path);
    if (status == KL_OK) status = kl_log_verify(path, report_problem, &to, &summary);
    if (status != KL_OK) { /* this thread's detail is out of the caller's reach: it goes along */
        to.used = 0;
        put_line(&to, kl_status_last());
    }
    kl_log_check result = {.problems = (double)summary.problem_count,
                           .frames = (double)summary.frame_count,
                           .records = (double)summary.record_count,
                           .payload_bytes = (double)summary.payload_bytes,
                           .first = (double)summary.first_address,
                           .durable = (double)summary.durable_address,
                           .end = (double)summary.end_address,
                           .torn_bytes = (double)summary.torn_bytes,
                           .segments = (double)summary.segment_count,
                           .file_bytes = (double)summary.file_bytes,
                           .text_bytes = to.used,
                           .clean = summary.clean};
    memcpy(check, &result, sizeof result);
    return status;
}

static void add_line(void *context, const char *line) {
    put_line(context, line);
}

int32_t kl_log_handle_repair(const uint8_t *folder, uint32_t folder_bytes, uint32_t flags,
                             uint8_t *mend, uint32_t mend_bytes, uint8_t *out, uint32_t capacity) {
    char path[PATH_MAX];
    lines to = {.out = out, .capacity = capacity};
    kl_log_repair_summary summary = {0};
    if (mend == NULL || mend_bytes < sizeof(kl_log_mend))
        return kl_fail(KL_ERR_ARGUMENT, "repair needs %zu bytes", sizeof(kl_log_mend));
    int32_t status = kl_folder_text(folder, folder_bytes, path, sizeof path);
    if (status == KL_OK) status = kl_log_repair(path, flags, add_line, &to, &summary);
    if (status != KL_OK) {
        to.used = 0;
        put_line(&to, kl_status_last());
    }
    kl_log_mend result = {.problems = (double)summary.problem_count,
                          .dropped_bytes = (double)summary.dropped_bytes,
                          .end = (double)summary.end_address,
                          .text_bytes = to.used,
                          .changed = summary.changed};
    memcpy(mend, &result, sizeof result);
    return status;
}

int32_t kl_log_handle_stat(const uint8_t *folder, uint32_t folder_bytes, uint8_t *place,
                           uint32_t place_bytes, uint8_t *out, uint32_t capacity) {
    char path[PATH_MAX];
    lines to = {.out = out, .capacity = capacity};
    kl_log_standing found = {0};
    if (place == NULL || place_bytes < sizeof(kl_log_place))
        return kl_fail(KL_ERR_ARGUMENT, "stat needs %zu bytes", sizeof(kl_log_place));
    int32_t status = kl_folder_text(folder, folder_bytes, path, sizeof path);
    if (status == KL_OK) status = kl_log_stat(path, &found);
    if (status != KL_OK) put_line(&to, kl_status_last());
    kl_log_place result = {.first = (double)found.first_address,
                           .durable = (double)found.durable_address,
                           .tail = (double)found.tail_address,
                           .bytes_used = (double)found.bytes_used,
                           .segments = (double)found.segment_count,
                           .spares = (double)found.spare_count,
                           .segment_bytes = (double)found.segment_bytes,
                           .text_bytes = to.used,
                           .live = found.live};
    memcpy(place, &result, sizeof result);
    return status;
}
