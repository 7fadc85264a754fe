/* handle: 32-bit numbers that stand for C objects on the other side of the FFI.
 *
 * A handle is {generation:20, slot:12}, never 0. The table is one per loaded library and fixed:
 * KL_HANDLE_COUNT_MAX slots. A number that was never given out, was closed, or is of another kind
 * is answered with NULL, never with somebody else's object; so any Worker may call with any number
 * at any time, and a close may race calls of other threads.
 *
 *   slot.word   {generation:32, shut:1, taken:1, count:30}: by atomic read-modify-write only, by
 *               every thread. count = enters not yet left.
 *   slot rest   kind, object, destroy: by the opener before it clears `shut`; read-only until the
 *               slot is free again.
 *
 * Always: an object is destroyed exactly once: after its close and after the last leave, on the
 * thread that came last. A slot given out again has another generation; freed slots queue first in
 * first out, so a stale number can match again only after 64 * 2^20 opens.
 * Progress: enter and leave are wait-free, one locked instruction each (a refused enter is two).
 * open, and the destroying call, take a mutex for a few instructions.
 *
 * May these run at the same time, on one handle?  enter  leave  close
 *                                         enter    yes    yes    yes
 *                                         leave    yes    yes    yes
 *                                         close    yes    yes    yes (one is KL_OK)
 * Each leave must follow its own successful enter. A destroy function may open and close others.
 */
#ifndef KL_BASE_HANDLE_H
#define KL_BASE_HANDLE_H

#include "base/status.h"

#define KL_HANDLE_COUNT_MAX 4096u

enum kl_handle_kind {
    KL_HANDLE_REGION = 1,
    KL_HANDLE_SPSC_RING = 2,
    KL_HANDLE_COMPLETION = 3,
    KL_HANDLE_LOG = 4,
    KL_HANDLE_LOG_READER = 5,
    KL_HANDLE_MANIFEST = 6,
    KL_HANDLE_BROKER = 7,
    KL_HANDLE_TOPIC = 8,
    KL_HANDLE_PUBLISHER = 9,
    KL_HANDLE_SUBSCRIBER = 10,
    KL_HANDLE_ROLE = 11,
    KL_HANDLE_FOLDER = 12,
    KL_HANDLE_MPSC_RING = 13,
    KL_HANDLE_MPMC_QUEUE = 14,
    KL_HANDLE_MS_QUEUE = 15,
    KL_HANDLE_STACK = 16,
    KL_HANDLE_WORK_DEQUE = 17,
    KL_HANDLE_INDEX_POOL = 18,
    KL_HANDLE_CAPABILITY_TABLE = 19,
    KL_HANDLE_EVENT_COUNT = 20,
    KL_HANDLE_MUTEX = 21,
    KL_HANDLE_SLEEP_LOCK = 22,
    KL_HANDLE_ORDERED_LOCK = 23,
    KL_HANDLE_LATEST = 24,
    KL_HANDLE_COUNTER = 25,
    KL_HANDLE_EPOCH = 26,
    KL_HANDLE_TASK_GRAPH = 27,
    KL_HANDLE_EXECUTOR = 28,
    KL_HANDLE_ARENA = 29,
    KL_HANDLE_TOPOLOGY = 30,
    KL_HANDLE_LOG_CURSOR = 31,
    KL_HANDLE_EXECUTOR_LANE = 32,
};

/* Puts `object` into the table. 0: the table is full (nothing was taken; destroy is not called).
 * `destroy` may be NULL. */
uint32_t kl_handle_open(uint32_t kind, void *object, void (*destroy)(void *object));

/* The object, which stays whole until kl_handle_leave; NULL: closed, forged, or of another kind. */
void *kl_handle_enter(uint32_t handle, uint32_t kind);

void kl_handle_leave(uint32_t handle);

/* Whether it is open now: one load, and nothing is held by it. For what a thread may do with memory
 * that outlives the object, after having entered once. */
bool kl_handle_is_open(uint32_t handle, uint32_t kind);

/* Later enters get NULL. KL_ERR_HANDLE: not a live handle of this kind (closed before, too). */
int32_t kl_handle_close(uint32_t handle, uint32_t kind);

/* Live handles of `kind`, of all kinds for 0. For leak checks. */
KL_API uint32_t kl_handle_live(uint32_t kind);

#endif
