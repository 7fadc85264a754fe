#ifndef KL_BROKER_RECOVERY_H
#define KL_BROKER_RECOVERY_H

/* recovery: rebuilds a topic's region from the logs after a reboot (or when nobody was left and the
 * region is gone): the longest hole-free prefix in total order, the sessions with the number each
 * has to continue with, and a new epoch above every epoch in the files, so that what was cut can
 * never be taken for what comes next. It reads only; running it again gives the same.
 * The logs themselves are opened for writing first (unless a live process holds them), which syncs
 * what had been written but never synced: nothing is handed on that could still vanish. */

#include "broker/node.h"

/* Fills epoch, base_order, recovered and cut records, and sessions (to be freed by the caller). */
int32_t kl_recovery_plan(const kl_node *node, const kl_topic_record *record, kl_topic_plan *plan,
                         uint64_t log_positions[KL_BROKERS_MAX]);

/* What recovery would find, without touching anything. */
typedef struct kl_recovery_count {
    uint64_t records, cut_records, bytes, sessions;
} kl_recovery_count;
int32_t kl_recovery_count_topic(const kl_node *node, const kl_topic_record *record,
                                kl_recovery_count *out);

#endif
