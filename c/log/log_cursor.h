/* log_cursor: a named place in a log that outlives its reader, and that truncation stops at.
 *
 *   cursor-<name>.manifest   in the log's folder: a two-slot manifest (docs/format_manifest.md,
 *                            kind CURS) with the payload {address u64, moved_at u64 (ns since
 *                            1970), reserved 48}. Written by who has the cursor open.
 *
 * Any process may open a cursor, one at a time (flock on its file, KL_ERR_LOCKED); it need not be
 * the writer of the log. A cursor only moves forward.
 *
 * Always: a move that answered KL_OK is durable. The log's first address is never above a cursor
 * that exists: making one and truncating exclude each other (flock on log.manifest), so a cursor
 * is made at an address that still exists, or not at all.
 * Death: of its owner: the cursor stays where its last move put it, or the one under way.
 * Progress: a move is one write and one sync of 4 KiB.
 *
 * One thread per cursor.
 */
#ifndef KL_LOG_LOG_CURSOR_H
#define KL_LOG_LOG_CURSOR_H

#include "log/durable_log.h"

#define KL_LOG_CURSOR_NAME_MAX 64u
#define KL_LOG_CURSORS_MAX     1024u
/* Where a new cursor begins: behind everything that is durable. */
#define KL_LOG_CURSOR_END UINT64_MAX

typedef struct kl_log_cursor kl_log_cursor;

/* Opens a cursor of the log in `folder`; one that does not exist is made at `from` (0: the first
 * record; KL_LOG_CURSOR_END) and synced. A name is 1 to 64 letters, digits, '_' and '-'.
 * KL_ERR_NAME, KL_ERR_LOCKED, KL_ERR_NOT_FOUND (no log, or `from` was truncated away),
 * KL_ERR_ARGUMENT (`from` is not durable yet, or inside a frame), KL_ERR_LIMIT, KL_ERR_CORRUPT. */
int32_t kl_log_cursor_open(kl_log_cursor **out, const char *folder, const char *name,
                           uint64_t from);

uint64_t kl_log_cursor_address(const kl_log_cursor *cursor);

/* Moves it to `address`, a multiple of 8 where a frame begins or will begin. Durable on KL_OK.
 * KL_ERR_ARGUMENT: backwards. */
int32_t kl_log_cursor_move(kl_log_cursor *cursor, uint64_t address);

void kl_log_cursor_close(kl_log_cursor *cursor); /* NULL is nothing */

/* Removes a cursor that nobody has open. KL_ERR_NOT_FOUND, KL_ERR_LOCKED. */
int32_t kl_log_cursor_remove(const char *folder, const char *name);

/* The names, one per line; the bytes used, or KL_ERR_LIMIT. */
int32_t kl_log_cursor_list(const char *folder, char *out, uint32_t capacity);

/* The lowest address of all cursors in the log's folder, UINT64_MAX when there are none. A cursor
 * that cannot be read is an error: what it needs is not known. */
int32_t kl_log_cursors_pin(int folder_fd, uint64_t *pin);

/* While held, no cursor is made and no other truncation cuts. < 0: a status. */
int kl_log_cursors_lock(int folder_fd);
void kl_log_cursors_unlock(int lock);

#endif
