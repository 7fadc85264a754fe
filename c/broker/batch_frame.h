#ifndef KL_BROKER_BATCH_FRAME_H
#define KL_BROKER_BATCH_FRAME_H

/* batch_frame: what a broker's log holds of one batch (drawn in docs/format_broker.md): this header,
 * then the records exactly as they lay in the lane. One batch is one frame of the log, so it is
 * there whole or not at all, and the frame's checksum covers all of it. */

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "broker/topic_layout.h"

#define KL_BATCH_FRAME_TAG   0x4b42u
#define KL_BATCH_FRAME_MAGIC 0x31424c4bu /* "KLB1" */

typedef struct kl_batch_frame {
    uint32_t magic;
    uint32_t epoch;
    uint64_t topic_id;
    uint64_t total_order; /* number of the first record */
    uint64_t session;
    uint64_t first_sequence;
    uint64_t published_at_ns; /* CLOCK_REALTIME */
    uint64_t lane_index;
    uint32_t record_count;
    uint32_t payload_bytes;
} kl_batch_frame;

static_assert(sizeof(kl_batch_frame) == 64, "one line");
/* layout: kl_batch_frame magic epoch topic_id total_order session first_sequence record_count */

/* The header of a frame's payload, checked against the payload's length. */
static inline bool kl_batch_frame_read(kl_batch_frame *out, const uint8_t *payload,
                                       uint32_t bytes) {
    if (bytes < sizeof(*out)) return false;
    memcpy(out, payload, sizeof(*out));
    return out->magic == KL_BATCH_FRAME_MAGIC && out->payload_bytes == bytes - sizeof(*out) &&
           out->record_count != 0 &&
           out->record_count <= out->payload_bytes / KL_RECORD_HEADER_BYTES;
}

#endif
