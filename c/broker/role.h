#ifndef KL_BROKER_ROLE_H
#define KL_BROKER_ROLE_H

/* role: the C loops that a process hosts for a node.
 *
 *   broker N    owns DIR/broker-N: appends the ordered batches of its lanes to that log, syncs them
 *               in groups, and moves durable_index; nothing of it lies on the way of a publisher
 *   sequencer   the holder of last resort of every topic's lease: orders what a dead publisher left
 *               behind, takes leases over, refuses batches whose predecessor never came
 *
 * One service thread per role. A role's death loses nothing: the lanes live in shared memory, and
 * the next host finds in its log what had been written and goes on behind it. A failed write or
 * sync ends the role with its reason, which every publisher waiting for `durable` gets. */

#include "broker/node.h"

typedef struct kl_role kl_role;

/* Broker `index`, or the sequencer (KL_NODE_ROLE_SEQUENCER). KL_ERR_LOCKED names the other host. */
int32_t kl_role_open(kl_role **out, kl_node *node, uint32_t index);
/* KL_OK while it runs, else the status that ended it (detail set). */
int32_t kl_role_status(const kl_role *role);
/* Syncs what is ordered, then ends the thread and lets the log go. */
void kl_role_close(kl_role *role);

#endif
