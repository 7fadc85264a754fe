/* checksum: CRC-32C (Castagnoli), the check of every frame, block, page and manifest.
 *
 * The standard one of iSCSI, ext4 and SCTP: reflected polynomial 0x82F63B78, inverted at both
 * ends; "123456789" gives 0xE3069283. Runs may be chained: the checksum of A then B is
 * kl_crc32c(kl_crc32c(0, A), B).
 *
 * There are several ways to compute it; the first call picks the fastest this processor has, and
 * all of them answer the same for every input.
 *
 * Progress: wait-free, allocates nothing (the software way fills its table once, under a lock).
 * Any thread.
 */
#ifndef KL_BASE_CHECKSUM_H
#define KL_BASE_CHECKSUM_H

#include "base/status.h"

/* `seed` is the value of the bytes before, or 0 to start. `data` may be NULL when bytes is 0. */
uint32_t kl_crc32c(uint32_t seed, const void *data, size_t bytes);

/* kl_crc32c for the FFI. `data` NULL: nothing is read, the answer is `seed`. */
KL_API uint32_t kl_checksum_crc32c(uint32_t seed, const uint8_t *data, uint32_t bytes);

/* ---- the single ways, for tests and measurements ---- */

typedef uint32_t kl_crc32c_function(uint32_t seed, const void *data, size_t bytes);

enum kl_crc32c_way {
    KL_CRC32C_TABLE = 0,  /* slice by 8, every processor                                   */
    KL_CRC32C_WORD = 1,   /* the crc32 instruction, one word after the other               */
    KL_CRC32C_STREAM = 2, /* the crc32 instruction on three streams, joined by PCLMUL      */
    KL_CRC32C_FOLD = 3,   /* AVX-512 carry-less multiplication, 256 bytes a round          */
    KL_CRC32C_ARM = 4,    /* the crc32c instruction of arm64 on three streams              */
    KL_CRC32C_WAY_COUNT = 5,
};

/* NULL: this processor or build has not got it. */
kl_crc32c_function *kl_crc32c_way(uint32_t way);

/* Of checksum_x86.c and checksum_arm64.c; call them only if the processor has the feature. */
kl_crc32c_function kl_crc32c_word, kl_crc32c_stream, kl_crc32c_fold, kl_crc32c_arm;

#endif
