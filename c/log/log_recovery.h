/* log_recovery: what the open of a log does before anybody may read or append.
 *
 *   scan    every checksum to the first bad frame: from the first address, or, with more than
 *           scan_bytes below it, from the manifest's durable address. The segments below must be
 *           there whole all the same
 *   probe   behind it: a valid frame there that was written when more was durable than what is good
 *           now proves that the bad one is damage, not a torn tail
 *   drain   what the ring of a killed process holds behind the last good frame; of the first one the
 *           files may have the beginning. A hole, left by an append that died in the middle, becomes
 *           padding
 *   settle  cut what is left, fill up the block, write everything above the known durable address
 *           again (a block read from the page cache may never have reached the device), sync
 *
 * Always: bytes below the known durable address are not written. Nothing in the ring is changed, and
 * the manifest is not written, before the files are synced: a recovery that is killed starts again
 * from the same bytes.
 * One thread, holding the folder's lock.
 */
#ifndef KL_LOG_LOG_RECOVERY_H
#define KL_LOG_LOG_RECOVERY_H

#include "log/log_state.h"

/* Recovers the files of `log` (folder, segments, uuid and sizes are set). `ring` is the adopted ring
 * of an earlier process, or has shared NULL. `*end` gets where the log ends: a block border, with
 * everything below durable. Fills in log->report. */
int32_t kl_log_recover(kl_log *log, const kl_log_manifest *state, const kl_log_ring *ring,
                       uint32_t mode, uint64_t *end);

#endif
