#include "lockfree/mpmc_queue.h"

#include "base/random.h"
#include "tests/c/harness.h"
#include "tests/c/lockfree/history.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ME    0x101u
#define OTHER 0x102u
#define DEAD  0x103u

/* A queue in memory of exactly its size, so that a sanitizer sees one byte too far. */
static kl_mpmc_queue_header *new_memory(uint32_t capacity, uint32_t element_bytes, uint32_t mode) {
    kl_mpmc_queue_geometry geometry = {capacity, element_bytes, mode};
    uint64_t bytes = kl_mpmc_queue_memory_bytes(&geometry);
    KL_CHECK_LT(0, bytes);
    void *memory = NULL;
    KL_CHECK_EQ(posix_memalign(&memory, KL_LINE_BYTES, bytes), 0);
    kl_mpmc_queue_header *header = memory;
    memset(header, 0x5a, bytes);
    KL_CHECK_EQ(kl_mpmc_queue_format(header, &geometry), KL_OK);
    return header;
}

static kl_mpmc_queue grip(void *memory) {
    kl_mpmc_queue queue;
    kl_mpmc_queue_header *header = memory;
    uint64_t bytes = KL_MPMC_QUEUE_HEADER_BYTES + (uint64_t)header->capacity * header->slot_bytes;
    KL_CHECK_EQ(kl_mpmc_queue_grip(&queue, memory, bytes), KL_OK);
    return queue;
}

static _Atomic uint64_t *slot(kl_mpmc_queue *queue, uint64_t index) {
    return (_Atomic uint64_t *)(void *)(queue->slots + index * queue->slot_bytes);
}

static int32_t push(kl_mpmc_queue *queue, uint64_t value) {
    return kl_mpmc_queue_push_mp(queue, ME, &value, NULL);
}

/* The value, or the status. */
static int64_t pop(kl_mpmc_queue *queue) {
    uint64_t value;
    int32_t status = kl_mpmc_queue_pop_mc(queue, ME, &value, NULL);
    return status == KL_OK ? (int64_t)value : status;
}

KL_TEST(kl_mpmc_queue_format_refuses_geometries_out_of_range) {
    kl_mpmc_queue_geometry refused[] = {{0, 8, 0},   {1, 8, 0}, {3, 8, 0}, {1u << 25, 8, 0},
                                        {4, 249, 0}, {4, 0, 0}, {4, 8, 4}};
    for (uint32_t i = 0; i < 7; i++) {
        KL_CHECK_EQ(kl_mpmc_queue_memory_bytes(&refused[i]), 0);
        KL_CHECK_EQ(kl_mpmc_queue_format(NULL, &refused[i]), KL_ERR_ARGUMENT);
    }
    void *memory = new_memory(2, 248, 0);
    kl_mpmc_queue queue = grip(memory);
    KL_CHECK_EQ(queue.slot_bytes, 256);
    KL_CHECK_EQ(kl_mpmc_queue_recover(&queue, 0), KL_ERR_ARGUMENT);
    free(memory);
}

KL_TEST(kl_mpmc_queue_Q1_keeps_order_and_tells_full_and_empty_from_every_value) {
    void *memory = new_memory(4, 8, 0);
    kl_mpmc_queue queue = grip(memory);
    int64_t values[] = {0, INT64_MAX, 1, INT64_MIN};
    KL_CHECK_EQ(pop(&queue), KL_ERR_AGAIN);
    for (uint32_t round = 0; round < 5; round++) {
        for (uint32_t i = 0; i < 4; i++) KL_CHECK_EQ(push(&queue, (uint64_t)values[i]), KL_OK);
        KL_CHECK_EQ(push(&queue, 9), KL_ERR_AGAIN);
        KL_CHECK_EQ(kl_mpmc_queue_size(&queue), 4);
        KL_CHECK_EQ(kl_mpmc_queue_verify(&queue), KL_OK);
        for (uint32_t i = 0; i < 4; i++) KL_CHECK_EQ(pop(&queue), values[i]);
        KL_CHECK_EQ(pop(&queue), KL_ERR_AGAIN);
        KL_CHECK_EQ(kl_mpmc_queue_size(&queue), 0);
    }
    free(memory);
}

/* ---- against a dull queue ---- */

static void preset(kl_mpmc_queue *queue, uint64_t start) {
    queue->header->tail = queue->header->head = start;
    for (uint64_t i = 0; i <= queue->mask; i++) {
        uint64_t position = start + ((i - start) & queue->mask);
        position &= (1ull << 48) - 1;
        *slot(queue, i) = (position >> queue->shift & queue->round_mask) << 33;
    }
    KL_CHECK_EQ(kl_mpmc_queue_verify(queue), KL_OK);
}

static void fill(uint8_t *element, uint64_t number, uint32_t bytes) {
    for (uint32_t i = 0; i < bytes; i++) element[i] = (uint8_t)(number * 7 + i);
}

static void compare_with_model(uint32_t capacity, uint32_t element_bytes, uint64_t start) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    void *memory = new_memory(capacity, element_bytes, 0);
    kl_mpmc_queue queue = grip(memory);
    preset(&queue, start);
    uint64_t in = 0, out = 0;
    static uint8_t many[100 * 248], wanted[248];
    for (uint32_t i = 0; i < (kl_test_slow() ? 1000u : 10000u); i++) {
        uint32_t count = 1 + (uint32_t)kl_random_below(&random, 100);
        bool single = kl_random_below(&random, 2) == 0;
        if (kl_random_below(&random, 2) == 0) {
            for (uint32_t at = 0; at < count; at++)
                fill(many + (size_t)at * element_bytes, in + at, element_bytes);
            uint64_t room = capacity - (in - out);
            int32_t done = single ? kl_mpmc_queue_push_mp(&queue, ME, many, NULL)
                                  : kl_mpmc_queue_push_batch_mp(&queue, ME, many, count, NULL);
            KL_CHECK_EQ(done, room == 0      ? KL_ERR_AGAIN
                              : single       ? KL_OK
                              : count < room ? (int64_t)count
                                             : (int64_t)room);
            in += done < 0 ? 0 : single ? 1 : (uint64_t)done;
        } else {
            uint64_t there = in - out;
            int32_t done = single ? kl_mpmc_queue_pop_mc(&queue, ME, many, NULL)
                                  : kl_mpmc_queue_pop_batch_mc(&queue, ME, many, count, NULL);
            KL_CHECK_EQ(done, there == 0      ? KL_ERR_AGAIN
                              : single        ? KL_OK
                              : count < there ? (int64_t)count
                                              : (int64_t)there);
            uint64_t popped = done < 0 ? 0 : single ? 1 : (uint64_t)done;
            for (uint64_t at = 0; at < popped; at++, out++) {
                fill(wanted, out, element_bytes);
                KL_CHECK_BYTES(many + at * element_bytes, wanted, element_bytes);
            }
        }
        KL_CHECK_EQ(kl_mpmc_queue_size(&queue), in - out);
        if (i % 16 == 0) KL_CHECK_EQ(kl_mpmc_queue_verify(&queue), KL_OK);
    }
    free(memory);
}

KL_TEST(kl_mpmc_queue_behaves_like_a_dull_queue) {
    uint32_t sizes[] = {1, 8, 13, 64, 248};
    for (uint32_t i = 0; i < 5; i++) compare_with_model(2u << (2 * i), sizes[i], 0);
}

KL_TEST(kl_mpmc_queue_Q4_positions_and_rounds_wrap) {
    compare_with_model(4, 8, (1ull << 32) - 64);  /* 2^30 rounds and positions of 32 bits */
    compare_with_model(4, 8, (1ull << 33) - 64);  /* rounds of 31 bits */
    compare_with_model(64, 8, (1ull << 48) - 64); /* positions of 48 */
    compare_with_model(1u << 12, 8, (1ull << 48) - 64);
}

/* ---- threads ---- */

#define THREADS_MAX 8
typedef struct {
    void *memory;
    uint32_t producers, consumers, batch;
    uint64_t each;
    bool timed;
    kl_history histories[THREADS_MAX];
    _Atomic uint64_t popped;
    _Atomic uint8_t *seen;
} crowd;

static void produce(crowd *it, uint32_t index) {
    kl_mpmc_queue queue = grip(it->memory);
    uint64_t values[64];
    for (uint64_t number = 0, tries = 0; number < it->each;) {
        uint32_t count = 0;
        while (count < it->batch && number + count < it->each) {
            values[count] = (uint64_t)index << 32 | (number + count);
            count++;
        }
        uint64_t start = it->timed ? kl_history_now() : 0;
        int32_t done = it->batch == 1
                           ? kl_mpmc_queue_push_mp(&queue, ME + index, values, NULL)
                           : kl_mpmc_queue_push_batch_mp(&queue, ME + index, values, count, NULL);
        if (it->batch == 1 && done == KL_OK) done = 1;
        if (done > 0) {
            if (it->timed) kl_history_add(&it->histories[index], KL_HISTORY_PUSH, values[0], start);
            number += (uint64_t)done;
            continue;
        }
        KL_CHECK(done == KL_ERR_AGAIN || done == KL_ERR_LOCKED);
        if (it->timed && done == KL_ERR_AGAIN && tries % 16 == 0)
            kl_history_add(&it->histories[index], KL_HISTORY_FULL, 0, start);
        if (++tries % 32 == 0) sched_yield();
    }
}

static void consume(crowd *it, uint32_t index) {
    kl_mpmc_queue queue = grip(it->memory);
    uint64_t values[64], all = it->each * it->producers, tries = 0;
    uint64_t next[THREADS_MAX] = {0};
    while (atomic_load(&it->popped) < all) {
        uint64_t start = it->timed ? kl_history_now() : 0;
        int32_t done = it->batch == 1 ? kl_mpmc_queue_pop_mc(&queue, ME + index, values, NULL)
                                      : kl_mpmc_queue_pop_batch_mc(&queue, ME + index, values,
                                                                   it->batch, NULL);
        if (it->batch == 1 && done == KL_OK) done = 1;
        for (int32_t i = 0; i < done; i++) {
            uint64_t from = values[i] >> 32, number = values[i] & UINT32_MAX;
            KL_CHECK(from < it->producers && number < it->each && number >= next[from]);
            next[from] = number + 1; /* Q3: of each producer in its order */
            KL_CHECK_EQ(atomic_fetch_add(&it->seen[from * it->each + number], 1), 0);
        }
        if (done > 0) {
            if (it->timed) kl_history_add(&it->histories[index], KL_HISTORY_POP, values[0], start);
            atomic_fetch_add(&it->popped, (uint64_t)done);
            continue;
        }
        KL_CHECK(done == KL_ERR_AGAIN || done == KL_ERR_LOCKED);
        if (it->timed && done == KL_ERR_AGAIN && tries % 16 == 0)
            kl_history_add(&it->histories[index], KL_HISTORY_EMPTY, 0, start);
        if (++tries % 32 == 0) sched_yield();
    }
}

static void join_crowd(void *argument, uint32_t index) {
    crowd *it = argument;
    if (index < it->producers)
        produce(it, index);
    else
        consume(it, index);
}

static void run_crowd(crowd it, uint32_t capacity) {
    it.memory = new_memory(capacity, 8, 0);
    it.seen = calloc(it.each * it.producers, 1);
    uint32_t threads = it.producers + it.consumers;
    if (it.timed)
        for (uint32_t i = 0; i < threads; i++) kl_history_init(&it.histories[i], i, it.each * 80);
    kl_test_threads(threads, join_crowd, &it);
    kl_mpmc_queue queue = grip(it.memory);
    KL_CHECK_EQ(pop(&queue), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_mpmc_queue_size(&queue), 0);
    KL_CHECK_EQ(kl_mpmc_queue_verify(&queue), KL_OK);
    for (uint64_t i = 0; i < it.each * it.producers; i++) KL_CHECK_EQ(it.seen[i], 1);
    if (it.timed) {
        const char *wrong = kl_history_check_fifo(it.histories, threads, capacity);
        if (wrong) kl_test_fail(__FILE__, __LINE__, "%s", wrong);
        for (uint32_t i = 0; i < threads; i++) kl_history_free(&it.histories[i]);
    }
    free((void *)it.seen);
    free(it.memory);
}

KL_TEST(kl_mpmc_queue_Q2_Q3_1x1_2x1_1x2_2x2_4x4_lose_repeat_and_invent_nothing) {
    uint32_t shapes[][2] = {{1, 1}, {2, 1}, {1, 2}, {2, 2}, {4, 4}};
    for (uint32_t i = 0; i < 5; i++)
        for (uint32_t batch = 1; batch <= 17; batch += 16)
            run_crowd((crowd){.producers = shapes[i][0],
                              .consumers = shapes[i][1],
                              .batch = batch,
                              .each = kl_test_slow() ? 4000 : 40000},
                      i % 2 ? 2 : 64);
}

KL_TEST(kl_mpmc_queue_Q3_histories_of_a_million_operations_are_linearizable) {
    uint32_t shapes[][2] = {{2, 2}, {4, 4}};
    for (uint32_t i = 0; i < 2; i++)
        run_crowd((crowd){.producers = shapes[i][0],
                          .consumers = shapes[i][1],
                          .batch = 1,
                          .timed = true,
                          .each = (kl_test_slow() ? 10000u : 260000u) / shapes[i][0]},
                  i ? 4 : 64);
}

/* ---- death, acted: a word as one who died left it ---- */

static void leave(kl_mpmc_queue *queue, uint64_t index, uint64_t state) {
    uint64_t word = *slot(queue, index);
    *slot(queue, index) = (word & ~((1ull << 33) - 1)) | (uint64_t)DEAD << 2 | state;
}

KL_TEST(kl_mpmc_queue_recover_makes_nothing_of_a_dead_claim) {
    void *memory = new_memory(4, 8, 0);
    kl_mpmc_queue queue = grip(memory);
    uint32_t blocker = 0;
    uint64_t value = 5;
    leave(&queue, 0, 1); /* claimed; tail did not move */
    for (uint64_t i = 1; i < 4; i++) KL_CHECK_EQ(push(&queue, i), KL_OK);
    KL_CHECK_EQ(kl_mpmc_queue_push_mp(&queue, ME, &value, &blocker), KL_ERR_LOCKED);
    KL_CHECK_EQ(blocker, DEAD);
    KL_CHECK_EQ(kl_mpmc_queue_pop_mc(&queue, ME, &value, &blocker), KL_ERR_LOCKED);
    KL_CHECK_EQ(blocker, DEAD);
    KL_CHECK_EQ(kl_mpmc_queue_recover(&queue, OTHER), 0);
    KL_CHECK_EQ(pop(&queue), KL_ERR_LOCKED);
    KL_CHECK_EQ(kl_mpmc_queue_recover(&queue, DEAD), 1);
    KL_CHECK_EQ(kl_mpmc_queue_recover(&queue, DEAD), 0);
    KL_CHECK_EQ(kl_mpmc_queue_size(&queue), 3);
    KL_CHECK_EQ(push(&queue, 4), KL_OK); /* into the place of what is not there */
    for (int64_t i = 1; i < 5; i++) KL_CHECK_EQ(pop(&queue), i);
    KL_CHECK_EQ(pop(&queue), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_mpmc_queue_verify(&queue), KL_OK);
    free(memory);
}

KL_TEST(kl_mpmc_queue_recover_returns_what_a_dead_consumer_held_or_drops_it) {
    for (uint32_t mode = 0; mode < 2; mode++)
        for (uint32_t taken = 0; taken < 4; taken++) { /* before which of four pops it took its */
            void *memory = new_memory(8, 8, mode);
            kl_mpmc_queue queue = grip(memory);
            for (uint64_t i = 0; i < 6; i++) KL_CHECK_EQ(push(&queue, i), KL_OK);
            for (uint32_t i = 0; i < 4; i++) {
                if (i == taken) leave(&queue, i, 3);
                KL_CHECK_EQ(pop(&queue), i < taken ? i : i + 1);
            }
            KL_CHECK_EQ(kl_mpmc_queue_recover(&queue, DEAD), 1);
            KL_CHECK_EQ(kl_mpmc_queue_size(&queue), mode == KL_MPMC_QUEUE_RETURNS ? 2 : 1);
            if (mode == KL_MPMC_QUEUE_RETURNS) KL_CHECK_EQ(pop(&queue), taken);
            KL_CHECK_EQ(pop(&queue), 5);
            KL_CHECK_EQ(pop(&queue), KL_ERR_AGAIN);
            for (uint64_t i = 0; i < 8; i++) KL_CHECK_EQ(push(&queue, i), KL_OK);
            KL_CHECK_EQ(push(&queue, 8), KL_ERR_AGAIN);
            KL_CHECK_EQ(kl_mpmc_queue_verify(&queue), KL_OK);
            free(memory);
        }
}

KL_TEST(kl_mpmc_queue_recover_ends_what_a_recovery_that_died_had_begun) {
    void *memory = new_memory(8, 8, KL_MPMC_QUEUE_RETURNS);
    kl_mpmc_queue queue = grip(memory);
    for (uint64_t i = 0; i < 4; i++) KL_CHECK_EQ(push(&queue, i), KL_OK);
    leave(&queue, 0, 3);
    KL_CHECK_EQ(pop(&queue), 1);
    *slot(&queue, 0) = 2; /* a recovery returned it, and died before it moved head back */
    KL_CHECK_EQ(pop(&queue), 2);
    KL_CHECK_EQ(kl_mpmc_queue_recover(&queue, OTHER), 0);
    KL_CHECK_EQ(pop(&queue), 0);
    KL_CHECK_EQ(pop(&queue), 3);
    KL_CHECK_EQ(pop(&queue), KL_ERR_AGAIN);
    free(memory);
}

/* ---- processes, killed ---- */

#define CHILDREN 4
#define NUMBERS  (1u << 20)
typedef struct {
    _Atomic uint32_t next;         /* taken before a push: a killed one leaves a gap */
    _Atomic uint32_t killed;       /* pushes and pops that may have been cut off */
    _Atomic uint8_t seen[NUMBERS]; /* times popped */
} notes;

static char path[512];
static kl_mpmc_queue_geometry killed_geometry = {16, 24, 0};

static kl_region *open_region(kl_mpmc_queue *queue) {
    kl_region *region = NULL;
    if (kl_region_attach(&region, path, NULL) != KL_OK) exit(3);
    if (kl_region_join(region, 0) < 0) exit(4);
    if (kl_mpmc_queue_grip(queue, kl_region_data(region), kl_region_data_bytes(region)) != KL_OK)
        exit(5);
    return region;
}

static notes *notes_of(kl_region *region) {
    return (notes *)(void *)(kl_region_data(region) + kl_mpmc_queue_memory_bytes(&killed_geometry));
}

/* After KL_ERR_LOCKED: looks whether it is one of the dead. */
static void unblock(kl_mpmc_queue *queue, kl_region *region, uint32_t blocker) {
    if (kl_region_alive(region, blocker))
        sched_yield();
    else
        kl_mpmc_queue_recover(queue, blocker);
}

static int work_until_killed(void *argument) {
    kl_mpmc_queue queue;
    kl_region *region = open_region(&queue);
    notes *it = notes_of(region);
    uint32_t self = kl_region_self(region), blocker;
    for (bool pushes = (uintptr_t)argument % 2 == 0;;) {
        uint32_t element[6];
        int32_t status;
        if (pushes) {
            uint32_t number = atomic_fetch_add(&it->next, 1) % NUMBERS;
            for (uint32_t i = 0; i < 6; i++) element[i] = number * (i + 1);
            while ((status = kl_mpmc_queue_push_mp(&queue, self, element, &blocker)) != KL_OK) {
                if (status == KL_ERR_LOCKED)
                    unblock(&queue, region, blocker);
                else if (status == KL_ERR_AGAIN)
                    sched_yield();
                else
                    return 2;
            }
        } else if ((status = kl_mpmc_queue_pop_mc(&queue, self, element, &blocker)) == KL_OK) {
            for (uint32_t i = 0; i < 6; i++)
                if (element[i] != element[0] * (i + 1)) return 6;
            atomic_fetch_add(&it->seen[element[0] % NUMBERS], 1);
        } else if (status == KL_ERR_LOCKED) {
            unblock(&queue, region, blocker);
        } else if (status == KL_ERR_AGAIN) {
            sched_yield();
        } else {
            return 2;
        }
    }
}

static void kill_in_turns(uint32_t mode) {
    kl_region *region = NULL;
    kl_region_spec spec = {.kind = 1};
    killed_geometry.mode = mode;
    snprintf(path, sizeof path, "%s/region-%u", kl_test_folder(), mode);
    uint64_t bytes = kl_mpmc_queue_memory_bytes(&killed_geometry) + sizeof(notes);
    KL_CHECK_EQ(kl_region_create(&region, path, bytes, &spec), KL_OK);
    KL_CHECK_EQ(kl_mpmc_queue_format(kl_region_data(region), &killed_geometry), KL_OK);
    KL_CHECK_EQ(kl_region_publish(region), KL_OK);
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    int children[CHILDREN];
    uint32_t kills = 0;
    for (uint32_t i = 0; i < CHILDREN; i++)
        children[i] = kl_test_fork(work_until_killed, (void *)(uintptr_t)i);
    notes *it = notes_of(region);
    for (; kills < (kl_test_slow() ? 8u : 40u) && it->next < NUMBERS - 100000; kills++) {
        usleep((useconds_t)kl_random_below(&random, 6000));
        uint64_t which = kl_random_below(&random, CHILDREN);
        kill(children[which], SIGKILL);
        KL_CHECK_EQ(kl_test_join(children[which]), 128 + SIGKILL);
        children[which] = kl_test_fork(work_until_killed, (void *)(uintptr_t)which);
    }
    uint32_t before = it->next; /* all still move */
    for (uint32_t i = 0; i < 5000 && it->next < before + 200; i++) usleep(1000);
    KL_CHECK_LE(before + 200, it->next);
    for (uint32_t i = 0; i < CHILDREN; i++) {
        kill(children[i], SIGKILL);
        KL_CHECK_EQ(kl_test_join(children[i]), 128 + SIGKILL);
    }
    kl_mpmc_queue queue;
    KL_CHECK_EQ(kl_mpmc_queue_grip(&queue, kl_region_data(region), kl_region_data_bytes(region)),
                0);
    for (uint64_t i = 0; i < 16; i++) /* everybody is dead */
        if ((*slot(&queue, i) >> 2 & 0x7fffffffu) > 1)
            kl_mpmc_queue_recover(&queue, (uint32_t)(*slot(&queue, i) >> 2 & 0x7fffffffu));
    uint32_t element[6];
    while (kl_mpmc_queue_pop_mc(&queue, ME, element, NULL) == KL_OK) it->seen[element[0]]++;
    KL_CHECK_EQ(kl_mpmc_queue_verify(&queue), KL_OK);
    uint32_t lost = 0, twice = 0;
    for (uint32_t i = 0; i < it->next; i++) {
        lost += it->seen[i] == 0;
        twice += it->seen[i] > 1;
    }
    /* Each kill cut off one call; a pop that was killed after its last step loses its note. */
    KL_CHECK_LE(lost, kills + CHILDREN);
    KL_CHECK_LE(twice, mode == KL_MPMC_QUEUE_RETURNS ? kills + CHILDREN : 0);
    kl_region_close(region);
}

KL_TEST(kl_mpmc_queue_killed_processes_lose_or_repeat_at_most_what_they_had_in_hand) {
    kill_in_turns(KL_MPMC_QUEUE_RETURNS);
    kill_in_turns(KL_MPMC_QUEUE_DROPS);
}

/* ---- hostile memory ---- */

static void scribble(kl_random *random, uint8_t *bytes, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) bytes[i] = (uint8_t)kl_random_u64(random);
}

static void use_scribbled(kl_mpmc_queue *queue, kl_random *random) {
    static uint8_t buffer[20 * 248];
    uint32_t count = (uint32_t)kl_random_below(random, 20);
    int32_t status = 0;
    switch (kl_random_below(random, 6)) {
    case 0: status = kl_mpmc_queue_push_mp(queue, ME, buffer, NULL); break;
    case 1: status = kl_mpmc_queue_pop_mc(queue, ME, buffer, NULL); break;
    case 2: status = kl_mpmc_queue_push_batch_mp(queue, ME, buffer, count, NULL); break;
    case 3: status = kl_mpmc_queue_pop_batch_mc(queue, ME, buffer, count, NULL); break;
    case 4: status = kl_mpmc_queue_recover(queue, DEAD); break;
    default:
        KL_CHECK_LE(kl_mpmc_queue_size(queue), queue->mask + 1);
        status = kl_mpmc_queue_verify(queue);
    }
    KL_CHECK(status >= 0 || status == KL_ERR_AGAIN || status == KL_ERR_CORRUPT ||
             status == KL_ERR_LOCKED);
}

KL_TEST(kl_mpmc_queue_answers_hostile_bytes_with_codes_only) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (uint32_t round = 0; round < (kl_test_slow() ? 300u : 2000u); round++) {
        uint32_t capacity = 2u << kl_random_below(&random, 6);
        kl_mpmc_queue_header *header =
            new_memory(capacity, 1 + (uint32_t)kl_random_below(&random, 248), round % 2);
        kl_mpmc_queue queue = grip(header);
        for (uint32_t i = 0; i < 60; i++) {
            uint64_t index = kl_random_below(&random, capacity);
            switch (kl_random_below(&random, 9)) {
            case 0: scribble(&random, queue.slots, (uint64_t)capacity * queue.slot_bytes); break;
            case 1: header->tail = kl_random_below(&random, 4 * capacity); break;
            case 2: header->head = kl_random_below(&random, 4 * capacity); break;
            case 3: scribble(&random, (uint8_t *)header, sizeof *header); break;
            case 4:
                *slot(&queue, index) = kl_random_below(&random, 4) << 33 |
                                       (kl_random_below(&random, 2) ? 0 : DEAD << 2) |
                                       kl_random_below(&random, 4);
                break;
            default: use_scribbled(&queue, &random);
            }
        }
        free(header);
    }
}

KL_TEST(kl_mpmc_queue_grip_refuses_foreign_and_damaged_memory) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    kl_mpmc_queue queue;
    kl_mpmc_queue_header *header = new_memory(16, 8, 0);
    uint64_t bytes = KL_MPMC_QUEUE_HEADER_BYTES + 16 * 16;
    KL_CHECK_EQ(kl_mpmc_queue_grip(&queue, header, KL_MPMC_QUEUE_HEADER_BYTES - 1), KL_ERR_CORRUPT);
    KL_CHECK_EQ(kl_mpmc_queue_grip(&queue, header, bytes - 1), KL_ERR_CORRUPT);
    header->slot_bytes = 32;
    KL_CHECK_EQ(kl_mpmc_queue_grip(&queue, header, bytes), KL_ERR_CORRUPT);
    header->slot_bytes = 16;
    header->version++;
    KL_CHECK_EQ(kl_mpmc_queue_grip(&queue, header, bytes), KL_ERR_VERSION);
    for (uint32_t i = 0; i < 1000; i++) {
        scribble(&random, (uint8_t *)header, KL_MPMC_QUEUE_HEADER_BYTES);
        KL_CHECK_EQ(kl_mpmc_queue_grip(&queue, header, bytes), KL_ERR_CORRUPT);
    }
    free(header);
}

/* ---- behind a handle ---- */

static const char *test_name(void) {
    static char name[64];
    snprintf(name, sizeof name, "test-mpmc-%d-%llx", getpid(),
             (unsigned long long)kl_test_now_ns());
    return name;
}

static uint32_t named(const char *name, uint32_t record_bytes_max) {
    uint32_t handle = 0;
    KL_CHECK_EQ(kl_mpmc_queue_create((const uint8_t *)name, (uint32_t)strlen(name), 8,
                                     record_bytes_max, 0, (uint8_t *)&handle),
                KL_OK);
    return handle;
}

static uint32_t attached(const char *name, int32_t expected) {
    uint32_t handle = 0, bytes = (uint32_t)strlen(name);
    KL_CHECK_EQ(kl_mpmc_queue_attach((const uint8_t *)name, bytes, (uint8_t *)&handle), expected);
    return handle;
}

static void removed(const char *name) {
    KL_CHECK_EQ(kl_mpmc_queue_remove((const uint8_t *)name, (uint32_t)strlen(name)), KL_OK);
}

KL_TEST(kl_mpmc_queue_handles_carry_records_and_batches_of_them) {
    const char *name = test_name();
    uint8_t out[128] = {0}; /* padding of batches is not written */
    attached(name, KL_ERR_NOT_FOUND);
    uint32_t queue = named(name, 20), other = attached(name, KL_OK);
    KL_CHECK_EQ(kl_mpmc_queue_create((const uint8_t *)"x", 1, 8, 247, 0, out), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_mpmc_queue_create((const uint8_t *)"x", 1, 7, 20, 0, out), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_mpmc_queue_record_bytes_max(other), 20);
    KL_CHECK_EQ(kl_mpmc_queue_capacity(other), 8);
    KL_CHECK_EQ(kl_mpmc_queue_push(queue, (const uint8_t *)"hello", 5), KL_OK);
    KL_CHECK_EQ(kl_mpmc_queue_push(queue, NULL, 0), KL_OK);
    KL_CHECK_EQ(kl_mpmc_queue_push(queue, out, 21), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_mpmc_queue_push_u32(queue, 1), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_mpmc_queue_length(other), 2);
    KL_CHECK_EQ(kl_mpmc_queue_pop(other, out, 19), KL_ERR_LIMIT);
    KL_CHECK_EQ(kl_mpmc_queue_pop(other, out, 20), 5);
    KL_CHECK_BYTES(out, "hello", 5);
    KL_CHECK_EQ(kl_mpmc_queue_pop(other, out, 20), 0);
    KL_CHECK_EQ(kl_mpmc_queue_pop(other, out, 20), KL_ERR_AGAIN);
    uint8_t batch[9 * 8];
    for (uint32_t i = 0; i < 9; i++) memcpy(batch + (size_t)8 * i, "\2\0\0\0ab\0", 8);
    KL_CHECK_EQ(kl_mpmc_queue_push_many(queue, batch, sizeof batch), 8);
    KL_CHECK_EQ(kl_mpmc_queue_push_many(queue, batch, sizeof batch), 0);
    KL_CHECK_EQ(kl_mpmc_queue_push_many(queue, (const uint8_t *)"\377\0\0\0", 4), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_mpmc_queue_pop_many(queue, out, 23), KL_ERR_LIMIT);
    KL_CHECK_EQ(kl_mpmc_queue_pop_many(queue, out, sizeof out), 8);
    KL_CHECK_BYTES(out, batch, 64);
    KL_CHECK_EQ(kl_mpmc_queue_check(queue), KL_OK);
    KL_CHECK_LE(0, kl_mpmc_queue_reap(queue));
    KL_CHECK_EQ(kl_mpmc_queue_close(queue), KL_OK);
    KL_CHECK_EQ(kl_mpmc_queue_push(queue, out, 1), KL_ERR_HANDLE);
    removed(name);
    KL_CHECK_EQ(kl_mpmc_queue_close(other), KL_OK);
}

KL_TEST(kl_mpmc_queue_handles_carry_numbers_and_batches_of_them) {
    const char *name = test_name();
    uint32_t queue = named(name, 0), words[9] = {UINT32_MAX, 0, 2, 3, 4, 5, 6, 7, 8}, out[9];
    removed(name);
    KL_CHECK_EQ(kl_mpmc_queue_push_u32(queue, UINT32_MAX), KL_OK);
    KL_CHECK(kl_mpmc_queue_pop_u32(queue) == UINT32_MAX);
    KL_CHECK((int32_t)kl_mpmc_queue_pop_u32(queue) == KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_mpmc_queue_push_words(queue, (const uint8_t *)words, 9), 8);
    KL_CHECK_EQ(kl_mpmc_queue_push_words(queue, (const uint8_t *)words, 9), 0);
    KL_CHECK_EQ(kl_mpmc_queue_pop_words(queue, (uint8_t *)out, 9), 8);
    KL_CHECK_BYTES(out, words, 32);
    KL_CHECK_EQ(kl_mpmc_queue_push(queue, (const uint8_t *)"x", 1), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_mpmc_queue_close(queue), KL_OK);
}
