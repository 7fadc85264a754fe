#include "broker/sequencer.h"

#include <string.h>

#include "base/status.h"
#include "broker/lane.h"
#include "mem/flush.h"
#include "sync/shared_copy.h"

#define LOAD_RELAXED(word)         atomic_load_explicit(word, memory_order_relaxed)
#define LOAD_ACQUIRE(word)         atomic_load_explicit(word, memory_order_acquire)
#define STORE_RELEASE(word, value) atomic_store_explicit(word, value, memory_order_release)

#define ROOM_STEP      256u
#define SESSION_PROBES 64u

/* What the holder of the lease knows; lives on its stack for one hold. */
typedef struct kl_ordering {
    kl_topic *topic;
    uint64_t tail;        /* order.tail */
    uint64_t total_order; /* of the next record */
    uint64_t cut[KL_BROKERS_MAX];
    uint64_t room_until; /* entries below may be written without asking again */
    bool refuse_gaps;
    uint32_t touched; /* bit per lane that got something ordered */
} kl_ordering;

static kl_session_entry *session_find(kl_topic *topic, uint64_t session, bool *found) {
    uint32_t mask = topic->shape.sessions - 1u;
    uint32_t slot = (uint32_t)(session * 0x9e3779b97f4a7c15u >> 40) & mask;
    kl_session_entry *oldest = &topic->sessions[slot];
    for (uint32_t probe = 0; probe < SESSION_PROBES; probe++) {
        kl_session_entry *entry = &topic->sessions[(slot + probe) & mask];
        if (entry->session == session) {
            *found = true;
            return entry;
        }
        if (entry->session == 0) {
            oldest = entry;
            break;
        }
        if (entry->last_order < oldest->last_order) oldest = entry;
    }
    *found = false;
    return oldest;
}

static void session_advance(kl_topic *topic, uint64_t session, uint64_t next, uint64_t order) {
    bool found;
    kl_session_entry *entry = session_find(topic, session, &found);
    if (found && entry->next >= next) return;
    entry->next = next;
    entry->last_order = order;
    entry->session = session;
    kl_flush_range(KL_SITE_SESSION, entry, sizeof(*entry));
}

/* Repeats what the former holder may not have come to after its last order.tail store. */
static void lease_repair(kl_topic *topic) {
    uint64_t tail = LOAD_ACQUIRE(&topic->order->tail);
    if (tail == 0) {
        atomic_store_explicit(&topic->order->total_order, topic->shape.base_order,
                              memory_order_relaxed);
        return;
    }
    const kl_order_entry *last = kl_topic_entry(topic, tail - 1u);
    if (last->record_count != 0) {
        session_advance(topic, last->session, last->first_sequence + last->record_count,
                        last->total_order);
    }
    atomic_store_explicit(&topic->order->total_order, last->total_order + last->record_count,
                          memory_order_relaxed);
    for (uint32_t broker = 0; broker < topic->shape.broker_count; broker++) {
        kl_lane *lane = kl_topic_lane(topic, broker);
        if (LOAD_RELAXED(&lane->ordered_index) < last->cut[broker]) {
            STORE_RELEASE(&lane->ordered_index, last->cut[broker]);
        }
    }
}

static void ordering_begin(kl_ordering *ordering, kl_topic *topic, bool refuse_gaps) {
    memset(ordering, 0, sizeof(*ordering));
    ordering->topic = topic;
    ordering->refuse_gaps = refuse_gaps;
    ordering->tail = LOAD_ACQUIRE(&topic->order->tail);
    ordering->total_order = LOAD_RELAXED(&topic->order->total_order);
    for (uint32_t broker = 0; broker < topic->shape.broker_count; broker++) {
        ordering->cut[broker] = LOAD_RELAXED(&kl_topic_lane(topic, broker)->ordered_index);
    }
}

/* True if entry `index` of the ring is needed by nobody any more. */
static bool entry_released(kl_topic *topic, uint64_t index) {
    if (!kl_topic_is_logged(topic)) return kl_lane_cursors_passed(topic) > index;
    return kl_topic_cut_durable(topic, kl_topic_entry(topic, index)->cut);
}

/* An entry that is not released stays readable: the slot after the tail is free, too. */
static bool ordering_has_room(kl_ordering *ordering) {
    kl_topic *topic = ordering->topic;
    uint64_t kept = topic->shape.orders - 1u;
    if (ordering->tail < ordering->room_until) return true;
    if (ordering->tail + ROOM_STEP <= kept ||
        entry_released(topic, ordering->tail + ROOM_STEP - 1u - kept)) {
        ordering->room_until = ordering->tail + ROOM_STEP;
    } else if (ordering->tail < kept || entry_released(topic, ordering->tail - kept)) {
        ordering->room_until = ordering->tail + 1u;
    } else {
        return false;
    }
    return true;
}

/* Seals the next entry for the lane's next batch. */
static void order_one(kl_ordering *ordering, uint32_t broker, const kl_lane_descriptor *batch,
                      bool refused) {
    kl_topic *topic = ordering->topic;
    uint64_t g = ordering->tail;
    uint64_t index = ordering->cut[broker]++;
    kl_order_entry filled;
    memset(&filled, 0, sizeof(filled));
    filled.total_order = ordering->total_order;
    filled.lane_index = index;
    filled.payload_address = batch->payload_address;
    filled.session = batch->session;
    filled.first_sequence = batch->first_sequence;
    filled.payload_bytes = batch->payload_bytes;
    filled.record_count = refused ? 0 : batch->record_count;
    filled.broker = broker;
    filled.epoch = topic->shape.epoch;
    memcpy(filled.cut, ordering->cut, sizeof(filled.cut));
    kl_order_entry *shared = kl_topic_entry(topic, g);
    kl_copy_to_shared(shared->cut, filled.cut, sizeof(filled.cut));
    kl_flush_range(KL_SITE_ORDER_CUT, shared->cut, sizeof(shared->cut));
    kl_store_fence(
        KL_SITE_ORDER_CUT); /* a line-0 eviction must never show a seal over an old cut */
    kl_copy_to_shared((uint8_t *)shared + sizeof(uint64_t), (uint8_t *)&filled + sizeof(uint64_t),
                      KL_LINE_BYTES - sizeof(uint64_t));
    /* release: partner is the acquire in kl_topic_read_entry(). */
    STORE_RELEASE(&shared->seal, g + 1u);
    kl_flush_line(KL_SITE_ORDER_ENTRY, shared);
    atomic_store_explicit(kl_topic_lane_order(topic, broker, index), g, memory_order_relaxed);
    kl_flush_line(KL_SITE_LANE_ORDER, kl_topic_lane_order(topic, broker, index));
    kl_store_fence(KL_SITE_ORDER_ENTRY);

    ordering->tail = g + 1u;
    ordering->total_order += filled.record_count;
    atomic_store_explicit(&topic->order->total_order, ordering->total_order, memory_order_relaxed);
    /* The batch is ordered by this store; it also announces that slot tail - orders may go. */
    kl_publish_overwrite(&topic->order->tail, ordering->tail);
    kl_flush_line(KL_SITE_ORDER_TAIL, topic->order);
    kl_store_fence(KL_SITE_ORDER_TAIL); /* before the slot that this gives up is overwritten */
    if (refused) {
        atomic_fetch_add_explicit(&topic->order->rejected, 1, memory_order_relaxed);
    } else {
        session_advance(topic, batch->session, batch->first_sequence + batch->record_count,
                        filled.total_order);
        atomic_store_explicit(&topic->order->bytes,
                              LOAD_RELAXED(&topic->order->bytes) + batch->payload_bytes,
                              memory_order_relaxed);
    }
    /* release: partner is the acquire in the broker's loop and in publisher progress; the lane
     * order is behind it. */
    kl_lane *lane = kl_topic_lane(topic, broker);
    STORE_RELEASE(&lane->ordered_index, index + 1u);
    kl_flush_line(KL_SITE_LANE_ORDER, &lane->ordered_index);
    kl_store_fence(KL_SITE_LANE_ORDER);
    ordering->touched |= 1u << broker;
}

typedef enum kl_verdict { KL_TAKE, KL_REFUSE, KL_HOLD } kl_verdict;

static kl_verdict session_verdict(kl_ordering *ordering, const kl_lane_descriptor *batch) {
    bool found;
    const kl_session_entry *entry = session_find(ordering->topic, batch->session, &found);
    if (!found || batch->first_sequence == entry->next) return KL_TAKE;
    if (batch->first_sequence < entry->next) return KL_REFUSE;
    return ordering->refuse_gaps ? KL_REFUSE : KL_HOLD;
}

/* Takes what is visible in one lane; stops at a batch that has to wait. */
static uint32_t order_lane(kl_ordering *ordering, uint32_t broker, bool *blocked) {
    kl_topic *topic = ordering->topic;
    kl_lane *lane = kl_topic_lane(topic, broker);
    kl_invalidate_range(KL_SITE_LANE_COMMIT, &lane->tail_index, KL_LINE_BYTES);
    /* acquire: partner is the release in kl_lane_publish(). */
    uint64_t tail = LOAD_ACQUIRE(&lane->tail_index);
    uint32_t count = 0;
    if (tail - ordering->cut[broker] > topic->shape.descriptors) return 0; /* scribbled */
    while (ordering->cut[broker] < tail) {
        kl_lane_descriptor batch;
        int32_t status = kl_lane_read(topic, broker, ordering->cut[broker], &batch);
        kl_verdict verdict = status == KL_OK ? session_verdict(ordering, &batch) : KL_REFUSE;
        if (verdict == KL_HOLD) break;
        if (!ordering_has_room(ordering)) {
            *blocked = true;
            break;
        }
        if (status != KL_OK) memset(&batch, 0, sizeof(batch));
        order_one(ordering, broker, &batch, verdict == KL_REFUSE);
        count++;
    }
    return count;
}

/* Rounds over the lanes until a whole round finds nothing to take. */
static uint32_t order_visible(kl_ordering *ordering) {
    kl_topic *topic = ordering->topic;
    uint32_t total = 0;
    bool blocked = false;
    for (;;) {
        uint32_t round = 0;
        for (uint32_t broker = 0; broker < topic->shape.broker_count && !blocked; broker++) {
            round += order_lane(ordering, broker, &blocked);
        }
        total += round;
        if (round == 0 || blocked) break;
    }
    atomic_store_explicit(&topic->order->blocked, blocked, memory_order_relaxed);
    return total;
}

uint64_t kl_sequencer_pending(const kl_topic *topic) {
    uint64_t pending = 0;
    for (uint32_t broker = 0; broker < topic->shape.broker_count; broker++) {
        kl_lane *lane = kl_topic_lane(topic, broker);
        kl_invalidate_range(KL_SITE_LANE_COMMIT, &lane->tail_index, KL_LINE_BYTES);
        pending += LOAD_ACQUIRE(&lane->tail_index) - LOAD_ACQUIRE(&lane->ordered_index);
    }
    return pending;
}

static void ring_doorbells(kl_topic *topic, uint32_t touched) {
    kl_event_count_notify_all(&topic->bells->ordered);
    if (topic->work == NULL || !kl_topic_is_logged(topic)) return;
    for (uint32_t broker = 0; broker < topic->shape.broker_count; broker++) {
        if (touched & 1u << broker) kl_event_count_notify_all(&topic->work[broker]);
    }
}

int32_t kl_sequencer_run(kl_topic *topic, bool patient, bool refuse_gaps) {
    int32_t total = 0;
    for (;;) {
        int32_t status = kl_mutex_try_lock(topic->lease, topic->region);
        if (status == KL_ERR_AGAIN && patient) {
            status = kl_mutex_try_lock_dead(topic->lease, topic->region);
        }
        if (status < 0) return total;
        if (status == KL_OWNER_DEAD) lease_repair(topic);
        kl_ordering ordering;
        ordering_begin(&ordering, topic, refuse_gaps);
        uint32_t count = order_visible(&ordering);
        kl_mutex_unlock(topic->lease, topic->region);
        if (count != 0) ring_doorbells(topic, ordering.touched);
        total += (int32_t)count;
        /* Full fence: our release of the lease before we look again (see the header). */
        kl_full_barrier(&topic->order->rejected);
        if (count == 0 || kl_sequencer_pending(topic) == 0) return total;
    }
}

int32_t kl_sequencer_session(kl_topic *topic, uint64_t session, uint64_t timeout_ns,
                             uint64_t *next) {
    int32_t status = kl_mutex_lock(topic->lease, topic->region, timeout_ns);
    if (status < 0) return status;
    if (status == KL_OWNER_DEAD) lease_repair(topic);
    kl_ordering ordering;
    ordering_begin(&ordering, topic, false);
    uint32_t count = order_visible(&ordering);
    bool found;
    kl_session_entry *entry = session_find(topic, session, &found);
    if (!found) {
        entry->next = 0;
        entry->last_order = ordering.total_order;
        entry->session = session;
        kl_flush_range(KL_SITE_SESSION, entry, sizeof(*entry));
    }
    *next = entry->next;
    kl_mutex_unlock(topic->lease, topic->region);
    if (count != 0) ring_doorbells(topic, ordering.touched);
    kl_full_barrier(&topic->order->rejected);
    if (kl_sequencer_pending(topic) != 0) kl_sequencer_run(topic, false, false);
    return KL_OK;
}
