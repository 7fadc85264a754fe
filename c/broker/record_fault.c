#include "broker/record_fault.h"

#ifdef KL_DEBUG

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef enum kl_fault_kind { FAULT_NONE, FAULT_DROP, FAULT_REPEAT, FAULT_SWAP } kl_fault_kind;

typedef struct kl_fault {
    kl_fault_kind kind;
    uint64_t sequence;
} kl_fault;

static kl_fault fault_wanted(void) {
    static const char *const names[] = {"", "drop:", "repeat:", "swap:"};
    const char *text = getenv("KEELSON_FAULT_RECORD");
    kl_fault fault = {FAULT_NONE, 0};
    for (int kind = FAULT_DROP; text != NULL && kind <= FAULT_SWAP; kind++) {
        size_t bytes = strlen(names[kind]);
        if (strncmp(text, names[kind], bytes) != 0) continue;
        fault.kind = (kl_fault_kind)kind;
        fault.sequence = strtoull(text + bytes, NULL, 10);
    }
    return fault;
}

static uint32_t record_bytes(const uint8_t *record) {
    uint32_t word;
    memcpy(&word, record, sizeof(word));
    return KL_RECORD_HEADER_BYTES + (((word & ~KL_RECORD_UNTERMINATED) + 7u) & ~7u);
}

static void swap_records(uint8_t *first, uint32_t first_bytes, uint32_t second_bytes) {
    uint8_t *copy = malloc(first_bytes);
    if (copy == NULL) return;
    memcpy(copy, first, first_bytes);
    memmove(first, first + first_bytes, second_bytes);
    memcpy(first + second_bytes, copy, first_bytes);
    free(copy);
}

void kl_record_fault_apply(kl_delivery *delivery, uint8_t *records, uint32_t room) {
    static atomic_flag done = ATOMIC_FLAG_INIT;
    kl_fault fault = fault_wanted();
    uint64_t index = fault.sequence - delivery->first_sequence;
    if (fault.kind == FAULT_NONE || index >= delivery->record_count || index < delivery->skip)
        return;
    if (fault.kind == FAULT_SWAP && delivery->record_count < 2) return;
    if (fault.kind == FAULT_SWAP && index + 1u == delivery->record_count) index--;
    uint32_t at = 0;
    for (uint64_t i = 0; i < index; i++) at += record_bytes(records + at);
    uint32_t bytes = record_bytes(records + at);
    if (fault.kind == FAULT_REPEAT && bytes > room) return;
    if (atomic_flag_test_and_set(&done)) return;
    uint8_t *record = records + at;
    uint32_t behind = delivery->payload_bytes - at;
    if (fault.kind == FAULT_DROP) {
        memmove(record, record + bytes, behind - bytes);
        delivery->record_count--;
        delivery->payload_bytes -= bytes;
    } else if (fault.kind == FAULT_REPEAT) {
        memmove(record + bytes, record, behind);
        delivery->record_count++;
        delivery->payload_bytes += bytes;
    } else {
        swap_records(record, bytes, record_bytes(record + bytes));
    }
}

#else
typedef int kl_record_fault_unused; /* an empty file is not C */
#endif
