/* spsc_ring under the memory models: records arrive whole, once and in order, also around the end of
 * the data; slots are not written again before they were read; nobody sleeps through data or
 * space; a dead side's successor goes on where it stood. Real push and pop on kl_model_alloc memory. */
#include "lockfree/spsc_ring.h"
#include "tests/c/model/explorer.h"

#define CAPACITY KL_SPSC_RING_CAPACITY_MIN

static void *memory;
static kl_spsc_ring producer, consumer, heir; /* each a process's own grip */

static void format(uint32_t record_bytes, uint64_t position) {
    uint64_t bytes = kl_spsc_ring_memory_bytes(CAPACITY);
    memory = kl_model_alloc(bytes);
    KL_MODEL_CHECK_EQ(kl_spsc_ring_format(memory, CAPACITY, record_bytes), KL_OK);
    kl_spsc_ring_header *header = memory;
    atomic_store_explicit(&header->tail, position, memory_order_relaxed);
    atomic_store_explicit(&header->head, position, memory_order_relaxed);
    KL_MODEL_CHECK_EQ(kl_spsc_ring_grip(&producer, memory, bytes), KL_OK);
    KL_MODEL_CHECK_EQ(kl_spsc_ring_grip(&consumer, memory, bytes), KL_OK);
    KL_MODEL_CHECK_EQ(kl_spsc_ring_grip(&heir, memory, bytes), KL_OK);
    kl_model_name(memory, KL_SPSC_RING_HEADER_BYTES, "header");
    kl_model_name((uint8_t *)memory + KL_SPSC_RING_HEADER_BYTES, CAPACITY, "data");
}

/* Words of 8 bytes, 6 of 8 places taken; positions wrap around 2^64 soon. */
static void words_nearly_full(void) {
    format(8, 0 - 40ull);
    for (uint64_t i = 1; i <= 6; i++) KL_MODEL_CHECK_EQ(kl_spsc_ring_push_u64_sp(&producer, i), 0);
}

static void push_words(void) {
    for (uint64_t value = 7; value <= 9; value++)
        if (kl_spsc_ring_push_u64_sp(&producer, value) != KL_OK) {
            KL_MODEL_CHECK_EQ(value, 9);
            kl_model_expect("was full", true);
        }
}
static void pop_words(void) {
    uint64_t value;
    for (uint64_t expected = 1; expected <= 2; expected++) {
        KL_MODEL_CHECK_EQ(kl_spsc_ring_pop_u64_sc(&consumer, &value), KL_OK);
        KL_MODEL_CHECK_EQ(value, expected);
    }
}
static void check_words(void) {
    uint64_t value, expected = 3;
    while (kl_spsc_ring_pop_u64_sc(&consumer, &value) == KL_OK) {
        KL_MODEL_CHECK_EQ(value, expected);
        expected++;
    }
    KL_MODEL_CHECK(expected == 9 || expected == 10);
    KL_MODEL_CHECK_EQ(kl_spsc_ring_verify(&consumer), KL_OK);
}
KL_MODEL(kl_spsc_ring_model_words_around_the_end, .setup = words_nearly_full,
         .threads = {push_words, pop_words}, .finally = check_words)

static void words_empty(void) {
    format(8, 0 - 8ull);
}
static void push_two_words(void) {
    for (uint64_t value = 1; value <= 2; value++)
        KL_MODEL_CHECK_EQ(kl_spsc_ring_push_u64_sp(&producer, value), KL_OK);
}
static void pop_what_is_there(void) {
    uint64_t value, expected = 1;
    for (uint32_t tries = 0; tries < 3; tries++) {
        int32_t status = kl_spsc_ring_pop_u64_sc(&consumer, &value);
        KL_MODEL_CHECK(status == KL_OK || status == KL_ERR_AGAIN);
        if (status == KL_OK) KL_MODEL_CHECK_EQ(value, expected++);
    }
    kl_model_expect("none came", expected == 1);
    kl_model_expect("one came", expected == 2);
    kl_model_expect("both came", expected == 3);
}
KL_MODEL(kl_spsc_ring_model_words_arrive_in_order, .setup = words_empty,
         .threads = {push_two_words, pop_what_is_there})

/* Records of any size: 16 and 32 bytes taken, the second around the end of 64. */
static void records_empty(void) {
    format(0, 40);
}
static void push_records(void) {
    KL_MODEL_CHECK_EQ(kl_spsc_ring_push_sp(&producer, "seven", 5), KL_OK);
    KL_MODEL_CHECK_EQ(kl_spsc_ring_push_sp(&producer, "twenty bytes in here", 20), KL_OK);
    int32_t status = kl_spsc_ring_push_sp(&producer, "eleven eleven", 13);
    KL_MODEL_CHECK(status == KL_OK || status == KL_ERR_AGAIN);
    kl_model_expect("found space", status == KL_OK);
    kl_model_expect("found none", status == KL_ERR_AGAIN);
}
static void pop_records(void) {
    static const char *const texts[] = {"seven", "twenty bytes in here", "eleven eleven"};
    char out[32];
    uint32_t next = 0;
    for (uint32_t tries = 0; tries < 3; tries++) {
        int32_t bytes = kl_spsc_ring_pop_sc(&consumer, out, sizeof out);
        if (bytes == KL_ERR_AGAIN) continue;
        KL_MODEL_CHECK_EQ(bytes, strlen(texts[next]));
        KL_MODEL_CHECK(memcmp(out, texts[next++], (size_t)bytes) == 0);
    }
    kl_model_expect("all came", next == 3);
}
KL_MODEL(kl_spsc_ring_model_records_around_the_end, .setup = records_empty,
         .threads = {push_records, pop_records})

static void push_batch(void) {
    uint8_t batch[24] = {3, 0,   0,   0,   'o', 'n', 'e', 0,   8,   0, 0,
                         0, 't', 'w', 'o', ' ', 'm', 'o', 'r', 'e', 0};
    KL_MODEL_CHECK_EQ(kl_spsc_ring_push_batch_sp(&producer, batch, 20), 2);
}
static void pop_batch(void) {
    uint8_t out[32];
    int32_t count = kl_spsc_ring_pop_batch_sc(&consumer, out, sizeof out);
    KL_MODEL_CHECK(count == 0 || count == 2);
    kl_model_expect("both at once", count == 2);
    if (count == 2) KL_MODEL_CHECK(memcmp(out + 4, "one", 3) == 0 && out[8] == 8);
}
KL_MODEL(kl_spsc_ring_model_a_batch_is_published_at_once, .setup = records_empty,
         .threads = {push_batch, pop_batch})

/* Sleeping on data and on space, as exec/completion does it. */
static void push_with_sleep(void) {
    kl_event_count *event = &producer.header->space_event;
    for (uint64_t value = 7; value <= 9; value++) {
        for (;;) {
            uint32_t key = kl_event_count_prepare(event);
            if (kl_spsc_ring_push_u64_sp(&producer, value) == KL_OK) break;
            kl_event_count_wait(event, key, KL_FOREVER, NULL);
            kl_model_expect("slept for space", true);
        }
    }
}
static void pop_with_notify(void) {
    pop_words();
    kl_spsc_ring_notify_space(&consumer);
}
KL_MODEL(kl_spsc_ring_model_no_sleep_through_space, .setup = words_nearly_full,
         .threads = {push_with_sleep, pop_with_notify}, .finally = check_words)

static void push_with_notify(void) {
    KL_MODEL_CHECK_EQ(kl_spsc_ring_push_u64_sp(&producer, 1), KL_OK);
    kl_spsc_ring_notify_data(&producer);
}
static void pop_with_sleep(void) {
    kl_event_count *event = &consumer.header->data_event;
    uint64_t value;
    for (;;) {
        uint32_t key = kl_event_count_prepare(event);
        if (kl_spsc_ring_pop_u64_sc(&consumer, &value) == KL_OK) break;
        kl_event_count_wait(event, key, KL_FOREVER, NULL);
        kl_model_expect("slept for data", true);
    }
    KL_MODEL_CHECK_EQ(value, 1);
}
KL_MODEL(kl_spsc_ring_model_no_sleep_through_data, .setup = words_empty,
         .threads = {push_with_notify, pop_with_sleep})

/* Sides: one of two claimers wins; who takes over from the dead goes on where they stood. */
static uint32_t winners;
static void claim_to_push(void) {
    kl_spsc_ring *ring = kl_model_thread() == 0 ? &producer : &heir;
    int32_t status = kl_spsc_ring_claim(ring, kl_model_region(), KL_SPSC_RING_PRODUCER);
    if (status == KL_ERR_LOCKED) return;
    KL_MODEL_CHECK(status == KL_OK || (status == KL_OWNER_DEAD && kl_model_died(0)));
    uint64_t value = ring->tail / 8 + 1; /* the next number */
    KL_MODEL_CHECK_EQ(kl_spsc_ring_push_u64_sp(ring, value), KL_OK);
    winners++;
    kl_spsc_ring_release(ring, kl_model_region(), KL_SPSC_RING_PRODUCER);
}
static void words_from_0(void) {
    format(8, 0);
}
static void numbers_in_order(void) {
    uint64_t value, count = 0;
    while (kl_spsc_ring_pop_u64_sc(&consumer, &value) == KL_OK) KL_MODEL_CHECK_EQ(value, ++count);
    kl_model_expect("one", count == 1);
    kl_model_expect("both", count == 2);
    KL_MODEL_CHECK(count >= winners && count <= 2);
}
KL_MODEL(kl_spsc_ring_model_the_producers_side_changes_hands, .setup = words_from_0,
         .threads = {claim_to_push, claim_to_push}, .finally = numbers_in_order)
KL_MODEL(kl_spsc_ring_model_the_producer_dies, .setup = words_from_0, .kill = 1,
         .threads = {claim_to_push, claim_to_push}, .finally = numbers_in_order)

static uint64_t popped[2][3];
static void claim_to_pop(void) {
    uint32_t self = (uint32_t)kl_model_thread(), count = 0;
    kl_spsc_ring *ring = self == 0 ? &consumer : &heir;
    int32_t status = kl_spsc_ring_claim(ring, kl_model_region(), KL_SPSC_RING_CONSUMER);
    if (status == KL_ERR_LOCKED) return;
    while (count < 2 && kl_spsc_ring_pop_u64_sc(ring, &popped[self][count]) == KL_OK) count++;
    kl_spsc_ring_release(ring, kl_model_region(), KL_SPSC_RING_CONSUMER);
}
static void two_words_there(void) {
    format(8, 0);
    push_two_words();
}
/* The successor of the dead may see one again, none is lost, none twice to the living. */
static void popped_in_order(void) {
    uint64_t seen = 0;
    for (uint32_t i = 0; i < 2; i++)
        for (uint32_t j = 0; j < 3 && popped[i][j]; j++) {
            bool again = (seen & 1ull << popped[i][j]) != 0;
            KL_MODEL_CHECK(!again || kl_model_died(0));
            kl_model_expect("seen again after a death", again);
            seen |= 1ull << popped[i][j];
        }
    uint64_t value;
    while (kl_spsc_ring_claim(&heir, kl_model_region(), KL_SPSC_RING_CONSUMER) >= 0 &&
           kl_spsc_ring_pop_u64_sc(&heir, &value) == KL_OK)
        seen |= 1ull << value;
    KL_MODEL_CHECK_EQ(seen, 6);
}
KL_MODEL(kl_spsc_ring_model_the_consumer_dies, .setup = two_words_there, .kill = 1,
         .threads = {claim_to_pop, claim_to_pop}, .finally = popped_in_order)

/* The consumer's side handed over while the producer refills what was read. */
static void push_when_there_is_space(void) {
    for (uint32_t tries = 0; tries < 2; tries++) kl_spsc_ring_push_u64_sp(&producer, 9);
}
static void full_of_words(void) {
    format(8, 0);
    for (uint64_t i = 0; i < 8; i++) KL_MODEL_CHECK_EQ(kl_spsc_ring_push_u64_sp(&producer, i), 0);
}
static void claim_and_pop_one(void) {
    uint64_t value;
    kl_spsc_ring *ring = kl_model_thread() == 0 ? &consumer : &heir;
    if (kl_spsc_ring_claim(ring, kl_model_region(), KL_SPSC_RING_CONSUMER) < 0) return;
    KL_MODEL_CHECK_EQ(kl_spsc_ring_pop_u64_sc(ring, &value), KL_OK);
    KL_MODEL_CHECK(value < 2);
    kl_spsc_ring_release(ring, kl_model_region(), KL_SPSC_RING_CONSUMER);
}
KL_MODEL(kl_spsc_ring_model_the_consumers_side_changes_hands, .setup = full_of_words,
         .executions_max = 60000, .random = 5000,
         .threads = {claim_and_pop_one, claim_and_pop_one, push_when_there_is_space})

static void release_nothing(void) {
    kl_spsc_ring_release(&heir, kl_model_region(), KL_SPSC_RING_PRODUCER);
}
KL_MODEL(kl_spsc_ring_model_who_has_no_side_releases_none, .setup = words_from_0,
         .threads = {claim_to_push, release_nothing}, .finally = NULL)
