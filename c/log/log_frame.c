#include "log/log_frame.h"

#include "base/checksum.h"

#include <string.h>

#define HEADER_BEHIND_CRC (KL_LOG_FRAME_HEADER - 4)

static const uint8_t zeros[KL_LOG_BLOCK_BYTES];

uint32_t kl_log_frame_seed(const uint8_t uuid[KL_LOG_UUID_BYTES]) {
    return kl_crc32c(0, uuid, KL_LOG_UUID_BYTES);
}

uint32_t kl_log_frame_begin(uint32_t seed, uint64_t address, const kl_log_frame_header *header) {
    uint8_t bytes[sizeof address + HEADER_BEHIND_CRC];
    memcpy(bytes, &address, sizeof address);
    memcpy(bytes + sizeof address, &header->bytes, HEADER_BEHIND_CRC);
    return kl_crc32c(seed, bytes, sizeof bytes);
}

bool kl_log_frame_plausible(const kl_log_frame_header *header, uint64_t address) {
    return header->kind >= KL_LOG_RECORD && header->kind <= KL_LOG_PADDING && header->flags == 0 &&
           header->reserved == 0 && header->bytes <= KL_LOG_FRAME_BYTES_MAX &&
           header->durable <= address && header->durable % KL_LOG_BLOCK_BYTES == 0;
}

bool kl_log_frame_valid(uint32_t seed, uint64_t address, const uint8_t *frame, uint64_t available) {
    kl_log_frame_header header;
    if (available < KL_LOG_FRAME_HEADER) return false;
    memcpy(&header, frame, sizeof header);
    if (!kl_log_frame_plausible(&header, address)) return false;
    uint64_t total = kl_log_frame_total(header.bytes);
    if (total > available) return false;
    uint32_t crc = kl_log_frame_begin(seed, address, &header);
    crc = kl_crc32c(crc, frame + KL_LOG_FRAME_HEADER, (size_t)(total - KL_LOG_FRAME_HEADER));
    return crc == header.crc;
}

void kl_log_frame_padding(uint32_t seed, uint64_t address, uint64_t total, uint64_t durable,
                          kl_log_frame_header *out) {
    KL_ASSERT(total >= KL_LOG_FRAME_HEADER && total % 8 == 0);
    uint64_t left = total - KL_LOG_FRAME_HEADER;
    *out =
        (kl_log_frame_header){.bytes = (uint32_t)left, .durable = durable, .kind = KL_LOG_PADDING};
    uint32_t crc = kl_log_frame_begin(seed, address, out);
    while (left > 0) {
        size_t step = left < sizeof zeros ? (size_t)left : sizeof zeros;
        crc = kl_crc32c(crc, zeros, step);
        left -= step;
    }
    out->crc = crc;
}
