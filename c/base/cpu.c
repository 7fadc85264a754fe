#include "base/cpu.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

/* Set beside the features, so that "none at all" is told from "not asked yet". */
#define KNOWN (1u << 31)

static _Atomic uint32_t known_features;

#if defined(__x86_64__)

/* Which register files the operating system saves (XCR0). */
static uint64_t saved_state(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static uint32_t ask_processor(void) {
    uint32_t a, b, c, d, features = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    if (c & bit_SSE4_2) features |= KL_CPU_SSE42;
    if (c & bit_PCLMUL) features |= KL_CPU_PCLMUL;
    uint64_t saved = c & bit_OSXSAVE ? saved_state() : 0;
    bool ymm = (saved & 0x06) == 0x06, zmm = (saved & 0xE6) == 0xE6;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return features;
    const uint32_t wide = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    if (b & bit_CLFLUSHOPT) features |= KL_CPU_CLFLUSHOPT;
    if (b & bit_CLWB) features |= KL_CPU_CLWB;
    if (ymm && (b & bit_AVX2)) features |= KL_CPU_AVX2;
    if (zmm && (b & wide) == wide) features |= KL_CPU_AVX512;
    if (ymm && (c & bit_VPCLMULQDQ)) features |= KL_CPU_VPCLMUL;
    return features;
}

#elif defined(__aarch64__)

static uint32_t ask_processor(void) {
    unsigned long caps = getauxval(AT_HWCAP);
    uint32_t features = 0;
    if (caps & HWCAP_CRC32) features |= KL_CPU_ARM_CRC;
    if (caps & HWCAP_DCPOP) features |= KL_CPU_ARM_DCPOP;
    return features;
}

#else

static uint32_t ask_processor(void) {
    return 0;
}

#endif

uint32_t kl_cpu_features(void) {
    /* relaxed, both: the word is all there is to see, and every writer stores the same. */
    uint32_t features = atomic_load_explicit(&known_features, memory_order_relaxed);
    if (features == 0) {
        features = ask_processor() | KNOWN;
        atomic_store_explicit(&known_features, features, memory_order_relaxed);
    }
    return features & ~KNOWN;
}

uint32_t kl_cpu_count(void) {
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
        int count = CPU_COUNT(&allowed);
        if (count > 0) return (uint32_t)count;
    }
    /* More than 1024 processors: the fixed set is too small for the kernel's answer. */
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (uint32_t)online : 1;
}

/* ---- where a thread runs ---- */

/* The kernel's largest: a set of another size than its own is refused when it is smaller. */
#define SETS 8
#define CPUS (SETS * CPU_SETSIZE)

typedef struct {
    cpu_set_t sets[SETS];
} wide_set;

/* Where the thread might run before it was pinned. Behind a key: the static block must stay small. */
static pthread_once_t before_once = PTHREAD_ONCE_INIT;
static pthread_key_t before_key;
static int before_error;

static void make_before_key(void) {
    before_error = pthread_key_create(&before_key, free);
}

/* NULL: this thread is not pinned. */
static wide_set *before_pin(void) {
    pthread_once(&before_once, make_before_key);
    return before_error == 0 ? pthread_getspecific(before_key) : NULL;
}

static bool allowed_here(wide_set *out) {
    CPU_ZERO_S(sizeof *out, out->sets);
    return sched_getaffinity(0, sizeof *out, out->sets) == 0;
}

int32_t kl_cpu_nth(uint32_t index) {
    wide_set allowed;
    if (!allowed_here(&allowed))
        return kl_fail_errno(KL_ERR_IO, errno, "asking where this thread may run");
    for (uint32_t cpu = 0, seen = 0; cpu < CPUS; cpu++)
        if (CPU_ISSET_S(cpu, sizeof allowed, allowed.sets) && seen++ == index) return (int32_t)cpu;
    return kl_fail(KL_ERR_LIMIT, "processor %u of those this thread may run on: there are %d",
                   index, CPU_COUNT_S(sizeof allowed, allowed.sets));
}

int32_t kl_cpu_current(void) {
    return sched_getcpu();
}

int32_t kl_cpu_pin_to(const uint32_t *cpus, uint32_t count) {
    wide_set wanted, *before = NULL;
    if (before_pin() == NULL) {
        before = malloc(sizeof *before);
        if (before == NULL || before_error != 0) {
            free(before);
            return kl_fail(KL_ERR_MEMORY, "no memory to remember where this thread may run");
        }
        if (!allowed_here(before)) {
            int error = errno;
            free(before);
            return kl_fail_errno(KL_ERR_IO, error, "asking where this thread may run");
        }
    }
    CPU_ZERO_S(sizeof wanted, wanted.sets);
    for (uint32_t i = 0; i < count; i++)
        if (cpus[i] < CPUS) CPU_SET_S(cpus[i], sizeof wanted, wanted.sets);
    if (sched_setaffinity(0, sizeof wanted, wanted.sets) != 0) {
        int error = errno;
        free(before);
        return kl_fail_errno(error == EINVAL ? KL_ERR_ARGUMENT : KL_ERR_IO, error,
                             "pinning this thread to processor %u%s", count > 0 ? cpus[0] : 0,
                             count > 1 ? " and others" : "");
    }
    if (before != NULL && pthread_setspecific(before_key, before) != 0) free(before);
    return KL_OK;
}

int32_t kl_cpu_pin(uint32_t cpu) {
    if (cpu >= CPUS)
        return kl_fail(KL_ERR_ARGUMENT, "processor %u: the largest number is %u", cpu, CPUS - 1);
    return kl_cpu_pin_to(&cpu, 1);
}

bool kl_cpu_pinned(void) {
    return before_pin() != NULL;
}

int32_t kl_cpu_unpin(void) {
    wide_set *before = before_pin();
    if (before == NULL) return KL_OK;
    if (sched_setaffinity(0, sizeof *before, before->sets) != 0)
        return kl_fail_errno(KL_ERR_IO, errno, "giving this thread its processors back");
    pthread_setspecific(before_key, NULL);
    free(before);
    return KL_OK;
}
