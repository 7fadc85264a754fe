/* history: what threads did to a queue, with times, and whether a queue could have done it.
 *
 * Each thread notes its operations in a kl_history of its own (no sharing while it runs): a time
 * before the call, the call, kl_history_add. Afterwards kl_history_check_fifo looks at all of them.
 * Values of pushes must be distinct.
 *
 * The check is the aspect-oriented one of Henzinger, Sezgin and Vafeiadis (CONCUR 2013): a history
 * of complete operations is linearizable as a FIFO queue if and only if nobody popped what was not
 * pushed before (fresh), or what another popped (repeat), no two values came out against the order
 * of pushes that did not overlap (order), and nobody saw it empty while it surely was not (empty).
 * O(n log n). For a bounded queue also: nobody was told "full" while there cannot have been
 * `capacity` values in it (full); necessary, not sufficient.
 */
#ifndef KL_TESTS_HISTORY_H
#define KL_TESTS_HISTORY_H

#include <stdint.h>

enum kl_history_kind {
    KL_HISTORY_PUSH = 1,
    KL_HISTORY_POP = 2,
    KL_HISTORY_EMPTY = 3, /* a pop that found nothing; the value is not looked at */
    KL_HISTORY_FULL = 4,  /* a push that found no room; the same */
};

typedef struct {
    uint64_t value, start, end;
    uint32_t kind;
    uint32_t thread;
} kl_history_op;

typedef struct {
    kl_history_op *ops;
    uint64_t count, capacity;
    uint32_t thread;
} kl_history;

void kl_history_init(kl_history *history, uint32_t thread, uint64_t capacity);
void kl_history_free(kl_history *history);

/* Nanoseconds, one clock for all processors. */
uint64_t kl_history_now(void);

/* An operation that began at `start` and ends now. What does not fit is a failed test. */
void kl_history_add(kl_history *history, uint32_t kind, uint64_t value, uint64_t start);

/* NULL, or one line that says what cannot be. capacity 0: unbounded. */
const char *kl_history_check_fifo(const kl_history *histories, uint32_t count, uint64_t capacity);

/* One operation a line, "thread kind value start end", for other checkers. */
void kl_history_dump(const kl_history *histories, uint32_t count, const char *path);

#endif
