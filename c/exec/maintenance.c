#include "exec/maintenance.h"

#include <pthread.h>

#include "exec/service.h"

typedef struct {
    uint32_t number; /* 0: free */
    kl_maintenance_fn function;
    void *argument;
    uint64_t due_ns;
} entry;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards all but the event */
static pthread_cond_t call_ended = PTHREAD_COND_INITIALIZER;
static entry entries[KL_MAINTENANCE_MAX];
static uint32_t last_number, running; /* the number that is called now, 0: none */
static kl_service_thread *service;
static kl_event_count event;

/* Calls those whose time has come, or all. When the next is due. */
static uint64_t call_due(bool all) {
    uint64_t next_ns = KL_FOREVER;
    pthread_mutex_lock(&mutex);
    for (uint32_t i = 0; i < KL_MAINTENANCE_MAX; i++) {
        entry *one = &entries[i];
        if (one->number != 0 && (all || one->due_ns <= kl_clock_monotonic_ns())) {
            uint32_t number = running = one->number;
            kl_maintenance_fn function = one->function;
            void *argument = one->argument;
            pthread_mutex_unlock(&mutex);
            uint64_t again_ns = kl_clock_deadline_ns(function(argument));
            pthread_mutex_lock(&mutex);
            running = 0;
            pthread_cond_broadcast(&call_ended);
            if (one->number == number) one->due_ns = again_ns; /* else it was removed meanwhile */
        }
        if (one->number != 0 && one->due_ns < next_ns) next_ns = one->due_ns;
    }
    pthread_mutex_unlock(&mutex);
    return next_ns;
}

static void maintain(void *argument, const _Atomic uint32_t *stop) {
    (void)argument;
    uint32_t seen = 0;
    uint64_t all_at_ns = 0;
    /* relaxed: nothing hangs on it; kl_service_wait looks at it with care. */
    while (atomic_load_explicit(stop, memory_order_relaxed) == 0) {
        uint32_t key = kl_event_count_prepare(&event);
        uint64_t now_ns = kl_clock_monotonic_ns();
        bool all = key != seen || now_ns >= all_at_ns; /* it wakes after a slice in any case */
        uint64_t next_ns = call_due(all);
        seen = key;
        if (all) all_at_ns = now_ns + KL_EVENT_SLICE_NS;
        now_ns = kl_clock_monotonic_ns();
        if (next_ns > now_ns)
            kl_service_wait(&event, key, next_ns == KL_FOREVER ? KL_FOREVER : next_ns - now_ns);
    }
}

static int32_t put(uint32_t *out, kl_maintenance_fn function, void *argument) {
    for (uint32_t i = 0; i < KL_MAINTENANCE_MAX; i++) {
        if (entries[i].number != 0) continue;
        if (!service) {
            int32_t status = kl_service_start(&service, "keelson-upkeep", maintain, NULL);
            if (status != KL_OK) return status;
        }
        if (++last_number == 0) last_number = 1;
        entries[i] = (entry){last_number, function, argument, 0};
        *out = last_number;
        return KL_OK;
    }
    return kl_fail(KL_ERR_LIMIT, "%u functions are called by the maintenance thread already",
                   KL_MAINTENANCE_MAX);
}

int32_t kl_maintenance_add(uint32_t *out, kl_maintenance_fn function, void *argument) {
    *out = 0;
    pthread_mutex_lock(&mutex);
    int32_t status = put(out, function, argument);
    pthread_mutex_unlock(&mutex);
    if (status == KL_OK) kl_event_count_notify_all(&event);
    return status;
}

int32_t kl_maintenance_remove(uint32_t number) {
    int32_t status = KL_ERR_NOT_FOUND;
    pthread_mutex_lock(&mutex);
    for (uint32_t i = 0; number != 0 && i < KL_MAINTENANCE_MAX; i++) {
        if (entries[i].number != number) continue;
        entries[i].number = 0;
        status = KL_OK;
    }
    KL_ASSERT(kl_service_self() == NULL || kl_service_self() != service);
    while (status == KL_OK && running == number) pthread_cond_wait(&call_ended, &mutex);
    pthread_mutex_unlock(&mutex);
    if (status != KL_OK) return kl_fail(status, "there is no function %u to remove", number);
    return KL_OK;
}

kl_event_count *kl_maintenance_event(void) {
    return &event;
}

static uint64_t advance(void *argument) {
    kl_epoch *epoch = argument;
    kl_epoch_statistics now;
    if (kl_epoch_advance(epoch, KL_MAINTENANCE_CALLBACKS) < 0) return KL_FOREVER; /* for good */
    kl_epoch_stats(epoch, &now);
    return now.pending > 0 ? KL_MAINTENANCE_EPOCH_NS : KL_FOREVER;
}

int32_t kl_maintenance_add_epoch(uint32_t *out, kl_epoch *epoch) {
    return kl_maintenance_add(out, advance, epoch);
}
