#include "sync/grace.h"

#include "base/clock.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOCAL_OWNER     1u
#define PAUSES_SPINNING 16u /* about 2 us, no more than a reader's section takes */
#define PAUSES_YIELDING 32u

uint64_t kl_grace_memory_bytes(uint32_t slot_count) {
    if (slot_count == 0 || slot_count > KL_GRACE_SLOTS_MAX) return 0;
    return KL_GRACE_HEADER_BYTES + (uint64_t)slot_count * sizeof(kl_grace_slot);
}

int32_t kl_grace_format(void *memory, uint32_t slot_count) {
    uint64_t bytes = kl_grace_memory_bytes(slot_count);
    if (bytes == 0)
        return kl_fail(KL_ERR_ARGUMENT, "%u slots: 1 to %u are allowed", slot_count,
                       KL_GRACE_SLOTS_MAX);
    memset(memory, 0, bytes);
    kl_grace_header *header = memory;
    /* relaxed: nobody else knows the memory yet. */
    atomic_store_explicit(&header->period, 1, memory_order_relaxed);
    header->magic = KL_GRACE_MAGIC;
    header->version = KL_GRACE_VERSION;
    header->slot_count = slot_count;
    return KL_OK;
}

int32_t kl_grace_grip(kl_grace *grace, void *memory, uint64_t memory_bytes, kl_region *region,
                      uint32_t barriers) {
    kl_grace_header *header = memory;
    if (memory_bytes < sizeof(*header) || header->magic != KL_GRACE_MAGIC)
        return kl_fail(KL_ERR_CORRUPT, "the memory holds no reader slots");
    if (header->version != KL_GRACE_VERSION)
        return kl_fail(KL_ERR_VERSION, "reader slots of version %u; this build knows %u",
                       header->version, KL_GRACE_VERSION);
    uint32_t slot_count = header->slot_count; /* once: a peer may scribble */
    uint64_t bytes = kl_grace_memory_bytes(slot_count);
    if (bytes == 0 || bytes > memory_bytes)
        return kl_fail(KL_ERR_CORRUPT, "%u reader slots do not fit the memory", slot_count);
    if (region && kl_region_self(region) == 0)
        return kl_fail(KL_ERR_ARGUMENT, "the region of the reader slots is not joined");
    bool is_light = !region && barriers == KL_GRACE_LIGHT && kl_membarrier_prepare() == KL_OK;
    *grace = (kl_grace){.header = header,
                        .slots = (kl_grace_slot *)(header + 1),
                        .region = region,
                        .slot_count = slot_count,
                        .is_light = is_light,
                        .may_lighten = !region && barriers == KL_GRACE_LATER};
    return KL_OK;
}

int32_t kl_grace_open(kl_grace *grace, uint32_t slot_count, uint32_t barriers) {
    uint64_t bytes = kl_grace_memory_bytes(slot_count);
    void *memory = bytes == 0 ? NULL : aligned_alloc(KL_LINE_BYTES, bytes);
    if (bytes != 0 && !memory) return kl_fail(KL_ERR_MEMORY, "no memory for %u slots", slot_count);
    int32_t status = kl_grace_format(memory, slot_count); /* refuses 0 bytes */
    if (status == KL_OK) status = kl_grace_grip(grace, memory, bytes, NULL, barriers);
    if (status == KL_OK)
        grace->owns_memory = true;
    else
        free(memory);
    return status;
}

void kl_grace_lighten(kl_grace *grace) {
    if (!grace->may_lighten) return;
    grace->may_lighten = false;
    /* relaxed: the heavy barrier orders it; see kl_grace_announce. */
    if (kl_membarrier_prepare() == KL_OK && kl_membarrier_heavy() == KL_OK)
        atomic_store_explicit(&grace->is_light, 1, memory_order_relaxed);
}

void kl_grace_close(kl_grace *grace) {
    if (grace->owns_memory) free(grace->header);
    grace->header = NULL;
}

/* ---- slots ---- */

static bool swap_owner(kl_grace_slot *slot, uint32_t from, uint32_t to) {
    /* acquire: partner is the release in free_slot; its last user is through. Relaxed on failure:
     * nothing is concluded from it. */
    return atomic_compare_exchange_strong_explicit(&slot->owner, &from, to, memory_order_acquire,
                                                   memory_order_relaxed);
}

static uint32_t load_owner(kl_grace_slot *slot) {
    return atomic_load_explicit(&slot->owner, memory_order_relaxed); /* decided by swap_owner */
}

static uint32_t self_of(const kl_grace *grace) {
    return grace->region ? kl_region_self(grace->region) : LOCAL_OWNER;
}

static void free_slot(kl_grace_slot *slot) {
    kl_grace_retract(slot);
    /* release: partner is swap_owner of the next claimer. */
    atomic_store_explicit(&slot->owner, 0, memory_order_release);
}

/* Frees a slot whose owner is dead; so does whoever cleans it next when this process dies here. */
static bool clean_dead(const kl_grace *grace, kl_grace_slot *slot) {
    uint32_t owner = load_owner(slot);
    if (!grace->region || owner == 0) return false;
    if (kl_region_alive(grace->region, owner & ~KL_GRACE_CLEANING)) return false;
    if (!swap_owner(slot, owner, self_of(grace) | KL_GRACE_CLEANING)) return false;
    free_slot(slot);
    return true;
}

static void raise_used(const kl_grace *grace, uint32_t used) {
    /* relaxed: whoever reads in the new slot passes a barrier (A3) before it loads anything, and who
     * looks at the slots passes one (B2) before this word. */
    uint32_t seen = atomic_load_explicit(&grace->header->used, memory_order_relaxed);
    while (seen < used &&
           !atomic_compare_exchange_weak_explicit(&grace->header->used, &seen, used,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

static kl_grace_slot *claim_at(const kl_grace *grace, uint32_t index) {
    kl_grace_slot *slot = &grace->slots[index];
    if (load_owner(slot) != 0 || !swap_owner(slot, 0, self_of(grace))) return NULL;
    atomic_store_explicit(&slot->thread, (int32_t)gettid(), memory_order_relaxed);
    raise_used(grace, index + 1);
    return slot;
}

kl_grace_slot *kl_grace_claim(const kl_grace *grace) {
    for (uint32_t attempt = 0; attempt < 2; attempt++) {
        for (uint32_t index = 0; index < grace->slot_count; index++) {
            if (attempt > 0) clean_dead(grace, &grace->slots[index]);
            kl_grace_slot *slot = claim_at(grace, index);
            if (slot) return slot;
        }
        if (!grace->region) break;
    }
    kl_fail(KL_ERR_LIMIT, "more threads than the %u reader slots there are", grace->slot_count);
    return NULL;
}

void kl_grace_give_back(kl_grace_slot *slot) {
    if (slot) free_slot(slot);
}

static uint32_t used_slots(const kl_grace *grace) {
    /* relaxed: see raise_used. */
    uint32_t used = atomic_load_explicit(&grace->header->used, memory_order_relaxed);
    return used < grace->slot_count ? used : grace->slot_count;
}

uint32_t kl_grace_readers(const kl_grace *grace) {
    uint32_t count = 0, used = used_slots(grace);
    for (uint32_t index = 0; index < used; index++) count += load_owner(&grace->slots[index]) != 0;
    return count;
}

/* ---- periods ---- */

void kl_grace_pause(uint32_t round) {
    if (round < PAUSES_SPINNING && kl_cpu_count() > 1) {
        for (uint32_t spin = 0; spin < 8; spin++) kl_cpu_pause();
    } else if (round < PAUSES_YIELDING) {
        sched_yield();
    } else {
        uint32_t doublings = (round - PAUSES_YIELDING) / 4;
        long ns = doublings < 6 ? 16000L << doublings : (long)KL_NS_PER_MS;
        struct timespec pause = {.tv_sec = 0, .tv_nsec = ns};
        nanosleep(&pause, NULL); /* cut short by a signal: fine */
    }
}

int32_t kl_grace_begin(const kl_grace *grace, uint64_t *period) {
    /* B1, release: partner is A1 in kl_grace_announce and quiescent; whoever sees this period, or a
     * later one (all are adds), sees what was unlinked before it. */
    *period = atomic_fetch_add_explicit(&grace->header->period, 1, memory_order_release) + 1;
    /* relaxed: constant, or written by this thread. */
    bool is_light = atomic_load_explicit(&grace->is_light, memory_order_relaxed) != 0;
    if (is_light) return kl_membarrier_heavy(); /* B2: partner is A3; it reaches fences as well */
    /* B2: partner is A3 in kl_membarrier_announce. */
    kl_full_barrier(&grace->header->period);
    return KL_OK;
}

int32_t kl_grace_oldest(const kl_grace *grace, uint64_t wanted, uint64_t *oldest, uint32_t *where) {
    *oldest = KL_GRACE_NOBODY;
    uint32_t used = used_slots(grace);
    for (uint32_t index = 0; index < used; index++) {
        kl_grace_slot *slot = &grace->slots[index];
        /* B3, acquire: partner is A5 in kl_grace_retract, and the release in announce. */
        uint64_t announced = atomic_load_explicit(&slot->announced, memory_order_acquire);
        if (announced == 0 || announced >= *oldest) continue;
        if (announced < wanted && clean_dead(grace, slot)) continue;
        *oldest = announced;
        *where = index;
    }
    /* relaxed: an announced period was read from this word, and B3 saw it. */
    uint64_t period = atomic_load_explicit(&grace->header->period, memory_order_relaxed);
    if (*oldest != KL_GRACE_NOBODY && *oldest > period)
        return kl_fail(KL_ERR_CORRUPT, "a reader announced period %llu of %llu",
                       (unsigned long long)*oldest, (unsigned long long)period);
    return KL_OK;
}
