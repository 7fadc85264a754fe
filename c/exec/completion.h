/* completion: how C tells an isolate (the main program or a Worker) that something happened.
 *
 * Each isolate opens one completion: a ring of {token, status} and a socketpair. Whoever completes
 * something puts an entry into the ring and, if the ring was empty, one byte into the socket (the
 * doorbell), which wakes the isolate's event loop. The isolate drains the whole ring.
 *
 * Waiting for an event count: kl_completion_arm gives the wait to a watcher, one service thread per
 * distinct event. A watcher sleeps on its event while something is armed (and once more after the
 * last arm was posted, for at most KL_WATCHER_LINGER_NS, so that an isolate that waits again at
 * once needs no system call); otherwise it is parked on an event of its own and may be given to
 * another event, so an event nobody awaits has no sleeper and costs its notifiers nothing. When all
 * watchers are taken, one that sleeps on an event without arms is called away from it. A notifier
 * of this process, which has to wake the watcher, posts for it first: the isolate hears of it after
 * one wake-up instead of two. One more thread, started with the first timeout, looks after all
 * timeouts.
 *
 *   ring, bell    under the completion's mutex: any thread posts, the isolate drains
 *   watchers,     under one mutex of the process, never held while sleeping or ringing;
 *   arms          fixed tables: KL_WATCHERS_MAX events, KL_ARMS_MAX waits at one time, exactly:
 *                 what was posted, cancelled or closed counts no more
 *
 * Always: a token is posted at most once for each arm that answered 0, and exactly once unless it
 * is cancelled or its completion closed. A doorbell byte is under way whenever the ring is not
 * empty. No watcher touches the memory of an event after kl_completion_forget(event) returned.
 * Death: the isolate's end (kl_completion_close, or the end of its thread, sync/thread_end)
 * drops its arms; later posts are refused; the socket ends are closed by whoever is
 * last (the end adopted by the isolate, kl_completion_fd, is the isolate's to close; what a Worker
 * leaves open is closed with its thread).
 * Progress: blocking, but for a few instructions only; forget, and an arm that needs the watcher of
 * an event nobody awaits, wait for that one to move away.
 *
 * May these run at the same time?  any with any; fd and drain belong to the isolate's thread.
 */
#ifndef KL_EXEC_COMPLETION_H
#define KL_EXEC_COMPLETION_H

#include "sync/event_count.h"

#define KL_WATCHERS_MAX           64u
#define KL_ARMS_MAX               4096u
#define KL_COMPLETION_ENTRIES_MAX 65536u
#define KL_WATCHER_LINGER_NS      (20 * KL_NS_PER_MS)

/* layout: kl_completion_entry token status */
typedef struct {
    uint32_t token;
    int32_t status;
} kl_completion_entry;

/* A handle, or 0: no memory, no file descriptor, or no handle left (the detail says which). Opened
 * on the isolate's own thread, whose end closes it. */
KL_API uint32_t kl_completion_open(void);
KL_API int32_t kl_completion_close(uint32_t completion);

/* The end to read doorbell bytes from. From the first call on it is the caller's to close. */
KL_API int32_t kl_completion_fd(uint32_t completion);

/* Moves entries {u32 token, i32 status} to `out`, at most capacity_bytes / 8; how many. Until it
 * answers fewer than fit, there may be more. */
KL_API int32_t kl_completion_drain(uint32_t completion, uint8_t *out, uint32_t capacity_bytes);

/* Forgets the arm of `token`: KL_OK (it will not be posted) or KL_ERR_NOT_FOUND (posted already,
 * perhaps not drained yet, or never armed). */
KL_API int32_t kl_completion_cancel(uint32_t completion, uint32_t token);

/* Waits until `what` can be done with a shared object (sync/shared_object). 1: it can be now; 0: armed,
 * `token` is posted later with KL_OK (arm again: it may still not be so), KL_ERR_TIMEOUT or
 * KL_ERR_CLOSED; or KL_ERR_*. timeout_ms < 0: no timeout. */
KL_API int32_t kl_completion_arm_shared(uint32_t completion, uint32_t token, uint32_t handle,
                                        uint32_t kind, uint32_t what, uint32_t argument,
                                        double timeout_ms);

/* Posts `token` when `event` has left `key` or after about KL_EVENT_SLICE_NS (KL_OK: look again, as
 * after kl_event_count_wait), after `timeout_ns` (KL_ERR_TIMEOUT), or when the event is forgotten
 * (KL_ERR_CLOSED). 1: it has left already, nothing is armed; 0: armed; KL_ERR_HANDLE, KL_ERR_LIMIT
 * (arms on KL_WATCHERS_MAX other events, KL_ARMS_MAX arms, or too much this isolate did not fetch).
 * No system call while the watcher sleeps on the event anyway. */
int32_t kl_completion_arm(uint32_t completion, uint32_t token, kl_event_count *event, uint32_t key,
                          uint64_t timeout_ns);

/* From any thread. KL_ERR_HANDLE: the isolate is gone; KL_ERR_LIMIT: it stopped draining. */
int32_t kl_completion_post(uint32_t completion, uint32_t token, int32_t status);

/* Before the memory of an event goes away: its arms are posted with KL_ERR_CLOSED, its watcher has
 * left when this returns. kl_event_count_retire calls it. Not from a watcher. */
void kl_completion_forget(kl_event_count *event);

/* Watchers that are bound to an event or parked; for tests and leak checks. */
KL_API uint32_t kl_completion_watchers(void);

#endif
