#include "sync/hazard.h"

#include <stdlib.h>
#include <string.h>

static_assert(offsetof(kl_hazard, domain) == 0, "a domain is its hazard");
static_assert(offsetof(kl_hazard_thread, record) == 0, "a record is its thread");

static uint32_t used_lines(const kl_hazard *hazard) {
    /* relaxed: whoever holds something up in a new line passes P3 after it was counted, and whoever
     * looks at the lines passes S1 before this load. */
    return atomic_load_explicit(&hazard->used, memory_order_relaxed);
}

static uint32_t scan_interval(const kl_hazard *hazard) {
    uint32_t twice = 2 * KL_HAZARD_SLOTS * used_lines(hazard);
    return twice > KL_HAZARD_SCAN_MIN ? twice : KL_HAZARD_SCAN_MIN;
}

uint32_t kl_hazard_kept_max(const kl_hazard *hazard) {
    /* What the last scan had to keep, and what came since. */
    return KL_HAZARD_SLOTS * used_lines(hazard) + scan_interval(hazard);
}

/* ---- threads ---- */

static int32_t begin_thread(kl_thread_domain *domain, kl_thread_record *record) {
    kl_hazard *hazard = (kl_hazard *)domain;
    kl_hazard_thread *own = (kl_hazard_thread *)record;
    uint32_t index = 0;
    while (index < hazard->thread_count_max && hazard->taken[index]) index++;
    if (index == hazard->thread_count_max)
        return kl_fail(KL_ERR_LIMIT, "more threads than the %u lines of hazard pointers",
                       hazard->thread_count_max);
    own->held = calloc((size_t)hazard->thread_count_max * KL_HAZARD_SLOTS, sizeof(uint64_t));
    if (!own->held) return kl_fail(KL_ERR_MEMORY, "no memory for a scan of hazard pointers");
    hazard->taken[index] = 1;
    own->hazard = hazard;
    own->line = &hazard->lines[index];
    own->is_light = hazard->is_light;
    /* relaxed: under the lock; see used_lines. */
    if (used_lines(hazard) <= index)
        atomic_store_explicit(&hazard->used, index + 1, memory_order_relaxed);
    own->scan_at = scan_interval(hazard);
    return KL_OK;
}

/* Puts a chain on the list left behind. */
static void leave_behind(kl_hazard *hazard, kl_hazard_node *first) {
    if (!first) return;
    kl_hazard_node *last = first;
    while (last->next) last = last->next;
    kl_hazard_node *others = atomic_load_explicit(&hazard->left_behind, memory_order_relaxed);
    do {
        last->next = others;
        /* release: partner is the exchange in adopt. */
    } while (!atomic_compare_exchange_weak_explicit(&hazard->left_behind, &others, first,
                                                    memory_order_release, memory_order_relaxed));
}

static void end_thread(kl_thread_domain *domain, kl_thread_record *record) {
    kl_hazard *hazard = (kl_hazard *)domain;
    kl_hazard_thread *own = (kl_hazard_thread *)record;
    for (uint32_t slot = 0; slot < KL_HAZARD_SLOTS; slot++) {
        /* relaxed: this thread's own word, or that of one that uses it no more. */
        uint64_t address = atomic_load_explicit(&own->line->slots[slot], memory_order_relaxed);
        if (address != 0) kl_hazard_clear(own, slot);
    }
    leave_behind(hazard, own->retired);
    free(own->held);
    hazard->taken[own->line - hazard->lines] = 0;
}

/* ---- open, close, groups ---- */

int32_t kl_hazard_open(kl_hazard *hazard, uint32_t thread_count_max, bool fences) {
    if (thread_count_max == 0) thread_count_max = KL_HAZARD_THREADS_DEFAULT;
    if (thread_count_max > KL_HAZARD_THREADS_MAX)
        return kl_fail(KL_ERR_ARGUMENT, "%u threads: 1 to %u are allowed", thread_count_max,
                       KL_HAZARD_THREADS_MAX);
    kl_hazard_line *lines = aligned_alloc(KL_LINE_BYTES, thread_count_max * sizeof(*lines));
    uint8_t *taken = calloc(thread_count_max, 1);
    if (!lines || !taken) {
        free(lines);
        free(taken);
        return kl_fail(KL_ERR_MEMORY, "no memory for %u hazard lines", thread_count_max);
    }
    memset(lines, 0, thread_count_max * sizeof(*lines));
    *hazard = (kl_hazard){.lines = lines,
                          .taken = taken,
                          .thread_count_max = thread_count_max,
                          .is_light = !fences && kl_membarrier_prepare() == KL_OK};
    kl_thread_domain_open(&hazard->domain, sizeof(kl_hazard_thread), begin_thread, end_thread);
    return KL_OK;
}

static kl_hazard_node *take_left_behind(kl_hazard *hazard) {
    /* relaxed: an empty list costs no locked instruction. */
    if (!atomic_load_explicit(&hazard->left_behind, memory_order_relaxed)) return NULL;
    /* acquire: partner is the compare-exchange in leave_behind. */
    return atomic_exchange_explicit(&hazard->left_behind, NULL, memory_order_acquire);
}

void kl_hazard_close(kl_hazard *hazard) {
    kl_thread_domain_close(&hazard->domain); /* leaves all behind */
    kl_hazard_node *node = take_left_behind(hazard);
    while (node) {
        kl_hazard_node *next = node->next;
        node->callback(node);
        node = next;
    }
    free(hazard->lines);
    free(hazard->taken);
}

int32_t kl_hazard_reserve(kl_hazard *hazard, uint32_t count) {
    if (count == 0 || count > KL_HAZARD_SLOTS)
        return kl_fail(KL_ERR_ARGUMENT, "%u hazard slots: 1 to %u are allowed", count,
                       KL_HAZARD_SLOTS);
    uint32_t group = (1u << count) - 1;
    uint32_t reserved = atomic_load_explicit(&hazard->reserved, memory_order_relaxed);
    for (uint32_t first = 0; first + count <= KL_HAZARD_SLOTS;) {
        if (reserved & group << first) {
            first++;
            continue;
        }
        /* relaxed: only these bits are decided by it; on failure the loop looks again. */
        if (atomic_compare_exchange_weak_explicit(&hazard->reserved, &reserved,
                                                  reserved | group << first, memory_order_relaxed,
                                                  memory_order_relaxed))
            return (int32_t)first;
        first = 0;
    }
    return kl_fail(KL_ERR_LIMIT, "no %u of the %u hazard slots of a thread are free", count,
                   KL_HAZARD_SLOTS);
}

void kl_hazard_release(kl_hazard *hazard, uint32_t first, uint32_t count) {
    KL_ASSERT(count > 0 && first + count <= KL_HAZARD_SLOTS);
    uint32_t group = ((1u << count) - 1) << first;
    atomic_fetch_and_explicit(&hazard->reserved, ~group, memory_order_relaxed);
}

/* ---- retire and scan ---- */

static void adopt(kl_hazard_thread *own) {
    kl_hazard_node *node = take_left_behind(own->hazard);
    while (node) {
        kl_hazard_node *next = node->next;
        node->next = own->retired;
        own->retired = node;
        own->retired_count++;
        node = next;
    }
}

/* S1. */
static int32_t pass_barrier(kl_hazard_thread *own) {
    if (own->is_light) return kl_membarrier_heavy(); /* partner is P3 */
    /* partner is P3 in kl_membarrier_announce. */
    kl_full_barrier(&own->line->slots[0]);
    return KL_OK;
}

static int compare_addresses(const void *a, const void *b) {
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

/* S2: what all slots hold, sorted. */
static size_t look_at_all(kl_hazard_thread *own) {
    kl_hazard *hazard = own->hazard;
    size_t count = 0, slots = (size_t)used_lines(hazard) * KL_HAZARD_SLOTS;
    for (size_t at = 0; at < slots; at++) {
        _Atomic uint64_t *slot = &hazard->lines[at / KL_HAZARD_SLOTS].slots[at % KL_HAZARD_SLOTS];
        /* acquire: partner is P2, and the release in kl_hazard_clear. */
        uint64_t address = atomic_load_explicit(slot, memory_order_acquire);
        if (address != 0) own->held[count++] = address;
    }
    qsort(own->held, count, sizeof(uint64_t), compare_addresses);
    return count;
}

static bool is_held(const kl_hazard_thread *own, size_t count, const void *object) {
    uint64_t address = (uint64_t)(uintptr_t)object;
    return bsearch(&address, own->held, count, sizeof(uint64_t), compare_addresses) != NULL;
}

int32_t kl_hazard_scan(kl_hazard_thread *own) {
    if (own->is_scanning) return 0;
    adopt(own);
    int32_t status = pass_barrier(own);
    if (status != KL_OK) return status;
    size_t held_count = look_at_all(own);
    kl_hazard_node *node = own->retired;
    own->retired = NULL;
    own->is_scanning = true;
    uint32_t kept = 0, freed = 0;
    while (node) {
        kl_hazard_node *next = node->next; /* before the callback: it may free the node */
        if (is_held(own, held_count, node->object)) {
            node->next = own->retired;
            own->retired = node;
            kept++;
        } else {
            node->callback(node);
            freed++;
        }
        node = next;
    }
    own->is_scanning = false;
    own->retired_count -= freed;
    own->scan_at = kept + scan_interval(own->hazard);
    return (int32_t)freed;
}

void kl_hazard_retire(kl_hazard_thread *own, kl_hazard_node *node, const void *object,
                      void (*callback)(kl_hazard_node *node)) {
    node->object = object;
    node->callback = callback;
    node->next = own->retired;
    own->retired = node;
    own->retired_count++;
    if (own->retired_count >= own->scan_at) kl_hazard_scan(own);
}
