/* device: one open file with positioned I/O that is whole or failed, and fails for ever.
 *
 *   kl_device   an open regular file. Transfers finish short ones and retry EINTR and EAGAIN;
 *               everything is positioned, so threads share a device without a file position.
 *   failure     after the first failed write or sync the device is poisoned: every later write
 *               and sync gives the same status and the same detail and touches nothing. A sync is
 *               never retried: the kernel reports a lost page once, then says all is well. Reads
 *               still work. Only close and open again clear it.
 *   direct      asked for by flag, probed at open, given up silently where the file system or the
 *               device refuses it; kl_device_direct_align() says what came of it. Aligned writes
 *               then bypass the page cache; unaligned ones, and all reads, go through it.
 *   the seam    every operation here, also those on folders below, asks one process-global
 *               kl_device_seam first (device_faults.h installs one): it may fail, shorten, delay
 *               or record it. Off, it costs one predictable branch.
 *
 * Writers: a device's failure state is guarded by its mutex, the rest is read-only after open; the
 * seam pointer is written by kl_device_seam_install() only.
 * Always: files are opened O_NOFOLLOW|O_CLOEXEC, are regular, and belong to this user; new ones
 * have mode 0600. A writable open makes SIGXFSZ an error (EFBIG) instead of the process's end.
 * Progress: blocks on the disk. Never call it from an event loop, but in `open*` and `*Sync`.
 *
 * May these run at the same time, on one device?  read  write  sync  close
 *                                           read   yes   yes    yes   no
 *                                           write  yes   yes*   yes   no
 *                                           sync   yes   yes    yes   no
 *                                           (* not on the same bytes)
 */
#ifndef KL_FILE_DEVICE_H
#define KL_FILE_DEVICE_H

#include "base/status.h"

#include <fcntl.h>

/* Direct transfers of this alignment work on every device; headers and slots are this big. */
#define KL_DEVICE_BLOCK_BYTES 4096u

/* kl_device_zero_fill() writes so much at a time. */
#define KL_DEVICE_ZERO_CHUNK_BYTES (1u << 20)

enum kl_device_flag {
    KL_DEVICE_WRITE = 1u << 0,     /* read and write; else read only                              */
    KL_DEVICE_CREATE = 1u << 1,    /* make it, mode 0600, when it does not exist                  */
    KL_DEVICE_EXCLUSIVE = 1u << 2, /* with CREATE: KL_ERR_EXISTS when it exists                   */
    KL_DEVICE_DIRECT = 1u << 3,    /* bypass the page cache where that is possible                */
    KL_DEVICE_ANY_OWNER = 1u << 4, /* also another user's file: for inspection, never for writing */
    KL_DEVICE_OVERLAP = 1u << 5,   /* two syncs at a time instead of one, on two descriptors      */
};

typedef struct kl_device kl_device;

/* Opens `name` below the folder `folder_fd` (AT_FDCWD: a path). The last part is never followed
 * as a link. KL_ERR_NOT_FOUND, EXISTS, PERMISSION (also: another user's file), FOREIGN (not a
 * regular file), IO. The device's path, for messages, is made whole where the system can tell. */
int32_t kl_device_open(kl_device **out, int folder_fd, const char *name, uint32_t flags);

/* NULL is nothing. Does not sync. */
void kl_device_close(kl_device *device);

/* Reads until `bytes` are there or the file ends. `done` (may be NULL) gets the count; without it
 * an early end is KL_ERR_TRUNCATED. */
int32_t kl_device_read_at(kl_device *device, uint64_t offset, void *out, size_t bytes,
                          size_t *done);

int32_t kl_device_write_at(kl_device *device, uint64_t offset, const void *data, size_t bytes);

/* fdatasync: what was written before the call, by anybody, is on the disk when it says KL_OK. The
 * kernel reports a lost page once per descriptor, so two threads never sync on the same one: they
 * take turns, or with KL_DEVICE_OVERLAP use one each and both hear of it. */
int32_t kl_device_sync(kl_device *device);

/* One write that is on the disk when it returns (pwritev2 RWF_DSYNC, direct where the device is;
 * else write and fdatasync). Promises nothing about earlier writes. */
int32_t kl_device_write_sync_at(kl_device *device, uint64_t offset, const void *data, size_t bytes);

int32_t kl_device_size(kl_device *device, uint64_t *bytes);

/* Writes zeros over [offset, offset + bytes), growing the file. Real zeros, not posix_fallocate:
 * data written into extents the journal still calls unwritten vanish in a power cut. Not synced. */
int32_t kl_device_zero_fill(kl_device *device, uint64_t offset, uint64_t bytes);

/* Tells the kernel that these clean pages will not be read soon (bytes 0: to the end). Advice. */
void kl_device_dontneed(kl_device *device, uint64_t offset, uint64_t bytes);

/* KL_OK, or the sticky failure (and its detail again). */
int32_t kl_device_failure(kl_device *device);

/* 0: buffered. Else offset, bytes and address of a write must be multiples of this to go direct. */
uint32_t kl_device_direct_align(const kl_device *device);

/* The descriptor, for locks. I/O on it would pass by the seam and the failure state. */
int kl_device_fd(const kl_device *device);

/* For messages: absolute where it could be found out. Valid until close. */
const char *kl_device_path(const kl_device *device);

/* Folder operations through the same seam. Names are single parts below `folder_fd`; what is
 * renamed or unlinked is durable only after kl_device_sync_folder(). */
int32_t kl_device_rename(int folder_fd, const char *from, const char *to);     /* replaces `to`  */
int32_t kl_device_rename_new(int folder_fd, const char *from, const char *to); /* or ..._EXISTS  */
int32_t kl_device_unlink(int folder_fd, const char *name);
int32_t kl_device_make_folder(int folder_fd, const char *name); /* mode 0700, KL_ERR_EXISTS      */
int32_t kl_device_sync_folder(int folder_fd);

/* The seam. */

enum kl_device_op {
    KL_DEVICE_OP_READ = 0,
    KL_DEVICE_OP_WRITE = 1,
    KL_DEVICE_OP_SYNC = 2,
    KL_DEVICE_OP_OPEN = 3,   /* of a file that must exist             */
    KL_DEVICE_OP_CREATE = 4, /* open that may or must make the file   */
    KL_DEVICE_OP_RENAME = 5,
    KL_DEVICE_OP_UNLINK = 6,
    KL_DEVICE_OP_MAKE_FOLDER = 7,
    KL_DEVICE_OP_SYNC_FOLDER = 8,
    KL_DEVICE_OP_COUNT = 9,
};

typedef struct {
    uint32_t op;
    const char *path; /* of the file or folder                            */
    const char *to;   /* the new path of a rename, else NULL              */
    uint64_t offset;  /* of reads and writes                              */
    uint64_t bytes;   /* asked for                                        */
    const void *data; /* what is to be written, else NULL                 */
} kl_device_call;

/* All zero: go on as usual. */
typedef struct {
    int error;          /* errno to fail with, 0: none                                          */
    bool after;         /* fail only after the operation was done (a lost answer)               */
    uint64_t bytes_max; /* a short transfer: at most so many bytes this time; 0: no limit       */
} kl_device_verdict;

typedef struct {
    void *context;
    /* Asked before each attempt, on the calling thread; it may sleep, or kill the process. */
    void (*before)(void *context, const kl_device_call *call, kl_device_verdict *verdict);
    /* Told after each attempt: bytes done (0 for others), or -errno. */
    void (*after)(void *context, const kl_device_call *call, int64_t result);
} kl_device_seam;

/* Installs the seam, NULL takes it away. The struct must live until it is away and every call that
 * began before has returned. A KL_DEBUG build installs one by itself when KEELSON_FAULT_IO is set
 * (device_faults.h). */
void kl_device_seam_install(const kl_device_seam *seam);

#endif
