#include "broker/role.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/status.h"
#include "broker/batch_frame.h"
#include "broker/history.h"
#include "broker/lane.h"
#include "broker/sequencer.h"
#include "exec/service.h"
#include "log/durable_log.h"
#include "log/log_reader.h"
#include "mem/flush.h"

#define GROUP_BYTES_MAX   (4u << 20)
#define GROUPS_MAX        4u /* appended and being synced while the next one is appended */
#define BROKER_IDLE_NS    (500ull * 1000000ull)
#define SEQUENCER_IDLE_NS (100ull * 1000000ull)
#define GAP_PATIENCE_NS   (2000ull * 1000000ull)
#define LOCK_PATIENCE_NS  (10000ull * 1000000ull)

/* What one group brings a topic, once it is synced. */
typedef struct kl_role_gain {
    uint64_t index; /* lane batches below are in the log then */
    uint64_t records, bytes;
} kl_role_gain;

typedef struct kl_role_topic {
    kl_topic *topic;
    uint64_t logged_index; /* lane batches below are in the log */
    uint64_t logged_order; /* records below are in the log: what a dead host had written */
    kl_role_gain gains[GROUPS_MAX];
    uint64_t stuck_since_ns, stuck_at; /* sequencer: pending and nothing moves */
} kl_role_topic;

struct kl_role {
    kl_node *node;
    uint32_t index;
    kl_service_thread *thread;
    kl_log *log;
    kl_node_role *line;
    uint64_t topics_version;
    uint64_t groups_begun, groups_durable; /* group n uses slot n % GROUPS_MAX */
    uint64_t group_end[GROUPS_MAX];        /* log address behind the group */
    uint32_t topic_count;
    kl_role_topic topics[KL_NODE_TOPICS_MAX];
    _Atomic uint32_t closing;
    _Atomic int32_t status;
    char reason[448];
};

static void role_fail(kl_role *role, int32_t status) {
    snprintf(role->reason, sizeof(role->reason), "%s", kl_status_last());
    memcpy(role->line->reason, role->reason, sizeof(role->line->reason));
    atomic_store_explicit(&role->status, status, memory_order_release);
    /* release: partner is the acquire in kl_publisher_failed(); the text is behind it. */
    atomic_store_explicit(&role->line->failed, status, memory_order_release);
    for (uint32_t i = 0; i < role->topic_count; i++) {
        kl_event_count_notify_all(&role->topics[i].topic->bells->durable);
        kl_event_count_notify_all(&role->topics[i].topic->bells->space);
    }
}

static kl_role_topic *role_topic_add(kl_role *role, kl_topic *topic) {
    kl_role_topic *added = &role->topics[role->topic_count];
    memset(added, 0, sizeof(*added));
    added->topic = topic;
    if (role->index < role->node->broker_count) {
        added->logged_index = atomic_load(&kl_topic_lane(topic, role->index)->durable_index);
    }
    role->topic_count++;
    return added;
}

/* Attaches topics that have appeared since the last look. */
static int32_t role_find_topics(kl_role *role) {
    uint64_t version = atomic_load(&role->node->shared->topics_version);
    if (version == role->topics_version && role->topic_count != 0) return KL_OK;
    char names[KL_NODE_TOPICS_MAX * (KL_TOPIC_NAME_MAX + 1u)];
    int32_t bytes = kl_node_topic_names(role->node, names, sizeof(names));
    if (bytes < 0) return bytes;
    for (const char *name = names; name < names + bytes; name += strlen(name) + 1u) {
        kl_topic *topic;
        int32_t status = kl_node_topic(role->node, name, 0, 0, &topic);
        if (status == KL_ERR_NOT_FOUND) continue; /* being created right now: it will ring */
        if (status < 0) return status;
        bool known = false;
        for (uint32_t i = 0; i < role->topic_count && !known; i++) {
            known = role->topics[i].topic == topic;
        }
        if (!known && role->topic_count < KL_NODE_TOPICS_MAX) role_topic_add(role, topic);
    }
    role->topics_version = version;
    return KL_OK;
}

static kl_role_topic *role_topic_by_id(kl_role *role, uint64_t topic_id) {
    for (uint32_t i = 0; i < role->topic_count; i++) {
        if (role->topics[i].topic->shape.topic_id == topic_id) return &role->topics[i];
    }
    return NULL;
}

/* What a former host wrote to the log but did not come to report: read from the address that the
 * lanes name, so that nothing is logged twice. */
static int32_t role_read_back(kl_role *role, const char *path) {
    uint64_t from = UINT64_MAX;
    for (uint32_t i = 0; i < role->topic_count; i++) {
        kl_lane *lane = kl_topic_lane(role->topics[i].topic, role->index);
        uint64_t address = atomic_load(&lane->durable_address);
        if (address < from) from = address;
    }
    if (from == UINT64_MAX || from >= kl_log_tail(role->log)) return KL_OK;
    if (from < kl_log_first(role->log)) from = 0;
    kl_log_reader *reader;
    int32_t status = kl_log_reader_open(&reader, path, (double)from, KL_LOG_READ_UNCOMMITTED);
    if (status < 0) return status;
    kl_log_frame frame;
    while ((status = kl_log_reader_next(reader, &frame)) == KL_OK) {
        kl_batch_frame batch;
        if (frame.tag != KL_BATCH_FRAME_TAG) continue;
        if (!kl_batch_frame_read(&batch, frame.payload, frame.bytes)) continue;
        kl_role_topic *entry = role_topic_by_id(role, batch.topic_id);
        if (entry == NULL || batch.epoch != entry->topic->shape.epoch) continue;
        entry->logged_order = batch.total_order + batch.record_count;
    }
    kl_log_reader_close(reader);
    return status == KL_ERR_END ? KL_OK : status;
}

/* Appends one lane batch to the log, straight from the lane. */
static int32_t log_batch(kl_role *role, kl_role_topic *entry, uint64_t index, kl_role_gain *gain) {
    kl_topic *topic = entry->topic;
    uint64_t g =
        atomic_load_explicit(kl_topic_lane_order(topic, role->index, index), memory_order_relaxed);
    kl_order_entry order;
    kl_lane_descriptor batch;
    int32_t status = kl_topic_read_entry(topic, g, &order);
    if (status == KL_OK && order.record_count == 0) return KL_OK; /* refused: nothing to keep */
    if (status == KL_OK) status = kl_lane_read(topic, role->index, index, &batch);
    if (status < 0 || order.lane_index != index || order.broker != role->index) {
        return kl_fail(
            KL_ERR_CORRUPT,
            "topic %s, broker %u: batch %llu and order entry %llu do not belong together",
            topic->name, role->index, (unsigned long long)index, (unsigned long long)g);
    }
    if (order.total_order + order.record_count <= entry->logged_order) return KL_OK;
    kl_batch_frame frame;
    memset(&frame, 0, sizeof(frame));
    frame.magic = KL_BATCH_FRAME_MAGIC;
    frame.epoch = order.epoch;
    frame.topic_id = topic->shape.topic_id;
    frame.total_order = order.total_order;
    frame.session = batch.session;
    frame.first_sequence = batch.first_sequence;
    frame.published_at_ns =
        batch.published_at_ns + (kl_clock_realtime_ns() - kl_clock_monotonic_ns());
    frame.lane_index = index;
    frame.record_count = batch.record_count;
    frame.payload_bytes = batch.payload_bytes;
    const uint8_t *payload = kl_topic_payload(topic, role->index, batch.payload_address);
    kl_invalidate_range(KL_SITE_LANE_PAYLOAD, payload, batch.payload_bytes);
    kl_span parts[2] = {{&frame, sizeof(frame)}, {payload, batch.payload_bytes}};
    int64_t address = kl_log_append_tagged(role->log, KL_LOG_BATCH, KL_BATCH_FRAME_TAG, parts, 2,
                                           batch.record_count);
    if (address < 0) return (int32_t)address;
    gain->records += batch.record_count;
    gain->bytes += batch.payload_bytes;
    return KL_OK;
}

/* Appends ordered batches of all topics, up to one group. Returns how many, or an error; `*more`
 * says that there was more than a group takes. */
static int32_t log_group(kl_role *role, bool *more) {
    int32_t count = 0;
    uint64_t bytes = 0;
    uint32_t slot = (uint32_t)(role->groups_begun % GROUPS_MAX);
    for (uint32_t i = 0; i < role->topic_count; i++) {
        kl_role_topic *entry = &role->topics[i];
        kl_role_gain *gain = &entry->gains[slot];
        memset(gain, 0, sizeof(*gain));
        if (!kl_topic_is_logged(entry->topic)) continue;
        uint64_t ordered = kl_topic_ordered_index(entry->topic, role->index);
        while (entry->logged_index < ordered && bytes < GROUP_BYTES_MAX) {
            uint64_t before = gain->bytes;
            int32_t status = log_batch(role, entry, entry->logged_index, gain);
            if (status < 0) return status;
            bytes += gain->bytes - before;
            entry->logged_index++;
            count++;
        }
        gain->index = entry->logged_index;
    }
    *more = bytes >= GROUP_BYTES_MAX;
    if (count != 0) {
        role->group_end[slot] = kl_log_tail(role->log);
        role->groups_begun++;
    }
    return count;
}

static void report_topic(kl_role *role, kl_role_topic *entry, const kl_role_gain *gain,
                         uint64_t address) {
    kl_topic *topic = entry->topic;
    kl_lane *lane = kl_topic_lane(topic, role->index);
    if (!kl_topic_is_logged(topic) ||
        atomic_load_explicit(&lane->durable_index, memory_order_relaxed) >= gain->index) {
        return;
    }
    atomic_store_explicit(&lane->durable_address, address, memory_order_relaxed);
    atomic_fetch_add_explicit(&lane->durable_records, gain->records, memory_order_relaxed);
    atomic_fetch_add_explicit(&lane->durable_bytes, gain->bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&role->line->records, gain->records, memory_order_relaxed);
    atomic_fetch_add_explicit(&role->line->bytes, gain->bytes, memory_order_relaxed);
    /* release: partner is the acquire in kl_topic_cut_durable(): fdatasync has returned. */
    atomic_store_explicit(&lane->durable_index, gain->index, memory_order_release);
    kl_flush_line(KL_SITE_LANE_DURABLE, &lane->durable_index);
    kl_store_fence(KL_SITE_LANE_DURABLE);
    kl_event_count_notify_all(&topic->bells->durable);
    kl_event_count_notify_all(&topic->bells->space);
    if (atomic_load_explicit(&topic->order->blocked, memory_order_relaxed)) {
        kl_sequencer_run(topic, false, false);
    }
}

/* Says of every group that is synced by now that it is, and lets publishers and orders go on. */
static void report_durable(kl_role *role) {
    uint64_t durable = kl_log_durable(role->log);
    while (role->groups_durable < role->groups_begun) {
        uint32_t slot = (uint32_t)(role->groups_durable % GROUPS_MAX);
        if (role->group_end[slot] > durable) break;
        for (uint32_t i = 0; i < role->topic_count; i++) {
            report_topic(role, &role->topics[i], &role->topics[i].gains[slot],
                         role->group_end[slot]);
        }
        role->groups_durable++;
        atomic_fetch_add_explicit(&role->line->syncs, 1, memory_order_relaxed);
    }
}

/* Gets the groups synced: by this thread if there is nothing else to do, else by the log's own,
 * while this one appends the next group. */
static int32_t sync_groups(kl_role *role, bool more) {
    int32_t status = KL_OK;
    uint64_t waiting = role->groups_begun - role->groups_durable;
    if (!more) {
        status = kl_log_commit(role->log, KL_LOG_TAIL, KL_LOG_FOREVER);
    } else {
        kl_log_request_commit(role->log);
        if (waiting == GROUPS_MAX) {
            uint64_t oldest = role->group_end[role->groups_durable % GROUPS_MAX];
            status = kl_log_commit(role->log, oldest, KL_LOG_FOREVER);
        }
    }
    if (status == KL_OK) report_durable(role);
    return status;
}

static void broker_body(void *argument, const _Atomic uint32_t *stop) {
    kl_role *role = argument;
    kl_event_count *work = &role->node->shared->work[role->index];
    for (;;) {
        uint32_t key = kl_event_count_prepare(work);
        bool last = atomic_load(&role->closing) != 0 || atomic_load(stop) != 0;
        int32_t status = role_find_topics(role);
        bool more = false;
        int32_t count = status < 0 ? status : log_group(role, &more);
        if (count > 0 || role->groups_durable < role->groups_begun) {
            status = count < 0 ? count : sync_groups(role, more);
            if (status == KL_OK) continue;
            count = status;
        }
        if (count < 0) {
            role_fail(role, count);
            return;
        }
        if (last) return;
        kl_service_wait(work, key, BROKER_IDLE_NS);
    }
}

/* A batch that waits for a predecessor that never comes is refused after a while. */
static void sequence_topic(kl_role_topic *entry) {
    kl_topic *topic = entry->topic;
    if (kl_sequencer_pending(topic) == 0) {
        entry->stuck_since_ns = 0;
        return;
    }
    kl_sequencer_run(topic, true, false);
    uint64_t tail = atomic_load(&topic->order->tail);
    bool waiting = kl_sequencer_pending(topic) != 0 &&
                   atomic_load_explicit(&topic->order->blocked, memory_order_relaxed) == 0;
    uint64_t now = kl_clock_monotonic_ns();
    if (!waiting || entry->stuck_since_ns == 0 || entry->stuck_at != tail) {
        entry->stuck_since_ns = waiting ? now : 0;
        entry->stuck_at = tail;
    } else if (now - entry->stuck_since_ns > GAP_PATIENCE_NS) {
        kl_sequencer_run(topic, true, true);
        entry->stuck_since_ns = 0;
    }
}

static void sequencer_body(void *argument, const _Atomic uint32_t *stop) {
    kl_role *role = argument;
    kl_event_count *bell = &role->node->shared->sequencer;
    while (atomic_load(stop) == 0 && atomic_load(&role->closing) == 0) {
        uint32_t key = kl_event_count_prepare(bell);
        int32_t status = role_find_topics(role);
        if (status < 0) {
            role_fail(role, status);
            return;
        }
        for (uint32_t i = 0; i < role->topic_count; i++) sequence_topic(&role->topics[i]);
        kl_service_wait(bell, key, SEQUENCER_IDLE_NS);
    }
}

static int32_t role_open_log(kl_role *role) {
    char path[4096];
    int32_t status = kl_broker_log_path(role->node->folder, role->index, path, sizeof(path));
    kl_log_options options = {.flags = KL_LOG_NO_RING, .ring_bytes = 32u << 20};
    /* A recovery in another process may hold the log for a moment. */
    uint64_t deadline = kl_clock_monotonic_ns() + LOCK_PATIENCE_NS;
    while (status == KL_OK && role->log == NULL) {
        status = kl_log_open(&role->log, path, &options);
        if (status != KL_ERR_LOCKED || kl_clock_monotonic_ns() > deadline) break;
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
        status = KL_OK;
    }
    if (status == KL_OK) status = role_find_topics(role);
    if (status == KL_OK) status = role_read_back(role, path);
    return status;
}

int32_t kl_role_open(kl_role **out, kl_node *node, uint32_t index) {
    if (node->shared == NULL || (node->flags & KL_NODE_READ_ONLY) != 0) {
        return kl_fail(KL_ERR_ARGUMENT, "a node opened read-only hosts no roles");
    }
    if (index >= node->broker_count && index != KL_NODE_ROLE_SEQUENCER) {
        return kl_fail(KL_ERR_ARGUMENT, "this node has brokers 0 to %u, not %u",
                       node->broker_count - 1u, index);
    }
    kl_role *role = calloc(1, sizeof(*role));
    if (role == NULL) return kl_fail(KL_ERR_MEMORY, "no memory for a role");
    role->node = node;
    role->index = index;
    role->line = &node->shared->roles[index];
    bool broker = index != KL_NODE_ROLE_SEQUENCER;
    int32_t status = broker ? role_open_log(role) : KL_OK;
    if (status == KL_OK) {
        atomic_store(&role->line->failed, 0);
        atomic_store(&role->line->pid, (uint32_t)getpid());
        atomic_fetch_add(&role->line->generation, 1);
        atomic_store(&role->line->participant, kl_region_self(node->region));
        char name[16] = "kl-sequencer";
        if (broker) snprintf(name, sizeof(name), "kl-broker-%u", index & 15u);
        status = kl_service_start(&role->thread, name, broker ? broker_body : sequencer_body, role);
    }
    if (status < 0) {
        if (role->log != NULL) kl_log_close(role->log);
        free(role);
        return status;
    }
    kl_node_keep(node);
    *out = role;
    return KL_OK;
}

int32_t kl_role_status(const kl_role *role) {
    int32_t status = atomic_load_explicit(&role->status, memory_order_acquire);
    return status < 0 ? kl_fail(status, "%s", role->reason) : KL_OK;
}

void kl_role_close(kl_role *role) {
    if (role == NULL) return;
    atomic_store(&role->closing, 1);
    kl_event_count_notify_all(role->index == KL_NODE_ROLE_SEQUENCER
                                  ? &role->node->shared->sequencer
                                  : &role->node->shared->work[role->index]);
    kl_service_stop(role->thread);
    if (role->log != NULL) kl_log_close(role->log);
    atomic_store(&role->line->participant, 0);
    kl_node_close(role->node);
    free(role);
}
