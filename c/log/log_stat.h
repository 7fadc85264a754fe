/* log_stat: where a log stands, without opening it for writing and without reading all of it.
 *
 * Writers: none; takes no lock. Beside a live writer the figures are of one moment each.
 * Progress: a listing of the folder, and one pass over what follows the manifest's durable address.
 */
#ifndef KL_LOG_LOG_STAT_H
#define KL_LOG_LOG_STAT_H

#include "base/status.h"

typedef struct {
    uint64_t first_address;
    uint64_t durable_address; /* as far as anybody knows */
    uint64_t tail_address;    /* behind the last frame in the files, or in a live writer's ring */
    uint64_t bytes_used;      /* of all segments and spares */
    uint64_t segment_count;
    uint64_t spare_count;
    uint64_t segment_bytes;
    bool live; /* somebody has it open for writing */
} kl_log_standing;

/* KL_ERR_NOT_FOUND, FOREIGN, VERSION, CORRUPT (the manifest). */
int32_t kl_log_stat(const char *folder, kl_log_standing *out);

#endif
