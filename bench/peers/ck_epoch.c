/* Concurrency Kit's epochs: begin, read, end. */
#include <ck_epoch.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct {
    ck_epoch_t epoch;
    ck_epoch_record_t record;
    uint64_t *source;
} reader;

static reader *reader_open(uint64_t value) {
    reader *made = aligned_alloc(128, (sizeof *made + 127) / 128 * 128);
    ck_epoch_init(&made->epoch);
    ck_epoch_register(&made->epoch, &made->record, NULL);
    made->source = malloc(sizeof *made->source);
    *made->source = value;
    return made;
}

static inline uint64_t reader_read(reader *one) {
    ck_epoch_begin(&one->record, NULL);
    uint64_t value = ck_pr_load_64(ck_pr_load_ptr(&one->source));
    ck_epoch_end(&one->record, NULL);
    return value;
}

#include "bench/sync/read_drive.h"

int main(int count, char **words) {
    return drive_read(count, words);
}
