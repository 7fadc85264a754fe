/* glibc's robust mutex, its owner killed: see recovery_drive.h. */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

typedef struct {
    pthread_mutex_t *mutex;
} shared;

static void shared_join(shared *one) {
    (void)one;
}

static void shared_open(shared *one) {
    one->mutex = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (one->mutex == MAP_FAILED || pthread_mutex_init(one->mutex, &attributes) != 0) exit(1);
}

static bool lock_acquire(shared *one) {
    int status = pthread_mutex_lock(one->mutex);
    if (status == EOWNERDEAD)
        pthread_mutex_consistent(one->mutex);
    else if (status != 0)
        exit(3);
    return status == EOWNERDEAD;
}

static void lock_release(shared *one) {
    pthread_mutex_unlock(one->mutex);
}

#include "bench/sync/recovery_drive.h"

int main(int count, char **words) {
    return drive_recovery(count, words);
}
