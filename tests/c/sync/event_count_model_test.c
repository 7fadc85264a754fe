/* The steps of event_count as a small machine, every interleaving of which is walked through: two
 * waiters, two notifiers that notify twice each, no slices. A state in which nobody can move is a
 * lost wake-up if somebody sleeps while the condition he waits for is true. The variants leave out
 * or swap one step, and each must be caught: so no step is there for nothing. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tests/c/harness.h"

#define WAITERS   2
#define NOTIFIERS 2
#define NOTIFIES  2 /* by each notifier */

typedef enum {
    AS_WRITTEN,
    WITHOUT_N4,         /* the second raise of sequence */
    N4_BEFORE_N3,       /* raise, then take the flag away */
    N3_WITHOUT_N5,      /* the flag is taken away and nobody is woken */
    N2_BEFORE_N1,       /* look for sleepers, then raise */
    NOTIFY_BEFORE_MADE, /* the caller's mistake: notify, then make the condition true */
    W1_AFTER_SLEEP,     /* the flag is never set before the sleep */
} variant;

typedef enum { PREPARE, LOOK, ANNOUNCE, CHECK, SLEEP, ASLEEP, DONE } waiter_step;
typedef enum { MAKE, N1, N2, N3, N4, N5, GONE } notifier_step;

typedef struct {
    uint8_t sequence, flag, made;
    struct {
        uint8_t step, key;
    } waiters[WAITERS];
    struct {
        uint8_t step, left;
    } notifiers[NOTIFIERS];
} state;

#define ALL_MADE (NOTIFIERS * NOTIFIES)

/* Each waiter waits until all has been made. */
static void step_waiter(state *s, uint32_t i, variant v) {
    switch (s->waiters[i].step) {
    case PREPARE:
        s->waiters[i].key = s->sequence;
        s->waiters[i].step = LOOK;
        break;
    case LOOK: s->waiters[i].step = s->made == ALL_MADE ? DONE : ANNOUNCE; break;
    case ANNOUNCE:
        if (v != W1_AFTER_SLEEP) s->flag = 1;
        s->waiters[i].step = CHECK;
        break;
    case CHECK: s->waiters[i].step = s->sequence != s->waiters[i].key ? PREPARE : SLEEP; break;
    case SLEEP: /* the kernel compares and puts to sleep in one step */
        s->waiters[i].step = s->sequence != s->waiters[i].key ? PREPARE : ASLEEP;
        break;
    default: break;
    }
}

static void wake_all(state *s) {
    for (uint32_t i = 0; i < WAITERS; i++)
        if (s->waiters[i].step == ASLEEP) s->waiters[i].step = PREPARE;
}

static notifier_step order(variant v, uint32_t place) {
    static const notifier_step as_written[] = {MAKE, N1, N2, N3, N4, N5};
    static const notifier_step swapped_4_3[] = {MAKE, N1, N2, N4, N3, N5};
    static const notifier_step swapped_2_1[] = {MAKE, N2, N1, N3, N4, N5};
    static const notifier_step made_late[] = {N1, N2, N3, N4, N5, MAKE};
    return (v == N4_BEFORE_N3         ? swapped_4_3
            : v == N2_BEFORE_N1       ? swapped_2_1
            : v == NOTIFY_BEFORE_MADE ? made_late
                                      : as_written)[place];
}

/* `step` of a notifier is its place in order(); bit 7 remembers that N2 saw no sleeper. */
static void step_notifier(state *s, uint32_t i, variant v) {
    bool saw_none = (s->notifiers[i].step & 0x80) != 0;
    uint32_t place = s->notifiers[i].step & 0x7f;
    switch (order(v, place)) {
    case MAKE: s->made++; break;
    case N1: s->sequence++; break;
    case N2: saw_none = s->flag == 0; break;
    case N3:
        if (!saw_none) s->flag = 0;
        break;
    case N4:
        if (!saw_none && v != WITHOUT_N4) s->sequence++;
        break;
    case N5:
        if (!saw_none && v != N3_WITHOUT_N5) wake_all(s);
        break;
    default: break;
    }
    if (++place == GONE) {
        s->notifiers[i].left--;
        place = 0;
        saw_none = false;
    }
    s->notifiers[i].step = (uint8_t)(place | (saw_none ? 0x80 : 0));
}

/* ---- the walk: depth first over distinct states ---- */

#define TABLE_SIZE (1u << 21)
static state *seen;
static uint8_t *used;
static uint32_t seen_count;

static bool is_new(const state *s) {
    uint64_t hash = 1469598103934665603ull;
    for (uint32_t i = 0; i < sizeof *s; i++)
        hash = (hash ^ ((const uint8_t *)s)[i]) * 1099511628211ull;
    for (uint32_t at = (uint32_t)(hash >> 20) % TABLE_SIZE;; at = (at + 1) % TABLE_SIZE) {
        if (!used[at]) {
            used[at] = 1;
            seen[at] = *s;
            seen_count++;
            KL_CHECK_LT(seen_count, TABLE_SIZE / 2);
            return true;
        }
        if (memcmp(&seen[at], s, sizeof *s) == 0) return false;
    }
}

static bool loses(state s, variant v) {
    if (!is_new(&s)) return false;
    bool moved = false;
    for (uint32_t i = 0; i < NOTIFIERS; i++) {
        if (s.notifiers[i].left == 0) continue;
        state next = s;
        step_notifier(&next, i, v);
        moved = true;
        if (loses(next, v)) return true;
    }
    bool asleep = false;
    for (uint32_t i = 0; i < WAITERS; i++) {
        asleep |= s.waiters[i].step == ASLEEP;
        if (s.waiters[i].step == ASLEEP || s.waiters[i].step == DONE) continue;
        state next = s;
        step_waiter(&next, i, v);
        moved = true;
        if (loses(next, v)) return true;
    }
    return !moved && asleep; /* all is made by now */
}

static bool walk(variant v) {
    seen = calloc(TABLE_SIZE, sizeof *seen);
    used = calloc(TABLE_SIZE, 1);
    seen_count = 0;
    state start = {0};
    for (uint32_t i = 0; i < NOTIFIERS; i++) start.notifiers[i].left = NOTIFIES;
    bool lost = loses(start, v);
    free(seen);
    free(used);
    return lost;
}

KL_TEST(kl_event_count_model_loses_no_wake_up_in_any_interleaving) {
    KL_CHECK(!walk(AS_WRITTEN));
    KL_CHECK_LT(10000, seen_count);
}

KL_TEST(kl_event_count_model_loses_one_when_any_step_is_left_out_or_swapped) {
    KL_CHECK(walk(WITHOUT_N4));
    KL_CHECK(walk(N4_BEFORE_N3));
    KL_CHECK(walk(N3_WITHOUT_N5));
    KL_CHECK(walk(NOTIFY_BEFORE_MADE));
    KL_CHECK(walk(W1_AFTER_SLEEP));
    KL_CHECK(walk(N2_BEFORE_N1));
}
