#include "exec/executor.h"

#include "tests/c/harness.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/random.h"
#include "exec/job_queue.h"
#include "exec/service.h"
#include "exec/tuner.h"

#define PATIENCE_NS (20 * KL_NS_PER_S)

static kl_executor *open_lanes(uint32_t lanes) {
    kl_executor *executor = NULL;
    KL_CHECK_EQ(
        kl_executor_open(&executor, &(kl_executor_options){.lanes = lanes, .threads = true}),
        KL_OK);
    return executor;
}

/* A job that counts how it was run. */
typedef struct {
    kl_job job;
    _Atomic uint32_t ran, stopped;
    _Atomic uint64_t *total;
    uint32_t children; /* jobs behind this one, pushed by it */
    uint64_t spin_ns;
} counted;

static void spin_for(uint64_t ns) {
    uint64_t end_ns = kl_clock_monotonic_ns() + ns;
    while (kl_clock_monotonic_ns() < end_ns) kl_cpu_pause();
}

static void run_counted(kl_job *job, int32_t status, kl_executor_lane *lane) {
    counted *it = (counted *)job;
    atomic_fetch_add(status == KL_OK ? &it->ran : &it->stopped, 1);
    for (uint32_t i = 1; i <= it->children && lane; i++) kl_executor_push(lane, &it[i].job);
    if (it->spin_ns > 0) spin_for(it->spin_ns);
    if (it->total) atomic_fetch_add(it->total, 1);
}

static counted *make_jobs(uint32_t count, _Atomic uint64_t *total) {
    counted *jobs = calloc(count, sizeof *jobs);
    for (uint32_t i = 0; i < count; i++) {
        jobs[i].job.run = run_counted;
        jobs[i].total = total;
    }
    return jobs;
}

KL_TEST(W1_kl_executor_a_lane_never_asks_itself_and_asks_every_other) {
    for (uint32_t policy = KL_VICTIMS_RANDOM; policy <= KL_VICTIMS_ROUND_ROBIN; policy++) {
        kl_executor *executor = NULL;
        kl_executor_options options = {.lanes = 7, .victims = policy};
        KL_CHECK_EQ(kl_executor_open(&executor, &options), KL_OK);
        uint32_t first_seen = 0;
        for (uint32_t round = 0; round < 200; round++) {
            uint32_t lane = round % 7, victims[KL_EXECUTOR_LANES_MAX], seen = 0;
            KL_CHECK_EQ(kl_executor_victims_of(executor, lane, victims), 6);
            for (uint32_t i = 0; i < 6; i++) {
                KL_CHECK(victims[i] < 7 && victims[i] != lane);
                seen |= 1u << victims[i];
            }
            KL_CHECK_EQ(seen, 0x7fu & ~(1u << lane));
            if (lane == 3) first_seen |= 1u << victims[0];
            if (policy == KL_VICTIMS_NEAREST)
                KL_CHECK(victims[0] == (lane + 1) % 7 && victims[1] == (lane + 6) % 7);
        }
        if (policy == KL_VICTIMS_RANDOM) KL_CHECK_EQ(first_seen, 0x7fu & ~(1u << 3));
        KL_CHECK_EQ(kl_executor_close(executor, false), KL_OK);
    }
}

KL_TEST(W1_kl_executor_the_nearest_victims_are_those_of_the_nearest_nodes) {
    static kl_numa ring; /* four nodes of two processors: 10 20 30 20 */
    kl_executor *executor = NULL;
    KL_CHECK_EQ(kl_numa_simulate(&ring, KL_NUMA_RING, 4, 2, 1 << 20), KL_OK);
    kl_executor_options options = {.lanes = 8, .victims = KL_VICTIMS_NEAREST, .topology = &ring};
    KL_CHECK_EQ(kl_executor_open(&executor, &options), KL_OK);
    for (uint32_t lane = 0; lane < 8; lane++) {
        uint32_t victims[KL_EXECUTOR_LANES_MAX], last = 0;
        KL_CHECK_EQ(kl_executor_victims_of(executor, lane, victims), 7);
        for (uint32_t i = 0; i < 7; i++) {
            uint32_t far = kl_numa_distance(&ring, kl_numa_node_of_cpu(&ring, lane),
                                            kl_numa_node_of_cpu(&ring, victims[i]));
            KL_CHECK_LE(last, far);
            last = far;
        }
        KL_CHECK_EQ(kl_numa_node_of_cpu(&ring, victims[0]), kl_numa_node_of_cpu(&ring, lane));
        KL_CHECK_EQ(last, 30);
    }
    KL_CHECK_EQ(kl_executor_close(executor, false), KL_OK);
}

typedef struct {
    kl_executor *executor;
    counted *jobs;
    uint32_t each;
} submitters;

static void submit_some(void *argument, uint32_t index) {
    submitters *it = argument;
    for (uint32_t i = 0; i < it->each; i++) {
        counted *first = &it->jobs[(index * it->each + i) * 4]; /* and three that it pushes */
        first->children = 3;
        int32_t status;
        while ((status = kl_executor_submit(it->executor, &first->job)) == KL_ERR_AGAIN)
            sched_yield();
        KL_CHECK_EQ(status, KL_OK);
    }
}

KL_TEST(W2_kl_executor_runs_what_three_threads_submit_exactly_once) {
    uint32_t each = kl_test_slow() ? 2000 : 20000;
    for (uint32_t policy = KL_VICTIMS_RANDOM; policy <= KL_VICTIMS_ROUND_ROBIN; policy++) {
        submitters it = {.each = each / 3 + 1};
        kl_executor_options options = {
            .lanes = 3, .threads = true, .victims = policy, .queue = 256};
        KL_CHECK_EQ(kl_executor_open(&it.executor, &options), KL_OK);
        uint32_t count = 3 * it.each * 4;
        it.jobs = make_jobs(count, NULL);
        kl_test_threads(3, submit_some, &it);
        KL_CHECK_EQ(kl_executor_drain(it.executor, PATIENCE_NS), KL_OK);
        uint64_t executed = 0;
        for (uint32_t i = 0; i < 3; i++) {
            kl_executor_lane_stat stat;
            kl_executor_read_stat(it.executor, i, &stat);
            executed += stat.executed;
        }
        KL_CHECK_EQ(executed, count);
        for (uint32_t i = 0; i < count; i++) KL_CHECK_EQ(atomic_load(&it.jobs[i].ran), 1);
        KL_CHECK_EQ(kl_executor_close(it.executor, true), KL_OK);
        free(it.jobs);
    }
}

KL_TEST(W2_kl_executor_a_submit_wakes_a_sleeping_lane_each_time) {
    kl_executor *executor = open_lanes(2);
    _Atomic uint64_t total = 0;
    uint32_t rounds = kl_test_slow() ? 300 : 3000, late = 0;
    counted *jobs = make_jobs(rounds, &total);
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (uint32_t i = 0; i < rounds; i++) {
        spin_for(
            kl_random_below(&random, 60 * KL_NS_PER_US)); /* asleep, searching, or on its way */
        uint64_t start_ns = kl_clock_monotonic_ns();
        KL_CHECK_EQ(kl_executor_submit(executor, &jobs[i].job), KL_OK);
        while (atomic_load(&total) != i + 1) {
            KL_CHECK(kl_clock_monotonic_ns() - start_ns < PATIENCE_NS);
            sched_yield();
        }
        /* A lost wake-up costs a slice; a busy machine may, rarely, too. */
        late += kl_clock_monotonic_ns() - start_ns > KL_EVENT_SLICE_NS * 8 / 10;
    }
    KL_CHECK_LE(late, 2);
    KL_CHECK_EQ(kl_executor_close(executor, true), KL_OK);
    free(jobs);
}

typedef struct {
    kl_job job;
    counted *jobs;
    uint32_t count;
    _Atomic uint64_t *total;
    bool others_helped;
} hoarder;

/* Pushes all on its own lane, and does not come back before another lane ran some. */
static void run_hoarder(kl_job *job, int32_t status, kl_executor_lane *lane) {
    hoarder *it = (hoarder *)job;
    KL_CHECK_EQ(status, KL_OK);
    for (uint32_t i = 0; i < it->count; i++) kl_executor_push(lane, &it->jobs[i].job);
    uint64_t end_ns = kl_clock_monotonic_ns() + PATIENCE_NS;
    while (atomic_load(it->total) < it->count / 2 && kl_clock_monotonic_ns() < end_ns)
        sched_yield();
    it->others_helped = atomic_load(it->total) >= it->count / 2;
}

KL_TEST(W3_kl_executor_others_take_from_the_lane_that_has_all) {
    for (uint32_t lanes = 2; lanes <= 4; lanes++) {
        kl_executor *executor = open_lanes(lanes);
        _Atomic uint64_t total = 0;
        hoarder first = {{run_hoarder}, make_jobs(6000, &total), 6000, &total, false};
        KL_CHECK_EQ(kl_executor_submit(executor, &first.job), KL_OK); /* 6000: more than a deque */
        KL_CHECK_EQ(kl_executor_drain(executor, PATIENCE_NS), KL_OK);
        KL_CHECK(first.others_helped);
        uint64_t stolen = 0;
        for (uint32_t i = 0; i < lanes; i++) {
            kl_executor_lane_stat stat;
            kl_executor_read_stat(executor, i, &stat);
            stolen += stat.stolen;
            KL_CHECK(stat.steals <= stat.stolen);
        }
        KL_CHECK(stolen > 0);
        for (uint32_t i = 0; i < 6000; i++) KL_CHECK_EQ(atomic_load(&first.jobs[i].ran), 1);
        KL_CHECK_EQ(kl_executor_close(executor, true), KL_OK);
        free(first.jobs);
    }
}

/* ---- background, in the order of a single lane ---- */

typedef struct {
    kl_job job;
    uint32_t name, *order;
    _Atomic uint32_t *count, *gate; /* says 1 in *gate, waits until it is 2 */
} ordered;

static void run_ordered(kl_job *job, int32_t status, kl_executor_lane *lane) {
    ordered *it = (ordered *)job;
    (void)status;
    (void)lane;
    uint64_t end_ns = kl_clock_monotonic_ns() + PATIENCE_NS;
    if (it->gate) atomic_store(it->gate, 1);
    while (it->gate && atomic_load(it->gate) != 2 && kl_clock_monotonic_ns() < end_ns)
        sched_yield();
    it->order[atomic_fetch_add(it->count, 1)] = it->name;
}

KL_TEST(kl_executor_background_jobs_wait_for_all_others) {
    kl_executor *executor = open_lanes(1);
    ordered jobs[21];
    uint32_t order[21];
    _Atomic uint32_t count = 0, gate = 0;
    for (uint32_t i = 0; i < 21; i++)
        jobs[i] = (ordered){{run_ordered}, i, order, &count, i == 0 ? &gate : NULL};
    KL_CHECK_EQ(kl_executor_submit_background(executor, &jobs[0].job), KL_OK); /* holds the lane */
    while (atomic_load(&gate) == 0) sched_yield();
    for (uint32_t i = 11; i < 21; i++)
        KL_CHECK_EQ(kl_executor_submit_background(executor, &jobs[i].job), KL_OK);
    for (uint32_t i = 1; i < 11; i++)
        KL_CHECK_EQ(kl_executor_submit(executor, &jobs[i].job), KL_OK);
    atomic_store(&gate, 2);
    KL_CHECK_EQ(kl_executor_drain(executor, PATIENCE_NS), KL_OK);
    /* The background job that ran already, then all others, then the background. */
    for (uint32_t i = 0; i < 21; i++) KL_CHECK_EQ(order[i], i);
    KL_CHECK_EQ(kl_executor_close(executor, true), KL_OK);
}

/* ---- limits and the end ---- */

KL_TEST(kl_executor_refuses_bad_options_and_names_the_limit) {
    kl_executor *executor = NULL;
    static const kl_executor_options bad[] = {{.lanes = KL_EXECUTOR_LANES_MAX + 1},
                                              {.queue = 1000},
                                              {.queue = 2 * KL_EXECUTOR_QUEUE_MAX},
                                              {.victims = 3},
                                              {.steal_max = 33},
                                              {.spin_ns_max = 2000000000}};
    for (uint32_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        KL_CHECK_EQ(kl_executor_open(&executor, &bad[i]), KL_ERR_ARGUMENT);
        KL_CHECK(executor == NULL);
    }
    KL_CHECK_EQ(kl_executor_open(&executor, &bad[0]), KL_ERR_ARGUMENT);
    KL_CHECK_CONTAINS(kl_status_last(), "1 to 64 lanes, not 65");
}

KL_TEST(kl_executor_a_full_queue_says_so_and_takes_later) {
    kl_executor *executor = NULL;
    kl_executor_options options = {.lanes = 1, .queue = 4};
    KL_CHECK_EQ(kl_executor_open(&executor, &options), KL_OK);
    counted *jobs = make_jobs(6, NULL);
    for (uint32_t i = 0; i < 4; i++) KL_CHECK_EQ(kl_executor_submit(executor, &jobs[i].job), KL_OK);
    KL_CHECK_EQ(kl_executor_submit(executor, &jobs[4].job), KL_ERR_AGAIN);
    KL_CHECK_CONTAINS(kl_status_last(), "4 jobs wait");
    kl_executor_lane *lane = kl_executor_lane_at(executor, 0); /* driven by us */
    KL_CHECK(kl_executor_next(lane, 0) == &jobs[0].job);
    kl_executor_done(lane);
    KL_CHECK_EQ(kl_executor_submit(executor, &jobs[4].job), KL_OK);
    KL_CHECK(kl_executor_lane_at(executor, 1) == NULL);
    for (uint32_t i = 1; i < 5; i++) KL_CHECK(kl_executor_next(lane, 0) == &jobs[i].job);
    KL_CHECK(kl_executor_next(lane, 1000) == NULL);
    KL_CHECK_EQ(kl_executor_close(executor, false), KL_OK);
    free(jobs);
}

static void close_with(bool run_rest) {
    kl_executor *executor = open_lanes(2);
    uint32_t count = 5000, ran = 0, stopped = 0;
    counted *jobs = make_jobs(count, NULL);
    for (uint32_t i = 0; i < count; i++) {
        jobs[i].spin_ns = 1000;
        int32_t status = i % 3 == 0 ? kl_executor_submit_background(executor, &jobs[i].job)
                                    : kl_executor_submit(executor, &jobs[i].job);
        KL_CHECK_EQ(status, KL_OK);
    }
    KL_CHECK_EQ(kl_executor_close(executor, run_rest), KL_OK);
    for (uint32_t i = 0; i < count; i++) {
        KL_CHECK_EQ(atomic_load(&jobs[i].ran) + atomic_load(&jobs[i].stopped), 1);
        ran += atomic_load(&jobs[i].ran);
        stopped += atomic_load(&jobs[i].stopped);
    }
    if (run_rest) KL_CHECK_EQ(ran, count);
    KL_CHECK_EQ(ran + stopped, count);
    free(jobs);
}

KL_TEST(W2_kl_executor_close_loses_nothing_that_was_taken) {
    uint32_t threads = kl_service_count();
    close_with(true);
    close_with(false);
    KL_CHECK_EQ(kl_service_count(), threads);
}

typedef struct {
    kl_job job;
    kl_executor *executor;
    kl_job *late;
    int32_t answer;
} late_submitter;

static void run_late(kl_job *job, int32_t status, kl_executor_lane *lane) {
    late_submitter *it = (late_submitter *)job;
    (void)status;
    (void)lane;
    while (!kl_executor_closing(it->executor)) sched_yield();
    it->answer = kl_executor_submit(it->executor, it->late);
}

KL_TEST(kl_executor_takes_no_more_once_it_is_closing) {
    counted *jobs = make_jobs(1, NULL);
    late_submitter it = {{run_late}, open_lanes(1), &jobs[0].job, KL_OK};
    KL_CHECK_EQ(kl_executor_submit(it.executor, &it.job), KL_OK);
    KL_CHECK_EQ(kl_executor_close(it.executor, true), KL_OK);
    KL_CHECK_EQ(it.answer, KL_ERR_CLOSED);
    KL_CHECK_EQ(atomic_load(&jobs[0].ran) + atomic_load(&jobs[0].stopped), 0);
    free(jobs);
}

typedef struct {
    kl_job job;
    _Atomic uint32_t *done;
    int32_t cpu, cpus;
} where;

static void run_where(kl_job *job, int32_t status, kl_executor_lane *lane) {
    where *it = (where *)job;
    (void)status;
    (void)lane;
    cpu_set_t set;
    it->cpu = kl_cpu_current();
    it->cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : -1;
    atomic_fetch_add(it->done, 1);
}

KL_TEST(kl_executor_pins_each_lane_to_a_processor) {
    kl_executor *executor = NULL;
    kl_executor_options options = {.lanes = 2, .threads = true, .pin = true};
    KL_CHECK_EQ(kl_executor_open(&executor, &options), KL_OK);
    _Atomic uint32_t done = 0;
    where jobs[8];
    for (uint32_t i = 0; i < 8; i++) {
        jobs[i] = (where){{run_where}, &done, -2, -2};
        KL_CHECK_EQ(kl_executor_submit(executor, &jobs[i].job), KL_OK);
    }
    KL_CHECK_EQ(kl_executor_close(executor, true), KL_OK);
    for (uint32_t i = 0; i < 8; i++) {
        KL_CHECK_EQ(jobs[i].cpus, 1);
        KL_CHECK(jobs[i].cpu == kl_cpu_nth(0) || jobs[i].cpu == kl_cpu_nth(1 % kl_cpu_count()));
    }
}

/* ---- tuning ---- */

KL_TEST(T1_kl_tuner_stays_within_its_bounds_and_settles) {
    kl_tuner tuner;
    kl_tuner_init(&tuner, 3, 10, 100);
    for (uint32_t i = 0; i < 10 * KL_TUNER_WINDOW; i++) kl_tuner_note(&tuner, true);
    KL_CHECK_EQ(tuner.value, 100);
    for (uint32_t i = 0; i < 10 * KL_TUNER_WINDOW; i++) kl_tuner_note(&tuner, false);
    KL_CHECK_EQ(tuner.value, 3);
    kl_tuner_init(&tuner, 8, 8, 8);
    for (uint32_t i = 0; i < 10 * KL_TUNER_WINDOW; i++) kl_tuner_note(&tuner, i % 2 == 0);
    KL_CHECK_EQ(tuner.value, 8);
}

KL_TEST(T1_kl_tuner_a_mixed_answer_changes_nothing) {
    kl_tuner tuner;
    kl_random random;
    kl_random_init(&random, 7); /* half of the trials want more: between the two thresholds */
    kl_tuner_init(&tuner, 1, 16, 256);
    uint32_t changes = 0, last = 16;
    for (uint32_t i = 0; i < 200 * KL_TUNER_WINDOW; i++) {
        kl_tuner_note(&tuner, i % KL_TUNER_WINDOW < KL_TUNER_WINDOW / 2);
        changes += tuner.value != last;
        last = tuner.value;
    }
    KL_CHECK_EQ(changes, 0);
}

KL_TEST(T1_kl_tuner_does_not_swing) {
    kl_tuner tuner; /* 16 is too small, 32 too large: the worst case for a doubling */
    kl_tuner_init(&tuner, 1, 1, 1024);
    uint32_t flips = 0, last = 1;
    int32_t direction = 0;
    for (uint32_t i = 0; i < 2000 * KL_TUNER_WINDOW; i++) {
        kl_tuner_note(&tuner, tuner.value <= 16);
        if (tuner.value == last) continue;
        int32_t now = tuner.value > last ? 1 : -1;
        flips += direction == -now;
        direction = now;
        last = tuner.value;
    }
    KL_CHECK(tuner.value == 16 || tuner.value == 32);
    KL_CHECK_LE(flips, 2000 / KL_TUNER_REST * 5 + 5); /* a few, then a rest */
}

KL_TEST(T1_kl_executor_tunes_within_its_bounds) {
    kl_executor *executor = open_lanes(2);
    _Atomic uint64_t total = 0;
    counted *jobs = make_jobs(2000, &total);
    for (uint32_t i = 0; i < 2000; i++) {
        KL_CHECK_EQ(kl_executor_submit(executor, &jobs[i].job), KL_OK);
        spin_for(5 * KL_NS_PER_US);
    }
    KL_CHECK_EQ(kl_executor_drain(executor, PATIENCE_NS), KL_OK);
    for (uint32_t i = 0; i < 2; i++) {
        kl_executor_lane_stat stat;
        kl_executor_read_stat(executor, i, &stat);
        KL_CHECK(stat.spin_ns >= 500 && stat.spin_ns <= KL_EXECUTOR_SPIN_NS_MAX);
        KL_CHECK(stat.steal_batch >= 1 && stat.steal_batch <= KL_EXECUTOR_STEAL_MAX);
    }
    KL_CHECK_EQ(kl_executor_close(executor, true), KL_OK);
    free(jobs);
}

/* ---- the queue ---- */

KL_TEST(kl_job_queue_is_first_in_first_out_and_bounded) {
    kl_job_queue queue;
    uint64_t jobs[8];
    KL_CHECK_EQ(kl_job_queue_open(&queue, 4), KL_OK);
    KL_CHECK(kl_job_queue_take(&queue) == NULL);
    for (uint32_t round = 0; round < 10; round++) {
        for (uint32_t i = 0; i < 4; i++) KL_CHECK_EQ(kl_job_queue_put(&queue, &jobs[i]), KL_OK);
        KL_CHECK_EQ(kl_job_queue_put(&queue, &jobs[4]), KL_ERR_AGAIN);
        KL_CHECK_EQ(kl_job_queue_count(&queue), 4);
        for (uint32_t i = 0; i < 3; i++) KL_CHECK(kl_job_queue_take(&queue) == &jobs[i]);
        KL_CHECK(kl_job_queue_take(&queue) == &jobs[3]);
        KL_CHECK(kl_job_queue_take(&queue) == NULL);
    }
    kl_job_queue_close(&queue);
    kl_job_queue_close(&queue);
}
