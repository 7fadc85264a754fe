#include "base/status.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int32_t code;
    uint32_t bytes;
    char text[KL_DETAIL_BYTES_MAX + 1];
} kl_detail;

/* The thread's detail. Behind a key, not in the thread's static block: that block must stay small
 * enough for a library that is loaded late (tests/process/library_test.ts). */
static pthread_once_t detail_once = PTHREAD_ONCE_INIT;
static pthread_key_t detail_key;
static bool detail_usable;
static _Atomic uint32_t bug_count;

static void make_detail_key(void) {
    detail_usable = pthread_key_create(&detail_key, free) == 0;
}

/* NULL: nothing was said on this thread. */
static kl_detail *said(void) {
    pthread_once(&detail_once, make_detail_key);
    return detail_usable ? pthread_getspecific(detail_key) : NULL;
}

static kl_detail *to_say(void) {
    kl_detail *detail = said();
    if (detail != NULL || !detail_usable) return detail;
    detail = calloc(1, sizeof *detail);
    if (detail != NULL && pthread_setspecific(detail_key, detail) == 0) return detail;
    free(detail);
    return NULL; /* no memory for words: the code says it alone */
}

/* Cuts a UTF-8 sequence that the buffer's end has split; answers the bytes that remain. */
static size_t whole_characters(const char *text, size_t bytes) {
    size_t start = bytes;
    while (start > 0 && bytes - start < 4) {
        unsigned char byte = (unsigned char)text[--start];
        if (byte < 0x80) return bytes;
        if (byte < 0xC0) continue;
        size_t needed = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
        return bytes - start < needed ? start : bytes;
    }
    return bytes;
}

/* Formats beside the old text first, since the arguments may point into it. */
static void keep_detail(int32_t status, const char *suffix, const char *format, va_list arguments) {
    char text[KL_DETAIL_BYTES_MAX + 1];
    int wanted = vsnprintf(text, sizeof text, format, arguments);
    size_t bytes = wanted < 0 ? 0 : (size_t)wanted;
    if (bytes > KL_DETAIL_BYTES_MAX) bytes = KL_DETAIL_BYTES_MAX;
    if (suffix != NULL) {
        wanted = snprintf(text + bytes, sizeof text - bytes, ": %s", suffix);
        if (wanted > 0) bytes += (size_t)wanted;
        if (bytes > KL_DETAIL_BYTES_MAX) bytes = KL_DETAIL_BYTES_MAX;
    }
    bytes = whole_characters(text, bytes);
    kl_detail *detail = to_say();
    if (detail == NULL) return;
    memcpy(detail->text, text, bytes);
    detail->text[bytes] = '\0';
    detail->bytes = (uint32_t)bytes;
    detail->code = status;
}

int32_t kl_fail(int32_t status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    keep_detail(status, NULL, format, arguments);
    va_end(arguments);
    return status;
}

static int32_t sharper(int32_t status, int error) {
    if (status != KL_ERR_IO) return status;
    switch (error) {
    case ENOSPC:
    case EDQUOT: return KL_ERR_NO_SPACE;
    case EACCES:
    case EPERM:
    case EROFS: return KL_ERR_PERMISSION;
    case ENOENT: return KL_ERR_NOT_FOUND;
    case EEXIST: return KL_ERR_EXISTS;
    default: return status;
    }
}

int32_t kl_fail_errno(int32_t status, int error, const char *format, ...) {
    char buffer[96];
    const char *meaning = strerror_r(error, buffer, sizeof buffer);
    status = sharper(status, error);
    va_list arguments;
    va_start(arguments, format);
    keep_detail(status, meaning, format, arguments);
    va_end(arguments);
    return status;
}

const char *kl_status_last(void) {
    const kl_detail *detail = said();
    return detail == NULL ? "" : detail->text;
}

const char *kl_status_name(int32_t code) {
    switch (code) {
#define KL_STATUS_NAME(name, number, text) \
    case number: return #name;
        KL_STATUS_LIST(KL_STATUS_NAME)
#undef KL_STATUS_NAME
    default: return "KL_ERR_?";
    }
}

const char *kl_status_sentence(int32_t code) {
    switch (code) {
#define KL_STATUS_SENTENCE(name, number, text) \
    case number: return text;
        KL_STATUS_LIST(KL_STATUS_SENTENCE)
#undef KL_STATUS_SENTENCE
    default: return "";
    }
}

static uint32_t copy_out(const char *text, size_t bytes, uint8_t *out, uint32_t capacity) {
    if (out == NULL) return 0;
    if (bytes > capacity) bytes = whole_characters(text, capacity);
    memcpy(out, text, bytes);
    return (uint32_t)bytes;
}

uint32_t kl_status_detail(uint8_t *out, uint32_t capacity) {
    kl_detail *detail = said();
    if (detail == NULL) return 0;
    uint32_t bytes = copy_out(detail->text, detail->bytes, out, capacity);
    detail->text[0] = '\0';
    detail->bytes = 0;
    detail->code = KL_OK;
    return bytes;
}

int32_t kl_status_detail_code(void) {
    const kl_detail *detail = said();
    return detail == NULL ? KL_OK : detail->code;
}

uint32_t kl_status_text(int32_t code, uint8_t *out, uint32_t capacity) {
    const char *text = kl_status_sentence(code);
    return copy_out(text, strlen(text), out, capacity);
}

uint32_t kl_bug_count(void) {
    /* relaxed: a figure for people; it publishes nothing. */
    return atomic_load_explicit(&bug_count, memory_order_relaxed);
}

void kl_bug(const char *what, const char *file, int line) {
    /* relaxed: as above. */
    atomic_fetch_add_explicit(&bug_count, 1, memory_order_relaxed);
#ifdef KL_DEBUG
    fprintf(stderr, "keelson: %s:%d: this should always hold: %s\n", file, line, what);
    abort();
#else
    kl_fail(KL_ERR_BUG, "%s:%d: this should always hold: %s", file, line, what);
#endif
}
