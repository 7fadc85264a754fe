/* membarrier: a full barrier whose price is paid by one side only.
 *
 * Readers that announce themselves with a store and then load what they protect need a full barrier
 * between the two, as does whoever unlinks something and then looks for announcements (Dekker).
 * Readers are many and reclaimers few, so the readers' barrier is light (the compiler keeps the
 * order, the processor need not) and the reclaimer's is heavy: one system call, after which every
 * running thread of this process has passed a full barrier (Linux membarrier, PRIVATE_EXPEDITED).
 *
 *   reader   kl_membarrier_announce_light(&word, x)  store, light    load what others unlink
 *   reclaimer                                        unlink, heavy   load the words
 *
 * Always: of a reader and a reclaimer that ran as above at least one sees the store of the other.
 * Where kl_membarrier_prepare refuses (an old kernel, a seccomp filter, an emulator, a thread
 * sanitized build, several processes) both sides use kl_membarrier_announce and a seq_cst fence.
 * Source: Desnoyers et al., "User-level implementations of read-copy update", TPDS 23(2), 2012.
 * Progress: wait-free; heavy is one system call of about 0.4 us, and some more per running thread.
 * Any thread may call anything here at any time. For threads of one process only.
 */
#ifndef KL_SYNC_MEMBARRIER_H
#define KL_SYNC_MEMBARRIER_H

#include <stdatomic.h>

#include "base/fence.h"
#include "base/status.h"
#include "sync/shared_copy.h" /* KL_THREAD_SANITIZED */

/* To be asked before the first light barrier that counts on heavy ones. KL_OK: kl_membarrier_heavy
 * works in this process. KL_ERR_UNSUPPORTED (no detail): use fences. Once two system calls, which take the
 * kernel about 15 ms in a process that has threads already. */
int32_t kl_membarrier_prepare(void);

/* The reclaimer's half. KL_OK, or KL_ERR_UNSUPPORTED when the system has taken the call away since
 * kl_membarrier_prepare (a filter installed later): nothing may be concluded from the words then. */
int32_t kl_membarrier_heavy(void);

/* The reader's half. */
static inline void kl_membarrier_light(void) {
    atomic_signal_fence(memory_order_seq_cst);
}

/* Stores an announcement, then a light barrier. Release: whoever sees the new announcement knows that
 * what the thread did under the one before is over; partner is the acquire of whoever looks. */
static inline void kl_membarrier_announce_light(_Atomic uint64_t *word, uint64_t value) {
    atomic_store_explicit(word, value, memory_order_release);
    kl_membarrier_light();
}

/* The same with a full barrier: partner is the seq_cst fence of whoever looks. */
static inline void kl_membarrier_announce(_Atomic uint64_t *word, uint64_t value) {
#ifdef KL_THREAD_SANITIZED /* which does not follow fences */
    atomic_exchange_explicit(word, value, memory_order_seq_cst);
#else
    atomic_store_explicit(word, value, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

#endif
