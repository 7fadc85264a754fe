#include "sync/ordered_lock.h"

#include "tests/c/harness.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ticket locks need no region: what is tested with them is the order. */
#define LOCKS 40u

static kl_ticket_lock beneath[LOCKS];
static kl_ordered_lock locks[LOCKS];
static uint32_t used;

static uint32_t class_of(const char *name, uint32_t rank, uint32_t flags) {
    int32_t number = kl_order_class(name, rank, flags);
    KL_CHECK_LT(0, number);
    return (uint32_t)number;
}

static void begin(void) {
    kl_order_reset();
    kl_order_check(true);
    used = 0;
}

static kl_ordered_lock *make(uint32_t class_number, uint64_t key) {
    kl_ordered_lock *made = &locks[used];
    beneath[used] = (kl_ticket_lock){0};
    kl_ordered_lock_of_ticket(made, &beneath[used++], class_number, key);
    return made;
}

static void lock(kl_ordered_lock *ordered, const char *site) {
    KL_CHECK_EQ(kl_ordered_lock_lock(ordered, 0, site), KL_OK);
}

static void unlock(kl_ordered_lock *ordered) {
    KL_CHECK_EQ(kl_ordered_lock_unlock(ordered), KL_OK);
}

static uint64_t violations(uint32_t kind) {
    return kl_order_count().violations[kind];
}

static uint64_t all_violations(void) {
    uint64_t sum = 0;
    for (uint32_t kind = 0; kind < KL_ORDER_KINDS; kind++) sum += violations(kind);
    return sum;
}

static kl_order_report last_report(void) {
    kl_order_report report = {0};
    KL_CHECK_EQ(kl_order_report_at(kl_order_reports() - 1, &report), KL_OK);
    return report;
}

KL_TEST(kl_ordered_lock_O1_growing_ranks_are_fine_and_falling_ones_name_both_sites) {
    begin();
    kl_ordered_lock *low = make(class_of("low", 10, 0), 0),
                    *high = make(class_of("high", 20, 0), 0);
    lock(low, "a.c:1");
    lock(high, "a.c:2");
    unlock(high);
    unlock(low);
    KL_CHECK_EQ(all_violations(), 0);
    lock(high, "b.c:3");
    lock(low, "b.c:4");
    KL_CHECK_EQ(kl_ticket_lock_count(low->lock), 1); /* a violation never skips the acquisition */
    KL_CHECK_EQ(violations(KL_ORDER_RANK), 1);
    kl_order_report report = last_report();
    KL_CHECK_EQ(report.kind, KL_ORDER_RANK);
    KL_CHECK_TEXT(kl_order_class_name(report.held), "high");
    KL_CHECK_TEXT(kl_order_class_name(report.acquired), "low");
    KL_CHECK_TEXT(report.held_site, "b.c:3");
    KL_CHECK_TEXT(report.acquired_site, "b.c:4");
    unlock(low);
    unlock(high);
    KL_CHECK_EQ(kl_ticket_lock_count(low->lock), 0);
}

KL_TEST(kl_ordered_lock_O1_one_rank_is_a_violation_unless_the_class_is_one_and_the_keys_grow) {
    begin();
    uint32_t files = class_of("file", 30, 0);
    kl_ordered_lock *one = make(files, 1), *two = make(files, 2), *same = make(files, 2);
    kl_ordered_lock *other = make(class_of("folder", 30, 0), 9);
    lock(one, "s:1");
    lock(two, "s:2");
    KL_CHECK_EQ(all_violations(), 0);
    lock(same, "s:3"); /* the key does not grow */
    KL_CHECK_EQ(violations(KL_ORDER_KEY), 1);
    lock(other, "s:4"); /* against each of the three */
    KL_CHECK_EQ(violations(KL_ORDER_EQUAL), 3);
    unlock(other), unlock(same), unlock(two), unlock(one);
    lock(two, "s:5");
    lock(one, "s:6");
    KL_CHECK_EQ(violations(KL_ORDER_KEY), 2);
    KL_CHECK_EQ(kl_order_reports(), 2); /* the second of its kind and pair is only counted */
    unlock(one), unlock(two);
}

KL_TEST(kl_ordered_lock_O1_locking_again_is_a_violation_but_for_recursive_classes) {
    begin();
    kl_ordered_lock *recursive = make(class_of("recursive", 0, KL_ORDER_RECURSIVE), 0);
    lock(recursive, "r:1");
    lock(recursive, "r:2");
    KL_CHECK_EQ(kl_ordered_lock_try_lock(recursive, "r:3"), KL_OK);
    unlock(recursive), unlock(recursive);
    KL_CHECK_EQ(kl_ticket_lock_count(recursive->lock), 1);
    unlock(recursive);
    KL_CHECK_EQ(kl_ticket_lock_count(recursive->lock), 0);
    KL_CHECK_EQ(kl_ordered_lock_unlock(recursive), KL_ERR_LOCKED);
    KL_CHECK_EQ(all_violations(), 0);
    kl_ordered_lock *plain = make(class_of("plain", 0, 0), 0);
    lock(plain, "r:4");
    kl_order_before(plain, plain->class_number, 0, "r:5"); /* what lock says before it would hang */
    KL_CHECK_EQ(violations(KL_ORDER_AGAIN), 1);
    KL_CHECK_TEXT(last_report().held_site, "r:4");
    unlock(plain);
}

KL_TEST(kl_ordered_lock_O1_any_order_of_release_and_the_highest_is_found_anew) {
    begin();
    kl_ordered_lock *a = make(class_of("rank 1", 1, 0), 0), *b = make(class_of("rank 5", 5, 0), 0),
                    *c = make(class_of("rank 3", 3, 0), 0);
    lock(a, "n:1");
    lock(b, "n:2");
    unlock(b); /* the highest is 1 again */
    lock(c, "n:3");
    KL_CHECK_EQ(all_violations(), 0);
    unlock(a); /* not the last */
    lock(b, "n:4");
    unlock(c);
    KL_CHECK_EQ(all_violations(), 0);
    lock(c, "n:5"); /* 5 is held */
    KL_CHECK_EQ(violations(KL_ORDER_RANK), 1);
    unlock(c), unlock(b);
}

KL_TEST(kl_ordered_lock_O1_a_depth_of_more_than_the_limit_is_an_error_and_locks_all_the_same) {
    begin();
    uint32_t deep = class_of("deep", 0, 0);
    kl_ordered_lock *all[KL_ORDER_DEPTH_MAX + 2];
    for (uint32_t i = 0; i < KL_ORDER_DEPTH_MAX + 2; i++) {
        all[i] = make(deep, i);
        lock(all[i], "d:1");
        KL_CHECK_EQ(violations(KL_ORDER_DEPTH),
                    i < KL_ORDER_DEPTH_MAX ? 0 : i + 1 - KL_ORDER_DEPTH_MAX);
        KL_CHECK_EQ(kl_ticket_lock_count(all[i]->lock), 1);
    }
    for (uint32_t i = 0; i < KL_ORDER_DEPTH_MAX + 2; i++) unlock(all[i]);
    kl_order_counts counts = kl_order_count();
    KL_CHECK_EQ(counts.depth_max, KL_ORDER_DEPTH_MAX);
    KL_CHECK_EQ(counts.acquired, counts.released);
    lock(all[0], "d:2");
    unlock(all[0]);
    KL_CHECK_EQ(violations(KL_ORDER_DEPTH), 2);
}

KL_TEST(kl_ordered_lock_O1_try_lock_breaks_no_rule_but_what_it_got_counts) {
    begin();
    kl_ordered_lock *low = make(class_of("try low", 40, 0), 0),
                    *high = make(class_of("try high", 50, 0), 0);
    lock(high, "t:1");
    KL_CHECK_EQ(kl_ordered_lock_try_lock(low, "t:2"), KL_OK);
    KL_CHECK_EQ(kl_ordered_lock_try_lock(low, "t:3"), KL_ERR_AGAIN);
    KL_CHECK_EQ(all_violations(), 0);
    KL_CHECK_EQ(kl_order_count().edges, 0);
    unlock(high);
    lock(high, "t:4"); /* low is held: an edge from what try_lock got */
    KL_CHECK_EQ(kl_order_count().edges, 1);
    unlock(high), unlock(low);
    KL_CHECK_EQ(kl_ordered_lock_try_lock(high, "t:5"), KL_OK);
    lock(low, "t:6");
    KL_CHECK_EQ(violations(KL_ORDER_RANK), 1);
    KL_CHECK_TEXT(last_report().held_site, "t:5");
    unlock(low), unlock(high);
    kl_order_counts counts = kl_order_count();
    KL_CHECK_EQ(counts.acquired, 5);
    KL_CHECK_EQ(counts.tried, 2);
    KL_CHECK_EQ(counts.released, 5);
}

static uint32_t told;

static void tell(const kl_order_report *report) {
    KL_CHECK_EQ(report->kind, KL_ORDER_CYCLE);
    told++;
}

KL_TEST(
    kl_ordered_lock_O2_an_inversion_is_reported_on_the_first_run_with_the_sites_of_both_orders) {
    begin();
    told = 0;
    kl_order_on_report(tell);
    kl_ordered_lock *a = make(class_of("A", 0, 0), 0), *b = make(class_of("B", 0, 0), 0);
    lock(a, "first.c:1");
    lock(b, "first.c:2");
    unlock(b), unlock(a);
    KL_CHECK_EQ(told, 0);
    lock(b, "second.c:3");
    lock(a, "second.c:4");
    unlock(a), unlock(b);
    KL_CHECK_EQ(told, 1);
    KL_CHECK_EQ(violations(KL_ORDER_CYCLE), 1);
    kl_order_report report = last_report();
    KL_CHECK_TEXT(report.held_site, "second.c:3");
    KL_CHECK_TEXT(report.acquired_site, "second.c:4");
    KL_CHECK_TEXT(report.earlier_held_site, "first.c:1");
    KL_CHECK_TEXT(report.earlier_acquired_site, "first.c:2");
    lock(b, "third.c:1");
    lock(a, "third.c:2");
    unlock(a), unlock(b);
    KL_CHECK_EQ(violations(KL_ORDER_CYCLE), 2);
    KL_CHECK_EQ(told, 1);
    KL_CHECK_EQ(kl_order_count().edges, 1);
    kl_order_on_report(NULL);
}

KL_TEST(kl_ordered_lock_O2_a_cycle_over_three_classes_is_found) {
    begin();
    kl_ordered_lock *x = make(class_of("X", 0, 0), 0), *y = make(class_of("Y", 0, 0), 0),
                    *z = make(class_of("Z", 0, 0), 0);
    lock(x, "x:1"), lock(y, "x:2"), unlock(y), unlock(x);
    lock(y, "y:1"), lock(z, "y:2"), unlock(z), unlock(y);
    KL_CHECK_EQ(all_violations(), 0);
    lock(z, "z:1"), lock(x, "z:2"), unlock(x), unlock(z);
    KL_CHECK_EQ(violations(KL_ORDER_CYCLE), 1);
    KL_CHECK_TEXT(last_report().earlier_held_site,
                  "x:1"); /* the way from X to Z begins with X -> Y */
    KL_CHECK_TEXT(last_report().earlier_acquired_site, "x:2");
}

/* Each thread takes both locks in its own order, but never at the same time as another. */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static void take_both(void *argument, uint32_t index) {
    kl_ordered_lock **pair = argument;
    pthread_mutex_lock(&turn);
    lock(pair[index % 2], "x");
    lock(pair[1 - index % 2], "y");
    unlock(pair[0]), unlock(pair[1]);
    pthread_mutex_unlock(&turn);
}

KL_TEST(kl_ordered_lock_O2_an_inversion_between_threads_that_never_met_is_found) {
    begin();
    kl_ordered_lock *pair[2] = {make(class_of("P", 0, 0), 0), make(class_of("Q", 0, 0), 0)};
    kl_test_threads(2, take_both, pair);
    KL_CHECK_EQ(violations(KL_ORDER_CYCLE), 1);
}

/* ---- at the same time ---- */

#define CHAIN 8u

static uint32_t rounds_each(void) {
    return getenv("KEELSON_LONG") ? 300000 : kl_test_slow() ? 300 : 5000;
}

/* Locks i < j < k in order, and every 16th time the first and the last the wrong way round, by
 * trying the second: no deadlock, but a violation for the checker to count. */
static void lock_chains(void *argument, uint32_t index) {
    kl_ordered_lock **chain = argument;
    for (uint32_t round = 0; round < rounds_each(); round++) {
        uint32_t first = (round + index) % (CHAIN - 2);
        for (uint32_t i = 0; i < 3; i++) lock(chain[first + i], "c:1");
        if (round % 16 == 0) kl_order_before(chain[0], chain[0]->class_number, 0, "c:2");
        for (uint32_t i = 0; i < 3; i++) unlock(chain[first + i]);
    }
}

KL_TEST(kl_ordered_lock_O1_four_threads_at_once_and_the_counts_are_exact) {
    begin();
    kl_ordered_lock *chain[CHAIN];
    for (uint32_t i = 0; i < CHAIN; i++) {
        char name[16];
        snprintf(name, sizeof name, "chain %u", i);
        chain[i] = make(class_of(name, 100 + i, 0), 0);
    }
    kl_test_threads(4, lock_chains, chain);
    kl_order_counts counts = kl_order_count();
    KL_CHECK_EQ(counts.acquired, 4ull * 3 * rounds_each());
    KL_CHECK_EQ(counts.released, counts.acquired);
    uint64_t again = 0, falling = 0;
    for (uint32_t index = 0; index < 4; index++)
        for (uint32_t round = 0; round < rounds_each(); round += 16) {
            bool with_first = (round + index) % (CHAIN - 2) == 0;
            again += with_first;
            falling += with_first ? 2 : 3;
        }
    KL_CHECK_EQ(counts.violations[KL_ORDER_AGAIN], again);
    KL_CHECK_EQ(counts.violations[KL_ORDER_RANK], falling);
    KL_CHECK_EQ(all_violations(), again + falling);
    KL_CHECK_EQ(counts.depth_max, 3);
    KL_CHECK_EQ(counts.edges, 2 * (CHAIN - 2) + 1); /* i -> i + 1 and i -> i + 2 */
}

KL_TEST(kl_ordered_lock_O3_off_nothing_is_looked_at_and_on_begins_with_nothing_held) {
    begin();
    kl_ordered_lock *a = make(class_of("off A", 7, 0), 0), *b = make(class_of("off B", 6, 0), 0);
    lock(a, "o:1");
    kl_order_check(false);
    lock(b, "o:2");
    KL_CHECK_EQ(all_violations(), 0);
    KL_CHECK_EQ(kl_order_count().acquired, 1);
    unlock(b);
    kl_order_check(true);
    lock(b, "o:3"); /* that a is held is not known any more */
    KL_CHECK_EQ(all_violations(), 0);
    unlock(b), unlock(a);
    KL_CHECK_EQ(all_violations(), 0);
}

/* ---- the locks beneath ---- */

KL_TEST(kl_ordered_lock_wraps_mutexes_and_sleep_locks_too) {
    begin();
    char path[512];
    snprintf(path, sizeof path, "%s/region", kl_test_folder());
    kl_region *region = NULL, *other = NULL;
    kl_region_spec spec = {.kind = 1};
    uint64_t bytes = kl_sleep_lock_memory_bytes(4);
    KL_CHECK_EQ(kl_region_create(&region, path, bytes + sizeof(kl_mutex), &spec), KL_OK);
    KL_CHECK_EQ(kl_region_publish(region), KL_OK);
    KL_CHECK_EQ(kl_region_attach(&other, path, NULL), KL_OK);
    KL_CHECK_LE(0, kl_region_join(region, 0));
    KL_CHECK_LE(0, kl_region_join(other, 0));
    uint8_t *data = kl_region_data(region);
    KL_CHECK_EQ(kl_sleep_lock_format(data, 4), KL_OK);
    kl_sleep_lock sleep_lock, elsewhere;
    KL_CHECK_EQ(kl_sleep_lock_grip(&sleep_lock, data, bytes, region), KL_OK);
    KL_CHECK_EQ(kl_sleep_lock_grip(&elsewhere, kl_region_data(other), bytes, other), KL_OK);
    kl_ordered_lock first, second, rival;
    uint32_t one = class_of("sleeping", 0, 0), two = class_of("waking", 0, 0);
    kl_ordered_lock_of_sleep(&first, &sleep_lock, one, 0);
    kl_ordered_lock_of_sleep(&rival, &elsewhere, one, 1);
    kl_ordered_lock_of_mutex(&second, (kl_mutex *)(void *)(data + bytes), region, two, 0);
    lock(&first, KL_ORDER_HERE);
    KL_CHECK_EQ(kl_ordered_lock_try_lock(&rival, KL_ORDER_HERE), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_ordered_lock_lock(&second, KL_NS_PER_S, KL_ORDER_HERE), KL_OK);
    KL_CHECK_EQ(kl_ordered_lock_try_lock(&second, KL_ORDER_HERE), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_ordered_lock_lock(&rival, KL_NS_PER_MS, KL_ORDER_HERE), KL_ERR_TIMEOUT);
    unlock(&first), unlock(&second);
    KL_CHECK_EQ(kl_ordered_lock_lock(&rival, KL_NS_PER_S, KL_ORDER_HERE), KL_OK);
    unlock(&rival);
    KL_CHECK_EQ(kl_order_count().acquired, 3);
    KL_CHECK_EQ(violations(KL_ORDER_CYCLE), 1); /* rival's class after second's, and before it */
    KL_CHECK_CONTAINS(last_report().acquired_site, "ordered_lock_test.c:");
    kl_order_check(false);
    kl_region_close(other);
    kl_region_close(region);
}

KL_TEST(kl_order_class_refuses_what_cannot_be) {
    char name[100];
    memset(name, 'n', sizeof name);
    name[KL_ORDER_NAME_BYTES_MAX + 1] = 0;
    KL_CHECK_EQ(kl_order_class(name, 0, 0), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_order_class("", 0, 0), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_order_class(NULL, 0, 0), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_order_class("flags", 0, 2), KL_ERR_ARGUMENT);
    uint32_t number = class_of("known", 3, 0);
    KL_CHECK_EQ(class_of("known", 3, 0), number);
    KL_CHECK_EQ(kl_order_class("known", 4, 0), KL_ERR_EXISTS);
    KL_CHECK_TEXT(kl_order_class_name(0), "?");
    KL_CHECK_TEXT(kl_order_class_name(KL_ORDER_CLASSES_MAX + 1), "?");
    int32_t last = 0;
    for (uint32_t i = 0; i <= KL_ORDER_CLASSES_MAX && last >= 0; i++) {
        snprintf(name, sizeof name, "filler %u", i);
        last = kl_order_class(name, 0, 0);
    }
    KL_CHECK_EQ(last, KL_ERR_LIMIT);
    kl_order_check(false);
}
