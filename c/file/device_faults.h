/* device_faults: the seam's test side: breaks the n-th operation, and writes down all of them.
 *
 * One at a time per process. `start` installs it as the seam, `stop` takes it away and frees it.
 * Counting and records are guarded by its mutex, so threads may do I/O meanwhile; the getters are
 * for when they are quiet. For tests: recording keeps a copy of every byte written.
 *
 * A KL_DEBUG build reads KEELSON_FAULT_IO=<op>:<n>:<error>[:forever][,...] at the first use of a
 * device and breaks that operation of this process. <op> is read, write, sync, open, create,
 * rename, unlink, make_folder, sync_folder or any; <n> counts from 1; <error> is a name (EIO,
 * ENOSPC, EDQUOT, EACCES, EROFS, EMFILE, EFBIG, EINTR, EAGAIN), a number, KILL (the process
 * gets SIGKILL instead of the operation), or STALL<ms>. Up to 4 faults, separated by commas.
 */
#ifndef KL_FILE_DEVICE_FAULTS_H
#define KL_FILE_DEVICE_FAULTS_H

#include "file/device.h"

#define KL_DEVICE_FAULT_KILL (-1) /* as `error`: SIGKILL to this process */
#define KL_DEVICE_FAULTS_MAX 4u
#define KL_DEVICE_OPS_ALL    ((1u << KL_DEVICE_OP_COUNT) - 1)
#define KL_DEVICE_OPS_CHANGING \
    (KL_DEVICE_OPS_ALL & ~(1u << KL_DEVICE_OP_READ | 1u << KL_DEVICE_OP_OPEN))

typedef struct {
    uint32_t ops;          /* mask of 1 << KL_DEVICE_OP_*: what counts, and breaks             */
    uint64_t at_call;      /* the n-th of them, from 1; 0: never                               */
    bool forever;          /* that one and all later                                           */
    int error;             /* errno, KL_DEVICE_FAULT_KILL, or 0                                */
    bool after;            /* do it, then report the error                                     */
    uint64_t bytes_max;    /* transfer at most this many bytes                                 */
    uint32_t stall_ms;     /* sleep first                                                      */
    const char *path_part; /* count only operations whose path contains this; NULL: all        */
} kl_device_fault;

/* One operation as it happened. Only operations that were done (result >= 0) are recorded. */
typedef struct {
    uint32_t op;
    char *path;
    char *to;        /* renames, else NULL                  */
    uint64_t offset; /* writes                              */
    uint64_t bytes;  /* done                                */
    uint8_t *data;   /* writes: a copy of the bytes, else NULL */
} kl_device_record;

typedef struct kl_device_faults kl_device_faults;

/* `faults` may be NULL with count 0 (record only). NULL: no memory, or one is installed already. */
kl_device_faults *kl_device_faults_start(const kl_device_fault *faults, uint32_t count,
                                         bool record);
void kl_device_faults_stop(kl_device_faults *faults);

/* How many operations of the i-th fault's kind came by, and how many of them were broken. */
uint64_t kl_device_faults_calls(const kl_device_faults *faults, uint32_t i);
uint64_t kl_device_faults_hits(const kl_device_faults *faults, uint32_t i);

/* In the order they were done. Valid until stop. Reads and opens are not recorded. */
const kl_device_record *kl_device_faults_records(const kl_device_faults *faults, size_t *count);

/* Parses the text of KEELSON_FAULT_IO. KL_ERR_ARGUMENT names the part it does not understand. */
int32_t kl_device_faults_parse(const char *text, kl_device_fault *out, uint32_t *count);

/* Reads KEELSON_FAULT_IO and installs what it asks for. Called once by device.c in KL_DEBUG. */
void kl_device_faults_from_environment(void);

#endif
