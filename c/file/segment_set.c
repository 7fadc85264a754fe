#include "file/segment_set.h"

#include "base/checksum.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREPARING_MAX 16u /* threads that prepare at one time */
#define NAME_BYTES    40u /* "segment-" + 16 digits + ".kls" and NUL */

/* docs/format_segment.md; little-endian. Rules of the checksum and the first 16 bytes are the same
 * in every version to come. */
typedef struct {
    char magic[8];
    uint32_t version;
    uint32_t header_bytes;
    uint8_t uuid[16];
    uint64_t number;
    uint64_t first_address;
    uint64_t segment_bytes;
    uint32_t crc32c; /* of the block with this field 0, seeded with the uuid */
    uint32_t flags;  /* header_flag */
    uint8_t zeros[KL_SEGMENT_HEADER_BYTES - 64];
} segment_header;

enum header_flag { RECYCLED = 1u };

static_assert(sizeof(segment_header) == KL_SEGMENT_HEADER_BYTES, "the header fills its block");
static_assert(offsetof(segment_header, crc32c) == 56, "as drawn in the format's page");
static_assert(offsetof(segment_header, zeros) == 64, "as drawn in the format's page");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the bytes on disk are little-endian");

static const char magic[8] = {'K', 'L', 'S', 'E', 'G', 'M', 'T', '1'};

struct kl_segment_set {
    int folder_fd;
    kl_segment_set_spec spec;
    pthread_mutex_t mutex; /* guards all below */
    uint64_t spares[KL_SEGMENT_SPARE_MAX];
    uint32_t spare_count;
    uint32_t retiring_count; /* places promised to segments that are being renamed */
    uint64_t
        preparing[PREPARING_MAX]; /* numbers whose name may be there, but not for certain yet */
    uint32_t preparing_count;
    int32_t failure; /* of a folder sync; sticky */
    char failure_text[KL_DETAIL_BYTES_MAX + 1];
};

/* ---- header ---- */

static uint32_t header_crc(const segment_header *header) {
    static const uint32_t zero = 0;
    uint32_t crc = kl_crc32c(0, header->uuid, sizeof header->uuid);
    crc = kl_crc32c(crc, header, offsetof(segment_header, crc32c));
    crc = kl_crc32c(crc, &zero, sizeof zero);
    return kl_crc32c(crc, &header->flags, sizeof *header - offsetof(segment_header, flags));
}

static void encode(uint8_t *block, const uint8_t *uuid, uint64_t number, uint64_t first_address,
                   uint64_t segment_bytes, uint32_t flags) {
    segment_header header = {.version = KL_SEGMENT_VERSION,
                             .header_bytes = KL_SEGMENT_HEADER_BYTES,
                             .number = number,
                             .first_address = first_address,
                             .segment_bytes = segment_bytes,
                             .flags = flags};
    memcpy(header.magic, magic, sizeof magic);
    memcpy(header.uuid, uuid, sizeof header.uuid);
    header.crc32c = header_crc(&header);
    memcpy(block, &header, sizeof header);
}

void kl_segment_encode(uint8_t *block, const uint8_t *uuid, uint64_t number, uint64_t first_address,
                       uint64_t segment_bytes) {
    encode(block, uuid, number, first_address, segment_bytes, 0);
}

static bool is_size(uint64_t bytes) {
    return bytes >= KL_SEGMENT_BYTES_MIN && bytes <= KL_SEGMENT_BYTES_MAX &&
           bytes % KL_DEVICE_BLOCK_BYTES == 0;
}

int32_t kl_segment_decode(const uint8_t *block, const uint8_t *uuid, uint64_t number,
                          uint64_t file_bytes, const char *path, kl_segment *out) {
    segment_header header;
    memcpy(&header, block, sizeof header);
    const uint8_t *has = header.uuid;
    if (memcmp(header.magic, magic, sizeof magic) != 0)
        return kl_fail(KL_ERR_FOREIGN, "%s at 0: not a Keelson segment, expected KLSEGMT1", path);
    uint32_t crc = header_crc(&header);
    if (header.crc32c != crc)
        return kl_fail(KL_ERR_CORRUPT, "%s at 0: header checksum %08x, expected %08x", path,
                       header.crc32c, crc);
    if (header.version != KL_SEGMENT_VERSION || header.header_bytes != KL_SEGMENT_HEADER_BYTES)
        return kl_fail(KL_ERR_VERSION, "%s: version %u, this build knows %u; use a newer Keelson",
                       path, header.version, KL_SEGMENT_VERSION);
    if (memcmp(header.uuid, uuid, sizeof header.uuid) != 0)
        return kl_fail(KL_ERR_FOREIGN,
                       "%s belongs to another owner: uuid %02x%02x%02x%02x..., expected "
                       "%02x%02x%02x%02x...",
                       path, has[0], has[1], has[2], has[3], uuid[0], uuid[1], uuid[2], uuid[3]);
    if (header.number != number)
        return kl_fail(KL_ERR_CORRUPT, "%s at 32: segment number %llu, expected %llu", path,
                       (unsigned long long)header.number, (unsigned long long)number);
    if (!is_size(header.segment_bytes))
        return kl_fail(KL_ERR_CORRUPT, "%s at 48: size %llu is not one a segment can have", path,
                       (unsigned long long)header.segment_bytes);
    if (file_bytes != header.segment_bytes)
        return kl_fail(file_bytes < header.segment_bytes ? KL_ERR_TRUNCATED : KL_ERR_CORRUPT,
                       "%s has %llu bytes, expected %llu", path, (unsigned long long)file_bytes,
                       (unsigned long long)header.segment_bytes);
    *out = (kl_segment){.number = number,
                        .first_address = header.first_address,
                        .segment_bytes = header.segment_bytes,
                        .recycled = (header.flags & RECYCLED) != 0};
    return KL_OK;
}

/* ---- names ---- */

static const char *name_of(char *out, const char *kind, uint64_t number, const char *ending) {
    snprintf(out, NAME_BYTES, "%s-%016llx.%s", kind, (unsigned long long)number, ending);
    return out;
}

/* True: `name` is exactly what name_of() gives for this kind, ending and some number. */
static bool parse_name(const char *name, const char *kind, const char *ending, uint64_t *number) {
    char again[NAME_BYTES];
    size_t kind_bytes = strlen(kind);
    if (strncmp(name, kind, kind_bytes) != 0 || name[kind_bytes] != '-') return false;
    *number = strtoull(name + kind_bytes + 1, NULL, 16);
    return strcmp(name, name_of(again, kind, *number, ending)) == 0;
}

/* Calls `visit` for each name in the folder. Stops at its first failure. */
static int32_t each_name(const kl_segment_set *set, int32_t (*visit)(void *, const char *),
                         void *argument) {
    int fd = openat(set->folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (folder == NULL) {
        int error = errno;
        if (fd >= 0) (void)close(fd);
        return kl_fail_errno(KL_ERR_IO, error, "list the folder of the segments");
    }
    int32_t status = KL_OK;
    while (status == KL_OK) {
        errno = 0;
        struct dirent *entry = readdir(folder);
        if (entry == NULL) {
            if (errno != 0)
                status = kl_fail_errno(KL_ERR_IO, errno, "list the folder of the segments");
            break;
        }
        status = visit(argument, entry->d_name);
    }
    (void)closedir(folder);
    return status;
}

static int compare_numbers(const void *a, const void *b) {
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

/* ---- open and close ---- */

/* What the folder holds is not known after a failed sync, and a second one may lie. */
static int32_t sync_folder(kl_segment_set *set) {
    int32_t status = kl_device_sync_folder(set->folder_fd);
    if (status == KL_OK) return KL_OK;
    pthread_mutex_lock(&set->mutex);
    if (set->failure == KL_OK) {
        set->failure = status;
        snprintf(set->failure_text, sizeof set->failure_text, "%s", kl_status_last());
    }
    pthread_mutex_unlock(&set->mutex);
    return status;
}

static bool has_size(int folder_fd, const char *name, uint64_t bytes) {
    struct stat status;
    return fstatat(folder_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode) &&
           (uint64_t)status.st_size == bytes;
}

/* Keeps spares that fit, removes leftovers of killed processes. */
static int32_t tidy_name(void *argument, const char *name) {
    kl_segment_set *set = argument;
    uint64_t number;
    if (parse_name(name, "segment", "tmp", &number)) return kl_device_unlink(set->folder_fd, name);
    if (!parse_name(name, "spare", "kls", &number)) return KL_OK;
    if (set->spare_count < set->spec.spare_max &&
        has_size(set->folder_fd, name, set->spec.segment_bytes)) {
        set->spares[set->spare_count++] = number;
        return KL_OK;
    }
    return kl_device_unlink(set->folder_fd, name);
}

int32_t kl_segment_set_open(kl_segment_set **out, int folder_fd, const kl_segment_set_spec *spec) {
    *out = NULL;
    bool writable = !(spec->flags & KL_SEGMENT_SET_READ_ONLY);
    if (writable && !is_size(spec->segment_bytes))
        return kl_fail(KL_ERR_ARGUMENT,
                       "a segment of %llu bytes: expected a multiple of %u from %u to %llu",
                       (unsigned long long)spec->segment_bytes, KL_DEVICE_BLOCK_BYTES,
                       KL_SEGMENT_BYTES_MIN, (unsigned long long)KL_SEGMENT_BYTES_MAX);
    if (spec->spare_max > KL_SEGMENT_SPARE_MAX)
        return kl_fail(KL_ERR_ARGUMENT, "%u spare segments: at most %u are kept", spec->spare_max,
                       KL_SEGMENT_SPARE_MAX);
    kl_segment_set *set = calloc(1, sizeof *set);
    if (set == NULL) return kl_fail(KL_ERR_MEMORY, "no memory for a segment set");
    set->folder_fd = folder_fd;
    set->spec = *spec;
    pthread_mutex_init(&set->mutex, NULL);
    int32_t status = writable ? each_name(set, tidy_name, set) : KL_OK;
    /* A process killed between rename and folder sync leaves a segment that a power cut would
     * take back after we have written to it. */
    if (status == KL_OK && writable) status = sync_folder(set);
    if (status == KL_OK) {
        *out = set;
    } else {
        kl_segment_set_close(set);
    }
    return status;
}

void kl_segment_set_close(kl_segment_set *set) {
    if (set == NULL) return;
    pthread_mutex_destroy(&set->mutex);
    free(set);
}

uint32_t kl_segment_set_spare_count(kl_segment_set *set) {
    pthread_mutex_lock(&set->mutex);
    uint32_t count = set->spare_count;
    pthread_mutex_unlock(&set->mutex);
    return count;
}

/* ---- failure ---- */

static int32_t check_writable(kl_segment_set *set) {
    if (set->spec.flags & KL_SEGMENT_SET_READ_ONLY)
        return kl_fail(KL_ERR_ARGUMENT, "this segment set was opened for reading only");
    pthread_mutex_lock(&set->mutex);
    int32_t failure = set->failure;
    pthread_mutex_unlock(&set->mutex);
    return failure == KL_OK ? KL_OK : kl_fail(failure, "%s", set->failure_text);
}

/* Removes what a failed prepare has begun, and keeps the detail of the failure. */
static int32_t undo(const kl_segment_set *set, const char *name, int32_t status) {
    char detail[KL_DETAIL_BYTES_MAX + 1];
    snprintf(detail, sizeof detail, "%s", kl_status_last());
    (void)kl_device_unlink(set->folder_fd, name);
    return kl_fail(status, "%s", detail);
}

/* ---- prepare ---- */

static uint32_t device_flags(const kl_segment_set *set) {
    if (set->spec.flags & KL_SEGMENT_SET_READ_ONLY) return KL_DEVICE_ANY_OWNER;
    return KL_DEVICE_WRITE | (set->spec.flags & KL_SEGMENT_SET_DIRECT ? KL_DEVICE_DIRECT : 0);
}

static int32_t write_header(kl_segment_set *set, kl_device *device, uint64_t number,
                            uint64_t first_address, uint32_t flags) {
    _Alignas(KL_DEVICE_BLOCK_BYTES) uint8_t block[KL_SEGMENT_HEADER_BYTES];
    encode(block, set->spec.uuid, number, first_address, set->spec.segment_bytes, flags);
    int32_t status = kl_device_write_at(device, 0, block, sizeof block);
    return status == KL_OK ? kl_device_sync(device) : status;
}

static int32_t fill_fresh(kl_segment_set *set, const char *name, uint64_t number,
                          uint64_t first_address) {
    kl_device *device;
    int32_t status = kl_device_open(&device, set->folder_fd, name,
                                    device_flags(set) | KL_DEVICE_CREATE | KL_DEVICE_EXCLUSIVE);
    if (status != KL_OK) return status;
    status = kl_device_zero_fill(device, 0, set->spec.segment_bytes);
    if (status == KL_OK) status = kl_device_sync(device);
    if (status == KL_OK) status = write_header(set, device, number, first_address, 0);
    kl_device_close(device);
    return status == KL_OK ? KL_OK : undo(set, name, status);
}

static int32_t fill_spare(kl_segment_set *set, const char *name, uint64_t number,
                          uint64_t first_address) {
    kl_device *device;
    int32_t status = kl_device_open(&device, set->folder_fd, name, device_flags(set));
    if (status != KL_OK) return status;
    status = write_header(set, device, number, first_address, RECYCLED);
    kl_device_close(device);
    return status == KL_OK ? KL_OK : undo(set, name, status);
}

static bool take_spare(kl_segment_set *set, uint64_t *number) {
    pthread_mutex_lock(&set->mutex);
    bool taken = set->spare_count > 0;
    if (taken) *number = set->spares[--set->spare_count];
    pthread_mutex_unlock(&set->mutex);
    return taken;
}

/* Caller holds the mutex. */
static bool is_preparing(const kl_segment_set *set, uint64_t number) {
    for (uint32_t i = 0; i < set->preparing_count; i++)
        if (set->preparing[i] == number) return true;
    return false;
}

/* Until the folder is synced a power cut would take the name back, with all that was written to the
 * segment meanwhile, synced or not: so nobody may open it for writing before. */
static int32_t begin_preparing(kl_segment_set *set, uint64_t number) {
    pthread_mutex_lock(&set->mutex);
    bool twice = is_preparing(set, number), full = set->preparing_count == PREPARING_MAX;
    if (!twice && !full) set->preparing[set->preparing_count++] = number;
    pthread_mutex_unlock(&set->mutex);
    if (twice)
        return kl_fail(KL_ERR_EXISTS, "segment %llu is being made", (unsigned long long)number);
    if (full)
        return kl_fail(KL_ERR_LIMIT, "%u segments are being made: no more at one time",
                       PREPARING_MAX);
    return KL_OK;
}

static void end_preparing(kl_segment_set *set, uint64_t number) {
    pthread_mutex_lock(&set->mutex);
    for (uint32_t i = 0; i < set->preparing_count; i++) {
        if (set->preparing[i] != number) continue;
        set->preparing[i] = set->preparing[--set->preparing_count];
        break;
    }
    pthread_mutex_unlock(&set->mutex);
}

static int32_t prepare(kl_segment_set *set, uint64_t number, uint64_t first_address) {
    char source[NAME_BYTES], target[NAME_BYTES];
    int32_t status;
    name_of(target, "segment", number, "kls");
    if (faccessat(set->folder_fd, target, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return kl_fail(KL_ERR_EXISTS, "%s exists already", target);
    uint64_t spare;
    status = KL_ERR_NOT_FOUND; /* as when somebody removed the spare */
    if (take_spare(set, &spare))
        status = fill_spare(set, name_of(source, "spare", spare, "kls"), number, first_address);
    if (status == KL_ERR_NOT_FOUND) {
        status = fill_fresh(set, name_of(source, "segment", number, "tmp"), number, first_address);
    }
    if (status != KL_OK) return status;
    status = kl_device_rename_new(set->folder_fd, source, target);
    if (status != KL_OK) return undo(set, source, status);
    status = sync_folder(set);
    return status == KL_OK ? KL_OK : undo(set, target, status);
}

int32_t kl_segment_set_prepare(kl_segment_set *set, uint64_t number, uint64_t first_address) {
    int32_t status = check_writable(set);
    if (status == KL_OK) status = begin_preparing(set, number);
    if (status != KL_OK) return status;
    status = prepare(set, number, first_address);
    end_preparing(set, number);
    return status;
}

/* ---- use ---- */

static int32_t open_numbered(const kl_segment_set *set, uint64_t number, uint32_t flags,
                             kl_segment *out) {
    char name[NAME_BYTES];
    uint8_t block[KL_SEGMENT_HEADER_BYTES];
    *out = (kl_segment){0};
    kl_device *device;
    int32_t status =
        kl_device_open(&device, set->folder_fd, name_of(name, "segment", number, "kls"), flags);
    if (status != KL_OK) return status;
    uint64_t file_bytes = 0;
    size_t got = 0;
    status = kl_device_size(device, &file_bytes);
    if (status == KL_OK) status = kl_device_read_at(device, 0, block, sizeof block, &got);
    if (status == KL_OK && got < sizeof block)
        status = kl_fail(KL_ERR_TRUNCATED, "%s has %zu bytes, expected a header of %u",
                         kl_device_path(device), got, KL_SEGMENT_HEADER_BYTES);
    if (status == KL_OK)
        status = kl_segment_decode(block, set->spec.uuid, number, file_bytes,
                                   kl_device_path(device), out);
    if (status == KL_OK) {
        out->device = device;
    } else {
        kl_device_close(device);
    }
    return status;
}

int32_t kl_segment_set_open_segment(kl_segment_set *set, uint64_t number, kl_segment *out) {
    uint32_t flags = device_flags(set);
    if (flags & KL_DEVICE_WRITE) {
        flags |= KL_DEVICE_OVERLAP;
        pthread_mutex_lock(&set->mutex);
        bool early = is_preparing(set, number);
        pthread_mutex_unlock(&set->mutex);
        if (early)
            return kl_fail(KL_ERR_NOT_FOUND, "segment %llu is still being made",
                           (unsigned long long)number);
    }
    return open_numbered(set, number, flags, out);
}

typedef struct {
    uint64_t *numbers;
    uint32_t count;
    uint32_t room;
} number_list;

static int32_t collect_name(void *argument, const char *name) {
    number_list *list = argument;
    uint64_t number;
    if (!parse_name(name, "segment", "kls", &number)) return KL_OK;
    if (list->count == list->room) {
        if (list->room == KL_SEGMENT_COUNT_MAX)
            return kl_fail(KL_ERR_LIMIT, "more than %u segments in one folder",
                           KL_SEGMENT_COUNT_MAX);
        uint32_t room = list->room == 0 ? 64 : 2 * list->room;
        uint64_t *grown = realloc(list->numbers, room * sizeof *grown);
        if (grown == NULL) return kl_fail(KL_ERR_MEMORY, "no memory to list segments");
        list->numbers = grown;
        list->room = room;
    }
    list->numbers[list->count++] = number;
    return KL_OK;
}

static void examine_entry(const kl_segment_set *set, kl_segment_entry *entry) {
    kl_segment segment;
    uint32_t flags = device_flags(set) & KL_DEVICE_ANY_OWNER; /* a look changes nothing */
    entry->status = open_numbered(set, entry->number, flags, &segment);
    if (entry->status != KL_OK) {
        snprintf(entry->reason, sizeof entry->reason, "%s", kl_status_last());
        return;
    }
    entry->first_address = segment.first_address;
    entry->segment_bytes = segment.segment_bytes;
    entry->recycled = segment.recycled;
    kl_device_close(segment.device);
}

int32_t kl_segment_set_list(kl_segment_set *set, kl_segment_listing *out) {
    *out = (kl_segment_listing){0};
    number_list list = {0};
    int32_t status = each_name(set, collect_name, &list);
    if (status == KL_OK && list.count > 0) {
        qsort(list.numbers, list.count, sizeof *list.numbers, compare_numbers);
        out->entries = calloc(list.count, sizeof *out->entries);
        if (out->entries == NULL) status = kl_fail(KL_ERR_MEMORY, "no memory to list segments");
    }
    for (uint32_t i = 0; status == KL_OK && i < list.count; i++) {
        kl_segment_entry *entry = &out->entries[out->count];
        entry->number = list.numbers[i];
        examine_entry(set, entry);
        if (entry->status == KL_ERR_NOT_FOUND) continue; /* retired since the names were read */
        if (entry->status != KL_OK) out->damaged_count++;
        if (out->count > 0 && entry->number != entry[-1].number + 1 && out->gap_count++ == 0)
            out->gap_after = entry[-1].number;
        out->count++;
    }
    free(list.numbers);
    return status;
}

void kl_segment_listing_free(kl_segment_listing *listing) {
    free(listing->entries);
    *listing = (kl_segment_listing){0};
}

/* ---- retire ---- */

static bool promise_place(kl_segment_set *set) {
    pthread_mutex_lock(&set->mutex);
    bool room = set->spare_count + set->retiring_count < set->spec.spare_max;
    if (room) set->retiring_count++;
    pthread_mutex_unlock(&set->mutex);
    return room;
}

static void settle_place(kl_segment_set *set, bool spared, uint64_t number) {
    pthread_mutex_lock(&set->mutex);
    KL_ASSERT(set->retiring_count > 0 && set->spare_count < KL_SEGMENT_SPARE_MAX);
    set->retiring_count--;
    if (spared) set->spares[set->spare_count++] = number;
    pthread_mutex_unlock(&set->mutex);
}

int32_t kl_segment_set_retire(kl_segment_set *set, uint64_t number) {
    char name[NAME_BYTES], spare[NAME_BYTES];
    int32_t status = check_writable(set);
    if (status != KL_OK) return status;
    name_of(name, "segment", number, "kls");
    name_of(spare, "spare", number, "kls");
    bool fits = has_size(set->folder_fd, name, set->spec.segment_bytes);
    if (!fits || !promise_place(set)) {
        status = kl_device_unlink(set->folder_fd, name);
        return status == KL_OK ? sync_folder(set) : status;
    }
    status = kl_device_rename(set->folder_fd, name, spare);
    if (status == KL_OK) status = sync_folder(set);
    /* A spare only once that is durable: before, a power cut may bring the old name back. */
    settle_place(set, status == KL_OK, number);
    return status;
}
