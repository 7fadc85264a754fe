/* The same bursts without TypeScript: `spsc_ring_bare WORDS BURST` prints seconds and digest. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "lockfree/spsc_ring.h"

#define CAPACITY_BYTES 65536u

int main(int count, char **words) {
    if (count != 3) return 2;
    uint64_t wanted = strtoull(words[1], NULL, 10);
    uint64_t burst = strtoull(words[2], NULL, 10);
    uint64_t bytes = kl_spsc_ring_memory_bytes(CAPACITY_BYTES);
    void *memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    kl_spsc_ring ring;
    if (memory == NULL || kl_spsc_ring_format(memory, CAPACITY_BYTES, 8) != KL_OK ||
        kl_spsc_ring_grip(&ring, memory, bytes) != KL_OK)
        return 1;
    uint32_t digest = 0;
    uint64_t start = kl_clock_monotonic_ns();
    for (uint64_t sent = 0; sent < wanted; sent += burst) {
        for (uint64_t at = 0; at < burst; at++)
            if (kl_spsc_ring_push_u64_sp(&ring, sent + at) != KL_OK) return 1;
        for (uint64_t at = 0; at < burst; at++) {
            uint64_t value;
            if (kl_spsc_ring_pop_u64_sc(&ring, &value) != KL_OK) return 1;
            digest = digest * 31u + (uint32_t)value;
        }
    }
    uint64_t ns = kl_clock_monotonic_ns() - start;
    printf("%.9f %" PRIu32 "\n", (double)ns / 1e9, digest);
    free(memory);
    return 0;
}
