#include "broker/recovery.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "broker/history.h"
#include "log/durable_log.h"

#define KL_SESSION_SLOTS (1u << 16)

/* Opens and closes each log for writing: recovery of the log itself, and the sync of what it found.
 * A log that a live process holds has been recovered by that process. */
static int32_t settle_logs(const kl_node *node) {
    for (uint32_t broker = 0; broker < node->broker_count; broker++) {
        char path[4096];
        int32_t status = kl_broker_log_path(node->folder, broker, path, sizeof(path));
        if (status < 0) return status;
        kl_log *log;
        kl_log_options options = {.flags = KL_LOG_NO_RING, .ring_bytes = KL_LOG_RING_MIN};
        status = kl_log_open(&log, path, &options);
        if (status == KL_ERR_LOCKED) continue;
        if (status < 0) return status;
        status = kl_log_close(log);
        if (status < 0) return status;
    }
    return KL_OK;
}

static void session_note(kl_session_entry *table, const kl_batch_frame *frame) {
    uint32_t slot = (uint32_t)(frame->session * 0x9e3779b97f4a7c15u >> 48);
    for (uint32_t probe = 0; probe < KL_SESSION_SLOTS; probe++) {
        kl_session_entry *entry = &table[(slot + probe) & (KL_SESSION_SLOTS - 1u)];
        if (entry->session != 0 && entry->session != frame->session) continue;
        entry->session = frame->session;
        entry->next = frame->first_sequence + frame->record_count;
        entry->last_order = frame->total_order;
        return;
    }
}

static int newest_first(const void *a, const void *b) {
    const kl_session_entry *left = a, *right = b;
    if (left->last_order == right->last_order) return 0;
    return left->last_order > right->last_order ? -1 : 1;
}

/* Keeps the sessions that spoke last, as many as a topic's table takes. */
static uint32_t sessions_keep(kl_session_entry *table, uint32_t limit) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < KL_SESSION_SLOTS; i++) {
        if (table[i].session != 0) table[count++] = table[i];
    }
    qsort(table, count, sizeof(*table), newest_first);
    return count < limit ? count : limit;
}

int32_t kl_recovery_plan(const kl_node *node, const kl_topic_record *record, kl_topic_plan *plan,
                         uint64_t log_positions[KL_BROKERS_MAX]) {
    memset(log_positions, 0, sizeof(uint64_t) * KL_BROKERS_MAX);
    if ((record->flags & KL_TOPIC_LOGGED) == 0) {
        plan->epoch = 1;
        return KL_OK;
    }
    int32_t status = settle_logs(node);
    if (status < 0) return status;
    uint64_t topic_id;
    memcpy(&topic_id, record->uuid, sizeof(topic_id));
    kl_history *history;
    status = kl_history_open(&history, node->folder, node->broker_count, topic_id, 0, false);
    if (status < 0) return status;
    kl_session_entry *table = calloc(KL_SESSION_SLOTS, sizeof(*table));
    if (table == NULL) status = kl_fail(KL_ERR_MEMORY, "no memory to recover topic %s", plan->name);
    kl_history_batch batch;
    while (status == KL_OK && (status = kl_history_next(history, &batch)) == KL_OK) {
        session_note(table, &batch.frame);
    }
    kl_history_report report;
    kl_history_report_get(history, &report);
    for (uint32_t broker = 0; broker < node->broker_count; broker++) {
        log_positions[broker] = kl_history_log_position(history, broker);
    }
    kl_history_close(history);
    if (status != KL_ERR_END) {
        free(table);
        return status;
    }
    plan->epoch = report.epoch_max + 1u;
    plan->base_order = report.next_order;
    plan->recovered_records = report.next_order;
    plan->cut_records = report.dropped_records;
    plan->session_count = sessions_keep(table, 2048u);
    plan->sessions = table;
    return KL_OK;
}

int32_t kl_recovery_count_topic(const kl_node *node, const kl_topic_record *record,
                                kl_recovery_count *out) {
    memset(out, 0, sizeof(*out));
    uint64_t topic_id;
    memcpy(&topic_id, record->uuid, sizeof(topic_id));
    kl_history *history;
    int32_t status =
        kl_history_open(&history, node->folder, node->broker_count, topic_id, 0, false);
    if (status < 0) return status;
    kl_session_entry *table = calloc(KL_SESSION_SLOTS, sizeof(*table));
    if (table == NULL) status = kl_fail(KL_ERR_MEMORY, "no memory to count a topic");
    kl_history_batch batch;
    while (status == KL_OK && (status = kl_history_next(history, &batch)) == KL_OK) {
        session_note(table, &batch.frame);
        out->bytes += batch.frame.payload_bytes;
    }
    kl_history_report report;
    kl_history_report_get(history, &report);
    out->records = report.next_order;
    out->cut_records = report.dropped_records;
    if (table != NULL) out->sessions = sessions_keep(table, KL_SESSION_SLOTS);
    kl_history_close(history);
    free(table);
    return status == KL_ERR_END ? KL_OK : status;
}
