/* work_deque in bare C: `deque_bare MODE TASKS BURST`.
 *   pair   one thread pushes BURST tasks and pops them
 *   steal  the owner pushes a task, then a thief on the other processor takes it: the time of its call,
 *          to which every line of the deque comes from the owner (reading the clock is in it)
 *   take   the owner pushes on, the thief takes BURST tasks a call */
#include "lockfree/work_deque.h"

#include "bench/frame/threads.h"

#define CAPACITY 8192u

typedef struct {
    kl_work_deque deque;
    uint64_t tasks, burst, digest, steal_ns;
} deque_work;

static void run_pair(void *argument, uint32_t index) {
    deque_work *work = argument;
    uint64_t digest = 0, task = 0;
    (void)index;
    for (uint64_t done = 0; done < work->tasks; done += work->burst) {
        for (uint64_t i = 0; i < work->burst; i++)
            if (kl_work_deque_push_so(&work->deque, done + i) != KL_OK) exit(3);
        for (uint64_t i = 0; i < work->burst; i++) {
            if (kl_work_deque_pop_so(&work->deque, &task) != KL_OK) exit(3);
            digest = digest_in_order(digest, task);
        }
    }
    work->digest = digest;
}

static void run_thief(deque_work *work) {
    uint64_t tasks[KL_WORK_DEQUE_BATCH_MAX], digest = 0;
    uint32_t tries = 0;
    for (uint64_t done = 0; done < work->tasks;) {
        int32_t taken = kl_work_deque_steal_mc(&work->deque, tasks, (uint32_t)work->burst);
        if (taken <= 0) wait_eagerly(&tries);
        for (int32_t i = 0; i < taken; i++) digest = digest_in_order(digest, tasks[i]);
        if (taken > 0) done += (uint64_t)taken;
    }
    work->digest = digest;
}

/* Odd: a task was pushed. Even: it was taken. */
static _Atomic uint64_t turn __attribute__((aligned(128)));

static void run_steal(void *argument, uint32_t index) {
    deque_work *work = argument;
    uint64_t task, digest = 0, ns = 0;
    for (uint64_t i = 0; i < work->tasks; i++) {
        uint32_t tries = 0;
        while (atomic_load_explicit(&turn, memory_order_acquire) != 2 * i + index)
            wait_eagerly(&tries);
        if (index == 0) {
            if (kl_work_deque_push_so(&work->deque, i) != KL_OK) exit(3);
        } else {
            uint64_t start = now_ns();
            if (kl_work_deque_steal_mc(&work->deque, &task, 1) != 1) exit(3);
            ns += now_ns() - start;
            digest = digest_in_order(digest, task);
        }
        atomic_store_explicit(&turn, 2 * i + index + 1, memory_order_release);
    }
    if (index == 1) work->digest = digest, work->steal_ns = ns;
}

static void run_take(void *argument, uint32_t index) {
    deque_work *work = argument;
    if (index == 1) {
        run_thief(work);
        return;
    }
    uint32_t tries = 0;
    for (uint64_t i = 0; i < work->tasks; i++)
        while (kl_work_deque_push_so(&work->deque, i) != KL_OK) wait_politely(&tries);
}

int main(int count, char **words) {
    if (count != 4) return 2;
    static deque_work work;
    uint64_t bytes = kl_work_deque_memory_bytes(CAPACITY);
    void *memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (memory == NULL || kl_work_deque_format(memory, CAPACITY) != KL_OK) return 1;
    if (kl_work_deque_grip(&work.deque, memory, bytes) != KL_OK) return 1;
    work.tasks = number_argument(words, 2);
    work.burst = number_argument(words, 3);
    bool pair = strcmp(words[1], "pair") == 0, steal = strcmp(words[1], "steal") == 0;
    double seconds = timed_threads(pair ? 1 : 2,
                                   pair    ? run_pair
                                   : steal ? run_steal
                                           : run_take,
                                   &work);
    if (steal) seconds = (double)work.steal_ns / 1e9;
    print_result(seconds, work.digest);
    printf("\n");
    return 0;
}
