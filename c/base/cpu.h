/* cpu: how many processors, what they can, and how to wait politely.
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
