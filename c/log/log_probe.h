/* log_probe: looks for valid frames where the chain of frames has broken.
 *
 * Frames carry their address in their checksum, so one that is valid at its place was written
 * there, whatever lies before it. Every multiple of 8 is tried. In a fresh segment every other byte
 * that is not zero was written there too; in a recycled one it may be of a former life, unless it
 * looks like the header of a frame that knew of a durable address not below the log's first.
 *
 * Writers: none. One thread. Progress: one pass; checksums of claimed frames are bounded by a budget
 * of the bytes passed, after which only block borders (where groups begin) are tried.
 */
#ifndef KL_LOG_LOG_PROBE_H
#define KL_LOG_LOG_PROBE_H

#include "log/log_stream.h"

typedef struct {
    uint64_t written_end; /* behind the last byte that was written in this life */
    uint64_t frame_count; /* valid frames found */
    uint64_t first_frame; /* address of the first of them */
    uint64_t durable;     /* the highest durable address that one of them carries */
    uint64_t durable_at;  /* which one */
} kl_log_probe;

/* Looks through [from, until). With `first_only` it stops behind the first valid frame. */
int32_t kl_log_probe_range(kl_log_window *window, uint32_t seed, uint64_t from, uint64_t until,
                           bool first_only, kl_log_probe *out);

#endif
