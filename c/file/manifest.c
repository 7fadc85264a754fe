#include "file/manifest.h"

#include "base/checksum.h"
#include "base/handle.h"
#include "base/random.h"
#include "file/folder.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SLOT_BYTES   KL_DEVICE_BLOCK_BYTES
#define SLOT_COUNT   2u
#define FILE_BYTES   (SLOT_COUNT * SLOT_BYTES)
#define READ_TRIES   8
#define READ_WAIT_NS 1000000

/* docs/format_manifest.md; little-endian, as every host this runs on. The first 64 bytes and the
 * rule of the checksum are the same in every version to come, so that "newer" and "damaged" can
 * always be told apart. */
typedef struct {
    char magic[8];
    uint32_t version;
    uint32_t kind;
    uint64_t sequence;
    uint32_t payload_bytes;
    uint32_t crc32c; /* of the slot with this field 0, seeded with uuid and slot index */
    uint8_t uuid[KL_MANIFEST_UUID_BYTES];
    uint8_t reserved[16];
    uint8_t payload[KL_MANIFEST_PAYLOAD_BYTES_MAX]; /* zeros behind payload_bytes */
} manifest_slot;

static_assert(sizeof(manifest_slot) == SLOT_BYTES, "a slot is one block: written in one piece");
static_assert(offsetof(manifest_slot, payload) == 64, "the header's fixed size");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the bytes on disk are little-endian");

static const char magic[8] = {'K', 'L', 'M', 'A', 'N', 'I', 'F', '1'};

struct kl_manifest {
    pthread_mutex_t mutex; /* guards all below */
    kl_device *device;
    kl_manifest_spec spec; /* its uuid points to `uuid` once that is known */
    uint8_t uuid[KL_MANIFEST_UUID_BYTES];
    manifest_slot newest; /* as on disk */
    manifest_slot next;   /* where a write builds its image */
};

/* ---- one slot ---- */

static uint32_t slot_crc(const manifest_slot *slot, uint32_t index) {
    uint32_t crc = kl_crc32c(0, slot->uuid, sizeof slot->uuid);
    crc = kl_crc32c(crc, &index, sizeof index);
    crc = kl_crc32c(crc, slot, offsetof(manifest_slot, crc32c));
    static const uint32_t zero = 0;
    crc = kl_crc32c(crc, &zero, sizeof zero);
    return kl_crc32c(crc, slot->uuid, SLOT_BYTES - offsetof(manifest_slot, uuid));
}

void kl_manifest_encode(uint8_t *block, uint32_t index, uint32_t kind, uint64_t sequence,
                        const uint8_t *uuid, const void *payload, uint32_t bytes) {
    KL_ASSERT(index < SLOT_COUNT && bytes <= KL_MANIFEST_PAYLOAD_BYTES_MAX);
    manifest_slot slot = {
        .version = KL_MANIFEST_VERSION, .kind = kind, .sequence = sequence, .payload_bytes = bytes};
    memcpy(slot.magic, magic, sizeof magic);
    memcpy(slot.uuid, uuid, sizeof slot.uuid);
    if (bytes > 0) memcpy(slot.payload, payload, bytes);
    slot.crc32c = slot_crc(&slot, index);
    memcpy(block, &slot, sizeof slot);
}

enum slot_state {
    SLOT_VALID,
    SLOT_EMPTY,   /* all zeros: never written                           */
    SLOT_STRANGE, /* no magic                                           */
    SLOT_BAD,     /* ours, but not what was written                     */
    SLOT_NEWER,   /* whole, of a version this build does not know       */
    SLOT_FOREIGN, /* whole, of another kind or uuid than the spec wants */
};

typedef struct {
    enum slot_state state;
    char reason[128];
} slot_finding;

static bool is_zero(const manifest_slot *slot) {
    const uint8_t *bytes = (const uint8_t *)slot;
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, SLOT_BYTES - 1) == 0;
}

#define FINDING(finding, what, ...) \
    ((finding)->state = (what),     \
     (void)snprintf((finding)->reason, sizeof(finding)->reason, __VA_ARGS__))

static void examine_slot(const manifest_slot *slot, uint32_t index, const kl_manifest_spec *spec,
                         slot_finding *out) {
    *out = (slot_finding){.state = SLOT_VALID};
    uint32_t crc = slot_crc(slot, index);
    if (is_zero(slot)) {
        FINDING(out, SLOT_EMPTY, "never written");
    } else if (memcmp(slot->magic, magic, sizeof magic) != 0) {
        FINDING(out, SLOT_STRANGE, "does not begin with KLMANIF1");
    } else if (slot->crc32c != crc) {
        FINDING(out, SLOT_BAD, "checksum %08x, expected %08x", slot->crc32c, crc);
    } else if (slot->version != KL_MANIFEST_VERSION) {
        FINDING(out, SLOT_NEWER, "version %u, this build knows %u", slot->version,
                KL_MANIFEST_VERSION);
    } else if (slot->payload_bytes > KL_MANIFEST_PAYLOAD_BYTES_MAX) {
        FINDING(out, SLOT_BAD, "%u payload bytes, at most %u fit", slot->payload_bytes,
                KL_MANIFEST_PAYLOAD_BYTES_MAX);
    } else if (slot->sequence % SLOT_COUNT != index) {
        FINDING(out, SLOT_BAD, "sequence %llu belongs into the other slot",
                (unsigned long long)slot->sequence);
    } else if (slot->kind != spec->kind) {
        FINDING(out, SLOT_FOREIGN, "kind %u, expected %u", slot->kind, spec->kind);
    } else if (spec->uuid != NULL && memcmp(slot->uuid, spec->uuid, sizeof slot->uuid) != 0) {
        FINDING(out, SLOT_FOREIGN, "uuid %02x%02x%02x%02x..., expected %02x%02x%02x%02x...",
                slot->uuid[0], slot->uuid[1], slot->uuid[2], slot->uuid[3], spec->uuid[0],
                spec->uuid[1], spec->uuid[2], spec->uuid[3]);
    }
}

/* ---- both slots ---- */

/* No slot is valid: says the most helpful of the two reasons, or both. */
static int32_t refuse(const char *path, const slot_finding *findings) {
    for (uint32_t i = 0; i < SLOT_COUNT; i++)
        if (findings[i].state == SLOT_FOREIGN)
            return kl_fail(KL_ERR_FOREIGN, "%s is another manifest: %s", path, findings[i].reason);
    bool strange = findings[0].state == SLOT_STRANGE || findings[1].state == SLOT_STRANGE;
    bool ours = findings[0].state == SLOT_BAD || findings[1].state == SLOT_BAD;
    if (strange && !ours)
        return kl_fail(KL_ERR_FOREIGN,
                       "%s is not a Keelson manifest: neither slot begins with "
                       "KLMANIF1",
                       path);
    return kl_fail(KL_ERR_CORRUPT, "%s: slot A at 0: %s; slot B at %u: %s", path,
                   findings[0].reason, SLOT_BYTES, findings[1].reason);
}

/* Finds the newest valid slot; says in the report when the other one is not as it should be. */
static int32_t choose(const char *path, const manifest_slot *slots, const kl_manifest_spec *spec,
                      uint32_t *newest, kl_manifest_report *report) {
    slot_finding findings[SLOT_COUNT];
    for (uint32_t i = 0; i < SLOT_COUNT; i++) {
        examine_slot(&slots[i], i, spec, &findings[i]);
        if (findings[i].state == SLOT_NEWER)
            return kl_fail(KL_ERR_VERSION, "%s: slot %c: %s; use a newer Keelson", path, 'A' + i,
                           findings[i].reason);
    }
    bool valid_a = findings[0].state == SLOT_VALID, valid_b = findings[1].state == SLOT_VALID;
    if (!valid_a && !valid_b) return refuse(path, findings);
    if (valid_a && valid_b) {
        if (memcmp(slots[0].uuid, slots[1].uuid, sizeof slots[0].uuid) != 0)
            return kl_fail(KL_ERR_CORRUPT, "%s: its two slots have different uuids", path);
        uint64_t a = slots[0].sequence, b = slots[1].sequence;
        *newest = a > b ? 0 : 1;
        report->fell_back = a + 1 != b && b + 1 != a;
        if (report->fell_back)
            snprintf(report->reason, sizeof report->reason,
                     "slot %c holds sequence %llu, expected %llu", a > b ? 'B' : 'A',
                     (unsigned long long)(a > b ? b : a),
                     (unsigned long long)((a > b ? a : b) - 1));
        return KL_OK;
    }
    *newest = valid_a ? 0 : 1;
    uint32_t other = 1 - *newest;
    /* Only a new file may have a slot that was never written. */
    report->fell_back = findings[other].state != SLOT_EMPTY || slots[*newest].sequence > 0;
    if (report->fell_back)
        snprintf(report->reason, sizeof report->reason, "slot %c: %s", 'A' + other,
                 findings[other].reason);
    return KL_OK;
}

/* A file too short to hold both slots: ours but cut, or somebody else's. */
static int32_t refuse_short(const char *path, const void *bytes, size_t count) {
    size_t known = count < sizeof magic ? count : sizeof magic;
    if (memcmp(bytes, magic, known) != 0)
        return kl_fail(KL_ERR_FOREIGN,
                       "%s is not a Keelson manifest: it does not begin with "
                       "KLMANIF1",
                       path);
    return kl_fail(KL_ERR_TRUNCATED, "%s has %zu bytes, expected %u", path, count, FILE_BYTES);
}

static int32_t load_once(kl_manifest *manifest, kl_manifest_report *report) {
    manifest_slot slots[SLOT_COUNT];
    size_t bytes = 0;
    const char *path = kl_device_path(manifest->device);
    *report = (kl_manifest_report){0};
    int32_t status = kl_device_read_at(manifest->device, 0, slots, sizeof slots, &bytes);
    if (status != KL_OK) return status;
    if (bytes < sizeof slots) return refuse_short(path, slots, bytes);
    uint32_t newest = 0;
    status = choose(path, slots, &manifest->spec, &newest, report);
    if (status == KL_OK) manifest->newest = slots[newest];
    return status;
}

/* A reader may look while the writer is in the middle of a slot: that passes by itself. */
static int32_t load(kl_manifest *manifest, kl_manifest_report *report) {
    int32_t status = load_once(manifest, report);
    if (!(manifest->spec.flags & KL_MANIFEST_READ_ONLY)) return status;
    for (int i = 1; i < READ_TRIES; i++) {
        if (status != KL_ERR_CORRUPT && (status != KL_OK || !report->fell_back)) break;
        nanosleep(&(struct timespec){.tv_nsec = READ_WAIT_NS}, NULL);
        status = load_once(manifest, report);
    }
    return status;
}

/* ---- create ---- */

static int32_t write_new_file(int folder_fd, const char *temp, const kl_manifest_spec *spec) {
    uint8_t image[FILE_BYTES] = {0}, uuid[KL_MANIFEST_UUID_BYTES];
    int32_t status = KL_OK;
    if (spec->uuid != NULL) {
        memcpy(uuid, spec->uuid, sizeof uuid);
    } else {
        status = kl_random_os(uuid, sizeof uuid);
    }
    if (status != KL_OK) return status;
    kl_manifest_encode(image, 0, spec->kind, 0, uuid, NULL, 0);
    kl_device *device;
    status = kl_device_open(&device, folder_fd, temp,
                            KL_DEVICE_WRITE | KL_DEVICE_CREATE | KL_DEVICE_EXCLUSIVE);
    if (status != KL_OK) return status;
    status = kl_device_write_at(device, 0, image, sizeof image);
    if (status == KL_OK) status = kl_device_sync(device);
    kl_device_close(device);
    return status;
}

/* Undoes half a creation, without losing the detail of what went wrong. */
static int32_t undo(int folder_fd, const char *name, int32_t status) {
    char detail[KL_DETAIL_BYTES_MAX + 1];
    snprintf(detail, sizeof detail, "%s", kl_status_last());
    (void)kl_device_unlink(folder_fd, name);
    return kl_fail(status, "%s", detail);
}

/* KL_ERR_EXISTS when somebody else has made it meanwhile. */
static int32_t create(int folder_fd, const char *name, const kl_manifest_spec *spec) {
    char temp[PATH_MAX];
    int wanted = snprintf(temp, sizeof temp, "%s.tmp", name);
    if (wanted < 0 || (size_t)wanted >= sizeof temp)
        return kl_fail(KL_ERR_NAME, "the name of a manifest has at most %d bytes", PATH_MAX - 5);
    int32_t status = write_new_file(folder_fd, temp, spec);
    if (status == KL_ERR_EXISTS) {
        /* Left behind by a killed one: its owner held the folder's lock, which is ours now. */
        status = kl_device_unlink(folder_fd, temp);
        if (status == KL_OK) status = write_new_file(folder_fd, temp, spec);
    }
    if (status == KL_OK) status = kl_device_rename_new(folder_fd, temp, name);
    if (status != KL_OK) return undo(folder_fd, temp, status);
    status = kl_device_sync_folder(folder_fd);
    return status == KL_OK ? KL_OK : undo(folder_fd, name, status);
}

/* ---- open, read, write, close ---- */

static int32_t open_existing(kl_manifest *manifest, int folder_fd, const char *name,
                             kl_manifest_report *report) {
    bool read_only = (manifest->spec.flags & KL_MANIFEST_READ_ONLY) != 0;
    int32_t status = kl_device_open(&manifest->device, folder_fd, name,
                                    read_only ? KL_DEVICE_ANY_OWNER : KL_DEVICE_WRITE);
    if (status != KL_OK) return status;
    status = load(manifest, report);
    if (status != KL_OK) return status;
    memcpy(manifest->uuid, manifest->newest.uuid, sizeof manifest->uuid);
    manifest->spec.uuid = manifest->uuid;
    return KL_OK;
}

int32_t kl_manifest_open(kl_manifest **out, int folder_fd, const char *name,
                         const kl_manifest_spec *spec, kl_manifest_report *report) {
    *out = NULL;
    kl_manifest_report unused;
    if (report == NULL) report = &unused;
    *report = (kl_manifest_report){0};
    bool creates = (spec->flags & KL_MANIFEST_CREATE) != 0, created = false;
    if (creates && (spec->flags & KL_MANIFEST_READ_ONLY))
        return kl_fail(KL_ERR_ARGUMENT, "a read-only manifest cannot be created: %s", name);
    kl_manifest *manifest = calloc(1, sizeof *manifest);
    if (manifest == NULL) return kl_fail(KL_ERR_MEMORY, "no memory to open the manifest %s", name);
    pthread_mutex_init(&manifest->mutex, NULL);
    manifest->spec = *spec;
    int32_t status = open_existing(manifest, folder_fd, name, report);
    if (status == KL_ERR_NOT_FOUND && creates) {
        status = create(folder_fd, name, spec);
        created = status == KL_OK;
        if (created) status = open_existing(manifest, folder_fd, name, report);
    } else if (status == KL_OK && creates && (spec->flags & KL_MANIFEST_EXCLUSIVE)) {
        status = kl_fail(KL_ERR_EXISTS, "%s exists already", kl_device_path(manifest->device));
    } else if (status == KL_OK && !(spec->flags & KL_MANIFEST_READ_ONLY)) {
        /* Its maker may have been killed before the folder was synced. */
        status = kl_device_sync_folder(folder_fd);
    }
    report->created = created;
    if (status == KL_OK) {
        *out = manifest;
    } else {
        kl_manifest_close(manifest);
    }
    return status;
}

int32_t kl_manifest_read(kl_manifest *manifest, void *out, size_t capacity) {
    pthread_mutex_lock(&manifest->mutex);
    kl_manifest_report report;
    int32_t status = KL_OK;
    if (manifest->spec.flags & KL_MANIFEST_READ_ONLY) status = load(manifest, &report);
    const manifest_slot *slot = &manifest->newest;
    if (status == KL_OK && slot->sequence == 0) {
        status = kl_fail(KL_ERR_NOT_FOUND, "nothing was ever written to %s",
                         kl_device_path(manifest->device));
    } else if (status == KL_OK && slot->payload_bytes > capacity) {
        status = kl_fail(KL_ERR_LIMIT, "the payload of %s has %u bytes, there is room for %zu",
                         kl_device_path(manifest->device), slot->payload_bytes, capacity);
    } else if (status == KL_OK) {
        if (slot->payload_bytes > 0) memcpy(out, slot->payload, slot->payload_bytes);
        status = (int32_t)slot->payload_bytes;
    }
    pthread_mutex_unlock(&manifest->mutex);
    return status;
}

int32_t kl_manifest_write(kl_manifest *manifest, const void *payload, size_t bytes) {
    const char *path = kl_device_path(manifest->device);
    if (bytes > KL_MANIFEST_PAYLOAD_BYTES_MAX)
        return kl_fail(KL_ERR_LIMIT, "a payload of %zu bytes for %s: at most %u fit", bytes, path,
                       KL_MANIFEST_PAYLOAD_BYTES_MAX);
    pthread_mutex_lock(&manifest->mutex);
    uint64_t sequence = manifest->newest.sequence + 1;
    uint32_t index = (uint32_t)(sequence % SLOT_COUNT);
    kl_manifest_encode((uint8_t *)&manifest->next, index, manifest->spec.kind, sequence,
                       manifest->uuid, payload, (uint32_t)bytes);
    int32_t status = kl_device_write_at(manifest->device, (uint64_t)index * SLOT_BYTES,
                                        &manifest->next, SLOT_BYTES);
    if (status == KL_OK) status = kl_device_sync(manifest->device);
    if (status == KL_OK) manifest->newest = manifest->next;
    pthread_mutex_unlock(&manifest->mutex);
    return status;
}

void kl_manifest_close(kl_manifest *manifest) {
    if (manifest == NULL) return;
    kl_device_close(manifest->device);
    pthread_mutex_destroy(&manifest->mutex);
    free(manifest);
}

uint64_t kl_manifest_sequence(kl_manifest *manifest) {
    pthread_mutex_lock(&manifest->mutex);
    uint64_t sequence = manifest->newest.sequence;
    pthread_mutex_unlock(&manifest->mutex);
    return sequence;
}

const uint8_t *kl_manifest_uuid(const kl_manifest *manifest) {
    return manifest->uuid;
}

/* ---- the FFI ---- */

static void destroy_manifest(void *object) {
    kl_manifest_close(object);
}

double kl_manifest_handle_open(const uint8_t *path, uint32_t path_bytes, uint32_t kind,
                               uint32_t flags) {
    char text[PATH_MAX];
    int32_t status = kl_folder_text(path, path_bytes, text, sizeof text);
    if (status != KL_OK) return status;
    char *slash = strrchr(text, '/');
    const char *name = slash == NULL ? text : slash + 1;
    status = kl_folder_path_check(name, strlen(name));
    if (status != KL_OK) return status;
    if (slash == text) {
        return kl_fail(KL_ERR_NAME, "a manifest cannot lie in the root folder: %s", text);
    }
    if (slash != NULL) *slash = '\0';
    kl_folder *folder;
    uint32_t open_flags = flags & KL_MANIFEST_READ_ONLY ? KL_FOLDER_READ_ONLY : 0;
    status = kl_folder_open(&folder, slash == NULL ? "." : text, open_flags);
    if (status != KL_OK) return status;
    kl_manifest_spec spec = {.kind = kind, .flags = flags};
    kl_manifest *manifest;
    status = kl_manifest_open(&manifest, kl_folder_fd(folder), name, &spec, NULL);
    kl_folder_close(folder);
    if (status != KL_OK) return status;
    uint32_t handle = kl_handle_open(KL_HANDLE_MANIFEST, manifest, destroy_manifest);
    if (handle != 0) return handle;
    kl_manifest_close(manifest);
    return kl_fail(KL_ERR_LIMIT, "no handle is free to open the manifest %s", name);
}

static int32_t no_handle(uint32_t handle) {
    return kl_fail(KL_ERR_HANDLE, "handle %#x is not an open manifest", handle);
}

int32_t kl_manifest_handle_read(uint32_t handle, uint8_t *out, uint32_t capacity) {
    kl_manifest *manifest = kl_handle_enter(handle, KL_HANDLE_MANIFEST);
    if (manifest == NULL) return no_handle(handle);
    int32_t status = out == NULL && capacity > 0
                         ? kl_fail(KL_ERR_ARGUMENT, "no buffer to read a manifest into")
                         : kl_manifest_read(manifest, out, capacity);
    kl_handle_leave(handle);
    return status;
}

int32_t kl_manifest_handle_write(uint32_t handle, const uint8_t *payload, uint32_t bytes) {
    kl_manifest *manifest = kl_handle_enter(handle, KL_HANDLE_MANIFEST);
    if (manifest == NULL) return no_handle(handle);
    int32_t status = payload == NULL && bytes > 0
                         ? kl_fail(KL_ERR_ARGUMENT, "no buffer to write a manifest from")
                         : kl_manifest_write(manifest, payload, bytes);
    kl_handle_leave(handle);
    return status;
}

int32_t kl_manifest_handle_close(uint32_t handle) {
    return kl_handle_close(handle, KL_HANDLE_MANIFEST);
}
