#include "exec/executor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/random.h"
#include "exec/job_queue.h"
#include "exec/service.h"
#include "exec/tuner.h"
#include "lockfree/work_deque.h"

#define SWEEPS_MAX        4u  /* over all victims, when thieves lost to each other */
#define INJECTION_EVERY   61u /* so many jobs of one's own, and outside is asked first */
#define SPIN_PAUSES       8u  /* between two looks of one who searches */
#define SPIN_NS_MIN       500u
#define STEAL_AGAIN_SOON  (20 * KL_NS_PER_US) /* a larger batch would have been better */
#define CLOSE_PROGRESS_NS KL_SERVICE_STOP_NS
#define LANE_NAME_BYTES   16

struct kl_executor_lane {
    _Alignas(2 * KL_LINE_BYTES) kl_work_deque deque;
    kl_executor *executor;
    kl_service_thread *thread;
    void *deque_memory;
    uint32_t index, victim_count, since_injection, last_victim;
    int32_t cpu; /* -1: not pinned */
    uint32_t victims[KL_EXECUTOR_LANES_MAX];
    kl_random random;
    kl_tuner spin, steal;
    uint64_t search_start_ns, last_steal_ns;
    /* Written by the driver alone, read by anybody. */
    _Alignas(2 * KL_LINE_BYTES) _Atomic uint64_t executed;
    _Atomic uint64_t pushed, stolen, steals, parks, tuned;
};

struct kl_executor {
    kl_idle_set idle;
    kl_job_queue injection, background;
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t submitted; /* from outside, refused ones too */
    _Atomic uint64_t refused;
    _Alignas(KL_LINE_BYTES) _Atomic uint32_t closing;
    _Atomic uint32_t dropping, ended;
    _Atomic uint32_t drainers;
    kl_event_count quiet;  /* notified by lanes that fall asleep while somebody drains */
    kl_event_count graphs; /* notified when a run of a graph is over */
    uint32_t lane_count, searchers_max;
    kl_executor_options options;
    kl_executor_lane *lanes;
};

/* ---- counters ---- */

/* A counter that only the lane's driver writes. */
static inline void raise(_Atomic uint64_t *counter, uint64_t by) {
    /* relaxed: our own last store. */
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    /* release: partner is the acquire in read_counter; what was counted before is seen, too. */
    atomic_store_explicit(counter, value + by, memory_order_release);
}

static inline uint64_t read_counter(const _Atomic uint64_t *counter) {
    /* acquire: partner is the release in raise. */
    return atomic_load_explicit(counter, memory_order_acquire);
}

static bool is_set(const _Atomic uint32_t *flag) {
    /* seq_cst: partners are the stores in close and drain; see submit and sleep_in. */
    return atomic_load_explicit(flag, memory_order_seq_cst) != 0;
}

static void set(_Atomic uint32_t *flag, uint32_t value) {
    /* seq_cst: partner is is_set. */
    atomic_store_explicit(flag, value, memory_order_seq_cst);
}

/* Every job that was submitted or pushed has run. Finished first: a job is counted there after it,
 * and all it pushed, were counted as submitted; so equal sums were equal at one moment. */
static bool is_quiet(kl_executor *executor) {
    uint64_t finished = read_counter(&executor->refused), begun = 0;
    for (uint32_t i = 0; i < executor->lane_count; i++)
        finished += read_counter(&executor->lanes[i].executed);
    begun = read_counter(&executor->submitted);
    for (uint32_t i = 0; i < executor->lane_count; i++)
        begun += read_counter(&executor->lanes[i].pushed);
    return finished == begun;
}

/* ---- looking for work ---- */

static bool has_work(const kl_executor *executor) {
    if (kl_job_queue_count(&executor->injection) > 0) return true;
    for (uint32_t i = 0; i < executor->lane_count; i++)
        if (kl_work_deque_count(&executor->lanes[i].deque) > 0) return true;
    return kl_job_queue_count(&executor->background) > 0;
}

static kl_job *to_job(uint64_t task) {
    return (kl_job *)(uintptr_t)task;
}

static void publish_tuned(kl_executor_lane *lane) {
    /* relaxed: a figure to show. */
    atomic_store_explicit(&lane->tuned, (uint64_t)lane->spin.value << 32 | lane->steal.value,
                          memory_order_relaxed);
}

/* The first of the batch; the others go to the lane's own deque, where they may be stolen again. */
static kl_job *steal_from(kl_executor_lane *lane, kl_executor_lane *victim, bool *lost) {
    uint64_t tasks[KL_WORK_DEQUE_BATCH_MAX];
    int32_t count = kl_work_deque_steal_mc(&victim->deque, tasks, lane->steal.value);
    if (count == KL_WORK_DEQUE_LOST) *lost = true;
    if (count <= 0) return NULL;
    for (int32_t i = 1; i < count; i++) {
        int32_t status = kl_work_deque_push_so(&lane->deque, tasks[i]);
        KL_ASSERT(status == KL_OK); /* it was empty, and holds more than a batch */
        (void)status;
    }
    if (count > 1) kl_idle_set_published(&lane->executor->idle, (uint32_t)count - 1);
    raise(&lane->stolen, (uint64_t)count);
    raise(&lane->steals, 1);
    uint64_t now_ns = kl_clock_monotonic_ns();
    if (lane->steal.low != lane->steal.high) {
        kl_tuner_note(&lane->steal, now_ns - lane->last_steal_ns < STEAL_AGAIN_SOON);
        publish_tuned(lane);
    }
    lane->last_steal_ns = now_ns;
    return to_job(tasks[0]);
}

/* Where the next sweep over lane->victims begins. */
static uint32_t first_victim(kl_executor_lane *lane) {
    switch (lane->executor->options.victims) {
    case KL_VICTIMS_RANDOM: return (uint32_t)kl_random_below(&lane->random, lane->victim_count);
    case KL_VICTIMS_ROUND_ROBIN: return lane->last_victim;
    default: return 0;
    }
}

static kl_job *steal(kl_executor_lane *lane) {
    if (lane->victim_count == 0) return NULL;
    bool lost = true;
    for (uint32_t sweep = 0; sweep < SWEEPS_MAX && lost; sweep++) {
        lost = false;
        uint32_t at = first_victim(lane);
        for (uint32_t asked = 0; asked < lane->victim_count; asked++) {
            kl_job *job = steal_from(lane, &lane->executor->lanes[lane->victims[at]], &lost);
            if (job) {
                lane->last_victim = at;
                return job;
            }
            at = at + 1 == lane->victim_count ? 0 : at + 1;
        }
        lane->last_victim = at;
    }
    return NULL;
}

static kl_job *look(kl_executor_lane *lane) {
    kl_executor *executor = lane->executor;
    kl_job *job = NULL;
    if (++lane->since_injection >= INJECTION_EVERY) {
        lane->since_injection = 0;
        job = kl_job_queue_take(&executor->injection);
        if (job) return job;
    }
    uint64_t task;
    if (kl_work_deque_pop_so(&lane->deque, &task) == KL_OK) return to_job(task);
    job = kl_job_queue_take(&executor->injection);
    if (!job) job = steal(lane);
    if (!job) job = kl_job_queue_take(&executor->background);
    return job;
}

/* Looks around for a while. */
static kl_job *search(kl_executor_lane *lane) {
    kl_executor *executor = lane->executor;
    kl_job *job = NULL;
    if (!kl_idle_set_begin_search(&executor->idle, executor->searchers_max)) return NULL;
    uint64_t end_ns = lane->search_start_ns + lane->spin.value;
    do {
        for (uint32_t i = 0; i < SPIN_PAUSES; i++) kl_cpu_pause();
        if (has_work(executor)) job = look(lane);
    } while (!job && kl_clock_monotonic_ns() < end_ns && !is_set(&executor->ended));
    kl_idle_set_end_search(&executor->idle);
    return job;
}

static kl_job *sleep_in(kl_executor_lane *lane, uint64_t timeout_ns) {
    kl_executor *executor = lane->executor;
    uint32_t key = kl_idle_set_announce(&executor->idle, lane->index);
    kl_job *job = is_set(&executor->ended) ? NULL : look(lane);
    if (job || is_set(&executor->ended)) {
        kl_idle_set_retract(&executor->idle, lane->index);
        return job;
    }
    if (is_set(&executor->drainers)) kl_event_count_notify_all(&executor->quiet);
    raise(&lane->parks, 1);
    kl_idle_set_sleep(&executor->idle, lane->index, key, timeout_ns, &executor->ended);
    return NULL;
}

/* Whether a longer spin would have met the job that came now. */
static void note_spin(kl_executor_lane *lane) {
    if (lane->spin.low == lane->spin.high) return;
    uint64_t waited_ns = kl_clock_monotonic_ns() - lane->search_start_ns;
    kl_tuner_note(&lane->spin, waited_ns <= lane->spin.high);
    publish_tuned(lane);
}

kl_job *kl_executor_look(kl_executor_lane *lane) {
    return look(lane);
}

kl_job *kl_executor_next(kl_executor_lane *lane, uint64_t timeout_ns) {
    kl_executor *executor = lane->executor;
    kl_job *job = is_set(&executor->ended) ? NULL : look(lane);
    if (job || timeout_ns == 0) return job;
    lane->search_start_ns = kl_clock_monotonic_ns();
    uint64_t deadline_ns = kl_clock_deadline_ns(timeout_ns);
    if (!executor->options.no_spin) job = search(lane);
    while (!job && !is_set(&executor->ended)) {
        uint64_t now_ns = kl_clock_monotonic_ns();
        if (now_ns >= deadline_ns) return NULL;
        job = sleep_in(lane, deadline_ns == KL_FOREVER ? KL_FOREVER : deadline_ns - now_ns);
        if (!job && !is_set(&executor->ended)) job = look(lane);
    }
    if (!job) return NULL;
    note_spin(lane);
    /* Others may have relied on us, who are busy now: see exec/idle_set. */
    if (has_work(executor)) kl_idle_set_wake_one(&executor->idle);
    return job;
}

void kl_executor_done(kl_executor_lane *lane) {
    raise(&lane->executed, 1);
}

/* ---- giving work ---- */

/* How many were taken, in their order. */
static uint32_t submit(kl_executor *executor, kl_job_queue *queue, kl_job *const *jobs,
                       uint32_t count) {
    /* seq_cst: with the look at closing: either we see it, or close sees that more was begun. */
    atomic_fetch_add_explicit(&executor->submitted, count, memory_order_seq_cst);
    uint32_t taken =
        is_set(&executor->closing) ? 0 : kl_job_queue_put_many(queue, (void *const *)jobs, count);
    if (taken > 0) kl_idle_set_published(&executor->idle, taken);
    if (taken < count)
        /* release: partner is the acquire in read_counter: submitted before it was refused. */
        atomic_fetch_add_explicit(&executor->refused, count - taken, memory_order_release);
    return taken;
}

static int32_t submit_one(kl_executor *executor, kl_job_queue *queue, kl_job *job) {
    if (submit(executor, queue, &job, 1) == 1) return KL_OK;
    if (is_set(&executor->closing)) return kl_fail(KL_ERR_CLOSED, "the executor is closed");
    return kl_fail(KL_ERR_AGAIN, "%u jobs wait already", queue->capacity);
}

int32_t kl_executor_submit(kl_executor *executor, kl_job *job) {
    return submit_one(executor, &executor->injection, job);
}

int32_t kl_executor_submit_background(kl_executor *executor, kl_job *job) {
    return submit_one(executor, &executor->background, job);
}

uint32_t kl_executor_submit_many(kl_executor *executor, kl_job *const *jobs, uint32_t count) {
    return submit(executor, &executor->injection, jobs, count);
}

static void run_job(kl_executor_lane *lane, kl_job *job) {
    int32_t status = is_set(&lane->executor->dropping) ? KL_ERR_STOPPED : KL_OK;
    job->run(job, status, lane);
    kl_executor_done(lane);
}

void kl_executor_push(kl_executor_lane *lane, kl_job *job) {
    raise(&lane->pushed, 1);
    if (kl_work_deque_push_so(&lane->deque, (uint64_t)(uintptr_t)job) != KL_OK &&
        kl_job_queue_put(&lane->executor->injection, job) != KL_OK) {
        run_job(lane, job);
        return;
    }
    kl_idle_set_published(&lane->executor->idle, 1);
}

int32_t kl_executor_drain(kl_executor *executor, uint64_t timeout_ns) {
    uint64_t deadline_ns = kl_clock_deadline_ns(timeout_ns);
    int32_t status = KL_OK;
    /* seq_cst: partner is the look in sleep_in: either it sees us, or we see that all is quiet. */
    atomic_fetch_add_explicit(&executor->drainers, 1, memory_order_seq_cst);
    for (;;) {
        uint32_t key = kl_event_count_prepare(&executor->quiet);
        if (is_quiet(executor)) break;
        uint64_t now_ns = kl_clock_monotonic_ns();
        if (now_ns >= deadline_ns) {
            status = kl_fail(KL_ERR_TIMEOUT, "jobs are still running");
            break;
        }
        uint64_t left_ns = deadline_ns == KL_FOREVER ? KL_FOREVER : deadline_ns - now_ns;
        kl_event_count_wait(&executor->quiet, key, left_ns, NULL);
    }
    /* relaxed: a lane that still sees us notifies once too often. */
    atomic_fetch_sub_explicit(&executor->drainers, 1, memory_order_relaxed);
    return status;
}

/* ---- open and close ---- */

static void drive(void *argument, const _Atomic uint32_t *stop) {
    kl_executor_lane *lane = argument;
    (void)stop; /* close sets `ended`, which next sees */
    if (lane->cpu >= 0) kl_cpu_pin((uint32_t)lane->cpu);
    while (!is_set(&lane->executor->ended)) {
        kl_job *job = kl_executor_next(lane, KL_FOREVER);
        if (job) run_job(lane, job);
    }
}

static int32_t check_options(kl_executor_options *options) {
    if (options->lanes == 0) {
        options->lanes = kl_cpu_count();
        if (options->lanes > KL_EXECUTOR_LANES_MAX) options->lanes = KL_EXECUTOR_LANES_MAX;
    }
    if (options->lanes > KL_EXECUTOR_LANES_MAX)
        return kl_fail(KL_ERR_ARGUMENT, "an executor has 1 to %u lanes, not %u",
                       KL_EXECUTOR_LANES_MAX, options->lanes);
    if (options->queue == 0) options->queue = KL_EXECUTOR_QUEUE_DEFAULT;
    if (options->queue > KL_EXECUTOR_QUEUE_MAX || (options->queue & (options->queue - 1)) != 0)
        return kl_fail(KL_ERR_ARGUMENT, "an executor's queue is a power of two up to %u, not %u",
                       KL_EXECUTOR_QUEUE_MAX, options->queue);
    if (options->victims > KL_VICTIMS_ROUND_ROBIN)
        return kl_fail(KL_ERR_ARGUMENT, "there is no way %u to choose victims", options->victims);
    if (options->spin_ns_max == 0) options->spin_ns_max = KL_EXECUTOR_SPIN_NS_MAX;
    if (options->steal_max == 0) options->steal_max = KL_EXECUTOR_STEAL_MAX;
    if (options->spin_ns_max > KL_NS_PER_S || options->steal_max > KL_EXECUTOR_STEAL_MAX)
        return kl_fail(KL_ERR_ARGUMENT, "a lane spins for at most a second and steals at most %u",
                       KL_EXECUTOR_STEAL_MAX);
    return KL_OK;
}

static uint32_t distance(const kl_numa *topology, const kl_executor_lane *a,
                         const kl_executor_lane *b) {
    if (!topology) return 0;
    uint32_t from = kl_numa_node_of_cpu(topology, a->cpu >= 0 ? (uint32_t)a->cpu : a->index);
    uint32_t to = kl_numa_node_of_cpu(topology, b->cpu >= 0 ? (uint32_t)b->cpu : b->index);
    return kl_numa_distance(topology, from, to);
}

/* The others, by the number of lanes between, then by the distance of their nodes (the sort is stable);
 * the ring of the other policies begins with a neighbour, too. */
static void order_victims(kl_executor *executor, kl_executor_lane *lane) {
    uint32_t lanes = executor->lane_count;
    const kl_numa *topology = executor->options.topology;
    lane->victim_count = lanes - 1;
    for (uint32_t step = 1, at = 0; at < lanes - 1; step++) {
        lane->victims[at++] = (lane->index + step) % lanes;
        if (at < lanes - 1) lane->victims[at++] = (lane->index + lanes - step) % lanes;
    }
    for (uint32_t i = 1; i < lane->victim_count; i++) {
        uint32_t moved = lane->victims[i], at = i;
        uint32_t far = distance(topology, lane, &executor->lanes[moved]);
        for (; at > 0; at--) {
            uint32_t before = lane->victims[at - 1];
            if (distance(topology, lane, &executor->lanes[before]) <= far) break;
            lane->victims[at] = before;
        }
        lane->victims[at] = moved;
    }
}

static int32_t prepare_lane(kl_executor *executor, uint32_t index) {
    kl_executor_lane *lane = &executor->lanes[index];
    const kl_executor_options *options = &executor->options;
    uint64_t bytes = kl_work_deque_memory_bytes(KL_EXECUTOR_DEQUE_JOBS);
    lane->executor = executor;
    lane->index = index;
    lane->cpu = options->pin ? kl_cpu_nth(index % kl_cpu_count()) : -1;
    lane->deque_memory = aligned_alloc(2 * KL_LINE_BYTES, (bytes + 127) / 128 * 128);
    if (!lane->deque_memory) return kl_fail(KL_ERR_MEMORY, "no memory for lane %u", index);
    int32_t status = kl_work_deque_format(lane->deque_memory, KL_EXECUTOR_DEQUE_JOBS);
    if (status == KL_OK) status = kl_work_deque_grip(&lane->deque, lane->deque_memory, bytes);
    kl_random_init(&lane->random, index + 1);
    uint32_t spin = options->spin_ns_max, steal_max = options->steal_max;
    uint32_t spin_low = options->fixed || spin < SPIN_NS_MIN ? spin : SPIN_NS_MIN;
    kl_tuner_init(&lane->spin, spin_low, spin, spin);
    kl_tuner_init(&lane->steal, options->fixed ? steal_max : 1, options->fixed ? steal_max : 1,
                  steal_max);
    publish_tuned(lane);
    return status;
}

static int32_t start_lane(kl_executor_lane *lane) {
    char name[LANE_NAME_BYTES];
    snprintf(name, sizeof name, "keelson-exec-%u", lane->index % 100);
    return kl_service_start(&lane->thread, name, drive, lane);
}

static void release(kl_executor *executor) {
    for (uint32_t i = 0; i < executor->lane_count; i++) free(executor->lanes[i].deque_memory);
    for (uint32_t i = 0; i < KL_IDLE_SET_MEMBERS_MAX; i++)
        kl_event_count_retire(&executor->idle.events[i]);
    kl_event_count_retire(&executor->quiet);
    kl_event_count_retire(&executor->graphs);
    kl_job_queue_close(&executor->injection);
    kl_job_queue_close(&executor->background);
    free(executor->lanes);
    free(executor);
}

/* Ends the threads. KL_ERR_TIMEOUT: at least one hangs. */
static int32_t stop_lanes(kl_executor *executor) {
    int32_t status = KL_OK;
    set(&executor->ended, 1);
    kl_idle_set_wake_all(&executor->idle);
    for (uint32_t i = 0; i < executor->lane_count; i++) {
        kl_executor_lane *lane = &executor->lanes[i];
        if (!lane->thread) continue;
        int32_t stopped = kl_service_stop(lane->thread);
        if (stopped == KL_OK)
            lane->thread = NULL;
        else
            status = stopped;
    }
    return status;
}

int32_t kl_executor_open(kl_executor **out, const kl_executor_options *options) {
    kl_executor_options wanted = *options;
    *out = NULL;
    int32_t status = check_options(&wanted);
    if (status != KL_OK) return status;
    kl_executor *executor = aligned_alloc(_Alignof(kl_executor), sizeof *executor);
    uint64_t lane_bytes = (uint64_t)wanted.lanes * sizeof(kl_executor_lane);
    kl_executor_lane *lanes = aligned_alloc(_Alignof(kl_executor_lane), lane_bytes);
    if (!executor || !lanes) {
        free(executor);
        free(lanes);
        return kl_fail(KL_ERR_MEMORY, "no memory for an executor of %u lanes", wanted.lanes);
    }
    memset(executor, 0, sizeof *executor);
    memset(lanes, 0, lane_bytes);
    executor->options = wanted;
    executor->lanes = lanes;
    executor->lane_count = wanted.lanes;
    executor->searchers_max = kl_cpu_count() - 1; /* one processor is left to those who have work */
    status = kl_job_queue_open(&executor->injection, wanted.queue);
    if (status == KL_OK) status = kl_job_queue_open(&executor->background, wanted.queue);
    for (uint32_t i = 0; i < wanted.lanes && status == KL_OK; i++)
        status = prepare_lane(executor, i);
    for (uint32_t i = 0; i < wanted.lanes; i++) order_victims(executor, &lanes[i]);
    for (uint32_t i = 0; i < wanted.lanes && status == KL_OK && wanted.threads; i++)
        status = start_lane(&lanes[i]);
    if (status != KL_OK) {
        if (stop_lanes(executor) == KL_OK) release(executor);
        return status;
    }
    *out = executor;
    return KL_OK;
}

void kl_executor_drop_rest(kl_executor *executor) {
    kl_executor_lane *lane = &executor->lanes[0]; /* no driver is left: it is ours */
    for (kl_job *job; (job = look(lane)) != NULL;) job->run(job, KL_ERR_STOPPED, NULL);
}

int32_t kl_executor_close(kl_executor *executor, bool run_rest) {
    if (!run_rest) set(&executor->dropping, 1);
    set(&executor->closing, 1);
    if (executor->options.threads) {
        uint64_t before = UINT64_MAX, now = 0;
        int32_t status = KL_ERR_TIMEOUT;
        while (status != KL_OK && now != before) { /* as long as jobs end, it is not hung */
            before = now;
            status = kl_executor_drain(executor, CLOSE_PROGRESS_NS);
            now = 1;
            for (uint32_t i = 0; i < executor->lane_count; i++)
                now += read_counter(&executor->lanes[i].executed);
        }
        if (status != KL_OK) {
            set(&executor->ended, 1); /* who comes back from its job ends */
            kl_idle_set_wake_all(&executor->idle);
            return kl_fail(status, "a job has hung for %llu s",
                           (unsigned long long)(CLOSE_PROGRESS_NS / KL_NS_PER_S));
        }
    }
    int32_t status = stop_lanes(executor);
    if (status != KL_OK) return status;
    kl_executor_drop_rest(executor);
    release(executor);
    return KL_OK;
}

/* ---- to look at ---- */

kl_event_count *kl_executor_graph_event(kl_executor *executor) {
    return &executor->graphs;
}

kl_executor_lane *kl_executor_lane_at(kl_executor *executor, uint32_t index) {
    return index < executor->lane_count ? &executor->lanes[index] : NULL;
}

uint32_t kl_executor_lane_index(const kl_executor_lane *lane) {
    return lane->index;
}

kl_executor *kl_executor_of(const kl_executor_lane *lane) {
    return lane->executor;
}

void kl_executor_end(kl_executor *executor) {
    set(&executor->closing, 1);
    set(&executor->ended, 1);
    kl_idle_set_wake_all(&executor->idle);
}

bool kl_executor_ended(const kl_executor *executor) {
    return is_set(&executor->ended);
}

bool kl_executor_closing(const kl_executor *executor) {
    return is_set(&executor->closing);
}

uint32_t kl_executor_lanes(const kl_executor *executor) {
    return executor->lane_count;
}

void kl_executor_read_stat(kl_executor *executor, uint32_t index, kl_executor_lane_stat *out) {
    const kl_executor_lane *lane = &executor->lanes[index];
    /* relaxed: a figure to show. */
    uint64_t tuned = atomic_load_explicit(&lane->tuned, memory_order_relaxed);
    *out = (kl_executor_lane_stat){.executed = read_counter(&lane->executed),
                                   .stolen = read_counter(&lane->stolen),
                                   .steals = read_counter(&lane->steals),
                                   .parks = read_counter(&lane->parks),
                                   .spin_ns = (uint32_t)(tuned >> 32),
                                   .steal_batch = (uint32_t)tuned};
}

uint32_t kl_executor_victims_of(kl_executor *executor, uint32_t index, uint32_t *out) {
    kl_executor_lane *lane = &executor->lanes[index];
    uint32_t first = lane->victim_count > 0 ? first_victim(lane) : 0;
    for (uint32_t i = 0; i < lane->victim_count; i++)
        out[i] = lane->victims[(first + i) % lane->victim_count];
    return lane->victim_count;
}
