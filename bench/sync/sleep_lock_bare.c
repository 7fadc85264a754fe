/* sync/sleep_lock in bare C, in a region as processes would share it: see lock_drive.h. */
#include <unistd.h>

#include "sync/sleep_lock.h"

#include "bench/frame/threads.h"

#define PLACES 64u

typedef struct {
    kl_region *region;
    kl_sleep_lock grip;
} lock;

typedef struct {
    _Alignas(128) kl_sleep_lock *grip;
    uint32_t self;
    uint64_t ticket;
} lock_end;

static lock *lock_open(void) {
    static lock made;
    char path[64];
    kl_region_spec spec = {.kind = 1};
    uint64_t bytes = kl_sleep_lock_memory_bytes(PLACES);
    snprintf(path, sizeof path, "/dev/shm/keelson-bench-%d", getpid());
    if (kl_region_create(&made.region, path, bytes, &spec) != KL_OK) exit(1);
    uint8_t *data = kl_region_data(made.region);
    if (kl_sleep_lock_format(data, PLACES) != KL_OK) exit(1);
    if (kl_region_publish(made.region) != KL_OK || kl_region_join(made.region, 0) < 0) exit(1);
    unlink(path);
    if (kl_sleep_lock_grip(&made.grip, data, bytes, made.region) != KL_OK) exit(1);
    return &made;
}

static lock_end *lock_take(lock *one, uint32_t index) {
    (void)index;
    lock_end *end = aligned_alloc(128, sizeof *end);
    int32_t self = kl_region_thread_join(one->region);
    if (self < 0) exit(1);
    end->grip = &one->grip;
    end->self = (uint32_t)self;
    return end;
}

static inline void lock_acquire(lock_end *end) {
    if (kl_sleep_lock_lock(end->grip, end->self, &end->ticket, KL_FOREVER, NULL) != KL_OK) exit(3);
}

static inline void lock_release(lock_end *end) {
    if (kl_sleep_lock_leave(end->grip, end->self, end->ticket) != KL_OK) exit(3);
}

#include "bench/sync/lock_drive.h"

int main(int count, char **words) {
    return drive_lock(count, words);
}
