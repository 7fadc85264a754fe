/* maintenance: the service thread that calls what has to be called now and then.
 *
 * Units register a function; the thread calls it when its time has come, or when somebody notified
 * kl_maintenance_event(). Epochs (sync/epoch) are advanced here, so callbacks of retired memory run on
 * this thread and on no other. The thread starts with the first registration and sleeps while
 * nothing is due; functions are short and do not block, for there is one thread for all of them.
 *
 *   table, turn   under one mutex of the process, not held while a function runs
 *   event         notified by anybody, and by add
 *
 * Always: a function runs on the maintenance thread, one at a time, and not after remove returned. No
 * notify is lost: the key is taken before the functions are called.
 * Death: lives in one process, and ends with it.
 * Progress: add and remove block for a few instructions; remove waits for the function if it runs.
 *
 * May these run at the same time?  any with any; remove not from a function of its own.
 */
#ifndef KL_EXEC_MAINTENANCE_H
#define KL_EXEC_MAINTENANCE_H

#include "sync/epoch.h"
#include "sync/event_count.h"

#define KL_MAINTENANCE_MAX       64u
#define KL_MAINTENANCE_EPOCH_NS  (2 * KL_NS_PER_MS) /* between two advances while work is left */
#define KL_MAINTENANCE_CALLBACKS 1024u              /* of one advance */

/* Answers the time until it wants to be called again, at the latest; KL_FOREVER: when the event is
 * notified. It may be called earlier, and is once in KL_EVENT_SLICE_NS. */
typedef uint64_t (*kl_maintenance_fn)(void *argument);

/* `out` gets a number for remove, from 1. KL_ERR_LIMIT: there are KL_MAINTENANCE_MAX already, or no
 * thread can be started. */
int32_t kl_maintenance_add(uint32_t *out, kl_maintenance_fn function, void *argument);

/* KL_OK, or KL_ERR_NOT_FOUND. When it returns, the function does not run and will not. */
int32_t kl_maintenance_remove(uint32_t number);

/* What to notify when there is something to do. Lives as long as the process. */
kl_event_count *kl_maintenance_event(void);

/* Registers an epoch; it was opened with kl_maintenance_event() as its event. Remove it before
 * kl_epoch_close. */
int32_t kl_maintenance_add_epoch(uint32_t *out, kl_epoch *epoch);

#endif
