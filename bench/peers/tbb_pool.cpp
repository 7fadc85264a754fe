// oneTBB: a task_group in an arena of as many threads, the caller being one of them.
#include <tbb/global_control.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>

#include "bench/exec/task_body.h"

struct pool {
    tbb::task_arena arena;
    explicit pool(int threads) : arena(threads) {}
};

static pool *pool_open(uint32_t threads) {
    return new pool((int)threads);
}

static void pool_run(pool *one, uint32_t first, uint32_t tasks) {
    one->arena.execute([first, tasks] {
        tbb::task_group group;
        for (uint32_t i = 0; i < tasks; i++) group.run([=] { task_body(first + i); });
        group.wait();
    });
}

#include "bench/exec/pool_drive.h"

int main(int count, char **words) {
    return drive_pool(count, words);
}
