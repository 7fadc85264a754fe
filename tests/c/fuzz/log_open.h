/* log_open: what the fuzzer does with a log, and what the tests do with the fuzzer's corpus.
 *
 * The input is a list of changes to a small good log of three segments, a killed writer's ring
 * beside it left out:
 *
 *   {u8 file, u8 count, u32 offset, `count` bytes}   over and over
 *
 *   file     0 the manifest, 1 to 3 a segment, 4 to 6 the same and the frames' checksums made good
 *            again afterwards, 7 a segment cut to `offset`; modulo 8
 *
 * Then the log is verified, opened, read, appended to and closed; a copy of it is repaired in both
 * ways and opened. Whatever comes: codes only, every payload given out is one that a checksum covers,
 * and a log that was repaired can be opened.
 */
#ifndef KL_TESTS_FUZZ_LOG_OPEN_H
#define KL_TESTS_FUZZ_LOG_OPEN_H

#include <stddef.h>
#include <stdint.h>

/* Aborts when something does not hold. Uses folders of this process below /dev/shm. */
void fuzz_log_open(const uint8_t *input, size_t bytes);

#endif
