/* glibc's mutex: -DROBUST as processes share it and survive each other, else its default one. */
#include <pthread.h>
#include <stdlib.h>

typedef pthread_mutex_t lock;
typedef lock lock_end;

static lock *lock_open(void) {
    lock *made = aligned_alloc(128, 128);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
#ifdef ROBUST
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
#endif
    if (pthread_mutex_init(made, &attributes) != 0) exit(1);
    return made;
}

static lock_end *lock_take(lock *one, unsigned index) {
    (void)index;
    return one;
}

static inline void lock_acquire(lock_end *end) {
    if (pthread_mutex_lock(end) != 0) exit(3);
}

static inline void lock_release(lock_end *end) {
    pthread_mutex_unlock(end);
}

#include "bench/sync/lock_drive.h"

int main(int count, char **words) {
    return drive_lock(count, words);
}
