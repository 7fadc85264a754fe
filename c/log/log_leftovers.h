/* log_leftovers: rings of logs that are gone.
 *
 * A process that is killed leaves its ring behind, for the next open of its log. When the folder is
 * removed instead, nobody would ever take the ring away. So a ring knows its log's folder, and the
 * first open of a log in a process looks through all rings of this user:
 *
 *   removed   nobody holds it, the folder's path is gone, the file system that it lay on is still
 *             there; and either everything in it was flushed, or it was found so for the first time
 *             at least KL_LOG_LEFTOVER_NS ago, for a folder may also have been moved, and its log
 *             wants the ring
 *   kept      all others, also rings that do not know their folder
 *
 * Writers of the ring's folder fields: the holder of the log's folder lock; of missed_at: anybody.
 * Any thread.
 */
#ifndef KL_LOG_LOG_LEFTOVERS_H
#define KL_LOG_LOG_LEFTOVERS_H

#include "log/log_ring.h"

#define KL_LOG_LEFTOVER_NS 3600000000000u

/* Writes into the ring whose it is, and takes a place as its holder. Private memory: nothing. */
void kl_log_ring_belongs(kl_log_ring *ring, const char *folder);

/* Looks through the rings; how many it removed. `now_ns` is kl_clock_realtime_ns(). */
uint32_t kl_log_leftovers_remove(uint64_t now_ns);

/* The same, if this process has not done it yet. */
void kl_log_leftovers_remove_once(void);

#endif
