/* log_truncate: gives the front of a log back.
 *
 * The log begins anew at a frame's address. That is written into the manifest and synced; then the
 * segments that lie below as a whole become spares, to be written again as later segments, or are
 * removed (file/segment_set.h). So a crash leaves the old front with all its segments, or the new
 * one with some segments too many, which the next open retires.
 *
 *   first          by whoever holds manifest_lock (log_state.h), written to the manifest with it
 *   marks          where groups ended, one per segment: frame borders that cost nothing to find;
 *                  by the holder of sync_lock, read under marks.lock
 *   wanted, done   what the service thread was asked for and how it ended
 *
 * Always: first only grows, is a frame's address or the durable address, and never passes a pin
 * (log_cursor.h). What is below is not read any more: readers answer KL_ERR_NOT_FOUND.
 * Progress: blocking; one sync of the manifest, one folder sync for each segment.
 *
 * May these run at the same time?  any with any, and with everything of durable_log.h but close.
 */
#ifndef KL_LOG_LOG_TRUNCATE_H
#define KL_LOG_LOG_TRUNCATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "log/durable_log.h"

#define KL_LOG_MARKS 1024u

/* Where a group ended first in a segment, and when. */
typedef struct {
    uint64_t address;
    uint64_t at_ns; /* kl_clock_monotonic_ns */
} kl_log_mark;

typedef struct {
    pthread_mutex_t lock; /* guards marks and count */
    kl_log_mark marks[KL_LOG_MARKS];
    uint64_t count; /* ever made; the last KL_LOG_MARKS of them are kept */
} kl_log_marks;

/* Lets the log begin at `address`, which must be 0..durable and a frame's own, or at the oldest pin
 * when that is lower. KL_OK (also when it begins there or later already); KL_ERR_ARGUMENT: it lies
 * inside a frame (which one is said) or is not durable yet; or the log's poison. */
int32_t kl_log_truncate_before(kl_log *log, uint64_t address);

/* Asks a service thread for the same. Its end is notified on kl_log_durable_event. One at a time:
 * asked for again before that, only the later one is sure to be done. */
void kl_log_request_truncate(kl_log *log, uint64_t address);
/* KL_OK, KL_ERR_AGAIN (not done yet), or how the last one failed. */
int32_t kl_log_truncate_status(const kl_log *log);
void kl_log_truncate_requested(kl_log *log); /* for the service thread */

/* Drops what retention (kl_log_options.retain_*) no longer wants; in the background, now and then. */
void kl_log_retain(kl_log *log);

/* After a commit up to `durable`, a frame border. Caller holds sync_lock. */
void kl_log_mark_group(kl_log *log, uint64_t durable);

/* Retires segments that a crash left below first. For the open. */
int32_t kl_log_retire_below(kl_log *log);

#endif
