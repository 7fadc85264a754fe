/* log_flush: from the ring to the page cache, and from there to the device.
 *
 * Whole blocks are written, from the block that flushed lies in; the last one is filled up with
 * zeros. So a block may be written twice before its group is committed, and never after.
 *
 * Always: bytes below durable are never written. A segment that the flusher enters exists, is
 * zero-filled (or recycled) and synced; when no service thread has made it yet, the flusher does.
 * Failures: a failed write or sync poisons the log. A segment that cannot be made (a full disk)
 * does not: nothing was lost, and the next call tries again.
 */
#ifndef KL_LOG_LOG_FLUSH_H
#define KL_LOG_LOG_FLUSH_H

#include "log/log_state.h"

/* Bytes handed to the page cache at a time; appenders that wait for room go on after each. */
#define KL_LOG_WRITE_STEP (1u << 20)

/* Caller holds flush_lock. Writes [flushed, until); until is safe (kl_log_ring_safe). */
int32_t kl_log_write_out(kl_log *log, uint64_t until);

/* Writes a small group and has it synced by the same call, where that can be done: one round trip to
 * the device instead of two. Everything from the durable address to `until` must go in one write,
 * for such a write answers for its own bytes only. `*done` says whether it was done; if not,
 * nothing was. Caller holds sync_lock and no other. */
int32_t kl_log_write_durably(kl_log *log, uint64_t until, bool *done);

/* Takes the lock and writes everything that is safe; with `whole_blocks` all but the last, partly
 * filled block. */
int32_t kl_log_flush_safe(kl_log *log, bool whole_blocks);

/* Syncs every segment that holds bytes of [from, until). Caller holds sync_lock. */
int32_t kl_log_sync_range(kl_log *log, uint64_t from, uint64_t until);

/* Asks a service thread to make the segment that holds `address`. */
void kl_log_prepare_from(kl_log *log, uint64_t address);

/* Makes the segment that the flusher will need next. For service threads. */
void kl_log_prepare_ahead(kl_log *log);

void kl_log_writer_init(kl_log_writer *writer);
void kl_log_writer_close(kl_log_writer *writer);

/* Closes the segments that are durable as a whole. Caller holds flush_lock: the committer uses no
 * such segment any more, and the flusher has left it. */
void kl_log_forget_durable(kl_log *log);

#endif
