#include "lockfree/stack.h"

#include "base/random.h"
#include "tests/c/harness.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* In memory of exactly its size, so that a sanitizer sees one byte too far. */
static void *new_memory(uint32_t capacity, uint32_t element_bytes) {
    uint64_t bytes = kl_stack_memory_bytes(capacity, element_bytes);
    void *memory = aligned_alloc(KL_LINE_BYTES, bytes);
    memset(memory, 0, bytes);
    KL_CHECK_EQ(kl_stack_format(memory, capacity, element_bytes), KL_OK);
    return memory;
}

static kl_stack grip(void *memory, uint32_t self) {
    const kl_stack_header *header = memory;
    kl_stack stack;
    KL_CHECK_EQ(kl_stack_grip(&stack, memory,
                              kl_stack_memory_bytes(header->capacity, header->element_bytes)),
                KL_OK);
    if (self != 0) KL_CHECK_EQ(kl_stack_join(&stack, self), KL_OK);
    return stack;
}

/* An id of participant `slot`. */
static uint32_t id_of(uint32_t slot) {
    return kl_participant_id(1 + slot, slot);
}

KL_TEST(kl_stack_format_refuses_what_is_out_of_range) {
    KL_CHECK_EQ(kl_stack_memory_bytes(0, 8), 0);
    KL_CHECK_EQ(kl_stack_memory_bytes(8, 0), 0);
    KL_CHECK_EQ(kl_stack_memory_bytes(KL_STACK_CAPACITY_MAX + 1, 8), 0);
    KL_CHECK_EQ(kl_stack_memory_bytes(8, KL_STACK_ELEMENT_MAX + 1), 0);
    KL_CHECK_EQ(kl_stack_format(NULL, 0, 8), KL_ERR_ARGUMENT);
    void *memory = new_memory(1, 1);
    kl_stack stack = grip(memory, 0);
    KL_CHECK_EQ(kl_stack_join(&stack, 0), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_stack_join(&stack, 64), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_stack_join(&stack, UINT32_MAX), KL_ERR_ARGUMENT);
    free(memory);
}

KL_TEST(S1_kl_stack_is_last_in_first_out_and_full_and_empty_are_exact) {
    void *memory = new_memory(5, 8);
    kl_stack stack = grip(memory, id_of(3));
    uint64_t value = 7;
    KL_CHECK_EQ(kl_stack_pop(&stack, &value), KL_ERR_AGAIN);
    for (uint64_t i = 0; i < 5; i++) {
        KL_CHECK_EQ(kl_stack_size(&stack), i);
        KL_CHECK_EQ(kl_stack_push(&stack, &(uint64_t){i == 3 ? UINT64_MAX : i}), KL_OK);
    }
    KL_CHECK_EQ(kl_stack_push(&stack, &value), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_stack_verify(&stack), KL_OK);
    for (uint64_t i = 5; i-- > 0;) {
        KL_CHECK_EQ(kl_stack_pop(&stack, &value), KL_OK);
        KL_CHECK_EQ(value, i == 3 ? UINT64_MAX : i);
    }
    KL_CHECK_EQ(kl_stack_pop(&stack, &value), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_stack_size(&stack), 0);
    free(memory);
}

KL_TEST(kl_stack_nodes_move_without_copies) {
    void *memory = new_memory(2, 24);
    kl_stack stack = grip(memory, id_of(1));
    uint32_t node, again;
    KL_CHECK_EQ(kl_stack_take_node(&stack, &node), KL_OK);
    memcpy(kl_stack_element(&stack, node), "twenty-four bytes are it", 24);
    KL_CHECK_EQ(kl_stack_push_node(&stack, node), KL_OK);
    KL_CHECK_EQ(kl_stack_pop_node(&stack, &again), KL_OK);
    KL_CHECK_EQ(again, node);
    KL_CHECK_BYTES(kl_stack_element(&stack, node), "twenty-four bytes are it", 24);
    KL_CHECK_EQ(kl_stack_give_node(&stack, node), KL_OK);
    KL_CHECK_EQ(kl_stack_push_node(&stack, 1u << 23), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_stack_give_node(&stack, 1u << 23), KL_ERR_ARGUMENT);
    kl_stack_leave(&stack);
    KL_CHECK_EQ(kl_index_pool_held(&stack.pool, 0), 0);
    free(memory);
}

KL_TEST(S1_kl_stack_behaves_like_a_dull_one_also_where_its_tags_wrap) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    kl_stack_header *header = new_memory(50, 4);
    header->top = kl_tagged(UINT32_MAX - 500, 0, 0);
    kl_stack stacks[3] = {grip(header, id_of(0)), grip(header, id_of(1)), grip(header, id_of(63))};
    uint32_t model[50], count = 0, value;
    for (uint32_t i = 0; i < (kl_test_slow() ? 3000u : 30000u); i++) {
        kl_stack *stack = &stacks[kl_random_below(&random, 3)];
        uint64_t what = kl_random_below(&random, 100);
        if (what < 50) {
            KL_CHECK_EQ(kl_stack_push(stack, &i), count < 50 ? KL_OK : KL_ERR_AGAIN);
            if (count < 50) model[count++] = i;
        } else if (what < 98) {
            KL_CHECK_EQ(kl_stack_pop(stack, &value), count > 0 ? KL_OK : KL_ERR_AGAIN);
            if (count > 0) KL_CHECK_EQ(value, model[--count]);
        } else {
            KL_CHECK_EQ(kl_stack_size(stack), count);
            KL_CHECK_EQ(kl_stack_verify(stack), KL_OK);
        }
    }
    for (uint32_t i = 0; i < 3; i++) kl_stack_leave(&stacks[i]);
    KL_CHECK_EQ(kl_index_pool_held(&stacks[0].pool, 0), count); /* S1: every node accounted for */
    free(header);
}

/* ---- threads ---- */

typedef struct {
    void *memory;
    uint32_t count;          /* per pusher */
    uint32_t pushers;        /* the others pop */
    _Atomic uint32_t popped; /* by all */
    _Atomic uint8_t *seen;   /* by value */
} crowd;

static void push_all(crowd *it, uint32_t thread) {
    kl_stack stack = grip(it->memory, id_of(thread));
    for (uint32_t i = 0; i < it->count; i++) {
        uint64_t element[2] = {thread * it->count + i, ~(uint64_t)(thread * it->count + i)};
        while (kl_stack_push(&stack, element) != KL_OK) sched_yield();
    }
    kl_stack_leave(&stack);
}

static void pop_all(crowd *it, uint32_t thread) {
    kl_stack stack = grip(it->memory, id_of(thread));
    uint64_t element[2];
    while (atomic_load(&it->popped) < it->count * it->pushers) {
        if (kl_stack_pop(&stack, element) != KL_OK) {
            sched_yield();
            continue;
        }
        KL_CHECK_EQ(element[0], ~element[1]);
        KL_CHECK_LT(element[0], it->count * it->pushers);
        KL_CHECK_EQ(atomic_fetch_add(&it->seen[element[0]], 1), 0);
        atomic_fetch_add(&it->popped, 1);
    }
    kl_stack_leave(&stack);
}

static void push_or_pop(void *argument, uint32_t thread) {
    crowd *it = argument;
    if (thread < it->pushers)
        push_all(it, thread);
    else
        pop_all(it, thread);
}

static void run_crowd(uint32_t pushers, uint32_t poppers, uint32_t capacity, uint32_t count) {
    crowd it = {.memory = new_memory(capacity, 16), .count = count, .pushers = pushers};
    kl_stack_header *header = it.memory;
    header->top = kl_tagged(UINT32_MAX - count / 2, 0, 0); /* wraps on the way */
    it.seen = calloc(pushers, count);
    kl_test_threads(pushers + poppers, push_or_pop, &it);
    kl_stack stack = grip(it.memory, 0);
    KL_CHECK_EQ(kl_stack_size(&stack), 0);
    KL_CHECK_EQ(kl_stack_verify(&stack), KL_OK);
    KL_CHECK_EQ(kl_index_pool_held(&stack.pool, 0), 0);
    free((void *)it.seen);
    free(it.memory);
}

KL_TEST(S1_kl_stack_threads_get_every_element_exactly_once) {
    uint32_t count = kl_test_slow() ? 3000 : getenv("KEELSON_LONG") ? 1000000 : 60000;
    run_crowd(1, 1, 100, count);
    run_crowd(2, 1, 10, count);
    run_crowd(1, 2, 10, count);
    run_crowd(2, 2, 1, count / 4);
    run_crowd(4, 4, 3, count / 4);
}

/* ---- no ABA ---- */

KL_TEST(S2_kl_stack_change_with_an_old_tag_never_succeeds_unless_exactly_all_tags_have_passed) {
    kl_stack_header *header = new_memory(4, 4);
    kl_stack stack = grip(header, id_of(1));
    uint32_t a, b, node;
    KL_CHECK_EQ(kl_stack_take_node(&stack, &a), KL_OK);
    KL_CHECK_EQ(kl_stack_take_node(&stack, &b), KL_OK);
    KL_CHECK_EQ(kl_stack_push_node(&stack, a), KL_OK);
    KL_CHECK_EQ(kl_stack_push_node(&stack, b), KL_OK);
    uint64_t old = header->top; /* what somebody who wants to pop b has loaded */
    KL_CHECK_EQ(kl_stack_pop_node(&stack, &node), KL_OK);
    KL_CHECK_EQ(kl_stack_pop_node(&stack, &node), KL_OK);
    KL_CHECK_EQ(node, a);
    KL_CHECK_EQ(kl_stack_push_node(&stack, b), KL_OK);
    KL_CHECK_EQ(kl_tagged_index1(header->top), b + 1); /* the same node is on top again */
    KL_CHECK_NE(header->top, old);
    /* The documented limit, by preset: a whole round of tags later it is the same word. */
    uint32_t made = kl_tagged_tag(header->top) - kl_tagged_tag(old);
    header->top = kl_tagged(kl_tagged_tag(header->top) - made, 1, b + 1);
    KL_CHECK_EQ(header->top, old);
    free(header);
}

/* ---- deaths ---- */

static bool alive_but_3(void *context, uint32_t participant) {
    (void)context;
    return participant != id_of(3);
}

KL_TEST(kl_stack_recover_gives_back_what_the_dead_kept_and_its_slot_can_be_taken_over) {
    void *memory = new_memory(3, 4);
    kl_stack dead = grip(memory, id_of(3)), living = grip(memory, id_of(4));
    uint32_t nodes[5], value = 0;
    for (uint32_t i = 0; i < 5; i++) KL_CHECK_EQ(kl_stack_take_node(&dead, &nodes[i]), KL_OK);
    KL_CHECK_EQ(kl_stack_push_node(&dead, nodes[0]), KL_OK); /* stays: it was pushed */
    KL_CHECK_EQ(kl_stack_push(&living, &value), KL_OK);
    KL_CHECK_EQ(kl_stack_recover(&living, 0, alive_but_3, NULL), 4);
    KL_CHECK_EQ(kl_stack_recover(&living, 0, alive_but_3, NULL), 0);
    KL_CHECK_EQ(kl_stack_size(&living), 2);
    KL_CHECK_EQ(kl_stack_verify(&living), KL_OK);
    /* The next one in a slot settles by itself. */
    kl_stack next = grip(memory, id_of(3));
    KL_CHECK_EQ(kl_stack_take_node(&next, &nodes[0]), KL_OK);
    kl_stack heir = grip(memory, kl_participant_id(9, 3));
    KL_CHECK_EQ(kl_index_pool_held(&heir.pool, id_of(3)), 0);
    KL_CHECK_EQ(kl_stack_push(&heir, &value), KL_OK);
    KL_CHECK_EQ(kl_stack_push(&living, &value), KL_ERR_AGAIN);
    free(memory);
}

typedef struct {
    void *memory;
    uint32_t self;
    _Atomic uint64_t *sums; /* [0] pushed, [1] popped: by the child, before push and after pop */
} user;

static int use_for_ever(void *argument) {
    user *it = argument;
    kl_stack stack = grip(it->memory, it->self);
    kl_random random;
    kl_random_init(&random, it->self);
    for (uint64_t i = 0; it->self != 0; i++) { /* until killed */
        uint64_t element[2] = {(uint64_t)it->self << 32 | i, ~((uint64_t)it->self << 32 | i)};
        if (kl_random_below(&random, 2) == 0) {
            atomic_fetch_add(&it->sums[0], 1);
            if (kl_stack_push(&stack, element) != KL_OK) atomic_fetch_sub(&it->sums[0], 1);
        } else if (kl_stack_pop(&stack, element) == KL_OK) {
            KL_CHECK_EQ(element[0], ~element[1]);
            atomic_fetch_add(&it->sums[1], 1);
        }
    }
    return 0;
}

/* Lost at most what was in flight: pushed counts one too many at most per death, popped one too few. */
KL_TEST(S1_kl_stack_is_whole_after_every_random_kill_under_load) {
    uint64_t bytes = kl_stack_memory_bytes(7, 16);
    uint8_t *memory =
        mmap(NULL, bytes + 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    KL_CHECK(memory != MAP_FAILED);
    KL_CHECK_EQ(kl_stack_format(memory, 7, 16), KL_OK);
    _Atomic uint64_t *sums = (_Atomic uint64_t *)(void *)(memory + bytes);
    kl_stack stack = grip(memory, 0);
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    uint32_t kills = getenv("KEELSON_LONG") ? 1000 : 50, deaths = 0;
    user users[3];
    int pids[3] = {0, 0, 0};
    for (uint32_t round = 0; round < kills + 3; round++) {
        uint32_t at = round % 3;
        if (pids[at] != 0) {
            uint64_t before = atomic_load(&sums[0]) + atomic_load(&sums[1]);
            while (atomic_load(&sums[0]) + atomic_load(&sums[1]) == before)
                sched_yield(); /* the others go on, or the death of the last one blocked them */
            for (uint64_t spin = kl_random_below(&random, 20000); spin > 0; spin--) kl_cpu_pause();
            kill(pids[at], SIGKILL);
            KL_CHECK_EQ(kl_test_join(pids[at]), 128 + SIGKILL);
            deaths++;
            if (round % 2 == 0)
                KL_CHECK_LE(kl_stack_recover(&stack, users[at].self, NULL, NULL), 2);
            pids[at] = 0;
        }
        if (round >= kills) continue;
        /* Half of the dead are left to the next one in their slot. */
        users[at] = (user){memory, kl_participant_id(round + 1, at), sums};
        pids[at] = kl_test_fork(use_for_ever, &users[at]);
    }
    /* All, for a successor may have been killed before it came to tidy its slot. */
    for (uint32_t round = 0; round < kills; round++)
        kl_stack_recover(&stack, kl_participant_id(round + 1, round % 3), NULL, NULL);
    KL_CHECK_EQ(kl_stack_verify(&stack), KL_OK);
    int32_t size = kl_stack_size(&stack);
    KL_CHECK_EQ(kl_index_pool_held(&stack.pool, 0), (uint32_t)size);
    int64_t difference = (int64_t)(atomic_load(&sums[0]) - atomic_load(&sums[1])) - size;
    KL_CHECK_LE(0, difference);
    KL_CHECK_LE(difference, deaths);
    munmap(memory, bytes + 4096);
}

/* ---- hostile memory ---- */

static bool nobody(void *context, uint32_t participant) {
    (void)context;
    return participant % 3 == 0;
}

KL_TEST(kl_stack_survives_random_bytes_all_over_it) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    uint64_t bytes = kl_stack_memory_bytes(20, 12);
    uint8_t *memory = aligned_alloc(KL_LINE_BYTES, bytes);
    for (uint32_t round = 0; round < (kl_test_slow() ? 100u : 400u); round++) {
        memset(memory, 0, bytes);
        KL_CHECK_EQ(kl_stack_format(memory, 20, 12), KL_OK);
        kl_stack stack = grip(memory, id_of(2)), other;
        uint32_t element[3] = {1, 2, 3};
        for (uint32_t i = 0; i < 9; i++) KL_CHECK_EQ(kl_stack_push(&stack, element), KL_OK);
        uint64_t density = round % 3 == 0 ? 1 : 20;
        for (uint64_t i = 0; i < bytes; i++)
            if (kl_random_below(&random, density) == 0) memory[i] = (uint8_t)kl_random_u64(&random);
        for (uint32_t i = 0; i < 60; i++) {
            int32_t status = kl_random_below(&random, 2) ? kl_stack_push(&stack, element)
                                                         : kl_stack_pop(&stack, element);
            KL_CHECK(status == KL_OK || status == KL_ERR_AGAIN || status == KL_ERR_CORRUPT);
        }
        kl_stack_size(&stack);
        kl_stack_verify(&stack);
        kl_stack_recover(&stack, 0, nobody, NULL);
        kl_stack_leave(&stack);
        for (uint64_t cut = 0; cut < bytes; cut += 977)
            KL_CHECK_LT(kl_stack_grip(&other, memory, cut), 0);
        if (kl_stack_grip(&other, memory, bytes) == KL_OK) kl_stack_join(&other, id_of(7));
    }
    free(memory);
}
