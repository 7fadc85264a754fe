/* Concurrency Kit's stack for many of both: a compare-exchange of head and generation. */
#include <ck_stack.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct {
    ck_stack_t top __attribute__((aligned(128)));
    ck_stack_entry_t entries[][4] __attribute__((aligned(128)));
} stack;
typedef stack stack_end;

static stack *stack_open(uint32_t count) {
    stack *made = aligned_alloc(128, 256 + count * sizeof made->entries[0]);
    ck_stack_init(&made->top);
    return made;
}

static stack_end *stack_take(stack *one, uint32_t index) {
    (void)index;
    return one;
}

static inline void stack_push(stack_end *end, uint32_t entry) {
    ck_stack_push_mpmc(&end->top, end->entries[entry]);
}

static inline bool stack_pop(stack_end *end, uint32_t *entry) {
    ck_stack_entry_t *found = ck_stack_pop_mpmc(&end->top);
    if (found == NULL) return false;
    *entry = (uint32_t)((ck_stack_entry_t(*)[4])found - end->entries);
    return true;
}

#include "bench/lockfree/stack_drive.h"

int main(int count, char **words) {
    return drive_stack(count, words);
}
