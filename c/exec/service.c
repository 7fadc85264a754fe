#include "exec/service.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#define NAME_BYTES 16 /* the kernel's, with its NUL */

enum { FREE, RUNNING, FINISHED };

struct kl_service_thread {
    kl_event_count event;
    _Atomic uint32_t stop;
    _Atomic uint32_t state; /* the futex word kl_service_stop sleeps on */
    _Atomic(kl_event_count *) parked;
    void (*body)(void *argument, const _Atomic uint32_t *stop);
    void *argument;
    char name[NAME_BYTES];
};

static kl_service_thread table[KL_SERVICE_THREADS_MAX];
static pthread_mutex_t table_mutex = PTHREAD_MUTEX_INITIALIZER; /* guards FREE -> RUNNING */
static _Atomic uint32_t alive_count;
static _Thread_local kl_service_thread *self;

static void *run(void *argument) {
    kl_service_thread *thread = argument;
    self = thread;
    pthread_setname_np(pthread_self(), thread->name);
    thread->body(thread->argument, &thread->stop);
    self = NULL;
    atomic_fetch_sub_explicit(&alive_count, 1, memory_order_relaxed); /* a figure to show */
    /* release: partner is the acquire in has_finished; the body's writes are seen. From here on the
     * slot may be somebody else's: only its address is used. */
    atomic_store_explicit(&thread->state, FINISHED, memory_order_release);
    kl_futex_wake(&thread->state, 1);
    return NULL;
}

/* A thread with all signals blocked and a small stack, detached. 0 or an errno. */
static int start_detached(kl_service_thread *thread) {
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_t id;
    int error = pthread_attr_init(&attributes);
    if (error != 0) return error;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, KL_SERVICE_STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the new thread inherits it */
    error = pthread_create(&id, &attributes, run, thread);
    if (error == EINVAL) { /* a host with much thread-local storage: that small a stack cannot be */
        pthread_attr_setstacksize(&attributes, 4 * KL_SERVICE_STACK_BYTES);
        error = pthread_create(&id, &attributes, run, thread);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

static kl_service_thread *take_slot(void) {
    kl_service_thread *taken = NULL;
    pthread_mutex_lock(&table_mutex);
    for (uint32_t i = 0; i < KL_SERVICE_THREADS_MAX && !taken; i++) {
        /* acquire: partner is the release of whoever freed the slot. */
        if (atomic_load_explicit(&table[i].state, memory_order_acquire) != FREE) continue;
        taken = &table[i];
        atomic_store_explicit(&taken->state, RUNNING, memory_order_relaxed);
    }
    pthread_mutex_unlock(&table_mutex);
    return taken;
}

static void free_slot(kl_service_thread *thread) {
    /* release: partner is the acquire in take_slot. */
    atomic_store_explicit(&thread->state, FREE, memory_order_release);
}

int32_t kl_service_start(kl_service_thread **out, const char *name,
                         void (*body)(void *argument, const _Atomic uint32_t *stop),
                         void *argument) {
    *out = NULL;
    kl_service_thread *thread = take_slot();
    if (!thread)
        return kl_fail(KL_ERR_LIMIT, "all %u service threads of this process are in use",
                       KL_SERVICE_THREADS_MAX);
    /* Relaxed: pthread_create orders all of this before the thread. */
    atomic_store_explicit(&thread->stop, 0, memory_order_relaxed);
    atomic_store_explicit(&thread->parked, NULL, memory_order_relaxed);
    thread->body = body;
    thread->argument = argument;
    strncpy(thread->name, name, NAME_BYTES - 1);
    thread->name[NAME_BYTES - 1] = 0;
    atomic_fetch_add_explicit(&alive_count, 1, memory_order_relaxed);
    int error = start_detached(thread);
    if (error != 0) {
        atomic_fetch_sub_explicit(&alive_count, 1, memory_order_relaxed);
        free_slot(thread);
        return kl_fail_errno(KL_ERR_LIMIT, error, "cannot start the service thread %s", name);
    }
    *out = thread;
    return KL_OK;
}

static bool has_finished(kl_service_thread *thread) {
    /* acquire: partner is the release in run. */
    return atomic_load_explicit(&thread->state, memory_order_acquire) == FINISHED;
}

int32_t kl_service_stop(kl_service_thread *thread) {
    KL_ASSERT(thread != self);
    if (thread == self) return KL_ERR_BUG;
    /* seq_cst, both: partners are the store and the look at stop in kl_service_wait: either the
     * thread sees the flag, or this sees where it sleeps. */
    atomic_store_explicit(&thread->stop, 1, memory_order_seq_cst);
    kl_event_count_notify_all(&thread->event);
    kl_event_count *parked = atomic_load_explicit(&thread->parked, memory_order_seq_cst);
    if (parked) kl_event_count_notify_all(parked);
    uint64_t deadline_ns = kl_clock_deadline_ns(KL_SERVICE_STOP_NS);
    while (!has_finished(thread)) {
        uint64_t now_ns = kl_clock_monotonic_ns();
        if (now_ns >= deadline_ns)
            return kl_fail(KL_ERR_TIMEOUT, "the service thread %s does not stop", thread->name);
        kl_futex_wait(&thread->state, RUNNING, deadline_ns - now_ns);
    }
    free_slot(thread);
    return KL_OK;
}

kl_event_count *kl_service_event(kl_service_thread *thread) {
    return &thread->event;
}

kl_service_thread *kl_service_self(void) {
    return self;
}

int32_t kl_service_wait(kl_event_count *event, uint32_t key, uint64_t timeout_ns) {
    kl_service_thread *thread = self;
    if (!thread) return kl_event_count_wait(event, key, timeout_ns, NULL);
    /* seq_cst: partner is the load in kl_service_stop; kl_event_count_wait looks at stop next. */
    atomic_store_explicit(&thread->parked, event, memory_order_seq_cst);
    int32_t status = kl_event_count_wait(event, key, timeout_ns, &thread->stop);
    /* Relaxed: who still reads the old event notifies it once too often. */
    atomic_store_explicit(&thread->parked, NULL, memory_order_relaxed);
    return status;
}

uint32_t kl_service_count(void) {
    return atomic_load_explicit(&alive_count, memory_order_relaxed);
}
