/* queue_drive: the work of every queue row, for whatever queue the including file has. It defines, before
 * it includes this file,
 *
 *   queue, queue_end                             the queue; one thread's grip on one end of it
 *   queue *queue_open(uint64_t capacity)
 *   queue_end *queue_take(queue *, bool pushes, uint32_t index)   the end for thread `index`
 *   bool queue_push(queue_end *, uint64_t), bool queue_pop(queue_end *, uint64_t *)
 *   and, with QUEUE_HAS_MANY, uint32_t queue_push_many(queue_end *, const uint64_t *, uint32_t),
 *   queue_pop_many(...); without, batches go one by one
 *
 * and calls drive_queue() as its main: `PROGRAM MODE PRODUCERS CONSUMERS ITEMS BATCH CAPACITY`.
 *   pair      one thread pushes BATCH and pops BATCH
 *   flow      every producer pushes its share, every consumer pops its own
 *   pingpong  two threads and two queues, one value under way: ITEMS round trips
 */
#ifndef KL_BENCH_LOCKFREE_QUEUE_DRIVE_H
#define KL_BENCH_LOCKFREE_QUEUE_DRIVE_H

#include "bench/frame/threads.h"

#define QUEUE_BATCH_MAX 256u

#ifndef QUEUE_HAS_MANY
static inline uint32_t queue_push_many(queue_end *end, const uint64_t *values, uint32_t count) {
    uint32_t done = 0;
    while (done < count && queue_push(end, values[done])) done++;
    return done;
}

static inline uint32_t queue_pop_many(queue_end *end, uint64_t *values, uint32_t count) {
    uint32_t done = 0;
    while (done < count && queue_pop(end, &values[done])) done++;
    return done;
}
#endif

typedef struct {
    queue *there, *back;
    uint64_t items, batch;
    uint32_t producers, consumers;
    uint64_t digests[THREADS_MAX][16]; /* a line or two apart */
} queue_work;

/* Pushes first, first + 1, ... */
static void push_share(queue_end *end, uint64_t first, uint64_t count, uint64_t batch) {
    uint32_t tries = 0;
    if (batch == 1) {
        for (uint64_t i = 0; i < count; i++) {
            while (!queue_push(end, first + i)) wait_politely(&tries);
            tries = 0;
        }
        return;
    }
    uint64_t values[QUEUE_BATCH_MAX];
    for (uint64_t done = 0; done < count;) {
        uint32_t wanted = (uint32_t)(count - done < batch ? count - done : batch), in = 0;
        for (uint32_t i = 0; i < wanted; i++) values[i] = first + done + i;
        while (in < wanted) {
            uint32_t more = queue_push_many(end, values + in, wanted - in);
            if (more == 0) wait_politely(&tries);
            in += more;
        }
        done += wanted;
    }
}

static uint64_t pop_share(queue_end *end, uint64_t count, uint64_t batch, bool in_order) {
    uint64_t digest = 0, value;
    uint32_t tries = 0;
    if (batch == 1) {
        for (uint64_t i = 0; i < count; i++) {
            while (!queue_pop(end, &value)) wait_politely(&tries);
            tries = 0;
            digest = in_order ? digest_in_order(digest, value) : digest_in_any_order(digest, value);
        }
        return digest;
    }
    uint64_t values[QUEUE_BATCH_MAX];
    for (uint64_t done = 0; done < count;) {
        uint32_t wanted = (uint32_t)(count - done < batch ? count - done : batch);
        uint32_t out = queue_pop_many(end, values, wanted);
        if (out == 0) wait_politely(&tries);
        for (uint32_t i = 0; i < out; i++)
            digest = in_order ? digest_in_order(digest, values[i])
                              : digest_in_any_order(digest, values[i]);
        done += out;
    }
    return digest;
}

static void run_pair(void *argument, uint32_t index) {
    queue_work *work = (queue_work *)argument;
    queue_end *in = queue_take(work->there, true, index), *out = queue_take(work->there, false, 0);
    uint64_t digest = 0, value = 0;
    if (work->batch == 1) {
        for (uint64_t i = 0; i < work->items; i++) {
            if (!queue_push(in, i) || !queue_pop(out, &value)) exit(3);
            digest = digest_in_order(digest, value);
        }
    } else {
        uint64_t values[QUEUE_BATCH_MAX];
        for (uint64_t i = 0; i < work->items; i += work->batch) {
            for (uint64_t k = 0; k < work->batch; k++) values[k] = i + k;
            uint32_t batch = (uint32_t)work->batch;
            if (queue_push_many(in, values, batch) != batch) exit(3);
            if (queue_pop_many(out, values, batch) != batch) exit(3);
            for (uint64_t k = 0; k < work->batch; k++) digest = digest_in_order(digest, values[k]);
        }
    }
    work->digests[0][0] = digest;
}

static void run_flow(void *argument, uint32_t index) {
    queue_work *work = (queue_work *)argument;
    /* Producers and consumers alternate, so that one of each has a processor. */
    uint32_t pairs = work->producers < work->consumers ? work->producers : work->consumers;
    bool pushes = index < 2 * pairs ? index % 2 == 0 : work->producers > work->consumers;
    uint32_t number = index < 2 * pairs ? index / 2 : index - pairs;
    queue_end *end = queue_take(work->there, pushes, number);
    uint64_t share = work->items / (pushes ? work->producers : work->consumers);
    if (pushes)
        push_share(end, number * share, share, work->batch);
    else
        work->digests[number][0] =
            pop_share(end, share, work->batch, work->producers == 1 && work->consumers == 1);
}

static void run_pingpong(void *argument, uint32_t index) {
    queue_work *work = (queue_work *)argument;
    queue *first = index == 0 ? work->there : work->back,
          *second = index == 0 ? work->back : work->there;
    queue_end *out = queue_take(first, true, index), *in = queue_take(second, false, index);
    uint64_t digest = 0, value = 0;
    for (uint64_t i = 0; i < work->items; i++) {
        uint32_t tries = 0;
        if (index == 0 && !queue_push(out, i)) exit(3);
        while (!queue_pop(in, &value)) wait_eagerly(&tries);
        if (index == 1 && !queue_push(out, value)) exit(3);
        digest = digest_in_order(digest, value);
    }
    work->digests[0][0] = digest;
}

static int drive_queue(int count, char **words) {
    if (count != 7) return 2;
    static queue_work work;
    work.producers = (uint32_t)number_argument(words, 2);
    work.consumers = (uint32_t)number_argument(words, 3);
    work.items = number_argument(words, 4);
    work.batch = number_argument(words, 5);
    uint64_t capacity = number_argument(words, 6);
    if (work.batch == 0 || work.batch > QUEUE_BATCH_MAX) return 2;
    work.there = queue_open(capacity);
    bool pingpong = strcmp(words[1], "pingpong") == 0;
    if (pingpong) work.back = queue_open(capacity);
    bool pair = strcmp(words[1], "pair") == 0;
    uint32_t threads = pair ? 1 : pingpong ? 2 : work.producers + work.consumers;
    double seconds = timed_threads(threads,
                                   pair       ? run_pair
                                   : pingpong ? run_pingpong
                                              : run_flow,
                                   &work);
    uint64_t digest = 0;
    for (uint32_t i = 0; i < THREADS_MAX; i++) digest += work.digests[i][0];
    print_result(seconds, digest);
    printf("\n");
    return 0;
}

#endif
