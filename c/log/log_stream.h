/* log_stream: the bytes of a log as one stream, read from its segments.
 *
 *   stream   byte a of the stream stands in segment a / data_bytes, behind that file's header block.
 *            Reading ends early where a segment is missing.
 *   window   a piece of the stream in memory, read ahead a megabyte at a time.
 *   check    is there a valid frame at this address? Large frames pass through the window in pieces.
 *
 *
 * Writers: none but recovery and repair, which hold the folder's lock and may write through a stream
 * (kl_log_stream_write); one thread per stream.
 * Always: what a window holds may be older than the file: kl_log_window_forget before looking again.
 */
#ifndef KL_LOG_LOG_STREAM_H
#define KL_LOG_LOG_STREAM_H

#include "file/segment_set.h"
#include "log/log_frame.h"

#define KL_LOG_READ_AHEAD (1u << 20)

typedef struct {
    kl_segment_set *set; /* borrowed */
    const char *folder;  /* for messages; borrowed */
    uint64_t data_bytes; /* of one segment */
    uint64_t first;      /* of the log: no frame that was truncated away knows of one so high */
    kl_segment segment;  /* the one opened last; device NULL: none */
} kl_log_stream;

void kl_log_stream_init(kl_log_stream *stream, kl_segment_set *set, const char *folder,
                        uint64_t segment_bytes);
void kl_log_stream_close(kl_log_stream *stream);

/* Reads up to `bytes`; `*done` is short only where the segments end. */
int32_t kl_log_stream_read(kl_log_stream *stream, uint64_t address, void *out, uint64_t bytes,
                           uint64_t *done);

/* The same, but what could be read before a failure is given: the next read there tells of it. */
int32_t kl_log_stream_read_some(kl_log_stream *stream, uint64_t address, void *out, uint64_t bytes,
                                uint64_t *done);

/* For recovery: writes in place, making segments that are missing. Not synced. `data` NULL: zeros. */
int32_t kl_log_stream_write(kl_log_stream *stream, uint64_t address, const void *data,
                            uint64_t bytes);

/* May bytes of segment `number` that no frame claims be leftovers of a former life? */
bool kl_log_stream_is_recycled(kl_log_stream *stream, uint64_t number);

/* Syncs every segment that holds bytes of [from, until). */
int32_t kl_log_stream_sync(kl_log_stream *stream, uint64_t from, uint64_t until);

typedef struct {
    kl_log_stream *stream;
    uint8_t *bytes;
    uint64_t capacity;
    uint64_t start; /* address of bytes[0] */
    uint64_t count;
    uint64_t read_ahead;
} kl_log_window;

void kl_log_window_init(kl_log_window *window, kl_log_stream *stream);
void kl_log_window_close(kl_log_window *window);
void kl_log_window_forget(kl_log_window *window);

/* Makes at least `need` bytes from `address` stand in one piece, fewer only at the end of the
 * segments; `*available` (may be more) says how many. The pointer holds until the next call. */
int32_t kl_log_window_at(kl_log_window *window, uint64_t address, uint64_t need,
                         const uint8_t **out, uint64_t *available);

/* What is wrong with a frame that is not valid. */
typedef struct {
    const char *what; /* "checksum", "header", "cut off" */
    uint32_t expected_crc;
    uint32_t found_crc;
} kl_log_damage;

/* KL_OK: a valid frame; KL_ERR_END: nothing but zeros where its header would be, or no bytes at all;
 * KL_ERR_CORRUPT: something else (`damage`, no detail stored); others: it could not be read. */
int32_t kl_log_window_check(kl_log_window *window, uint32_t seed, uint64_t address,
                            kl_log_frame_header *header, kl_log_damage *damage);

/* Where an address stands, for messages: "<folder>/segment-...kls at offset 4128". */
void kl_log_stream_place(const kl_log_stream *stream, uint64_t address, char *out, size_t capacity);

/* Stores the detail for a bad frame and answers KL_ERR_CORRUPT. `because` goes on with why it may
 * not be bad; may be "". */
int32_t kl_log_stream_corrupt(const kl_log_stream *stream, uint64_t address,
                              const kl_log_damage *damage, const char *because);

#endif
