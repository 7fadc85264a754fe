#include "lockfree/mpsc_ring.h"

#include "base/random.h"
#include "tests/c/harness.h"
#include "tests/c/lockfree/history.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ID(slot) (0x100u | (slot)) /* of a thread: generation 1 */

/* A ring in memory of exactly its size, so that a sanitizer sees one byte too far. */
static kl_mpsc_ring_header *new_memory(uint64_t capacity, uint64_t start) {
    uint64_t bytes = kl_mpsc_ring_memory_bytes(capacity);
    kl_mpsc_ring_header *header = aligned_alloc(KL_LINE_BYTES, bytes);
    memset(header, 0x5a, bytes);
    KL_CHECK_EQ(kl_mpsc_ring_format(header, capacity), KL_OK);
    header->tail = header->head = header->limit = start;
    return header;
}

static kl_mpsc_ring grip(void *memory) {
    kl_mpsc_ring ring;
    kl_mpsc_ring_header *header = memory;
    KL_CHECK_EQ(
        kl_mpsc_ring_grip(&ring, memory, KL_MPSC_RING_HEADER_BYTES + header->capacity_bytes),
        KL_OK);
    return ring;
}

/* Whoever is in the list, which ends with 0, is dead. */
static bool lives(void *context, uint32_t owner) {
    for (const uint32_t *dead = context; dead && *dead; dead++)
        if (*dead == owner) return false;
    return owner != 0;
}

static kl_mpsc_ring consume(void *memory, uint32_t self, uint32_t *dead) {
    kl_mpsc_ring ring = grip(memory);
    KL_CHECK_LE(0, kl_mpsc_ring_take(&ring, self, lives, dead));
    return ring;
}

static void fill(uint8_t *record, uint32_t number, uint32_t bytes) {
    for (uint32_t i = 0; i < bytes; i++) record[i] = (uint8_t)(number * 7 + i);
}

static bool is_filled(const uint8_t *record, uint32_t number, uint32_t bytes) {
    for (uint32_t i = 0; i < bytes; i++)
        if (record[i] != (uint8_t)(number * 7 + i)) return false;
    return true;
}

KL_TEST(kl_mpsc_ring_format_refuses_capacities_that_are_no_power_of_two_in_range) {
    uint64_t refused[] = {0, 64, 192, 1ull << 32, UINT64_MAX};
    for (uint32_t i = 0; i < 5; i++) {
        KL_CHECK_EQ(kl_mpsc_ring_memory_bytes(refused[i]), 0);
        KL_CHECK_EQ(kl_mpsc_ring_format(NULL, refused[i]), KL_ERR_ARGUMENT);
    }
    KL_CHECK_EQ(kl_mpsc_ring_memory_bytes(1024), KL_MPSC_RING_HEADER_BYTES + 1024);
    void *memory = new_memory(128, 0);
    kl_mpsc_ring ring = grip(memory);
    KL_CHECK_EQ(kl_mpsc_ring_record_bytes_max(&ring), 56);
    KL_CHECK_EQ(kl_mpsc_ring_enlist_mp(&ring, 0), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_mpsc_ring_enlist_mp(&ring, 0x80000101u), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_mpsc_ring_enlist_mp(&ring, 0x140), KL_ERR_ARGUMENT); /* slot 64 */
    KL_CHECK_EQ(kl_mpsc_ring_push_mp(&ring, ID(1), "", 57), KL_ERR_ARGUMENT);
    free(memory);
}

/* Q1, Q4 */
KL_TEST(kl_mpsc_ring_Q1_Q4_push_until_full_and_pop_until_empty) {
    void *memory = new_memory(128, 0);
    kl_mpsc_ring ring = consume(memory, ID(0), NULL);
    KL_CHECK_EQ(kl_mpsc_ring_enlist_mp(&ring, ID(1)), KL_OK);
    uint8_t out[64];
    KL_CHECK_EQ(kl_mpsc_ring_pop_sc(&ring, out, 64), KL_ERR_AGAIN);
    for (uint32_t i = 0; i < 16; i++) KL_CHECK_EQ(kl_mpsc_ring_push_mp(&ring, ID(1), NULL, 0), 0);
    KL_CHECK_EQ(kl_mpsc_ring_push_mp(&ring, ID(1), NULL, 0), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_mpsc_ring_verify(&ring), KL_OK);
    for (uint32_t i = 0; i < 16; i++) KL_CHECK_EQ(kl_mpsc_ring_pop_sc(&ring, NULL, 0), 0);
    KL_CHECK_EQ(kl_mpsc_ring_pop_sc(&ring, NULL, 0), KL_ERR_AGAIN);
    fill(out, 3, 56);
    KL_CHECK_EQ(kl_mpsc_ring_push_mp(&ring, ID(1), out, 56), KL_OK);
    KL_CHECK_EQ(kl_mpsc_ring_pop_sc(&ring, out, 55), KL_ERR_LIMIT);
    KL_CHECK_EQ(kl_mpsc_ring_peek_sc(&ring), 56);
    KL_CHECK(is_filled(kl_mpsc_ring_at(&ring, ring.head), 3, 56));
    KL_CHECK_EQ(kl_mpsc_ring_release_sc(&ring), KL_OK);
    KL_CHECK_EQ(kl_mpsc_ring_release_sc(&ring), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_mpsc_ring_verify(&ring), KL_OK);
    free(memory);
}

/* ---- against a dull queue ---- */

#define MODEL_MAX  4096
#define CLAIMS_MAX 8
typedef struct {
    uint32_t bytes, number;
    uint64_t position; /* of a claim that is open */
    enum { OPEN, DONE, GIVEN_UP } state;
} entry;

typedef struct {
    kl_random random;
    kl_mpsc_ring ring;
    entry entries[MODEL_MAX];
    uint32_t first, count, open, numbers;
    uint8_t *buffer;
} model;

static entry *entry_at(model *it, uint32_t index) {
    return &it->entries[(it->first + index) % MODEL_MAX];
}

static void model_add(model *it, uint32_t bytes, uint64_t position, bool open) {
    *entry_at(it, it->count++) = (entry){bytes, it->numbers++, position, open ? OPEN : DONE};
    it->open += open;
}

static void model_claim(model *it, bool open) {
    uint32_t most = kl_mpsc_ring_record_bytes_max(&it->ring);
    uint32_t bytes = (uint32_t)kl_random_below(
        &it->random, kl_random_below(&it->random, 3) == 0 ? most + 1 : most / 8 + 1);
    uint64_t position, used = it->ring.header->tail - it->ring.header->limit;
    int32_t status = kl_mpsc_ring_claim_mp(&it->ring, ID(1), bytes, &position);
    uint64_t taken = 8 + ((bytes + 7ull) & ~7ull);
    /* Full: the record and at most as much padding find no room. */
    if (status == KL_ERR_AGAIN) KL_CHECK_LT(it->ring.mask + 1, used + 2 * taken);
    if (status != KL_OK) {
        KL_CHECK_EQ(status, KL_ERR_AGAIN);
        return;
    }
    fill(kl_mpsc_ring_at(&it->ring, position), it->numbers, bytes);
    if (!open) KL_CHECK_EQ(kl_mpsc_ring_commit_mp(&it->ring, ID(1), position, bytes), KL_OK);
    model_add(it, bytes, position, open);
}

static void model_end_claim(model *it) {
    uint32_t index = (uint32_t)kl_random_below(&it->random, it->count);
    entry *one = entry_at(it, index);
    if (one->state != OPEN) return;
    if (kl_random_below(&it->random, 3) == 0) {
        KL_CHECK_EQ(kl_mpsc_ring_abort_mp(&it->ring, ID(1), one->position), KL_OK);
        one->state = GIVEN_UP;
    } else {
        one->bytes = (uint32_t)kl_random_below(&it->random, one->bytes + 1); /* not all of it */
        KL_CHECK_EQ(kl_mpsc_ring_commit_mp(&it->ring, ID(1), one->position, one->bytes), KL_OK);
        one->state = DONE;
    }
    it->open--;
    KL_CHECK_EQ(kl_mpsc_ring_commit_mp(&it->ring, ID(1), one->position, 0), KL_ERR_ARGUMENT);
}

static void model_skip_given_up(model *it) {
    while (it->count > 0 && entry_at(it, 0)->state == GIVEN_UP) {
        it->first = (it->first + 1) % MODEL_MAX;
        it->count--;
    }
}

static void model_expect(model *it, const uint8_t *bytes, int32_t status) {
    model_skip_given_up(it);
    if (it->count == 0 || entry_at(it, 0)->state == OPEN) {
        KL_CHECK_EQ(status, it->count == 0 ? KL_ERR_AGAIN : KL_ERR_LOCKED);
        return;
    }
    KL_CHECK_EQ(status, entry_at(it, 0)->bytes);
    KL_CHECK(is_filled(bytes, entry_at(it, 0)->number, entry_at(it, 0)->bytes));
    it->first = (it->first + 1) % MODEL_MAX;
    it->count--;
}

static void model_push_batch(model *it) {
    uint32_t count = 1 + (uint32_t)kl_random_below(&it->random, 10), bytes[10], at = 0;
    for (uint32_t i = 0; i < count; i++) {
        bytes[i] = (uint32_t)kl_random_below(&it->random, 50);
        memcpy(it->buffer + at, &bytes[i], 4);
        fill(it->buffer + at + 4, it->numbers + i, bytes[i]);
        at += 4 + ((bytes[i] + 3) & ~3u);
    }
    int32_t pushed = kl_mpsc_ring_push_batch_mp(&it->ring, ID(1), it->buffer, at);
    KL_CHECK(pushed >= 0 && (uint32_t)pushed <= count);
    for (int32_t i = 0; i < pushed; i++) model_add(it, bytes[i], 0, false);
}

static void model_pop_batch(model *it) {
    uint32_t at = 0;
    int32_t popped = kl_mpsc_ring_pop_batch_sc(&it->ring, it->buffer,
                                               (uint32_t)kl_random_below(&it->random, 300));
    if (popped == KL_ERR_LIMIT) return;
    KL_CHECK_LE(0, popped);
    for (int32_t i = 0; i < popped; i++) {
        uint32_t bytes;
        memcpy(&bytes, it->buffer + at, 4);
        model_expect(it, it->buffer + at + 4, (int32_t)bytes);
        at += 4 + ((bytes + 3) & ~3u);
    }
}

static void compare_with_model(uint64_t capacity, uint64_t start, uint64_t seed) {
    static model it;
    memset(&it, 0, sizeof it);
    kl_random_init(&it.random, seed);
    kl_mpsc_ring_header *header = new_memory(capacity, start);
    it.ring = consume(header, ID(0), NULL);
    it.buffer = malloc(capacity + 1024);
    KL_CHECK_EQ(kl_mpsc_ring_enlist_mp(&it.ring, ID(1)), KL_OK);
    for (uint32_t i = 0; i < (kl_test_slow() ? 2000u : 20000u); i++) {
        switch (kl_random_below(&it.random, 8)) {
        case 0: model_claim(&it, it.open < CLAIMS_MAX); break;
        case 1: model_claim(&it, false); break;
        case 2: model_push_batch(&it); break;
        case 3: model_pop_batch(&it); break;
        case 4:
        case 5:
            if (it.count > 0) model_end_claim(&it);
            break;
        default:
            model_expect(&it, it.buffer,
                         kl_mpsc_ring_pop_sc(&it.ring, it.buffer, (uint32_t)capacity));
        }
        if (i % 16 == 0 && kl_mpsc_ring_verify(&it.ring) != KL_OK)
            kl_test_fail(__FILE__, __LINE__, "%s", kl_status_last());
        if (i % 100 == 0) it.ring = consume(header, ID(0), NULL); /* it comes back */
    }
    free(it.buffer);
    free(header);
}

KL_TEST(kl_mpsc_ring_behaves_like_a_dull_queue) {
    for (uint64_t capacity = 128; capacity <= 8192; capacity *= 4)
        compare_with_model(capacity, 0, kl_test_seed() + capacity);
}

KL_TEST(kl_mpsc_ring_Q4_positions_pass_2_to_the_32_and_63_and_wrap) {
    uint64_t starts[] = {(1ull << 32) - 128, (1ull << 63) - 1024, UINT64_MAX - 1023};
    for (uint32_t i = 0; i < 3; i++) compare_with_model(512, starts[i], kl_test_seed() + i);
}

/* ---- threads ---- */

#define PRODUCERS 3
typedef struct {
    void *memory;
    uint32_t records; /* of each producer */
    kl_history histories[PRODUCERS + 1];
    bool timed;
    uint32_t left;
} crowd;

static void produce(crowd *it, uint32_t index) {
    kl_mpsc_ring ring = grip(it->memory);
    uint32_t self = ID(index);
    KL_CHECK_EQ(kl_mpsc_ring_enlist_mp(&ring, self), KL_OK);
    for (uint32_t number = 0, tries = 0; number < it->records;) {
        uint64_t value = (uint64_t)index << 32 | number;
        uint64_t start = it->timed ? kl_history_now() : 0, position;
        int32_t status;
        if (number % 3 == 0) { /* the long way, sometimes for nothing */
            status = kl_mpsc_ring_claim_mp(&ring, self, 24, &position);
            if (status == KL_OK && number % 2 == 0 && tries++ % 4 == 0) {
                KL_CHECK_EQ(kl_mpsc_ring_abort_mp(&ring, self, position), KL_OK);
                continue;
            }
            if (status == KL_OK) {
                memcpy(kl_mpsc_ring_at(&ring, position), &value, 8);
                KL_CHECK_EQ(kl_mpsc_ring_commit_mp(&ring, self, position, 8), KL_OK);
            }
        } else {
            status = kl_mpsc_ring_push_mp(&ring, self, &value, 8);
        }
        if (it->timed && status == KL_OK)
            kl_history_add(&it->histories[index], KL_HISTORY_PUSH, value, start);
        if (status == KL_OK)
            number++;
        else if (++tries % 64 == 0)
            sched_yield();
    }
}

static void consume_all(crowd *it) {
    kl_mpsc_ring ring = consume(it->memory, ID(60), NULL);
    uint32_t next[PRODUCERS] = {0}, tries = 0;
    for (uint32_t left = it->records * PRODUCERS; left > 0;) {
        uint64_t value, start = it->timed ? kl_history_now() : 0;
        int32_t bytes = kl_mpsc_ring_pop_sc(&ring, &value, 8);
        if (bytes < 0) {
            /* Empty or locked: only the first is a statement about the queue. */
            if (it->timed && bytes == KL_ERR_AGAIN && tries % 8 == 0)
                kl_history_add(&it->histories[PRODUCERS], KL_HISTORY_EMPTY, 0, start);
            if (++tries % 64 == 0) sched_yield();
            continue;
        }
        if (it->timed) kl_history_add(&it->histories[PRODUCERS], KL_HISTORY_POP, value, start);
        uint32_t from = (uint32_t)(value >> 32);
        KL_CHECK_EQ(bytes, 8);
        KL_CHECK_LT(from, PRODUCERS);
        KL_CHECK_EQ((uint32_t)value, next[from % PRODUCERS]++);
        left--;
    }
    KL_CHECK_EQ(kl_mpsc_ring_pop_sc(&ring, &tries, 4), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_mpsc_ring_verify(&ring), KL_OK);
}

static void join_crowd(void *argument, uint32_t index) {
    if (index < PRODUCERS)
        produce(argument, index);
    else
        consume_all(argument);
}

KL_TEST(kl_mpsc_ring_Q2_Q3_three_producers_keep_their_order_and_nothing_is_lost) {
    crowd it = {.memory = new_memory(2048, 0), .records = kl_test_slow() ? 10000 : 150000};
    kl_test_threads(PRODUCERS + 1, join_crowd, &it);
    free(it.memory);
}

KL_TEST(kl_mpsc_ring_Q3_a_history_of_a_million_operations_is_linearizable) {
    crowd it = {
        .memory = new_memory(1024, 0), .records = kl_test_slow() ? 5000 : 170000, .timed = true};
    for (uint32_t i = 0; i <= PRODUCERS; i++)
        kl_history_init(&it.histories[i], i, i < PRODUCERS ? it.records : it.records * 60ull);
    kl_test_threads(PRODUCERS + 1, join_crowd, &it);
    const char *wrong = kl_history_check_fifo(it.histories, PRODUCERS + 1, 0);
    if (wrong) kl_test_fail(__FILE__, __LINE__, "%s", wrong);
    for (uint32_t i = 0; i <= PRODUCERS; i++) kl_history_free(&it.histories[i]);
    free(it.memory);
}

/* ---- death, acted ---- */

/* A claim whose owner goes no further than `stamped` says. */
static uint64_t leave_claim(kl_mpsc_ring *ring, uint32_t self, uint32_t bytes, bool stamped) {
    uint64_t position;
    KL_CHECK_EQ(kl_mpsc_ring_enlist_mp(ring, self), KL_OK);
    KL_CHECK_EQ(kl_mpsc_ring_claim_mp(ring, self, bytes, &position), KL_OK);
    if (stamped) return position;
    memset(kl_mpsc_ring_at(ring, position) - 8, 0, 8);
    ring->header->intents[self & 0xff].position = position | KL_MPSC_RING_INTENT;
    return position;
}

KL_TEST(kl_mpsc_ring_unblock_makes_padding_of_a_dead_claim_and_spares_a_living_one) {
    for (uint32_t stamped = 0; stamped < 2; stamped++) {
        void *memory = new_memory(1024, 0);
        uint32_t dead[] = {0, 0};
        kl_mpsc_ring ring = consume(memory, ID(0), NULL);
        leave_claim(&ring, ID(1), 20, stamped);
        KL_CHECK_EQ(kl_mpsc_ring_enlist_mp(&ring, ID(2)), KL_OK);
        KL_CHECK_EQ(kl_mpsc_ring_push_mp(&ring, ID(2), "after", 5), KL_OK);
        uint8_t out[8];
        KL_CHECK_EQ(kl_mpsc_ring_pop_sc(&ring, out, 8), KL_ERR_LOCKED);
        KL_CHECK_EQ(kl_mpsc_ring_unblock_sc(&ring, lives, dead), KL_ERR_LOCKED);
        dead[0] = ID(1);
        KL_CHECK_EQ(kl_mpsc_ring_unblock_sc(&ring, lives, dead), KL_OK);
        KL_CHECK_EQ(kl_mpsc_ring_pop_sc(&ring, out, 8), 5);
        KL_CHECK_BYTES(out, "after", 5);
        KL_CHECK_EQ(kl_mpsc_ring_unblock_sc(&ring, lives, dead), KL_ERR_AGAIN);
        KL_CHECK_EQ(kl_mpsc_ring_verify(&ring), KL_OK);
        free(memory);
    }
}

KL_TEST(kl_mpsc_ring_unblock_waits_for_a_living_thread_that_stands_behind_a_dead_one) {
    void *memory = new_memory(1024, 0);
    uint32_t dead[] = {ID(1), 0};
    kl_mpsc_ring ring = consume(memory, ID(0), NULL);
    leave_claim(&ring, ID(1), 20, false);
    uint64_t living = leave_claim(&ring, ID(2), 30, false); /* has not stamped yet */
    leave_claim(&ring, ID(3), 40, true);
    KL_CHECK_EQ(kl_mpsc_ring_unblock_sc(&ring, lives, dead), KL_ERR_LOCKED);
    uint64_t word = (uint64_t)ID(2) << 32 | 32;
    memcpy(kl_mpsc_ring_at(&ring, living) - 8, &word, 8); /* now it does */
    ring.header->intents[2].position = 0;
    KL_CHECK_EQ(kl_mpsc_ring_unblock_sc(&ring, lives, dead), KL_OK);
    KL_CHECK_EQ(kl_mpsc_ring_peek_sc(&ring), KL_ERR_LOCKED);
    memcpy(kl_mpsc_ring_at(&ring, living), "alive", 5);
    KL_CHECK_EQ(kl_mpsc_ring_commit_mp(&ring, ID(2), living, 5), KL_OK);
    uint8_t out[8];
    KL_CHECK_EQ(kl_mpsc_ring_pop_sc(&ring, out, 8), 5);
    KL_CHECK_BYTES(out, "alive", 5);
    uint32_t all_dead[] = {ID(1), ID(3), 0};
    KL_CHECK_EQ(kl_mpsc_ring_unblock_sc(&ring, lives, all_dead), KL_OK);
    KL_CHECK_EQ(kl_mpsc_ring_pop_sc(&ring, out, 8), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_mpsc_ring_verify(&ring), KL_OK);
    free(memory);
}

KL_TEST(kl_mpsc_ring_an_intent_that_lost_its_race_does_not_hold_up_an_unblock_for_ever) {
    void *memory = new_memory(128, 0);
    uint32_t dead[] = {ID(1), 0};
    kl_mpsc_ring ring = consume(memory, ID(0), NULL);
    uint64_t position = leave_claim(&ring, ID(1), 56, false);
    KL_CHECK_EQ(kl_mpsc_ring_enlist_mp(&ring, ID(2)), KL_OK);
    ring.header->intents[2].position = position | KL_MPSC_RING_INTENT; /* it wanted that too */
    KL_CHECK_EQ(kl_mpsc_ring_unblock_sc(&ring, lives, dead), KL_ERR_LOCKED);
    uint8_t bytes[56] = {0};
    KL_CHECK_EQ(kl_mpsc_ring_push_mp(&ring, ID(2), bytes, 56), KL_OK);        /* went on */
    KL_CHECK_EQ(kl_mpsc_ring_push_mp(&ring, ID(2), bytes, 56), KL_ERR_AGAIN); /* or gave up */
    KL_CHECK_EQ(ring.header->intents[2].position, 0);
    KL_CHECK_EQ(kl_mpsc_ring_unblock_sc(&ring, lives, dead), KL_OK);
    free(memory);
}

KL_TEST(kl_mpsc_ring_take_refuses_a_live_consumer_and_ends_what_a_dead_one_began) {
    kl_mpsc_ring_header *header = new_memory(1024, 0);
    kl_mpsc_ring ring = consume(header, ID(0), NULL), other = grip(header);
    KL_CHECK_EQ(kl_mpsc_ring_enlist_mp(&ring, ID(1)), KL_OK);
    KL_CHECK_EQ(kl_mpsc_ring_take(&other, ID(2), lives, NULL), KL_ERR_LOCKED);
    kl_mpsc_ring_give(&other, ID(2)); /* not its own: nothing */
    KL_CHECK_EQ(kl_mpsc_ring_take(&other, ID(2), lives, NULL), KL_ERR_LOCKED);
    KL_CHECK_EQ(kl_mpsc_ring_push_mp(&ring, ID(1), "one", 3), KL_OK);
    KL_CHECK_EQ(kl_mpsc_ring_push_mp(&ring, ID(1), "two", 3), KL_OK);
    header->head = 16; /* it stepped over the first, and died before it made it zero */
    uint32_t dead[] = {ID(0), 0};
    KL_CHECK_EQ(kl_mpsc_ring_take(&other, ID(2), lives, dead), KL_OWNER_DEAD);
    KL_CHECK_EQ(header->limit, 16);
    KL_CHECK_EQ(kl_mpsc_ring_verify(&other), KL_OK);
    uint8_t out[8];
    KL_CHECK_EQ(kl_mpsc_ring_pop_sc(&other, out, 8), 3);
    KL_CHECK_BYTES(out, "two", 3);
    kl_mpsc_ring_give(&other, ID(2));
    KL_CHECK_EQ(header->consumer, 0);
    free(header);
}

/* ---- processes, killed ---- */

#define CHILDREN 3
typedef struct {
    _Atomic uint32_t pushing[CHILDREN]; /* the number each is about to push */
    _Atomic uint32_t joined;
} notes;

static char path[512];
#define RING_CAPACITY 2048

static notes *notes_of(kl_region *region) {
    return (notes *)(void *)(kl_region_data(region) + kl_mpsc_ring_memory_bytes(RING_CAPACITY));
}

static bool thread_lives(void *region, uint32_t owner) {
    return kl_region_thread_alive(region, owner);
}

static int push_until_killed(void *argument) {
    uint32_t child = (uint32_t)(uintptr_t)argument;
    kl_region *region = NULL;
    kl_mpsc_ring ring;
    if (kl_region_attach(&region, path, NULL) != KL_OK || kl_region_join(region, 0) < 0) return 2;
    if (kl_mpsc_ring_grip(&ring, kl_region_data(region), kl_region_data_bytes(region)) != KL_OK)
        return 3;
    int32_t self = kl_region_thread_join(region);
    if (self < 0 || kl_mpsc_ring_enlist_mp(&ring, (uint32_t)self) != KL_OK) return 4;
    notes *it = notes_of(region);
    for (;;) {
        uint32_t number = atomic_fetch_add(&it->pushing[child], 1); /* a killed one leaves a gap */
        uint8_t record[128];
        uint32_t bytes = 8 + number % 100;
        fill(record, number, bytes);
        memcpy(record, &(uint32_t[]){child, number}, 8);
        int32_t status;
        while ((status = kl_mpsc_ring_push_mp(&ring, (uint32_t)self, record, bytes)) != KL_OK) {
            if (status != KL_ERR_AGAIN) return 5;
            sched_yield();
        }
    }
}

/* Pops for `ns`; with what it finds wrong in *wrong. How many it popped. */
static uint32_t pop_for(kl_mpsc_ring *ring, kl_region *region, uint64_t ns, uint32_t *next,
                        uint32_t *wrong) {
    uint64_t end = kl_test_now_ns() + ns;
    uint32_t popped = 0;
    while (kl_test_now_ns() < end) {
        uint8_t record[128], wanted[128];
        int32_t bytes = kl_mpsc_ring_pop_sc(ring, record, sizeof record);
        if (bytes == KL_ERR_LOCKED) kl_mpsc_ring_unblock_sc(ring, thread_lives, region);
        if (bytes == KL_ERR_LOCKED || bytes == KL_ERR_AGAIN) {
            sched_yield();
            continue;
        }
        uint32_t from[2] = {0, 0};
        if (bytes >= 8) memcpy(from, record, 8);
        fill(wanted, from[1], 128);
        bool fits = bytes == (int32_t)(8 + from[1] % 100) && from[0] < CHILDREN &&
                    memcmp(record + 8, wanted + 8, (size_t)bytes - 8) == 0;
        if (!fits || from[1] < next[from[0]]) ++*wrong;
        if (fits) next[from[0]] = from[1] + 1;
        popped++;
    }
    return popped;
}

KL_TEST(kl_mpsc_ring_goes_on_when_producer_processes_are_killed) {
    kl_region *region = NULL;
    kl_region_spec spec = {.kind = 1};
    snprintf(path, sizeof path, "%s/region", kl_test_folder());
    uint64_t bytes = kl_mpsc_ring_memory_bytes(RING_CAPACITY) + sizeof(notes);
    KL_CHECK_EQ(kl_region_create(&region, path, bytes, &spec), KL_OK);
    KL_CHECK_EQ(kl_mpsc_ring_format(kl_region_data(region), RING_CAPACITY), KL_OK);
    KL_CHECK_EQ(kl_region_publish(region), KL_OK);
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    int children[CHILDREN];
    for (uint32_t i = 0; i < CHILDREN; i++)
        children[i] = kl_test_fork(push_until_killed, (void *)(uintptr_t)i);
    KL_CHECK_LE(0, kl_region_join(region, 0));
    int32_t self = kl_region_thread_join(region);
    KL_CHECK_LT(0, self);
    kl_mpsc_ring ring;
    KL_CHECK_EQ(kl_mpsc_ring_grip(&ring, kl_region_data(region), kl_region_data_bytes(region)), 0);
    KL_CHECK_EQ(kl_mpsc_ring_take(&ring, (uint32_t)self, thread_lives, region), KL_OK);
    uint32_t next[CHILDREN] = {0}, wrong = 0;
    for (uint32_t round = 0; round < (kl_test_slow() ? 10u : 50u); round++) {
        pop_for(&ring, region, kl_random_below(&random, 8) * 1000000, next, &wrong);
        uint64_t which = kl_random_below(&random, CHILDREN);
        kill(children[which], SIGKILL);
        KL_CHECK_EQ(kl_test_join(children[which]), 128 + SIGKILL);
        children[which] = kl_test_fork(push_until_killed, (void *)(uintptr_t)which);
    }
    uint32_t popped = 0; /* everybody still moves after the last kill */
    for (uint32_t i = 0; i < 1000 && popped < 1000; i++)
        popped += pop_for(&ring, region, 5000000, next, &wrong);
    KL_CHECK_LE(1000, popped);
    for (uint32_t i = 0; i < CHILDREN; i++) {
        kill(children[i], SIGKILL);
        KL_CHECK_EQ(kl_test_join(children[i]), 128 + SIGKILL);
    }
    for (uint32_t i = 0; i < 10; i++) pop_for(&ring, region, 1000000, next, &wrong);
    KL_CHECK_EQ(wrong, 0);
    KL_CHECK_EQ(kl_mpsc_ring_peek_sc(&ring), KL_ERR_AGAIN); /* nothing stuck */
    KL_CHECK_EQ(kl_mpsc_ring_verify(&ring), KL_OK);
    kl_region_close(region);
}

/* ---- hostile memory ---- */

static void scribble(kl_random *random, uint8_t *bytes, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) bytes[i] = (uint8_t)kl_random_u64(random);
}

static bool is_documented(int32_t status) {
    return status >= 0 || status == KL_ERR_AGAIN || status == KL_ERR_CORRUPT ||
           status == KL_ERR_LIMIT || status == KL_ERR_ARGUMENT || status == KL_ERR_LOCKED;
}

static void use_scribbled(kl_mpsc_ring *ring, kl_random *random) {
    uint8_t buffer[300];
    uint32_t bytes = (uint32_t)kl_random_below(random, sizeof buffer), dead[] = {ID(1), 0};
    uint64_t position = kl_random_u64(random) & ~7ull;
    int32_t status = 0;
    switch (kl_random_below(random, 10)) {
    case 0: status = kl_mpsc_ring_push_mp(ring, ID(1), buffer, bytes); break;
    case 1: status = kl_mpsc_ring_pop_sc(ring, buffer, bytes); break;
    case 2: status = kl_mpsc_ring_peek_sc(ring); break;
    case 3: status = kl_mpsc_ring_verify(ring); break;
    case 4: status = kl_mpsc_ring_pop_batch_sc(ring, buffer, bytes); break;
    case 5: status = kl_mpsc_ring_unblock_sc(ring, lives, dead); break;
    case 6: status = kl_mpsc_ring_commit_mp(ring, ID(1), position, bytes); break;
    case 7: status = kl_mpsc_ring_abort_mp(ring, ID(1), position); break;
    case 8: status = kl_mpsc_ring_take(ring, ID(0), lives, dead); break;
    default:
        scribble(random, buffer, bytes);
        status = kl_mpsc_ring_push_batch_mp(ring, ID(1), buffer, bytes);
    }
    KL_CHECK(is_documented(status));
}

/* Words that look like records. */
static void scribble_words(kl_random *random, kl_mpsc_ring *ring) {
    uint32_t states[] = {KL_MPSC_RING_READY, KL_MPSC_RING_PADDING, ID(1), ID(2), 0, 0xffffffffu};
    for (uint64_t at = 0; at <= ring->mask; at += 8) {
        uint64_t word = (uint64_t)states[kl_random_below(random, 6)] << 32 |
                        kl_random_below(random, kl_random_below(random, 2) ? 64 : 1ull << 32);
        memcpy(ring->data + at, &word, 8);
    }
}

KL_TEST(kl_mpsc_ring_answers_hostile_bytes_with_codes_only) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (uint32_t round = 0; round < (kl_test_slow() ? 300u : 2000u); round++) {
        uint64_t capacity = 128ull << kl_random_below(&random, 4);
        kl_mpsc_ring_header *header = new_memory(capacity, 0);
        kl_mpsc_ring ring = grip(header);
        for (uint32_t i = 0; i < 60; i++) {
            uint64_t near = ring.head + 8 * kl_random_below(&random, 64) - 256;
            switch (kl_random_below(&random, 9)) {
            case 0: scribble(&random, ring.data, capacity); break;
            case 1: header->tail = near; break;
            case 2: header->limit = near; break;
            case 3: header->head = near; break;
            case 4: scribble(&random, (uint8_t *)header, 8 * kl_random_below(&random, 60)); break;
            case 5: scribble_words(&random, &ring); break;
            default: use_scribbled(&ring, &random);
            }
        }
        free(header);
    }
}

KL_TEST(kl_mpsc_ring_grip_refuses_foreign_and_damaged_memory) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    kl_mpsc_ring ring;
    kl_mpsc_ring_header *header = new_memory(1024, 0);
    uint64_t bytes = KL_MPSC_RING_HEADER_BYTES + 1024;
    KL_CHECK_EQ(kl_mpsc_ring_grip(&ring, header, KL_MPSC_RING_HEADER_BYTES - 1), KL_ERR_CORRUPT);
    KL_CHECK_EQ(kl_mpsc_ring_grip(&ring, header, bytes - 1), KL_ERR_CORRUPT);
    header->version++;
    KL_CHECK_EQ(kl_mpsc_ring_grip(&ring, header, bytes), KL_ERR_VERSION);
    for (uint32_t i = 0; i < 1000; i++) {
        scribble(&random, (uint8_t *)header, KL_MPSC_RING_HEADER_BYTES);
        KL_CHECK_EQ(kl_mpsc_ring_grip(&ring, header, bytes), KL_ERR_CORRUPT);
    }
    free(header);
}

/* ---- behind a handle ---- */

static const char *test_name(void) {
    static char name[64];
    snprintf(name, sizeof name, "test-mpsc-%d-%llx", getpid(),
             (unsigned long long)kl_test_now_ns());
    return name;
}

static uint32_t named(const char *name, bool create, int32_t expected) {
    uint32_t handle = 0, bytes = (uint32_t)strlen(name);
    const uint8_t *utf8 = (const uint8_t *)name;
    int32_t status = create ? kl_mpsc_ring_create(utf8, bytes, 1024, (uint8_t *)&handle)
                            : kl_mpsc_ring_attach(utf8, bytes, (uint8_t *)&handle);
    KL_CHECK_EQ(status, expected);
    return handle;
}

static void remove_named(const char *name, int32_t expected) {
    KL_CHECK_EQ(kl_mpsc_ring_remove((const uint8_t *)name, (uint32_t)strlen(name)), expected);
}

KL_TEST(kl_mpsc_ring_create_and_attach_share_one_named_ring) {
    const char *name = test_name();
    uint8_t out[64];
    named(name, false, KL_ERR_NOT_FOUND);
    uint32_t ring = named(name, true, KL_OK), other = named(name, false, KL_OK);
    named(name, true, KL_ERR_EXISTS);
    KL_CHECK_EQ(kl_mpsc_ring_create((const uint8_t *)"x", 1, 100, out), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_mpsc_ring_create((const uint8_t *)"x", 1, -1, out), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_mpsc_ring_push(ring, (const uint8_t *)"hello", 5), KL_OK);
    KL_CHECK_EQ(kl_mpsc_ring_push(other, (const uint8_t *)"world", 5), KL_OK);
    KL_CHECK_EQ(kl_mpsc_ring_push(ring, NULL, 5), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_mpsc_ring_push(ring, out, 505), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_mpsc_ring_peek(other), 5);
    KL_CHECK_EQ(kl_mpsc_ring_pop(ring, out, 64), KL_ERR_LOCKED); /* the other is the consumer */
    KL_CHECK_EQ(kl_mpsc_ring_pop(other, out, 64), 5);
    KL_CHECK_BYTES(out, "hello", 5);
    KL_CHECK_EQ(kl_mpsc_ring_release(other), KL_OK);
    KL_CHECK_EQ(kl_mpsc_ring_pop(other, out, 64), KL_ERR_AGAIN);
    KL_CHECK(kl_mpsc_ring_used_bytes(ring) == 0 && kl_mpsc_ring_capacity_bytes(ring) == 1024);
    double claim = kl_mpsc_ring_claim(ring, 20);
    KL_CHECK(claim == 32);
    KL_CHECK_EQ(kl_mpsc_ring_pop(other, out, 64), KL_ERR_AGAIN); /* it lives, and is not done */
    KL_CHECK_EQ(kl_mpsc_ring_commit(other, claim, NULL, 3), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_mpsc_ring_commit(ring, claim, NULL, 25), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_mpsc_ring_commit(ring, -8, NULL, 3), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_mpsc_ring_commit(ring, claim, (const uint8_t *)"abc", 3), KL_OK);
    KL_CHECK_EQ(kl_mpsc_ring_abort(ring, claim), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_mpsc_ring_pop(other, out, 64), 3);
    claim = kl_mpsc_ring_claim(ring, 20);
    KL_CHECK_EQ(kl_mpsc_ring_push(other, (const uint8_t *)"after", 5), KL_OK);
    KL_CHECK_EQ(kl_mpsc_ring_close(ring), KL_OK); /* with a claim in hand: its owner is gone */
    KL_CHECK_EQ(kl_mpsc_ring_close(ring), KL_ERR_HANDLE);
    KL_CHECK_EQ(kl_mpsc_ring_push(ring, out, 1), KL_ERR_HANDLE);
    usleep(1000); /* longer than LOOK_NS */
    KL_CHECK_EQ(kl_mpsc_ring_pop(other, out, 64), 5);
    KL_CHECK_EQ(kl_mpsc_ring_check(other), KL_OK);
    remove_named(name, KL_OK);
    remove_named(name, KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_mpsc_ring_close(other), KL_OK);
}
