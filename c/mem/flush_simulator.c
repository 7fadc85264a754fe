#include "mem/flush_simulator.h"

#include "base/cpu.h"
#include "base/random.h"
#include "mem/flush.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_HOST UINT32_MAX
/* Tries to find a line that can be disturbed; with few such lines most tries find none. */
#define DISTURB_TRIES     4
#define PENDING_COUNT_MAX 256u

typedef struct {
    uint8_t bytes[KL_LINE_BYTES];
} line_bytes;

/* A write-back on its way: the line as it was when it was flushed. */
typedef struct {
    uint32_t line;
    line_bytes bytes;
} pending_line;

typedef struct {
    line_bytes *view;  /* written by the host's thread                                   */
    line_bytes *clean; /* the view as last fetched or copied aside; differs = stored to  */
    uint64_t *fetched; /* the device's version of each line that the view is based on    */
    bool *flushed;     /* the next full fence fetches it                                 */
    pending_line *pending;
    uint32_t pending_count;
    bool entered;
} simulated_host;

struct kl_flush_world {
    pthread_mutex_t mutex;
    kl_flush_world_options options;
    uint32_t line_count;
    line_bytes *device;
    uint64_t *versions; /* of each line of the device: how often it was written back */
    uint32_t *writers;  /* the host that wrote it last                               */
    simulated_host hosts[KL_FLUSH_HOST_COUNT_MAX];
    kl_random random;
    kl_flush_simulator seam;
    bool failed;
    char failure[KL_DETAIL_BYTES_MAX + 1];
};

static _Thread_local uint32_t current_host = NO_HOST;

/* ---- one line. The mutex is held in all of these ---- */

static bool is_stored(const simulated_host *host, uint32_t line) {
    return memcmp(&host->view[line], &host->clean[line], KL_LINE_BYTES) != 0;
}

static void write_device(kl_flush_world *world, uint32_t h, uint32_t line, const void *bytes) {
    simulated_host *host = &world->hosts[h];
    if (host->fetched[line] != world->versions[line] && !world->failed) {
        world->failed = true;
        snprintf(world->failure, sizeof world->failure,
                 "hosts %u and %u both stored to the line at byte %zu: the later write-back, of "
                 "host %u, was not based on the earlier one",
                 world->writers[line], h, (size_t)line * KL_LINE_BYTES, h);
    }
    memcpy(&world->device[line], bytes, KL_LINE_BYTES);
    host->fetched[line] = ++world->versions[line];
    world->writers[line] = h;
}

/* Lets write-back `index` of a host through. */
static void complete(kl_flush_world *world, uint32_t h, uint32_t index) {
    simulated_host *host = &world->hosts[h];
    write_device(world, h, host->pending[index].line, &host->pending[index].bytes);
    host->pending[index] = host->pending[--host->pending_count];
}

static void complete_line(kl_flush_world *world, uint32_t h, uint32_t line) {
    const simulated_host *host = &world->hosts[h];
    for (uint32_t i = 0; i < host->pending_count; i++)
        if (host->pending[i].line == line) {
            complete(world, h, i);
            return; /* never twice: copy_aside lets the older one through */
        }
}

static void copy_aside(kl_flush_world *world, uint32_t h, uint32_t line) {
    simulated_host *host = &world->hosts[h];
    complete_line(world, h, line); /* write-backs of one line keep their order */
    if (!is_stored(host, line)) return;
    if (host->pending_count == PENDING_COUNT_MAX) complete(world, h, 0);
    pending_line *pending = &host->pending[host->pending_count++];
    pending->line = line;
    pending->bytes = host->clean[line] = host->view[line];
}

static void fetch(kl_flush_world *world, uint32_t h, uint32_t line) {
    simulated_host *host = &world->hosts[h];
    copy_aside(world, h, line);
    complete_line(world, h, line);
    host->view[line] = host->clean[line] = world->device[line];
    host->fetched[line] = world->versions[line];
    host->flushed[line] = false;
}

static uint32_t any_below(kl_flush_world *world, uint32_t bound) {
    return (uint32_t)kl_random_below(&world->random, bound);
}

/* What a real cache may do at any moment, to this thread's own host. */
static void disturb(kl_flush_world *world, uint32_t h) {
    simulated_host *host = &world->hosts[h];
    if (world->options.disturb_one == 0 || any_below(world, world->options.disturb_one) != 0)
        return;
    if (host->pending_count > 0 && any_below(world, 2) == 0)
        complete(world, h, any_below(world, host->pending_count));
    for (int i = 0; i < DISTURB_TRIES; i++) {
        uint32_t line = any_below(world, world->line_count);
        if (is_stored(host, line)) {
            copy_aside(world, h, line);
            complete_line(world, h, line);
        } else {
            fetch(world, h, line);
        }
    }
}

/* ---- the seam ---- */

static void fail_outside(kl_flush_world *world, const char *why, const void *address) {
    if (world->failed) return;
    world->failed = true;
    snprintf(world->failure, sizeof world->failure, "host %u: %s (%p)", current_host, why, address);
}

/* The line number in this thread's view. False: not shared memory, or a mistake that is kept. */
static bool find_line(kl_flush_world *world, const void *address, uint32_t *line) {
    for (uint32_t h = 0; h < world->options.host_count; h++) {
        uintptr_t offset = (uintptr_t)address - (uintptr_t)world->hosts[h].view;
        if (offset >= world->options.bytes) continue;
        *line = (uint32_t)(offset / KL_LINE_BYTES);
        if (h != current_host) fail_outside(world, "used the view of another host", address);
        return h == current_host;
    }
    return false;
}

static void on_line(void *context, enum kl_flush_site site, enum kl_flush_work work,
                    const void *address) {
    kl_flush_world *world = context;
    (void)site;
    uint32_t line;
    pthread_mutex_lock(&world->mutex);
    if (find_line(world, address, &line)) {
        disturb(world, current_host);
        if (work == KL_WORK_INVALIDATE) {
            fetch(world, current_host, line);
        } else {
            copy_aside(world, current_host, line);
            if (work == KL_WORK_FLUSH) world->hosts[current_host].flushed[line] = true;
        }
    }
    pthread_mutex_unlock(&world->mutex);
}

static void on_fence(void *context, enum kl_flush_site site, enum kl_flush_fence fence) {
    kl_flush_world *world = context;
    (void)site;
    if (current_host == NO_HOST) return;
    simulated_host *host = &world->hosts[current_host];
    pthread_mutex_lock(&world->mutex);
    disturb(world, current_host);
    /* In any order, and others may look in between. Bounded: only this thread adds. */
    while (fence != KL_FENCE_LOAD && host->pending_count > 0) {
        complete(world, current_host, any_below(world, host->pending_count));
        pthread_mutex_unlock(&world->mutex);
        sched_yield();
        pthread_mutex_lock(&world->mutex);
    }
    for (uint32_t line = 0; fence == KL_FENCE_FULL && line < world->line_count; line++)
        if (host->flushed[line]) fetch(world, current_host, line);
    pthread_mutex_unlock(&world->mutex);
}

/* ---- open and close ---- */

static bool allocate_host(simulated_host *host, uint32_t line_count) {
    host->view = aligned_alloc(KL_LINE_BYTES, sizeof(line_bytes) * line_count);
    host->clean = calloc(line_count, sizeof *host->clean);
    host->fetched = calloc(line_count, sizeof *host->fetched);
    host->flushed = calloc(line_count, sizeof *host->flushed);
    host->pending = calloc(PENDING_COUNT_MAX, sizeof *host->pending);
    if (host->view == NULL || host->clean == NULL || host->fetched == NULL ||
        host->flushed == NULL || host->pending == NULL)
        return false;
    memset(host->view, 0, sizeof(line_bytes) * line_count);
    return true;
}

static void free_world(kl_flush_world *world) {
    for (uint32_t h = 0; h < world->options.host_count; h++) {
        simulated_host *host = &world->hosts[h];
        free(host->view);
        free(host->clean);
        free(host->fetched);
        free(host->flushed);
        free(host->pending);
    }
    free(world->device);
    free(world->versions);
    free(world->writers);
    pthread_mutex_destroy(&world->mutex);
    free(world);
}

int32_t kl_flush_world_open(kl_flush_world **out, const kl_flush_world_options *options) {
    *out = NULL;
    if (options->host_count < 2 || options->host_count > KL_FLUSH_HOST_COUNT_MAX)
        return kl_fail(KL_ERR_ARGUMENT, "%u hosts: use 2..%u", options->host_count,
                       KL_FLUSH_HOST_COUNT_MAX);
    if (options->bytes == 0 || options->bytes % KL_LINE_BYTES != 0 || options->bytes > 1u << 30)
        return kl_fail(KL_ERR_ARGUMENT, "%zu bytes: use a multiple of %u up to 1 GiB",
                       options->bytes, KL_LINE_BYTES);
    kl_flush_world *world = calloc(1, sizeof *world);
    if (world == NULL) return kl_fail(KL_ERR_MEMORY, "simulate %zu bytes", options->bytes);
    pthread_mutex_init(&world->mutex, NULL);
    world->options = *options;
    world->line_count = (uint32_t)(options->bytes / KL_LINE_BYTES);
    world->device = calloc(world->line_count, sizeof *world->device);
    world->versions = calloc(world->line_count, sizeof *world->versions);
    world->writers = calloc(world->line_count, sizeof *world->writers);
    bool allocated = world->device != NULL && world->versions != NULL && world->writers != NULL;
    for (uint32_t h = 0; h < options->host_count; h++)
        allocated = allocate_host(&world->hosts[h], world->line_count) && allocated;
    if (!allocated) {
        free_world(world);
        return kl_fail(KL_ERR_MEMORY, "simulate %u hosts of %zu bytes", options->host_count,
                       options->bytes);
    }
    kl_random_init(&world->random, options->seed);
    world->seam = (kl_flush_simulator){world, on_line, on_fence};
    kl_flush_simulate(&world->seam);
    *out = world;
    return KL_OK;
}

void kl_flush_world_close(kl_flush_world *world) {
    if (world == NULL) return;
    kl_flush_simulate(NULL);
    free_world(world);
}

uint8_t *kl_flush_world_enter(kl_flush_world *world, uint32_t host) {
    if (host >= world->options.host_count || current_host != NO_HOST) return NULL;
    pthread_mutex_lock(&world->mutex);
    bool free = !world->hosts[host].entered;
    world->hosts[host].entered = true;
    pthread_mutex_unlock(&world->mutex);
    if (!free) return NULL;
    current_host = host;
    return (uint8_t *)world->hosts[host].view;
}

void kl_flush_world_leave(kl_flush_world *world) {
    KL_ASSERT(current_host < world->options.host_count);
    pthread_mutex_lock(&world->mutex);
    world->hosts[current_host].entered = false;
    pthread_mutex_unlock(&world->mutex);
    current_host = NO_HOST;
}

void kl_flush_world_crash(kl_flush_world *world, uint32_t h) {
    KL_ASSERT(h < world->options.host_count && !world->hosts[h].entered);
    simulated_host *host = &world->hosts[h];
    pthread_mutex_lock(&world->mutex);
    host->pending_count = 0;
    for (uint32_t line = 0; line < world->line_count; line++) {
        host->view[line] = host->clean[line]; /* no longer stored to: nothing to write back */
        fetch(world, h, line);
    }
    pthread_mutex_unlock(&world->mutex);
}

int32_t kl_flush_world_check(kl_flush_world *world) {
    pthread_mutex_lock(&world->mutex);
    int32_t status = world->failed ? kl_fail(KL_ERR_CORRUPT, "%s", world->failure) : KL_OK;
    pthread_mutex_unlock(&world->mutex);
    return status;
}

void kl_flush_world_look(kl_flush_world *world, size_t from, void *out, size_t bytes) {
    KL_ASSERT(from <= world->options.bytes && bytes <= world->options.bytes - from);
    pthread_mutex_lock(&world->mutex);
    memcpy(out, (const uint8_t *)world->device + from, bytes);
    pthread_mutex_unlock(&world->mutex);
}
