#include "log/log_leftovers.h"

#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define REGION_PATH_BYTES 512u
#define ROLE_WRITER       1u
#define PREFIX            "log-"

void kl_log_ring_belongs(kl_log_ring *ring, const char *folder) {
    if (ring->region == NULL) return;
    /* Without a place the ring looks as if nobody held it: then it must not know its folder. */
    bool joined = kl_region_join(ring->region, ROLE_WRITER) >= 0;
    kl_log_ring_shared *shared = ring->shared;
    struct stat status;
    size_t bytes = strlen(folder);
    bool known =
        joined && folder[0] == '/' && bytes < sizeof shared->folder && stat(folder, &status) == 0;
    /* seq_cst, first and last: a death in between leaves 0, which says that nothing is known. */
    atomic_store_explicit(&shared->folder_bytes, 0, memory_order_seq_cst);
    atomic_store_explicit(&shared->missed_at, 0, memory_order_seq_cst);
    if (!known) return;
    memcpy(shared->folder, folder, bytes);
    shared->folder_device = status.st_dev;
    atomic_store_explicit(&shared->folder_bytes, (uint32_t)bytes, memory_order_seq_cst);
}

static bool is_held(const kl_log_ring *ring) {
    kl_participant participant;
    for (uint32_t slot = 0; slot < KL_PARTICIPANTS; slot++)
        if (kl_region_participant(ring->region, slot, &participant) == KL_OK && participant.alive)
            return true;
    return false;
}

/* Is there nothing at `path`, though the file system it lay on is there? Changes `path`. */
static bool is_gone(char *path, uint64_t device) {
    struct stat status;
    if (lstat(path, &status) == 0 || errno != ENOENT) return false;
    for (char *slash; (slash = strrchr(path, '/')) != NULL;) {
        slash[slash == path ? 1 : 0] = '\0';
        if (stat(path, &status) == 0) return status.st_dev == device;
        if (errno != ENOENT || slash == path) return false;
    }
    return false;
}

static bool is_leftover(const kl_log_ring *ring, uint64_t now_ns) {
    kl_log_ring_shared *shared = ring->shared;
    char path[sizeof shared->folder + 1];
    /* acquire: partner is the last store in kl_log_ring_belongs(). */
    uint32_t bytes = atomic_load_explicit(&shared->folder_bytes, memory_order_acquire);
    if (bytes == 0 || bytes >= sizeof shared->folder || is_held(ring)) return false;
    memcpy(path, shared->folder, bytes);
    path[bytes] = '\0';
    if (path[0] != '/' || !is_gone(path, shared->folder_device)) return false;
    /* relaxed all: nobody holds it. */
    if (atomic_load_explicit(&shared->tail, memory_order_relaxed) <=
        atomic_load_explicit(&shared->flushed, memory_order_relaxed))
        return true;
    uint64_t missed = 0;
    if (atomic_compare_exchange_strong_explicit(&shared->missed_at, &missed, now_ns,
                                                memory_order_relaxed, memory_order_relaxed))
        return false;
    return now_ns > missed && now_ns - missed >= KL_LOG_LEFTOVER_NS;
}

/* The uuid in the name of a ring. */
static bool parse_name(const char *name, uint8_t uuid[KL_LOG_UUID_BYTES]) {
    static const char digits[] = "0123456789abcdef";
    const char *text = name + sizeof PREFIX - 1;
    if (strncmp(name, PREFIX, sizeof PREFIX - 1) != 0 || strlen(text) != 2 * KL_LOG_UUID_BYTES)
        return false;
    for (uint32_t i = 0; i < 2 * KL_LOG_UUID_BYTES; i++) {
        const char *digit = strchr(digits, text[i]);
        if (digit == NULL) return false;
        uint8_t high = i % 2 == 0 ? 0 : uuid[i / 2];
        uuid[i / 2] = (uint8_t)(high << 4 | (uint8_t)(digit - digits));
    }
    return true;
}

uint32_t kl_log_leftovers_remove(uint64_t now_ns) {
    char path[REGION_PATH_BYTES];
    uint32_t removed = 0;
    if (kl_region_name_path(PREFIX "any", path, sizeof path) != KL_OK) return 0;
    *strrchr(path, '/') = '\0';
    DIR *folder = opendir(path);
    if (folder == NULL) return 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        uint8_t uuid[KL_LOG_UUID_BYTES];
        kl_log_ring ring;
        if (!parse_name(entry->d_name, uuid) || kl_log_ring_adopt(&ring, uuid) != KL_OK) continue;
        bool leftover = is_leftover(&ring, now_ns) && !kl_region_poisoned(ring.region);
        kl_log_ring_close(&ring, leftover);
        removed += leftover;
    }
    closedir(folder);
    return removed;
}

void kl_log_leftovers_remove_once(void) {
    static _Atomic uint32_t done;
    /* relaxed: only decides who does it. */
    if (atomic_exchange_explicit(&done, 1, memory_order_relaxed) == 0)
        (void)kl_log_leftovers_remove(kl_clock_realtime_ns());
}
