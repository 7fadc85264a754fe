/* log_reader: reads the frames of a log from its files, forward, from any process.
 *
 * A reader holds no lock and writes nothing. Frames that the writer has not yet handed to the page
 * cache are not seen (kl_log_flush does that for the writer's own process).
 *
 *   committed (default)  a frame is given only when it is known to be durable, so what was seen
 *                        never vanishes. A follower learns this from the ring of a live writer,
 *                        from the manifest, and from the durable addresses that later frames carry.
 *   uncommitted          every whole frame in the files.
 *
 * Always: a payload that is given out has passed its checksum. KL_ERR_END is not final: poll again.
 * One thread per reader. Progress: one system call per megabyte read.
 */
#ifndef KL_LOG_LOG_READER_H
#define KL_LOG_LOG_READER_H

#include "sync/event_count.h"

typedef struct kl_log_reader kl_log_reader;

enum kl_log_read_flag {
    KL_LOG_READ_COMMITTED = 0,
    KL_LOG_READ_UNCOMMITTED = 1,
    KL_LOG_READ_ALL_KINDS = 2, /* commit records and padding, too */
};

typedef struct {
    uint64_t address;
    uint64_t next_address;  /* where the next frame begins */
    uint64_t durable;       /* durable address known when the frame was written */
    const uint8_t *payload; /* valid until the next call with this reader */
    uint32_t bytes;
    uint32_t record_count;
    uint16_t tag;
    uint8_t kind; /* kl_log_kind of durable_log.h */
    uint8_t flags;
} kl_log_frame;

/* `from_address`: 0 is the first frame there is; any frame's address or next_address; beyond the
 * tail is allowed (KL_ERR_END until it is reached). KL_ERR_NOT_FOUND: no log here, or the address
 * was truncated away; KL_ERR_ARGUMENT: it lies inside a frame. */
int32_t kl_log_reader_open(kl_log_reader **out, const char *folder, double from_address,
                           uint32_t flags);

/* KL_OK | KL_ERR_END | KL_ERR_NOT_FOUND (truncated away meanwhile) | KL_ERR_CORRUPT (file, offset, address, expected and found checksum). */
int32_t kl_log_reader_next(kl_log_reader *reader, kl_log_frame *out);

/* For whoever waits for more. 1: look again, there may be some; 0: nothing before `*event` (which
 * lives as long as the reader) has left `*key`; KL_ERR_UNSUPPORTED: nobody would tell (no live
 * writer, one without a shared ring, or an uncommitted reader): look again in a while. */
int32_t kl_log_reader_prepare(kl_log_reader *reader, kl_event_count **event, uint32_t *key);

/* Everything below is known to be durable. */
uint64_t kl_log_reader_durable(const kl_log_reader *reader);

/* The address that the next call looks at. */
uint64_t kl_log_reader_position(const kl_log_reader *reader);

void kl_log_reader_close(kl_log_reader *reader);

#endif
