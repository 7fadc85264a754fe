/* log_frame: the 32 bytes before every payload of a log, and how they are checked.
 *
 *   byte 0        4         8           16     17      18    20             24           32
 *        | crc32c | bytes   | durable   | kind | flags | tag | record count | reserved 0 | payload
 *
 * A frame starts on a multiple of 8; its payload is filled up with zeros to the next one. The
 * checksum runs over log uuid, address, bytes 4..31, the payload and its fill, so a frame that is
 * not at the place it was written for, or that belongs to another log, is refused.
 *
 * Always: kind is 1..4, flags and reserved are 0, durable is a multiple of 4096 and at most the
 * frame's own address. All fields little-endian.
 * Progress: wait-free, allocates nothing, any thread.
 */
#ifndef KL_LOG_LOG_FRAME_H
#define KL_LOG_LOG_FRAME_H

#include "base/status.h"
#include "log/durable_log.h"

#define KL_LOG_FRAME_HEADER 32u
#define KL_LOG_UUID_BYTES   16u

typedef struct {
    uint32_t crc;
    uint32_t bytes;
    uint64_t durable;
    uint8_t kind;
    uint8_t flags;
    uint16_t tag;
    uint32_t record_count;
    uint64_t reserved;
} kl_log_frame_header;

static_assert(sizeof(kl_log_frame_header) == KL_LOG_FRAME_HEADER, "the header is 32 bytes");
static_assert(offsetof(kl_log_frame_header, durable) == 8, "no hole before durable");
static_assert(offsetof(kl_log_frame_header, record_count) == 20, "no hole before record_count");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian");

/* Bytes of header, payload and fill. */
static inline uint64_t kl_log_frame_total(uint64_t payload_bytes) {
    return KL_LOG_FRAME_HEADER + ((payload_bytes + 7) & ~(uint64_t)7);
}

static inline uint64_t kl_log_block_up(uint64_t address) {
    return (address + KL_LOG_BLOCK_BYTES - 1) & ~(uint64_t)(KL_LOG_BLOCK_BYTES - 1);
}

/* The part of the checksum that is the same for every frame of one log. */
uint32_t kl_log_frame_seed(const uint8_t uuid[KL_LOG_UUID_BYTES]);

/* The checksum up to the payload; go on with kl_crc32c over payload and fill. */
uint32_t kl_log_frame_begin(uint32_t seed, uint64_t address, const kl_log_frame_header *header);

/* Could these be the header of a frame at `address`? Cheap; says nothing about the checksum. */
bool kl_log_frame_plausible(const kl_log_frame_header *header, uint64_t address);

/* Is this whole frame (header, payload, fill, `available` bytes in one piece) valid? */
bool kl_log_frame_valid(uint32_t seed, uint64_t address, const uint8_t *frame, uint64_t available);

/* Builds a padding frame of exactly `total` bytes (>= 32, multiple of 8) for `address`. Writes the
 * header only; the payload is zeros. */
void kl_log_frame_padding(uint32_t seed, uint64_t address, uint64_t total, uint64_t durable,
                          kl_log_frame_header *out);

/* Bytes from `end` to where a group that ends there is filled up: the next block border, one
 * further when less than a header would fit; 0 when `end` is a border. */
static inline uint64_t kl_log_frame_fill(uint64_t end) {
    uint64_t fill = kl_log_block_up(end) - end;
    return fill != 0 && fill < KL_LOG_FRAME_HEADER ? fill + KL_LOG_BLOCK_BYTES : fill;
}

#endif
