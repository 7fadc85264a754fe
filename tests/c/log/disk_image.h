/* disk_image: a disk that a power cut leaves behind, thousands of times a second.
 *
 * disk_record_start writes down every write, sync, rename, making, removal and folder sync of the
 * device row. disk_cut then plays the first `count` of them on a disk with a memory of its own and
 * cuts the power: what was synced is there; of every later write any subset of its sectors is, each
 * 512 bytes, or each 8, there or not by chance; of the later changes of the folder any prefix is.
 * A sync covers only what was written before it began.
 */
#ifndef KL_TESTS_LOG_DISK_IMAGE_H
#define KL_TESTS_LOG_DISK_IMAGE_H

#include "base/random.h"
#include "base/status.h"

typedef struct disk_record disk_record;

/* Records what happens in `folder` from now on; what is there now counts as synced. */
disk_record *disk_record_start(const char *folder);

/* How many operations so far. A mark is an operation that changes nothing. */
size_t disk_record_count(disk_record *record);

/* Ends the recording; the record stays. No device call may be under way. */
void disk_record_stop(disk_record *record);
void disk_record_free(disk_record *record);

/* Logs that cheat, made from what an honest one did. */
enum disk_lie {
    DISK_NO_SYNC,          /* syncs of segments do nothing */
    DISK_LATE_TARGET,      /* they cover all but the last write before them, as when what is called
                            durable is looked up after the sync instead of before */
    DISK_NO_FOLDER_SYNC,   /* syncs of the folder do nothing */
    DISK_NO_MANIFEST_SYNC, /* syncs of the manifest do nothing */
};
void disk_record_lie(disk_record *record, enum disk_lie lie);

/* Makes `folder` what the disk holds when the power is cut after `count` operations. `grain` is 512
 * or 8. `kept` in 0..100: how likely each unsynced piece is there. */
void disk_cut(disk_record *record, size_t count, const char *folder, kl_random *random,
              uint32_t grain, uint32_t kept);

#endif
