#include "exec/completion.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/handle.h"
#include "exec/service.h"
#include "sync/shared_object.h"
#include "sync/thread_end.h"

#define FIRED_MAX 64u /* posted by a watcher in one go; more are found at its next look */

static_assert(KL_WATCHERS_MAX < KL_SERVICE_THREADS_MAX, "watchers leave threads for others");
static_assert(KL_ARMS_MAX < KL_COMPLETION_ENTRIES_MAX, "an arm's post always finds room");

/* ---- the ring and its doorbell ---- */

typedef struct {
    uint32_t handle;
    int isolate_fd, bell_fd;
    ino_t isolate_inode; /* of isolate_fd: tells whether the number is still that socket */
    bool isolate_fd_taken;
    pthread_mutex_t mutex; /* guards what follows */
    uint32_t first, count; /* entries first .. first + count - 1, modulo the size */
    kl_completion_entry *entries;
} completion;

static pthread_once_t setup_once = PTHREAD_ONCE_INIT;

static void drop_arms(uint32_t completion);
static void serve(kl_event_count *event);

static void setup(void) {
    kl_event_count_on_retire(kl_completion_forget);
    kl_event_count_on_wake(serve);
}

/* Deno leaves a socket that net.Socket adopted open when its Worker ends. At the end of the thread
 * all that could close it is gone; if the number is still our socket, it is ours to close. */
static bool is_left_behind(const completion *it) {
    struct stat now;
    return kl_thread_end_runs() && fstat(it->isolate_fd, &now) == 0 && S_ISSOCK(now.st_mode) &&
           now.st_ino == it->isolate_inode;
}

static void destroy(void *object) {
    completion *it = object;
    if (it->handle != 0) drop_arms(it->handle);
    if (!it->isolate_fd_taken || is_left_behind(it)) close(it->isolate_fd);
    close(it->bell_fd);
    pthread_mutex_destroy(&it->mutex);
    free(it->entries);
    free(it);
}

static completion *create(void) {
    int ends[2];
    completion *it = calloc(1, sizeof *it);
    /* Half a MiB that is not touched before it is used; it never has to grow. */
    kl_completion_entry *entries = calloc(KL_COMPLETION_ENTRIES_MAX, sizeof *entries);
    if (!it || !entries) {
        kl_fail(KL_ERR_MEMORY, "no memory for a completion ring");
    } else if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
        kl_fail_errno(KL_ERR_LIMIT, errno, "no socketpair for a completion");
    } else {
        struct stat made;
        it->isolate_fd = ends[0];
        it->isolate_inode = fstat(ends[0], &made) == 0 ? made.st_ino : 0;
        it->bell_fd = ends[1];
        it->entries = entries;
        pthread_mutex_init(&it->mutex, NULL);
        return it;
    }
    free(it);
    free(entries);
    return NULL;
}

uint32_t kl_completion_open(void) {
    pthread_once(&setup_once, setup);
    completion *it = create();
    if (!it) return 0;
    uint32_t handle = kl_handle_open(KL_HANDLE_COMPLETION, it, destroy);
    if (handle == 0) {
        kl_fail(KL_ERR_LIMIT, "all %u handles are open", KL_HANDLE_COUNT_MAX);
        destroy(it);
        return 0;
    }
    it->handle = handle;
    if (kl_thread_end_close(handle, KL_HANDLE_COMPLETION) != KL_OK) {
        kl_handle_close(handle, KL_HANDLE_COMPLETION);
        return 0;
    }
    return handle;
}

int32_t kl_completion_close(uint32_t completion) {
    kl_thread_end_forget(completion);
    int32_t status = kl_handle_close(completion, KL_HANDLE_COMPLETION);
    if (status == KL_OK) drop_arms(completion); /* now, not when a watcher that posts has left */
    return status;
}

static completion *enter(uint32_t handle) {
    completion *it = kl_handle_enter(handle, KL_HANDLE_COMPLETION);
    if (!it) kl_fail(KL_ERR_HANDLE, "the completion is closed, or its isolate has ended");
    return it;
}

int32_t kl_completion_fd(uint32_t handle) {
    completion *it = enter(handle);
    if (!it) return KL_ERR_HANDLE;
    it->isolate_fd_taken = true;
    int32_t fd = it->isolate_fd;
    kl_handle_leave(handle);
    return fd;
}

int32_t kl_completion_drain(uint32_t handle, uint8_t *out, uint32_t capacity_bytes) {
    completion *it = enter(handle);
    if (!it) return KL_ERR_HANDLE;
    uint32_t wanted = out ? capacity_bytes / (uint32_t)sizeof(kl_completion_entry) : 0;
    pthread_mutex_lock(&it->mutex);
    if (wanted > it->count) wanted = it->count;
    for (uint32_t i = 0; i < wanted; i++)
        memcpy(out + i * sizeof(kl_completion_entry),
               &it->entries[(it->first + i) % KL_COMPLETION_ENTRIES_MAX],
               sizeof(kl_completion_entry));
    it->first = (it->first + wanted) % KL_COMPLETION_ENTRIES_MAX;
    it->count -= wanted;
    pthread_mutex_unlock(&it->mutex);
    kl_handle_leave(handle);
    return (int32_t)wanted;
}

/* `most` entries may stand in the ring: less for strangers, so that arms always find room. */
static int32_t post(uint32_t handle, uint32_t token, int32_t status, uint32_t most) {
    completion *it = kl_handle_enter(handle, KL_HANDLE_COMPLETION);
    if (!it) return KL_ERR_HANDLE;
    pthread_mutex_lock(&it->mutex);
    bool fits = it->count < most, was_empty = it->count == 0;
    if (fits)
        it->entries[(it->first + it->count++) % KL_COMPLETION_ENTRIES_MAX] =
            (kl_completion_entry){token, status};
    pthread_mutex_unlock(&it->mutex);
    /* Outside of the mutex: the isolate may drain before the bell, and finds nothing after it. A
     * full socket (EAGAIN) holds a byte already; a closed one (EPIPE) has nobody to wake. */
    if (fits && was_empty) send(it->bell_fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    kl_handle_leave(handle);
    return fits ? KL_OK : KL_ERR_LIMIT;
}

int32_t kl_completion_post(uint32_t handle, uint32_t token, int32_t status) {
    int32_t posted = post(handle, token, status, KL_COMPLETION_ENTRIES_MAX - KL_ARMS_MAX);
    if (posted == KL_ERR_LIMIT)
        return kl_fail(posted, "%u completions wait for an isolate that does not fetch them",
                       KL_COMPLETION_ENTRIES_MAX - KL_ARMS_MAX);
    return posted == KL_OK ? KL_OK : kl_fail(posted, "the completion's isolate has ended");
}

/* ---- watchers ---- */

typedef struct {
    uint32_t completion, token, key;
    uint32_t next; /* index + 1 in arms, 0: the last */
    uint64_t deadline_ns;
} arm;

typedef enum { RUNNING, ON_EVENT, PARKED } watcher_state;

typedef struct {
    kl_event_count *event; /* NULL: bound to none */
    uint32_t first_arm;    /* index + 1 in arms */
    watcher_state state;
    uint64_t sleep_number;     /* of its sleeps on events, this or the last one */
    kl_event_count *sleeps_on; /* ON_EVENT: this, even when it was unbound meanwhile */
    bool served;               /* since it went to sleep, its arms were posted by a notifier */
    bool lingers;              /* sleeps on its event once more although nothing is armed */
    _Atomic uint32_t leave;    /* the stop flag of its sleep on the event */
    kl_event_count park;       /* where it sleeps otherwise */
    kl_service_thread *thread; /* NULL: not started */
} watcher;

/* What a watcher found out under the mutex and posts after it. */
typedef struct {
    kl_completion_entry entry;
    uint32_t completion;
} fired;

static pthread_mutex_t watch_mutex = PTHREAD_MUTEX_INITIALIZER; /* guards all of these */
static pthread_cond_t watcher_left = PTHREAD_COND_INITIALIZER;  /* some watcher left its event */
static watcher watchers[KL_WATCHERS_MAX];
static uint32_t watcher_count;   /* started ones; they are the first in the table */
static kl_service_thread *timer; /* NULL: nothing had a timeout yet */
static kl_event_count timer_park;
static uint64_t timer_wakes_ns; /* when it looks by itself */
static arm arms[KL_ARMS_MAX];
static uint32_t arm_high;  /* arms never used start here */
static uint32_t free_arms; /* index + 1 of the first freed one */

static uint32_t take_arm(void) {
    uint32_t index = free_arms;
    if (index != 0) {
        free_arms = arms[index - 1].next;
        return index;
    }
    return arm_high < KL_ARMS_MAX ? ++arm_high : 0;
}

/* Unlinks the arm that *link leads to. */
static arm unlink_arm(uint32_t *link) {
    uint32_t index = *link;
    arm found = arms[index - 1];
    *link = found.next;
    arms[index - 1].next = free_arms;
    free_arms = index;
    return found;
}

typedef enum { IF_MOVED, IF_LATE, ALL_CLOSED, ALL_LOOK } reason;

/* Unlinks up to FIRED_MAX arms: those whose event has left their key (it is `key` now), those whose
 * deadline is not after `now_ns`, or all: their event is gone, or they shall look again. */
static uint32_t collect(watcher *it, reason why, uint32_t key, uint64_t now_ns, fired *out) {
    static const int32_t statuses[] = {KL_OK, KL_ERR_TIMEOUT, KL_ERR_CLOSED, KL_OK};
    uint32_t count = 0;
    for (uint32_t *link = &it->first_arm; *link != 0 && count < FIRED_MAX;) {
        arm *one = &arms[*link - 1];
        if ((why == IF_MOVED && one->key == key) || (why == IF_LATE && one->deadline_ns > now_ns)) {
            link = &one->next;
            continue;
        }
        arm gone = unlink_arm(link);
        out[count++] = (fired){{gone.token, statuses[why]}, gone.completion};
    }
    return count;
}

/* Sleeps on the event, the mutex released meanwhile. At most a slice, as every wait on an event
 * count; so a watcher whose arms were all cancelled is free soon. Whether the event was notified. */
static bool sleep_on_event(watcher *it, kl_event_count *event, uint32_t key) {
    uint64_t timeout_ns = it->first_arm != 0 ? KL_FOREVER : KL_WATCHER_LINGER_NS;
    it->state = ON_EVENT;
    it->served = false;
    it->sleeps_on = event;
    it->sleep_number++;
    atomic_store_explicit(&it->leave, 0, memory_order_relaxed); /* the mutex orders it */
    pthread_mutex_unlock(&watch_mutex);
    int32_t status = kl_event_count_wait(event, key, timeout_ns, &it->leave);
    bool notified = status == KL_OK && kl_event_count_prepare(event) != key;
    pthread_mutex_lock(&watch_mutex);
    it->state = RUNNING;
    if (it->first_arm == 0) it->lingers = it->served; /* else: nobody came back in time */
    pthread_cond_broadcast(&watcher_left);
    return notified || status != KL_OK;
}

static void post_all(const fired *list, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        post(list[i].completion, list[i].entry.token, list[i].entry.status,
             KL_COMPLETION_ENTRIES_MAX);
}

/* Posts, the mutex released meanwhile. */
static void post_unlocked(const fired *list, uint32_t count) {
    pthread_mutex_unlock(&watch_mutex);
    post_all(list, count);
    pthread_mutex_lock(&watch_mutex);
}

static void park(watcher *it) {
    uint32_t key = kl_event_count_prepare(&it->park);
    it->state = PARKED;
    pthread_mutex_unlock(&watch_mutex);
    kl_service_wait(&it->park, key, KL_FOREVER);
    pthread_mutex_lock(&watch_mutex);
    it->state = RUNNING;
}

static void watch(void *argument, const _Atomic uint32_t *stop) {
    watcher *it = argument;
    fired due[FIRED_MAX];
    reason why = IF_MOVED;
    const kl_event_count *last = NULL;
    pthread_mutex_lock(&watch_mutex);
    while (atomic_load_explicit(stop, memory_order_relaxed) == 0) {
        kl_event_count *event = it->event;
        if (event != last) why = IF_MOVED; /* that was about another one */
        last = event;
        if (!event || (it->first_arm == 0 && !it->lingers)) {
            why = IF_MOVED;
            park(it);
            continue;
        }
        uint32_t key = kl_event_count_prepare(event);
        uint32_t count = collect(it, why, key, 0, due);
        if (count > 0) {
            if (count < FIRED_MAX) why = IF_MOVED; /* who arms anew has looked */
            it->lingers = true;
            post_unlocked(due, count);
        } else {
            /* A slice without a notify: all are told to look, as from kl_event_count_wait. */
            why = sleep_on_event(it, event, key) ? IF_MOVED : ALL_LOOK;
        }
    }
    pthread_mutex_unlock(&watch_mutex);
}

/* One thread for all timeouts: a watcher that looked after them would have to be woken for an
 * earlier one, and only a false notify of the event can do that. */
static void keep_time(void *argument, const _Atomic uint32_t *stop) {
    (void)argument;
    fired due[FIRED_MAX];
    pthread_mutex_lock(&watch_mutex);
    while (atomic_load_explicit(stop, memory_order_relaxed) == 0) {
        uint64_t now_ns = kl_clock_monotonic_ns();
        uint32_t count = 0;
        timer_wakes_ns = KL_FOREVER;
        for (uint32_t i = 0; i < watcher_count && count == 0; i++) {
            count = collect(&watchers[i], IF_LATE, 0, now_ns, due);
            for (uint32_t at = watchers[i].first_arm; at != 0; at = arms[at - 1].next)
                if (arms[at - 1].deadline_ns < timer_wakes_ns)
                    timer_wakes_ns = arms[at - 1].deadline_ns;
        }
        if (count > 0) {
            timer_wakes_ns = 0; /* on its way: no need to wake it */
            post_unlocked(due, count);
            continue;
        }
        uint32_t key = kl_event_count_prepare(&timer_park);
        uint64_t timeout_ns = timer_wakes_ns == KL_FOREVER ? KL_FOREVER : timer_wakes_ns - now_ns;
        pthread_mutex_unlock(&watch_mutex);
        kl_service_wait(&timer_park, key, timeout_ns);
        pthread_mutex_lock(&watch_mutex);
    }
    pthread_mutex_unlock(&watch_mutex);
}

/* Makes sure that somebody wakes at `deadline_ns`. */
static int32_t set_timer(uint64_t deadline_ns) {
    if (deadline_ns == KL_FOREVER) return KL_OK;
    if (!timer) return kl_service_start(&timer, "keelson-timer", keep_time, NULL);
    if (deadline_ns < timer_wakes_ns) {
        timer_wakes_ns = deadline_ns;
        kl_event_count_notify_all(&timer_park);
    }
    return KL_OK;
}

static watcher *bound_to(kl_event_count *event) {
    for (uint32_t i = 0; i < watcher_count; i++)
        if (watchers[i].event == event) return &watchers[i];
    return NULL;
}

/* On the thread of a notifier that is about to wake the sleepers of `event`: posts for the watcher,
 * which saves the isolate the time until that one runs. What is left over, and everything while
 * somebody has the mutex (this thread, perhaps), is for the watcher, which is woken next. */
static void serve(kl_event_count *event) {
    fired due[FIRED_MAX];
    uint32_t count = 0;
    if (pthread_mutex_trylock(&watch_mutex) != 0) return;
    watcher *it = bound_to(event);
    if (it && it->first_arm != 0)
        count = collect(it, IF_MOVED, kl_event_count_prepare(event), 0, due);
    if (count > 0) it->served = true;
    pthread_mutex_unlock(&watch_mutex);
    post_all(due, count);
}

/* Unbinds `it` from its event; if it sleeps on it, it is about to wake. */
static void unbind(watcher *it) {
    if (it->state == ON_EVENT) {
        /* seq_cst: partner is the look at stop in kl_event_count_wait. */
        atomic_store_explicit(&it->leave, 1, memory_order_seq_cst);
        kl_event_count_notify_all(it->event);
    }
    it->event = NULL;
    it->lingers = false;
}

/* One more thread. NULL: there cannot be more. */
static watcher *start_watcher(void) {
    watcher *it = &watchers[watcher_count];
    if (watcher_count == KL_WATCHERS_MAX) {
        kl_fail(KL_ERR_LIMIT, "%u events are awaited at once in this process", KL_WATCHERS_MAX);
        return NULL;
    }
    if (kl_service_start(&it->thread, "keelson-watch", watch, it) != KL_OK) return NULL;
    watcher_count++; /* it waits for the mutex, in state RUNNING */
    return it;
}

/* Makes one free that sleeps on an event nobody awaits any more: it lingers, or its arms were
 * cancelled. False: there is none. The mutex is released meanwhile: look anew. */
static bool evict_one(void) {
    for (uint32_t i = 0; i < watcher_count; i++) {
        watcher *it = &watchers[i];
        if (it->state != ON_EVENT || it->first_arm != 0) continue;
        if (it->event) unbind(it); /* else somebody else did, it is on its way */
        pthread_cond_wait(&watcher_left, &watch_mutex);
        return true;
    }
    return false;
}

/* The watcher of `event`: the one bound to it, else one without arms that is parked (rather one
 * that nobody had) or between two sleeps, else a new one, else one that has to be evicted. NULL:
 * others await as many events as there can be watchers. */
static watcher *watcher_for(kl_event_count *event) {
    for (;;) {
        watcher *it = bound_to(event), *parked = NULL, *running = NULL;
        if (it) return it;
        for (uint32_t i = 0; i < watcher_count; i++) {
            it = &watchers[i];
            if (it->first_arm != 0) continue;
            if (it->state == PARKED && (!parked || !it->event)) parked = it;
            if (it->state == RUNNING) running = it;
        }
        it = parked ? parked : start_watcher();
        if (!it) it = running; /* touches no event until it has the mutex: then the new one */
        if (it) {
            it->event = event;
            it->lingers = false;
            return it;
        }
        if (!evict_one()) return NULL;
    }
}

static int32_t add_arm(uint32_t completion, uint32_t token, kl_event_count *event, uint32_t key,
                       uint64_t deadline_ns) {
    watcher *it = watcher_for(event);
    if (!it) return KL_ERR_LIMIT;
    uint32_t index = take_arm();
    if (index == 0) return kl_fail(KL_ERR_LIMIT, "%u waits at once in this process", KL_ARMS_MAX);
    arms[index - 1] = (arm){completion, token, key, it->first_arm, deadline_ns};
    it->first_arm = index;
    int32_t status = set_timer(deadline_ns);
    if (status != KL_OK) {
        unlink_arm(&it->first_arm);
        return status;
    }
    /* ON_EVENT it sleeps with this key, or with an older one and is about to wake. */
    if (it->state == PARKED) kl_event_count_notify_all(&it->park);
    return 0;
}

int32_t kl_completion_arm(uint32_t handle, uint32_t token, kl_event_count *event, uint32_t key,
                          uint64_t timeout_ns) {
    completion *it = enter(handle);
    if (!it) return KL_ERR_HANDLE;
    int32_t status = 1;
    uint64_t deadline_ns = kl_clock_deadline_ns(timeout_ns);
    /* The arms of this completion, all of them, must find room beside what it has not fetched. */
    pthread_mutex_lock(&it->mutex);
    bool fits = it->count < KL_COMPLETION_ENTRIES_MAX - KL_ARMS_MAX;
    pthread_mutex_unlock(&it->mutex);
    if (!fits) {
        status = kl_fail(KL_ERR_LIMIT, "too many completions this isolate has not fetched");
    } else if (kl_event_count_prepare(event) == key) {
        pthread_mutex_lock(&watch_mutex);
        status = add_arm(handle, token, event, key, deadline_ns);
        pthread_mutex_unlock(&watch_mutex);
    }
    kl_handle_leave(handle);
    return status;
}

int32_t kl_completion_cancel(uint32_t handle, uint32_t token) {
    int32_t status = KL_ERR_NOT_FOUND;
    pthread_mutex_lock(&watch_mutex);
    for (uint32_t i = 0; i < watcher_count && status != KL_OK; i++)
        for (uint32_t *link = &watchers[i].first_arm; *link != 0; link = &arms[*link - 1].next) {
            if (arms[*link - 1].completion != handle || arms[*link - 1].token != token) continue;
            unlink_arm(link);
            status = KL_OK;
            break;
        }
    pthread_mutex_unlock(&watch_mutex);
    return status;
}

/* All arms of a completion that is gone. */
static void drop_arms(uint32_t handle) {
    pthread_mutex_lock(&watch_mutex);
    for (uint32_t i = 0; i < watcher_count; i++)
        for (uint32_t *link = &watchers[i].first_arm; *link != 0;) {
            if (arms[*link - 1].completion == handle)
                unlink_arm(link);
            else
                link = &arms[*link - 1].next;
        }
    pthread_mutex_unlock(&watch_mutex);
}

/* Until `it` has left `event`, on which it slept or not. Its later sleeps are others'. */
static void await_leave(const watcher *it, const kl_event_count *event) {
    uint64_t sleep_number = it->sleep_number;
    while (it->state == ON_EVENT && it->sleeps_on == event && it->sleep_number == sleep_number)
        pthread_cond_wait(&watcher_left, &watch_mutex);
}

void kl_completion_forget(kl_event_count *event) {
    fired due[FIRED_MAX];
    pthread_mutex_lock(&watch_mutex);
    for (watcher *it; (it = bound_to(event)) != NULL;) { /* anew each time: posting unlocks */
        uint32_t count = collect(it, ALL_CLOSED, 0, 0, due);
        if (count == 0) {
            unbind(it);
            break;
        }
        post_unlocked(due, count);
    }
    /* Not only that one: another may have been evicted from it, and not have left yet. */
    for (uint32_t i = 0; i < watcher_count; i++) await_leave(&watchers[i], event);
    pthread_mutex_unlock(&watch_mutex);
}

uint32_t kl_completion_watchers(void) {
    pthread_mutex_lock(&watch_mutex);
    uint32_t count = watcher_count;
    pthread_mutex_unlock(&watch_mutex);
    return count;
}

/* ---- waiting for a unit of the rows below, which may not know this one ---- */

/* Arms, and leaves the handle that prepare left entered. */
static int32_t arm_prepared(uint32_t completion, uint32_t token, uint32_t handle,
                            kl_event_count *event, uint32_t key, double timeout_ms) {
    uint64_t timeout_ns = timeout_ms >= 0 && timeout_ms < 9e12
                              ? (uint64_t)(timeout_ms * (double)KL_NS_PER_MS)
                              : KL_FOREVER;
    int32_t status = kl_completion_arm(completion, token, event, key, timeout_ns);
    kl_handle_leave(handle);
    return status;
}

int32_t kl_completion_arm_shared(uint32_t completion, uint32_t token, uint32_t handle,
                                 uint32_t kind, uint32_t what, uint32_t argument,
                                 double timeout_ms) {
    kl_event_count *event = NULL;
    uint32_t key = 0;
    int32_t status = kl_shared_object_prepare(handle, kind, what, argument, &event, &key);
    return status == 0 ? arm_prepared(completion, token, handle, event, key, timeout_ms) : status;
}
