#include "broker/lane.h"

#include <string.h>

#include "base/checksum.h"
#include "base/clock.h"
#include "base/status.h"
#include "mem/flush.h"
#include "sync/shared_copy.h"

#define LOAD_RELAXED(word) atomic_load_explicit(word, memory_order_relaxed)
#define LOAD_ACQUIRE(word) atomic_load_explicit(word, memory_order_acquire)

int32_t kl_batch_check(const uint8_t *records, uint32_t bytes, uint32_t record_bytes_max) {
    uint32_t at = 0;
    int32_t count = 0;
    while (at < bytes) {
        uint32_t word;
        if (bytes - at < KL_RECORD_HEADER_BYTES) break;
        memcpy(&word, records + at, sizeof(word));
        uint32_t length = word & ~KL_RECORD_UNTERMINATED;
        if (length > record_bytes_max) {
            return kl_fail(KL_ERR_LIMIT, "record of %u bytes: the limit of this topic is %u bytes",
                           length, record_bytes_max);
        }
        uint32_t step = KL_RECORD_HEADER_BYTES + ((length + 7u) & ~7u);
        if (step > bytes - at) break;
        at += step;
        count++;
    }
    if (at != bytes || count == 0) {
        return kl_fail(KL_ERR_ARGUMENT, "batch of %u bytes is not framed right at byte %u", bytes,
                       at);
    }
    return count;
}

static uint32_t descriptor_checksum(const kl_lane_descriptor *descriptor, uint64_t index) {
    const uint8_t *body = (const uint8_t *)descriptor + sizeof(uint64_t);
    size_t bytes = offsetof(kl_lane_descriptor, checksum) - sizeof(uint64_t);
    return kl_crc32c((uint32_t)(index ^ index >> 32), body, bytes);
}

int32_t kl_lane_read(const kl_topic *topic, uint32_t broker, uint64_t index,
                     kl_lane_descriptor *out) {
    kl_lane *lane = kl_topic_lane(topic, broker);
    kl_lane_descriptor *shared = kl_topic_descriptor(topic, broker, index);
    kl_invalidate_range(KL_SITE_LANE_DESCRIPTOR, shared, sizeof(*shared));
    /* acquire: partner is the release of commit in kl_lane_publish(). */
    if (LOAD_ACQUIRE(&shared->commit) != index + 1u) return KL_ERR_NOT_FOUND;
    kl_copy_from_shared(out, shared, sizeof(*out));
    kl_invalidate_range(KL_SITE_LANE_COMMIT, &lane->reclaimed_index, sizeof(uint64_t));
    if (kl_frontier_after_copy(&lane->reclaimed_index) > index) return KL_ERR_NOT_FOUND;
    if (out->checksum != descriptor_checksum(out, index) ||
        !kl_topic_payload_fits(topic, out->payload_address, out->payload_bytes)) {
        return kl_fail(KL_ERR_CORRUPT, "topic %s, broker %u: descriptor %llu is damaged",
                       topic->name, broker, (unsigned long long)index);
    }
    return KL_OK;
}

int32_t kl_lane_copy_payload(const kl_topic *topic, uint32_t broker, uint64_t index,
                             uint64_t address, uint32_t bytes, uint8_t *out) {
    kl_lane *lane = kl_topic_lane(topic, broker);
    if (!kl_topic_payload_fits(topic, address, bytes)) {
        return kl_fail(KL_ERR_CORRUPT,
                       "topic %s, broker %u: payload range of batch %llu is damaged", topic->name,
                       broker, (unsigned long long)index);
    }
    const uint8_t *payload = kl_topic_payload(topic, broker, address);
    kl_invalidate_range(KL_SITE_LANE_PAYLOAD, payload, bytes);
    kl_copy_from_shared(out, payload, bytes);
    kl_invalidate_range(KL_SITE_LANE_COMMIT, &lane->reclaimed_index, sizeof(uint64_t));
    return kl_frontier_after_copy(&lane->reclaimed_index) > index ? KL_ERR_NOT_FOUND : KL_OK;
}

uint64_t kl_lane_cursors_passed(kl_topic *topic) {
    uint64_t passed = kl_topic_tail(topic);
    for (uint32_t i = 0; i < KL_TOPIC_CURSORS; i++) {
        kl_topic_cursor *cursor = &topic->cursors[i];
        kl_invalidate_range(KL_SITE_CURSOR, cursor, sizeof(*cursor));
        uint32_t owner = LOAD_ACQUIRE(&cursor->participant);
        if (owner == 0) continue;
        uint64_t entry = LOAD_ACQUIRE(&cursor->entry);
        if (entry >= passed) continue;
        if (!kl_region_alive(topic->region, owner)) {
            atomic_compare_exchange_strong(&cursor->participant, &owner, 0);
            continue;
        }
        passed = entry;
    }
    return passed;
}

/* First batch of the lane that must be kept. In a logged topic a batch goes only when it is durable
 * together with everything ordered before it: so what memory no longer has, the logs have whole. */
static uint64_t reclaim_limit(kl_topic *topic, uint32_t broker) {
    kl_lane *lane = kl_topic_lane(topic, broker);
    uint64_t passed = kl_topic_is_logged(topic) ? kl_topic_durable_entry(topic, 0)
                                                : kl_lane_cursors_passed(topic);
    uint64_t low = LOAD_RELAXED(&lane->reclaimed_index);
    uint64_t high = kl_topic_ordered_index(topic, broker);
    while (low < high) {
        uint64_t middle = low + (high - low) / 2u;
        if (kl_topic_order_of(topic, broker, middle) < passed) {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Called by the lock holder. True if a batch of `bytes` fits now; *address is where it goes. */
static bool lane_room(kl_topic *topic, uint32_t broker, uint32_t bytes, uint64_t *address) {
    kl_lane *lane = kl_topic_lane(topic, broker);
    uint64_t lane_bytes = topic->shape.lane_bytes;
    uint64_t tail = LOAD_RELAXED(&lane->tail_index);
    uint64_t at = LOAD_RELAXED(&lane->tail_address);
    uint64_t offset = at & (lane_bytes - 1u);
    if (offset + bytes > lane_bytes) at += lane_bytes - offset; /* never across the ring's end */
    *address = at;
    if (LOAD_RELAXED(&lane->reclaimed_index) == tail) {
        /* Nothing is in it: the bytes passed over at the end are free, too. */
        atomic_store_explicit(&lane->reclaimed_address, at, memory_order_relaxed);
    }
    for (int attempt = 0; attempt < 2; attempt++) {
        uint64_t reclaimed = LOAD_RELAXED(&lane->reclaimed_index);
        if (tail - reclaimed < topic->shape.descriptors &&
            at + bytes - LOAD_RELAXED(&lane->reclaimed_address) <= lane_bytes) {
            return true;
        }
        uint64_t limit = attempt == 0 ? reclaim_limit(topic, broker) : reclaimed;
        if (limit <= reclaimed || limit > tail) return false;
        uint64_t kept = limit == tail ? LOAD_RELAXED(&lane->tail_address)
                                      : kl_topic_descriptor(topic, broker, limit)->payload_address;
        kl_publish_overwrite(&lane->reclaimed_index, limit);
        atomic_store_explicit(&lane->reclaimed_address, kept, memory_order_relaxed);
        kl_flush_line(KL_SITE_LANE_COMMIT, &lane->reclaimed_index);
        kl_store_fence(KL_SITE_LANE_COMMIT); /* before a byte of what it gives up is overwritten */
    }
    return false;
}

static void lay_payload(kl_topic *topic, uint32_t broker, const kl_batch *batch, uint64_t address) {
    uint8_t *payload = kl_topic_payload(topic, broker, address);
    kl_copy_to_shared(payload, batch->records, batch->bytes);
    uint32_t sequence = (uint32_t)batch->first_sequence;
    for (uint32_t at = 0, record = 0; record < batch->record_count; record++) {
        uint32_t word;
        memcpy(&word, batch->records + at, sizeof(word));
        kl_copy_to_shared(payload + at + 4u, &sequence, sizeof(sequence));
        sequence++;
        at += KL_RECORD_HEADER_BYTES + (((word & ~KL_RECORD_UNTERMINATED) + 7u) & ~7u);
    }
    kl_flush_range(KL_SITE_LANE_PAYLOAD, payload, batch->bytes);
    kl_store_fence(KL_SITE_LANE_PAYLOAD);
}

static void describe(kl_topic *topic, uint32_t broker, uint64_t index, const kl_batch *batch,
                     uint64_t address) {
    kl_lane_descriptor filled;
    memset(&filled, 0, sizeof(filled));
    filled.payload_address = address;
    filled.payload_bytes = batch->bytes;
    filled.record_count = batch->record_count;
    filled.session = batch->session;
    filled.first_sequence = batch->first_sequence;
    filled.published_at_ns = kl_clock_monotonic_ns();
    filled.checksum = descriptor_checksum(&filled, index);
    kl_lane_descriptor *shared = kl_topic_descriptor(topic, broker, index);
    kl_copy_to_shared((uint8_t *)shared + sizeof(uint64_t), (uint8_t *)&filled + sizeof(uint64_t),
                      sizeof(filled) - sizeof(uint64_t));
    /* release: partner is the acquire in kl_lane_read(); the body is in the same line, so a line
     * written back early carries either both or no commit. */
    atomic_store_explicit(&shared->commit, index + 1u, memory_order_release);
    kl_flush_line(KL_SITE_LANE_DESCRIPTOR, shared);
    kl_store_fence(KL_SITE_LANE_DESCRIPTOR);
}

int32_t kl_lane_publish(kl_topic *topic, uint32_t broker, const kl_batch *batch, bool patient,
                        kl_batch_position *out) {
    kl_lane *lane = kl_topic_lane(topic, broker);
    int32_t status = kl_mutex_try_lock(&lane->lock, topic->region);
    if (status == KL_ERR_AGAIN && patient) {
        status = kl_mutex_try_lock_dead(&lane->lock, topic->region);
    }
    if (status < 0) return status;
    uint64_t address;
    if (!lane_room(topic, broker, batch->bytes, &address)) {
        kl_mutex_unlock(&lane->lock, topic->region);
        return KL_ERR_AGAIN;
    }
    uint64_t index = LOAD_RELAXED(&lane->tail_index);
    lay_payload(topic, broker, batch, address);
    describe(topic, broker, index, batch, address);
    atomic_store_explicit(&lane->tail_address, address + batch->bytes, memory_order_relaxed);
    /* release: partner is the acquire in kl_sequencer_run(). A death before this store publishes
     * nothing; tail_address is set first, so a death between the two only leaves a gap of bytes. */
    atomic_store_explicit(&lane->tail_index, index + 1u, memory_order_release);
    kl_flush_line(KL_SITE_LANE_COMMIT, &lane->tail_index);
    kl_store_fence(KL_SITE_LANE_COMMIT);
    kl_mutex_unlock(&lane->lock, topic->region);
    out->broker = broker;
    out->index = index;
    return KL_OK;
}

bool kl_lane_may_have_room(kl_topic *topic, uint32_t broker, uint32_t bytes) {
    kl_lane *lane = kl_topic_lane(topic, broker);
    uint64_t address;
    if (kl_mutex_try_lock(&lane->lock, topic->region) < 0) return true;
    bool room = lane_room(topic, broker, bytes, &address);
    kl_mutex_unlock(&lane->lock, topic->region);
    return room;
}
