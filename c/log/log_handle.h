/* log_handle: the log for the other side of the FFI. Handles, numbers as f64, records in one buffer.
 *
 *   LOG          a kl_log; closed with its last call (base/handle.h), so a close may race appends of
 *                other Workers.
 *   LOG_READER   a kl_log_reader and the frame that did not fit into the last buffer; one isolate.
 *   LOG_CURSOR   a kl_log_cursor; one call at a time (log_handle takes a mutex).
 *
 * Addresses and positions are f64 (exact to 2^53); a result below 0 is a status. Nothing here is
 * trusted: sizes, counts and encodings are checked before anything is appended.
 * Progress: as durable_log.h and log_reader.h say. handle_open, handle_close, commit and flush wait
 * for the device or the page cache; append does while the ring is full.
 */
#ifndef KL_LOG_LOG_HANDLE_H
#define KL_LOG_LOG_HANDLE_H

#include "base/status.h"

/* layout: kl_log_state first durable flushed tail frame_bytes_max ring_bytes cut_bytes cut_address drained_bytes rewritten_bytes dropped_bytes shared */
typedef struct {
    double first;
    double durable;
    double flushed;
    double tail;
    double frame_bytes_max;
    double ring_bytes;
    double cut_bytes; /* this and the next four: what the open found and did */
    double cut_address;
    double drained_bytes;
    double rewritten_bytes;
    double dropped_bytes;
    uint32_t shared; /* 1: the ring outlives the process */
    uint32_t reserved;
} kl_log_state;

/* One frame in a reader's buffer; its payload follows, filled up to a multiple of 8. */
/* layout: kl_log_entry address next_address payload_bytes record_count tag kind flags */
typedef struct {
    double address;
    double next_address;
    uint32_t payload_bytes;
    uint32_t record_count;
    uint16_t tag;
    uint8_t kind;
    uint8_t flags;
    uint32_t reserved;
} kl_log_entry;

static_assert(sizeof(kl_log_entry) == 32, "payloads stand on multiples of 8");

/* layout: kl_log_check problems frames records payload_bytes first durable end torn_bytes segments file_bytes text_bytes clean */
typedef struct {
    double problems;
    double frames;
    double records;
    double payload_bytes;
    double first;
    double durable;
    double end;
    double torn_bytes;
    double segments;
    double file_bytes;
    uint32_t text_bytes; /* of the problems' text, or of the failure's */
    uint32_t clean;
} kl_log_check;

/* layout: kl_log_open_options segment_bytes ring_bytes retain_bytes retain_ms flags recovery spare_segments */
typedef struct {
    double segment_bytes; /* 0: the defaults, here and below */
    double ring_bytes;
    double retain_bytes;
    double retain_ms;
    uint32_t flags;
    uint32_t recovery;
    uint32_t spare_segments;
    uint32_t reserved;
} kl_log_open_options;

/* layout: kl_log_mend problems dropped_bytes end text_bytes changed */
typedef struct {
    double problems;
    double dropped_bytes;
    double end;
    uint32_t text_bytes;
    uint32_t changed;
} kl_log_mend;

/* A handle (> 0), or a status. `options` holds a kl_log_open_options. */
KL_API double kl_log_handle_open(const uint8_t *folder, uint32_t folder_bytes,
                                 const uint8_t *options, uint32_t options_bytes);

/* Also answers what kl_log_close does, unless a call of another Worker is still under way. */
KL_API int32_t kl_log_handle_close(uint32_t handle);

/* Appends one record; its address, or a status. `durability` 0: memory; 1: buffered (where the ring
 * is private memory, to the page cache before it returns). */
KL_API double kl_log_handle_append(uint32_t handle, const uint8_t *record, uint32_t bytes,
                                   uint32_t tag, uint32_t durability);

/* Appends `record_count` records as one batch, whole or not at all. `encoded` holds for each
 * {bytes u32, data}; KL_ERR_ARGUMENT when that does not come out even. */
KL_API double kl_log_handle_append_many(uint32_t handle, const uint8_t *encoded, uint32_t bytes,
                                        uint32_t record_count, uint32_t tag, uint32_t durability);

/* Waits until everything that begins below `until` is durable; below 0: everything so far. */
KL_API int32_t kl_log_handle_commit(uint32_t handle, double until);
/* Asks a service thread for the same, and returns. */
KL_API int32_t kl_log_handle_request_commit(uint32_t handle);
/* 1: everything that begins below `until` is durable; 0: `token` is posted to `completion` at the
 * next change, then ask again; or a status. */
KL_API int32_t kl_log_handle_arm_durable(uint32_t handle, double until, uint32_t completion,
                                         uint32_t token);
KL_API int32_t kl_log_handle_flush(uint32_t handle);

/* kl_log_truncate_before: here; or asked of a service thread, whose end is waited for with arm: 1
 * done, 0 `token` is posted at the next change, or how it failed. */
KL_API int32_t kl_log_handle_truncate(uint32_t handle, double address);
KL_API int32_t kl_log_handle_request_truncate(uint32_t handle, double address);
KL_API int32_t kl_log_handle_arm_truncated(uint32_t handle, uint32_t completion, uint32_t token);

KL_API double kl_log_handle_first(uint32_t handle);
KL_API double kl_log_handle_durable(uint32_t handle);
KL_API double kl_log_handle_tail(uint32_t handle);

/* Fills a kl_log_state. */
KL_API int32_t kl_log_handle_state(uint32_t handle, uint8_t *out, uint32_t capacity);
/* The sentence of the recovery report; its bytes, 0 after a clean close. */
KL_API int32_t kl_log_handle_recovery_text(uint32_t handle, uint8_t *out, uint32_t capacity);

KL_API double kl_log_reader_handle_open(const uint8_t *folder, uint32_t folder_bytes, double from,
                                        uint32_t flags);
/* The same for the folder of an open log, wherever the process has moved since. With
 * KL_LOG_READ_UNCOMMITTED everything appended so far is flushed first, so that it is seen. */
KL_API double kl_log_handle_scan(uint32_t log, double from, uint32_t flags);
KL_API int32_t kl_log_reader_handle_close(uint32_t handle);

/* Fills `out` with as many whole entries as there are and fit; the bytes used (> 0), or KL_ERR_END,
 * KL_ERR_CORRUPT, ..., or KL_ERR_LIMIT: not even one fits, ask kl_log_reader_handle_need. */
KL_API int32_t kl_log_reader_handle_next(uint32_t handle, uint8_t *out, uint32_t capacity);
/* Bytes that the next entry needs, 0 when that is not known yet. */
KL_API double kl_log_reader_handle_need(uint32_t handle);

/* For whoever follows a log: 1: try kl_log_reader_handle_next again; 0: `token` is posted when there
 * is more, or after half a second; KL_ERR_UNSUPPORTED: look again in a while (kl_log_reader_prepare). */
KL_API int32_t kl_log_reader_handle_arm(uint32_t handle, uint32_t completion, uint32_t token);

/* Cursors (log_cursor.h). `from` below 0: the end. Addresses and handles, or a status. */
KL_API double kl_log_cursor_handle_open(const uint8_t *folder, uint32_t folder_bytes,
                                        const uint8_t *name, uint32_t name_bytes, double from);
KL_API double kl_log_cursor_handle_address(uint32_t handle);
KL_API int32_t kl_log_cursor_handle_move(uint32_t handle, double address);
/* The same on another thread; `out` gets {u32 bytes, text} of the failure. */
/* ffi: nonblocking */
KL_API int32_t kl_log_cursor_handle_move_async(uint32_t handle, double address, uint8_t *out,
                                               uint32_t capacity);
KL_API int32_t kl_log_cursor_handle_close(uint32_t handle);
KL_API int32_t kl_log_cursor_handle_remove(const uint8_t *folder, uint32_t folder_bytes,
                                           const uint8_t *name, uint32_t name_bytes);
KL_API int32_t kl_log_cursor_handle_list(const uint8_t *folder, uint32_t folder_bytes, uint8_t *out,
                                         uint32_t capacity);

/* Verifies a whole log. `check` gets a kl_log_check; `out` one line per problem, as many as fit, or
 * the text of the failure that is answered. */
/* ffi: nonblocking */
KL_API int32_t kl_log_handle_verify(const uint8_t *folder, uint32_t folder_bytes, uint8_t *check,
                                    uint32_t check_bytes, uint8_t *out, uint32_t capacity);

/* layout: kl_log_place first durable tail bytes_used segments spares segment_bytes text_bytes live */
typedef struct {
    double first;
    double durable;
    double tail;
    double bytes_used;
    double segments;
    double spares;
    double segment_bytes;
    uint32_t text_bytes;
    uint32_t live;
} kl_log_place;

/* kl_log_stat: `place` gets a kl_log_place, `out` the text of the failure that is answered. */
/* ffi: nonblocking */
KL_API int32_t kl_log_handle_stat(const uint8_t *folder, uint32_t folder_bytes, uint8_t *place,
                                  uint32_t place_bytes, uint8_t *out, uint32_t capacity);

/* Repairs a log that nobody has open (log_repair.h): `flags` of kl_log_repair_flag. `check` gets a
 * kl_log_mend; `out` one line for each thing done, or the text of the failure that is answered. */
/* ffi: nonblocking */
KL_API int32_t kl_log_handle_repair(const uint8_t *folder, uint32_t folder_bytes, uint32_t flags,
                                    uint8_t *mend, uint32_t mend_bytes, uint8_t *out,
                                    uint32_t capacity);

#endif
