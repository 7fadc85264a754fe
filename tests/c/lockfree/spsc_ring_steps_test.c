/* spsc_ring with a side killed before each of its atomic steps, and its successor before each of
 * his: a record is there whole or not at all, and only the last one taken may come again. */
#include <signal.h>
#include <stdio.h>

#include "lockfree/spsc_ring.h"
#include "tests/c/model/steps.h"

#define CAPACITY 256u
#define NUMBERS  4u /* pushed by one deed */

static const char *folder; /* of the test */
static uint32_t region_count;
static char path[512];

/* What one process does with the ring, killed before its k-th step (0: not at all). */
typedef struct {
    uint64_t k;
    uint32_t side;
    bool batch;
} deed;

static kl_spsc_ring grip(kl_region *region) {
    kl_spsc_ring ring;
    KL_CHECK_EQ(kl_spsc_ring_grip(&ring, kl_region_data(region), kl_region_data_bytes(region)), 0);
    return ring;
}

static kl_region *create(void) {
    kl_region *region = NULL;
    kl_region_spec spec = {.kind = 1};
    snprintf(path, sizeof path, "%s/region%u", folder, region_count++);
    uint64_t bytes = kl_spsc_ring_memory_bytes(CAPACITY);
    KL_CHECK_EQ(kl_region_create(&region, path, bytes, &spec), KL_OK);
    KL_CHECK_EQ(kl_spsc_ring_format(kl_region_data(region), CAPACITY, 0), KL_OK);
    kl_spsc_ring_header *header = (void *)kl_region_data(region);
    atomic_store(&header->tail, 0 - 40ull); /* positions pass 2^64, records the end of the data */
    atomic_store(&header->head, 0 - 40ull);
    KL_CHECK_EQ(kl_region_publish(region), KL_OK);
    KL_CHECK_LE(0, kl_region_join(region, 0));
    return region;
}

/* Records of growing size that say their number in each byte. */
static uint32_t make_record(uint64_t number, uint8_t *out) {
    uint32_t bytes = 1 + (uint32_t)number % 20;
    memset(out, (int)number, bytes);
    return bytes;
}

static int push_numbers(kl_spsc_ring *ring, uint64_t first, bool batch) {
    uint8_t records[256];
    uint32_t at = 0;
    for (uint64_t number = first; number < first + NUMBERS; number++) {
        uint8_t *record = records + (batch ? at + 4 : 0);
        uint32_t bytes = make_record(number, record);
        if (batch) {
            memcpy(records + at, &bytes, 4);
            at += 4 + ((bytes + 3) & ~3u);
        } else if (kl_spsc_ring_push_sp(ring, record, bytes) != KL_OK) {
            return 1;
        }
    }
    return batch && kl_spsc_ring_push_batch_sp(ring, records, at) != NUMBERS ? 2 : 0;
}

/* Takes what is there; it must be the numbers from `next` on. The number after the last, 0: wrong. */
static uint64_t pop_numbers(kl_spsc_ring *ring, uint64_t next, uint64_t most) {
    uint8_t out[64], expected[64];
    for (uint64_t count = 0; count < most; count++, next++) {
        int32_t bytes = kl_spsc_ring_pop_sc(ring, out, sizeof out);
        if (bytes == KL_ERR_AGAIN) return next;
        if (bytes < 0 || (uint32_t)bytes != make_record(next, expected)) return 0;
        if (memcmp(out, expected, (size_t)bytes) != 0) return 0;
    }
    return next;
}

static int do_killed_at(void *argument) {
    deed *it = argument;
    kl_region *region = NULL;
    KL_CHECK_EQ(kl_region_attach(&region, path, NULL), KL_OK);
    KL_CHECK_LE(0, kl_region_join(region, 0));
    kl_spsc_ring ring = grip(region);
    kl_steps_kill_at(it->k);
    int status = 0;
    if (kl_spsc_ring_claim(&ring, region, it->side) < 0)
        status = 3;
    else if (it->side == KL_SPSC_RING_PRODUCER)
        status = push_numbers(&ring, 1, it->batch);
    else
        status = pop_numbers(&ring, 1, NUMBERS) == NUMBERS + 1 ? 0 : 4;
    if (status == 0) kl_spsc_ring_release(&ring, region, it->side);
    kl_steps_kill_at(0);
    return status;
}

/* Whether it came to its end; killed otherwise. */
static bool ends_before(deed it, uint64_t k) {
    it.k = k;
    int status = kl_test_join(kl_test_fork(do_killed_at, &it));
    if (status != 0) KL_CHECK_EQ(status, 128 + SIGKILL);
    return status == 0;
}

/* A producer killed at step k. The next one goes on behind what was published. */
static bool push_killed(uint64_t k, bool batch) {
    kl_region *region = create();
    kl_spsc_ring ring = grip(region);
    bool ended = ends_before((deed){.side = KL_SPSC_RING_PRODUCER, .batch = batch}, k);
    uint64_t started_ns = kl_test_now_ns();
    KL_CHECK_EQ(kl_spsc_ring_verify(&ring), KL_OK);
    KL_CHECK_LE(0, kl_spsc_ring_claim(&ring, region, KL_SPSC_RING_CONSUMER));
    uint64_t next = pop_numbers(&ring, 1, NUMBERS + 1);
    KL_CHECK(ended ? next == NUMBERS + 1 : next >= 1 && next <= NUMBERS + 1);
    if (batch) KL_CHECK(next == 1 || next == NUMBERS + 1);
    int32_t claimed = kl_spsc_ring_claim(&ring, region, KL_SPSC_RING_PRODUCER);
    KL_CHECK(claimed == KL_OK || (claimed == KL_OWNER_DEAD && !ended));
    KL_CHECK_EQ(push_numbers(&ring, next, batch), 0);
    KL_CHECK_EQ(pop_numbers(&ring, next, NUMBERS + 1), next + NUMBERS);
    KL_CHECK_LT(kl_test_now_ns() - started_ns, KL_NS_PER_S);
    kl_region_close(region);
    return ended;
}

KL_TEST(kl_spsc_ring_producer_killed_at_every_step_Q3_D1) {
    folder = kl_test_folder();
    for (uint32_t batch = 0; batch < 2; batch++) {
        uint64_t k = 1;
        while (!push_killed(k, batch != 0)) k++;
        KL_CHECK_LT(batch ? 4 : 8, k);
    }
}

/* A consumer killed at step k, its successor at step j: the third gets all that neither gave back. */
static bool pop_killed(uint64_t k, uint64_t j, bool *successor_ended) {
    kl_region *region = create();
    kl_spsc_ring ring = grip(region);
    KL_CHECK_EQ(kl_spsc_ring_claim(&ring, region, KL_SPSC_RING_PRODUCER), KL_OK);
    KL_CHECK_EQ(push_numbers(&ring, 1, false), 0);
    bool ended = ends_before((deed){.side = KL_SPSC_RING_CONSUMER}, k);
    kl_spsc_ring_header *header = (void *)kl_region_data(region);
    uint64_t before = atomic_load(&header->head);
    *successor_ended = true;
    if (!ended && before == 0 - 40ull) /* it gave nothing back: the successor sees all again */
        *successor_ended = ends_before((deed){.side = KL_SPSC_RING_CONSUMER}, j);
    uint64_t started_ns = kl_test_now_ns(), head = 0 - 40ull, first = 1;
    for (uint8_t record[64]; head != atomic_load(&header->head); first++)
        head += 8 + ((make_record(first, record) + 7) & ~7u);
    KL_CHECK_LE(0, kl_spsc_ring_claim(&ring, region, KL_SPSC_RING_CONSUMER));
    KL_CHECK_EQ(pop_numbers(&ring, first, NUMBERS + 1), NUMBERS + 1);
    KL_CHECK_EQ(push_numbers(&ring, NUMBERS + 1, false), 0);
    KL_CHECK_EQ(pop_numbers(&ring, NUMBERS + 1, NUMBERS + 1), 2 * NUMBERS + 1);
    KL_CHECK_LT(kl_test_now_ns() - started_ns, KL_NS_PER_S);
    kl_region_close(region);
    return ended;
}

KL_TEST(kl_spsc_ring_consumer_and_its_successor_killed_at_every_step_D2) {
    folder = kl_test_folder();
    uint64_t k = 1;
    bool successor_ended = false;
    for (; !pop_killed(k, 1, &successor_ended); k++)
        for (uint64_t j = 2; !successor_ended; j++) pop_killed(k, j, &successor_ended);
    KL_CHECK_LT(6, k);
}
