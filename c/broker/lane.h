#ifndef KL_BROKER_LANE_H
#define KL_BROKER_LANE_H

/* lane: the way into one broker's part of a topic.
 *
 * A batch is laid into the payload ring, flushed, described by one descriptor, flushed, and becomes
 * visible by the store of tail_index: whoever dies before that store has published nothing, and the
 * next holder of the lane's lock continues where tail_index says. So a lane needs no repair after a
 * death, ever; a holder that is merely stopped delays this lane only, publishers use another one.
 *
 * Space is reclaimed by the lock holder, on demand, up to what may be dropped: in a logged topic the
 * batches that are synced together with all that was ordered before them, in an unlogged one those
 * that are ordered and that every live cursor has passed. Nothing is ever overwritten before.
 *
 * May these run at the same time?   publish  read  log/order
 *                         publish    one at a time per lane (lock), yes with the others
 * Progress: publish never waits; KL_ERR_AGAIN says that the lane is full or held. */

#include "broker/topic.h"

typedef struct kl_batch {
    const uint8_t *records; /* {u32 bytes|flag, u32 ignored, data, zero pad to 8} * record_count */
    uint32_t bytes;
    uint32_t record_count;
    uint64_t session;
    uint64_t first_sequence;
} kl_batch;

typedef struct kl_batch_position {
    uint32_t broker;
    uint64_t index;
} kl_batch_position;

/* Checks the framing of an encoded batch. KL_ERR_ARGUMENT with the offset, or the record count. */
int32_t kl_batch_check(const uint8_t *records, uint32_t bytes, uint32_t record_bytes_max);

/* Publishes into one lane. KL_ERR_AGAIN: held by someone or full; nothing was taken. `patient`
 * also asks whether a holder is dead (a system call) and takes its lock over. */
int32_t kl_lane_publish(kl_topic *topic, uint32_t broker, const kl_batch *batch, bool patient,
                        kl_batch_position *out);

/* Descriptor `index` copied out and checked. KL_ERR_NOT_FOUND: not published, or reclaimed. */
int32_t kl_lane_read(const kl_topic *topic, uint32_t broker, uint64_t index,
                     kl_lane_descriptor *out);

/* Copies a batch's payload out. KL_ERR_NOT_FOUND: it was reclaimed before the copy was done. */
int32_t kl_lane_copy_payload(const kl_topic *topic, uint32_t broker, uint64_t index,
                             uint64_t address, uint32_t bytes, uint8_t *out);

/* False: a batch of `bytes` would certainly be refused now. */
bool kl_lane_may_have_room(kl_topic *topic, uint32_t broker, uint32_t bytes);

/* Unlogged topics: the order entry that every live cursor has passed; frees dead cursors. */
uint64_t kl_lane_cursors_passed(kl_topic *topic);

#endif
