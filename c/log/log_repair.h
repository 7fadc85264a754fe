/* log_repair: makes a damaged log openable again, and says what that costs.
 *
 * Damage is what kl_log_verify calls a problem: something below the durable address that is not a
 * valid frame, a segment that is missing or is not what its name says, a manifest without a whole
 * slot. (A torn tail is none: every open cuts it.) Two ways:
 *
 *   skip            what is damaged becomes padding, everything else stays
 *   point in time   the log ends before the first damage
 *
 * What is dropped stays beside, in the folder's `dropped/`: bytes of the stream as
 * `<address>-<bytes>.bin`, segments and manifests under their names.
 *
 * Writers: holds the folder's lock, so never beside a live writer. The ring of a killed one is left
 * for the next open to drain (skip), or removed, which is said (point in time).
 * Always: nothing is changed by a dry run. Killed anywhere, it may be run again: bytes are saved and
 * synced before they are changed, and the manifest is written last.
 * Progress: two passes over the files.
 */
#ifndef KL_LOG_LOG_REPAIR_H
#define KL_LOG_LOG_REPAIR_H

#include "file/folder.h"

#define KL_LOG_DROPPED_NAME "dropped"

enum kl_log_repair_flag {
    KL_LOG_REPAIR_SKIP = 1,
    KL_LOG_REPAIR_POINT_IN_TIME = 2,
    KL_LOG_REPAIR_DRY_RUN = 4,
};

typedef struct {
    uint64_t problem_count;
    uint64_t dropped_bytes; /* of the stream, as far as known */
    uint64_t end_address;   /* where the log ends afterwards */
    bool changed;
} kl_log_repair_summary;

/* `say` gets one line for each thing that is done, or would be. KL_OK: the log can be opened (or
 * could be all the time). KL_ERR_LOCKED, KL_ERR_VERSION (a newer log is not touched),
 * KL_ERR_NOT_FOUND, KL_ERR_LIMIT (more ranges than can be remembered: what was repaired stays so,
 * run it again), KL_ERR_CORRUPT: it is still damaged. */
int32_t kl_log_repair(const char *folder, uint32_t flags,
                      void (*say)(void *context, const char *line), void *context,
                      kl_log_repair_summary *out);

/* The same for a folder that the caller has locked. */
int32_t kl_log_repair_locked(kl_folder *folder, uint32_t flags,
                             void (*say)(void *context, const char *line), void *context,
                             kl_log_repair_summary *out);

#endif
