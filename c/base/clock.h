/* clock: the three clocks, in nanoseconds, and the processor time of a thread.
 *
 *   monotonic  never goes back; stands still in suspend. For deadlines and measuring.
 *   realtime   the wall clock, since 1970; an operator or NTP may set it back. For people.
 *   boottime   monotonic that goes on in suspend. For leases between processes of one host.
 *
 * Progress: wait-free (a vDSO read, no system call on the usual hosts). Any thread.
 */
#ifndef KL_BASE_CLOCK_H
#define KL_BASE_CLOCK_H

#include "base/status.h"

#define KL_NS_PER_US 1000ull
#define KL_NS_PER_MS 1000000ull
#define KL_NS_PER_S  1000000000ull

/* A timeout that never comes. */
#define KL_FOREVER UINT64_MAX

uint64_t kl_clock_monotonic_ns(void);
uint64_t kl_clock_realtime_ns(void);
uint64_t kl_clock_boottime_ns(void);

/* The monotonic moment `timeout_ns` from now; KL_FOREVER stays KL_FOREVER, nothing wraps. */
uint64_t kl_clock_deadline_ns(uint64_t timeout_ns);

/* Processor time that a thread of any process has used, in nanoseconds: two readings that are equal
 * mean that it did not run in between. Of another process it is the time of all its threads, as no
 * system tells more. 0: unknown (it ended, or the system has no such clock). One system call. */
uint64_t kl_clock_thread_cpu_ns(uint32_t pid, uint32_t tid);

/* The monotonic clock in microseconds, the same in every process of this host; the fraction
 * resolves nanoseconds for years after boot. */
KL_API double kl_clock_monotonic_micros(void);

#endif
