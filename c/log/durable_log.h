/* durable_log: the one log of Keelson. One process writes it, any number read its files.
 *
 * A log is a folder with a lock, a manifest and segments (docs/format_log.md). Its content is one
 * stream of bytes; an address is a position in that stream and never changes its meaning. What is
 * appended becomes one frame with one checksum: it is there whole or not at all, be it one record
 * or a batch of a million.
 *
 *   appended   the frame lies in the ring: shared memory that outlives every process
 *              (`buffered`; where no shared memory could be had see kl_log_ring_is_shared)
 *   flushed    the frame lies in the page cache too
 *   durable    fdatasync returned for every byte below: a power cut keeps it
 *
 *   tail       one fetch-add per append, by any appending thread
 *   slots      each by the one append that holds it (log_ring.h)
 *   flushed    by the holder of the flush lock; the ring below it may be written again
 *   durable    by the holder of the sync lock, after fdatasync; into the manifest by a service thread,
 *              each time it has moved by a quarter of kl_log_options.scan_bytes
 *
 * Always: first <= durable <= flushed <= tail. first moves by truncation only. durable is a frame border and a multiple of 4096;
 * committed bytes are never written again. After the first failed write or sync the log is
 * poisoned: every waiting and later append, flush and commit answers that same failure, with its
 * text, until the folder is opened again. Reading goes on.
 * Progress: append is one compare-and-swap, one fetch-add and a copy; with the ring full it waits
 * for, or does, a write to the page cache. A commit waits for the device. No call needs a
 * background thread to get on.
 *
 * May these run at the same time?   append  commit  flush  close   (reader: always, anywhere)
 *                           append   yes     yes     yes    no
 *                           commit   yes     yes     yes    no
 *                           flush    yes     yes     yes    no
 */
#ifndef KL_LOG_DURABLE_LOG_H
#define KL_LOG_DURABLE_LOG_H

#include "base/status.h"
#include "sync/event_count.h"

typedef struct kl_log kl_log;

/* The payload of one frame; a smaller limit is half of the ring (kl_log_frame_bytes_max). */
#define KL_LOG_FRAME_BYTES_MAX (512u << 20)
#define KL_LOG_SEGMENT_BYTES   (64ull << 20)
#define KL_LOG_SEGMENT_MIN     (64ull << 10)
#define KL_LOG_SEGMENT_MAX     (4ull << 30)
#define KL_LOG_RING_BYTES      (16ull << 20)
#define KL_LOG_RING_MIN        (64ull << 10)
#define KL_LOG_RING_MAX        (1ull << 30)
#define KL_LOG_BLOCK_BYTES     4096u
#define KL_LOG_SCAN_BYTES      (256ull << 20)
#define KL_LOG_RETAIN_MS_MAX   (1000ull * 365 * 24 * 3600 * 1000) /* a thousand years */

/* Everything up to the tail at the time of the call. */
#define KL_LOG_TAIL UINT64_MAX
/* Wait for ever. */
#define KL_LOG_FOREVER UINT64_MAX

enum kl_log_flag {
    KL_LOG_CREATE = 1,  /* make the folder and the log when there is none */
    KL_LOG_NO_RING = 2, /* private memory for the ring: nothing in /dev/shm */
};

/* What the open does about bytes behind the last whole frame, and about damage below the durable
 * address. The first two refuse damage with KL_ERR_CORRUPT; the other two read the whole log, repair
 * it (log_repair.h) and say so in the report. */
enum kl_log_recovery {
    KL_LOG_TOLERATE_TAIL = 0, /* cut a torn tail, and say so in the report */
    KL_LOG_ABSOLUTE = 1,      /* refuse a torn tail, too */
    KL_LOG_POINT_IN_TIME = 2, /* end the log before the first damage */
    KL_LOG_SKIP_CORRUPT = 3,  /* leave out what is damaged */
};

enum kl_log_kind {
    KL_LOG_RECORD = 1,
    KL_LOG_BATCH = 2,
    KL_LOG_COMMIT = 3,  /* written by the log itself: says what was durable */
    KL_LOG_PADDING = 4, /* written by the log itself: fills a block */
};

/* All 0 = the defaults, for a log that exists. */
typedef struct {
    uint64_t segment_bytes; /* one file; multiple of 4096; 0 = 64 MiB, or as it was created */
    uint64_t ring_bytes;    /* a power of two; 0 = 16 MiB */
    uint32_t flags;         /* kl_log_flag */
    uint32_t recovery;      /* kl_log_recovery */
    uint64_t scan_bytes;    /* below this the open checks all of the log; 0 = 256 MiB */
    uint64_t retain_bytes;  /* about so much is kept, by whole segments; 0 = all (log_truncate.h) */
    uint64_t retain_ms;     /* what is older goes, by whole segments; 0 = never */
    uint32_t spare_segments; /* kept for reuse when truncated; 0 = 2 */
} kl_log_options;

/* What the last open found and did. */
typedef struct {
    uint64_t cut_bytes;       /* bytes behind the last whole frame that were thrown away */
    uint64_t cut_address;     /* where; 0 when cut_bytes is 0 */
    uint64_t drained_bytes;   /* taken out of the ring that a killed process left behind */
    uint64_t rewritten_bytes; /* found above the durable address, written again and synced */
    uint64_t durable_before;  /* the durable address that was known before */
    uint64_t scanned_from;    /* every checksum from here on was checked */
    uint64_t dropped_bytes;   /* damaged, or behind damage: set aside on request (log_repair.h) */
    char reason[256];         /* one sentence; "" after a clean close */
} kl_log_recovery_report;

/* Opens, recovers and locks a log. On KL_OK everything found is durable.
 *
 * Checked are the manifest, the header of every segment (none missing, none of a wrong size), and
 * the checksum of every frame from the durable address in the manifest on; with at most scan_bytes
 * below that address, of every frame of the log. What the open leaves out is checked by whoever
 * reads it (log_reader.h), and by kl_log_verify (log_verify.h), which leaves out nothing.
 *
 * KL_ERR_LOCKED names the holder; KL_ERR_NOT_FOUND without KL_LOG_CREATE; KL_ERR_CORRUPT names
 * file, offset and what was expected; KL_ERR_VERSION, KL_ERR_FOREIGN, KL_ERR_NETWORK_FS. */
int32_t kl_log_open(kl_log **out, const char *folder, const kl_log_options *options);

/* Appends one frame gathered from `parts` and answers its address, or a KL_ERR_*. `kind` is
 * KL_LOG_RECORD or KL_LOG_BATCH. Waits while the ring is full. KL_ERR_LIMIT: the frame is larger
 * than half of the ring. Nothing is taken on any error. */
int64_t kl_log_append(kl_log *log, uint8_t kind, const kl_span *parts, uint32_t part_count,
                      uint32_t record_count);
/* The same with 16 bits of the caller's own in the header. */
int64_t kl_log_append_tagged(kl_log *log, uint8_t kind, uint16_t tag, const kl_span *parts,
                             uint32_t part_count, uint32_t record_count);
/* The same, but KL_ERR_AGAIN instead of waiting for room in the ring. */
int64_t kl_log_try_append(kl_log *log, uint8_t kind, uint16_t tag, const kl_span *parts,
                          uint32_t part_count, uint32_t record_count);

/* Returns KL_OK when every frame that begins below `until` is durable (KL_LOG_TAIL: all appended
 * so far). Many callers share one sync. KL_ERR_TIMEOUT leaves the log as good as it was. */
int32_t kl_log_commit(kl_log *log, uint64_t until, uint64_t timeout_ns);

/* Starts a commit of everything appended so far on a service thread and returns at once; wait on
 * kl_log_durable_event. */
void kl_log_request_commit(kl_log *log);

/* KL_OK, or why the commit that was requested last did not succeed: the poison, or a full disk. */
int32_t kl_log_request_status(const kl_log *log);

/* Hands every finished frame below the tail to the page cache, without a sync. */
int32_t kl_log_flush(kl_log *log);

uint64_t kl_log_first(const kl_log *log);
uint64_t kl_log_durable(const kl_log *log);
uint64_t kl_log_flushed(const kl_log *log);
/* Where the next frame begins at the earliest: every frame appended so far begins below. */
uint64_t kl_log_tail(const kl_log *log);

/* KL_OK, or the failure that poisoned the log (its text is then this thread's detail). */
int32_t kl_log_status(const kl_log *log);

/* Notified whenever durable moves, and when the log is poisoned. Lives as long as the log. */
kl_event_count *kl_log_durable_event(kl_log *log);

const kl_log_recovery_report *kl_log_recovered(const kl_log *log);

/* False: the ring is private memory, so only kl_log_flush makes an append survive SIGKILL. */
bool kl_log_ring_is_shared(const kl_log *log);

/* The largest payload that one append takes. */
uint64_t kl_log_frame_bytes_max(const kl_log *log);

void kl_log_uuid(const kl_log *log, uint8_t out[16]);

/* Commits what is left, says in the manifest that it was a clean close, and frees everything. A
 * poisoned log is only let go: answers the failure, and what was buffered waits in the ring for
 * the next open. NULL is nothing. */
int32_t kl_log_close(kl_log *log);

#endif
