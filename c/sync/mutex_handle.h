/* mutex_handle: a mutex behind a handle, in a named region of its own (sync/mutex).
 *
 *   line 0  magic, version   written once by create
 *   line 1  the mutex        owners are threads (kl_shared_object_self)
 *   line 2  freed            event: notified after every unlock; waits on an event loop use it
 *
 * Always, death, progress: as in sync/mutex. What goes away while it owns the mutex (a closed
 * handle, an ended thread) abandons it at once; a killed process is found dead by whoever waits:
 * within KL_MUTEX_SLICE_NS by a blocking lock, within KL_EVENT_SLICE_NS by an event loop.
 * One handle belongs to the thread that opened it; another thread that calls with it owns for
 * itself, but its end does not abandon.
 * May these run at the same time?  any with any.
 */
#ifndef KL_SYNC_MUTEX_HANDLE_H
#define KL_SYNC_MUTEX_HANDLE_H

#include "sync/mutex.h"

enum kl_mutex_what { KL_MUTEX_FREE = 1 }; /* for kl_shared_object_wait: may be locked now */

KL_API int32_t kl_mutex_create(const uint8_t *name, uint32_t name_bytes, uint8_t *out);
KL_API int32_t kl_mutex_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out);
KL_API int32_t kl_mutex_close(uint32_t handle);
KL_API int32_t kl_mutex_remove(const uint8_t *name, uint32_t name_bytes);

/* KL_OK; KL_OWNER_DEAD: locked, repair first; KL_ERR_AGAIN: held by another; KL_ERR_LOCKED: by this
 * very thread. Asks after the owner's life only when `asking` is not 0. */
KL_API int32_t kl_mutex_take(uint32_t handle, uint32_t asking);
/* The same, blocking (for Workers): KL_ERR_TIMEOUT, KL_ERR_CLOSED. timeout_ms < 0: no limit. */
KL_API int32_t kl_mutex_take_within(uint32_t handle, double timeout_ms);
/* KL_ERR_LOCKED: not held by this thread. */
KL_API int32_t kl_mutex_give(uint32_t handle);
/* 1 held by this thread, 2 by another or by nobody alive, 0 free. */
KL_API int32_t kl_mutex_state(uint32_t handle);

#endif
