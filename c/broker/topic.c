#include "broker/topic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "mem/flush.h"
#include "sync/shared_copy.h"

#define KL_SESSIONS          4096u
#define KL_ORDER_ENTRIES_MAX (1u << 16)

/* Descriptors of a lane: enough for batches of 1 KiB, so payload runs out first for larger ones. */
static uint32_t lane_descriptors(uint64_t lane_bytes) {
    uint64_t count = lane_bytes / 1024u;
    if (count < 1024u) count = 1024u;
    if (count > 16384u) count = 16384u;
    return (uint32_t)count;
}

static uint64_t align_page(uint64_t bytes) {
    return (bytes + 4095u) & ~(uint64_t)4095u;
}

/* Fills counts and offsets from lane_bytes and broker_count; returns the bytes of the whole. */
static uint64_t shape_layout(kl_topic_header *shape) {
    uint64_t orders = 1024u;
    shape->descriptors = lane_descriptors(shape->lane_bytes);
    while (orders < (uint64_t)shape->descriptors * shape->broker_count &&
           orders < KL_ORDER_ENTRIES_MAX) {
        orders *= 2u;
    }
    shape->orders = (uint32_t)orders;
    shape->sessions = KL_SESSIONS;
    shape->descriptors_offset = sizeof(kl_lane);
    shape->lane_orders_offset =
        shape->descriptors_offset + (uint64_t)shape->descriptors * sizeof(kl_lane_descriptor);
    shape->payload_offset =
        align_page(shape->lane_orders_offset + (uint64_t)shape->descriptors * sizeof(uint64_t));
    shape->lane_stride = align_page(shape->payload_offset + shape->lane_bytes);
    uint64_t at = sizeof(kl_topic_header) + sizeof(kl_topic_order) + sizeof(kl_mutex) +
                  sizeof(kl_topic_doorbells);
    at = (at + 4095u) & ~(uint64_t)4095u;
    shape->cursors_offset = at;
    at += KL_TOPIC_CURSORS * sizeof(kl_topic_cursor);
    shape->sessions_offset = at;
    at = align_page(at + (uint64_t)shape->sessions * sizeof(kl_session_entry));
    shape->orders_offset = at;
    at = align_page(at + (uint64_t)shape->orders * sizeof(kl_order_entry));
    shape->lanes_offset = at;
    return at + shape->lane_stride * shape->broker_count;
}

static bool power_of_two(uint64_t value) {
    return value != 0 && (value & (value - 1u)) == 0;
}

static void topic_bind(kl_topic *topic) {
    uint8_t *data = kl_region_data(topic->region);
    size_t at = (sizeof(kl_topic_header) + 63u) & ~(size_t)63u;
    topic->order = (kl_topic_order *)(void *)(data + at);
    at += sizeof(kl_topic_order);
    topic->lease = (kl_mutex *)(void *)(data + at);
    at += sizeof(kl_mutex);
    topic->bells = (kl_topic_doorbells *)(void *)(data + at);
    topic->cursors = (kl_topic_cursor *)(void *)(data + topic->shape.cursors_offset);
    topic->sessions = (kl_session_entry *)(void *)(data + topic->shape.sessions_offset);
    topic->orders = (kl_order_entry *)(void *)(data + topic->shape.orders_offset);
    topic->lanes = data + topic->shape.lanes_offset;
}

static void topic_spec(kl_region_spec *spec, const uint8_t uuid[16], bool prefault) {
    memset(spec, 0, sizeof(*spec));
    spec->kind = KL_TOPIC_REGION_KIND;
    spec->layout_hash = KL_TOPIC_LAYOUT_VERSION;
    memcpy(spec->uuid, uuid, 16);
    spec->prefault = prefault;
}

static int32_t topic_path(const uint8_t uuid[16], char *out, size_t capacity) {
    char name[48];
    int at = snprintf(name, sizeof(name), "topic-");
    for (int i = 0; i < 16; i++) {
        at += snprintf(name + at, sizeof(name) - (size_t)at, "%02x", (unsigned)uuid[i]);
    }
    return kl_region_name_path(name, out, capacity);
}

static void topic_format(kl_topic *topic, const kl_topic_plan *plan) {
    kl_topic_header *shared = (kl_topic_header *)(void *)kl_region_data(topic->region);
    *shared = topic->shape;
    atomic_store_explicit(&topic->order->total_order, plan->base_order, memory_order_relaxed);
    uint32_t mask = topic->shape.sessions - 1u;
    for (uint32_t i = 0; i < plan->session_count; i++) {
        uint32_t slot = (uint32_t)(plan->sessions[i].session * 0x9e3779b97f4a7c15u >> 40) & mask;
        while (topic->sessions[slot].session != 0) slot = (slot + 1u) & mask;
        topic->sessions[slot] = plan->sessions[i];
    }
    kl_flush_range(KL_SITE_SESSION, topic->sessions,
                   (size_t)topic->shape.sessions * sizeof(kl_session_entry));
    kl_flush_range(KL_SITE_ORDER_TAIL, shared, sizeof(*shared) + sizeof(kl_topic_order));
    kl_store_fence(KL_SITE_ORDER_TAIL);
}

static int32_t topic_join(kl_topic *topic) {
    int32_t slot = kl_region_join(topic->region, 0);
    return slot < 0 ? slot : KL_OK;
}

int32_t kl_topic_lane_bytes_check(uint64_t lane_bytes) {
    if (power_of_two(lane_bytes) && lane_bytes >= KL_LANE_BYTES_MIN &&
        lane_bytes <= KL_LANE_BYTES_MAX) {
        return KL_OK;
    }
    return kl_fail(KL_ERR_ARGUMENT, "laneBytes is a power of two from %u to %u, not %llu",
                   KL_LANE_BYTES_MIN, KL_LANE_BYTES_MAX, (unsigned long long)lane_bytes);
}

int32_t kl_topic_create(kl_topic **out, const kl_topic_plan *plan) {
    int32_t status = kl_topic_lane_bytes_check(plan->lane_bytes);
    if (status < 0) return status;
    KL_ASSERT(plan->broker_count >= 1 && plan->broker_count <= KL_BROKERS_MAX);
    KL_ASSERT(plan->session_count <= KL_SESSIONS / 2u);
    kl_topic *topic = calloc(1, sizeof(*topic));
    if (topic == NULL) return kl_fail(KL_ERR_MEMORY, "no memory for a topic");
    kl_topic_header *shape = &topic->shape;
    shape->layout_version = KL_TOPIC_LAYOUT_VERSION;
    shape->broker_count = plan->broker_count;
    shape->flags = plan->flags;
    shape->epoch = plan->epoch;
    memcpy(&shape->topic_id, plan->uuid, sizeof(shape->topic_id));
    shape->base_order = plan->base_order;
    shape->lane_bytes = plan->lane_bytes;
    shape->recovered_records = plan->recovered_records;
    shape->cut_records = plan->cut_records;
    snprintf(topic->name, sizeof(topic->name), "%s", plan->name);
    uint64_t bytes = shape_layout(shape);
    char path[512];
    kl_region_spec spec;
    topic_spec(&spec, plan->uuid, plan->prefault);
    status = topic_path(plan->uuid, path, sizeof(path));
    if (status == KL_OK) status = kl_region_create(&topic->region, path, bytes, &spec);
    if (status == KL_OK) {
        topic_bind(topic);
        topic_format(topic, plan);
        status = topic_join(topic);
        if (status == KL_OK) status = kl_region_publish(topic->region);
        if (status < 0) kl_region_close(topic->region);
    }
    if (status < 0) {
        free(topic);
        return status;
    }
    *out = topic;
    return KL_OK;
}

/* The shape in shared memory must be exactly what this build would compute from its three
 * parameters: then every offset is right, whatever else is there. */
static int32_t topic_adopt_shape(kl_topic *topic) {
    if (kl_region_data_bytes(topic->region) < sizeof(kl_topic_header)) {
        return kl_fail(KL_ERR_TRUNCATED, "the region of topic %s is too small", topic->name);
    }
    memcpy(&topic->shape, kl_region_data(topic->region), sizeof(topic->shape));
    kl_topic_header expect = topic->shape;
    if (expect.layout_version != KL_TOPIC_LAYOUT_VERSION) {
        return kl_fail(KL_ERR_VERSION, "the region of topic %s has layout %u, this build has %u",
                       topic->name, expect.layout_version, KL_TOPIC_LAYOUT_VERSION);
    }
    if (expect.broker_count == 0 || expect.broker_count > KL_BROKERS_MAX ||
        !power_of_two(expect.lane_bytes) || expect.lane_bytes < KL_LANE_BYTES_MIN ||
        expect.lane_bytes > KL_LANE_BYTES_MAX) {
        return kl_fail(KL_ERR_CORRUPT, "the region header of topic %s is damaged", topic->name);
    }
    uint64_t bytes = shape_layout(&expect);
    if (memcmp(&expect, &topic->shape, sizeof(expect)) != 0 ||
        bytes > kl_region_data_bytes(topic->region)) {
        return kl_fail(KL_ERR_CORRUPT, "the region header of topic %s is damaged", topic->name);
    }
    return KL_OK;
}

int32_t kl_topic_attach(kl_topic **out, const char *name, const uint8_t uuid[16]) {
    char path[512];
    kl_region_spec spec;
    topic_spec(&spec, uuid, false);
    int32_t status = topic_path(uuid, path, sizeof(path));
    if (status < 0) return status;
    kl_topic *topic = calloc(1, sizeof(*topic));
    if (topic == NULL) return kl_fail(KL_ERR_MEMORY, "no memory for a topic");
    snprintf(topic->name, sizeof(topic->name), "%s", name);
    status = kl_region_attach(&topic->region, path, &spec);
    if (status < 0) {
        free(topic);
        return status;
    }
    status = topic_adopt_shape(topic);
    if (status == KL_OK) {
        topic_bind(topic);
        status = topic_join(topic);
    }
    if (status < 0) {
        kl_region_close(topic->region);
        free(topic);
        return status;
    }
    *out = topic;
    return KL_OK;
}

void kl_topic_close(kl_topic *topic) {
    if (topic == NULL) return;
    kl_event_count_retire(&topic->bells->ordered);
    kl_event_count_retire(&topic->bells->durable);
    kl_event_count_retire(&topic->bells->space);
    kl_region_close(topic->region);
    free(topic);
}

int32_t kl_topic_unlink(const uint8_t uuid[16]) {
    char path[512];
    int32_t status = topic_path(uuid, path, sizeof(path));
    return status < 0 ? status : kl_region_unlink(path);
}

uint64_t kl_topic_tail(const kl_topic *topic) {
    kl_invalidate_range(KL_SITE_ORDER_TAIL, topic->order, sizeof(*topic->order));
    /* acquire: partner is the release in kl_publish_overwrite() of order_one(). */
    return atomic_load_explicit(&topic->order->tail, memory_order_acquire);
}

uint64_t kl_topic_ordered_index(const kl_topic *topic, uint32_t broker) {
    kl_lane *lane = kl_topic_lane(topic, broker);
    kl_invalidate_range(KL_SITE_LANE_ORDER, &lane->ordered_index, KL_LINE_BYTES);
    /* acquire: partner is the release in order_one(); the lane order is behind it. */
    return atomic_load_explicit(&lane->ordered_index, memory_order_acquire);
}

uint64_t kl_topic_order_of(const kl_topic *topic, uint32_t broker, uint64_t index) {
    _Atomic uint64_t *order = kl_topic_lane_order(topic, broker, index);
    kl_invalidate_range(KL_SITE_LANE_ORDER, order, sizeof(*order));
    return atomic_load_explicit(order, memory_order_relaxed);
}

int32_t kl_topic_read_entry(const kl_topic *topic, uint64_t index, kl_order_entry *out) {
    kl_order_entry *entry = kl_topic_entry(topic, index);
    kl_invalidate_range(KL_SITE_ORDER_ENTRY, entry, sizeof(*entry));
    /* acquire: partner is the release of the seal in order_one(); the body is behind it. */
    if (atomic_load_explicit(&entry->seal, memory_order_acquire) != index + 1u) {
        return KL_ERR_NOT_FOUND;
    }
    kl_copy_from_shared(out, entry, sizeof(*out));
    kl_invalidate_range(KL_SITE_ORDER_TAIL, topic->order, sizeof(*topic->order));
    /* The slot is overwritten only once the tail has reached index + orders. */
    if (kl_frontier_after_copy(&topic->order->tail) - index >= topic->shape.orders) {
        return KL_ERR_NOT_FOUND;
    }
    if (out->broker >= topic->shape.broker_count) return KL_ERR_NOT_FOUND;
    return KL_OK;
}

bool kl_topic_cut_durable(const kl_topic *topic, const uint64_t cut[KL_BROKERS_MAX]) {
    for (uint32_t broker = 0; broker < topic->shape.broker_count; broker++) {
        kl_lane *lane = kl_topic_lane(topic, broker);
        kl_invalidate_range(KL_SITE_LANE_DURABLE, &lane->durable_index, KL_LINE_BYTES);
        /* acquire: partner is the release in the broker's loop after its sync. */
        if (atomic_load_explicit(&lane->durable_index, memory_order_acquire) < cut[broker]) {
            return false;
        }
    }
    return true;
}

uint64_t kl_topic_oldest_entry(const kl_topic *topic) {
    uint64_t tail = kl_topic_tail(topic);
    /* one entry fewer than the ring holds: the next one may be under way */
    uint64_t kept = topic->shape.orders - 1u;
    return tail > kept ? tail - kept : 0;
}

uint64_t kl_topic_end(const kl_topic *topic) {
    for (;;) {
        uint64_t tail = kl_topic_tail(topic);
        kl_order_entry last;
        if (tail == 0) return topic->shape.base_order;
        if (kl_topic_read_entry(topic, tail - 1u, &last) == KL_OK) {
            return last.total_order + last.record_count;
        }
        /* The tail moved a whole ring on meanwhile, or somebody scribbled: then this word tells. */
        if (kl_topic_tail(topic) == tail) {
            return atomic_load_explicit(&topic->order->total_order, memory_order_relaxed);
        }
    }
}

bool kl_topic_entry_durable(const kl_topic *topic, uint64_t index) {
    kl_order_entry entry;
    if (kl_topic_read_entry(topic, index, &entry) == KL_OK) {
        return kl_topic_cut_durable(topic, entry.cut);
    }
    /* An ordered entry that cannot be read any more had been released (sequencer.c). */
    return kl_topic_tail(topic) > index;
}

uint64_t kl_topic_durable_entry(const kl_topic *topic, uint64_t from) {
    uint64_t tail = kl_topic_tail(topic);
    uint64_t oldest = kl_topic_oldest_entry(topic);
    uint64_t low = from < oldest ? oldest : from;
    uint64_t high = tail;
    /* cuts only grow along the ring: find the first entry that is not durable */
    while (low < high) {
        uint64_t middle = low + (high - low) / 2u;
        if (kl_topic_entry_durable(topic, middle)) {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    return low;
}

int32_t kl_topic_check(kl_topic *topic) {
    uint64_t tail = kl_topic_tail(topic);
    uint64_t previous_end = 0;
    bool first = true;
    for (uint64_t g = kl_topic_oldest_entry(topic); g < tail; g++) {
        kl_order_entry entry;
        if (kl_topic_read_entry(topic, g, &entry) < 0) {
            return kl_fail(KL_ERR_CORRUPT, "topic %s: order entry %llu is not sealed", topic->name,
                           (unsigned long long)g);
        }
        if (!first && entry.total_order != previous_end) {
            return kl_fail(KL_ERR_CORRUPT,
                           "topic %s: order entry %llu begins at record %llu, expected %llu",
                           topic->name, (unsigned long long)g,
                           (unsigned long long)entry.total_order, (unsigned long long)previous_end);
        }
        previous_end = entry.total_order + entry.record_count;
        first = false;
    }
    for (uint32_t broker = 0; broker < topic->shape.broker_count; broker++) {
        kl_lane *lane = kl_topic_lane(topic, broker);
        uint64_t reclaimed = atomic_load(&lane->reclaimed_index);
        uint64_t durable = atomic_load(&lane->durable_index);
        uint64_t ordered = atomic_load(&lane->ordered_index);
        uint64_t published = atomic_load(&lane->tail_index);
        bool held = kl_topic_is_logged(topic) ? reclaimed <= durable && durable <= ordered
                                              : reclaimed <= ordered;
        if (!held || ordered > published || published - reclaimed > topic->shape.descriptors) {
            return kl_fail(KL_ERR_CORRUPT,
                           "topic %s, broker %u: reclaimed %llu, durable %llu, ordered %llu, "
                           "published %llu are out of order",
                           topic->name, broker, (unsigned long long)reclaimed,
                           (unsigned long long)durable, (unsigned long long)ordered,
                           (unsigned long long)published);
        }
    }
    return KL_OK;
}
