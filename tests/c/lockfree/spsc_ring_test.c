#include "lockfree/spsc_ring.h"

#include "base/random.h"
#include "sync/shared_copy.h" /* KL_THREAD_SANITIZED */
#include "tests/c/harness.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* A ring in memory of exactly its size, so that a sanitizer sees one byte too far. */
static void *new_memory(uint64_t capacity, uint32_t record_bytes) {
    void *memory = aligned_alloc(KL_LINE_BYTES, kl_spsc_ring_memory_bytes(capacity));
    memset(memory, 0x5a, kl_spsc_ring_memory_bytes(capacity));
    KL_CHECK_EQ(kl_spsc_ring_format(memory, capacity, record_bytes), KL_OK);
    return memory;
}

static kl_spsc_ring grip(void *memory) {
    kl_spsc_ring ring;
    kl_spsc_ring_header *header = memory;
    KL_CHECK_EQ(
        kl_spsc_ring_grip(&ring, memory, KL_SPSC_RING_HEADER_BYTES + header->capacity_bytes),
        KL_OK);
    return ring;
}

KL_TEST(kl_spsc_ring_format_refuses_capacities_that_are_no_power_of_two_in_range) {
    KL_CHECK_EQ(kl_spsc_ring_memory_bytes(0), 0);
    KL_CHECK_EQ(kl_spsc_ring_memory_bytes(96), 0);
    KL_CHECK_EQ(kl_spsc_ring_memory_bytes(32), 0);
    KL_CHECK_EQ(kl_spsc_ring_memory_bytes(1ull << 33), 0);
    KL_CHECK_EQ(kl_spsc_ring_memory_bytes(1024), KL_SPSC_RING_HEADER_BYTES + 1024);
    KL_CHECK_EQ(kl_spsc_ring_format(NULL, 96, 0), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_spsc_ring_format(NULL, 64, 4), KL_ERR_ARGUMENT);
}

KL_TEST(kl_spsc_ring_push_fills_it_to_the_last_byte_and_pop_empties_it) {
    void *memory = new_memory(64, 0);
    kl_spsc_ring ring = grip(memory);
    uint8_t out[64];
    KL_CHECK_EQ(kl_spsc_ring_pop_sc(&ring, out, sizeof out), KL_ERR_AGAIN);
    KL_CHECK_EQ(
        kl_spsc_ring_push_sp(&ring, "0123456789abcdefghijklmnopqrstuv0123456789abcdefghijklmn", 56),
        KL_OK);
    KL_CHECK_EQ(kl_spsc_ring_push_sp(&ring, NULL, 0), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_spsc_ring_push_sp(&ring, out, 57), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_spsc_ring_verify(&ring), KL_OK);
    KL_CHECK_EQ(kl_spsc_ring_peek_sc(&ring), 56);
    KL_CHECK_EQ(kl_spsc_ring_pop_sc(&ring, out, 55), KL_ERR_LIMIT);
    KL_CHECK_EQ(kl_spsc_ring_pop_sc(&ring, out, 56), 56);
    KL_CHECK_BYTES(out, "0123456789abcdefghijklmnopqrstuv0123456789abcdefghijklmn", 56);
    for (uint32_t i = 0; i < 8; i++) KL_CHECK_EQ(kl_spsc_ring_push_sp(&ring, NULL, 0), KL_OK);
    KL_CHECK_EQ(kl_spsc_ring_push_sp(&ring, NULL, 0), KL_ERR_AGAIN);
    for (uint32_t i = 0; i < 8; i++) KL_CHECK_EQ(kl_spsc_ring_pop_sc(&ring, NULL, 0), 0);
    KL_CHECK_EQ(kl_spsc_ring_pop_sc(&ring, NULL, 0), KL_ERR_AGAIN);
    free(memory);
}

KL_TEST(kl_spsc_ring_push_u64_keeps_order_in_a_ring_of_words) {
    void *memory = new_memory(64, 8);
    kl_spsc_ring ring = grip(memory);
    uint64_t in = 0, out = 0, value;
    for (uint32_t round = 0; round < 100; round++) {
        while (kl_spsc_ring_push_u64_sp(&ring, in) == KL_OK) in++;
        KL_CHECK_EQ(in - out, 8);
        for (uint32_t i = 0; i < 1 + round % 8; i++, out++) {
            KL_CHECK_EQ(kl_spsc_ring_pop_u64_sc(&ring, &value), KL_OK);
            KL_CHECK_EQ(value, out);
        }
    }
    KL_CHECK_EQ(kl_spsc_ring_push_sp(&ring, &value, 4), KL_ERR_ARGUMENT);
    while (kl_spsc_ring_pop_sc(&ring, &value, 8) == 8) KL_CHECK_EQ(value, out++);
    KL_CHECK_EQ(in, out);
    free(memory);
}

/* ---- against a dull queue ---- */

#define MODEL_MAX 4096
static uint32_t model_sizes[MODEL_MAX], model_first, model_count;
static uint8_t model_first_byte[MODEL_MAX];

static void push_random(kl_spsc_ring *ring, kl_random *random, uint8_t *buffer, uint32_t most) {
    uint32_t bytes = (uint32_t)kl_random_below(random, most + 1);
    uint8_t first = (uint8_t)kl_random_u64(random);
    for (uint32_t i = 0; i < bytes; i++) buffer[i] = (uint8_t)(first + i);
    uint64_t used = ring->tail - ring->header->head;
    uint64_t taken = 8 + ((bytes + 7ull) & ~7ull), capacity = ring->mask + 1;
    int32_t status = kl_spsc_ring_push_sp(ring, buffer, bytes);
    KL_CHECK_EQ(status, taken > capacity          ? KL_ERR_ARGUMENT
                        : used + taken > capacity ? KL_ERR_AGAIN
                                                  : KL_OK);
    if (status != KL_OK) return;
    uint32_t at = (model_first + model_count++) % MODEL_MAX;
    model_sizes[at] = bytes;
    model_first_byte[at] = first;
}

static void pop_random(kl_spsc_ring *ring, uint8_t *buffer, uint32_t capacity) {
    int32_t bytes = kl_spsc_ring_pop_sc(ring, buffer, capacity);
    if (model_count == 0) {
        KL_CHECK_EQ(bytes, KL_ERR_AGAIN);
        return;
    }
    KL_CHECK_EQ(bytes, model_sizes[model_first]);
    for (int32_t i = 0; i < bytes; i++)
        KL_CHECK_EQ(buffer[i], (uint8_t)(model_first_byte[model_first] + i));
    model_first = (model_first + 1) % MODEL_MAX;
    model_count--;
}

static void compare_with_model(uint64_t capacity, uint64_t start) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    kl_spsc_ring_header *header = new_memory(capacity, 0);
    header->head = header->tail = start;
    kl_spsc_ring ring = grip(header);
    uint8_t *buffer = malloc(capacity);
    model_first = model_count = 0;
    for (uint32_t i = 0; i < (kl_test_slow() ? 3000u : 30000u); i++) {
        if (kl_random_below(&random, 2) == 0)
            push_random(&ring, &random, buffer, (uint32_t)capacity / (i % 3 == 0 ? 1 : 8));
        else
            pop_random(&ring, buffer, (uint32_t)capacity);
        if (i % 64 == 0) KL_CHECK_EQ(kl_spsc_ring_verify(&ring), KL_OK);
        if (i % 100 == 0) ring = grip(header); /* whoever comes back finds it as it is */
    }
    free(buffer);
    free(header);
}

KL_TEST(kl_spsc_ring_behaves_like_a_dull_queue) {
    for (uint64_t capacity = 64; capacity <= 4096; capacity *= 4) compare_with_model(capacity, 0);
}

KL_TEST(kl_spsc_ring_behaves_like_a_dull_queue_where_positions_pass_2_to_the_32_and_wrap) {
    compare_with_model(256, (1ull << 32) - 128);
    compare_with_model(256, UINT64_MAX - 1023);
}

KL_TEST(kl_spsc_ring_push_batch_and_pop_batch_move_what_fits) {
    void *memory = new_memory(64, 0);
    kl_spsc_ring ring = grip(memory);
    /* "a", "", "bcdef", then one that cannot fit beside them */
    uint8_t batch[128] = {1, 0, 0,   0,   'a', 0,   0,   0, 0, 0, 0,  0, 5, 0,
                          0, 0, 'b', 'c', 'd', 'e', 'f', 0, 0, 0, 30, 0, 0, 0};
    KL_CHECK_EQ(kl_spsc_ring_push_batch_sp(&ring, batch, 60), 3);
    KL_CHECK_EQ(kl_spsc_ring_push_batch_sp(&ring, batch + 24, 36), 0); /* full for it */
    uint8_t out[128];
    KL_CHECK_EQ(kl_spsc_ring_pop_batch_sc(&ring, out, 7), KL_ERR_LIMIT);
    KL_CHECK_EQ(kl_spsc_ring_pop_batch_sc(&ring, out, 12), 2);
    KL_CHECK_BYTES(out, "\1\0\0\0a", 5);
    KL_CHECK_BYTES(out + 8, "\0\0\0\0", 4);
    KL_CHECK_EQ(kl_spsc_ring_pop_batch_sc(&ring, out, 128), 1);
    KL_CHECK_BYTES(out, "\5\0\0\0bcdef", 9);
    KL_CHECK_EQ(kl_spsc_ring_pop_batch_sc(&ring, out, 128), 0);
    /* Records that end outside of the batch, or can never fit. */
    KL_CHECK_EQ(kl_spsc_ring_push_batch_sp(&ring, (const uint8_t *)"\5\0\0\0b", 5),
                KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_spsc_ring_push_batch_sp(&ring, (const uint8_t *)"\377\377\377\377b", 5),
                KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_spsc_ring_push_batch_sp(&ring, (const uint8_t *)"\100\0\0\0", 4),
                KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_spsc_ring_push_batch_sp(&ring, NULL, 0), 0);
    free(memory);
}

/* ---- two threads ---- */

typedef struct {
    void *memory;
    uint32_t records;
    bool spins; /* never sleeps: takes each record as soon as it is published */
} pair;

static void fill(uint8_t *record, uint32_t number, uint32_t bytes) {
    memcpy(record, &number, 4);
    for (uint32_t i = 4; i < bytes; i++) record[i] = (uint8_t)(number * 7 + i);
}

static bool is_filled(const uint8_t *record, uint32_t number, int32_t bytes) {
    uint8_t wanted[256];
    fill(wanted, number, (uint32_t)bytes);
    return memcmp(wanted, record, (size_t)bytes) == 0;
}

static uint32_t size_of(uint32_t number) {
    return 4 + number * 2654435761u % 200;
}

/* One who spins leaves the processor now and then to the other: there may be but one for both. */
static void spin(uint32_t *attempts) {
    if (++*attempts % 256 == 0) sched_yield();
}

static void produce(pair *it) {
    kl_spsc_ring ring = grip(it->memory);
    uint8_t record[256];
    uint32_t attempts = 0;
    for (uint32_t number = 0; number < it->records; number++) {
        fill(record, number, size_of(number));
        for (;;) {
            uint32_t key = kl_event_count_prepare(&ring.header->space_event);
            if (kl_spsc_ring_push_sp(&ring, record, size_of(number)) == KL_OK) break;
            if (it->spins)
                spin(&attempts);
            else
                kl_event_count_wait(&ring.header->space_event, key, KL_FOREVER, NULL);
        }
        if (!it->spins) kl_spsc_ring_notify_data(&ring);
    }
}

static void consume(pair *it) {
    kl_spsc_ring ring = grip(it->memory);
    uint8_t record[256];
    uint32_t attempts = 0;
    for (uint32_t number = 0; number < it->records;) {
        uint32_t key = kl_event_count_prepare(&ring.header->data_event);
        int32_t bytes = kl_spsc_ring_pop_sc(&ring, record, sizeof record);
        if (bytes == KL_ERR_AGAIN) {
            if (it->spins)
                spin(&attempts);
            else
                kl_event_count_wait(&ring.header->data_event, key, KL_FOREVER, NULL);
            continue;
        }
        KL_CHECK_EQ(bytes, size_of(number));
        KL_CHECK(is_filled(record, number, bytes));
        number++;
        if (!it->spins) kl_spsc_ring_notify_space(&ring);
    }
}

static void either(void *argument, uint32_t index) {
    if (index == 0)
        produce(argument);
    else
        consume(argument);
}

static void carry(bool spins) {
    pair it = {new_memory(4096, 0), kl_test_slow() ? 20000 : 200000, spins};
    kl_test_threads(2, either, &it);
    kl_spsc_ring ring = grip(it.memory);
    KL_CHECK_EQ(ring.head, ring.tail);
    free(it.memory);
}

KL_TEST(kl_spsc_ring_carries_records_between_two_threads_that_sleep) {
    carry(false);
}

KL_TEST(kl_spsc_ring_carries_records_between_two_threads_that_spin) {
    carry(true);
}

static void either_word(void *argument, uint32_t index) {
    pair *it = argument;
    kl_spsc_ring ring = grip(it->memory);
    uint32_t attempts = 0;
    for (uint64_t number = 0, value = 0; number < it->records;) {
        int32_t status = index == 0 ? kl_spsc_ring_push_u64_sp(&ring, number)
                                    : kl_spsc_ring_pop_u64_sc(&ring, &value);
        if (status != KL_OK) {
            spin(&attempts);
            continue;
        }
        if (index != 0) KL_CHECK_EQ(value, number);
        number++;
    }
}

KL_TEST(kl_spsc_ring_carries_words_between_two_threads) {
    pair it = {new_memory(1024, 8), kl_test_slow() ? 50000 : 1000000, true};
    kl_test_threads(2, either_word, &it);
    free(it.memory);
}

/* ---- two processes, killed ---- */

typedef struct {
    _Atomic uint32_t next_in;  /* the producer's: written before it pushes that number */
    _Atomic uint32_t next_out; /* the consumer's: written after it has popped that number */
    _Atomic uint32_t claims, wrong;
} notes;

#define RING_CAPACITY 2048
static char path[512];

static kl_region *create_region(void) {
    kl_region *region = NULL;
    kl_region_spec spec = {.kind = 1};
    snprintf(path, sizeof path, "%s/region", kl_test_folder());
    uint64_t bytes = kl_spsc_ring_memory_bytes(RING_CAPACITY) + sizeof(notes);
    KL_CHECK_EQ(kl_region_create(&region, path, bytes, &spec), KL_OK);
    KL_CHECK_EQ(kl_spsc_ring_format(kl_region_data(region), RING_CAPACITY, 0), KL_OK);
    KL_CHECK_EQ(kl_region_publish(region), KL_OK);
    return region;
}

static notes *notes_of(kl_region *region) {
    return (notes *)(void *)(kl_region_data(region) + kl_spsc_ring_memory_bytes(RING_CAPACITY));
}

static kl_region *claim_side(kl_spsc_ring *ring, uint32_t side) {
    kl_region *region = NULL;
    KL_CHECK_EQ(kl_region_attach(&region, path, NULL), KL_OK);
    KL_CHECK_LE(0, kl_region_join(region, side));
    KL_CHECK_EQ(kl_spsc_ring_grip(ring, kl_region_data(region), kl_region_data_bytes(region)),
                KL_OK);
    KL_CHECK_LE(0, kl_spsc_ring_claim(ring, region, side));
    atomic_fetch_add(&notes_of(region)->claims, 1);
    return region;
}

static int produce_until_killed(void *argument) {
    (void)argument;
    kl_spsc_ring ring;
    notes *it = notes_of(claim_side(&ring, KL_SPSC_RING_PRODUCER));
    uint8_t record[256];
    for (;;) {
        uint32_t number = atomic_fetch_add(&it->next_in, 1); /* a killed one leaves a gap */
        fill(record, number, size_of(number));
        for (;;) {
            uint32_t key = kl_event_count_prepare(&ring.header->space_event);
            int32_t status = kl_spsc_ring_push_sp(&ring, record, size_of(number));
            if (status == KL_OK) break;
            if (status != KL_ERR_AGAIN) return 2;
            kl_event_count_wait(&ring.header->space_event, key, KL_FOREVER, NULL);
        }
        kl_spsc_ring_notify_data(&ring);
    }
}

static int consume_until_killed(void *argument) {
    (void)argument;
    kl_spsc_ring ring;
    notes *it = notes_of(claim_side(&ring, KL_SPSC_RING_CONSUMER));
    uint8_t record[256];
    for (bool first = true;;) {
        uint32_t key = kl_event_count_prepare(&ring.header->data_event), number;
        int32_t bytes = kl_spsc_ring_pop_sc(&ring, record, sizeof record);
        if (bytes == KL_ERR_AGAIN) {
            kl_event_count_wait(&ring.header->data_event, key, KL_FOREVER, NULL);
            continue;
        }
        if (bytes < 0) return 2;
        memcpy(&number, record, 4);
        /* The record a killed consumer was at may come again, or be gone: its head store was the
         * last thing it did, or the note was not. */
        uint32_t expected = atomic_load(&it->next_out);
        bool in_order = number >= expected || (first && number + 1 == expected);
        if ((uint32_t)bytes != size_of(number) || !is_filled(record, number, bytes) || !in_order)
            atomic_fetch_add(&it->wrong, 1);
        atomic_store(&it->next_out, number + 1);
        first = false;
        kl_spsc_ring_notify_space(&ring);
    }
}

KL_TEST(kl_spsc_ring_goes_on_when_either_side_is_killed) {
    kl_region *region = create_region();
    notes *it = notes_of(region);
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    int (*const bodies[2])(void *) = {produce_until_killed, consume_until_killed};
    int children[2];
    for (uint32_t side = 0; side < 2; side++) children[side] = kl_test_fork(bodies[side], NULL);
    uint32_t rounds = kl_test_slow() ? 10 : 60;
    for (uint32_t round = 0; round < rounds; round++) {
        usleep((useconds_t)kl_random_below(&random, 8000));
        uint64_t side = kl_random_below(&random, 2);
        kill(children[side], SIGKILL);
        KL_CHECK_EQ(kl_test_join(children[side]), 128 + SIGKILL);
        children[side] = kl_test_fork(bodies[side], NULL);
    }
    uint32_t before = atomic_load(&it->next_out); /* both sides still move after the last kill */
    for (uint32_t i = 0; i < 5000 && atomic_load(&it->next_out) < before + 100; i++) usleep(1000);
    KL_CHECK_LE(before + 100, it->next_out);
    for (uint32_t side = 0; side < 2; side++) {
        kill(children[side], SIGKILL);
        KL_CHECK_EQ(kl_test_join(children[side]), 128 + SIGKILL);
    }
    kl_spsc_ring ring;
    KL_CHECK_EQ(kl_spsc_ring_grip(&ring, kl_region_data(region), kl_region_data_bytes(region)),
                KL_OK);
    KL_CHECK_EQ(kl_spsc_ring_verify(&ring), KL_OK);
    KL_CHECK_EQ(it->wrong, 0);
    kl_region_close(region);
}

KL_TEST(kl_spsc_ring_claim_refuses_a_live_owner_and_replaces_a_dead_one) {
    kl_region *region = create_region();
    kl_spsc_ring ring, other;
    kl_region *first = claim_side(&ring, KL_SPSC_RING_PRODUCER);
    KL_CHECK_EQ(kl_spsc_ring_claim(&ring, first, KL_SPSC_RING_PRODUCER), KL_OK); /* again */
    kl_region *second = claim_side(&other, KL_SPSC_RING_CONSUMER);
    KL_CHECK_EQ(kl_spsc_ring_claim(&other, second, KL_SPSC_RING_PRODUCER), KL_ERR_LOCKED);
    kl_spsc_ring_release(&other, second, KL_SPSC_RING_PRODUCER); /* not its own: nothing */
    KL_CHECK_EQ(kl_spsc_ring_claim(&other, second, KL_SPSC_RING_PRODUCER), KL_ERR_LOCKED);
    kl_region_close(first); /* without release: as if it had died */
    KL_CHECK_EQ(kl_spsc_ring_claim(&other, second, KL_SPSC_RING_PRODUCER), KL_OWNER_DEAD);
    kl_spsc_ring_release(&other, second, KL_SPSC_RING_PRODUCER);
    KL_CHECK_EQ(other.header->producer, 0);
    kl_region_close(second);
    kl_region_close(region);
}

/* ---- hostile memory ---- */

static void scribble(kl_random *random, uint8_t *bytes, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) bytes[i] = (uint8_t)kl_random_u64(random);
}

static bool is_documented(int32_t status) {
    return status >= 0 || status == KL_ERR_AGAIN || status == KL_ERR_CORRUPT ||
           status == KL_ERR_LIMIT || status == KL_ERR_ARGUMENT;
}

static void use_scribbled(kl_spsc_ring *ring, kl_random *random) {
    uint8_t buffer[300];
    uint32_t bytes = (uint32_t)kl_random_below(random, sizeof buffer);
    switch (kl_random_below(random, 6)) {
    case 0: KL_CHECK(is_documented(kl_spsc_ring_push_sp(ring, buffer, bytes))); break;
    case 1: KL_CHECK(is_documented(kl_spsc_ring_pop_sc(ring, buffer, bytes))); break;
    case 2: KL_CHECK(is_documented(kl_spsc_ring_peek_sc(ring))); break;
    case 3: KL_CHECK(is_documented(kl_spsc_ring_verify(ring))); break;
    case 4: KL_CHECK(is_documented(kl_spsc_ring_pop_batch_sc(ring, buffer, bytes))); break;
    default:
        scribble(random, buffer, bytes);
        KL_CHECK(is_documented(kl_spsc_ring_push_batch_sp(ring, buffer, bytes)));
    }
}

KL_TEST(kl_spsc_ring_answers_hostile_bytes_with_codes_only) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (uint32_t round = 0; round < 2000; round++) {
        uint64_t capacity = 64ull << kl_random_below(&random, 4);
        kl_spsc_ring_header *header =
            new_memory(capacity, kl_random_below(&random, 4) == 0 ? 8 : 0);
        kl_spsc_ring ring = grip(header);
        for (uint32_t i = 0; i < 40; i++) {
            uint64_t near = ring.tail + 8 * kl_random_below(&random, 64) - 256;
            switch (kl_random_below(&random, 8)) {
            case 0: scribble(&random, ring.data, capacity); break;
            case 1: header->tail = near; break;
            case 2: header->head = near; break;
            case 3: scribble(&random, (uint8_t *)header, 8); break;
            case 4: scribble(&random, (uint8_t *)&header->head, 8); break;
            case 5: scribble(&random, (uint8_t *)&header->capacity_bytes, 8); break;
            default: use_scribbled(&ring, &random);
            }
        }
        free(header);
    }
}

KL_TEST(kl_spsc_ring_refuses_positions_of_the_other_side_that_cannot_be) {
    void *memory = new_memory(64, 0);
    kl_spsc_ring_header *header = memory;
    uint64_t heads[] = {8, 4, UINT64_MAX - 71, 1ull << 40};
    uint64_t tails[] = {UINT64_MAX - 7, 4, 72, 1ull << 40};
    for (uint32_t i = 0; i < 4; i++) {
        uint8_t out[64];
        kl_spsc_ring producer = grip(memory), consumer = grip(memory);
        header->head = heads[i];
        KL_CHECK_EQ(kl_spsc_ring_push_sp(&producer, out, 8), KL_ERR_CORRUPT);
        KL_CHECK_EQ(header->tail, 0);
        header->head = 0;
        header->tail = tails[i];
        KL_CHECK_EQ(kl_spsc_ring_pop_sc(&consumer, out, 64), KL_ERR_CORRUPT);
        KL_CHECK_EQ(kl_spsc_ring_verify(&consumer), KL_ERR_CORRUPT);
        KL_CHECK_EQ(header->head, 0);
        header->tail = 0;
    }
    free(memory);
}

KL_TEST(kl_spsc_ring_grip_refuses_foreign_and_damaged_memory) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    kl_spsc_ring ring;
    kl_spsc_ring_header *header = new_memory(1024, 0);
    KL_CHECK_EQ(kl_spsc_ring_grip(&ring, header, KL_SPSC_RING_HEADER_BYTES - 1), KL_ERR_CORRUPT);
    KL_CHECK_EQ(kl_spsc_ring_grip(&ring, header, KL_SPSC_RING_HEADER_BYTES + 1023), KL_ERR_CORRUPT);
    header->version++;
    KL_CHECK_EQ(kl_spsc_ring_grip(&ring, header, KL_SPSC_RING_HEADER_BYTES + 1024), KL_ERR_VERSION);
    header->version--;
    header->tail = 4;
    KL_CHECK_EQ(kl_spsc_ring_grip(&ring, header, KL_SPSC_RING_HEADER_BYTES + 1024), KL_ERR_CORRUPT);
    for (uint32_t i = 0; i < 1000; i++) {
        scribble(&random, (uint8_t *)header, KL_SPSC_RING_HEADER_BYTES);
        KL_CHECK_EQ(kl_spsc_ring_grip(&ring, header, KL_SPSC_RING_HEADER_BYTES + 1024),
                    KL_ERR_CORRUPT);
    }
    free(header);
}

/* ---- behind a handle ---- */

static uint32_t named(const char *name, uint32_t record_bytes, bool create, int32_t expected) {
    uint32_t handle = 0, bytes = (uint32_t)strlen(name);
    const uint8_t *utf8 = (const uint8_t *)name;
    int32_t status = create
                         ? kl_spsc_ring_create(utf8, bytes, 1024, record_bytes, (uint8_t *)&handle)
                         : kl_spsc_ring_attach(utf8, bytes, (uint8_t *)&handle);
    KL_CHECK_EQ(status, expected);
    return handle;
}

static const char *test_name(void) {
    static char name[64];
    snprintf(name, sizeof name, "test-spsc-%d-%llx", getpid(),
             (unsigned long long)kl_test_now_ns());
    return name;
}

static void remove_named(const char *name, int32_t expected) {
    KL_CHECK_EQ(kl_spsc_ring_remove((const uint8_t *)name, (uint32_t)strlen(name)), expected);
}

KL_TEST(kl_spsc_ring_create_and_attach_share_one_named_ring) {
    const char *name = test_name();
    uint8_t out[64];
    named(name, 0, false, KL_ERR_NOT_FOUND);
    uint32_t ring = named(name, 0, true, KL_OK), other = named(name, 0, false, KL_OK);
    named(name, 0, true, KL_ERR_EXISTS);
    KL_CHECK_EQ(kl_spsc_ring_push(ring, (const uint8_t *)"hello", 5), KL_OK);
    KL_CHECK_EQ(kl_spsc_ring_peek(other), 5);
    KL_CHECK_EQ(kl_spsc_ring_pop(other, out, 64), 5);
    KL_CHECK_BYTES(out, "hello", 5);
    KL_CHECK_EQ(kl_spsc_ring_pop(other, out, 64), KL_ERR_AGAIN);
    KL_CHECK(kl_spsc_ring_used_bytes(ring) == 0);
    KL_CHECK(kl_spsc_ring_capacity_bytes(ring) == 1024);
    KL_CHECK_EQ(kl_spsc_ring_push_u32(ring, 1), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_spsc_ring_push(ring, NULL, 1), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_spsc_ring_check(ring), KL_OK);
    KL_CHECK_EQ(kl_spsc_ring_close(ring), KL_OK);
    KL_CHECK_EQ(kl_spsc_ring_close(ring), KL_ERR_HANDLE);
    KL_CHECK_EQ(kl_spsc_ring_push(ring, out, 1), KL_ERR_HANDLE);
    KL_CHECK_EQ(kl_spsc_ring_push(0, out, 1), KL_ERR_HANDLE);
    remove_named(name, KL_OK);
    remove_named(name, KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_spsc_ring_push(other, (const uint8_t *)"kept", 4), KL_OK); /* side was free */
    KL_CHECK_EQ(kl_spsc_ring_close(other), KL_OK);
    named("../x", 0, true, KL_ERR_NAME);
    named("", 0, true, KL_ERR_NAME);
}

KL_TEST(kl_spsc_ring_push_u32_and_pop_u32_carry_words) {
    const char *name = test_name();
    uint32_t ring = named(name, 8, true, KL_OK);
    KL_CHECK_EQ(kl_spsc_ring_push_u32(ring, UINT32_MAX), KL_OK);
    KL_CHECK_EQ(kl_spsc_ring_push_u32(ring, 0), KL_OK);
    KL_CHECK(kl_spsc_ring_pop_u32(ring) == UINT32_MAX);
    KL_CHECK(kl_spsc_ring_pop_u32(ring) == 0);
    KL_CHECK_EQ((int32_t)kl_spsc_ring_pop_u32(ring), KL_ERR_AGAIN);
    remove_named(name, KL_OK);
    KL_CHECK_EQ(kl_spsc_ring_close(ring), KL_OK);
}

static void *push_one(void *argument) {
    uint32_t ring = *(uint32_t *)argument;
    return (void *)(intptr_t)kl_spsc_ring_push(ring, (const uint8_t *)"x", 1);
}

KL_TEST(kl_spsc_ring_push_takes_the_side_over_from_a_thread_that_ended_without_closing) {
    const char *name = test_name();
    uint32_t theirs = named(name, 0, true, KL_OK), ours = named(name, 0, false, KL_OK);
    pthread_t thread;
    void *status;
    pthread_create(&thread, NULL, push_one, &theirs);
    pthread_join(thread, &status);
    KL_CHECK_EQ((intptr_t)status, KL_OK);
    KL_CHECK_EQ(kl_spsc_ring_push(ours, (const uint8_t *)"y", 1), KL_OK);
    uint32_t third = named(name, 0, false, KL_OK);
    pthread_create(&thread, NULL, push_one, &third); /* this thread lives and has the side */
    pthread_join(thread, &status);
    KL_CHECK_EQ((intptr_t)status, KL_ERR_LOCKED);
    kl_spsc_ring_close(third);
    remove_named(name, KL_OK);
    kl_spsc_ring_close(theirs);
    kl_spsc_ring_close(ours);
}

#ifndef KL_THREAD_SANITIZED /* the tool cannot take a bus error inside one of its own atomics */
KL_TEST(kl_spsc_ring_pop_answers_poisoned_after_a_peer_truncated_the_region) {
    const char *name = test_name();
    char file[256];
    uint32_t ring = named(name, 0, true, KL_OK);
    uint8_t out[8];
    KL_CHECK_EQ(kl_spsc_ring_push(ring, (const uint8_t *)"x", 1), KL_OK);
    KL_CHECK_EQ(kl_region_name_path(name, file, sizeof file), KL_OK);
    KL_CHECK_EQ(truncate(file, 0), 0);
    KL_CHECK_EQ(kl_spsc_ring_pop(ring, out, 8), KL_ERR_POISONED);
    KL_CHECK_EQ(kl_spsc_ring_push(ring, out, 8), KL_ERR_POISONED);
    KL_CHECK_EQ(kl_spsc_ring_close(ring), KL_OK);
    unlink(file);
}
#endif
