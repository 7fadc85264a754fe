/* Concurrency Kit's hazard pointers: announce, look again, read, clear. */
#include <ck_hp.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct {
    ck_hp_t domain;
    ck_hp_record_t *record;
    uint64_t **source;
} reader;

static void destroy(void *pointer) {
    (void)pointer;
}

static reader *reader_open(uint64_t value) {
    static reader made;
    static ck_hp_record_t record;
    static void *pointers[1];
    static uint64_t *source;
    source = malloc(sizeof *source);
    *source = value;
    ck_hp_init(&made.domain, 1, 1024, destroy);
    ck_hp_register(&made.domain, &record, pointers);
    made.record = &record;
    made.source = &source;
    return &made;
}

static inline uint64_t reader_read(reader *one) {
    uint64_t *found = ck_pr_load_ptr(one->source);
    for (;;) {
        ck_hp_set_fence(one->record, 0, found);
        uint64_t *again = ck_pr_load_ptr(one->source);
        if (again == found) break;
        found = again;
    }
    uint64_t value = ck_pr_load_64(found);
    ck_hp_set(one->record, 0, NULL);
    return value;
}

#include "bench/sync/read_drive.h"

int main(int count, char **words) {
    return drive_read(count, words);
}
