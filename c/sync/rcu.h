/* rcu: read-copy-update. Readers pay next to nothing; who replaces something waits for them, or has a
 * callback run when they are gone.
 *
 *   a reader                                      who replaces
 *     reader = kl_rcu_register(&rcu)                 publish the new one (release)
 *     kl_rcu_read_lock(reader)                       kl_rcu_synchronize(&rcu, KL_FOREVER)
 *     load a pointer (acquire), use it                 and free the old one, or
 *     kl_rcu_read_unlock(reader)                     kl_rcu_call(&rcu, &old->node, free_old)
 *
 * Two ways to read, side by side in one rcu:
 *   sections         read_lock and read_unlock, nestable: about 1 ns together with membarrier, 7 with
 *                    fences (sync/membarrier)
 *   quiescent        kl_rcu_online once; then reads cost nothing at all, but the thread says now and then
 *   states (QSBR)    kl_rcu_quiescent (0.5 ns: it holds nothing), or kl_rcu_offline before it blocks;
 *                    one that forgets keeps everybody waiting
 *
 *   kl_rcu       per process: the grip
 *   slots        one line per reading thread: sync/grace, where the proof stands
 *   reader       by its own thread only; given back when the thread ends
 *   turn, calls  grace periods that were begun and that are over: under a mutex; a bag of callbacks
 *
 * Always: synchronize returns after every section that was open when it was called has ended; one that
 * is opened later is not waited for, so readers that come all the time starve nobody. Callers that
 * wait at the same time share a grace period: each takes part in the first that begins after it
 * called. A callback of call runs once, after a grace period that began after the call, in the order
 * of the calls, on a thread that calls advance or barrier.
 * Shared: as sync/epoch has it: the slots lie in a region, both sides use fences, nodes and callbacks
 * are the process's own.
 * Death: a thread that ends, with or without unregister, inside a section or not, is no reader any more;
 * the same for a process, whose slots are cleared by whoever waits for them.
 * A reader must not synchronize inside of its own section: KL_ERR_ARGUMENT. Online, it is offline for
 * as long as it waits.
 * Progress: the read side is wait-free. synchronize blocks on readers, and looks after them up to a
 * millisecond late; advance, start and poll never block.
 * Source: Desnoyers et al., "User-level implementations of read-copy update", TPDS 23(2), 2012; with
 * 64-bit periods, so one phase per grace period where a parity bit needs two.
 *
 * May these run at the same time?       read side  register  synchronize/start/poll  call/advance  close
 *                  read side            yes *      yes       yes                     yes           no
 *                  register             yes        yes       yes                     yes           no
 *                  synchronize/...      yes        yes       yes                     yes           no
 *                  call/advance         yes        yes       yes                     yes           no
 *                  close                no         no        no                      no            no
 *   * a reader is its thread's alone. From a callback: read side and call. Not across fork.
 */
#ifndef KL_SYNC_RCU_H
#define KL_SYNC_RCU_H

#include "sync/event_count.h"
#include "sync/grace.h"
#include "sync/retire_queue.h"
#include "sync/thread_record.h"

#define KL_RCU_SLOTS_DEFAULT 512u

/* What a reading thread keeps. Its fields are for sync/rcu only. */
typedef struct {
    kl_thread_record record;
    kl_grace grace; /* a copy: one line to look at */
    kl_grace_slot *slot;
    uint32_t nested; /* sections within the first, whose sign is the announced period */
    bool is_online;
} kl_rcu_reader;

/* One process's grip; line-aligned. Its fields are for sync/rcu only. */
typedef struct {
    kl_thread_domain domain;
    kl_grace grace;
    kl_retire_queue queue;
    kl_retire_bag calls;
    _Atomic uint64_t call_count;
    pthread_mutex_t turn_mutex; /* of the four below */
    uint64_t begun_count;       /* turns: grace periods of synchronize */
    uint64_t ended_count;
    bool is_running;
    kl_event_count turn_ended;
} kl_rcu;

/* For the threads of this process. slot_count 0: KL_RCU_SLOTS_DEFAULT; at most KL_GRACE_SLOTS_MAX.
 * `fences`: no membarrier, even where the system offers it; else the first open in a process that has
 * threads takes about 15 ms. KL_ERR_ARGUMENT, KL_ERR_MEMORY. */
int32_t kl_rcu_open(kl_rcu *rcu, uint32_t slot_count, bool fences);

/* For processes: memory of `bytes` in the data of `region`, which is joined and outlives the rcu;
 * written by kl_grace_format before. KL_ERR_CORRUPT, KL_ERR_VERSION. */
int32_t kl_rcu_open_shared(kl_rcu *rcu, kl_region *region, void *memory, uint64_t bytes);

/* Runs all callbacks and gives all back. No thread of this process reads or will. */
void kl_rcu_close(kl_rcu *rcu);

/* The calling thread's reader, the same at each call; valid until it unregisters or ends. NULL: more
 * threads than slots, or no memory; kl_status_detail_code tells. */
kl_rcu_reader *kl_rcu_register(kl_rcu *rcu);

/* Outside of any section. KL_OK, or KL_ERR_NOT_FOUND: it was not registered. */
int32_t kl_rcu_unregister(kl_rcu *rcu);

/* ---- sections ---- */

static inline void kl_rcu_read_lock(kl_rcu_reader *reader) {
    if (__builtin_expect(!kl_grace_is_reading(reader->slot), 1))
        kl_grace_announce(&reader->grace, reader->slot);
    else
        reader->nested++;
}

static inline void kl_rcu_read_unlock(kl_rcu_reader *reader) {
    if (__builtin_expect(reader->nested == 0, 1))
        kl_grace_retract(reader->slot);
    else
        reader->nested--;
}

/* ---- quiescent states ---- */

/* From here on the thread reads, until offline. Twice is once. */
static inline void kl_rcu_online(kl_rcu_reader *reader) {
    if (!reader->is_online) kl_rcu_read_lock(reader);
    reader->is_online = true;
}

static inline void kl_rcu_offline(kl_rcu_reader *reader) {
    if (reader->is_online) kl_rcu_read_unlock(reader);
    reader->is_online = false;
}

/* Online, and in no section: what was read before is not used any more. */
static inline void kl_rcu_quiescent(kl_rcu_reader *reader) {
    KL_ASSERT(reader->is_online && reader->nested == 0);
    kl_grace_quiescent(&reader->grace, reader->slot);
}

/* Whether the thread is inside of a section. */
static inline bool kl_rcu_is_reading(const kl_rcu_reader *reader) {
    return kl_grace_is_reading(reader->slot) && (!reader->is_online || reader->nested > 0);
}

/* ---- who replaces ---- */

/* KL_OK; KL_ERR_TIMEOUT; KL_ERR_ARGUMENT inside a section; KL_ERR_CORRUPT (shared memory was scribbled
 * over) or KL_ERR_UNSUPPORTED (sync/membarrier): then nothing may be freed. */
int32_t kl_rcu_synchronize(kl_rcu *rcu, uint64_t timeout_ns);

/* The same without waiting: begins a grace period, and asks whether it is over. 1: it is; 0: not yet;
 * or KL_ERR_*. A grace period that was once over stays over. */
int32_t kl_rcu_start(kl_rcu *rcu, uint64_t *period);
int32_t kl_rcu_poll(kl_rcu *rcu, uint64_t period);

/* Never fails. In a section or not. */
void kl_rcu_call(kl_rcu *rcu, kl_retired *node, void (*callback)(kl_retired *node));

/* Runs callbacks that are due, at most `callbacks_max`; how many, or KL_ERR_* as above. For the
 * maintenance service. */
int32_t kl_rcu_advance(kl_rcu *rcu, uint32_t callbacks_max);

/* Returns when all callbacks that were registered before have run. Errors as of synchronize. */
int32_t kl_rcu_barrier(kl_rcu *rcu, uint64_t timeout_ns);

/* Registered readers, of all processes. */
uint32_t kl_rcu_reader_count(const kl_rcu *rcu);

#endif
