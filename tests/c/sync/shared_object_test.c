#include "sync/shared_object.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/layout_hash.h"
#include "tests/c/harness.h"

/* A level that only rises; `what` 1 waits until it has reached `argument`. */
typedef struct {
    kl_event_count risen;
    _Atomic uint32_t level;
} gauge_memory;

typedef struct {
    kl_shared_object object;
    gauge_memory *memory;
} gauge;

static _Atomic uint32_t leaves;

static int32_t format_gauge(void *memory, uint64_t memory_bytes, const void *options) {
    gauge_memory *gauge = memory;
    (void)memory_bytes;
    atomic_store_explicit(&gauge->level, *(const uint32_t *)options, memory_order_relaxed);
    return KL_OK;
}

static int32_t grip_gauge(kl_shared_object *object, void *memory, uint64_t memory_bytes) {
    if (memory_bytes < sizeof(gauge_memory)) return kl_fail(KL_ERR_CORRUPT, "too small");
    ((gauge *)object)->memory = memory;
    return KL_OK;
}

static void leave_gauge(kl_shared_object *object) {
    (void)object;
    atomic_fetch_add_explicit(&leaves, 1, memory_order_relaxed);
}

static kl_event_count *event_of_gauge(kl_shared_object *object, uint32_t index) {
    return index == 0 ? &((gauge *)object)->memory->risen : NULL;
}

static int32_t prepare_gauge(kl_shared_object *object, uint32_t what, uint32_t argument,
                             kl_event_count **event, uint32_t *key) {
    gauge_memory *memory = ((gauge *)object)->memory;
    if (what != 1) return kl_fail(KL_ERR_ARGUMENT, "wait for %u: only 1 is known", what);
    *event = &memory->risen;
    *key = kl_event_count_prepare(*event);
    return atomic_load_explicit(&memory->level, memory_order_acquire) >= argument ? 1 : 0;
}

/* Any kind of handle that no unit of this program opens. */
static const kl_shared_object_type GAUGE = {.handle_kind = KL_HANDLE_COUNTER,
                                            .magic = 0x47554147u,
                                            .layout_hash = KL_LAYOUT_HASH,
                                            .object_bytes = sizeof(gauge),
                                            .noun = "gauge",
                                            .format = format_gauge,
                                            .grip = grip_gauge,
                                            .leave = leave_gauge,
                                            .event = event_of_gauge,
                                            .prepare = prepare_gauge};

static void raise_gauge(uint32_t handle, uint32_t level) {
    gauge *it = kl_shared_object_enter(&GAUGE, handle);
    KL_CHECK(it != NULL);
    atomic_store_explicit(&it->memory->level, level, memory_order_release);
    KL_CHECK_EQ(kl_shared_object_leave(&it->object, handle, &it->memory->risen, KL_OK), KL_OK);
}

static const uint8_t *fresh_name(char *name, uint32_t *bytes) {
    static uint32_t number;
    *bytes = (uint32_t)snprintf(name, 64, "test-gauge-%d-%u", (int)getpid(), number++);
    return (const uint8_t *)name;
}

static uint32_t create(const uint8_t *name, uint32_t bytes) {
    uint32_t handle = 0, level = 3;
    KL_CHECK_EQ(kl_shared_object_create(&GAUGE, name, bytes, sizeof(gauge_memory), &level,
                                        (uint8_t *)&handle),
                KL_OK);
    return handle;
}

static uint32_t attach(const uint8_t *name, uint32_t bytes) {
    uint32_t handle = 0;
    KL_CHECK_EQ(kl_shared_object_attach(&GAUGE, name, bytes, (uint8_t *)&handle), KL_OK);
    return handle;
}

static int32_t wait_for(uint32_t handle, uint32_t level, double timeout_ms) {
    return kl_shared_object_wait(handle, KL_HANDLE_COUNTER, 1, level, timeout_ms);
}

KL_TEST(kl_shared_object_create_attach_and_close_share_one_structure) {
    char text[64];
    uint32_t bytes;
    const uint8_t *name = fresh_name(text, &bytes);
    uint32_t before = leaves, one = create(name, bytes), other = attach(name, bytes), none;
    KL_CHECK_NE(one, other);
    KL_CHECK_EQ(kl_shared_object_create(&GAUGE, name, bytes, 64, &before, (uint8_t *)&none),
                KL_ERR_EXISTS);
    KL_CHECK_EQ(wait_for(other, 3, 0), 1);
    raise_gauge(one, 7);
    KL_CHECK_EQ(wait_for(other, 7, 0), 1);
    KL_CHECK_EQ(kl_shared_object_remove(&GAUGE, name, bytes), KL_OK);
    KL_CHECK_EQ(kl_shared_object_remove(&GAUGE, name, bytes), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_shared_object_attach(&GAUGE, name, bytes, (uint8_t *)&none), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_shared_object_close(&GAUGE, one), KL_OK);
    KL_CHECK_EQ(kl_shared_object_close(&GAUGE, one), KL_ERR_HANDLE);
    KL_CHECK_EQ(wait_for(other, 7, 0), 1);
    KL_CHECK_EQ(kl_shared_object_close(&GAUGE, other), KL_OK);
    KL_CHECK_EQ(leaves, before + 2);
    KL_CHECK_EQ(kl_handle_live(KL_HANDLE_COUNTER), 0);
}

KL_TEST(kl_shared_object_refuses_names_sizes_and_handles_that_cannot_be) {
    uint32_t none = 0, level = 0;
    uint8_t *out = (uint8_t *)&none;
    const uint8_t *slash = (const uint8_t *)"a/b";
    KL_CHECK_EQ(kl_shared_object_create(&GAUGE, slash, 3, 64, &level, out), KL_ERR_NAME);
    KL_CHECK_EQ(kl_shared_object_create(&GAUGE, slash, 0, 64, &level, out), KL_ERR_NAME);
    KL_CHECK_EQ(kl_shared_object_create(&GAUGE, slash, 500, 64, &level, out), KL_ERR_NAME);
    KL_CHECK_EQ(kl_shared_object_create(&GAUGE, slash, 1, 0, &level, out), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_shared_object_create(&GAUGE, slash, 1, 64, &level, NULL), KL_ERR_ARGUMENT);
    KL_CHECK(kl_shared_object_enter(&GAUGE, 12345) == NULL);
    uint32_t foreign = kl_handle_open(KL_HANDLE_LOG, &level, NULL);
    KL_CHECK_EQ(kl_shared_object_wait(foreign, KL_HANDLE_LOG, 1, 0, 0), KL_ERR_HANDLE);
    KL_CHECK_EQ(kl_shared_object_wait(foreign, KL_HANDLE_COUNTER, 1, 0, 0), KL_ERR_HANDLE);
    KL_CHECK_EQ(kl_shared_object_wait(foreign, 4711, 1, 0, 0), KL_ERR_HANDLE);
    KL_CHECK_EQ(kl_shared_object_close(&GAUGE, foreign), KL_ERR_HANDLE);
    KL_CHECK_EQ(kl_handle_close(foreign, KL_HANDLE_LOG), KL_OK);
    char text[64];
    uint32_t bytes;
    const uint8_t *name = fresh_name(text, &bytes);
    uint32_t handle = create(name, bytes);
    KL_CHECK_EQ(kl_shared_object_wait(handle, KL_HANDLE_COUNTER, 2, 0, 0), KL_ERR_ARGUMENT);
    kl_shared_object_close(&GAUGE, handle);
    kl_shared_object_remove(&GAUGE, name, bytes);
}

typedef struct {
    uint32_t handle, level;
    double timeout_ms;
    _Atomic int32_t status;
} waiting;

static void *wait_on_thread(void *argument) {
    waiting *it = argument;
    int32_t status = wait_for(it->handle, it->level, it->timeout_ms);
    atomic_store_explicit(&it->status, status, memory_order_release);
    return NULL;
}

static int32_t status_of(waiting *it) {
    return atomic_load_explicit(&it->status, memory_order_acquire);
}

KL_TEST(kl_shared_object_wait_ends_when_it_can_be_done_times_out_or_the_handle_closes) {
    char text[64];
    uint32_t bytes;
    const uint8_t *name = fresh_name(text, &bytes);
    uint32_t handle = create(name, bytes), other = attach(name, bytes);
    KL_CHECK_EQ(wait_for(handle, 9, 0), KL_ERR_TIMEOUT);
    uint64_t started_ns = kl_test_now_ns();
    KL_CHECK_EQ(wait_for(handle, 9, 20), KL_ERR_TIMEOUT);
    KL_CHECK_LE(20 * KL_NS_PER_MS, kl_test_now_ns() - started_ns);
    waiting risen = {handle, 9, -1, 77}, closed = {handle, 1000, -1, 77};
    pthread_t threads[2];
    pthread_create(&threads[0], NULL, wait_on_thread, &risen);
    pthread_create(&threads[1], NULL, wait_on_thread, &closed);
    usleep(2000);
    raise_gauge(other, 8);
    usleep(2000);
    KL_CHECK_EQ(status_of(&risen), 77);
    raise_gauge(other, 9);
    pthread_join(threads[0], NULL);
    KL_CHECK_EQ(status_of(&risen), 1);
    KL_CHECK_EQ(status_of(&closed), 77);
    started_ns = kl_test_now_ns();
    KL_CHECK_EQ(kl_shared_object_close(&GAUGE, handle), KL_OK);
    pthread_join(threads[1], NULL);
    KL_CHECK_EQ(status_of(&closed), KL_ERR_CLOSED);
    if (!kl_test_slow()) KL_CHECK_LT(kl_test_now_ns() - started_ns, 400 * KL_NS_PER_MS);
    KL_CHECK_EQ(kl_shared_object_close(&GAUGE, other), KL_OK);
    kl_shared_object_remove(&GAUGE, name, bytes);
}

static int rise_in_child(void *argument) {
    uint32_t handle = attach(argument, (uint32_t)strlen(argument));
    for (uint32_t level = 10; level <= 200; level++) raise_gauge(handle, level);
    return 0;
}

KL_TEST(kl_shared_object_wait_sees_what_another_process_does) {
    char text[64];
    uint32_t bytes;
    const uint8_t *name = fresh_name(text, &bytes);
    uint32_t handle = create(name, bytes);
    int child = kl_test_fork(rise_in_child, text);
    for (uint32_t level = 10; level <= 200; level++) KL_CHECK_EQ(wait_for(handle, level, 30000), 1);
    KL_CHECK_EQ(kl_test_join(child), 0);
    kl_shared_object_close(&GAUGE, handle);
    kl_shared_object_remove(&GAUGE, name, bytes);
}

static void *use_and_end(void *argument) {
    waiting *it = argument;
    it->handle = attach(argument ? (const uint8_t *)(it + 1) : NULL, it->level);
    gauge *object = kl_shared_object_enter(&GAUGE, it->handle);
    int32_t self = kl_shared_object_self(&object->object);
    KL_CHECK_EQ(self, kl_shared_object_self(&object->object));
    it->status = self;
    kl_handle_leave(it->handle);
    return NULL;
}

KL_TEST(kl_shared_object_closes_what_a_thread_left_open_and_its_id_is_dead) {
    struct {
        waiting it;
        char name[64];
    } left = {0};
    const uint8_t *name = fresh_name(left.name, &left.it.level);
    uint32_t bytes = left.it.level, handle = create(name, bytes), before = leaves;
    pthread_t thread;
    pthread_create(&thread, NULL, use_and_end, &left);
    pthread_join(thread, NULL);
    KL_CHECK_EQ(leaves, before + 1);
    KL_CHECK(kl_shared_object_enter(&GAUGE, left.it.handle) == NULL);
    gauge *object = kl_shared_object_enter(&GAUGE, handle);
    int32_t self = kl_shared_object_self(&object->object);
    KL_CHECK_LT(0, self);
    KL_CHECK_NE(self, status_of(&left.it));
    KL_CHECK(kl_region_thread_alive(object->object.region, (uint32_t)self));
    KL_CHECK(!kl_region_thread_alive(object->object.region, (uint32_t)status_of(&left.it)));
    kl_handle_leave(handle);
    kl_shared_object_close(&GAUGE, handle);
    kl_shared_object_remove(&GAUGE, name, bytes);
}
