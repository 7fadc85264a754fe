/* exec/executor in bare C: see pool_drive.h. Two words more, SPIN_NS and STEAL, fix what else tunes
 * itself. */
#include "exec/executor.h"

#include "bench/exec/task_body.h"

#define SUBMIT_MANY 256u

typedef struct {
    kl_job job;
    uint32_t index;
} numbered_job;

typedef struct {
    kl_executor *executor;
    numbered_job *jobs;
    uint32_t room;
} pool;

static void run_job(kl_job *job, int32_t status, kl_executor_lane *lane) {
    (void)lane;
    if (status == KL_OK) task_body(((numbered_job *)(void *)job)->index);
}

static uint64_t fixed_spin_ns, fixed_steal;

static pool *pool_open(uint32_t threads) {
    static pool made;
    kl_executor_options options = {.lanes = threads, .threads = true, .pin = true};
    if (fixed_steal != 0) {
        options.fixed = true;
        options.no_spin = fixed_spin_ns == 0;
        options.spin_ns_max = (uint32_t)fixed_spin_ns;
        options.steal_max = (uint32_t)fixed_steal;
    }
    if (kl_executor_open(&made.executor, &options) != KL_OK) exit(1);
    return &made;
}

static void pool_run(pool *one, uint32_t first, uint32_t tasks) {
    if (one->room < tasks) {
        one->jobs = realloc(one->jobs, tasks * sizeof *one->jobs);
        one->room = tasks;
    }
    kl_job *batch[SUBMIT_MANY];
    for (uint32_t done = 0; done < tasks;) {
        uint32_t count = tasks - done < SUBMIT_MANY ? tasks - done : SUBMIT_MANY;
        for (uint32_t i = 0; i < count; i++) {
            one->jobs[done + i] = (numbered_job){{run_job}, first + done + i};
            batch[i] = &one->jobs[done + i].job;
        }
        for (uint32_t in = 0, tries = 0; in < count;) {
            uint32_t more = kl_executor_submit_many(one->executor, batch + in, count - in);
            if (more == 0) wait_politely(&tries);
            in += more;
        }
        done += count;
    }
    if (kl_executor_drain(one->executor, KL_FOREVER) != KL_OK) exit(3);
}

#include "bench/exec/pool_drive.h"

int main(int count, char **words) {
    if (count == 7) {
        fixed_spin_ns = number_argument(words, 5);
        fixed_steal = number_argument(words, 6);
        count = 5;
    }
    return drive_pool(count, words);
}
