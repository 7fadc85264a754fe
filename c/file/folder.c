#include "file/folder.h"

#include "base/clock.h"
#include "base/handle.h"
#include "file/device.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define LOCK_TEXT_BYTES    512u
#define PROGRAM_BYTES_MAX  128u
#define HOLDER_TRIES_MAX   20
#define HOLDER_TRY_WAIT_NS 5000000

struct kl_folder {
    int fd;
    bool read_only;
    kl_device *lock; /* NULL: not locked */
    char path[];
};

/* ---- what a path may be ---- */

int32_t kl_folder_path_check(const char *name, size_t bytes) {
    if (bytes == 0) return kl_fail(KL_ERR_NAME, "a name must not be empty");
    if (bytes > KL_FOLDER_NAME_BYTES_MAX)
        return kl_fail(KL_ERR_NAME, "a name of %zu bytes: at most %u are allowed", bytes,
                       KL_FOLDER_NAME_BYTES_MAX);
    if (memchr(name, '\0', bytes) != NULL)
        return kl_fail(KL_ERR_NAME, "a name must not hold a NUL byte");
    if (memchr(name, '/', bytes) != NULL)
        return kl_fail(KL_ERR_NAME, "the name \"%.*s\" holds a '/'", (int)bytes, name);
    if ((bytes == 1 && name[0] == '.') || (bytes == 2 && name[0] == '.' && name[1] == '.'))
        return kl_fail(KL_ERR_NAME, "the name \"%.*s\" means another folder", (int)bytes, name);
    return KL_OK;
}

int32_t kl_folder_text(const uint8_t *utf8, uint32_t bytes, char *out, size_t capacity) {
    if (utf8 == NULL || bytes == 0) return kl_fail(KL_ERR_NAME, "a path must not be empty");
    if (bytes >= capacity)
        return kl_fail(KL_ERR_NAME, "a text of %u bytes: at most %zu are allowed", bytes,
                       capacity - 1);
    if (memchr(utf8, '\0', bytes) != NULL)
        return kl_fail(KL_ERR_NAME, "a path must not hold a NUL byte");
    memcpy(out, utf8, bytes);
    out[bytes] = '\0';
    return KL_OK;
}

const char *kl_folder_network_name(uint64_t magic) {
    static const struct {
        uint32_t magic;
        const char *name;
    } known[] = {
        {0x00006969, "NFS"}, {0x0000517B, "SMB"},  {0xFF534D42, "CIFS"},   {0xFE534D42, "SMB2"},
        {0x01021997, "9P"},  {0x65735546, "FUSE"}, {0x00C36400, "Ceph"},   {0x5346414F, "AFS"},
        {0x6B414653, "AFS"}, {0x73757245, "Coda"}, {0x0BD00BD0, "Lustre"}, {0x47504653, "GPFS"},
        {0x0000564C, "NCP"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if ((uint32_t)magic == known[i].magic) return known[i].name;
    return NULL;
}

static int32_t check_file_system(int fd, const char *path, uint32_t flags) {
    if (flags & KL_FOLDER_ANY_FILE_SYSTEM) return KL_OK;
    struct statfs system;
    if (fstatfs(fd, &system) != 0)
        return kl_fail_errno(KL_ERR_IO, errno, "look at the file system of %s", path);
    const char *name = kl_folder_network_name((uint64_t)system.f_type);
    if (name == NULL) return KL_OK;
    return kl_fail(KL_ERR_NETWORK_FS,
                   "%s lies on a network file system (%s), where locks and syncs keep no promise; "
                   "use a local disk",
                   path, name);
}

/* ---- open ---- */

/* With trailing slashes the last part would be followed if it is a link. */
static int32_t trimmed(const char *path, char *out, size_t capacity) {
    size_t bytes = strlen(path);
    while (bytes > 1 && path[bytes - 1] == '/') bytes--;
    return kl_folder_text((const uint8_t *)path, bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes,
                          out, capacity);
}

/* Splits "a/b/c" into an open "a/b" and "c". */
static int32_t open_parent(const char *path, int *parent_fd, const char **name) {
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    *name = slash == NULL ? path : slash + 1;
    if (slash == NULL) {
        snprintf(parent, sizeof parent, ".");
    } else {
        int bytes = slash == path ? 1 : (int)(slash - path); /* "/c" lies in "/" */
        snprintf(parent, sizeof parent, "%.*s", bytes, path);
    }
    *parent_fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*parent_fd >= 0) return KL_OK;
    return kl_fail_errno(KL_ERR_IO, errno, "open %s, the folder that is to hold %s", parent, path);
}

static int open_folder(const char *path) {
    return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int32_t open_failed(int error, const char *path) {
    struct stat status;
    if (error == ENAMETOOLONG)
        return kl_fail(KL_ERR_NAME, "a part of %s has more than %u bytes", path,
                       KL_FOLDER_NAME_BYTES_MAX);
    if ((error == ENOTDIR || error == ELOOP) && lstat(path, &status) == 0) {
        if (S_ISLNK(status.st_mode))
            return kl_fail(KL_ERR_FOREIGN, "%s is a symbolic link; name the folder itself", path);
        return kl_fail(KL_ERR_FOREIGN, "%s is not a folder", path);
    }
    return kl_fail_errno(KL_ERR_IO, error, "open the folder %s", path);
}

/* Makes the last part and syncs its parent; a folder that was there is left alone. */
static int32_t create_folder(const char *path, uint32_t flags) {
    int parent_fd;
    const char *name;
    int32_t status = open_parent(path, &parent_fd, &name);
    if (status != KL_OK) return status;
    status = check_file_system(parent_fd, path, flags);
    if (status == KL_OK) status = kl_device_make_folder(parent_fd, name);
    if (status == KL_OK) {
        status = kl_device_sync_folder(parent_fd);
        if (status != KL_OK) (void)unlinkat(parent_fd, name, AT_REMOVEDIR);
    } else if (status == KL_ERR_EXISTS) {
        status = KL_OK; /* somebody else was faster */
    }
    (void)close(parent_fd);
    return status;
}

/* Whoever made the folder may have been killed before the parent was synced. Best effort: the
 * parent may be unreadable for us, and then it is not ours to have made anything in. */
static void sync_parent(const char *path) {
    int parent_fd;
    const char *name;
    if (open_parent(path, &parent_fd, &name) != KL_OK) return;
    (void)kl_device_sync_folder(parent_fd);
    (void)close(parent_fd);
}

static int32_t check_folder(int fd, const char *path, uint32_t flags) {
    struct stat status;
    if (fstat(fd, &status) != 0) return kl_fail_errno(KL_ERR_IO, errno, "look at %s", path);
    if (!(flags & KL_FOLDER_READ_ONLY)) {
        if (status.st_uid != geteuid())
            return kl_fail(KL_ERR_PERMISSION, "%s belongs to user %u, not to user %u who runs this",
                           path, status.st_uid, geteuid());
        if (status.st_mode & (S_IWGRP | S_IWOTH))
            return kl_fail(KL_ERR_PERMISSION, "%s can be written by other users; chmod go-w it",
                           path);
    }
    return check_file_system(fd, path, flags);
}

static kl_folder *new_folder(int fd, const char *path, uint32_t flags) {
    char whole[PATH_MAX];
    if (realpath(path, whole) == NULL) snprintf(whole, sizeof whole, "%s", path);
    size_t bytes = strlen(whole) + 1;
    kl_folder *folder = calloc(1, sizeof *folder + bytes);
    if (folder == NULL) return NULL;
    folder->fd = fd;
    folder->read_only = (flags & KL_FOLDER_READ_ONLY) != 0;
    memcpy(folder->path, whole, bytes);
    return folder;
}

int32_t kl_folder_open(kl_folder **out, const char *path, uint32_t flags) {
    KL_ASSERT(out != NULL && path != NULL);
    *out = NULL;
    bool creates = (flags & KL_FOLDER_CREATE) != 0;
    if (creates && (flags & KL_FOLDER_READ_ONLY))
        return kl_fail(KL_ERR_ARGUMENT, "a read-only folder cannot be created: %s", path);
    char clean[PATH_MAX];
    int32_t status = trimmed(path, clean, sizeof clean);
    if (status != KL_OK) return status;
    int fd = open_folder(clean);
    if (fd >= 0 && creates) {
        sync_parent(clean);
    } else if (fd < 0 && errno == ENOENT && creates) {
        status = create_folder(clean, flags);
        if (status != KL_OK) return status;
        fd = open_folder(clean);
    }
    if (fd < 0) return open_failed(errno, clean);
    status = check_folder(fd, clean, flags);
    if (status == KL_OK) *out = new_folder(fd, clean, flags);
    if (*out != NULL) return KL_OK;
    (void)close(fd);
    return status != KL_OK ? status : kl_fail(KL_ERR_MEMORY, "no memory to open %s", clean);
}

/* ---- the holder's card: text in LOCK, for messages only ---- */

typedef struct {
    long pid;
    unsigned long long start_ticks; /* field 22 of /proc/PID/stat: tells a used-again pid apart */
    long long started;              /* seconds since 1970                                       */
    char boot[40];
    char program[PROGRAM_BYTES_MAX];
} holder_card;

/* A small file of /proc without its final newline; "" when it cannot be read. */
static void read_proc(const char *path, char *out, size_t capacity) {
    out[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t bytes = read(fd, out, capacity - 1);
    (void)close(fd);
    if (bytes > 0 && out[bytes - 1] == '\n') bytes--;
    out[bytes > 0 ? bytes : 0] = '\0';
}

static unsigned long long start_ticks_of(long pid) {
    char path[48], text[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    read_proc(path, text, sizeof text);
    const char *field = strrchr(text, ')'); /* the name before it may hold anything */
    for (int i = 2; field != NULL && i < 22; i++) field = strchr(field + 1, ' ');
    return field == NULL ? 0 : strtoull(field, NULL, 10);
}

static void boot_id(char *out, size_t capacity) {
    read_proc("/proc/sys/kernel/random/boot_id", out, capacity);
}

static void write_card(kl_folder *folder, const char *program) {
    char text[LOCK_TEXT_BYTES], boot[40], name[PROGRAM_BYTES_MAX];
    memset(text, '\n', sizeof text); /* always as long: covers all of an older card */
    unsigned long long ticks = start_ticks_of(getpid());
    long per_second = sysconf(_SC_CLK_TCK);
    uint64_t age_ns = 0;
    if (ticks > 0 && per_second > 0)
        age_ns = kl_clock_boottime_ns() - ticks * (KL_NS_PER_S / (unsigned long)per_second);
    boot_id(boot, sizeof boot);
    if (program != NULL) {
        snprintf(name, sizeof name, "%s", program);
    } else {
        read_proc("/proc/self/comm", name, sizeof name);
    }
    for (char *c = name; *c != '\0'; c++)
        if ((unsigned char)*c < ' ') *c = ' ';
    int bytes = snprintf(text, sizeof text,
                         "keelson lock\npid %ld\nstart %llu\nstarted %lld\nboot %s\nprogram %s\n",
                         (long)getpid(), ticks,
                         (long long)((kl_clock_realtime_ns() - age_ns) / KL_NS_PER_S), boot, name);
    text[bytes] = '\n';
    /* A full disk must not keep the owner out of its own folder: without a card the lock still
     * holds, only the message names nobody. */
    (void)kl_device_write_at(folder->lock, 0, text, sizeof text);
}

static bool read_card(kl_device *lock, holder_card *card) {
    char text[LOCK_TEXT_BYTES + 1];
    size_t bytes = 0;
    if (kl_device_read_at(lock, 0, text, LOCK_TEXT_BYTES, &bytes) != KL_OK) return false;
    text[bytes] = '\0';
    memset(card, 0, sizeof *card);
    return sscanf(text,
                  "keelson lock\npid %ld\nstart %llu\nstarted %lld\nboot %39s\nprogram %127[^\n]",
                  &card->pid, &card->start_ticks, &card->started, card->boot, card->program) == 5;
}

/* The process on the card lives, and is the one that wrote it. */
static bool is_true_card(const holder_card *card) {
    char boot[40];
    boot_id(boot, sizeof boot);
    return strcmp(boot, card->boot) == 0 && start_ticks_of(card->pid) == card->start_ticks;
}

static void time_text(long long seconds, char *out, size_t capacity) {
    time_t then = (time_t)seconds, now = (time_t)(kl_clock_realtime_ns() / KL_NS_PER_S);
    struct tm parts, today;
    if (localtime_r(&then, &parts) == NULL || localtime_r(&now, &today) == NULL) {
        snprintf(out, capacity, "at an unknown time");
        return;
    }
    bool same_day = parts.tm_yday == today.tm_yday && parts.tm_year == today.tm_year;
    strftime(out, capacity, same_day ? "%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &parts);
}

/* Says who holds a lock that is held. The new holder may still be writing its card. */
static void describe_holder(kl_device *lock, char *out, size_t capacity) {
    holder_card card;
    bool is_card = false, is_true = false;
    for (int i = 0; i < HOLDER_TRIES_MAX && !is_true; i++) {
        if (i > 0) nanosleep(&(struct timespec){.tv_nsec = HOLDER_TRY_WAIT_NS}, NULL);
        is_card = read_card(lock, &card);
        is_true = is_card && is_true_card(&card);
    }
    char started[32];
    if (is_card) time_text(card.started, started, sizeof started);
    if (is_true && card.pid == getpid()) {
        snprintf(out, capacity, "this process, %ld (%s), started %s", card.pid, card.program,
                 started);
    } else if (is_true) {
        snprintf(out, capacity, "process %ld (%s), started %s", card.pid, card.program, started);
    } else if (is_card) {
        snprintf(out, capacity, "a process not visible from here (last known: %ld, %s, started %s)",
                 card.pid, card.program, started);
    } else {
        snprintf(out, capacity, "another process");
    }
}

/* ---- lock ---- */

/* 0, or errno. EAGAIN: somebody else holds it. */
static int take_lock(int folder_fd, int lock_fd) {
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(lock_fd, F_OFD_SETLK, &whole) != 0) return errno == EACCES ? EAGAIN : errno;
    /* The second one only guards against a deleted LOCK: a file system without it will do. */
    return flock(folder_fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK ? EWOULDBLOCK : 0;
}

int32_t kl_folder_lock(kl_folder *folder, const char *program) {
    if (folder->read_only)
        return kl_fail(KL_ERR_ARGUMENT, "%s was opened for reading only", folder->path);
    if (folder->lock != NULL) return kl_fail(KL_ERR_EXISTS, "%s is locked by us", folder->path);
    kl_device *lock;
    int32_t status =
        kl_device_open(&lock, folder->fd, KL_FOLDER_LOCK_NAME, KL_DEVICE_WRITE | KL_DEVICE_CREATE);
    if (status != KL_OK) return status;
    int error = take_lock(folder->fd, kl_device_fd(lock));
    if (error == 0) {
        folder->lock = lock;
        write_card(folder, program);
        return KL_OK;
    }
    if (error == EWOULDBLOCK) {
        char holder[320];
        describe_holder(lock, holder, sizeof holder);
        status = kl_fail(KL_ERR_LOCKED, "%s is in use by %s; stop it or use another folder",
                         folder->path, holder);
    } else {
        status = kl_fail_errno(KL_ERR_IO, error, "lock %s", kl_device_path(lock));
    }
    kl_device_close(lock);
    return status;
}

static int32_t holder_of(int folder_fd, char *out, size_t capacity) {
    kl_device *lock;
    int32_t status = kl_device_open(&lock, folder_fd, KL_FOLDER_LOCK_NAME, KL_DEVICE_ANY_OWNER);
    if (status == KL_ERR_NOT_FOUND) return 0;
    if (status != KL_OK) return status;
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(kl_device_fd(lock), F_OFD_GETLK, &whole) != 0) {
        status = kl_fail_errno(KL_ERR_IO, errno, "look at the lock of %s", kl_device_path(lock));
    } else if (whole.l_type != F_UNLCK) {
        describe_holder(lock, out, capacity);
        status = (int32_t)strlen(out);
    }
    kl_device_close(lock);
    return status;
}

int32_t kl_folder_holder_text(const char *path, char *out, size_t capacity) {
    if (capacity == 0) return kl_fail(KL_ERR_ARGUMENT, "no room for the holder's text");
    out[0] = '\0';
    char clean[PATH_MAX];
    int32_t status = trimmed(path, clean, sizeof clean);
    if (status != KL_OK) return status;
    int fd = open_folder(clean);
    if (fd < 0) return open_failed(errno, clean);
    status = holder_of(fd, out, capacity);
    (void)close(fd);
    return status;
}

/* ---- the rest ---- */

void kl_folder_close(kl_folder *folder) {
    if (folder == NULL) return;
    /* Closing drops both locks, but for a child that was forked and did not exec: drop them now. */
    if (folder->lock != NULL) {
        struct flock none = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
        (void)flock(folder->fd, LOCK_UN);
        (void)fcntl(kl_device_fd(folder->lock), F_OFD_SETLK, &none);
        kl_device_close(folder->lock);
    }
    (void)close(folder->fd);
    free(folder);
}

int kl_folder_fd(const kl_folder *folder) {
    return folder->fd;
}

const char *kl_folder_path(const kl_folder *folder) {
    return folder->path;
}

int32_t kl_folder_sync(kl_folder *folder) {
    return kl_device_sync_folder(folder->fd);
}

/* ---- the FFI ---- */

static void destroy_folder(void *object) {
    kl_folder_close(object);
}

double kl_folder_handle_open(const uint8_t *path, uint32_t path_bytes, const uint8_t *program,
                             uint32_t program_bytes, uint32_t flags) {
    char path_text[PATH_MAX], program_text[PROGRAM_BYTES_MAX];
    int32_t status = kl_folder_text(path, path_bytes, path_text, sizeof path_text);
    if (status == KL_OK && program_bytes > 0)
        status = kl_folder_text(program, program_bytes, program_text, sizeof program_text);
    if (status != KL_OK) return status;
    kl_folder *folder;
    status = kl_folder_open(&folder, path_text, flags);
    if (status != KL_OK) return status;
    if (!(flags & KL_FOLDER_READ_ONLY))
        status = kl_folder_lock(folder, program_bytes > 0 ? program_text : NULL);
    uint32_t handle = 0;
    if (status == KL_OK) {
        handle = kl_handle_open(KL_HANDLE_FOLDER, folder, destroy_folder);
        if (handle == 0) status = kl_fail(KL_ERR_LIMIT, "no handle is free to open %s", path_text);
    }
    if (status == KL_OK) return handle;
    kl_folder_close(folder);
    return status;
}

int32_t kl_folder_handle_close(uint32_t handle) {
    return kl_handle_close(handle, KL_HANDLE_FOLDER);
}

int32_t kl_folder_holder(const uint8_t *path, uint32_t path_bytes, uint8_t *out,
                         uint32_t capacity) {
    char path_text[PATH_MAX], holder[384];
    int32_t status = kl_folder_text(path, path_bytes, path_text, sizeof path_text);
    if (status == KL_OK) status = kl_folder_holder_text(path_text, holder, sizeof holder);
    if (status <= 0) return status;
    uint32_t bytes = (uint32_t)status < capacity ? (uint32_t)status : capacity;
    if (out == NULL) return 0;
    memcpy(out, holder, bytes);
    return (int32_t)bytes;
}
