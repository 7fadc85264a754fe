/* stack: killed at every step, and paused at every step while the same nodes come and go. */
#include "lockfree/stack.h"

#define CAPACITY 4u

typedef kl_stack pile;
#define PILE_BYTES  kl_stack_memory_bytes(CAPACITY, 8)
#define PILE_NODES  0
#define PILE_STRIDE 11

static void pile_format(void *memory) {
    kl_stack_format(memory, CAPACITY, 8);
}

static void pile_grip(pile *it, void *memory) {
    kl_stack_grip(it, memory, PILE_BYTES);
}

static void pile_join(pile *it, uint32_t id) {
    kl_stack_join(it, id);
}

static void pile_leave(pile *it) {
    kl_stack_leave(it);
}

static int32_t pile_push(pile *it, const uint64_t *value) {
    return kl_stack_push(it, value);
}

static int32_t pile_pop(pile *it, uint64_t *value) {
    return kl_stack_pop(it, value);
}

static int32_t pile_size(pile *it) {
    return kl_stack_size(it);
}

static int32_t pile_verify(pile *it) {
    return kl_stack_verify(it);
}

static void pile_recover(pile *it, uint32_t dead) {
    kl_stack_recover(it, dead, NULL, NULL);
}

#define pile_model_pop(it) ((it)->values[--(it)->count])

#include "tests/c/lockfree/pile_steps.h"

KL_TEST(S1_kl_stack_survives_a_death_at_every_step_and_a_recovery_cut_off_at_every_step) {
    kill_everywhere();
}

KL_TEST(S2_kl_stack_is_never_fooled_by_the_same_nodes_coming_back_between_load_and_exchange) {
    pause_everywhere();
}
