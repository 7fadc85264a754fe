/* library: what a loader asks of the library before it calls anything else.
 *
 * A library that was made from other headers than the TypeScript beside it must be refused, and so
 * must one that the system would unmap under its own threads.
 * Writers: none; every answer is fixed when the library is linked or loaded.
 * Progress: wait-free. Any thread.
 */
#ifndef KL_BASE_LIBRARY_H
#define KL_BASE_LIBRARY_H

#include "base/status.h"

/* A checksum over every signature and status code that crosses the border. */
KL_API uint32_t kl_abi_version(void);

/* A checksum over every layout that TypeScript or another process reads. */
KL_API uint32_t kl_layout_hash(void);

/* Differs between two loads that do not share their globals, as of a file and its copy. */
KL_API uint64_t kl_instance(void);

/* True when this library stays mapped after dlclose: Deno closes libraries at exit, on an uncaught
 * throw and at the end of a Worker, while our threads still run in them. */
KL_API bool kl_nodelete(void);

#endif
