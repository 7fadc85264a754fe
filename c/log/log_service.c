#include "log/log_service.h"

#include "base/clock.h"
#include "exec/service.h"
#include "log/log_flush.h"

enum { COMMITTERS = 2, PREPARER = 2, THREADS = 3 };

#define COMMITTER_WISHES (KL_LOG_WISH_COMMIT | KL_LOG_WISH_FLUSH)
#define PREPARER_WISHES \
    (KL_LOG_WISH_PREPARE | KL_LOG_WISH_MANIFEST | KL_LOG_WISH_TRUNCATE | KL_LOG_WISH_RETAIN)

typedef struct {
    kl_service_thread *thread;
    _Atomic uint32_t started;
    _Atomic uint32_t idle;
} kl_log_worker;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t quiet; /* a log's busy went down */
    kl_log *logs;
    kl_log_worker workers[THREADS];
} service = {.lock = PTHREAD_MUTEX_INITIALIZER, .quiet = PTHREAD_COND_INITIALIZER};

/* Takes one wish of `mask` that nobody works on. Caller holds the lock. */
static kl_log *take_wish(uint32_t mask, uint32_t *wish) {
    for (kl_log *log = service.logs; log != NULL; log = log->service.next) {
        /* seq_cst: after the idle flag, see run(); partner is the or in kl_log_service_wish(). */
        uint32_t open = atomic_load_explicit(&log->service.wishes, memory_order_seq_cst) & mask &
                        ~log->service.busy;
        if (open == 0) continue;
        *wish = open & (~open + 1); /* the lowest: commits before flushes */
        atomic_fetch_and_explicit(&log->service.wishes, ~*wish, memory_order_acq_rel);
        log->service.busy |= *wish;
        return log;
    }
    return NULL;
}

static void fulfil(kl_log *log, uint32_t wish) {
    /* Failures stay in the log as its poison, and are reported to whoever needs what failed. */
    if (wish == KL_LOG_WISH_COMMIT) kl_log_commit_requested(log);
    if (wish == KL_LOG_WISH_FLUSH) (void)kl_log_flush_safe(log, true);
    if (wish == KL_LOG_WISH_PREPARE) kl_log_prepare_ahead(log);
    if (wish == KL_LOG_WISH_MANIFEST) kl_log_tell_manifest(log);
    if (wish == KL_LOG_WISH_TRUNCATE) kl_log_truncate_requested(log);
    if (wish == KL_LOG_WISH_RETAIN) kl_log_retain(log);
}

static void done(kl_log *log, uint32_t wish) {
    pthread_mutex_lock(&service.lock);
    log->service.busy &= ~wish;
    pthread_cond_broadcast(&service.quiet);
    pthread_mutex_unlock(&service.lock);
}

/* Serves one wish; false: there is none. */
static bool serve(kl_log_worker *worker, uint32_t mask) {
    uint32_t wish = 0;
    pthread_mutex_lock(&service.lock);
    kl_log *log = take_wish(mask, &wish);
    pthread_mutex_unlock(&service.lock);
    if (log == NULL) return false;
    /* relaxed: late news only wake a thread that looks again by itself. */
    atomic_store_explicit(&worker->idle, 0, memory_order_relaxed);
    fulfil(log, wish);
    done(log, wish);
    return true;
}

/* A wish bit of its own kind in `busy`, so that remove waits for it. */
#define BUSY_RECORD 0x80000000u

/* Writes the commit records that are due; answers how long until the next one is. */
static uint64_t write_due_records(void) {
    uint64_t now = kl_clock_monotonic_ns(), wait = KL_LOG_FOREVER;
    pthread_mutex_lock(&service.lock);
    for (kl_log *log = service.logs; log != NULL;) {
        uint64_t due = atomic_load_explicit(&log->service.record_due_ns, memory_order_relaxed);
        if (due == 0 || (log->service.busy & BUSY_RECORD) != 0) {
            log = log->service.next;
            continue;
        }
        if (due > now) {
            if (due - now < wait) wait = due - now;
            log = log->service.next;
            continue;
        }
        /* Only if no commit came meanwhile. relaxed: a timer; the record reads all it needs anew. */
        if (!atomic_compare_exchange_strong_explicit(&log->service.record_due_ns, &due, 0,
                                                     memory_order_relaxed, memory_order_relaxed))
            continue;
        log->service.busy |= BUSY_RECORD;
        pthread_mutex_unlock(&service.lock);
        kl_log_write_commit_record(log);
        pthread_mutex_lock(&service.lock);
        log->service.busy &= ~BUSY_RECORD;
        pthread_cond_broadcast(&service.quiet);
        log = service.logs; /* the list may have changed */
    }
    pthread_mutex_unlock(&service.lock);
    return wait;
}

static void run(void *argument, const _Atomic uint32_t *stop) {
    uint32_t self = (uint32_t)(uintptr_t)argument;
    kl_log_worker *worker = &service.workers[self];
    uint32_t mask = self == PREPARER ? PREPARER_WISHES : COMMITTER_WISHES;
    kl_event_count *event = kl_service_event(kl_service_self());
    while (atomic_load_explicit(stop, memory_order_acquire) == 0) {
        uint32_t key = kl_event_count_prepare(event);
        /* seq_cst: partner is the exchange in wake(): either it sees us idle, or we see its wish. */
        atomic_store_explicit(&worker->idle, 1, memory_order_seq_cst);
        if (serve(worker, mask)) continue;
        uint64_t wait = self == 0 ? write_due_records() : KL_LOG_FOREVER;
        (void)kl_service_wait(event, key, wait);
    }
}

static bool start(uint32_t index) {
    static const char *const names[THREADS] = {"kl-commit-0", "kl-commit-1", "kl-prepare"};
    kl_log_worker *worker = &service.workers[index];
    /* acquire: partner is the release below; `thread` is there. */
    if (atomic_load_explicit(&worker->started, memory_order_acquire) != 0) return true;
    pthread_mutex_lock(&service.lock);
    bool started = worker->thread != NULL || kl_service_start(&worker->thread, names[index], run,
                                                              (void *)(uintptr_t)index) == KL_OK;
    if (started) atomic_store_explicit(&worker->started, 1, memory_order_release);
    pthread_mutex_unlock(&service.lock);
    return started;
}

enum wake_answer { NO_THREAD, AT_WORK, WOKEN };

static enum wake_answer wake(uint32_t index) {
    kl_log_worker *worker = &service.workers[index];
    if (!start(index)) return NO_THREAD;
    /* seq_cst: partner is the store in run(). */
    if (atomic_exchange_explicit(&worker->idle, 0, memory_order_seq_cst) == 0) return AT_WORK;
    kl_event_count_notify_all(kl_service_event(worker->thread));
    return WOKEN;
}

bool kl_log_service_wish(kl_log *log, uint32_t wish) {
    /* seq_cst: before the look at the idle flags, see run(). */
    uint32_t before = atomic_fetch_or_explicit(&log->service.wishes, wish, memory_order_seq_cst);
    /* Somebody was woken for it and has not taken it yet; but is there anybody? */
    if ((before & wish) == wish) {
        uint32_t any = (wish & PREPARER_WISHES) != 0 ? PREPARER : 0;
        return atomic_load_explicit(&service.workers[any].started, memory_order_relaxed) != 0;
    }
    if ((wish & PREPARER_WISHES) != 0) return wake(PREPARER) != NO_THREAD;
    bool passed_on = false;
    for (uint32_t i = 0; i < COMMITTERS; i++) {
        enum wake_answer answer = wake(i);
        if (answer == WOKEN) return true;
        passed_on |= answer == AT_WORK;
    }
    return passed_on;
}

void kl_log_service_committed(kl_log *log) {
    uint64_t due = kl_clock_monotonic_ns() + KL_LOG_RECORD_DELAY_NS;
    /* relaxed: a timer. Only its first setting wakes the thread, which then sleeps until due. */
    if (atomic_exchange_explicit(&log->service.record_due_ns, due, memory_order_relaxed) == 0)
        (void)wake(0);
}

void kl_log_service_add(kl_log *log) {
    pthread_mutex_lock(&service.lock);
    log->service.next = service.logs;
    service.logs = log;
    pthread_mutex_unlock(&service.lock);
}

void kl_log_service_remove(kl_log *log) {
    pthread_mutex_lock(&service.lock);
    for (kl_log **link = &service.logs; *link != NULL; link = &(*link)->service.next) {
        if (*link != log) continue;
        *link = log->service.next;
        break;
    }
    while (log->service.busy != 0) pthread_cond_wait(&service.quiet, &service.lock);
    pthread_mutex_unlock(&service.lock);
}
