#include "sync/latest.h"

#include "base/random.h"
#include "tests/c/harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VALUE_BYTES 200u

typedef struct {
    kl_region *region;
    kl_latest latest;
    uint32_t self;
} end;

static char path[512];

static void grip(end *one) {
    KL_CHECK_LE(0, kl_region_join(one->region, 0));
    KL_CHECK_EQ(kl_latest_grip(&one->latest, kl_region_data(one->region),
                               kl_region_data_bytes(one->region)),
                KL_OK);
    one->self = (uint32_t)kl_region_thread_join(one->region);
}

static end attach(void) {
    end one = {0};
    KL_CHECK_EQ(kl_region_attach(&one.region, path, NULL), KL_OK);
    grip(&one);
    return one;
}

static end create(void) {
    end one = {0};
    snprintf(path, sizeof path, "%s/region", kl_test_folder());
    kl_region_spec spec = {.kind = 1};
    uint64_t bytes = kl_latest_memory_bytes(VALUE_BYTES);
    KL_CHECK_EQ(kl_region_create(&one.region, path, bytes, &spec), KL_OK);
    KL_CHECK_EQ(kl_latest_format(kl_region_data(one.region), VALUE_BYTES), KL_OK);
    KL_CHECK_EQ(kl_region_publish(one.region), KL_OK);
    grip(&one);
    return one;
}

KL_TEST(kl_latest_gives_what_was_set_last) {
    end one = create();
    uint8_t model[VALUE_BYTES], out[VALUE_BYTES];
    uint64_t version = 9;
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    KL_CHECK_EQ(kl_latest_get(&one.latest, out, sizeof out, &version), KL_ERR_AGAIN);
    KL_CHECK_EQ(version, 0);
    for (uint32_t round = 1; round < 5000; round++) {
        uint32_t bytes = (uint32_t)kl_random_below(&random, VALUE_BYTES + 1);
        for (uint32_t i = 0; i < bytes; i++) model[i] = (uint8_t)kl_random_u64(&random);
        KL_CHECK_EQ(kl_latest_set_sp(&one.latest, model, bytes), KL_OK);
        KL_CHECK_EQ(kl_latest_get(&one.latest, out, sizeof out, &version), (int32_t)bytes);
        KL_CHECK_EQ(version, round);
        KL_CHECK_BYTES(out, model, bytes);
        if (bytes > 0)
            KL_CHECK_EQ(kl_latest_get(&one.latest, out, bytes - 1, &version), KL_ERR_LIMIT);
    }
    KL_CHECK_EQ(kl_latest_set_sp(&one.latest, model, VALUE_BYTES + 1), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_latest_set_sp(&one.latest, NULL, 1), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_latest_version(&one.latest), 4999);
    kl_region_close(one.region);
}

KL_TEST(kl_latest_format_and_grip_refuse_what_cannot_be) {
    KL_CHECK_EQ(kl_latest_memory_bytes(0), 0);
    KL_CHECK_EQ(kl_latest_memory_bytes(KL_LATEST_VALUE_BYTES_MAX + 1), 0);
    KL_CHECK_EQ(kl_latest_format(NULL, 0), KL_ERR_ARGUMENT);
    end one = create();
    kl_latest grip;
    kl_latest_header *header = one.latest.header;
    uint64_t bytes = kl_latest_memory_bytes(VALUE_BYTES);
    KL_CHECK_EQ(kl_latest_grip(&grip, header, bytes - 1), KL_ERR_CORRUPT);
    header->value_bytes = 0;
    KL_CHECK_EQ(kl_latest_grip(&grip, header, bytes), KL_ERR_CORRUPT);
    header->value_bytes = UINT32_MAX;
    KL_CHECK_EQ(kl_latest_grip(&grip, header, bytes), KL_ERR_CORRUPT);
    header->version++;
    KL_CHECK_EQ(kl_latest_grip(&grip, header, bytes), KL_ERR_VERSION);
    header->magic++;
    KL_CHECK_EQ(kl_latest_grip(&grip, header, bytes), KL_ERR_CORRUPT);
    kl_region_close(one.region);
}

/* ---- one writer, many readers ---- */

/* Value n: n % VALUE_BYTES bytes, but at least 8, in words that all follow from n. */
static uint32_t fill(uint64_t *words, uint64_t n) {
    uint32_t bytes = (uint32_t)(8 + n % (VALUE_BYTES - 7));
    for (uint32_t i = 0; i < VALUE_BYTES / 8; i++) words[i] = n * (2 * i + 1);
    return bytes;
}

/* The version is the number. */
static uint64_t check_value(end *one, uint64_t seen) {
    uint64_t words[VALUE_BYTES / 8] = {0}, expected[VALUE_BYTES / 8], version;
    int32_t bytes = kl_latest_get(&one->latest, words, sizeof words, &version);
    if (bytes == KL_ERR_AGAIN) return seen;
    KL_CHECK_LE(seen, version);
    KL_CHECK_EQ(bytes, (int32_t)fill(expected, version));
    KL_CHECK_BYTES(words, expected, (size_t)bytes);
    uint64_t word = 0;
    KL_CHECK_EQ(kl_latest_get_u64(&one->latest, &word), KL_OK);
    KL_CHECK_LE(version, word);
    return version;
}

static uint64_t rounds(void) {
    return getenv("KEELSON_LONG") ? 3000000 : kl_test_slow() ? 5000 : 100000;
}

static void set_up_to(end *one, uint64_t last) {
    uint64_t words[VALUE_BYTES / 8];
    for (uint64_t n = kl_latest_version(&one->latest) + 1; n <= last; n++)
        KL_CHECK_EQ(kl_latest_set_sp(&one->latest, words, fill(words, n)), KL_OK);
}

static void write_or_read(void *argument, uint32_t index) {
    end *one = argument;
    uint64_t seen = kl_latest_version(&one->latest), last = seen + rounds();
    if (index == 0) {
        set_up_to(one, last);
        return;
    }
    while (kl_latest_version(&one->latest) < rounds()) seen = check_value(one, seen);
}

KL_TEST(kl_latest_readers_see_whole_values_that_never_go_back) {
    end one = create();
    kl_test_threads(3, write_or_read, &one);
    KL_CHECK_EQ(kl_latest_version(&one.latest), rounds());
    kl_region_close(one.region);
}

KL_TEST(kl_latest_goes_on_where_versions_wrap) {
    uint64_t starts[] = {UINT32_MAX - 5ull, (1ull << 63) - 5, UINT64_MAX - 1000};
    for (uint32_t i = 0; i < 3; i++) {
        end one = create();
        one.latest.header->published = one.latest.header->writing = starts[i];
        uint64_t seen = starts[i];
        for (uint32_t round = 0; round < 500; round++) {
            set_up_to(&one, seen + 1);
            seen = check_value(&one, seen + 1);
            KL_CHECK_EQ(seen, starts[i] + round + 1);
        }
        kl_region_close(one.region);
    }
}

static int read_in_child(void *argument) {
    (void)argument;
    end one = attach();
    for (uint64_t seen = 0; seen < rounds();) seen = check_value(&one, seen);
    kl_region_close(one.region);
    return 0;
}

KL_TEST(kl_latest_readers_in_two_processes_see_whole_values) {
    end one = create();
    int children[2] = {kl_test_fork(read_in_child, NULL), kl_test_fork(read_in_child, NULL)};
    set_up_to(&one, rounds());
    for (uint32_t i = 0; i < 2; i++) KL_CHECK_EQ(kl_test_join(children[i]), 0);
    kl_region_close(one.region);
}

/* ---- the writer ---- */

static int write_and_die(void *argument) {
    (void)argument;
    end one = attach();
    if (kl_latest_claim(&one.latest, one.region, one.self) < 0) return 1;
    for (;;) set_up_to(&one, kl_latest_version(&one.latest) + 1000);
}

KL_TEST(kl_latest_a_killed_writer_blocks_nobody_and_its_role_is_taken_over) {
    end one = create(), other = attach();
    uint64_t seen = 0;
    for (uint32_t round = 0; round < (kl_test_slow() ? 3u : 12u); round++) {
        int child = kl_test_fork(write_and_die, NULL);
        uint64_t end_at = kl_latest_version(&one.latest) + 3000;
        while (kl_latest_version(&one.latest) < end_at) seen = check_value(&one, seen);
        KL_CHECK_EQ(kl_latest_claim(&one.latest, one.region, one.self), KL_ERR_LOCKED);
        kill(child, SIGKILL);
        KL_CHECK_EQ(kl_test_join(child), 128 + SIGKILL);
        seen = check_value(&one, seen);
        KL_CHECK_EQ(seen, kl_latest_version(&one.latest));
        KL_CHECK_EQ(kl_latest_claim(&one.latest, one.region, one.self), KL_OWNER_DEAD);
        KL_CHECK_EQ(kl_latest_claim(&one.latest, one.region, one.self), KL_OK);
        KL_CHECK_EQ(kl_latest_claim(&other.latest, other.region, other.self), KL_ERR_LOCKED);
        set_up_to(&one, seen + 1);
        KL_CHECK_EQ(check_value(&one, seen), seen + 1);
        kl_latest_release(&other.latest, other.self); /* not his to give */
        KL_CHECK_EQ(kl_latest_claim(&other.latest, other.region, other.self), KL_ERR_LOCKED);
        kl_latest_release(&one.latest, one.self);
        KL_CHECK_EQ(kl_latest_claim(&other.latest, other.region, other.self), KL_OK);
        kl_latest_release(&other.latest, other.self);
    }
    kl_region_close(other.region);
    kl_region_close(one.region);
}

KL_TEST(kl_latest_answers_scribbled_memory_with_codes_and_is_mended_by_the_next_set) {
    end one = create();
    uint8_t *data = kl_region_data(one.region), out[VALUE_BYTES];
    uint64_t bytes = kl_latest_memory_bytes(VALUE_BYTES), version, word;
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (uint32_t round = 0; round < (kl_test_slow() ? 50u : 1000u); round++) {
        for (uint64_t i = 0; i < bytes; i++)
            if (i < KL_LINE_BYTES || (i >= 2 * KL_LINE_BYTES && kl_random_below(&random, 2) == 0))
                data[i] = (uint8_t)kl_random_u64(&random);
        KL_CHECK_LE(kl_latest_get(&one.latest, out, sizeof out, &version), (int32_t)sizeof out);
        KL_CHECK_LE(kl_latest_get_u64(&one.latest, &word), KL_OK);
        KL_CHECK_EQ(kl_latest_set_sp(&one.latest, "abc", 3), KL_OK);
        KL_CHECK_EQ(kl_latest_get(&one.latest, out, sizeof out, &version), 3);
        KL_CHECK_BYTES(out, "abc", 3);
    }
    kl_region_close(one.region);
}
