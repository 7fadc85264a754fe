/* folder: a data folder, and the lock that lets one writer in and names it to the others.
 *
 *   the folder  mode 0700 when we make it (its parent is synced then); never reached through a
 *               link at its last part; owned by this user; not writable by others; not on a network
 *               file system, whose locks and syncs keep no promise, unless a flag insists.
 *   LOCK        a file in it. The lock is an OFD byte lock on that file and a flock on the folder
 *               itself (so that deleting LOCK lets nobody in). The kernel drops both when the
 *               process ends, however it ends: nothing is ever stale. LOCK's text (pid, start time,
 *               boot id, program) is for messages only; no decision is taken from it.
 *
 * Writers: a folder belongs to the thread that opened it; getters may run on any thread.
 * Always: at most one locked kl_folder per folder on a host, also within one process.
 * Progress: one try; a held lock is KL_ERR_LOCKED at once, never a wait.
 */
#ifndef KL_FILE_FOLDER_H
#define KL_FILE_FOLDER_H

#include "base/status.h"

#define KL_FOLDER_LOCK_NAME      "LOCK"
#define KL_FOLDER_NAME_BYTES_MAX 255u

enum kl_folder_flag {
    KL_FOLDER_CREATE = 1u << 0,          /* make it (last part only) when it does not exist */
    KL_FOLDER_READ_ONLY = 1u << 1,       /* for readers: never locked, any owner            */
    KL_FOLDER_ANY_FILE_SYSTEM = 1u << 2, /* network file systems too                        */
};

typedef struct kl_folder kl_folder;

/* KL_ERR_NOT_FOUND, PERMISSION, NETWORK_FS, FOREIGN (not a folder), NAME, IO. */
int32_t kl_folder_open(kl_folder **out, const char *path, uint32_t flags);

/* Takes the lock. `program` says who we are ("keelson broker"); NULL: the process's name.
 * KL_ERR_LOCKED with "<path> is in use by process 1234 (keelson broker), started 12:03:11; stop it
 * or use another folder". KL_ERR_ARGUMENT on a read-only folder. */
int32_t kl_folder_lock(kl_folder *folder, const char *program);

/* Unlocks too. NULL is nothing. LOCK stays: removing it would race with the next owner. */
void kl_folder_close(kl_folder *folder);

/* For kl_device_open() and the kl_device_* folder operations. Valid until close. */
int kl_folder_fd(const kl_folder *folder);

/* Absolute where it could be found out. Valid until close. */
const char *kl_folder_path(const kl_folder *folder);

/* Makes renames, new files and unlinks in it durable. */
int32_t kl_folder_sync(kl_folder *folder);

/* A name that may become one path part: 1 to 255 bytes, no '/', no NUL, not "." or "..".
 * KL_ERR_NAME says which rule. Everything that comes from outside goes through here. */
int32_t kl_folder_path_check(const char *name, size_t bytes);

/* Who holds the lock of the folder at `path`: "process 1234 (keelson broker), started 12:03:11".
 * Answers the bytes written (NUL ended, cut at capacity), 0 when nobody does, or an error. Takes
 * no lock, so it never disturbs one who tries to. */
int32_t kl_folder_holder_text(const char *path, char *out, size_t capacity);

/* A text from the FFI as a C string: KL_ERR_NAME when it is empty, holds a NUL or does not fit. */
int32_t kl_folder_text(const uint8_t *utf8, uint32_t bytes, char *out, size_t capacity);

/* The name of a network file system by its statfs magic ("NFS"), NULL for all others. */
const char *kl_folder_network_name(uint64_t magic);

/* For the FFI: a handle of kind FOLDER (> 0), or a status (< 0). Opens, and locks unless READ_ONLY;
 * `program` may be NULL with 0 bytes. */
KL_API double kl_folder_handle_open(const uint8_t *path, uint32_t path_bytes,
                                    const uint8_t *program, uint32_t program_bytes, uint32_t flags);
KL_API int32_t kl_folder_handle_close(uint32_t handle);

/* kl_folder_holder_text for the FFI, without the NUL. */
KL_API int32_t kl_folder_holder(const uint8_t *path, uint32_t path_bytes, uint8_t *out,
                                uint32_t capacity);

#endif
