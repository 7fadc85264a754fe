/* CRC-32C with the instructions of x86-64. Three ways, each on top of the one before.
 *
 * The arithmetic: a checksum is the remainder of the message, as a polynomial over GF(2), divided
 * by P = x^32 + ... (0x11EDC6F41). "Shifting" a partial result over n following bytes multiplies
 * it by x^(8n) mod P. Bits are reflected, so a carry-less product of two reflected numbers comes
 * out one place (32 by 32 bits) or 33 places (64 by 32 bits) off; the exponents of the constants
 * below make up for that and for the x^32 that the crc32 instruction itself multiplies by.
 * X(n) is the reflected x^n mod P. After Gopal et al., "Fast CRC computation for generic
 * polynomials using PCLMULQDQ", Intel 2009, and Gueron, "Speeding up CRC32C computations", 2012.
 */
#include "base/checksum.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#define WITH_WORD   __attribute__((target("sse4.2")))
#define WITH_STREAM __attribute__((target("sse4.2,pclmul")))
#define WITH_FOLD   __attribute__((target("sse4.2,pclmul,avx512f,avx512dq,avx512vl,vpclmulqdq")))

static inline uint64_t load_word(const uint8_t *from) {
    uint64_t word;
    memcpy(&word, from, 8); /* any alignment */
    return word;
}

/* Word by word, then the last bytes. `crc` is inverted already, here and in all static functions. */
WITH_WORD static inline uint32_t by_word(uint32_t crc, const uint8_t *next, size_t bytes) {
    uint64_t wide = crc;
    for (; bytes >= 8; bytes -= 8, next += 8) wide = _mm_crc32_u64(wide, load_word(next));
    crc = (uint32_t)wide;
    if (bytes & 4) {
        uint32_t half;
        memcpy(&half, next, 4);
        crc = _mm_crc32_u32(crc, half);
        next += 4;
    }
    if (bytes & 2) {
        uint16_t quarter;
        memcpy(&quarter, next, 2);
        crc = _mm_crc32_u16(crc, quarter);
        next += 2;
    }
    if (bytes & 1) crc = _mm_crc32_u8(crc, *next);
    return crc;
}

WITH_WORD uint32_t kl_crc32c_word(uint32_t seed, const void *data, size_t bytes) {
    return ~by_word(~seed, data, bytes);
}

/* One block of three streams of `stream_bytes` (a multiple of 8), side by side because one crc32
 * takes three cycles but one can start each cycle. The two partial results are shifted over what
 * follows them and meet the third in its last word. k0 = X(16 * stream_bytes - 33), k1 = X(8 *
 * stream_bytes - 33). */
WITH_STREAM static inline uint32_t three_streams(uint32_t crc, const uint8_t *next,
                                                 size_t stream_bytes, uint32_t k0, uint32_t k1) {
    const uint8_t *second = next + stream_bytes, *third = second + stream_bytes;
    uint64_t crc0 = crc, crc1 = 0, crc2 = 0;
    size_t last = stream_bytes - 8;
    for (size_t at = 0; at < last; at += 8) {
        crc0 = _mm_crc32_u64(crc0, load_word(next + at));
        crc1 = _mm_crc32_u64(crc1, load_word(second + at));
        crc2 = _mm_crc32_u64(crc2, load_word(third + at));
    }
    crc0 = _mm_crc32_u64(crc0, load_word(next + last));
    crc1 = _mm_crc32_u64(crc1, load_word(second + last));
    __m128i shifted0 =
        _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc0), _mm_cvtsi32_si128((int)k0), 0);
    __m128i shifted1 =
        _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc1), _mm_cvtsi32_si128((int)k1), 0);
    uint64_t both = (uint64_t)_mm_cvtsi128_si64(_mm_xor_si128(shifted0, shifted1));
    return (uint32_t)_mm_crc32_u64(crc2, load_word(third + last) ^ both);
}

/* Block sizes: 4080 fills a page but for two words, 1008 and 240 take what is left of it. */
WITH_STREAM static uint32_t by_stream(uint32_t crc, const uint8_t *next, size_t bytes) {
    for (; bytes >= 4080; bytes -= 4080, next += 4080)
        crc = three_streams(crc, next, 1360, 0x5aa1f3cf, 0x3f70cc6f);
    for (; bytes >= 1008; bytes -= 1008, next += 1008)
        crc = three_streams(crc, next, 336, 0xcec3662e, 0xa60ce07b);
    for (; bytes >= 240; bytes -= 240, next += 240)
        crc = three_streams(crc, next, 80, 0x878a92a7, 0x39d3b296);
    return by_word(crc, next, bytes);
}

WITH_STREAM uint32_t kl_crc32c_stream(uint32_t seed, const void *data, size_t bytes) {
    return ~by_stream(~seed, data, bytes);
}

/* Shifts each 128-bit lane over the distance that `k` stands for and adds what is there. For a
 * distance of d bits, k = {X(d + 31), X(d - 33)}: for the lane's earlier and later half. */
WITH_FOLD static inline __m512i fold(__m512i lanes, __m512i k, __m512i there) {
    __m512i early = _mm512_clmulepi64_epi128(lanes, k, 0x00);
    __m512i late = _mm512_clmulepi64_epi128(lanes, k, 0x11);
    return _mm512_ternarylogic_epi64(early, late, there, 0x96); /* exclusive or of all three */
}

WITH_FOLD static inline uint32_t join_lanes(__m512i lanes) {
    /* The first three lanes over the 48, 32 and 16 bytes that follow them; the last stays. */
    const __m512i k = _mm512_setr_epi64(0x1c291d04, 0xddc0152b, 0x3da6d0cb, 0xba4fc28e, 0xf20c0dfe,
                                        0x493c7d27, 0, 0);
    __m512i last = _mm512_maskz_mov_epi64(0xC0, lanes);
    __m512i folded = fold(lanes, k, last);
    __m256i four =
        _mm256_xor_si256(_mm512_castsi512_si256(folded), _mm512_extracti64x4_epi64(folded, 1));
    __m128i one = _mm_xor_si128(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1));
    uint64_t crc = _mm_crc32_u64(0, (uint64_t)_mm_extract_epi64(one, 0));
    return (uint32_t)_mm_crc32_u64(crc, (uint64_t)_mm_extract_epi64(one, 1));
}

/* Bytes must be >= 256. Four registers of 64 bytes run ahead side by side. */
WITH_FOLD static uint32_t by_fold(uint32_t crc, const uint8_t *next, size_t bytes) {
    const __m512i over256 = _mm512_broadcast_i32x4(_mm_set_epi64x(0xb9e02b86, 0xdcb17aa4));
    const __m512i over64 = _mm512_broadcast_i32x4(_mm_set_epi64x(0x9e4addf8, 0x740eef02));
    __m512i x0 = _mm512_loadu_si512(next), x1 = _mm512_loadu_si512(next + 64);
    __m512i x2 = _mm512_loadu_si512(next + 128), x3 = _mm512_loadu_si512(next + 192);
    x0 = _mm512_xor_si512(x0, _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)crc)));
    next += 256, bytes -= 256;
    for (; bytes >= 256; bytes -= 256, next += 256) {
        x0 = fold(x0, over256, _mm512_loadu_si512(next));
        x1 = fold(x1, over256, _mm512_loadu_si512(next + 64));
        x2 = fold(x2, over256, _mm512_loadu_si512(next + 128));
        x3 = fold(x3, over256, _mm512_loadu_si512(next + 192));
    }
    x0 = fold(fold(fold(x0, over64, x1), over64, x2), over64, x3);
    for (; bytes >= 64; bytes -= 64, next += 64) x0 = fold(x0, over64, _mm512_loadu_si512(next));
    return by_word(join_lanes(x0), next, bytes);
}

WITH_FOLD uint32_t kl_crc32c_fold(uint32_t seed, const void *data, size_t bytes) {
    if (bytes < 256) return ~by_word(~seed, data, bytes);
    return ~by_fold(~seed, data, bytes);
}

#endif
