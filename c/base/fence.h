/* fence: makes atomic_thread_fence(memory_order_seq_cst) as cheap on x86 as it can be.
 *
 * clang translates the fence into mfence, which waits for more than the memory model asks. A
 * locked instruction on the own stack orders the same loads and stores in half the time (push and pop
 * of a work_deque: 18 ns with mfence, 8 with this; gcc 12 emits it itself). Only ordinary memory:
 * non-temporal stores and flushes are ordered by mem/flush.
 *
 * Include it in a unit whose fast path has a full fence; the text of the unit stays plain C11. Not
 * active where tests look at the fences (sanitizers, tests/c/model/hooked).
 */
#ifndef KL_BASE_FENCE_H
#define KL_BASE_FENCE_H

#include <stdatomic.h>

#if defined(__x86_64__) && defined(__clang__) && !defined(KL_HOOKED_ATOMICS_H)
#if !__has_feature(thread_sanitizer)

static inline void kl_thread_fence(memory_order order) {
    if (order == memory_order_seq_cst)
        __asm__ volatile("lock; orq $0, -8(%%rsp)" ::: "memory", "cc");
    else
        __c11_atomic_thread_fence((int)order);
}

#undef atomic_thread_fence
#define atomic_thread_fence(order) kl_thread_fence(order)

#endif
#endif

#endif
