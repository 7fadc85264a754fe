/* Nodes: roles, logs, history, recovery; processes that die. */
#include "broker/node.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/random.h"
#include "base/status.h"
#include "broker/batch_frame.h"
#include "broker/history.h"
#include "broker/publisher.h"
#include "broker/role.h"
#include "broker/sequencer.h"
#include "broker/subscriber.h"
#include "log/durable_log.h"
#include "tests/c/harness.h"

#define SECOND 1000000000ull

static void pause_ms(long ms) {
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

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

static kl_node *open_node(const char *folder, uint32_t brokers) {
    kl_node *node = NULL;
    int32_t status = kl_node_open(&node, folder, brokers, KL_NODE_CREATE);
    if (status < 0) kl_test_fail(__FILE__, __LINE__, "open: %d %s", status, kl_status_last());
    return node;
}

static kl_topic *open_topic(kl_node *node, const char *name) {
    kl_topic *topic = NULL;
    int32_t status = kl_node_topic(node, name, KL_TOPIC_OPEN_CREATE, 1u << 17, &topic);
    if (status < 0) kl_test_fail(__FILE__, __LINE__, "topic: %d %s", status, kl_status_last());
    return topic;
}

static void forget_memory(const char *folder, const char *name) {
    kl_node *node = NULL;
    kl_topic_record record;
    KL_CHECK_EQ(kl_node_open(&node, folder, 1, KL_NODE_READ_ONLY), KL_OK);
    KL_CHECK_EQ(kl_node_topic_record(node, name, &record), KL_OK);
    kl_topic_unlink(record.uuid); /* gone already if it was idle when it was closed */
    KL_CHECK(kl_node_retire(node) >= 0);
    kl_node_close(node);
}

static void offer(kl_publisher *publisher, uint32_t filler) {
    uint8_t buffer[70000];
    uint32_t bytes = encode(buffer, publisher->session, publisher->next, filler);
    int32_t status;
    uint64_t deadline = kl_test_now_ns() + 20 * SECOND;
    while ((status = kl_publisher_offer(publisher, buffer, bytes)) == KL_ERR_AGAIN) {
        KL_CHECK_EQ(kl_publisher_failed(publisher), KL_OK);
        if (kl_test_now_ns() > deadline) break;
        pause_ms(1);
    }
    KL_CHECK_EQ(status, KL_OK);
}

static void wait_durable(kl_publisher *publisher) {
    uint64_t deadline = kl_test_now_ns() + 20 * SECOND;
    while (publisher->durable < publisher->next && kl_test_now_ns() < deadline) {
        KL_CHECK_EQ(kl_publisher_progress(publisher), KL_OK);
        if (publisher->durable < publisher->next) pause_ms(1);
    }
    KL_CHECK_EQ(publisher->durable, publisher->next);
}

/* Reads all there is; checks density, session order and content. Returns the number of records. */
static uint64_t read_all(kl_node *node, const char *name, uint64_t from, uint64_t session) {
    static uint8_t buffer[1u << 20];
    kl_subscriber *subscriber = NULL;
    int32_t bytes = kl_subscriber_open(&subscriber, node, name, (double)from, 0);
    if (bytes < 0) kl_test_fail(__FILE__, __LINE__, "subscribe: %d %s", bytes, kl_status_last());
    uint64_t next = from, sequence_next = UINT64_MAX;
    while ((bytes = kl_subscriber_read(subscriber, buffer, sizeof(buffer))) > 0) {
        for (int32_t at = 0; at < bytes;) {
            kl_delivery delivery;
            memcpy(&delivery, buffer + at, sizeof(delivery));
            KL_CHECK_LE(delivery.total_order, next);
            KL_CHECK_EQ(delivery.total_order + delivery.skip, next);
            uint32_t offset = (uint32_t)at + (uint32_t)sizeof(delivery);
            for (uint32_t i = 0; i < delivery.record_count; i++) {
                uint32_t length;
                uint64_t who, sequence;
                memcpy(&length, buffer + offset, 4);
                memcpy(&who, buffer + offset + 8, 8);
                memcpy(&sequence, buffer + offset + 16, 8);
                KL_CHECK_EQ(who, delivery.session);
                KL_CHECK_EQ(sequence, delivery.first_sequence + i);
                if (session == who && sequence_next != UINT64_MAX && i >= delivery.skip) {
                    KL_CHECK_EQ(sequence, sequence_next);
                }
                if (session == who) sequence_next = sequence + 1u;
                offset += 8u + ((length + 7u) & ~7u);
            }
            next = delivery.total_order + delivery.record_count;
            at += (int32_t)(sizeof(delivery) + ((delivery.payload_bytes + 7u) & ~7u));
        }
    }
    if (bytes < 0) kl_test_fail(__FILE__, __LINE__, "read: %d %s", bytes, kl_status_last());
    kl_subscriber_close(subscriber);
    return next - from;
}

KL_TEST(kl_role_makes_records_durable_and_history_gives_them_back) {
    const char *folder = kl_test_folder();
    kl_node *node = open_node(folder, 3);
    kl_topic *topic = open_topic(node, "lines");
    kl_role *roles[3];
    for (uint32_t i = 0; i < 3; i++) KL_CHECK_EQ(kl_role_open(&roles[i], node, i), KL_OK);
    kl_publisher *publisher;
    KL_CHECK_EQ(kl_publisher_open(&publisher, node, topic, 0), KL_OK);
    uint64_t session = publisher->session;
    for (uint32_t i = 0; i < 5000; i++) offer(publisher, i % 300);
    wait_durable(publisher);
    KL_CHECK_EQ(read_all(node, "lines", 0, session), 5000); /* from the logs into memory */
    KL_CHECK_EQ(read_all(node, "lines", 4321, session), 679);
    KL_CHECK_EQ(kl_topic_check(topic), KL_OK);
    kl_publisher_close(publisher);
    for (uint32_t i = 0; i < 3; i++) kl_role_close(roles[i]);
    kl_node_close(node);

    KL_CHECK_EQ(kl_node_open(&node, folder, 1, KL_NODE_READ_ONLY), KL_OK); /* the folder alone */
    KL_CHECK_EQ(node->broker_count, 3);
    KL_CHECK_EQ(read_all(node, "lines", 0, session), 5000);
    kl_node_close(node);

    node = open_node(folder, 3); /* recovered: the session goes on */
    topic = open_topic(node, "lines");
    KL_CHECK_EQ(topic->shape.recovered_records, 5000);
    KL_CHECK_EQ(topic->shape.cut_records, 0);
    KL_CHECK_EQ(kl_publisher_open(&publisher, node, topic, session), KL_OK);
    KL_CHECK_EQ(publisher->next, 5000);
    offer(publisher, 10);
    KL_CHECK_EQ(read_all(node, "lines", 0, session), 5001);
    kl_publisher_close(publisher);
    kl_node_close(node);
    forget_memory(folder, "lines");
}

/* Writes batches straight into brokers' logs, as roles would have. */
static void write_log(const char *folder, uint32_t broker, uint64_t topic_id, uint32_t epoch,
                      const uint64_t *orders, uint32_t count) {
    char path[4096];
    kl_log *log;
    KL_CHECK_EQ(kl_broker_log_path(folder, broker, path, sizeof(path)), KL_OK);
    kl_log_options options = {.flags = KL_LOG_NO_RING};
    KL_CHECK_EQ(kl_log_open(&log, path, &options), KL_OK);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t records[64];
        kl_batch_frame frame = {.magic = KL_BATCH_FRAME_MAGIC,
                                .epoch = epoch,
                                .topic_id = topic_id,
                                .total_order = orders[i],
                                .session = 77,
                                .first_sequence = orders[i],
                                .record_count = 1};
        frame.payload_bytes = encode(records, 77, orders[i], epoch);
        kl_span parts[2] = {{&frame, sizeof(frame)}, {records, frame.payload_bytes}};
        KL_CHECK(kl_log_append_tagged(log, KL_LOG_BATCH, KL_BATCH_FRAME_TAG, parts, 2, 1) >= 0);
    }
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
}

KL_TEST(kl_recovery_cuts_at_a_hole_and_what_was_cut_never_comes_back) {
    const char *folder = kl_test_folder();
    kl_node *node = open_node(folder, 2);
    kl_topic *topic = open_topic(node, "lines");
    uint64_t topic_id = topic->shape.topic_id;
    kl_node_close(node);
    forget_memory(folder, "lines");
    const uint64_t left[] = {0, 2, 4, 6, 7, 8, 12}, right[] = {1, 3, 9, 10, 11}; /* 5 is missing */
    write_log(folder, 0, topic_id, 1, left, 7);
    write_log(folder, 1, topic_id, 1, right, 5);
    for (uint32_t again = 0; again < 2; again++) { /* recovery changes nothing: the same again */
        node = open_node(folder, 2);
        topic = open_topic(node, "lines");
        KL_CHECK_EQ(topic->shape.base_order, 5);
        KL_CHECK_EQ(topic->shape.cut_records, 7);
        KL_CHECK_EQ(topic->shape.epoch, 2);
        KL_CHECK_EQ(read_all(node, "lines", 0, 77), 5);
        kl_node_close(node);
        forget_memory(folder, "lines");
    }
    node = open_node(folder, 2);
    topic = open_topic(node, "lines");
    kl_role *roles[2];
    for (uint32_t i = 0; i < 2; i++) KL_CHECK_EQ(kl_role_open(&roles[i], node, i), KL_OK);
    kl_publisher *publisher;
    KL_CHECK_EQ(kl_publisher_open(&publisher, node, topic, 77), KL_OK);
    KL_CHECK_EQ(publisher->next, 5);
    for (uint32_t i = 0; i < 3; i++) offer(publisher, 2); /* 5, 6, 7 of epoch 2; 8 is stale */
    wait_durable(publisher);
    kl_publisher_close(publisher);
    for (uint32_t i = 0; i < 2; i++) kl_role_close(roles[i]);
    kl_node_close(node);
    KL_CHECK_EQ(kl_node_open(&node, folder, 1, KL_NODE_READ_ONLY), KL_OK);
    KL_CHECK_EQ(read_all(node, "lines", 0, 77), 8);
    kl_node_close(node);
    node = open_node(folder, 2);
    topic = open_topic(node, "lines");
    KL_CHECK_EQ(topic->shape.base_order, 8);
    KL_CHECK_EQ(topic->shape.epoch, 3);
    kl_node_close(node);
    forget_memory(folder, "lines");
}

typedef struct child_task {
    const char *folder;
    uint32_t index;
    uint64_t session;
    int pipe;
} child_task;

/* Publishes for ever; reports how far its session is ordered and durable. */
static int child_publish(void *argument) {
    child_task *task = argument;
    kl_node *node;
    kl_topic *topic;
    kl_publisher *publisher;
    uint8_t buffer[512];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (kl_node_open(&node, task->folder, 3, KL_NODE_CREATE) < 0) return 2;
    if (kl_node_topic(node, "lines", 0, 0, &topic) < 0) return 3;
    if (kl_publisher_open(&publisher, node, topic, task->session) < 0) return 4;
    for (;;) {
        uint32_t bytes =
            encode(buffer, publisher->session, publisher->next, (uint32_t)(publisher->next % 200));
        int32_t status = kl_publisher_offer(publisher, buffer, bytes);
        if (status < 0 && status != KL_ERR_AGAIN) return 5;
        if (kl_publisher_progress(publisher) < 0) return 6;
        uint64_t report[2] = {publisher->ordered, publisher->durable};
        if (write(task->pipe, report, sizeof(report)) != sizeof(report)) return 7;
    }
}

static int child_host(void *argument) {
    child_task *task = argument;
    kl_node *node;
    kl_role *role;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (kl_node_open(&node, task->folder, 3, KL_NODE_CREATE) < 0) return 2;
    if (kl_role_open(&role, node, task->index) < 0) {
        kl_test_fail(__FILE__, __LINE__, "role %u: %s", task->index, kl_status_last());
        return 3;
    }
    while (kl_role_status(role) == KL_OK) pause_ms(20);
    kl_test_fail(__FILE__, __LINE__, "role %u: %s", task->index, kl_status_last());
    return 4;
}

/* The newest report of a child that is dead or going on: what it saw acknowledged. */
static void last_report(int fd, uint64_t out[2]) {
    uint64_t report[2];
    while (read(fd, report, sizeof(report)) == sizeof(report)) memcpy(out, report, sizeof(report));
}

KL_TEST(kl_node_loses_nothing_acknowledged_when_any_process_is_killed) {
    const char *folder = kl_test_folder();
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    kl_node *node = open_node(folder, 3);
    open_topic(node, "lines");
    kl_node_close(node);
    uint64_t session = 424242, acked[2] = {0, 0};
    uint32_t rounds = kl_test_slow() ? 3 : 8;
    int hosts[4], pipes[2];
    child_task tasks[4];
    for (uint32_t i = 0; i < 4; i++) {
        tasks[i] = (child_task){.folder = folder, .index = i < 3 ? i : KL_NODE_ROLE_SEQUENCER};
        hosts[i] = kl_test_fork(child_host, &tasks[i]);
    }
    for (uint32_t round = 0; round < rounds; round++) {
        KL_CHECK_EQ(pipe(pipes), 0);
        child_task task = {.folder = folder, .session = session, .pipe = pipes[1]};
        int publisher = kl_test_fork(child_publish, &task);
        close(pipes[1]);
        uint64_t until = kl_test_now_ns() + (20 + kl_random_below(&random, 100)) * 1000000ull;
        uint64_t report[2];
        while (kl_test_now_ns() < until && read(pipes[0], report, sizeof(report)) > 0) {
            memcpy(acked, report, sizeof(acked));
        }
        uint32_t victim = (uint32_t)kl_random_below(&random, 5);
        if (victim < 4) {
            kill(hosts[victim], SIGKILL);
            kl_test_join(hosts[victim]);
            hosts[victim] = kl_test_fork(child_host, &tasks[victim]);
        }
        kill(publisher, SIGKILL);
        kl_test_join(publisher);
        last_report(pipes[0], acked);
        close(pipes[0]);
        node = open_node(folder, 3);
        kl_topic *topic = open_topic(node, "lines");
        kl_publisher *next;
        KL_CHECK_EQ(kl_publisher_open(&next, node, topic, session), KL_OK);
        KL_CHECK_LE(acked[0], next->next);
        uint64_t records = read_all(node, "lines", 0, session);
        KL_CHECK_EQ(records, next->next);
        kl_publisher_close(next);
        kl_node_close(node);
    }
    for (uint32_t i = 0; i < 4; i++) {
        kill(hosts[i], SIGKILL);
        kl_test_join(hosts[i]);
    }
    forget_memory(folder, "lines"); /* a reboot: what was durable is there */
    node = open_node(folder, 3);
    open_topic(node, "lines");
    uint64_t records = read_all(node, "lines", 0, session);
    KL_CHECK_LE(acked[1], records);
    KL_CHECK_LT(0, acked[1]);
    kl_node_close(node);
    forget_memory(folder, "lines");
}

static size_t read_file(const char *path, uint8_t *out, size_t capacity) {
    FILE *file = fopen(path, "rb");
    KL_CHECK(file != NULL);
    size_t bytes = fread(out, 1, capacity, file);
    fclose(file);
    return bytes;
}

static void write_file(const char *path, const uint8_t *data, size_t bytes) {
    FILE *file = fopen(path, "wb");
    KL_CHECK(file != NULL);
    KL_CHECK_EQ(fwrite(data, 1, bytes, file), bytes);
    fclose(file);
    KL_CHECK_EQ(chmod(path, 0600), 0);
}

KL_TEST(kl_batch_frame_read_understands_the_golden_frame) {
    uint8_t golden[256];
    size_t bytes = read_file("tests/golden/batch-frame-v1.klb", golden, sizeof(golden));
    kl_batch_frame frame = {0};
    KL_CHECK(kl_batch_frame_read(&frame, golden, (uint32_t)bytes));
    KL_CHECK_EQ(frame.epoch, 2);
    KL_CHECK_EQ(frame.topic_id, 0x1122334455667788u);
    KL_CHECK_EQ(frame.total_order, 1000);
    KL_CHECK_EQ(frame.session, 0xabcdef);
    KL_CHECK_EQ(frame.first_sequence, 7);
    KL_CHECK_EQ(frame.published_at_ns, 1700000000000000000u);
    KL_CHECK_EQ(frame.lane_index, 42);
    KL_CHECK_EQ(frame.record_count, 3);
    KL_CHECK_EQ(kl_batch_check(golden + 64, (uint32_t)bytes - 64, 1024), 3);
    uint32_t last;
    memcpy(&last, golden + 88, sizeof(last));
    KL_CHECK_EQ(last, KL_RECORD_UNTERMINATED | 11u);
    KL_CHECK(!kl_batch_frame_read(&frame, golden, (uint32_t)bytes - 8));
    golden[0] ^= 1;
    KL_CHECK(!kl_batch_frame_read(&frame, golden, (uint32_t)bytes));
}

KL_TEST(kl_node_open_understands_the_golden_manifests) {
    const char *folder = kl_test_folder();
    uint8_t golden[8192];
    char path[4096];
    KL_CHECK_EQ(read_file("tests/golden/node-v1.manifest", golden, sizeof(golden)), 8192);
    snprintf(path, sizeof(path), "%s/node.manifest", folder);
    write_file(path, golden, sizeof(golden));
    snprintf(path, sizeof(path), "%s/topics", folder);
    KL_CHECK_EQ(mkdir(path, 0700), 0);
    KL_CHECK_EQ(read_file("tests/golden/topic-v1.topic", golden, sizeof(golden)), 8192);
    snprintf(path, sizeof(path), "%s/topics/lines.topic", folder);
    write_file(path, golden, sizeof(golden));
    kl_node *node = NULL;
    kl_topic_record record;
    char names[256];
    KL_CHECK_EQ(kl_node_open(&node, folder, 1, KL_NODE_READ_ONLY), KL_OK);
    KL_CHECK_EQ(node->broker_count, 3);
    KL_CHECK_EQ(node->uuid[15], 15);
    KL_CHECK_EQ(kl_node_topic_names(node, names, sizeof(names)), 6);
    KL_CHECK_TEXT(names, "lines");
    KL_CHECK_EQ(kl_node_topic_record(node, "lines", &record), KL_OK);
    KL_CHECK_EQ(record.flags, KL_TOPIC_LOGGED);
    KL_CHECK_EQ(record.lane_bytes, 1u << 17);
    KL_CHECK_EQ(record.uuid[0], 0x10);
    kl_node_close(node);
}

KL_TEST(kl_topic_name_check_refuses_paths_and_long_names) {
    KL_CHECK_EQ(kl_topic_name_check("lines", 5), KL_OK);
    KL_CHECK_EQ(kl_topic_name_check("a.b-c_9", 7), KL_OK);
    const char *bad[] = {"", ".", "..", "a/b", "../x", "-rf", ".hidden", "a b", "a\nb", "\xc3\xa4"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        KL_CHECK_EQ(kl_topic_name_check(bad[i], strlen(bad[i])), KL_ERR_NAME);
    }
    char longest[300];
    memset(longest, 'a', sizeof(longest));
    KL_CHECK_EQ(kl_topic_name_check(longest, 128), KL_OK);
    KL_CHECK_EQ(kl_topic_name_check(longest, 129), KL_ERR_NAME);
    KL_CHECK_EQ(kl_topic_name_check("a\0b", 3), KL_ERR_NAME);
}
