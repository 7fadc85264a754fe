/* counter_handle: a counter behind a handle, in a named region of its own (sync/counter).
 *
 *   recent   per thread: the handle it added through last, and its cell. Written by that thread only
 *
 * Always, death, progress: as in sync/counter. An add enters the handle once for each change of
 * handles of its thread; after that it asks with one load whether the handle is still open. The cell
 * outlives the handle (a closed region is never unmapped), and the thread's slot is given up on
 * the thread itself; a thread that closes a handle while the one that opened it adds may lose that add.
 * May these run at the same time?  any with any, but for close by a strange thread as above.
 */
#ifndef KL_SYNC_COUNTER_HANDLE_H
#define KL_SYNC_COUNTER_HANDLE_H

#include "base/status.h"

KL_API int32_t kl_counter_create(const uint8_t *name, uint32_t name_bytes, uint8_t *out);
KL_API int32_t kl_counter_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out);
KL_API int32_t kl_counter_close(uint32_t handle);
KL_API int32_t kl_counter_remove(const uint8_t *name, uint32_t name_bytes);

/* Adds a whole number, which may be negative. */
KL_API int32_t kl_counter_add(uint32_t handle, double amount);
KL_API int32_t kl_counter_add_i32(uint32_t handle, int32_t amount);
/* The sum, as a signed number of 64 bits, to `out`. */
KL_API int32_t kl_counter_sum(uint32_t handle, uint8_t *out);

#endif
