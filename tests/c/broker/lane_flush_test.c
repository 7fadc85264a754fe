/* Topics between hosts whose caches do not agree: two hosts publish, one sequences, one reads, each
 * on its own view (mem/flush_simulator.h). The protocol must hold as it is, and must break when any
 * one of its sites is switched off: so each flush, fence and invalidation is known to be needed. */
#define KL_FLUSH_SITES_DEBUG
#include "broker/topic.c"

#include "broker/lane.c"
#include "broker/sequencer.c"

#include "base/random.h"
#include "mem/flush_simulator.h"
#include "tests/c/harness.h"

enum { PUBLISHERS = 2, SEQUENCER = 2, READER = 3, HOSTS = 4, RECORDS_MAX = 6000 };

typedef struct world {
    kl_flush_world *flush;
    kl_random random;
    kl_topic topics[HOSTS]; /* the same topic, as each host has it mapped */
    bool logged;
    uint64_t published[PUBLISHERS];
    uint64_t logged_index[PUBLISHERS];
    uint64_t entry, delivered, next[PUBLISHERS]; /* the reader's */
    uint64_t cuts[RECORDS_MAX][PUBLISHERS];      /* what the sequencer really wrote */
    uint64_t ordered;
    const char *wrong; /* the first thing that was not as it must be */
} world;

static void wrong(world *w, const char *what) {
    if (w->wrong == NULL) w->wrong = what;
}

static kl_topic *enter(world *w, uint32_t host) {
    uint8_t *base = kl_flush_world_enter(w->flush, host);
    kl_topic *topic = &w->topics[host];
    size_t at = sizeof(kl_topic_header);
    topic->order = (kl_topic_order *)(void *)(base + at);
    at += sizeof(kl_topic_order);
    topic->lease = (kl_mutex *)(void *)(base + at);
    at += sizeof(kl_mutex);
    topic->bells = (kl_topic_doorbells *)(void *)(base + at);
    topic->cursors = (kl_topic_cursor *)(void *)(base + topic->shape.cursors_offset);
    topic->sessions = (kl_session_entry *)(void *)(base + topic->shape.sessions_offset);
    topic->orders = (kl_order_entry *)(void *)(base + topic->shape.orders_offset);
    topic->lanes = base + topic->shape.lanes_offset;
    return topic;
}

static void leave(world *w) {
    kl_flush_world_leave(w->flush);
}

static void publish(world *w, uint32_t host) {
    uint8_t records[2048];
    uint32_t filler = (uint32_t)kl_random_below(&w->random, 1500);
    uint32_t bytes = 16u + filler, step = 8u + ((bytes + 7u) & ~7u);
    uint64_t session = 100u + host, sequence = w->published[host];
    memset(records, (int)(sequence & 0xffu), sizeof(records));
    memcpy(records, &bytes, 4);
    memcpy(records + 8, &session, 8);
    memcpy(records + 16, &sequence, 8);
    kl_batch batch = {.records = records,
                      .bytes = step,
                      .record_count = 1,
                      .session = session,
                      .first_sequence = sequence};
    kl_batch_position at;
    kl_topic *topic = enter(w, host);
    if (kl_lane_publish(topic, host, &batch, false, &at) == KL_OK) w->published[host]++;
    leave(w);
}

static void sequence(world *w) {
    kl_topic *topic = enter(w, SEQUENCER);
    (void)kl_sequencer_run(topic, false, false);
    uint64_t tail = atomic_load(&topic->order->tail);
    for (; w->ordered < tail; w->ordered++) {
        memcpy(w->cuts[w->ordered], kl_topic_entry(topic, w->ordered)->cut,
               sizeof(w->cuts[w->ordered]));
    }
    if (atomic_load(&topic->order->rejected) != 0) wrong(w, "a batch was refused");
    leave(w);
}

/* What a broker does with its lane: looks at every ordered batch, then says that it is synced. */
static void log_lane(world *w, uint32_t host) {
    kl_topic *topic = enter(w, host);
    kl_lane *lane = kl_topic_lane(topic, host);
    uint64_t ordered = kl_topic_ordered_index(topic, host);
    uint64_t index = w->logged_index[host];
    for (; index < ordered; index++) {
        kl_order_entry entry;
        uint64_t g = kl_topic_order_of(topic, host, index);
        if (kl_topic_read_entry(topic, g, &entry) < 0 || entry.lane_index != index ||
            entry.broker != host) {
            wrong(w, "a batch and its order entry do not belong together");
            break;
        }
    }
    w->logged_index[host] = index;
    atomic_store_explicit(&lane->durable_index, index, memory_order_release);
    kl_flush_line(KL_SITE_LANE_DURABLE, &lane->durable_index);
    kl_store_fence(KL_SITE_LANE_DURABLE);
    leave(w);
}

static void check_record(world *w, const kl_order_entry *entry, const uint8_t *payload) {
    uint64_t session, sequence;
    uint32_t bytes;
    memcpy(&bytes, payload, 4);
    memcpy(&session, payload + 8, 8);
    memcpy(&sequence, payload + 16, 8);
    uint32_t who = entry->broker;
    if (entry->total_order != w->delivered) wrong(w, "record numbers are not dense");
    if (session != 100u + who || sequence != w->next[who]) wrong(w, "a session is out of order");
    w->next[who]++;
    for (uint32_t i = 24; i < 8u + bytes && bytes < 2000; i++) {
        if (payload[i] != (uint8_t)(sequence & 0xffu)) {
            wrong(w, "a record is not what was published");
            return;
        }
    }
}

static void check_durable(world *w, const kl_topic *topic) {
    uint64_t durable = kl_topic_durable_entry(topic, 0);
    if (durable == 0 || durable > w->ordered) return;
    for (uint32_t b = 0; b < PUBLISHERS; b++) {
        if (w->logged_index[b] < w->cuts[durable - 1][b]) {
            wrong(w, "called durable before every log had it");
        }
    }
}

static void read_some(world *w) {
    kl_topic *topic = enter(w, READER);
    kl_topic_cursor *cursor = &topic->cursors[0];
    uint8_t payload[4096];
    kl_order_entry entry;
    if (w->logged) check_durable(w, topic);
    for (int count = 0; count < 4 && w->entry < RECORDS_MAX; count++) {
        if (kl_topic_read_entry(topic, w->entry, &entry) < 0) break;
        if (entry.payload_bytes > sizeof(payload) || entry.lane_index >= RECORDS_MAX) {
            wrong(w, "an order entry is rubbish");
            break;
        }
        kl_lane_descriptor batch;
        int32_t status = kl_lane_read(topic, entry.broker, entry.lane_index, &batch);
        if (status == KL_OK) {
            status = kl_lane_copy_payload(topic, entry.broker, entry.lane_index,
                                          entry.payload_address, entry.payload_bytes, payload);
        }
        if (status == KL_OK) check_record(w, &entry, payload);
        if (status != KL_OK && !w->logged) wrong(w, "a batch that a cursor holds is gone");
        if (status != KL_OK && w->logged) w->next[entry.broker]++; /* in the log by now */
        w->delivered++;
        w->entry++;
    }
    atomic_store_explicit(&cursor->participant, kl_region_self(topic->region),
                          memory_order_relaxed);
    atomic_store_explicit(&cursor->entry, w->entry, memory_order_release);
    kl_flush_line(KL_SITE_CURSOR, cursor);
    kl_store_fence(KL_SITE_CURSOR);
    leave(w);
}

static void step(world *w, bool publishing) {
    uint32_t what = (uint32_t)kl_random_below(&w->random, 8);
    uint64_t all = w->published[0] + w->published[1];
    if (what < PUBLISHERS) {
        if (publishing && all < RECORDS_MAX / 2) publish(w, what);
    } else if (what < 4) {
        if (w->logged) log_lane(w, what - 2u);
    } else if (what < 6) {
        sequence(w);
    } else {
        read_some(w);
    }
}

/* One seeded life of a topic. NULL: all was as it must be. */
static const char *live(uint64_t seed, uint32_t disturb_one, bool logged) {
    static world w;
    memset(&w, 0, sizeof(w));
    w.logged = logged;
    kl_random_init(&w.random, seed);
    kl_topic_header shape = {.layout_version = KL_TOPIC_LAYOUT_VERSION,
                             .broker_count = PUBLISHERS,
                             .flags = logged ? KL_TOPIC_LOGGED : 0,
                             .epoch = 1,
                             .lane_bytes = KL_LANE_BYTES_MIN};
    kl_flush_world_options options = {
        .host_count = HOSTS, .disturb_one = disturb_one, .seed = seed};
    options.bytes = (size_t)shape_layout(&shape);
    kl_region *region = NULL;
    kl_region_spec spec = {.kind = KL_TOPIC_REGION_KIND};
    KL_CHECK_EQ(kl_region_create(&region, NULL, 4096, &spec), KL_OK);
    KL_CHECK(kl_region_join(region, 0) >= 0);
    for (uint32_t host = 0; host < HOSTS; host++) {
        w.topics[host].shape = shape;
        w.topics[host].region = region;
    }
    KL_CHECK_EQ(kl_flush_world_open(&w.flush, &options), KL_OK);
    read_some(&w); /* the cursor is there before anything is published */
    kl_topic *topic = enter(&w, SEQUENCER);
    uint64_t next;
    for (uint64_t session = 100; session < 102; session++) {
        KL_CHECK_EQ(kl_sequencer_session(topic, session, KL_FOREVER, &next), KL_OK);
    }
    leave(&w);
    for (uint32_t i = 0; i < 1500 && w.wrong == NULL; i++) step(&w, true);
    uint64_t all = w.published[0] + w.published[1];
    for (uint32_t i = 0; i < 4000 && w.wrong == NULL && w.delivered < all; i++) step(&w, false);
    if (w.delivered < all) wrong(&w, "something published never arrived");
    /* full lanes must open again once what they hold was read and logged */
    for (uint32_t i = 0; i < 400 && w.wrong == NULL; i++) step(&w, true);
    if (w.published[0] + w.published[1] <= all) wrong(&w, "nothing can be published any more");
    if (kl_flush_world_check(w.flush) < 0) wrong(&w, "a line has two writers");
    kl_flush_world_close(w.flush);
    kl_region_close(region);
    return w.wrong;
}

KL_TEST(kl_topic_holds_between_hosts_whose_caches_do_not_agree) {
    kl_flush_sites_reset();
    for (uint64_t round = 0; round < (kl_test_slow() ? 2u : 8u); round++) {
        for (uint32_t logged = 0; logged < 2; logged++) {
            const char *what = live(kl_test_seed() + round, round % 2 ? 16 : 0, logged);
            if (what != NULL) {
                kl_test_fail(__FILE__, __LINE__, "round %u, logged %u: %s (%s)", (uint32_t)round,
                             logged, what, kl_status_last());
            }
        }
    }
}

KL_TEST(kl_topic_breaks_between_hosts_when_any_one_site_is_switched_off) {
    static const enum kl_flush_site sites[] = {
        KL_SITE_LANE_PAYLOAD, KL_SITE_LANE_DESCRIPTOR, KL_SITE_LANE_COMMIT,
        KL_SITE_ORDER_ENTRY,  KL_SITE_ORDER_CUT,       KL_SITE_ORDER_TAIL,
        KL_SITE_LANE_ORDER,   KL_SITE_LANE_DURABLE,    KL_SITE_CURSOR,
    };
    for (size_t i = 0; i < sizeof(sites) / sizeof(sites[0]); i++) {
        bool caught = false;
        for (uint64_t round = 0; round < 12 && !caught; round++) {
            kl_flush_sites_reset();
            kl_flush_site_drop(sites[i], true);
            caught = live(kl_test_seed() + round, round % 3 == 2 ? 16 : 0, round % 2 == 0) != NULL;
        }
        if (!caught) kl_test_fail(__FILE__, __LINE__, "site %u is not needed", (uint32_t)sites[i]);
    }
    kl_flush_sites_reset();
}
