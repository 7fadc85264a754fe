/* region: memory that several processes and threads map at once, and that outlives each of them.
 *
 * A region is a file, in /dev/shm for a name, anywhere local for a path, without a name for a
 * memfd. Its format is docs/format_region.md:
 *   page 0   line 0-1  identity: written by the creator before anyone else can see the file,
 *                      read-only after, under a CRC-32C
 *            line 2    poisoned: 0 -> not 0, by any process that met a missing page
 *            line 3    death watch: 0 -> KL_REGION_WATCHED, by any participant
 *            rest      zero, and checked to be zero
 *   page 1   participant slots, one line each (mem/participant.h)
 *   page 2   thread slots
 *   page 3   zero, not used
 *   page 4.. the data, zero-filled, all of it reserved on the file system
 *
 * Create makes the region under a temporary name; the creator fills it in, and publish gives it its
 * own name, whole, or not at all. Attach checks everything it will rely on, on a copy, and refuses
 * with one sentence what does not fit.
 *
 * Always: no byte of the data can fault for lack of space. A region that a peer truncates becomes
 * poisoned: the process lives, reads zeros in the place of what is gone, and every check answers
 * KL_ERR_POISONED. The addresses of a region once mapped are never unmapped and never used for
 * anything else: close puts private zero pages over them, so a view kept too long reads zeros and
 * its writes go nowhere. That costs address space (a 128 TiB budget), not memory.
 * The data of a region does not survive a reboot, on whatever file system it lies: attach answers
 * KL_ERR_FENCED to one from before.
 *
 * Who may call: create, attach, name_path, unlink: any thread. publish and close: one thread, close
 * with no other thread inside a call on the same kl_region (the handle table sees to that for the
 * FFI). The rest: any thread at any time.
 */
#ifndef KL_MEM_REGION_H
#define KL_MEM_REGION_H

#include "base/cpu.h"
#include "base/status.h"
#include "mem/participant.h"
#include "mem/region_file.h"

#include <pthread.h>
#include <stdatomic.h>

#define KL_REGION_MAGIC       "KLREGION"
#define KL_REGION_VERSION     1u
#define KL_REGION_DATA_OFFSET 16384u
#define KL_REGION_PAGE_BYTES  4096u
#define KL_REGION_BYTES_MAX   (1ull << 46)
#define KL_REGION_WATCHED     0x57415443u /* no single flipped byte makes it of 0, or 0 of it */
#define KL_REGION_NAME_MAX    128u

enum kl_region_state { KL_REGION_BUILDING = 1, KL_REGION_READY = 2 };

/* layout: kl_region_identity magic version kind layout_hash state total_bytes data_offset
   data_bytes uuid boot_id created_at creator_pid slots crc */
typedef struct {
    uint8_t magic[8];
    uint32_t version;
    uint32_t kind;
    uint32_t layout_hash;
    uint32_t state;
    uint64_t total_bytes;
    uint64_t data_offset;
    uint64_t data_bytes;
    uint8_t uuid[16];
    uint8_t boot_id[16];
    uint64_t created_at; /* nanoseconds since 1970; for messages */
    uint32_t creator_pid;
    uint32_t slots; /* participant slots | thread slots << 16 */
    uint8_t unused[28];
    uint32_t crc; /* CRC-32C of all before it */
} kl_region_identity;

typedef struct {
    kl_region_identity identity;
    _Alignas(KL_LINE_BYTES) _Atomic uint32_t poisoned;
    uint8_t unused_2[KL_LINE_BYTES - 4];
    _Alignas(KL_LINE_BYTES) _Atomic uint32_t watched;
    uint8_t unused_3[KL_REGION_PAGE_BYTES - 3 * KL_LINE_BYTES - 4];
    kl_participant_slot participants[KL_PARTICIPANTS];
    kl_participant_slot threads[KL_PARTICIPANTS];
} kl_region_header;

static_assert(sizeof(kl_region_identity) == 2 * KL_LINE_BYTES, "identity: lines 0 and 1");
static_assert(offsetof(kl_region_identity, crc) == 124, "the CRC closes line 1");
static_assert(offsetof(kl_region_header, poisoned) == 2 * KL_LINE_BYTES, "line 2: who finds it so");
static_assert(offsetof(kl_region_header, watched) == 3 * KL_LINE_BYTES, "line 3: any participant");
static_assert(offsetof(kl_region_header, participants) == 1 * KL_REGION_PAGE_BYTES, "page 1");
static_assert(offsetof(kl_region_header, threads) == 2 * KL_REGION_PAGE_BYTES, "page 2");
static_assert(sizeof(kl_region_header) <= KL_REGION_DATA_OFFSET, "the header fits before the data");

/* What a creator makes, or an attacher expects. Zero it first: later fields default to zero. */
typedef struct {
    uint32_t kind;        /* which unit's data this is; attach: 0 = any */
    uint32_t layout_hash; /* of that data; attach: must be equal, unless kind is 0 */
    uint8_t uuid[16];     /* create: all zero = a random one; attach: all zero = any */
    bool prefault;        /* touch every page now: first touch costs 0.6 ns a byte, later none */
    bool allow_network;   /* accept a network file system: only one host may use the file */
} kl_region_spec;

/* One attach, in this process. The fields are for mem/ only. */
struct kl_region {
    kl_region_header *shared;
    uint8_t *data;
    uint64_t data_bytes;
    uint64_t map_bytes;
    const _Atomic uint32_t *poisoned; /* process-local flag of the fault guard */
    _Atomic uint32_t self;            /* participant id, 0: not joined */
    int32_t guard;
    bool published;
    kl_region_file file;
    char *path; /* "" for a memfd */
    kl_region_identity identity;
    pthread_mutex_t mutex;        /* join, leave, on_death among this process's threads */
    _Atomic uint64_t busy_slots;  /* bit: a thread of this process holds or tries the slot's lock */
    _Atomic uint32_t death_count; /* functions registered; only grows */
    struct {
        kl_region_death_fn function;
        void *argument;
    } deaths[KL_DEATH_FUNCTIONS_MAX];
};

/* The path of a named region, with its folder made and checked. A name is 1 to 128 letters,
 * digits, '_', '.' and '-', and does not begin with '.' or '-'; else KL_ERR_NAME. */
int32_t kl_region_name_path(const char *name, char *out, size_t capacity);

/* Makes a region of `data_bytes` zeros that nobody else can see yet. `path` NULL: a memfd, sealed
 * against truncation, to be passed on by kl_region_fd. Errors: EXISTS, NO_SPACE (nothing is left
 * behind), LIMIT, NETWORK_FS, PERMISSION, NAME, ARGUMENT, IO. */
int32_t kl_region_create(kl_region **out, const char *path, uint64_t data_bytes,
                         const kl_region_spec *spec);

/* Lets the others see it. KL_ERR_EXISTS when the name was taken meanwhile. */
int32_t kl_region_publish(kl_region *region);

/* Maps an existing one. `expect` NULL: any. Errors: NOT_FOUND, FOREIGN (not a region, or of another
 * kind), VERSION, LAYOUT, TRUNCATED, CORRUPT, PERMISSION (owner, mode, links, symbolic link),
 * FENCED (from before the last reboot, or replaced by one with another uuid), POISONED,
 * NETWORK_FS, LIMIT, IO. */
int32_t kl_region_attach(kl_region **out, const char *path, const kl_region_spec *expect);

/* The same through a descriptor of it, which stays the caller's. For memfds. */
int32_t kl_region_attach_fd(kl_region **out, int fd, const kl_region_spec *expect);

/* Leaves, drops the locks, and puts private zero pages over the range. NULL is nothing. A region
 * that was never published disappears. */
void kl_region_close(kl_region *region);

/* Takes away the name. Who has it open keeps it. Only regions are removed, else KL_ERR_FOREIGN. */
int32_t kl_region_unlink(const char *path);

/* KL_OK, or KL_ERR_POISONED with the reason. */
int32_t kl_region_check(const kl_region *region);

/* Makes the region unusable for every process, now and later: after damage that cannot be mended. */
void kl_region_poison(kl_region *region);

/* Touches every page of the data. KL_ERR_POISONED when some are gone. */
int32_t kl_region_prefault(kl_region *region);

static inline uint8_t *kl_region_data(const kl_region *region) {
    return region->data;
}

static inline uint64_t kl_region_data_bytes(const kl_region *region) {
    return region->data_bytes;
}

static inline const uint8_t *kl_region_uuid(const kl_region *region) {
    return region->identity.uuid;
}

static inline const char *kl_region_path(const kl_region *region) {
    return region->path;
}

/* For passing a memfd on: to a child, or over a socket. */
static inline int kl_region_fd(const kl_region *region) {
    return region->file.file;
}

/* This attach's participant id, 0 before join. */
static inline uint32_t kl_region_self(const kl_region *region) {
    /* acquire: partner is the release in kl_region_join(). */
    return atomic_load_explicit(&region->self, memory_order_acquire);
}

/* Two loads. Ask after having read what matters: zeros read from a missing page come with true. */
static inline bool kl_region_poisoned(const kl_region *region) {
    /* The shared word first: if its own page is gone, this very load sets the other one. */
    uint32_t shared = atomic_load_explicit(&region->shared->poisoned, memory_order_acquire);
    /* acquire: partner is the release in the fault guard, done before the zeros appear. */
    uint32_t local = atomic_load_explicit(region->poisoned, memory_order_acquire);
    return (shared | local) != 0;
}

#endif
