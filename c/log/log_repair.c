#include "log/log_repair.h"

#include "log/log_probe.h"
#include "log/log_state.h"
#include "log/log_stream.h"
#include "log/log_verify.h"
#include "mem/killpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RANGES_MAX   65536u
#define COPY_BYTES   (1u << 20)
#define NAME_BYTES   64u
#define LINE_BYTES   (KL_DETAIL_BYTES_MAX + 128)
#define PADDING_MAX  (256ull << 20) /* payload of one padding frame */
#define SUFFIXES_MAX 1000u

typedef struct {
    uint64_t address, bytes;
} range;

typedef struct {
    kl_folder *folder;
    int fd, dropped_fd; /* the log's folder, and `dropped`; -1: not made yet */
    uint32_t flags;
    void (*say)(void *context, const char *line);
    void *context;
    kl_log_repair_summary *out;
    kl_manifest *manifest;
    kl_segment_set *segments;
    kl_log_manifest state;
    uint8_t uuid[KL_LOG_UUID_BYTES];
    uint32_t seed;
    kl_log_stream stream;
    kl_log_window window;
    range *ranges;
    uint32_t count;
    kl_log_summary found;
} repair;

__attribute__((format(printf, 2, 3))) static void say(repair *r, const char *format, ...) {
    char line[LINE_BYTES];
    va_list arguments;
    if (r->say == NULL) return;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    r->say(r->context, line);
}

static bool is_dry(const repair *r) {
    return (r->flags & KL_LOG_REPAIR_DRY_RUN) != 0;
}

/* ---- what is dropped stays beside ---- */

static int32_t open_dropped(repair *r) {
    if (r->dropped_fd >= 0) return KL_OK;
    int32_t status = kl_device_make_folder(r->fd, KL_LOG_DROPPED_NAME);
    if (status == KL_OK) status = kl_device_sync_folder(r->fd);
    if (status != KL_OK && status != KL_ERR_EXISTS) return status;
    r->dropped_fd =
        openat(r->fd, KL_LOG_DROPPED_NAME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (r->dropped_fd < 0)
        return kl_fail_errno(KL_ERR_IO, errno, "open %s/%s", kl_folder_path(r->folder),
                             KL_LOG_DROPPED_NAME);
    return KL_OK;
}

/* A name that nothing in `dropped` has. */
static int32_t free_name(const repair *r, const char *name, char *out) {
    for (uint32_t suffix = 0; suffix < SUFFIXES_MAX; suffix++) {
        if (suffix == 0)
            snprintf(out, NAME_BYTES, "%s", name);
        else
            snprintf(out, NAME_BYTES, "%.48s.%u", name, suffix);
        if (faccessat(r->dropped_fd, out, F_OK, AT_SYMLINK_NOFOLLOW) != 0) return KL_OK;
    }
    return kl_fail(KL_ERR_LIMIT, "%s/%s holds %u files named %s: move them away",
                   kl_folder_path(r->folder), KL_LOG_DROPPED_NAME, SUFFIXES_MAX, name);
}

/* Moves a file of the log into `dropped`. */
static int32_t set_aside(repair *r, const char *name) {
    char free[NAME_BYTES];
    int32_t status = open_dropped(r);
    if (status == KL_OK) status = free_name(r, name, free);
    if (status != KL_OK) return status;
    if (renameat(r->fd, name, r->dropped_fd, free) != 0) {
        if (errno == ENOENT) return KL_OK;
        return kl_fail_errno(KL_ERR_IO, errno, "move %s to %s", name, KL_LOG_DROPPED_NAME);
    }
    status = kl_device_sync_folder(r->dropped_fd);
    return status == KL_OK ? kl_device_sync_folder(r->fd) : status;
}

/* Copies what can be read of [address, address + bytes). */
static int32_t save(repair *r, uint64_t address, uint64_t bytes) {
    char name[NAME_BYTES], free_as[NAME_BYTES];
    kl_device *device = NULL;
    uint8_t *buffer = malloc(COPY_BYTES);
    if (buffer == NULL) return kl_fail(KL_ERR_MEMORY, "no memory to save what is dropped");
    snprintf(name, sizeof name, "%" PRIu64 "-%" PRIu64 ".bin", address, bytes);
    int32_t status = open_dropped(r);
    if (status == KL_OK) status = free_name(r, name, free_as);
    if (status == KL_OK)
        status = kl_device_open(&device, r->dropped_fd, free_as,
                                KL_DEVICE_WRITE | KL_DEVICE_CREATE | KL_DEVICE_EXCLUSIVE);
    for (uint64_t at = 0; status == KL_OK && at < bytes;) {
        uint64_t step = bytes - at < COPY_BYTES ? bytes - at : COPY_BYTES, done = 0;
        status = kl_log_stream_read(&r->stream, address + at, buffer, step, &done);
        if (status != KL_OK || done == 0) { /* nothing here that could be saved */
            status = KL_OK;
            break;
        }
        status = kl_device_write_at(device, at, buffer, (size_t)done);
        at += done;
    }
    if (status == KL_OK) status = kl_device_sync(device);
    if (status == KL_OK) status = kl_device_sync_folder(r->dropped_fd);
    kl_device_close(device);
    free(buffer);
    KL_KILLPOINT("log_repair: saved");
    return status;
}

/* ---- the manifest ---- */

/* Takes uuid, size and number from the header of any segment that is whole in itself. */
static int32_t ask_segments(repair *r, kl_segment *found) {
    kl_segment_set *set = NULL;
    kl_segment_set_spec spec = {.flags = KL_SEGMENT_SET_READ_ONLY};
    kl_segment_listing listing;
    int32_t status = kl_segment_set_open(&set, r->fd, &spec);
    if (status == KL_OK) status = kl_segment_set_list(set, &listing);
    if (status != KL_OK) return status;
    status = kl_fail(KL_ERR_NOT_FOUND, "%s holds no segment that says whose it is",
                     kl_folder_path(r->folder));
    for (uint32_t i = 0; i < listing.count && status != KL_OK; i++) {
        char name[NAME_BYTES];
        uint8_t block[KL_SEGMENT_HEADER_BYTES];
        snprintf(name, sizeof name, "segment-%016" PRIx64 ".kls", listing.entries[i].number);
        int file = openat(r->fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        struct stat size;
        if (file < 0) continue;
        if (fstat(file, &size) == 0 && pread(file, block, sizeof block, 0) == (ssize_t)sizeof block)
            status = kl_segment_decode(block, block + 16, listing.entries[i].number,
                                       (uint64_t)size.st_size, name, found);
        if (status == KL_OK) memcpy(r->uuid, block + 16, sizeof r->uuid);
        (void)close(file);
    }
    uint64_t lowest = listing.count > 0 ? listing.entries[0].number : 0;
    if (status == KL_OK) found->number = lowest;
    kl_segment_listing_free(&listing);
    kl_segment_set_close(set);
    return status;
}

static int32_t open_stream(repair *r, uint64_t segment_bytes) {
    kl_segment_set_spec spec = {.segment_bytes = segment_bytes,
                                .spare_max = KL_SEGMENT_SPARE_MAX_DEFAULT,
                                .flags = is_dry(r) ? KL_SEGMENT_SET_READ_ONLY : 0};
    memcpy(spec.uuid, r->uuid, KL_LOG_UUID_BYTES);
    r->seed = kl_log_frame_seed(r->uuid);
    int32_t status = kl_segment_set_open(&r->segments, r->fd, &spec);
    if (status != KL_OK) return status;
    kl_log_stream_init(&r->stream, r->segments, kl_folder_path(r->folder), segment_bytes);
    kl_log_window_init(&r->window, &r->stream);
    return KL_OK;
}

/* Where the log begins and how far it knows itself to be durable, from its frames alone. */
static int32_t ask_frames(repair *r, uint64_t number) {
    kl_log_probe probe;
    uint64_t begin = number * r->stream.data_bytes;
    int32_t status = kl_log_probe_range(&r->window, r->seed, begin, UINT64_MAX, true, &probe);
    if (status != KL_OK) return status;
    r->state.first = begin == 0 || probe.frame_count == 0 ? begin : probe.first_frame;
    r->stream.first = r->state.first;
    kl_log_window_forget(&r->window);
    status = kl_log_probe_range(&r->window, r->seed, r->state.first, UINT64_MAX, false, &probe);
    kl_log_window_forget(&r->window);
    uint64_t least = kl_log_block_up(r->state.first);
    r->state.durable = probe.durable > least ? probe.durable : least;
    return status;
}

static int32_t rebuild_manifest(repair *r, const char *why) {
    kl_segment segment = {0};
    int32_t status = ask_segments(r, &segment);
    if (status != KL_OK) return status;
    say(r, "%s: %s the manifest from the segments", why,
        is_dry(r) ? "would rebuild" : "rebuilding");
    r->out->problem_count++;
    r->state = (kl_log_manifest){.format = KL_LOG_FORMAT, .segment_bytes = segment.segment_bytes};
    status = open_stream(r, segment.segment_bytes);
    if (status == KL_OK) status = ask_frames(r, segment.number);
    if (status != KL_OK || is_dry(r)) return status;
    status = set_aside(r, KL_LOG_MANIFEST_NAME);
    kl_manifest_spec spec = {.kind = KL_LOG_MANIFEST_KIND,
                             .flags = KL_MANIFEST_CREATE | KL_MANIFEST_EXCLUSIVE,
                             .uuid = r->uuid};
    if (status == KL_OK)
        status = kl_manifest_open(&r->manifest, r->fd, KL_LOG_MANIFEST_NAME, &spec, NULL);
    if (status == KL_OK) status = kl_manifest_write(r->manifest, &r->state, sizeof r->state);
    r->out->changed = true;
    return status;
}

static int32_t load(repair *r) {
    kl_manifest_spec spec = {.kind = KL_LOG_MANIFEST_KIND,
                             .flags = is_dry(r) ? KL_MANIFEST_READ_ONLY : 0};
    int32_t status = kl_manifest_open(&r->manifest, r->fd, KL_LOG_MANIFEST_NAME, &spec, NULL);
    if (status == KL_OK) {
        int32_t bytes = kl_manifest_read(r->manifest, &r->state, sizeof r->state);
        status = bytes < 0
                     ? bytes
                     : kl_log_check_manifest(&r->state, (size_t)bytes, kl_folder_path(r->folder));
    }
    if (status == KL_OK) {
        memcpy(r->uuid, kl_manifest_uuid(r->manifest), sizeof r->uuid);
        return open_stream(r, r->state.segment_bytes);
    }
    if (status != KL_ERR_CORRUPT && status != KL_ERR_TRUNCATED && status != KL_ERR_NOT_FOUND &&
        status != KL_ERR_FOREIGN)
        return status;
    char why[LINE_BYTES];
    snprintf(why, sizeof why, "%s", kl_status_last());
    kl_manifest_close(r->manifest);
    r->manifest = NULL;
    return rebuild_manifest(r, why);
}

/* ---- finding ---- */

static void collect(void *context, const kl_log_problem *problem) {
    repair *r = context;
    r->out->problem_count++;
    say(r, "%s", problem->text);
    if (problem->bytes == 0 || r->count == RANGES_MAX) return;
    r->ranges[r->count++] = (range){problem->address, problem->bytes};
}

static int compare_ranges(const void *a, const void *b) {
    const range *left = a, *right = b;
    return left->address < right->address ? -1 : left->address > right->address;
}

static int32_t find(repair *r) {
    int32_t status = kl_log_verify(kl_folder_path(r->folder), collect, r, &r->found);
    if (status != KL_OK || r->count == 0) return status;
    qsort(r->ranges, r->count, sizeof *r->ranges, compare_ranges);
    uint32_t kept = 0;
    for (uint32_t i = 1; i < r->count; i++) { /* those that overlap or touch become one */
        range *last = &r->ranges[kept], next = r->ranges[i];
        uint64_t end = next.address + next.bytes;
        if (next.address > last->address + last->bytes)
            r->ranges[++kept] = next;
        else if (end > last->address + last->bytes)
            last->bytes = end - last->address;
    }
    r->count = kept + 1;
    return KL_OK;
}

/* ---- skip ---- */

/* A segment that is missing, or is not what its name says, begins anew. */
static int32_t mend_segment(repair *r, uint64_t number) {
    char name[NAME_BYTES];
    kl_segment segment;
    int32_t status = kl_segment_set_open_segment(r->segments, number, &segment);
    bool good = status == KL_OK && segment.segment_bytes == r->state.segment_bytes &&
                segment.first_address == number * r->stream.data_bytes;
    if (status == KL_OK) kl_device_close(segment.device);
    if (good) return KL_OK;
    snprintf(name, sizeof name, "segment-%016" PRIx64 ".kls", number);
    say(r, "%s: set aside in %s, made anew", name, KL_LOG_DROPPED_NAME);
    status = set_aside(r, name);
    KL_KILLPOINT("log_repair: set a segment aside");
    if (status != KL_OK) return status;
    return kl_segment_set_prepare(r->segments, number, number * r->stream.data_bytes);
}

/* A header needs 32 bytes: takes the next frame along where the damage is shorter. */
static int32_t widen(repair *r, range *it) {
    while (it->bytes < KL_LOG_FRAME_HEADER) {
        kl_log_frame_header header;
        kl_log_damage damage;
        uint64_t next = it->address + it->bytes;
        int32_t status = kl_log_window_check(&r->window, r->seed, next, &header, &damage);
        if (status != KL_OK && status != KL_ERR_CORRUPT && status != KL_ERR_END) return status;
        it->bytes += status == KL_OK ? kl_log_frame_total(header.bytes) : 8;
    }
    return KL_OK;
}

static int32_t pad(repair *r, uint64_t from, uint64_t until) {
    while (from < until) {
        uint64_t bytes = until - from;
        if (bytes > PADDING_MAX) bytes = PADDING_MAX;
        if (until - from - bytes < KL_LOG_FRAME_HEADER) bytes = until - from;
        uint64_t durable = from & ~(uint64_t)(KL_LOG_BLOCK_BYTES - 1);
        if (durable > r->state.durable) durable = r->state.durable;
        kl_log_frame_header header;
        kl_log_frame_padding(r->seed, from, bytes, durable, &header);
        int32_t status = kl_log_stream_write(&r->stream, from, &header, sizeof header);
        if (status == KL_OK)
            status =
                kl_log_stream_write(&r->stream, from + sizeof header, NULL, bytes - sizeof header);
        if (status != KL_OK) return status;
        from += bytes;
    }
    return KL_OK;
}

static int32_t skip_one(repair *r, range it) {
    uint64_t data_bytes = r->stream.data_bytes;
    if (it.address >= r->found.durable_address && it.address >= r->found.end_address) {
        /* A segment behind the end, made ahead: nothing is lost with it. */
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "segment-%016" PRIx64 ".kls", it.address / data_bytes);
        return is_dry(r) ? KL_OK : set_aside(r, name);
    }
    int32_t status = widen(r, &it);
    if (status != KL_OK) return status;
    r->out->dropped_bytes += it.bytes;
    say(r, "%s %" PRIu64 " bytes from address %" PRIu64 " on",
        is_dry(r) ? "would drop" : "dropping", it.bytes, it.address);
    if (is_dry(r)) return KL_OK;
    r->out->changed = true;
    status = save(r, it.address, it.bytes);
    kl_log_stream_close(&r->stream);
    uint64_t end = it.address + it.bytes;
    for (uint64_t number = it.address / data_bytes; status == KL_OK && number * data_bytes < end;
         number++)
        status = mend_segment(r, number);
    if (status == KL_OK) status = pad(r, it.address, end);
    KL_KILLPOINT("log_repair: padded");
    if (status == KL_OK) status = kl_log_stream_sync(&r->stream, it.address, end);
    kl_log_stream_close(&r->stream);
    kl_log_window_forget(&r->window);
    return status;
}

/* ---- point in time ---- */

/* Sets the segments from `number` on aside. */
static int32_t drop_segments(repair *r, uint64_t number) {
    kl_segment_listing listing;
    int32_t status = kl_segment_set_list(r->segments, &listing);
    if (status != KL_OK) return status;
    for (uint32_t i = listing.count; status == KL_OK && i-- > 0;) { /* the last first: no gap */
        char name[NAME_BYTES];
        if (listing.entries[i].number < number) break;
        snprintf(name, sizeof name, "segment-%016" PRIx64 ".kls", listing.entries[i].number);
        status = set_aside(r, name);
        KL_KILLPOINT("log_repair: dropped a segment");
    }
    kl_segment_listing_free(&listing);
    return status;
}

static int32_t cut(repair *r, uint64_t address) {
    uint64_t data_bytes = r->stream.data_bytes, number = address / data_bytes;
    uint64_t segment_end = (number + 1) * data_bytes;
    uint64_t end = r->found.durable_address > r->found.end_address ? r->found.durable_address
                                                                   : r->found.end_address;
    r->out->dropped_bytes = end > address ? end - address : 0;
    say(r,
        "%s everything from address %" PRIu64 " on: about %" PRIu64
        " bytes, and what a killed process still had in memory",
        is_dry(r) ? "would drop" : "dropping", address, r->out->dropped_bytes);
    if (is_dry(r)) return KL_OK;
    r->out->changed = true;
    uint64_t filled = address + kl_log_frame_fill(address);
    int32_t status = save(r, address, segment_end - address);
    kl_log_stream_close(&r->stream);
    if (status == KL_OK) status = drop_segments(r, number + 1);
    if (status == KL_OK) status = mend_segment(r, number);
    if (status == KL_OK && filled > address) status = pad(r, address, filled);
    if (status == KL_OK && filled < segment_end)
        status = kl_log_stream_write(&r->stream, filled, NULL, segment_end - filled);
    if (status == KL_OK)
        status =
            kl_log_stream_sync(&r->stream, address, filled > segment_end ? filled : segment_end);
    KL_KILLPOINT("log_repair: cut");
    if (status != KL_OK) return status;
    kl_log_ring_remove(r->uuid); /* its frames belong behind what was dropped */
    r->state.durable = filled;
    r->state.flags = 0;
    if (r->state.first > filled) r->state.first = filled;
    return kl_manifest_write(r->manifest, &r->state, sizeof r->state);
}

/* ---- both ---- */

static int32_t run(repair *r) {
    int32_t status = load(r);
    if (status != KL_OK) return status;
    if (is_dry(r) && r->manifest == NULL) {
        say(r, "what else is damaged can be told once the manifest is rebuilt");
        return KL_OK;
    }
    status = find(r);
    if (status != KL_OK || r->count == 0) return status;
    bool full = r->count == RANGES_MAX;
    if ((r->flags & KL_LOG_REPAIR_POINT_IN_TIME) != 0) return cut(r, r->ranges[0].address);
    for (uint32_t i = 0; status == KL_OK && i < r->count; i++) status = skip_one(r, r->ranges[i]);
    if (status == KL_OK && full && !is_dry(r))
        return kl_fail(KL_ERR_LIMIT, "more than %u damaged places: repair it again", RANGES_MAX);
    return status;
}

/* Says whether that was enough. */
static int32_t check_again(repair *r) {
    kl_log_summary summary;
    int32_t status = kl_log_verify(kl_folder_path(r->folder), NULL, NULL, &summary);
    if (status != KL_OK) return status;
    r->out->end_address = summary.end_address;
    if (summary.problem_count == 0) return KL_OK;
    return kl_fail(KL_ERR_CORRUPT, "%s has %" PRIu64 " problems left: repair it again",
                   kl_folder_path(r->folder), summary.problem_count);
}

int32_t kl_log_repair_locked(kl_folder *folder, uint32_t flags,
                             void (*say_line)(void *context, const char *line), void *context,
                             kl_log_repair_summary *out) {
    *out = (kl_log_repair_summary){0};
    repair r = {.folder = folder,
                .fd = kl_folder_fd(folder),
                .dropped_fd = -1,
                .flags = flags,
                .say = say_line,
                .context = context,
                .out = out,
                .ranges = malloc(RANGES_MAX * sizeof(range))};
    if (r.ranges == NULL) return kl_fail(KL_ERR_MEMORY, "no memory to repair a log");
    int32_t status = run(&r);
    kl_log_window_close(&r.window);
    kl_log_stream_close(&r.stream);
    kl_segment_set_close(r.segments);
    kl_manifest_close(r.manifest);
    if (r.dropped_fd >= 0) (void)close(r.dropped_fd);
    free(r.ranges);
    if (status == KL_OK && !is_dry(&r)) status = check_again(&r);
    return status;
}

int32_t kl_log_repair(const char *path, uint32_t flags,
                      void (*say_line)(void *context, const char *line), void *context,
                      kl_log_repair_summary *out) {
    uint32_t mode = flags & (KL_LOG_REPAIR_SKIP | KL_LOG_REPAIR_POINT_IN_TIME);
    if (path == NULL || out == NULL ||
        (mode != KL_LOG_REPAIR_SKIP && mode != KL_LOG_REPAIR_POINT_IN_TIME) ||
        (flags & ~(uint32_t)(mode | KL_LOG_REPAIR_DRY_RUN)) != 0)
        return kl_fail(KL_ERR_ARGUMENT, "repair needs a folder and one way: skip or point in time");
    kl_folder *folder = NULL;
    int32_t status = kl_folder_open(&folder, path, 0);
    if (status == KL_OK) status = kl_folder_lock(folder, NULL);
    if (status == KL_OK) status = kl_log_repair_locked(folder, flags, say_line, context, out);
    kl_folder_close(folder);
    return status;
}
