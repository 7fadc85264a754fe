/* mem/numa in bare C: `numa_bare QUERIES`: the node of a processor, then how far it is from the first. */
#include "mem/numa.h"

#include "bench/frame/threads.h"

static kl_numa numa;

int main(int count, char **words) {
    if (count != 2) return 2;
    uint64_t queries = number_argument(words, 1), digest = 0;
    if (kl_numa_simulate(&numa, KL_NUMA_RING, 4, 4, 1 << 20) != KL_OK) return 1;
    pin_to(0);
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < queries; i++) {
        uint32_t cpu = (uint32_t)i % 16;
        __asm__ volatile("" : "+r"(cpu)::"memory");
        digest += kl_numa_distance(&numa, 0, kl_numa_node_of_cpu(&numa, cpu));
    }
    print_result((double)(now_ns() - start) / 1e9, digest);
    printf("\n");
    return 0;
}
