#include "log/log_stat.h"

#include "log/log_reader.h"
#include "log/log_state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_named(const char *name, const char *beginning) {
    size_t bytes = strlen(name);
    return strncmp(name, beginning, strlen(beginning)) == 0 && bytes > 4 &&
           strcmp(name + bytes - 4, ".kls") == 0;
}

static int32_t count_files(int folder_fd, kl_log_standing *out) {
    int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (folder == NULL) {
        int error = errno;
        if (fd >= 0) (void)close(fd);
        return kl_fail_errno(KL_ERR_IO, error, "list the folder of a log");
    }
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        bool segment = is_named(entry->d_name, "segment-");
        bool spare = is_named(entry->d_name, "spare-");
        struct stat file;
        if (!segment && !spare) continue;
        if (fstatat(folder_fd, entry->d_name, &file, AT_SYMLINK_NOFOLLOW) != 0) continue;
        out->bytes_used += (uint64_t)file.st_size;
        out->segment_count += segment;
        out->spare_count += spare;
    }
    (void)closedir(folder);
    return KL_OK;
}

static int32_t read_manifest(int folder_fd, const char *path, kl_log_manifest *state,
                             uint8_t uuid[KL_LOG_UUID_BYTES]) {
    kl_manifest *manifest = NULL;
    kl_manifest_spec spec = {.kind = KL_LOG_MANIFEST_KIND, .flags = KL_MANIFEST_READ_ONLY};
    int32_t status = kl_manifest_open(&manifest, folder_fd, KL_LOG_MANIFEST_NAME, &spec, NULL);
    if (status != KL_OK) return status;
    int32_t bytes = kl_manifest_read(manifest, state, sizeof *state);
    status = bytes < 0 ? bytes : kl_log_check_manifest(state, (size_t)bytes, path);
    memcpy(uuid, kl_manifest_uuid(manifest), KL_LOG_UUID_BYTES);
    kl_manifest_close(manifest);
    return status;
}

/* Walks from the manifest's durable address to the end of the files. */
static int32_t find_tail(const char *path, kl_log_standing *out) {
    kl_log_reader *reader = NULL;
    kl_log_frame frame;
    int32_t status = kl_log_reader_open(&reader, path, (double)out->durable_address,
                                        KL_LOG_READ_UNCOMMITTED | KL_LOG_READ_ALL_KINDS);
    while (status == KL_OK) status = kl_log_reader_next(reader, &frame);
    if (reader != NULL) {
        uint64_t durable = kl_log_reader_durable(reader);
        out->tail_address = kl_log_reader_position(reader);
        if (durable > out->durable_address) out->durable_address = durable;
    }
    kl_log_reader_close(reader);
    return status == KL_ERR_END ? KL_OK : status;
}

int32_t kl_log_stat(const char *folder, kl_log_standing *out) {
    kl_folder *opened = NULL;
    kl_log_manifest state;
    uint8_t uuid[KL_LOG_UUID_BYTES];
    char holder[128];
    kl_log_ring ring = {0};
    if (folder == NULL || out == NULL)
        return kl_fail(KL_ERR_ARGUMENT, "stat needs the folder of a log");
    *out = (kl_log_standing){0};
    int32_t status = kl_folder_open(&opened, folder, KL_FOLDER_READ_ONLY);
    if (status != KL_OK) return status;
    int fd = kl_folder_fd(opened);
    status = read_manifest(fd, kl_folder_path(opened), &state, uuid);
    if (status == KL_OK) {
        out->first_address = state.first;
        out->durable_address = state.durable > state.first ? state.durable : state.first;
        out->segment_bytes = state.segment_bytes;
        out->live = kl_folder_holder_text(folder, holder, sizeof holder) > 0;
        status = count_files(fd, out);
    }
    if (status == KL_OK) status = find_tail(kl_folder_path(opened), out);
    if (status == KL_OK && kl_log_ring_adopt(&ring, uuid) == KL_OK) {
        /* acquire: partner is the addition of an append. */
        uint64_t tail = atomic_load_explicit(&ring.shared->tail, memory_order_acquire);
        if (tail > out->tail_address && tail - out->tail_address <= ring.size)
            out->tail_address = tail;
    }
    kl_log_ring_close(&ring, false);
    kl_folder_close(opened);
    return status;
}
