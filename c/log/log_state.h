/* log_state: what one open log consists of; shared by the files of this folder, seen by no other.
 *
 *   ring          log_ring.h
 *   writer        open segments, between flusher and committer (log_flush.h)
 *   flush_lock    who writes from the ring into the page cache, and moves flushed
 *   sync_lock     who syncs a group, and moves durable
 *   poison        the first failure; set once, under poison_lock, then read by everybody
 *   first         where the log begins; written under manifest_lock, with the manifest
 *   truncate_lock who cuts the front off (log_truncate.h)
 *   told          the durable address that the manifest has, or soon will; under sync_lock
 *   idle_tail     where the tail stands when behind durable there is nothing but one commit
 *                 record; +1 while that is being decided; else 0
 *   service       wishes for the service threads (log_service.h)
 *
 * Lock order: truncate_lock, sync_lock, flush_lock, writer.lock, manifest_lock, marks.lock;
 * poison_lock last.
 */
#ifndef KL_LOG_LOG_STATE_H
#define KL_LOG_LOG_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "file/folder.h"
#include "file/manifest.h"
#include "file/segment_set.h"
#include "log/durable_log.h"
#include "log/log_ring.h"
#include "log/log_truncate.h"

#define KL_LOG_MANIFEST_NAME "log.manifest"
#define KL_LOG_MANIFEST_KIND 0x474F4Cu /* "LOG" */
#define KL_LOG_FORMAT        1u

enum kl_log_manifest_flag { KL_LOG_CLEAN = 1u }; /* closed: durable is the end of the log */

/* The payload of the manifest. */
typedef struct {
    uint32_t format; /* KL_LOG_FORMAT */
    uint32_t flags;
    uint64_t segment_bytes;
    uint64_t first;
    uint64_t durable;
    uint64_t reserved[4];
} kl_log_manifest;

static_assert(sizeof(kl_log_manifest) == 64, "the manifest's payload is 64 bytes");

#define KL_LOG_OPEN_SEGMENTS 32u

typedef struct {
    kl_segment segment;
    bool syncing; /* the committer uses the device just now */
} kl_log_open_segment;

/* Segments that hold bytes which are not durable yet, oldest first. */
typedef struct {
    pthread_mutex_t lock; /* guards the two fields below; only the flusher changes count */
    kl_log_open_segment open[KL_LOG_OPEN_SEGMENTS];
    uint32_t count;
    bool prefaulted;         /* the ring's pages are mapped; by the preparing service thread */
    kl_event_count prepared; /* notified when a service thread has made a segment */
    _Atomic uint64_t prepare_next; /* number of the segment to be made ahead */
} kl_log_writer;

enum kl_log_wish {
    KL_LOG_WISH_COMMIT = 1,
    KL_LOG_WISH_FLUSH = 2,
    KL_LOG_WISH_RETAIN = 4, /* before PREPARE: what it gives back needs not be made */
    KL_LOG_WISH_TRUNCATE = 8,
    KL_LOG_WISH_PREPARE = 16,
    KL_LOG_WISH_MANIFEST = 32,
};

typedef struct {
    kl_log *next;                   /* list of the open logs, under the service's lock */
    _Atomic uint32_t wishes;        /* kl_log_wish; set by anybody, taken by a service thread */
    uint32_t busy;                  /* wishes being fulfilled, under the service's lock */
    _Atomic uint64_t record_due_ns; /* when a commit record is to be written; 0: none */
} kl_log_service;

struct kl_log {
    kl_log_ring ring;
    kl_folder *folder;
    kl_manifest *manifest;
    kl_segment_set *segments;
    uint8_t uuid[KL_LOG_UUID_BYTES];
    uint32_t seed;
    uint64_t segment_bytes;
    uint64_t data_bytes;
    _Atomic uint64_t first;
    uint64_t frame_bytes_max;
    uint64_t flush_step; /* unflushed bytes that start a background flush */
    uint64_t scan_bytes; /* kl_log_options */
    uint64_t told;
    uint64_t retain_bytes, retain_ns; /* kl_log_options; 0: for ever */
    kl_log_marks marks;
    kl_log_writer writer;
    pthread_mutex_t flush_lock;
    pthread_mutex_t sync_lock;
    pthread_mutex_t poison_lock;
    pthread_mutex_t manifest_lock;
    pthread_mutex_t truncate_lock;
    _Atomic uint64_t truncate_to; /* what was asked of a service thread, and how it ended */
    _Atomic int32_t truncate_status;
    char truncate_text[KL_DETAIL_BYTES_MAX + 1];
    _Atomic int32_t poison;
    char poison_text[KL_DETAIL_BYTES_MAX + 1];
    _Atomic uint64_t idle_tail;
    _Atomic int32_t request_status; /* of the last requested commit */
    kl_log_service service;
    kl_log_recovery_report report;
};

/* Makes `status`, with this thread's detail, the log's answer for ever; answers it (or the earlier
 * one). Wakes everybody who waits. */
int32_t kl_log_poison(kl_log *log, int32_t status);

/* Keeps this thread's detail for `status` ("" when it has none). */
void kl_log_keep_text(char *out, size_t capacity, int32_t status);

/* Writes the manifest with the log's first address. The second form: caller holds manifest_lock. */
int32_t kl_log_write_manifest(kl_log *log, uint64_t durable, uint32_t flags);
int32_t kl_log_write_manifest_locked(kl_log *log, uint64_t durable, uint32_t flags);

/* Writes the manifest with the durable address of now; a failure poisons the log. For service
 * threads. */
void kl_log_tell_manifest(kl_log *log);

/* Commits for kl_log_request_commit, and keeps the answer. */
void kl_log_commit_requested(kl_log *log);

/* Is this a manifest's payload that can be used? KL_ERR_TRUNCATED, VERSION, CORRUPT. */
int32_t kl_log_check_manifest(const kl_log_manifest *state, size_t bytes, const char *folder);

/* Appends a commit record if nothing was appended since the last commit. */
void kl_log_write_commit_record(kl_log *log);

#endif
