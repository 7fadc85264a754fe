#include "tests/c/lockfree/history.h"

#include "tests/c/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char text[256];

/* One value's life. Times are UINT64_MAX where it was never popped. */
typedef struct {
    uint64_t value, push_start, push_end, pop_start, pop_end;
} life;

typedef struct {
    uint64_t start, end;
} span;

void kl_history_init(kl_history *history, uint32_t thread, uint64_t capacity) {
    *history = (kl_history){.thread = thread, .capacity = capacity};
    history->ops = malloc(capacity * sizeof *history->ops);
    memset(history->ops, 0, capacity * sizeof *history->ops); /* touched now, not while timed */
}

void kl_history_free(kl_history *history) {
    free(history->ops);
    history->ops = NULL;
}

uint64_t kl_history_now(void) {
    return kl_test_now_ns();
}

void kl_history_add(kl_history *history, uint32_t kind, uint64_t value, uint64_t start) {
    if (history->count == history->capacity) {
        KL_CHECK(history->count < history->capacity);
        return;
    }
    history->ops[history->count++] =
        (kl_history_op){value, start, kl_history_now(), kind, history->thread};
}

static int by_value(const void *left, const void *right) {
    const kl_history_op *a = left, *b = right;
    if (a->value != b->value) return a->value < b->value ? -1 : 1;
    return a->kind < b->kind ? -1 : a->kind > b->kind; /* the push first */
}

static int by_push_end(const void *left, const void *right) {
    const life *a = left, *b = right;
    return a->push_end < b->push_end ? -1 : a->push_end > b->push_end;
}

static int by_push_start(const void *left, const void *right) {
    const life *a = left, *b = right;
    return a->push_start < b->push_start ? -1 : a->push_start > b->push_start;
}

static int by_number(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

static const char *wrong(const char *aspect, uint64_t value, uint64_t start, uint64_t end) {
    snprintf(text, sizeof text, "%s: value %llu, operation from %llu to %llu", aspect,
             (unsigned long long)value, (unsigned long long)start, (unsigned long long)end);
    return text;
}

/* The operations of the wanted kinds, of all histories, in one array. */
static kl_history_op *collect(const kl_history *histories, uint32_t count, uint32_t low,
                              uint32_t high, uint64_t *found) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++) total += histories[i].count;
    kl_history_op *ops = malloc((total + 1) * sizeof *ops);
    *found = 0;
    for (uint32_t i = 0; i < count; i++)
        for (uint64_t at = 0; at < histories[i].count; at++)
            if (histories[i].ops[at].kind >= low && histories[i].ops[at].kind <= high)
                ops[(*found)++] = histories[i].ops[at];
    return ops;
}

/* Fresh and repeat, and the lives of all values on the way. */
static const char *make_lives(kl_history_op *ops, uint64_t count, life *lives, uint64_t *made) {
    qsort(ops, count, sizeof *ops, by_value);
    *made = 0;
    for (uint64_t at = 0; at < count;) {
        const kl_history_op *push = &ops[at++];
        if (push->kind != KL_HISTORY_PUSH)
            return wrong("fresh: never pushed", push->value, push->start, push->end);
        life *one = &lives[(*made)++];
        *one = (life){push->value, push->start, push->end, UINT64_MAX, UINT64_MAX};
        if (at < count && ops[at].value == push->value && ops[at].kind == KL_HISTORY_PUSH)
            return wrong("pushed twice: no history for this check", push->value, 0, 0);
        if (at == count || ops[at].value != push->value) continue;
        one->pop_start = ops[at].start;
        one->pop_end = ops[at++].end;
        if (one->pop_end < one->push_start)
            return wrong("fresh: popped before its push", one->value, one->pop_start, one->pop_end);
        if (at < count && ops[at].value == one->value)
            return wrong("repeat: popped twice", one->value, ops[at].start, ops[at].end);
    }
    return NULL;
}

/* For each popped value: none whose push ended before its push began may come out strictly later. */
static const char *check_order(life *lives, life *sorted, uint64_t count) {
    memcpy(sorted, lives, count * sizeof *lives);
    qsort(sorted, count, sizeof *sorted, by_push_end);
    qsort(lives, count, sizeof *lives, by_push_start);
    uint64_t latest = 0, at = 0;
    for (uint64_t i = 0; i < count; i++) {
        for (; at < count && sorted[at].push_end < lives[i].push_start; at++)
            if (sorted[at].pop_start > latest) latest = sorted[at].pop_start;
        if (lives[i].pop_end < latest)
            return wrong("order: overtook an earlier push", lives[i].value, lives[i].pop_start,
                         lives[i].pop_end);
    }
    return NULL;
}

/* Nobody may have seen it empty for the whole of a time in which some value was surely inside.
 * `sorted` is by push_end, as check_order left it. */
static const char *check_empty(const life *sorted, uint64_t count, const kl_history_op *empties,
                               uint64_t empty_count, span *spans) {
    uint64_t made = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t start = sorted[i].push_end, end = sorted[i].pop_start;
        if (start >= end) continue;
        if (made > 0 && start < spans[made - 1].end) {
            if (end > spans[made - 1].end) spans[made - 1].end = end;
        } else {
            spans[made++] = (span){start, end};
        }
    }
    for (uint64_t i = 0; i < empty_count; i++) {
        uint64_t low = 0, high = made; /* the last span that begins before the operation */
        while (low < high) {
            uint64_t middle = (low + high) / 2;
            if (spans[middle].start < empties[i].start)
                low = middle + 1;
            else
                high = middle;
        }
        if (low > 0 && spans[low - 1].end > empties[i].end)
            return wrong("empty: it was not", spans[low - 1].start, empties[i].start,
                         empties[i].end);
    }
    return NULL;
}

static uint64_t count_up_to(const uint64_t *sorted, uint64_t count, uint64_t time) {
    uint64_t low = 0, high = count;
    while (low < high) {
        uint64_t middle = (low + high) / 2;
        if (sorted[middle] <= time)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* At some moment of each refused push there must have been enough pushes begun and not popped. */
static const char *check_full(const life *lives, uint64_t count, const kl_history_op *fulls,
                              uint64_t full_count, uint64_t capacity) {
    uint64_t *starts = malloc((count + 1) * sizeof *starts);
    uint64_t *ends = malloc((count + 1) * sizeof *ends);
    const char *found = NULL;
    for (uint64_t i = 0; i < count; i++) {
        starts[i] = lives[i].push_start;
        ends[i] = lives[i].pop_end;
    }
    qsort(starts, count, sizeof *starts, by_number);
    qsort(ends, count, sizeof *ends, by_number);
    for (uint64_t i = 0; i < full_count && !found; i++) {
        uint64_t begun = count_up_to(starts, count, fulls[i].start);
        uint64_t gone = fulls[i].start ? count_up_to(ends, count, fulls[i].start - 1) : 0;
        bool possible = begun >= gone + capacity;
        for (; !possible && begun < count && starts[begun] <= fulls[i].end; begun++)
            possible = begun + 1 >= count_up_to(ends, count, starts[begun] - 1) + capacity;
        if (!possible) found = wrong("full: it was not", 0, fulls[i].start, fulls[i].end);
    }
    free(starts);
    free(ends);
    return found;
}

const char *kl_history_check_fifo(const kl_history *histories, uint32_t count, uint64_t capacity) {
    uint64_t moved_count, empty_count, full_count, life_count;
    kl_history_op *moved = collect(histories, count, KL_HISTORY_PUSH, KL_HISTORY_POP, &moved_count);
    kl_history_op *empties =
        collect(histories, count, KL_HISTORY_EMPTY, KL_HISTORY_EMPTY, &empty_count);
    kl_history_op *fulls = collect(histories, count, KL_HISTORY_FULL, KL_HISTORY_FULL, &full_count);
    life *lives = malloc((moved_count + 1) * sizeof *lives);
    life *sorted = malloc((moved_count + 1) * sizeof *sorted);
    span *spans = malloc((moved_count + 1) * sizeof *spans);
    const char *found = make_lives(moved, moved_count, lives, &life_count);
    if (!found) found = check_order(lives, sorted, life_count);
    if (!found) found = check_empty(sorted, life_count, empties, empty_count, spans);
    if (!found && capacity) found = check_full(lives, life_count, fulls, full_count, capacity);
    free(moved);
    free(empties);
    free(fulls);
    free(lives);
    free(sorted);
    free(spans);
    return found;
}

void kl_history_dump(const kl_history *histories, uint32_t count, const char *path) {
    FILE *file = fopen(path, "w");
    KL_CHECK(file != NULL);
    if (!file) return;
    for (uint32_t i = 0; i < count; i++)
        for (uint64_t at = 0; at < histories[i].count; at++) {
            const kl_history_op *op = &histories[i].ops[at];
            fprintf(file, "%u %u %llu %llu %llu\n", op->thread, op->kind,
                    (unsigned long long)op->value, (unsigned long long)op->start,
                    (unsigned long long)op->end);
        }
    fclose(file);
}
