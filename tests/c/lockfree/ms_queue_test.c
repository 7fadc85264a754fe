#include "lockfree/ms_queue.h"

#include "base/random.h"
#include "tests/c/harness.h"
#include "tests/c/lockfree/history.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* In memory of exactly its size, so that a sanitizer sees one byte too far. */
static void *new_memory(uint32_t capacity, uint32_t element_bytes) {
    uint64_t bytes = kl_ms_queue_memory_bytes(capacity, element_bytes);
    void *memory = aligned_alloc(KL_LINE_BYTES, bytes);
    memset(memory, 0, bytes);
    KL_CHECK_EQ(kl_ms_queue_format(memory, capacity, element_bytes), KL_OK);
    return memory;
}

static kl_ms_queue grip(void *memory, uint32_t self) {
    const kl_ms_queue_header *header = memory;
    kl_ms_queue queue;
    KL_CHECK_EQ(kl_ms_queue_grip(&queue, memory,
                                 kl_ms_queue_memory_bytes(header->capacity, header->element_bytes)),
                KL_OK);
    if (self != 0) KL_CHECK_EQ(kl_ms_queue_join(&queue, self), KL_OK);
    return queue;
}

/* An id of participant `slot`. */
static uint32_t id_of(uint32_t slot) {
    return kl_participant_id(1 + slot, slot);
}

KL_TEST(kl_ms_queue_format_refuses_what_is_out_of_range) {
    KL_CHECK_EQ(kl_ms_queue_memory_bytes(0, 8), 0);
    KL_CHECK_EQ(kl_ms_queue_memory_bytes(8, 0), 0);
    KL_CHECK_EQ(kl_ms_queue_memory_bytes(KL_MS_QUEUE_CAPACITY_MAX + 1, 8), 0);
    KL_CHECK_EQ(kl_ms_queue_memory_bytes(8, KL_MS_QUEUE_ELEMENT_MAX + 1), 0);
    KL_CHECK_EQ(kl_ms_queue_format(NULL, 0, 8), KL_ERR_ARGUMENT);
    void *memory = new_memory(1, 1);
    kl_ms_queue queue = grip(memory, 0);
    KL_CHECK_EQ(kl_ms_queue_join(&queue, 0), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_ms_queue_join(&queue, 64), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_ms_queue_join(&queue, UINT32_MAX), KL_ERR_ARGUMENT);
    free(memory);
}

KL_TEST(Q1_kl_ms_queue_is_first_in_first_out_and_full_and_empty_are_exact) {
    void *memory = new_memory(5, 8);
    kl_ms_queue queue = grip(memory, id_of(3));
    uint64_t value = 7;
    for (uint32_t round = 0; round < 4; round++) {
        KL_CHECK_EQ(kl_ms_queue_pop(&queue, &value), KL_ERR_AGAIN);
        for (uint64_t i = 0; i < 5; i++) { /* 0 and the largest are values like others */
            KL_CHECK_EQ(kl_ms_queue_size(&queue), i);
            KL_CHECK_EQ(kl_ms_queue_push(&queue, &(uint64_t){i == 3 ? UINT64_MAX : i}), KL_OK);
        }
        KL_CHECK_EQ(kl_ms_queue_push(&queue, &value), KL_ERR_AGAIN);
        KL_CHECK_EQ(kl_ms_queue_verify(&queue), KL_OK);
        for (uint64_t i = 0; i < 5; i++) {
            KL_CHECK_EQ(kl_ms_queue_pop(&queue, &value), KL_OK);
            KL_CHECK_EQ(value, i == 3 ? UINT64_MAX : i);
        }
        KL_CHECK_EQ(kl_ms_queue_size(&queue), 0);
    }
    free(memory);
}

/* Where positions and tags wrap, too: as long as it never stands still for 2^32 of them. */
static void compare_with_model(uint32_t element_bytes, uint32_t position) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    kl_ms_queue_header *header = new_memory(50, element_bytes);
    header->head = header->tail = kl_tagged(position, 0, 1);
    kl_ms_queue queues[3] = {grip(header, id_of(0)), grip(header, id_of(1)),
                             grip(header, id_of(63))};
    *(uint64_t *)kl_index_pool_payload(&queues[0].pool, 0) = kl_tagged(UINT32_MAX - 3, 0, 0);
    uint8_t model[50][24], element[24];
    uint32_t first = 0, count = 0;
    for (uint32_t i = 0; i < (kl_test_slow() ? 3000u : 20000u); i++) {
        kl_ms_queue *queue = &queues[kl_random_below(&random, 3)];
        uint64_t what = kl_random_below(&random, 100);
        if (what < 50) {
            for (uint32_t at = 0; at < 24; at++) element[at] = (uint8_t)kl_random_u64(&random);
            KL_CHECK_EQ(kl_ms_queue_push(queue, element), count < 50 ? KL_OK : KL_ERR_AGAIN);
            if (count < 50) memcpy(model[(first + count++) % 50], element, 24);
        } else if (what < 98) {
            KL_CHECK_EQ(kl_ms_queue_pop(queue, element), count > 0 ? KL_OK : KL_ERR_AGAIN);
            if (count == 0) continue;
            KL_CHECK_BYTES(element, model[first], element_bytes);
            first = (first + 1) % 50;
            count--;
        } else {
            KL_CHECK_EQ(kl_ms_queue_size(queue), count);
            KL_CHECK_EQ(kl_ms_queue_verify(queue), KL_OK);
        }
    }
    for (uint32_t i = 0; i < 3; i++) kl_ms_queue_leave(&queues[i]);
    KL_CHECK_EQ(kl_index_pool_held(&queues[0].pool, 0),
                count + 1); /* Q5: every node accounted for */
    free(header);
}

KL_TEST(Q1_Q4_Q5_kl_ms_queue_behaves_like_a_dull_one) {
    for (uint32_t bytes = 1; bytes <= 24; bytes += bytes < 9 ? 4 : 15) compare_with_model(bytes, 0);
}

KL_TEST(Q4_kl_ms_queue_behaves_like_a_dull_one_where_positions_and_tags_wrap) {
    compare_with_model(8, UINT32_MAX - 500);
    compare_with_model(8, INT32_MAX - 500);
}

/* ---- threads ---- */

typedef struct {
    void *memory;
    uint32_t count;          /* per pusher */
    uint32_t pushers;        /* the others pop */
    _Atomic uint32_t popped; /* by all */
    kl_history histories[8]; /* by thread */
} crowd;

static void push_all(crowd *it, uint32_t thread) {
    kl_ms_queue queue = grip(it->memory, id_of(thread));
    kl_history *history = &it->histories[thread];
    for (uint32_t i = 0; i < it->count; i++) {
        uint64_t value = (uint64_t)thread * it->count + i, start = kl_history_now();
        uint64_t element[3] = {value, ~value, value * 3};
        uint32_t full = 0;
        while (kl_ms_queue_push(&queue, element) != KL_OK) {
            if (full++ == 0) kl_history_add(history, KL_HISTORY_FULL, 0, start);
            sched_yield();
            start = kl_history_now();
        }
        kl_history_add(history, KL_HISTORY_PUSH, value, start);
    }
    kl_ms_queue_leave(&queue);
}

static void pop_all(crowd *it, uint32_t thread) {
    kl_ms_queue queue = grip(it->memory, id_of(thread));
    kl_history *history = &it->histories[thread];
    uint64_t element[3], last[8] = {0};
    uint32_t empty = 0;
    while (atomic_load(&it->popped) < it->count * it->pushers) {
        uint64_t start = kl_history_now();
        if (kl_ms_queue_pop(&queue, element) != KL_OK) {
            if (empty++ == 0) kl_history_add(history, KL_HISTORY_EMPTY, 0, start);
            sched_yield();
            continue;
        }
        empty = 0;
        kl_history_add(history, KL_HISTORY_POP, element[0], start);
        KL_CHECK_EQ(element[0], ~element[1]);
        KL_CHECK_EQ(element[2], element[0] * 3);
        uint64_t pusher = element[0] / it->count;
        KL_CHECK_LT(pusher, it->pushers);
        KL_CHECK_LE(last[pusher], element[0]); /* Q3: in the order of each pusher */
        last[pusher] = element[0] + 1;
        atomic_fetch_add(&it->popped, 1);
    }
    kl_ms_queue_leave(&queue);
}

static void push_or_pop(void *argument, uint32_t thread) {
    crowd *it = argument;
    if (thread < it->pushers)
        push_all(it, thread);
    else
        pop_all(it, thread);
}

static void run_crowd(uint32_t pushers, uint32_t poppers, uint32_t capacity, uint32_t count) {
    crowd it = {.memory = new_memory(capacity, 24), .count = count, .pushers = pushers};
    kl_ms_queue_header *header = it.memory;
    header->head = header->tail = kl_tagged(UINT32_MAX - count / 2, 0, 1); /* wraps on the way */
    uint32_t threads = pushers + poppers;
    for (uint32_t i = 0; i < threads; i++)
        kl_history_init(&it.histories[i], i, 3ull * count * pushers + 10);
    kl_test_threads(threads, push_or_pop, &it);
    const char *wrong = kl_history_check_fifo(it.histories, threads, capacity);
    if (wrong) kl_test_fail(__FILE__, __LINE__, "%s", wrong);
    kl_ms_queue queue = grip(it.memory, 0);
    KL_CHECK_EQ(kl_ms_queue_size(&queue), 0);
    KL_CHECK_EQ(kl_ms_queue_verify(&queue), KL_OK);
    KL_CHECK_EQ(kl_index_pool_held(&queue.pool, 0), 1); /* Q5 */
    for (uint32_t i = 0; i < threads; i++) kl_history_free(&it.histories[i]);
    free(it.memory);
}

KL_TEST(Q2_Q3_Q4_Q5_kl_ms_queue_histories_are_linearizable_and_nothing_is_lost_or_doubled) {
    uint32_t count = kl_test_slow() ? 2000 : getenv("KEELSON_LONG") ? 1000000 : 40000;
    run_crowd(1, 1, 100, count);
    run_crowd(2, 1, 10, count / 2);
    run_crowd(1, 2, 10, count / 2);
    run_crowd(2, 2, 1, count / 4);
    run_crowd(4, 4, 3, count / 8);
}

/* ---- deaths ---- */

static bool alive_but_3(void *context, uint32_t participant) {
    (void)context;
    return participant != id_of(3);
}

KL_TEST(kl_ms_queue_recover_gives_back_what_the_dead_kept_and_its_slot_can_be_taken_over) {
    void *memory = new_memory(3, 4);
    kl_ms_queue dead = grip(memory, id_of(3)), living = grip(memory, id_of(4));
    uint32_t value = 5;
    KL_CHECK_EQ(kl_ms_queue_push(&dead, &value), KL_OK); /* stays: it was pushed */
    KL_CHECK_EQ(kl_ms_queue_push(&living, &value), KL_OK);
    KL_CHECK_EQ(kl_ms_queue_pop(&dead, &value), KL_OK); /* keeps a node */
    KL_CHECK_EQ(kl_ms_queue_recover(&living, 0, alive_but_3, NULL), 1);
    KL_CHECK_EQ(kl_ms_queue_recover(&living, 0, alive_but_3, NULL), 0);
    KL_CHECK_EQ(kl_ms_queue_size(&living), 1);
    KL_CHECK_EQ(kl_ms_queue_verify(&living), KL_OK);
    /* The next one in a slot settles by itself. */
    kl_ms_queue next = grip(memory, id_of(3));
    KL_CHECK_EQ(kl_ms_queue_pop(&next, &value), KL_OK);
    KL_CHECK_EQ(kl_ms_queue_push(&living, &value), KL_OK);
    kl_ms_queue heir = grip(memory, kl_participant_id(9, 3));
    KL_CHECK_EQ(kl_index_pool_held(&heir.pool, id_of(3)), 0);
    KL_CHECK_EQ(kl_ms_queue_verify(&heir), KL_OK);
    KL_CHECK_EQ(kl_ms_queue_push(&heir, &value), KL_OK);
    KL_CHECK_EQ(kl_ms_queue_push(&living, &value), KL_OK);
    KL_CHECK_EQ(kl_ms_queue_push(&living, &value), KL_ERR_AGAIN);
    free(memory);
}

/* A swing by the dead itself of the tail that shows its own earlier push must leave a witness. */
KL_TEST(kl_ms_queue_recover_frees_no_node_that_its_dead_pusher_swung_past_for_another) {
    kl_ms_queue_header *header = new_memory(4, 4);
    kl_ms_queue dead = grip(header, id_of(3)), living = grip(header, id_of(4));
    uint32_t value = 3, out;
    KL_CHECK_EQ(kl_ms_queue_push(&dead, &value), KL_OK);
    uint64_t tail = header->tail;
    value = 4;
    KL_CHECK_EQ(kl_ms_queue_push(&living, &value), KL_OK);
    header->tail = tail; /* as if the second had died before it noted and swung */
    *kl_hand_seen(&living.hands, living.hands.slot, 1, dead.hands.slot) = 0;
    kl_ms_queue full = dead; /* finds it, swings, and dies before it notes a step of its own */
    full.capacity = 2;
    KL_CHECK_EQ(kl_ms_queue_push(&full, &value), KL_ERR_AGAIN);
    KL_CHECK_NE(header->tail, tail);
    kl_ms_queue_recover(&living, id_of(3), NULL, NULL);
    KL_CHECK_EQ(kl_ms_queue_verify(&living), KL_OK);
    KL_CHECK_EQ(kl_ms_queue_pop(&living, &out), KL_OK);
    KL_CHECK_EQ(out, 3);
    KL_CHECK_EQ(kl_ms_queue_pop(&living, &out), KL_OK);
    KL_CHECK_EQ(out, 4);
    free(header);
}

typedef struct {
    void *memory;
    uint32_t self;
    _Atomic uint64_t *sums; /* [0] pushed, [1] popped: by the child, before push and after pop */
} user;

static int use_for_ever(void *argument) {
    user *it = argument;
    kl_ms_queue queue = grip(it->memory, it->self);
    kl_random random;
    kl_random_init(&random, it->self);
    for (uint64_t i = 0; it->self != 0; i++) { /* until killed */
        uint64_t element[2] = {(uint64_t)it->self << 32 | i, ~((uint64_t)it->self << 32 | i)};
        if (kl_random_below(&random, 2) == 0) {
            atomic_fetch_add(&it->sums[0], 1);
            if (kl_ms_queue_push(&queue, element) != KL_OK) atomic_fetch_sub(&it->sums[0], 1);
        } else if (kl_ms_queue_pop(&queue, element) == KL_OK) {
            KL_CHECK_EQ(element[0], ~element[1]);
            atomic_fetch_add(&it->sums[1], 1);
        }
    }
    return 0;
}

/* Lost at most what was in flight: pushed counts one too many at most per death, popped one too few. */
KL_TEST(Q2_kl_ms_queue_is_whole_after_every_random_kill_under_load) {
    uint64_t bytes = kl_ms_queue_memory_bytes(7, 16);
    uint8_t *memory =
        mmap(NULL, bytes + 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    KL_CHECK(memory != MAP_FAILED);
    KL_CHECK_EQ(kl_ms_queue_format(memory, 7, 16), KL_OK);
    _Atomic uint64_t *sums = (_Atomic uint64_t *)(void *)(memory + bytes);
    kl_ms_queue queue = grip(memory, 0);
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
                KL_CHECK_LE(kl_ms_queue_recover(&queue, users[at].self, NULL, NULL), 2);
            pids[at] = 0;
        }
        if (round >= kills) continue;
        /* Half of the dead are left to the next one in their slot. */
        users[at] = (user){memory, kl_participant_id(round + 1, at), sums};
        pids[at] = kl_test_fork(use_for_ever, &users[at]);
    }
    /* All, for a successor may have been killed before it came to tidy its slot. */
    for (uint32_t round = 0; round < kills; round++)
        kl_ms_queue_recover(&queue, kl_participant_id(round + 1, round % 3), NULL, NULL);
    KL_CHECK_EQ(kl_ms_queue_verify(&queue), KL_OK);
    int32_t size = kl_ms_queue_size(&queue);
    KL_CHECK_EQ(kl_index_pool_held(&queue.pool, 0), (uint32_t)size + 1);
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

KL_TEST(kl_ms_queue_survives_random_bytes_all_over_it) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    uint64_t bytes = kl_ms_queue_memory_bytes(20, 12);
    uint8_t *memory = aligned_alloc(KL_LINE_BYTES, bytes);
    for (uint32_t round = 0; round < (kl_test_slow() ? 100u : 400u); round++) {
        memset(memory, 0, bytes);
        KL_CHECK_EQ(kl_ms_queue_format(memory, 20, 12), KL_OK);
        kl_ms_queue queue = grip(memory, id_of(2)), other;
        uint32_t element[3] = {1, 2, 3};
        for (uint32_t i = 0; i < 9; i++) KL_CHECK_EQ(kl_ms_queue_push(&queue, element), KL_OK);
        uint64_t density = round % 3 == 0 ? 1 : 20;
        for (uint64_t i = 0; i < bytes; i++)
            if (kl_random_below(&random, density) == 0) memory[i] = (uint8_t)kl_random_u64(&random);
        for (uint32_t i = 0; i < 60; i++) {
            int32_t status = kl_random_below(&random, 2) ? kl_ms_queue_push(&queue, element)
                                                         : kl_ms_queue_pop(&queue, element);
            KL_CHECK(status == KL_OK || status == KL_ERR_AGAIN || status == KL_ERR_CORRUPT);
        }
        kl_ms_queue_size(&queue);
        kl_ms_queue_verify(&queue);
        kl_ms_queue_recover(&queue, 0, nobody, NULL);
        kl_ms_queue_leave(&queue);
        for (uint64_t cut = 0; cut < bytes; cut += 977)
            KL_CHECK_LT(kl_ms_queue_grip(&other, memory, cut), 0);
        if (kl_ms_queue_grip(&other, memory, bytes) == KL_OK) kl_ms_queue_join(&other, id_of(7));
    }
    free(memory);
}
