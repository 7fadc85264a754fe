/* grace: who may still be reading what was taken away? The common ground of epoch and rcu.
 *
 *   line 0   period   the current period, from 1; raised by everyone who begins a grace period
 *   line 1   geometry magic, version, slot_count; written once by format, nobody writes it after
 *   line 2   used     slots below this were claimed once; only grows
 *   line 3-  slots    one line per reading thread
 *     announced   0: it reads nothing; else the period in which it began. By the slot's owner
 *     owner       0: free; 1 or the participant id of the owner's process; with KL_GRACE_CLEANING:
 *                 the participant that clears the slot of a dead one. By compare-exchange only
 *     thread      the owner's thread id, for messages. By the slot's owner
 *
 * Process-local, in any memory; or in a region, between the processes that joined it.
 *
 *   reading                                     taking away
 *     announce: A1 load period (acquire)          B0 unlink
 *               A2 store announced                B1 add 1 to period, giving P (kl_grace_begin)
 *               A3 barrier                        B2 barrier
 *     A4 load what others unlink, use it          B3 look at every slot (kl_grace_oldest):
 *     retract:  A5 store announced = 0 (release)     all are 0 or at least P: nobody can have it
 *
 * Always: when B3 says so no thread uses, and no thread will find, what was unlinked at B0. For a
 * thread whose A2 is not seen by B3 passed its barrier after B2, so its A4 sees B0. One that is seen
 * with P or more read it (A1, acquire) from B1 or later, so it sees B0. One that is seen with less
 * is waited for; it may have been too late to see anything, which costs time and nothing else. And
 * what was seen in a slot before and is gone has left through A5 (release; B3 is acquire). So a
 * period that passed has passed for ever, and a later look needs no barrier of its own.
 * Periods have 64 bits and never wrap (100 years of 5 a nanosecond); one phase is enough, where a
 * parity bit would need two: a late A2 shows a smaller period for ever, never an equal one.
 * Readers never wait and never write what others write; they cannot keep a period from passing by
 * coming again, for they come with a newer one.
 * Barriers: A3 light and B2 heavy where sync/membarrier works and all readers are threads of this
 * process; else full fences on both sides.
 * Death: of a thread: its slot is given back at its end (sync/thread_record). Of a process: whoever
 * looks at a slot that holds a period back asks whether its owner lives, and clears the slot of a
 * dead one: owner to {CLEANING, me} (so one does it, and can be replaced in turn), announced = 0,
 * owner = 0. Each step is one atomic, and may be the last.
 * Scribbled memory: slots are counted by the grip's own copy of slot_count, so nothing outside of
 * them is read or written. An announced period beyond the current one is KL_ERR_CORRUPT. Other false
 * values can let a period pass too early or never; so what a shared grace protects must be memory
 * that stays mapped and is checked when it is read, such as the region's own.
 * Progress: announce and retract are wait-free; begin is an add and a barrier; oldest is a loop over
 * the used slots, and one system call for each that holds back in a region.
 *
 * May these run at the same time?     announce  begin/oldest  claim/give_back
 *                  announce           yes *     yes           yes *          * one thread per slot
 *                  begin/oldest       yes       yes           yes
 *                  claim/give_back    yes *     yes           yes
 */
#ifndef KL_SYNC_GRACE_H
#define KL_SYNC_GRACE_H

#include "mem/region.h"
#include "sync/membarrier.h"

#define KL_GRACE_MAGIC        0x47524c4bu /* "KLRG" */
#define KL_GRACE_VERSION      1u
#define KL_GRACE_HEADER_BYTES (3 * KL_LINE_BYTES)
#define KL_GRACE_SLOTS_MAX    4096u
#define KL_GRACE_CLEANING     0x80000000u
#define KL_GRACE_NOBODY       UINT64_MAX /* kl_grace_oldest: nobody reads */

/* layout: kl_grace_slot announced owner thread */
typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t announced;
    _Atomic uint32_t owner;
    _Atomic int32_t thread;
    uint8_t reserved[KL_LINE_BYTES - 16];
} kl_grace_slot;

/* layout: kl_grace_header period magic version slot_count used */
typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t period;
    _Alignas(KL_LINE_BYTES) uint32_t magic;
    uint32_t version;
    uint32_t slot_count;
    _Alignas(KL_LINE_BYTES) _Atomic uint32_t used;
} kl_grace_header;

static_assert(sizeof(kl_grace_slot) == KL_LINE_BYTES, "one line per slot");
static_assert(sizeof(kl_grace_header) == KL_GRACE_HEADER_BYTES, "one line per writer");
static_assert(offsetof(kl_grace_header, magic) == 1 * KL_LINE_BYTES, "nobody writes line 1");
static_assert(offsetof(kl_grace_header, used) == 2 * KL_LINE_BYTES, "claimers share line 2");

/* One process's grip. Not shared; read-only after grip, but for is_light. */
typedef struct {
    kl_grace_header *header;
    kl_grace_slot *slots;
    kl_region *region; /* NULL: readers are threads of this process */
    uint32_t slot_count;
    _Atomic uint32_t is_light; /* 1: readers pass light barriers; set once, by kl_grace_lighten */
    bool may_lighten;
    bool owns_memory;
} kl_grace;

enum kl_grace_barriers {
    KL_GRACE_FENCES = 1, /* full fences on both sides */
    KL_GRACE_LIGHT = 2,  /* light ones for readers where the system has heavy ones */
    KL_GRACE_LATER = 3,  /* the same from the first kl_grace_lighten on, fences until then */
};

/* Bytes of memory for that many slots; 0 outside of 1 to KL_GRACE_SLOTS_MAX. */
uint64_t kl_grace_memory_bytes(uint32_t slot_count);

/* Writes an empty one into line-aligned memory of that size. */
int32_t kl_grace_format(void *memory, uint32_t slot_count);

/* `region`: where the memory lies, joined: always with fences. NULL: nobody but this process uses it.
 * `barriers`: kl_grace_barriers. KL_ERR_CORRUPT, KL_ERR_VERSION, KL_ERR_ARGUMENT (not joined). */
int32_t kl_grace_grip(kl_grace *grace, void *memory, uint64_t memory_bytes, kl_region *region,
                      uint32_t barriers);

/* Grips memory of its own, for the threads of this process. KL_ERR_ARGUMENT, KL_ERR_MEMORY. */
int32_t kl_grace_open(kl_grace *grace, uint32_t slot_count, uint32_t barriers);

/* With KL_GRACE_LATER: readers pass light barriers from here on, if the system has heavy ones. By the one
 * thread that begins grace periods and looks, while it does neither. It passes a heavy barrier first:
 * a reader that is light sees all that was unlinked until then, so what was looked at before, when
 * all readers had fences, is still right. The first in a process with threads takes about 15 ms. */
void kl_grace_lighten(kl_grace *grace);

/* Frees the memory if it is its own. */
void kl_grace_close(kl_grace *grace);

/* A slot for the calling thread; NULL with KL_ERR_LIMIT in the detail: all are taken by the living. */
kl_grace_slot *kl_grace_claim(const kl_grace *grace);

/* Retracts and frees it. NULL is nothing. By the owner, or on behalf of a thread that ended. */
void kl_grace_give_back(kl_grace_slot *slot);

static inline void kl_grace_announce(const kl_grace *grace, kl_grace_slot *slot) {
    /* A1, acquire: partner is B1 in kl_grace_begin. */
    uint64_t period = atomic_load_explicit(&grace->header->period, memory_order_acquire);
    /* relaxed: whoever finds it set has passed the barrier of kl_grace_lighten, which came before. */
    uint32_t is_light = atomic_load_explicit(&grace->is_light, memory_order_relaxed);
    /* A2 and A3: partner is B2 in kl_grace_begin. */
    if (__builtin_expect(is_light != 0, 1))
        kl_membarrier_announce_light(&slot->announced, period);
    else
        kl_membarrier_announce(&slot->announced, period);
}

/* Whether the calling thread, whose slot it is, has announced itself. */
static inline bool kl_grace_is_reading(const kl_grace_slot *slot) {
    /* relaxed: this thread's own word. */
    return atomic_load_explicit(&slot->announced, memory_order_relaxed) != 0;
}

static inline void kl_grace_retract(kl_grace_slot *slot) {
    /* A5, release: partner is B3 in kl_grace_oldest. */
    atomic_store_explicit(&slot->announced, 0, memory_order_release);
}

/* Between announce and retract: "I hold nothing from before." No barrier: a newer period is announced
 * only after it was seen (A1), and with it all that was unlinked before it. */
static inline void kl_grace_quiescent(const kl_grace *grace, kl_grace_slot *slot) {
    /* acquire: partner is B1 in kl_grace_begin. */
    uint64_t period = atomic_load_explicit(&grace->header->period, memory_order_acquire);
    /* relaxed: this thread's own word. */
    if (period == atomic_load_explicit(&slot->announced, memory_order_relaxed)) return;
    /* release: partner is B3 in kl_grace_oldest; what was read before is read. */
    atomic_store_explicit(&slot->announced, period, memory_order_release);
}

/* B1 and B2. `*period` has passed once kl_grace_oldest answers that much or more. KL_OK, or what
 * kl_membarrier_heavy says. */
int32_t kl_grace_begin(const kl_grace *grace, uint64_t *period);

/* B3: the smallest announced period (KL_GRACE_NOBODY: there is none) and its slot. Slots of the dead
 * that announced less than `wanted` are cleared first. KL_OK or KL_ERR_CORRUPT. */
int32_t kl_grace_oldest(const kl_grace *grace, uint64_t wanted, uint64_t *oldest, uint32_t *slot);

/* For who waits: the longer the more rounds it has waited, up to a millisecond. Readers are not asked to
 * wake anybody, which would cost each of them a fence. */
void kl_grace_pause(uint32_t round);

/* Slots that are taken. */
uint32_t kl_grace_readers(const kl_grace *grace);

#endif
