/* hazard: pointers that threads hold up to say "I am using this one"; what is retired is given back when
 * nobody holds it up. Between threads of one process.
 *
 *   reading                                          taking away
 *     own = kl_hazard_here(&hazards)                   unlink it, so that nobody finds it any more
 *     p = kl_hazard_protect(own, slot, &head)          kl_hazard_retire(own, &p->node, p, free_it)
 *     use *p
 *     kl_hazard_clear(own, slot)
 *
 * Unlike an epoch, a reader that stops holds back what it holds up and no more: memory is bounded.
 *
 *   kl_hazard   lines of 8 slots, one line per thread; written by its thread, read by everybody
 *   slots       of a line are given out in groups (kl_hazard_reserve): one for each structure, or kind of
 *               structure, whose calls may run inside each other's, so that none takes away what another
 *               protects. A group of n is n slots from the one that reserve answers
 *   retired     list of a thread: by that thread only, until it ends; then on the list left behind,
 *               from which the next thread that scans takes it
 *
 * Always: a callback runs once, on a thread that retires or scans, when no slot holds its object. For
 *
 *   protect: P1 load source                     scan: S0 unlink (before retire)
 *            P2 store it into the slot                S1 barrier
 *            P3 barrier                               S2 load every slot
 *            P4 load source again: still the same?
 *
 * if S2 does not see P2 then P3 came after S1, P4 sees S0 and protect tries again; if S2 sees it, the
 * object stays. P2 is a release and S2 an acquire: what a slot held before is not used any more.
 * Barriers: light and heavy where sync/membarrier works; else full fences. Scans are few: one for at
 * least KL_HAZARD_SCAN_MIN retired, and for twice the slots there are.
 * Bound: a thread keeps at most kl_hazard_kept_max() retired objects; H slots hold at most H of them.
 * Death: a thread's end clears its slots and leaves its retired list behind. Processes share none.
 * More threads than lines: here answers NULL with KL_ERR_LIMIT, and protects nothing.
 * Progress: protect is lock-free (it repeats when the source changed), about 2 ns (7 with fences); clear
 * is wait-free; retire is wait-free but for the scan, which is a loop over the slots and a sort.
 * Source: Michael, "Hazard pointers: safe memory reclamation for lock-free objects", TPDS 15(6), 2004.
 *
 * May these run at the same time?     protect/clear  retire/scan  reserve  close
 *                  protect/clear      yes *          yes          yes      no
 *                  retire/scan        yes            yes *        yes      no    * a thread's own
 *                  reserve            yes            yes          yes      no
 *                  close              no             no           no       no
 * From a callback: retire (which does not scan then). Not across fork.
 */
#ifndef KL_SYNC_HAZARD_H
#define KL_SYNC_HAZARD_H

#include "base/cpu.h"
#include "sync/membarrier.h"
#include "sync/thread_record.h"

#define KL_HAZARD_SLOTS           8u /* of a thread: one line */
#define KL_HAZARD_THREADS_DEFAULT 256u
#define KL_HAZARD_THREADS_MAX     4096u
#define KL_HAZARD_SCAN_MIN        64u

typedef struct kl_hazard_node kl_hazard_node;

/* To be embedded in what is retired. Written by kl_hazard_retire; the callback may free it. */
struct kl_hazard_node {
    kl_hazard_node *next;
    const void *object; /* what readers hold up: as they loaded it */
    void (*callback)(kl_hazard_node *node);
};

typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t slots[KL_HAZARD_SLOTS]; /* addresses; 0: none */
} kl_hazard_line;

static_assert(sizeof(kl_hazard_line) == KL_LINE_BYTES, "one line per thread");

/* Its fields are for sync/hazard only. */
typedef struct {
    kl_thread_domain domain;
    kl_hazard_line *lines;
    uint8_t *taken; /* of lines; under the lock of sync/thread_record */
    uint32_t thread_count_max;
    bool is_light;
    _Atomic uint32_t used;     /* lines below this were taken once; only grows */
    _Atomic uint32_t reserved; /* bits of slots */
    _Atomic(kl_hazard_node *) left_behind;
} kl_hazard;

/* What a thread keeps. By that thread only. */
typedef struct {
    kl_thread_record record;
    kl_hazard *hazard;
    kl_hazard_line *line;
    kl_hazard_node *retired;
    uint32_t retired_count;
    uint32_t scan_at; /* retire scans at this many */
    bool is_light;
    bool is_scanning;
    uint64_t *held; /* room for what all slots hold */
} kl_hazard_thread;

/* thread_count_max 0: KL_HAZARD_THREADS_DEFAULT. `fences`: no membarrier, even where the system offers
 * it; else the first open in a process that has threads takes about 15 ms. KL_ERR_ARGUMENT, KL_ERR_MEMORY. */
int32_t kl_hazard_open(kl_hazard *hazard, uint32_t thread_count_max, bool fences);

/* Runs all callbacks and gives all back. No thread uses it any more. */
void kl_hazard_close(kl_hazard *hazard);

/* A group of `count` slots: the first one, or KL_ERR_LIMIT (KL_HAZARD_SLOTS for all groups together),
 * KL_ERR_ARGUMENT. */
int32_t kl_hazard_reserve(kl_hazard *hazard, uint32_t count);

/* Gives a group back, which no thread uses any more. */
void kl_hazard_release(kl_hazard *hazard, uint32_t first, uint32_t count);

/* The calling thread's own; NULL: see above, or no memory; kl_status_detail_code tells. */
static inline kl_hazard_thread *kl_hazard_here(kl_hazard *hazard) {
    return (kl_hazard_thread *)kl_thread_record_here(&hazard->domain);
}

/* Holds up `address` (0 too). It is protected only if it is found to be still linked after this: for
 * sources that are no plain pointer, such as tagged ones. */
static inline void kl_hazard_hold(kl_hazard_thread *own, uint32_t slot, uint64_t address) {
    /* P2 and P3: partners are S2 and S1 in kl_hazard_scan. */
    if (__builtin_expect(own->is_light, 1))
        kl_membarrier_announce_light(&own->line->slots[slot], address);
    else
        kl_membarrier_announce(&own->line->slots[slot], address);
}

/* What the source points to, protected until clear, or until the slot is used again. `source` is an
 * _Atomic pointer of any type. */
static inline void *kl_hazard_protect(kl_hazard_thread *own, uint32_t slot, const void *source) {
    const _Atomic(void *) *from = (const _Atomic(void *) *)source;
    /* P1, relaxed: a guess; P4 decides. */
    void *guess = atomic_load_explicit(from, memory_order_relaxed);
    for (;;) {
        kl_hazard_hold(own, slot, (uint64_t)(uintptr_t)guess);
        /* P4, acquire: partner is the release of whoever linked it; what it points to is whole. */
        void *again = atomic_load_explicit(from, memory_order_acquire);
        if (__builtin_expect(again == guess, 1)) return guess;
        guess = again;
    }
}

static inline void kl_hazard_clear(kl_hazard_thread *own, uint32_t slot) {
    /* release: partner is S2 in kl_hazard_scan; the object was used before. */
    atomic_store_explicit(&own->line->slots[slot], 0, memory_order_release);
}

/* `object` can be found by nobody any more; `node` is embedded in it. May scan, and so run callbacks
 * of this thread's retired objects, and of those left behind. */
void kl_hazard_retire(kl_hazard_thread *own, kl_hazard_node *node, const void *object,
                      void (*callback)(kl_hazard_node *node));

/* Gives back what nobody holds up: how many; or KL_ERR_UNSUPPORTED (sync/membarrier; nothing is given
 * back any more). 0 from inside of a callback. */
int32_t kl_hazard_scan(kl_hazard_thread *own);

/* How many retired objects one thread keeps at most, by now: it grows with the threads. */
uint32_t kl_hazard_kept_max(const kl_hazard *hazard);

#endif
