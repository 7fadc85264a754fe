#include "log/log_cursor.h"

#include "base/clock.h"
#include "file/folder.h"
#include "file/manifest.h"
#include "log/log_reader.h"
#include "log/log_state.h"
#include "mem/killpoint.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define KIND         0x53525543u /* "CURS" */
#define PREFIX       "cursor-"
#define ENDING       ".manifest"
#define FILE_BYTES   (sizeof PREFIX + KL_LOG_CURSOR_NAME_MAX + sizeof ENDING)
#define FROM_ADDRESS 9007199254740992ull /* 2^53, what a reader takes */

typedef struct {
    uint64_t address;
    uint64_t moved_at; /* ns since 1970; for messages */
    uint64_t reserved[6];
} cursor_state;

static_assert(sizeof(cursor_state) == 64, "as drawn in docs/format_log.md");

struct kl_log_cursor {
    kl_manifest *manifest;
    int lock;
    uint64_t address;
    char name[KL_LOG_CURSOR_NAME_MAX + 1];
};

/* ---- names ---- */

static bool is_name(const char *name, size_t bytes) {
    if (bytes == 0 || bytes > KL_LOG_CURSOR_NAME_MAX) return false;
    for (size_t i = 0; i < bytes; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != '_' && name[i] != '-') return false;
    return true;
}

static int32_t file_of(const char *name, char *out) {
    size_t bytes = name == NULL ? 0 : strnlen(name, KL_LOG_CURSOR_NAME_MAX + 1);
    if (!is_name(name, bytes))
        return kl_fail(KL_ERR_NAME, "a cursor's name is 1 to %u letters, digits, '_' and '-'",
                       KL_LOG_CURSOR_NAME_MAX);
    snprintf(out, FILE_BYTES, PREFIX "%s" ENDING, name);
    return KL_OK;
}

/* The bytes of the name within a file's name; 0: it is no cursor. */
static size_t name_in(const char *file) {
    size_t bytes = strlen(file), around = sizeof PREFIX - 1 + sizeof ENDING - 1;
    if (bytes <= around || strncmp(file, PREFIX, sizeof PREFIX - 1) != 0 ||
        strcmp(file + bytes - (sizeof ENDING - 1), ENDING) != 0)
        return 0;
    return is_name(file + sizeof PREFIX - 1, bytes - around) ? bytes - around : 0;
}

/* Calls `visit` for each cursor's file. */
static int32_t each_cursor(int folder_fd, int32_t (*visit)(void *, int, const char *),
                           void *argument) {
    int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (folder == NULL) {
        int error = errno;
        if (fd >= 0) (void)close(fd);
        return kl_fail_errno(KL_ERR_IO, error, "list the cursors of a log");
    }
    int32_t status = KL_OK;
    uint32_t count = 0;
    for (struct dirent *entry; status == KL_OK && (entry = readdir(folder)) != NULL;) {
        if (name_in(entry->d_name) == 0) continue;
        status = ++count > KL_LOG_CURSORS_MAX
                     ? kl_fail(KL_ERR_LIMIT, "a log has at most %u cursors", KL_LOG_CURSORS_MAX)
                     : visit(argument, folder_fd, entry->d_name);
    }
    (void)closedir(folder);
    return status;
}

/* ---- locks ---- */

int kl_log_cursors_lock(int folder_fd) {
    int fd = openat(folder_fd, KL_LOG_MANIFEST_NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return kl_fail_errno(KL_ERR_IO, errno, "open %s", KL_LOG_MANIFEST_NAME);
    while (flock(fd, LOCK_EX) != 0) {
        if (errno == EINTR) continue;
        int error = errno;
        (void)close(fd);
        return kl_fail_errno(KL_ERR_IO, error, "lock %s", KL_LOG_MANIFEST_NAME);
    }
    return fd;
}

void kl_log_cursors_unlock(int lock) {
    if (lock >= 0) (void)close(lock);
}

/* Locks the cursor's own file. */
static int32_t lock_cursor(int folder_fd, const char *file, const char *name, int *out) {
    *out = openat(folder_fd, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (*out < 0) return kl_fail_errno(KL_ERR_IO, errno, "open the cursor %s", name);
    if (flock(*out, LOCK_EX | LOCK_NB) == 0) return KL_OK;
    int error = errno;
    (void)close(*out);
    *out = -1;
    if (error != EWOULDBLOCK) return kl_fail_errno(KL_ERR_IO, error, "lock the cursor %s", name);
    return kl_fail(KL_ERR_LOCKED, "the cursor %s is open elsewhere: close it there first", name);
}

/* ---- state ---- */

static int32_t read_state(kl_manifest *manifest, const char *file, cursor_state *state) {
    int32_t bytes = kl_manifest_read(manifest, state, sizeof *state);
    if (bytes < 0) return bytes;
    if ((size_t)bytes < sizeof *state || state->address % 8 != 0)
        return kl_fail(KL_ERR_CORRUPT, "%s: expected an address in 64 bytes, found %d bytes", file,
                       bytes);
    return KL_OK;
}

static int32_t lower_pin(void *argument, int folder_fd, const char *file) {
    uint64_t *pin = argument;
    cursor_state state;
    kl_manifest *manifest = NULL;
    kl_manifest_spec spec = {.kind = KIND, .flags = KL_MANIFEST_READ_ONLY};
    int32_t status = kl_manifest_open(&manifest, folder_fd, file, &spec, NULL);
    if (status == KL_ERR_NOT_FOUND) return KL_OK; /* removed since the names were read */
    if (status == KL_OK) status = read_state(manifest, file, &state);
    if (status == KL_OK && state.address < *pin) *pin = state.address;
    if (status == KL_ERR_NOT_FOUND) status = KL_OK; /* being made by one who died: nothing yet */
    kl_manifest_close(manifest);
    return status;
}

int32_t kl_log_cursors_pin(int folder_fd, uint64_t *pin) {
    *pin = UINT64_MAX;
    return each_cursor(folder_fd, lower_pin, pin);
}

static int32_t write_state(kl_log_cursor *cursor, uint64_t address) {
    cursor_state state = {.address = address, .moved_at = kl_clock_realtime_ns()};
    int32_t status = kl_manifest_write(cursor->manifest, &state, sizeof state);
    if (status == KL_OK) cursor->address = address;
    return status;
}

/* What the log's manifest says now. */
static int32_t read_log(int folder_fd, const char *folder, kl_log_manifest *state) {
    kl_manifest *manifest = NULL;
    kl_manifest_spec spec = {.kind = KL_LOG_MANIFEST_KIND, .flags = KL_MANIFEST_READ_ONLY};
    int32_t status = kl_manifest_open(&manifest, folder_fd, KL_LOG_MANIFEST_NAME, &spec, NULL);
    if (status != KL_OK) return status;
    int32_t bytes = kl_manifest_read(manifest, state, sizeof *state);
    status = bytes < 0 ? bytes : kl_log_check_manifest(state, (size_t)bytes, folder);
    kl_manifest_close(manifest);
    return status;
}

/* Where a new cursor may begin. Caller holds the cursors' lock. */
static int32_t beginning(int folder_fd, const char *folder, uint64_t from, uint64_t *address) {
    kl_log_manifest state;
    kl_log_reader *reader = NULL;
    int32_t status = read_log(folder_fd, folder, &state);
    if (status != KL_OK) return status;
    bool at_end = from == KL_LOG_CURSOR_END;
    *address = from == 0 ? state.first : at_end ? state.durable : from;
    if (*address > FROM_ADDRESS)
        return kl_fail(KL_ERR_ARGUMENT, "a cursor begins at an address up to 2^53");
    if (*address == state.first && !at_end) return KL_OK;
    /* The reader learns from the ring and from later frames how far the log is really durable. */
    status = kl_log_reader_open(&reader, folder, (double)*address, KL_LOG_READ_ALL_KINDS);
    if (status == KL_OK && at_end)
        *address = kl_log_reader_durable(reader);
    else if (status == KL_OK && kl_log_reader_durable(reader) < *address)
        status = kl_fail(KL_ERR_ARGUMENT, "address %llu is not durable yet",
                         (unsigned long long)*address);
    kl_log_reader_close(reader);
    return status;
}

/* ---- opening ---- */

/* Caller holds the cursors' lock. */
static int32_t open_locked(kl_log_cursor *cursor, int folder_fd, const char *folder,
                           uint64_t from) {
    char file[FILE_BYTES];
    cursor_state state = {0};
    kl_manifest_spec spec = {.kind = KIND};
    int32_t status = file_of(cursor->name, file);
    if (status != KL_OK) return status;
    bool exists = faccessat(folder_fd, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    uint64_t address = 0;
    if (!exists) {
        status = beginning(folder_fd, folder, from, &address);
        spec.flags = KL_MANIFEST_CREATE | KL_MANIFEST_EXCLUSIVE;
        if (status == KL_OK)
            status = kl_manifest_open(&cursor->manifest, folder_fd, file, &spec, NULL);
        KL_KILLPOINT("log_cursor: made");
        if (status == KL_OK) status = lock_cursor(folder_fd, file, cursor->name, &cursor->lock);
        return status == KL_OK ? write_state(cursor, address) : status;
    }
    status = lock_cursor(folder_fd, file, cursor->name, &cursor->lock);
    if (status == KL_OK) status = kl_manifest_open(&cursor->manifest, folder_fd, file, &spec, NULL);
    if (status == KL_OK) status = read_state(cursor->manifest, file, &state);
    cursor->address = state.address;
    if (status != KL_ERR_NOT_FOUND) return status;
    /* Its maker died before the first write: it is new. */
    status = beginning(folder_fd, folder, from, &address);
    return status == KL_OK ? write_state(cursor, address) : status;
}

int32_t kl_log_cursor_open(kl_log_cursor **out, const char *folder, const char *name,
                           uint64_t from) {
    char file[FILE_BYTES];
    if (out == NULL || folder == NULL)
        return kl_fail(KL_ERR_ARGUMENT, "a cursor needs the folder of its log");
    *out = NULL;
    int32_t status = file_of(name, file);
    if (status != KL_OK) return status;
    kl_folder *opened = NULL;
    status = kl_folder_open(&opened, folder, KL_FOLDER_READ_ONLY);
    if (status != KL_OK) return status;
    kl_log_cursor *cursor = calloc(1, sizeof *cursor);
    if (cursor != NULL) cursor->lock = -1;
    int lock = cursor == NULL ? kl_fail(KL_ERR_MEMORY, "no memory for a cursor")
                              : kl_log_cursors_lock(kl_folder_fd(opened));
    status = lock < 0 ? lock : KL_OK;
    if (status == KL_OK) {
        memcpy(cursor->name, name, strlen(name));
        status = open_locked(cursor, kl_folder_fd(opened), kl_folder_path(opened), from);
    }
    kl_log_cursors_unlock(lock);
    kl_folder_close(opened);
    if (status == KL_OK)
        *out = cursor;
    else
        kl_log_cursor_close(cursor);
    return status;
}

uint64_t kl_log_cursor_address(const kl_log_cursor *cursor) {
    return cursor->address;
}

int32_t kl_log_cursor_move(kl_log_cursor *cursor, uint64_t address) {
    if (cursor == NULL) return kl_fail(KL_ERR_ARGUMENT, "move needs a cursor");
    if (address < cursor->address || address % 8 != 0 || address > FROM_ADDRESS)
        return kl_fail(KL_ERR_ARGUMENT,
                       "the cursor %s stands at address %llu: it moves forward to a frame's "
                       "address, not to %llu",
                       cursor->name, (unsigned long long)cursor->address,
                       (unsigned long long)address);
    return address == cursor->address ? KL_OK : write_state(cursor, address);
}

void kl_log_cursor_close(kl_log_cursor *cursor) {
    if (cursor == NULL) return;
    kl_manifest_close(cursor->manifest);
    if (cursor->lock >= 0) (void)close(cursor->lock);
    free(cursor);
}

int32_t kl_log_cursor_remove(const char *folder, const char *name) {
    char file[FILE_BYTES];
    kl_folder *opened = NULL;
    int own = -1;
    int32_t status = file_of(name, file);
    if (status == KL_OK) status = kl_folder_open(&opened, folder, KL_FOLDER_READ_ONLY);
    if (status != KL_OK) return status;
    int fd = kl_folder_fd(opened), lock = kl_log_cursors_lock(fd);
    status = lock < 0 ? lock : lock_cursor(fd, file, name, &own);
    if (status == KL_OK) status = kl_device_unlink(fd, file);
    if (status == KL_OK) status = kl_device_sync_folder(fd);
    if (own >= 0) (void)close(own);
    kl_log_cursors_unlock(lock);
    kl_folder_close(opened);
    return status;
}

typedef struct {
    char *out;
    uint32_t capacity, used;
} name_list;

static int32_t add_name(void *argument, int folder_fd, const char *file) {
    name_list *list = argument;
    size_t bytes = name_in(file);
    (void)folder_fd;
    if (bytes + 1 > list->capacity - list->used)
        return kl_fail(KL_ERR_LIMIT, "the names of the cursors need more than %u bytes",
                       list->capacity);
    memcpy(list->out + list->used, file + sizeof PREFIX - 1, bytes);
    list->out[list->used + bytes] = '\n';
    list->used += (uint32_t)bytes + 1;
    return KL_OK;
}

int32_t kl_log_cursor_list(const char *folder, char *out, uint32_t capacity) {
    kl_folder *opened = NULL;
    name_list list = {.out = out, .capacity = capacity};
    int32_t status = kl_folder_open(&opened, folder, KL_FOLDER_READ_ONLY);
    if (status == KL_OK) status = each_cursor(kl_folder_fd(opened), add_name, &list);
    kl_folder_close(opened);
    return status == KL_OK ? (int32_t)list.used : status;
}
