/* service: the few threads that may block.
 *
 * Each has a name (15 characters, seen in ps and gdb), a 256 KiB stack, all signals blocked, an
 * event count of its own to park on and a stop flag. They start lazily: a process that asks for
 * none has none. They are never joined at exit: they hold nothing that exit must flush, and the
 * library is nodelete, so a thread that outlives main() still has its code.
 *
 *   slot   in a fixed table of KL_SERVICE_THREADS_MAX; taken and freed under one mutex
 *   stop   written by kl_service_stop (any thread); read by the service thread
 *   event  notified by anybody; the service thread parks on it
 *   parked the event the thread sleeps on now, if another one: written by the thread, read by stop
 *
 * Progress: start and stop block; everything else is wait-free, kl_service_wait apart.
 *
 * May these run at the same time, on one thread?  wake  stop
 *                                        wake     yes   no
 *                                        stop     no    no (stop frees it: once, and last)
 */
#ifndef KL_EXEC_SERVICE_H
#define KL_EXEC_SERVICE_H

#include "sync/event_count.h"

#define KL_SERVICE_THREADS_MAX 128u
#define KL_SERVICE_STACK_BYTES (256u * 1024u)
#define KL_SERVICE_STOP_NS     (5 * KL_NS_PER_S) /* how long stop waits for a body to return */

typedef struct kl_service_thread kl_service_thread;

/* Runs body(argument, stop) on a new thread. The body returns soon after *stop is not 0; it sleeps
 * with kl_service_wait only. KL_ERR_LIMIT: the table is full, or the system has no thread left. */
int32_t kl_service_start(kl_service_thread **out, const char *name,
                         void (*body)(void *argument, const _Atomic uint32_t *stop),
                         void *argument);

/* Sets the flag, wakes the thread wherever it sleeps, waits until its body has returned. After
 * KL_OK `thread` is gone. KL_ERR_TIMEOUT: the body hangs; the thread is left alone, flag set.
 * Not from the thread itself. */
int32_t kl_service_stop(kl_service_thread *thread);

/* The thread's own event: other threads notify it to say "look again". */
kl_event_count *kl_service_event(kl_service_thread *thread);

/* The calling service thread; NULL on any other. */
kl_service_thread *kl_service_self(void);

/* kl_event_count_wait for service threads: sleeps on any event, and kl_service_stop finds it. The
 * event must outlive the thread, or be left before its memory goes away. */
int32_t kl_service_wait(kl_event_count *event, uint32_t key, uint64_t timeout_ns);

/* Service threads alive in this process. */
KL_API uint32_t kl_service_count(void);

#endif
