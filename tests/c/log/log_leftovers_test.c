/* Rings of killed processes whose logs are gone, and rings that must stay. */
#include "log/log_leftovers.h"

#include "base/clock.h"
#include "base/random.h"
#include "tests/c/harness.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANY_HOURS (5 * (uint64_t)KL_LOG_LEFTOVER_NS)

static uint8_t uuid[KL_LOG_UUID_BYTES];
static char folder[512];

/* A ring of a log in a new folder, held. */
static void make_ring(kl_log_ring *ring, uint64_t unflushed) {
    snprintf(folder, sizeof folder, "%.400s/log", kl_test_folder());
    KL_CHECK_EQ(mkdir(folder, 0700), 0);
    KL_CHECK_EQ(kl_random_os(uuid, sizeof uuid), KL_OK);
    KL_CHECK_EQ(kl_log_ring_create(ring, uuid, KL_LOG_RING_MIN, true, 8192), KL_OK);
    if (ring->region == NULL) return; /* no shared memory here */
    kl_log_ring_belongs(ring, folder);
    atomic_store(&ring->shared->tail, 8192 + unflushed);
}

/* Is it still there for the next process? */
static bool is_there(void) {
    kl_log_ring ring;
    bool there = kl_log_ring_adopt(&ring, uuid) == KL_OK;
    kl_log_ring_close(&ring, false);
    return there;
}

KL_TEST(kl_log_leftovers_remove_takes_a_flushed_ring_whose_folder_is_gone) {
    kl_log_ring ring;
    make_ring(&ring, 0);
    if (ring.region == NULL) return;
    KL_CHECK_EQ(rmdir(folder), 0);
    (void)kl_log_leftovers_remove(kl_clock_realtime_ns() + MANY_HOURS);
    KL_CHECK(is_there()); /* held */
    kl_log_ring_close(&ring, false);
    KL_CHECK(is_there());
    KL_CHECK_LE(1u, kl_log_leftovers_remove(kl_clock_realtime_ns()));
    KL_CHECK(!is_there());
}

KL_TEST(kl_log_leftovers_remove_waits_before_it_takes_what_was_not_flushed) {
    kl_log_ring ring;
    uint64_t now = kl_clock_realtime_ns();
    make_ring(&ring, 4000);
    if (ring.region == NULL) return;
    kl_log_ring_close(&ring, false);
    KL_CHECK_EQ(rmdir(folder), 0);
    (void)kl_log_leftovers_remove(now);
    KL_CHECK(is_there());
    (void)kl_log_leftovers_remove(now + KL_LOG_LEFTOVER_NS - 1);
    KL_CHECK(is_there());
    /* Its log was found again: the wait begins anew. */
    KL_CHECK_EQ(mkdir(folder, 0700), 0);
    KL_CHECK_EQ(kl_log_ring_adopt(&ring, uuid), KL_OK);
    kl_log_ring_belongs(&ring, folder);
    kl_log_ring_close(&ring, false);
    KL_CHECK_EQ(rmdir(folder), 0);
    (void)kl_log_leftovers_remove(now + KL_LOG_LEFTOVER_NS);
    KL_CHECK(is_there());
    (void)kl_log_leftovers_remove(now + 2 * KL_LOG_LEFTOVER_NS);
    KL_CHECK(!is_there());
}

KL_TEST(kl_log_leftovers_remove_keeps_rings_that_may_be_wanted) {
    kl_log_ring ring;
    uint64_t now = kl_clock_realtime_ns();
    make_ring(&ring, 0);
    if (ring.region == NULL) return;
    uint64_t device = ring.shared->folder_device;
    (void)kl_log_leftovers_remove(now + MANY_HOURS);
    KL_CHECK(is_there()); /* the folder is there */
    KL_CHECK_EQ(rmdir(folder), 0);
    ring.shared->folder_device = device + 1; /* its file system is not mounted just now */
    kl_log_ring_shared *shared = ring.shared;
    kl_region *held = ring.region;
    kl_region_leave(held);
    (void)kl_log_leftovers_remove(now + MANY_HOURS);
    KL_CHECK(is_there());
    shared->folder_device = device;
    atomic_store(&shared->folder_bytes, 0); /* it does not know */
    (void)kl_log_leftovers_remove(now + MANY_HOURS);
    KL_CHECK(is_there());
    atomic_store(&shared->folder_bytes, UINT32_MAX); /* nonsense */
    (void)kl_log_leftovers_remove(now + MANY_HOURS);
    KL_CHECK(is_there());
    kl_log_ring_close(&ring, true);
}
