/* log_fixture: what the tests of the log share: records that know who they are, and a small log. */
#ifndef KL_TESTS_LOG_FIXTURE_H
#define KL_TESTS_LOG_FIXTURE_H

#include "log/durable_log.h"
#include "log/log_reader.h"

#define FIXTURE_SEGMENT (64u << 10)
#define FIXTURE_RING    (64u << 10)

/* Fills `out` with a record of `bytes` (at least 16) that only (writer, number) makes. */
void fixture_fill(uint8_t *out, uint32_t bytes, uint64_t writer, uint64_t number);

/* Is it that record, to the last byte? */
bool fixture_is(const uint8_t *data, uint32_t bytes, uint64_t writer, uint64_t number);

/* Opens a small log (64 KiB segments and ring); fails the test when it cannot. */
kl_log *fixture_open(const char *folder, uint32_t flags);

/* The same with kl_log_options.scan_bytes. */
kl_log *fixture_open_scan(const char *folder, uint32_t flags, uint64_t scan_bytes);

/* Appends one such record; its address. */
uint64_t fixture_append(kl_log *log, uint32_t bytes, uint64_t writer, uint64_t number);

/* Reads the log from the start and checks that record i of writer 0 has number i; how many there
 * are. `bytes_of` gives the size that record i must have. */
uint64_t fixture_count(const char *folder, uint32_t flags, uint32_t (*bytes_of)(uint64_t number));

/* The same for a log whose front may be truncated: `*first` gets the number of its first record; one
 * behind the number of its last is answered. */
uint64_t fixture_end(const char *folder, uint32_t flags, uint32_t (*bytes_of)(uint64_t number),
                     uint64_t *first);

/* Makes `to` a copy of a log folder, without LOCK; what was in it goes. */
void fixture_copy(const char *from, const char *to);

/* The path of segment `number` of the log in `folder`. */
const char *fixture_segment_path(const char *folder, uint64_t number);

/* Returns when no service thread works on the log; what they were asked to do is forgotten. */
void fixture_quiet(kl_log *log);

/* Removes the shared ring of a log that was not closed cleanly, as a reboot does. */
void fixture_forget_ring(const char *folder);

#endif
