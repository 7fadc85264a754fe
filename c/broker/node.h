#ifndef KL_BROKER_NODE_H
#define KL_BROKER_NODE_H

/* node: a data folder with its topics and broker logs, opened in this process.
 *
 *   DIR/node.manifest          two-slot manifest: uuid, number of brokers (fixed at creation)
 *   DIR/topics/NAME.topic      two-slot manifest: the topic's uuid, flags, lane size
 *   DIR/topics/LOCK            held for moments: creating a topic, adopting or rebuilding a region
 *   DIR/broker-N/              the durable log of broker N, locked by the process that hosts it
 *   node-UUID, topic-UUID      regions in shared memory; they live as long as the host does
 *
 * Whoever opens a topic and finds no region rebuilds it from the logs (recovery.h), under the lock.
 * The node's region holds the doorbells of the roles and one line per role, written by its host:
 *
 *   kl_node_role   by the process that hosts the role (its log folder or lease lock proves it)
 *   kl_node_bells  by anybody (doorbells)
 *
 * A kl_node is used through its handle from any thread; the topic table is guarded by a mutex. */

#include <pthread.h>

#include "broker/topic.h"

#define KL_NODE_REGION_KIND    0x4e4f4445u /* "NODE" */
#define KL_NODE_LAYOUT_VERSION 1u
#define KL_NODE_TOPICS_MAX     64u
#define KL_NODE_ROLES          (KL_BROKERS_MAX + 1u) /* the last one is the sequencer */
#define KL_NODE_ROLE_SEQUENCER KL_BROKERS_MAX
#define KL_NODE_PATH_MAX       3800u

enum kl_node_flag {
    KL_NODE_CREATE = 1,
    KL_NODE_READ_ONLY = 2, /* creates nothing, recovers nothing; works without a live node */
};
enum kl_topic_open_flag {
    KL_TOPIC_OPEN_CREATE = 1,
    KL_TOPIC_OPEN_UNLOGGED = 2,
    KL_TOPIC_OPEN_PREFAULT = 4,
};

typedef struct kl_node_role {
    _Alignas(64) _Atomic uint32_t participant; /* of the node's region; 0: never hosted */
    _Atomic uint32_t pid;
    _Atomic uint32_t generation; /* how often it was hosted */
    _Atomic int32_t failed;      /* status that ended it; its text is in `reason` */
    _Atomic uint64_t records;
    _Atomic uint64_t bytes;
    _Atomic uint64_t syncs;
    uint64_t reserved[3];
    char reason[448];
} kl_node_role;

typedef struct kl_node_shared {
    uint32_t layout_version, broker_count;
    uint64_t reserved[7];
    _Alignas(64) _Atomic uint64_t topics_version; /* grows when a topic appears */
    kl_event_count work[KL_BROKERS_MAX];
    kl_event_count sequencer;
    kl_node_role roles[KL_NODE_ROLES];
} kl_node_shared;

static_assert(sizeof(kl_node_role) == 8 * KL_LINE_BYTES, "one host writes a role's lines");
/* layout: kl_node_shared topics_version work roles */

typedef struct kl_node {
    char folder[KL_NODE_PATH_MAX];
    uint8_t uuid[16];
    uint32_t broker_count;
    uint32_t flags;
    kl_region *region; /* NULL: read-only and no node has been up since the last boot */
    kl_node_shared *shared;
    _Atomic uint32_t references;
    pthread_mutex_t mutex; /* guards what follows */
    kl_topic *topics[KL_NODE_TOPICS_MAX];
    uint32_t topic_count;
} kl_node;

/* What DIR/topics/NAME.topic says. */
typedef struct kl_topic_record {
    uint32_t version, flags;
    uint64_t lane_bytes;
    uint8_t uuid[16];
    uint64_t reserved[4];
} kl_topic_record;

int32_t kl_node_open(kl_node **out, const char *folder, uint32_t broker_count, uint32_t flags);
/* Each publisher, subscriber and role keeps its node; the last one to close frees it. If no other
 * process is there either, the memory of topics that are wholly in the logs is given back. */
kl_node *kl_node_keep(kl_node *node);
void kl_node_close(kl_node *node);
/* Attached once per node; KL_ERR_NOT_FOUND: no such topic (or, read-only, no region of it). */
int32_t kl_node_topic(kl_node *node, const char *name, uint32_t flags, uint64_t lane_bytes,
                      kl_topic **out);
/* The topic's manifest. */
int32_t kl_node_topic_record(const kl_node *node, const char *name, kl_topic_record *out);
/* Names of all topics, NUL-separated; the bytes written, or KL_ERR_LIMIT. */
int32_t kl_node_topic_names(const kl_node *node, char *out, size_t capacity);
/* Gives the memory of all idle topics back that nobody else uses, of unlogged ones too: what they
 * held is gone then. The number of topics. */
int32_t kl_node_retire(kl_node *node);
int32_t kl_topic_name_check(const char *name, size_t bytes);

#endif
