#ifndef KL_BROKER_SEQUENCER_H
#define KL_BROKER_SEQUENCER_H

/* sequencer: gives the batches of all lanes of a topic one total order.
 *
 * Whoever holds the topic's lease is the sequencer: normally the publisher that has just published,
 * in line, so that an idle topic needs no hop; the sequencer role of the node is the holder of last
 * resort. The holder takes every lane's visible batches, refuses what breaks a session's sequence,
 * and seals one order entry per batch:
 *
 *   entry line 1 (cut), flush, entry line 0, seal, lane order, flush, fence,
 *   order.tail = g + 1                                        <- the batch is ordered here
 *   session.next, lane.ordered_index                          <- repeated by the next holder
 *
 * A holder that dies at any instruction has either ordered the batch or not; the next one repeats
 * the last two stores from the last entry (they are idempotent) and goes on.
 *
 * Nobody is forgotten: publish = store tail_index, full fence, try the lease; release = store 0,
 * full fence, look at every tail_index again. One of the two sees the other (Dekker). A holder that
 * dies in between is found by the sequencer role within its poll interval.
 *
 * Sessions: batches of one session carry 0, n1, n1+n2, ...; one that is ahead waits in its lane
 * until its predecessor is ordered, one that is behind is a duplicate and is refused (an entry with
 * record_count 0). Progress: lock-free for the topic; a stopped holder delays ordering. */

#include "broker/topic.h"

/* Orders what is visible. `patient` also takes the lease over from a dead holder (a system call).
 * `refuse_gaps`: a batch whose predecessor never came is refused instead of waited for. Returns the
 * number of batches ordered by this call; 0 may also mean that someone else is at it. */
int32_t kl_sequencer_run(kl_topic *topic, bool patient, bool refuse_gaps);

/* Batches that are published but not ordered, now. */
uint64_t kl_sequencer_pending(const kl_topic *topic);

/* Registers a session, after ordering all that is visible, and says which sequence it has to
 * continue with. Waits for the lease at most timeout_ns. */
int32_t kl_sequencer_session(kl_topic *topic, uint64_t session, uint64_t timeout_ns,
                             uint64_t *next);

#endif
