#include "tests/c/log/disk_image.h"

#include "file/device.h"
#include "tests/c/harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MAX = 256, NAME_MAX_BYTES = 64 };

typedef struct {
    uint32_t op;
    char name[NAME_MAX_BYTES];
    char to[NAME_MAX_BYTES];
    uint64_t offset;
    uint64_t bytes;
    uint8_t *data;
    size_t began; /* syncs: how many operations were recorded when it began */
} event;

typedef struct {
    char name[NAME_MAX_BYTES];
    uint8_t *bytes;
    uint64_t count;
} start_file;

struct disk_record {
    char folder[400];
    pthread_mutex_t mutex; /* guards events */
    event *events;
    size_t count, room;
    start_file start[FILES_MAX];
    uint32_t start_count;
    kl_device_seam seam;
};

static _Thread_local size_t sync_began;

/* ---- recording ---- */

static const char *name_in(const disk_record *record, const char *path) {
    size_t bytes = strlen(record->folder);
    if (path == NULL || strncmp(path, record->folder, bytes) != 0) return NULL;
    return path[bytes] == '/' ? path + bytes + 1 : path[bytes] == '\0' ? "" : NULL;
}

static void before(void *context, const kl_device_call *call, kl_device_verdict *verdict) {
    disk_record *record = context;
    (void)verdict;
    if (call->op == KL_DEVICE_OP_SYNC || call->op == KL_DEVICE_OP_SYNC_FOLDER)
        sync_began = disk_record_count(record);
}

static void after(void *context, const kl_device_call *call, int64_t result) {
    disk_record *record = context;
    const char *name = name_in(record, call->path);
    if (result < 0 || name == NULL || call->op == KL_DEVICE_OP_READ ||
        call->op == KL_DEVICE_OP_OPEN)
        return;
    event e = {.op = call->op, .offset = call->offset, .began = sync_began};
    snprintf(e.name, sizeof e.name, "%s", name);
    if (call->to != NULL) snprintf(e.to, sizeof e.to, "%s", name_in(record, call->to));
    if (call->op == KL_DEVICE_OP_WRITE) {
        e.bytes = (uint64_t)result;
        e.data = malloc(e.bytes);
        memcpy(e.data, call->data, e.bytes);
    }
    pthread_mutex_lock(&record->mutex);
    if (record->count == record->room) {
        record->room = record->room == 0 ? 256 : 2 * record->room;
        record->events = realloc(record->events, record->room * sizeof e);
    }
    record->events[record->count++] = e;
    pthread_mutex_unlock(&record->mutex);
}

static void load(start_file *file, const char *folder, const char *name) {
    char path[512];
    struct stat status;
    snprintf(path, sizeof path, "%s/%.60s", folder, name);
    FILE *in = fopen(path, "rb");
    KL_CHECK(in != NULL && fstat(fileno(in), &status) == 0);
    snprintf(file->name, sizeof file->name, "%s", name);
    file->count = (uint64_t)status.st_size;
    file->bytes = malloc(file->count + 1);
    KL_CHECK_EQ(fread(file->bytes, 1, file->count, in), file->count);
    fclose(in);
}

disk_record *disk_record_start(const char *folder) {
    disk_record *record = calloc(1, sizeof *record);
    snprintf(record->folder, sizeof record->folder, "%s", folder);
    pthread_mutex_init(&record->mutex, NULL);
    DIR *opened = opendir(folder);
    KL_CHECK(opened != NULL);
    for (struct dirent *entry; (entry = readdir(opened)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        KL_CHECK(record->start_count < FILES_MAX);
        load(&record->start[record->start_count++], folder, entry->d_name);
    }
    closedir(opened);
    record->seam = (kl_device_seam){.context = record, .before = before, .after = after};
    kl_device_seam_install(&record->seam);
    return record;
}

size_t disk_record_count(disk_record *record) {
    pthread_mutex_lock(&record->mutex);
    size_t count = record->count;
    pthread_mutex_unlock(&record->mutex);
    return count;
}

void disk_record_stop(disk_record *record) {
    (void)record;
    kl_device_seam_install(NULL);
}

void disk_record_free(disk_record *record) {
    for (size_t i = 0; i < record->count; i++) free(record->events[i].data);
    for (uint32_t i = 0; i < record->start_count; i++) free(record->start[i].bytes);
    free(record->events);
    pthread_mutex_destroy(&record->mutex);
    free(record);
}

/* The last write of the same file before operation `at`; 0 when there is none. */
static size_t write_before(const disk_record *record, size_t at) {
    for (size_t i = at; i-- > 0;)
        if (record->events[i].op == KL_DEVICE_OP_WRITE &&
            strcmp(record->events[i].name, record->events[at].name) == 0)
            return i;
    return 0;
}

void disk_record_lie(disk_record *record, enum disk_lie lie) {
    for (size_t i = 0; i < record->count; i++) {
        event *e = &record->events[i];
        bool segment = e->op == KL_DEVICE_OP_SYNC && strstr(e->name, ".kls") != NULL;
        if (segment && lie == DISK_NO_SYNC) e->began = 0;
        if (segment && lie == DISK_LATE_TARGET) e->began = write_before(record, i);
        if (e->op == KL_DEVICE_OP_SYNC_FOLDER && lie == DISK_NO_FOLDER_SYNC) e->began = 0;
        bool manifest = e->op == KL_DEVICE_OP_SYNC && strstr(e->name, ".manifest") != NULL;
        if (manifest && lie == DISK_NO_MANIFEST_SYNC) e->began = 0;
    }
}

/* ---- playing ---- */

typedef struct {
    uint8_t *bytes; /* what a cut leaves for certain, then the image */
    uint64_t count, room;
    size_t *pending; /* events: writes that no sync covers */
    uint32_t pending_count;
} file;

typedef struct {
    char name[NAME_MAX_BYTES];
    uint32_t file;
} entry;

typedef struct {
    entry entries[FILES_MAX];
    uint32_t count;
} listing;

typedef struct {
    const disk_record *record;
    file files[FILES_MAX];
    uint32_t file_count;
    listing now, synced;
    size_t changes[4 * FILES_MAX]; /* events that changed `now` since the folder was synced */
    uint32_t change_count;
} disk;

static int find(const listing *l, const char *name) {
    for (uint32_t i = 0; i < l->count; i++)
        if (strcmp(l->entries[i].name, name) == 0) return (int)i;
    return -1;
}

static void set_entry(listing *l, const char *name, uint32_t number) {
    int at = find(l, name);
    if (at < 0) at = (int)l->count++;
    KL_CHECK(l->count < FILES_MAX);
    snprintf(l->entries[at].name, NAME_MAX_BYTES, "%s", name);
    l->entries[at].file = number;
}

static void drop_entry(listing *l, const char *name) {
    int at = find(l, name);
    if (at >= 0) l->entries[at] = l->entries[--l->count];
}

static void store(file *f, uint64_t offset, const uint8_t *data, uint64_t bytes) {
    if (bytes == 0) return;
    if (offset + bytes > f->room) {
        f->room = 2 * (offset + bytes);
        f->bytes = realloc(f->bytes, f->room);
    }
    if (offset > f->count) memset(f->bytes + f->count, 0, offset - f->count);
    memcpy(f->bytes + offset, data, bytes);
    if (offset + bytes > f->count) f->count = offset + bytes;
}

/* A change of the folder; the number of a file that is made is the one that `now` has for it. */
static void apply_change(disk *d, listing *l, const event *e, uint32_t made) {
    if (e->op == KL_DEVICE_OP_CREATE && find(l, e->name) < 0) set_entry(l, e->name, made);
    if (e->op == KL_DEVICE_OP_UNLINK) drop_entry(l, e->name);
    if (e->op != KL_DEVICE_OP_RENAME) return;
    int at = find(l, e->name);
    KL_CHECK(at >= 0);
    uint32_t number = l->entries[at].file;
    drop_entry(l, e->name);
    set_entry(l, e->to, number);
    (void)d;
}

static uint32_t made_by[1 << 16]; /* event -> file that it made */

static void sync_file(disk *d, file *f, size_t began) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < f->pending_count; i++) {
        const event *e = &d->record->events[f->pending[i]];
        if (f->pending[i] < began)
            store(f, e->offset, e->data, e->bytes);
        else
            f->pending[kept++] = f->pending[i];
    }
    f->pending_count = kept;
}

static void play(disk *d, size_t at) {
    const event *e = &d->record->events[at];
    int found = find(&d->now, e->name);
    if (e->op == KL_DEVICE_OP_WRITE) {
        KL_CHECK(found >= 0);
        file *f = &d->files[d->now.entries[found].file];
        f->pending = realloc(f->pending, (f->pending_count + 1) * sizeof *f->pending);
        f->pending[f->pending_count++] = at;
    } else if (e->op == KL_DEVICE_OP_SYNC) {
        if (found >= 0) sync_file(d, &d->files[d->now.entries[found].file], e->began);
    } else if (e->op == KL_DEVICE_OP_SYNC_FOLDER) {
        uint32_t kept = 0;
        for (uint32_t i = 0; i < d->change_count; i++)
            if (d->changes[i] < e->began)
                apply_change(d, &d->synced, &d->record->events[d->changes[i]],
                             made_by[d->changes[i]]);
            else
                d->changes[kept++] = d->changes[i];
        d->change_count = kept;
    } else {
        if (e->op == KL_DEVICE_OP_CREATE && found >= 0) return;
        if (e->op == KL_DEVICE_OP_CREATE) {
            KL_CHECK(d->file_count < FILES_MAX && at < sizeof made_by / sizeof made_by[0]);
            made_by[at] = d->file_count++;
        }
        apply_change(d, &d->now, e, made_by[at]);
        KL_CHECK(d->change_count < 4 * FILES_MAX);
        d->changes[d->change_count++] = at;
    }
}

/* Adds any subset of what is pending to what is certain. */
static void scatter(disk *d, file *f, kl_random *random, uint32_t grain, uint32_t kept) {
    for (uint32_t i = 0; i < f->pending_count; i++) {
        const event *e = &d->record->events[f->pending[i]];
        for (uint64_t at = 0; at < e->bytes;) {
            uint64_t step = grain - (e->offset + at) % grain;
            if (step > e->bytes - at) step = e->bytes - at;
            if (kl_random_below(random, 100) < kept) store(f, e->offset + at, e->data + at, step);
            at += step;
        }
    }
}

static void write_image(const disk *d, const listing *l, const char *folder) {
    DIR *opened = opendir(folder);
    KL_CHECK(opened != NULL);
    for (struct dirent *e; (e = readdir(opened)) != NULL;)
        if (e->d_name[0] != '.') unlinkat(dirfd(opened), e->d_name, 0);
    for (uint32_t i = 0; i < l->count; i++) {
        const file *f = &d->files[l->entries[i].file];
        int fd = openat(dirfd(opened), l->entries[i].name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        KL_CHECK(fd >= 0);
        if (f->count > 0) KL_CHECK_EQ(write(fd, f->bytes, f->count), (ssize_t)f->count);
        close(fd);
    }
    closedir(opened);
}

void disk_cut(disk_record *record, size_t count, const char *folder, kl_random *random,
              uint32_t grain, uint32_t kept) {
    static disk d;
    d = (disk){.record = record};
    for (uint32_t i = 0; i < record->start_count; i++) {
        store(&d.files[i], 0, record->start[i].bytes, record->start[i].count);
        set_entry(&d.now, record->start[i].name, i);
    }
    d.file_count = record->start_count;
    d.synced = d.now;
    for (size_t i = 0; i < count; i++) play(&d, i);
    uint32_t changes = (uint32_t)kl_random_below(random, d.change_count + 1);
    for (uint32_t i = 0; i < changes; i++)
        apply_change(&d, &d.synced, &record->events[d.changes[i]], made_by[d.changes[i]]);
    for (uint32_t i = 0; i < d.file_count; i++) scatter(&d, &d.files[i], random, grain, kept);
    write_image(&d, &d.synced, folder);
    for (uint32_t i = 0; i < d.file_count; i++) {
        free(d.files[i].bytes);
        free(d.files[i].pending);
    }
}
