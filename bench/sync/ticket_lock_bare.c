/* sync/ticket_lock in bare C: see lock_drive.h. */
#include "sync/ticket_lock.h"

#include "bench/frame/threads.h"

typedef kl_ticket_lock lock;
typedef lock lock_end;

static lock *lock_open(void) {
    static lock made;
    return &made;
}

static lock_end *lock_take(lock *one, uint32_t index) {
    (void)index;
    return one;
}

static inline void lock_acquire(lock_end *end) {
    kl_ticket_lock_lock(end);
}

static inline void lock_release(lock_end *end) {
    kl_ticket_lock_unlock(end);
}

#include "bench/sync/lock_drive.h"

int main(int count, char **words) {
    return drive_lock(count, words);
}
