/* sleep_lock_handle: a sleep lock behind a handle, in a named region of its own (sync/sleep_lock).
 *
 * Always, death, progress: as in sync/sleep_lock. Ids are of threads (kl_shared_object_self), so one
 * handle belongs to the thread that opened it. What goes away (a closed handle, an ended thread)
 * leaves the queue at once; a killed process is found by those who wait, within KL_EVENT_SLICE_NS.
 * Tickets cross the border as doubles: whole up to 2^53.
 * May these run at the same time?  any with any.
 */
#ifndef KL_SYNC_SLEEP_LOCK_HANDLE_H
#define KL_SYNC_SLEEP_LOCK_HANDLE_H

#include "base/status.h"

/* argument: the low 32 bits of a ticket that has the lock, or is no longer in the queue. */
enum kl_sleep_lock_what { KL_SLEEP_LOCK_TURN = 1 };

KL_API int32_t kl_sleep_lock_create(const uint8_t *name, uint32_t name_bytes, uint32_t places,
                                    uint8_t *out);
KL_API int32_t kl_sleep_lock_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out);
KL_API int32_t kl_sleep_lock_close(uint32_t handle);
KL_API int32_t kl_sleep_lock_remove(const uint8_t *name, uint32_t name_bytes);

/* kl_sleep_lock_enter, or kl_sleep_lock_try_lock when `waiting` is 0. `out` gets the ticket, f64. */
KL_API int32_t kl_sleep_lock_take(uint32_t handle, uint32_t waiting, uint8_t *out);
/* kl_sleep_lock_lock: blocks. KL_ERR_CLOSED: the handle was closed meanwhile. */
KL_API int32_t kl_sleep_lock_take_within(uint32_t handle, double timeout_ms, uint8_t *out);
KL_API int32_t kl_sleep_lock_ask(uint32_t handle, double ticket);  /* kl_sleep_lock_look */
KL_API int32_t kl_sleep_lock_give(uint32_t handle, double ticket); /* kl_sleep_lock_leave */
KL_API int32_t kl_sleep_lock_waiting(uint32_t handle);             /* kl_sleep_lock_count */

#endif
