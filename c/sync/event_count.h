/* event_count: sleep until somebody says that something changed; between threads and processes.
 *
 *   line 0  sequence   raised by every notifier (atomic add); a sleeper's futex word
 *           waiters    1: somebody may be asleep. Set by sleepers, cleared by the notifier that wakes
 *
 * It guards a condition that lives elsewhere (a ring that is not empty, a position that moved):
 *
 *   waiting                                          changing
 *     for (;;) {                                       make the condition true
 *         uint32_t key = kl_event_count_prepare(e);    kl_event_count_notify_all(e)
 *         if (the condition is true) break;
 *         kl_event_count_wait(e, key, timeout, stop);
 *     }
 *
 * Always: zero bytes are a ready event count. No wake-up is lost. These four steps are seq_cst, so
 * they have one order S: the sleeper does W1 waiters = 1, then W2 reads sequence; the notifier
 * does N1 sequence += 1, then N2 reads waiters. If W2 does not see N1 then W2 comes before N1 in S,
 * so W1 comes before N2, and N2 sees 1 and wakes; the kernel compares sequence with the key again
 * under its own lock, so a wake cannot fall between that comparison and the sleep. The notifier
 * that wakes does N3 waiters = 0, then N4 sequence += 1, then N5 wakes all: a sleeper whose W1 came
 * before N3 (which takes its flag away) either sees N4 or sleeps before N5, as the kernel gives
 * the two calls an order and who comes second sees what the first did before; one whose W1 came
 * after N3 still has its flag, and whose key is N4's comes after N3 (N4 releases, prepare
 * acquires). Who is woken and finds the sequence moved does not set it again.
 *
 * A wait may end without a change, after a slice for one, so waiters look at their condition again.
 * Death: `waiters` is a flag, not a count: a killed, timed out or stopped sleeper costs one spare
 * wake, once. A notifier killed anywhere between its change and N5 delays sleepers by at most
 * KL_EVENT_SLICE_NS, for no wait is longer. Scribbled words cost spare wakes or one slice. sequence
 * wraps after 2^32 notifies: a waiter that stands still between prepare and wait for exactly that
 * many sleeps for one slice too many.
 * Progress: notify is wait-free while nobody sleeps (one locked add and one load), and one system
 * call or a few when somebody does; wait blocks.
 *
 * May these run at the same time, on one event?  prepare/wait  notify  retire
 *                               prepare/wait     yes           yes     no (retire ends them first)
 *                               notify           yes           yes     no
 */
#ifndef KL_SYNC_EVENT_COUNT_H
#define KL_SYNC_EVENT_COUNT_H

#include <stdatomic.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/status.h"

/* The longest wait without another look at the condition: what the death of a notifier can cost. */
#define KL_EVENT_SLICE_NS (500 * KL_NS_PER_MS)

/* layout: kl_event_count sequence waiters */
typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint32_t sequence;
    _Atomic uint32_t waiters;
    uint8_t reserved[KL_LINE_BYTES - 8];
} kl_event_count;

static_assert(sizeof(kl_event_count) == KL_LINE_BYTES, "one line");

/* The key to wait with. Take it before looking at the condition. Acquire: partner is the add in
 * notify_all; whoever sees the new sequence sees the condition that was made true before it. */
static inline uint32_t kl_event_count_prepare(kl_event_count *event) {
    return atomic_load_explicit(&event->sequence, memory_order_acquire);
}

/* Returns when the sequence is no longer `key` or a slice has passed (KL_OK: look again), after
 * `timeout_ns` (KL_ERR_TIMEOUT; 0 only looks; KL_FOREVER never), or when `*stop` is not 0
 * (KL_ERR_STOPPED; `stop` may be NULL). Whoever sets the flag notifies the event afterwards. */
int32_t kl_event_count_wait(kl_event_count *event, uint32_t key, uint64_t timeout_ns,
                            const _Atomic uint32_t *stop);

void kl_event_count_wake(kl_event_count *event); /* the slow half of notify_all */

/* Wakes everybody. Call it after the condition was made true. */
static inline void kl_event_count_notify_all(kl_event_count *event) {
    /* N1 and N2, seq_cst: partners are W1 and W2 in kl_event_count_wait. */
    atomic_fetch_add_explicit(&event->sequence, 1, memory_order_seq_cst);
    if (__builtin_expect(atomic_load_explicit(&event->waiters, memory_order_seq_cst) != 0, 0))
        kl_event_count_wake(event);
}

/* To be called before the memory of an event goes away or becomes something else: upper rows that
 * sleep on events on behalf of others (exec/completion) leave it first. Returns when they have. */
void kl_event_count_retire(kl_event_count *event);

/* Registers what retire calls; at most one, set once by exec/completion. */
void kl_event_count_on_retire(void (*leave)(kl_event_count *event));

/* Registers what a notifier that wakes calls before the futex; at most one, set once by
 * exec/completion, which saves those who wait in the notifier's own process a sleeper. It blocks for
 * a few instructions only, and takes no lock that a notifier may hold. */
void kl_event_count_on_wake(void (*serve)(kl_event_count *event));

/* The two futex calls, for the units of this folder: words in memory shared between processes.
 * wait: KL_OK (woken, or the word is not `expected`) or KL_ERR_TIMEOUT. wake: how many woke. */
int32_t kl_futex_wait(const _Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns);
uint32_t kl_futex_wake(_Atomic uint32_t *word, uint32_t count);

#endif
