/* CRC-32C with the crc32c instructions of arm64 (optional in ARMv8.0, always there since 8.1). */
#include "base/checksum.h"

#if defined(__aarch64__)

#include <arm_acle.h>
#include <string.h>

#if defined(__clang__)
#define WITH_CRC __attribute__((target("crc")))
#else
#define WITH_CRC __attribute__((target("+crc")))
#endif

static inline uint64_t load_word(const uint8_t *from) {
    uint64_t word;
    memcpy(&word, from, 8); /* any alignment */
    return word;
}

WITH_CRC static inline uint32_t by_word(uint32_t crc, const uint8_t *next, size_t bytes) {
    for (; bytes >= 8; bytes -= 8, next += 8) crc = __crc32cd(crc, load_word(next));
    for (; bytes > 0; bytes--, next++) crc = __crc32cb(crc, *next);
    return crc;
}

/* a * b mod P, both reflected. PMULL would be faster but is a separate option of the processor; 32
 * rounds per 4080 bytes are little. */
static uint32_t multiply(uint32_t a, uint32_t b) {
    uint32_t product = 0;
    for (int bit = 31; bit >= 0; bit--) {
        product ^= b & (0u - (a >> bit & 1));
        b = b >> 1 ^ (0x82F63B78u & (0u - (b & 1)));
    }
    return product;
}

WITH_CRC uint32_t kl_crc32c_arm(uint32_t seed, const void *data, size_t bytes) {
    const size_t stream_bytes = 1360;
    const uint8_t *next = data;
    uint32_t crc = ~seed;
    /* Three streams side by side: one crc32c takes three cycles, one can start each cycle. */
    for (; bytes >= 3 * stream_bytes; bytes -= 3 * stream_bytes, next += 3 * stream_bytes) {
        uint32_t crc1 = 0, crc2 = 0;
        for (size_t at = 0; at < stream_bytes; at += 8) {
            crc = __crc32cd(crc, load_word(next + at));
            crc1 = __crc32cd(crc1, load_word(next + stream_bytes + at));
            crc2 = __crc32cd(crc2, load_word(next + 2 * stream_bytes + at));
        }
        /* x^(16 * stream_bytes) and x^(8 * stream_bytes) mod P, reflected: the way to the end. */
        crc = multiply(crc, 0x4672c7f2) ^ multiply(crc1, 0xd6a79573) ^ crc2;
    }
    return ~by_word(crc, next, bytes);
}

#endif
