#include "file/device_measure.h"

#include "file/device.h"
#include "tests/c/harness.h"

#include <dirent.h>
#include <string.h>

static double measure(const char *path, uint32_t mode, uint32_t block_bytes, uint32_t count) {
    return kl_device_measure((const uint8_t *)path, (uint32_t)strlen(path), mode, block_bytes,
                             count);
}

static int count_names(const char *path) {
    DIR *folder = opendir(path);
    int count = 0;
    while (readdir(folder) != NULL) count++;
    closedir(folder);
    return count;
}

KL_TEST(kl_device_measure_gives_plausible_figures_and_removes_its_file) {
    const char *path = kl_test_folder();
    double sync_ns = measure(path, KL_DEVICE_MEASURE_SYNC, 4096, 9);
    KL_CHECK(sync_ns > 100 && sync_ns < 1e9);
    double rate = measure(path, KL_DEVICE_MEASURE_STREAM, 65536, 16);
    KL_CHECK(rate > 1e5 && rate < 1e12);
    KL_CHECK(measure(path, KL_DEVICE_MEASURE_STREAM, 4096, 1) > 0);
    KL_CHECK(measure(path, KL_DEVICE_MEASURE_SYNC, 32u << 20, 1) > 0);
    KL_CHECK_EQ(count_names(path), 2);
}

KL_TEST(kl_device_measure_works_where_direct_is_refused) {
    KL_CHECK(measure("/dev/shm", KL_DEVICE_MEASURE_SYNC, 4096, 3) > 0);
    KL_CHECK(measure("/dev/shm", KL_DEVICE_MEASURE_STREAM, 4096, 3) > 0);
}

KL_TEST(kl_device_measure_refuses_bad_arguments) {
    const char *path = kl_test_folder();
    static const uint32_t bad[][3] = {{2, 4096, 1},        {0, 0, 1},    {0, 4095, 1},
                                      {0, 128u << 20, 1},  {0, 4096, 0}, {1, 4096, UINT32_MAX},
                                      {1, 64u << 20, 1000}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        KL_CHECK_EQ((int32_t)measure(path, bad[i][0], bad[i][1], bad[i][2]), KL_ERR_ARGUMENT);
    KL_CHECK_EQ((int32_t)kl_device_measure(NULL, 0, 0, 4096, 1), KL_ERR_NAME);
    KL_CHECK_EQ((int32_t)measure("/none/at/all", 0, 4096, 1), KL_ERR_NOT_FOUND);
}
