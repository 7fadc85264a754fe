/* region_file: the file under a shared mapping: where it lies, who may have touched it, how it is
 * born whole.
 *
 * A new file is a temporary one, ".keelson-new-<16 hex digits>", in the folder of its final name,
 * until kl_region_file_publish renames it; so nobody sees a half-formatted one under its name. Its
 * maker holds a lock on byte KL_REGION_MAKER_BYTE of it. A temporary file whose byte is free
 * belongs to a maker that died, and the next maker in that folder removes it. (A folder's first
 * KL_REGION_SWEEP_MAX entries are looked at.)
 *
 * Locks are open-file-description locks on bytes far behind any file's end: they belong to one
 * open of the file, not to a process, and the kernel drops them when it is closed or its owner
 * dies. A child made by fork() shares its parent's; one made by exec has none (O_CLOEXEC).
 *
 * Refused: anything but a regular file with one name, owned by this user, closed to everyone else;
 * symbolic links; network file systems, whose locks and mappings do not keep these promises.
 *
 * Any thread may call anything here; all state is in the file system.
 */
#ifndef KL_MEM_REGION_FILE_H
#define KL_MEM_REGION_FILE_H

#include "base/status.h"

#define KL_REGION_TEMPORARY_BYTES 32
#define KL_REGION_SWEEP_MAX       4096

/* Byte offsets of the locks. */
#define KL_REGION_LOCKS            0x4000000000000000ll
#define KL_REGION_PARTICIPANT_BYTE (KL_REGION_LOCKS + 0)
#define KL_REGION_THREAD_BYTE      (KL_REGION_LOCKS + 64)
#define KL_REGION_MAKER_BYTE       (KL_REGION_LOCKS + 128)

/* A file that has no name yet. */
typedef struct {
    int file;                                  /* open for reading and writing, -1: none   */
    int folder;                                /* of the final name, -1: a memfd           */
    char temporary[KL_REGION_TEMPORARY_BYTES]; /* name in folder while unpublished, "": none */
} kl_region_file;

/* Makes a file of `bytes` zeros, all of them reserved, that will be called `path`. NULL: a sealed
 * memfd. KL_ERR_NO_SPACE, and nothing left behind, where they do not fit. */
int32_t kl_region_file_make(kl_region_file *out, const char *path, uint64_t bytes,
                            bool allow_network);

/* Gives it its name. KL_ERR_EXISTS when the name is taken; the file stays unpublished. */
int32_t kl_region_file_publish(kl_region_file *made, const char *path);

/* Closes what is open, and removes the temporary file when it was not published. */
void kl_region_file_drop(kl_region_file *made);

/* Opens an existing one; the descriptor, or an error. */
int32_t kl_region_file_open(const char *path, bool allow_network);

/* Another open of the file behind `file`, with locks of its own. */
int32_t kl_region_file_reopen(int file);

/* Makes and checks this user's own folder for named regions, /dev/shm/keelson-<uid>. */
int32_t kl_region_file_own_folder(char *out, size_t capacity);

/* KL_OK: the byte is locked by this open file. KL_ERR_AGAIN (no detail): by another. */
int32_t kl_region_file_lock(int file, int64_t byte);
void kl_region_file_unlock(int file, int64_t byte);

/* True when an open file other than this one holds a lock on the byte. */
bool kl_region_file_locked_elsewhere(int file, int64_t byte);

#endif
