#ifndef KL_BROKER_TOPIC_H
#define KL_BROKER_TOPIC_H

/* topic: one topic's region, attached in this process.
 *
 * The shape (counts and offsets) is copied out of the shared header once, checked against the
 * region's size, and never read again: a peer that scribbles over the header misleads nobody. All
 * accessors mask their index, so no index read from shared memory can leave the mapping.
 *
 * A kl_topic is immutable after attach and may be used from any thread; closing it belongs to the
 * one who attached it, after everybody else has left (the broker's handle table sees to that). */

#include "broker/topic_layout.h"
#include "mem/region.h"

#define KL_TOPIC_NAME_MAX     128u
#define KL_LANE_BYTES_DEFAULT (8u << 20)
#define KL_LANE_BYTES_MIN     (64u << 10)
#define KL_LANE_BYTES_MAX     (1u << 30)

typedef struct kl_topic {
    kl_region *region;
    kl_topic_header shape; /* our own copy, checked */
    kl_topic_order *order;
    kl_mutex *lease;
    kl_topic_doorbells *bells;
    uint8_t *lanes;
    kl_order_entry *orders;
    kl_session_entry *sessions;
    kl_topic_cursor *cursors;
    kl_event_count *work; /* one doorbell per broker, in the node's region; may be NULL */
    char name[KL_TOPIC_NAME_MAX + 1];
} kl_topic;

typedef struct kl_topic_plan {
    const char *name;
    uint8_t uuid[16];
    uint32_t broker_count;
    uint32_t flags; /* KL_TOPIC_LOGGED */
    uint64_t lane_bytes;
    bool prefault;
    /* what recovery found; all zero for a new topic */
    uint32_t epoch;
    uint64_t base_order, recovered_records, cut_records;
    const kl_session_entry *sessions;
    uint32_t session_count;
} kl_topic_plan;

int32_t kl_topic_lane_bytes_check(uint64_t lane_bytes);
/* Creates the region and makes it visible, whole. KL_ERR_EXISTS: someone else was first. */
int32_t kl_topic_create(kl_topic **out, const kl_topic_plan *plan);
/* KL_ERR_NOT_FOUND: no region of that uuid lives on this host. Joins as a participant. */
int32_t kl_topic_attach(kl_topic **out, const char *name, const uint8_t uuid[16]);
void kl_topic_close(kl_topic *topic);
/* Removes the name; those who are attached keep the memory. */
int32_t kl_topic_unlink(const uint8_t uuid[16]);
/* Slow and complete: every invariant of topic_layout.h that holds while nobody writes. */
int32_t kl_topic_check(kl_topic *topic);

static inline bool kl_topic_is_logged(const kl_topic *topic) {
    return (topic->shape.flags & KL_TOPIC_LOGGED) != 0;
}

static inline kl_lane *kl_topic_lane(const kl_topic *topic, uint32_t broker) {
    return (kl_lane *)(void *)(topic->lanes + broker * topic->shape.lane_stride);
}

static inline kl_lane_descriptor *kl_topic_descriptor(const kl_topic *topic, uint32_t broker,
                                                      uint64_t index) {
    uint8_t *base = (uint8_t *)kl_topic_lane(topic, broker) + topic->shape.descriptors_offset;
    return (kl_lane_descriptor *)(void *)base + (index & (topic->shape.descriptors - 1u));
}

/* The order entry given to the lane's batch `index`; valid below ordered_index. */
static inline _Atomic uint64_t *kl_topic_lane_order(const kl_topic *topic, uint32_t broker,
                                                    uint64_t index) {
    uint8_t *base = (uint8_t *)kl_topic_lane(topic, broker) + topic->shape.lane_orders_offset;
    return (_Atomic uint64_t *)(void *)base + (index & (topic->shape.descriptors - 1u));
}

static inline uint8_t *kl_topic_payload(const kl_topic *topic, uint32_t broker, uint64_t address) {
    uint8_t *base = (uint8_t *)kl_topic_lane(topic, broker) + topic->shape.payload_offset;
    return base + (address & (topic->shape.lane_bytes - 1u));
}

static inline kl_order_entry *kl_topic_entry(const kl_topic *topic, uint64_t index) {
    return topic->orders + (index & (topic->shape.orders - 1u));
}

/* A payload range read from shared memory lies inside the ring, in one piece. */
static inline bool kl_topic_payload_fits(const kl_topic *topic, uint64_t address, uint32_t bytes) {
    uint64_t offset = address & (topic->shape.lane_bytes - 1u);
    return bytes <= topic->shape.lane_bytes - offset;
}

/* Half a lane, and the framing of one record that is half a lane long. */
static inline uint32_t kl_topic_batch_bytes_max(const kl_topic *topic) {
    return (uint32_t)(topic->shape.lane_bytes / 2u) + KL_RECORD_HEADER_BYTES;
}

/* Order entries below are ordered. */
uint64_t kl_topic_tail(const kl_topic *topic);
/* How many of a lane's batches are ordered, as the sequencer's host says. */
uint64_t kl_topic_ordered_index(const kl_topic *topic, uint32_t broker);
/* The order entry of a lane's ordered batch, as the sequencer's host says. */
uint64_t kl_topic_order_of(const kl_topic *topic, uint32_t broker, uint64_t index);
/* Order entry `index` copied out whole. KL_ERR_NOT_FOUND: not written yet, or overwritten. */
int32_t kl_topic_read_entry(const kl_topic *topic, uint64_t index, kl_order_entry *out);
/* Every record up to and including this entry's is synced, whichever log holds it. */
bool kl_topic_cut_durable(const kl_topic *topic, const uint64_t cut[KL_BROKERS_MAX]);
/* Everything up to and including order entry `index` is synced. */
bool kl_topic_entry_durable(const kl_topic *topic, uint64_t index);
/* First order entry that is still readable (the order ring keeps the newest). */
uint64_t kl_topic_oldest_entry(const kl_topic *topic);
/* One past the last ordered record. */
uint64_t kl_topic_end(const kl_topic *topic);
/* One past the newest entry below which everything is durable, starting the walk at `from`. */
uint64_t kl_topic_durable_entry(const kl_topic *topic, uint64_t from);

#endif
