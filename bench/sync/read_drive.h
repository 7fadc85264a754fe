/* read_drive: what it costs to read something that others may replace meanwhile. The including file
 * defines, before it includes this file,
 *
 *   reader                          one thread's grip
 *   reader *reader_open(uint64_t value)    makes what is read, holding `value`
 *   uint64_t reader_read(reader *)  enter, read, leave: the value
 *   and, with READER_QUIET, void reader_quiet(reader *)   called after every 1024 reads
 *
 * and calls drive_read() as its main: `PROGRAM READS`. Nobody writes: this is the price that every read
 * pays for writers that may come. */
#ifndef KL_BENCH_SYNC_READ_DRIVE_H
#define KL_BENCH_SYNC_READ_DRIVE_H

#include "bench/frame/threads.h"

typedef struct {
    uint64_t reads, digest, ns;
} read_work;

static void run_reads(void *argument, uint32_t index) {
    read_work *work = (read_work *)argument;
    (void)index;
    reader *one = reader_open(7);
    uint64_t digest = 0, start = now_ns(); /* opening is not in it */
    for (uint64_t done = 0; done < work->reads; done += 1024) {
        for (uint64_t i = 0; i < 1024; i++) {
            digest += reader_read(one);
            /* What is read next must be read again: nothing of it may be kept in a register. */
            __asm__ volatile("" ::: "memory");
        }
#ifdef READER_QUIET
        reader_quiet(one);
#endif
    }
    work->ns = now_ns() - start;
    work->digest = digest;
}

static int drive_read(int count, char **words) {
    if (count != 2) return 2;
    read_work work = {number_argument(words, 1), 0, 0};
    timed_threads(1, run_reads, &work);
    print_result((double)work.ns / 1e9, work.digest);
    printf("\n");
    return 0;
}

#endif
