/* device_measure: what the disk under a folder can do at best, for rows that compare with it.
 *
 * A temp file in the folder is written once whole (so that blocks are allocated, as in a recycled
 * segment) and measured. It is unlinked right after its creation, so a killed bench leaves nothing.
 * Not through the seam.
 */
#ifndef KL_FILE_DEVICE_MEASURE_H
#define KL_FILE_DEVICE_MEASURE_H

#include "base/status.h"

#define KL_DEVICE_MEASURE_BYTES_MAX (4ull << 30) /* block_bytes * count of mode 1 */

enum kl_device_measure_mode {
    /* Median nanoseconds of one synchronous overwrite of block_bytes, `count` rounds each way: the
     * best of pwrite + fdatasync and, where it works, O_DIRECT|O_DSYNC. */
    KL_DEVICE_MEASURE_SYNC = 0,
    /* Bytes per second of overwriting block_bytes * count in order, the sync at the end included:
     * the best of buffered, direct, and direct with two in flight. */
    KL_DEVICE_MEASURE_STREAM = 1,
};

/* The figure (> 0), or a status (< 0). block_bytes: a multiple of 4096, at most 64 MiB. */
/* ffi: nonblocking */
KL_API double kl_device_measure(const uint8_t *folder, uint32_t folder_bytes, uint32_t mode,
                                uint32_t block_bytes, uint32_t count);

#endif
