#include "exec/worker_pool.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/fence.h"
#include "base/handle.h"
#include "exec/completion.h"
#include "exec/worker_graph.h"
#include "lockfree/spsc_ring.h"
#include "sync/thread_end.h"

#define CHUNK_TASKS   1024u
#define SMALL_BYTES   96u
#define SUBMIT_BATCH  256u
#define KEPT_MAX      64u /* nodes that a lane goes on with before it looks at what else there is */
#define OVER_FIRST    16u
#define HEADROOM      8u /* of a result: token and outcome */
#define FULL_SLICE_NS (50 * KL_NS_PER_MS)

static_assert(sizeof(kl_worker_result) == sizeof(uint32_t) + HEADROOM, "a record of the ring");

enum task_state { FREE = 0, QUEUED, RUNNING, CANCELLED };

typedef struct {
    kl_job job;
    uint8_t *large; /* the payload, when it is longer than `small` */
    uint32_t token, function, bytes;
    _Atomic uint32_t state;
    uint8_t small[SMALL_BYTES];
} pool_task;

static_assert(sizeof(pool_task) == 2 * KL_LINE_BYTES, "two lines a task");

enum lane_driver { NOBODY = 0, A_WORKER, A_DEAD_WORKER };

typedef struct {
    _Alignas(2 * KL_LINE_BYTES) kl_worker_pool *pool;
    kl_executor_lane *lane;
    uint32_t index, kept;
    kl_job *current;
    bool delivered;
    void *memory;
    kl_spsc_ring results;
    _Atomic uint32_t driver; /* to A_WORKER by compare-exchange; back to NOBODY by collect */
    uint32_t died_with;      /* token + 1 of the task; by the dead, before driver says so */
} pool_lane;

struct kl_worker_pool {
    kl_executor *executor;
    pool_lane *lanes;
    uint32_t lane_count, queue, ring_bytes, first_lane;
    pool_task **chunks;
    pthread_mutex_t door;  /* one call of the opener's at a time */
    pthread_mutex_t mutex; /* guards names and the list of runs that are over */
    uint8_t *names[KL_WORKER_POOL_FUNCTIONS_MAX]; /* {u8 bytes, bytes} */
    uint32_t name_count;
    uint32_t *over, over_count, over_capacity;
    _Atomic uint32_t any_over; /* 1 while over_count > 0 */
    uint32_t completion, completion_token;
    _Atomic uint64_t quiet_until_ns;
    _Alignas(2 * KL_LINE_BYTES) _Atomic uint32_t armed;
    _Atomic uint32_t drivers; /* lanes that are open, and the pool's handle */
    _Atomic uint32_t keepers; /* drivers as one, and graphs: the memory stays */
};

/* ---- the bell ---- */

/* `force`: this lane has nothing more to do. */
static void ring(kl_worker_pool *pool, bool force) {
    /* seq_cst: partner is the fence in kl_worker_pool_arm: either we see it armed, or it sees our
     * result. */
    atomic_thread_fence(memory_order_seq_cst);
    /* relaxed: ordered by the fence. */
    if (atomic_load_explicit(&pool->armed, memory_order_relaxed) == 0) return;
    /* relaxed: a hint of the opener's. */
    if (!force &&
        kl_clock_monotonic_ns() < atomic_load_explicit(&pool->quiet_until_ns, memory_order_relaxed))
        return;
    /* acquire: partner is the release in arm; completion and token are read after it. */
    if (atomic_exchange_explicit(&pool->armed, 0, memory_order_acquire) != 1) return;
    kl_completion_post(pool->completion, pool->completion_token, KL_OK);
}

static bool has_results(kl_worker_pool *pool) {
    /* relaxed: after a fence, or a hint. */
    if (atomic_load_explicit(&pool->any_over, memory_order_relaxed) != 0) return true;
    for (uint32_t i = 0; i < pool->lane_count; i++) {
        if (kl_spsc_ring_peek_sc(&pool->lanes[i].results) >= 0) return true;
        /* relaxed: as above. */
        if (atomic_load_explicit(&pool->lanes[i].driver, memory_order_relaxed) == A_DEAD_WORKER)
            return true;
    }
    return false;
}

void kl_worker_pool_graph_over(kl_worker_pool *pool, uint32_t token) {
    pthread_mutex_lock(&pool->mutex);
    if (pool->over_count == pool->over_capacity) {
        uint32_t capacity = pool->over_capacity ? 2 * pool->over_capacity : OVER_FIRST;
        uint32_t *over = realloc(pool->over, capacity * sizeof *over);
        KL_ASSERT(over);
        if (over) {
            pool->over = over;
            pool->over_capacity = capacity;
        }
    }
    if (pool->over_count < pool->over_capacity) pool->over[pool->over_count++] = token;
    /* relaxed: the fence in ring orders it. */
    atomic_store_explicit(&pool->any_over, 1, memory_order_relaxed);
    pthread_mutex_unlock(&pool->mutex);
    ring(pool, true);
}

/* ---- open and close ---- */

static void free_pool(kl_worker_pool *pool) {
    if (pool->executor) kl_executor_close(pool->executor, false);
    for (uint32_t i = 0; pool->lanes && i < pool->lane_count; i++) free(pool->lanes[i].memory);
    for (uint32_t i = 0; i < pool->name_count; i++) free(pool->names[i]);
    for (uint32_t i = 0; pool->chunks && i < pool->queue / CHUNK_TASKS; i++) free(pool->chunks[i]);
    pthread_mutex_destroy(&pool->door);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->over);
    free(pool->chunks);
    free(pool->lanes);
    free(pool);
}

void kl_worker_pool_keep(kl_worker_pool *pool) {
    /* relaxed: the caller is kept by another. */
    atomic_fetch_add_explicit(&pool->keepers, 1, memory_order_relaxed);
}

void kl_worker_pool_release(kl_worker_pool *pool) {
    /* acq_rel: partners are the others; the last has seen all, and frees. */
    if (atomic_fetch_sub_explicit(&pool->keepers, 1, memory_order_acq_rel) == 1) free_pool(pool);
}

static void driver_left(kl_worker_pool *pool) {
    /* acq_rel: partners are the others; the last one is alone with the executor. */
    if (atomic_fetch_sub_explicit(&pool->drivers, 1, memory_order_acq_rel) != 1) return;
    kl_executor_drop_rest(pool->executor); /* ends the runs of graphs, which release the pool */
    kl_worker_pool_release(pool);
}

static void destroy_pool(void *object) {
    kl_worker_pool *pool = object;
    kl_executor_end(pool->executor);
    driver_left(pool);
}

static int32_t prepare_lane(kl_worker_pool *pool, uint32_t index) {
    pool_lane *lane = &pool->lanes[index];
    uint64_t bytes = kl_spsc_ring_memory_bytes(pool->ring_bytes);
    lane->pool = pool;
    lane->index = index;
    lane->lane = kl_executor_lane_at(pool->executor, index);
    lane->memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!lane->memory)
        return kl_fail(KL_ERR_MEMORY, "no memory for %u bytes of results", pool->ring_bytes);
    int32_t status = kl_spsc_ring_format(lane->memory, pool->ring_bytes, 0);
    return status == KL_OK ? kl_spsc_ring_grip(&lane->results, lane->memory, bytes) : status;
}

static int32_t check_sizes(uint32_t *queue, uint32_t *ring_bytes, double spin_us) {
    if (*queue == 0) *queue = KL_WORKER_POOL_QUEUE_DEFAULT;
    if (*ring_bytes == 0) *ring_bytes = KL_WORKER_POOL_RING_DEFAULT;
    if (*queue < CHUNK_TASKS || *queue > KL_WORKER_POOL_QUEUE_MAX || (*queue & (*queue - 1)) != 0)
        return kl_fail(KL_ERR_ARGUMENT, "a pool's queue is a power of two from %u to %u, not %u",
                       CHUNK_TASKS, KL_WORKER_POOL_QUEUE_MAX, *queue);
    if (*ring_bytes < KL_WORKER_POOL_RING_MIN || *ring_bytes > KL_WORKER_POOL_RING_MAX ||
        (*ring_bytes & (*ring_bytes - 1)) != 0)
        return kl_fail(KL_ERR_ARGUMENT, "a ring of results is a power of two from %u to %u, not %u",
                       KL_WORKER_POOL_RING_MIN, KL_WORKER_POOL_RING_MAX, *ring_bytes);
    if (!(spin_us >= 0 && spin_us <= 1000))
        return kl_fail(KL_ERR_ARGUMENT, "a Worker spins for 0 to 1000 us");
    return KL_OK;
}

static int32_t fill_pool(kl_worker_pool *pool, uint32_t lanes, double spin_us) {
    kl_executor_options options = {.lanes = lanes,
                                   .queue = pool->queue,
                                   .no_spin = spin_us == 0,
                                   .spin_ns_max = (uint32_t)(spin_us * (double)KL_NS_PER_US)};
    int32_t status = kl_executor_open(&pool->executor, &options);
    if (status != KL_OK) return status;
    pool->lane_count = kl_executor_lanes(pool->executor);
    pool->chunks = calloc(pool->queue / CHUNK_TASKS, sizeof(pool_task *));
    uint64_t lane_bytes = pool->lane_count * sizeof(pool_lane);
    pool->lanes = aligned_alloc(_Alignof(pool_lane), lane_bytes);
    if (!pool->chunks || !pool->lanes) return kl_fail(KL_ERR_MEMORY, "no memory for a pool");
    memset(pool->lanes, 0, lane_bytes);
    for (uint32_t i = 0; i < pool->lane_count && status == KL_OK; i++)
        status = prepare_lane(pool, i);
    return status;
}

uint32_t kl_worker_pool_open(uint32_t lanes, uint32_t queue, uint32_t ring_bytes, double spin_us) {
    if (check_sizes(&queue, &ring_bytes, spin_us) != KL_OK) return 0;
    kl_worker_pool *pool = aligned_alloc(_Alignof(kl_worker_pool), sizeof *pool);
    if (!pool) {
        kl_fail(KL_ERR_MEMORY, "no memory for a pool");
        return 0;
    }
    memset(pool, 0, sizeof *pool);
    pool->queue = queue;
    pool->ring_bytes = ring_bytes;
    atomic_init(&pool->drivers, 1);
    atomic_init(&pool->keepers, 1);
    pthread_mutex_init(&pool->door, NULL);
    pthread_mutex_init(&pool->mutex, NULL);
    if (fill_pool(pool, lanes, spin_us) != KL_OK) {
        free_pool(pool);
        return 0;
    }
    uint32_t handle = kl_handle_open(KL_HANDLE_EXECUTOR, pool, destroy_pool);
    if (handle == 0) {
        kl_fail(KL_ERR_LIMIT, "all %u handles are open", KL_HANDLE_COUNT_MAX);
        free_pool(pool);
    } else if (kl_thread_end_close(handle, KL_HANDLE_EXECUTOR) != KL_OK) {
        kl_handle_close(handle, KL_HANDLE_EXECUTOR);
        handle = 0;
    }
    return handle;
}

int32_t kl_worker_pool_close(uint32_t handle) {
    kl_thread_end_forget(handle);
    return kl_handle_close(handle, KL_HANDLE_EXECUTOR);
}

kl_worker_pool *kl_worker_pool_enter(uint32_t handle) {
    kl_worker_pool *pool = kl_handle_enter(handle, KL_HANDLE_EXECUTOR);
    if (!pool) kl_fail(KL_ERR_HANDLE, "the pool is closed");
    return pool;
}

kl_executor *kl_worker_pool_executor(kl_worker_pool *pool) {
    return pool->executor;
}

static kl_worker_pool *enter(uint32_t handle) {
    kl_worker_pool *pool = kl_worker_pool_enter(handle);
    if (pool) pthread_mutex_lock(&pool->door);
    return pool;
}

static int32_t leave(kl_worker_pool *pool, uint32_t handle, int32_t status) {
    pthread_mutex_unlock(&pool->door);
    kl_handle_leave(handle);
    return status;
}

/* ---- names ---- */

int32_t kl_worker_pool_function(uint32_t handle, const uint8_t *name, uint32_t name_bytes) {
    if (name_bytes == 0 || name_bytes > KL_WORKER_POOL_NAME_BYTES)
        return kl_fail(KL_ERR_ARGUMENT, "the name of a function has 1 to %u bytes, not %u",
                       KL_WORKER_POOL_NAME_BYTES, name_bytes);
    kl_worker_pool *pool = enter(handle);
    if (!pool) return KL_ERR_HANDLE;
    int32_t status;
    uint8_t *copy = NULL;
    pthread_mutex_lock(&pool->mutex);
    if (pool->name_count == KL_WORKER_POOL_FUNCTIONS_MAX) {
        status = kl_fail(KL_ERR_LIMIT, "a pool knows at most %u functions",
                         KL_WORKER_POOL_FUNCTIONS_MAX);
    } else if (!(copy = malloc(1 + name_bytes))) {
        status = kl_fail(KL_ERR_MEMORY, "no memory for the name of a function");
    } else {
        copy[0] = (uint8_t)name_bytes;
        memcpy(copy + 1, name, name_bytes);
        status = (int32_t)pool->name_count;
        pool->names[pool->name_count++] = copy;
    }
    pthread_mutex_unlock(&pool->mutex);
    return leave(pool, handle, status);
}

/* ---- submitting ---- */

static void drop_payload(pool_task *task) {
    free(task->large);
    task->large = NULL;
}

/* The executor calls it when nobody takes the task any more. */
static void run_task(kl_job *job, int32_t status, kl_executor_lane *lane) {
    (void)status;
    (void)lane;
    drop_payload((pool_task *)job);
}

static pool_task *task_of(kl_worker_pool *pool, uint32_t token) {
    if (token >= pool->queue) return NULL;
    pool_task **chunk = &pool->chunks[token / CHUNK_TASKS];
    if (!*chunk) {
        *chunk = aligned_alloc(KL_LINE_BYTES, CHUNK_TASKS * sizeof **chunk);
        if (*chunk) memset(*chunk, 0, CHUNK_TASKS * sizeof **chunk);
    }
    return *chunk ? &(*chunk)[token % CHUNK_TASKS] : NULL;
}

/* KL_OK: it is QUEUED. */
static int32_t fill_task(kl_worker_pool *pool, const kl_worker_task *head, const uint8_t *payload,
                         kl_job **out) {
    pool_task *task = task_of(pool, head->token);
    if (!task)
        return kl_fail(KL_ERR_ARGUMENT, "token %u is not below the %u of the queue, or no memory",
                       head->token, pool->queue);
    /* acquire: partner is the release in finish_task; the payload's memory is ours again. */
    if (atomic_load_explicit(&task->state, memory_order_acquire) != FREE)
        return kl_fail(KL_ERR_ARGUMENT, "token %u is under way already", head->token);
    uint8_t *large = NULL;
    if (head->bytes > SMALL_BYTES && !(large = malloc(head->bytes)))
        return kl_fail(KL_ERR_MEMORY, "no memory for a task of %u bytes", head->bytes);
    if (head->bytes > 0) memcpy(large ? large : task->small, payload, head->bytes);
    task->job.run = run_task;
    task->large = large;
    task->token = head->token;
    task->function = head->function;
    task->bytes = head->bytes;
    /* relaxed: the queue hands the task over. */
    atomic_store_explicit(&task->state, QUEUED, memory_order_relaxed);
    *out = &task->job;
    return KL_OK;
}

/* Hands over `count` tasks; what was not taken is FREE again. */
static uint32_t submit_jobs(kl_worker_pool *pool, kl_job **jobs, uint32_t count) {
    uint32_t taken = kl_executor_submit_many(pool->executor, jobs, count);
    for (uint32_t i = taken; i < count; i++) {
        pool_task *task = (pool_task *)jobs[i];
        drop_payload(task);
        /* relaxed: nobody else has seen it. */
        atomic_store_explicit(&task->state, FREE, memory_order_relaxed);
    }
    return taken;
}

static int32_t submit_batch(kl_worker_pool *pool, const uint8_t *batch, uint32_t bytes) {
    kl_job *jobs[SUBMIT_BATCH];
    uint32_t at = 0, count = 0, done = 0;
    int32_t status = KL_OK;
    while (at < bytes && status == KL_OK) {
        kl_worker_task head;
        if (bytes - at < sizeof head) return kl_fail(KL_ERR_ARGUMENT, "half a task");
        memcpy(&head, batch + at, sizeof head);
        at += (uint32_t)sizeof head;
        uint64_t padded = ((uint64_t)head.bytes + 3) & ~3ull;
        if (padded > bytes - at)
            status = kl_fail(KL_ERR_ARGUMENT, "a task of %u bytes in a batch with %u left",
                             head.bytes, bytes - at);
        else
            status = fill_task(pool, &head, batch + at, &jobs[count]);
        if (status != KL_OK) break;
        count++;
        at += (uint32_t)padded;
        if (count == SUBMIT_BATCH) {
            uint32_t taken = submit_jobs(pool, jobs, count);
            done += taken;
            if (taken < count) return (int32_t)done;
            count = 0;
        }
    }
    done += submit_jobs(pool, jobs, count);
    return done > 0 || status == KL_OK ? (int32_t)done : status;
}

int32_t kl_worker_pool_submit(uint32_t handle, const uint8_t *batch, uint32_t bytes) {
    kl_worker_pool *pool = enter(handle);
    if (!pool) return KL_ERR_HANDLE;
    return leave(pool, handle, submit_batch(pool, batch, bytes));
}

int32_t kl_worker_pool_cancel(uint32_t handle, uint32_t token) {
    kl_worker_pool *pool = enter(handle);
    if (!pool) return KL_ERR_HANDLE;
    pool_task *task =
        token < pool->queue && pool->chunks[token / CHUNK_TASKS] ? task_of(pool, token) : NULL;
    uint32_t expected = QUEUED;
    /* relaxed: partner is the same in begin_task; who wins is all that counts. */
    bool won =
        task && atomic_compare_exchange_strong_explicit(&task->state, &expected, CANCELLED,
                                                        memory_order_relaxed, memory_order_relaxed);
    return leave(pool, handle, won ? KL_OK : KL_ERR_NOT_FOUND);
}

/* ---- collecting ---- */

/* A result without a payload. False: there is no room for it. */
static bool write_result(uint8_t *out, uint32_t capacity, uint32_t *used, uint32_t token,
                         uint32_t outcome) {
    kl_worker_result result = {HEADROOM, token, outcome};
    if (capacity - *used < sizeof result) return false;
    memcpy(out + *used, &result, sizeof result);
    *used += (uint32_t)sizeof result;
    return true;
}

/* The death of a lane's Worker, told once; the lane is free after it. */
static uint32_t collect_death(pool_lane *lane, uint8_t *out, uint32_t capacity, uint32_t *used) {
    /* acquire: partner is the release in lane_ended; died_with is read after it. */
    if (atomic_load_explicit(&lane->driver, memory_order_acquire) != A_DEAD_WORKER) return 0;
    if (capacity - *used < 2 * sizeof(kl_worker_result)) return 0;
    /* Its results come first: the ring is empty when we are here. */
    uint32_t count = 0;
    if (lane->died_with != 0) {
        pool_task *task = task_of(lane->pool, lane->died_with - 1);
        drop_payload(task);
        /* relaxed: its lane is gone, we are the opener. */
        atomic_store_explicit(&task->state, FREE, memory_order_relaxed);
        count += write_result(out, capacity, used, lane->died_with - 1, KL_WORKER_DIED);
    }
    count += write_result(out, capacity, used, lane->index, KL_WORKER_LANE_GONE);
    /* release: partner is the acquire in kl_worker_lane_open. */
    atomic_store_explicit(&lane->driver, NOBODY, memory_order_release);
    return count;
}

static uint32_t collect_over(kl_worker_pool *pool, uint8_t *out, uint32_t capacity,
                             uint32_t *used) {
    /* relaxed: a hint; the mutex guards the list. */
    if (atomic_load_explicit(&pool->any_over, memory_order_relaxed) == 0) return 0;
    uint32_t count = 0;
    pthread_mutex_lock(&pool->mutex);
    while (
        pool->over_count > 0 &&
        write_result(out, capacity, used, pool->over[pool->over_count - 1], KL_WORKER_GRAPH_OVER)) {
        pool->over_count--;
        count++;
    }
    /* relaxed: as above. */
    if (pool->over_count == 0) atomic_store_explicit(&pool->any_over, 0, memory_order_relaxed);
    pthread_mutex_unlock(&pool->mutex);
    return count;
}

/* Moves the results of one lane: how many, or KL_ERR_LIMIT, KL_ERR_CORRUPT. */
static int32_t collect_lane(pool_lane *lane, uint8_t *out, uint32_t capacity, uint32_t *used) {
    uint32_t start = *used;
    int32_t count = kl_spsc_ring_pop_batch_sc(&lane->results, out + start, capacity - start);
    for (int32_t i = 0; i < count; i++) {
        uint32_t bytes;
        memcpy(&bytes, out + *used, sizeof bytes);
        *used += (uint32_t)sizeof bytes + ((bytes + 3) & ~3u);
    }
    if (count > 0) kl_spsc_ring_notify_space(&lane->results);
    if (count == 0) count = (int32_t)collect_death(lane, out, capacity, used);
    return count;
}

int32_t kl_worker_pool_collect(uint32_t handle, uint8_t *out, uint32_t capacity) {
    kl_worker_pool *pool = enter(handle);
    if (!pool) return KL_ERR_HANDLE;
    uint32_t used = 0, first = pool->first_lane;
    int32_t total = (int32_t)collect_over(pool, out, capacity, &used);
    pool->first_lane = first + 1 == pool->lane_count ? 0 : first + 1; /* none is always last */
    for (uint32_t i = 0; i < pool->lane_count; i++) {
        pool_lane *lane = &pool->lanes[(first + i) % pool->lane_count];
        int32_t count = collect_lane(lane, out, capacity, &used);
        if (count > 0) total += count;
        if (count == KL_ERR_LIMIT && total == 0 && capacity >= sizeof(uint32_t)) {
            uint32_t bytes = (uint32_t)kl_spsc_ring_peek_sc(&lane->results) + 2 * sizeof bytes;
            memcpy(out, &bytes, sizeof bytes);
            total = KL_ERR_LIMIT;
            break;
        }
    }
    return leave(pool, handle, total);
}

int32_t kl_worker_pool_arm(uint32_t handle, uint32_t completion, uint32_t token, double quiet_us) {
    kl_worker_pool *pool = enter(handle);
    if (!pool) return KL_ERR_HANDLE;
    int32_t status = 0;
    /* acquire: nobody posts with what is written next; partner is the release below. */
    atomic_exchange_explicit(&pool->armed, 0, memory_order_acquire);
    if (has_results(pool)) {
        status = 1;
    } else {
        uint64_t quiet_ns =
            quiet_us > 0 && quiet_us < 1e9 ? (uint64_t)(quiet_us * (double)KL_NS_PER_US) : 0;
        pool->completion = completion;
        pool->completion_token = token;
        uint64_t until_ns = quiet_ns > 0 ? kl_clock_monotonic_ns() + quiet_ns : 0;
        /* relaxed: a hint. */
        atomic_store_explicit(&pool->quiet_until_ns, until_ns, memory_order_relaxed);
        /* release: partner is the acquire in ring. */
        atomic_store_explicit(&pool->armed, 1, memory_order_release);
        /* seq_cst: partner is the fence in ring. */
        atomic_thread_fence(memory_order_seq_cst);
        /* acquire: as above. Whoever took it first posts. */
        if (has_results(pool) &&
            atomic_exchange_explicit(&pool->armed, 0, memory_order_acquire) == 1)
            status = 1;
    }
    return leave(pool, handle, status);
}

int32_t kl_worker_pool_nudge(uint32_t handle) {
    kl_worker_pool *pool = enter(handle);
    if (!pool) return KL_ERR_HANDLE;
    if (has_results(pool)) ring(pool, true);
    return leave(pool, handle, KL_OK);
}

int32_t kl_worker_pool_stat(uint32_t handle, uint32_t lane, uint8_t *out, uint32_t capacity) {
    kl_worker_pool *pool = enter(handle);
    if (!pool) return KL_ERR_HANDLE;
    kl_executor_lane_stat stat;
    int32_t status = KL_OK;
    if (lane >= pool->lane_count || capacity < sizeof stat) {
        status = kl_fail(KL_ERR_ARGUMENT, "there is no lane %u, or less than %zu bytes for it",
                         lane, sizeof stat);
    } else {
        kl_executor_read_stat(pool->executor, lane, &stat);
        memcpy(out, &stat, sizeof stat);
    }
    return leave(pool, handle, status);
}

/* ---- a Worker's lane ---- */

/* When its Worker closed it, or its thread has ended. */
static void lane_ended(void *object) {
    pool_lane *lane = object;
    kl_worker_pool *pool = lane->pool;
    kl_job *job = lane->current;
    lane->current = NULL;
    lane->died_with = 0;
    if (job && kl_worker_graph_is_node(job)) {
        kl_job *next = kl_worker_graph_end(job, KL_WORKER_DIED, NULL, 0, lane->lane);
        if (next) kl_executor_push(lane->lane, next);
    } else if (job) {
        lane->died_with = ((pool_task *)job)->token + 1;
    }
    /* release: partner is the acquire in collect_death. */
    atomic_store_explicit(&lane->driver, A_DEAD_WORKER, memory_order_release);
    ring(pool, true);
    driver_left(pool);
}

static int32_t take_lane(kl_worker_pool *pool, uint32_t index) {
    if (index >= pool->lane_count)
        return kl_fail(KL_ERR_ARGUMENT, "there is no lane %u, only %u", index, pool->lane_count);
    uint32_t nobody = NOBODY;
    /* acquire: partner is the release in collect_death; the lane is as its last driver left it. */
    if (!atomic_compare_exchange_strong_explicit(&pool->lanes[index].driver, &nobody, A_WORKER,
                                                 memory_order_acquire, memory_order_relaxed))
        return kl_fail(KL_ERR_LOCKED, "another Worker has lane %u", index);
    return KL_OK;
}

uint32_t kl_worker_lane_open(uint32_t pool_handle, uint32_t index) {
    kl_worker_pool *pool = kl_worker_pool_enter(pool_handle);
    if (!pool) return 0;
    uint32_t handle = 0;
    if (take_lane(pool, index) == KL_OK) {
        pool_lane *lane = &pool->lanes[index];
        /* relaxed: the pool's own handle, entered, is counted. */
        atomic_fetch_add_explicit(&pool->drivers, 1, memory_order_relaxed);
        lane->delivered = false;
        handle = kl_handle_open(KL_HANDLE_EXECUTOR_LANE, lane, lane_ended);
        if (handle == 0) {
            kl_fail(KL_ERR_LIMIT, "all %u handles are open", KL_HANDLE_COUNT_MAX);
            lane_ended(lane);
        } else if (kl_thread_end_close(handle, KL_HANDLE_EXECUTOR_LANE) != KL_OK) {
            kl_handle_close(handle, KL_HANDLE_EXECUTOR_LANE);
            handle = 0;
        }
    }
    kl_handle_leave(pool_handle);
    return handle;
}

int32_t kl_worker_lane_close(uint32_t handle) {
    kl_thread_end_forget(handle);
    return kl_handle_close(handle, KL_HANDLE_EXECUTOR_LANE);
}

/* Pushes {token, outcome, payload}, which stands at `record`; waits while the ring is full. */
static int32_t push_result(pool_lane *lane, uint8_t *record, uint32_t token, uint32_t outcome,
                           uint32_t bytes) {
    memcpy(record, &token, sizeof token);
    memcpy(record + sizeof token, &outcome, sizeof outcome);
    kl_event_count *space = &lane->results.header->space_event;
    for (;;) {
        uint32_t key = kl_event_count_prepare(space);
        int32_t status = kl_spsc_ring_push_sp(&lane->results, record, HEADROOM + bytes);
        if (status != KL_ERR_AGAIN) return status;
        if (kl_executor_ended(lane->pool->executor)) return KL_ERR_CLOSED;
        ring(lane->pool, true);
        kl_event_count_wait(space, key, FULL_SLICE_NS, NULL);
    }
}

/* The token is the opener's again as soon as the result is in the ring: the task is let go first. */
static int32_t finish_task(pool_lane *lane, pool_task *task, uint8_t *record, uint32_t outcome,
                           uint32_t bytes) {
    drop_payload(task);
    /* release: partner is the acquire in fill_task. */
    atomic_store_explicit(&task->state, FREE, memory_order_release);
    return push_result(lane, record, task->token, outcome, bytes);
}

static int32_t end_current(pool_lane *lane, uint32_t outcome, uint8_t *result, uint32_t bytes,
                           kl_job **next) {
    kl_job *job = lane->current;
    if (!job || !lane->delivered)
        return kl_fail(KL_ERR_ARGUMENT, "this Worker runs no task that could end");
    if (outcome != KL_WORKER_VALUE && outcome != KL_WORKER_ERROR)
        return kl_fail(KL_ERR_ARGUMENT, "a task ends with a value or an error, not with %u",
                       outcome);
    if (kl_worker_graph_is_node(job)) {
        *next = kl_worker_graph_end(job, outcome, result + HEADROOM, bytes, lane->lane);
    } else {
        if (bytes > lane->pool->ring_bytes - 2 * HEADROOM)
            return kl_fail(KL_ERR_ARGUMENT, "a result of %u bytes; this pool takes at most %u",
                           bytes, lane->pool->ring_bytes - 2 * HEADROOM);
        int32_t status = finish_task(lane, (pool_task *)job, result, outcome, bytes);
        if (status != KL_OK && status != KL_ERR_CLOSED) return status;
    }
    lane->current = NULL;
    lane->delivered = false;
    kl_executor_done(lane->lane);
    return KL_OK;
}

/* True: it is to be run. Else it was cancelled, and told so; *next may have come of that. */
static bool begin_task(pool_lane *lane, kl_job *job, kl_job **next) {
    if (kl_worker_graph_is_node(job)) {
        if (kl_worker_graph_begin(job)) return true;
        *next = kl_worker_graph_end(job, KL_WORKER_CANCELLED, NULL, 0, lane->lane);
        return false;
    }
    pool_task *task = (pool_task *)job;
    uint32_t expected = QUEUED;
    /* relaxed: partner is the same in kl_worker_pool_cancel; the queue ordered the rest. */
    if (atomic_compare_exchange_strong_explicit(&task->state, &expected, RUNNING,
                                                memory_order_relaxed, memory_order_relaxed))
        return true;
    uint8_t record[HEADROOM];
    finish_task(lane, task, record, KL_WORKER_CANCELLED, 0);
    return false;
}

/* One that is kept from the last node, or one of the executor's. */
static kl_job *find_job(pool_lane *lane, kl_job **next, uint64_t timeout_ns) {
    kl_job *job = *next;
    *next = NULL;
    if (job && ++lane->kept < KEPT_MAX) return job;
    lane->kept = 0;
    if (job) kl_executor_push(lane->lane, job);
    if (kl_executor_ended(lane->pool->executor)) return NULL;
    job = kl_executor_look(lane->lane);
    ring(lane->pool, job == NULL);
    return job ? job : kl_executor_next(lane->lane, timeout_ns);
}

static int32_t take_next(pool_lane *lane, kl_job *next, double timeout_ms) {
    uint64_t timeout_ns =
        timeout_ms > 0 && timeout_ms < 9e12 ? (uint64_t)(timeout_ms * (double)KL_NS_PER_MS) : 0;
    for (;;) {
        kl_job *job = find_job(lane, &next, timeout_ns);
        if (!job) return kl_executor_ended(lane->pool->executor) ? KL_ERR_CLOSED : KL_ERR_AGAIN;
        if (job->run == run_task || kl_worker_graph_is_node(job)) {
            if (begin_task(lane, job, &next)) {
                lane->current = job;
                lane->delivered = false;
                return KL_OK;
            }
        } else {
            job->run(job, KL_OK, lane->lane);
        }
        kl_executor_done(lane->lane);
    }
}

static int32_t deliver(pool_lane *lane, uint8_t *out, uint32_t capacity) {
    uint64_t bytes;
    if (capacity < sizeof(kl_worker_order))
        return kl_fail(KL_ERR_ARGUMENT, "an order has at least %zu bytes", sizeof(kl_worker_order));
    if (kl_worker_graph_is_node(lane->current)) {
        bytes = kl_worker_graph_order(lane->current, out, capacity);
    } else {
        pool_task *task = (pool_task *)lane->current;
        kl_worker_order order = {(uint32_t)sizeof order + task->bytes, task->function, 0};
        bytes = (uint64_t)sizeof order + task->bytes;
        if (bytes <= capacity) {
            memcpy(out, &order, sizeof order);
            memcpy(out + sizeof order, task->large ? task->large : task->small, task->bytes);
            drop_payload(task);
        }
    }
    if (bytes > capacity) {
        uint32_t wanted = bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes;
        memcpy(out, &wanted, sizeof wanted);
        return KL_ERR_LIMIT;
    }
    lane->delivered = true;
    return KL_OK;
}

int32_t kl_worker_lane_turn(uint32_t handle, uint32_t outcome, uint8_t *result,
                            uint32_t result_bytes, uint8_t *out, uint32_t capacity,
                            double timeout_ms) {
    pool_lane *lane = kl_handle_enter(handle, KL_HANDLE_EXECUTOR_LANE);
    if (!lane) return kl_fail(KL_ERR_HANDLE, "this Worker has no lane any more");
    int32_t status = KL_OK;
    kl_job *next = NULL;
    if (outcome != KL_WORKER_NOTHING)
        status = end_current(lane, outcome, result, result_bytes, &next);
    else if (lane->delivered)
        status = kl_fail(KL_ERR_ARGUMENT, "the task of this Worker has not ended");
    if (status == KL_OK && !lane->current) status = take_next(lane, next, timeout_ms);
    if (status == KL_OK) status = deliver(lane, out, capacity);
    kl_handle_leave(handle);
    return status;
}

int32_t kl_worker_lane_function(uint32_t handle, uint32_t function, uint8_t *out,
                                uint32_t capacity) {
    pool_lane *lane = kl_handle_enter(handle, KL_HANDLE_EXECUTOR_LANE);
    if (!lane) return kl_fail(KL_ERR_HANDLE, "this Worker has no lane any more");
    kl_worker_pool *pool = lane->pool;
    int32_t status = KL_ERR_NOT_FOUND;
    pthread_mutex_lock(&pool->mutex);
    if (function < pool->name_count) {
        const uint8_t *name = pool->names[function];
        status = name[0];
        memcpy(out, name + 1, name[0] < capacity ? name[0] : capacity);
    }
    pthread_mutex_unlock(&pool->mutex);
    kl_handle_leave(handle);
    return status;
}
