#ifndef KL_SYNC_SHARED_COPY_H
#define KL_SYNC_SHARED_COPY_H

/* shared_copy: copying bytes that another thread or process may be overwriting, the way a seqlock
 * does: copy first, then ask whether the copy was allowed.
 *
 *   writer  kl_publish_overwrite(&frontier, n)   "everything below n may be overwritten from now"
 *           kl_copy_to_shared(...)               overwrites
 *   reader  kl_copy_from_shared(...)             may copy rubbish
 *           n = kl_frontier_after_copy(&frontier)
 *           keep the copy only if what was copied lies at or above n
 *
 * Always: a reader that saw one byte of the overwrite also sees the frontier that announced it.
 * Source: Boehm, "Can seqlocks get along with programming language memory models?", MSPC 2012.
 * A plain memcpy is a data race on paper; thread-sanitized builds copy with relaxed atomic words,
 * which is what the text above means and what the tool can follow.
 * Progress: wait-free. Any thread may call any of them; one writer per range at a time. */

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__)
#define KL_THREAD_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KL_THREAD_SANITIZED 1
#endif
#endif

/* The model build (tests/c/model) follows fences, but takes a plain copy for what it is, too. */
#if defined(KL_THREAD_SANITIZED) || defined(KL_HOOKED)
#define KL_COPIES_ATOMICALLY 1
#endif

#ifdef KL_COPIES_ATOMICALLY
static inline void kl_copy_atomically(void *to, const void *from, size_t bytes) {
    uint8_t *target = to;
    const uint8_t *source = from;
    size_t i = 0;
    for (; (((uintptr_t)to | (uintptr_t)from) & 7) == 0 && bytes - i >= 8; i += 8) {
        uint64_t value = atomic_load_explicit((const _Atomic uint64_t *)(const void *)(source + i),
                                              memory_order_relaxed);
        atomic_store_explicit((_Atomic uint64_t *)(void *)(target + i), value,
                              memory_order_relaxed);
    }
    for (; i < bytes; i++) {
        uint8_t value =
            atomic_load_explicit((const _Atomic uint8_t *)(source + i), memory_order_relaxed);
        atomic_store_explicit((_Atomic uint8_t *)(target + i), value, memory_order_relaxed);
    }
}
#endif

static inline void kl_copy_to_shared(void *to, const void *from, size_t bytes) {
#ifdef KL_COPIES_ATOMICALLY
    kl_copy_atomically(to, from, bytes);
#else
    memcpy(to, from, bytes);
#endif
}

static inline void kl_copy_from_shared(void *to, const void *from, size_t bytes) {
    kl_copy_to_shared(to, from, bytes);
}

static inline void kl_publish_overwrite(_Atomic uint64_t *frontier, uint64_t value) {
#ifdef KL_THREAD_SANITIZED
    atomic_exchange_explicit(frontier, value, memory_order_acq_rel);
#else
    atomic_store_explicit(frontier, value, memory_order_relaxed);
    /* release: partner is the acquire fence in kl_frontier_after_copy(); the frontier is visible
     * before any byte that is overwritten because of it. */
    atomic_thread_fence(memory_order_release);
#endif
}

static inline uint64_t kl_frontier_after_copy(_Atomic uint64_t *frontier) {
#ifdef KL_THREAD_SANITIZED
    return atomic_load_explicit(frontier, memory_order_acquire);
#else
    /* acquire: partner is the release fence in kl_publish_overwrite(). */
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(frontier, memory_order_relaxed);
#endif
}

/* Full barrier between a store and a later load of other words (Dekker). `word` is any atomic of
 * this host; thread-sanitized builds, which do not follow fences, put the barrier into it. */
static inline void kl_full_barrier(_Atomic uint64_t *word) {
#ifdef KL_THREAD_SANITIZED
    atomic_fetch_add_explicit(word, 0, memory_order_seq_cst);
#else
    (void)word;
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

#endif
