/* log_service: the background work of all logs of a process, on at most three threads.
 *
 *   two committers   commits that were asked for, flushes of rings that fill up, commit records
 *   one preparer     segments ahead of the writer; durable addresses for the manifest; truncation
 *
 * They start when first needed and then stay. A wish is a bit in the log; whoever sets it wakes an
 * idle thread. No wish is lost: a thread looks through all logs once more after it has said that it
 * is idle.
 *
 *   list, busy   under one mutex of the process, never held while working
 *   idle flags   set by a thread before it looks and parks, cleared by whoever wakes it
 *
 * Progress: wish is wait-free when a thread is at work, one wake-up when it is parked. No promise of
 * the log depends on these threads but the speed of append, and the commits asked of them.
 */
#ifndef KL_LOG_LOG_SERVICE_H
#define KL_LOG_LOG_SERVICE_H

#include "log/log_state.h"

/* How long a log rests after a commit before the commit record is written. */
#define KL_LOG_RECORD_DELAY_NS 5000000u

void kl_log_service_add(kl_log *log);

/* Returns when no thread works on the log any more. */
void kl_log_service_remove(kl_log *log);

/* False: it could not be passed on, for there is no service thread and none can be started. */
bool kl_log_service_wish(kl_log *log, uint32_t wish);

/* A commit has succeeded: a commit record is due when nothing follows it. */
void kl_log_service_committed(kl_log *log);

#endif
