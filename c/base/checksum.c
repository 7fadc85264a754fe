#include "base/checksum.h"

#include "base/cpu.h"

#include <endian.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define POLYNOMIAL 0x82F63B78u

/* table[k][b]: what byte b does to the checksum with k zero bytes after it. */
static uint32_t table[8][256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void fill_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        table[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 8; k++) {
            uint32_t before = table[k - 1][i];
            table[k][i] = before >> 8 ^ table[0][before & 0xFF];
        }
}

static uint32_t by_table(uint32_t seed, const void *data, size_t bytes) {
    const uint8_t *next = data;
    uint32_t crc = ~seed;
    for (; bytes >= 8; bytes -= 8, next += 8) {
        uint64_t word;
        memcpy(&word, next, 8);
        word = le64toh(word) ^ crc;
        crc = table[7][word & 0xFF] ^ table[6][word >> 8 & 0xFF] ^ table[5][word >> 16 & 0xFF] ^
              table[4][word >> 24 & 0xFF] ^ table[3][word >> 32 & 0xFF] ^
              table[2][word >> 40 & 0xFF] ^ table[1][word >> 48 & 0xFF] ^ table[0][word >> 56];
    }
    for (; bytes > 0; bytes--, next++) crc = crc >> 8 ^ table[0][(crc ^ *next) & 0xFF];
    return ~crc;
}

kl_crc32c_function *kl_crc32c_way(uint32_t way) {
    uint32_t features = kl_cpu_features();
    (void)features;
    switch (way) {
    case KL_CRC32C_TABLE: pthread_once(&table_once, fill_table); return by_table;
#if defined(__x86_64__)
    case KL_CRC32C_WORD: return features & KL_CPU_SSE42 ? kl_crc32c_word : NULL;
    case KL_CRC32C_STREAM: {
        const uint32_t needed = KL_CPU_SSE42 | KL_CPU_PCLMUL;
        return (features & needed) == needed ? kl_crc32c_stream : NULL;
    }
    case KL_CRC32C_FOLD: {
        const uint32_t needed = KL_CPU_SSE42 | KL_CPU_PCLMUL | KL_CPU_AVX512 | KL_CPU_VPCLMUL;
        return (features & needed) == needed ? kl_crc32c_fold : NULL;
    }
#elif defined(__aarch64__)
    case KL_CRC32C_ARM: return features & KL_CPU_ARM_CRC ? kl_crc32c_arm : NULL;
#endif
    default: return NULL;
    }
}

/* The first call lands here and replaces itself; racing threads store the same function. */
static kl_crc32c_function choose;

static _Atomic(kl_crc32c_function *) chosen = choose;

static uint32_t choose(uint32_t seed, const void *data, size_t bytes) {
    static const uint32_t best_first[] = {KL_CRC32C_FOLD, KL_CRC32C_STREAM, KL_CRC32C_ARM,
                                          KL_CRC32C_WORD, KL_CRC32C_TABLE};
    kl_crc32c_function *function = NULL;
    for (int i = 0; function == NULL; i++) function = kl_crc32c_way(best_first[i]);
    /* release: partner is the acquire in kl_crc32c(); publishes the table of the software way. */
    atomic_store_explicit(&chosen, function, memory_order_release);
    return function(seed, data, bytes);
}

uint32_t kl_crc32c(uint32_t seed, const void *data, size_t bytes) {
    return atomic_load_explicit(&chosen, memory_order_acquire)(seed, data, bytes);
}

uint32_t kl_checksum_crc32c(uint32_t seed, const uint8_t *data, uint32_t bytes) {
    return data == NULL ? seed : kl_crc32c(seed, data, bytes);
}
