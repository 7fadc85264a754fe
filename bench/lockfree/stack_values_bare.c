/* stack in bare C, values copied in and out, nodes found and given back by the calls themselves:
 * `stack_values_bare THREADS PAIRS`. */
#include "lockfree/stack.h"

#include <stdlib.h>
#include <string.h>

typedef kl_stack stack_end;

typedef struct {
    void *memory;
    uint64_t bytes;
    kl_stack *ends[KL_PARTICIPANTS];
} stack;

static stack *stack_open(uint32_t count) {
    stack *made = calloc(1, sizeof *made);
    made->bytes = kl_stack_memory_bytes(count, 8);
    made->memory = aligned_alloc(KL_LINE_BYTES, made->bytes);
    memset(made->memory, 0, made->bytes);
    if (kl_stack_format(made->memory, count, 8) != KL_OK) exit(1);
    return made;
}

static stack_end *stack_take(stack *one, uint32_t index) {
    if (one->ends[index] != NULL) return one->ends[index];
    kl_stack *end = one->ends[index] = aligned_alloc(128, (sizeof *end + 127) / 128 * 128);
    if (kl_stack_grip(end, one->memory, one->bytes) != KL_OK ||
        kl_stack_join(end, kl_participant_id(1, index)) != KL_OK)
        exit(1);
    return end;
}

static void stack_push(stack_end *end, uint32_t entry) {
    if (kl_stack_push(end, &(uint64_t){entry}) != KL_OK) exit(3);
}

static bool stack_pop(stack_end *end, uint32_t *entry) {
    uint64_t value;
    if (kl_stack_pop(end, &value) != KL_OK) return false;
    *entry = (uint32_t)value;
    return true;
}

#include "bench/lockfree/stack_drive.h"

int main(int count, char **words) {
    return drive_stack(count, words);
}
