#include "mem/region_file.h"

#include "base/random.h"
#include "mem/killpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define SHARED_MEMORY_FOLDER "/dev/shm"
#define TEMPORARY_PREFIX     ".keelson-new-"
#define MAKE_ATTEMPTS_MAX    8
#define RESERVE_ATTEMPTS_MAX 100

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u
#endif

static const char *file_system_of_network(long magic) {
    switch (magic) {
    case 0x6969: return "NFS";
    case 0xff534d42: return "CIFS";
    case 0xfe534d42: return "SMB2";
    case 0x517b: return "SMB";
    case 0x01021997: return "9p";
    case 0x65735546: return "FUSE";
    case 0x00c36400: return "Ceph";
    case 0x5346414f: return "AFS";
    case 0x0bd00bd0: return "Lustre";
    case 0x47504653: return "GPFS";
    case 0x7461636f: return "OCFS2";
    case 0x01161970: return "GFS2";
    default: return NULL;
    }
}

static int32_t refuse_network(int file, const char *path) {
    struct statfs system;
    if (fstatfs(file, &system) != 0)
        return kl_fail_errno(KL_ERR_IO, errno, "cannot ask for the file system of %s", path);
    const char *name = file_system_of_network((long)(unsigned long)system.f_type);
    if (name == NULL) return KL_OK;
    return kl_fail(KL_ERR_NETWORK_FS,
                   "%s is on %s, where another host's writes and locks are not seen in time: use a "
                   "local folder",
                   path, name);
}

/* ---- locks ---- */

static int32_t set_lock(int file, int64_t byte, short kind) {
    struct flock lock = {.l_type = kind, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    for (;;) {
        if (fcntl(file, F_OFD_SETLK, &lock) == 0) return KL_OK;
        if (errno == EAGAIN || errno == EACCES) return KL_ERR_AGAIN;
        if (errno != EINTR)
            return kl_fail_errno(KL_ERR_IO, errno, "cannot lock byte %lld of a region file",
                                 (long long)byte);
    }
}

int32_t kl_region_file_lock(int file, int64_t byte) {
    return set_lock(file, byte, F_WRLCK);
}

void kl_region_file_unlock(int file, int64_t byte) {
    (void)set_lock(file, byte, F_UNLCK);
}

bool kl_region_file_locked_elsewhere(int file, int64_t byte) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    /* An error cannot be told from a lock; "locked" is the answer that takes nothing away. */
    return fcntl(file, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

/* ---- folders ---- */

/* Opens the folder of `path`; *base is the last part of it. */
static int32_t open_folder(const char *path, const char **base) {
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    *base = slash == NULL ? path : slash + 1;
    size_t length = slash == NULL ? 1 : slash == path ? 1 : (size_t)(slash - path);
    if (length >= sizeof(folder) || strlen(*base) > NAME_MAX)
        return kl_fail(KL_ERR_NAME, "a path of %zu bytes is too long", strlen(path));
    if (**base == '\0' || strcmp(*base, ".") == 0 || strcmp(*base, "..") == 0)
        return kl_fail(KL_ERR_NAME, "\"%s\" does not name a file", path);
    memcpy(folder, slash == NULL ? "." : path, length);
    folder[length] = '\0';
    int opened = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (opened < 0) return kl_fail_errno(KL_ERR_IO, errno, "cannot open the folder %s", folder);
    return opened;
}

int32_t kl_region_file_own_folder(char *out, size_t capacity) {
    unsigned user = (unsigned)geteuid();
    int length = snprintf(out, capacity, SHARED_MEMORY_FOLDER "/keelson-%u", user);
    if (length < 0 || (size_t)length >= capacity)
        return kl_fail(KL_ERR_ARGUMENT, "room for %zu bytes of path, %d needed", capacity, length);
    bool made = mkdir(out, 0700) == 0;
    if (!made && errno != EEXIST)
        return kl_fail_errno(KL_ERR_IO, errno,
                             "cannot make %s (is " SHARED_MEMORY_FOLDER " mounted and writable?)",
                             out);
    int folder = open(out, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0)
        return kl_fail_errno(KL_ERR_PERMISSION, errno, "%s is not a folder of this user", out);
    struct stat status;
    if (made) (void)fchmod(folder, 0700); /* the umask may have taken bits away */
    int failed = fstat(folder, &status);
    close(folder);
    if (failed != 0) return kl_fail_errno(KL_ERR_IO, errno, "cannot look at %s", out);
    if (status.st_uid != user)
        return kl_fail(KL_ERR_PERMISSION, "%s belongs to user %u, not to %u: have it removed", out,
                       (unsigned)status.st_uid, user);
    if ((status.st_mode & 077) != 0)
        return kl_fail(KL_ERR_PERMISSION, "%s is open to others (mode %03o): chmod 700 %s", out,
                       (unsigned)status.st_mode & 0777, out);
    return KL_OK;
}

/* ---- opening ---- */

static int32_t check_file(int file, const char *path, bool is_memfd) {
    struct stat status;
    if (fstat(file, &status) != 0)
        return kl_fail_errno(KL_ERR_IO, errno, "cannot look at %s", path);
    if (!S_ISREG(status.st_mode))
        return kl_fail(KL_ERR_FOREIGN, "%s is not a regular file, so not a region", path);
    if (status.st_uid != geteuid())
        return kl_fail(KL_ERR_PERMISSION, "%s belongs to user %u, not to %u", path,
                       (unsigned)status.st_uid, (unsigned)geteuid());
    if ((status.st_mode & 077) != 0)
        return kl_fail(KL_ERR_PERMISSION, "%s is open to others (mode %03o): chmod 600 it", path,
                       (unsigned)status.st_mode & 0777);
    if (status.st_nlink > 1)
        return kl_fail(KL_ERR_PERMISSION, "%s has %lu names (hard links): remove the others", path,
                       (unsigned long)status.st_nlink);
    if (status.st_nlink == 0 && !is_memfd)
        return kl_fail(KL_ERR_NOT_FOUND, "%s was removed at this moment", path);
    return KL_OK;
}

int32_t kl_region_file_open(const char *path, bool allow_network) {
    /* NONBLOCK: opening a pipe or a device that was put in its place must not wait. */
    int file = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file < 0) {
        if (errno == ELOOP)
            return kl_fail(KL_ERR_PERMISSION, "%s is a symbolic link: name the file itself", path);
        if (errno == ENXIO || errno == EISDIR || errno == ENODEV)
            return kl_fail(KL_ERR_FOREIGN, "%s is not a regular file, so not a region", path);
        return kl_fail_errno(KL_ERR_IO, errno, "cannot open the region %s", path);
    }
    int32_t status = check_file(file, path, false);
    if (status == KL_OK && !allow_network) status = refuse_network(file, path);
    if (status == KL_OK) return file;
    close(file);
    return status;
}

int32_t kl_region_file_reopen(int file) {
    char path[48];
    struct stat before;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    if (fstat(file, &before) != 0) return kl_fail_errno(KL_ERR_IO, errno, "descriptor %d", file);
    if (!S_ISREG(before.st_mode))
        return kl_fail(KL_ERR_FOREIGN, "descriptor %d is not of a regular file", file);
    int again = open(path, O_RDWR | O_CLOEXEC);
    if (again < 0) return kl_fail_errno(KL_ERR_IO, errno, "cannot open %s again", path);
    int32_t status = check_file(again, path, true);
    if (status == KL_OK) return again;
    close(again);
    return status;
}

/* ---- making ---- */

/* "64 MiB" or "1.5 GiB"; what is wanted rounds up, what is there down. */
static void bytes_text(char text[40], uint64_t bytes, bool up) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned unit = 0;
    uint64_t scale = 1;
    while (bytes / scale >= 1024 && unit < 6) {
        scale <<= 10;
        unit++;
    }
    uint64_t tenths = bytes / scale * 10 + (bytes % scale * 10 + (up ? scale - 1 : 0)) / scale;
    if (tenths % 10 == 0) {
        snprintf(text, 40, "%llu %s", (unsigned long long)tenths / 10, units[unit]);
    } else {
        snprintf(text, 40, "%llu.%llu %s", (unsigned long long)tenths / 10,
                 (unsigned long long)tenths % 10, units[unit]);
    }
}

static int32_t no_space(const char *path, uint64_t wanted, uint64_t there, uint64_t total) {
    char wanted_text[40], there_text[40], total_text[40];
    bytes_text(wanted_text, wanted, true);
    bytes_text(there_text, there, false);
    bytes_text(total_text, total, false);
    if (path == NULL)
        return kl_fail(KL_ERR_NO_SPACE, "a region of %s is more than this machine's memory, %s",
                       wanted_text, total_text);
    bool shared = strncmp(path, SHARED_MEMORY_FOLDER "/", sizeof(SHARED_MEMORY_FOLDER)) == 0;
    return kl_fail(
        KL_ERR_NO_SPACE, "%s needs %s, but %s has %s free of %s: %s", path, wanted_text,
        shared ? SHARED_MEMORY_FOLDER : "its file system", there_text, total_text,
        shared ? "ask for less, or enlarge it (mount -o remount,size=... " SHARED_MEMORY_FOLDER
                 ", in a container --shm-size=...)"
               : "ask for less, or make room");
}

/* Before anything is made: does it fit? */
static int32_t check_space(int folder, const char *path, uint64_t bytes) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < bytes)
        return kl_fail(KL_ERR_LIMIT,
                       "a region of %llu bytes is above the file size limit of this "
                       "process, %llu bytes (ulimit -f)",
                       (unsigned long long)bytes, (unsigned long long)limit.rlim_cur);
    if (folder < 0) {
        struct sysinfo system;
        if (sysinfo(&system) != 0) return KL_OK;
        uint64_t memory = ((uint64_t)system.totalram + system.totalswap) * system.mem_unit;
        return bytes <= memory ? KL_OK : no_space(path, bytes, memory, memory);
    }
    struct statvfs system;
    if (fstatvfs(folder, &system) != 0)
        return kl_fail_errno(KL_ERR_IO, errno, "cannot ask for the free space of %s", path);
    if (system.f_blocks == 0) return KL_OK; /* no limit, or none that is told */
    uint64_t unit = system.f_frsize;
    uint64_t there = (geteuid() == 0 ? system.f_bfree : system.f_bavail) * unit;
    return bytes <= there ? KL_OK : no_space(path, bytes, there, system.f_blocks * unit);
}

static int32_t write_zeros(int file, uint64_t bytes) {
    static const uint8_t zeros[1 << 16];
    for (uint64_t at = 0; at < bytes;) {
        size_t part = bytes - at < sizeof(zeros) ? (size_t)(bytes - at) : sizeof(zeros);
        ssize_t written = pwrite(file, zeros, part, (off_t)at);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return -errno;
        at += (uint64_t)written;
    }
    return 0;
}

/* Every page gets its place now, so that no later store can meet a full file system. */
static int32_t reserve(int file, const char *path, uint64_t bytes) {
    int error = EINTR;
    for (int i = 0; i < RESERVE_ATTEMPTS_MAX && error == EINTR; i++)
        error = fallocate(file, 0, 0, (off_t)bytes) == 0 ? 0 : errno;
    if (error == EOPNOTSUPP || error == ENOSYS || error == EINTR) error = -write_zeros(file, bytes);
    if (error == 0) return KL_OK;
    struct statvfs system;
    if (error == ENOSPC && fstatvfs(file, &system) == 0)
        return no_space(path, bytes, system.f_bavail * system.f_frsize,
                        system.f_blocks * system.f_frsize);
    return kl_fail_errno(KL_ERR_IO, error, "cannot reserve %llu bytes for the region %s",
                         (unsigned long long)bytes, path == NULL ? "(unnamed)" : path);
}

/* True when the temporary file's maker is dead. Its lock is then ours, and goes with the close. */
static bool maker_is_dead(int folder, const char *name, int *file) {
    struct stat status, named;
    *file = openat(folder, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*file < 0) return false;
    return fstat(*file, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid() &&
           kl_region_file_lock(*file, KL_REGION_MAKER_BYTE) == KL_OK &&
           fstatat(folder, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           named.st_ino == status.st_ino && named.st_dev == status.st_dev;
}

/* Removes what dead makers left in the folder. Failing at it is no failure of the maker. */
static void sweep(int folder) {
    int again = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = again < 0 ? NULL : fdopendir(again);
    if (listing == NULL) {
        if (again >= 0) close(again);
        return;
    }
    for (int i = 0; i < KL_REGION_SWEEP_MAX; i++) {
        struct dirent *entry = readdir(listing);
        if (entry == NULL) break;
        if (strncmp(entry->d_name, TEMPORARY_PREFIX, sizeof(TEMPORARY_PREFIX) - 1) != 0) continue;
        int file;
        if (maker_is_dead(folder, entry->d_name, &file)) (void)unlinkat(folder, entry->d_name, 0);
        if (file >= 0) close(file);
    }
    closedir(listing);
}

/* One attempt; KL_ERR_AGAIN when a sweeper took the file between its birth and its lock. */
static int32_t make_temporary_once(kl_region_file *made, const char *path) {
    uint64_t number;
    int32_t status = kl_random_os(&number, sizeof(number));
    if (status < 0) return status;
    snprintf(made->temporary, sizeof(made->temporary), TEMPORARY_PREFIX "%016llx",
             (unsigned long long)number);
    made->file = openat(made->folder, made->temporary,
                        O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (made->file < 0) {
        int error = errno;
        made->temporary[0] = '\0';
        return kl_fail_errno(KL_ERR_IO, error, "cannot make a file in the folder of %s", path);
    }
    KL_KILLPOINT("make.opened");
    struct stat now;
    status = kl_region_file_lock(made->file, KL_REGION_MAKER_BYTE);
    if (status == KL_OK) {
        if (fchmod(made->file, 0600) != 0 || fstat(made->file, &now) != 0)
            return kl_fail_errno(KL_ERR_IO, errno, "cannot make %s private", path);
        if (now.st_nlink == 0) status = KL_ERR_AGAIN;
    }
    KL_KILLPOINT("make.locked");
    return status;
}

static int32_t make_temporary(kl_region_file *made, const char *path) {
    for (int i = 0; i < MAKE_ATTEMPTS_MAX; i++) {
        int32_t status = make_temporary_once(made, path);
        if (status != KL_ERR_AGAIN) return status;
        (void)unlinkat(made->folder, made->temporary, 0);
        close(made->file);
        made->file = -1;
        made->temporary[0] = '\0';
    }
    return kl_fail(KL_ERR_AGAIN, "the temporary file of %s was removed %d times", path,
                   MAKE_ATTEMPTS_MAX);
}

static int32_t make_memfd(kl_region_file *made) {
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    made->file = memfd_create("keelson", flags | MFD_NOEXEC_SEAL);
    if (made->file < 0 && errno == EINVAL) made->file = memfd_create("keelson", flags);
    if (made->file < 0) return kl_fail_errno(KL_ERR_IO, errno, "cannot make a memfd");
    if (fchmod(made->file, 0600) != 0)
        return kl_fail_errno(KL_ERR_IO, errno, "cannot make a memfd private");
    return KL_OK;
}

static int32_t make_in_folder(kl_region_file *made, const char *path, uint64_t bytes,
                              bool allow_network) {
    const char *base;
    int32_t status = made->folder = open_folder(path, &base);
    if (status < 0) return status;
    status = allow_network ? KL_OK : refuse_network(made->folder, path);
    if (status < 0) return status;
    struct stat there;
    if (fstatat(made->folder, base, &there, AT_SYMLINK_NOFOLLOW) == 0)
        return kl_fail(KL_ERR_EXISTS, "%s exists already", path);
    sweep(made->folder);
    status = check_space(made->folder, path, bytes);
    return status < 0 ? status : make_temporary(made, path);
}

int32_t kl_region_file_make(kl_region_file *out, const char *path, uint64_t bytes,
                            bool allow_network) {
    *out = (kl_region_file){.file = -1, .folder = -1};
    int32_t status;
    if (path == NULL) {
        status = check_space(-1, NULL, bytes);
        if (status == KL_OK) status = make_memfd(out);
    } else {
        status = make_in_folder(out, path, bytes, allow_network);
    }
    if (status >= 0 && ftruncate(out->file, (off_t)bytes) != 0)
        status = kl_fail_errno(KL_ERR_IO, errno, "cannot give a region %llu bytes",
                               (unsigned long long)bytes);
    KL_KILLPOINT("make.sized");
    if (status >= 0) status = reserve(out->file, path, bytes);
    if (status >= 0 && path == NULL &&
        fcntl(out->file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        status = kl_fail_errno(KL_ERR_IO, errno, "cannot seal a memfd");
    KL_KILLPOINT("make.reserved");
    if (status >= 0) return KL_OK;
    kl_region_file_drop(out);
    return status;
}

int32_t kl_region_file_publish(kl_region_file *made, const char *path) {
    if (made->temporary[0] == '\0') return KL_OK;
    const char *slash = strrchr(path, '/');
    const char *base = slash == NULL ? path : slash + 1;
    int failed = renameat2(made->folder, made->temporary, made->folder, base, RENAME_NOREPLACE);
    if (failed != 0 && (errno == EINVAL || errno == ENOSYS)) {
        /* No exclusive rename here. A link is exclusive too; it has two names for a moment, in
         * which an attach is refused, and if we die in it the next maker's sweep ends it. */
        failed = linkat(made->folder, made->temporary, made->folder, base, 0);
        if (failed == 0) (void)unlinkat(made->folder, made->temporary, 0);
    }
    if (failed != 0 && errno == EEXIST) return kl_fail(KL_ERR_EXISTS, "%s exists already", path);
    if (failed != 0)
        return kl_fail_errno(KL_ERR_IO, errno, "cannot give the region its name %s", path);
    made->temporary[0] = '\0';
    kl_region_file_unlock(made->file, KL_REGION_MAKER_BYTE);
    return KL_OK;
}

void kl_region_file_drop(kl_region_file *made) {
    if (made->temporary[0] != '\0') (void)unlinkat(made->folder, made->temporary, 0);
    if (made->file >= 0) close(made->file);
    if (made->folder >= 0) close(made->folder);
    *made = (kl_region_file){.file = -1, .folder = -1};
}
