#include "log/log_verify.h"

#include "log/log_probe.h"
#include "log/log_state.h"
#include "log/log_stream.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    kl_folder *folder;
    kl_manifest *manifest;
    kl_segment_set *segments;
    kl_log_stream stream;
    kl_log_window window;
    kl_log_manifest state;
    uint32_t seed;
    uint64_t segments_end;
    uint64_t written_end;
    bool probed;
    void (*report)(void *context, const kl_log_problem *problem);
    void *context;
    kl_log_summary *out;
} verifier;

static void problem(verifier *v, int32_t status, uint64_t address, uint64_t bytes,
                    const char *text) {
    v->out->problem_count++;
    kl_log_problem found = {.status = status, .address = address, .bytes = bytes, .text = text};
    if (v->report != NULL) v->report(v->context, &found);
}

static int32_t open_parts(verifier *v, const char *path) {
    kl_manifest_spec manifest = {.kind = KL_LOG_MANIFEST_KIND, .flags = KL_MANIFEST_READ_ONLY};
    kl_manifest_report report;
    int32_t status = kl_folder_open(&v->folder, path, KL_FOLDER_READ_ONLY);
    if (status != KL_OK) return status;
    int fd = kl_folder_fd(v->folder);
    status = kl_manifest_open(&v->manifest, fd, KL_LOG_MANIFEST_NAME, &manifest, &report);
    if (status != KL_OK) return status;
    if (report.fell_back) problem(v, KL_ERR_CORRUPT, 0, 0, report.reason);
    int32_t bytes = kl_manifest_read(v->manifest, &v->state, sizeof v->state);
    if (bytes < 0) return bytes;
    status = kl_log_check_manifest(&v->state, (size_t)bytes, kl_folder_path(v->folder));
    if (status != KL_OK) return status;
    kl_segment_set_spec set = {.segment_bytes = v->state.segment_bytes,
                               .flags = KL_SEGMENT_SET_READ_ONLY};
    memcpy(set.uuid, kl_manifest_uuid(v->manifest), KL_LOG_UUID_BYTES);
    v->seed = kl_log_frame_seed(set.uuid);
    status = kl_segment_set_open(&v->segments, fd, &set);
    if (status != KL_OK) return status;
    kl_log_stream_init(&v->stream, v->segments, kl_folder_path(v->folder), v->state.segment_bytes);
    v->stream.first = v->state.first;
    kl_log_window_init(&v->window, &v->stream);
    return KL_OK;
}

static void check_listing(verifier *v, const kl_segment_listing *listing) {
    uint64_t data_bytes = v->stream.data_bytes;
    uint64_t next = v->state.first / data_bytes;
    for (uint32_t i = 0; i < listing->count; i++) {
        const kl_segment_entry *entry = &listing->entries[i];
        v->out->file_bytes += entry->segment_bytes;
        if (entry->number < next)
            continue; /* a truncation was cut short: the next open retires it */
        if (entry->number > next) {
            char text[400];
            snprintf(text, sizeof text, "%s: segment-%016llx.kls is missing, later ones exist",
                     kl_folder_path(v->folder), (unsigned long long)next);
            problem(v, KL_ERR_NOT_FOUND, next * data_bytes, (entry->number - next) * data_bytes,
                    text);
        }
        if (entry->status != KL_OK)
            problem(v, entry->status, entry->number * data_bytes, data_bytes, entry->reason);
        next = entry->number + 1;
    }
    v->out->segment_count = listing->count;
    v->segments_end = next * data_bytes;
}

static void count(verifier *v, const kl_log_frame_header *header) {
    if (header->durable > v->out->durable_address) v->out->durable_address = header->durable;
    if (header->kind != KL_LOG_RECORD && header->kind != KL_LOG_BATCH) return;
    v->out->frame_count++;
    v->out->record_count += header->record_count;
    v->out->payload_bytes += header->bytes;
}

/* A segment that cannot be read counts as bad from here to its end. */
static uint64_t segment_end(const verifier *v, uint64_t address) {
    return (address / v->stream.data_bytes + 1) * v->stream.data_bytes;
}

static void add_probe(kl_log_probe *sum, const kl_log_probe *more) {
    if (sum->frame_count == 0) sum->first_frame = more->first_frame;
    sum->frame_count += more->frame_count;
    if (more->written_end > sum->written_end) sum->written_end = more->written_end;
    if (more->durable <= sum->durable) return;
    sum->durable = more->durable;
    sum->durable_at = more->durable_at;
}

/* Probes [from, ..) past segments that are missing or cannot be read. */
static void probe_on(verifier *v, uint64_t from, bool first_only, kl_log_probe *probe) {
    *probe = (kl_log_probe){.written_end = from};
    while (from < v->segments_end && !(first_only && probe->frame_count > 0)) {
        kl_log_probe piece;
        (void)kl_log_probe_range(&v->window, v->seed, from, v->segments_end, first_only, &piece);
        add_probe(probe, &piece);
        uint64_t stopped = v->window.start + v->window.count; /* what it read reaches up to here */
        if (stopped >= v->segments_end) return;
        from = segment_end(v, stopped > from ? stopped : from);
        kl_log_window_forget(&v->window);
    }
}

/* At a bad frame: finds the next good one; tells the problem, unless the rest was never durable. */
static void pass_over(verifier *v, uint64_t *address, int32_t status, const kl_log_damage *damage,
                      bool *ended) {
    kl_log_probe probe;
    uint64_t bad = *address, from = bad + 8;
    char text[KL_DETAIL_BYTES_MAX + 1];
    if (status == KL_ERR_END) status = KL_ERR_CORRUPT;
    if (status == KL_ERR_CORRUPT)
        kl_log_stream_corrupt(&v->stream, bad, damage, "");
    else
        from = segment_end(v, bad);
    snprintf(text, sizeof text, "%s", kl_status_last());
    if (!v->probed) { /* once: what do the frames behind the first bad one know? */
        v->probed = true;
        probe_on(v, bad, false, &probe);
        v->written_end = probe.written_end;
        if (probe.durable > v->out->durable_address) v->out->durable_address = probe.durable;
    }
    if (v->out->durable_address <= bad) {
        *ended = true;
        v->out->torn_bytes = v->written_end > bad ? v->written_end - bad : 0;
        return;
    }
    probe_on(v, from, true, &probe);
    *ended = probe.frame_count == 0;
    *address = *ended ? v->out->durable_address : probe.first_frame;
    problem(v, status, bad, *address - bad, text);
}

static int32_t walk(verifier *v) {
    uint64_t address = v->state.first;
    for (bool ended = false; !ended;) {
        kl_log_frame_header header;
        kl_log_damage damage;
        int32_t status = kl_log_window_check(&v->window, v->seed, address, &header, &damage);
        if (status == KL_OK) {
            count(v, &header);
            address += kl_log_frame_total(header.bytes);
            v->out->end_address = address;
            continue;
        }
        if (status == KL_ERR_MEMORY) return status;
        pass_over(v, &address, status, &damage, &ended);
    }
    return KL_OK;
}

static int32_t run(verifier *v, const char *folder) {
    kl_segment_listing listing;
    int32_t status = open_parts(v, folder);
    if (status != KL_OK) return status;
    v->out->first_address = v->out->end_address = v->state.first;
    v->out->durable_address = v->state.durable;
    status = kl_segment_set_list(v->segments, &listing);
    if (status != KL_OK) return status;
    check_listing(v, &listing);
    kl_segment_listing_free(&listing);
    status = walk(v);
    v->out->clean = (v->state.flags & KL_LOG_CLEAN) != 0 && v->out->problem_count == 0 &&
                    v->out->end_address == v->state.durable;
    return status;
}

int32_t kl_log_verify(const char *folder,
                      void (*report)(void *context, const kl_log_problem *problem), void *context,
                      kl_log_summary *out) {
    if (folder == NULL || out == NULL)
        return kl_fail(KL_ERR_ARGUMENT, "verify needs a folder and a place for its summary");
    *out = (kl_log_summary){0};
    verifier v = {.report = report, .context = context, .out = out};
    int32_t status = run(&v, folder);
    kl_log_window_close(&v.window);
    kl_log_stream_close(&v.stream);
    kl_segment_set_close(v.segments);
    kl_manifest_close(v.manifest);
    kl_folder_close(v.folder);
    return status;
}
