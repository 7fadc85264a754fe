/* ms_queue: killed at every step, and paused at every step while the same nodes come and go. */
#include "lockfree/ms_queue.h"

#define CAPACITY 4u

typedef kl_ms_queue pile;
#define PILE_BYTES  kl_ms_queue_memory_bytes(CAPACITY, 8)
#define PILE_NODES  1 /* the one in front */
#define PILE_STRIDE 23

static void pile_format(void *memory) {
    kl_ms_queue_format(memory, CAPACITY, 8);
}

static void pile_grip(pile *it, void *memory) {
    kl_ms_queue_grip(it, memory, PILE_BYTES);
}

static void pile_join(pile *it, uint32_t id) {
    kl_ms_queue_join(it, id);
}

static void pile_leave(pile *it) {
    kl_ms_queue_leave(it);
}

static int32_t pile_push(pile *it, const uint64_t *value) {
    return kl_ms_queue_push(it, value);
}

static int32_t pile_pop(pile *it, uint64_t *value) {
    return kl_ms_queue_pop(it, value);
}

static int32_t pile_size(pile *it) {
    return kl_ms_queue_size(it);
}

static int32_t pile_verify(pile *it) {
    return kl_ms_queue_verify(it);
}

static void pile_recover(pile *it, uint32_t dead) {
    kl_ms_queue_recover(it, dead, NULL, NULL);
}

/* The oldest of a model's values, which stand in order. */
static uint64_t shift(uint64_t *values, uint32_t *count) {
    uint64_t first = values[0];
    for (uint32_t i = 1; i < *count; i++) values[i - 1] = values[i];
    --*count;
    return first;
}

#define pile_model_pop(it) shift((it)->values, &(it)->count)

#include "tests/c/lockfree/pile_steps.h"

KL_TEST(Q2_kl_ms_queue_survives_a_death_at_every_step_and_a_recovery_cut_off_at_every_step) {
    kill_everywhere();
}

KL_TEST(Q2_kl_ms_queue_is_never_fooled_by_the_same_nodes_coming_back_between_load_and_exchange) {
    pause_everywhere();
}
