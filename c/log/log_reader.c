#include "log/log_reader.h"

#include "base/clock.h"
#include "log/log_probe.h"
#include "log/log_state.h"
#include "log/log_stream.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FILES_LOOK_NS    100000000u /* how often a follower with a ring looks into the files, too */
#define PROBE_NS         1000000000u /* how often what lies behind the end is looked through */
#define LOOK_AHEAD_BYTES (4u << 20)
#define ADDRESS_MAX      9007199254740992.0 /* 2^53 */

struct kl_log_reader {
    kl_folder *folder;
    kl_manifest *manifest;
    kl_segment_set *segments;
    kl_log_stream stream;
    kl_log_window window;
    kl_log_ring ring; /* of a live writer; shared NULL: none known */
    uint8_t uuid[KL_LOG_UUID_BYTES];
    uint32_t seed;
    uint32_t flags;
    uint64_t first;
    uint64_t position;
    uint64_t durable;  /* everything below is known to be durable */
    uint64_t looked;   /* look-ahead for durable addresses has come this far */
    uint64_t probe_ns; /* when what lies behind the end was last looked through; 0: never */
    uint64_t files_ns; /* when the files were last asked for durable addresses */
};

static int32_t read_manifest(kl_log_reader *reader, kl_log_manifest *state) {
    int32_t bytes = kl_manifest_read(reader->manifest, state, sizeof *state);
    if (bytes == KL_ERR_NOT_FOUND)
        return kl_fail(KL_ERR_NOT_FOUND, "%s: the log is not there yet",
                       kl_folder_path(reader->folder));
    if (bytes < 0) return bytes;
    return kl_log_check_manifest(state, (size_t)bytes, kl_folder_path(reader->folder));
}

static void learn_durable(kl_log_reader *reader, uint64_t durable) {
    if (durable > reader->durable) reader->durable = durable;
}

static void drop_ring(kl_log_reader *reader) {
    if (reader->ring.shared != NULL) kl_event_count_retire(&reader->ring.shared->durable_event);
    kl_log_ring_close(&reader->ring, false);
}

/* What the ring of a live (or killed) writer says. False: there is no ring. */
static bool ask_ring(kl_log_reader *reader) {
    if (reader->ring.shared == NULL) return false;
    /* acquire both: partners are the releases in kl_log_ring_close() and lead_group(). */
    bool closed = atomic_load_explicit(&reader->ring.shared->closed, memory_order_acquire) != 0;
    uint64_t durable = atomic_load_explicit(&reader->ring.shared->durable, memory_order_acquire);
    bool whole = !kl_region_poisoned(reader->ring.region);
    if (whole) learn_durable(reader, durable);
    if (!closed && whole) return true;
    drop_ring(reader);
    return false;
}

/* The chain of frames has ended. Without a ring that would know better: are there frames behind that
 * know of more? Then this is damage, not the end. One pass over the rest, so not at every poll. */
static int32_t ask_beyond(kl_log_reader *reader) {
    uint64_t now = kl_clock_monotonic_ns();
    if (reader->ring.shared != NULL) return KL_OK;
    if (reader->probe_ns != 0 && now - reader->probe_ns < PROBE_NS) return KL_OK;
    kl_log_probe probe;
    reader->probe_ns = now;
    int32_t status = kl_log_probe_range(&reader->window, reader->seed, reader->looked, UINT64_MAX,
                                        false, &probe);
    learn_durable(reader, probe.durable);
    kl_log_window_forget(&reader->window);
    return status;
}

/* What the manifest and later frames say. Far enough to go on, not to the end of a long log. */
static int32_t ask_files(kl_log_reader *reader) {
    kl_log_manifest state;
    if (read_manifest(reader, &state) == KL_OK) learn_durable(reader, state.durable);
    kl_log_window_forget(&reader->window);
    if (reader->looked < reader->position) reader->looked = reader->position;
    for (;;) {
        kl_log_frame_header header;
        kl_log_damage damage;
        int32_t status =
            kl_log_window_check(&reader->window, reader->seed, reader->looked, &header, &damage);
        if (status == KL_ERR_END || status == KL_ERR_CORRUPT) return ask_beyond(reader);
        if (status != KL_OK) return status;
        learn_durable(reader, header.durable);
        reader->looked += kl_log_frame_total(header.bytes);
        if (reader->durable > reader->position &&
            reader->looked - reader->position > LOOK_AHEAD_BYTES)
            return KL_OK;
    }
}

/* Learns how far the log is durable. */
static int32_t refresh(kl_log_reader *reader, bool thorough) {
    bool ring = ask_ring(reader);
    if (reader->durable > reader->position) return KL_OK;
    uint64_t now = kl_clock_monotonic_ns();
    bool recently = now - reader->files_ns < FILES_LOOK_NS;
    if (ring && recently && !thorough) return KL_OK;
    if (!ring && (!recently || thorough)) {
        if (kl_log_ring_adopt(&reader->ring, reader->uuid) == KL_OK) (void)ask_ring(reader);
    }
    reader->files_ns = now;
    if (reader->durable > reader->position) return KL_OK;
    return ask_files(reader);
}

/* Reads the frame at the position in one piece. KL_ERR_END: none that is whole (`damage`). */
static int32_t read_frame(kl_log_reader *reader, kl_log_frame *out, kl_log_damage *damage) {
    const uint8_t *at;
    uint64_t available;
    kl_log_frame_header header;
    *damage = (kl_log_damage){.what = "header"};
    int32_t status =
        kl_log_window_at(&reader->window, reader->position, KL_LOG_FRAME_HEADER, &at, &available);
    if (status != KL_OK) return status;
    if (available < KL_LOG_FRAME_HEADER) return KL_ERR_END;
    memcpy(&header, at, sizeof header);
    if (!kl_log_frame_plausible(&header, reader->position)) return KL_ERR_END;
    uint64_t total = kl_log_frame_total(header.bytes);
    status = kl_log_window_at(&reader->window, reader->position, total, &at, &available);
    if (status != KL_OK) return status;
    if (!kl_log_frame_valid(reader->seed, reader->position, at, available)) {
        (void)kl_log_window_check(&reader->window, reader->seed, reader->position, &header, damage);
        return KL_ERR_END;
    }
    *out = (kl_log_frame){.address = reader->position,
                          .next_address = reader->position + total,
                          .durable = header.durable,
                          .payload = at + KL_LOG_FRAME_HEADER,
                          .bytes = header.bytes,
                          .record_count = header.record_count,
                          .tag = header.tag,
                          .kind = header.kind,
                          .flags = header.flags};
    return KL_OK;
}

static int32_t truncated_away(const kl_log_reader *reader, uint64_t address) {
    return kl_fail(KL_ERR_NOT_FOUND,
                   "address %" PRIu64 " was truncated away: the log begins at %" PRIu64, address,
                   reader->first);
}

/* Has the log lost its front up to behind the position? What is there may have a new life then. */
static int32_t check_first(kl_log_reader *reader) {
    kl_log_manifest state;
    int32_t status = read_manifest(reader, &state);
    if (status != KL_OK) return status;
    reader->first = reader->stream.first = state.first;
    return reader->position < reader->first ? truncated_away(reader, reader->position) : KL_OK;
}

/* The same, with fresh bytes if the first look found none; decides between end and damage. */
static int32_t frame_or_verdict(kl_log_reader *reader, kl_log_frame *out) {
    kl_log_damage damage;
    int32_t status = read_frame(reader, out, &damage);
    if (status != KL_ERR_END) return status;
    if (reader->durable <= reader->position) status = refresh(reader, false);
    if (status != KL_OK && status != KL_ERR_END) return status;
    bool durable = reader->durable > reader->position; /* before the look that decides */
    kl_log_window_forget(&reader->window);
    status = read_frame(reader, out, &damage);
    if (status != KL_ERR_END || !durable) return status;
    status = check_first(reader);
    if (status != KL_OK) return status;
    return kl_log_stream_corrupt(&reader->stream, reader->position, &damage,
                                 ", but what follows was durable");
}

int32_t kl_log_reader_next(kl_log_reader *reader, kl_log_frame *out) {
    if (reader == NULL || out == NULL)
        return kl_fail(KL_ERR_ARGUMENT, "a log reader needs a place for the frame");
    for (;;) { /* ends: each round passes a frame */
        if ((reader->flags & KL_LOG_READ_UNCOMMITTED) == 0 && reader->position >= reader->durable) {
            int32_t status = refresh(reader, false);
            if (status != KL_OK) return status;
            if (reader->position >= reader->durable) return KL_ERR_END;
        }
        int32_t status = frame_or_verdict(reader, out);
        if (status != KL_OK) return status;
        reader->position = out->next_address;
        if (out->kind == KL_LOG_RECORD || out->kind == KL_LOG_BATCH ||
            (reader->flags & KL_LOG_READ_ALL_KINDS) != 0)
            return KL_OK;
    }
}

int32_t kl_log_reader_prepare(kl_log_reader *reader, kl_event_count **event, uint32_t *key) {
    int32_t status = refresh(reader, true);
    if (status != KL_OK) return status;
    bool uncommitted = (reader->flags & KL_LOG_READ_UNCOMMITTED) != 0;
    if (reader->durable > reader->position) return 1;
    if (reader->ring.shared == NULL || uncommitted) return KL_ERR_UNSUPPORTED;
    *event = &reader->ring.shared->durable_event;
    *key = kl_event_count_prepare(*event);
    bool more = ask_ring(reader) && reader->durable <= reader->position;
    return more ? 0 : 1; /* 1 also when the ring has just gone */
}

uint64_t kl_log_reader_durable(const kl_log_reader *reader) {
    return reader->durable;
}

uint64_t kl_log_reader_position(const kl_log_reader *reader) {
    return reader->position;
}

/* Walks from the frame at `at`, if there is one, towards the position. KL_ERR_ARGUMENT: the position
 * lies inside a frame; KL_OK: the walk came near it; else no frame begins at `at`. */
static int32_t walk_towards(kl_log_reader *reader, uint64_t at) {
    uint64_t begin = at, position = reader->position;
    kl_log_frame_header header;
    kl_log_damage damage;
    int32_t status;
    while ((status = kl_log_window_check(&reader->window, reader->seed, at, &header, &damage)) ==
           KL_OK) {
        uint64_t next = at + kl_log_frame_total(header.bytes);
        if (next > position)
            return kl_fail(KL_ERR_ARGUMENT,
                           "address %" PRIu64 " lies inside the frame at address %" PRIu64,
                           position, at);
        at = next;
        if (at == position) return KL_OK;
    }
    return at != begin ? KL_OK : status;
}

/* A position below the durable address where no frame begins: what is it? Groups begin at block
 * borders, and the log at its first frame. */
static int32_t explain_position(kl_log_reader *reader, const kl_log_damage *damage) {
    uint64_t from = reader->position;
    uint64_t block = (from - 1) & ~(uint64_t)(KL_LOG_BLOCK_BYTES - 1);
    int32_t status = KL_ERR_CORRUPT;
    while (block > reader->first) {
        status = walk_towards(reader, block);
        if (status != KL_ERR_END && status != KL_ERR_CORRUPT) break;
        block -= KL_LOG_BLOCK_BYTES;
    }
    if (block <= reader->first) status = walk_towards(reader, reader->first);
    if (status != KL_OK && status != KL_ERR_END && status != KL_ERR_CORRUPT) return status;
    return kl_log_stream_corrupt(&reader->stream, from, damage, ", but what follows was durable");
}

static int32_t find_position(kl_log_reader *reader, double from_address) {
    uint64_t from = (uint64_t)from_address;
    if (from == 0) from = reader->first;
    if (from < reader->first) return truncated_away(reader, from);
    if (from % 8 != 0)
        return kl_fail(KL_ERR_ARGUMENT,
                       "address %" PRIu64 " is not one of a frame: expected a "
                       "multiple of 8",
                       from);
    reader->position = from;
    int32_t status = refresh(reader, true);
    if (status != KL_OK || from == reader->first || from >= reader->durable) return status;
    kl_log_frame_header header;
    kl_log_damage damage;
    kl_log_window_forget(&reader->window);
    status = kl_log_window_check(&reader->window, reader->seed, from, &header, &damage);
    if (status == KL_ERR_END || status == KL_ERR_CORRUPT) return explain_position(reader, &damage);
    return status;
}

static int32_t open_parts(kl_log_reader *reader, const char *folder) {
    kl_log_manifest state;
    kl_manifest_spec manifest = {.kind = KL_LOG_MANIFEST_KIND, .flags = KL_MANIFEST_READ_ONLY};
    kl_segment_set_spec set = {.flags = KL_SEGMENT_SET_READ_ONLY};
    int32_t status = kl_folder_open(&reader->folder, folder, KL_FOLDER_READ_ONLY);
    if (status != KL_OK) return status;
    int fd = kl_folder_fd(reader->folder);
    status = kl_manifest_open(&reader->manifest, fd, KL_LOG_MANIFEST_NAME, &manifest, NULL);
    if (status == KL_OK) status = read_manifest(reader, &state);
    if (status != KL_OK) return status;
    memcpy(reader->uuid, kl_manifest_uuid(reader->manifest), KL_LOG_UUID_BYTES);
    memcpy(set.uuid, reader->uuid, KL_LOG_UUID_BYTES);
    set.segment_bytes = state.segment_bytes;
    reader->seed = kl_log_frame_seed(reader->uuid);
    reader->first = state.first;
    reader->durable = state.durable;
    status = kl_segment_set_open(&reader->segments, fd, &set);
    if (status != KL_OK) return status;
    kl_log_stream_init(&reader->stream, reader->segments, kl_folder_path(reader->folder),
                       state.segment_bytes);
    reader->stream.first = state.first;
    kl_log_window_init(&reader->window, &reader->stream);
    return KL_OK;
}

int32_t kl_log_reader_open(kl_log_reader **out, const char *folder, double from_address,
                           uint32_t flags) {
    if (out == NULL || folder == NULL)
        return kl_fail(KL_ERR_ARGUMENT, "a log reader needs the path of a folder");
    *out = NULL;
    if (!(from_address >= 0 && from_address <= ADDRESS_MAX) ||
        from_address != (double)(uint64_t)from_address)
        return kl_fail(KL_ERR_ARGUMENT, "address %g: expected a whole number from 0 to 2^53",
                       from_address);
    if ((flags & ~(uint32_t)(KL_LOG_READ_UNCOMMITTED | KL_LOG_READ_ALL_KINDS)) != 0)
        return kl_fail(KL_ERR_ARGUMENT, "unknown flags %x", flags);
    kl_log_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL) return kl_fail(KL_ERR_MEMORY, "no memory for a log reader");
    reader->flags = flags;
    int32_t status = open_parts(reader, folder);
    if (status == KL_OK) status = find_position(reader, from_address);
    if (status != KL_OK) {
        kl_log_reader_close(reader);
        return status;
    }
    *out = reader;
    return KL_OK;
}

void kl_log_reader_close(kl_log_reader *reader) {
    if (reader == NULL) return;
    drop_ring(reader);
    kl_log_window_close(&reader->window);
    kl_log_stream_close(&reader->stream);
    kl_segment_set_close(reader->segments);
    kl_manifest_close(reader->manifest);
    kl_folder_close(reader->folder);
    free(reader);
}
