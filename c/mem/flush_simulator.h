/* flush_simulator: several hosts without cache coherence, played on one coherent host, to find
 * every flush, fence and invalidation that is missing. For tests; code under test is compiled with
 * KL_FLUSH_SITES_DEBUG.
 *
 *   device   the memory all hosts share; nobody reads or writes it but the simulator
 *   view     one copy per host: what that host sees, which is its cache. The code under test runs
 *            on it as if it were the mapping; its loads and stores are plain ones.
 *
 * A view differs from the device until both sides have done their part:
 *   flush, write back   the line, if stored to, is copied aside; it reaches the device at the next
 *                       store or full fence of that host, or at any moment before
 *   invalidate          the line is fetched from the device again (stored to: written back before)
 *   flush + full fence  fetches the line again, too; flush + load fence does not (see mem/flush.h)
 *   disturbance         now and then, as the seed says: a stored line is written back though nobody
 *                       asked, an unstored one is fetched again, an older write-back gets through
 *                       before another. Off by option, to find what only works by such luck.
 *
 * A mistake is kept and given out by kl_flush_world_check: two hosts stored to one line, and one
 * wrote it back without having fetched the other's (a lease that was not handed over as mem/flush.h
 * says, or a line with two writers: on real hardware, a lost update); a host that used the view of
 * another. What stale bytes do to the code under test is for its own checks to find.
 *
 * Writers: a view by the one thread that entered as its host; device and records under one lock.
 * One world at a time in a process. Progress: blocking, slow, bounded.
 *
 * May these run at the same time?   open/close   enter/leave/seam   check
 *                      open/close      no              no             no
 *                enter/leave/seam      no        other host: yes      yes
 */
#ifndef KL_MEM_FLUSH_SIMULATOR_H
#define KL_MEM_FLUSH_SIMULATOR_H

#include "base/status.h"

#define KL_FLUSH_HOST_COUNT_MAX 8u

typedef struct {
    uint32_t host_count;  /* 2 .. KL_FLUSH_HOST_COUNT_MAX                                 */
    uint32_t disturb_one; /* one in how many seam calls disturbs; 0 = never, 1 = each     */
    size_t bytes;         /* of the shared memory; a multiple of KL_LINE_BYTES            */
    uint64_t seed;
} kl_flush_world_options;

typedef struct kl_flush_world kl_flush_world;

/* All bytes are 0 on the device and in every view. Takes over the seam of this process. */
int32_t kl_flush_world_open(kl_flush_world **out, const kl_flush_world_options *options);

/* Gives the seam back. No thread may be inside. */
void kl_flush_world_close(kl_flush_world *world);

/* This thread acts as `host` from now on, and gets that host's view. NULL: somebody else is it. */
uint8_t *kl_flush_world_enter(kl_flush_world *world, uint32_t host);

/* What was stored and not flushed stays in the view, for who enters as this host next. */
void kl_flush_world_leave(kl_flush_world *world);

/* The host dies: what it did not write back is lost; its next life starts with a fresh view. */
void kl_flush_world_crash(kl_flush_world *world, uint32_t host);

/* KL_ERR_CORRUPT with the first mistake in the detail. */
int32_t kl_flush_world_check(kl_flush_world *world);

/* The device's bytes, for a test's last look. */
void kl_flush_world_look(kl_flush_world *world, size_t from, void *out, size_t bytes);

#endif
