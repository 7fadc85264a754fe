#include "mem/region_handle.h"

#include "base/handle.h"
#include "mem/region.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Bytes copied between two looks at the poison flag: a large read of a cut region ends early. */
#define COPY_PART_BYTES (4u << 20)

static int32_t closed(uint32_t handle) {
    return kl_fail(KL_ERR_HANDLE, "%u is not the handle of an open region", handle);
}

/* The path of a name of the other side, which may hold anything. NULL in *path: unnamed. */
static int32_t resolve(const uint8_t *name, uint32_t name_bytes, uint32_t where,
                       char buffer[PATH_MAX], const char **path) {
    char text[PATH_MAX];
    *path = buffer;
    if (where == KL_REGION_UNNAMED) {
        *path = NULL;
        return KL_OK;
    }
    if (where != KL_REGION_BY_NAME && where != KL_REGION_BY_PATH)
        return kl_fail(KL_ERR_ARGUMENT, "a region lies by name (0) or by path (1), not %u", where);
    if (name_bytes == 0 || name_bytes >= sizeof(text))
        return kl_fail(KL_ERR_NAME, "the name of a region has 1 to %u bytes, not %u",
                       where == KL_REGION_BY_NAME ? KL_REGION_NAME_MAX : (unsigned)PATH_MAX - 1,
                       name_bytes);
    if (memchr(name, 0, name_bytes) != NULL)
        return kl_fail(KL_ERR_NAME, "the name of a region cannot hold a zero byte");
    memcpy(text, name, name_bytes);
    text[name_bytes] = '\0';
    if (where == KL_REGION_BY_NAME) return kl_region_name_path(text, buffer, PATH_MAX);
    memcpy(buffer, text, name_bytes + 1);
    return KL_OK;
}

/* ---- handles of a thread ---- */

/* What a thread has opened. Touched by its thread only. */
typedef struct {
    uint32_t count, room;
    uint32_t handles[];
} opened_list;

static pthread_key_t opened_key;
static int opened_key_error;
static pthread_once_t opened_once = PTHREAD_ONCE_INIT;

static void close_opened(void *value) {
    opened_list *list = value;
    for (uint32_t i = 0; i < list->count; i++)
        (void)kl_handle_close(list->handles[i], KL_HANDLE_REGION); /* may be closed long since */
    free(list);
}

static void make_opened_key(void) {
    opened_key_error = pthread_key_create(&opened_key, close_opened);
}

/* Room for one more in the calling thread's list. */
static int32_t make_room(void) {
    pthread_once(&opened_once, make_opened_key);
    if (opened_key_error != 0)
        return kl_fail_errno(KL_ERR_LIMIT, opened_key_error, "no thread-specific key is left");
    opened_list *list = pthread_getspecific(opened_key);
    if (list != NULL && list->count < list->room) return KL_OK;
    uint32_t room = list == NULL ? 6 : list->room * 2 + 2;
    opened_list *larger = malloc(sizeof(*larger) + room * sizeof(larger->handles[0]));
    if (larger == NULL || pthread_setspecific(opened_key, larger) != 0) {
        free(larger);
        return kl_fail(KL_ERR_MEMORY, "no memory for a handle");
    }
    larger->count = list == NULL ? 0 : list->count;
    larger->room = room;
    if (list != NULL) memcpy(larger->handles, list->handles, list->count * sizeof(uint32_t));
    free(list);
    return KL_OK;
}

static void remember(uint32_t handle) {
    opened_list *list = pthread_getspecific(opened_key);
    list->handles[list->count++] = handle;
}

/* Nothing when another thread had opened it: its list ends with a number that means nothing. */
static void forget(uint32_t handle) {
    pthread_once(&opened_once, make_opened_key);
    opened_list *list = opened_key_error == 0 ? pthread_getspecific(opened_key) : NULL;
    for (uint32_t i = 0; list != NULL && i < list->count; i++) {
        if (list->handles[i] != handle) continue;
        list->handles[i] = list->handles[--list->count];
        return;
    }
}

/* ---- open and close ---- */

static void destroy(void *object) {
    kl_region_close(object);
}

/* Joins and makes the handle, which owns the region from then on. */
static int32_t hand_out(kl_region *region, uint32_t role, uint32_t *handle) {
    int32_t status = make_room();
    if (status == KL_OK) status = kl_region_join(region, role);
    if (status < 0) return status;
    *handle = kl_handle_open(KL_HANDLE_REGION, region, destroy);
    if (*handle != 0) {
        remember(*handle);
        return KL_OK;
    }
    return kl_fail(KL_ERR_LIMIT, "%u things are open, the most there can be", KL_HANDLE_COUNT_MAX);
}

static kl_region_spec spec_of(const kl_region_request *request) {
    return (kl_region_spec){
        .kind = request->kind,
        .layout_hash = request->layout_hash,
        .prefault = (request->flags & KL_REGION_PREFAULT) != 0,
        .allow_network = (request->flags & KL_REGION_ALLOW_NETWORK) != 0,
    };
}

static int32_t read_request(kl_region_request *out, const uint8_t *bytes, const uint8_t *name,
                            uint32_t name_bytes, const uint8_t *handle) {
    if (bytes == NULL || handle == NULL || (name == NULL && name_bytes > 0))
        return kl_fail(KL_ERR_ARGUMENT, "an empty buffer where bytes are needed");
    memcpy(out, bytes, sizeof(*out));
    return KL_OK;
}

int32_t kl_region_handle_create(const uint8_t *name, uint32_t name_bytes, const uint8_t *request,
                                uint8_t *out) {
    char buffer[PATH_MAX];
    const char *path;
    kl_region_request wanted;
    kl_region *region = NULL;
    int32_t status = read_request(&wanted, request, name, name_bytes, out);
    if (status == KL_OK) status = resolve(name, name_bytes, wanted.where, buffer, &path);
    if (status < 0) return status;
    /* The comparison is false for NaN as well. */
    if (!(wanted.data_bytes >= 1 && wanted.data_bytes <= (double)KL_REGION_BYTES_MAX))
        return kl_fail(KL_ERR_ARGUMENT, "a region holds 1 to %llu bytes, not %g",
                       KL_REGION_BYTES_MAX, wanted.data_bytes);
    kl_region_spec spec = spec_of(&wanted);
    status = kl_region_create(&region, path, (uint64_t)wanted.data_bytes, &spec);
    uint32_t handle = 0;
    if (status == KL_OK) status = hand_out(region, wanted.role, &handle);
    /* Last, so that nothing has appeared when something else fails. */
    if (status == KL_OK) status = kl_region_publish(region);
    if (status == KL_OK) {
        memcpy(out, &handle, sizeof(handle));
    } else if (handle != 0) {
        (void)kl_region_handle_close(handle);
    } else {
        kl_region_close(region);
    }
    return status;
}

int32_t kl_region_handle_attach(const uint8_t *name, uint32_t name_bytes, const uint8_t *request,
                                uint8_t *out) {
    char buffer[PATH_MAX];
    const char *path;
    kl_region_request wanted;
    kl_region *region = NULL;
    int32_t status = read_request(&wanted, request, name, name_bytes, out);
    if (status == KL_OK) status = resolve(name, name_bytes, wanted.where, buffer, &path);
    if (status < 0) return status;
    if (path == NULL) return kl_fail(KL_ERR_ARGUMENT, "an unnamed region cannot be attached to");
    kl_region_spec spec = spec_of(&wanted);
    status = kl_region_attach(&region, path, &spec);
    uint32_t handle = 0;
    if (status == KL_OK) status = hand_out(region, wanted.role, &handle);
    if (status == KL_OK) memcpy(out, &handle, sizeof(handle));
    if (status < 0) kl_region_close(region);
    return status;
}

int32_t kl_region_handle_close(uint32_t handle) {
    forget(handle);
    return kl_handle_close(handle, KL_HANDLE_REGION);
}

/* ---- use ---- */

double kl_region_handle_bytes(uint32_t handle) {
    kl_region *region = kl_handle_enter(handle, KL_HANDLE_REGION);
    if (region == NULL) return closed(handle);
    double bytes = (double)kl_region_data_bytes(region);
    kl_handle_leave(handle);
    return bytes;
}

static int32_t check_range(const kl_region *region, double offset, const uint8_t *buffer,
                           uint32_t bytes) {
    uint64_t data_bytes = kl_region_data_bytes(region);
    if (!(offset >= 0 && offset <= (double)data_bytes) || bytes > data_bytes - (uint64_t)offset)
        return kl_fail(KL_ERR_ARGUMENT, "%u bytes at offset %.0f: the region holds %llu", bytes,
                       offset, (unsigned long long)data_bytes);
    if (buffer == NULL && bytes > 0)
        return kl_fail(KL_ERR_ARGUMENT, "an empty buffer where %u bytes are needed", bytes);
    return kl_region_check(region);
}

static int32_t copy(const kl_region *region, uint8_t *into, const uint8_t *from, uint32_t bytes) {
    for (uint32_t at = 0; at < bytes;) {
        uint32_t part = bytes - at < COPY_PART_BYTES ? bytes - at : COPY_PART_BYTES;
        memcpy(into + at, from + at, part);
        at += part;
        int32_t status = kl_region_check(region);
        if (status < 0) return status;
    }
    return KL_OK;
}

int32_t kl_region_handle_read(uint32_t handle, double offset, uint8_t *into, uint32_t bytes) {
    kl_region *region = kl_handle_enter(handle, KL_HANDLE_REGION);
    if (region == NULL) return closed(handle);
    int32_t status = check_range(region, offset, into, bytes);
    if (status == KL_OK) status = copy(region, into, region->data + (uint64_t)offset, bytes);
    kl_handle_leave(handle);
    return status;
}

int32_t kl_region_handle_write(uint32_t handle, double offset, const uint8_t *from,
                               uint32_t bytes) {
    kl_region *region = kl_handle_enter(handle, KL_HANDLE_REGION);
    if (region == NULL) return closed(handle);
    int32_t status = check_range(region, offset, from, bytes);
    if (status == KL_OK) status = copy(region, region->data + (uint64_t)offset, from, bytes);
    kl_handle_leave(handle);
    return status;
}

uint64_t kl_region_handle_address(uint32_t handle) {
    kl_region *region = kl_handle_enter(handle, KL_HANDLE_REGION);
    if (region == NULL) return 0;
    uint64_t address = (uint64_t)(uintptr_t)kl_region_data(region);
    kl_handle_leave(handle);
    return address;
}

int32_t kl_region_handle_participants(uint32_t handle, uint8_t *out, uint32_t count_max) {
    kl_region *region = kl_handle_enter(handle, KL_HANDLE_REGION);
    if (region == NULL) return closed(handle);
    int32_t count = out == NULL && count_max > 0
                        ? kl_fail(KL_ERR_ARGUMENT, "an empty buffer where bytes are needed")
                        : kl_region_check(region);
    for (uint32_t slot = 0; count >= 0 && slot < KL_PARTICIPANTS; slot++) {
        kl_participant participant = {0};
        if (kl_region_participant(region, slot, &participant) < 0) continue;
        if ((uint32_t)count < count_max)
            memcpy(out + (size_t)count * sizeof(participant), &participant, sizeof(participant));
        count++;
    }
    kl_handle_leave(handle);
    return count;
}

uint32_t kl_region_handle_self(uint32_t handle) {
    kl_region *region = kl_handle_enter(handle, KL_HANDLE_REGION);
    if (region == NULL) return 0;
    uint32_t self = kl_region_self(region);
    kl_handle_leave(handle);
    return self;
}

int32_t kl_region_handle_check(uint32_t handle) {
    kl_region *region = kl_handle_enter(handle, KL_HANDLE_REGION);
    if (region == NULL) return closed(handle);
    int32_t status = kl_region_check(region);
    kl_handle_leave(handle);
    return status;
}

int32_t kl_region_handle_reap(uint32_t handle) {
    kl_region *region = kl_handle_enter(handle, KL_HANDLE_REGION);
    if (region == NULL) return closed(handle);
    int32_t status = kl_region_reap(region);
    kl_handle_leave(handle);
    return status;
}

int32_t kl_region_handle_unlink(const uint8_t *name, uint32_t name_bytes, uint32_t where) {
    char buffer[PATH_MAX];
    const char *path;
    if (name == NULL && name_bytes > 0) return kl_fail(KL_ERR_ARGUMENT, "an empty name");
    int32_t status = resolve(name, name_bytes, where, buffer, &path);
    if (status < 0) return status;
    if (path == NULL) return kl_fail(KL_ERR_ARGUMENT, "an unnamed region has no name to remove");
    return kl_region_unlink(path);
}

int32_t kl_region_handle_path(uint32_t handle, uint8_t *out, uint32_t capacity) {
    kl_region *region = kl_handle_enter(handle, KL_HANDLE_REGION);
    if (region == NULL) return closed(handle);
    const char *path = kl_region_path(region);
    size_t bytes = strlen(path);
    if (out != NULL) memcpy(out, path, bytes < capacity ? bytes : capacity);
    kl_handle_leave(handle);
    return (int32_t)bytes;
}
