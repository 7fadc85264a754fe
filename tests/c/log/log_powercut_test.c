/* Power cuts, offline: what a log did to its files is played up to every point, any subset of what
 * was not synced is left on the disk, and the log is opened; again with the power cut while it is
 * being opened. Logs that cheat must be caught, or the test would prove nothing. */
#include "base/random.h"
#include "file/device.h"
#include "log/durable_log.h"
#include "log/log_reader.h"
#include "log/log_truncate.h"
#include "log/log_verify.h"
#include "tests/c/harness.h"
#include "tests/c/log/disk_image.h"
#include "tests/c/log/log_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define STEPS_MAX 400u

static uint32_t size_varied(uint64_t number) {
    return 16 + (uint32_t)(number * 7919 % 5000);
}

/* What was promised after how many operations. */
typedef struct {
    size_t operations;
    uint64_t durable_records;
    uint64_t appended_records;
    uint64_t truncated_records; /* surely; `wished` at most */
    uint64_t wished_records;
} promise;

typedef struct {
    disk_record *record;
    promise promises[STEPS_MAX];
    uint32_t count;
    uint64_t scan_bytes; /* kl_log_options */
    bool truncates;
    uint64_t truncated, wished;
} history;

/* Images live in memory: thousands of them, and no disk of ours has to sync anything. */
static const char *scratch(const char *name) {
    static char paths[3][256];
    static int next;
    char *path = paths[next++ % 3];
    snprintf(path, sizeof paths[0], "/dev/shm/keelson-test-cut-%d-%s", (int)getpid(), name);
    mkdir(path, 0700);
    return path;
}

static void promise_now(history *h, uint64_t durable, uint64_t appended) {
    KL_CHECK(h->count < STEPS_MAX);
    h->promises[h->count++] =
        (promise){disk_record_count(h->record), durable, appended, h->truncated, h->wished};
}

/* Gives records away that are durable, and sometimes all but the last few of them. */
static void truncate_some(history *h, kl_log *log, const uint64_t *at, uint64_t durable,
                          uint64_t appended, kl_random *random) {
    if (durable < h->truncated + 12) return;
    uint64_t most = durable - 10 - h->truncated;
    h->wished = h->truncated + 1 + kl_random_below(random, most);
    promise_now(h, durable, appended);
    KL_CHECK_EQ(kl_log_truncate_before(log, at[h->wished]), KL_OK);
    h->truncated = h->wished;
}

/* Appends and commits, in and out of the log, over several segments. */
static void live(history *h, const char *folder, uint64_t seed) {
    kl_random random;
    kl_random_init(&random, seed);
    uint64_t appended = 0, durable = 0, at[1000];
    h->count = 0;
    h->record = disk_record_start(folder);
    for (int life = 0; life < 3; life++) {
        kl_log *log = fixture_open_scan(folder, KL_LOG_CREATE | KL_LOG_NO_RING, h->scan_bytes);
        durable = appended;
        promise_now(h, durable, appended);
        for (uint64_t step = 0; step < 60; step++) {
            at[appended] = fixture_append(log, size_varied(appended), 0, appended);
            appended++;
            if (kl_random_below(&random, 4) == 0) KL_CHECK_EQ(kl_log_flush(log), KL_OK);
            if (kl_random_below(&random, 5) == 0) {
                KL_CHECK_EQ(kl_log_commit(log, KL_LOG_TAIL, KL_LOG_FOREVER), KL_OK);
                durable = appended;
            }
            if (kl_random_below(&random, 30) == 0) usleep(6000); /* a commit record */
            if (h->truncates && kl_random_below(&random, 8) == 0)
                truncate_some(h, log, at, durable, appended, &random);
            promise_now(h, durable, appended);
        }
        KL_CHECK_EQ(kl_log_close(log), KL_OK);
        durable = appended;
        promise_now(h, durable, appended);
    }
    disk_record_stop(h->record);
}

static char last_refusal[KL_DETAIL_BYTES_MAX + 1];

/* Opens the image; -1 when refused, else how many records, all of them as they were written. */
static uint64_t first_found;
static int64_t open_image(const char *folder, uint64_t scan_bytes) {
    kl_log *log = NULL;
    last_refusal[0] = '\0';
    kl_log_options options = {.segment_bytes = FIXTURE_SEGMENT,
                              .ring_bytes = FIXTURE_RING,
                              .flags = KL_LOG_CREATE | KL_LOG_NO_RING,
                              .scan_bytes = scan_bytes};
    if (kl_log_open(&log, folder, &options) != KL_OK) {
        snprintf(last_refusal, sizeof last_refusal, "%s", kl_status_last());
        return -1;
    }
    int64_t count = (int64_t)fixture_end(folder, 0, size_varied, &first_found);
    KL_CHECK_EQ(kl_log_close(log), KL_OK);
    return count;
}

/* What was promised before the operation at which the power was cut. */
static const promise *promised(const history *h, size_t operations) {
    static const promise nothing;
    const promise *last = &nothing;
    for (uint32_t i = 0; i < h->count && h->promises[i].operations <= operations; i++)
        last = &h->promises[i];
    return last;
}

/* How many acknowledged records a cut at `operations` loses; counts a refused open as all. */
static uint64_t lost_by_cut(history *h, size_t operations, kl_random *random, bool again) {
    const char *folder = scratch("image");
    const uint32_t grain = kl_random_below(random, 4) == 0 ? 8 : 512;
    const uint32_t kept[] = {0, 10, 50, 90, 100};
    disk_cut(h->record, operations, folder, random, grain, kept[kl_random_below(random, 5)]);
    if (again) { /* and cut once more while it recovers */
        disk_record *second = disk_record_start(folder);
        (void)open_image(folder, h->scan_bytes);
        disk_record_stop(second);
        size_t at = kl_random_below(random, disk_record_count(second) + 1);
        disk_cut(second, at, folder, random, grain, kept[kl_random_below(random, 5)]);
        disk_record_free(second);
    }
    int64_t found = open_image(folder, h->scan_bytes);
    uint64_t durable = promised(h, operations)->durable_records;
    if (found < 0) return durable + 1;
    /* What was given away does not come back, and nothing else goes. */
    if (first_found < promised(h, operations)->truncated_records) return 1;
    if (first_found > promised(h, operations)->wished_records) return 1;
    KL_CHECK_LE((uint64_t)found, h->promises[h->count - 1].appended_records);
    return (uint64_t)found < durable ? durable - (uint64_t)found : 0;
}

static void remove_scratch(const char *name) {
    char command[400];
    snprintf(command, sizeof command, "rm -rf '%s'", scratch(name));
    KL_CHECK_EQ(system(command), 0);
}

static uint64_t cut_everywhere(history *h, bool again, size_t images) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    uint64_t lost = 0;
    size_t count = disk_record_count(h->record);
    for (size_t i = 0; i < images; i++) {
        size_t at = images >= count && i < count ? i : kl_random_below(&random, count + 1);
        lost += lost_by_cut(h, at, &random, again);
    }
    return lost;
}

static size_t images(size_t usual) {
    const char *wanted = getenv("LOG_CUT_IMAGES");
    if (wanted != NULL) return (size_t)strtoull(wanted, NULL, 10);
    return kl_test_slow() ? usual / 5 : usual;
}

static void expect_honest(uint64_t seed, uint64_t scan_bytes, bool again, size_t count) {
    history h = {.scan_bytes = scan_bytes};
    live(&h, scratch("live"), seed);
    uint64_t lost = cut_everywhere(&h, again, count);
    if (lost > 0) fprintf(stderr, "lost %llu; %s\n", (unsigned long long)lost, last_refusal);
    disk_record_free(h.record);
    remove_scratch("live");
    remove_scratch("image");
    KL_CHECK_EQ(lost, 0u);
}

KL_TEST(kl_log_loses_nothing_durable_in_a_power_cut_at_any_point) {
    expect_honest(kl_test_seed(), 0, false, images(300));
}

KL_TEST(kl_log_loses_nothing_durable_in_a_second_power_cut_while_it_recovers) {
    expect_honest(kl_test_seed() + 1, 0, true, images(150));
}

/* Every commit or two tells the manifest, from another thread; the opens start there. */
KL_TEST(kl_log_with_a_short_scan_loses_nothing_durable_in_power_cuts) {
    expect_honest(kl_test_seed() + 2, 4 * (uint64_t)KL_LOG_BLOCK_BYTES, false, images(200));
    expect_honest(kl_test_seed() + 3, 4 * (uint64_t)KL_LOG_BLOCK_BYTES, true, images(60));
}

/* On segments that are written a second and a third time. */
KL_TEST(kl_log_that_truncates_loses_nothing_durable_in_power_cuts) {
    history h = {.truncates = true};
    for (uint64_t again = 0; again < 2; again++) {
        h.truncated = h.wished = 0;
        live(&h, scratch("live"), kl_test_seed() + 4 + again);
        uint64_t lost = cut_everywhere(&h, again != 0, images(again != 0 ? 100 : 250));
        if (lost > 0) fprintf(stderr, "lost %llu; %s\n", (unsigned long long)lost, last_refusal);
        disk_record_free(h.record);
        remove_scratch("live");
        remove_scratch("image");
        KL_CHECK_EQ(lost, 0u);
    }
}

static void expect_caught(enum disk_lie lie) {
    history h = {0};
    live(&h, scratch("live"), kl_test_seed());
    disk_record_lie(h.record, lie);
    uint64_t lost = cut_everywhere(&h, false, 100);
    disk_record_free(h.record);
    remove_scratch("live");
    remove_scratch("image");
    KL_CHECK(lost > 0);
}

/* A log that gives its segments away before the manifest says so: a cut finds them gone. */
KL_TEST(kl_log_that_retires_segments_too_early_is_caught_by_the_power_cuts) {
    history h = {.truncates = true};
    live(&h, scratch("live"), kl_test_seed());
    disk_record_lie(h.record, DISK_NO_MANIFEST_SYNC);
    uint64_t lost = cut_everywhere(&h, false, 200);
    disk_record_free(h.record);
    remove_scratch("live");
    remove_scratch("image");
    KL_CHECK(lost > 0);
}

KL_TEST(kl_log_that_skips_its_syncs_is_caught_by_the_power_cuts) {
    expect_caught(DISK_NO_SYNC);
}

KL_TEST(kl_log_that_takes_its_target_after_the_sync_is_caught_by_the_power_cuts) {
    expect_caught(DISK_LATE_TARGET);
}

KL_TEST(kl_log_that_skips_folder_syncs_is_caught_by_the_power_cuts) {
    expect_caught(DISK_NO_FOLDER_SYNC);
}
