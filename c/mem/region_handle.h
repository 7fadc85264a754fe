/* region_handle: regions for the other side of the FFI, as handles of kind REGION.
 *
 * `where` says what the name is: KL_REGION_BY_NAME (a named region of this user), KL_REGION_BY_PATH
 * (a file), KL_REGION_UNNAMED (create only: a memfd; the name is not looked at).
 * Opened regions are joined with `role`, published when created, and left when closed.
 * A handle belongs to the thread that opened it: when that thread ends (a Worker that finished or was
 * terminated), it is closed, so that others see its participant gone.
 *
 * Reads and writes copy plain bytes: ordering and atomicity are the affair of whatever protocol the
 * bytes are part of. Offsets count from the data's beginning.
 * Any thread may call anything at any time until then; a close waits for nobody and takes effect after the
 * last call inside has returned.
 */
#ifndef KL_MEM_REGION_HANDLE_H
#define KL_MEM_REGION_HANDLE_H

#include "base/status.h"

#define KL_REGION_BY_NAME 0u
#define KL_REGION_BY_PATH 1u
#define KL_REGION_UNNAMED 2u

#define KL_REGION_PREFAULT      1u /* flag: touch every page now           */
#define KL_REGION_ALLOW_NETWORK 2u /* flag: accept a network file system   */

/* The region kind of bytes that are the caller's own affair: "PLAI". */
#define KL_REGION_KIND_PLAIN 0x49414c50u

/* layout: kl_region_request data_bytes where flags kind layout_hash role unused */
typedef struct {
    double data_bytes; /* create only */
    uint32_t where;
    uint32_t flags;
    uint32_t kind;
    uint32_t layout_hash;
    uint32_t role;
    uint32_t unused;
} kl_region_request;

/* Create, or attach; `request` is a kl_region_request, `out` gets the u32 handle. */
KL_API int32_t kl_region_handle_create(const uint8_t *name, uint32_t name_bytes,
                                       const uint8_t *request, uint8_t *out);
KL_API int32_t kl_region_handle_attach(const uint8_t *name, uint32_t name_bytes,
                                       const uint8_t *request, uint8_t *out);

KL_API int32_t kl_region_handle_close(uint32_t handle);

/* Bytes of data; a negative status for a handle that is not one. */
KL_API double kl_region_handle_bytes(uint32_t handle);

/* Copies [offset, offset + bytes) out, or in. KL_ERR_ARGUMENT beyond the end, KL_ERR_POISONED when
 * the region is (also when it became so under the copy). */
KL_API int32_t kl_region_handle_read(uint32_t handle, double offset, uint8_t *into, uint32_t bytes);
KL_API int32_t kl_region_handle_write(uint32_t handle, double offset, const uint8_t *from,
                                      uint32_t bytes);

/* Where the data lies in this process; 0 for a handle that is not one. Good for ever: see region.h
 * on what is there after close. */
KL_API uint64_t kl_region_handle_address(uint32_t handle);

/* Fills `out` with up to `count_max` kl_participant; how many there are. */
KL_API int32_t kl_region_handle_participants(uint32_t handle, uint8_t *out, uint32_t count_max);

/* This handle's own participant id; 0 for a handle that is not one. */
KL_API uint32_t kl_region_handle_self(uint32_t handle);

/* KL_OK, or KL_ERR_POISONED with the reason. */
KL_API int32_t kl_region_handle_check(uint32_t handle);

/* Frees the places of participants that died; how many. */
KL_API int32_t kl_region_handle_reap(uint32_t handle);

/* Removes the name of a region that lies `where`. */
KL_API int32_t kl_region_handle_unlink(const uint8_t *name, uint32_t name_bytes, uint32_t where);

/* The file's path as UTF-8, cut at `capacity`; its bytes, 0 for an unnamed one, or a status. */
KL_API int32_t kl_region_handle_path(uint32_t handle, uint8_t *out, uint32_t capacity);

#endif
