#include "base/checksum.h"
#include "base/random.h"
#include "tests/c/harness.h"

#include <stdio.h>
#include <string.h>

#define LENGTH_MAX 4096
#define OFFSET_MAX 16

/* The dull one: bit by bit, straight from the definition. */
static uint32_t by_bit(uint32_t seed, const uint8_t *data, size_t bytes) {
    uint32_t crc = ~seed;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
    }
    return ~crc;
}

static void fill(uint8_t *out, size_t bytes) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (size_t i = 0; i < bytes; i++) out[i] = (uint8_t)kl_random_u64(&random);
}

KL_TEST(kl_crc32c_gives_the_published_values) {
    uint8_t bytes[32];
    KL_CHECK_EQ(kl_crc32c(0, "123456789", 9), 0xE3069283u);
    memset(bytes, 0, 32); /* this and the next three: RFC 3720, appendix B.4 */
    KL_CHECK_EQ(kl_crc32c(0, bytes, 32), 0x8A9136AAu);
    memset(bytes, 0xFF, 32);
    KL_CHECK_EQ(kl_crc32c(0, bytes, 32), 0x62A8AB43u);
    for (int i = 0; i < 32; i++) bytes[i] = (uint8_t)i;
    KL_CHECK_EQ(kl_crc32c(0, bytes, 32), 0x46DD794Eu);
    for (int i = 0; i < 32; i++) bytes[i] = (uint8_t)(31 - i);
    KL_CHECK_EQ(kl_crc32c(0, bytes, 32), 0x113FDB5Cu);
}

KL_TEST(kl_crc32c_of_nothing_is_the_seed) {
    KL_CHECK_EQ(kl_crc32c(0, NULL, 0), 0);
    KL_CHECK_EQ(kl_crc32c(0xDEADBEEFu, NULL, 0), 0xDEADBEEFu);
    for (uint32_t way = 0; way < KL_CRC32C_WAY_COUNT; way++) {
        kl_crc32c_function *function = kl_crc32c_way(way);
        if (function != NULL) KL_CHECK_EQ(function(77, NULL, 0), 77);
    }
}

KL_TEST(kl_checksum_crc32c_without_data_is_the_seed) {
    KL_CHECK_EQ(kl_checksum_crc32c(5, NULL, 100), 5);
    KL_CHECK_EQ(kl_checksum_crc32c(0, (const uint8_t *)"123456789", 9), 0xE3069283u);
}

/* Every length and alignment of one way against the dull one. The expected value of the next
 * length comes from one more byte, so the dull one runs once per alignment. */
static void compare_way(kl_crc32c_function *function, uint32_t seed) {
    static uint8_t data[LENGTH_MAX + OFFSET_MAX];
    fill(data, sizeof data);
    size_t step = kl_test_slow() ? 7 : 1;
    for (size_t offset = 0; offset < OFFSET_MAX; offset++) {
        uint32_t expected = seed;
        size_t known = 0;
        for (size_t length = 0; length <= LENGTH_MAX; length += step) {
            expected = by_bit(expected, data + offset + known, length - known);
            known = length;
            if (function(seed, data + offset, length) != expected) {
                kl_test_fail(__FILE__, __LINE__, "offset %zu length %zu seed %u", offset, length,
                             seed);
                return;
            }
        }
    }
}

KL_TEST(kl_crc32c_all_ways_agree_for_every_length_and_alignment) {
    for (uint32_t way = 0; way < KL_CRC32C_WAY_COUNT; way++) {
        kl_crc32c_function *function = kl_crc32c_way(way);
        if (function == NULL) continue;
        compare_way(function, 0);
        compare_way(function, 0x9E3779B9u);
    }
    compare_way(kl_crc32c, 0);
}

KL_TEST(kl_crc32c_way_is_null_for_an_unknown_number) {
    KL_CHECK_EQ(kl_crc32c_way(KL_CRC32C_WAY_COUNT), NULL);
    KL_CHECK_EQ(kl_crc32c_way(UINT32_MAX), NULL);
    KL_CHECK_NE(kl_crc32c_way(KL_CRC32C_TABLE), NULL);
}

KL_TEST(kl_crc32c_of_two_runs_is_that_of_the_whole) {
    static uint8_t data[70000];
    fill(data, sizeof data);
    kl_random random;
    kl_random_init(&random, kl_test_seed() + 1);
    uint32_t whole = kl_crc32c(0, data, sizeof data);
    for (int i = 0; i < 50; i++) {
        size_t cut = kl_random_below(&random, sizeof data + 1);
        KL_CHECK_EQ(kl_crc32c(kl_crc32c(0, data, cut), data + cut, sizeof data - cut), whole);
    }
}

KL_TEST(kl_crc32c_sees_every_flipped_bit) {
    uint8_t data[600];
    fill(data, sizeof data);
    uint32_t whole = kl_crc32c(0, data, sizeof data);
    for (size_t bit = 0; bit < 8 * sizeof data; bit++) {
        data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        KL_CHECK_NE(kl_crc32c(0, data, sizeof data), whole);
        data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
}

static void check_from_thread(void *argument, uint32_t index) {
    (void)index;
    for (int i = 0; i < 100; i++) {
        KL_CHECK_EQ(kl_crc32c(0, argument, 9), 0xE3069283u);
        KL_CHECK_EQ(kl_crc32c_way(KL_CRC32C_TABLE)(0, argument, 9), 0xE3069283u);
    }
}

KL_TEST(kl_crc32c_may_be_called_first_by_many_threads) {
    static char text[] = "123456789";
    kl_test_threads(4, check_from_thread, text);
}

/* Not a pass or fail: prints what each way does, for docs and for the eye. */
KL_TEST(kl_crc32c_rate_is_printed) {
    static const char *const names[] = {"table", "word", "stream", "fold", "arm"};
    static const size_t sizes[] = {64, 512, 4096, 65536};
    static uint8_t data[65536];
    fill(data, sizeof data);
    uint32_t digest = 0;
    for (uint32_t way = 0; way < KL_CRC32C_WAY_COUNT; way++) {
        kl_crc32c_function *function = kl_crc32c_way(way);
        for (size_t s = 0; function != NULL && s < sizeof sizes / sizeof *sizes; s++) {
            uint64_t rounds = (kl_test_slow() ? 1u << 20 : 1u << 24) / sizes[s], best = UINT64_MAX;
            for (int repeat = 0; repeat < 5; repeat++) {
                uint64_t start = kl_test_now_ns();
                for (uint64_t i = 0; i < rounds; i++) digest = function(digest, data, sizes[s]);
                uint64_t took = kl_test_now_ns() - start;
                if (took < best) best = took;
            }
            printf("# crc32c %-6s %6zu bytes %6.1f GB/s\n", names[way], sizes[s],
                   (double)(rounds * sizes[s]) / (double)best);
        }
    }
    printf("# digest %08x\n", digest);
}
