/* The locks, the latest value, the counter and the event count behind handles: no misuse of a handle
 * crashes, and a close in the middle of a wait leaves the structure usable. */
#include "sync/counter_handle.h"
#include "sync/event_count_handle.h"
#include "sync/latest_handle.h"
#include "sync/mutex_handle.h"
#include "sync/ordered_lock_handle.h"
#include "sync/sleep_lock_handle.h"

#include "base/handle.h"
#include "base/random.h"
#include "sync/shared_object.h"
#include "tests/c/harness.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define KINDS 6

static char name_text[64];

static const uint8_t *fresh_name(uint32_t *bytes) {
    static uint32_t number;
    *bytes = (uint32_t)snprintf(name_text, sizeof name_text, "test-locks-%d-%u", (int)getpid(),
                                number++);
    return (const uint8_t *)name_text;
}

/* One of each kind. */
static int32_t create(uint32_t kind, const uint8_t *name, uint32_t bytes, uint8_t *out) {
    switch (kind) {
    case 0: return kl_mutex_create(name, bytes, out);
    case 1: return kl_sleep_lock_create(name, bytes, 16, out);
    case 2: return kl_ordered_lock_create(name, bytes, 3, 4, (const uint8_t *)"class", 5, out);
    case 3: return kl_latest_create(name, bytes, 8, out);
    case 4: return kl_counter_create(name, bytes, out);
    default: return kl_event_count_create(name, bytes, out);
    }
}

static int32_t attach(uint32_t kind, const uint8_t *name, uint32_t bytes, uint8_t *out) {
    switch (kind) {
    case 0: return kl_mutex_attach(name, bytes, out);
    case 1: return kl_sleep_lock_attach(name, bytes, out);
    case 2: return kl_ordered_lock_attach(name, bytes, out);
    case 3: return kl_latest_attach(name, bytes, out);
    case 4: return kl_counter_attach(name, bytes, out);
    default: return kl_event_count_attach(name, bytes, out);
    }
}

static int32_t close_one(uint32_t kind, uint32_t handle) {
    switch (kind) {
    case 0: return kl_mutex_close(handle);
    case 1: return kl_sleep_lock_close(handle);
    case 2: return kl_ordered_lock_close(handle);
    case 3: return kl_latest_close(handle);
    case 4: return kl_counter_close(handle);
    default: return kl_event_count_close(handle);
    }
}

/* Every call of `kind` with a handle that is none of its own. */
static void all_refuse(uint32_t kind, uint32_t handle) {
    uint8_t out[128] = {0};
    int32_t answers[10] = {0};
    uint32_t count = 0;
    if (kind == 0) {
        answers[count++] = kl_mutex_take(handle, 1);
        answers[count++] = kl_mutex_take_within(handle, 1);
        answers[count++] = kl_mutex_give(handle);
        answers[count++] = kl_mutex_state(handle);
    } else if (kind == 1) {
        answers[count++] = kl_sleep_lock_take(handle, 1, out);
        answers[count++] = kl_sleep_lock_take_within(handle, 1, out);
        answers[count++] = kl_sleep_lock_ask(handle, 0);
        answers[count++] = kl_sleep_lock_give(handle, 0);
        answers[count++] = kl_sleep_lock_waiting(handle);
    } else if (kind == 2) {
        answers[count++] = kl_ordered_lock_try(handle, 0);
        answers[count++] = kl_ordered_lock_take_within(handle, 1, 0);
        answers[count++] = kl_ordered_lock_give(handle);
        answers[count++] = kl_ordered_lock_set_site(handle, 1);
        answers[count++] = kl_ordered_lock_about(handle, out);
    } else if (kind == 3) {
        answers[count++] = kl_latest_put(handle, out, 8);
        answers[count++] = kl_latest_take(handle, out, 8, out + 8);
        answers[count++] = (int32_t)kl_latest_number(handle);
        answers[count++] = kl_latest_value_bytes(handle);
    } else if (kind == 4) {
        answers[count++] = kl_counter_add(handle, 1);
        answers[count++] = kl_counter_add_i32(handle, 1);
        answers[count++] = kl_counter_sum(handle, out);
    } else {
        answers[count++] = (int32_t)kl_event_count_key(handle);
        answers[count++] = kl_event_count_notify(handle);
    }
    answers[count++] = close_one(kind, handle);
    for (uint32_t i = 0; i < count; i++) KL_CHECK_EQ(answers[i], KL_ERR_HANDLE);
}

KL_TEST(kl_lock_handles_refuse_closed_foreign_and_forged_handles) {
    uint32_t handles[KINDS], bytes;
    for (uint32_t kind = 0; kind < KINDS; kind++) {
        const uint8_t *name = fresh_name(&bytes);
        KL_CHECK_EQ(create(kind, name, bytes, (uint8_t *)&handles[kind]), KL_OK);
        for (uint32_t other = 0; other < KINDS; other++) {
            uint32_t again = 0;
            int32_t status = attach(other, name, bytes, (uint8_t *)&again);
            KL_CHECK_EQ(status, other == kind ? KL_OK : KL_ERR_FOREIGN);
            if (status == KL_OK) KL_CHECK_EQ(close_one(kind, again), KL_OK);
        }
        KL_CHECK_EQ(create(kind, name, bytes, NULL), KL_ERR_ARGUMENT);
        KL_CHECK_EQ(kl_mutex_remove(name, bytes), KL_OK); /* a region's name is a region's */
    }
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (uint32_t kind = 0; kind < KINDS; kind++) {
        for (uint32_t other = 0; other < KINDS; other++)
            if (other != kind) all_refuse(kind, handles[other]);
        all_refuse(kind, 0);
        for (uint32_t i = 0; i < 100; i++)
            all_refuse(kind, (uint32_t)kl_random_u64(&random) | 1u << 31);
    }
    for (uint32_t kind = 0; kind < KINDS; kind++) {
        KL_CHECK_EQ(close_one(kind, handles[kind]), KL_OK);
        all_refuse(kind, handles[kind]);
    }
}

KL_TEST(kl_lock_handles_refuse_null_and_what_cannot_be) {
    uint32_t bytes, handle;
    const uint8_t *name = fresh_name(&bytes);
    uint8_t *out = (uint8_t *)&handle;
    KL_CHECK_EQ(kl_sleep_lock_create(name, bytes, 3, out), KL_ERR_ARGUMENT);
    double sizes[] = {0, -1, 0.5, 1e300, 0.0 / 0.0, 67108865};
    for (uint32_t i = 0; i < 6; i++)
        KL_CHECK_EQ(kl_latest_create(name, bytes, sizes[i], out), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_ordered_lock_create(name, bytes, 0, 0, NULL, 3, out), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_ordered_lock_create(name, bytes, 0, 0.5, name, 3, out), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_ordered_lock_create(name, bytes, 0, 0, name, 64, out), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_order_site(NULL, 3), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_order_site(name, 501), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_order_site((const uint8_t *)"a\nb", 3), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_order_tell(1e18, out, 4), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_order_counts_to(out, 4), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_sleep_lock_take(1, 1, NULL), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_sleep_lock_take_within(1, 1, NULL), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_counter_sum(1, NULL), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_latest_take(1, NULL, 1, out), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_latest_create(name, bytes, 8, out), KL_OK);
    KL_CHECK_EQ(kl_latest_put(handle, NULL, 8), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_latest_close(handle), KL_OK);
    KL_CHECK_EQ(kl_latest_remove(name, bytes), KL_OK);
}

/* ---- a close in the middle of a wait ---- */

typedef struct {
    uint32_t kind, handle;
    _Atomic uint32_t waits;
    int32_t status;
} waiting;

static int32_t lock_within(uint32_t kind, uint32_t handle, double timeout_ms) {
    double ticket;
    if (kind == 0) return kl_mutex_take_within(handle, timeout_ms);
    if (kind == 1) return kl_sleep_lock_take_within(handle, timeout_ms, (uint8_t *)&ticket);
    return kl_ordered_lock_take_within(handle, timeout_ms, 0);
}

static void *wait_on_thread(void *argument) {
    waiting *it = argument;
    atomic_store(&it->waits, 1);
    it->status = lock_within(it->kind, it->handle, 30000);
    return NULL;
}

KL_TEST(kl_lock_handles_closed_in_the_middle_of_a_wait_end_it_and_the_lock_goes_on) {
    for (uint32_t kind = 0; kind < 3; kind++)
        for (uint32_t round = 0; round < 8; round++) {
            uint32_t bytes, owner, other;
            const uint8_t *name = fresh_name(&bytes);
            KL_CHECK_EQ(create(kind, name, bytes, (uint8_t *)&owner), KL_OK);
            KL_CHECK_EQ(attach(kind, name, bytes, (uint8_t *)&other), KL_OK);
            KL_CHECK_EQ(lock_within(kind, owner, 0), KL_OK);
            waiting it = {.kind = kind, .handle = other};
            pthread_t thread;
            KL_CHECK_EQ(pthread_create(&thread, NULL, wait_on_thread, &it), 0);
            while (atomic_load(&it.waits) == 0) usleep(50);
            usleep(200 * round); /* before, in and after its first sleep */
            KL_CHECK_EQ(close_one(kind, other), KL_OK);
            pthread_join(thread, NULL);
            KL_CHECK(it.status == KL_ERR_CLOSED || it.status == KL_ERR_HANDLE);
            KL_CHECK_EQ(attach(kind, name, bytes, (uint8_t *)&other), KL_OK);
            KL_CHECK_EQ(lock_within(kind, other, 0), KL_ERR_TIMEOUT);
            KL_CHECK_EQ(close_one(kind, owner), KL_OK); /* abandons it */
            KL_CHECK_EQ(lock_within(kind, other, 30000), KL_OWNER_DEAD);
            KL_CHECK_EQ(close_one(kind, other), KL_OK);
            KL_CHECK_EQ(kl_mutex_remove(name, bytes), KL_OK);
        }
    KL_CHECK_EQ(kl_handle_live(0), 0);
}

/* ---- hostile memory ---- */

KL_TEST(kl_lock_handles_attach_to_scribbled_regions_with_codes) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (uint32_t kind = 0; kind < KINDS; kind++)
        for (uint32_t round = 0; round < 10; round++) {
            uint32_t bytes, made, again = 0;
            const uint8_t *name = fresh_name(&bytes);
            KL_CHECK_EQ(create(kind, name, bytes, (uint8_t *)&made), KL_OK);
            char path[256];
            kl_region *region = NULL;
            KL_CHECK_EQ(kl_region_name_path(name_text, path, sizeof path), KL_OK);
            KL_CHECK_EQ(kl_region_attach(&region, path, NULL), KL_OK);
            uint8_t *data = kl_region_data(region);
            for (uint64_t i = round % 2 ? 0 : 8; i < kl_region_data_bytes(region); i++)
                if (kl_random_below(&random, 4) == 0) data[i] = (uint8_t)kl_random_u64(&random);
            if (attach(kind, name, bytes, (uint8_t *)&again) == KL_OK) {
                if (kind < 3) lock_within(kind, again, 1);
                if (kind == 3) kl_latest_put(again, data, 8);
                KL_CHECK_EQ(close_one(kind, again), KL_OK);
            }
            KL_CHECK_EQ(close_one(kind, made), KL_OK);
            kl_region_close(region);
            KL_CHECK_EQ(kl_mutex_remove(name, bytes), KL_OK);
        }
}
