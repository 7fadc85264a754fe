/* pile_steps: deaths and pauses at every atomic step, for the structures whose nodes come from a pool.
 * The including file defines, for its structure,
 *
 *   pile, PILE_BYTES, pile_format(memory), pile_grip(pile *, memory), pile_join(pile *, id), pile_leave(pile *),
 *   pile_push(pile *, const uint64_t *), pile_pop(pile *, uint64_t *), pile_size(pile *), pile_verify(pile *),
 *   pile_recover(pile *, dead), pile_model_pop(model *)
 *   PILE_NODES    nodes that belong to the empty structure
 *   PILE_STRIDE   of the steps of a recovery, beginning elsewhere each time; every one in the long form
 *
 * with a capacity of CAPACITY elements of 8 bytes. The victim is a forked process that is killed before its
 * k-th atomic operation, for every k; whoever recovers is cut off before every step of its own, by a jump out
 * of it, and another one recovers then. */
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/c/harness.h"
#include "tests/c/model/steps.h"

#define VICTIM kl_participant_id(5, 3)
#define HEIR   kl_participant_id(6, 3) /* the next one in the victim's slot */
#define LIVING kl_participant_id(2, 4)

typedef struct {
    uint64_t values[CAPACITY + 1];
    uint32_t count;
} model;

static void model_push(model *it, uint64_t value) {
    it->values[it->count++] = value;
}

/* What the victim does. `prepare` comes before the steps are counted. */
typedef struct {
    const char *name;
    uint32_t filled; /* elements that the living one pushed: 1, 2, ... */
    void (*prepare)(pile *);
    void (*act)(pile *);
    void (*in_model)(model *); /* what it does when it took place */
    bool joins;                /* the join is among the steps */
} deed;

static void push_100(pile *it) {
    pile_push(it, &(uint64_t){100});
}

static void pop_one(pile *it) {
    uint64_t value;
    pile_pop(it, &value);
}

static void pop_two(pile *it) {
    pop_one(it);
    pop_one(it);
}

static void no_act(pile *it) {
    (void)it;
}

static void model_push_100(model *it) {
    if (it->count < CAPACITY) model_push(it, 100);
}

static void model_pop_one(model *it) {
    if (it->count > 0) (void)pile_model_pop(it);
}

static void model_nothing(model *it) {
    (void)it;
}

static const deed deeds[] = {
    {"push to an empty one", 0, no_act, push_100, model_push_100, false},
    {"push", 2, no_act, push_100, model_push_100, false},
    {"push of the node it popped", 2, pop_one, push_100, model_push_100, false},
    {"push of the node it popped, after another pop", 2, pop_two, push_100, model_push_100, false},
    {"push to a full one", CAPACITY, no_act, push_100, model_push_100, false},
    {"pop of the last", 1, no_act, pop_one, model_pop_one, false},
    {"pop", 3, no_act, pop_one, model_pop_one, false},
    {"pop after a pop: one node goes back to the pool", 3, pop_two, pop_one, model_pop_one, false},
    {"pop after its own push", 1, push_100, pop_one, model_pop_one, false},
    {"pop from an empty one", 0, no_act, pop_one, model_pop_one, false},
    {"join and push", 1, no_act, push_100, model_push_100, true},
    {"leave", 2, pop_two, pile_leave, model_nothing, false},
};

static uint8_t *memory, *image;
static const deed *deed_now; /* for messages */
static uint64_t killed_now, cut_now;

static void fill(const deed *it, model *before) {
    pile living;
    memset(memory, 0, PILE_BYTES);
    pile_format(memory);
    pile_grip(&living, memory);
    pile_join(&living, LIVING);
    before->count = 0;
    for (uint64_t value = 1; value <= it->filled; value++) {
        KL_CHECK_EQ(pile_push(&living, &value), KL_OK);
        model_push(before, value);
    }
    pile_leave(&living);
    if (it->prepare == push_100) model_push_100(before);
    if (it->prepare == pop_one || it->prepare == pop_two) model_pop_one(before);
    if (it->prepare == pop_two) model_pop_one(before);
}

typedef struct {
    const deed *deed;
    uint64_t k;
} order;

static int run_victim(void *argument) {
    const order *it = argument;
    pile victim;
    pile_grip(&victim, memory);
    if (it->deed->joins) kl_steps_kill_at(it->k);
    pile_join(&victim, VICTIM);
    it->deed->prepare(&victim);
    if (!it->deed->joins) kl_steps_kill_at(it->k);
    it->deed->act(&victim);
    return 0;
}

static bool is_model(const model *wanted) {
    pile look;
    uint64_t value;
    model left = *wanted;
    memcpy(image + PILE_BYTES, memory, PILE_BYTES); /* looked at by emptying it */
    pile_grip(&look, memory);
    pile_join(&look, LIVING);
    bool equal = pile_size(&look) == (int32_t)wanted->count;
    while (equal && left.count > 0)
        equal = pile_pop(&look, &value) == KL_OK && value == pile_model_pop(&left);
    equal = equal && pile_pop(&look, &value) == KL_ERR_AGAIN;
    memcpy(memory, image + PILE_BYTES, PILE_BYTES);
    return equal;
}

/* Everything there is to hold after a death and a recovery. */
static void check_survivors(const model *before, const model *after) {
    pile living;
    uint64_t value;
    pile_grip(&living, memory);
    KL_CHECK_EQ(pile_verify(&living), KL_OK);
    if (!is_model(before) && !is_model(after))
        kl_test_fail(__FILE__, __LINE__, "%s: killed at %llu, recovery cut off at %llu",
                     deed_now->name, (unsigned long long)killed_now, (unsigned long long)cut_now);
    pile_join(&living, LIVING);
    while (pile_pop(&living, &value) == KL_OK) {
    }
    for (uint32_t i = 0; i < CAPACITY; i++) KL_CHECK_EQ(pile_push(&living, &value), KL_OK);
    KL_CHECK_EQ(pile_push(&living, &value), KL_ERR_AGAIN);
    while (pile_pop(&living, &value) == KL_OK) {
    }
    pile_leave(&living);
    KL_CHECK_EQ(kl_index_pool_held(&living.pool, 0), PILE_NODES);
    KL_CHECK_EQ(pile_verify(&living), KL_OK);
}

static jmp_buf cut;

static void cut_off(void) {
    longjmp(cut, 1);
}

static void recover_as_living(void) {
    pile living;
    pile_grip(&living, memory);
    pile_join(&living, LIVING);
    pile_recover(&living, VICTIM);
    pile_recover(&living, HEIR);
    pile_leave(&living);
}

static void recover_as_heir(void) {
    pile heir;
    pile_grip(&heir, memory);
    pile_join(&heir, HEIR);
    pile_leave(&heir);
}

/* True when the recovery was cut off before its k-th step. */
static bool is_cut(void (*recover)(void), uint64_t k) {
    bool is = setjmp(cut) != 0;
    if (!is) {
        kl_steps_pause_at(k, cut_off);
        recover();
    }
    kl_steps_pause_at(0, NULL);
    return is;
}

static void recover_from_everywhere(void (*recover)(void), const model *before,
                                    const model *after) {
    static uint64_t last;
    memcpy(image, memory, PILE_BYTES);
    uint64_t stride = getenv("KEELSON_LONG") ? 1 : PILE_STRIDE;
    bool again = true;
    for (uint64_t k = 1 + last++ % stride; again; k += stride) {
        memcpy(memory, image, PILE_BYTES);
        cut_now = k;
        again = is_cut(recover, k);
        recover_as_living();
        check_survivors(before, after);
    }
}

static void kill_at_every_step(const deed *it) {
    for (uint64_t k = 1;; k++) {
        model before, after;
        deed_now = it;
        killed_now = k;
        fill(it, &before);
        after = before;
        it->in_model(&after);
        order wanted = {it, k};
        int end = kl_test_join(kl_test_fork(run_victim, &wanted));
        if (end != 0) KL_CHECK_EQ(end, 128 + SIGKILL);
        uint64_t start_ns = kl_test_now_ns();
        memcpy(image + 2 * PILE_BYTES, memory, PILE_BYTES);
        recover_from_everywhere(recover_as_living, &before, &after);
        memcpy(memory, image + 2 * PILE_BYTES, PILE_BYTES);
        recover_from_everywhere(recover_as_heir, &before, &after);
        if (!kl_test_slow()) KL_CHECK_LT(kl_test_now_ns() - start_ns, 20000000000u);
        if (end == 0) break; /* it has fewer than k steps */
        KL_CHECK_LT(k, 500);
    }
}

static void open_memory(void) {
    memory = mmap(NULL, PILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    KL_CHECK(memory != MAP_FAILED);
    image = malloc(3 * PILE_BYTES);
}

static void close_memory(void) {
    munmap(memory, PILE_BYTES);
    free(image);
}

static void kill_everywhere(void) {
    open_memory();
    for (uint32_t i = 0; i < sizeof deeds / sizeof *deeds; i++) kill_at_every_step(&deeds[i]);
    close_memory();
}

/* ---- pauses ---- */

static pile meddler;
static uint32_t meddling;
static model meddled; /* values that the meddler holds */

/* The same nodes come back to where they were, in all small ways. */
static void meddle(void) {
    uint64_t a, b;
    static uint64_t fresh = 1000;
    bool one = pile_pop(&meddler, &a) == KL_OK;
    bool two = meddling % 2 == 1 && pile_pop(&meddler, &b) == KL_OK;
    if (meddling / 2 % 2 == 1 && one) {
        KL_CHECK_EQ(pile_push(&meddler, &a), KL_OK); /* into the node it came from */
        one = false;
    }
    if (meddling / 4 % 2 == 1 && pile_push(&meddler, &fresh) == KL_OK) fresh++;
    if (one) model_push(&meddled, a);
    if (two) model_push(&meddled, b);
}

/* Values there at the end or taken out, each exactly once. */
static uint64_t sum_left(pile *it, uint32_t *count) {
    uint64_t sum = 0, value;
    for (*count = 0; pile_pop(it, &value) == KL_OK; ++*count) sum += value < 1000 ? value : 0;
    return sum;
}

static bool pause_at(uint64_t k, bool pops, uint32_t filled) {
    pile paused;
    uint64_t value = 0, sum = 0, out = 0;
    deed fills = {.filled = filled, .prepare = no_act};
    model before;
    fill(&fills, &before);
    pile_grip(&paused, memory);
    pile_grip(&meddler, memory);
    pile_join(&paused, VICTIM);
    pile_join(&meddler, LIVING);
    meddled.count = 0;
    for (uint32_t i = 0; i < before.count; i++) sum += before.values[i];
    uint64_t steps = kl_steps_count();
    kl_steps_pause_at(k, meddle);
    if (pops) {
        if (pile_pop(&paused, &value) == KL_OK && value < 1000) out += value;
    } else if (pile_push(&paused, &(uint64_t){500}) == KL_OK) {
        sum += 500;
    }
    bool done = kl_steps_count() - steps < k;
    kl_steps_pause_at(0, NULL);
    KL_CHECK_EQ(pile_verify(&paused), KL_OK);
    uint32_t count;
    for (uint32_t i = 0; i < meddled.count; i++)
        out += meddled.values[i] < 1000 ? meddled.values[i] : 0;
    out += sum_left(&paused, &count);
    KL_CHECK_EQ(out, sum);
    pile_leave(&paused);
    pile_leave(&meddler);
    KL_CHECK_EQ(kl_index_pool_held(&paused.pool, 0), PILE_NODES);
    return done;
}

static void pause_everywhere(void) {
    open_memory();
    for (meddling = 0; meddling < 8; meddling++) {
        for (uint32_t filled = 0; filled <= CAPACITY; filled++) {
            for (uint32_t pops = 0; pops < 2; pops++) {
                uint64_t k = 1;
                while (!pause_at(k, pops == 1, filled)) k++;
                KL_CHECK_LE(2, k);
            }
        }
    }
    close_memory();
}
