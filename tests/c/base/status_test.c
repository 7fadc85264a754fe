#include "base/status.h"
#include "tests/c/harness.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static uint8_t buffer[1024];

/* What the FFI does: takes the detail, here as a NUL-terminated text. */
static const char *take(uint32_t capacity) {
    uint32_t bytes = kl_status_detail(buffer, capacity);
    buffer[bytes] = 0;
    return (const char *)buffer;
}

KL_TEST(kl_fail_keeps_the_text_and_gives_the_status_back) {
    KL_CHECK_EQ(kl_fail(KL_ERR_LIMIT, "slot %d of %d", 5, 4), KL_ERR_LIMIT);
    KL_CHECK_EQ(kl_status_detail_code(), KL_ERR_LIMIT);
    KL_CHECK_TEXT(kl_status_last(), "slot 5 of 4");
    KL_CHECK_TEXT(take(512), "slot 5 of 4");
}

KL_TEST(kl_status_detail_is_taken_once) {
    kl_fail(KL_ERR_LIMIT, "once");
    KL_CHECK_TEXT(take(512), "once");
    KL_CHECK_EQ(kl_status_detail(buffer, 512), 0);
    KL_CHECK_EQ(kl_status_detail_code(), KL_OK);
    KL_CHECK_TEXT(kl_status_last(), "");
}

KL_TEST(kl_status_detail_cuts_at_the_capacity_and_takes_bad_buffers) {
    kl_fail(KL_ERR_IO, "0123456789");
    KL_CHECK_TEXT(take(4), "0123");
    kl_fail(KL_ERR_IO, "0123456789");
    KL_CHECK_EQ(kl_status_detail(buffer, 0), 0);
    kl_fail(KL_ERR_IO, "0123456789");
    KL_CHECK_EQ(kl_status_detail(NULL, 512), 0);
    kl_fail(KL_ERR_IO, "a\xE2\x82\xAC"
                       "b"); /* a, the euro sign in three bytes, b */
    KL_CHECK_TEXT(take(3), "a");
    kl_fail(KL_ERR_IO, "a\xE2\x82\xAC"
                       "b");
    KL_CHECK_TEXT(take(4), "a\xE2\x82\xAC");
}

KL_TEST(kl_fail_cuts_long_texts_between_characters) {
    char text[1200];
    for (size_t i = 0; i + 2 < sizeof text; i += 2) memcpy(text + i, "\xC3\xA9", 3); /* e acute */
    kl_fail(KL_ERR_NAME, "%s", text);
    KL_CHECK_EQ(strlen(kl_status_last()), KL_DETAIL_BYTES_MAX - 1); /* 511 is odd */
    KL_CHECK_EQ((unsigned char)kl_status_last()[509], 0xA9);
    kl_fail(KL_ERR_NAME, "x%s", text);
    KL_CHECK_EQ(strlen(kl_status_last()), KL_DETAIL_BYTES_MAX);
    kl_fail_errno(KL_ERR_NAME, EIO, "%s", text); /* no room for the suffix: still valid */
    KL_CHECK_LE(strlen(kl_status_last()), KL_DETAIL_BYTES_MAX);
}

KL_TEST(kl_fail_may_wrap_the_previous_detail) {
    kl_fail(KL_ERR_IO, "disk says no");
    kl_fail(KL_ERR_POISONED, "log a/b: %s", kl_status_last());
    KL_CHECK_TEXT(kl_status_last(), "log a/b: disk says no");
}

KL_TEST(kl_fail_errno_names_the_error_and_sharpens_io) {
    static const struct {
        int error;
        int32_t status;
    } sharper[] = {
        {ENOSPC, KL_ERR_NO_SPACE},  {EDQUOT, KL_ERR_NO_SPACE},  {EACCES, KL_ERR_PERMISSION},
        {EPERM, KL_ERR_PERMISSION}, {EROFS, KL_ERR_PERMISSION}, {ENOENT, KL_ERR_NOT_FOUND},
        {EEXIST, KL_ERR_EXISTS},    {EIO, KL_ERR_IO},           {0, KL_ERR_IO},
    };
    for (size_t i = 0; i < sizeof sharper / sizeof *sharper; i++) {
        int error = sharper[i].error;
        KL_CHECK_EQ(kl_fail_errno(KL_ERR_IO, error, "open x"), sharper[i].status);
        KL_CHECK_EQ(kl_status_detail_code(), sharper[i].status);
        KL_CHECK_CONTAINS(kl_status_last(), "open x: ");
        KL_CHECK_CONTAINS(kl_status_last(), strerror(error));
        KL_CHECK_EQ(kl_fail_errno(KL_ERR_LOCKED, error, "open x"), KL_ERR_LOCKED);
    }
}

KL_TEST(kl_status_text_knows_every_code_once) {
    static const int32_t codes[] = {
#define CODE(name, number, text) number,
        KL_STATUS_LIST(CODE)
#undef CODE
    };
    const size_t count = sizeof codes / sizeof *codes;
    for (size_t i = 0; i < count; i++) {
        uint32_t bytes = kl_status_text(codes[i], buffer, sizeof buffer);
        KL_CHECK(bytes > 0 && bytes < 100);
        KL_CHECK_EQ(strncmp(kl_status_name(codes[i]), "KL_", 3), 0);
        for (size_t j = 0; j < i; j++) KL_CHECK_NE(codes[i], codes[j]);
    }
    KL_CHECK_TEXT(kl_status_name(KL_ERR_END), "KL_ERR_END");
    KL_CHECK_EQ(KL_ERR_END, -26); /* numbers cross the border: they never change */
    KL_CHECK_EQ(KL_OWNER_DEAD, 1);
}

KL_TEST(kl_status_text_of_an_unknown_code_is_empty) {
    KL_CHECK_EQ(kl_status_text(12345, buffer, sizeof buffer), 0);
    KL_CHECK_EQ(kl_status_text(INT32_MIN, buffer, sizeof buffer), 0);
    KL_CHECK_EQ(kl_status_text(KL_OK, NULL, 100), 0);
    KL_CHECK_EQ(kl_status_text(KL_OK, buffer, 2), 2);
    KL_CHECK_TEXT(kl_status_name(12345), "KL_ERR_?");
}

static void fail_on_thread(void *argument, uint32_t index) {
    (void)argument;
    char mine[32];
    snprintf(mine, sizeof mine, "thread %u", index);
    for (int i = 0; i < 1000; i++) {
        kl_fail(-(int32_t)index - 1, "%s", mine);
        KL_CHECK_TEXT(kl_status_last(), mine);
        KL_CHECK_EQ(kl_status_detail_code(), -(int32_t)index - 1);
    }
}

KL_TEST(kl_status_detail_belongs_to_its_thread) {
    kl_fail(KL_ERR_END, "main");
    kl_test_threads(4, fail_on_thread, NULL);
    KL_CHECK_TEXT(kl_status_last(), "main");
}

static int break_a_rule(void *argument) {
    KL_ASSERT(argument != NULL);
    return kl_bug_count() == 1 && kl_status_detail_code() == KL_ERR_BUG ? 3 : 4;
}

KL_TEST(kl_bug_count_counts_in_release_and_aborts_in_debug) {
    KL_CHECK_EQ(kl_bug_count(), 0);
    KL_ASSERT(1 + 1 == 2);
    KL_CHECK_EQ(kl_bug_count(), 0);
    int status = kl_test_join(kl_test_fork(break_a_rule, NULL));
#ifdef KL_DEBUG
    KL_CHECK_EQ(status, 128 + SIGABRT);
#else
    KL_CHECK_EQ(status, 3);
#endif
}
