#include "log/log_stream.h"

#include "base/checksum.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void kl_log_stream_init(kl_log_stream *stream, kl_segment_set *set, const char *folder,
                        uint64_t segment_bytes) {
    *stream = (kl_log_stream){
        .set = set, .folder = folder, .data_bytes = segment_bytes - KL_SEGMENT_HEADER_BYTES};
}

void kl_log_stream_close(kl_log_stream *stream) {
    kl_device_close(stream->segment.device);
    stream->segment = (kl_segment){0};
}

static int32_t open_segment(kl_log_stream *stream, uint64_t number) {
    if (stream->segment.device != NULL && stream->segment.number == number) return KL_OK;
    kl_log_stream_close(stream);
    kl_segment segment;
    int32_t status = kl_segment_set_open_segment(stream->set, number, &segment);
    if (status != KL_OK) return status;
    uint64_t segment_bytes = stream->data_bytes + KL_SEGMENT_HEADER_BYTES;
    if (segment.segment_bytes != segment_bytes ||
        segment.first_address != number * stream->data_bytes) {
        status = kl_fail(
            KL_ERR_CORRUPT, "%s: expected first address %llu and %llu bytes, found %llu and %llu",
            kl_device_path(segment.device), (unsigned long long)(number * stream->data_bytes),
            (unsigned long long)segment_bytes, (unsigned long long)segment.first_address,
            (unsigned long long)segment.segment_bytes);
        kl_device_close(segment.device);
        return status;
    }
    stream->segment = segment;
    return KL_OK;
}

int32_t kl_log_stream_read(kl_log_stream *stream, uint64_t address, void *out, uint64_t bytes,
                           uint64_t *done) {
    *done = 0;
    while (*done < bytes) {
        uint64_t number = address / stream->data_bytes;
        uint64_t within = address % stream->data_bytes;
        uint64_t step = stream->data_bytes - within;
        if (step > bytes - *done) step = bytes - *done;
        int32_t status = open_segment(stream, number);
        if (status == KL_ERR_NOT_FOUND) return KL_OK;
        if (status != KL_OK) return status;
        size_t got = 0;
        status = kl_device_read_at(stream->segment.device, KL_SEGMENT_HEADER_BYTES + within,
                                   (uint8_t *)out + *done, (size_t)step, &got);
        if (status != KL_OK) return status;
        *done += got;
        address += got;
        if (got < step) return KL_OK; /* a file cut short by a stranger */
    }
    return KL_OK;
}

int32_t kl_log_stream_read_some(kl_log_stream *stream, uint64_t address, void *out, uint64_t bytes,
                                uint64_t *done) {
    int32_t status = kl_log_stream_read(stream, address, out, bytes, done);
    return *done > 0 ? KL_OK : status;
}

int32_t kl_log_stream_write(kl_log_stream *stream, uint64_t address, const void *data,
                            uint64_t bytes) {
    const uint8_t *from = data;
    while (bytes > 0) {
        uint64_t number = address / stream->data_bytes;
        uint64_t within = address % stream->data_bytes;
        uint64_t step = stream->data_bytes - within < bytes ? stream->data_bytes - within : bytes;
        int32_t status = open_segment(stream, number);
        if (status == KL_ERR_NOT_FOUND) {
            status = kl_segment_set_prepare(stream->set, number, number * stream->data_bytes);
            if (status == KL_OK) status = open_segment(stream, number);
        }
        if (status != KL_OK) return status;
        uint64_t offset = KL_SEGMENT_HEADER_BYTES + within;
        status = from == NULL
                     ? kl_device_zero_fill(stream->segment.device, offset, step)
                     : kl_device_write_at(stream->segment.device, offset, from, (size_t)step);
        if (status != KL_OK) return status;
        if (from != NULL) from += step;
        address += step;
        bytes -= step;
    }
    return KL_OK;
}

bool kl_log_stream_is_recycled(kl_log_stream *stream, uint64_t number) {
    return open_segment(stream, number) == KL_OK && stream->segment.recycled;
}

int32_t kl_log_stream_sync(kl_log_stream *stream, uint64_t from, uint64_t until) {
    uint64_t number = from / stream->data_bytes;
    for (; number * stream->data_bytes < until; number++) {
        int32_t status = open_segment(stream, number);
        if (status == KL_OK) status = kl_device_sync(stream->segment.device);
        if (status != KL_OK) return status;
    }
    return KL_OK;
}

void kl_log_window_init(kl_log_window *window, kl_log_stream *stream) {
    *window = (kl_log_window){.stream = stream, .read_ahead = KL_LOG_READ_AHEAD};
    if (window->read_ahead > stream->data_bytes) window->read_ahead = stream->data_bytes;
}

void kl_log_window_close(kl_log_window *window) {
    free(window->bytes);
    window->bytes = NULL;
    window->capacity = window->count = 0;
}

void kl_log_window_forget(kl_log_window *window) {
    window->count = 0;
}

static int32_t make_room(kl_log_window *window, uint64_t bytes) {
    if (bytes <= window->capacity) return KL_OK;
    uint8_t *memory = realloc(window->bytes, (size_t)bytes);
    if (memory == NULL)
        return kl_fail(KL_ERR_MEMORY, "no memory to read a log frame of %llu bytes",
                       (unsigned long long)bytes);
    window->bytes = memory;
    window->capacity = bytes;
    return KL_OK;
}

int32_t kl_log_window_at(kl_log_window *window, uint64_t address, uint64_t need,
                         const uint8_t **out, uint64_t *available) {
    uint64_t end = window->start + window->count;
    if (address >= window->start && address <= end && end - address >= need) {
        *out = window->bytes + (address - window->start);
        *available = end - address;
        return KL_OK;
    }
    uint64_t keep = 0;
    if (address >= window->start && address < end) keep = end - address;
    uint64_t want = need > window->read_ahead ? need : window->read_ahead;
    int32_t status = make_room(window, want);
    if (status != KL_OK) return status;
    if (keep > 0) memmove(window->bytes, window->bytes + (address - window->start), (size_t)keep);
    window->start = address;
    window->count = keep;
    uint64_t done = 0;
    status = kl_log_stream_read_some(window->stream, address + keep, window->bytes + keep,
                                     want - keep, &done);
    if (status != KL_OK && keep + done == 0) return status;
    window->count = keep + done;
    if (window->count < need && done > 0) { /* the end, or a failure that was not told yet? */
        status =
            kl_log_stream_read_some(window->stream, address + window->count,
                                    window->bytes + window->count, need - window->count, &done);
        window->count += done;
    }
    if (status != KL_OK && window->count < need) return status;
    *out = window->bytes;
    *available = window->count;
    return KL_OK;
}

static bool all_zero(const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != 0) return false;
    return true;
}

int32_t kl_log_window_check(kl_log_window *window, uint32_t seed, uint64_t address,
                            kl_log_frame_header *header, kl_log_damage *damage) {
    const uint8_t *at;
    uint64_t available;
    *damage = (kl_log_damage){.what = "header"};
    int32_t status = kl_log_window_at(window, address, KL_LOG_FRAME_HEADER, &at, &available);
    if (status != KL_OK) return status;
    size_t seen = available < KL_LOG_FRAME_HEADER ? (size_t)available : KL_LOG_FRAME_HEADER;
    if (all_zero(at, seen)) return KL_ERR_END;
    if (seen < KL_LOG_FRAME_HEADER) return KL_ERR_CORRUPT;
    memcpy(header, at, sizeof *header);
    damage->found_crc = header->crc;
    if (!kl_log_frame_plausible(header, address)) return KL_ERR_CORRUPT;
    uint32_t crc = kl_log_frame_begin(seed, address, header);
    uint64_t left = kl_log_frame_total(header->bytes) - KL_LOG_FRAME_HEADER;
    for (uint64_t from = address + KL_LOG_FRAME_HEADER; left > 0;) {
        status = kl_log_window_at(window, from, 1, &at, &available);
        if (status != KL_OK) return status;
        uint64_t step = available < left ? available : left;
        if (step == 0) {
            damage->what = "cut off";
            return KL_ERR_CORRUPT;
        }
        crc = kl_crc32c(crc, at, (size_t)step);
        from += step;
        left -= step;
    }
    damage->what = "checksum";
    damage->expected_crc = crc;
    return crc == header->crc ? KL_OK : KL_ERR_CORRUPT;
}

void kl_log_stream_place(const kl_log_stream *stream, uint64_t address, char *out,
                         size_t capacity) {
    snprintf(out, capacity, "%s/segment-%016llx.kls at offset %llu", stream->folder,
             (unsigned long long)(address / stream->data_bytes),
             (unsigned long long)(KL_SEGMENT_HEADER_BYTES + address % stream->data_bytes));
}

int32_t kl_log_stream_corrupt(const kl_log_stream *stream, uint64_t address,
                              const kl_log_damage *damage, const char *because) {
    char place[300];
    kl_log_stream_place(stream, address, place, sizeof place);
    unsigned long long where = (unsigned long long)address;
    if (strcmp(damage->what, "checksum") == 0)
        return kl_fail(KL_ERR_CORRUPT,
                       "%s: the frame at address %llu has checksum %08x, expected %08x%s", place,
                       where, damage->found_crc, damage->expected_crc, because);
    if (strcmp(damage->what, "cut off") == 0)
        return kl_fail(KL_ERR_CORRUPT,
                       "%s: the frame at address %llu is cut off, expected all of its bytes%s",
                       place, where, because);
    return kl_fail(KL_ERR_CORRUPT, "%s: expected a frame at address %llu, found none%s", place,
                   where, because);
}
