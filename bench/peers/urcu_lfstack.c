/* liburcu's stack; entries come back at once, so pops exclude each other by its own mutex. */
#define _LGPL_SOURCE
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <urcu/lfstack.h>

typedef struct {
    struct cds_lfs_stack top __attribute__((aligned(128)));
    struct cds_lfs_node entries[][4] __attribute__((aligned(128)));
} stack;
typedef stack stack_end;

static stack *stack_open(uint32_t count) {
    stack *made = aligned_alloc(128, 512 + count * sizeof made->entries[0]);
    cds_lfs_init(&made->top);
    for (uint32_t i = 0; i < count; i++) cds_lfs_node_init(made->entries[i]);
    return made;
}

static stack_end *stack_take(stack *one, uint32_t index) {
    (void)index;
    return one;
}

static inline void stack_push(stack_end *end, uint32_t entry) {
    cds_lfs_push(&end->top, end->entries[entry]);
}

static inline bool stack_pop(stack_end *end, uint32_t *entry) {
    struct cds_lfs_node *found = cds_lfs_pop_blocking(&end->top);
    if (found == NULL) return false;
    *entry = (uint32_t)((struct cds_lfs_node(*)[4])found - end->entries);
    return true;
}

#include "bench/lockfree/stack_drive.h"

int main(int count, char **words) {
    return drive_stack(count, words);
}
