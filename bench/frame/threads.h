/* threads: what every bare program shares: threads pinned one to a processor that start together, the
 * time until the last has ended, and how they wait for each other. For C and for C++ peers: both sides
 * of a row are driven by the same lines. */
#ifndef KL_BENCH_FRAME_THREADS_H
#define KL_BENCH_FRAME_THREADS_H

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define THREADS_MAX 64u

static inline uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline void pause_once(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

/* Nothing to do just now: `tries` counts the calls in a row. With more threads than processors the
 * others must come to run, so every 64th call gives the processor away. */
static inline void wait_politely(uint32_t *tries) {
    if (++*tries % 64 == 0)
        sched_yield();
    else
        pause_once();
}

/* The same without the pause (30 ns on some processors), for round trips. */
static inline void wait_eagerly(uint32_t *tries) {
    if (++*tries % 4096 == 0) sched_yield();
}

/* Pins the caller to the `index`-th processor it may run on, counting round. */
static void pin_to(uint32_t index) {
    static cpu_set_t allowed;
    static bool known;
    if (!known) {
        if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) exit(1);
        known = true;
    }
    uint32_t wanted = index % (uint32_t)CPU_COUNT(&allowed);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed) || wanted-- != 0) continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (sched_setaffinity(0, sizeof one, &one) != 0) exit(1);
        return;
    }
}

typedef struct {
    void (*body)(void *argument, uint32_t index);
    void *argument;
    uint32_t index, count;
    uint32_t *arrived;
    uint64_t *start_ns;
    uint64_t end_ns;
} timed_thread;

static void *run_timed_thread(void *argument) {
    timed_thread *self = (timed_thread *)argument;
    uint32_t tries = 0;
    pin_to(self->index);
    if (__atomic_add_fetch(self->arrived, 1, __ATOMIC_SEQ_CST) == self->count)
        __atomic_store_n(self->start_ns, now_ns(), __ATOMIC_SEQ_CST);
    while (__atomic_load_n(self->start_ns, __ATOMIC_SEQ_CST) == 0) wait_politely(&tries);
    self->body(self->argument, self->index);
    self->end_ns = now_ns();
    return NULL;
}

/* Runs `count` threads and answers the seconds from their common start to the end of the last. */
static double timed_threads(uint32_t count, void (*body)(void *, uint32_t), void *argument) {
    pthread_t threads[THREADS_MAX];
    timed_thread states[THREADS_MAX];
    uint32_t arrived = 0;
    uint64_t start_ns = 0, end_ns = 0;
    if (count == 0 || count > THREADS_MAX) exit(2);
    pin_to(0); /* reads the allowed set before anybody is confined */
    for (uint32_t i = 0; i < count; i++) {
        timed_thread state = {body, argument, i, count, &arrived, &start_ns, 0};
        states[i] = state;
        if (pthread_create(&threads[i], NULL, run_timed_thread, &states[i]) != 0) exit(1);
    }
    for (uint32_t i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        if (states[i].end_ns > end_ns) end_ns = states[i].end_ns;
    }
    return (double)(end_ns - start_ns) / 1e9;
}

/* A running sum that tells orders apart. */
static inline uint64_t digest_in_order(uint64_t digest, uint64_t value) {
    return (digest << 1 | digest >> 63) + value;
}

/* One that does not, for values that come in any order: no two of them cancel out. */
static inline uint64_t digest_in_any_order(uint64_t digest, uint64_t value) {
    return digest + (value + 1) * 0x9e3779b97f4a7c15u;
}

/* The line that every program ends with: seconds, digest, further figures as name=value. */
static void print_result(double seconds, uint64_t digest) {
    printf("%.9f %016" PRIx64, seconds, digest);
}

static uint64_t number_argument(char **words, int index) {
    return strtoull(words[index], NULL, 10);
}

#endif
