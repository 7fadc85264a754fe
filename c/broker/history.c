#include "broker/history.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/status.h"
#include "log/log_reader.h"

typedef struct kl_history_source {
    kl_log_reader *reader;
    bool has_head;
    kl_history_batch head;
} kl_history_source;

struct kl_history {
    uint64_t topic_id;
    uint64_t expected;
    uint32_t epoch; /* of the last batch given: older ones are stale */
    uint32_t source_count;
    kl_history_report report;
    kl_history_source sources[KL_BROKERS_MAX];
};

int32_t kl_broker_log_path(const char *folder, uint32_t broker, char *out, size_t capacity) {
    int bytes = snprintf(out, capacity, "%s/broker-%u", folder, broker);
    if (bytes < 0 || (size_t)bytes >= capacity) {
        return kl_fail(KL_ERR_NAME, "the path %s/broker-%u is too long", folder, broker);
    }
    return KL_OK;
}

int32_t kl_history_open(kl_history **out, const char *folder, uint32_t broker_count,
                        uint64_t topic_id, uint64_t from_order, bool committed) {
    kl_history *history = calloc(1, sizeof(*history));
    if (history == NULL) return kl_fail(KL_ERR_MEMORY, "no memory for a history reader");
    history->topic_id = topic_id;
    history->expected = from_order;
    history->report.next_order = from_order;
    uint32_t flags = committed ? KL_LOG_READ_COMMITTED : KL_LOG_READ_UNCOMMITTED;
    for (uint32_t broker = 0; broker < broker_count && broker < KL_BROKERS_MAX; broker++) {
        char path[4096];
        int32_t status = kl_broker_log_path(folder, broker, path, sizeof(path));
        if (status == KL_OK) {
            status = kl_log_reader_open(&history->sources[broker].reader, path, 0, flags);
        }
        if (status < 0) {
            kl_history_close(history);
            return status;
        }
        history->source_count = broker + 1u;
    }
    *out = history;
    return KL_OK;
}

static bool head_is_stale(const kl_history *history, const kl_batch_frame *frame) {
    return frame->epoch < history->epoch ||
           frame->total_order + frame->record_count <= history->expected;
}

/* Fills the head with the source's next batch of this topic that may still be wanted. */
static int32_t source_fill(kl_history *history, kl_history_source *source) {
    while (source->has_head && head_is_stale(history, &source->head.frame)) {
        source->has_head = false;
    }
    while (!source->has_head) {
        kl_log_frame frame;
        int32_t status = kl_log_reader_next(source->reader, &frame);
        if (status == KL_ERR_END) return KL_OK;
        if (status < 0) return status;
        if (frame.tag != KL_BATCH_FRAME_TAG) continue;
        kl_batch_frame *head = &source->head.frame;
        if (!kl_batch_frame_read(head, frame.payload, frame.bytes)) {
            return kl_fail(KL_ERR_CORRUPT,
                           "the log frame at address %llu is no batch of a broker, although its "
                           "checksum is right",
                           (unsigned long long)frame.address);
        }
        if (head->topic_id != history->topic_id) continue;
        if (head->epoch > history->report.epoch_max) history->report.epoch_max = head->epoch;
        if (head_is_stale(history, head)) continue;
        source->head.payload = frame.payload + sizeof(kl_batch_frame);
        source->has_head = true;
    }
    return KL_OK;
}

static kl_history_source *best_head(kl_history *history) {
    kl_history_source *best = NULL;
    for (uint32_t i = 0; i < history->source_count; i++) {
        kl_history_source *source = &history->sources[i];
        if (!source->has_head || source->head.frame.total_order > history->expected) continue;
        if (best == NULL || source->head.frame.epoch > best->head.frame.epoch) best = source;
    }
    return best;
}

/* A hole: drops what the oldest epoch at hand holds above it. False: nothing was left to drop. */
static bool drop_oldest_epoch(kl_history *history) {
    uint32_t oldest = UINT32_MAX;
    for (uint32_t i = 0; i < history->source_count; i++) {
        const kl_history_source *source = &history->sources[i];
        if (source->has_head && source->head.frame.epoch < oldest) {
            oldest = source->head.frame.epoch;
        }
    }
    bool dropped = false;
    for (uint32_t i = 0; i < history->source_count; i++) {
        kl_history_source *source = &history->sources[i];
        if (!source->has_head || source->head.frame.epoch != oldest) continue;
        history->report.dropped_records += source->head.frame.record_count;
        source->has_head = false;
        dropped = true;
    }
    return dropped;
}

int32_t kl_history_next(kl_history *history, kl_history_batch *out) {
    for (;;) {
        for (uint32_t i = 0; i < history->source_count; i++) {
            int32_t status = source_fill(history, &history->sources[i]);
            if (status < 0) return status;
        }
        kl_history_source *source = best_head(history);
        if (source != NULL) {
            *out = source->head;
            source->has_head = false;
            history->expected = out->frame.total_order + out->frame.record_count;
            history->epoch = out->frame.epoch;
            history->report.next_order = history->expected;
            return KL_OK;
        }
        if (!drop_oldest_epoch(history)) return KL_ERR_END;
    }
}

void kl_history_advance(kl_history *history, uint64_t order) {
    if (order > history->expected) history->expected = order;
}

void kl_history_report_get(const kl_history *history, kl_history_report *out) {
    *out = history->report;
}

uint64_t kl_history_log_position(const kl_history *history, uint32_t broker) {
    return broker < history->source_count ? kl_log_reader_position(history->sources[broker].reader)
                                          : 0;
}

void kl_history_close(kl_history *history) {
    if (history == NULL) return;
    for (uint32_t i = 0; i < KL_BROKERS_MAX; i++) {
        if (history->sources[i].reader != NULL) kl_log_reader_close(history->sources[i].reader);
    }
    free(history);
}
