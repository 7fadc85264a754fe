/* Retired nodes: each callback once, in order, after the readers. */
#include "sync/retire_queue.h"

#include "tests/c/model/explorer.h"

#define NODES 4u

typedef struct {
    kl_retired node;
    uint32_t value;
} thing;

static kl_grace grace;
static kl_grace_slot *slot;
static kl_retire_queue queue;
static kl_retire_bag bag;
static thing *things[NODES];
static uint32_t run[NODES], run_count;
static _Atomic(thing *) source;

static void setup(void) {
    uint64_t bytes = kl_grace_memory_bytes(1);
    void *memory = kl_model_alloc(bytes);
    kl_model_name(memory, bytes, "grace");
    kl_model_name(&bag, sizeof bag, "bag");
    KL_MODEL_CHECK_EQ(kl_grace_format(memory, 1), KL_OK);
    KL_MODEL_CHECK_EQ(kl_grace_grip(&grace, memory, bytes, NULL, KL_GRACE_FENCES), KL_OK);
    slot = kl_grace_claim(&grace);
    kl_retire_queue_open(&queue);
    for (uint32_t i = 0; i < NODES; i++) {
        things[i] = kl_model_alloc(sizeof(thing));
        things[i]->value = i;
    }
    atomic_store_explicit(&source, things[0], memory_order_relaxed);
}

static void give_back(kl_retired *node) {
    thing *it = (thing *)(void *)node;
    run[it->value]++;
    run_count++;
    kl_model_free(it);
}

static void in_order(kl_retired *node) {
    static uint32_t next;
    KL_MODEL_CHECK_EQ(((thing *)(void *)node)->value, next);
    next++;
    give_back(node);
}

static kl_retire_batch take(void *argument) {
    (void)argument;
    return kl_retire_take(&bag);
}

static void advance(void) {
    int32_t count = kl_retire_advance(&queue, &grace, take, NULL, UINT32_MAX);
    KL_MODEL_CHECK(count >= 0);
    kl_model_expect("a callback ran", count > 0);
}

static void finish(void) {
    kl_retire_queue_close(&queue, take, NULL);
    for (uint32_t i = 0; i < run_count; i++) KL_MODEL_CHECK_EQ(run[i], 1);
}

/* ---- pushes against takes ---- */

static void push_first_two(void) {
    things[0]->value = 0; /* seen by the callback: the push is a release */
    kl_retire_push(&bag, &things[0]->node, in_order);
    things[1]->value = 1;
    kl_retire_push(&bag, &things[1]->node, in_order);
}

static void all_two(void) {
    finish();
    KL_MODEL_CHECK_EQ(run_count, 2);
}

KL_MODEL(kl_retire_queue_model_runs_in_order_and_once_what_is_pushed_meanwhile, .setup = setup,
         .threads = {push_first_two, advance}, .finally = all_two)

static void push_third(void) {
    kl_retire_push(&bag, &things[2]->node, give_back);
}

static void push_fourth(void) {
    kl_retire_push(&bag, &things[3]->node, give_back);
}

static void take_once(void) {
    kl_retire_batch batch = kl_retire_take(&bag);
    for (kl_retired *node = batch.first; node; node = node->next) {
        KL_MODEL_CHECK_EQ(run[((thing *)(void *)node)->value]++, 0);
        run_count++;
        if (node == batch.last) KL_MODEL_CHECK(node->next == NULL);
    }
}

static void two_were_pushed(void) {
    take_once();
    KL_MODEL_CHECK_EQ(run_count, 2);
}

KL_MODEL(kl_retire_queue_model_loses_nothing_that_two_push_at_once, .setup = setup,
         .threads = {push_third, push_fourth, take_once}, .finally = two_were_pushed)

/* ---- two who advance ---- */

static void setup_one_retired(void) {
    setup();
    kl_retire_push(&bag, &things[0]->node, give_back);
}

static void one_ran(void) {
    finish();
    KL_MODEL_CHECK_EQ(run_count, 1);
}

KL_MODEL(kl_retire_queue_model_two_who_advance_run_a_callback_once, .setup = setup_one_retired,
         .threads = {advance, advance}, .finally = one_ran)

/* Who reads the count has seen what the callbacks did. */
static void wait_for_count(void) {
    bool ran = kl_retire_run_count(&queue) == 1;
    if (ran) KL_MODEL_CHECK_EQ(run[0], 1);
    kl_model_expect("it had run", ran);
}

KL_MODEL(kl_retire_queue_model_run_count_tells_that_callbacks_are_through,
         .setup = setup_one_retired, .threads = {advance, wait_for_count}, .finally = one_ran)

/* ---- a reader, one who retires, one who advances ---- */

static void read_once(void) {
    kl_grace_announce(&grace, slot);
    thing *found = atomic_load_explicit(&source, memory_order_acquire);
    if (found) KL_MODEL_CHECK_EQ(found->value, 0);
    kl_model_expect("it was found", found != NULL);
    kl_grace_retract(slot);
}

static void unlink_and_retire(void) {
    atomic_store_explicit(&source, NULL, memory_order_relaxed); /* the push is the release */
    kl_retire_push(&bag, &things[0]->node, give_back);
}

KL_MODEL(kl_retire_queue_model_runs_nothing_while_a_reader_may_use_it_R1, .setup = setup,
         .threads = {read_once, unlink_and_retire, advance}, .finally = one_ran)

static void retire_and_advance_twice(void) {
    unlink_and_retire();
    int32_t first = kl_retire_advance(&queue, &grace, take, NULL, UINT32_MAX);
    int32_t second = kl_retire_advance(&queue, &grace, take, NULL, UINT32_MAX);
    KL_MODEL_CHECK(first >= 0 && second >= 0 && first + second <= 1);
    kl_model_expect("it waited and ran then", first == 0 && second == 1);
    kl_model_expect("it waits still", first + second == 0);
}

KL_MODEL(kl_retire_queue_model_looks_again_at_a_batch_that_waited_R1, .setup = setup,
         .threads = {read_once, retire_and_advance_twice}, .finally = one_ran)
