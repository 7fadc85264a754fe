#include "file/device.h"

#include "file/device_faults.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Attempts without progress (EINTR, EAGAIN) before the operation counts as failed. */
#define RETRY_MAX 1000u

/* One transfer asks the kernel for at most this much; its own limit is just under 2 GiB. */
#define TRANSFER_BYTES_MAX (1u << 30)

#define SYNC_FD_COUNT 2

struct kl_device {
    int fd;        /* through the page cache                 */
    int direct_fd; /* past it; -1: not asked for, or refused */
    bool writable;
    pthread_mutex_t mutex; /* guards all below but the path */
    pthread_cond_t sync_fd_free;
    int sync_fds[SYNC_FD_COUNT]; /* [0] is fd; -1: there is no second one */
    bool sync_fd_busy[SYNC_FD_COUNT];
    int32_t failure; /* KL_OK, or sticky */
    char failure_text[KL_DETAIL_BYTES_MAX + 1];
    char path[];
};

/* ---- the seam ---- */

static const kl_device_seam *_Atomic current_seam;

void kl_device_seam_install(const kl_device_seam *seam) {
    /* release: partner is the acquire in carry_out(); publishes what the struct holds. */
    atomic_store_explicit(&current_seam, seam, memory_order_release);
}

/* Does one attempt; answers bytes done or 0, else -errno. */
typedef int64_t (*operation)(const kl_device_call *call, void *argument);

static int64_t carry_out(const kl_device_call *call, operation run, void *argument) {
    /* acquire: partner is the release in kl_device_seam_install(). */
    const kl_device_seam *seam = atomic_load_explicit(&current_seam, memory_order_acquire);
    if (__builtin_expect(seam == NULL, 1)) return run(call, argument);
    kl_device_call now = *call;
    kl_device_verdict verdict = {0};
    seam->before(seam->context, &now, &verdict);
    if (verdict.bytes_max > 0 && verdict.bytes_max < now.bytes) now.bytes = verdict.bytes_max;
    bool fails = verdict.error != 0;
    int64_t result = fails && !verdict.after ? -verdict.error : run(&now, argument);
    seam->after(seam->context, &now, result);
    return fails && result >= 0 ? -verdict.error : result;
}

static void prepare_process(void) {
    /* Past RLIMIT_FSIZE the kernel's default is to end the process; ignored, the write says EFBIG.
     * Somebody's own handler stays. */
    struct sigaction action;
    if (sigaction(SIGXFSZ, NULL, &action) == 0 && action.sa_handler == SIG_DFL) {
        action.sa_handler = SIG_IGN;
        (void)sigaction(SIGXFSZ, &action, NULL);
    }
#ifdef KL_DEBUG
    kl_device_faults_from_environment();
#endif
}

static void prepare_process_once(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, prepare_process);
}

/* True: the attempt was only disturbed and may be repeated. */
static bool again(int64_t result, uint32_t *idle) {
    if (result != -EINTR && result != -EAGAIN) return false;
    if (++*idle > RETRY_MAX) return false;
    if (result == -EAGAIN) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return true;
}

/* `name` below the folder as an absolute path if that can be found out. Cut at `capacity`. */
static void whole_path(char *out, size_t capacity, int folder_fd, const char *name) {
    char folder[PATH_MAX];
    folder[0] = '\0';
    if (name[0] != '/' && folder_fd == AT_FDCWD) {
        if (getcwd(folder, sizeof folder) == NULL) folder[0] = '\0';
    } else if (name[0] != '/') {
        char link[48];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder_fd);
        ssize_t bytes = readlink(link, folder, sizeof folder - 1);
        folder[bytes > 0 ? bytes : 0] = '\0';
    }
    if (name[0] == '\0') {
        snprintf(out, capacity, "%s", folder);
    } else {
        snprintf(out, capacity, "%s%s%s", folder, folder[0] != '\0' ? "/" : "", name);
    }
}

/* ---- open and close ---- */

typedef struct {
    int folder_fd;
    const char *name;
    int flags;
} open_argument;

static int64_t run_open(const kl_device_call *call, void *argument) {
    (void)call;
    const open_argument *open_this = argument;
    int fd = openat(open_this->folder_fd, open_this->name, open_this->flags, 0600);
    return fd < 0 ? -errno : fd;
}

static int32_t open_failed(int error, const char *path) {
    if (error == ELOOP)
        return kl_fail(KL_ERR_FOREIGN, "%s is a symbolic link, which is never followed", path);
    if (error == ENAMETOOLONG)
        return kl_fail(KL_ERR_NAME, "a part of %s has more than %d bytes", path, NAME_MAX);
    if (error == EISDIR || error == ENXIO || error == ENODEV)
        return kl_fail(KL_ERR_FOREIGN, "%s is not a regular file", path);
    return kl_fail_errno(KL_ERR_IO, error, "open %s", path);
}

static int32_t check_opened(int fd, uint32_t flags, const char *path) {
    struct stat status;
    if (fstat(fd, &status) != 0) return kl_fail_errno(KL_ERR_IO, errno, "look at %s", path);
    if (!S_ISREG(status.st_mode)) return kl_fail(KL_ERR_FOREIGN, "%s is not a regular file", path);
    bool any_owner = (flags & KL_DEVICE_ANY_OWNER) && !(flags & KL_DEVICE_WRITE);
    if (!any_owner && status.st_uid != geteuid())
        return kl_fail(KL_ERR_PERMISSION, "%s belongs to user %u, not to user %u who runs this",
                       path, status.st_uid, geteuid());
    /* O_NONBLOCK was for a FIFO in the file's place; left on, io_uring would answer EAGAIN. */
    int modes = fcntl(fd, F_GETFL);
    if (modes >= 0) (void)fcntl(fd, F_SETFL, modes & ~O_NONBLOCK);
    return KL_OK;
}

/* A second descriptor of the same file with more open flags; -1 when that cannot be had. */
static int open_twin(int fd, int folder_fd, const char *name, int flags) {
    int twin = openat(folder_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | flags);
    if (twin < 0) return -1;
    struct stat first, second;
    if (fstat(fd, &first) == 0 && fstat(twin, &second) == 0 && first.st_dev == second.st_dev &&
        first.st_ino == second.st_ino)
        return twin;
    (void)close(twin);
    errno = ESTALE;
    return -1;
}

/* Some file systems take the flag and refuse the transfer: try one. */
static int probe_direct(int fd, int folder_fd, const char *name) {
    int direct_fd = open_twin(fd, folder_fd, name, O_DIRECT);
    if (direct_fd < 0) return -1;
    void *block = NULL;
    if (posix_memalign(&block, KL_DEVICE_BLOCK_BYTES, KL_DEVICE_BLOCK_BYTES) == 0 &&
        pread(direct_fd, block, KL_DEVICE_BLOCK_BYTES, 0) < 0) {
        (void)close(direct_fd);
        direct_fd = -1;
    }
    free(block);
    return direct_fd;
}

static kl_device *new_device(int fd, bool writable, const char *path) {
    size_t path_bytes = strlen(path) + 1;
    kl_device *device = calloc(1, sizeof *device + path_bytes);
    if (device == NULL) return NULL;
    device->fd = device->sync_fds[0] = fd;
    device->direct_fd = device->sync_fds[1] = -1;
    device->writable = writable;
    pthread_mutex_init(&device->mutex, NULL);
    pthread_cond_init(&device->sync_fd_free, NULL);
    memcpy(device->path, path, path_bytes);
    return device;
}

static int32_t finish_open(kl_device **out, int fd, int folder_fd, const char *name, uint32_t flags,
                           const char *path) {
    int32_t status = check_opened(fd, flags, path);
    bool writable = (flags & KL_DEVICE_WRITE) != 0;
    kl_device *device = status == KL_OK ? new_device(fd, writable, path) : NULL;
    if (device == NULL) {
        (void)close(fd);
        return status != KL_OK ? status : kl_fail(KL_ERR_MEMORY, "no memory to open %s", path);
    }
    if (writable && (flags & KL_DEVICE_OVERLAP)) {
        /* Now, before any write: a descriptor opened later would not hear of earlier losses. */
        device->sync_fds[1] = open_twin(fd, folder_fd, name, 0);
        if (device->sync_fds[1] < 0) {
            status = kl_fail_errno(KL_ERR_IO, errno, "open %s a second time", path);
            kl_device_close(device);
            return status;
        }
    }
    if (writable && (flags & KL_DEVICE_DIRECT))
        device->direct_fd = probe_direct(fd, folder_fd, name);
    *out = device;
    return KL_OK;
}

int32_t kl_device_open(kl_device **out, int folder_fd, const char *name, uint32_t flags) {
    KL_ASSERT(out != NULL && name != NULL);
    *out = NULL;
    prepare_process_once();
    bool creates = (flags & KL_DEVICE_CREATE) != 0;
    if (creates && !(flags & KL_DEVICE_WRITE))
        return kl_fail(KL_ERR_ARGUMENT, "a device that is created must be writable");
    char path[PATH_MAX];
    whole_path(path, sizeof path, folder_fd, name);
    bool exclusive = creates && (flags & KL_DEVICE_EXCLUSIVE);
    open_argument argument = {folder_fd, name,
                              O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY |
                                  (flags & KL_DEVICE_WRITE ? O_RDWR : O_RDONLY) |
                                  (creates ? O_CREAT : 0) | (exclusive ? O_EXCL : 0)};
    kl_device_call call = {.op = creates ? KL_DEVICE_OP_CREATE : KL_DEVICE_OP_OPEN, .path = path};
    uint32_t idle = 0;
    int64_t fd;
    do {
        fd = carry_out(&call, run_open, &argument);
    } while (again(fd, &idle));
    if (fd < 0) return open_failed((int)-fd, path);
    int32_t status = finish_open(out, (int)fd, folder_fd, name, flags, path);
    if (status != KL_OK && exclusive) (void)unlinkat(folder_fd, name, 0); /* nothing half-made */
    return status;
}

void kl_device_close(kl_device *device) {
    if (device == NULL) return;
    if (device->direct_fd >= 0) (void)close(device->direct_fd);
    if (device->sync_fds[1] >= 0) (void)close(device->sync_fds[1]);
    (void)close(device->fd);
    pthread_cond_destroy(&device->sync_fd_free);
    pthread_mutex_destroy(&device->mutex);
    free(device);
}

/* ---- failure ---- */

int32_t kl_device_failure(kl_device *device) {
    pthread_mutex_lock(&device->mutex);
    int32_t failure = device->failure;
    pthread_mutex_unlock(&device->mutex);
    /* The text was written before the status was, under the mutex, and never changes. */
    return failure == KL_OK ? KL_OK : kl_fail(failure, "%s", device->failure_text);
}

/* Keeps `status` and this thread's detail if it is the first failure; answers the first one. */
static int32_t poison(kl_device *device, int32_t status) {
    pthread_mutex_lock(&device->mutex);
    if (device->failure == KL_OK) {
        device->failure = status;
        snprintf(device->failure_text, sizeof device->failure_text, "%s", kl_status_last());
    }
    pthread_mutex_unlock(&device->mutex);
    return kl_device_failure(device);
}

/* ---- transfers ---- */

typedef struct {
    kl_device *device;
    uint8_t *out; /* reads  */
    int flags;    /* writes */
} transfer;

static int32_t check_range(const kl_device *device, uint64_t offset, uint64_t bytes) {
    if (offset <= INT64_MAX && bytes <= INT64_MAX - offset) return KL_OK;
    return kl_fail(KL_ERR_ARGUMENT, "%llu bytes at %llu of %s pass the end of any file",
                   (unsigned long long)bytes, (unsigned long long)offset, device->path);
}

static int64_t run_read(const kl_device_call *call, void *argument) {
    transfer *read_this = argument;
    ssize_t done = pread(read_this->device->fd, read_this->out, call->bytes, (off_t)call->offset);
    return done < 0 ? -errno : done;
}

int32_t kl_device_read_at(kl_device *device, uint64_t offset, void *out, size_t bytes,
                          size_t *done) {
    int32_t status = check_range(device, offset, bytes);
    if (status != KL_OK) return status;
    size_t got = 0;
    uint32_t idle = 0;
    while (got < bytes) {
        size_t ask = bytes - got < TRANSFER_BYTES_MAX ? bytes - got : TRANSFER_BYTES_MAX;
        kl_device_call call = {
            .op = KL_DEVICE_OP_READ, .path = device->path, .offset = offset + got, .bytes = ask};
        transfer argument = {.device = device, .out = (uint8_t *)out + got};
        int64_t result = carry_out(&call, run_read, &argument);
        if (result == 0) break;
        if (result > 0) {
            got += (size_t)result;
            idle = 0;
        } else if (!again(result, &idle)) {
            return kl_fail_errno(KL_ERR_IO, (int)-result, "read %zu bytes at %llu of %s", ask,
                                 (unsigned long long)call.offset, device->path);
        }
    }
    if (done != NULL) {
        *done = got;
    } else if (got < bytes) {
        return kl_fail(KL_ERR_TRUNCATED, "%s ends at %llu, expected %zu bytes at %llu",
                       device->path, (unsigned long long)(offset + got), bytes,
                       (unsigned long long)offset);
    }
    return KL_OK;
}

static bool goes_direct(const kl_device *device, const kl_device_call *call) {
    return device->direct_fd >= 0 && ((call->offset | call->bytes | (uintptr_t)call->data) &
                                      (KL_DEVICE_BLOCK_BYTES - 1)) == 0;
}

static int64_t run_write(const kl_device_call *call, void *argument) {
    const transfer *write_this = argument;
    const kl_device *device = write_this->device;
    struct iovec part = {(void *)(uintptr_t)call->data, call->bytes};
    ssize_t done = -1;
    bool direct = goes_direct(device, call);
    if (direct) {
        done = pwritev2(device->direct_fd, &part, 1, (off_t)call->offset, write_this->flags);
        direct = done >= 0 || (errno != EINVAL && errno != EOPNOTSUPP);
    }
    if (!direct) done = pwrite(device->fd, call->data, call->bytes, (off_t)call->offset);
    return done < 0 ? -errno : done;
}

static int32_t write_whole(kl_device *device, uint64_t offset, const void *data, size_t bytes,
                           int flags) {
    size_t put = 0;
    uint32_t idle = 0;
    while (put < bytes) {
        size_t ask = bytes - put < TRANSFER_BYTES_MAX ? bytes - put : TRANSFER_BYTES_MAX;
        kl_device_call call = {.op = KL_DEVICE_OP_WRITE,
                               .path = device->path,
                               .offset = offset + put,
                               .bytes = ask,
                               .data = (const uint8_t *)data + put};
        transfer argument = {.device = device, .flags = flags};
        int64_t result = carry_out(&call, run_write, &argument);
        if (result > 0) {
            put += (size_t)result;
            idle = 0;
        } else if (result == 0 || !again(result, &idle)) {
            int error = result == 0 ? EIO : (int)-result;
            int32_t status = kl_fail_errno(KL_ERR_IO, error, "write %zu bytes at %llu of %s", ask,
                                           (unsigned long long)call.offset, device->path);
            return poison(device, status);
        }
    }
    return KL_OK;
}

static int32_t check_writable(kl_device *device, uint64_t offset, uint64_t bytes) {
    if (!device->writable)
        return kl_fail(KL_ERR_ARGUMENT, "%s was opened for reading only", device->path);
    int32_t status = check_range(device, offset, bytes);
    return status != KL_OK ? status : kl_device_failure(device);
}

int32_t kl_device_write_at(kl_device *device, uint64_t offset, const void *data, size_t bytes) {
    int32_t status = check_writable(device, offset, bytes);
    return status != KL_OK ? status : write_whole(device, offset, data, bytes, 0);
}

int32_t kl_device_write_sync_at(kl_device *device, uint64_t offset, const void *data,
                                size_t bytes) {
    int32_t status = check_writable(device, offset, bytes);
    if (status != KL_OK) return status;
    kl_device_call whole = {.offset = offset, .bytes = bytes, .data = data};
    /* acquire: as in carry_out(). With a seam the two halves are taken apart for it. */
    bool seen = atomic_load_explicit(&current_seam, memory_order_acquire) != NULL;
    if (!seen && bytes <= TRANSFER_BYTES_MAX && goes_direct(device, &whole)) {
        /* The write's own error comes back by itself here, not through the kernel's record of
         * lost pages; so writers may share this descriptor. */
        struct iovec part = {(void *)(uintptr_t)data, bytes};
        ssize_t done = pwritev2(device->direct_fd, &part, 1, (off_t)offset, RWF_DSYNC);
        if (done == (ssize_t)bytes) return kl_device_failure(device);
        if (done < 0 && errno != EINVAL && errno != EOPNOTSUPP && errno != EINTR &&
            errno != EAGAIN) {
            status = kl_fail_errno(KL_ERR_IO, errno, "write and sync %zu bytes at %llu of %s",
                                   bytes, (unsigned long long)offset, device->path);
            return poison(device, status);
        }
        /* A short one, or one that was not even tried, goes the long way. */
    }
    status = write_whole(device, offset, data, bytes, 0);
    return status != KL_OK ? status : kl_device_sync(device);
}

static int64_t run_sync(const kl_device_call *call, void *argument) {
    (void)call;
    return fdatasync(*(int *)argument) != 0 ? -errno : 0;
}

/* Waits for a descriptor that no other thread syncs on, and marks it taken. */
static int take_sync_fd(kl_device *device) {
    pthread_mutex_lock(&device->mutex);
    int taken = -1;
    while (taken < 0) {
        for (int i = 0; i < SYNC_FD_COUNT && taken < 0; i++)
            if (device->sync_fds[i] >= 0 && !device->sync_fd_busy[i]) taken = i;
        if (taken < 0) pthread_cond_wait(&device->sync_fd_free, &device->mutex);
    }
    device->sync_fd_busy[taken] = true;
    pthread_mutex_unlock(&device->mutex);
    return taken;
}

static void give_sync_fd(kl_device *device, int taken) {
    pthread_mutex_lock(&device->mutex);
    device->sync_fd_busy[taken] = false;
    pthread_cond_signal(&device->sync_fd_free);
    pthread_mutex_unlock(&device->mutex);
}

int32_t kl_device_sync(kl_device *device) {
    int32_t status = check_writable(device, 0, 0);
    if (status != KL_OK) return status;
    int taken = take_sync_fd(device);
    status = kl_device_failure(device); /* of the sync that was waited for */
    kl_device_call call = {.op = KL_DEVICE_OP_SYNC, .path = device->path};
    int64_t result = 0;
    if (status == KL_OK) {
        uint32_t idle = 0;
        do {
            result = carry_out(&call, run_sync, &device->sync_fds[taken]);
        } while (result == -EINTR && again(result, &idle));
    }
    /* Poisoned before the descriptor is free: nobody syncs on it and believes the answer. */
    if (result < 0) {
        status = kl_fail_errno(KL_ERR_IO, (int)-result, "sync %s", device->path);
        status = poison(device, status);
    }
    give_sync_fd(device, taken);
    return status;
}

/* ---- the rest of a file ---- */

int32_t kl_device_size(kl_device *device, uint64_t *bytes) {
    struct stat status;
    if (fstat(device->fd, &status) != 0)
        return kl_fail_errno(KL_ERR_IO, errno, "look at %s", device->path);
    *bytes = (uint64_t)status.st_size;
    return KL_OK;
}

int32_t kl_device_zero_fill(kl_device *device, uint64_t offset, uint64_t bytes) {
    /* Never written to; not const, so that it takes no room in the library's file. */
    static _Alignas(KL_DEVICE_BLOCK_BYTES) uint8_t zeros[KL_DEVICE_ZERO_CHUNK_BYTES];
    int32_t status = check_writable(device, offset, bytes);
    for (uint64_t done = 0; status == KL_OK && done < bytes;) {
        uint64_t chunk = bytes - done < sizeof zeros ? bytes - done : sizeof zeros;
        status = write_whole(device, offset + done, zeros, (size_t)chunk, 0);
        done += chunk;
    }
    return status;
}

void kl_device_dontneed(kl_device *device, uint64_t offset, uint64_t bytes) {
    (void)posix_fadvise(device->fd, (off_t)offset, (off_t)bytes, POSIX_FADV_DONTNEED);
}

uint32_t kl_device_direct_align(const kl_device *device) {
    return device->direct_fd >= 0 ? KL_DEVICE_BLOCK_BYTES : 0;
}

int kl_device_fd(const kl_device *device) {
    return device->fd;
}

const char *kl_device_path(const kl_device *device) {
    return device->path;
}

/* ---- folders ---- */

typedef struct {
    int folder_fd;
    const char *name;
    const char *to; /* the new name */
    bool replace;
} folder_argument;

static int64_t run_rename(const kl_device_call *call, void *argument) {
    (void)call;
    const folder_argument *it = argument;
    int fd = it->folder_fd;
    if (it->replace) return renameat(fd, it->name, fd, it->to) != 0 ? -errno : 0;
    if (renameat2(fd, it->name, fd, it->to, RENAME_NOREPLACE) == 0) return 0;
    if (errno != EINVAL && errno != ENOSYS) return -errno;
    /* A file system without it: a link, too, is made only where nothing is. */
    if (linkat(fd, it->name, fd, it->to, 0) != 0) return -errno;
    return unlinkat(fd, it->name, 0) != 0 ? -errno : 0;
}

static int64_t run_unlink(const kl_device_call *call, void *argument) {
    (void)call;
    const folder_argument *it = argument;
    return unlinkat(it->folder_fd, it->name, 0) != 0 ? -errno : 0;
}

static int64_t run_make_folder(const kl_device_call *call, void *argument) {
    (void)call;
    const folder_argument *it = argument;
    return mkdirat(it->folder_fd, it->name, 0700) != 0 ? -errno : 0;
}

static int64_t run_sync_folder(const kl_device_call *call, void *argument) {
    (void)call;
    const folder_argument *it = argument;
    return fsync(it->folder_fd) != 0 ? -errno : 0;
}

static int32_t in_folder(uint32_t op, const char *action, operation run, folder_argument argument) {
    prepare_process_once();
    char path[PATH_MAX], to[PATH_MAX];
    whole_path(path, sizeof path, argument.folder_fd, argument.name);
    kl_device_call call = {.op = op, .path = path};
    if (argument.to != NULL) {
        whole_path(to, sizeof to, argument.folder_fd, argument.to);
        call.to = to;
    }
    int64_t result = carry_out(&call, run, &argument);
    for (uint32_t idle = 0; result == -EINTR && again(result, &idle);)
        result = carry_out(&call, run, &argument);
    if (result >= 0) return KL_OK;
    return kl_fail_errno(KL_ERR_IO, (int)-result, "%s %s%s%s", action, path,
                         argument.to != NULL ? " to " : "", argument.to != NULL ? argument.to : "");
}

int32_t kl_device_rename(int folder_fd, const char *from, const char *to) {
    return in_folder(KL_DEVICE_OP_RENAME, "rename", run_rename,
                     (folder_argument){folder_fd, from, to, true});
}

int32_t kl_device_rename_new(int folder_fd, const char *from, const char *to) {
    return in_folder(KL_DEVICE_OP_RENAME, "rename", run_rename,
                     (folder_argument){folder_fd, from, to, false});
}

int32_t kl_device_unlink(int folder_fd, const char *name) {
    return in_folder(KL_DEVICE_OP_UNLINK, "remove", run_unlink,
                     (folder_argument){folder_fd, name, NULL, false});
}

int32_t kl_device_make_folder(int folder_fd, const char *name) {
    return in_folder(KL_DEVICE_OP_MAKE_FOLDER, "make folder", run_make_folder,
                     (folder_argument){folder_fd, name, NULL, false});
}

int32_t kl_device_sync_folder(int folder_fd) {
    return in_folder(KL_DEVICE_OP_SYNC_FOLDER, "sync folder", run_sync_folder,
                     (folder_argument){folder_fd, "", NULL, false});
}
