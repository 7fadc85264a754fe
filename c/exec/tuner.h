/* tuner: moves one number between two bounds after what trials say, and does not swing.
 *
 * Trials are counted in windows of KL_TUNER_WINDOW. When more than 5 in 8 of a window asked for
 * more, the value doubles; when fewer than 1 in 8 did, it halves; in between it stays (hysteresis).
 * After KL_TUNER_FLIPS_MAX changes of direction in a row it rests for KL_TUNER_REST windows at the
 * lower of the two values it swung between.
 *
 * Writers: whoever holds the struct; it is not shared between threads. Progress: wait-free.
 */
#ifndef KL_EXEC_TUNER_H
#define KL_EXEC_TUNER_H

#include "base/status.h"

#define KL_TUNER_WINDOW    16u
#define KL_TUNER_FLIPS_MAX 3u
#define KL_TUNER_REST      256u

typedef struct {
    uint32_t value, low, high;
    uint32_t trials, more; /* of this window */
    uint32_t flips, rest;
    int32_t direction; /* of the last change: 1, -1; 0: none yet */
} kl_tuner;

/* low == high: never changes. 0 < low <= start <= high. */
static inline void kl_tuner_init(kl_tuner *tuner, uint32_t low, uint32_t start, uint32_t high) {
    KL_ASSERT(low > 0 && low <= start && start <= high);
    *tuner = (kl_tuner){.value = start, .low = low, .high = high};
}

/* The end of a window. */
static inline void kl_tuner_judge(kl_tuner *tuner) {
    uint32_t more = tuner->more;
    int32_t direction = more * 8 > KL_TUNER_WINDOW * 5 ? 1 : more * 8 < KL_TUNER_WINDOW ? -1 : 0;
    tuner->trials = tuner->more = 0;
    if (tuner->rest > 0) {
        tuner->rest--;
        return;
    }
    uint32_t next = tuner->value;
    if (direction > 0) next = tuner->value > tuner->high / 2 ? tuner->high : tuner->value * 2;
    if (direction < 0) next = tuner->value / 2 < tuner->low ? tuner->low : tuner->value / 2;
    if (next == tuner->value) {
        tuner->flips = 0; /* it has settled */
        return;
    }
    tuner->flips = direction == -tuner->direction ? tuner->flips + 1 : 0;
    tuner->direction = direction;
    if (tuner->flips >= KL_TUNER_FLIPS_MAX) {
        tuner->flips = 0;
        tuner->rest = KL_TUNER_REST;
        if (direction > 0) return; /* the lower one of the two */
    }
    tuner->value = next;
}

/* One trial: whether a larger value would have helped. */
static inline void kl_tuner_note(kl_tuner *tuner, bool more) {
    tuner->more += more;
    if (++tuner->trials == KL_TUNER_WINDOW) kl_tuner_judge(tuner);
}

#endif
