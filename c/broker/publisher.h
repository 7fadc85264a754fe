#ifndef KL_BROKER_PUBLISHER_H
#define KL_BROKER_PUBLISHER_H

/* publisher: one session of records into one topic, striped over the node's brokers.
 *
 * Each batch goes whole into one lane, the next batch into the next lane; the publisher then orders
 * it in line if the lease is free. It remembers a ticket per batch until the batch has reached the
 * acknowledgement asked for, so that progress is two cumulative counts: records ordered, records
 * durable. Batches of one session are ordered in the order in which they were offered.
 *
 * One thread at a time per publisher. Progress: offer never waits; KL_ERR_AGAIN = nothing taken. */

#include "broker/lane.h"
#include "broker/node.h"

#define KL_PUBLISHER_TICKETS 8192u

typedef struct kl_publisher_ticket {
    kl_batch_position at;
    uint64_t end; /* sequence after the batch */
} kl_publisher_ticket;

typedef struct kl_publisher {
    kl_node *node;
    kl_topic *topic;
    uint64_t session;
    uint64_t next; /* sequence of the next record */
    uint64_t ordered, durable;
    uint32_t lane; /* tried first for the next batch */
    uint32_t refused;
    uint64_t ordered_tickets, durable_tickets, tickets_end; /* absolute */
    kl_publisher_ticket tickets[KL_PUBLISHER_TICKETS];
} kl_publisher;

/* session 0: a new one. A session that is known goes on behind its last ordered record. */
int32_t kl_publisher_open(kl_publisher **out, kl_node *node, kl_topic *topic, uint64_t session);
void kl_publisher_close(kl_publisher *publisher);
/* KL_OK, KL_ERR_AGAIN (full), KL_ERR_LIMIT, KL_ERR_ARGUMENT, KL_ERR_FENCED, KL_ERR_POISONED. */
int32_t kl_publisher_offer(kl_publisher *publisher, const uint8_t *records, uint32_t bytes);
/* Brings ordered and durable up to date. */
int32_t kl_publisher_progress(kl_publisher *publisher);
/* The failure of a broker whose log `durable` depends on, or KL_OK. */
int32_t kl_publisher_failed(const kl_publisher *publisher);

#endif
