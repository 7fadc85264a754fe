/* The fuzzer's corpus, and inputs at random, without the fuzzer. */
#include "base/random.h"
#include "tests/c/fuzz/log_open.h"
#include "tests/c/harness.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CORPUS    "tests/c/fuzz/corpus/log_open"
#define INPUT_MAX 4096u

KL_TEST(kl_log_holds_for_every_input_of_the_fuzzers_corpus) {
    DIR *corpus = opendir(CORPUS);
    uint8_t input[INPUT_MAX];
    uint32_t count = 0;
    KL_CHECK(corpus != NULL);
    for (struct dirent *entry; (entry = readdir(corpus)) != NULL;) {
        char path[400];
        snprintf(path, sizeof path, CORPUS "/%s", entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (file == NULL) continue;
        size_t bytes = fread(input, 1, sizeof input, file);
        fclose(file);
        fuzz_log_open(input, bytes);
        count++;
    }
    closedir(corpus);
    KL_CHECK_LE(10, count);
}

/* Changes that hit what matters more often than blind ones. */
KL_TEST(kl_log_holds_for_changes_at_random) {
    kl_random random;
    uint8_t input[INPUT_MAX];
    kl_random_init(&random, kl_test_seed());
    for (uint32_t round = 0; round < (kl_test_slow() ? 10 : 60); round++) {
        size_t used = 0;
        for (uint64_t changes = 1 + kl_random_below(&random, 4); changes > 0; changes--) {
            uint32_t block = (uint32_t)kl_random_below(&random, 16) * 4096;
            uint32_t offset = block + (uint32_t)kl_random_below(&random, 64);
            uint32_t count = 1 + (uint32_t)kl_random_below(&random, 40);
            input[used] = (uint8_t)kl_random_below(&random, 8);
            input[used + 1] = (uint8_t)count;
            memcpy(input + used + 2, &offset, sizeof offset);
            used += 6;
            for (uint32_t i = 0; i < count; i++)
                input[used++] =
                    (uint8_t)kl_random_below(&random, kl_random_below(&random, 2) ? 5 : 256);
        }
        fuzz_log_open(input, used);
    }
}
