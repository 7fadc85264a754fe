#include "log/log_probe.h"

#include <string.h>

#define BUDGET_BASE  (1ull << 30)
#define BUDGET_TIMES 8u

typedef struct {
    kl_log_window *window;
    uint32_t seed;
    uint64_t from;
    uint64_t spent;  /* bytes of claimed frames whose checksum was computed */
    uint64_t number; /* segment that `recycled` tells of */
    bool recycled;
    kl_log_probe *out;
} prober;

static bool may_be_header(const uint8_t *at) {
    return at[16] >= KL_LOG_RECORD && at[16] <= KL_LOG_PADDING && at[17] == 0;
}

static void written_until(kl_log_probe *out, uint64_t end) {
    if (end > out->written_end) out->written_end = end;
}

static void remember(kl_log_probe *out, uint64_t address, const kl_log_frame_header *header) {
    if (out->frame_count++ == 0) out->first_frame = address;
    written_until(out, address + kl_log_frame_total(header->bytes));
    if (header->durable > out->durable) {
        out->durable = header->durable;
        out->durable_at = address;
    }
}

/* Bytes that are not zero, at `address`. */
static void note_bytes(prober *probe, uint64_t address) {
    kl_log_stream *stream = probe->window->stream;
    uint64_t number = address / stream->data_bytes;
    if (number != probe->number) {
        probe->number = number;
        probe->recycled = kl_log_stream_is_recycled(stream, number);
    }
    if (!probe->recycled && address >= probe->from) written_until(probe->out, address + 8);
}

/* Is there a valid frame? Answers the bytes to go on by: its length, or 8. */
static int32_t try_at(prober *probe, uint64_t address, const uint8_t *at, uint64_t *step) {
    kl_log_frame_header header;
    kl_log_damage damage;
    *step = 8;
    if (!may_be_header(at)) return KL_OK;
    memcpy(&header, at, sizeof header);
    if (!kl_log_frame_plausible(&header, address)) return KL_OK;
    if (header.durable >= probe->window->stream->first && address >= probe->from)
        written_until(probe->out, address + KL_LOG_FRAME_HEADER); /* whole or torn: of this life */
    uint64_t budget = BUDGET_BASE + BUDGET_TIMES * (address - probe->from);
    if (probe->spent > budget && address % KL_LOG_BLOCK_BYTES != 0) return KL_OK;
    probe->spent += header.bytes;
    int32_t status = kl_log_window_check(probe->window, probe->seed, address, &header, &damage);
    if (status == KL_ERR_CORRUPT || status == KL_ERR_END) return KL_OK;
    if (status != KL_OK) return status;
    remember(probe->out, address, &header);
    *step = kl_log_frame_total(header.bytes);
    return KL_OK;
}

static uint64_t zero_run(const uint8_t *at, uint64_t available) {
    static const uint8_t zeros[KL_LOG_BLOCK_BYTES];
    uint64_t run = 0;
    while (available - run >= sizeof zeros && memcmp(at + run, zeros, sizeof zeros) == 0)
        run += sizeof zeros;
    return run;
}

int32_t kl_log_probe_range(kl_log_window *window, uint32_t seed, uint64_t from, uint64_t until,
                           bool first_only, kl_log_probe *out) {
    *out = (kl_log_probe){.written_end = from};
    prober probe = {.window = window, .seed = seed, .from = from, .number = UINT64_MAX, .out = out};
    for (uint64_t address = from & ~(uint64_t)7; address < until;) {
        const uint8_t *at;
        uint64_t available;
        int32_t status = kl_log_window_at(window, address, KL_LOG_FRAME_HEADER, &at, &available);
        if (status != KL_OK) return status;
        if (available < KL_LOG_FRAME_HEADER) return KL_OK;
        uint64_t step = zero_run(at, available);
        if (step == 0) {
            uint64_t word;
            memcpy(&word, at, sizeof word);
            if (word != 0) note_bytes(&probe, address);
            status = try_at(&probe, address, at, &step);
            if (status != KL_OK) return status;
        }
        if (first_only && out->frame_count > 0) return KL_OK;
        address += step;
    }
    return KL_OK;
}
