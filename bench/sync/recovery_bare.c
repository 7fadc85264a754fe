/* sync/mutex, its owner killed: see recovery_drive.h. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sync/mutex.h"

typedef struct {
    char path[64];
    kl_region *region;
    kl_mutex *mutex;
} shared;

static void shared_join(shared *one) {
    if (kl_region_attach(&one->region, one->path, NULL) != KL_OK) exit(1);
    if (kl_region_join(one->region, 0) < 0) exit(1);
    one->mutex = (kl_mutex *)(void *)kl_region_data(one->region);
}

static void remove_region(void);
static shared *opened;

static void shared_open(shared *one) {
    kl_region *region;
    kl_region_spec spec = {.kind = 1};
    snprintf(one->path, sizeof one->path, "/dev/shm/keelson-bench-%d", getpid());
    if (kl_region_create(&region, one->path, sizeof(kl_mutex), &spec) != KL_OK) exit(1);
    if (kl_region_publish(region) != KL_OK) exit(1);
    shared_join(one);
    opened = one;
    atexit(remove_region);
}

static void remove_region(void) {
    unlink(opened->path);
}

static bool lock_acquire(shared *one) {
    int32_t status = kl_mutex_lock(one->mutex, one->region, KL_FOREVER);
    if (status != KL_OK && status != KL_OWNER_DEAD) exit(3);
    return status == KL_OWNER_DEAD;
}

static void lock_release(shared *one) {
    kl_mutex_unlock(one->mutex, one->region);
}

#include "bench/sync/recovery_drive.h"

int main(int count, char **words) {
    return drive_recovery(count, words);
}
