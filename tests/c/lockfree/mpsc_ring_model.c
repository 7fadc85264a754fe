/* mpsc_ring under the memory models: records arrive whole, once and in order; room is used again only
 * when it is zero; what the dead left is closed without touching what the living are about to
 * write. Real calls on kl_model_alloc memory. */
#include "lockfree/mpsc_ring.h"
#include "tests/c/model/explorer.h"

#include <string.h>

#define CAPACITY KL_MPSC_RING_CAPACITY_MIN /* 128: room for eight empty records */

static void *memory;
static kl_mpsc_ring ring, consumer, heir; /* producers share a grip, as threads of a process may */
static uint32_t seen[8];

static uint32_t self(void) {
    int32_t index = kl_model_thread();
    return kl_model_participant_thread(index < 0 ? UINT32_MAX : (uint32_t)index);
}

static bool lives(void *context, uint32_t owner) {
    (void)context;
    return kl_region_thread_alive(kl_model_region(), owner);
}

static void format(uint64_t position) {
    uint64_t bytes = kl_mpsc_ring_memory_bytes(CAPACITY);
    memory = kl_model_alloc(bytes);
    KL_MODEL_CHECK_EQ(kl_mpsc_ring_format(memory, CAPACITY), KL_OK);
    kl_mpsc_ring_header *header = memory;
    atomic_store_explicit(&header->tail, position, memory_order_relaxed);
    atomic_store_explicit(&header->head, position, memory_order_relaxed);
    atomic_store_explicit(&header->limit, position, memory_order_relaxed);
    KL_MODEL_CHECK_EQ(kl_mpsc_ring_grip(&ring, memory, bytes), KL_OK);
    KL_MODEL_CHECK_EQ(kl_mpsc_ring_grip(&consumer, memory, bytes), KL_OK);
    KL_MODEL_CHECK_EQ(kl_mpsc_ring_grip(&heir, memory, bytes), KL_OK);
    kl_model_name(memory, KL_MPSC_RING_HEADER_BYTES, "header");
    kl_model_name((uint8_t *)memory + KL_MPSC_RING_HEADER_BYTES, CAPACITY, "data");
    for (uint32_t i = 0; i < 3; i++)
        KL_MODEL_CHECK_EQ(kl_mpsc_ring_enlist_mp(&ring, kl_model_participant_thread(i)), KL_OK);
    KL_MODEL_CHECK_EQ(kl_mpsc_ring_enlist_mp(&ring, self()), KL_OK);
}

static int32_t push(uint64_t value) {
    return kl_mpsc_ring_push_mp(&ring, self(), &value, 8);
}

/* The value, or the status. */
static int32_t pop_of(kl_mpsc_ring *mine) {
    uint64_t value = 0;
    int32_t bytes = kl_mpsc_ring_pop_sc(mine, &value, 8);
    if (bytes < 0) return bytes;
    KL_MODEL_CHECK_EQ(bytes, 8);
    KL_MODEL_CHECK(value > 0 && value < 8);
    seen[value % 8]++;
    return (int32_t)value;
}

static void take(kl_mpsc_ring *mine) {
    KL_MODEL_CHECK(kl_mpsc_ring_take(mine, self(), lives, NULL) >= 0);
}

/* Whoever is left: what stands there comes out, and the ring is as good as new. */
static void drain(void) {
    /* The others have ended: nobody holds the side any more. */
    kl_mpsc_ring_take(&heir, self(), lives, NULL);
    int32_t value;
    while ((value = pop_of(&heir)) != KL_ERR_AGAIN)
        if (value == KL_ERR_LOCKED)
            KL_MODEL_CHECK_EQ(kl_mpsc_ring_unblock_sc(&heir, lives, NULL), KL_OK);
    KL_MODEL_CHECK_EQ(kl_mpsc_ring_verify(&heir), KL_OK);
}

/* ---- one or two push, one pops ---- */

static void empty(void) {
    format(0 - 16ull);
}
static void push_one_two(void) {
    KL_MODEL_CHECK_EQ(push(1), KL_OK);
    KL_MODEL_CHECK_EQ(push(2), KL_OK);
}
static void pop_two(void) {
    take(&consumer);
    int32_t first = pop_of(&consumer), second = pop_of(&consumer);
    if (first > 0) KL_MODEL_CHECK_EQ(first, 1);
    if (second > 0) KL_MODEL_CHECK_EQ(second, first > 0 ? 2 : 1);
    kl_model_expect("both came", second == 2);
    kl_model_expect("was empty", first == KL_ERR_AGAIN);
    kl_model_expect("was being written", first == KL_ERR_LOCKED);
    kl_mpsc_ring_give(&consumer, self());
}
static void one_and_two(void) {
    drain();
    KL_MODEL_CHECK(seen[1] == 1 && seen[2] == 1);
}
KL_MODEL(kl_mpsc_ring_model_records_arrive_whole_and_in_order, .setup = empty,
         .threads = {push_one_two, pop_two}, .finally = one_and_two)

static void push_one(void) {
    KL_MODEL_CHECK_EQ(push(1), KL_OK);
}
static void push_two(void) {
    KL_MODEL_CHECK_EQ(push(2), KL_OK);
}
static void pop_any(void) {
    take(&consumer);
    int32_t first = pop_of(&consumer);
    kl_model_expect("one was first", first == 1);
    kl_model_expect("two was first", first == 2);
    kl_mpsc_ring_give(&consumer, self());
}
KL_MODEL(kl_mpsc_ring_model_two_producers_and_a_consumer, .setup = empty,
         .threads = {push_one, push_two, pop_any}, .finally = one_and_two, .preemptions = 3,
         .executions_max = 20000, .random = 2000)

/* ---- full: room is used again when it is zero ---- */

static void full(void) {
    format(0);
    for (uint32_t i = 0; i < 8; i++) KL_MODEL_CHECK_EQ(push(i < 2 ? i + 1 : 3), KL_OK);
}
static void push_four(void) {
    int32_t status = push(4);
    kl_model_expect("found room", status == KL_OK);
    kl_model_expect("was full", status == KL_ERR_AGAIN);
    KL_MODEL_CHECK(status == KL_OK || status == KL_ERR_AGAIN);
}
static void pop_one(void) {
    take(&consumer);
    KL_MODEL_CHECK_EQ(pop_of(&consumer), 1);
    kl_mpsc_ring_give(&consumer, self());
}
static void check_full(void) {
    drain();
    KL_MODEL_CHECK(seen[1] == 1 && seen[2] == 1 && seen[3] == 6 && seen[4] <= 1);
}
KL_MODEL(kl_mpsc_ring_model_room_is_reused_after_it_was_read, .setup = full,
         .threads = {push_four, pop_one}, .finally = check_full)
static void pop_two_of_full(void) {
    take(&consumer);
    KL_MODEL_CHECK(pop_of(&consumer) == 1 && pop_of(&consumer) == 2);
    kl_mpsc_ring_give(&consumer, self());
}
/* The second one finds by the first one's reading of limit that there is room. */
KL_MODEL(kl_mpsc_ring_model_two_find_room_by_one_reading_of_it, .setup = full,
         .threads = {push_four, push_four, pop_two_of_full}, .preemptions = 3,
         .executions_max = 20000, .random = 2000)

static void push_four_twice(void) {
    for (uint32_t i = 0; i < 2; i++) {
        int32_t status = push(4);
        KL_MODEL_CHECK(status == KL_OK || status == KL_ERR_AGAIN);
    }
}
KL_MODEL(kl_mpsc_ring_model_a_tail_that_moved_twice_is_no_corruption, .setup = full,
         .threads = {push_four, push_four_twice, pop_two_of_full}, .preemptions = 4,
         .memories = KL_MODEL_RA, .executions_max = 30000, .random = 3000)

/* ---- padding, batches, claims ---- */

static void near_the_end(void) {
    format(CAPACITY - 16);
}
static void push_long(void) {
    uint64_t values[3] = {1, 1, 1};
    KL_MODEL_CHECK_EQ(kl_mpsc_ring_push_mp(&ring, self(), values, 24), KL_OK);
}
static void pop_long(void) {
    uint64_t values[3] = {0};
    take(&consumer);
    int32_t bytes = kl_mpsc_ring_pop_sc(&consumer, values, 24);
    KL_MODEL_CHECK(bytes == 24 || bytes == KL_ERR_AGAIN || bytes == KL_ERR_LOCKED);
    if (bytes == 24) KL_MODEL_CHECK(values[0] == 1 && values[2] == 1);
    kl_model_expect("it came", bytes == 24);
}
KL_MODEL(kl_mpsc_ring_model_padding_at_the_end, .setup = near_the_end,
         .threads = {push_long, pop_long})

static void push_batch(void) {
    const uint8_t batch[24] = {8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
                               8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0};
    KL_MODEL_CHECK_EQ(kl_mpsc_ring_push_batch_mp(&ring, self(), batch, 24), 2);
}
static void pop_batch(void) {
    uint64_t out[3]; /* the first record's eight bytes cross two words */
    take(&consumer);
    int32_t count = kl_mpsc_ring_pop_batch_sc(&consumer, (uint8_t *)out, sizeof out);
    KL_MODEL_CHECK(count == 0 || count == 2);
    kl_model_expect("came together", count == 2);
    if (count == 2) seen[1]++, seen[2]++;
    kl_mpsc_ring_give(&consumer, self());
}
KL_MODEL(kl_mpsc_ring_model_a_batch_comes_together, .setup = empty,
         .threads = {push_batch, pop_batch}, .finally = one_and_two)

/* ---- deaths ---- */

static void push_or_die(void) {
    push(1);
}
static void push_shrunk_or_die(void) {
    uint64_t position, value = 1;
    if (kl_mpsc_ring_claim_mp(&ring, self(), 24, &position) != KL_OK) return;
    memcpy(kl_mpsc_ring_at(&ring, position), &value, 8);
    kl_mpsc_ring_commit_mp(&ring, self(), position, 8);
}
static void pop_and_unblock(void) {
    take(&consumer);
    for (uint32_t turn = 0; turn < 2; turn++) {
        if (pop_of(&consumer) != KL_ERR_LOCKED) continue;
        int32_t status = kl_mpsc_ring_unblock_sc(&consumer, lives, NULL);
        KL_MODEL_CHECK(status == KL_OK || status == KL_ERR_LOCKED || status == KL_ERR_AGAIN);
    }
    kl_mpsc_ring_give(&consumer, self());
}
/* Of the killed one nothing, or all of it; of the living everything. */
static void check_killed_push(void) {
    drain();
    KL_MODEL_CHECK_EQ(seen[2], 1);
    KL_MODEL_CHECK(seen[1] == 1 || (seen[1] == 0 && kl_model_died(0)));
}
KL_MODEL(kl_mpsc_ring_model_a_dead_producer_is_unblocked_beside_a_living_one, .setup = empty,
         .threads = {push_or_die, push_two, pop_and_unblock}, .finally = check_killed_push,
         .kill = 1, .preemptions = 3, .executions_max = 20000, .random = 2000)
KL_MODEL(kl_mpsc_ring_model_a_dead_claim_is_unblocked, .setup = near_the_end,
         .threads = {push_shrunk_or_die, push_two}, .finally = check_killed_push, .kill = 1)

/* Thread 0 died between the tail's move and its stamp. */
static void gap_at_head(void) {
    uint64_t position;
    uint32_t dead = kl_model_participant_thread(0);
    format(0);
    KL_MODEL_CHECK_EQ(kl_mpsc_ring_claim_mp(&ring, dead, 8, &position), KL_OK);
    atomic_store_explicit((_Atomic uint64_t *)(void *)ring.data, 0, memory_order_relaxed);
    atomic_store_explicit(&ring.header->intents[dead & 0xff].position, KL_MPSC_RING_INTENT,
                          memory_order_relaxed);
    kl_model_kill(0);
}
static void nobody(void) {}
static void unblock_once(void) {
    take(&consumer);
    int32_t status = kl_mpsc_ring_unblock_sc(&consumer, lives, NULL);
    KL_MODEL_CHECK(status == KL_OK || status == KL_ERR_LOCKED);
    kl_model_expect("waited for who lives", status == KL_ERR_LOCKED);
    kl_model_expect("closed the gap", status == KL_OK);
    kl_mpsc_ring_give(&consumer, self());
}
static void check_gap(void) {
    drain();
    KL_MODEL_CHECK(seen[1] == 0 && seen[2] == 1);
}
KL_MODEL(kl_mpsc_ring_model_a_gap_is_closed_beside_a_living_producer, .setup = gap_at_head,
         .threads = {nobody, push_two, unblock_once}, .finally = check_gap, .executions_max = 60000,
         .random = 2000)

static void push_two_three(void) {
    KL_MODEL_CHECK_EQ(push(2), KL_OK);
    KL_MODEL_CHECK_EQ(push(3), KL_OK);
}
static void check_gap_too(void) {
    check_gap();
    KL_MODEL_CHECK_EQ(seen[3], 1);
}
KL_MODEL(kl_mpsc_ring_model_a_gap_is_closed_beside_one_who_pushes_twice, .setup = gap_at_head,
         .threads = {nobody, push_two_three, unblock_once}, .finally = check_gap_too,
         .memories = KL_MODEL_RA, .executions_max = 60000, .random = 2000)

/* ---- one consumer after the other ---- */

static void two_records(void) {
    format(0);
    KL_MODEL_CHECK_EQ(push(1), KL_OK);
    KL_MODEL_CHECK_EQ(push(2), KL_OK);
}
static void pop_or_die(void) {
    take(&consumer);
    pop_of(&consumer);
}
static void pop_and_give(void) {
    if (kl_mpsc_ring_take(&consumer, self(), lives, NULL) < 0) return;
    pop_of(&consumer);
    kl_mpsc_ring_give(&consumer, self());
}
static void pop_and_give_too(void) {
    int32_t status = kl_mpsc_ring_take(&heir, self(), lives, NULL);
    kl_model_expect("the other had it", status == KL_ERR_LOCKED);
    kl_model_expect("the other gave it", status == KL_OK && kl_mpsc_ring_peek_sc(&heir) == 8);
    if (status < 0) return;
    pop_of(&heir);
    kl_mpsc_ring_give(&heir, self());
}
static void each_once(void) {
    drain();
    KL_MODEL_CHECK(seen[1] == 1 && seen[2] == 1);
}
KL_MODEL(kl_mpsc_ring_model_the_side_is_given_from_one_to_the_other, .setup = two_records,
         .threads = {pop_and_give, pop_and_give_too}, .finally = each_once)

static void succeed(void) {
    kl_model_join(0);
    if (!kl_model_died(0)) return;
    take(&heir);
    KL_MODEL_CHECK(pop_of(&heir) > 0);
    KL_MODEL_CHECK_EQ(push(3), KL_OK);
    kl_mpsc_ring_give(&heir, self());
}
static void check_succeeded(void) {
    drain();
    KL_MODEL_CHECK_EQ(seen[2], 1);
    KL_MODEL_CHECK(seen[1] <= 1); /* seen by who died, or by its successor, or stepped over */
}
KL_MODEL(kl_mpsc_ring_model_a_dead_consumer_is_succeeded, .setup = two_records,
         .threads = {pop_or_die, succeed}, .finally = check_succeeded, .kill = 1)
