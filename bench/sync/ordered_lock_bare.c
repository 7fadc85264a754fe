/* sync/ordered_lock in bare C: `ordered_lock_bare plain|off|on SECTIONS`: three ticket locks, one inside
 * the other, themselves, or through the order with the checker off or on. */
#include "sync/ordered_lock.h"

#include "bench/frame/threads.h"

#define DEPTH 3

static kl_ticket_lock locks[DEPTH];
static kl_ordered_lock ordered[DEPTH];
static volatile uint64_t counter;

static void run_plain(uint64_t sections) {
    for (uint64_t i = 0; i < sections; i++) {
        for (int depth = 0; depth < DEPTH; depth++) kl_ticket_lock_lock(&locks[depth]);
        counter = counter + 1;
        for (int depth = DEPTH; depth-- > 0;) kl_ticket_lock_unlock(&locks[depth]);
    }
}

static void run_ordered(uint64_t sections) {
    for (uint64_t i = 0; i < sections; i++) {
        for (int depth = 0; depth < DEPTH; depth++)
            if (kl_ordered_lock_lock(&ordered[depth], KL_FOREVER, "bench") != KL_OK) exit(3);
        counter = counter + 1;
        for (int depth = DEPTH; depth-- > 0;)
            if (kl_ordered_lock_unlock(&ordered[depth]) != KL_OK) exit(3);
    }
}

int main(int count, char **words) {
    if (count != 3) return 2;
    static const char *const names[DEPTH] = {"first", "second", "third"};
    uint64_t sections = number_argument(words, 2);
    bool plain = strcmp(words[1], "plain") == 0;
    pin_to(0);
    for (uint32_t i = 0; i < DEPTH; i++) {
        int32_t class_number = kl_order_class(names[i], i + 1, 0);
        if (class_number < 0) return 1;
        kl_ordered_lock_of_ticket(&ordered[i], &locks[i], (uint32_t)class_number, 0);
    }
    kl_order_check(strcmp(words[1], "on") == 0);
    uint64_t start = now_ns();
    if (plain)
        run_plain(sections);
    else
        run_ordered(sections);
    double seconds = (double)(now_ns() - start) / 1e9;
    if (kl_order_reports() != 0) return 3;
    print_result(seconds, counter);
    printf("\n");
    return 0;
}
