#include "base/random.h"

#include <errno.h>
#include <sys/random.h>

static uint64_t splitmix64(uint64_t *state) {
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static uint64_t rotate_left(uint64_t value, unsigned count) {
    return (value << count) | (value >> (64 - count));
}

void kl_random_init(kl_random *random, uint64_t seed) {
    for (int i = 0; i < 4; i++) random->state[i] = splitmix64(&seed);
}

uint64_t kl_random_u64(kl_random *random) {
    uint64_t *s = random->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t kl_random_below(kl_random *random, uint64_t bound) {
    if (bound == 0) return 0;
    /* Lemire 2019: the high half of a product; the low half tells the few draws that would bias.
     * Each round ends with probability > 1/2, so the loop ends. */
    uint64_t reject_below = (0 - bound) % bound;
    for (;;) {
        __extension__ unsigned __int128 product = (unsigned __int128)kl_random_u64(random) * bound;
        if ((uint64_t)product >= reject_below) return (uint64_t)(product >> 64);
    }
}

int32_t kl_random_os(void *out, size_t bytes) {
    uint8_t *next = out;
    while (bytes > 0) {
        ssize_t got = getrandom(next, bytes, 0);
        if (got < 0) {
            if (errno == EINTR) continue;
            return kl_fail_errno(KL_ERR_IO, errno, "read %zu random bytes from the kernel", bytes);
        }
        next += got;
        bytes -= (size_t)got;
    }
    return KL_OK;
}
