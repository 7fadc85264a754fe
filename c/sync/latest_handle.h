/* latest_handle: a latest value behind a handle, in a named region of its own (sync/latest).
 *
 * Always, death, progress: as in sync/latest. The first set makes the calling thread the writer; the
 * role is given up when the handle is closed or its thread ends, and taken over from a dead one.
 * May these run at the same time?  any with any; set is one thread's, the others are refused.
 */
#ifndef KL_SYNC_LATEST_HANDLE_H
#define KL_SYNC_LATEST_HANDLE_H

#include "base/status.h"

enum kl_latest_what { KL_LATEST_NEWER = 1 }; /* argument: low 32 bits of the version it has left */

KL_API int32_t kl_latest_create(const uint8_t *name, uint32_t name_bytes, double value_bytes,
                                uint8_t *out);
KL_API int32_t kl_latest_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out);
KL_API int32_t kl_latest_close(uint32_t handle);
KL_API int32_t kl_latest_remove(const uint8_t *name, uint32_t name_bytes);

/* Sets and notifies. KL_ERR_LOCKED: another live thread is the writer. */
KL_API int32_t kl_latest_put(uint32_t handle, const uint8_t *value, uint32_t bytes);
/* kl_latest_get; `out_version` gets its version, f64. */
KL_API int32_t kl_latest_take(uint32_t handle, uint8_t *out, uint32_t capacity,
                              uint8_t *out_version);
KL_API double kl_latest_number(uint32_t handle); /* the newest version; < 0: KL_ERR_* */
KL_API int32_t kl_latest_value_bytes(uint32_t handle);

#endif
