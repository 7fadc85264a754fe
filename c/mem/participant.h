/* participant: who uses a region, and who of them is still there.
 *
 * A region has KL_PARTICIPANTS places for processes (one per attach) and as many for threads. Who
 * takes a place holds a lock on the place's own byte of the region's file until it leaves, and the
 * kernel drops that lock when it dies, however it dies. That lock alone decides who is alive; pid
 * and start time stand in the slot for messages only. A thread's lock hangs on an open file of its
 * own, closed when the thread ends (normally, by pthread_exit, cancelled, or as a terminated
 * Worker) and by the kernel when its process ends.
 *
 * A participant id is {generation:23, slot:8}, never 0. Each claim of a slot makes the next
 * generation, and a slot that has used them all up is retired, so an id never means two.
 *
 *   slot line (64 B)   written only by the holder of the slot's lock: its owner, a reaper, or the
 *                      next claimer. Read by everyone.
 *     generation       of the last claim; stored last of a claim
 *     dead             generation found dead by a reaper: from here on it is dead for everyone,
 *                      though the reaper holds the lock
 *     reaped           generation that needs no reaping: it left, or its reaping is done
 *
 * Always: reaping runs once per death while reapers live; one that dies in the middle leaves the
 * slot to be reaped again, from the start, so a death function must be idempotent.
 * A peer that scribbles over the slots can make ids look dead or roles look wrong, but no value
 * read from them is used as an index or a length.
 *
 * Why not a robust mutex per thread: glibc links robust mutexes through pointers inside the shared
 * bytes, so one scribble (or a truncation) crashes whoever touches that list next.
 *
 * May these run at the same time, on one kl_region?
 *                  join/leave  alive/participant  reap   on_death
 *   join/leave     yes         yes                yes    yes
 *   reap           yes         yes                yes *  yes        * one per slot
 * None of them in parallel with kl_region_close. A death function may ask (alive, participant,
 * self, data) but not join, leave, register or reap.
 * Not for use across fork() without exec: the child would share its parent's lock.
 */
#ifndef KL_MEM_PARTICIPANT_H
#define KL_MEM_PARTICIPANT_H

#include "base/cpu.h"
#include "base/status.h"

#include <stdatomic.h>

#define KL_PARTICIPANTS        64u
#define KL_DEATH_FUNCTIONS_MAX 8u
#define KL_GENERATION_MAX      0x7fffffu /* an id stays positive as an int32_t */

typedef struct kl_region kl_region;

/* layout: kl_participant_slot generation dead reaped role pid owner start_time joined_at */
typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint32_t generation;
    _Atomic uint32_t dead;
    _Atomic uint32_t reaped;
    _Atomic uint32_t role;
    _Atomic int32_t pid;         /* of a thread: its tid */
    _Atomic uint32_t owner;      /* of a thread: the participant id of its process, or 0 */
    _Atomic uint64_t start_time; /* clock ticks after boot, field 22 of /proc/<pid>/stat */
    _Atomic uint64_t joined_at;  /* nanoseconds since 1970 */
    uint8_t unused[24];
} kl_participant_slot;

static_assert(sizeof(kl_participant_slot) == KL_LINE_BYTES, "one line per slot");

/* layout: kl_participant id slot role pid start_time joined_at alive */
typedef struct {
    uint32_t id;
    uint32_t slot;
    uint32_t role;
    int32_t pid;
    uint64_t start_time;
    uint64_t joined_at;
    bool alive;
} kl_participant;

/* Called for a dead participant, with its slot's lock held by this process. KL_OK: done. An error:
 * "not now"; the participant stays to be reaped, functions that said KL_OK run again too. */
typedef int32_t (*kl_region_death_fn)(void *argument, kl_region *region, uint32_t participant);

/* Takes a place for this attach and gives its slot. A second call answers the same slot. A place
 * left by a dead participant is reaped first; where somebody watches for deaths
 * (kl_region_on_death) and this kl_region has no function, such places stay untouched.
 * KL_ERR_LIMIT: no place is left. */
int32_t kl_region_join(kl_region *region, uint32_t role);

/* Gives the place back; nothing is reaped for it. Part of kl_region_close. */
void kl_region_leave(kl_region *region);

/* True while that participant's process has the region open. False at once after a death or a leave,
 * but for the microseconds in which somebody else is taking over the place. One system call, none
 * for one's own id. In a poisoned region everyone but oneself is gone. */
bool kl_region_alive(kl_region *region, uint32_t participant);

/* What stands in a slot. KL_ERR_NOT_FOUND (no detail) when nobody does, and nobody waits in it to
 * be reaped. */
int32_t kl_region_participant(kl_region *region, uint32_t slot, kl_participant *out);

/* Registers a function for deaths in this region, for as long as this kl_region is open. Up to
 * KL_DEATH_FUNCTIONS_MAX, run in the order of registration. From the first one on, here or in
 * another process, a death is kept until a process with a function reaps it: register right
 * after create or attach, before join. */
int32_t kl_region_on_death(kl_region *region, kl_region_death_fn function, void *argument);

/* Looks at every slot and reaps the dead ones that no other process is reaping. The number reaped;
 * an error of a death function, after having tried the others. */
int32_t kl_region_reap(kl_region *region);

/* Takes a place for the calling thread, until it leaves or ends. A second call answers the same
 * id. The id (positive), or an error. */
int32_t kl_region_thread_join(kl_region *region);

/* True while that thread lives and has not left. */
bool kl_region_thread_alive(kl_region *region, uint32_t thread);

/* KL_ERR_NOT_FOUND when the calling thread has no place. */
int32_t kl_region_thread_leave(kl_region *region);

/* For kl_region_close: this attach's own place and those of all its threads. */
void kl_region_leave_all(kl_region *region);

static inline uint32_t kl_participant_id(uint32_t generation, uint32_t slot) {
    return generation << 8 | slot;
}

#endif
