#ifndef KL_BROKER_TOPIC_LAYOUT_H
#define KL_BROKER_TOPIC_LAYOUT_H

/* topic_layout: the shared memory of one topic (drawn in docs/format_topic.md).
 *
 * A topic is one region. Each broker of the node owns one lane in it: a ring of payload bytes and a
 * ring of 64-byte descriptors, one per batch of records. The order ring is the topic's single total
 * order: entry g says which batch comes g-th and which number its first record has.
 *
 *   who                          writes
 *   the creator                  kl_topic_header, once, before the region is published
 *   the holder of a lane's lock  kl_lane.tail_* and .reclaimed_*, descriptors, payload
 *   the broker that owns it      kl_lane.durable_* (the log holds everything below, synced)
 *   the holder of the lease      kl_topic_order, kl_lane.ordered_index, lane orders, order ring,
 *                                sessions
 *   each subscriber              its own kl_topic_cursor
 *
 * Always: reclaimed_index <= durable_index (logged topics) <= ordered_index <= tail_index.
 * Every index and address is absolute and only grows; slot = index % count, offset = address %
 * bytes. A descriptor is valid if commit == index + 1, an order entry if seal == index + 1: nothing
 * is ever cleared. A lane's line changes its writing host only with the lock or lease named above,
 * after flush and fence. Doorbells (event counts) and locks live on one coherent host; a lost
 * doorbell costs time, never a record. */

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "sync/event_count.h"
#include "sync/mutex.h"

#define KL_BROKERS_MAX          8u
#define KL_TOPIC_CURSORS        64u
#define KL_TOPIC_LAYOUT_VERSION 1u
#define KL_TOPIC_REGION_KIND    0x544f5043u /* "TOPC" */

#define KL_RECORD_HEADER_BYTES 8u
#define KL_RECORD_BYTES_MAX    (4u << 20)
#define KL_RECORD_UNTERMINATED 0x80000000u /* flag in the record's first word */

#define KL_TOPIC_LOGGED 1u

typedef struct kl_topic_header {
    uint32_t layout_version;
    uint32_t broker_count;
    uint32_t flags;
    uint32_t epoch; /* grows at every recovery from disk; frames and entries carry it */
    uint64_t topic_id;
    uint64_t base_order;  /* number of the first record ordered in this region */
    uint64_t lane_bytes;  /* payload ring of one lane, a power of two */
    uint32_t descriptors; /* of one lane, a power of two */
    uint32_t orders;      /* entries of the order ring, a power of two */
    uint32_t sessions;    /* slots of the session table, a power of two */
    uint32_t reserved0;
    uint64_t lanes_offset;
    uint64_t orders_offset;
    uint64_t sessions_offset;
    uint64_t cursors_offset;
    uint64_t lane_stride; /* bytes from one lane to the next */
    uint64_t descriptors_offset, lane_orders_offset, payload_offset; /* inside a lane */
    uint64_t recovered_records, cut_records; /* what recovery found, and dropped above a hole */
    uint64_t reserved1[7];
} kl_topic_header;

typedef struct kl_topic_order {
    /* written by the holder of the lease only */
    _Alignas(64) _Atomic uint64_t tail; /* entries below are ordered, for good */
    _Atomic uint64_t total_order;       /* next record number: derived, for statistics */
    _Atomic uint64_t bytes;             /* payload bytes ordered so far in this region */
    _Atomic uint64_t rejected;          /* batches refused (duplicates, gaps) */
    _Atomic uint32_t blocked;           /* the order ring is full: whoever frees it sequences */
    uint32_t reserved[7];
} kl_topic_order;

typedef struct kl_topic_doorbells {
    kl_event_count ordered; /* something was ordered */
    kl_event_count durable; /* some broker's log was synced */
    kl_event_count space;   /* a lane or the order ring may have room */
} kl_topic_doorbells;

typedef struct kl_lane {
    kl_mutex lock; /* whoever publishes into this lane */
    _Alignas(64) _Atomic uint64_t tail_index;
    _Atomic uint64_t tail_address;
    _Atomic uint64_t reclaimed_index; /* batches below may be overwritten at any time */
    _Atomic uint64_t reclaimed_address;
    uint64_t reserved0[4];
    _Alignas(64) _Atomic uint64_t ordered_index; /* the lease's line */
    uint64_t reserved1[7];
    _Alignas(64) _Atomic uint64_t durable_index; /* the broker's line */
    _Atomic uint64_t durable_address;            /* where its log continues: for a successor */
    _Atomic uint64_t durable_records;
    _Atomic uint64_t durable_bytes;
    uint64_t reserved2[4];
} kl_lane;

typedef struct kl_lane_descriptor {
    _Alignas(64) _Atomic uint64_t commit; /* index + 1, stored last */
    uint64_t payload_address;
    uint32_t payload_bytes;
    uint32_t record_count;
    uint64_t session;
    uint64_t first_sequence;
    uint64_t published_at_ns; /* CLOCK_MONOTONIC */
    uint64_t reserved;
    uint32_t reserved_flags;
    uint32_t checksum; /* CRC32C of the fields above but commit, seeded with the index */
} kl_lane_descriptor;

typedef struct kl_order_entry {
    _Alignas(64) _Atomic uint64_t seal; /* index + 1, stored last */
    uint64_t total_order;               /* number of the batch's first record */
    uint64_t lane_index;                /* its descriptor */
    uint64_t payload_address;
    uint64_t session;
    uint64_t first_sequence;
    uint32_t payload_bytes;
    uint32_t record_count; /* 0: the batch was refused, nothing to deliver */
    uint32_t broker;
    uint32_t epoch;
    /* line 1: how far every lane is ordered once this entry is. The entry is durable, with all
     * below it, when every lane's durable_index has reached its number here. */
    _Alignas(64) uint64_t cut[KL_BROKERS_MAX];
} kl_order_entry;

typedef struct kl_session_entry {
    uint64_t session; /* 0: free */
    uint64_t next;    /* sequence expected next */
    uint64_t last_order;
    uint64_t reserved;
} kl_session_entry;

typedef struct kl_topic_cursor {
    _Alignas(64) _Atomic uint32_t participant; /* 0: free */
    _Atomic uint32_t flags;
    _Atomic uint64_t entry;       /* order entry wanted next */
    _Atomic uint64_t total_order; /* record wanted next */
    uint64_t reserved[5];
} kl_topic_cursor;

static_assert(sizeof(kl_topic_header) % KL_LINE_BYTES == 0, "whole lines, written once");
static_assert(sizeof(kl_topic_order) == KL_LINE_BYTES, "the lease's line");
static_assert(offsetof(kl_lane, tail_index) == 1 * KL_LINE_BYTES, "line 1: the lane's lock holder");
static_assert(offsetof(kl_lane, ordered_index) == 2 * KL_LINE_BYTES, "line 2: the lease");
static_assert(offsetof(kl_lane, durable_index) == 3 * KL_LINE_BYTES, "line 3: the broker");
static_assert(sizeof(kl_lane) == 4 * KL_LINE_BYTES, "one line per writer");
static_assert(sizeof(kl_lane_descriptor) == KL_LINE_BYTES, "a descriptor is one line");
static_assert(sizeof(kl_order_entry) == 2 * KL_LINE_BYTES, "an order entry is two lines");
static_assert(offsetof(kl_order_entry, cut) == KL_LINE_BYTES, "the cut is line 1");
static_assert(sizeof(kl_session_entry) * 2 == KL_LINE_BYTES, "two sessions a line, one writer");
static_assert(sizeof(kl_topic_cursor) == KL_LINE_BYTES, "one line per subscriber");
/* layout: kl_topic_header layout_version broker_count flags epoch topic_id base_order lane_bytes */
/* layout: kl_lane tail_index ordered_index durable_index */
/* layout: kl_lane_descriptor commit payload_address session checksum */
/* layout: kl_order_entry seal total_order lane_index record_count cut */
/* layout: kl_session_entry session next */
/* layout: kl_topic_cursor participant entry */

#endif
