/* fault_guard: a mapped file that another process truncates poisons its mapping, not this process.
 *
 * Reading a mapped page that its file no longer has raises SIGBUS, which kills. One handler for
 * the process, installed at the first kl_fault_guard_add and never removed, looks the address up
 * in a fixed table of ranges:
 *   inside a range   the range is marked poisoned, a private page of zeros is put over the missing
 *                    one, and the interrupted instruction goes on, reading zeros
 *   anywhere else    the handler that was there before is called, as if this one did not exist
 * After KL_FAULT_PAGES_MAX single pages everything from the faulting page to the end of the range
 * is replaced at once, so that a large truncated mapping cannot use up the kernel's table of
 * mappings. What is written to a replaced page is lost: a poisoned range is only good for closing.
 *
 *   entry.version   odd while the entry is rewritten; by the mutex holder only
 *   entry.start..   by the mutex holder only, while the version is odd
 *   entry.poisoned  0 -> 1, by the handler on any thread and by kl_fault_guard_poison
 *
 * Always: a removed entry keeps answering for its range until the table needs its place (the one
 * removed longest ago goes first), because a thread may have faulted just before its mapping was
 * replaced. So a range must be replaced before it is removed, and its addresses never used again.
 * The handler takes no lock, allocates nothing, keeps errno, and may be entered again by a fault
 * inside itself. A handler that someone installs after this one must chain to it, as this one does.
 * Progress: the handler's loops are bounded by the table; add and remove take a mutex.
 * Seen in: journald and Meta's indexedlog do the same.
 *
 * May these run at the same time?   add  remove  poison  fault
 *                          add      yes   yes     yes     yes
 *                          remove         yes     no *    yes      * of the same entry
 */
#ifndef KL_MEM_FAULT_GUARD_H
#define KL_MEM_FAULT_GUARD_H

#include "base/status.h"

#include <stdatomic.h>

#define KL_FAULT_RANGES_MAX 1024u
#define KL_FAULT_PAGES_MAX  16u

/* Guards [start, start + bytes), which must be mapped. `shared_word`, in shared memory or NULL, is
 * set to 1 as well when the range is poisoned, if its page still exists. Gives the entry's number,
 * or KL_ERR_LIMIT when KL_FAULT_RANGES_MAX ranges are guarded. */
int32_t kl_fault_guard_add(void *start, size_t bytes, _Atomic uint32_t *shared_word);

/* The range [start, start + bytes) has been replaced by memory that cannot fault. */
void kl_fault_guard_remove(int32_t entry);

void kl_fault_guard_poison(int32_t entry);

/* The entry's process-local flag, 0 or 1, for a fast check. Valid until the entry is removed. */
const _Atomic uint32_t *kl_fault_guard_flag(int32_t entry);

/* How many faults were absorbed, and the offset of the first one in its range. */
uint32_t kl_fault_guard_faults(int32_t entry, uint64_t *first_offset);

#endif
