#include "file/device_measure.h"

#include "base/clock.h"
#include "exec/service.h"
#include "file/device.h"
#include "file/folder.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#define BLOCK_BYTES_MAX (64u << 20)
#define COUNT_MAX       (1u << 20)
/* Synchronous overwrites walk over so much of the file, as a log does; not one hot block. */
#define SYNC_FILE_BYTES (16ull << 20)

typedef struct {
    const char *path; /* for messages */
    int fd;           /* unlinked, written once whole */
    int direct_fd;    /* -1: the file system refuses  */
    uint64_t file_bytes;
    uint32_t block_bytes;
    uint32_t count;
    uint8_t *block;
} bench;

static int32_t write_once(const bench *it) {
    for (uint64_t at = 0; at < it->file_bytes; at += it->block_bytes)
        if (pwrite(it->fd, it->block, it->block_bytes, (off_t)at) != (ssize_t)it->block_bytes)
            return kl_fail_errno(KL_ERR_IO, errno, "write the file to measure with in %s",
                                 it->path);
    if (fsync(it->fd) != 0)
        return kl_fail_errno(KL_ERR_IO, errno, "sync the file to measure with in %s", it->path);
    return KL_OK;
}

static int32_t set_up(bench *it, const char *folder) {
    char name[PATH_MAX + 40];
    snprintf(name, sizeof name, "%s/.keelson-measure-%ld-%llx", folder, (long)getpid(),
             (unsigned long long)kl_clock_monotonic_ns());
    it->path = folder;
    it->fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (it->fd < 0)
        return kl_fail_errno(KL_ERR_IO, errno, "make a file to measure with in %s", folder);
    it->direct_fd = open(name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_DIRECT);
    (void)unlink(name);
    void *block = NULL;
    if (posix_memalign(&block, KL_DEVICE_BLOCK_BYTES, it->block_bytes) != 0)
        return kl_fail(KL_ERR_MEMORY, "no memory for a block of %u bytes", it->block_bytes);
    it->block = block;
    /* Not zeros: a device may have a short cut for those. */
    for (uint32_t i = 0; i < it->block_bytes; i++) it->block[i] = (uint8_t)(i * 131 + (i >> 8));
    int32_t status = write_once(it);
    if (status == KL_OK && it->direct_fd >= 0 &&
        pwrite(it->direct_fd, it->block, it->block_bytes, 0) != (ssize_t)it->block_bytes) {
        (void)close(it->direct_fd);
        it->direct_fd = -1;
    }
    return status;
}

static void tear_down(bench *it) {
    if (it->direct_fd >= 0) (void)close(it->direct_fd);
    if (it->fd >= 0) (void)close(it->fd);
    free(it->block);
}

/* ---- mode 0 ---- */

static int compare_times(const void *a, const void *b) {
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

/* Median nanoseconds of one write that is on the disk afterwards; < 0: a status. */
static double median_sync(const bench *it, int fd, int write_flags, uint64_t *times) {
    uint64_t blocks = it->file_bytes / it->block_bytes;
    for (uint32_t i = 0; i < it->count; i++) {
        struct iovec part = {it->block, it->block_bytes};
        off_t at = (off_t)(i % blocks * it->block_bytes);
        uint64_t start = kl_clock_monotonic_ns();
        ssize_t done = pwritev2(fd, &part, 1, at, write_flags);
        if (done == (ssize_t)it->block_bytes && write_flags == 0 && fdatasync(fd) != 0) done = -1;
        if (done != (ssize_t)it->block_bytes)
            return kl_fail_errno(KL_ERR_IO, done < 0 ? errno : EIO, "measure a write in %s",
                                 it->path);
        times[i] = kl_clock_monotonic_ns() - start;
    }
    qsort(times, it->count, sizeof *times, compare_times);
    return (double)times[it->count / 2];
}

static double measure_sync(const bench *it) {
    uint64_t *times = malloc(it->count * sizeof *times);
    if (times == NULL) return kl_fail(KL_ERR_MEMORY, "no memory for %u times", it->count);
    double best = median_sync(it, it->fd, 0, times);
    if (best >= 0 && it->direct_fd >= 0) {
        double direct = median_sync(it, it->direct_fd, RWF_DSYNC, times);
        if (direct > 0 && direct < best) best = direct;
    }
    free(times);
    return best;
}

/* ---- mode 1 ---- */

typedef struct {
    const bench *it;
    int fd;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t writer_left;
    uint32_t next; /* block to be written by whoever comes first */
    uint32_t writer_count;
    int error;
} stream_run;

/* One writer: takes blocks until there are none. Several of them keep several in flight. */
static void write_share(void *argument, const _Atomic uint32_t *stop) {
    (void)stop; /* the caller waits for the last block, not for a flag */
    stream_run *run = argument;
    const bench *it = run->it;
    pthread_mutex_lock(&run->mutex);
    while (run->error == 0 && run->next < it->count) {
        off_t at = (off_t)run->next++ * it->block_bytes;
        pthread_mutex_unlock(&run->mutex);
        ssize_t done = pwrite(run->fd, it->block, it->block_bytes, at);
        int error = done < 0 ? errno : EIO;
        pthread_mutex_lock(&run->mutex);
        if (done != (ssize_t)it->block_bytes) run->error = error;
    }
    run->writer_count--;
    pthread_cond_signal(&run->writer_left);
    pthread_mutex_unlock(&run->mutex);
}

/* Writes all blocks, with a second writer beside this thread where one can be had. */
static void write_all(stream_run *run, bool two) {
    kl_service_thread *second = NULL;
    run->writer_count = two ? 2 : 1;
    if (two && kl_service_start(&second, "kl-measure", write_share, run) != KL_OK)
        run->writer_count = 1;
    write_share(run, NULL);
    pthread_mutex_lock(&run->mutex);
    while (run->writer_count > 0) pthread_cond_wait(&run->writer_left, &run->mutex);
    pthread_mutex_unlock(&run->mutex);
    if (second != NULL) (void)kl_service_stop(second);
}

/* Bytes per second, the sync included; < 0: a status. */
static double stream(const bench *it, int fd, bool two) {
    stream_run run = {.it = it, .fd = fd};
    pthread_mutex_init(&run.mutex, NULL);
    pthread_cond_init(&run.writer_left, NULL);
    uint64_t start = kl_clock_monotonic_ns();
    write_all(&run, two);
    if (run.error == 0 && fdatasync(fd) != 0) run.error = errno;
    uint64_t ns = kl_clock_monotonic_ns() - start;
    pthread_cond_destroy(&run.writer_left);
    pthread_mutex_destroy(&run.mutex);
    if (run.error != 0)
        return kl_fail_errno(KL_ERR_IO, run.error, "measure writing in %s", it->path);
    return (double)it->file_bytes * (double)KL_NS_PER_S / (double)(ns > 0 ? ns : 1);
}

static double measure_stream(const bench *it) {
    double best = stream(it, it->fd, false);
    for (int two = 0; best >= 0 && it->direct_fd >= 0 && two < 2; two++) {
        double rate = stream(it, it->direct_fd, two == 1);
        if (rate > best) best = rate;
    }
    return best;
}

double kl_device_measure(const uint8_t *folder, uint32_t folder_bytes, uint32_t mode,
                         uint32_t block_bytes, uint32_t count) {
    char path[PATH_MAX];
    int32_t status = kl_folder_text(folder, folder_bytes, path, sizeof path);
    if (status != KL_OK) return status;
    bool streams = mode == KL_DEVICE_MEASURE_STREAM;
    if (mode > KL_DEVICE_MEASURE_STREAM || block_bytes == 0 || block_bytes > BLOCK_BYTES_MAX ||
        block_bytes % KL_DEVICE_BLOCK_BYTES != 0 || count == 0 || count > COUNT_MAX ||
        (streams && (uint64_t)block_bytes * count > KL_DEVICE_MEASURE_BYTES_MAX))
        return kl_fail(KL_ERR_ARGUMENT,
                       "measure mode %u, %u blocks of %u bytes: expected mode 0 or 1, blocks that "
                       "are a multiple of %u and at most %u bytes, and at most %llu bytes in all",
                       mode, count, block_bytes, KL_DEVICE_BLOCK_BYTES, BLOCK_BYTES_MAX,
                       (unsigned long long)KL_DEVICE_MEASURE_BYTES_MAX);
    bench it = {.fd = -1, .direct_fd = -1, .block_bytes = block_bytes, .count = count};
    uint64_t wanted = (uint64_t)block_bytes * count;
    if (!streams && wanted > SYNC_FILE_BYTES)
        wanted = SYNC_FILE_BYTES > block_bytes ? SYNC_FILE_BYTES / block_bytes * block_bytes
                                               : block_bytes;
    it.file_bytes = wanted;
    status = set_up(&it, path);
    double figure = status;
    if (status == KL_OK) figure = streams ? measure_stream(&it) : measure_sync(&it);
    tear_down(&it);
    return figure;
}
