#include "broker/subscriber.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "broker/lane.h"
#include "broker/record_fault.h"
#include "broker/sequencer.h"
#include "mem/flush.h"

#define LOAD_ACQUIRE(word) atomic_load_explicit(word, memory_order_acquire)

static void cursor_claim(kl_subscriber *subscriber) {
    kl_topic *topic = subscriber->topic;
    uint32_t self = kl_region_self(topic->region);
    for (uint32_t i = 0; i < 2u * KL_TOPIC_CURSORS; i++) {
        kl_topic_cursor *cursor = &topic->cursors[i % KL_TOPIC_CURSORS];
        uint32_t owner = LOAD_ACQUIRE(&cursor->participant);
        bool free_slot = owner == 0;
        if (!free_slot && i >= KL_TOPIC_CURSORS) {
            free_slot = !kl_region_alive(topic->region, owner);
        }
        if (!free_slot) continue;
        /* A cursor at 0 holds everything back until it knows where it is. */
        atomic_store(&cursor->entry, 0);
        if (atomic_compare_exchange_strong(&cursor->participant, &owner, self)) {
            subscriber->cursor = cursor;
            return;
        }
    }
}

static void cursor_move(kl_subscriber *subscriber) {
    kl_topic_cursor *cursor = subscriber->cursor;
    if (cursor == NULL) return;
    /* release: partner is the acquire in kl_lane_cursors_passed(); our copies are done. */
    if (subscriber->entry_known) {
        atomic_store_explicit(&cursor->entry, subscriber->entry, memory_order_release);
    }
    atomic_store_explicit(&cursor->total_order, subscriber->position, memory_order_relaxed);
    kl_flush_line(KL_SITE_CURSOR, cursor);
    if (kl_topic_is_logged(subscriber->topic)) return;
    kl_event_count_notify_all(&subscriber->topic->bells->space);
    if (atomic_load_explicit(&subscriber->topic->order->blocked, memory_order_relaxed)) {
        kl_sequencer_run(subscriber->topic, false, false);
    }
}

/* True if this entry's batch, or a later one, may have been reclaimed. Only grows along the ring
 * backwards, because cuts only grow forwards. */
static bool entry_reclaimed(const kl_topic *topic, const kl_order_entry *entry) {
    for (uint32_t broker = 0; broker < topic->shape.broker_count; broker++) {
        uint64_t first = entry->cut[broker] - (broker == entry->broker ? 1u : 0u);
        if (LOAD_ACQUIRE(&kl_topic_lane(topic, broker)->reclaimed_index) > first) return true;
    }
    return false;
}

/* First record number from which on memory holds everything. */
static uint64_t memory_begin(kl_topic *topic) {
    for (int attempt = 0; attempt < 8; attempt++) {
        uint64_t tail = kl_topic_tail(topic);
        uint64_t low = kl_topic_oldest_entry(topic);
        uint64_t high = tail;
        kl_order_entry entry;
        while (low < high) {
            uint64_t middle = low + (high - low) / 2u;
            if (kl_topic_read_entry(topic, middle, &entry) < 0 || entry_reclaimed(topic, &entry)) {
                low = middle + 1u;
            } else {
                high = middle;
            }
        }
        if (low == tail) break;
        if (kl_topic_read_entry(topic, low, &entry) == KL_OK) return entry.total_order;
    }
    return kl_topic_end(topic);
}

/* Order entry that holds record `position`; false if memory no longer (or not yet) has it. */
static bool entry_find(kl_topic *topic, uint64_t position, uint64_t *out) {
    uint64_t low = kl_topic_oldest_entry(topic);
    uint64_t high = kl_topic_tail(topic);
    uint64_t tail = high;
    while (low < high) { /* first entry that ends behind position */
        uint64_t middle = low + (high - low) / 2u;
        kl_order_entry entry;
        bool before = kl_topic_read_entry(topic, middle, &entry) < 0 ||
                      entry.total_order + entry.record_count <= position;
        if (before) {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    *out = low;
    if (low == tail) return false;
    kl_order_entry entry;
    return kl_topic_read_entry(topic, low, &entry) == KL_OK && entry.total_order <= position;
}

int32_t kl_subscriber_open(kl_subscriber **out, kl_node *node, const char *name, double from,
                           uint32_t flags) {
    if (!(from >= 0 && from <= 9007199254740992.0) && from != KL_SUBSCRIBE_START &&
        from != KL_SUBSCRIBE_END) {
        return kl_fail(KL_ERR_ARGUMENT, "a position is a whole number from 0 to 2^53");
    }
    kl_topic_record record;
    int32_t status = kl_topic_name_check(name, strlen(name));
    if (status == KL_OK) status = kl_node_topic_record(node, name, &record);
    if (status < 0) {
        return status == KL_ERR_NOT_FOUND
                   ? kl_fail(status, "there is no topic %s in %s", name, node->folder)
                   : status;
    }
    kl_subscriber *subscriber = calloc(1, sizeof(*subscriber));
    if (subscriber == NULL) return kl_fail(KL_ERR_MEMORY, "no memory for a subscriber");
    subscriber->node = node;
    subscriber->flags = flags;
    snprintf(subscriber->name, sizeof(subscriber->name), "%s", name);
    memcpy(&subscriber->topic_id, record.uuid, sizeof(subscriber->topic_id));
    status = kl_node_topic(node, name, 0, 0, &subscriber->topic);
    if (status == KL_ERR_NOT_FOUND && (node->flags & KL_NODE_READ_ONLY) != 0) status = KL_OK;
    if (status < 0) {
        free(subscriber);
        return status;
    }
    if (subscriber->topic != NULL) cursor_claim(subscriber);
    if (from >= 0) {
        subscriber->position = (uint64_t)from;
    } else if (from == KL_SUBSCRIBE_END && subscriber->topic != NULL) {
        subscriber->position = kl_topic_end(subscriber->topic);
    } else if (subscriber->topic != NULL && !kl_topic_is_logged(subscriber->topic)) {
        subscriber->position = memory_begin(subscriber->topic);
    }
    cursor_move(subscriber);
    kl_node_keep(node);
    *out = subscriber;
    return KL_OK;
}

void kl_subscriber_close(kl_subscriber *subscriber) {
    if (subscriber == NULL) return;
    if (subscriber->cursor != NULL) {
        atomic_store(&subscriber->cursor->participant, 0);
        kl_event_count_notify_all(&subscriber->topic->bells->space);
    }
    kl_history_close(subscriber->history);
    kl_node_close(subscriber->node);
    free(subscriber);
}

/* Puts one delivery's header at `out`, whose payload stands behind it already. */
static uint32_t deliver(kl_subscriber *subscriber, kl_delivery *delivery, uint8_t *out,
                        uint32_t capacity) {
    uint64_t before = subscriber->position - delivery->total_order;
    delivery->skip = (uint32_t)before;
    subscriber->position = delivery->total_order + delivery->record_count;
    subscriber->delivered += delivery->record_count - before;
    uint32_t room = capacity - (uint32_t)sizeof(*delivery) - ((delivery->payload_bytes + 7u) & ~7u);
    kl_record_fault_apply(delivery, out + sizeof(*delivery), room);
    memcpy(out, delivery, sizeof(*delivery));
    return (uint32_t)sizeof(*delivery) + ((delivery->payload_bytes + 7u) & ~7u);
}

static bool fits(kl_subscriber *subscriber, uint32_t payload_bytes, uint32_t capacity,
                 uint32_t used) {
    uint32_t needed = (uint32_t)sizeof(kl_delivery) + ((payload_bytes + 7u) & ~7u);
    subscriber->needed_bytes = needed;
    return needed <= capacity - used;
}

typedef enum kl_step { KL_STEP_TAKEN, KL_STEP_NOTHING, KL_STEP_FULL, KL_STEP_GONE } kl_step;

/* The next batch from memory. */
static kl_step step_memory(kl_subscriber *subscriber, uint8_t *out, uint32_t capacity,
                           uint32_t *used) {
    kl_topic *topic = subscriber->topic;
    if (!subscriber->entry_known) {
        if (!entry_find(topic, subscriber->position, &subscriber->entry)) {
            uint64_t end = kl_topic_end(topic);
            if (subscriber->position < end) return KL_STEP_GONE;
            if (subscriber->position > end) return KL_STEP_NOTHING; /* a position in the future */
        }
        subscriber->entry_known = true;
    }
    if (subscriber->entry >= kl_topic_tail(topic)) return KL_STEP_NOTHING;
    kl_order_entry entry;
    if (kl_topic_read_entry(topic, subscriber->entry, &entry) < 0) return KL_STEP_GONE;
    if (entry.total_order > subscriber->position) return KL_STEP_GONE;
    if ((subscriber->flags & KL_SUBSCRIBE_DURABLE_ONLY) != 0 &&
        !kl_topic_cut_durable(topic, entry.cut)) {
        return KL_STEP_NOTHING;
    }
    if (entry.total_order + entry.record_count <= subscriber->position) {
        subscriber->entry++; /* refused, or before our position */
        return KL_STEP_TAKEN;
    }
    if (!fits(subscriber, entry.payload_bytes, capacity, *used)) return KL_STEP_FULL;
    kl_lane_descriptor batch;
    uint8_t *payload = out + *used + sizeof(kl_delivery);
    if (kl_lane_read(topic, entry.broker, entry.lane_index, &batch) < 0 ||
        kl_lane_copy_payload(topic, entry.broker, entry.lane_index, entry.payload_address,
                             entry.payload_bytes, payload) < 0) {
        return KL_STEP_GONE;
    }
    kl_delivery delivery = {.total_order = entry.total_order,
                            .session = entry.session,
                            .first_sequence = entry.first_sequence,
                            .published_at_ns = batch.published_at_ns,
                            .record_count = entry.record_count,
                            .payload_bytes = entry.payload_bytes};
    *used += deliver(subscriber, &delivery, out + *used, capacity - *used);
    subscriber->entry++;
    return KL_STEP_TAKEN;
}

/* The next batch from the logs. */
static int32_t step_logs(kl_subscriber *subscriber, uint8_t *out, uint32_t capacity, uint32_t *used,
                         kl_step *step) {
    *step = KL_STEP_NOTHING;
    if (subscriber->history == NULL) {
        bool committed = (subscriber->flags & KL_SUBSCRIBE_DURABLE_ONLY) != 0;
        int32_t status = kl_history_open(
            &subscriber->history, subscriber->node->folder, subscriber->node->broker_count,
            subscriber->topic_id, subscriber->position, committed && subscriber->topic == NULL);
        if (status < 0) return status;
    }
    if (!subscriber->has_batch) {
        kl_history_advance(subscriber->history, subscriber->position);
        int32_t status = kl_history_next(subscriber->history, &subscriber->batch);
        if (status == KL_ERR_END) return KL_OK;
        if (status < 0) return status;
        subscriber->has_batch = true;
    }
    const kl_batch_frame *frame = &subscriber->batch.frame;
    if (!fits(subscriber, frame->payload_bytes, capacity, *used)) {
        *step = KL_STEP_FULL;
        return KL_OK;
    }
    uint64_t shift = kl_clock_realtime_ns() - kl_clock_monotonic_ns();
    kl_delivery delivery = {.total_order = frame->total_order,
                            .session = frame->session,
                            .first_sequence = frame->first_sequence,
                            .published_at_ns = frame->published_at_ns - shift,
                            .record_count = frame->record_count,
                            .payload_bytes = frame->payload_bytes};
    memcpy(out + *used + sizeof(delivery), subscriber->batch.payload, frame->payload_bytes);
    *used += deliver(subscriber, &delivery, out + *used, capacity - *used);
    subscriber->has_batch = false;
    *step = KL_STEP_TAKEN;
    return KL_OK;
}

/* Back to memory as soon as it holds the record wanted next. */
static bool memory_has_position(kl_subscriber *subscriber) {
    if (subscriber->topic == NULL) return false;
    if (!subscriber->behind) return true;
    if (subscriber->position < memory_begin(subscriber->topic)) return false;
    subscriber->behind = false;
    subscriber->has_batch = false;
    subscriber->entry_known = false;
    return true;
}

int32_t kl_subscriber_read(kl_subscriber *subscriber, uint8_t *out, uint32_t capacity) {
    uint32_t used = 0;
    int32_t status = KL_OK;
    for (;;) {
        kl_step step = KL_STEP_GONE;
        if (memory_has_position(subscriber)) step = step_memory(subscriber, out, capacity, &used);
        if (step == KL_STEP_GONE) {
            subscriber->entry_known = false;
            if (subscriber->topic != NULL && !kl_topic_is_logged(subscriber->topic)) {
                subscriber->position = memory_begin(subscriber->topic);
                step = KL_STEP_TAKEN; /* what nobody held back is gone: go on with what there is */
            } else {
                subscriber->behind = true;
                status = step_logs(subscriber, out, capacity, &used, &step);
                if (status < 0) break;
            }
        }
        if (step == KL_STEP_TAKEN) continue;
        if (step == KL_STEP_FULL && used == 0) {
            status = kl_fail(KL_ERR_LIMIT, "the next batch needs a buffer of %u bytes",
                             subscriber->needed_bytes);
        }
        break;
    }
    if (used != 0) cursor_move(subscriber);
    return used != 0 ? (int32_t)used : status;
}

bool kl_subscriber_ready(kl_subscriber *subscriber) {
    kl_topic *topic = subscriber->topic;
    if (topic == NULL) return false;
    if (subscriber->position >= kl_topic_end(topic)) return false;
    if ((subscriber->flags & KL_SUBSCRIBE_DURABLE_ONLY) == 0 || !subscriber->entry_known) {
        return true;
    }
    kl_order_entry entry;
    if (kl_topic_read_entry(topic, subscriber->entry, &entry) < 0) return true;
    return kl_topic_cut_durable(topic, entry.cut);
}
