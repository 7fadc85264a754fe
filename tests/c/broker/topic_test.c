/* Topics in memory: publishing, ordering, reading, reclaiming; without logs. */
#include "broker/topic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/status.h"
#include "broker/lane.h"
#include "broker/sequencer.h"
#include "tests/c/harness.h"

static kl_topic *make_topic(uint32_t brokers, uint32_t flags, uint64_t lane_bytes,
                            uint8_t uuid[16]) {
    KL_CHECK_EQ(kl_random_os(uuid, 16), KL_OK);
    kl_topic_plan plan = {.name = "test",
                          .broker_count = brokers,
                          .flags = flags,
                          .lane_bytes = lane_bytes,
                          .epoch = 1};
    memcpy(plan.uuid, uuid, 16);
    kl_topic *topic = NULL;
    KL_CHECK_EQ(kl_topic_create(&topic, &plan), KL_OK);
    return topic;
}

static void drop_topic(kl_topic *topic, const uint8_t uuid[16]) {
    kl_topic_close(topic);
    KL_CHECK_EQ(kl_topic_unlink(uuid), KL_OK);
}

/* One record {u64 session, u64 sequence, filler}; returns the encoded bytes. */
static uint32_t encode(uint8_t *out, uint64_t session, uint64_t sequence, uint32_t filler) {
    uint32_t bytes = 16u + filler;
    uint32_t step = 8u + ((bytes + 7u) & ~7u);
    memset(out, 0, step);
    memcpy(out, &bytes, 4);
    memcpy(out + 8, &session, 8);
    memcpy(out + 16, &sequence, 8);
    memset(out + 24, (int)(sequence & 0xffu), filler);
    return step;
}

static kl_batch one_record(uint8_t *buffer, uint64_t session, uint64_t sequence) {
    kl_batch batch = {.records = buffer,
                      .bytes = encode(buffer, session, sequence, 40),
                      .record_count = 1,
                      .session = session,
                      .first_sequence = sequence};
    return batch;
}

KL_TEST(kl_topic_attach_refuses_a_shape_it_would_not_compute) {
    uint8_t uuid[16];
    kl_topic *topic = make_topic(3, KL_TOPIC_LOGGED, 1u << 16, uuid);
    kl_topic *second = NULL;
    KL_CHECK_EQ(kl_topic_attach(&second, "test", uuid), KL_OK);
    KL_CHECK_EQ(second->shape.broker_count, 3);
    kl_topic_close(second);
    uint8_t *shared = kl_region_data(topic->region);
    for (uint32_t byte = 0; byte < sizeof(kl_topic_header); byte++) {
        /* version, broker count, and everything computed from lane size and broker count */
        bool decides = byte < 8 || (byte >= 32 && byte < 52) || (byte >= 56 && byte < 120);
        shared[byte] ^= 0x5a;
        second = NULL;
        int32_t status = kl_topic_attach(&second, "test", uuid);
        if (status == KL_OK) kl_topic_close(second);
        KL_CHECK_EQ(status < 0, decides);
        shared[byte] ^= 0x5a;
    }
    drop_topic(topic, uuid);
}

KL_TEST(kl_batch_check_counts_records_and_refuses_bad_framing) {
    uint8_t buffer[256];
    uint32_t bytes = encode(buffer, 1, 2, 5);
    uint32_t both = bytes + encode(buffer + bytes, 1, 3, 0);
    KL_CHECK_EQ(kl_batch_check(buffer, both, 1024), 2);
    KL_CHECK_EQ(kl_batch_check(buffer, both - 1, 1024), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_batch_check(buffer, 0, 1024), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_batch_check(buffer, both, 20), KL_ERR_LIMIT);
    uint32_t huge = 0x7fffffffu;
    memcpy(buffer, &huge, 4);
    KL_CHECK_EQ(kl_batch_check(buffer, both, UINT32_MAX >> 1), KL_ERR_ARGUMENT);
}

KL_TEST(kl_sequencer_orders_a_session_that_is_striped_over_lanes) {
    uint8_t uuid[16], buffer[128];
    kl_topic *topic = make_topic(3, 0, 1u << 16, uuid);
    uint64_t next;
    KL_CHECK_EQ(kl_sequencer_session(topic, 7, UINT64_MAX, &next), KL_OK);
    KL_CHECK_EQ(next, 0);
    /* published backwards over the lanes: the sequencer has to put them right */
    for (uint64_t sequence = 0; sequence < 9; sequence++) {
        kl_batch batch = one_record(buffer, 7, sequence);
        kl_batch_position at;
        KL_CHECK_EQ(kl_lane_publish(topic, (uint32_t)(2 - sequence % 3), &batch, false, &at),
                    KL_OK);
    }
    KL_CHECK_EQ(kl_sequencer_run(topic, false, false), 9);
    for (uint64_t g = 0; g < 9; g++) {
        kl_order_entry entry;
        KL_CHECK_EQ(kl_topic_read_entry(topic, g, &entry), KL_OK);
        KL_CHECK_EQ(entry.total_order, g);
        KL_CHECK_EQ(entry.first_sequence, g);
        KL_CHECK_EQ(entry.broker, 2 - g % 3);
        uint8_t payload[128];
        KL_CHECK_EQ(kl_lane_copy_payload(topic, entry.broker, entry.lane_index,
                                         entry.payload_address, entry.payload_bytes, payload),
                    KL_OK);
        KL_CHECK_BYTES(payload + 16, &g, 8);
    }
    KL_CHECK_EQ(kl_topic_check(topic), KL_OK);
    drop_topic(topic, uuid);
}

KL_TEST(kl_sequencer_refuses_duplicates_and_waits_for_gaps) {
    uint8_t uuid[16], buffer[128];
    kl_topic *topic = make_topic(2, 0, 1u << 16, uuid);
    uint64_t next;
    kl_batch_position at;
    KL_CHECK_EQ(kl_sequencer_session(topic, 5, UINT64_MAX, &next), KL_OK);
    kl_batch batch = one_record(buffer, 5, 0);
    KL_CHECK_EQ(kl_lane_publish(topic, 0, &batch, false, &at), KL_OK);
    KL_CHECK_EQ(kl_lane_publish(topic, 1, &batch, false, &at), KL_OK); /* again */
    KL_CHECK_EQ(kl_sequencer_run(topic, false, false), 2);
    KL_CHECK_EQ(kl_topic_end(topic), 1);
    KL_CHECK_EQ(atomic_load(&topic->order->rejected), 1);
    batch = one_record(buffer, 5, 3); /* 1 and 2 never came */
    KL_CHECK_EQ(kl_lane_publish(topic, 0, &batch, false, &at), KL_OK);
    KL_CHECK_EQ(kl_sequencer_run(topic, false, false), 0);
    KL_CHECK_EQ(kl_sequencer_pending(topic), 1);
    batch = one_record(buffer, 6, 0); /* another session passes in the other lane */
    KL_CHECK_EQ(kl_lane_publish(topic, 1, &batch, false, &at), KL_OK);
    KL_CHECK_EQ(kl_sequencer_run(topic, false, false), 1);
    KL_CHECK_EQ(kl_sequencer_run(topic, false, true), 1);
    KL_CHECK_EQ(kl_topic_end(topic), 2);
    KL_CHECK_EQ(kl_topic_check(topic), KL_OK);
    drop_topic(topic, uuid);
}

KL_TEST(kl_lane_publish_never_overwrites_what_a_cursor_or_a_log_needs) {
    uint8_t uuid[16], buffer[128];
    for (uint32_t flags = 0; flags <= KL_TOPIC_LOGGED; flags++) {
        kl_topic *topic = make_topic(1, flags, 1u << 16, uuid);
        kl_topic_cursor *cursor = &topic->cursors[0];
        atomic_store(&cursor->participant, kl_region_self(topic->region));
        uint64_t published = 0;
        kl_batch_position at;
        int32_t status;
        for (;;) {
            kl_batch batch = one_record(buffer, 9, published);
            status = kl_lane_publish(topic, 0, &batch, false, &at);
            if (status < 0) break;
            published++;
            kl_sequencer_run(topic, false, false);
        }
        KL_CHECK_EQ(status, KL_ERR_AGAIN);
        KL_CHECK_LE(published * 64, 1u << 16);
        KL_CHECK_LE((1u << 16) - 128, published * 64);
        /* half of it is let go: half of it fits again, and the rest is still whole */
        uint64_t half = published / 2;
        atomic_store(&cursor->entry, half);
        atomic_store(&kl_topic_lane(topic, 0)->durable_index, flags ? half : 0);
        uint64_t again = 0;
        for (;;) {
            kl_batch batch = one_record(buffer, 9, published + again);
            if (kl_lane_publish(topic, 0, &batch, false, &at) < 0) break;
            again++;
        }
        KL_CHECK_LE(half - 2, again);
        KL_CHECK_LE(again, half + 1);
        for (uint64_t index = half; index < published; index++) {
            kl_lane_descriptor descriptor;
            uint8_t payload[128];
            KL_CHECK_EQ(kl_lane_read(topic, 0, index, &descriptor), KL_OK);
            KL_CHECK_EQ(kl_lane_copy_payload(topic, 0, index, descriptor.payload_address,
                                             descriptor.payload_bytes, payload),
                        KL_OK);
            KL_CHECK_BYTES(payload + 16, &index, 8);
        }
        kl_lane_descriptor descriptor;
        KL_CHECK_EQ(kl_lane_read(topic, 0, 0, &descriptor), KL_ERR_NOT_FOUND);
        drop_topic(topic, uuid);
    }
}

typedef struct hammer {
    kl_topic *topic;
    uint32_t per_thread;
    _Atomic uint32_t done;
} hammer;

static void hammer_publish(void *argument, uint32_t index) {
    hammer *shared = argument;
    uint8_t buffer[512];
    uint64_t session = 100u + index, next;
    kl_sequencer_session(shared->topic, session, UINT64_MAX, &next);
    uint32_t lanes = shared->topic->shape.broker_count;
    for (uint32_t lane = index; next < shared->per_thread;) {
        uint32_t bytes = 0, count = 0;
        while (count < 4 && next + count < shared->per_thread) {
            bytes += encode(buffer + bytes, session, next + count, (uint32_t)(next % 30u));
            count++;
        }
        kl_batch batch = {.records = buffer,
                          .bytes = bytes,
                          .record_count = count,
                          .session = session,
                          .first_sequence = next};
        kl_batch_position at;
        lane = (lane + 1u) % lanes;
        if (kl_lane_publish(shared->topic, lane, &batch, false, &at) < 0) continue;
        next += count;
        kl_sequencer_run(shared->topic, false, false);
    }
    atomic_fetch_add(&shared->done, 1);
}

/* The reader: record numbers dense, sessions in order, payload as written. */
static void hammer_read(hammer *shared, uint32_t publishers) {
    kl_topic *topic = shared->topic;
    kl_topic_cursor *cursor = &topic->cursors[0];
    uint64_t next[8] = {0}, total = 0;
    uint64_t wanted = (uint64_t)publishers * shared->per_thread;
    uint64_t deadline = kl_test_now_ns() + 40000000000ull;
    for (uint64_t g = 0; total < wanted;) {
        kl_order_entry entry;
        if (kl_topic_read_entry(topic, g, &entry) < 0) {
            if (kl_test_now_ns() > deadline) break;
            kl_sequencer_run(topic, false, false);
            continue;
        }
        uint8_t payload[512];
        KL_CHECK_EQ(entry.total_order, total);
        KL_CHECK_LE(entry.payload_bytes, sizeof(payload));
        KL_CHECK_EQ(kl_lane_copy_payload(topic, entry.broker, entry.lane_index,
                                         entry.payload_address, entry.payload_bytes, payload),
                    KL_OK);
        uint64_t who = entry.session - 100u;
        KL_CHECK_LT(who, publishers);
        for (uint32_t at = 0, i = 0; i < entry.record_count; i++) {
            uint64_t session, sequence;
            uint32_t bytes;
            memcpy(&bytes, payload + at, 4);
            memcpy(&session, payload + at + 8, 8);
            memcpy(&sequence, payload + at + 16, 8);
            KL_CHECK_EQ(session, entry.session);
            KL_CHECK_EQ(sequence, next[who]);
            next[who]++;
            at += 8u + ((bytes + 7u) & ~7u);
        }
        total += entry.record_count;
        g++;
        atomic_store_explicit(&cursor->entry, g, memory_order_release);
    }
    KL_CHECK_EQ(total, wanted);
}

static void hammer_thread(void *argument, uint32_t index) {
    if (index == 0) {
        hammer_read(argument, 3);
    } else {
        hammer_publish(argument, index - 1u);
    }
}

KL_TEST(kl_sequencer_gives_one_dense_order_to_many_publishers_and_a_reader) {
    uint8_t uuid[16];
    kl_topic *topic = make_topic(3, 0, 1u << 16, uuid);
    atomic_store(&topic->cursors[0].participant, kl_region_self(topic->region));
    hammer shared = {.topic = topic, .per_thread = kl_test_slow() ? 4000 : 100000};
    kl_test_threads(4, hammer_thread, &shared);
    KL_CHECK_EQ(kl_topic_check(topic), KL_OK);
    KL_CHECK_EQ(kl_sequencer_pending(topic), 0);
    drop_topic(topic, uuid);
}

KL_TEST(kl_sequencer_stops_before_it_overwrites_an_entry_that_is_needed) {
    uint8_t uuid[16], buffer[128];
    for (uint32_t flags = 0; flags <= KL_TOPIC_LOGGED; flags++) {
        kl_topic *topic = make_topic(2, flags, 1u << 16, uuid);
        kl_topic_cursor *cursor = &topic->cursors[0];
        atomic_store(&cursor->participant, kl_region_self(topic->region));
        kl_batch_position at;
        uint64_t sequence = 0;
        for (; sequence < topic->shape.orders; sequence++) {
            kl_batch batch = one_record(buffer, 4, sequence);
            if (kl_lane_publish(topic, sequence & 1u, &batch, false, &at) < 0) break;
            kl_sequencer_run(topic, false, false);
            KL_CHECK_EQ(kl_topic_durable_entry(topic, 0), 0);
        }
        kl_order_entry entry;
        uint64_t tail = atomic_load(&topic->order->tail);
        KL_CHECK_LT(tail, topic->shape.orders);
        for (uint64_t g = 0; g < tail; g++)
            KL_CHECK_EQ(kl_topic_read_entry(topic, g, &entry), KL_OK);
        atomic_store(&cursor->entry, 100);
        for (uint32_t b = 0; b < 2; b++) atomic_store(&kl_topic_lane(topic, b)->durable_index, 50);
        if (flags) KL_CHECK_EQ(kl_topic_durable_entry(topic, 0), 100);
        for (; sequence < 2u * topic->shape.orders; sequence++) {
            kl_batch batch = one_record(buffer, 4, sequence);
            if (kl_lane_publish(topic, sequence & 1u, &batch, false, &at) < 0) break;
            kl_sequencer_run(topic, false, false);
        }
        KL_CHECK_LE(sequence, topic->shape.orders + 110u);
        tail = atomic_load(&topic->order->tail);
        for (uint64_t g = 100; g < tail; g++) {
            KL_CHECK_EQ(kl_topic_read_entry(topic, g, &entry), KL_OK);
        }
        drop_topic(topic, uuid);
    }
}

KL_TEST(kl_topic_survives_random_bytes_in_its_memory) {
    uint8_t uuid[16], buffer[128];
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (uint32_t round = 0; round < 40; round++) {
        kl_topic *topic = make_topic(2, round & 1u, 1u << 16, uuid);
        uint8_t *data = kl_region_data(topic->region);
        uint64_t bytes = kl_region_data_bytes(topic->region);
        for (uint64_t sequence = 0; sequence < 50; sequence++) {
            kl_batch batch = one_record(buffer, 3, sequence);
            kl_batch_position at;
            kl_lane_publish(topic, sequence & 1u, &batch, true, &at);
            if (sequence == 25) {
                for (uint32_t i = 0; i < 20000; i++) {
                    uint64_t at_byte = kl_random_below(&random, bytes);
                    data[at_byte] = (uint8_t)kl_random_u64(&random);
                }
                memset(topic->lease, 0, sizeof(*topic->lease));
            }
            kl_sequencer_run(topic, true, (sequence & 3u) == 0);
            kl_order_entry entry;
            if (kl_topic_read_entry(topic, sequence, &entry) == KL_OK &&
                entry.payload_bytes <= sizeof(buffer)) {
                kl_lane_copy_payload(topic, entry.broker, entry.lane_index, entry.payload_address,
                                     entry.payload_bytes, buffer);
            }
            kl_topic_durable_entry(topic, 0);
            kl_topic_end(topic);
        }
        kl_topic_close(topic);
        kl_topic_unlink(uuid);
    }
}
