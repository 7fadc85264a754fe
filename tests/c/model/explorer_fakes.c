/* The world outside of the code under test, by the linker's --wrap: each WRAP below is called
 * where hooked objects (and others: then nothing runs, and the real one is called) call NAME from
 * another file. tools/hooked.ts reads the names from here. */
#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>

#include "mem/region.h"
#include "tests/c/model/explorer.h"
#include "tests/c/model/explorer_state.h"

#define GENERATION_PROCESS 7u
#define GENERATION_THREAD  9u

/* Kept outside of the statics that are watched. */
typedef struct {
    kl_region_header header;
    kl_region regions[THREADS];
    _Atomic uint32_t local_poison;
} world_state;

static union {
    world_state world;
    uint8_t room[sizeof(world_state)];
} *worlds;

/* ---- regions ---- */

uint32_t kl_model_participant(uint32_t index) {
    return kl_participant_id(GENERATION_PROCESS, index < MAIN ? index : MAIN);
}

uint32_t kl_model_participant_thread(uint32_t index) {
    return kl_participant_id(GENERATION_THREAD, index < MAIN ? index : MAIN);
}

void kl_explorer_world_reset(void) {
    if (!worlds) worlds = aligned_alloc(128, (sizeof *worlds + 127) & ~(size_t)127);
    if (!worlds) abort();
    memset((void *)&worlds->world.header.poisoned, 0, sizeof worlds->world.header.poisoned);
    worlds->world.local_poison = 0;
    for (uint32_t i = 0; i < THREADS; i++) {
        kl_region *region = &worlds->world.regions[i];
        memset((void *)region, 0, sizeof *region);
        region->shared = &worlds->world.header;
        region->poisoned = &worlds->world.local_poison;
        region->self = kl_model_participant(i);
        region->published = true;
        region->path = (char *)"model";
    }
}

kl_region *kl_model_region(void) {
    return &worlds->world.regions[X.current];
}

void kl_model_poison(void) {
    worlds->world.header.poisoned = 1;
}

/* Whoever finds somebody dead knows all that one did: the kernel told it, after the processor that the
 * dead one was on had done its stores. */
static bool lives(uint32_t generation, uint32_t id) {
    uint32_t slot = id & 0xff;
    if (id >> 8 != generation || slot > MAIN) return false;
    if (slot == X.current || slot == MAIN) return true;
    kl_explorer_step(&(step){.kind = STEP_ALIVE,
                             .reads = true,
                             .address = (uintptr_t)&X.died[slot],
                             .bytes = sizeof X.died[slot]});
    kl_explorer_event()->read = !X.died[slot];
    if (!X.died[slot]) return true;
    kl_explorer_thread_learns(X.current, &X.threads[slot].now);
    return false;
}

/* The wrapped names are declared here: nothing else calls them. */
#define WRAP(type, name, ...)        \
    type __real_##name(__VA_ARGS__); \
    type __wrap_##name(__VA_ARGS__); \
    type __wrap_##name(__VA_ARGS__)

static bool runs(void) {
    return kl_explorer && X.running;
}

WRAP(bool, kl_region_alive, kl_region *region, uint32_t participant) {
    if (!runs()) return __real_kl_region_alive(region, participant);
    if (worlds->world.header.poisoned) return participant == kl_region_self(region);
    return lives(GENERATION_PROCESS, participant);
}

WRAP(bool, kl_region_thread_alive, kl_region *region, uint32_t participant) {
    if (!runs()) return __real_kl_region_thread_alive(region, participant);
    if (worlds->world.header.poisoned) return participant == kl_model_participant_thread(X.current);
    return lives(GENERATION_THREAD, participant);
}

WRAP(int32_t, kl_region_thread_join, kl_region *region) {
    if (!runs()) return __real_kl_region_thread_join(region);
    return (int32_t)kl_model_participant_thread(X.current);
}

WRAP(int32_t, kl_region_thread_leave, kl_region *region) {
    return runs() ? KL_OK : __real_kl_region_thread_leave(region);
}

WRAP(void, kl_region_poison, kl_region *region) {
    if (runs())
        kl_model_poison();
    else
        __real_kl_region_poison(region);
}

WRAP(int32_t, kl_region_check, const kl_region *region) {
    if (!runs()) return __real_kl_region_check(region);
    return worlds->world.header.poisoned ? KL_ERR_POISONED : KL_OK;
}

/* ---- errors ---- */

WRAP(int32_t, kl_fail, int32_t status, const char *format, ...) {
    (void)format; /* outside of executions, too: the text is not kept */
    return status;
}

WRAP(int32_t, kl_fail_errno, int32_t status, int error, const char *format, ...) {
    (void)format, (void)error;
    return status;
}

WRAP(void, kl_bug, const char *what, const char *file, int line) {
    if (!runs()) __real_kl_bug(what, file, line);
    kl_explorer_fail("%s:%d: KL_ASSERT(%s)", file, line, what);
}

WRAP(void, kl_test_fail, const char *file, int line, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (runs()) kl_explorer_fail("%s:%d: %s", file, line, text);
    __real_kl_test_fail(file, line, "%s", text);
}

/* ---- time and turns ---- */

WRAP(int, clock_gettime, clockid_t clock, struct timespec *out) {
    if (!runs()) return __real_clock_gettime(clock, out);
    out->tv_sec = (time_t)(X.now_ns / 1000000000u);
    out->tv_nsec = (long)(X.now_ns % 1000000000u);
    return 0;
}

WRAP(uint32_t, kl_cpu_count, void) {
    if (!runs()) return __real_kl_cpu_count();
    return X.model->cpus ? X.model->cpus : 1;
}

WRAP(int, sched_yield, void) {
    if (!runs()) return __real_sched_yield();
    kl_hook_pause();
    return 0;
}

WRAP(int, nanosleep, const struct timespec *time, struct timespec *left) {
    if (!runs()) return __real_nanosleep(time, left);
    kl_hook_pause();
    return 0;
}

/* ---- system calls ---- */

static mutex *mutex_at(uintptr_t address) {
    uint32_t i = (uint32_t)(address >> 3) % MUTEXES_MAX, tries = 0;
    while (X.mutexes[i].address != 0 && X.mutexes[i].address != address) {
        i = (i + 1) % MUTEXES_MAX;
        if (++tries == MUTEXES_MAX) kl_explorer_fail("more than %u mutexes", MUTEXES_MAX);
    }
    X.mutexes[i].address = address;
    return &X.mutexes[i];
}

/* Sleepers and wakers of one word have one order, as if by a lock, and know what those before them
 * knew. That the kernel has full barriers besides is not relied on. */
static void enter_queue(uintptr_t word) {
    mutex *queue = mutex_at(word);
    thread *self = &X.threads[X.current];
    kl_explorer_thread_learns(X.current, &queue->seen);
    kl_explorer_learn(&queue->seen, &self->now);
    self->now.clock[X.current]++;
}

static long futex_wait(uintptr_t word, uint32_t expected, const struct timespec *timeout) {
    kl_explorer_step(&(step){.kind = STEP_WAIT,
                             .reads = true,
                             .queues = true,
                             .needs_drain = X.memory == KL_MODEL_TSO,
                             .address = word,
                             .bytes = 4});
    kl_explorer_atomic_access(word, 4, false);
    enter_queue(word);
    uint64_t value;
    kl_explorer_kernel_read(word, 4, &value);
    thread *self = &X.threads[X.current];
    self->idle_reads = 0;
    if ((uint32_t)value != expected) return errno = EAGAIN, -1;
    if (X.current == MAIN) return errno = ETIMEDOUT, -1;
    self->timed = timeout != NULL;
    self->timed_out = false;
    if (timeout)
        self->deadline_ns =
            X.now_ns + (uint64_t)timeout->tv_sec * 1000000000u + (uint64_t)timeout->tv_nsec;
    self->asleep_since = ++X.sleeps;
    self->pending.address = word;
    self->state = T_ASLEEP;
    kl_explorer_switch_out();
    if (self->timed_out) return errno = ETIMEDOUT, -1;
    return 0;
}

static long futex_wake(uintptr_t word, uint32_t most) {
    kl_explorer_step(&(step){.kind = STEP_WAKE,
                             .queues = true,
                             .needs_drain = X.memory == KL_MODEL_TSO,
                             .address = word,
                             .bytes = 4});
    kl_explorer_atomic_access(word, 4, false);
    enter_queue(word);
    uint32_t woken = 0;
    while (woken < most) {
        uint32_t sleepers[THREADS], count = 0;
        for (uint32_t i = 0; i < MAIN; i++)
            if (X.threads[i].state == T_ASLEEP && X.threads[i].pending.address == word)
                sleepers[count++] = i;
        if (count == 0) break;
        uint32_t chosen = most - woken >= count ? 0 : kl_explorer_choose(count);
        X.threads[sleepers[chosen]].state = T_WOKEN;
        woken++;
    }
    kl_explorer_event()->read = woken;
    return woken;
}

void kl_model_heavy_fence(void) {
    if (!runs()) return;
    kl_explorer_step(&(step){.kind = STEP_HEAVY, .everything = true});
    for (uint32_t round = 0; round < 2; round++)
        for (uint32_t i = 0; i < THREADS; i++)
            if (i == X.current || (i < MAIN && X.threads[i].state != T_UNUSED))
                kl_explorer_seq_cst_fence(i);
}

WRAP(long, syscall, long number, ...) {
    long arguments[6];
    va_list list;
    va_start(list, number);
    for (uint32_t i = 0; i < 6; i++) arguments[i] = va_arg(list, long);
    va_end(list);
    if (!runs())
        return __real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3],
                              arguments[4], arguments[5]);
    uintptr_t word = (uintptr_t)arguments[0];
    if (number == SYS_futex && (arguments[1] & FUTEX_CMD_MASK) == FUTEX_WAIT)
        return futex_wait(word, (uint32_t)arguments[2], (const struct timespec *)arguments[3]);
    if (number == SYS_futex && (arguments[1] & FUTEX_CMD_MASK) == FUTEX_WAKE)
        return futex_wake(word, (uint32_t)arguments[2]);
    if (number == SYS_gettid || number == SYS_getpid) return 1000 + (long)X.current;
    if (number == SYS_membarrier) {
        if (arguments[0] == MEMBARRIER_CMD_QUERY)
            return MEMBARRIER_CMD_PRIVATE_EXPEDITED | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;
        if (arguments[0] == MEMBARRIER_CMD_PRIVATE_EXPEDITED) kl_model_heavy_fence();
        return 0;
    }
    kl_explorer_fail("system call %ld has no model", number);
}

/* ---- mutexes ---- */

bool kl_explorer_lock_is_free(uintptr_t address) {
    return mutex_at(address)->owner == 0;
}

static void lock_step(uint8_t kind, pthread_mutex_t *of) {
    kl_explorer_step(&(step){.kind = kind,
                             .reads = true,
                             .writes = true,
                             .needs_drain = X.memory == KL_MODEL_TSO,
                             .address = (uintptr_t)of,
                             .bytes = 8});
}

static void take(mutex *m) {
    m->owner = X.current + 1;
    kl_explorer_thread_learns(X.current, &m->seen);
}

WRAP(int, pthread_mutex_lock, pthread_mutex_t *of) {
    if (!runs()) return __real_pthread_mutex_lock(of);
    lock_step(STEP_LOCK, of);
    mutex *m = mutex_at((uintptr_t)of);
    if (m->owner != 0) kl_explorer_fail("a mutex is locked where nobody can unlock it");
    take(m);
    return 0;
}

WRAP(int, pthread_mutex_trylock, pthread_mutex_t *of) {
    if (!runs()) return __real_pthread_mutex_trylock(of);
    lock_step(STEP_UNLOCK, of);
    mutex *m = mutex_at((uintptr_t)of);
    if (m->owner != 0) return EBUSY;
    take(m);
    return 0;
}

WRAP(int, pthread_mutex_unlock, pthread_mutex_t *of) {
    if (!runs()) return __real_pthread_mutex_unlock(of);
    lock_step(STEP_UNLOCK, of);
    mutex *m = mutex_at((uintptr_t)of);
    m->owner = 0;
    kl_explorer_learn(&m->seen, &X.threads[X.current].now);
    X.threads[X.current].now.clock[X.current]++;
    return 0;
}

/* ---- memory ---- */

WRAP(void *, malloc, size_t bytes) {
    return runs() ? kl_explorer_alloc(bytes, 16) : __real_malloc(bytes);
}

WRAP(void *, calloc, size_t count, size_t bytes) {
    return runs() ? kl_explorer_alloc(count * bytes, 16) : __real_calloc(count, bytes);
}

WRAP(void *, aligned_alloc, size_t alignment, size_t bytes) {
    return runs() ? kl_explorer_alloc(bytes, alignment) : __real_aligned_alloc(alignment, bytes);
}

WRAP(void, free, void *memory) {
    if (runs() && kl_explorer_in_arena(memory))
        kl_explorer_free(memory);
    else
        __real_free(memory);
}

/* ---- the program ---- */

WRAP(int, main, int count, char **arguments) {
    if (getenv("KEELSON_MODEL_MUTATE")) return kl_explorer_mutate();
    return __real_main(count, arguments);
}
