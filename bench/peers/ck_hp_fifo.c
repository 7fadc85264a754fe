/* Concurrency Kit's Michael-Scott queue with hazard pointers; entries come from malloc. */
#include <ck_hp.h>
#include <ck_hp_fifo.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct {
    ck_hp_t domain __attribute__((aligned(128)));
    ck_hp_fifo_t fifo __attribute__((aligned(128)));
} queue;

typedef struct {
    queue *shared __attribute__((aligned(128)));
    ck_hp_record_t record;
    void *pointers[CK_HP_FIFO_SLOTS_COUNT];
} queue_end;

static queue *queue_open(uint64_t capacity) {
    (void)capacity;
    queue *made = aligned_alloc(128, sizeof *made);
    ck_hp_init(&made->domain, CK_HP_FIFO_SLOTS_COUNT, 64, free);
    ck_hp_fifo_init(&made->fifo, malloc(sizeof(ck_hp_fifo_entry_t)));
    return made;
}

static queue_end *queue_take(queue *one, bool pushes, uint32_t index) {
    (void)pushes, (void)index;
    queue_end *end = aligned_alloc(128, (sizeof *end + 127) / 128 * 128);
    end->shared = one;
    ck_hp_register(&one->domain, &end->record, end->pointers);
    return end;
}

static inline bool queue_push(queue_end *end, uint64_t value) {
    ck_hp_fifo_entry_t *entry = malloc(sizeof *entry);
    ck_hp_fifo_enqueue_mpmc(&end->record, &end->shared->fifo, entry, (void *)(uintptr_t)value);
    return true;
}

static inline bool queue_pop(queue_end *end, uint64_t *value) {
    void *found;
    ck_hp_fifo_entry_t *entry = ck_hp_fifo_dequeue_mpmc(&end->record, &end->shared->fifo, &found);
    if (entry == NULL) return false;
    *value = (uintptr_t)found;
    ck_hp_free(&end->record, &entry->hazard, entry, entry);
    return true;
}

#include "bench/lockfree/queue_drive.h"

int main(int count, char **words) {
    return drive_queue(count, words);
}
