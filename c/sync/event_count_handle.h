/* event_count_handle: an event count behind a handle, in a named region of its own.
 *
 *   line 0  magic, version   written once by create
 *   line 1  the event count  as in sync/event_count
 *
 * Always, death, progress: as in sync/event_count. A key is the low 32 bits that a notify moves.
 * May these run at the same time?  any with any.
 */
#ifndef KL_SYNC_EVENT_COUNT_HANDLE_H
#define KL_SYNC_EVENT_COUNT_HANDLE_H

#include "sync/event_count.h"

#define KL_EVENT_COUNT_MAGIC   0x43454c4bu /* "KLEC" */
#define KL_EVENT_COUNT_VERSION 1u

enum kl_event_count_what { KL_EVENT_COUNT_MOVED = 1 }; /* argument: the key it has left */

KL_API int32_t kl_event_count_create(const uint8_t *name, uint32_t name_bytes, uint8_t *out);
KL_API int32_t kl_event_count_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out);
KL_API int32_t kl_event_count_close(uint32_t handle);
KL_API int32_t kl_event_count_remove(const uint8_t *name, uint32_t name_bytes);
/* The key to wait with, 0 to 2^32 - 1; < 0: KL_ERR_*. */
KL_API double kl_event_count_key(uint32_t handle);
KL_API int32_t kl_event_count_notify(uint32_t handle);

#endif
