#include "sync/epoch.h"

#include <stdlib.h>
#include <string.h>

static kl_epoch *epoch_of(kl_thread_domain *domain) {
    return (kl_epoch *)domain; /* its first member */
}

static_assert(offsetof(kl_epoch, domain) == 0, "a domain is its epoch");
static_assert(offsetof(kl_epoch_thread, record) == 0, "a record is its thread");

static pthread_mutex_t all_mutex = PTHREAD_MUTEX_INITIALIZER;
static kl_epoch *all;

/* ---- threads ---- */

static int32_t begin_thread(kl_thread_domain *domain, kl_thread_record *record) {
    kl_epoch_thread *thread = (kl_epoch_thread *)record;
    thread->slot = kl_grace_claim(&epoch_of(domain)->grace);
    return thread->slot ? KL_OK : KL_ERR_LIMIT;
}

static uint64_t retired_by(const kl_epoch_thread *thread) {
    /* relaxed: a figure for people. */
    return atomic_load_explicit(&thread->retired_count, memory_order_relaxed);
}

static void leave_behind(kl_epoch *epoch, kl_retire_batch batch, uint64_t count) {
    atomic_fetch_add_explicit(&epoch->left_behind_count, count, memory_order_relaxed);
    for (kl_retired *node = batch.first, *next; node; node = next) {
        next = node == batch.last ? NULL : node->next;
        kl_retire_push(&epoch->left_behind, node, node->callback);
    }
}

static void end_thread(kl_thread_domain *domain, kl_thread_record *record) {
    kl_epoch_thread *thread = (kl_epoch_thread *)record;
    leave_behind(epoch_of(domain), kl_retire_take(&thread->bag), retired_by(thread));
    kl_grace_give_back(thread->slot);
}

int32_t kl_epoch_refusal(void) {
    return kl_status_detail_code();
}

bool kl_epoch_is_inside(kl_epoch *epoch) {
    kl_epoch_thread *thread = (kl_epoch_thread *)kl_thread_record_find(&epoch->domain, false);
    return thread && kl_grace_is_reading(thread->slot);
}

/* ---- open and close ---- */

/* Takes over `grace`. */
static int32_t open_on(kl_epoch *epoch, kl_grace grace, const kl_epoch_options *options) {
    kl_epoch_watch *watch = calloc(grace.slot_count, sizeof(*watch));
    if (!watch) {
        kl_grace_close(&grace);
        return kl_fail(KL_ERR_MEMORY, "no memory to watch %u slots", grace.slot_count);
    }
    *epoch = (kl_epoch){.grace = grace, .watch = watch};
    if (options) epoch->options = *options;
    if (epoch->options.stall_ns == 0) epoch->options.stall_ns = KL_EPOCH_STALL_NS;
    kl_retire_queue_open(&epoch->queue);
    pthread_mutex_init(&epoch->watch_mutex, NULL);
    kl_thread_domain_open(&epoch->domain, sizeof(kl_epoch_thread), begin_thread, end_thread);
    pthread_mutex_lock(&all_mutex);
    epoch->next = all;
    epoch->link = &all;
    if (all) all->link = &epoch->next;
    all = epoch;
    pthread_mutex_unlock(&all_mutex);
    return KL_OK;
}

int32_t kl_epoch_open(kl_epoch *epoch, const kl_epoch_options *options) {
    kl_grace grace;
    uint32_t slot_count = options ? options->slot_count : 0;
    int32_t status = kl_grace_open(&grace, slot_count ? slot_count : KL_EPOCH_SLOTS_DEFAULT,
                                   options && options->fences ? KL_GRACE_FENCES : KL_GRACE_LATER);
    return status == KL_OK ? open_on(epoch, grace, options) : status;
}

int32_t kl_epoch_open_shared(kl_epoch *epoch, kl_region *region, void *memory, uint64_t bytes,
                             const kl_epoch_options *options) {
    kl_grace grace;
    int32_t status = kl_grace_grip(&grace, memory, bytes, region, KL_GRACE_FENCES);
    return status == KL_OK ? open_on(epoch, grace, options) : status;
}

/* ---- retire and advance ---- */

void kl_epoch_retire(kl_epoch *epoch, kl_retired *node, void (*callback)(kl_retired *node)) {
    kl_epoch_thread *thread = (kl_epoch_thread *)kl_thread_record_here(&epoch->domain);
    bool was_empty;
    if (thread) {
        was_empty = kl_retire_push(&thread->bag, node, callback);
        uint64_t count = retired_by(thread) + 1;
        atomic_store_explicit(&thread->retired_count, count, memory_order_relaxed);
    } else {
        was_empty = kl_retire_push(&epoch->left_behind, node, callback);
        atomic_fetch_add_explicit(&epoch->left_behind_count, 1, memory_order_relaxed);
    }
    if (was_empty && epoch->options.event) kl_event_count_notify_all(epoch->options.event);
}

static void take_from(void *batch, kl_thread_record *record) {
    kl_retire_join(batch, kl_retire_take(&((kl_epoch_thread *)record)->bag));
}

static kl_retire_batch take_all(void *argument) {
    kl_epoch *epoch = argument;
    /* Those left behind first: a thread's nodes stay in order, for its end comes after its retiring. */
    kl_retire_batch batch = kl_retire_take(&epoch->left_behind);
    kl_thread_domain_each(&epoch->domain, take_from, &batch);
    return batch;
}

/* ---- who holds the oldest epoch ---- */

/* Under the watch mutex. A hold begins when it is first seen to be behind: before that a slot that
 * shows the same period may have been left and entered again. */
static kl_epoch_watch *watch_slot(kl_epoch *epoch, uint32_t slot, uint64_t held, uint64_t behind) {
    kl_epoch_watch *watch = &epoch->watch[slot];
    if (watch->period != held || behind == 0)
        *watch = (kl_epoch_watch){.period = held, .since_ns = kl_clock_monotonic_ns()};
    return watch;
}

/* `is_news` NULL: only looks, and leaves it to be told. */
static int32_t look(kl_epoch *epoch, kl_epoch_holder *out, bool *is_news) {
    uint64_t held;
    uint32_t slot;
    int32_t status = kl_grace_oldest(&epoch->grace, UINT64_MAX, &held, &slot);
    if (status != KL_OK) return status;
    if (held == KL_GRACE_NOBODY) return KL_ERR_NOT_FOUND;
    kl_grace_slot *line = &epoch->grace.slots[slot];
    /* relaxed, all three: for people; who left meanwhile is described all the same. */
    uint64_t period = atomic_load_explicit(&epoch->grace.header->period, memory_order_relaxed);
    out->process = atomic_load_explicit(&line->owner, memory_order_relaxed);
    out->thread = atomic_load_explicit(&line->thread, memory_order_relaxed);
    out->period = held;
    out->behind = period - held;
    pthread_mutex_lock(&epoch->watch_mutex);
    kl_epoch_watch *watch = watch_slot(epoch, slot, held, out->behind);
    out->held_ns = kl_clock_monotonic_ns() - watch->since_ns;
    if (is_news) {
        *is_news = !watch->told && out->behind > 0 && out->held_ns >= epoch->options.stall_ns;
        watch->told |= *is_news;
    }
    pthread_mutex_unlock(&epoch->watch_mutex);
    return KL_OK;
}

int32_t kl_epoch_oldest(kl_epoch *epoch, kl_epoch_holder *out) {
    bool is_news = false;
    *out = (kl_epoch_holder){.period = 0};
    int32_t status = look(epoch, out, &is_news);
    if (is_news && epoch->options.on_stall) epoch->options.on_stall(epoch->options.argument, out);
    return status;
}

/* ---- advance, drain, close ---- */

int32_t kl_epoch_advance(kl_epoch *epoch, uint32_t callbacks_max) {
    int32_t count = kl_retire_advance(&epoch->queue, &epoch->grace, take_all, epoch, callbacks_max);
    kl_epoch_holder holder;
    if (count >= 0 && kl_retire_is_blocked(&epoch->queue)) kl_epoch_oldest(epoch, &holder);
    return count;
}

static void count_retired(void *sum, kl_thread_record *record) {
    *(uint64_t *)sum += retired_by((kl_epoch_thread *)record);
}

void kl_epoch_stats(kl_epoch *epoch, kl_epoch_statistics *out) {
    /* relaxed, the others: figures for people. The callbacks first: never more than were retired. */
    uint64_t run = kl_retire_run_count(&epoch->queue);
    uint64_t retired = 0;
    kl_thread_domain_each(&epoch->domain, count_retired, &retired);
    retired += atomic_load_explicit(&epoch->left_behind_count, memory_order_relaxed);
    uint64_t period = atomic_load_explicit(&epoch->grace.header->period, memory_order_relaxed);
    bool is_light = atomic_load_explicit(&epoch->grace.is_light, memory_order_relaxed) != 0;
    *out = (kl_epoch_statistics){.period = period,
                                 .retired = retired,
                                 .reclaimed = run,
                                 .pending = retired > run ? retired - run : 0,
                                 .threads = kl_grace_readers(&epoch->grace),
                                 .is_light = is_light};
}

static void add_to_report(kl_epoch *epoch, kl_epoch_report *report) {
    kl_epoch_statistics now;
    kl_epoch_holder holder = {.period = 0};
    kl_epoch_stats(epoch, &now);
    report->epochs++;
    report->threads += now.threads;
    report->retired += (double)now.retired;
    report->reclaimed += (double)now.reclaimed;
    report->pending += (double)now.pending;
    if (look(epoch, &holder, NULL) != KL_OK || holder.behind == 0) return;
    double held_ms = (double)holder.held_ns / (double)KL_NS_PER_MS;
    if (held_ms < report->held_ms) return;
    report->held_ms = held_ms;
    report->held_behind = (double)holder.behind;
    report->held_thread = holder.thread;
}

int32_t kl_epoch_report_all(uint8_t *out) {
    kl_epoch_report report = {.epochs = 0};
    pthread_mutex_lock(&all_mutex);
    for (kl_epoch *epoch = all; epoch; epoch = epoch->next) add_to_report(epoch, &report);
    pthread_mutex_unlock(&all_mutex);
    memcpy(out, &report, sizeof report);
    return KL_OK;
}

int32_t kl_epoch_drain(kl_epoch *epoch, uint64_t timeout_ns) {
    if (kl_epoch_is_inside(epoch))
        return kl_fail(KL_ERR_ARGUMENT, "a thread that is inside waits for all to leave");
    uint64_t deadline_ns = kl_clock_deadline_ns(timeout_ns);
    for (uint32_t round = 0;; round++) {
        int32_t count = kl_epoch_advance(epoch, UINT32_MAX);
        if (count < 0) return count;
        kl_epoch_statistics now;
        kl_epoch_stats(epoch, &now);
        if (now.pending == 0) return KL_OK;
        if (kl_clock_monotonic_ns() >= deadline_ns) return KL_ERR_TIMEOUT;
        kl_grace_pause(round);
    }
}

void kl_epoch_close(kl_epoch *epoch) {
    pthread_mutex_lock(&all_mutex);
    *epoch->link = epoch->next;
    if (epoch->next) epoch->next->link = epoch->link;
    pthread_mutex_unlock(&all_mutex);
    kl_thread_domain_close(&epoch->domain);
    kl_retire_queue_close(&epoch->queue, take_all, epoch);
    pthread_mutex_destroy(&epoch->watch_mutex);
    free(epoch->watch);
    kl_grace_close(&epoch->grace);
}
