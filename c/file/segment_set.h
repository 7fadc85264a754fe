/* segment_set: numbered files of one size, made ready ahead of their use, recycled after it.
 *
 *   segment-%016llx.kls   one header block, then data that are already allocated on the disk
 *   spare-%016llx.kls     a retired one, waiting to become a segment again
 *   segment-%016llx.tmp   being made; whoever opens the set for writing removes leftovers
 *
 * Header (4096 bytes, docs/format_segment.md): magic, version, uuid of the owner (a log), number,
 * first address, file size, flags, CRC-32C seeded with the uuid. A segment appears under its name whole:
 * allocated, header written, synced; then renamed; then the folder is synced. A fresh one holds
 * zeros behind the header, a recycled one the bytes of its former life: what is written there
 * must carry checksums that know uuid and address.
 *
 * Writers: one process, the holder of the folder's lock. Readers open a set READ_ONLY: it changes
 * nothing, and segments may vanish under it (KL_ERR_NOT_FOUND).
 * Always: a name segment-N.kls never stands for bytes that are not segment N, complete and synced.
 * Nobody writes to a segment before its name is durable.
 * Progress: prepare of a fresh segment writes and syncs all of it: run it ahead, on a service
 * thread. After a failed folder sync the set is poisoned, as a device is.
 *
 * May these run at the same time?  prepare  open  list  retire
 *                         prepare   yes*    yes   yes    yes
 *                         open      yes     yes   yes    yes*
 *                         list      yes     yes   yes    yes
 *                         retire    yes     yes*  yes    yes*   (* not for the same number)
 */
#ifndef KL_FILE_SEGMENT_SET_H
#define KL_FILE_SEGMENT_SET_H

#include "file/device.h"

#define KL_SEGMENT_VERSION           1u
#define KL_SEGMENT_HEADER_BYTES      KL_DEVICE_BLOCK_BYTES
#define KL_SEGMENT_BYTES_MIN         (2u * KL_DEVICE_BLOCK_BYTES)
#define KL_SEGMENT_BYTES_MAX         (1ull << 40)
#define KL_SEGMENT_SPARE_MAX_DEFAULT 2u
#define KL_SEGMENT_SPARE_MAX         64u
#define KL_SEGMENT_COUNT_MAX         (1u << 20) /* files a listing takes */

enum kl_segment_set_flag {
    KL_SEGMENT_SET_READ_ONLY = 1u << 0,
    KL_SEGMENT_SET_DIRECT = 1u << 1, /* open devices with KL_DEVICE_DIRECT */
};

typedef struct {
    uint8_t uuid[16]; /* of the owner: a segment of another one is KL_ERR_FOREIGN            */
    uint64_t segment_bytes; /* of new files, header included; a multiple of 4096. Existing ones
                               may have another size: their header says it                         */
    uint32_t spare_max; /* spares kept, at most KL_SEGMENT_SPARE_MAX                           */
    uint32_t flags;     /* kl_segment_set_flag                                                 */
} kl_segment_set_spec;

typedef struct {
    kl_device *device; /* the caller closes it with kl_device_close() */
    uint64_t number;
    uint64_t first_address; /* of the first byte behind the header     */
    uint64_t segment_bytes; /* file size; data = this - KL_SEGMENT_HEADER_BYTES */
    bool recycled;          /* what was not written in this life is not zeros, but anything */
} kl_segment;

/* One file of a listing. */
typedef struct {
    uint64_t number;
    uint64_t first_address;
    uint64_t segment_bytes;
    bool recycled;    /* as in kl_segment */
    int32_t status;   /* KL_OK, or why it cannot be used; then the fields above are 0 */
    char reason[200]; /* "" or the detail of that: file and expectation                    */
} kl_segment_entry;

typedef struct {
    kl_segment_entry *entries; /* by number, ascending; freed by kl_segment_listing_free() */
    uint32_t count;
    uint32_t damaged_count; /* entries whose status is not KL_OK                          */
    uint32_t gap_count;     /* places where numbers are missing between two entries       */
    uint64_t gap_after;     /* the number before the first gap, when there is one         */
} kl_segment_listing;

typedef struct kl_segment_set kl_segment_set;

/* `folder_fd` must stay open until close. A writable set removes leftovers, finds the
 * spares, and syncs the folder. */
int32_t kl_segment_set_open(kl_segment_set **out, int folder_fd, const kl_segment_set_spec *spec);

/* NULL is nothing. No call may be under way. */
void kl_segment_set_close(kl_segment_set *set);

/* Makes segment `number` appear: KL_OK, KL_ERR_EXISTS (also while another thread makes it),
 * KL_ERR_NO_SPACE and others: then nothing is left behind. */
int32_t kl_segment_set_prepare(kl_segment_set *set, uint64_t number, uint64_t first_address);

/* Opens it, for writing too unless the set is READ_ONLY. KL_ERR_NOT_FOUND (for a writer also while
 * it is being made: until the folder is synced its name may vanish); CORRUPT, TRUNCATED,
 * VERSION, FOREIGN with file and expectation. */
int32_t kl_segment_set_open_segment(kl_segment_set *set, uint64_t number, kl_segment *out);

/* All segments, each header checked. Damage is reported in the entries, not by the status. */
int32_t kl_segment_set_list(kl_segment_set *set, kl_segment_listing *out);
void kl_segment_listing_free(kl_segment_listing *listing);

/* Turns it into a spare, or removes it when there are enough; durable when it says KL_OK. What says
 * that it is not needed any more must be durable before. Devices that are open on it keep working,
 * but see its next life: close them first. */
int32_t kl_segment_set_retire(kl_segment_set *set, uint64_t number);

uint32_t kl_segment_set_spare_count(kl_segment_set *set);

/* Fills a 4096-byte header block as prepare would for a fresh segment: for tests and repair. */
void kl_segment_encode(uint8_t *block, const uint8_t *uuid, uint64_t number, uint64_t first_address,
                       uint64_t segment_bytes);

/* Checks a header block; `path` and `file_bytes` for the check and its message. */
int32_t kl_segment_decode(const uint8_t *block, const uint8_t *uuid, uint64_t number,
                          uint64_t file_bytes, const char *path, kl_segment *out);

#endif
