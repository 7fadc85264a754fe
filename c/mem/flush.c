#include "mem/flush.h"

_Atomic uint32_t kl_flush_enabled = KL_FLUSH_NONE;

const char *kl_flush_site_name(uint32_t site) {
    static const char *const names[] = {
#define KL_FLUSH_SITE_NAME(name, lines) #name,
        KL_FLUSH_SITES(KL_FLUSH_SITE_NAME)
#undef KL_FLUSH_SITE_NAME
    };
    return site < KL_FLUSH_SITE_COUNT ? names[site] : "?";
}

/* ---- one line, one fence ---- */

#if defined(__x86_64__)

static inline void flush_one(uint32_t method, enum kl_flush_work work, volatile uint8_t *line) {
    if (method == KL_FLUSH_CLWB && work == KL_WORK_WRITEBACK)
        __asm__ volatile("clwb %0" : "+m"(*line)::"memory");
    else if (method >= KL_FLUSH_CLFLUSHOPT)
        __asm__ volatile("clflushopt %0" : "+m"(*line)::"memory");
    else
        __asm__ volatile("clflush %0" : "+m"(*line)::"memory");
}

void kl_flush_fence(uint32_t method, enum kl_flush_fence fence) {
    if (fence == KL_FENCE_LOAD)
        __asm__ volatile("lfence" ::: "memory");
    else if (fence == KL_FENCE_STORE && method != KL_FLUSH_CLFLUSH)
        __asm__ volatile("sfence" ::: "memory");
    else
        __asm__ volatile("mfence" ::: "memory");
}

static int32_t check_method(uint32_t method) {
    uint32_t features = kl_cpu_features();
    if (method == KL_FLUSH_CLFLUSH) return KL_OK; /* part of x86-64 */
    if (method == KL_FLUSH_CLFLUSHOPT && features & KL_CPU_CLFLUSHOPT) return KL_OK;
    /* The write-back method flushes with clflushopt; no processor has clwb without it. */
    const uint32_t both = KL_CPU_CLWB | KL_CPU_CLFLUSHOPT;
    if (method == KL_FLUSH_CLWB && (features & both) == both) return KL_OK;
    return kl_fail(KL_ERR_UNSUPPORTED, "flush method %u: this processor lacks the instruction",
                   method);
}

static uint32_t best_method(void) {
    uint32_t features = kl_cpu_features();
    if (!(features & KL_CPU_CLFLUSHOPT)) return KL_FLUSH_CLFLUSH;
    return features & KL_CPU_CLWB ? KL_FLUSH_CLWB : KL_FLUSH_CLFLUSHOPT;
}

#elif defined(__aarch64__)

static inline void flush_one(uint32_t method, enum kl_flush_work work, volatile uint8_t *line) {
    (void)method;
    if (work == KL_WORK_WRITEBACK)
        __asm__ volatile("dc cvac, %0" ::"r"(line) : "memory");
    else
        __asm__ volatile("dc civac, %0" ::"r"(line) : "memory");
}

void kl_flush_fence(uint32_t method, enum kl_flush_fence fence) {
    (void)method;
    if (fence == KL_FENCE_LOAD)
        __asm__ volatile("dmb ld" ::: "memory");
    else
        __asm__ volatile("dsb sy" ::: "memory");
}

static int32_t check_method(uint32_t method) {
    uint64_t cache_type;
    __asm__("mrs %0, ctr_el0" : "=r"(cache_type));
    uint32_t line_bytes = 4u << (cache_type >> 16 & 0xF);
    if (method != KL_FLUSH_DC)
        return kl_fail(KL_ERR_UNSUPPORTED, "flush method %u is not an arm64 one", method);
    if (line_bytes != KL_LINE_BYTES)
        return kl_fail(KL_ERR_UNSUPPORTED, "cache lines here are %u bytes, not %u", line_bytes,
                       KL_LINE_BYTES);
    return KL_OK;
}

static uint32_t best_method(void) {
    return KL_FLUSH_DC;
}

#else

static inline void flush_one(uint32_t method, enum kl_flush_work work, volatile uint8_t *line) {
    (void)method, (void)work, (void)line;
}

void kl_flush_fence(uint32_t method, enum kl_flush_fence fence) {
    (void)method, (void)fence;
}

static int32_t check_method(uint32_t method) {
    return kl_fail(KL_ERR_UNSUPPORTED, "flush method %u: no flush on this processor", method);
}

static uint32_t best_method(void) {
    return KL_FLUSH_NONE;
}

#endif

/* ---- for every build ---- */

static uintptr_t line_of(const volatile void *address) {
    return (uintptr_t)address & ~(uintptr_t)(KL_LINE_BYTES - 1);
}

void kl_flush_lines(uint32_t method, enum kl_flush_work work, const volatile void *from,
                    size_t bytes) {
    if (bytes == 0) return;
    uintptr_t end = (uintptr_t)from + bytes;
    for (uintptr_t line = line_of(from); line < end; line += KL_LINE_BYTES)
        flush_one(method, work, (volatile uint8_t *)line);
    if (work == KL_WORK_INVALIDATE) kl_flush_fence(method, KL_FENCE_FULL);
}

int32_t kl_flush_use(uint32_t method) {
    if (method > KL_FLUSH_DC && method != KL_FLUSH_BEST)
        return kl_fail(KL_ERR_ARGUMENT, "flush method %u: use 0..%u, or %u for the best", method,
                       KL_FLUSH_DC, KL_FLUSH_BEST);
    if (method == KL_FLUSH_BEST) method = best_method();
#if defined(KL_FLUSH_OFF)
    if (method != KL_FLUSH_NONE)
        return kl_fail(KL_ERR_UNSUPPORTED, "flush method %u: built without flushing", method);
#endif
    int32_t status = method == KL_FLUSH_NONE ? KL_OK : check_method(method);
    /* relaxed: see KL_FLUSH_METHOD. */
    if (status == KL_OK) atomic_store_explicit(&kl_flush_enabled, method, memory_order_relaxed);
    return status;
}

uint32_t kl_flush_active(void) {
    return atomic_load_explicit(&kl_flush_enabled, memory_order_relaxed);
}

/* ---- sites. Linked in only where a file compiled with KL_FLUSH_SITES_DEBUG asks for them ---- */

static kl_flush_site_record records[KL_FLUSH_SITE_COUNT];
static _Atomic bool dropped[KL_FLUSH_SITE_COUNT];
static _Atomic(const kl_flush_simulator *) simulated_by;

/* relaxed, here and below: figures and switches of a test, which orders its threads itself. */
static void count(_Atomic uint64_t *counter, uint64_t more) {
    atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

const kl_flush_site_record *kl_flush_site_look(enum kl_flush_site site) {
    return (uint32_t)site < KL_FLUSH_SITE_COUNT ? &records[site] : NULL;
}

void kl_flush_site_drop(enum kl_flush_site site, bool drop) {
    KL_ASSERT((uint32_t)site < KL_FLUSH_SITE_COUNT);
    atomic_store_explicit(&dropped[site], drop, memory_order_relaxed);
}

void kl_flush_simulate(const kl_flush_simulator *simulator) {
    /* release: partner is the acquire in the two functions below; publishes what it points to. */
    atomic_store_explicit(&simulated_by, simulator, memory_order_release);
}

void kl_flush_sites_reset(void) {
    kl_flush_simulate(NULL);
    for (uint32_t site = 0; site < KL_FLUSH_SITE_COUNT; site++) {
        _Atomic uint64_t *counters = (_Atomic uint64_t *)&records[site];
        for (size_t i = 0; i < sizeof(kl_flush_site_record) / sizeof(uint64_t); i++)
            atomic_store_explicit(&counters[i], 0, memory_order_relaxed);
        atomic_store_explicit(&dropped[site], false, memory_order_relaxed);
    }
}

void kl_flush_site_lines(enum kl_flush_site site, enum kl_flush_work work,
                         const volatile void *from, size_t bytes) {
    uint32_t method = KL_FLUSH_METHOD;
    const kl_flush_simulator *simulator = atomic_load_explicit(&simulated_by, memory_order_acquire);
    if (bytes == 0 || (method == KL_FLUSH_NONE && simulator == NULL)) return;
    uintptr_t first = line_of(from), end = (uintptr_t)from + bytes;
    uint64_t lines = (end - first + KL_LINE_BYTES - 1) / KL_LINE_BYTES;
    kl_flush_site_record *record = &records[site];
    if (atomic_load_explicit(&dropped[site], memory_order_relaxed)) {
        count(&record->dropped_lines, lines);
        return;
    }
    _Atomic uint64_t *const counters[] = {&record->flushed_lines, &record->written_back_lines,
                                          &record->invalidated_lines};
    count(counters[work], lines);
    if (simulator == NULL) {
        kl_flush_lines(method, work, from, bytes);
    } else if (simulator->line != NULL) {
        for (uintptr_t line = first; line < end; line += KL_LINE_BYTES)
            simulator->line(simulator->context, site, work, (const void *)line);
    }
}

void kl_flush_site_fence(enum kl_flush_site site, enum kl_flush_fence fence) {
    uint32_t method = KL_FLUSH_METHOD;
    const kl_flush_simulator *simulator = atomic_load_explicit(&simulated_by, memory_order_acquire);
    if (method == KL_FLUSH_NONE && simulator == NULL) return;
    kl_flush_site_record *record = &records[site];
    if (atomic_load_explicit(&dropped[site], memory_order_relaxed)) {
        count(&record->dropped_fences, 1);
        return;
    }
    _Atomic uint64_t *const counters[] = {&record->store_fences, &record->load_fences,
                                          &record->full_fences};
    count(counters[fence], 1);
    if (simulator == NULL)
        kl_flush_fence(method, fence);
    else if (simulator->fence != NULL)
        simulator->fence(simulator->context, site, fence);
}
