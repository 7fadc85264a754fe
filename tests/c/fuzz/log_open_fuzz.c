/* libFuzzer's entry: see log_open.h. */
#include "tests/c/fuzz/log_open.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes) {
    fuzz_log_open(input, bytes);
    return 0;
}
