/* stack_drive: the work of every stack row, for whatever stack the including file has. It defines, before
 * it includes this file,
 *
 *   stack, stack_end                   the stack; one thread's grip on it
 *   stack *stack_open(uint32_t count)  an empty stack for the entries 0 .. count - 1
 *   stack_end *stack_take(stack *, uint32_t index)
 *   void stack_push(stack_end *, uint32_t entry), bool stack_pop(stack_end *, uint32_t *entry)
 *
 * and calls drive_stack() as its main: `PROGRAM THREADS PAIRS`. Every entry is on the stack at first;
 * each thread pops one and pushes it back, PAIRS times among them, as a pool of free cells is used. */
#ifndef KL_BENCH_LOCKFREE_STACK_DRIVE_H
#define KL_BENCH_LOCKFREE_STACK_DRIVE_H

#include "bench/frame/threads.h"

#define STACK_ENTRIES 64u

typedef struct {
    stack *shared;
    uint64_t pairs;
} stack_work;

static void run_pairs(void *argument, uint32_t index) {
    stack_work *work = (stack_work *)argument;
    stack_end *end = stack_take(work->shared, index);
    uint32_t tries = 0, entry;
    for (uint64_t i = 0; i < work->pairs; i++) {
        while (!stack_pop(end, &entry)) wait_politely(&tries);
        stack_push(end, entry);
    }
}

static int drive_stack(int count, char **words) {
    if (count != 3) return 2;
    uint32_t threads = (uint32_t)number_argument(words, 1);
    stack_work work = {stack_open(STACK_ENTRIES), number_argument(words, 2) / threads};
    stack_end *end = stack_take(work.shared, 0);
    for (uint32_t entry = 0; entry < STACK_ENTRIES; entry++) stack_push(end, entry);
    double seconds = timed_threads(threads, run_pairs, &work);
    uint64_t digest = 0;
    uint32_t entry, left = 0;
    for (; left <= STACK_ENTRIES && stack_pop(end, &entry); left++)
        digest = digest_in_any_order(digest, entry);
    print_result(seconds, left == STACK_ENTRIES ? digest : 0);
    printf("\n");
    return 0;
}

#endif
