#include "mem/region_handle.h"

#include "base/handle.h"
#include "mem/region.h"
#include "tests/c/harness.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static uint32_t handle;

/* Calls create or attach with what TypeScript would send. */
static int32_t open_region(bool create, const char *name, uint32_t where, double bytes) {
    kl_region_request request = {
        .data_bytes = bytes, .where = where, .kind = KL_REGION_KIND_PLAIN, .role = 9};
    const uint8_t *text = (const uint8_t *)name;
    uint32_t length = (uint32_t)strlen(name);
    handle = 0;
    return create ? kl_region_handle_create(text, length, (uint8_t *)&request, (uint8_t *)&handle)
                  : kl_region_handle_attach(text, length, (uint8_t *)&request, (uint8_t *)&handle);
}

static const char *new_path(void) {
    static char path[400];
    snprintf(path, sizeof path, "%s/r", kl_test_folder());
    return path;
}

KL_TEST(kl_region_handle_reads_and_writes_what_lies_inside) {
    const char *path = new_path();
    KL_CHECK_EQ(open_region(true, path, KL_REGION_BY_PATH, 10000), KL_OK);
    uint32_t made = handle;
    KL_CHECK_EQ(open_region(false, path, KL_REGION_BY_PATH, 0), KL_OK);
    uint32_t attached = handle;
    KL_CHECK(kl_region_handle_bytes(attached) == 10000);
    uint8_t out[100], in[100];
    for (int i = 0; i < 100; i++) in[i] = (uint8_t)i;
    KL_CHECK_EQ(kl_region_handle_write(made, 9900, in, 100), KL_OK);
    KL_CHECK_EQ(kl_region_handle_read(attached, 9900, out, 100), KL_OK);
    KL_CHECK_BYTES(in, out, 100);
    KL_CHECK_EQ(*(uint8_t *)(uintptr_t)(kl_region_handle_address(attached) + 9901), 1);
    static const double bad[] = {9901, 10001, -1, 1e300, -0.5, NAN, INFINITY, -INFINITY, 0x1p63};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        KL_CHECK_EQ(kl_region_handle_read(made, bad[i], out, 100), KL_ERR_ARGUMENT);
        KL_CHECK_EQ(kl_region_handle_write(made, bad[i], in, 100), KL_ERR_ARGUMENT);
    }
    KL_CHECK_EQ(kl_region_handle_read(made, 0, NULL, 1), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_region_handle_read(made, 10000, NULL, 0), KL_OK);
    KL_CHECK_EQ(kl_region_handle_write(made, 0, in, UINT32_MAX), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_region_handle_close(made), KL_OK);
    KL_CHECK_EQ(kl_region_handle_close(made), KL_ERR_HANDLE);
    KL_CHECK_EQ(kl_region_handle_close(attached), KL_OK);
    KL_CHECK_EQ(kl_handle_live(KL_HANDLE_REGION), 0);
}

KL_TEST(kl_region_handle_answers_every_number_that_is_no_handle) {
    uint8_t byte[64];
    static const uint32_t bad[] = {0, 1, 0xffffffff, 0x1000};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        KL_CHECK_EQ((int32_t)kl_region_handle_bytes(bad[i]), KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_region_handle_read(bad[i], 0, byte, 1), KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_region_handle_write(bad[i], 0, byte, 1), KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_region_handle_participants(bad[i], byte, 1), KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_region_handle_check(bad[i]), KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_region_handle_reap(bad[i]), KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_region_handle_path(bad[i], byte, 1), KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_region_handle_close(bad[i]), KL_ERR_HANDLE);
        KL_CHECK_EQ(kl_region_handle_address(bad[i]), 0);
        KL_CHECK_EQ(kl_region_handle_self(bad[i]), 0);
    }
}

KL_TEST(kl_region_handle_refuses_bad_requests_and_leaves_nothing) {
    const char *path = new_path();
    char large[5000];
    memset(large, 'a', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    static const double sizes[] = {0, -1, NAN, INFINITY, 0.5, 1e18};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        KL_CHECK_EQ(open_region(true, path, KL_REGION_BY_PATH, sizes[i]), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(open_region(true, path, 3, 100), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(open_region(true, "", KL_REGION_BY_PATH, 100), KL_ERR_NAME);
    KL_CHECK_EQ(open_region(true, large, KL_REGION_BY_PATH, 100), KL_ERR_NAME);
    KL_CHECK_EQ(open_region(true, "a/b", KL_REGION_BY_NAME, 100), KL_ERR_NAME);
    KL_CHECK_EQ(open_region(false, path, KL_REGION_UNNAMED, 0), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_region_handle_create(NULL, 5, (uint8_t *)large, (uint8_t *)&handle),
                KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_region_handle_create((uint8_t *)large, 5, NULL, (uint8_t *)&handle),
                KL_ERR_ARGUMENT);
    kl_region_request request = {.data_bytes = 5, .where = KL_REGION_BY_PATH};
    KL_CHECK_EQ(kl_region_handle_create((const uint8_t *)"a\0b", 3, (uint8_t *)&request,
                                        (uint8_t *)&handle),
                KL_ERR_NAME);
    KL_CHECK_EQ(kl_region_handle_unlink(NULL, 5, 0), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_region_handle_unlink((const uint8_t *)path, (uint32_t)strlen(path), 1),
                KL_ERR_NOT_FOUND);
    KL_CHECK(access(path, F_OK) != 0);
    KL_CHECK_EQ(kl_handle_live(KL_HANDLE_REGION), 0);
}

KL_TEST(kl_region_handle_lists_participants_and_paths) {
    const char *path = new_path();
    kl_participant list[4];
    char text[400] = {0};
    KL_CHECK_EQ(open_region(true, path, KL_REGION_BY_PATH, 100), KL_OK);
    uint32_t made = handle;
    KL_CHECK_EQ(open_region(false, path, KL_REGION_BY_PATH, 0), KL_OK);
    uint32_t attached = handle;
    KL_CHECK_EQ(kl_region_handle_participants(made, (uint8_t *)list, 4), 2);
    KL_CHECK_EQ(list[0].id, kl_region_handle_self(made));
    KL_CHECK_EQ(list[1].id, kl_region_handle_self(attached));
    KL_CHECK(list[0].alive && list[1].alive && list[1].role == 9);
    KL_CHECK_EQ(kl_region_handle_participants(made, NULL, 0), 2);
    KL_CHECK_EQ(kl_region_handle_participants(made, NULL, 1), KL_ERR_ARGUMENT);
    memset(&list[1], 0, sizeof list[1]);
    KL_CHECK_EQ(kl_region_handle_participants(made, (uint8_t *)list, 1), 2);
    KL_CHECK_EQ(list[1].id, 0);
    KL_CHECK_EQ(kl_region_handle_path(made, (uint8_t *)text, sizeof text), (int)strlen(path));
    KL_CHECK_TEXT(text, path);
    KL_CHECK_EQ(kl_region_handle_close(attached), KL_OK);
    KL_CHECK_EQ(kl_region_handle_participants(made, (uint8_t *)list, 4), 1);
    KL_CHECK_EQ(kl_region_handle_reap(made), 0);
    KL_CHECK_EQ(kl_region_handle_close(made), KL_OK);
}

KL_TEST(kl_region_handle_read_of_a_cut_region_says_so) {
    const char *path = new_path();
    static uint8_t large[10 << 20];
    KL_CHECK_EQ(open_region(true, path, KL_REGION_BY_PATH, sizeof large), KL_OK);
    memset(large, 1, sizeof large);
    KL_CHECK_EQ(kl_region_handle_write(handle, 0, large, sizeof large), KL_OK);
    KL_CHECK_EQ(kl_region_handle_check(handle), KL_OK);
    KL_CHECK(truncate(path, 5 << 20) == 0);
    KL_CHECK_EQ(kl_region_handle_read(handle, 0, large, 4 << 20), KL_OK);
    KL_CHECK_EQ(kl_region_handle_read(handle, 0, large, sizeof large), KL_ERR_POISONED);
    KL_CHECK_EQ(kl_region_handle_read(handle, 0, large, 1), KL_ERR_POISONED);
    KL_CHECK_EQ(kl_region_handle_write(handle, 0, large, 1), KL_ERR_POISONED);
    KL_CHECK_EQ(kl_region_handle_check(handle), KL_ERR_POISONED);
    KL_CHECK_EQ(kl_region_handle_participants(handle, NULL, 0), KL_ERR_POISONED);
    KL_CHECK_EQ(kl_region_handle_close(handle), KL_OK);
}

static void close_under_use(void *argument, uint32_t index) {
    uint32_t shared = *(uint32_t *)argument;
    uint8_t bytes[16] = {0};
    for (int round = 0; round < 2000; round++) {
        if (index == 0 && round == 1000) {
            KL_CHECK_EQ(kl_region_handle_close(shared), KL_OK);
        } else {
            int32_t status = kl_region_handle_read(shared, index * 64, bytes, 16);
            KL_CHECK(status == KL_OK || status == KL_ERR_HANDLE);
            (void)kl_region_handle_reap(shared);
        }
    }
}

KL_TEST(kl_region_handle_close_races_calls_of_other_threads) {
    KL_CHECK_EQ(open_region(true, "-", KL_REGION_UNNAMED, 4096), KL_OK);
    kl_test_threads(4, close_under_use, &handle);
    KL_CHECK_EQ(kl_handle_live(KL_HANDLE_REGION), 0);
}

static void open_several(void *argument, uint32_t index) {
    uint32_t *handles = argument;
    (void)index;
    for (int i = 0; i < 40; i++) {
        KL_CHECK_EQ(open_region(true, "-", KL_REGION_UNNAMED, 4096), KL_OK);
        handles[i] = handle;
        if (i % 4 == 0) KL_CHECK_EQ(kl_region_handle_close(handle), KL_OK);
    }
}

KL_TEST(kl_region_handle_is_closed_with_the_thread_that_opened_it) {
    static uint32_t handles[40];
    kl_test_threads(1, open_several, handles);
    KL_CHECK_EQ(kl_handle_live(KL_HANDLE_REGION), 0);
    for (int i = 0; i < 40; i++) KL_CHECK_EQ(kl_region_handle_check(handles[i]), KL_ERR_HANDLE);
}
