#include "lockfree/capability_table.h"

#include <string.h>

#include "base/fence.h"
#include "base/layout_hash.h"
#include "sync/shared_object.h"

#define BUCKET       KL_CAPABILITY_BUCKET_SLOTS
#define CANDIDATES   (2 * BUCKET)
#define ATTEMPTS_MAX 1000u /* of insert against rivals for one key */
#ifndef PATIENCE           /* less in models */
#define PATIENCE 32u       /* attempts that give way to a rival in an earlier slot */
#endif
#define CREATOR 0x7fffffffull

static_assert(KL_CAPABILITY_TABLE_CAPACITY_MAX * 2ull <= 1ull << KL_CAPABILITY_SLOT_BITS,
              "each slot has a number");

static uint64_t control_of(uint64_t generation, uint64_t state, uint64_t creator) {
    return generation << 34 | state << 31 | creator;
}

static uint64_t generation_of(uint64_t control) {
    return control >> 34;
}

static uint32_t state_of(uint64_t control) {
    return (uint32_t)(control >> 31) & 7u;
}

static bool is_live(uint64_t control) {
    return (state_of(control) & KL_CAPABILITY_LIVE) == KL_CAPABILITY_LIVE;
}

/* What a slot is when its use is over: free for the next generation, or retired. */
static uint64_t freed(uint64_t control) {
    uint64_t next = generation_of(control) + 1;
    return next > KL_CAPABILITY_GENERATION_MAX
               ? control_of(KL_CAPABILITY_GENERATION_MAX, KL_CAPABILITY_RETIRED, 0)
               : control_of(next, KL_CAPABILITY_FREE, 0);
}

/* Enough slots that buckets are at most half full on average. */
static uint64_t slots_for(uint64_t capacity) {
    uint64_t slots = 2 * BUCKET;
    if (capacity < KL_CAPABILITY_TABLE_CAPACITY_MIN || capacity > KL_CAPABILITY_TABLE_CAPACITY_MAX)
        return 0;
    while (slots < 2 * capacity) slots *= 2;
    return slots;
}

uint64_t kl_capability_table_memory_bytes(uint64_t capacity) {
    uint64_t slots = slots_for(capacity);
    return slots == 0 ? 0
                      : sizeof(kl_capability_table_header) +
                            slots * (sizeof(uint64_t) + sizeof(kl_capability_entry));
}

int32_t kl_capability_table_format(void *memory, uint64_t capacity) {
    kl_capability_table_header *header = memory;
    uint64_t slots = slots_for(capacity);
    if (slots == 0)
        return kl_fail(KL_ERR_ARGUMENT, "a table of %llu capabilities: from %u to %u",
                       (unsigned long long)capacity, KL_CAPABILITY_TABLE_CAPACITY_MIN,
                       KL_CAPABILITY_TABLE_CAPACITY_MAX);
    memset(memory, 0, kl_capability_table_memory_bytes(capacity));
    header->magic = KL_CAPABILITY_TABLE_MAGIC;
    header->version = KL_CAPABILITY_TABLE_VERSION;
    header->capacity = (uint32_t)capacity;
    header->slots = (uint32_t)slots;
    return KL_OK;
}

int32_t kl_capability_table_grip(kl_capability_table *table, kl_region *region, void *memory,
                                 uint64_t memory_bytes) {
    kl_capability_table_header *header = memory;
    memset(table, 0, sizeof *table);
    if (memory_bytes < sizeof *header)
        return kl_fail(KL_ERR_CORRUPT, "%llu bytes cannot hold a capability table",
                       (unsigned long long)memory_bytes);
    if (header->magic != KL_CAPABILITY_TABLE_MAGIC)
        return kl_fail(KL_ERR_CORRUPT, "no capability table here: magic 0x%08x", header->magic);
    if (header->version != KL_CAPABILITY_TABLE_VERSION)
        return kl_fail(KL_ERR_VERSION, "capability table version %u, this build knows %u",
                       header->version, KL_CAPABILITY_TABLE_VERSION);
    uint64_t capacity = header->capacity; /* read once: memory may change under us */
    uint64_t bytes = kl_capability_table_memory_bytes(capacity), slots = slots_for(capacity);
    if (bytes == 0 || bytes > memory_bytes || header->slots != slots)
        return kl_fail(KL_ERR_CORRUPT, "a table of %llu capabilities in %llu bytes of memory",
                       (unsigned long long)capacity, (unsigned long long)memory_bytes);
    table->header = header;
    table->keys = (_Atomic uint64_t *)(void *)(header + 1);
    table->entries = (kl_capability_entry *)(void *)(table->keys + slots);
    table->region = region;
    table->slots = (uint32_t)slots;
    return KL_OK;
}

/* ---- reading ---- */

static kl_capability capability_of(uint64_t control, uint32_t slot) {
    return generation_of(control) << KL_CAPABILITY_SLOT_BITS | slot;
}

static uint32_t slot_of(kl_capability capability) {
    return (uint32_t)capability & ((1u << KL_CAPABILITY_SLOT_BITS) - 1);
}

/* acquire: partner is the release of whoever moved the slot to this state. */
static uint64_t load_control(const kl_capability_entry *entry) {
    return atomic_load_explicit(&entry->control, memory_order_acquire);
}

/* The masks of a capability and of all it came from. False when one of them is not live. `through`:
 * whether that capability is among those it came from. */
static bool effective(const kl_capability_table *table, kl_capability capability,
                      kl_capability through, uint64_t *mask, bool *found, uint32_t *depth) {
    *mask = UINT64_MAX;
    *found = false;
    for (*depth = 1; *depth <= KL_CAPABILITY_DEPTH_MAX; ++*depth) {
        uint32_t slot = slot_of(capability);
        if (slot >= table->slots) return false;
        const kl_capability_entry *entry = &table->entries[slot];
        uint64_t control = load_control(entry);
        if (!is_live(control) || capability_of(control, slot) != capability) return false;
        /* acquire, both: as in kl_capability_table_check. */
        *mask &= atomic_load_explicit(&entry->mask, memory_order_acquire);
        kl_capability parent = atomic_load_explicit(&entry->parent, memory_order_acquire);
        /* relaxed: ordered by the two above. */
        uint64_t again = atomic_load_explicit(&entry->control, memory_order_relaxed);
        if (!is_live(again) || capability_of(again, slot) != capability) return false;
        if (capability == through) *found = true;
        if (parent == 0) return true;
        capability = parent;
    }
    return false;
}

int32_t kl_capability_table_permissions(const kl_capability_table *table, kl_capability capability,
                                        uint64_t *out) {
    bool found;
    uint32_t depth;
    return effective(table, capability, 0, out, &found, &depth) ? KL_OK : KL_ERR_NOT_FOUND;
}

static bool is_permitted_at_all(const kl_capability_table *table, kl_capability capability) {
    return kl_capability_table_check(table, capability, 0);
}

static uint64_t mix(uint64_t key) { /* the finalizer of splitmix64 */
    key = (key ^ key >> 30) * 0xbf58476d1ce4e5b9ull;
    key = (key ^ key >> 27) * 0x94d049bb133111ebull;
    return key ^ key >> 31;
}

/* The first slots of the two buckets of a key. The second is never the first one again. */
static uint64_t places_of(const kl_capability_table *table, uint64_t key) {
    uint64_t hash = mix(key);
    uint32_t buckets = table->slots / BUCKET, first = (uint32_t)hash & (buckets - 1);
    uint32_t distance = 1 + (uint32_t)((hash >> 32) % (buckets - 1));
    return (uint64_t)((first + distance) & (buckets - 1)) * BUCKET << 32 | first * BUCKET;
}

/* The slot of candidate `rank`: 0 to 15 in the first bucket, 16 to 31 in the second. */
static uint32_t candidate(uint64_t places, uint32_t rank) {
    return (uint32_t)(places >> (rank / BUCKET * 32)) + rank % BUCKET;
}

/* acquire: partner is the release in fill; who sees the key of the next use of a slot sees that its
 * last one is over. */
static uint64_t load_key(const kl_capability_table *table, uint32_t slot) {
    return atomic_load_explicit(&table->keys[slot], memory_order_acquire);
}

int32_t kl_capability_table_find(const kl_capability_table *table, uint64_t key,
                                 kl_capability *out) {
    uint64_t places = places_of(table, key);
    for (uint32_t rank = 0; rank < CANDIDATES; rank++) {
        uint32_t slot = candidate(places, rank);
        if (load_key(table, slot) != key) continue;
        uint64_t control = load_control(&table->entries[slot]);
        /* The key again: the first look may have been at the use of the slot before this one. */
        if (!is_live(control) || load_key(table, slot) != key) continue;
        if (!is_permitted_at_all(table, capability_of(control, slot))) continue;
        *out = capability_of(control, slot);
        return KL_OK;
    }
    return KL_ERR_NOT_FOUND;
}

/* ---- a slot's way ---- */

static bool change(kl_capability_entry *entry, uint64_t *from, uint64_t to) {
    /* release: partner is load_control, by which `from` was read: what was done before a slot changed
     * hands is seen by who has it next. */
    return atomic_compare_exchange_strong_explicit(&entry->control, from, to, memory_order_release,
                                                   memory_order_relaxed);
}

/* Frees a slot that is as `control` says; who changed it meanwhile has dealt with it. */
static void release_slot(kl_capability_entry *entry, uint64_t control) {
    change(entry, &control, freed(control));
}

/* Whether a slot holds what nobody can use any more: its creator died, or what it came from ended. */
static bool is_abandoned(const kl_capability_table *table, uint32_t slot, uint64_t control) {
    switch (state_of(control)) {
    case KL_CAPABILITY_CLAIMED:
    case KL_CAPABILITY_TENTATIVE: {
        uint32_t creator = (uint32_t)(control & CREATOR);
        return creator != kl_region_self(table->region) && !kl_region_alive(table->region, creator);
    }
    case KL_CAPABILITY_LIVE: return !is_permitted_at_all(table, capability_of(control, slot));
    default: return false;
    }
}

static uint32_t reclaim(kl_capability_table *table, uint64_t places) {
    uint32_t count = 0;
    for (uint32_t rank = 0; rank < CANDIDATES; rank++) {
        uint32_t slot = candidate(places, rank);
        uint64_t control = load_control(&table->entries[slot]);
        if (!is_abandoned(table, slot, control)) continue;
        release_slot(&table->entries[slot], control);
        count++;
    }
    return count;
}

/* Claims a free slot in the emptier bucket: its rank, or CANDIDATES when there is none. */
static uint32_t claim_slot(kl_capability_table *table, uint64_t places, uint64_t *control) {
    uint32_t free[2] = {0, 0};
    for (uint32_t rank = 0; rank < CANDIDATES; rank++) {
        uint64_t seen = load_control(&table->entries[candidate(places, rank)]);
        if (state_of(seen) == KL_CAPABILITY_FREE) free[rank / BUCKET]++;
    }
    uint32_t start = free[1] > free[0] ? BUCKET : 0;
    for (uint32_t i = 0; i < CANDIDATES; i++) {
        uint32_t rank = (start + i) % CANDIDATES;
        kl_capability_entry *entry = &table->entries[candidate(places, rank)];
        uint64_t seen = load_control(entry);
        if (state_of(seen) != KL_CAPABILITY_FREE) continue;
        uint64_t generation = generation_of(seen) == 0 ? 1 : generation_of(seen);
        *control =
            control_of(generation, KL_CAPABILITY_CLAIMED, kl_region_self(table->region) & CREATOR);
        if (change(entry, &seen, *control)) return rank;
    }
    return CANDIDATES;
}

/* Writes what the claimed slot is to be and shows it as TENTATIVE. */
static bool fill(kl_capability_table *table, uint32_t slot, uint64_t *control, uint64_t key,
                 uint64_t mask, kl_capability parent) {
    kl_capability_entry *entry = &table->entries[slot];
    /* release, all: partners are the acquires in check and effective, which then see the claim. */
    atomic_store_explicit(&table->keys[slot], key, memory_order_release);
    atomic_store_explicit(&entry->mask, mask, memory_order_release);
    atomic_store_explicit(&entry->parent, parent, memory_order_release);
    /* relaxed: a hint, for who sees this entry live. */
    atomic_store_explicit(&entry->delegated, 0, memory_order_relaxed);
    uint64_t tentative =
        control_of(generation_of(*control), KL_CAPABILITY_TENTATIVE, *control & CREATOR);
    if (!change(entry, control, tentative)) return false;
    *control = tentative;
    /* seq_cst: partners are the same fence of a rival for the key, and the one in revoke. Of two that
     * show themselves and then look for the other, one sees the other. */
    atomic_thread_fence(memory_order_seq_cst);
    return true;
}

enum contest { WON, LOST, TAKEN };

/* Looks for others with the same key: a live one stays (TAKEN), of tentative ones the first does, unless
 * we are `ruthless`: it may have been stopped there for long. */
static enum contest compete(kl_capability_table *table, uint64_t places, uint64_t key,
                            uint32_t own_rank, bool ruthless) {
    for (uint32_t rank = 0; rank < CANDIDATES; rank++) {
        uint32_t slot = candidate(places, rank);
        kl_capability_entry *entry = &table->entries[slot];
        uint64_t control = load_control(entry);
        uint32_t state = state_of(control);
        if (rank == own_rank || (!is_live(control) && state != KL_CAPABILITY_TENTATIVE)) continue;
        if (load_key(table, slot) != key) continue;
        if (is_live(control)) {
            if (is_permitted_at_all(table, capability_of(control, slot))) return TAKEN;
            if (state == KL_CAPABILITY_LIVE) release_slot(entry, control);
            continue;
        }
        if (rank < own_rank && !ruthless && !is_abandoned(table, slot, control)) return LOST;
        if (!change(entry, &control, freed(control))) rank--; /* it moved on: look again */
    }
    return WON;
}

/* One attempt to make `key` live. KL_ERR_AGAIN: rivals; try again. */
static int32_t place(kl_capability_table *table, uint64_t key, uint64_t mask, kl_capability parent,
                     bool ruthless, kl_capability *out) {
    uint64_t places = places_of(table, key), control = 0, permitted;
    kl_capability known;
    if (kl_capability_table_find(table, key, &known) == KL_OK) return KL_ERR_EXISTS;
    uint32_t rank = claim_slot(table, places, &control);
    if (rank == CANDIDATES) return reclaim(table, places) > 0 ? KL_ERR_AGAIN : KL_ERR_LIMIT;
    uint32_t slot = candidate(places, rank);
    kl_capability_entry *entry = &table->entries[slot];
    if (!fill(table, slot, &control, key, mask, parent)) return KL_ERR_AGAIN;
    enum contest end = compete(table, places, key, rank, ruthless);
    /* The parent again: bits taken from it since, before we were to be seen, are not ours. */
    bool narrowed =
        parent != 0 && (kl_capability_table_permissions(table, parent, &permitted) != KL_OK ||
                        (mask & ~permitted) != 0);
    if (end != WON || narrowed) {
        release_slot(entry, control);
        if (end == LOST) kl_cpu_pause();
        return end == TAKEN ? KL_ERR_EXISTS : KL_ERR_AGAIN;
    }
    uint64_t live = control_of(generation_of(control), KL_CAPABILITY_LIVE, 0);
    if (!change(entry, &control, live)) return KL_ERR_AGAIN;
    *out = capability_of(live, slot);
    return KL_OK;
}

static int32_t refuse_place(kl_capability_table *table, int32_t status, uint64_t key) {
    if (status == KL_ERR_EXISTS)
        return kl_fail(status, "there is a live capability with key %llu", (unsigned long long)key);
    if (status == KL_ERR_LIMIT)
        return kl_fail(status, "no slot for key %llu: the table was made for %u capabilities",
                       (unsigned long long)key, table->header->capacity);
    return kl_fail(status, "others create and end key %llu all the time", (unsigned long long)key);
}

int32_t kl_capability_table_insert(kl_capability_table *table, uint64_t key, uint64_t mask,
                                   kl_capability *out) {
    int32_t status = KL_ERR_AGAIN;
    for (uint32_t i = 0; i < ATTEMPTS_MAX && status == KL_ERR_AGAIN; i++)
        status = place(table, key, mask, 0, i >= PATIENCE, out);
    return status == KL_OK ? KL_OK : refuse_place(table, status, key);
}

static int32_t not_found(kl_capability capability) {
    return kl_fail(KL_ERR_NOT_FOUND, "capability %llu is not live", (unsigned long long)capability);
}

int32_t kl_capability_table_delegate(kl_capability_table *table, kl_capability parent, uint64_t key,
                                     uint64_t mask, kl_capability *out) {
    int32_t status = KL_ERR_AGAIN;
    for (uint32_t i = 0; i < ATTEMPTS_MAX && status == KL_ERR_AGAIN; i++) {
        uint64_t permitted;
        bool found;
        uint32_t depth;
        if (!effective(table, parent, 0, &permitted, &found, &depth)) return not_found(parent);
        if ((mask & ~permitted) != 0)
            return kl_fail(KL_ERR_PERMISSION, "permissions 0x%llx of a capability that has 0x%llx",
                           (unsigned long long)mask, (unsigned long long)permitted);
        if (depth >= KL_CAPABILITY_DEPTH_MAX)
            return kl_fail(KL_ERR_LIMIT, "%u delegations in a row: that is the limit", depth);
        /* relaxed: a hint; before the child is live, so that who ends the parent and missed it
         * leaves a child that is ended too, only not freed. */
        atomic_store_explicit(&table->entries[slot_of(parent)].delegated, 1, memory_order_relaxed);
        status = place(table, key, mask, parent, i >= PATIENCE, out);
    }
    return status == KL_OK ? KL_OK : refuse_place(table, status, key);
}

/* ---- ending ---- */

/* Frees what came from ended ones; whatever this misses is freed when its bucket needs it. */
static void sweep(kl_capability_table *table) {
    for (uint32_t slot = 0; slot < table->slots; slot++) {
        uint64_t control = load_control(&table->entries[slot]);
        if (state_of(control) == KL_CAPABILITY_LIVE && is_abandoned(table, slot, control))
            release_slot(&table->entries[slot], control);
    }
}

int32_t kl_capability_table_end(kl_capability_table *table, kl_capability capability) {
    uint32_t slot = slot_of(capability);
    if (slot >= table->slots || !is_permitted_at_all(table, capability))
        return not_found(capability);
    kl_capability_entry *entry = &table->entries[slot];
    /* relaxed: a hint. */
    uint32_t delegated = atomic_load_explicit(&entry->delegated, memory_order_relaxed);
    uint64_t control = load_control(entry);
    for (;;) { /* ends when it is no longer live; an edit begins and ends once in a while */
        if (!is_live(control) || capability_of(control, slot) != capability)
            return not_found(capability);
        uint64_t ended = state_of(control) == KL_CAPABILITY_LIVE
                             ? freed(control)
                             : control_of(generation_of(control), KL_CAPABILITY_ENDED, 0);
        if (change(entry, &control, ended)) break;
    }
    if (delegated != 0) sweep(table);
    return KL_OK;
}

/* ---- changing permissions: the owner of the mutex only ---- */

/* Holds a live entry in place: its slot is not freed, so its mask can be changed. */
static bool begin_edit(kl_capability_entry *entry, uint64_t control) {
    if (state_of(control) != KL_CAPABILITY_LIVE) return false;
    return change(entry, &control,
                  control_of(generation_of(control), KL_CAPABILITY_EDIT, control & CREATOR));
}

static void finish_edit(kl_capability_entry *entry) {
    uint64_t control = load_control(entry);
    for (uint32_t i = 0; i < 2; i++) { /* the second time it was ended meanwhile */
        if (state_of(control) == KL_CAPABILITY_EDIT) {
            if (change(entry, &control, control_of(generation_of(control), KL_CAPABILITY_LIVE, 0)))
                return;
        } else if (state_of(control) == KL_CAPABILITY_ENDED) {
            if (change(entry, &control, freed(control))) return;
        }
    }
}

static void keep_bits(kl_capability_entry *entry, uint64_t kept) {
    /* relaxed: the entry is ours until finish_edit. */
    atomic_fetch_and_explicit(&entry->mask, kept, memory_order_relaxed);
}

/* Brings an entry's mask within what its ancestors permit, for good. `through` 0: any entry with a parent;
 * else only descendants of that one, and `kept` is what they keep. False: the entry moved on
 * meanwhile, from tentative to live, say: look again. */
static bool narrow_once(kl_capability_table *table, uint32_t slot, kl_capability through,
                        uint64_t kept) {
    kl_capability_entry *entry = &table->entries[slot];
    uint64_t control = load_control(entry), mask;
    uint32_t state = state_of(control), depth;
    bool found;
    if (state == KL_CAPABILITY_TENTATIVE) {
        /* relaxed: written before it was tentative. It starts again, and sees the narrowed parent. */
        kl_capability parent = atomic_load_explicit(&entry->parent, memory_order_relaxed);
        if (parent == 0) return true;
        bool alive = effective(table, parent, through, &mask, &found, &depth);
        if (alive && !found && through != 0) return true;
        return change(entry, &control, freed(control));
    }
    kl_capability self = capability_of(control, slot);
    if (state != KL_CAPABILITY_LIVE || self == through) return true;
    if (!effective(table, self, through, &mask, &found, &depth)) return true;
    if (through != 0 ? !found : depth == 1) return true;
    if (!begin_edit(entry, control)) return false;
    keep_bits(entry, through != 0 ? kept : mask);
    finish_edit(entry);
    return true;
}

static void narrow(kl_capability_table *table, uint32_t slot, kl_capability through,
                   uint64_t kept) {
    while (!narrow_once(table, slot, through, kept)) {
    } /* each time somebody else was faster */
}

/* After the death of an owner of the mutex: whatever it was doing to any entry is brought to an end. */
static void repair(kl_capability_table *table) {
    for (uint32_t slot = 0; slot < table->slots; slot++) finish_edit(&table->entries[slot]);
    /* seq_cst: as in revoke, on behalf of the dead one. */
    atomic_thread_fence(memory_order_seq_cst);
    for (uint32_t slot = 0; slot < table->slots; slot++) narrow(table, slot, 0, 0);
}

static int32_t lock(kl_capability_table *table) {
    int32_t status = kl_mutex_lock(&table->header->mutex, table->region, KL_FOREVER);
    if (status == KL_OWNER_DEAD) repair(table);
    return status < 0 ? status : KL_OK;
}

static int32_t unlock(kl_capability_table *table, int32_t status) {
    kl_mutex_unlock(&table->header->mutex, table->region);
    return status;
}

/* Holds the entry of a capability that is live. The mutex is ours. */
static int32_t edit(kl_capability_table *table, kl_capability capability,
                    kl_capability_entry **out) {
    uint32_t slot = slot_of(capability);
    if (slot >= table->slots || !is_permitted_at_all(table, capability))
        return not_found(capability);
    kl_capability_entry *entry = &table->entries[slot];
    uint64_t control = load_control(entry);
    if (capability_of(control, slot) != capability || !begin_edit(entry, control))
        return not_found(capability);
    *out = entry;
    return KL_OK;
}

int32_t kl_capability_table_grant(kl_capability_table *table, kl_capability capability,
                                  uint64_t mask) {
    kl_capability_entry *entry = NULL;
    int32_t status = lock(table);
    if (status != KL_OK) return status;
    status = edit(table, capability, &entry);
    if (status != KL_OK) return unlock(table, status);
    /* relaxed: written before the entry was live. */
    kl_capability parent = atomic_load_explicit(&entry->parent, memory_order_relaxed);
    uint64_t permitted = UINT64_MAX;
    if (parent != 0 && kl_capability_table_permissions(table, parent, &permitted) != KL_OK)
        status = not_found(capability);
    else if ((mask & ~permitted) != 0)
        status = kl_fail(KL_ERR_PERMISSION, "granting 0x%llx: its parent has 0x%llx",
                         (unsigned long long)mask, (unsigned long long)permitted);
    else
        /* relaxed: as in keep_bits. */
        atomic_fetch_or_explicit(&entry->mask, mask, memory_order_relaxed);
    finish_edit(entry);
    return unlock(table, status);
}

int32_t kl_capability_table_revoke(kl_capability_table *table, kl_capability capability,
                                   uint64_t mask) {
    kl_capability_entry *entry = NULL;
    int32_t status = lock(table);
    if (status != KL_OK) return status;
    status = edit(table, capability, &entry);
    if (status != KL_OK) return unlock(table, status);
    keep_bits(entry, ~mask);
    finish_edit(entry);
    /* seq_cst: partner is the fence in fill. A delegation that this walk does not see sees the mask
     * without the bits. */
    atomic_thread_fence(memory_order_seq_cst);
    for (uint32_t slot = 0; slot < table->slots; slot++) narrow(table, slot, capability, ~mask);
    return unlock(table, KL_OK);
}

/* ---- looking at all of it ---- */

uint32_t kl_capability_table_count(const kl_capability_table *table) {
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < table->slots; slot++) {
        uint64_t control = load_control(&table->entries[slot]);
        if (is_live(control) && is_permitted_at_all(table, capability_of(control, slot))) count++;
    }
    return count;
}

int32_t kl_capability_table_verify(const kl_capability_table *table) {
    for (uint32_t slot = 0; slot < table->slots; slot++) {
        uint64_t control = load_control(&table->entries[slot]), mask;
        bool found;
        uint32_t depth, rank = 0;
        kl_capability self = capability_of(control, slot), known = 0;
        if (state_of(control) == KL_CAPABILITY_EDIT || state_of(control) == KL_CAPABILITY_ENDED ||
            state_of(control) == 4)
            return kl_fail(KL_ERR_CORRUPT, "slot %u is in state %u", slot, state_of(control));
        if (!is_live(control) || !effective(table, self, 0, &mask, &found, &depth)) continue;
        uint64_t key = load_key(table, slot), places = places_of(table, key);
        while (rank < CANDIDATES && candidate(places, rank) != slot) rank++;
        if (rank == CANDIDATES || kl_capability_table_find(table, key, &known) != KL_OK ||
            known != self)
            return kl_fail(KL_ERR_CORRUPT, "slot %u holds key %llu, which is not here or twice",
                           slot, (unsigned long long)key);
        /* relaxed: nothing else runs. */
        uint64_t own = atomic_load_explicit(&table->entries[slot].mask, memory_order_relaxed);
        if (own != mask)
            return kl_fail(KL_ERR_CORRUPT, "slot %u permits 0x%llx, what it came from 0x%llx", slot,
                           (unsigned long long)own, (unsigned long long)mask);
    }
    return KL_OK;
}

/* ---- behind a handle ---- */

#define NUMBER_MAX 9007199254740991.0 /* 2^53 - 1 */

typedef struct {
    kl_shared_object object;
    kl_capability_table table;
} named_table;

static int32_t format_named(void *memory, uint64_t memory_bytes, const void *options) {
    (void)memory_bytes;
    return kl_capability_table_format(memory, *(const uint32_t *)options);
}

static int32_t grip_named(kl_shared_object *object, void *memory, uint64_t memory_bytes) {
    return kl_capability_table_grip(&((named_table *)object)->table, object->region, memory,
                                    memory_bytes);
}

static const kl_shared_object_type NAMED = {.handle_kind = KL_HANDLE_CAPABILITY_TABLE,
                                            .magic = KL_CAPABILITY_TABLE_MAGIC,
                                            .layout_hash = KL_LAYOUT_HASH,
                                            .object_bytes = sizeof(named_table),
                                            .noun = "capability table",
                                            .format = format_named,
                                            .grip = grip_named};

int32_t kl_capability_table_create(const uint8_t *name, uint32_t name_bytes, uint32_t capacity,
                                   uint8_t *out) {
    uint64_t memory_bytes = kl_capability_table_memory_bytes(capacity);
    if (memory_bytes == 0) return kl_capability_table_format(NULL, capacity); /* says why */
    return kl_shared_object_create(&NAMED, name, name_bytes, memory_bytes, &capacity, out);
}

int32_t kl_capability_table_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out) {
    return kl_shared_object_attach(&NAMED, name, name_bytes, out);
}

int32_t kl_capability_table_close(uint32_t table) {
    return kl_shared_object_close(&NAMED, table);
}

int32_t kl_capability_table_remove(const uint8_t *name, uint32_t name_bytes) {
    return kl_shared_object_remove(&NAMED, name, name_bytes);
}

static uint64_t mask_of(uint32_t low, uint32_t high) {
    return (uint64_t)high << 32 | low;
}

static bool is_number(double number) {
    return number >= 0 && number <= NUMBER_MAX && (double)(uint64_t)number == number;
}

static int32_t no_number(const char *what, double number) {
    return kl_fail(KL_ERR_ARGUMENT, "%s %g: a whole number from 0 to 2^53 - 1", what, number);
}

/* Enters the handle, unless one of the numbers cannot be. */
static int32_t enter(uint32_t handle, double key, double capability, named_table **out) {
    if (!is_number(key)) return no_number("key", key);
    if (!is_number(capability)) return no_number("capability", capability);
    *out = kl_shared_object_enter(&NAMED, handle);
    return *out ? KL_OK : KL_ERR_HANDLE;
}

static int32_t leave(named_table *named, uint32_t handle, int32_t status) {
    return kl_shared_object_leave(&named->object, handle, NULL, status);
}

double kl_capability_table_add(uint32_t table, double key, uint32_t low, uint32_t high) {
    named_table *named = NULL;
    kl_capability capability = 0;
    int32_t status = enter(table, key, 0, &named);
    if (status != KL_OK) return status;
    status =
        kl_capability_table_insert(&named->table, (uint64_t)key, mask_of(low, high), &capability);
    status = leave(named, table, status);
    return status == KL_OK ? (double)capability : status;
}

double kl_capability_table_derive(uint32_t table, double parent, double key, uint32_t low,
                                  uint32_t high) {
    named_table *named = NULL;
    kl_capability capability = 0;
    int32_t status = enter(table, key, parent, &named);
    if (status != KL_OK) return status;
    status = kl_capability_table_delegate(&named->table, (uint64_t)parent, (uint64_t)key,
                                          mask_of(low, high), &capability);
    status = leave(named, table, status);
    return status == KL_OK ? (double)capability : status;
}

double kl_capability_table_lookup(uint32_t table, double key) {
    named_table *named = NULL;
    kl_capability capability = 0;
    int32_t status = enter(table, key, 0, &named);
    if (status != KL_OK) return status;
    status = kl_capability_table_find(&named->table, (uint64_t)key, &capability);
    status = leave(named, table, status);
    return status == KL_OK ? (double)capability : status;
}

int32_t kl_capability_table_permits(uint32_t table, double capability, uint32_t low,
                                    uint32_t high) {
    named_table *named = NULL;
    int32_t status = enter(table, 0, capability, &named);
    if (status != KL_OK) return status;
    return leave(
        named, table,
        kl_capability_table_check(&named->table, (uint64_t)capability, mask_of(low, high)) ? 1 : 0);
}

int32_t kl_capability_table_mask(uint32_t table, double capability, uint8_t *out) {
    named_table *named = NULL;
    uint64_t mask = 0;
    if (!out) return kl_fail(KL_ERR_ARGUMENT, "no place for the permissions");
    int32_t status = enter(table, 0, capability, &named);
    if (status != KL_OK) return status;
    status = kl_capability_table_permissions(&named->table, (uint64_t)capability, &mask);
    memcpy(out, &mask, sizeof mask);
    return leave(named, table, status);
}

int32_t kl_capability_table_give(uint32_t table, double capability, uint32_t low, uint32_t high) {
    named_table *named = NULL;
    int32_t status = enter(table, 0, capability, &named);
    if (status != KL_OK) return status;
    return leave(
        named, table,
        kl_capability_table_grant(&named->table, (uint64_t)capability, mask_of(low, high)));
}

int32_t kl_capability_table_take(uint32_t table, double capability, uint32_t low, uint32_t high) {
    named_table *named = NULL;
    int32_t status = enter(table, 0, capability, &named);
    if (status != KL_OK) return status;
    return leave(
        named, table,
        kl_capability_table_revoke(&named->table, (uint64_t)capability, mask_of(low, high)));
}

int32_t kl_capability_table_drop(uint32_t table, double capability) {
    named_table *named = NULL;
    int32_t status = enter(table, 0, capability, &named);
    if (status != KL_OK) return status;
    return leave(named, table, kl_capability_table_end(&named->table, (uint64_t)capability));
}

int32_t kl_capability_table_size(uint32_t table) {
    named_table *named = NULL;
    int32_t status = enter(table, 0, 0, &named);
    if (status != KL_OK) return status;
    return leave(named, table, (int32_t)kl_capability_table_count(&named->table));
}

int32_t kl_capability_table_capacity(uint32_t table) {
    named_table *named = NULL;
    int32_t status = enter(table, 0, 0, &named);
    if (status != KL_OK) return status;
    return leave(named, table, (int32_t)(named->table.header->capacity & INT32_MAX));
}

int32_t kl_capability_table_audit(uint32_t table) {
    named_table *named = NULL;
    int32_t status = enter(table, 0, 0, &named);
    if (status != KL_OK) return status;
    return leave(named, table, kl_capability_table_verify(&named->table));
}
