#include "sync/ordered_lock_handle.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/layout_hash.h"
#include "sync/ordered_lock.h"
#include "sync/shared_object.h"

#define SITE_BYTES_MAX 500u

typedef struct {
    _Alignas(KL_LINE_BYTES) uint32_t magic;
    uint32_t version;
    uint32_t rank;
    uint32_t class_name_bytes;
    uint64_t key;
    char class_name[KL_ORDER_NAME_BYTES_MAX + 1];
    kl_mutex mutex;
    kl_event_count freed;
} lock_memory;

static_assert(offsetof(lock_memory, mutex) == 2 * KL_LINE_BYTES, "read-only lines before");

typedef struct {
    kl_shared_object object;
    lock_memory *memory;
    uint64_t key;
    uint32_t class_number;
} named_lock;

typedef struct {
    uint32_t rank, class_name_bytes;
    uint64_t key;
    const char *class_name;
} lock_options;

/* ---- sites ---- */

static pthread_mutex_t sites_mutex = PTHREAD_MUTEX_INITIALIZER;
static char *sites[KL_ORDER_SITES_MAX]; /* number - 1; kept for good: reports point at them */
static uint32_t site_count;

/* Under the mutex. */
static int32_t find_or_add_site(const uint8_t *text, uint32_t bytes) {
    for (uint32_t i = 0; i < site_count; i++)
        if (strlen(sites[i]) == bytes && memcmp(sites[i], text, bytes) == 0) return (int32_t)i + 1;
    if (site_count == KL_ORDER_SITES_MAX)
        return kl_fail(KL_ERR_LIMIT, "%u sites are known, more are not", KL_ORDER_SITES_MAX);
    char *copy = malloc(bytes + 1);
    if (!copy) return kl_fail(KL_ERR_MEMORY, "no memory for a site of %u bytes", bytes);
    memcpy(copy, text, bytes);
    copy[bytes] = 0;
    sites[site_count] = copy;
    return (int32_t)++site_count;
}

int32_t kl_order_site(const uint8_t *text, uint32_t bytes) {
    if (!text || bytes == 0 || bytes > SITE_BYTES_MAX || memchr(text, 0, bytes) ||
        memchr(text, '\n', bytes))
        return kl_fail(KL_ERR_ARGUMENT, "a site is one line of 1 to %u bytes", SITE_BYTES_MAX);
    pthread_mutex_lock(&sites_mutex);
    int32_t number = find_or_add_site(text, bytes);
    pthread_mutex_unlock(&sites_mutex);
    return number;
}

static const char *site_text(uint32_t number) {
    pthread_mutex_lock(&sites_mutex);
    const char *text = number >= 1 && number <= site_count ? sites[number - 1] : NULL;
    pthread_mutex_unlock(&sites_mutex);
    return text;
}

/* ---- the lock ---- */

static int32_t format(void *memory, uint64_t memory_bytes, const void *options) {
    lock_memory *made = memory;
    const lock_options *given = options;
    (void)memory_bytes;
    made->magic = KL_ORDERED_LOCK_MAGIC;
    made->version = KL_ORDERED_LOCK_VERSION;
    made->rank = given->rank;
    made->key = given->key;
    made->class_name_bytes = given->class_name_bytes;
    memcpy(made->class_name, given->class_name, given->class_name_bytes);
    return KL_OK;
}

static int32_t grip(kl_shared_object *object, void *memory, uint64_t memory_bytes) {
    lock_memory *found = memory;
    named_lock *named = (named_lock *)object;
    char class_name[KL_ORDER_NAME_BYTES_MAX + 1] = {0};
    if (memory_bytes < sizeof *found || found->magic != KL_ORDERED_LOCK_MAGIC)
        return kl_fail(KL_ERR_CORRUPT, "no ordered lock here");
    if (found->version != KL_ORDERED_LOCK_VERSION)
        return kl_fail(KL_ERR_VERSION, "ordered lock version %u, this build knows %u",
                       found->version, KL_ORDERED_LOCK_VERSION);
    uint32_t bytes = found->class_name_bytes; /* read once: memory may change under us */
    if (bytes == 0 || bytes > KL_ORDER_NAME_BYTES_MAX)
        return kl_fail(KL_ERR_CORRUPT, "a lock class with a name of %u bytes", bytes);
    memcpy(class_name, found->class_name, bytes);
    if (memchr(class_name, 0, bytes) || memchr(class_name, '\n', bytes))
        return kl_fail(KL_ERR_CORRUPT, "the name of the lock class is not text");
    named->key = found->key;
    int32_t number = kl_order_class(class_name, found->rank, 0);
    if (number < 0) return number;
    named->class_number = (uint32_t)number;
    named->memory = found;
    return KL_OK;
}

static void leave(kl_shared_object *object) {
    named_lock *named = (named_lock *)object;
    if (!kl_mutex_abandon(&named->memory->mutex, object->self)) return;
    kl_event_count_notify_all(&named->memory->freed);
    if (kl_order_checks()) kl_order_released(named);
}

static kl_event_count *event(kl_shared_object *object, uint32_t index) {
    return index == 0 ? &((named_lock *)object)->memory->freed : NULL;
}

static const kl_shared_object_type ORDERED_LOCK = {.handle_kind = KL_HANDLE_ORDERED_LOCK,
                                                   .magic = KL_ORDERED_LOCK_MAGIC,
                                                   .layout_hash = KL_LAYOUT_HASH,
                                                   .object_bytes = sizeof(named_lock),
                                                   .noun = "ordered lock",
                                                   .format = format,
                                                   .grip = grip,
                                                   .leave = leave,
                                                   .event = event};

int32_t kl_ordered_lock_create(const uint8_t *name, uint32_t name_bytes, uint32_t rank, double key,
                               const uint8_t *class_name, uint32_t class_name_bytes, uint8_t *out) {
    if (!class_name || class_name_bytes == 0 || class_name_bytes > KL_ORDER_NAME_BYTES_MAX ||
        memchr(class_name, 0, class_name_bytes) || memchr(class_name, '\n', class_name_bytes))
        return kl_fail(KL_ERR_ARGUMENT, "a lock class has a name of 1 to %u bytes, not %u",
                       KL_ORDER_NAME_BYTES_MAX, class_name_bytes);
    if (!(key >= 0 && key <= 0x1p53) || (double)(uint64_t)key != key)
        return kl_fail(KL_ERR_ARGUMENT, "the key %g is not a whole number from 0 to 2^53", key);
    lock_options options = {.rank = rank,
                            .key = (uint64_t)key,
                            .class_name = (const char *)class_name,
                            .class_name_bytes = class_name_bytes};
    return kl_shared_object_create(&ORDERED_LOCK, name, name_bytes, sizeof(lock_memory), &options,
                                   out);
}

int32_t kl_ordered_lock_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out) {
    return kl_shared_object_attach(&ORDERED_LOCK, name, name_bytes, out);
}

int32_t kl_ordered_lock_close(uint32_t handle) {
    return kl_shared_object_close(&ORDERED_LOCK, handle);
}

int32_t kl_ordered_lock_remove(const uint8_t *name, uint32_t name_bytes) {
    return kl_shared_object_remove(&ORDERED_LOCK, name, name_bytes);
}

/* Enters the handle as its calling thread; NULL with *status said. */
static named_lock *enter(uint32_t handle, kl_mutex_user *user, int32_t *status) {
    named_lock *named = kl_shared_object_enter(&ORDERED_LOCK, handle);
    *status = KL_ERR_HANDLE;
    if (!named) return NULL;
    int32_t self = kl_shared_object_self(&named->object);
    if (__builtin_expect(self > 0, 1)) {
        *user = (kl_mutex_user){.region = named->object.region,
                                .self = (uint32_t)self,
                                .is_thread = true,
                                .stop = &named->object.stopped};
        return named;
    }
    *status = kl_shared_object_leave(&named->object, handle, NULL, self);
    return NULL;
}

static int32_t own_already(named_lock *named, uint32_t self) {
    /* relaxed: only this thread stores its own id. */
    if (atomic_load_explicit(&named->memory->mutex.owner, memory_order_relaxed) != self)
        return KL_OK;
    return kl_fail(KL_ERR_LOCKED, "this thread holds the lock already");
}

/* After the mutex answered `status`. */
static int32_t finish(named_lock *named, uint32_t handle, int32_t status, const char *site,
                      bool tried) {
    if (status == KL_ERR_STOPPED) status = kl_fail(KL_ERR_CLOSED, "closed while waiting for it");
    if (status >= 0 && kl_order_checks()) {
        kl_order_acquired(named, named->class_number, named->key, site, tried);
        status |= KL_ORDERED_LOCK_CHECKED;
    }
    return kl_shared_object_leave(&named->object, handle, NULL, status);
}

int32_t kl_ordered_lock_try(uint32_t handle, uint32_t site) {
    kl_mutex_user user;
    int32_t status;
    named_lock *named = enter(handle, &user, &status);
    if (!named) return status;
    status = own_already(named, user.self);
    if (status == KL_OK) status = kl_mutex_try_lock_dead_by(&named->memory->mutex, &user);
    return finish(named, handle, status, site ? site_text(site) : NULL, true);
}

int32_t kl_ordered_lock_take_within(uint32_t handle, double timeout_ms, uint32_t site) {
    kl_mutex_user user;
    int32_t status;
    named_lock *named = enter(handle, &user, &status);
    if (!named) return status;
    const char *text = site ? site_text(site) : NULL;
    if (kl_order_checks()) {
        if (site == 0 && kl_order_is_new(named, named->class_number, named->key))
            return kl_shared_object_leave(&named->object, handle, NULL,
                                          KL_ORDERED_LOCK_SITE_WANTED);
        kl_order_before(named, named->class_number, named->key, text);
    }
    uint64_t timeout_ns = timeout_ms >= 0 && timeout_ms < 9e12
                              ? (uint64_t)(timeout_ms * (double)KL_NS_PER_MS)
                              : KL_FOREVER;
    status = own_already(named, user.self);
    if (status == KL_OK) status = kl_mutex_lock_by(&named->memory->mutex, &user, timeout_ns);
    return finish(named, handle, status, text, false);
}

int32_t kl_ordered_lock_give(uint32_t handle) {
    kl_mutex_user user;
    int32_t status;
    named_lock *named = enter(handle, &user, &status);
    if (!named) return status;
    status = kl_mutex_unlock_by(&named->memory->mutex, &user);
    if (status != KL_OK) kl_fail(status, "this thread does not hold the lock");
    if (status == KL_OK && kl_order_checks()) kl_order_released(named);
    return kl_shared_object_leave(&named->object, handle,
                                  status == KL_OK ? &named->memory->freed : NULL, status);
}

int32_t kl_ordered_lock_set_site(uint32_t handle, uint32_t site) {
    named_lock *named = kl_shared_object_enter(&ORDERED_LOCK, handle);
    if (!named) return KL_ERR_HANDLE;
    kl_order_set_site(named, site_text(site));
    return kl_shared_object_leave(&named->object, handle, NULL, KL_OK);
}

int32_t kl_ordered_lock_about(uint32_t handle, uint8_t *out) {
    if (!out) return kl_fail(KL_ERR_ARGUMENT, "no place for the answer");
    named_lock *named = kl_shared_object_enter(&ORDERED_LOCK, handle);
    if (!named) return KL_ERR_HANDLE;
    const char *class_name = kl_order_class_name(named->class_number);
    uint32_t words[2] = {named->memory->rank, (uint32_t)strlen(class_name)};
    double key = (double)named->key;
    memcpy(out, words, 8);
    memcpy(out + 8, &key, 8);
    memcpy(out + 16, class_name, words[1]);
    return kl_shared_object_leave(&named->object, handle, NULL, KL_OK);
}

/* ---- the checker ---- */

void kl_order_turn(uint32_t on) {
    kl_order_check(on != 0);
}

double kl_order_told(void) {
    return (double)kl_order_reports();
}

int32_t kl_order_tell(double index, uint8_t *out, uint32_t capacity) {
    kl_order_report report;
    if (!out || !(index >= 0 && index < 0x1p53)) return KL_ERR_NOT_FOUND;
    if (kl_order_report_at((uint64_t)index, &report) != KL_OK) return KL_ERR_NOT_FOUND;
    int bytes = snprintf((char *)out, capacity, "%u\n%s\n%s\n%llu\n%s\n%s\n%llu\n%s\n%s",
                         report.kind, kl_order_class_name(report.held), report.held_site,
                         (unsigned long long)report.held_key, kl_order_class_name(report.acquired),
                         report.acquired_site, (unsigned long long)report.acquired_key,
                         report.earlier_held_site, report.earlier_acquired_site);
    return bytes >= 0 && (uint32_t)bytes < capacity
               ? bytes
               : kl_fail(KL_ERR_LIMIT, "a report of %d bytes, %u were offered", bytes, capacity);
}

int32_t kl_order_counts_to(uint8_t *out, uint32_t capacity) {
    kl_order_counts counts = kl_order_count();
    double numbers[6 + KL_ORDER_KINDS] = {(double)counts.acquired, (double)counts.tried,
                                          (double)counts.released, (double)counts.edges,
                                          (double)counts.classes,  (double)counts.depth_max};
    for (uint32_t kind = 0; kind < KL_ORDER_KINDS; kind++)
        numbers[6 + kind] = (double)counts.violations[kind];
    if (!out || capacity < sizeof numbers)
        return kl_fail(KL_ERR_ARGUMENT, "%zu bytes of counts, %u were offered", sizeof numbers,
                       capacity);
    memcpy(out, numbers, sizeof numbers);
    return KL_OK;
}
