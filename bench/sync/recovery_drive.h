/* recovery_drive: how long after the death of its owner somebody else has a lock. The including file
 * defines, before it includes this file,
 *
 *   shared, void shared_open(shared *)        in the parent, before any child
 *   void shared_join(shared *)                in a child, before it acquires
 *   bool lock_acquire(shared *)               true: the owner was dead, and all is repaired
 *   void lock_release(shared *)
 *
 * and calls drive_recovery() as its main: `PROGRAM KILLS`. A child takes the lock and stands still; the
 * parent kills it and takes the lock. The time counts from before the kill. */
#ifndef KL_BENCH_SYNC_RECOVERY_DRIVE_H
#define KL_BENCH_SYNC_RECOVERY_DRIVE_H

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/frame/threads.h"

static int by_size(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static pid_t start_owner(shared *one) {
    int ends[2];
    if (pipe(ends) != 0) exit(1);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pin_to(1);
        shared_join(one);
        lock_acquire(one);
        if (write(ends[1], "", 1) != 1) _exit(1);
        for (;;) pause();
    }
    char ready;
    close(ends[1]);
    if (child < 0 || read(ends[0], &ready, 1) != 1) exit(1);
    close(ends[0]);
    return child;
}

static int drive_recovery(int count, char **words) {
    if (count != 2) return 2;
    static shared one;
    uint64_t kills = number_argument(words, 1), repaired = 0;
    double *times = (double *)calloc(kills, sizeof *times), sum = 0;
    shared_open(&one);
    pin_to(0);
    for (uint64_t i = 0; i < kills; i++) {
        pid_t owner = start_owner(&one);
        uint64_t start = now_ns();
        kill(owner, SIGKILL);
        if (lock_acquire(&one)) repaired++;
        times[i] = (double)(now_ns() - start) / 1e6;
        lock_release(&one);
        waitpid(owner, NULL, 0);
        sum += times[i];
    }
    qsort(times, kills, sizeof *times, by_size);
    print_result(sum / 1e3, repaired);
    printf(" median_ms=%.4f most_ms=%.4f\n", times[kills / 2], times[kills - 1]);
    return 0;
}

#endif
