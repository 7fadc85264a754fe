/* cpu: how many processors, what they can, where a thread runs, and how to wait politely.
 *
 * The features are read from the processor once, at the first call, and never change after.
 * Every thread that races to be first computes the same value, so the store needs no order.
 * Progress: wait-free. Any thread.
 */
#ifndef KL_BASE_CPU_H
#define KL_BASE_CPU_H

#include "base/status.h"

/* Two cores pass memory to each other in units of this many bytes. */
#define KL_LINE_BYTES 64

/* Bits of kl_cpu_features(). */
#define KL_CPU_SSE42      (1u << 0)
#define KL_CPU_PCLMUL     (1u << 1)
#define KL_CPU_CLFLUSHOPT (1u << 2)
#define KL_CPU_CLWB       (1u << 3)
#define KL_CPU_AVX2       (1u << 4)
#define KL_CPU_AVX512     (1u << 5) /* F, BW, DQ and VL together, and the system saves them */
#define KL_CPU_VPCLMUL    (1u << 6)
#define KL_CPU_ARM_CRC    (1u << 7)
#define KL_CPU_ARM_DCPOP  (1u << 8) /* dc cvap: clean to the point of persistence */

/* Processors this process may run on (its affinity, not the machine's size); at least 1. */
KL_API uint32_t kl_cpu_count(void);

KL_API uint32_t kl_cpu_features(void);

/* The number of the `index`-th processor (from 0, rising) the calling thread may run on, for
 * kl_cpu_pin; KL_ERR_LIMIT: it may run on fewer. Ask before pinning: a pinned thread has one. */
KL_API int32_t kl_cpu_nth(uint32_t index);

/* The processor the calling thread runs on right now; -1 when the system does not say. */
KL_API int32_t kl_cpu_current(void);

/* The calling thread runs on processor `cpu` only, until the next pin or unpin. KL_ERR_ARGUMENT (there
 * is no such processor, or this process may not use it: nothing changed), KL_ERR_IO. Threads that it
 * starts inherit the pin. */
KL_API int32_t kl_cpu_pin(uint32_t cpu);

/* The same for any of `count` processors, those of them that are there and allowed. */
int32_t kl_cpu_pin_to(const uint32_t *cpus, uint32_t count);

/* Gives the calling thread back what it could run on before its first pin. KL_OK without a pin. */
KL_API int32_t kl_cpu_unpin(void);

bool kl_cpu_pinned(void); /* by kl_cpu_pin, the calling thread */

/* Whether it is worth spinning for another thread: it may run at the same time as this one. */
static inline bool kl_cpu_others_run(void) {
    return kl_cpu_count() > 1 || kl_cpu_pinned();
}

/* In a loop that waits for another core: saves power and lets the sibling thread run. */
static inline void kl_cpu_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    /* isb, not yield: yield is a no-op on most cores; isb waits some tens of cycles. */
    __asm__ volatile("isb" ::: "memory");
#endif
}

#endif
