/* manifest: the small state that says what a folder holds; replaced whole, old or new, never a mix.
 *
 * Two-slot form, for payloads up to KL_MANIFEST_PAYLOAD_BYTES_MAX: one file of two 4096-byte slots
 * (docs/format_manifest.md). A write puts the next sequence number into the older slot and syncs,
 * so the newer one stays whole until the next one is. Open takes the newest valid slot.
 *   sequence    even ones live in slot A, odd ones in slot B; 0: created, nothing written yet
 *   checksum    CRC-32C over the whole slot, seeded with the slot's index and the file's uuid
 * The form for large states (a file per state: temp, sync, rename, folder sync) will join it here.
 *
 * Writers: one process, the one that holds the folder's lock; its threads are taken in turn by the
 * manifest's mutex. Any number of processes read.
 * Always: after a crash at any point open gives the payload of the last write that returned KL_OK,
 * or that of the one in progress.
 * Progress: a write is one 4 KiB write and one sync. A failed one poisons the handle (device.h);
 * which payload won is known after the next open.
 */
#ifndef KL_FILE_MANIFEST_H
#define KL_FILE_MANIFEST_H

#include "file/device.h"

#define KL_MANIFEST_PAYLOAD_BYTES_MAX 4032u
#define KL_MANIFEST_VERSION           1u
#define KL_MANIFEST_UUID_BYTES        16u

enum kl_manifest_flag {
    KL_MANIFEST_CREATE = 1u << 0,    /* make it when it does not exist: temp, sync, rename, sync  */
    KL_MANIFEST_EXCLUSIVE = 1u << 1, /* with CREATE: KL_ERR_EXISTS when it exists                 */
    KL_MANIFEST_READ_ONLY = 1u << 2, /* each read looks at the file anew                          */
};

typedef struct {
    uint32_t kind;       /* whose state it is; another kind in the file is KL_ERR_FOREIGN        */
    uint32_t flags;      /* kl_manifest_flag                                                      */
    const uint8_t *uuid; /* 16 bytes: expected (else FOREIGN), and given to a new file; NULL: any */
} kl_manifest_spec;

/* What open found. */
typedef struct {
    bool created;
    bool fell_back;   /* one slot was damaged (`reason`): the payload is the other one's. A torn
                         write that nobody was told of, or rot: the owner may be able to tell.    */
    char reason[160]; /* "" or, of that slot: what was expected, what was there                   */
} kl_manifest_report;

typedef struct kl_manifest kl_manifest;

/* KL_ERR_NOT_FOUND; EXISTS; CORRUPT (both slots, with both reasons); TRUNCATED; VERSION (with the
 * number); FOREIGN (not a manifest, other kind, other uuid); and those of kl_device_open().
 * `report` may be NULL. */
int32_t kl_manifest_open(kl_manifest **out, int folder_fd, const char *name,
                         const kl_manifest_spec *spec, kl_manifest_report *report);

/* Copies the payload out: its bytes, KL_ERR_NOT_FOUND when none was ever written, KL_ERR_LIMIT when
 * `capacity` is too small. */
int32_t kl_manifest_read(kl_manifest *manifest, void *out, size_t capacity);

/* Durable when it says KL_OK. KL_ERR_LIMIT over KL_MANIFEST_PAYLOAD_BYTES_MAX. */
int32_t kl_manifest_write(kl_manifest *manifest, const void *payload, size_t bytes);

/* NULL is nothing. */
void kl_manifest_close(kl_manifest *manifest);

/* Sequence number of the payload kl_manifest_read() gives; 0: none written. */
uint64_t kl_manifest_sequence(kl_manifest *manifest);

/* 16 bytes, valid until close. */
const uint8_t *kl_manifest_uuid(const kl_manifest *manifest);

/* Fills one 4096-byte slot image as kl_manifest_write() would: for tests and repair. */
void kl_manifest_encode(uint8_t *slot, uint32_t index, uint32_t kind, uint64_t sequence,
                        const uint8_t *uuid, const void *payload, uint32_t bytes);

/* For the FFI: a handle of kind MANIFEST (> 0), or a status (< 0). */
KL_API double kl_manifest_handle_open(const uint8_t *path, uint32_t path_bytes, uint32_t kind,
                                      uint32_t flags);
KL_API int32_t kl_manifest_handle_read(uint32_t handle, uint8_t *out, uint32_t capacity);
KL_API int32_t kl_manifest_handle_write(uint32_t handle, const uint8_t *payload, uint32_t bytes);
KL_API int32_t kl_manifest_handle_close(uint32_t handle);

#endif
