#include "broker/broker.h"

#include <stdlib.h>
#include <string.h>

#include "base/handle.h"
#include "broker/publisher.h"
#include "broker/recovery.h"
#include "broker/role.h"
#include "broker/sequencer.h"
#include "broker/subscriber.h"
#include "exec/completion.h"
#include "sync/thread_end.h"

#define ARM_SLICE_NS   (500ull * 1000000ull) /* a lost doorbell costs this much */
#define SPACE_SLICE_NS (50ull * 1000000ull)

/* A topic handle: the node keeps the topic, the handle keeps the node. */
typedef struct kl_topic_door {
    kl_node *node;
    kl_topic *topic;
} kl_topic_door;

/* A publisher or subscriber: one thread at a time. */
typedef struct kl_door {
    union {
        kl_publisher *publisher;
        kl_subscriber *subscriber;
    };
    atomic_flag busy;
} kl_door;

static int32_t no_handle(const char *what) {
    return kl_fail(KL_ERR_HANDLE, "this %s is closed", what);
}

static int32_t in_use(const char *what) {
    return kl_fail(KL_ERR_ARGUMENT, "this %s is being used by another thread: open one per thread",
                   what);
}

static kl_door *door_enter(uint32_t handle, uint32_t kind, const char *what, int32_t *status) {
    kl_door *door = kl_handle_enter(handle, kind);
    if (door == NULL) {
        *status = no_handle(what);
        return NULL;
    }
    /* acquire: partner is the clear in door_leave(); a second user is told, not awaited. */
    if (!atomic_flag_test_and_set_explicit(&door->busy, memory_order_acquire)) return door;
    kl_handle_leave(handle);
    *status = in_use(what);
    return NULL;
}

static void door_leave(uint32_t handle, kl_door *door) {
    atomic_flag_clear_explicit(&door->busy, memory_order_release);
    kl_handle_leave(handle);
}

/* The handle is closed with the thread that opened it: a Worker that is terminated closes nothing
 * itself. */
static double give_handle(uint32_t kind, void *object, void (*destroy)(void *)) {
    uint32_t handle = kl_handle_open(kind, object, destroy);
    if (handle != 0) {
        (void)kl_thread_end_close(handle, kind); /* without memory it stays open, no more */
        return handle;
    }
    destroy(object);
    return kl_fail(KL_ERR_LIMIT, "too many open handles");
}

/* Copies a counted string into a NUL-ended buffer; refuses NUL inside. */
static int32_t text_argument(const uint8_t *text, uint32_t bytes, char *out, size_t capacity,
                             const char *what) {
    if (text == NULL || bytes == 0 || bytes >= capacity || memchr(text, 0, bytes) != NULL) {
        return kl_fail(KL_ERR_NAME, "%s must be 1 to %zu bytes without NUL (it has %u)", what,
                       capacity - 1u, bytes);
    }
    memcpy(out, text, bytes);
    out[bytes] = '\0';
    return KL_OK;
}

static void node_destroy(void *object) {
    kl_node_close(object);
}

double kl_broker_open(const uint8_t *folder, uint32_t folder_bytes, uint32_t broker_count,
                      uint32_t flags) {
    char path[KL_NODE_PATH_MAX];
    int32_t status = text_argument(folder, folder_bytes, path, sizeof(path), "a folder");
    if (status < 0) return status;
    kl_node *node;
    status = kl_node_open(&node, path, broker_count, flags);
    return status < 0 ? status : give_handle(KL_HANDLE_BROKER, node, node_destroy);
}

int32_t kl_broker_close(uint32_t node) {
    kl_thread_end_forget(node);
    return kl_handle_close(node, KL_HANDLE_BROKER);
}

int32_t kl_broker_info(uint32_t handle, double *out) {
    kl_node *node = kl_handle_enter(handle, KL_HANDLE_BROKER);
    if (node == NULL) return no_handle("broker");
    out[0] = node->broker_count;
    out[1] = node->shared != NULL;
    out[2] = node->shared != NULL ? (double)atomic_load(&node->shared->topics_version) : 0;
    out[3] = 0;
    kl_handle_leave(handle);
    return KL_OK;
}

int32_t kl_broker_region_path(uint32_t handle, uint8_t *out, uint32_t capacity) {
    kl_node *node = kl_handle_enter(handle, KL_HANDLE_BROKER);
    if (node == NULL) return no_handle("broker");
    const char *path = node->region != NULL ? kl_region_path(node->region) : "";
    size_t bytes = strlen(path);
    int32_t status = bytes <= capacity ? (int32_t)bytes : KL_ERR_LIMIT;
    if (status >= 0) memcpy(out, path, bytes);
    kl_handle_leave(handle);
    return status;
}

int32_t kl_broker_topic_names(uint32_t handle, uint8_t *out, uint32_t capacity) {
    kl_node *node = kl_handle_enter(handle, KL_HANDLE_BROKER);
    if (node == NULL) return no_handle("broker");
    int32_t status = kl_node_topic_names(node, (char *)out, capacity);
    kl_handle_leave(handle);
    return status;
}

int32_t kl_broker_role_info(uint32_t handle, uint32_t index, double *out, uint8_t *reason,
                            uint32_t capacity) {
    kl_node *node = kl_handle_enter(handle, KL_HANDLE_BROKER);
    if (node == NULL) return no_handle("broker");
    int32_t status = KL_ERR_NOT_FOUND;
    memset(out, 0, 12 * sizeof(*out));
    if (index < KL_NODE_ROLES && node->shared != NULL) {
        kl_node_role *role = &node->shared->roles[index];
        uint32_t participant = atomic_load(&role->participant);
        out[0] = atomic_load(&role->pid);
        out[1] = participant != 0 && kl_region_alive(node->region, participant);
        out[2] = atomic_load(&role->generation);
        out[3] = atomic_load(&role->failed);
        out[4] = (double)atomic_load(&role->records);
        out[5] = (double)atomic_load(&role->bytes);
        out[6] = (double)atomic_load(&role->syncs);
        status = KL_OK;
        if (out[3] < 0) {
            size_t bytes = strnlen(role->reason, sizeof(role->reason));
            if (bytes > capacity) bytes = capacity;
            memcpy(reason, role->reason, bytes);
            status = (int32_t)bytes;
        }
    }
    kl_handle_leave(handle);
    return status;
}

int32_t kl_broker_retire(uint32_t handle) {
    kl_node *node = kl_handle_enter(handle, KL_HANDLE_BROKER);
    if (node == NULL) return no_handle("broker");
    int32_t status = kl_node_retire(node);
    kl_handle_leave(handle);
    return status;
}

static void topic_destroy(void *object) {
    kl_topic_door *door = object;
    kl_node_close(door->node);
    free(door);
}

double kl_broker_topic_open(uint32_t handle, const uint8_t *name, uint32_t name_bytes,
                            uint32_t flags, double lane_bytes) {
    char text[KL_TOPIC_NAME_MAX + 1];
    int32_t status = text_argument(name, name_bytes, text, sizeof(text), "a topic name");
    if (status < 0) return status;
    if (!(lane_bytes >= 0 && lane_bytes <= KL_LANE_BYTES_MAX)) {
        return kl_fail(KL_ERR_ARGUMENT, "laneBytes must be a power of two from %u to %u",
                       KL_LANE_BYTES_MIN, KL_LANE_BYTES_MAX);
    }
    kl_node *node = kl_handle_enter(handle, KL_HANDLE_BROKER);
    if (node == NULL) return no_handle("broker");
    kl_topic *topic;
    status = kl_node_topic(node, text, flags, (uint64_t)lane_bytes, &topic);
    kl_topic_door *door = status == KL_OK ? calloc(1, sizeof(*door)) : NULL;
    if (door != NULL) {
        door->node = kl_node_keep(node);
        door->topic = topic;
    }
    kl_handle_leave(handle);
    if (status < 0) return status;
    if (door == NULL) return kl_fail(KL_ERR_MEMORY, "no memory for a topic");
    return give_handle(KL_HANDLE_TOPIC, door, topic_destroy);
}

int32_t kl_broker_topic_close(uint32_t topic) {
    kl_thread_end_forget(topic);
    return kl_handle_close(topic, KL_HANDLE_TOPIC);
}

static uint32_t sessions_used(const kl_topic *topic) {
    uint32_t used = 0;
    for (uint32_t i = 0; i < topic->shape.sessions; i++) used += topic->sessions[i].session != 0;
    return used;
}

static double durable_records(const kl_topic *topic) {
    uint64_t g = kl_topic_durable_entry(topic, 0);
    kl_order_entry entry;
    if (g == 0) return (double)topic->shape.base_order;
    if (kl_topic_read_entry(topic, g - 1u, &entry) < 0) return (double)kl_topic_end(topic);
    return (double)(entry.total_order + entry.record_count);
}

int32_t kl_broker_topic_info(uint32_t handle, double *out) {
    kl_topic_door *door = kl_handle_enter(handle, KL_HANDLE_TOPIC);
    if (door == NULL) return no_handle("topic");
    kl_topic *topic = door->topic;
    out[0] = (double)kl_topic_end(topic);
    out[1] = kl_topic_is_logged(topic) ? durable_records(topic) : 0;
    out[2] = (double)atomic_load(&topic->order->bytes);
    out[3] = (double)atomic_load(&topic->order->rejected);
    out[4] = kl_topic_is_logged(topic);
    out[5] = topic->shape.broker_count;
    out[6] = (double)topic->shape.lane_bytes;
    out[7] = topic->shape.epoch;
    out[8] = (double)topic->shape.recovered_records;
    out[9] = (double)topic->shape.cut_records;
    out[10] = (double)kl_sequencer_pending(topic);
    out[11] = sessions_used(topic);
    out[12] = kl_region_poisoned(topic->region);
    out[13] = kl_topic_batch_bytes_max(topic);
    out[14] = (double)topic->shape.base_order;
    out[15] = atomic_load(&topic->order->blocked);
    kl_handle_leave(handle);
    return KL_OK;
}

int32_t kl_broker_topic_cursor(uint32_t handle, uint32_t slot, double *out) {
    kl_topic_door *door = kl_handle_enter(handle, KL_HANDLE_TOPIC);
    if (door == NULL) return no_handle("topic");
    int32_t status = KL_ERR_NOT_FOUND;
    if (slot < KL_TOPIC_CURSORS) {
        kl_topic_cursor *cursor = &door->topic->cursors[slot];
        uint32_t owner = atomic_load(&cursor->participant);
        kl_participant participant;
        if (owner != 0 && kl_region_alive(door->topic->region, owner) &&
            kl_region_participant(door->topic->region, owner & 0xffu, &participant) >= 0) {
            out[0] = participant.pid;
            out[1] = (double)atomic_load(&cursor->total_order);
            out[2] = out[3] = 0;
            status = KL_OK;
        }
    }
    kl_handle_leave(handle);
    return status;
}

int32_t kl_broker_topic_count(uint32_t handle, const uint8_t *name, uint32_t name_bytes,
                              double *out) {
    char text[KL_TOPIC_NAME_MAX + 1];
    int32_t status = text_argument(name, name_bytes, text, sizeof(text), "a topic name");
    if (status < 0) return status;
    kl_node *node = kl_handle_enter(handle, KL_HANDLE_BROKER);
    if (node == NULL) return no_handle("broker");
    kl_topic_record record;
    kl_recovery_count count;
    status = kl_topic_name_check(text, name_bytes);
    if (status == KL_OK) status = kl_node_topic_record(node, text, &record);
    if (status == KL_OK) status = kl_recovery_count_topic(node, &record, &count);
    if (status == KL_OK) {
        out[0] = (double)count.records;
        out[1] = (double)count.cut_records;
        out[2] = (double)count.bytes;
        out[3] = (double)count.sessions;
        status = (record.flags & KL_TOPIC_LOGGED) != 0;
    }
    kl_handle_leave(handle);
    return status;
}

int32_t kl_broker_topic_check(uint32_t handle) {
    kl_topic_door *door = kl_handle_enter(handle, KL_HANDLE_TOPIC);
    if (door == NULL) return no_handle("topic");
    int32_t status = kl_topic_check(door->topic);
    kl_handle_leave(handle);
    return status;
}

static void publisher_destroy(void *object) {
    kl_door *door = object;
    kl_publisher_close(door->publisher);
    free(door);
}

double kl_broker_publisher_open(uint32_t handle, double session) {
    if (!(session < 0 || (session >= 1 && session <= 9007199254740991.0))) {
        return kl_fail(KL_ERR_ARGUMENT, "a session is a whole number from 1 to 2^53 - 1");
    }
    kl_topic_door *topic = kl_handle_enter(handle, KL_HANDLE_TOPIC);
    if (topic == NULL) return no_handle("topic");
    kl_door *door = calloc(1, sizeof(*door));
    int32_t status = door == NULL ? kl_fail(KL_ERR_MEMORY, "no memory for a publisher")
                                  : kl_publisher_open(&door->publisher, topic->node, topic->topic,
                                                      session < 0 ? 0 : (uint64_t)session);
    kl_handle_leave(handle);
    if (status < 0) {
        free(door);
        return status;
    }
    return give_handle(KL_HANDLE_PUBLISHER, door, publisher_destroy);
}

int32_t kl_broker_publisher_close(uint32_t publisher) {
    kl_thread_end_forget(publisher);
    return kl_handle_close(publisher, KL_HANDLE_PUBLISHER);
}

int32_t kl_broker_publisher_offer(uint32_t handle, const uint8_t *records, uint32_t bytes) {
    int32_t status;
    kl_door *door = door_enter(handle, KL_HANDLE_PUBLISHER, "publisher", &status);
    if (door == NULL) return status;
    status = records == NULL ? kl_fail(KL_ERR_ARGUMENT, "an empty batch cannot be published")
                             : kl_publisher_offer(door->publisher, records, bytes);
    door_leave(handle, door);
    return status;
}

int32_t kl_broker_publisher_progress(uint32_t handle, double *out) {
    int32_t status;
    kl_door *door = door_enter(handle, KL_HANDLE_PUBLISHER, "publisher", &status);
    if (door == NULL) return status;
    kl_publisher *publisher = door->publisher;
    status = kl_publisher_progress(publisher);
    out[0] = (double)publisher->next;
    out[1] = (double)publisher->ordered;
    out[2] = (double)publisher->durable;
    out[3] = (double)publisher->session;
    door_leave(handle, door);
    return status;
}

static int32_t publisher_arm(kl_publisher *publisher, uint32_t level, double sequence,
                             uint32_t completion, uint32_t token) {
    kl_topic_doorbells *bells = publisher->topic->bells;
    if (level == 1 && !kl_topic_is_logged(publisher->topic)) {
        return kl_fail(KL_ERR_UNSUPPORTED,
                       "topic %s lives in memory only: nothing in it becomes durable",
                       publisher->topic->name);
    }
    if (sequence > (double)publisher->next) {
        return kl_fail(KL_ERR_ARGUMENT, "record %.0f was not published yet (next is %llu)",
                       sequence, (unsigned long long)publisher->next);
    }
    kl_event_count *event = level == 1 ? &bells->durable : &bells->ordered;
    uint32_t key = kl_event_count_prepare(event);
    int32_t status = kl_publisher_progress(publisher);
    if (status < 0) return status;
    if (publisher->ordered < publisher->next) {
        kl_sequencer_run(publisher->topic, true, false);
        status = kl_publisher_progress(publisher);
        if (status < 0) return status;
    }
    uint64_t reached = level == 1 ? publisher->durable : publisher->ordered;
    if ((double)reached >= sequence) return 1;
    status = kl_publisher_failed(publisher);
    if (status < 0) return status;
    return kl_completion_arm(completion, token, event, key, ARM_SLICE_NS);
}

int32_t kl_broker_publisher_arm(uint32_t handle, uint32_t level, double sequence,
                                uint32_t completion, uint32_t token) {
    int32_t status;
    kl_door *door = door_enter(handle, KL_HANDLE_PUBLISHER, "publisher", &status);
    if (door == NULL) return status;
    status = publisher_arm(door->publisher, level, sequence, completion, token);
    door_leave(handle, door);
    return status;
}

int32_t kl_broker_publisher_arm_space(uint32_t handle, uint32_t bytes, uint32_t completion,
                                      uint32_t token) {
    int32_t status;
    kl_door *door = door_enter(handle, KL_HANDLE_PUBLISHER, "publisher", &status);
    if (door == NULL) return status;
    kl_publisher *publisher = door->publisher;
    kl_topic *topic = publisher->topic;
    uint32_t key = kl_event_count_prepare(&topic->bells->space);
    kl_sequencer_run(topic, true, false);
    status = kl_publisher_progress(publisher);
    bool room = false;
    for (uint32_t broker = 0; broker < topic->shape.broker_count && !room; broker++) {
        room = kl_lane_may_have_room(topic, broker, bytes);
    }
    if (publisher->tickets_end - publisher->durable_tickets == KL_PUBLISHER_TICKETS) room = false;
    if (status == KL_OK && room) {
        status = 1;
    } else if (status == KL_OK) {
        status = kl_publisher_failed(publisher);
        if (status == KL_OK) {
            status =
                kl_completion_arm(completion, token, &topic->bells->space, key, SPACE_SLICE_NS);
        }
    }
    door_leave(handle, door);
    return status;
}

static void subscriber_destroy(void *object) {
    kl_door *door = object;
    kl_subscriber_close(door->subscriber);
    free(door);
}

double kl_broker_subscriber_open(uint32_t handle, const uint8_t *name, uint32_t name_bytes,
                                 double from, uint32_t flags) {
    char text[KL_TOPIC_NAME_MAX + 1];
    int32_t status = text_argument(name, name_bytes, text, sizeof(text), "a topic name");
    if (status < 0) return status;
    kl_node *node = kl_handle_enter(handle, KL_HANDLE_BROKER);
    if (node == NULL) return no_handle("broker");
    kl_door *door = calloc(1, sizeof(*door));
    status = door == NULL ? kl_fail(KL_ERR_MEMORY, "no memory for a subscriber")
                          : kl_subscriber_open(&door->subscriber, node, text, from, flags);
    kl_handle_leave(handle);
    if (status < 0) {
        free(door);
        return status;
    }
    return give_handle(KL_HANDLE_SUBSCRIBER, door, subscriber_destroy);
}

int32_t kl_broker_subscriber_close(uint32_t subscriber) {
    kl_thread_end_forget(subscriber);
    return kl_handle_close(subscriber, KL_HANDLE_SUBSCRIBER);
}

int32_t kl_broker_subscriber_read(uint32_t handle, uint8_t *out, uint32_t capacity) {
    int32_t status;
    kl_door *door = door_enter(handle, KL_HANDLE_SUBSCRIBER, "subscriber", &status);
    if (door == NULL) return status;
    status = out == NULL ? kl_fail(KL_ERR_ARGUMENT, "the buffer is empty")
                         : kl_subscriber_read(door->subscriber, out, capacity);
    door_leave(handle, door);
    return status;
}

int32_t kl_broker_subscriber_info(uint32_t handle, double *out) {
    int32_t status;
    kl_door *door = door_enter(handle, KL_HANDLE_SUBSCRIBER, "subscriber", &status);
    if (door == NULL) return status;
    out[0] = (double)door->subscriber->position;
    out[1] = door->subscriber->needed_bytes;
    out[2] = door->subscriber->topic != NULL;
    out[3] = (double)door->subscriber->delivered;
    door_leave(handle, door);
    return KL_OK;
}

int32_t kl_broker_subscriber_arm(uint32_t handle, uint32_t completion, uint32_t token) {
    int32_t status;
    kl_door *door = door_enter(handle, KL_HANDLE_SUBSCRIBER, "subscriber", &status);
    if (door == NULL) return status;
    kl_subscriber *subscriber = door->subscriber;
    if (subscriber->topic == NULL) {
        status = KL_ERR_END; /* no node is up: whoever follows looks again later */
    } else {
        kl_topic_doorbells *bells = subscriber->topic->bells;
        kl_event_count *event = (subscriber->flags & KL_SUBSCRIBE_DURABLE_ONLY) != 0
                                    ? &bells->durable
                                    : &bells->ordered;
        uint32_t key = kl_event_count_prepare(event);
        status = kl_subscriber_ready(subscriber)
                     ? 1
                     : kl_completion_arm(completion, token, event, key, ARM_SLICE_NS);
    }
    door_leave(handle, door);
    return status;
}

static void role_destroy(void *object) {
    kl_role_close(object);
}

double kl_broker_role_open(uint32_t handle, uint32_t index) {
    kl_node *node = kl_handle_enter(handle, KL_HANDLE_BROKER);
    if (node == NULL) return no_handle("broker");
    kl_role *role;
    int32_t status = kl_role_open(&role, node, index);
    kl_handle_leave(handle);
    return status < 0 ? status : give_handle(KL_HANDLE_ROLE, role, role_destroy);
}

int32_t kl_broker_role_status(uint32_t handle) {
    kl_role *role = kl_handle_enter(handle, KL_HANDLE_ROLE);
    if (role == NULL) return no_handle("role");
    int32_t status = kl_role_status(role);
    kl_handle_leave(handle);
    return status;
}

int32_t kl_broker_role_close(uint32_t role) {
    kl_thread_end_forget(role);
    return kl_handle_close(role, KL_HANDLE_ROLE);
}
