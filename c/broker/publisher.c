#include "broker/publisher.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/status.h"
#include "broker/sequencer.h"
#include "sync/shared_copy.h"

#define SESSION_WAIT_NS (10ull * 1000000000ull)
#define SESSION_BITS    48u /* exact in a JavaScript number */

int32_t kl_publisher_open(kl_publisher **out, kl_node *node, kl_topic *topic, uint64_t session) {
    kl_publisher *publisher = calloc(1, sizeof(*publisher));
    if (publisher == NULL) return kl_fail(KL_ERR_MEMORY, "no memory for a publisher");
    publisher->node = node;
    publisher->topic = topic;
    int32_t status = KL_OK;
    while (session == 0 && status == KL_OK) {
        status = kl_random_os(&session, sizeof(session));
        session >>= 64u - SESSION_BITS;
    }
    publisher->session = session;
    if (status == KL_OK) {
        status = kl_sequencer_session(topic, session, SESSION_WAIT_NS, &publisher->next);
    }
    if (status < 0) {
        free(publisher);
        return status == KL_ERR_TIMEOUT
                   ? kl_fail(status,
                             "topic %s: the sequencer's lease is held by a process that "
                             "does not go on",
                             topic->name)
                   : status;
    }
    publisher->ordered = publisher->durable = publisher->next;
    publisher->lane = (uint32_t)(session % topic->shape.broker_count);
    kl_node_keep(node);
    *out = publisher;
    return KL_OK;
}

void kl_publisher_close(kl_publisher *publisher) {
    if (publisher == NULL) return;
    kl_node_close(publisher->node);
    free(publisher);
}

int32_t kl_publisher_failed(const kl_publisher *publisher) {
    if (!kl_topic_is_logged(publisher->topic) || publisher->node->shared == NULL) return KL_OK;
    for (uint32_t broker = 0; broker < publisher->topic->shape.broker_count; broker++) {
        kl_node_role *role = &publisher->node->shared->roles[broker];
        /* acquire: partner is the release in role_fail(). */
        int32_t failed = atomic_load_explicit(&role->failed, memory_order_acquire);
        if (failed >= 0) continue;
        char reason[sizeof(role->reason)];
        memcpy(reason, role->reason, sizeof(reason));
        reason[sizeof(reason) - 1u] = '\0';
        return kl_fail(failed, "broker %u stopped writing its log: %s", broker, reason);
    }
    return KL_OK;
}

/* Did this ticket's batch get ordered, and if so is it durable with all below it? */
typedef enum kl_ticket_state {
    KL_TICKET_OPEN,
    KL_TICKET_ORDERED,
    KL_TICKET_DURABLE
} kl_ticket_state;

static kl_ticket_state ticket_state(kl_publisher *publisher, const kl_publisher_ticket *ticket) {
    kl_topic *topic = publisher->topic;
    kl_lane *lane = kl_topic_lane(topic, ticket->at.broker);
    if (kl_topic_ordered_index(topic, ticket->at.broker) <= ticket->at.index) {
        return KL_TICKET_OPEN;
    }
    uint64_t g = kl_topic_order_of(topic, ticket->at.broker, ticket->at.index);
    /* A batch that was reclaimed is durable, with everything before it. */
    if (atomic_load_explicit(&lane->reclaimed_index, memory_order_acquire) > ticket->at.index) {
        return KL_TICKET_DURABLE;
    }
    kl_order_entry entry;
    if (kl_topic_read_entry(topic, g, &entry) == KL_OK && entry.record_count == 0) {
        publisher->refused = 1;
    }
    return kl_topic_entry_durable(topic, g) ? KL_TICKET_DURABLE : KL_TICKET_ORDERED;
}

int32_t kl_publisher_progress(kl_publisher *publisher) {
    bool logged = kl_topic_is_logged(publisher->topic);
    while (publisher->durable_tickets < publisher->tickets_end) {
        uint64_t number = publisher->durable_tickets;
        const kl_publisher_ticket *ticket = &publisher->tickets[number % KL_PUBLISHER_TICKETS];
        kl_ticket_state state = ticket_state(publisher, ticket);
        if (state == KL_TICKET_OPEN || (logged && state != KL_TICKET_DURABLE)) break;
        publisher->durable_tickets++;
        if (logged) publisher->durable = ticket->end;
        if (publisher->ordered_tickets < publisher->durable_tickets) {
            publisher->ordered_tickets = publisher->durable_tickets;
            publisher->ordered = ticket->end;
        }
    }
    while (publisher->ordered_tickets < publisher->tickets_end) {
        uint64_t number = publisher->ordered_tickets;
        const kl_publisher_ticket *ticket = &publisher->tickets[number % KL_PUBLISHER_TICKETS];
        if (kl_topic_ordered_index(publisher->topic, ticket->at.broker) <= ticket->at.index) break;
        publisher->ordered_tickets++;
        publisher->ordered = ticket->end;
    }
    if (publisher->refused) {
        return kl_fail(KL_ERR_FENCED,
                       "session %llu of topic %s was continued by someone else: open a new session",
                       (unsigned long long)publisher->session, publisher->topic->name);
    }
    return KL_OK;
}

static int32_t publish_somewhere(kl_publisher *publisher, const kl_batch *batch,
                                 kl_batch_position *at) {
    uint32_t count = publisher->topic->shape.broker_count;
    int32_t status = KL_ERR_AGAIN;
    for (uint32_t attempt = 0; attempt < 2u * count && status == KL_ERR_AGAIN; attempt++) {
        uint32_t broker = (publisher->lane + attempt) % count;
        status = kl_lane_publish(publisher->topic, broker, batch, attempt >= count, at);
        if (status == KL_OK) publisher->lane = (broker + 1u) % count;
    }
    return status;
}

int32_t kl_publisher_offer(kl_publisher *publisher, const uint8_t *records, uint32_t bytes) {
    kl_topic *topic = publisher->topic;
    uint32_t batch_max = kl_topic_batch_bytes_max(topic);
    uint32_t record_max = batch_max - KL_RECORD_HEADER_BYTES;
    if (record_max > KL_RECORD_BYTES_MAX) record_max = KL_RECORD_BYTES_MAX;
    int32_t count = kl_batch_check(records, bytes, record_max);
    if (count < 0) return count;
    if (bytes > batch_max) {
        return kl_fail(KL_ERR_LIMIT, "batch of %u bytes: the limit of this topic is %u bytes",
                       bytes, batch_max);
    }
    if (kl_region_poisoned(topic->region)) {
        return kl_fail(KL_ERR_POISONED, "the memory of topic %s was truncated by someone",
                       topic->name);
    }
    if (publisher->tickets_end - publisher->durable_tickets == KL_PUBLISHER_TICKETS) {
        int32_t status = kl_publisher_progress(publisher);
        if (status < 0) return status;
        if (publisher->tickets_end - publisher->durable_tickets == KL_PUBLISHER_TICKETS) {
            return KL_ERR_AGAIN;
        }
    }
    kl_batch batch = {.records = records,
                      .bytes = bytes,
                      .record_count = (uint32_t)count,
                      .session = publisher->session,
                      .first_sequence = publisher->next};
    kl_batch_position at;
    int32_t status = publish_somewhere(publisher, &batch, &at);
    if (status < 0) return status;
    publisher->next += (uint32_t)count;
    kl_publisher_ticket *ticket =
        &publisher->tickets[publisher->tickets_end++ % KL_PUBLISHER_TICKETS];
    ticket->at = at;
    ticket->end = publisher->next;
    /* Full fence between our tail_index and the lease (see sequencer.h). */
    kl_full_barrier(&topic->order->rejected);
    kl_sequencer_run(topic, false, false);
    return KL_OK;
}
