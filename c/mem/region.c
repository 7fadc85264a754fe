#include "mem/region.h"

#include "base/checksum.h"
#include "base/clock.h"
#include "base/random.h"
#include "mem/fault_guard.h"
#include "mem/killpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define PREFAULT_PART_BYTES (64ull << 20)
#define SLOT_COUNTS         (KL_PARTICIPANTS | KL_PARTICIPANTS << 16)

static_assert(KL_REGION_DATA_OFFSET % KL_REGION_PAGE_BYTES == 0, "the data begins on a page");

/* ---- names and identity ---- */

static bool is_name_byte(char c, bool first) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_')
        return true;
    return !first && (c == '.' || c == '-');
}

int32_t kl_region_name_path(const char *name, char *out, size_t capacity) {
    size_t length = strnlen(name, KL_REGION_NAME_MAX + 1);
    bool good = length >= 1 && length <= KL_REGION_NAME_MAX;
    for (size_t i = 0; good && i < length; i++) good = is_name_byte(name[i], i == 0);
    if (!good)
        return kl_fail(
            KL_ERR_NAME,
            "not a region name: use 1 to %u letters, digits, '_', '.' or '-', and no '.' "
            "or '-' in front",
            KL_REGION_NAME_MAX);
    int32_t status = kl_region_file_own_folder(out, capacity);
    if (status < 0) return status;
    size_t folder = strlen(out);
    if (folder + 1 + length >= capacity)
        return kl_fail(KL_ERR_ARGUMENT, "no room for a path of %zu bytes", folder + 1 + length);
    out[folder] = '/';
    memcpy(out + folder + 1, name, length + 1);
    return KL_OK;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The number the kernel drew at boot: what was mapped before it is of another life. */
static int32_t read_boot_id(uint8_t out[16]) {
    char text[64] = {0};
    int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? -1 : read(file, text, sizeof(text) - 1);
    if (file >= 0) close(file);
    unsigned digits = 0;
    for (ssize_t i = 0; i < length && digits < 32; i++) {
        int digit = hex_digit(text[i]);
        if (digit < 0) continue;
        out[digits / 2] = (uint8_t)(digits % 2 == 0 ? digit << 4 : out[digits / 2] | digit);
        digits++;
    }
    if (digits == 32) return KL_OK;
    return kl_fail(
        KL_ERR_UNSUPPORTED,
        "cannot read /proc/sys/kernel/random/boot_id, without which a region from before "
        "a reboot looks like a live one: mount /proc");
}

static bool is_zero(const uint8_t *bytes, size_t count) {
    uint8_t all = 0;
    for (size_t i = 0; i < count; i++) all |= bytes[i];
    return all == 0;
}

static uint32_t identity_crc(const kl_region_identity *identity) {
    return kl_crc32c(0, identity, offsetof(kl_region_identity, crc));
}

/* ---- the header check, on a copy that nobody else can change ---- */

static int32_t check_size(const kl_region_identity *identity, uint64_t file_bytes,
                          const char *path) {
    uint64_t total = identity->total_bytes;
    if (identity->data_offset != KL_REGION_DATA_OFFSET || total > KL_REGION_BYTES_MAX ||
        total < KL_REGION_DATA_OFFSET || identity->data_bytes > total - KL_REGION_DATA_OFFSET ||
        identity->data_bytes == 0 || identity->slots != SLOT_COUNTS)
        return kl_fail(KL_ERR_CORRUPT, "%s: the sizes in its header contradict each other", path);
    if (file_bytes < total)
        return kl_fail(KL_ERR_TRUNCATED,
                       "%s was cut: it holds %llu bytes, its header promises %llu; remove it", path,
                       (unsigned long long)file_bytes, (unsigned long long)total);
    if (file_bytes > total)
        return kl_fail(KL_ERR_CORRUPT,
                       "%s was lengthened: it holds %llu bytes, its header says %llu", path,
                       (unsigned long long)file_bytes, (unsigned long long)total);
    return KL_OK;
}

static int32_t check_expected(const kl_region_identity *identity, const kl_region_spec *expect,
                              const char *path) {
    if (expect == NULL) return KL_OK;
    if (expect->kind != 0 && identity->kind != expect->kind)
        return kl_fail(KL_ERR_FOREIGN, "%s is a region of kind %#x, not of kind %#x", path,
                       identity->kind, expect->kind);
    if (expect->kind != 0 && identity->layout_hash != expect->layout_hash)
        return kl_fail(KL_ERR_LAYOUT,
                       "%s was made by another build (layout %#010x, this build has %#010x): stop "
                       "its users and remove it",
                       path, identity->layout_hash, expect->layout_hash);
    if (!is_zero(expect->uuid, 16) && memcmp(expect->uuid, identity->uuid, 16) != 0)
        return kl_fail(KL_ERR_FENCED, "%s is another region now than the one that was asked for",
                       path);
    return KL_OK;
}

/* `page` is the file's first page, `got` of its bytes could be read. */
static int32_t check_header(const uint8_t *page, size_t got, uint64_t file_bytes,
                            const kl_region_spec *expect, const char *path) {
    kl_region_identity identity;
    if (memcmp(page, KL_REGION_MAGIC, got < 8 ? got : 8) != 0)
        return kl_fail(KL_ERR_FOREIGN, "%s is not a Keelson region", path);
    if (got < KL_REGION_PAGE_BYTES)
        return kl_fail(KL_ERR_TRUNCATED,
                       "%s was cut: it holds %llu bytes, a region at least %u; remove it", path,
                       (unsigned long long)file_bytes, KL_REGION_DATA_OFFSET);
    memcpy(&identity, page, sizeof(identity));
    if (identity.version != KL_REGION_VERSION)
        return kl_fail(KL_ERR_VERSION, "%s has region format %u, this build knows %u", path,
                       identity.version, KL_REGION_VERSION);
    uint32_t crc = identity_crc(&identity);
    if (crc != identity.crc)
        return kl_fail(KL_ERR_CORRUPT, "%s: header checksum %#010x, expected %#010x", path,
                       identity.crc, crc);
    if (identity.state != KL_REGION_READY)
        return kl_fail(KL_ERR_CORRUPT, "%s was never finished (state %u): remove it", path,
                       identity.state);
    uint8_t boot_id[16];
    int32_t status = read_boot_id(boot_id);
    if (status < 0) return status;
    if (memcmp(boot_id, identity.boot_id, 16) != 0)
        return kl_fail(KL_ERR_FENCED, "%s is from before the last reboot: remove it", path);
    status = check_expected(&identity, expect, path);
    if (status == KL_OK) status = check_size(&identity, file_bytes, path);
    if (status < 0) return status;
    uint32_t poisoned, watched;
    memcpy(&poisoned, page + offsetof(kl_region_header, poisoned), sizeof(poisoned));
    memcpy(&watched, page + offsetof(kl_region_header, watched), sizeof(watched));
    if (poisoned != 0)
        return kl_fail(KL_ERR_POISONED, "%s was damaged while in use: remove it", path);
    size_t rest_1 = offsetof(kl_region_header, poisoned) + 4;
    size_t rest_2 = offsetof(kl_region_header, watched) + 4;
    if ((watched != 0 && watched != KL_REGION_WATCHED) || !is_zero(page + rest_1, 60) ||
        !is_zero(page + rest_2, KL_REGION_PAGE_BYTES - rest_2))
        return kl_fail(KL_ERR_CORRUPT, "%s: bytes of its header that must be zero are not", path);
    return KL_OK;
}

static int32_t read_first_page(int file, uint8_t *page, size_t *got, const char *path) {
    *got = 0;
    while (*got < KL_REGION_PAGE_BYTES) {
        ssize_t part = pread(file, page + *got, KL_REGION_PAGE_BYTES - *got, (off_t)*got);
        if (part < 0 && errno == EINTR) continue;
        if (part < 0) return kl_fail_errno(KL_ERR_IO, errno, "cannot read the header of %s", path);
        if (part == 0) break;
        *got += (size_t)part;
    }
    return KL_OK;
}

/* ---- mapping ---- */

static void free_region(kl_region *region) {
    pthread_mutex_destroy(&region->mutex);
    free(region->path);
    free(region);
}

static int32_t new_region(kl_region **out, const char *path) {
    kl_region *region = calloc(1, sizeof(*region));
    if (region != NULL) region->path = strdup(path == NULL ? "" : path);
    if (region == NULL || region->path == NULL) {
        free(region);
        return kl_fail(KL_ERR_MEMORY, "no memory for a region");
    }
    pthread_mutex_init(&region->mutex, NULL);
    region->file = (kl_region_file){.file = -1, .folder = -1};
    *out = region;
    return KL_OK;
}

static size_t whole_pages(uint64_t bytes) {
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    return (size_t)((bytes + page - 1) & ~(page - 1));
}

static int32_t map_region(kl_region *region, uint64_t total_bytes) {
    size_t bytes = whole_pages(total_bytes);
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, region->file.file, 0);
    if (base == MAP_FAILED)
        return kl_fail_errno(errno == ENOMEM ? KL_ERR_MEMORY : KL_ERR_IO, errno,
                             "cannot map the %llu bytes of region %s",
                             (unsigned long long)total_bytes, region->path);
    region->shared = base;
    region->map_bytes = bytes;
    region->data = (uint8_t *)base + KL_REGION_DATA_OFFSET;
    /* Users' data has no place in a core file, and it could be very large. */
    (void)madvise(base, bytes, MADV_DONTDUMP);
    int32_t guard = kl_fault_guard_add(base, bytes, &region->shared->poisoned);
    if (guard < 0) {
        munmap(base, bytes); /* nobody has seen these addresses */
        region->shared = NULL;
        return guard;
    }
    region->guard = guard;
    region->poisoned = kl_fault_guard_flag(guard);
    return KL_OK;
}

/* Puts private zeros where the file was. Where the kernel has no room for it, the mapping stays,
 * and stays guarded. */
static void unmap_region(kl_region *region) {
    int flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *there = mmap(region->shared, region->map_bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (there != MAP_FAILED) kl_fault_guard_remove(region->guard);
}

int32_t kl_region_prefault(kl_region *region) {
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint8_t *base = (uint8_t *)region->shared;
    for (uint64_t at = 0; at < region->map_bytes; at += PREFAULT_PART_BYTES) {
        uint64_t left = region->map_bytes - at;
        uint64_t part = left < PREFAULT_PART_BYTES ? left : PREFAULT_PART_BYTES;
        if (madvise(base + at, (size_t)part, MADV_POPULATE_WRITE) == 0) continue;
        /* Not known to this kernel, or a page is gone: touch them, which the guard survives. An
         * atomic "or nothing" dirties a page and changes no byte that another writes. */
        for (uint64_t i = 0; i < part; i += page) {
            _Atomic uint8_t *byte = (_Atomic uint8_t *)(base + at + i);
            atomic_fetch_or_explicit(byte, 0, memory_order_relaxed);
        }
    }
    return kl_region_check(region);
}

/* ---- create and publish ---- */

static int32_t format_region(kl_region *region, uint64_t total_bytes, const kl_region_spec *spec) {
    kl_region_identity identity = {
        .version = KL_REGION_VERSION,
        .kind = spec->kind,
        .layout_hash = spec->layout_hash,
        .state = KL_REGION_BUILDING,
        .total_bytes = total_bytes,
        .data_offset = KL_REGION_DATA_OFFSET,
        .data_bytes = region->data_bytes,
        .created_at = kl_clock_realtime_ns(),
        .creator_pid = (uint32_t)getpid(),
        .slots = SLOT_COUNTS,
    };
    memcpy(identity.magic, KL_REGION_MAGIC, sizeof(identity.magic));
    memcpy(identity.uuid, spec->uuid, sizeof(identity.uuid));
    int32_t status = read_boot_id(identity.boot_id);
    if (status == KL_OK && is_zero(spec->uuid, 16)) {
        status = kl_random_os(identity.uuid, sizeof(identity.uuid));
        identity.uuid[6] = (uint8_t)((identity.uuid[6] & 0x0f) | 0x40); /* RFC 9562, version 4 */
        identity.uuid[8] = (uint8_t)((identity.uuid[8] & 0x3f) | 0x80);
    }
    if (status < 0) return status;
    identity.crc = identity_crc(&identity);
    region->identity = identity;
    region->shared->identity = identity;
    KL_KILLPOINT("create.formatted");
    return KL_OK;
}

int32_t kl_region_create(kl_region **out, const char *path, uint64_t data_bytes,
                         const kl_region_spec *spec) {
    *out = NULL;
    if (data_bytes == 0 || data_bytes > KL_REGION_BYTES_MAX - KL_REGION_DATA_OFFSET)
        return kl_fail(KL_ERR_ARGUMENT, "a region holds 1 to %llu bytes, not %llu",
                       (unsigned long long)(KL_REGION_BYTES_MAX - KL_REGION_DATA_OFFSET),
                       (unsigned long long)data_bytes);
    uint64_t mask = KL_REGION_PAGE_BYTES - 1;
    uint64_t total_bytes = KL_REGION_DATA_OFFSET + ((data_bytes + mask) & ~mask);
    kl_region *region;
    int32_t status = new_region(&region, path);
    if (status < 0) return status;
    region->data_bytes = data_bytes;
    status = kl_region_file_make(&region->file, path, total_bytes, spec->allow_network);
    if (status == KL_OK) status = map_region(region, total_bytes);
    KL_KILLPOINT("create.mapped");
    if (status == KL_OK) status = format_region(region, total_bytes, spec);
    if (status == KL_OK && spec->prefault) status = kl_region_prefault(region);
    if (status == KL_OK) {
        *out = region;
        return KL_OK;
    }
    kl_region_close(region);
    return status;
}

int32_t kl_region_publish(kl_region *region) {
    if (region->published) return KL_OK;
    int32_t status = kl_region_check(region);
    if (status < 0) return status;
    region->identity.state = KL_REGION_READY;
    region->identity.crc = identity_crc(&region->identity);
    region->shared->identity = region->identity;
    KL_KILLPOINT("publish.ready");
    status = kl_region_file_publish(&region->file, region->path);
    if (status < 0) return status;
    KL_KILLPOINT("publish.named");
    region->published = true;
    return KL_OK;
}

/* ---- attach and close ---- */

/* The rest of an attach, once region->file.file is open. Closes the region when it fails. */
static int32_t attach_open_file(kl_region **out, kl_region *region, const kl_region_spec *expect) {
    uint8_t page[KL_REGION_PAGE_BYTES];
    const char *name = region->path[0] == '\0' ? "the region" : region->path;
    struct stat file;
    size_t got;
    region->published = true;
    int32_t status = read_first_page(region->file.file, page, &got, name);
    if (status == KL_OK && fstat(region->file.file, &file) != 0)
        status = kl_fail_errno(KL_ERR_IO, errno, "cannot look at %s", name);
    if (status == KL_OK) status = check_header(page, got, (uint64_t)file.st_size, expect, name);
    if (status == KL_OK) {
        memcpy(&region->identity, page, sizeof(region->identity));
        region->data_bytes = region->identity.data_bytes;
        status = map_region(region, region->identity.total_bytes);
    }
    if (status == KL_OK && expect != NULL && expect->prefault) status = kl_region_prefault(region);
    if (status == KL_OK) {
        *out = region;
        return KL_OK;
    }
    kl_region_close(region);
    return status;
}

int32_t kl_region_attach(kl_region **out, const char *path, const kl_region_spec *expect) {
    *out = NULL;
    kl_region *region;
    int32_t status = new_region(&region, path);
    if (status < 0) return status;
    status = kl_region_file_open(path, expect != NULL && expect->allow_network);
    if (status < 0) {
        free_region(region);
        return status;
    }
    region->file.file = status;
    return attach_open_file(out, region, expect);
}

int32_t kl_region_attach_fd(kl_region **out, int fd, const kl_region_spec *expect) {
    *out = NULL;
    kl_region *region;
    int32_t status = new_region(&region, NULL);
    if (status < 0) return status;
    status = kl_region_file_reopen(fd);
    if (status < 0) {
        free_region(region);
        return status;
    }
    region->file.file = status;
    return attach_open_file(out, region, expect);
}

void kl_region_close(kl_region *region) {
    if (region == NULL) return;
    if (region->shared != NULL) {
        kl_region_leave_all(region);
        unmap_region(region);
    }
    kl_region_file_drop(&region->file);
    free_region(region);
}

int32_t kl_region_unlink(const char *path) {
    char magic[8] = {0};
    struct stat file, named;
    int32_t opened = kl_region_file_open(path, true);
    if (opened < 0) return opened;
    ssize_t got = pread(opened, magic, sizeof(magic), 0);
    bool ours = got >= 0 && memcmp(magic, KL_REGION_MAGIC, (size_t)got) == 0;
    int32_t status = KL_OK;
    if (!ours) {
        status = kl_fail(KL_ERR_FOREIGN, "%s is not a Keelson region, so it is not removed", path);
    } else if (fstat(opened, &file) != 0 || lstat(path, &named) != 0 ||
               file.st_ino != named.st_ino || file.st_dev != named.st_dev) {
        status = kl_fail(KL_ERR_NOT_FOUND, "%s was replaced at this moment", path);
    } else if (unlink(path) != 0) {
        status = kl_fail_errno(KL_ERR_IO, errno, "cannot remove %s", path);
    }
    close(opened);
    return status;
}

/* ---- poison ---- */

int32_t kl_region_check(const kl_region *region) {
    if (!kl_region_poisoned(region)) return KL_OK;
    const char *name = region->path[0] == '\0' ? "the region" : region->path;
    uint64_t offset;
    if (kl_fault_guard_faults(region->guard, &offset) == 0)
        return kl_fail(KL_ERR_POISONED, "%s was damaged, found by %s: close and remove it", name,
                       atomic_load_explicit(region->poisoned, memory_order_relaxed) != 0
                           ? "this process"
                           : "another process");
    return kl_fail(
        KL_ERR_POISONED,
        "%s has lost the page at offset %llu (cut by another process, or a failed disk): "
        "close and remove it",
        name, (unsigned long long)offset);
}

void kl_region_poison(kl_region *region) {
    kl_fault_guard_poison(region->guard);
}
