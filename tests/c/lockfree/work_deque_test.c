#include "lockfree/work_deque.h"

#include "base/random.h"
#include "tests/c/harness.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A deque in memory of exactly its size, so that a sanitizer sees one byte too far. `start`: where
 * its positions begin. */
static void *new_memory(uint64_t capacity, uint64_t start) {
    uint64_t bytes = kl_work_deque_memory_bytes(capacity);
    kl_work_deque_header *header =
        aligned_alloc(KL_LINE_BYTES, (bytes + KL_LINE_BYTES - 1) & ~(KL_LINE_BYTES - 1ull));
    memset(header, 0x5a, bytes);
    KL_CHECK_EQ(kl_work_deque_format(header, capacity), KL_OK);
    atomic_store(&header->top, start);
    atomic_store(&header->bottom, start);
    return header;
}

static kl_work_deque grip(void *memory) {
    kl_work_deque deque;
    kl_work_deque_header *header = memory;
    KL_CHECK_EQ(
        kl_work_deque_grip(&deque, memory, KL_WORK_DEQUE_HEADER_BYTES + 8ull * header->capacity),
        KL_OK);
    return deque;
}

static const uint64_t STARTS[] = {0, (1ull << 33) - 6, (1ull << 63) - 6, UINT64_MAX - 5};
#define START_COUNT (sizeof STARTS / sizeof STARTS[0])

KL_TEST(kl_work_deque_format_refuses_capacities_that_are_no_power_of_two_in_range) {
    const uint64_t refused[] = {0, 1, 3, 6, 1ull << 29, UINT64_MAX, 1ull << 63};
    for (uint32_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        KL_CHECK_EQ(kl_work_deque_memory_bytes(refused[i]), 0);
        KL_CHECK_EQ(kl_work_deque_format(NULL, refused[i]), KL_ERR_ARGUMENT);
    }
    KL_CHECK_EQ(kl_work_deque_memory_bytes(8), KL_WORK_DEQUE_HEADER_BYTES + 64);
}

KL_TEST(kl_work_deque_D1_owner_is_last_in_first_out_and_thieves_first_in_first_out) {
    for (uint32_t s = 0; s < START_COUNT; s++) {
        void *memory = new_memory(8, STARTS[s]);
        kl_work_deque deque = grip(memory);
        uint64_t task = 0, stolen[32];
        for (uint64_t i = 0; i < 8; i++) KL_CHECK_EQ(kl_work_deque_push_so(&deque, i), KL_OK);
        KL_CHECK_EQ(kl_work_deque_steal_mc(&deque, stolen, 1), 1);
        KL_CHECK_EQ(stolen[0], 0); /* value 0 is a task like any other */
        KL_CHECK_EQ(kl_work_deque_pop_so(&deque, &task), KL_OK);
        KL_CHECK_EQ(task, 7);
        KL_CHECK_EQ(kl_work_deque_steal_mc(&deque, stolen, 32), 3); /* half of six */
        for (uint64_t i = 0; i < 3; i++) KL_CHECK_EQ(stolen[i], i + 1);
        KL_CHECK_EQ(kl_work_deque_count(&deque), 3);
        for (uint64_t i = 6; i > 3; i--) {
            KL_CHECK_EQ(kl_work_deque_pop_so(&deque, &task), KL_OK);
            KL_CHECK_EQ(task, i);
        }
        KL_CHECK_EQ(kl_work_deque_pop_so(&deque, &task), KL_ERR_AGAIN);
        KL_CHECK_EQ(kl_work_deque_verify(&deque), KL_OK);
        free(memory);
    }
}

KL_TEST(kl_work_deque_D3_pop_on_an_empty_deque_leaves_it_empty_however_often) {
    for (uint32_t s = 0; s < START_COUNT; s++) {
        void *memory = new_memory(4, STARTS[s]);
        kl_work_deque deque = grip(memory);
        uint64_t task = 77;
        for (uint32_t i = 0; i < 100; i++) {
            KL_CHECK_EQ(kl_work_deque_pop_so(&deque, &task), KL_ERR_AGAIN);
            KL_CHECK_EQ(kl_work_deque_count(&deque), 0);
            KL_CHECK_EQ(kl_work_deque_steal_mc(&deque, &task, 1), KL_ERR_AGAIN);
            KL_CHECK_EQ(kl_work_deque_verify(&deque), KL_OK);
        }
        for (uint64_t i = 1; i <= 4; i++) KL_CHECK_EQ(kl_work_deque_push_so(&deque, i), KL_OK);
        for (uint64_t i = 4; i >= 1; i--) {
            KL_CHECK_EQ(kl_work_deque_pop_so(&deque, &task), KL_OK);
            KL_CHECK_EQ(task, i);
        }
        free(memory);
    }
}

KL_TEST(kl_work_deque_D4_push_on_a_full_deque_says_so_and_loses_nothing) {
    void *memory = new_memory(4, UINT64_MAX - 3);
    kl_work_deque deque = grip(memory);
    uint64_t task = 0;
    for (uint64_t i = 0; i < 4; i++) KL_CHECK_EQ(kl_work_deque_push_so(&deque, i), KL_OK);
    for (uint32_t i = 0; i < 10; i++) KL_CHECK_EQ(kl_work_deque_push_so(&deque, 99), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_work_deque_count(&deque), 4);
    KL_CHECK_EQ(kl_work_deque_steal_mc(&deque, &task, 1), 1);
    KL_CHECK_EQ(task, 0);
    KL_CHECK_EQ(kl_work_deque_push_so(&deque, 4), KL_OK);
    KL_CHECK_EQ(kl_work_deque_push_so(&deque, 99), KL_ERR_AGAIN);
    for (uint64_t i = 4; i >= 1; i--) {
        KL_CHECK_EQ(kl_work_deque_pop_so(&deque, &task), KL_OK);
        KL_CHECK_EQ(task, i);
    }
    free(memory);
}

KL_TEST(kl_work_deque_steal_takes_at_most_half_and_at_most_thirty_two) {
    void *memory = new_memory(128, 0);
    kl_work_deque deque = grip(memory);
    uint64_t tasks[64];
    for (uint64_t i = 0; i < 128; i++) KL_CHECK_EQ(kl_work_deque_push_so(&deque, i), KL_OK);
    KL_CHECK_EQ(kl_work_deque_steal_mc(&deque, tasks, 0), KL_ERR_ARGUMENT);
    const int32_t wanted[] = {32, 32, 32, 16, 8, 4, 2, 1, 1, KL_ERR_AGAIN};
    uint64_t next = 0;
    for (uint32_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        int32_t count = kl_work_deque_steal_mc(&deque, tasks, 64);
        KL_CHECK_EQ(count, wanted[i]);
        for (int32_t k = 0; k < count; k++) KL_CHECK_EQ(tasks[k], next++);
    }
    KL_CHECK_EQ(next, 128);
    free(memory);
}

/* ---- against a dull list ---- */

static uint64_t model[1 << 12];
static uint32_t model_first, model_behind;

static void step(kl_work_deque *deque, kl_random *random, uint64_t capacity, uint64_t *next) {
    uint64_t tasks[32], what = kl_random_below(random, 5);
    uint32_t count = model_behind - model_first;
    if (what <= 1) {
        KL_CHECK_EQ(kl_work_deque_push_so(deque, *next), count < capacity ? KL_OK : KL_ERR_AGAIN);
        if (count < capacity) model[model_behind++ % 4096] = (*next)++;
    } else if (what <= 3) {
        int32_t status = kl_work_deque_pop_so(deque, tasks);
        KL_CHECK_EQ(status, count > 0 ? KL_OK : KL_ERR_AGAIN);
        uint64_t current = 0;
        KL_CHECK_EQ(kl_work_deque_current_so(deque, &current), status);
        if (count > 0) KL_CHECK_EQ(tasks[0], model[--model_behind % 4096]);
        if (count > 0) KL_CHECK_EQ(current, tasks[0]);
    } else {
        uint32_t most = 1 + (uint32_t)kl_random_below(random, 40);
        uint32_t half = (count + 1) / 2, batch = most < 32 ? most : 32;
        int32_t taken = kl_work_deque_steal_mc(deque, tasks, most);
        KL_CHECK_EQ(taken, count == 0     ? KL_ERR_AGAIN
                           : half < batch ? (int32_t)half
                                          : (int32_t)batch);
        for (int32_t i = 0; i < taken; i++) KL_CHECK_EQ(tasks[i], model[model_first++ % 4096]);
    }
    KL_CHECK_EQ(kl_work_deque_count(deque), model_behind - model_first);
}

KL_TEST(kl_work_deque_behaves_like_a_dull_list_also_where_positions_wrap) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (uint32_t s = 0; s < START_COUNT; s++) {
        for (uint64_t capacity = 2; capacity <= 512; capacity *= 4) {
            void *memory = new_memory(capacity, STARTS[s]);
            kl_work_deque deque = grip(memory);
            uint64_t next = 0;
            model_first = model_behind = 0;
            for (uint32_t i = 0; i < (kl_test_slow() ? 2000u : 10000u); i++) {
                step(&deque, &random, capacity, &next);
                if (i % 64 == 0) KL_CHECK_EQ(kl_work_deque_verify(&deque), KL_OK);
                if (i % 100 == 0) deque = grip(memory); /* finds it as it is */
            }
            free(memory);
        }
    }
}

/* ---- threads ---- */

typedef struct {
    kl_work_deque *deque;
    uint64_t tasks;
    uint32_t batch;
    _Atomic uint8_t *seen; /* how often each task was taken */
    _Atomic uint64_t taken;
    _Atomic uint64_t popped;
    _Atomic uint64_t lost;
} crowd;

static void note_taken(crowd *it, uint64_t task) {
    KL_CHECK_LT(task, it->tasks);
    if (task < it->tasks) atomic_fetch_add_explicit(&it->seen[task], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&it->taken, 1, memory_order_relaxed);
}

static void own(crowd *it) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    uint64_t next = 0, task;
    while (next < it->tasks) {
        uint64_t burst = 1 + kl_random_below(&random, 8);
        while (burst-- > 0 && next < it->tasks && kl_work_deque_push_so(it->deque, next) == KL_OK)
            next++;
        for (burst = kl_random_below(&random, 8); burst > 0; burst--) {
            if (kl_work_deque_pop_so(it->deque, &task) != KL_OK) break;
            atomic_fetch_add_explicit(&it->popped, 1, memory_order_relaxed);
            note_taken(it, task);
        }
        if (kl_random_below(&random, 64) == 0) sched_yield();
    }
    while (kl_work_deque_pop_so(it->deque, &task) == KL_OK) note_taken(it, task);
}

static void own_or_steal(void *argument, uint32_t index) {
    crowd *it = argument;
    if (index == 0) {
        own(it);
        return;
    }
    uint64_t tasks[KL_WORK_DEQUE_BATCH_MAX];
    while (atomic_load_explicit(&it->taken, memory_order_relaxed) < it->tasks) {
        int32_t count = kl_work_deque_steal_mc(it->deque, tasks, it->batch);
        for (int32_t i = 0; i < count; i++) {
            if (i > 0) KL_CHECK_LT(tasks[i - 1], tasks[i]); /* first in, first out */
            note_taken(it, tasks[i]);
        }
        if (count == KL_WORK_DEQUE_LOST) atomic_fetch_add(&it->lost, 1);
        if (count == KL_ERR_AGAIN) sched_yield();
        KL_CHECK(count >= 0 || count == KL_ERR_AGAIN);
    }
}

static void share(uint32_t thieves, uint64_t capacity, uint64_t start, uint32_t batch) {
    void *memory = new_memory(capacity, start);
    kl_work_deque deque = grip(memory);
    const char *long_form = getenv("KEELSON_LONG");
    crowd it = {.deque = &deque, .tasks = kl_test_slow() ? 20000 : 200000, .batch = batch};
    if (long_form) it.tasks = 1000000;
    it.seen = calloc(it.tasks, 1);
    kl_test_threads(1 + thieves, own_or_steal, &it);
    for (uint64_t i = 0; i < it.tasks; i++)
        if (it.seen[i] != 1) KL_CHECK_EQ(it.seen[i], 1);
    KL_CHECK_EQ(it.taken, it.tasks);
    KL_CHECK_EQ(kl_work_deque_count(&deque), 0);
    KL_CHECK_EQ(kl_work_deque_verify(&deque), KL_OK);
    free((void *)it.seen);
    free(memory);
}

KL_TEST(kl_work_deque_D2_each_task_is_taken_once_with_one_thief) {
    share(1, 4, 0, 1);
    share(1, 1024, UINT64_MAX - 101, 32);
}

KL_TEST(kl_work_deque_D2_each_task_is_taken_once_with_three_thieves_across_the_wrap) {
    share(3, 4, (1ull << 33) - 100, 1);
    share(3, 2, UINT64_MAX - 99, 32);
    share(3, 64, (1ull << 63) - 100, 32);
}

/* ---- processes ---- */

#define SHARED_CAPACITY 16
#define SHARED_TASKS    (1u << 20)

typedef struct {
    _Atomic uint32_t next;     /* raised before that task is pushed */
    _Atomic uint32_t claims;   /* owners that began */
    _Atomic uint32_t stop;     /* the owner pushes no more */
    _Atomic uint32_t executed; /* in all */
    _Atomic uint8_t runs[SHARED_TASKS];
} notes;

static char path[512];

static kl_region *create_region(void) {
    kl_region *region = NULL;
    kl_region_spec spec = {.kind = 1};
    snprintf(path, sizeof path, "%s/region", kl_test_folder());
    uint64_t bytes = kl_work_deque_memory_bytes(SHARED_CAPACITY) + sizeof(notes);
    KL_CHECK_EQ(kl_region_create(&region, path, bytes, &spec), KL_OK);
    KL_CHECK_EQ(kl_work_deque_format(kl_region_data(region), SHARED_CAPACITY), KL_OK);
    KL_CHECK_EQ(kl_region_publish(region), KL_OK);
    return region;
}

static notes *notes_of(kl_region *region) {
    return (notes *)(void *)(kl_region_data(region) + kl_work_deque_memory_bytes(SHARED_CAPACITY));
}

static kl_region *attach(kl_work_deque *deque) {
    kl_region *region = NULL;
    KL_CHECK_EQ(kl_region_attach(&region, path, NULL), KL_OK);
    KL_CHECK_LE(0, kl_region_join(region, 0));
    KL_CHECK_EQ(kl_work_deque_grip(deque, kl_region_data(region), kl_region_data_bytes(region)),
                KL_OK);
    return region;
}

static void run_task(notes *it, uint64_t task) {
    KL_CHECK_LT(task, SHARED_TASKS);
    atomic_fetch_add(&it->runs[task % SHARED_TASKS], 1);
    atomic_fetch_add(&it->executed, 1);
}

static int own_until_killed(void *argument) {
    (void)argument;
    kl_work_deque deque;
    kl_region *region = attach(&deque);
    notes *it = notes_of(region);
    int32_t self = kl_region_thread_join(region);
    KL_CHECK_LE(0, kl_work_deque_claim(&deque, region, (uint32_t)self));
    atomic_fetch_add(&it->claims, 1);
    uint64_t task;
    if (kl_work_deque_current_so(&deque, &task) == KL_OK) run_task(it, task);
    while (!atomic_load(&it->stop)) {
        for (uint32_t i = 0; i < 5; i++) { /* a killed one leaves a gap in the numbers */
            if (kl_work_deque_count(&deque) == SHARED_CAPACITY) break;
            uint32_t number = atomic_fetch_add(&it->next, 1) % SHARED_TASKS;
            KL_CHECK_EQ(kl_work_deque_push_so(&deque, number), KL_OK);
        }
        for (uint32_t i = 0; i < 4 && kl_work_deque_pop_so(&deque, &task) == KL_OK; i++)
            run_task(it, task);
    }
    while (kl_work_deque_pop_so(&deque, &task) == KL_OK) run_task(it, task);
    kl_region_close(region);
    return 0;
}

static int steal_until_stopped(void *argument) {
    (void)argument;
    kl_work_deque deque;
    kl_region *region = attach(&deque);
    notes *it = notes_of(region);
    uint64_t tasks[KL_WORK_DEQUE_BATCH_MAX];
    for (;;) {
        uint32_t stop = atomic_load(&it->stop);
        int32_t count = kl_work_deque_steal_mc(&deque, tasks, 3);
        for (int32_t i = 0; i < count; i++) run_task(it, tasks[i]);
        if (count == KL_ERR_AGAIN && stop) break;
        if (count <= 0) usleep(50);
        if (count < 0 && count != KL_ERR_AGAIN) return 2;
    }
    kl_region_close(region);
    return 0;
}

KL_TEST(kl_work_deque_D2_a_killed_owner_loses_no_task_and_repeats_at_most_its_own) {
    kl_region *region = create_region();
    notes *it = notes_of(region);
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    int thief = kl_test_fork(steal_until_stopped, NULL);
    uint32_t kills = kl_test_slow() ? 10 : 60;
    for (uint32_t round = 0; round < kills; round++) {
        int owner = kl_test_fork(own_until_killed, NULL);
        while (atomic_load(&it->claims) <= round) usleep(100);
        usleep((useconds_t)kl_random_below(&random, 3000));
        kill(owner, SIGKILL);
        KL_CHECK_EQ(kl_test_join(owner), 128 + SIGKILL);
    }
    int last = kl_test_fork(own_until_killed, NULL);
    while (atomic_load(&it->claims) <= kills) usleep(100);
    atomic_store(&it->stop, 1);
    KL_CHECK_EQ(kl_test_join(last), 0);
    KL_CHECK_EQ(kl_test_join(thief), 0);
    uint32_t never = 0, again = 0, total = it->next < SHARED_TASKS ? it->next : SHARED_TASKS;
    for (uint32_t i = 0; i < total; i++) {
        if (it->runs[i] == 0) never++;
        if (it->runs[i] > 1) again += it->runs[i] - 1u;
    }
    KL_CHECK_LE(never, kills); /* numbers taken but not pushed */
    if (it->next < SHARED_TASKS) KL_CHECK_LE(again, kills);
    KL_CHECK_LT(kills, it->executed);
    kl_region_close(region);
}

KL_TEST(kl_work_deque_claim_refuses_a_live_owner_and_hands_over_what_a_dead_one_had) {
    kl_region *region = create_region();
    kl_work_deque deque, other;
    kl_region *first = attach(&deque), *second = attach(&other);
    uint32_t self = (uint32_t)kl_region_thread_join(first);
    uint32_t heir = (uint32_t)kl_region_thread_join(second);
    uint64_t task = 0;
    KL_CHECK_EQ(kl_work_deque_claim(&deque, first, self), KL_OK);
    KL_CHECK_EQ(kl_work_deque_claim(&deque, first, self), KL_OK); /* again */
    KL_CHECK_EQ(kl_work_deque_claim(&other, second, heir), KL_ERR_LOCKED);
    kl_work_deque_release(&other, heir); /* not its own: nothing */
    for (uint64_t i = 10; i < 13; i++) KL_CHECK_EQ(kl_work_deque_push_so(&deque, i), KL_OK);
    KL_CHECK_EQ(kl_work_deque_pop_so(&deque, &task), KL_OK);
    KL_CHECK_EQ(kl_work_deque_push_so(&deque, 13), KL_OK); /* over the slot that 12 was in */
    kl_region_close(first);                                /* without release: as if it had died */
    KL_CHECK_EQ(kl_work_deque_claim(&other, second, heir), KL_OWNER_DEAD);
    KL_CHECK_EQ(kl_work_deque_current_so(&other, &task), KL_OK);
    KL_CHECK_EQ(task, 12);
    kl_work_deque_done_so(&other);
    KL_CHECK_EQ(kl_work_deque_current_so(&other, &task), KL_ERR_AGAIN);
    for (uint64_t want = 13; want >= 10; want -= want == 13 ? 2 : 1) {
        KL_CHECK_EQ(kl_work_deque_pop_so(&other, &task), KL_OK);
        KL_CHECK_EQ(task, want);
    }
    kl_work_deque_release(&other, heir);
    KL_CHECK_EQ(other.header->owner, 0);
    kl_region_close(second);
    kl_region_close(region);
}

/* ---- hostile memory ---- */

static void scribble(kl_random *random, uint8_t *bytes, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) bytes[i] = (uint8_t)kl_random_u64(random);
}

static void use_all(kl_work_deque *deque, kl_region *region, uint32_t self) {
    uint64_t tasks[KL_WORK_DEQUE_BATCH_MAX];
    kl_work_deque_claim(deque, region, self);
    for (uint32_t i = 0; i < 20; i++) {
        kl_work_deque_push_so(deque, i);
        kl_work_deque_steal_mc(deque, tasks, 32);
        kl_work_deque_pop_so(deque, tasks);
        kl_work_deque_current_so(deque, tasks);
        KL_CHECK_LE(kl_work_deque_count(deque), SHARED_CAPACITY);
        kl_work_deque_verify(deque);
    }
}

KL_TEST(kl_work_deque_answers_scribbled_memory_with_error_codes) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    kl_region *region = create_region();
    KL_CHECK_LE(0, kl_region_join(region, 0));
    uint32_t self = (uint32_t)kl_region_thread_join(region);
    uint64_t bytes = kl_work_deque_memory_bytes(SHARED_CAPACITY);
    for (uint32_t round = 0; round < (kl_test_slow() ? 300u : 3000u); round++) {
        kl_work_deque_header *memory = new_memory(SHARED_CAPACITY, 0);
        kl_work_deque deque = grip(memory), second;
        uint8_t *raw = (uint8_t *)memory;
        uint64_t at = kl_random_below(&random, bytes), some = kl_random_below(&random, bytes - at);
        scribble(&random, raw + at, round % 3 == 0 ? some : 8 < bytes - at ? 8 : 1);
        use_all(&deque, region, self);
        scribble(&random, raw, kl_random_below(&random, bytes));
        if (round % 2 == 0) { /* past the first looks */
            memory->magic = KL_WORK_DEQUE_MAGIC;
            memory->version = KL_WORK_DEQUE_VERSION;
        }
        if (round % 4 == 0) memory->capacity = SHARED_CAPACITY;
        if (kl_work_deque_grip(&second, memory, bytes) == KL_OK) use_all(&second, region, self);
        free(memory);
    }
    kl_region_close(region);
}

KL_TEST(kl_work_deque_steal_says_corrupt_when_the_positions_cannot_be) {
    kl_work_deque_header *memory = new_memory(SHARED_CAPACITY, 0);
    kl_work_deque deque = grip(memory);
    uint64_t tasks[KL_WORK_DEQUE_BATCH_MAX];
    atomic_store(&memory->bottom, 1000);
    KL_CHECK_EQ(kl_work_deque_steal_mc(&deque, tasks, 1), KL_ERR_CORRUPT);
    KL_CHECK_EQ(kl_work_deque_verify(&deque), KL_ERR_CORRUPT);
    atomic_store(&memory->bottom, 5);
    KL_CHECK_EQ(kl_work_deque_steal_mc(&deque, tasks, 1), KL_ERR_CORRUPT);
    atomic_store(&memory->top, 400);
    KL_CHECK_EQ(kl_work_deque_push_so(&deque, 1), KL_ERR_CORRUPT);
    KL_CHECK_EQ(kl_work_deque_pop_so(&deque, tasks), KL_ERR_CORRUPT);
    free(memory);
}

/* ---- behind a handle ---- */

static uint32_t attach_handle(const char *name) {
    uint32_t handle = 0;
    KL_CHECK_EQ(
        kl_work_deque_attach((const uint8_t *)name, (uint32_t)strlen(name), (uint8_t *)&handle),
        KL_OK);
    return handle;
}

KL_TEST(kl_work_deque_behind_a_handle_has_one_owner_and_refuses_what_is_no_task) {
    char name[64];
    snprintf(name, sizeof name, "test-deque-%d", (int)getpid());
    uint32_t owner = 0, bytes = (uint32_t)strlen(name);
    KL_CHECK_EQ(kl_work_deque_create((const uint8_t *)name, bytes, 3, (uint8_t *)&owner),
                KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_work_deque_create((const uint8_t *)name, bytes, 4, (uint8_t *)&owner), KL_OK);
    uint32_t thief = attach_handle(name);
    KL_CHECK_EQ(kl_work_deque_remove((const uint8_t *)name, bytes), KL_OK);
    const double refused[] = {-1, 0.5, 9007199254740992.0, __builtin_nan(""), __builtin_inf()};
    for (uint32_t i = 0; i < 5; i++)
        KL_CHECK_EQ(kl_work_deque_push(owner, refused[i]), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_work_deque_push(owner, 9007199254740991.0), KL_OK);
    double some[6] = {1, 2, 3, 4, 5, 6};
    KL_CHECK_EQ(kl_work_deque_push_many(owner, (const uint8_t *)some, 6), 3);
    KL_CHECK_EQ(kl_work_deque_push_many(owner, (const uint8_t *)some, 6), 0);
    KL_CHECK_EQ(kl_work_deque_push(thief, 1), KL_ERR_LOCKED);
    KL_CHECK(kl_work_deque_pop(thief) == KL_ERR_LOCKED);
    KL_CHECK_EQ(kl_work_deque_length(thief), 4);
    KL_CHECK_EQ(kl_work_deque_capacity(thief), 4);
    double stolen[32];
    KL_CHECK_EQ(kl_work_deque_steal(thief, (uint8_t *)stolen, 32), 2);
    KL_CHECK(stolen[0] == 9007199254740991.0 && stolen[1] == 1);
    KL_CHECK(kl_work_deque_pop(owner) == 3);
    KL_CHECK(kl_work_deque_current(owner) == 3);
    KL_CHECK_EQ(kl_work_deque_close(owner), KL_OK); /* 3 was not finished */
    KL_CHECK_EQ(kl_work_deque_own(thief), KL_OK);
    KL_CHECK(kl_work_deque_pop(thief) == 3);
    KL_CHECK_EQ(kl_work_deque_done(thief), KL_OK);
    KL_CHECK(kl_work_deque_pop(thief) == 2);
    KL_CHECK(kl_work_deque_pop(thief) == KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_work_deque_check(thief), KL_OK);
    KL_CHECK_EQ(kl_work_deque_close(thief), KL_OK);
    KL_CHECK_EQ(kl_work_deque_push(thief, 1), KL_ERR_HANDLE);
    KL_CHECK_EQ(kl_work_deque_steal(thief, (uint8_t *)stolen, 1), KL_ERR_HANDLE);
}
