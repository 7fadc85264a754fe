#include "mem/participant.h"

#include "base/clock.h"
#include "mem/killpoint.h"
#include "mem/region.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLOT_MASK            0xffu
#define PARTICIPANT_ATTEMPTS 8

static_assert(KL_PARTICIPANTS <= 64, "one bit of busy_slots each");
static_assert(KL_PARTICIPANTS <= SLOT_MASK + 1, "a slot fits an id");
static_assert(KL_GENERATION_MAX <= UINT32_MAX >> 9, "an id fits an int32_t");
static_assert(KL_REGION_THREAD_BYTE - KL_REGION_PARTICIPANT_BYTE >= KL_PARTICIPANTS, "own bytes");
static_assert(KL_REGION_MAKER_BYTE - KL_REGION_THREAD_BYTE >= KL_PARTICIPANTS, "own bytes");

/* ---- one slot ---- */

/* acquire: partner is the release in stamp_slot(); the fields were stored before. */
static uint32_t load_generation(kl_participant_slot *slot) {
    return atomic_load_explicit(&slot->generation, memory_order_acquire);
}

/* A slot is clean when nobody died in it unreaped. The generation is masked: it may be scribbled. */
static bool is_clean(kl_participant_slot *slot) {
    uint32_t generation = load_generation(slot);
    return generation == 0 ||
           atomic_load_explicit(&slot->reaped, memory_order_acquire) == generation;
}

static bool is_used_up(kl_participant_slot *slot) {
    return load_generation(slot) >= KL_GENERATION_MAX;
}

/* Field 22 of /proc/<self or thread>/stat: when it was started. 0 when it cannot be told. */
static uint64_t read_start_time(const char *path) {
    char text[1024];
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t length = read(file, text, sizeof(text) - 1);
    close(file);
    if (length <= 0) return 0;
    text[length] = '\0';
    char *at = strrchr(text, ')'); /* the name before it may hold anything */
    for (int field = 2; at != NULL && field < 22; field++) at = strchr(at + 1, ' ');
    return at == NULL ? 0 : strtoull(at + 1, NULL, 10);
}

/* Under the slot's lock: makes it the next generation's. The new id. */
static uint32_t stamp_slot(kl_participant_slot *slot, uint32_t index, uint32_t role,
                           uint32_t owner) {
    bool is_thread = owner != UINT32_MAX;
    int32_t pid = is_thread ? (int32_t)syscall(SYS_gettid) : (int32_t)getpid();
    const char *stat_path = is_thread ? "/proc/thread-self/stat" : "/proc/self/stat";
    atomic_store_explicit(&slot->role, role, memory_order_relaxed);
    atomic_store_explicit(&slot->pid, pid, memory_order_relaxed);
    atomic_store_explicit(&slot->owner, is_thread ? owner : 0, memory_order_relaxed);
    atomic_store_explicit(&slot->start_time, read_start_time(stat_path), memory_order_relaxed);
    atomic_store_explicit(&slot->joined_at, kl_clock_realtime_ns(), memory_order_relaxed);
    KL_KILLPOINT("join.stamped");
    uint32_t generation = load_generation(slot) + 1;
    /* Whatever stands here, the new generation must not be born dead. */
    atomic_store_explicit(&slot->dead, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->reaped, generation - 1, memory_order_relaxed);
    /* release: partner is load_generation(); a reader of the id finds its fields. */
    atomic_store_explicit(&slot->generation, generation, memory_order_release);
    KL_KILLPOINT("join.named");
    return kl_participant_id(generation, index);
}

/* True while the id's owner holds its lock, seen from another open file than the owner's. */
static bool slot_alive(kl_participant_slot *slot, int file, int64_t byte, uint32_t id) {
    uint32_t generation = id >> 8;
    if (generation == 0 || load_generation(slot) != generation) return false;
    /* acquire: partners are the releases in reap_slot() and kl_region_leave(): whoever finds a
     * participant gone finds also what was stored before. */
    if (atomic_load_explicit(&slot->dead, memory_order_acquire) == generation) return false;
    if (atomic_load_explicit(&slot->reaped, memory_order_acquire) == generation) return false;
    if (!kl_region_file_locked_elsewhere(file, byte)) return false;
    /* Someone may have claimed the place between the first look and the question. */
    return load_generation(slot) == generation;
}

/* ---- processes ---- */

static bool is_own_slot(const kl_region *region, uint32_t index) {
    uint32_t self = kl_region_self(region);
    return self != 0 && (self & SLOT_MASK) == index;
}

/* The slot's lock for this thread: the kernel's lock is shared by the threads of one attach, so a
 * bit keeps those apart. KL_ERR_AGAIN: someone has it. */
static int32_t lock_slot(kl_region *region, uint32_t index) {
    uint64_t bit = 1ull << index;
    /* acquire: partner is the release in unlock_slot(). */
    if (atomic_fetch_or_explicit(&region->busy_slots, bit, memory_order_acquire) & bit)
        return KL_ERR_AGAIN;
    /* Only now is it sure that the slot is not our own: claims and leaves hold the bit as well. */
    int32_t status =
        is_own_slot(region, index)
            ? KL_ERR_AGAIN
            : kl_region_file_lock(region->file.file, KL_REGION_PARTICIPANT_BYTE + index);
    if (status != KL_OK) atomic_fetch_and_explicit(&region->busy_slots, ~bit, memory_order_release);
    return status;
}

static void unlock_slot(kl_region *region, uint32_t index) {
    kl_region_file_unlock(region->file.file, KL_REGION_PARTICIPANT_BYTE + index);
    atomic_fetch_and_explicit(&region->busy_slots, ~(1ull << index), memory_order_release);
}

/* Under the slot's lock, for an owner that died: runs the functions, then marks it done. */
static int32_t reap_slot(kl_region *region, uint32_t index) {
    kl_participant_slot *slot = &region->shared->participants[index];
    uint32_t generation = load_generation(slot);
    KL_KILLPOINT("reap.locked");
    /* release: partner is the acquire in slot_alive(). */
    atomic_store_explicit(&slot->dead, generation, memory_order_release);
    /* acquire: partner is the release in kl_region_on_death(). */
    uint32_t count = atomic_load_explicit(&region->death_count, memory_order_acquire);
    uint32_t id = kl_participant_id(generation & KL_GENERATION_MAX, index);
    int32_t status = KL_OK;
    for (uint32_t i = 0; i < count && status >= 0; i++)
        status = region->deaths[i].function(region->deaths[i].argument, region, id);
    KL_KILLPOINT("reap.called");
    if (status < 0) return status;
    atomic_store_explicit(&slot->reaped, generation, memory_order_release);
    KL_KILLPOINT("reap.marked");
    return KL_OK;
}

/* May this kl_region end the account of a dead participant? */
static bool may_reap(kl_region *region) {
    return atomic_load_explicit(&region->death_count, memory_order_acquire) > 0 ||
           atomic_load_explicit(&region->shared->watched, memory_order_acquire) == 0;
}

/* One slot of kl_region_reap: 1 when it was reaped, 0 when there was nothing to do. */
static int32_t reap_if_dead(kl_region *region, uint32_t index) {
    kl_participant_slot *slot = &region->shared->participants[index];
    if (is_clean(slot)) return 0;
    KL_KILLPOINT("reap.found");
    int32_t status = lock_slot(region, index);
    if (status == KL_ERR_AGAIN) return 0;
    if (status < 0) return status;
    KL_KILLPOINT("reap.taken");
    bool reaped = !is_clean(slot);
    if (reaped) status = reap_slot(region, index);
    unlock_slot(region, index);
    return status < 0 ? status : reaped ? 1 : 0;
}

int32_t kl_region_reap(kl_region *region) {
    int32_t status = kl_region_check(region);
    if (status < 0) return status;
    if (!may_reap(region)) return 0;
    int32_t count = 0, failure = KL_OK;
    for (uint32_t i = 0; i < KL_PARTICIPANTS; i++) {
        status = reap_if_dead(region, i);
        if (status < 0) failure = status;
        if (status > 0) count++;
    }
    return failure < 0 ? failure : count;
}

/* Tries one slot; the id, 0 when it is taken, or an error. Reaps only when `reaping`. */
static int32_t claim_slot(kl_region *region, uint32_t index, uint32_t role, bool reaping) {
    kl_participant_slot *slot = &region->shared->participants[index];
    if (is_used_up(slot) || (!reaping && !is_clean(slot))) return 0;
    int32_t status = lock_slot(region, index);
    if (status == KL_ERR_AGAIN) return 0;
    if (status < 0) return status;
    KL_KILLPOINT("join.locked");
    if (!is_clean(slot)) status = reaping ? reap_slot(region, index) : KL_ERR_AGAIN;
    if (status == KL_OK && !is_used_up(slot)) {
        uint32_t id = stamp_slot(slot, index, role, UINT32_MAX);
        /* The busy bit goes, the kernel's lock stays: kl_region_self() keeps our own threads off. */
        atomic_store_explicit(&region->self, id, memory_order_release);
        atomic_fetch_and_explicit(&region->busy_slots, ~(1ull << index), memory_order_release);
        return (int32_t)id;
    }
    unlock_slot(region, index);
    return status == KL_ERR_AGAIN ? 0 : status;
}

static int32_t claim_any(kl_region *region, uint32_t role) {
    for (int reaping = 0; reaping <= 1; reaping++) {
        if (reaping && !may_reap(region)) break;
        for (uint32_t i = 0; i < KL_PARTICIPANTS; i++) {
            int32_t id = claim_slot(region, i, role, reaping != 0);
            if (id != 0) return id;
        }
    }
    return kl_fail(KL_ERR_LIMIT, "all %u places of the region are taken%s", KL_PARTICIPANTS,
                   may_reap(region) ? ""
                                    : ", or wait for a process that cleans up after dead ones");
}

int32_t kl_region_join(kl_region *region, uint32_t role) {
    int32_t status = kl_region_check(region);
    if (status < 0) return status;
    pthread_mutex_lock(&region->mutex);
    int32_t id = (int32_t)kl_region_self(region);
    if (id == 0) id = claim_any(region, role);
    pthread_mutex_unlock(&region->mutex);
    return id < 0 ? id : (int32_t)((uint32_t)id & SLOT_MASK);
}

void kl_region_leave(kl_region *region) {
    pthread_mutex_lock(&region->mutex);
    uint32_t self = kl_region_self(region);
    if (self != 0) {
        uint32_t index = self & SLOT_MASK;
        kl_participant_slot *slot = &region->shared->participants[index];
        uint64_t bit = 1ull << index;
        /* A reaping thread may hold the bit for the moment it takes to see that the slot is ours. */
        while (atomic_fetch_or_explicit(&region->busy_slots, bit, memory_order_acquire) & bit)
            sched_yield();
        /* release: partner is the acquire in slot_alive(). */
        atomic_store_explicit(&slot->reaped, self >> 8, memory_order_release);
        KL_KILLPOINT("leave.marked");
        atomic_store_explicit(&region->self, 0, memory_order_release);
        KL_KILLPOINT("leave.left");
        unlock_slot(region, index);
    }
    pthread_mutex_unlock(&region->mutex);
}

bool kl_region_alive(kl_region *region, uint32_t participant) {
    uint32_t index = participant & SLOT_MASK;
    if (participant == 0 || index >= KL_PARTICIPANTS) return false;
    if (participant == kl_region_self(region)) return true;
    return slot_alive(&region->shared->participants[index], region->file.file,
                      KL_REGION_PARTICIPANT_BYTE + index, participant);
}

int32_t kl_region_participant(kl_region *region, uint32_t slot, kl_participant *out) {
    if (slot >= KL_PARTICIPANTS)
        return kl_fail(KL_ERR_ARGUMENT, "slot %u: a region has slots 0 to %u", slot,
                       KL_PARTICIPANTS - 1);
    kl_participant_slot *shared = &region->shared->participants[slot];
    uint32_t generation = load_generation(shared);
    for (int i = 0; i < PARTICIPANT_ATTEMPTS; i++) {
        if (generation == 0 || is_clean(shared)) return KL_ERR_NOT_FOUND;
        out->id = kl_participant_id(generation & KL_GENERATION_MAX, slot);
        out->slot = slot;
        out->role = atomic_load_explicit(&shared->role, memory_order_acquire);
        out->pid = atomic_load_explicit(&shared->pid, memory_order_acquire);
        out->start_time = atomic_load_explicit(&shared->start_time, memory_order_acquire);
        out->joined_at = atomic_load_explicit(&shared->joined_at, memory_order_acquire);
        out->alive = kl_region_alive(region, out->id);
        uint32_t again = load_generation(shared);
        if (again == generation) return KL_OK;
        generation = again;
    }
    return KL_ERR_NOT_FOUND; /* changes faster than it can be read: nobody stays there */
}

int32_t kl_region_on_death(kl_region *region, kl_region_death_fn function, void *argument) {
    int32_t status = kl_region_check(region);
    if (status < 0) return status;
    pthread_mutex_lock(&region->mutex);
    uint32_t count = atomic_load_explicit(&region->death_count, memory_order_relaxed);
    if (count == KL_DEATH_FUNCTIONS_MAX) {
        status = kl_fail(KL_ERR_LIMIT, "a region handle takes %u death functions", count);
    } else {
        region->deaths[count].function = function;
        region->deaths[count].argument = argument;
        /* release: partner is the acquire in reap_slot(). */
        atomic_store_explicit(&region->death_count, count + 1, memory_order_release);
        atomic_store_explicit(&region->shared->watched, KL_REGION_WATCHED, memory_order_release);
    }
    pthread_mutex_unlock(&region->mutex);
    return status;
}

/* ---- threads ---- */

/* One place of one thread. In two lists: its thread's, and, while the region is open, the one of
 * all. Everything under the mutex. */
typedef struct thread_place {
    struct thread_place *next_of_thread;
    struct thread_place *next, **link; /* link NULL: closed, only its thread's list holds it */
    kl_region *region;
    int file; /* an open file of its own, so that its lock is its own */
    uint32_t id;
} thread_place;

static pthread_mutex_t places_mutex = PTHREAD_MUTEX_INITIALIZER;
static thread_place *places;
static pthread_key_t places_key;
static int places_key_error;
static pthread_once_t places_once = PTHREAD_ONCE_INIT;

/* Marks the thread as gone, which is exact, and drops the kernel's lock, which is what others see
 * of a whole process that is gone. The region is open: its close takes its places out first. */
static void close_place(thread_place *place) {
    if (place->link == NULL) return;
    *place->link = place->next;
    if (place->next != NULL) place->next->link = place->link;
    place->link = NULL;
    kl_participant_slot *slot = &place->region->shared->threads[place->id & SLOT_MASK];
    /* release: partner is the acquire in slot_alive(). */
    atomic_store_explicit(&slot->reaped, place->id >> 8, memory_order_release);
    close(place->file);
}

static void end_of_thread(void *list) {
    thread_place *place = list;
    pthread_mutex_lock(&places_mutex);
    while (place != NULL) {
        thread_place *next = place->next_of_thread;
        close_place(place);
        free(place);
        place = next;
    }
    pthread_mutex_unlock(&places_mutex);
}

static void make_places_key(void) {
    places_key_error = pthread_key_create(&places_key, end_of_thread);
}

static thread_place *find_place(const kl_region *region) {
    thread_place *place = pthread_getspecific(places_key);
    while (place != NULL && (place->region != region || place->link == NULL))
        place = place->next_of_thread;
    return place;
}

/* Takes a slot with the lock of `file`; the id, or an error. */
static int32_t claim_thread_slot(kl_region *region, int file) {
    for (uint32_t i = 0; i < KL_PARTICIPANTS; i++) {
        kl_participant_slot *slot = &region->shared->threads[i];
        if (is_used_up(slot)) continue;
        int32_t status = kl_region_file_lock(file, KL_REGION_THREAD_BYTE + i);
        if (status == KL_ERR_AGAIN) continue;
        if (status < 0) return status;
        if (!is_used_up(slot)) return (int32_t)stamp_slot(slot, i, 0, kl_region_self(region));
        kl_region_file_unlock(file, KL_REGION_THREAD_BYTE + i);
    }
    return kl_fail(KL_ERR_LIMIT, "all %u thread places of the region are taken", KL_PARTICIPANTS);
}

/* Takes the place out of the calling thread's list and frees it. */
static void forget_place(thread_place *place) {
    thread_place *list = pthread_getspecific(places_key);
    if (list == place) {
        pthread_setspecific(places_key, place->next_of_thread);
    } else {
        while (list->next_of_thread != place) list = list->next_of_thread;
        list->next_of_thread = place->next_of_thread;
    }
    free(place);
}

/* Those of regions that were closed since; their thread alone may free them. */
static void free_closed_places(void) {
    for (thread_place *place = pthread_getspecific(places_key), *next; place != NULL;
         place = next) {
        next = place->next_of_thread;
        if (place->link == NULL) forget_place(place);
    }
}

static int32_t add_place(kl_region *region) {
    free_closed_places();
    thread_place *place = calloc(1, sizeof(*place));
    if (place == NULL) return kl_fail(KL_ERR_MEMORY, "no memory for a thread of a region");
    place->next_of_thread = pthread_getspecific(places_key);
    if (pthread_setspecific(places_key, place) != 0) {
        free(place);
        return kl_fail(KL_ERR_MEMORY, "no memory for a thread of a region");
    }
    int32_t status = place->file = kl_region_file_reopen(region->file.file);
    if (status >= 0) status = claim_thread_slot(region, place->file);
    if (status < 0) {
        if (place->file >= 0) close(place->file);
        forget_place(place);
        return status;
    }
    place->id = (uint32_t)status;
    place->region = region;
    place->next = places;
    place->link = &places;
    if (places != NULL) places->link = &place->next;
    places = place;
    return status;
}

int32_t kl_region_thread_join(kl_region *region) {
    pthread_once(&places_once, make_places_key);
    if (places_key_error != 0)
        return kl_fail_errno(KL_ERR_LIMIT, places_key_error, "no thread-specific key is left");
    int32_t status = kl_region_check(region);
    if (status < 0) return status;
    pthread_mutex_lock(&places_mutex);
    thread_place *place = find_place(region);
    status = place != NULL ? (int32_t)place->id : add_place(region);
    pthread_mutex_unlock(&places_mutex);
    return status;
}

bool kl_region_thread_alive(kl_region *region, uint32_t thread) {
    uint32_t index = thread & SLOT_MASK;
    if (thread == 0 || index >= KL_PARTICIPANTS) return false;
    return slot_alive(&region->shared->threads[index], region->file.file,
                      KL_REGION_THREAD_BYTE + index, thread);
}

int32_t kl_region_thread_leave(kl_region *region) {
    pthread_once(&places_once, make_places_key);
    pthread_mutex_lock(&places_mutex);
    thread_place *place = places_key_error == 0 ? find_place(region) : NULL;
    if (place != NULL) {
        close_place(place);
        forget_place(place);
    }
    pthread_mutex_unlock(&places_mutex);
    return place != NULL ? KL_OK : KL_ERR_NOT_FOUND;
}

void kl_region_leave_all(kl_region *region) {
    kl_region_leave(region);
    pthread_mutex_lock(&places_mutex);
    for (thread_place *place = places, *next; place != NULL; place = next) {
        next = place->next;
        if (place->region == region) close_place(place);
    }
    pthread_mutex_unlock(&places_mutex);
}
