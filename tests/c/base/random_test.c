#include "base/random.h"
#include "tests/c/harness.h"

#include <string.h>

KL_TEST(kl_random_u64_gives_the_published_sequence) {
    /* xoshiro256** from the state {1, 2, 3, 4}, as the authors' C code prints it. */
    static const uint64_t expected[] = {11520ull, 0ull, 1509978240ull, 1215971899390074240ull};
    kl_random random = {{1, 2, 3, 4}};
    for (int i = 0; i < 4; i++) KL_CHECK_EQ(kl_random_u64(&random), expected[i]);
}

KL_TEST(kl_random_init_seeds_through_splitmix64) {
    kl_random random;
    kl_random_init(&random, 0);
    KL_CHECK_EQ(random.state[0], 0xE220A8397B1DCDAFull); /* splitmix64's first two from seed 0 */
    KL_CHECK_EQ(random.state[1], 0x6E789E6AA1B965F4ull);
}

KL_TEST(kl_random_init_repeats_for_a_seed_and_differs_between_seeds) {
    kl_random a, b, c;
    kl_random_init(&a, 7);
    kl_random_init(&b, 7);
    kl_random_init(&c, 8);
    int same = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t value = kl_random_u64(&a);
        KL_CHECK_EQ(value, kl_random_u64(&b));
        if (value == kl_random_u64(&c)) same++;
    }
    KL_CHECK_EQ(same, 0);
}

KL_TEST(kl_random_below_stays_below_and_reaches_all) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    uint32_t seen[10] = {0};
    for (int i = 0; i < 100000; i++) seen[kl_random_below(&random, 10)]++;
    for (int i = 0; i < 10; i++) KL_CHECK(seen[i] > 9000 && seen[i] < 11000); /* 10 sigma */
    KL_CHECK_EQ(kl_random_below(&random, 0), 0);
    KL_CHECK_EQ(kl_random_below(&random, 1), 0);
    for (int i = 0; i < 1000; i++) KL_CHECK_LT(kl_random_below(&random, UINT64_MAX), UINT64_MAX);
    /* 2/3 of the range: a plain modulus would favour the lower half two to one. */
    uint64_t bound = UINT64_MAX / 3 * 2;
    int low = 0;
    for (int i = 0; i < 10000; i++) low += kl_random_below(&random, bound) < bound / 2;
    KL_CHECK(low > 4500 && low < 5500);
}

KL_TEST(kl_random_os_fills_all_bytes_and_not_one_more) {
    uint8_t bytes[1000], guard = 0xA5;
    KL_CHECK_EQ(kl_random_os(NULL, 0), KL_OK);
    memset(bytes, guard, sizeof bytes);
    KL_CHECK_EQ(kl_random_os(bytes + 1, 700), KL_OK);
    KL_CHECK_EQ(bytes[0], guard);
    for (size_t i = 701; i < sizeof bytes; i++) KL_CHECK_EQ(bytes[i], guard);
    int unchanged = 0;
    for (size_t i = 1; i <= 700; i++) unchanged += bytes[i] == guard;
    KL_CHECK_LT(unchanged, 30); /* expected 3 */
}

KL_TEST(kl_random_os_reports_a_bad_address) {
    KL_CHECK_EQ(kl_random_os((void *)8, 16), KL_ERR_IO);
    KL_CHECK_CONTAINS(kl_status_last(), "random");
}
