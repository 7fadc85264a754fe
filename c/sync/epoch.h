/* epoch: memory that readers may still be using is given back only when they cannot.
 *
 *   a call that reads                            who takes something away
 *     kl_epoch_enter(&epoch)                       unlink it, so that no later call finds it
 *     load pointers (acquire), use what they       kl_epoch_retire(&epoch, &thing->node, free_thing)
 *     point to
 *     kl_epoch_leave(&epoch)                     the maintenance service, now and then
 *                                                  kl_epoch_advance(&epoch, callbacks_max)
 *
 * Enter and leave stand in the same call: nothing stays protected between two calls, so an idle, a
 * paused or a terminated Worker holds nothing back. Both may be nested. A handle is looked up, and a
 * pointer loaded, after enter; after leave it is nothing any more. Threads need not be announced: the
 * first enter of a thread takes a slot, its end gives it back.
 *
 *   kl_epoch     per process, and per structure or per process as its user likes: at most 8 can be in
 *                use by one thread at the full speed (sync/thread_record)
 *   slots        one line per thread, see sync/grace, where the proof stands as well: in memory of
 *                this process (open), or in a region that several processes joined (open_shared)
 *   bags         one per thread, pushed by that thread and emptied by advance; what a thread leaves
 *                behind at its end goes into a bag of the epoch
 *   watch        since when each slot holds the oldest epoch: by advance, under a mutex
 *
 * Always: a callback runs once, on a thread that called advance (or close), after every call that was
 * inside when the node was retired has left; those of one thread in the order in which it retired.
 * Retire itself runs none: its caller may hold what the callback takes.
 * Shared: nodes and callbacks stay in their process and go with it; only the epochs are common. What
 * is protected must be memory of the region (sync/grace tells why), and what a dead process had
 * retired but not given back is found by the recovery of the structure, not here.
 * Death: of a thread inside: its end counts as its leave. Of a process inside: see sync/grace.
 * A call that does not end keeps all that was retired since; memory grows, nothing breaks. Who it
 * is, and for how long, is told once by `on_stall`, and at any time by kl_epoch_oldest.
 * More threads than slots: enter answers KL_ERR_LIMIT and protects nothing.
 * Progress: enter, leave and refresh are wait-free after a thread's first, and cost about 1.5 ns
 * together (about 7 ns before the first advance, and wherever both sides use fences: sync/membarrier);
 * retire is lock-free and never
 * fails; advance never waits for readers.
 * Source: Fraser, "Practical lock-freedom", 2004, 5.2.3; with 64-bit periods instead of three epochs.
 *
 * May these run at the same time?     enter/leave  retire  advance  oldest/stats  close
 *                  enter/leave        yes          yes     yes      yes           no
 *                  retire             yes          yes     yes      yes           no
 *                  advance            yes          yes     yes *    yes           no  * one works
 *                  oldest/stats       yes          yes     yes      yes           no
 *                  close              no           no      no       no            no
 * From a callback: enter, leave and retire, but not advance, oldest or close. Not across fork.
 */
#ifndef KL_SYNC_EPOCH_H
#define KL_SYNC_EPOCH_H

#include "base/clock.h"
#include "sync/event_count.h"
#include "sync/grace.h"
#include "sync/retire_queue.h"
#include "sync/thread_record.h"

#define KL_EPOCH_SLOTS_DEFAULT 1024u /* Deno has up to 512 threads for calls off its isolates */
#define KL_EPOCH_STALL_NS      (1 * KL_NS_PER_S) /* default: after this long on_stall is told */

/* Who holds the oldest epoch. */
typedef struct {
    uint64_t period;  /* in which it entered */
    uint64_t behind;  /* how many periods ago that is */
    uint64_t held_ns; /* since advance or kl_epoch_oldest first saw it: at least so long */
    uint32_t process; /* participant id of its process; 1 when not shared */
    int32_t thread;   /* its thread id */
} kl_epoch_holder;

/* Zero it first: 0 and NULL are the defaults. */
typedef struct {
    uint32_t slot_count; /* threads that can be inside; KL_EPOCH_SLOTS_DEFAULT */
    bool fences;         /* no membarrier, even where the system offers it */
    uint64_t stall_ns;   /* KL_EPOCH_STALL_NS */
    void (*on_stall)(void *argument, const kl_epoch_holder *holder); /* by advance, once a hold */
    void *argument;
    kl_event_count *event; /* notified when a bag is no longer empty; outlives the epoch */
} kl_epoch_options;

/* What advance knows about a slot that holds an epoch. */
typedef struct {
    uint64_t period;
    uint64_t since_ns;
    bool told;
} kl_epoch_watch;

typedef struct kl_epoch kl_epoch;

/* One process's grip. Its fields are for sync/epoch only. */
struct kl_epoch {
    kl_thread_domain domain;
    kl_grace grace;
    kl_retire_queue queue;
    kl_retire_bag left_behind; /* of threads that ended, or have no slot */
    _Atomic uint64_t left_behind_count;
    kl_epoch_options options;
    kl_epoch_watch *watch; /* one per slot */
    pthread_mutex_t watch_mutex;
    kl_epoch *next, **link; /* of all epochs of the process: under a mutex of its own */
};

/* What a thread keeps for an epoch. By that thread, but for the bag. */
typedef struct {
    kl_thread_record record;
    kl_grace_slot *slot;
    uint32_t nested; /* enters within the first, whose sign is the announced period */
    kl_retire_bag bag;
    _Atomic uint64_t retired_count; /* by this thread only */
} kl_epoch_thread;

/* How it stands. */
typedef struct {
    uint64_t period;
    uint64_t retired;
    uint64_t reclaimed;
    uint64_t pending; /* retired, and its callback has not run */
    uint32_t threads; /* slots taken, of all processes */
    bool is_light;    /* membarrier is in use */
} kl_epoch_statistics;

/* For the threads of this process. `options` may be NULL. KL_ERR_ARGUMENT, KL_ERR_MEMORY. */
int32_t kl_epoch_open(kl_epoch *epoch, const kl_epoch_options *options);

/* For processes: `memory` of `bytes` (at least kl_grace_memory_bytes(slots)) in the data of `region`,
 * which is joined and outlives the epoch; written by kl_grace_format before. slot_count and fences of
 * the options mean nothing. KL_ERR_CORRUPT, KL_ERR_VERSION, KL_ERR_MEMORY. */
int32_t kl_epoch_open_shared(kl_epoch *epoch, kl_region *region, void *memory, uint64_t bytes,
                             const kl_epoch_options *options);

/* Runs all callbacks and gives all back. No thread of this process is inside or will be. */
void kl_epoch_close(kl_epoch *epoch);

/* KL_ERR_LIMIT, KL_ERR_MEMORY or KL_ERR_CLOSED: of a thread that got no slot; the text says which. */
int32_t kl_epoch_refusal(void);

static inline int32_t kl_epoch_enter(kl_epoch *epoch) {
    kl_epoch_thread *thread = (kl_epoch_thread *)kl_thread_record_here(&epoch->domain);
    if (__builtin_expect(thread == NULL, 0)) return kl_epoch_refusal();
    if (__builtin_expect(!kl_grace_is_reading(thread->slot), 1))
        kl_grace_announce(&epoch->grace, thread->slot);
    else
        thread->nested++;
    return KL_OK;
}

/* Once for each enter that was KL_OK. */
static inline void kl_epoch_leave(kl_epoch *epoch) {
    kl_epoch_thread *thread = (kl_epoch_thread *)kl_thread_record_here(&epoch->domain);
    KL_ASSERT(thread != NULL && kl_grace_is_reading(thread->slot)); /* entered before */
    if (__builtin_expect(thread == NULL, 0)) return;
    if (__builtin_expect(thread->nested == 0, 1))
        kl_grace_retract(thread->slot);
    else
        thread->nested--;
}

/* In the middle of a long call: as leave and enter, for less. Of what was found before nothing may be
 * used any more. Entered twice, it does nothing, for the outer one holds what it found. */
static inline void kl_epoch_refresh(kl_epoch *epoch) {
    kl_epoch_thread *thread = (kl_epoch_thread *)kl_thread_record_here(&epoch->domain);
    if (thread != NULL && thread->nested == 0 && kl_grace_is_reading(thread->slot))
        kl_grace_quiescent(&epoch->grace, thread->slot);
}

/* Whether the calling thread is inside. For assertions. */
bool kl_epoch_is_inside(kl_epoch *epoch);

/* `node` is embedded in something that no later call can find. Inside or outside, by any thread, also
 * by one that has no slot. Shared with a callback's thread from here on. */
void kl_epoch_retire(kl_epoch *epoch, kl_retired *node, void (*callback)(kl_retired *node));

/* Moves on and runs callbacks, at most `callbacks_max`; how many, or KL_ERR_CORRUPT (shared memory
 * was scribbled over) or KL_ERR_UNSUPPORTED (sync/membarrier): then nothing is given back any more.
 * Looks for stalls. Cheap when nothing is retired. For the maintenance service: whenever the event is
 * notified, and then each few milliseconds while kl_epoch_stats shows something pending. */
int32_t kl_epoch_advance(kl_epoch *epoch, uint32_t callbacks_max);

/* Advances until nothing is pending. KL_OK, KL_ERR_TIMEOUT (a call is still inside, or others go on
 * retiring), or as advance. KL_ERR_ARGUMENT when the calling thread itself is inside. */
int32_t kl_epoch_drain(kl_epoch *epoch, uint64_t timeout_ns);

/* KL_OK, KL_ERR_NOT_FOUND (no detail; nobody is inside), or KL_ERR_CORRUPT. */
int32_t kl_epoch_oldest(kl_epoch *epoch, kl_epoch_holder *out);

void kl_epoch_stats(kl_epoch *epoch, kl_epoch_statistics *out);

/* All epochs of this process together, as an FFI can read it: numbers only, each a double.
 * layout: kl_epoch_report epochs threads retired reclaimed pending held_ms held_behind held_thread */
typedef struct {
    double epochs;  /* open ones */
    double threads; /* slots taken, of all processes */
    double retired; /* so far, in those that are open */
    double reclaimed;
    double pending;
    double held_ms;     /* by the thread that has been seen behind for the longest; 0: nobody is */
    double held_behind; /* how many periods behind */
    double held_thread; /* its thread id */
} kl_epoch_report;

/* Writes a kl_epoch_report to `out`. The only face outside of C: enter and leave stand within one call, so
 * there is nothing to hold from TypeScript; for the same reason hazard and rcu have none. */
KL_API int32_t kl_epoch_report_all(uint8_t *out);

#endif
