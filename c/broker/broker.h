#ifndef KL_BROKER_BROKER_H
#define KL_BROKER_BROKER_H

/* broker: the door of this row to TypeScript. Every function checks its handle and its arguments,
 * blocks for nothing but what its name says (open recovers; role open and close sync), and answers
 * with a status, or with a handle as a double (negative: a status). Numbers cross as doubles, exact
 * to 2^53. Any thread may call any of them at any time; a publisher or subscriber that two threads
 * use at once is refused, not broken. */

#include "base/status.h"

/* Handle of an opened node. flags: kl_node_flag. */
KL_API double kl_broker_open(const uint8_t *folder, uint32_t folder_bytes, uint32_t broker_count,
                             uint32_t flags);
KL_API int32_t kl_broker_close(uint32_t node);
/* out[4]: brokers, 1 if the node's memory is there, topics version, 0. */
KL_API int32_t kl_broker_info(uint32_t node, double *out);
/* Path of the node's shared memory; the bytes written, 0 if it has none now. */
KL_API int32_t kl_broker_region_path(uint32_t node, uint8_t *out, uint32_t capacity);
/* Names, NUL-separated; the bytes written. */
KL_API int32_t kl_broker_topic_names(uint32_t node, uint8_t *out, uint32_t capacity);
/* out[12]: pid, alive, times hosted, failed status, records, bytes, syncs; its reason as text. */
KL_API int32_t kl_broker_role_info(uint32_t node, uint32_t index, double *out, uint8_t *reason,
                                   uint32_t capacity);
/* Lets go of the memory of topics that are wholly durable and used by nobody else. */
KL_API int32_t kl_broker_retire(uint32_t node);

/* Handle of a topic. flags: kl_topic_open_flag; lane_bytes 0: 8 MiB. */
KL_API double kl_broker_topic_open(uint32_t node, const uint8_t *name, uint32_t name_bytes,
                                   uint32_t flags, double lane_bytes);
KL_API int32_t kl_broker_topic_close(uint32_t topic);
/* out[16]: next record, durable records, ordered bytes, refused batches, logged, brokers, lane
 * bytes, epoch, recovered records, cut records, batches waiting, sessions, poisoned, largest batch,
 * first record in memory's numbering, blocked. */
KL_API int32_t kl_broker_topic_info(uint32_t topic, double *out);
/* out[4]: pid, position of the subscriber in slot; KL_ERR_NOT_FOUND if the slot is free. */
KL_API int32_t kl_broker_topic_cursor(uint32_t topic, uint32_t slot, double *out);
/* Counts a topic in the logs, for a folder whose node is not up. out[4]: one past the last record,
 * records above a hole, payload bytes, sessions (at most 65536); 1 if it is logged. Reads all of
 * every log. */
KL_API int32_t kl_broker_topic_count(uint32_t node, const uint8_t *name, uint32_t name_bytes,
                                     double *out);
/* The topic's structures, checked while nobody writes. */
KL_API int32_t kl_broker_topic_check(uint32_t topic);

/* session < 0: a new one. */
KL_API double kl_broker_publisher_open(uint32_t topic, double session);
KL_API int32_t kl_broker_publisher_close(uint32_t publisher);
/* KL_ERR_AGAIN: no room, nothing was taken. */
KL_API int32_t kl_broker_publisher_offer(uint32_t publisher, const uint8_t *records,
                                         uint32_t bytes);
/* out[4]: next, ordered, durable, session. */
KL_API int32_t kl_broker_publisher_progress(uint32_t publisher, double *out);
/* level 0: ordered, 1: durable. 1: reached; 0: armed, `token` will be posted (look again then). */
KL_API int32_t kl_broker_publisher_arm(uint32_t publisher, uint32_t level, double sequence,
                                       uint32_t completion, uint32_t token);
KL_API int32_t kl_broker_publisher_arm_space(uint32_t publisher, uint32_t bytes,
                                             uint32_t completion, uint32_t token);

/* from: a record number, -1 the start, -2 the end. flags: kl_subscriber_flag. */
KL_API double kl_broker_subscriber_open(uint32_t node, const uint8_t *name, uint32_t name_bytes,
                                        double from, uint32_t flags);
KL_API int32_t kl_broker_subscriber_close(uint32_t subscriber);
/* Bytes of deliveries written, 0 nothing now, KL_ERR_LIMIT the buffer is too small (see info). */
KL_API int32_t kl_broker_subscriber_read(uint32_t subscriber, uint8_t *out, uint32_t capacity);
/* out[4]: position, bytes needed, 1 if attached to memory, records delivered. */
KL_API int32_t kl_broker_subscriber_info(uint32_t subscriber, double *out);
KL_API int32_t kl_broker_subscriber_arm(uint32_t subscriber, uint32_t completion, uint32_t token);

/* index: a broker's number, or 8 for the sequencer. */
KL_API double kl_broker_role_open(uint32_t node, uint32_t index);
KL_API int32_t kl_broker_role_status(uint32_t role);
KL_API int32_t kl_broker_role_close(uint32_t role);

#endif
