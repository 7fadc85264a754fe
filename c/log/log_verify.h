/* log_verify: reads a whole log and tells everything that is wrong with it.
 *
 * It changes nothing and takes no lock. Beside a live writer only what is durable counts as whole;
 * what lies behind (a torn tail) is said in the summary, not as a problem: the next open cuts it.
 *
 * Writers: none. One thread. Progress: one pass over the files.
 */
#ifndef KL_LOG_LOG_VERIFY_H
#define KL_LOG_LOG_VERIFY_H

#include "base/status.h"

typedef struct {
    int32_t status;   /* KL_ERR_CORRUPT, KL_ERR_TRUNCATED, ... */
    uint64_t address; /* in the stream */
    uint64_t bytes;   /* how much of the stream is affected, as far as known */
    const char *text; /* file, offset, what was expected; until the callback returns */
} kl_log_problem;

typedef struct {
    uint64_t problem_count;
    uint64_t frame_count; /* valid records and batches */
    uint64_t record_count;
    uint64_t payload_bytes;
    uint64_t first_address;
    uint64_t durable_address; /* known from manifest and frames */
    uint64_t end_address;     /* behind the last valid frame */
    uint64_t torn_bytes;      /* behind that, and above durable: what the next open cuts */
    uint64_t segment_count;
    uint64_t file_bytes; /* of all segments */
    bool clean;          /* closed cleanly, nothing since, and whole */
} kl_log_summary;

/* KL_OK: looked through (problems are counted, not answered); else why it could not be. `report`
 * may be NULL. */
int32_t kl_log_verify(const char *folder,
                      void (*report)(void *context, const kl_log_problem *problem), void *context,
                      kl_log_summary *out);

#endif
