/* thread_end: closes handles when the thread that opened them ends.
 *
 * An isolate (the main program or a Worker) is a thread. A Worker that is terminated runs no line of
 * TypeScript any more, so nobody closes what it had open; its thread's end is what C can see. Only for
 * handles that were opened on the isolate's own thread: not from a nonblocking call, which runs on
 * some thread of a pool.
 *
 *   list of a thread   read and written by that thread only (a pthread key; its destructor closes)
 *
 * Always: a handle is closed at most once more than its user did, which is nothing: the number
 * means nobody else by then. Handles are closed in the opposite order of their opening.
 * Not at the end of the process: exit runs no destructors of the main thread, and need not.
 * Progress: wait-free but for malloc; forget looks through the list. Any thread at any time.
 */
#ifndef KL_SYNC_THREAD_END_H
#define KL_SYNC_THREAD_END_H

#include "base/status.h"

/* Remembers to close the handle. KL_ERR_MEMORY. */
int32_t kl_thread_end_close(uint32_t handle, uint32_t kind);

/* The user closed it, on this thread. On another one: nothing. */
void kl_thread_end_forget(uint32_t handle);

/* Whether the calling destroy function runs because this thread ends. */
bool kl_thread_end_runs(void);

#endif
