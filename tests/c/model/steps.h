/* steps: stops a thread before its k-th atomic operation. For files named *_steps_test.c, which
 * tools/test_c.ts builds so that each atomic operation and fence of c/ and of the file itself calls
 * this unit. Real threads, real processes, real atomics (all seq_cst).
 *
 *   for (uint64_t k = 1;; k++) {
 *       int pid = kl_test_fork(push_killed_at, &k);    // kl_steps_kill_at(k); push; return 0
 *       int end = kl_test_join(pid);
 *       ... attach, recover, check the invariants ...
 *       if (end == 0) break;                           // it has fewer than k steps
 *       KL_CHECK_EQ(end, 128 + SIGKILL);
 *   }
 *
 * Counters and orders are of the calling thread: they do not travel to threads it starts; a forked
 * child begins with its parent's, so give them in the child. The steps of one operation are the
 * same in every run as long as nobody else changes its memory. */
#ifndef KL_TESTS_MODEL_STEPS_H
#define KL_TESTS_MODEL_STEPS_H

#include <stdint.h>

#include "tests/c/harness.h"

/* Atomic operations and fences of the calling thread so far. */
uint64_t kl_steps_count(void);

/* SIGKILL to the own process before the k-th atomic operation from now (1: the next). 0: no more. */
void kl_steps_kill_at(uint64_t k);

/* Calls `hook` once before the k-th atomic operation from now; the hook's own are not counted. 0, NULL:
 * no more; to be called, too, after a hook left by longjmp. */
void kl_steps_pause_at(uint64_t k, void (*hook)(void));

/* From now on yields, spins or goes straight on between atomic operations, by chance. 0: no more. */
void kl_steps_yield(uint64_t seed);

/* "c/lockfree/spsc_ring.c:212 store" of the last operation, for messages. */
const char *kl_steps_last(void);

#endif
