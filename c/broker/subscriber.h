#ifndef KL_BROKER_SUBSCRIBER_H
#define KL_BROKER_SUBSCRIBER_H

/* subscriber: reads a topic in total order from any number on, each batch once.
 *
 * It reads the lanes' memory while the wanted batch is there, and the brokers' logs when it has
 * fallen behind (or when no node is up), and changes between them by itself: both give the same
 * records under the same numbers. Payload is copied out and then checked not to have been reclaimed
 * during the copy. In an unlogged topic a cursor holds back the publishers instead.
 *
 * One thread at a time per subscriber. Progress: poll never waits for anybody. */

#include "broker/history.h"
#include "broker/node.h"

enum kl_subscriber_flag {
    KL_SUBSCRIBE_DURABLE_ONLY = 1, /* deliver only what no power cut can take back */
};
#define KL_SUBSCRIBE_START (-1.0)
#define KL_SUBSCRIBE_END   (-2.0)

/* What poll writes in front of a batch's records. */
typedef struct kl_delivery {
    uint64_t total_order; /* of the record whose sequence is first_sequence */
    uint64_t session;
    uint64_t first_sequence;
    uint64_t published_at_ns; /* CLOCK_MONOTONIC of this host */
    uint32_t record_count;
    uint32_t payload_bytes;
    uint32_t skip; /* records at the front that come before the position asked for */
    uint32_t reserved;
} kl_delivery;
/* layout: kl_delivery total_order session first_sequence published_at_ns record_count payload_bytes skip */

typedef struct kl_subscriber {
    kl_node *node;
    kl_topic *topic; /* NULL: no region, the logs only */
    char name[KL_TOPIC_NAME_MAX + 1];
    uint64_t topic_id;
    uint32_t flags;
    uint64_t position; /* record wanted next */
    uint64_t entry;    /* order entry to look at next, if entry_known */
    bool entry_known;
    kl_topic_cursor *cursor;
    bool behind; /* reads the logs */
    kl_history *history;
    kl_history_batch batch; /* read from the logs, not yet delivered (it did not fit) */
    bool has_batch;
    uint64_t delivered;
    uint32_t needed_bytes; /* after KL_ERR_LIMIT: the buffer the next delivery needs */
} kl_subscriber;

int32_t kl_subscriber_open(kl_subscriber **out, kl_node *node, const char *name, double from,
                           uint32_t flags);
void kl_subscriber_close(kl_subscriber *subscriber);
/* Writes deliveries (kl_delivery, then the records, each padded to 8) into `out`; the bytes
 * written, 0 if there is nothing now, KL_ERR_LIMIT if `out` is smaller than needed_bytes. */
int32_t kl_subscriber_read(kl_subscriber *subscriber, uint8_t *out, uint32_t capacity);
/* True if a read would give something, or fail. */
bool kl_subscriber_ready(kl_subscriber *subscriber);

#endif
