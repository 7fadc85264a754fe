/* thread_queue under the memory models: elements come out whole and once, and a slot is not written
 * again before it was read. Real calls on kl_model_alloc memory. */
#include "lockfree/thread_queue.h"
#include "tests/c/model/explorer.h"

static kl_thread_queue *queue;
static uint32_t seen[8];

static void empty(void) {
    queue = kl_model_alloc(sizeof *queue);
    void *slots = kl_model_alloc(kl_thread_queue_slots_bytes(2, 8));
    KL_MODEL_CHECK_EQ(kl_thread_queue_init(queue, slots, 2, 8), KL_OK);
}
static bool push(uint64_t value) {
    int32_t status = kl_thread_queue_push_mp(queue, &value);
    KL_MODEL_CHECK(status == KL_OK || status == KL_ERR_AGAIN || status == KL_ERR_LOCKED);
    return status == KL_OK;
}
static int32_t pop(void) {
    uint64_t value;
    int32_t status = kl_thread_queue_pop_mc(queue, &value);
    if (status != KL_OK) return status;
    KL_MODEL_CHECK(value > 0 && value < 8);
    seen[value % 8]++;
    return (int32_t)value;
}
static void full(void) {
    empty();
    KL_MODEL_CHECK(push(1) && push(2));
}
static void push_three(void) {
    bool done = push(3);
    kl_model_expect("found room", done);
    seen[3] = done ? seen[3] : 1;
}
static void pop_first(void) {
    KL_MODEL_CHECK_EQ(pop(), 1);
}
static void drain(void) {
    while (pop() > 0) {
    }
}
static void each_once(void) {
    drain();
    KL_MODEL_CHECK(seen[1] == 1 && seen[2] == 1);
}
static void three_once(void) {
    each_once();
    KL_MODEL_CHECK_EQ(seen[3], 1);
}
KL_MODEL(kl_thread_queue_model_a_slot_is_reused_after_it_was_read, .setup = full,
         .threads = {push_three, pop_first}, .finally = three_once)

static void push_both(void) {
    KL_MODEL_CHECK(push(1) && push(2));
}
static void pop_both(void) {
    int32_t first = pop(), second = pop();
    if (second > 0) KL_MODEL_CHECK_EQ(second, first > 0 ? 2 : 1);
    kl_model_expect("both came", second == 2);
}
KL_MODEL(kl_thread_queue_model_elements_arrive_whole_and_in_order, .setup = empty,
         .threads = {push_both, pop_both}, .finally = each_once)

static void push_one(void) {
    KL_MODEL_CHECK(push(1));
}
static void push_two(void) {
    KL_MODEL_CHECK(push(2));
}
KL_MODEL(kl_thread_queue_model_two_producers, .setup = empty, .threads = {push_one, push_two},
         .finally = each_once)
static void pop_any(void) {
    KL_MODEL_CHECK(pop() > 0);
}
KL_MODEL(kl_thread_queue_model_two_consumers, .setup = full, .threads = {pop_any, pop_any},
         .finally = each_once)
