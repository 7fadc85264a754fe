/* status: what a call answers, and the one sentence that explains a failure.
 *
 *   codes    >= 0 is success (KL_OK, or a count), < 0 is one of KL_ERR_*. Numbers never change
 *            meaning and are never used again: they cross the FFI and stand in users' code.
 *   detail   a thread-local text of the last failure (what was wrong, the limit, what to do),
 *            written by kl_fail on the failing thread, read on the same thread straight after.
 *   bugs     KL_ASSERT guards what only a bug can break. With KL_DEBUG it aborts; without, it
 *            counts and goes on, because a library never kills its host process. The caller
 *            then returns KL_ERR_BUG where going on would damage something.
 *
 * Writers: the detail is written by its own thread only; the bug counter by any thread.
 * Always: a detail is valid UTF-8, at most KL_DETAIL_BYTES_MAX bytes, and ends with NUL.
 * Progress: wait-free, allocates nothing. Any thread may call anything here at any time.
 */
#ifndef KL_BASE_STATUS_H
#define KL_BASE_STATUS_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Only what carries KL_API leaves the library; everything else is built with hidden visibility. */
#define KL_API __attribute__((visibility("default")))

/* Every code once: constant, number, what it means. */
#define KL_STATUS_LIST(X)                                                                  \
    X(KL_OK, 0, "done")                                                                    \
    X(KL_OWNER_DEAD, 1, "locked, and the previous owner died holding it: repair first")    \
    X(KL_ERR_ARGUMENT, -1, "an argument is outside of its documented range")               \
    X(KL_ERR_AGAIN, -2, "not now: full, empty or busy")                                    \
    X(KL_ERR_TIMEOUT, -3, "the deadline passed first")                                     \
    X(KL_ERR_CLOSED, -4, "already closed")                                                 \
    X(KL_ERR_HANDLE, -5, "not a live handle of this kind")                                 \
    X(KL_ERR_MEMORY, -6, "out of memory")                                                  \
    X(KL_ERR_LIMIT, -7, "a fixed limit is reached")                                        \
    X(KL_ERR_IO, -8, "the operating system refused or failed the operation")               \
    X(KL_ERR_NO_SPACE, -9, "no space left on the device, or the quota is used up")         \
    X(KL_ERR_NOT_FOUND, -10, "does not exist")                                             \
    X(KL_ERR_EXISTS, -11, "exists already")                                                \
    X(KL_ERR_PERMISSION, -12, "not permitted")                                             \
    X(KL_ERR_LOCKED, -13, "locked by another owner")                                       \
    X(KL_ERR_CORRUPT, -14, "stored bytes are not what was written")                        \
    X(KL_ERR_LAYOUT, -15, "made by a build with another memory layout")                    \
    X(KL_ERR_VERSION, -16, "a format version this build does not know")                    \
    X(KL_ERR_FOREIGN, -17, "exists, but was not made by Keelson")                          \
    X(KL_ERR_POISONED, -18, "unusable since an earlier failure: close and open again")     \
    X(KL_ERR_BUG, -19, "an internal rule was broken: please report it")                    \
    X(KL_ERR_UNSUPPORTED, -20, "not supported on this system")                             \
    X(KL_ERR_STOPPED, -21, "stopped while waiting")                                        \
    X(KL_ERR_NETWORK_FS, -22, "network file systems cannot keep the promises needed here") \
    X(KL_ERR_NAME, -23, "not an acceptable name")                                          \
    X(KL_ERR_TRUNCATED, -24, "shorter than its header promises")                           \
    X(KL_ERR_FENCED, -25, "replaced by a newer owner")                                     \
    X(KL_ERR_END, -26, "the end is reached")

enum kl_status {
#define KL_STATUS_CONSTANT(name, number, text) name = (number),
    KL_STATUS_LIST(KL_STATUS_CONSTANT)
#undef KL_STATUS_CONSTANT
};

#define KL_DETAIL_BYTES_MAX 511

/* A run of bytes somebody else owns. */
typedef struct {
    const void *data;
    uint64_t bytes;
} kl_span;

/* Stores the detail of a failure and gives `status` back: `return kl_fail(KL_ERR_LIMIT, ...)`.
 * The arguments may point into the previous detail (kl_status_last), to add context to it. */
int32_t kl_fail(int32_t status, const char *format, ...)
    __attribute__((cold, format(printf, 2, 3)));

/* The same with ": <what errno means>" added. KL_ERR_IO becomes the sharper code where errno has
 * one (NO_SPACE, PERMISSION, NOT_FOUND, EXISTS); any other status stays as it is. */
int32_t kl_fail_errno(int32_t status, int error, const char *format, ...)
    __attribute__((cold, format(printf, 3, 4)));

/* This thread's detail, "" when none is stored. Valid until this thread's next failure. */
const char *kl_status_last(void);

/* The constant's name ("KL_ERR_IO") and its sentence; "KL_ERR_?" for a number not in the list. */
const char *kl_status_name(int32_t code);
const char *kl_status_sentence(int32_t code);

/* Takes this thread's detail: copies it out (no NUL, cut at `capacity`), forgets it, and answers
 * its bytes. 0 when the last failure left no text. */
KL_API uint32_t kl_status_detail(uint8_t *out, uint32_t capacity);

/* The code stored with this thread's detail; KL_OK when there is none. A caller that compares it
 * with the code at hand never shows the text of an older, swallowed failure. */
KL_API int32_t kl_status_detail_code(void);

/* The sentence of a code, copied like a detail. 0 for a number not in the list. */
KL_API uint32_t kl_status_text(int32_t code, uint8_t *out, uint32_t capacity);

/* How many KL_ASSERTs have been false in this process. Anything but 0 is a bug in Keelson. */
KL_API uint32_t kl_bug_count(void);

void kl_bug(const char *what, const char *file, int line) __attribute__((cold, noinline));

#define KL_ASSERT(x) (__builtin_expect(!(x), 0) ? kl_bug(#x, __FILE__, __LINE__) : (void)0)

#endif
