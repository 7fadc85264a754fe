/* ordered_lock_handle: a mutex with a place in an order, behind a handle, in a named region of its own.
 *
 *   line 0-1  magic, version, rank, key, class name   written once by create
 *   line 2    the mutex                               owners are threads
 *   line 3    freed                                   event, notified after every unlock
 *
 * The class, rank and key lie with the lock, so all processes mean the same order by it; what is held,
 * and the graph, are of each process (sync/ordered_lock). The mutex: sync/mutex_handle.
 * Sites are numbers of texts that were given once (kl_order_site); 0 is none. The caller need not find
 * out where it is before that is of use: a call without a site answers KL_ORDERED_LOCK_SITE_WANTED, and
 * has done nothing, when an edge is new or a rule would be broken.
 * May these run at the same time?  any with any.
 */
#ifndef KL_SYNC_ORDERED_LOCK_HANDLE_H
#define KL_SYNC_ORDERED_LOCK_HANDLE_H

#include "base/status.h"

#define KL_ORDERED_LOCK_MAGIC       0x4c4f4c4bu /* "KLOL" */
#define KL_ORDERED_LOCK_VERSION     1u
#define KL_ORDERED_LOCK_SITE_WANTED 2
#define KL_ORDERED_LOCK_CHECKED     4 /* bit of a success: the checker is on */
#define KL_ORDER_SITES_MAX          4096u

/* key: 0 to 2^53. KL_ERR_ARGUMENT, KL_ERR_EXISTS (the class has another rank in this process). */
KL_API int32_t kl_ordered_lock_create(const uint8_t *name, uint32_t name_bytes, uint32_t rank,
                                      double key, const uint8_t *class_name,
                                      uint32_t class_name_bytes, uint8_t *out);
KL_API int32_t kl_ordered_lock_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out);
KL_API int32_t kl_ordered_lock_close(uint32_t handle);
KL_API int32_t kl_ordered_lock_remove(const uint8_t *name, uint32_t name_bytes);

/* Without waiting: KL_OK or KL_OWNER_DEAD (with KL_ORDERED_LOCK_CHECKED), KL_ERR_AGAIN, KL_ERR_LOCKED
 * (held by this thread). */
KL_API int32_t kl_ordered_lock_try(uint32_t handle, uint32_t site);
/* Blocking, for Workers: also KL_ORDERED_LOCK_SITE_WANTED, KL_ERR_TIMEOUT, KL_ERR_CLOSED. */
KL_API int32_t kl_ordered_lock_take_within(uint32_t handle, double timeout_ms, uint32_t site);
KL_API int32_t kl_ordered_lock_give(uint32_t handle); /* KL_ERR_LOCKED: not held by this thread */
KL_API int32_t kl_ordered_lock_set_site(uint32_t handle, uint32_t site); /* of one that is held */
/* {u32 rank, u32 bytes of the class name, f64 key, class name} to `out` of 80 bytes. */
KL_API int32_t kl_ordered_lock_about(uint32_t handle, uint8_t *out);

KL_API void kl_order_turn(uint32_t on); /* kl_order_check */
/* The number of a text, the same for the same one; KL_ERR_LIMIT: KL_ORDER_SITES_MAX are known. */
KL_API int32_t kl_order_site(const uint8_t *text, uint32_t bytes);
KL_API double kl_order_told(void); /* reports so far */
/* A report as lines: kind (a number), held class, held site, held key, acquired class, site, key,
 * earlier held site, earlier acquired site. The bytes; KL_ERR_NOT_FOUND, KL_ERR_LIMIT (`capacity`). */
KL_API int32_t kl_order_tell(double index, uint8_t *out, uint32_t capacity);
/* acquired, tried, released, edges, classes, depth_max, violations of each kind, f64 each. */
KL_API int32_t kl_order_counts_to(uint8_t *out, uint32_t capacity);

#endif
