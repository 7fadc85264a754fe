/* harness: the whole test framework of the C side.
 *
 *   KL_TEST(kl_ring_push_on_a_full_ring_answers_false) {
 *       KL_CHECK(!kl_ring_push(&ring, 1));
 *       KL_CHECK_EQ(kl_ring_count(&ring), 4);
 *   }
 *
 * A test registers itself; link any number of test files with one harness.c, which has main().
 * Arguments of the program: parts of test names to run (none = all), or --list.
 * A failed check ends its test when it stands on the test's own thread; on another thread it is
 * remembered and the thread goes on. Prints `ok NAME`, `not ok NAME: why`, or `skip NAME: needs TOOL` for
 * a test that called kl_test_skip; exit 1 on any failure.
 *
 * Environment: SEED repeats a random run (printed when a test fails); KL_TEST_TIMEOUT_S is the
 * longest a single test may take (default 60), after which the program stops with its name.
 *
 * In a child of kl_test_fork a failed check prints its line and ends the child with status 1; a
 * crash ends it by its signal. The parent finds both with kl_test_join.
 */
#ifndef KL_TESTS_HARNESS_H
#define KL_TESTS_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KL_TEST(name)                                                        \
    static void kl_test_body_##name(void);                                   \
    __attribute__((constructor)) static void kl_test_register_##name(void) { \
        static kl_test_case test = {#name, kl_test_body_##name, NULL};       \
        kl_test_register(&test);                                             \
    }                                                                        \
    static void kl_test_body_##name(void)

#define KL_CHECK(x) ((x) ? (void)0 : kl_test_fail(__FILE__, __LINE__, "%s", #x))

/* For integers and pointers; the failure shows both values. Use KL_CHECK for floating point. */
#define KL_CHECK_EQ(a, b) KL_TEST_COMPARE(a, ==, b)
#define KL_CHECK_NE(a, b) KL_TEST_COMPARE(a, !=, b)
#define KL_CHECK_LT(a, b) KL_TEST_COMPARE(a, <, b)
#define KL_CHECK_LE(a, b) KL_TEST_COMPARE(a, <=, b)

/* `bytes` bytes at a and b are equal; the failure shows the first difference. */
#define KL_CHECK_BYTES(a, b, bytes) \
    kl_test_compare_bytes(__FILE__, __LINE__, #a " == " #b, (a), (b), (bytes))

/* Two NUL-terminated strings are equal; `part` stands somewhere in `text`. */
#define KL_CHECK_TEXT(a, b)           kl_test_compare_text(__FILE__, __LINE__, (a), (b), false)
#define KL_CHECK_CONTAINS(text, part) kl_test_compare_text(__FILE__, __LINE__, (text), (part), true)

/* The seed of this run: SEED, or random. */
uint64_t kl_test_seed(void);

/* Ends the test without judgement. The text begins with "needs TOOL", one of the names in
 * tests/allowed_skips.ts; the runner fails for any other. On the test's own thread only. */
_Noreturn void kl_test_skip(const char *format, ...) __attribute__((cold, format(printf, 1, 2)));

/* A fresh empty folder, removed with all it holds when the test ends. */
const char *kl_test_folder(void);

/* Starts `count` threads at the same moment, gives each its index, and waits for them all. */
void kl_test_threads(uint32_t count, void (*body)(void *argument, uint32_t index), void *argument);

/* Runs `body` in a forked child, which leaves with what it answers. Gives the pid. The child does
 * not outlive the test program, nor two minutes. */
int kl_test_fork(int (*body)(void *argument), void *argument);

/* Waits for a child: its exit status, or 128 + the signal that ended it. */
int kl_test_join(int pid);

/* True under a sanitizer, without optimisation, or when KL_TEST_SLOW is set (for emulators): do a
 * tenth of the rounds and judge no times. */
bool kl_test_slow(void);

uint64_t kl_test_now_ns(void);

/* ---- what the macros above use ---- */

typedef struct kl_test_case {
    const char *name;
    void (*body)(void);
    struct kl_test_case *next;
} kl_test_case;

void kl_test_register(kl_test_case *test);
void kl_test_fail(const char *file, int line, const char *format, ...)
    __attribute__((cold, format(printf, 3, 4)));
void kl_test_compare_bytes(const char *file, int line, const char *what, const void *a,
                           const void *b, size_t bytes);
void kl_test_compare_text(const char *file, int line, const char *a, const char *b, bool within);

#define KL_TEST_IS_FLOATING(a) _Generic((a), float: 1, double: 1, long double: 1, default: 0)
#define KL_TEST_IS_UNSIGNED(a) \
    _Generic((a),              \
        unsigned char: 1,      \
        unsigned short: 1,     \
        unsigned: 1,           \
        unsigned long: 1,      \
        unsigned long long: 1, \
        default: 0)

/* Compares as 64-bit numbers: unsigned when both sides are, signed otherwise. */
#define KL_TEST_COMPARE(a, operator, b)                                                            \
    do {                                                                                           \
        _Static_assert(!KL_TEST_IS_FLOATING(a) && !KL_TEST_IS_FLOATING(b), "use KL_CHECK");        \
        long long kl_left = (long long)(a), kl_right = (long long)(b);                             \
        bool kl_holds = KL_TEST_IS_UNSIGNED(a) && KL_TEST_IS_UNSIGNED(b)                           \
                            ? (unsigned long long)kl_left                                          \
                              operator(unsigned long long) kl_right                                \
                            : kl_left operator kl_right;                                           \
        if (!kl_holds)                                                                             \
            kl_test_fail(__FILE__, __LINE__, "%s " #operator" %s (left %lld, right %lld)", #a, #b, \
                         kl_left, kl_right);                                                       \
    } while (0)

#endif
