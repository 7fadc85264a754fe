/* random: a fast seedable generator, and the operating system's.
 *
 * kl_random is xoshiro256** by Blackman and Vigna (public domain), seeded through splitmix64 so
 * that any seed, 0 too, gives a good state. For tests, back-off and sampling: the same seed gives
 * the same numbers on every machine. Never for secrets; those come from kl_random_os.
 *
 * Writers: whoever holds the struct; it is not shared between threads. Progress: wait-free.
 */
#ifndef KL_BASE_RANDOM_H
#define KL_BASE_RANDOM_H

#include "base/status.h"

typedef struct {
    uint64_t state[4];
} kl_random;

void kl_random_init(kl_random *random, uint64_t seed);

uint64_t kl_random_u64(kl_random *random);

/* Evenly spread over 0 .. bound-1, without bias; 0 when bound is 0. */
uint64_t kl_random_below(kl_random *random, uint64_t bound);

/* Unpredictable bytes from the kernel. Waits only in the first moments after boot. */
int32_t kl_random_os(void *out, size_t bytes);

#endif
