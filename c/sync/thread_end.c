#include "sync/thread_end.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/handle.h"

typedef struct entry {
    struct entry *next;
    uint32_t handle, kind;
} entry;

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* the thread's list, the latest first */
static int key_error;
static _Thread_local bool runs;

static void close_all(void *list) {
    runs = true;
    for (entry *one = list, *next; one; one = next) {
        next = one->next;
        kl_handle_close(one->handle, one->kind); /* closed already: nothing */
        free(one);
    }
}

static void make_key(void) {
    key_error = pthread_key_create(&key, close_all);
}

int32_t kl_thread_end_close(uint32_t handle, uint32_t kind) {
    pthread_once(&key_once, make_key);
    entry *one = key_error == 0 ? malloc(sizeof *one) : NULL;
    if (!one) return kl_fail(KL_ERR_MEMORY, "no memory for what to close when this thread ends");
    *one = (entry){pthread_getspecific(key), handle, kind};
    pthread_setspecific(key, one);
    return KL_OK;
}

void kl_thread_end_forget(uint32_t handle) {
    pthread_once(&key_once, make_key);
    entry *first = key_error == 0 ? pthread_getspecific(key) : NULL;
    for (entry **link = &first; *link; link = &(*link)->next) {
        entry *one = *link;
        if (one->handle != handle) continue;
        *link = one->next;
        free(one);
        pthread_setspecific(key, first);
        return;
    }
}

bool kl_thread_end_runs(void) {
    return runs;
}
