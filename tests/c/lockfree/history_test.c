#include "tests/c/lockfree/history.h"

#include "base/random.h"
#include "tests/c/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPS_MAX 10

/* Times are made up here, so the operations are written directly. */
static kl_history history_of(kl_history_op *ops, uint64_t count) {
    return (kl_history){.ops = ops, .count = count, .capacity = count};
}

static void expect(const char *aspect, kl_history_op *ops, uint64_t count, uint64_t capacity) {
    kl_history history = history_of(ops, count);
    const char *found = kl_history_check_fifo(&history, 1, capacity);
    if (!aspect)
        KL_CHECK(found == NULL);
    else
        KL_CHECK(found != NULL && strncmp(found, aspect, strlen(aspect)) == 0);
}

KL_TEST(kl_history_check_fifo_names_each_aspect) {
    enum { PUSH = KL_HISTORY_PUSH, POP, EMPTY, FULL };
    expect(NULL, (kl_history_op[]){{7, 1, 2, PUSH, 0}, {7, 3, 4, POP, 0}, {0, 5, 6, EMPTY, 0}}, 3,
           1);
    expect("fresh", (kl_history_op[]){{7, 1, 2, POP, 0}}, 1, 0);
    expect("fresh", (kl_history_op[]){{7, 3, 4, PUSH, 0}, {7, 1, 2, POP, 0}}, 2, 0);
    expect("repeat", (kl_history_op[]){{7, 1, 2, PUSH, 0}, {7, 3, 4, POP, 0}, {7, 5, 6, POP, 0}}, 3,
           0);
    expect("order",
           (kl_history_op[]){
               {1, 1, 2, PUSH, 0}, {2, 3, 4, PUSH, 0}, {2, 5, 6, POP, 0}, {1, 7, 8, POP, 0}},
           4, 0);
    expect("order", (kl_history_op[]){{1, 1, 2, PUSH, 0}, {2, 3, 4, PUSH, 0}, {2, 5, 6, POP, 0}}, 3,
           0); /* the first is never popped */
    expect(NULL,
           (kl_history_op[]){
               {1, 1, 4, PUSH, 0}, {2, 3, 4, PUSH, 0}, {2, 5, 6, POP, 0}, {1, 7, 8, POP, 0}},
           4, 0);
    expect("empty", (kl_history_op[]){{1, 1, 2, PUSH, 0}, {0, 3, 4, EMPTY, 0}, {1, 5, 6, POP, 0}},
           3, 0);
    expect("empty", /* two values cover the time together */
           (kl_history_op[]){{1, 1, 2, PUSH, 0},
                             {2, 3, 4, PUSH, 0},
                             {0, 3, 8, EMPTY, 0},
                             {1, 6, 9, POP, 0},
                             {2, 10, 11, POP, 0}},
           5, 0);
    expect("full", (kl_history_op[]){{1, 1, 2, PUSH, 0}, {0, 3, 4, FULL, 0}}, 2, 2);
    expect(NULL, (kl_history_op[]){{1, 1, 2, PUSH, 0}, {0, 3, 4, FULL, 0}, {2, 4, 5, PUSH, 0}}, 3,
           2);
}

/* ---- against trying all orders ---- */

/* Whether the operations not in `done` can be put behind a queue that holds `queue`. */
static bool can_go_on(const kl_history_op *ops, uint32_t count, uint32_t done, uint64_t *queue,
                      uint32_t first, uint32_t last) {
    if (done == (1u << count) - 1) return true;
    uint64_t first_end = UINT64_MAX;
    for (uint32_t i = 0; i < count; i++)
        if (!(done >> i & 1) && ops[i].end < first_end) first_end = ops[i].end;
    for (uint32_t i = 0; i < count; i++) {
        if ((done >> i & 1) || ops[i].start > first_end) continue;
        if (ops[i].kind == KL_HISTORY_PUSH) {
            queue[last] = ops[i].value;
            if (can_go_on(ops, count, done | 1u << i, queue, first, last + 1)) return true;
        } else if (ops[i].kind == KL_HISTORY_POP) {
            if (first == last || queue[first] != ops[i].value) continue;
            if (can_go_on(ops, count, done | 1u << i, queue, first + 1, last)) return true;
        } else if (first == last && can_go_on(ops, count, done | 1u << i, queue, first, last)) {
            return true;
        }
    }
    return false;
}

/* A true history of a queue, operations stretched around their moments; sometimes two pops are
 * exchanged afterwards. */
static uint32_t make_history(kl_random *random, kl_history_op *ops) {
    uint64_t queue[OPS_MAX], first = 0, last = 0;
    uint32_t count = 3 + (uint32_t)kl_random_below(random, OPS_MAX - 2), pops[OPS_MAX], popped = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t moment = 100 + 10ull * i;
        ops[i] = (kl_history_op){.start = moment - kl_random_below(random, 40),
                                 .end = moment + kl_random_below(random, 40)};
        if (kl_random_below(random, 2) == 0) {
            ops[i].kind = KL_HISTORY_PUSH;
            ops[i].value = queue[last++] = 1000 + i;
        } else if (first == last) {
            ops[i].kind = KL_HISTORY_EMPTY;
        } else {
            ops[i].kind = KL_HISTORY_POP;
            ops[i].value = queue[first++];
            pops[popped++] = i;
        }
    }
    if (popped > 1 && kl_random_below(random, 2) == 0) {
        uint64_t a = pops[kl_random_below(random, popped)], b = pops[0], value = ops[a].value;
        ops[a].value = ops[b].value;
        ops[b].value = value;
    }
    if (kl_random_below(random, 8) == 0) ops[count - 1].kind = KL_HISTORY_EMPTY;
    return count;
}

KL_TEST(kl_history_check_fifo_agrees_with_trying_all_orders) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    uint32_t rounds = kl_test_slow() ? 300 : 3000, bad = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        kl_history_op ops[OPS_MAX];
        uint64_t queue[OPS_MAX];
        uint32_t count = make_history(&random, ops);
        kl_history history = history_of(ops, count);
        bool possible = can_go_on(ops, count, 0, queue, 0, 0);
        KL_CHECK_EQ(kl_history_check_fifo(&history, 1, 0) == NULL, possible);
        bad += !possible;
    }
    KL_CHECK_LT(rounds / 50, bad); /* both answers were met */
    KL_CHECK_LT(bad, rounds - rounds / 20);
}
