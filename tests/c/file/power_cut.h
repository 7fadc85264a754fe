/* power_cut: what a disk may hold after the power fails, rebuilt from recorded operations.
 *
 * Give it the records of kl_device_faults (files of one folder, made while recording). It replays a
 * number of them and writes one possible outcome into another folder:
 *   file contents  all that was written before the file's last sync; of later writes each 512-byte
 *                  sector is there or not, at random
 *   names          as of the last folder sync, then a random number of the later creations, renames
 *                  and removals, in their order (a journal keeps it)
 * `lies` is a mask of 1 << KL_DEVICE_OP_*: operations that the disk answered but did not do. A test
 * that still passes when syncs are lies proves nothing; run it so, too.
 *
 * For tests: one thread; aborts when memory is out.
 */
#ifndef KL_TESTS_FILE_POWER_CUT_H
#define KL_TESTS_FILE_POWER_CUT_H

#include "base/random.h"
#include "file/device_faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POWER_CUT_FILES_MAX  64u
#define POWER_CUT_SECTOR     512u
#define POWER_CUT_NAME_BYTES 256u

typedef struct {
    uint8_t *bytes; /* synced */
    size_t count;
    const kl_device_record **pending; /* writes since then */
    size_t pending_count;
} power_cut_file;

typedef struct {
    char name[POWER_CUT_NAME_BYTES];
    uint32_t file; /* index; UINT32_MAX: no such name (any more) */
} power_cut_name;

typedef struct {
    power_cut_name entries[POWER_CUT_FILES_MAX];
    uint32_t count;
} power_cut_names;

typedef struct {
    power_cut_file files[POWER_CUT_FILES_MAX];
    uint32_t file_count;
    power_cut_names live, durable;
    power_cut_name *changes; /* of names, since the last folder sync */
    size_t change_count;
    size_t change_room;
} power_cut_disk;

static inline void *power_cut_grow(void *memory, size_t bytes) {
    void *grown = realloc(memory, bytes > 0 ? bytes : 1);
    if (grown == NULL) abort();
    return grown;
}

static inline const char *power_cut_leaf(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static inline uint32_t power_cut_find(const power_cut_names *names, const char *name) {
    for (uint32_t i = 0; i < names->count; i++)
        if (strcmp(names->entries[i].name, name) == 0) return names->entries[i].file;
    return UINT32_MAX;
}

static inline void power_cut_set(power_cut_names *names, const char *name, uint32_t file) {
    uint32_t i = 0;
    while (i < names->count && strcmp(names->entries[i].name, name) != 0) i++;
    if (i == POWER_CUT_FILES_MAX) abort();
    if (i == names->count) names->count++;
    snprintf(names->entries[i].name, POWER_CUT_NAME_BYTES, "%s", name);
    names->entries[i].file = file;
}

/* A change of names: seen by everybody now, durable with the next folder sync. */
static inline void power_cut_change(power_cut_disk *disk, const char *name, uint32_t file) {
    power_cut_set(&disk->live, name, file);
    if (disk->change_count == disk->change_room) {
        disk->change_room = 2 * disk->change_room + 16;
        disk->changes = (power_cut_name *)power_cut_grow(disk->changes,
                                                         disk->change_room * sizeof *disk->changes);
    }
    power_cut_name *change = &disk->changes[disk->change_count++];
    snprintf(change->name, sizeof change->name, "%s", name);
    change->file = file;
}

static inline void power_cut_put(power_cut_file *file, uint64_t at, const uint8_t *data,
                                 size_t bytes) {
    if (at + bytes > file->count) {
        file->bytes = (uint8_t *)power_cut_grow(file->bytes, at + bytes);
        memset(file->bytes + file->count, 0, at + bytes - file->count);
        file->count = at + bytes;
    }
    memcpy(file->bytes + at, data, bytes);
}

static inline void power_cut_sync(power_cut_file *file) {
    for (size_t i = 0; i < file->pending_count; i++)
        power_cut_put(file, file->pending[i]->offset, file->pending[i]->data,
                      file->pending[i]->bytes);
    file->pending_count = 0;
}

static inline void power_cut_replay(power_cut_disk *disk, const kl_device_record *record) {
    const char *name = power_cut_leaf(record->path);
    uint32_t found = power_cut_find(&disk->live, name);
    power_cut_file *file = found != UINT32_MAX ? &disk->files[found] : NULL;
    if (record->op == KL_DEVICE_OP_CREATE && file == NULL) {
        if (disk->file_count == POWER_CUT_FILES_MAX) abort();
        power_cut_change(disk, name, disk->file_count++);
    } else if (record->op == KL_DEVICE_OP_WRITE && file != NULL) {
        file->pending = (const kl_device_record **)power_cut_grow(
            file->pending, (file->pending_count + 1) * sizeof *file->pending);
        file->pending[file->pending_count++] = record;
    } else if (record->op == KL_DEVICE_OP_SYNC && file != NULL) {
        power_cut_sync(file);
    } else if (record->op == KL_DEVICE_OP_RENAME) {
        /* One step in the journal; as two changes here, the new name first, it is no weaker. */
        power_cut_change(disk, power_cut_leaf(record->to), found);
        power_cut_change(disk, name, UINT32_MAX);
    } else if (record->op == KL_DEVICE_OP_UNLINK) {
        power_cut_change(disk, name, UINT32_MAX);
    } else if (record->op == KL_DEVICE_OP_SYNC_FOLDER) {
        disk->durable = disk->live;
        disk->change_count = 0;
    }
}

/* Adds a random part of what was written but not synced. */
static inline void power_cut_tear(power_cut_file *file, kl_random *random) {
    uint64_t odds = kl_random_below(random, 5); /* of 4: none, some, all */
    for (size_t i = 0; i < file->pending_count; i++) {
        const kl_device_record *write = file->pending[i];
        for (uint64_t done = 0; done < write->bytes;) {
            uint64_t at = write->offset + done;
            uint64_t bytes = POWER_CUT_SECTOR - at % POWER_CUT_SECTOR;
            if (bytes > write->bytes - done) bytes = write->bytes - done;
            if (kl_random_below(random, 4) < odds)
                power_cut_put(file, at, write->data + done, (size_t)bytes);
            done += bytes;
        }
    }
}

static inline void power_cut_write(const power_cut_file *file, const char *folder,
                                   const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) abort();
    for (size_t done = 0; done < file->count;) {
        ssize_t put = write(fd, file->bytes + done, file->count - done);
        if (put <= 0) abort();
        done += (size_t)put;
    }
    close(fd);
}

/* Leaves in `folder`, which must be empty, what may be there when the power fails after the first
 * `count` records. */
static inline void power_cut_leave(const kl_device_record *records, size_t count, uint32_t lies,
                                   const char *folder, kl_random *random) {
    power_cut_disk *disk = (power_cut_disk *)calloc(1, sizeof *disk);
    if (disk == NULL) abort();
    for (size_t i = 0; i < count; i++)
        if ((lies & 1u << records[i].op) == 0) power_cut_replay(disk, &records[i]);
    size_t kept = (size_t)kl_random_below(random, disk->change_count + 1);
    for (size_t i = 0; i < kept; i++)
        power_cut_set(&disk->durable, disk->changes[i].name, disk->changes[i].file);
    for (uint32_t i = 0; i < disk->file_count; i++) power_cut_tear(&disk->files[i], random);
    for (uint32_t i = 0; i < disk->durable.count; i++) {
        const power_cut_name *entry = &disk->durable.entries[i];
        if (entry->file != UINT32_MAX)
            power_cut_write(&disk->files[entry->file], folder, entry->name);
    }
    for (uint32_t i = 0; i < disk->file_count; i++) {
        free(disk->files[i].bytes);
        free(disk->files[i].pending);
    }
    free(disk->changes);
    free(disk);
}

#endif
