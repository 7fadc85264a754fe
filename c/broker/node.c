#include "broker/node.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/random.h"
#include "base/status.h"
#include "broker/history.h"
#include "broker/recovery.h"
#include "file/device.h"
#include "file/folder.h"
#include "file/manifest.h"
#include "log/durable_log.h"
#include "mem/flush.h"

#define KL_NODE_MANIFEST_KIND  0x4e4f4431u /* "NOD1" */
#define KL_TOPIC_MANIFEST_KIND 0x544f5031u /* "TOP1" */
#define KL_TOPIC_SUFFIX        ".topic"
/* Zero-filled when a node is made: small enough that nobody waits for it. */
#define BROKER_SEGMENT_BYTES (16ull << 20)
#define LOCK_WAIT_NS         (30ull * 1000000000ull)

typedef struct kl_node_record {
    uint32_t version, broker_count;
    uint64_t reserved[7];
} kl_node_record;

int32_t kl_topic_name_check(const char *name, size_t bytes) {
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    bool good = bytes >= 1 && bytes <= KL_TOPIC_NAME_MAX && name[0] != '.' && name[0] != '-';
    for (size_t i = 0; good && i < bytes; i++) {
        good = name[i] != '\0' && strchr(allowed, name[i]) != NULL;
    }
    if (good) return KL_OK;
    return kl_fail(KL_ERR_NAME,
                   "a topic name has 1 to %u letters, digits, '_', '-' or '.', and begins with a "
                   "letter, a digit or '_' (this one has %zu bytes)",
                   KL_TOPIC_NAME_MAX, bytes);
}

/* Takes DIR/topics/LOCK, waiting for whoever creates or recovers a topic right now. */
static int32_t structure_lock(const kl_node *node, uint64_t patience_ns, kl_folder **out) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/topics", node->folder);
    int32_t status = kl_folder_open(out, path, KL_FOLDER_CREATE);
    if (status < 0) return status;
    uint64_t deadline = kl_clock_monotonic_ns() + patience_ns;
    for (;;) {
        status = kl_folder_lock(*out, "keelson topic set-up");
        if (status != KL_ERR_LOCKED || kl_clock_monotonic_ns() > deadline) break;
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    if (status < 0) kl_folder_close(*out);
    return status;
}

static int32_t node_region_path(const kl_node *node, char *out, size_t capacity) {
    char name[48];
    int at = snprintf(name, sizeof(name), "node-");
    for (int i = 0; i < 16; i++) {
        at += snprintf(name + at, sizeof(name) - (size_t)at, "%02x", (unsigned)node->uuid[i]);
    }
    return kl_region_name_path(name, out, capacity);
}

static int32_t node_region_make(kl_node *node, const char *path, const kl_region_spec *spec) {
    int32_t status = kl_region_create(&node->region, path, sizeof(kl_node_shared), spec);
    if (status < 0) return status;
    kl_node_shared *shared = (kl_node_shared *)(void *)kl_region_data(node->region);
    shared->layout_version = KL_NODE_LAYOUT_VERSION;
    shared->broker_count = node->broker_count;
    return kl_region_publish(node->region);
}

static int32_t node_region_attach(kl_node *node) {
    char path[512];
    kl_region_spec spec;
    memset(&spec, 0, sizeof(spec));
    spec.kind = KL_NODE_REGION_KIND;
    spec.layout_hash = KL_NODE_LAYOUT_VERSION;
    memcpy(spec.uuid, node->uuid, 16);
    int32_t status = node_region_path(node, path, sizeof(path));
    if (status < 0) return status;
    status = kl_region_attach(&node->region, path, &spec);
    if (status == KL_ERR_NOT_FOUND && (node->flags & KL_NODE_READ_ONLY) != 0) return KL_OK;
    if (status == KL_ERR_NOT_FOUND) status = node_region_make(node, path, &spec);
    if (status < 0) return status;
    if (kl_region_data_bytes(node->region) < sizeof(kl_node_shared)) {
        return kl_fail(KL_ERR_TRUNCATED, "the region %s is too small", path);
    }
    node->shared = (kl_node_shared *)(void *)kl_region_data(node->region);
    int32_t slot = kl_region_join(node->region, 0);
    return slot < 0 ? slot : KL_OK;
}

/* Under the structure lock, so that nobody attaches to a region that is just being retired. */
static int32_t node_region_open(kl_node *node) {
    if ((node->flags & KL_NODE_READ_ONLY) != 0) return node_region_attach(node);
    kl_folder *lock;
    int32_t status = structure_lock(node, LOCK_WAIT_NS, &lock);
    if (status < 0) return status;
    status = node_region_attach(node);
    kl_folder_close(lock);
    return status;
}

/* Every broker's log exists from the beginning: a missing one later is damage, not a new start. */
static int32_t create_logs(const kl_node *node) {
    for (uint32_t broker = 0; broker < node->broker_count; broker++) {
        char path[4096];
        int32_t status = kl_broker_log_path(node->folder, broker, path, sizeof(path));
        if (status < 0) return status;
        kl_log *log;
        kl_log_options options = {.segment_bytes = BROKER_SEGMENT_BYTES,
                                  .flags = KL_LOG_CREATE | KL_LOG_NO_RING,
                                  .ring_bytes = KL_LOG_RING_MIN};
        status = kl_log_open(&log, path, &options);
        if (status == KL_ERR_LOCKED) continue;
        if (status < 0) return status;
        status = kl_log_close(log);
        if (status < 0) return status;
    }
    return KL_OK;
}

static int32_t node_manifest_read(kl_node *node, int folder_fd) {
    kl_manifest *manifest;
    kl_manifest_spec spec = {.kind = KL_NODE_MANIFEST_KIND, .flags = KL_MANIFEST_READ_ONLY};
    int32_t status = kl_manifest_open(&manifest, folder_fd, "node.manifest", &spec, NULL);
    if (status < 0) return status;
    kl_node_record record;
    status = kl_manifest_read(manifest, &record, sizeof(record));
    if (status >= 0) {
        memcpy(node->uuid, kl_manifest_uuid(manifest), 16);
        node->broker_count = record.broker_count;
        if (status != (int32_t)sizeof(record) || record.broker_count == 0 ||
            record.broker_count > KL_BROKERS_MAX) {
            status = kl_fail(KL_ERR_CORRUPT, "%s/node.manifest is damaged: %u brokers",
                             node->folder, record.broker_count);
        } else if (record.version != 1u) {
            status = kl_fail(KL_ERR_VERSION, "%s was written by version %u, this build knows 1",
                             node->folder, record.version);
        } else {
            status = KL_OK;
        }
    }
    kl_manifest_close(manifest);
    return status;
}

static int32_t node_manifest_create(kl_node *node, int folder_fd) {
    int32_t status = kl_random_os(node->uuid, sizeof(node->uuid));
    if (status == KL_OK) status = create_logs(node);
    if (status < 0) return status;
    kl_manifest *manifest;
    kl_manifest_spec spec = {.kind = KL_NODE_MANIFEST_KIND,
                             .flags = KL_MANIFEST_CREATE | KL_MANIFEST_EXCLUSIVE,
                             .uuid = node->uuid};
    status = kl_manifest_open(&manifest, folder_fd, "node.manifest", &spec, NULL);
    if (status < 0) return status;
    kl_node_record record = {.version = 1u, .broker_count = node->broker_count};
    status = kl_manifest_write(manifest, &record, sizeof(record));
    kl_manifest_close(manifest);
    return status;
}

static int32_t node_load(kl_node *node) {
    kl_folder *folder;
    bool create = (node->flags & KL_NODE_CREATE) != 0;
    int32_t status =
        kl_folder_open(&folder, node->folder, create ? KL_FOLDER_CREATE : KL_FOLDER_READ_ONLY);
    if (status < 0) return status;
    status = node_manifest_read(node, kl_folder_fd(folder));
    if (status == KL_ERR_NOT_FOUND && create) {
        kl_folder *lock;
        status = structure_lock(node, LOCK_WAIT_NS, &lock);
        if (status == KL_OK) {
            uint32_t wanted = node->broker_count;
            status = node_manifest_read(node, kl_folder_fd(folder));
            if (status == KL_ERR_NOT_FOUND) {
                node->broker_count = wanted;
                status = node_manifest_create(node, kl_folder_fd(folder));
            }
            kl_folder_close(lock);
        }
    } else if (status == KL_ERR_NOT_FOUND) {
        status = kl_fail(KL_ERR_NOT_FOUND, "%s holds no node: `keelson run --data %s` makes one",
                         node->folder, node->folder);
    }
    kl_folder_close(folder);
    return status;
}

int32_t kl_node_open(kl_node **out, const char *folder, uint32_t broker_count, uint32_t flags) {
    if (broker_count == 0 || broker_count > KL_BROKERS_MAX) {
        return kl_fail(KL_ERR_ARGUMENT, "a node has 1 to %u brokers, not %u", KL_BROKERS_MAX,
                       broker_count);
    }
    if (strlen(folder) >= KL_NODE_PATH_MAX) {
        return kl_fail(KL_ERR_NAME, "the folder's path is longer than %u bytes", KL_NODE_PATH_MAX);
    }
    kl_node *node = calloc(1, sizeof(*node));
    if (node == NULL) return kl_fail(KL_ERR_MEMORY, "no memory for a node");
    snprintf(node->folder, sizeof(node->folder), "%s", folder);
    node->broker_count = broker_count;
    node->flags = flags;
    atomic_store(&node->references, 1);
    pthread_mutex_init(&node->mutex, NULL);
    int32_t status = node_load(node);
    if (status == KL_OK) status = node_region_open(node);
    if (status < 0) {
        kl_node_close(node);
        return status;
    }
    *out = node;
    return KL_OK;
}

kl_node *kl_node_keep(kl_node *node) {
    atomic_fetch_add_explicit(&node->references, 1, memory_order_relaxed);
    return node;
}

static int32_t topic_manifest_open(const kl_node *node, const char *name, uint32_t flags,
                                   const uint8_t *uuid, kl_manifest **out) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/topics", node->folder);
    kl_folder *folder;
    int32_t status = kl_folder_open(&folder, path, KL_FOLDER_READ_ONLY);
    if (status < 0) return status;
    char file[KL_TOPIC_NAME_MAX + 8];
    snprintf(file, sizeof(file), "%s%s", name, KL_TOPIC_SUFFIX);
    kl_manifest_spec spec = {.kind = KL_TOPIC_MANIFEST_KIND, .flags = flags, .uuid = uuid};
    status = kl_manifest_open(out, kl_folder_fd(folder), file, &spec, NULL);
    kl_folder_close(folder);
    return status;
}

int32_t kl_node_topic_record(const kl_node *node, const char *name, kl_topic_record *out) {
    kl_manifest *manifest;
    int32_t status = topic_manifest_open(node, name, KL_MANIFEST_READ_ONLY, NULL, &manifest);
    if (status < 0) return status;
    status = kl_manifest_read(manifest, out, sizeof(*out));
    kl_manifest_close(manifest);
    if (status < 0) return status;
    if (status != (int32_t)sizeof(*out) || out->version != 1u) {
        return kl_fail(KL_ERR_VERSION, "topic %s was written by version %u, this build knows 1",
                       name, out->version);
    }
    return KL_OK;
}

static int32_t topic_record_create(const kl_node *node, const char *name, uint32_t flags,
                                   uint64_t lane_bytes, kl_topic_record *record) {
    memset(record, 0, sizeof(*record));
    record->version = 1u;
    record->flags = flags & KL_TOPIC_OPEN_UNLOGGED ? 0 : KL_TOPIC_LOGGED;
    record->lane_bytes = lane_bytes;
    int32_t status = kl_random_os(record->uuid, sizeof(record->uuid));
    if (status < 0) return status;
    kl_manifest *manifest;
    status = topic_manifest_open(node, name, KL_MANIFEST_CREATE, record->uuid, &manifest);
    if (status < 0) return status;
    status = kl_manifest_write(manifest, record, sizeof(*record));
    kl_manifest_close(manifest);
    return status;
}

/* A topic whose memory could not be made was never there. */
static void topic_record_remove(const kl_node *node, const char *name) {
    char text[KL_DETAIL_BYTES_MAX + 1];
    int32_t code = kl_status_detail_code();
    snprintf(text, sizeof(text), "%s", kl_status_last());
    char path[4096], file[KL_TOPIC_NAME_MAX + 8];
    snprintf(path, sizeof(path), "%s/topics", node->folder);
    snprintf(file, sizeof(file), "%s%s", name, KL_TOPIC_SUFFIX);
    kl_folder *folder;
    if (kl_folder_open(&folder, path, KL_FOLDER_READ_ONLY) == KL_OK) {
        kl_device_unlink(kl_folder_fd(folder), file);
        kl_folder_close(folder);
    }
    kl_fail(code, "%s", text); /* what failed first is what counts */
}

/* Under the structure lock: the topic's region, made from the logs if there is none. */
static int32_t topic_region_open(kl_node *node, const char *name, const kl_topic_record *record,
                                 bool fresh, uint32_t flags, kl_topic **out) {
    int32_t status = kl_topic_attach(out, name, record->uuid);
    if (status != KL_ERR_NOT_FOUND || (node->flags & KL_NODE_READ_ONLY) != 0) return status;
    kl_topic_plan plan;
    memset(&plan, 0, sizeof(plan));
    plan.name = name;
    memcpy(plan.uuid, record->uuid, sizeof(plan.uuid));
    plan.broker_count = node->broker_count;
    plan.flags = record->flags;
    plan.lane_bytes = record->lane_bytes;
    plan.prefault = (flags & KL_TOPIC_OPEN_PREFAULT) != 0;
    plan.epoch = 1;
    uint64_t positions[KL_BROKERS_MAX] = {0};
    if (!fresh) status = kl_recovery_plan(node, record, &plan, positions);
    if (fresh || status == KL_OK) status = kl_topic_create(out, &plan);
    free((void *)(uintptr_t)plan.sessions);
    if (status < 0) return status;
    for (uint32_t broker = 0; broker < node->broker_count; broker++) {
        atomic_store(&kl_topic_lane(*out, broker)->durable_address, positions[broker]);
    }
    atomic_fetch_add(&node->shared->topics_version, 1);
    for (uint32_t broker = 0; broker < node->broker_count; broker++) {
        kl_event_count_notify_all(&node->shared->work[broker]);
    }
    kl_event_count_notify_all(&node->shared->sequencer);
    return KL_OK;
}

static int32_t topic_open(kl_node *node, const char *name, uint32_t flags, uint64_t lane_bytes,
                          kl_topic **out) {
    kl_topic_record record;
    if ((node->flags & KL_NODE_READ_ONLY) != 0) {
        int32_t status = kl_node_topic_record(node, name, &record);
        return status < 0 ? status : kl_topic_attach(out, name, record.uuid);
    }
    kl_folder *lock;
    int32_t status = structure_lock(node, LOCK_WAIT_NS, &lock);
    if (status < 0) return status;
    bool fresh = false;
    status = kl_node_topic_record(node, name, &record);
    if (status == KL_ERR_NOT_FOUND && (flags & KL_TOPIC_OPEN_CREATE) != 0) {
        status = kl_topic_lane_bytes_check(lane_bytes);
        if (status == KL_OK) {
            status = topic_record_create(node, name, flags, lane_bytes, &record);
        }
        fresh = status == KL_OK;
    }
    if (status == KL_OK) status = topic_region_open(node, name, &record, fresh, flags, out);
    if (status < 0 && fresh) topic_record_remove(node, name);
    kl_folder_close(lock);
    return status;
}

int32_t kl_node_topic(kl_node *node, const char *name, uint32_t flags, uint64_t lane_bytes,
                      kl_topic **out) {
    int32_t status = kl_topic_name_check(name, strlen(name));
    if (status < 0) return status;
    if (lane_bytes == 0) lane_bytes = KL_LANE_BYTES_DEFAULT;
    pthread_mutex_lock(&node->mutex);
    for (uint32_t i = 0; i < node->topic_count; i++) {
        if (strcmp(node->topics[i]->name, name) == 0) {
            *out = node->topics[i];
            pthread_mutex_unlock(&node->mutex);
            return KL_OK;
        }
    }
    if (node->topic_count == KL_NODE_TOPICS_MAX) {
        status = kl_fail(KL_ERR_LIMIT, "one node has at most %u topics", KL_NODE_TOPICS_MAX);
    } else {
        status = topic_open(node, name, flags, lane_bytes, out);
    }
    if (status == KL_OK) {
        (*out)->work = node->shared != NULL ? node->shared->work : NULL;
        node->topics[node->topic_count++] = *out;
    } else if (status == KL_ERR_NOT_FOUND) {
        kl_fail(status, "there is no topic %s in %s", name, node->folder);
    }
    pthread_mutex_unlock(&node->mutex);
    return status;
}

int32_t kl_node_topic_names(const kl_node *node, char *out, size_t capacity) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/topics", node->folder);
    DIR *folder = opendir(path);
    if (folder == NULL) return 0;
    size_t used = 0;
    int32_t status = KL_OK;
    struct dirent *entry;
    while (status == KL_OK && (entry = readdir(folder)) != NULL) {
        size_t bytes = strlen(entry->d_name);
        size_t suffix = sizeof(KL_TOPIC_SUFFIX) - 1u;
        if (bytes <= suffix || strcmp(entry->d_name + bytes - suffix, KL_TOPIC_SUFFIX) != 0) {
            continue;
        }
        if (kl_topic_name_check(entry->d_name, bytes - suffix) < 0) continue;
        if (used + bytes - suffix + 1u > capacity) {
            status = kl_fail(KL_ERR_LIMIT, "more topics than fit into %zu bytes", capacity);
            break;
        }
        memcpy(out + used, entry->d_name, bytes - suffix);
        out[used + bytes - suffix] = '\0';
        used += bytes - suffix + 1u;
    }
    closedir(folder);
    return status < 0 ? status : (int32_t)used;
}

/* True if no other process (or other opening in this one) takes part in the region. */
static bool region_is_ours(kl_region *region) {
    uint32_t self = kl_region_self(region) & 0xffu;
    for (uint32_t slot = 0; slot < 64u; slot++) {
        kl_participant participant;
        if (slot == self || kl_region_participant(region, slot, &participant) < 0) continue;
        if (participant.alive) return false;
    }
    return true;
}

/* A topic that may be let go: nothing is on its way to a log, and nobody else is attached. */
static bool topic_is_idle(kl_topic *topic) {
    for (uint32_t broker = 0; broker < topic->shape.broker_count; broker++) {
        kl_lane *lane = kl_topic_lane(topic, broker);
        uint64_t tail = atomic_load(&lane->tail_index);
        if (atomic_load(&lane->ordered_index) != tail) return false;
        if (kl_topic_is_logged(topic) && atomic_load(&lane->durable_index) != tail) return false;
    }
    return region_is_ours(topic->region);
}

/* Removes the names of regions nobody else uses: of topics that are wholly in the logs and, if
 * `unlogged` says so, of those that live in memory only; at last the node's own. */
static int32_t let_go(kl_node *node, bool unlogged) {
    int32_t retired = 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < node->topic_count; i++) {
        kl_topic *topic = node->topics[i];
        kl_topic_record record;
        bool may = topic_is_idle(topic) && (unlogged || kl_topic_is_logged(topic));
        if (may && kl_node_topic_record(node, topic->name, &record) == KL_OK &&
            kl_topic_unlink(record.uuid) == KL_OK) {
            retired++;
        } else {
            kept++;
        }
    }
    char path[512];
    if (kept == 0 && region_is_ours(node->region) &&
        node_region_path(node, path, sizeof(path)) == KL_OK) {
        kl_region_unlink(path); /* whoever comes next comes under the lock, and makes a new one */
    }
    return retired;
}

int32_t kl_node_retire(kl_node *node) {
    if (node->region == NULL) return 0;
    kl_folder *lock;
    int32_t status = structure_lock(node, LOCK_WAIT_NS, &lock);
    if (status < 0) return status;
    pthread_mutex_lock(&node->mutex);
    int32_t retired = let_go(node, true);
    pthread_mutex_unlock(&node->mutex);
    kl_folder_close(lock);
    return retired;
}

static void node_retire_at_close(kl_node *node) {
    kl_folder *lock;
    if (node->region == NULL || (node->flags & KL_NODE_READ_ONLY) != 0) return;
    if (structure_lock(node, 0, &lock) < 0) return; /* somebody is there: then so is the memory */
    let_go(node, false);
    kl_folder_close(lock);
}

void kl_node_close(kl_node *node) {
    if (node == NULL) return;
    /* acq_rel: whoever frees the node sees what every other user did with it. */
    if (atomic_fetch_sub_explicit(&node->references, 1, memory_order_acq_rel) != 1u) return;
    node_retire_at_close(node);
    for (uint32_t i = 0; i < node->topic_count; i++) kl_topic_close(node->topics[i]);
    for (uint32_t i = 0; node->shared != NULL && i < KL_BROKERS_MAX; i++) {
        kl_event_count_retire(&node->shared->work[i]);
    }
    if (node->shared != NULL) kl_event_count_retire(&node->shared->sequencer);
    if (node->region != NULL) kl_region_close(node->region);
    pthread_mutex_destroy(&node->mutex);
    free(node);
}
