#include "sync/rcu.h"

#include "base/clock.h"

static_assert(offsetof(kl_rcu, domain) == 0, "a domain is its rcu");
static_assert(offsetof(kl_rcu_reader, record) == 0, "a record is its reader");

/* ---- readers ---- */

static int32_t begin_reader(kl_thread_domain *domain, kl_thread_record *record) {
    kl_rcu *rcu = (kl_rcu *)domain;
    kl_rcu_reader *reader = (kl_rcu_reader *)record;
    reader->grace = rcu->grace;
    reader->slot = kl_grace_claim(&rcu->grace);
    return reader->slot ? KL_OK : KL_ERR_LIMIT;
}

static void end_reader(kl_thread_domain *domain, kl_thread_record *record) {
    (void)domain;
    kl_grace_give_back(((kl_rcu_reader *)record)->slot);
}

kl_rcu_reader *kl_rcu_register(kl_rcu *rcu) {
    return (kl_rcu_reader *)kl_thread_record_here(&rcu->domain);
}

int32_t kl_rcu_unregister(kl_rcu *rcu) {
    kl_rcu_reader *reader = (kl_rcu_reader *)kl_thread_record_find(&rcu->domain, false);
    if (!reader) return KL_ERR_NOT_FOUND;
    kl_rcu_offline(reader);
    KL_ASSERT(!kl_grace_is_reading(reader->slot));
    return kl_thread_record_leave(&rcu->domain);
}

uint32_t kl_rcu_reader_count(const kl_rcu *rcu) {
    return kl_grace_readers(&rcu->grace);
}

/* ---- open and close ---- */

/* Takes over `grace`. */
static int32_t open_on(kl_rcu *rcu, kl_grace grace) {
    *rcu = (kl_rcu){.grace = grace};
    pthread_mutex_init(&rcu->turn_mutex, NULL);
    kl_retire_queue_open(&rcu->queue);
    kl_thread_domain_open(&rcu->domain, sizeof(kl_rcu_reader), begin_reader, end_reader);
    return KL_OK;
}

int32_t kl_rcu_open(kl_rcu *rcu, uint32_t slot_count, bool fences) {
    kl_grace grace;
    int32_t status = kl_grace_open(&grace, slot_count ? slot_count : KL_RCU_SLOTS_DEFAULT,
                                   fences ? KL_GRACE_FENCES : KL_GRACE_LIGHT);
    return status == KL_OK ? open_on(rcu, grace) : status;
}

int32_t kl_rcu_open_shared(kl_rcu *rcu, kl_region *region, void *memory, uint64_t bytes) {
    kl_grace grace;
    int32_t status = kl_grace_grip(&grace, memory, bytes, region, KL_GRACE_FENCES);
    return status == KL_OK ? open_on(rcu, grace) : status;
}

static kl_retire_batch take_calls(void *argument) {
    return kl_retire_take(&((kl_rcu *)argument)->calls);
}

void kl_rcu_close(kl_rcu *rcu) {
    kl_thread_domain_close(&rcu->domain);
    kl_retire_queue_close(&rcu->queue, take_calls, rcu);
    pthread_mutex_destroy(&rcu->turn_mutex);
    kl_grace_close(&rcu->grace);
}

/* ---- grace periods ---- */

int32_t kl_rcu_start(kl_rcu *rcu, uint64_t *period) {
    return kl_grace_begin(&rcu->grace, period);
}

int32_t kl_rcu_poll(kl_rcu *rcu, uint64_t period) {
    uint64_t oldest;
    uint32_t slot;
    int32_t status = kl_grace_oldest(&rcu->grace, period, &oldest, &slot);
    return status == KL_OK ? oldest >= period : status;
}

/* A whole grace period. KL_OK, KL_ERR_TIMEOUT, or KL_ERR_*. */
static int32_t take_turn(kl_rcu *rcu, uint64_t deadline_ns) {
    uint64_t period;
    int32_t status = kl_rcu_start(rcu, &period);
    for (uint32_t round = 0; status == KL_OK; round++) {
        status = kl_rcu_poll(rcu, period);
        if (status != 0) break;
        if (kl_clock_monotonic_ns() >= deadline_ns) return KL_ERR_TIMEOUT;
        kl_grace_pause(round);
    }
    return status > 0 ? KL_OK : status;
}

static uint64_t time_left_ns(uint64_t deadline_ns) {
    if (deadline_ns == KL_FOREVER) return KL_FOREVER;
    uint64_t now_ns = kl_clock_monotonic_ns();
    return now_ns < deadline_ns ? deadline_ns - now_ns : 0;
}

/* Waits for the first turn that begins after this call; takes it when nobody does. */
static int32_t wait_for_turn(kl_rcu *rcu, uint64_t deadline_ns) {
    int32_t status = KL_OK;
    pthread_mutex_lock(&rcu->turn_mutex);
    uint64_t wanted = rcu->begun_count + 1;
    while (status == KL_OK && rcu->ended_count < wanted) {
        bool leads = !rcu->is_running;
        uint64_t turn = 0;
        uint32_t key = 0;
        if (leads) {
            rcu->is_running = true;
            turn = ++rcu->begun_count;
        } else {
            key = kl_event_count_prepare(&rcu->turn_ended);
        }
        pthread_mutex_unlock(&rcu->turn_mutex);
        if (leads)
            status = take_turn(rcu, deadline_ns);
        else
            status = kl_event_count_wait(&rcu->turn_ended, key, time_left_ns(deadline_ns), NULL);
        pthread_mutex_lock(&rcu->turn_mutex);
        if (!leads) continue;
        rcu->is_running = false;
        if (status == KL_OK) rcu->ended_count = turn;
        kl_event_count_notify_all(&rcu->turn_ended);
    }
    if (rcu->ended_count >= wanted) status = KL_OK; /* in the very last moment */
    pthread_mutex_unlock(&rcu->turn_mutex);
    return status;
}

int32_t kl_rcu_synchronize(kl_rcu *rcu, uint64_t timeout_ns) {
    kl_rcu_reader *reader = (kl_rcu_reader *)kl_thread_record_find(&rcu->domain, false);
    bool was_online = reader && reader->is_online;
    if (reader && kl_rcu_is_reading(reader))
        return kl_fail(KL_ERR_ARGUMENT, "a thread inside of a section waits for all to leave");
    if (was_online) kl_rcu_offline(reader);
    int32_t status = wait_for_turn(rcu, kl_clock_deadline_ns(timeout_ns));
    if (was_online) kl_rcu_online(reader);
    return status;
}

/* ---- callbacks ---- */

void kl_rcu_call(kl_rcu *rcu, kl_retired *node, void (*callback)(kl_retired *node)) {
    /* relaxed, and before the push: partner is the load in barrier, which counts what was pushed. */
    atomic_fetch_add_explicit(&rcu->call_count, 1, memory_order_relaxed);
    kl_retire_push(&rcu->calls, node, callback);
}

int32_t kl_rcu_advance(kl_rcu *rcu, uint32_t callbacks_max) {
    return kl_retire_advance(&rcu->queue, &rcu->grace, take_calls, rcu, callbacks_max);
}

int32_t kl_rcu_barrier(kl_rcu *rcu, uint64_t timeout_ns) {
    kl_rcu_reader *reader = (kl_rcu_reader *)kl_thread_record_find(&rcu->domain, false);
    if (reader && kl_grace_is_reading(reader->slot))
        return kl_fail(KL_ERR_ARGUMENT, "a thread that reads waits for all to leave");
    uint64_t deadline_ns = kl_clock_deadline_ns(timeout_ns);
    /* relaxed: what the caller called, or learned of, it sees. All run in the order of the pushes,
     * and everything pushed is counted: after so many, those are among them. */
    uint64_t wanted = atomic_load_explicit(&rcu->call_count, memory_order_relaxed);
    for (uint32_t round = 0; kl_retire_run_count(&rcu->queue) < wanted; round++) {
        int32_t count = kl_rcu_advance(rcu, UINT32_MAX);
        if (count < 0) return count;
        if (count > 0) continue;
        if (kl_clock_monotonic_ns() >= deadline_ns) return KL_ERR_TIMEOUT;
        kl_grace_pause(round);
    }
    return KL_OK;
}
