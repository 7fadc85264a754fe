/* The power fails after every operation of the manifest's and the segments' life, in several ways;
 * and once with a disk that lies about its syncs, where the same checks must fail. */
#include "file/manifest.h"
#include "file/segment_set.h"
#include "tests/c/file/power_cut.h"
#include "tests/c/harness.h"

#include <dirent.h>

#define EVENTS_MAX    64u
#define CUTS_PER_STEP 12
#define SEGMENT_BYTES (4u * 4096u)

static const uint8_t uuid[16] = {1, 2, 3, 4};

/* What happened between which records: begun after `begun` of them, acknowledged after `done`. */
typedef struct {
    enum { STATE, PREPARE, RETIRE, DATA } kind;
    uint64_t number; /* state: its value */
    size_t begun;
    size_t done;
} event;

typedef struct {
    kl_device_faults *faults;
    const kl_device_record *records;
    size_t record_count;
    event events[EVENTS_MAX];
    uint32_t event_count;
} history;

static size_t records_now(const history *it) {
    size_t count = 0;
    (void)kl_device_faults_records(it->faults, &count);
    return count;
}

static event *begin(history *it, int kind, uint64_t number) {
    KL_CHECK_LT(it->event_count, EVENTS_MAX);
    event *now = &it->events[it->event_count++];
    now->kind = (unsigned)kind;
    now->number = number;
    now->begun = records_now(it);
    return now;
}

static void end(history *it, event *now, int32_t status) {
    KL_CHECK_EQ(status, KL_OK);
    now->done = records_now(it);
}

/* The folder that both tests use over and over: in memory, where it is only about the bytes. */
static int open_folder(char *path, size_t capacity) {
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(path, capacity, "%s/keelson-cut-XXXXXX", parent);
    KL_CHECK(mkdtemp(path) != NULL);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    KL_CHECK_LE(0, fd);
    return fd;
}

static void empty_folder(const char *path, int fd) {
    DIR *folder = opendir(path);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
        if (entry->d_name[0] != '.') unlinkat(fd, entry->d_name, 0);
    closedir(folder);
}

/* Cuts after every record, in several ways; counts the outcomes that `is_good` does not accept. */
static int cut_everywhere(const history *it, uint32_t lies,
                          bool (*is_good)(const history *, size_t, int)) {
    char path[64];
    int folder = open_folder(path, sizeof path), bad = 0;
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (size_t count = 0; count <= it->record_count; count++) {
        for (int i = 0; i < (kl_test_slow() ? 3 : CUTS_PER_STEP); i++) {
            power_cut_leave(it->records, count, lies, path, &random);
            if (!is_good(it, count, folder)) bad++;
            empty_folder(path, folder);
        }
    }
    close(folder);
    rmdir(path);
    return bad;
}

static void check_history(history *it, bool (*is_good)(const history *, size_t, int)) {
    it->records = kl_device_faults_records(it->faults, &it->record_count);
    /* The records are kept while the checks run: the seam is off, they are not recorded. */
    kl_device_seam_install(NULL);
    int bad = cut_everywhere(it, 0, is_good);
    int bad_syncs = cut_everywhere(it, 1u << KL_DEVICE_OP_SYNC, is_good);
    int bad_folders = cut_everywhere(it, 1u << KL_DEVICE_OP_SYNC_FOLDER, is_good);
    kl_device_faults_stop(it->faults);
    KL_CHECK_EQ(bad, 0);
    KL_CHECK_LT(0, bad_syncs); /* else the checks see nothing */
    KL_CHECK_LT(0, bad_folders);
}

/* ---- manifest ---- */

static bool manifest_is_good(const history *it, size_t count, int folder) {
    uint64_t acknowledged = 0, begun = 0, found = 0;
    for (uint32_t i = 0; i < it->event_count; i++) {
        if (it->events[i].done <= count) acknowledged = it->events[i].number;
        if (it->events[i].begun <= count) begun = it->events[i].number;
    }
    kl_manifest_spec spec = {.kind = 5};
    kl_manifest *manifest = NULL;
    int32_t status = kl_manifest_open(&manifest, folder, "state", &spec, NULL);
    if (status == KL_ERR_NOT_FOUND) return acknowledged == 0;
    if (status != KL_OK) return false;
    uint64_t payload[500];
    int32_t bytes = kl_manifest_read(manifest, payload, sizeof payload);
    if (bytes == (int32_t)sizeof payload) found = payload[499];
    bool whole = bytes == KL_ERR_NOT_FOUND || (bytes > 0 && payload[0] == found);
    kl_manifest_close(manifest);
    return whole && acknowledged <= found && found <= begun;
}

KL_TEST(kl_manifest_keeps_what_it_acknowledged_through_a_power_cut) {
    int folder = open(kl_test_folder(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    static history it;
    it = (history){.faults = kl_device_faults_start(NULL, 0, true)};
    kl_manifest *manifest = NULL;
    for (uint64_t value = 1; value <= 7; value++) {
        uint64_t payload[500];
        for (int i = 0; i < 500; i++) payload[i] = value;
        event *now = begin(&it, STATE, value);
        if (manifest == NULL) { /* the first, and once more in the middle */
            kl_manifest_spec spec = {.kind = 5, .flags = KL_MANIFEST_CREATE};
            KL_CHECK_EQ(kl_manifest_open(&manifest, folder, "state", &spec, NULL), KL_OK);
        }
        end(&it, now, kl_manifest_write(manifest, payload, sizeof payload));
        if (value == 4) {
            kl_manifest_close(manifest);
            manifest = NULL;
        }
    }
    kl_manifest_close(manifest);
    check_history(&it, manifest_is_good);
    close(folder);
}

/* ---- segments ---- */

static kl_segment_set *open_set(int folder) {
    kl_segment_set_spec spec = {.segment_bytes = SEGMENT_BYTES, .spare_max = 1};
    memcpy(spec.uuid, uuid, sizeof uuid);
    kl_segment_set *set = NULL;
    return kl_segment_set_open(&set, folder, &spec) == KL_OK ? set : NULL;
}

/* Whether segment `number` must be there, and whether its data must. */
static void wanted(const history *it, size_t count, uint64_t number, bool *there, bool *data) {
    *there = *data = false;
    for (uint32_t i = 0; i < it->event_count; i++) {
        const event *now = &it->events[i];
        if (now->number != number) continue;
        if (now->kind == PREPARE && now->done <= count) *there = true;
        if (now->kind == DATA && now->done <= count) *data = true;
        if (now->kind == RETIRE && now->begun < count) *there = *data = false;
    }
}

static bool has_data(kl_segment_set *set, uint64_t number) {
    kl_segment segment;
    uint64_t block[512];
    if (kl_segment_set_open_segment(set, number, &segment) != KL_OK) return false;
    bool good = kl_device_read_at(segment.device, 4096, block, sizeof block, NULL) == KL_OK;
    for (int i = 0; good && i < 512; i++) good = block[i] == number;
    kl_device_close(segment.device);
    return good;
}

static bool segments_are_good(const history *it, size_t count, int folder) {
    kl_segment_set *set = open_set(folder);
    kl_segment_listing listing;
    if (set == NULL) return false;
    bool good = kl_segment_set_list(set, &listing) == KL_OK && listing.damaged_count == 0;
    for (uint64_t number = 1; good && number <= 9; number++) {
        bool there, data, found = false;
        wanted(it, count, number, &there, &data);
        for (uint32_t i = 0; i < listing.count; i++)
            if (listing.entries[i].number == number) found = true;
        good = (found || !there) && (!data || has_data(set, number));
    }
    good = good && kl_segment_set_prepare(set, 100, 0) == KL_OK && !has_data(set, 101);
    kl_segment_listing_free(&listing);
    kl_segment_set_close(set);
    return good;
}

static void put_data(history *it, kl_segment_set *set, uint64_t number) {
    kl_segment segment;
    uint64_t block[512];
    for (int i = 0; i < 512; i++) block[i] = number;
    KL_CHECK_EQ(kl_segment_set_open_segment(set, number, &segment), KL_OK);
    event *now = begin(it, DATA, number);
    int32_t status = kl_device_write_at(segment.device, 4096, block, sizeof block);
    if (status == KL_OK) status = kl_device_sync(segment.device);
    end(it, now, status);
    kl_device_close(segment.device);
}

KL_TEST(kl_segment_set_keeps_what_it_acknowledged_through_a_power_cut) {
    int folder = open(kl_test_folder(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    static history it;
    it = (history){.faults = kl_device_faults_start(NULL, 0, true)};
    kl_segment_set *set = open_set(folder);
    for (uint64_t number = 1; number <= 9; number++) {
        event *now = begin(&it, PREPARE, number);
        end(&it, now, kl_segment_set_prepare(set, number, number));
        put_data(&it, set, number);
        if (number < 3) continue;
        now = begin(&it, RETIRE, number - 2);
        end(&it, now, kl_segment_set_retire(set, number - 2));
        if (number == 6) { /* as a process that was killed and came back */
            kl_segment_set_close(set);
            set = open_set(folder);
        }
    }
    kl_segment_set_close(set);
    check_history(&it, segments_are_good);
    close(folder);
}
