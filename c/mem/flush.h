/* flush: the one seam through which memory is shared between hosts that do not keep each other's
 * caches coherent (CXL pools and the like). On one ordinary host it is switched off and costs one
 * predictable branch per call, or nothing when built with KL_FLUSH_OFF.
 *
 * The rules of a line that two hosts share:
 *   1. One host writes it. Never two: a host that writes its part of a line back writes the other
 *      host's part back too, as it was when it last looked. Static asserts prove this of structs.
 *   2. Writer: body, kl_flush_range, kl_store_fence, then the word that publishes the body (in
 *      another line, or in the same one if it is the last store), kl_flush_line, kl_store_fence.
 *      What is not flushed may still become visible at any moment, so nothing may depend on the
 *      publishing word staying behind: it is stored after the fence.
 *   3. Reader: kl_invalidate_range of the publishing word, load it, kl_invalidate_range of the
 *      body, read. A reader that skips the second one may hold the body in its cache since before.
 *   4. A line goes to another writing host only by a lease: the old writer flushes and fences,
 *      then hands the lease over; the new writer invalidates, then reads, then writes.
 *
 * What orders what on x86 (Intel SDM vol. 2, CLFLUSHOPT and CLWB; AMD APM vol. 3):
 *   CLFLUSHOPT and CLWB are ordered with older stores to the same line, and by SFENCE, MFENCE and
 *   locked read-modify-writes. They are NOT ordered by LFENCE, nor with loads. So
 *     store body; clflushopt; sfence; store word       the word never overtakes the body
 *     clflushopt; mfence; load                         the load is fresh
 *     clflushopt; lfence; load                         WRONG: the load may come from the old line
 *   CLFLUSH is ordered among its like; older AMD processors order it by MFENCE only, so with
 *   CLFLUSH the store fence is an MFENCE here.
 *   A store with a non-temporal hint also needs the store fence; it needs no flush.
 * arm64: DC CVAC writes back, DC CIVAC writes back and invalidates, and DSB SY waits for both.
 *
 *   call                 x86                        arm64         promises, when it is back
 *   kl_flush_line/range  clflushopt                 dc civac      nothing; the next fence does
 *   kl_writeback_range   clwb (line stays cached)   dc cvac       nothing; the next fence does
 *   kl_invalidate_range  clflushopt each, 1 mfence  civac, dsb    later loads of it are fresh
 *   kl_store_fence       sfence                     dsb sy        earlier flushes and stores are
 *                                                                 there before any later store
 *   kl_load_fence        lfence                     dmb ld        earlier loads before later ones
 *   kl_full_fence        mfence                     dsb sy        all of the above, and kl_flush_*
 *                                                                 then load is fresh
 * Switched off, the fences order the compiler, and on arm64 what DMB does for one host; who needs a
 * store seen before a later load between cores of one host uses a seq_cst atomic, not this seam.
 *
 * Each call names a site: one entry of KL_FLUSH_SITES. Release builds drop it. In a file compiled
 * with KL_FLUSH_SITES_DEBUG every site counts what it did, can be made to do nothing (a suite that
 * still passes with a site off is a failed suite), and can be handed to a simulator instead.
 *
 * Writers: kl_flush_enabled by kl_flush_use(), before the memory in question is shared; after that
 * it is only read. The seam itself owns no memory. Progress: wait-free. Any thread, any time.
 */
#ifndef KL_MEM_FLUSH_H
#define KL_MEM_FLUSH_H

#include "base/cpu.h"
#include "base/status.h"

#include <stdatomic.h>

/* X(name, which lines, who writes them and who reads them) */
#define KL_FLUSH_SITES(X)                                                           \
    X(LANE_PAYLOAD, "batch bytes: publisher's host to everyone")                    \
    X(LANE_DESCRIPTOR, "what a batch is: publisher's host to everyone")             \
    X(LANE_COMMIT, "the word that publishes a batch: publisher's host to everyone") \
    X(LANE_ORDER, "how far a lane is ordered: sequencer to publishers and brokers") \
    X(LANE_DURABLE, "how far a lane is logged: broker to publishers and sequencer") \
    X(ORDER_ENTRY, "one place in the total order: sequencer to readers")            \
    X(ORDER_CUT, "a consistent cut over all lanes: sequencer to brokers")           \
    X(ORDER_TAIL, "how far the total order goes: sequencer to readers")             \
    X(SESSION, "the last sequence taken of a session: sequencer to publishers")     \
    X(CURSOR, "how far a subscriber has read: subscriber to sequencer")

enum kl_flush_site {
#define KL_FLUSH_SITE_CONSTANT(name, lines) KL_SITE_##name,
    KL_FLUSH_SITES(KL_FLUSH_SITE_CONSTANT)
#undef KL_FLUSH_SITE_CONSTANT
        KL_FLUSH_SITE_COUNT
};

/* The name of a site ("LANE_PAYLOAD"), "?" for none. */
const char *kl_flush_site_name(uint32_t site);

/* Which instructions; what kl_flush_enabled holds. */
enum kl_flush_method {
    KL_FLUSH_NONE = 0,       /* one coherent host: the default                              */
    KL_FLUSH_CLFLUSH = 1,    /* x86-64, every processor                                     */
    KL_FLUSH_CLFLUSHOPT = 2, /* overlapping flushes, no keep-cached write-back              */
    KL_FLUSH_CLWB = 3,       /* the same, and kl_writeback_range keeps the line             */
    KL_FLUSH_DC = 4,         /* arm64                                                       */
    KL_FLUSH_BEST = 255,     /* asks the processor                                          */
};

/* Chooses for the whole process. KL_ERR_UNSUPPORTED: this processor or build has no such
 * instructions, or its cache lines are not KL_LINE_BYTES long. KL_ERR_ARGUMENT: no such method. */
KL_API int32_t kl_flush_use(uint32_t method);

/* The method in use: enum kl_flush_method, KL_FLUSH_NONE when switched off. */
KL_API uint32_t kl_flush_active(void);

extern __attribute__((visibility("hidden"))) _Atomic uint32_t kl_flush_enabled;

/* The work of the inline calls below, once switched on. */
enum kl_flush_work { KL_WORK_FLUSH, KL_WORK_WRITEBACK, KL_WORK_INVALIDATE };
enum kl_flush_fence { KL_FENCE_STORE, KL_FENCE_LOAD, KL_FENCE_FULL };
void kl_flush_lines(uint32_t method, enum kl_flush_work work, const volatile void *from,
                    size_t bytes);
void kl_flush_fence(uint32_t method, enum kl_flush_fence fence);

/* ---- sites, in files compiled with KL_FLUSH_SITES_DEBUG ---- */

/* What one site has done: instructions that really ran, and lines that a drop kept from running. */
typedef struct {
    _Atomic uint64_t flushed_lines, written_back_lines, invalidated_lines;
    _Atomic uint64_t store_fences, load_fences, full_fences;
    _Atomic uint64_t dropped_lines, dropped_fences;
} kl_flush_site_record;

/* Gets every call of the seam instead of the processor, whether or not the seam is switched on.
 * `line` is called once per line touched. NULL functions are skipped. */
typedef struct {
    void *context;
    void (*line)(void *context, enum kl_flush_site site, enum kl_flush_work work, const void *line);
    void (*fence)(void *context, enum kl_flush_site site, enum kl_flush_fence fence);
} kl_flush_simulator;

const kl_flush_site_record *kl_flush_site_look(enum kl_flush_site site);
void kl_flush_sites_reset(void); /* zero counts, nothing dropped, no simulator */
void kl_flush_site_drop(enum kl_flush_site site, bool drop);
void kl_flush_simulate(const kl_flush_simulator *simulator); /* NULL: the processor again */

void kl_flush_site_lines(enum kl_flush_site site, enum kl_flush_work work,
                         const volatile void *from, size_t bytes);
void kl_flush_site_fence(enum kl_flush_site site, enum kl_flush_fence fence);

/* ---- the seam ---- */

#if defined(KL_FLUSH_OFF)
#define KL_FLUSH_METHOD KL_FLUSH_NONE
#else
/* relaxed: the choice was made before the memory was shared. */
#define KL_FLUSH_METHOD atomic_load_explicit(&kl_flush_enabled, memory_order_relaxed)
#endif

/* For the compiler on x86, where one host's caches order the rest; a barrier on arm64. */
static inline void kl_flush_coherent_fence(enum kl_flush_fence fence) {
#if defined(__aarch64__)
    if (fence == KL_FENCE_STORE)
        __asm__ volatile("dmb ish" ::: "memory");
    else if (fence == KL_FENCE_LOAD)
        __asm__ volatile("dmb ishld" ::: "memory");
    else
        __asm__ volatile("dmb ish" ::: "memory");
#else
    (void)fence;
    __asm__ volatile("" ::: "memory");
#endif
}

static inline void kl_flush_do_lines(enum kl_flush_site site, enum kl_flush_work work,
                                     const volatile void *from, size_t bytes) {
#if defined(KL_FLUSH_SITES_DEBUG)
    kl_flush_site_lines(site, work, from, bytes);
#else
    (void)site;
    uint32_t method = KL_FLUSH_METHOD;
    if (__builtin_expect(method != KL_FLUSH_NONE, 0)) kl_flush_lines(method, work, from, bytes);
#endif
}

static inline void kl_flush_do_fence(enum kl_flush_site site, enum kl_flush_fence fence) {
#if defined(KL_FLUSH_SITES_DEBUG)
    kl_flush_coherent_fence(fence);
    kl_flush_site_fence(site, fence);
#else
    (void)site;
    uint32_t method = KL_FLUSH_METHOD;
    kl_flush_coherent_fence(fence);
    if (__builtin_expect(method != KL_FLUSH_NONE, 0)) kl_flush_fence(method, fence);
#endif
}

/* The line that holds `address`. */
static inline void kl_flush_line(enum kl_flush_site site, const volatile void *address) {
    kl_flush_do_lines(site, KL_WORK_FLUSH, address, 1);
}

/* Every line that holds a byte of the range; nothing for 0 bytes. */
static inline void kl_flush_range(enum kl_flush_site site, const volatile void *from,
                                  size_t bytes) {
    kl_flush_do_lines(site, KL_WORK_FLUSH, from, bytes);
}

static inline void kl_writeback_range(enum kl_flush_site site, const volatile void *from,
                                      size_t bytes) {
    kl_flush_do_lines(site, KL_WORK_WRITEBACK, from, bytes);
}

/* For several ranges at once: kl_flush_range each, then one kl_full_fence. */
static inline void kl_invalidate_range(enum kl_flush_site site, const volatile void *from,
                                       size_t bytes) {
    kl_flush_do_lines(site, KL_WORK_INVALIDATE, from, bytes);
}

static inline void kl_store_fence(enum kl_flush_site site) {
    kl_flush_do_fence(site, KL_FENCE_STORE);
}

static inline void kl_load_fence(enum kl_flush_site site) {
    kl_flush_do_fence(site, KL_FENCE_LOAD);
}

static inline void kl_full_fence(enum kl_flush_site site) {
    kl_flush_do_fence(site, KL_FENCE_FULL);
}

#endif
