/* sync/mutex in bare C, in a region as processes would share it: see lock_drive.h. */
#include "sync/mutex.h"

#include <unistd.h>

#include "bench/frame/threads.h"

typedef struct {
    kl_region *region;
    kl_mutex *mutex;
} lock;
typedef lock lock_end;

static lock *lock_open(void) {
    static lock made;
    char path[64];
    kl_region_spec spec = {.kind = 1};
    snprintf(path, sizeof path, "/dev/shm/keelson-bench-%d", getpid());
    if (kl_region_create(&made.region, path, sizeof(kl_mutex), &spec) != KL_OK) exit(1);
    if (kl_region_publish(made.region) != KL_OK || kl_region_join(made.region, 0) < 0) exit(1);
    unlink(path);
    made.mutex = (kl_mutex *)(void *)kl_region_data(made.region);
    return &made;
}

static lock_end *lock_take(lock *one, uint32_t index) {
    (void)index;
    return one;
}

static inline void lock_acquire(lock_end *end) {
    if (kl_mutex_lock(end->mutex, end->region, KL_FOREVER) != KL_OK) exit(3);
}

static inline void lock_release(lock_end *end) {
    kl_mutex_unlock(end->mutex, end->region);
}

#include "bench/sync/lock_drive.h"

int main(int count, char **words) {
    return drive_lock(count, words);
}
