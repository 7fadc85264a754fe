#ifndef KL_BROKER_HISTORY_H
#define KL_BROKER_HISTORY_H

/* history: reads one topic back from the logs of all brokers, merged by total order.
 *
 * Each log holds its broker's batches in ascending order within an epoch. The merge gives the batch
 * that starts at the number wanted next, of the newest epoch there is for it, and never goes back
 * to an older epoch. If no log has that number, the epoch has a hole: what it still holds above is
 * dropped, and only a newer epoch may go on from there. So a power cut that took one log's tail
 * cuts the topic at the hole, for this reader and for every later one, and the dropped batches
 * never come back although they still lie in the files.
 *
 * One thread per reader. Locks nothing, writes nothing. */

#include "broker/batch_frame.h"

typedef struct kl_history kl_history;

typedef struct kl_history_batch {
    kl_batch_frame frame;
    const uint8_t *payload; /* valid until the next call */
} kl_history_batch;

typedef struct kl_history_report {
    uint64_t next_order;      /* one past the last record given */
    uint64_t dropped_records; /* above a hole, or of an epoch that was cut */
    uint32_t epoch_max;       /* newest epoch seen, also in what was dropped */
} kl_history_report;

/* `folder` is the node's. `committed`: only what is known to be durable. */
int32_t kl_history_open(kl_history **out, const char *folder, uint32_t broker_count,
                        uint64_t topic_id, uint64_t from_order, bool committed);
/* KL_OK | KL_ERR_END (ask again later) | KL_ERR_CORRUPT (file, offset and expectation). */
int32_t kl_history_next(kl_history *history, kl_history_batch *out);
/* Skips ahead to a record number; going back is not possible. */
void kl_history_advance(kl_history *history, uint64_t order);
void kl_history_report_get(const kl_history *history, kl_history_report *out);
/* Address at which the log of `broker` continues after what has been read. */
uint64_t kl_history_log_position(const kl_history *history, uint32_t broker);
void kl_history_close(kl_history *history);

/* Folder of one broker's log inside the node's folder. */
int32_t kl_broker_log_path(const char *folder, uint32_t broker, char *out, size_t capacity);

#endif
